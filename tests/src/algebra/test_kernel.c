/* Every kernel against its plain twin, gradients against finite differences, and the promises of kernel.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "src/algebra/kernel.h"
#include "src/algebra/kernel_ref.h"
#include "src/algebra/linear.h"
#include "src/base/mem.h"
#include "src/algebra/vmath.h"

/* Random values in (-size, size), the same for each seed. The caller frees. */
static float *values(int64_t n, uint32_t seed, float size)
{
    uint32_t s = seed * 2654435761u + 12345u;
    float *x = dtx_malloc((size_t)n + 1, sizeof *x);

    assert_non_null(x);
    for (int64_t i = 0; i < n; i++) {
        s = s * 1664525u + 1013904223u;
        x[i] = size * (float)((int32_t)(s >> 8) - 0x800000) / 8388608.0f;
    }
    return x;
}

static void free_all(int n, ...)
{
    va_list list;

    va_start(list, n);
    for (int i = 0; i < n; i++) {
        dtx_free(va_arg(list, void *));
    }
    va_end(list);
}

static void check_close(const float *a, const float *b, int64_t n, double tol, const char *what)
{
    for (int64_t i = 0; i < n; i++) {
        if (!(fabs((double)a[i] - b[i]) <= tol * (1.0 + fabs((double)b[i])))) {
            fail_msg("%s: element %lld is %.9g, expected %.9g", what, (long long)i, a[i], b[i]);
        }
    }
}

static void one_thread(void)
{
    assert_int_equal(dtx_linear_setup(DTX_GEMM_AUTO, 1), DTX_OK);
}

static void two_threads(void)
{
    assert_int_equal(dtx_linear_setup(DTX_GEMM_AUTO, 2), DTX_OK);
}

static DTX_CLONES void eval_expf(int64_t n, const float *x, float *y)
{
    for (int64_t i = 0; i < n; i++) {
        y[i] = dtx_expf(x[i]);
    }
}

static DTX_CLONES void eval_exp(int64_t n, const double *x, double *y)
{
    for (int64_t i = 0; i < n; i++) {
        y[i] = dtx_exp(x[i]);
    }
}

static DTX_CLONES void eval_cdf(int64_t n, const float *x, float *y)
{
    for (int64_t i = 0; i < n; i++) {
        y[i] = dtx_normal_cdf(x[i], dtx_expf(-0.5f * x[i] * x[i]));
    }
}

static void elementary_functions_are_accurate(void **state)
{
    enum { N = 200000 };
    float *x = dtx_malloc(N, sizeof *x), *y = dtx_malloc(N, sizeof *y);
    double *dx = dtx_malloc(N, sizeof *dx), *dy = dtx_malloc(N, sizeof *dy), worst_exp = 0, worst_dexp = 0, worst_cdf = 0;

    (void)state;
    for (int i = 0; i < N; i++) {
        x[i] = -87.0f + 175.0f * (float)i / N;
        dx[i] = -700.0 + 1400.0 * i / N;
    }
    eval_expf(N, x, y);
    eval_exp(N, dx, dy);
    for (int i = 0; i < N; i++) {
        worst_exp = fmax(worst_exp, fabs(y[i] / exp((double)x[i]) - 1.0));
        worst_dexp = fmax(worst_dexp, fabs(dy[i] / exp(dx[i]) - 1.0));
    }
    for (int i = 0; i < N; i++) {
        x[i] = -14.0f + 28.0f * (float)i / N;
    }
    eval_cdf(N, x, y);
    for (int i = 0; i < N; i++) {
        worst_cdf = fmax(worst_cdf, fabs(y[i] - 0.5 * erfc(-(double)x[i] * M_SQRT1_2)));
    }
    print_message("largest errors: expf %.2g, exp %.2g (relative), normal cdf %.2g\n", worst_exp, worst_dexp, worst_cdf);
    assert_true(worst_exp < 2e-7);
    assert_true(worst_dexp < 2e-15);
    assert_true(worst_cdf < 1.2e-7);
    memcpy(x, (float[]){-INFINITY, -1e30f, NAN, 0.0f, 1000.0f}, 5 * sizeof *x);
    eval_expf(5, x, y);
    assert_true(y[0] == 0.0f && y[1] == 0.0f && isnan(y[2]) && y[3] == 1.0f && y[4] > 1e38f);
    free_all(4, x, y, dx, dy);
}

static void embedding_widens_rows(void **state)
{
    uint16_t table[6] = {0x3F80, 0x4000, 0x4040, 0x4080, 0x40A0, 0x40C0};
    float y[4];

    (void)state;
    dtx_embed(table, DTX_BF16, 2, 2, (int32_t[]){2, 0}, y);
    assert_memory_equal(y, ((float[]){5, 6, 1, 2}), sizeof y);
}

static void norm_agrees_with_the_reference(void **state)
{
    const int64_t widths[] = {1, 7, 16, 72, 2560};
    enum { R = 37 };

    (void)state;
    for (size_t k = 0; k < 5; k++) {
        int64_t d = widths[k];
        float *x = values(R * d, 1, 3.0f), *w = values(d, 2, 1.0f), *b = values(d, 3, 1.0f), *dy = values(2 * R * d, 4, 1.0f);
        float *y = values(R * d, 5, 1.0f), *y_ref = values(R * d, 5, 1.0f), mean[R], rstd[R], mean_ref[R], rstd_ref[R];
        float *dx = values(2 * R * d, 6, 1.0f), *dx_ref = values(2 * R * d, 6, 1.0f);
        float *dw = values(d, 7, 1.0f), *dw_ref = values(d, 7, 1.0f), *db = values(d, 8, 1.0f), *db_ref = values(d, 8, 1.0f);
        int32_t map[2 * R];

        for (int r = 0; r < 2 * R; r++) {
            map[r] = (r * 11) % R;
        }
        two_threads();
        dtx_norm_forward(R, d, x, w, b, 1e-5f, y, mean, rstd);
        dtx_norm_forward_ref(R, d, x, w, b, 1e-5f, y_ref, mean_ref, rstd_ref);
        check_close(y, y_ref, R * d, 3e-6, "norm");
        check_close(mean, mean_ref, R, 1e-6, "mean");
        check_close(rstd, rstd_ref, R, 1e-6, "rstd");
        dtx_norm_backward(R, d, NULL, x, mean, rstd, w, dy, dx, dw, db);
        dtx_norm_backward_ref(R, d, NULL, x, mean, rstd, w, dy, dx_ref, dw_ref, db_ref);
        dtx_norm_backward(2 * R, d, map, x, mean, rstd, w, dy, dx, NULL, NULL);
        dtx_norm_backward_ref(2 * R, d, map, x, mean, rstd, w, dy, dx_ref, NULL, NULL);
        check_close(dx, dx_ref, 2 * R * d, d == 1 ? 2e-3 : 1e-5, "d_x");
        check_close(dw, dw_ref, d, 1e-5, "d_w");
        check_close(db, db_ref, d, 1e-5, "d_b");
        free_all(12, x, w, b, dy, y, y_ref, dx, dx_ref, dw, dw_ref, db, db_ref);
    }
}

/* Sum of c . norm(x), for finite differences. */
static double norm_objective(int64_t d, const float *x, const float *w, const float *b, const float *c)
{
    double m = 0.0, v = 0.0, sum = 0.0;

    for (int64_t i = 0; i < d; i++) {
        m += x[i] / (double)d;
    }
    for (int64_t i = 0; i < d; i++) {
        v += (x[i] - m) * (x[i] - m) / (double)d;
    }
    for (int64_t i = 0; i < d; i++) {
        sum += c[i] * ((x[i] - m) / sqrt(v + 1e-5) * w[i] + b[i]);
    }
    return sum;
}

static void norm_gradient_matches_finite_differences(void **state)
{
    enum { D = 24 };
    float *x = values(D, 1, 2.0f), *w = values(D, 2, 1.0f), *b = values(D, 3, 1.0f), *c = values(D, 4, 1.0f);
    float y[D], mean, rstd, dx[D] = {0}, dw[D] = {0}, db[D] = {0};
    float *of[3] = {x, w, b}, *gradient[3] = {dx, dw, db};

    (void)state;
    dtx_norm_forward(1, D, x, w, b, 1e-5f, y, &mean, &rstd);
    dtx_norm_backward(1, D, NULL, x, &mean, &rstd, w, c, dx, dw, db);
    for (int k = 0; k < 3; k++) {
        for (int i = 0; i < D; i++) {
            float had = of[k][i], up = had + 0x1p-10f, down = had - 0x1p-10f;
            of[k][i] = up;
            double f = norm_objective(D, x, w, b, c);
            of[k][i] = down;
            f -= norm_objective(D, x, w, b, c);
            of[k][i] = had;
            assert_true(fabs(f / ((double)up - down) - gradient[k][i]) < 2e-5);
        }
    }
    free_all(4, x, w, b, c);
}

static void activations_agree_with_the_reference(void **state)
{
    enum { R = 50, D = 1003 };
    float *x = values(R * D, 1, 9.0f), *dy = values(2 * R * D, 2, 1.0f);
    float *y = values(2 * R * D, 0, 1.0f), *y_ref = values(2 * R * D, 0, 1.0f), h = 0x1p-8f;
    int32_t map[2 * R];

    (void)state;
    for (int r = 0; r < 2 * R; r++) {
        map[r] = (r * 7) % R;
    }
    for (int act = DTX_ACT_GELU_ERF; act <= DTX_ACT_SILU; act++) {
        two_threads();
        dtx_act_forward((dtx_activation)act, R, D, x, y);
        dtx_act_forward_ref((dtx_activation)act, R, D, x, y_ref);
        check_close(y, y_ref, R * D, 3e-7, "activation");
        dtx_act_backward((dtx_activation)act, 2 * R, D, map, x, dy, y);
        dtx_act_backward_ref((dtx_activation)act, 2 * R, D, map, x, dy, y_ref);
        check_close(y, y_ref, 2 * R * D, 5e-7, "activation's gradient");
        memcpy(y, dy, sizeof(float) * 2 * R * D); /* in place */
        dtx_act_backward((dtx_activation)act, 2 * R, D, map, x, y, y);
        check_close(y, y_ref, 2 * R * D, 5e-7, "activation's gradient in place");
        for (int i = 0; i < 40; i++) { /* finite differences of the reference, in f32 steps that are exact */
            float at = (float)(i - 20) * 0.25f + 0.0625f, pair[2] = {at + h, at - h}, out[2], one = 1.0f, slope;
            dtx_act_forward_ref((dtx_activation)act, 1, 2, pair, out);
            dtx_act_backward((dtx_activation)act, 1, 1, NULL, &at, &one, &slope);
            assert_true(fabs((double)(out[0] - out[1]) / (2.0 * h) - slope) < 2e-4);
        }
    }
    free_all(4, x, dy, y, y_ref);
}

static const dtx_heads HEADS[] = {
    {4, 4, 6, 72, true, 0, 0, 0},       /* GPT-NeoX: one key/value head per query head */
    {6, 1, 20, 160, true, 0, 0, 0},     /* Falcon 7B: one for all */
    {8, 2, 16, 192, true, 0, 0, 0},     /* Falcon 40B: groups */
    {3, 3, 33, 297, false, 0, 0, 0},    /* RoBERTa: q | k | v */
};
enum { N_HEADS = 4 };

static void head_columns_cover_a_row(void **state)
{
    (void)state;
    for (int k = 0; k < N_HEADS; k++) {
        const dtx_heads *h = &HEADS[k];
        char seen[512] = {0};
        for (int64_t i = 0; i < h->n_heads + 2 * h->n_kv; i++) {
            int64_t at = i < h->n_heads              ? dtx_heads_q(h, i)
                         : i < h->n_heads + h->n_kv ? dtx_heads_k(h, i - h->n_heads)
                                                    : dtx_heads_v(h, i - h->n_heads - h->n_kv);
            for (int64_t c = 0; c < h->head_dim; c++) {
                assert_true(at + c < h->width && !seen[at + c]);
                seen[at + c] = 1;
            }
        }
    }
}

static void rotary_agrees_and_inverts(void **state)
{
    enum { R = 40, POSITIONS = 64 };

    (void)state;
    for (int k = 0; k < N_HEADS; k++) {
        const dtx_heads *h = &HEADS[k];
        int64_t dims = h->head_dim / 2 * 2 > 8 && k != 1 ? 8 : h->head_dim / 2 * 2;
        float *c = values(POSITIONS * dims / 2, 0, 1.0f), *s = values(POSITIONS * dims / 2, 0, 1.0f);
        float *x = values(R * h->width, 3, 1.0f), *y = values(R * h->width, 3, 1.0f), *z = values(R * h->width, 3, 1.0f);
        int32_t pos[R];

        for (int r = 0; r < R; r++) {
            pos[r] = (r * 5) % POSITIONS;
        }
        double angle[128];
        for (int64_t i = 0; i < dims / 2; i++) {
            angle[i] = pow(10000.0, -2.0 * (double)i / (double)dims);
        }
        dtx_rotary_table(POSITIONS, dims / 2, angle, 1.0, c, s);
        assert_true(fabs(c[3 * dims / 2 + 1] - cos(3.0 * pow(10000.0, -2.0 / (double)dims))) < 1e-7);
        two_threads();
        dtx_rotary(h, dims, c, s, R, pos, y, false);
        dtx_rotary_ref(h, dims, c, s, R, pos, z, false);
        check_close(y, z, R * h->width, 2e-7, "rotary");
        dtx_rotary(h, dims, c, s, R, pos, y, true);
        check_close(y, x, R * h->width, 5e-7, "inverse rotary");
        free_all(5, c, s, x, y, z);
    }
}

static void alibi_values_are_the_published_ones(void **state)
{
    float slope[12];

    (void)state;
    dtx_alibi_slopes(8, slope); /* 1/2, 1/4 ... 1/256 */
    for (int i = 0; i < 8; i++) {
        assert_true(slope[i] == ldexpf(1.0f, -(i + 1)));
    }
    dtx_alibi_slopes(12, slope); /* 8 as before, then odd powers of 2^(-1/2) */
    for (int i = 0; i < 12; i++) {
        double expected = i < 8 ? ldexp(1.0, -(i + 1)) : exp2(-0.5 * (2 * (i - 8) + 1));
        assert_true(fabs(slope[i] / expected - 1.0) < 5e-7);
    }
    assert_true(dtx_alibi_bias(0.5f, 3) == 1.5f);
    assert_true(dtx_alibi_bias(0.5f, 257) == 128.0f);                     /* the position itself is rounded: 256 */
    assert_true(dtx_alibi_bias(0.70710678f, 3) == 2.125f);                /* 0.70703125 * 3 = 2.12109375 */
}

/* The same random batch through both; sequences of one buffer, the last ones against a cache. */
static void attention_forward_agrees_with_the_reference(void **state)
{
    enum { N_SEQ = 4 };
    const int64_t n_q[N_SEQ] = {1, 70, 0, 5}, past[N_SEQ] = {0, 0, 0, 12};

    (void)state;
    for (int k = 0; k < N_HEADS; k++) {
        for (int mode = 0; mode < 6; mode++) {
            const dtx_heads *h = &HEADS[k];
            bool causal = mode % 2 == 0;
            int64_t d = h->n_heads * h->head_dim, ld_cache = h->n_kv * h->head_dim;
            dtx_attn_seq seq[N_SEQ];
            float slope[16], *qkv[N_SEQ], *cache_k = values(17 * ld_cache, 3, 1.0f), *cache_v = values(17 * ld_cache, 4, 1.0f);
            float *out[N_SEQ], *out_ref[N_SEQ], *probs[N_SEQ], *probs_ref[N_SEQ];

            dtx_alibi_slopes(h->n_heads, slope);
            for (int pass = 0; pass < 2; pass++) {
                for (int s = 0; s < N_SEQ; s++) {
                    int64_t total = past[s] + n_q[s];
                    if (pass == 0) {
                        qkv[s] = values(n_q[s] * h->width, (uint32_t)(10 + s), 2.0f);
                        out[s] = values(n_q[s] * d, 1, 1.0f);
                        out_ref[s] = values(n_q[s] * d, 2, 1.0f);
                        probs[s] = values(h->n_heads * n_q[s] * total, 1, 1.0f);
                        probs_ref[s] = values(h->n_heads * n_q[s] * total, 2, 1.0f);
                    }
                    seq[s] = (dtx_attn_seq){.qkv = qkv[s], .n_q = n_q[s], .past = past[s],
                                            .out = pass == 0 ? out[s] : out_ref[s],
                                            .probs = mode < 4 ? (pass == 0 ? probs[s] : probs_ref[s]) : NULL};
                    if (past[s] > 0) {
                        seq[s].k = cache_k, seq[s].v = cache_v, seq[s].ld_kv = ld_cache, seq[s].kv_step = h->head_dim;
                    } else {
                        seq[s].k = qkv[s] + dtx_heads_k(h, 0), seq[s].v = qkv[s] + dtx_heads_v(h, 0);
                        seq[s].ld_kv = h->width;
                        seq[s].kv_step = h->n_kv > 1 ? dtx_heads_k(h, 1) - dtx_heads_k(h, 0) : 0;
                    }
                }
                two_threads();
                (pass == 0 ? dtx_attention_forward : dtx_attention_forward_ref)(h, causal, mode >= 2 ? slope : NULL,
                                                                                 N_SEQ, seq);
            }
            for (int s = 0; s < N_SEQ; s++) {
                check_close(out[s], out_ref[s], n_q[s] * d, 3e-6, "attention");
                if (mode < 4) {
                    check_close(probs[s], probs_ref[s], h->n_heads * n_q[s] * (past[s] + n_q[s]), 2e-6, "probabilities");
                }
                free_all(5, qkv[s], out[s], out_ref[s], probs[s], probs_ref[s]);
            }
            free_all(2, cache_k, cache_v);
        }
    }
}

/* A row attends alone (decoding) as it does among others. */
static void decoding_one_row_gives_the_same_values(void **state)
{
    enum { T = 33 };
    const dtx_heads *h = &HEADS[2];
    int64_t d = h->n_heads * h->head_dim, step = dtx_heads_k(h, 1) - dtx_heads_k(h, 0);
    float *qkv = values(T * h->width, 1, 2.0f), *out = values(T * d, 0, 1.0f), *one = values(d, 0, 1.0f);
    dtx_attn_seq seq = {qkv, qkv + dtx_heads_k(h, 0), qkv + dtx_heads_v(h, 0), h->width, step, T, 0, out, NULL, NULL};

    (void)state;
    one_thread();
    dtx_attention_forward(h, true, NULL, 1, &seq);
    for (int64_t i = 0; i < T; i++) {
        dtx_attn_seq last = seq;
        last.qkv = qkv + i * h->width, last.past = i, last.n_q = 1, last.out = one;
        dtx_attention_forward(h, true, NULL, 1, &last);
        check_close(one, out + i * d, d, 1e-6, "one row");
    }
    free_all(3, qkv, out, one);
}

static void attention_backward_agrees_with_the_reference(void **state)
{
    enum { T = 70, N_SEG = 5 };
    const int64_t first[N_SEG] = {0, 69, 11, 0, 0}, len[N_SEG] = {70, 70, 12, 1, 40};

    (void)state;
    for (int k = 0; k < N_HEADS; k++) {
        for (int mode = 0; mode < 5; mode++) { /* 0, 1: probabilities kept; 2, 3: recomputed, ALiBi; 4: not causal */
            const dtx_heads *h = &HEADS[k];
            int64_t d = h->n_heads * h->head_dim, step = h->n_kv > 1 ? dtx_heads_k(h, 1) - dtx_heads_k(h, 0) : 0;
            int n_seg = mode == 4 ? 2 : N_SEG;
            float slope[16], *qkv = values(T * h->width, 1, 2.0f), *out = values(T * d, 2, 1.0f);
            float *probs = values(h->n_heads * T * T, 3, 1.0f), *got[N_SEG], *expected[N_SEG], *d_out[N_SEG];
            double entropy[2][16];
            const float *bias = mode % 2 == 1 || mode == 2 ? slope : NULL;
            dtx_attn_seq seq = {qkv, qkv + dtx_heads_k(h, 0), qkv + dtx_heads_v(h, 0), h->width, step, T, 0, out, probs, entropy[0]};
            dtx_attn_seg seg[N_SEG];

            dtx_alibi_slopes(h->n_heads, slope);
            two_threads();
            seq.entropy = entropy[1];
            dtx_attention_forward_ref(h, mode != 4, bias, 1, &seq);
            seq.entropy = entropy[0];
            dtx_attention_forward(h, mode != 4, bias, 1, &seq);
            for (int64_t i = 0; i < h->n_heads; i++) {
                assert_true(fabs(entropy[0][i] - entropy[1][i]) < 1e-5 * entropy[1][i] && entropy[1][i] > 1);
            }
            for (int pass = 0; pass < 2; pass++) {
                for (int s = 0; s < n_seg; s++) {
                    int64_t l = mode == 4 ? T : len[s];
                    if (pass == 0) {
                        got[s] = values(l * h->width, 4, 1.0f);
                        expected[s] = values(l * h->width, 5, 1.0f);
                        d_out[s] = values((l - first[s]) * d, (uint32_t)(6 + s), 1.0f);
                    }
                    seg[s] = (dtx_attn_seg){qkv, mode < 2 ? probs : NULL, T, first[s], l, d_out[s],
                                            pass == 0 ? got[s] : expected[s], 0.3f * (float)s};
                }
                (pass == 0 ? dtx_attention_backward : dtx_attention_backward_ref)(h, mode != 4, bias, n_seg, seg);
            }
            for (int s = 0; s < n_seg; s++) {
                check_close(got[s], expected[s], (mode == 4 ? T : len[s]) * h->width, 1e-5, "attention's gradient");
                free_all(3, got[s], expected[s], d_out[s]);
            }
            free_all(3, qkv, out, probs);
        }
    }
}

/* More keys than a thread's buffer holds: 65536, half of it in the backward pass. The queries stand on both sides of that. */
static void long_sequences_agree_with_the_reference(void **state)
{
    enum { PAST = 65530, Q = 12, T = PAST + Q, LEN = 32768 + 9, FIRST = LEN - 15 };
    dtx_heads h = {4, 2, 8, 64, true, 0, 0, 0};
    const int64_t d = h.n_heads * h.head_dim, step = dtx_heads_k(&h, 1) - dtx_heads_k(&h, 0);
    float *qkv = values(T * h.width, 1, 4.0f), *out = values(Q * d, 2, 1.0f), *out_ref = values(Q * d, 3, 1.0f);
    float *one = values(d, 0, 1.0f), *d_out = values(Q * d + 3 * d, 4, 1.0f), *probs = values(h.n_heads * T, 0, 1.0f);
    float *got = values(LEN * h.width, 5, 1.0f), *expected = values(LEN * h.width, 6, 1.0f), slope[4];
    double entropy[2][4];

    (void)state;
    two_threads();
    for (int i = 0; i < 4; i++) {
        slope[i] = (float)i * 1e-4f; /* the published ones leave no digits in f32 to scores at such distances */
    }
    for (int mode = 0; mode < 4; mode++) { /* plain, ALiBi, not causal, capped and in a window */
        const bool causal = mode != 2;
        h.cap = mode == 3 ? 3.0f : 0.0f;
        h.window = mode == 3 ? PAST + 3 : 0;
        const float *bias = mode == 1 ? slope : NULL;
        dtx_attn_seq seq = {qkv + PAST * h.width, qkv + dtx_heads_k(&h, 0), qkv + dtx_heads_v(&h, 0), h.width, step, Q, PAST, out,
                            NULL, entropy[0]}, ref = seq, last = seq;
        ref.out = out_ref, ref.entropy = entropy[1];
        dtx_attention_forward(&h, causal, bias, 1, &seq);
        dtx_attention_forward_ref(&h, causal, bias, 1, &ref);
        check_close(out, out_ref, Q * d, 3e-5, "attention over many keys");
        for (int i = 0; i < 4; i++) {
            assert_true(fabs(entropy[0][i] - entropy[1][i]) < 1e-5 * entropy[1][i] && entropy[1][i] > 1);
        }
        for (int64_t i = 0; causal && i < Q; i++) { /* the same bits alone, as a step of decoding and with the weights kept */
            last.qkv = seq.qkv + i * h.width, last.past = PAST + i, last.n_q = 1, last.out = one, last.probs = NULL;
            last.entropy = entropy[0];
            dtx_attention_forward(&h, true, bias, 1, &last);
            assert_memory_equal(one, out + i * d, (size_t)d * sizeof *one);
            last.entropy = NULL;
            dtx_attention_forward(&h, true, bias, 1, &last);
            check_close(one, out_ref + i * d, d, 3e-5, "one row");
            last.probs = probs;
            dtx_attention_forward(&h, true, bias, 1, &last);
            check_close(one, out_ref + i * d, d, 3e-5, "one row");
        }
        h.window = mode == 3 ? LEN - 7 : 0;
        dtx_attn_seg seg = {qkv, NULL, LEN, FIRST, LEN, d_out, got, mode == 1 ? 0.3f : 0.0f};
        dtx_attention_backward(&h, causal, bias, 1, &seg);
        seg.d_qkv = expected;
        dtx_attention_backward_ref(&h, causal, bias, 1, &seg);
        check_close(got, expected, LEN * h.width, 3e-5, "gradient over many keys");
    }
    free_all(8, qkv, out, out_ref, one, d_out, probs, got, expected);
}

/* c . attention(qkv) + 0.6 times the sum of entropies, by the reference. */
static double attention_objective(const dtx_heads *h, const float *slope, int64_t T, const float *qkv, const float *c)
{
    int64_t d = h->n_heads * h->head_dim;
    float *out = values(T * d, 0, 1.0f);
    double sum = 0.0, entropy[16];
    dtx_attn_seq seq = {qkv, qkv + dtx_heads_k(h, 0), qkv + dtx_heads_v(h, 0), h->width,
                        h->n_kv > 1 ? dtx_heads_k(h, 1) - dtx_heads_k(h, 0) : 0, T, 0, out, NULL, entropy};

    dtx_attention_forward_ref(h, true, slope, 1, &seq);
    for (int64_t i = 0; i < T * d; i++) {
        sum += (double)c[i] * out[i];
    }
    for (int64_t i = 0; i < h->n_heads; i++) {
        sum += 0.6 * entropy[i];
    }
    dtx_free(out);
    return sum;
}

static void attention_gradient_matches_finite_differences(void **state)
{
    enum { T = 5 };

    (void)state;
    for (int k = 0; k < 3; k++) {
        const dtx_heads *h = &HEADS[k];
        int64_t d = h->n_heads * h->head_dim;
        float slope[16], *qkv = values(T * h->width, 1, 1.0f), *c = values(T * d, 2, 1.0f);
        float *grad = values(T * h->width, 3, 1.0f);
        dtx_attn_seg seg = {qkv, NULL, T, 0, T, c, grad, 0.6f};

        dtx_alibi_slopes(h->n_heads, slope);
        dtx_attention_backward(h, true, slope, 1, &seg);
        for (int64_t i = 0; i < T * h->width; i += 7) {
            float had = qkv[i], up = had + 0x1p-7f, down = had - 0x1p-7f;
            qkv[i] = up;
            double f = attention_objective(h, slope, T, qkv, c);
            qkv[i] = down;
            f -= attention_objective(h, slope, T, qkv, c);
            qkv[i] = had;
            assert_true(fabs(f / ((double)up - down) - grad[i]) < 3e-4);
        }
        free_all(3, qkv, c, grad);
    }
}

/* Windows, caps and scales of the scores: with and without kept weights, a step of decoding, and the gradient. */
static void windows_and_caps_agree_with_the_reference(void **state)
{
    enum { T = 150, N_SEG = 3 };
    static const int64_t window[] = {1, 8, 70, 0, 200}, first[N_SEG] = {0, 149, 65}, len[N_SEG] = {T, T, 80};
    const dtx_heads base = {4, 2, 16, 128, false, 0, 0, 0};
    const int64_t d = base.n_heads * base.head_dim, step = dtx_heads_k(&base, 1) - dtx_heads_k(&base, 0);

    (void)state;
    for (int k = 0; k < 15; k++) {
        dtx_heads h = base;
        h.window = window[k % 5];
        h.cap = k >= 5 ? 2.5f : 0.0f;
        h.scale = k >= 10 ? 0.7f : 0.0f;
        float *qkv = values(T * h.width, 1, 2.0f), *out = values(T * d, 2, 1.0f), *out_ref = values(T * d, 3, 1.0f), *one = values(d, 0, 1.0f);
        float *probs = values(h.n_heads * T * T, 4, 1.0f), *probs_ref = values(h.n_heads * T * T, 5, 1.0f), *d_out = values(T * d, 6, 1.0f);
        float *got = values(T * h.width, 7, 1.0f), *expected = values(T * h.width, 8, 1.0f);
        double entropy[2][4];
        dtx_attn_seq seq = {qkv, qkv + dtx_heads_k(&h, 0), qkv + dtx_heads_v(&h, 0), h.width, step, T, 0, out, probs, entropy[0]}, ref = seq;
        ref.out = out_ref, ref.probs = probs_ref, ref.entropy = entropy[1];
        two_threads();
        dtx_attention_forward(&h, true, NULL, 1, &seq);
        dtx_attention_forward_ref(&h, true, NULL, 1, &ref);
        check_close(out, out_ref, T * d, 5e-6, "attention in a window");
        check_close(probs, probs_ref, h.n_heads * T * T, 3e-6, "probabilities in a window");
        for (int i = 0; i < 4; i++) {
            assert_true(fabs(entropy[0][i] - entropy[1][i]) <= 1e-5 * entropy[1][i] + 1e-9);
        }
        seq.probs = NULL, seq.entropy = NULL;
        memset(out, 0, (size_t)(T * d) * sizeof *out);
        dtx_attention_forward(&h, true, NULL, 1, &seq);
        check_close(out, out_ref, T * d, 5e-6, "attention in a window, nothing kept");
        for (int64_t i = 1; i < T; i += 29) {
            dtx_attn_seq last = seq;
            last.qkv = qkv + i * h.width, last.past = i, last.n_q = 1, last.out = one;
            dtx_attention_forward(&h, true, NULL, 1, &last);
            check_close(one, out_ref + i * d, d, 5e-6, "one row in a window");
        }
        for (int kept = 0; kept <= (h.cap > 0.0f ? 0 : 1); kept++) {
            for (int i = 0; i < N_SEG; i++) {
                dtx_attn_seg seg = {qkv, kept ? probs : NULL, T, first[i], len[i], d_out, got, 0.3f * (float)i};
                dtx_attention_backward(&h, true, NULL, 1, &seg);
                seg.d_qkv = expected;
                dtx_attention_backward_ref(&h, true, NULL, 1, &seg);
                check_close(got, expected, len[i] * h.width, 2e-5, "gradient in a window");
            }
        }
        free_all(9, qkv, out, out_ref, one, probs, probs_ref, d_out, got, expected);
    }
}

/* RMSNorm with and without shift, several vectors a row (queries and keys of a row), shared forward rows, in place. */
static void rms_norm_agrees_with_the_reference(void **state)
{
    enum { R = 37, M = 50 };
    static const int64_t shape[][2] = {{1, 1}, {1, 64}, {1, 1003}, {3, 24}, {4, 16}};

    (void)state;
    for (int k = 0; k < 10; k++) {
        const int64_t n = shape[k / 2][0], d = shape[k / 2][1], ld = n * d + 5;
        const float shift = k % 2 ? 1.0f : 0.0f;
        float *x = values(R * ld, 1, 3.0f), *w = values(d, 2, 1.0f), *y = values(R * ld, 3, 1.0f), *y_ref = values(R * ld, 3, 1.0f);
        float *rstd = values(R * n, 0, 1.0f), *rstd_ref = values(R * n, 0, 1.0f), *dy = values(M * ld, 4, 1.0f);
        float *dx = values(M * ld, 5, 1.0f), *dx_ref = values(M * ld, 5, 1.0f), *dw = values(d, 6, 1.0f), *dw_ref = values(d, 6, 1.0f);
        int32_t map[M];
        two_threads();
        dtx_rms_forward(R, n, d, x, ld, w, shift, 1e-6f, y, ld, rstd);
        dtx_rms_forward_ref(R, n, d, x, ld, w, shift, 1e-6f, y_ref, ld, rstd_ref);
        check_close(y, y_ref, R * ld, 3e-7, "RMSNorm");
        check_close(rstd, rstd_ref, R * n, 3e-7, "RMSNorm's statistics");
        for (int r = 0; r < M; r++) {
            map[r] = (r * 7) % R;
        }
        for (int accumulate = 0; accumulate < 2; accumulate++) {
            dtx_rms_backward(M, n, d, map, x, ld, rstd, w, shift, dy, dx, ld, accumulate, NULL);
            dtx_rms_backward_ref(M, n, d, map, x, ld, rstd, w, shift, dy, dx_ref, ld, accumulate, NULL);
            check_close(dx, dx_ref, M * ld, 3e-6, "RMSNorm's gradient");
        }
        dtx_rms_backward(R, n, d, NULL, x, ld, rstd, w, shift, dy, dx, ld, true, dw);
        dtx_rms_backward_ref(R, n, d, NULL, x, ld, rstd, w, shift, dy, dx_ref, ld, true, dw_ref);
        check_close(dw, dw_ref, d, 1e-5, "gradient of RMSNorm's scale");
        dtx_rms_backward(R, n, d, NULL, x, ld, rstd, w, shift, dy, dx_ref, ld, false, NULL);
        dtx_rms_backward(R, n, d, NULL, x, ld, rstd, w, shift, dy, dy, ld, false, NULL); /* in place */
        for (int64_t r = 0; r < R; r++) {
            assert_memory_equal(dy + r * ld, dx_ref + r * ld, (size_t)(n * d) * sizeof *dy);
        }
        if (n * d > 1) { /* finite differences of c . y, c = w of another seed */
            float *c = values(n * d, 9, 1.0f), *g = values(n * d, 0, 1.0f);
            dtx_rms_backward_ref(1, n, d, NULL, x, ld, rstd_ref, w, shift, c, g, n * d, false, NULL);
            for (int64_t i = 0; i < n * d; i += 11) {
                double f[2];
                const float had = x[i];
                for (int side = 0; side < 2; side++) {
                    x[i] = had + (side ? -0x1p-8f : 0x1p-8f);
                    dtx_rms_forward_ref(1, n, d, x, ld, w, shift, 1e-6f, y_ref, n * d, NULL);
                    f[side] = 0;
                    for (int64_t j = 0; j < n * d; j++) {
                        f[side] += (double)c[j] * y_ref[j];
                    }
                }
                x[i] = had;
                assert_true(fabs((f[0] - f[1]) / 0x1p-7 - g[i]) < 2e-3 * (1 + fabs(g[i])));
            }
            free_all(2, c, g);
        }
        free_all(11, x, w, y, y_ref, rstd, rstd_ref, dy, dx, dx_ref, dw, dw_ref);
    }
}

static void gates_agree_with_the_reference(void **state)
{
    enum { R = 30, M = 41, D = 203 };
    float *x = values(2 * R * D, 1, 6.0f), *y = values(R * D, 2, 1.0f), *y_ref = values(R * D, 3, 1.0f), *dy = values(M * D, 4, 1.0f);
    float *dx = values(2 * M * D, 5, 1.0f), *dx_ref = values(2 * M * D, 6, 1.0f);
    int32_t map[M];

    (void)state;
    two_threads();
    for (int r = 0; r < M; r++) {
        map[r] = (r * 11) % R;
    }
    for (int act = DTX_ACT_GELU_ERF; act <= DTX_ACT_SILU; act++) {
        dtx_gate_forward((dtx_activation)act, R, D, x, y);
        dtx_gate_forward_ref((dtx_activation)act, R, D, x, y_ref);
        check_close(y, y_ref, R * D, 2e-6, "gate");
        dtx_gate_backward((dtx_activation)act, M, D, map, x, dy, dx);
        dtx_gate_backward_ref((dtx_activation)act, M, D, map, x, dy, dx_ref);
        check_close(dx, dx_ref, 2 * M * D, 3e-6, "gate's gradient");
    }
    for (int64_t i = 0; i < R * D; i++) { /* caps, from values near none to values far beyond */
        y[i] = (float)(i - R * D / 2) * 0.01f;
        y_ref[i] = (float)(5.0 * tanh(y[i] / 5.0));
        dx[i] = dx_ref[i] = 1.0f;
        dx_ref[i] = (float)(1.0 - pow(tanh(y[i] / 5.0), 2));
    }
    dtx_cap_forward(R * D, 5.0f, y);
    check_close(y, y_ref, R * D, 3e-7, "cap");
    dtx_cap_backward(R * D, 5.0f, y, dx);
    check_close(dx, dx_ref, R * D, 1e-6, "cap's gradient");
    free_all(6, x, y, y_ref, dy, dx, dx_ref);
}

static void softmax_agrees_with_the_reference(void **state)
{
    enum { R = 9, V = 5001 };
    float *x = values(R * V, 1, 20.0f), *y = values(R * V, 1, 20.0f), *lp = values(R, 0, 1.0f), *lp_ref = values(R, 0, 1.0f);
    int32_t id[R];

    (void)state;
    for (int r = 0; r < R; r++) {
        id[r] = (r * 997) % V;
    }
    x[3 * V + 1] = y[3 * V + 1] = -INFINITY;
    two_threads();
    dtx_log_prob(R, V, x, id, lp);
    dtx_log_prob_ref(R, V, x, id, lp_ref);
    check_close(lp, lp_ref, R, 1e-7, "log probability");
    dtx_softmax(R, V, x);
    dtx_softmax_ref(R, V, y);
    assert_true(x[3 * V + 1] == 0.0f);
    for (int64_t i = 0; i < R * V; i++) {
        assert_true(fabs((double)x[i] - y[i]) <= 3e-6 * y[i] + 1e-38); /* x - max is rounded: half an ulp of 40 */
    }
    free_all(4, x, y, lp, lp_ref);
}

/* Threads and neighbours change no bit: all rows at once on two threads, then each alone on one. */
static void rows_do_not_depend_on_threads_or_neighbours(void **state)
{
    enum { R = 60, D = 1000 };
    float *x = values(R * D + 1, 1, 3.0f), *w = values(D, 2, 1.0f), *b = values(D, 3, 1.0f), *y = values(R * D, 0, 1.0f);
    float *one = values(D + 3, 0, 1.0f), mean[R], rstd[R], m, s;

    (void)state;
    two_threads();
    dtx_norm_forward(R, D, x, w, b, 1e-5f, y, mean, rstd);
    one_thread();
    for (int r = 0; r < R; r++) {
        dtx_norm_forward(1, D, x + r * D, w, b, 1e-5f, one, &m, &s);
        assert_memory_equal(one, y + r * D, D * sizeof *y);
        assert_true(m == mean[r] && s == rstd[r]);
        memcpy(one + 1, x + r * D, D * sizeof *x); /* at another alignment */
        dtx_softmax(1, D, one + 1);
        memcpy(y + r * D, one + 1, D * sizeof *y);
    }
    two_threads();
    dtx_softmax(R, D, x);
    assert_memory_equal(x, y, R * D * sizeof *y);
    free_all(5, x, w, b, y, one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elementary_functions_are_accurate),
        cmocka_unit_test(embedding_widens_rows),
        cmocka_unit_test(norm_agrees_with_the_reference),
        cmocka_unit_test(norm_gradient_matches_finite_differences),
        cmocka_unit_test(activations_agree_with_the_reference),
        cmocka_unit_test(head_columns_cover_a_row),
        cmocka_unit_test(rotary_agrees_and_inverts),
        cmocka_unit_test(alibi_values_are_the_published_ones),
        cmocka_unit_test(attention_forward_agrees_with_the_reference),
        cmocka_unit_test(decoding_one_row_gives_the_same_values),
        cmocka_unit_test(attention_backward_agrees_with_the_reference),
        cmocka_unit_test(long_sequences_agree_with_the_reference),
        cmocka_unit_test(attention_gradient_matches_finite_differences),
        cmocka_unit_test(windows_and_caps_agree_with_the_reference),
        cmocka_unit_test(rms_norm_agrees_with_the_reference),
        cmocka_unit_test(gates_agree_with_the_reference),
        cmocka_unit_test(softmax_agrees_with_the_reference),
        cmocka_unit_test(rows_do_not_depend_on_threads_or_neighbours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
