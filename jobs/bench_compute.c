/* bench_compute.c - dense algebra and attribution, as shares of the FMA peak. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "jobs/bench.h"
#include "src/attrib.h"
#include "src/linear.h"
#include "src/mem.h"
#include "src/model.h"

/* RedPajama-INCITE 3B with another number of layers. */
static dtx_arch redpajama_3b(int64_t n_layers)
{
    return (dtx_arch){.family = DTX_NEOX, .model_type = "gpt_neox", .n_layers = n_layers, .hidden = 2560, .n_heads = 32,
                      .head_dim = 80, .ffn = 10240, .vocab = 50432, .n_kv = 32, .max_positions = 2048, .causal = true,
                      .fused_qkv = true, .linear_bias = true, .position = DTX_POS_ROTARY, .rotary_dims = 80,
                      .rotary_base = 10000.0, .activation = DTX_ACT_GELU_ERF, .norm_eps = 1e-5f, .bos_id = 0, .eos_id = 0,
                      .pad_id = -1};
}

/* --- gemm --- */

enum { COPIES = 4 }; /* of each matrix, used in turn, so that weights come from memory as they do in a model */

typedef struct {
    dtx_matrix w;
    int64_t M;
    bool turned;
    const float *x;
    float *y;
    int calls, next;
} gemm_case;

static void run_gemm(void *user)
{
    gemm_case *c = user;

    for (int i = 0; i < c->calls; i++) {
        dtx_matrix w = c->w;
        w.w = (const uint16_t *)c->w.w + (int64_t)(c->next++ % COPIES) * w.n_out * w.n_in;
        if (c->turned) {
            dtx_linear_backward_input(&w, c->M, c->x, w.n_out, c->y, w.n_in, false);
        } else {
            dtx_linear_forward(&w, NULL, c->M, c->x, w.n_in, c->y, w.n_out, false);
        }
    }
}

dtx_status dtx_bench_gemm(const dtx_job *job, int repeat, dtx_bench_result *out)
{
    static const int64_t shape[][2] = {{7680, 2560}, {2560, 2560}, {10240, 2560}, {2560, 10240}};
    static const int64_t rows[] = {1, 4, 16, 64, 128, 512};
    enum { WIDEST = 10240, MOST = 512 };
    double share[DTX_BENCH_MAX_REPEAT], rate[DTX_BENCH_MAX_REPEAT], limit[DTX_BENCH_MAX_REPEAT];
    double flops = 0, seconds = 0, peak_seconds = 0;
    uint16_t *w = NULL;
    float *x = NULL, *y = NULL;
    dtx_status st;

    DTX_GO(DTX_NEW_RAW(w, (int64_t)COPIES * 10240 * 2560));
    DTX_GO(DTX_NEW_RAW(x, WIDEST * MOST));
    DTX_GO(DTX_NEW_RAW(y, WIDEST * MOST));
    for (int64_t i = 0; i < (int64_t)COPIES * 10240 * 2560; i++) { /* magnitudes below 1/64, both signs */
        uint32_t s = (uint32_t)i * 2654435761u;
        w[i] = (uint16_t)(0x3C00u | (s >> 25) | (s >> 9 & 1u) << 15);
    }
    for (int64_t i = 0; i < WIDEST * MOST; i++) {
        x[i] = (float)(i % 199 - 99) / 99.0f;
    }
    if (!job->json) {
        printf("%16s %6s  %24s  %24s\n", "weights bf16", "rows", "forward", "transposed");
    }
    for (size_t s = 0; s < sizeof shape / sizeof *shape; s++) {
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
            if (!job->json) {
                printf("%7" PRId64 " x %6" PRId64 " %6" PRId64, shape[s][0], shape[s][1], rows[r]);
            }
            for (int turned = 0; turned < 2; turned++) {
                double work = 2.0 * (double)shape[s][0] * (double)shape[s][1] * (double)rows[r];
                gemm_case c = {{w, DTX_BF16, shape[s][0], shape[s][1]}, rows[r], turned, x, y, 1, 0};
                c.calls = work < 4e9 ? (int)(4e9 / work / (rows[r] < 16 ? 8 : 1)) + 1 : 1;
                for (int i = 0; i < repeat; i++) {
                    double t = dtx_bench_timed(job->par.threads, run_gemm, &c, &limit[i]);
                    rate[i] = work * c.calls / t;
                    share[i] = rate[i] / limit[i];
                }
                double rate_mid = dtx_bench_median(rate, repeat), share_mid = dtx_bench_median(share, repeat);
                if (!job->json) {
                    printf("  %8.1f GF/s, share %.2f", rate_mid / 1e9, share_mid);
                    fflush(stdout);
                }
                if (rows[r] >= 64) {
                    flops += work;
                    seconds += work / rate_mid;
                    peak_seconds += work / dtx_bench_median(limit, repeat);
                }
            }
            if (!job->json) {
                putchar('\n');
            }
        }
    }
    /* over all shapes from 64 rows on: below that reading the weights is the limit */
    *out = (dtx_bench_result){peak_seconds / seconds, flops / seconds, flops / peak_seconds, "flop/s"};
done:
    dtx_free(w);
    dtx_free(x);
    dtx_free(y);
    return st;
}

/* --- attribute --- */

enum { PROMPT = 45, STEPS = 70 };

/* Floating-point operations that attribution needs with shared forward pass, causal cotangents and the top layer begun
 * at one row a step; no more is counted, whatever the program computes. */
static double attribute_work(const dtx_arch *a)
{
    double d = (double)a->hidden, f = (double)a->ffn, kv = (double)(a->n_kv * a->head_dim), V = (double)a->vocab;
    double P = PROMPT, G = STEPS, n = P + G - 1, rows = 0, pairs = 0, L = (double)a->n_layers;

    for (int g = 0; g < STEPS; g++) {
        double len = P + g;
        rows += len;
        pairs += 0.5 * len * (len + 1);
    }
    double layer = 2 * (2 * d * d + 2 * d * kv + 2 * d * f); /* products of one row */
    double attention = 4 * d;                                /* q.k and p v, or dp and two of dq, dk, dv, of one pair */
    double forward = L * (n * layer + 0.5 * n * (n + 1) * attention) + 2 * G * d * V;
    double backward = (L - 1) * (rows * layer + 2 * pairs * attention);
    double top = G * 2 * (2 * d * d + 2 * d * f) + rows * (2 * 2 * d * kv + 2 * attention);
    return forward + backward + top + 2 * G * d * V;
}

typedef struct {
    dtx_model *m;
    int32_t ids[PROMPT + STEPS];
    dtx_status st;
} attribute_case;

static void run_attribute(void *user)
{
    attribute_case *c = user;
    dtx_attrib_settings s = {.method = DTX_IXG, .target = DTX_TARGET_PROBABILITY, .norm = DTX_NORM_L2, .baseline = -1};
    dtx_attribution a = {0};

    c->st = dtx_attribute(c->m, &s, c->ids, PROMPT, STEPS, NULL, NULL, &a);
    dtx_attribution_free(&a);
}

dtx_status dtx_bench_attribute(const dtx_job *job, int repeat, dtx_bench_result *out)
{
    double share[DTX_BENCH_MAX_REPEAT], rate[DTX_BENCH_MAX_REPEAT], limit[DTX_BENCH_MAX_REPEAT];
    double part[2][DTX_BENCH_MAX_REPEAT];
    attribute_case c[2] = {{0}};
    const dtx_arch full = redpajama_3b(32);
    double work = attribute_work(&full);
    dtx_status st;

    for (int k = 0; k < 2; k++) {
        const dtx_arch a = redpajama_3b(k + 2);
        DTX_GO(dtx_model_random(&a, DTX_BF16, 1, &c[k].m));
        for (int t = 0; t < PROMPT + STEPS; t++) {
            c[k].ids[t] = (t * 7919 + 13) % (int32_t)a.vocab;
        }
    }
    for (int i = 0; i < repeat; i++) {
        double peak[2], t[2];
        for (int k = 0; k < 2; k++) {
            t[k] = dtx_bench_timed(job->par.threads, run_attribute, &c[k], &peak[k]);
            DTX_GO(c[k].st);
            part[k][i] = t[k];
        }
        limit[i] = 0.5 * (peak[0] + peak[1]);
        double seconds = t[0] + 30 * (t[1] - t[0]); /* a layer below the top costs the difference */
        rate[i] = work / seconds;
        share[i] = rate[i] / limit[i];
        if (!job->json) {
            printf("2 layers, embedding and head %.2f s, each further layer %.2f s: 32 layers %.1f s, %.1f GF/s of %.1f\n", t[0],
                   t[1] - t[0], seconds, rate[i] / 1e9, limit[i] / 1e9);
            fflush(stdout);
        }
    }
    if (!job->json) {
        printf("work %.2f TF; medians: 2 layers %.2f s, 3 layers %.2f s\n", work / 1e12, dtx_bench_median(part[0], repeat),
               dtx_bench_median(part[1], repeat));
    }
    *out = (dtx_bench_result){dtx_bench_median(share, repeat), dtx_bench_median(rate, repeat), dtx_bench_median(limit, repeat),
                              "flop/s"};
done:
    dtx_model_del(c[0].m);
    dtx_model_del(c[1].m);
    return st;
}
