#include "tests/src/weights/build_gguf.h"

#include <string.h>

void gguf_put(gguf_bytes *b, const void *x, size_t n)
{
    if (b->at + n <= b->cap) {
        memcpy(b->out + b->at, x, n);
    }
    b->at += n;
}

void gguf_u32(gguf_bytes *b, uint32_t v)
{
    gguf_put(b, &v, sizeof v);
}

void gguf_u64(gguf_bytes *b, uint64_t v)
{
    gguf_put(b, &v, sizeof v);
}

void gguf_str(gguf_bytes *b, const char *s)
{
    gguf_u64(b, strlen(s));
    gguf_put(b, s, strlen(s));
}

void gguf_header(gguf_bytes *b, uint64_t tensors, uint64_t keys)
{
    gguf_put(b, "GGUF", 4);
    gguf_u32(b, 3);
    gguf_u64(b, tensors);
    gguf_u64(b, keys);
}

void gguf_key_u32(gguf_bytes *b, const char *key, uint32_t v)
{
    gguf_str(b, key);
    gguf_u32(b, 4);
    gguf_u32(b, v);
}

void gguf_key_str(gguf_bytes *b, const char *key, const char *v)
{
    gguf_str(b, key);
    gguf_u32(b, 8);
    gguf_str(b, v);
}

void gguf_info(gguf_bytes *b, const char *name, uint64_t rows, uint64_t cols, uint32_t type, uint64_t offset)
{
    gguf_str(b, name);
    gguf_u32(b, 2);
    gguf_u64(b, cols);
    gguf_u64(b, rows);
    gguf_u32(b, type);
    gguf_u64(b, offset);
}

void gguf_pad(gguf_bytes *b, size_t alignment)
{
    while (b->at % alignment != 0) {
        gguf_put(b, "", 1);
    }
}

void gguf_data(gguf_bytes *b, size_t n, int first)
{
    for (size_t i = 0; i < n; i++) {
        const uint8_t byte = (uint8_t)(first + (int)i);
        gguf_put(b, &byte, 1);
    }
    gguf_pad(b, 32);
}

static void scalar(gguf_bytes *b, const char *key, uint32_t type, const void *x, size_t n)
{
    gguf_str(b, key);
    gguf_u32(b, type);
    gguf_put(b, x, n);
}

static void array(gguf_bytes *b, const char *key, uint32_t type, uint64_t count, const void *x, size_t n)
{
    gguf_str(b, key);
    gguf_u32(b, 9);
    gguf_u32(b, type);
    gguf_u64(b, count);
    gguf_put(b, x, n);
}

static void all_types(gguf_bytes *b)
{
    const float f = 0.1f, fs[2] = {1.5f, -2.0f};
    const double d = 1e-300;
    const uint64_t big = UINT64_MAX;
    const int64_t low = INT64_MIN;
    const int32_t is[3] = {-1, 0, 7};

    gguf_header(b, 4, 17);
    gguf_key_str(b, "general.architecture", "llama");
    gguf_key_u32(b, "a.u32", 4000000000u);
    scalar(b, "a.u8", 0, "\xff", 1);
    scalar(b, "a.i8", 1, "\xff", 1);
    scalar(b, "a.u16", 2, "\xfe\xff", 2);
    scalar(b, "a.i16", 3, "\xfe\xff", 2);
    scalar(b, "a.i32", 5, &is[0], 4);
    scalar(b, "a.f32", 6, &f, 4);
    scalar(b, "a.true", 7, "\1", 1);
    scalar(b, "a.u64", 10, &big, 8);
    scalar(b, "a.i64", 11, &low, 8);
    scalar(b, "a.f64", 12, &d, 8);
    array(b, "b.i32", 5, 3, is, sizeof is);
    array(b, "b.f32", 6, 2, fs, sizeof fs);
    array(b, "b.bool", 7, 2, "\0\1", 2);
    array(b, "b.none", 4, 0, "", 0);
    array(b, "b.str", 8, 3, "\2\0\0\0\0\0\0\0a\0\0\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0\xff\xfe\xfd", 29);
    gguf_info(b, "blk.0.f32", 2, 3, 0, 0);
    gguf_info(b, "blk.0.q8", 2, 32, 8, 32);
    gguf_info(b, "blk.0.q4k", 1, 256, 12, 128);
    gguf_info(b, "blk.0.bf16", 1, 3, 30, 288);
    gguf_pad(b, 32);
    gguf_data(b, 24, 0);
    gguf_data(b, 68, 1);
    gguf_data(b, 144, 2);
    gguf_put(b, "\1\2\3\4\5\6", 6);
}

size_t gguf_sample(int i, uint8_t *out, size_t cap)
{
    gguf_bytes b = {out, 0, cap};

    if (i == 0) {
        all_types(&b);
    } else if (i == 1) {
        gguf_header(&b, 0, 1);
        gguf_key_str(&b, "tokenizer.ggml.model", "llama");
    } else if (i == 2) {
        gguf_header(&b, 1, 1);
        gguf_key_u32(&b, "general.alignment", 64);
        gguf_info(&b, "t", 1, 32, 2, 0);
        gguf_pad(&b, 64);
        gguf_data(&b, 18, 0);
    }
    return b.at <= cap ? b.at : 0;
}

size_t gguf_split_sample(int no, uint8_t *out, size_t cap)
{
    gguf_bytes b = {out, 0, cap};

    gguf_header(&b, 1, no == 0 ? 4 : 3);
    gguf_key_u32(&b, "split.no", (uint32_t)no);
    gguf_key_u32(&b, "split.count", 2);
    gguf_key_u32(&b, "split.tensors.count", 2);
    if (no == 0) {
        gguf_key_str(&b, "general.architecture", "llama");
    }
    gguf_info(&b, no == 0 ? "one" : "two", 1, 8, 0, 0);
    gguf_pad(&b, 32);
    gguf_data(&b, 32, no);
    return b.at <= cap ? b.at : 0;
}
