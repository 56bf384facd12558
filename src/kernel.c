#include "src/kernel.h"

#include "src/kernel_ref.h"

#include <math.h>
#include <string.h>

void dtx_embed(const void *table, dtx_dtype dtype, int64_t d, int64_t R, const int32_t *ids, float *y)
{
    dtx_embed_ref(table, dtype, d, R, ids, y);
}

void dtx_norm_forward(int64_t R, int64_t d, const float *x, const float *w, const float *b, float eps, float *y,
                      float *mean, float *rstd)
{
    dtx_norm_forward_ref(R, d, x, w, b, eps, y, mean, rstd);
}

void dtx_norm_backward(int64_t R, int64_t d, const int32_t *map, const float *x, const float *mean, const float *rstd,
                       const float *w, const float *d_y, float *d_x, float *dw, float *db)
{
    dtx_norm_backward_ref(R, d, map, x, mean, rstd, w, d_y, d_x, dw, db);
}

void dtx_act_forward(dtx_activation act, int64_t R, int64_t d, const float *x, float *y)
{
    dtx_act_forward_ref(act, R, d, x, y);
}

void dtx_act_backward(dtx_activation act, int64_t R, int64_t d, const int32_t *map, const float *x, const float *d_y,
                      float *d_x)
{
    dtx_act_backward_ref(act, R, d, map, x, d_y, d_x);
}

void dtx_rotary_table(int64_t n, int64_t dims, double base, float *cos_out, float *sin_out)
{
    int64_t half = dims / 2;

    for (int64_t i = 0; i < half; i++) {
        double step = pow(base, -2.0 * (double)i / (double)dims);
        for (int64_t p = 0; p < n; p++) {
            cos_out[p * half + i] = (float)cos((double)p * step);
            sin_out[p * half + i] = (float)sin((double)p * step);
        }
    }
}

void dtx_rotary(const dtx_heads *h, int64_t dims, const float *cos_t, const float *sin_t, int64_t R, const int32_t *pos,
                float *qkv, bool inverse)
{
    dtx_rotary_ref(h, dims, cos_t, sin_t, R, pos, qkv, inverse);
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

void dtx_attention_forward(const dtx_heads *h, bool causal, const float *slope, int64_t n_seq, const dtx_attn_seq *seq)
{
    dtx_attention_forward_ref(h, causal, slope, n_seq, seq);
}

void dtx_attention_backward(const dtx_heads *h, bool causal, const float *slope, int64_t n_seg, const dtx_attn_seg *seg)
{
    dtx_attention_backward_ref(h, causal, slope, n_seg, seg);
}

void dtx_softmax(int64_t R, int64_t V, float *x)
{
    dtx_softmax_ref(R, V, x);
}

void dtx_log_prob(int64_t R, int64_t V, const float *x, const int32_t *id, float *out)
{
    dtx_log_prob_ref(R, V, x, id, out);
}
