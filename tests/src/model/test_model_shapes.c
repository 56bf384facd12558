/* One layer of each real shape, bf16 weights, against a layer written out with the plain reference functions:
 * RedPajama 3B (2560/10240, 32 heads, vocabulary 50432) and Falcon 7B (4544/18176, 71 heads, one key/value head,
 * 65024). Forward pass and logits; the backward pass with the fast back end against the reference one. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "src/algebra/kernel_ref.h"
#include "src/base/mem.h"
#include "src/model/model.h"
#include "src/base/rng.h"

#define OK(expr)                                                                                                       \
    do {                                                                                                               \
        if ((expr) != DTX_OK) {                                                                                        \
            fail_msg("%s: %s (%s)", #expr, dtx_error_text(), dtx_error_place());                                       \
        }                                                                                                              \
    } while (0)

enum { R = 5 }; /* sequences of 2 and 3 rows */
static const int64_t offset[3] = {0, 2, R};
static int32_t ids[R];

static dtx_arch redpajama(void)
{
    return (dtx_arch){.model_type = "gpt_neox",
                      .n_layers = 1,
                      .hidden = 2560,
                      .n_heads = 32,
                      .head_dim = 80,
                      .ffn = 10240,
                      .vocab = 50432,
                      .n_kv = 32,
                      .max_positions = 2048,
                      .causal = true,
                      .fused_qkv = true,
                      .linear_bias = true,
                      .position = DTX_POS_ROTARY,
                      .rotary_dims = 80,
                      .rope = {{.base = 10000}},
                      .activation = DTX_ACT_GELU_ERF,
                      .norm_eps = 1e-5F,
                      .pad_id = -1};
}

static dtx_arch falcon(void)
{
    return (dtx_arch){.model_type = "falcon",
                      .n_layers = 1,
                      .hidden = 4544,
                      .n_heads = 71,
                      .head_dim = 64,
                      .ffn = 18176,
                      .vocab = 65024,
                      .n_kv = 1,
                      .max_positions = 2048,
                      .causal = true,
                      .parallel = true,
                      .shared_norm = true,
                      .fused_qkv = true,
                      .tied_head = true,
                      .position = DTX_POS_ROTARY,
                      .rotary_dims = 64,
                      .rope = {{.base = 10000}},
                      .activation = DTX_ACT_GELU_ERF,
                      .norm_eps = 1e-5F,
                      .pad_id = -1};
}

/* The parameter whose name ends so; NULL when there is none. */
static const dtx_param *param(const dtx_model *m, const char *end)
{
    for (int64_t i = 0; i < dtx_model_n_params(m); i++) {
        const dtx_param *p = dtx_model_param(m, i);
        size_t n = strlen(p->name), e = strlen(end);
        if (n >= e && strcmp(p->name + n - e, end) == 0) {
            return p;
        }
    }
    return NULL;
}

static void linear(const dtx_model *m, const char *module, int64_t n_out, int64_t n_in, const float *x, float *y,
                   bool add)
{
    char name[64];
    snprintf(name, sizeof name, "%s.weight", module);
    const dtx_param *w = param(m, name);
    snprintf(name, sizeof name, "%s.bias", module);
    const dtx_param *b = param(m, name);
    assert_non_null(w);
    const dtx_matrix W = {.w = w->data, .dtype = w->dtype, .n_out = n_out, .n_in = n_in};
    assert_int_equal(w->dtype, DTX_BF16);
    dtx_linear_forward_ref(&W, b != NULL ? b->data : NULL, R, x, n_in, y, n_out, add);
}

static void norm(const dtx_model *m, const char *module, const float *x, float *y)
{
    const dtx_arch *a = dtx_model_arch(m);
    char name[64];
    snprintf(name, sizeof name, "%s.weight", module);
    const dtx_param *w = param(m, name);
    snprintf(name, sizeof name, "%s.bias", module);
    dtx_norm_forward_ref(R, a->hidden, x, w->data, param(m, name)->data, a->norm_eps, y, NULL, NULL);
}

static float *room(int64_t n)
{
    float *p = dtx_calloc((size_t)n, sizeof *p);
    assert_non_null(p);
    return p;
}

/* Logits by the plain functions. */
static void plain(const dtx_model *m, float *logits)
{
    const dtx_arch *a = dtx_model_arch(m);
    const int64_t d = a->hidden, per = a->n_heads / a->n_kv, width = (a->n_heads + 2 * a->n_kv) * a->head_dim;
    const dtx_heads h = {
        .n_heads = a->n_heads, .n_kv = a->n_kv, .head_dim = a->head_dim, .width = width, .fused = true};
    const bool neox = strcmp(a->model_type, "gpt_neox") == 0;
    const dtx_param *words = param(m, neox ? "embed_in.weight" : "word_embeddings.weight");
    float *x = room(R * d), *n = room(R * d), *qkv = room(R * width), *attn = room(R * d), *up = room(R * a->ffn);
    float *cos_t = room(8 * a->rotary_dims / 2), *sin_t = room(8 * a->rotary_dims / 2);
    const int32_t pos[R] = {0, 1, 0, 1, 2};
    dtx_attn_seq seq[2];

    dtx_embed_ref(words->data, words->dtype, d, R, ids, x);
    norm(m, "input_layernorm", x, n);
    linear(m, "query_key_value", width, d, n, qkv, false);
    double step[64], factor;
    dtx_rope_steps(&a->rope[0], a->rotary_dims, step, &factor);
    dtx_rotary_table(8, a->rotary_dims / 2, step, factor, cos_t, sin_t);
    dtx_rotary_ref(&h, a->rotary_dims, cos_t, sin_t, R, pos, qkv, false);
    for (int s = 0; s < 2; s++) {
        const float *q = qkv + offset[s] * width;
        seq[s] = (dtx_attn_seq){.qkv = q,
                                .k = q + dtx_heads_k(&h, 0),
                                .v = q + dtx_heads_v(&h, 0),
                                .ld_kv = width,
                                .kv_step = (per + 2) * a->head_dim,
                                .n_q = offset[s + 1] - offset[s],
                                .out = attn + offset[s] * d};
    }
    dtx_attention_forward_ref(&h, true, NULL, 2, seq);
    linear(m, neox ? "attention.dense" : "self_attention.dense", d, d, attn, x, true);
    if (neox) { /* sequential: the MLP's norm sees the sum */
        norm(m, "post_attention_layernorm", x, n);
    }
    linear(m, "dense_h_to_4h", a->ffn, d, n, up, false);
    dtx_act_forward_ref(a->activation, R, a->ffn, up, up);
    linear(m, "dense_4h_to_h", d, a->ffn, up, x, true);
    norm(m, neox ? "final_layer_norm" : "ln_f", x, n);
    linear(m, neox ? "embed_out" : "word_embeddings", a->vocab, d, n, logits, false);
    dtx_free(x);
    dtx_free(n);
    dtx_free(qkv);
    dtx_free(attn);
    dtx_free(up);
    dtx_free(cos_t);
    dtx_free(sin_t);
}

/* Largest difference over the largest value. */
static double relative(int64_t n, const float *got, const float *want)
{
    double worst = 0, size = 0;

    for (int64_t i = 0; i < n; i++) {
        worst = fmax(worst, fabs((double)got[i] - (double)want[i]));
        size = fmax(size, fabs((double)want[i]));
    }
    assert_true(size > 0 && isfinite(worst));
    return worst / size;
}

static void embeds_gradient(const dtx_model *m, dtx_gemm gemm, float *logits, float *d_embeds)
{
    const dtx_arch *a = dtx_model_arch(m);
    static const dtx_segment seg[2] = {{0, 1, 2}, {1, 0, 3}};
    float *hidden = room(R * a->hidden), *cotangent = room(4 * a->hidden);
    dtx_tape *t;

    OK(dtx_linear_setup(gemm, 2));
    OK(dtx_tape_new(m, false, &t));
    OK(dtx_model_forward(m, &(dtx_batch){.n_seq = 2, .offset = offset, .ids = ids, .tape = t}, hidden));
    if (logits != NULL) {
        dtx_model_logits(m, R, hidden, logits);
    }
    for (int64_t i = 0; i < 4 * a->hidden; i++) {
        cotangent[i] = (float)dtx_rng_normal(4, DTX_RNG_CHECK, 0, 0, (uint32_t)i);
    }
    OK(dtx_model_backward(m, t, 2, seg, cotangent, &(dtx_wanted){.embeds = d_embeds}));
    dtx_tape_del(t);
    dtx_free(hidden);
    dtx_free(cotangent);
}

static void check_shape(const char *name, const dtx_arch *a)
{
    dtx_model *m;
    float *want = room(R * a->vocab), *got = room(R * a->vocab), *g1 = room(5 * a->hidden), *g2 = room(5 * a->hidden);

    OK(dtx_model_random(a, DTX_BF16, 21, &m));
    for (int i = 0; i < R; i++) {
        ids[i] = (int32_t)((int64_t)(i + 1) * 9973 % a->vocab);
    }
    plain(m, want);
    embeds_gradient(m, DTX_GEMM_AUTO, got, g1);
    embeds_gradient(m, DTX_GEMM_REFERENCE, NULL, g2);
    double forward = relative(R * a->vocab, got, want), backward = relative(5 * a->hidden, g1, g2);
    print_message("%s: logits %.1e, cotangents %.1e of the largest value\n", name, forward, backward);
    assert_true(forward < 5e-6 && backward < 5e-6);
    dtx_model_del(m);
    dtx_free(want);
    dtx_free(got);
    dtx_free(g1);
    dtx_free(g2);
}

static void test_redpajama_3b(void **state)
{
    const dtx_arch a = redpajama();
    (void)state;
    check_shape("RedPajama 3B", &a);
}

static void test_falcon_7b(void **state)
{
    const dtx_arch a = falcon();
    (void)state;
    check_shape("Falcon 7B", &a);
}

/* Forward pass and cotangents of the embeddings of `n_seq` sequences, all rows, with `threads`. */
static void passes(const dtx_model *m, int threads, int64_t n_seq, const int64_t *off, const int32_t *tokens,
                   const float *cotangents, float *hidden, float *d_embeds)
{
    dtx_segment seg[2];
    dtx_tape *t;
    const size_t n = (size_t)(off[n_seq] * dtx_model_arch(m)->hidden);
    float *c = room((int64_t)n);

    memcpy(c, cotangents, n * sizeof *c);
    OK(dtx_linear_setup(DTX_GEMM_AUTO, threads));
    OK(dtx_tape_new(m, false, &t));
    OK(dtx_model_forward(m, &(dtx_batch){.n_seq = n_seq, .offset = off, .ids = tokens, .tape = t}, hidden));
    for (int64_t s = 0; s < n_seq; s++) {
        seg[s] = (dtx_segment){.seq = s, .first = 0, .len = off[s + 1] - off[s]};
    }
    OK(dtx_model_backward(m, t, n_seq, seg, c, &(dtx_wanted){.embeds = d_embeds}));
    dtx_tape_del(t);
    dtx_free(c);
}

/* At this size the products are shared out to threads: same bits on one and two, and for a sequence alone. */
static void test_bits(void **state)
{
    enum { FIRST = 29, ALL = 69 };
    dtx_arch a = redpajama();
    dtx_model *m;
    int32_t tokens[ALL];
    const int64_t both[3] = {0, FIRST, ALL}, one[2] = {0, ALL - FIRST}, d = a.hidden, size = ALL * d;
    float *c = room(size), *h1 = room(size), *h2 = room(size), *e1 = room(size), *e2 = room(size);
    const size_t bytes = (size_t)size * sizeof(float), bytes_one = (size_t)((ALL - FIRST) * d) * sizeof(float);

    (void)state;
    a.vocab = 512;
    OK(dtx_model_random(&a, DTX_BF16, 22, &m));
    for (int i = 0; i < ALL; i++) {
        tokens[i] = i * 7 % 512;
    }
    for (int64_t i = 0; i < size; i++) {
        c[i] = (float)dtx_rng_normal(5, DTX_RNG_CHECK, 0, 0, (uint32_t)i);
    }
    passes(m, 1, 2, both, tokens, c, h1, e1);
    passes(m, 2, 2, both, tokens, c, h2, e2);
    assert_memory_equal(h1, h2, bytes);
    assert_memory_equal(e1, e2, bytes);
    passes(m, 2, 1, one, tokens + FIRST, c + FIRST * d, h2, e2);
    assert_memory_equal(h1 + FIRST * d, h2, bytes_one);
    assert_memory_equal(e1 + FIRST * d, e2, bytes_one);
    dtx_model_del(m);
    dtx_free(c);
    dtx_free(h1);
    dtx_free(h2);
    dtx_free(e1);
    dtx_free(e2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_redpajama_3b), cmocka_unit_test(test_falcon_7b),
                                       cmocka_unit_test(test_bits)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
