#include "src/weights/weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/file.h"
#include "src/base/hash.h"
#include "src/base/json.h"
#include "src/base/mem.h"
#include "src/weights/parts.h"

typedef struct {
    char *path;
    dtx_file_map map;
} mapped_file;

typedef struct {
    char *key, *value;
} pair;

struct dtx_weights {
    dtx_tensor *tensors;
    size_t n, cap;
    mapped_file **files; /* one by one, so that a path stays where it is */
    size_t n_files, cap_files;
    pair *meta;
    size_t n_meta, cap_meta;
};

/* --- the set --- */

dtx_status dtx_weights_new(dtx_weights **out)
{
    return DTX_NEW(*out, 1);
}

void dtx_weights_close(dtx_weights *w)
{
    if (w == NULL) {
        return;
    }
    for (size_t i = 0; i < w->n; i++) {
        dtx_free((void *)(uintptr_t)w->tensors[i].name);
    }
    for (size_t i = 0; i < w->n_files; i++) {
        dtx_file_map_close(&w->files[i]->map);
        dtx_free(w->files[i]->path);
        dtx_free(w->files[i]);
    }
    for (size_t i = 0; i < w->n_meta; i++) {
        dtx_free(w->meta[i].key);
        dtx_free(w->meta[i].value);
    }
    dtx_free(w->tensors);
    dtx_free(w->files);
    dtx_free(w->meta);
    dtx_free(w);
}

dtx_status dtx_weights_add(dtx_weights *w, const dtx_tensor *t, const char *name, size_t name_len, const char *file)
{
    DTX_TRY(DTX_GROW(w->tensors, w->cap, w->n + 1));
    char *copy = dtx_strndup(name, name_len);
    DTX_TRY(dtx_mem_check(copy, name_len + 1, 1, "tensor name"));
    w->tensors[w->n] = *t;
    w->tensors[w->n].name = copy;
    w->tensors[w->n].file = file;
    w->n++;
    return DTX_OK;
}

dtx_status dtx_weights_add_metadata(dtx_weights *w, const char *key, const char *value)
{
    if (dtx_weights_metadata(w, key) != NULL) {
        return DTX_OK;
    }
    DTX_TRY(DTX_GROW(w->meta, w->cap_meta, w->n_meta + 1));
    pair p = {dtx_strdup(key), dtx_strdup(value)};
    if (p.key == NULL || p.value == NULL) {
        dtx_free(p.key);
        dtx_free(p.value);
        return dtx_mem_check(NULL, strlen(key) + strlen(value) + 2, 1, "metadata");
    }
    w->meta[w->n_meta++] = p;
    return DTX_OK;
}

static int compare_tensors(const void *a, const void *b)
{
    return strcmp(((const dtx_tensor *)a)->name, ((const dtx_tensor *)b)->name);
}

dtx_status dtx_weights_finish(dtx_weights *w)
{
    if (w->n > 1) {
        qsort(w->tensors, w->n, sizeof *w->tensors, compare_tensors);
    }
    for (size_t i = 1; i < w->n; i++) {
        const dtx_tensor *a = &w->tensors[i - 1], *b = &w->tensors[i];
        if (strcmp(a->name, b->name) == 0) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: tensor %s is there twice, also in %s; each tensor must be there once",
                            b->file, b->name, a->file);
        }
    }
    return DTX_OK;
}

bool dtx_tensor_measure(dtx_tensor *t)
{
    size_t bytes = dtx_dtype_size(t->dtype);

    t->n_elements = 1;
    for (int i = 0; i < t->n_dims; i++) {
        if (__builtin_mul_overflow(t->n_elements, t->shape[i], &t->n_elements)) {
            return false;
        }
    }
    return !__builtin_mul_overflow((size_t)t->n_elements, bytes, &t->size_bytes);
}

void dtx_tensor_shape_text(const dtx_tensor *t, char *out, size_t size)
{
    int at = snprintf(out, size, "[");

    for (int i = 0; i < t->n_dims && at >= 0 && (size_t)at < size; i++) {
        at += snprintf(out + at, size - (size_t)at, "%s%lld", i > 0 ? ", " : "", (long long)t->shape[i]);
    }
    if (at >= 0 && (size_t)at < size) {
        snprintf(out + at, size - (size_t)at, "]");
    }
}

/* --- files and folders --- */

static bool ends_with(const char *s, const char *tail)
{
    size_t n = strlen(s), k = strlen(tail);

    return n >= k && strcmp(s + n - k, tail) == 0;
}

/* Maps one file and reads its tensors. What it is, its first bytes tell, not its name. */
static dtx_status open_file(dtx_weights *w, const char *path)
{
    mapped_file *f;

    DTX_TRY(DTX_GROW(w->files, w->cap_files, w->n_files + 1));
    DTX_TRY(DTX_NEW(f, 1));
    w->files[w->n_files++] = f;
    f->path = dtx_strdup(path);
    DTX_TRY(dtx_mem_check(f->path, strlen(path) + 1, 1, "path"));
    DTX_TRY(dtx_file_map_open(path, &f->map));
    const char *data = f->map.data;
    if (f->map.size >= 4 && memcmp(data, "PK\3\4", 4) == 0) {
        return dtx_torch_scan(w, f->path, data, f->map.size);
    }
    if (ends_with(path, ".bin") || ends_with(path, ".pt") || ends_with(path, ".pth")) {
        return DTX_FAIL(DTX_ERR_INPUT,
                        "%s: not a zip archive, as PyTorch writes since 1.6: truncated at its start, an older format, "
                        "or only a pointer to the real file; %zu bytes",
                        path, f->map.size);
    }
    return dtx_safetensors_scan(w, f->path, data, f->map.size);
}

/* The index's own view: every tensor it names must stand in the shard it names. */
static dtx_status check_index(dtx_weights *w, const char *index, const cJSON *map)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, map)
    {
        const dtx_tensor *t = dtx_weights_find(w, item->string);
        if (t == NULL) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: tensor %s should be in %s, but is not there", index, item->string,
                            item->valuestring);
        }
        const char *slash = strrchr(t->file, '/');
        if (strcmp(slash != NULL ? slash + 1 : t->file, item->valuestring) != 0) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: tensor %s should be in %s, but is in %s", index, item->string,
                            item->valuestring, t->file);
        }
    }
    return DTX_OK;
}

/* NAME.index.json: {"weight_map": {tensor: shard}}. */
static dtx_status open_index(dtx_weights *w, const char *index)
{
    char dir[4096], path[4096];
    cJSON *root = NULL;
    const cJSON *map, *item;
    dtx_status st = DTX_OK;

    DTX_TRY(dtx_file_folder(dir, sizeof dir, index));
    DTX_TRY(dtx_json_read(index, &root));
    map = dtx_json_get(root, "weight_map");
    if (!cJSON_IsObject(map) || map->child == NULL) {
        st = DTX_FAIL(DTX_ERR_INPUT, "%s: weight_map: an object {tensor: shard} is expected", index);
        goto done;
    }
    cJSON_ArrayForEach(item, map)
    {
        const char *shard = cJSON_IsString(item) ? item->valuestring : NULL;
        if (shard == NULL || shard[0] == '\0' || strchr(shard, '/') != NULL || strcmp(shard, "..") == 0) {
            st = DTX_FAIL(DTX_ERR_INPUT, "%s: weight_map: %s: the name of a file in the same folder is expected", index,
                          item->string);
            goto done;
        }
        DTX_GO(dtx_file_join(path, sizeof path, dir, shard));
        bool open = false;
        for (size_t i = 0; i < w->n_files && !open; i++) {
            open = strcmp(w->files[i]->path, path) == 0;
        }
        if (open) {
            continue;
        }
        if (!dtx_file_exists(path)) {
            st = DTX_FAIL(DTX_ERR_MISSING,
                          "%s: tensor %s is said to be in %s, but that shard is missing; copy it into the folder",
                          index, item->string, shard);
            goto done;
        }
        DTX_GO(open_file(w, path));
    }
    DTX_GO(dtx_weights_finish(w));
    DTX_GO(check_index(w, index, map));
done:
    cJSON_Delete(root);
    return st;
}

static dtx_status open_any(dtx_weights *w, const char *path)
{
    if (ends_with(path, ".index.json")) {
        return open_index(w, path);
    }
    DTX_TRY(open_file(w, path));
    return dtx_weights_finish(w);
}

/* The file of a folder that holds its weights, in the order of preference. */
static dtx_status find_in_folder(const char *dir, const char *stem, char *out, size_t size)
{
    static const char *const tails[] = {".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json"};
    bool model = stem == NULL || strcmp(stem, "model") == 0 || strcmp(stem, "pytorch_model") == 0;
    char name[256];

    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "%s%s", !model ? stem : i < 2 ? "model" : "pytorch_model", tails[i]);
        DTX_TRY(dtx_file_join(out, size, dir, name));
        if (dtx_file_exists(out)) {
            return DTX_OK;
        }
    }
    return DTX_FAIL(DTX_ERR_MISSING, "%s: holds no weights; %s.safetensors or %s.bin is expected, or their .index.json",
                    dir, model ? "model" : stem, model ? "pytorch_model" : stem);
}

dtx_status dtx_weights_open(const char *path, const char *stem, dtx_weights **out)
{
    char file[4096];
    dtx_weights *w = NULL;
    dtx_status st = DTX_OK;

    if (dtx_file_is_dir(path)) {
        DTX_TRY(find_in_folder(path, stem, file, sizeof file));
        path = file;
    } else if (!dtx_file_exists(path)) {
        return DTX_FAIL(DTX_ERR_MISSING, "%s: no such file or folder", path);
    }
    DTX_GO(dtx_weights_new(&w));
    DTX_GO(open_any(w, path));
    *out = w;
    w = NULL;
done:
    dtx_weights_close(w);
    return st;
}

/* --- reading --- */

int64_t dtx_weights_count(const dtx_weights *w)
{
    return (int64_t)w->n;
}

const dtx_tensor *dtx_weights_at(const dtx_weights *w, int64_t i)
{
    return &w->tensors[i];
}

const dtx_tensor *dtx_weights_find(const dtx_weights *w, const char *name)
{
    const dtx_tensor key = {.name = name};

    return w->n > 0 ? bsearch(&key, w->tensors, w->n, sizeof *w->tensors, compare_tensors) : NULL;
}

const char *dtx_weights_metadata(const dtx_weights *w, const char *key)
{
    for (size_t i = 0; i < w->n_meta; i++) {
        if (strcmp(w->meta[i].key, key) == 0) {
            return w->meta[i].value;
        }
    }
    return NULL;
}

/* --- fingerprint --- */

static dtx_status add_number(dtx_sha256 *h, int64_t v)
{
    unsigned char bytes[8];

    for (int i = 0; i < 8; i++) {
        bytes[i] = (unsigned char)((uint64_t)v >> 8 * i);
    }
    return dtx_sha256_add(h, bytes, sizeof bytes);
}

static dtx_status add_tensor(dtx_sha256 *h, const dtx_tensor *t, bool all)
{
    enum { BLOCK = 4096, BLOCKS = 18 }; /* the first, 16 between, the last */
    const char *data = t->data;

    DTX_TRY(dtx_sha256_add(h, t->name, strlen(t->name) + 1));
    DTX_TRY(dtx_sha256_add(h, dtx_dtype_name(t->dtype), strlen(dtx_dtype_name(t->dtype)) + 1));
    DTX_TRY(add_number(h, t->n_dims));
    for (int i = 0; i < t->n_dims; i++) {
        DTX_TRY(add_number(h, t->shape[i]));
    }
    if (all || t->size_bytes <= (size_t)BLOCK * BLOCKS) {
        return dtx_sha256_add(h, data, t->size_bytes);
    }
    size_t last = t->size_bytes - BLOCK;
    for (size_t i = 0; i < BLOCKS; i++) {
        /* last / 17 first: the product could overflow */
        size_t at = i == BLOCKS - 1 ? last : last / (BLOCKS - 1) * i;
        DTX_TRY(dtx_sha256_add(h, data + at, BLOCK));
    }
    return DTX_OK;
}

dtx_status dtx_weights_fingerprint(const dtx_weights *w, int all, char out[65])
{
    dtx_sha256 *h = NULL;
    dtx_status st = DTX_OK;

    DTX_GO(dtx_sha256_new(&h));
    for (size_t i = 0; i < w->n; i++) {
        DTX_GO(add_tensor(h, &w->tensors[i], all != 0));
    }
    DTX_GO(dtx_sha256_end(h, out));
done:
    dtx_sha256_del(h);
    return st;
}
