#include "mpi/par/par.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "mpi/par/session.h"
#include "src/base/helper.h"
#include "src/base/log.h"
#include "src/base/mem.h"

enum { TEXT_SIZE = 4096, BCAST_PIECE = 1 << 28 };

dtx_status dtx_mpi_check(int code, const char *call, const char *file, int line)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int len = 0;

    if (code == MPI_SUCCESS) {
        return DTX_OK;
    }
    MPI_Error_string(code, text, &len);
    return dtx_fail(DTX_ERR_CHECK, file, line, "MPI: %s (in %.100s)", text, call);
}

/* Waiting ranks must give up the core where they share it; Open MPI reads this while it starts. mpirun knows only its own
 * slot count, so the mask of this process is looked at as well. What the user has set stays. */
static void prepare_environment(void)
{
    const char *local = getenv("OMPI_COMM_WORLD_LOCAL_SIZE"); /* mpirun; with srun "4" or "4(x2)" */
    cpu_set_t mask;

    if (local == NULL) {
        local = getenv("SLURM_STEP_TASKS_PER_NODE");
    }
    if (local != NULL && sched_getaffinity(0, sizeof mask, &mask) == 0 && atoi(local) > CPU_COUNT(&mask)) {
        setenv("OMPI_MCA_mpi_yield_when_idle", "1", 0);
    }
    /* a process without mpirun needs no daemon of its own: it starts no others */
    setenv("OMPI_MCA_ess_singleton_isolated", "1", 0);
    if (getenv("OMPI_COMM_WORLD_SIZE") == NULL && getenv("PMIX_RANK") == NULL && getenv("PMI_RANK") == NULL) {
        dtx_session_begin();
    }
}

/* Each CPU of this rank's mask is shared by the ranks of the node that have it in theirs; the shares add up to the
 * threads. Where several ranks have one and the same mask, the remainder goes to the first of them. */
static dtx_status share_cpus(dtx_par *par)
{
    cpu_set_t mine, *all = NULL;
    double share = 0;
    int same = 0, before = 0;
    bool apart = true; /* nobody overlaps with this mask without being equal to it */
    dtx_status st = DTX_OK;

    CPU_ZERO(&mine);
    if (sched_getaffinity(0, sizeof mine, &mine) != 0) { /* more than 1024 CPUs: all that are online, none apart */
        long online = sysconf(_SC_NPROCESSORS_ONLN);
        for (long c = 0; c < online && c < CPU_SETSIZE; c++) {
            CPU_SET((int)c, &mine);
        }
    }
    DTX_GO(dtx_par_agree(par, DTX_NEW(all, par->node_size)));
    DTX_GO(DTX_MPI(MPI_Allgather(&mine, (int)sizeof mine, MPI_BYTE, all, (int)sizeof mine, MPI_BYTE, par->node)));
    par->cpus = CPU_COUNT(&mine);
    for (int c = 0; c < CPU_SETSIZE; c++) {
        int users = 0;
        for (int r = 0; r < par->node_size && CPU_ISSET(c, &mine); r++) {
            users += CPU_ISSET(c, &all[r]) != 0;
        }
        share += users > 0 ? 1.0 / users : 0;
    }
    for (int r = 0; r < par->node_size; r++) {
        cpu_set_t both;
        CPU_AND(&both, &mine, &all[r]);
        if (CPU_EQUAL(&mine, &all[r])) {
            same++;
            before += r < par->node_rank;
        } else if (CPU_COUNT(&both) > 0) {
            apart = false;
        }
    }
    par->threads = (int)(share + 1e-6);
    if (apart && before < par->cpus - same * par->threads) {
        par->threads++;
    }
    par->oversubscribed = share < 1 - 1e-6;
    if (par->threads < 1) {
        par->threads = 1;
    }
done:
    dtx_free(all);
    return st;
}

/* A launcher that is killed while its ranks connect to it leaves them waiting inside MPI_Init for ever (Open MPI 4.1,
 * PMIx 4.2); later ranks notice it by themselves. So a thread looks, while MPI starts, whether the parent is still there. */
typedef struct {
    pid_t parent;
    sem_t over;
    pthread_t thread;
    bool runs;
} launcher_watch;

static void *watch_launcher(void *arg)
{
    launcher_watch *w = arg;
    struct timespec until;

    do {
        if (getppid() != w->parent) {
            _exit(128 + SIGKILL);
        }
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec++;
    } while (sem_timedwait(&w->over, &until) != 0);
    return NULL;
}

static void watch_begin(launcher_watch *w)
{
    sigset_t all, old;

    w->parent = getppid();
    w->runs = false;
    if ((getenv("OMPI_COMM_WORLD_SIZE") == NULL && getenv("PMIX_RANK") == NULL) || sem_init(&w->over, 0, 0) != 0) {
        return;
    }
    sigfillset(&all); /* signals are for the main thread */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    w->runs = pthread_create(&w->thread, NULL, watch_launcher, w) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static void watch_end(launcher_watch *w)
{
    if (w->runs) {
        sem_post(&w->over);
        pthread_join(w->thread, NULL);
        sem_destroy(&w->over);
    }
}

/* Whether this will be rank 0, as far as the launcher says: it looks at files for all. */
static bool first_process(void)
{
    static const char *const names[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = getenv(names[i]);
        if (value != NULL && value[0] != '\0') {
            return atoi(value) == 0;
        }
    }
    return true;
}

dtx_status dtx_par_init(int *argc, char ***argv, dtx_par *par)
{
    launcher_watch watch;
    int provided = 0, first;
    dtx_status st = DTX_OK;

    memset(par, 0, sizeof *par);
    par->size = 1;
    par->comm = par->node = MPI_COMM_NULL;
    prepare_environment();
    if (first_process()) { /* no rank forks any more */
        DTX_TRY(dtx_helper_start());
    }
    dtx_helper_no_more();
    watch_begin(&watch);
    st = DTX_MPI(MPI_Init_thread(argc, argv, MPI_THREAD_MULTIPLE, &provided));
    watch_end(&watch);
    DTX_TRY(st);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN);
    if (gethostname(par->host, sizeof par->host - 1) != 0) {
        snprintf(par->host, sizeof par->host, "unknown");
    }
    DTX_GO(DTX_MPI(MPI_Comm_dup(MPI_COMM_WORLD, &par->comm)));
    DTX_GO(DTX_MPI(MPI_Comm_set_errhandler(par->comm, MPI_ERRORS_RETURN)));
    DTX_GO(DTX_MPI(MPI_Comm_rank(par->comm, &par->rank)));
    DTX_GO(DTX_MPI(MPI_Comm_size(par->comm, &par->size)));
    if (provided < MPI_THREAD_MULTIPLE) {
        st = DTX_FAIL(DTX_ERR_MISSING, "this MPI library gives thread level %d instead of MPI_THREAD_MULTIPLE (%d), which "
                      "the hand-out of work needs; build it with thread support", provided, MPI_THREAD_MULTIPLE);
        goto done;
    }
    DTX_GO(DTX_MPI(MPI_Comm_split_type(par->comm, MPI_COMM_TYPE_SHARED, par->rank, MPI_INFO_NULL, &par->node)));
    DTX_GO(DTX_MPI(MPI_Comm_set_errhandler(par->node, MPI_ERRORS_RETURN)));
    DTX_GO(DTX_MPI(MPI_Comm_rank(par->node, &par->node_rank)));
    DTX_GO(DTX_MPI(MPI_Comm_size(par->node, &par->node_size)));
    first = par->node_rank == 0;
    DTX_GO(DTX_MPI(MPI_Allreduce(&first, &par->n_nodes, 1, MPI_INT, MPI_SUM, par->comm)));
    DTX_GO(share_cpus(par));
done:
    return st;
}

void dtx_par_finalize(dtx_par *par)
{
    int begun = 0, ended = 0;

    MPI_Initialized(&begun);
    MPI_Finalized(&ended);
    if (!begun || ended) {
        return;
    }
    if (par->node != MPI_COMM_NULL) {
        MPI_Comm_free(&par->node);
    }
    if (par->comm != MPI_COMM_NULL) {
        MPI_Comm_free(&par->comm);
    }
    MPI_Finalize();
    dtx_session_end();
}

_Noreturn void dtx_par_abort(const dtx_par *par, dtx_status st, const char *why)
{
    int begun = 0, ended = 0, code = st == DTX_OK ? DTX_ERR_CHECK : (int)st;

    dtx_log(DTX_LOG_ERROR, "mpi", "rank %d of %d on %s ends all ranks with code %d: %s", par->rank, par->size, par->host,
            code, why);
    MPI_Initialized(&begun);
    MPI_Finalized(&ended);
    if (begun && !ended) {
        MPI_Abort(MPI_COMM_WORLD, code);
    }
    _exit(code);
}

/* A failure of the agreement itself leaves nothing to agree with. */
static void must(const dtx_par *par, dtx_status st)
{
    if (st != DTX_OK) {
        dtx_par_abort(par, st, dtx_error_text());
    }
}

/* Makes rank `root`'s status and error text those of every rank. */
static dtx_status spread_error(const dtx_par *par, int root, dtx_status st)
{
    struct {
        int status;
        char text[TEXT_SIZE];
    } m = {.status = (int)st};

    if (par->rank == root) {
        if (root == 0) {
            snprintf(m.text, sizeof m.text, "%s", dtx_error_text());
        } else {
            snprintf(m.text, sizeof m.text, "rank %d (%s): %s", root, par->host, dtx_error_text());
        }
    }
    must(par, DTX_MPI(MPI_Bcast(&m, (int)sizeof m, MPI_BYTE, root, par->comm)));
    dtx_error_set(m.text);
    return (dtx_status)m.status;
}

dtx_status dtx_par_agree(const dtx_par *par, dtx_status mine)
{
    /* MPI_MAXLOC yields the lowest rank among equals */
    struct {
        int weight, rank;
    } in = {mine == DTX_OK ? 0 : mine == DTX_STOPPED ? 1 : 1 + (int)mine, par->rank}, out = {0, 0};

    if (par->size <= 1) {
        return mine;
    }
    must(par, DTX_MPI(MPI_Allreduce(&in, &out, 1, MPI_2INT, MPI_MAXLOC, par->comm)));
    return out.weight == 0 ? DTX_OK : spread_error(par, out.rank, mine);
}

void dtx_par_wait(const dtx_par *par, void *data, size_t size)
{
    const struct timespec nap = {.tv_nsec = 20000000};
    MPI_Request request;
    int there = 0;

    if (par->size <= 1) {
        return;
    }
    must(par, DTX_MPI(MPI_Ibcast(data, (int)size, MPI_BYTE, 0, par->comm, &request)));
    for (;;) {
        must(par, DTX_MPI(MPI_Test(&request, &there, MPI_STATUS_IGNORE)));
        if (there) {
            return;
        }
        nanosleep(&nap, NULL);
    }
}

void dtx_par_tell(const dtx_par *par, void *data, size_t size)
{
    for (size_t at = 0; par->size > 1 && at < size; at += BCAST_PIECE) {
        const size_t n = size - at < BCAST_PIECE ? size - at : BCAST_PIECE;
        must(par, DTX_MPI(MPI_Bcast((char *)data + at, (int)n, MPI_BYTE, 0, par->comm)));
    }
}

dtx_status dtx_par_bcast(const dtx_par *par, dtx_status root_status, void **data, size_t *size)
{
    int64_t head[2] = {0, 0}; /* status, size */

    if (par->size <= 1) {
        return root_status;
    }
    if (par->rank == 0) {
        head[0] = root_status;
        head[1] = root_status == DTX_OK ? (int64_t)*size : 0;
    }
    must(par, DTX_MPI(MPI_Bcast(head, 2, MPI_INT64_T, 0, par->comm)));
    if (head[0] != DTX_OK) {
        return spread_error(par, 0, (dtx_status)head[0]);
    }
    dtx_status st = DTX_OK;
    void *p = par->rank == 0 ? *data : NULL;
    if (par->rank != 0) {
        p = dtx_malloc((size_t)head[1], 1);
        st = dtx_mem_check(p, (size_t)head[1], 1, "a broadcast");
    }
    st = dtx_par_agree(par, st);
    if (st != DTX_OK) {
        if (par->rank != 0) {
            dtx_free(p);
        }
        return st;
    }
    dtx_par_tell(par, p, (size_t)head[1]);
    if (par->rank != 0) {
        *data = p;
        *size = (size_t)head[1];
    }
    return DTX_OK;
}

dtx_status dtx_par_or(const dtx_par *par, void *data, size_t size)
{
    for (size_t at = 0; par->size > 1 && at < size; at += BCAST_PIECE) {
        size_t n = size - at < BCAST_PIECE ? size - at : BCAST_PIECE;
        DTX_TRY(DTX_MPI(MPI_Allreduce(MPI_IN_PLACE, (char *)data + at, (int)n, MPI_BYTE, MPI_BOR, par->comm)));
    }
    return DTX_OK;
}

bool dtx_par_any(const dtx_par *par, bool mine)
{
    int in = mine, out = mine;

    if (par->size > 1) {
        must(par, DTX_MPI(MPI_Allreduce(&in, &out, 1, MPI_INT, MPI_MAX, par->comm)));
    }
    return out != 0;
}
