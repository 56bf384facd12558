/* The arithmetic of PPO against plain formulas and finite differences, and its gradient through small models. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "src/base/mem.h"
#include "src/training/policy.h"
#include "src/training/ppo.h"
#include "tests/src/model/model_variants.h"

static double draw(uint32_t a, uint32_t b)
{
    return dtx_rng_normal(11, DTX_RNG_CHECK, a, b, 0);
}

static void estimators_follow_their_definitions(void **state)
{
    const double lp[] = {-1.0, -2.5, -0.1}, ref[] = {-1.5, -2.0, -0.1}, full[] = {0.7, 0.8, 0.9};
    const struct {
        dtx_kl_estimator e;
        double want[3];
    } cases[] = {{DTX_KL_K1, {0.5, -0.5, 0}},
                 {DTX_KL_ABS, {0.5, 0.5, 0}},
                 {DTX_KL_MSE, {0.125, 0.125, 0}},
                 {DTX_KL_K3, {0.10653065971263342, 0.14872127070012815, 0}},
                 {DTX_KL_FULL, {0.7, 0.8, 0.9}}};
    double kl[3];

    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        dtx_kl_estimate(cases[c].e, 3, lp, ref, full, kl);
        for (int i = 0; i < 3; i++) {
            assert_true(fabs(kl[i] - cases[c].want[i]) < 1e-15);
        }
    }
}

/* A_j = sum over k of (gamma lambda)^k delta_{j+k}, for rows of 0, 1 and 5 entries. */
static void advantages_are_the_discounted_sum(void **state)
{
    const int64_t offset[] = {0, 0, 1, 6};
    const double score[] = {9, 1.5, -0.5}, gamma = 0.9, lambda = 0.8;
    double kl[6], rewards[6], values[6], raw[6], returns[6];

    (void)state;
    for (int i = 0; i < 6; i++) {
        kl[i] = draw(0, (uint32_t)i);
        values[i] = draw(1, (uint32_t)i);
    }
    dtx_ppo_rewards(3, offset, kl, 0.2, score, rewards);
    assert_true(fabs(rewards[0] - (1.5 - 0.2 * kl[0])) < 1e-15 && fabs(rewards[5] - (-0.5 - 0.2 * kl[5])) < 1e-15);
    assert_true(fabs(rewards[3] + 0.2 * kl[3]) < 1e-15);
    dtx_ppo_advantages(3, offset, rewards, values, gamma, lambda, raw, returns);
    for (int row = 1; row < 3; row++) {
        for (int64_t j = offset[row]; j < offset[row + 1]; j++) {
            double want = 0;
            for (int64_t k = j; k < offset[row + 1]; k++) {
                double next = k + 1 < offset[row + 1] ? values[k + 1] : 0;
                want += pow(gamma * lambda, (double)(k - j)) * (rewards[k] + gamma * next - values[k]);
            }
            assert_true(fabs(raw[j] - want) < 1e-12 && fabs(returns[j] - want - values[j]) < 1e-12);
        }
    }
    dtx_ppo_whiten(6, raw, raw);
    double mean, var;
    dtx_mean_var(6, raw, &mean, &var);
    assert_true(fabs(mean) < 1e-12 && fabs(var - 1) < 1e-6);
    dtx_ppo_whiten(1, raw, raw); /* a mini-batch of one token */
    assert_true(raw[0] == 0);
}

enum { N = 40 };
static double total(const dtx_ppo_clip *c, const double *x, double lp_step, int at)
{
    double lp[N], value[N], zero[N] = {0}, d[2 * N];
    dtx_ppo_sums s = {0};

    memcpy(lp, x + 4 * N, sizeof lp);
    memcpy(value, x + 5 * N, sizeof value);
    (at < N ? lp : value)[at % N] += lp_step;
    dtx_ppo_loss(c, N, x, x + N, x + 2 * N, x + 3 * N, lp, value, zero, 1, &s, d, d + N);
    return s.policy + c->vf_coef * s.value;
}

/* Both clips act on some entries and not on others. */
static void loss_gradient_is_the_finite_difference(void **state)
{
    const dtx_ppo_clip c = {0.2, 0.2, 0.1};
    double x[6 * N], zero[N] = {0}, d[2 * N];
    dtx_ppo_sums s = {0};
    int clipped = 0;

    (void)state;
    for (uint32_t i = 0; i < N; i++) {
        x[i] = -fabs(draw(2, i));
        x[N + i] = draw(3, i);
        x[2 * N + i] = draw(4, i);
        x[3 * N + i] = draw(5, i);
        x[4 * N + i] = x[i] + 0.3 * draw(6, i);
        x[5 * N + i] = x[N + i] + 0.4 * draw(7, i);
    }
    dtx_ppo_loss(&c, N, x, x + N, x + 2 * N, x + 3 * N, x + 4 * N, x + 5 * N, zero, 1, &s, d, d + N);
    for (int i = 0; i < 2 * N; i++) {
        double difference = (total(&c, x, 1e-6, i) - total(&c, x, -1e-6, i)) / 2e-6;
        assert_true(fabs(difference - d[i]) < 1e-7);
        clipped += d[i] == 0;
    }
    assert_in_range(clipped, 8, 2 * N - 8);
    assert_true(s.clipfrac > 3 && s.val_clipfrac > 3 && s.clipfrac + s.val_clipfrac == (double)clipped);
}

static void controller_is_bounded(void **state)
{
    (void)state;
    assert_true(fabs(dtx_kl_control(0.2, 600, 6, 10000, 64) - 0.2 * (1 + 0.2 * 64 / 10000)) < 1e-15);
    assert_true(fabs(dtx_kl_control(0.2, -1044, 6, 10000, 64) - 0.2 * (1 - 0.2 * 64 / 10000)) < 1e-15);
    assert_true(dtx_kl_control(0.2, 6, 6, 10000, 64) == 0.2);
}

/* --- through a model --- */

typedef struct { /* weights of a linear loss: sum of a lp + b value */
    double a[16], b[16], sum;
} linear;

static void linear_loss(void *user, int64_t first, int64_t n, const double *lp, const double *value, const double *entropy,
                        double *d_lp, double *d_value)
{
    linear *l = user;

    for (int64_t i = 0; i < n; i++) {
        assert_true(entropy[i] > 0 && entropy[i] <= log(VARIANT_VOCAB) + 1e-6);
        l->sum += l->a[first + i] * lp[i] + l->b[first + i] * value[i];
        d_lp[i] = l->a[first + i];
        d_value[i] = l->b[first + i];
    }
}

static const int64_t OFFSET[] = {0, 6, 7, 16}, QUERY[] = {2, 1, 4};

static double objective(const dtx_model *m, const dtx_adapter *ad, const float *head, const dtx_policy_rows *r, const linear *l)
{
    double lp[16], value[16], sum = 0;

    assert_int_equal(dtx_policy_compare(m, ad, NULL, head, r, &(dtx_policy_view){.lp = lp, .value = value}), DTX_OK);
    for (int64_t i = 0; i < dtx_policy_entries(r); i++) {
        sum += l->a[i] * lp[i] + l->b[i] * value[i];
    }
    return sum;
}

static void gradient_goes_through_model_and_head(void **state)
{
    const char *targets[DTX_MODULES];

    (void)state;
    for (int v = 0; v < N_DECODERS; v++) { /* with and without dropout, whose masks the rows' keys fix */
        const dtx_arch a = variant_arch(v);
        dtx_model *m = NULL;
        dtx_adapter *ad = NULL, *g = NULL;
        dtx_tape *tape = NULL;
        float head[25], d_head[25] = {0};
        int32_t ids[16];
        linear l = {0};
        const int64_t sample[] = {4, 0, 2};
        const dtx_policy_dropout dropout = {0.3, 0.2, 7, 1, sample};
        const dtx_policy_rows rows = {.n = 3, .offset = OFFSET, .query = QUERY, .ids = ids, .dropout = v % 2 == 1 ? &dropout : NULL};

        assert_int_equal(dtx_model_new(&a, 3, &m), DTX_OK);
        variant_shake(m, 4);
        assert_int_equal(dtx_adapter_new(&a, 2, 4, 0, targets, variant_targets(&a, 1U << DTX_MOD_Q | 1U << DTX_MOD_OUT, targets), 5, &ad), DTX_OK);
        for (int64_t i = 0; i < ad->n_params; i++) {
            ad->arena[i] = 0.2f * (float)draw(8, (uint32_t)i);
        }
        assert_int_equal(dtx_adapter_like(ad, &g), DTX_OK);
        assert_int_equal(dtx_tape_new(m, true, &tape), DTX_OK);
        for (uint32_t i = 0; i < 25; i++) {
            head[i] = 0.3f * (float)draw(9, i);
        }
        for (uint32_t i = 0; i < 16; i++) {
            ids[i] = (int32_t)(i * 5 % VARIANT_VOCAB);
            l.a[i] = draw(10, i);
            l.b[i] = draw(12, i);
        }
        assert_int_equal(dtx_policy_entries(&rows), 9);
        assert_int_equal(dtx_policy_gradient(m, ad, tape, head, &rows, linear_loss, &l, g, d_head), DTX_OK);
        assert_true(fabs(l.sum - objective(m, ad, head, &rows, &l)) < 1e-4);
        for (int64_t i = 0; i < ad->n_params; i += 7) {
            const float keep = ad->arena[i], h = 2e-3f;
            ad->arena[i] = keep + h;
            double up = objective(m, ad, head, &rows, &l);
            ad->arena[i] = keep - h;
            double down = objective(m, ad, head, &rows, &l);
            ad->arena[i] = keep;
            double want = (up - down) / (2 * (double)h);
            assert_true(fabs(want - (double)g->arena[i]) < 5e-3 * (1 + fabs(want)));
        }
        for (int i = 0; i < 25; i++) {
            const float keep = head[i];
            head[i] = keep + 0.01f;
            double up = objective(m, ad, head, &rows, &l);
            head[i] = keep - 0.01f;
            double down = objective(m, ad, head, &rows, &l);
            head[i] = keep;
            double want = (up - down) / 0.02;
            assert_true(fabs(want - (double)d_head[i]) < 1e-3 * (1 + fabs(want)));
        }
        dtx_tape_del(tape);
        dtx_adapter_del(g);
        dtx_adapter_del(ad);
        dtx_model_del(m);
    }
}

/* Dropout acts on the policy's branches and on what the value head sees, not on the reference, and anew in each pass. */
static void dropout_spares_the_reference(void **state)
{
    static const char *const targets[] = {"query_key_value"};
    const dtx_arch a = variant_arch(0);
    dtx_model *m = NULL;
    dtx_adapter *ad = NULL;
    int32_t ids[16];
    float head[25];
    const int64_t sample[] = {0, 1, 2};
    double lp[3][16], ref[3][16], value[3][16];

    (void)state;
    for (int i = 0; i < 25; i++) {
        head[i] = 0.1f * (float)draw(9, (uint32_t)i);
    }
    for (int i = 0; i < 16; i++) {
        ids[i] = i;
    }
    assert_int_equal(dtx_model_new(&a, 3, &m), DTX_OK);
    variant_shake(m, 4);
    assert_int_equal(dtx_adapter_new(&a, 2, 4, 0, targets, 1, 5, &ad), DTX_OK);
    for (int64_t i = 0; i < ad->n_params; i++) {
        ad->arena[i] = (float)draw(13, (uint32_t)i);
    }
    for (int k = 0; k < 3; k++) { /* none, pass 0, pass 1 */
        const dtx_policy_dropout dropout = {0.3, 0.1, 7, k - 1, sample};
        const dtx_policy_rows rows = {.n = 3, .offset = OFFSET, .query = QUERY, .ids = ids, .dropout = k > 0 ? &dropout : NULL};
        assert_int_equal(dtx_policy_compare(m, ad, NULL, head, &rows, &(dtx_policy_view){.lp = lp[k], .ref_lp = ref[k], .value = value[k]}),
                         DTX_OK);
    }
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < 9; i++) {
            assert_true(ref[k][i] == ref[k + 1][i] && value[k][i] != value[k + 1][i] && lp[k][i] != lp[k + 1][i]);
        }
    }
    dtx_adapter_del(ad);
    dtx_model_del(m);
}

/* The full KL is the sum over the vocabulary of p (log p - log q), each from a row of its own. */
static void full_kl_sums_over_the_vocabulary(void **state)
{
    static const char *const targets[] = {"query_key_value"};
    const dtx_arch a = variant_arch(0);
    dtx_model *m = NULL;
    dtx_adapter *ad = NULL;
    int32_t ids[16];
    double kl[16], lp[16], ref[16], want = 0;
    const dtx_policy_rows rows = {.n = 3, .offset = OFFSET, .query = QUERY, .ids = ids};

    (void)state;
    for (int i = 0; i < 16; i++) {
        ids[i] = i;
    }
    assert_int_equal(dtx_model_new(&a, 3, &m), DTX_OK);
    assert_int_equal(dtx_adapter_new(&a, 2, 4, 0, targets, 1, 5, &ad), DTX_OK);
    for (int64_t i = 0; i < ad->n_params; i++) {
        ad->arena[i] = 3 * (float)draw(13, (uint32_t)i);
    }
    assert_int_equal(dtx_policy_compare(m, ad, NULL, NULL, &rows, &(dtx_policy_view){.kl = kl}), DTX_OK);
    /* the first token of the first response, replaced by each word in turn */
    for (int32_t w = 0; w < VARIANT_VOCAB; w++) {
        ids[QUERY[0]] = w;
        assert_int_equal(dtx_policy_compare(m, ad, NULL, NULL, &rows, &(dtx_policy_view){.lp = lp, .ref_lp = ref}), DTX_OK);
        want += exp(lp[0]) * (lp[0] - ref[0]);
    }
    assert_true(want > 1e-4 && fabs(kl[0] - want) < 1e-6);
    for (int i = 0; i < 9; i++) {
        assert_true(kl[i] >= 0);
    }
    ids[15] = VARIANT_VOCAB;
    assert_int_equal(dtx_policy_compare(m, ad, NULL, NULL, &rows, &(dtx_policy_view){.lp = lp}), DTX_ERR_INPUT);
    dtx_adapter_del(ad);
    dtx_model_del(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(estimators_follow_their_definitions),
        cmocka_unit_test(advantages_are_the_discounted_sum),
        cmocka_unit_test(loss_gradient_is_the_finite_difference),
        cmocka_unit_test(controller_is_bounded),
        cmocka_unit_test(gradient_goes_through_model_and_head),
        cmocka_unit_test(dropout_spares_the_reference),
        cmocka_unit_test(full_kl_sums_over_the_vocabulary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
