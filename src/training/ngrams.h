/* ngrams.h - a linear classifier of token n-grams (n = 1, 2, 3): logistic regression on naive-Bayes weighted binary features
 * (Wang & Manning 2012, "Baselines and Bigrams"), fitted by dual coordinate descent (Yu, Huang & Lin 2011). On little text it
 * beats a small transformer trained on the labels alone, which makes it the teacher of one (src/training/distil.h). Local; no result
 * depends on threads. */
#ifndef DTX_NGRAMS_H
#define DTX_NGRAMS_H

#include "src/training/labelled.h"

typedef struct dtx_ngrams dtx_ngrams;

/* Fits l's texts that are not held out; l must be encoded, its first and last token (<s>, </s>) are left out. Two labels need
 * one regression, more get one each against the rest. cost: C of (1/2) w'w + C sum log(1 + exp(-y w'x)). */
dtx_status dtx_ngrams_fit(const dtx_labelled *l, double cost, dtx_ngrams **out);
void dtx_ngrams_del(dtx_ngrams *g);
int64_t dtx_ngrams_size(const dtx_ngrams *g); /* distinct n-grams */

/* Scores of n token ids without <s> and </s>, such that softmax(whole) are the labels' probabilities: whole (n_labels), each
 * n-gram counted once; share (n, n_labels) is what the n-grams that end at token j add. Unknown n-grams add nothing. Not for
 * several threads at a time on one g. */
void dtx_ngrams_scores(dtx_ngrams *g, const int32_t *id, int64_t n, float *whole, float *share);

#endif
