/* main.c - the table of jobs. One binary: detoxlens JOB. */
#include "jobs/program/job.h"

static const dtx_job_def *const jobs[] = {
    &dtx_job_fetch,
    &dtx_job_pretrain,
    &dtx_job_finetune,
    &dtx_job_dpo,
    &dtx_job_ppo,
    &dtx_job_generate,
    &dtx_job_import,
    &dtx_job_score,
    &dtx_job_attribute,
    &dtx_job_report,
    &dtx_job_merge,
    &dtx_job_export,
    &dtx_job_inspect,
    &dtx_job_tokenize,
    &dtx_job_verify,
    &dtx_job_pipeline,
    &dtx_job_plan,
    &dtx_job_bench,
    NULL,
};

int main(int argc, char **argv)
{
    return dtx_job_main(jobs, argc, argv);
}
