/* HDF5's library can crash on a damaged file (1.10.8: 7 of 400 files with a few metadata bytes changed, in this program as
 * in h5dump). So another process walks the structure first (src/base/helper.h): when that one dies, the file is refused, not the program. */
#include <hdf5_hl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "mpi/h5/impl.h"
#include "src/base/helper.h"

enum { PROBE_SECONDS = 120, MAX_ATTRIBUTE = 1 << 26, MAX_SCALES = 4096 };

static bool read_attribute(hid_t attr)
{
    hid_t type = H5Aget_type(attr), space = H5Aget_space(attr);
    hssize_t n = space >= 0 ? H5Sget_simple_extent_npoints(space) : -1;
    size_t size = type >= 0 ? H5Tget_size(type) : 0;
    bool ok = n >= 0 && size > 0 && (size_t)n <= MAX_ATTRIBUTE / size;

    if (ok && n > 0) {
        void *x = calloc((size_t)n, size); /* of the child: not counted */
        ok = x != NULL && H5Aread(attr, type, x) >= 0;
        for (hssize_t i = 0; ok && i < n && H5Tget_class(type) == H5T_VLEN; i++) { /* an axis's scales: copying billions takes minutes */
            ok = ((const hvl_t *)x)[i].len <= MAX_SCALES;
        }
        if (ok && H5Tdetect_class(type, H5T_VLEN) > 0) {
            ok = H5Dvlen_reclaim(type, space, H5P_DEFAULT, x) >= 0;
        }
        free(x);
    }
    H5Sclose(space);
    H5Tclose(type);
    return ok;
}

static herr_t visit_attribute(hid_t obj, const char *name, const H5A_info_t *info, void *user)
{
    hid_t attr = H5Aopen(obj, name, H5P_DEFAULT);
    bool ok = attr >= 0 && H5Aexists(obj, name) > 0 && read_attribute(attr);

    (void)info;
    (void)user;
    if (attr >= 0) {
        H5Aclose(attr);
    }
    return ok ? 0 : -1;
}

static herr_t visit_object(hid_t root, const char *name, const H5O_info_t *info, void *user)
{
    hid_t obj = H5Oopen(root, name, H5P_DEFAULT);
    char text[256];
    bool ok = obj >= 0 && H5Aiterate2(obj, H5_INDEX_NAME, H5_ITER_INC, NULL, visit_attribute, NULL) >= 0;

    (void)user;
    for (hsize_t i = 0; ok && i < info->num_attrs; i++) {
        ok = H5Aget_name_by_idx(obj, ".", H5_INDEX_NAME, H5_ITER_INC, i, text, sizeof text, H5P_DEFAULT) >= 0;
    }
    if (ok && info->type == H5O_TYPE_DATASET) {
        hid_t type = H5Dget_type(obj), space = H5Dget_space(obj), plist = H5Dget_create_plist(obj);
        ok = type >= 0 && space >= 0 && plist >= 0 && H5Sget_simple_extent_ndims(space) >= 0 && H5DSis_scale(obj) >= 0;
        H5Dget_storage_size(obj);
        H5Pclose(plist);
        H5Sclose(space);
        H5Tclose(type);
    }
    if (obj >= 0) {
        H5Oclose(obj);
    }
    return ok ? 0 : -1;
}

/* In a process of its own. */
static int walk(const char *path)
{
    hid_t file = -1;

    dtx_status st = dtx_h5_open_known(path, &file);
    if (st == DTX_OK && (H5Ovisit(file, H5_INDEX_NAME, H5_ITER_INC, visit_object, NULL) < 0 || H5Fclose(file) < 0)) {
        st = DTX_FAIL(DTX_ERR_INPUT, "%s: damaged: the HDF5 library cannot read all of its structure", path);
    }
    st = dtx_h5_device_check(st, path);
    if (st != DTX_OK) {
        dprintf(STDERR_FILENO, "%s", dtx_error_text());
    }
    return (int)st;
}

dtx_status dtx_h5_probe(const char *path)
{
    dtx_helper_result result;

    DTX_TRY(dtx_helper_call(walk, path, PROBE_SECONDS, &result));
    if (result.signal != 0) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: damaged: reading its structure %s", path,
                        result.signal == SIGALRM ? "does not come to an end" : "crashes the HDF5 library");
    }
    return result.code == 0 ? DTX_OK : DTX_FAIL((dtx_status)result.code, "%s", result.said);
}
