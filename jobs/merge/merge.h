/* merge.h - what merge does with the files around run.h5: adapters and logs of the runs that it joins. Rank 0, local. */
#ifndef DTX_MERGE_H
#define DTX_MERGE_H

#include "src/settings/config.h"

/* One of the run directories that are joined. */
typedef struct {
    const char *dir;              /* as given */
    char h5[DTX_PATH_MAX + 16];   /* DIR/run.h5 */
    char name[128];               /* last part of its path, with -2, -3 ... where an earlier one has it too */
    int lock_fd;
} dtx_merge_source;

/* DTX_ERR_USAGE when an adapter of one of them is there with other contents in `run` or in an earlier one. Counts those that
 * `run` lacks. Adapters of a training under way (it has a checkpoint) stay out, with a warning. */
dtx_status dtx_merge_adapters_check(const char *run, const dtx_merge_source *source, int n, int64_t *missing);
/* Copies what is missing, each adapter completely or not at all. */
dtx_status dtx_merge_adapters_copy(const char *run, const dtx_merge_source *source, int n);
/* Copies the logs of each to RUN/log/NAME/. A failure is a warning. */
void dtx_merge_logs(const char *run, const dtx_merge_source *source, int n);

#endif
