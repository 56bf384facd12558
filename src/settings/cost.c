#include "src/settings/cost.h"

#include <string.h>

#include "src/base/mem.h"
#include "src/model/impl.h"

double dtx_flops_total(dtx_flops f)
{
    return f.linear + f.attention;
}

dtx_flops dtx_flops_sum(dtx_flops a, dtx_flops b)
{
    return (dtx_flops){.linear = a.linear + b.linear, .attention = a.attention + b.attention, .head = a.head + b.head,
                       .spare = a.spare + b.spare};
}

/* Pairs of query and key of a sequence, mean over the layers: those with a window see fewer. */
static double dtx_cost_pairs(const dtx_arch *a, int64_t len)
{
    const double n = (double)len, w = (double)a->window, all = 0.5 * n * (n + 1);
    int64_t windows = 0;

    for (int64_t i = 0; i < a->n_layers; i++) {
        windows += a->window > 0 && a->window < len && (a->layer[i] & DTX_LAYER_WINDOW);
    }
    const double part = a->n_layers > 0 ? (double)windows / (double)a->n_layers : 0;
    return all - part * 0.5 * (n - w) * (n - w + 1);
}

void dtx_cost_add(const dtx_arch *a, dtx_cost_work *w, int64_t len, int64_t head)
{
    double n = (double)len;

    w->rows += n;
    w->pairs += a->causal ? dtx_cost_pairs(a, len) : n * n;
    w->head += (double)head;
}

/* --- operations --- */

static double attention_width(const dtx_arch *a)
{
    return (double)(a->n_heads * a->head_dim);
}

static double qkv_width(const dtx_arch *a)
{
    return (double)((a->n_heads + 2 * a->n_kv) * a->head_dim);
}

/* Elements of a module's matrix; 0 where the family has none. The fused projection counts as QKV. */
static double module_size(const dtx_arch *a, dtx_module_kind kind)
{
    int64_t n_out = 0, n_in = 0;

    if (!dtx_arch_has(a, (int)kind)) {
        return 0;
    }
    dtx_module_shape(a, kind, &n_out, &n_in);
    return (double)n_out * (double)n_in;
}

static double forward_row(const dtx_arch *a, const dtx_adapter *ad, int64_t layer)
{
    double sum = 0;

    for (int k = 0; k < DTX_MODULES; k++) {
        const dtx_lora *l = dtx_adapter_at(ad, layer, (dtx_module_kind)k);
        sum += 2 * module_size(a, (dtx_module_kind)k);
        sum += l != NULL ? 2 * (double)l->r * (double)(l->n_in + l->n_out) : 0;
    }
    return sum;
}

static double head_row(const dtx_arch *a)
{
    return 2 * (double)a->hidden * (double)a->vocab;
}

dtx_flops dtx_cost_forward(const dtx_arch *a, const dtx_adapter *ad, const dtx_cost_work *w)
{
    dtx_flops f = {.linear = w->head * head_row(a), .head = w->head * head_row(a),
                   .attention = 4 * (double)a->n_layers * w->pairs * attention_width(a)};

    for (int64_t i = 0; i < a->n_layers; i++) {
        f.linear += w->rows * forward_row(a, ad, i);
    }
    return f;
}

/* A row's backward pass through one module: its input's cotangent (du) and, with `grads`, the adapter's gradient. */
static double backward_row(const dtx_arch *a, const dtx_adapter *ad, int64_t layer, dtx_module_kind kind, bool du, bool grads)
{
    const dtx_lora *l = dtx_adapter_at(ad, layer, kind);
    double sum = du ? 2 * module_size(a, kind) : 0;

    if (l != NULL) {
        double r = (double)l->r, in = (double)l->n_in, out = (double)l->n_out;
        sum += du || grads ? 2 * r * out : 0;                   /* through B */
        sum += grads ? 2 * r * in + 2 * r * out + 2 * r * in : 0; /* A x again, dB, dA */
        sum += du ? 2 * r * in : 0;
    }
    return sum;
}

dtx_flops dtx_cost_lora(const dtx_arch *a, const dtx_adapter *ad, const dtx_cost_work *w, bool recompute)
{
    dtx_flops f = dtx_cost_forward(a, ad, w);
    int64_t lowest = 0;

    while (lowest < a->n_layers * DTX_MODULES && ad->slot[lowest].A == NULL) {
        lowest++;
    }
    lowest /= DTX_MODULES;
    f.linear += w->head * head_row(a);
    f.head *= 2;
    for (int64_t i = lowest; i < a->n_layers; i++) {
        bool has[DTX_MODULES], input = i > lowest;
        for (int k = 0; k < DTX_MODULES; k++) {
            has[k] = dtx_adapter_at(ad, i, (dtx_module_kind)k) != NULL;
        }
        bool qkv = input || has[DTX_MOD_Q] || has[DTX_MOD_K] || has[DTX_MOD_V], attn = qkv || has[DTX_MOD_OUT];
        bool mlp_input = input || (!a->parallel && attn), up = mlp_input || has[DTX_MOD_UP] || has[DTX_MOD_GATE];
        double row = backward_row(a, ad, i, DTX_MOD_DOWN, up, has[DTX_MOD_DOWN]);
        row += up ? backward_row(a, ad, i, DTX_MOD_UP, mlp_input, has[DTX_MOD_UP]) : 0;
        row += up ? backward_row(a, ad, i, DTX_MOD_GATE, mlp_input, has[DTX_MOD_GATE]) : 0;
        row += attn ? backward_row(a, ad, i, DTX_MOD_OUT, qkv, has[DTX_MOD_OUT]) : 0;
        for (int k = DTX_MOD_Q; qkv && k <= DTX_MOD_V; k++) {
            row += backward_row(a, ad, i, (dtx_module_kind)k, input, has[k]);
        }
        f.linear += w->rows * (row + (recompute ? forward_row(a, ad, i) : 0));
        f.attention += w->pairs * attention_width(a) * ((qkv ? 8 : 0) + (recompute ? 4 : 0));
    }
    return f;
}

dtx_flops dtx_cost_full(const dtx_arch *a, const dtx_cost_work *w)
{
    dtx_flops f = dtx_cost_forward(a, NULL, w);

    return (dtx_flops){.linear = 3 * f.linear, .attention = 3 * f.attention, .head = 3 * f.head};
}

dtx_flops dtx_cost_attribution(const dtx_arch *a, const dtx_adapter *ad, int64_t P, int64_t G, int64_t nodes)
{
    const double d = (double)a->hidden, steps = (double)G, times = (double)nodes;
    double rows = 0, pairs = 0, row = 0, top;
    dtx_cost_work pass = {0};
    dtx_flops f;

    if (G < 1) {
        return (dtx_flops){0};
    }
    for (int64_t g = 0; g < G; g++) { /* step g's cotangents reach the rows 0 .. P + g - 1 */
        double len = (double)(P + g);
        rows += len;
        pairs += dtx_cost_pairs(a, P + g);
    }
    dtx_cost_add(a, &pass, P + G - 1, G);
    const dtx_flops once = dtx_cost_forward(a, ad, &pass);
    for (int64_t i = 0; i + 1 < a->n_layers; i++) {
        for (int k = 0; k < DTX_MODULES; k++) {
            row += backward_row(a, ad, i, (dtx_module_kind)k, true, false);
        }
    }
    /* the top layer begins at one row a step; its projections see the whole prefix, but queries of one row alone count */
    const int64_t last = a->n_layers - 1;
    top = steps * (backward_row(a, ad, last, DTX_MOD_OUT, true, false) + backward_row(a, ad, last, DTX_MOD_UP, true, false)
                   + backward_row(a, ad, last, DTX_MOD_GATE, true, false) + backward_row(a, ad, last, DTX_MOD_DOWN, true, false));
    for (int k = DTX_MOD_Q; k <= DTX_MOD_V; k++) {
        top += rows * backward_row(a, ad, last, (dtx_module_kind)k, true, false);
    }
    f.linear = times * (once.linear + rows * row + top + steps * head_row(a)) + (nodes > 1 ? once.linear : 0);
    f.attention = times * (once.attention + 8 * attention_width(a) * pairs * (double)last
                           + 8 * attention_width(a) * rows) + (nodes > 1 ? once.attention : 0);
    f.head = times * (once.head + steps * head_row(a)) + (nodes > 1 ? once.head : 0);
    f.spare = times * (rows - steps) * 2 * d * attention_width(a);
    return f;
}

dtx_flops dtx_cost_generation(const dtx_arch *a, const dtx_adapter *ad, int64_t P, int64_t G)
{
    dtx_cost_work w = {0};

    if (G < 1) {
        return (dtx_flops){0};
    }
    dtx_cost_add(a, &w, P + G - 1, G);
    return dtx_cost_forward(a, ad, &w);
}

/* --- bytes --- */

double dtx_cost_weight_bytes(const dtx_arch *a, double element_size)
{
    int64_t n = 0;

    if (dtx_arch_count(a, &n) != DTX_OK) {
        return 0;
    }
    return element_size * (double)n;
}

double dtx_cost_read_bytes(const dtx_arch *a, double element_size)
{
    double table = (double)a->vocab * (double)a->hidden * element_size;

    return dtx_cost_weight_bytes(a, element_size) - (a->tied_head ? 0 : table);
}

/* Floats of one layer's record (dtx_record_layout) for R rows. */
static double record_floats(const dtx_arch *a, double R, bool stats, double probs)
{
    double d = (double)a->hidden, row = qkv_width(a) + attention_width(a) + (double)dtx_up_width(a);

    row += !a->parallel || a->post_norm ? d : 0;
    row += a->post_norm ? d : 0;
    row += stats && a->branch_norm ? 2 * (d + 1) : 0;
    row += stats && a->qk_norm ? (double)((a->n_heads + a->n_kv) * (a->head_dim + 1)) : 0;
    return R * row + (stats ? 4 * R : 0) + probs;
}

/* Floats of a tape over n sequences (dtx_tape_begin). */
static double tape_floats(const dtx_arch *a, int64_t n, const int64_t *len, bool recompute)
{
    double R = 0, probs = 0, d = (double)a->hidden;

    for (int64_t i = 0; i < n; i++) {
        R += (double)len[i];
        if (dtx_tape_keeps_probs(a, len[i])) {
            probs += (double)a->n_heads * (double)len[i] * (double)len[i];
        }
    }
    return (double)(a->n_layers + 1) * R * d + 2 * R + (a->post_norm ? R * d : 0) + 2 * R
           + record_floats(a, R, true, probs) * (recompute ? 1 : (double)a->n_layers);
}

static double widest_input(const dtx_adapter *ad)
{
    int64_t widest = 0;

    for (int64_t i = 0; ad != NULL && i < ad->n_slots; i++) {
        widest = ad->slot[i].A != NULL && ad->slot[i].n_in > widest ? ad->slot[i].n_in : widest;
    }
    return (double)widest;
}

/* Floats of scratch: of a forward pass over R rows, of a backward pass over M cotangent rows. */
static double forward_floats(const dtx_arch *a, const dtx_adapter *ad, double R, bool dropout)
{
    return R * ((double)(a->hidden + a->ffn + (a->branch_norm ? a->hidden : 0)) + (ad != NULL ? (double)ad->r : 0) + (dropout ? widest_input(ad) : 0));
}

static double backward_floats(const dtx_arch *a, const dtx_adapter *ad, double M)
{
    return M * (3 * (double)a->hidden + (double)(a->ffn + (a->gated ? 2 * a->ffn : 0)) + attention_width(a) + qkv_width(a) + 3
                + (ad != NULL ? 2 * (double)ad->r : 0));
}

double dtx_cost_train_bytes(const dtx_arch *a, const dtx_adapter *ad, int64_t n, const int64_t *len, bool dropout,
                            bool recompute)
{
    enum { HEAD_BLOCK = 128 }; /* rows of dtx_head_loss */
    double R = 0, d = (double)a->hidden;

    for (int64_t i = 0; i < n; i++) {
        R += (double)len[i];
    }
    double pass = tape_floats(a, n, len, recompute) + forward_floats(a, ad, R, dropout) + 2 * R * d;
    double head = HEAD_BLOCK * (2 * d + (a->logit_cap > 0 ? 2 : 1) * (double)a->vocab), back = backward_floats(a, ad, R);
    /* the scratch of an earlier backward pass is kept while the head runs */
    return 4 * (pass + head + back) + R * 24;
}

double dtx_cost_attribution_bytes(const dtx_arch *a, const dtx_adapter *ad, int64_t P, int64_t G, int64_t nodes, double budget)
{
    const int64_t len = P + G - 1;
    double d = (double)a->hidden, n = (double)len, steps = (double)G, all = 0;

    for (int64_t g = 0; g < G; g++) {
        all += (double)(P + g);
    }
    budget = budget > 0 ? budget : (double)((int64_t)1 << 30);
    double block = budget / (4 * (backward_floats(a, NULL, 1) + 2 * d)), range = block;
    if (nodes > 1 && budget / (16 * d) > block) {
        range = budget / (16 * d);
    }
    block = block < n ? n : block < all ? block : all;
    range = range < n ? n : range < all ? range : all;
    return 4 * (3 * n * d + (a->logit_cap > 0 ? 2 : 1) * steps * (double)a->vocab + 2 * steps * d + (n + 1) * (d + steps) + tape_floats(a, 1, &len, false)
                + forward_floats(a, ad, n, false) + backward_floats(a, ad, block) + (block + range) * d);
}

double dtx_cost_generation_bytes(const dtx_arch *a, const dtx_adapter *ad, int64_t batch, int64_t max_prompt, int64_t max_new)
{
    enum { JOIN_ROWS = 2048 }; /* of dtx_generate */
    double B = (double)batch, d = (double)a->hidden, V = (double)a->vocab, longest = (double)(max_prompt + max_new);
    double cap = (double)(max_prompt > JOIN_ROWS ? max_prompt : JOIN_ROWS) + B, R = B * (double)max_prompt;

    R = R < cap ? R : cap;
    double cache = 0;
    for (int64_t i = 0; i < a->n_layers; i++) {
        cache += B * 2 * (double)dtx_kv_room(a, i, max_prompt + max_new) * (double)(a->n_kv * a->head_dim);
    }
    double pass = 2 * R * d + record_floats(a, R, false, 0) + forward_floats(a, ad, R, false);
    return 4 * (cache + pass + cap * (d + 1) + B * (d + V + longest) + 2 * V);
}

int64_t dtx_cost_reduce_vectors(int64_t leaves, int64_t ranks, bool strict)
{
    int64_t mine = (leaves + ranks - 1) / ranks, n = 1;

    if (!strict) { /* its own, and the slices that it reads of the others' in a node's shared memory */
        return ranks > 2 ? 3 : ranks;
    }
    while (mine > 1) { /* a stack of siblings and the leaf that comes */
        mine = (mine + 1) / 2;
        n++;
    }
    return n;
}
