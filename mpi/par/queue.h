/* queue.h - hand-out of work units by rank 0: request and answer messages on a communicator of
 * its own, served by a helper thread on rank 0, one ticket fetched ahead so that nobody waits for it. Units are handed
 * out in the order given (longest first is the caller's business). Work runs in rounds: a round ends when the units are
 * used up, when about `round_seconds` have passed, or when a stop was asked for; then every rank leaves its loop and can enter
 * a collective write. Which rank gets which unit varies; results must not depend on it.
 *
 *     dtx_queue_new(par, n_units, round_seconds, &q);
 *     do {
 *         dtx_queue_begin_round(q);                                 collective
 *         while (dtx_queue_next(q, &unit)) { work on unit }         local
 *         dtx_queue_end_round(q, local_status, &more, &stopped);    collective: agree, and tell if units are left
 *         collective write of what this rank has
 *     } while (more); */
#ifndef DTX_QUEUE_H
#define DTX_QUEUE_H

#include "mpi/par/par.h"

typedef struct dtx_queue dtx_queue;

/* Collective. The communicator and the helper thread live until dtx_queue_del. n_units may be 0; round_seconds <= 0: no
 * limit of time. Where units are long, and ranks would have to wait for each other at the ends of rounds, rounds
 * are longer (dtx_queue_round_over, dtx_queue_round_after). */
dtx_status dtx_queue_new(const dtx_par *par, int64_t n_units, double round_seconds, dtx_queue **out);
/* Collective. */
dtx_status dtx_queue_begin_round(dtx_queue *q);
/* Local. The next unit of this round; false when the round is over for this rank: no units, time, or a stop. A ticket
 * that was fetched ahead and not begun is this rank's first one in the next round. A failed message is reported by the next
 * dtx_queue_end_round. */
bool dtx_queue_next(dtx_queue *q, int64_t *unit);
/* Local. Says that a unit was begun but not finished (a stop in its middle): it counts as left. Only after a stop. */
void dtx_queue_give_back(dtx_queue *q, int64_t unit);
/* Local, any thread or signal handler. Ends the rounds: this rank gets no more units at once, the others none after the
 * one they may have fetched ahead. */
void dtx_queue_request_stop(dtx_queue *q);
/* Collective. Agrees on the statuses (a failure ends the round of the others as a stop does). The same on all ranks:
 * *more: units are left and nobody asked for a stop; *stopped: units are left and somebody did. Both false: all is done. */
dtx_status dtx_queue_end_round(dtx_queue *q, dtx_status mine, bool *more, bool *stopped);
/* Collective. NULL is fine. */
void dtx_queue_del(dtx_queue *q);
/* Pure. A round of `limit` seconds is over for a rank that has had so many units in so many seconds: it lasts longer than that
 * until there were 8 of them, but not longer than 20 times `least`, the round_seconds asked for. */
bool dtx_queue_round_over(double seconds, double limit, double least, int64_t units);
/* Pure. The next limit, after a round in which the ranks spent the share `uneven` of their time waiting for the slowest: twice as
 * long above 2 %, at most 20 times `least`; half as long below 0.5 %, at least `least`. */
double dtx_queue_round_after(double limit, double least, double uneven);
/* Seconds this rank spent waiting for tickets so far. */
double dtx_queue_waited(const dtx_queue *q);
/* Collective, at least 2 ranks. Seconds that a rank waits for a unit that it has no ticket for, while rank 0 computes: the mean
 * over `pings` rounds and all ranks but rank 0. The same on all ranks. */
dtx_status dtx_queue_latency(const dtx_par *par, int pings, double *seconds);

#endif
