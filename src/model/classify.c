/* classify.c - RoBERTa's classification head, out_proj(tanh(dense(h))), on the first token of each sequence or on all. */
#include <math.h>
#include <string.h>

#include "src/base/mem.h"
#include "src/model/impl.h"

/* Rows of a classification: hidden states of the tokens that are asked, and tanh of the dense layer. */
typedef struct {
    float *asked, *act; /* (n, d) each, one allocation at `asked` */
} head_rows;

/* Row of the i-th token that is asked: every one, or each sequence's first. */
static int64_t row_of(bool all_tokens, const int64_t *offset, int64_t i)
{
    return all_tokens ? i : offset[i];
}

static dtx_status head_forward(const dtx_model *m, int64_t n, bool all_tokens, const int64_t *offset, const float *hidden,
                               head_rows *h)
{
    const int64_t d = m->arch.hidden;

    DTX_TRY(DTX_NEW_RAW(h->asked, 2 * n * d));
    h->act = h->asked + n * d;
    for (int64_t i = 0; i < n; i++) {
        memcpy(h->asked + i * d, hidden + row_of(all_tokens, offset, i) * d, (size_t)d * sizeof(float));
    }
    dtx_linear_forward(&m->cls_dense.w, m->cls_dense.bias, n, h->asked, d, h->act, d, false);
    for (int64_t i = 0; i < n * d; i++) {
        h->act[i] = tanhf(h->act[i]);
    }
    return DTX_OK;
}

static dtx_status check(const dtx_model *m, int64_t n_seq, const int64_t *offset)
{
    if (m->cls_out.w.w == NULL) {
        return DTX_FAIL(DTX_ERR_USAGE, "a %s model has no classification head", m->arch.model_type);
    }
    for (int64_t s = 0; s < n_seq; s++) {
        if (offset[s + 1] <= offset[s]) {
            return DTX_FAIL(DTX_ERR_INPUT, "sequence %lld is empty: there is nothing to classify", (long long)s);
        }
    }
    return DTX_OK;
}

static dtx_status classify(const dtx_model *m, const dtx_batch *b, bool all_tokens, float *logits)
{
    const int64_t n = all_tokens ? b->offset[b->n_seq] : b->n_seq;
    dtx_status st;
    float *hidden = NULL;
    head_rows h = {0};

    DTX_GO(check(m, b->n_seq, b->offset));
    DTX_GO(DTX_NEW_RAW(hidden, b->offset[b->n_seq] * m->arch.hidden));
    DTX_GO(dtx_model_forward(m, b, hidden));
    DTX_GO(head_forward(m, n, all_tokens, b->offset, hidden, &h));
    dtx_linear_forward(&m->cls_out.w, m->cls_out.bias, n, h.act, m->arch.hidden, logits, m->arch.n_labels, false);
done:
    dtx_free(h.asked);
    dtx_free(hidden);
    return st;
}

dtx_status dtx_model_classify(const dtx_model *m, const dtx_batch *b, float *logits)
{
    return classify(m, b, false, logits);
}

dtx_status dtx_model_classify_tokens(const dtx_model *m, const dtx_batch *b, float *logits)
{
    return classify(m, b, true, logits);
}

static dtx_status backward(const dtx_model *m, dtx_tape *t, bool all_tokens, const float *d_logits, const dtx_wanted *want)
{
    dtx_status st;
    const int64_t d = m->arch.hidden, n_seq = t->n_seq, n = all_tokens ? t->R : n_seq, labels = m->arch.n_labels;
    float *d_hidden = NULL, *d_act = NULL, *grads = want->params;
    dtx_segment *seg = NULL;
    head_rows h = {0};

    if (!t->filled) {
        return DTX_FAIL(DTX_ERR_CHECK, "the tape holds no forward pass");
    }
    DTX_GO(check(m, n_seq, t->offset));
    DTX_GO(DTX_NEW(d_hidden, t->R * d));
    DTX_GO(DTX_NEW_RAW(d_act, 2 * n * d));
    DTX_GO(DTX_NEW(seg, n_seq));
    DTX_GO(head_forward(m, n, all_tokens, t->offset, dtx_tape_x(t, m->arch.n_layers), &h));
    dtx_linear_backward_input(&m->cls_out.w, n, d_logits, labels, d_act, d, false);
    if (grads != NULL) {
        dtx_linear_backward_weight(labels, d, n, d_logits, labels, h.act, d,
                                   grads + m->params[m->cls_out.w_param].offset,
                                   grads + m->params[m->cls_out.b_param].offset);
    }
    for (int64_t i = 0; i < n * d; i++) {
        d_act[i] *= 1 - h.act[i] * h.act[i];
    }
    float *d_asked = d_act + n * d;
    dtx_linear_backward_input(&m->cls_dense.w, n, d_act, d, d_asked, d, false);
    if (grads != NULL) {
        dtx_linear_backward_weight(d, d, n, d_act, d, h.asked, d, grads + m->params[m->cls_dense.w_param].offset,
                                   grads + m->params[m->cls_dense.b_param].offset);
    }
    for (int64_t i = 0; i < n; i++) {
        memcpy(d_hidden + row_of(all_tokens, t->offset, i) * d, d_asked + i * d, (size_t)d * sizeof(float));
    }
    for (int64_t s = 0; s < n_seq; s++) {
        seg[s] = (dtx_segment){.seq = s, .first = 0, .len = t->offset[s + 1] - t->offset[s]};
    }
    DTX_GO(dtx_model_backward(m, t, n_seq, seg, d_hidden, want));
done:
    dtx_free(h.asked);
    dtx_free(seg);
    dtx_free(d_act);
    dtx_free(d_hidden);
    return st;
}

dtx_status dtx_model_classify_backward(const dtx_model *m, dtx_tape *t, const float *d_logits, const dtx_wanted *want)
{
    return backward(m, t, false, d_logits, want);
}

dtx_status dtx_model_classify_tokens_backward(const dtx_model *m, dtx_tape *t, const float *d_logits, const dtx_wanted *want)
{
    return backward(m, t, true, d_logits, want);
}

void dtx_model_label_probs(const dtx_arch *a, int64_t n, float *logits)
{
    if (!a->multi_label) {
        dtx_softmax(n, a->n_labels, logits);
        return;
    }
    for (int64_t i = 0; i < n * a->n_labels; i++) {
        logits[i] = (float)(1 / (1 + exp(-(double)logits[i])));
    }
}
