/* toxicity.h - a toxicity set, /variants/V/toxicity/S: the scores of a variant's completions and prompts by one scorer. */
#ifndef DTX_TOXICITY_H
#define DTX_TOXICITY_H

#include "mpi/run/run.h"
#include "src/judge/service.h" /* dtx_score_status: the values of /status */

/* --- serial, for editors --- */

/* Makes `group` with completion and prompt (NaN) and status (0) of n rows. */
dtx_status dtx_toxicity_make(hid_t file, const char *group, int64_t n);
dtx_status dtx_toxicity_write(hid_t file, const char *group, int64_t n, const float *completion, const float *prompt, const uint8_t *status);

#endif
