/* extent.h - where the values of a dataset stand in its file, so that any process can write rows of it there: datasets are contiguous
 * and allocated when they are made (h5.h), and no metadata changes with their values. */
#ifndef DTX_H5_EXTENT_H
#define DTX_H5_EXTENT_H

#include "mpi/h5/h5.h"

/* Plain numbers: goes to other ranks as it is. */
typedef struct {
    uint64_t offset;          /* bytes from the file's beginning */
    int64_t rows, width;      /* rows of `width` elements */
    int32_t is_float, is_signed, item; /* the stored type, little-endian, item bytes */
} dtx_h5_extent;

/* Of an open dataset; `path` for messages. DTX_ERR_INPUT where its values do not stand in one piece within the file. */
dtx_status dtx_h5_locate(hid_t dset, const char *path, dtx_h5_extent *out);
/* HDF5's type of the stored values; not to be closed. */
hid_t dtx_h5_extent_type(const dtx_h5_extent *p);
/* Writes rows first .. first+n-1 from x (n, width) of `type` to the file open as fd. Conversions are HDF5's. DTX_ERR_MISSING with the
 * system's reason; a write that stops in between is taken up again. */
dtx_status dtx_h5_extent_write(int fd, const dtx_h5_extent *p, const char *path, hid_t type, int64_t first, int64_t n, const void *x);

#endif
