/* The core on small models of every architecture: gradients of every parameter against finite differences, segments
 * against separate passes, tapes and caches against each other, and the promises on bits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "src/base/mem.h"
#include "tests/src/model/model_variants.h"

#define OK(expr)                                                                                                       \
    do {                                                                                                               \
        if ((expr) != DTX_OK) {                                                                                        \
            fail_msg("%s: %s (%s)", #expr, dtx_error_text(), dtx_error_place());                                       \
        }                                                                                                              \
    } while (0)

/* Three sequences of 5, 0 and 8 rows. */
enum { R = 13, N_SEQ = 3, LEN_LAST = 8 };
static const int64_t offset[N_SEQ + 1] = {0, 5, 5, 13};
static const int32_t ids[R] = {3, 7, 7, 0, 22, 4, 9, 11, 3, 15, 8, 2, 4};

typedef struct {
    dtx_arch a;
    dtx_model *m;
    dtx_adapter *ad;
    float *target; /* (R, V) cotangents of the logits; encoder: (R, d) of hidden */
    int64_t width; /* V or d */
    float *hidden, *out, *embeds;
} fixture;

static void make_adapter(const dtx_arch *a, double alpha, dtx_adapter **ad)
{
    const char *target[DTX_MODULES];

    OK(dtx_adapter_new(a, 3, alpha, 0, target, variant_targets(a, ~0U, target), 5, ad));
    fill_normal((*ad)->arena, (*ad)->n_params, 77, 0.2); /* B = 0 would hide A's gradient */
}

static void set_up(fixture *f, int variant)
{
    memset(f, 0, sizeof *f);
    f->a = variant_arch(variant);
    OK(dtx_model_new(&f->a, 1, &f->m));
    variant_shake(f->m, 2);
    make_adapter(&f->a, 4.5, &f->ad);
    f->width = f->a.causal ? f->a.vocab : f->a.hidden;
    f->target = dtx_calloc(R * f->width, sizeof(float));
    f->hidden = dtx_calloc(R * f->a.hidden, sizeof(float));
    f->out = dtx_calloc(R * f->width, sizeof(float));
    f->embeds = dtx_calloc(R * f->a.hidden, sizeof(float));
    fill_normal(f->target, R * f->width, 3, 1);
    OK(dtx_model_embed(f->m, R, ids, f->embeds));
}

static void tear_down(fixture *f)
{
    dtx_free(f->embeds);
    dtx_free(f->out);
    dtx_free(f->hidden);
    dtx_free(f->target);
    dtx_adapter_del(f->ad);
    dtx_model_del(f->m);
}

static dtx_batch batch_of(void)
{
    return (dtx_batch){.n_seq = N_SEQ, .offset = offset, .ids = ids};
}

/* sum target * output, in double. */
static double loss(fixture *f, const dtx_batch *b)
{
    double sum = 0;

    OK(dtx_model_forward(f->m, b, f->hidden));
    const float *out = f->hidden;
    if (f->a.causal) {
        dtx_model_logits(f->m, R, f->hidden, f->out);
        out = f->out;
    }
    for (int64_t i = 0; i < R * f->width; i++) {
        sum += (double)out[i] * (double)f->target[i];
    }
    return sum;
}

/* Whole sequences that have rows. */
static const dtx_segment whole[2] = {{0, 0, 5}, {2, 0, 8}};

/* Cotangent of the head's output from the one of the logits, which may be capped. */
static float *head_cotangent(const dtx_model *m, int64_t n, const float *hidden, const float *target)
{
    const int64_t V = dtx_model_arch(m)->vocab;
    float *logits = dtx_calloc((size_t)(n * V), sizeof *logits), *d = dtx_calloc((size_t)(n * V), sizeof *d);

    memcpy(d, target, (size_t)(n * V) * sizeof *d);
    dtx_model_logits(m, n, hidden, logits);
    dtx_model_cap_backward(m, n, logits, d);
    dtx_free(logits);
    return d;
}

static void gradients(fixture *f, dtx_batch b, bool recompute, const dtx_wanted *want)
{
    dtx_tape *t;
    float *d_hidden = dtx_calloc(R * f->a.hidden, sizeof(float));

    OK(dtx_tape_new(f->m, recompute, &t));
    b.tape = t;
    OK(dtx_model_forward(f->m, &b, f->hidden));
    if (f->a.causal) {
        float *d_logits = head_cotangent(f->m, R, f->hidden, f->target);
        dtx_model_logits_backward(f->m, R, d_logits, f->hidden, d_hidden, want->params);
        dtx_free(d_logits);
    } else {
        memcpy(d_hidden, f->target, (size_t)(R * f->a.hidden) * sizeof(float));
    }
    OK(dtx_model_backward(f->m, t, 2, whole, d_hidden, want));
    dtx_free(d_hidden);
    dtx_tape_del(t);
}

/* Derivative of the loss along `u`, to fourth order in the step. */
static double derivative(fixture *f, const dtx_batch *b, float *x, const float *u, int64_t n)
{
    const double step = 4e-3, at[4] = {-2, -1, 1, 2}, weight[4] = {1, -8, 8, -1};
    float *keep = dtx_malloc((size_t)n, sizeof *keep);
    double sum = 0;

    memcpy(keep, x, (size_t)n * sizeof *x);
    for (int k = 0; k < 4; k++) {
        for (int64_t i = 0; i < n; i++) {
            x[i] = (float)((double)keep[i] + at[k] * step * (double)u[i]);
        }
        sum += weight[k] * loss(f, b);
    }
    memcpy(x, keep, (size_t)n * sizeof *x);
    dtx_free(keep);
    return sum / (12 * step);
}

/* Along two random directions of unit length, the derivative equals <grad, u> within 0.3 % of |grad| and the noise of
 * f32, which the step of 4e-3 magnifies. */
static void check_gradient(fixture *f, const dtx_batch *b, const char *what, float *x, const float *grad, int64_t n,
                           bool may_be_zero)
{
    float *u = dtx_malloc((size_t)n, sizeof *u);
    double size = 0;

    for (int64_t i = 0; i < n; i++) {
        size += (double)grad[i] * (double)grad[i];
    }
    size = sqrt(size);
    if (size == 0 && !may_be_zero) {
        fail_msg("%s: no gradient", what);
    }
    for (uint64_t k = 0; k < 2; k++) {
        double norm = 0, want = 0;
        fill_normal(u, n, 1000 + k, 1);
        for (int64_t i = 0; i < n; i++) {
            norm += (double)u[i] * (double)u[i];
        }
        for (int64_t i = 0; i < n; i++) {
            u[i] = (float)((double)u[i] / sqrt(norm));
            want += (double)u[i] * (double)grad[i];
        }
        double got = derivative(f, b, x, u, n);
        if (!(fabs(got - want) <= 3e-3 * size + 4e-3)) {
            fail_msg("%s, %s: derivative %.6f, gradient %.6f (|gradient| %.6f)", f->a.model_type, what, got, want,
                     size);
        }
    }
    dtx_free(u);
}

static void test_parameter_gradients(void **state)
{
    (void)state;
    for (int v = 0; v < N_VARIANTS; v++) {
        fixture f;
        set_up(&f, v);
        const int64_t n = dtx_model_arena_size(f.m);
        float *g = dtx_calloc((size_t)n, sizeof *g);
        dtx_batch b = batch_of();
        b.adapter = f.ad;
        gradients(&f, b, false, &(dtx_wanted){.params = g});
        for (int64_t i = 0; i < dtx_model_n_params(f.m); i++) {
            const dtx_param *p = dtx_model_param(f.m, i);
            bool head = strncmp(p->name, "classifier.", 11) == 0; /* takes no part in `hidden` */
            /* a key's bias moves all scores of a query alike, which the softmax does not see */
            bool key_bias = strstr(p->name, "self.key.bias") != NULL;
            check_gradient(&f, &b, p->name, dtx_model_arena(f.m) + p->offset, g + p->offset, p->n_elements,
                           head || key_bias);
        }
        dtx_free(g);
        tear_down(&f);
    }
}

static void test_embedding_gradients(void **state)
{
    (void)state;
    for (int v = 0; v < N_VARIANTS; v++) {
        fixture f;
        set_up(&f, v);
        const int64_t n = R * f.a.hidden;
        float *g = dtx_calloc((size_t)n, sizeof *g);
        dtx_batch b = batch_of();
        b.embeds = f.embeds;
        gradients(&f, b, false, &(dtx_wanted){.embeds = g});
        check_gradient(&f, &b, "embeddings", f.embeds, g, n, false);
        dtx_free(g);
        tear_down(&f);
    }
}

static void test_adapter_gradients(void **state)
{
    (void)state;
    for (int v = 0; v < N_VARIANTS; v++) {
        fixture f;
        dtx_adapter *g;
        char what[64];
        set_up(&f, v);
        OK(dtx_adapter_like(f.ad, &g));
        dtx_batch b = batch_of();
        b.adapter = f.ad;
        gradients(&f, b, false, &(dtx_wanted){.lora = g});
        for (int64_t s = 0; s < f.ad->n_slots; s++) {
            dtx_lora *l = &f.ad->slot[s];
            if (l->A != NULL) {
                snprintf(what, sizeof what, "lora slot %lld", (long long)s);
                check_gradient(&f, &b, what, l->A, g->slot[s].A, f.ad->r * l->n_in, false);
                check_gradient(&f, &b, what, l->B, g->slot[s].B, f.ad->r * l->n_out, false);
            }
        }
        dtx_adapter_del(g);
        tear_down(&f);
    }
}

/* An adapter on some modules of the upper layers: what is left out below it changes no bit of what is wanted. */
static void test_nothing_below_the_lowest_adapter(void **state)
{
    static const struct {
        int64_t layer;
        dtx_module_kind kind;
    } alone[] = {{1, DTX_MOD_Q}, {2, DTX_MOD_V}, {2, DTX_MOD_OUT}, {2, DTX_MOD_UP}, {2, DTX_MOD_GATE}, {1, DTX_MOD_DOWN}};
    (void)state;
    for (int v = 0; v < N_VARIANTS; v++) {
        for (size_t k = 0; k < sizeof alone / sizeof *alone; k++) {
            fixture f;
            dtx_adapter *g1, *g2;
            char name[128];
            const char *target = name;
            const dtx_arch a = variant_arch(v);
            dtx_module_name(&a, alone[k].layer, alone[k].kind, name, sizeof name);
            if (name[0] == '\0') {
                continue;
            }
            set_up(&f, v);
            dtx_adapter_del(f.ad);
            OK(dtx_adapter_new(&f.a, 3, 4, 0, &target, 1, 5, &f.ad));
            fill_normal(f.ad->arena, f.ad->n_params, 77, 0.2);
            OK(dtx_adapter_like(f.ad, &g1));
            OK(dtx_adapter_like(f.ad, &g2));
            float *e = dtx_calloc((size_t)(R * f.a.hidden), sizeof *e);
            dtx_batch b = batch_of();
            b.adapter = f.ad;
            gradients(&f, b, false, &(dtx_wanted){.lora = g1});
            gradients(&f, b, false, &(dtx_wanted){.lora = g2, .embeds = e});
            assert_memory_equal(g1->arena, g2->arena, (size_t)g1->n_params * sizeof(float));
            double sum = 0;
            for (int64_t i = 0; i < g1->n_params; i++) {
                sum += fabs((double)g1->arena[i]);
            }
            assert_true(sum > 0);
            dtx_free(e);
            dtx_adapter_del(g1);
            dtx_adapter_del(g2);
            tear_down(&f);
        }
    }
}

static void test_recompute_gives_the_same_bits(void **state)
{
    (void)state;
    for (int v = 0; v < N_VARIANTS; v++) {
        fixture f;
        set_up(&f, v);
        const int64_t n = dtx_model_arena_size(f.m), ne = R * f.a.hidden;
        float *g[2], *e[2];
        dtx_adapter *l[2];
        dtx_batch b = batch_of();
        b.adapter = f.ad;
        for (int k = 0; k < 2; k++) {
            g[k] = dtx_calloc((size_t)n, sizeof(float));
            e[k] = dtx_calloc((size_t)ne, sizeof(float));
            OK(dtx_adapter_like(f.ad, &l[k]));
            gradients(&f, b, k == 1, &(dtx_wanted){.params = g[k], .embeds = e[k], .lora = l[k]});
        }
        assert_memory_equal(g[0], g[1], (size_t)n * sizeof(float));
        assert_memory_equal(e[0], e[1], (size_t)ne * sizeof(float));
        assert_memory_equal(l[0]->arena, l[1]->arena, (size_t)l[0]->n_params * sizeof(float));
        for (int k = 0; k < 2; k++) {
            dtx_free(g[k]);
            dtx_free(e[k]);
            dtx_adapter_del(l[k]);
        }
        tear_down(&f);
    }
}

/* Attribution's segments: one a step, first = len - 1. Together they give the bits they give alone, and the values of
 * a pass over the whole prefix with zero cotangents below. */
static void test_segments(void **state)
{
    enum { N = 6 };
    static const dtx_segment seg[N] = {{2, 4, 5}, {2, 5, 6}, {2, 7, 8}, {0, 2, 3}, {0, 0, 1}, {2, 3, 7}};

    (void)state;
    for (int v = 0; v < N_DECODERS; v++) {
        fixture f;
        dtx_tape *t;
        set_up(&f, v);
        const int64_t d = f.a.hidden;
        dtx_batch b = batch_of();
        b.adapter = f.ad;
        OK(dtx_tape_new(f.m, v % 2 == 1, &t));
        b.tape = t;
        OK(dtx_model_forward(f.m, &b, f.hidden));
        int64_t rows = 0, top = 0;
        for (int i = 0; i < N; i++) {
            rows += seg[i].len;
            top += seg[i].len - seg[i].first;
        }
        float *c = dtx_calloc((size_t)(top * d), sizeof(float)), *work = dtx_calloc((size_t)(rows * d), sizeof(float));
        float *all = dtx_calloc((size_t)(rows * d), sizeof(float)), *one = dtx_calloc((size_t)(R * d), sizeof(float));
        fill_normal(c, top * d, 40, 1);
        memcpy(work, c, (size_t)(top * d) * sizeof(float));
        OK(dtx_model_backward(f.m, t, N, seg, work, &(dtx_wanted){.embeds = all}));
        int64_t at = 0, at_top = 0;
        for (int i = 0; i < N; i++) {
            const int64_t len = seg[i].len, n_top = len - seg[i].first;
            memcpy(work, c + at_top * d, (size_t)(n_top * d) * sizeof(float));
            OK(dtx_model_backward(f.m, t, 1, &seg[i], work, &(dtx_wanted){.embeds = one}));
            assert_memory_equal(one, all + at * d, (size_t)(len * d) * sizeof(float));
            const dtx_segment prefix = {seg[i].seq, 0, len};
            memset(work, 0, (size_t)(len * d) * sizeof(float));
            memcpy(work + seg[i].first * d, c + at_top * d, (size_t)(n_top * d) * sizeof(float));
            OK(dtx_model_backward(f.m, t, 1, &prefix, work, &(dtx_wanted){.embeds = one}));
            double worst = 0, size = 0;
            for (int64_t j = 0; j < len * d; j++) {
                double diff = fabs((double)one[j] - (double)all[at * d + j]);
                worst = diff > worst ? diff : worst;
                size = fabs((double)one[j]) > size ? fabs((double)one[j]) : size;
            }
            assert_true(size > 0 && worst <= 1e-5 * size);
            at += len;
            at_top += n_top;
        }
        dtx_free(c);
        dtx_free(work);
        dtx_free(all);
        dtx_free(one);
        dtx_tape_del(t);
        tear_down(&f);
    }
}

/* Prefill in two pieces and single steps through the cache, two streams in other slots than their order. */
static void test_cache_equals_full_pass(void **state)
{
    (void)state;
    for (int v = 0; v < N_DECODERS; v++) {
        fixture f;
        dtx_kv *kv;
        set_up(&f, v);
        const int64_t d = f.a.hidden;
        dtx_batch b = batch_of();
        b.adapter = f.ad;
        OK(dtx_model_forward(f.m, &b, f.hidden));
        float *got = dtx_calloc((size_t)(R * d), sizeof(float)), *step = dtx_calloc((size_t)(R * d), sizeof(float));
        OK(dtx_kv_new(f.m, 4, 9, &kv));
        const int64_t cuts[][2] = {{3, 2}, {3, 5}, {4, 6}, {5, 8}}; /* rows of both sequences known after each pass */
        const int64_t slot[2] = {3, 1};
        int64_t done[2] = {0, 0};
        for (int k = 0; k < 4; k++) {
            int64_t off[3] = {0, cuts[k][0] - done[0], 0};
            off[2] = off[1] + cuts[k][1] - done[1];
            int32_t now[R];
            memcpy(now, ids + done[0], (size_t)off[1] * sizeof *now);
            memcpy(now + off[1], ids + 5 + done[1], (size_t)(off[2] - off[1]) * sizeof *now);
            dtx_batch c = {.n_seq = 2, .offset = off, .ids = now, .adapter = f.ad, .kv = kv, .slot = slot};
            OK(dtx_model_forward(f.m, &c, step));
            memcpy(got + done[0] * d, step, (size_t)(off[1] * d) * sizeof(float));
            memcpy(got + (5 + done[1]) * d, step + off[1] * d, (size_t)((off[2] - off[1]) * d) * sizeof(float));
            done[0] = cuts[k][0];
            done[1] = cuts[k][1];
        }
        assert_int_equal(dtx_kv_len(kv, 3), 5);
        assert_int_equal(dtx_kv_len(kv, 1), 8);
        double worst = 0;
        for (int64_t i = 0; i < R * d; i++) {
            double diff = fabs((double)got[i] - (double)f.hidden[i]) / (1 + fabs((double)f.hidden[i]));
            worst = diff > worst ? diff : worst;
        }
        print_message("%s: cache against full pass, largest difference %g\n", variant_name(v), worst);
        assert_true(worst <= 3e-6);
        dtx_batch over = {.n_seq = 1, .offset = (const int64_t[]){0, 2}, .ids = ids, .kv = kv, .slot = &slot[1]};
        assert_int_equal(dtx_model_forward(f.m, &over, step), DTX_ERR_CHECK); /* 8 + 2 > 9 */
        dtx_kv_reset(kv, 1);
        OK(dtx_model_forward(f.m, &over, step));
        dtx_free(got);
        dtx_free(step);
        dtx_kv_del(kv);
        tear_down(&f);
    }
}

/* Everything a pass yields, with `threads`: hidden, all gradients; compared bit for bit. */
static void test_bits_do_not_depend_on_threads(void **state)
{
    (void)state;
    for (int v = 0; v < N_VARIANTS; v++) {
        fixture f;
        set_up(&f, v);
        const int64_t n = dtx_model_arena_size(f.m), ne = R * f.a.hidden;
        float *g[2], *e[2], *h[2];
        dtx_batch b = batch_of();
        b.adapter = f.ad;
        for (int k = 0; k < 2; k++) {
            OK(dtx_linear_setup(DTX_GEMM_AUTO, k + 1));
            g[k] = dtx_calloc((size_t)n, sizeof(float));
            e[k] = dtx_calloc((size_t)ne, sizeof(float));
            h[k] = dtx_calloc((size_t)ne, sizeof(float));
            gradients(&f, b, false, &(dtx_wanted){.params = g[k], .embeds = e[k]});
            memcpy(h[k], f.hidden, (size_t)ne * sizeof(float));
        }
        assert_memory_equal(h[0], h[1], (size_t)ne * sizeof(float));
        assert_memory_equal(g[0], g[1], (size_t)n * sizeof(float));
        assert_memory_equal(e[0], e[1], (size_t)ne * sizeof(float));
        for (int k = 0; k < 2; k++) {
            dtx_free(g[k]);
            dtx_free(e[k]);
            dtx_free(h[k]);
        }
        OK(dtx_linear_setup(DTX_GEMM_REFERENCE, 1));
        tear_down(&f);
    }
}

/* A sequence alone has the bits it has among others: forward pass, and cotangents of its embeddings. */
static void test_bits_do_not_depend_on_neighbours(void **state)
{
    (void)state;
    OK(dtx_linear_setup(DTX_GEMM_AUTO, 1));
    for (int v = 0; v < N_VARIANTS; v++) {
        fixture f;
        dtx_tape *t;
        set_up(&f, v);
        const int64_t d = f.a.hidden, n = LEN_LAST * d;
        float *e = dtx_calloc((size_t)(R * d), sizeof(float)), *alone = dtx_calloc((size_t)n, sizeof(float));
        float *h = dtx_calloc((size_t)n, sizeof(float)), *c = dtx_calloc((size_t)(R * d), sizeof(float));
        dtx_batch b = batch_of();
        gradients(&f, b, false, &(dtx_wanted){.embeds = e});
        if (f.a.causal) {
            float *d_logits = head_cotangent(f.m, LEN_LAST, f.hidden + 5 * d, f.target + 5 * f.width);
            dtx_model_logits_backward(f.m, LEN_LAST, d_logits, NULL, c, NULL);
            dtx_free(d_logits);
        } else {
            memcpy(c, f.target + 5 * d, (size_t)n * sizeof(float));
        }
        OK(dtx_tape_new(f.m, false, &t));
        dtx_batch one = {.n_seq = 1, .offset = (const int64_t[]){0, LEN_LAST}, .ids = ids + 5, .tape = t};
        OK(dtx_model_forward(f.m, &one, h));
        assert_memory_equal(h, f.hidden + 5 * d, (size_t)n * sizeof(float));
        one.tape = NULL;
        OK(dtx_model_forward(f.m, &one, h));
        assert_memory_equal(h, f.hidden + 5 * d, (size_t)n * sizeof(float));
        OK(dtx_model_backward(f.m, t, 1, &(dtx_segment){0, 0, LEN_LAST}, c, &(dtx_wanted){.embeds = alone}));
        assert_memory_equal(alone, e + 5 * d, (size_t)n * sizeof(float));
        dtx_tape_del(t);
        dtx_free(e);
        dtx_free(alone);
        dtx_free(h);
        dtx_free(c);
        tear_down(&f);
    }
    OK(dtx_linear_setup(DTX_GEMM_REFERENCE, 1));
}

/* Without an adapter the base's bits, with it those of the merged matrices but for rounding. */
static void test_adapter_off_and_merged(void **state)
{
    (void)state;
    for (int v = 0; v < N_VARIANTS; v++) {
        fixture f;
        set_up(&f, v);
        const int64_t n = R * f.a.hidden;
        float *base = dtx_calloc((size_t)n, sizeof(float)), *active = dtx_calloc((size_t)n, sizeof(float));
        dtx_batch b = batch_of();
        OK(dtx_model_forward(f.m, &b, base));
        b.adapter = f.ad;
        OK(dtx_model_forward(f.m, &b, active));
        assert_memory_not_equal(base, active, (size_t)n * sizeof(float));
        b.adapter = NULL;
        OK(dtx_model_forward(f.m, &b, f.hidden));
        assert_memory_equal(base, f.hidden, (size_t)n * sizeof(float));
        dtx_model *merged;
        OK(dtx_model_copy(f.m, NULL, &merged));
        OK(dtx_model_forward(merged, &b, f.hidden));
        assert_memory_equal(base, f.hidden, (size_t)n * sizeof(float));
        dtx_model_del(merged);
        OK(dtx_model_copy(f.m, f.ad, &merged));
        OK(dtx_model_forward(merged, &b, f.hidden));
        dtx_model_del(merged);
        for (int64_t i = 0; i < n; i++) {
            assert_true(fabs((double)f.hidden[i] - (double)active[i]) <= 2e-5);
        }
        dtx_free(base);
        dtx_free(active);
        tear_down(&f);
    }
}

static void test_classifier(void **state)
{
    enum { N = 2 };
    static const int64_t off[N + 1] = {0, 5, 13};
    const float d_logits[N * 2] = {0.7F, -1.2F, 0.4F, 2.0F};
    fixture f;
    dtx_tape *t;
    float logits[N * 2];

    (void)state;
    set_up(&f, N_DECODERS);
    const int64_t n = dtx_model_arena_size(f.m);
    float *g = dtx_calloc((size_t)n, sizeof *g), *u = dtx_calloc((size_t)n, sizeof *u), *w = dtx_model_arena(f.m);
    dtx_batch b = {.n_seq = N, .offset = off, .ids = ids};
    OK(dtx_tape_new(f.m, true, &t));
    b.tape = t;
    OK(dtx_model_classify(f.m, &b, logits));
    OK(dtx_model_classify_backward(f.m, t, d_logits, &(dtx_wanted){.params = g}));
    b.tape = NULL;
    for (int64_t i = 0; i < dtx_model_n_params(f.m); i++) {
        const dtx_param *p = dtx_model_param(f.m, i);
        double got = 0, want = 0, size = 0;
        const double step = 4e-3, place[4] = {-2, -1, 1, 2}, weight[4] = {1, -8, 8, -1};
        fill_normal(u, p->n_elements, 9, 1 / sqrt((double)p->n_elements));
        for (int64_t j = 0; j < p->n_elements; j++) {
            want += (double)u[j] * (double)g[p->offset + j];
            size += (double)g[p->offset + j] * (double)g[p->offset + j];
        }
        for (int k = 0; k < 4; k++) {
            for (int64_t j = 0; j < p->n_elements; j++) {
                w[p->offset + j] += (float)(place[k] * step) * u[j];
            }
            OK(dtx_model_classify(f.m, &b, logits));
            for (int j = 0; j < N * 2; j++) {
                got += weight[k] * (double)logits[j] * (double)d_logits[j];
            }
            for (int64_t j = 0; j < p->n_elements; j++) {
                w[p->offset + j] -= (float)(place[k] * step) * u[j];
            }
        }
        got /= 12 * step;
        if (!(fabs(got - want) <= 3e-3 * sqrt(size) + 4e-3)) {
            fail_msg("classifier, %s: derivative %g, gradient %g", p->name, got, want);
        }
    }
    float two[2] = {1, 3}, three[2] = {0, 3};
    dtx_model_label_probs(&f.a, 1, two);
    assert_true(fabsf(two[1] - 0.880797F) < 1e-6F && fabsf(two[0] + two[1] - 1) < 1e-6F);
    f.a.multi_label = true;
    dtx_model_label_probs(&f.a, 1, three);
    assert_true(three[0] == 0.5F && fabsf(three[1] - 0.952574F) < 1e-6F);
    assert_int_equal(dtx_model_classify(f.m, &(dtx_batch){.n_seq = N_SEQ, .offset = offset, .ids = ids}, logits),
                     DTX_ERR_INPUT);
    dtx_tape_del(t);
    dtx_free(g);
    dtx_free(u);
    tear_down(&f);
}

static void test_bad_batches(void **state)
{
    fixture f;
    int32_t bad[R], longer[40];
    dtx_tape *t;

    (void)state;
    set_up(&f, 0);
    dtx_batch b = batch_of();
    memcpy(bad, ids, sizeof bad);
    b.ids = bad;
    bad[12] = VARIANT_VOCAB;
    assert_int_equal(dtx_model_forward(f.m, &b, f.hidden), DTX_ERR_INPUT);
    bad[12] = -1;
    assert_int_equal(dtx_model_forward(f.m, &b, f.hidden), DTX_ERR_INPUT);
    assert_int_equal(dtx_model_embed(f.m, R, bad, f.embeds), DTX_ERR_INPUT);
    /* backward without a forward pass, segments that are not there, gradients that cannot be formed */
    OK(dtx_tape_new(f.m, false, &t));
    dtx_segment s = {0, 0, 5};
    float *g = dtx_calloc((size_t)dtx_model_arena_size(f.m), sizeof *g);
    assert_int_equal(dtx_model_backward(f.m, t, 1, &s, f.hidden, &(dtx_wanted){.embeds = f.embeds}), DTX_ERR_CHECK);
    b = batch_of();
    b.tape = t;
    OK(dtx_model_forward(f.m, &b, f.hidden));
    s.len = 6;
    assert_int_equal(dtx_model_backward(f.m, t, 1, &s, f.hidden, &(dtx_wanted){.embeds = f.embeds}), DTX_ERR_CHECK);
    s.len = 5; /* one of two sequences */
    assert_int_equal(dtx_model_backward(f.m, t, 1, &s, f.hidden, &(dtx_wanted){.params = g}), DTX_ERR_CHECK);
    assert_int_equal(dtx_model_backward(f.m, t, 2, whole, f.hidden, &(dtx_wanted){.lora = f.ad}), DTX_ERR_CHECK);
    dtx_free(g);
    dtx_tape_del(t);
    tear_down(&f);
    /* learned positions end: 20 positions less the padding id 1 and the place before it leave 18 */
    set_up(&f, N_DECODERS);
    for (int i = 0; i < 40; i++) {
        longer[i] = 5;
    }
    float *h = dtx_calloc((size_t)(40 * f.a.hidden), sizeof *h);
    OK(dtx_model_forward(f.m, &(dtx_batch){.n_seq = 1, .offset = (const int64_t[]){0, 18}, .ids = longer}, h));
    assert_int_equal(
        dtx_model_forward(f.m, &(dtx_batch){.n_seq = 1, .offset = (const int64_t[]){0, 19}, .ids = longer}, h),
        DTX_ERR_INPUT);
    /* no rows at all */
    OK(dtx_model_forward(f.m, &(dtx_batch){.n_seq = 1, .offset = (const int64_t[]){0, 0}, .ids = longer}, h));
    OK(dtx_model_forward(f.m, &(dtx_batch){.n_seq = 0, .offset = (const int64_t[]){0}, .ids = longer}, h));
    dtx_free(h);
    tear_down(&f);
}

/* A tape is used again for larger and smaller batches. */
static void test_tape_is_reused(void **state)
{
    fixture f;
    dtx_tape *t;
    int32_t many[60];

    (void)state;
    set_up(&f, 1);
    const int64_t d = f.a.hidden;
    float *first = dtx_calloc((size_t)(R * d), sizeof(float)), *again = dtx_calloc((size_t)(60 * d), sizeof(float));
    float *h = dtx_calloc((size_t)(60 * d), sizeof(float)), *c = dtx_calloc((size_t)(60 * d), sizeof(float));
    for (int i = 0; i < 60; i++) {
        many[i] = i % VARIANT_VOCAB;
    }
    OK(dtx_tape_new(f.m, false, &t));
    dtx_batch small = batch_of(),
              large = {.n_seq = 4, .offset = (const int64_t[]){0, 10, 20, 21, 60}, .ids = many, .tape = t};
    small.tape = t;
    for (int k = 0; k < 3; k++) {
        fill_normal(c, 60 * d, 8, 1);
        if (k == 1) {
            const dtx_segment seg[4] = {{0, 0, 10}, {1, 0, 10}, {2, 0, 1}, {3, 0, 39}};
            OK(dtx_model_forward(f.m, &large, h));
            OK(dtx_model_backward(f.m, t, 4, seg, c, &(dtx_wanted){.embeds = again}));
        } else {
            OK(dtx_model_forward(f.m, &small, h));
            OK(dtx_model_backward(f.m, t, 2, whole, c, &(dtx_wanted){.embeds = k == 0 ? first : again}));
        }
    }
    assert_memory_equal(first, again, (size_t)(R * d) * sizeof(float));
    dtx_tape_del(t);
    dtx_free(first);
    dtx_free(again);
    dtx_free(h);
    dtx_free(c);
    tear_down(&f);
}

/* Each allocation of a forward and backward pass fails once: an error, no crash, no leak. */
static void test_every_allocation_may_fail(void **state)
{
    fixture f;

    (void)state;
    set_up(&f, N_DECODERS);
    const size_t before = dtx_mem_used();
    const int64_t n = R * f.a.hidden;
    int64_t failures = 0;
    float *c = dtx_calloc((size_t)n, sizeof *c);
    for (int64_t k = 1;; k++) {
        dtx_tape *t = NULL;
        dtx_batch b = batch_of();
        dtx_mem_fail_at(k);
        dtx_status st = dtx_tape_new(f.m, true, &t);
        b.tape = t;
        b.adapter = f.ad;
        st = st == DTX_OK ? dtx_model_forward(f.m, &b, f.hidden) : st;
        st = st == DTX_OK ? dtx_model_backward(f.m, t, 2, whole, c, &(dtx_wanted){.embeds = f.embeds}) : st;
        b.tape = NULL;
        st = st == DTX_OK ? dtx_model_forward(f.m, &b, f.hidden) : st;
        dtx_mem_fail_at(0);
        dtx_tape_del(t);
        if (st == DTX_OK) {
            break;
        }
        assert_int_equal(st, DTX_ERR_MISSING);
        failures++;
    }
    assert_true(failures > 10);
    dtx_free(c);
    assert_int_equal(dtx_mem_used(), before);
    tear_down(&f);
}

static void test_random_models(void **state)
{
    const dtx_dtype type[] = {DTX_F32, DTX_F16, DTX_BF16};

    (void)state;
    for (int k = 0; k < 3; k++) {
        dtx_arch a = variant_arch(k);
        dtx_model *m;
        float *h = dtx_calloc((size_t)(R * a.hidden), sizeof *h);
        OK(dtx_model_random(&a, type[k], 4, &m));
        assert_int_equal(dtx_model_module(m, 0, DTX_MOD_UP)->dtype, type[k]);
        assert_null(dtx_model_arena(m));
        dtx_batch b = batch_of();
        OK(dtx_model_forward(m, &b, h));
        for (int64_t i = 0; i < R * a.hidden; i++) {
            assert_true(isfinite(h[i]));
        }
        dtx_free(h);
        dtx_model_del(m);
    }
}

/* All layers give the model's own bits, fewer give others; the model outlives its part unharmed. */
static void test_first_layers(void **state)
{
    dtx_arch a = variant_arch(0);
    const size_t bytes = (size_t)(R * a.hidden) * sizeof(float);
    float *all = dtx_calloc(1, bytes), *part = dtx_calloc(1, bytes);
    dtx_batch b = batch_of();
    dtx_model *m, *first;

    (void)state;
    OK(dtx_model_random(&a, DTX_F32, 4, &m));
    OK(dtx_model_forward(m, &b, all));
    for (int64_t n = a.n_layers; n >= 1; n--) {
        OK(dtx_model_first_layers(m, n, &first));
        assert_int_equal(dtx_model_arch(first)->n_layers, n);
        OK(dtx_model_forward(first, &b, part));
        assert_true((memcmp(part, all, bytes) == 0) == (n == a.n_layers));
        dtx_model_del(first);
    }
    OK(dtx_model_forward(m, &b, part));
    assert_memory_equal(part, all, bytes);
    dtx_model_del(m);
    dtx_free(all);
    dtx_free(part);
}

/* DoRA and biases beside the pair: hidden states and the embeddings' gradient are those of the merged weights. */
static void test_dora(void **state)
{
    (void)state;
    for (int v = 6; v < N_DECODERS; v += 7) { /* weights stored (out, in), and (in, out) */
        fixture f;
        dtx_model *merged;
        set_up(&f, v);
        const int64_t ne = R * f.a.hidden;
        float *e[2] = {dtx_calloc((size_t)ne, sizeof(float)), dtx_calloc((size_t)ne, sizeof(float))}, *h = dtx_calloc((size_t)ne, sizeof(float));
        int64_t n = 0;
        for (int64_t s = 0; s < f.ad->n_slots; s++) {
            n += f.ad->slot[s].A != NULL ? 2 * f.ad->slot[s].n_out : 0;
        }
        float *at = f.ad->extra = dtx_calloc((size_t)n, sizeof(float));
        for (int64_t s = 0; s < f.ad->n_slots; s++) {
            dtx_lora *l = &f.ad->slot[s];
            for (int64_t i = 0; l->A != NULL && i < l->n_out; i++) {
                at[i] = 0.5F + (float)(i % 3);
            }
            l->magnitude = l->A != NULL ? at : NULL;
            l->gain = l->A != NULL ? at + l->n_out : NULL;
            at += l->A != NULL ? 2 * l->n_out : 0;
        }
        f.ad->attached = f.ad->uniform = false;
        dtx_batch b = batch_of();
        b.adapter = f.ad;
        assert_int_equal(dtx_model_forward(f.m, &b, f.hidden), DTX_ERR_CHECK);
        OK(dtx_adapter_attach(f.m, f.ad));
        OK(dtx_model_copy(f.m, f.ad, &merged));
        gradients(&f, b, false, &(dtx_wanted){.embeds = e[0]});
        memcpy(h, f.hidden, (size_t)ne * sizeof *h);
        dtx_model *base = f.m;
        f.m = merged;
        b.adapter = NULL;
        gradients(&f, b, false, &(dtx_wanted){.embeds = e[1]});
        f.m = base;
        double size = 0;
        for (int64_t i = 0; i < ne; i++) {
            size = fabs((double)e[1][i]) > size ? fabs((double)e[1][i]) : size;
        }
        for (int64_t i = 0; i < ne; i++) {
            assert_true(fabs((double)h[i] - (double)f.hidden[i]) < 2e-5);
            assert_true(fabs((double)e[0][i] - (double)e[1][i]) < 1e-4 * size);
        }
        dtx_free(e[0]);
        dtx_free(e[1]);
        dtx_free(h);
        dtx_model_del(merged);
        tear_down(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_layers),
        cmocka_unit_test(test_parameter_gradients),
        cmocka_unit_test(test_embedding_gradients),
        cmocka_unit_test(test_adapter_gradients),
        cmocka_unit_test(test_nothing_below_the_lowest_adapter),
        cmocka_unit_test(test_recompute_gives_the_same_bits),
        cmocka_unit_test(test_segments),
        cmocka_unit_test(test_cache_equals_full_pass),
        cmocka_unit_test(test_bits_do_not_depend_on_threads),
        cmocka_unit_test(test_bits_do_not_depend_on_neighbours),
        cmocka_unit_test(test_adapter_off_and_merged),
        cmocka_unit_test(test_dora),
        cmocka_unit_test(test_classifier),
        cmocka_unit_test(test_bad_batches),
        cmocka_unit_test(test_tape_is_reused),
        cmocka_unit_test(test_every_allocation_may_fail),
        cmocka_unit_test(test_random_models),
    };

    if (dtx_linear_setup(DTX_GEMM_REFERENCE, 1) != DTX_OK) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
