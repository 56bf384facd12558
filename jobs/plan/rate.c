/* rate.c - how fast a core of the target is: a short benchmark here, one that was stored on the target, or what the
 * command line says of it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/shared/timing.h"
#include "jobs/plan/plan.h"
#include "src/base/json.h"
#include "src/model/model.h"
#include "src/algebra/peak.h"

/* Shares of the f32 peak that are assumed of a machine that is only described. */
static const double LARGE_SHARE = 0.80, DECODE_SHARE = 0.60;

/* --- this machine --- */

dtx_plan_trial dtx_plan_trial_of(const dtx_plan *p, const dtx_model *model, int threads, double seconds)
{
    const dtx_config *c = p->c;
    const bool finetune = dtx_plan_is(p, "finetune"), dpo = dtx_plan_is(p, "dpo"), ppo = dtx_plan_is(p, "ppo");
    dtx_plan_trial t = {.model = model, .c = c, .element = p->element, .layers = dtx_plan_trial_layers(&p->arch, p->element),
                        .streams = 1, .threads = threads, .seconds = seconds};

    t.what = dtx_plan_is(p, "score")       ? DTX_PLAN_FORWARD
             : dtx_plan_is(p, "generate") ? DTX_PLAN_FORWARD | DTX_PLAN_DECODE
             : ppo                        ? DTX_PLAN_TRAIN | DTX_PLAN_HEAD | DTX_PLAN_DECODE
             : finetune || dpo            ? DTX_PLAN_TRAIN | DTX_PLAN_HEAD
                                          : DTX_PLAN_LAYERS | DTX_PLAN_HEAD;
    if (!p->arch.causal) {
        t.what &= ~(unsigned)(DTX_PLAN_HEAD | DTX_PLAN_DECODE);
    }
    t.dropout = finetune ? c->lora.dropout : 0;
    t.recompute = finetune ? c->finetune.checkpoint_layers : dpo && c->dpo.checkpoint_layers;
    t.single = c->generate.batch == 1;
    if (dtx_plan_is(p, "generate")) {
        t.streams = dtx_plan_streams(p, (int64_t)(p->launched ? p->ranks : 1) * p->nodes);
    } else if (ppo) {
        const int64_t share = c->ppo.batch / ((int64_t)(p->launched ? p->ranks : 1) * p->nodes);
        t.streams = share < 1 ? 1 : share < c->generate.batch ? share : c->generate.batch;
    }
    t.streams = t.streams < 1 ? 1 : t.streams;
    return t;
}

typedef struct {
    const dtx_par *par;
    bool failed; /* some other rank */
} company;

/* A rank that fails leaves the trial and agrees at its end: that is this agreement for the others. */
static dtx_status wait_for_all(void *user)
{
    company *c = user;
    dtx_status st = dtx_par_agree(c->par, DTX_OK);

    c->failed = st != DTX_OK;
    return st;
}

dtx_status dtx_plan_measure_together(const dtx_par *par, const dtx_plan_trial *trial, dtx_plan_rate *out)
{
    enum { N = 6 };
    company c = {.par = par};
    dtx_plan_trial t = *trial;

    t.together = wait_for_all;
    t.user = &c;
    dtx_status st = dtx_plan_measure(&t, out);
    DTX_TRY(c.failed ? st : dtx_par_agree(par, st));
    double mine[N] = {out->large, out->train, out->head, out->decode, out->decode_head, out->fixed}, all[N];
    DTX_TRY(DTX_MPI(MPI_Allreduce(mine, all, N, MPI_DOUBLE, MPI_SUM, par->comm)));
    double *const to[N] = {&out->large, &out->train, &out->head, &out->decode, &out->decode_head, &out->fixed};
    for (int i = 0; i < N; i++) {
        *to[i] = all[i] / par->size;
    }
    out->together = true;
    return DTX_OK;
}

/* Random weights of the model's shape, as many layers as are run. */
static dtx_status measure_here(dtx_plan *p, double seconds)
{
    const dtx_job *job = p->job;
    dtx_arch a = p->arch;
    dtx_model *m = NULL;
    dtx_status st;

    a.n_layers = dtx_plan_trial_layers(&a, p->element);
    if (!a.causal) {
        a.vocab = a.vocab < 64 ? a.vocab : 64;
    }
    st = dtx_model_random(&a, p->element < 3 ? DTX_BF16 : DTX_F32, 1, &m);
    if (job->def->parallel) {
        DTX_GO(dtx_par_agree(&job->par, st));
    } else {
        DTX_GO(st);
    }
    const dtx_plan_trial t = dtx_plan_trial_of(p, m, job->par.threads, seconds);
    if (job->def->parallel && job->par.size > 1) {
        DTX_GO(dtx_plan_measure_together(&job->par, &t, &p->rate));
    } else {
        DTX_GO(dtx_plan_measure(&t, &p->rate));
    }
    p->rate.bandwidth = dtx_peak_read(job->par.threads, seconds / 6) * (job->def->parallel ? job->par.node_size : 1);
done:
    dtx_model_del(m);
    return st;
}

/* --- what was measured elsewhere, or is told --- */

static void describe(dtx_plan_rate *r, const char *where)
{
    int n = snprintf(r->text, sizeof r->text, "%.150s, %d threads: %.1f GF/s a core in layers, %.1f in training, %.1f in the head", where,
                     r->threads, r->large / 1e9, r->train / 1e9, r->head / 1e9);

    n += r->streams > 0 ? snprintf(r->text + n, sizeof r->text - (size_t)n, ", %.1f decoding %d streams", r->decode / 1e9, (int)r->streams) : 0;
    if (r->bandwidth > 0) {
        snprintf(r->text + n, sizeof r->text - (size_t)n, "; reads %.1f GB/s", r->bandwidth / 1e9);
    }
}

static void assume_shares(double core, dtx_plan_rate *r)
{
    *r = (dtx_plan_rate){.large = LARGE_SHARE * core, .train = LARGE_SHARE * core, .head = LARGE_SHARE * core, .decode = DECODE_SHARE * core,
                         .decode_head = DECODE_SHARE * core, .threads = 1};
}

/* The rates that `bench layer --json` prints; `optional` ones were not printed always. */
static dtx_status read_layer(dtx_plan *p, const char *path, const cJSON *root, double threads)
{
    dtx_plan_rate *r = &p->rate;
    double streams = 0, together = 0;
    char where[200];
    const struct {
        const char *key;
        double *to, least;
        bool optional;
    } keys[] = {{"large", &r->large, 1, false}, {"head", &r->head, 1, false}, {"decode", &r->decode, 1, false},
                {"decode_head", &r->decode_head, 1, false}, {"fixed", &r->fixed, 0, false}, {"bandwidth", &r->bandwidth, 0, false},
                {"train", &r->train, 0, true}, {"streams", &streams, 0, true}, {"together", &together, 0, true},
                {"handout_seconds", &p->latency, 0, true}};

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        DTX_TRY(dtx_json_double(root, path, keys[i].key, keys[i].least, 1e18, keys[i].to));
        if (!keys[i].optional && *keys[i].to < keys[i].least) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: %s is expected, as bench layer --json prints it", path, keys[i].key);
        }
    }
    r->threads = (int)threads;
    r->train = r->train > 0 ? r->train : r->large;
    r->streams = (int64_t)streams;
    r->together = together > 0;
    if (p->latency > 0) {
        snprintf(p->latency_text, sizeof p->latency_text, "hand-out as %.80s tells: %.3f ms", path, 1e3 * p->latency);
        p->round_cost = 0.02;
    }
    snprintf(where, sizeof where, "as %.150s tells", path);
    describe(r, where);
    return DTX_OK;
}

/* A file of `bench layer --json` (all rates), or of `bench peak --json` (the peak, shares assumed). */
dtx_status dtx_plan_read_rate(dtx_plan *p, const char *path)
{
    dtx_plan_rate *r = &p->rate;
    double threads = 0, achieved = 0;
    char bench[32] = "";
    cJSON *root = NULL;
    dtx_status st;

    *r = (dtx_plan_rate){0};
    DTX_GO(dtx_json_read(path, &root));
    DTX_GO(dtx_json_str(root, path, "bench", sizeof bench, bench));
    DTX_GO(dtx_json_double(root, path, "threads", 1, 1e6, &threads));
    DTX_GO(dtx_json_double(root, path, "achieved", 1, 1e18, &achieved));
    if (threads < 1 || achieved < 1) {
        st = DTX_FAIL(DTX_ERR_INPUT, "%s: threads and achieved are expected, as bench --json prints them", path);
    } else if (strcmp(bench, "peak") == 0) {
        assume_shares(achieved / threads, r);
        snprintf(r->text, sizeof r->text, "%.150s: f32 peak of %.1f GF/s a core; assumed: %.0f %% of it reached in large products, "
                 "%.0f %% in decoding", path, achieved / threads / 1e9, 100 * LARGE_SHARE, 100 * DECODE_SHARE);
    } else if (strcmp(bench, "layer") == 0) {
        st = read_layer(p, path, root, threads);
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
    const dtx_par *par = &p->job->par;
    const char *stored = p->c->plan.bench;
    const bool parallel = p->job->def->parallel, told = dtx_job_flag(p->job, "cores") != NULL;
    double gflops, bandwidth, nodes, cores, memory;

    DTX_TRY(number(p, "nodes", parallel ? par->n_nodes : 1, &nodes));
    DTX_TRY(number(p, "cores", parallel ? par->threads * par->node_size : par->cpus, &cores));
    DTX_TRY(number(p, "memory", 0, &memory));
    DTX_TRY(number(p, "gflops", 0, &gflops));
    DTX_TRY(number(p, "bandwidth", 0, &bandwidth));
    if (nodes != floor(nodes) || cores != floor(cores) || nodes > 1e6 || cores > 1e6) {
        return DTX_FAIL(DTX_ERR_USAGE, "--nodes and --cores: whole numbers up to a million are expected");
    }
    if (stored[0] != '\0' && gflops > 0) {
        return DTX_FAIL(DTX_ERR_USAGE, "--bench and --gflops: one of them is enough");
    }
    p->nodes = (int)nodes;
    p->cores = (int)cores;
    p->node_memory = memory * 1e9;
    p->launched = parallel && !told;
    p->ranks = p->launched ? par->node_size : 1;
    if (stored[0] != '\0') {
        DTX_TRY(dtx_plan_read_rate(p, stored));
    } else if (gflops > 0) {
        assume_shares(gflops * 1e9 / cores, &p->rate);
        snprintf(p->rate.text, sizeof p->rate.text, "f32 peak of a node %.0f GF/s as told; assumed: %.0f %% of it reached in large "
                 "products, %.0f %% in decoding", gflops, 100 * LARGE_SHARE, 100 * DECODE_SHARE);
    } else {
        char where[80];
        DTX_TRY(measure_here(p, 1.5));
        snprintf(where, sizeof where, parallel ? "measured here, on %d ranks at once" : "measured here, one layer", par->size);
        describe(&p->rate, where);
    }
    int n = p->rate.threads * (parallel ? par->node_size : 1);
    if (gflops <= 0 && p->cores != n && bandwidth <= 0) { /* a socket's bandwidth grows with its cores, if more slowly */
        p->rate.bandwidth *= sqrt((double)p->cores / (double)n);
    }
    p->rate.bandwidth = bandwidth > 0 ? bandwidth * 1e9 : p->rate.bandwidth;
    return dtx_plan_find_latency(p);
}
