/* pretrain.h - what the two tasks of `pretrain` share: the trainer, and what a task supplies. */
#ifndef DTX_PRETRAIN_JOB_H
#define DTX_PRETRAIN_JOB_H

#include "jobs/program/job.h"
#include "jobs/train/training.h"
#include "src/base/hash.h"
#include "src/training/distil.h"
#include "src/training/pretrain.h"

typedef struct dtx_pretrain_task dtx_pretrain_task;

typedef struct {
    dtx_job *job;
    const dtx_config *c;
    const dtx_pretrain_task *task;
    dtx_run *run;
    char name[80], tokenizer_dir[1200];
    char digest[DTX_SHA256_TEXT];    /* of the training text */
    int64_t vocab;
    dtx_arch arch;
    dtx_model *model;
    dtx_tape *tape;
    dtx_span *decay;                 /* matrices and tables: weight decay leaves scales and biases alone */
    dtx_training training;
    /* task lm */
    dtx_stream stream;
    dtx_windows windows, held;
    double *losses;                  /* of one shard's windows */
    /* task classifier */
    dtx_labelled labelled;
    dtx_labelled_order order;
    dtx_ngrams *teacher;             /* pretrain.teacher = ngrams, else NULL */
} dtx_pretrainer;

struct dtx_pretrain_task {
    /* Collective: data, digest, vocab and arch; rank 0 reads, trains the vocabulary into tokenizer_dir and encodes. */
    dtx_status (*load)(dtx_pretrainer *t);
    /* Local. Before the first step, when the model is fresh: what only a training needs. NULL = nothing. */
    dtx_status (*begin)(dtx_pretrainer *t);
    int64_t (*tokens_of_sequence)(const dtx_pretrainer *t); /* at most */
    dtx_status (*shard)(void *user, int64_t step, int64_t leaf, float *grads, double *loss, double *tokens);
    dtx_status (*evaluate)(void *user, double *loss);
    const dtx_training_curve *extra; /* a curve of its own, see dtx_training; may be NULL */
};
extern const dtx_pretrain_task dtx_pretrain_lm, dtx_pretrain_classifier;

/* Trains the vocabulary on n texts and writes it to tokenizer_dir. Local. */
dtx_status dtx_pretrain_tokenizer(dtx_pretrainer *t, const char *const *text, const size_t *len, int64_t n, bool roberta);

#endif
