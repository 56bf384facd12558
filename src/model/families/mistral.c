#include "src/model/families/llama.h"

/* transformers' MistralConfig: a window on all layers unless sliding_window is null; 4096 where the key is absent. */
static dtx_status read_mistral(const dtx_cfg *s, dtx_arch *a)
{
    static const dtx_llama_defaults defaults = {.n_kv = 8, .positions = 131072, .theta = 10000.0, .eps = 1e-6};

    DTX_TRY(dtx_llama_read(s, &defaults, a));
    if (!cJSON_HasObjectItem(s->root, "sliding_window")) {
        a->window = 4096;
    }
    if (a->window > 0 || dtx_json_get(s->root, "sliding_window") != NULL) {
        for (int64_t i = 0; i < a->n_layers; i++) {
            a->layer[i] |= DTX_LAYER_WINDOW;
        }
    }
    return dtx_cfg_window(s, a);
}

static dtx_status write_mistral(cJSON *o, const dtx_arch *a)
{
    bool same = !a->fused_qkv && !a->fused_gate && !a->qk_norm && !a->bare_input && !a->branch_norm && !a->norm_plus_one && !a->qkv_bias &&
                !a->out_bias && !a->mlp_bias;

    for (int64_t i = 0; i < a->n_layers; i++) {
        same = same && a->layer[i] == (a->window > 0 ? DTX_LAYER_WINDOW : 0);
    }
    DTX_TRY(dtx_llama_states(a, same, "it has projections apart, no biases, two norms a layer, one window for all layers or none"));
    dtx_llama_add(o, a);
    cJSON_AddItemToObject(o, "sliding_window", a->window > 0 ? cJSON_CreateNumber((double)a->window) : cJSON_CreateNull());
    return DTX_OK;
}

const dtx_family dtx_family_mistral = {
    .model_type = "mistral",
    .title = "Mistral",
    .known = "Mistral 7B, Mistral Nemo",
    .classes = {"MistralForCausalLM"},
    .code = 4,
    .read = read_mistral,
    .write = write_mistral,
    .names = dtx_llama_names,
    .ignored = dtx_llama_ignored,
    .targets = dtx_llama_targets,
};
