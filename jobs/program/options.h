/* options.h - the command line of a job, and the help that is made from the same tables. Used by launch.c alone. */
#ifndef DTX_JOB_OPTIONS_H
#define DTX_JOB_OPTIONS_H

#include <stdio.h>

#include "jobs/program/job.h"

enum { DTX_MAX_SETS = 256 };

typedef struct {
    dtx_job *job;
    const char *config_file;    /* --config, NULL = none */
    int n_sets;                 /* keys set on the command line, in their order; key NULL: value is "key=value" */
    struct { const char *key, *value; } sets[DTX_MAX_SETS];
    bool help, verbose, quiet;
    dtx_status st;              /* of the parser's callback */
} dtx_command_line;

/* Reads argv[2...] of `job` (def, argc and argv are set) into *o and *job. Looks at no file and no environment. */
dtx_status dtx_job_options_parse(dtx_job *job, dtx_command_line *o);
/* Defaults, file, environment and command line, in this order, into job->config. */
dtx_status dtx_job_configure(dtx_job *job, const dtx_command_line *o, const char *const *environment);

void dtx_job_help_all(const dtx_job_def *const *jobs, FILE *out);
void dtx_job_help_one(const dtx_job_def *def, FILE *out);
/* DTX_ERR_USAGE with the list of jobs. */
dtx_status dtx_job_unknown(const dtx_job_def *const *jobs, const char *name);

#endif
