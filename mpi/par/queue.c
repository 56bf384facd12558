#include "mpi/par/queue.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "src/base/mem.h"

enum { TAG_ASK = 1, TAG_ANSWER = 2 };
/* What a rank says to rank 0. AHEAD fetches a ticket while another unit is worked on; near the end of the list it is put
 * off, so that the last units go to ranks that are idle. STOP is not answered. */
enum { ASK_AHEAD, ASK_NOW, SAY_STOP };
enum { ANSWER_NONE = -1, ANSWER_LATER = -2, NO_TICKET = -1 };
/* The helper looks for messages this often; the pause grows while there are none. */
enum { PAUSE_MIN_US = 100, PAUSE_MAX_US = 1000, PAUSE_OVERSUBSCRIBED_US = 2000, WAIT_PAUSE_US = 50, WAIT_SPINS = 50 };

/* A round lasts until a rank has had so many units, and at most so many times round_seconds. */
enum { UNITS_A_ROUND = 8, LONGEST = 20 };

struct dtx_queue {
    const dtx_par *par;
    MPI_Comm comm;
    double round_seconds, limit; /* as asked for; of this round */
    double round_begun, waited;
    int64_t taken;    /* units of this round: one is given whatever the time, so that every round moves on */
    atomic_bool stop; /* asked for on this rank; on rank 0: on any rank */
    int64_t given_back;

    /* a rank's own ticket, ranks > 0 */
    bool pending;           /* asked, answer not yet received */
    bool over;              /* rank 0 has nothing more */
    bool stop_told;
    int64_t ticket, answer; /* fetched ahead; buffer of the receive */
    MPI_Request receive;
    int64_t stops_sent;
    dtx_status failed;      /* of a message, reported by the next end_round */
    char failed_text[512];

    /* rank 0 */
    pthread_mutex_t mutex; /* guards next, open, quit */
    pthread_cond_t wake;
    int64_t n_units, next;
    bool open, quit, have_helper;
    atomic_llong stops_received;
    pthread_t helper;
};

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* --- rank 0 --- */

static int64_t take(dtx_queue *q, bool ahead)
{
    int64_t unit = ANSWER_NONE;

    pthread_mutex_lock(&q->mutex);
    if (!atomic_load(&q->stop) && q->next < q->n_units) {
        unit = ahead && q->n_units - q->next <= q->par->size ? ANSWER_LATER : q->next++;
    }
    pthread_mutex_unlock(&q->mutex);
    return unit;
}

/* A message that cannot be received or answered leaves a rank waiting for ever: the end for all. */
static void must(const dtx_queue *q, dtx_status st)
{
    if (st != DTX_OK) {
        dtx_par_abort(q->par, st, dtx_error_text());
    }
}

/* Serves one message; false when there was none. */
static bool serve(dtx_queue *q)
{
    int there = 0;
    MPI_Status from;
    int64_t ask = 0, answer;

    must(q, DTX_MPI(MPI_Iprobe(MPI_ANY_SOURCE, TAG_ASK, q->comm, &there, &from)));
    if (!there) {
        return false;
    }
    must(q, DTX_MPI(MPI_Recv(&ask, 1, MPI_INT64_T, from.MPI_SOURCE, TAG_ASK, q->comm, MPI_STATUS_IGNORE)));
    if (ask == SAY_STOP) {
        atomic_store(&q->stop, true);
        atomic_fetch_add(&q->stops_received, 1);
        return true;
    }
    answer = take(q, ask == ASK_AHEAD);
    must(q, DTX_MPI(MPI_Send(&answer, 1, MPI_INT64_T, from.MPI_SOURCE, TAG_ANSWER, q->comm)));
    return true;
}

static void *help(void *arg)
{
    dtx_queue *q = arg;
    int pause = PAUSE_MIN_US;
    const int longest = q->par->oversubscribed ? PAUSE_OVERSUBSCRIBED_US : PAUSE_MAX_US;

    for (;;) {
        pthread_mutex_lock(&q->mutex);
        while (!q->open && !q->quit) { /* between rounds nobody asks, and the core belongs to others */
            pthread_cond_wait(&q->wake, &q->mutex);
            pause = PAUSE_MIN_US;
        }
        bool quit = q->quit;
        pthread_mutex_unlock(&q->mutex);
        if (quit) {
            return NULL;
        }
        if (serve(q)) {
            pause = PAUSE_MIN_US;
        } else {
            usleep((useconds_t)pause);
            pause = pause + pause / 8 < longest ? pause + pause / 8 : longest;
        }
    }
}

static void set_open(dtx_queue *q, bool open, bool quit)
{
    pthread_mutex_lock(&q->mutex);
    q->open = open;
    q->quit = quit;
    pthread_cond_signal(&q->wake);
    pthread_mutex_unlock(&q->mutex);
}

static dtx_status start_helper(dtx_queue *q)
{
    sigset_t all, old;

    /* signals are for the main thread */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int failed = pthread_create(&q->helper, NULL, help, q);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (failed) {
        return DTX_FAIL(DTX_ERR_MISSING, "cannot start a thread: %s", strerror(failed));
    }
    q->have_helper = true;
    return DTX_OK;
}

/* --- the other ranks --- */

/* Failures here are kept for the end of the round, where they can be agreed upon. */
static void keep(dtx_queue *q, dtx_status st)
{
    if (st != DTX_OK && q->failed == DTX_OK) {
        q->failed = st;
        snprintf(q->failed_text, sizeof q->failed_text, "%s", dtx_error_text());
        q->over = true;
    }
}

static void ask(dtx_queue *q, int64_t what)
{
    keep(q, DTX_MPI(MPI_Irecv(&q->answer, 1, MPI_INT64_T, 0, TAG_ANSWER, q->comm, &q->receive)));
    keep(q, DTX_MPI(MPI_Send(&what, 1, MPI_INT64_T, 0, TAG_ASK, q->comm)));
    q->pending = q->failed == DTX_OK;
}

/* Waits for the answer without holding the core that rank 0 may need for giving it. */
static void await(dtx_queue *q)
{
    double begun = now();
    int there = 0;

    for (int spins = 0; q->pending; spins++) {
        keep(q, DTX_MPI(MPI_Test(&q->receive, &there, MPI_STATUS_IGNORE)));
        if (there || q->failed != DTX_OK) {
            q->pending = false;
        } else if (spins >= WAIT_SPINS) {
            usleep(WAIT_PAUSE_US);
        }
    }
    q->waited += now() - begun;
    if (there && q->answer >= 0) {
        q->ticket = q->answer;
    } else if (there && q->answer == ANSWER_NONE) {
        q->over = true;
    }
}

static void tell_stop(dtx_queue *q)
{
    const int64_t what = SAY_STOP;

    if (q->par->rank != 0 && !q->stop_told) {
        q->stop_told = true;
        q->stops_sent++;
        keep(q, DTX_MPI(MPI_Send(&what, 1, MPI_INT64_T, 0, TAG_ASK, q->comm)));
    }
}

bool dtx_queue_next(dtx_queue *q, int64_t *unit)
{
    if (atomic_load(&q->stop)) {
        tell_stop(q);
        return false;
    }
    if (q->over || (q->taken > 0 && q->round_seconds > 0 && dtx_queue_round_over(now() - q->round_begun, q->limit, q->round_seconds, q->taken))) {
        return false;
    }
    q->taken++;
    if (q->par->rank == 0) {
        *unit = take(q, false);
        q->over = *unit < 0;
        return !q->over;
    }
    if (q->pending) {
        await(q);
    }
    if (q->ticket == NO_TICKET && !q->over) { /* the first of the round, or put off */
        ask(q, ASK_NOW);
        await(q);
    }
    if (q->ticket == NO_TICKET) {
        return false;
    }
    *unit = q->ticket;
    q->ticket = NO_TICKET;
    ask(q, ASK_AHEAD);
    return true;
}

/* --- all --- */

dtx_status dtx_queue_new(const dtx_par *par, int64_t n_units, double round_seconds, dtx_queue **out)
{
    dtx_queue *q = NULL;
    dtx_status st = dtx_par_agree(par, DTX_NEW(q, 1));

    if (st != DTX_OK) {
        dtx_free(q);
        return st;
    }
    q->par = par;
    q->comm = MPI_COMM_NULL;
    q->n_units = n_units;
    q->round_seconds = q->limit = round_seconds;
    q->ticket = NO_TICKET;
    pthread_mutex_init(&q->mutex, NULL);
    pthread_cond_init(&q->wake, NULL);
    if (par->size > 1) {
        DTX_GO(dtx_par_agree(par, DTX_MPI(MPI_Comm_dup(par->comm, &q->comm))));
        MPI_Comm_set_errhandler(q->comm, MPI_ERRORS_RETURN);
        DTX_GO(DTX_ROOT(par, start_helper(q)));
    }
done:
    if (st != DTX_OK) {
        dtx_queue_del(q);
        return st;
    }
    *out = q;
    return DTX_OK;
}

dtx_status dtx_queue_begin_round(dtx_queue *q)
{
    q->over = false;
    q->taken = 0;
    set_open(q, true, false);
    if (q->par->size > 1) {
        DTX_TRY(dtx_par_agree(q->par, DTX_MPI(MPI_Barrier(q->par->comm))));
    }
    q->round_begun = now();
    return DTX_OK;
}

void dtx_queue_give_back(dtx_queue *q, int64_t unit)
{
    (void)unit; /* nobody takes it up in this launch; it counts as left */
    q->given_back++;
}

void dtx_queue_request_stop(dtx_queue *q)
{
    atomic_store(&q->stop, true);
}

bool dtx_queue_round_over(double seconds, double limit, double least, int64_t units)
{
    return seconds >= limit && (units >= UNITS_A_ROUND || seconds >= LONGEST * least);
}

double dtx_queue_round_after(double limit, double least, double uneven)
{
    const double longer = fmin(2 * limit, LONGEST * least), shorter = fmax(limit / 2, least);

    return uneven > 0.02 ? longer : uneven < 0.005 ? shorter : limit;
}

dtx_status dtx_queue_end_round(dtx_queue *q, dtx_status mine, bool *more, bool *stopped)
{
    const dtx_par *par = q->par;
    const double worked = now() - q->round_begun;
    int64_t in[4], all[4], longest; /* units left, stops asked for, stop messages sent, microseconds of this round */

    *more = *stopped = false;
    if (mine == DTX_OK && q->failed != DTX_OK) {
        dtx_error_set(q->failed_text);
        mine = q->failed;
    }
    if (atomic_load(&q->stop) || mine != DTX_OK) { /* after a failure, too, the others need not go on */
        char text[1024];
        snprintf(text, sizeof text, "%s", dtx_error_text());
        atomic_store(&q->stop, true);
        tell_stop(q);
        dtx_error_set(text);
    }
    if (q->pending) {
        await(q); /* a ticket that came too late is this rank's first one of the next round */
    }
    in[0] = q->given_back + (q->ticket != NO_TICKET);
    in[1] = atomic_load(&q->stop);
    in[2] = q->stops_sent;
    in[3] = longest = (int64_t)(1e6 * worked);
    mine = dtx_par_agree(par, mine);
    if (par->rank == 0) { /* no rank asks any more */
        pthread_mutex_lock(&q->mutex);
        in[0] += q->n_units - q->next;
        pthread_mutex_unlock(&q->mutex);
        in[1] = atomic_load(&q->stop);
    }
    memcpy(all, in, sizeof all);
    if (par->size > 1) {
        must(q, DTX_MPI(MPI_Allreduce(in, all, 4, MPI_INT64_T, MPI_SUM, par->comm)));
        must(q, DTX_MPI(MPI_Allreduce(&in[3], &longest, 1, MPI_INT64_T, MPI_MAX, par->comm)));
        while (par->rank == 0 && atomic_load(&q->stops_received) < all[2]) {
            usleep(WAIT_PAUSE_US); /* the helper still has to take them */
        }
    }
    set_open(q, false, false);
    if (longest > 0) {
        q->limit = dtx_queue_round_after(q->limit, q->round_seconds, 1 - (double)all[3] / ((double)longest * par->size));
    }
    if (mine == DTX_OK) {
        *stopped = all[1] > 0 && all[0] > 0;
        *more = all[1] == 0 && all[0] > 0;
    }
    return mine;
}

void dtx_queue_del(dtx_queue *q)
{
    if (q == NULL) {
        return;
    }
    if (q->have_helper) {
        set_open(q, false, true);
        pthread_join(q->helper, NULL);
    }
    if (q->pending) {
        MPI_Cancel(&q->receive);
        MPI_Request_free(&q->receive);
    }
    if (q->comm != MPI_COMM_NULL) {
        MPI_Comm_free(&q->comm);
    }
    pthread_cond_destroy(&q->wake);
    pthread_mutex_destroy(&q->mutex);
    dtx_free(q);
}

double dtx_queue_waited(const dtx_queue *q)
{
    return q->waited;
}

/* --- its own speed --- */

/* One round of one unit a rank, which nobody has fetched ahead. Rank 0 computes meanwhile, as in a job. */
static dtx_status ping(const dtx_par *par, double *waited)
{
    const double busy = 3e-3;
    dtx_queue *q = NULL;
    int64_t unit;
    bool more, stopped;
    dtx_status st;

    DTX_TRY(dtx_queue_new(par, par->size, 0, &q));
    DTX_GO(dtx_queue_begin_round(q));
    for (const double begun = now(); now() - begun < busy;) {
    }
    if (par->rank > 0) {
        dtx_queue_next(q, &unit);
        *waited += dtx_queue_waited(q);
    }
    for (const double begun = now(); par->rank == 0 && now() - begun < busy;) {
    }
    DTX_GO(dtx_queue_end_round(q, DTX_OK, &more, &stopped));
done:
    dtx_queue_del(q);
    return st;
}

dtx_status dtx_queue_latency(const dtx_par *par, int pings, double *seconds)
{
    double mine = 0, all = 0;

    for (int i = 0; i < pings; i++) {
        DTX_TRY(ping(par, &mine));
    }
    DTX_TRY(DTX_MPI(MPI_Allreduce(&mine, &all, 1, MPI_DOUBLE, MPI_SUM, par->comm)));
    *seconds = all / ((double)pings * (par->size - 1));
    return DTX_OK;
}
