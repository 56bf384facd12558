/* linear.h - the one seam for dense algebra. Rows x weights, weights f32, f16 or bf16 as stored (16-bit weights widen
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
    dtx_dtype dtype;    /* DTX_F32, DTX_F16, DTX_BF16 */
    int64_t n_out, n_in;
} dtx_matrix;

typedef enum { DTX_GEMM_AUTO, DTX_GEMM_REFERENCE, DTX_GEMM_OPENBLAS, DTX_GEMM_NATIVE } dtx_gemm;

/* Chooses the back end and the number of threads for this process (>= 1). AUTO takes the fastest one, NATIVE (our own
 * register tiles, see linear_native.c).
 * Also sets OpenBLAS to one thread per call. DTX_ERR_USAGE when the machine does not have it. Call once at start;
 * without a call: AUTO, one thread. */
dtx_status dtx_linear_setup(dtx_gemm gemm, int threads);
/* compute.precision = bf16: products with weights stored in 16 bits round both sides to bf16 (nearest even) and sum in f32;
 * f32 weights (adapters too), one-row decoding, gradients of weights and attention keep f32. DTX_ERR_USAGE with the reason
 * where the back end or the processor cannot. After dtx_linear_setup, which goes back to f32. */
dtx_status dtx_linear_set_bf16(void);
bool dtx_linear_is_bf16(void);
/* "native avx512, tiles 14x32x256, 2 threads": for log and provenance. Static storage. */
const char *dtx_linear_describe(void);
dtx_gemm dtx_linear_backend(void);
int dtx_linear_threads(void);

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
