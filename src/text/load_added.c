#include <stdlib.h>
#include <string.h>

#include "src/base/mem.h"
#include "src/text/load_parts.h"
#include "src/text/read.h"

/* The flags of {"content": ..., "lstrip": ...}; absent ones are false, `normalized` is the opposite of `special`. */
static dtx_added_flags flags_of(const cJSON *c, bool special)
{
    dtx_added_flags f = {.special = special || dtx_read_is_set(c, "special"),
                         .lstrip = dtx_read_is_set(c, "lstrip"),
                         .rstrip = dtx_read_is_set(c, "rstrip"),
                         .single_word = dtx_read_is_set(c, "single_word")};

    f.normalized = dtx_json_get(c, "normalized") != NULL ? dtx_read_is_set(c, "normalized") : !f.special;
    return f;
}

dtx_status dtx_load_added(dtx_tokenizer *t, const char *path, const cJSON *list)
{
    if (list != NULL && !cJSON_IsNull(list) && !cJSON_IsArray(list)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: added_tokens must be a list", path);
    }
    for (const cJSON *c = list ? list->child : NULL; c != NULL; c = c->next) {
        int64_t id = -1;
        char *content;
        size_t len;
        if (!cJSON_IsObject(c)) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: added_tokens must hold objects", path);
        }
        DTX_TRY(dtx_read_id(path, "an added token", dtx_json_get(c, "id"), &id));
        DTX_TRY(dtx_read_text(path, dtx_json_get(c, "content"), &content, &len));
        dtx_added_flags flags = flags_of(c, false);
        flags.normalized = dtx_read_is_set(c, "normalized");
        dtx_status st = dtx_tok_add_added(t, path, content, len, flags);
        dtx_free(content);
        DTX_TRY(st);
    }
    return DTX_OK;
}

/* --- what stands beside tokenizer.json --- */

/* A token that another file asks for. */
typedef struct {
    int64_t index; /* where it is to stand in the order */
    char *content;
    size_t len;
    dtx_added_flags flags;
} wish;

typedef struct {
    wish *w;
    size_t n, cap;
} wishes;

static void free_wishes(wishes *list)
{
    for (size_t i = 0; i < list->n; i++) {
        dtx_free(list->w[i].content);
    }
    dtx_free(list->w);
}

/* Takes the bytes of a string item of `key`. */
static dtx_status add_wish(wishes *list, const char *path, const char *key, int64_t index, const cJSON *content, dtx_added_flags flags)
{
    if (!cJSON_IsString(content)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: %s: a token must be a string, or an object with a \"content\"", path, key);
    }
    DTX_TRY(DTX_GROW(list->w, list->cap, list->n + 1));
    wish *w = &list->w[list->n];
    *w = (wish){.index = index, .flags = flags};
    DTX_TRY(dtx_json_text(content, &w->content, &w->len));
    list->n++;
    return DTX_OK;
}

static bool is_wished(const wishes *list, const char *s, size_t n)
{
    for (size_t i = 0; i < list->n; i++) {
        if (list->w[i].len == n && memcmp(list->w[i].content, s, n) == 0) {
            return true;
        }
    }
    return false;
}

static int by_index(const void *a, const void *b)
{
    const wish *x = a, *y = b;

    return x->index < y->index ? -1 : x->index > y->index;
}

/* A token as a string, or as an object with flags. */
static dtx_status add_named(wishes *list, const char *path, const char *key, const cJSON *c)
{
    return cJSON_IsObject(c) ? add_wish(list, path, key, 0, dtx_json_get(c, "content"), flags_of(c, true))
                             : add_wish(list, path, key, 0, c, (dtx_added_flags){.special = true});
}

/* The named special tokens, in the library's order; where the configuration lacks one, `map` (special_tokens_map.json) is asked. */
static dtx_status named_tokens(const cJSON *config, const char *path, const cJSON *map, wishes *list)
{
    static const char *const name[] = {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};
    static const char *const more[] = {"additional_special_tokens", "extra_special_tokens"};

    for (size_t i = 0; i < sizeof name / sizeof name[0]; i++) {
        const cJSON *c = dtx_json_get(config, name[i]);
        c = c != NULL ? c : dtx_json_get(map, name[i]);
        if (c != NULL) {
            DTX_TRY(add_named(list, path, name[i], c));
        }
    }
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++) {
        const cJSON *c = dtx_json_get(config, more[i]);
        c = c != NULL ? c : dtx_json_get(map, more[i]);
        for (c = cJSON_IsArray(c) || cJSON_IsObject(c) ? c->child : NULL; c != NULL; c = c->next) {
            DTX_TRY(add_named(list, path, more[i], c));
        }
    }
    return DTX_OK;
}

/* {"50257": {"content": ..., ...}, ...} */
static dtx_status decoder_tokens(const cJSON *decoder, const char *path, wishes *list)
{
    if (!cJSON_IsObject(decoder)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: added_tokens_decoder must be an object of ids and tokens", path);
    }
    for (const cJSON *c = decoder->child; c != NULL; c = c->next) {
        char *end = c->string;
        long long index = strtoll(c->string, &end, 10);
        if (end == c->string || *end != '\0' || index < 0 || index >= DTX_TOK_MAX_ID || !cJSON_IsObject(c)) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: added_tokens_decoder: \"%.60s\" must be an id with an object", path, c->string);
        }
        DTX_TRY(add_wish(list, path, "added_tokens_decoder", index, dtx_json_get(c, "content"), flags_of(c, false)));
    }
    return DTX_OK;
}

/* {"token": id, ...}: tokens are normalized unless they are named special ones. */
static dtx_status listed_tokens(const dtx_tokenizer *t, const cJSON *root, const char *path, const wishes *named, wishes *list)
{
    if (!cJSON_IsObject(root)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: must hold an object of tokens and ids", path);
    }
    for (cJSON *c = root->child; c != NULL; c = c->next) {
        int64_t index = -1;
        DTX_TRY(dtx_read_id(path, c->string, c, &index));
        const cJSON key = {.type = cJSON_String, .valuestring = c->string};
        bool special = is_wished(named, c->string, strlen(c->string));
        if (!dtx_tok_is_added(t, c->string, strlen(c->string))) { /* tokenizer.json has the say on its own */
            DTX_TRY(add_wish(list, path, "token", index, &key, (dtx_added_flags){.special = special, .normalized = !special}));
        }
    }
    return DTX_OK;
}

/* In the order of their ids, those that differ from what is there; then the named ones that are not there. A named one is special. */
static dtx_status grant(dtx_tokenizer *t, const char *path, wishes *list, const wishes *named)
{
    if (list->n > 1) {
        qsort(list->w, list->n, sizeof *list->w, by_index);
    }
    for (size_t i = 0; i < list->n; i++) {
        wish *w = &list->w[i];
        int32_t id = dtx_map_find(&t->ids, w->content, w->len);
        const dtx_added_flags *now = id >= 0 && t->tok[id].added ? &t->tok[id].flags : NULL;
        if (now != NULL && memcmp(now, &w->flags, sizeof *now) == 0) {
            continue;
        }
        w->flags.special = w->flags.special || is_wished(named, w->content, w->len);
        DTX_TRY(dtx_tok_add_added(t, path, w->content, w->len, w->flags));
    }
    for (size_t i = 0; i < named->n; i++) {
        const wish *w = &named->w[i];
        if (!dtx_tok_is_added(t, w->content, w->len)) {
            DTX_TRY(dtx_tok_add_added(t, path, w->content, w->len, w->flags));
        }
    }
    return DTX_OK;
}

static dtx_status parse(dtx_tok_file file, cJSON **root)
{
    return file.data == NULL ? DTX_OK : dtx_json_parse(file.data, file.n, file.name, 0, root);
}

dtx_status dtx_load_config(dtx_tokenizer *t, dtx_tok_file config, dtx_tok_file added, dtx_tok_file map)
{
    cJSON *config_json = NULL, *added_json = NULL, *map_json = NULL;
    wishes list = {0}, named = {0};
    const cJSON *decoder;
    dtx_status st = DTX_OK;

    DTX_GO(parse(config, &config_json));
    if (config_json != NULL && !cJSON_IsObject(config_json)) {
        st = DTX_FAIL(DTX_ERR_INPUT, "%s: must hold an object", config.name);
        goto done;
    }
    if (dtx_read_is_set(config_json, "split_special_tokens")) {
        st = dtx_read_unsupported(config.name, "setting", "split_special_tokens");
        goto done;
    }
    decoder = dtx_json_get(config_json, "added_tokens_decoder");
    if (decoder == NULL) { /* the files of older versions count */
        DTX_GO(parse(added, &added_json));
        DTX_GO(parse(map, &map_json));
    }
    DTX_GO(named_tokens(config_json, config.name, cJSON_IsObject(map_json) ? map_json : NULL, &named));
    if (decoder != NULL) {
        DTX_GO(decoder_tokens(decoder, config.name, &list));
    } else if (added_json != NULL) {
        DTX_GO(listed_tokens(t, added_json, added.name, &named, &list));
    }
    DTX_GO(grant(t, config.name, &list, &named));
done:
    free_wishes(&list);
    free_wishes(&named);
    cJSON_Delete(config_json);
    cJSON_Delete(added_json);
    cJSON_Delete(map_json);
    return st;
}
