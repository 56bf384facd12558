/* linear.h - the one seam for dense algebra. Rows x weights, weights f32, f16, bf16 or quantised as stored (they widen
 * tile by tile, never as a whole). Each element is a sum over k in an order that the matrix's shape alone fixes, so a
 * row's bits depend neither on how many rows there are, nor on its place among them, nor on the number of threads.
 * Back ends stand behind this header, never at call sites.
 *
 * Letters: M rows, N = n_out, K = n_in; W is (N, K) row-major. Row-major everywhere, leading dimensions in elements. */
#ifndef DTX_LINEAR_H
#define DTX_LINEAR_H

#include <stdbool.h>
#include <stdint.h>

#include "src/base/dtype.h"
#include "src/base/status.h"

typedef struct {
    const void *w;      /* (n_out, n_in) row-major, borrowed; NULL = no matrix */
    dtx_dtype dtype;    /* DTX_F32, DTX_F16, DTX_BF16, or quantised: n_in is a whole number of blocks */
    int64_t n_out, n_in;
    const int32_t *order; /* NULL, or (n_out), borrowed: row r of the matrix is stored as row order[r] */
} dtx_matrix;

/* Where column `col` of row `row` is stored; of a quantised matrix it must begin a block. */
static inline const void *dtx_matrix_at(const dtx_matrix *w, int64_t row, int64_t col)
{
    const int64_t stored = w->order != NULL ? w->order[row] : row;

    return (const char *)w->w + stored * dtx_dtype_bytes(w->dtype, w->n_in) + dtx_dtype_bytes(w->dtype, col);
}

typedef enum { DTX_GEMM_AUTO, DTX_GEMM_REFERENCE, DTX_GEMM_OPENBLAS, DTX_GEMM_NATIVE } dtx_gemm;

/* How this process computes is chosen once, by the job, before its first product, and then stays: the choice is a value that
 * linear.c keeps and that everything behind this header gets passed. Without a call: NATIVE in f32, one thread. Tests may
 * choose again between products; never during one.
 * AUTO takes the fastest back end, NATIVE (our own register tiles, linear_native.c). bf16 (compute.precision): products with
 * weights stored in 16 bits round both sides to bf16 (nearest even) and sum in f32; f32 weights (adapters too), quantised
 * and reordered ones, one-row decoding, gradients of weights and attention keep f32. threads >= 1.
 * DTX_ERR_USAGE with the reason, and the choice as it was, where the back end or the processor cannot. */
dtx_status dtx_linear_choose(dtx_gemm gemm, bool bf16, int threads);
/* The same in f32. */
static inline dtx_status dtx_linear_setup(dtx_gemm gemm, int threads)
{
    return dtx_linear_choose(gemm, false, threads);
}
bool dtx_linear_is_bf16(void);
/* "native avx512, tiles 14x32x256, 2 threads": for log and provenance. Lasts until the next choice. */
const char *dtx_linear_describe(void);
dtx_gemm dtx_linear_backend(void);
int dtx_linear_threads(void);
/* What this processor has, whatever was chosen: floats of a vector of the native back end, products in bf16. */
int dtx_linear_lanes(void);
bool dtx_linear_has_bf16(void);

/* y (M, N; leading dimension ldy) = x (M, K; ldx) W^T + bias (N, may be NULL); accumulate: y += instead.
 * x and y must not overlap. M may be 0. */
void dtx_linear_forward(const dtx_matrix *w, const float *bias, int64_t M, const float *x, int64_t ldx, float *y,
                        int64_t ldy, bool accumulate);
/* The same for one row, y (N) and x (K): faster (as fast as W is read), with other last bits. Single-stream decoding takes
 * it for all rows or for none. */
void dtx_linear_vector(const dtx_matrix *w, const float *bias, const float *x, float *y, bool accumulate);
/* dx (M, K; lddx) = dy (M, N; lddy) W; accumulate: dx += instead. The transposed use. */
void dtx_linear_backward_input(const dtx_matrix *w, int64_t M, const float *dy, int64_t lddy, float *dx, int64_t lddx,
                               bool accumulate);
/* dw (N, K) += dy^T x over M rows; db (N) += column sums of dy when db != NULL. The order of the sum over rows is
 * fixed by M. */
void dtx_linear_backward_weight(int64_t N, int64_t K, int64_t M, const float *dy, int64_t lddy, const float *x,
                                int64_t ldx, float *dw, float *db);

/* C (M, N; ldc) = A B, or += with accumulate, in f32 on the calling thread alone, on the native register tiles whatever was
 * chosen: for the many small products of attention. A[i][k] stands at a[i * lda + k], or at a[k * lda + i] when turned;
 * B[k][j] at b[k * ldb + j], or at b[j * ldb + k]. An element is the sum over blocks of 256 k, in order. */
void dtx_linear_product(int64_t M, int64_t N, int64_t K, const float *a, int64_t lda, bool a_turned, const float *b, int64_t ldb,
                        bool b_turned, float *c, int64_t ldc, bool accumulate);

/* Plain loops in double accumulation, for tests and as compute.gemm = reference. Same arguments. */
void dtx_linear_forward_ref(const dtx_matrix *w, const float *bias, int64_t M, const float *x, int64_t ldx, float *y,
                            int64_t ldy, bool accumulate);
void dtx_linear_backward_input_ref(const dtx_matrix *w, int64_t M, const float *dy, int64_t lddy, float *dx,
                                   int64_t lddx, bool accumulate);
void dtx_linear_backward_weight_ref(int64_t N, int64_t K, int64_t M, const float *dy, int64_t lddy, const float *x,
                                    int64_t ldx, float *dw, float *db);

/* Floating-point operations issued through this seam by this process so far (2 per multiply-add). */
double dtx_linear_flops(void);

#endif
