#include "src/model/families/table.h"

/* transformers' GPT2Config; n_embd, n_layer, n_head, n_positions are the names of its sizes. */
static dtx_status read_gpt2(const dtx_cfg *s, dtx_arch *a)
{
    a->causal = a->linear_bias = a->fused_qkv = a->qkv_blocks = a->transposed = a->tied_head = true;
    a->activation = DTX_ACT_GELU_TANH;
    a->position = DTX_POS_LEARNED;
    a->max_positions = 1024;
    DTX_TRY(dtx_cfg_need_int(s, "n_layer", "num_hidden_layers", DTX_CFG_MAX_LAYERS, &a->n_layers));
    DTX_TRY(dtx_cfg_need_int(s, "n_embd", "hidden_size", DTX_CFG_MAX_WIDTH, &a->hidden));
    DTX_TRY(dtx_cfg_need_int(s, "n_head", "num_attention_heads", DTX_CFG_MAX_WIDTH, &a->n_heads));
    DTX_TRY(dtx_cfg_need_int(s, "vocab_size", NULL, DTX_CFG_MAX_VOCAB, &a->vocab));
    DTX_TRY(dtx_json_int(s->root, s->path, "n_positions", 1, DTX_CFG_MAX_VOCAB, &a->max_positions));
    if (a->hidden % a->n_heads != 0) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: n_head: %lld heads do not divide n_embd %lld", s->path, (long long)a->n_heads, (long long)a->hidden);
    }
    a->head_dim = a->hidden / a->n_heads;
    a->n_kv = a->n_heads;
    a->ffn = 4 * a->hidden;
    DTX_TRY(dtx_json_int(s->root, s->path, "n_inner", 1, DTX_CFG_MAX_FFN, &a->ffn));
    DTX_TRY(dtx_cfg_activation(s, "activation_function", &a->activation));
    DTX_TRY(dtx_cfg_eps(s, "layer_norm_epsilon", 1e-5, a));
    DTX_TRY(dtx_cfg_need_bool(s, "scale_attn_weights", true));
    DTX_TRY(dtx_cfg_need_bool(s, "scale_attn_by_inverse_layer_idx", false));
    DTX_TRY(dtx_json_bool(s->root, s->path, "tie_word_embeddings", &a->tied_head));
    return dtx_cfg_tokens(s, a);
}

static dtx_status write_gpt2(cJSON *o, const dtx_arch *a)
{
    if (!a->causal || !a->linear_bias || !a->fused_qkv || !a->qkv_blocks || !a->transposed || a->position != DTX_POS_LEARNED || a->rms_norm ||
        a->gated || a->parallel || a->post_norm || a->n_kv != a->n_heads || a->head_dim * a->n_heads != a->hidden || a->window != 0) {
        return DTX_FAIL(DTX_ERR_USAGE, "a GPT-2 configuration cannot state this model: it has learned positions, biases, a fused projection, "
                        "as many key/value heads as heads");
    }
    dtx_cfg_add_number(o, "n_layer", (double)a->n_layers);
    dtx_cfg_add_number(o, "n_embd", (double)a->hidden);
    dtx_cfg_add_number(o, "n_head", (double)a->n_heads);
    dtx_cfg_add_number(o, "n_positions", (double)a->max_positions);
    dtx_cfg_add_number(o, "n_inner", (double)a->ffn);
    dtx_cfg_add_number(o, "vocab_size", (double)a->vocab);
    dtx_cfg_add_text(o, "activation_function", dtx_cfg_activation_name(a->activation));
    dtx_cfg_add_f32(o, "layer_norm_epsilon", a->norm_eps);
    return DTX_OK;
}

static const dtx_part_name *names(const dtx_arch *a)
{
    static const dtx_part_name list[] = {{DTX_PART_WORDS, "transformer.wte"},
                                         {DTX_PART_POSITIONS, "transformer.wpe"},
                                         {DTX_PART_NORM1, "transformer.h.#.ln_1"},
                                         {DTX_MOD_QKV, "transformer.h.#.attn.c_attn"},
                                         {DTX_MOD_OUT, "transformer.h.#.attn.c_proj"},
                                         {DTX_PART_NORM2, "transformer.h.#.ln_2"},
                                         {DTX_MOD_UP, "transformer.h.#.mlp.c_fc"},
                                         {DTX_MOD_DOWN, "transformer.h.#.mlp.c_proj"},
                                         {DTX_PART_FINAL_NORM, "transformer.ln_f"},
                                         {DTX_PART_HEAD, "lm_head"},
                                         {-1, NULL}};

    (void)a;
    return list;
}

/* masks that old folders carry */
static const char *const ignored[] = {"*.attn.bias", "*.attn.masked_bias", NULL};
/* the released folders hold the model without its head, whose names have no prefix */
static const dtx_spelling spellings[] = {{"transformer.", ""}, {NULL, NULL}};

static const char *const targets[] = {"c_attn", NULL};

const dtx_family dtx_family_gpt2 = {
    .model_type = "gpt2",
    .title = "GPT-2",
    .known = "GPT-2 124M to 1.5B, DistilGPT-2, DialoGPT",
    .classes = {"GPT2LMHeadModel"},
    .code = 13,
    .read = read_gpt2,
    .write = write_gpt2,
    .names = names,
    .ignored = ignored,
    .targets = targets,
    .spellings = spellings,
};
