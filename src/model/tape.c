/* tape.c - buffers that grow, records of layers, and the tape made of them. */
#include <string.h>

#include "src/base/mem.h"
#include "src/model/impl.h"

dtx_status dtx_buffer_need(model_buffer *b, int64_t n, float **out)
{
    if ((size_t)n > b->cap) {
        dtx_free(b->p);
        b->cap = 0;
        DTX_TRY(DTX_NEW_RAW(b->p, n));
        b->cap = (size_t)n;
    }
    *out = b->p;
    return DTX_OK;
}

void dtx_buffer_free(model_buffer *b)
{
    dtx_free(b->p);
    b->p = NULL;
    b->cap = 0;
}

void dtx_work_free(model_work *w)
{
    for (int i = 0; i < WORK_BUFFERS; i++) {
        dtx_buffer_free(&w->b[i]);
    }
    dtx_free(w->rows);
    dtx_free(w->list);
    memset(w, 0, sizeof *w);
}

int64_t dtx_record_layout(const dtx_model *m, int64_t R, bool stats, int64_t n_probs, float *base, model_record *rec)
{
    const dtx_arch *a = &m->arch;
    const int64_t d = a->hidden, attn = a->n_heads * a->head_dim;
    const bool mid = !a->parallel || a->post_norm, sum = a->post_norm, end = stats && a->branch_norm, qk = stats && a->qk_norm;
    const int64_t heads = a->n_heads + a->n_kv;
    int64_t at = 0;
    model_record r;
    struct {
        float **p;
        int64_t n;
    } part[] = {
        {&r.mean1, stats ? R : 0},    {&r.rstd1, stats ? R : 0}, {&r.mean2, stats ? R : 0}, {&r.rstd2, stats ? R : 0},
        {&r.qkv, R * m->heads.width}, {&r.attn, R * attn},       {&r.mid, mid ? R * d : 0}, {&r.up, R * dtx_up_width(a)},
        {&r.sum, sum ? R * d : 0},    {&r.probs, n_probs},       {&r.end1, end ? R * d : 0}, {&r.end2, end ? R * d : 0},
        {&r.rstd_end1, end ? R : 0},  {&r.rstd_end2, end ? R : 0}, {&r.qk, qk ? R * heads * a->head_dim : 0},
        {&r.rstd_qk, qk ? R * heads : 0},
    };

    for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
        *part[i].p = base != NULL && part[i].n > 0 ? base + at : NULL;
        at += (part[i].n + 15) / 16 * 16; /* whole cache lines */
    }
    if (base != NULL) {
        *rec = r;
    }
    return at;
}

dtx_status dtx_tape_new(const dtx_model *m, bool recompute, dtx_tape **out)
{
    dtx_tape *t;

    DTX_TRY(DTX_NEW(t, 1));
    t->m = m;
    t->recompute = recompute;
    *out = t;
    return DTX_OK;
}

void dtx_tape_del(dtx_tape *t)
{
    if (t != NULL) {
        dtx_work_free(&t->work);
        dtx_buffer_free(&t->records);
        dtx_buffer_free(&t->embed_sum);
        dtx_buffer_free(&t->stats);
        dtx_buffer_free(&t->x);
        dtx_free(t->ids);
        dtx_free(t->pos);
        dtx_free(t->offset);
        dtx_free(t->probs_at);
        dtx_free(t);
    }
}

double dtx_tape_entropy(const dtx_tape *t)
{
    return t->entropy;
}

/* Softmax weights are kept where they take at most twice the MLP's activations: len <= 640 for RedPajama 3B. */
bool dtx_tape_keeps_probs(const dtx_arch *a, int64_t len)
{
    return a->score_cap == 0 && a->n_heads * len <= 2 * a->ffn; /* the derivative of a cap needs the scores themselves */
}

dtx_status dtx_tape_begin(dtx_tape *t, const dtx_batch *b, const int32_t *pos)
{
    const dtx_arch *a = &t->m->arch;
    const int64_t R = b->offset[b->n_seq], d = a->hidden;
    float *unused;

    t->filled = false;
    t->entropy = 0;
    if (b->n_seq > t->n_seq_cap || t->offset == NULL) {
        dtx_free(t->offset);
        dtx_free(t->probs_at);
        t->probs_at = NULL;
        t->n_seq_cap = 0;
        DTX_TRY(DTX_NEW(t->offset, b->n_seq + 1));
        DTX_TRY(DTX_NEW(t->probs_at, b->n_seq + 1));
        t->n_seq_cap = b->n_seq;
    }
    if ((size_t)R > t->ids_cap || t->ids == NULL) {
        dtx_free(t->ids);
        dtx_free(t->pos);
        t->pos = NULL;
        t->ids_cap = 0;
        DTX_TRY(DTX_NEW_RAW(t->ids, R));
        DTX_TRY(DTX_NEW_RAW(t->pos, R));
        t->ids_cap = (size_t)R;
    }
    t->R = R;
    t->n_seq = b->n_seq;
    t->adapter = b->adapter;
    t->dropout = b->dropout != NULL ? *b->dropout : (dtx_dropout){0};
    memcpy(t->offset, b->offset, (size_t)(b->n_seq + 1) * sizeof *t->offset);
    memcpy(t->ids, b->ids, (size_t)R * sizeof *t->ids);
    memcpy(t->pos, pos, (size_t)R * sizeof *t->pos);
    t->n_probs = 0;
    for (int64_t s = 0; s < b->n_seq; s++) {
        int64_t len = b->offset[s + 1] - b->offset[s];
        t->probs_at[s] = -1;
        if (dtx_tape_keeps_probs(a, len)) {
            t->probs_at[s] = t->n_probs;
            t->n_probs += a->n_heads * len * len;
        }
    }
    int64_t record = dtx_record_layout(t->m, R, true, t->n_probs, NULL, NULL);
    DTX_TRY(dtx_buffer_need(&t->x, (a->n_layers + 1) * R * d, &unused));
    DTX_TRY(dtx_buffer_need(&t->stats, 2 * R, &unused));
    if (a->post_norm) {
        DTX_TRY(dtx_buffer_need(&t->embed_sum, R * d, &unused));
    }
    return dtx_buffer_need(&t->records, record * (t->recompute ? 1 : a->n_layers), &unused);
}

float *dtx_tape_x(const dtx_tape *t, int64_t layer)
{
    return t->x.p + layer * t->R * t->m->arch.hidden;
}

void dtx_tape_record(const dtx_tape *t, int64_t layer, model_record *rec)
{
    int64_t size = dtx_record_layout(t->m, t->R, true, t->n_probs, NULL, NULL);

    dtx_record_layout(t->m, t->R, true, t->n_probs, t->records.p + (t->recompute ? 0 : layer * size), rec);
}
