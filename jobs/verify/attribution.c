/* attribution.c - attribution.safetensors and .json: every method on every pair, per-dimension scores, the adapter's
 * rows and their divergence, and Inseq's merging of pieces (merge = inseq). */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "jobs/verify/verify.h"
#include "src/attribution/attrib.h"
#include "src/base/mem.h"
#include "src/attribution/words.h"

enum { LABEL = 64 };

/* The quantities, each over all pairs. */
typedef struct {
    dtx_quantity q[32];
    char name[32][LABEL];
    int n;
} quantities;

typedef struct {
    dtx_verify *v;
    quantities *all;
    int64_t i, P, G, T, d, steps;
    int32_t *ids;
    const char **pieces;
    double *l2;                 /* (G, T) of the attribution under way, NaN where there is none */
    float *granular;            /* (G, T, d) */
} pair;

static dtx_quantity *quantity(pair *p, const char *name, const char *entry)
{
    quantities *all = p->all;
    int k = 0;

    while (k < all->n && strcmp(all->name[k], name) != 0) {
        k++;
    }
    if (k == all->n) {
        snprintf(all->name[k], LABEL, "%s", name);
        all->q[k] = dtx_verify_begin(p->v, all->name[k], entry);
        all->n++;
    }
    return &all->q[k];
}

/* Compares with tensor pair{i}.NAME; it may hold fewer values than we have (curves are cut at 50 steps). */
static dtx_status compare(pair *p, const char *name, const char *entry, int64_t n, const double *x, const float *f)
{
    char full[96];
    double *expected = NULL;
    int64_t n_expected;

    snprintf(full, sizeof full, "pair%" PRId64 ".%s", p->i, name);
    DTX_TRY(dtx_verify_read(p->v, full, &expected, &n_expected, NULL));
    if (n_expected != n && !(n == p->G && n > 50 && n_expected == 50)) {
        dtx_free(expected);
        return DTX_FAIL(DTX_ERR_INPUT, "%s has %" PRId64 " values, %" PRId64 " are computed", full, n_expected, n);
    }
    if (x != NULL) {
        dtx_verify_values(quantity(p, name, entry), full, n_expected, x, expected);
    } else {
        dtx_verify_floats(quantity(p, name, entry), full, n_expected, f, expected);
    }
    dtx_free(expected);
    return DTX_OK;
}

static void take_granular(void *user, int64_t step, int64_t len, int64_t d, const float *score)
{
    pair *p = user;

    for (int64_t t = 0; t < p->T; t++) {
        double sum = 0;
        for (int64_t j = 0; j < d; j++) {
            double v = t < len ? score[t * d + j] : NAN;
            p->granular[(step * p->T + t) * d + j] = (float)v;
            sum += v * v;
        }
        p->l2[step * p->T + t] = sqrt(sum);
    }
}

static dtx_status attribute(pair *p, dtx_attrib_method method, dtx_attrib_merge merge, const dtx_adapter *adapter,
                            dtx_attribution *a)
{
    const dtx_attrib_settings s = {.method = method, .target = DTX_TARGET_PROBABILITY, .norm = DTX_NORM_L2, .merge = merge,
                                   .steps = p->steps, .baseline = -1, .adapter = adapter, .granular = take_granular, .user = p};

    return dtx_attribute(p->v->model, &s, p->ids, p->P, p->G, NULL, p->pieces, a);
}

static dtx_status check_method(pair *p, dtx_attrib_method method, const char *name)
{
    char label[LABEL];
    dtx_attribution a = {0};
    dtx_status st;

    DTX_GO(attribute(p, method, DTX_MERGE_NONE, NULL, &a));
    snprintf(label, sizeof label, "%s.l2", name);
    DTX_GO(compare(p, label, name, p->G * p->T, p->l2, NULL));
    snprintf(label, sizeof label, "%s.attr", name);
    DTX_GO(compare(p, label, name, p->G * p->T, NULL, a.value));
    snprintf(label, sizeof label, "%s.prompt_dependence", name);
    DTX_GO(compare(p, label, "prompt_dependence", p->G, NULL, a.prompt_dependence));
    snprintf(label, sizeof label, "%s.prompt_entropy", name);
    DTX_GO(compare(p, label, "prompt_entropy", p->G, NULL, a.entropy));
    DTX_GO(compare(p, "probability", "probability", p->G, NULL, a.probability));
    snprintf(label, sizeof label, "pair%" PRId64 ".%s.granular", p->i, name);
    if (dtx_verify_has(p->v, label)) {
        snprintf(label, sizeof label, "%s.granular", name);
        DTX_GO(compare(p, label, name, p->G * p->T * p->d, NULL, p->granular));
    }
done:
    dtx_attribution_free(&a);
    return st;
}

static dtx_status check_adapter(pair *p)
{
    dtx_attribution base = {0}, tuned = {0};
    double *kl = NULL;
    dtx_status st;

    DTX_GO(attribute(p, DTX_IXG, DTX_MERGE_NONE, NULL, &base));
    DTX_GO(attribute(p, DTX_IXG, DTX_MERGE_NONE, p->v->adapter, &tuned));
    DTX_GO(DTX_NEW(kl, p->G));
    for (int64_t g = 0; g < p->G; g++) {
        kl[g] = dtx_prompt_kl(base.value + g * p->T, tuned.value + g * p->T, p->P);
    }
    DTX_GO(compare(p, "input_x_gradient.attr_adapter", "input_x_gradient", p->G * p->T, NULL, tuned.value));
    DTX_GO(compare(p, "input_x_gradient.prompt_kl", "prompt_kl", p->G, kl, NULL));
done:
    dtx_free(kl);
    dtx_attribution_free(&base);
    dtx_attribution_free(&tuned);
    return st;
}

/* Spans of at least two pieces, and the two prompt lengths: exact. */
static dtx_status check_spans(pair *p, const cJSON *json)
{
    const cJSON *spans = dtx_json_get(json, "words_spans");
    dtx_words w;
    dtx_quantity *q = quantity(p, "words spans", "=");
    int64_t count = -1, start = -1, n = 0;

    DTX_TRY(dtx_json_int(json, "attribution.json", "words_source_count", 0, INT32_MAX, &count));
    DTX_TRY(dtx_json_int(json, "attribution.json", "words_prompt_len", 0, INT32_MAX, &start));
    DTX_TRY(dtx_words_make(true, p->pieces, p->P, p->G, &w));
    for (int64_t k = 0; k < w.n; k++) {
        if (w.edge[k + 1] - w.edge[k] > 1) {
            const cJSON *span = cJSON_GetArrayItem(spans, (int)n++);
            const double got[] = {(double)w.edge[k], (double)w.edge[k + 1]};
            const double want[] = {cJSON_GetNumberValue(cJSON_GetArrayItem(span, 0)), cJSON_GetNumberValue(cJSON_GetArrayItem(span, 1))};
            dtx_verify_values(q, "words_spans", 2, got, want);
        }
    }
    const double got[] = {(double)n, (double)w.n_prompt, (double)w.start};
    const double want[] = {cJSON_GetArraySize(spans), (double)count, (double)start};
    dtx_verify_values(q, "number of spans, words_source_count, words_prompt_len", 3, got, want);
    dtx_words_free(&w);
    return DTX_OK;
}

static dtx_status check_words(pair *p, const cJSON *json)
{
    dtx_attribution a = {0};
    dtx_status st;

    DTX_GO(check_spans(p, json));
    DTX_GO(attribute(p, DTX_IXG, DTX_MERGE_INSEQ, NULL, &a));
    DTX_GO(compare(p, "words.attr", "input_x_gradient", a.G_words * a.T_words, NULL, a.words_value));
    DTX_GO(compare(p, "words.probability", "probability", a.G_words, NULL, a.words_probability));
    DTX_GO(compare(p, "words.prompt_dependence", "prompt_dependence", a.G_words, NULL, a.words_prompt_dependence));
    DTX_GO(compare(p, "words.prompt_entropy", "prompt_entropy", a.G_words, NULL, a.words_entropy));
done:
    dtx_attribution_free(&a);
    return st;
}

static dtx_status read_pair(pair *p, const cJSON *json)
{
    const char *path = "attribution.json";
    const cJSON *tokens = dtx_json_get(json, "tokens"), *item;
    char name[64];
    int64_t n = 0;

    DTX_TRY(dtx_json_int(json, path, "prompt_len", 1, INT32_MAX, &p->P));
    DTX_TRY(dtx_json_int(json, path, "gen_len", 1, INT32_MAX, &p->G));
    snprintf(name, sizeof name, "pair%" PRId64 ".input_ids", p->i);
    DTX_TRY(dtx_verify_ids(p->v, name, &p->ids, &p->T, NULL));
    if (p->T != p->P + p->G || cJSON_GetArraySize(tokens) != p->T) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: pair %" PRId64 " has %" PRId64 " ids and %d pieces, expected %" PRId64 " + %" PRId64, path,
                        p->i, p->T, cJSON_GetArraySize(tokens), p->P, p->G);
    }
    DTX_TRY(DTX_NEW(p->pieces, p->T));
    cJSON_ArrayForEach(item, tokens)
    {
        p->pieces[n++] = cJSON_GetStringValue(item);
    }
    DTX_TRY(DTX_NEW(p->l2, p->G * p->T));
    return DTX_NEW(p->granular, p->G * p->T * p->d);
}

static dtx_status check_pair(pair *p, const cJSON *json)
{
    dtx_status st;

    DTX_GO(read_pair(p, json));
    DTX_GO(check_method(p, DTX_IXG, "input_x_gradient"));
    DTX_GO(check_method(p, DTX_SALIENCY, "saliency"));
    DTX_GO(check_method(p, DTX_IG, "integrated_gradients"));
    DTX_GO(check_words(p, json));
    if (p->v->adapter != NULL) {
        DTX_GO(check_adapter(p));
    }
done:
    dtx_free(p->ids);
    dtx_free(p->pieces);
    dtx_free(p->l2);
    dtx_free(p->granular);
    return st;
}

dtx_status dtx_verify_attribution(dtx_verify *v)
{
    quantities all = {.n = 0};
    cJSON *json = NULL;
    const cJSON *item;
    int64_t i = 0, steps = 50;
    dtx_status st;

    DTX_GO(dtx_verify_json(v, "attribution.json", &json));
    DTX_GO(dtx_json_int(json, "attribution.json", "integrated_gradients_steps", 1, 100000, &steps));
    cJSON_ArrayForEach(item, dtx_json_get(json, "pairs"))
    {
        pair p = {.v = v, .all = &all, .i = i++, .d = dtx_model_arch(v->model)->hidden, .steps = steps};
        DTX_GO(check_pair(&p, item));
    }
    for (int k = 0; k < all.n; k++) {
        dtx_verify_end(v, &all.q[k]);
    }
done:
    cJSON_Delete(json);
    return st;
}
