#include "src/training/finetune.h"

#include <math.h>
#include <string.h>

#include "src/training/loss.h"
#include "src/base/mem.h"
#include "src/base/rng.h"

enum { HOLDOUT_KEY = 0x46546864, ORDER_KEY = 0x46546f72 };

/* Whether bytes [a, b) of a sample touch a turn of the bot. */
static bool in_bot_turn(const dtx_dialogues *d, int64_t sample, size_t a, size_t b)
{
    for (uint64_t k = d->span_offset[sample]; k < d->span_offset[sample + 1]; k++) {
        if (a < d->span[k].first + d->span[k].len && b > d->span[k].first) {
            return true;
        }
    }
    return false;
}

static dtx_status add_sample(const dtx_tokenizer *t, const dtx_dialogues *d, int64_t i, int64_t context, int32_t eos,
                             bool assistant_only, dtx_ids *ids, dtx_ids *labels, dtx_samples *out)
{
    const size_t begin = ids->n;
    const char *bytes;
    size_t at = 0;

    DTX_TRY(dtx_tokenizer_encode(t, d->bytes + d->offset[i], d->offset[i + 1] - d->offset[i], false, ids));
    if (ids->n - begin > (size_t)context) {
        ids->n = begin + (size_t)context;
        out->n_truncated++;
    } else if (ids->n - begin < (size_t)context && eos >= 0) {
        DTX_TRY(DTX_GROW(ids->id, ids->cap, ids->n + 1));
        ids->id[ids->n++] = eos;
    }
    DTX_TRY(DTX_GROW(labels->id, labels->cap, ids->n + 1));
    for (size_t r = begin; r < ids->n; r++) {
        bool last = r + 1 == ids->n;
        size_t here = dtx_tokenizer_bytes(t, ids->id[r], &bytes);
        size_t next = last ? 0 : dtx_tokenizer_bytes(t, ids->id[r + 1], &bytes);
        at += here;
        bool counts = !last && (!assistant_only || ids->id[r + 1] == eos || in_bot_turn(d, i, at, at + next));
        labels->id[r] = counts ? ids->id[r + 1] : -1;
    }
    labels->n = ids->n;
    out->offset[i + 1] = (int64_t)ids->n;
    return DTX_OK;
}

dtx_status dtx_samples_from_dialogues(const dtx_tokenizer *t, const dtx_dialogues *d, int64_t context, int32_t eos,
                                      bool assistant_only, dtx_samples *out)
{
    dtx_ids ids = {0}, labels = {0};
    dtx_samples s = {.n = d->n};
    dtx_status st = DTX_OK;

    DTX_GO(DTX_NEW(s.offset, d->n + 1));
    for (int64_t i = 0; i < d->n; i++) {
        st = add_sample(t, d, i, context, eos, assistant_only, &ids, &labels, &s);
        if (st != DTX_OK) {
            dtx_error_context(st, "dialogue %lld", (long long)d->dialogue[i]);
            goto done;
        }
    }
    s.id = ids.id;
    s.label = labels.id;
    *out = s;
    return DTX_OK;
done:
    dtx_ids_free(&ids);
    dtx_ids_free(&labels);
    dtx_free(s.offset);
    return st;
}

void dtx_samples_free(dtx_samples *s)
{
    dtx_free(s->offset);
    dtx_free(s->id);
    dtx_free(s->label);
    memset(s, 0, sizeof *s);
}

int64_t dtx_samples_tokens(const dtx_samples *s, int64_t i)
{
    int64_t n = 0;

    for (int64_t r = s->offset[i]; r < s->offset[i + 1]; r++) {
        n += s->label[r] >= 0;
    }
    return n;
}

int64_t dtx_samples_entropies(const dtx_arch *a, const dtx_samples *s, int64_t i)
{
    const int64_t len = s->offset[i + 1] - s->offset[i];

    return (len > 1 ? len - 1 : 0) * a->n_layers * a->n_heads;
}

dtx_status dtx_sample_order_init(dtx_sample_order *p, int64_t n, double holdout, int64_t batch, int64_t accumulate,
                           int64_t epochs, uint64_t seed)
{
    int64_t *order = NULL;
    dtx_status st = DTX_OK;

    memset(p, 0, sizeof *p);
    p->n_held = (int64_t)ceil(holdout * (double)n);
    p->n_train = n - p->n_held;
    p->batch = batch;
    p->accumulate = accumulate;
    p->seed = seed;
    p->epoch = -1;
    if (p->n_train < 1) {
        return DTX_FAIL(DTX_ERR_INPUT, "%lld samples leave none to train on when %g of them are held out", (long long)n, holdout);
    }
    p->per_epoch = (p->n_train + batch - 1) / batch;
    p->n_steps = epochs * (p->per_epoch / accumulate > 0 ? p->per_epoch / accumulate : 1);
    DTX_GO(DTX_NEW(order, n));
    DTX_GO(DTX_NEW(p->train, p->n_train));
    DTX_GO(DTX_NEW(p->held, p->n_held));
    DTX_GO(DTX_NEW(p->order, p->n_train));
    dtx_rng_permutation(seed, HOLDOUT_KEY, n, order);
    memcpy(p->held, order, (size_t)p->n_held * sizeof *order);
    memcpy(p->train, order + p->n_held, (size_t)p->n_train * sizeof *order);
done:
    dtx_free(order);
    return st;
}

void dtx_sample_order_free(dtx_sample_order *p)
{
    dtx_free(p->train);
    dtx_free(p->held);
    dtx_free(p->order);
    memset(p, 0, sizeof *p);
}

int64_t dtx_sample_order_get(dtx_sample_order *p, int64_t m, int64_t *sample)
{
    int64_t epoch = m / p->per_epoch, first = m % p->per_epoch * p->batch;
    int64_t n = p->n_train - first < p->batch ? p->n_train - first : p->batch;

    if (p->epoch != epoch) {
        dtx_rng_permutation(p->seed, ORDER_KEY + ((uint64_t)epoch << 32), p->n_train, p->order);
        p->epoch = epoch;
    }
    for (int64_t i = 0; i < n; i++) {
        sample[i] = p->train[p->order[first + i]];
    }
    return n;
}

int64_t dtx_sample_order_unit(dtx_sample_order *p, int64_t step, int64_t parts, int64_t u, int64_t *sample, int64_t *n,
                              int64_t *first)
{
    const int64_t part = u % parts;

    *n = dtx_sample_order_get(p, step * p->accumulate + u / parts, sample);
    *first = *n * part / parts;
    return *n * (part + 1) / parts - *first;
}

dtx_status dtx_sample_order_longest(dtx_sample_order *p, int64_t parts, int64_t from, int64_t to, const int64_t *offset,
                                    int64_t *len, int64_t *n)
{
    int64_t *sample = NULL, most = -1, all, first;

    DTX_TRY(DTX_NEW(sample, p->batch));
    *n = 0;
    for (int64_t step = 0; step < p->n_steps; step++) {
        for (int64_t u = from; u < to; u++) {
            int64_t count = dtx_sample_order_unit(p, step, parts, u, sample, &all, &first), rows = 0;
            for (int64_t i = first; i < first + count; i++) {
                rows += offset[sample[i] + 1] - offset[sample[i]];
            }
            if (rows > most) {
                most = rows;
                *n = count;
                for (int64_t i = 0; i < count; i++) {
                    len[i] = offset[sample[first + i] + 1] - offset[sample[first + i]];
                }
            }
        }
    }
    dtx_free(sample);
    return DTX_OK;
}

dtx_status dtx_samples_loss(const dtx_model *m, const dtx_adapter *adapter, dtx_tape *tape, const dtx_samples *s,
                            const int64_t *sample, int64_t n, float scale, double p, uint64_t seed, int64_t step,
                            double *loss, const dtx_wanted *want)
{
    int64_t R = 0, *offset = NULL;
    int32_t *ids = NULL, *labels = NULL;
    uint64_t *key = NULL;
    double *row_loss = NULL;
    dtx_status st = DTX_OK;

    DTX_GO(DTX_NEW(offset, n + 1));
    for (int64_t i = 0; i < n; i++) {
        R += s->offset[sample[i] + 1] - s->offset[sample[i]];
        offset[i + 1] = R;
    }
    DTX_GO(DTX_NEW_RAW(ids, R));
    DTX_GO(DTX_NEW_RAW(labels, R));
    DTX_GO(DTX_NEW_RAW(key, R));
    DTX_GO(DTX_NEW_RAW(row_loss, R));
    for (int64_t i = 0; i < n; i++) {
        size_t len = (size_t)(offset[i + 1] - offset[i]);
        memcpy(ids + offset[i], s->id + s->offset[sample[i]], len * sizeof *ids);
        memcpy(labels + offset[i], s->label + s->offset[sample[i]], len * sizeof *labels);
        for (int64_t r = offset[i]; r < offset[i + 1]; r++) {
            key[r] = dtx_dropout_key(step, sample[i], r - offset[i]);
        }
    }
    const dtx_dropout dropout = {p, seed, key};
    DTX_GO(dtx_lm_loss(m, adapter, tape, n, offset, ids, labels, scale, row_loss, want != NULL ? &dropout : NULL, want));
    *loss = 0;
    for (int64_t r = 0; r < R; r++) {
        *loss += row_loss[r];
    }
done:
    dtx_free(row_loss);
    dtx_free(key);
    dtx_free(labels);
    dtx_free(ids);
    dtx_free(offset);
    return st;
}
