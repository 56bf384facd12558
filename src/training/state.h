/* state.h - the checkpoint of a training: one safetensors file with parameters, AdamW's moments, curves and
 * position, published by rename, so that a kill at any time leaves the last one valid. Written by rank 0. */
#ifndef DTX_TRAIN_STATE_H
#define DTX_TRAIN_STATE_H

#include <stdint.h>

#include "src/base/status.h"

typedef struct {
    const char *name; /* "loss" */
    double *value;    /* room for n_steps values; NaN where a step has none */
} dtx_curve;

typedef struct {
    int64_t step;          /* steps done */
    int64_t n_steps;       /* of the whole training */
    int64_t n_params;
    float *params, *m, *v; /* (n_params) each, borrowed */
    float *average;        /* (n_params) moving average of params; NULL = none */
    int64_t n_curves;
    dtx_curve *curves;
    int64_t n_scalars;     /* what else the training remembers; 0 = nothing */
    double *scalars;
    char identity[4096];   /* what the training is (settings, data and model fingerprints): another one is not resumed */
} dtx_train_state;

dtx_status dtx_train_state_write(const char *path, const dtx_train_state *s);
/* Fills step, params, m, v and curves of a state whose shapes and identity are set. DTX_ERR_USAGE when the file belongs to
 * another training, DTX_ERR_INPUT when it is malformed or a bit of it has changed since it was written. Local. */
dtx_status dtx_train_state_read(const char *path, dtx_train_state *s);

#endif
