/* Pieces for editors and serial readers: errors, groups, reading, attributes. h5_make.c makes datasets. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "mpi/h5/h5.h"
#include "src/base/mem.h"

/* RESERVE_METADATA: more than what making one dataset adds to groups, heaps and headers. */
enum { READ_PIECE = 1 << 28, ATTR_MAX = 60000, RESERVE_METADATA = 1 << 15 };

void dtx_h5_quiet(void)
{
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

static herr_t innermost(unsigned n, const H5E_error2_t *e, void *user)
{
    (void)n;
    snprintf(user, 1024, "%s", e->desc != NULL ? e->desc : "");
    return 1; /* one is enough */
}

/* "...errno = 28, error message = 'No space left on device', ..." becomes what stands between the quotes. */
static void shorten(char *text)
{
    static const char mark[] = "error message = '";
    char *begin = strstr(text, mark);

    if (begin != NULL) {
        begin += sizeof mark - 1;
        char *end = strchr(begin, '\'');
        size_t len = end != NULL ? (size_t)(end - begin) : strlen(begin);
        memmove(text, begin, len);
        text[len] = '\0';
    }
}

static bool is_environment(const char *text)
{
    static const char *const causes[] = {"o space left", "quota", "File too large", "ermission denied", "Read-only",
                                         "Input/output error", "Stale file", "NO_SPACE"};

    for (size_t i = 0; i < sizeof causes / sizeof causes[0]; i++) {
        if (strstr(text, causes[i]) != NULL) {
            return true;
        }
    }
    return false;
}

dtx_status dtx_h5_fail(dtx_status code, const char *file, int line, const char *fmt, ...)
{
    char inner[1024] = "", text[2048];
    va_list ap;

    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, innermost, inner);
    shorten(inner);
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (is_environment(inner)) {
        code = DTX_ERR_MISSING;
    }
    return inner[0] != '\0' ? dtx_fail(code, file, line, "%s (HDF5: %s)", text, inner)
                            : dtx_fail(code, file, line, "%s", text);
}

hid_t dtx_h5_serial_access(void)
{
    hid_t fapl = H5Pcreate(H5P_FILE_ACCESS);

    if (fapl >= 0) {
        H5Pset_fclose_degree(fapl, H5F_CLOSE_STRONG); /* what an editor left open must not keep the file open */
#if H5_VERSION_GE(1, 10, 7)
        H5Pset_file_locking(fapl, false, true);
#endif
    }
    return fapl;
}

dtx_status dtx_h5_open_serial(const char *path, hid_t *out)
{
    dtx_h5_quiet();
    int fd = open(path, O_RDONLY | O_CLOEXEC); /* the system's reason is clearer than HDF5's */
    if (fd < 0) {
        return DTX_FAIL(DTX_ERR_MISSING, "%s: cannot open: %s", path, strerror(errno));
    }
    close(fd);
    hid_t fapl = dtx_h5_serial_access();
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, fapl);
    dtx_status st = DTX_OK;
    if (file < 0) {
        st = DTX_H5_FAIL(DTX_ERR_INPUT, "%s: not a readable HDF5 file", path);
    }
    H5Pclose(fapl);
    DTX_TRY(st);
    st = dtx_h5_probe(path);
    if (st != DTX_OK) {
        H5Fclose(file);
        return st;
    }
    *out = file;
    return DTX_OK;
}

void dtx_h5_close(hid_t file)
{
    if (file >= 0) {
        H5Fclose(file);
    }
}

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

static dtx_status open_dataset(hid_t file, const char *path, hid_t *out)
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

dtx_status dtx_h5_shape(hid_t file, const char *path, hsize_t shape[2])
{
    hid_t dset = -1;

    DTX_TRY(open_dataset(file, path, &dset));
    dtx_status st = dtx_h5_space_shape(dset, path, shape, NULL);
    H5Dclose(dset);
    return st;
}

dtx_status dtx_h5_read_open(hid_t dset, const char *path, hid_t type, hsize_t first, hsize_t count, void *x)
{
    hsize_t shape[2] = {0, 0};
    int rank = 0;
    size_t item = H5Tget_size(type);

    DTX_TRY(dtx_h5_space_shape(dset, path, shape, &rank));
    if (first > shape[0] || count > shape[0] - first) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s has %llu rows; rows %llu + %llu were asked for", path,
                        (unsigned long long)shape[0], (unsigned long long)first, (unsigned long long)count);
    }
    size_t row = (size_t)shape[1] * item;
    hsize_t at_once = row > 0 && row < READ_PIECE ? READ_PIECE / row : 1;
    dtx_status st = DTX_OK;
    for (hsize_t done = 0; done < count && row > 0 && st == DTX_OK; done += at_once) {
        hsize_t n = count - done < at_once ? count - done : at_once;
        hsize_t start[2] = {first + done, 0}, block[2] = {n, shape[1]}, total = n * shape[1];
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

dtx_status dtx_h5_read_rows(hid_t file, const char *path, hid_t type, hsize_t first, hsize_t count, void *x)
{
    hid_t dset = -1;

    DTX_TRY(open_dataset(file, path, &dset));
    dtx_status st = dtx_h5_read_open(dset, path, type, first, count, x);
    H5Dclose(dset);
    return st;
}

dtx_status dtx_h5_read(hid_t file, const char *path, hid_t type, void *x)
{
    hid_t dset = -1;
    hsize_t shape[2] = {0, 0};

    DTX_TRY(open_dataset(file, path, &dset));
    dtx_status st = dtx_h5_space_shape(dset, path, shape, NULL);
    if (st == DTX_OK) {
        st = dtx_h5_read_open(dset, path, type, 0, shape[0], x);
    }
    H5Dclose(dset);
    return st;
}

dtx_status dtx_h5_write(hid_t file, const char *path, hid_t type, const void *x)
{
    hid_t dset = -1;
    hsize_t shape[2] = {0, 0};
    dtx_status st;

    DTX_TRY(open_dataset(file, path, &dset));
    st = dtx_h5_space_shape(dset, path, shape, NULL);
    if (st == DTX_OK && shape[0] > 0 && shape[1] > 0
        && H5Dwrite(dset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, x) < 0) {
        st = DTX_H5_FAIL(DTX_ERR_CHECK, "cannot write %s", path);
    }
    H5Dclose(dset);
    return st;
}

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

/* The descriptor of a file opened serially; -1 when it has none. */
static int descriptor(hid_t file)
{
    void *handle = NULL;

    return H5Fget_vfd_handle(file, H5P_DEFAULT, &handle) >= 0 && handle != NULL ? *(int *)handle : -1;
}

dtx_status dtx_h5_reserve(hid_t file, hsize_t bytes, const char *what)
{
    struct rlimit limit;
    hsize_t size = 0;
    int fd = descriptor(file), error = 0;

    if (fd < 0 || H5Fget_filesize(file, &size) < 0) {
        return DTX_OK;
    }
    bytes += RESERVE_METADATA;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && size + bytes > limit.rlim_cur) {
        error = EFBIG;
    } else if (fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)size, (off_t)bytes) != 0) {
        error = errno;
    }
    if (error == ENOSPC || error == EDQUOT || error == EFBIG || error == EIO) { /* others: the file system cannot reserve */
        return DTX_FAIL(DTX_ERR_MISSING, "%s: no room for %.1f MB more: %s", what, (double)bytes / 1e6, strerror(error));
    }
    return DTX_OK;
}

void dtx_h5_abandon(hid_t file)
{
    if (file < 0) {
        return;
    }
    if (H5Fflush(file, H5F_SCOPE_GLOBAL) < 0) {
        int memory = memfd_create("abandoned", MFD_CLOEXEC), fd = descriptor(file);
        if (memory >= 0 && fd >= 0) {
            dup2(memory, fd);
        }
        if (memory >= 0) {
            close(memory);
        }
    }
    H5Fclose(file);
}
