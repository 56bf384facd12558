#include "src/training/distil.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "src/algebra/kernel.h"
#include "src/base/mem.h"
#include "src/base/rng.h"

enum { BOS = 0, EOS = 2, MASK = 4, LOCAL_HEADS = 3, DRAW_MASKS = 1 << 20 };

/* --- the student's start --- */

/* Amplitudes of positions and words, and the scale of the local heads' queries and keys: at a width of 128 nearly all
 * of a head's weight is on its neighbour at first, and words that grow in training still leave it above the rest. */
static const float POSITION = 0.1F, WORD = 0.05F, SHARPNESS = 1, VALUE = 0.5F;

static float *find(dtx_model *m, const char *name, uint64_t *key)
{
    for (int64_t i = 0; i < dtx_model_n_params(m); i++) {
        const dtx_param *p = dtx_model_param(m, i);
        if (strcmp(p->name, name) == 0) {
            *key = (uint64_t)i;
            return dtx_model_arena(m) + p->offset;
        }
    }
    return NULL;
}

static void draw(float *w, int64_t n, double std, uint64_t seed, uint64_t key)
{
    for (int64_t i = 0; i < n; i++) {
        w[i] = (float)(std * dtx_rng_normal(seed, DTX_RNG_INIT, key, 1, (uint32_t)i));
    }
}

dtx_status dtx_distil_start(dtx_model *m, uint64_t seed)
{
    static const char *const names[] = {"roberta.embeddings.word_embeddings.weight", "roberta.embeddings.position_embeddings.weight",
        "roberta.encoder.layer.0.attention.self.query.weight", "roberta.encoder.layer.0.attention.self.key.weight",
        "roberta.encoder.layer.0.attention.self.value.weight", "roberta.encoder.layer.0.attention.output.dense.weight"};
    static const int distance[LOCAL_HEADS] = {-1, 1, -2};
    const dtx_arch *a = dtx_model_arch(m);
    const int64_t d = a->hidden, half = a->head_dim / 2, heads = a->n_heads < LOCAL_HEADS ? a->n_heads : LOCAL_HEADS;
    float *w[6];
    uint64_t key[6];

    for (int i = 0; i < 6; i++) {
        w[i] = find(m, names[i], &key[i]);
        if (w[i] == NULL) {
            return DTX_FAIL(DTX_ERR_CHECK, "the student has no %s", names[i]);
        }
    }
    draw(w[0], a->vocab * d, WORD, seed, key[0]);
    for (int64_t i = 0; i < a->vocab; i++) {
        memset(w[0] + i * d, 0, (size_t)(2 * half) * sizeof(float));
    }
    memset(w[1], 0, (size_t)(a->max_positions * d) * sizeof(float));
    for (int64_t f = 0; f < half; f++) {
        const double turn = M_PI * ((double)f + 0.5) / (double)half; /* evenly spaced: their sum peaks at distance 0 alone */
        for (int64_t t = 0; t < a->max_positions; t++) {
            w[1][t * d + f] = (float)((double)POSITION * cos((double)t * turn));
            w[1][t * d + half + f] = (float)((double)POSITION * sin((double)t * turn));
        }
        for (int64_t h = 0; h < heads; h++) {
            const float c = SHARPNESS * (float)cos(distance[h] * turn), s = SHARPNESS * (float)sin(distance[h] * turn);
            float *q = w[2] + h * 2 * half * d, *k = w[3] + h * 2 * half * d;
            memset(q + f * d, 0, (size_t)d * sizeof(float));
            memset(q + (half + f) * d, 0, (size_t)d * sizeof(float));
            memset(k + f * d, 0, (size_t)d * sizeof(float));
            memset(k + (half + f) * d, 0, (size_t)d * sizeof(float));
            q[f * d + f] = q[(half + f) * d + half + f] = c;
            q[f * d + half + f] = -s;
            q[(half + f) * d + f] = s;
            k[f * d + f] = k[(half + f) * d + half + f] = SHARPNESS;
        }
    }
    draw(w[4], d * d, (double)VALUE / sqrt((double)d), seed, key[4]);
    draw(w[5], d * d, (double)VALUE / sqrt((double)d), seed, key[5]);
    return DTX_OK;
}

/* --- what the student reads --- */

typedef struct {
    const dtx_labelled_noise *noise;
    uint64_t text;
    uint32_t next;
} draws;

static double uniform(draws *r)
{
    return dtx_rng_uniform(r->noise->seed, DTX_RNG_DISTIL, r->text, (uint32_t)r->noise->step, r->next++);
}

/* A piece of a text: at least a fifth of it, anywhere. */
static int64_t piece(const dtx_labelled *l, int64_t text, draws *r, int64_t room, int32_t *id)
{
    const int64_t n = l->offset[text + 1] - l->offset[text] - 2, least = n / 5 > 1 ? n / 5 : 1;
    int64_t len, first;

    if (n < 1 || room < 1) {
        return 0;
    }
    len = least + (int64_t)(uniform(r) * (double)(n - least + 1));
    first = (int64_t)(uniform(r) * (double)(n - len + 1));
    len = len < room ? len : room;
    memcpy(id, l->id + l->offset[text] + 1 + first, (size_t)len * sizeof *id);
    return len;
}

int64_t dtx_distil_text(const dtx_labelled *l, const dtx_labelled_order *order, int64_t text, const dtx_labelled_noise *noise,
                        int64_t room, int32_t *id)
{
    draws r = {noise, (uint64_t)text, 0};
    int64_t n = 1;

    id[0] = BOS;
    if (uniform(&r) < 0.5) {
        n += l->offset[text + 1] - l->offset[text] - 2;
        memcpy(id + 1, l->id + l->offset[text] + 1, (size_t)(n - 1) * sizeof *id);
    } else {
        const bool two = uniform(&r) < 0.6;
        const int64_t other = order->train[(int64_t)(uniform(&r) * (double)order->n)];
        n += piece(l, text, &r, room - 2, id + 1);
        n += two ? piece(l, other, &r, room - 1 - n, id + n) : 0;
    }
    if (uniform(&r) < 0.6) {
        const double rate = 2 * noise->mask * uniform(&r);
        r.next = DRAW_MASKS;
        for (int64_t j = 1; j < n; j++) {
            id[j] = uniform(&r) < rate ? MASK : id[j];
        }
    }
    id[n++] = EOS;
    return n;
}

/* --- loss --- */

/* logits (n, K) of one text's tokens become the gradient of scale * loss; target (K) are scores of the whole, share (n - 2, K) of
 * the tokens between the first and the last. */
static double text_loss(int64_t n, int64_t K, float *logits, float *target, const float *share, double scale)
{
    double loss = 0, token = 0;

    dtx_softmax(1, K, target);
    double top = (double)logits[0], sum = 0;
    for (int64_t k = 1; k < K; k++) {
        top = fmax(top, (double)logits[k]);
    }
    for (int64_t k = 0; k < K; k++) {
        sum += exp((double)logits[k] - top);
    }
    for (int64_t k = 0; k < K; k++) {
        const double log_p = (double)logits[k] - top - log(sum);
        loss -= (double)target[k] * log_p;
        logits[k] = (float)(scale * (exp(log_p) - (double)target[k]));
    }
    for (int64_t j = 1; j < n; j++) {
        float *row = logits + j * K;
        double mean = 0, slopes = 0, slope[DTX_MAX_LABELS];
        for (int64_t k = 0; k < K; k++) {
            mean += (double)row[k] / (double)K;
        }
        for (int64_t k = 0; k < K; k++) {
            /* twice both: with two labels, the difference of the logits against twice the share */
            const double off = 2 * ((double)row[k] - mean) - (j < n - 1 ? 4 * (double)share[(j - 1) * K + k] : 0);
            token += (fabs(off) < 1 ? 0.5 * off * off : fabs(off) - 0.5) / (double)(K * (n - 1));
            slope[k] = 2 * fmax(-1, fmin(1, off)) / (double)(K * (n - 1));
            slopes += slope[k] / (double)K;
        }
        for (int64_t k = 0; k < K; k++) {
            row[k] = (float)(scale * (slope[k] - slopes));
        }
    }
    return loss + token;
}

dtx_status dtx_distil_loss(const dtx_model *m, dtx_tape *tape, const dtx_labelled *l, const dtx_labelled_order *order,
                           dtx_ngrams *teacher, const int64_t *text, int64_t n, const dtx_labelled_noise *noise, float scale,
                           double *loss, float *grads)
{
    const dtx_arch *a = dtx_model_arch(m);
    const int64_t K = a->n_labels;
    const int64_t room = a->max_positions - a->pad_id - 1; /* no text is longer */
    int64_t *offset = NULL;
    int32_t *ids = NULL;
    float *logits = NULL, *share = NULL, target[DTX_MAX_LABELS];
    dtx_status st = DTX_OK;

    DTX_GO(DTX_NEW(offset, n + 1));
    DTX_GO(DTX_NEW_RAW(ids, n * room));
    for (int64_t i = 0; i < n; i++) {
        offset[i + 1] = offset[i] + dtx_distil_text(l, order, text[i], noise, room, ids + offset[i]);
    }
    DTX_GO(DTX_NEW_RAW(logits, offset[n] * K));
    DTX_GO(DTX_NEW_RAW(share, room * K));
    DTX_GO(dtx_model_classify_tokens(m, &(dtx_batch){.n_seq = n, .offset = offset, .ids = ids, .tape = grads != NULL ? tape : NULL},
                                     logits));
    *loss = 0;
    for (int64_t i = 0; i < n; i++) {
        const int64_t len = offset[i + 1] - offset[i];
        dtx_ngrams_scores(teacher, ids + offset[i] + 1, len - 2, target, share);
        *loss += text_loss(len, K, logits + offset[i] * K, target, share, (double)scale);
    }
    if (grads != NULL) {
        DTX_GO(dtx_model_classify_tokens_backward(m, tape, logits, &(dtx_wanted){.params = grads}));
    }
done:
    dtx_free(share);
    dtx_free(logits);
    dtx_free(ids);
    dtx_free(offset);
    return st;
}
