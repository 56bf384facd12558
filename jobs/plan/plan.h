/* plan.h - what the files of `detoxlens plan` share. input.c: model and data as far as they are there, else what is
 * assumed instead; rate.c and measure.c: the machine; train.c, jobs.c and policy.c: operations and
 * memory of each job; simulate.c: the hand-out of rows; job.c: layout, output. forecast.h is the same for a job that
 * is about to run. */
#ifndef DTX_PLAN_H
#define DTX_PLAN_H

#include "jobs/program/job.h"
#include "src/settings/cost.h"
#include "src/training/finetune.h"
#include "src/model/model.h"

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
    double train;       /* the same in passes that train an adapter */
    double head;        /* in the LM head with its loss, forward and backward */
    double decode, decode_head; /* with `streams` side by side; fewer take as long for each token */
    int64_t streams;    /* 0 = whatever their number */
    bool together;      /* measured on all ranks of a node at the same time: what they share is in the speeds */
    double fixed;       /* seconds that a pass costs for each byte of weights it reads, whatever its rows, with `threads` threads */
    int threads;
    double bandwidth;   /* bytes/s of a node, 0 = not known */
    char text[400];     /* where they come from */
} dtx_plan_rate;

/* Work of a rank or of all. */
typedef struct {
    double layers, train, head, decode, decode_head; /* flop at the five rates */
    double read;        /* bytes of weights that passes read */
    double decode_read; /* the same of decoding steps */
    double sweep;       /* bytes that the optimizer reads and writes */
} dtx_plan_work;
double dtx_plan_flops(const dtx_plan_work *w);
void dtx_plan_work_add(dtx_plan_work *w, double times, const dtx_plan_work *more);
/* Operations of passes with many rows. */
dtx_plan_work dtx_plan_of(dtx_flops f);
/* The same of passes that train an adapter. */
dtx_plan_work dtx_plan_of_training(dtx_flops f);
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
    int64_t n;                /* texts, samples, pairs or windows */
    int64_t rows;             /* of each: sequences in `len`; 2 of a pair, else 1 */
    double samples;           /* rows of a text: generate.samples */
    int64_t *len, *labels;    /* (n rows) tokens of a prompt or sample, of them labels */
    int64_t *answer;          /* (n) generated tokens; NULL = generate.max_new_tokens each */
    int64_t *offset;          /* finetune, dpo: (n + 1) first token of each sample or pair */
    dtx_adapter *adapter;     /* its shapes; NULL = none */
    dtx_sample_order order;
    int64_t first_step;       /* of a training that continues */
    bool launched;            /* ranks and threads are those of this run */
    double latency;           /* seconds that a rank waits for a unit that was not fetched ahead */
    double round_cost;        /* seconds that a collective round of writes takes all ranks */
    char latency_text[160];   /* where they come from */

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
/* Room for n texts, samples or pairs of `rows` sequences. */
dtx_status dtx_plan_room(dtx_plan *p, int64_t n, int64_t rows);
/* Target and speeds: measures this machine (under mpirun on all ranks at once; collective then), or takes plan.bench, --gflops
 * and --bandwidth. */
dtx_status dtx_plan_find_rate(dtx_plan *p);
/* A file that `bench layer --json` or `bench peak --json` printed. */
dtx_status dtx_plan_read_rate(dtx_plan *p, const char *path);
/* Latency and cost of a round where the file of dtx_plan_read_rate did not tell: measured between ranks (collective when the
 * job is parallel), or assumed. */
dtx_status dtx_plan_find_latency(dtx_plan *p);

/* A short run of a model's first layers and its head. */
enum { DTX_PLAN_FORWARD = 1, DTX_PLAN_LAYERS = 2, DTX_PLAN_TRAIN = 4, DTX_PLAN_HEAD = 8, DTX_PLAN_DECODE = 16 };
typedef struct {
    const dtx_model *model;
    const dtx_config *c;    /* the adapter that is trained */
    double element;         /* bytes of a stored weight */
    int64_t layers;         /* so many of the model's */
    unsigned what;          /* passes: forward; forward and backward; training an adapter; the head; decoding */
    double dropout;
    bool recompute;
    int64_t streams;        /* decoded side by side */
    bool single;            /* generate.batch = 1 */
    int threads;
    double seconds;         /* about so long; 0 = as short as possible */
    dtx_status (*together)(void *user); /* NULL, or waits for the other ranks before each timing, so that all are busy at once */
    void *user;
} dtx_plan_trial;
/* What the planned job needs to know of `model`, with that many threads. */
dtx_plan_trial dtx_plan_trial_of(const dtx_plan *p, const dtx_model *model, int threads, double seconds);
/* Layers whose weights no cache holds, at most all. */
int64_t dtx_plan_trial_layers(const dtx_arch *a, double element);
/* Operations of the shortest trial. */
double dtx_plan_trial_flops(const dtx_plan_trial *t);
/* Local. Rates but for the bandwidth; what was not asked for is taken from what is most like it. */
dtx_status dtx_plan_measure(const dtx_plan_trial *t, dtx_plan_rate *out);
/* The same on all ranks at once, means. Collective. */
dtx_status dtx_plan_measure_together(const dtx_par *par, const dtx_plan_trial *t, dtx_plan_rate *out);

/* Operations of the job, and its files. */
dtx_status dtx_plan_count(dtx_plan *p);
/* Balance of `ranks` a node, and the seconds that follow. */
dtx_status dtx_plan_time(dtx_plan *p, int ranks);
/* Seconds of a rank, one of `ranks` on its node. */
double dtx_plan_seconds(const dtx_plan *p, const dtx_plan_work *w, int ranks);
/* Memory tables of `ranks` a node. */
dtx_status dtx_plan_memory(dtx_plan *p, int ranks);
/* Resident memory of a rank by these tables: its own, and the mapped weights, which the ranks share. */
double dtx_plan_resident(const dtx_plan *p);
/* Jobs that fill rows: seconds of each unit that ranks fetch, in the order of the hand-out; freed with dtx_free. NULL and 0
 * units for the others. ranks: in all; of_node: on a node. */
dtx_status dtx_plan_units(const dtx_plan *p, int64_t ranks, int of_node, double **seconds, int64_t *n);
/* Those units over `ranks` ranks in rounds of round_seconds: seconds until the last one ends, and the share of the ranks' time
 * that is spent on units. Units may cost nothing; the span is NaN where a cost is not known (NaN, infinite, below 0). */
dtx_status dtx_plan_hand_out(const dtx_plan *p, const double *unit, int64_t n, int64_t ranks, double *span, double *efficiency);
/* Streams that a unit of generation decodes side by side, of `ranks` ranks in all. */
int64_t dtx_plan_streams(const dtx_plan *p, int64_t ranks);
/* Frees what the plan holds; the struct is the caller's. */
void dtx_plan_free(dtx_plan *p);

/* train.c: finetune, dpo, pretrain. */
dtx_status dtx_plan_train_count(dtx_plan *p);
dtx_status dtx_plan_train_time(dtx_plan *p, int ranks);
dtx_status dtx_plan_train_memory(dtx_plan *p, int ranks);
/* policy.c: jobs with a classifier. */
dtx_status dtx_plan_score_count(dtx_plan *p);
dtx_status dtx_plan_score_memory(dtx_plan *p);
dtx_status dtx_plan_ppo_count(dtx_plan *p);
dtx_status dtx_plan_ppo_memory(dtx_plan *p, int ranks);
/* Rows of a unit of `score`, and the seconds of all units; order: the text of each row. */
int64_t dtx_plan_score_unit(int64_t rows, int64_t ranks);
void dtx_plan_score_units(const dtx_plan *p, const int64_t *order, int64_t rows, int64_t unit, int of_node, double *seconds);
/* jobs.c */
bool dtx_plan_is(const dtx_plan *p, const char *name);
dtx_status dtx_plan_adapter(dtx_plan *p);
int64_t dtx_plan_longest(const dtx_plan *p);
int64_t dtx_plan_answer(const dtx_plan *p, int64_t i);

#endif
