#include "src/model/arch.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "src/base/file.h"
#include "src/base/hash.h"
#include "src/base/json.h"
#include "src/base/mem.h"

static void add_text(cJSON *o, const char *key, const char *value)
{
    cJSON_AddItemToObject(o, key, cJSON_CreateString(value));
}

static void add_number(cJSON *o, const char *key, double value)
{
    cJSON_AddItemToObject(o, key, cJSON_CreateNumber(value));
}

static void add_bool(cJSON *o, const char *key, bool value)
{
    cJSON_AddItemToObject(o, key, cJSON_CreateBool(value));
}

/* An f32 value with the digits a person would have typed: 1e-05, not 9.999999747e-06. */
static void add_f32(cJSON *o, const char *key, float value)
{
    char text[32];

    snprintf(text, sizeof text, "%.7g", (double)value);
    cJSON_AddItemToObject(o, key, cJSON_CreateRaw(text));
}

static const char *activation_name(dtx_activation act)
{
    return act == DTX_ACT_GELU_ERF ? "gelu" : act == DTX_ACT_GELU_TANH ? "gelu_new" : "relu";
}

static void write_sizes(cJSON *o, const dtx_arch *a)
{
    add_number(o, "hidden_size", (double)a->hidden);
    add_number(o, "num_hidden_layers", (double)a->n_layers);
    add_number(o, "num_attention_heads", (double)a->n_heads);
    add_number(o, "vocab_size", (double)a->vocab);
    add_number(o, "max_position_embeddings", (double)a->max_positions);
}

static dtx_status write_neox(cJSON *o, const dtx_arch *a)
{
    if (a->position != DTX_POS_ROTARY || a->n_kv != a->n_heads || !a->linear_bias || a->shared_norm) {
        return DTX_FAIL(DTX_ERR_USAGE,
                        "a GPT-NeoX configuration cannot state this model: it has rotary positions, as many "
                        "key/value heads as heads, biases and two norms a layer");
    }
    write_sizes(o, a);
    add_number(o, "intermediate_size", (double)a->ffn);
    add_number(o, "rotary_pct", (double)a->rotary_dims / (double)a->head_dim);
    add_number(o, "rotary_emb_base", a->rotary_base);
    add_text(o, "hidden_act", activation_name(a->activation));
    add_f32(o, "layer_norm_eps", a->norm_eps);
    add_bool(o, "use_parallel_residual", a->parallel);
    return DTX_OK;
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
    write_sizes(o, a);
    add_number(o, "ffn_hidden_size", (double)a->ffn);
    add_bool(o, "alibi", a->position == DTX_POS_ALIBI);
    if (a->position == DTX_POS_ROTARY) {
        add_number(o, "rope_theta", a->rotary_base);
    }
    add_text(o, "activation", activation_name(a->activation));
    add_f32(o, "layer_norm_epsilon", a->norm_eps);
    add_bool(o, "bias", a->linear_bias);
    add_bool(o, "apply_residual_connection_post_layernorm", false);
    add_bool(o, "parallel_attn", a->parallel);
    add_bool(o, "new_decoder_architecture", grouped);
    add_bool(o, "multi_query", a->n_kv == 1 && a->n_heads != 1);
    if (grouped) {
        add_number(o, "num_kv_heads", (double)a->n_kv);
        add_number(o, "num_ln_in_parallel_attn", own_norms ? 2 : 1);
    }
    return DTX_OK;
}

static dtx_status write_roberta(cJSON *o, const dtx_arch *a)
{
    cJSON *ids = cJSON_CreateObject(), *labels = cJSON_CreateObject();

    cJSON_AddItemToObject(o, "id2label", ids);
    cJSON_AddItemToObject(o, "label2id", labels);
    for (int64_t i = 0; i < a->n_labels; i++) {
        char number[24];
        snprintf(number, sizeof number, "%lld", (long long)i);
        add_text(ids, number, a->labels[i]);
        add_number(labels, a->labels[i], (double)i);
    }
    write_sizes(o, a);
    add_number(o, "intermediate_size", (double)a->ffn);
    add_number(o, "type_vocab_size", (double)a->type_vocab);
    add_text(o, "hidden_act", activation_name(a->activation));
    add_f32(o, "layer_norm_eps", a->norm_eps);
    add_text(o, "position_embedding_type", "absolute");
    add_text(o, "problem_type", a->multi_label ? "multi_label_classification" : "single_label_classification");
    return DTX_OK;
}

static dtx_status write_all(cJSON *o, const dtx_arch *a, const char *torch_dtype)
{
    static const char *const classes[] = {"GPTNeoXForCausalLM", "FalconForCausalLM",
                                          "RobertaForSequenceClassification"};
    static const char *const types[] = {"gpt_neox", "falcon", "roberta"};

    cJSON_AddItemToObject(o, "architectures", cJSON_CreateStringArray(&classes[a->family], 1));
    add_text(o, "model_type", types[a->family]);
    add_text(o, "torch_dtype", torch_dtype);
    if (a->family == DTX_NEOX) {
        DTX_TRY(write_neox(o, a));
    } else if (a->family == DTX_FALCON) {
        DTX_TRY(write_falcon(o, a));
    } else {
        DTX_TRY(write_roberta(o, a));
    }
    if (a->family != DTX_ROBERTA) {
        add_bool(o, "tie_word_embeddings", a->tied_head);
    }
    if (a->bos_id >= 0) {
        add_number(o, "bos_token_id", (double)a->bos_id);
    }
    if (a->eos_id >= 0) {
        add_number(o, "eos_token_id", (double)a->eos_id);
    }
    if (a->pad_id >= 0) {
        add_number(o, "pad_token_id", (double)a->pad_id);
    }
    add_number(o, "initializer_range", 0.02);
    add_bool(o, "use_cache", true);
    return DTX_OK;
}

dtx_status dtx_arch_write(const char *dir, const dtx_arch *a, const char *torch_dtype)
{
    char path[4096], *text = NULL;
    cJSON *o = cJSON_CreateObject();
    dtx_status st = DTX_OK;

    DTX_GO(dtx_mem_check(o, 1, sizeof *o, "config.json"));
    DTX_GO(dtx_file_join(path, sizeof path, dir, "config.json"));
    DTX_GO(write_all(o, a, torch_dtype));
    text = cJSON_Print(o);
    DTX_GO(dtx_mem_check(text, 1, 1, "config.json"));
    DTX_GO(dtx_file_write(path, text, strlen(text)));
done:
    cJSON_free(text);
    cJSON_Delete(o);
    return st;
}

dtx_status dtx_arch_fingerprint(const dtx_arch *a, const char *weights, char out[65])
{
    char text[768];
    /* the pad token starts RoBERTa's positions; elsewhere it has no part in a pass */
    const int64_t first = a->position == DTX_POS_LEARNED ? a->pad_id : -1;

    snprintf(text, sizeof text,
             "%s family %d layers %" PRId64 " hidden %" PRId64 " heads %" PRId64 " of %" PRId64 " kv %" PRId64 " ffn %" PRId64
             " vocab %" PRId64 " causal %d parallel %d shared_norm %d post_norm %d fused %d bias %d head_bias %d tied %d position %d"
             " from %" PRId64 " rotary %" PRId64 " base %.17g act %d eps %.9g types %" PRId64 " labels %" PRId64 " multi %d",
             weights, (int)a->family, a->n_layers, a->hidden, a->n_heads, a->head_dim, a->n_kv, a->ffn, a->vocab, a->causal,
             a->parallel, a->shared_norm, a->post_norm, a->fused_qkv, a->linear_bias, a->head_bias, a->tied_head, (int)a->position,
             first, a->rotary_dims, a->rotary_base, (int)a->activation, (double)a->norm_eps, a->type_vocab, a->n_labels,
             a->multi_label);
    return dtx_sha256_bytes(text, strlen(text), out);
}
