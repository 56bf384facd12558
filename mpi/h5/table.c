/* Datasets by the table of schema.c: made by it, and compared with it before a byte is read or written. */
#include "mpi/h5/schema.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "mpi/h5/impl.h"
#include "src/base/mem.h"

enum { PATH_SIZE = 1024 };

/* A dataset's entry and full path. */
typedef struct {
    const dtx_h5_dataset *d;
    const dtx_h5_axis *axis[2]; /* the second NULL where there is one alone */
    char path[PATH_SIZE];
} named;

static const dtx_h5_axis *find_axis(const char *name)
{
    for (int i = 0; name != NULL && i < dtx_h5_n_axes; i++) {
        if (strcmp(dtx_h5_axes[i].name, name) == 0) {
            return &dtx_h5_axes[i];
        }
    }
    return NULL;
}

static dtx_status find(const char *group, const char *name, named *out)
{
    const int n = snprintf(out->path, sizeof out->path, "%s/%s", group, name);

    out->d = dtx_h5_find(group, name);
    if (out->d == NULL || n >= (int)sizeof out->path) {
        return DTX_FAIL(DTX_ERR_CHECK, "%s/%s is no dataset that the schema of run.h5 describes", group, name);
    }
    for (int i = 0; i < 2; i++) {
        out->axis[i] = find_axis(out->d->axis[i]);
    }
    return out->axis[0] != NULL ? DTX_OK : DTX_FAIL(DTX_ERR_CHECK, "%s: its axis is none of the schema's", out->path);
}

static int rank_of(const named *e)
{
    return e->axis[1] != NULL ? 2 : 1;
}

/* Length of the first axis where the place has `rows` of what it counts; DTX_H5_ANY stays that. */
static int64_t first_length(const named *e, int64_t rows)
{
    return rows >= 0 && e->axis[0]->kind == DTX_H5_BY_EDGE ? rows + 1 : rows;
}

/* --- comparing --- */

/* "i32", as the table names types; what it does not have by its class. */
static void type_text(hid_t type, char *out, size_t size)
{
    hid_t native = H5Tget_class(type) == H5T_INTEGER || H5Tget_class(type) == H5T_FLOAT ? H5Tget_native_type(type, H5T_DIR_ASCEND) : -1;

    snprintf(out, size, "%s", H5Tget_class(type) == H5T_STRING ? "text" : "another type");
    for (int t = 0; native >= 0 && t < DTX_H5_TYPES; t++) {
        if (H5Tequal(native, dtx_h5_native((dtx_h5_type)t)) > 0) {
            snprintf(out, size, "%s", dtx_h5_type_name((dtx_h5_type)t));
        }
    }
    if (native >= 0) {
        H5Tclose(native);
    }
}

/* "(4, any)". */
static void shape_text(int rank, const int64_t *n, char *out, size_t size)
{
    size_t at = (size_t)snprintf(out, size, "(");

    for (int i = 0; i < rank && at < size; i++) {
        at += (size_t)(n[i] < 0 ? snprintf(out + at, size - at, "%sany", i > 0 ? ", " : "")
                                : snprintf(out + at, size - at, "%s%" PRId64, i > 0 ? ", " : "", n[i]));
    }
    if (at < size) {
        snprintf(out + at, size - at, ")");
    }
}

/* Rank, lengths and type of an open dataset against its entry. */
static dtx_status compare(const named *e, hid_t dset, int64_t rows, int64_t width, int64_t shape[2])
{
    const int64_t want[2] = {first_length(e, rows), width};
    int64_t found[H5S_MAX_RANK];
    hsize_t dims[H5S_MAX_RANK];
    hid_t type = H5Dget_type(dset), space = H5Dget_space(dset);
    char has[32], file[512] = "", has_shape[200], want_shape[64];
    dtx_status st = DTX_OK;

    const int rank = space >= 0 ? H5Sget_simple_extent_dims(space, dims, NULL) : -1;
    if (type < 0 || rank < 0) {
        st = DTX_H5_FAIL(DTX_ERR_INPUT, "cannot read type and shape of %s", e->path);
        goto done;
    }
    bool fits = rank == rank_of(e);
    for (int i = 0; i < rank; i++) {
        found[i] = dims[i] <= INT64_MAX ? (int64_t)dims[i] : INT64_MAX;
        fits = fits && (want[i] < 0 || found[i] == want[i]);
    }
    type_text(type, has, sizeof has);
    if (!fits || strcmp(has, dtx_h5_type_name(e->d->type)) != 0) {
        H5Fget_name(dset, file, sizeof file);
        shape_text(rank, found, has_shape, sizeof has_shape);
        shape_text(rank_of(e), want, want_shape, sizeof want_shape);
        st = DTX_FAIL(DTX_ERR_INPUT, "%s: %s has the shape %s of %s, expected %s of %s: the file is damaged, or another program changed it",
                      file, e->path, has_shape, has, want_shape, dtx_h5_type_name(e->d->type));
        goto done;
    }
    if (shape != NULL) {
        shape[0] = found[0];
        shape[1] = rank > 1 ? found[1] : 1;
    }
done:
    if (space >= 0) {
        H5Sclose(space);
    }
    if (type >= 0) {
        H5Tclose(type);
    }
    return st;
}

static dtx_status open_named(hid_t file, const named *e, int64_t rows, int64_t width, hid_t *dset, int64_t shape[2])
{
    hid_t id = -1;

    if (e->axis[1] == NULL && width != 1 && width != DTX_H5_ANY) {
        return DTX_FAIL(DTX_ERR_CHECK, "%s has one axis, and rows of %" PRId64 " were asked for", e->path, width);
    }
    DTX_TRY(dtx_h5_open_dataset(file, e->path, &id));
    dtx_status st = compare(e, id, rows, width, shape);
    if (st != DTX_OK) {
        H5Dclose(id);
        return st;
    }
    *dset = id;
    return DTX_OK;
}

/* --- making --- */

static dtx_status make(hid_t file, const char *group, const char *name, int64_t rows, int64_t width, bool imported)
{
    named e;
    char dim[2][64];

    DTX_TRY(find(group, name, &e));
    dtx_h5_spec spec = {.path = e.path, .type = dtx_h5_native(e.d->type), .rank = rank_of(&e),
                        .shape = {(hsize_t)first_length(&e, rows), (hsize_t)width}, .fill = e.d->fill,
                        .long_name = imported && e.d->imported != NULL ? e.d->imported : e.d->long_name, .units = e.d->units};
    for (int i = 0; i < spec.rank; i++) {
        const char *where = e.axis[i]->kind == DTX_H5_BY_ITEM ? "flat:" : e.axis[i]->root ? "/" : "";
        snprintf(dim[i], sizeof dim[i], "%s%s", where, e.axis[i]->name);
        spec.dims[i] = dim[i];
    }
    return dtx_h5_make_spec(file, &spec);
}

dtx_status dtx_h5_make(hid_t file, const char *group, const char *name, int64_t rows, int64_t width)
{
    return make(file, group, name, rows, width, false);
}

dtx_status dtx_h5_make_imported(hid_t file, const char *group, const char *name, int64_t rows, int64_t width)
{
    return make(file, group, name, rows, width, true);
}

dtx_status dtx_h5_write(hid_t file, const char *group, const char *name, hid_t type, int64_t rows, int64_t width, const void *x)
{
    named e;
    hid_t dset = -1;
    int64_t shape[2];

    DTX_TRY(find(group, name, &e));
    DTX_TRY(open_named(file, &e, rows, width, &dset, shape));
    dtx_status st = dtx_h5_write_rows(dset, e.path, type, 0, (hsize_t)shape[0], (hsize_t)shape[1], x);
    H5Dclose(dset);
    return st;
}

dtx_status dtx_h5_put(hid_t file, const char *group, const char *name, hid_t type, int64_t rows, int64_t width, const void *x)
{
    DTX_TRY(dtx_h5_make(file, group, name, rows, width));
    return dtx_h5_write(file, group, name, type, rows, width, x);
}

/* --- reading --- */

bool dtx_h5_has(hid_t file, const char *group, const char *name)
{
    char path[PATH_SIZE];

    return snprintf(path, sizeof path, "%s/%s", strcmp(group, "/") == 0 ? "" : group, name) < (int)sizeof path && dtx_h5_exists(file, path);
}

dtx_status dtx_h5_open(hid_t file, const char *group, const char *name, int64_t rows, int64_t width, hid_t *dset, int64_t shape[2])
{
    named e;

    DTX_TRY(find(group, name, &e));
    return open_named(file, &e, rows, width, dset, shape);
}

dtx_status dtx_h5_shape(hid_t file, const char *group, const char *name, int64_t rows, int64_t width, int64_t shape[2])
{
    hid_t dset = -1;

    DTX_TRY(dtx_h5_open(file, group, name, rows, width, &dset, shape));
    H5Dclose(dset);
    return DTX_OK;
}

dtx_status dtx_h5_read(hid_t file, const char *group, const char *name, hid_t type, int64_t rows, int64_t width, void *x)
{
    named e;
    hid_t dset = -1;
    int64_t shape[2];

    if (rows < 0 || width < 0) {
        return DTX_FAIL(DTX_ERR_CHECK, "%s/%s is read without saying how much", group, name);
    }
    DTX_TRY(find(group, name, &e));
    DTX_TRY(open_named(file, &e, rows, width, &dset, shape));
    dtx_status st = dtx_h5_read_open(dset, e.path, type, 0, (hsize_t)shape[0], (hsize_t)shape[1], x);
    H5Dclose(dset);
    return st;
}

dtx_status dtx_h5_read_rows(hid_t file, const char *group, const char *name, hid_t type, int64_t first, int64_t count, int64_t width,
                            void *x)
{
    named e;
    hid_t dset = -1;

    if (first < 0 || count < 0 || width < 0) {
        return DTX_FAIL(DTX_ERR_CHECK, "%s/%s is read without saying how much", group, name);
    }
    DTX_TRY(find(group, name, &e));
    DTX_TRY(open_named(file, &e, DTX_H5_ANY, width, &dset, NULL));
    dtx_status st = dtx_h5_read_open(dset, e.path, type, (hsize_t)first, (hsize_t)count, (hsize_t)width, x);
    H5Dclose(dset);
    return st;
}

dtx_status dtx_h5_take(hid_t file, const char *group, const char *name, hid_t type, int64_t rows, int64_t width, void **x,
                       int64_t shape[2])
{
    const size_t item = H5Tget_size(type);
    named e;
    hid_t dset = -1;
    int64_t found[2];
    size_t bytes = 0;
    char *data = NULL;
    dtx_status st;

    DTX_TRY(find(group, name, &e));
    DTX_TRY(open_named(file, &e, rows, width, &dset, found));
    data = __builtin_mul_overflow((size_t)found[0] * item, (size_t)found[1], &bytes) || (size_t)found[0] > SIZE_MAX / item || bytes == SIZE_MAX
               ? NULL : dtx_malloc(bytes + 1, 1);
    DTX_GO(dtx_mem_check(data, (size_t)found[0], (size_t)found[1] * item, e.path));
    data[bytes] = 0;
    DTX_GO(dtx_h5_read_open(dset, e.path, type, 0, (hsize_t)found[0], (hsize_t)found[1], data));
    *x = data;
    data = NULL;
    if (shape != NULL) {
        shape[0] = found[0];
        shape[1] = found[1];
    }
done:
    dtx_free(data);
    H5Dclose(dset);
    return st;
}

/* --- ragged datasets --- */

dtx_status dtx_h5_check_offsets(const char *group, const char *name, const uint64_t *x, int64_t rows, int64_t n)
{
    for (int64_t i = 0; i <= rows; i++) {
        if (x[i] > (uint64_t)n || (i > 0 && x[i] < x[i - 1])) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s/%s: entry %" PRId64 " is %" PRIu64 ", below the one before it or outside of the %" PRId64
                            " elements that it points into: the file is damaged, or another program changed it", group, name, i, x[i], n);
        }
    }
    if (x[0] != 0 || x[rows] != (uint64_t)n) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s/%s reaches from %" PRIu64 " to %" PRIu64 ", and has the shape (%" PRId64 ") to point into, expected (%" PRIu64
                        ") from 0: the file is damaged, or another program changed it", group, name, x[0], x[rows], n, x[rows]);
    }
    return DTX_OK;
}

/* Length of the flat dataset that an entry's offsets point into. */
static dtx_status flat_length(hid_t file, const char *group, const named *e, int64_t *n)
{
    int64_t shape[2];

    if (e->d->flat == NULL) {
        return DTX_FAIL(DTX_ERR_CHECK, "%s holds no offsets", e->path);
    }
    DTX_TRY(dtx_h5_shape(file, group, e->d->flat, DTX_H5_ANY, 1, shape));
    *n = shape[0];
    return DTX_OK;
}

dtx_status dtx_h5_take_offsets(hid_t file, const char *group, const char *name, int64_t rows, uint64_t **x, int64_t *n)
{
    named e;
    void *data = NULL;
    int64_t shape[2], flat = 0;

    DTX_TRY(find(group, name, &e));
    DTX_TRY(flat_length(file, group, &e, &flat));
    DTX_TRY(dtx_h5_take(file, group, name, H5T_NATIVE_UINT64, rows, 1, &data, shape));
    dtx_status st = dtx_h5_check_offsets(group, name, data, shape[0] - 1, flat);
    if (st != DTX_OK) {
        dtx_free(data);
        return st;
    }
    *x = data;
    if (n != NULL) {
        *n = flat;
    }
    return DTX_OK;
}

dtx_status dtx_h5_edges(hid_t file, const char *group, const char *name, int64_t rows, int64_t row, int64_t edge[2])
{
    named e;
    hid_t dset = -1;
    int64_t flat = 0;
    uint64_t x[2];

    DTX_TRY(find(group, name, &e));
    DTX_TRY(flat_length(file, group, &e, &flat));
    DTX_TRY(open_named(file, &e, rows, 1, &dset, NULL));
    dtx_status st = dtx_h5_read_open(dset, e.path, H5T_NATIVE_UINT64, (hsize_t)row, 2, 1, x);
    H5Dclose(dset);
    DTX_TRY(st);
    if (x[0] > x[1] || x[1] > (uint64_t)flat) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: row %" PRId64 " reaches from %" PRIu64 " to %" PRIu64 " of the %" PRId64 " elements of %s: the file "
                        "is damaged, or another program changed it", e.path, row, x[0], x[1], flat, e.d->flat);
    }
    edge[0] = (int64_t)x[0];
    edge[1] = (int64_t)x[1];
    return DTX_OK;
}

/* --- a whole place --- */

dtx_status dtx_h5_fits(hid_t file, const char *group, int64_t rows, int64_t width)
{
    const dtx_h5_place place = dtx_h5_place_of(group);

    for (int i = 0; i < dtx_h5_n_datasets; i++) {
        const dtx_h5_dataset *d = &dtx_h5_datasets[i];
        named e;
        hid_t dset = -1;
        int64_t shape[2];
        if (d->place != place || !dtx_h5_has(file, group, d->name)) {
            continue;
        }
        DTX_TRY(find(group, d->name, &e));
        const dtx_h5_axis_kind kind = e.axis[0]->kind;
        DTX_TRY(open_named(file, &e, kind == DTX_H5_BY_ITEM ? DTX_H5_ANY : rows, e.axis[1] != NULL ? width : 1, &dset, shape));
        H5Dclose(dset);
        if (rows < 0 && kind != DTX_H5_BY_ITEM) { /* the first one tells */
            rows = kind == DTX_H5_BY_EDGE ? shape[0] - 1 : shape[0];
        }
        width = width < 0 && e.axis[1] != NULL ? shape[1] : width;
        if (d->flat != NULL) {
            uint64_t *x = NULL;
            DTX_TRY(dtx_h5_take_offsets(file, group, d->name, rows, &x, NULL));
            dtx_free(x);
        }
    }
    return DTX_OK;
}

static herr_t visit_group(hid_t root, const char *name, const H5O_info_t *info, void *user)
{
    dtx_status *st = user;
    char path[PATH_SIZE];

    if (info->type == H5O_TYPE_GROUP) {
        const bool is_root = strcmp(name, ".") == 0;
        *st = snprintf(path, sizeof path, "/%s", is_root ? "" : name) < (int)sizeof path
                  ? dtx_h5_fits(root, path, DTX_H5_ANY, DTX_H5_ANY) : DTX_FAIL(DTX_ERR_INPUT, "/%.60s...: path too long", name);
    }
    return *st == DTX_OK ? 0 : -1;
}

dtx_status dtx_h5_fits_all(hid_t file)
{
    dtx_status st = DTX_OK;

    if (H5Ovisit(file, H5_INDEX_NAME, H5_ITER_INC, visit_group, &st) < 0 && st == DTX_OK) {
        st = DTX_H5_FAIL(DTX_ERR_INPUT, "cannot walk through the file");
    }
    return st;
}
