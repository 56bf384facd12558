#include "src/algebra/kernel.h"

#include <math.h>
#include <string.h>

#include "src/algebra/linear.h"
#include "src/algebra/quant.h"
#include "src/algebra/vmath.h"

/* Rows are shared among threads from this many elements on: waking threads costs some microseconds. */
enum { SHARED_WORK = 32768 };

static int threads_for(int64_t work)
{
    return work >= SHARED_WORK ? dtx_linear_threads() : 1;
}

void dtx_embed(const void *table, dtx_dtype dtype, int64_t d, int64_t R, const int32_t *ids, float *y)
{
    const int64_t bytes = dtx_dtype_bytes(dtype, d);

    for (int64_t r = 0; r < R; r++) {
        dtx_quant_widen(dtype, (const char *)table + ids[r] * bytes, d, y + r * d);
    }
}

/* --- LayerNorm --- */

DTX_INLINE double lanes_sum(const dtx_v16 *v)
{
    double sum = 0.0;

    for (int l = 0; l < 16; l++) {
        sum += (double)(*v)[l];
    }
    return sum;
}

DTX_CLONES
static void norm_row(int64_t d, const float *x, const float *w, const float *b, float eps, float *y, float *mean,
                     float *rstd)
{
    dtx_v16 lanes = {0};
    int64_t i = 0;

    for (; i + 16 <= d; i += 16) {
        lanes += *(const dtx_v16 *)(x + i);
    }
    double sum = lanes_sum(&lanes);
    for (; i < d; i++) {
        sum += x[i];
    }
    float m = (float)(sum / (double)d);
    lanes = (dtx_v16){0};
    for (i = 0; i + 16 <= d; i += 16) {
        dtx_v16 c = *(const dtx_v16 *)(x + i) - m;
        lanes += c * c;
    }
    sum = lanes_sum(&lanes);
    for (; i < d; i++) {
        sum += ((double)x[i] - m) * ((double)x[i] - m);
    }
    float s = (float)(1.0 / sqrt(sum / (double)d + (double)eps));
    for (i = 0; i < d; i++) {
        y[i] = (x[i] - m) * s * w[i] + b[i];
    }
    *mean = m;
    *rstd = s;
}

void dtx_norm_forward(int64_t R, int64_t d, const float *x, const float *w, const float *b, float eps, float *y,
                      float *mean, float *rstd)
{
    int threads = threads_for(R * d);

#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t r = 0; r < R; r++) {
        float m, s;
        norm_row(d, x + r * d, w, b, eps, y + r * d, mean != NULL ? mean + r : &m, rstd != NULL ? rstd + r : &s);
    }
}

/* With g = d_y w and xhat = (x - mean) rstd: d_x += rstd (g - mean(g) - xhat mean(g xhat)). */
DTX_CLONES
static void norm_row_backward(int64_t d, const float *x, float mean, float rstd, const float *w, const float *d_y,
                              float *d_x)
{
    dtx_v16 sums = {0}, dots = {0};
    int64_t i = 0;

    for (; i + 16 <= d; i += 16) {
        dtx_v16 g = *(const dtx_v16 *)(d_y + i) * *(const dtx_v16 *)(w + i);
        sums += g;
        dots += g * (*(const dtx_v16 *)(x + i) - mean);
    }
    double sum = lanes_sum(&sums), dot = lanes_sum(&dots);
    for (; i < d; i++) {
        double g = (double)d_y[i] * w[i];
        sum += g;
        dot += g * ((double)x[i] - mean);
    }
    float a = (float)(sum / (double)d), b = (float)(dot * rstd * rstd / (double)d);
    for (i = 0; i < d; i++) {
        d_x[i] += rstd * (d_y[i] * w[i] - a - (x[i] - mean) * b);
    }
}

enum { COLUMNS = 128 };

/* Gradients of scale and shift: sums over rows, in order, of some columns. */
DTX_CLONES
static void norm_columns_backward(int64_t R, int64_t d, int64_t cols, const float *x, const float *mean,
                                  const float *rstd, const float *d_y, float *dw, float *db)
{
    double w_sum[COLUMNS] = {0}, b_sum[COLUMNS] = {0};

    for (int64_t r = 0; r < R; r++) {
        for (int64_t i = 0; i < cols; i++) {
            w_sum[i] += d_y[r * d + i] * ((x[r * d + i] - mean[r]) * rstd[r]);
            b_sum[i] += d_y[r * d + i];
        }
    }
    for (int64_t i = 0; i < cols; i++) {
        dw[i] += (float)w_sum[i];
        db[i] += (float)b_sum[i];
    }
}

void dtx_norm_backward(int64_t R, int64_t d, const int32_t *map, const float *x, const float *mean, const float *rstd,
                       const float *w, const float *d_y, float *d_x, float *dw, float *db)
{
    int threads = threads_for(R * d);

    if (dw != NULL && db != NULL) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
        for (int64_t i = 0; i < d; i += COLUMNS) {
            norm_columns_backward(R, d, d - i < COLUMNS ? d - i : COLUMNS, x + i, mean, rstd, d_y + i, dw + i, db + i);
        }
    }
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t r = 0; r < R; r++) {
        int64_t f = map != NULL ? map[r] : r;
        norm_row_backward(d, x + f * d, mean[f], rstd[f], w, d_y + r * d, d_x + r * d);
    }
}

/* --- RMSNorm --- */

DTX_CLONES
static float rms_row(int64_t d, const float *x, const float *w, float shift, float eps, float *y)
{
    dtx_v16 lanes = {0};
    int64_t i = 0;

    for (; i + 16 <= d; i += 16) {
        dtx_v16 v = *(const dtx_v16 *)(x + i);
        lanes += v * v;
    }
    double sum = lanes_sum(&lanes);
    for (; i < d; i++) {
        sum += (double)x[i] * x[i];
    }
    float s = (float)(1.0 / sqrt(sum / (double)d + (double)eps));
    for (i = 0; i < d; i++) {
        y[i] = x[i] * s * (shift + w[i]);
    }
    return s;
}

void dtx_rms_forward(int64_t R, int64_t n, int64_t d, const float *x, int64_t ldx, const float *w, float shift, float eps, float *y,
                     int64_t ldy, float *rstd)
{
    int threads = threads_for(R * n * d);

#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t r = 0; r < R; r++) {
        for (int64_t k = 0; k < n; k++) {
            float s = rms_row(d, x + r * ldx + k * d, w, shift, eps, y + r * ldy + k * d);
            if (rstd != NULL) {
                rstd[r * n + k] = s;
            }
        }
    }
}

/* With g = d_y (shift + w) and xhat = x rstd: d_x = rstd (g - xhat mean(g xhat)). */
DTX_CLONES
static void rms_row_backward(int64_t d, const float *x, float rstd, const float *w, float shift, const float *d_y, float *d_x,
                             bool accumulate)
{
    dtx_v16 dots = {0};
    int64_t i = 0;

    for (; i + 16 <= d; i += 16) {
        dots += *(const dtx_v16 *)(d_y + i) * (*(const dtx_v16 *)(w + i) + shift) * *(const dtx_v16 *)(x + i);
    }
    double dot = lanes_sum(&dots);
    for (; i < d; i++) {
        dot += (double)d_y[i] * (shift + w[i]) * x[i];
    }
    float b = (float)(dot * rstd * rstd / (double)d);
    if (accumulate) {
        for (i = 0; i < d; i++) {
            d_x[i] += rstd * (d_y[i] * (shift + w[i]) - x[i] * b);
        }
    } else {
        for (i = 0; i < d; i++) {
            d_x[i] = rstd * (d_y[i] * (shift + w[i]) - x[i] * b);
        }
    }
}

/* Gradient of the scale: sums over rows and vectors, in order, of some columns. */
DTX_CLONES
static void rms_columns_backward(int64_t R, int64_t n, int64_t d, int64_t cols, const float *x, int64_t ldx, const float *rstd,
                                 const float *d_y, int64_t ld, float *dw)
{
    double sum[COLUMNS] = {0};

    for (int64_t r = 0; r < R; r++) {
        for (int64_t k = 0; k < n; k++) {
            for (int64_t i = 0; i < cols; i++) {
                sum[i] += d_y[r * ld + k * d + i] * (x[r * ldx + k * d + i] * rstd[r * n + k]);
            }
        }
    }
    for (int64_t i = 0; i < cols; i++) {
        dw[i] += (float)sum[i];
    }
}

void dtx_rms_backward(int64_t R, int64_t n, int64_t d, const int32_t *map, const float *x, int64_t ldx, const float *rstd,
                      const float *w, float shift, const float *d_y, float *d_x, int64_t ld, bool accumulate, float *dw)
{
    int threads = threads_for(R * n * d);

    if (dw != NULL) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
        for (int64_t i = 0; i < d; i += COLUMNS) {
            rms_columns_backward(R, n, d, d - i < COLUMNS ? d - i : COLUMNS, x + i, ldx, rstd, d_y + i, ld, dw + i);
        }
    }
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t r = 0; r < R; r++) {
        int64_t f = map != NULL ? map[r] : r;
        for (int64_t k = 0; k < n; k++) {
            rms_row_backward(d, x + f * ldx + k * d, rstd[f * n + k], w, shift, d_y + r * ld + k * d, d_x + r * ld + k * d,
                             accumulate);
        }
    }
}

/* --- activations --- */

#define GELU_TANH_C 0.797884561f /* sqrt(2 / pi) */
#define INV_SQRT_2PI 0.398942280f

DTX_CLONES
static void gelu_erf(int64_t n, const float *x, float *y)
{
    for (int64_t i = 0; i < n; i++) {
        y[i] = x[i] * dtx_normal_cdf(x[i], dtx_expf(-0.5f * x[i] * x[i]));
    }
}

DTX_CLONES
static void gelu_erf_backward(int64_t n, const float *x, const float *d_y, float *d_x)
{
    for (int64_t i = 0; i < n; i++) {
        float gauss = dtx_expf(-0.5f * x[i] * x[i]);
        d_x[i] = d_y[i] * (dtx_normal_cdf(x[i], gauss) + x[i] * gauss * INV_SQRT_2PI);
    }
}

/* 0.5 (1 + tanh z) = 1 / (1 + e^(-2 z)) for the z of x; *rest = 1 - that, without cancellation. */
DTX_INLINE float gelu_tanh_gate(float x, float *rest)
{
    float e = dtx_expf(-2.0f * GELU_TANH_C * (x + 0.044715f * x * x * x)), s = 1.0f / (1.0f + e);

    *rest = e * s;
    return s;
}

DTX_CLONES
static void gelu_tanh(int64_t n, const float *x, float *y)
{
    for (int64_t i = 0; i < n; i++) {
        float rest;
        y[i] = x[i] * gelu_tanh_gate(x[i], &rest);
    }
}

DTX_CLONES
static void gelu_tanh_backward(int64_t n, const float *x, const float *d_y, float *d_x)
{
    for (int64_t i = 0; i < n; i++) {
        float rest, s = gelu_tanh_gate(x[i], &rest);
        float dz = 2.0f * GELU_TANH_C * (1.0f + 3.0f * 0.044715f * x[i] * x[i]);
        d_x[i] = d_y[i] * (s + x[i] * s * rest * dz);
    }
}

DTX_CLONES
static void relu(int64_t n, const float *x, float *y)
{
    for (int64_t i = 0; i < n; i++) {
        y[i] = x[i] > 0.0f ? x[i] : 0.0f;
    }
}

DTX_CLONES
static void relu_backward(int64_t n, const float *x, const float *d_y, float *d_x)
{
    for (int64_t i = 0; i < n; i++) {
        d_x[i] = x[i] > 0.0f ? d_y[i] : 0.0f;
    }
}

DTX_CLONES
static void silu(int64_t n, const float *x, float *y)
{
    for (int64_t i = 0; i < n; i++) {
        y[i] = x[i] / (1.0f + dtx_expf(-x[i]));
    }
}

/* s (1 + x (1 - s)) with the sigmoid s = 1 / (1 + e^-x); 1 - s = e^-x s without cancellation. */
DTX_CLONES
static void silu_backward(int64_t n, const float *x, const float *d_y, float *d_x)
{
    for (int64_t i = 0; i < n; i++) {
        float e = dtx_expf(-x[i]), s = 1.0f / (1.0f + e);
        d_x[i] = d_y[i] * s * (1.0f + x[i] * e * s);
    }
}

static void act_row(dtx_activation act, int64_t d, const float *x, float *y)
{
    switch (act) {
    case DTX_ACT_GELU_ERF:
        gelu_erf(d, x, y);
        break;
    case DTX_ACT_GELU_TANH:
        gelu_tanh(d, x, y);
        break;
    case DTX_ACT_RELU:
        relu(d, x, y);
        break;
    case DTX_ACT_SILU:
        silu(d, x, y);
        break;
    }
}

static void act_row_backward(dtx_activation act, int64_t d, const float *x, const float *d_y, float *d_x)
{
    switch (act) {
    case DTX_ACT_GELU_ERF:
        gelu_erf_backward(d, x, d_y, d_x);
        break;
    case DTX_ACT_GELU_TANH:
        gelu_tanh_backward(d, x, d_y, d_x);
        break;
    case DTX_ACT_RELU:
        relu_backward(d, x, d_y, d_x);
        break;
    case DTX_ACT_SILU:
        silu_backward(d, x, d_y, d_x);
        break;
    }
}

void dtx_act_forward(dtx_activation act, int64_t R, int64_t d, const float *x, float *y)
{
    int threads = threads_for(R * d);

#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t r = 0; r < R; r++) {
        act_row(act, d, x + r * d, y + r * d);
    }
}

void dtx_act_backward(dtx_activation act, int64_t R, int64_t d, const int32_t *map, const float *x, const float *d_y,
                      float *d_x)
{
    int threads = threads_for(R * d);

#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t r = 0; r < R; r++) {
        act_row_backward(act, d, x + (map != NULL ? map[r] : r) * d, d_y + r * d, d_x + r * d);
    }
}

/* --- gated feed-forward: act(gate) * up --- */

DTX_CLONES
static void times(int64_t n, const float *x, float *y)
{
    for (int64_t i = 0; i < n; i++) {
        y[i] *= x[i];
    }
}

void dtx_gate_forward(dtx_activation act, int64_t R, int64_t d, const float *x, float *y)
{
    int threads = threads_for(R * d);

#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t r = 0; r < R; r++) {
        act_row(act, d, x + 2 * r * d, y + r * d);
        times(d, x + 2 * r * d + d, y + r * d);
    }
}

void dtx_gate_backward(dtx_activation act, int64_t R, int64_t d, const int32_t *map, const float *x, const float *d_y, float *d_x)
{
    int threads = threads_for(R * d);

#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t r = 0; r < R; r++) {
        const float *gate = x + 2 * (map != NULL ? map[r] : r) * d, *up = gate + d, *dy = d_y + r * d;
        float *d_gate = d_x + 2 * r * d, *d_up = d_gate + d;
        act_row(act, d, gate, d_up);
        times(d, dy, d_up);
        act_row_backward(act, d, gate, dy, d_gate);
        times(d, up, d_gate);
    }
}

/* --- soft caps --- */

DTX_CLONES
void dtx_cap_forward(int64_t n, float cap, float *x)
{
    const float inv = 1.0f / cap;

    for (int64_t i = 0; i < n; i++) {
        x[i] = cap * dtx_tanhf(x[i] * inv);
    }
}

DTX_CLONES
void dtx_cap_backward(int64_t n, float cap, const float *x, float *d)
{
    const float inv = 1.0f / cap;

    for (int64_t i = 0; i < n; i++) {
        float t = x[i] * inv;
        d[i] *= (1.0f - t) * (1.0f + t);
    }
}

/* --- rotary positions --- */

void dtx_rotary_table(int64_t n, int64_t half, const double *step, double factor, float *cos_out, float *sin_out)
{
    for (int64_t i = 0; i < half; i++) {
        for (int64_t p = 0; p < n; p++) {
            cos_out[p * half + i] = (float)(factor * cos((double)p * step[i]));
            sin_out[p * half + i] = (float)(factor * sin((double)p * step[i]));
        }
    }
}

DTX_CLONES
static void rotate(int64_t half, const float *c, const float *s, float sign, float *v)
{
    for (int64_t i = 0; i < half; i++) {
        float a = v[i], b = v[i + half], t = sign * s[i];
        v[i] = a * c[i] - b * t;
        v[i + half] = b * c[i] + a * t;
    }
}

void dtx_rotary(const dtx_heads *h, int64_t dims, const float *cos_t, const float *sin_t, int64_t R, const int32_t *pos,
                float *qkv, bool inverse)
{
    int64_t half = dims / 2;
    int threads = threads_for(R * (h->n_heads + h->n_kv) * dims);

#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t r = 0; r < R; r++) {
        const float *c = cos_t + pos[r] * half, *s = sin_t + pos[r] * half;
        for (int64_t head = 0; head < h->n_heads; head++) {
            rotate(half, c, s, inverse ? -1.0f : 1.0f, qkv + r * h->width + dtx_heads_q(h, head));
        }
        for (int64_t group = 0; group < h->n_kv; group++) {
            rotate(half, c, s, inverse ? -1.0f : 1.0f, qkv + r * h->width + dtx_heads_k(h, group));
        }
    }
}

/* --- softmax over the vocabulary --- */

DTX_CLONES
static void softmax_row(int64_t V, float *x)
{
    float top = -INFINITY;
    dtx_v16 lanes = {0};
    int64_t i = 0;

#pragma omp simd reduction(max : top)
    for (int64_t j = 0; j < V; j++) {
        top = x[j] > top ? x[j] : top;
    }
    for (int64_t j = 0; j < V; j++) {
        x[j] = dtx_expf(x[j] - top);
    }
    for (; i + 16 <= V; i += 16) {
        lanes += *(const dtx_v16 *)(x + i);
    }
    double sum = lanes_sum(&lanes);
    for (; i < V; i++) {
        sum += x[i];
    }
    float scale = (float)(1.0 / sum);
    for (int64_t j = 0; j < V; j++) {
        x[j] *= scale;
    }
}

void dtx_softmax(int64_t R, int64_t V, float *x)
{
    int threads = threads_for(R * V);

#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t r = 0; r < R; r++) {
        softmax_row(V, x + r * V);
    }
}

DTX_CLONES
static double log_sum_exp(int64_t V, const float *x)
{
    float top = -INFINITY;
    dtx_v8d lanes = {0};
    int64_t i = 0;

#pragma omp simd reduction(max : top)
    for (int64_t j = 0; j < V; j++) {
        top = x[j] > top ? x[j] : top;
    }
    for (; i + 8 <= V; i += 8) {
        double e[8] __attribute__((aligned(64)));
        for (int l = 0; l < 8; l++) {
            e[l] = dtx_exp((double)x[i + l] - top);
        }
        lanes += *(const dtx_v8d *)e;
    }
    double sum = 0.0;
    for (int l = 0; l < 8; l++) {
        sum += lanes[l];
    }
    for (; i < V; i++) {
        sum += dtx_exp((double)x[i] - top);
    }
    return top + log(sum);
}

void dtx_log_prob(int64_t R, int64_t V, const float *x, const int32_t *id, float *out)
{
    int threads = threads_for(R * V);

#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t r = 0; r < R; r++) {
        out[r] = (float)((double)x[r * V + id[r]] - log_sum_exp(V, x + r * V));
    }
}
