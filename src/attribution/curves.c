/* What follows from a matrix of scores: norms, normalised rows, entropy, prompt dependence, divergence. */
#include "src/attribution/curves.h"

#include <math.h>

#include "src/attribution/attrib.h"

double dtx_attrib_norm_of(dtx_attrib_norm norm, int64_t d, const float *x)
{
    double sum = 0;

    for (int64_t j = 0; j < d; j++) {
        double v = x[j];
        sum += norm == DTX_NORM_L2 ? v * v : norm == DTX_NORM_L1 ? fabs(v) : v;
    }
    return norm == DTX_NORM_L2 ? sqrt(sum) : sum;
}

void dtx_attrib_normalise(int64_t T, const double *x, float *row)
{
    double sum = 0;

    for (int64_t t = 0; t < T; t++) {
        sum += isnan(x[t]) ? 0 : fabs(x[t]);
    }
    for (int64_t t = 0; t < T; t++) {
        row[t] = (float)(x[t] / fmax(sum, 1e-12));
    }
}

double dtx_prompt_dependence(const float *row, int64_t P, const uint8_t *use)
{
    double sum = 0;

    for (int64_t t = 0; t < P; t++) {
        sum += (use == NULL || use[t] != 0) && !isnan(row[t]) ? row[t] : 0;
    }
    return sum;
}

double dtx_prompt_entropy(const float *row, int64_t P, const uint8_t *use)
{
    double sum = 0, bits = 0;

    for (int64_t t = 0; t < P; t++) {
        sum += use == NULL || use[t] != 0 ? row[t] : 0;
    }
    for (int64_t t = 0; t < P; t++) {
        double p = use == NULL || use[t] != 0 ? row[t] / sum : 0;
        bits += p > 0 ? -p * log2(p) : p == 0 ? 0 : NAN;
    }
    return sum != 0 ? bits : NAN;
}

double dtx_prompt_kl(const float *p, const float *q, int64_t P)
{
    double sum_p = 0, sum_q = 0, bits = 0;

    for (int64_t t = 0; t < P; t++) {
        sum_p += isnan(p[t]) ? 0 : p[t];
        sum_q += isnan(q[t]) ? 0 : q[t];
    }
    for (int64_t t = 0; t < P; t++) {
        double a = p[t] / sum_p, term = a * log2(a / (q[t] / sum_q));
        bits += isnan(term) ? 0 : term;
    }
    return bits;
}
