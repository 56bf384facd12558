/* A program with one parallel and one local job that do nothing but what all jobs share, for cli_toy.sh. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "jobs/program/job.h"
#include "src/base/log.h"

static void nap(double seconds)
{
    struct timespec t = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};

    nanosleep(&t, NULL);
}

static dtx_status run_parallel(dtx_job *job)
{
    const char *fail = dtx_job_flag(job, "fail"), *ticks = dtx_job_flag(job, "ticks");
    long n = ticks != NULL ? atol(ticks) : 3;
    dtx_progress p;
    long i = 0;

    if (job->par.rank == 0) {
        printf("ranks %d variant %s rows %lld:%lld redo %d batch %lld threads %d\n", job->par.size, job->variant,
               (long long)job->row_first, (long long)job->row_last, (int)job->redo, (long long)job->config.generate.batch,
               job->par.threads);
        fflush(stdout);
    }
    dtx_progress_begin(&p, job, job->config.run, "rows", (double)n, 0);
    bool stop = false;
    while (i < n && !stop) {
        nap(0.05);
        i++;
        dtx_progress_tick(&p, (double)i, (double)i * 10, "loss=1.5", "\"loss\":1.5", i == n);
        stop = dtx_par_any(&job->par, dtx_job_should_stop(job));
    }
    dtx_progress_end(&p);
    DTX_TRY(dtx_job_summary(job, 1.0 + job->par.rank, 0.5, 0.25));
    if (fail != NULL && atoi(fail) == job->par.rank) {
        return DTX_FAIL(DTX_ERR_INPUT, "a fault on purpose");
    }
    return i < n ? DTX_STOPPED : DTX_OK;
}

static dtx_status run_local(dtx_job *job)
{
    for (int i = 0; i < job->n_args; i++) {
        printf("arg %s\n", job->args[i]);
    }
    return dtx_job_need(job, "model.path", job->config.model.path);
}

static const dtx_job_option options[] = {
    {"fail", "RANK", NULL, "fails on that rank"}, {"ticks", "N", NULL, "steps of 0.05 s"}, {0}};
static const dtx_job_def parallel = {.name = "generate", .summary = "a parallel job", .help = "Waits.", .run = run_parallel,
                                     .bit = DTX_JOB_GENERATE, .parallel = true, .options = options};
static const dtx_job_def local = {.name = "inspect", .args = "WORD...", .summary = "a local job", .run = run_local,
                                  .bit = DTX_JOB_REPORT};
static const dtx_job_def *const jobs[] = {&parallel, &local, NULL};

int main(int argc, char **argv)
{
    return dtx_job_main(jobs, argc, argv);
}
