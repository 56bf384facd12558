/* kernel_ref.h - plain twins of kernel.h: obvious loops in double, one thread. The tests compare with them. */
#ifndef DTX_KERNEL_REF_H
#define DTX_KERNEL_REF_H

#include "src/algebra/kernel.h"

void dtx_embed_ref(const void *table, dtx_dtype dtype, int64_t d, int64_t R, const int32_t *ids, float *y);
void dtx_norm_forward_ref(int64_t R, int64_t d, const float *x, const float *w, const float *b, float eps, float *y,
                          float *mean, float *rstd);
void dtx_norm_backward_ref(int64_t R, int64_t d, const int32_t *map, const float *x, const float *mean,
                           const float *rstd, const float *w, const float *d_y, float *d_x, float *dw, float *db);
void dtx_rms_forward_ref(int64_t R, int64_t n, int64_t d, const float *x, int64_t ldx, const float *w, float shift, float eps,
                         float *y, int64_t ldy, float *rstd);
void dtx_rms_backward_ref(int64_t R, int64_t n, int64_t d, const int32_t *map, const float *x, int64_t ldx, const float *rstd,
                          const float *w, float shift, const float *d_y, float *d_x, int64_t ld, bool accumulate, float *dw);
void dtx_gate_forward_ref(dtx_activation act, int64_t R, int64_t d, const float *x, float *y);
void dtx_gate_backward_ref(dtx_activation act, int64_t R, int64_t d, const int32_t *map, const float *x, const float *d_y,
                           float *d_x);
void dtx_act_forward_ref(dtx_activation act, int64_t R, int64_t d, const float *x, float *y);
void dtx_act_backward_ref(dtx_activation act, int64_t R, int64_t d, const int32_t *map, const float *x,
                          const float *d_y, float *d_x);
void dtx_rotary_ref(const dtx_heads *h, int64_t dims, const float *cos_t, const float *sin_t, int64_t R,
                    const int32_t *pos, float *qkv, bool inverse);
void dtx_attention_forward_ref(const dtx_heads *h, bool causal, const float *slope, int64_t n_seq,
                               const dtx_attn_seq *seq);
void dtx_attention_backward_ref(const dtx_heads *h, bool causal, const float *slope, int64_t n_seg,
                                const dtx_attn_seg *seg);
void dtx_softmax_ref(int64_t R, int64_t V, float *x);
void dtx_log_prob_ref(int64_t R, int64_t V, const float *x, const int32_t *id, float *out);

#endif
