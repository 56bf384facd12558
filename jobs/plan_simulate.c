/* plan_simulate.c - plan --simulate N: the units of attribution handed out over N ranks as mpi/queue.h does, costliest first. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/plan.h"
#include "src/mem.h"

static const double LATENCY = 1e-3; /* of a ticket that was not fetched ahead: the longest pause of rank 0's helper */

static int down(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? 1 : x > y ? -1 : 0;
}

dtx_status dtx_plan_simulate(const dtx_plan *p, int64_t ranks, double *span, double *efficiency)
{
    const int64_t samples = p->c->generate.samples, units = p->n * samples;
    const bool ig = strcmp(p->c->attribute.method, "integrated_gradients") == 0;
    double *cost = NULL, *free_at = NULL, *ahead = NULL, all = 0, end = 0;
    int64_t next = 0;
    dtx_status st;

    DTX_GO(DTX_NEW(cost, units));
    DTX_GO(DTX_NEW(free_at, ranks));
    DTX_GO(DTX_NEW(ahead, ranks));
    for (int64_t i = 0; i < units; i++) {
        const int64_t text = i / samples;
        const dtx_plan_work w = dtx_plan_of(dtx_cost_attribution(&p->arch, NULL, p->len[text], dtx_plan_answer(p, text),
                                                                 ig ? p->c->attribute.steps : 1));
        cost[i] = dtx_plan_seconds(p, &w, p->ranks);
        all += cost[i];
    }
    qsort(cost, (size_t)units, sizeof *cost, down);
    for (int64_t left = units; left > 0;) {
        int64_t r = 0;
        for (int64_t k = 1; k < ranks; k++) {
            r = free_at[k] < free_at[r] ? k : r;
        }
        double unit = ahead[r], wait = 0;
        if (unit <= 0 && next < units) {
            unit = cost[next++];
            wait = LATENCY;
        }
        if (unit <= 0) { /* nothing left for this rank */
            free_at[r] = 1e300;
            continue;
        }
        ahead[r] = units - next > ranks ? cost[next++] : 0;
        free_at[r] += wait + unit;
        end = free_at[r] > end ? free_at[r] : end;
        left--;
    }
    *span = end;
    *efficiency = end > 0 ? all / ((double)ranks * end) : 1;
done:
    dtx_free(cost);
    dtx_free(free_at);
    dtx_free(ahead);
    return st;
}
