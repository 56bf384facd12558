#include "tests/src/weights/build_torch.h"

#include <stdlib.h>
#include <string.h>

void buf_add(buf *b, const void *data, size_t n)
{
    if (b->n + n > b->cap) {
        b->cap = 2 * (b->n + n) + 64;
        b->p = realloc(b->p, b->cap);
        if (b->p == NULL) {
            abort();
        }
    }
    if (n > 0) {
        memcpy(b->p + b->n, data, n);
    }
    b->n += n;
}

void buf_text(buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

void buf_number(buf *b, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++) {
        uint8_t c = i < 8 ? (uint8_t)(v >> 8 * i) : 0;
        buf_add(b, &c, 1);
    }
}

void buf_free(buf *b)
{
    free(b->p);
    *b = (buf){0};
}

uint32_t zip_crc(const void *data, size_t n)
{
    const uint8_t *p = data;
    uint32_t crc = 0xFFFFFFFFu;

    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int k = 0; k < 8; k++) {
            crc = crc >> 1 ^ (0xEDB88320u & (0u - (crc & 1u)));
        }
    }
    return ~crc;
}

void zip_local(buf *b, const char *name, uint64_t size, uint32_t crc)
{
    bool wide = size >= 0xFFFFFFFFu;

    buf_number(b, 0x04034b50u, 4);
    buf_number(b, wide ? 45 : 20, 2);
    buf_number(b, 0, 2 + 2 + 2); /* flags, method, time */
    buf_number(b, 33, 2);        /* date: 1980-01-01 */
    buf_number(b, crc, 4);
    buf_number(b, wide ? 0xFFFFFFFFu : size, 4);
    buf_number(b, wide ? 0xFFFFFFFFu : size, 4);
    buf_number(b, strlen(name), 2);
    buf_number(b, wide ? 20 : 0, 2);
    buf_text(b, name);
    if (wide) {
        buf_number(b, 1, 2);
        buf_number(b, 16, 2);
        buf_number(b, size, 8);
        buf_number(b, size, 8);
    }
}

void zip_central(buf *b, const char *name, uint64_t size, uint32_t crc, uint64_t local, bool wide)
{
    bool wide_size = wide || size >= 0xFFFFFFFFu, wide_local = wide || local >= 0xFFFFFFFFu;

    buf_number(b, 0x02014b50u, 4);
    buf_number(b, 45, 2);
    buf_number(b, 45, 2);
    buf_number(b, 0, 2 + 2 + 2);
    buf_number(b, 33, 2);
    buf_number(b, crc, 4);
    buf_number(b, wide_size ? 0xFFFFFFFFu : size, 4);
    buf_number(b, wide_size ? 0xFFFFFFFFu : size, 4);
    buf_number(b, strlen(name), 2);
    buf_number(b, (wide_size || wide_local) ? 4 + (wide_size ? 16 : 0) + (wide_local ? 8 : 0) : 0, 2);
    buf_number(b, 0, 2 + 2 + 2 + 4); /* comment, disk, attributes */
    buf_number(b, wide_local ? 0xFFFFFFFFu : local, 4);
    buf_text(b, name);
    if (wide_size || wide_local) {
        buf_number(b, 1, 2);
        buf_number(b, (wide_size ? 16 : 0) + (wide_local ? 8 : 0), 2);
        if (wide_size) {
            buf_number(b, size, 8);
            buf_number(b, size, 8);
        }
        if (wide_local) {
            buf_number(b, local, 8);
        }
    }
}

void zip_end(buf *b, uint64_t n, uint64_t begin, uint64_t size, bool wide, uint64_t end64)
{
    if (wide) {
        buf_number(b, 0x06064b50u, 4);
        buf_number(b, 44, 8);
        buf_number(b, 45, 2);
        buf_number(b, 45, 2);
        buf_number(b, 0, 8);
        buf_number(b, n, 8);
        buf_number(b, n, 8);
        buf_number(b, size, 8);
        buf_number(b, begin, 8);
        buf_number(b, 0x07064b50u, 4);
        buf_number(b, 0, 4);
        buf_number(b, end64, 8);
        buf_number(b, 1, 4);
    }
    buf_number(b, 0x06054b50u, 4);
    buf_number(b, 0, 4);
    buf_number(b, wide ? 0xFFFF : n, 2);
    buf_number(b, wide ? 0xFFFF : n, 2);
    buf_number(b, wide ? 0xFFFFFFFFu : size, 4);
    buf_number(b, wide ? 0xFFFFFFFFu : begin, 4);
    buf_number(b, 0, 2);
}

void zip_build(buf *b, const zip_item *items, size_t n, bool wide)
{
    buf central = {0};

    for (size_t i = 0; i < n; i++) {
        uint32_t crc = zip_crc(items[i].data, items[i].size);
        zip_central(&central, items[i].name, items[i].size, crc, b->n, wide);
        zip_local(b, items[i].name, items[i].size, crc);
        buf_add(b, items[i].data, items[i].size);
    }
    size_t begin = b->n;
    buf_add(b, central.p, central.n);
    zip_end(b, n, begin, central.n, wide, b->n);
    buf_free(&central);
}

/* --- pickle --- */

static void add_text(buf *b, const char *s)
{
    buf_text(b, "X");
    buf_number(b, strlen(s), 4);
    buf_text(b, s);
}

static void add_int(buf *b, int64_t v)
{
    if (v >= 0 && v < 256) {
        buf_text(b, "K");
        buf_number(b, (uint64_t)v, 1);
    } else if (v >= 0 && v < 65536) {
        buf_text(b, "M");
        buf_number(b, (uint64_t)v, 2);
    } else if (v >= INT32_MIN && v <= INT32_MAX) {
        buf_text(b, "J");
        buf_number(b, (uint64_t)v, 4);
    } else {
        buf_text(b, "\x8A\x08");
        buf_number(b, (uint64_t)v, 8);
    }
}

static void add_tuple(buf *b, const int64_t *v, int n)
{
    buf_text(b, "(");
    for (int i = 0; i < n; i++) {
        add_int(b, v[i]);
    }
    buf_text(b, "t");
}

static void add_ordered_dict(buf *b)
{
    buf_text(b, "ccollections\nOrderedDict\n)R");
}

void pickle_build(buf *b, const pickle_item *items, size_t n, bool ordered)
{
    buf_text(b, "\x80\x02");
    if (ordered) {
        add_ordered_dict(b);
    } else {
        buf_text(b, "}");
    }
    buf_add(b, "q\0(", 3);
    for (size_t i = 0; i < n; i++) {
        const pickle_item *t = &items[i];
        add_text(b, t->name);
        if (t->parameter) {
            buf_text(b, "ctorch._utils\n_rebuild_parameter\n(");
        }
        buf_text(b, "ctorch._utils\n_rebuild_tensor_v2\n((");
        add_text(b, "storage");
        buf_text(b, "ctorch\n");
        buf_text(b, t->storage_type);
        buf_text(b, "\n");
        add_text(b, t->key);
        add_text(b, "cpu");
        add_int(b, t->storage_size);
        buf_text(b, "tQ");
        add_int(b, t->offset);
        add_tuple(b, t->shape, t->n_dims);
        add_tuple(b, t->stride, t->n_dims);
        buf_text(b, "\x89");
        add_ordered_dict(b);
        buf_text(b, "tR");
        if (t->parameter) {
            buf_text(b, "\x88");
            add_ordered_dict(b);
            buf_text(b, "tR");
        }
    }
    buf_text(b, "u");
    if (ordered) { /* {"_metadata": OrderedDict({"": {"version": 1}})} */
        buf_text(b, "}");
        add_text(b, "_metadata");
        add_ordered_dict(b);
        add_text(b, "");
        buf_text(b, "}");
        add_text(b, "version");
        add_int(b, 1);
        buf_text(b, "sssb");
    }
    buf_text(b, ".");
}
