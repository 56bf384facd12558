/* linear_tile.h - inside of the native back end: what one instruction set provides to linear_native.c and linear_vector.c.
 * One file for each instruction set implements it; linear_pick.h chooses among them. */
#ifndef DTX_LINEAR_TILE_H
#define DTX_LINEAR_TILE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "src/base/dtype.h"

enum {
    DTX_NATIVE_KC = 256,                      /* depth of a block: sums run in order within it, blocks in order */
    DTX_NATIVE_LDA = DTX_NATIVE_KC + 16,      /* distance of packed rows: a constant that spreads over cache sets */
    DTX_NATIVE_NC = 256                       /* most columns of a tile, a multiple of every nr */
};

/* What the register tile does for later steps while it computes: it asks for what they will read (b and a, which are not
 * dereferenced), and packs rows of A for the next call in the shadow of the multiply-adds. */
typedef struct {
    const char *b;      /* DTX_NATIVE_AHEAD x busy rows of 512 bytes */
    int64_t b_stride;   /* bytes from row to row */
    const char *a;      /* 4 kB */
    const char *from;   /* `carry` rows of DTX_NATIVE_KC values as stored in bf16 (words: twice as many) ... */
    int64_t from_stride;
    float *to;          /* ... packed, stride DTX_NATIVE_LDA; with kc = DTX_NATIVE_KC alone */
    int64_t carry;      /* 0 .. DTX_NATIVE_CARRY x busy */
} dtx_native_ahead;
enum { DTX_NATIVE_AHEAD = 16, DTX_NATIVE_CARRY = 8 };

typedef struct dtx_native dtx_native;
struct dtx_native {
    const char *name;
    int mr, nr; /* rows and columns of the register tile */
    /* C (rows, cols; ldc) = A (rows, kc; stride DTX_NATIVE_LDA) B (kc, nr), 1 <= rows <= mr, 1 <= cols <= nr.
     * bias (nr) or NULL is added; add: C += instead. Each element is one chain of multiply-adds over k from zero. */
    void (*kernel)(int rows, int cols, int64_t kc, const float *a, const float *b, float *c, int64_t ldc,
                   const float *bias, bool add, const dtx_native_ahead *next);
    /* out[c * ldo + r] = src[r * ld + c]; rows are rounded up to 16 with zeros (ldo has room for them). */
    void (*transpose)(dtx_dtype t, const void *src, int64_t ld, int64_t rows, int64_t cols, float *out, int64_t ldo);
    /* Columns in panels of `width`: out[c / width * step + r * ldo + c % width] = src[r * ld + c]. */
    void (*copy)(dtx_dtype t, const void *src, int64_t ld, int64_t rows, int64_t cols, float *out, int64_t ldo,
                 int64_t width, int64_t step);
    /* y[r] = W[r] . x for `rows` whole rows of W (K columns, at any byte); x as dtx_native_arrange leaves it. Vector lanes
     * and their number fix the order of a sum, K and the instruction set alone. */
    void (*vector)(dtx_dtype t, const void *w, int64_t K, int64_t rows, const float *x, float *y);
    /* NULL, or the kernel multiplies words of two bf16 (linear_bf16.c) and these make them, rounding to nearest even; an
     * odd end is filled with zero.
     * pairs: word i of row r, out[r * ldo + i], holds elements 2 i and 2 i + 1 of src[r * ld ..], n of them. */
    void (*pairs)(dtx_dtype t, const void *src, int64_t ld, int64_t rows, int64_t n, float *out, int64_t ldo);
    /* pair_rows: a word holds rows 2 i and 2 i + 1 of one column; columns in panels of nr, `step` words apart. */
    void (*pair_rows)(dtx_dtype t, const void *src, int64_t ld, int64_t rows, int64_t cols, float *out, int64_t step);
    bool carries;       /* the kernel packs for the next call (dtx_native_ahead.carry) */
    int busy;           /* times as much that a call does for later ones */
    /* NULL, or the same with other kernels, for the few calls on a few rows: `busy` does more for later calls, `thin` is
     * half as wide and does so, too. */
    const dtx_native *more, *thin;
};

/* One element of a stored matrix; may stand at any byte of a mapped file. */
static inline float dtx_native_element(dtx_dtype t, const void *src, int64_t i)
{
    uint16_t h;
    float f;

    if (t == DTX_F32) {
        memcpy(&f, (const char *)src + i * 4, 4);
        return f;
    }
    memcpy(&h, (const char *)src + i * 2, 2);
    return t == DTX_BF16 ? dtx_bf16_to_f32(h) : dtx_f16_to_f32(h);
}

/* NULL where the compiler's target or this processor has no such instructions. */
const dtx_native *dtx_native_avx512(void);
const dtx_native *dtx_native_avx2(void);
const dtx_native *dtx_native_portable(void);
/* Products in bf16, which dtx_native_pick does not take by itself. */
const dtx_native *dtx_native_bf16(void);

#endif
