/* kernel_attention.c - attention and its vector-Jacobian product. The products of one (sequence, head) are small
 * products (dtx_linear_product); queries go through in blocks whose scores fit a buffer of
 * the thread. Sums over keys run in order, so that zeros above the diagonal change no bit. */
#include <math.h>
#include <string.h>

#include "src/algebra/kernel.h"
#include "src/algebra/linear.h"
#include "src/algebra/vmath.h"

enum {
    SCRATCH = 65536,            /* scores of a block of queries */
    BLOCK = 64,                 /* most queries of a block */
    PIECE = SCRATCH / BLOCK     /* keys at a time where those of one query do not fit */
};
static _Thread_local float scratch[SCRATCH] __attribute__((aligned(64)));

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static float score_scale(const dtx_heads *h)
{
    return h->scale > 0.0f ? h->scale : (float)(1.0 / sqrt((double)h->head_dim));
}

/* What the scores are multiplied by in the softmax: capped ones are scaled already. */
static float softmax_scale(const dtx_heads *h)
{
    return h->cap > 0.0f ? 1.0f : score_scale(h);
}

/* Capped scores from q.k; nothing without a cap. */
static void cap_row(const dtx_heads *h, float *s, int64_t n)
{
    if (h->cap > 0.0f) {
        const float scale = score_scale(h);
        for (int64_t j = 0; j < n; j++) {
            s[j] *= scale;
        }
        dtx_cap_forward(n, h->cap, s);
    }
}

/* The first key that the window leaves to a query which sees the keys below `end`. */
static int64_t first_seen(const dtx_heads *h, int64_t end)
{
    return h->window > 0 && end > h->window ? end - h->window : 0;
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

/* The same of a row with ld keys of which those from `begin` to `end` - 1 are seen; weights of the others are zero. */
static void row_weights(const dtx_heads *h, float *s, int64_t begin, int64_t end, int64_t ld, const float *slope, int64_t head)
{
    memset(s, 0, (size_t)begin * sizeof *s);
    cap_row(h, s + begin, end - begin);
    weights_row(s + begin, end - begin, ld - begin, softmax_scale(h), slope != NULL, slope != NULL ? slope[head] : 0.0f);
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
    int64_t hd = h->head_dim, group = head / (h->n_heads / h->n_kv), from = first_seen(h, a->past + 1), n = a->past + 1 - from;
    const float *k = a->k + group * a->kv_step + from * a->ld_kv, *v = a->v + group * a->kv_step + from * a->ld_kv;

    query_keys(hd, a->qkv + dtx_heads_q(h, head), k, a->ld_kv, n, scratch, v);
    row_weights(h, scratch, 0, n, n, slope, head);
    query_values(hd, scratch, v, a->ld_kv, n, a->out + head * hd, group + 1 < h->n_kv ? k + a->kv_step : k);
}

/* --- queries that see more keys than the buffer holds: their scores come in pieces --- */

/* Over the keys of a query so far, with e_j = exp((s_j - top) scale): the sums of e and of e ln e. */
typedef struct {
    float top;
    double sum, moment;
} running;

/* What a sequence gives to all pieces of its scores. */
typedef struct {
    int64_t hd, ld_q, ld_k;
    const float *q, *k;         /* of the block's first query, of the group's first key */
    const float *slope;         /* this head's, or NULL */
    bool causal;
    int64_t seen;               /* end of the keys that the first query of the block sees */
    const dtx_heads *h;
} block_scores;

static int64_t seen_of_piece(const block_scores *b, int64_t i, int64_t k0, int64_t n)
{
    const int64_t seen = b->causal ? b->seen + i - k0 : n;

    return seen < 0 ? 0 : min64(seen, n);
}

/* The first of them that the window leaves. */
static int64_t begin_of_piece(const block_scores *b, int64_t i, int64_t k0, int64_t seen)
{
    const int64_t begin = b->causal ? first_seen(b->h, b->seen + i) - k0 : 0;

    return begin < 0 ? 0 : min64(begin, seen);
}

/* s (rows, n) = q.k of keys k0 .. k0 + n - 1, before scale and softmax. */
static void piece_scores(const block_scores *b, int64_t rows, int64_t k0, int64_t n, float *s)
{
    dtx_linear_product(rows, n, b->hd, b->q, b->ld_q, false, b->k + k0 * b->ld_k, b->ld_k, true, s, n, false);
    for (int64_t i = 0; b->slope != NULL && i < rows; i++) {
        for (int64_t j = 0; j < n; j++) {
            s[i * n + j] += dtx_alibi_bias(*b->slope, k0 + j);
        }
    }
    cap_row(b->h, s, rows * n);
}

/* s -> e of the keys begin .. seen - 1 of a piece, zero elsewhere; returns what earlier sums are multiplied by. */
DTX_CLONES
static float piece_weights(float *s, int64_t begin, int64_t seen, int64_t n, float scale, running *r)
{
    float top = r->top;
    double sum = 0.0, moment = 0.0;

#pragma omp simd reduction(max : top)
    for (int64_t j = begin; j < seen; j++) {
        top = s[j] > top ? s[j] : top;
    }
    const double old = r->sum > 0.0 ? ((double)r->top - top) * scale : 0.0, factor = exp(old);
    for (int64_t j = begin; j < seen; j++) {
        const float x = (s[j] - top) * scale;
        s[j] = dtx_expf(x);
        sum += s[j];
        moment += s[j] > 0.0f ? (double)s[j] * x : 0.0;
    }
    memset(s, 0, (size_t)begin * sizeof *s);
    memset(s + seen, 0, (size_t)(n - seen) * sizeof *s);
    *r = (running){top, r->sum * factor + sum, factor * (r->moment + old * r->sum) + moment};
    return (float)factor;
}

static void scale_row(float *x, int64_t n, float factor)
{
    for (int64_t i = 0; i < n; i++) {
        x[i] *= factor;
    }
}

/* Queries i0 .. i0 + rows - 1 of a head; returns the sum of their entropies. */
static double forward_pieces(const dtx_heads *h, bool causal, const float *slope, const dtx_attn_seq *a, int64_t head, int64_t i0,
                             int64_t rows)
{
    const int64_t hd = h->head_dim, group = head / (h->n_heads / h->n_kv), ld_out = h->n_heads * hd;
    const int64_t keys = causal ? a->past + i0 + rows : a->past + a->n_q;
    const float scale = softmax_scale(h), *v = a->v + group * a->kv_step;
    const block_scores b = {hd, h->width, a->ld_kv, a->qkv + i0 * h->width + dtx_heads_q(h, head), a->k + group * a->kv_step,
                            slope != NULL ? slope + head : NULL, causal, a->past + i0 + 1, h};
    float *out = a->out + i0 * ld_out + head * hd;
    running run[BLOCK];
    double entropy = 0.0;

    for (int64_t i = 0; i < rows; i++) {
        run[i] = (running){-INFINITY, 0.0, 0.0};
        memset(out + i * ld_out, 0, (size_t)hd * sizeof *out);
    }
    for (int64_t k0 = causal ? first_seen(h, b.seen) : 0; k0 < keys; k0 += PIECE) {
        const int64_t n = min64(PIECE, keys - k0);
        piece_scores(&b, rows, k0, n, scratch);
        for (int64_t i = 0; i < rows; i++) {
            const int64_t seen = seen_of_piece(&b, i, k0, n), begin = begin_of_piece(&b, i, k0, seen);
            if (begin < seen) {
                scale_row(out + i * ld_out, hd, piece_weights(scratch + i * n, begin, seen, n, scale, &run[i]));
            } else {
                memset(scratch + i * n, 0, (size_t)n * sizeof *scratch);
            }
        }
        dtx_linear_product(rows, hd, n, scratch, n, false, v + k0 * a->ld_kv, a->ld_kv, false, out, ld_out, true);
    }
    for (int64_t i = 0; i < rows; i++) {
        scale_row(out + i * ld_out, hd, (float)(1.0 / run[i].sum));
        entropy += log(run[i].sum) - run[i].moment / run[i].sum;
    }
    return entropy;
}

/* How many of the queries from i0 on go through together: `room` scores for all their keys, of which query i0 sees `seen`
 * (each next one sees one more where `grows`). 0: not even those of one fit. */
static int64_t rows_that_fit(int64_t room, int64_t left, int64_t total, int64_t seen, bool grows)
{
    const int64_t rows = min64(min64(BLOCK, left), total < room ? room / total : 1);

    if (seen > room) {
        return 0;
    }
    return grows ? min64(rows, room - seen + 1) : rows;
}

static void forward_head(const dtx_heads *h, bool causal, const float *slope, const dtx_attn_seq *a, int64_t head)
{
    int64_t hd = h->head_dim, group = head / (h->n_heads / h->n_kv), total = a->past + a->n_q;
    int64_t ld_out = h->n_heads * hd, rows;
    double entropy = 0.0;

    for (int64_t i0 = 0; i0 < a->n_q; i0 += rows) {
        /* keys before `from` are seen by none of the block's queries */
        const int64_t from = causal ? first_seen(h, a->past + i0 + 1) : 0;
        const float *k = a->k + group * a->kv_step + from * a->ld_kv, *v = a->v + group * a->kv_step + from * a->ld_kv;
        rows = a->probs != NULL ? min64(BLOCK, a->n_q - i0)
                                : rows_that_fit(SCRATCH, a->n_q - i0, total - from, (causal ? a->past + i0 + 1 : total) - from, causal);
        if (rows == 0) {
            rows = min64(BLOCK, a->n_q - i0);
            entropy += forward_pieces(h, causal, slope, a, head, i0, rows);
            continue;
        }
        int64_t keys = (causal ? a->past + i0 + rows : total) - from;
        float *s = a->probs != NULL ? a->probs + (head * a->n_q + i0) * total + from : scratch;
        int64_t ld = a->probs != NULL ? total : keys;
        dtx_linear_product(rows, keys, hd, a->qkv + i0 * h->width + dtx_heads_q(h, head), h->width, false, k,
                           a->ld_kv, true, s, ld, false);
        for (int64_t i = 0; i < rows; i++) {
            int64_t end = causal ? a->past + i0 + i + 1 : total, begin = (causal ? first_seen(h, end) : 0) - from;
            float *row = s + i * ld;
            if (a->probs != NULL) {
                memset(row - from, 0, (size_t)from * sizeof *row);
            }
            row_weights(h, row, begin, end - from, ld - (a->probs != NULL ? from : 0), slope, head);
            entropy += a->entropy != NULL ? row_entropy(row + begin, end - from - begin) : 0.0;
        }
        dtx_linear_product(rows, hd, keys, s, ld, false, v, a->ld_kv, false, a->out + i0 * ld_out + head * hd,
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
        int64_t keys = seq[s].past + seq[s].n_q;
        keys = h->window > 0 ? min64(keys, h->window + BLOCK) : keys;
        work += seq[s].n_q * keys * h->n_heads * h->head_dim;
    }
    int threads = work > 65536 ? dtx_linear_threads() : 1;
    int64_t tasks = n_seq * h->n_heads, share = tasks / (16 * threads) + 1; /* few keys each: some at a time */
#pragma omp parallel for schedule(dynamic, share) num_threads(threads) if (threads > 1)
    for (int64_t t = 0; t < tasks; t++) {
        const dtx_attn_seq *a = &seq[t / h->n_heads];
        if (a->n_q == 1 && a->past > 0 && a->past < SCRATCH && a->probs == NULL && a->entropy == NULL) {
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

/* Queries i0 .. i0 + rows - 1 of a head that see more keys than the buffer holds. Three times over the pieces: for the
 * softmax's top and sum, for sum_j p_j d_p_j, for the gradients. */
static void backward_pieces(const dtx_heads *h, bool causal, const float *slope, const dtx_attn_seg *g, int64_t head, int64_t i0,
                            int64_t rows)
{
    enum { HALF = PIECE / 2, THIRD = PIECE / 4 };
    const int64_t piece = h->cap > 0.0f ? THIRD : HALF; /* the derivatives of capped scores stand in the last third */
    const int64_t hd = h->head_dim, ld = h->width, ld_out = h->n_heads * hd, group = head / (h->n_heads / h->n_kv);
    const int64_t keys = causal ? i0 + rows : g->len, cq = dtx_heads_q(h, head), ck = dtx_heads_k(h, group), cv = dtx_heads_v(h, group);
    const float scale = softmax_scale(h), *q = g->qkv + i0 * ld + cq;
    const float *d_out = g->d_out + (i0 - g->first) * ld_out + head * hd;
    const block_scores b = {hd, ld, ld, q, g->qkv + ck, slope != NULL ? slope + head : NULL, causal, i0 + 1, h};
    float *p = scratch, *d_s = scratch + BLOCK * HALF, *capped = scratch + BLOCK * THIRD;
    running run[BLOCK];
    double mean[BLOCK] = {0};

    for (int64_t i = 0; i < rows; i++) {
        run[i] = (running){-INFINITY, 0.0, 0.0};
    }
    const int64_t from = causal ? first_seen(h, b.seen) : 0;
    for (int pass = g->probs != NULL ? 1 : 0; pass < 3; pass++) {
        for (int64_t k0 = from; k0 < keys; k0 += piece) {
            const int64_t n = min64(piece, keys - k0);
            if (g->probs == NULL) {
                piece_scores(&b, rows, k0, n, p);
            }
            if (h->cap > 0.0f) {
                memcpy(capped, p, (size_t)(rows * n) * sizeof *p);
            }
            for (int64_t i = 0; i < rows; i++) {
                const int64_t seen = seen_of_piece(&b, i, k0, n), begin = begin_of_piece(&b, i, k0, seen);
                if (begin >= seen) {
                    memset(p + i * n, 0, (size_t)n * sizeof *p);
                } else if (g->probs != NULL) {
                    memcpy(p + i * n, g->probs + (head * g->len_seq + i0 + i) * g->len_seq + k0, (size_t)n * sizeof *p);
                } else if (pass == 0) {
                    piece_weights(p + i * n, begin, seen, n, scale, &run[i]);
                } else {
                    running known = {run[i].top, 0.0, 0.0};
                    piece_weights(p + i * n, begin, seen, n, scale, &known);
                    scale_row(p + i * n, seen, (float)(1.0 / run[i].sum));
                }
            }
            if (pass == 0) {
                continue;
            }
            dtx_linear_product(rows, n, hd, d_out, ld_out, false, g->qkv + k0 * ld + cv, ld, true, d_s, n, false);
            for (int64_t i = 0; i < rows; i++) {
                float *row = d_s + i * n;
                const int64_t seen = seen_of_piece(&b, i, k0, n);
                if (g->entropy != 0.0f) {
                    row_entropy_backward(p + i * n, row, seen, g->entropy);
                }
                for (int64_t j = 0; pass == 1 && j < seen; j++) {
                    mean[i] += (double)p[i * n + j] * row[j];
                }
                for (int64_t j = 0; pass == 2 && j < n; j++) {
                    row[j] = j < seen ? p[i * n + j] * (float)(row[j] - mean[i]) * score_scale(h) : 0.0f;
                }
                if (pass == 2 && h->cap > 0.0f) {
                    dtx_cap_backward(n, h->cap, capped + i * n, row);
                }
            }
            if (pass == 2) {
                dtx_linear_product(n, hd, rows, p, n, true, d_out, ld_out, false, g->d_qkv + k0 * ld + cv, ld, true);
                dtx_linear_product(rows, hd, n, d_s, n, false, g->qkv + k0 * ld + ck, ld, false, g->d_qkv + i0 * ld + cq, ld, k0 > from);
                dtx_linear_product(n, hd, rows, d_s, n, true, q, ld, false, g->d_qkv + k0 * ld + ck, ld, true);
            }
        }
    }
}

/* One key/value group of one segment: its heads one after the other, so that dk and dv are sums in a fixed order. */
static void backward_group(const dtx_heads *h, bool causal, const float *slope, const dtx_attn_seg *g, int64_t group)
{
    int64_t hd = h->head_dim, per = h->n_heads / h->n_kv, ld = h->width, ld_out = h->n_heads * hd;
    const int64_t part = h->cap > 0.0f ? SCRATCH / 3 : SCRATCH / 2; /* of the buffer: d_s, weights, capped scores */
    float *capped = h->cap > 0.0f ? scratch + 2 * part : NULL;

    for (int64_t i = 0; i < g->len; i++) {
        memset(g->d_qkv + i * ld + dtx_heads_k(h, group), 0, (size_t)hd * sizeof *g->d_qkv);
        memset(g->d_qkv + i * ld + dtx_heads_v(h, group), 0, (size_t)hd * sizeof *g->d_qkv);
    }
    for (int64_t head = group * per; head < (group + 1) * per; head++) {
        const float *q = g->qkv + dtx_heads_q(h, head);
        float *d_q = g->d_qkv + dtx_heads_q(h, head);
        for (int64_t i = 0; i < g->first; i++) {
            memset(d_q + i * ld, 0, (size_t)hd * sizeof *d_q);
        }
        for (int64_t i0 = g->first, rows; i0 < g->len; i0 += rows) {
            const int64_t from = causal ? first_seen(h, i0 + 1) : 0;
            const float *k = g->qkv + from * ld + dtx_heads_k(h, group), *v = g->qkv + from * ld + dtx_heads_v(h, group);
            float *d_k = g->d_qkv + from * ld + dtx_heads_k(h, group), *d_v = g->d_qkv + from * ld + dtx_heads_v(h, group);
            rows = rows_that_fit(part, g->len - i0, g->len - from, (causal ? i0 + 1 : g->len) - from, causal);
            if (rows == 0) {
                rows = min64(BLOCK, g->len - i0);
                backward_pieces(h, causal, slope, g, head, i0, rows);
                continue;
            }
            int64_t keys = (causal ? i0 + rows : g->len) - from, ld_p = g->len_seq;
            const float *p, *d_out = g->d_out + (i0 - g->first) * ld_out + head * hd;
            float *d_s = scratch;
            if (g->probs != NULL) {
                p = g->probs + (head * g->len_seq + i0) * g->len_seq + from;
            } else {
                float *s = scratch + part;
                ld_p = keys;
                dtx_linear_product(rows, keys, hd, q + i0 * ld, ld, false, k, ld, true, s, ld_p, false);
                for (int64_t i = 0; i < rows; i++) {
                    int64_t end = causal ? i0 + i + 1 : g->len, begin = (causal ? first_seen(h, end) : 0) - from;
                    if (capped != NULL) {
                        memcpy(capped + i * keys, s + i * keys, (size_t)keys * sizeof *s);
                        cap_row(h, capped + i * keys, keys);
                    }
                    row_weights(h, s + i * ld_p, begin, end - from, keys, slope, head);
                }
                p = s;
            }
            dtx_linear_product(rows, keys, hd, d_out, ld_out, false, v, ld, true, d_s, keys, false);
            dtx_linear_product(keys, hd, rows, p, ld_p, true, d_out, ld_out, false, d_v, ld, true);
            for (int64_t i = 0; i < rows; i++) {
                int64_t n = causal ? i0 + i + 1 - from : keys;
                if (g->entropy != 0.0f) {
                    row_entropy_backward(p + i * ld_p, d_s + i * keys, n, g->entropy);
                }
                weights_row_backward(p + i * ld_p, d_s + i * keys, n, keys, score_scale(h));
                if (capped != NULL) {
                    dtx_cap_backward(keys, h->cap, capped + i * keys, d_s + i * keys);
                }
            }
            dtx_linear_product(rows, hd, keys, d_s, keys, false, k, ld, false, d_q + i0 * ld, ld, false);
            dtx_linear_product(keys, hd, rows, d_s, keys, true, q + i0 * ld, ld, false, d_k, ld, true);
        }
    }
}

void dtx_attention_backward(const dtx_heads *h, bool causal, const float *slope, int64_t n_seg, const dtx_attn_seg *seg)
{
    int64_t work = 0;

    for (int64_t s = 0; s < n_seg; s++) {
        int64_t keys = h->window > 0 ? min64(seg[s].len, h->window + BLOCK) : seg[s].len;
        work += (seg[s].len - seg[s].first) * keys * h->n_heads * h->head_dim;
    }
    int threads = work > 65536 ? dtx_linear_threads() : 1;
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (threads > 1)
    for (int64_t t = 0; t < n_seg * h->n_kv; t++) {
        backward_group(h, causal, slope, &seg[t / h->n_kv], t % h->n_kv);
    }
}
