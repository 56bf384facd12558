/* Every unit is handed out exactly once, whatever the ranks, rounds, stops and failures. */
#include "tests/mpi/par/check.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mpi/par/queue.h"
#include "src/base/mem.h"

static void work(int64_t microseconds)
{
    usleep((useconds_t)microseconds);
}

/* Runs to the end; returns the rounds. All units must have been done once. */
static int run_all(const dtx_par *par, int64_t n, double round_seconds, int64_t microseconds)
{
    dtx_queue *q = NULL;
    int64_t unit, *seen = NULL, *all = NULL;
    bool more = true, stopped = true;
    int rounds = 0;

    CHECK(par, DTX_NEW(seen, n) == DTX_OK && DTX_NEW(all, n) == DTX_OK);
    CHECK(par, dtx_queue_new(par, n, round_seconds, &q) == DTX_OK);
    while (more) {
        CHECK(par, dtx_queue_begin_round(q) == DTX_OK);
        while (dtx_queue_next(q, &unit)) {
            CHECK(par, unit >= 0 && unit < n);
            seen[unit]++;
            work(microseconds);
        }
        CHECK(par, dtx_queue_end_round(q, DTX_OK, &more, &stopped) == DTX_OK && !stopped);
        rounds++;
    }
    dtx_queue_del(q);
    MPI_Allreduce(seen, all, (int)n, MPI_INT64_T, MPI_SUM, par->comm);
    for (int64_t i = 0; i < n; i++) {
        CHECK(par, all[i] == 1);
    }
    dtx_free(seen);
    dtx_free(all);
    return rounds;
}

/* Rank `who` asks for a stop in its second unit and gives that one back. */
static void stop(const dtx_par *par, int who)
{
    dtx_queue *q = NULL;
    int64_t unit, done = 0, began = 0, all = 0;
    bool more = true, stopped = false;
    enum { N = 1000 };

    CHECK(par, dtx_queue_new(par, N, 0, &q) == DTX_OK);
    CHECK(par, dtx_queue_begin_round(q) == DTX_OK);
    while (dtx_queue_next(q, &unit)) {
        began++;
        if (par->rank == who && began == 2) {
            dtx_queue_request_stop(q);
            dtx_queue_give_back(q, unit);
        } else {
            work(1000);
            done++;
        }
    }
    CHECK(par, par->rank != who || began == 2);
    CHECK(par, dtx_queue_end_round(q, DTX_OK, &more, &stopped) == DTX_OK);
    CHECK(par, !more && stopped);
    MPI_Allreduce(&done, &all, 1, MPI_INT64_T, MPI_SUM, par->comm);
    CHECK(par, all < N / 2);
    dtx_queue_del(q);
}

/* A stop that comes when everything is done changes nothing. */
static void late_stop(const dtx_par *par)
{
    dtx_queue *q = NULL;
    int64_t unit;
    bool more = true, stopped = true;

    CHECK(par, dtx_queue_new(par, 3, 0, &q) == DTX_OK);
    CHECK(par, dtx_queue_begin_round(q) == DTX_OK);
    while (dtx_queue_next(q, &unit)) {
    }
    dtx_queue_request_stop(q);
    CHECK(par, dtx_queue_end_round(q, DTX_OK, &more, &stopped) == DTX_OK);
    CHECK(par, !more && !stopped);
    dtx_queue_del(q);
}

/* One rank fails at once: the others end their round long before the units are used up. */
static void failure(const dtx_par *par)
{
    dtx_queue *q = NULL;
    int64_t unit, done = 0;
    bool more = true, stopped = true;
    dtx_status st = DTX_OK;
    int last = par->size - 1;

    CHECK(par, dtx_queue_new(par, 100000, 0, &q) == DTX_OK);
    CHECK(par, dtx_queue_begin_round(q) == DTX_OK);
    while (st == DTX_OK && dtx_queue_next(q, &unit)) {
        work(1000);
        done++;
        st = par->rank == last ? DTX_FAIL(DTX_ERR_NUMERIC, "NaN in a unit") : DTX_OK;
    }
    CHECK(par, dtx_queue_end_round(q, st, &more, &stopped) == DTX_ERR_NUMERIC);
    CHECK(par, strstr(dtx_error_text(), "NaN in a unit") != NULL && !more && !stopped && done < 50000);
    dtx_queue_del(q);
}

/* Rank 0 computes without a message for 0.3 s at a time; the others must not wait for that. */
static void busy_rank0(const dtx_par *par)
{
    dtx_queue *q = NULL;
    int64_t unit, done = 0;
    bool more, stopped;

    CHECK(par, dtx_queue_new(par, 400, 0, &q) == DTX_OK);
    CHECK(par, dtx_queue_begin_round(q) == DTX_OK);
    while (dtx_queue_next(q, &unit)) {
        work(par->rank == 0 ? 300000 : 1000);
        done++;
    }
    CHECK(par, dtx_queue_end_round(q, DTX_OK, &more, &stopped) == DTX_OK && !more);
    /* had they waited, every rank would have done as many as rank 0 (no clock: the machine may be busy) */
    CHECK(par, par->rank != 0 || done < 400 / (2 * par->size));
    dtx_queue_del(q);
}

/* 30 s asked for: a rank leaves a round after them when it has had 8 units, after 600 s in any case; rounds grow where ranks wait. */
static void round_lengths(const dtx_par *par)
{
    CHECK(par, !dtx_queue_round_over(29, 30, 30, 100) && dtx_queue_round_over(31, 30, 30, 8));
    CHECK(par, !dtx_queue_round_over(599, 30, 30, 7) && dtx_queue_round_over(601, 30, 30, 1));
    CHECK(par, dtx_queue_round_after(30, 30, 0.03) == 60 && dtx_queue_round_after(400, 30, 0.5) == 600);
    CHECK(par, dtx_queue_round_after(60, 30, 0.01) == 60 && dtx_queue_round_after(60, 30, 0.001) == 30);
    CHECK(par, dtx_queue_round_after(30, 30, 0) == 30);
}

/* The figure is a time: that it is one, the same everywhere, and below what a ping lasts at most. */
static void latency(const dtx_par *par)
{
    double mine = -1, least, most;

    CHECK(par, dtx_queue_latency(par, 3, &mine) == DTX_OK);
    MPI_Allreduce(&mine, &least, 1, MPI_DOUBLE, MPI_MIN, par->comm);
    MPI_Allreduce(&mine, &most, 1, MPI_DOUBLE, MPI_MAX, par->comm);
    CHECK(par, mine > 0 && least == most && mine < 60);
}

int main(int argc, char **argv)
{
    dtx_par par;

    if (dtx_par_init(&argc, &argv, &par) != DTX_OK) {
        fprintf(stderr, "%s\n", dtx_error_text());
        return 1;
    }
    dtx_queue_del(NULL);
    CHECK(&par, run_all(&par, 0, 1, 0) == 1);
    CHECK(&par, run_all(&par, 1, 0, 10) == 1);
    CHECK(&par, run_all(&par, par.size, 0, 1000) == 1);
    CHECK(&par, run_all(&par, 2000, 0, 0) == 1);
    CHECK(&par, run_all(&par, 300, 0.01, 1000) > 1);
    CHECK(&par, run_all(&par, 20, 1e-9, 0) >= 1); /* a round of no time still moves on or ends */
    stop(&par, 0);
    stop(&par, par.size - 1);
    late_stop(&par);
    failure(&par);
    round_lengths(&par);
    if (par.size > 1) {
        latency(&par);
        busy_rank0(&par);
    }
    CHECK(&par, dtx_mem_used() == 0);
    dtx_par_finalize(&par);
    return 0;
}
