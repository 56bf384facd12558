#include "src/weights/gguf.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/mem.h"
#include "src/base/utf8.h"
#include "src/weights/gguf_parts.h"
#include "src/weights/parts.h"

enum { MAX_TENSOR_NAME = 63, MAX_TENSOR_DIMS = 4, DEFAULT_ALIGNMENT = 32, MAX_PARTS = 99999 };

/* --- bytes --- */

typedef struct {
    const char *file, *data;
    size_t size, at;        /* at <= size */
    char place[128];        /* what is being read, for messages */
} reader;

static dtx_status too_short(const reader *r, const char *what)
{
    return DTX_FAIL(DTX_ERR_INPUT, "%s: %s: %s at byte %zu reaches beyond the end of the file (%zu bytes); it is truncated or damaged, "
                    "copy it again", r->file, r->place, what, r->at, r->size);
}

static dtx_status take(reader *r, void *out, size_t n, const char *what)
{
    if (n > r->size - r->at) {
        return too_short(r, what);
    }
    memcpy(out, r->data + r->at, n); /* this host is little endian, as the file: checked at configuration */
    r->at += n;
    return DTX_OK;
}

static dtx_status take_string(reader *r, const char **s, size_t *len, const char *what)
{
    uint64_t n = 0;

    DTX_TRY(take(r, &n, sizeof n, what));
    if (n > r->size - r->at) {
        r->at -= sizeof n;
        return too_short(r, what);
    }
    *s = r->data + r->at;
    *len = (size_t)n;
    r->at += (size_t)n;
    return DTX_OK;
}

/* A copy of a text that must be UTF-8 without NUL. */
static dtx_status keep_text(dtx_gguf *g, const reader *r, const char *s, size_t len, const char *what, const char **out)
{
    const size_t bad = dtx_utf8_valid(s, len);

    if (bad < len || memchr(s, '\0', len) != NULL) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: %s: %s holds %s; UTF-8 without NUL is expected", r->file, r->place, what,
                        bad < len ? "bytes that are not UTF-8" : "a NUL byte");
    }
    DTX_TRY(DTX_GROW(g->texts, g->cap_texts, g->n_texts + 1));
    char *copy = dtx_strndup(s, len);
    DTX_TRY(dtx_mem_check(copy, len + 1, 1, what));
    g->texts[g->n_texts++] = copy;
    *out = copy;
    return DTX_OK;
}

/* --- keys --- */

/* Bytes of truth values must be 0 or 1. */
static dtx_status check_bools(const reader *r, const dtx_gguf_key *k)
{
    for (uint64_t i = 0; i < k->count; i++) {
        if ((unsigned char)k->data[i] > 1) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: %s: a BOOL is %d; 0 or 1 is expected", r->file, r->place, (unsigned char)k->data[i]);
        }
    }
    return DTX_OK;
}

static dtx_status read_array(reader *r, dtx_gguf_key *k)
{
    uint32_t type = 0;

    DTX_TRY(take(r, &type, sizeof type, "an array's type"));
    DTX_TRY(take(r, &k->count, sizeof k->count, "an array's length"));
    if (type == DTX_GGUF_ARRAY || type > DTX_GGUF_F64) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: %s: elements of type %" PRIu32 " (%s); scalars or strings are expected", r->file, r->place,
                        type, dtx_gguf_type_name(type));
    }
    k->is_array = true;
    k->type = (dtx_gguf_type)type;
    k->data = r->data + r->at;
    if (type == DTX_GGUF_STRING) {
        const char *s = NULL;
        size_t len = 0;
        if (k->count > (r->size - r->at) / 8) { /* each has at least a length */
            return too_short(r, "an array of strings");
        }
        for (uint64_t i = 0; i < k->count; i++) {
            DTX_TRY(take_string(r, &s, &len, "a string of an array"));
        }
        return DTX_OK;
    }
    const size_t bytes = dtx_gguf_type_bytes(type);
    if (k->count > (r->size - r->at) / bytes) {
        return too_short(r, "an array");
    }
    r->at += (size_t)k->count * bytes;
    return type == DTX_GGUF_BOOL ? check_bools(r, k) : DTX_OK;
}

static dtx_status read_value(dtx_gguf *g, reader *r, uint32_t type, dtx_gguf_key *k)
{
    if (type == DTX_GGUF_ARRAY) {
        return read_array(r, k);
    }
    if (type > DTX_GGUF_F64) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: %s: its value has type %" PRIu32 ", which is not known (0 to 12 are)", r->file, r->place, type);
    }
    k->type = (dtx_gguf_type)type;
    k->count = 1;
    k->data = r->data + r->at;
    if (type == DTX_GGUF_STRING) {
        const char *s = NULL;
        size_t len = 0;
        DTX_TRY(take_string(r, &s, &len, "its string"));
        return keep_text(g, r, s, len, "its string", &k->data);
    }
    if (dtx_gguf_type_bytes(type) > r->size - r->at) {
        return too_short(r, "its value");
    }
    r->at += dtx_gguf_type_bytes(type);
    return type == DTX_GGUF_BOOL ? check_bools(r, k) : DTX_OK;
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(((const dtx_gguf_key *)a)->key, ((const dtx_gguf_key *)b)->key);
}

static dtx_status read_keys(dtx_gguf *g, reader *r, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        dtx_gguf_key k = {0};
        const char *s = NULL;
        size_t len = 0;
        uint32_t type = 0;
        snprintf(r->place, sizeof r->place, "key %" PRIu64 " of %" PRIu64, i + 1, n);
        DTX_TRY(take_string(r, &s, &len, "its name"));
        if (len == 0) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: %s at byte %zu has no name", r->file, r->place, r->at - 8);
        }
        DTX_TRY(keep_text(g, r, s, len, "its name", &k.key));
        snprintf(r->place, sizeof r->place, "key %.80s", k.key);
        DTX_TRY(take(r, &type, sizeof type, "its type"));
        DTX_TRY(read_value(g, r, type, &k));
        DTX_TRY(DTX_GROW(g->keys, g->cap_keys, g->n_keys + 1));
        g->keys[g->n_keys++] = k;
    }
    if (g->n_keys > 1) {
        qsort(g->keys, g->n_keys, sizeof *g->keys, compare_keys);
    }
    for (size_t i = 1; i < g->n_keys; i++) {
        if (strcmp(g->keys[i - 1].key, g->keys[i].key) == 0) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: key %.80s is there twice; each must be there once", r->file, g->keys[i].key);
        }
    }
    return DTX_OK;
}

static dtx_status read_alignment(const dtx_gguf *g, const reader *r, uint64_t *out)
{
    const dtx_gguf_key *k = dtx_gguf_find(g, "general.alignment");
    uint32_t a = DEFAULT_ALIGNMENT;

    if (k != NULL && (k->is_array || k->type != DTX_GGUF_U32)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: key general.alignment: %s%s; a U32 is expected", r->file, k->is_array ? "an array of " : "",
                        dtx_gguf_type_name(k->type));
    }
    if (k != NULL) {
        memcpy(&a, k->data, sizeof a);
    }
    if (a == 0 || (a & (a - 1)) != 0) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: key general.alignment is %" PRIu32 "; a power of two is expected", r->file, a);
    }
    *out = a;
    return DTX_OK;
}

/* --- tensors --- */

typedef struct {
    const char *name;
    int dtype;              /* dtx_dtype, -1 = not supported */
} stored_type;

static const stored_type TYPES[] = {
    [0] = {"F32", DTX_F32}, [1] = {"F16", DTX_F16}, [2] = {"Q4_0", DTX_Q4_0}, [3] = {"Q4_1", DTX_Q4_1}, [4] = {"Q4_2 (removed in 2023)", -1},
    [5] = {"Q4_3 (removed in 2023)", -1}, [6] = {"Q5_0", DTX_Q5_0}, [7] = {"Q5_1", DTX_Q5_1}, [8] = {"Q8_0", DTX_Q8_0},
    [9] = {"Q8_1", -1}, [10] = {"Q2_K", DTX_Q2_K}, [11] = {"Q3_K", DTX_Q3_K}, [12] = {"Q4_K", DTX_Q4_K}, [13] = {"Q5_K", DTX_Q5_K},
    [14] = {"Q6_K", DTX_Q6_K}, [15] = {"Q8_K", -1}, [16] = {"IQ2_XXS", -1}, [17] = {"IQ2_XS", -1}, [18] = {"IQ3_XXS", -1},
    [19] = {"IQ1_S", -1}, [20] = {"IQ4_NL", DTX_IQ4_NL}, [21] = {"IQ3_S", -1}, [22] = {"IQ2_S", -1}, [23] = {"IQ4_XS", DTX_IQ4_XS},
    [24] = {"I8", DTX_I8}, [25] = {"I16", DTX_I16}, [26] = {"I32", DTX_I32}, [27] = {"I64", DTX_I64}, [28] = {"F64", DTX_F64},
    [29] = {"IQ1_M", -1}, [30] = {"BF16", DTX_BF16}, [31] = {"Q4_0_4_4 (removed in 2024)", -1}, [32] = {"Q4_0_4_8 (removed in 2024)", -1},
    [33] = {"Q4_0_8_8 (removed in 2024)", -1}, [34] = {"TQ1_0", -1}, [35] = {"TQ2_0", -1}, [36] = {"IQ4_NL_4_4 (removed)", -1},
    [37] = {"IQ4_NL_4_8 (removed)", -1}, [38] = {"IQ4_NL_8_8 (removed)", -1}, [39] = {"MXFP4", -1},
};

static dtx_status read_type(reader *r, dtx_tensor *t)
{
    const uint32_t known = sizeof TYPES / sizeof *TYPES;
    uint32_t type = 0;

    DTX_TRY(take(r, &type, sizeof type, "its type"));
    if (type >= known || TYPES[type].dtype < 0) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: %s has type %" PRIu32 ", %s, which is not supported; F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, "
                        "Q5_1, Q2_K to Q6_K, IQ4_NL, IQ4_XS are: take a file quantised to one of them", r->file, r->place, type,
                        type < known ? TYPES[type].name : "unknown");
    }
    t->dtype = (dtx_dtype)TYPES[type].dtype;
    return DTX_OK;
}

static dtx_status read_shape(reader *r, dtx_tensor *t)
{
    uint32_t n = 0;
    uint64_t dim = 0;

    DTX_TRY(take(r, &n, sizeof n, "its number of axes"));
    if (n < 1 || n > MAX_TENSOR_DIMS) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: %s has %" PRIu32 " axes; 1 to %d are expected", r->file, r->place, n, MAX_TENSOR_DIMS);
    }
    t->n_dims = (int)n;
    for (int i = t->n_dims - 1; i >= 0; i--) { /* the innermost comes first */
        DTX_TRY(take(r, &dim, sizeof dim, "its shape"));
        if (dim == 0 || dim > INT64_MAX) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: %s: axis %d has %" PRIu64 " entries; 1 to 2^63 - 1 are expected", r->file, r->place,
                            t->n_dims - 1 - i, dim);
        }
        t->shape[i] = (int64_t)dim;
    }
    return DTX_OK;
}

static dtx_status read_info(dtx_gguf *g, reader *r, uint64_t i, uint64_t n, dtx_tensor *t, uint64_t *offset)
{
    const char *s = NULL;
    size_t len = 0;

    snprintf(r->place, sizeof r->place, "tensor %" PRIu64 " of %" PRIu64, i + 1, n);
    DTX_TRY(take_string(r, &s, &len, "its name"));
    if (len == 0 || len > MAX_TENSOR_NAME) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: %s: its name has %zu bytes; 1 to %d are expected", r->file, r->place, len, MAX_TENSOR_NAME);
    }
    DTX_TRY(keep_text(g, r, s, len, "its name", &t->name));
    snprintf(r->place, sizeof r->place, "tensor %s", t->name);
    DTX_TRY(read_shape(r, t));
    DTX_TRY(read_type(r, t));
    DTX_TRY(take(r, offset, sizeof *offset, "its offset"));
    if (t->shape[t->n_dims - 1] % dtx_dtype_block(t->dtype) != 0) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: %s: rows of %" PRId64 " values are no whole blocks of %s (%" PRId64 ")", r->file, r->place,
                        t->shape[t->n_dims - 1], dtx_dtype_name(t->dtype), dtx_dtype_block(t->dtype));
    }
    if (!dtx_tensor_measure(t)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: %s: its size overflows 64 bits", r->file, r->place);
    }
    t->file = r->file;
    return DTX_OK;
}

/* Tensors lie one after the other, in the order of their descriptions, with nothing but padding between. */
static dtx_status place(const reader *r, dtx_tensor *t, uint64_t offset, uint64_t alignment, size_t begin, size_t *end)
{
    const uint64_t expected = (*end + alignment - 1) / alignment * alignment; /* *end <= size: no overflow that matters */

    if (offset != expected) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: tensor %s: its offset is %" PRIu64 ", but %" PRIu64 " is expected, where the tensor before it ends "
                        "(multiples of %" PRIu64 ")", r->file, t->name, offset, expected, alignment);
    }
    if (begin > r->size || offset > r->size - begin || t->size_bytes > r->size - begin - offset) {
        char shape[160];
        dtx_tensor_shape_text(t, shape, sizeof shape);
        return DTX_FAIL(DTX_ERR_INPUT, "%s: tensor %s: %s %s takes %zu bytes from byte %" PRIu64 " on, but the file has %zu; it is truncated "
                        "or damaged, copy it again", r->file, t->name, dtx_dtype_name(t->dtype), shape, t->size_bytes, (uint64_t)begin + offset,
                        r->size);
    }
    t->data = r->data + begin + offset;
    *end = (size_t)offset + t->size_bytes;
    return DTX_OK;
}

static dtx_status read_tensors(dtx_gguf *g, reader *r, uint64_t n, uint64_t alignment)
{
    const size_t first = g->n_tensors;
    uint64_t *offsets = NULL;
    size_t cap = 0, end = 0;
    dtx_status st = DTX_OK;

    for (uint64_t i = 0; i < n; i++) {
        DTX_GO(DTX_GROW(offsets, cap, i + 1));
        DTX_GO(DTX_GROW(g->tensors, g->cap_tensors, g->n_tensors + 1));
        dtx_tensor t = {0};
        DTX_GO(read_info(g, r, i, n, &t, &offsets[i]));
        g->tensors[g->n_tensors++] = t;
    }
    const size_t begin = (r->at + (size_t)alignment - 1) / (size_t)alignment * (size_t)alignment;
    for (uint64_t i = 0; i < n; i++) {
        DTX_GO(place(r, &g->tensors[first + i], offsets[i], alignment, begin, &end));
    }
done:
    dtx_free(offsets);
    return st;
}

/* --- files --- */

static bool has_magic(const char *data, size_t size)
{
    return size >= 4 && memcmp(data, "GGUF", 4) == 0;
}

bool dtx_gguf_is_path(const char *path)
{
    const size_t n = strlen(path);
    struct stat s;
    char magic[4];

    if (stat(path, &s) != 0 || !S_ISREG(s.st_mode)) {
        return false;
    }
    if (n > 5 && strcmp(path + n - 5, ".gguf") == 0) {
        return true;
    }
    int fd;
    size_t size;
    if (dtx_file_open(path, &fd, &size) != DTX_OK) {
        dtx_error_clear();
        return false;
    }
    const ssize_t got = pread(fd, magic, sizeof magic, 0);
    close(fd);
    return got > 0 && has_magic(magic, (size_t)got);
}

static dtx_status read_header(reader *r, uint64_t *tensors, uint64_t *keys)
{
    const unsigned char *b = (const unsigned char *)r->data;
    uint32_t version = 0;

    snprintf(r->place, sizeof r->place, "header");
    if (!has_magic(r->data, r->size)) {
        if (r->size < 4) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: not a GGUF file: it has %zu bytes", r->file, r->size);
        }
        return DTX_FAIL(DTX_ERR_INPUT, "%s: not a GGUF file: it begins with bytes %02x %02x %02x %02x, \"GGUF\" is expected", r->file, b[0], b[1],
                        b[2], b[3]);
    }
    r->at = 4;
    DTX_TRY(take(r, &version, sizeof version, "the version"));
    if (version == 3u << 24 || version == 2u << 24) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: header: a big-endian GGUF file; little-endian ones are supported", r->file);
    }
    if (version != 2 && version != 3) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: header: GGUF version %" PRIu32 "; 2 and 3 are supported", r->file, version);
    }
    DTX_TRY(take(r, tensors, sizeof *tensors, "the number of tensors"));
    DTX_TRY(take(r, keys, sizeof *keys, "the number of keys"));
    const size_t left = r->size - r->at; /* a key takes 13 bytes at least, a tensor's description 33 */
    if (*keys > left / 13 || *tensors > left / 33) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: header: %" PRIu64 " keys and %" PRIu64 " tensors do not fit into %zu bytes", r->file, *keys, *tensors,
                        r->size);
    }
    return DTX_OK;
}

/* Takes a file's keys, and adds its tensors. */
static dtx_status read_file(dtx_gguf *g, const char *file, const char *data, size_t size)
{
    reader r = {.file = file, .data = data, .size = size};
    uint64_t tensors = 0, keys = 0, alignment = DEFAULT_ALIGNMENT;

    DTX_TRY(read_header(&r, &tensors, &keys));
    DTX_TRY(read_keys(g, &r, keys));
    DTX_TRY(read_alignment(g, &r, &alignment));
    return read_tensors(g, &r, tensors, alignment);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp((*(const dtx_tensor *const *)a)->name, (*(const dtx_tensor *const *)b)->name);
}

static dtx_status check_names(const dtx_gguf *g)
{
    const dtx_tensor **by_name = NULL;
    dtx_status st = DTX_OK;

    DTX_TRY(DTX_NEW(by_name, g->n_tensors + 1));
    for (size_t i = 0; i < g->n_tensors; i++) {
        by_name[i] = &g->tensors[i];
    }
    qsort(by_name, g->n_tensors, sizeof *by_name, compare_names);
    for (size_t i = 1; st == DTX_OK && i < g->n_tensors; i++) {
        if (strcmp(by_name[i - 1]->name, by_name[i]->name) == 0) {
            st = DTX_FAIL(DTX_ERR_INPUT, "%s: tensor %s is there twice, also in %s; each must be there once", by_name[i]->file, by_name[i]->name,
                          by_name[i - 1]->file);
        }
    }
    dtx_free(by_name);
    return st;
}

static dtx_status add_file(dtx_gguf *g, const char *path)
{
    DTX_TRY(DTX_GROW(g->parts, g->cap_parts, g->n_parts + 1));
    gguf_part p = {.path = dtx_strdup(path)};
    DTX_TRY(dtx_mem_check(p.path, strlen(path) + 1, 1, "path"));
    g->parts[g->n_parts++] = p;
    dtx_file_map *map = &g->parts[g->n_parts - 1].map;
    DTX_TRY(dtx_file_map_open(path, map));
    return read_file(g, p.path, map->data, map->size);
}

/* NAME-00002-of-00003.gguf: the length of NAME and the part's number from 1; 0 where it is not named so. */
static int part_of_name(const char *path, size_t *stem)
{
    enum { TAIL = sizeof "-00001-of-00001.gguf" - 1 };
    const size_t n = strlen(path);
    int part, count, len = 0;

    if (n <= TAIL || n >= 4000 || sscanf(path + n - TAIL, "-%5d-of-%5d.gguf%n", &part, &count, &len) != 2 || len != TAIL || part < 1) {
        return 0;
    }
    *stem = n - TAIL;
    return part;
}

static void part_name(char *out, size_t size, const char *path, size_t stem, int64_t part, int64_t count)
{
    snprintf(out, size, "%.*s-%05" PRId64 "-of-%05" PRId64 ".gguf", (int)stem, path, part, count);
}

static dtx_status check_part(const dtx_gguf *g, const char *path, int64_t number, int64_t count)
{
    int64_t no = -1, of = 0;

    DTX_TRY(dtx_gguf_int(g, "split.no", true, &no));
    DTX_TRY(dtx_gguf_int(g, "split.count", true, &of));
    if (no != number || of != count) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: split.no is %" PRId64 " of %" PRId64 "; %" PRId64 " of %" PRId64 " is expected", path, no, of, number,
                        count);
    }
    return DTX_OK;
}

/* Part number i (from 1): its tensors; its keys are looked at and forgotten. */
static dtx_status add_part(dtx_gguf *g, const char *path, int64_t i, int64_t count)
{
    const dtx_gguf first = *g;

    g->keys = NULL;
    g->n_keys = g->cap_keys = 0;
    dtx_status st = add_file(g, path);
    st = st == DTX_OK ? check_part(g, path, i, count) : st;
    dtx_free(g->keys);
    g->keys = first.keys;
    g->n_keys = first.n_keys;
    g->cap_keys = first.cap_keys;
    return st;
}

/* The other parts, after the first one has told how many there are. */
static dtx_status add_parts(dtx_gguf *g, const char *path, int64_t count)
{
    int64_t tensors = -1;
    size_t stem = 0;
    char part[4096];

    if (count > MAX_PARTS) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: split.count is %" PRId64 "; at most %d parts are expected", path, count, MAX_PARTS);
    }
    if (part_of_name(path, &stem) != 1) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: the first of %" PRId64 " parts of a split model; a name that ends with -00001-of-%05" PRId64
                        ".gguf is expected, by which the others are found", path, count, count);
    }
    DTX_TRY(check_part(g, path, 0, count));
    for (int64_t i = 1; i < count; i++) {
        part_name(part, sizeof part, path, stem, i + 1, count);
        if (!dtx_file_exists(part)) {
            return DTX_FAIL(DTX_ERR_MISSING, "%s: part %" PRId64 " of %" PRId64 " is missing; copy it beside the others", part, i + 1, count);
        }
        DTX_TRY(add_part(g, part, i, count));
    }
    DTX_TRY(dtx_gguf_int(g, "split.tensors.count", false, &tensors));
    if (tensors >= 0 && (uint64_t)tensors != g->n_tensors) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: split.tensors.count is %" PRId64 ", but the parts hold %zu", path, tensors, g->n_tensors);
    }
    return DTX_OK;
}

static dtx_status open_all(dtx_gguf *g, const char *path)
{
    char first[4096];
    size_t stem = 0;
    int64_t count = 1;

    if (part_of_name(path, &stem) > 1) { /* a later part was named: the model begins with the first */
        part_name(first, sizeof first, path, stem, 1, atoi(path + stem + sizeof "-00001-of-" - 1));
        path = dtx_file_exists(first) ? first : path;
    }
    DTX_TRY(add_file(g, path));
    DTX_TRY(dtx_gguf_int(g, "split.count", false, &count));
    if (count > 1) {
        DTX_TRY(add_parts(g, path, count));
    }
    return check_names(g);
}

dtx_status dtx_gguf_open(const char *path, dtx_gguf **out)
{
    dtx_gguf *g = NULL;
    dtx_status st = DTX_OK;

    if (!dtx_file_exists(path)) {
        return DTX_FAIL(DTX_ERR_MISSING, "%s: no such file", path);
    }
    DTX_GO(DTX_NEW(g, 1));
    DTX_GO(open_all(g, path));
    *out = g;
    g = NULL;
done:
    dtx_gguf_close(g);
    return st;
}

dtx_status dtx_gguf_read(const char *file, const char *data, size_t size, dtx_gguf **out)
{
    dtx_gguf *g = NULL;
    dtx_status st = DTX_OK;

    DTX_GO(DTX_NEW(g, 1));
    DTX_GO(read_file(g, file, data, size));
    DTX_GO(check_names(g));
    *out = g;
    g = NULL;
done:
    dtx_gguf_close(g);
    return st;
}

void dtx_gguf_close(dtx_gguf *g)
{
    if (g == NULL) {
        return;
    }
    for (size_t i = 0; i < g->n_texts; i++) {
        dtx_free(g->texts[i]);
    }
    for (size_t i = 0; i < g->n_parts; i++) {
        dtx_file_map_close(&g->parts[i].map);
        dtx_free(g->parts[i].path);
    }
    dtx_free(g->texts);
    dtx_free(g->parts);
    dtx_free(g->keys);
    dtx_free(g->tensors);
    dtx_free(g);
}
