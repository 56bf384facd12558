#include "src/model/families/gguf.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "src/base/mem.h"
#include "src/model/families/table.h"

/* --- keys to config.json --- */

typedef struct {
    const dtx_gguf *g;
    const char *arch;       /* general.architecture */
    cJSON *o;
} config;

/* A key of the architecture: "llama.block_count". */
static const char *key_of(const config *c, const char *name, char key[128])
{
    snprintf(key, 128, "%s.%s", c->arch, name);
    return key;
}

/* config.json's `key` from a whole number of the file; absent and not needed: left out. */
static dtx_status whole(const config *c, const char *name, const char *key, bool needed)
{
    char full[128];
    int64_t v = INT64_MIN;

    DTX_TRY(dtx_gguf_int(c->g, key_of(c, name, full), needed, &v));
    if (v != INT64_MIN) {
        dtx_cfg_add_number(c->o, key, (double)v);
    }
    return DTX_OK;
}

static dtx_status real(const config *c, const char *name, const char *key, bool needed)
{
    char full[128];
    double v = NAN;

    DTX_TRY(dtx_gguf_float(c->g, key_of(c, name, full), needed, &v));
    if (!isnan(v)) {
        dtx_cfg_add_number(c->o, key, v);
    }
    return DTX_OK;
}

static double number(const config *c, const char *key)
{
    const cJSON *item = dtx_json_get(c->o, key);

    return cJSON_IsNumber(item) ? item->valuedouble : 0.0;
}

static const dtx_tensor *tensor(const dtx_gguf *g, const char *name)
{
    for (int64_t i = 0; i < dtx_gguf_n_tensors(g); i++) {
        if (strcmp(dtx_gguf_tensor(g, i)->name, name) == 0) {
            return dtx_gguf_tensor(g, i);
        }
    }
    return NULL;
}

/* A key whose presence asks for what no family here does. */
static dtx_status refuse(const config *c, const char *name)
{
    char full[128];

    if (dtx_gguf_find(c->g, key_of(c, name, full)) != NULL) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: key %s: not supported", dtx_gguf_path(c->g), full);
    }
    return DTX_OK;
}

/* One number for all layers, or one for each, which must agree. */
static dtx_status same_in_layers(const config *c, const char *name, const char *key, bool needed)
{
    char full[128];
    const dtx_gguf_key *k = dtx_gguf_find(c->g, key_of(c, name, full));
    int64_t first = 0, v = 0;

    if (k == NULL || !k->is_array) {
        return whole(c, name, key, needed);
    }
    DTX_TRY(dtx_gguf_array(c->g, full, true, DTX_GGUF_I64, &k));
    for (uint64_t i = 0; i < k->count; i++) {
        DTX_TRY(dtx_gguf_int_at(c->g, k, i, &v));
        first = i == 0 ? v : first;
        if (v != first) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: key %s: layers differ (%" PRId64 ", %" PRId64 "), which is not supported", dtx_gguf_path(c->g), full,
                            first, v);
        }
    }
    dtx_cfg_add_number(c->o, key, (double)first);
    return DTX_OK;
}

/* Llama 3's scaling stands in no key, but as factors of the angles: the settings that give them. */
static dtx_status add_llama3(const config *c, const dtx_tensor *t)
{
    const double low = 1, high = 4, base = number(c, "rope_theta"), dims = 2.0 * (double)t->n_elements;
    double stretch = 1, length = 0;
    float *f = NULL;
    dtx_status st = DTX_OK;

    if (t->dtype != DTX_F32) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: tensor %s is %s; F32 is expected", t->file, t->name, dtx_dtype_name(t->dtype));
    }
    DTX_GO(DTX_NEW(f, t->n_elements));
    dtx_tensor_widen(t, f);
    for (int64_t i = 0; i < t->n_elements; i++) {
        stretch = fmax(stretch, (double)f[i]);
    }
    for (int64_t i = 0; i < t->n_elements && stretch > 1; i++) { /* one of the mixture tells the trained length */
        const double wave = 2 * M_PI * pow(base, 2.0 * (double)i / dims), s = (1.0 / (double)f[i] - 1 / stretch) / (1 - 1 / stretch);
        if (s > 1e-3 && s < 1 - 1e-3) {
            length = round(wave * (low + s * (high - low)));
            break;
        }
    }
    for (int64_t i = 0; i < t->n_elements; i++) {
        const double wave = 2 * M_PI * pow(base, 2.0 * (double)i / dims);
        const double s = fmin(fmax((length / wave - low) / (high - low), 0), 1), expected = 1 / ((1 - s) / stretch + s);
        if (length > 0 ? fabs((double)f[i] - expected) > 1e-4 * expected : f[i] != 1.0f) {
            st = DTX_FAIL(DTX_ERR_INPUT, "%s: tensor %s: its factors are not those of Llama 3's rope scaling (number %" PRId64 " is %g); others are "
                          "not supported", t->file, t->name, i, (double)f[i]);
            goto done;
        }
    }
    if (length > 0) {
        cJSON *r = cJSON_AddObjectToObject(c->o, "rope_scaling");
        dtx_cfg_add_text(r, "rope_type", "llama3");
        dtx_cfg_add_number(r, "factor", stretch);
        dtx_cfg_add_number(r, "low_freq_factor", low);
        dtx_cfg_add_number(r, "high_freq_factor", high);
        dtx_cfg_add_number(r, "original_max_position_embeddings", length);
    }
done:
    dtx_free(f);
    return st;
}

/* A.rope.scaling.*: none, linear, yarn. */
static dtx_status add_scaling(const config *c)
{
    char key[128];
    const char *type = "none";
    int64_t length = 0;
    double factor = 0;

    DTX_TRY(dtx_gguf_string(c->g, key_of(c, "rope.scaling.type", key), false, &type));
    if (strcmp(type, "none") == 0) {
        return DTX_OK;
    }
    if (strcmp(type, "linear") != 0 && strcmp(type, "yarn") != 0) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: key %s: \"%.32s\" is not supported; none, linear and yarn are", dtx_gguf_path(c->g), key, type);
    }
    DTX_TRY(refuse(c, "rope.scaling.attn_factor"));
    DTX_TRY(refuse(c, "rope.scaling.yarn_log_multiplier"));
    DTX_TRY(dtx_gguf_float(c->g, key_of(c, "rope.scaling.factor", key), true, &factor));
    cJSON *r = cJSON_AddObjectToObject(c->o, "rope_scaling");
    dtx_cfg_add_text(r, "rope_type", type);
    dtx_cfg_add_number(r, "factor", factor);
    DTX_TRY(dtx_gguf_int(c->g, key_of(c, "rope.scaling.original_context_length", key), strcmp(type, "yarn") == 0, &length));
    if (strcmp(type, "yarn") == 0) {
        dtx_cfg_add_number(r, "original_max_position_embeddings", (double)length);
    }
    return DTX_OK;
}

static dtx_status rows_of(const config *c, const char *name, int64_t *rows)
{
    const dtx_tensor *t = tensor(c->g, name);

    if (t == NULL || t->n_dims != 2) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: tensor %s %s", dtx_gguf_path(c->g), name, t == NULL ? "is missing" : "is no matrix");
    }
    *rows = t->shape[0];
    return DTX_OK;
}

/* Sizes that all architectures state. */
static dtx_status add_sizes(const config *c)
{
    int64_t vocab = 0;

    DTX_TRY(whole(c, "block_count", "num_hidden_layers", true));
    DTX_TRY(whole(c, "embedding_length", "hidden_size", true));
    DTX_TRY(same_in_layers(c, "feed_forward_length", "intermediate_size", true));
    DTX_TRY(same_in_layers(c, "attention.head_count", "num_attention_heads", true));
    DTX_TRY(whole(c, "context_length", "max_position_embeddings", true));
    DTX_TRY(rows_of(c, "token_embd.weight", &vocab));
    dtx_cfg_add_number(c->o, "vocab_size", (double)vocab);
    DTX_TRY(refuse(c, "expert_count"));
    return DTX_OK;
}

static dtx_status add_rope(const config *c)
{
    DTX_TRY(real(c, "rope.freq_base", "rope_theta", false));
    if (dtx_json_get(c->o, "rope_theta") == NULL) {
        dtx_cfg_add_number(c->o, "rope_theta", 10000.0);
    }
    return add_scaling(c);
}

/* Llama and its kin. */
static dtx_status llama(const config *c)
{
    const dtx_tensor *factors = tensor(c->g, "rope_freqs.weight");
    char key[128];
    int64_t head_dim = 0, value = 0, turned;

    DTX_TRY(add_sizes(c));
    DTX_TRY(same_in_layers(c, "attention.head_count_kv", "num_key_value_heads", false));
    if (dtx_json_get(c->o, "num_key_value_heads") == NULL) {
        dtx_cfg_add_number(c->o, "num_key_value_heads", number(c, "num_attention_heads"));
    }
    DTX_TRY(real(c, "attention.layer_norm_rms_epsilon", "rms_norm_eps", true));
    DTX_TRY(add_rope(c));
    head_dim = number(c, "num_attention_heads") >= 1 ? (int64_t)(number(c, "hidden_size") / number(c, "num_attention_heads")) : 0;
    DTX_TRY(dtx_gguf_int(c->g, key_of(c, "attention.key_length", key), false, &head_dim));
    value = turned = head_dim;
    DTX_TRY(dtx_gguf_int(c->g, key_of(c, "attention.value_length", key), false, &value));
    DTX_TRY(dtx_gguf_int(c->g, key_of(c, "rope.dimension_count", key), false, &turned));
    if (value != head_dim || turned != head_dim) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: heads of %" PRId64 " (%s.attention.key_length), values of %" PRId64 ", of which %" PRId64
                        " are rotated: equal numbers are supported", dtx_gguf_path(c->g), head_dim, c->arch, value, turned);
    }
    dtx_cfg_add_number(c->o, "head_dim", (double)head_dim);
    return factors != NULL ? add_llama3(c, factors) : DTX_OK;
}

static dtx_status plain_llama(const config *c)
{
    DTX_TRY(llama(c));
    DTX_TRY(refuse(c, "attention.sliding_window"));
    dtx_cfg_add_text(c->o, "hidden_act", "silu");
    dtx_cfg_add_bool(c->o, "attention_bias", tensor(c->g, "blk.0.attn_q.bias") != NULL);
    dtx_cfg_add_bool(c->o, "mlp_bias", tensor(c->g, "blk.0.ffn_up.bias") != NULL);
    return DTX_OK;
}

static dtx_status qwen(const config *c)
{
    DTX_TRY(llama(c));
    DTX_TRY(refuse(c, "attention.sliding_window"));
    dtx_cfg_add_text(c->o, "hidden_act", "silu");
    return DTX_OK;
}

static dtx_status gemma(const config *c)
{
    DTX_TRY(llama(c));
    dtx_cfg_add_text(c->o, "hidden_activation", "gelu_pytorch_tanh");
    return DTX_OK;
}

/* What scores are divided by the root of: the head's width, but in the largest model, which its layers tell. */
static void add_scalar(const config *c, double layers_of_largest)
{
    const bool largest = number(c, "num_hidden_layers") == layers_of_largest;

    dtx_cfg_add_number(c->o, "query_pre_attn_scalar", largest ? number(c, "hidden_size") / number(c, "num_attention_heads") : number(c, "head_dim"));
}

static dtx_status gemma2(const config *c)
{
    DTX_TRY(gemma(c));
    DTX_TRY(whole(c, "attention.sliding_window", "sliding_window", true));
    DTX_TRY(real(c, "attn_logit_softcapping", "attn_logit_softcapping", true));
    DTX_TRY(real(c, "final_logit_softcapping", "final_logit_softcapping", true));
    add_scalar(c, 46);
    return DTX_OK;
}

/* Whether each layer has a window: every sixth one sees everything unless the file says otherwise. */
static dtx_status add_pattern(const config *c)
{
    const int64_t layers = (int64_t)number(c, "num_hidden_layers");
    char key[128];
    const dtx_gguf_key *k = dtx_gguf_find(c->g, key_of(c, "attention.sliding_window_pattern", key));
    int64_t every = 6, slides;

    if (k != NULL && k->is_array) {
        DTX_TRY(dtx_gguf_array(c->g, key, true, DTX_GGUF_BOOL, &k));
    } else {
        DTX_TRY(dtx_gguf_int(c->g, key, false, &every));
    }
    if (layers < 1 || layers > DTX_CFG_MAX_LAYERS || every < 1 || (k != NULL && k->is_array && k->count != (uint64_t)layers)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: key %s: a number from 1, or one BOOL for each of the %" PRId64 " layers is expected", dtx_gguf_path(c->g),
                        key, layers);
    }
    cJSON *types = cJSON_AddArrayToObject(c->o, "layer_types");
    for (int64_t i = 0; i < layers; i++) {
        slides = (i + 1) % every != 0;
        if (k != NULL && k->is_array) {
            DTX_TRY(dtx_gguf_int_at(c->g, k, (uint64_t)i, &slides));
        }
        cJSON_AddItemToArray(types, cJSON_CreateString(slides ? "sliding_attention" : "full_attention"));
    }
    return DTX_OK;
}

static dtx_status gemma3(const config *c)
{
    DTX_TRY(gemma(c));
    DTX_TRY(whole(c, "attention.sliding_window", "sliding_window", true));
    DTX_TRY(real(c, "rope.freq_base_swa", "rope_local_base_freq", false));
    DTX_TRY(refuse(c, "final_logit_softcapping"));
    DTX_TRY(add_pattern(c));
    add_scalar(c, 62);
    return DTX_OK;
}

static dtx_status phi3(const config *c)
{
    if (tensor(c->g, "rope_factors_long.weight") != NULL || tensor(c->g, "rope_factors_short.weight") != NULL) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: tensors rope_factors_*: longrope is not supported; the 4k models have none", dtx_gguf_path(c->g));
    }
    DTX_TRY(llama(c));
    DTX_TRY(whole(c, "attention.sliding_window", "sliding_window", false));
    dtx_cfg_add_number(c->o, "original_max_position_embeddings", number(c, "max_position_embeddings"));
    dtx_cfg_add_text(c->o, "hidden_act", "silu");
    return DTX_OK;
}

static dtx_status gpt2(const config *c)
{
    DTX_TRY(add_sizes(c));
    dtx_cfg_add_number(c->o, "n_layer", number(c, "num_hidden_layers"));
    dtx_cfg_add_number(c->o, "n_embd", number(c, "hidden_size"));
    dtx_cfg_add_number(c->o, "n_head", number(c, "num_attention_heads"));
    dtx_cfg_add_number(c->o, "n_inner", number(c, "intermediate_size"));
    dtx_cfg_add_number(c->o, "n_positions", number(c, "max_position_embeddings"));
    DTX_TRY(real(c, "attention.layer_norm_epsilon", "layer_norm_epsilon", true));
    dtx_cfg_add_text(c->o, "activation_function", "gelu_new");
    return DTX_OK;
}

static dtx_status neox(const config *c)
{
    char key[128];
    int64_t turned = 0;
    bool parallel = true;

    DTX_TRY(add_sizes(c));
    DTX_TRY(add_rope(c));
    dtx_cfg_add_number(c->o, "rotary_emb_base", number(c, "rope_theta"));
    DTX_TRY(dtx_gguf_int(c->g, key_of(c, "rope.dimension_count", key), true, &turned));
    dtx_cfg_add_number(c->o, "rotary_pct", (double)turned * number(c, "num_attention_heads") / number(c, "hidden_size"));
    DTX_TRY(real(c, "attention.layer_norm_epsilon", "layer_norm_eps", true));
    DTX_TRY(dtx_gguf_bool(c->g, key_of(c, "use_parallel_residual", key), false, &parallel));
    dtx_cfg_add_bool(c->o, "use_parallel_residual", parallel);
    dtx_cfg_add_text(c->o, "hidden_act", "gelu");
    return DTX_OK;
}

static dtx_status falcon(const config *c)
{
    const bool grouped = tensor(c->g, "blk.0.attn_norm_2.weight") != NULL;

    DTX_TRY(add_sizes(c));
    DTX_TRY(add_rope(c));
    dtx_cfg_add_number(c->o, "ffn_hidden_size", number(c, "intermediate_size"));
    DTX_TRY(same_in_layers(c, "attention.head_count_kv", "num_kv_heads", true));
    DTX_TRY(real(c, "attention.layer_norm_epsilon", "layer_norm_epsilon", true));
    dtx_cfg_add_bool(c->o, "new_decoder_architecture", grouped);
    dtx_cfg_add_bool(c->o, "multi_query", !grouped && number(c, "num_kv_heads") == 1);
    dtx_cfg_add_bool(c->o, "parallel_attn", true);
    dtx_cfg_add_bool(c->o, "bias", tensor(c->g, "blk.0.attn_qkv.bias") != NULL);
    dtx_cfg_add_bool(c->o, "alibi", false);
    dtx_cfg_add_text(c->o, "activation", "gelu");
    return DTX_OK;
}

/* --- architectures --- */

/* IN_PAIRS: x0, x_half, x1, x_half+1 .. within each head of q and k. APART: all q | all k | all v of a projection that the folder
 * holds head by head. */
typedef enum { AS_THEY_ARE, IN_PAIRS, APART } row_order;

static const struct {
    const char *arch, *model_type;
    dtx_status (*add)(const config *c);
    row_order rows;         /* what the converter did to the rows of queries, keys and values */
    float added;            /* to the scales of norms */
} ARCHS[] = {
    {"llama", "llama", plain_llama, IN_PAIRS, 0}, {"qwen2", "qwen2", qwen, AS_THEY_ARE, 0},     {"qwen3", "qwen3", qwen, AS_THEY_ARE, 0},
    {"gemma", "gemma", gemma, AS_THEY_ARE, 1},    {"gemma2", "gemma2", gemma2, AS_THEY_ARE, 1}, {"gemma3", "gemma3_text", gemma3, AS_THEY_ARE, 1},
    {"phi3", "phi3", phi3, AS_THEY_ARE, 0},       {"gpt2", "gpt2", gpt2, AS_THEY_ARE, 0},       {"olmo2", "olmo2", qwen, AS_THEY_ARE, 0},
    {"smollm3", "smollm3", qwen, IN_PAIRS, 0},    {"gptneox", "gpt_neox", neox, APART, 0},      {"falcon", "falcon", falcon, APART, 0},
};
enum { N_ARCHS = sizeof ARCHS / sizeof *ARCHS };

/* The row of ARCHS that a file's general.architecture names and whose family the table has. */
static dtx_status find_arch(const dtx_gguf *g, int *row)
{
    const char *arch = "";
    char known[256] = "";

    DTX_TRY(dtx_gguf_string(g, "general.architecture", true, &arch));
    for (int i = 0; i < N_ARCHS; i++) {
        if (dtx_family_find(ARCHS[i].model_type) == NULL) {
            continue;
        }
        if (strcmp(arch, ARCHS[i].arch) == 0) {
            *row = i;
            return DTX_OK;
        }
        const size_t n = strlen(known);
        snprintf(known + n, sizeof known - n, "%s%s", n > 0 ? ", " : "", ARCHS[i].arch);
    }
    return DTX_FAIL(DTX_ERR_INPUT, "%s: key general.architecture: \"%.48s\" is not supported; supported: %s", dtx_gguf_path(g), arch, known);
}

static dtx_status add_token(const config *c, const char *name, const char *key)
{
    int64_t id = -1;

    DTX_TRY(dtx_gguf_int(c->g, name, false, &id));
    if (id >= 0) {
        dtx_cfg_add_number(c->o, key, (double)id);
    }
    return DTX_OK;
}

dtx_status dtx_gguf_config(const dtx_gguf *g, cJSON **out)
{
    config c = {.g = g};
    dtx_status st = DTX_OK;
    int row = 0;

    DTX_TRY(find_arch(g, &row));
    c.arch = ARCHS[row].arch;
    c.o = cJSON_CreateObject();
    DTX_GO(dtx_mem_check(c.o, 1, sizeof *c.o, "config.json"));
    dtx_cfg_add_text(c.o, "model_type", ARCHS[row].model_type);
    DTX_GO(ARCHS[row].add(&c));
    dtx_cfg_add_bool(c.o, "tie_word_embeddings", tensor(g, "output.weight") == NULL);
    DTX_GO(add_token(&c, "tokenizer.ggml.bos_token_id", "bos_token_id"));
    DTX_GO(add_token(&c, "tokenizer.ggml.eos_token_id", "eos_token_id"));
    DTX_GO(add_token(&c, "tokenizer.ggml.padding_token_id", "pad_token_id"));
    *out = c.o;
    c.o = NULL;
done:
    cJSON_Delete(c.o);
    return st;
}

/* --- tensors --- */

/* The file's name of a parameter. */
static void stored_name(const dtx_gguf *g, const dtx_param_spec *s, const dtx_arch *a, char *out, size_t size)
{
    static const struct {
        int part;
        const char *name;
    } names[] = {{DTX_MOD_K, "attn_k"},                {DTX_MOD_V, "attn_v"},
                 {DTX_MOD_OUT, "attn_output"},         {DTX_MOD_UP, "ffn_up"},
                 {DTX_MOD_DOWN, "ffn_down"},           {DTX_MOD_GATE, "ffn_gate"},
                 {DTX_PART_NORM1, "attn_norm"},        {DTX_PART_NORM2, "ffn_norm"},
                 {DTX_PART_NORM1_END, "post_attention_norm"}, {DTX_PART_NORM2_END, "post_ffw_norm"},
                 {DTX_PART_Q_NORM, "attn_q_norm"},     {DTX_PART_K_NORM, "attn_k_norm"},
                 {DTX_PART_WORDS, "token_embd"},       {DTX_PART_POSITIONS, "position_embd"},
                 {DTX_PART_FINAL_NORM, "output_norm"}, {DTX_PART_HEAD, "output"}};
    const bool falcon_two = s->layer >= 0 && tensor(g, "blk.0.attn_norm_2.weight") != NULL; /* there attn_norm is the MLP's, attn_norm_2 the attention's */
    const char *name = s->part == DTX_MOD_QKV ? (a->fused_qkv ? "attn_qkv" : "attn_q") : "";

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        name = names[i].part == s->part ? names[i].name : name;
    }
    if (falcon_two && s->part == DTX_PART_NORM1) {
        name = "attn_norm_2";
    } else if (falcon_two && s->part == DTX_PART_NORM2) {
        name = "attn_norm";
    }
    const char *tail = s->role == DTX_ROLE_SHIFT ? "bias" : "weight";
    if (s->layer >= 0) {
        snprintf(out, size, "blk.%" PRId64 ".%s.%s", s->layer, name, tail);
    } else {
        snprintf(out, size, "%s.%s", name, tail);
    }
}

typedef struct {
    const dtx_gguf *g;
    const dtx_arch *a;
    row_order rows;
    float added;
    dtx_param_spec *specs;
    char (*stored)[128];    /* the file's names of the specs */
    int64_t n;
    int32_t *q, *k, *qkv;   /* orders, NULL until they are needed */
} renaming;

static void order_pairs(int64_t heads, int64_t width, int32_t *order)
{
    for (int64_t r = 0; r < heads * width; r++) {
        const int64_t i = r % width, half = width / 2;
        order[r] = (int32_t)(r - i + (i < half ? 2 * i : 2 * (i - half) + 1));
    }
}

static void order_apart(const dtx_arch *a, int32_t *order)
{
    const int64_t hd = a->head_dim, per = a->n_heads / a->n_kv;

    for (int64_t r = 0; r < (a->n_heads + 2 * a->n_kv) * hd; r++) {
        const int64_t group = r / hd / (per + 2), slot = r / hd % (per + 2);
        const int64_t head = slot < per ? group * per + slot : a->n_heads + (slot - per) * a->n_kv + group;
        order[r] = (int32_t)(head * hd + r % hd);
    }
}

/* The order of a part's rows, NULL where they stand as in the folder. */
static dtx_status order_of(renaming *n, dtx_weights *w, int part, const int32_t **out)
{
    const dtx_arch *a = n->a;
    const bool q = part == DTX_MOD_Q && !a->fused_qkv, k = part == DTX_MOD_K && !a->fused_qkv;
    int32_t **order = q ? &n->q : k ? &n->k : &n->qkv;
    void *p;

    *out = NULL;
    if (n->rows == AS_THEY_ARE || (n->rows == IN_PAIRS ? !q && !k : part != DTX_MOD_QKV)) {
        return DTX_OK;
    }
    if (*order == NULL) {
        const int64_t heads = q ? a->n_heads : k ? a->n_kv : a->n_heads + 2 * a->n_kv;
        DTX_TRY(dtx_weights_alloc(w, (size_t)(heads * a->head_dim) * sizeof **order, &p));
        *order = p;
        if (n->rows == IN_PAIRS) {
            order_pairs(heads, a->head_dim, *order);
        } else {
            order_apart(a, *order);
        }
    }
    *out = *order;
    return DTX_OK;
}

/* A vector with its entries in order and what was added taken away, as a copy in f32. */
static dtx_status change_vector(dtx_weights *w, dtx_tensor *t, const int32_t *order, float added)
{
    void *block;
    float *wide = NULL;

    DTX_TRY(dtx_weights_alloc(w, (size_t)t->n_elements * sizeof *wide, &block));
    float *copy = block;
    DTX_TRY(DTX_NEW_RAW(wide, t->n_elements));
    dtx_tensor_widen(t, wide);
    for (int64_t i = 0; i < t->n_elements; i++) {
        copy[i] = wide[order != NULL ? order[i] : i] - added;
    }
    dtx_free(wide);
    t->data = copy;
    t->dtype = DTX_F32;
    t->size_bytes = (size_t)t->n_elements * sizeof *copy;
    return DTX_OK;
}

static dtx_status rename_one(void *user, dtx_weights *w, dtx_tensor *t)
{
    renaming *n = user;
    const int32_t *order;
    int64_t i = 0;

    while (i < n->n && strcmp(n->stored[i], t->name) != 0) {
        i++;
    }
    if (i == n->n) {
        return DTX_OK;
    }
    const dtx_param_spec *s = &n->specs[i];
    const float added = s->role == DTX_ROLE_SCALE ? n->added : 0;
    DTX_TRY(order_of(n, w, s->part, &order));
    t->name = s->name;
    if (order != NULL && t->shape[0] != s->shape[0]) { /* of another shape: told when it is bound */
        return DTX_OK;
    }
    if (s->n_dims > 1) {
        t->order = order;
    } else if ((order != NULL || added != 0) && (t->dtype <= DTX_F64 || dtx_dtype_is_quantised(t->dtype))) {
        DTX_TRY(change_vector(w, t, order, added));
    }
    return DTX_OK;
}

dtx_status dtx_gguf_rename(dtx_weights *w, const dtx_arch *a)
{
    renaming n = {.g = dtx_weights_gguf(w), .a = a};
    dtx_status st = DTX_OK;
    int row = 0;

    DTX_TRY(find_arch(n.g, &row));
    n.rows = ARCHS[row].rows;
    n.added = ARCHS[row].added;
    DTX_GO(dtx_arch_params(a, &n.specs, &n.n));
    DTX_GO(DTX_NEW(n.stored, n.n));
    for (int64_t i = 0; i < n.n; i++) {
        stored_name(n.g, &n.specs[i], a, n.stored[i], sizeof n.stored[i]);
    }
    DTX_GO(dtx_weights_convert(w, rename_one, &n));
done:
    dtx_free(n.stored);
    dtx_free(n.specs);
    return st;
}
