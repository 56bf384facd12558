#include "src/judge/calibrate.h"

#include <math.h>
#include <stdlib.h>

#include "src/base/mem.h"
#include "src/base/rng.h"

static const double edge = 1e-6, half = 0.5;

typedef struct {
    double x, y;
} point;

static int by_x(const void *a, const void *b)
{
    const point *p = a, *q = b;

    return p->x != q->x ? (p->x < q->x ? -1 : 1) : (p->y > q->y) - (p->y < q->y);
}

/* A step of the function: all points from x `first` to `last` have the mean sum / weight. */
typedef struct {
    double first, last, sum, weight;
} block;

static bool out_of_order(const block *a, const block *b)
{
    return a->sum * b->weight >= b->sum * a->weight;
}

static dtx_status fit_isotonic(int64_t n, const double *x, const double *y, dtx_calibration *out)
{
    point *p = NULL;
    block *b = NULL;
    int64_t m = 0;
    dtx_status st;

    DTX_GO(DTX_NEW(p, n));
    DTX_GO(DTX_NEW(b, n));
    for (int64_t i = 0; i < n; i++) {
        p[i] = (point){x[i], y[i]};
    }
    qsort(p, (size_t)n, sizeof *p, by_x);
    for (int64_t i = 0; i < n;) {
        b[m] = (block){p[i].x, p[i].x, 0, 0};
        for (; i < n && p[i].x == b[m].first; i++) { /* equal x have one value, whatever their neighbours do */
            b[m].sum += p[i].y;
            b[m].weight++;
        }
        m++;
        while (m > 1 && out_of_order(&b[m - 2], &b[m - 1])) {
            b[m - 2].last = b[m - 1].last;
            b[m - 2].sum += b[m - 1].sum;
            b[m - 2].weight += b[m - 1].weight;
            m--;
        }
    }
    DTX_GO(DTX_NEW(out->x, 2 * m));
    DTX_GO(DTX_NEW(out->y, 2 * m));
    for (int64_t i = 0; i < m; i++) {
        out->x[out->n] = b[i].first;
        out->y[out->n++] = b[i].sum / b[i].weight;
        if (b[i].last > b[i].first) {
            out->x[out->n] = b[i].last;
            out->y[out->n++] = b[i].sum / b[i].weight;
        }
    }
done:
    dtx_free(p);
    dtx_free(b);
    return st;
}

static double logit(double x)
{
    x = x < edge ? edge : x > 1 - edge ? 1 - edge : x;
    return log(x / (1 - x));
}

static double sigmoid(double z)
{
    return 1 / (1 + exp(-z));
}

static double cross_entropy(int64_t n, const double *x, const double *y, double slope, double offset)
{
    double sum = 0;

    for (int64_t i = 0; i < n; i++) { /* log(1 + e^z) - y z */
        double z = slope * logit(x[i]) + offset;
        sum += (z > 0 ? z + log1p(exp(-z)) : log1p(exp(z))) - y[i] * z;
    }
    return sum / (double)n;
}

/* Newton's method with halved steps: the function is convex. */
static dtx_status fit_logistic(int64_t n, const double *x, const double *y, dtx_calibration *out)
{
    double slope = 0, offset = 0, loss = cross_entropy(n, x, y, slope, offset);

    for (int step = 0; step < 200; step++) {
        double g0 = 0, g1 = 0, h00 = 0, h01 = 0, h11 = 0;
        for (int64_t i = 0; i < n; i++) {
            double t = logit(x[i]), p = sigmoid(slope * t + offset), w = p * (1 - p);
            g0 += p - y[i];
            g1 += (p - y[i]) * t;
            h00 += w;
            h01 += w * t;
            h11 += w * t * t;
        }
        double det = h00 * h11 - h01 * h01;
        if (!(det > 1e-12 * h00 * h11)) {
            return DTX_FAIL(DTX_ERR_INPUT, "a logistic map cannot be learnt: the scores to map do not vary");
        }
        double d_offset = (h11 * g0 - h01 * g1) / det, d_slope = (h00 * g1 - h01 * g0) / det, size = 1, next = loss;
        for (; size > 1e-8; size /= 2) {
            next = cross_entropy(n, x, y, slope - size * d_slope, offset - size * d_offset);
            if (next <= loss) {
                break;
            }
        }
        if (size > 1e-8) {
            slope -= size * d_slope;
            offset -= size * d_offset;
        }
        if (size <= 1e-8 || fabs(d_slope) + fabs(d_offset) < 1e-10 || loss - next < 1e-15) {
            out->slope = slope;
            out->offset = offset;
            return isfinite(slope) && isfinite(offset) ? DTX_OK : DTX_FAIL(DTX_ERR_NUMERIC, "the logistic map is not finite");
        }
        loss = next;
    }
    return DTX_FAIL(DTX_ERR_NUMERIC, "the logistic map does not converge: perhaps all scores to learn are 0 or 1; take isotonic");
}

dtx_status dtx_calibration_fit(dtx_calibration_kind kind, int64_t n, const double *x, const double *y, dtx_calibration *out)
{
    dtx_calibration c = {.kind = kind};
    dtx_status st = DTX_OK;

    if (n < 2) {
        return DTX_FAIL(DTX_ERR_INPUT, "a map cannot be learnt from %lld rows with both scores", (long long)n);
    }
    if (kind == DTX_CALIBRATE_ISOTONIC) {
        st = fit_isotonic(n, x, y, &c);
    } else if (kind == DTX_CALIBRATE_LOGISTIC) {
        st = fit_logistic(n, x, y, &c);
    }
    if (st != DTX_OK) {
        dtx_calibration_free(&c);
        return st;
    }
    *out = c;
    return DTX_OK;
}

double dtx_calibration_apply(const dtx_calibration *c, double x)
{
    if (c->kind == DTX_CALIBRATE_IDENTITY) {
        return x;
    }
    if (c->kind == DTX_CALIBRATE_LOGISTIC) {
        return sigmoid(c->slope * logit(x) + c->offset);
    }
    int64_t low = 0, high = c->n - 1;
    if (x <= c->x[0]) {
        return c->y[0];
    }
    if (x >= c->x[high]) {
        return c->y[high];
    }
    while (high - low > 1) { /* x[low] <= x < x[high] */
        int64_t middle = (low + high) / 2;
        *(c->x[middle] <= x ? &low : &high) = middle;
    }
    return c->y[low] + (c->y[high] - c->y[low]) * (x - c->x[low]) / (c->x[high] - c->x[low]);
}

void dtx_calibration_free(dtx_calibration *c)
{
    dtx_free(c->x);
    dtx_free(c->y);
    *c = (dtx_calibration){.n = 0};
}

static void measure(int64_t n, const double *m, const double *y, dtx_calibration_error *out)
{
    double absolute = 0, square = 0, agree = 0, above_y = 0, above_m = 0, sm = 0, sy = 0, smm = 0, syy = 0, smy = 0, count = (double)n;

    for (int64_t i = 0; i < n; i++) {
        sm += m[i] / count;
        sy += y[i] / count;
    }
    for (int64_t i = 0; i < n; i++) {
        absolute += fabs(m[i] - y[i]);
        square += (m[i] - y[i]) * (m[i] - y[i]);
        agree += (m[i] > half) == (y[i] > half);
        above_y += y[i] > half;
        above_m += m[i] > half;
        smm += (m[i] - sm) * (m[i] - sm);
        syy += (y[i] - sy) * (y[i] - sy);
        smy += (m[i] - sm) * (y[i] - sy);
    }
    *out = (dtx_calibration_error){absolute / count, sqrt(square / count), smm > 0 && syy > 0 ? smy / sqrt(smm * syy) : NAN, agree / count,
                                   above_y / count, above_m / count};
}

dtx_status dtx_calibration_cross(dtx_calibration_kind kind, int64_t n, const double *x, const double *y, const int64_t *group,
                                 int64_t n_groups, int folds, uint64_t seed, dtx_calibration_error *out)
{
    double *tx = NULL, *ty = NULL, *mapped = NULL;
    int64_t *place = NULL, *order = NULL;
    dtx_calibration c = {.n = 0};
    dtx_status st;

    DTX_GO(DTX_NEW(tx, n));
    DTX_GO(DTX_NEW(ty, n));
    DTX_GO(DTX_NEW(mapped, n));
    DTX_GO(DTX_NEW(order, n_groups));
    DTX_GO(DTX_NEW(place, n_groups));
    dtx_rng_permutation(seed, 0, n_groups, order);
    for (int64_t i = 0; i < n_groups; i++) {
        place[order[i]] = i;
    }
    for (int f = 0; f < folds; f++) {
        int64_t k = 0;
        for (int64_t i = 0; i < n; i++) {
            if (place[group[i]] % folds != f) {
                tx[k] = x[i];
                ty[k++] = y[i];
            }
        }
        if (k == n) { /* an empty part */
            continue;
        }
        DTX_GO(dtx_calibration_fit(kind, k, tx, ty, &c));
        for (int64_t i = 0; i < n; i++) {
            if (place[group[i]] % folds == f) {
                mapped[i] = dtx_calibration_apply(&c, x[i]);
            }
        }
        dtx_calibration_free(&c);
    }
    measure(n, mapped, y, out);
    st = DTX_OK;
done:
    dtx_free(tx);
    dtx_free(ty);
    dtx_free(mapped);
    dtx_free(order);
    dtx_free(place);
    return st;
}
