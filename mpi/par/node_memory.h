/* node_memory.h - memory that the ranks of a node share, for data that would otherwise be copied from rank to rank. */
#ifndef DTX_NODE_MEMORY_H
#define DTX_NODE_MEMORY_H

#include <stddef.h>

#include "mpi/par/par.h"

/* Collective over par->node. *out: `bytes` zeroed bytes that all ranks of the node read and write, NULL on all of them where
 * there is no room (/dev/shm is small in many containers): that is no error, the caller does without. What one rank wrote is
 * seen by another after a barrier. */
dtx_status dtx_node_memory_new(const dtx_par *par, size_t bytes, void **out);
/* Local. NULL is fine. */
void dtx_node_memory_del(void *memory, size_t bytes);

#endif
