#include "jobs/shared/timing.h"

#include <stdlib.h>

#include "src/algebra/linear.h"
#include "src/algebra/peak.h"
#include "src/base/clock.h"

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

double dtx_timing_median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, compare);
    return n % 2 == 1 ? x[n / 2] : 0.5 * (x[n / 2 - 1] + x[n / 2]);
}

dtx_timing_limit dtx_timing_peak(void)
{
    return dtx_linear_is_bf16() ? dtx_peak_bf16 : dtx_peak_fma;
}

double dtx_timing_beside(int threads, dtx_timing_limit limit, void (*run)(void *user), void *user, double *peak)
{
    double before = limit(threads, 0.1), begun = dtx_now(), seconds;

    run(user);
    seconds = dtx_now() - begun;
    *peak = 0.5 * (before + limit(threads, 0.1));
    return seconds;
}
