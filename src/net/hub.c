#include "src/net/hub.h"

#include <ctype.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "src/base/json.h"
#include "src/base/mem.h"

enum { MAX_FILES = 200000, MAX_PATH = 700, MAX_PART = 200 }; /* parts: room for the endings of unfinished files */
static const int64_t MAX_SIZE = (int64_t)1 << 50;

/* ---- texts ---- */

static void copy_printable(char *out, size_t size, const cJSON *item)
{
    snprintf(out, size, "%s", cJSON_IsString(item) ? item->valuestring : "");
    for (char *p = out; *p != '\0'; p++) {
        *p = isprint((unsigned char)*p) ? *p : '?';
    }
}

static bool is_hex(const char *s, size_t n)
{
    return strlen(s) == n && strspn(s, "0123456789abcdef") == n;
}

static void copy_hex(char *out, size_t n, const cJSON *item)
{
    bool good = cJSON_IsString(item) && is_hex(item->valuestring, n);

    snprintf(out, n + 1, "%s", good ? item->valuestring : "");
}

/* Mirrors may leave the card out, and keep the tag that the hub makes of it. */
static void licence_of_tags(const cJSON *root, char *out, size_t size)
{
    const cJSON *tag;

    cJSON_ArrayForEach(tag, cJSON_GetObjectItemCaseSensitive(root, "tags"))
    {
        if (cJSON_IsString(tag) && strncmp(tag->valuestring, "license:", 8) == 0) {
            copy_printable(out, size, tag);
            memmove(out, out + 8, strlen(out + 8) + 1);
            return;
        }
    }
}

dtx_status dtx_hub_read_info(const char *text, size_t size, const char *name, dtx_hub_info *out)
{
    dtx_hub_info info = {.gated = false};
    cJSON *root = NULL;
    dtx_status st;

    DTX_GO(dtx_json_parse(text, size, name, 0, &root));
    const cJSON *sha = cJSON_GetObjectItemCaseSensitive(root, "sha"), *gated = cJSON_GetObjectItemCaseSensitive(root, "gated");
    const cJSON *card = cJSON_GetObjectItemCaseSensitive(root, "cardData"), *licence = cJSON_GetObjectItemCaseSensitive(card, "license");
    copy_hex(info.commit, 40, sha);
    if (info.commit[0] == '\0') {
        copy_hex(info.commit, 64, sha);
    }
    if (info.commit[0] == '\0') {
        st = DTX_FAIL(DTX_ERR_INPUT, "%s: the reply has no \"sha\" with the digits of a commit: is fetch.hub a Hugging Face hub?", name);
        goto done;
    }
    info.gated = cJSON_IsTrue(gated) || cJSON_IsString(gated); /* false, "auto", "manual" */
    licence = cJSON_IsArray(licence) ? licence->child : licence;
    if (cJSON_IsString(licence) && strcasecmp(licence->valuestring, "other") == 0) {
        const cJSON *own = cJSON_GetObjectItemCaseSensitive(card, "license_name");
        licence = cJSON_IsString(own) ? own : licence;
    }
    copy_printable(info.licence, sizeof info.licence, licence);
    if (info.licence[0] == '\0') {
        licence_of_tags(root, info.licence, sizeof info.licence);
    }
    copy_printable(info.licence_link, sizeof info.licence_link, cJSON_GetObjectItemCaseSensitive(card, "license_link"));
    *out = info;
done:
    cJSON_Delete(root);
    return st;
}

/* ---- names ---- */

bool dtx_hub_safe_path(const char *path)
{
    size_t n = strlen(path);

    if (n == 0 || n > MAX_PATH) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)path[i];
        if (c < ' ' || c == 127 || c == '\\' || c == 0xFF) { /* 0xFF: src/base/json.h's NUL */
            return false;
        }
    }
    for (const char *part = path;;) {
        size_t len = strcspn(part, "/");
        if (len == 0 || len > MAX_PART || (len == 1 && part[0] == '.') || (len == 2 && part[0] == '.' && part[1] == '.')) {
            return false;
        }
        if (part[len] == '\0') {
            return true;
        }
        part += len + 1;
    }
}

void dtx_hub_cursor(const char *next_page, char *out, size_t size)
{
    const char *at = strstr(next_page, "?cursor="), *other = strstr(next_page, "&cursor=");

    at = at != NULL ? at : other;
    size_t n = at != NULL ? strspn(at + 8, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789%-._~+/=:") : 0;
    snprintf(out, size, "%s%.*s", n > 0 ? "&cursor=" : "", (int)n, n > 0 ? at + 8 : "");
}

/* ---- the listing ---- */

void dtx_hub_files_free(dtx_hub_files *files)
{
    for (size_t i = 0; i < files->n; i++) {
        dtx_free(files->file[i].path);
    }
    dtx_free(files->file);
    *files = (dtx_hub_files){.n = 0};
}

dtx_hub_file *dtx_hub_add(dtx_hub_files *files, const char *path)
{
    if (DTX_GROW(files->file, files->cap, files->n + 1) != DTX_OK) {
        return NULL;
    }
    dtx_hub_file *f = &files->file[files->n];
    *f = (dtx_hub_file){.path = dtx_strdup(path), .size = -1};
    if (f->path == NULL) {
        (void)dtx_mem_check(NULL, strlen(path), 1, "a file's name");
        return NULL;
    }
    files->n++;
    return f;
}

static int compare_paths(const void *a, const void *b)
{
    return strcmp(((const dtx_hub_file *)a)->path, ((const dtx_hub_file *)b)->path);
}

static dtx_hub_file *find(const dtx_hub_files *files, const char *path)
{
    for (size_t i = 0; i < files->n; i++) {
        if (strcmp(files->file[i].path, path) == 0) {
            return &files->file[i];
        }
    }
    return NULL;
}

static bool read_size(const cJSON *item, int64_t *out)
{
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0 && item->valuedouble <= (double)MAX_SIZE)
        || item->valuedouble != (double)(int64_t)item->valuedouble) {
        return false;
    }
    *out = (int64_t)item->valuedouble;
    return true;
}

static dtx_status add_entry(dtx_hub_files *files, const cJSON *entry, const char *name)
{
    const cJSON *path = cJSON_GetObjectItemCaseSensitive(entry, "path"), *type = cJSON_GetObjectItemCaseSensitive(entry, "type");
    const cJSON *lfs = cJSON_GetObjectItemCaseSensitive(entry, "lfs"), *oid = cJSON_GetObjectItemCaseSensitive(entry, "oid");
    char shown[120];

    copy_printable(shown, sizeof shown, path);
    if (!cJSON_IsString(path) || !cJSON_IsString(type)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: an entry of the listing has no \"path\" or no \"type\"", name);
    }
    if (!dtx_hub_safe_path(path->valuestring)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: the listing names a file \"%s\", which is no name below one folder: nothing of it is taken", name,
                        shown);
    }
    if (strcmp(type->valuestring, "file") != 0) {
        return DTX_OK;
    }
    int64_t size;
    if (!read_size(cJSON_GetObjectItemCaseSensitive(cJSON_IsObject(lfs) ? lfs : entry, "size"), &size)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: %s: \"size\" must be a number of bytes", name, shown);
    }
    if (files->n >= MAX_FILES) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: the repository has more than %d files", name, MAX_FILES);
    }
    dtx_hub_file *f = dtx_hub_add(files, path->valuestring);
    if (f == NULL) {
        return DTX_ERR_MISSING;
    }
    f->size = size;
    if (cJSON_IsObject(lfs)) {
        const cJSON *sum = cJSON_GetObjectItemCaseSensitive(lfs, "oid");
        sum = sum != NULL ? sum : cJSON_GetObjectItemCaseSensitive(lfs, "sha256");
        const char *digits = cJSON_IsString(sum) ? sum->valuestring : "";
        digits += strncmp(digits, "sha256:", 7) == 0 ? 7 : 0;
        if (!is_hex(digits, 64)) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: %s: \"lfs.oid\" must be the 64 digits of a SHA-256", name, shown);
        }
        memcpy(f->sha256, digits, 65);
    } else {
        copy_hex(f->git_blob, 40, oid);
        if (f->git_blob[0] == '\0') {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: %s: \"oid\" must be the 40 digits of a git object", name, shown);
        }
    }
    return DTX_OK;
}

dtx_status dtx_hub_add_page(dtx_hub_files *files, const char *text, size_t size, const char *name)
{
    cJSON *root = NULL;
    const cJSON *entry;
    dtx_status st;

    DTX_GO(dtx_json_parse(text, size, name, 0, &root));
    if (!cJSON_IsArray(root)) {
        st = DTX_FAIL(DTX_ERR_INPUT, "%s: a list of files is expected", name);
        goto done;
    }
    cJSON_ArrayForEach(entry, root)
    {
        DTX_GO(add_entry(files, entry, name));
    }
done:
    cJSON_Delete(root);
    return st;
}

void dtx_hub_keep_wanted(dtx_hub_files *files)
{
    size_t n = 0;

    for (size_t i = 0; i < files->n; i++) {
        if (files->file[i].wanted) {
            files->file[n++] = files->file[i];
        } else {
            dtx_free(files->file[i].path);
        }
    }
    files->n = n;
    if (n > 1) {
        qsort(files->file, n, sizeof *files->file, compare_paths);
    }
}

static dtx_status refuse_twice(dtx_hub_files *files, const char *name)
{
    if (files->n > 1) {
        qsort(files->file, files->n, sizeof *files->file, compare_paths);
    }
    for (size_t i = 1; i < files->n; i++) {
        if (strcmp(files->file[i].path, files->file[i - 1].path) == 0) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: the listing names %s twice", name, files->file[i].path);
        }
    }
    return DTX_OK;
}

/* ---- which files ---- */

static bool ends_with(const char *s, const char *tail)
{
    size_t n = strlen(s), k = strlen(tail);

    return n >= k && strcasecmp(s + n - k, tail) == 0;
}

static void want(dtx_hub_files *files, const char *const *names)
{
    for (; *names != NULL; names++) {
        dtx_hub_file *f = find(files, *names);
        if (f != NULL) {
            f->wanted = true;
        }
    }
}

/* The card says what the files are, and their licence goes where they go. */
static void want_papers(dtx_hub_files *files)
{
    for (size_t i = 0; i < files->n; i++) {
        const char *p = files->file[i].path;
        if (strchr(p, '/') == NULL && (strcasecmp(p, "README.md") == 0 || strncasecmp(p, "LICENSE", 7) == 0 || strncasecmp(p, "LICENCE", 7) == 0
                                       || strncasecmp(p, "NOTICE", 6) == 0)) {
            files->file[i].wanted = true;
        }
    }
}

static dtx_status want_model(dtx_hub_files *files, const char *name, const dtx_hub_file **index)
{
    static const char *const small[] = {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
                                        "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", NULL};
    static const char *const weights[] = {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
                                          "pytorch_model.bin.index.json"};

    if (find(files, "config.json") == NULL) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: the repository holds no config.json: it is no model in the transformers library's layout "
                        "(data sets are named datasets/OWNER/NAME; --include 'PATTERN' takes files by name)", name);
    }
    want(files, small);
    for (int i = 0; i < 4; i++) {
        dtx_hub_file *f = find(files, weights[i]);
        if (f != NULL) {
            f->wanted = true;
            *index = i % 2 == 1 ? f : NULL;
            return DTX_OK;
        }
    }
    return DTX_FAIL(DTX_ERR_INPUT, "%s: the repository holds no weights that detoxlens reads: model.safetensors or pytorch_model.bin, or "
                    "their .index.json", name);
}

static dtx_status want_adapter(dtx_hub_files *files, const char *name)
{
    static const char *const config[] = {"adapter_config.json", NULL};
    static const char *const weights[] = {"adapter_model.safetensors", "adapter_model.bin"};

    want(files, config);
    for (int i = 0; i < 2; i++) {
        dtx_hub_file *f = find(files, weights[i]);
        if (f != NULL && find(files, config[0]) != NULL) {
            f->wanted = true;
            return DTX_OK;
        }
    }
    return DTX_FAIL(DTX_ERR_INPUT, "%s: the repository holds no adapter in PEFT's layout: adapter_config.json and adapter_model.safetensors "
                    "or .bin are expected", name);
}

static dtx_status want_data(dtx_hub_files *files, const char *name)
{
    static const char *const readable[] = {".jsonl", ".csv", ".txt"};
    int n = 0;

    for (size_t i = 0; i < files->n; i++) {
        for (int k = 0; k < 3; k++) {
            if (ends_with(files->file[i].path, readable[k])) {
                files->file[i].wanted = true;
                n++;
            }
        }
    }
    return n > 0 ? DTX_OK : DTX_FAIL(DTX_ERR_INPUT, "%s: the repository holds no .jsonl, .csv or .txt file, which detoxlens reads; --include "
                                     "'PATTERN' takes others", name);
}

static dtx_status want_patterns(dtx_hub_files *files, const char *name, const char *const *include, int64_t n_include)
{
    for (int64_t k = 0; k < n_include; k++) {
        int n = 0;
        for (size_t i = 0; i < files->n; i++) {
            if (fnmatch(include[k], files->file[i].path, 0) == 0) {
                files->file[i].wanted = true;
                n++;
            }
        }
        if (n == 0) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: no file of the repository has a name like %s (fetch.include)", name, include[k]);
        }
    }
    return DTX_OK;
}

dtx_status dtx_hub_select(dtx_hub_files *files, const char *name, dtx_hub_kind *kind, const char *const *include, int64_t n_include,
                          const dtx_hub_file **index)
{
    *index = NULL;
    DTX_TRY(refuse_twice(files, name));
    if (*kind == DTX_HUB_MODEL && find(files, "config.json") == NULL && find(files, "adapter_config.json") != NULL) {
        *kind = DTX_HUB_ADAPTER;
    }
    if (n_include > 0) {
        DTX_TRY(want_patterns(files, name, include, n_include));
    } else if (*kind == DTX_HUB_MODEL) {
        DTX_TRY(want_model(files, name, index));
    } else if (*kind == DTX_HUB_ADAPTER) {
        DTX_TRY(want_adapter(files, name));
    } else {
        DTX_TRY(want_data(files, name));
    }
    want_papers(files);
    return DTX_OK;
}

dtx_status dtx_hub_add_shards(dtx_hub_files *files, const char *text, size_t size, const char *name)
{
    cJSON *root = NULL;
    const cJSON *item;
    dtx_status st;

    DTX_GO(dtx_json_parse(text, size, name, 0, &root));
    const cJSON *map = cJSON_GetObjectItemCaseSensitive(root, "weight_map");
    if (!cJSON_IsObject(map) || map->child == NULL) {
        st = DTX_FAIL(DTX_ERR_INPUT, "%s: weight_map: an object {tensor: shard} is expected", name);
        goto done;
    }
    dtx_hub_file *last = NULL; /* tensors of one shard mostly follow each other */
    cJSON_ArrayForEach(item, map)
    {
        const char *shard = cJSON_IsString(item) ? item->valuestring : "";
        last = last != NULL && strcmp(last->path, shard) == 0 ? last : find(files, shard);
        if (last == NULL || strchr(shard, '/') != NULL) {
            char shown[120];
            copy_printable(shown, sizeof shown, item);
            st = DTX_FAIL(DTX_ERR_INPUT, "%s: weight_map names a shard \"%s\" that the repository does not hold", name, shown);
            goto done;
        }
        last->wanted = true;
    }
done:
    cJSON_Delete(root);
    return st;
}

bool dtx_hub_open_licence(const char *licence)
{
    static const char *const open_licences[] = {"apache-2.0", "mit", "bsd", "bsd-2-clause", "bsd-3-clause", "isc", "unlicense", "cc0-1.0",
                                                "cc-by-4.0", "cc-by-3.0", "cc-by-sa-4.0", "cc-by-sa-3.0", "odc-by", "pddl", "gpl-3.0",
                                                "gpl-2.0", "lgpl-3.0", "mpl-2.0", "afl-3.0"};

    for (size_t i = 0; i < sizeof open_licences / sizeof *open_licences; i++) {
        if (strcasecmp(licence, open_licences[i]) == 0) {
            return true;
        }
    }
    return false;
}
