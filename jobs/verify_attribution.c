/* expected/attribution: every method on every pair, per-dimension scores, the adapter's rows and their divergence, and
 * Inseq's merging of pieces (merge = inseq). */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "jobs/verify.h"
#include "src/attrib.h"
#include "src/file.h"
#include "src/json.h"
#include "src/mem.h"
#include "src/words.h"

enum { LABEL = 64 };

/* The largest difference of each quantity over all pairs. */
typedef struct {
    char name[LABEL], entry[LABEL]; /* entry: its key in f32_vs_f64 */
    double worst;
} quantity;
typedef struct {
    quantity q[32];
    int n;
} quantities;

typedef struct {
    const dtx_weights *w;
    const dtx_model *model;
    const dtx_adapter *adapter;
    int64_t i, P, G, T, d, steps;
    int32_t *ids;
    const char **pieces;
    double *l2;                 /* (G, T) of the attribution under way, NaN where there is none */
    float *granular;            /* (G, T, d) */
    quantities *all;
} pair;

static void note(quantities *all, const char *name, const char *entry, double difference)
{
    int k = 0;

    while (k < all->n && strcmp(all->q[k].name, name) != 0) {
        k++;
    }
    if (k == all->n) {
        snprintf(all->q[all->n].name, LABEL, "%s", name);
        snprintf(all->q[all->n++].entry, LABEL, "%s", entry);
    }
    all->q[k].worst = fmax(all->q[k].worst, difference);
}

/* Compares with tensor pair{i}.NAME; it may hold fewer values than we have (curves are cut at 50 steps). */
static dtx_status compare(const pair *p, const char *name, const char *entry, int64_t n, const double *x, const float *f)
{
    char full[96];
    double *expected = NULL;
    const dtx_tensor *t;

    snprintf(full, sizeof full, "pair%" PRId64 ".%s", p->i, name);
    DTX_TRY(dtx_verify_doubles(p->w, full, -1, &expected, &t));
    bool cut = t->n_dims == 1 && n > 50 && t->n_elements == 50;
    if (t->n_elements != n && !cut) {
        note(p->all, name, entry, INFINITY);
    } else {
        note(p->all, name, entry, x != NULL ? dtx_verify_difference(t->n_elements, x, expected)
                                            : dtx_verify_difference_f(t->n_elements, f, expected));
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

    return dtx_attribute(p->model, &s, p->ids, p->P, p->G, NULL, p->pieces, a);
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
    if (dtx_weights_find(p->w, label) != NULL) {
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
    DTX_GO(attribute(p, DTX_IXG, DTX_MERGE_NONE, p->adapter, &tuned));
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
    const cJSON *spans = dtx_json_get(json, "words_spans"), *count = dtx_json_get(json, "words_source_count"),
                *start = dtx_json_get(json, "words_prompt_len");
    dtx_words w;
    int n = 0, differ = 0;

    DTX_TRY(dtx_words_make(true, p->pieces, p->P, p->G, &w));
    for (int64_t k = 0; k < w.n; k++) {
        if (w.edge[k + 1] - w.edge[k] > 1) {
            const cJSON *span = cJSON_GetArrayItem(spans, n++);
            const cJSON *a = cJSON_GetArrayItem(span, 0), *b = cJSON_GetArrayItem(span, 1);
            differ += a == NULL || b == NULL || a->valuedouble != (double)w.edge[k] || b->valuedouble != (double)w.edge[k + 1];
        }
    }
    differ += n != cJSON_GetArraySize(spans);
    differ += count == NULL || count->valuedouble != (double)w.n_prompt;
    differ += start == NULL || start->valuedouble != (double)w.start;
    note(p->all, "words.spans (entries that differ)", "", differ);
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

static dtx_status read_pair(pair *p, const cJSON *json, const char *path)
{
    const cJSON *tokens = dtx_json_get(json, "tokens"), *item;
    char name[64];
    int64_t n = 0;

    DTX_TRY(dtx_json_int(json, path, "prompt_len", 1, INT32_MAX, &p->P));
    DTX_TRY(dtx_json_int(json, path, "gen_len", 1, INT32_MAX, &p->G));
    snprintf(name, sizeof name, "pair%" PRId64 ".input_ids", p->i);
    DTX_TRY(dtx_verify_ids(p->w, name, dtx_model_arch(p->model)->vocab, &p->ids, &p->T));
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

static dtx_status check_pair(pair *p, const cJSON *json, const char *path)
{
    dtx_status st;

    DTX_GO(read_pair(p, json, path));
    DTX_GO(check_method(p, DTX_IXG, "input_x_gradient"));
    DTX_GO(check_method(p, DTX_SALIENCY, "saliency"));
    DTX_GO(check_method(p, DTX_IG, "integrated_gradients"));
    DTX_GO(check_words(p, json));
    if (p->adapter != NULL) {
        DTX_GO(check_adapter(p));
    }
done:
    dtx_free(p->ids);
    dtx_free(p->pieces);
    dtx_free(p->l2);
    dtx_free(p->granular);
    return st;
}

dtx_status dtx_verify_attribution(dtx_verify *v, const char *dir)
{
    char path[1024], adapter_dir[1024], label[96];
    quantities all = {.n = 0};
    cJSON *json = NULL;
    const cJSON *item;
    dtx_weights *w = NULL;
    dtx_model *model = NULL;
    dtx_adapter *adapter = NULL;
    int64_t i = 0, steps = 50;
    dtx_status st;

    DTX_GO(dtx_file_join(path, sizeof path, dir, "expected/attribution.json"));
    if (!dtx_file_exists(path)) {
        return DTX_OK;
    }
    DTX_GO(dtx_json_read(path, &json));
    DTX_GO(dtx_json_int(json, path, "integrated_gradients_steps", 1, 100000, &steps));
    DTX_GO(dtx_verify_open(dir, "attribution", &w));
    DTX_GO(dtx_model_open(dir, false, &model));
    DTX_GO(dtx_file_join(adapter_dir, sizeof adapter_dir, dir, "adapter"));
    if (dtx_file_is_dir(adapter_dir)) {
        DTX_GO(dtx_adapter_read(adapter_dir, dtx_model_arch(model), &adapter));
    }
    cJSON_ArrayForEach(item, dtx_json_get(json, "pairs"))
    {
        pair p = {.w = w, .model = model, .adapter = adapter, .i = i++, .d = dtx_model_arch(model)->hidden, .steps = steps, .all = &all};
        DTX_GO(check_pair(&p, item, path));
    }
    if (i == 0) {
        st = DTX_FAIL(DTX_ERR_INPUT, "%s: has no pairs", path);
        goto done;
    }
    for (int k = 0; k < all.n; k++) {
        snprintf(label, sizeof label, "attribution.%s", all.q[k].name);
        dtx_verify_note(v, label, all.q[k].worst, all.q[k].entry[0] == '\0' ? 0 : dtx_verify_tolerance(w, all.q[k].entry));
    }
done:
    cJSON_Delete(json);
    dtx_adapter_del(adapter);
    dtx_model_del(model);
    dtx_weights_close(w);
    return st;
}
