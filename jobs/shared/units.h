/* units.h - units of work whose size never depends on the ranks. */
#ifndef DTX_UNITS_H
#define DTX_UNITS_H

enum {
    DTX_SCORE_BATCH = 4,      /* texts that a classifier reads at a time; a unit has at most four batches (dtx_stage_unit_rows) */
    DTX_TRAINING_LEAVES = 16, /* logical shards of a training's batch, at most */
};

#endif
