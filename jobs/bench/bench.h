/* bench.h - what the files of `detoxlens bench` share: a result, and rates measured side by side with the limit that
 * they are compared with, as a machine's speed changes from minute to minute. */
#ifndef DTX_BENCH_H
#define DTX_BENCH_H

#include "jobs/program/job.h"
#include "src/model/arch.h"

enum { DTX_BENCH_MAX_REPEAT = 99 };

typedef struct {
    double share;       /* achieved / limit: the median over the repetitions */
    double achieved, limit; /* medians */
    const char *unit;
} dtx_bench_result;

/* Sorts x. */
double dtx_bench_median(double *x, int n);
/* What a rate is compared with: dtx_peak_fma, dtx_peak_read ... (src/algebra/peak.h). */
typedef double (*dtx_bench_limit)(int threads, double seconds);
/* The peak of multiply-adds in compute.precision. */
dtx_bench_limit dtx_bench_peak(void);
/* One repetition: `run` between two measurements of the limit. Returns seconds; *peak is the limit's mean. */
double dtx_bench_timed(int threads, dtx_bench_limit limit, void (*run)(void *user), void *user, double *peak);
/* RedPajama-INCITE 3B with another number of layers. */
dtx_arch dtx_bench_redpajama_3b(int64_t n_layers);

/* Members that the JSON object of the bench under way gets besides. */
void dtx_bench_add(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

dtx_status dtx_bench_layer(const dtx_job *job, int repeat, dtx_bench_result *out);
/* Collective, on 2 ranks or more; *out is the same on all. */
dtx_status dtx_bench_allreduce(const dtx_job *job, int repeat, dtx_bench_result *out);
dtx_status dtx_bench_hdf5(const dtx_job *job, int repeat, dtx_bench_result *out);
/* --scaling strong|weak of attribute, generate and train: share is the efficiency on all ranks. */
dtx_status dtx_bench_scaling(const dtx_job *job, int repeat, dtx_bench_result *out);
/* Local. */
dtx_status dtx_bench_linear(const dtx_job *job, int repeat, dtx_bench_result *out);
dtx_status dtx_bench_attribute(const dtx_job *job, int repeat, dtx_bench_result *out);
dtx_status dtx_bench_train(const dtx_job *job, int repeat, dtx_bench_result *out);
dtx_status dtx_bench_generate(const dtx_job *job, int repeat, dtx_bench_result *out);
dtx_status dtx_bench_prefill(const dtx_job *job, int repeat, dtx_bench_result *out);
dtx_status dtx_bench_score(const dtx_job *job, int repeat, dtx_bench_result *out);
dtx_status dtx_bench_tokenize(const dtx_job *job, int repeat, dtx_bench_result *out);
/* --make-model NAME DIR. */
dtx_status dtx_bench_make_model(const dtx_job *job, const char *name);

#endif
