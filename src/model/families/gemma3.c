#include <math.h>
#include <string.h>

#include "src/model/families/gemma.h"

/* From 4B on a folder holds a model of pictures and texts: its text_config describes the part that is used here. */
static bool with_pictures(const dtx_arch *a)
{
    return strcmp(a->model_type, "gemma3") == 0;
}

/* Positions of the layers that see everything (the first rope, with its scaling) and of those with a window (the second). */
static dtx_status read_ropes(const dtx_cfg *s, dtx_arch *a)
{
    a->rope[1].base = 10000.0;
    DTX_TRY(dtx_json_double(s->root, s->path, "rope_local_base_freq", 1.0, 1e12, &a->rope[1].base));
    DTX_TRY(dtx_cfg_rope(s, dtx_json_get(s->root, "rope_parameters.full_attention"), "rope_parameters.full_attention", a->max_positions,
                         &a->rope[0]));
    return dtx_cfg_rope(s, dtx_json_get(s->root, "rope_parameters.sliding_attention"), "rope_parameters.sliding_attention",
                        a->max_positions, &a->rope[1]);
}

static dtx_status read_text(const dtx_cfg *s, dtx_arch *a)
{
    static const dtx_llama_defaults defaults = {.head_dim = 256, .n_kv = 4, .positions = 131072, .theta = 1e6, .eps = 1e-6, .tied = true};
    int64_t pattern = 6;
    bool given = false;

    DTX_TRY(dtx_gemma_read(s, &defaults, a));
    a->branch_norm = a->qk_norm = true;
    a->window = 4096;
    DTX_TRY(dtx_gemma_read_scale(s, a));
    DTX_TRY(dtx_gemma_read_cap(s, "attn_logit_softcapping", 0, &a->score_cap));
    DTX_TRY(dtx_gemma_read_cap(s, "final_logit_softcapping", 0, &a->logit_cap));
    DTX_TRY(dtx_cfg_need_bool(s, "use_bidirectional_attention", false));
    DTX_TRY(read_ropes(s, a));
    DTX_TRY(dtx_json_int(s->root, s->path, "sliding_window_pattern", 1, DTX_CFG_MAX_LAYERS, &pattern));
    DTX_TRY(dtx_cfg_layer_types(s, a, &given));
    for (int64_t i = 0; i < a->n_layers; i++) {
        if (!given && (i + 1) % pattern != 0) {
            a->layer[i] |= DTX_LAYER_WINDOW;
        }
        a->layer[i] |= a->layer[i] & DTX_LAYER_WINDOW ? DTX_LAYER_ROPE2 : 0;
    }
    return dtx_cfg_window(s, a);
}

static dtx_status read_gemma3(const dtx_cfg *s, dtx_arch *a)
{
    const dtx_cfg text = {dtx_json_get(s->root, "text_config"), s->path};

    if (!with_pictures(a)) {
        return read_text(s, a);
    }
    if (!cJSON_IsObject(text.root)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: text_config: an object is expected for model_type gemma3", s->path);
    }
    DTX_TRY(read_text(&text, a));
    DTX_TRY(dtx_json_bool(s->root, s->path, "tie_word_embeddings", &a->tied_head));
    return dtx_cfg_tokens(s, a);
}

static dtx_status write_gemma3(cJSON *o, const dtx_arch *a)
{
    bool same = !a->fused_qkv && !a->fused_gate && a->qk_norm && !a->qk_norm_wide && !a->bare_input && a->branch_norm && a->norm_plus_one &&
                a->qkv_bias == a->out_bias && !a->mlp_bias && a->score_scale > 0 && a->rope[1].type == DTX_ROPE_PLAIN && !with_pictures(a);

    for (int64_t i = 0; i < a->n_layers; i++) {
        same = same && (a->layer[i] == 0 || a->layer[i] == (DTX_LAYER_WINDOW | DTX_LAYER_ROPE2));
    }
    DTX_TRY(dtx_llama_states(a, same, "it has norms of 1 + w around the branches, norms of each head's queries and keys, and its own positions in "
                             "layers with a window; the part for pictures is not written"));
    dtx_gemma_add(o, a);
    dtx_cfg_add_number(o, "query_pre_attn_scalar", 1 / (a->score_scale * a->score_scale));
    dtx_cfg_add_number(o, "rope_local_base_freq", a->rope[1].base);
    dtx_cfg_add_number(o, "sliding_window", a->window > 0 ? (double)a->window : 4096);
    dtx_cfg_add_layer_types(o, a);
    return DTX_OK;
}

static const dtx_part_name *names(const dtx_arch *a)
{
    static const dtx_part_name list[] = {{DTX_PART_WORDS, "model.language_model.embed_tokens"},
                                         {DTX_MOD_Q, "model.language_model.layers.#.self_attn.q_proj"},
                                         {DTX_MOD_K, "model.language_model.layers.#.self_attn.k_proj"},
                                         {DTX_MOD_V, "model.language_model.layers.#.self_attn.v_proj"},
                                         {DTX_MOD_OUT, "model.language_model.layers.#.self_attn.o_proj"},
                                         {DTX_PART_Q_NORM, "model.language_model.layers.#.self_attn.q_norm"},
                                         {DTX_PART_K_NORM, "model.language_model.layers.#.self_attn.k_norm"},
                                         {DTX_MOD_GATE, "model.language_model.layers.#.mlp.gate_proj"},
                                         {DTX_MOD_UP, "model.language_model.layers.#.mlp.up_proj"},
                                         {DTX_MOD_DOWN, "model.language_model.layers.#.mlp.down_proj"},
                                         {DTX_PART_NORM1, "model.language_model.layers.#.input_layernorm"},
                                         {DTX_PART_NORM1_END, "model.language_model.layers.#.post_attention_layernorm"},
                                         {DTX_PART_NORM2, "model.language_model.layers.#.pre_feedforward_layernorm"},
                                         {DTX_PART_NORM2_END, "model.language_model.layers.#.post_feedforward_layernorm"},
                                         {DTX_PART_FINAL_NORM, "model.language_model.norm"},
                                         {DTX_PART_HEAD, "lm_head"},
                                         {-1, NULL}};

    return with_pictures(a) ? list : dtx_llama_end_names(a);
}

static const char *const ignored[] = {"*.inv_freq", "vision_tower.*", "multi_modal_projector.*", "model.vision_tower.*",
                                      "model.multi_modal_projector.*", NULL};

/* Before version 4.52 of the library the part for texts was a model of its own under language_model. */
static const dtx_spelling spellings[] = {{"model.language_model.", "language_model.model."}, {"lm_head", "language_model.lm_head"},
                                         {NULL, NULL}};

const dtx_family dtx_family_gemma3 = {
    .model_type = "gemma3_text",
    .title = "Gemma 3",
    .known = "Gemma 3 270M, 1B; of 4B, 12B, 27B the part for texts",
    .classes = {"Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"},
    .code = 11,
    .read = read_gemma3,
    .write = write_gemma3,
    .dialects = {"gemma3"},
    .names = names,
    .ignored = ignored,
    .targets = dtx_llama_targets,
    .spellings = spellings,
};
