/* disk.h - how HDF5 files are accessed here: a file driver of our own (HDF5's virtual file layer) below the library. It reads and
 * writes whole ranges however often the system stops in between, remembers why the device failed, and keeps what an edit
 * changes of a file's old part in memory until all of it is known (edit.h). One process, one thread at a time. */
#ifndef DTX_H5_DISK_H
#define DTX_H5_DISK_H

#include <hdf5.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "src/base/status.h"

enum { DTX_H5_BLOCK = 4096 };

/* What is different in one block of a file. */
typedef struct {
    uint64_t number; /* of DTX_H5_BLOCK bytes */
    char was[DTX_H5_BLOCK], is[DTX_H5_BLOCK];
} dtx_h5_block;

/* Changes over the first `base` bytes of a file; what lies beyond them is written at once. */
typedef struct {
    int fd;               /* of the file; borrowed by the driver */
    uint64_t base;
    uint64_t size;        /* that the file will have */
    int64_t n;
    size_t cap;
    dtx_h5_block **block; /* in the order they came; each dtx_free's */
    int64_t *slot;        /* hash table of indices, -1 = empty; n_slots a power of two */
    int64_t n_slots;
    bool abandoned;       /* nothing is written any more, and nothing fails for it */
} dtx_h5_overlay;
void dtx_h5_overlay_free(dtx_h5_overlay *o);
/* Puts a block that is known from elsewhere into it; `is` is copied. */
dtx_status dtx_h5_overlay_put(dtx_h5_overlay *o, uint64_t number, const void *is);

/* A file access list with this driver; `over` NULL: none, the file is written directly. It must outlive the file. < 0 on failure. */
hid_t dtx_h5_access(dtx_h5_overlay *over);
/* The old part of a file that was just opened for an edit ends where its allocated space does: what a killed edit left behind that is
 * nobody's. */
void dtx_h5_behind(hid_t file, dtx_h5_overlay *over);
/* The descriptor of a file opened so; -1 for others. */
int dtx_h5_descriptor(hid_t file);
/* Writes what is left and closes a file, in any case; DTX_ERR_MISSING when not all of it could be written. HDF5 must not see a write
 * that fails while it closes: the file would stay half closed, and HDF5's own end crash on it. */
dtx_status dtx_h5_finish(hid_t file, const char *path);
/* Closes a file whose content does not matter any more; < 0 is fine. What is left
 * goes nowhere. */
void dtx_h5_abandon(hid_t file);

/* The device's failures: what the library makes of a read error may be "damaged", or an object that "is not there". _begin
 * forgets them. _check: `st`, or DTX_ERR_MISSING with the first one since; to be called at the end of whatever was done with
 * a file, before anything is concluded from it. */
void dtx_h5_device_begin(void);
dtx_status dtx_h5_device_check(dtx_status st, const char *path);
/* "cannot read 512 bytes at 1024: Input/output error"; NULL = no failure. */
const char *dtx_h5_device_text(void);

/* The whole range, or an errno: 0, or what the system said; ENODATA when the file ends before (read). */
int dtx_h5_pread(int fd, void *x, size_t size, uint64_t at);
int dtx_h5_pwrite(int fd, const void *x, size_t size, uint64_t at);

#endif
