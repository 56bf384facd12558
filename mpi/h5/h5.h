/* h5.h - datasets, attributes and groups of a file that one process has open, for editors (mpi/run/run.h) and serial readers. All
 * functions are local. */
#ifndef DTX_H5_H
#define DTX_H5_H

#include <hdf5.h>
#include <stdbool.h>
#include <stdint.h>

#include "src/base/status.h"

enum { DTX_SCHEMA_VERSION = 1 };

/* A dataset: contiguous, early allocation, filled with its fill value (NaN for floats, `fill` for integers), with
 * long_name, units and dimension scales as mpi/README.md tells. Groups on the way are made. Axis i uses the scale
 * `dims[i]`: the one of that name in the same group, else in the root, where its length fits; else it is made, in the
 * root when the name begins with "/" ("/row", "/row_edge", "/step") and is free there, otherwise in the group. A name
 * beginning with "flat:" ("flat:text_byte") makes, in the group, the unwritten late-allocated scale for a flat axis; it
 * must differ from the names of the group's datasets. dims[i] == NULL: no scale. */
typedef struct {
    const char *path;       /* absolute, "/variants/IT/completions/tokens" */
    hid_t type;             /* H5T_NATIVE_FLOAT -> stored little-endian f32, and so on */
    int rank;
    hsize_t shape[2];
    const char *dims[2];
    int64_t fill;           /* integers only */
    const char *long_name, *units;
} dtx_h5_spec;
dtx_status dtx_h5_make_spec(hid_t file, const dtx_h5_spec *spec);
/* DTX_ERR_INPUT when the file has no schema_version, DTX_ERR_USAGE when it has another one. */
dtx_status dtx_h5_check_schema(hid_t file, const char *path);
/* Opens a file for reading without MPI (report, inspect, tests). DTX_ERR_MISSING / DTX_ERR_INPUT. */
dtx_status dtx_h5_open_serial(const char *path, hid_t *out);
/* Closes it; a negative handle is fine. */
void dtx_h5_close(hid_t file);
bool dtx_h5_exists(hid_t file, const char *path);
dtx_status dtx_h5_delete(hid_t file, const char *path);
/* Attributes (fixed-length strings, UTF-8; replaced when there). `path` is a group or dataset. */
dtx_status dtx_h5_attr_str(hid_t file, const char *path, const char *name, const char *value);
dtx_status dtx_h5_attr_int(hid_t file, const char *path, const char *name, int64_t value);
dtx_status dtx_h5_attr_double(hid_t file, const char *path, const char *name, double value);
/* *out allocated (dtx_free); NULL when the attribute is absent. */
dtx_status dtx_h5_attr_get_str(hid_t file, const char *path, const char *name, char **out);
dtx_status dtx_h5_attr_get_int(hid_t file, const char *path, const char *name, int64_t *out, bool *there);
/* Names of a group's members in the order of their bytes; none when the group is absent. One block, freed with dtx_free. */
dtx_status dtx_h5_list(hid_t file, const char *group, char ***names, size_t *n);
/* Attributes that are one string or one number, as text: pairs[2 i] the name, pairs[2 i + 1] the value. One block. */
dtx_status dtx_h5_attr_list(hid_t file, const char *path, char ***pairs, size_t *n);

#endif
