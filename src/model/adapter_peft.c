/* adapter_peft.c - PEFT's folder: adapter_config.json and adapter_model.safetensors or .bin, tensors named
 * base_model.model.<module>.lora_A.weight (r, in) and .lora_B.weight (out, r). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "src/model/adapter.h"
#include "src/base/file.h"
#include "src/base/json.h"
#include "src/base/mem.h"
#include "src/weights/weights.h"

#define PREFIX "base_model.model."

typedef struct {
    char path[4096];
    int64_t r;
    double alpha, dropout;
    bool transposed;
    int n_targets;
    char targets[8][64];
} peft_config;

/* Settings that change the arithmetic or add tensors: only their neutral values are accepted. */
static dtx_status refuse_unsupported(const cJSON *root, const char *path)
{
    static const char *const neutral[] = {"use_rslora",        "use_dora",
                                          "lora_bias",
                                          "modules_to_save",   "layers_to_transform",
                                          "layers_pattern",    "rank_pattern",
                                          "alpha_pattern",     "layer_replication",
                                          "enable_lora",       "exclude_modules",
                                          "target_parameters", "trainable_token_indices"};
    const cJSON *bias = dtx_json_get(root, "bias"), *type = dtx_json_get(root, "peft_type");

    for (size_t i = 0; i < sizeof neutral / sizeof *neutral; i++) {
        const cJSON *v = dtx_json_get(root, neutral[i]);
        bool empty = v == NULL || cJSON_IsFalse(v) || ((cJSON_IsArray(v) || cJSON_IsObject(v)) && v->child == NULL);
        if (!empty) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: the setting %s is not supported (only plain LoRA on linear modules is)",
                            path, neutral[i]);
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

static dtx_status read_config(const char *dir, const dtx_arch *a, peft_config *c)
{
    dtx_status st;
    cJSON *root = NULL;
    const cJSON *targets, *t;

    c->r = -1;
    c->alpha = NAN;
    DTX_GO(dtx_file_join(c->path, sizeof c->path, dir, "adapter_config.json"));
    DTX_GO(dtx_json_read(c->path, &root));
    if (!cJSON_IsObject(root)) {
        st = DTX_FAIL(DTX_ERR_INPUT, "%s: expected a JSON object", c->path);
        goto done;
    }
    DTX_GO(refuse_unsupported(root, c->path));
    DTX_GO(dtx_json_bool(root, c->path, "fan_in_fan_out", &c->transposed));
    if (c->transposed && !a->transposed) { /* PEFT's warning: it then adapts as if it were false */
        st = DTX_FAIL(DTX_ERR_INPUT, "%s: fan_in_fan_out is true, but a %s model stores its weights (out, in)", c->path, a->model_type);
        goto done;
    }
    DTX_GO(dtx_json_int(root, c->path, "r", 1, 65536, &c->r));
    DTX_GO(dtx_json_double(root, c->path, "lora_alpha", 1e-6, 1e6, &c->alpha));
    DTX_GO(dtx_json_double(root, c->path, "lora_dropout", 0, 0.999, &c->dropout));
    targets = dtx_json_get(root, "target_modules");
    if (c->r < 0 || isnan(c->alpha) || !cJSON_IsArray(targets) || targets->child == NULL) {
        st = DTX_FAIL(DTX_ERR_INPUT, "%s: r, lora_alpha and target_modules (a list of names) are needed", c->path);
        goto done;
    }
    cJSON_ArrayForEach(t, targets)
    {
        if (!cJSON_IsString(t) || t->valuestring[0] == '\0' || strlen(t->valuestring) >= sizeof c->targets[0] ||
            c->n_targets == (int)(sizeof c->targets / sizeof *c->targets)) {
            st = DTX_FAIL(DTX_ERR_INPUT, "%s: target_modules must be at most 8 names of at most 63 bytes", c->path);
            goto done;
        }
        snprintf(c->targets[c->n_targets++], sizeof c->targets[0], "%s", t->valuestring);
    }
    st = DTX_OK;
done:
    cJSON_Delete(root);
    return st;
}

/* One half of a pair from the file into `to` (rows, cols). */
static dtx_status read_half(const dtx_weights *w, const char *dir, const char *module, char half, int64_t rows,
                            int64_t cols, float *to)
{
    char name[256];
    const dtx_tensor *t;

    snprintf(name, sizeof name, PREFIX "%s.lora_%c.weight", module, half);
    t = dtx_weights_find(w, name);
    if (t == NULL) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: tensor %s is missing, target_modules asks for it", dir, name);
    }
    if (t->n_dims != 2 || t->shape[0] != rows || t->shape[1] != cols) {
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

/* Every tensor of the file must be a half of one of the pairs that were read. */
static dtx_status check_strangers(const dtx_weights *w, const dtx_arch *a, const dtx_adapter *ad)
{
    for (int64_t i = 0; i < dtx_weights_count(w); i++) {
        const dtx_tensor *t = dtx_weights_at(w, i);
        bool known = false;
        for (int64_t s = 0; s < ad->n_slots && !known; s++) {
            char module[128], name[256];
            if (ad->slot[s].A == NULL) {
                continue;
            }
            dtx_module_name(a, s / DTX_MODULES, (dtx_module_kind)(s % DTX_MODULES), module, sizeof module);
            snprintf(name, sizeof name, PREFIX "%s.lora_A.weight", module);
            known = strcmp(name, t->name) == 0;
            snprintf(name, sizeof name, PREFIX "%s.lora_B.weight", module);
            known = known || strcmp(name, t->name) == 0;
        }
        if (!known) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: tensor %s belongs to no module that target_modules names in this model",
                            t->file, t->name);
        }
    }
    return DTX_OK;
}

dtx_status dtx_adapter_read(const char *dir, const dtx_arch *a, dtx_adapter **out)
{
    dtx_status st;
    peft_config c = {0};
    const char *targets[8];
    dtx_adapter *ad = NULL;
    dtx_weights *w = NULL;

    DTX_GO(read_config(dir, a, &c));
    for (int t = 0; t < c.n_targets; t++) {
        targets[t] = c.targets[t];
    }
    st = dtx_adapter_alloc(a, c.r, c.alpha, c.dropout, targets, c.n_targets, &ad);
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
            DTX_GO(read_half(w, dir, module, 'A', ad->r, l->n_in, l->A));
            DTX_GO(read_half(w, dir, module, 'B', l->n_out, ad->r, l->B));
        }
    }
    DTX_GO(check_strangers(w, a, ad));
    *out = ad;
    ad = NULL;
done:
    dtx_weights_close(w);
    dtx_adapter_del(ad);
    return st;
}

static dtx_status write_config(const char *dir, const dtx_arch *a, const dtx_adapter *ad, const char *base)
{
    dtx_status st = DTX_OK;
    cJSON *root = cJSON_CreateObject(), *list = cJSON_CreateArray();
    char *text = NULL, path[4096];
    bool ok = root != NULL && list != NULL;

    for (int t = 0; ok && t < ad->n_targets; t++) {
        ok = cJSON_AddItemToArray(list, cJSON_CreateString(ad->targets[t]));
    }
    ok = ok && cJSON_AddStringToObject(root, "base_model_name_or_path", base) != NULL &&
         cJSON_AddStringToObject(root, "bias", "none") != NULL &&
         cJSON_AddBoolToObject(root, "fan_in_fan_out", a->transposed) != NULL &&
         cJSON_AddTrueToObject(root, "inference_mode") != NULL &&
         cJSON_AddTrueToObject(root, "init_lora_weights") != NULL &&
         cJSON_AddNumberToObject(root, "lora_alpha", ad->alpha) != NULL &&
         cJSON_AddNumberToObject(root, "lora_dropout", ad->dropout) != NULL &&
         cJSON_AddNullToObject(root, "modules_to_save") != NULL &&
         cJSON_AddStringToObject(root, "peft_type", "LORA") != NULL &&
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
            t[n].shape[0] = half == 0 ? ad->r : l->n_out;
            t[n].shape[1] = half == 0 ? l->n_in : ad->r;
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
