#include "src/model/families/llama.h"

/* no_rope_layers: 1 where a layer has positions; else every no_rope_layer_interval-th has none. */
static dtx_status read_bare_layers(const dtx_cfg *s, dtx_arch *a)
{
    const cJSON *list = dtx_json_get(s->root, "no_rope_layers"), *item;
    int64_t interval = 4, i = 0;

    DTX_TRY(dtx_json_int(s->root, s->path, "no_rope_layer_interval", 1, DTX_CFG_MAX_LAYERS, &interval));
    for (int64_t k = 0; list == NULL && k < a->n_layers; k++) {
        a->layer[k] |= (k + 1) % interval == 0 ? DTX_LAYER_NO_ROPE : 0;
    }
    if (list != NULL && (!cJSON_IsArray(list) || cJSON_GetArraySize(list) != a->n_layers)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: no_rope_layers: a list of %lld numbers 0 or 1 is expected", s->path, (long long)a->n_layers);
    }
    cJSON_ArrayForEach(item, list)
    {
        if (!cJSON_IsNumber(item) || (item->valuedouble != 0 && item->valuedouble != 1)) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: no_rope_layers: 0 or 1 is expected for layer %lld", s->path, (long long)i);
        }
        a->layer[i++] |= item->valuedouble == 0 ? DTX_LAYER_NO_ROPE : 0;
    }
    return DTX_OK;
}

/* transformers' SmolLM3Config. Layers without positions are those that may have a window. */
static dtx_status read_smollm3(const dtx_cfg *s, dtx_arch *a)
{
    static const dtx_llama_defaults defaults = {.n_kv = 4, .positions = 32768, .theta = 2e6, .eps = 1e-6, .tied = true};
    bool windows = false, given = false;

    DTX_TRY(dtx_llama_read(s, &defaults, a));
    DTX_TRY(dtx_json_bool(s->root, s->path, "attention_bias", &a->qkv_bias));
    a->out_bias = a->qkv_bias;
    DTX_TRY(dtx_json_bool(s->root, s->path, "mlp_bias", &a->mlp_bias));
    DTX_TRY(read_bare_layers(s, a));
    DTX_TRY(dtx_json_bool(s->root, s->path, "use_sliding_window", &windows));
    if (!windows || dtx_json_get(s->root, "sliding_window") == NULL) {
        return DTX_OK;
    }
    DTX_TRY(dtx_cfg_layer_types(s, a, &given));
    for (int64_t i = 0; !given && i < a->n_layers; i++) {
        a->layer[i] |= a->layer[i] & DTX_LAYER_NO_ROPE ? DTX_LAYER_WINDOW : 0;
    }
    return dtx_cfg_window(s, a);
}

static dtx_status write_smollm3(cJSON *o, const dtx_arch *a)
{
    cJSON *list;

    DTX_TRY(dtx_llama_states(a, !a->fused_qkv && !a->fused_gate && !a->qk_norm && !a->bare_input && !a->branch_norm && !a->norm_plus_one &&
                             a->qkv_bias == a->out_bias, "it has projections apart and two norms a layer"));
    dtx_llama_add(o, a);
    dtx_cfg_add_bool(o, "attention_bias", a->qkv_bias);
    dtx_cfg_add_bool(o, "mlp_bias", a->mlp_bias);
    dtx_qwen_add_windows(o, a);
    list = cJSON_AddArrayToObject(o, "no_rope_layers");
    for (int64_t i = 0; i < a->n_layers; i++) {
        cJSON_AddItemToArray(list, cJSON_CreateNumber(a->layer[i] & DTX_LAYER_NO_ROPE ? 0 : 1));
    }
    return DTX_OK;
}

const dtx_family dtx_family_smollm3 = {
    .model_type = "smollm3",
    .title = "SmolLM3",
    .known = "SmolLM3 3B",
    .classes = {"SmolLM3ForCausalLM"},
    .code = 7,
    .read = read_smollm3,
    .write = write_smollm3,
    .names = dtx_llama_names,
    .ignored = dtx_llama_ignored,
    .targets = dtx_llama_targets,
};
