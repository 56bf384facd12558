/* reduce.h - sums of gradients over the ranks. A batch is cut into a fixed number of leaves (logical shards, e.g. one
 * sequence or micro-batch each); every rank works on consecutive leaves, and every rank gets the sum of all.
 *
 *     dtx_reduce_new(par, n_floats, n_leaves, strict, &r);
 *     for each step:
 *         dtx_reduce_leaves(r, &first, &count);                      the same in every step
 *         for leaf = first .. first + count - 1, in this order:
 *             dtx_reduce_begin(r, &grad);                            add (+=) this leaf's gradient to grad
 *             dtx_reduce_commit(r);
 *         dtx_reduce_finish(r, sum);                                 collective; ready for the next step
 *
 * strict: the sum's bits depend on n_leaves and the leaves' values alone, not on the ranks (src/algebra/treesum.h): for that, a
 * leaf's own gradient must not depend on them either, and n_leaves must be a setting, not the rank count. About
 * 2 log2(n_leaves) vectors are held. Otherwise (fast): one vector per rank, and MPI_Allreduce or shared memory; the last bits vary with the ranks.
 * Numbers that go with the gradient (sum of losses, number of tokens) are best appended to the vector: they are then
 * summed in the same order; a count is exact up to 2^24. More ranks than leaves work: some then have none. */
#ifndef DTX_REDUCE_H
#define DTX_REDUCE_H

#include "mpi/par/par.h"

typedef struct dtx_reduce dtx_reduce;

/* Collective. strict: nothing of size n_floats is allocated before the first leaf. fast, all ranks on one node: their vectors
 * stand in shared memory where there is room for it, and each rank sums a slice. */
dtx_status dtx_reduce_new(const dtx_par *par, int64_t n_floats, int64_t n_leaves, bool strict, dtx_reduce **out);
void dtx_reduce_del(dtx_reduce *r);
/* Local. This rank's leaves; count may be 0. */
void dtx_reduce_leaves(const dtx_reduce *r, int64_t *first, int64_t *count);
/* Local. *grad (n_floats) holds zeros, or (fast) the sum of this rank's leaves so far: only add to it. It belongs to r. */
dtx_status dtx_reduce_begin(dtx_reduce *r, float **grad);
/* Local. The leaf is complete. */
void dtx_reduce_commit(dtx_reduce *r);
/* Collective. sum (n_floats) on every rank. When not all leaves were committed (a stop, an error on some rank), the caller
 * agrees on that first and calls dtx_reduce_cancel instead. */
dtx_status dtx_reduce_finish(dtx_reduce *r, float *sum);
/* Local. Forgets the leaves of this step. */
void dtx_reduce_cancel(dtx_reduce *r);
/* fast only. Overlaps the sum with the backward pass: the n ranges (first, count; together all numbers, each once) become
 * final in this order while a rank works on its last leaf, and a helper thread with a communicator of its own sums each
 * over the ranks as soon as it is. Collective; the same ranges on all ranks. From then on dtx_reduce_cancel is collective. */
typedef struct {
    int64_t first, count;
} dtx_reduce_range;
dtx_status dtx_reduce_overlap(dtx_reduce *r, const dtx_reduce_range *ranges, int n);
/* Local, on a rank's last leaf of the step: its first k ranges are final. dtx_reduce_finish says the rest. Does nothing
 * without dtx_reduce_overlap. */
void dtx_reduce_ready(dtx_reduce *r, int k);
/* Seconds spent in communication, waiting for other ranks included. */
double dtx_reduce_seconds(const dtx_reduce *r);

#endif
