#include "mpi/h5/same.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "mpi/h5/impl.h"
#include "mpi/h5/schema.h"
#include "src/base/mem.h"

enum { PIECE = 1 << 25, PATH_SIZE = 1024 };

typedef struct {
    hid_t a, b;
    dtx_h5_same_report *report;
} comparison;

static void differs(comparison *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void differs(comparison *c, const char *fmt, ...)
{
    dtx_h5_same_report *r = c->report;
    size_t used = strlen(r->text);
    va_list ap;

    r->differences++;
    if (used + 200 < sizeof r->text) { /* whole lines only */
        va_start(ap, fmt);
        vsnprintf(r->text + used, sizeof r->text - used - 1, fmt, ap);
        va_end(ap);
        strcat(r->text, "\n");
    }
}

static bool left_out(const char *path)
{
    const dtx_h5_place place = dtx_h5_place_of(path);

    return place == DTX_H5_LAUNCHES || place == DTX_H5_TIMING;
}

/* One element as text: a number as a number, anything else by its bytes. */
static void element_text(hid_t type, const void *x, char *out, size_t size)
{
    H5T_class_t class = H5Tget_class(type);
    size_t item = H5Tget_size(type);
    unsigned char raw[64] = {0};

    memcpy(raw, x, item < sizeof raw ? item : sizeof raw);
    if ((class == H5T_INTEGER || class == H5T_FLOAT) && item <= sizeof raw) {
        double number = 0;
        char bytes[40] = "";
        for (size_t i = 0; i < item && i < 16; i++) {
            snprintf(bytes + 2 * i, sizeof bytes - 2 * i, "%02x", raw[i]);
        }
        if (H5Tconvert(type, H5T_NATIVE_DOUBLE, 1, raw, NULL, H5P_DEFAULT) >= 0) {
            memcpy(&number, raw, sizeof number);
        }
        snprintf(out, size, "%.9g (%s)", number, bytes);
    } else if (class == H5T_STRING) {
        snprintf(out, size, "'%.*s'", (int)(item < 60 ? item : 60), (const char *)x);
    } else {
        snprintf(out, size, "other bytes");
    }
}

/* Compares n elements that stand in memory; `first` is the index of the first one. False when they differ (told). */
static bool same_elements(comparison *c, const char *what, hid_t type, const char *x, const char *y, int64_t n, int64_t first,
                          int64_t width)
{
    size_t item = H5Tget_size(type);
    char left[128], right[128];

    if (memcmp(x, y, (size_t)n * item) == 0) {
        return true;
    }
    int64_t i = 0;
    while (memcmp(x + (size_t)i * item, y + (size_t)i * item, item) == 0) {
        i++;
    }
    element_text(type, x + (size_t)i * item, left, sizeof left);
    element_text(type, y + (size_t)i * item, right, sizeof right);
    if (width > 1) {
        differs(c, "%s[%lld, %lld]: %s, %s", what, (long long)((first + i) / width), (long long)((first + i) % width), left,
                right);
    } else {
        differs(c, "%s[%lld]: %s, %s", what, (long long)(first + i), left, right);
    }
    return false;
}

static bool same_type_and_shape(comparison *c, const char *what, hid_t type_a, hid_t type_b, hid_t space_a, hid_t space_b)
{
    if (H5Tequal(type_a, type_b) <= 0) {
        differs(c, "%s: another type", what);
        return false;
    }
    if (H5Sextent_equal(space_a, space_b) <= 0) {
        differs(c, "%s: another shape", what);
        return false;
    }
    return true;
}

static dtx_status compare_values(comparison *c, const char *path, hid_t a, hid_t b, hid_t type)
{
    hsize_t shape[2] = {0, 0};
    char *x = NULL, *y = NULL;
    dtx_status st;

    if (H5Dget_storage_size(a) == 0 && H5Dget_storage_size(b) == 0) { /* no rows, or a scale that only carries a length */
        return DTX_OK;
    }
    DTX_TRY(dtx_h5_space_shape(a, path, shape, NULL));
    size_t row = (size_t)shape[1] * H5Tget_size(type);
    hsize_t at_once = row > 0 && row < PIECE ? PIECE / row : 1;
    at_once = at_once < shape[0] ? at_once : shape[0];
    DTX_GO(DTX_NEW_RAW(x, at_once * row));
    DTX_GO(DTX_NEW_RAW(y, at_once * row));
    for (hsize_t first = 0; first < shape[0] && row > 0; first += at_once) {
        hsize_t n = shape[0] - first < at_once ? shape[0] - first : at_once;
        DTX_GO(dtx_h5_read_open(a, path, type, first, n, shape[1], x));
        DTX_GO(dtx_h5_read_open(b, path, type, first, n, shape[1], y));
        c->report->bytes += (int64_t)(n * row);
        if (!same_elements(c, path, type, x, y, (int64_t)(n * shape[1]), (int64_t)(first * shape[1]), (int64_t)shape[1])) {
            break;
        }
    }
done:
    dtx_free(x);
    dtx_free(y);
    return st;
}

/* The scales are compared by name: what the files store are addresses. */
static dtx_status compare_scales(comparison *c, const char *path, hid_t a, hid_t b, int rank)
{
    for (int i = 0; i < rank; i++) {
        char left[PATH_SIZE] = "", right[PATH_SIZE] = "";
        DTX_TRY(dtx_h5_scale_name(a, path, i, left, sizeof left));
        DTX_TRY(dtx_h5_scale_name(b, path, i, right, sizeof right));
        if (strcmp(left, right) != 0) {
            differs(c, "%s: axis %d has the scale '%s', '%s'", path, i, left, right);
        }
    }
    return DTX_OK;
}

static dtx_status compare_dataset(comparison *c, const char *path, hid_t a, hid_t b)
{
    hid_t type_a = H5Dget_type(a), type_b = H5Dget_type(b), space_a = H5Dget_space(a), space_b = H5Dget_space(b);
    dtx_status st = DTX_OK;

    c->report->datasets++;
    if (type_a < 0 || type_b < 0 || space_a < 0 || space_b < 0) {
        st = DTX_H5_FAIL(DTX_ERR_INPUT, "cannot open %s", path);
        goto done;
    }
    if (same_type_and_shape(c, path, type_a, type_b, space_a, space_b)) {
        DTX_GO(compare_scales(c, path, a, b, H5Sget_simple_extent_ndims(space_a)));
        if (H5Tdetect_class(type_a, H5T_VLEN) > 0 || H5Tis_variable_str(type_a) > 0) {
            st = DTX_FAIL(DTX_ERR_INPUT, "%s has a variable-length type, which no run.h5 holds", path);
            goto done;
        }
        st = compare_values(c, path, a, b, type_a);
    }
done:
    H5Tclose(type_a);
    H5Tclose(type_b);
    H5Sclose(space_a);
    H5Sclose(space_b);
    return st;
}

static dtx_status compare_attribute(comparison *c, const char *path, const char *name, hid_t obj_a, hid_t obj_b)
{
    char what[PATH_SIZE + 256];
    hid_t a = H5Aopen(obj_a, name, H5P_DEFAULT), b = H5Aopen(obj_b, name, H5P_DEFAULT);
    hid_t type_a = H5Aget_type(a), type_b = H5Aget_type(b), space_a = H5Aget_space(a), space_b = H5Aget_space(b);
    char *x = NULL, *y = NULL;
    dtx_status st = DTX_OK;

    snprintf(what, sizeof what, "%s@%s", path, name);
    c->report->attributes++;
    if (type_a < 0 || type_b < 0 || space_a < 0 || space_b < 0) {
        st = DTX_H5_FAIL(DTX_ERR_INPUT, "cannot open the attribute %s", what);
        goto done;
    }
    if (!same_type_and_shape(c, what, type_a, type_b, space_a, space_b)) {
        goto done;
    }
    if (H5Tdetect_class(type_a, H5T_VLEN) > 0 || H5Tis_variable_str(type_a) > 0) {
        st = DTX_FAIL(DTX_ERR_INPUT, "the attribute %s has a variable-length type, which no run.h5 holds", what);
        goto done;
    }
    hssize_t n = H5Sget_simple_extent_npoints(space_a);
    size_t bytes = (size_t)(n > 0 ? n : 0) * H5Tget_size(type_a);
    DTX_GO(DTX_NEW(x, bytes));
    DTX_GO(DTX_NEW(y, bytes));
    if (n > 0 && (H5Aread(a, type_a, x) < 0 || H5Aread(b, type_a, y) < 0)) {
        st = DTX_H5_FAIL(DTX_ERR_INPUT, "cannot read the attribute %s", what);
        goto done;
    }
    c->report->bytes += (int64_t)bytes;
    same_elements(c, what, type_a, x, y, n > 0 ? n : 0, 0, 1);
done:
    dtx_free(x);
    dtx_free(y);
    H5Tclose(type_a);
    H5Tclose(type_b);
    H5Sclose(space_a);
    H5Sclose(space_b);
    H5Aclose(a);
    H5Aclose(b);
    return st;
}

/* DIMENSION_LIST is compared by compare_scales, REFERENCE_LIST is its inverse; both hold addresses. */
static bool is_address(const char *name)
{
    return strcmp(name, "DIMENSION_LIST") == 0 || strcmp(name, "REFERENCE_LIST") == 0;
}

static hsize_t attribute_count(hid_t obj)
{
    H5O_info_t info;

    return H5Oget_info(obj, &info) >= 0 ? info.num_attrs : 0;
}

static dtx_status compare_attributes(comparison *c, const char *path, hid_t a, hid_t b)
{
    char name[256];

    for (hsize_t i = 0; i < attribute_count(a); i++) {
        if (H5Aget_name_by_idx(a, ".", H5_INDEX_NAME, H5_ITER_INC, i, name, sizeof name, H5P_DEFAULT) < 0) {
            return DTX_H5_FAIL(DTX_ERR_INPUT, "cannot list the attributes of %s", path);
        }
        if (is_address(name)) {
            continue;
        }
        if (H5Aexists(b, name) <= 0) {
            differs(c, "%s@%s: only in the first file", path, name);
            continue;
        }
        DTX_TRY(compare_attribute(c, path, name, a, b));
    }
    for (hsize_t i = 0; i < attribute_count(b); i++) {
        if (H5Aget_name_by_idx(b, ".", H5_INDEX_NAME, H5_ITER_INC, i, name, sizeof name, H5P_DEFAULT) < 0) {
            return DTX_H5_FAIL(DTX_ERR_INPUT, "cannot list the attributes of %s", path);
        }
        if (!is_address(name) && H5Aexists(a, name) <= 0) {
            differs(c, "%s@%s: only in the second file", path, name);
        }
    }
    return DTX_OK;
}

static dtx_status compare_object(comparison *c, const char *path);

/* The path of link number i of a group. */
static dtx_status link_path(hid_t group, const char *path, hsize_t i, char out[PATH_SIZE])
{
    char name[256];

    if (H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, name, sizeof name, H5P_DEFAULT) < 0) {
        return DTX_H5_FAIL(DTX_ERR_INPUT, "cannot list %s", path);
    }
    int n = snprintf(out, PATH_SIZE, "%s/%s", strcmp(path, "/") == 0 ? "" : path, name);
    return n < PATH_SIZE ? DTX_OK : DTX_FAIL(DTX_ERR_INPUT, "%s: path too long", path);
}

static dtx_status compare_group(comparison *c, const char *path, hid_t a, hid_t b)
{
    char next[PATH_SIZE];
    H5G_info_t in_a, in_b;

    if (H5Gget_info(a, &in_a) < 0 || H5Gget_info(b, &in_b) < 0) {
        return DTX_H5_FAIL(DTX_ERR_INPUT, "cannot list %s", path);
    }
    for (hsize_t i = 0; i < in_a.nlinks; i++) {
        DTX_TRY(link_path(a, path, i, next));
        if (left_out(next)) {
            continue;
        }
        if (dtx_h5_exists(c->b, next)) {
            DTX_TRY(compare_object(c, next));
        } else {
            differs(c, "%s: only in the first file", next);
        }
    }
    for (hsize_t i = 0; i < in_b.nlinks; i++) {
        DTX_TRY(link_path(b, path, i, next));
        if (!left_out(next) && !dtx_h5_exists(c->a, next)) {
            differs(c, "%s: only in the second file", next);
        }
    }
    return DTX_OK;
}

static dtx_status compare_object(comparison *c, const char *path)
{
    hid_t a = -1, b = -1;
    dtx_status st;

    DTX_GO(dtx_h5_open_object(c->a, path, &a));
    DTX_GO(dtx_h5_open_object(c->b, path, &b));
    if (H5Iget_type(a) != H5Iget_type(b)) {
        differs(c, "%s: a group in one file, a dataset in the other", path);
        goto done;
    }
    DTX_GO(compare_attributes(c, path, a, b));
    DTX_GO(H5Iget_type(a) == H5I_GROUP ? compare_group(c, path, a, b) : compare_dataset(c, path, a, b));
done:
    if (a >= 0) {
        H5Oclose(a);
    }
    if (b >= 0) {
        H5Oclose(b);
    }
    return st;
}

dtx_status dtx_h5_same_object(hid_t a, hid_t b, const char *path, dtx_h5_same_report *report)
{
    comparison c = {.a = a, .b = b, .report = report};

    memset(report, 0, sizeof *report);
    return compare_object(&c, path);
}

dtx_status dtx_h5_same(const char *path_a, const char *path_b, dtx_h5_same_report *report)
{
    comparison c = {.a = -1, .b = -1, .report = report};
    dtx_status st;

    memset(report, 0, sizeof *report);
    DTX_GO(dtx_h5_open_serial(path_a, &c.a));
    DTX_GO(dtx_h5_open_serial(path_b, &c.b));
    DTX_GO(dtx_h5_check_schema(c.a, path_a));
    DTX_GO(dtx_h5_check_schema(c.b, path_b));
    DTX_GO(compare_object(&c, "/"));
done:
    if (c.a >= 0) {
        H5Fclose(c.a);
    }
    if (c.b >= 0) {
        H5Fclose(c.b);
    }
    return st;
}
