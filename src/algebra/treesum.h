/* treesum.h - sums of vectors in one fixed order: a binary tree over leaves 0 .. S-1 whose shape depends on S alone, so
 * that who holds which leaves does not change a bit of the result. A node of level l covers the leaves k 2^l .. (k+1) 2^l - 1
 * and is its left half plus its right half; where S is no power of two, the complete nodes at the right end are folded from
 * the right: S = 7 gives (0123) + ((45) + 6), with 0123 = (01) + (23).
 *
 * The leaves of one holder are consecutive and arrive in ascending order; what is complete merges at once, so at most about
 * 2 log2(S) vectors are held. mpi/par/reduce.h brings the nodes of several holders together. */
#ifndef DTX_TREESUM_H
#define DTX_TREESUM_H

#include <stdint.h>

#include "src/base/status.h"

enum { DTX_TREE_MAX_NODES = 128 }; /* more than 2 log2 of any leaf count */

typedef struct {
    int64_t first; /* its first leaf */
    int level;     /* it covers 2^level leaves */
    float *x;
} dtx_tree_node;

/* Adds a node to a stack of nodes of ascending leaves and merges siblings (left += right) as long as there are any.
 * A vector that was merged away goes to `freed` (room for DTX_TREE_MAX_NODES, may be NULL) and *n_freed counts up. */
void dtx_tree_push(dtx_tree_node *stack, int *n, dtx_tree_node node, int64_t n_floats, float **freed, int *n_freed);
/* Folds what is left from the right into stack[0]; then *n is 1 (0 when there was nothing). */
void dtx_tree_fold(dtx_tree_node *stack, int *n, int64_t n_floats, float **freed, int *n_freed);
/* The nodes that leaves first .. first + count - 1 merge into (x is NULL). Returns their number. */
int dtx_tree_nodes(int64_t first, int64_t count, dtx_tree_node *out);

typedef struct dtx_treesum dtx_treesum;
dtx_status dtx_treesum_new(int64_t n_floats, dtx_treesum **out);
void dtx_treesum_del(dtx_treesum *t);
/* *x: zeros (n_floats) to fill with the next leaf's values; it belongs to t. */
dtx_status dtx_treesum_begin(dtx_treesum *t, float **x);
/* The vector of the last dtx_treesum_begin is leaf number `leaf`, the one after the leaf before (any for the first one). */
void dtx_treesum_commit(dtx_treesum *t, int64_t leaf);
/* The nodes so far, ascending; valid until the next call on t. */
const dtx_tree_node *dtx_treesum_stack(const dtx_treesum *t, int *n);
/* Folds all into one vector, NULL when no leaf came; valid until the next call on t. */
float *dtx_treesum_fold(dtx_treesum *t);
/* Forgets the leaves, keeps the memory. */
void dtx_treesum_clear(dtx_treesum *t);

#endif
