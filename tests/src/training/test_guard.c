/* What counts as a collapse, each sign by itself, and how repetition is counted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "src/training/guard.h"

static const dtx_guard GUARD = {-5, 60, 0.1, 1000, 0.9, 0.5, 0.5};
static const dtx_vitals WELL = {3, 2.5, 3, 1, 0.1, 0, 0.4};

static void each_sign_is_seen_alone(void **state)
{
    const struct {
        size_t at;
        double value;
        const char *word;
    } cases[] = {{offsetof(dtx_vitals, kl), -5.1, "kl -5.1 is below -5"},
                 {offsetof(dtx_vitals, kl), 61, "kl 61 is above 60"},
                 {offsetof(dtx_vitals, kl), NAN, "kl"},
                 {offsetof(dtx_vitals, entropy), 0.29, "entropy"},
                 {offsetof(dtx_vitals, entropy), NAN, "entropy"},
                 {offsetof(dtx_vitals, value_error), 1001, "ppo/val/error"},
                 {offsetof(dtx_vitals, value_error), INFINITY, "ppo/val/error"},
                 {offsetof(dtx_vitals, repeat), 0.91, "4-grams"},
                 {offsetof(dtx_vitals, empty), 0.6, "empty"},
                 {offsetof(dtx_vitals, reward_fall), 0.51, "env/reward_mean"},
                 {offsetof(dtx_vitals, reward_fall), NAN, "env/reward_mean"}};
    char why[512];

    (void)state;
    assert_true(dtx_guard_healthy(&GUARD, &WELL, why, sizeof why));
    assert_string_equal(why, "");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dtx_vitals v = WELL;
        memcpy((char *)&v + cases[i].at, &cases[i].value, sizeof(double));
        assert_false(dtx_guard_healthy(&GUARD, &v, why, sizeof why));
        assert_non_null(strstr(why, cases[i].word));
        if (!isnan(cases[i].value)) {
            assert_null(strchr(why, ';'));
        }
    }
    assert_false(dtx_guard_healthy(&GUARD, &(dtx_vitals){-100, 0, 3, 1e6, 1, 1, 9}, why, 40)); /* a short text is cut */
    assert_true(strlen(why) < 40);
}

static void repetition_counts_within_and_across_rows(void **state)
{
    const int32_t tokens[3 * 8] = {1, 2, 3, 4, 5, 6, -1, -1, /* 3 new */
                                   9, 1, 2, 3, 4, 8, -1, -1, /* 9123 new, 1234 seen, 2348 new */
                                   7, 7, 7, 7, 7, 7, 7, -1}; /* 7777 four times: 3 seen */
    const int32_t len[3] = {6, 6, 7}, none[3] = {3, 0, 1};
    int32_t scratch[4 * 24];

    (void)state;
    assert_true(fabs(dtx_repeated_ngrams(3, 8, tokens, len, scratch) - 4.0 / 10) < 1e-12);
    assert_true(dtx_repeated_ngrams(1, 8, tokens, len, scratch) == 0);
    assert_true(dtx_repeated_ngrams(3, 8, tokens, none, scratch) == 0);
}

/* Scores of 64 responses with standard deviation 0.35: their mean wanders by 0.04. */
static void a_reward_that_stays_down_is_seen(void **state)
{
    enum { N = 400, BATCH = 64 };
    double mean[N], std[N];
    uint32_t x = 1;

    (void)state;
    for (int k = 0; k < N; k++) { /* rises, then holds, under noise */
        x = x * 1664525u + 1013904223u;
        std[k] = 0.35;
        mean[k] = 0.5 + 0.25 * fmin(k, 100) / 100 + 0.04 * 1.732 * ((double)x / 2147483648.0 - 1);
    }
    for (int n = 0; n <= N; n++) {
        assert_true(dtx_reward_fall(n, mean, std, BATCH) < 0.1);
    }
    mean[299] = 0.4; /* one bad step is none */
    assert_true(dtx_reward_fall(300, mean, std, BATCH) < 0.2);
    for (int k = 300; k < N; k++) { /* 0.74 -> 0.25 within 30 steps */
        mean[k] = fmax(0.25, 0.74 - (k - 300) * 0.49 / 30);
    }
    int seen = 300;
    while (seen < N && dtx_reward_fall(seen, mean, std, BATCH) <= 0.2) {
        seen++;
    }
    assert_true(seen > 305 && mean[seen - 1] > 0.5); /* while two thirds are left */
    assert_true(dtx_reward_fall(N, mean, std, BATCH) > 1);
    /* exactly: (best - now) / largest deviation - 4 / sqrt(5 x 5) */
    const double up[7] = {1, 1, 1, 1, 1, -9, -9}, wide[7] = {0.5, 2, 1, 1, 1, 1, 1};
    assert_true(fabs(dtx_reward_fall(7, up, wide, 5) - (4.0 / 2 - 0.8)) < 1e-12);
    assert_true(dtx_reward_fall(4, up, wide, 5) == 0 && dtx_reward_fall(5, up, wide, 5) == 0);
    memset(std, 0, sizeof std); /* scores that never differ say nothing */
    assert_true(dtx_reward_fall(N, mean, std, BATCH) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_sign_is_seen_alone),
        cmocka_unit_test(a_reward_that_stays_down_is_seen),
        cmocka_unit_test(repetition_counts_within_and_across_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
