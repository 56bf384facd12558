#include "jobs/report/stats.h"

#include <math.h>
#include <stdlib.h>

#include "src/base/mem.h"
#include "src/base/rng.h"

/* --- means --- */

static dtx_report_mean finish_mean(int64_t n, double mean, double squares)
{
    dtx_report_mean m = {.n = n, .mean = n > 0 ? mean : NAN, .low = NAN, .high = NAN, .sd = NAN};

    if (n > 1) {
        m.sd = sqrt(squares / (double)(n - 1));
        double half = 1.96 * m.sd / sqrt((double)n);
        m.low = mean - half;
        m.high = mean + half;
    }
    return m;
}

dtx_report_mean dtx_report_mean_of(const float *x, int64_t stride, int64_t n, const uint8_t *keep)
{
    double sum = 0, squares = 0;
    int64_t there = 0;

    for (int64_t i = 0; i < n; i++) {
        if ((keep == NULL || keep[i]) && isfinite(x[i * stride])) {
            sum += x[i * stride];
            there++;
        }
    }
    double mean = there > 0 ? sum / (double)there : NAN;
    for (int64_t i = 0; i < n && there > 1; i++) {
        if ((keep == NULL || keep[i]) && isfinite(x[i * stride])) {
            double d = x[i * stride] - mean;
            squares += d * d;
        }
    }
    return finish_mean(there, mean, squares);
}

dtx_report_mean dtx_report_mean_of_doubles(const double *x, int64_t n)
{
    double sum = 0, squares = 0;
    int64_t there = 0;

    for (int64_t i = 0; i < n; i++) {
        if (isfinite(x[i])) {
            sum += x[i];
            there++;
        }
    }
    double mean = there > 0 ? sum / (double)there : NAN;
    for (int64_t i = 0; i < n; i++) {
        squares += isfinite(x[i]) ? (x[i] - mean) * (x[i] - mean) : 0;
    }
    return finish_mean(there, mean, squares);
}

/* --- curves --- */

dtx_status dtx_report_curve_new(int64_t steps, dtx_report_curve *c)
{
    *c = (dtx_report_curve){0};
    DTX_TRY(DTX_NEW(c->n, steps));
    dtx_status st = DTX_NEW(c->mean, 3 * steps); /* one block for the three */
    if (st != DTX_OK) {
        dtx_free(c->n);
        *c = (dtx_report_curve){0};
        return st;
    }
    c->low = c->mean + steps;
    c->high = c->low + steps;
    return DTX_OK;
}

void dtx_report_curve_free(dtx_report_curve *c)
{
    dtx_free(c->n);
    dtx_free(c->mean);
    *c = (dtx_report_curve){0};
}

void dtx_report_curve_set(dtx_report_curve *c, int64_t step, dtx_report_mean m)
{
    c->n[step] = m.n;
    c->mean[step] = m.mean;
    c->low[step] = m.low;
    c->high[step] = m.high;
    c->n_steps = m.n > 0 ? step + 1 : c->n_steps;
}

dtx_status dtx_report_curve_of(const float *x, int64_t n_rows, int64_t width, const uint8_t *keep, dtx_report_curve *c)
{
    DTX_TRY(dtx_report_curve_new(width, c));
    for (int64_t s = 0; s < width; s++) {
        dtx_report_curve_set(c, s, dtx_report_mean_of(x + s, width, n_rows, keep));
    }
    return DTX_OK;
}

/* Sums of differences and their numbers by text, texts without any left out. */
static int64_t fold_differences(const float *x, const float *y, int64_t n_rows, int64_t samples, int64_t width, double *d,
                                double *m)
{
    int64_t n_texts = 0;

    for (int64_t i = 0; i < n_rows; i += samples) {
        double *dt = d + n_texts * width, *mt = m + n_texts * width;
        bool any = false;
        for (int64_t s = 0; s < width; s++) {
            dt[s] = mt[s] = 0;
        }
        for (int64_t k = i * width; k < (i + samples) * width; k++) {
            if (isfinite(x[k]) && isfinite(y[k])) {
                dt[k % width] += (double)x[k] - (double)y[k];
                mt[k % width]++;
                any = true;
            }
        }
        n_texts += any;
    }
    return n_texts;
}

/* Sums over texts in each column: of d, m, d^2, d m, m^2, and of texts with a value. */
enum { SUM_D, SUM_M, SUM_DD, SUM_DM, SUM_MM, SUM_TEXTS, N_SUMS };

/* count: how often each text is drawn, NULL = once. d, m: (n_texts, width); sums: (N_SUMS, width). */
static void sum_texts(const double *d, const double *m, const int32_t *count, int64_t n_texts, int64_t width, double *sums)
{
    double *const sd = sums, *const sm = sums + width, *const sdd = sm + width, *const sdm = sdd + width, *const smm = sdm + width,
           *const st = smm + width;

    for (int64_t s = 0; s < N_SUMS * width; s++) {
        sums[s] = 0;
    }
    for (int64_t i = 0; i < n_texts; i++) {
        const double times = count == NULL ? 1 : count[i], *const di = d + i * width, *const mi = m + i * width;
        for (int64_t s = 0; s < width && times > 0; s++) {
            sd[s] += times * di[s];
            sm[s] += times * mi[s];
            sdd[s] += times * di[s] * di[s];
            sdm[s] += times * di[s] * mi[s];
            smm[s] += times * mi[s] * mi[s];
            st[s] += times * (mi[s] > 0);
        }
    }
}

/* The ratio sum d / sum m of a column, and its standard error by the residuals d - ratio m; NaN where there is none. */
static double ratio_of(const double *sums, int64_t width, int64_t column, double *se)
{
    const double *const x = sums + column, n = x[SUM_M * width], texts = x[SUM_TEXTS * width], ratio = n > 0 ? x[SUM_D * width] / n : NAN;
    const double squares = x[SUM_DD * width] - 2 * ratio * x[SUM_DM * width] + ratio * ratio * x[SUM_MM * width];

    const double left = squares > 1e-12 * x[SUM_DD * width] ? squares : 0; /* one text drawn several times: rounding alone */
    *se = texts > 1 ? sqrt(left * texts / (texts - 1)) / n : NAN;
    return ratio;
}

/* c of the band mean -+ c se: the 95 % point over the draws of the largest |draw - mean| / the draw's own se, over the columns in
 * `banded` (bootstrap-t: few texts at late steps make long tails, which the draws' spread alone would miss). */
static dtx_status max_t(const double *d, const double *m, int64_t n_texts, int64_t width, const bool *banded, const double *mean, double *c)
{
    double *largest = NULL;
    dtx_status st = DTX_NEW(largest, DTX_REPORT_RESAMPLES);

#pragma omp parallel
    {
        double *sums = NULL;
        int32_t *count = NULL;
        dtx_status mine = DTX_NEW(sums, N_SUMS * width + 1);
        mine = mine == DTX_OK ? DTX_NEW(count, n_texts + 1) : mine;
#pragma omp for
        for (int k = 0; k < DTX_REPORT_RESAMPLES; k++) {
            if (mine != DTX_OK || largest == NULL) {
                continue;
            }
            dtx_report_resample((uint32_t)k, n_texts, count);
            sum_texts(d, m, count, n_texts, width, sums);
            for (int64_t s = 0; s < width; s++) {
                double se;
                const double t = fabs(ratio_of(sums, width, s, &se) - mean[s]) / se;
                largest[k] = banded[s] && isfinite(t) ? fmax(largest[k], t) : largest[k];
            }
        }
        dtx_free(count);
        dtx_free(sums);
#pragma omp critical
        st = st == DTX_OK ? mine : st;
    }
    if (st == DTX_OK) {
        qsort(largest, DTX_REPORT_RESAMPLES, sizeof *largest, dtx_report_compare_doubles);
        *c = dtx_report_quantile(largest, DTX_REPORT_RESAMPLES, 0.95);
    }
    dtx_free(largest);
    return st;
}

dtx_status dtx_report_curve_difference(const float *x, const float *y, int64_t n_rows, int64_t samples, int64_t width,
                                       dtx_report_curve *c)
{
    double *d = NULL, *m = NULL, *se = NULL, *sums = NULL, fullest = 0, half;
    bool *banded = NULL;
    dtx_status st;

    *c = (dtx_report_curve){0};
    DTX_GO(dtx_report_curve_new(width, c));
    DTX_GO(DTX_NEW(d, (n_rows / samples + 1) * width));
    DTX_GO(DTX_NEW(m, (n_rows / samples + 1) * width));
    DTX_GO(DTX_NEW(se, width + 1));
    DTX_GO(DTX_NEW(sums, N_SUMS * width + 1));
    DTX_GO(DTX_NEW(banded, width + 1));
    const int64_t n_texts = fold_differences(x, y, n_rows, samples, width, d, m);
    sum_texts(d, m, NULL, n_texts, width, sums);
    const double *const texts = sums + SUM_TEXTS * width;
    for (int64_t s = 0; s < width; s++) {
        c->mean[s] = ratio_of(sums, width, s, &se[s]);
        c->n[s] = (int64_t)sums[SUM_M * width + s];
        fullest = fmax(fullest, texts[s]);
    }
    for (int64_t s = 0; s < width; s++) {
        const bool reached = texts[s] > 0 && texts[s] >= DTX_REPORT_LEAST * fullest;
        c->n_steps = reached ? s + 1 : c->n_steps;
        banded[s] = reached && se[s] > 0;
    }
    DTX_GO(max_t(d, m, n_texts, width, banded, c->mean, &half));
    for (int64_t s = 0; s < width; s++) {
        const bool has = banded[s] || (s < c->n_steps && se[s] == 0); /* equal everywhere: a band without width */
        c->low[s] = has ? c->mean[s] - half * se[s] : NAN;
        c->high[s] = has ? c->mean[s] + half * se[s] : NAN;
    }
done:
    if (st != DTX_OK) {
        dtx_report_curve_free(c);
    }
    dtx_free(banded);
    dtx_free(sums);
    dtx_free(se);
    dtx_free(m);
    dtx_free(d);
    return st;
}

/* --- bootstrap --- */

void dtx_report_resample(uint32_t k, int64_t n, int32_t *count)
{
    uint32_t word[4];

    for (int64_t i = 0; i < n; i++) {
        count[i] = 0;
    }
    for (int64_t i = 0; i < n; i++) {
        if (i % 4 == 0) {
            dtx_rng_words(DTX_REPORT_SEED, DTX_RNG_BOOTSTRAP, k, 0, (uint32_t)(i / 4), word);
        }
        count[((uint64_t)word[i % 4] * (uint64_t)n) >> 32]++;
    }
}

dtx_status dtx_report_bootstrap(int64_t n_texts, const double *d, const double *n, double *low, double *high)
{
    double *x = NULL;
    int32_t *count = NULL;
    int64_t n_x = 0;
    dtx_status st;

    DTX_GO(DTX_NEW(x, DTX_REPORT_RESAMPLES));
    DTX_GO(DTX_NEW(count, n_texts));
    for (uint32_t k = 0; k < DTX_REPORT_RESAMPLES && n_texts > 0; k++) {
        double sum = 0, rows = 0;
        dtx_report_resample(k, n_texts, count);
        for (int64_t i = 0; i < n_texts; i++) {
            sum += count[i] * d[i];
            rows += n != NULL ? count[i] * n[i] : count[i];
        }
        if (rows > 0) {
            x[n_x++] = sum / rows;
        }
    }
    qsort(x, (size_t)n_x, sizeof *x, dtx_report_compare_doubles);
    *low = dtx_report_quantile(x, n_x, 0.025);
    *high = dtx_report_quantile(x, n_x, 0.975);
done:
    dtx_free(count);
    dtx_free(x);
    return st;
}

static double sign_flip(const double *d, int64_t n)
{
    double seen = 0;
    int64_t as_large = 1; /* the observed signs are one of the draws */
    uint32_t word[4] = {0};

    for (int64_t i = 0; i < n; i++) {
        seen += d[i];
    }
    for (uint32_t k = 0; k < DTX_REPORT_FLIPS; k++) {
        double sum = 0;
        for (int64_t i = 0; i < n; i++) {
            if (i % 128 == 0) {
                dtx_rng_words(DTX_REPORT_SEED, DTX_RNG_BOOTSTRAP, k, 1, (uint32_t)(i / 128), word);
            }
            sum += (word[i % 128 / 32] >> (i % 32) & 1) != 0 ? d[i] : -d[i];
        }
        as_large += fabs(sum) >= fabs(seen) * (1 - 1e-12);
    }
    return (double)as_large / (DTX_REPORT_FLIPS + 1);
}

dtx_status dtx_report_compare_texts(const double *first, const double *second, int64_t n_texts, dtx_report_paired *out)
{
    dtx_report_paired p = {.first = NAN, .second = NAN, .difference = NAN, .low = NAN, .high = NAN, .p = NAN};
    double *d = NULL;
    dtx_status st;

    DTX_GO(DTX_NEW(d, n_texts + 1));
    double a = 0, b = 0;
    for (int64_t i = 0; i < n_texts; i++) {
        if (isfinite(first[i]) && isfinite(second[i])) {
            a += first[i];
            b += second[i];
            d[p.texts++] = first[i] - second[i];
        }
    }
    if (p.texts > 0) {
        p.first = a / (double)p.texts;
        p.second = b / (double)p.texts;
        p.difference = p.first - p.second;
    }
    if (p.texts > 1) {
        DTX_GO(dtx_report_bootstrap(p.texts, d, NULL, &p.low, &p.high));
        p.p = sign_flip(d, p.texts);
    }
    *out = p;
done:
    dtx_free(d);
    return st;
}

/* --- several comparisons --- */

static int compare_p(const void *a, const void *b)
{
    const double *x = *(const double *const *)a, *y = *(const double *const *)b;

    return *x != *y ? (*x > *y) - (*x < *y) : (x > y) - (x < y);
}

dtx_status dtx_report_holm(double *p, int64_t n)
{
    double **order = NULL, most = 0;
    dtx_status st = DTX_NEW(order, n + 1);

    for (int64_t i = 0; i < n && st == DTX_OK; i++) {
        order[i] = &p[i];
    }
    if (st == DTX_OK) {
        qsort(order, (size_t)n, sizeof *order, compare_p);
        for (int64_t i = 0; i < n; i++) {
            most = fmax(most, fmin(1, (double)(n - i) * *order[i]));
            *order[i] = most;
        }
    }
    dtx_free(order);
    return st;
}

/* --- shares --- */

void dtx_report_wilson(int64_t k, int64_t n, double *low, double *high)
{
    double z2 = 1.96 * 1.96, m = (double)n, p = (double)k / m;
    double half = 1.96 * sqrt(p * (1 - p) / m + z2 / (4 * m * m));

    *low = n > 0 ? fmax(0, (p + z2 / (2 * m) - half) / (1 + z2 / m)) : NAN;
    *high = n > 0 ? fmin(1, (p + z2 / (2 * m) + half) / (1 + z2 / m)) : NAN;
}

double dtx_report_mcnemar(int64_t b, int64_t c)
{
    double n = (double)(b + c), sum = 0;

    for (int64_t k = 0; k <= (b < c ? b : c); k++) {
        sum += exp(lgamma(n + 1) - lgamma((double)k + 1) - lgamma(n - (double)k + 1) - n * log(2));
    }
    return fmin(1, 2 * sum);
}

/* --- correlation --- */

typedef struct {
    double x;
    int64_t i;
} ranked;

static int compare_ranked(const void *a, const void *b)
{
    const ranked *x = a, *y = b;

    return x->x < y->x ? -1 : x->x > y->x ? 1 : (x->i > y->i) - (x->i < y->i);
}

/* Ranks from 1; equal values share their mean rank. */
static void rank_values(const double *x, int64_t n, ranked *work, double *rank)
{
    for (int64_t i = 0; i < n; i++) {
        work[i] = (ranked){.x = x[i], .i = i};
    }
    qsort(work, (size_t)n, sizeof *work, compare_ranked);
    for (int64_t i = 0, j; i < n; i = j) {
        for (j = i; j < n && work[j].x == work[i].x; j++) {
        }
        for (int64_t k = i; k < j; k++) {
            rank[work[k].i] = (double)(i + j + 1) / 2;
        }
    }
}

static double pearson(const double *x, const double *y, int64_t n)
{
    double mx = 0, my = 0, xx = 0, yy = 0, xy = 0;

    for (int64_t i = 0; i < n; i++) {
        mx += x[i] / (double)n;
        my += y[i] / (double)n;
    }
    for (int64_t i = 0; i < n; i++) {
        xx += (x[i] - mx) * (x[i] - mx);
        yy += (y[i] - my) * (y[i] - my);
        xy += (x[i] - mx) * (y[i] - my);
    }
    return xx > 0 && yy > 0 ? fmax(-1, fmin(1, xy / sqrt(xx * yy))) : NAN;
}

dtx_status dtx_report_correlate(const double *x, const double *y, int64_t n, dtx_report_correlation *out)
{
    dtx_report_correlation c = {.pearson = NAN, .spearman = NAN, .low = NAN, .high = NAN};
    double *a = NULL, *b = NULL, *rank = NULL;
    ranked *work = NULL;
    dtx_status st;

    DTX_GO(DTX_NEW(a, n));
    DTX_GO(DTX_NEW(b, n));
    DTX_GO(DTX_NEW(rank, 2 * n));
    DTX_GO(DTX_NEW(work, n));
    for (int64_t i = 0; i < n; i++) {
        if (isfinite(x[i]) && isfinite(y[i])) {
            a[c.n] = x[i];
            b[c.n++] = y[i];
        }
    }
    if (c.n > 1) {
        rank_values(a, c.n, work, rank);
        rank_values(b, c.n, work, rank + n);
        c.pearson = pearson(a, b, c.n);
        c.spearman = pearson(rank, rank + n, c.n);
    }
    if (c.n > 3 && fabs(c.spearman) < 1) {
        double half = 1.96 * sqrt((1 + c.spearman * c.spearman / 2) / (double)(c.n - 3));
        c.low = tanh(atanh(c.spearman) - half);
        c.high = tanh(atanh(c.spearman) + half);
    }
    *out = c;
done:
    dtx_free(work);
    dtx_free(rank);
    dtx_free(b);
    dtx_free(a);
    return st;
}

/* --- small ones --- */

double dtx_report_quantile(const double *sorted, int64_t n, double q)
{
    return n > 0 ? sorted[(int64_t)(q * (double)(n - 1) + 0.5)] : NAN;
}

int dtx_report_compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double dtx_report_student(int64_t n)
{
    static const double t[] = {12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
                               2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042};
    int64_t df = n - 1;

    return df <= 30 ? t[df - 1] : 1.96 + 2.47 / (double)df; /* within 0.002 beyond the table */
}
