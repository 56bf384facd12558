/* plan.h - what the files of `detoxlens plan` share. plan_input.c: model and data as far as they are there, else what is
 * assumed instead; plan_rate.c: the machine; plan_jobs.c and plan_policy.c: operations and memory of each
 * job; job_plan.c: layout, output. */
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
    double large;       /* flop/s of a core in passes through the layers, however many rows: see `fixed` */
    double head;        /* in the LM head with its loss, forward and backward */
    double decode, decode_head; /* at generate.batch streams */
    double fixed;       /* seconds that a pass costs for each byte of weights it reads, whatever its rows, with `threads` threads */
    int threads;
    double bandwidth;   /* bytes/s of a node, 0 = not known */
    char text[400];     /* where they come from */
} dtx_plan_rate;

/* Work of a rank or of all. */
typedef struct {
    double layers, head, decode, decode_head; /* flop at the four rates */
    double read;        /* bytes of weights that passes read */
    double sweep;       /* bytes that the optimizer reads and writes */
} dtx_plan_work;
double dtx_plan_flops(const dtx_plan_work *w);
void dtx_plan_work_add(dtx_plan_work *w, double times, const dtx_plan_work *more);
/* Operations of passes with many rows. */
dtx_plan_work dtx_plan_of(dtx_flops f);
/* The same of decoding. */
dtx_plan_work dtx_plan_of_decoding(dtx_flops f);

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
    int64_t *answer;          /* (n) generated tokens; NULL = generate.max_new_tokens each */
    int64_t *offset;          /* finetune: (n + 1) first row of each sample */
    dtx_adapter *adapter;     /* finetune: shapes */
    dtx_sample_order order;

    /* results */
    double units;             /* independent pieces of work: ranks beyond them are idle */
    dtx_plan_work work;       /* of the whole job */
    double balance;           /* of the chosen layout: mean / longest of the ranks' times */
    int64_t steps;
    int ranks, threads;       /* of a node; threads of a rank */
    double seconds;
    dtx_plan_table rank, node, files; /* bytes */
} dtx_plan;

dtx_status dtx_plan_read_model(dtx_plan *p);
dtx_status dtx_plan_read_data(dtx_plan *p);
/* Measures this machine, or takes --bench, --gflops and --bandwidth. */
dtx_status dtx_plan_find_rate(dtx_plan *p);
/* One layer and the head of the model's shape on this rank's threads, for about `seconds`. Local. */
dtx_status dtx_plan_measure(const dtx_arch *a, double element, int64_t streams, int threads, double seconds, dtx_plan_rate *out);

/* Operations of the job, and its files. */
dtx_status dtx_plan_count(dtx_plan *p);
/* Balance of `ranks` a node, and the seconds that follow. */
dtx_status dtx_plan_time(dtx_plan *p, int ranks);
/* Seconds of a rank, one of `ranks` on its node. */
double dtx_plan_seconds(const dtx_plan *p, const dtx_plan_work *w, int ranks);
/* Memory tables of `ranks` a node. */
dtx_status dtx_plan_memory(dtx_plan *p, int ranks);
/* The units of attribution over `ranks` ranks of the chosen layout: seconds until the last one ends, and the ranks' busy share. */
dtx_status dtx_plan_simulate(const dtx_plan *p, int64_t ranks, double *span, double *efficiency);
/* Frees what the plan holds; the struct is the caller's. */
void dtx_plan_free(dtx_plan *p);

/* plan_policy.c: jobs with a classifier. */
dtx_status dtx_plan_score_count(dtx_plan *p);
dtx_status dtx_plan_score_memory(dtx_plan *p);
dtx_status dtx_plan_ppo_count(dtx_plan *p);
dtx_status dtx_plan_ppo_memory(dtx_plan *p, int ranks);
/* plan_jobs.c */
dtx_status dtx_plan_adapter(dtx_plan *p);
int64_t dtx_plan_longest(const dtx_plan *p);
int64_t dtx_plan_answer(const dtx_plan *p, int64_t i);

#endif
