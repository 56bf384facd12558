/* Agreement, broadcast and node layout, on any number of ranks. No cmocka: its reports would come from every rank; a
 * failed check ends all ranks with code 1. */
#include "tests/mpi/par/check.h"

#include <string.h>

#include "src/base/mem.h"

static void agreement(const dtx_par *par)
{
    char want[600];
    int last = par->size - 1;

    CHECK(par, dtx_par_agree(par, DTX_OK) == DTX_OK);

    /* only the last rank fails: its code and text are everybody's */
    dtx_error_clear();
    dtx_status st = par->rank == last ? DTX_FAIL(DTX_ERR_INPUT, "row %d is odd", 17) : DTX_OK;
    CHECK(par, dtx_par_agree(par, st) == DTX_ERR_INPUT);
    if (last == 0) {
        snprintf(want, sizeof want, "row 17 is odd");
        CHECK(par, strcmp(dtx_error_text(), want) == 0);
    } else {
        snprintf(want, sizeof want, "rank %d (%s): row 17 is odd", last, par->host);
        CHECK(par, par->n_nodes > 1 || strcmp(dtx_error_text(), want) == 0);
    }

    /* everybody fails in the same way: the text of rank 0, without a prefix */
    st = DTX_FAIL(DTX_ERR_MISSING, "no file %d", par->rank);
    CHECK(par, dtx_par_agree(par, st) == DTX_ERR_MISSING);
    CHECK(par, strcmp(dtx_error_text(), "no file 0") == 0);

    /* a stop gives way to an error, whatever the ranks; and wins over success */
    st = par->rank == last ? DTX_FAIL(DTX_ERR_CHECK, "differs") : DTX_FAIL(DTX_STOPPED, "stopped");
    CHECK(par, dtx_par_agree(par, st) == DTX_ERR_CHECK);
    st = par->rank == 0 ? DTX_FAIL(DTX_STOPPED, "stopped") : DTX_OK;
    CHECK(par, dtx_par_agree(par, st) == DTX_STOPPED);

    CHECK(par, !dtx_par_any(par, false));
    CHECK(par, dtx_par_any(par, par->rank == last));
}

static void broadcast(const dtx_par *par)
{
    char text[] = "some bytes\0with a NUL";
    void *data = par->rank == 0 ? text : NULL;
    size_t size = par->rank == 0 ? sizeof text : 0;

    CHECK(par, dtx_par_bcast(par, DTX_OK, &data, &size) == DTX_OK);
    CHECK(par, size == sizeof text && memcmp(data, text, size) == 0);
    if (par->rank != 0) {
        dtx_free(data);
    }

    size = 0;
    data = par->rank == 0 ? text : NULL;
    CHECK(par, dtx_par_bcast(par, DTX_OK, &data, &size) == DTX_OK && size == 0);
    if (par->rank != 0) {
        dtx_free(data);
    }

    dtx_error_clear();
    dtx_status st = par->rank == 0 ? DTX_FAIL(DTX_ERR_USAGE, "unknown key 'x'") : DTX_OK;
    CHECK(par, dtx_par_bcast(par, st, &data, &size) == DTX_ERR_USAGE);
    CHECK(par, strcmp(dtx_error_text(), "unknown key 'x'") == 0);

    /* memory that only one rank lacks is an answer on all ranks */
    if (par->size > 1) {
        data = par->rank == 0 ? text : NULL;
        size = sizeof text;
        dtx_mem_fail_at(par->rank == par->size - 1 ? 1 : 0);
        CHECK(par, dtx_par_bcast(par, DTX_OK, &data, &size) == DTX_ERR_MISSING);
        dtx_mem_fail_at(0);
        CHECK(par, strstr(dtx_error_text(), "out of memory") != NULL);
    }
}

static void layout(const dtx_par *par)
{
    int firsts = 0, threads = 0, first = par->node_rank == 0;

    MPI_Allreduce(&first, &firsts, 1, MPI_INT, MPI_SUM, par->comm);
    CHECK(par, firsts == par->n_nodes && par->node_size >= 1 && par->node_rank < par->node_size);
    CHECK(par, par->cpus >= 1 && par->threads >= 1 && par->threads <= par->cpus);
    /* nobody is oversubscribed in silence */
    MPI_Allreduce(&par->threads, &threads, 1, MPI_INT, MPI_SUM, par->node);
    CHECK(par, par->oversubscribed || threads <= par->cpus);
    CHECK(par, par->oversubscribed == (par->node_size > par->cpus));
}

int main(int argc, char **argv)
{
    dtx_par par;

    if (dtx_par_init(&argc, &argv, &par) != DTX_OK) {
        fprintf(stderr, "%s\n", dtx_error_text());
        return 1;
    }
    if (argc > 1 && strcmp(argv[1], "abort") == 0) { /* the code must reach the launcher */
        if (par.rank == par.size - 1) {
            dtx_par_abort(&par, DTX_ERR_NUMERIC, "test of the last resort");
        }
        MPI_Barrier(par.comm);
    }
    agreement(&par);
    broadcast(&par);
    layout(&par);
    CHECK(&par, dtx_mem_used() == 0);
    dtx_par_finalize(&par);
    return 0;
}
