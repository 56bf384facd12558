#include "src/training/ngrams.h"

#include <math.h>
#include <string.h>

#include "src/base/mem.h"
#include "src/base/rng.h"

enum {
    MAX_N = 3,
    ID_BITS = 20,      /* an id of pretrain.vocab's range; three of them and n fill a key */
    PASS_KEY = 0x4E677261,
    MAX_PASSES = 100,
    MAX_NEWTON = 100
};
#define TOLERANCE 0.01 /* of the dual's gradient */

struct dtx_ngrams {
    uint64_t *key;     /* (slots) of an open-addressing table; 0 = free */
    int32_t *feature;  /* (slots) */
    int64_t slots, n, n_labels, n_problems;
    float *ratio;      /* (n_problems, n) log-count ratio, the value of a feature that is there */
    double *w;         /* (n_problems, n + 1) weights, the last one of the constant feature */
    uint32_t *seen, text; /* (n) the last text that held the feature, so that each counts once */
};

typedef struct {       /* the training texts as lists of features, each once */
    int64_t n;
    int64_t *offset;   /* (n + 1) */
    int32_t *feature, *label;
} lists;

static uint64_t key_of(const int32_t *id, int n)
{
    uint64_t k = (uint64_t)n;

    for (int i = 0; i < n; i++) {
        k = k << ID_BITS | (uint64_t)id[i];
    }
    return k;
}

/* Slot of a key: where it stands, or the free one where it belongs. */
static int64_t slot_of(const dtx_ngrams *g, uint64_t key)
{
    uint64_t h = key * 0x9E3779B97F4A7C15ULL;
    int64_t at = (int64_t)((h ^ h >> 29) & (uint64_t)(g->slots - 1));

    while (g->key[at] != 0 && g->key[at] != key) {
        at = (at + 1) & (g->slots - 1);
    }
    return at;
}

static const int32_t *tokens_of(const dtx_labelled *l, int64_t text, int64_t *n)
{
    *n = l->offset[text + 1] - l->offset[text] - 2;
    return l->id + l->offset[text] + 1;
}

/* Twice the slots, at least half of them free at any time. */
static dtx_status grow(dtx_ngrams *g)
{
    dtx_ngrams old = *g;
    dtx_status st = DTX_OK;

    g->slots *= 2;
    g->key = NULL;
    g->feature = NULL;
    DTX_GO(DTX_NEW(g->key, g->slots));
    DTX_GO(DTX_NEW(g->feature, g->slots));
    for (int64_t i = 0; i < old.slots; i++) {
        if (old.key[i] != 0) {
            const int64_t at = slot_of(g, old.key[i]);
            g->key[at] = old.key[i];
            g->feature[at] = old.feature[i];
        }
    }
done:
    dtx_free(old.key);
    dtx_free(old.feature);
    return st;
}

/* Numbers all n-grams of the training texts and lists each text's. */
static dtx_status collect(dtx_ngrams *g, const dtx_labelled *l, lists *out)
{
    int64_t tokens = 0, n_lists = l->n - l->n_held, k = 0, used = 0;
    size_t seen_cap = 0;

    for (int64_t i = 0; i < l->n; i++) {
        tokens += l->held[i] ? 0 : l->offset[i + 1] - l->offset[i];
    }
    g->slots = 1024;
    DTX_TRY(DTX_NEW(g->key, g->slots));
    DTX_TRY(DTX_NEW(g->feature, g->slots));
    DTX_TRY(DTX_NEW(out->offset, n_lists + 1));
    DTX_TRY(DTX_NEW(out->label, n_lists + 1));
    DTX_TRY(DTX_NEW(out->feature, MAX_N * tokens + 1));
    for (int64_t i = 0; i < l->n; i++) {
        int64_t n;
        const int32_t *id = tokens_of(l, i, &n);
        if (l->held[i]) {
            continue;
        }
        for (int64_t j = 0; j < n; j++) {
            for (int len = 1; len <= MAX_N && len <= j + 1; len++) {
                const uint64_t key = key_of(id + j + 1 - len, len);
                if (2 * g->n >= g->slots) {
                    DTX_TRY(grow(g));
                }
                const int64_t at = slot_of(g, key);
                if (g->key[at] == 0) {
                    DTX_TRY(DTX_GROW(g->seen, seen_cap, g->n + 1));
                    g->seen[g->n] = 0;
                    g->key[at] = key;
                    g->feature[at] = (int32_t)g->n++;
                }
                if (g->seen[g->feature[at]] != (uint32_t)k + 1) {
                    g->seen[g->feature[at]] = (uint32_t)k + 1;
                    out->feature[used++] = g->feature[at];
                }
            }
        }
        out->label[k] = l->label[i];
        out->offset[++k] = used;
    }
    out->n = k;
    g->text = (uint32_t)k;
    return DTX_OK;
}

/* r_f = log((p_f / |p|) / (q_f / |q|)), p_f and q_f one more than the texts with f under the label and under the others. */
static dtx_status log_count_ratios(const lists *t, int64_t n, int32_t label, float *ratio)
{
    int64_t *count[2] = {NULL, NULL};
    double sum[2] = {(double)n, (double)n};
    dtx_status st = DTX_OK;

    DTX_GO(DTX_NEW(count[0], n));
    DTX_GO(DTX_NEW(count[1], n));
    for (int64_t i = 0; i < t->n; i++) {
        for (int64_t k = t->offset[i]; k < t->offset[i + 1]; k++) {
            count[t->label[i] == label][t->feature[k]]++;
        }
        sum[t->label[i] == label] += (double)(t->offset[i + 1] - t->offset[i]);
    }
    for (int64_t f = 0; f < n; f++) {
        ratio[f] = (float)log((double)(count[1][f] + 1) / sum[1] / ((double)(count[0][f] + 1) / sum[0]));
    }
done:
    dtx_free(count[0]);
    dtx_free(count[1]);
    return st;
}

static double product(const lists *t, int64_t i, const float *ratio, const double *w, int64_t n)
{
    double z = w[n];

    for (int64_t k = t->offset[i]; k < t->offset[i + 1]; k++) {
        z += w[t->feature[k]] * (double)ratio[t->feature[k]];
    }
    return z;
}

static void add(const lists *t, int64_t i, const float *ratio, double by, double *w, int64_t n)
{
    for (int64_t k = t->offset[i]; k < t->offset[i + 1]; k++) {
        w[t->feature[k]] += by * (double)ratio[t->feature[k]];
    }
    w[n] += by;
}

/* Minimum over z of z log z + (C - z) log(C - z) + a/2 (z - old)^2 + b (z - old) by Newton's method from inside (0, C): Yu et al.,
 * Algorithm 4. */
static double coordinate(double a, double b, double C, double old)
{
    double z = C - old < 0.5 * C ? 0.1 * old : old, g = a * (z - old) + b + log(z / (C - z));

    for (int i = 0; i < MAX_NEWTON && fabs(g) > 1e-3 * TOLERANCE; i++) {
        double next = z - g / (a + C / (C - z) / z);
        z = next <= 0 ? 0.1 * z : next;
        g = a * (z - old) + b + log(z / (C - z));
    }
    return z;
}

/* Yu et al., Algorithm 5: dual variables alpha_i and C - alpha_i of each text, the smaller gets the Newton step. */
static dtx_status fit(const lists *t, int32_t label, double C, const float *ratio, double *w, int64_t n)
{
    double (*alpha)[2] = NULL, *square = NULL, worst = INFINITY;
    int64_t *order = NULL;
    dtx_status st = DTX_OK;

    DTX_GO(DTX_NEW(alpha, t->n));
    DTX_GO(DTX_NEW(square, t->n));
    DTX_GO(DTX_NEW(order, t->n));
    for (int64_t i = 0; i < t->n; i++) {
        alpha[i][0] = fmin(1e-3 * C, 1e-8);
        alpha[i][1] = C - alpha[i][0];
        square[i] = 1;
        for (int64_t k = t->offset[i]; k < t->offset[i + 1]; k++) {
            square[i] += (double)ratio[t->feature[k]] * (double)ratio[t->feature[k]];
        }
        add(t, i, ratio, (t->label[i] == label ? 1 : -1) * alpha[i][0], w, n);
    }
    for (int pass = 0; pass < MAX_PASSES && worst > TOLERANCE; pass++) {
        worst = 0;
        dtx_rng_permutation(0, PASS_KEY + (uint64_t)pass, t->n, order);
        for (int64_t j = 0; j < t->n; j++) {
            const int64_t i = order[j];
            const double y = t->label[i] == label ? 1 : -1, a = square[i], b = y * product(t, i, ratio, w, n);
            const bool other = 0.5 * a * (alpha[i][1] - alpha[i][0]) + b < 0;
            const double sign = other ? -1 : 1, old = alpha[i][other], z = coordinate(a, sign * b, C, old);
            worst = fmax(worst, fabs(sign * b + log(old / (C - old))));
            alpha[i][other] = z;
            alpha[i][!other] = C - z;
            add(t, i, ratio, sign * (z - old) * y, w, n);
        }
    }
done:
    dtx_free(order);
    dtx_free(square);
    dtx_free(alpha);
    return st;
}

static void lists_free(lists *t)
{
    dtx_free(t->offset);
    dtx_free(t->feature);
    dtx_free(t->label);
}

dtx_status dtx_ngrams_fit(const dtx_labelled *l, double cost, dtx_ngrams **out)
{
    lists t = {0};
    dtx_ngrams *g = NULL;
    dtx_status st = DTX_OK;

    DTX_GO(DTX_NEW(g, 1));
    g->n_labels = l->n_labels;
    g->n_problems = l->n_labels == 2 ? 1 : l->n_labels;
    DTX_GO(collect(g, l, &t));
    DTX_GO(DTX_NEW(g->ratio, g->n_problems * g->n + 1));
    DTX_GO(DTX_NEW(g->w, g->n_problems * (g->n + 1)));
    for (int64_t k = 0; k < g->n_problems; k++) {
        const int32_t label = g->n_problems == 1 ? 1 : (int32_t)k;
        DTX_GO(log_count_ratios(&t, g->n, label, g->ratio + k * g->n));
        DTX_GO(fit(&t, label, cost, g->ratio + k * g->n, g->w + k * (g->n + 1), g->n));
    }
    *out = g;
    g = NULL;
done:
    lists_free(&t);
    dtx_ngrams_del(g);
    return st;
}

void dtx_ngrams_del(dtx_ngrams *g)
{
    if (g != NULL) {
        dtx_free(g->key);
        dtx_free(g->feature);
        dtx_free(g->ratio);
        dtx_free(g->w);
        dtx_free(g->seen);
        dtx_free(g);
    }
}

int64_t dtx_ngrams_size(const dtx_ngrams *g)
{
    return g->n;
}

/* A regression's decision value to the labels' scores: half of it for and against where there is one. */
static void spread(const dtx_ngrams *g, int64_t problem, double value, float *score)
{
    if (g->n_problems == 1) {
        score[0] -= (float)(0.5 * value);
        score[1] += (float)(0.5 * value);
    } else {
        score[problem] += (float)value;
    }
}

void dtx_ngrams_scores(dtx_ngrams *g, const int32_t *id, int64_t n, float *whole, float *share)
{
    const int64_t K = g->n_labels;

    memset(whole, 0, (size_t)K * sizeof *whole);
    memset(share, 0, (size_t)(n * K) * sizeof *share);
    g->text++;
    for (int64_t k = 0; k < g->n_problems; k++) {
        spread(g, k, g->w[k * (g->n + 1) + g->n], whole);
    }
    for (int64_t j = 0; j < n; j++) {
        for (int len = 1; len <= MAX_N && len <= j + 1; len++) {
            const int64_t at = slot_of(g, key_of(id + j + 1 - len, len)), f = g->feature[at];
            if (g->key[at] == 0) {
                continue;
            }
            const bool first = g->seen[f] != g->text;
            g->seen[f] = g->text;
            for (int64_t k = 0; k < g->n_problems; k++) {
                const double value = g->w[k * (g->n + 1) + f] * (double)g->ratio[k * g->n + f];
                spread(g, k, value, share + j * K);
                if (first) {
                    spread(g, k, value, whole);
                }
            }
        }
    }
}
