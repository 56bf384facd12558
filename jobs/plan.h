/* plan.h - what the files of `detoxlens plan` share. plan_input.c: model and data as far as they are there, else what is
 * assumed instead; plan_rate.c: the machine; plan_jobs.c: operations and memory of each job; job_plan.c: layout, output. */
#ifndef DTX_PLAN_H
#define DTX_PLAN_H

#include "jobs/job.h"
#include "src/cost.h"
#include "src/finetune.h"

enum { DTX_PLAN_LINES = 12 };

typedef struct {
    const char *name; /* of the table, also the key in JSON */
    double value;
    const char *note;
} dtx_plan_line;

typedef struct {
    int n;
    dtx_plan_line line[DTX_PLAN_LINES];
} dtx_plan_table;
void dtx_plan_add(dtx_plan_table *t, const char *name, double value, const char *note);
double dtx_plan_sum(const dtx_plan_table *t);

/* Speeds that the job is expected to reach, per core and per node. */
typedef struct {
    double large;     /* flop/s of a core in products of many rows: training, attribution, prompts */
    double decode;    /* flop/s of a core in products of generate.batch rows */
    double bandwidth; /* bytes/s of a node */
    char text[400];   /* where they come from */
} dtx_plan_rate;

typedef struct {
    const dtx_job *job;
    const dtx_config *c;
    const char *name;         /* the job that is planned */
    int nodes, cores;         /* of the target */
    double node_memory;       /* bytes, 0 = not told */
    dtx_plan_rate rate;

    dtx_arch arch;
    double element;           /* bytes of a stored weight */
    char model[400], data[400]; /* what is there, what is assumed */
    int64_t n;                /* texts, samples or windows */
    int64_t *len, *labels;    /* (n) tokens of a prompt or sample, of them labels */
    int64_t *offset;          /* finetune: (n + 1) first row of each sample */
    dtx_adapter *adapter;     /* finetune: shapes */
    dtx_sample_order order;

    /* results */
    double units;             /* independent pieces of work: ranks beyond them are idle */
    double work, decode;      /* flop at the rate for large products, and for decoding */
    double read;              /* bytes of weights read from memory, by all ranks together */
    double balance;           /* of the chosen layout: mean / longest of the ranks' times */
    int64_t steps;
    int ranks, threads;       /* of a node; threads of a rank */
    double seconds;
    dtx_plan_table rank, node, files; /* bytes */
} dtx_plan;

dtx_status dtx_plan_read_model(dtx_plan *p);
dtx_status dtx_plan_read_data(dtx_plan *p);
/* Measures this machine, or takes --gflops and --bandwidth. */
dtx_status dtx_plan_find_rate(dtx_plan *p);

/* Operations of the job, and its files. */
dtx_status dtx_plan_count(dtx_plan *p);
/* Balance of `ranks` a node, and the seconds that follow. */
dtx_status dtx_plan_time(dtx_plan *p, int ranks);
/* Memory tables of `ranks` a node. */
dtx_status dtx_plan_memory(dtx_plan *p, int ranks);

#endif
