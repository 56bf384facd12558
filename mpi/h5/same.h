/* same.h - do two run.h5 hold the same bytes? Compared are the types, shapes and values of every dataset and attribute
 * outside /provenance and /training/<name>/timing, which tell of time and place. Local, without MPI. */
#ifndef DTX_H5_SAME_H
#define DTX_H5_SAME_H

#include <hdf5.h>
#include <stdint.h>

#include "src/base/status.h"

typedef struct {
    int64_t datasets, attributes, bytes; /* compared */
    int64_t differences;                 /* objects that differ, or are in one file alone */
    char text[4096];                     /* the first of them, a line each, with path and index */
} dtx_h5_same_report;

/* DTX_OK when both files could be compared, whatever came out: see report->differences. DTX_ERR_MISSING / DTX_ERR_INPUT /
 * DTX_ERR_USAGE (another schema_version) when one of them cannot be read. */
dtx_status dtx_h5_same(const char *path_a, const char *path_b, dtx_h5_same_report *report);
/* The same for one object, and what is below it, of two open files that both hold it. */
dtx_status dtx_h5_same_object(hid_t a, hid_t b, const char *path, dtx_h5_same_report *report);

#endif
