/* job.h - what a job is: a name, its help, and a function that reads as its own table of contents. job.c does what all
 * jobs share: options, configuration, start and end of MPI, logs, signals, time limit, exit code. */
#ifndef DTX_JOB_H
#define DTX_JOB_H

#include <stdbool.h>

#include "mpi/par.h"
#include "src/config.h"

typedef struct {
    const struct dtx_job_def *def;
    int argc;                   /* the whole command line, for provenance */
    char **argv;
    int n_args;                 /* positional arguments after the job's name */
    char **args;
    dtx_config config;
    char *config_json;          /* resolved, keys of this job */
    dtx_par par;                /* zero for local jobs except size = 1 */
    char variant[64];           /* --variant, default "IT" */
    int64_t row_first, row_last; /* --rows A:B, -1 = not given */
    bool redo, dry_run, json;
    double max_hours;           /* 0 = no limit */
    double started;             /* dtx_now() at start */
} dtx_job;

/* An option that one job adds. Its value sets the key `key` of the configuration, or is kept in dtx_job_flag(). */
typedef struct {
    const char *name;           /* "completions-of" */
    const char *arg;            /* "V"; NULL for a switch */
    const char *key;            /* configuration key, NULL = kept for dtx_job_flag */
    const char *help;
} dtx_job_option;

typedef struct dtx_job_def {
    const char *name, *args, *summary;
    const char *help;           /* paragraphs with an example, shown by `detoxlens JOB --help` */
    unsigned bit;               /* DTX_JOB_*, which configuration keys concern it */
    bool parallel;              /* starts MPI; else runs alone and never touches MPI */
    const dtx_job_option *options; /* ends with a NULL name; may be NULL */
    dtx_status (*run)(dtx_job *job);
} dtx_job_def;

/* Value of an option with key == NULL; NULL when it was not given ("" for switches that were). */
const char *dtx_job_flag(const dtx_job *job, const char *name);

/* Seconds since an arbitrary start, monotonic. */
double dtx_now(void);
/* True after SIGTERM, SIGUSR1, SIGINT on this process, or when --max-hours have passed. Cheap. */
bool dtx_job_should_stop(const dtx_job *job);

/* Progress: call often; a line is logged every few seconds (on rank 0): "generate  1200/5549 rows  21.6 %  38.1 rows/s
 * 1510 tokens/s  ETA 00:01:54", and appended to RUN/log/JOB.log and JOB.jsonl. */
typedef struct {
    const dtx_job *job;
    const char *unit;           /* "rows", "steps" */
    double total, done, tokens;
    double begun, last;         /* dtx_now() */
    double skipped;             /* done before this launch */
    void *log, *jsonl;          /* FILE* or NULL */
} dtx_progress;
void dtx_progress_begin(dtx_progress *p, const dtx_job *job, const char *log_dir, const char *unit, double total, double skipped);
/* `extra`: more "key=value" text for the line, and the same as JSON members for the .jsonl; may be NULL. */
void dtx_progress_tick(dtx_progress *p, double done, double tokens, const char *extra, const char *extra_json, bool force);
void dtx_progress_end(dtx_progress *p);

extern const dtx_job_def dtx_job_pretrain, dtx_job_generate, dtx_job_attribute, dtx_job_report, dtx_job_inspect,
    dtx_job_tokenize, dtx_job_verify, dtx_job_bench;

#endif
