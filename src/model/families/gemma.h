/* gemma.h - what the generations of Gemma share: norms of 1 + w, an embedding times sqrt(hidden), gelu's tanh form. The factor
 * is not rounded, as in the library's float32 runs. */
#ifndef DTX_FAMILIES_GEMMA_H
#define DTX_FAMILIES_GEMMA_H

#include "src/model/families/llama.h"

dtx_status dtx_gemma_read(const dtx_cfg *s, const dtx_llama_defaults *d, dtx_arch *a);
/* query_pre_attn_scalar */
dtx_status dtx_gemma_read_scale(const dtx_cfg *s, dtx_arch *a);
/* A cap: null is none, an absent key the fallback. */
dtx_status dtx_gemma_read_cap(const dtx_cfg *s, const char *key, double fallback, double *out);
void dtx_gemma_add(cJSON *o, const dtx_arch *a);

#endif
