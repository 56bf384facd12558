/* arch.h - what config.json says of a model, reduced to the description that the one transformer core reads.
 * GPT-NeoX, Falcon (dialects "falcon", "RefinedWeb", "RefinedWebModel"), RoBERTa sequence classification.
 * A field with a value that the core does not support is an error naming the field. */
#ifndef DTX_ARCH_H
#define DTX_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/algebra/activation.h"
#include "src/base/status.h"

typedef enum { DTX_NEOX, DTX_FALCON, DTX_ROBERTA } dtx_family;
typedef enum { DTX_POS_ROTARY, DTX_POS_ALIBI, DTX_POS_LEARNED } dtx_position;

enum { DTX_MAX_LABELS = 64 };

typedef struct {
    dtx_family family;
    char model_type[32];
    int64_t n_layers, hidden, n_heads, head_dim, ffn, vocab;
    int64_t n_kv;          /* key/value heads; query heads per group = n_heads / n_kv */
    int64_t max_positions; /* 0 = no bound of its own (rotary and ALiBi state their trained length here) */
    bool causal;
    bool parallel;         /* x + attn(norm1 x) + mlp(norm2 x); else x += attn(..), x += mlp(..) */
    bool shared_norm;      /* parallel with one norm feeding both branches (Falcon 7B) */
    bool post_norm;        /* RoBERTa: x = norm(x + branch(x)) */
    bool fused_qkv;        /* one projection, per key/value group: its q heads | k | v; else q, k, v apart */
    bool linear_bias;      /* biases of the four linears of a layer */
    bool head_bias;        /* LM head */
    bool tied_head;        /* the word embedding is the LM head */
    dtx_position position;
    int64_t rotary_dims;   /* leading dimensions of each head that rotate, in halves */
    double rotary_base;
    dtx_activation activation;
    float norm_eps;
    int64_t bos_id, eos_id, pad_id; /* -1 = none given; for RoBERTa pad_id also starts the positions */
    /* classifier */
    int64_t type_vocab, n_labels;
    bool multi_label;      /* sigmoid heads (problem_type multi_label_classification), else softmax */
    char labels[DTX_MAX_LABELS][48];
} dtx_arch;

/* Reads and checks DIR/config.json (or the file itself when `path` ends in .json). */
dtx_status dtx_arch_read(const char *path, dtx_arch *out);
/* The same from bytes; `name` is for messages. */
dtx_status dtx_arch_parse(const char *name, const char *text, size_t len, dtx_arch *out);
/* Writes a config.json that Hugging Face's library loads. */
dtx_status dtx_arch_write(const char *dir, const dtx_arch *a, const char *torch_dtype);
/* eos / pad from DIR/generation_config.json where present override config.json's. Missing file is fine. */
dtx_status dtx_arch_read_generation(const char *dir, dtx_arch *a);

/* SHA-256 of the weights' fingerprint and of all of the description that a pass depends on: equal tensors under another
 * residual order, activation, rotary part ... are another model. Names, labels and bounds do not count. */
dtx_status dtx_arch_fingerprint(const dtx_arch *a, const char *weights, char out[65]);

/* One parameter that a model of this description must have. */
typedef struct {
    char name[128];       /* name in the folder, e.g. "gpt_neox.layers.0.attention.query_key_value.weight" */
    int n_dims;
    int64_t shape[2];
} dtx_param_spec;

/* All parameters in canonical order (embeddings, layers, final norm, head); *specs is allocated, free with dtx_free.
 * A tied head has no entry of its own. */
dtx_status dtx_arch_params(const dtx_arch *a, dtx_param_spec **specs, int64_t *n);
/* Trainable parameters, a tied head counted once: 2,775,864,320 for RedPajama 3B. */
dtx_status dtx_arch_count(const dtx_arch *a, int64_t *n_parameters);

#endif
