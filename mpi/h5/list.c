/* What a group holds: its members, and attributes as text. For readers that do not know all names beforehand. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "mpi/h5/impl.h"
#include "src/base/mem.h"

enum { MAX_MEMBERS = 1 << 20 };

/* A list of strings under construction: offsets first, as the text moves while it grows. */
typedef struct {
    char *text;
    size_t *at, n, cap_at, size, cap_text;
} string_list;

static dtx_status add(string_list *l, const char *s)
{
    size_t len = strlen(s) + 1;

    DTX_TRY(DTX_GROW(l->at, l->cap_at, l->n + 1));
    DTX_TRY(DTX_GROW(l->text, l->cap_text, l->size + len));
    memcpy(l->text + l->size, s, len);
    l->at[l->n++] = l->size;
    l->size += len;
    return DTX_OK;
}

/* One block: n pointers, then the text. */
static dtx_status finish(string_list *l, char ***out, size_t *n)
{
    char **names = dtx_malloc(l->n * sizeof *names + l->size + 1, 1);

    DTX_TRY(dtx_mem_check(names, l->n, sizeof *names, "a list of names"));
    char *text = (char *)(names + l->n);
    if (l->size > 0) {
        memcpy(text, l->text, l->size);
    }
    for (size_t i = 0; i < l->n; i++) {
        names[i] = text + l->at[i];
    }
    *out = names;
    *n = l->n;
    return DTX_OK;
}

static void drop(string_list *l)
{
    dtx_free(l->text);
    dtx_free(l->at);
}

dtx_status dtx_h5_list(hid_t file, const char *group, char ***names, size_t *n)
{
    string_list l = {0};
    hid_t id = -1;
    H5G_info_t info;
    char name[256];
    dtx_status st = DTX_OK;

    if (dtx_h5_exists(file, group)) {
        DTX_TRY(dtx_h5_open_object(file, group, &id));
        if (H5Iget_type(id) == H5I_GROUP && H5Gget_info(id, &info) >= 0 && info.nlinks <= MAX_MEMBERS) {
            for (hsize_t i = 0; i < info.nlinks && st == DTX_OK; i++) {
                ssize_t len = H5Lget_name_by_idx(id, ".", H5_INDEX_NAME, H5_ITER_INC, i, name, sizeof name, H5P_DEFAULT);
                if (len > 0 && (size_t)len < sizeof name) {
                    st = add(&l, name);
                }
            }
        } else if (H5Iget_type(id) == H5I_GROUP) {
            st = DTX_H5_FAIL(DTX_ERR_INPUT, "cannot list the group %s", group);
        }
        H5Oclose(id);
    }
    if (st == DTX_OK) {
        st = finish(&l, names, n);
    }
    drop(&l);
    return st;
}

/* An attribute's single value as text; false for anything else. */
static bool value_text(hid_t attr, char text[64])
{
    hid_t type = H5Aget_type(attr), space = H5Aget_space(attr);
    bool ok = type >= 0 && space >= 0 && H5Sget_simple_extent_npoints(space) == 1;

    if (ok && H5Tget_class(type) == H5T_INTEGER) {
        int64_t v = 0;
        ok = H5Aread(attr, H5T_NATIVE_INT64, &v) >= 0;
        snprintf(text, 64, "%" PRId64, v);
    } else if (ok && H5Tget_class(type) == H5T_FLOAT) {
        double v = 0;
        ok = H5Aread(attr, H5T_NATIVE_DOUBLE, &v) >= 0;
        snprintf(text, 64, "%.9g", v);
    } else {
        ok = false;
    }
    if (space >= 0) {
        H5Sclose(space);
    }
    if (type >= 0) {
        H5Tclose(type);
    }
    return ok;
}

static bool is_string(hid_t attr)
{
    hid_t type = H5Aget_type(attr), space = H5Aget_space(attr);
    bool yes = type >= 0 && space >= 0 && H5Tget_class(type) == H5T_STRING && H5Sget_simple_extent_npoints(space) == 1;

    if (space >= 0) {
        H5Sclose(space);
    }
    if (type >= 0) {
        H5Tclose(type);
    }
    return yes;
}

dtx_status dtx_h5_attr_list(hid_t file, const char *path, char ***pairs, size_t *n)
{
    string_list l = {0};
    hid_t id = -1;
    H5O_info_t info;
    dtx_status st = DTX_OK;

    DTX_TRY(dtx_h5_open_object(file, path, &id));
    if (H5Oget_info2(id, &info, H5O_INFO_NUM_ATTRS) < 0) {
        DTX_GO(DTX_H5_FAIL(DTX_ERR_INPUT, "cannot list the attributes of %s", path));
    }
    for (hsize_t i = 0; i < info.num_attrs && st == DTX_OK; i++) {
        char name[256], number[64], *text = NULL;
        hid_t attr = H5Aopen_by_idx(id, ".", H5_INDEX_NAME, H5_ITER_INC, i, H5P_DEFAULT, H5P_DEFAULT);
        bool named = attr >= 0 && H5Aget_name(attr, sizeof name, name) < (ssize_t)sizeof name, words = named && is_string(attr);
        bool numeric = named && !words && value_text(attr, number);
        if (attr >= 0) {
            H5Aclose(attr);
        }
        if (words) {
            st = dtx_h5_attr_get_str(file, path, name, &text);
        }
        if (st == DTX_OK && (numeric || text != NULL)) {
            st = add(&l, name);
            st = st == DTX_OK ? add(&l, numeric ? number : text) : st;
        }
        dtx_free(text);
    }
    DTX_GO(st);
    DTX_GO(finish(&l, pairs, n));
    *n /= 2;
done:
    H5Oclose(id);
    drop(&l);
    return st;
}
