/* check.h - assertion for tests on several ranks: a failed one names rank and place and ends all ranks with code 1. */
#ifndef DTX_TESTS_CHECK_H
#define DTX_TESTS_CHECK_H

#include <stdio.h>

#include "mpi/par/par.h"

#define CHECK(par, cond)                                                                                   \
    do {                                                                                                   \
        if (!(cond)) {                                                                                     \
            fprintf(stderr, "%s:%d: rank %d of %d: %s is false; last error: %s\n", __FILE__, __LINE__,     \
                    (par)->rank, (par)->size, #cond, dtx_error_text());                                    \
            dtx_par_abort((par), DTX_ERR_CHECK, "test failed");                                            \
        }                                                                                                  \
    } while (0)

#endif
