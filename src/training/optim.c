#include "src/training/optim.h"

#include <math.h>
#include <string.h>

enum { BLOCK = 65536 }; /* elements of one partial sum: fixed, so that sums do not depend on the threads */

double dtx_schedule_factor(dtx_schedule s, int64_t k, int64_t warmup, int64_t n)
{
    if (k < warmup) {
        return (double)k / (double)warmup;
    }
    if (s == DTX_SCHEDULE_CONSTANT) {
        return 1.0;
    }
    double span = (double)(n > warmup ? n - warmup : 1), left = (double)(n - k) / span;
    if (left < 0) {
        left = 0;
    }
    return s == DTX_SCHEDULE_LINEAR ? left : 0.5 * (1.0 + cos(3.141592653589793 * (1.0 - left)));
}

void dtx_adamw_step(const dtx_adamw *o, int64_t t, double lr, int64_t n, float *p, const float *g, float *m, float *v,
                    const dtx_span *decay, int64_t n_decay)
{
    const float b1 = (float)o->beta1, b2 = (float)o->beta2, eps = (float)o->eps;
    const float c1 = (float)(1.0 - o->beta1), c2 = (float)(1.0 - o->beta2);
    const float step = (float)(lr / (1.0 - pow(o->beta1, (double)t)));
    const float root = (float)(1.0 / sqrt(1.0 - pow(o->beta2, (double)t)));
    const float keep = (float)(1.0 - lr * o->weight_decay);

    if (o->weight_decay != 0) {
        const dtx_span all = {0, n};
        const dtx_span *spans = decay != NULL ? decay : &all;
        for (int64_t s = 0; s < (decay != NULL ? n_decay : 1); s++) {
            float *q = p + spans[s].first;
#pragma omp parallel for schedule(static)
            for (int64_t i = 0; i < spans[s].count; i++) {
                q[i] *= keep;
            }
        }
    }
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) {
        m[i] = b1 * m[i] + c1 * g[i];
        v[i] = b2 * v[i] + c2 * g[i] * g[i];
        p[i] -= step * m[i] / (sqrtf(v[i]) * root + eps);
    }
}

double dtx_global_norm(const float *g, int64_t n)
{
    double sum = 0;
    enum { CHUNK = 1024 }; /* blocks whose sums are kept at a time */
    double part[CHUNK];

    for (int64_t base = 0; base < n; base += (int64_t)CHUNK * BLOCK) {
        int64_t left = n - base, blocks = (left + BLOCK - 1) / BLOCK;
        blocks = blocks < CHUNK ? blocks : CHUNK;
#pragma omp parallel for schedule(static)
        for (int64_t b = 0; b < blocks; b++) {
            const float *x = g + base + b * BLOCK;
            int64_t count = n - (base + b * BLOCK);
            count = count < BLOCK ? count : BLOCK;
            double s = 0;
            for (int64_t i = 0; i < count; i++) {
                s += (double)x[i] * (double)x[i];
            }
            part[b] = s;
        }
        for (int64_t b = 0; b < blocks; b++) {
            sum += part[b];
        }
    }
    return sqrt(sum);
}

void dtx_clip(float *g, int64_t n, double norm, double max_norm)
{
    double factor = max_norm / (norm + 1e-6);

    if (max_norm <= 0 || factor >= 1.0) {
        return;
    }
    const float f = (float)factor;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) {
        g[i] *= f;
    }
}
