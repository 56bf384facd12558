/* Collective values: ragged writes by hyperslabs, flush, whole reads. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mpi/h5/impl.h"
#include "mpi/h5/schema.h"
#include "mpi/run/run.h"
#include "src/base/mem.h"

/* One collective call takes at most this many hyperslabs (a union costs time quadratic in their number) and bytes
 * (some MPI-IO layers count in int). */
enum { MAX_SEGMENTS = 256, MAX_BYTES = 1 << 27 };

typedef struct {
    int64_t start, count; /* rows of the file */
    int64_t at;           /* first row in x, as the caller ordered them */
} segment;

typedef struct {
    int64_t n;          /* segments, ascending, not touching */
    segment *seg;
    const char *x;      /* rows in the order of the segments */
    char *packed;       /* owner of x where the caller's order was another one */
    int64_t next, part; /* cursor: segment, rows of it that are done */
    int64_t rows_done;
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

/* Moves the cursor over the next call's segments. `space` < 0: only counts. Returns its rows, -1 on failure. */
static int64_t next_batch(plan *p, size_t row, hsize_t width, hid_t space)
{
    int64_t room = row < MAX_BYTES ? (int64_t)(MAX_BYTES / row) : 1, rows = 0;

    if (space >= 0 && H5Sselect_none(space) < 0) {
        return -1;
    }
    for (int k = 0; k < MAX_SEGMENTS && p->next < p->n && rows < room; k++) {
        const segment *s = &p->seg[p->next];
        int64_t take = s->count - p->part < room - rows ? s->count - p->part : room - rows;
        hsize_t from[2] = {(hsize_t)(s->start + p->part), 0}, block[2] = {(hsize_t)take, width};
        if (space >= 0 && H5Sselect_hyperslab(space, k == 0 ? H5S_SELECT_SET : H5S_SELECT_OR, from, NULL, block, NULL) < 0) {
            return -1;
        }
        rows += take;
        p->part += take;
        if (p->part == s->count) {
            p->next++;
            p->part = 0;
        }
    }
    return rows;
}

/* Collective: every rank makes `calls` calls, with nothing selected when it has no more rows. selected: file_space has the
 * rows of the only call already. */
static dtx_status write_batches(hid_t dset, const char *path, hid_t type, plan *p, size_t row, hsize_t width, int64_t calls,
                                hid_t file_space, bool selected)
{
    hid_t xfer = H5Pcreate(H5P_DATASET_XFER);
    dtx_status st = DTX_OK;
    char nothing[16] = "";

    if (xfer < 0 || file_space < 0 || H5Pset_dxpl_mpio(xfer, H5FD_MPIO_COLLECTIVE) < 0) {
        st = DTX_H5_FAIL(DTX_ERR_CHECK, "cannot prepare a collective write of %s", path);
    }
    for (int64_t i = 0; i < calls; i++) {
        int64_t rows = st == DTX_OK ? next_batch(p, row, width, selected ? -1 : file_space) : 0;
        hsize_t n = rows > 0 ? (hsize_t)rows * width : 1;
        hid_t memory = H5Screate_simple(1, &n, NULL);
        if (rows < 0) {
            st = DTX_H5_FAIL(DTX_ERR_CHECK, "cannot select rows of %s", path);
            rows = 0;
        }
        if (rows == 0) { /* takes part all the same */
            H5Sselect_none(file_space);
            H5Sselect_none(memory);
        }
        if (H5Dwrite(dset, type, memory, file_space, xfer, rows > 0 ? p->x + (size_t)p->rows_done * row : nothing) < 0
            && st == DTX_OK) {
            st = DTX_H5_FAIL(DTX_ERR_MISSING, "cannot write %lld rows of %s", (long long)rows, path);
        }
        p->rows_done += rows;
        H5Sclose(memory);
    }
    if (xfer >= 0) {
        H5Pclose(xfer);
    }
    return st;
}

/* A dataset on its way. */
typedef struct {
    hid_t dset;
    char path[1024]; /* for messages */
    hsize_t n_rows, width;
    size_t row;    /* bytes */
    plan p;
    int64_t calls;
} open_write;

/* Local. */
static dtx_status prepare(hid_t file, const dtx_write *w, open_write *o)
{
    int64_t shape[2] = {0, 0};

    snprintf(o->path, sizeof o->path, "%s/%s", w->group, w->name);
    if (w->width < 0) { /* of x */
        return DTX_FAIL(DTX_ERR_CHECK, "%s is written without saying how wide", o->path);
    }
    DTX_TRY(dtx_h5_open(file, w->group, w->name, w->rows, w->width, &o->dset, shape));
    o->n_rows = (hsize_t)shape[0];
    o->width = (hsize_t)shape[1];
    o->row = (size_t)shape[1] * H5Tget_size(w->type);
    DTX_TRY(make_plan(o->path, o->n_rows, o->row, w->n, w->start, w->count, w->x, &o->p));
    while (o->row > 0 && o->p.next < o->p.n) {
        next_batch(&o->p, o->row, o->width, -1);
        o->calls++;
    }
    o->p.next = o->p.part = 0;
    return DTX_OK;
}

/* Whether dataset i takes the same rows of the same shape as the one before, in one call. */
static bool like_before(const dtx_write *w, const open_write *o, const int64_t *calls, int i)
{
    return i > 0 && calls[i] == 1 && calls[i - 1] == 1 && w[i].start == w[i - 1].start && w[i].count == w[i - 1].count &&
           w[i].n == w[i - 1].n && o[i].n_rows == o[i - 1].n_rows && o[i].width == o[i - 1].width;
}

dtx_status dtx_run_write_all(dtx_run *run, int n, const dtx_write *w)
{
    open_write o[DTX_RUN_WRITES] = {{0}};
    int64_t mine[DTX_RUN_WRITES + 1] = {0}, all[DTX_RUN_WRITES + 1] = {0};
    dtx_status st = n <= DTX_RUN_WRITES ? DTX_OK : DTX_FAIL(DTX_ERR_CHECK, "%d datasets in one write", n);

    for (int i = 0; i < n && i < DTX_RUN_WRITES; i++) {
        o[i].dset = -1;
        st = st == DTX_OK ? prepare(run->file, &w[i], &o[i]) : st;
        mine[1 + i] = all[1 + i] = o[i].calls;
    }
    mine[0] = all[0] = st != DTX_OK;
    if (run->par->size > 1) { /* every rank enters the writes, or none does; as often as the one with the most rows */
        dtx_status sent = DTX_MPI(MPI_Allreduce(mine, all, DTX_RUN_WRITES + 1, MPI_INT64_T, MPI_MAX, run->par->comm));
        st = st != DTX_OK ? st : sent;
    }
    if (all[0] > 0) {
        st = dtx_par_agree(run->par, st);
    }
    if (st == DTX_OK) {
        hid_t space = -1;
        for (int i = 0; i < n; i++) { /* all of them, even after a failure */
            const bool again = st == DTX_OK && like_before(w, o, all + 1, i);
            if (!again) { /* selecting many pieces is dear */
                if (space >= 0) {
                    H5Sclose(space);
                }
                space = H5Dget_space(o[i].dset);
            }
            dtx_status one = write_batches(o[i].dset, o[i].path, w[i].type, &o[i].p, o[i].row, o[i].width, all[1 + i], space, again);
            st = st == DTX_OK ? one : st;
        }
        if (space >= 0) {
            H5Sclose(space);
        }
        st = dtx_par_agree(run->par, st);
    }
    for (int i = 0; i < n && i < DTX_RUN_WRITES; i++) {
        if (o[i].dset >= 0) {
            H5Oclose(o[i].dset);
        }
        dtx_free(o[i].p.packed);
        dtx_free(o[i].p.seg);
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

    if (H5Fflush(run->file, H5F_SCOPE_LOCAL) < 0) { /* with the MPI driver: fsync on every rank */
        st = DTX_H5_FAIL(DTX_ERR_MISSING, "%s: cannot write to disk", run->path);
    }
    return dtx_par_agree(run->par, st); /* nobody goes on before all are here */
}

dtx_status dtx_run_read(dtx_run *run, const char *group, const char *name, hid_t type, int64_t rows, int64_t width, void **x,
                        int64_t shape[2])
{
    const size_t item = H5Tget_size(type);
    hid_t dset = -1;
    int64_t found[2] = {0, 0};
    char path[1024];
    void *data = NULL;
    size_t bytes = 0;
    dtx_status st;

    snprintf(path, sizeof path, "%s/%s", group, name);
    /* opened by all: HDF5 may touch metadata then, which has to happen everywhere */
    st = dtx_par_agree(run->par, dtx_h5_open(run->file, group, name, rows, width, &dset, found));
    if (st == DTX_OK && run->par->rank == 0) {
        const bool fits = (size_t)found[0] <= SIZE_MAX / item && !__builtin_mul_overflow((size_t)found[0] * item, (size_t)found[1], &bytes);
        data = fits ? dtx_malloc(bytes, 1) : NULL;
        st = dtx_mem_check(data, (size_t)found[0], (size_t)found[1] * item, path);
        if (st == DTX_OK) {
            st = dtx_h5_read_open(dset, path, type, 0, (hsize_t)found[0], (hsize_t)found[1], data);
        }
    }
    if (dset >= 0) {
        H5Dclose(dset);
    }
    st = dtx_par_agree(run->par, st);
    if (st == DTX_OK) {
        st = dtx_par_bcast(run->par, DTX_OK, &data, &bytes);
    }
    if (st != DTX_OK) {
        if (run->par->rank == 0) {
            dtx_free(data);
        }
        return st;
    }
    *x = data;
    if (shape != NULL) {
        shape[0] = found[0];
        shape[1] = found[1];
    }
    return DTX_OK;
}
