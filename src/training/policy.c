#include "src/training/policy.h"

#include <math.h>
#include <string.h>

#include "src/base/mem.h"

enum { HEAD_SLOT = 0x76686561 }; /* where the value head drops, beyond the slots of adapters */
enum { BLOCK = 64 }; /* entries that go through the head together: bounds the memory of logits */

int64_t dtx_policy_entries(const dtx_policy_rows *r)
{
    int64_t n = r->offset[r->n];

    for (int64_t i = 0; i < r->n; i++) {
        n -= r->query[i];
    }
    return n;
}

/* For each entry the row of `hidden` that predicts it, and its token. */
static dtx_status entry_rows(const dtx_policy_rows *r, int64_t vocab, int64_t **row, int32_t **token)
{
    int64_t e = 0;

    for (int64_t i = 0; i < r->n; i++) {
        if (r->query[i] < 1 || r->query[i] > r->offset[i + 1] - r->offset[i]) {
            return DTX_FAIL(DTX_ERR_INPUT, "row %lld: a prompt of %lld tokens in a text of %lld", (long long)i,
                            (long long)r->query[i], (long long)(r->offset[i + 1] - r->offset[i]));
        }
    }
    DTX_TRY(DTX_NEW_RAW(*row, dtx_policy_entries(r)));
    DTX_TRY(DTX_NEW_RAW(*token, dtx_policy_entries(r)));
    for (int64_t i = 0; i < r->n; i++) {
        for (int64_t j = r->offset[i] + r->query[i]; j < r->offset[i + 1]; j++) {
            if (r->ids[j] < 0 || r->ids[j] >= vocab) {
                return DTX_FAIL(DTX_ERR_INPUT, "token %d of row %lld is outside the vocabulary of %lld", r->ids[j], (long long)i,
                                (long long)vocab);
            }
            (*row)[e] = j - 1;
            (*token)[e++] = r->ids[j];
        }
    }
    return DTX_OK;
}

/* log sum exp of a row, and its entropy when wanted: lse - sum softmax(z) z. */
static double log_sum(const float *z, int64_t V, double *entropy)
{
    float top = z[0];
    double sum = 0, weighted = 0;

    for (int64_t i = 1; i < V; i++) {
        top = z[i] > top ? z[i] : top;
    }
    for (int64_t i = 0; i < V; i++) {
        const double e = exp((double)z[i] - (double)top);
        sum += e;
        weighted += e * (double)z[i];
    }
    const double lse = (double)top + log(sum);
    if (entropy != NULL) {
        *entropy = lse - weighted / sum;
    }
    return lse;
}

static double full_kl(const float *z, double lse, const float *zr, double lse_ref, int64_t V)
{
    double sum = 0;

    for (int64_t i = 0; i < V; i++) {
        const double lp = (double)z[i] - lse;
        sum += exp(lp) * (lp - ((double)zr[i] - lse_ref));
    }
    return sum;
}

/* (rows) keys of the masks; NULL without dropout. */
static dtx_status dropout_keys(const dtx_policy_rows *r, uint64_t **key)
{
    if (r->dropout == NULL) {
        return DTX_OK;
    }
    DTX_TRY(DTX_NEW_RAW(*key, r->offset[r->n]));
    for (int64_t i = 0; i < r->n; i++) {
        for (int64_t j = r->offset[i]; j < r->offset[i + 1]; j++) {
            (*key)[j] = dtx_dropout_key(r->dropout->pass, r->dropout->sample[i], j - r->offset[i]);
        }
    }
    return DTX_OK;
}

/* y (d) = x with the value head's mask of one row; x without dropout. */
static void drop_for_head(const dtx_policy_rows *r, const uint64_t *key, int64_t row, int64_t d, const float *x, float *y)
{
    if (r->dropout == NULL) {
        memcpy(y, x, (size_t)d * sizeof *y);
        return;
    }
    const dtx_dropout o = {r->dropout->head, r->dropout->seed, key + row};
    dtx_dropout_apply(&o, HEAD_SLOT, 1, d, x, y, 0);
}

static double value_of(const float *head, const float *hidden, int64_t d)
{
    double sum = (double)head[d];

    for (int64_t i = 0; i < d; i++) {
        sum += (double)head[i] * (double)hidden[i];
    }
    return sum;
}

/* Logits of n entries. */
static void block_logits(const dtx_model *m, const float *hidden, const int64_t *row, int64_t n, float *h, float *z)
{
    const int64_t d = dtx_model_arch(m)->hidden;

    for (int64_t i = 0; i < n; i++) {
        memcpy(h + i * d, hidden + row[i] * d, (size_t)d * sizeof *h);
    }
    dtx_model_logits(m, n, h, z);
}

dtx_status dtx_policy_compare(const dtx_model *m, const dtx_adapter *adapter, const dtx_adapter *reference, const float *head,
                              const dtx_policy_rows *r, const dtx_policy_view *out)
{
    const int64_t d = dtx_model_arch(m)->hidden, V = dtx_model_arch(m)->vocab, R = r->offset[r->n], E = dtx_policy_entries(r);
    const bool with_reference = out->ref_lp != NULL || out->kl != NULL;
    float *hidden = NULL, *hidden_ref = NULL, *h = NULL, *z = NULL, *zr = NULL, *dropped = NULL;
    int64_t *row = NULL;
    uint64_t *key = NULL;
    int32_t *token = NULL;
    dtx_status st = DTX_OK;

    DTX_GO(entry_rows(r, V, &row, &token));
    DTX_GO(dropout_keys(r, &key));
    DTX_GO(DTX_NEW_RAW(hidden, R * d));
    DTX_GO(DTX_NEW_RAW(dropped, BLOCK * d));
    DTX_GO(DTX_NEW_RAW(h, BLOCK * d));
    DTX_GO(DTX_NEW_RAW(z, BLOCK * V));
    const dtx_dropout branches = {key != NULL ? r->dropout->lora : 0, key != NULL ? r->dropout->seed : 0, key};
    dtx_batch batch = {.n_seq = r->n, .offset = r->offset, .ids = r->ids, .adapter = adapter, .dropout = key != NULL ? &branches : NULL};
    DTX_GO(dtx_model_forward(m, &batch, hidden));
    if (with_reference) {
        DTX_GO(DTX_NEW_RAW(hidden_ref, R * d));
        DTX_GO(DTX_NEW_RAW(zr, BLOCK * V));
        batch.adapter = reference;
        batch.dropout = NULL;
        DTX_GO(dtx_model_forward(m, &batch, hidden_ref));
    }
    for (int64_t e = 0; e < E; e += BLOCK) {
        const int64_t n = E - e < BLOCK ? E - e : BLOCK;
        block_logits(m, hidden, row + e, n, h, z);
        for (int64_t i = 0; out->value != NULL && i < n; i++) {
            drop_for_head(r, key, row[e + i], d, hidden + row[e + i] * d, dropped + i * d);
        }
        if (with_reference) {
            block_logits(m, hidden_ref, row + e, n, h, zr);
        }
#pragma omp parallel for schedule(static)
        for (int64_t i = 0; i < n; i++) {
            const float *zi = z + i * V;
            double entropy, lse = log_sum(zi, V, &entropy), lse_ref = with_reference ? log_sum(zr + i * V, V, NULL) : 0;
            if (out->lp != NULL) {
                out->lp[e + i] = (double)zi[token[e + i]] - lse;
            }
            if (out->entropy != NULL) {
                out->entropy[e + i] = entropy;
            }
            if (out->ref_lp != NULL) {
                out->ref_lp[e + i] = (double)zr[i * V + token[e + i]] - lse_ref;
            }
            if (out->kl != NULL) {
                out->kl[e + i] = full_kl(zi, lse, zr + i * V, lse_ref, V);
            }
            if (out->value != NULL) {
                out->value[e + i] = value_of(head, dropped + i * d, d);
            }
        }
    }
done:
    dtx_free(dropped);
    dtx_free(key);
    dtx_free(zr);
    dtx_free(hidden_ref);
    dtx_free(z);
    dtx_free(h);
    dtx_free(hidden);
    dtx_free(token);
    dtx_free(row);
    return st;
}

/* The loss on one block of entries: z (n, V) becomes the cotangents of the logits, d_value the ones of the values; h is what
 * the head sees. */
static void block_loss(int64_t V, int64_t d, const float *head, const float *h, const int32_t *token, int64_t first, int64_t n,
                       dtx_policy_loss loss, void *user, float *z, double *d_value)
{
    double lp[BLOCK], value[BLOCK], entropy[BLOCK], lse[BLOCK], d_lp[BLOCK];

#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) {
        lse[i] = log_sum(z + i * V, V, &entropy[i]);
        lp[i] = (double)z[i * V + token[i]] - lse[i];
        value[i] = head != NULL ? value_of(head, h + i * d, d) : 0;
    }
    loss(user, first, n, lp, value, entropy, d_lp, d_value);
    /* d lp / d z = onehot - softmax */
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) {
        for (int64_t k = 0; k < V; k++) {
            z[i * V + k] = (float)(-d_lp[i] * exp((double)z[i * V + k] - lse[i]));
        }
        z[i * V + token[i]] += (float)d_lp[i];
    }
}

dtx_status dtx_policy_gradient(const dtx_model *m, const dtx_adapter *adapter, dtx_tape *tape, const float *head,
                               const dtx_policy_rows *r, dtx_policy_loss loss, void *user, dtx_adapter *grads, float *d_head)
{
    const int64_t d = dtx_model_arch(m)->hidden, V = dtx_model_arch(m)->vocab, R = r->offset[r->n], E = dtx_policy_entries(r);
    float *hidden = NULL, *d_hidden = NULL, *h = NULL, *dh = NULL, *z = NULL, *capped = NULL, *dropped = NULL, *back = NULL;
    int64_t *row = NULL, n_seg = 0;
    int32_t *token = NULL;
    uint64_t *key = NULL;
    double *sum = NULL, d_value[BLOCK];
    dtx_segment *seg = NULL;
    dtx_status st = DTX_OK;

    DTX_GO(entry_rows(r, V, &row, &token));
    DTX_GO(dropout_keys(r, &key));
    DTX_GO(DTX_NEW_RAW(hidden, R * d));
    DTX_GO(DTX_NEW_RAW(dropped, BLOCK * d));
    DTX_GO(DTX_NEW(back, d));
    DTX_GO(DTX_NEW(d_hidden, R * d));
    DTX_GO(DTX_NEW_RAW(h, BLOCK * d));
    DTX_GO(DTX_NEW_RAW(dh, BLOCK * d));
    DTX_GO(DTX_NEW_RAW(z, BLOCK * V));
    if (dtx_model_arch(m)->logit_cap > 0) {
        DTX_GO(DTX_NEW_RAW(capped, BLOCK * V));
    }
    DTX_GO(DTX_NEW(sum, d + 1));
    DTX_GO(DTX_NEW_RAW(seg, r->n));
    const dtx_dropout branches = {key != NULL ? r->dropout->lora : 0, key != NULL ? r->dropout->seed : 0, key};
    const dtx_batch batch = {.n_seq = r->n, .offset = r->offset, .ids = r->ids, .adapter = adapter, .tape = tape,
                             .dropout = key != NULL ? &branches : NULL};
    DTX_GO(dtx_model_forward(m, &batch, hidden));
    for (int64_t e = 0; e < E; e += BLOCK) {
        const int64_t n = E - e < BLOCK ? E - e : BLOCK;
        block_logits(m, hidden, row + e, n, h, z);
        for (int64_t i = 0; head != NULL && i < n; i++) {
            drop_for_head(r, key, row[e + i], d, h + i * d, dropped + i * d);
        }
        if (capped != NULL) {
            memcpy(capped, z, (size_t)(n * V) * sizeof *z);
        }
        block_loss(V, d, head, dropped, token + e, e, n, loss, user, z, d_value);
        dtx_model_cap_backward(m, n, capped, z);
        dtx_model_logits_backward(m, n, z, h, dh, NULL);
        for (int64_t i = 0; i < n; i++) {
            const double dv = head != NULL ? d_value[i] : 0;
            float *to = d_hidden + row[e + i] * d;
            if (head != NULL) {
                drop_for_head(r, key, row[e + i], d, head, back); /* the mask acts on the way back as on the way here */
            }
            for (int64_t k = 0; k < d; k++) {
                to[k] = dh[i * d + k] + (head != NULL ? (float)(dv * (double)back[k]) : 0.0f);
                sum[k] += head != NULL ? dv * (double)dropped[i * d + k] : 0;
            }
            sum[d] += dv;
        }
    }
    for (int64_t k = 0; d_head != NULL && k <= d; k++) {
        d_head[k] += (float)sum[k];
    }
    for (int64_t i = 0; i < r->n; i++) {
        if (r->offset[i + 1] > r->offset[i]) {
            seg[n_seg++] = (dtx_segment){i, 0, r->offset[i + 1] - r->offset[i]};
        }
    }
    DTX_GO(dtx_model_backward(m, tape, n_seg, seg, d_hidden, &(dtx_wanted){.lora = grads}));
done:
    dtx_free(back);
    dtx_free(dropped);
    dtx_free(key);
    dtx_free(seg);
    dtx_free(sum);
    dtx_free(capped);
    dtx_free(z);
    dtx_free(dh);
    dtx_free(h);
    dtx_free(d_hidden);
    dtx_free(hidden);
    dtx_free(token);
    dtx_free(row);
    return st;
}
