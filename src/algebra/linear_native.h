/* linear_native.h - the products of linear.h on register tiles of an instruction set (linear_tile.h). */
#ifndef DTX_LINEAR_NATIVE_H
#define DTX_LINEAR_NATIVE_H

#include "src/algebra/linear.h"
#include "src/algebra/linear_tile.h"

/* C (M, N; ldc) = A B, or += with accumulate, on the calling thread alone. A[i][k] stands at a[i * lda + k], or at
 * a[k * lda + i] when turned; B[k][j] at b[k * ldb + j], or at b[j * ldb + k]. For the small products of attention. */
void dtx_native_product(const dtx_native *isa, int64_t M, int64_t N, int64_t K, const float *a, int64_t lda,
                        bool a_turned, const float *b, int64_t ldb, bool b_turned, float *c, int64_t ldc,
                        bool accumulate);

/* x (K) in the order in which the instruction set's `vector` meets W: in whole blocks of 2 lanes, bf16 pairs are split
 * into even and odd elements. */
void dtx_native_arrange(const dtx_native *isa, dtx_dtype t, int64_t K, const float *x, float *out);
/* The products of linear.h. dtx_native_vector needs K floats of scratch. */
void dtx_native_vector(const dtx_native *isa, int threads, const dtx_matrix *w, const float *bias, const float *x, float *y,
                       bool accumulate);
void dtx_native_forward(const dtx_native *isa, int threads, const dtx_matrix *w, const float *bias, int64_t M,
                        const float *x, int64_t ldx, float *y, int64_t ldy, bool accumulate);
void dtx_native_backward_input(const dtx_native *isa, int threads, const dtx_matrix *w, int64_t M, const float *dy,
                               int64_t lddy, float *dx, int64_t lddx, bool accumulate);
void dtx_native_backward_weight(const dtx_native *isa, int threads, int64_t N, int64_t K, int64_t M, const float *dy,
                                int64_t lddy, const float *x, int64_t ldx, float *dw);

#endif
