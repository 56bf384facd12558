/* pretrain.h - causal language-model training from scratch: the token stream, which window of it belongs to which step,
 * and loss and gradient of one logical shard. Local; mpi/par/reduce.h sums the shards, jobs/train/pretrain_job.c drives. */
#ifndef DTX_PRETRAIN_H
#define DTX_PRETRAIN_H

#include <stdint.h>

#include "src/data/dataset.h"
#include "src/model/model.h"
#include "src/text/tokenizer.h"

/* Token streams: the ids of all texts one after the other, each followed by the end-of-text id. A share of the texts,
 * chosen by the seed, is held out as a whole. */
typedef struct {
    int32_t *train, *held;
    int64_t n_train, n_held;
} dtx_stream;
dtx_status dtx_stream_build(const dtx_tokenizer *t, const dtx_texts *texts, int32_t eos, double holdout, uint64_t seed,
                            dtx_stream *out);
void dtx_stream_free(dtx_stream *s);

/* The windows of a stream: `length` + 1 tokens each (inputs 0..length-1, labels 1..length), cut one after the other from
 * an offset that changes with each pass over the stream, and visited in an order that changes likewise. A stream shorter
 * than that has one window, all of it. */
typedef struct {
    int64_t n_tokens, length, per_pass;
    uint64_t seed;
    int64_t pass;       /* of the order held in `order`, -1 = none */
    int64_t *order;
} dtx_windows;
dtx_status dtx_windows_init(dtx_windows *w, int64_t n_tokens, int64_t context, uint64_t seed);
void dtx_windows_free(dtx_windows *w);
/* First token of the k-th window of the training, k = step * batch + i. */
int64_t dtx_windows_start(dtx_windows *w, int64_t k);

/* Loss of `n` windows starting at start[i]: loss[i * length + j] for each predicted token. With grads != NULL (the
 * model's arena) the gradient of scale * (sum of all losses) is added to it. */
dtx_status dtx_pretrain_windows(const dtx_model *m, dtx_tape *tape, const int32_t *tokens, int64_t n,
                                const int64_t *start, int64_t length, float scale, double *loss, float *grads);

/* Description of a fresh decoder of a family that is trained from scratch (dtx_arch_fresh). */
dtx_status dtx_pretrain_arch(const char *arch, int64_t layers, int64_t hidden, int64_t heads, int64_t vocab,
                             int64_t context, int32_t eos, int32_t pad, dtx_arch *out);

#endif
