/* divergence.h - Kullback-Leibler divergence (base 2) between two attributions' scores over the same prompt, step by step:
 * both rows renormalised to 1 over the prompt, sum of p log2(p / q), terms that are no number skipped. */
#ifndef DTX_REPORT_DIVERGENCE_H
#define DTX_REPORT_DIVERGENCE_H

#include "jobs/report/report.h"

/* KL(a || b) and KL(b || a), each (n_rows, width) and allocated: NaN where one of the rows has not the step, is not done, or
 * where the prompts differ in length; not finite where the other row has no score at all at a token. a and b have equal
 * n_rows and width. *differing counts rows whose prompts differ in length. */
dtx_status dtx_report_divergence(const dtx_report *r, const dtx_report_attribution *a, const dtx_report_attribution *b, float **forward,
                                 float **backward, int64_t *differing);
/* One step: p and q are the first P scores of a row. */
void dtx_report_divergence_step(const float *p, const float *q, int64_t P, double *forward, double *backward);
/* Are an attribution's scores non-negative, so that they can be taken as a distribution? (norm l2 or l1) */
bool dtx_report_is_distribution(const dtx_report_attribution *a);

#endif
