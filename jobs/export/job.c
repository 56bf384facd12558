/* job.c - detoxlens export: what others read. --merged: a Hugging Face folder whose weights are the base with the
 * variant's adapter merged. config.json is written last: a folder that has one is complete. --csv and --inseq: export.h. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "jobs/export/export.h"
#include "jobs/program/job.h"
#include "jobs/shared/stage.h"
#include "src/weights/gguf.h"
#include "src/base/file.h"
#include "src/base/json.h"
#include "src/base/log.h"

#define WEIGHTS "model.safetensors"

typedef struct {
    const char *base, *out;
    bool as_f32;
    dtx_stage_model model;
} merging;

/* --- what the output folder may be --- */

static bool holds(const char *dir, const char *name)
{
    char path[4096];

    return dtx_file_join(path, sizeof path, dir, name) == DTX_OK && dtx_file_exists(path);
}

static dtx_status check_out(const merging *x, bool redo)
{
    static const char *const strangers[] = {"adapter_config.json", "run.h5", "pytorch_model.bin", "pytorch_model.bin.index.json",
                                            WEIGHTS ".index.json"};
    char *base = NULL, *out = NULL;
    dtx_status st = DTX_OK;

    if (!dtx_file_exists(x->out)) {
        return DTX_OK;
    }
    if (!dtx_file_is_dir(x->out)) {
        return DTX_FAIL(DTX_ERR_USAGE, "%s: is there, but not a folder", x->out);
    }
    base = realpath(x->base, NULL);
    out = realpath(x->out, NULL);
    if (base != NULL && out != NULL && strcmp(base, out) == 0) {
        DTX_GO(DTX_FAIL(DTX_ERR_USAGE, "%s: the merged model cannot replace its base (model.path)", x->out));
    }
    for (size_t i = 0; i < sizeof strangers / sizeof *strangers; i++) {
        if (holds(x->out, strangers[i])) {
            DTX_GO(DTX_FAIL(DTX_ERR_USAGE, "%s: holds %s, beside which a merged model cannot stand; name another folder", x->out,
                            strangers[i]));
        }
    }
    if (!redo && holds(x->out, "config.json")) {
        DTX_GO(DTX_FAIL(DTX_ERR_USAGE, "%s: holds a model already; name another folder, or say --redo to replace it", x->out));
    }
done:
    free(base);
    free(out);
    return st;
}

/* With --redo the old model is none from here on. */
static dtx_status clear_out(const char *out)
{
    char path[4096];

    DTX_TRY(dtx_file_join(path, sizeof path, out, "config.json"));
    if (unlink(path) != 0 && errno != ENOENT) {
        return DTX_FAIL(DTX_ERR_MISSING, "%s: cannot remove: %s", path, strerror(errno));
    }
    return DTX_OK;
}

/* --- the files --- */

static dtx_status copy_file(const merging *x, const char *name)
{
    char from[4096], to[4096];

    DTX_TRY(dtx_file_join(from, sizeof from, x->base, name));
    DTX_TRY(dtx_file_join(to, sizeof to, x->out, name));
    if (!dtx_file_exists(from)) {
        unlink(to); /* with --redo: one of another base's */
        return DTX_OK;
    }
    return dtx_file_copy(x->base, x->out, name);
}

/* config.json as it is, but for the dtype that it states. */
static dtx_status write_config(const merging *x)
{
    char from[4096], to[4096], *text = NULL;
    cJSON *root = NULL;
    dtx_status st = DTX_OK;

    if (dtx_gguf_is_path(x->base)) { /* which has none: the description that its keys gave */
        dtx_log(DTX_LOG_WARN, "export", "%s: a GGUF file's tokenizer is not written; put that of the original model into %s", x->base, x->out);
        return dtx_arch_write(x->out, &x->model.arch, x->as_f32 ? "float32" : "float16");
    }
    if (!x->as_f32) {
        return copy_file(x, "config.json");
    }
    DTX_GO(dtx_file_join(from, sizeof from, x->base, "config.json"));
    DTX_GO(dtx_file_join(to, sizeof to, x->out, "config.json"));
    DTX_GO(dtx_json_read(from, &root));
    cJSON_DeleteItemFromObjectCaseSensitive(root, "dtype"); /* its name in later versions of the library */
    cJSON_DeleteItemFromObjectCaseSensitive(root, "torch_dtype");
    if (cJSON_AddStringToObject(root, "torch_dtype", "float32") == NULL || (text = cJSON_Print(root)) == NULL) {
        DTX_GO(DTX_FAIL(DTX_ERR_MISSING, "no memory for %s", to));
    }
    DTX_GO(dtx_file_write(to, text, strlen(text)));
done:
    cJSON_free(text);
    cJSON_Delete(root);
    return st;
}

static dtx_status write_folder(const merging *x)
{
    static const char *const beside[] = {"generation_config.json", "tokenizer.json", "tokenizer_config.json",
                                         "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt"};
    const dtx_meta meta[] = {{"format", "pt"}, {"base_weights", x->model.fingerprint}, {"adapter", x->model.adapter_sha256}};
    char path[4096];

    DTX_TRY(dtx_file_mkdirs(x->out));
    DTX_TRY(clear_out(x->out));
    DTX_TRY(dtx_file_join(path, sizeof path, x->out, WEIGHTS));
    DTX_TRY(dtx_model_write_merged(x->model.model, x->model.adapter, x->as_f32, meta, 3, path));
    for (size_t i = 0; i < sizeof beside / sizeof *beside; i++) {
        DTX_TRY(copy_file(x, beside[i]));
    }
    return write_config(x);
}

static int64_t n_pairs(const dtx_adapter *ad)
{
    int64_t n = 0;

    for (int64_t s = 0; ad != NULL && s < ad->n_slots; s++) {
        n += ad->slot[s].A != NULL;
    }
    return n;
}

static dtx_status merged(dtx_job *job)
{
    const char *dtype = dtx_job_flag(job, "dtype");
    merging x = {.base = job->config.model.path, .as_f32 = dtype != NULL && strcmp(dtype, "f32") == 0};
    dtx_status st = DTX_OK;

    if (dtype != NULL && !x.as_f32 && strcmp(dtype, "auto") != 0) {
        return DTX_FAIL(DTX_ERR_USAGE, "--dtype %.60s: auto or f32 is allowed", dtype);
    }
    x.out = job->args[0];
    DTX_TRY(dtx_job_need(job, "model.path", x.base));
    DTX_TRY(check_out(&x, job->redo));
    job->config.model.dtype = DTX_SET_DTYPE_AUTO; /* the map is enough, whatever a file says */
    DTX_GO(dtx_stage_model_open(job, job->variant, &x.model));
    if (job->dry_run) {
        dtx_log(DTX_LOG_INFO, "export", "plan: %s with %" PRId64 " matrices of variant %s merged, to %s", x.base,
                n_pairs(x.model.adapter), job->variant, x.out);
        goto done;
    }
    DTX_GO(write_folder(&x));
    dtx_log(DTX_LOG_INFO, "export", "done: %" PRId64 " tensors, %" PRId64 " of them merged with %s, in %s",
            dtx_model_n_params(x.model.model), n_pairs(x.model.adapter), job->variant, x.out);
done:
    dtx_stage_model_close(&x.model);
    return st;
}

static dtx_status run(dtx_job *job)
{
    const char *name = dtx_job_flag(job, "attribution"), *format = dtx_job_flag(job, "inseq-format");
    const bool csv = dtx_job_flag(job, "csv") != NULL, inseq = dtx_job_flag(job, "inseq") != NULL;

    if (csv + inseq + (dtx_job_flag(job, "merged") != NULL) != 1 || job->n_args != 1) {
        return DTX_FAIL(DTX_ERR_USAGE, "export needs one form and one output: detoxlens export --merged OUT_DIR, --csv OUT_DIR or --inseq "
                                       "OUT.json");
    }
    format = format != NULL ? format : "0.7";
    if (strcmp(format, "0.6") != 0 && strcmp(format, "0.7") != 0) {
        return DTX_FAIL(DTX_ERR_USAGE, "--inseq-format %.20s: 0.7 (Inseq 0.7 and later) or 0.6 (0.4 to 0.6) is expected", format);
    }
    if ((csv || inseq) && job->dry_run) {
        dtx_log(DTX_LOG_INFO, "export", "plan: %s of %s, to %s", csv ? "tables" : "attributions", job->config.run, job->args[0]);
        return DTX_OK;
    }
    return csv ? dtx_export_csv(job, job->args[0])
               : inseq ? dtx_export_inseq(job, name != NULL ? name : "input_x_gradient", format, job->args[0]) : merged(job);
}

static const dtx_job_option own_options[] = {
    {"csv", NULL, NULL, "completions, scores, curves and tokens of all variants as tables (CSV) in a folder"},
    {"inseq", NULL, NULL, "the variant's attributions as one JSON file that Inseq loads"},
    {"inseq-format", "0.6|0.7", NULL, "with --inseq: how arrays are written; 0.7 unless told, 0.6 for Inseq 0.4 to 0.6"},
    {"attribution", "NAME", NULL, "with --inseq: which result below attribution/ (default input_x_gradient)"},
    {"merged", NULL, NULL, "a model folder with the variant's adapter merged into the weights"},
    {"dtype", "auto|f32", NULL, "of the weights: auto = as the base stores them (default), f32"},
    {0},
};

const dtx_job_def dtx_job_export = {
    .name = "export",
    .args = "OUT",
    .summary = "a merged model folder; a run's tables (CSV) and attributions (Inseq's JSON)",
    .help = "--merged writes a folder in Hugging Face layout to OUT: model.safetensors with W + alpha / r B A of the variant's "
            "adapter, config.json,\n"
            "and what the base has of tokenizer files and generation_config.json. Weights are rounded to nearest even into the "
            "dtype of the base (quantised ones of a GGUF file into f16).\n"
            "A folder without config.json is not complete.\n"
            "\n"
            "  detoxlens export --merged --variant FT --run out --set model.path=models/small models/small-ft\n"
            "\n"
            "--csv writes tables of all variants to the folder OUT: prompts, completions, scores, tokens, token_shares, curves, one\n"
            "line for each row or step. --inseq writes the variant's attributions to the file OUT, which Inseq 0.7 (with\n"
            "--inseq-format 0.6: Inseq 0.4 to 0.6) loads by inseq.FeatureAttributionOutput.load(OUT). Both take the texts A..B-1 only with --rows A:B.\n"
            "\n"
            "  detoxlens export --csv --run out tables\n"
            "  detoxlens export --inseq --variant FT --run out --set model.path=models/small --rows 0:100 ft.json\n",
    .bit = DTX_JOB_EXPORT,
    .own_dry_run = true,
    .options = own_options,
    .run = run,
};
