/* streams.h - the process's standard streams. Once, at the start of the program, before anything opens a file. */
#ifndef DTX_STREAMS_H
#define DTX_STREAMS_H

#include "src/base/status.h"

/* Descriptors 0 to 2 that are closed get /dev/null, or the next file opened would take their place: messages and results would
 * go into it. Reading then finds the end; writing to standard output fails; standard error takes everything.
 * stdout becomes a stream that passes on printable text, lines and tabs alone (printable.h): what jobs print comes from files,
 * and whatever they print, no control character reaches a terminal. Inside JSON the escapes mean the same characters. */
void dtx_streams_start(void);

/* Results must have arrived: DTX_ERR_MISSING with the system's reason when something was not written (a full disk, a closed
 * stream). When nobody reads any more (a pipe into `head`), DTX_ERR_MISSING too, and *nobody is true. */
dtx_status dtx_streams_flush(int *nobody);

#endif
