#include "src/algebra/linear.h"

#include <stdatomic.h>
#include <stdio.h>

#include "src/algebra/linear_native.h"
#include "src/algebra/linear_openblas.h"
#include "src/algebra/linear_pick.h"
#include "src/base/simd.h"

typedef struct {
    dtx_gemm gemm;
    int threads;
    bool bf16;
    char text[224];
} choice;

static choice chosen = {.gemm = DTX_GEMM_NATIVE, .threads = 1};

/* A statistic: decides nothing. */
static _Atomic double flops;

static void describe(choice *c)
{
    const char *plural = c->threads == 1 ? "" : "s";

    if (c->gemm == DTX_GEMM_NATIVE) {
        const dtx_native *f32 = dtx_native_pick(NULL), *isa = c->bf16 ? dtx_native_bf16() : f32;
        snprintf(c->text, sizeof c->text, "native %s, tiles %dx%dx%d, %d thread%s", isa->name, f32->mr, f32->nr, DTX_NATIVE_KC,
                 c->threads, plural);
    } else if (c->gemm == DTX_GEMM_OPENBLAS) {
        char name[160];
        dtx_openblas_describe(name, sizeof name);
        snprintf(c->text, sizeof c->text, "%s, %d thread%s", name, c->threads, plural);
    } else {
        snprintf(c->text, sizeof c->text, "reference, 1 thread");
    }
}

dtx_status dtx_linear_choose(dtx_gemm gemm, bool bf16, int threads)
{
    choice c = {.gemm = gemm == DTX_GEMM_AUTO ? DTX_GEMM_NATIVE : gemm, .threads = threads, .bf16 = bf16};

    if (threads < 1) {
        return DTX_FAIL(DTX_ERR_USAGE, "threads = %d: at least 1 is needed", threads);
    }
    if (bf16 && c.gemm != DTX_GEMM_NATIVE) {
        return DTX_FAIL(DTX_ERR_USAGE, "compute.precision = bf16 needs compute.gemm = native (or auto)");
    }
    if (bf16 && !dtx_linear_has_bf16()) {
        return DTX_FAIL(DTX_ERR_USAGE, "compute.precision = bf16: this processor has no AVX-512 BF16 instructions; use f32");
    }
    describe(&c);
    chosen = c;
    return DTX_OK;
}

bool dtx_linear_is_bf16(void)
{
    return chosen.bf16;
}

const char *dtx_linear_describe(void)
{
    if (chosen.text[0] == '\0') {
        describe(&chosen);
    }
    return chosen.text;
}

dtx_gemm dtx_linear_backend(void)
{
    return chosen.gemm;
}

int dtx_linear_threads(void)
{
    return chosen.threads;
}

int dtx_linear_lanes(void)
{
    return dtx_native_pick(NULL)->nr / 2;
}

bool dtx_linear_has_bf16(void)
{
    return dtx_native_bf16() != NULL;
}

/* What multiplies rows with w. */
static const dtx_native *engine(const dtx_matrix *w)
{
    const bool rounds = chosen.bf16 && (w->dtype == DTX_F16 || w->dtype == DTX_BF16) && w->order == NULL;

    return rounds ? dtx_native_bf16() : dtx_native_pick(NULL);
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
    switch (chosen.gemm) {
    case DTX_GEMM_REFERENCE:
        dtx_linear_forward_ref(w, bias, M, x, ldx, y, ldy, accumulate);
        break;
    case DTX_GEMM_OPENBLAS:
        dtx_openblas_forward(chosen.threads, w, bias, M, x, ldx, y, ldy, accumulate);
        break;
    default:
        dtx_native_forward(engine(w), chosen.threads, w, bias, M, x, ldx, y, ldy, accumulate);
    }
}

void dtx_linear_vector(const dtx_matrix *w, const float *bias, const float *x, float *y, bool accumulate)
{
    if (chosen.gemm == DTX_GEMM_REFERENCE) {
        dtx_linear_forward(w, bias, 1, x, w->n_in, y, w->n_out, accumulate);
        return;
    }
    count(1, w->n_out, w->n_in);
    dtx_native_vector(dtx_native_pick(NULL), chosen.threads, w, bias, x, y, accumulate);
}

void dtx_linear_backward_input(const dtx_matrix *w, int64_t M, const float *dy, int64_t lddy, float *dx, int64_t lddx,
                               bool accumulate)
{
    if (M <= 0) {
        return;
    }
    count(M, w->n_out, w->n_in);
    switch (chosen.gemm) {
    case DTX_GEMM_REFERENCE:
        dtx_linear_backward_input_ref(w, M, dy, lddy, dx, lddx, accumulate);
        break;
    case DTX_GEMM_OPENBLAS:
        dtx_openblas_backward_input(chosen.threads, w, M, dy, lddy, dx, lddx, accumulate);
        break;
    default:
        dtx_native_backward_input(engine(w), chosen.threads, w, M, dy, lddy, dx, lddx, accumulate);
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
    if (chosen.gemm == DTX_GEMM_REFERENCE) {
        dtx_linear_backward_weight_ref(N, K, M, dy, lddy, x, ldx, dw, db);
        return;
    }
    if (chosen.gemm == DTX_GEMM_OPENBLAS) {
        dtx_openblas_backward_weight(chosen.threads, N, K, M, dy, lddy, x, ldx, dw);
    } else {
        dtx_native_backward_weight(dtx_native_pick(NULL), chosen.threads, N, K, M, dy, lddy, x, ldx, dw);
    }
    for (int64_t n = 0; db != NULL && n < N; n += BIAS_COLS) {
        bias_gradient(N - n < BIAS_COLS ? N - n : BIAS_COLS, M, dy + n, lddy, db + n);
    }
}

void dtx_linear_product(int64_t M, int64_t N, int64_t K, const float *a, int64_t lda, bool a_turned, const float *b, int64_t ldb,
                        bool b_turned, float *c, int64_t ldc, bool accumulate)
{
    dtx_native_product(dtx_native_pick(NULL), M, N, K, a, lda, a_turned, b, ldb, b_turned, c, ldc, accumulate);
}
