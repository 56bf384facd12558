/* Attributes: one string or one number each. */
#include <string.h>

#include "mpi/h5/impl.h"
#include "src/base/mem.h"

enum { ATTR_MAX = 60000 }; /* bytes: what an object header takes */

/* Replaces an attribute. A kill cannot fall between: this happens in the copy alone. */
static dtx_status write_attr(hid_t file, const char *path, const char *name, hid_t stored, hid_t memory, const void *x)
{
    hid_t obj = -1, space = -1, attr = -1;
    dtx_status st = dtx_h5_open_object(file, path, &obj);

    if (st != DTX_OK) {
        return st;
    }
    space = H5Screate(H5S_SCALAR);
    if (H5Aexists(obj, name) > 0 && H5Adelete(obj, name) < 0) {
        st = DTX_H5_FAIL(DTX_ERR_CHECK, "cannot replace the attribute %s of %s", name, path);
        goto done;
    }
    attr = H5Acreate2(obj, name, stored, space, H5P_DEFAULT, H5P_DEFAULT);
    if (attr < 0 || H5Awrite(attr, memory, x) < 0) {
        st = DTX_H5_FAIL(DTX_ERR_CHECK, "cannot write the attribute %s of %s", name, path);
    }
done:
    if (attr >= 0) {
        H5Aclose(attr);
    }
    H5Sclose(space);
    H5Oclose(obj);
    return st;
}

dtx_status dtx_h5_attr_str_room(hid_t file, const char *path, const char *name, const char *value, size_t room)
{
    size_t len = strlen(value), size = len > room ? len : room > 0 ? room : 1;
    char *padded = NULL;
    dtx_status st;

    if (size > ATTR_MAX) {
        return DTX_FAIL(DTX_ERR_USAGE, "the attribute %s of %s would have %zu bytes; HDF5 takes no more than %d", name, path,
                        size, ATTR_MAX);
    }
    DTX_TRY(DTX_NEW(padded, size));
    memcpy(padded, value, len);
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, size);
    H5Tset_strpad(type, H5T_STR_NULLPAD);
    H5Tset_cset(type, H5T_CSET_UTF8);
    st = write_attr(file, path, name, type, type, padded);
    H5Tclose(type);
    dtx_free(padded);
    return st;
}

dtx_status dtx_h5_attr_str(hid_t file, const char *path, const char *name, const char *value)
{
    return dtx_h5_attr_str_room(file, path, name, value, 0);
}

dtx_status dtx_h5_attr_int(hid_t file, const char *path, const char *name, int64_t value)
{
    return write_attr(file, path, name, H5T_STD_I64LE, H5T_NATIVE_INT64, &value);
}

dtx_status dtx_h5_attr_double(hid_t file, const char *path, const char *name, double value)
{
    return write_attr(file, path, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, &value);
}

/* *attr < 0 when the object has no such attribute. */
static dtx_status open_attr(hid_t file, const char *path, const char *name, hid_t *attr)
{
    hid_t obj = -1;

    *attr = -1;
    DTX_TRY(dtx_h5_open_object(file, path, &obj));
    dtx_status st = DTX_OK;
    if (H5Aexists(obj, name) > 0) {
        *attr = H5Aopen(obj, name, H5P_DEFAULT);
        if (*attr < 0) {
            st = DTX_H5_FAIL(DTX_ERR_INPUT, "cannot open the attribute %s of %s", name, path);
        }
    }
    H5Oclose(obj);
    return st;
}

/* One value of the attribute's own space: anything but a single element is refused. */
static bool is_single(hid_t attr)
{
    hid_t space = H5Aget_space(attr);
    bool yes = space >= 0 && H5Sget_simple_extent_npoints(space) == 1;

    if (space >= 0) {
        H5Sclose(space);
    }
    return yes;
}

dtx_status dtx_h5_attr_get_str(hid_t file, const char *path, const char *name, char **out)
{
    hid_t attr = -1, type = -1;
    char *text = NULL, *own = NULL;
    dtx_status st = DTX_OK;

    DTX_TRY(open_attr(file, path, name, &attr));
    if (attr < 0) {
        *out = NULL;
        return DTX_OK;
    }
    type = H5Aget_type(attr);
    size_t size = H5Tget_size(type);
    if (H5Tget_class(type) != H5T_STRING || !is_single(attr)) {
        st = DTX_FAIL(DTX_ERR_INPUT, "the attribute %s of %s is not one string", name, path);
        goto done;
    }
    if (H5Tis_variable_str(type) > 0) { /* other programs write such attributes */
        if (H5Aread(attr, type, &text) < 0) {
            st = DTX_H5_FAIL(DTX_ERR_INPUT, "cannot read the attribute %s of %s", name, path);
            goto done;
        }
        own = dtx_strdup(text != NULL ? text : "");
        st = dtx_mem_check(own, 1, 1, "an attribute");
        H5free_memory(text);
    } else {
        DTX_GO(DTX_NEW(own, size + 1));
        if (H5Aread(attr, type, own) < 0) {
            st = DTX_H5_FAIL(DTX_ERR_INPUT, "cannot read the attribute %s of %s", name, path);
        }
    }
done:
    if (type >= 0) {
        H5Tclose(type);
    }
    H5Aclose(attr);
    if (st == DTX_OK) {
        *out = own;
    } else {
        dtx_free(own);
    }
    return st;
}

dtx_status dtx_h5_attr_get_int(hid_t file, const char *path, const char *name, int64_t *out, bool *there)
{
    hid_t attr = -1;
    int64_t value = 0;
    dtx_status st = DTX_OK;

    DTX_TRY(open_attr(file, path, name, &attr));
    *there = attr >= 0;
    if (attr < 0) {
        return DTX_OK;
    }
    if (!is_single(attr)) {
        st = DTX_FAIL(DTX_ERR_INPUT, "the attribute %s of %s is not one number", name, path);
    } else if (H5Aread(attr, H5T_NATIVE_INT64, &value) < 0) {
        st = DTX_H5_FAIL(DTX_ERR_INPUT, "the attribute %s of %s is not an integer", name, path);
    } else {
        *out = value;
    }
    H5Aclose(attr);
    return st;
}
