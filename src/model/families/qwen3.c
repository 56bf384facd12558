#include "src/model/families/llama.h"

/* transformers' Qwen3Config: queries and keys of each head go through a norm; attention_bias covers q, k, v and o. */
static dtx_status read_qwen3(const dtx_cfg *s, dtx_arch *a)
{
    static const dtx_llama_defaults defaults = {.head_dim = 128, .n_kv = 32, .positions = 32768, .theta = 10000.0, .eps = 1e-6};

    DTX_TRY(dtx_llama_read(s, &defaults, a));
    a->qk_norm = true;
    DTX_TRY(dtx_json_bool(s->root, s->path, "attention_bias", &a->qkv_bias));
    a->out_bias = a->qkv_bias;
    return dtx_qwen_windows(s, a);
}

static dtx_status write_qwen3(cJSON *o, const dtx_arch *a)
{
    DTX_TRY(dtx_llama_states(a, !a->fused_qkv && !a->fused_gate && a->qk_norm && !a->qk_norm_wide && !a->bare_input && !a->branch_norm &&
                             !a->norm_plus_one && a->qkv_bias == a->out_bias && !a->mlp_bias,
                             "it has projections apart, norms of each head's queries and keys, two norms a layer"));
    dtx_llama_add(o, a);
    dtx_cfg_add_bool(o, "attention_bias", a->qkv_bias);
    dtx_qwen_add_windows(o, a);
    return DTX_OK;
}

const dtx_family dtx_family_qwen3 = {
    .model_type = "qwen3",
    .title = "Qwen3",
    .known = "Qwen3 0.6B to 32B (dense)",
    .classes = {"Qwen3ForCausalLM"},
    .code = 6,
    .read = read_qwen3,
    .write = write_qwen3,
    .names = dtx_llama_names,
    .ignored = dtx_llama_ignored,
    .targets = dtx_llama_targets,
};
