/* kernel_attention.c - attention and its vector-Jacobian product. The products of one (sequence, head) are small
 * matrix products on the register tiles of linear_native.h; queries go through in blocks whose scores fit a buffer of
 * the thread. Sums over keys run in order, so that zeros above the diagonal change no bit. */
#include <math.h>
#include <string.h>

#include "src/algebra/kernel.h"
#include "src/algebra/kernel_ref.h"
#include "src/algebra/linear_native.h"
#include "src/algebra/vmath.h"

enum {
    SCRATCH = 65536,    /* scores of a block of queries: at least one row of the longest sequence */
    BLOCK = 64          /* most queries of a block */
};
static _Thread_local float scratch[SCRATCH] __attribute__((aligned(64)));

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static float bf16_round(float x)
{
    return dtx_bf16_to_f32(dtx_f32_to_bf16(x));
}

/* Falcon's build_alibi_tensor: bases and powers in f32. */
void dtx_alibi_slopes(int64_t n_heads, float *slope)
{
    int64_t p = 1;

    while (2 * p <= n_heads) {
        p *= 2;
    }
    float base = (float)exp2(-8.0 / (double)p), extra = (float)exp2(-4.0 / (double)p);
    for (int64_t i = 0; i < n_heads; i++) {
        slope[i] = (float)(i < p ? pow(base, (double)(i + 1)) : pow(extra, (double)(2 * (i - p) + 1)));
    }
}

float dtx_alibi_bias(float slope, int64_t position)
{
    return bf16_round(bf16_round(slope) * bf16_round((float)position));
}

/* q.k of the first n keys -> softmax weights; the other `ld - n` entries become zero. */
DTX_CLONES
static void weights_row(float *s, int64_t n, int64_t ld, float scale, bool alibi, float slope)
{
    float top = -INFINITY;
    dtx_v16 lanes = {0};
    double sum = 0.0;
    int64_t i = 0;

    for (int64_t j = 0; alibi && j < n; j++) {
        s[j] += dtx_alibi_bias(slope, j);
    }
#pragma omp simd reduction(max : top)
    for (int64_t j = 0; j < n; j++) {
        top = s[j] > top ? s[j] : top;
    }
    for (int64_t j = 0; j < n; j++) {
        s[j] = dtx_expf((s[j] - top) * scale);
    }
    for (; i + 16 <= n; i += 16) {
        lanes += *(const dtx_v16 *)(s + i);
    }
    for (int l = 0; l < 16; l++) {
        sum += (double)lanes[l];
    }
    for (; i < n; i++) {
        sum += s[i];
    }
    float inv = (float)(1.0 / sum);
    for (int64_t j = 0; j < n; j++) {
        s[j] *= inv;
    }
    memset(s + n, 0, (size_t)(ld - n) * sizeof *s);
}

/* -sum p ln p over n keys. */
static double row_entropy(const float *p, int64_t n)
{
    double sum = 0.0;

    for (int64_t j = 0; j < n; j++) {
        sum -= p[j] > 0.0f ? (double)p[j] * (double)logf(p[j]) : 0.0;
    }
    return sum;
}

typedef float v8 __attribute__((vector_size(32), may_alias));
typedef float v4 __attribute__((vector_size(16), may_alias));

/* Sum of the lanes, halves onto each other. */
DTX_INLINE float fold(const dtx_v16 *v)
{
    v8 h = __builtin_shufflevector(*v, *v, 0, 1, 2, 3, 4, 5, 6, 7) + __builtin_shufflevector(*v, *v, 8, 9, 10, 11, 12, 13, 14, 15);
    v4 q = __builtin_shufflevector(h, h, 0, 1, 2, 3) + __builtin_shufflevector(h, h, 4, 5, 6, 7);

    return (q[0] + q[2]) + (q[1] + q[3]);
}

/* Row j of what is read next is asked for while row j of this is used: a cache's rows are too few in one place for the
 * processor to foresee them. */
DTX_INLINE void ask_row(const float *row, int64_t hd)
{
    for (int64_t d = 0; d < hd; d += 16) {
        __builtin_prefetch(row + d);
    }
}

/* One query: s[j] = q . k[j] of n keys; lanes and their order depend on the head's width alone. */
DTX_CLONES
static void query_keys(int64_t hd, const float *q, const float *k, int64_t ld, int64_t n, float *s, const float *next)
{
    for (int64_t j = 0; j < n; j++) {
        const float *key = k + j * ld;
        ask_row(next + j * ld, hd);
        dtx_v16 a = {0}, b = {0};
        float rest = 0.0f;
        int64_t d = 0;
        for (; d + 32 <= hd; d += 32) {
            a += *(const dtx_v16 *)(q + d) * *(const dtx_v16 *)(key + d);
            b += *(const dtx_v16 *)(q + d + 16) * *(const dtx_v16 *)(key + d + 16);
        }
        if (d + 16 <= hd) {
            a += *(const dtx_v16 *)(q + d) * *(const dtx_v16 *)(key + d);
            d += 16;
        }
        for (; d < hd; d++) {
            rest += q[d] * key[d];
        }
        a += b;
        s[j] = fold(&a) + rest;
    }
}

/* out = sum over n keys of p[j] v[j], keys in order. */
DTX_CLONES
static void query_values(int64_t hd, const float *p, const float *v, int64_t ld, int64_t n, float *out, const float *next)
{
    int64_t d = 0;

    for (int64_t j = 0; hd < 80 && j < n; j++) {
        ask_row(next + j * ld, hd);
    }
    for (; d + 80 <= hd; d += 80) {
        dtx_v16 acc[5] = {{0}};
        for (int64_t j = 0; j < n; j++) {
            ask_row(next + j * ld + d, 80);
#pragma GCC unroll 5
            for (int l = 0; l < 5; l++) {
                acc[l] += p[j] * *(const dtx_v16 *)(v + j * ld + d + 16 * l);
            }
        }
        memcpy(out + d, acc, sizeof acc);
    }
    for (; d + 16 <= hd; d += 16) {
        dtx_v16 acc = {0};
        for (int64_t j = 0; j < n; j++) {
            acc += p[j] * *(const dtx_v16 *)(v + j * ld + d);
        }
        memcpy(out + d, &acc, sizeof acc);
    }
    for (; d < hd; d++) {
        float acc = 0.0f;
        for (int64_t j = 0; j < n; j++) {
            acc += p[j] * v[j * ld + d];
        }
        out[d] = acc;
    }
}

/* A step of decoding: one query, nothing kept. No product of matrices, whose packing would cost more than the work. */
static void forward_query(const dtx_heads *h, const float *slope, const dtx_attn_seq *a, int64_t head)
{
    int64_t hd = h->head_dim, group = head / (h->n_heads / h->n_kv), n = a->past + 1;
    const float *k = a->k + group * a->kv_step, *v = a->v + group * a->kv_step;

    query_keys(hd, a->qkv + dtx_heads_q(h, head), k, a->ld_kv, n, scratch, v);
    weights_row(scratch, n, n, (float)(1.0 / sqrt((double)hd)), slope != NULL, slope != NULL ? slope[head] : 0.0f);
    query_values(hd, scratch, v, a->ld_kv, n, a->out + head * hd, group + 1 < h->n_kv ? k + a->kv_step : k);
}

static void forward_head(const dtx_heads *h, bool causal, const float *slope, const dtx_attn_seq *a, int64_t head)
{
    const dtx_native *isa = dtx_native_pick(NULL);
    int64_t hd = h->head_dim, group = head / (h->n_heads / h->n_kv), total = a->past + a->n_q;
    int64_t ld_out = h->n_heads * hd, block = min64(BLOCK, SCRATCH / (total > 0 ? total : 1));
    const float *k = a->k + group * a->kv_step, *v = a->v + group * a->kv_step;
    float scale = (float)(1.0 / sqrt((double)hd));
    double entropy = 0.0;

    for (int64_t i0 = 0; i0 < a->n_q; i0 += block) {
        int64_t rows = min64(block, a->n_q - i0), keys = causal ? a->past + i0 + rows : total;
        float *s = a->probs != NULL ? a->probs + (head * a->n_q + i0) * total : scratch;
        int64_t ld = a->probs != NULL ? total : keys;
        dtx_native_product(isa, rows, keys, hd, a->qkv + i0 * h->width + dtx_heads_q(h, head), h->width, false, k,
                           a->ld_kv, true, s, ld, false);
        for (int64_t i = 0; i < rows; i++) {
            int64_t n = causal ? a->past + i0 + i + 1 : total;
            weights_row(s + i * ld, n, ld, scale, slope != NULL, slope != NULL ? slope[head] : 0.0f);
            entropy += a->entropy != NULL ? row_entropy(s + i * ld, n) : 0.0;
        }
        dtx_native_product(isa, rows, hd, keys, s, ld, false, v, a->ld_kv, false, a->out + i0 * ld_out + head * hd,
                           ld_out, false);
    }
    if (a->entropy != NULL) {
        a->entropy[head] = entropy;
    }
}

void dtx_attention_forward(const dtx_heads *h, bool causal, const float *slope, int64_t n_seq, const dtx_attn_seq *seq)
{
    int64_t work = 0;

    for (int64_t s = 0; s < n_seq; s++) {
        if (seq[s].past + seq[s].n_q > SCRATCH) { /* beyond any model's context */
            dtx_attention_forward_ref(h, causal, slope, n_seq, seq);
            return;
        }
        work += seq[s].n_q * (seq[s].past + seq[s].n_q) * h->n_heads * h->head_dim;
    }
    int threads = work > 65536 ? dtx_linear_threads() : 1;
    int64_t tasks = n_seq * h->n_heads, share = tasks / (16 * threads) + 1; /* few keys each: some at a time */
#pragma omp parallel for schedule(dynamic, share) num_threads(threads) if (threads > 1)
    for (int64_t t = 0; t < tasks; t++) {
        const dtx_attn_seq *a = &seq[t / h->n_heads];
        if (a->n_q == 1 && a->past > 0 && a->probs == NULL && a->entropy == NULL) {
            forward_query(h, slope, a, t % h->n_heads);
        } else {
            forward_head(h, causal, slope, a, t % h->n_heads);
        }
    }
}

/* d_p -> d_s = p (d_p - sum p d_p) scale, over n keys; zero beyond. */
DTX_CLONES
static void weights_row_backward(const float *p, float *d_p, int64_t n, int64_t ld, float scale)
{
    dtx_v16 lanes = {0};
    double dot = 0.0;
    int64_t i = 0;

    for (; i + 16 <= n; i += 16) {
        lanes += *(const dtx_v16 *)(p + i) * *(const dtx_v16 *)(d_p + i);
    }
    for (int l = 0; l < 16; l++) {
        dot += (double)lanes[l];
    }
    for (; i < n; i++) {
        dot += (double)p[i] * d_p[i];
    }
    float mean = (float)dot;
    for (int64_t j = 0; j < n; j++) {
        d_p[j] = p[j] * (d_p[j] - mean) * scale;
    }
    memset(d_p + n, 0, (size_t)(ld - n) * sizeof *d_p);
}

/* d_p += cotangent of the entropy times its derivative -(ln p + 1). The 1 is left out: weights_row_backward subtracts
 * what all d_p of a row have in common. A key of weight 0 gets no gradient there whatever stands here. */
static void row_entropy_backward(const float *p, float *d_p, int64_t n, float entropy)
{
    for (int64_t j = 0; j < n; j++) {
        d_p[j] -= p[j] > 0.0f ? entropy * logf(p[j]) : 0.0f;
    }
}

/* One key/value group of one segment: its heads one after the other, so that dk and dv are sums in a fixed order. */
static void backward_group(const dtx_heads *h, bool causal, const float *slope, const dtx_attn_seg *g, int64_t group)
{
    const dtx_native *isa = dtx_native_pick(NULL);
    int64_t hd = h->head_dim, per = h->n_heads / h->n_kv, ld = h->width, ld_out = h->n_heads * hd;
    int64_t block = min64(BLOCK, SCRATCH / (2 * g->len));
    const float *k = g->qkv + dtx_heads_k(h, group), *v = g->qkv + dtx_heads_v(h, group);
    float *d_k = g->d_qkv + dtx_heads_k(h, group), *d_v = g->d_qkv + dtx_heads_v(h, group);
    float scale = (float)(1.0 / sqrt((double)hd));

    for (int64_t i = 0; i < g->len; i++) {
        memset(d_k + i * ld, 0, (size_t)hd * sizeof *d_k);
        memset(d_v + i * ld, 0, (size_t)hd * sizeof *d_v);
    }
    for (int64_t head = group * per; head < (group + 1) * per; head++) {
        const float *q = g->qkv + dtx_heads_q(h, head);
        float *d_q = g->d_qkv + dtx_heads_q(h, head);
        for (int64_t i = 0; i < g->first; i++) {
            memset(d_q + i * ld, 0, (size_t)hd * sizeof *d_q);
        }
        for (int64_t i0 = g->first; i0 < g->len; i0 += block) {
            int64_t rows = min64(block, g->len - i0), keys = causal ? i0 + rows : g->len, ld_p = g->len_seq;
            const float *p, *d_out = g->d_out + (i0 - g->first) * ld_out + head * hd;
            float *d_s = scratch;
            if (g->probs != NULL) {
                p = g->probs + (head * g->len_seq + i0) * g->len_seq;
            } else {
                float *s = scratch + SCRATCH / 2;
                ld_p = keys;
                dtx_native_product(isa, rows, keys, hd, q + i0 * ld, ld, false, k, ld, true, s, ld_p, false);
                for (int64_t i = 0; i < rows; i++) {
                    weights_row(s + i * ld_p, causal ? i0 + i + 1 : keys, keys, scale, slope != NULL,
                                slope != NULL ? slope[head] : 0.0f);
                }
                p = s;
            }
            dtx_native_product(isa, rows, keys, hd, d_out, ld_out, false, v, ld, true, d_s, keys, false);
            dtx_native_product(isa, keys, hd, rows, p, ld_p, true, d_out, ld_out, false, d_v, ld, true);
            for (int64_t i = 0; i < rows; i++) {
                int64_t n = causal ? i0 + i + 1 : keys;
                if (g->entropy != 0.0f) {
                    row_entropy_backward(p + i * ld_p, d_s + i * keys, n, g->entropy);
                }
                weights_row_backward(p + i * ld_p, d_s + i * keys, n, keys, scale);
            }
            dtx_native_product(isa, rows, hd, keys, d_s, keys, false, k, ld, false, d_q + i0 * ld, ld, false);
            dtx_native_product(isa, keys, hd, rows, d_s, keys, true, q + i0 * ld, ld, false, d_k, ld, true);
        }
    }
}

void dtx_attention_backward(const dtx_heads *h, bool causal, const float *slope, int64_t n_seg, const dtx_attn_seg *seg)
{
    int64_t work = 0;

    for (int64_t s = 0; s < n_seg; s++) {
        if (seg[s].len > SCRATCH / 2) {
            dtx_attention_backward_ref(h, causal, slope, n_seg, seg);
            return;
        }
        work += (seg[s].len - seg[s].first) * seg[s].len * h->n_heads * h->head_dim;
    }
    int threads = work > 65536 ? dtx_linear_threads() : 1;
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (threads > 1)
    for (int64_t t = 0; t < n_seg * h->n_kv; t++) {
        backward_group(h, causal, slope, &seg[t / h->n_kv], t % h->n_kv);
    }
}
