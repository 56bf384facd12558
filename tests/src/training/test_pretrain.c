/* Windows of the token stream, fresh descriptions, and the loss gradient of a whole small model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "src/base/mem.h"
#include "src/training/pretrain.h"

static void every_pass_visits_every_window_once(void **state)
{
    dtx_windows w;

    (void)state;
    assert_int_equal(dtx_windows_init(&w, 1000, 64, 5), DTX_OK);
    assert_int_equal(w.length, 64);
    assert_int_equal(w.per_pass, 14);
    for (int pass = 0; pass < 3; pass++) {
        int seen[14] = {0};
        int64_t least = INT64_MAX;
        for (int64_t i = 0; i < w.per_pass; i++) {
            int64_t s = dtx_windows_start(&w, pass * w.per_pass + i);
            least = s < least ? s : least;
            assert_true(s >= 0 && s + w.length + 1 <= 1000);
        }
        for (int64_t i = 0; i < w.per_pass; i++) {
            seen[(dtx_windows_start(&w, pass * w.per_pass + i) - least) / 64]++;
        }
        for (int i = 0; i < 14; i++) {
            assert_int_equal(seen[i], 1);
        }
    }
    /* the k-th window does not depend on what was asked before */
    int64_t a = dtx_windows_start(&w, 20);
    dtx_windows_start(&w, 3);
    assert_int_equal(dtx_windows_start(&w, 20), a);
    dtx_windows_free(&w);

    assert_int_equal(dtx_windows_init(&w, 5, 64, 5), DTX_OK);
    assert_int_equal(w.length, 4);
    assert_int_equal(dtx_windows_start(&w, 9), 0);
    dtx_windows_free(&w);
    assert_int_equal(dtx_windows_init(&w, 1, 64, 5), DTX_ERR_INPUT);
}

static void impossible_shapes_are_usage_errors(void **state)
{
    dtx_arch a;

    (void)state;
    assert_int_equal(dtx_pretrain_arch("gpt_neox", 2, 30, 4, 100, 64, 0, 1, &a), DTX_ERR_USAGE);
    assert_int_equal(dtx_pretrain_arch("roberta", 2, 32, 4, 100, 64, 0, 1, &a), DTX_ERR_USAGE);
    assert_int_equal(dtx_pretrain_arch("falcon", 2, 32, 4, 100, 64, 0, 1, &a), DTX_OK);
    assert_true(a.tied_head && a.shared_norm && a.n_kv == 1);
}

static double total_loss(const dtx_model *m, const int32_t *tokens, const int64_t *start)
{
    double loss[16], sum = 0;

    assert_int_equal(dtx_pretrain_windows(m, NULL, tokens, 2, start, 8, 1.0f, loss, NULL), DTX_OK);
    for (int i = 0; i < 16; i++) {
        sum += loss[i];
    }
    return sum;
}

static void loss_gradient_is_the_finite_difference(void **state)
{
    static const char *const archs[] = {"gpt_neox", "falcon"};
    int32_t tokens[40];
    const int64_t start[2] = {0, 20};

    (void)state;
    for (int i = 0; i < 40; i++) {
        tokens[i] = (i * 7 + i / 3) % 50;
    }
    for (int k = 0; k < 2; k++) {
        dtx_arch a;
        dtx_model *m = NULL;
        dtx_tape *tape = NULL;
        float *g = NULL;
        double loss[16];
        assert_int_equal(dtx_pretrain_arch(archs[k], 2, 16, 2, 50, 64, 0, 1, &a), DTX_OK);
        assert_int_equal(dtx_model_new(&a, 3, &m), DTX_OK);
        assert_int_equal(dtx_tape_new(m, false, &tape), DTX_OK);
        int64_t n = dtx_model_arena_size(m);
        float *p = dtx_model_arena(m);
        assert_int_equal(DTX_NEW(g, n), DTX_OK);
        assert_int_equal(dtx_pretrain_windows(m, tape, tokens, 2, start, 8, 1.0f, loss, g), DTX_OK);
        int checked = 0;
        for (int64_t i = 0; i < dtx_model_n_params(m); i++) {
            const dtx_param *par = dtx_model_param(m, i);
            for (int64_t j = 0; j < par->n_elements; j += par->n_elements / 5 + 1) {
                float *x = p + par->offset + j, old = *x;
                *x = old + 2e-3f;
                double up = total_loss(m, tokens, start);
                *x = old - 2e-3f;
                double down = total_loss(m, tokens, start);
                *x = old;
                double fd = (up - down) / 4e-3;
                double diff = fabs(fd - (double)g[par->offset + j]);
                if (diff > 2e-3 + 1e-2 * fabs(fd)) {
                    fail_msg("%s: %s[%lld]: gradient %g, finite difference %g", archs[k], par->name, (long long)j,
                             (double)g[par->offset + j], fd);
                }
                checked++;
            }
        }
        assert_true(checked > 50);
        dtx_free(g);
        dtx_tape_del(tape);
        dtx_model_del(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pass_visits_every_window_once),
        cmocka_unit_test(impossible_shapes_are_usage_errors),
        cmocka_unit_test(loss_gradient_is_the_finite_difference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
