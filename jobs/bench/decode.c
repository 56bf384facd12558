/* decode.c - generation, prompt processing and toxicity scoring, as shares of what bounds them: reading memory or
 * the FMA peak. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "jobs/bench/bench.h"
#include "src/settings/cost.h"
#include "src/answer/generate.h"
#include "src/algebra/linear.h"
#include "src/base/mem.h"
#include "src/model/model.h"
#include "src/algebra/peak.h"

/* A model of RedPajama 3B's layers: --layers of them, 8 unless given. */
static dtx_status make_decoder(const dtx_job *job, dtx_model **out)
{
    const char *text = dtx_job_flag(job, "layers");
    long layers = text != NULL ? strtol(text, NULL, 10) : 8;

    if (layers < 1 || layers > 32) {
        return DTX_FAIL(DTX_ERR_USAGE, "--layers %s: a whole number, 1..32, is expected", text);
    }
    const dtx_arch a = dtx_bench_redpajama_3b(layers);
    return dtx_model_random(&a, DTX_BF16, 1, out);
}

static dtx_bench_result medians(int repeat, double *share, double *rate, double *limit, const char *unit)
{
    return (dtx_bench_result){dtx_timing_median(share, repeat), dtx_timing_median(rate, repeat),
                              dtx_timing_median(limit, repeat), unit, ""};
}

/* --- generate --- */

enum { PROMPT = 45, MAX_STREAMS = 512 };

typedef struct {
    dtx_model *m;
    dtx_generate_options opt;
    int64_t streams;
    int32_t prompt[PROMPT], *tokens; /* (streams, new tokens) */
    dtx_generation *items;
    int32_t *first;                  /* (streams) tokens that stood when the clock was started */
    dtx_timing_limit limit;
    int threads, steps;              /* steps = those under the clock */
    double before, begun, seconds;
} generate_case;

/* Asked before each step. Once every stream has its first token, all prompts are processed: the limit is measured and the
 * clock started. It stops at the first stream's end, as those after it have less company. */
static bool watch(void *user)
{
    generate_case *c = user;
    int32_t least = c->items[0].length, most = 0;

    for (int64_t i = 0; i < c->streams; i++) {
        least = c->items[i].length < least ? c->items[i].length : least;
        most = c->items[i].length > most ? c->items[i].length : most;
    }
    if (c->begun > 0 && c->seconds == 0) {
        c->steps++;
        c->seconds = most == c->opt.sampling.max_new_tokens ? dtx_now() - c->begun : 0;
    } else if (c->begun == 0 && least > 0) {
        for (int64_t i = 0; i < c->streams; i++) {
            c->first[i] = c->items[i].length;
        }
        c->before = c->limit(c->threads, 0.1);
        c->begun = dtx_now();
    }
    return c->seconds > 0;
}

/* Seconds of the decoding steps, and the limit around them. */
static dtx_status decode_seconds(generate_case *c, double *limit)
{
    for (int64_t i = 0; i < c->streams; i++) {
        c->items[i] = (dtx_generation){.prompt = c->prompt,
                                       .prompt_len = PROMPT,
                                       .row = (uint64_t)i,
                                       .tokens = c->tokens + i * c->opt.sampling.max_new_tokens};
    }
    c->steps = 0;
    c->begun = c->seconds = 0;
    c->opt.stop = watch;
    c->opt.user = c;
    dtx_status st = dtx_generate(c->m, &c->opt, c->items, c->streams);
    if (st != DTX_OK && st != DTX_STOPPED) {
        return st;
    }
    if (c->seconds == 0) { /* all streams ended together */
        c->steps++;
        c->seconds = dtx_now() - c->begun;
    }
    *limit = 0.5 * (c->before + c->limit(c->threads, 0.1));
    return DTX_OK;
}

/* Of the steps under the clock. */
static double decode_flops(const generate_case *c)
{
    const dtx_arch *a = dtx_model_arch(c->m);
    double flops = 0;

    for (int64_t i = 0; i < c->streams; i++) {
        flops += dtx_flops_total(dtx_cost_generation(a, NULL, PROMPT, c->first[i] + c->steps)) -
                 dtx_flops_total(dtx_cost_generation(a, NULL, PROMPT, c->first[i]));
    }
    return flops;
}

dtx_status dtx_bench_generate(const dtx_job *job, int repeat, dtx_bench_result *out)
{
    const char *text = dtx_job_flag(job, "batch");
    double share[DTX_BENCH_MAX_REPEAT], rate[DTX_BENCH_MAX_REPEAT], limit[DTX_BENCH_MAX_REPEAT];
    long streams = text != NULL ? strtol(text, NULL, 10) : 1;
    const int64_t steps = streams == 1 ? 48 : 40;
    generate_case c = {.streams = streams, .threads = job->par.threads};
    dtx_status st;

    if (streams < 1 || streams > MAX_STREAMS) {
        return DTX_FAIL(DTX_ERR_USAGE, "--batch %s: a whole number, 1..%d, is expected", text, (int)MAX_STREAMS);
    }
    DTX_GO(make_decoder(job, &c.m));
    DTX_GO(DTX_NEW(c.items, streams));
    DTX_GO(DTX_NEW(c.first, streams));
    DTX_GO(DTX_NEW(c.tokens, streams * (steps + 1)));
    const dtx_arch *a = dtx_model_arch(c.m);
    c.opt = (dtx_generate_options){.batch = streams, .seed = 1, .domain = DTX_RNG_SAMPLE};
    c.opt.sampling = (dtx_sampling){.do_sample = true,
                                    .temperature = job->config.generate.temperature,
                                    .max_new_tokens = steps + 1,
                                    .min_new_tokens = steps + 1,
                                    .top_k = job->config.generate.top_k,
                                    .top_p = job->config.generate.top_p,
                                    .no_repeat_ngram = job->config.generate.no_repeat_ngram_size,
                                    .eos = a->eos};
    for (int t = 0; t < PROMPT; t++) {
        c.prompt[t] = (t * 7919 + 13) % (int32_t)a->vocab;
    }
    double flops = dtx_flops_total(dtx_cost_generation(a, NULL, PROMPT, 2)) - dtx_flops_total(dtx_cost_generation(a, NULL, PROMPT, 1));
    double bytes = dtx_cost_read_bytes(a, 2);
    /* what bounds it: below some streams reading the weights, then arithmetic */
    bool reads = bytes / dtx_peak_read(job->par.threads, 0.2) > flops * (double)streams / dtx_peak_fma(job->par.threads, 0.2);

    c.limit = reads ? dtx_peak_read : dtx_timing_peak();
    for (int i = 0; i < repeat; i++) {
        DTX_GO(decode_seconds(&c, &limit[i]));
        rate[i] = (reads ? bytes * c.steps : decode_flops(&c)) / c.seconds;
        share[i] = rate[i] / limit[i];
        if (!job->json) {
            printf("%ld stream%s, %d steps: %.1f tokens/s, %.1f of %.1f %s\n", streams, streams == 1 ? "" : "s", c.steps,
                   (double)(streams * c.steps) / c.seconds, rate[i] / 1e9, limit[i] / 1e9, reads ? "GB/s" : "GF/s");
            fflush(stdout);
        }
    }
    *out = medians(repeat, share, rate, limit, reads ? "byte/s" : "flop/s");
done:
    dtx_free(c.items);
    dtx_free(c.first);
    dtx_free(c.tokens);
    dtx_model_del(c.m);
    return st;
}

/* --- prefill --- */

enum { PREFILL = 128 };

typedef struct {
    dtx_model *m;
    dtx_kv *kv;
    int32_t ids[PREFILL];
    float *hidden, *logits;
    dtx_status st;
} prefill_case;

static void run_prefill(void *user)
{
    prefill_case *c = user;
    const int64_t offset[2] = {0, PREFILL}, slot = 0, d = dtx_model_arch(c->m)->hidden;

    dtx_kv_reset(c->kv, 0);
    c->st = dtx_model_forward(
        c->m, &(dtx_batch){.n_seq = 1, .offset = offset, .ids = c->ids, .kv = c->kv, .slot = &slot}, c->hidden);
    dtx_model_logits(c->m, 1, c->hidden + (PREFILL - 1) * d, c->logits);
}

dtx_status dtx_bench_prefill(const dtx_job *job, int repeat, dtx_bench_result *out)
{
    double share[DTX_BENCH_MAX_REPEAT], rate[DTX_BENCH_MAX_REPEAT], limit[DTX_BENCH_MAX_REPEAT];
    dtx_cost_work w = {0};
    prefill_case c = {0};
    dtx_status st;

    DTX_GO(make_decoder(job, &c.m));
    const dtx_arch *a = dtx_model_arch(c.m);
    DTX_GO(dtx_kv_new(c.m, 1, PREFILL, &c.kv));
    DTX_GO(DTX_NEW_RAW(c.hidden, PREFILL * a->hidden));
    DTX_GO(DTX_NEW_RAW(c.logits, a->vocab));
    for (int t = 0; t < PREFILL; t++) {
        c.ids[t] = (t * 7919 + 13) % (int32_t)a->vocab;
    }
    dtx_cost_add(a, &w, PREFILL, 1);
    double work = dtx_flops_total(dtx_cost_forward(a, NULL, &w));
    run_prefill(&c); /* the first pass allocates */
    for (int i = 0; i < repeat; i++) {
        double seconds = dtx_timing_beside(job->par.threads, dtx_timing_peak(), run_prefill, &c, &limit[i]);
        DTX_GO(c.st);
        rate[i] = work / seconds;
        share[i] = rate[i] / limit[i];
        if (!job->json) {
            printf("%d tokens: %.0f tokens/s, %.1f GF/s of %.1f\n", (int)PREFILL, PREFILL / seconds, rate[i] / 1e9,
                   limit[i] / 1e9);
            fflush(stdout);
        }
    }
    *out = medians(repeat, share, rate, limit, "flop/s");
done:
    dtx_free(c.hidden);
    dtx_free(c.logits);
    dtx_kv_del(c.kv);
    dtx_model_del(c.m);
    return st;
}

/* --- score --- */

/* Quantiles of the study's completions in RoBERTa tokens. Passes are filled as classifier.c fills them. */
static const int64_t text_tokens[] = {6,  17, 22, 25, 28, 32, 35, 40, 48, 60, 66, 68, 68,  69,  69,  70,
                                      70, 70, 70, 70, 71, 71, 71, 71, 71, 72, 73, 76, 110, 116, 121, 125};
enum { TEXTS = sizeof text_tokens / sizeof *text_tokens };

typedef struct {
    dtx_model *m;
    int64_t offset[TEXTS + 1];
    int32_t *ids;
    float logits[2 * TEXTS];
    dtx_status st;
} score_case;

static void run_score(void *user)
{
    score_case *c = user;

    c->st = dtx_model_classify(c->m, &(dtx_batch){.n_seq = TEXTS, .offset = c->offset, .ids = c->ids}, c->logits);
}

dtx_status dtx_bench_score(const dtx_job *job, int repeat, dtx_bench_result *out)
{
    static const char base[] =
        "{\"model_type\": \"roberta\", \"hidden_size\": 768, \"num_hidden_layers\": 12, \"num_attention_heads\": 12,"
        " \"intermediate_size\": 3072, \"vocab_size\": 50265, \"max_position_embeddings\": 514,"
        " \"type_vocab_size\": 1, \"hidden_act\": \"gelu\", \"layer_norm_eps\": 1e-05, \"pad_token_id\": 1,"
        " \"bos_token_id\": 0, \"eos_token_id\": 2, \"id2label\": {\"0\": \"nothate\", \"1\": \"hate\"}}";
    double share[DTX_BENCH_MAX_REPEAT], rate[DTX_BENCH_MAX_REPEAT], limit[DTX_BENCH_MAX_REPEAT];
    dtx_cost_work w = {0};
    score_case c = {0};
    dtx_arch a;
    dtx_status st;

    DTX_GO(dtx_arch_parse("RoBERTa base", base, sizeof base - 1, &a));
    DTX_GO(dtx_model_random(&a, DTX_F32, 1, &c.m));
    for (int i = 0; i < TEXTS; i++) { /* 32 texts, long and short mixed */
        c.offset[i + 1] = c.offset[i] + text_tokens[i * 13 % TEXTS];
        dtx_cost_add(&a, &w, text_tokens[i * 13 % TEXTS], 0);
    }
    DTX_GO(DTX_NEW(c.ids, c.offset[TEXTS]));
    for (int64_t t = 0; t < c.offset[TEXTS]; t++) {
        c.ids[t] = (int32_t)((t * 7919 + 13) % (a.vocab - 10) + 10);
    }
    double work = dtx_flops_total(dtx_cost_forward(&a, NULL, &w));
    run_score(&c);
    for (int i = 0; i < repeat; i++) {
        double seconds = dtx_timing_beside(job->par.threads, dtx_timing_peak(), run_score, &c, &limit[i]);
        DTX_GO(c.st);
        rate[i] = work / seconds;
        share[i] = rate[i] / limit[i];
        if (!job->json) {
            printf("%d texts, %" PRId64 " tokens: %.0f texts/s, %.1f GF/s of %.1f\n", (int)TEXTS, c.offset[TEXTS],
                   TEXTS / seconds, rate[i] / 1e9, limit[i] / 1e9);
            fflush(stdout);
        }
    }
    *out = medians(repeat, share, rate, limit, "flop/s");
done:
    dtx_free(c.ids);
    dtx_model_del(c.m);
    return st;
}
