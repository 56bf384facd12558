/* model.c - what a model folder, an adapter's folder or a weights file holds. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "jobs/inspect/inspect.h"
#include "jobs/shared/eos.h"
#include "src/base/printable.h"
#include "src/weights/gguf.h"
#include "src/base/file.h"
#include "src/model/families/table.h"
#include "src/model/model.h"
#include "src/text/tokenizer.h"

static const char *const activation_name[] = {"gelu (erf)", "gelu (tanh)", "relu", "silu"};

static void add_id(dtx_facts *f, const char *key, const char *label, int64_t id)
{
    if (id >= 0) {
        dtx_facts_int(f, key, label, id, "");
    } else {
        dtx_facts_value(f, key, label, "none", cJSON_CreateNull());
    }
}

/* One id as a number, several as a list. */
static void add_eos(dtx_facts *f, const dtx_eos *e)
{
    char text[200];

    if (e->n <= 1) {
        add_id(f, "eos", "end-of-text id", dtx_eos_first(e));
    } else {
        dtx_facts_value(f, "eos", "end-of-text ids", dtx_eos_text(e, text, sizeof text), cJSON_CreateIntArray(e->id, e->n));
    }
}

/* What the layers' attention is like where it is not the plain one. */
static void add_layers(const dtx_arch *a, dtx_facts *f)
{
    int64_t windows = 0, bare = 0;

    for (int64_t i = 0; i < a->n_layers; i++) {
        windows += (a->layer[i] & DTX_LAYER_WINDOW) != 0;
        bare += (a->layer[i] & DTX_LAYER_NO_ROPE) != 0;
    }
    if (windows > 0) {
        dtx_facts_int(f, "window", "window of attention", a->window, "");
        dtx_facts_int(f, "window_layers", "layers with it", windows, "");
    }
    if (bare > 0) {
        dtx_facts_int(f, "bare_layers", "layers without positions", bare, "");
    }
    if (a->score_cap > 0) {
        dtx_facts_number(f, "score_cap", "cap of scores", a->score_cap, "");
    }
    if (a->logit_cap > 0) {
        dtx_facts_number(f, "logit_cap", "cap of logits", a->logit_cap, "");
    }
}

static void add_shape(const dtx_arch *a, dtx_facts *f)
{
    dtx_facts_section(f, "shape", "Shape");
    dtx_facts_int(f, "layers", "layers", a->n_layers, "");
    dtx_facts_int(f, "hidden", "hidden", a->hidden, "");
    dtx_facts_int(f, "heads", "heads", a->n_heads, "");
    dtx_facts_int(f, "kv_heads", "key/value heads", a->n_kv, "");
    dtx_facts_int(f, "head_dim", "head dimensions", a->head_dim, "");
    dtx_facts_int(f, "ffn", "feed-forward", a->ffn, "");
    dtx_facts_int(f, "vocab", "vocabulary", a->vocab, "");
    dtx_facts_int(f, "max_positions", "positions", a->max_positions, "");
    if (a->position == DTX_POS_ROTARY) {
        dtx_facts_text(f, "position", "position code", "rotary, %lld of %lld dimensions, base %g",
                       (long long)a->rotary_dims, (long long)a->head_dim, a->rope[0].base);
    } else {
        dtx_facts_text(f, "position", "position code", "%s", a->position == DTX_POS_ALIBI ? "ALiBi" : "learned");
    }
    dtx_facts_text(f, "block", "block", "%s",
                   a->post_norm     ? "sequential, norms after the branches"
                   : a->branch_norm ? (a->bare_input ? "sequential residual, norms at the branches' end"
                                                     : "sequential residual, norms at the branches' begin and end")
                   : !a->parallel   ? "sequential residual"
                   : a->shared_norm ? "parallel residual, one norm for both branches"
                                    : "parallel residual, a norm for each branch");
    dtx_facts_text(f, "activation", "activation", "%s", activation_name[a->activation]);
    dtx_facts_text(f, "norm", "norm", "%s%s%s", a->rms_norm ? "RMSNorm" : "LayerNorm", a->norm_plus_one ? ", 1 + w" : "",
                   a->qk_norm ? ", queries and keys too" : "");
    dtx_facts_bool(f, "gated", "gated feed-forward", a->gated);
    dtx_facts_bool(f, "bias", "biases of linears", a->linear_bias);
    add_layers(a, f);
    if (a->causal) {
        dtx_facts_bool(f, "tied_head", "head tied", a->tied_head);
    }
    dtx_facts_number(f, "norm_eps", "norm epsilon", (double)a->norm_eps, "");
    add_id(f, "bos", "begin-of-text id", a->bos_id);
    add_eos(f, &a->eos);
    add_id(f, "pad", "padding id", a->pad_id);
    for (int64_t i = 0; i < a->n_labels; i++) {
        char key[32], label[32];
        snprintf(key, sizeof key, "label_%lld", (long long)i);
        snprintf(label, sizeof label, "label %lld", (long long)i);
        dtx_facts_text(f, key, label, "%s", a->labels[i]);
    }
    if (a->n_labels > 0) {
        dtx_facts_text(f, "score", "score", "%s", a->multi_label ? "sigmoid of each label" : "softmax over labels");
    }
}

/* "F16, U8": the type of most elements first. */
static void dtypes_text(const dtx_weights *w, char *out, size_t size)
{
    int64_t elements[DTX_DTYPES] = {0};

    for (int64_t i = 0; i < dtx_weights_count(w); i++) {
        const dtx_tensor *t = dtx_weights_at(w, i);
        elements[t->dtype] += t->n_elements;
    }
    out[0] = '\0';
    for (;;) {
        int most = 0;
        for (int d = 1; d < DTX_DTYPES; d++) {
            most = elements[d] > elements[most] ? d : most;
        }
        if (elements[most] == 0) {
            return;
        }
        size_t n = strlen(out);
        snprintf(out + n, size - n, "%s%s", n > 0 ? ", " : "", dtx_dtype_name((dtx_dtype)most));
        elements[most] = 0;
    }
}

static int64_t tensor_bytes(const dtx_weights *w, int64_t *n_elements)
{
    int64_t bytes = 0;

    *n_elements = 0;
    for (int64_t i = 0; i < dtx_weights_count(w); i++) {
        bytes += (int64_t)dtx_weights_at(w, i)->size_bytes;
        *n_elements += dtx_weights_at(w, i)->n_elements;
    }
    return bytes;
}

static int64_t count_files(const dtx_weights *w)
{
    int64_t n = 0;

    for (int64_t i = 0; i < dtx_weights_count(w); i++) {
        bool seen = false;
        for (int64_t k = 0; k < i && !seen; k++) {
            seen = dtx_weights_at(w, k)->file == dtx_weights_at(w, i)->file;
        }
        n += !seen;
    }
    return n;
}

/* Facts of any set of tensors; m: the model that they make, or NULL. */
static dtx_status add_weights(const dtx_weights *w, const dtx_model *m, bool sha256, dtx_facts *f)
{
    char text[128];
    int64_t n = 0, bytes = tensor_bytes(w, &n);

    dtypes_text(w, text, sizeof text);
    dtx_facts_text(f, "dtype", "dtype", "%s", text);
    dtx_facts_int(f, "files", "files", count_files(w), "");
    dtx_facts_int(f, "tensors", "tensors", dtx_weights_count(w), "");
    dtx_facts_int(f, "elements", "elements", n, "");
    dtx_facts_bytes(f, "bytes", "size", bytes);
    DTX_TRY(m != NULL ? dtx_model_fingerprint(m, text) : dtx_weights_fingerprint(w, 0, text));
    dtx_facts_text(f, "fingerprint", "fingerprint", "%s", text);
    if (sha256) {
        DTX_TRY(dtx_weights_fingerprint(w, 1, text));
        dtx_facts_text(f, "sha256", "SHA-256, every byte", "%s", text);
    }
    return DTX_OK;
}

/* Bytes of an element as config.json's torch_dtype says; 4 where it says nothing. */
static dtx_status stated_dtype(const char *dir, char *name, size_t size, int64_t *bytes)
{
    char path[4096];
    cJSON *root = NULL;

    snprintf(name, size, "float32");
    if (dtx_gguf_is_path(dir)) { /* its tensors tell */
        return DTX_OK;
    }
    DTX_TRY(dtx_file_join(path, sizeof path, dir, "config.json"));
    DTX_TRY(dtx_json_read(path, &root));
    dtx_status st = dtx_json_str(root, path, "torch_dtype", size, name);
    cJSON_Delete(root);
    *bytes = strstr(name, "16") != NULL ? 2 : strstr(name, "64") != NULL ? 8 : 4;
    return st;
}

static void add_memory(const dtx_arch *a, int64_t count, int64_t stored, dtx_facts *f)
{
    const int64_t position = 2 * a->n_layers * a->n_kv * a->head_dim * (int64_t)sizeof(float);

    dtx_facts_section(f, "memory", "Memory");
    dtx_facts_bytes(f, "weights", "weights as stored, per node", stored);
    dtx_facts_bytes(f, "weights_f32", "weights widened to f32, per rank", count * (int64_t)sizeof(float));
    if (a->causal) {
        dtx_facts_bytes(f, "kv_position", "cache per position of a stream", position);
        if (a->max_positions > 0) {
            dtx_facts_bytes(f, "kv_stream", "cache per stream of all positions", position * a->max_positions);
        }
    }
}

/* The tokenizer, when the folder has one. */
static dtx_status add_tokenizer(const char *dir, const dtx_arch *a, dtx_facts *f)
{
    static const char *const names[] = {"tokenizer.json", "vocab.json"};
    char path[4096];
    int64_t special = 0;
    dtx_tokenizer *t = NULL;

    for (int i = 0; i < 2 && dtx_file_is_dir(dir); i++) {
        DTX_TRY(dtx_file_join(path, sizeof path, dir, names[i]));
        if (dtx_file_exists(path)) {
            DTX_TRY(dtx_tokenizer_open(dir, &t));
            dtx_facts_section(f, "tokenizer", "Tokenizer");
            dtx_facts_text(f, "file", "file", "%s", names[i]);
            break;
        }
    }
    if (t == NULL) {
        return DTX_OK;
    }
    const int64_t n = dtx_tokenizer_size(t);
    for (int64_t id = 0; id < n; id++) {
        special += dtx_tokenizer_is_special(t, (int32_t)id);
    }
    dtx_facts_int(f, "ids", "ids", n, "");
    dtx_facts_int(f, "special", "special tokens", special, "");
    dtx_facts_bool(f, "fits", "fits the vocabulary", n <= a->vocab);
    const int32_t end = dtx_eos_first(&a->eos);
    const char *piece = end >= 0 && end < n ? dtx_tokenizer_piece(t, end) : NULL;
    if (piece != NULL) {
        dtx_facts_text(f, "eos", "end of text", "%s", piece);
    }
    dtx_tokenizer_close(t);
    return DTX_OK;
}

dtx_status dtx_inspect_model(const char *dir, bool sha256, dtx_facts *f)
{
    dtx_arch a;
    dtx_weights *w = NULL;
    dtx_model *m = NULL;
    int64_t count = 0, stored = 0, unit = 0, elements = 0;
    char dtype[32];
    dtx_status st = DTX_OK;

    DTX_TRY(dtx_arch_read(dir, &a));
    DTX_TRY(dtx_arch_count(&a, &count));
    DTX_TRY(stated_dtype(dir, dtype, sizeof dtype, &unit));
    dtx_facts_section(f, "model", "Model");
    dtx_facts_text(f, "path", "path", "%s", dir);
    dtx_facts_text(f, "architecture", "architecture", "%s", dtx_family_of(&a)->title);
    dtx_facts_text(f, "model_type", "model type", "%s", a.model_type);
    dtx_facts_int(f, "parameters", "parameters", count, "");
    add_shape(&a, f);

    dtx_facts_section(f, "weights", "Weights");
    st = dtx_weights_open(dir, NULL, &w);
    if (st == DTX_ERR_MISSING && strstr(dtx_error_text(), "holds no weights") != NULL) {
        dtx_error_clear();
        stored = count * unit;
        dtx_facts_bool(f, "present", "present", false);
        dtx_facts_text(f, "dtype", "dtype", "%s, as config.json says; sizes follow from it", dtype);
    } else {
        DTX_GO(st);
        DTX_GO(dtx_model_open_as(dir, &a, false, &m)); /* every tensor there once, of the right shape */
        dtx_facts_bool(f, "present", "present", true);
        dtx_facts_bool(f, "fits", "fit config.json", true);
        DTX_GO(add_weights(w, m, sha256, f));
        stored = tensor_bytes(w, &elements);
    }
    add_memory(&a, count, stored, f);
    DTX_GO(add_tokenizer(dir, &a, f));
    st = DTX_OK;
done:
    dtx_model_del(m);
    dtx_weights_close(w);
    return st;
}

static void add_key(const dtx_gguf *g, const dtx_gguf_key *k, dtx_facts *f)
{
    char raw[160], text[4 * sizeof raw];
    int64_t whole;
    double real;
    bool truth;

    if (k->is_array || (k->type == DTX_GGUF_U64 && dtx_gguf_int(g, k->key, true, &whole) != DTX_OK)) {
        dtx_gguf_value_text(k, raw, sizeof raw);
        dtx_facts_text(f, k->key, k->key, "%s", raw);
    } else if (k->type == DTX_GGUF_STRING) {
        snprintf(raw, sizeof raw, "%s", k->data);
        dtx_printable(text, sizeof text, raw, strlen(raw));
        dtx_facts_text(f, k->key, k->key, "%s", text);
    } else if (k->type == DTX_GGUF_BOOL && dtx_gguf_bool(g, k->key, true, &truth) == DTX_OK) {
        dtx_facts_bool(f, k->key, k->key, truth);
    } else if ((k->type == DTX_GGUF_F32 || k->type == DTX_GGUF_F64) && dtx_gguf_float(g, k->key, true, &real) == DTX_OK) {
        dtx_facts_number(f, k->key, k->key, real, "");
    } else if (dtx_gguf_int(g, k->key, true, &whole) == DTX_OK) {
        dtx_facts_int(f, k->key, k->key, whole, "");
    }
    dtx_error_clear();
}

/* The keys of a GGUF file, and how much it holds. */
static void add_keys(const dtx_gguf *g, dtx_facts *f)
{
    dtx_facts_section(f, "gguf", "GGUF file");
    dtx_facts_text(f, "path", "path", "%s", dtx_gguf_path(g));
    dtx_facts_int(f, "keys", "keys", dtx_gguf_n_keys(g), "");
    dtx_facts_int(f, "tensors", "tensors", dtx_gguf_n_tensors(g), "");
    dtx_facts_section(f, "keys", "Keys");
    for (int64_t i = 0; i < dtx_gguf_n_keys(g); i++) {
        add_key(g, dtx_gguf_key_at(g, i), f);
    }
}

dtx_status dtx_inspect_gguf(const char *file, bool sha256, dtx_facts *f)
{
    dtx_gguf *g = NULL;
    dtx_arch a;
    dtx_model *m = NULL;

    DTX_TRY(dtx_gguf_open(file, &g));
    add_keys(g, f);
    dtx_gguf_close(g);
    dtx_status st = dtx_arch_read(file, &a);
    st = st == DTX_OK ? dtx_model_open_as(file, &a, false, &m) : st;
    dtx_model_del(m);
    if (st == DTX_OK) {
        return dtx_inspect_model(file, sha256, f);
    }
    if (st != DTX_ERR_INPUT) {
        return st;
    }
    dtx_facts_section(f, "model", "Model"); /* a sound container is no error, whatever it lacks */
    dtx_facts_bool(f, "usable", "usable", false);
    dtx_facts_text(f, "lacks", "because", "%s", dtx_error_text());
    dtx_error_clear();
    return dtx_inspect_weights(file, sha256, f);
}

static int64_t count_pairs(const dtx_weights *w)
{
    int64_t n = 0;

    for (int64_t i = 0; i < dtx_weights_count(w); i++) {
        n += strstr(dtx_weights_at(w, i)->name, ".lora_A.") != NULL;
    }
    return n;
}

dtx_status dtx_inspect_adapter(const char *dir, bool sha256, dtx_facts *f)
{
    char path[4096], base[1024] = "", targets[512] = "", type[32] = "";
    cJSON *root = NULL;
    const cJSON *t;
    dtx_weights *w = NULL;
    int64_t r = -1, n = 0;
    double alpha = -1.0, dropout = 0.0;
    bool rslora = false, dora = false;
    dtx_status st = DTX_OK;

    DTX_TRY(dtx_file_join(path, sizeof path, dir, "adapter_config.json"));
    DTX_TRY(dtx_json_read(path, &root));
    DTX_GO(dtx_json_str(root, path, "peft_type", sizeof type, type));
    DTX_GO(dtx_json_str(root, path, "base_model_name_or_path", sizeof base, base));
    DTX_GO(dtx_json_int(root, path, "r", 1, 65536, &r));
    DTX_GO(dtx_json_double(root, path, "lora_alpha", 0.0, 1e9, &alpha));
    DTX_GO(dtx_json_double(root, path, "lora_dropout", 0.0, 1.0, &dropout));
    if (strcmp(type, "LORA") != 0 || r < 0 || alpha < 0.0) {
        st = DTX_FAIL(DTX_ERR_INPUT, "%s: peft_type \"LORA\", r and lora_alpha are expected", path);
        goto done;
    }
    t = dtx_json_get(root, "target_modules");
    if (cJSON_IsString(t)) {
        snprintf(targets, sizeof targets, "%s", t->valuestring);
    }
    DTX_GO(dtx_json_bool(root, path, "use_rslora", &rslora));
    DTX_GO(dtx_json_bool(root, path, "use_dora", &dora));
    cJSON_ArrayForEach(t, dtx_json_get(root, "target_modules"))
    {
        size_t at = strlen(targets);
        snprintf(targets + at, sizeof targets - at, "%s%s", at > 0 ? ", " : "",
                 cJSON_IsString(t) ? t->valuestring : "?");
    }
    DTX_GO(dtx_weights_open(dir, "adapter_model", &w));
    (void)tensor_bytes(w, &n);
    dtx_facts_section(f, "adapter", "Adapter");
    dtx_facts_text(f, "path", "path", "%s", dir);
    dtx_facts_text(f, "type", "type", "%sLoRA, y = %sW x + alpha / %s B A x%s", dora ? "Do" : rslora ? "rs" : "", dora ? "m / |W + ..| (" : "",
                   rslora ? "sqrt(r)" : "r", dora ? ")" : "");
    dtx_facts_text(f, "base", "base model", "%s", base[0] != '\0' ? base : "not stated");
    dtx_facts_int(f, "r", "r", r, "");
    dtx_facts_number(f, "alpha", "alpha", alpha, "");
    dtx_facts_number(f, "scale", rslora ? "scale alpha / sqrt(r)" : "scale alpha / r", alpha / (rslora ? sqrt((double)r) : (double)r), "");
    dtx_facts_number(f, "dropout", "dropout in training", dropout, "");
    dtx_facts_text(f, "targets", "target modules", "%s", targets);
    dtx_facts_int(f, "modules", "modules adapted", count_pairs(w), "");
    dtx_facts_int(f, "parameters", "parameters", n, "");
    dtx_facts_section(f, "weights", "Weights");
    DTX_GO(add_weights(w, NULL, sha256, f));
done:
    dtx_weights_close(w);
    cJSON_Delete(root);
    return st;
}

dtx_status dtx_inspect_weights(const char *file, bool sha256, dtx_facts *f)
{
    dtx_weights *w = NULL;
    dtx_status st = DTX_OK;

    DTX_TRY(dtx_weights_open(file, NULL, &w));
    dtx_facts_section(f, "weights", "Weights");
    dtx_facts_text(f, "path", "path", "%s", file);
    DTX_GO(add_weights(w, NULL, sha256, f));
    dtx_facts_section(f, "tensors", "Tensors");
    for (int64_t i = 0; i < dtx_weights_count(w); i++) {
        const dtx_tensor *t = dtx_weights_at(w, i);
        char shape[160] = "[";
        for (int k = 0; k < t->n_dims; k++) {
            size_t at = strlen(shape);
            snprintf(shape + at, sizeof shape - at, "%s%lld", k > 0 ? ", " : "", (long long)t->shape[k]);
        }
        dtx_facts_text(f, t->name, t->name, "%-4s %s]", dtx_dtype_name(t->dtype), shape);
    }
done:
    dtx_weights_close(w);
    return st;
}
