/* processors.c - processors.safetensors and .json: kept and banned ids exactly, scores and probabilities. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "jobs/verify/verify.h"
#include "jobs/shared/eos.h"
#include "src/base/mem.h"
#include "src/answer/sampler.h"

typedef struct {
    dtx_quantity kept, banned, scores, probs;
} compared;

static dtx_status read_settings(const cJSON *c, const char *name, dtx_sampling *s, int64_t *prompt_len)
{
    const cJSON *settings = dtx_json_get(c, "settings");

    *s = (dtx_sampling){.do_sample = true, .temperature = 1, .top_p = 1};
    DTX_TRY(dtx_json_int(c, name, "prompt_len", 0, INT32_MAX, prompt_len));
    DTX_TRY(dtx_eos_get(c, name, &s->eos));
    if (settings != NULL) {
        DTX_TRY(dtx_json_int(settings, name, "no_repeat_ngram_size", 0, INT32_MAX, &s->no_repeat_ngram));
        DTX_TRY(dtx_json_int(settings, name, "min_new_tokens", 0, INT32_MAX, &s->min_new_tokens));
        DTX_TRY(dtx_json_int(settings, name, "top_k", 0, INT32_MAX, &s->top_k));
        DTX_TRY(dtx_json_double(settings, name, "temperature", 1e-6, 1e6, &s->temperature));
        DTX_TRY(dtx_json_double(settings, name, "top_p", 0, 1, &s->top_p));
    }
    return DTX_OK;
}

/* Compares the ids of a tensor, as flags over the vocabulary, with the flags we have. */
static dtx_status compare_set(dtx_verify *v, const char *tensor, int64_t V, const double *flags, dtx_quantity *q)
{
    int32_t *ids = NULL;
    double *want = NULL;
    int64_t n;
    dtx_status st;

    DTX_GO(dtx_verify_ids(v, tensor, &ids, &n, NULL));
    DTX_GO(DTX_NEW(want, V));
    for (int64_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= V) {
            st = DTX_FAIL(DTX_ERR_INPUT, "%s holds id %" PRId32 ", there are %" PRId64 " logits", tensor, ids[i], V);
            goto done;
        }
        want[ids[i]] = 1;
    }
    dtx_verify_values(q, tensor, V, flags, want);
done:
    dtx_free(ids);
    dtx_free(want);
    return st;
}

static dtx_status run_case(dtx_verify *v, int64_t i, const dtx_sampling *s, int64_t prompt_len, compared *q)
{
    char name[64];
    double *raw = NULL, *scores = NULL, *probs = NULL, *got = NULL, top = -INFINITY, total = 0;
    float *x = NULL, *scratch = NULL;
    int32_t *ids = NULL;
    int64_t n_ids, V, n, m;
    dtx_status st;

    snprintf(name, sizeof name, "case%" PRId64 ".raw_logits", i);
    DTX_GO(dtx_verify_read(v, name, &raw, &V, NULL));
    snprintf(name, sizeof name, "case%" PRId64 ".scores", i);
    DTX_GO(dtx_verify_read(v, name, &scores, &n, NULL));
    snprintf(name, sizeof name, "case%" PRId64 ".probs", i);
    DTX_GO(dtx_verify_read(v, name, &probs, &m, NULL));
    snprintf(name, sizeof name, "case%" PRId64 ".input_ids", i);
    DTX_GO(dtx_verify_ids(v, name, &ids, &n_ids, NULL));
    if (V < 1 || n != V || m != V || prompt_len > n_ids) {
        st = DTX_FAIL(DTX_ERR_INPUT, "case %" PRId64 ": %" PRId64 " logits, %" PRId64 " scores, %" PRId64 " probabilities, %" PRId64
                      " ids with a prompt of %" PRId64, i, V, n, m, n_ids, prompt_len);
        goto done;
    }
    DTX_GO(DTX_NEW(x, V));
    DTX_GO(DTX_NEW(scratch, V));
    DTX_GO(DTX_NEW(got, V));

    /* the n-gram stage alone */
    const dtx_sampling ngram = {.do_sample = true, .temperature = 1, .top_p = 1, .no_repeat_ngram = s->no_repeat_ngram};
    dtx_sampler_process(&ngram, ids, n_ids, prompt_len, V, x, scratch);
    for (int64_t j = 0; j < V; j++) {
        got[j] = x[j] < 0;
        x[j] = (float)raw[j];
    }
    snprintf(name, sizeof name, "case%" PRId64 ".ngram_banned", i);
    DTX_GO(compare_set(v, name, V, got, &q->banned));

    dtx_sampler_process(s, ids, n_ids, prompt_len, V, x, scratch);
    for (int64_t j = 0; j < V; j++) {
        got[j] = x[j] > -INFINITY;
        top = fmax(top, (double)x[j]);
    }
    snprintf(name, sizeof name, "case%" PRId64 ".kept", i);
    DTX_GO(compare_set(v, name, V, got, &q->kept));
    snprintf(name, sizeof name, "case%" PRId64, i);
    dtx_verify_floats(&q->scores, name, V, x, scores);
    for (int64_t j = 0; j < V; j++) {
        got[j] = exp((double)x[j] - top);
        total += got[j];
    }
    for (int64_t j = 0; j < V; j++) {
        got[j] /= total;
    }
    dtx_verify_values(&q->probs, name, V, got, probs);
done:
    dtx_free(raw);
    dtx_free(scores);
    dtx_free(probs);
    dtx_free(got);
    dtx_free(x);
    dtx_free(scratch);
    dtx_free(ids);
    return st;
}

dtx_status dtx_verify_processors(dtx_verify *v)
{
    cJSON *json = NULL;
    const cJSON *c;
    compared q = {.kept = dtx_verify_begin(v, "processors kept", "="), .banned = dtx_verify_begin(v, "processors ngram_banned", "="),
                  .scores = dtx_verify_begin(v, "processors scores", NULL), .probs = dtx_verify_begin(v, "processors probs", "probs")};
    int64_t i = 0, prompt_len = 0;
    dtx_sampling s;
    dtx_status st;

    DTX_GO(dtx_verify_json(v, "processors.json", &json));
    cJSON_ArrayForEach(c, dtx_json_get(json, "cases"))
    {
        DTX_GO(read_settings(c, "processors.json", &s, &prompt_len));
        DTX_GO(run_case(v, i++, &s, prompt_len, &q));
    }
    dtx_verify_end(v, &q.kept);
    dtx_verify_end(v, &q.banned);
    dtx_verify_end(v, &q.scores);
    dtx_verify_end(v, &q.probs);
done:
    cJSON_Delete(json);
    return st;
}
