/* Files as one process opens and leaves them. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "mpi/h5/impl.h"
#include "src/base/helper.h"
#include "src/base/file.h"

enum { RESERVE_METADATA = 1 << 15 }; /* more than what making one dataset adds to groups, heaps and headers */

dtx_status dtx_h5_open_serial(const char *path, hid_t *out)
{
    hid_t file = -1;

    DTX_TRY(dtx_helper_start()); /* before anything is open */
    DTX_TRY(dtx_h5_open_known(path, &file));
    dtx_status st = dtx_h5_probe(path);
    if (st != DTX_OK) {
        dtx_h5_close(file);
        return st;
    }
    *out = file;
    return DTX_OK;
}

dtx_status dtx_h5_check_schema(hid_t file, const char *path)
{
    int64_t version = 0;
    bool there = false;

    DTX_TRY(dtx_h5_attr_get_int(file, "/", "schema_version", &version, &there));
    if (!there) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: has no attribute schema_version, so it is no run.h5 of detoxlens", path);
    }
    if (version != DTX_SCHEMA_VERSION) {
        return DTX_FAIL(DTX_ERR_USAGE, "%s: written with schema_version %lld; this program reads and writes %d: use the "
                        "program that wrote it, or another run directory", path, (long long)version, DTX_SCHEMA_VERSION);
    }
    return DTX_OK;
}

dtx_status dtx_h5_reserve(hid_t file, hsize_t bytes, const char *what)
{
    struct rlimit limit;
    hsize_t size = 0;
    int fd = dtx_h5_descriptor(file), error = 0;

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
