/* AdamW, schedules, clipping and cross entropy against plain double-precision loops. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "src/training/loss.h"
#include "src/training/optim.h"
#include "src/base/rng.h"

static float draw(uint64_t i)
{
    return (float)dtx_rng_normal(7, DTX_RNG_CHECK, i, 0, 0);
}

static void adamw_equals_plain_loop(void **state)
{
    enum { N = 300 };
    float p[N], g[N], m[N] = {0}, v[N] = {0};
    double P[N], M[N] = {0}, V[N] = {0};
    const dtx_adamw o = {0.9, 0.999, 1e-8, 0.1};
    const dtx_span decay[] = {{0, 100}, {200, 50}};

    (void)state;
    for (int i = 0; i < N; i++) {
        P[i] = p[i] = draw((uint64_t)i);
    }
    for (int t = 1; t <= 5; t++) {
        double lr = 1e-2 / t;
        for (int i = 0; i < N; i++) {
            g[i] = draw((uint64_t)(t * N + i));
            if (i < 100 || (i >= 200 && i < 250)) {
                P[i] -= lr * 0.1 * P[i];
            }
            M[i] = 0.9 * M[i] + 0.1 * g[i];
            V[i] = 0.999 * V[i] + 0.001 * (double)g[i] * g[i];
            P[i] -= lr * (M[i] / (1 - pow(0.9, t))) / (sqrt(V[i] / (1 - pow(0.999, t))) + 1e-8);
        }
        dtx_adamw_step(&o, t, lr, N, p, g, m, v, decay, 2);
    }
    for (int i = 0; i < N; i++) {
        assert_true(fabs(p[i] - P[i]) < 2e-6);
    }
}

static void schedules_have_transformers_values(void **state)
{
    (void)state;
    /* warm-up from 0, the first step has rate 0; then (N - k) / (N - w) */
    assert_true(dtx_schedule_factor(DTX_SCHEDULE_LINEAR, 0, 2, 10) == 0.0);
    assert_true(dtx_schedule_factor(DTX_SCHEDULE_LINEAR, 1, 2, 10) == 0.5);
    assert_true(dtx_schedule_factor(DTX_SCHEDULE_LINEAR, 2, 2, 10) == 1.0);
    assert_true(dtx_schedule_factor(DTX_SCHEDULE_LINEAR, 6, 2, 10) == 0.5);
    assert_true(dtx_schedule_factor(DTX_SCHEDULE_LINEAR, 0, 0, 10) == 1.0);
    assert_true(dtx_schedule_factor(DTX_SCHEDULE_LINEAR, 10, 0, 10) == 0.0);
    assert_true(fabs(dtx_schedule_factor(DTX_SCHEDULE_COSINE, 6, 2, 10) - 0.5) < 1e-15);
    assert_true(dtx_schedule_factor(DTX_SCHEDULE_CONSTANT, 9, 2, 10) == 1.0);
}

static void norm_and_clip_are_torchs(void **state)
{
    enum { N = 200000 }; /* several blocks */
    static float g[N];
    double sum = 0;

    (void)state;
    for (int i = 0; i < N; i++) {
        g[i] = draw((uint64_t)i);
        sum += (double)g[i] * g[i];
    }
    double norm = dtx_global_norm(g, N);
    assert_true(fabs(norm - sqrt(sum)) < 1e-9 * norm);
    float first = g[0];
    dtx_clip(g, N, norm, norm * 2);
    assert_true(g[0] == first);
    dtx_clip(g, N, norm, 0);
    assert_true(g[0] == first);
    dtx_clip(g, N, norm, 1.0);
    assert_true(fabs(dtx_global_norm(g, N) - norm / (norm + 1e-6)) < 1e-5);
}

static void cross_entropy_gradient_is_the_finite_difference(void **state)
{
    enum { R = 3, V = 11 };
    float z[R * V], d[R * V];
    const int32_t label[R] = {4, -100, 0};
    double loss[R];

    (void)state;
    for (int i = 0; i < R * V; i++) {
        z[i] = d[i] = 3 * draw((uint64_t)i);
    }
    dtx_cross_entropy(R, V, d, label, 0.25f, loss);
    assert_true(loss[1] == 0);
    for (int r = 0; r < R; r++) {
        for (int i = 0; i < V; i++) {
            double side[2];
            for (int s = 0; s < 2; s++) {
                float w[R * V];
                double l[R];
                memcpy(w, z, sizeof w);
                w[r * V + i] += s ? 0.01f : -0.01f;
                dtx_cross_entropy(R, V, w, label, 1.0f, l);
                side[s] = l[r];
            }
            assert_true(fabs(0.25 * (side[1] - side[0]) / 0.02 - d[r * V + i]) < 2e-5);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adamw_equals_plain_loop),
        cmocka_unit_test(schedules_have_transformers_values),
        cmocka_unit_test(norm_and_clip_are_torchs),
        cmocka_unit_test(cross_entropy_gradient_is_the_finite_difference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
