#include "src/model/families/config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* --- reading --- */

/* "path: key: found X, supported: Y". X is the value as the file spells it, shortened. */
dtx_status dtx_cfg_unsupported(const dtx_cfg *s, const char *key, const char *allowed)
{
    const cJSON *item = dtx_json_get(s->root, key);
    char *text = item != NULL ? cJSON_PrintUnformatted(item) : NULL;
    dtx_status st = DTX_FAIL(DTX_ERR_INPUT, "%s: %s: %.80s is not supported; supported: %s", s->path, key,
                             text != NULL ? text : "absent", allowed);

    cJSON_free(text);
    return st;
}

/* A whole number that must be there, under `key` or its older spelling `old` (may be NULL). Both given must agree. */
dtx_status dtx_cfg_need_int(const dtx_cfg *s, const char *key, const char *old, int64_t max, int64_t *out)
{
    int64_t a = -1, b = -1;

    DTX_TRY(dtx_json_int(s->root, s->path, key, 1, max, &a));
    if (old != NULL) {
        DTX_TRY(dtx_json_int(s->root, s->path, old, 1, max, &b));
    }
    if (a < 0 && b < 0) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: %s is missing; a whole number from 1 to %lld is expected", s->path, key,
                        (long long)max);
    }
    if (a >= 0 && b >= 0 && a != b) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: %s is %lld, but %s is %lld; they name the same thing, keep one", s->path,
                        key, (long long)a, old, (long long)b);
    }
    *out = a >= 0 ? a : b;
    return DTX_OK;
}

/* A switch that the core knows in one position only. */
dtx_status dtx_cfg_need_bool(const dtx_cfg *s, const char *key, bool wanted)
{
    bool v = wanted;

    DTX_TRY(dtx_json_bool(s->root, s->path, key, &v));
    return v == wanted ? DTX_OK : dtx_cfg_unsupported(s, key, wanted ? "true" : "false");
}

/* An id, or a list that holds one id (as some generation_config.json spell it). Absent or null leaves *out. */
dtx_status dtx_cfg_token(const dtx_cfg *s, const char *key, int64_t vocab, int64_t *out)
{
    const cJSON *item = dtx_json_get(s->root, key);

    if (item == NULL) {
        return DTX_OK;
    }
    if (cJSON_IsArray(item) && cJSON_GetArraySize(item) == 1) {
        item = cJSON_GetArrayItem(item, 0);
    }
    double v = cJSON_IsNumber(item) ? item->valuedouble : -1.0;
    if (!(v >= 0.0 && v < (double)vocab && v == floor(v))) {
        char allowed[96];
        snprintf(allowed, sizeof allowed, "one id below the vocabulary's size %lld", (long long)vocab);
        return dtx_cfg_unsupported(s, key, allowed);
    }
    *out = (int64_t)v;
    return DTX_OK;
}

dtx_status dtx_cfg_tokens(const dtx_cfg *s, dtx_arch *a)
{
    DTX_TRY(dtx_cfg_token(s, "bos_token_id", a->vocab, &a->bos_id));
    DTX_TRY(dtx_cfg_token(s, "eos_token_id", a->vocab, &a->eos_id));
    return dtx_cfg_token(s, "pad_token_id", a->vocab, &a->pad_id);
}

dtx_status dtx_cfg_activation(const dtx_cfg *s, const char *key, dtx_activation *out)
{
    /* gelu_new, gelu_fast and gelu_pytorch_tanh are three spellings of one tanh formula */
    static const struct {
        const char *name;
        dtx_activation act;
    } known[] = {
        {"gelu", DTX_ACT_GELU_ERF},       {"gelu_python", DTX_ACT_GELU_ERF},        {"gelu_new", DTX_ACT_GELU_TANH},
        {"gelu_fast", DTX_ACT_GELU_TANH}, {"gelu_pytorch_tanh", DTX_ACT_GELU_TANH}, {"relu", DTX_ACT_RELU}};
    char name[64] = "gelu";

    DTX_TRY(dtx_json_str(s->root, s->path, key, sizeof name, name));
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(name, known[i].name) == 0) {
            *out = known[i].act;
            return DTX_OK;
        }
    }
    return dtx_cfg_unsupported(s, key, "gelu, gelu_new, gelu_fast, gelu_pytorch_tanh, relu");
}

/* Keys of any family that would change what is computed. */
dtx_status dtx_cfg_check_common(const dtx_cfg *s)
{
    const cJSON *item;

    DTX_TRY(dtx_cfg_need_bool(s, "is_encoder_decoder", false));
    DTX_TRY(dtx_cfg_need_bool(s, "add_cross_attention", false));
    if (dtx_json_get(s->root, "quantization_config") != NULL) {
        return dtx_cfg_unsupported(s, "quantization_config", "none (weights as F32, F16 or BF16)");
    }
    item = dtx_json_get(s->root, "pruned_heads");
    if (item != NULL && item->child != NULL) {
        return dtx_cfg_unsupported(s, "pruned_heads", "none");
    }
    return DTX_OK;
}

/* "architectures" may be absent; when given it must name the class whose head the core has. */
dtx_status dtx_cfg_check_class(const dtx_cfg *s, const char *const *classes)
{
    const cJSON *list = dtx_json_get(s->root, "architectures"), *item;
    char allowed[160] = "";

    for (int i = 0; classes[i] != NULL; i++) {
        snprintf(allowed + strlen(allowed), sizeof allowed - strlen(allowed), "%s%s", i > 0 ? ", " : "", classes[i]);
    }
    if (list == NULL) {
        return DTX_OK;
    }
    cJSON_ArrayForEach(item, list)
    {
        for (int i = 0; classes[i] != NULL; i++) {
            if (cJSON_IsString(item) && strcmp(item->valuestring, classes[i]) == 0) {
                return DTX_OK;
            }
        }
    }
    return dtx_cfg_unsupported(s, "architectures", allowed);
}

/* Rotary base and share, in the spellings of the years: rotary_emb_base / rope_theta, rotary_pct /
 * partial_rotary_factor, rope_parameters {rope_theta, partial_rotary_factor, rope_type}. Any scaling is refused. */
dtx_status dtx_cfg_rotary(const dtx_cfg *s, double share, dtx_arch *a)
{
    static const char *const bases[] = {"rotary_emb_base", "rope_theta", "rope_parameters.rope_theta"};
    static const char *const shares[] = {"rotary_pct", "partial_rotary_factor",
                                         "rope_parameters.partial_rotary_factor"};
    static const char *const scalings[] = {"rope_scaling", "rope_parameters"};

    a->position = DTX_POS_ROTARY;
    a->rotary_base = 10000.0;
    for (int i = 0; i < 3; i++) {
        DTX_TRY(dtx_json_double(s->root, s->path, bases[i], 1.0, 1e12, &a->rotary_base));
        DTX_TRY(dtx_json_double(s->root, s->path, shares[i], 0.0, 1.0, &share));
    }
    for (int i = 0; i < 2; i++) {
        const cJSON *item = dtx_json_get(s->root, scalings[i]);
        const cJSON *type =
            dtx_json_get(item, "rope_type") != NULL ? dtx_json_get(item, "rope_type") : dtx_json_get(item, "type");
        bool plain = item == NULL || (cJSON_IsString(type) && strcmp(type->valuestring, "default") == 0) ||
                     (cJSON_IsObject(item) && i == 1 && type == NULL);
        if (!plain) {
            return dtx_cfg_unsupported(s, scalings[i], "null, or the type \"default\" (no scaling of positions)");
        }
    }
    a->rotary_dims = (int64_t)((double)a->head_dim * share);
    if (a->rotary_dims < 2 || a->rotary_dims % 2 != 0) {
        return DTX_FAIL(
            DTX_ERR_INPUT,
            "%s: rotary_pct %g of a head of %lld dimensions makes %lld rotating ones; an even number from 2 is needed",
            s->path, share, (long long)a->head_dim, (long long)a->rotary_dims);
    }
    return DTX_OK;
}

/* Sizes that all families state, the older spelling in second place. */
dtx_status dtx_cfg_sizes(const dtx_cfg *s, const char *old_layers, const char *old_heads, dtx_arch *a)
{
    DTX_TRY(dtx_cfg_need_int(s, "num_hidden_layers", old_layers, DTX_CFG_MAX_LAYERS, &a->n_layers));
    DTX_TRY(dtx_cfg_need_int(s, "hidden_size", old_layers != NULL ? "n_embed" : NULL, DTX_CFG_MAX_WIDTH, &a->hidden));
    DTX_TRY(dtx_cfg_need_int(s, "num_attention_heads", old_heads, DTX_CFG_MAX_WIDTH, &a->n_heads));
    DTX_TRY(dtx_cfg_need_int(s, "vocab_size", NULL, DTX_CFG_MAX_VOCAB, &a->vocab));
    if (a->hidden % a->n_heads != 0) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: %s: %lld heads do not divide hidden_size %lld", s->path,
                        dtx_json_get(s->root, "num_attention_heads") != NULL ? "num_attention_heads" : old_heads,
                        (long long)a->n_heads, (long long)a->hidden);
    }
    a->head_dim = a->hidden / a->n_heads;
    a->n_kv = a->n_heads;
    return DTX_OK;
}

dtx_status dtx_cfg_eps(const dtx_cfg *s, const char *key, double fallback, dtx_arch *a)
{
    double eps = fallback;

    DTX_TRY(dtx_json_double(s->root, s->path, key, 1e-12, 1.0, &eps));
    a->norm_eps = (float)eps;
    return DTX_OK;
}

/* --- writing --- */

void dtx_cfg_add_text(cJSON *o, const char *key, const char *value)
{
    cJSON_AddItemToObject(o, key, cJSON_CreateString(value));
}

void dtx_cfg_add_number(cJSON *o, const char *key, double value)
{
    cJSON_AddItemToObject(o, key, cJSON_CreateNumber(value));
}

void dtx_cfg_add_bool(cJSON *o, const char *key, bool value)
{
    cJSON_AddItemToObject(o, key, cJSON_CreateBool(value));
}

/* An f32 value with the digits a person would have typed: 1e-05, not 9.999999747e-06. */
void dtx_cfg_add_f32(cJSON *o, const char *key, float value)
{
    char text[32];

    snprintf(text, sizeof text, "%.7g", (double)value);
    cJSON_AddItemToObject(o, key, cJSON_CreateRaw(text));
}

const char *dtx_cfg_activation_name(dtx_activation act)
{
    return act == DTX_ACT_GELU_ERF ? "gelu" : act == DTX_ACT_GELU_TANH ? "gelu_new" : "relu";
}

void dtx_cfg_add_sizes(cJSON *o, const dtx_arch *a)
{
    dtx_cfg_add_number(o, "hidden_size", (double)a->hidden);
    dtx_cfg_add_number(o, "num_hidden_layers", (double)a->n_layers);
    dtx_cfg_add_number(o, "num_attention_heads", (double)a->n_heads);
    dtx_cfg_add_number(o, "vocab_size", (double)a->vocab);
    dtx_cfg_add_number(o, "max_position_embeddings", (double)a->max_positions);
}
