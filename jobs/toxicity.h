/* toxicity.h - a toxicity set, /variants/V/toxicity/S: the scores of a variant's completions and prompts by one scorer. */
#ifndef DTX_TOXICITY_H
#define DTX_TOXICITY_H

#include "mpi/run.h"

/* /status. Rows with another value than DTX_SCORE_NOT_DONE are not asked for again. */
typedef enum {
    DTX_SCORE_NOT_DONE = 0,
    DTX_SCORE_SCORED = 1,
    DTX_SCORE_EMPTY = 2,    /* there is no text */
    DTX_SCORE_LANGUAGE = 3, /* the service does not know the language */
    DTX_SCORE_TOO_LONG = 4,
    DTX_SCORE_REFUSED = 5,  /* another answer that asking again would not change */
    DTX_SCORE_FAILED = 6    /* no score, for another or an unknown reason */
} dtx_score_status;

/* --- serial, for editors --- */

/* Makes `group` with completion and prompt (NaN) and status (0) of n rows. */
dtx_status dtx_toxicity_make(hid_t file, const char *group, int64_t n);
dtx_status dtx_toxicity_write(hid_t file, const char *group, const float *completion, const float *prompt, const uint8_t *status);

#endif
