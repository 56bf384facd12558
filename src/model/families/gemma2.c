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

const dtx_part_name *dtx_gemma2_names(const dtx_arch *a)
{
    static const dtx_part_name list[] = {{DTX_PART_WORDS, "model.embed_tokens"},
                                         {DTX_MOD_Q, "model.layers.#.self_attn.q_proj"},
                                         {DTX_MOD_K, "model.layers.#.self_attn.k_proj"},
                                         {DTX_MOD_V, "model.layers.#.self_attn.v_proj"},
                                         {DTX_MOD_OUT, "model.layers.#.self_attn.o_proj"},
                                         {DTX_PART_Q_NORM, "model.layers.#.self_attn.q_norm"},
                                         {DTX_PART_K_NORM, "model.layers.#.self_attn.k_norm"},
                                         {DTX_MOD_GATE, "model.layers.#.mlp.gate_proj"},
                                         {DTX_MOD_UP, "model.layers.#.mlp.up_proj"},
                                         {DTX_MOD_DOWN, "model.layers.#.mlp.down_proj"},
                                         {DTX_PART_NORM1, "model.layers.#.input_layernorm"},
                                         {DTX_PART_NORM1_END, "model.layers.#.post_attention_layernorm"},
                                         {DTX_PART_NORM2, "model.layers.#.pre_feedforward_layernorm"},
                                         {DTX_PART_NORM2_END, "model.layers.#.post_feedforward_layernorm"},
                                         {DTX_PART_FINAL_NORM, "model.norm"},
                                         {DTX_PART_HEAD, "lm_head"},
                                         {-1, NULL}};

    (void)a;
    return list;
}

const dtx_family dtx_family_gemma2 = {
    .model_type = "gemma2",
    .title = "Gemma 2",
    .known = "Gemma 2 2B, 9B, 27B",
    .classes = {"Gemma2ForCausalLM"},
    .code = 10,
    .read = read_gemma2,
    .write = write_gemma2,
    .names = dtx_gemma2_names,
    .ignored = dtx_llama_ignored,
    .targets = dtx_llama_targets,
};
