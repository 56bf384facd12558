/* The processors against a plain re-implementation that sorts, on random scores with many ties, and their edges. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "src/base/rng.h"
#include "src/answer/sampler.h"

enum { MAX_V = 300 };

static const dtx_sampling off = {.max_new_tokens = 8, .do_sample = true, .temperature = 1, .top_p = 1};

typedef struct {
    float x;
    int64_t id;
} entry;

static int ascending(const void *a, const void *b)
{
    const entry *p = a, *q = b;

    return p->x != q->x ? (p->x < q->x ? -1 : 1) : (p->id < q->id ? -1 : p->id > q->id);
}

/* top_k and top_p by sorting, as the library's lines read. */
static void sort_reference(int64_t k, double p, int64_t V, float *score)
{
    entry e[MAX_V];
    double sum = 0, cum = 0, top;

    for (int64_t i = 0; i < V; i++) {
        e[i] = (entry){score[i], i};
    }
    qsort(e, (size_t)V, sizeof *e, ascending);
    float kth = e[k > 0 && k < V ? V - k : 0].x;
    for (int64_t i = 0; i < V; i++) {
        if (e[i].x < kth) {
            e[i].x = -INFINITY;
        }
    }
    top = (double)e[V - 1].x;
    for (int64_t i = 0; i < V; i++) {
        sum += exp((double)e[i].x - top);
    }
    for (int64_t i = 0; i < V; i++) {
        cum += exp((double)e[i].x - top) / sum;
        score[e[i].id] = p < 1 && cum <= 1 - p && i < V - 1 ? -INFINITY : e[i].x;
    }
}

static void test_warpers_against_sorting(void **state)
{
    float a[MAX_V], b[MAX_V], scratch[MAX_V];
    (void)state;

    for (uint32_t trial = 0; trial < 3000; trial++) {
        int64_t V = 1 + (int64_t)dtx_rng_below(1, DTX_RNG_CHECK, trial, 0, 0, MAX_V);
        bool coarse = trial % 2 != 0; /* few distinct values: ties everywhere */
        dtx_sampling s = off;
        s.top_k = (int64_t)dtx_rng_below(1, DTX_RNG_CHECK, trial, 0, 1, (uint64_t)V + 20);
        s.top_p = trial % 3 == 0 ? 1 : dtx_rng_uniform(1, DTX_RNG_CHECK, trial, 0, 2);
        for (int64_t i = 0; i < V; i++) {
            double x = 3 * dtx_rng_normal(1, DTX_RNG_CHECK, trial, 1, (uint32_t)i);
            a[i] = b[i] = (float)(coarse ? round(x) : x);
        }
        dtx_sampler_process(&s, NULL, 0, 0, V, a, scratch);
        sort_reference(s.top_k, s.top_p, V, b);
        for (int64_t i = 0; i < V; i++) {
            if (a[i] != b[i]) {
                fail_msg("trial %u, V %d, top_k %d, top_p %g, id %d: %g, expected %g", trial, (int)V, (int)s.top_k, s.top_p,
                         (int)i, (double)a[i], (double)b[i]);
            }
        }
    }
}

static void test_no_repeat_ngram(void **state)
{
    const int32_t ids[] = {5, 6, 7, 5, 6, 9, 5};
    float x[10] = {0}, scratch[10];
    dtx_sampling s = off;
    (void)state;

    s.no_repeat_ngram = 2; /* after 5 came 6, twice */
    dtx_sampler_process(&s, ids, 7, 3, 10, x, scratch);
    for (int i = 0; i < 10; i++) {
        assert_true(i == 6 ? x[i] == -INFINITY : x[i] == 0);
    }
    memset(x, 0, sizeof x);
    s.no_repeat_ngram = 3; /* after 9 5 came nothing yet; after "5 6" came 7 and 9 */
    dtx_sampler_process(&s, ids, 7, 3, 10, x, scratch);
    for (int i = 0; i < 10; i++) {
        assert_true(x[i] == 0);
    }
    dtx_sampler_process(&s, ids, 5, 3, 10, x, scratch);
    for (int i = 0; i < 10; i++) {
        assert_true(i == 7 ? x[i] == -INFINITY : x[i] == 0);
    }
    memset(x, 0, sizeof x);
    s.no_repeat_ngram = 1; /* every id so far */
    dtx_sampler_process(&s, ids, 7, 3, 10, x, scratch);
    for (int i = 0; i < 10; i++) {
        assert_true(i == 5 || i == 6 || i == 7 || i == 9 ? x[i] == -INFINITY : x[i] == 0);
    }
    memset(x, 0, sizeof x);
    s.no_repeat_ngram = 9; /* longer than what is there */
    dtx_sampler_process(&s, ids, 7, 3, 10, x, scratch);
    for (int i = 0; i < 10; i++) {
        assert_true(x[i] == 0);
    }
}

static void test_min_new_tokens(void **state)
{
    const int32_t ids[8] = {0};
    float x[4] = {1, 2, 3, 4}, scratch[4];
    dtx_sampling s = off;
    (void)state;

    s.min_new_tokens = 4;
    s.eos = dtx_eos_of(2);
    dtx_sampler_process(&s, ids, 6, 3, 4, x, scratch); /* 3 new tokens: the 4th may not be EOS */
    assert_true(x[2] == -INFINITY && x[3] == 4);
    x[2] = 3;
    dtx_sampler_process(&s, ids, 7, 3, 4, x, scratch);
    assert_true(x[2] == 3);
    s.eos = dtx_eos_of(-1);
    dtx_sampler_process(&s, ids, 3, 3, 4, x, scratch);
    assert_true(x[0] == 1 && x[1] == 2 && x[2] == 3 && x[3] == 4);
    s.eos = dtx_eos_of(4); /* outside the vocabulary */
    dtx_sampler_process(&s, ids, 3, 3, 4, x, scratch);
    assert_true(x[0] == 1 && x[3] == 4);
}

static void test_greedy_has_no_warpers(void **state)
{
    const int32_t ids[] = {3, 1, 3};
    float x[4] = {4, 9, 7, 7}, scratch[4];
    dtx_sampling s = off;
    int32_t token;
    float logprob;
    (void)state;

    s.do_sample = false;
    s.temperature = 0.5;
    s.top_k = 1;
    s.no_repeat_ngram = 2;
    dtx_sampler_process(&s, ids, 3, 1, 4, x, scratch); /* 1 follows 3: banned; nothing else changes */
    assert_true(x[0] == 4 && x[1] == -INFINITY && x[2] == 7 && x[3] == 7);
    assert_int_equal(dtx_sampler_choose(&s, 4, x, 0.99, &token, &logprob), DTX_OK);
    assert_int_equal(token, 2); /* lowest id of the tie */
    assert_float_equal(logprob, -log(2 + exp(-3)), 1e-6);
}

static void test_draw_follows_the_distribution(void **state)
{
    const float score[] = {0, -INFINITY, (float)0.6931471805599453, 0}; /* 1/4, 0, 1/2, 1/4 */
    int count[4] = {0};
    int32_t token;
    float logprob;
    (void)state;

    for (uint32_t i = 0; i < 4000; i++) {
        double u = (i + 0.5) / 4000;
        assert_int_equal(dtx_sampler_choose(&off, 4, score, u, &token, &logprob), DTX_OK);
        assert_float_equal(logprob, token == 2 ? log(0.5) : log(0.25), 1e-6);
        count[token]++;
    }
    assert_int_equal(count[0], 1000);
    assert_int_equal(count[1], 0);
    assert_int_equal(count[2], 2000);
    assert_int_equal(count[3], 1000);
    assert_int_equal(dtx_sampler_choose(&off, 4, score, 0, &token, &logprob), DTX_OK);
    assert_int_equal(token, 0);
    assert_int_equal(dtx_sampler_choose(&off, 4, score, 0x1.fffffffffffffp-1, &token, &logprob), DTX_OK);
    assert_int_equal(token, 3);
    /* an id without mass is never drawn, at either end */
    const float hollow[] = {-2000, 0, -2000};
    assert_int_equal(dtx_sampler_choose(&off, 3, hollow, 0, &token, &logprob), DTX_OK);
    assert_int_equal(token, 1);
    assert_int_equal(dtx_sampler_choose(&off, 3, hollow, 0x1.fffffffffffffp-1, &token, &logprob), DTX_OK);
    assert_int_equal(token, 1);
}

static void test_one_token_vocabulary(void **state)
{
    float x = -3, scratch, logprob;
    int32_t token;
    dtx_sampling s = off;
    (void)state;

    s.top_k = 50;
    s.top_p = 0.1;
    s.temperature = 0.7;
    dtx_sampler_process(&s, NULL, 0, 0, 1, &x, &scratch);
    assert_int_equal(dtx_sampler_choose(&s, 1, &x, 0.5, &token, &logprob), DTX_OK);
    assert_int_equal(token, 0);
    assert_true(logprob == 0);
}

static void test_bad_scores_are_errors(void **state)
{
    const float bad[] = {NAN, INFINITY, -NAN};
    float x[40], scratch[40], logprob = 0;
    int32_t token = -7;
    dtx_sampling s = off;
    (void)state;

    s.top_k = 5;
    s.top_p = 0.8;
    for (int b = 0; b < 3; b++) {
        for (int at = 0; at < 40; at++) {
            for (int i = 0; i < 40; i++) {
                x[i] = (float)((i * 7) % 11);
            }
            x[at] = bad[b];
            dtx_sampler_process(&s, NULL, 0, 0, 40, x, scratch);
            assert_int_equal(dtx_sampler_choose(&s, 40, x, 0.5, &token, &logprob), DTX_ERR_NUMERIC);
        }
    }
    for (int i = 0; i < 40; i++) {
        x[i] = -INFINITY;
    }
    dtx_sampler_process(&s, NULL, 0, 0, 40, x, scratch);
    assert_int_equal(dtx_sampler_choose(&s, 40, x, 0.5, &token, &logprob), DTX_ERR_NUMERIC);
    assert_int_equal(token, -7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_warpers_against_sorting),  cmocka_unit_test(test_no_repeat_ngram),
        cmocka_unit_test(test_min_new_tokens),           cmocka_unit_test(test_greedy_has_no_warpers),
        cmocka_unit_test(test_draw_follows_the_distribution), cmocka_unit_test(test_one_token_vocabulary),
        cmocka_unit_test(test_bad_scores_are_errors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
