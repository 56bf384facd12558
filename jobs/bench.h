/* bench.h - what the files of `detoxlens bench` share: a result, and rates measured side by side with the limit that
 * they are compared with, as a machine's speed changes from minute to minute. */
#ifndef DTX_BENCH_H
#define DTX_BENCH_H

#include "jobs/job.h"

enum { DTX_BENCH_MAX_REPEAT = 99 };

typedef struct {
    double share;       /* achieved / limit: the median over the repetitions */
    double achieved, limit; /* medians */
    const char *unit;
} dtx_bench_result;

/* Sorts x. */
double dtx_bench_median(double *x, int n);
/* One repetition: `run` between two measurements of the machine's f32 FMA peak. Returns seconds; *peak is flop/s. */
double dtx_bench_timed(int threads, void (*run)(void *user), void *user, double *peak);

/* Collective, on 2 ranks or more; *out is the same on all. */
dtx_status dtx_bench_allreduce(const dtx_job *job, int repeat, dtx_bench_result *out);
dtx_status dtx_bench_hdf5(const dtx_job *job, int repeat, dtx_bench_result *out);
/* Local. */
dtx_status dtx_bench_gemm(const dtx_job *job, int repeat, dtx_bench_result *out);
dtx_status dtx_bench_attribute(const dtx_job *job, int repeat, dtx_bench_result *out);
dtx_status dtx_bench_train(const dtx_job *job, int repeat, dtx_bench_result *out);
dtx_status dtx_bench_tokenize(const dtx_job *job, int repeat, dtx_bench_result *out);
/* --make-model NAME DIR. */
dtx_status dtx_bench_make_model(const dtx_job *job, const char *name);

#endif
