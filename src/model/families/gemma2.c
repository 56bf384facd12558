#include <math.h>

#include "src/model/families/gemma.h"

/* transformers' Gemma2Config: caps, norms around the branches, a window on every other layer, the first one included. */
static dtx_status read_gemma2(const dtx_cfg *s, dtx_arch *a)
{
    static const dtx_llama_defaults defaults = {.head_dim = 256, .n_kv = 4, .positions = 8192, .theta = 10000.0, .eps = 1e-6, .tied = true};
    bool given = false;

    DTX_TRY(dtx_gemma_read(s, &defaults, a));
    a->branch_norm = true;
    a->window = 4096;
    DTX_TRY(dtx_gemma_read_scale(s, a));
    DTX_TRY(dtx_gemma_read_cap(s, "attn_logit_softcapping", 50, &a->score_cap));
    DTX_TRY(dtx_gemma_read_cap(s, "final_logit_softcapping", 30, &a->logit_cap));
    DTX_TRY(dtx_cfg_need_bool(s, "use_bidirectional_attention", false));
    DTX_TRY(dtx_cfg_layer_types(s, a, &given));
    for (int64_t i = 0; !given && i < a->n_layers; i += 2) {
        a->layer[i] |= DTX_LAYER_WINDOW;
    }
    return dtx_cfg_window(s, a);
}

static void add_cap(cJSON *o, const char *key, double cap)
{
    cJSON_AddItemToObject(o, key, cap > 0 ? cJSON_CreateNumber(cap) : cJSON_CreateNull());
}

static dtx_status write_gemma2(cJSON *o, const dtx_arch *a)
{
    DTX_TRY(dtx_llama_states(a, !a->fused_qkv && !a->fused_gate && !a->qk_norm && !a->bare_input && a->branch_norm && a->norm_plus_one &&
                             a->qkv_bias == a->out_bias && !a->mlp_bias && a->score_scale > 0,
                             "it has norms of 1 + w around the branches and a scale of the scores"));
    dtx_gemma_add(o, a);
    dtx_cfg_add_number(o, "query_pre_attn_scalar", 1 / (a->score_scale * a->score_scale));
    add_cap(o, "attn_logit_softcapping", a->score_cap);
    add_cap(o, "final_logit_softcapping", a->logit_cap);
    dtx_cfg_add_number(o, "sliding_window", a->window > 0 ? (double)a->window : 4096);
    dtx_cfg_add_layer_types(o, a);
    return DTX_OK;
}

const dtx_family dtx_family_gemma2 = {
    .model_type = "gemma2",
    .title = "Gemma 2",
    .known = "Gemma 2 2B, 9B, 27B",
    .classes = {"Gemma2ForCausalLM"},
    .code = 10,
    .read = read_gemma2,
    .write = write_gemma2,
    .names = dtx_llama_end_names,
    .ignored = dtx_llama_ignored,
    .targets = dtx_llama_targets,
};
