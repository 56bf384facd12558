/* model.h - one transformer core: decoders and encoders differ by dtx_arch alone.
 * Batches are ragged: the rows of all sequences one after the other, no padding. Forward can keep a tape; backward
 * walks it with cotangent rows that need not be the forward's rows: a *segment* (seq, first, len) holds the cotangents of
 * rows first..len-1 of one sequence, and any number of segments may refer to one sequence. Training is one segment a
 * sequence with first = 0; attribution is one segment a generated token, which starts as the single row first = len-1
 * and covers 0..len-1 from the first attention downward.
 * R = rows, d = hidden, V = vocab. f32 activations. All functions are local and deterministic: a row's bits do not
 * depend on the other rows of its batch or on the number of threads. Passes of one model, tape or cache are not concurrent. */
#ifndef DTX_MODEL_H
#define DTX_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "src/model/adapter.h"
#include "src/model/families/arch.h"
#include "src/model/dropout.h"
#include "src/algebra/linear.h"
#include "src/base/status.h"
#include "src/weights/weights.h"

/* One parameter: where it lives, and (for trained models) its place in a gradient arena. */
typedef struct {
    char name[128];
    dtx_role role;
    int64_t n_elements, rows; /* rows of a matrix, entries of a vector */
    int64_t offset;        /* element offset in the arenas of a trainable model and its gradients */
    dtx_dtype dtype;
    const void *data;
    const int32_t *order;  /* NULL, or where each row is stored (dtx_matrix) */
} dtx_param;
/* out (n_elements) = its values in f32, rows in their order. */
void dtx_param_widen(const dtx_param *p, float *out);

typedef struct dtx_model dtx_model;

/* Opens a Hugging Face folder or a GGUF file: dtx_arch_read, weights mapped, all tensors checked (present once, shape, floating dtype; known
 * non-weight buffers are ignored, anything else unknown is DTX_ERR_INPUT). force_f32 widens all weights into memory.
 * Vectors (norms, biases) are widened copies; matrices stay as stored, quantised ones too. */
dtx_status dtx_model_open(const char *dir, bool force_f32, dtx_model **out);
/* The same with a description of the caller's instead of the folder's config.json. */
dtx_status dtx_model_open_as(const char *dir, const dtx_arch *a, bool force_f32, dtx_model **out);
/* A trainable f32 model with fresh weights: N(0, 0.02), output projections scaled by 1/sqrt(2 n_layers), norms 1 and 0.
 * Weights stand in one arena in dtx_arch_params order. */
dtx_status dtx_model_new(const dtx_arch *a, uint64_t seed, dtx_model **out);
/* A trainable f32 copy of a model, with the adapter (may be NULL) merged into its matrices: W + scale B A. */
dtx_status dtx_model_copy(const dtx_model *m, const dtx_adapter *ad, dtx_model **out);
/* Random weights of the real shape in `dtype`, for benchmarks: no folder, cheap generator. */
dtx_status dtx_model_random(const dtx_arch *a, dtx_dtype dtype, uint64_t seed, dtx_model **out);
/* The same as a folder on disk, config.json and safetensors in shards of about shard_bytes with their index, for runs at a
 * model's full size without its weights. Written tensor by tensor: memory for the largest one is enough. */
dtx_status dtx_model_write_random(const dtx_arch *a, dtx_dtype dtype, uint64_t seed, int64_t shard_bytes, const char *dir);
/* Writes config.json and model.safetensors (f32) of a trainable model. */
dtx_status dtx_model_save(const dtx_model *m, const char *dir);
/* Writes the weights of an opened folder with the adapter (may be NULL) merged, W + scale B A, as one safetensors file:
 * each tensor in its stored dtype (quantised ones as F16), rounded to nearest even, or as f32 (which F64 becomes in any case). Tensors are made
 * one at a time from the map. A merged weight that its dtype cannot hold is DTX_ERR_NUMERIC. */
dtx_status dtx_model_write_merged(const dtx_model *m, const dtx_adapter *ad, bool as_f32, const dtx_meta *meta, int n_meta,
                                  const char *path);
/* The first n layers (1 .. all) with embeddings, final norm and head, for measurements: shares everything with m, which must
 * outlive it, and whose passes must not run at the same time. */
dtx_status dtx_model_first_layers(const dtx_model *m, int64_t n, dtx_model **out);
void dtx_model_del(dtx_model *m);

/* What an adapter needs to know of its base: DoRA's gains. To be called once after reading; nothing for plain LoRA. */
dtx_status dtx_adapter_attach(const dtx_model *m, dtx_adapter *ad);

const dtx_arch *dtx_model_arch(const dtx_model *m);
int64_t dtx_model_n_params(const dtx_model *m);      /* entries */
const dtx_param *dtx_model_param(const dtx_model *m, int64_t i);
float *dtx_model_arena(dtx_model *m);                /* NULL unless trainable */
int64_t dtx_model_arena_size(const dtx_model *m);    /* elements */
/* Fingerprint of the model: of its weights (dtx_weights_fingerprint, or the arena of a model in memory) under its
 * description (dtx_arch_fingerprint). */
dtx_status dtx_model_fingerprint(const dtx_model *m, char out[65]);
/* Base matrix of a module, for merging and benchmarks. */
const dtx_matrix *dtx_model_module(const dtx_model *m, int64_t layer, dtx_module_kind kind);

/* Keys and values of `n_slots` independent streams of at most max_len positions each. */
typedef struct dtx_kv dtx_kv;
dtx_status dtx_kv_new(const dtx_model *m, int64_t n_slots, int64_t max_len, dtx_kv **out);
void dtx_kv_reset(dtx_kv *kv, int64_t slot);
int64_t dtx_kv_len(const dtx_kv *kv, int64_t slot);
void dtx_kv_del(dtx_kv *kv);

/* What a forward pass keeps for the backward pass. Reusable: grows as needed. The adapter of the pass is borrowed until
 * the last backward. */
typedef struct dtx_tape dtx_tape;
/* recompute: keep only each layer's input and run the layer again in backward (less memory, a third more work). */
dtx_status dtx_tape_new(const dtx_model *m, bool recompute, dtx_tape **out);
void dtx_tape_del(dtx_tape *t);
/* Of the last forward pass whose batch asked for it: the sum over layers, heads and rows of -sum_j p_j ln p_j (nats), p
 * the softmax weights of one head of one row over the keys that it sees. */
double dtx_tape_entropy(const dtx_tape *t);

typedef struct {
    int64_t n_seq;
    const int64_t *offset;      /* (n_seq + 1) row offsets, offset[0] = 0; sequences of 0 rows are allowed */
    const int32_t *ids;         /* (R) token ids, checked against the vocabulary */
    const float *embeds;        /* NULL, or (R, d): replaces the word embedding's output */
    const dtx_adapter *adapter; /* NULL = base */
    const dtx_dropout *dropout; /* NULL, or on the adapter's branches (training): y = W x + b + scale B A dropout(x) */
    dtx_kv *kv;                 /* NULL, or cache: sequence s continues stream slot[s]; rows are appended */
    const int64_t *slot;
    dtx_tape *tape;             /* NULL, or receives the pass (not together with kv) */
    bool single;                /* this stream never has company: a pass of one row uses dtx_linear_vector */
    bool entropy;               /* the tape receives the attention's entropy too */
} dtx_batch;

/* hidden (R, d): the final norm's output (decoder) or the last layer's (encoder). */
dtx_status dtx_model_forward(const dtx_model *m, const dtx_batch *b, float *hidden);
/* The word embedding's output of ids (R, d), what attribution attributes. */
dtx_status dtx_model_embed(const dtx_model *m, int64_t R, const int32_t *ids, float *out);
/* logits (R, V) = LM head of R rows of hidden (ld d). */
void dtx_model_logits(const dtx_model *m, int64_t R, const float *hidden, float *logits);
/* The same for one row of a stream that never has company (dtx_batch.single). */
void dtx_model_logits_single(const dtx_model *m, const float *hidden, float *logits);
/* d_hidden (R, d) = d_logits (R, V) through the head; grads: NULL, or an arena (dtx_model_arena_size) that the head's
 * gradient is added to, and then hidden (R, d) must be given. */
void dtx_model_logits_backward(const dtx_model *m, int64_t R, const float *d_logits, const float *hidden,
                               float *d_hidden, float *grads);

/* Logits may be capped (dtx_arch.logit_cap): d_logits (R, V) of capped logits become those of the head's output. Nothing
 * without a cap; to be called before dtx_model_logits_backward with the logits as dtx_model_logits gave them. */
void dtx_model_cap_backward(const dtx_model *m, int64_t R, const float *logits, float *d_logits);

typedef struct {
    int64_t seq;
    int64_t first, len;         /* rows first..len-1 of the sequence; 0 <= first < len <= its length */
} dtx_segment;

typedef struct {                /* which gradients are wanted; NULL = not */
    float *embeds;              /* (sum of len, d): cotangents of the word embedding's output, all rows 0..len-1 of each
                                 * segment, segments one after the other; overwritten */
    float *params;              /* arena of a trainable model, added to; the segments must then be all sequences that
                                 * have rows, whole and in order (one segment a sequence, first = 0) */
    dtx_adapter *lora;          /* gradients of the adapter that the forward pass used, added to; same condition */
    float entropy;              /* cotangent of dtx_tape_entropy, part of all gradients; 0 = none; same condition */
    /* NULL, or told when a layer's gradients are complete: layers n_layers-1 .. 0, those below the lowest adapter at once
     * with it. What is complete may be sent on while the pass goes on. */
    void (*layer_done)(void *user, int64_t layer);
    void *user;
} dtx_wanted;

/* Vector-Jacobian products of all segments together. d_hidden (sum of (len - first), d) are cotangents of `hidden`;
 * destroyed. With only lora wanted nothing is computed below the lowest adapter. Several calls on one tape are fine. */
dtx_status dtx_model_backward(const dtx_model *m, dtx_tape *tape, int64_t n_seg, const dtx_segment *seg,
                              float *d_hidden, const dtx_wanted *want);
/* Bytes that one cotangent row costs at most during backward, for block sizes under a memory budget. */
int64_t dtx_model_backward_bytes_per_row(const dtx_model *m);

/* Encoder with classification head: logits (n_seq, n_labels). */
dtx_status dtx_model_classify(const dtx_model *m, const dtx_batch *b, float *logits);
/* Backward pass of a classification whose forward pass kept a tape: d_logits (n_seq, n_labels). */
dtx_status dtx_model_classify_backward(const dtx_model *m, dtx_tape *tape, const float *d_logits,
                                       const dtx_wanted *want);
/* The same head on every token's hidden state: logits, d_logits (R, n_labels); the rows offset[s] are dtx_model_classify's. */
dtx_status dtx_model_classify_tokens(const dtx_model *m, const dtx_batch *b, float *logits);
dtx_status dtx_model_classify_tokens_backward(const dtx_model *m, dtx_tape *tape, const float *d_logits, const dtx_wanted *want);
/* logits -> probabilities in place: softmax, or sigmoid for multi-label heads. */
void dtx_model_label_probs(const dtx_arch *a, int64_t n, float *logits);

#endif
