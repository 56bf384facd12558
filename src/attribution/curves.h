/* curves.h - the small steps between a step's scores and its curves; see attrib.h for the whole. */
#ifndef DTX_ATTRIB_CURVES_H
#define DTX_ATTRIB_CURVES_H

#include "src/attribution/attrib.h"

/* Over the embedding axis; NaN when one value is NaN. */
double dtx_attrib_norm_of(dtx_attrib_norm norm, int64_t d, const float *x);
/* row[t] = x[t] / max(sum |x|, 1e-12); NaN counts as 0 in the sum and stays. For signed sums this is the division by the
 * sum of magnitudes, so that such a row's magnitudes sum to 1. */
void dtx_attrib_normalise(int64_t T, const double *x, float *row);
/* Sum of the first P scores of a row where use[t] != 0 (use may be NULL); NaN counts as 0. */
double dtx_prompt_dependence(const float *row, int64_t P, const uint8_t *use);

#endif
