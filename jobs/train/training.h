/* training.h - what every supervised training shares: gradients of logical shards summed over the ranks, clipping, AdamW,
 * schedule, evaluation, progress, checkpoints, exact resume, and the curves in run.h5. A job supplies the gradient of one
 * shard and the held-out loss. All functions are collective. */
#ifndef DTX_TRAINING_H
#define DTX_TRAINING_H

#include "jobs/program/job.h"
#include "jobs/shared/units.h"
#include "mpi/par/reduce.h"
#include "mpi/run/run.h"
#include "src/training/optim.h"
#include "src/training/state.h"

enum { DTX_TRAINING_EXTRAS = 8 }; /* a job's own curves, at most */

typedef struct {
    const char *name;               /* below /training/NAME, as mpi/h5/schema.c describes it */
    bool each_step;                 /* a value in each step (for `extra` the sum of extra_part); else in each evaluation */
    bool shown;                     /* each_step: in the progress line too */
} dtx_training_curve;

typedef struct {
    /* set by the caller */
    dtx_job *job;
    dtx_run *run;
    const char *name;               /* "pretrain-IT": /training/NAME and checkpoints/NAME.safetensors */
    int64_t n_steps, n_leaves;      /* n_leaves is fixed by the batch, never by the ranks; <= DTX_TRAINING_LEAVES */
    int64_t n_params;
    float *params;                  /* borrowed, updated in place, the same on every rank */
    double lr, clip;
    double average;                 /* 0, or the share that a moving average of params keeps in each step; evaluations and the
                                     * end see the average (params is the average after dtx_training_run) */
    int64_t warmup_steps, eval_every, save_every;
    dtx_schedule schedule;
    dtx_adamw adamw;
    const dtx_span *decay;          /* NULL = all */
    int64_t n_decay;
    /* Adds the gradient of shard `leaf` of a step to grads, its part of the step's mean loss to *loss and its
     * tokens to *tokens. Local: a failure is agreed on afterwards. */
    dtx_status (*shard)(void *user, int64_t step, int64_t leaf, float *grads, double *loss, double *tokens);
    /* Mean held-out loss, the same on every rank; NaN where nothing is held out. */
    dtx_status (*evaluate)(void *user, double *loss);
    void *user;
    /* For reduce = fast: parts of the gradient in the order in which a backward pass completes them; NULL = no overlap.
     * While last_leaf is set, a shard may say dtx_training_ready for its first parts. */
    const dtx_reduce_range *ranges;
    int n_ranges;
    bool last_leaf;
    const dtx_training_curve *extra; /* (n_extra) curves of the job's own */
    int n_extra;
    double extra_value[DTX_TRAINING_EXTRAS]; /* of an evaluation: set by evaluate */
    double extra_part[DTX_TRAINING_EXTRAS][DTX_TRAINING_LEAVES]; /* of each step: `shard` adds its leaf's part */

    /* kept here */
    dtx_train_state state;          /* identity: set by the caller before dtx_training_open */
    dtx_curve curves[4 + DTX_TRAINING_EXTRAS]; /* loss, eval_loss, grad_norm, lr, extra */
    char group[160], path[1300];
    dtx_reduce *reduce;
    float *grads;
    double seconds, tokens;
    double flops, busy;             /* products with weights of this launch, all ranks; seconds of its steps */
    double *timing[3];              /* (n_steps) tokens/s, GFLOP/s, seconds; NaN for the steps of earlier launches */
    double memory_seen;             /* bytes, of the largest rank */
} dtx_training;

enum { DTX_CURVE_LOSS, DTX_CURVE_EVAL, DTX_CURVE_NORM, DTX_CURVE_LR, DTX_CURVES };

/* What run.h5 and the run directory hold of this training. settings: rank 0 only, NULL elsewhere; free with dtx_free. */
typedef struct {
    bool complete, begun;           /* begun: there is a checkpoint */
    char *settings;                 /* identity of the complete one */
} dtx_training_found;
dtx_status dtx_training_find(dtx_run *run, const char *name, dtx_training_found *out); /* run NULL: nothing */

/* Opens the run directory; --dry-run makes none: *out stays NULL where there is none. */
dtx_status dtx_training_open_run(dtx_job *job, dtx_run **out);

/* --redo: names and removes the training in run.h5 and its checkpoint. */
dtx_status dtx_training_discard(dtx_run *run, const char *name);
/* Rank 0 reads the checkpoint at `path`, and everybody gets it, and rank 0's identity: what several nodes see of a file system may
 * differ. `needed`: DTX_ERR_MISSING where there is none; else the state stays as it is. *found (may be NULL). */
dtx_status dtx_training_restore(const dtx_par *par, const char *path, bool needed, dtx_train_state *s, bool *found);
/* Allocates and continues from the checkpoint when there is one. */
dtx_status dtx_training_open(dtx_training *t);
/* Local, within `shard`: the first k ranges of this rank's gradient are final. */
void dtx_training_ready(dtx_training *t, int k);
/* Steps until the end or a stop; a checkpoint is written either way. DTX_STOPPED with a text after a stop. */
dtx_status dtx_training_run(dtx_training *t);
/* Writes the curves and marks the training complete, then removes the checkpoint. */
dtx_status dtx_training_publish(dtx_training *t);
void dtx_training_close(dtx_training *t);

/* What a *.schedule means. */
dtx_schedule dtx_training_schedule(dtx_set_schedule set);
/* Sum over n values of which each is nonzero on one rank alone: exact, whatever the ranks. n <= 4096. */
dtx_status dtx_sum_disjoint(const dtx_par *par, double *x, int n);

#endif
