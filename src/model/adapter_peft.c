/* adapter_peft.c - PEFT's folder: adapter_config.json and adapter_model.safetensors or .bin, tensors named
 * base_model.model.<module>.lora_A.weight (r, in) and .lora_B.weight (out, r), with lora_bias also .lora_B.bias (out), with DoRA
 * .lora_magnitude_vector (out). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "src/model/adapter.h"
#include "src/base/file.h"
#include "src/base/json.h"
#include "src/base/mem.h"
#include "src/weights/weights.h"

#define PREFIX "base_model.model."

enum { MAX_NAMES = 8192 };

/* adapter_config.json as far as it changes what is computed. Strings belong to `root`. */
typedef struct {
    char path[4096];
    cJSON *root;
    dtx_adapter_rule rule;
    const char **target, **rank_key, **alpha_key;
    double *rank, *alpha;
    bool *layer;
    bool transposed, dora, lora_bias;
} peft_config;

static void free_config(peft_config *c)
{
    cJSON_Delete(c->root);
    dtx_free(c->target);
    dtx_free(c->rank_key);
    dtx_free(c->alpha_key);
    dtx_free(c->rank);
    dtx_free(c->alpha);
    dtx_free(c->layer);
}

/* Keys that may have any value: they are read below, or say nothing of what is computed. All others must be at rest (absent, null,
 * false, empty): a setting that is not known here would change the result without a word. */
static dtx_status refuse_unsupported(const cJSON *root, const char *path)
{
    static const char *const known[] = {
        "peft_type", "peft_version", "base_model_name_or_path", "revision", "auto_mapping", "task_type", "inference_mode", "r", "lora_alpha",
        "lora_dropout", "target_modules", "fan_in_fan_out", "bias", "init_lora_weights", "use_rslora", "use_dora", "lora_bias",
        "rank_pattern", "alpha_pattern", "layers_to_transform", "layers_pattern", "megatron_core", "qalora_group_size", "runtime_config",
        "ensure_weight_tying"};
    const cJSON *item, *bias = dtx_json_get(root, "bias"), *type = dtx_json_get(root, "peft_type");

    cJSON_ArrayForEach(item, root)
    {
        bool fine = cJSON_IsNull(item) || cJSON_IsFalse(item) || ((cJSON_IsArray(item) || cJSON_IsObject(item)) && item->child == NULL);
        for (size_t i = 0; i < sizeof known / sizeof *known && !fine; i++) {
            fine = strcmp(item->string, known[i]) == 0;
        }
        if (!fine) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: the setting %.60s is not supported: what it adds would be left out", path, item->string);
        }
    }
    if (bias != NULL && !(cJSON_IsString(bias) && strcmp(bias->valuestring, "none") == 0)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: bias must be \"none\"", path);
    }
    if (type == NULL || !cJSON_IsString(type) || strcmp(type->valuestring, "LORA") != 0) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: peft_type must be \"LORA\"", path);
    }
    return DTX_OK;
}

/* Initialisations that changed the base's weights: a folder's tensors stand on a base that is not the one at hand. */
static dtx_status check_init(const cJSON *root, const char *path)
{
    const cJSON *init = dtx_json_get(root, "init_lora_weights");
    static const char *const plain[] = {"gaussian", "eva", "orthogonal"};

    for (size_t i = 0; cJSON_IsString(init) && i < sizeof plain / sizeof *plain; i++) {
        if (strcmp(init->valuestring, plain[i]) == 0) {
            return DTX_OK;
        }
    }
    if (!cJSON_IsString(init)) {
        return DTX_OK;
    }
    return DTX_FAIL(DTX_ERR_INPUT, "%s: init_lora_weights \"%.40s\" is not supported: it changed the base's weights when the training began; "
                    "PEFT's save_pretrained with path_initial_model_for_weight_conversion writes a plain adapter", path, init->valuestring);
}

static dtx_status read_targets(peft_config *c)
{
    const cJSON *targets = dtx_json_get(c->root, "target_modules"), *t;
    const int n = cJSON_GetArraySize(targets);

    if (cJSON_IsString(targets) && targets->valuestring[0] != '\0') {
        if (strcmp(targets->valuestring, "all-linear") != 0) {
            c->rule.pattern = targets->valuestring;
            return DTX_OK;
        }
        DTX_TRY(DTX_NEW(c->target, 1));
        c->target[c->rule.n_targets++] = targets->valuestring;
        c->rule.target = c->target;
        return DTX_OK;
    }
    if (!cJSON_IsArray(targets) || n < 1 || n > MAX_NAMES) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: target_modules: a list of 1 to %d names, a regular expression or \"all-linear\" is needed", c->path,
                        MAX_NAMES);
    }
    DTX_TRY(DTX_NEW(c->target, n));
    cJSON_ArrayForEach(t, targets)
    {
        if (!cJSON_IsString(t) || t->valuestring[0] == '\0' || strchr(t->valuestring, '\n') != NULL) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: target_modules: names are expected", c->path);
        }
        c->target[c->rule.n_targets++] = t->valuestring;
    }
    c->rule.target = c->target;
    return DTX_OK;
}

/* rank_pattern or alpha_pattern: an object of numbers. */
static dtx_status read_pattern(const peft_config *c, const char *name, bool whole, const char ***key, double **value, int *n)
{
    const cJSON *o = dtx_json_get(c->root, name), *item;

    if (o == NULL) {
        return DTX_OK;
    }
    if (!cJSON_IsObject(o) || cJSON_GetArraySize(o) > MAX_NAMES) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: %s: an object of at most %d numbers is expected", c->path, name, MAX_NAMES);
    }
    DTX_TRY(DTX_NEW(*key, cJSON_GetArraySize(o)));
    DTX_TRY(DTX_NEW(*value, cJSON_GetArraySize(o)));
    cJSON_ArrayForEach(item, o)
    {
        const double v = cJSON_IsNumber(item) ? item->valuedouble : -1;
        if (!(v > 0 && v <= 65536) || (whole && v != floor(v))) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: %s: \"%.80s\": a %s up to 65536 is expected", c->path, name, item->string,
                            whole ? "whole number from 1" : "positive number");
        }
        (*key)[*n] = item->string;
        (*value)[(*n)++] = v;
    }
    return DTX_OK;
}

/* layers_to_transform: a number or a list; layers_pattern names the list of layers, which is the only one here. */
static dtx_status read_layers(const dtx_arch *a, peft_config *c)
{
    const cJSON *item = dtx_json_get(c->root, "layers_to_transform");

    if (item == NULL || (cJSON_IsArray(item) && item->child == NULL)) {
        return DTX_OK;
    }
    DTX_TRY(DTX_NEW(c->layer, a->n_layers));
    for (const cJSON *v = cJSON_IsArray(item) ? item->child : item; v != NULL; v = cJSON_IsArray(item) ? v->next : NULL) {
        const double i = cJSON_IsNumber(v) ? v->valuedouble : -1;
        if (!(i >= 0 && i < (double)a->n_layers && i == floor(i))) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: layers_to_transform: numbers of layers, 0 to %lld, are expected", c->path,
                            (long long)a->n_layers - 1);
        }
        c->layer[(int64_t)i] = true;
    }
    c->rule.layer = c->layer;
    return DTX_OK;
}

static dtx_status read_config(const char *dir, const dtx_arch *a, peft_config *c)
{
    c->rule.r = -1;
    c->rule.alpha = NAN;
    DTX_TRY(dtx_file_join(c->path, sizeof c->path, dir, "adapter_config.json"));
    DTX_TRY(dtx_json_read(c->path, &c->root));
    if (!cJSON_IsObject(c->root)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: expected a JSON object", c->path);
    }
    DTX_TRY(refuse_unsupported(c->root, c->path));
    DTX_TRY(check_init(c->root, c->path));
    DTX_TRY(dtx_json_int(c->root, c->path, "r", 1, 65536, &c->rule.r));
    DTX_TRY(dtx_json_double(c->root, c->path, "lora_alpha", 1e-6, 1e6, &c->rule.alpha));
    DTX_TRY(dtx_json_double(c->root, c->path, "lora_dropout", 0, 0.999, &c->rule.dropout));
    if (c->rule.r < 0 || isnan(c->rule.alpha)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: r and lora_alpha are needed", c->path);
    }
    DTX_TRY(dtx_json_bool(c->root, c->path, "use_rslora", &c->rule.rslora));
    DTX_TRY(dtx_json_bool(c->root, c->path, "use_dora", &c->dora));
    DTX_TRY(dtx_json_bool(c->root, c->path, "lora_bias", &c->lora_bias));
    DTX_TRY(dtx_json_bool(c->root, c->path, "fan_in_fan_out", &c->transposed));
    if (c->transposed && !a->transposed) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: fan_in_fan_out is true, but a %s model stores its weights (out, in)", c->path, a->model_type);
    }
    DTX_TRY(read_targets(c));
    DTX_TRY(read_layers(a, c));
    DTX_TRY(read_pattern(c, "rank_pattern", true, &c->rank_key, &c->rank, &c->rule.n_ranks));
    DTX_TRY(read_pattern(c, "alpha_pattern", false, &c->alpha_key, &c->alpha, &c->rule.n_alphas));
    c->rule.rank_key = c->rank_key;
    c->rule.rank = c->rank;
    c->rule.alpha_key = c->alpha_key;
    c->rule.alpha_of = c->alpha;
    return DTX_OK;
}

/* The tensors of a module, by the end of their names. */
static const char *const endings[] = {"lora_A.weight", "lora_B.weight", "lora_B.bias", "lora_magnitude_vector"};
enum { TENSOR_A, TENSOR_B, TENSOR_BIAS, TENSOR_MAGNITUDE, N_TENSORS };

/* One tensor from the file into `to` (rows, cols; cols = 0: a vector). */
static dtx_status read_tensor(const dtx_weights *w, const char *dir, const char *module, int which, int64_t rows, int64_t cols, float *to)
{
    char name[256];
    const dtx_tensor *t;

    snprintf(name, sizeof name, PREFIX "%s.%s", module, endings[which]);
    t = dtx_weights_find(w, name);
    if (t == NULL) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: tensor %s is missing, adapter_config.json asks for it", dir, name);
    }
    if (t->n_dims != (cols > 0 ? 2 : 1) || t->shape[0] != rows || (cols > 0 && t->shape[1] != cols)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: tensor %s should have shape (%lld, %lld)%s", t->file, name, (long long)rows,
                        (long long)cols,
                        t->n_dims == 2 ? "; does the adapter belong to this model, and r to this file?" : "");
    }
    if (t->dtype != DTX_F32 && t->dtype != DTX_F16 && t->dtype != DTX_BF16 && t->dtype != DTX_F64) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: tensor %s is %s, not floating", t->file, name, dtx_dtype_name(t->dtype));
    }
    dtx_widen(t->dtype, t->data, t->n_elements, to);
    return DTX_OK;
}

/* Every tensor of the file must be one of those that were read. */
static dtx_status check_strangers(const dtx_weights *w, const dtx_arch *a, const dtx_adapter *ad)
{
    for (int64_t i = 0; i < dtx_weights_count(w); i++) {
        const dtx_tensor *t = dtx_weights_at(w, i);
        bool known = false;
        for (int64_t s = 0; s < ad->n_slots && !known; s++) {
            const dtx_lora *l = &ad->slot[s];
            char module[128], name[256];
            if (l->A == NULL) {
                continue;
            }
            dtx_module_name(a, s / DTX_MODULES, (dtx_module_kind)(s % DTX_MODULES), module, sizeof module);
            for (int k = 0; k < N_TENSORS && !known; k++) {
                snprintf(name, sizeof name, PREFIX "%s.%s", module, endings[k]);
                known = strcmp(name, t->name) == 0 && (k != TENSOR_BIAS || l->bias != NULL) && (k != TENSOR_MAGNITUDE || l->magnitude != NULL);
            }
        }
        if (!known) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: tensor %s belongs to no module that target_modules names in this model",
                            t->file, t->name);
        }
    }
    return DTX_OK;
}

/* Biases and magnitudes beside the pairs. */
static dtx_status read_extra(const dtx_weights *w, const char *dir, const dtx_arch *a, const peft_config *c, dtx_adapter *ad)
{
    size_t n = 0;

    for (int64_t s = 0; s < ad->n_slots; s++) {
        n += ad->slot[s].A != NULL ? (size_t)ad->slot[s].n_out * ((c->lora_bias ? 1 : 0) + (c->dora ? 2 : 0)) : 0;
    }
    if (n == 0) {
        return DTX_OK;
    }
    DTX_TRY(DTX_NEW(ad->extra, n));
    ad->uniform = false;
    ad->attached = !c->dora;
    float *at = ad->extra;
    for (int64_t s = 0; s < ad->n_slots; s++) {
        dtx_lora *l = &ad->slot[s];
        char module[128];
        if (l->A == NULL) {
            continue;
        }
        dtx_module_name(a, s / DTX_MODULES, (dtx_module_kind)(s % DTX_MODULES), module, sizeof module);
        if (c->lora_bias) {
            DTX_TRY(read_tensor(w, dir, module, TENSOR_BIAS, l->n_out, 0, at));
            for (int64_t i = 0; i < l->n_out; i++) {
                at[i] *= l->scale;
            }
            l->bias = at;
            at += l->n_out;
        }
        if (c->dora) {
            DTX_TRY(read_tensor(w, dir, module, TENSOR_MAGNITUDE, l->n_out, 0, at));
            l->magnitude = at;
            l->gain = at + l->n_out;
            at += 2 * l->n_out;
        }
    }
    return DTX_OK;
}

dtx_status dtx_adapter_read(const char *dir, const dtx_arch *a, dtx_adapter **out)
{
    dtx_status st;
    peft_config c = {0};
    dtx_adapter *ad = NULL;
    dtx_weights *w = NULL;

    DTX_GO(read_config(dir, a, &c));
    st = dtx_adapter_make(a, &c.rule, &ad);
    if (st != DTX_OK) {
        st = dtx_error_context(st == DTX_ERR_USAGE ? DTX_ERR_INPUT : st, "%s", c.path);
        goto done;
    }
    DTX_GO(dtx_weights_open(dir, "adapter_model", &w));
    DTX_GO(dtx_weights_check_sum(w, "bring back a copy of the adapter, or train it again with --redo"));
    for (int64_t s = 0; s < ad->n_slots; s++) {
        dtx_lora *l = &ad->slot[s];
        char module[128];
        if (l->A != NULL) {
            dtx_module_name(a, s / DTX_MODULES, (dtx_module_kind)(s % DTX_MODULES), module, sizeof module);
            DTX_GO(read_tensor(w, dir, module, TENSOR_A, l->r, l->n_in, l->A));
            DTX_GO(read_tensor(w, dir, module, TENSOR_B, l->n_out, l->r, l->B));
        }
    }
    DTX_GO(read_extra(w, dir, a, &c, ad));
    DTX_GO(check_strangers(w, a, ad));
    *out = ad;
    ad = NULL;
done:
    dtx_weights_close(w);
    dtx_adapter_del(ad);
    free_config(&c);
    return st;
}

/* target_modules as it was given: a list of names, or one expression. */
static cJSON *targets_json(const dtx_adapter *ad)
{
    char *names = dtx_strdup(ad->targets), *save = NULL;
    cJSON *list;

    if (ad->pattern || strcmp(ad->targets, "all-linear") == 0) {
        list = cJSON_CreateString(ad->targets);
    } else {
        list = cJSON_CreateArray();
        for (char *name = names != NULL ? strtok_r(names, "\n", &save) : NULL; name != NULL; name = strtok_r(NULL, "\n", &save)) {
            cJSON_AddItemToArray(list, cJSON_CreateString(name));
        }
    }
    dtx_free(names);
    return list;
}

static dtx_status write_config(const char *dir, const dtx_arch *a, const dtx_adapter *ad, const char *base)
{
    dtx_status st = DTX_OK;
    cJSON *root = cJSON_CreateObject(), *list = targets_json(ad);
    char *text = NULL, path[4096];
    bool ok = root != NULL && list != NULL;

    ok = ok && cJSON_AddStringToObject(root, "base_model_name_or_path", base) != NULL &&
         cJSON_AddStringToObject(root, "bias", "none") != NULL &&
         cJSON_AddBoolToObject(root, "fan_in_fan_out", a->transposed) != NULL &&
         cJSON_AddTrueToObject(root, "inference_mode") != NULL &&
         cJSON_AddTrueToObject(root, "init_lora_weights") != NULL &&
         cJSON_AddNumberToObject(root, "lora_alpha", ad->alpha) != NULL &&
         cJSON_AddNumberToObject(root, "lora_dropout", ad->dropout) != NULL &&
         cJSON_AddNullToObject(root, "modules_to_save") != NULL &&
         cJSON_AddStringToObject(root, "peft_type", "LORA") != NULL &&
         (!ad->rslora || cJSON_AddTrueToObject(root, "use_rslora") != NULL) &&
         cJSON_AddNumberToObject(root, "r", (double)ad->r) != NULL && cJSON_AddNullToObject(root, "revision") != NULL;
    if (ok && cJSON_AddItemToObject(root, "target_modules", list)) {
        list = NULL; /* now part of root */
        ok = cJSON_AddStringToObject(root, "task_type", "CAUSAL_LM") != NULL && (text = cJSON_Print(root)) != NULL;
    } else {
        ok = false;
    }
    if (!ok) {
        st = DTX_FAIL(DTX_ERR_MISSING, "no memory for the adapter's configuration");
        goto done;
    }
    DTX_GO(dtx_file_join(path, sizeof path, dir, "adapter_config.json"));
    DTX_GO(dtx_file_write(path, text, strlen(text)));
done:
    cJSON_free(text);
    cJSON_Delete(list);
    cJSON_Delete(root);
    return st;
}

dtx_status dtx_adapter_write(const char *dir, const dtx_arch *a, const dtx_adapter *ad, const char *base)
{
    dtx_status st;
    char sum[65] = "";
    const dtx_meta meta[] = {{"format", "pt"}, {DTX_SUM_KEY, sum}};
    dtx_tensor *t = NULL;
    char(*names)[256] = NULL, path[4096];
    int64_t n = 0;

    if (!ad->uniform) {
        return DTX_FAIL(DTX_ERR_USAGE, "%s: an adapter whose modules differ in rank or scale, or with DoRA, is not written", dir);
    }
    DTX_GO(dtx_file_mkdirs(dir));
    DTX_GO(dtx_file_join(path, sizeof path, dir, "adapter_model.safetensors"));
    DTX_GO(DTX_NEW(t, 2 * ad->n_slots));
    DTX_GO(DTX_NEW(names, 2 * ad->n_slots));
    for (int64_t s = 0; s < ad->n_slots; s++) {
        const dtx_lora *l = &ad->slot[s];
        char module[128];
        dtx_module_name(a, s / DTX_MODULES, (dtx_module_kind)(s % DTX_MODULES), module, sizeof module);
        for (int half = 0; l->A != NULL && half < 2; half++, n++) {
            snprintf(names[n], sizeof names[n], PREFIX "%s.lora_%c.weight", module, "AB"[half]);
            t[n] = (dtx_tensor){.name = names[n], .dtype = DTX_F32, .n_dims = 2, .data = half == 0 ? l->A : l->B};
            t[n].shape[0] = half == 0 ? l->r : l->n_out;
            t[n].shape[1] = half == 0 ? l->n_in : l->r;
            t[n].n_elements = t[n].shape[0] * t[n].shape[1];
            t[n].size_bytes = (size_t)t[n].n_elements * sizeof(float);
        }
    }
    DTX_GO(dtx_weights_sum(t, n, meta, 1, sum));
    DTX_GO(dtx_safetensors_write(path, t, n, meta, 2));
    DTX_GO(write_config(dir, a, ad, base)); /* last: a folder with a configuration is complete */
done:
    dtx_free(names);
    dtx_free(t);
    return st;
}
