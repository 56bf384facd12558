#include "src/model/families/llama.h"

/* transformers' Olmo2Config: no norms before the branches, one at the end of each, and norms of queries and keys over their
 * whole width. */
static dtx_status read_olmo2(const dtx_cfg *s, dtx_arch *a)
{
    static const dtx_llama_defaults defaults = {.positions = 2048, .theta = 10000.0, .eps = 1e-5};

    DTX_TRY(dtx_llama_read(s, &defaults, a));
    a->bare_input = a->branch_norm = a->qk_norm = a->qk_norm_wide = true;
    DTX_TRY(dtx_json_bool(s->root, s->path, "attention_bias", &a->qkv_bias));
    a->out_bias = a->qkv_bias;
    return DTX_OK;
}

static dtx_status write_olmo2(cJSON *o, const dtx_arch *a)
{
    DTX_TRY(dtx_llama_states(a, !a->fused_qkv && !a->fused_gate && a->qk_norm && a->qk_norm_wide && a->bare_input && a->branch_norm &&
                             !a->norm_plus_one && a->qkv_bias == a->out_bias && !a->mlp_bias && a->window == 0,
                             "it has norms at the end of the branches alone, and norms of queries and keys over their width"));
    dtx_llama_add(o, a);
    dtx_cfg_add_bool(o, "attention_bias", a->qkv_bias);
    return DTX_OK;
}

const dtx_family dtx_family_olmo2 = {
    .model_type = "olmo2",
    .title = "OLMo 2",
    .known = "OLMo 2 1B, 7B, 13B, 32B",
    .classes = {"Olmo2ForCausalLM"},
    .code = 8,
    .read = read_olmo2,
    .write = write_olmo2,
    .names = dtx_llama_end_names,
    .ignored = dtx_llama_ignored,
    .targets = dtx_llama_targets,
};
