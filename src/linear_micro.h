/* linear_micro.h - the register tile, written once with GCC's vector types. A file that includes it defines first
 *   VW   floats of a vector          MR   rows of the tile          (its width is always two vectors)
 * and selects the instruction set by `#pragma GCC target`. No guard: one inclusion per instruction set. */
#include "src/linear_native.h"
#include "src/simd.h"

typedef float vec __attribute__((vector_size(VW * 4), may_alias));
typedef float vec_u __attribute__((vector_size(VW * 4), aligned(4), may_alias));

enum { NR = 2 * VW, LDA = DTX_NATIVE_LDA };

/* `rows` is a constant at each call below, so that the accumulators stay in registers. */
DTX_INLINE void tile(const int rows, int cols, int64_t kc, const float *a, const float *b, float *c, int64_t ldc,
                     const float *bias, bool add)
{
    vec acc[MR][2];
    float edge[MR * NR] __attribute__((aligned(64)));
    float *out = c;
    int64_t ld = ldc;

#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
        acc[i][0] = acc[i][1] = (vec){0};
    }
#pragma GCC unroll 4
    for (int64_t k = 0; k < kc; k++) {
        vec b0 = *(const vec *)(b + k * NR), b1 = *(const vec *)(b + k * NR + VW);
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            acc[i][0] += a[i * LDA + k] * b0;
            acc[i][1] += a[i * LDA + k] * b1;
        }
    }
    if (cols < NR) { /* the last columns pass through a full tile */
        out = edge;
        ld = NR;
        for (int i = 0; add && i < rows; i++) {
            for (int j = 0; j < cols; j++) {
                edge[i * NR + j] = c[i * ldc + j];
            }
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
        if (bias != NULL) {
            acc[i][0] += *(const vec_u *)bias;
            acc[i][1] += *(const vec_u *)(bias + VW);
        }
        if (add) {
            acc[i][0] += *(const vec_u *)(out + i * ld);
            acc[i][1] += *(const vec_u *)(out + i * ld + VW);
        }
        *(vec_u *)(out + i * ld) = acc[i][0];
        *(vec_u *)(out + i * ld + VW) = acc[i][1];
    }
    if (cols < NR) {
        for (int i = 0; i < rows; i++) {
            for (int j = 0; j < cols; j++) {
                c[i * ldc + j] = edge[i * NR + j];
            }
        }
    }
}

#define ROWS(n)                                             \
    case n:                                                 \
        tile(n, cols, kc, a, b, c, ldc, bias, add);         \
        break

static void kernel(int rows, int cols, int64_t kc, const float *a, const float *b, float *c, int64_t ldc,
                   const float *bias, bool add)
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
