/* impl.h - what the files of mpi share for HDF5: its own message inside ours, and nothing printed by the library. */
#ifndef DTX_H5_IMPL_H
#define DTX_H5_IMPL_H

#include "mpi/h5/disk.h"
#include "mpi/h5/h5.h"

/* Switches off HDF5's printing. Cheap; called by everything that opens a file. */
void dtx_h5_quiet(void);

/* As DTX_FAIL, with the innermost message of HDF5's error stack added. Must be the first thing after the failed call, as
 * the next HDF5 call clears the stack. A full disk, a missing permission or an I/O error is DTX_ERR_MISSING whatever
 * `code` says. */
#define DTX_H5_FAIL(code, ...) dtx_h5_fail((code), __FILE__, __LINE__, __VA_ARGS__)
dtx_status dtx_h5_fail(dtx_status code, const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Walks the structure of a file in another process: DTX_ERR_INPUT when it is damaged, even when HDF5's library would crash
 * on it. The file must open. */
dtx_status dtx_h5_probe(const char *path);
/* Room on disk for that many bytes more and some metadata, before HDF5 is told to write them: when a flush or close fails for
 * lack of room, HDF5 can no longer end in good order. DTX_ERR_MISSING when there is none; fine where it cannot be known. */
dtx_status dtx_h5_reserve(hid_t file, hsize_t bytes, const char *what);
/* Opens a file for reading that this process has opened with dtx_h5_open_serial before, or made: the walk is not repeated. */
dtx_status dtx_h5_open_known(const char *path, hid_t *out);
/* Opens an object (group or dataset). DTX_ERR_MISSING when it is not there. Close with H5Oclose. */
dtx_status dtx_h5_open_object(hid_t file, const char *path, hid_t *out);
/* Makes the groups on the way to the last component of `path`, and that one too when `last` is true. */
dtx_status dtx_h5_make_groups(hid_t file, const char *path, bool last);
/* A string attribute padded with NUL to `room` bytes, to be overwritten in place later. */
dtx_status dtx_h5_attr_str_room(hid_t file, const char *path, const char *name, const char *value, size_t room);
/* Number of elements of one row of the first axis, and of rows. DTX_ERR_INPUT for more than two axes. */
dtx_status dtx_h5_space_shape(hid_t dset, const char *path, hsize_t shape[2], int *rank);
/* Opens a dataset; DTX_ERR_MISSING when it is not there, DTX_ERR_INPUT when it is something else. */
dtx_status dtx_h5_open_dataset(hid_t file, const char *path, hid_t *out);
/* Rows of an open dataset into x (count, width), in pieces below 256 MB. DTX_ERR_INPUT when it has not these rows or another
 * width. */
dtx_status dtx_h5_read_open(hid_t dset, const char *path, hid_t type, hsize_t first, hsize_t count, hsize_t width, void *x);
/* Serial. Overwrites rows of an open dataset from x (n, width). */
dtx_status dtx_h5_write_rows(hid_t dset, const char *path, hid_t type, hsize_t first, hsize_t n, hsize_t width, const void *x);

/* --- dimension scales (scale.c): DTX_ERR_INPUT where the attributes that name them are not what they should be --- */

bool dtx_h5_is_scale(hid_t dset);
/* Path of the first dimension scale of one axis of an open dataset; "" where there is none, and for a scale itself. */
dtx_status dtx_h5_scale_name(hid_t dset, const char *path, int axis, char *out, size_t size);
dtx_status dtx_h5_attach_scale(hid_t dset, const char *path, hid_t scale, int axis);
/* Of all axes; nothing for a dataset that is a scale itself. */
dtx_status dtx_h5_detach_scales(hid_t dset, const char *path);

/* --- between two files, serial (copy.c) --- */

/* Copies a group with all below it, or a dataset, to the same path of another file, where it is not yet. */
dtx_status dtx_h5_copy(hid_t from, const char *path, hid_t to);
/* Copies the attributes of an object that the other one lacks. */
dtx_status dtx_h5_copy_attributes(hid_t from, const char *path, hid_t to, const char *to_path);

#endif
