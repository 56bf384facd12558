/* Making and deleting datasets with their dimension scales (design: every axis has a scale in its own group or in the
 * root, so that xarray opens every group). */
#include <hdf5_hl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "mpi/h5/impl.h"
#include "src/base/mem.h"

/* The little-endian type on disk for a native number. */
static hid_t stored_type(hid_t native)
{
    bool is_signed = H5Tget_class(native) == H5T_INTEGER && H5Tget_sign(native) == H5T_SGN_2;

    switch (H5Tget_class(native)) {
    case H5T_FLOAT:
        return H5Tget_size(native) == 4 ? H5T_IEEE_F32LE : H5Tget_size(native) == 8 ? H5T_IEEE_F64LE : -1;
    case H5T_INTEGER:
        switch (H5Tget_size(native)) {
        case 1: return is_signed ? H5T_STD_I8LE : H5T_STD_U8LE;
        case 2: return is_signed ? H5T_STD_I16LE : H5T_STD_U16LE;
        case 4: return is_signed ? H5T_STD_I32LE : H5T_STD_U32LE;
        case 8: return is_signed ? H5T_STD_I64LE : H5T_STD_U64LE;
        default: return -1;
        }
    default: return -1;
    }
}

/* Creation list: contiguous, allocated and filled at once, so that nothing but values changes afterwards. An axis of
 * length 0 needs no space; compact layout keeps HDF5 from trying to allocate some at each open. */
static hid_t creation_list(const dtx_h5_spec *spec)
{
    hid_t dcpl = H5Pcreate(H5P_DATASET_CREATE);
    bool empty = spec->shape[0] == 0 || (spec->rank > 1 && spec->shape[1] == 0), ok;
    float nan_value = NAN;

    if (dcpl < 0) {
        return -1;
    }
    ok = H5Pset_obj_track_times(dcpl, false) >= 0 && H5Pset_layout(dcpl, empty ? H5D_COMPACT : H5D_CONTIGUOUS) >= 0
         && H5Pset_alloc_time(dcpl, H5D_ALLOC_TIME_EARLY) >= 0 && H5Pset_fill_time(dcpl, H5D_FILL_TIME_ALLOC) >= 0;
    if (H5Tget_class(spec->type) == H5T_FLOAT) {
        ok = ok && H5Pset_fill_value(dcpl, H5T_NATIVE_FLOAT, &nan_value) >= 0;
    } else {
        ok = ok && H5Pset_fill_value(dcpl, H5T_NATIVE_INT64, &spec->fill) >= 0;
    }
    if (!ok) {
        H5Pclose(dcpl);
        return -1;
    }
    return dcpl;
}

/* A scale that only carries a length: never written, so it takes no space. The name is netCDF's own convention. */
static dtx_status make_flat_scale(hid_t file, const char *path, hsize_t n)
{
    char label[96];
    hid_t dcpl = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(1, &n, NULL), dset = -1;
    dtx_status st = DTX_OK;

    snprintf(label, sizeof label, "This is a netCDF dimension but not a netCDF variable.%10llu", (unsigned long long)n);
    H5Pset_obj_track_times(dcpl, false);
    H5Pset_alloc_time(dcpl, H5D_ALLOC_TIME_LATE);
    dset = H5Dcreate2(file, path, H5T_IEEE_F32BE, space, H5P_DEFAULT, dcpl, H5P_DEFAULT);
    if (dset < 0 || H5DSset_scale(dset, label) < 0) {
        st = DTX_H5_FAIL(DTX_ERR_CHECK, "cannot make the dimension scale %s", path);
    }
    if (dset >= 0) {
        H5Dclose(dset);
    }
    H5Sclose(space);
    H5Pclose(dcpl);
    return st;
}

/* A scale with the values 0 .. n-1. */
static dtx_status make_index_scale(hid_t file, const char *path, hsize_t n)
{
    const char *name = strrchr(path, '/') + 1;
    char about[128];
    int64_t *index = NULL;
    hid_t dset = -1;
    dtx_status st = DTX_OK;

    snprintf(about, sizeof about, "%s, counted from 0", name);
    dtx_h5_spec spec = {.path = path, .type = H5T_NATIVE_INT64, .rank = 1, .shape = {n, 0}, .long_name = about, .units = "1"};
    DTX_GO(DTX_NEW_RAW(index, n));
    for (hsize_t i = 0; i < n; i++) {
        index[i] = (int64_t)i;
    }
    DTX_GO(dtx_h5_make_spec(file, &spec));
    DTX_GO(dtx_h5_open_object(file, path, &dset));
    DTX_GO(dtx_h5_write_rows(dset, path, H5T_NATIVE_INT64, 0, n, 1, index));
    if (H5DSset_scale(dset, name) < 0) {
        st = DTX_H5_FAIL(DTX_ERR_CHECK, "cannot make %s a dimension scale", path);
    }
done:
    if (dset >= 0) {
        H5Oclose(dset);
    }
    dtx_free(index);
    return st;
}

/* 1: `path` is a scale of length n; 0: nothing there; -1: something else. */
static int scale_at(hid_t file, const char *path, hsize_t n)
{
    hsize_t shape[2] = {0, 0};
    hid_t dset;
    int found = -1;

    if (!dtx_h5_exists(file, path)) {
        return 0;
    }
    if (dtx_h5_open_object(file, path, &dset) == DTX_OK) {
        if (dtx_h5_is_scale(dset) && dtx_h5_space_shape(dset, path, shape, NULL) == DTX_OK && shape[0] == n) {
            found = 1;
        }
        H5Oclose(dset);
    }
    return found;
}

/* Finds or makes the scale of one axis; see dtx_h5_spec. */
static dtx_status axis_scale(hid_t file, const char *dataset, const char *dim, hsize_t n, char *path, size_t size)
{
    bool flat = strncmp(dim, "flat:", 5) == 0, want_root = dim[0] == '/';
    const char *name = flat ? dim + 5 : want_root ? dim + 1 : dim;
    char root[512], own[1024];
    int group = (int)(strrchr(dataset, '/') - dataset);

    snprintf(root, sizeof root, "/%s", name);
    snprintf(own, sizeof own, "%.*s/%s", group, dataset, name);
    int own_is = scale_at(file, own, n), root_is = flat ? -1 : scale_at(file, root, n);
    const char *use = own_is == 1 ? own : root_is == 1 ? root : want_root && root_is == 0 ? root : own_is == 0 ? own : NULL;
    if (use == NULL) {
        return DTX_FAIL(DTX_ERR_INPUT, "the axis '%s' of %s needs length %llu, but %s is something else", dim, dataset,
                        (unsigned long long)n, own);
    }
    if (scale_at(file, use, n) == 0) {
        DTX_TRY(flat ? make_flat_scale(file, use, n) : make_index_scale(file, use, n));
    }
    snprintf(path, size, "%s", use);
    return DTX_OK;
}

dtx_status dtx_h5_make_spec(hid_t file, const dtx_h5_spec *spec)
{
    hid_t space = -1, dcpl = -1, dset = -1, scale = -1;
    char scale_path[1024];
    dtx_status st = DTX_OK;

    DTX_TRY(dtx_h5_reserve(file, spec->shape[0] * (spec->rank > 1 ? spec->shape[1] : 1) * H5Tget_size(spec->type), spec->path));
    DTX_TRY(dtx_h5_make_groups(file, spec->path, false));
    space = H5Screate_simple(spec->rank, spec->shape, NULL);
    dcpl = creation_list(spec);
    dset = H5Dcreate2(file, spec->path, stored_type(spec->type), space, H5P_DEFAULT, dcpl, H5P_DEFAULT);
    if (dset < 0) {
        st = DTX_H5_FAIL(DTX_ERR_CHECK, "cannot make the dataset %s (%llu x %llu)", spec->path,
                         (unsigned long long)spec->shape[0], (unsigned long long)(spec->rank > 1 ? spec->shape[1] : 1));
        goto done;
    }
    for (int i = 0; i < spec->rank; i++) {
        if (spec->dims[i] == NULL) {
            continue;
        }
        DTX_GO(axis_scale(file, spec->path, spec->dims[i], spec->shape[i], scale_path, sizeof scale_path));
        DTX_GO(dtx_h5_open_object(file, scale_path, &scale));
        DTX_GO(dtx_h5_attach_scale(dset, spec->path, scale, i));
        H5Oclose(scale);
        scale = -1;
    }
    DTX_GO(dtx_h5_attr_str(file, spec->path, "long_name", spec->long_name));
    DTX_GO(dtx_h5_attr_str(file, spec->path, "units", spec->units));
done:
    if (scale >= 0) {
        H5Oclose(scale);
    }
    if (dset >= 0) {
        H5Dclose(dset);
    }
    if (dcpl >= 0) {
        H5Pclose(dcpl);
    }
    if (space >= 0) {
        H5Sclose(space);
    }
    return st;
}

/* The scales that stay behind must not point at a deleted dataset: its address may be used again. */
static herr_t detach_all(hid_t root, const char *name, const H5O_info_t *info, void *user)
{
    dtx_status *st = user;

    if (info->type == H5O_TYPE_DATASET) {
        hid_t dset = H5Oopen(root, name, H5P_DEFAULT);
        *st = dset >= 0 ? dtx_h5_detach_scales(dset, name) : DTX_H5_FAIL(DTX_ERR_INPUT, "cannot open %s", name);
        if (dset >= 0) {
            H5Oclose(dset);
        }
    }
    return *st == DTX_OK ? 0 : -1;
}

dtx_status dtx_h5_delete(hid_t file, const char *path)
{
    hid_t obj = -1;
    dtx_status st = DTX_OK;

    DTX_TRY(dtx_h5_open_object(file, path, &obj));
    if (H5Ovisit(obj, H5_INDEX_NAME, H5_ITER_INC, detach_all, &st) < 0 && st == DTX_OK) {
        st = DTX_H5_FAIL(DTX_ERR_INPUT, "cannot walk through %s", path);
    }
    H5Oclose(obj);
    if (st == DTX_OK && H5Ldelete(file, path, H5P_DEFAULT) < 0) {
        st = DTX_H5_FAIL(DTX_ERR_CHECK, "cannot delete %s", path);
    }
    return st;
}
