/* guard.h - is a policy still healthy? What reinforcement learning's collapse looks like from outside: KL against the
 * reference far below zero or running away, no entropy left, a value head that follows nothing, repetition, empty
 * responses, or a reward that falls and stays down. Pure functions. */
#ifndef DTX_GUARD_H
#define DTX_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {                    /* what is allowed */
    double kl_min, kl_max;          /* nats a response */
    double entropy;                 /* share of the first step's entropy */
    double value_error;             /* mean square error of the values */
    double repeat;                  /* share of repeated 4-grams in the responses of a step */
    double empty;                   /* share of responses without text */
    double reward;                  /* dtx_reward_fall */
} dtx_guard;

typedef struct {                    /* what one step showed */
    double kl, entropy, first_entropy, value_error, repeat, empty, reward_fall;
} dtx_vitals;

/* False when something is beyond its bound or not finite; `why` then names each with value and bound. */
bool dtx_guard_healthy(const dtx_guard *g, const dtx_vitals *v, char *why, size_t size);

/* How far the mean reward has fallen for good: the best mean over DTX_REWARD_WINDOW steps in a row minus that of the last ones,
 * in standard deviations of single scores (the largest of any step, so that a policy whose scores agree is not blamed for
 * their noise), beyond the 4 / sqrt(scores of a window) that chance explains. mean and std are those of n steps of `batch`
 * scores each. 0 while nothing fell, or with fewer steps than a window. */
enum { DTX_REWARD_WINDOW = 5 };
double dtx_reward_fall(int64_t n, const double *mean, const double *std, int64_t batch);

/* Share of the 4-grams of n rows (row i: len[i] tokens at tokens + i * width) that occurred before, in an earlier row or
 * earlier in the same one; 0 without any. `scratch` has room for 4 int32 for each token. */
double dtx_repeated_ngrams(int64_t n, int64_t width, const int32_t *tokens, const int32_t *len, int32_t *scratch);

#endif
