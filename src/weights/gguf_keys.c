/* gguf_keys.c - what a GGUF file's keys say, with the types that callers ask for. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/weights/gguf_parts.h"

size_t dtx_gguf_type_bytes(uint32_t type)
{
    static const unsigned char bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

    return type < sizeof bytes ? bytes[type] : 0;
}

const char *dtx_gguf_type_name(uint32_t type)
{
    static const char *const names[] = {"U8", "I8", "U16", "I16", "U32", "I32", "F32", "BOOL", "STRING", "ARRAY", "U64", "I64", "F64"};

    return type < sizeof names / sizeof *names ? names[type] : "?";
}

const char *dtx_gguf_path(const dtx_gguf *g)
{
    return g->n_parts > 0 ? g->parts[0].path : "GGUF";
}

int64_t dtx_gguf_n_tensors(const dtx_gguf *g)
{
    return (int64_t)g->n_tensors;
}

const dtx_tensor *dtx_gguf_tensor(const dtx_gguf *g, int64_t i)
{
    return &g->tensors[i];
}

int64_t dtx_gguf_n_keys(const dtx_gguf *g)
{
    return (int64_t)g->n_keys;
}

const dtx_gguf_key *dtx_gguf_key_at(const dtx_gguf *g, int64_t i)
{
    return &g->keys[i];
}

static int compare(const void *a, const void *b)
{
    return strcmp(a, ((const dtx_gguf_key *)b)->key);
}

const dtx_gguf_key *dtx_gguf_find(const dtx_gguf *g, const char *key)
{
    return g->n_keys > 0 ? bsearch(key, g->keys, g->n_keys, sizeof *g->keys, compare) : NULL;
}

/* --- numbers --- */

typedef enum { WHOLE, REAL, TRUTH, TEXT, LIST } kind;

static kind kind_of(dtx_gguf_type t)
{
    switch (t) {
    case DTX_GGUF_F32:
    case DTX_GGUF_F64:
        return REAL;
    case DTX_GGUF_BOOL:
        return TRUTH;
    case DTX_GGUF_STRING:
        return TEXT;
    case DTX_GGUF_ARRAY:
        return LIST;
    default:
        return WHOLE;
    }
}

/* 8 bytes at most, as they stand there. */
static uint64_t bits_at(const dtx_gguf_key *k, uint64_t i)
{
    const size_t n = dtx_gguf_type_bytes(k->type);
    uint64_t bits = 0;

    memcpy(&bits, k->data + i * n, n);
    return bits;
}

static bool int_of(const dtx_gguf_key *k, uint64_t i, int64_t *out)
{
    const uint64_t bits = bits_at(k, i);

    switch (k->type) {
    case DTX_GGUF_I8:
        *out = (int8_t)bits;
        break;
    case DTX_GGUF_I16:
        *out = (int16_t)bits;
        break;
    case DTX_GGUF_I32:
        *out = (int32_t)bits;
        break;
    case DTX_GGUF_U64:
        *out = (int64_t)bits;
        return bits <= INT64_MAX;
    default:
        *out = (int64_t)bits;
    }
    return true;
}

dtx_status dtx_gguf_int_at(const dtx_gguf *g, const dtx_gguf_key *k, uint64_t i, int64_t *out)
{
    int64_t v;

    if (!int_of(k, i, &v)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: key %.80s: %" PRIu64 " is larger than 2^63 - 1", dtx_gguf_path(g), k->key, bits_at(k, i));
    }
    *out = v;
    return DTX_OK;
}

double dtx_gguf_float_at(const dtx_gguf_key *k, uint64_t i)
{
    const uint64_t bits = bits_at(k, i);
    float f;
    double d;

    memcpy(&f, &bits, sizeof f);
    memcpy(&d, &bits, sizeof d);
    return k->type == DTX_GGUF_F32 ? (double)f : d;
}

const char *dtx_gguf_next(dtx_gguf_cursor *c, size_t *len)
{
    uint64_t n;

    memcpy(&n, c->at, sizeof n);
    const char *s = c->at + sizeof n;
    *len = (size_t)n;
    c->at = s + n;
    return s;
}

/* --- by name --- */

/* *out NULL only where the key is absent and not needed. */
static dtx_status find(const dtx_gguf *g, const char *key, bool needed, kind want, bool array, const dtx_gguf_key **out)
{
    static const char *const words[] = {"a whole number", "a floating-point number", "a BOOL", "a STRING", "an array"};
    static const char *const many[] = {"an array of whole numbers", "an array of floating-point numbers", "an array of BOOL",
                                       "an array of STRING", "an array"};
    const dtx_gguf_key *k = dtx_gguf_find(g, key);

    *out = k;
    if (k == NULL) {
        return needed ? DTX_FAIL(DTX_ERR_INPUT, "%s: key %s is missing", dtx_gguf_path(g), key) : DTX_OK;
    }
    if (k->is_array != array || kind_of(k->type) != want) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: key %s holds %s%s; %s is expected", dtx_gguf_path(g), key, k->is_array ? "an array of " : "",
                        dtx_gguf_type_name(k->type), array ? many[want] : words[want]);
    }
    return DTX_OK;
}

dtx_status dtx_gguf_int(const dtx_gguf *g, const char *key, bool needed, int64_t *out)
{
    const dtx_gguf_key *k;

    DTX_TRY(find(g, key, needed, WHOLE, false, &k));
    return k != NULL ? dtx_gguf_int_at(g, k, 0, out) : DTX_OK;
}

dtx_status dtx_gguf_float(const dtx_gguf *g, const char *key, bool needed, double *out)
{
    const dtx_gguf_key *k;

    DTX_TRY(find(g, key, needed, REAL, false, &k));
    if (k != NULL) {
        *out = dtx_gguf_float_at(k, 0);
    }
    return DTX_OK;
}

dtx_status dtx_gguf_bool(const dtx_gguf *g, const char *key, bool needed, bool *out)
{
    const dtx_gguf_key *k;

    DTX_TRY(find(g, key, needed, TRUTH, false, &k));
    if (k != NULL) {
        *out = k->data[0] != 0;
    }
    return DTX_OK;
}

dtx_status dtx_gguf_string(const dtx_gguf *g, const char *key, bool needed, const char **out)
{
    const dtx_gguf_key *k;

    DTX_TRY(find(g, key, needed, TEXT, false, &k));
    if (k != NULL) {
        *out = k->data;
    }
    return DTX_OK;
}

dtx_status dtx_gguf_array(const dtx_gguf *g, const char *key, bool needed, dtx_gguf_type type, const dtx_gguf_key **out)
{
    return find(g, key, needed, kind_of(type), true, out);
}

void dtx_gguf_value_text(const dtx_gguf_key *k, char *out, size_t size)
{
    int64_t v = 0;

    if (k->is_array) {
        snprintf(out, size, "[%" PRIu64 " %s]", k->count, dtx_gguf_type_name(k->type));
    } else if (k->type == DTX_GGUF_STRING) {
        snprintf(out, size, "\"%s\"", k->data);
    } else if (k->type == DTX_GGUF_BOOL) {
        snprintf(out, size, "%s", k->data[0] != 0 ? "true" : "false");
    } else if (kind_of(k->type) == REAL) {
        snprintf(out, size, "%.9g", dtx_gguf_float_at(k, 0));
    } else if (int_of(k, 0, &v)) {
        snprintf(out, size, "%" PRId64, v);
    } else {
        snprintf(out, size, "%" PRIu64, bits_at(k, 0));
    }
}
