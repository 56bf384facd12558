/* set.c - the tensors of one or several files under their names, sorted, and their fingerprint. */
#include "src/weights/weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/algebra/quant.h"
#include "src/base/file.h"
#include "src/base/hash.h"
#include "src/base/mem.h"
#include "src/weights/gguf.h"
#include "src/weights/parts.h"

typedef struct {
    char *path;
    dtx_file_map map;
} mapped_file;

struct dtx_weights {
    dtx_tensor *tensors;
    size_t n, cap;
    char **names; /* of the tensors, in the order they came */
    size_t n_names, cap_names;
    mapped_file **files; /* one by one, so that a path stays where it is */
    size_t n_files, cap_files;
    dtx_meta *meta;
    size_t n_meta, cap_meta;
    void **blocks; /* of dtx_weights_alloc */
    size_t n_blocks, cap_blocks;
    dtx_gguf *gguf;
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
    for (size_t i = 0; i < w->n_names; i++) {
        dtx_free(w->names[i]);
    }
    for (size_t i = 0; i < w->n_blocks; i++) {
        dtx_free(w->blocks[i]);
    }
    dtx_gguf_close(w->gguf);
    dtx_free(w->blocks);
    for (size_t i = 0; i < w->n_files; i++) {
        dtx_file_map_close(&w->files[i]->map);
        dtx_free(w->files[i]->path);
        dtx_free(w->files[i]);
    }
    for (size_t i = 0; i < w->n_meta; i++) {
        dtx_free((void *)(uintptr_t)w->meta[i].key);
        dtx_free((void *)(uintptr_t)w->meta[i].value);
    }
    dtx_free(w->tensors);
    dtx_free(w->names);
    dtx_free(w->files);
    dtx_free(w->meta);
    dtx_free(w);
}

/* A copy of a name that lives as long as the set. */
static dtx_status keep_name(dtx_weights *w, const char *name, size_t len, const char **out)
{
    DTX_TRY(DTX_GROW(w->names, w->cap_names, w->n_names + 1));
    char *copy = dtx_strndup(name, len);
    DTX_TRY(dtx_mem_check(copy, len + 1, 1, "tensor name"));
    w->names[w->n_names++] = copy;
    *out = copy;
    return DTX_OK;
}

dtx_status dtx_weights_add(dtx_weights *w, const dtx_tensor *t, const char *name, size_t name_len, const char *file)
{
    dtx_tensor copy = *t;

    copy.file = file;
    DTX_TRY(DTX_GROW(w->tensors, w->cap, w->n + 1));
    DTX_TRY(keep_name(w, name, name_len, &copy.name));
    w->tensors[w->n++] = copy;
    return DTX_OK;
}

void dtx_weights_own_gguf(dtx_weights *w, dtx_gguf *g)
{
    w->gguf = g;
}

const dtx_gguf *dtx_weights_gguf(const dtx_weights *w)
{
    return w->gguf;
}

dtx_status dtx_weights_alloc(dtx_weights *w, size_t bytes, void **out)
{
    DTX_TRY(DTX_GROW(w->blocks, w->cap_blocks, w->n_blocks + 1));
    void *p = dtx_malloc(bytes, 1);
    DTX_TRY(dtx_mem_check(p, bytes, 1, "weights"));
    w->blocks[w->n_blocks++] = p;
    *out = p;
    return DTX_OK;
}

dtx_status dtx_weights_convert(dtx_weights *w, dtx_status (*make)(void *user, dtx_weights *w, dtx_tensor *t), void *user)
{
    for (size_t i = 0; i < w->n; i++) {
        const char *name = w->tensors[i].name;
        DTX_TRY(make(user, w, &w->tensors[i]));
        if (w->tensors[i].name != name) {
            DTX_TRY(keep_name(w, w->tensors[i].name, strlen(w->tensors[i].name), &w->tensors[i].name));
        }
    }
    return dtx_weights_finish(w);
}

void dtx_tensor_widen(const dtx_tensor *t, float *out)
{
    const int64_t row = t->order != NULL ? t->n_elements / t->shape[0] : t->n_elements;

    for (int64_t r = 0; r * row < t->n_elements; r++) {
        dtx_quant_widen(t->dtype, (const char *)t->data + (t->order != NULL ? t->order[r] : 0) * dtx_dtype_bytes(t->dtype, row), row,
                        out + r * row);
    }
}

dtx_status dtx_weights_add_metadata(dtx_weights *w, const char *key, const char *value)
{
    DTX_TRY(DTX_GROW(w->meta, w->cap_meta, w->n_meta + 1));
    char *k = dtx_strdup(key), *v = dtx_strdup(value);
    if (k == NULL || v == NULL) {
        dtx_free(k);
        dtx_free(v);
        return dtx_mem_check(NULL, strlen(key) + strlen(value) + 2, 1, "metadata");
    }
    w->meta[w->n_meta++] = (dtx_meta){k, v};
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

dtx_status dtx_weights_map(dtx_weights *w, const char *path, const char **file, dtx_file_map *map)
{
    mapped_file *f;

    DTX_TRY(DTX_GROW(w->files, w->cap_files, w->n_files + 1));
    DTX_TRY(DTX_NEW(f, 1));
    w->files[w->n_files++] = f;
    f->path = dtx_strdup(path);
    DTX_TRY(dtx_mem_check(f->path, strlen(path) + 1, 1, "path"));
    DTX_TRY(dtx_file_map_open(path, &f->map));
    *file = f->path;
    *map = f->map;
    return DTX_OK;
}

bool dtx_weights_has_file(const dtx_weights *w, const char *path)
{
    for (size_t i = 0; i < w->n_files; i++) {
        if (strcmp(w->files[i]->path, path) == 0) {
            return true;
        }
    }
    return false;
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

/* SHA-256 over n tensors in this order and, unless meta is NULL, the pairs but the sum itself. */
static dtx_status sum_of(const dtx_tensor *tensors, size_t n, bool all, const dtx_meta *meta, size_t n_meta, char out[65])
{
    dtx_sha256 *h = NULL;
    dtx_status st = DTX_OK;

    DTX_GO(dtx_sha256_new(&h));
    for (size_t i = 0; i < n; i++) {
        DTX_GO(add_tensor(h, &tensors[i], all));
    }
    for (size_t i = 0; i < n_meta; i++) {
        if (strcmp(meta[i].key, DTX_SUM_KEY) != 0) {
            DTX_GO(dtx_sha256_add(h, meta[i].key, strlen(meta[i].key) + 1));
            DTX_GO(dtx_sha256_add(h, meta[i].value, strlen(meta[i].value) + 1));
        }
    }
    DTX_GO(dtx_sha256_end(h, out));
done:
    dtx_sha256_del(h);
    return st;
}

dtx_status dtx_weights_fingerprint(const dtx_weights *w, int all, char out[65])
{
    return sum_of(w->tensors, w->n, all != 0, NULL, 0, out);
}

dtx_status dtx_weights_sum(const dtx_tensor *tensors, int64_t n, const dtx_meta *meta, int n_meta, char out[65])
{
    dtx_tensor *sorted = NULL;

    DTX_TRY(DTX_NEW_RAW(sorted, n));
    memcpy(sorted, tensors, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, compare_tensors);
    dtx_status st = sum_of(sorted, (size_t)n, true, meta, (size_t)n_meta, out);
    dtx_free(sorted);
    return st;
}

dtx_status dtx_weights_check_sum(const dtx_weights *w, const char *what)
{
    const char *kept = dtx_weights_metadata(w, DTX_SUM_KEY);
    char found[65];

    if (kept == NULL) {
        return DTX_OK;
    }
    DTX_TRY(sum_of(w->tensors, w->n, true, w->meta, w->n_meta, found));
    if (strcmp(kept, found) != 0) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: damaged: the SHA-256 of its tensors is %.16s..., it was written with %.16s...; %s",
                        w->n_files > 0 ? w->files[0]->path : "?", found, kept, what);
    }
    return DTX_OK;
}
