/* model.c - logits.safetensors and roberta.safetensors: forward passes alone. */
#include <stdio.h>
#include <string.h>

#include "jobs/verify/verify.h"
#include "src/base/file.h"
#include "src/base/mem.h"

/* Logits of one sequence at n positions (NULL = its last). */
static dtx_status logits_at(const dtx_model *m, const dtx_adapter *ad, int64_t T, const int32_t *ids, int64_t n,
                            const int32_t *positions, float *logits)
{
    dtx_status st;
    const int64_t d = dtx_model_arch(m)->hidden, offset[2] = {0, T};
    float *hidden = NULL;
    dtx_batch b = {.n_seq = 1, .offset = offset, .ids = ids, .adapter = ad};

    DTX_GO(DTX_NEW_RAW(hidden, T * d));
    DTX_GO(dtx_model_forward(m, &b, hidden));
    for (int64_t i = 0; i < n; i++) {
        const int64_t p = positions != NULL ? positions[i] : T - 1;
        if (p < 0 || p >= T) {
            st = DTX_FAIL(DTX_ERR_INPUT, "position %lld of a sequence of %lld", (long long)p, (long long)T);
            goto done;
        }
        dtx_model_logits(m, 1, hidden + p * d, logits + i * dtx_model_arch(m)->vocab);
    }
done:
    dtx_free(hidden);
    return st;
}

static int32_t best(int64_t V, const float *logits)
{
    int64_t top = 0;

    for (int64_t i = 1; i < V; i++) {
        if (logits[i] > logits[top]) {
            top = i;
        }
    }
    return (int32_t)top;
}

/* n ids after T ids by argmax: one token at a time through a cache, or the whole sequence again at each step. ids has
 * room for T + n. */
static dtx_status greedy(const dtx_model *m, bool cached, int64_t T, int32_t *ids, int64_t n)
{
    dtx_status st;
    const int64_t d = dtx_model_arch(m)->hidden, V = dtx_model_arch(m)->vocab;
    float *hidden = NULL, *logits = NULL;
    dtx_kv *kv = NULL;
    int64_t slot = 0, known = 0;

    DTX_GO(DTX_NEW_RAW(hidden, (T + n) * d));
    DTX_GO(DTX_NEW_RAW(logits, V));
    if (cached) {
        DTX_GO(dtx_kv_new(m, 1, T + n, &kv));
    }
    for (int64_t i = 0; i < n; i++) {
        const int64_t first = cached ? known : 0, offset[2] = {0, T + i - first};
        dtx_batch b = {.n_seq = 1, .offset = offset, .ids = ids + first, .kv = kv, .slot = &slot};
        DTX_GO(dtx_model_forward(m, &b, hidden));
        dtx_model_logits(m, 1, hidden + (offset[1] - 1) * d, logits);
        ids[T + i] = best(V, logits);
        known = T + i;
    }
done:
    dtx_kv_del(kv);
    dtx_free(hidden);
    dtx_free(logits);
    return st;
}

dtx_status dtx_verify_sequences(dtx_verify *v, const dtx_model *m, const char *label, bool with_greedy)
{
    dtx_status st = DTX_OK;
    const int64_t V = dtx_model_arch(m)->vocab;
    dtx_quantity q = dtx_verify_begin(v, label, "logits"), g = dtx_verify_begin(v, "greedy, no cache", "="),
                 c = dtx_verify_begin(v, "greedy, cache", "=");
    char name[64];

    for (int s = 0;; s++) {
        int32_t *ids = NULL, *positions = NULL, *next = NULL, *all = NULL;
        double *want = NULL;
        float *got = NULL;
        int64_t T, n, n_want, n_next = 0;
        snprintf(name, sizeof name, "seq%d.input_ids", s);
        if (!dtx_verify_has(v, name)) {
            break;
        }
        DTX_GO(dtx_verify_ids(v, name, &ids, &T, NULL));
        snprintf(name, sizeof name, "seq%d.positions", s);
        st = dtx_verify_ids(v, name, &positions, &n, NULL);
        snprintf(name, sizeof name, "seq%d.greedy", s);
        st = st == DTX_OK && (with_greedy || dtx_verify_has(v, name)) ? dtx_verify_ids(v, name, &next, &n_next, NULL) : st;
        snprintf(name, sizeof name, "seq%d.logits", s);
        st = st == DTX_OK ? dtx_verify_read(v, name, &want, &n_want, NULL) : st;
        if (st == DTX_OK && n_want != n * V) {
            st = DTX_FAIL(DTX_ERR_INPUT, "%s/expected/%s: %s should have %lld x %lld values", v->dir, v->file, name,
                          (long long)n, (long long)V);
        }
        st = st == DTX_OK ? DTX_NEW_RAW(got, n * V) : st;
        st = st == DTX_OK ? logits_at(m, NULL, T, ids, n, positions, got) : st;
        if (st == DTX_OK) {
            dtx_verify_floats(&q, name, n * V, got, want);
        }
        for (int cached = 0; cached < 2 && with_greedy && st == DTX_OK; cached++) {
            st = all == NULL ? DTX_NEW_RAW(all, T + n_next) : DTX_OK;
            if (st == DTX_OK) {
                memcpy(all, ids, (size_t)T * sizeof *all);
                st = greedy(m, cached, T, all, n_next);
            }
            for (int64_t i = 0; i < n_next && st == DTX_OK; i++) {
                dtx_verify_values(cached ? &c : &g, name, 1, &(double){all[T + i]}, &(double){next[i]});
            }
        }
        dtx_free(ids);
        dtx_free(positions);
        dtx_free(next);
        dtx_free(all);
        dtx_free(want);
        dtx_free(got);
        if (st != DTX_OK) {
            goto done;
        }
    }
    dtx_verify_end(v, &q);
    if (with_greedy) {
        dtx_verify_end(v, &g);
        dtx_verify_end(v, &c);
    }
done:
    return st;
}

/* The left-padded batch: padding is stripped, the rows run together as ragged sequences. */
static dtx_status check_batch(dtx_verify *v)
{
    dtx_status st;
    const int64_t V = dtx_model_arch(v->model)->vocab, d = dtx_model_arch(v->model)->hidden;
    int32_t *ids = NULL, *mask = NULL;
    int64_t n, shape[DTX_MAX_DIMS], n_mask, n_want, *offset = NULL;
    double *want = NULL;
    float *hidden = NULL, *logits = NULL;
    dtx_quantity q = dtx_verify_begin(v, "batch.last_logits", "batch_logits");

    DTX_GO(dtx_verify_ids(v, "batch.input_ids", &ids, &n, shape));
    DTX_GO(dtx_verify_ids(v, "batch.attention_mask", &mask, &n_mask, NULL));
    DTX_GO(dtx_verify_read(v, "batch.last_logits", &want, &n_want, NULL));
    if (n_mask != n || n_want != shape[0] * V) {
        st = DTX_FAIL(DTX_ERR_INPUT, "%s/expected/%s: the shapes of batch.* do not agree", v->dir, v->file);
        goto done;
    }
    DTX_GO(DTX_NEW(offset, shape[0] + 1));
    int64_t rows = 0;
    for (int64_t b = 0; b < shape[0]; b++) {
        for (int64_t t = 0; t < shape[1]; t++) {
            if (mask[b * shape[1] + t] != 0) {
                ids[rows++] = ids[b * shape[1] + t]; /* never ahead of what is read */
            }
        }
        offset[b + 1] = rows;
    }
    DTX_GO(DTX_NEW_RAW(hidden, rows * d));
    DTX_GO(DTX_NEW_RAW(logits, V));
    DTX_GO(dtx_model_forward(v->model, &(dtx_batch){.n_seq = shape[0], .offset = offset, .ids = ids}, hidden));
    for (int64_t b = 0; b < shape[0]; b++) {
        dtx_model_logits(v->model, 1, hidden + (offset[b + 1] - 1) * d, logits);
        dtx_verify_floats(&q, "batch.last_logits", V, logits, want + b * V);
    }
    dtx_verify_end(v, &q);
done:
    dtx_free(ids);
    dtx_free(mask);
    dtx_free(want);
    dtx_free(offset);
    dtx_free(hidden);
    dtx_free(logits);
    return st;
}

dtx_status dtx_verify_logits(dtx_verify *v)
{
    char path[4500];
    dtx_arch other;
    dtx_model *m = NULL;
    dtx_status st;

    DTX_TRY(dtx_verify_sequences(v, v->model, "logits", true));
    if (dtx_verify_has(v, "batch.input_ids")) {
        DTX_TRY(check_batch(v));
    }
    snprintf(path, sizeof path, "%s/config.rw.json", v->dir);
    if (!dtx_file_exists(path)) {
        return DTX_OK;
    }
    DTX_TRY(dtx_arch_read(path, &other));
    DTX_TRY(dtx_model_open_as(v->dir, &other, false, &m));
    st = dtx_verify_sequences(v, m, "logits, config.rw.json", false);
    dtx_model_del(m);
    return st;
}

dtx_status dtx_verify_roberta(dtx_verify *v)
{
    dtx_status st;
    const dtx_arch *a = dtx_model_arch(v->model);
    const int64_t L = a->n_labels;
    int32_t *ids = NULL, *mask = NULL;
    int64_t n, shape[DTX_MAX_DIMS], n_mask, n_l, n_p, n_h, n_r, *offset = NULL, rows = 0;
    double *logits = NULL, *probs = NULL, *hate = NULL, *reward = NULL;
    float *got = NULL;
    dtx_quantity ql = dtx_verify_begin(v, "logits", "logits"), qp = dtx_verify_begin(v, "probs", "probs"),
                 qh = dtx_verify_begin(v, "hate", "probs"), qr = dtx_verify_begin(v, "reward", "probs");

    DTX_GO(dtx_verify_ids(v, "input_ids", &ids, &n, shape));
    DTX_GO(dtx_verify_ids(v, "attention_mask", &mask, &n_mask, NULL));
    DTX_GO(dtx_verify_read(v, "logits", &logits, &n_l, NULL));
    DTX_GO(dtx_verify_read(v, "probs", &probs, &n_p, NULL));
    DTX_GO(dtx_verify_read(v, "hate", &hate, &n_h, NULL));
    DTX_GO(dtx_verify_read(v, "reward", &reward, &n_r, NULL));
    const int64_t B = shape[0];
    if (n_mask != n || n_l != B * L || n_p != B * L || n_h != B || n_r != B || L < 2) {
        st = DTX_FAIL(DTX_ERR_INPUT, "%s/expected/%s: the shapes do not agree", v->dir, v->file);
        goto done;
    }
    DTX_GO(DTX_NEW(offset, B + 1));
    for (int64_t b = 0; b < B; b++) {
        for (int64_t t = 0; t < shape[1]; t++) {
            if (mask[b * shape[1] + t] != 0) {
                ids[rows++] = ids[b * shape[1] + t];
            }
        }
        offset[b + 1] = rows;
    }
    DTX_GO(DTX_NEW_RAW(got, B * L));
    DTX_GO(dtx_model_classify(v->model, &(dtx_batch){.n_seq = B, .offset = offset, .ids = ids}, got));
    dtx_verify_floats(&ql, "logits", B * L, got, logits);
    dtx_model_label_probs(a, B, got);
    dtx_verify_floats(&qp, "probs", B * L, got, probs);
    for (int64_t b = 0; b < B; b++) {
        dtx_verify_floats(&qh, "hate", 1, &got[b * L + 1], &hate[b]);
        dtx_verify_floats(&qr, "reward", 1, &(float){1 - got[b * L + 1]}, &reward[b]);
    }
    dtx_verify_end(v, &ql);
    dtx_verify_end(v, &qp);
    dtx_verify_end(v, &qh);
    dtx_verify_end(v, &qr);
done:
    dtx_free(ids);
    dtx_free(mask);
    dtx_free(logits);
    dtx_free(probs);
    dtx_free(hate);
    dtx_free(reward);
    dtx_free(offset);
    dtx_free(got);
    return st;
}
