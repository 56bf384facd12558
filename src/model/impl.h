/* impl.h - what the files of the model share and nobody else includes: the bound parameters, grow-only buffers,
 * and the record that a layer's forward pass leaves for its backward pass. */
#ifndef DTX_MODEL_IMPL_H
#define DTX_MODEL_IMPL_H

#include "src/algebra/kernel.h"
#include "src/model/model.h"

/* A linear or an embedding table: its matrix as stored, its bias, and their places among the parameters (-1 = none). */
typedef struct {
    dtx_matrix w;
    const float *bias;
    int64_t w_param, b_param;
    bool transposed;        /* w is (n_in, n_out) of the linear */
} model_linear;

typedef struct {
    const float *w, *b;
    int64_t w_param, b_param;
} model_norm;

typedef struct {
    model_linear module[DTX_MODULES];
    /* pre-norm: before attention and before the MLP (empty when one norm feeds both); post-norm: after them */
    model_norm norm1, norm2;
    model_norm end1, end2;  /* at the end of the branches */
    model_norm q_norm, k_norm;
} model_layer;

struct dtx_model {
    dtx_arch arch;
    dtx_heads heads;
    dtx_weights *weights;   /* the mapped folder, NULL for a model in memory */
    int64_t n_params;
    dtx_param *params;
    dtx_param_spec *specs;
    float *arena;           /* a trainable model's weights */
    int64_t arena_size;
    const dtx_tensor **stored; /* (n_params) of a mapped folder, else NULL */
    void **owned;           /* copies: widened vectors and matrices, unaligned tensors, random weights */
    int64_t n_owned;
    bool borrowed;          /* everything belongs to another model */

    model_linear words, positions, types, head, cls_dense, cls_out;
    model_norm embed_norm, final_norm;
    model_layer *layers;
    float *slopes;          /* ALiBi */
    /* Rotary tables, shared by all passes and grown by the pass that needs more positions: passes of one model are not
     * concurrent. */
    struct model_rotary {
        int64_t n;
        float *cos_t[2], *sin_t[2]; /* of dtx_arch.rope */
    } *rotary;
};

/* W (n_out, n_in; or its transposed) += scale B A, summed in double and rounded once; with `gain` then times it (DoRA). */
void dtx_merge_module(const dtx_lora *l, bool transposed, bool gain, float *W);

/* Value of a fresh vector's elements. */
float dtx_fresh_vector(const dtx_arch *a, const dtx_param_spec *s);
/* Fills words .. layers from m->params, whose data must be set; vectors must be f32. */
dtx_status dtx_model_bind(dtx_model *m);
/* Makes the rotary tables hold at least n positions. */
dtx_status dtx_model_need_positions(const dtx_model *m, int64_t n);

/* A buffer that grows and keeps its memory; contents are lost when it grows. */
typedef struct {
    float *p;
    size_t cap;
} model_buffer;
dtx_status dtx_buffer_need(model_buffer *b, int64_t n, float **out);
void dtx_buffer_free(model_buffer *b);

enum { /* who uses which buffer of a workspace */
    WORK_X,      /* no tape: the residual stream */
    WORK_Y,
    WORK_RECORD, /* no tape: the record that every layer overwrites */
    WORK_NORM,   /* (R, d) a norm's output */
    WORK_ACT,    /* (R, ffn) the activation's output */
    WORK_LORA,   /* (R, r) A x */
    WORK_DROP,   /* (R, widest input of an adapter) dropout(x) */
    WORK_GAIN,   /* (R, widest output of a DoRA module) */
    WORK_END,    /* (R, d) a branch's output before its norm, without a tape */
    BACK_D,      /* cotangents of the residual stream, two of them */
    BACK_E,
    BACK_NORM,   /* of a norm's output */
    BACK_FFN,
    BACK_GAIN,   /* cotangent of a DoRA module's output times its gain */
    BACK_UP,     /* gated: of the gate and the up projection */
    BACK_ATTN,
    BACK_QKV,
    BACK_LORA,   /* of A x */
    WORK_BUFFERS
};
typedef struct {
    model_buffer b[WORK_BUFFERS];
    int32_t *rows;          /* integer scratch: positions, maps */
    size_t rows_cap;
    void *list;             /* descriptions of sequences or segments for the attention kernels */
    size_t list_cap;
} model_work;
void dtx_work_free(model_work *w);

/* What one layer leaves for its backward pass; all R rows. x stands elsewhere (the layer below wrote it). */
typedef struct {
    float *mean1, *rstd1, *mean2, *rstd2; /* (R) statistics of the two norms; NULL without a tape */
    float *rstd_end1, *rstd_end2; /* (R) of the norms at the branches' end; NULL without a tape or such norms, as what follows */
    float *end1, *end2;     /* (R, d) what they normalise */
    float *qk, *rstd_qk;    /* (R, (n_heads + n_kv) * head_dim) queries and keys before their norm; (R, n_heads + n_kv) */
    float *qkv;             /* (R, width), rotated */
    float *attn;            /* (R, n_heads * head_dim) */
    float *mid;             /* (R, d) x + attention; pre-norm sequential and post-norm only */
    float *up;              /* (R, ffn) before the activation; gated: (R, 2 ffn), gate | up */
    float *sum;             /* (R, d) post-norm only: what the second norm normalises */
    float *probs;           /* softmax weights of the sequences that keep them, see dtx_tape.probs_at */
} model_record;
/* Elements of a record; with base != NULL also sets the pointers. */
int64_t dtx_record_layout(const dtx_model *m, int64_t R, bool stats, int64_t n_probs, float *base, model_record *rec);

struct dtx_tape {
    const dtx_model *m;
    bool recompute, filled;
    int64_t R, n_seq, n_seq_cap;
    int64_t *offset;        /* (n_seq + 1) */
    int64_t *probs_at;      /* (n_seq) offset in a record's probs, -1 = recomputed in backward */
    int64_t n_probs;
    int32_t *ids, *pos;     /* (R) */
    size_t ids_cap;
    const dtx_adapter *adapter; /* borrowed until the last backward */
    dtx_dropout dropout;        /* its rows likewise; p = 0 without */
    double entropy;             /* of the attention, where it was asked for */
    model_buffer x;         /* (n_layers + 1, R, d): input of each layer, then the stack's output */
    model_buffer stats;     /* (2 R) of the final norm, or of the embedding norm */
    model_buffer embed_sum; /* (R, d) what the embedding norm normalises */
    model_buffer records;   /* n_layers records, or one with recompute */
    model_work work;
};
/* Whether the softmax weights of a sequence of `len` rows are kept. */
bool dtx_tape_keeps_probs(const dtx_arch *a, int64_t len);
/* Copies the batch's shape, ids and positions and makes room. */
dtx_status dtx_tape_begin(dtx_tape *t, const dtx_batch *b, const int32_t *pos);
float *dtx_tape_x(const dtx_tape *t, int64_t layer);
void dtx_tape_record(const dtx_tape *t, int64_t layer, model_record *rec);

/* A layer with a window keeps its last keys alone: up to 2 (window - 1), of which the later half moves to the front when
 * they are full. */
struct dtx_kv {
    const dtx_model *m;
    int64_t n_slots, max_len, width; /* width = n_kv * head_dim */
    int64_t *len;                    /* (n_slots) positions that a stream has seen */
    int64_t *kept;                   /* (n_layers, n_slots) keys that a layer holds */
    int64_t *room;                   /* (n_layers) keys that a layer may hold */
    size_t *at;                      /* (n_layers) where a layer's data begin */
    float *data;                     /* for each layer (n_slots, 2, n_kv, room, head_dim): keys, then values; a head's one after
                                      * the other, as attention reads them */
    model_work work;
};
/* Of the first head: (n_kv, room, head_dim). */
float *dtx_kv_keys(const dtx_kv *kv, int64_t layer, int64_t slot);
float *dtx_kv_values(const dtx_kv *kv, int64_t layer, int64_t slot);
/* Keys that a stream of max_len positions keeps in a layer. */
int64_t dtx_kv_room(const dtx_arch *a, int64_t layer, int64_t max_len);
/* Makes room for new keys and says for how many of the n that come, at least 1; what no later query sees is forgotten. */
int64_t dtx_kv_make_room(dtx_kv *kv, int64_t layer, int64_t slot, int64_t n);

/* A forward pass under way; everything that can fail was done before the first layer. */
typedef struct {
    const dtx_model *m;
    int64_t R, n_seq;
    const int64_t *offset;
    const int32_t *pos;        /* (R) */
    const dtx_adapter *adapter;
    const dtx_dropout *dropout;
    dtx_kv *kv;
    const int64_t *slot;
    bool vector;               /* one row, through dtx_linear_vector */
    const int64_t *probs_at;   /* NULL = none kept */
    dtx_attn_seq *seq;         /* room for n_seq */
    int64_t *done;             /* (n_seq) rows of a layer that have attended, with a cache */
    double *entropy;           /* NULL = not wanted; room for (n_seq, n_heads), one layer's */
    double entropy_sum;        /* of the layers so far */
    float *norm, *act, *lora, *drop, *end, *gain; /* scratch */
} model_pass;
/* y (R, d) = layer(x), filling rec. */
void dtx_layer_forward(model_pass *p, int64_t layer, const float *x, const model_record *rec, float *y);
/* y (M, n_out) (+)= x W^T + bias, and dx (M, n_in) (+)= dy W, however the weight is stored. */
void dtx_model_linear(const model_linear *l, int64_t M, const float *x, int64_t ldx, float *y, int64_t ldy, bool accumulate);
void dtx_model_linear_input(const model_linear *l, int64_t M, const float *dy, int64_t lddy, float *dx, bool accumulate);
/* dw += its gradient, in the layout that the weight is stored in; db (n_out) likewise where not NULL. */
void dtx_model_linear_weight(const model_linear *l, int64_t M, const float *dy, int64_t lddy, const float *x, float *dw, float *db);
/* (n_out, n_in) of a linear. */
static inline int64_t dtx_linear_out(const model_linear *l)
{
    return l->transposed ? l->w.n_in : l->w.n_out;
}
static inline int64_t dtx_linear_in(const model_linear *l)
{
    return l->transposed ? l->w.n_out : l->w.n_in;
}
/* y (R, d) = norm(x); statistics may be NULL. */
void dtx_model_norm(const dtx_model *m, const model_norm *n, int64_t R, const float *x, float *y, float *mean, float *rstd);
/* Heads as a layer's attention sees them. */
static inline dtx_heads dtx_layer_heads(const dtx_model *m, int64_t layer)
{
    dtx_heads h = m->heads;
    h.window = m->arch.layer[layer] & DTX_LAYER_WINDOW ? m->arch.window : 0;
    return h;
}
/* Turns queries and keys of rows at positions pos, where the layer's do. */
void dtx_model_rotate(const dtx_model *m, int64_t layer, int64_t R, const int32_t *pos, float *qkv, bool inverse);
/* Columns of the up record: ffn, twice where it is gated. */
static inline int64_t dtx_up_width(const dtx_arch *a)
{
    return a->gated ? 2 * a->ffn : a->ffn;
}
/* Scratch of a pass from a workspace. */
dtx_status dtx_pass_scratch(model_pass *p, model_work *w, bool entropy);

/* The adapter's pair at a module, NULL when it has none there. */
static inline const dtx_lora *dtx_adapter_at(const dtx_adapter *a, int64_t layer, dtx_module_kind kind)
{
    if (a == NULL || a->slot[layer * DTX_MODULES + kind].A == NULL) {
        return NULL;
    }
    return &a->slot[layer * DTX_MODULES + kind];
}
static inline dtx_matrix dtx_f32_matrix(const float *w, int64_t n_out, int64_t n_in)
{
    return (dtx_matrix){.w = w, .dtype = DTX_F32, .n_out = n_out, .n_in = n_in};
}
/* Elements of WORK_GAIN: 0 without DoRA. */
static inline int64_t dtx_gain_size(const dtx_adapter *a, int64_t R)
{
    int64_t widest = 0;

    for (int64_t i = 0; a != NULL && a->extra != NULL && i < a->n_slots; i++) {
        widest = a->slot[i].gain != NULL && a->slot[i].n_out > widest ? a->slot[i].n_out : widest;
    }
    return R * widest;
}
/* Elements of WORK_DROP: 0 without dropout. */
static inline int64_t dtx_drop_size(const dtx_adapter *a, const dtx_dropout *o, int64_t R)
{
    int64_t widest = 0;

    for (int64_t i = 0; a != NULL && o != NULL && o->p > 0 && i < a->n_slots; i++) {
        widest = a->slot[i].A != NULL && a->slot[i].n_in > widest ? a->slot[i].n_in : widest;
    }
    return R * widest;
}
/* Where a module's output lies in the row that it is written to: behind q for apart K and V, behind the gate for the up projection. */
static inline int64_t dtx_module_column(const dtx_model *m, dtx_module_kind kind)
{
    if (kind == DTX_MOD_UP) {
        return m->arch.gated && !m->arch.fused_gate ? m->arch.ffn : 0;
    }
    return kind == DTX_MOD_K ? dtx_heads_k(&m->heads, 0) : kind == DTX_MOD_V ? dtx_heads_v(&m->heads, 0) : 0;
}

#endif
