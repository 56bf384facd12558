#include "jobs/plan/forecast.h"

#include <math.h>
#include <string.h>

#include "src/algebra/linear.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/algebra/peak.h"

/* What is taken for the job's share of the peak when it is decided whether a measurement pays (a high one: the job seems
 * short), and for its own. */
static const double JOB_SHARE = 0.8, DECODE_SHARE = 0.4, TRIAL_SHARE = 0.6, MOST = 0.01;
static const double COPYING = 8e9; /* bytes/s that a rank's optimizer reads and writes (an estimate: it takes little of a step) */

static dtx_status describe(dtx_plan *p, const dtx_job *job, const char *name, const dtx_model *model, dtx_forecast_work work, void *user)
{
    double bytes = 0, n = 0;

    p->job = job;
    p->c = &job->config;
    p->name = name;
    p->arch = *dtx_model_arch(model);
    for (int64_t i = 0; i < dtx_model_n_params(model); i++) {
        const dtx_param *w = dtx_model_param(model, i);
        const bool vector = w->n_elements < 65536 && w->dtype == DTX_F32; /* widened norms and biases */
        bytes += vector ? 0 : (double)dtx_dtype_bytes(w->dtype, w->n_elements);
        n += vector ? 0 : (double)w->n_elements;
    }
    p->element = n > 0 ? bytes / n : 4;
    p->rows = 1;
    p->samples = 1;
    p->nodes = job->par.n_nodes;
    p->ranks = job->par.size / job->par.n_nodes;
    p->threads = job->par.threads;
    p->cores = p->ranks * p->threads;
    p->launched = true;
    DTX_TRY(work(p, user));
    return dtx_plan_count(p);
}

/* Rank 0 decides for all. */
static bool pays(const dtx_par *par, const dtx_plan *p, const dtx_plan_trial *t)
{
    double verdict = 0;

    if (par->rank == 0) {
        const double peak = dtx_linear_is_bf16() ? dtx_peak_bf16(t->threads, 0.005) : dtx_peak_fma(t->threads, 0.005);
        const double decode = p->work.decode + p->work.decode_head, passes = dtx_plan_flops(&p->work) - decode;
        const double job = (passes / JOB_SHARE + decode / DECODE_SHARE) / (peak * par->size);
        verdict = dtx_plan_trial_flops(t) / (TRIAL_SHARE * peak) < MOST * job;
    }
    return MPI_Bcast(&verdict, 1, MPI_DOUBLE, 0, par->comm) == MPI_SUCCESS && verdict > 0;
}

/* Collective. Sets p->seconds; NaN where no honest figure is to be had. */
static dtx_status predict_seconds(dtx_plan *p, const dtx_model *model)
{
    const dtx_par *par = &p->job->par;
    const dtx_plan_trial t = dtx_plan_trial_of(p, model, p->threads, 0);

    if (p->c->plan.bench[0] != '\0') {
        DTX_TRY(dtx_par_agree(par, dtx_plan_read_rate(p, p->c->plan.bench)));
    } else if (pays(par, p, &t)) {
        DTX_TRY(dtx_plan_measure_together(par, &t, &p->rate));
    } else {
        p->seconds = NAN;
        return DTX_OK;
    }
    p->rate.bandwidth = p->rate.bandwidth > 0 ? p->rate.bandwidth : COPYING * p->ranks;
    p->latency = p->latency > 0 ? p->latency : 1e-3;
    return dtx_par_agree(par, dtx_plan_time(p, p->ranks));
}

dtx_status dtx_forecast(const dtx_job *job, dtx_run *run, const char *name, const dtx_model *model, dtx_forecast_work work, void *user)
{
    dtx_plan *p = NULL;
    dtx_status st = DTX_NEW(p, 1);

    run->begun = MPI_Wtime();

    if (st == DTX_OK) {
        st = describe(p, job, name, model, work, user);
    }
    DTX_GO(dtx_par_agree(&job->par, st));
    DTX_GO(predict_seconds(p, model));
    DTX_GO(dtx_par_agree(&job->par, dtx_plan_memory(p, p->ranks)));
    run->outcome.predicted_seconds = p->seconds;
    run->outcome.predicted_peak_memory_bytes = dtx_plan_resident(p);
    if (isfinite(p->seconds)) {
        dtx_log(DTX_LOG_INFO, "forecast", "%.3g s, %.0f MB of memory of a rank, at %.1f GF/s a core (training %.1f, head %.1f, decoding %.1f)",
                p->seconds, run->outcome.predicted_peak_memory_bytes / 1e6, p->rate.large / 1e9, p->rate.train / 1e9, p->rate.head / 1e9,
                p->rate.decode / 1e9);
    }
done:
    if (p != NULL) {
        dtx_plan_free(p);
    }
    dtx_free(p);
    return st;
}
