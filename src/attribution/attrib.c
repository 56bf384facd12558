/* The algorithm. One forward pass over the first P + G - 1 tokens gives, activations being causal, every step's
 * probability: step g reads the row P + g - 1. The G cotangents of those rows are then propagated together: step g is the
 * segment (first = P + g - 1, len = P + g) of dtx_model_backward, so that a layer is a few large products instead of G
 * small ones and nothing is computed for positions that a step does not see. Blocks of steps bound the memory.
 *
 * Gradients are those of log p, multiplied by p at the end where the probability is the target: d p = p d log p. The
 * cotangent 1 - p of a nearly certain token is summed over the other tokens, where it does not cancel.
 *
 * Integrated gradients (Sundararajan et al. 2017, eq. 1; Gauss-Legendre nodes as captum): at node a the whole sequence
 * stands at b + a (e - b), so one pass serves all steps here too. The other methods are the same loop with one node at 1. */
#include "src/attribution/attrib.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "src/attribution/curves.h"
#include "src/base/mem.h"
#include "src/attribution/words.h"

typedef struct {
    const dtx_model *model;
    const dtx_attrib_settings *set;
    const int32_t *ids;
    int64_t P, G, T, n;      /* n = T - 1 rows of the forward pass */
    int64_t d, V;
    int64_t n_nodes, at;     /* `at`: node at which tape and d_hidden stand, -1 = none */
    double *node, *weight;
    float *e, *b, *x;        /* (n, d): embeddings; baseline (d) or NULL; input of the pass */
    float *hidden, *logits;  /* (n, d), (G, V) */
    float *capped;           /* (G, V) logits as the model gave them, where it caps them; else NULL */
    float *d_hidden, *seed;  /* (G, d); copy that a backward pass may destroy */
    double *factor;          /* (G): weight of the node, times p where that is the target */
    float *grad, *score;     /* rows of one block, of one range */
    size_t grad_cap, score_cap;
    dtx_segment *seg;        /* (G) */
    dtx_tape *tape;
    /* merging */
    dtx_words words;
    float *merged;           /* (T, d): the merged step under way */
    double *row;             /* (T) */
    int64_t word;            /* its index */
    const uint8_t *use;
    uint8_t *use_words;      /* (n_prompt) */
    dtx_attribution *out;
} attributor;

static void attributor_free(attributor *c)
{
    dtx_tape_del(c->tape);
    dtx_words_free(&c->words);
    dtx_free(c->node);
    dtx_free(c->weight);
    dtx_free(c->e);
    dtx_free(c->b);
    dtx_free(c->x);
    dtx_free(c->hidden);
    dtx_free(c->logits);
    dtx_free(c->capped);
    dtx_free(c->d_hidden);
    dtx_free(c->seed);
    dtx_free(c->factor);
    dtx_free(c->grad);
    dtx_free(c->score);
    dtx_free(c->seg);
    dtx_free(c->merged);
    dtx_free(c->row);
    dtx_free(c->use_words);
}

void dtx_attribution_free(dtx_attribution *a)
{
    dtx_free(a->value);
    dtx_free(a->probability);
    dtx_free(a->entropy);
    dtx_free(a->prompt_dependence);
    dtx_free(a->words_value);
    dtx_free(a->words_probability);
    dtx_free(a->words_entropy);
    dtx_free(a->words_prompt_dependence);
    *a = (dtx_attribution){0};
}

static dtx_status check_input(const attributor *c)
{
    const dtx_arch *a = dtx_model_arch(c->model);

    if (c->P < 1) {
        return DTX_FAIL(DTX_ERR_INPUT, "the prompt has no token");
    }
    if (a->max_positions > 0 && c->n > a->max_positions) {
        return DTX_FAIL(DTX_ERR_INPUT, "%" PRId64 " tokens do not fit the model's %" PRId64 " positions", c->n,
                        a->max_positions);
    }
    for (int64_t t = 0; t < c->T; t++) {
        if (c->ids[t] < 0 || c->ids[t] >= c->V) {
            return DTX_FAIL(DTX_ERR_INPUT, "token %" PRId64 " has id %" PRId32 ", the vocabulary has %" PRId64 " ids", t,
                            c->ids[t], c->V);
        }
    }
    return DTX_OK;
}

static dtx_status make_words(attributor *c, const char *const *pieces)
{
    const dtx_words *w = &c->words;

    DTX_TRY(dtx_words_make(c->set->merge == DTX_MERGE_INSEQ, pieces, c->P, c->G, &c->words));
    c->out->G_words = w->n_steps;
    c->out->T_words = w->n;
    c->out->P_words = w->n_prompt;
    DTX_TRY(DTX_NEW(c->out->words_value, w->n_steps * w->n));
    DTX_TRY(DTX_NEW(c->out->words_probability, w->n_steps));
    DTX_TRY(DTX_NEW(c->out->words_entropy, w->n_steps));
    DTX_TRY(DTX_NEW(c->out->words_prompt_dependence, w->n_steps));
    DTX_TRY(DTX_NEW_RAW(c->merged, c->T * c->d));
    DTX_TRY(DTX_NEW(c->use_words, w->n_prompt));
    for (int64_t i = 0; i < w->n_prompt; i++) {
        c->use_words[i] = c->use == NULL || w->edge[i] >= c->P;
        for (int64_t t = w->edge[i]; t < w->edge[i + 1] && t < c->P; t++) {
            c->use_words[i] |= c->use == NULL || c->use[t] != 0;
        }
    }
    return DTX_OK;
}

static dtx_status make_buffers(attributor *c)
{
    bool ig = c->set->method == DTX_IG;

    c->n_nodes = ig ? c->set->steps : 1;
    DTX_TRY(DTX_NEW(c->out->value, c->G * c->T));
    DTX_TRY(DTX_NEW(c->out->probability, c->G));
    DTX_TRY(DTX_NEW(c->out->entropy, c->G));
    DTX_TRY(DTX_NEW(c->out->prompt_dependence, c->G));
    DTX_TRY(DTX_NEW(c->node, c->n_nodes));
    DTX_TRY(DTX_NEW(c->weight, c->n_nodes));
    DTX_TRY(DTX_NEW_RAW(c->e, c->n * c->d));
    DTX_TRY(DTX_NEW_RAW(c->x, c->n * c->d));
    DTX_TRY(DTX_NEW_RAW(c->hidden, c->n * c->d));
    DTX_TRY(DTX_NEW_RAW(c->logits, c->G * c->V));
    if (dtx_model_arch(c->model)->logit_cap > 0) {
        DTX_TRY(DTX_NEW_RAW(c->capped, c->G * c->V));
    }
    DTX_TRY(DTX_NEW_RAW(c->d_hidden, c->G * c->d));
    DTX_TRY(DTX_NEW_RAW(c->seed, c->G * c->d));
    DTX_TRY(DTX_NEW(c->factor, c->G));
    DTX_TRY(DTX_NEW(c->seg, c->G));
    DTX_TRY(DTX_NEW(c->row, c->T));
    DTX_TRY(dtx_tape_new(c->model, false, &c->tape));
    DTX_TRY(dtx_model_embed(c->model, c->n, c->ids, c->e));
    if (ig && c->set->baseline >= 0) {
        DTX_TRY(DTX_NEW_RAW(c->b, c->d));
        DTX_TRY(dtx_model_embed(c->model, 1, &c->set->baseline, c->b));
    }
    if (ig) {
        dtx_gauss_legendre(c->n_nodes, c->node, c->weight);
    } else {
        c->node[0] = c->weight[0] = 1;
    }
    return DTX_OK;
}

/* Forward pass over x: logits of the steps' rows. */
static dtx_status forward(attributor *c, const float *x, dtx_tape *tape)
{
    const int64_t offset[2] = {0, c->n};

    DTX_TRY(dtx_model_forward(c->model,
                              &(dtx_batch){.n_seq = 1, .offset = offset, .ids = c->ids, .embeds = x,
                                           .adapter = c->set->adapter, .tape = tape},
                              c->hidden));
    dtx_model_logits(c->model, c->G, c->hidden + (c->P - 1) * c->d, c->logits);
    return DTX_OK;
}

/* p = softmax(z)[target]; z becomes the cotangent of log p (or of the logit). */
static double softmax_cotangent(dtx_attrib_target target, int64_t V, int32_t id, float *z)
{
    double top = -INFINITY, others = 0, own;

    for (int64_t j = 0; j < V; j++) {
        top = z[j] > top ? z[j] : top;
    }
    own = exp(z[id] - top);
    for (int64_t j = 0; j < V; j++) {
        double e = j != id ? exp(z[j] - top) : 0;
        others += e;
        z[j] = (float)e;
    }
    for (int64_t j = 0; j < V; j++) {
        z[j] = target == DTX_TARGET_LOGIT ? 0 : (float)(-(double)z[j] / (own + others));
    }
    z[id] = target == DTX_TARGET_LOGIT ? 1 : (float)(others / (own + others));
    return own / (own + others);
}

/* Tape, cotangents and factors at one node. */
static dtx_status go_to_node(attributor *c, int64_t k)
{
    float a = (float)c->node[k];

    if (c->at == k) {
        return DTX_OK;
    }
    for (int64_t t = 0; t < c->n && c->set->method == DTX_IG; t++) {
        for (int64_t j = 0; j < c->d; j++) {
            float b = c->b != NULL ? c->b[j] : 0;
            c->x[t * c->d + j] = b + a * (c->e[t * c->d + j] - b);
        }
    }
    DTX_TRY(forward(c, c->set->method == DTX_IG ? c->x : c->e, c->tape));
    if (c->capped != NULL) {
        memcpy(c->capped, c->logits, (size_t)(c->G * c->V) * sizeof *c->logits);
    }
    for (int64_t g = 0; g < c->G; g++) {
        double p = softmax_cotangent(c->set->target, c->V, c->ids[c->P + g], c->logits + g * c->V);
        c->factor[g] = c->weight[k] * (c->set->target == DTX_TARGET_PROBABILITY ? p : 1);
        if (c->set->method != DTX_IG) {
            c->out->probability[g] = (float)p;
        }
    }
    dtx_model_cap_backward(c->model, c->G, c->capped, c->logits);
    dtx_model_logits_backward(c->model, c->G, c->logits, NULL, c->d_hidden, NULL);
    c->at = k;
    return DTX_OK;
}

/* The end of a run of steps from g0 that has at most max_rows rows (at least one step), and its rows. */
static int64_t run_of_steps(const attributor *c, int64_t g0, int64_t end, int64_t max_rows, int64_t *rows)
{
    int64_t g = g0;

    *rows = 0;
    do {
        *rows += c->P + g;
        g++;
    } while (g < end && *rows + c->P + g <= max_rows);
    return g;
}

/* score += factor * gradient at the current node, for the steps g0 .. g1 - 1 in blocks. */
static dtx_status add_gradients(attributor *c, int64_t g0, int64_t g1, int64_t max_rows)
{
    float *score = c->score;

    for (int64_t g = g0, end, rows; g < g1; g = end) {
        if (c->set->stop != NULL && c->set->stop(c->set->user)) {
            return DTX_STOPPED;
        }
        end = run_of_steps(c, g, g1, max_rows, &rows);
        DTX_TRY(DTX_GROW(c->grad, c->grad_cap, rows * c->d));
        for (int64_t i = g; i < end; i++) {
            c->seg[i - g] = (dtx_segment){.seq = 0, .first = c->P + i - 1, .len = c->P + i};
        }
        memcpy(c->seed, c->d_hidden + g * c->d, (size_t)((end - g) * c->d) * sizeof *c->seed);
        DTX_TRY(dtx_model_backward(c->model, c->tape, end - g, c->seg, c->seed, &(dtx_wanted){.embeds = c->grad}));
        const float *grad = c->grad;
        for (int64_t i = g; i < end; i++) {
            double f = c->factor[i];
            int64_t len = (c->P + i) * c->d;
            for (int64_t j = 0; j < len; j++) {
                score[j] += (float)(f * grad[j]);
            }
            score += len;
            grad += len;
        }
    }
    return DTX_OK;
}

/* In place: summed gradients of a step (len, d) -> its scores. */
static void apply_method(const attributor *c, int64_t len, float *x)
{
    for (int64_t t = 0; t < len; t++) {
        for (int64_t j = 0; j < c->d; j++) {
            float *s = &x[t * c->d + j], e = c->e[t * c->d + j];
            *s = c->set->method == DTX_SALIENCY ? fabsf(*s) : *s * (c->b != NULL ? e - c->b[j] : e);
        }
    }
}

/* Folds step g into the merged step that it belongs to; the last one of a word finishes it. */
static void merge_step(attributor *c, int64_t g, int64_t len, const float *score)
{
    const dtx_words *w = &c->words;
    bool inseq = c->set->merge == DTX_MERGE_INSEQ;
    int64_t k = c->word, d = c->d;

    if (g == w->step_edge[k]) {
        for (int64_t i = 0; i < c->T * d; i++) {
            c->merged[i] = i < len * d ? score[i] : NAN;
        }
        c->out->words_probability[k] = c->out->probability[g];
    } else {
        dtx_words_fold(inseq, len * d, score, c->merged);
        c->out->words_probability[k] *= c->out->probability[g];
    }
    if (g + 1 < w->step_edge[k + 1]) {
        return;
    }
    for (int64_t i = 0; i < w->n; i++) {
        float *first = c->merged + w->edge[i] * d;
        for (int64_t t = w->edge[i] + 1; t < w->edge[i + 1]; t++) {
            dtx_words_fold(inseq, d, c->merged + t * d, first);
        }
        c->row[i] = dtx_attrib_norm_of(c->set->norm, d, first);
    }
    float *row = c->out->words_value + k * w->n;
    dtx_attrib_normalise(w->n, c->row, row);
    c->out->words_entropy[k] = (float)dtx_prompt_entropy(row, w->n_prompt, c->use_words);
    c->out->words_prompt_dependence[k] = (float)dtx_prompt_dependence(row, w->n_prompt, c->use_words);
    c->word++;
}

static dtx_status finish_step(attributor *c, int64_t g, float *score)
{
    int64_t len = c->P + g;
    float *row = c->out->value + g * c->T;

    apply_method(c, len, score);
    if (c->set->granular != NULL) {
        c->set->granular(c->set->user, g, len, c->d, score);
    }
    for (int64_t t = 0; t < c->T; t++) {
        c->row[t] = t < len ? dtx_attrib_norm_of(c->set->norm, c->d, score + t * c->d) : NAN;
        if (t < len && !isfinite(c->row[t])) {
            return DTX_FAIL(DTX_ERR_NUMERIC, "generated token %" PRId64 ": its attribution to token %" PRId64 " is %g", g, t,
                            c->row[t]);
        }
    }
    dtx_attrib_normalise(c->T, c->row, row);
    c->out->entropy[g] = (float)dtx_prompt_entropy(row, c->P, c->use);
    c->out->prompt_dependence[g] = (float)dtx_prompt_dependence(row, c->P, c->use);
    if (c->set->merge != DTX_MERGE_NONE) {
        merge_step(c, g, len, score);
    }
    return DTX_OK;
}

/* All steps: ranges whose scores fit the budget, nodes, blocks whose cotangents do. */
static dtx_status attribute_steps(attributor *c)
{
    int64_t budget = c->set->memory_bytes > 0 ? (int64_t)c->set->memory_bytes : (int64_t)1 << 30;
    int64_t row_bytes = c->d * (int64_t)sizeof(float);
    int64_t block = budget / (dtx_model_backward_bytes_per_row(c->model) + 2 * row_bytes);
    /* a new range costs a forward pass for each node, so with several nodes the scores get a quarter of the budget */
    int64_t range = c->n_nodes > 1 && budget / (4 * row_bytes) > block ? budget / (4 * row_bytes) : block;

    for (int64_t g0 = 0, g1, rows; g0 < c->G; g0 = g1) {
        g1 = run_of_steps(c, g0, c->G, range, &rows);
        DTX_TRY(DTX_GROW(c->score, c->score_cap, rows * c->d));
        memset(c->score, 0, (size_t)(rows * c->d) * sizeof *c->score);
        for (int64_t k = 0; k < c->n_nodes; k++) {
            DTX_TRY(go_to_node(c, k));
            DTX_TRY(add_gradients(c, g0, g1, block));
        }
        float *score = c->score;
        for (int64_t g = g0; g < g1; g++) {
            DTX_TRY(finish_step(c, g, score));
            score += (c->P + g) * c->d;
        }
    }
    return DTX_OK;
}

dtx_status dtx_attribute(const dtx_model *m, const dtx_attrib_settings *s, const int32_t *ids, int64_t P, int64_t G,
                         const uint8_t *counts_as_prompt, const char *const *pieces, dtx_attribution *out)
{
    const dtx_arch *a = dtx_model_arch(m);
    attributor c = {.model = m, .set = s, .ids = ids, .P = P, .G = G, .T = P + G, .n = P + G - 1, .d = a->hidden,
                    .V = a->vocab, .at = -1, .use = counts_as_prompt, .out = out};
    dtx_status st;

    *out = (dtx_attribution){.G = G, .T = P + G};
    DTX_GO(check_input(&c));
    if (G == 0) {
        goto done;
    }
    DTX_GO(make_buffers(&c));
    if (s->merge != DTX_MERGE_NONE) {
        DTX_GO(make_words(&c, pieces));
    }
    if (s->method == DTX_IG) { /* the probabilities are those of the tokens themselves */
        DTX_GO(forward(&c, c.e, NULL));
        for (int64_t g = 0; g < G; g++) {
            out->probability[g] = (float)softmax_cotangent(s->target, c.V, ids[P + g], c.logits + g * c.V);
        }
    }
    DTX_GO(attribute_steps(&c));
done:
    attributor_free(&c);
    if (st != DTX_OK) {
        dtx_attribution_free(out);
    }
    return st;
}

/* Newton's method on the Legendre polynomial P_n from Chebyshev-like starts (Press et al., Numerical Recipes, 4.6). */
void dtx_gauss_legendre(int64_t n, double *node, double *weight)
{
    for (int64_t i = 0; i < n; i++) {
        double x = -cos(M_PI * ((double)i + 0.75) / ((double)n + 0.5)), slope = 1, step = 1;
        for (int it = 0; it < 100 && fabs(step) > 1e-15; it++) {
            double p = 1, before = 0;
            for (int64_t k = 1; k <= n; k++) {
                double next = ((double)(2 * k - 1) * x * p - (double)(k - 1) * before) / (double)k;
                before = p;
                p = next;
            }
            slope = (double)n * (x * p - before) / (x * x - 1);
            step = p / slope;
            x -= step;
        }
        node[i] = (1 + x) / 2;
        weight[i] = 1 / ((1 - x * x) * slope * slope);
    }
}
