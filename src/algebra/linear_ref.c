/* linear_ref.c - plain loops in double: what the other back ends are compared with. */
#include "src/algebra/linear.h"

/* Element i, which may stand at any byte of a mapped file. */
static inline double weight(const dtx_matrix *w, int64_t i)
{
    uint16_t h;
    float f;

    if (w->dtype == DTX_F32) {
        memcpy(&f, (const char *)w->w + i * 4, 4);
        return f;
    }
    memcpy(&h, (const char *)w->w + i * 2, 2);
    return w->dtype == DTX_BF16 ? dtx_bf16_to_f32(h) : dtx_f16_to_f32(h);
}

void dtx_linear_forward_ref(const dtx_matrix *w, const float *bias, int64_t M, const float *x, int64_t ldx, float *y,
                            int64_t ldy, bool accumulate)
{
    for (int64_t m = 0; m < M; m++) {
        for (int64_t n = 0; n < w->n_out; n++) {
            double sum = bias != NULL ? bias[n] : 0.0;
            for (int64_t k = 0; k < w->n_in; k++) {
                sum += (double)x[m * ldx + k] * weight(w, n * w->n_in + k);
            }
            y[m * ldy + n] = (float)(accumulate ? y[m * ldy + n] + sum : sum);
        }
    }
}

void dtx_linear_backward_input_ref(const dtx_matrix *w, int64_t M, const float *dy, int64_t lddy, float *dx,
                                   int64_t lddx, bool accumulate)
{
    for (int64_t m = 0; m < M; m++) {
        for (int64_t k = 0; k < w->n_in; k++) {
            double sum = 0.0;
            for (int64_t n = 0; n < w->n_out; n++) {
                sum += (double)dy[m * lddy + n] * weight(w, n * w->n_in + k);
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
