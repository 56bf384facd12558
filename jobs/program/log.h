/* log.h - installs the sink of src/base/log.h that knows rank, host and log file. Used by launch.c alone. */
#ifndef DTX_JOB_LOG_H
#define DTX_JOB_LOG_H

#include "jobs/program/job.h"

void dtx_job_log_start(const dtx_job *job, bool verbose, bool quiet);
/* The one error message of a job, on rank 0: standard error and log file. */
void dtx_job_log_failure(const dtx_job *job, dtx_status st);
/* What follows is another job's: the log file is closed, noting the failure that ended the job, and `next` may open its own. */
void dtx_job_log_switch(const dtx_job *next, dtx_status ended);
/* Ends the log file and restores the default sink. */
void dtx_job_log_end(void);

#endif
