/* loss.h - cross entropy of next-token prediction. */
#ifndef DTX_LOSS_H
#define DTX_LOSS_H

#include <stdint.h>

#include "src/model/model.h"

/* For each of R rows of logits (V): loss[r] = -log softmax(logits[r])[label[r]], and logits becomes its gradient times
 * `scale`. label -100 (any negative): loss 0, gradient 0. Computed from the row's maximum, sums in double. */
void dtx_cross_entropy(int64_t R, int64_t V, float *logits, const int32_t *label, float scale, double *loss);

/* The head and the loss over many rows without holding all their logits: loss[r] for each of R rows of hidden (d), and,
 * when d_hidden != NULL, its gradient times scale (rows with a negative label get 0). grads: NULL or the arena of
 * dtx_model_logits_backward. Only rows with a label go through the head. Rows are taken in blocks of a fixed size. */
dtx_status dtx_head_loss(const dtx_model *m, int64_t R, const float *hidden, const int32_t *label, float scale,
                         double *loss, float *d_hidden, float *grads);

/* Next-token loss of ragged sequences: loss[r] for each of offset[n_seq] rows, label[r] < 0 counts nothing. want: NULL, or
 * which gradients of scale * (sum of losses) + want->entropy * dtx_tape_entropy are added; the tape is used only then. dropout: NULL, or on the adapter. */
dtx_status dtx_lm_loss(const dtx_model *m, const dtx_adapter *adapter, dtx_tape *tape, int64_t n_seq,
                       const int64_t *offset, const int32_t *ids, const int32_t *label, float scale, double *loss,
                       const dtx_dropout *dropout, const dtx_wanted *want);

#endif
