#include <math.h>

#include "src/model/families/gemma.h"

dtx_status dtx_gemma_read(const dtx_cfg *s, const dtx_llama_defaults *d, dtx_arch *a)
{
    dtx_activation act = DTX_ACT_GELU_TANH;

    DTX_TRY(dtx_llama_read(s, d, a));
    a->norm_plus_one = true;
    a->embed_scale = sqrt((double)a->hidden);
    /* old files say "gelu" in hidden_act and mean the tanh form */
    DTX_TRY(dtx_cfg_activation(s, "hidden_activation", &act));
    a->activation = act == DTX_ACT_GELU_ERF ? DTX_ACT_GELU_TANH : act;
    DTX_TRY(dtx_json_bool(s->root, s->path, "attention_bias", &a->qkv_bias));
    a->out_bias = a->qkv_bias;
    return DTX_OK;
}

dtx_status dtx_gemma_read_scale(const dtx_cfg *s, dtx_arch *a)
{
    double scalar = 256;

    DTX_TRY(dtx_json_double(s->root, s->path, "query_pre_attn_scalar", 1e-6, 1e9, &scalar));
    a->score_scale = 1 / sqrt(scalar);
    return DTX_OK;
}

dtx_status dtx_gemma_read_cap(const dtx_cfg *s, const char *key, double fallback, double *out)
{
    *out = cJSON_HasObjectItem(s->root, key) ? 0 : fallback;
    return dtx_json_double(s->root, s->path, key, 1e-3, 1e9, out);
}

void dtx_gemma_add(cJSON *o, const dtx_arch *a)
{
    dtx_llama_add(o, a);
    dtx_cfg_add_text(o, "hidden_activation", "gelu_pytorch_tanh");
    dtx_cfg_add_bool(o, "attention_bias", a->qkv_bias);
}

/* transformers' GemmaConfig. */
static dtx_status read_gemma(const dtx_cfg *s, dtx_arch *a)
{
    static const dtx_llama_defaults defaults = {.head_dim = 256, .n_kv = 16, .positions = 8192, .theta = 10000.0, .eps = 1e-6, .tied = true};

    return dtx_gemma_read(s, &defaults, a);
}

static dtx_status write_gemma(cJSON *o, const dtx_arch *a)
{
    DTX_TRY(dtx_llama_states(a, !a->fused_qkv && !a->fused_gate && !a->qk_norm && !a->bare_input && !a->branch_norm && a->norm_plus_one &&
                             a->qkv_bias == a->out_bias && !a->mlp_bias && a->window == 0 && a->score_scale == 0,
                             "it has norms of 1 + w, two a layer, no caps and no windows"));
    dtx_gemma_add(o, a);
    return DTX_OK;
}

const dtx_family dtx_family_gemma = {
    .model_type = "gemma",
    .title = "Gemma",
    .known = "Gemma 2B, 7B",
    .classes = {"GemmaForCausalLM"},
    .code = 9,
    .read = read_gemma,
    .write = write_gemma,
    .names = dtx_llama_names,
    .ignored = dtx_llama_ignored,
    .targets = dtx_llama_targets,
};
