#include "src/training/loss.h"

#include <math.h>
#include <string.h>

#include "src/base/mem.h"

enum { HEAD_BLOCK = 128 }; /* rows whose logits are held at a time: 128 x 65,024 floats are 33 MB */

void dtx_cross_entropy(int64_t R, int64_t V, float *logits, const int32_t *label, float scale, double *loss)
{
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < R; r++) {
        float *z = logits + r * V, top = z[0];
        double sum = 0;

        if (label[r] < 0) {
            memset(z, 0, (size_t)V * sizeof *z);
            loss[r] = 0;
            continue;
        }
        for (int64_t i = 1; i < V; i++) {
            top = z[i] > top ? z[i] : top;
        }
        loss[r] = (double)top - (double)z[label[r]];
        for (int64_t i = 0; i < V; i++) {
            z[i] = expf(z[i] - top);
            sum += (double)z[i];
        }
        loss[r] += log(sum);
        const float f = (float)((double)scale / sum);
        for (int64_t i = 0; i < V; i++) {
            z[i] *= f;
        }
        z[label[r]] -= scale;
    }
}

dtx_status dtx_head_loss(const dtx_model *m, int64_t R, const float *hidden, const int32_t *label, float scale,
                         double *loss, float *d_hidden, float *grads)
{
    const int64_t d = dtx_model_arch(m)->hidden, V = dtx_model_arch(m)->vocab;
    float *h = NULL, *dh = NULL, *z = NULL, *capped = NULL;
    int32_t *lab = NULL;
    int64_t *row = NULL;
    double *part = NULL;
    dtx_status st = DTX_OK;

    DTX_GO(DTX_NEW_RAW(h, HEAD_BLOCK * d));
    DTX_GO(DTX_NEW_RAW(dh, HEAD_BLOCK * d));
    DTX_GO(DTX_NEW_RAW(z, HEAD_BLOCK * V));
    if (d_hidden != NULL && dtx_model_arch(m)->logit_cap > 0) {
        DTX_GO(DTX_NEW_RAW(capped, HEAD_BLOCK * V));
    }
    DTX_GO(DTX_NEW(lab, HEAD_BLOCK));
    DTX_GO(DTX_NEW(row, HEAD_BLOCK));
    DTX_GO(DTX_NEW(part, HEAD_BLOCK));
    if (d_hidden != NULL) {
        memset(d_hidden, 0, (size_t)(R * d) * sizeof *d_hidden);
    }
    for (int64_t r = 0; r < R;) {
        int64_t n = 0;
        for (; r < R && n < HEAD_BLOCK; r++) {
            loss[r] = 0;
            if (label[r] >= 0) {
                if (label[r] >= V) {
                    DTX_GO(DTX_FAIL(DTX_ERR_INPUT, "label %d of row %lld is outside the vocabulary of %lld", label[r],
                                    (long long)r, (long long)V));
                }
                memcpy(h + n * d, hidden + r * d, (size_t)d * sizeof *h);
                lab[n] = label[r];
                row[n++] = r;
            }
        }
        if (n == 0) {
            continue;
        }
        dtx_model_logits(m, n, h, z);
        if (capped != NULL) {
            memcpy(capped, z, (size_t)(n * V) * sizeof *z);
        }
        dtx_cross_entropy(n, V, z, lab, scale, part);
        if (d_hidden != NULL) {
            dtx_model_cap_backward(m, n, capped, z);
            dtx_model_logits_backward(m, n, z, h, dh, grads);
        }
        for (int64_t i = 0; i < n; i++) {
            loss[row[i]] = part[i];
            if (d_hidden != NULL) {
                memcpy(d_hidden + row[i] * d, dh + i * d, (size_t)d * sizeof *dh);
            }
        }
    }
done:
    dtx_free(part);
    dtx_free(row);
    dtx_free(lab);
    dtx_free(capped);
    dtx_free(z);
    dtx_free(dh);
    dtx_free(h);
    return st;
}

dtx_status dtx_lm_loss(const dtx_model *m, const dtx_adapter *adapter, dtx_tape *tape, int64_t n_seq,
                       const int64_t *offset, const int32_t *ids, const int32_t *label, float scale, double *loss,
                       const dtx_dropout *dropout, const dtx_wanted *want)
{
    const int64_t R = offset[n_seq], d = dtx_model_arch(m)->hidden;
    float *hidden = NULL, *d_hidden = NULL;
    dtx_segment *seg = NULL;
    int64_t n_seg = 0;
    dtx_status st = DTX_OK;

    DTX_GO(DTX_NEW_RAW(hidden, R * d));
    dtx_batch batch = {.n_seq = n_seq, .offset = offset, .ids = ids, .adapter = adapter, .dropout = dropout,
                       .tape = want != NULL ? tape : NULL,
                       .entropy = want != NULL && want->entropy != 0.0f};
    DTX_GO(dtx_model_forward(m, &batch, hidden));
    if (want == NULL) {
        DTX_GO(dtx_head_loss(m, R, hidden, label, scale, loss, NULL, NULL));
        goto done;
    }
    DTX_GO(DTX_NEW_RAW(d_hidden, R * d));
    DTX_GO(DTX_NEW_RAW(seg, n_seq));
    for (int64_t i = 0; i < n_seq; i++) {
        if (offset[i + 1] > offset[i]) {
            seg[n_seg++] = (dtx_segment){i, 0, offset[i + 1] - offset[i]};
        }
    }
    DTX_GO(dtx_head_loss(m, R, hidden, label, scale, loss, d_hidden, want->params));
    DTX_GO(dtx_model_backward(m, tape, n_seg, seg, d_hidden, want));
done:
    dtx_free(seg);
    dtx_free(d_hidden);
    dtx_free(hidden);
    return st;
}
