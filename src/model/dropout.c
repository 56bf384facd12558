#include "src/model/dropout.h"

#include "src/base/rng.h"

uint64_t dtx_dropout_key(int64_t step, int64_t sample, int64_t token)
{
    return (uint64_t)step << 40 ^ (uint64_t)sample << 16 ^ (uint64_t)token;
}

void dtx_dropout_apply(const dtx_dropout *o, int64_t slot, int64_t R, int64_t width, const float *x, float *y, int add)
{
    const uint32_t threshold = (uint32_t)(o->p * 4294967296.0);
    const float keep = (float)(1.0 / (1.0 - o->p));

#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < R; r++) {
        const float *from = x + r * width;
        float *to = y + r * width;
        for (int64_t i = 0; i < width; i += 4) {
            uint32_t w[4];
            dtx_rng_words(o->seed, DTX_RNG_DROPOUT, o->row[r], (uint32_t)slot, (uint32_t)(i / 4), w);
            for (int64_t j = i; j < i + 4 && j < width; j++) {
                float v = w[j - i] < threshold ? 0.0f : from[j] * keep;
                to[j] = add ? to[j] + v : v;
            }
        }
    }
}
