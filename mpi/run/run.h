/* run.h - the run directory and its run.h5 (layout: mpi/README.md). All HDF5 stands in mpi/.
 *
 * Crash safety: the structure of the file (groups, datasets, attributes) changes only in a copy that rank 0 edits
 * serially, syncs and renames over run.h5 (dtx_run_edit). Between edits the file is open on all ranks with the MPI driver
 * and only values of existing contiguous, early-allocated datasets are written: data, flush, then the `done` flags, flush.
 * A kill at any time leaves a readable file that holds every row whose flag is set.
 * A lock (fcntl on RUN/lock, held by rank 0 and gone with its process) keeps a second job off the directory. */
#ifndef DTX_RUN_H
#define DTX_RUN_H

#include <hdf5.h>

#include "mpi/par/par.h"

enum { DTX_SCHEMA_VERSION = 1 };

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
    hid_t file;                 /* < 0 while closed */
    int lock_fd;                /* rank 0 */
    int64_t launch;             /* index in /provenance */
    double begun;               /* MPI_Wtime() when it was begun, or the forecast made */
    dtx_run_outcome outcome;    /* of the launch; written by dtx_run_provenance_end */
} dtx_run;

/* Collective. Makes the directory (with log/, checkpoints/, report/), takes the lock (DTX_ERR_USAGE with the holder's
 * host, pid and Slurm job when it is taken), makes an empty run.h5 when there is none, checks schema_version. */
dtx_status dtx_run_open(const dtx_par *par, const char *dir, dtx_run **out);
/* Collective. Closes the file and gives the lock back. NULL is fine. */
void dtx_run_close(dtx_run *run);

/* Local. The lock of a run directory alone; close(*fd) gives it back. `to_read`: one that must not be written is a warning,
 * and *fd is -1. */
dtx_status dtx_run_lock(const dtx_par *par, const char *dir, bool to_read, int *fd);

/* A structural change: called on rank 0 alone with the copy opened serially. */
typedef dtx_status (*dtx_run_editor)(hid_t file, void *user);
/* Collective. Closes the parallel file, lets rank 0 edit a copy, syncs, renames, reopens on all ranks. When the editor
 * fails, or the disk is full, run.h5 stays as it was. */
dtx_status dtx_run_edit(dtx_run *run, dtx_run_editor editor, void *user);

/* Collective. The same for looking only: rank 0 alone gets run.h5 opened serially and read-only. While the file is open on
 * all ranks no rank may read from it by itself: HDF5's metadata caches of the ranks must see the same calls. */
dtx_status dtx_run_inspect(dtx_run *run, dtx_run_editor reader, void *user);

/* --- pieces for editors and for serial readers (a file opened without MPI); local --- */

/* A dataset: contiguous, early allocation, filled with its fill value (NaN for floats, `fill` for integers), with
 * long_name, units and dimension scales as mpi/README.md tells. Groups on the way are made. Axis i uses the scale
 * `dims[i]`: the one of that name in the same group, else in the root, where its length fits; else it is made, in the
 * root when the name begins with "/" ("/row", "/row_edge", "/step") and is free there, otherwise in the group. A name
 * beginning with "flat:" ("flat:text_byte") makes, in the group, the unwritten late-allocated scale for a flat axis; it
 * must differ from the names of the group's datasets. dims[0] == NULL: no scales. */
typedef struct {
    const char *path;       /* absolute, "/variants/IT/completions/tokens" */
    hid_t type;             /* H5T_NATIVE_FLOAT -> stored little-endian f32, and so on */
    int rank;
    hsize_t shape[2];
    const char *dims[2];
    int64_t fill;           /* integers only */
    const char *long_name, *units;
} dtx_h5_spec;
dtx_status dtx_h5_make(hid_t file, const dtx_h5_spec *spec);
/* DTX_ERR_INPUT when the file has no schema_version, DTX_ERR_USAGE when it has another one. */
dtx_status dtx_h5_check_schema(hid_t file, const char *path);
/* Opens a file for reading without MPI (report, inspect, tests). DTX_ERR_MISSING / DTX_ERR_INPUT. */
dtx_status dtx_h5_open_serial(const char *path, hid_t *out);
/* Closes it; a negative handle is fine. */
void dtx_h5_close(hid_t file);
bool dtx_h5_exists(hid_t file, const char *path);
dtx_status dtx_h5_delete(hid_t file, const char *path);
/* Shape of a dataset (rank <= 2; missing axes 1). */
dtx_status dtx_h5_shape(hid_t file, const char *path, hsize_t shape[2]);
/* Whole dataset or rows first..first+count-1 of its first axis, converted to `type`; x has room. */
dtx_status dtx_h5_read(hid_t file, const char *path, hid_t type, void *x);
dtx_status dtx_h5_read_rows(hid_t file, const char *path, hid_t type, hsize_t first, hsize_t count, void *x);
/* Serial whole write. */
dtx_status dtx_h5_write(hid_t file, const char *path, hid_t type, const void *x);
/* Attributes (fixed-length strings, UTF-8; replaced when there). `path` is a group or dataset. */
dtx_status dtx_h5_attr_str(hid_t file, const char *path, const char *name, const char *value);
dtx_status dtx_h5_attr_int(hid_t file, const char *path, const char *name, int64_t value);
dtx_status dtx_h5_attr_double(hid_t file, const char *path, const char *name, double value);
/* *out allocated (dtx_free); NULL when the attribute is absent. */
dtx_status dtx_h5_attr_get_str(hid_t file, const char *path, const char *name, char **out);
dtx_status dtx_h5_attr_get_int(hid_t file, const char *path, const char *name, int64_t *out, bool *there);
/* Names of a group's members in the order of their bytes; none when the group is absent. One block, freed with dtx_free. */
dtx_status dtx_h5_list(hid_t file, const char *group, char ***names, size_t *n);
/* Attributes that are one string or one number, as text: pairs[2 i] the name, pairs[2 i + 1] the value. One block. */
dtx_status dtx_h5_attr_list(hid_t file, const char *path, char ***pairs, size_t *n);

/* --- collective values --- */

/* Collective. Writes, for i < n, elements start[i] .. start[i]+count[i]-1 of the first axis (whole rows of trailing
 * axes) of `path` from x, where the pieces stand one after the other in the order given. Pieces may come in any order and
 * must not overlap; n = 0 writes nothing but takes part. */
dtx_status dtx_run_write(dtx_run *run, const char *path, hid_t type, int64_t n, const int64_t *start,
                         const int64_t *count, const void *x);
/* Collective. Several such writes, of different datasets, with one agreement before and one after all of them. */
typedef struct {
    const char *path;
    hid_t type;
    int64_t n;
    const int64_t *start, *count;
    const void *x;
} dtx_write;
enum { DTX_RUN_WRITES = 40 }; /* most at a time */
dtx_status dtx_run_write_all(dtx_run *run, int n, const dtx_write *w);
/* Collective. Flush to disk (H5Fflush, which syncs on every rank, and a barrier). */
dtx_status dtx_run_flush(dtx_run *run);
/* Collective. Every rank gets the whole dataset (rank 0 reads, broadcast); *x allocated with dtx_malloc. */
dtx_status dtx_run_read(dtx_run *run, const char *path, hid_t type, void **x, hsize_t shape[2]);

/* --- provenance --- */

/* Collective. Adds /provenance/<k> with argv, the resolved configuration, version, commit, hosts, ranks, threads,
 * library versions, Slurm job, start time. Done inside an edit of its own. */
dtx_status dtx_run_provenance_begin(dtx_run *run, const char *job, int argc, char **argv, const char *config_json);
/* Collective. Sets stop time, exit code and the outcome (and extra text facts, at most 4096 bytes, may be NULL; rank 0's count), in
 * place. Does nothing when no launch was begun. */
dtx_status dtx_run_provenance_end(dtx_run *run, int exit_code, const char *facts_json);

#endif
