/* linear_openblas.h - OpenBLAS behind the seam: single-threaded calls on tiles of fixed size. */
#ifndef DTX_LINEAR_OPENBLAS_H
#define DTX_LINEAR_OPENBLAS_H

#include "src/algebra/linear.h"

/* "openblas 0.3.21 (SkylakeX), tiles 64x256x512" into out. */
void dtx_openblas_describe(char *out, size_t size);

void dtx_openblas_forward(int threads, const dtx_matrix *w, const float *bias, int64_t M, const float *x, int64_t ldx,
                          float *y, int64_t ldy, bool accumulate);
void dtx_openblas_backward_input(int threads, const dtx_matrix *w, int64_t M, const float *dy, int64_t lddy, float *dx,
                                 int64_t lddx, bool accumulate);
void dtx_openblas_backward_weight(int threads, int64_t N, int64_t K, int64_t M, const float *dy, int64_t lddy,
                                  const float *x, int64_t ldx, float *dw);

#endif
