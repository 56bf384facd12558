#include <stdio.h>
#include <string.h>

#include "src/model/families/table.h"

/* Falcon as transformers has it ("falcon"), and the two dialects of the code that came with the released weights:
 * "RefinedWebModel" (7B) and "RefinedWeb" (40B; with n_head_kv it means the block with norms of its own per branch). */
static dtx_status read_falcon(const dtx_cfg *s, dtx_arch *a)
{
    bool library = strcmp(a->model_type, "falcon") == 0;
    bool alibi = false, multi_query = library, parallel = library;
    bool grouped = !library && strcmp(a->model_type, "RefinedWeb") == 0 && dtx_json_get(s->root, "n_head_kv") != NULL;
    int64_t n_kv = 0, n_norms = 0;

    a->causal = a->fused_qkv = a->tied_head = true;
    DTX_TRY(dtx_cfg_sizes(s, "n_layer", "n_head", a));
    a->ffn = 4 * a->hidden;
    DTX_TRY(dtx_json_int(s->root, s->path, "ffn_hidden_size", 1, DTX_CFG_MAX_FFN, &a->ffn));
    a->max_positions = 2048; /* what the models were trained with; the released files do not say */
    DTX_TRY(dtx_json_int(s->root, s->path, "max_position_embeddings", 1, DTX_CFG_MAX_VOCAB, &a->max_positions));
    DTX_TRY(dtx_json_bool(s->root, s->path, "alibi", &alibi));
    if (alibi) {
        a->position = DTX_POS_ALIBI;
    } else {
        DTX_TRY(dtx_cfg_rotary(s, 1.0, a));
    }
    DTX_TRY(dtx_cfg_activation(s, "activation", &a->activation));
    DTX_TRY(dtx_cfg_eps(s, "layer_norm_epsilon", 1e-5, a));
    DTX_TRY(dtx_json_bool(s->root, s->path, "bias", &a->linear_bias));
    DTX_TRY(dtx_json_bool(s->root, s->path, "tie_word_embeddings", &a->tied_head));
    DTX_TRY(dtx_cfg_need_bool(s, "apply_residual_connection_post_layernorm", false));
    DTX_TRY(dtx_json_bool(s->root, s->path, "multi_query", &multi_query));
    DTX_TRY(dtx_json_bool(s->root, s->path, "new_decoder_architecture", &grouped));
    parallel = parallel || grouped;
    DTX_TRY(dtx_json_bool(s->root, s->path, "parallel_attn", &parallel));
    DTX_TRY(dtx_json_int(s->root, s->path, library ? "num_kv_heads" : "n_head_kv", 1, a->n_heads, &n_kv));
    if (grouped && !parallel) {
        return dtx_cfg_unsupported(s, "parallel_attn", "true where new_decoder_architecture is true");
    }

    a->parallel = parallel;
    a->shared_norm = parallel && !grouped;
    DTX_TRY(dtx_json_int(s->root, s->path, "num_ln_in_parallel_attn", 1, 2, &n_norms));
    if (n_norms == 2 && !grouped) {
        return dtx_cfg_unsupported(s, "num_ln_in_parallel_attn", "2 only where new_decoder_architecture is true");
    }
    a->shared_norm = a->shared_norm || n_norms == 1;
    if (grouped) {
        a->n_kv = n_kv > 0 ? n_kv : a->n_heads;
        if (a->n_heads % a->n_kv != 0) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: %s: %lld key/value heads do not divide %lld heads", s->path,
                            library ? "num_kv_heads" : "n_head_kv", (long long)a->n_kv, (long long)a->n_heads);
        }
    } else if (multi_query) {
        a->n_kv = 1;
    } else if (n_kv > 0 && n_kv != a->n_heads) {
        return dtx_cfg_unsupported(s, library ? "num_kv_heads" : "n_head_kv",
                           "the number of heads, where neither multi_query nor new_decoder_architecture is true");
    }
    return dtx_cfg_tokens(s, a);
}

static dtx_status write_falcon(cJSON *o, const dtx_arch *a)
{
    bool own_norms = a->parallel && !a->shared_norm;
    bool grouped = own_norms || (a->parallel && a->n_kv != 1 && a->n_kv != a->n_heads);

    if (a->position == DTX_POS_LEARNED || (a->position == DTX_POS_ROTARY && a->rotary_dims != a->head_dim) ||
        (!grouped && a->n_kv != 1 && a->n_kv != a->n_heads)) {
        return DTX_FAIL(DTX_ERR_USAGE,
                        "a Falcon configuration cannot state this model: it has ALiBi, or rotary positions over "
                        "the whole head; and 1 or all key/value heads unless the residual is parallel");
    }
    dtx_cfg_add_sizes(o, a);
    dtx_cfg_add_number(o, "ffn_hidden_size", (double)a->ffn);
    dtx_cfg_add_bool(o, "alibi", a->position == DTX_POS_ALIBI);
    if (a->position == DTX_POS_ROTARY) {
        dtx_cfg_add_number(o, "rope_theta", a->rope[0].base);
    }
    dtx_cfg_add_text(o, "activation", dtx_cfg_activation_name(a->activation));
    dtx_cfg_add_f32(o, "layer_norm_epsilon", a->norm_eps);
    dtx_cfg_add_bool(o, "bias", a->linear_bias);
    dtx_cfg_add_bool(o, "apply_residual_connection_post_layernorm", false);
    dtx_cfg_add_bool(o, "parallel_attn", a->parallel);
    dtx_cfg_add_bool(o, "new_decoder_architecture", grouped);
    dtx_cfg_add_bool(o, "multi_query", a->n_kv == 1 && a->n_heads != 1);
    if (grouped) {
        dtx_cfg_add_number(o, "num_kv_heads", (double)a->n_kv);
        dtx_cfg_add_number(o, "num_ln_in_parallel_attn", own_norms ? 2 : 1);
    }
    return DTX_OK;
}

static const dtx_part_name *names(const dtx_arch *a)
{
    static const dtx_part_name two_branches[] = {{DTX_PART_WORDS, "transformer.word_embeddings"},
                                                 {DTX_PART_NORM1, "transformer.h.#.ln_attn"},
                                                 {DTX_PART_NORM2, "transformer.h.#.ln_mlp"},
                                                 {DTX_MOD_QKV, "transformer.h.#.self_attention.query_key_value"},
                                                 {DTX_MOD_OUT, "transformer.h.#.self_attention.dense"},
                                                 {DTX_MOD_UP, "transformer.h.#.mlp.dense_h_to_4h"},
                                                 {DTX_MOD_DOWN, "transformer.h.#.mlp.dense_4h_to_h"},
                                                 {DTX_PART_FINAL_NORM, "transformer.ln_f"},
                                                 {DTX_PART_HEAD, "lm_head"},
                                                 {-1, NULL}};
    static const dtx_part_name other[] = {{DTX_PART_WORDS, "transformer.word_embeddings"},
                                          {DTX_PART_NORM1, "transformer.h.#.input_layernorm"},
                                          {DTX_PART_NORM2, "transformer.h.#.post_attention_layernorm"},
                                          {DTX_MOD_QKV, "transformer.h.#.self_attention.query_key_value"},
                                          {DTX_MOD_OUT, "transformer.h.#.self_attention.dense"},
                                          {DTX_MOD_UP, "transformer.h.#.mlp.dense_h_to_4h"},
                                          {DTX_MOD_DOWN, "transformer.h.#.mlp.dense_4h_to_h"},
                                          {DTX_PART_FINAL_NORM, "transformer.ln_f"},
                                          {DTX_PART_HEAD, "lm_head"},
                                          {-1, NULL}};

    return a->parallel && !a->shared_norm ? two_branches : other;
}

/* Falcon 7B's block: one norm feeds both branches, one key/value head, a tied head. */
static void fresh(dtx_arch *a)
{
    a->causal = a->fused_qkv = a->parallel = a->shared_norm = a->tied_head = true;
    a->n_kv = 1;
    a->position = DTX_POS_ROTARY;
    a->rope[0].base = 10000.0;
    a->rotary_dims = a->head_dim;
}

static const char *const ignored[] = {"*.inv_freq", NULL};

static const char *const targets[] = {"query_key_value", NULL};

const dtx_family dtx_family_falcon = {.model_type = "falcon",
                                      .dialects = {"RefinedWeb", "RefinedWebModel"},
                                      .title = "Falcon",
                                      .known = "Falcon 7B, 40B, RW",
                                      .classes = {"FalconForCausalLM", "RWForCausalLM"},
                                      .code = 1,
                                      .study = true,
                                      .read = read_falcon,
                                      .write = write_falcon,
                                      .names = names,
                                      .ignored = ignored,
    .targets = targets,
                                      .fresh = fresh};
