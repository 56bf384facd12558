/* rope.c - how far each pair of dimensions turns from one position to the next, under the scalings that stretch a model's
 * trained length. The library's formulas, in double. */
#include <math.h>

#include "src/model/families/arch.h"

/* Llama 3: long waves are stretched by the factor, short ones not, those between by a mixture. */
static double llama3(const dtx_rope *r, double step)
{
    const double wave = 2 * M_PI / step;

    if (wave > r->old_length / r->low) {
        return step / r->factor;
    }
    if (wave < r->old_length / r->high) {
        return step;
    }
    const double s = (r->old_length / wave - r->low) / (r->high - r->low);
    return (1 - s) * step / r->factor + s * step;
}

/* YaRN (Peng et al. 2023): the pair whose wave turns `turns` times over the trained length. */
static double pair_of_turns(const dtx_rope *r, int64_t dims, double turns)
{
    return (double)dims * log(r->old_length / (turns * 2 * M_PI)) / (2 * log(r->base));
}

static double yarn(const dtx_rope *r, int64_t dims, int64_t i, double step)
{
    double low = pair_of_turns(r, dims, r->high), high = pair_of_turns(r, dims, r->low);

    if (!r->exact) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, (double)(dims - 1));
    high = low == high ? high + 0.001 : high;
    const double ramp = fmin(fmax(((double)i - low) / (high - low), 0), 1);
    return step / r->factor * ramp + step * (1 - ramp);
}

void dtx_rope_steps(const dtx_rope *r, int64_t dims, double *step, double *factor)
{
    *factor = r->type == DTX_ROPE_YARN ? r->attention : 1;
    for (int64_t i = 0; i < dims / 2; i++) {
        const double plain = pow(r->base, -2.0 * (double)i / (double)dims);
        switch (r->type) {
        case DTX_ROPE_PLAIN:
            step[i] = plain;
            break;
        case DTX_ROPE_LINEAR:
            step[i] = plain / r->factor;
            break;
        case DTX_ROPE_LLAMA3:
            step[i] = llama3(r, plain);
            break;
        case DTX_ROPE_YARN:
            step[i] = yarn(r, dims, i, plain);
            break;
        }
    }
}
