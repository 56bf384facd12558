/* safetensors: 8 bytes header length N (little endian), N bytes JSON {"name": {"dtype": "F16", "shape": [..],
 * "data_offsets": [begin, end]}, "__metadata__": {"key": "value"}}, then the data that the offsets count from.
 * As the reference library demands, the tensors must cover the data without holes and without overlap. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/file.h"
#include "src/base/json.h"
#include "src/base/mem.h"
#include "src/weights/parts.h"

#define MAX_HEADER 100000000u /* the reference library's bound */

typedef struct {
    size_t begin, end;
    const char *name;
} span;

static int compare_spans(const void *a, const void *b)
{
    const span *x = a, *y = b;

    if (x->begin != y->begin) {
        return x->begin < y->begin ? -1 : 1;
    }
    return x->end < y->end ? -1 : x->end > y->end;
}

static bool find_dtype(const char *name, dtx_dtype *out)
{
    static const dtx_dtype all[] = {DTX_F32, DTX_F16, DTX_BF16, DTX_F64, DTX_I64,
                                    DTX_I32, DTX_I16, DTX_I8,   DTX_U8,  DTX_BOOL};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (strcmp(name, dtx_dtype_name(all[i])) == 0) {
            *out = all[i];
            return true;
        }
    }
    return false;
}

/* A whole number >= 0 that a double holds exactly. */
static bool whole(const cJSON *item, int64_t *out)
{
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0.0 && item->valuedouble <= 9007199254740992.0) ||
        item->valuedouble != floor(item->valuedouble)) {
        return false;
    }
    *out = (int64_t)item->valuedouble;
    return true;
}

static dtx_status read_shape(const cJSON *entry, const char *file, dtx_tensor *t)
{
    const cJSON *shape = cJSON_GetObjectItemCaseSensitive(entry, "shape"), *item;

    if (!cJSON_IsArray(shape)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: tensor %s: shape: a list of sizes is expected", file, entry->string);
    }
    cJSON_ArrayForEach(item, shape)
    {
        if (t->n_dims == DTX_MAX_DIMS) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: tensor %s: shape: more than %d axes", file, entry->string,
                            DTX_MAX_DIMS);
        }
        if (!whole(item, &t->shape[t->n_dims])) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: tensor %s: shape: axis %d: a whole number from 0 is expected", file,
                            entry->string, t->n_dims);
        }
        t->n_dims++;
    }
    return DTX_OK;
}

/* One member of the header; `data` and `size` are the bytes after it. */
static dtx_status read_entry(const cJSON *entry, const char *file, const char *data, size_t size, dtx_tensor *t,
                             span *at)
{
    const cJSON *dtype = cJSON_GetObjectItemCaseSensitive(entry, "dtype");
    const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(entry, "data_offsets");
    int64_t begin, end;
    char shape[160];

    memset(t, 0, sizeof *t);
    if (!cJSON_IsString(dtype) || !find_dtype(dtype->valuestring, &t->dtype)) {
        return DTX_FAIL(DTX_ERR_INPUT,
                        "%s: tensor %s: dtype \"%.32s\" is not supported; supported: F32, F16, BF16, F64, I64, I32, "
                        "I16, I8, U8, BOOL",
                        file, entry->string, cJSON_IsString(dtype) ? dtype->valuestring : "(absent)");
    }
    DTX_TRY(read_shape(entry, file, t));
    if (!dtx_tensor_measure(t)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: tensor %s: the shape's product overflows 64 bits", file, entry->string);
    }
    if (!cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2 || !whole(cJSON_GetArrayItem(offsets, 0), &begin) ||
        !whole(cJSON_GetArrayItem(offsets, 1), &end) || begin > end) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: tensor %s: data_offsets: two whole numbers [begin, end] are expected", file,
                        entry->string);
    }
    dtx_tensor_shape_text(t, shape, sizeof shape);
    if ((size_t)(end - begin) != t->size_bytes) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: tensor %s: data_offsets span %lld bytes, but %s %s takes %zu", file,
                        entry->string, (long long)(end - begin), dtx_dtype_name(t->dtype), shape, t->size_bytes);
    }
    if ((size_t)end > size) {
        return DTX_FAIL(
            DTX_ERR_INPUT,
            "%s: tensor %s: its data ends at byte %lld of %zu there are; the file is truncated, copy it again", file,
            entry->string, (long long)end, size);
    }
    t->data = data + begin;
    *at = (span){(size_t)begin, (size_t)end, entry->string};
    return DTX_OK;
}

static dtx_status check_cover(span *spans, size_t n, const char *file, size_t size)
{
    size_t at = 0;

    qsort(spans, n, sizeof *spans, compare_spans);
    for (size_t i = 0; i < n; i++) {
        if (spans[i].begin < at) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: tensors %s and %s overlap at byte %zu of the data", file,
                            spans[i - 1].name, spans[i].name, spans[i].begin);
        }
        if (spans[i].begin > at) {
            return DTX_FAIL(DTX_ERR_INPUT,
                            "%s: tensor %s: %zu bytes before it at byte %zu of the data belong to no tensor", file,
                            spans[i].name, spans[i].begin - at, at);
        }
        at = spans[i].end;
    }
    if (at != size) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: the tensors end at byte %zu of the data, but %zu bytes follow the header",
                        file, at, size);
    }
    return DTX_OK;
}

static dtx_status read_metadata(dtx_weights *w, const cJSON *metadata, const char *file)
{
    const cJSON *item;

    if (!cJSON_IsObject(metadata)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: __metadata__: an object is expected", file);
    }
    cJSON_ArrayForEach(item, metadata)
    {
        if (!cJSON_IsString(item)) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: __metadata__: %.64s: a string is expected", file, item->string);
        }
        DTX_TRY(dtx_weights_add_metadata(w, item->string, item->valuestring));
    }
    return DTX_OK;
}

dtx_status dtx_safetensors_scan(dtx_weights *w, const char *file, const char *data, size_t size)
{
    uint64_t length = 0;
    char header_name[4200];
    cJSON *header = NULL;
    const cJSON *entry;
    span *spans = NULL;
    size_t n = 0;
    dtx_status st = DTX_OK;

    if (size < 8) {
        return DTX_FAIL(
            DTX_ERR_INPUT,
            "%s: %zu bytes are too short for a safetensors file, which begins with 8 bytes of header length", file,
            size);
    }
    for (int i = 7; i >= 0; i--) {
        length = length << 8 | (unsigned char)data[i];
    }
    if (length > MAX_HEADER || length > size - 8) {
        return DTX_FAIL(DTX_ERR_INPUT,
                        "%s: the header claims %llu bytes, the file has %zu after the length (at most %u are allowed); "
                        "truncated, or not a safetensors file",
                        file, (unsigned long long)length, size - 8, MAX_HEADER);
    }
    snprintf(header_name, sizeof header_name, "%s: header", file);
    DTX_TRY(dtx_json_parse(data + 8, (size_t)length, header_name, 0, &header));
    if (!cJSON_IsObject(header)) {
        st = DTX_FAIL(DTX_ERR_INPUT, "%s: header: a JSON object is expected", file);
        goto done;
    }
    DTX_GO(DTX_NEW(spans, cJSON_GetArraySize(header)));
    cJSON_ArrayForEach(entry, header)
    {
        dtx_tensor t;
        if (strcmp(entry->string, "__metadata__") == 0) {
            DTX_GO(read_metadata(w, entry, file));
            continue;
        }
        DTX_GO(read_entry(entry, file, data + 8 + length, size - 8 - (size_t)length, &t, &spans[n++]));
        DTX_GO(dtx_weights_add(w, &t, entry->string, strlen(entry->string), file));
    }
    DTX_GO(check_cover(spans, n, file, size - 8 - (size_t)length));
done:
    dtx_free(spans);
    cJSON_Delete(header);
    return st;
}

/* The header's text, padded with blanks so that the data begins at a multiple of 8. cJSON escapes the strings; numbers
 * go in as text, because cJSON prints large ones in floating point. */
static dtx_status make_header(const dtx_tensor *tensors, int64_t n, const dtx_meta *meta, int n_meta, char **out)
{
    cJSON *root = cJSON_CreateObject(), *sub;
    char number[64];
    size_t at = 0;

    if (n_meta > 0) {
        sub = cJSON_AddObjectToObject(root, "__metadata__");
        for (int i = 0; i < n_meta; i++) {
            cJSON_AddStringToObject(sub, meta[i].key, meta[i].value);
        }
    }
    for (int64_t i = 0; i < n; i++) {
        const dtx_tensor *t = &tensors[i];
        sub = cJSON_AddObjectToObject(root, t->name);
        cJSON_AddStringToObject(sub, "dtype", dtx_dtype_name(t->dtype));
        cJSON *shape = cJSON_AddArrayToObject(sub, "shape");
        for (int k = 0; k < t->n_dims; k++) {
            snprintf(number, sizeof number, "%lld", (long long)t->shape[k]);
            cJSON_AddItemToArray(shape, cJSON_CreateRaw(number));
        }
        snprintf(number, sizeof number, "[%zu,%zu]", at, at + t->size_bytes);
        cJSON_AddRawToObject(sub, "data_offsets", number);
        at += t->size_bytes;
    }
    char *text = cJSON_PrintUnformatted(root);
    cJSON_Delete(root);
    DTX_TRY(dtx_mem_check(text, 1, 1, "safetensors header"));
    size_t len = strlen(text), padded = (len + 7) / 8 * 8;
    char *copy = dtx_calloc(padded + 1, 1);
    if (copy != NULL) {
        memset(copy, ' ', padded);
        memcpy(copy, text, len);
    }
    cJSON_free(text);
    *out = copy;
    return dtx_mem_check(copy, padded + 1, 1, "safetensors header");
}

dtx_status dtx_safetensors_write_made(const char *path, const dtx_tensor *tensors, int64_t n, const dtx_meta *meta,
                                      int n_meta, dtx_tensor_maker make, void *user)
{
    dtx_file_new file;
    char *header = NULL;
    unsigned char length[8];
    FILE *f = NULL;
    dtx_status st;

    DTX_TRY(dtx_file_begin(&file, path));
    DTX_GO(dtx_file_stream(&file, &f));
    DTX_GO(make_header(tensors, n, meta, n_meta, &header));
    size_t len = strlen(header);
    for (int i = 0; i < 8; i++) {
        length[i] = (unsigned char)((uint64_t)len >> 8 * i);
    }
    bool fine = fwrite(length, 1, 8, f) == 8 && fwrite(header, 1, len, f) == len;
    for (int64_t i = 0; fine && st == DTX_OK && i < n; i++) {
        const void *data = NULL;
        st = make(user, i, &data);
        fine = st != DTX_OK || fwrite(data, 1, tensors[i].size_bytes, f) == tensors[i].size_bytes;
    }
    if (!fine && st == DTX_OK) {
        st = DTX_FAIL(DTX_ERR_MISSING, "%s: cannot write: %s", path, strerror(errno));
    }
    DTX_GO(st);
    st = dtx_file_commit(&file);
done:
    dtx_file_abandon(&file);
    dtx_free(header);
    return st;
}

typedef struct {
    const dtx_tensor *tensors;
} ready_data;

static dtx_status take_data(void *user, int64_t i, const void **data)
{
    const ready_data *r = user;

    *data = r->tensors[i].data;
    return DTX_OK;
}

dtx_status dtx_safetensors_write(const char *path, const dtx_tensor *tensors, int64_t n, const dtx_meta *meta,
                                 int n_meta)
{
    ready_data r = {tensors};

    return dtx_safetensors_write_made(path, tensors, n, meta, n_meta, take_data, &r);
}
