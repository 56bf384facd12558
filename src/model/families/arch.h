/* arch.h - what config.json says of a model, reduced to the description that the one transformer core reads. What belongs
 * to one family alone (keys of config.json, names of tensors) is a row of families/table.h.
 * A field with a value that the core does not support is an error naming the field. */
#ifndef DTX_ARCH_H
#define DTX_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/algebra/activation.h"
#include "src/base/status.h"

typedef enum { DTX_POS_ROTARY, DTX_POS_ALIBI, DTX_POS_LEARNED } dtx_position;

/* The linear modules of a layer. Families whose projections are apart use Q, K, V. */
typedef enum {
    DTX_MOD_QKV,
    DTX_MOD_Q = DTX_MOD_QKV,
    DTX_MOD_K,
    DTX_MOD_V,
    DTX_MOD_OUT,
    DTX_MOD_UP,             /* gate | up where they are fused */
    DTX_MOD_DOWN,
    DTX_MOD_GATE,
    DTX_MODULES
} dtx_module_kind;

/* What else a model consists of; a part is a dtx_module_kind or one of these. */
typedef enum {
    DTX_PART_NORM1 = DTX_MODULES, /* of the attention's branch */
    DTX_PART_NORM2,               /* of the MLP's */
    DTX_PART_NORM1_END,           /* at the end of the attention's branch */
    DTX_PART_NORM2_END,
    DTX_PART_Q_NORM,
    DTX_PART_K_NORM,
    DTX_PART_WORDS,
    DTX_PART_POSITIONS,
    DTX_PART_TYPES,
    DTX_PART_EMBED_NORM,
    DTX_PART_FINAL_NORM,
    DTX_PART_HEAD,
    DTX_PART_CLS_DENSE,
    DTX_PART_CLS_OUT,
    DTX_PARTS
} dtx_part;

enum { DTX_MAX_LABELS = 64, DTX_MAX_LAYERS = 4096, DTX_MAX_EOS = 16 };

/* Ids that end a text; the first is the one that training appends. */
typedef struct {
    int n;
    int32_t id[DTX_MAX_EOS];
} dtx_eos;
static inline bool dtx_eos_has(const dtx_eos *e, int64_t id)
{
    for (int i = 0; i < e->n; i++) {
        if (e->id[i] == id) {
            return true;
        }
    }
    return false;
}
/* The one that training appends; -1 = none. */
static inline int32_t dtx_eos_first(const dtx_eos *e)
{
    return e->n > 0 ? e->id[0] : -1;
}
/* Of one id, or of none when it is negative. */
static inline dtx_eos dtx_eos_of(int64_t id)
{
    return (dtx_eos){.n = id >= 0 ? 1 : 0, .id = {(int32_t)id}};
}

/* Rotary positions: pair i of `dims` dimensions turns by p * step[i] at position p. */
typedef enum { DTX_ROPE_PLAIN, DTX_ROPE_LINEAR, DTX_ROPE_LLAMA3, DTX_ROPE_YARN } dtx_rope_type;
typedef struct {
    dtx_rope_type type;
    double base;                 /* step[i] = base^(-2 i / dims) before any scaling */
    double factor;               /* by which the trained length was stretched */
    double old_length;           /* trained length: llama3, yarn */
    double low, high;            /* llama3: low_freq_factor, high_freq_factor; yarn: beta_slow, beta_fast */
    double attention;            /* yarn: cos and sin are multiplied by it */
    bool exact;                  /* yarn: the ramp's ends are not rounded (truncate = false) */
} dtx_rope;
/* step (dims / 2) and the factor of cos and sin. */
void dtx_rope_steps(const dtx_rope *r, int64_t dims, double *step, double *factor);

/* What sets a layer apart from its neighbours; bits of dtx_arch.layer. */
enum {
    DTX_LAYER_WINDOW = 1,        /* sees dtx_arch.window keys, itself included */
    DTX_LAYER_NO_ROPE = 2,
    DTX_LAYER_ROPE2 = 4          /* turns by the second rope */
};

typedef struct {
    char model_type[32];   /* the family, in one of its dialects */
    int64_t n_layers, hidden, n_heads, head_dim, ffn, vocab;
    int64_t n_kv;          /* key/value heads; query heads per group = n_heads / n_kv */
    int64_t max_positions; /* 0 = no bound of its own (rotary and ALiBi state their trained length here) */
    bool causal;
    bool parallel;         /* x + attn(norm1 x) + mlp(norm2 x); else x += attn(..), x += mlp(..) */
    bool shared_norm;      /* parallel with one norm feeding both branches (Falcon 7B) */
    bool post_norm;        /* RoBERTa: x = norm(x + branch(x)) */
    bool bare_input;       /* no norm before a branch (OLMo 2) */
    bool branch_norm;      /* x += norm(branch(..)) (OLMo 2, Gemma 2 and 3) */
    bool rms_norm;         /* x / sqrt(mean(x^2) + eps) * w, no shift; else LayerNorm */
    bool norm_plus_one;    /* ... * (1 + w) (Gemma) */
    bool qk_norm;          /* RMSNorm of each head's q and k before they turn */
    bool qk_norm_wide;     /* ... over the whole projection instead */
    bool fused_qkv;        /* one projection, per key/value group: its q heads | k | v; else q, k, v apart */
    bool qkv_blocks;       /* with fused_qkv: all q | all k | all v */
    bool gated;            /* MLP: down(act(gate x) * up x), else down(act(up x)) */
    bool fused_gate;       /* one projection: gate | up */
    bool transposed;       /* weights of the layers' linears are stored (in, out) (GPT-2) */
    bool linear_bias;      /* biases of all linears of a layer; else these: */
    bool qkv_bias, out_bias, mlp_bias;
    bool head_bias;        /* LM head */
    bool tied_head;        /* the word embedding is the LM head */
    dtx_position position;
    int64_t rotary_dims;   /* leading dimensions of each head that rotate, in halves */
    dtx_rope rope[2];
    int64_t window;        /* of the layers that have one */
    uint8_t layer[DTX_MAX_LAYERS]; /* DTX_LAYER_* bits */
    double score_scale;    /* of q.k; 0 = 1 / sqrt(head_dim) */
    double score_cap, logit_cap; /* x becomes cap tanh(x / cap); 0 = none */
    double embed_scale;    /* of the word embedding on the input side; 0 = 1 */
    dtx_activation activation;
    float norm_eps;
    int64_t bos_id, pad_id; /* -1 = none given; for RoBERTa pad_id also starts the positions */
    dtx_eos eos;
    /* classifier */
    int64_t type_vocab, n_labels;
    bool multi_label;      /* sigmoid heads (problem_type multi_label_classification), else softmax */
    char labels[DTX_MAX_LABELS][48];
} dtx_arch;

/* Reads and checks DIR/config.json (or the file itself when `path` ends in .json; or the keys of a GGUF file), and what DIR/generation_config.json says
 * of eos and pad, which holds over config.json; a missing generation_config.json is fine. */
dtx_status dtx_arch_read(const char *path, dtx_arch *out);
/* config.json alone, from bytes; `name` is for messages. */
dtx_status dtx_arch_parse(const char *name, const char *text, size_t len, dtx_arch *out);
/* Writes a config.json that Hugging Face's library loads. */
dtx_status dtx_arch_write(const char *dir, const dtx_arch *a, const char *torch_dtype);
/* Description of a model to be trained from scratch: the family's usual block with these sizes, ffn = 4 hidden, GELU.
 * model_type "auto": the first family of the kind. encoder:
 * a classifier's, whose labels the caller adds. DTX_ERR_USAGE for a family that is not trained from scratch or of
 * the other kind, naming those that are, and for a hidden that heads of an even width do not divide. */
dtx_status dtx_arch_fresh(const char *model_type, bool encoder, int64_t layers, int64_t hidden, int64_t heads, int64_t vocab,
                          int64_t positions, dtx_arch *out);
/* Most tokens of a text: max_positions, less those that the position code leaves out; 0 = no bound. */
int64_t dtx_arch_max_tokens(const dtx_arch *a);

/* SHA-256 of the weights' fingerprint and of all of the description that a pass depends on: equal tensors under another
 * residual order, activation, rotary part ... are another model. Names, labels and bounds do not count. */
dtx_status dtx_arch_fingerprint(const dtx_arch *a, const char *weights, char out[65]);

/* Whether a model of this description has the part. */
bool dtx_arch_has(const dtx_arch *a, int part);
bool dtx_part_is_norm(int part);
/* Dotted name of a part in layer `layer` (-1 = outside the layers), "gpt_neox.layers.0.attention.dense"; "" when the
 * description has no such part. */
void dtx_part_path(const dtx_arch *a, int part, int64_t layer, char *out, size_t size);

/* The same of the LM head, tied or not: a tied one may be stored all the same. */
void dtx_head_path(const dtx_arch *a, char *out, size_t size);
/* The dotted name of a module; "" when the description has no such module. */
void dtx_module_name(const dtx_arch *a, int64_t layer, dtx_module_kind kind, char *out, size_t size);
/* (n_out, n_in) of a module. */
void dtx_module_shape(const dtx_arch *a, dtx_module_kind kind, int64_t *n_out, int64_t *n_in);

/* What a parameter does: weight decay, fresh values and the like are decided by it. */
typedef enum {
    DTX_ROLE_MATRIX, /* of a linear */
    DTX_ROLE_TABLE,  /* of embeddings */
    DTX_ROLE_SCALE,  /* of a norm */
    DTX_ROLE_SHIFT   /* a bias, of a linear or a norm */
} dtx_role;
static inline bool dtx_role_decays(dtx_role r)
{
    return r == DTX_ROLE_MATRIX || r == DTX_ROLE_TABLE;
}

/* One parameter that a model of this description must have. */
typedef struct {
    char name[128];       /* name in the folder, e.g. "gpt_neox.layers.0.attention.query_key_value.weight" */
    int part;             /* dtx_module_kind or dtx_part */
    dtx_role role;
    int64_t layer;        /* -1 = outside the layers */
    bool transposed;      /* stored (in, out) */
    int n_dims;
    int64_t shape[2];
} dtx_param_spec;

/* All parameters in canonical order (embeddings, layers, final norm, head); *specs is allocated, free with dtx_free.
 * A tied head has no entry of its own. */
dtx_status dtx_arch_params(const dtx_arch *a, dtx_param_spec **specs, int64_t *n);
/* Trainable parameters, a tied head counted once: 2,775,864,320 for RedPajama 3B. */
dtx_status dtx_arch_count(const dtx_arch *a, int64_t *n_parameters);

#endif
