/* forward.c - one forward pass for all architectures, from the embeddings to the LM head. */
#include <inttypes.h>
#include <string.h>

#include "src/base/mem.h"
#include "src/model/impl.h"

void dtx_model_linear(const model_linear *l, int64_t M, const float *x, int64_t ldx, float *y, int64_t ldy, bool accumulate)
{
    if (!l->transposed) {
        dtx_linear_forward(&l->w, l->bias, M, x, ldx, y, ldy, accumulate);
        return;
    }
    for (int64_t r = 0; l->bias != NULL && r < M; r++) {
        for (int64_t i = 0; i < l->w.n_in; i++) {
            y[r * ldy + i] = accumulate ? y[r * ldy + i] + l->bias[i] : l->bias[i];
        }
    }
    dtx_linear_backward_input(&l->w, M, x, ldx, y, ldy, accumulate || l->bias != NULL);
}

void dtx_model_linear_input(const model_linear *l, int64_t M, const float *dy, int64_t lddy, float *dx, bool accumulate)
{
    if (l->transposed) {
        dtx_linear_forward(&l->w, NULL, M, dy, lddy, dx, l->w.n_out, accumulate);
    } else {
        dtx_linear_backward_input(&l->w, M, dy, lddy, dx, l->w.n_in, accumulate);
    }
}

/* y (R, n_out) (+)= the linear of x. */
static void product(const model_pass *p, const model_linear *l, const float *x, float *y, int64_t ldy, bool accumulate)
{
    if (p->vector && !l->transposed) {
        dtx_linear_vector(&l->w, l->bias, x, y, accumulate);
    } else {
        dtx_model_linear(l, p->R, x, dtx_linear_in(l), y, ldy, accumulate);
    }
}

/* y (R, n_out) (+)= the adapter's branch of x, scale B (A x) + its bias. */
static void lora_forward(const model_pass *p, int64_t layer, dtx_module_kind kind, const dtx_lora *l, const float *x, float *y, int64_t ldy)
{
    const model_linear A = {.w = dtx_f32_matrix(l->A, l->r, l->n_in)}, B = {.w = dtx_f32_matrix(l->B, l->n_out, l->r), .bias = l->bias};

    if (p->dropout != NULL && p->dropout->p > 0) {
        dtx_dropout_apply(p->dropout, dtx_module_stream(layer, kind), p->R, l->n_in, x, p->drop, 0);
        x = p->drop;
    }
    product(p, &A, x, p->lora, l->r, false);
    for (int64_t i = 0; i < p->R * l->r; i++) {
        p->lora[i] *= l->scale;
    }
    product(p, &B, p->lora, y, ldy, true);
}

/* y (R, n_out of the module) = module(x), with the pass's adapter: y = W x + b + scale B (A x), or with DoRA
 * y = gain (W x + scale B (A x)) + b. */
static void module_forward(const model_pass *p, int64_t layer, dtx_module_kind kind, const float *x, float *y,
                           int64_t ldy, bool accumulate)
{
    const dtx_lora *lora = dtx_adapter_at(p->adapter, layer, kind);
    const model_linear *l = &p->m->layers[layer].module[kind];

    if (lora != NULL && lora->gain != NULL) {
        model_linear bare = *l;
        const int64_t n = lora->n_out;
        bare.bias = NULL;
        product(p, &bare, x, p->gain, n, false);
        lora_forward(p, layer, kind, lora, x, p->gain, n);
        for (int64_t i = 0; i < p->R * n; i++) {
            float *to = y + i / n * ldy + i % n, v = lora->gain[i % n] * p->gain[i] + (l->bias != NULL ? l->bias[i % n] : 0.0f);
            *to = accumulate ? *to + v : v;
        }
        return;
    }
    product(p, l, x, y, ldy, accumulate);
    if (lora != NULL) {
        lora_forward(p, layer, kind, lora, x, y, ldy);
    }
}

void dtx_model_norm(const dtx_model *m, const model_norm *n, int64_t R, const float *x, float *y, float *mean, float *rstd)
{
    const dtx_arch *a = &m->arch;

    if (a->rms_norm) {
        dtx_rms_forward(R, 1, a->hidden, x, a->hidden, n->w, a->norm_plus_one ? 1.0f : 0.0f, a->norm_eps, y, a->hidden, rstd);
    } else {
        dtx_norm_forward(R, a->hidden, x, n->w, n->b, a->norm_eps, y, mean, rstd);
    }
}

/* Rows first .. first + n - 1 of sequence s: its keys and values go to the cache, behind the kept ones. */
static void append(const model_pass *p, int64_t layer, int64_t s, int64_t first, int64_t n, const float *qkv)
{
    const dtx_heads *h = &p->m->heads;
    const int64_t hd = h->head_dim, slot = p->slot[s], step = p->kv->room[layer] * hd, past = p->kv->kept[layer * p->kv->n_slots + slot];
    float *K = dtx_kv_keys(p->kv, layer, slot) + past * hd, *V = dtx_kv_values(p->kv, layer, slot) + past * hd;

    for (int64_t i = p->offset[s] + first; i < p->offset[s] + first + n; i++, K += hd, V += hd) {
        for (int64_t g = 0; g < h->n_kv; g++) {
            memcpy(K + g * step, qkv + i * h->width + dtx_heads_k(h, g), (size_t)hd * sizeof(float));
            memcpy(V + g * step, qkv + i * h->width + dtx_heads_v(h, g), (size_t)hd * sizeof(float));
        }
    }
}

/* The same for the next rows of all sequences, as many as the layer has room for. p->seq gets what their queries attend to, n_q = 0 for
 * sequences that are done. Returns whether rows are left. */
static bool attend_to_cache(model_pass *p, int64_t layer, const float *qkv, float *attn)
{
    const dtx_heads *h = &p->m->heads;
    const int64_t out = h->n_heads * h->head_dim;
    const int threads = p->R * p->kv->width >= 32768 ? dtx_linear_threads() : 1;
    bool left = false;

#pragma omp parallel for schedule(dynamic, 4) num_threads(threads) if (threads > 1) reduction(|| : left)
    for (int64_t s = 0; s < p->n_seq; s++) {
        const int64_t rest = p->offset[s + 1] - p->offset[s] - p->done[s], slot = p->slot[s];
        const int64_t n = rest > 0 ? dtx_kv_make_room(p->kv, layer, slot, rest) : 0, at = p->offset[s] + p->done[s];
        int64_t *kept = &p->kv->kept[layer * p->kv->n_slots + slot];
        append(p, layer, s, p->done[s], n, qkv);
        p->seq[s] = (dtx_attn_seq){.qkv = qkv + at * h->width,
                                   .k = dtx_kv_keys(p->kv, layer, slot),
                                   .v = dtx_kv_values(p->kv, layer, slot),
                                   .ld_kv = h->head_dim,
                                   .kv_step = p->kv->room[layer] * h->head_dim,
                                   .n_q = n,
                                   .past = *kept,
                                   .out = attn + at * out};
        *kept += n;
        p->done[s] += n;
        left = left || n < rest;
    }
    return left;
}

/* The norm of each query's and key's vector, before they turn; what they were is kept where the record has a place. */
static void norm_queries_and_keys(const dtx_model *m, int64_t layer, int64_t R, const model_record *rec)
{
    const dtx_arch *a = &m->arch;
    const model_layer *l = &m->layers[layer];
    const int64_t width = m->heads.width, q = a->n_heads * a->head_dim, k = a->n_kv * a->head_dim;
    const int64_t n_q = a->qk_norm_wide ? 1 : a->n_heads, n_k = a->qk_norm_wide ? 1 : a->n_kv;
    const float shift = a->norm_plus_one ? 1.0f : 0.0f;

    for (int64_t r = 0; rec->qk != NULL && r < R; r++) {
        memcpy(rec->qk + r * (q + k), rec->qkv + r * width, (size_t)(q + k) * sizeof(float));
    }
    dtx_rms_forward(R, n_q, q / n_q, rec->qkv, width, l->q_norm.w, shift, a->norm_eps, rec->qkv, width, rec->rstd_qk);
    dtx_rms_forward(R, n_k, k / n_k, rec->qkv + q, width, l->k_norm.w, shift, a->norm_eps, rec->qkv + q, width,
                    rec->rstd_qk != NULL ? rec->rstd_qk + R * n_q : NULL);
}

/* rec->qkv and rec->attn from n (R, d), what the projections read. */
static void attention(model_pass *p, int64_t layer, const float *n, const model_record *rec)
{
    const dtx_model *m = p->m;
    const dtx_heads heads = dtx_layer_heads(m, layer), *h = &heads;
    const int64_t out = h->n_heads * h->head_dim, per = h->n_heads / h->n_kv;
    int64_t n_seq = 0;

    for (dtx_module_kind k = DTX_MOD_QKV; k <= DTX_MOD_V; k++) {
        if (m->layers[layer].module[k].w.w != NULL) {
            module_forward(p, layer, k, n, rec->qkv + dtx_module_column(m, k), h->width, false);
        }
    }
    if (m->arch.qk_norm) {
        norm_queries_and_keys(m, layer, p->R, rec);
    }
    dtx_model_rotate(m, layer, p->R, p->pos, rec->qkv, false);
    if (p->kv != NULL) {
        bool left = true;
        memset(p->done, 0, (size_t)p->n_seq * sizeof *p->done);
        while (left) {
            left = attend_to_cache(p, layer, rec->qkv, rec->attn);
            dtx_attention_forward(h, true, m->slopes, p->n_seq, p->seq);
        }
        return;
    }
    for (int64_t s = 0; s < p->n_seq; s++) {
        const int64_t at = p->offset[s], len = p->offset[s + 1] - at;
        const float *qkv = rec->qkv + at * h->width;
        if (len == 0) {
            continue;
        }
        dtx_attn_seq *q = &p->seq[n_seq++];
        *q = (dtx_attn_seq){.qkv = qkv,
                            .k = qkv + dtx_heads_k(h, 0),
                            .v = qkv + dtx_heads_v(h, 0),
                            .ld_kv = h->width,
                            .kv_step = (h->fused ? per + 2 : 1) * h->head_dim,
                            .n_q = len,
                            .out = rec->attn + at * out};
        if (p->entropy != NULL) {
            q->entropy = p->entropy + (n_seq - 1) * h->n_heads;
        }
        if (p->probs_at != NULL && p->probs_at[s] >= 0) {
            q->probs = rec->probs + p->probs_at[s];
        }
    }
    dtx_attention_forward(h, m->arch.causal, m->slopes, n_seq, p->seq);
    for (int64_t i = 0; p->entropy != NULL && i < n_seq * h->n_heads; i++) {
        p->entropy_sum += p->entropy[i];
    }
}

/* y += branch's last linear of x; through the norm at the branch's end where there is one. */
static void end_branch(const model_pass *p, int64_t layer, dtx_module_kind kind, const float *x, const model_record *rec, float *y)
{
    const bool first = kind == DTX_MOD_OUT;
    const model_layer *l = &p->m->layers[layer];
    const int64_t R = p->R, d = p->m->arch.hidden;
    float *end = first ? rec->end1 : rec->end2;

    if (!p->m->arch.branch_norm) {
        module_forward(p, layer, kind, x, y, d, true);
        return;
    }
    end = end != NULL ? end : p->end;
    module_forward(p, layer, kind, x, end, d, false);
    dtx_model_norm(p->m, first ? &l->end1 : &l->end2, R, end, p->norm, NULL, first ? rec->rstd_end1 : rec->rstd_end2);
    for (int64_t i = 0; i < R * d; i++) {
        y[i] += p->norm[i];
    }
}

/* y += down(act(up(n))), or down(act(gate(n)) * up(n)). */
static void mlp(const model_pass *p, int64_t layer, const float *n, const model_record *rec, float *y)
{
    const dtx_arch *a = &p->m->arch;
    const int64_t width = dtx_up_width(a);

    module_forward(p, layer, DTX_MOD_UP, n, rec->up + dtx_module_column(p->m, DTX_MOD_UP), width, false);
    if (a->gated && !a->fused_gate) {
        module_forward(p, layer, DTX_MOD_GATE, n, rec->up, width, false);
    }
    if (a->gated) {
        dtx_gate_forward(a->activation, p->R, a->ffn, rec->up, p->act);
    } else {
        dtx_act_forward(a->activation, p->R, a->ffn, rec->up, p->act);
    }
    end_branch(p, layer, DTX_MOD_DOWN, p->act, rec, y);
}

void dtx_layer_forward(model_pass *p, int64_t layer, const float *x, const model_record *rec, float *y)
{
    const dtx_arch *a = &p->m->arch;
    const model_norm *n1 = &p->m->layers[layer].norm1, *n2 = &p->m->layers[layer].norm2;
    const int64_t R = p->R, d = a->hidden;
    const size_t bytes = (size_t)(R * d) * sizeof(float);

    if (a->post_norm) { /* y = norm2(x1 + mlp(x1)), x1 = norm1(x + attention(x)) */
        attention(p, layer, x, rec);
        memcpy(rec->mid, x, bytes);
        module_forward(p, layer, DTX_MOD_OUT, rec->attn, rec->mid, d, true);
        dtx_model_norm(p->m, n1, R, rec->mid, rec->sum, rec->mean1, rec->rstd1);
        memcpy(p->norm, rec->sum, bytes);
        mlp(p, layer, p->norm, rec, rec->sum);
        dtx_model_norm(p->m, n2, R, rec->sum, y, rec->mean2, rec->rstd2);
        return;
    }
    const float *in = x;
    if (!a->bare_input) {
        dtx_model_norm(p->m, n1, R, x, p->norm, rec->mean1, rec->rstd1);
        in = p->norm;
    }
    attention(p, layer, in, rec);
    if (a->parallel) { /* y = x + attention(norm1 x) + mlp(norm2 x) */
        memcpy(y, x, bytes);
        module_forward(p, layer, DTX_MOD_OUT, rec->attn, y, d, true);
        if (!a->shared_norm) {
            dtx_model_norm(p->m, n2, R, x, p->norm, rec->mean2, rec->rstd2);
        }
    } else { /* mid = x + attention(norm1 x), y = mid + mlp(norm2 mid), with norms left out or added as the description says */
        memcpy(rec->mid, x, bytes);
        end_branch(p, layer, DTX_MOD_OUT, rec->attn, rec, rec->mid);
        memcpy(y, rec->mid, bytes);
        in = rec->mid;
        if (!a->bare_input) {
            dtx_model_norm(p->m, n2, R, rec->mid, p->norm, rec->mean2, rec->rstd2);
            in = p->norm;
        }
    }
    mlp(p, layer, in, rec, y);
}

dtx_status dtx_pass_scratch(model_pass *p, model_work *w, bool entropy)
{
    const dtx_arch *a = &p->m->arch;
    const size_t n = (size_t)p->n_seq, heads = entropy ? (size_t)a->n_heads : 0;

    DTX_TRY(dtx_mem_grow(&w->list, &w->list_cap, n * (sizeof(dtx_attn_seq) + sizeof(int64_t) + heads * sizeof(double)), 1,
                         "list of sequences"));
    p->seq = w->list;
    p->done = (int64_t *)(void *)(p->seq + n);
    p->entropy = entropy ? (double *)(void *)(p->done + n) : NULL;
    DTX_TRY(dtx_buffer_need(&w->b[WORK_NORM], p->R * a->hidden, &p->norm));
    DTX_TRY(dtx_buffer_need(&w->b[WORK_ACT], p->R * a->ffn, &p->act));
    DTX_TRY(dtx_buffer_need(&w->b[WORK_END], a->branch_norm ? p->R * a->hidden : 0, &p->end));
    DTX_TRY(dtx_buffer_need(&w->b[WORK_GAIN], dtx_gain_size(p->adapter, p->R), &p->gain));
    DTX_TRY(dtx_buffer_need(&w->b[WORK_DROP], dtx_drop_size(p->adapter, p->dropout, p->R), &p->drop));
    return dtx_buffer_need(&w->b[WORK_LORA], p->adapter != NULL ? p->R * p->adapter->r : 0, &p->lora);
}

static dtx_status check_ids(const dtx_model *m, int64_t R, const int32_t *ids)
{
    for (int64_t r = 0; r < R; r++) {
        if (ids[r] < 0 || ids[r] >= m->arch.vocab) {
            return DTX_FAIL(DTX_ERR_INPUT,
                            "token %" PRId32 " is outside the model's vocabulary of %" PRId64
                            " (does the tokenizer belong to this model?)",
                            ids[r], m->arch.vocab);
        }
    }
    return DTX_OK;
}

static dtx_status check_batch(const dtx_model *m, const dtx_batch *b)
{
    for (int64_t s = 0; s < b->n_seq; s++) {
        if (b->offset[s + 1] < b->offset[s]) {
            return DTX_FAIL(DTX_ERR_CHECK, "the row offsets of a batch must ascend");
        }
        if (b->kv != NULL) {
            int64_t len = b->offset[s + 1] - b->offset[s], slot = b->slot[s];
            if (slot < 0 || slot >= b->kv->n_slots || b->kv->len[slot] + len > b->kv->max_len) {
                return DTX_FAIL(DTX_ERR_CHECK, "stream %" PRId64 " has no room for %" PRId64 " more positions", slot,
                                len);
            }
        }
    }
    if (b->kv != NULL && b->tape != NULL) {
        return DTX_FAIL(DTX_ERR_CHECK, "a pass with a key-value cache keeps no tape");
    }
    if (b->adapter != NULL && !b->adapter->attached) {
        return DTX_FAIL(DTX_ERR_CHECK, "an adapter with DoRA must be attached to its model first");
    }
    if (b->offset[0] != 0) {
        return DTX_FAIL(DTX_ERR_CHECK, "the row offsets of a batch must start at 0");
    }
    return check_ids(m, b->offset[b->n_seq], b->ids);
}

/* pos (R): places in the sequence, or RoBERTa's position ids cumsum(id != pad) * (id != pad) + pad. */
static dtx_status make_positions(const dtx_model *m, const dtx_batch *b, int32_t *pos)
{
    const int64_t pad = m->arch.pad_id;
    const bool learned = m->arch.position == DTX_POS_LEARNED;
    int64_t top = 0;

    for (int64_t s = 0; s < b->n_seq; s++) {
        const int64_t at = b->offset[s], len = b->offset[s + 1] - at;
        int64_t past = b->kv != NULL ? b->kv->len[b->slot[s]] : 0, end = past + len;
        if (learned && !m->arch.causal) {
            int64_t real = 0;
            for (int64_t i = 0; i < len; i++) {
                bool is_real = b->ids[at + i] != pad;
                real += is_real;
                pos[at + i] = (int32_t)(is_real ? real + pad : pad);
            }
            end = real + pad + 1;
        } else {
            for (int64_t i = 0; i < len; i++) {
                pos[at + i] = (int32_t)(past + i);
            }
        }
        if (learned && end > m->positions.w.n_out) {
            return DTX_FAIL(DTX_ERR_INPUT, "a sequence of %" PRId64 " tokens is longer than the model's %" PRId64 " positions",
                            m->arch.causal ? end : end - pad - 1, dtx_arch_max_tokens(&m->arch));
        }
        top = end > top ? end : top;
    }
    return dtx_model_need_positions(m, top);
}

/* The word embedding's output of ids (R, d). */
static void embed_words(const dtx_model *m, int64_t R, const int32_t *ids, float *out)
{
    const float scale = (float)m->arch.embed_scale;

    dtx_embed(m->words.w.w, m->words.w.dtype, m->arch.hidden, R, ids, out);
    for (int64_t i = 0; scale != 0 && i < R * m->arch.hidden; i++) {
        out[i] *= scale;
    }
}

/* x (R, d) from the embeddings: the word's, plus position and type where there are such tables, through a norm if the model has one. */
static dtx_status embed(const dtx_model *m, const dtx_batch *b, const int32_t *pos, model_work *w, float *x)
{
    const int64_t R = b->offset[b->n_seq], d = m->arch.hidden;
    float *sum = x, *stats = NULL, *extra;

    if (m->arch.post_norm && b->tape != NULL) {
        sum = b->tape->embed_sum.p;
        stats = b->tape->stats.p;
    } else if (m->arch.post_norm) {
        DTX_TRY(dtx_buffer_need(&w->b[WORK_Y], R * d, &sum));
    }
    if (b->embeds != NULL) {
        memcpy(sum, b->embeds, (size_t)(R * d) * sizeof *sum);
    } else {
        embed_words(m, R, b->ids, sum);
    }
    if (m->positions.w.w != NULL) {
        DTX_TRY(dtx_buffer_need(&w->b[WORK_NORM], (R + 1) * d, &extra));
        float *type = extra + R * d;
        dtx_embed(m->positions.w.w, m->positions.w.dtype, d, R, pos, extra);
        memset(type, 0, (size_t)d * sizeof *type);
        if (m->types.w.w != NULL) {
            dtx_embed(m->types.w.w, m->types.w.dtype, d, 1, &(int32_t){0}, type);
        }
        for (int64_t r = 0; r < R; r++) {
            for (int64_t j = 0; j < d; j++) {
                sum[r * d + j] = sum[r * d + j] + type[j] + extra[r * d + j];
            }
        }
    }
    if (m->arch.post_norm) {
        dtx_model_norm(m, &m->embed_norm, R, sum, x, stats, stats != NULL ? stats + R : NULL);
    }
    return DTX_OK;
}

static dtx_status run_layers(const dtx_model *m, const dtx_batch *b, model_work *w, model_pass *p, float *hidden)
{
    const int64_t R = p->R, d = m->arch.hidden, L = m->arch.n_layers;
    dtx_tape *t = b->tape;
    float *x, *y, *base, *stats = NULL;
    model_record rec;

    if (t != NULL) {
        x = dtx_tape_x(t, 0);
        p->probs_at = t->probs_at;
        DTX_TRY(embed(m, b, p->pos, w, x));
    } else {
        DTX_TRY(dtx_buffer_need(&w->b[WORK_X], R * d, &x));
        DTX_TRY(embed(m, b, p->pos, w, x));
        DTX_TRY(dtx_buffer_need(&w->b[WORK_RECORD], dtx_record_layout(m, R, false, 0, NULL, NULL), &base));
        dtx_record_layout(m, R, false, 0, base, &rec);
        DTX_TRY(dtx_buffer_need(&w->b[WORK_Y], R * d, &y));
    }
    DTX_TRY(dtx_pass_scratch(p, w, b->entropy && t != NULL));
    for (int64_t i = 0; i < L; i++) {
        if (t != NULL) {
            dtx_tape_record(t, i, &rec);
            y = dtx_tape_x(t, i + 1);
            dtx_layer_forward(p, i, x, &rec, y);
            x = y;
        } else {
            dtx_layer_forward(p, i, x, &rec, y);
            float *swap = x;
            x = y;
            y = swap;
        }
    }
    if (t != NULL) {
        t->entropy = p->entropy_sum;
    }
    if (m->arch.post_norm) {
        memcpy(hidden, x, (size_t)(R * d) * sizeof *x);
        return DTX_OK;
    }
    stats = t != NULL ? t->stats.p : NULL;
    dtx_model_norm(m, &m->final_norm, R, x, hidden, stats, stats != NULL ? stats + R : NULL);
    return DTX_OK;
}

dtx_status dtx_model_forward(const dtx_model *m, const dtx_batch *b, float *hidden)
{
    dtx_status st;
    model_work local = {0}, *w = b->tape != NULL ? &b->tape->work : b->kv != NULL ? &b->kv->work : &local;
    model_pass p = {.m = m,
                    .R = b->offset[b->n_seq],
                    .n_seq = b->n_seq,
                    .offset = b->offset,
                    .adapter = b->adapter,
                    .dropout = b->dropout,
                    .vector = b->single && b->offset[b->n_seq] == 1,
                    .kv = b->kv,
                    .slot = b->slot};

    if (b->tape != NULL) {
        b->tape->filled = false;
    }
    DTX_GO(check_batch(m, b));
    DTX_GO(DTX_GROW(w->rows, w->rows_cap, p.R));
    DTX_GO(make_positions(m, b, w->rows));
    p.pos = w->rows;
    if (b->tape != NULL) {
        DTX_GO(dtx_tape_begin(b->tape, b, p.pos));
    }
    if (p.R > 0) {
        DTX_GO(run_layers(m, b, w, &p, hidden));
    }
    if (b->tape != NULL) {
        b->tape->filled = true;
    }
    for (int64_t s = 0; b->kv != NULL && s < b->n_seq; s++) {
        b->kv->len[b->slot[s]] += b->offset[s + 1] - b->offset[s];
    }
done:
    dtx_work_free(&local);
    return st;
}

dtx_status dtx_model_embed(const dtx_model *m, int64_t R, const int32_t *ids, float *out)
{
    DTX_TRY(check_ids(m, R, ids));
    embed_words(m, R, ids, out);
    return DTX_OK;
}

static void cap_logits(const dtx_model *m, int64_t n, float *logits)
{
    if (m->arch.logit_cap > 0) {
        dtx_cap_forward(n, (float)m->arch.logit_cap, logits);
    }
}

void dtx_model_logits(const dtx_model *m, int64_t R, const float *hidden, float *logits)
{
    dtx_linear_forward(&m->head.w, m->head.bias, R, hidden, m->arch.hidden, logits, m->arch.vocab, false);
    cap_logits(m, R * m->arch.vocab, logits);
}

void dtx_model_logits_single(const dtx_model *m, const float *hidden, float *logits)
{
    dtx_linear_vector(&m->head.w, m->head.bias, hidden, logits, false);
    cap_logits(m, m->arch.vocab, logits);
}
