/* forward.c - one forward pass for all architectures, from the embeddings to the LM head. */
#include <inttypes.h>
#include <string.h>

#include "src/base/mem.h"
#include "src/model/impl.h"

/* y (R, n_out) = x W^T + bias. */
static void product(const model_pass *p, const dtx_matrix *w, const float *bias, const float *x, float *y, int64_t ldy,
                    bool accumulate)
{
    if (p->vector) {
        dtx_linear_vector(w, bias, x, y, accumulate);
    } else {
        dtx_linear_forward(w, bias, p->R, x, w->n_in, y, ldy, accumulate);
    }
}

/* y (M, n_out of the module) = module(x), with the pass's adapter: y = W x + b + scale B (A x). */
static void module_forward(const model_pass *p, int64_t layer, dtx_module_kind kind, const float *x, float *y,
                           int64_t ldy, bool accumulate)
{
    const model_linear *l = &p->m->layers[layer].module[kind];
    const dtx_lora *lora = dtx_adapter_at(p->adapter, layer, kind);

    product(p, &l->w, l->bias, x, y, ldy, accumulate);
    if (lora != NULL) {
        const int64_t r = p->adapter->r;
        const dtx_matrix A = dtx_f32_matrix(lora->A, r, lora->n_in), B = dtx_f32_matrix(lora->B, lora->n_out, r);
        if (p->dropout != NULL && p->dropout->p > 0) {
            dtx_dropout_apply(p->dropout, layer * DTX_MODULES + kind, p->R, lora->n_in, x, p->drop, 0);
            x = p->drop;
        }
        product(p, &A, NULL, x, p->lora, r, false);
        for (int64_t i = 0; i < p->R * r; i++) {
            p->lora[i] *= p->adapter->scale;
        }
        product(p, &B, NULL, p->lora, y, ldy, true);
    }
}

/* Keys and values of the pass's rows go to the cache. */
static void append(const model_pass *p, int64_t layer, const float *qkv)
{
    const dtx_heads *h = &p->m->heads;
    const int64_t hd = h->head_dim, step = p->kv->max_len * hd;
    const int threads = p->R * p->kv->width >= 32768 ? dtx_linear_threads() : 1;

#pragma omp parallel for schedule(dynamic, 4) num_threads(threads) if (threads > 1)
    for (int64_t s = 0; s < p->n_seq; s++) {
        const int64_t slot = p->slot[s], past = p->kv->len[slot];
        float *K = dtx_kv_keys(p->kv, layer, slot) + past * hd, *V = dtx_kv_values(p->kv, layer, slot) + past * hd;
        for (int64_t i = p->offset[s]; i < p->offset[s + 1]; i++, K += hd, V += hd) {
            for (int64_t g = 0; g < h->n_kv; g++) {
                memcpy(K + g * step, qkv + i * h->width + dtx_heads_k(h, g), (size_t)hd * sizeof(float));
                memcpy(V + g * step, qkv + i * h->width + dtx_heads_v(h, g), (size_t)hd * sizeof(float));
            }
        }
    }
}

/* rec->qkv and rec->attn from n (R, d), what the projections read. */
static void attention(model_pass *p, int64_t layer, const float *n, const model_record *rec)
{
    const dtx_model *m = p->m;
    const dtx_heads *h = &m->heads;
    const int64_t out = h->n_heads * h->head_dim, per = h->n_heads / h->n_kv;
    int64_t n_seq = 0;

    for (dtx_module_kind k = DTX_MOD_QKV; k <= DTX_MOD_V; k++) {
        if (m->layers[layer].module[k].w.w != NULL) {
            module_forward(p, layer, k, n, rec->qkv + dtx_module_column(h, k), h->width, false);
        }
    }
    if (m->arch.position == DTX_POS_ROTARY) {
        dtx_rotary(h, m->arch.rotary_dims, m->rotary->cos_t, m->rotary->sin_t, p->R, p->pos, rec->qkv, false);
    }
    if (p->kv != NULL) {
        append(p, layer, rec->qkv);
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
        if (p->kv != NULL) {
            q->past = p->kv->len[p->slot[s]];
            q->k = dtx_kv_keys(p->kv, layer, p->slot[s]);
            q->v = dtx_kv_values(p->kv, layer, p->slot[s]);
            q->ld_kv = h->head_dim;
            q->kv_step = p->kv->max_len * h->head_dim;
        }
    }
    dtx_attention_forward(h, m->arch.causal, m->slopes, n_seq, p->seq);
    for (int64_t i = 0; p->entropy != NULL && i < n_seq * h->n_heads; i++) {
        p->entropy_sum += p->entropy[i];
    }
}

/* y += down(act(up(n))). */
static void mlp(const model_pass *p, int64_t layer, const float *n, const model_record *rec, float *y)
{
    const dtx_arch *a = &p->m->arch;

    module_forward(p, layer, DTX_MOD_UP, n, rec->up, a->ffn, false);
    dtx_act_forward(a->activation, p->R, a->ffn, rec->up, p->act);
    module_forward(p, layer, DTX_MOD_DOWN, p->act, y, a->hidden, true);
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
        dtx_norm_forward(R, d, rec->mid, n1->w, n1->b, a->norm_eps, rec->sum, rec->mean1, rec->rstd1);
        memcpy(p->norm, rec->sum, bytes);
        mlp(p, layer, p->norm, rec, rec->sum);
        dtx_norm_forward(R, d, rec->sum, n2->w, n2->b, a->norm_eps, y, rec->mean2, rec->rstd2);
        return;
    }
    dtx_norm_forward(R, d, x, n1->w, n1->b, a->norm_eps, p->norm, rec->mean1, rec->rstd1);
    attention(p, layer, p->norm, rec);
    if (a->parallel) { /* y = x + attention(norm1 x) + mlp(norm2 x) */
        memcpy(y, x, bytes);
        module_forward(p, layer, DTX_MOD_OUT, rec->attn, y, d, true);
        if (!a->shared_norm) {
            dtx_norm_forward(R, d, x, n2->w, n2->b, a->norm_eps, p->norm, rec->mean2, rec->rstd2);
        }
    } else { /* mid = x + attention(norm1 x), y = mid + mlp(norm2 mid) */
        memcpy(rec->mid, x, bytes);
        module_forward(p, layer, DTX_MOD_OUT, rec->attn, rec->mid, d, true);
        memcpy(y, rec->mid, bytes);
        dtx_norm_forward(R, d, rec->mid, n2->w, n2->b, a->norm_eps, p->norm, rec->mean2, rec->rstd2);
    }
    mlp(p, layer, p->norm, rec, y);
}

dtx_status dtx_pass_scratch(model_pass *p, model_work *w, bool entropy)
{
    const dtx_arch *a = &p->m->arch;
    const size_t n = (size_t)p->n_seq, heads = entropy ? (size_t)a->n_heads : 0;

    DTX_TRY(dtx_mem_grow(&w->list, &w->list_cap, n * (sizeof(dtx_attn_seq) + heads * sizeof(double)), 1, "list of sequences"));
    p->seq = w->list;
    p->entropy = entropy ? (double *)(void *)(p->seq + n) : NULL;
    DTX_TRY(dtx_buffer_need(&w->b[WORK_NORM], p->R * a->hidden, &p->norm));
    DTX_TRY(dtx_buffer_need(&w->b[WORK_ACT], p->R * a->ffn, &p->act));
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
    if (b->offset[0] != 0) {
        return DTX_FAIL(DTX_ERR_CHECK, "the row offsets of a batch must start at 0");
    }
    return check_ids(m, b->offset[b->n_seq], b->ids);
}

/* pos (R): places in the sequence, or RoBERTa's position ids cumsum(id != pad) * (id != pad) + pad. */
static dtx_status make_positions(const dtx_model *m, const dtx_batch *b, int32_t *pos)
{
    const int64_t pad = m->arch.pad_id;
    int64_t top = 0;

    for (int64_t s = 0; s < b->n_seq; s++) {
        const int64_t at = b->offset[s], len = b->offset[s + 1] - at;
        int64_t past = b->kv != NULL ? b->kv->len[b->slot[s]] : 0;
        if (m->arch.position == DTX_POS_LEARNED) {
            int64_t real = 0;
            for (int64_t i = 0; i < len; i++) {
                bool is_real = b->ids[at + i] != pad;
                real += is_real;
                pos[at + i] = (int32_t)(is_real ? real + pad : pad);
            }
            if (real + pad >= m->positions.w.n_out) {
                return DTX_FAIL(DTX_ERR_INPUT,
                                "a sequence of %" PRId64 " tokens is longer than the model's %" PRId64 " positions",
                                real, m->positions.w.n_out - pad - 1);
            }
        } else {
            for (int64_t i = 0; i < len; i++) {
                pos[at + i] = (int32_t)(past + i);
            }
            top = past + len > top ? past + len : top;
        }
    }
    return dtx_model_need_positions(m, top);
}

/* x (R, d) from the embeddings; post-norm: sums word, position and type, and normalises. */
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
        dtx_embed(m->words.w.w, m->words.w.dtype, d, R, b->ids, sum);
    }
    if (!m->arch.post_norm) {
        return DTX_OK;
    }
    DTX_TRY(dtx_buffer_need(&w->b[WORK_NORM], (R + 1) * d, &extra));
    float *type = extra + R * d;
    dtx_embed(m->positions.w.w, m->positions.w.dtype, d, R, pos, extra);
    dtx_embed(m->types.w.w, m->types.w.dtype, d, 1, &(int32_t){0}, type);
    for (int64_t r = 0; r < R; r++) {
        for (int64_t j = 0; j < d; j++) {
            sum[r * d + j] = sum[r * d + j] + type[j] + extra[r * d + j];
        }
    }
    dtx_norm_forward(R, d, sum, m->embed_norm.w, m->embed_norm.b, m->arch.norm_eps, x, stats,
                     stats != NULL ? stats + R : NULL);
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
    dtx_norm_forward(R, d, x, m->final_norm.w, m->final_norm.b, m->arch.norm_eps, hidden, stats,
                     stats != NULL ? stats + R : NULL);
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
    dtx_embed(m->words.w.w, m->words.w.dtype, m->arch.hidden, R, ids, out);
    return DTX_OK;
}

void dtx_model_logits(const dtx_model *m, int64_t R, const float *hidden, float *logits)
{
    dtx_linear_forward(&m->head.w, m->head.bias, R, hidden, m->arch.hidden, logits, m->arch.vocab, false);
}

void dtx_model_logits_single(const dtx_model *m, const float *hidden, float *logits)
{
    dtx_linear_vector(&m->head.w, m->head.bias, hidden, logits, false);
}
