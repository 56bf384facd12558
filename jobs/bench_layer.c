/* bench_layer.c - the speeds that `plan` counts with, for a file that is taken to another machine. */
#include <stdio.h>
#include <string.h>

#include "jobs/bench.h"
#include "jobs/known_models.h"
#include "jobs/plan.h"
#include "src/mem.h"
#include "src/peak.h"

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

dtx_status dtx_bench_layer(const dtx_job *job, int repeat, dtx_bench_result *out)
{
    double share[DTX_BENCH_MAX_REPEAT], rate[DTX_BENCH_MAX_REPEAT], limit[DTX_BENCH_MAX_REPEAT];
    double value[6][DTX_BENCH_MAX_REPEAT];
    const int threads = job->par.threads;
    dtx_plan *p = NULL;
    dtx_status st;

    DTX_GO(DTX_NEW(p, 1));
    p->job = job;
    p->c = &job->config;
    p->name = "generate";
    DTX_GO(find_model(p));
    for (int i = 0; i < repeat; i++) {
        dtx_plan_rate r;
        double before = dtx_peak_fma(threads, 0.1);
        DTX_GO(dtx_plan_measure(&p->arch, p->element, p->c->generate.batch, threads, 1.0, &r));
        limit[i] = 0.5 * (before + dtx_peak_fma(threads, 0.1));
        rate[i] = r.large * threads;
        share[i] = rate[i] / limit[i];
        const double all[6] = {r.large, r.head, r.decode, r.decode_head, r.fixed, r.bandwidth};
        for (int k = 0; k < 6; k++) {
            value[k][i] = all[k];
        }
    }
    *out = (dtx_bench_result){dtx_bench_median(share, repeat), dtx_bench_median(rate, repeat), dtx_bench_median(limit, repeat), "flop/s"};
    double v[6];
    for (int k = 0; k < 6; k++) {
        v[k] = dtx_bench_median(value[k], repeat);
    }
    dtx_bench_add("\"streams\": %d, \"large\": %.6g, \"head\": %.6g, \"decode\": %.6g, \"decode_head\": %.6g, \"fixed\": %.6g, \"bandwidth\": %.6g",
                  (int)p->c->generate.batch, v[0], v[1], v[2], v[3], v[4], v[5]);
    if (!job->json) {
        printf("%s: %.1f GF/s a core in layers, %.1f in the head, %.1f decoding %d streams (%.1f in the head); reads %.1f GB/s\n", p->model,
               v[0] / 1e9, v[1] / 1e9, v[2] / 1e9, (int)p->c->generate.batch, v[3] / 1e9, v[5] / 1e9);
    }
done:
    if (p != NULL) {
        dtx_plan_free(p);
    }
    dtx_free(p);
    return st;
}
