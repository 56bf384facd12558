/* optim.h - AdamW (Loshchilov & Hutter 2019), learning-rate schedules, clipping by the global norm, with the semantics of
 * torch.optim.AdamW and transformers' get_linear/cosine_schedule_with_warmup. Vectors are arenas: all parameters one
 * after the other. Threads split the arena; sums run over blocks of a fixed size, so no result depends on their number. */
#ifndef DTX_OPTIM_H
#define DTX_OPTIM_H

#include <stdint.h>

#include "src/base/status.h"

typedef enum { DTX_SCHEDULE_LINEAR, DTX_SCHEDULE_COSINE, DTX_SCHEDULE_CONSTANT } dtx_schedule;

/* Factor of the base rate for step k = 0..n-1: k / warmup while k < warmup (the first of them has rate 0), then down to 0
 * at k = n: (n - k) / (n - warmup), or half a cosine. */
double dtx_schedule_factor(dtx_schedule s, int64_t k, int64_t warmup, int64_t n);

typedef struct {
    double beta1, beta2, eps, weight_decay;
} dtx_adamw;

/* One step, t = 1, 2, ...: p, m, v (n) are updated with gradient g. decay: NULL = weight_decay applies to all, else a
 * flag an element block of `dtx_decay_spans`. Bias correction as torch: p -= lr/(1-b1^t) m / (sqrt(v/(1-b2^t)) + eps). */
typedef struct {
    int64_t first, count; /* elements that decay */
} dtx_span;
void dtx_adamw_step(const dtx_adamw *o, int64_t t, double lr, int64_t n, float *p, const float *g, float *m, float *v,
                    const dtx_span *decay, int64_t n_decay);

/* Euclidean norm of g (n), accumulated in double. */
double dtx_global_norm(const float *g, int64_t n);
/* g *= min(1, max_norm / (norm + 1e-6)), torch's clip_grad_norm_; max_norm <= 0 does nothing. */
void dtx_clip(float *g, int64_t n, double norm, double max_norm);

#endif
