#include "src/model/families/llama.h"

dtx_status dtx_qwen_windows(const dtx_cfg *s, dtx_arch *a)
{
    bool used = false, given = false;
    int64_t first = 28;

    DTX_TRY(dtx_json_bool(s->root, s->path, "use_sliding_window", &used));
    DTX_TRY(dtx_json_int(s->root, s->path, "max_window_layers", 0, DTX_CFG_MAX_VOCAB, &first));
    if (!used) {
        return DTX_OK;
    }
    a->window = 4096;
    DTX_TRY(dtx_cfg_layer_types(s, a, &given));
    for (int64_t i = first; !given && i < a->n_layers; i++) {
        a->layer[i] |= DTX_LAYER_WINDOW;
    }
    return dtx_cfg_window(s, a);
}

void dtx_qwen_add_windows(cJSON *o, const dtx_arch *a)
{
    dtx_cfg_add_bool(o, "use_sliding_window", a->window > 0);
    if (a->window > 0) {
        dtx_cfg_add_number(o, "sliding_window", (double)a->window);
        dtx_cfg_add_layer_types(o, a);
    }
}

/* transformers' Qwen2Config: q, k and v have biases. */
static dtx_status read_qwen2(const dtx_cfg *s, dtx_arch *a)
{
    static const dtx_llama_defaults defaults = {.n_kv = 32, .positions = 32768, .theta = 10000.0, .eps = 1e-6};

    DTX_TRY(dtx_llama_read(s, &defaults, a));
    a->qkv_bias = true;
    return dtx_qwen_windows(s, a);
}

static dtx_status write_qwen2(cJSON *o, const dtx_arch *a)
{
    DTX_TRY(dtx_llama_states(a, !a->fused_qkv && !a->fused_gate && !a->qk_norm && !a->bare_input && !a->branch_norm && !a->norm_plus_one &&
                             a->qkv_bias && !a->out_bias && !a->mlp_bias,
                             "it has projections apart, biases of queries, keys and values, two norms a layer"));
    dtx_llama_add(o, a);
    dtx_qwen_add_windows(o, a);
    return DTX_OK;
}

const dtx_family dtx_family_qwen2 = {
    .model_type = "qwen2",
    .title = "Qwen2",
    .known = "Qwen2, Qwen2.5, DeepSeek-R1-Distill-Qwen",
    .classes = {"Qwen2ForCausalLM"},
    .code = 5,
    .read = read_qwen2,
    .write = write_qwen2,
    .names = dtx_llama_names,
    .ignored = dtx_llama_ignored,
    .targets = dtx_llama_targets,
};
