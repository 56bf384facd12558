/* run.h - the run directory and its run.h5 (layout: mpi/README.md).
 *
 * Crash safety: the structure of the file (groups, datasets, attributes) changes only in edits of rank 0, which are there
 * completely or not at all (mpi/h5/edit.h; dtx_run_edit). Between edits only values of existing contiguous, early-allocated
 * datasets are written, by all ranks at their places in the file: data, flush, then the `done` flags, flush. A kill at any time
 * leaves a readable file that holds every row whose flag is set.
 * HDF5's own MPI-IO driver is not used: where the device fails on one rank, or a write stops in between, the other ranks wait
 * in it for ever. So each rank writes its rows itself, and then all agree.
 * A lock (fcntl on RUN/lock, held by rank 0 and gone with its process) keeps a second job off the directory. */
#ifndef DTX_RUN_H
#define DTX_RUN_H

#include "mpi/h5/schema.h"
#include "mpi/par/par.h"

/* What was expected of a launch and what came of it; NaN = not known. The same on all ranks where it counts: rank 0. */
typedef struct {
    double predicted_seconds, seconds;                     /* from the forecast (else the begin) to the end */
    double predicted_peak_memory_bytes, peak_memory_bytes; /* of the largest rank, mapped weights included */
    double handout_share, rounds_share, uneven_share;      /* of the ranks' time: waiting for tickets; collective writes; waiting for
                                                            * the slowest rank at the ends of rounds */
} dtx_run_outcome;
enum { DTX_RUN_OUTCOMES = sizeof(dtx_run_outcome) / sizeof(double) };

typedef struct {
    const dtx_par *par;
    char dir[1024], path[1100]; /* RUN, RUN/run.h5 */
    int fd;                     /* of run.h5, for values; -1 while closed */
    bool dirty;                 /* something was written since the last flush; the same on all ranks */
    struct dtx_run_place *places; /* where datasets stand, as far as they were asked for; the same on all ranks */
    int64_t n_places;
    size_t cap_places;
    int lock_fd;                /* rank 0 */
    int64_t launch;             /* index in /provenance */
    double begun;               /* MPI_Wtime() when it was begun, or the forecast made */
    dtx_run_outcome outcome;    /* of the launch; written by dtx_run_provenance_end */
} dtx_run;

/* Collective. Makes the directory (with log/, checkpoints/, report/), takes the lock (DTX_ERR_USAGE with the holder's
 * host, pid and Slurm job when it is taken), makes an empty run.h5 when there is none, checks schema_version. */
dtx_status dtx_run_open(const dtx_par *par, const char *dir, dtx_run **out);
/* Collective. The same for a job that needs what another one made: DTX_ERR_MISSING where there is no run.h5, and nothing is made. */
dtx_status dtx_run_open_existing(const dtx_par *par, const char *dir, dtx_run **out);
/* Collective. Closes the file and gives the lock back. NULL is fine. */
void dtx_run_close(dtx_run *run);

/* Local. The lock of a run directory alone; close(*fd) gives it back. `to_read`: one that must not be written is a warning,
 * and *fd is -1. */
dtx_status dtx_run_lock(const dtx_par *par, const char *dir, bool to_read, int *fd);

/* A structural change: called on rank 0 alone. */
typedef dtx_status (*dtx_run_editor)(hid_t file, void *user);
/* Collective. When the editor fails, the disk is full or the device fails, run.h5 stays as it was. */
dtx_status dtx_run_edit(dtx_run *run, dtx_run_editor editor, void *user);

/* Collective. The same for looking only: rank 0 alone gets run.h5 opened read-only. */
dtx_status dtx_run_inspect(dtx_run *run, dtx_run_editor reader, void *user);

/* --- collective values --- */

/* What a rank writes of a dataset of the schema: for i < n elements start[i] .. start[i]+count[i]-1 of its first axis (whole rows
 * of `width` elements) from x, where the pieces stand one after the other in the order given. Pieces may come in any order and
 * must not overlap; n = 0 writes nothing but takes part. */
typedef struct {
    const char *group, *name; /* "/variants/FT/completions", "tokens" */
    hid_t type;
    int64_t rows, width;      /* that the dataset has, as in dtx_h5_open: else DTX_ERR_INPUT; rows may be DTX_H5_ANY */
    int64_t n;
    const int64_t *start, *count;
    const void *x;
} dtx_write;
/* Collective. */
dtx_status dtx_run_write(dtx_run *run, const dtx_write *w);
/* Collective. Several such writes, of different datasets, with one agreement before and one after all of them. */
enum { DTX_RUN_WRITES = 40 }; /* most at a time */
dtx_status dtx_run_write_all(dtx_run *run, int n, const dtx_write *w);
/* Collective. What was written is on disk, on all nodes; nothing when nothing was written since the last time. */
dtx_status dtx_run_flush(dtx_run *run);
/* Collective. Every rank gets a whole dataset that is as expected, see dtx_h5_take (rank 0 reads, broadcast); *x is dtx_free's. */
dtx_status dtx_run_read(dtx_run *run, const char *group, const char *name, hid_t type, int64_t rows, int64_t width, void **x,
                        int64_t shape[2]);

/* --- provenance --- */

/* Collective. Adds /provenance/<k> with argv, the resolved configuration, version, commit, hosts, ranks, threads,
 * library versions, Slurm job, start time, in an edit of its own. */
dtx_status dtx_run_provenance_begin(dtx_run *run, const char *job, int argc, char **argv, const char *config_json);
/* Collective. Sets stop time, exit code and the outcome (and extra text facts, at most 4096 bytes, may be NULL; rank 0's count), in
 * place. Does nothing when no launch was begun. */
dtx_status dtx_run_provenance_end(dtx_run *run, int exit_code, const char *facts_json);

#endif
