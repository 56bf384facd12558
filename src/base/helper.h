/* helper.h - a process beside this one that starts others for it. A process that uses MPI must not fork: many interconnects lose
 * pinned memory by it. So the helper is forked while this process is still alone; it waits at a socket, forks and waits for what
 * it is asked to run, and ends with this process. Local; one thread at a time. */
#ifndef DTX_HELPER_H
#define DTX_HELPER_H

#include <stddef.h>

#include "src/base/status.h"

/* Starts it unless it is there. Whoever opens files or starts MPI calls this first: what is open by then the helper closes. */
dtx_status dtx_helper_start(void);
/* From now on this process must not fork: a helper that is not there yet is not started any more. */
void dtx_helper_no_more(void);
/* Ends it. */
void dtx_helper_stop(void);

/* What came of a run. */
typedef struct {
    int code;          /* exit code; -1 when a signal ended it */
    int signal;
    char said[1024];   /* the end of what it wrote to standard error */
} dtx_helper_result;

/* Runs a program, found on the PATH, in the folder `dir` and waits for it. argv ends with NULL, at most 15 words. Code 127: there is
 * no such program. DTX_ERR_MISSING when it cannot be run at all. */
dtx_status dtx_helper_run(const char *dir, const char *const *argv, dtx_helper_result *out);
/* Runs `work(text)`, a function of this program that knows nothing of what happened here since the helper was started, in a process
 * of its own: it may crash, or not come to an end within so many seconds (signal SIGALRM). Its value is the code. */
dtx_status dtx_helper_call(int (*work)(const char *text), const char *text, unsigned seconds, dtx_helper_result *out);

#endif
