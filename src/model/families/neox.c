#include <stdio.h>
#include <string.h>

#include "src/model/families/table.h"

/* transformers' GPTNeoXConfig; defaults of the library where a key is absent. */
static dtx_status read_neox(const dtx_cfg *s, dtx_arch *a)
{

    a->causal = a->fused_qkv = a->linear_bias = a->parallel = true;
    DTX_TRY(dtx_cfg_sizes(s, NULL, NULL, a));
    DTX_TRY(dtx_cfg_need_int(s, "intermediate_size", NULL, DTX_CFG_MAX_FFN, &a->ffn));
    DTX_TRY(dtx_cfg_need_int(s, "max_position_embeddings", NULL, DTX_CFG_MAX_VOCAB, &a->max_positions));
    DTX_TRY(dtx_cfg_rotary(s, 0.25, a));
    DTX_TRY(dtx_cfg_activation(s, "hidden_act", &a->activation));
    DTX_TRY(dtx_cfg_eps(s, "layer_norm_eps", 1e-5, a));
    DTX_TRY(dtx_json_bool(s->root, s->path, "use_parallel_residual", &a->parallel));
    DTX_TRY(dtx_json_bool(s->root, s->path, "tie_word_embeddings", &a->tied_head));
    DTX_TRY(dtx_cfg_need_bool(s, "attention_bias", true));
    return dtx_cfg_tokens(s, a);
}

static dtx_status write_neox(cJSON *o, const dtx_arch *a)
{
    if (a->position != DTX_POS_ROTARY || a->n_kv != a->n_heads || !a->linear_bias || a->shared_norm) {
        return DTX_FAIL(DTX_ERR_USAGE,
                        "a GPT-NeoX configuration cannot state this model: it has rotary positions, as many "
                        "key/value heads as heads, biases and two norms a layer");
    }
    dtx_cfg_add_sizes(o, a);
    dtx_cfg_add_number(o, "intermediate_size", (double)a->ffn);
    dtx_cfg_add_number(o, "rotary_pct", (double)a->rotary_dims / (double)a->head_dim);
    dtx_cfg_add_number(o, "rotary_emb_base", a->rope[0].base);
    dtx_cfg_add_text(o, "hidden_act", dtx_cfg_activation_name(a->activation));
    dtx_cfg_add_f32(o, "layer_norm_eps", a->norm_eps);
    dtx_cfg_add_bool(o, "use_parallel_residual", a->parallel);
    return DTX_OK;
}

static const dtx_part_name *names(const dtx_arch *a)
{
    static const dtx_part_name list[] = {{DTX_PART_WORDS, "gpt_neox.embed_in"},
                                         {DTX_PART_NORM1, "gpt_neox.layers.#.input_layernorm"},
                                         {DTX_PART_NORM2, "gpt_neox.layers.#.post_attention_layernorm"},
                                         {DTX_MOD_QKV, "gpt_neox.layers.#.attention.query_key_value"},
                                         {DTX_MOD_OUT, "gpt_neox.layers.#.attention.dense"},
                                         {DTX_MOD_UP, "gpt_neox.layers.#.mlp.dense_h_to_4h"},
                                         {DTX_MOD_DOWN, "gpt_neox.layers.#.mlp.dense_4h_to_h"},
                                         {DTX_PART_FINAL_NORM, "gpt_neox.final_layer_norm"},
                                         {DTX_PART_HEAD, "embed_out"},
                                         {-1, NULL}};

    (void)a;
    return list;
}

/* Pythia's block: parallel residual, rotary over a quarter of each head, an untied head. */
static void fresh(dtx_arch *a)
{
    a->causal = a->fused_qkv = a->linear_bias = a->parallel = true;
    a->n_kv = a->n_heads;
    a->position = DTX_POS_ROTARY;
    a->rope[0].base = 10000.0;
    a->rotary_dims = a->head_dim / 4 / 2 * 2;
    if (a->rotary_dims < 2) {
        a->rotary_dims = a->head_dim;
    }
}

static const char *const ignored[] = {"*.attention.bias", "*.attention.masked_bias", "*.inv_freq", NULL};

static const char *const targets[] = {"query_key_value", NULL};

const dtx_family dtx_family_neox = {.model_type = "gpt_neox",
                                    .title = "GPT-NeoX",
                                    .known = "Pythia, RedPajama-INCITE",
                                    .classes = {"GPTNeoXForCausalLM"},
                                    .code = 0,
                                    .study = true,
                                    .read = read_neox,
                                    .write = write_neox,
                                    .names = names,
                                    .ignored = ignored,
    .targets = targets,
                                    .fresh = fresh};
