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

dtx_status dtx_cfg_eos(const dtx_cfg *s, int64_t vocab, dtx_eos *out)
{
    const cJSON *item = dtx_json_get(s->root, "eos_token_id"), *first = cJSON_IsArray(item) ? item->child : item;
    dtx_eos e = {0};

    if (item == NULL) {
        return DTX_OK;
    }
    for (const cJSON *v = first; v != NULL; v = cJSON_IsArray(item) ? v->next : NULL) {
        const double id = cJSON_IsNumber(v) ? v->valuedouble : -1.0;
        if (!(id >= 0.0 && id < (double)vocab && id == floor(id)) || e.n == DTX_MAX_EOS) {
            char allowed[96];
            snprintf(allowed, sizeof allowed, "an id below the vocabulary's size %lld, or a list of at most %d of them", (long long)vocab,
                     DTX_MAX_EOS);
            return dtx_cfg_unsupported(s, "eos_token_id", allowed);
        }
        if (!dtx_eos_has(&e, (int64_t)id)) {
            e.id[e.n++] = (int32_t)id;
        }
    }
    *out = e;
    return DTX_OK;
}

dtx_status dtx_cfg_tokens(const dtx_cfg *s, dtx_arch *a)
{
    DTX_TRY(dtx_cfg_token(s, "bos_token_id", a->vocab, &a->bos_id));
    DTX_TRY(dtx_cfg_eos(s, a->vocab, &a->eos));
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
        {"gelu_fast", DTX_ACT_GELU_TANH}, {"gelu_pytorch_tanh", DTX_ACT_GELU_TANH}, {"relu", DTX_ACT_RELU},
        {"silu", DTX_ACT_SILU},           {"swish", DTX_ACT_SILU}};
    char name[64] = "";

    DTX_TRY(dtx_json_str(s->root, s->path, key, sizeof name, name));
    if (name[0] == '\0' && dtx_json_get(s->root, key) == NULL) {
        return DTX_OK;
    }
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(name, known[i].name) == 0) {
            *out = known[i].act;
            return DTX_OK;
        }
    }
    return dtx_cfg_unsupported(s, key, "gelu, gelu_new, gelu_fast, gelu_pytorch_tanh, relu, silu, swish");
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
    a->rope[0].base = 10000.0;
    for (int i = 0; i < 3; i++) {
        DTX_TRY(dtx_json_double(s->root, s->path, bases[i], 1.0, 1e12, &a->rope[0].base));
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

/* A number of a scaling that must be there. */
static dtx_status need_number(const dtx_cfg *s, const cJSON *item, const char *key, const char *name, double *out)
{
    *out = -1;
    DTX_TRY(dtx_json_double(item, s->path, name, 1e-6, 1e12, out));
    return *out > 0 ? DTX_OK : DTX_FAIL(DTX_ERR_INPUT, "%s: %s.%s is missing; a positive number is expected", s->path, key, name);
}

/* What YaRN multiplies cos and sin by, where the file does not say it. */
static double yarn_attention(double factor, double mscale, double mscale_all)
{
    const double l = factor > 1 ? 0.1 * log(factor) : 0;

    return mscale > 0 && mscale_all > 0 ? (mscale * l + 1) / (mscale_all * l + 1) : l + 1;
}

dtx_status dtx_cfg_rope(const dtx_cfg *s, const cJSON *item, const char *key, int64_t positions, dtx_rope *r)
{
    static const char *const known[] = {"rope_type", "type", "rope_theta", "factor", "original_max_position_embeddings", "low_freq_factor",
                                        "high_freq_factor", "attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim",
                                        "truncate", "partial_rotary_factor"};
    const cJSON *type = dtx_json_get(item, "rope_type") != NULL ? dtx_json_get(item, "rope_type") : dtx_json_get(item, "type"), *k;
    const char *name = type == NULL ? "default" : cJSON_IsString(type) ? type->valuestring : "";
    double share = 1, mscale = 0, mscale_all = 0;
    bool truncate = true;

    if (item == NULL) {
        return DTX_OK;
    }
    if (!cJSON_IsObject(item)) {
        return dtx_cfg_unsupported(s, key, "null, or an object");
    }
    cJSON_ArrayForEach(k, item)
    {
        size_t i = 0;
        while (i < sizeof known / sizeof *known && strcmp(known[i], k->string) != 0) {
            i++;
        }
        if (i == sizeof known / sizeof *known && !cJSON_IsNull(k)) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: %s: the key \"%.40s\" is not known; it may change the positions", s->path, key, k->string);
        }
    }
    DTX_TRY(dtx_json_double(item, s->path, "rope_theta", 1.0, 1e12, &r->base));
    DTX_TRY(dtx_json_double(item, s->path, "partial_rotary_factor", 0, 1, &share));
    if (share != 1) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: %s.partial_rotary_factor %g is not supported for this family; supported: 1", s->path, key, share);
    }
    if (strcmp(name, "default") == 0) {
        return DTX_OK;
    }
    if (strcmp(name, "linear") != 0 && strcmp(name, "llama3") != 0 && strcmp(name, "yarn") != 0) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: %s: the type \"%.40s\" is not supported; supported: default, linear, llama3, yarn", s->path, key,
                        name);
    }
    r->old_length = (double)positions;
    DTX_TRY(need_number(s, item, key, "factor", &r->factor));
    DTX_TRY(dtx_json_double(item, s->path, "original_max_position_embeddings", 1, 1e9, &r->old_length));
    if (strcmp(name, "linear") == 0) {
        r->type = DTX_ROPE_LINEAR;
        r->old_length = 0;
        return DTX_OK;
    }
    if (strcmp(name, "llama3") == 0) {
        r->type = DTX_ROPE_LLAMA3;
        DTX_TRY(need_number(s, item, key, "low_freq_factor", &r->low));
        DTX_TRY(need_number(s, item, key, "high_freq_factor", &r->high));
        return r->high > r->low ? DTX_OK
                                : DTX_FAIL(DTX_ERR_INPUT, "%s: %s: high_freq_factor %g must be larger than low_freq_factor %g", s->path, key,
                                           r->high, r->low);
    }
    r->type = DTX_ROPE_YARN;
    r->low = 1;
    r->high = 32;
    DTX_TRY(dtx_json_double(item, s->path, "beta_slow", 1e-6, 1e6, &r->low));
    DTX_TRY(dtx_json_double(item, s->path, "beta_fast", 1e-6, 1e6, &r->high));
    DTX_TRY(dtx_json_double(item, s->path, "mscale", 0, 1e6, &mscale));
    DTX_TRY(dtx_json_double(item, s->path, "mscale_all_dim", 0, 1e6, &mscale_all));
    r->attention = yarn_attention(r->factor, mscale, mscale_all);
    DTX_TRY(dtx_json_double(item, s->path, "attention_factor", 1e-6, 1e6, &r->attention));
    DTX_TRY(dtx_json_bool(item, s->path, "truncate", &truncate));
    r->exact = !truncate;
    return DTX_OK;
}

dtx_status dtx_cfg_layer_types(const dtx_cfg *s, dtx_arch *a, bool *given)
{
    const cJSON *list = dtx_json_get(s->root, "layer_types"), *item;
    int64_t i = 0;

    *given = list != NULL;
    if (list == NULL) {
        return DTX_OK;
    }
    if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) != a->n_layers) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: layer_types: a list of %lld types is expected, one a layer", s->path, (long long)a->n_layers);
    }
    cJSON_ArrayForEach(item, list)
    {
        const char *type = cJSON_IsString(item) ? item->valuestring : "";
        if (strcmp(type, "sliding_attention") == 0) {
            a->layer[i] |= DTX_LAYER_WINDOW;
        } else if (strcmp(type, "full_attention") != 0) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: layer_types: \"%.40s\" of layer %lld is not supported; supported: full_attention, "
                            "sliding_attention", s->path, type, (long long)i);
        }
        i++;
    }
    return DTX_OK;
}

dtx_status dtx_cfg_window(const dtx_cfg *s, dtx_arch *a)
{
    bool used = false;

    DTX_TRY(dtx_json_int(s->root, s->path, "sliding_window", 1, DTX_CFG_MAX_VOCAB, &a->window));
    for (int64_t i = 0; i < a->n_layers; i++) {
        used = used || (a->layer[i] & DTX_LAYER_WINDOW);
    }
    if (used && a->window == 0) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: sliding_window is missing, but layers have one", s->path);
    }
    a->window = used ? a->window : 0;
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
    static const char *const name[] = {"gelu", "gelu_new", "relu", "silu"};

    return name[act];
}

void dtx_cfg_add_sizes(cJSON *o, const dtx_arch *a)
{
    dtx_cfg_add_number(o, "hidden_size", (double)a->hidden);
    dtx_cfg_add_number(o, "num_hidden_layers", (double)a->n_layers);
    dtx_cfg_add_number(o, "num_attention_heads", (double)a->n_heads);
    dtx_cfg_add_number(o, "vocab_size", (double)a->vocab);
    dtx_cfg_add_number(o, "max_position_embeddings", (double)a->max_positions);
}

void dtx_cfg_add_rope(cJSON *o, const dtx_rope *r)
{
    static const char *const name[] = {"default", "linear", "llama3", "yarn"};
    cJSON *scaling;

    dtx_cfg_add_number(o, "rope_theta", r->base);
    if (r->type == DTX_ROPE_PLAIN) {
        return;
    }
    scaling = cJSON_AddObjectToObject(o, "rope_scaling");
    dtx_cfg_add_text(scaling, "rope_type", name[r->type]);
    dtx_cfg_add_number(scaling, "factor", r->factor);
    if (r->type == DTX_ROPE_LINEAR) {
        return;
    }
    dtx_cfg_add_number(scaling, "original_max_position_embeddings", r->old_length);
    if (r->type == DTX_ROPE_LLAMA3) {
        dtx_cfg_add_number(scaling, "low_freq_factor", r->low);
        dtx_cfg_add_number(scaling, "high_freq_factor", r->high);
    } else {
        dtx_cfg_add_number(scaling, "beta_slow", r->low);
        dtx_cfg_add_number(scaling, "beta_fast", r->high);
        dtx_cfg_add_number(scaling, "attention_factor", r->attention);
        dtx_cfg_add_bool(scaling, "truncate", !r->exact);
    }
}

void dtx_cfg_add_layer_types(cJSON *o, const dtx_arch *a)
{
    cJSON *list = cJSON_AddArrayToObject(o, "layer_types");

    for (int64_t i = 0; i < a->n_layers; i++) {
        cJSON_AddItemToArray(list, cJSON_CreateString(a->layer[i] & DTX_LAYER_WINDOW ? "sliding_attention" : "full_attention"));
    }
}
