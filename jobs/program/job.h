/* job.h - what a job is: a name, its help, and a function that reads as its own table of contents. What all jobs share
 * stands in launch.c (start and end of MPI, configuration, signals, time limit, exit code), options.c (command line and
 * help) and log.c (messages, progress, log files). */
#ifndef DTX_JOB_H
#define DTX_JOB_H

#include <stdbool.h>

#include "mpi/par/par.h"
#include "src/base/clock.h"
#include "src/settings/config.h"

enum { DTX_JOB_MAX_FLAGS = 16 };

/* How far a job came, from its progress. */
typedef struct {
    bool begun;                 /* there was something to do */
    double total, done, skipped; /* skipped: done before this launch */
    const char *unit;           /* "rows", "steps" */
} dtx_job_reached;

typedef struct {
    const struct dtx_job_def *def;
    int argc;                   /* the whole command line, for provenance */
    char **argv;
    int n_args;                 /* positional arguments after the job's name */
    char **args;
    const char *flags[DTX_JOB_MAX_FLAGS]; /* read by dtx_job_flag */
    dtx_config config;
    char *config_json;          /* resolved, keys of this job */
    dtx_par par;                /* .threads is what this rank uses; for local jobs only size, cpus and threads are set */
    char variant[64];           /* --variant, default "IT" */
    int64_t row_first, row_last; /* --rows A:B is first = A, last = B (excluded); -1 = not given */
    bool redo, dry_run, json;
    double max_hours;           /* 0 = no limit */
    double started;             /* dtx_now() at start */
    double resident;            /* bytes of this process then: program and libraries */
    dtx_job_reached *reached;   /* where progress is noted (rank 0); NULL = nowhere */
} dtx_job;

/* An option that one job adds. Its value sets the key `key` of the configuration, or is kept in dtx_job_flag(). Keys
 * JOB.x of the configuration are options --x of JOB without being listed. */
typedef struct {
    const char *name;           /* "completions-of" */
    const char *arg;            /* "V"; NULL for a switch */
    const char *key;            /* configuration key, NULL = kept for dtx_job_flag */
    const char *help;
} dtx_job_option;

typedef struct dtx_job_def {
    const char *name, *args, *summary; /* args: "FILE..." for the usage line, NULL = none are taken */
    const char *help;           /* paragraphs with an example, shown by `detoxlens JOB --help` */
    unsigned bit;               /* DTX_JOB_*, which configuration keys concern it */
    bool parallel;              /* starts MPI; else runs alone and never touches MPI */
    bool stops;                 /* local: SIGTERM, SIGUSR1 and --max-hours end it cleanly, as they do parallel jobs */
    bool own_dry_run;           /* run() honours dry_run; else --dry-run ends after the resolved configuration */
    int min_ranks;              /* parallel: started without a launcher, it starts itself again under mpirun with so many; 0, 1 = no */
    /* NULL, or: the definition that counts for these arguments, which differs in `parallel`, `min_ranks` and `run` alone. */
    const struct dtx_job_def *(*form)(const dtx_job *job);
    const dtx_job_option *options; /* ends with a NULL name, at most DTX_JOB_MAX_FLAGS; may be NULL */
    dtx_status (*run)(dtx_job *job); /* parallel: returns on all ranks; the statuses need not agree yet */
} dtx_job_def;

/* Collective. Runs another job within this one, with the same configuration, ranks, time limit and signals and that job's log
 * files; a local job runs on rank 0 alone. The status is agreed on. *reached (may be NULL) is filled on rank 0. */
dtx_status dtx_job_run_inside(const dtx_job *outer, const dtx_job_def *def, const char *variant, dtx_job_reached *reached);

/* The program: `jobs` ends with NULL. Returns the exit code. */
int dtx_job_main(const dtx_job_def *const *jobs, int argc, char **argv);

/* Value of an option with key == NULL; NULL when it was not given ("" for switches that were). */
const char *dtx_job_flag(const dtx_job *job, const char *name);
/* DTX_ERR_USAGE "KEY is not set" when the value of a key is empty. */
dtx_status dtx_job_need(const dtx_job *job, const char *key, const char *value);

/* Ranks that the launcher says it started; 0 = there is none. Also before MPI has started. */
int dtx_job_launched_ranks(void);
/* True after SIGTERM, SIGUSR1, SIGINT on this process, or when --max-hours have passed. Cheap. */
bool dtx_job_should_stop(const dtx_job *job);

/* Opens DIR/JOB.log on rank 0 (made when missing, appended to): what was logged so far and all that follows goes there
 * too. dtx_progress_begin does it. A file that cannot be written is a warning, not an error. */
void dtx_job_log_open(const dtx_job *job, const char *dir);

/* Progress: call often; a line is logged every 5 seconds, later every minute (on rank 0): "1200/5549 rows  21.6 %  38.1
 * rows/s  1510 tokens/s  ETA 00:01:54", and appended to DIR/JOB.log and, as one object, to DIR/JOB.jsonl. Other ranks may
 * call too. */
typedef struct {
    const dtx_job *job;
    const char *unit;           /* "rows", "steps" */
    double total, done, tokens;
    double begun, last;         /* dtx_now() */
    double skipped;             /* done before this launch */
    char extra[256], extra_json[512]; /* of the last tick */
    void *jsonl;                /* FILE* or NULL */
} dtx_progress;
/* log_dir NULL: no files. */
void dtx_progress_begin(dtx_progress *p, const dtx_job *job, const char *log_dir, const char *unit, double total, double skipped);
/* `done` counts what was skipped too; `tokens` only this launch's. `extra`: more "key=value" text for the line, and the
 * same as JSON members for the .jsonl ("\"loss\":1.5"); may be NULL. */
void dtx_progress_tick(dtx_progress *p, double done, double tokens, const char *extra, const char *extra_json, bool force);
void dtx_progress_end(dtx_progress *p);

/* Collective for parallel jobs. Logs min / mean / max over ranks of seconds computed, waited and spent on files, and of
 * peak memory. */
dtx_status dtx_job_summary(const dtx_job *job, double compute_s, double wait_s, double io_s);

extern const dtx_job_def dtx_job_pretrain, dtx_job_finetune, dtx_job_dpo, dtx_job_ppo, dtx_job_generate, dtx_job_import,
    dtx_job_score, dtx_job_attribute, dtx_job_report, dtx_job_inspect, dtx_job_tokenize, dtx_job_verify, dtx_job_bench, dtx_job_export,
    dtx_job_plan, dtx_job_merge, dtx_job_pipeline, dtx_job_fetch;

#endif
