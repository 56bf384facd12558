/* Dimension scales: datasets name theirs in the attribute DIMENSION_LIST (for each axis a list of references), scales their
 * users in REFERENCE_LIST. HDF5's high-level library reads both into memory of the size that they should have, so they are
 * looked at before it is called; scales are found without it. */
#include <hdf5_hl.h>
#include <stdio.h>
#include <string.h>

#include "mpi/h5/impl.h"
#include "src/base/mem.h"

typedef struct {
    hid_t attr, type, space;
} attribute;

/* False when there is none of that name. */
static bool open_attribute(hid_t obj, const char *name, attribute *a)
{
    *a = (attribute){-1, -1, -1};
    if (H5Aexists(obj, name) <= 0) {
        return false;
    }
    a->attr = H5Aopen(obj, name, H5P_DEFAULT);
    a->type = a->attr >= 0 ? H5Aget_type(a->attr) : -1;
    a->space = a->attr >= 0 ? H5Aget_space(a->attr) : -1;
    return true;
}

static void close_attribute(attribute *a)
{
    if (a->space >= 0) {
        H5Sclose(a->space);
    }
    if (a->type >= 0) {
        H5Tclose(a->type);
    }
    if (a->attr >= 0) {
        H5Aclose(a->attr);
    }
}

/* A list of references to objects for each of `rank` axes? */
static bool is_dimension_list(const attribute *a, int rank)
{
    bool yes = a->type >= 0 && a->space >= 0 && H5Tget_class(a->type) == H5T_VLEN && H5Sget_simple_extent_ndims(a->space) == 1
               && H5Sget_simple_extent_npoints(a->space) == rank;
    hid_t base = yes ? H5Tget_super(a->type) : -1;

    yes = base >= 0 && H5Tequal(base, H5T_STD_REF_OBJ) > 0;
    if (base >= 0) {
        H5Tclose(base);
    }
    return yes;
}

/* Pairs of a reference and an axis, no larger than the library's own? */
typedef struct {
    hobj_ref_t ref;
    int axis;
} reference;

static bool is_reference_list(const attribute *a)
{
    bool yes = a->type >= 0 && a->space >= 0 && H5Tget_class(a->type) == H5T_COMPOUND && H5Tget_nmembers(a->type) == 2
               && H5Tget_size(a->type) <= sizeof(reference) && H5Sget_simple_extent_ndims(a->space) == 1;

    return yes && H5Tget_member_class(a->type, 0) == H5T_REFERENCE && H5Tget_member_class(a->type, 1) == H5T_INTEGER;
}

bool dtx_h5_is_scale(hid_t dset)
{
    static const char class[] = "DIMENSION_SCALE";
    attribute a;
    char text[64] = "";

    if (H5Iget_type(dset) != H5I_DATASET) {
        return false;
    }
    if (open_attribute(dset, "CLASS", &a) && a.type >= 0 && a.space >= 0 && H5Tget_class(a.type) == H5T_STRING
        && H5Tis_variable_str(a.type) == 0 && H5Tget_size(a.type) < sizeof text && H5Sget_simple_extent_npoints(a.space) == 1
        && H5Aread(a.attr, a.type, text) < 0) {
        text[0] = '\0';
    }
    close_attribute(&a);
    return strncmp(text, class, sizeof class - 1) == 0;
}

/* The first scale of an axis, open; -1 where there is none. */
static dtx_status open_scale(hid_t dset, const char *path, int axis, hid_t *scale)
{
    hsize_t shape[2];
    int rank = 0;
    attribute a;
    hid_t type = -1;
    hvl_t list[2] = {{0}};
    dtx_status st = DTX_OK;

    *scale = -1;
    DTX_TRY(dtx_h5_space_shape(dset, path, shape, &rank));
    if (!open_attribute(dset, "DIMENSION_LIST", &a)) {
        close_attribute(&a);
        return DTX_OK;
    }
    if (!is_dimension_list(&a, rank)) {
        st = DTX_FAIL(DTX_ERR_INPUT, "%s: its attribute DIMENSION_LIST is not a list of references for each of %d axes: the file is damaged, or "
                      "another program changed it", path, rank);
        goto done;
    }
    type = H5Tvlen_create(H5T_STD_REF_OBJ);
    if (type < 0 || H5Aread(a.attr, type, list) < 0) {
        st = DTX_H5_FAIL(DTX_ERR_INPUT, "%s: cannot read its attribute DIMENSION_LIST", path);
        goto done;
    }
    if (axis < rank && list[axis].len > 0) {
        *scale = H5Rdereference2(dset, H5P_DEFAULT, H5R_OBJECT, list[axis].p);
        if (*scale < 0 || H5Iget_type(*scale) != H5I_DATASET) {
            st = DTX_H5_FAIL(DTX_ERR_INPUT, "%s: its attribute DIMENSION_LIST points at no dataset", path);
        }
    }
    H5Dvlen_reclaim(type, a.space, H5P_DEFAULT, list);
done:
    if (st != DTX_OK && *scale >= 0) {
        H5Oclose(*scale);
        *scale = -1;
    }
    if (type >= 0) {
        H5Tclose(type);
    }
    close_attribute(&a);
    return st;
}

dtx_status dtx_h5_scale_name(hid_t dset, const char *path, int axis, char *out, size_t size)
{
    hid_t scale = -1;

    out[0] = '\0';
    if (dtx_h5_is_scale(dset)) {
        return DTX_OK;
    }
    DTX_TRY(open_scale(dset, path, axis, &scale));
    if (scale >= 0) {
        if (H5Iget_name(scale, out, size) < 0) {
            out[0] = '\0';
        }
        H5Oclose(scale);
    }
    return DTX_OK;
}

/* What attaching and detaching read of a scale. */
static dtx_status check_scale(hid_t scale, const char *path)
{
    attribute a;
    const bool sound = !open_attribute(scale, "REFERENCE_LIST", &a) || is_reference_list(&a);

    close_attribute(&a);
    return sound ? DTX_OK : DTX_FAIL(DTX_ERR_INPUT, "%s: the attribute REFERENCE_LIST of its dimension scale is not a list of references: the file is "
                                     "damaged, or another program changed it", path);
}

dtx_status dtx_h5_attach_scale(hid_t dset, const char *path, hid_t scale, int axis)
{
    DTX_TRY(check_scale(scale, path));
    if (H5DSattach_scale(dset, scale, (unsigned)axis) < 0) {
        return DTX_H5_FAIL(DTX_ERR_CHECK, "cannot attach a dimension scale to %s", path);
    }
    return DTX_OK;
}

dtx_status dtx_h5_detach_scales(hid_t dset, const char *path)
{
    hsize_t shape[2];
    int rank = 0;

    if (dtx_h5_is_scale(dset)) {
        return DTX_OK;
    }
    DTX_TRY(dtx_h5_space_shape(dset, path, shape, &rank));
    for (int i = 0; i < rank; i++) {
        for (;;) {
            hid_t scale = -1;
            DTX_TRY(open_scale(dset, path, i, &scale));
            if (scale < 0) {
                break;
            }
            dtx_status st = check_scale(scale, path);
            if (st == DTX_OK && H5DSdetach_scale(dset, scale, (unsigned)i) < 0) {
                st = DTX_H5_FAIL(DTX_ERR_INPUT, "cannot detach %s from its dimension scale: the file is damaged, or another program changed it",
                                 path);
            }
            H5Oclose(scale);
            DTX_TRY(st);
        }
    }
    return DTX_OK;
}
