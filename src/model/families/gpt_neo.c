#include <string.h>

#include "src/model/families/table.h"

/* One name of a list: "global" or "local". */
static dtx_status set_layer(const dtx_cfg *s, const char *key, const cJSON *item, int64_t i, dtx_arch *a)
{
    const char *name = cJSON_IsString(item) ? item->valuestring : "";

    if (i >= a->n_layers || (strcmp(name, "global") != 0 && strcmp(name, "local") != 0)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: %s: \"global\" or \"local\" for each of %lld layers is expected", s->path, key,
                        (long long)a->n_layers);
    }
    a->layer[i] = strcmp(name, "local") == 0 ? DTX_LAYER_WINDOW : 0;
    return DTX_OK;
}

/* attention_types [[["global", "local"], 12]]: names in turn, so many times; attention_layers is the same written out. */
static dtx_status read_layers(const dtx_cfg *s, dtx_arch *a)
{
    const cJSON *types = dtx_json_get(s->root, "attention_types"), *layers = dtx_json_get(s->root, "attention_layers"), *item, *name;
    int64_t n = 0;

    if (layers == NULL && types == NULL) {
        for (int64_t i = 0; i < a->n_layers; i++) {
            a->layer[i] = i % 2 == 1 ? DTX_LAYER_WINDOW : 0;
        }
        return DTX_OK;
    }
    cJSON_ArrayForEach(item, layers)
    {
        DTX_TRY(set_layer(s, "attention_layers", item, n++, a));
    }
    if (layers == NULL) {
        cJSON_ArrayForEach(item, types)
        {
            const cJSON *names = cJSON_GetArrayItem(item, 0), *times = cJSON_GetArrayItem(item, 1);
            const double count = cJSON_IsNumber(times) ? times->valuedouble : 0;
            if (!cJSON_IsArray(names) || names->child == NULL || !(count >= 1 && count <= (double)a->n_layers)) {
                return DTX_FAIL(DTX_ERR_INPUT, "%s: attention_types: pairs of a list of names and a number are expected", s->path);
            }
            for (int64_t k = 0; k < (int64_t)count; k++) {
                cJSON_ArrayForEach(name, names)
                {
                    DTX_TRY(set_layer(s, "attention_types", name, n++, a));
                }
            }
        }
    }
    return n == a->n_layers ? DTX_OK
                            : DTX_FAIL(DTX_ERR_INPUT, "%s: %s names %lld layers, num_layers is %lld", s->path,
                                       layers != NULL ? "attention_layers" : "attention_types", (long long)n, (long long)a->n_layers);
}

/* transformers' GPTNeoConfig: scores are not divided by sqrt(head_dim). */
static dtx_status read_gpt_neo(const dtx_cfg *s, dtx_arch *a)
{
    a->causal = a->out_bias = a->mlp_bias = a->tied_head = true;
    a->activation = DTX_ACT_GELU_TANH;
    a->position = DTX_POS_LEARNED;
    a->max_positions = 2048;
    a->score_scale = 1;
    a->window = 256;
    DTX_TRY(dtx_cfg_need_int(s, "num_layers", "num_hidden_layers", DTX_CFG_MAX_LAYERS, &a->n_layers));
    DTX_TRY(dtx_cfg_need_int(s, "hidden_size", NULL, DTX_CFG_MAX_WIDTH, &a->hidden));
    DTX_TRY(dtx_cfg_need_int(s, "num_heads", "num_attention_heads", DTX_CFG_MAX_WIDTH, &a->n_heads));
    DTX_TRY(dtx_cfg_need_int(s, "vocab_size", NULL, DTX_CFG_MAX_VOCAB, &a->vocab));
    DTX_TRY(dtx_json_int(s->root, s->path, "max_position_embeddings", 1, DTX_CFG_MAX_VOCAB, &a->max_positions));
    if (a->hidden % a->n_heads != 0) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: num_heads: %lld heads do not divide hidden_size %lld", s->path, (long long)a->n_heads,
                        (long long)a->hidden);
    }
    a->head_dim = a->hidden / a->n_heads;
    a->n_kv = a->n_heads;
    a->ffn = 4 * a->hidden;
    DTX_TRY(dtx_json_int(s->root, s->path, "intermediate_size", 1, DTX_CFG_MAX_FFN, &a->ffn));
    DTX_TRY(dtx_cfg_activation(s, "activation_function", &a->activation));
    DTX_TRY(dtx_cfg_eps(s, "layer_norm_epsilon", 1e-5, a));
    DTX_TRY(dtx_json_bool(s->root, s->path, "tie_word_embeddings", &a->tied_head));
    DTX_TRY(dtx_json_int(s->root, s->path, "window_size", 1, DTX_CFG_MAX_VOCAB, &a->window));
    DTX_TRY(read_layers(s, a));
    return dtx_cfg_tokens(s, a);
}

static dtx_status write_gpt_neo(cJSON *o, const dtx_arch *a)
{
    cJSON *layers, *types, *pair;

    if (!a->causal || a->linear_bias || a->qkv_bias || !a->out_bias || !a->mlp_bias || a->fused_qkv || a->transposed ||
        a->position != DTX_POS_LEARNED || a->rms_norm || a->gated || a->parallel || a->post_norm || a->n_kv != a->n_heads || a->score_scale != 1 ||
        a->head_dim * a->n_heads != a->hidden) {
        return DTX_FAIL(DTX_ERR_USAGE, "a GPT-Neo configuration cannot state this model: it has learned positions, projections apart without "
                        "biases, scores that are not scaled");
    }
    dtx_cfg_add_number(o, "num_layers", (double)a->n_layers);
    dtx_cfg_add_number(o, "hidden_size", (double)a->hidden);
    dtx_cfg_add_number(o, "num_heads", (double)a->n_heads);
    dtx_cfg_add_number(o, "max_position_embeddings", (double)a->max_positions);
    dtx_cfg_add_number(o, "intermediate_size", (double)a->ffn);
    dtx_cfg_add_number(o, "vocab_size", (double)a->vocab);
    dtx_cfg_add_number(o, "window_size", (double)a->window);
    dtx_cfg_add_text(o, "activation_function", dtx_cfg_activation_name(a->activation));
    dtx_cfg_add_f32(o, "layer_norm_epsilon", a->norm_eps);
    layers = cJSON_CreateArray();
    for (int64_t i = 0; i < a->n_layers; i++) {
        cJSON_AddItemToArray(layers, cJSON_CreateString(a->layer[i] & DTX_LAYER_WINDOW ? "local" : "global"));
    }
    types = cJSON_AddArrayToObject(o, "attention_types");
    cJSON_AddItemToArray(types, pair = cJSON_CreateArray());
    cJSON_AddItemToArray(pair, layers);
    cJSON_AddItemToArray(pair, cJSON_CreateNumber(1));
    cJSON_AddItemToObject(o, "attention_layers", cJSON_Duplicate(layers, true));
    return DTX_OK;
}

static const dtx_part_name *names(const dtx_arch *a)
{
    static const dtx_part_name list[] = {{DTX_PART_WORDS, "transformer.wte"},
                                         {DTX_PART_POSITIONS, "transformer.wpe"},
                                         {DTX_PART_NORM1, "transformer.h.#.ln_1"},
                                         {DTX_MOD_K, "transformer.h.#.attn.attention.k_proj"},
                                         {DTX_MOD_V, "transformer.h.#.attn.attention.v_proj"},
                                         {DTX_MOD_Q, "transformer.h.#.attn.attention.q_proj"},
                                         {DTX_MOD_OUT, "transformer.h.#.attn.attention.out_proj"},
                                         {DTX_PART_NORM2, "transformer.h.#.ln_2"},
                                         {DTX_MOD_UP, "transformer.h.#.mlp.c_fc"},
                                         {DTX_MOD_DOWN, "transformer.h.#.mlp.c_proj"},
                                         {DTX_PART_FINAL_NORM, "transformer.ln_f"},
                                         {DTX_PART_HEAD, "lm_head"},
                                         {-1, NULL}};

    (void)a;
    return list;
}

static const char *const ignored[] = {"*.attn.attention.bias", "*.attn.attention.masked_bias", NULL};

static const char *const targets[] = {"q_proj", "v_proj", NULL};

const dtx_family dtx_family_gpt_neo = {
    .model_type = "gpt_neo",
    .title = "GPT-Neo",
    .known = "GPT-Neo 125M, 1.3B, 2.7B",
    .classes = {"GPTNeoForCausalLM"},
    .code = 14,
    .read = read_gpt_neo,
    .write = write_gpt_neo,
    .names = names,
    .ignored = ignored,
    .targets = targets,
};
