/* calibrate.h - maps from one scorer's scores in [0, 1] to another's, learnt from texts that have both.
 *
 * isotonic: the non-decreasing function with the least squared error (pool adjacent violators; Robertson et al. 1988),
 *     linear between the ends of its steps, constant beyond the first and last.
 * logistic: sigmoid(slope logit(x) + offset) with the least cross-entropy against y, which may lie between 0 and 1 (Platt
 *     1999 on log-odds); x is kept 1e-6 away from 0 and 1. */
#ifndef DTX_CALIBRATE_H
#define DTX_CALIBRATE_H

#include <stdbool.h>
#include <stdint.h>

#include "src/base/status.h"

typedef enum { DTX_CALIBRATE_IDENTITY, DTX_CALIBRATE_ISOTONIC, DTX_CALIBRATE_LOGISTIC } dtx_calibration_kind;

typedef struct {
    dtx_calibration_kind kind;
    int64_t n;             /* isotonic: knots */
    double *x, *y;         /* (n), x ascending, y non-decreasing */
    double slope, offset;  /* logistic */
} dtx_calibration;

/* x, y (n), all within [0, 1]. DTX_ERR_INPUT for n < 2 or, logistic, when x or y do not vary; DTX_ERR_NUMERIC when it does not
 * converge. Free *out with dtx_calibration_free. */
dtx_status dtx_calibration_fit(dtx_calibration_kind kind, int64_t n, const double *x, const double *y, dtx_calibration *out);
double dtx_calibration_apply(const dtx_calibration *c, double x);
void dtx_calibration_free(dtx_calibration *c);

/* How well a map does on rows that it has not seen. */
typedef struct {
    double mean_absolute, root_mean_square;
    double correlation;        /* Pearson, of mapped and true scores; NaN where one does not vary */
    double agreement;          /* share of rows on the same side of 0.5 */
    double share_true, share_mapped; /* of rows above 0.5 */
} dtx_calibration_error;
/* Cross-validation: groups, 0 .. n_groups - 1, are dealt into `folds` parts of equal size by a permutation of `seed`; each part
 * is mapped by what the others taught, so that rows of one group never teach for each other. */
dtx_status dtx_calibration_cross(dtx_calibration_kind kind, int64_t n, const double *x, const double *y, const int64_t *group,
                                 int64_t n_groups, int folds, uint64_t seed, dtx_calibration_error *out);

#endif
