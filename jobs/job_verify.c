/* job_verify.c - detoxlens verify: recomputed reference values against stored ones. */
#include "jobs/job.h"
#include "jobs/verify.h"

static dtx_status run(dtx_job *job)
{
    bool equal = true, all = true;

    if (job->n_args < 1) {
        return DTX_FAIL(DTX_ERR_USAGE, "verify needs a folder of reference values: detoxlens verify DIR");
    }
    for (int i = 0; i < job->n_args; i++) {
        DTX_TRY(dtx_verify_dir(job->args[i], job->json, &equal));
        all = all && equal;
    }
    return all ? DTX_OK : DTX_FAIL(DTX_ERR_CHECK, "a recomputed value differs from its reference (see DIFFERS above)");
}

const dtx_job_def dtx_job_verify = {
    .name = "verify",
    .args = "DIR...",
    .summary = "recomputes reference values and compares",
    .help = "DIR is a model folder with expected/ beside its config.json, or a folder of such folders. For each quantity the\n"
            "largest difference, its tolerance and their ratio are printed; a difference above its tolerance is exit 1.\n"
            "\n"
            "  detoxlens verify golden\n"
            "  detoxlens verify --json golden/neox-tiny\n",
    .bit = DTX_JOB_VERIFY,
    .run = run,
};
