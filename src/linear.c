#include "src/linear.h"

#include <cblas.h>
#include <stdatomic.h>
#include <stdio.h>

extern void openblas_set_num_threads(int n);

static struct {
    dtx_gemm gemm;
    int threads;
    char text[160];
} state = {DTX_GEMM_REFERENCE, 1, "reference"};

static _Atomic double flops;

dtx_status dtx_linear_setup(dtx_gemm gemm, int threads)
{
    state.gemm = gemm == DTX_GEMM_AUTO ? DTX_GEMM_REFERENCE : gemm;
    state.threads = threads;
    openblas_set_num_threads(1);
    snprintf(state.text, sizeof state.text, "reference, %d threads", threads);
    return DTX_OK;
}

const char *dtx_linear_describe(void)
{
    return state.text;
}

dtx_gemm dtx_linear_backend(void)
{
    return state.gemm;
}

int dtx_linear_threads(void)
{
    return state.threads;
}

static void count(int64_t M, int64_t N, int64_t K)
{
    atomic_store(&flops, atomic_load(&flops) + 2.0 * (double)M * (double)N * (double)K);
}

double dtx_linear_flops(void)
{
    return atomic_load(&flops);
}

void dtx_linear_forward(const dtx_matrix *w, const float *bias, int64_t M, const float *x, int64_t ldx, float *y,
                        int64_t ldy, bool accumulate)
{
    count(M, w->n_out, w->n_in);
    dtx_linear_forward_ref(w, bias, M, x, ldx, y, ldy, accumulate);
}

void dtx_linear_backward_input(const dtx_matrix *w, int64_t M, const float *dy, int64_t lddy, float *dx, int64_t lddx,
                               bool accumulate)
{
    count(M, w->n_out, w->n_in);
    dtx_linear_backward_input_ref(w, M, dy, lddy, dx, lddx, accumulate);
}

void dtx_linear_backward_weight(int64_t N, int64_t K, int64_t M, const float *dy, int64_t lddy, const float *x,
                                int64_t ldx, float *dw, float *db)
{
    count(M, N, K);
    dtx_linear_backward_weight_ref(N, K, M, dy, lddy, x, ldx, dw, db);
}
