#include "src/base/rng.h"

#include <Random123/philox.h>
#include <math.h>

void dtx_rng_words(uint64_t seed, dtx_rng_domain domain, uint64_t a, uint32_t b, uint32_t c, uint32_t out[4])
{
    /* Counter: a, b, c. Key: the seed, with the domain mixed into its upper half. */
    philox4x32_ctr_t ctr = {{(uint32_t)a, (uint32_t)(a >> 32), b, c}};
    philox4x32_key_t key = {{(uint32_t)seed, (uint32_t)(seed >> 32) ^ ((uint32_t)domain * 0x9E3779B9u)}};
    philox4x32_ctr_t r = philox4x32(ctr, key);

    for (int i = 0; i < 4; i++) {
        out[i] = r.v[i];
    }
}

static double to_unit(uint32_t hi, uint32_t lo)
{
    return (double)(((uint64_t)hi << 32 | lo) >> 11) * 0x1p-53;
}

double dtx_rng_uniform(uint64_t seed, dtx_rng_domain domain, uint64_t a, uint32_t b, uint32_t c)
{
    uint32_t w[4];

    dtx_rng_words(seed, domain, a, b, c, w);
    return to_unit(w[0], w[1]);
}

double dtx_rng_normal(uint64_t seed, dtx_rng_domain domain, uint64_t a, uint32_t b, uint32_t c)
{
    uint32_t w[4];

    dtx_rng_words(seed, domain, a, b, c, w);
    /* 1 - u is in (0, 1]: its logarithm is finite */
    return sqrt(-2.0 * log(1.0 - to_unit(w[0], w[1]))) * cos(6.283185307179586 * to_unit(w[2], w[3]));
}

uint64_t dtx_rng_below(uint64_t seed, dtx_rng_domain domain, uint64_t a, uint32_t b, uint32_t c, uint64_t n)
{
    uint64_t k = (uint64_t)(dtx_rng_uniform(seed, domain, a, b, c) * (double)n);

    return k < n ? k : n - 1;
}

void dtx_rng_permutation(uint64_t seed, uint64_t a, int64_t n, int64_t *out)
{
    for (int64_t i = 0; i < n; i++) {
        out[i] = i;
    }
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j = (int64_t)dtx_rng_below(seed, DTX_RNG_SHUFFLE, a, (uint32_t)((uint64_t)i >> 32), (uint32_t)i, (uint64_t)i + 1);
        int64_t t = out[i];
        out[i] = out[j];
        out[j] = t;
    }
}
