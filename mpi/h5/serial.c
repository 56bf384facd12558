/* Groups, shapes and values, for editors and serial readers. make.c makes datasets. */
#include <string.h>

#include "mpi/h5/impl.h"
#include "src/base/mem.h"

enum { READ_PIECE = 1 << 28 };

bool dtx_h5_exists(hid_t file, const char *path)
{
    char part[1024];
    size_t n = strlen(path);

    if (n == 0 || n >= sizeof part) {
        return false;
    }
    /* H5Lexists answers for the last link only when all links before it are there */
    memcpy(part, path, n + 1);
    for (size_t i = 1; i < n; i++) {
        if (part[i] == '/') {
            part[i] = '\0';
            if (H5Lexists(file, part, H5P_DEFAULT) <= 0) {
                return false;
            }
            part[i] = '/';
        }
    }
    return strcmp(path, "/") == 0 || H5Lexists(file, path, H5P_DEFAULT) > 0;
}

dtx_status dtx_h5_open_object(hid_t file, const char *path, hid_t *out)
{
    char name[1024] = "";

    if (!dtx_h5_exists(file, path)) {
        H5Fget_name(file, name, sizeof name);
        return DTX_FAIL(DTX_ERR_MISSING, "%s: there is no %s in it; has the stage that writes it run?", name, path);
    }
    hid_t id = H5Oopen(file, path, H5P_DEFAULT);
    if (id < 0) {
        return DTX_H5_FAIL(DTX_ERR_INPUT, "cannot open %s", path);
    }
    *out = id;
    return DTX_OK;
}

dtx_status dtx_h5_open_dataset(hid_t file, const char *path, hid_t *out)
{
    hid_t id = -1;

    DTX_TRY(dtx_h5_open_object(file, path, &id));
    if (H5Iget_type(id) != H5I_DATASET) {
        H5Oclose(id);
        return DTX_FAIL(DTX_ERR_INPUT, "%s is not a dataset", path);
    }
    *out = id;
    return DTX_OK;
}

dtx_status dtx_h5_make_groups(hid_t file, const char *path, bool last)
{
    char part[1024];
    size_t n = strlen(path);
    dtx_status st = DTX_OK;

    if (path[0] != '/' || n >= sizeof part) {
        return DTX_FAIL(DTX_ERR_CHECK, "HDF5 path '%.100s' is not absolute or too long", path);
    }
    memcpy(part, path, n + 1);
    for (size_t i = 1; i <= n && st == DTX_OK && n > 1; i++) {
        if (part[i] != '/' && !(part[i] == '\0' && last)) {
            continue;
        }
        char c = part[i];
        part[i] = '\0';
        if (H5Lexists(file, part, H5P_DEFAULT) <= 0) {
            hid_t gcpl = H5Pcreate(H5P_GROUP_CREATE);
            H5Pset_obj_track_times(gcpl, false);
            hid_t group = H5Gcreate2(file, part, H5P_DEFAULT, gcpl, H5P_DEFAULT);
            if (group < 0) {
                st = DTX_H5_FAIL(DTX_ERR_CHECK, "cannot make the group %s", part);
            } else {
                H5Gclose(group);
            }
            H5Pclose(gcpl);
        }
        part[i] = c;
    }
    return st;
}

dtx_status dtx_h5_space_shape(hid_t dset, const char *path, hsize_t shape[2], int *rank)
{
    hid_t space = H5Dget_space(dset);
    hsize_t dims[H5S_MAX_RANK];
    int n = space >= 0 ? H5Sget_simple_extent_dims(space, dims, NULL) : -1;

    if (space >= 0) {
        H5Sclose(space);
    }
    if (n < 0 || n > 2) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s has %d axes; 1 or 2 are expected", path, n);
    }
    shape[0] = n > 0 ? dims[0] : 1;
    shape[1] = n > 1 ? dims[1] : 1;
    if (rank != NULL) {
        *rank = n;
    }
    return DTX_OK;
}

/* Rows first .. first+count-1 of `width` elements lie in the dataset? */
static dtx_status check_rows(hid_t dset, const char *path, hsize_t first, hsize_t count, hsize_t width, int *rank)
{
    hsize_t shape[2] = {0, 0};

    DTX_TRY(dtx_h5_space_shape(dset, path, shape, rank));
    if (first > shape[0] || count > shape[0] - first || shape[1] != width) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s has the shape (%llu, %llu); rows %llu to %llu of %llu elements are expected", path,
                        (unsigned long long)shape[0], (unsigned long long)shape[1], (unsigned long long)first,
                        (unsigned long long)(first + count), (unsigned long long)width);
    }
    return DTX_OK;
}

dtx_status dtx_h5_read_open(hid_t dset, const char *path, hid_t type, hsize_t first, hsize_t count, hsize_t width, void *x)
{
    int rank = 0;
    size_t row = (size_t)width * H5Tget_size(type);

    DTX_TRY(check_rows(dset, path, first, count, width, &rank));
    hsize_t at_once = row > 0 && row < READ_PIECE ? READ_PIECE / row : 1;
    dtx_status st = DTX_OK;
    for (hsize_t done = 0; done < count && row > 0 && st == DTX_OK; done += at_once) {
        hsize_t n = count - done < at_once ? count - done : at_once;
        hsize_t start[2] = {first + done, 0}, block[2] = {n, width}, total = n * width;
        hid_t from = H5Dget_space(dset), to = H5Screate_simple(1, &total, NULL);
        if (from < 0 || to < 0
            || (rank > 0 && H5Sselect_hyperslab(from, H5S_SELECT_SET, start, NULL, block, NULL) < 0)
            || H5Dread(dset, type, to, from, H5P_DEFAULT, (char *)x + done * row) < 0) {
            st = DTX_H5_FAIL(DTX_ERR_INPUT, "cannot read rows %llu + %llu of %s", (unsigned long long)start[0],
                             (unsigned long long)n, path);
        }
        H5Sclose(from);
        H5Sclose(to);
    }
    return st;
}

dtx_status dtx_h5_write_rows(hid_t dset, const char *path, hid_t type, hsize_t first, hsize_t n, hsize_t width,
                             const void *x)
{
    hsize_t start[2] = {first, 0}, block[2] = {n, width}, total = n * width;
    int rank = 0;

    DTX_TRY(check_rows(dset, path, first, n, width, &rank));
    hid_t to = H5Dget_space(dset), from = H5Screate_simple(1, &total, NULL);
    dtx_status st = DTX_OK;
    if (total > 0 && (H5Sselect_hyperslab(to, H5S_SELECT_SET, start, NULL, block, NULL) < 0
                      || H5Dwrite(dset, type, from, to, H5P_DEFAULT, x) < 0)) {
        st = DTX_H5_FAIL(DTX_ERR_CHECK, "cannot write rows %llu + %llu of %s", (unsigned long long)first, (unsigned long long)n, path);
    }
    H5Sclose(from);
    H5Sclose(to);
    return st;
}
