#include "src/training/guard.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_GRAM = 4 };

static void add(char *why, size_t size, const char *what, double value, const char *relation, double bound)
{
    size_t n = strlen(why);

    snprintf(why + n, size - n, "%s%s %.4g %s %.4g", n > 0 ? "; " : "", what, value, relation, bound);
}

bool dtx_guard_healthy(const dtx_guard *g, const dtx_vitals *v, char *why, size_t size)
{
    const double floor = g->entropy * v->first_entropy;

    why[0] = '\0';
    /* written so that NaN fails */
    if (!(v->kl >= g->kl_min)) {
        add(why, size, "objective/kl", v->kl, "is below", g->kl_min);
    }
    if (!(v->kl <= g->kl_max)) {
        add(why, size, "objective/kl", v->kl, "is above", g->kl_max);
    }
    if (!(v->entropy >= floor)) {
        add(why, size, "entropy of the policy", v->entropy, "is below", floor);
    }
    if (!(v->value_error <= g->value_error)) {
        add(why, size, "ppo/val/error", v->value_error, "is above", g->value_error);
    }
    if (!(v->repeat <= g->repeat)) {
        add(why, size, "share of repeated 4-grams", v->repeat, "is above", g->repeat);
    }
    if (!(v->empty <= g->empty)) {
        add(why, size, "share of empty responses", v->empty, "is above", g->empty);
    }
    if (!(v->reward_fall <= g->reward)) {
        add(why, size, "fall of env/reward_mean in standard deviations", v->reward_fall, "is above", g->reward);
    }
    return why[0] == '\0';
}

double dtx_reward_fall(int64_t n, const double *mean, const double *std, int64_t batch)
{
    double best = -INFINITY, now = 0, spread = 0;

    for (int64_t k = 0; k < n; k++) {
        spread = fmax(spread, std[k]);
    }
    for (int64_t k = DTX_REWARD_WINDOW; k <= n; k++) {
        now = 0;
        for (int64_t i = k - DTX_REWARD_WINDOW; i < k; i++) {
            now += mean[i] / DTX_REWARD_WINDOW;
        }
        best = fmax(best, now);
    }
    if (n < DTX_REWARD_WINDOW || spread <= 0) {
        return 0;
    }
    return fmax(0, (best - now) / spread - 4 / sqrt((double)(DTX_REWARD_WINDOW * batch)));
}

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, N_GRAM * sizeof(int32_t));
}

double dtx_repeated_ngrams(int64_t n, int64_t width, const int32_t *tokens, const int32_t *len, int32_t *scratch)
{
    int64_t count = 0, repeated = 0;

    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j + N_GRAM <= len[i]; j++) {
            memcpy(scratch + N_GRAM * count++, tokens + i * width + j, N_GRAM * sizeof *scratch);
        }
    }
    if (count == 0) {
        return 0;
    }
    qsort(scratch, (size_t)count, N_GRAM * sizeof *scratch, compare);
    for (int64_t k = 1; k < count; k++) {
        repeated += compare(scratch + N_GRAM * (k - 1), scratch + N_GRAM * k) == 0;
    }
    return (double)repeated / (double)count;
}
