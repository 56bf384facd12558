#include "src/algebra/linear.h"

#include <stdatomic.h>
#include <stdio.h>

#include "src/algebra/linear_native.h"
#include "src/algebra/linear_openblas.h"
#include "src/base/simd.h"

static struct {
    dtx_gemm gemm;
    int threads;
    const dtx_native *native, *bf16; /* bf16 NULL = all in f32 */
    char text[224];
} state = {.gemm = DTX_GEMM_NATIVE, .threads = 1};

static _Atomic double flops;

static const dtx_native *native(void)
{
    if (state.native == NULL) {
        state.native = dtx_native_pick(NULL);
    }
    return state.native;
}

dtx_status dtx_linear_setup(dtx_gemm gemm, int threads)
{
    if (threads < 1) {
        return DTX_FAIL(DTX_ERR_USAGE, "threads = %d: at least 1 is needed", threads);
    }
    state.gemm = gemm == DTX_GEMM_AUTO ? DTX_GEMM_NATIVE : gemm;
    state.threads = threads;
    state.bf16 = NULL;
    dtx_openblas_setup();
    return DTX_OK;
}

dtx_status dtx_linear_set_bf16(void)
{
    if (state.gemm != DTX_GEMM_NATIVE) {
        return DTX_FAIL(DTX_ERR_USAGE, "compute.precision = bf16 needs compute.gemm = native (or auto)");
    }
    state.bf16 = dtx_native_bf16();
    if (state.bf16 == NULL) {
        return DTX_FAIL(DTX_ERR_USAGE, "compute.precision = bf16: this processor has no AVX-512 BF16 instructions; use f32");
    }
    return DTX_OK;
}

bool dtx_linear_is_bf16(void)
{
    return state.bf16 != NULL;
}

/* What multiplies rows with w. */
static const dtx_native *engine(const dtx_matrix *w)
{
    return state.bf16 != NULL && w->dtype != DTX_F32 ? state.bf16 : native();
}

const char *dtx_linear_describe(void)
{
    const char *plural = state.threads == 1 ? "" : "s";

    if (state.gemm == DTX_GEMM_NATIVE) {
        snprintf(state.text, sizeof state.text, "native %s, tiles %dx%dx%d, %d thread%s",
                 state.bf16 != NULL ? state.bf16->name : native()->name, native()->mr,
                 native()->nr, DTX_NATIVE_KC, state.threads, plural);
    } else if (state.gemm == DTX_GEMM_OPENBLAS) {
        snprintf(state.text, sizeof state.text, "%s, %d thread%s", dtx_openblas_describe(), state.threads, plural);
    } else {
        snprintf(state.text, sizeof state.text, "reference, 1 thread");
    }
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
    double had = atomic_load_explicit(&flops, memory_order_relaxed), add = 2.0 * (double)M * (double)N * (double)K;

    while (!atomic_compare_exchange_weak(&flops, &had, had + add)) {
    }
}

double dtx_linear_flops(void)
{
    return atomic_load(&flops);
}

void dtx_linear_forward(const dtx_matrix *w, const float *bias, int64_t M, const float *x, int64_t ldx, float *y,
                        int64_t ldy, bool accumulate)
{
    if (M <= 0) {
        return;
    }
    count(M, w->n_out, w->n_in);
    switch (state.gemm) {
    case DTX_GEMM_REFERENCE:
        dtx_linear_forward_ref(w, bias, M, x, ldx, y, ldy, accumulate);
        break;
    case DTX_GEMM_OPENBLAS:
        dtx_openblas_forward(state.threads, w, bias, M, x, ldx, y, ldy, accumulate);
        break;
    default:
        dtx_native_forward(engine(w), state.threads, w, bias, M, x, ldx, y, ldy, accumulate);
    }
}

void dtx_linear_vector(const dtx_matrix *w, const float *bias, const float *x, float *y, bool accumulate)
{
    if (state.gemm == DTX_GEMM_REFERENCE) {
        dtx_linear_forward(w, bias, 1, x, w->n_in, y, w->n_out, accumulate);
        return;
    }
    count(1, w->n_out, w->n_in);
    dtx_native_vector(native(), state.threads, w, bias, x, y, accumulate);
}

void dtx_linear_backward_input(const dtx_matrix *w, int64_t M, const float *dy, int64_t lddy, float *dx, int64_t lddx,
                               bool accumulate)
{
    if (M <= 0) {
        return;
    }
    count(M, w->n_out, w->n_in);
    switch (state.gemm) {
    case DTX_GEMM_REFERENCE:
        dtx_linear_backward_input_ref(w, M, dy, lddy, dx, lddx, accumulate);
        break;
    case DTX_GEMM_OPENBLAS:
        dtx_openblas_backward_input(state.threads, w, M, dy, lddy, dx, lddx, accumulate);
        break;
    default:
        dtx_native_backward_input(engine(w), state.threads, w, M, dy, lddy, dx, lddx, accumulate);
    }
}

enum { BIAS_COLS = 256 };

/* Column sums of dy, row after row, in double. */
DTX_CLONES
static void bias_gradient(int64_t cols, int64_t M, const float *dy, int64_t lddy, float *db)
{
    double sum[BIAS_COLS] = {0};

    for (int64_t m = 0; m < M; m++) {
        for (int64_t j = 0; j < cols; j++) {
            sum[j] += dy[m * lddy + j];
        }
    }
    for (int64_t j = 0; j < cols; j++) {
        db[j] += (float)sum[j];
    }
}

void dtx_linear_backward_weight(int64_t N, int64_t K, int64_t M, const float *dy, int64_t lddy, const float *x,
                                int64_t ldx, float *dw, float *db)
{
    if (M <= 0) {
        return;
    }
    count(M, N, K);
    if (state.gemm == DTX_GEMM_REFERENCE) {
        dtx_linear_backward_weight_ref(N, K, M, dy, lddy, x, ldx, dw, db);
        return;
    }
    if (state.gemm == DTX_GEMM_OPENBLAS) {
        dtx_openblas_backward_weight(state.threads, N, K, M, dy, lddy, x, ldx, dw);
    } else {
        dtx_native_backward_weight(native(), state.threads, N, K, M, dy, lddy, x, ldx, dw);
    }
    for (int64_t n = 0; db != NULL && n < N; n += BIAS_COLS) {
        bias_gradient(N - n < BIAS_COLS ? N - n : BIAS_COLS, M, dy + n, lddy, db + n);
    }
}
