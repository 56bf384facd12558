/* queue.h - hand-out of work units by rank 0 (design.md section 6): request and answer messages on a communicator of
 * its own, served by a helper thread on rank 0, one ticket fetched ahead so that nobody waits for it. Units are handed
 * out in the order given (longest first is the caller's business). Work runs in rounds: a round ends when the units are
 * used up, when `round_seconds` have passed, or when a stop was asked for; then every rank leaves its loop and can enter
 * a collective write. Which rank gets which unit varies; results must not depend on it.
 *
 *     dtx_queue_new(par, n_units, round_seconds, &q);
 *     do {
 *         dtx_queue_begin_round(q);                                 collective
 *         while (dtx_queue_next(q, &unit)) { work on unit }         local
 *         dtx_queue_end_round(q, local_status, stop, &more);        collective: agree, and tell if units are left
 *         collective write of what this rank has
 *     } while (more); */
#ifndef DTX_QUEUE_H
#define DTX_QUEUE_H

#include "mpi/par.h"

typedef struct dtx_queue dtx_queue;

/* Collective. The communicator and the helper thread live until dtx_queue_del. n_units may be 0. */
dtx_status dtx_queue_new(const dtx_par *par, int64_t n_units, double round_seconds, dtx_queue **out);
/* Collective. */
dtx_status dtx_queue_begin_round(dtx_queue *q);
/* Local. The next unit of this round; false when the round is over for this rank. A failed message is reported by the
 * next dtx_queue_end_round. */
bool dtx_queue_next(dtx_queue *q, int64_t *unit);
/* Local. Gives a unit back that was begun but not finished (a stop in its middle); only with stop = true. */
void dtx_queue_give_back(dtx_queue *q, int64_t unit);
/* Local, any thread. Asks rank 0 to hand out nothing more; sent with this rank's next message. */
void dtx_queue_request_stop(dtx_queue *q);
/* Collective. Agrees on the statuses; *more is the same on all ranks: units are left and nobody asked for a stop.
 * *stopped: somebody did. */
dtx_status dtx_queue_end_round(dtx_queue *q, dtx_status mine, bool *more, bool *stopped);
/* Collective. NULL is fine. */
void dtx_queue_del(dtx_queue *q);
/* Seconds this rank spent waiting for tickets so far. */
double dtx_queue_waited(const dtx_queue *q);

#endif
