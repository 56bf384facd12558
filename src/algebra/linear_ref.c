/* linear_ref.c - plain loops in double: what the other back ends are compared with. */
#include "src/algebra/linear.h"
#include "src/algebra/quant.h"

/* Elements of a matrix, a block of values at a time. */
typedef struct {
    const dtx_matrix *w;
    int64_t row, first; /* of what is in `x`; row -1 = nothing */
    float x[DTX_MAX_BLOCK];
} elements;

static double weight(elements *e, int64_t row, int64_t col)
{
    const int64_t block = dtx_dtype_block(e->w->dtype), first = col / block * block;

    if (e->row != row || e->first != first) {
        dtx_quant_widen(e->w->dtype, dtx_matrix_at(e->w, row, first), block, e->x);
        e->row = row;
        e->first = first;
    }
    return e->x[col - first];
}

void dtx_linear_forward_ref(const dtx_matrix *w, const float *bias, int64_t M, const float *x, int64_t ldx, float *y,
                            int64_t ldy, bool accumulate)
{
    elements e = {.w = w, .row = -1};

    for (int64_t m = 0; m < M; m++) {
        for (int64_t n = 0; n < w->n_out; n++) {
            double sum = bias != NULL ? bias[n] : 0.0;
            for (int64_t k = 0; k < w->n_in; k++) {
                sum += (double)x[m * ldx + k] * weight(&e, n, k);
            }
            y[m * ldy + n] = (float)(accumulate ? y[m * ldy + n] + sum : sum);
        }
    }
}

void dtx_linear_backward_input_ref(const dtx_matrix *w, int64_t M, const float *dy, int64_t lddy, float *dx,
                                   int64_t lddx, bool accumulate)
{
    elements e = {.w = w, .row = -1};

    for (int64_t m = 0; m < M; m++) {
        for (int64_t k = 0; k < w->n_in; k++) {
            double sum = 0.0;
            for (int64_t n = 0; n < w->n_out; n++) {
                sum += (double)dy[m * lddy + n] * weight(&e, n, k);
            }
            dx[m * lddx + k] = (float)(accumulate ? dx[m * lddx + k] + sum : sum);
        }
    }
}

void dtx_linear_backward_weight_ref(int64_t N, int64_t K, int64_t M, const float *dy, int64_t lddy, const float *x,
                                    int64_t ldx, float *dw, float *db)
{
    for (int64_t n = 0; n < N; n++) {
        for (int64_t k = 0; k < K; k++) {
            double sum = 0.0;
            for (int64_t m = 0; m < M; m++) {
                sum += (double)dy[m * lddy + n] * x[m * ldx + k];
            }
            dw[n * K + k] = (float)(dw[n * K + k] + sum);
        }
        if (db != NULL) {
            double sum = 0.0;
            for (int64_t m = 0; m < M; m++) {
                sum += dy[m * lddy + n];
            }
            db[n] = (float)(db[n] + sum);
        }
    }
}
