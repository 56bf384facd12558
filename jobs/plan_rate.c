/* plan_rate.c - how fast a core of the target is: a short benchmark here, one that was stored on the target, or what the
 * command line says of it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/bench.h"
#include "jobs/plan.h"
#include "src/json.h"
#include "src/loss.h"
#include "src/mem.h"
#include "src/model.h"
#include "src/peak.h"

enum { FEW = 32, MANY = 256, HEAD_ROWS = 64, CONTEXT = 64, REPEAT = 3, MEASURES = 5 };
/* Shares of the f32 peak that are assumed of a machine that is only described. */
static const double LARGE_SHARE = 0.80, DECODE_SHARE = 0.60;

/* One layer and the head of the model's shape, random weights. */
typedef struct {
    dtx_model *m;
    dtx_tape *tape;
    dtx_kv *kv;
    int64_t rows, *offset, *slot;
    int32_t *ids;
    float *hidden, *grad, *seed, *logits;
    double losses[HEAD_ROWS];
    int64_t streams, filled;
} layer;

/* Forward and backward pass of one sequence through the layer. */
static dtx_status pass_layer(layer *l)
{
    const int64_t d = dtx_model_arch(l->m)->hidden, offset[2] = {0, l->rows};

    DTX_TRY(dtx_model_forward(l->m, &(dtx_batch){.n_seq = 1, .offset = offset, .ids = l->ids, .tape = l->tape}, l->hidden));
    for (int64_t i = 0; i < l->rows * d; i++) {
        l->seed[i] = 1e-3F;
    }
    return dtx_model_backward(l->m, l->tape, 1, &(dtx_segment){0, 0, l->rows}, l->seed, &(dtx_wanted){.embeds = l->grad});
}

/* Logits, their loss, and the way back. */
static dtx_status pass_head(layer *l)
{
    const int64_t V = dtx_model_arch(l->m)->vocab;

    dtx_model_logits(l->m, HEAD_ROWS, l->hidden, l->logits);
    dtx_cross_entropy(HEAD_ROWS, V, l->logits, l->ids, 1.0F / HEAD_ROWS, l->losses);
    dtx_model_logits_backward(l->m, HEAD_ROWS, l->logits, NULL, l->seed, NULL);
    return DTX_OK;
}

/* One token more for every stream. */
static dtx_status pass_decode(layer *l)
{
    if (l->filled + 1 > 2 * CONTEXT) {
        for (int64_t s = 0; s < l->streams; s++) {
            dtx_kv_reset(l->kv, s);
        }
        l->filled = 0;
    }
    while (l->filled < CONTEXT) { /* the prompts, not part of the time after the warm-up */
        DTX_TRY(dtx_model_forward(l->m, &(dtx_batch){.n_seq = l->streams, .offset = l->offset, .ids = l->ids, .kv = l->kv, .slot = l->slot},
                                  l->hidden));
        l->filled++;
    }
    l->filled++;
    return dtx_model_forward(l->m, &(dtx_batch){.n_seq = l->streams, .offset = l->offset, .ids = l->ids, .kv = l->kv, .slot = l->slot},
                             l->hidden);
}

static dtx_status pass_decode_head(layer *l)
{
    dtx_model_logits(l->m, l->streams, l->hidden, l->logits);
    return DTX_OK;
}

/* Median seconds of a pass, after one that is not counted. */
static dtx_status timed(layer *l, dtx_status (*pass)(layer *), double seconds, double *out)
{
    double x[REPEAT];

    DTX_TRY(pass(l));
    for (int i = 0; i < REPEAT; i++) {
        double begun = dtx_now(), t;
        int n = 0;
        do {
            DTX_TRY(pass(l));
            n++;
            t = dtx_now() - begun;
        } while (t < seconds / (MEASURES * REPEAT));
        x[i] = t / n;
    }
    *out = dtx_bench_median(x, REPEAT);
    return DTX_OK;
}

static dtx_status layer_new(const dtx_arch *a, double element, int64_t streams, layer *l)
{
    const int64_t most = streams > HEAD_ROWS ? streams : HEAD_ROWS, rows = streams > MANY ? streams : MANY;

    l->streams = streams;
    DTX_TRY(dtx_model_random(a, element < 3 ? DTX_BF16 : DTX_F32, 1, &l->m));
    DTX_TRY(dtx_tape_new(l->m, false, &l->tape));
    DTX_TRY(DTX_NEW(l->ids, rows));
    DTX_TRY(DTX_NEW(l->offset, streams + 1));
    DTX_TRY(DTX_NEW(l->slot, streams));
    DTX_TRY(DTX_NEW(l->hidden, rows * a->hidden));
    DTX_TRY(DTX_NEW(l->grad, rows * a->hidden));
    DTX_TRY(DTX_NEW(l->seed, rows * a->hidden));
    for (int64_t i = 0; i < streams; i++) {
        l->offset[i + 1] = i + 1;
        l->slot[i] = i;
    }
    for (int64_t i = 0; i < rows; i++) { /* RoBERTa's positions skip its padding token */
        l->ids[i] = 5;
    }
    if (a->causal) {
        DTX_TRY(DTX_NEW(l->logits, most * a->vocab));
        DTX_TRY(dtx_kv_new(l->m, streams, 2 * CONTEXT + 1, &l->kv));
    }
    return DTX_OK;
}

static void layer_free(layer *l)
{
    dtx_kv_del(l->kv);
    dtx_tape_del(l->tape);
    dtx_model_del(l->m);
    dtx_free(l->ids);
    dtx_free(l->offset);
    dtx_free(l->slot);
    dtx_free(l->hidden);
    dtx_free(l->grad);
    dtx_free(l->seed);
    dtx_free(l->logits);
}

/* Operations of a forward and a backward pass over `rows`: as much again, twice the attention. */
static double both_ways(const dtx_arch *a, int64_t rows)
{
    dtx_cost_work w = {0};

    dtx_cost_add(a, &w, rows, 0);
    const dtx_flops once = dtx_cost_forward(a, NULL, &w);
    return 2 * once.linear + 3 * once.attention;
}

dtx_status dtx_plan_measure(const dtx_arch *arch, double element, int64_t streams, int threads, double seconds, dtx_plan_rate *out)
{
    dtx_arch a = *arch;
    layer l = {0};
    double few, many, head = 0, decode = 0, decode_head = 0;
    dtx_cost_work one = {0};
    dtx_status st;

    a.n_layers = 1;
    if (!a.causal) {
        a.vocab = a.vocab < 64 ? a.vocab : 64;
    }
    const double d = (double)a.hidden, V = (double)a.vocab;
    const int64_t rows = a.max_positions > 2 && a.max_positions - 2 < MANY ? a.max_positions - 2 : MANY, small = rows < FEW ? rows : FEW;
    DTX_GO(layer_new(&a, element, streams, &l));
    l.rows = small;
    DTX_GO(timed(&l, pass_layer, seconds, &few));
    l.rows = rows;
    DTX_GO(timed(&l, pass_layer, seconds, &many));
    if (a.causal) {
        DTX_GO(timed(&l, pass_head, seconds, &head));
        DTX_GO(timed(&l, pass_decode, seconds, &decode));
        DTX_GO(timed(&l, pass_decode_head, seconds, &decode_head));
    }
    /* seconds = fixed + flop / rate through the two points */
    const double less = both_ways(&a, small), more = both_ways(&a, rows);
    double slope = rows > small ? (many - few) / (more - less) : many / more, fixed = few - slope * less;
    if (fixed < 0 || slope <= 0) {
        slope = many / more;
        fixed = 0;
    }
    for (int64_t s = 0; s < streams; s++) {
        dtx_cost_add(&a, &one, 1, 0);
        one.pairs += 1.5 * CONTEXT - 1; /* the keys that a stream holds on average */
    }
    const double layer_bytes = dtx_cost_read_bytes(&a, element) - (a.tied_head || !a.causal ? 0 : d * V * element);
    *out = (dtx_plan_rate){.large = 1 / (slope * threads), .fixed = fixed / (2 * layer_bytes), .threads = threads,
                           .bandwidth = dtx_peak_read(threads, seconds / MEASURES)};
    out->head = a.causal ? 4 * d * V * HEAD_ROWS / (head * threads) : out->large;
    out->decode = a.causal ? dtx_flops_total(dtx_cost_forward(&a, NULL, &one)) / (decode * threads) : out->large;
    out->decode_head = a.causal ? 2 * d * V * (double)streams / (decode_head * threads) : out->large;
done:
    layer_free(&l);
    return st;
}

/* --- what was measured elsewhere, or is told --- */

static void describe(dtx_plan_rate *r, const char *where, int64_t streams)
{
    snprintf(r->text, sizeof r->text,
             "%.150s, %d threads: %.1f GF/s a core in layers, %.1f in the head, %.1f decoding %d streams; reads %.1f GB/s", where, r->threads,
             r->large / 1e9, r->head / 1e9, r->decode / 1e9, (int)streams, r->bandwidth / 1e9);
}

static void assume_shares(double core, dtx_plan_rate *r)
{
    *r = (dtx_plan_rate){.large = LARGE_SHARE * core, .head = LARGE_SHARE * core, .decode = DECODE_SHARE * core,
                         .decode_head = DECODE_SHARE * core, .threads = 1};
}

/* A file of `bench layer --json` (all rates), or of `bench peak --json` (the peak, shares assumed). */
static dtx_status read_stored(const dtx_plan *p, const char *path, dtx_plan_rate *r)
{
    double threads = 0, achieved = 0;
    char bench[32] = "", where[200];
    cJSON *root = NULL;
    dtx_status st;

    *r = (dtx_plan_rate){0};
    DTX_GO(dtx_json_read(path, &root));
    DTX_GO(dtx_json_str(root, path, "bench", sizeof bench, bench));
    DTX_GO(dtx_json_double(root, path, "threads", 1, 1e6, &threads));
    DTX_GO(dtx_json_double(root, path, "achieved", 1, 1e18, &achieved));
    if (threads < 1 || achieved < 1) {
        st = DTX_FAIL(DTX_ERR_INPUT, "%s: threads and achieved are expected, as bench --json prints them", path);
        goto done;
    }
    if (strcmp(bench, "peak") == 0) {
        assume_shares(achieved / threads, r);
        snprintf(r->text, sizeof r->text, "%.150s: f32 peak of %.1f GF/s a core; assumed: %.0f %% of it reached in large products, "
                 "%.0f %% in decoding", path, achieved / threads / 1e9, 100 * LARGE_SHARE, 100 * DECODE_SHARE);
    } else if (strcmp(bench, "layer") == 0) {
        const struct {
            const char *key;
            double *to;
        } keys[] = {{"large", &r->large}, {"head", &r->head}, {"decode", &r->decode}, {"decode_head", &r->decode_head},
                    {"fixed", &r->fixed}, {"bandwidth", &r->bandwidth}};
        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
            DTX_GO(dtx_json_double(root, path, keys[i].key, i < 4 ? 1 : 0, 1e18, keys[i].to));
            if (i < 4 && *keys[i].to < 1) {
                st = DTX_FAIL(DTX_ERR_INPUT, "%s: %s is expected, as bench layer --json prints it", path, keys[i].key);
                goto done;
            }
        }
        r->threads = (int)threads;
        snprintf(where, sizeof where, "as %.150s tells", path);
        describe(r, where, p->c->generate.batch);
    } else {
        st = DTX_FAIL(DTX_ERR_INPUT, "%s: bench is \"%s\"; the output of bench layer --json or bench peak --json is expected", path, bench);
    }
done:
    cJSON_Delete(root);
    return st;
}

static dtx_status number(const dtx_plan *p, const char *flag, double fallback, double *out)
{
    const char *text = dtx_job_flag(p->job, flag);
    char *end = NULL;

    *out = text != NULL ? strtod(text, &end) : fallback;
    if (text != NULL && (end == text || *end != '\0' || !isfinite(*out) || *out <= 0)) {
        return DTX_FAIL(DTX_ERR_USAGE, "--%s %.40s: a number above 0 is expected", flag, text);
    }
    return DTX_OK;
}

dtx_status dtx_plan_find_rate(dtx_plan *p)
{
    const char *stored = dtx_job_flag(p->job, "bench");
    double gflops, bandwidth, nodes, cores, memory;

    DTX_TRY(number(p, "nodes", 1, &nodes));
    DTX_TRY(number(p, "cores", p->job->par.cpus, &cores));
    DTX_TRY(number(p, "memory", 0, &memory));
    DTX_TRY(number(p, "gflops", 0, &gflops));
    DTX_TRY(number(p, "bandwidth", 0, &bandwidth));
    if (nodes != floor(nodes) || cores != floor(cores) || nodes > 1e6 || cores > 1e6) {
        return DTX_FAIL(DTX_ERR_USAGE, "--nodes and --cores: whole numbers up to a million are expected");
    }
    if (stored != NULL && gflops > 0) {
        return DTX_FAIL(DTX_ERR_USAGE, "--bench and --gflops: one of them is enough");
    }
    p->nodes = (int)nodes;
    p->cores = (int)cores;
    p->node_memory = memory * 1e9;
    if (stored != NULL) {
        DTX_TRY(read_stored(p, stored, &p->rate));
    } else if (gflops > 0) {
        assume_shares(gflops * 1e9 / cores, &p->rate);
        snprintf(p->rate.text, sizeof p->rate.text, "f32 peak of a node %.0f GF/s as told; assumed: %.0f %% of it reached in large "
                 "products, %.0f %% in decoding", gflops, 100 * LARGE_SHARE, 100 * DECODE_SHARE);
    } else {
        const int64_t batch = p->c->generate.batch, rows = p->n * p->c->generate.samples, streams = rows > 0 && rows < batch ? rows : batch;
        DTX_TRY(dtx_plan_measure(&p->arch, p->element, streams, p->job->par.threads, 1.5, &p->rate));
        describe(&p->rate, "measured here, one layer", streams);
    }
    int n = p->rate.threads;
    if (gflops <= 0 && p->cores != n && bandwidth <= 0) { /* a socket's bandwidth grows with its cores, if more slowly */
        p->rate.bandwidth *= sqrt((double)p->cores / (double)n);
    }
    p->rate.bandwidth = bandwidth > 0 ? bandwidth * 1e9 : p->rate.bandwidth;
    return DTX_OK;
}
