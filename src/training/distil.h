/* distil.h - a RoBERTa classifier learns from a linear n-gram classifier (Tang et al. 2019, "Distilling Task-Specific Knowledge
 * from BERT into Simple Neural Networks", with the roles turned: here the linear one knows more, as it does on little text).
 * Local. */
#ifndef DTX_DISTIL_H
#define DTX_DISTIL_H

#include "src/training/ngrams.h"

/* Another start for a fresh RoBERTa model, drawn by the seed: up to three heads of its first layer begin by looking at the token
 * before, after and two before, since n-grams are what there is to learn. Positions are sines in some dimensions that words leave
 * free, and queries are positions turned by the distance. Everything stays trainable. */
dtx_status dtx_distil_start(dtx_model *m, uint64_t seed);

/* What the student reads of text number `text` in step noise->step: half of the time the text itself; else a piece of it, in six
 * of ten cases followed by a piece of another training text. In six of ten cases each token is then <mask> with a probability
 * drawn from 0 to 2 mask. The teacher judges what came out, so that no label gets wrong. id: room for `room` tokens; returns
 * their number, <s> and </s> included. */
int64_t dtx_distil_text(const dtx_labelled *l, const dtx_labelled_order *order, int64_t text, const dtx_labelled_noise *noise,
                        int64_t room, int32_t *id);

/* Loss of n texts, summed: cross entropy against the teacher's probabilities, and for each text the mean over its tokens, the
 * first aside, of a smooth L1 loss (beta 1) of the classification head on that token against the share of the n-grams that end
 * there. With grads (the model's arena; a tape is needed) the gradient of scale * loss is added. */
dtx_status dtx_distil_loss(const dtx_model *m, dtx_tape *tape, const dtx_labelled *l, const dtx_labelled_order *order,
                           dtx_ngrams *teacher, const int64_t *text, int64_t n, const dtx_labelled_noise *noise, float scale,
                           double *loss, float *grads);

#endif
