/* kernel.h - everything of a transformer layer that is not a linear: pure functions on pointers and sizes, no
 * allocation, no globals, no I/O. R rows, d width; row-major; threads split rows (or columns where a sum runs over
 * rows), so results do not depend on their number, and a row's result depends on that row alone.
 * Each has a plain twin with suffix _ref (double accumulation) that the tests compare it with.
 * Gradients: d_<x> is the cotangent of <x>. "map" arrays take cotangent row r to the forward row map[r] that it belongs
 * to (several cotangent rows may share one forward row; see model.h). A NULL map is the identity. */
#ifndef DTX_KERNEL_H
#define DTX_KERNEL_H

#include <stdbool.h>
#include <stdint.h>

#include "src/algebra/activation.h"
#include "src/base/dtype.h"

/* y[r] = table[ids[r]] for a (vocab, d) table of any floating or quantised type. */
void dtx_embed(const void *table, dtx_dtype dtype, int64_t d, int64_t R, const int32_t *ids, float *y);

/* LayerNorm with scale w and shift b: y = (x - mean) * rstd * w + b. Keeps mean and rstd (R each, may be NULL). */
void dtx_norm_forward(int64_t R, int64_t d, const float *x, const float *w, const float *b, float eps, float *y,
                      float *mean, float *rstd);
/* d_x[r] += J^T d_y[r] at forward row map[r] of x, mean, rstd. With dw, db != NULL (then map must be NULL): += . */
void dtx_norm_backward(int64_t R, int64_t d, const int32_t *map, const float *x, const float *mean, const float *rstd,
                       const float *w, const float *d_y, float *d_x, float *dw, float *db);

/* RMSNorm (Zhang & Sennrich 2019): each of R rows has n vectors of d elements, one after the other from x + r ldx on, and
 * y = x / sqrt(mean(x^2) + eps) * (shift + w), w (d) the same for all of them. rstd (R, n) may be NULL; x may be y. */
void dtx_rms_forward(int64_t R, int64_t n, int64_t d, const float *x, int64_t ldx, const float *w, float shift, float eps, float *y,
                     int64_t ldy, float *rstd);
/* d_x[r] = J^T d_y[r] (accumulate: += ) at row map[r] of x and rstd; d_x may be d_y when it does not accumulate, and both have
 * leading dimension ld. dw (d; then map must be NULL): += , NULL = not wanted. */
void dtx_rms_backward(int64_t R, int64_t n, int64_t d, const int32_t *map, const float *x, int64_t ldx, const float *rstd,
                      const float *w, float shift, const float *d_y, float *d_x, int64_t ld, bool accumulate, float *dw);

/* y = act(x), elementwise; x may be y. */
void dtx_act_forward(dtx_activation act, int64_t R, int64_t d, const float *x, float *y);
/* d_x[r] = d_y[r] * act'(x[map[r]]); d_x may be d_y. */
void dtx_act_backward(dtx_activation act, int64_t R, int64_t d, const int32_t *map, const float *x, const float *d_y,
                      float *d_x);

/* y (R, d) = act(x[:, :d]) * x[:, d:] of rows x (R, 2 d): the gate's part, then the up projection's. */
void dtx_gate_forward(dtx_activation act, int64_t R, int64_t d, const float *x, float *y);
/* d_x (R, 2 d) from d_y (R, d) at the rows map[r] of x. */
void dtx_gate_backward(dtx_activation act, int64_t R, int64_t d, const int32_t *map, const float *x, const float *d_y, float *d_x);

/* x = cap tanh(x / cap) in place, n elements. */
void dtx_cap_forward(int64_t n, float cap, float *x);
/* d *= 1 - (x / cap)^2, the derivative at capped values x. */
void dtx_cap_backward(int64_t n, float cap, const float *x, float *d);

/* Where the heads of a row of the fused projection lie; built from the description. */
typedef struct {
    int64_t n_heads, n_kv, head_dim;
    int64_t width;              /* columns of a qkv row */
    bool fused;                 /* per group: q heads | k | v; else all q | all k | all v */
    float scale;                /* of q.k; 0 = 1 / sqrt(head_dim) */
    float cap;                  /* of the scaled scores: cap tanh(s / cap); 0 = none */
    int64_t window;             /* query i sees key j iff i - window < j <= i; 0 = all j <= i. Causal and without slopes only. */
} dtx_heads;
static inline int64_t dtx_heads_q(const dtx_heads *h, int64_t head)
{
    int64_t per = h->n_heads / h->n_kv;
    return h->fused ? ((head / per) * (per + 2) + head % per) * h->head_dim : head * h->head_dim;
}
static inline int64_t dtx_heads_k(const dtx_heads *h, int64_t group)
{
    int64_t per = h->n_heads / h->n_kv;
    return h->fused ? (group * (per + 2) + per) * h->head_dim : (h->n_heads + group) * h->head_dim;
}
static inline int64_t dtx_heads_v(const dtx_heads *h, int64_t group)
{
    int64_t per = h->n_heads / h->n_kv;
    return h->fused ? (group * (per + 2) + per + 1) * h->head_dim : (h->n_heads + h->n_kv + group) * h->head_dim;
}

/* Rotary tables for positions 0..n-1: factor cos(p step[i]), factor sin(p step[i]) (n, half), computed in double. */
void dtx_rotary_table(int64_t n, int64_t half, const double *step, double factor, float *cos_out, float *sin_out);
/* Rotates q and k heads of qkv (R, width) in place, in halves, by position pos[r]. inverse = the transposed rotation,
 * for cotangents. */
void dtx_rotary(const dtx_heads *h, int64_t dims, const float *cos_t, const float *sin_t, int64_t R, const int32_t *pos,
                float *qkv, bool inverse);
/* slope[h] of ALiBi in f32, as transformers 4.33 makes them: powers of 2^(-8/p), p the largest power of two <= heads,
 * then odd powers of 2^(-4/p). */
void dtx_alibi_slopes(int64_t n_heads, float *slope);
/* The bias bf16(bf16(slope) * bf16(position)), added to q.k before the division by sqrt(head_dim). */
float dtx_alibi_bias(float slope, int64_t position);

/* Attention of one sequence: queries are the rows 0..n_q-1 of qkv, which stand at key positions past..past+n_q-1.
 * Keys and values of all past + n_q positions are at k, v with row stride ld_kv, group g at g * kv_step
 * (a cache: ld = head_dim, kv_step = room for a group's keys; the qkv buffer itself: k = qkv + dtx_heads_k(h, 0),
 * ld = width, kv_step = distance between groups). causal: query i sees keys 0..past+i, of which heads->window leaves the last ones. slope != NULL adds ALiBi. out (n_q, n_heads * head_dim; ld_out).
 * probs: NULL, or (n_heads, n_q, past + n_q) softmax weights, zeros above the diagonal. entropy: NULL, or (n_heads), for
 * each head the sum over the queries of -sum_j p_j ln p_j; a query that sees one key adds 0. */
typedef struct {
    const float *qkv;           /* rows of this sequence's queries, ld = heads->width */
    const float *k, *v;
    int64_t ld_kv, kv_step;
    int64_t n_q, past;
    float *out;                 /* ld = n_heads * head_dim */
    float *probs;
    double *entropy;
} dtx_attn_seq;
/* All sequences of a batch; threads share (sequence, head) pairs. */
void dtx_attention_forward(const dtx_heads *h, bool causal, const float *slope, int64_t n_seq, const dtx_attn_seq *seq);

/* Cotangents of one segment: d_out rows stand for query positions first..len-1 (ld = n_heads * head_dim) of a sequence
 * whose forward rows begin at qkv (ld = heads->width, all `len_seq` rows of the sequence). Writes d_qkv (len rows,
 * ld = heads->width): dq of queries below `first` is 0, dk and dv cover all len rows (causal) or len_seq = len (not).
 * probs: (n_heads, len_seq, len_seq) as forward kept them, or NULL: recomputed (with a cap always NULL). entropy: cotangent of each head's entropy
 * sum (dtx_attn_seq), 0 = none. Overwrites d_qkv. */
typedef struct {
    const float *qkv;
    const float *probs;
    int64_t len_seq;
    int64_t first, len;
    const float *d_out;
    float *d_qkv;
    float entropy;
} dtx_attn_seg;
void dtx_attention_backward(const dtx_heads *h, bool causal, const float *slope, int64_t n_seg, const dtx_attn_seg *seg);

/* In place over each of R rows of width V: x -> softmax(x). */
void dtx_softmax(int64_t R, int64_t V, float *x);
/* log softmax(x[r])[id[r]] for each row, computed in double from the row's maximum. */
void dtx_log_prob(int64_t R, int64_t V, const float *x, const int32_t *id, float *out);

#endif
