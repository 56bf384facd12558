#include "src/model/families/llama.h"

/* transformers' Phi3Config: fused projections; the long variants (rope_scaling longrope) and those that turn a part of each head
 * are other models. */
static dtx_status read_phi3(const dtx_cfg *s, dtx_arch *a)
{
    static const dtx_llama_defaults defaults = {.positions = 4096, .theta = 10000.0, .eps = 1e-5};
    double share = 1;

    DTX_TRY(dtx_llama_read(s, &defaults, a));
    a->fused_qkv = a->qkv_blocks = a->fused_gate = true;
    DTX_TRY(dtx_json_double(s->root, s->path, "partial_rotary_factor", 0, 1, &share));
    if (share != 1) {
        return dtx_cfg_unsupported(s, "partial_rotary_factor", "1");
    }
    for (int64_t i = 0; dtx_json_get(s->root, "sliding_window") != NULL && i < a->n_layers; i++) {
        a->layer[i] |= DTX_LAYER_WINDOW;
    }
    return dtx_cfg_window(s, a);
}

static dtx_status write_phi3(cJSON *o, const dtx_arch *a)
{
    DTX_TRY(dtx_llama_states(a, a->fused_qkv && a->qkv_blocks && a->fused_gate && !a->qk_norm && !a->bare_input && !a->branch_norm &&
                             !a->norm_plus_one && !a->qkv_bias && !a->out_bias && !a->mlp_bias,
                             "it has fused projections, no biases, two norms a layer"));
    dtx_llama_add(o, a);
    cJSON_AddItemToObject(o, "sliding_window", a->window > 0 ? cJSON_CreateNumber((double)a->window) : cJSON_CreateNull());
    return DTX_OK;
}

static const dtx_part_name *names(const dtx_arch *a)
{
    static const dtx_part_name list[] = {{DTX_PART_WORDS, "model.embed_tokens"},
                                         {DTX_MOD_QKV, "model.layers.#.self_attn.qkv_proj"},
                                         {DTX_MOD_OUT, "model.layers.#.self_attn.o_proj"},
                                         {DTX_MOD_UP, "model.layers.#.mlp.gate_up_proj"},
                                         {DTX_MOD_DOWN, "model.layers.#.mlp.down_proj"},
                                         {DTX_PART_NORM1, "model.layers.#.input_layernorm"},
                                         {DTX_PART_NORM2, "model.layers.#.post_attention_layernorm"},
                                         {DTX_PART_FINAL_NORM, "model.norm"},
                                         {DTX_PART_HEAD, "lm_head"},
                                         {-1, NULL}};

    (void)a;
    return list;
}

static const char *const targets[] = {"qkv_proj", NULL};

const dtx_family dtx_family_phi3 = {
    .model_type = "phi3",
    .title = "Phi-3",
    .known = "Phi-3 mini and medium 4k, Phi-4",
    .classes = {"Phi3ForCausalLM"},
    .code = 12,
    .read = read_phi3,
    .write = write_phi3,
    .names = names,
    .ignored = dtx_llama_ignored,
    .targets = targets,
};
