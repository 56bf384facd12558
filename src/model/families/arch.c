/* arch.c - descriptions: read from config.json and written to it with the help of the family's row, made afresh, and told
 * apart by a fingerprint. */
#include "src/model/families/arch.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "src/base/file.h"
#include "src/base/hash.h"
#include "src/base/mem.h"
#include "src/model/families/gguf.h"
#include "src/model/families/table.h"

/* "gpt_neox, falcon, ...": the families' names with their dialects; or those that are trained from scratch as `encoder`. */
static void list_families(bool fresh, bool encoder, char *out, size_t size)
{
    const dtx_family *f;
    size_t at = 0;

    out[0] = '\0';
    for (int i = 0; (f = dtx_family_at(i)) != NULL; i++) {
        if (fresh && (f->fresh == NULL || f->encoder != encoder)) {
            continue;
        }
        for (int k = -1; at < size && k < (fresh ? 0 : 3) && (k < 0 || f->dialects[k] != NULL); k++) {
            at += (size_t)snprintf(out + at, size - at, "%s%s", at > 0 ? ", " : "", k < 0 ? f->model_type : f->dialects[k]);
        }
    }
}

static dtx_status read_any(const dtx_cfg *s, dtx_arch *a)
{
    if (!cJSON_IsObject(s->root)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: a JSON object is expected", s->path);
    }
    memset(a, 0, sizeof *a);
    a->bos_id = a->pad_id = -1;
    DTX_TRY(dtx_json_str(s->root, s->path, "model_type", sizeof a->model_type, a->model_type));
    DTX_TRY(dtx_cfg_check_common(s));
    const dtx_family *f = dtx_family_find(a->model_type);
    if (f == NULL) {
        char all[512];
        list_families(false, false, all, sizeof all);
        return dtx_cfg_unsupported(s, "model_type", all);
    }
    DTX_TRY(dtx_cfg_check_class(s, f->classes));
    return f->read(s, a);
}

dtx_status dtx_arch_parse(const char *name, const char *text, size_t len, dtx_arch *out)
{
    cJSON *root = NULL;
    dtx_arch a;

    DTX_TRY(dtx_json_parse(text, len, name, 0, &root));
    dtx_cfg s = {root, name};
    dtx_status st = read_any(&s, &a);
    cJSON_Delete(root);
    if (st == DTX_OK) {
        *out = a;
    }
    return st;
}

/* eos and pad of DIR/generation_config.json. */
static dtx_status read_generation(const char *dir, dtx_arch *a)
{
    char file[4096];
    cJSON *root = NULL;

    DTX_TRY(dtx_file_join(file, sizeof file, dir, "generation_config.json"));
    if (!dtx_file_exists(file)) {
        return DTX_OK;
    }
    DTX_TRY(dtx_json_read(file, &root));
    dtx_cfg s = {root, file};
    dtx_status st = dtx_cfg_eos(&s, a->vocab, &a->eos);
    if (st == DTX_OK) {
        st = dtx_cfg_token(&s, "pad_token_id", a->vocab, &a->pad_id);
    }
    cJSON_Delete(root);
    return st;
}

/* A GGUF file, whose keys stand for config.json. */
static dtx_status read_gguf(const char *path, dtx_arch *out)
{
    dtx_gguf *g = NULL;
    cJSON *root = NULL;
    dtx_arch a;
    dtx_status st = DTX_OK;

    DTX_GO(dtx_gguf_open(path, &g));
    DTX_GO(dtx_gguf_config(g, &root));
    const dtx_cfg s = {root, path};
    DTX_GO(read_any(&s, &a));
    a.transposed = false; /* GPT-2's matrices are turned when such a file is made */
    *out = a;
done:
    cJSON_Delete(root);
    dtx_gguf_close(g);
    return st;
}

dtx_status dtx_arch_read(const char *path, dtx_arch *out)
{
    char file[4096];
    size_t n = strlen(path);
    dtx_file_map map;
    dtx_arch a;
    const bool dir = n <= 5 || strcmp(path + n - 5, ".json") != 0;

    if (dtx_gguf_is_path(path)) {
        return read_gguf(path, out);
    }
    if (!dir) {
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
    dtx_status st = dtx_arch_parse(file, map.data, map.size, &a);
    dtx_file_map_close(&map);
    DTX_TRY(st);
    if (dir) {
        DTX_TRY(read_generation(path, &a));
    }
    *out = a;
    return DTX_OK;
}

static dtx_status write_all(cJSON *o, const dtx_arch *a, const char *torch_dtype)
{
    const dtx_family *f = dtx_family_of(a);

    cJSON_AddItemToObject(o, "architectures", cJSON_CreateStringArray(f->classes, 1));
    dtx_cfg_add_text(o, "model_type", f->model_type);
    dtx_cfg_add_text(o, "torch_dtype", torch_dtype);
    DTX_TRY(f->write(o, a));
    if (a->causal) {
        dtx_cfg_add_bool(o, "tie_word_embeddings", a->tied_head);
    }
    if (a->bos_id >= 0) {
        dtx_cfg_add_number(o, "bos_token_id", (double)a->bos_id);
    }
    if (a->eos.n == 1) {
        dtx_cfg_add_number(o, "eos_token_id", (double)a->eos.id[0]);
    } else if (a->eos.n > 1) {
        cJSON_AddItemToObject(o, "eos_token_id", cJSON_CreateIntArray(a->eos.id, a->eos.n));
    }
    if (a->pad_id >= 0) {
        dtx_cfg_add_number(o, "pad_token_id", (double)a->pad_id);
    }
    dtx_cfg_add_number(o, "initializer_range", 0.02);
    dtx_cfg_add_bool(o, "use_cache", true);
    return DTX_OK;
}

dtx_status dtx_arch_write(const char *dir, const dtx_arch *a, const char *torch_dtype)
{
    char path[4096], *text = NULL;
    cJSON *o = cJSON_CreateObject();
    dtx_status st = DTX_OK;

    DTX_GO(dtx_mem_check(o, 1, sizeof *o, "config.json"));
    DTX_GO(dtx_file_join(path, sizeof path, dir, "config.json"));
    DTX_GO(write_all(o, a, torch_dtype));
    text = cJSON_Print(o);
    DTX_GO(dtx_mem_check(text, 1, 1, "config.json"));
    DTX_GO(dtx_file_write(path, text, strlen(text)));
done:
    cJSON_free(text);
    cJSON_Delete(o);
    return st;
}

static const dtx_family *first_fresh(bool encoder)
{
    int i = 0;

    while (dtx_family_at(i)->fresh == NULL || dtx_family_at(i)->encoder != encoder) {
        i++;
    }
    return dtx_family_at(i);
}

dtx_status dtx_arch_fresh(const char *model_type, bool encoder, int64_t layers, int64_t hidden, int64_t heads, int64_t vocab,
                          int64_t positions, dtx_arch *out)
{
    const dtx_family *f = strcmp(model_type, "auto") == 0 ? first_fresh(encoder) : dtx_family_find(model_type);
    dtx_arch a = {.n_layers = layers, .hidden = hidden, .n_heads = heads, .ffn = 4 * hidden, .vocab = vocab,
                  .max_positions = positions, .activation = DTX_ACT_GELU_ERF, .norm_eps = 1e-5f, .bos_id = -1, .pad_id = -1};

    if (f == NULL || f->fresh == NULL || f->encoder != encoder) {
        char all[512];
        list_families(true, encoder, all, sizeof all);
        return DTX_FAIL(DTX_ERR_USAGE, "a \"%s\" is no %s that is trained from scratch; known are %s", model_type,
                        encoder ? "classifier" : "decoder", all);
    }
    if (heads < 1 || hidden % heads != 0 || (!encoder && (hidden / heads) % 2 != 0)) {
        return DTX_FAIL(DTX_ERR_USAGE, "a width (pretrain.hidden) of %lld cannot be cut into %lld heads (pretrain.heads)%s",
                        (long long)hidden, (long long)heads, encoder ? "" : " of an even width");
    }
    a.head_dim = hidden / heads;
    snprintf(a.model_type, sizeof a.model_type, "%s", f->model_type);
    f->fresh(&a);
    *out = a;
    return DTX_OK;
}

int64_t dtx_arch_max_tokens(const dtx_arch *a)
{
    /* learned positions of an encoder begin behind the pad token's */
    return a->position == DTX_POS_LEARNED && !a->causal ? a->max_positions - a->pad_id - 1 : a->max_positions;
}

/* What the description says beyond the fields that the first families had: nothing where none of it is in use, so that their
 * fingerprints stay. */
static dtx_status describe_rest(const dtx_arch *a, char *text, size_t size)
{
    char layers[65] = "none";
    size_t n;

    for (int64_t i = 0; i < a->n_layers; i++) {
        if (a->layer[i] != 0) {
            DTX_TRY(dtx_sha256_bytes(a->layer, (size_t)a->n_layers, layers));
            break;
        }
    }
    n = (size_t)snprintf(text, size, " norm %d%d%d%d%d%d qkv %d gated %d%d stored %d bias %d%d%d window %" PRId64 " layers %s scale %.17g caps %.17g %.17g embed %.17g",
                         a->rms_norm, a->norm_plus_one, a->bare_input, a->branch_norm, a->qk_norm, a->qk_norm_wide, a->qkv_blocks, a->gated,
                         a->fused_gate, a->transposed, a->qkv_bias, a->out_bias, a->mlp_bias, a->window, layers, a->score_scale, a->score_cap,
                         a->logit_cap, a->embed_scale);
    for (int k = 0; k < 2; k++) {
        const dtx_rope *r = &a->rope[k];
        if (k == 1 || r->type != DTX_ROPE_PLAIN) {
            n += (size_t)snprintf(text + n, size - n, " rope %d %.17g %.17g %.17g %.17g %.17g %.17g %d", (int)r->type, r->base, r->factor,
                                  r->old_length, r->low, r->high, r->attention, r->exact);
        }
    }
    if (strcmp(text, " norm 000000 qkv 0 gated 00 stored 0 bias 000 window 0 layers none scale 0 caps 0 0 embed 0 rope 0 0 0 0 0 0 0 0") == 0) {
        text[0] = '\0';
    }
    return DTX_OK;
}

dtx_status dtx_arch_fingerprint(const dtx_arch *a, const char *weights, char out[65])
{
    char text[2048], rest[1024];
    /* the pad token starts RoBERTa's positions; elsewhere it has no part in a pass */
    const int64_t first = a->position == DTX_POS_LEARNED && !a->causal ? a->pad_id : -1;

    DTX_TRY(describe_rest(a, rest, sizeof rest));
    snprintf(text, sizeof text,
             "%s family %d layers %" PRId64 " hidden %" PRId64 " heads %" PRId64 " of %" PRId64 " kv %" PRId64 " ffn %" PRId64
             " vocab %" PRId64 " causal %d parallel %d shared_norm %d post_norm %d fused %d bias %d head_bias %d tied %d position %d"
             " from %" PRId64 " rotary %" PRId64 " base %.17g act %d eps %.9g types %" PRId64 " labels %" PRId64 " multi %d%s",
             weights, dtx_family_of(a)->code, a->n_layers, a->hidden, a->n_heads, a->head_dim, a->n_kv, a->ffn, a->vocab, a->causal,
             a->parallel, a->shared_norm, a->post_norm, a->fused_qkv, a->linear_bias, a->head_bias, a->tied_head, (int)a->position,
             first, a->rotary_dims, a->rope[0].base, (int)a->activation, (double)a->norm_eps, a->type_vocab, a->n_labels,
             a->multi_label, rest);
    return dtx_sha256_bytes(text, strlen(text), out);
}
