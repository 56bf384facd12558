#include "mpi/h5/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#if H5_VERSION_GE(1, 13, 0)
#include <H5FDdevelop.h>
#endif

#include "src/base/file.h"
#include "src/base/mem.h"

/* A reader and the moment of an edit's end wait so long for each other, and go on then. */
enum { LOCK_TRIES = 100, LOCK_PAUSE_US = 100000 };

/* --- whole ranges --- */

int dtx_h5_pread(int fd, void *x, size_t size, uint64_t at)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = pread(fd, (char *)x + done, size - done, (off_t)(at + done));
        if (n == 0) {
            return ENODATA;
        }
        if (n < 0 && errno != EINTR) {
            return errno;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

int dtx_h5_pwrite(int fd, const void *x, size_t size, uint64_t at)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = pwrite(fd, (const char *)x + done, size - done, (off_t)(at + done));
        if (n == 0) {
            return ENOSPC;
        }
        if (n < 0 && errno != EINTR) {
            return errno;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

/* --- failures --- */

static char failure[256];

void dtx_h5_device_begin(void)
{
    failure[0] = '\0';
}

const char *dtx_h5_device_text(void)
{
    return failure[0] != '\0' ? failure : NULL;
}

dtx_status dtx_h5_device_check(dtx_status st, const char *path)
{
    return failure[0] == '\0' ? st : DTX_FAIL(DTX_ERR_MISSING, "%s: %s", path, failure);
}

static herr_t failed(const char *what, uint64_t size, uint64_t at, int error)
{
    if (failure[0] == '\0' && error != EISDIR) {
        snprintf(failure, sizeof failure, "cannot %s %llu bytes at %llu: %s", what, (unsigned long long)size, (unsigned long long)at,
                 strerror(error));
    }
    return -1;
}

/* --- changes over a file --- */

void dtx_h5_overlay_free(dtx_h5_overlay *o)
{
    for (int64_t i = 0; i < o->n; i++) {
        dtx_free(o->block[i]);
    }
    dtx_free(o->block);
    dtx_free(o->slot);
    o->block = NULL;
    o->slot = NULL;
    o->n = o->n_slots = 0;
    o->cap = 0;
}

static int64_t slot_of(const dtx_h5_overlay *o, uint64_t number)
{
    uint64_t k = (number * UINT64_C(0x9E3779B97F4A7C15)) >> 20;

    for (;; k++) {
        const int64_t i = o->slot[k & (uint64_t)(o->n_slots - 1)];
        if (i < 0 || o->block[i]->number == number) {
            return (int64_t)(k & (uint64_t)(o->n_slots - 1));
        }
    }
}

static const dtx_h5_block *find(const dtx_h5_overlay *o, uint64_t number)
{
    const int64_t i = o->n_slots > 0 ? o->slot[slot_of(o, number)] : -1;

    return i >= 0 ? o->block[i] : NULL;
}

static dtx_status grow_table(dtx_h5_overlay *o)
{
    const int64_t n = o->n_slots > 0 ? 2 * o->n_slots : 64;
    int64_t *slot = NULL;

    DTX_TRY(DTX_NEW_RAW(slot, n));
    dtx_free(o->slot);
    o->slot = slot;
    o->n_slots = n;
    for (int64_t i = 0; i < n; i++) {
        slot[i] = -1;
    }
    for (int64_t i = 0; i < o->n; i++) {
        slot[slot_of(o, o->block[i]->number)] = i;
    }
    return DTX_OK;
}

static dtx_status add(dtx_h5_overlay *o, uint64_t number, dtx_h5_block **out)
{
    if (2 * (o->n + 1) > o->n_slots) {
        DTX_TRY(grow_table(o));
    }
    DTX_TRY(DTX_GROW(o->block, o->cap, o->n + 1));
    DTX_TRY(DTX_NEW(o->block[o->n], 1));
    *out = o->block[o->n];
    (*out)->number = number;
    o->slot[slot_of(o, number)] = o->n;
    o->n++;
    return DTX_OK;
}

dtx_status dtx_h5_overlay_put(dtx_h5_overlay *o, uint64_t number, const void *is)
{
    dtx_h5_block *b = NULL;

    DTX_TRY(add(o, number, &b));
    memcpy(b->is, is, sizeof b->is);
    return DTX_OK;
}

/* Bytes that block `number` has below the base. */
static size_t length_of(const dtx_h5_overlay *o, uint64_t number)
{
    const uint64_t begin = number * DTX_H5_BLOCK;

    return o->base - begin < DTX_H5_BLOCK ? (size_t)(o->base - begin) : DTX_H5_BLOCK;
}

/* A write below the base. 0 or an errno. */
static int change(dtx_h5_overlay *o, const char *x, size_t size, uint64_t at)
{
    while (size > 0) {
        const uint64_t number = at / DTX_H5_BLOCK, in = at % DTX_H5_BLOCK;
        const size_t take = DTX_H5_BLOCK - in < size ? (size_t)(DTX_H5_BLOCK - in) : size;
        dtx_h5_block *b = (dtx_h5_block *)(uintptr_t)find(o, number);
        if (b == NULL) {
            char was[DTX_H5_BLOCK] = {0};
            const int error = dtx_h5_pread(o->fd, was, length_of(o, number), number * DTX_H5_BLOCK);
            if (error != 0) {
                return error;
            }
            if (add(o, number, &b) != DTX_OK) {
                return ENOMEM;
            }
            memcpy(b->was, was, sizeof was);
            memcpy(b->is, was, sizeof was);
        }
        memcpy(b->is + in, x, take);
        x += take;
        at += take;
        size -= take;
    }
    return 0;
}

/* --- the driver --- */

typedef struct {
    H5FD_t pub; /* HDF5's, first */
    int fd;
    bool own_fd, direct_abandoned, closing;
    haddr_t eoa, size;
    dev_t device;
    ino_t inode;
    dtx_h5_overlay *over;
} disk_file;

typedef struct {
    dtx_h5_overlay *over;
} disk_info;

static void lock_shared(int fd)
{
    for (int i = 0; i < LOCK_TRIES && dtx_file_try_share(fd) != 0 && (errno == EAGAIN || errno == EACCES || errno == EINTR); i++) {
        usleep(LOCK_PAUSE_US);
    }
}

static H5FD_t *disk_open(const char *name, unsigned flags, hid_t fapl, haddr_t maxaddr)
{
    const disk_info *info = H5Pget_driver_info(fapl);
    dtx_h5_overlay *over = info != NULL ? info->over : NULL;
    const int how = (flags & H5F_ACC_RDWR ? O_RDWR : O_RDONLY) | (flags & H5F_ACC_CREAT ? O_CREAT : 0) |
                    (flags & H5F_ACC_TRUNC ? O_TRUNC : 0) | (flags & H5F_ACC_EXCL ? O_EXCL : 0) | O_CLOEXEC;
    const int fd = over != NULL ? over->fd : open(name, how, 0666);
    struct stat sb;
    disk_file *f = NULL;

    (void)maxaddr;
    if (fd < 0 || fstat(fd, &sb) != 0) {
        if (errno != ENOENT && errno != EISDIR) { /* HDF5 tries what it is about to make */
            failed("open", 0, 0, errno);
        }
    } else if (DTX_NEW(f, 1) != DTX_OK) {
        failed("open", 0, 0, ENOMEM);
    }
    if (f == NULL) {
        if (fd >= 0 && over == NULL) {
            close(fd);
        }
        return NULL;
    }
    f->fd = fd;
    f->own_fd = over == NULL;
    f->over = over;
    f->device = sb.st_dev;
    f->inode = sb.st_ino;
    f->size = over != NULL ? over->size : (haddr_t)sb.st_size;
    if (over == NULL && !(flags & H5F_ACC_RDWR)) {
        lock_shared(fd);
    }
    return &f->pub;
}

static herr_t disk_close(H5FD_t *file)
{
    disk_file *f = (disk_file *)file;

    if (f->own_fd && close(f->fd) != 0 && !f->direct_abandoned) {
        failed("close", 0, 0, errno);
    }
    dtx_free(f);
    return 0;
}

static int disk_cmp(const H5FD_t *a, const H5FD_t *b)
{
    const disk_file *x = (const disk_file *)a, *y = (const disk_file *)b;

    if (x->device != y->device) {
        return x->device < y->device ? -1 : 1;
    }
    return x->inode < y->inode ? -1 : x->inode > y->inode;
}

/* As HDF5's own driver for plain files, so that files look the same, but for the buffer of raw data: it would be written when a dataset
 * is closed, and HDF5 does not get over it when that fails. */
static herr_t disk_query(const H5FD_t *file, unsigned long *flags)
{
    (void)file;
    if (flags != NULL) {
        *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_AGGREGATE_SMALLDATA |
                 H5FD_FEAT_POSIX_COMPAT_HANDLE | H5FD_FEAT_DEFAULT_VFD_COMPATIBLE;
    }
    return 0;
}

static haddr_t disk_get_eoa(const H5FD_t *file, H5FD_mem_t type)
{
    (void)type;
    return ((const disk_file *)file)->eoa;
}

static herr_t disk_set_eoa(H5FD_t *file, H5FD_mem_t type, haddr_t address)
{
    (void)type;
    ((disk_file *)file)->eoa = address;
    return 0;
}

static haddr_t disk_get_eof(const H5FD_t *file, H5FD_mem_t type)
{
    (void)type;
    return ((const disk_file *)file)->size;
}

static herr_t disk_get_handle(H5FD_t *file, hid_t fapl, void **handle)
{
    (void)fapl;
    *handle = &((disk_file *)file)->fd;
    return 0;
}

/* Bytes that the file does not have yet are zero: the library may ask for what it has allocated and not written. */
static int read_part(const disk_file *f, char *x, size_t size, uint64_t at)
{
    struct stat sb;

    const int error = dtx_h5_pread(f->fd, x, size, at);
    if (error != ENODATA) {
        return error;
    }
    if (fstat(f->fd, &sb) != 0) {
        return errno;
    }
    const size_t there = (uint64_t)sb.st_size > at ? (size_t)((uint64_t)sb.st_size - at) : 0;
    if (there >= size) { /* it has grown, or the system's word changes: a failure in any case */
        return EIO;
    }
    memset(x + there, 0, size - there);
    return dtx_h5_pread(f->fd, x, there, at);
}

static herr_t disk_read(H5FD_t *file, H5FD_mem_t type, hid_t dxpl, haddr_t address, size_t size, void *buffer)
{
    const disk_file *f = (const disk_file *)file;
    char *x = buffer;
    uint64_t at = address;
    size_t left = size;
    int error = 0;

    (void)type;
    (void)dxpl;
    while (left > 0 && error == 0) {
        const uint64_t base = f->over != NULL ? f->over->base : 0, number = at / DTX_H5_BLOCK, end = (number + 1) * DTX_H5_BLOCK;
        size_t take = left;
        const dtx_h5_block *b = NULL;
        if (at < base) { /* block by block; from the file as far as no block has changed */
            take = end - at < left ? (size_t)(end - at) : left;
            take = base - at < take ? (size_t)(base - at) : take;
            b = find(f->over, number);
            for (uint64_t k = number + 1; b == NULL && take < left && at + take < base && find(f->over, k) == NULL; k++) {
                const uint64_t more = base - (at + take) < DTX_H5_BLOCK ? base - (at + take) : DTX_H5_BLOCK;
                take = left - take < more ? left : take + (size_t)more;
            }
        }
        if (b != NULL) {
            memcpy(x, b->is + at % DTX_H5_BLOCK, take);
        } else {
            error = read_part(f, x, take, at);
        }
        x += take;
        at += take;
        left -= take;
    }
    return error == 0 ? 0 : failed("read", size, address, error);
}

static herr_t disk_write(H5FD_t *file, H5FD_mem_t type, hid_t dxpl, haddr_t address, size_t size, const void *buffer)
{
    disk_file *f = (disk_file *)file;
    const char *x = buffer;
    size_t below = 0;
    int error = 0;

    (void)type;
    (void)dxpl;
    if (f->direct_abandoned || (f->over != NULL && f->over->abandoned)) {
        return 0;
    }
    if (f->over != NULL && address < f->over->base) {
        below = f->over->base - address < size ? (size_t)(f->over->base - address) : size;
        error = change(f->over, x, below, address);
    }
    if (error == 0 && below < size) {
        error = dtx_h5_pwrite(f->fd, x + below, size - below, address + below);
    }
    if (error != 0) {
        return failed("write", size, address, error), f->closing ? 0 : -1;
    }
    if (address + size > f->size) {
        f->size = address + size;
        if (f->over != NULL && f->size > f->over->size) {
            f->over->size = f->size;
        }
    }
    return 0;
}

/* The file ends where its allocated space ends. An edit's becomes shorter at its end only. */
static herr_t disk_truncate(H5FD_t *file, hid_t dxpl, hbool_t closing)
{
    disk_file *f = (disk_file *)file;

    (void)dxpl;
    (void)closing;
    if (f->direct_abandoned || (f->over != NULL && f->over->abandoned) || f->eoa == f->size) {
        return 0;
    }
    if ((f->over == NULL || f->eoa > f->over->base) && ftruncate(f->fd, (off_t)f->eoa) != 0) {
        return failed("resize to", f->eoa, 0, errno), f->closing ? 0 : -1;
    }
    f->size = f->eoa;
    if (f->over != NULL) {
        f->over->size = f->eoa;
    }
    return 0;
}

static const H5FD_class_t disk_class = {
#if H5_VERSION_GE(1, 13, 0)
    .version = H5FD_CLASS_VERSION,
    .value = 0x7d17,
#endif
    .name = "detoxlens",
    .maxaddr = INT64_MAX,
    .fc_degree = H5F_CLOSE_WEAK,
    .fapl_size = sizeof(disk_info),
    .open = disk_open,
    .close = disk_close,
    .cmp = disk_cmp,
    .query = disk_query,
    .get_eoa = disk_get_eoa,
    .set_eoa = disk_set_eoa,
    .get_eof = disk_get_eof,
    .get_handle = disk_get_handle,
    .read = disk_read,
    .write = disk_write,
    .truncate = disk_truncate,
    .fl_map = H5FD_FLMAP_DICHOTOMY,
};

static hid_t driver(void)
{
    static hid_t id = -1;

    if (id < 0) {
        id = H5FDregister(&disk_class);
    }
    return id;
}

hid_t dtx_h5_access(dtx_h5_overlay *over)
{
    const disk_info info = {over};
    hid_t fapl = H5Pcreate(H5P_FILE_ACCESS);

    if (fapl >= 0 && (driver() < 0 || H5Pset_driver(fapl, driver(), &info) < 0
                      || H5Pset_fclose_degree(fapl, H5F_CLOSE_STRONG) < 0)) { /* what an editor left open must not keep the file open */
        H5Pclose(fapl);
        return -1;
    }
    return fapl;
}

static disk_file *file_of(hid_t file)
{
    void *handle = NULL;

    return H5Fget_vfd_handle(file, H5P_DEFAULT, &handle) >= 0 && handle != NULL
               ? (disk_file *)(void *)((char *)handle - offsetof(disk_file, fd)) : NULL;
}

void dtx_h5_behind(hid_t file, dtx_h5_overlay *over)
{
    disk_file *f = file_of(file);

    if (f != NULL && f->eoa < over->base) {
        over->base = over->size = f->size = f->eoa;
    }
}

int dtx_h5_descriptor(hid_t file)
{
    const disk_file *f = file_of(file);

    return f != NULL ? f->fd : -1;
}

dtx_status dtx_h5_finish(hid_t file, const char *path)
{
    disk_file *f = file_of(file);

    if (f == NULL || H5Fflush(file, H5F_SCOPE_GLOBAL) < 0) {
        dtx_h5_abandon(file);
        return dtx_h5_device_check(DTX_FAIL(DTX_ERR_MISSING, "%s: HDF5 cannot write it", path), path);
    }
    f->closing = true;
    const herr_t closed = H5Fclose(file);
    return dtx_h5_device_check(closed < 0 ? DTX_FAIL(DTX_ERR_MISSING, "%s: HDF5 cannot close it", path) : DTX_OK, path);
}

void dtx_h5_abandon(hid_t file)
{
    disk_file *f = file >= 0 ? file_of(file) : NULL;

    if (f != NULL) {
        f->direct_abandoned = true;
        if (f->over != NULL) {
            f->over->abandoned = true;
        }
    }
    if (file >= 0) {
        H5Fclose(file);
    }
}
