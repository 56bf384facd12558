/* llama.h - what Llama's descendants share with it: most of the keys of config.json, and the names of the parts. */
#ifndef DTX_FAMILIES_LLAMA_H
#define DTX_FAMILIES_LLAMA_H

#include "src/model/families/table.h"

/* Where the library's class has another value than Llama's for an absent key. */
typedef struct {
    int64_t head_dim;      /* 0 = hidden / heads */
    int64_t n_kv;          /* 0 = heads */
    int64_t positions;
    double theta, eps;
    bool tied;
} dtx_llama_defaults;

/* Sizes, rotary positions with their scaling, RMSNorm, gated MLP with SiLU (hidden_act), tied head, ids. */
dtx_status dtx_llama_read(const dtx_cfg *s, const dtx_llama_defaults *d, dtx_arch *a);
/* The same keys written. */
void dtx_llama_add(cJSON *o, const dtx_arch *a);
/* DTX_ERR_USAGE with `what` unless the description is a causal model with RMSNorm, gated MLP and rotary positions of whole heads. */
dtx_status dtx_llama_states(const dtx_arch *a, bool rest, const char *what);
const dtx_part_name *dtx_llama_names(const dtx_arch *a);
/* The same with norms at the ends of the branches, as Gemma 2 and OLMo 2 have them; those before are passed over where there are none. */
const dtx_part_name *dtx_llama_end_names(const dtx_arch *a);
extern const char *const dtx_llama_ignored[], *const dtx_llama_targets[];
/* use_sliding_window, sliding_window, max_window_layers and layer_types as Qwen's families have them. */
dtx_status dtx_qwen_windows(const dtx_cfg *s, dtx_arch *a);
void dtx_qwen_add_windows(cJSON *o, const dtx_arch *a);
/* Llama's block for a model from scratch; theta and eps as the newer ones have them. */
void dtx_llama_fresh(dtx_arch *a);

#endif
