/* expected/processors: kept sets and banned ids exactly, scores and probabilities within their tolerance. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "jobs/verify.h"
#include "src/file.h"
#include "src/json.h"
#include "src/mem.h"
#include "src/sampler.h"

typedef struct {
    double kept, banned, scores, probs; /* the first two count ids in one set alone */
} worst;

static dtx_status read_settings(const cJSON *c, const char *name, dtx_sampling *s, int64_t *prompt_len)
{
    const cJSON *settings = dtx_json_get(c, "settings");
    int64_t eos = -1;

    *s = (dtx_sampling){.do_sample = true, .temperature = 1, .top_p = 1};
    DTX_TRY(dtx_json_int(c, name, "prompt_len", 0, INT32_MAX, prompt_len));
    DTX_TRY(dtx_json_int(c, name, "eos_token_id", -1, INT32_MAX, &eos));
    s->eos = (int32_t)eos;
    if (settings != NULL) {
        DTX_TRY(dtx_json_int(settings, name, "no_repeat_ngram_size", 0, INT32_MAX, &s->no_repeat_ngram));
        DTX_TRY(dtx_json_int(settings, name, "min_new_tokens", 0, INT32_MAX, &s->min_new_tokens));
        DTX_TRY(dtx_json_int(settings, name, "top_k", 0, INT32_MAX, &s->top_k));
        DTX_TRY(dtx_json_double(settings, name, "temperature", 1e-6, 1e6, &s->temperature));
        DTX_TRY(dtx_json_double(settings, name, "top_p", 0, 1, &s->top_p));
    }
    return DTX_OK;
}

/* Ids that are in exactly one of a set and {i : in[i]}. */
static double set_difference(int64_t n, const int32_t *set, int64_t V, uint8_t *in)
{
    double count = 0;

    for (int64_t i = 0; i < n; i++) {
        in[set[i]] ^= 1;
    }
    for (int64_t i = 0; i < V; i++) {
        count += in[i];
    }
    return count;
}

static dtx_status run_case(const dtx_weights *w, int64_t i, const dtx_sampling *s, int64_t prompt_len, worst *out)
{
    char name[64];
    double *raw = NULL, *scores = NULL, *probs = NULL, top = -INFINITY, total = 0, difference = 0;
    float *x = NULL, *scratch = NULL;
    int32_t *ids = NULL, *kept = NULL, *banned = NULL;
    uint8_t *in = NULL;
    int64_t n_ids, n_kept, n_banned, V;
    const dtx_tensor *t;
    dtx_status st;

    snprintf(name, sizeof name, "case%" PRId64 ".raw_logits", i);
    DTX_GO(dtx_verify_doubles(w, name, -1, &raw, &t));
    V = t->n_elements;
    snprintf(name, sizeof name, "case%" PRId64 ".input_ids", i);
    DTX_GO(dtx_verify_ids(w, name, V, &ids, &n_ids));
    snprintf(name, sizeof name, "case%" PRId64 ".kept", i);
    DTX_GO(dtx_verify_ids(w, name, V, &kept, &n_kept));
    snprintf(name, sizeof name, "case%" PRId64 ".ngram_banned", i);
    DTX_GO(dtx_verify_ids(w, name, V, &banned, &n_banned));
    snprintf(name, sizeof name, "case%" PRId64 ".scores", i);
    DTX_GO(dtx_verify_doubles(w, name, V, &scores, NULL));
    snprintf(name, sizeof name, "case%" PRId64 ".probs", i);
    DTX_GO(dtx_verify_doubles(w, name, V, &probs, NULL));
    DTX_GO(DTX_NEW(x, V));
    DTX_GO(DTX_NEW(scratch, V));
    DTX_GO(DTX_NEW(in, V));

    /* the n-gram stage alone */
    const dtx_sampling ngram = {.do_sample = true, .temperature = 1, .top_p = 1, .eos = -1, .no_repeat_ngram = s->no_repeat_ngram};
    dtx_sampler_process(&ngram, ids, n_ids, prompt_len, V, x, scratch);
    for (int64_t j = 0; j < V; j++) {
        in[j] = x[j] < 0;
        x[j] = (float)raw[j];
    }
    out->banned += set_difference(n_banned, banned, V, in);

    dtx_sampler_process(s, ids, n_ids, prompt_len, V, x, scratch);
    for (int64_t j = 0; j < V; j++) {
        in[j] = x[j] > -INFINITY;
        top = fmax(top, x[j]);
    }
    out->kept += set_difference(n_kept, kept, V, in);
    out->scores = fmax(out->scores, dtx_verify_difference_f(V, x, scores));
    for (int64_t j = 0; j < V; j++) {
        total += exp(x[j] - top);
    }
    for (int64_t j = 0; j < V; j++) {
        difference = fmax(difference, fabs(exp(x[j] - top) / total - probs[j]));
    }
    out->probs = fmax(out->probs, difference);
done:
    dtx_free(raw);
    dtx_free(scores);
    dtx_free(probs);
    dtx_free(x);
    dtx_free(scratch);
    dtx_free(ids);
    dtx_free(kept);
    dtx_free(banned);
    dtx_free(in);
    return st;
}

dtx_status dtx_verify_processors(dtx_verify *v, const char *dir)
{
    char path[1024];
    cJSON *json = NULL;
    const cJSON *c;
    dtx_weights *w = NULL;
    worst all = {0};
    int64_t i = 0, prompt_len = 0;
    dtx_sampling s;
    dtx_status st;

    DTX_GO(dtx_file_join(path, sizeof path, dir, "expected/processors.json"));
    if (!dtx_file_exists(path)) {
        return DTX_OK;
    }
    DTX_GO(dtx_json_read(path, &json));
    DTX_GO(dtx_verify_open(dir, "processors", &w));
    cJSON_ArrayForEach(c, dtx_json_get(json, "cases"))
    {
        DTX_GO(read_settings(c, path, &s, &prompt_len));
        DTX_GO(run_case(w, i++, &s, prompt_len, &all));
    }
    if (i == 0) {
        st = DTX_FAIL(DTX_ERR_INPUT, "%s: has no cases", path);
        goto done;
    }
    dtx_verify_note(v, "processors.kept (ids that differ)", all.kept, 0);
    dtx_verify_note(v, "processors.ngram_banned (ids that differ)", all.banned, 0);
    dtx_verify_note(v, "processors.scores", all.scores, 1e-5);
    dtx_verify_note(v, "processors.probs", all.probs, dtx_verify_tolerance(w, "probs"));
done:
    cJSON_Delete(json);
    dtx_weights_close(w);
    return st;
}
