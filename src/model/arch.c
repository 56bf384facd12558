#include "src/model/arch.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "src/base/file.h"
#include "src/base/json.h"

/* Largest sizes that are taken from a file. They keep every product of two of them far from 2^63. */
#define MAX_LAYERS 4096
#define MAX_WIDTH (1 << 20)
#define MAX_VOCAB (1 << 24)
#define MAX_FFN (1 << 22)

/* A config.json while it is read. */
typedef struct {
    const cJSON *root;
    const char *path;
} source;

/* "path: key: found X, supported: Y". X is the value as the file spells it, shortened. */
static dtx_status unsupported(const source *s, const char *key, const char *allowed)
{
    const cJSON *item = dtx_json_get(s->root, key);
    char *text = item != NULL ? cJSON_PrintUnformatted(item) : NULL;
    dtx_status st = DTX_FAIL(DTX_ERR_INPUT, "%s: %s: %.80s is not supported; supported: %s", s->path, key,
                             text != NULL ? text : "absent", allowed);

    cJSON_free(text);
    return st;
}

/* A whole number that must be there, under `key` or its older spelling `old` (may be NULL). Both given must agree. */
static dtx_status need_int(const source *s, const char *key, const char *old, int64_t max, int64_t *out)
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
static dtx_status need_bool(const source *s, const char *key, bool wanted)
{
    bool v = wanted;

    DTX_TRY(dtx_json_bool(s->root, s->path, key, &v));
    return v == wanted ? DTX_OK : unsupported(s, key, wanted ? "true" : "false");
}

/* An id, or a list that holds one id (as some generation_config.json spell it). Absent or null leaves *out. */
static dtx_status read_token(const source *s, const char *key, int64_t vocab, int64_t *out)
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
        return unsupported(s, key, allowed);
    }
    *out = (int64_t)v;
    return DTX_OK;
}

static dtx_status read_tokens(const source *s, dtx_arch *a)
{
    DTX_TRY(read_token(s, "bos_token_id", a->vocab, &a->bos_id));
    DTX_TRY(read_token(s, "eos_token_id", a->vocab, &a->eos_id));
    return read_token(s, "pad_token_id", a->vocab, &a->pad_id);
}

static dtx_status read_activation(const source *s, const char *key, dtx_activation *out)
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
    return unsupported(s, key, "gelu, gelu_new, gelu_fast, gelu_pytorch_tanh, relu");
}

/* Keys of any family that would change what is computed. */
static dtx_status check_common(const source *s)
{
    const cJSON *item;

    DTX_TRY(need_bool(s, "is_encoder_decoder", false));
    DTX_TRY(need_bool(s, "add_cross_attention", false));
    if (dtx_json_get(s->root, "quantization_config") != NULL) {
        return unsupported(s, "quantization_config", "none (weights as F32, F16 or BF16)");
    }
    item = dtx_json_get(s->root, "pruned_heads");
    if (item != NULL && item->child != NULL) {
        return unsupported(s, "pruned_heads", "none");
    }
    return DTX_OK;
}

/* "architectures" may be absent; when given it must name the class whose head the core has. */
static dtx_status check_class(const source *s, const char *const *classes)
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
    return unsupported(s, "architectures", allowed);
}

/* Rotary base and share, in the spellings of the years: rotary_emb_base / rope_theta, rotary_pct /
 * partial_rotary_factor, rope_parameters {rope_theta, partial_rotary_factor, rope_type}. Any scaling is refused. */
static dtx_status read_rotary(const source *s, double share, dtx_arch *a)
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
            return unsupported(s, scalings[i], "null, or the type \"default\" (no scaling of positions)");
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
static dtx_status read_sizes(const source *s, const char *old_layers, const char *old_heads, dtx_arch *a)
{
    DTX_TRY(need_int(s, "num_hidden_layers", old_layers, MAX_LAYERS, &a->n_layers));
    DTX_TRY(need_int(s, "hidden_size", old_layers != NULL ? "n_embed" : NULL, MAX_WIDTH, &a->hidden));
    DTX_TRY(need_int(s, "num_attention_heads", old_heads, MAX_WIDTH, &a->n_heads));
    DTX_TRY(need_int(s, "vocab_size", NULL, MAX_VOCAB, &a->vocab));
    if (a->hidden % a->n_heads != 0) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: %s: %lld heads do not divide hidden_size %lld", s->path,
                        dtx_json_get(s->root, "num_attention_heads") != NULL ? "num_attention_heads" : old_heads,
                        (long long)a->n_heads, (long long)a->hidden);
    }
    a->head_dim = a->hidden / a->n_heads;
    a->n_kv = a->n_heads;
    return DTX_OK;
}

static dtx_status read_eps(const source *s, const char *key, double fallback, dtx_arch *a)
{
    double eps = fallback;

    DTX_TRY(dtx_json_double(s->root, s->path, key, 1e-12, 1.0, &eps));
    a->norm_eps = (float)eps;
    return DTX_OK;
}

/* transformers' GPTNeoXConfig; defaults of the library where a key is absent. */
static dtx_status read_neox(const source *s, dtx_arch *a)
{
    static const char *const classes[] = {"GPTNeoXForCausalLM", NULL};

    DTX_TRY(check_class(s, classes));
    a->family = DTX_NEOX;
    a->causal = a->fused_qkv = a->linear_bias = a->parallel = true;
    DTX_TRY(read_sizes(s, NULL, NULL, a));
    DTX_TRY(need_int(s, "intermediate_size", NULL, MAX_FFN, &a->ffn));
    DTX_TRY(need_int(s, "max_position_embeddings", NULL, MAX_VOCAB, &a->max_positions));
    DTX_TRY(read_rotary(s, 0.25, a));
    DTX_TRY(read_activation(s, "hidden_act", &a->activation));
    DTX_TRY(read_eps(s, "layer_norm_eps", 1e-5, a));
    DTX_TRY(dtx_json_bool(s->root, s->path, "use_parallel_residual", &a->parallel));
    DTX_TRY(dtx_json_bool(s->root, s->path, "tie_word_embeddings", &a->tied_head));
    DTX_TRY(need_bool(s, "attention_bias", true));
    return read_tokens(s, a);
}

/* Falcon as transformers has it ("falcon"), and the two dialects of the code that came with the released weights:
 * "RefinedWebModel" (7B) and "RefinedWeb" (40B; with n_head_kv it means the block with norms of its own per branch). */
static dtx_status read_falcon(const source *s, dtx_arch *a)
{
    static const char *const classes[] = {"FalconForCausalLM", "RWForCausalLM", NULL};
    bool library = strcmp(a->model_type, "falcon") == 0;
    bool alibi = false, multi_query = library, parallel = library;
    bool grouped = !library && strcmp(a->model_type, "RefinedWeb") == 0 && dtx_json_get(s->root, "n_head_kv") != NULL;
    int64_t n_kv = 0, n_norms = 0;

    DTX_TRY(check_class(s, classes));
    a->family = DTX_FALCON;
    a->causal = a->fused_qkv = a->tied_head = true;
    DTX_TRY(read_sizes(s, "n_layer", "n_head", a));
    a->ffn = 4 * a->hidden;
    DTX_TRY(dtx_json_int(s->root, s->path, "ffn_hidden_size", 1, MAX_FFN, &a->ffn));
    a->max_positions = 2048; /* what the models were trained with; the released files do not say */
    DTX_TRY(dtx_json_int(s->root, s->path, "max_position_embeddings", 1, MAX_VOCAB, &a->max_positions));
    DTX_TRY(dtx_json_bool(s->root, s->path, "alibi", &alibi));
    if (alibi) {
        a->position = DTX_POS_ALIBI;
    } else {
        DTX_TRY(read_rotary(s, 1.0, a));
    }
    DTX_TRY(read_activation(s, "activation", &a->activation));
    DTX_TRY(read_eps(s, "layer_norm_epsilon", 1e-5, a));
    DTX_TRY(dtx_json_bool(s->root, s->path, "bias", &a->linear_bias));
    DTX_TRY(dtx_json_bool(s->root, s->path, "tie_word_embeddings", &a->tied_head));
    DTX_TRY(need_bool(s, "apply_residual_connection_post_layernorm", false));
    DTX_TRY(dtx_json_bool(s->root, s->path, "multi_query", &multi_query));
    DTX_TRY(dtx_json_bool(s->root, s->path, "new_decoder_architecture", &grouped));
    parallel = parallel || grouped;
    DTX_TRY(dtx_json_bool(s->root, s->path, "parallel_attn", &parallel));
    DTX_TRY(dtx_json_int(s->root, s->path, library ? "num_kv_heads" : "n_head_kv", 1, a->n_heads, &n_kv));
    if (grouped && !parallel) {
        return unsupported(s, "parallel_attn", "true where new_decoder_architecture is true");
    }

    a->parallel = parallel;
    a->shared_norm = parallel && !grouped;
    DTX_TRY(dtx_json_int(s->root, s->path, "num_ln_in_parallel_attn", 1, 2, &n_norms));
    if (n_norms == 2 && !grouped) {
        return unsupported(s, "num_ln_in_parallel_attn", "2 only where new_decoder_architecture is true");
    }
    a->shared_norm = a->shared_norm || n_norms == 1;
    if (grouped) {
        a->n_kv = n_kv > 0 ? n_kv : a->n_heads;
        if (a->n_heads % a->n_kv != 0) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: %s: %lld key/value heads do not divide %lld heads", s->path,
                            library ? "num_kv_heads" : "n_head_kv", (long long)a->n_kv, (long long)a->n_heads);
        }
    } else if (multi_query) {
        a->n_kv = 1;
    } else if (n_kv > 0 && n_kv != a->n_heads) {
        return unsupported(s, library ? "num_kv_heads" : "n_head_kv",
                           "the number of heads, where neither multi_query nor new_decoder_architecture is true");
    }
    return read_tokens(s, a);
}

/* id2label {"0": "nothate", "1": "hate"}: every number below the count once. */
static dtx_status read_labels(const source *s, dtx_arch *a)
{
    const cJSON *labels = dtx_json_get(s->root, "id2label"), *item;

    a->n_labels = 2;
    DTX_TRY(dtx_json_int(s->root, s->path, "num_labels", 1, DTX_MAX_LABELS, &a->n_labels));
    if (labels != NULL) {
        int n = cJSON_GetArraySize(labels);
        if (!cJSON_IsObject(labels) || n < 1 || n > DTX_MAX_LABELS) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: id2label: an object of 1 to %d labels is expected, found %d", s->path,
                            DTX_MAX_LABELS, n);
        }
        if (dtx_json_get(s->root, "num_labels") != NULL && a->n_labels != n) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: num_labels is %lld, but id2label has %d entries", s->path,
                            (long long)a->n_labels, n);
        }
        a->n_labels = n;
    }
    for (int64_t i = 0; i < a->n_labels; i++) {
        snprintf(a->labels[i], sizeof a->labels[i], "LABEL_%lld", (long long)i);
    }
    cJSON_ArrayForEach(item, labels)
    {
        char number[24];
        int64_t i = 0;
        while (i < a->n_labels &&
               (snprintf(number, sizeof number, "%lld", (long long)i), strcmp(item->string, number) != 0)) {
            i++;
        }
        if (i == a->n_labels || !cJSON_IsString(item) || strlen(item->valuestring) >= sizeof a->labels[i]) {
            return DTX_FAIL(
                DTX_ERR_INPUT,
                "%s: id2label: entry \"%.40s\": a key from 0 to %lld and a label of at most %zu bytes are expected",
                s->path, item->string, (long long)a->n_labels - 1, sizeof a->labels[0] - 1);
        }
        strcpy(a->labels[i], item->valuestring);
    }
    return DTX_OK;
}

static dtx_status read_roberta(const source *s, dtx_arch *a)
{
    static const char *const classes[] = {"RobertaForSequenceClassification", NULL};
    char positions[32] = "absolute", problem[64] = "single_label_classification";

    DTX_TRY(check_class(s, classes));
    a->family = DTX_ROBERTA;
    a->post_norm = a->linear_bias = true;
    a->position = DTX_POS_LEARNED;
    a->pad_id = 1;
    DTX_TRY(need_bool(s, "is_decoder", false));
    DTX_TRY(read_sizes(s, NULL, NULL, a));
    DTX_TRY(need_int(s, "intermediate_size", NULL, MAX_FFN, &a->ffn));
    DTX_TRY(need_int(s, "max_position_embeddings", NULL, MAX_VOCAB, &a->max_positions));
    DTX_TRY(need_int(s, "type_vocab_size", NULL, MAX_VOCAB, &a->type_vocab));
    DTX_TRY(read_activation(s, "hidden_act", &a->activation));
    DTX_TRY(read_eps(s, "layer_norm_eps", 1e-12, a));
    DTX_TRY(dtx_json_str(s->root, s->path, "position_embedding_type", sizeof positions, positions));
    if (strcmp(positions, "absolute") != 0) {
        return unsupported(s, "position_embedding_type", "absolute");
    }
    DTX_TRY(dtx_json_str(s->root, s->path, "problem_type", sizeof problem, problem));
    a->multi_label = strcmp(problem, "multi_label_classification") == 0;
    if (!a->multi_label && strcmp(problem, "single_label_classification") != 0) {
        return unsupported(s, "problem_type", "single_label_classification, multi_label_classification, null");
    }
    DTX_TRY(read_labels(s, a));
    if (a->n_labels == 1 && !a->multi_label) {
        return DTX_FAIL(DTX_ERR_INPUT,
                        "%s: one label without problem_type multi_label_classification is a regression; at least 2 "
                        "labels are supported",
                        s->path);
    }
    DTX_TRY(read_tokens(s, a));
    if (a->max_positions <= a->pad_id + 1) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: max_position_embeddings %lld leaves no position after pad_token_id %lld",
                        s->path, (long long)a->max_positions, (long long)a->pad_id);
    }
    return DTX_OK;
}

static dtx_status read_any(const source *s, dtx_arch *a)
{
    if (!cJSON_IsObject(s->root)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: a JSON object is expected", s->path);
    }
    memset(a, 0, sizeof *a);
    a->bos_id = a->eos_id = a->pad_id = -1;
    DTX_TRY(dtx_json_str(s->root, s->path, "model_type", sizeof a->model_type, a->model_type));
    DTX_TRY(check_common(s));
    if (strcmp(a->model_type, "gpt_neox") == 0) {
        return read_neox(s, a);
    }
    if (strcmp(a->model_type, "falcon") == 0 || strcmp(a->model_type, "RefinedWeb") == 0 ||
        strcmp(a->model_type, "RefinedWebModel") == 0) {
        return read_falcon(s, a);
    }
    if (strcmp(a->model_type, "roberta") == 0) {
        return read_roberta(s, a);
    }
    return unsupported(s, "model_type", "gpt_neox, falcon, RefinedWeb, RefinedWebModel, roberta");
}

dtx_status dtx_arch_parse(const char *name, const char *text, size_t len, dtx_arch *out)
{
    cJSON *root = NULL;
    dtx_arch a;

    DTX_TRY(dtx_json_parse(text, len, name, 0, &root));
    source s = {root, name};
    dtx_status st = read_any(&s, &a);
    cJSON_Delete(root);
    if (st == DTX_OK) {
        *out = a;
    }
    return st;
}

dtx_status dtx_arch_read(const char *path, dtx_arch *out)
{
    char file[4096];
    size_t n = strlen(path);
    dtx_file_map map;

    if (n > 5 && strcmp(path + n - 5, ".json") == 0) {
        if (snprintf(file, sizeof file, "%s", path) >= (int)sizeof file) {
            return DTX_FAIL(DTX_ERR_USAGE, "path too long: %s", path);
        }
    } else {
        DTX_TRY(dtx_file_join(file, sizeof file, path, "config.json"));
        if (!dtx_file_exists(path)) {
            return DTX_FAIL(DTX_ERR_MISSING, "%s: no such folder; a model folder in Hugging Face layout is expected",
                            path);
        }
        if (dtx_file_is_dir(path) && !dtx_file_exists(file)) {
            return DTX_FAIL(DTX_ERR_MISSING,
                            "%s: holds no config.json; a model folder in Hugging Face layout is expected", path);
        }
    }
    DTX_TRY(dtx_file_map_open(file, &map));
    dtx_status st = dtx_arch_parse(file, map.data, map.size, out);
    dtx_file_map_close(&map);
    return st;
}

dtx_status dtx_arch_read_generation(const char *dir, dtx_arch *a)
{
    char file[4096];
    cJSON *root = NULL;
    dtx_arch next = *a;

    DTX_TRY(dtx_file_join(file, sizeof file, dir, "generation_config.json"));
    if (!dtx_file_exists(file)) {
        return DTX_OK;
    }
    DTX_TRY(dtx_json_read(file, &root));
    source s = {root, file};
    dtx_status st = read_token(&s, "eos_token_id", a->vocab, &next.eos_id);
    if (st == DTX_OK) {
        st = read_token(&s, "pad_token_id", a->vocab, &next.pad_id);
    }
    cJSON_Delete(root);
    if (st == DTX_OK) {
        *a = next;
    }
    return st;
}
