/* build_gguf.h - small GGUF files in memory, for tests and fuzzers. */
#ifndef DTX_BUILD_GGUF_H
#define DTX_BUILD_GGUF_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint8_t *out;
    size_t at, cap;         /* at > cap: it did not fit */
} gguf_bytes;

void gguf_put(gguf_bytes *b, const void *x, size_t n);
void gguf_u32(gguf_bytes *b, uint32_t v);
void gguf_u64(gguf_bytes *b, uint64_t v);
void gguf_str(gguf_bytes *b, const char *s);
void gguf_header(gguf_bytes *b, uint64_t tensors, uint64_t keys);
void gguf_key_u32(gguf_bytes *b, const char *key, uint32_t v);
void gguf_key_str(gguf_bytes *b, const char *key, const char *v);
/* A matrix (rows, cols) of a GGUF type at `offset`. */
void gguf_info(gguf_bytes *b, const char *name, uint64_t rows, uint64_t cols, uint32_t type, uint64_t offset);
/* Zeros up to a multiple. */
void gguf_pad(gguf_bytes *b, size_t alignment);
/* Data of n bytes that count up from `first`, then padding to 32. */
void gguf_data(gguf_bytes *b, size_t n, int first);

/* Whole files, number 0 .. GGUF_SAMPLES - 1: keys of each type and four tensors; no tensors; alignment 64. Bytes, 0 = no room. */
enum { GGUF_SAMPLES = 3 };
size_t gguf_sample(int i, uint8_t *out, size_t cap);
/* Part `no` of 2 of a split model. */
size_t gguf_split_sample(int no, uint8_t *out, size_t cap);

#endif
