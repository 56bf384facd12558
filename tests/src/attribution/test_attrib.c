/* Attribution beyond the reference values: targets, norms, baselines, flags, words, blocks, edges. The oracle is a loop
 * that runs forward and takes central differences of the target. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "src/attribution/attrib.h"
#include "src/attribution/check.h"
#include "src/base/mem.h"
#include "tests/src/model/model_variants.h"

enum { P = 5, G = 4, T = P + G, D = 24, V = VARIANT_VOCAB };

static const int32_t ids[T] = {3, 17, 8, 8, 20, 1, 11, 8, 2};
static const char *const pieces[T] = {"\xC4\xA0" "a", "b", "\xC4\xA0" "c", "\xC4\xA0" "d", "e", "f", "\xC4\xA0" "g", "h", "i"};

typedef struct {
    double score[G][T][D];
} granular;

static void keep(void *user, int64_t step, int64_t len, int64_t d, const float *score)
{
    granular *g = user;

    assert_int_equal(d, D);
    assert_int_equal(len, P + step);
    for (int64_t t = 0; t < T; t++) {
        for (int64_t j = 0; j < D; j++) {
            g->score[step][t][j] = t < len ? score[t * D + j] : NAN;
        }
    }
}

static dtx_model *model(int variant)
{
    dtx_arch a = variant_arch(variant);
    dtx_model *m = NULL;

    assert_int_equal(dtx_model_new(&a, 5, &m), DTX_OK);
    variant_shake(m, 6);
    return m;
}

static double target(const dtx_model *m, dtx_attrib_target what, const float *embeds, int64_t g)
{
    const int64_t offset[] = {0, P + g};
    float hidden[T * D], z[V];
    double sum = 0;

    assert_int_equal(dtx_model_forward(m, &(dtx_batch){.n_seq = 1, .offset = offset, .ids = ids, .embeds = embeds}, hidden), DTX_OK);
    dtx_model_logits(m, 1, hidden + (P + g - 1) * D, z);
    for (int j = 0; j < V; j++) {
        sum += exp(z[j] - z[ids[P + g]]);
    }
    return what == DTX_TARGET_LOGIT ? z[ids[P + g]] : what == DTX_TARGET_LOGPROB ? -log(sum) : 1 / sum;
}

static void test_targets_by_differences(void **state)
{
    (void)state;
    for (int variant = 0; variant < 3; variant++) {
        dtx_model *m = model(variant);
        float e[T * D];
        assert_int_equal(dtx_model_embed(m, T, ids, e), DTX_OK);
        for (int what = 0; what < 3; what++) {
            static granular s;
            dtx_attribution a;
            const dtx_attrib_settings set = {.method = DTX_IXG, .target = (dtx_attrib_target)what, .granular = keep, .user = &s};
            assert_int_equal(dtx_attribute(m, &set, ids, P, G, NULL, NULL, &a), DTX_OK);
            for (int g = 0; g < G; g++) {
                assert_float_equal(a.probability[g], target(m, DTX_TARGET_PROBABILITY, e, g), 1e-6);
                for (int k = g; k < (P + g) * D; k += 7) {
                    const float h = 0.01F;
                    float x[T * D];
                    memcpy(x, e, sizeof x);
                    x[k] = e[k] + h;
                    double up = target(m, (dtx_attrib_target)what, x, g);
                    x[k] = e[k] - h;
                    double slope = (up - target(m, (dtx_attrib_target)what, x, g)) / (2 * h);
                    assert_float_equal(s.score[g][k / D][k % D], e[k] * slope, 3e-4 + 3e-3 * fabs(e[k] * slope));
                }
            }
            dtx_attribution_free(&a);
        }
        dtx_model_del(m);
    }
}

static void test_norms_and_flags(void **state)
{
    static granular s;
    dtx_model *m = model(1);
    const uint8_t use[P] = {0, 1, 1, 0, 1};
    (void)state;

    for (int norm = 0; norm < 3; norm++) {
        dtx_attribution a, b;
        const dtx_attrib_settings set = {.method = DTX_IXG, .target = DTX_TARGET_LOGPROB, .norm = (dtx_attrib_norm)norm,
                                         .granular = keep, .user = &s};
        assert_int_equal(dtx_attribute(m, &set, ids, P, G, use, NULL, &a), DTX_OK);
        assert_int_equal(dtx_attribute(m, &set, ids, P, G, NULL, NULL, &b), DTX_OK);
        for (int g = 0; g < G; g++) {
            double row[T], sum = 0, flagged = 0, all = 0, magnitudes = 0, bits = 0;
            for (int t = 0; t < P + g; t++) {
                row[t] = 0;
                for (int j = 0; j < D; j++) {
                    double v = s.score[g][t][j];
                    row[t] += norm == DTX_NORM_L2 ? v * v : norm == DTX_NORM_L1 ? fabs(v) : v;
                }
                row[t] = norm == DTX_NORM_L2 ? sqrt(row[t]) : row[t];
                sum += fabs(row[t]);
            }
            for (int t = 0; t < T; t++) {
                assert_true((t < P + g) == !isnan(a.value[g * T + t]));
                if (t < P + g) {
                    assert_float_equal(a.value[g * T + t], row[t] / sum, 1e-6);
                    magnitudes += fabs((double)a.value[g * T + t]);
                }
                if (t < P) {
                    all += row[t] / sum;
                    flagged += use[t] ? row[t] / sum : 0;
                }
            }
            assert_float_equal(magnitudes, 1, 1e-5);
            assert_float_equal(a.prompt_dependence[g], flagged, 1e-5);
            assert_float_equal(b.prompt_dependence[g], all, 1e-5);
            for (int t = 0; t < P; t++) {
                double p = row[t] / sum / flagged;
                bits -= use[t] ? p * log2(p) : 0;
            }
            if (norm != DTX_NORM_SUM) { /* signed shares may be negative and have no entropy */
                assert_float_equal(a.entropy[g], bits, 1e-5);
                assert_true(a.entropy[g] < b.entropy[g]);
            }
        }
        dtx_attribution_free(&a);
        dtx_attribution_free(&b);
    }
    dtx_model_del(m);
}

/* Completeness (Sundararajan et al. 2017): the scores of a step sum to target(x) - target(baseline). */
static void test_integrated_gradients_are_complete(void **state)
{
    static granular s;
    (void)state;

    for (int variant = 0; variant < N_DECODERS; variant++) {
        dtx_model *m = model(variant);
        /* without shifts a model does not see the length of its input: from zeros, all happens in the path's first steps */
        for (int32_t baseline = dtx_model_arch(m)->rms_norm ? 0 : -1; baseline < 1; baseline++) {
            float e[T * D], b[T * D] = {0};
            const dtx_attrib_settings set = {.method = DTX_IG, .target = DTX_TARGET_LOGIT, .steps = 300, .baseline = baseline,
                                             .granular = keep, .user = &s};
            dtx_attribution a;
            assert_int_equal(dtx_model_embed(m, T, ids, e), DTX_OK);
            for (int t = 0; t < T && baseline >= 0; t++) {
                assert_int_equal(dtx_model_embed(m, 1, &baseline, b + t * D), DTX_OK);
            }
            assert_int_equal(dtx_attribute(m, &set, ids, P, G, NULL, NULL, &a), DTX_OK);
            for (int g = 0; g < G; g++) {
                double sum = 0, want = target(m, DTX_TARGET_LOGIT, e, g) - target(m, DTX_TARGET_LOGIT, b, g);
                for (int t = 0; t < P + g; t++) {
                    for (int j = 0; j < D; j++) {
                        sum += s.score[g][t][j];
                    }
                }
                assert_float_equal(a.probability[g], target(m, DTX_TARGET_PROBABILITY, e, g), 1e-6);
                assert_float_equal(sum, want, 0.02 * fmax(1, fabs(want)));
            }
            dtx_attribution_free(&a);
        }
        dtx_model_del(m);
    }
}

static void assert_same(const dtx_attribution *a, const dtx_attribution *b)
{
    const size_t n = sizeof(float);

    assert_memory_equal(a->value, b->value, G * T * n);
    assert_memory_equal(a->probability, b->probability, G * n);
    assert_memory_equal(a->entropy, b->entropy, G * n);
    assert_memory_equal(a->prompt_dependence, b->prompt_dependence, G * n);
    assert_int_equal(a->G_words, b->G_words);
    assert_int_equal(a->T_words, b->T_words);
    assert_memory_equal(a->words_value, b->words_value, (size_t)(a->G_words * a->T_words) * n);
    assert_memory_equal(a->words_entropy, b->words_entropy, (size_t)a->G_words * n);
}

static void test_memory_budget_changes_nothing(void **state)
{
    (void)state;
    for (int variant = 0; variant < N_DECODERS; variant++) {
        dtx_model *m = model(variant);
        int64_t row = dtx_model_backward_bytes_per_row(m) + 8 * D;
        for (int method = 0; method < 3; method++) {
            dtx_attrib_settings set = {.method = (dtx_attrib_method)method, .merge = DTX_MERGE_WORDS, .steps = 3, .baseline = -1};
            dtx_attribution a, b;
            assert_int_equal(dtx_attribute(m, &set, ids, P, G, NULL, pieces, &a), DTX_OK);
            for (int64_t rows = 1; rows < 30; rows += 7) {
                set.memory_bytes = (size_t)(rows * row);
                assert_int_equal(dtx_attribute(m, &set, ids, P, G, NULL, pieces, &b), DTX_OK);
                assert_same(&a, &b);
                dtx_attribution_free(&b);
            }
            dtx_attribution_free(&a);
        }
        dtx_model_del(m);
    }
}

/* Words of the pieces: prompt "ab" "c" "de", completion "f" "ghi". */
static void test_words(void **state)
{
    static granular s;
    dtx_model *m = model(0);
    const uint8_t use[P] = {0, 1, 0, 0, 0};
    const int edge[] = {0, 2, 3, 5, 6, 9}, step[] = {0, 1, 4};
    const dtx_attrib_settings set = {.method = DTX_IXG, .merge = DTX_MERGE_WORDS, .granular = keep, .user = &s};
    dtx_attribution a;
    (void)state;

    assert_int_equal(dtx_attribute(m, &set, ids, P, G, use, pieces, &a), DTX_OK);
    assert_int_equal(a.G_words, 2);
    assert_int_equal(a.T_words, 5);
    assert_int_equal(a.P_words, 3);
    assert_float_equal(a.words_probability[0], a.probability[0], 0);
    assert_float_equal(a.words_probability[1], a.probability[1] * a.probability[2] * a.probability[3], 1e-7);
    for (int k = 0; k < 2; k++) {
        double norm[5], sum = 0;
        for (int w = 0; w < 5; w++) {
            double squares = 0;
            for (int j = 0; j < D; j++) {
                double best = NAN;
                for (int g = step[k]; g < step[k + 1]; g++) {
                    for (int t = edge[w]; t < edge[w + 1]; t++) {
                        double v = s.score[g][t][j];
                        best = isnan(v) || fabs(best) >= fabs(v) ? best : v;
                    }
                }
                squares += best * best;
            }
            norm[w] = sqrt(squares);
            sum += isnan(norm[w]) ? 0 : norm[w];
        }
        for (int w = 0; w < 5; w++) {
            if (isnan(norm[w])) { /* later words, and a one-piece word's own column */
                assert_true(isnan(a.words_value[k * 5 + w]) && (w > 3 + k || (w == 3 && k == 0)));
            } else {
                assert_float_equal(a.words_value[k * 5 + w], norm[w] / sum, 1e-6);
            }
        }
        assert_float_equal(a.words_prompt_dependence[k], norm[0] / sum, 1e-6); /* one piece of "ab" counts, so it does */
        assert_float_equal(a.words_entropy[k], 0, 1e-7);
    }
    dtx_attribution_free(&a);
    dtx_model_del(m);
}

static bool stop_later(void *user)
{
    return (*(int *)user)-- == 0;
}

static void test_edges(void **state)
{
    dtx_model *m = model(2);
    dtx_attrib_settings set = {.method = DTX_IXG, .merge = DTX_MERGE_WORDS};
    const int32_t bad[] = {1, 2, V}, long_ids[66] = {0};
    dtx_attribution a;
    int left = 1;
    (void)state;

    assert_int_equal(dtx_attribute(m, &set, ids, T, 0, NULL, NULL, &a), DTX_OK); /* an empty completion */
    assert_true(a.G == 0 && a.T == T && a.value == NULL && a.G_words == 0);
    dtx_attribution_free(&a);
    assert_int_equal(dtx_attribute(m, &set, ids, 1, 1, NULL, pieces, &a), DTX_OK); /* one token each */
    assert_true(a.value[0] == 1 && isnan(a.value[1]) && a.prompt_dependence[0] == 1 && a.entropy[0] == 0);
    dtx_attribution_free(&a);
    assert_int_equal(dtx_attribute(m, &set, ids, 0, 3, NULL, pieces, &a), DTX_ERR_INPUT);
    assert_int_equal(dtx_attribute(m, &set, bad, 2, 1, NULL, pieces, &a), DTX_ERR_INPUT);
    set.merge = DTX_MERGE_NONE;
    assert_int_equal(dtx_attribute(m, &set, long_ids, 63, 2, NULL, NULL, &a), DTX_OK); /* 64 positions are read */
    dtx_attribution_free(&a);
    assert_int_equal(dtx_attribute(m, &set, long_ids, 63, 3, NULL, NULL, &a), DTX_ERR_INPUT);
    set.stop = stop_later;
    set.user = &left;
    set.memory_bytes = 1; /* a block for each step */
    assert_int_equal(dtx_attribute(m, &set, ids, P, G, NULL, NULL, &a), DTX_STOPPED);
    assert_null(a.value);

    /* a model that overflows is a numerical failure, not a file full of NaN */
    set.stop = NULL;
    dtx_model_arena(m)[ids[0] * D] = INFINITY;
    assert_int_equal(dtx_attribute(m, &set, ids, P, G, NULL, NULL, &a), DTX_ERR_NUMERIC);
    dtx_model_del(m);
}

static void test_memory_runs_out(void **state)
{
    dtx_model *m = model(0);
    const dtx_attrib_settings set = {.method = DTX_IG, .merge = DTX_MERGE_INSEQ, .steps = 2, .baseline = 3};
    dtx_attribution a;
    dtx_status st = DTX_ERR_MISSING;
    (void)state;

    assert_int_equal(dtx_attribute(m, &set, ids, P, G, NULL, pieces, &a), DTX_OK); /* what the model keeps is there now */
    dtx_attribution_free(&a);
    size_t before = dtx_mem_used();
    for (int n = 1; st != DTX_OK; n++) {
        dtx_mem_fail_at(n);
        st = dtx_attribute(m, &set, ids, P, G, NULL, pieces, &a);
        dtx_mem_fail_at(0);
        assert_true(n < 1000 && (st == DTX_OK || st == DTX_ERR_MISSING));
        dtx_attribution_free(&a);
        assert_int_equal(dtx_mem_used(), before);
    }
    dtx_model_del(m);
}

static void test_gauss_legendre(void **state)
{
    static double a[400], w[400];
    (void)state;

    for (int n = 1; n <= 400; n = n < 12 ? n + 1 : n * 2 + 1) {
        dtx_gauss_legendre(n, a, w);
        for (int k = 0; k < 2 * n && k < 60; k++) { /* exact for polynomials of degree below 2n */
            double sum = 0;
            for (int i = 0; i < n; i++) {
                assert_true(a[i] > 0 && a[i] < 1 && (i == 0 || a[i] > a[i - 1]));
                sum += w[i] * pow(a[i], k);
            }
            assert_float_equal(sum, 1.0 / (k + 1), 1e-14);
        }
    }
}

static void test_faithfulness(void **state)
{
    int32_t prompt[25];
    (void)state;

    for (int variant = 0; variant < N_DECODERS; variant++) {
        dtx_model *m = model(variant);
        dtx_attrib_settings set = {.method = DTX_IG, .target = DTX_TARGET_PROBABILITY, .steps = 200,
                                   .baseline = dtx_model_arch(m)->rms_norm ? 0 : -1};
        dtx_faithfulness f, again, few;
        for (int t = 0; t < 25; t++) {
            prompt[t] = (int32_t)dtx_rng_below(4, DTX_RNG_CHECK, (uint64_t)variant, 0, (uint32_t)t, V);
        }
        assert_int_equal(dtx_attrib_check(m, &set, prompt, 14, 11, 9, 3, &f), DTX_OK);
        assert_int_equal(f.steps, DTX_CHECK_STEPS);
        assert_int_equal(f.deleted, 2);
        assert_true(f.completeness_scale > 0 && f.completeness_error < 0.05 * f.completeness_scale);
        assert_int_equal(dtx_attrib_check(m, &set, prompt, 14, 11, 9, 3, &again), DTX_OK);
        assert_memory_equal(&f, &again, sizeof f);
        set.steps = 2;
        assert_int_equal(dtx_attrib_check(m, &set, prompt, 14, 3, 9, 3, &few), DTX_OK);
        assert_int_equal(few.steps, 3);
        assert_true(few.completeness_error > f.completeness_error);
        dtx_model_del(m);
    }
}

static void test_divergence(void **state)
{
    const float p[] = {0.1F, 0.3F, 0, 0.6F}, q[] = {0.2F, 0.2F, 0.4F, NAN}, uniform[] = {2, 2, 2, 2};
    const uint8_t none[4] = {0};
    (void)state;

    assert_float_equal(dtx_prompt_kl(p, p, 4), 0, 1e-12);
    /* p over its first three: 1/4, 3/4, 0; q: 1/4, 1/4, 1/2 */
    assert_float_equal(dtx_prompt_kl(p, q, 3), 0.75 * log2(3), 1e-6);
    assert_float_equal(dtx_prompt_entropy(uniform, 4, NULL), 2, 1e-12);
    assert_true(isnan(dtx_prompt_entropy(uniform, 4, none)));
    assert_true(isnan(dtx_prompt_entropy(q, 4, NULL)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_targets_by_differences), cmocka_unit_test(test_norms_and_flags),
        cmocka_unit_test(test_integrated_gradients_are_complete), cmocka_unit_test(test_memory_budget_changes_nothing),
        cmocka_unit_test(test_words), cmocka_unit_test(test_edges), cmocka_unit_test(test_memory_runs_out),
        cmocka_unit_test(test_gauss_legendre), cmocka_unit_test(test_faithfulness), cmocka_unit_test(test_divergence),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
