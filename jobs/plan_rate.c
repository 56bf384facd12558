/* plan_rate.c - how fast a core of the target is: a short benchmark here, or what the command line says of it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "jobs/bench.h"
#include "jobs/plan.h"
#include "src/mem.h"
#include "src/model.h"
#include "src/peak.h"

enum { ROWS = 256, REPEAT = 3 };
/* Shares of the f32 peak that are assumed of a machine that is only described. */
static const double LARGE_SHARE = 0.80, DECODE_SHARE = 0.60;

/* One layer of the model's shape with a small vocabulary, random weights. */
typedef struct {
    dtx_model *m;
    dtx_tape *tape;
    int64_t offset[2], *each;
    int32_t *ids;
    float *hidden, *grad, *seed;
    int64_t streams;
} layer;

static dtx_status pass_large(layer *l)
{
    const int64_t d = dtx_model_arch(l->m)->hidden;

    DTX_TRY(dtx_model_forward(l->m, &(dtx_batch){.n_seq = 1, .offset = l->offset, .ids = l->ids, .tape = l->tape}, l->hidden));
    for (int64_t i = 0; i < ROWS * d; i++) {
        l->seed[i] = 1e-3F;
    }
    return dtx_model_backward(l->m, l->tape, 1, &(dtx_segment){0, 0, ROWS}, l->seed, &(dtx_wanted){.embeds = l->grad});
}

static dtx_status pass_decode(layer *l)
{
    return dtx_model_forward(l->m, &(dtx_batch){.n_seq = l->streams, .offset = l->each, .ids = l->ids}, l->hidden);
}

/* Median flop/s of a pass that costs `flops`, after one that is not counted. */
static dtx_status timed(layer *l, dtx_status (*pass)(layer *), double flops, double *rate)
{
    double x[REPEAT];

    DTX_TRY(pass(l));
    for (int i = 0; i < REPEAT; i++) {
        double begun = dtx_now(), seconds;
        int n = 0;
        do {
            DTX_TRY(pass(l));
            n++;
            seconds = dtx_now() - begun;
        } while (seconds < 0.1);
        x[i] = flops * n / seconds;
    }
    *rate = dtx_bench_median(x, REPEAT);
    return DTX_OK;
}

static dtx_status measure(dtx_plan *p)
{
    dtx_arch a = p->arch;
    const int threads = p->job->par.threads;
    const dtx_dtype dtype = p->element < 3 ? DTX_BF16 : DTX_F32;
    layer l = {.offset = {0, ROWS}};
    dtx_cost_work large = {0}, decode = {0};
    double rate[2] = {0};
    dtx_status st;

    a.n_layers = 1;
    a.vocab = a.vocab < 64 ? a.vocab : 64;
    l.streams = p->c->generate.batch < ROWS ? p->c->generate.batch : ROWS;
    DTX_GO(dtx_model_random(&a, dtype, 1, &l.m));
    DTX_GO(dtx_tape_new(l.m, false, &l.tape));
    DTX_GO(DTX_NEW(l.ids, ROWS));
    DTX_GO(DTX_NEW(l.each, ROWS + 1));
    DTX_GO(DTX_NEW(l.hidden, ROWS * a.hidden));
    DTX_GO(DTX_NEW(l.grad, ROWS * a.hidden));
    DTX_GO(DTX_NEW(l.seed, ROWS * a.hidden));
    for (int64_t i = 0; i < l.streams; i++) {
        dtx_cost_add(&a, &decode, 1, 0);
        l.each[i + 1] = i + 1;
    }
    dtx_cost_add(&a, &large, ROWS, 0);
    dtx_flops once = dtx_cost_forward(&a, NULL, &large); /* the backward pass: as much again, twice the attention */
    DTX_GO(timed(&l, pass_large, 2 * once.linear + 3 * once.attention, &rate[0]));
    DTX_GO(timed(&l, pass_decode, dtx_flops_total(dtx_cost_forward(&a, NULL, &decode)), &rate[1]));
    p->rate = (dtx_plan_rate){.large = rate[0] / threads, .decode = rate[1] / threads, .bandwidth = dtx_peak_read(threads, 0.2)};
    snprintf(p->rate.text, sizeof p->rate.text,
             "measured here, one layer, %d threads: %.1f GF/s a core in passes of %d rows, %.1f at %d streams; reads %.1f GB/s", threads,
             p->rate.large / 1e9, (int)ROWS, p->rate.decode / 1e9, (int)l.streams, p->rate.bandwidth / 1e9);
done:
    dtx_tape_del(l.tape);
    dtx_model_del(l.m);
    dtx_free(l.ids);
    dtx_free(l.each);
    dtx_free(l.hidden);
    dtx_free(l.grad);
    dtx_free(l.seed);
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
    double gflops, bandwidth, nodes, cores, memory;

    DTX_TRY(number(p, "nodes", 1, &nodes));
    DTX_TRY(number(p, "cores", p->job->par.cpus, &cores));
    DTX_TRY(number(p, "memory", 0, &memory));
    DTX_TRY(number(p, "gflops", 0, &gflops));
    DTX_TRY(number(p, "bandwidth", 0, &bandwidth));
    if (nodes != floor(nodes) || cores != floor(cores) || nodes > 1e6 || cores > 1e6) {
        return DTX_FAIL(DTX_ERR_USAGE, "--nodes and --cores: whole numbers up to a million are expected");
    }
    p->nodes = (int)nodes;
    p->cores = (int)cores;
    p->node_memory = memory * 1e9;
    if (gflops > 0) {
        double core = gflops * 1e9 / cores;
        p->rate = (dtx_plan_rate){.large = LARGE_SHARE * core, .decode = DECODE_SHARE * core};
        snprintf(p->rate.text, sizeof p->rate.text, "f32 peak of a node %.0f GF/s as told; assumed: %.0f %% of it reached in large "
                 "products, %.0f %% in decoding", gflops, 100 * LARGE_SHARE, 100 * DECODE_SHARE);
    } else {
        DTX_TRY(measure(p));
        int n = p->job->par.cpus;
        if (p->cores != n && bandwidth <= 0) { /* a socket's bandwidth grows with its cores, if more slowly */
            p->rate.bandwidth *= sqrt((double)p->cores / (double)n);
        }
    }
    p->rate.bandwidth = bandwidth > 0 ? bandwidth * 1e9 : p->rate.bandwidth;
    return DTX_OK;
}
