/* measure.c - the first layers of a model and its head, run for a moment: the speeds that plan counts with. */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "jobs/shared/timing.h"
#include "jobs/plan/plan.h"
#include "src/algebra/linear.h"
#include "src/training/loss.h"
#include "src/base/mem.h"
#include "src/model/model.h"
#include "src/answer/sampler.h"

enum { FEW = 32, MANY = 256, SOME = 128,  HEAD_ROWS = 32, CONTEXT = 64, MEASURES = 6, MOST_REPEAT = 3 };
static const double CACHE = 64e6; /* bytes of weights that no core keeps from one pass to the next */

static const double MOST_FIXED = 0.15;

typedef struct {
    const dtx_plan_trial *t;
    dtx_model *m;                 /* the first layers */
    const dtx_arch *a;
    dtx_adapter *adapter, *lora;  /* training: the adapter's shapes, and its gradients */
    dtx_tape *tape;
    dtx_kv *kv;
    int64_t rows, *offset, *slot;
    int32_t *ids;
    float *hidden, *grad, *seed, *logits;
    float *scores;                /* (threads, 2, vocab) */
    uint64_t *key;
    double losses[HEAD_ROWS];
    int64_t filled;
} bench;

static bool has(const dtx_plan_trial *t, unsigned what)
{
    return (t->what & what) != 0;
}

/* --- passes --- */

static void cotangents(bench *b)
{
    for (int64_t i = 0; i < b->rows * b->a->hidden; i++) {
        b->seed[i] = 1e-3F;
    }
}

static dtx_status pass_forward(bench *b)
{
    const int64_t offset[2] = {0, b->rows};

    return dtx_model_forward(b->m, &(dtx_batch){.n_seq = 1, .offset = offset, .ids = b->ids}, b->hidden);
}

static dtx_status pass_both(bench *b)
{
    const int64_t offset[2] = {0, b->rows};

    DTX_TRY(dtx_model_forward(b->m, &(dtx_batch){.n_seq = 1, .offset = offset, .ids = b->ids, .tape = b->tape}, b->hidden));
    cotangents(b);
    return dtx_model_backward(b->m, b->tape, 1, &(dtx_segment){0, 0, b->rows}, b->seed, &(dtx_wanted){.embeds = b->grad});
}

static dtx_status pass_train(bench *b)
{
    const int64_t offset[2] = {0, b->rows};
    const dtx_dropout dropout = {b->t->dropout, 1, b->key};
    const dtx_batch batch = {.n_seq = 1, .offset = offset, .ids = b->ids, .tape = b->tape, .adapter = b->adapter,
                             .dropout = b->t->dropout > 0 ? &dropout : NULL};

    DTX_TRY(dtx_model_forward(b->m, &batch, b->hidden));
    cotangents(b);
    return dtx_model_backward(b->m, b->tape, 1, &(dtx_segment){0, 0, b->rows}, b->seed, &(dtx_wanted){.lora = b->lora});
}

/* Logits, their loss, and the way back. */
static dtx_status pass_head(bench *b)
{
    dtx_model_logits(b->m, HEAD_ROWS, b->hidden, b->logits);
    dtx_cross_entropy(HEAD_ROWS, b->a->vocab, b->logits, b->ids, 1.0F / HEAD_ROWS, b->losses);
    dtx_model_logits_backward(b->m, HEAD_ROWS, b->logits, NULL, b->seed, NULL);
    return DTX_OK;
}

/* One token more for every stream. */
static dtx_status pass_decode(bench *b)
{
    const int64_t n = b->t->streams;

    if (b->filled == CONTEXT) {
        for (int64_t s = 0; s < n; s++) {
            dtx_kv_reset(b->kv, s);
        }
        b->filled = 0;
    }
    b->filled++;
    return dtx_model_forward(b->m, &(dtx_batch){.n_seq = n, .offset = b->offset, .ids = b->ids, .kv = b->kv, .slot = b->slot,
                                                .single = b->t->single}, b->hidden);
}

/* Logits, and the choice of a token from each row. */
static dtx_status pass_decode_head(bench *b)
{
    const dtx_config *c = b->t->c;
    const dtx_sampling how = {.max_new_tokens = c->generate.max_new_tokens, .min_new_tokens = c->generate.min_new_tokens,
                              .do_sample = c->generate.do_sample, .temperature = c->generate.temperature, .top_k = c->generate.top_k,
                              .top_p = c->generate.top_p, .no_repeat_ngram = c->generate.no_repeat_ngram_size};
    const int64_t V = b->a->vocab, n = b->t->streams;

    if (b->t->single) {
        dtx_model_logits_single(b->m, b->hidden, b->logits);
    } else {
        dtx_model_logits(b->m, n, b->hidden, b->logits);
    }
#pragma omp parallel for schedule(dynamic) num_threads(b->t->threads) if (b->t->threads > 1)
    for (int64_t i = 0; i < n; i++) {
        float *scores = b->scores + omp_get_thread_num() * 2 * V, logprob;
        int32_t token;
        memcpy(scores, b->logits + i * V, (size_t)V * sizeof *scores);
        dtx_sampler_process(&how, b->ids, CONTEXT, CONTEXT / 2, V, scores, scores + V);
        if (dtx_sampler_choose(&how, V, b->logits + i * V, 0.5, &token, &logprob) == DTX_OK) { /* log p of the model */
            (void)dtx_sampler_choose(&how, V, scores, 0.5, &token, &logprob);
        }
    }
    return DTX_OK;
}

/* Median seconds of a pass; `warm`: after one that is not counted. The shortest trial: the quicker of two. */
static dtx_status timed(bench *b, dtx_status (*pass)(bench *b), bool warm, double *out)
{
    const bool brief = b->t->seconds <= 0;
    const int repeat = brief ? 2 : MOST_REPEAT;
    double x[MOST_REPEAT];

    DTX_TRY(warm && !brief ? pass(b) : DTX_OK);
    for (int i = 0; i < repeat; i++) {
        if (b->t->together != NULL) {
            DTX_TRY(b->t->together(b->t->user));
        }
        double begun = dtx_now(), t;
        int n = 0;
        do {
            DTX_TRY(pass(b));
            n++;
            t = dtx_now() - begun;
        } while (t < b->t->seconds / (MEASURES * repeat));
        x[i] = t / n;
    }
    *out = brief ? fmin(x[0], x[1]) : dtx_timing_median(x, repeat);
    return DTX_OK;
}

/* --- operations --- */

typedef enum { FORWARD, BOTH, TRAIN } kind;

/* Operations of a pass over `rows`. */
static double flops_of(const bench *b, kind k, int64_t rows)
{
    dtx_cost_work w = {0};

    dtx_cost_add(b->a, &w, rows, 0);
    const dtx_flops once = dtx_cost_forward(b->a, NULL, &w);
    return k == FORWARD ? dtx_flops_total(once)
           : k == BOTH  ? 2 * once.linear + 3 * once.attention
                        : dtx_flops_total(dtx_cost_lora(b->a, b->adapter, &w, b->t->recompute));
}

/* seconds = fixed + operations / rate, through passes over few rows and over many. */
static dtx_status fit(bench *b, kind k, int64_t few, int64_t many, double layer_bytes, double *rate, double *fixed)
{
    dtx_status (*const pass)(bench *b) = k == FORWARD ? pass_forward : k == BOTH ? pass_both : pass_train;
    const double ways = k == FORWARD ? 1 : b->t->recompute ? 3 : 2;
    double short_time, long_time;

    if (k != FORWARD) {
        dtx_tape_del(b->tape);
        b->tape = NULL;
        DTX_TRY(dtx_tape_new(b->m, k == TRAIN && b->t->recompute, &b->tape));
    }
    b->rows = many;
    DTX_TRY(timed(b, pass, true, &long_time));
    b->rows = few;
    short_time = long_time;
    DTX_TRY(many > few ? timed(b, pass, false, &short_time) : DTX_OK);
    const double less = flops_of(b, k, few), more = flops_of(b, k, many);
    double slope = many > few ? (long_time - short_time) / (more - less) : long_time / more, start = short_time - slope * less;
    if (start < 0) {
        slope = long_time / more;
        start = 0;
    } else if (start > MOST_FIXED * long_time) { /* a disturbed measurement: no pass over many rows is mostly start */
        start = MOST_FIXED * long_time;
        slope = (long_time - start) / more;
    }
    *rate = 1 / (slope * b->t->threads);
    *fixed = start / (ways * layer_bytes);
    return DTX_OK;
}

/* --- all --- */

int64_t dtx_plan_trial_layers(const dtx_arch *a, double element)
{
    const double layers = dtx_cost_read_bytes(a, element) - (a->causal ? (double)a->vocab * (double)a->hidden * element : 0);
    const double n = ceil(CACHE / (layers / (double)a->n_layers));

    return n < 1 ? 1 : n < (double)a->n_layers ? (int64_t)n : a->n_layers;
}

static int64_t many_rows(const dtx_plan_trial *t, const dtx_arch *a)
{
    const int64_t rows = t->seconds > 0 ? MANY : has(t, DTX_PLAN_DECODE) && !has(t, DTX_PLAN_TRAIN) ? FEW : SOME; /* prompts take little */

    return a->max_positions > 2 && a->max_positions - 2 < rows ? a->max_positions - 2 : rows;
}

double dtx_plan_trial_flops(const dtx_plan_trial *t)
{
    dtx_arch a = *dtx_model_arch(t->model);
    const double head = 2 * (double)a.hidden * (double)a.vocab, streams = (double)t->streams;
    dtx_cost_work one = {.rows = 1};

    a.n_layers = t->layers;
    const double row = dtx_cost_forward(&a, NULL, &one).linear, many = (double)many_rows(t, &a), rows = 2 * (many + (many > FEW ? FEW : 0));
    const double passes = (has(t, DTX_PLAN_FORWARD) ? 1 : 0) + (has(t, DTX_PLAN_LAYERS) ? 2 : 0) + (has(t, DTX_PLAN_TRAIN) ? 2.5 : 0);
    return rows * row * passes + (has(t, DTX_PLAN_HEAD) ? 2 * 2 * HEAD_ROWS * head : 0)
           + (has(t, DTX_PLAN_DECODE) ? 2 * streams * (row + head) : 0);
}

static dtx_status prepare(const dtx_plan_trial *t, bench *b)
{
    const int64_t rows = t->streams > MANY ? t->streams : MANY, most = t->streams > HEAD_ROWS ? t->streams : HEAD_ROWS;

    b->t = t;
    DTX_TRY(dtx_model_first_layers(t->model, t->layers, &b->m));
    b->a = dtx_model_arch(b->m);
    const int64_t n = rows * b->a->hidden;
    DTX_TRY(DTX_NEW(b->ids, rows));
    DTX_TRY(DTX_NEW(b->hidden, n));
    DTX_TRY(DTX_NEW(b->seed, n));
    for (int64_t i = 0; i < rows; i++) { /* RoBERTa's positions skip its padding token */
        b->ids[i] = 5;
    }
    if (has(t, DTX_PLAN_LAYERS)) {
        DTX_TRY(DTX_NEW(b->grad, n));
    }
    if (has(t, DTX_PLAN_TRAIN)) {
        const char *targets[DTX_LIST_MAX];
        for (int64_t i = 0; i < t->c->lora.target_modules.n; i++) {
            targets[i] = t->c->lora.target_modules.entry[i];
        }
        DTX_TRY(dtx_adapter_alloc(b->a, t->c->lora.r, t->c->lora.alpha, t->dropout, targets, (int)t->c->lora.target_modules.n, &b->adapter));
        DTX_TRY(dtx_adapter_like(b->adapter, &b->lora));
        DTX_TRY(DTX_NEW(b->key, rows));
    }
    if (has(t, DTX_PLAN_HEAD | DTX_PLAN_DECODE)) {
        DTX_TRY(DTX_NEW(b->logits, most * b->a->vocab));
    }
    if (has(t, DTX_PLAN_DECODE)) {
        DTX_TRY(DTX_NEW(b->offset, t->streams + 1));
        DTX_TRY(DTX_NEW(b->slot, t->streams));
        DTX_TRY(DTX_NEW(b->scores, 2 * t->threads * b->a->vocab));
        for (int64_t i = 0; i < t->streams; i++) {
            b->offset[i + 1] = i + 1;
            b->slot[i] = i;
        }
        DTX_TRY(dtx_kv_new(b->m, t->streams, CONTEXT, &b->kv));
    }
    return DTX_OK;
}

static void clear(bench *b)
{
    dtx_kv_del(b->kv);
    dtx_tape_del(b->tape);
    dtx_adapter_del(b->lora);
    dtx_adapter_del(b->adapter);
    dtx_model_del(b->m);
    dtx_free(b->key);
    dtx_free(b->ids);
    dtx_free(b->offset);
    dtx_free(b->slot);
    dtx_free(b->hidden);
    dtx_free(b->grad);
    dtx_free(b->seed);
    dtx_free(b->logits);
    dtx_free(b->scores);
}

static dtx_status measure_decoding(bench *b, dtx_plan_rate *out)
{
    const dtx_plan_trial *t = b->t;
    const double n = (double)t->streams;
    dtx_cost_work w = {.rows = n};
    double layers, head;

    DTX_TRY(timed(b, pass_decode, true, &layers));
    w.pairs = n * 0.5 * (1 + (double)b->filled); /* keys that a stream saw on average */
    DTX_TRY(timed(b, pass_decode_head, true, &head));
    out->decode = dtx_flops_total(dtx_cost_forward(b->a, NULL, &w)) / (layers * t->threads);
    out->decode_head = 2 * (double)b->a->hidden * (double)b->a->vocab * n / (head * t->threads);
    out->streams = t->streams;
    return DTX_OK;
}

dtx_status dtx_plan_measure(const dtx_plan_trial *t, dtx_plan_rate *out)
{
    bench b = {0};
    double fixed, seconds;
    dtx_status st;

    *out = (dtx_plan_rate){.threads = t->threads};
    DTX_GO(prepare(t, &b));
    const dtx_arch *a = b.a;
    const double table = (double)a->vocab * (double)a->hidden * t->element;
    const double layer_bytes = dtx_cost_read_bytes(a, t->element) - (a->causal ? table : 0);
    const int64_t many = many_rows(t, a), few = many < FEW ? many : FEW;
    if (has(t, DTX_PLAN_FORWARD | DTX_PLAN_LAYERS)) {
        DTX_GO(fit(&b, has(t, DTX_PLAN_LAYERS) ? BOTH : FORWARD, few, many, layer_bytes, &out->large, &out->fixed));
    }
    if (has(t, DTX_PLAN_TRAIN)) {
        DTX_GO(fit(&b, TRAIN, few, many, layer_bytes, &out->train, &fixed));
        out->fixed = out->large > 0 ? out->fixed : fixed;
        out->large = out->large > 0 ? out->large : out->train;
    }
    if (has(t, DTX_PLAN_HEAD)) {
        DTX_GO(timed(&b, pass_head, true, &seconds));
        out->head = 4 * (double)a->hidden * (double)a->vocab * HEAD_ROWS / (seconds * t->threads);
    }
    if (has(t, DTX_PLAN_DECODE)) {
        DTX_GO(measure_decoding(&b, out));
    }
    /* what the job does not need, or next to nothing of */
    out->train = out->train > 0 ? out->train : out->large;
    out->head = out->head > 0 ? out->head : out->large;
    out->decode = out->decode > 0 ? out->decode : out->large;
    out->decode_head = out->decode_head > 0 ? out->decode_head : out->head;
done:
    clear(&b);
    return st;
}
