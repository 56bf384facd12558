/* merge.h - joins run.h5 files that were filled at the same time by different jobs. What is made anew is made as the jobs
 * make it, in the order of the calls, so that the result holds the bytes of a run in which the jobs came one after the other. */
#ifndef DTX_H5_MERGE_H
#define DTX_H5_MERGE_H

#include <hdf5.h>
#include <stdbool.h>
#include <stdint.h>

#include "src/base/status.h"

typedef struct {
    const char *to_name, *from_name; /* for messages */
    bool apply;                      /* false: `to` is only read */
    bool tell;                       /* log a line for each part that is new */
    int64_t parts, rows, launches;   /* what was new: groups that only `from` had; rows of stages that both have; launches */
} dtx_h5_merge;

/* Local; both files are open serially, `to` for writing when m->apply is set; to < 0 stands for a run without anything.
 *
 * Both must be of the same schema, texts, model (weights_fingerprint) and seed. A part (completions, a toxicity set, an
 * attribution, a training, rollouts) that only `from` holds is copied. Completions, toxicity sets and attributions that both
 * hold are joined row by row: a row is taken from where it is done; where both have it, it must be the same. Anything else
 * that both hold must be the same apart from `timing`. A launch in /provenance is added unless it is there. Rollouts of a
 * training under way stay out: their file and its checkpoint belong together.
 * DTX_ERR_USAGE for what does not fit together; `to` may then be half merged and must be thrown away. */
dtx_status dtx_h5_merge_file(hid_t to, hid_t from, dtx_h5_merge *m);

#endif
