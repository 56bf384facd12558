/* finetune.h - supervised samples as token ids with labels: tokenizing dialogues, the held-out share, which sample stands
 * in which micro-batch of which step (transformers' Trainer), and the loss of some samples. Local. */
#ifndef DTX_FINETUNE_H
#define DTX_FINETUNE_H

#include <stdbool.h>
#include <stdint.h>

#include "src/data/dialogue.h"
#include "src/model/model.h"
#include "src/text/tokenizer.h"

/* Samples as ragged rows. label[i] is the token that position i must predict, -1 where nothing counts (the last position
 * of a sample predicts nothing). */
typedef struct {
    int64_t n;
    int64_t *offset;        /* (n + 1) rows */
    int32_t *id, *label;
    int64_t n_truncated;    /* samples that were cut at the context */
} dtx_samples;

/* Samples cut to `context` ids; the end-of-text id is appended where there is room. assistant_only: a token counts as a
 * label when any of its bytes belongs to a turn of the bot (the end-of-text id counts). */
dtx_status dtx_samples_from_dialogues(const dtx_tokenizer *t, const dtx_dialogues *d, int64_t context, int32_t eos,
                                      bool assistant_only, dtx_samples *out);
void dtx_samples_free(dtx_samples *s);
/* Labels of sample i that count. */
int64_t dtx_samples_tokens(const dtx_samples *s, int64_t i);

/* Which samples train and which are held out, and in which order: ceil(holdout n) samples are held out, chosen by the
 * seed; the others are shuffled anew in each epoch and cut into micro-batches of `batch` (the last of an epoch may be
 * smaller); a step takes `accumulate` micro-batches, which run on over the end of an epoch. Steps: epochs x
 * floor(micro-batches of an epoch / accumulate), at least one an epoch. That is transformers' Trainer (1,868 steps for the
 * study's RedPajama). */
typedef struct {
    int64_t n_train, n_held, batch, accumulate, per_epoch, n_steps;
    uint64_t seed;
    int64_t *train, *held;  /* sample indices */
    int64_t epoch, *order;  /* the epoch whose order is held, -1 = none */
} dtx_sample_order;
dtx_status dtx_sample_order_init(dtx_sample_order *p, int64_t n, double holdout, int64_t batch, int64_t accumulate,
                           int64_t epochs, uint64_t seed);
void dtx_sample_order_free(dtx_sample_order *p);
/* The samples of micro-batch m = step * accumulate + a; sample[batch] has room. Returns how many. */
int64_t dtx_sample_order_get(dtx_sample_order *p, int64_t m, int64_t *sample);
/* A step is cut into accumulate * parts units: `parts` consecutive pieces of each micro-batch, so that a unit's samples do
 * not depend on the ranks. sample[batch]: the micro-batch of unit u; its size in *n; the unit is sample[*first ...], the
 * returned number of them (0 where the micro-batch is small). */
int64_t dtx_sample_order_unit(dtx_sample_order *p, int64_t step, int64_t parts, int64_t u, int64_t *sample, int64_t *n,
                              int64_t *first);
/* Over all steps the unit of most rows among those from..to-1: lengths of its samples (len[batch]); returns how many.
 * offset: rows of all samples. */
dtx_status dtx_sample_order_longest(dtx_sample_order *p, int64_t parts, int64_t from, int64_t to, const int64_t *offset,
                                    int64_t *len, int64_t *n);

/* Entropy-based attention regularisation (EAR; Attanasio, Nozza, Hovy, Baralis 2022, "Entropy-based Attention
 * Regularization Frees Unintended Bias Mitigation from Lists": L = L_C - alpha sum_l H^l, H^l the mean of H_i^l over the
 * tokens i of layer l). Here the objective is loss - ear_weight H, where H is the mean over layers l, heads h and
 * positions i that see more than one key of
 *     H_i^lh = -sum_{j <= i} p_ij^lh ln p_ij^lh,   p the attention's softmax weights, in nats.
 * The authors' code averages the weights of all heads, applies a softmax to that average and sums over layers; here each
 * head keeps an entropy of its own, and the mean makes the weight mean the same at any depth.
 * What is averaged for sample i: its positions but the first, times layers and heads. */
int64_t dtx_samples_entropies(const dtx_arch *a, const dtx_samples *s, int64_t i);

/* Loss of n samples: the sum over their labels in *loss; want: NULL, or lora: the gradient of
 * scale * sum + want->entropy * (sum of attention entropies) is added to it, with dropout p on the adapter's branches keyed
 * by (seed, step, sample). dtx_tape_entropy then tells the sum of entropies, where want->entropy is not 0. */
dtx_status dtx_samples_loss(const dtx_model *m, const dtx_adapter *adapter, dtx_tape *tape, const dtx_samples *s,
                            const int64_t *sample, int64_t n, float scale, double p, uint64_t seed, int64_t step,
                            double *loss, const dtx_wanted *want);

#endif
