/* linear_micro.h - the register tile, written once with GCC's vector types. A file that includes it defines first
 *   VW   floats of a vector          MR   rows of the tile          (its width is always two vectors)
 *   FMA(acc, x, y)   acc += x y   SPREAD(f)   all lanes f    WIDEN_F16(p)   VW halves at p as floats
 *   CARRY(to, from)   where it packs for the next call: 32 floats (words) from what is stored in bf16; busy and thin
 *                     kernels are then made, too
 *   TILE_ONLY   where only the tile is wanted
 * and selects the instruction set by `#pragma GCC target`. No guard: one inclusion per instruction set. */
#include "src/algebra/linear_tile.h"
#include "src/base/simd.h"

typedef float vec __attribute__((vector_size(VW * 4), may_alias));
typedef float vec_u __attribute__((vector_size(VW * 4), aligned(4), may_alias));

enum { NR = 2 * VW, LDA = DTX_NATIVE_LDA };

/* One k of the sums. */
#define STEP(at)                                                                              \
    do {                                                                                      \
        vec b0 = *(const vec *)(b + (at) * nr), b1 = b0;                                      \
        if (vecs == 2) {                                                                      \
            b1 = *(const vec *)(b + (at) * nr + VW);                                          \
        }                                                                                     \
        _Pragma("GCC unroll 16") for (int i = 0; i < rows; i++)                               \
        {                                                                                     \
            vec ai = SPREAD(a[i * LDA + (at)]);                                               \
            FMA(acc[i][0], ai, b0);                                                           \
            if (vecs == 2) {                                                                  \
                FMA(acc[i][1], ai, b1);                                                       \
            }                                                                                 \
        }                                                                                     \
    } while (0)

/* `rows`, `vecs` (of columns) and `busy` (times as much for later calls) are constants at each call below, so that the
 * accumulators stay in registers. */
DTX_INLINE void tile(const int rows, const int vecs, const int busy, int cols, int64_t kc, const float *a, const float *b,
                     float *c, int64_t ldc, const float *bias, bool add, const dtx_native_ahead *next)
{
    const int nr = vecs * VW;
    const char *next_a = next->a, *next_b = next->b;
    int64_t stride = next->b_stride, k = 0;
#ifdef CARRY
    enum { CARRY_BYTES = sizeof(carried) };
    const char *from = next->from;
    float *to = next->to;
    int64_t from_stride = next->from_stride, carry = next->carry;
#endif
    vec acc[MR][2];
    float edge[MR * NR] __attribute__((aligned(64)));
    float *out = c;
    int64_t ld = ldc;

#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
        acc[i][0] = acc[i][1] = (vec){0};
        __builtin_prefetch(c + i * ldc, 1);
        __builtin_prefetch(c + i * ldc + cols - 1, 1);
    }
    for (; k + 4 <= kc; k += 4) {
#pragma GCC unroll 2
        for (int u = 0; u < busy; u++) {
            const int64_t at = k / 4 * busy + u; /* of 4 parts in a row of what is asked for, of 8 in one that is packed */
            __builtin_prefetch(next_b + (at >> 2) * stride + (at & 3) * 128, 0, 2);
            __builtin_prefetch(next_b + (at >> 2) * stride + (at & 3) * 128 + 64, 0, 2);
#ifdef CARRY
            if (at >> 3 < carry) {
                CARRY(to + (at >> 3) * LDA + (at & 7) * 32, from + (at >> 3) * from_stride + (at & 7) * CARRY_BYTES);
            }
#endif
        }
        __builtin_prefetch(next_a + k * 16, 0, 2);
#pragma GCC unroll 4
        for (int u = 0; u < 4; u++) {
            STEP(k + u);
        }
    }
    for (; k < kc; k++) {
        STEP(k);
    }
#undef STEP
    if (cols < nr) { /* the last columns pass through a full tile */
        out = edge;
        ld = nr;
        for (int i = 0; add && i < rows; i++) {
            for (int j = 0; j < nr; j++) {
                edge[i * nr + j] = j < cols ? c[i * ldc + j] : 0.0f;
            }
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
#pragma GCC unroll 2
        for (int v = 0; v < vecs; v++) {
            if (bias != NULL) {
                acc[i][v] += *(const vec_u *)(bias + v * VW);
            }
            if (add) {
                acc[i][v] += *(const vec_u *)(out + i * ld + v * VW);
            }
            *(vec_u *)(out + i * ld + v * VW) = acc[i][v];
        }
    }
    if (cols < nr) {
        for (int i = 0; i < rows; i++) {
            for (int j = 0; j < cols; j++) {
                c[i * ldc + j] = edge[i * nr + j];
            }
        }
    }
}

#define ROWS(n)                                                         \
    case n:                                                             \
        tile(n, vecs, busy, cols, kc, a, b, c, ldc, bias, add, next);   \
        break

DTX_INLINE void kernel_of(const int vecs, const int busy, int rows, int cols, int64_t kc, const float *a, const float *b,
                          float *c, int64_t ldc, const float *bias, bool add, const dtx_native_ahead *next)
{
    switch (rows) {
        ROWS(1);
        ROWS(2);
        ROWS(3);
        ROWS(4);
#if MR > 4
        ROWS(5);
        ROWS(6);
#endif
#if MR > 6
        ROWS(7);
        ROWS(8);
        ROWS(9);
        ROWS(10);
        ROWS(11);
        ROWS(12);
        ROWS(13);
        ROWS(14);
#endif
    default:
        break;
    }
}
#undef ROWS

#define KERNEL(name, vecs, busy)                                                                             \
    static void name(int rows, int cols, int64_t kc, const float *a, const float *b, float *c, int64_t ldc,  \
                     const float *bias, bool add, const dtx_native_ahead *next)                              \
    {                                                                                                        \
        kernel_of(vecs, busy, rows, cols, kc, a, b, c, ldc, bias, add, next);                                \
    }
KERNEL(kernel, 2, 1)
#ifdef CARRY
KERNEL(busy_kernel, 2, 2)
KERNEL(thin_kernel, 1, 2)
#endif
#undef KERNEL

#ifndef TILE_ONLY
/* --- one row of x (linear_vector.c) --- */

typedef uint32_t uvec_u __attribute__((vector_size(VW * 4), aligned(1), may_alias));
typedef float vec_1 __attribute__((vector_size(VW * 4), aligned(1), may_alias));

/* Bytes asked for ahead. Rows lie one after the other, so it runs on into the next ones; several rows at once would share
 * loads of x, but measured slower than this one stream. */
enum { VECTOR_AHEAD = 3072 };

/* 2 VW elements at w, as they meet an arranged x. */
DTX_INLINE void load_pair(dtx_dtype t, const char *w, vec *low, vec *high)
{
    if (t == DTX_BF16) { /* one load: even elements by a shift, odd ones by a mask */
        uvec_u v = *(const uvec_u *)w;
        *low = (vec)(v << 16);
        *high = (vec)(v & 0xFFFF0000u);
    } else if (t == DTX_F16) {
        *low = WIDEN_F16(w);
        *high = WIDEN_F16(w + 2 * VW);
    } else {
        *low = *(const vec_1 *)w;
        *high = *(const vec_1 *)(w + 4 * VW);
    }
}

DTX_INLINE void vector_rows(dtx_dtype t, const int64_t size, const char *w, int64_t K, int64_t rows, const float *x, float *y)
{
    for (int64_t r = 0; r < rows; r++, w += K * size) {
        vec low = {0}, high = {0};
        float sum = 0.0f;
        int64_t k = 0;
        for (; k + 2 * VW <= K; k += 2 * VW) {
            vec a, b;
            for (int64_t line = 0; line < 2 * VW * size; line += 64) {
                __builtin_prefetch(w + k * size + VECTOR_AHEAD + line);
            }
            load_pair(t, w + k * size, &a, &b);
            low += a * *(const vec_u *)(x + k);
            high += b * *(const vec_u *)(x + k + VW);
        }
        low += high;
        for (int l = 0; l < VW; l++) {
            sum += low[l];
        }
        for (; k < K; k++) {
            sum += dtx_native_element(t, w, k) * x[k];
        }
        y[r] = sum;
    }
}

static void vector(dtx_dtype t, const void *w, int64_t K, int64_t rows, const float *x, float *y)
{
    if (t == DTX_F32) {
        vector_rows(DTX_F32, 4, w, K, rows, x, y);
    } else if (t == DTX_BF16) {
        vector_rows(DTX_BF16, 2, w, K, rows, x, y);
    } else {
        vector_rows(DTX_F16, 2, w, K, rows, x, y);
    }
}
#endif
