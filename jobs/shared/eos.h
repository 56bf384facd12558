/* eos.h - a set of end-of-text ids as stored settings spell it: one id as a number (-1 = none), several as a list. Local. */
#ifndef DTX_JOBS_EOS_H
#define DTX_JOBS_EOS_H

#include "src/base/json.h"
#include "src/model/families/arch.h"

/* Member eos_token_id of `o`. */
void dtx_eos_add(cJSON *o, const dtx_eos *e);
/* The same read; absent or null leaves *out. `name` is for messages. */
dtx_status dtx_eos_get(const cJSON *o, const char *name, dtx_eos *out);
/* "2", "1,106", "-1", for descriptions of a training. */
const char *dtx_eos_text(const dtx_eos *e, char *text, size_t size);

#endif
