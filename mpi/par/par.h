/* par.h - the ranks: a communicator of our own with MPI_ERRORS_RETURN, agreement on errors, node layout, threads.
 * Every function says whether it is collective. No MPI_COMM_WORLD outside par.c. */
#ifndef DTX_PAR_H
#define DTX_PAR_H

#include <mpi.h>
#include <stdbool.h>
#include <stdint.h>

#include "src/base/status.h"

typedef struct {
    MPI_Comm comm;          /* dup of the world: collectives of the work */
    int rank, size;
    MPI_Comm node;          /* ranks that share memory with this one */
    int node_rank, node_size, n_nodes;
    char host[256];
    int cpus;               /* CPUs in this rank's mask */
    int threads;            /* that this rank may use: its mask shared fairly with ranks of the same mask */
    bool oversubscribed;    /* more ranks than CPUs in the mask */
} dtx_par;

/* Collective. Starts MPI (MPI_THREAD_MULTIPLE), fills *par. */
dtx_status dtx_par_init(int *argc, char ***argv, dtx_par *par);
/* Collective. Ends MPI. */
void dtx_par_finalize(dtx_par *par);
/* Last resort, when agreement is impossible: names rank, host and cause, and ends all ranks with the status's code. */
_Noreturn void dtx_par_abort(const dtx_par *par, dtx_status st, const char *why);

/* Collective. The largest status of any rank, with the text of the lowest rank that has it, on every rank (prefixed with
 * "rank N (host): " when that is not rank 0). DTX_STOPPED counts lower than errors. Every rank enters every agreement. */
dtx_status dtx_par_agree(const dtx_par *par, dtx_status mine);
/* Collective. A step of rank 0 alone, and what came of it on every rank: the way to whatever is looked up in the file system, as the
 * looks of several nodes may differ. */
#define DTX_ROOT(par, expr) dtx_par_agree((par), (par)->rank == 0 ? (expr) : DTX_OK)
/* Collective. Broadcast of rank 0's status first, then *size bytes at *data (allocated with dtx_malloc on other ranks). */
dtx_status dtx_par_bcast(const dtx_par *par, dtx_status root_status, void **data, size_t *size);
/* Collective. Every rank gets the bits of all (or): buffers in which each byte is zero on all ranks but one are gathered so,
 * unchanged to the bit. */
dtx_status dtx_par_or(const dtx_par *par, void *data, size_t size);
/* Collective. Rank 0's `size` bytes at `data` for everybody; the other ranks sleep until rank 0 comes, and leave their cores to it. */
void dtx_par_wait(const dtx_par *par, void *data, size_t size);
/* Collective. Rank 0's `size` bytes at `data`, which all ranks have room for, for everybody. */
void dtx_par_tell(const dtx_par *par, void *data, size_t size);
/* Collective. True when any rank passes true. */
bool dtx_par_any(const dtx_par *par, bool mine);

/* Checks an MPI return code: yields DTX_ERR_CHECK with MPI's own text. */
#define DTX_MPI(call) dtx_mpi_check((call), #call, __FILE__, __LINE__)
dtx_status dtx_mpi_check(int code, const char *call, const char *file, int line);

#endif
