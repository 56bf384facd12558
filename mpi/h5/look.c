/* Files opened for reading, through the changes of an unfinished edit where there are some. */
#include <unistd.h>

#include "mpi/h5/edit.h"
#include "mpi/h5/impl.h"
#include "src/base/file.h"
#include "src/base/mem.h"

/* Changes of an unfinished edit that a file is read through. One at a time: a second is kept until the program ends. */
static struct seen_through {
    hid_t file;
    dtx_h5_overlay *over;
} seen_through = {-1, NULL};

static void forget(dtx_h5_overlay *over)
{
    if (over != NULL) {
        close(over->fd);
        dtx_h5_overlay_free(over);
        dtx_free(over);
    }
}

void dtx_h5_close(hid_t file)
{
    if (file >= 0) {
        H5Fclose(file);
    }
    if (file >= 0 && file == seen_through.file) {
        forget(seen_through.over);
        seen_through = (struct seen_through){-1, NULL};
    }
}

dtx_status dtx_h5_open_known(const char *path, hid_t *out)
{
    dtx_h5_overlay *over = NULL;
    hid_t fapl, file;
    dtx_status st = DTX_OK;

    dtx_h5_quiet();
    dtx_h5_device_begin();
    int fd;
    DTX_TRY(dtx_file_open(path, &fd, NULL)); /* the system's reason is clearer than HDF5's, which would wait for a pipe */
    close(fd);
    DTX_TRY(dtx_h5_unfinished(path, &over));
    fapl = dtx_h5_access(over);
    file = H5Fopen(path, H5F_ACC_RDONLY, fapl);
    if (file < 0) {
        st = DTX_H5_FAIL(DTX_ERR_INPUT, "%s: not a readable HDF5 file", path);
        forget(over);
    } else if (over != NULL) {
        seen_through = (struct seen_through){file, over};
    }
    H5Pclose(fapl);
    if (st == DTX_OK) {
        *out = file;
    }
    return st;
}
