/* check.h - how faithful an attribution is to the model, measured on one completion's first generated tokens.
 * Deletion: the tenth of the prompt's tokens with the highest scores is replaced by the baseline (zeros or a token's
 * embedding), and so are as many tokens at random; a faithful attribution finds tokens whose loss costs the generated
 * token more probability. Completeness (Sundararajan et al. 2017): integrated gradients of a step sum to
 * target(x) - target(baseline). Local. */
#ifndef DTX_ATTRIB_CHECK_H
#define DTX_ATTRIB_CHECK_H

#include "src/attribution/attrib.h"

enum { DTX_CHECK_STEPS = 8, DTX_CHECK_DRAWS = 4 };

typedef struct {
    int64_t steps;              /* generated tokens looked at, at most DTX_CHECK_STEPS */
    int64_t deleted;            /* prompt tokens replaced at a time */
    double drop_top, drop_random; /* mean loss of probability; random: over DTX_CHECK_DRAWS draws */
    double completeness_error;  /* mean |sum of scores - (target(x) - target(baseline))| */
    double completeness_scale;  /* mean |target(x) - target(baseline)| */
} dtx_faithfulness;

/* `s` as for dtx_attribute; deletion judges its method, completeness its steps, baseline and target. The draws are keyed by
 * (seed, row). G >= 1. */
dtx_status dtx_attrib_check(const dtx_model *m, const dtx_attrib_settings *s, const int32_t *ids, int64_t P, int64_t G,
                            uint64_t seed, uint64_t row, dtx_faithfulness *out);

#endif
