/* simulate.c - units of rows handed out over ranks as mpi/par/queue.h does: in rounds, with a ticket fetched ahead. */
#include <math.h>
#include <stdio.h>

#include "jobs/plan/plan.h"
#include "mpi/par/queue.h"
#include "src/base/mem.h"

/* Where nothing was measured: the longest pause of rank 0's helper; a write of some hundred rows. */
static const double ASSUMED_LATENCY = 1e-3, ASSUMED_ROUND = 0.02;
enum { PINGS = 8 };

dtx_status dtx_plan_find_latency(dtx_plan *p)
{
    const dtx_par *par = &p->job->par;

    if (p->latency > 0) { /* the file of rates told */
        return DTX_OK;
    }
    p->round_cost = ASSUMED_ROUND;
    if (p->job->def->parallel && par->size > 1) {
        DTX_TRY(dtx_queue_latency(par, PINGS, &p->latency));
        snprintf(p->latency_text, sizeof p->latency_text, "hand-out measured here between %d ranks: %.3f ms; a round of writes is taken for "
                 "%.0f ms", par->size, 1e3 * p->latency, 1e3 * p->round_cost);
        return DTX_OK;
    }
    p->latency = ASSUMED_LATENCY;
    snprintf(p->latency_text, sizeof p->latency_text, "assumed: %.0f ms for a hand-out, %.0f ms for a round of writes (mpirun -n 2 measures the "
             "first)", 1e3 * p->latency, 1e3 * p->round_cost);
    return DTX_OK;
}

enum { NO_UNIT = -1 };

typedef struct {
    const dtx_plan *p;
    const double *unit;
    int64_t n, next, left, ranks;
    double limit;    /* of this round, seconds */
    double *free_at; /* (ranks) when it is free; `never`: it waits for the end of the round */
    int64_t *ahead;  /* (ranks) the unit that it has a ticket for, or NO_UNIT */
    int64_t *taken;  /* (ranks) units of this round */
} hand_out;

/* One round from `begun` on: every rank takes units until its length has passed, at least one. A unit may cost nothing: it is
 * its ticket that counts. Returns the round's end. */
static double play_round(hand_out *h, double begun)
{
    const double never = INFINITY, least = h->p->c->round_seconds;
    double end = begun, worked = 0;

    for (int64_t r = 0; r < h->ranks; r++) {
        h->free_at[r] = begun;
        h->taken[r] = 0;
    }
    for (;;) {
        int64_t r = 0;
        for (int64_t k = 1; k < h->ranks; k++) {
            r = h->free_at[k] < h->free_at[r] ? k : r;
        }
        if (isinf(h->free_at[r])) {
            break;
        }
        int64_t unit = NO_UNIT;
        double wait = 0;
        if (h->taken[r] == 0 || !dtx_queue_round_over(h->free_at[r] - begun, h->limit, least, h->taken[r])) {
            unit = h->ahead[r];
            h->ahead[r] = NO_UNIT;
            if (unit == NO_UNIT && h->next < h->n) {
                unit = h->next++;
                wait = r > 0 ? h->p->latency : 0;
            }
        }
        if (unit == NO_UNIT) {
            worked += h->free_at[r] - begun;
            h->free_at[r] = never;
            continue;
        }
        if (r > 0 && h->n - h->next > h->ranks) {
            h->ahead[r] = h->next++;
        }
        h->free_at[r] += wait + h->unit[unit];
        h->taken[r]++;
        end = h->free_at[r] > end ? h->free_at[r] : end;
        h->left--;
    }
    const double all = (end - begun) * (double)h->ranks;
    h->limit = dtx_queue_round_after(h->limit, least, all > 0 ? 1 - worked / all : 0);
    return end;
}

dtx_status dtx_plan_hand_out(const dtx_plan *p, const double *unit, int64_t n, int64_t ranks, double *span, double *efficiency)
{
    hand_out h = {.p = p, .unit = unit, .n = n, .left = n, .ranks = ranks, .limit = p->c->round_seconds};
    double all = 0, end = 0;
    dtx_status st = DTX_OK;

    for (int64_t i = 0; i < n; i++) {
        all += unit[i] >= 0 ? unit[i] : NAN;
    }
    *span = NAN;
    *efficiency = 1;
    if (!isfinite(all + (double)n * p->latency + p->round_cost)) { /* speeds that are not known: neither is the time */
        return DTX_OK;
    }
    DTX_GO(DTX_NEW(h.free_at, ranks));
    DTX_GO(DTX_NEW(h.ahead, ranks));
    DTX_GO(DTX_NEW(h.taken, ranks));
    for (int64_t r = 0; r < ranks; r++) {
        h.ahead[r] = NO_UNIT;
    }
    while (h.left > 0) {
        end = play_round(&h, end) + p->round_cost;
    }
    *span = end;
    *efficiency = end > 0 ? all / ((double)ranks * end) : 1;
done:
    dtx_free(h.free_at);
    dtx_free(h.ahead);
    dtx_free(h.taken);
    return st;
}
