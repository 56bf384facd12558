#include "src/algebra/kernel_ref.h"

#include <math.h>

#include "src/algebra/quant.h"

void dtx_embed_ref(const void *table, dtx_dtype dtype, int64_t d, int64_t R, const int32_t *ids, float *y)
{
    for (int64_t r = 0; r < R; r++) {
        const unsigned char *row = (const unsigned char *)table + (ids[r] * d) / dtx_dtype_block(dtype) * (int64_t)dtx_dtype_block_bytes(dtype);
        dtx_quant_widen(dtype, row, d, y + r * d);
    }
}

void dtx_norm_forward_ref(int64_t R, int64_t d, const float *x, const float *w, const float *b, float eps, float *y,
                          float *mean, float *rstd)
{
    for (int64_t r = 0; r < R; r++) {
        double m = 0.0, v = 0.0;
        for (int64_t i = 0; i < d; i++) {
            m += x[r * d + i];
        }
        m /= (double)d;
        for (int64_t i = 0; i < d; i++) {
            v += (x[r * d + i] - m) * (x[r * d + i] - m);
        }
        double s = 1.0 / sqrt(v / (double)d + (double)eps);
        for (int64_t i = 0; i < d; i++) {
            y[r * d + i] = (float)((x[r * d + i] - m) * s * w[i] + b[i]);
        }
        if (mean != NULL) {
            mean[r] = (float)m;
        }
        if (rstd != NULL) {
            rstd[r] = (float)s;
        }
    }
}

void dtx_norm_backward_ref(int64_t R, int64_t d, const int32_t *map, const float *x, const float *mean,
                           const float *rstd, const float *w, const float *d_y, float *d_x, float *dw, float *db)
{
    for (int64_t r = 0; r < R; r++) {
        int64_t f = map != NULL ? map[r] : r;
        double sum = 0.0, dot = 0.0; /* means of g = d_y w and of g xhat */
        for (int64_t i = 0; i < d; i++) {
            double g = (double)d_y[r * d + i] * w[i], xhat = ((double)x[f * d + i] - mean[f]) * rstd[f];
            sum += g;
            dot += g * xhat;
            if (dw != NULL && db != NULL) {
                dw[i] = (float)(dw[i] + d_y[r * d + i] * xhat);
                db[i] += d_y[r * d + i];
            }
        }
        for (int64_t i = 0; i < d; i++) {
            double g = (double)d_y[r * d + i] * w[i], xhat = ((double)x[f * d + i] - mean[f]) * rstd[f];
            d_x[r * d + i] = (float)(d_x[r * d + i] + rstd[f] * (g - sum / (double)d - xhat * dot / (double)d));
        }
    }
}

static const double TANH_C = 0.79788456080286535588; /* sqrt(2 / pi) */

static double act(dtx_activation a, double x)
{
    switch (a) {
    case DTX_ACT_GELU_ERF:
        return 0.5 * x * (1.0 + erf(x * M_SQRT1_2));
    case DTX_ACT_GELU_TANH:
        return 0.5 * x * (1.0 + tanh(TANH_C * (x + 0.044715 * x * x * x)));
    case DTX_ACT_RELU:
        return x > 0.0 ? x : 0.0;
    case DTX_ACT_SILU:
        return x / (1.0 + exp(-x));
    }
    return x;
}

static double act_slope(dtx_activation a, double x)
{
    switch (a) {
    case DTX_ACT_GELU_ERF:
        return 0.5 * (1.0 + erf(x * M_SQRT1_2)) + x * exp(-0.5 * x * x) * 0.39894228040143267794;
    case DTX_ACT_GELU_TANH: {
        double t = tanh(TANH_C * (x + 0.044715 * x * x * x));
        return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * TANH_C * (1.0 + 3.0 * 0.044715 * x * x);
    }
    case DTX_ACT_RELU:
        return x > 0.0 ? 1.0 : 0.0;
    case DTX_ACT_SILU: {
        double g = 1.0 / (1.0 + exp(-x));
        return g * (1.0 + x * (1.0 - g));
    }
    }
    return 1.0;
}

void dtx_act_forward_ref(dtx_activation a, int64_t R, int64_t d, const float *x, float *y)
{
    for (int64_t i = 0; i < R * d; i++) {
        y[i] = (float)act(a, x[i]);
    }
}

void dtx_act_backward_ref(dtx_activation a, int64_t R, int64_t d, const int32_t *map, const float *x, const float *d_y,
                          float *d_x)
{
    for (int64_t r = 0; r < R; r++) {
        const float *row = x + (map != NULL ? map[r] : r) * d;
        for (int64_t i = 0; i < d; i++) {
            d_x[r * d + i] = (float)(d_y[r * d + i] * act_slope(a, row[i]));
        }
    }
}

void dtx_gate_forward_ref(dtx_activation a, int64_t R, int64_t d, const float *x, float *y)
{
    for (int64_t i = 0; i < R * d; i++) {
        const float *row = x + i / d * 2 * d + i % d;
        y[i] = (float)(act(a, row[0]) * row[d]);
    }
}

void dtx_gate_backward_ref(dtx_activation a, int64_t R, int64_t d, const int32_t *map, const float *x, const float *d_y,
                           float *d_x)
{
    for (int64_t i = 0; i < R * d; i++) {
        int64_t r = i / d;
        const float *row = x + (map != NULL ? map[r] : r) * 2 * d + i % d;
        float *to = d_x + r * 2 * d + i % d;
        to[0] = (float)(d_y[i] * row[d] * act_slope(a, row[0]));
        to[d] = (float)(d_y[i] * act(a, row[0]));
    }
}

void dtx_rms_forward_ref(int64_t R, int64_t n, int64_t d, const float *x, int64_t ldx, const float *w, float shift, float eps,
                         float *y, int64_t ldy, float *rstd)
{
    for (int64_t t = 0; t < R * n; t++) {
        const float *from = x + t / n * ldx + t % n * d;
        float *to = y + t / n * ldy + t % n * d;
        double sum = 0.0;
        for (int64_t i = 0; i < d; i++) {
            sum += (double)from[i] * from[i];
        }
        double s = 1.0 / sqrt(sum / (double)d + (double)eps);
        for (int64_t i = 0; i < d; i++) {
            to[i] = (float)(from[i] * s * ((double)shift + w[i]));
        }
        if (rstd != NULL) {
            rstd[t] = (float)s;
        }
    }
}

void dtx_rms_backward_ref(int64_t R, int64_t n, int64_t d, const int32_t *map, const float *x, int64_t ldx, const float *rstd,
                          const float *w, float shift, const float *d_y, float *d_x, int64_t ld, bool accumulate, float *dw)
{
    for (int64_t t = 0; t < R * n; t++) {
        int64_t r = t / n, k = t % n, f = map != NULL ? map[r] : r;
        const float *from = x + f * ldx + k * d, *dy = d_y + r * ld + k * d;
        float *to = d_x + r * ld + k * d;
        double s = rstd[f * n + k], dot = 0.0;
        for (int64_t i = 0; i < d; i++) {
            dot += dy[i] * ((double)shift + w[i]) * from[i] * s;
            if (dw != NULL) {
                dw[i] = (float)(dw[i] + dy[i] * from[i] * s);
            }
        }
        for (int64_t i = 0; i < d; i++) {
            double dx = s * (dy[i] * ((double)shift + w[i]) - from[i] * s * dot / (double)d);
            to[i] = (float)(accumulate ? to[i] + dx : dx);
        }
    }
}

void dtx_rotary_ref(const dtx_heads *h, int64_t dims, const float *cos_t, const float *sin_t, int64_t R,
                    const int32_t *pos, float *qkv, bool inverse)
{
    int64_t half = dims / 2;

    for (int64_t r = 0; r < R; r++) {
        for (int64_t head = 0; head < h->n_heads + h->n_kv; head++) {
            float *v = qkv + r * h->width
                       + (head < h->n_heads ? dtx_heads_q(h, head) : dtx_heads_k(h, head - h->n_heads));
            for (int64_t i = 0; i < half; i++) {
                double c = cos_t[pos[r] * half + i], s = sin_t[pos[r] * half + i] * (inverse ? -1.0 : 1.0);
                double a = v[i], b = v[i + half];
                v[i] = (float)(a * c - b * s);
                v[i + half] = (float)(b * c + a * s);
            }
        }
    }
}

/* One query against the keys it sees: what softmax needs of all of them. */
typedef struct {
    const float *q, *k;
    int64_t ld_k, hd, n_keys;
    const float *slope;
    int64_t head;
    const dtx_heads *h;
    int64_t begin;
    double top, sum;
} query;

static double scale_of(const dtx_heads *h)
{
    return h->scale > 0.0f ? h->scale : 1.0 / sqrt((double)h->head_dim);
}

static double score(const query *a, int64_t j)
{
    double dot = a->slope != NULL ? dtx_alibi_bias(a->slope[a->head], j) : 0.0;

    for (int64_t c = 0; c < a->hd; c++) {
        dot += (double)a->q[c] * a->k[j * a->ld_k + c];
    }
    dot *= scale_of(a->h);
    return a->h->cap > 0.0f ? a->h->cap * tanh(dot / a->h->cap) : dot;
}

static query ask(const dtx_heads *h, const float *q, const float *k, int64_t ld_k, int64_t n_keys, const float *slope,
                 int64_t head)
{
    query a = {q, k, ld_k, h->head_dim, n_keys, slope, head, h, 0, -INFINITY, 0.0};

    if (h->window > 0 && n_keys > h->window) {
        a.begin = n_keys - h->window;
    }
    for (int64_t j = a.begin; j < n_keys; j++) {
        a.top = fmax(a.top, score(&a, j));
    }
    for (int64_t j = a.begin; j < n_keys; j++) {
        a.sum += exp(score(&a, j) - a.top);
    }
    return a;
}

static double weight_of(const query *a, int64_t j)
{
    return j >= a->begin && j < a->n_keys ? exp(score(a, j) - a->top) / a->sum : 0.0;
}

void dtx_attention_forward_ref(const dtx_heads *h, bool causal, const float *slope, int64_t n_seq,
                               const dtx_attn_seq *seq)
{
    int64_t hd = h->head_dim, per = h->n_heads / h->n_kv;

    for (int64_t s = 0; s < n_seq; s++) {
        int64_t total = seq[s].past + seq[s].n_q, ld = seq[s].ld_kv;
        for (int64_t head = 0; seq[s].entropy != NULL && head < h->n_heads; head++) {
            seq[s].entropy[head] = 0.0;
        }
        for (int64_t t = 0; t < h->n_heads * seq[s].n_q; t++) {
            int64_t head = t / seq[s].n_q, i = t % seq[s].n_q;
            const float *k = seq[s].k + head / per * seq[s].kv_step, *v = seq[s].v + head / per * seq[s].kv_step;
            query a = ask(h, seq[s].qkv + i * h->width + dtx_heads_q(h, head), k, ld,
                          causal ? seq[s].past + i + 1 : total, slope, head);
            float *out = seq[s].out + (i * h->n_heads + head) * hd;
            for (int64_t c = 0; c < hd; c++) {
                out[c] = 0.0f;
            }
            for (int64_t j = 0; j < total; j++) {
                double p = weight_of(&a, j);
                if (seq[s].entropy != NULL && p > 0.0) {
                    seq[s].entropy[head] -= p * log(p);
                }
                for (int64_t c = 0; c < hd; c++) {
                    out[c] = (float)(out[c] + p * v[j * ld + c]);
                }
                if (seq[s].probs != NULL) {
                    seq[s].probs[t * total + j] = (float)p;
                }
            }
        }
    }
}

void dtx_attention_backward_ref(const dtx_heads *h, bool causal, const float *slope, int64_t n_seg,
                                const dtx_attn_seg *seg)
{
    int64_t hd = h->head_dim, per = h->n_heads / h->n_kv, ld = h->width;

    for (int64_t s = 0; s < n_seg; s++) {
        const dtx_attn_seg *g = &seg[s];
        for (int64_t i = 0; i < g->len * ld; i++) {
            g->d_qkv[i] = 0.0f;
        }
        for (int64_t head = 0; head < h->n_heads; head++) {
            int64_t cq = dtx_heads_q(h, head), ck = dtx_heads_k(h, head / per), cv = dtx_heads_v(h, head / per);
            for (int64_t i = g->first; i < g->len; i++) {
                const float *q = g->qkv + i * ld + cq, *d_out = g->d_out + ((i - g->first) * h->n_heads + head) * hd;
                query a = ask(h, q, g->qkv + ck, ld, causal ? i + 1 : g->len, slope, head);
                double mean = 0.0; /* sum_j p_j dp_j */
                for (int pass = 0; pass < 2; pass++) {
                    for (int64_t j = a.begin; j < a.n_keys; j++) {
                        double p = g->probs != NULL ? g->probs[(head * g->len_seq + i) * g->len_seq + j]
                                                    : weight_of(&a, j);
                        const float *k = g->qkv + j * ld + ck, *v = g->qkv + j * ld + cv;
                        double dp = 0.0;
                        for (int64_t c = 0; c < hd; c++) {
                            dp += (double)d_out[c] * v[c];
                        }
                        dp -= p > 0.0 ? (double)g->entropy * (log(p) + 1.0) : 0.0;
                        if (pass == 0) {
                            mean += p * dp;
                            continue;
                        }
                        double ds = p * (dp - mean) * scale_of(h);
                        if (h->cap > 0.0f) {
                            double t = score(&a, j) / h->cap;
                            ds *= 1.0 - t * t;
                        }
                        for (int64_t c = 0; c < hd; c++) {
                            float *dq = g->d_qkv + i * ld + cq + c, *dk = g->d_qkv + j * ld + ck + c;
                            float *dv = g->d_qkv + j * ld + cv + c;
                            *dq = (float)(*dq + ds * k[c]);
                            *dk = (float)(*dk + ds * q[c]);
                            *dv = (float)(*dv + p * d_out[c]);
                        }
                    }
                }
            }
        }
    }
}

void dtx_softmax_ref(int64_t R, int64_t V, float *x)
{
    for (int64_t r = 0; r < R; r++, x += V) {
        double top = -INFINITY, sum = 0.0;
        for (int64_t i = 0; i < V; i++) {
            top = fmax(top, x[i]);
        }
        for (int64_t i = 0; i < V; i++) {
            sum += exp(x[i] - top);
        }
        for (int64_t i = 0; i < V; i++) {
            x[i] = (float)(exp(x[i] - top) / sum);
        }
    }
}

void dtx_log_prob_ref(int64_t R, int64_t V, const float *x, const int32_t *id, float *out)
{
    for (int64_t r = 0; r < R; r++, x += V) {
        double top = -INFINITY, sum = 0.0;
        for (int64_t i = 0; i < V; i++) {
            top = fmax(top, x[i]);
        }
        for (int64_t i = 0; i < V; i++) {
            sum += exp(x[i] - top);
        }
        out[r] = (float)(x[id[r]] - top - log(sum));
    }
}
