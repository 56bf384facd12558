#include "src/model/arch.h"

#include <stdio.h>

#include "src/base/mem.h"

/* The list while it is made. specs == NULL only counts. */
typedef struct {
    dtx_param_spec *specs;
    int64_t n;
    int64_t elements;
    const char *prefix; /* "gpt_neox.layers." ... */
    int64_t layer;      /* -1: `prefix` is not used */
} list;

/* One tensor (cols == 0: a vector of `rows`). */
static void add(list *l, const char *name, int64_t rows, int64_t cols)
{
    if (l->specs != NULL) {
        dtx_param_spec *p = &l->specs[l->n];
        if (l->layer >= 0) {
            snprintf(p->name, sizeof p->name, "%s%lld.%s", l->prefix, (long long)l->layer, name);
        } else {
            snprintf(p->name, sizeof p->name, "%s", name);
        }
        p->n_dims = cols > 0 ? 2 : 1;
        p->shape[0] = rows;
        p->shape[1] = cols > 0 ? cols : 1;
    }
    l->n++;
    l->elements += rows * (cols > 0 ? cols : 1);
}

/* module.weight (out, in) and, where there is one, module.bias (out). in == 0: a norm's weight (out). */
static void add_module(list *l, const char *module, int64_t out, int64_t in, bool bias)
{
    char name[96];

    snprintf(name, sizeof name, "%s.weight", module);
    add(l, name, out, in);
    if (bias) {
        snprintf(name, sizeof name, "%s.bias", module);
        add(l, name, out, 0);
    }
}

static void add_norm(list *l, const char *module, int64_t d)
{
    add_module(l, module, d, 0, true);
}

static void decoder_layer(list *l, const dtx_arch *a)
{
    bool neox = a->family == DTX_NEOX;
    int64_t d = a->hidden, width = (a->n_heads + 2 * a->n_kv) * a->head_dim;

    if (!neox && a->parallel && !a->shared_norm) {
        add_norm(l, "ln_attn", d);
        add_norm(l, "ln_mlp", d);
    } else {
        add_norm(l, "input_layernorm", d);
        if (!a->shared_norm) {
            add_norm(l, "post_attention_layernorm", d);
        }
    }
    add_module(l, neox ? "attention.query_key_value" : "self_attention.query_key_value", width, d, a->linear_bias);
    add_module(l, neox ? "attention.dense" : "self_attention.dense", d, d, a->linear_bias);
    add_module(l, "mlp.dense_h_to_4h", a->ffn, d, a->linear_bias);
    add_module(l, "mlp.dense_4h_to_h", d, a->ffn, a->linear_bias);
}

static void decoder(list *l, const dtx_arch *a)
{
    bool neox = a->family == DTX_NEOX;

    add(l, neox ? "gpt_neox.embed_in.weight" : "transformer.word_embeddings.weight", a->vocab, a->hidden);
    l->prefix = neox ? "gpt_neox.layers." : "transformer.h.";
    for (l->layer = 0; l->layer < a->n_layers; l->layer++) {
        decoder_layer(l, a);
    }
    l->layer = -1;
    add_norm(l, neox ? "gpt_neox.final_layer_norm" : "transformer.ln_f", a->hidden);
    if (!a->tied_head) {
        add_module(l, neox ? "embed_out" : "lm_head", a->vocab, a->hidden, a->head_bias);
    }
}

static void roberta(list *l, const dtx_arch *a)
{
    int64_t d = a->hidden;

    add(l, "roberta.embeddings.word_embeddings.weight", a->vocab, d);
    add(l, "roberta.embeddings.position_embeddings.weight", a->max_positions, d);
    add(l, "roberta.embeddings.token_type_embeddings.weight", a->type_vocab, d);
    add_norm(l, "roberta.embeddings.LayerNorm", d);
    l->prefix = "roberta.encoder.layer.";
    for (l->layer = 0; l->layer < a->n_layers; l->layer++) {
        add_module(l, "attention.self.query", d, d, true);
        add_module(l, "attention.self.key", d, d, true);
        add_module(l, "attention.self.value", d, d, true);
        add_module(l, "attention.output.dense", d, d, true);
        add_norm(l, "attention.output.LayerNorm", d);
        add_module(l, "intermediate.dense", a->ffn, d, true);
        add_module(l, "output.dense", d, a->ffn, true);
        add_norm(l, "output.LayerNorm", d);
    }
    l->layer = -1;
    add_module(l, "classifier.dense", d, d, true);
    add_module(l, "classifier.out_proj", a->n_labels, d, true);
}

static void all(list *l, const dtx_arch *a)
{
    l->layer = -1;
    if (a->family == DTX_ROBERTA) {
        roberta(l, a);
    } else {
        decoder(l, a);
    }
}

dtx_status dtx_arch_params(const dtx_arch *a, dtx_param_spec **specs, int64_t *n)
{
    list l = {0};

    all(&l, a);
    int64_t count = l.n;
    l = (list){0};
    DTX_TRY(DTX_NEW(l.specs, count));
    all(&l, a);
    *specs = l.specs;
    *n = count;
    return DTX_OK;
}

dtx_status dtx_arch_count(const dtx_arch *a, int64_t *n_parameters)
{
    list l = {0};

    all(&l, a);
    *n_parameters = l.elements;
    return DTX_OK;
}
