/* bench.h - what the files of `detoxlens bench` share. */
#ifndef DTX_BENCH_H
#define DTX_BENCH_H

#include "jobs/program/job.h"
#include "jobs/shared/timing.h"
#include "src/model/families/arch.h"

enum { DTX_BENCH_MAX_REPEAT = 99 };

typedef struct {
    double share;       /* achieved / limit: the median over the repetitions */
    double achieved, limit; /* medians */
    const char *unit;
    char more[2000];    /* members of the JSON object besides, each after a comma */
} dtx_bench_result;

/* RedPajama-INCITE 3B with another number of layers. */
dtx_arch dtx_bench_redpajama_3b(int64_t n_layers);

/* Members that the JSON object of this result gets besides. */
void dtx_bench_add(dtx_bench_result *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

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
