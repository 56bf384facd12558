/* classifier.h - texts to label scores with a RoBERTa classifier in Hugging Face layout (config.json with id2label,
 * weights, tokenizer): softmax heads (dynabench's nothate / hate) and multi-label sigmoid heads (toxicity, insult, ...).
 * Batches are ragged and a text's scores do not depend on the others'. Local. */
#ifndef DTX_CLASSIFIER_H
#define DTX_CLASSIFIER_H

#include <stddef.h>
#include <stdint.h>

#include "src/model/model.h"
#include "src/text/tokenizer.h"

typedef struct {
    dtx_model *model;
    dtx_tokenizer *tokenizer;
    const dtx_arch *arch;
    int64_t max_tokens;    /* longer texts are cut there, special tokens counted: 512 for RoBERTa base */
    int64_t label;         /* the one that is looked for: toxic, hateful */
} dtx_classifier;

/* a: the folder's description where somebody has read it already (dtx_arch_read), else NULL. label: a name of config.json's id2label, or its number; "" chooses the first label called toxicity, toxic, hate, hateful
 * or HS in any case, else label 1 of two. DTX_ERR_USAGE naming the labels when that does not decide. */
dtx_status dtx_classifier_open(const char *dir, const dtx_arch *a, const char *label, dtx_classifier *out);
void dtx_classifier_close(dtx_classifier *c);

/* logits (n, n_labels) of n UTF-8 texts; empty ones are fine. */
dtx_status dtx_classifier_logits(const dtx_classifier *c, int64_t n, const char *const *text, const size_t *len,
                                 float *logits);
/* log(P(label) / (1 - P(label))) of one row of logits: exact where the probability is 0 or 1 in floating point. */
double dtx_classifier_log_odds(const dtx_classifier *c, const float *logits);
/* P(label) of n texts. */
dtx_status dtx_classifier_score(const dtx_classifier *c, int64_t n, const char *const *text, const size_t *len, double *p);

#endif
