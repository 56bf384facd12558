#include "src/model/families/llama.h"

dtx_status dtx_llama_read(const dtx_cfg *s, const dtx_llama_defaults *d, dtx_arch *a)
{
    a->causal = a->rms_norm = a->gated = true;
    a->activation = DTX_ACT_SILU;
    a->tied_head = d->tied;
    a->max_positions = d->positions;
    a->position = DTX_POS_ROTARY;
    a->rope[0].base = d->theta;
    DTX_TRY(dtx_cfg_need_int(s, "num_hidden_layers", NULL, DTX_CFG_MAX_LAYERS, &a->n_layers));
    DTX_TRY(dtx_cfg_need_int(s, "hidden_size", NULL, DTX_CFG_MAX_WIDTH, &a->hidden));
    DTX_TRY(dtx_cfg_need_int(s, "num_attention_heads", NULL, DTX_CFG_MAX_WIDTH, &a->n_heads));
    DTX_TRY(dtx_cfg_need_int(s, "vocab_size", NULL, DTX_CFG_MAX_VOCAB, &a->vocab));
    DTX_TRY(dtx_cfg_need_int(s, "intermediate_size", NULL, DTX_CFG_MAX_FFN, &a->ffn));
    a->n_kv = d->n_kv > 0 ? d->n_kv : a->n_heads;
    DTX_TRY(dtx_json_int(s->root, s->path, "num_key_value_heads", 1, a->n_heads, &a->n_kv));
    if (a->n_heads % a->n_kv != 0) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: num_key_value_heads: %lld key/value heads do not divide %lld heads", s->path, (long long)a->n_kv,
                        (long long)a->n_heads);
    }
    a->head_dim = d->head_dim > 0 ? d->head_dim : a->hidden / a->n_heads;
    DTX_TRY(dtx_json_int(s->root, s->path, "head_dim", 2, DTX_CFG_MAX_WIDTH, &a->head_dim));
    if (d->head_dim == 0 && dtx_json_get(s->root, "head_dim") == NULL && a->hidden % a->n_heads != 0) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: num_attention_heads: %lld heads do not divide hidden_size %lld, and there is no head_dim",
                        s->path, (long long)a->n_heads, (long long)a->hidden);
    }
    if (a->head_dim % 2 != 0 || a->head_dim * a->n_heads > DTX_CFG_MAX_FFN) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: head_dim %lld: an even number is needed, %d for all heads at most", s->path,
                        (long long)a->head_dim, (int)DTX_CFG_MAX_FFN);
    }
    a->rotary_dims = a->head_dim;
    DTX_TRY(dtx_json_int(s->root, s->path, "max_position_embeddings", 1, DTX_CFG_MAX_VOCAB, &a->max_positions));
    DTX_TRY(dtx_json_double(s->root, s->path, "rope_theta", 1.0, 1e12, &a->rope[0].base));
    DTX_TRY(dtx_cfg_rope(s, dtx_json_get(s->root, "rope_scaling"), "rope_scaling", a->max_positions, &a->rope[0]));
    if (dtx_json_get(s->root, "rope_parameters.full_attention") == NULL) { /* else one set a layer type, the family's to read */
        DTX_TRY(dtx_cfg_rope(s, dtx_json_get(s->root, "rope_parameters"), "rope_parameters", a->max_positions, &a->rope[0]));
    }
    DTX_TRY(dtx_cfg_activation(s, "hidden_act", &a->activation));
    DTX_TRY(dtx_cfg_eps(s, "rms_norm_eps", d->eps, a));
    DTX_TRY(dtx_json_bool(s->root, s->path, "tie_word_embeddings", &a->tied_head));
    return dtx_cfg_tokens(s, a);
}

void dtx_llama_add(cJSON *o, const dtx_arch *a)
{
    dtx_cfg_add_sizes(o, a);
    dtx_cfg_add_number(o, "intermediate_size", (double)a->ffn);
    dtx_cfg_add_number(o, "num_key_value_heads", (double)a->n_kv);
    dtx_cfg_add_number(o, "head_dim", (double)a->head_dim);
    dtx_cfg_add_rope(o, &a->rope[0]);
    dtx_cfg_add_text(o, "hidden_act", a->activation == DTX_ACT_GELU_TANH ? "gelu_pytorch_tanh" : dtx_cfg_activation_name(a->activation));
    dtx_cfg_add_f32(o, "rms_norm_eps", a->norm_eps);
}

dtx_status dtx_llama_states(const dtx_arch *a, bool rest, const char *what)
{
    const bool same = a->causal && a->rms_norm && a->gated && !a->parallel && !a->post_norm && a->position == DTX_POS_ROTARY &&
                      a->rotary_dims == a->head_dim && !a->transposed && !a->linear_bias && !a->head_bias;

    return same && rest ? DTX_OK : DTX_FAIL(DTX_ERR_USAGE, "a configuration of this family cannot state this model: %s", what);
}

const dtx_part_name *dtx_llama_names(const dtx_arch *a)
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
                                         {DTX_PART_NORM2, "model.layers.#.post_attention_layernorm"},
                                         {DTX_PART_FINAL_NORM, "model.norm"},
                                         {DTX_PART_HEAD, "lm_head"},
                                         {-1, NULL}};

    (void)a;
    return list;
}

const dtx_part_name *dtx_llama_end_names(const dtx_arch *a)
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

const char *const dtx_llama_ignored[] = {"*.inv_freq", NULL};

void dtx_llama_fresh(dtx_arch *a)
{
    a->causal = a->rms_norm = a->gated = true;
    a->activation = DTX_ACT_SILU;
    a->n_kv = a->n_heads;
    a->position = DTX_POS_ROTARY;
    a->rope[0].base = 10000.0;
    a->rotary_dims = a->head_dim;
    /* three matrices instead of two: 8/3 hidden keep the size of 4 hidden, rounded up to a multiple of 8 */
    a->ffn = (a->hidden * 8 / 3 + 7) / 8 * 8;
}

/* transformers' LlamaConfig. attention_bias covers q, k, v and o. */
static dtx_status read_llama(const dtx_cfg *s, dtx_arch *a)
{
    static const dtx_llama_defaults defaults = {.positions = 2048, .theta = 10000.0, .eps = 1e-6};

    DTX_TRY(dtx_llama_read(s, &defaults, a));
    DTX_TRY(dtx_json_bool(s->root, s->path, "attention_bias", &a->qkv_bias));
    a->out_bias = a->qkv_bias;
    return dtx_json_bool(s->root, s->path, "mlp_bias", &a->mlp_bias);
}

static dtx_status write_llama(cJSON *o, const dtx_arch *a)
{
    DTX_TRY(dtx_llama_states(a, !a->fused_qkv && !a->fused_gate && !a->qk_norm && !a->bare_input && !a->branch_norm && !a->norm_plus_one &&
                             a->window == 0 && a->qkv_bias == a->out_bias, "it has projections apart, two norms a layer, no windows"));
    dtx_llama_add(o, a);
    dtx_cfg_add_bool(o, "attention_bias", a->qkv_bias);
    dtx_cfg_add_bool(o, "mlp_bias", a->mlp_bias);
    return DTX_OK;
}

const char *const dtx_llama_targets[] = {"q_proj", "v_proj", NULL};

const dtx_family dtx_family_llama = {.model_type = "llama",
                                     .title = "Llama",
                                     .known = "Llama 2 and 3.x, TinyLlama, SmolLM2, Falcon 3, DeepSeek-R1-Distill-Llama, Llama Guard",
                                     .classes = {"LlamaForCausalLM"},
                                     .code = 3,
                                     .read = read_llama,
                                     .write = write_llama,
                                     .names = dtx_llama_names,
                                     .ignored = dtx_llama_ignored,
    .targets = dtx_llama_targets,
                                     .fresh = dtx_llama_fresh};
