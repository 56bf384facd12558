/* compute.c - dense algebra, attribution and training, as shares of the FMA peak. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "jobs/bench/bench.h"
#include "src/attribution/attrib.h"
#include "src/settings/cost.h"
#include "src/training/loss.h"
#include "src/algebra/linear.h"
#include "src/base/mem.h"
#include "src/model/model.h"

dtx_arch dtx_bench_redpajama_3b(int64_t n_layers)
{
    return (dtx_arch){.model_type = "gpt_neox", .n_layers = n_layers, .hidden = 2560, .n_heads = 32,
                      .head_dim = 80, .ffn = 10240, .vocab = 50432, .n_kv = 32, .max_positions = 2048, .causal = true,
                      .fused_qkv = true, .linear_bias = true, .position = DTX_POS_ROTARY, .rotary_dims = 80,
                      .rope = {{.base = 10000.0}}, .activation = DTX_ACT_GELU_ERF, .norm_eps = 1e-5f, .bos_id = 0, .eos = {.n = 1, .id = {0}},
                      .pad_id = -1};
}

/* --- linear --- */

enum { COPIES = 4 }; /* of each matrix, used in turn, so that weights come from memory as they do in a model */

typedef struct {
    dtx_matrix w;
    int64_t M;
    bool turned;
    const float *x;
    float *y;
    int calls, next;
} linear_case;

static void run_linear(void *user)
{
    linear_case *c = user;

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

dtx_status dtx_bench_linear(const dtx_job *job, int repeat, dtx_bench_result *out)
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
                linear_case c = {{w, DTX_BF16, shape[s][0], shape[s][1], NULL}, rows[r], turned, x, y, 1, 0};
                c.calls = work < 4e9 ? (int)(4e9 / work / (rows[r] < 16 ? 8 : 1)) + 1 : 1;
                for (int i = 0; i < repeat; i++) {
                    double t = dtx_timing_beside(job->par.threads, dtx_timing_peak(), run_linear, &c, &limit[i]);
                    rate[i] = work * c.calls / t;
                    share[i] = rate[i] / limit[i];
                }
                double rate_mid = dtx_timing_median(rate, repeat), share_mid = dtx_timing_median(share, repeat);
                if (!job->json) {
                    printf("  %8.1f GF/s, share %.2f", rate_mid / 1e9, share_mid);
                    fflush(stdout);
                }
                if (rows[r] >= 64) {
                    flops += work;
                    seconds += work / rate_mid;
                    peak_seconds += work / dtx_timing_median(limit, repeat);
                }
            }
            if (!job->json) {
                putchar('\n');
            }
        }
    }
    /* over all shapes from 64 rows on: below that reading the weights is the limit */
    *out = (dtx_bench_result){peak_seconds / seconds, flops / seconds, flops / peak_seconds, "flop/s", ""};
done:
    dtx_free(w);
    dtx_free(x);
    dtx_free(y);
    return st;
}

/* --- attribute --- */

enum { PROMPT = 45, STEPS = 70 };

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
    const dtx_arch full = dtx_bench_redpajama_3b(32);
    /* no more is counted than the algorithm needs, whatever the program computes */
    const dtx_flops needed = dtx_cost_attribution(&full, NULL, PROMPT, STEPS, 1);
    double work = dtx_flops_total(needed) - needed.spare;
    dtx_status st;

    for (int k = 0; k < 2; k++) {
        const dtx_arch a = dtx_bench_redpajama_3b(k + 2);
        DTX_GO(dtx_model_random(&a, DTX_BF16, 1, &c[k].m));
        for (int t = 0; t < PROMPT + STEPS; t++) {
            c[k].ids[t] = (t * 7919 + 13) % (int32_t)a.vocab;
        }
        run_attribute(&c[k]); /* the first one allocates */
        DTX_GO(c[k].st);
    }
    for (int i = 0; i < repeat; i++) {
        double peak[2], t[2];
        for (int k = 0; k < 2; k++) {
            t[k] = dtx_timing_beside(job->par.threads, dtx_timing_peak(), run_attribute, &c[k], &peak[k]);
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
        printf("work %.2f TF; medians: 2 layers %.2f s, 3 layers %.2f s\n", work / 1e12, dtx_timing_median(part[0], repeat),
               dtx_timing_median(part[1], repeat));
    }
    *out = (dtx_bench_result){dtx_timing_median(share, repeat), dtx_timing_median(rate, repeat), dtx_timing_median(limit, repeat),
                              "flop/s", ""};
done:
    dtx_model_del(c[0].m);
    dtx_model_del(c[1].m);
    return st;
}

/* --- train --- */

enum { BATCH = 4, LENGTH = 128, TOKENS = BATCH * LENGTH, RANK = 64 };

/* One step of LoRA training without the optimizer: forward and backward pass of BATCH sequences, every token a label. */
typedef struct {
    dtx_model *m;
    dtx_adapter *adapter, *grads;
    dtx_tape *tape;
    int64_t offset[BATCH + 1];
    int32_t ids[TOKENS], labels[TOKENS];
    double loss[TOKENS];
    dtx_status st;
} train_case;

static dtx_status train_case_new(int64_t n_layers, train_case *c)
{
    const dtx_arch a = dtx_bench_redpajama_3b(n_layers);
    const char *const target = "query_key_value";

    DTX_TRY(dtx_model_random(&a, DTX_BF16, 1, &c->m));
    DTX_TRY(dtx_adapter_new(&a, RANK, RANK / 2, 0, &target, 1, 1, &c->adapter));
    DTX_TRY(dtx_adapter_like(c->adapter, &c->grads));
    DTX_TRY(dtx_tape_new(c->m, false, &c->tape));
    for (int i = 0; i <= BATCH; i++) {
        c->offset[i] = i * LENGTH;
    }
    for (int32_t t = 0; t < TOKENS; t++) {
        c->ids[t] = (t * 7919 + 13) % (int32_t)a.vocab;
        c->labels[t] = (t * 6151 + 7) % (int32_t)a.vocab;
    }
    return DTX_OK;
}

static void train_case_del(train_case *c)
{
    if (c != NULL) {
        dtx_tape_del(c->tape);
        dtx_adapter_del(c->grads);
        dtx_adapter_del(c->adapter);
        dtx_model_del(c->m);
    }
}

static void run_train(void *user)
{
    train_case *c = user;
    const dtx_wanted want = {.lora = c->grads};

    c->st = dtx_lm_loss(c->m, c->adapter, c->tape, BATCH, c->offset, c->ids, c->labels, 1.0F / TOKENS, c->loss, NULL, &want);
}

/* Work of a step with all 32 layers. */
static dtx_status train_work(double *out)
{
    const dtx_arch full = dtx_bench_redpajama_3b(32);
    const char *const target = "query_key_value";
    dtx_cost_work w = {0};
    dtx_adapter *shape;

    DTX_TRY(dtx_adapter_alloc(&full, RANK, RANK / 2, 0, &target, 1, &shape));
    for (int i = 0; i < BATCH; i++) {
        dtx_cost_add(&full, &w, LENGTH, LENGTH);
    }
    *out = dtx_flops_total(dtx_cost_lora(&full, shape, &w, false));
    dtx_adapter_del(shape);
    return DTX_OK;
}

dtx_status dtx_bench_train(const dtx_job *job, int repeat, dtx_bench_result *out)
{
    double share[DTX_BENCH_MAX_REPEAT], rate[DTX_BENCH_MAX_REPEAT], limit[DTX_BENCH_MAX_REPEAT], work = 0;
    train_case *c = NULL;
    dtx_status st;

    DTX_GO(DTX_NEW(c, 2));
    DTX_GO(train_work(&work));
    for (int k = 0; k < 2; k++) {
        DTX_GO(train_case_new(k + 1, &c[k]));
        run_train(&c[k]); /* the first step allocates */
        DTX_GO(c[k].st);
    }
    for (int i = 0; i < repeat; i++) {
        double peak[2], t[2];
        for (int k = 0; k < 2; k++) {
            t[k] = dtx_timing_beside(job->par.threads, dtx_timing_peak(), run_train, &c[k], &peak[k]);
            DTX_GO(c[k].st);
        }
        double all = t[0] + 31 * (t[1] - t[0]); /* a layer above the lowest costs the difference */
        limit[i] = 0.5 * (peak[0] + peak[1]);
        rate[i] = work / all;
        share[i] = rate[i] / limit[i];
        if (!job->json) {
            printf("lowest layer, embedding and head %.2f s, each further layer %.2f s: 32 layers %.1f s, %.1f tokens/s, %.1f GF/s of %.1f\n",
                   t[0], t[1] - t[0], all, TOKENS / all, rate[i] / 1e9, limit[i] / 1e9);
            fflush(stdout);
        }
    }
    if (!job->json) {
        printf("work %.2f TF for %d tokens\n", work / 1e12, (int)TOKENS);
    }
    *out = (dtx_bench_result){dtx_timing_median(share, repeat), dtx_timing_median(rate, repeat), dtx_timing_median(limit, repeat),
                              "flop/s", ""};
done:
    for (int k = 0; k < 2 && c != NULL; k++) {
        train_case_del(&c[k]);
    }
    dtx_free(c);
    return st;
}
