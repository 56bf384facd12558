/* parts.c - what a model consists of: which parts a description has, their names, shapes and tensors. */
#include <stdio.h>
#include <string.h>

#include "src/base/mem.h"
#include "src/model/families/table.h"

bool dtx_arch_has(const dtx_arch *a, int part)
{
    switch (part) {
    case DTX_MOD_K:
    case DTX_MOD_V:
        return !a->fused_qkv;
    case DTX_MOD_GATE:
        return a->gated && !a->fused_gate;
    case DTX_PART_NORM1:
        return !a->bare_input;
    case DTX_PART_NORM2:
        return !a->bare_input && !a->shared_norm;
    case DTX_PART_NORM1_END:
    case DTX_PART_NORM2_END:
        return a->branch_norm;
    case DTX_PART_Q_NORM:
    case DTX_PART_K_NORM:
        return a->qk_norm;
    case DTX_PART_POSITIONS:
        return a->position == DTX_POS_LEARNED;
    case DTX_PART_TYPES:
        return a->type_vocab > 0;
    case DTX_PART_EMBED_NORM:
        return a->post_norm;
    case DTX_PART_FINAL_NORM:
        return !a->post_norm;
    case DTX_PART_HEAD:
        return a->causal && !a->tied_head;
    case DTX_PART_CLS_DENSE:
    case DTX_PART_CLS_OUT:
        return a->n_labels > 0;
    default:
        return true;
    }
}

bool dtx_part_is_norm(int part)
{
    return (part >= DTX_PART_NORM1 && part <= DTX_PART_K_NORM) || part == DTX_PART_EMBED_NORM || part == DTX_PART_FINAL_NORM;
}

static bool is_table(int part)
{
    return part == DTX_PART_WORDS || part == DTX_PART_POSITIONS || part == DTX_PART_TYPES;
}

static bool has_bias(const dtx_arch *a, int part)
{
    if (part <= DTX_MOD_V) {
        return a->linear_bias || a->qkv_bias;
    }
    if (part < DTX_MODULES) {
        return a->linear_bias || (part == DTX_MOD_OUT ? a->out_bias : a->mlp_bias);
    }
    if (dtx_part_is_norm(part)) {
        return !a->rms_norm;
    }
    return part == DTX_PART_HEAD ? a->head_bias : !is_table(part);
}

void dtx_module_shape(const dtx_arch *a, dtx_module_kind kind, int64_t *n_out, int64_t *n_in)
{
    const int64_t attn = a->n_heads * a->head_dim;

    *n_in = a->hidden;
    *n_out = a->hidden;
    if (kind == DTX_MOD_OUT) {
        *n_in = attn;
    } else if (kind == DTX_MOD_UP || kind == DTX_MOD_GATE) {
        *n_out = a->fused_gate ? 2 * a->ffn : a->ffn;
    } else if (kind == DTX_MOD_DOWN) {
        *n_in = a->ffn;
    } else if (a->fused_qkv) {
        *n_out = (a->n_heads + 2 * a->n_kv) * a->head_dim;
    } else {
        *n_out = kind == DTX_MOD_Q ? attn : a->n_kv * a->head_dim;
    }
}

/* (rows, cols) of a part's weight; cols = 0 for a vector. */
static void shape_of(const dtx_arch *a, int part, int64_t *rows, int64_t *cols)
{
    *rows = *cols = a->hidden;
    if (part < DTX_MODULES) {
        dtx_module_shape(a, (dtx_module_kind)part, rows, cols);
    } else if (part == DTX_PART_Q_NORM || part == DTX_PART_K_NORM) {
        *rows = a->head_dim * (!a->qk_norm_wide ? 1 : part == DTX_PART_Q_NORM ? a->n_heads : a->n_kv);
        *cols = 0;
    } else if (dtx_part_is_norm(part)) {
        *cols = 0;
    } else if (part == DTX_PART_WORDS || part == DTX_PART_HEAD) {
        *rows = a->vocab;
    } else if (part == DTX_PART_POSITIONS) {
        *rows = a->max_positions;
    } else if (part == DTX_PART_TYPES) {
        *rows = a->type_vocab;
    } else if (part == DTX_PART_CLS_OUT) {
        *rows = a->n_labels;
    }
}

static void write_name(const char *pattern, int64_t layer, char *out, size_t size)
{
    const char *hash = strchr(pattern, '#');

    if (hash != NULL) {
        snprintf(out, size, "%.*s%lld%s", (int)(hash - pattern), pattern, (long long)layer, hash + 1);
    } else {
        snprintf(out, size, "%s", pattern);
    }
}

void dtx_part_path(const dtx_arch *a, int part, int64_t layer, char *out, size_t size)
{
    out[0] = '\0';
    for (const dtx_part_name *n = dtx_family_of(a)->names(a); n->part >= 0 && dtx_arch_has(a, part); n++) {
        if (n->part == part) {
            write_name(n->name, layer, out, size);
        }
    }
}

void dtx_head_path(const dtx_arch *a, char *out, size_t size)
{
    dtx_arch untied = *a;

    untied.tied_head = false;
    dtx_part_path(&untied, DTX_PART_HEAD, -1, out, size);
}

void dtx_module_name(const dtx_arch *a, int64_t layer, dtx_module_kind kind, char *out, size_t size)
{
    dtx_part_path(a, (int)kind, layer, out, size);
}

/* The list while it is made. specs == NULL only counts. */
typedef struct {
    dtx_param_spec *specs;
    int64_t n;
    int64_t elements;
} list;

static void add(list *l, const dtx_arch *a, const dtx_part_name *n, int64_t layer)
{
    int64_t rows, cols;

    if (!dtx_arch_has(a, n->part)) {
        return;
    }
    shape_of(a, n->part, &rows, &cols);
    for (int bias = 0; bias <= (int)has_bias(a, n->part); bias++) {
        const int64_t c = bias ? 0 : cols;
        if (l->specs != NULL) {
            dtx_param_spec *p = &l->specs[l->n];
            char name[sizeof p->name - 8];
            write_name(n->name, layer, name, sizeof name);
            *p = (dtx_param_spec){.part = n->part, .layer = layer, .n_dims = c > 0 ? 2 : 1, .shape = {rows, c > 0 ? c : 1}};
            p->transposed = a->transposed && n->part < DTX_MODULES && !bias;
            if (p->transposed) {
                p->shape[0] = cols;
                p->shape[1] = rows;
            }
            p->role = bias                ? DTX_ROLE_SHIFT
                      : dtx_part_is_norm(n->part)  ? DTX_ROLE_SCALE
                      : is_table(n->part) ? DTX_ROLE_TABLE
                                          : DTX_ROLE_MATRIX;
            snprintf(p->name, sizeof p->name, "%s.%s", name, bias ? "bias" : "weight");
        }
        l->n++;
        l->elements += rows * (c > 0 ? c : 1);
    }
}

static void all(list *l, const dtx_arch *a)
{
    const dtx_part_name *n = dtx_family_of(a)->names(a);

    while (n->part >= 0) {
        if (strchr(n->name, '#') == NULL) {
            add(l, a, n++, -1);
            continue;
        }
        const dtx_part_name *first = n;
        for (int64_t layer = 0; layer < a->n_layers; layer++) {
            for (n = first; n->part >= 0 && strchr(n->name, '#') != NULL; n++) {
                add(l, a, n, layer);
            }
        }
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
