/* verify RUN: rows of a run.h5 recomputed from the model. What is stored of a sample of a variant's rows (log-probabilities,
 * attributions) is computed again by single passes over the whole text and compared within stated tolerances: those of
 * single precision, as decoding with a cache and other block sizes have other last bits. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/attribute/attribute.h"
#include "jobs/verify/verify.h"
#include "src/base/mem.h"
#include "src/training/policy.h"

enum { LOGPROB, BASE, VALUE, PROBABILITY, ENTROPY, DEPENDENCE, QUANTITIES };
static const struct {
    const char *name;
    double tolerance; /* of |got - stored| */
} quantity[QUANTITIES] = {{"logprob", 2e-3},     {"base_logprob", 2e-3}, {"value", 2e-4},
                          {"step_probability", 1e-3}, {"entropy", 5e-3},  {"prompt_dependence", 1e-3}};

typedef struct {
    const dtx_job *job;
    const char *path;
    hid_t file;
    dtx_stage_model m;
    int64_t n_rows, samples;         /* of the set that is looked at */
    int64_t *order, n_order;         /* rows to look at */
    double worst[QUANTITIES];
    int64_t n[QUANTITIES], where[QUANTITIES];
    bool equal;
    int64_t n_sets;                  /* quantities that were compared */
} checking;

static void compare(checking *c, int k, int64_t row, int64_t n, const float *got, const float *want)
{
    for (int64_t i = 0; i < n; i++) {
        const bool none = isnan(want[i]);
        double d = none && isnan(got[i]) ? 0 : fabs((double)got[i] - (double)want[i]);
        d = isnan(d) ? INFINITY : d;
        c->n[k] += !none;
        if (d > c->worst[k]) {
            c->worst[k] = d;
            c->where[k] = row;
        }
    }
}

/* Prints and forgets what was compared since the last call. */
static void conclude(checking *c, const char *set)
{
    for (int k = 0; k < QUANTITIES; k++) {
        if (c->n[k] == 0 && c->worst[k] == 0) {
            continue;
        }
        const bool fits = c->worst[k] <= quantity[k].tolerance;
        if (c->job->json) {
            printf("{\"set\":\"%s\",\"quantity\":\"%s\",\"values\":%" PRId64 ",\"largest\":%.3g,\"tolerance\":%.3g,\"row\":%" PRId64
                   ",\"equal\":%s}\n", set, quantity[k].name, c->n[k], isfinite(c->worst[k]) ? c->worst[k] : 1e300,
                   quantity[k].tolerance, c->where[k], fits ? "true" : "false");
        } else {
            printf("%-44s %-18s %8" PRId64 " values  largest difference %.2e  tolerance %.0e  %s", set, quantity[k].name, c->n[k],
                   c->worst[k], quantity[k].tolerance, fits ? "ok\n" : "DIFFERS");
            if (!fits) {
                printf(" (row %" PRId64 ")\n", c->where[k]);
            }
        }
        c->equal = c->equal && fits;
        c->n_sets++;
        c->n[k] = 0;
        c->worst[k] = 0;
        c->where[k] = 0;
    }
}

/* --- reading --- */

static dtx_status read_row(const checking *c, const char *group, const char *name, hid_t type, int64_t first, int64_t n, int64_t width, void *x)
{
    return dtx_h5_read_rows(c->file, group, name, type, first, n, width, x);
}

/* Ids of a row's prompt and its whole completion. */
static dtx_status read_ids(const checking *c, const char *source, int64_t row, int32_t **ids, int64_t *P, int32_t *length)
{
    int64_t edge[2], shape[2];

    DTX_TRY(dtx_h5_shape(c->file, source, "tokens", c->n_rows, DTX_H5_ANY, shape));
    DTX_TRY(dtx_h5_edges(c->file, source, "prompt_offset", c->n_rows, row, edge));
    DTX_TRY(read_row(c, source, "length", H5T_NATIVE_INT32, row, 1, 1, length));
    *P = edge[1] - edge[0];
    if (*P < 1 || *length < 0 || *length > shape[1]) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: %s, row %" PRId64 ": %" PRId64 " prompt and %" PRId32 " generated tokens are not possible",
                        c->path, source, row, *P, *length);
    }
    DTX_TRY(DTX_NEW_RAW(*ids, *P + shape[1]));
    DTX_TRY(read_row(c, source, "prompt_tokens", H5T_NATIVE_INT32, edge[0], *P, 1, *ids));
    DTX_TRY(read_row(c, source, "tokens", H5T_NATIVE_INT32, row, 1, shape[1], *ids + *P));
    for (int64_t t = 0; t < *P + *length; t++) {
        if ((*ids)[t] < 0 || (*ids)[t] >= c->m.arch.vocab) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: %s, row %" PRId64 ": id %" PRId32 " is none of the model's", c->path, source, row, (*ids)[t]);
        }
    }
    return DTX_OK;
}

/* The rows of --rows, else at most `wanted` ones spread evenly over those that are done. */
static dtx_status choose_rows(checking *c, const uint8_t *done, int64_t wanted)
{
    const dtx_job *job = c->job;
    int64_t n = 0;

    c->n_order = 0;
    for (int64_t r = 0; r < c->n_rows; r++) {
        const int64_t text = r / c->samples;
        if (done[r] != 0 && (job->row_first < 0 || (text >= job->row_first && text < job->row_last))) {
            c->order[n++] = r;
        }
    }
    if (job->row_first >= 0 || n <= wanted) {
        c->n_order = n;
        return DTX_OK;
    }
    for (int64_t i = 0; i < wanted; i++) {
        c->order[i] = c->order[wanted > 1 ? i * (n - 1) / (wanted - 1) : 0];
    }
    c->n_order = wanted;
    return DTX_OK;
}

/* Rows and samples of `source`; done: a flag for each row, from GROUP/NAME. */
static dtx_status open_rows(checking *c, const char *group, const char *name, uint8_t **done)
{
    void *flags = NULL;
    int64_t shape[2], texts[2];

    DTX_TRY(dtx_h5_shape(c->file, dtx_h5_places[DTX_H5_PROMPTS].path, "id", DTX_H5_ANY, 1, texts));
    DTX_TRY(dtx_h5_take(c->file, group, name, H5T_NATIVE_UINT8, DTX_H5_ANY, 1, &flags, shape));
    *done = flags;
    c->n_rows = shape[0];
    c->samples = texts[0] > 0 && c->n_rows >= texts[0] ? c->n_rows / texts[0] : 1;
    dtx_free(c->order);
    c->order = NULL;
    return DTX_NEW(c->order, c->n_rows);
}

/* --- completions --- */

static dtx_status check_logprob(checking *c, const char *source, const char *name, int k, const dtx_adapter *adapter, int64_t row)
{
    int32_t *ids = NULL, length;
    float *got = NULL, *stored = NULL;
    double *lp = NULL;
    int64_t P, shape[2];
    dtx_status st;

    DTX_GO(read_ids(c, source, row, &ids, &P, &length));
    DTX_GO(dtx_h5_shape(c->file, source, name, c->n_rows, DTX_H5_ANY, shape));
    if (length > shape[1]) {
        st = DTX_FAIL(DTX_ERR_INPUT, "%s: %s, row %" PRId64 " has %" PRId32 " tokens, %s has room for %" PRId64, c->path, source, row, length, name,
                      shape[1]);
        goto done;
    }
    DTX_GO(DTX_NEW_RAW(lp, shape[1]));
    DTX_GO(DTX_NEW_RAW(got, shape[1]));
    DTX_GO(DTX_NEW_RAW(stored, shape[1]));
    DTX_GO(read_row(c, source, name, H5T_NATIVE_FLOAT, row, 1, shape[1], stored));
    const int64_t offset[2] = {0, P + length};
    const dtx_policy_rows rows = {.n = 1, .offset = offset, .query = &P, .ids = ids};
    DTX_GO(length > 0 ? dtx_policy_compare(c->m.model, adapter, NULL, NULL, &rows, &(dtx_policy_view){.lp = lp}) : DTX_OK);
    for (int64_t i = 0; i < shape[1]; i++) {
        got[i] = i < length ? (float)lp[i] : (float)NAN;
    }
    compare(c, k, row, shape[1], got, stored);
done:
    dtx_free(ids);
    dtx_free(lp);
    dtx_free(got);
    dtx_free(stored);
    return st;
}

static dtx_status check_completions(checking *c, int64_t wanted)
{
    char source[128];
    uint8_t *done = NULL;
    dtx_status st;

    dtx_h5_group(source, sizeof source, DTX_H5_COMPLETIONS, c->m.variant, NULL);
    if (!dtx_h5_has(c->file, source, "logprob")) {
        return DTX_OK; /* imported, or another variant's completions are attributed */
    }
    DTX_GO(open_rows(c, source, "finish", &done));
    DTX_GO(choose_rows(c, done, wanted));
    for (int64_t i = 0; i < c->n_order; i++) {
        DTX_GO(check_logprob(c, source, "logprob", LOGPROB, c->m.adapter, c->order[i]));
        if (dtx_h5_has(c->file, source, "base_logprob")) {
            DTX_GO(check_logprob(c, source, "base_logprob", BASE, NULL, c->order[i]));
        }
    }
    conclude(c, source);
done:
    dtx_free(done);
    return st;
}

/* --- attributions --- */

/* The settings that an attribution was made with; *of: whose completions it reads. */
static dtx_status read_settings(checking *c, const char *group, dtx_attrib_settings *set, char *of, size_t size, bool *all_tokens)
{
    static const char *const names[] = {"method", "target", "norm", "baseline", "completions_of", "weights_fingerprint", "adapter_sha256"};
    const char *now[] = {NULL, NULL, NULL, NULL, NULL, c->m.fingerprint, c->m.adapter_sha256};
    char *text[7] = {NULL};
    int64_t template_tokens = 1;
    bool there;
    dtx_tokenizer *tokenizer = NULL;
    dtx_status st;

    for (int i = 0; i < 7; i++) {
        DTX_GO(dtx_h5_attr_get_str(c->file, group, names[i], &text[i]));
        if (text[i] == NULL) {
            st = DTX_FAIL(DTX_ERR_INPUT, "%s: %s has no attribute %s", c->path, group, names[i]);
            goto done;
        }
        if (now[i] != NULL && strcmp(now[i], text[i]) != 0) {
            st = DTX_FAIL(DTX_ERR_USAGE, "%s: %s was made with another model or adapter: %s differs", c->path, group, names[i]);
            goto done;
        }
    }
    *set = (dtx_attrib_settings){.merge = DTX_MERGE_NONE, .baseline = -1, .adapter = c->m.adapter};
    static const char *const keys[] = {"attribute.method", "attribute.target", "attribute.norm"};
    int value[3];
    for (int i = 0; i < 3; i++) {
        value[i] = dtx_config_value(keys[i], text[i]);
        if (value[i] < 0) {
            st = DTX_FAIL(DTX_ERR_INPUT, "%s: %s: %s is \"%.40s\", which %s does not allow", c->path, group, names[i], text[i], keys[i]);
            goto done;
        }
    }
    dtx_attribute_meaning((dtx_set_method)value[0], (dtx_set_target)value[1], (dtx_set_norm)value[2], DTX_SET_MERGE_NONE, set);
    DTX_GO(dtx_h5_attr_get_int(c->file, group, "steps", &set->steps, &there));
    DTX_GO(dtx_h5_attr_get_int(c->file, group, "template_tokens", &template_tokens, &there));
    if (set->method == DTX_IG && strcmp(text[3], "zero") != 0) {
        DTX_GO(dtx_tokenizer_open(c->job->config.model.path, &tokenizer));
        set->baseline = dtx_tokenizer_id(tokenizer, text[3]);
    }
    *all_tokens = template_tokens != 0;
    snprintf(of, size, "%s", text[4]);
done:
    dtx_tokenizer_close(tokenizer);
    for (int i = 0; i < 7; i++) {
        dtx_free(text[i]);
    }
    return st;
}

static dtx_status check_matrix(checking *c, const char *group, const char *source, const dtx_attrib_settings *set, bool all_tokens,
                               int64_t row)
{
    static const char *const curve[] = {"step_probability", "entropy", "prompt_dependence"};
    dtx_attribution a = {0};
    int32_t *ids = NULL, length, G, T;
    float *stored = NULL;
    int64_t P, edge[2], shape[2];
    dtx_status st;

    DTX_GO(read_ids(c, source, row, &ids, &P, &length));
    DTX_GO(read_row(c, group, "G", H5T_NATIVE_INT32, row, 1, 1, &G));
    DTX_GO(read_row(c, group, "T", H5T_NATIVE_INT32, row, 1, 1, &T));
    DTX_GO(dtx_h5_edges(c->file, group, "row_offset", c->n_rows, row, edge));
    if (G < 0 || G > length || T != P + G || edge[1] - edge[0] != (int64_t)G * T) {
        st = DTX_FAIL(DTX_ERR_INPUT, "%s: %s, row %" PRId64 ": %" PRId32 " x %" PRId32 " scores do not fit %" PRId64 " prompt and %" PRId32
                      " generated tokens", c->path, group, row, G, T, P, length);
        goto done;
    }
    DTX_GO(dtx_attribute(c->m.model, set, ids, P, G, NULL, NULL, &a));
    DTX_GO(DTX_NEW_RAW(stored, (int64_t)G * T));
    DTX_GO(read_row(c, group, "value", H5T_NATIVE_FLOAT, edge[0], (int64_t)G * T, 1, stored));
    compare(c, VALUE, row, (int64_t)G * T, a.value, stored);
    const float *const got[] = {a.probability, a.entropy, a.prompt_dependence};
    for (int k = 0; k < (all_tokens ? 3 : 1); k++) { /* the others count some prompt tokens only: they follow from the matrix */
        DTX_GO(dtx_h5_shape(c->file, group, curve[k], c->n_rows, DTX_H5_ANY, shape));
        if (G > shape[1]) {
            st = DTX_FAIL(DTX_ERR_INPUT, "%s: %s, row %" PRId64 " has %" PRId32 " steps, %s has room for %" PRId64, c->path, group, row, G, curve[k],
                          shape[1]);
            goto done;
        }
        dtx_free(stored);
        stored = NULL;
        DTX_GO(DTX_NEW_RAW(stored, shape[1]));
        DTX_GO(read_row(c, group, curve[k], H5T_NATIVE_FLOAT, row, 1, shape[1], stored));
        compare(c, PROBABILITY + k, row, G, got[k], stored);
    }
done:
    dtx_attribution_free(&a);
    dtx_free(ids);
    dtx_free(stored);
    return st;
}

static dtx_status check_attributions(checking *c, int64_t wanted)
{
    char parent[128], group[640], source[320], of[96], **names = NULL;
    size_t n = 0;
    dtx_attrib_settings set;
    bool all_tokens = true;
    uint8_t *done = NULL;
    dtx_status st;

    dtx_h5_group(parent, sizeof parent, DTX_H5_ATTRIBUTIONS, c->m.variant, NULL);
    DTX_GO(dtx_h5_list(c->file, parent, &names, &n));
    for (size_t k = 0; k < n; k++) {
        dtx_h5_group(group, sizeof group, DTX_H5_ATTRIBUTION, c->m.variant, names[k]);
        if (!dtx_h5_has(c->file, group, "done")) {
            continue; /* an axis */
        }
        DTX_GO(read_settings(c, group, &set, of, sizeof of, &all_tokens));
        dtx_h5_group(source, sizeof source, DTX_H5_COMPLETIONS, of, NULL);
        dtx_free(done);
        done = NULL;
        DTX_GO(open_rows(c, group, "done", &done));
        DTX_GO(choose_rows(c, done, wanted));
        for (int64_t i = 0; i < c->n_order; i++) {
            DTX_GO(check_matrix(c, group, source, &set, all_tokens, c->order[i]));
        }
        conclude(c, group);
    }
done:
    dtx_free(done);
    dtx_free(names);
    return st;
}

/* --- all --- */

/* The model must be the one that the completions were made with, where the file tells. */
static dtx_status check_model(const checking *c)
{
    dtx_stage_diff diff = {{0}};
    char *was = NULL;
    dtx_status st;

    if (!dtx_h5_exists(c->file, c->m.group)) {
        return DTX_FAIL(DTX_ERR_MISSING, "%s: there is no variant %s", c->path, c->m.variant);
    }
    DTX_GO(dtx_h5_attr_get_str(c->file, c->m.group, "weights_fingerprint", &was));
    if (was != NULL) {
        DTX_GO(dtx_stage_compare(c->file, c->m.group, "weights_fingerprint", c->m.fingerprint, &diff));
        DTX_GO(dtx_stage_compare(c->file, c->m.group, "adapter_sha256", c->m.adapter_sha256, &diff));
    }
    st = diff.text[0] == '\0' ? DTX_OK : DTX_FAIL(DTX_ERR_USAGE, "%s: %s was made with another model: %s", c->path, c->m.group, diff.text);
done:
    dtx_free(was);
    return st;
}

dtx_status dtx_verify_rows(dtx_job *job, const char *path, int64_t wanted, bool *equal)
{
    checking c = {.job = job, .path = path, .file = -1, .equal = true};
    dtx_status st;

    DTX_GO(dtx_h5_open_serial(path, &c.file));
    DTX_GO(dtx_h5_check_schema(c.file, path));
    DTX_GO(dtx_stage_model_open(job, job->variant, &c.m));
    DTX_GO(check_model(&c));
    DTX_GO(check_completions(&c, wanted));
    DTX_GO(check_attributions(&c, wanted));
    if (c.n_sets == 0) {
        st = DTX_FAIL(DTX_ERR_MISSING, "%s: nothing of %s can be recomputed: there are neither log-probabilities nor attributions of "
                      "the rows asked for", path, c.m.group);
        goto done;
    }
    *equal = c.equal;
done:
    dtx_stage_model_close(&c.m);
    dtx_free(c.order);
    dtx_h5_close(c.file);
    return st;
}
