/* rng.h - counter-based random numbers (Philox 4x32-10, Random123; Salmon et al. 2011).
 * There is no state: a number is a function of (seed, domain, a, b, c), so it is the same on any rank, thread and
 * order of work. `domain` keeps the uses apart. */
#ifndef DTX_RNG_H
#define DTX_RNG_H

#include <stdint.h>

typedef enum {
    DTX_RNG_SAMPLE = 1, /* generation: a = prompt, b = sample, c = step */
    DTX_RNG_INIT = 2,   /* weight initialisation: a = parameter, b = 0, c = element */
    DTX_RNG_SHUFFLE = 3,
    DTX_RNG_DROPOUT = 4,
    DTX_RNG_BATCH = 5,   /* pretraining: which window */
    DTX_RNG_ROLLOUT = 6, /* a = prompt, b = PPO step, c = token */
    DTX_RNG_CHECK = 7,   /* self-checks that draw at random */
    DTX_RNG_BOOTSTRAP = 8,
    DTX_RNG_REJECTED = 9, /* rejected answers: a = pair, b = 0, c = token */
    DTX_RNG_DISTIL = 10  /* what a student reads: a = text, b = step, c = draw */
} dtx_rng_domain;

/* Four independent 32-bit words. */
void dtx_rng_words(uint64_t seed, dtx_rng_domain domain, uint64_t a, uint32_t b, uint32_t c, uint32_t out[4]);
/* Uniform in [0, 1), 53 bits. */
double dtx_rng_uniform(uint64_t seed, dtx_rng_domain domain, uint64_t a, uint32_t b, uint32_t c);
/* Standard normal (Box-Muller). */
double dtx_rng_normal(uint64_t seed, dtx_rng_domain domain, uint64_t a, uint32_t b, uint32_t c);
/* Uniform in [0, n), without modulo bias beyond 2^-53; n >= 1. */
uint64_t dtx_rng_below(uint64_t seed, dtx_rng_domain domain, uint64_t a, uint32_t b, uint32_t c, uint64_t n);
/* Fisher-Yates permutation of 0..n-1, a function of (seed, a) alone. */
void dtx_rng_permutation(uint64_t seed, uint64_t a, int64_t n, int64_t *out);

#endif
