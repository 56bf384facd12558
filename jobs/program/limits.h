/* limits.h - a limit on address space (ulimit -v, which some schedulers set from the memory asked for). OpenBLAS takes 128 MiB
 * for each CPU of the node before main() begins, asks again for ever when they are not there, and does the same in each thread
 * that calls it. limits.c also holds what runs before OpenBLAS does. */
#ifndef DTX_LIMITS_H
#define DTX_LIMITS_H

#include <stdbool.h>

#include "src/base/status.h"

/* Before the first thread is made, and the first call of OpenBLAS: DTX_ERR_MISSING when the limit leaves too little for the
 * stacks of so many threads, and where `blas` for OpenBLAS in each of them. */
dtx_status dtx_limits_check(int threads, bool blas);

#endif
