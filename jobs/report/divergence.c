#include "jobs/report/divergence.h"

#include <math.h>
#include <string.h>

#include "src/base/mem.h"

bool dtx_report_is_distribution(const dtx_report_attribution *a)
{
    return strcmp(dtx_report_attr(a->settings, a->n_settings, "norm"), "sum") != 0;
}

static double sum_of(const float *x, int64_t n)
{
    double sum = 0;

    for (int64_t i = 0; i < n; i++) {
        sum += isnan(x[i]) ? 0 : x[i];
    }
    return sum;
}

void dtx_report_divergence_step(const float *p, const float *q, int64_t P, double *forward, double *backward)
{
    double sp = sum_of(p, P), sq = sum_of(q, P), f = 0, b = 0;

    for (int64_t t = 0; t < P; t++) {
        double x = p[t] / sp, y = q[t] / sq, ratio = log2(x / y);
        double xf = x * ratio, yb = y * ratio;
        f += isnan(xf) ? 0 : xf;
        b -= isnan(yb) ? 0 : yb;
    }
    *forward = f;
    *backward = b;
}

dtx_status dtx_report_divergence(const dtx_report *r, const dtx_report_attribution *a, const dtx_report_attribution *b, float **forward,
                                 float **backward, int64_t *differing)
{
    float *f = NULL, *g = NULL, *x = NULL, *y = NULL;
    size_t cap_x = 0, cap_y = 0;
    dtx_status st;

    *differing = 0;
    DTX_GO(DTX_NEW(f, a->n_rows * a->width));
    DTX_GO(DTX_NEW(g, a->n_rows * a->width));
    for (int64_t i = 0; i < a->n_rows; i++) {
        int64_t P = a->T[i] - a->G[i], steps = a->G[i] < b->G[i] ? a->G[i] : b->G[i];
        for (int64_t s = 0; s < a->width; s++) {
            f[i * a->width + s] = g[i * a->width + s] = NAN;
        }
        if (!a->done[i] || !b->done[i]) {
            continue;
        }
        if (P != b->T[i] - b->G[i]) {
            (*differing)++;
            continue;
        }
        DTX_GO(dtx_report_read_matrix(r, a, i, &x, &cap_x));
        DTX_GO(dtx_report_read_matrix(r, b, i, &y, &cap_y));
        for (int64_t s = 0; s < steps; s++) {
            double forth, back;
            dtx_report_divergence_step(x + s * a->T[i], y + s * b->T[i], P, &forth, &back);
            f[i * a->width + s] = (float)forth;
            g[i * a->width + s] = (float)back;
        }
    }
    *forward = f;
    *backward = g;
    f = g = NULL;
done:
    dtx_free(y);
    dtx_free(x);
    dtx_free(g);
    dtx_free(f);
    return st;
}
