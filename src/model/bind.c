/* bind.c - which parameter serves which purpose, bound once after opening. */
#include "src/base/mem.h"
#include "src/model/impl.h"

/* The place of a norm among the model's fields; NULL for another part. */
static model_norm *norm_of(dtx_model *m, const dtx_param_spec *s)
{
    switch (s->part) {
    case DTX_PART_NORM1:
        return &m->layers[s->layer].norm1;
    case DTX_PART_NORM2:
        return &m->layers[s->layer].norm2;
    case DTX_PART_NORM1_END:
        return &m->layers[s->layer].end1;
    case DTX_PART_NORM2_END:
        return &m->layers[s->layer].end2;
    case DTX_PART_Q_NORM:
        return &m->layers[s->layer].q_norm;
    case DTX_PART_K_NORM:
        return &m->layers[s->layer].k_norm;
    case DTX_PART_EMBED_NORM:
        return &m->embed_norm;
    case DTX_PART_FINAL_NORM:
        return &m->final_norm;
    default:
        return NULL;
    }
}

/* The same for a linear or a table. */
static model_linear *linear_of(dtx_model *m, const dtx_param_spec *s)
{
    switch (s->part) {
    case DTX_PART_WORDS:
        return &m->words;
    case DTX_PART_POSITIONS:
        return &m->positions;
    case DTX_PART_TYPES:
        return &m->types;
    case DTX_PART_HEAD:
        return &m->head;
    case DTX_PART_CLS_DENSE:
        return &m->cls_dense;
    case DTX_PART_CLS_OUT:
        return &m->cls_out;
    default:
        return &m->layers[s->layer].module[s->part];
    }
}

static void bind_param(dtx_model *m, int64_t i)
{
    const dtx_param_spec *s = &m->specs[i];
    const dtx_param *p = &m->params[i];
    model_norm *n = norm_of(m, s);

    if (n != NULL && s->role == DTX_ROLE_SCALE) {
        n->w_param = i;
        n->w = p->data;
        n->b_param = -1;
    } else if (n != NULL) {
        n->b_param = i;
        n->b = p->data;
    } else if (s->role == DTX_ROLE_SHIFT) {
        model_linear *l = linear_of(m, s);
        l->b_param = i;
        l->bias = p->data;
    } else {
        model_linear *l = linear_of(m, s);
        l->w_param = i;
        l->w = (dtx_matrix){.w = p->data, .dtype = p->dtype, .n_out = s->shape[0], .n_in = s->shape[1], .order = p->order};
        l->b_param = -1; /* a weight stands before its bias */
        l->transposed = s->transposed;
    }
}

dtx_status dtx_model_bind(dtx_model *m)
{
    const dtx_arch *a = &m->arch;

    m->heads = (dtx_heads){.n_heads = a->n_heads,
                           .n_kv = a->n_kv,
                           .head_dim = a->head_dim,
                           .width = (a->n_heads + 2 * a->n_kv) * a->head_dim,
                           .fused = a->fused_qkv && !a->qkv_blocks,
                           .scale = (float)a->score_scale,
                           .cap = (float)a->score_cap};
    DTX_TRY(DTX_NEW(m->layers, a->n_layers));
    DTX_TRY(DTX_NEW(m->rotary, 1));
    for (int64_t i = 0; i < m->n_params; i++) {
        bind_param(m, i);
    }
    if (a->position == DTX_POS_ALIBI) {
        DTX_TRY(DTX_NEW(m->slopes, a->n_heads));
        dtx_alibi_slopes(a->n_heads, m->slopes);
    }
    if (a->causal && a->tied_head) {
        m->head = m->words;
    }
    return DTX_OK;
}

dtx_status dtx_model_need_positions(const dtx_model *m, int64_t n)
{
    struct model_rotary *t = m->rotary;
    const int64_t half = m->arch.rotary_dims / 2;
    double *step = NULL, factor;
    dtx_status st = DTX_OK;

    if (m->arch.position != DTX_POS_ROTARY || n <= t->n) {
        return DTX_OK;
    }
    n = n < 256 ? 256 : n + n / 2;
    t->n = 0;
    DTX_GO(DTX_NEW_RAW(step, half));
    for (int k = 0; k < 2 && m->arch.rope[k].base > 0; k++) {
        dtx_free(t->cos_t[k]);
        dtx_free(t->sin_t[k]);
        t->cos_t[k] = t->sin_t[k] = NULL;
        DTX_GO(DTX_NEW_RAW(t->cos_t[k], n * half));
        DTX_GO(DTX_NEW_RAW(t->sin_t[k], n * half));
        dtx_rope_steps(&m->arch.rope[k], m->arch.rotary_dims, step, &factor);
        dtx_rotary_table(n, half, step, factor, t->cos_t[k], t->sin_t[k]);
    }
    t->n = n;
done:
    dtx_free(step);
    return st;
}

void dtx_model_rotate(const dtx_model *m, int64_t layer, int64_t R, const int32_t *pos, float *qkv, bool inverse)
{
    const uint8_t kind = m->arch.layer[layer];
    const int k = kind & DTX_LAYER_ROPE2 ? 1 : 0;

    if (m->arch.position == DTX_POS_ROTARY && !(kind & DTX_LAYER_NO_ROPE)) {
        dtx_rotary(&m->heads, m->arch.rotary_dims, m->rotary->cos_t[k], m->rotary->sin_t[k], R, pos, qkv, inverse);
    }
}
