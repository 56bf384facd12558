/* job.c - detoxlens verify: recomputed reference values against stored ones, or two runs' files byte for byte.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/program/job.h"
#include "jobs/verify/verify.h"
#include "mpi/h5/same.h"
#include "src/base/file.h"

/* A run's file, given itself or by its folder. */
static dtx_status run_file(const char *arg, char *path, size_t size)
{
    if (dtx_file_is_dir(arg)) {
        return dtx_file_join(path, size, arg, "run.h5");
    }
    snprintf(path, size, "%s", arg);
    return DTX_OK;
}

static dtx_status same(const dtx_job *job)
{
    char a[DTX_PATH_MAX], b[DTX_PATH_MAX];
    dtx_h5_same_report report;

    if (job->n_args != 2) {
        return DTX_FAIL(DTX_ERR_USAGE, "verify --same needs two files: detoxlens verify --same A/run.h5 B/run.h5");
    }
    DTX_TRY(run_file(job->args[0], a, sizeof a));
    DTX_TRY(run_file(job->args[1], b, sizeof b));
    DTX_TRY(dtx_h5_same(a, b, &report));
    if (job->json) {
        printf("{\"datasets\":%" PRId64 ",\"attributes\":%" PRId64 ",\"bytes\":%" PRId64 ",\"differences\":%" PRId64
               "}\n",
               report.datasets, report.attributes, report.bytes, report.differences);
    } else {
        printf("%s%" PRId64 " datasets and %" PRId64 " attributes compared, %" PRId64 " bytes: ", report.text,
               report.datasets, report.attributes, report.bytes);
        if (report.differences > 0) {
            printf("%" PRId64 " differ\n", report.differences);
        } else {
            printf("the same\n");
        }
    }
    return report.differences == 0 ? DTX_OK : DTX_FAIL(DTX_ERR_CHECK, "%s and %s differ", a, b);
}

/* Is the argument a run.h5, or a folder with one? */
static bool is_run(const char *arg)
{
    char path[DTX_PATH_MAX];
    const size_t n = strlen(arg);

    if (dtx_file_is_dir(arg)) {
        return dtx_file_join(path, sizeof path, arg, "run.h5") == DTX_OK && dtx_file_exists(path);
    }
    return n > 3 && strcmp(arg + n - 3, ".h5") == 0;
}

/* Rows of a run; adapters are looked for beside its file. */
static dtx_status rows(dtx_job *job, const char *arg, bool *equal)
{
    const char *sample = dtx_job_flag(job, "sample"), *slash;
    char path[DTX_PATH_MAX], *end = NULL;
    long wanted = sample != NULL ? strtol(sample, &end, 10) : 8;

    if (sample != NULL && (*sample == '\0' || *end != '\0' || wanted < 1 || wanted > 1000000)) {
        return DTX_FAIL(DTX_ERR_USAGE, "--sample %.60s: a number from 1 on is expected", sample);
    }
    DTX_TRY(run_file(arg, path, sizeof path));
    slash = strrchr(path, '/');
    snprintf(job->config.run, sizeof job->config.run, "%.*s", slash != NULL ? (int)(slash - path) : 1, slash != NULL ? path : ".");
    return dtx_verify_rows(job, path, wanted, equal);
}

static dtx_status run(dtx_job *job)
{
    bool equal = true, all = true;

    if (dtx_job_flag(job, "same") != NULL) {
        return same(job);
    }
    if (job->n_args < 1) {
        return DTX_FAIL(DTX_ERR_USAGE, "verify needs a folder of reference values: detoxlens verify DIR");
    }
    for (int i = 0; i < job->n_args; i++) {
        DTX_TRY(is_run(job->args[i]) ? rows(job, job->args[i], &equal) : dtx_verify_dir(job->args[i], job->json, &equal));
        all = all && equal;
    }
    return all ? DTX_OK : DTX_FAIL(DTX_ERR_CHECK, "a recomputed value differs from its reference (see DIFFERS above)");
}

static const dtx_job_option options[] = {
    {"same", NULL, NULL,
     "compare two run.h5 (or run directories) byte for byte, apart from what tells of time and place"},
    {"sample", "N", NULL, "rows of a run that are recomputed of each set (default 8); --rows A:B names them instead"},
    {NULL, NULL, NULL, NULL},
};

const dtx_job_def dtx_job_verify = {
    .name = "verify",
    .args = "DIR...",
    .summary = "recomputes reference values and compares",
    .help =
        "DIR is a model folder with expected/ beside its config.json, or a folder of such folders. For each quantity "
        "the\n"
        "largest difference, its tolerance and their ratio are printed; a difference above its tolerance is exit 1.\n"
        "\n"
        "  detoxlens verify golden\n"
        "  detoxlens verify --json golden/neox-tiny\n"
        "\n"
        "DIR may also be a run directory, or its run.h5: the log-probabilities and attributions of some of a variant's rows\n"
        "are computed again from the model and compared with what is stored.\n"
        "\n"
        "  detoxlens verify out --variant FT --set model.path=MODEL --sample 20\n"
        "\n"
        "With --same, two files of results are compared: every dataset and attribute outside /provenance and\n"
        "/training/*/timing must have the same type, shape and bytes.\n"
        "\n"
        "  detoxlens verify --same run1/run.h5 run2/run.h5\n",
    .bit = DTX_JOB_VERIFY,
    .options = options,
    .run = run,
};
