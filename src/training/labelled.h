/* labelled.h - texts with one label each, for training a classifier: reading, the held-out groups, token ids, the order of
 * training, and loss and gradient of some texts. Local. */
#ifndef DTX_LABELLED_H
#define DTX_LABELLED_H

#include "src/data/dataset.h"
#include "src/model/model.h"
#include "src/text/tokenizer.h"

typedef struct {
    int64_t n, n_labels;
    char labels[DTX_MAX_LABELS][48]; /* ascending by their bytes */
    int32_t *label;                  /* (n) */
    uint8_t *held;                   /* (n) 1 = held out */
    int64_t n_held, n_groups;
    dtx_texts texts;                 /* rank 0 only */
    int64_t *offset;                 /* (n + 1) rows of id; NULL before dtx_labelled_encode */
    int32_t *id;
} dtx_labelled;

/* spec: FILE:FIELD of a CSV or JSONL file as in data.text; label: the column with the label; group: a column whose equal
 * values stay together ("dialogue_id"; "" = each text by itself). Appends to *out (zero-initialised at first). */
dtx_status dtx_labelled_read(const char *const *spec, int64_t n_specs, const char *label, const char *group, double holdout,
                             uint64_t seed, dtx_labelled *out);
/* Token ids with special tokens, cut to max_tokens. */
dtx_status dtx_labelled_encode(dtx_labelled *l, const dtx_tokenizer *t, int64_t max_tokens);
void dtx_labelled_free(dtx_labelled *l);

/* The texts of step `step`: batch of them, from a permutation that changes with each pass over the training texts. */
typedef struct {
    int64_t n, batch, pass;
    uint64_t seed;
    int64_t *train, *order;
} dtx_labelled_order;
dtx_status dtx_labelled_order_init(dtx_labelled_order *o, const dtx_labelled *l, int64_t batch, uint64_t seed);
void dtx_labelled_order_free(dtx_labelled_order *o);
/* Text number i < batch of a step. */
int64_t dtx_labelled_order_get(dtx_labelled_order *o, int64_t step, int64_t i);

/* Cross entropy of n texts, summed, and how many are classified right. With grads (the model's arena; a tape is needed) the
 * gradient of scale * loss is added, and each token but the first is replaced by <mask> with probability `mask` first, drawn by
 * (seed, step, text, position): the classifier must not hang on single words. */
typedef struct {
    double mask;
    uint64_t seed;
    int64_t step;
} dtx_labelled_noise;
dtx_status dtx_labelled_loss(const dtx_model *m, dtx_tape *tape, const dtx_labelled *l, const int64_t *text, int64_t n,
                             const dtx_labelled_noise *noise, float scale, double *loss, int64_t *right, float *grads);

/* Description of a fresh RoBERTa classifier: `tokens` the longest text, special tokens counted; ids as dtx_bpe_train gives
 * them. DTX_ERR_USAGE when the shape is impossible. */
dtx_status dtx_labelled_arch(const dtx_labelled *l, const char *arch, int64_t layers, int64_t hidden, int64_t heads, int64_t vocab,
                             int64_t tokens, dtx_arch *out);

#endif
