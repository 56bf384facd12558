/* gguf_parts.h - inside of the GGUF reader: what gguf.c fills and gguf_keys.c looks into. */
#ifndef DTX_GGUF_PARTS_H
#define DTX_GGUF_PARTS_H

#include "src/base/file.h"
#include "src/weights/gguf.h"

typedef struct {
    char *path;
    dtx_file_map map;
} gguf_part;

struct dtx_gguf {
    gguf_part *parts;       /* 1, or those of a split model */
    size_t n_parts, cap_parts;
    dtx_gguf_key *keys;     /* of the first part, sorted */
    size_t n_keys, cap_keys;
    dtx_tensor *tensors;
    size_t n_tensors, cap_tensors;
    char **texts;           /* owned: keys, string values, names */
    size_t n_texts, cap_texts;
};

/* Bytes of a value of that type; 0 for strings and arrays. */
size_t dtx_gguf_type_bytes(uint32_t type);
const char *dtx_gguf_type_name(uint32_t type);

#endif
