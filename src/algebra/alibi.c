#include <math.h>

#include "src/algebra/kernel.h"

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
