/* bind.c - which parameter serves which purpose: names of the three families, bound once after opening. */
#include <stdio.h>
#include <string.h>

#include "src/base/mem.h"
#include "src/model/impl.h"

static int64_t find(const dtx_model *m, const char *name, const char *suffix)
{
    char full[192];

    snprintf(full, sizeof full, "%s%s", name, suffix);
    for (int64_t i = 0; i < m->n_params; i++) {
        if (strcmp(m->params[i].name, full) == 0) {
            return i;
        }
    }
    return -1;
}

static dtx_status bind_norm(const dtx_model *m, model_norm *n, const char *name)
{
    n->w_param = find(m, name, ".weight");
    n->b_param = find(m, name, ".bias");
    if (n->w_param < 0 || n->b_param < 0) {
        return DTX_FAIL(DTX_ERR_CHECK, "the description of %s lacks the norm %s", m->arch.model_type, name);
    }
    n->w = m->params[n->w_param].data;
    n->b = m->params[n->b_param].data;
    return DTX_OK;
}

static dtx_status bind_linear(const dtx_model *m, model_linear *l, const char *name)
{
    l->w_param = find(m, name, ".weight");
    l->b_param = find(m, name, ".bias");
    if (l->w_param < 0) {
        return DTX_FAIL(DTX_ERR_CHECK, "the description of %s lacks %s.weight", m->arch.model_type, name);
    }
    l->w = (dtx_matrix){.w = m->params[l->w_param].data,
                        .dtype = m->params[l->w_param].dtype,
                        .n_out = m->specs[l->w_param].shape[0],
                        .n_in = m->specs[l->w_param].shape[1]};
    l->bias = l->b_param >= 0 ? m->params[l->b_param].data : NULL;
    return DTX_OK;
}

static dtx_status bind_layer(const dtx_model *m, model_layer *l, int64_t i)
{
    const dtx_arch *a = &m->arch;
    const char *first = "input_layernorm", *second = "post_attention_layernorm", *stack = "gpt_neox.layers";
    char name[128];

    for (int k = 0; k < DTX_MODULES; k++) {
        dtx_module_name(a, i, (dtx_module_kind)k, name, sizeof name);
        if (name[0] != '\0') {
            DTX_TRY(bind_linear(m, &l->module[k], name));
        }
    }
    if (a->family == DTX_FALCON) {
        stack = "transformer.h";
        if (a->parallel && !a->shared_norm) {
            first = "ln_attn";
            second = "ln_mlp";
        }
    } else if (a->family == DTX_ROBERTA) {
        stack = "roberta.encoder.layer";
        first = "attention.output.LayerNorm";
        second = "output.LayerNorm";
    }
    snprintf(name, sizeof name, "%s.%lld.%s", stack, (long long)i, first);
    DTX_TRY(bind_norm(m, &l->norm1, name));
    if (!a->shared_norm) {
        snprintf(name, sizeof name, "%s.%lld.%s", stack, (long long)i, second);
        DTX_TRY(bind_norm(m, &l->norm2, name));
    }
    return DTX_OK;
}

dtx_status dtx_model_bind(dtx_model *m)
{
    const dtx_arch *a = &m->arch;
    const bool neox = a->family == DTX_NEOX;

    m->heads = (dtx_heads){.n_heads = a->n_heads,
                           .n_kv = a->n_kv,
                           .head_dim = a->head_dim,
                           .width = (a->n_heads + 2 * a->n_kv) * a->head_dim,
                           .fused = a->fused_qkv};
    DTX_TRY(DTX_NEW(m->layers, a->n_layers));
    DTX_TRY(DTX_NEW(m->rotary, 1));
    for (int64_t i = 0; i < a->n_layers; i++) {
        DTX_TRY(bind_layer(m, &m->layers[i], i));
    }
    if (a->position == DTX_POS_ALIBI) {
        DTX_TRY(DTX_NEW(m->slopes, a->n_heads));
        dtx_alibi_slopes(a->n_heads, m->slopes);
    }
    if (a->family == DTX_ROBERTA) {
        DTX_TRY(bind_linear(m, &m->words, "roberta.embeddings.word_embeddings"));
        DTX_TRY(bind_linear(m, &m->positions, "roberta.embeddings.position_embeddings"));
        DTX_TRY(bind_linear(m, &m->types, "roberta.embeddings.token_type_embeddings"));
        DTX_TRY(bind_norm(m, &m->embed_norm, "roberta.embeddings.LayerNorm"));
        DTX_TRY(bind_linear(m, &m->cls_dense, "classifier.dense"));
        return bind_linear(m, &m->cls_out, "classifier.out_proj");
    }
    DTX_TRY(bind_linear(m, &m->words, neox ? "gpt_neox.embed_in" : "transformer.word_embeddings"));
    DTX_TRY(bind_norm(m, &m->final_norm, neox ? "gpt_neox.final_layer_norm" : "transformer.ln_f"));
    if (a->tied_head) {
        m->head = m->words;
        return DTX_OK;
    }
    return bind_linear(m, &m->head, neox ? "embed_out" : "lm_head");
}

dtx_status dtx_model_need_positions(const dtx_model *m, int64_t n)
{
    struct model_rotary *t = m->rotary;
    const int64_t half = m->arch.rotary_dims / 2;

    if (m->arch.position != DTX_POS_ROTARY || n <= t->n) {
        return DTX_OK;
    }
    n = n < 256 ? 256 : n + n / 2;
    dtx_free(t->cos_t);
    dtx_free(t->sin_t);
    t->sin_t = NULL;
    t->n = 0;
    DTX_TRY(DTX_NEW_RAW(t->cos_t, n * half));
    DTX_TRY(DTX_NEW_RAW(t->sin_t, n * half));
    dtx_rotary_table(n, m->arch.rotary_dims, m->arch.rotary_base, t->cos_t, t->sin_t);
    t->n = n;
    return DTX_OK;
}
