/* Scored rows on their way to run.h5. */
#include "jobs/score/score.h"

dtx_status dtx_scoring_add(dtx_scoring *g, int64_t row, const float *completion, const float *prompt, uint8_t status)
{
    for (int64_t k = 0; k < g->n_sets; k++) {
        const void *const values[] = {&completion[k], &prompt[k], &status};
        DTX_TRY(dtx_stage_rows_add(&g->sets[k].ready, row, values));
    }
    g->done++;
    return DTX_OK;
}

dtx_status dtx_scoring_write(dtx_scoring *g)
{
    for (int64_t k = g->n_sets - 1; k >= 0; k--) {
        DTX_TRY(dtx_stage_rows_write(g->run, g->sets[k].group, g->n_rows, &g->sets[k].ready));
    }
    return DTX_OK;
}
