/* The played hand-out of units: every unit is handed out once whatever it costs, and what is not known stays unknown. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "jobs/plan/plan.h"

enum { N = 64 };

static dtx_config config = {.round_seconds = 0.5};
static const dtx_plan quick = {.c = &config, .latency = 0.001, .round_cost = 0.01}, free_of_cost = {.c = &config};

/* Between the least that is possible and one rank doing all of it, a round for each unit. */
static void check(const dtx_plan *p, const double *unit, int64_t n)
{
    static const int64_t ranks[] = {1, 2, 3, 5, 63, 64, 65, 200};
    double all = 0, span, efficiency;

    for (int64_t i = 0; i < n; i++) {
        all += unit[i];
    }
    for (size_t k = 0; k < sizeof ranks / sizeof *ranks; k++) {
        assert_int_equal(dtx_plan_hand_out(p, unit, n, ranks[k], &span, &efficiency), DTX_OK);
        assert_true(isfinite(span) && isfinite(efficiency));
        assert_true(span >= all / (double)ranks[k] - 1e-9);
        assert_true(span <= all + (double)n * (p->latency + p->round_cost) + 1e-9);
        assert_true(efficiency >= 0 && efficiency <= 1 + 1e-9);
    }
}

static void test_costs(void **state)
{
    double unit[N];
    (void)state;

    check(&quick, unit, 0);
    for (int pattern = 0; pattern < 6; pattern++) {
        for (int i = 0; i < N; i++) {
            const double some = 0.01 + 0.1 * (N - i);
            unit[i] = pattern == 0   ? 0
                      : pattern == 1 ? (i == 0 ? 1 : 0)
                      : pattern == 2 ? (i == N - 1 ? 1 : 0)
                      : pattern == 3 ? (i % 2 == 0 ? some : 0)
                      : pattern == 4 ? (i < N / 2 ? some : 0)
                                     : some;
        }
        check(&quick, unit, N);
        check(&free_of_cost, unit, N);
        check(&quick, unit, 1);
        check(&free_of_cost, unit, 1);
    }
}

static void test_unknown(void **state)
{
    static const double strange[] = {NAN, INFINITY, -INFINITY, -1};
    double unit[N] = {0}, span, efficiency;
    (void)state;

    for (size_t s = 0; s < sizeof strange / sizeof *strange; s++) {
        for (int at = 0; at < N; at += N - 1) {
            for (int i = 0; i < N; i++) {
                unit[i] = i == at ? strange[s] : 0.1;
            }
            for (int64_t ranks = 1; ranks < 80; ranks += 13) {
                assert_int_equal(dtx_plan_hand_out(&quick, unit, N, ranks, &span, &efficiency), DTX_OK);
                assert_true(isnan(span) && isfinite(efficiency));
            }
        }
    }
    const dtx_plan late = {.c = &config, .latency = NAN};
    assert_int_equal(dtx_plan_hand_out(&late, unit, 2, 2, &span, &efficiency), DTX_OK);
    assert_true(isnan(span));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_costs), cmocka_unit_test(test_unknown)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
