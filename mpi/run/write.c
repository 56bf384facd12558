/* Collective values: ragged writes at the datasets' places in the file, flush, whole reads. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mpi/h5/impl.h"
#include "mpi/h5/extent.h"
#include "mpi/h5/schema.h"
#include "mpi/run/run.h"
#include "src/base/mem.h"

enum { PATH_SIZE = 320 };

struct dtx_run_place {
    char path[PATH_SIZE];
    dtx_h5_extent at;
};

typedef struct {
    int64_t start, count; /* rows of the file */
    int64_t at;           /* first row in x, as the caller ordered them */
} segment;

typedef struct {
    int64_t n;          /* segments, ascending, not touching */
    segment *seg;
    const char *x;      /* rows in the order of the segments */
    char *packed;       /* owner of x where the caller's order was another one */
} plan;

static int by_start(const void *a, const void *b)
{
    int64_t x = ((const segment *)a)->start, y = ((const segment *)b)->start;

    return (x > y) - (x < y);
}

/* Sorts the pieces, brings x into their order if it is not, and joins what touches. */
static dtx_status make_plan(const char *path, hsize_t n_rows, size_t row, int64_t n, const int64_t *start,
                            const int64_t *count, const void *x, plan *p)
{
    int64_t rows = 0;
    bool ordered = true;

    DTX_TRY(DTX_NEW(p->seg, n > 0 ? n : 1));
    for (int64_t i = 0; i < n; i++) {
        if (start[i] < 0 || count[i] < 0 || (hsize_t)start[i] > n_rows || (hsize_t)count[i] > n_rows - (hsize_t)start[i]) {
            return DTX_FAIL(DTX_ERR_CHECK, "rows %lld + %lld do not lie in %s, which has %llu", (long long)start[i],
                            (long long)count[i], path, (unsigned long long)n_rows);
        }
        if (count[i] > 0) {
            p->seg[p->n++] = (segment){start[i], count[i], rows};
            ordered = ordered && (p->n < 2 || p->seg[p->n - 2].start < start[i]);
        }
        rows += count[i];
    }
    p->x = x;
    if (!ordered) {
        qsort(p->seg, (size_t)p->n, sizeof *p->seg, by_start);
        p->packed = dtx_malloc((size_t)rows, row);
        DTX_TRY(dtx_mem_check(p->packed, (size_t)rows, row, "rows to write"));
        size_t done = 0;
        for (int64_t i = 0; i < p->n; i++) {
            size_t bytes = (size_t)p->seg[i].count * row;
            memcpy(p->packed + done, (const char *)x + (size_t)p->seg[i].at * row, bytes);
            done += bytes;
        }
        p->x = p->packed;
    }
    int64_t kept = 0;
    for (int64_t i = 0; i < p->n; i++) {
        segment *last = kept > 0 ? &p->seg[kept - 1] : NULL;
        if (last != NULL && last->start + last->count > p->seg[i].start) {
            return DTX_FAIL(DTX_ERR_CHECK, "row %lld of %s is written twice", (long long)p->seg[i].start, path);
        }
        if (last != NULL && last->start + last->count == p->seg[i].start) {
            last->count += p->seg[i].count;
        } else {
            p->seg[kept++] = p->seg[i];
        }
    }
    p->n = kept;
    return DTX_OK;
}

/* --- where datasets stand --- */

static void name_of(const dtx_write *w, char out[PATH_SIZE])
{
    snprintf(out, PATH_SIZE, "%s/%s", w->group, w->name);
}

/* Rank 0. */
static dtx_status locate(const dtx_run *run, int n, const dtx_write *w, struct dtx_run_place *out)
{
    hid_t file = -1;
    dtx_status st = DTX_OK;

    DTX_TRY(dtx_h5_open_known(run->path, &file));
    for (int i = 0; i < n && st == DTX_OK; i++) {
        hid_t dset = -1;
        name_of(&w[i], out[i].path);
        st = dtx_h5_open(file, w[i].group, w[i].name, w[i].rows, w[i].width, &dset, NULL);
        if (st == DTX_OK) {
            st = dtx_h5_locate(dset, out[i].path, &out[i].at);
            H5Dclose(dset);
        }
    }
    st = dtx_h5_device_check(st, run->path);
    dtx_h5_close(file);
    return st;
}

static const dtx_h5_extent *known(const dtx_run *run, const dtx_write *w)
{
    char path[PATH_SIZE];

    name_of(w, path);
    for (int64_t i = 0; i < run->n_places; i++) {
        if (strcmp(run->places[i].path, path) == 0) {
            return &run->places[i].at;
        }
    }
    return NULL;
}

/* Collective. Rank 0 looks all n of them up unless all are known, and tells the others. */
static dtx_status look_up(dtx_run *run, int n, const dtx_write *w)
{
    bool all = true;
    dtx_status st = DTX_OK;

    for (int i = 0; i < n; i++) {
        all = all && known(run, &w[i]) != NULL;
        if (strlen(w[i].group) + strlen(w[i].name) + 2 > PATH_SIZE || w[i].width < 0) {
            st = DTX_FAIL(DTX_ERR_CHECK, "%s/%s is written without saying how wide, or its name is too long", w[i].group, w[i].name);
        }
    }
    if (st != DTX_OK || all) { /* the same on all ranks */
        return st;
    }
    DTX_TRY(dtx_par_agree(run->par, DTX_GROW(run->places, run->cap_places, run->n_places + n)));
    struct dtx_run_place *more = run->places + run->n_places;
    memset(more, 0, (size_t)n * sizeof *more);
    DTX_TRY(DTX_ROOT(run->par, locate(run, n, w, more)));
    dtx_par_tell(run->par, more, (size_t)n * sizeof *more);
    run->n_places += n;
    return DTX_OK;
}

/* --- writing --- */

/* Local. */
static dtx_status write_rows(dtx_run *run, const dtx_h5_extent *at, const dtx_write *w, const plan *p)
{
    const size_t row = (size_t)at->width * H5Tget_size(w->type);
    const char *x = p->x;
    char path[PATH_SIZE];

    name_of(w, path);
    for (int64_t i = 0; i < p->n; i++) {
        DTX_TRY(dtx_h5_extent_write(run->fd, at, path, w->type, p->seg[i].start, p->seg[i].count, x));
        x += (size_t)p->seg[i].count * row;
    }
    return DTX_OK;
}

dtx_status dtx_run_write_all(dtx_run *run, int n, const dtx_write *w)
{
    plan p[DTX_RUN_WRITES] = {{0}};
    dtx_status st;

    if (n > DTX_RUN_WRITES) {
        return DTX_FAIL(DTX_ERR_CHECK, "%d datasets in one write", n);
    }
    DTX_TRY(look_up(run, n, w));
    st = DTX_OK;
    for (int i = 0; i < n && st == DTX_OK; i++) {
        const dtx_h5_extent *at = known(run, &w[i]);
        char path[PATH_SIZE];
        name_of(&w[i], path);
        st = at->width == w[i].width ? DTX_OK : DTX_FAIL(DTX_ERR_INPUT, "%s: %s has %lld values a row, %lld are to be written", run->path, path,
                                                         (long long)at->width, (long long)w[i].width);
        if (st == DTX_OK) {
            st = make_plan(path, (hsize_t)at->rows, (size_t)at->width * H5Tget_size(w[i].type), w[i].n, w[i].start, w[i].count, w[i].x, &p[i]);
        }
    }
    st = dtx_par_agree(run->par, st); /* all write, or none */
    if (st == DTX_OK) {
        run->dirty = true;
        for (int i = 0; i < n && st == DTX_OK; i++) {
            st = write_rows(run, known(run, &w[i]), &w[i], &p[i]);
        }
        st = dtx_par_agree(run->par, st);
    }
    for (int i = 0; i < n; i++) {
        dtx_free(p[i].packed);
        dtx_free(p[i].seg);
    }
    return st;
}

dtx_status dtx_run_write(dtx_run *run, const dtx_write *w)
{
    return dtx_run_write_all(run, 1, w);
}

dtx_status dtx_run_flush(dtx_run *run)
{
    dtx_status st = DTX_OK;

    if (!run->dirty) { /* the same on all ranks */
        return DTX_OK;
    }
    /* the pages are the node's: one of its ranks syncs for all, who have agreed since they wrote */
    if (run->par->node_rank == 0 && fdatasync(run->fd) != 0) {
        st = DTX_FAIL(DTX_ERR_MISSING, "%s: cannot write to disk: %s", run->path, strerror(errno));
    }
    run->dirty = false;
    return dtx_par_agree(run->par, st); /* nobody goes on before all are here */
}

/* --- reading --- */

/* Rank 0. */
static dtx_status take(const dtx_run *run, const char *group, const char *name, hid_t type, int64_t rows, int64_t width, void **x,
                       int64_t shape[2])
{
    hid_t file = -1;

    DTX_TRY(dtx_h5_open_known(run->path, &file));
    dtx_status st = dtx_h5_device_check(dtx_h5_take(file, group, name, type, rows, width, x, shape), run->path);
    dtx_h5_close(file);
    return st;
}

dtx_status dtx_run_read(dtx_run *run, const char *group, const char *name, hid_t type, int64_t rows, int64_t width, void **x,
                        int64_t shape[2])
{
    int64_t found[2] = {0, 0};
    size_t bytes = 0;
    void *data = NULL;
    dtx_status st = DTX_OK;

    DTX_TRY(dtx_run_flush(run));
    if (run->par->rank == 0) {
        st = take(run, group, name, type, rows, width, &data, found);
        bytes = (size_t)found[0] * (size_t)found[1] * H5Tget_size(type);
    }
    st = dtx_par_bcast(run->par, st, &data, &bytes);
    if (st != DTX_OK) {
        if (run->par->rank == 0) {
            dtx_free(data);
        }
        return st;
    }
    dtx_par_tell(run->par, found, sizeof found);
    *x = data;
    if (shape != NULL) {
        shape[0] = found[0];
        shape[1] = found[1];
    }
    return DTX_OK;
}
