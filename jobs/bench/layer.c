/* layer.c - the speeds that `plan` counts with, for a file that is taken to another machine. */
#include <stdio.h>
#include <string.h>

#include "jobs/bench/bench.h"
#include "jobs/shared/known_models.h"
#include "jobs/plan/plan.h"
#include "mpi/par/queue.h"
#include "src/base/mem.h"
#include "src/algebra/peak.h"

static dtx_status find_model(dtx_plan *p)
{
    const dtx_known_model *m = dtx_known_model_find("redpajama-3b");

    if (p->c->model.path[0] != '\0') {
        return dtx_plan_read_model(p);
    }
    p->element = 2;
    snprintf(p->model, sizeof p->model, "%s as published", m->folder);
    return dtx_known_model_arch(m, &p->arch);
}

/* The sum over the ranks of a node, on all of them. */
static double of_node(const dtx_job *job, double x)
{
    double all = x;

    return job->def->parallel && MPI_Allreduce(&x, &all, 1, MPI_DOUBLE, MPI_SUM, job->par.node) == MPI_SUCCESS ? all : x;
}

/* Random weights of as many layers as are run, in *m; the trial measures everything that any job needs. */
static dtx_status prepare(const dtx_plan *p, dtx_plan_trial *t, dtx_model **m)
{
    dtx_arch a = p->arch;

    a.n_layers = dtx_plan_trial_layers(&a, p->element);
    DTX_TRY(dtx_model_random(&a, p->element < 3 ? DTX_BF16 : DTX_F32, 1, m));
    *t = dtx_plan_trial_of(p, *m, p->job->par.threads, 1.0);
    t->what = DTX_PLAN_LAYERS | DTX_PLAN_TRAIN | DTX_PLAN_HEAD | DTX_PLAN_DECODE;
    t->streams = p->c->generate.batch;
    t->dropout = p->c->lora.dropout;
    return DTX_OK;
}

dtx_status dtx_bench_layer(const dtx_job *job, int repeat, dtx_bench_result *out)
{
    static const char *const name[] = {"large", "train", "head", "decode", "decode_head", "fixed", "bandwidth"};
    enum { N = sizeof name / sizeof *name };
    double share[DTX_BENCH_MAX_REPEAT], rate[DTX_BENCH_MAX_REPEAT], limit[DTX_BENCH_MAX_REPEAT], value[N][DTX_BENCH_MAX_REPEAT], v[N];
    const int threads = job->par.threads;
    const bool together = job->def->parallel && job->par.size > 1;
    dtx_plan *p = NULL;
    dtx_plan_trial t;
    dtx_model *m = NULL;
    dtx_status st;

    DTX_GO(DTX_NEW(p, 1));
    p->job = job;
    p->c = &job->config;
    p->name = "generate";
    p->nodes = 1;
    DTX_GO(find_model(p));
    DTX_GO(prepare(p, &t, &m));
    for (int i = 0; i < repeat; i++) {
        dtx_plan_rate r;
        double before = dtx_peak_fma(threads, 0.1);
        DTX_GO(together ? dtx_plan_measure_together(&job->par, &t, &r) : dtx_plan_measure(&t, &r));
        limit[i] = 0.5 * (before + dtx_peak_fma(threads, 0.1));
        rate[i] = r.large * threads;
        share[i] = rate[i] / limit[i];
        const double all[N] = {r.large, r.train, r.head, r.decode, r.decode_head, r.fixed, of_node(job, dtx_peak_read(threads, 0.2))};
        for (int k = 0; k < N; k++) {
            value[k][i] = all[k];
        }
    }
    *out = (dtx_bench_result){dtx_timing_median(share, repeat), dtx_timing_median(rate, repeat), dtx_timing_median(limit, repeat), "flop/s", ""};
    for (int k = 0; k < N; k++) {
        v[k] = dtx_timing_median(value[k], repeat);
        dtx_bench_add(out, "\"%s\": %.6g", name[k], v[k]);
    }
    dtx_bench_add(out, "\"streams\": %d, \"together\": %d", (int)t.streams, together);
    if (together) {
        double latency;
        DTX_GO(dtx_queue_latency(&job->par, 8, &latency));
        dtx_bench_add(out, "\"handout_seconds\": %.6g", latency);
    }
    if (!job->json && job->par.rank == 0) {
        printf("%s: %.1f GF/s a core in layers, %.1f in training, %.1f in the head, %.1f decoding %d streams (%.1f in the head); reads %.1f "
               "GB/s\n", p->model, v[0] / 1e9, v[1] / 1e9, v[2] / 1e9, v[3] / 1e9, (int)t.streams, v[4] / 1e9, v[6] / 1e9);
    }
done:
    dtx_model_del(m);
    if (p != NULL) {
        dtx_plan_free(p);
    }
    dtx_free(p);
    return st;
}
