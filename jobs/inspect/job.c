/* job.c - detoxlens inspect: what a model folder, an adapter, a weights file or a run holds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/inspect/inspect.h"
#include "jobs/program/job.h"
#include "src/weights/gguf.h"
#include "src/base/file.h"
#include "src/model/families/table.h"

static bool ends_with(const char *s, const char *tail)
{
    size_t n = strlen(s), k = strlen(tail);

    return n >= k && strcmp(s + n - k, tail) == 0;
}

static bool holds(const char *dir, const char *name)
{
    char path[4096];

    return dtx_file_join(path, sizeof path, dir, name) == DTX_OK && dtx_file_exists(path);
}

static dtx_status inspect_folder(const char *dir, bool sha256, dtx_facts *f)
{
    char file[4096];

    if (holds(dir, "run.h5")) {
        DTX_TRY(dtx_file_join(file, sizeof file, dir, "run.h5"));
        return dtx_inspect_run(dir, file, f);
    }
    if (holds(dir, "adapter_config.json")) {
        return dtx_inspect_adapter(dir, sha256, f);
    }
    if (holds(dir, "config.json")) {
        return dtx_inspect_model(dir, sha256, f);
    }
    return DTX_FAIL(
        DTX_ERR_MISSING,
        "%s: nothing to inspect: a model folder (config.json), an adapter (adapter_config.json) or a run directory "
        "(run.h5) is expected",
        dir);
}

static dtx_status inspect_file(const char *path, bool sha256, dtx_facts *f)
{
    char dir[4096];

    if (dtx_gguf_is_path(path)) {
        return dtx_inspect_gguf(path, sha256, f);
    }
    if (!ends_with(path, ".h5")) {
        return dtx_inspect_weights(path, sha256, f);
    }
    const char *slash = strrchr(path, '/');
    snprintf(dir, sizeof dir, "%.*s", slash != NULL ? (int)(slash - path) : 1, slash != NULL ? path : ".");
    return dtx_inspect_run(dir, path, f);
}

/* --row N: the run.h5 itself, or the one in a run directory. */
static dtx_status inspect_row(const dtx_job *job, const char *path, const char *number, dtx_facts *f)
{
    char file[4096], *end = NULL;
    long long row = strtoll(number, &end, 10);

    if (*number < '0' || *number > '9' || *end != '\0') {
        return DTX_FAIL(DTX_ERR_USAGE, "--row %.60s: the number of a row is expected, from 0", number);
    }
    if (!dtx_file_is_dir(path)) {
        return dtx_inspect_row(path, job->variant, row, f);
    }
    DTX_TRY(dtx_file_join(file, sizeof file, path, "run.h5"));
    return dtx_inspect_row(file, job->variant, row, f);
}

/* A line each, as README.md has them: `model_type` (older spellings): title: models that people know, what it is. */
static dtx_status list_families(bool json)
{
    const dtx_family *f;
    cJSON *list = cJSON_CreateArray();

    for (int i = 0; (f = dtx_family_at(i)) != NULL; i++) {
        cJSON *o = cJSON_CreateObject(), *older = cJSON_AddArrayToObject(o, "dialects");
        if (!json) {
            printf("* `%s`", f->model_type);
        }
        for (int k = 0; k < 3 && f->dialects[k] != NULL; k++) {
            cJSON_AddItemToArray(older, cJSON_CreateString(f->dialects[k]));
            if (!json) {
                printf(", `%s`", f->dialects[k]);
            }
        }
        if (!json) {
            printf(": %s (%s)%s\n", f->title, f->known, f->fresh != NULL ? "; can be trained here from scratch" : "");
        }
        cJSON_AddStringToObject(o, "model_type", f->model_type);
        cJSON_AddStringToObject(o, "title", f->title);
        cJSON_AddStringToObject(o, "known", f->known);
        cJSON_AddStringToObject(o, "kind", f->encoder ? "classifier" : "decoder");
        cJSON_AddBoolToObject(o, "from_scratch", f->fresh != NULL);
        cJSON_AddItemToArray(list, o);
    }
    char *text = json ? cJSON_Print(list) : NULL;
    if (text != NULL) {
        puts(text);
    }
    cJSON_free(text);
    cJSON_Delete(list);
    return DTX_OK;
}

static dtx_status run(dtx_job *job)
{
    const bool sha256 = dtx_job_flag(job, "sha256") != NULL;
    dtx_facts f;

    if (dtx_job_flag(job, "families") != NULL) {
        return list_families(job->json);
    }
    if (dtx_job_flag(job, "schema") != NULL) {
        return dtx_inspect_schema(job->json);
    }
    if (job->n_args != 1) {
        return DTX_FAIL(DTX_ERR_USAGE, "inspect needs one path: detoxlens inspect PATH");
    }
    const char *path = job->args[0];
    if (!dtx_file_exists(path)) {
        return DTX_FAIL(DTX_ERR_MISSING, "%s: no such file or folder", path);
    }
    dtx_facts_init(&f);
    const char *row = dtx_job_flag(job, "row");
    dtx_status st = row != NULL            ? inspect_row(job, path, row, &f)
                  : dtx_file_is_dir(path) ? inspect_folder(path, sha256, &f)
                                          : inspect_file(path, sha256, &f);
    if (st == DTX_OK) {
        st = dtx_facts_print(&f, job->json);
    }
    dtx_facts_free(&f);
    return st;
}

static const dtx_job_option own_options[] = {
    {"sha256", NULL, NULL, "hash every byte of the weights, not samples alone"},
    {"families", NULL, NULL, "no PATH: the model types that are known"},
    {"schema", NULL, NULL, "no PATH: everything that a run.h5 can hold"},
    {"row", "N", NULL, "of a run: text and completion of one row of --variant"},
    {0},
};

const dtx_job_def dtx_job_inspect = {
    .name = "inspect",
    .args = "PATH",
    .summary = "what a model, an adapter or a run holds",
    .help = "PATH is a model folder (weights may be absent: config.json suffices), an adapter's folder, a weights "
            "file, or a run\n"
            "directory or its run.h5. Of a model: architecture, shapes, parameters, memory, tokenizer; of a run: "
            "variants, rows\n"
            "done of all, rate and remaining time of a job under way, settings, launches.\n"
            "\n"
            "  detoxlens inspect --families\n"
            "  detoxlens inspect --schema\n"
            "  detoxlens inspect models/redpajama-3b\n"
            "  detoxlens inspect --json out | jq .variants\n"
            "  detoxlens inspect out --row 3 --variant FT\n",
    .bit = DTX_JOB_INSPECT,
    .options = own_options,
    .run = run,
};
