/* stats.h - the report's statistics: means with bands, shares with intervals, a bootstrap whose draws depend on a fixed seed
 * alone, correlations. Local, no I/O. */
#ifndef DTX_REPORT_STATS_H
#define DTX_REPORT_STATS_H

#include <stdbool.h>
#include <stdint.h>

#include "src/base/status.h"

enum { DTX_REPORT_RESAMPLES = 1000, DTX_REPORT_SEED = 42 };
#define DTX_REPORT_LEAST 0.1 /* a curve ends where fewer than this share of its completions are left */

typedef struct {
    int64_t n;                  /* finite values */
    double mean, low, high;     /* mean -+ 1.96 sd / sqrt(n), the sample's sd (n - 1); NaN where n is too small */
    double sd;
} dtx_report_mean;

/* Over the finite values of x[i * stride], i < n, for which keep[i] != 0 (keep may be NULL). Two passes in f64. */
dtx_report_mean dtx_report_mean_of(const float *x, int64_t stride, int64_t n, const uint8_t *keep);
dtx_report_mean dtx_report_mean_of_doubles(const double *x, int64_t n);

/* One quantity over steps: step i is first + i. Values that are not there are NaN. */
typedef struct {
    int64_t first, n_steps;
    int64_t *n;
    double *mean, *low, *high;
} dtx_report_curve;
/* Room for `steps` steps, n_steps 0. */
dtx_status dtx_report_curve_new(int64_t steps, dtx_report_curve *c);
void dtx_report_curve_free(dtx_report_curve *c);
void dtx_report_curve_set(dtx_report_curve *c, int64_t step, dtx_report_mean m);
/* Mean of each column of x (n_rows, width) over the rows that are kept; n_steps ends at the last column with a value. */
dtx_status dtx_report_curve_of(const float *x, int64_t n_rows, int64_t width, const uint8_t *keep, dtx_report_curve *c);
/* Mean of the differences x - y in each column where both have a value, with a simultaneous 95 % band over the columns: mean -+ c se,
 * groups of `samples` consecutive rows (the samples of a text) being the unit; c is the 95 % point of the largest |draw - mean| / the
 * draw's se over the columns in DTX_REPORT_RESAMPLES bootstrap draws of groups (bootstrap-t, max-t). So in 95 of 100 studies without a
 * difference the whole band holds 0. It covers the columns that at least a tenth of the groups of the fullest column reach; the curve
 * ends with the last of them. NaN bands where fewer than two groups have a value. */
dtx_status dtx_report_curve_difference(const float *x, const float *y, int64_t n_rows, int64_t samples, int64_t width,
                                       dtx_report_curve *c);

/* How often each of n things is drawn in resample k: n draws with replacement. */
void dtx_report_resample(uint32_t k, int64_t n, int32_t *count);
/* 95 % interval of sum d / sum n when the n_texts pairs are drawn with replacement; n NULL: 1 for each text. NaN where nothing can be
 * drawn. */
dtx_status dtx_report_bootstrap(int64_t n_texts, const double *d, const double *n, double *low, double *high);

/* Two values of each text (NaN: none), over the texts that have both: their means, the mean difference first - second with a 95 %
 * bootstrap interval over texts (2.5 and 97.5 % points of DTX_REPORT_RESAMPLES draws), and the two-sided p of a sign-flip test: how
 * often a mean difference is at least as large when each text's sign is drawn anew (DTX_REPORT_FLIPS draws, the observed one counted).
 * NaN intervals and p for fewer than two texts. */
typedef struct {
    int64_t texts;
    double first, second, difference, low, high, p;
} dtx_report_paired;
enum { DTX_REPORT_FLIPS = 1999 };
dtx_status dtx_report_compare_texts(const double *first, const double *second, int64_t n_texts, dtx_report_paired *out);

/* p-values become those corrected for n comparisons (Holm 1979), in place. */
dtx_status dtx_report_holm(double *p, int64_t n);

/* Wilson's score interval (1927) of k of n; NaN for n = 0. */
void dtx_report_wilson(int64_t k, int64_t n, double *low, double *high);
/* Two-sided exact test (McNemar) that b and c are equally likely: twice the smaller tail of Binomial(b + c, 1/2), at most 1. */
double dtx_report_mcnemar(int64_t b, int64_t c);

/* Over the pairs of which both are finite: Pearson's r, Spearman's rho (mean ranks for ties), and rho's 95 % interval by
 * Fisher's z with Bonett and Wright's variance (1 + rho^2 / 2) / (n - 3). NaN where undefined. */
typedef struct {
    int64_t n;
    double pearson, spearman, low, high;
} dtx_report_correlation;
dtx_status dtx_report_correlate(const double *x, const double *y, int64_t n, dtx_report_correlation *out);

/* The value at rank q (n - 1) of an ascending array, rounded to the next entry; NaN for n = 0. */
double dtx_report_quantile(const double *sorted, int64_t n, double q);
int dtx_report_compare_doubles(const void *a, const void *b);
/* 97.5 % point of Student's t with n - 1 degrees of freedom: for means over few runs. n >= 2. */
double dtx_report_student(int64_t n);

#endif
