/* gguf.h - reads GGUF files, as llama.cpp writes them: keys with typed values, then tensors, which stay mapped as they are.
 *   "GGUF"  u32 version (2, 3)  u64 tensors  u64 keys, little endian
 *   keys x     string key, u32 type, value          (a string: u64 length, bytes; an array: u32 type, u64 count, elements)
 *   tensors x  string name, u32 n_dims (1..4), u64 dims[n_dims] innermost first, u32 type, u64 offset into the data
 *   zeros up to a multiple of general.alignment (32), then the data, one tensor after the other, each at such a multiple
 * A model may be split into NAME-00001-of-00003.gguf ..: whole files each, the keys of the first count.
 * Files are hostile until proved: every count, length, offset and type is checked against the bytes there are before it is
 * used, nothing is allocated by a number out of the file. Every error names file, place and reason (DTX_ERR_INPUT). */
#ifndef DTX_GGUF_H
#define DTX_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/status.h"
#include "src/weights/weights.h"

typedef struct dtx_gguf dtx_gguf;

/* Maps a file, and the other parts of a split one, and checks all of it. DTX_ERR_MISSING when a file is not there. Local. */
dtx_status dtx_gguf_open(const char *path, dtx_gguf **out);
/* The same of bytes that the caller keeps (not split); `file` names them in messages. */
dtx_status dtx_gguf_read(const char *file, const char *data, size_t size, dtx_gguf **out);
void dtx_gguf_close(dtx_gguf *g);
/* Whether a path is a file that begins as a GGUF file does, or is named so (then opening it says what is wrong). */
bool dtx_gguf_is_path(const char *path);
/* The (first) file's path, for messages. */
const char *dtx_gguf_path(const dtx_gguf *g);

/* Tensors in the file's order. shape is row-major, as everywhere here: a linear weight is (n_out, n_in). data is aligned as
 * the file says; names have at most 63 bytes. */
int64_t dtx_gguf_n_tensors(const dtx_gguf *g);
const dtx_tensor *dtx_gguf_tensor(const dtx_gguf *g, int64_t i);

/* --- keys --- */

typedef enum {
    DTX_GGUF_U8, DTX_GGUF_I8, DTX_GGUF_U16, DTX_GGUF_I16, DTX_GGUF_U32, DTX_GGUF_I32, DTX_GGUF_F32, DTX_GGUF_BOOL,
    DTX_GGUF_STRING, DTX_GGUF_ARRAY, DTX_GGUF_U64, DTX_GGUF_I64, DTX_GGUF_F64
} dtx_gguf_type;

typedef struct {
    const char *key;        /* UTF-8, NUL-terminated, owned by g */
    dtx_gguf_type type;     /* of the value, or of an array's elements */
    bool is_array;
    uint64_t count;         /* elements; 1 where it is no array */
    const char *data;       /* in the file, at any byte */
} dtx_gguf_key;

/* Sorted by key. */
int64_t dtx_gguf_n_keys(const dtx_gguf *g);
const dtx_gguf_key *dtx_gguf_key_at(const dtx_gguf *g, int64_t i);
/* NULL when absent. */
const dtx_gguf_key *dtx_gguf_find(const dtx_gguf *g, const char *key);

/* Values. A key that is there with a value of another kind is DTX_ERR_INPUT. An absent one is so, too, where `needed`; else
 * *out stays as the caller set it. Whole numbers of any width and sign are read where they fit. Strings are UTF-8 without NUL,
 * NUL-terminated copies owned by g. */
dtx_status dtx_gguf_int(const dtx_gguf *g, const char *key, bool needed, int64_t *out);
dtx_status dtx_gguf_float(const dtx_gguf *g, const char *key, bool needed, double *out); /* F32, F64 */
dtx_status dtx_gguf_bool(const dtx_gguf *g, const char *key, bool needed, bool *out);
dtx_status dtx_gguf_string(const dtx_gguf *g, const char *key, bool needed, const char **out);
/* An array of the kind that `type` stands for: DTX_GGUF_STRING, DTX_GGUF_F32 (any float), DTX_GGUF_I64 (any whole number),
 * DTX_GGUF_BOOL. *out NULL when it is absent and not needed. */
dtx_status dtx_gguf_array(const dtx_gguf *g, const char *key, bool needed, dtx_gguf_type type, const dtx_gguf_key **out);

/* Element i of an array of numbers or truth values (or the value itself, i = 0). DTX_ERR_INPUT when a whole number does not fit. */
dtx_status dtx_gguf_int_at(const dtx_gguf *g, const dtx_gguf_key *k, uint64_t i, int64_t *out);
double dtx_gguf_float_at(const dtx_gguf_key *k, uint64_t i);
/* Walks over an array of strings: set {k->data} at first, call it k->count times. Texts are any bytes, not NUL-terminated. */
typedef struct {
    const char *at;
} dtx_gguf_cursor;
const char *dtx_gguf_next(dtx_gguf_cursor *c, size_t *len);

/* "1024", "true", "\"llama\"", "[32000 STRING]": a value for people, cut at size. */
void dtx_gguf_value_text(const dtx_gguf_key *k, char *out, size_t size);

#endif
