/* backward.c - one backward pass: vector-Jacobian products of any number of segments at once, as one ragged
 * matrix of cotangent rows per layer. Two sets of rows: `top`, first..len-1 of each segment, which the stack's output,
 * its MLP and its attention output start with, and `full`, 0..len-1, from the first attention downward. Forward
 * quantities of a cotangent row are found through the set's map; with a map of NULL row r belongs to forward row r. */
#include <inttypes.h>
#include <string.h>

#include "src/base/mem.h"
#include "src/model/impl.h"

typedef struct {
    int64_t M;
    const int32_t *map; /* (M) forward rows, NULL = the identity */
    const int64_t *at;  /* (n_seg + 1) first row of each segment */
} row_set;

typedef struct {
    const dtx_model *m;
    dtx_tape *t;
    int64_t n_seg;
    const dtx_segment *seg;
    const dtx_wanted *want;
    row_set top, full;
    bool expand;        /* top differs from full */
    int32_t *pos;       /* (full.M) positions */
    dtx_attn_seg *attn; /* room for n_seg */
    model_pass pass;    /* for recompute */
    /* scratch: cotangents (D, E: of the residual stream), inputs of modules, A x and its cotangent */
    float *D, *E, *norm, *ffn, *up, *gain, *attn_out, *qkv, *lora, *d_lora, *u_norm, *u_act;
} backward;

static float *grad_of(const backward *b, int64_t param)
{
    return b->want->params != NULL && param >= 0 ? b->want->params + b->m->params[param].offset : NULL;
}

/* Whether the module's own input is needed: for a weight gradient, or for one of its adapter's. */
static bool needs_input(const backward *b, int64_t layer, dtx_module_kind kind)
{
    return b->want->params != NULL || (b->want->lora != NULL && dtx_adapter_at(b->want->lora, layer, kind) != NULL);
}

/* Backward of y = s B (A u): dA, dB where wanted, du where not NULL. */
static void lora_backward(const backward *b, int64_t layer, dtx_module_kind kind, int64_t M, const float *dy,
                          int64_t lddy, const float *u, float *du)
{
    const dtx_lora *l = dtx_adapter_at(b->t->adapter, layer, kind), *g = dtx_adapter_at(b->want->lora, layer, kind);

    if (l == NULL) {
        return;
    }
    const int64_t r = l->r, slot = dtx_module_stream(layer, kind);
    const bool drop = b->t->dropout.p > 0;
    const dtx_matrix A = dtx_f32_matrix(l->A, r, l->n_in), B = dtx_f32_matrix(l->B, l->n_out, r);
    if (du != NULL || g != NULL) {
        dtx_linear_backward_input(&B, M, dy, lddy, b->d_lora, r, false);
        for (int64_t i = 0; i < M * r; i++) {
            b->d_lora[i] *= l->scale;
        }
    }
    if (g != NULL) {
        if (drop) {
            dtx_dropout_apply(&b->t->dropout, slot, M, l->n_in, u, b->pass.drop, 0);
            u = b->pass.drop;
        }
        dtx_linear_forward(&A, NULL, M, u, l->n_in, b->lora, r, false);
        for (int64_t i = 0; i < M * r; i++) {
            b->lora[i] *= l->scale;
        }
        dtx_linear_backward_weight(l->n_out, r, M, dy, lddy, b->lora, r, g->B, NULL);
        dtx_linear_backward_weight(r, l->n_in, M, b->d_lora, r, u, l->n_in, g->A, NULL);
    }
    if (du != NULL && drop) {
        dtx_linear_backward_input(&A, M, b->d_lora, r, b->pass.drop, l->n_in, false);
        dtx_dropout_apply(&b->t->dropout, slot, M, l->n_in, b->pass.drop, du, 1);
    } else if (du != NULL) {
        dtx_linear_backward_input(&A, M, b->d_lora, r, du, l->n_in, true);
    }
}

/* Backward of a module: du (M, n_in; NULL = not wanted) from dy, and the gradients that are wanted, which need u. */
static void module_backward(const backward *b, int64_t layer, dtx_module_kind kind, int64_t M, const float *dy,
                            int64_t lddy, const float *u, float *du, bool accumulate)
{
    const model_linear *l = &b->m->layers[layer].module[kind];
    const dtx_lora *lora = dtx_adapter_at(b->t->adapter, layer, kind);

    if (lora != NULL && lora->gain != NULL) { /* W and B A see gain * dy */
        for (int64_t i = 0; i < M * lora->n_out; i++) {
            b->gain[i] = lora->gain[i % lora->n_out] * dy[i / lora->n_out * lddy + i % lora->n_out];
        }
        dy = b->gain;
        lddy = lora->n_out;
    }
    if (du != NULL) {
        dtx_model_linear_input(l, M, dy, lddy, du, accumulate);
    }
    if (b->want->params != NULL) {
        dtx_model_linear_weight(l, M, dy, lddy, u, grad_of(b, l->w_param), grad_of(b, l->b_param));
    }
    lora_backward(b, layer, kind, M, dy, lddy, u, du);
}

/* dx += backward of n at x. */
static void norm_backward(const backward *b, const model_norm *n, const row_set *rows, const float *x,
                          const float *mean, const float *rstd, const float *dy, float *dx)
{
    const dtx_arch *a = &b->m->arch;

    if (a->rms_norm) {
        dtx_rms_backward(rows->M, 1, a->hidden, rows->map, x, a->hidden, rstd, n->w, a->norm_plus_one ? 1.0f : 0.0f, dy, dx, a->hidden,
                         true, grad_of(b, n->w_param));
    } else {
        dtx_norm_backward(rows->M, a->hidden, rows->map, x, mean, rstd, n->w, dy, dx, grad_of(b, n->w_param), grad_of(b, n->b_param));
    }
}

/* The cotangent of what a branch's last linear gives, from dy, the cotangent of what the branch adds: dy itself, or through the norm
 * at the branch's end into `room`. */
static const float *end_backward(const backward *b, const model_norm *n, const row_set *rows, const float *x, const float *rstd,
                                 const float *dy, float *room)
{
    if (!b->m->arch.branch_norm) {
        return dy;
    }
    memset(room, 0, (size_t)(rows->M * b->m->arch.hidden) * sizeof *room);
    norm_backward(b, n, rows, x, NULL, rstd, dy, room);
    return room;
}

/* Which cotangents a layer has to form. */
typedef struct {
    bool input;     /* of the layer's input */
    bool qkv;       /* of the fused projection's output */
    bool attn;      /* of the attention's output */
    bool mlp_input; /* of what the up projection reads */
    bool up;        /* of the up and gate projections' outputs */
} layer_needs;

static layer_needs needs_of(const backward *b, int64_t layer, bool input)
{
    const dtx_adapter *g = b->want->lora;
    bool qkv = dtx_adapter_at(g, layer, DTX_MOD_Q) != NULL || dtx_adapter_at(g, layer, DTX_MOD_K) != NULL ||
               dtx_adapter_at(g, layer, DTX_MOD_V) != NULL;
    layer_needs n = {.input = input};

    n.qkv = input || qkv;
    n.attn = n.qkv || dtx_adapter_at(g, layer, DTX_MOD_OUT) != NULL;
    /* in a parallel layer the attention branch does not lie below the MLP */
    n.mlp_input = input || (!b->m->arch.parallel && n.attn);
    n.up = n.mlp_input || dtx_adapter_at(g, layer, DTX_MOD_UP) != NULL || dtx_adapter_at(g, layer, DTX_MOD_GATE) != NULL;
    return n;
}

/* MLP: from dy (rows.M, d), cotangent of its last linear's output, to d_in (NULL = not needed; accumulate adds). The up
 * projection's input was norm(x), or x (norm NULL); it is formed again where a gradient needs it. */
static void mlp_backward(const backward *b, int64_t layer, const row_set *rows, const model_record *rec,
                         const layer_needs *need, const float *x, const model_norm *norm, const float *dy, float *d_in,
                         bool accumulate)
{
    const dtx_arch *a = &b->m->arch;
    const int64_t width = dtx_up_width(a);
    const float *act = NULL, *in = x;
    float *d_up = a->gated ? b->up : b->ffn, *to = need->mlp_input ? d_in : NULL;

    if (needs_input(b, layer, DTX_MOD_DOWN)) {
        if (a->gated) {
            dtx_gate_forward(a->activation, rows->M, a->ffn, rec->up, b->u_act);
        } else {
            dtx_act_forward(a->activation, rows->M, a->ffn, rec->up, b->u_act);
        }
        act = b->u_act;
    }
    module_backward(b, layer, DTX_MOD_DOWN, rows->M, dy, a->hidden, act, need->up ? b->ffn : NULL, false);
    if (!need->up) {
        return;
    }
    if (a->gated) {
        dtx_gate_backward(a->activation, rows->M, a->ffn, rows->map, rec->up, b->ffn, d_up);
    } else {
        dtx_act_backward(a->activation, rows->M, a->ffn, rows->map, rec->up, b->ffn, d_up);
    }
    if (norm != NULL && (needs_input(b, layer, DTX_MOD_UP) || needs_input(b, layer, DTX_MOD_GATE))) {
        dtx_model_norm(b->m, norm, rows->M, x, b->u_norm, NULL, NULL);
        in = b->u_norm;
    }
    module_backward(b, layer, DTX_MOD_UP, rows->M, d_up + dtx_module_column(b->m, DTX_MOD_UP), width, in, to, accumulate);
    if (b->m->layers[layer].module[DTX_MOD_GATE].w.w != NULL) {
        module_backward(b, layer, DTX_MOD_GATE, rows->M, d_up, width, in, to, true);
    }
}

/* From the cotangents of normed queries and keys to those of the projections' outputs, in place. */
static void norm_queries_and_keys_backward(const backward *b, int64_t layer, const model_record *rec)
{
    const dtx_arch *a = &b->m->arch;
    const model_layer *l = &b->m->layers[layer];
    const int64_t width = b->m->heads.width, q = a->n_heads * a->head_dim, k = a->n_kv * a->head_dim;
    const int64_t n_q = a->qk_norm_wide ? 1 : a->n_heads, n_k = a->qk_norm_wide ? 1 : a->n_kv;
    const float shift = a->norm_plus_one ? 1.0f : 0.0f;

    dtx_rms_backward(b->full.M, n_q, q / n_q, b->full.map, rec->qk, q + k, rec->rstd_qk, l->q_norm.w, shift, b->qkv, b->qkv, width, false,
                     grad_of(b, l->q_norm.w_param));
    dtx_rms_backward(b->full.M, n_k, k / n_k, b->full.map, rec->qk + q, q + k, rec->rstd_qk + b->t->R * n_q, l->k_norm.w, shift, b->qkv + q,
                     b->qkv + q, width, false, grad_of(b, l->k_norm.w_param));
}

/* Attention: from dy (rows.M, d), cotangent of its output projection's output, to b->qkv (full.M, width), cotangents
 * of the projections' outputs before rotation. */
static void attention_backward(const backward *b, int64_t layer, const row_set *rows, const model_record *rec,
                               const layer_needs *need, const float *dy)
{
    const dtx_heads heads = dtx_layer_heads(b->m, layer), *h = &heads;
    const dtx_tape *t = b->t;
    const int64_t out = h->n_heads * h->head_dim;

    module_backward(b, layer, DTX_MOD_OUT, rows->M, dy, b->m->arch.hidden, rec->attn, need->qkv ? b->attn_out : NULL,
                    false);
    if (!need->qkv) {
        return;
    }
    for (int64_t i = 0; i < b->n_seg; i++) {
        const dtx_segment *s = &b->seg[i];
        const int64_t at = t->offset[s->seq];
        /* when rows are full already, the attention is told so: the cotangents below `first` count */
        b->attn[i] = (dtx_attn_seg){.qkv = rec->qkv + at * h->width,
                                    .probs = t->probs_at[s->seq] >= 0 ? rec->probs + t->probs_at[s->seq] : NULL,
                                    .len_seq = t->offset[s->seq + 1] - at,
                                    .first = rows == &b->full ? 0 : s->first,
                                    .len = s->len,
                                    .d_out = b->attn_out + rows->at[i] * out,
                                    .d_qkv = b->qkv + b->full.at[i] * h->width,
                                    .entropy = b->want->entropy};
    }
    dtx_attention_backward(h, b->m->arch.causal, b->m->slopes, b->n_seg, b->attn);
    dtx_model_rotate(b->m, layer, b->full.M, b->pos, b->qkv, true);
    if (b->m->arch.qk_norm) {
        norm_queries_and_keys_backward(b, layer, rec);
    }
}

/* d_in (+)= the projections' part, with their gradients; u is what they read. */
static void qkv_backward(const backward *b, int64_t layer, const float *u, float *d_in, bool accumulate)
{
    const dtx_heads *h = &b->m->heads;

    for (dtx_module_kind k = DTX_MOD_QKV; k <= DTX_MOD_V; k++) {
        if (b->m->layers[layer].module[k].w.w != NULL) {
            module_backward(b, layer, k, b->full.M, b->qkv + dtx_module_column(b->m, k), h->width, u, d_in,
                            accumulate || k != DTX_MOD_QKV);
        }
    }
}

/* full (full.M, d) = the rows of `top`, zero elsewhere. */
static void expand_rows(const backward *b, const float *top, float *full)
{
    const size_t row = (size_t)b->m->arch.hidden;

    for (int64_t i = 0; i < b->n_seg; i++) {
        const dtx_segment *s = &b->seg[i];
        float *to = full + (size_t)b->full.at[i] * row;
        memset(to, 0, (size_t)s->first * row * sizeof(float));
        memcpy(to + (size_t)s->first * row, top + (size_t)b->top.at[i] * row,
               (size_t)(s->len - s->first) * row * sizeof(float));
    }
}

/* One layer: d holds the cotangents of its output on `rows`, and afterwards of its input on the full rows. The two
 * buffers of the residual stream may change places. */
static void layer_backward(backward *b, int64_t layer, const row_set *rows, const float *x, const model_record *rec,
                           bool input)
{
    const dtx_arch *a = &b->m->arch;
    const model_layer *l = &b->m->layers[layer];
    const model_norm *n1 = &l->norm1, *n2 = &l->norm2;
    const layer_needs need = needs_of(b, layer, input);
    const int64_t d = a->hidden;
    const bool expand = rows == &b->top && b->expand;
    float *u = NULL;

    if (a->post_norm) {
        memset(b->E, 0, (size_t)(rows->M * d) * sizeof(float));
        norm_backward(b, n2, rows, rec->sum, rec->mean2, rec->rstd2, b->D, b->E);
        mlp_backward(b, layer, rows, rec, &need, rec->mid, n1, b->E, b->E, true);
        if (need.attn) {
            memset(b->D, 0, (size_t)(rows->M * d) * sizeof(float));
            norm_backward(b, n1, rows, rec->mid, rec->mean1, rec->rstd1, b->E, b->D);
            attention_backward(b, layer, rows, rec, &need, b->D);
        }
    } else if (a->parallel) {
        if (need.attn) {
            attention_backward(b, layer, rows, rec, &need, b->D);
        }
        if (a->shared_norm) {
            mlp_backward(b, layer, rows, rec, &need, x, n1, b->D, b->norm, false);
        } else {
            mlp_backward(b, layer, rows, rec, &need, x, n2, b->D, b->norm, false);
            if (need.mlp_input) {
                norm_backward(b, n2, rows, x, rec->mean2, rec->rstd2, b->norm, b->D);
            }
        }
    } else {
        const float *dy = end_backward(b, &l->end2, rows, rec->end2, rec->rstd_end2, b->D, b->E);
        if (a->bare_input) {
            mlp_backward(b, layer, rows, rec, &need, rec->mid, NULL, dy, b->D, true);
        } else {
            mlp_backward(b, layer, rows, rec, &need, rec->mid, n2, dy, b->norm, false);
        }
        if (need.mlp_input && !a->bare_input) {
            norm_backward(b, n2, rows, rec->mid, rec->mean2, rec->rstd2, b->norm, b->D);
        }
        if (need.attn) {
            dy = end_backward(b, &l->end1, rows, rec->end1, rec->rstd_end1, b->D, b->E);
            attention_backward(b, layer, rows, rec, &need, dy);
        }
    }
    if (!need.qkv) {
        return;
    }
    if (expand) {
        float *from = b->D;
        expand_rows(b, from, b->E);
        b->D = b->E;
        b->E = from;
        if (a->shared_norm && need.mlp_input) {
            expand_rows(b, b->norm, b->E);
            float *swap = b->norm;
            b->norm = b->E;
            b->E = swap;
        }
    }
    if (a->post_norm || a->bare_input) {
        qkv_backward(b, layer, x, need.input ? b->D : NULL, true);
        return;
    }
    if (needs_input(b, layer, DTX_MOD_Q) || needs_input(b, layer, DTX_MOD_K) || needs_input(b, layer, DTX_MOD_V)) {
        dtx_model_norm(b->m, n1, b->full.M, x, b->u_norm, NULL, NULL);
        u = b->u_norm;
    }
    qkv_backward(b, layer, u, need.input ? b->norm : NULL, a->shared_norm);
    if (need.input) {
        norm_backward(b, n1, &b->full, x, rec->mean1, rec->rstd1, b->norm, b->D);
    }
}

static dtx_status check_segments(const backward *b)
{
    const dtx_tape *t = b->t;
    int64_t next = 0;

    if (!t->filled || t->m != b->m) {
        return DTX_FAIL(DTX_ERR_CHECK, "the tape holds no forward pass of this model");
    }
    for (int64_t i = 0; i < b->n_seg; i++) {
        const dtx_segment *s = &b->seg[i];
        if (s->seq < 0 || s->seq >= t->n_seq || s->first < 0 || s->first >= s->len ||
            s->len > t->offset[s->seq + 1] - t->offset[s->seq]) {
            return DTX_FAIL(DTX_ERR_CHECK,
                            "segment %" PRId64 " (rows %" PRId64 "..%" PRId64 " of sequence %" PRId64
                            ") is not on the tape",
                            i, s->first, s->len, s->seq);
        }
        if (!b->m->arch.causal && s->len != t->offset[s->seq + 1] - t->offset[s->seq]) {
            return DTX_FAIL(DTX_ERR_CHECK, "segment %" PRId64 ": a row of an encoder depends on its whole sequence", i);
        }
    }
    if (b->want->params == NULL && b->want->lora == NULL && b->want->entropy == 0.0f && t->dropout.p <= 0) {
        return DTX_OK;
    }
    if (b->want->params != NULL && b->m->arena == NULL) {
        return DTX_FAIL(DTX_ERR_CHECK, "gradients of all parameters need a trainable model");
    }
    if (t->adapter != NULL && t->adapter->extra != NULL && (b->want->lora != NULL || b->want->params != NULL)) {
        return DTX_FAIL(DTX_ERR_CHECK, "an adapter with DoRA or biases of its own is not trained here");
    }
    if (b->want->lora != NULL && (t->adapter == NULL || t->adapter->n_params != b->want->lora->n_params)) {
        return DTX_FAIL(DTX_ERR_CHECK, "the forward pass used no adapter of the gradient's shape");
    }
    for (int64_t i = 0; i < b->n_seg; i++) {
        const dtx_segment *s = &b->seg[i];
        if (s->first != 0 || t->offset[s->seq] != next || t->offset[s->seq] + s->len != t->offset[s->seq + 1]) {
            break;
        }
        next = t->offset[s->seq + 1];
    }
    if (next != t->R) {
        return DTX_FAIL(DTX_ERR_CHECK, "gradients of parameters or of the attention's entropy, and passes with dropout, need one segment for each whole sequence, in order");
    }
    return DTX_OK;
}

/* Maps and positions of both row sets. */
static dtx_status make_rows(backward *b)
{
    const dtx_tape *t = b->t;
    model_work *w = &b->t->work;
    const size_t n = (size_t)b->n_seg, n_seq = (size_t)t->n_seq;
    bool identity;
    int64_t full = 0, top = 0;

    DTX_TRY(dtx_mem_grow(&w->list, &w->list_cap,
                         n * sizeof(dtx_attn_seg) + n_seq * sizeof(dtx_attn_seq) + 2 * (n + 1) * sizeof(int64_t), 1,
                         "list of segments"));
    b->attn = w->list;
    b->pass.seq = (dtx_attn_seq *)(void *)(b->attn + n);
    int64_t *full_at = (int64_t *)(void *)(b->pass.seq + n_seq), *top_at = full_at + n + 1;
    for (int64_t i = 0; i < b->n_seg; i++) {
        full_at[i] = full;
        top_at[i] = top;
        full += b->seg[i].len;
        top += b->seg[i].len - b->seg[i].first;
    }
    full_at[n] = full;
    top_at[n] = top;
    DTX_TRY(DTX_GROW(w->rows, w->rows_cap, 2 * full + top));
    int32_t *full_map = w->rows, *top_map = full_map + full;
    b->pos = top_map + top;
    identity = full == t->R;
    for (int64_t i = 0; i < b->n_seg; i++) {
        const dtx_segment *s = &b->seg[i];
        for (int64_t j = 0; j < s->len; j++) {
            const int64_t row = t->offset[s->seq] + j, at = full_at[i] + j;
            full_map[at] = (int32_t)row;
            b->pos[at] = t->pos[row];
            identity = identity && row == at;
            if (j >= s->first) {
                top_map[top_at[i] + j - s->first] = (int32_t)row;
            }
        }
    }
    b->expand = top != full;
    b->full = (row_set){.M = full, .map = identity ? NULL : full_map, .at = full_at};
    b->top = (row_set){.M = top, .map = identity && !b->expand ? NULL : top_map, .at = top_at};
    return DTX_OK;
}

static dtx_status make_scratch(backward *b)
{
    const dtx_arch *a = &b->m->arch;
    const int64_t M = b->full.M, r = b->t->adapter != NULL ? b->t->adapter->r : 0;
    model_buffer *w = b->t->work.b;

    DTX_TRY(dtx_buffer_need(&w[BACK_D], M * a->hidden, &b->D));
    DTX_TRY(dtx_buffer_need(&w[BACK_E], M * a->hidden, &b->E));
    DTX_TRY(dtx_buffer_need(&w[BACK_NORM], M * a->hidden, &b->norm));
    DTX_TRY(dtx_buffer_need(&w[BACK_FFN], M * a->ffn, &b->ffn));
    DTX_TRY(dtx_buffer_need(&w[BACK_UP], a->gated ? M * 2 * a->ffn : 0, &b->up));
    DTX_TRY(dtx_buffer_need(&w[BACK_ATTN], M * a->n_heads * a->head_dim, &b->attn_out));
    DTX_TRY(dtx_buffer_need(&w[BACK_QKV], M * b->m->heads.width, &b->qkv));
    DTX_TRY(dtx_buffer_need(&w[BACK_GAIN], dtx_gain_size(b->t->adapter, M), &b->gain));
    DTX_TRY(dtx_buffer_need(&w[BACK_LORA], 2 * M * r, &b->lora));
    b->d_lora = b->lora + M * r;
    /* the forward pass' scratch serves a layer that is run again, and then the inputs that gradients need */
    b->pass = (model_pass){.m = b->m,
                           .R = b->t->R,
                           .n_seq = b->t->n_seq,
                           .offset = b->t->offset,
                           .pos = b->t->pos,
                           .adapter = b->t->adapter,
                           .dropout = &b->t->dropout,
                           .probs_at = b->t->probs_at,
                           .seq = b->pass.seq};
    DTX_TRY(dtx_buffer_need(&w[WORK_GAIN], dtx_gain_size(b->t->adapter, b->t->R), &b->pass.gain));
    DTX_TRY(dtx_buffer_need(&w[WORK_NORM], b->t->R * a->hidden, &b->pass.norm));
    DTX_TRY(dtx_buffer_need(&w[WORK_ACT], b->t->R * a->ffn, &b->pass.act));
    DTX_TRY(dtx_buffer_need(&w[WORK_END], a->branch_norm ? b->t->R * a->hidden : 0, &b->pass.end));
    DTX_TRY(dtx_buffer_need(&w[WORK_LORA], b->t->R * r, &b->pass.lora));
    DTX_TRY(dtx_buffer_need(&w[WORK_DROP], dtx_drop_size(b->t->adapter, &b->t->dropout, b->t->R), &b->pass.drop));
    b->u_norm = b->pass.norm;
    b->u_act = b->pass.act;
    return DTX_OK;
}

/* Gradients of an embedding table: its rows ids[r] += d[r], in row order. */
static void add_rows(int64_t R, int64_t d, const int32_t *ids, const float *from, float *table)
{
    for (int64_t r = 0; r < R; r++) {
        float *to = table + (ids != NULL ? (int64_t)ids[r] : 0) * d;
        for (int64_t j = 0; j < d; j++) {
            to[j] += from[r * d + j];
        }
    }
}

/* From the first layer's input to the embeddings. */
static void embed_backward(backward *b)
{
    const dtx_model *m = b->m;
    const dtx_tape *t = b->t;
    const int64_t M = b->full.M, d = m->arch.hidden;
    const float scale = (float)m->arch.embed_scale;

    if (m->arch.post_norm) {
        memset(b->E, 0, (size_t)(M * d) * sizeof(float));
        norm_backward(b, &m->embed_norm, &b->full, t->embed_sum.p, t->stats.p, t->stats.p + t->R, b->D, b->E);
        float *swap = b->D;
        b->D = b->E;
        b->E = swap;
    }
    if (b->want->embeds != NULL) {
        memcpy(b->want->embeds, b->D, (size_t)(M * d) * sizeof(float));
    }
    if (b->want->params != NULL) {
        if (m->positions.w.w != NULL) {
            add_rows(M, d, t->pos, b->D, grad_of(b, m->positions.w_param));
        }
        if (m->types.w.w != NULL) {
            add_rows(M, d, NULL, b->D, grad_of(b, m->types.w_param));
        }
        for (int64_t i = 0; scale != 0 && i < M * d; i++) {
            b->D[i] *= scale;
        }
        add_rows(M, d, t->ids, b->D, grad_of(b, m->words.w_param));
    }
}

/* The lowest layer that something wanted lies in or below; n_layers when nothing does. */
static int64_t lowest_layer(const backward *b)
{
    if (b->want->embeds != NULL || b->want->params != NULL) {
        return 0;
    }
    for (int64_t s = 0; b->want->lora != NULL && s < b->want->lora->n_slots; s++) {
        if (b->want->lora->slot[s].A != NULL) {
            return s / DTX_MODULES;
        }
    }
    return b->m->arch.n_layers;
}

dtx_status dtx_model_backward(const dtx_model *m, dtx_tape *tape, int64_t n_seg, const dtx_segment *seg,
                              float *d_hidden, const dtx_wanted *want)
{
    backward b = {.m = m, .t = tape, .n_seg = n_seg, .seg = seg, .want = want};
    const int64_t d = m->arch.hidden, L = m->arch.n_layers;
    const bool all = want->embeds != NULL || want->params != NULL;

    DTX_TRY(check_segments(&b));
    DTX_TRY(make_rows(&b));
    if (b.full.M == 0) {
        return DTX_OK;
    }
    DTX_TRY(make_scratch(&b));
    const int64_t lowest = lowest_layer(&b);
    if (m->arch.post_norm) {
        memcpy(b.D, d_hidden, (size_t)(b.top.M * d) * sizeof(float));
    } else {
        memset(b.D, 0, (size_t)(b.top.M * d) * sizeof(float));
        norm_backward(&b, &m->final_norm, &b.top, dtx_tape_x(tape, L), tape->stats.p, tape->stats.p + tape->R, d_hidden,
                      b.D);
    }
    for (int64_t i = L - 1; i >= lowest; i--) {
        const float *x = dtx_tape_x(tape, i);
        model_record rec;
        dtx_tape_record(tape, i, &rec);
        if (tape->recompute) {
            dtx_layer_forward(&b.pass, i, x, &rec, dtx_tape_x(tape, i + 1)); /* writes the bits that stand there */
        }
        layer_backward(&b, i, i == L - 1 ? &b.top : &b.full, x, &rec, all || i > lowest);
        if (want->layer_done != NULL) {
            want->layer_done(want->user, i > lowest ? i : 0);
        }
    }
    if (all) {
        embed_backward(&b);
    }
    return DTX_OK;
}

void dtx_model_linear_weight(const model_linear *l, int64_t M, const float *dy, int64_t lddy, const float *x, float *dw, float *db)
{
    const int64_t n_out = dtx_linear_out(l), n_in = dtx_linear_in(l);

    if (!l->transposed) {
        dtx_linear_backward_weight(n_out, n_in, M, dy, lddy, x, n_in, dw, db);
        return;
    }
    dtx_linear_backward_weight(n_in, n_out, M, x, n_in, dy, lddy, dw, NULL);
    for (int64_t r = 0; db != NULL && r < M; r++) {
        for (int64_t i = 0; i < n_out; i++) {
            db[i] += dy[r * lddy + i];
        }
    }
}

void dtx_model_cap_backward(const dtx_model *m, int64_t R, const float *logits, float *d_logits)
{
    if (m->arch.logit_cap > 0) {
        dtx_cap_backward(R * m->arch.vocab, (float)m->arch.logit_cap, logits, d_logits);
    }
}

void dtx_model_logits_backward(const dtx_model *m, int64_t R, const float *d_logits, const float *hidden,
                               float *d_hidden, float *grads)
{
    const int64_t d = m->arch.hidden, V = m->arch.vocab;

    dtx_linear_backward_input(&m->head.w, R, d_logits, V, d_hidden, d, false);
    if (grads != NULL) { /* a tied head adds to the word embedding's gradient */
        dtx_linear_backward_weight(V, d, R, d_logits, V, hidden, d, grads + m->params[m->head.w_param].offset,
                                   m->head.b_param >= 0 ? grads + m->params[m->head.b_param].offset : NULL);
    }
}

int64_t dtx_model_backward_bytes_per_row(const dtx_model *m)
{
    const dtx_arch *a = &m->arch;
    /* D, E, norm; ffn, and gate | up; attention; projections; two maps and the position. An adapter adds 2 r floats. */
    const int64_t floats = 3 * a->hidden + a->ffn + (a->gated ? 2 * a->ffn : 0) + a->n_heads * a->head_dim + m->heads.width + 3;

    return floats * (int64_t)sizeof(float);
}
