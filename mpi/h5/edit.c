#include "mpi/h5/edit.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mpi/h5/impl.h"
#include "src/base/file.h"
#include "src/base/hash.h"
#include "src/base/log.h"
#include "src/base/mem.h"

/* The end of an edit waits so long for readers; one that was stopped must not stop a job. A failed write of it is tried so often. */
enum { LOCK_TRIES = 100, LOCK_PAUSE_US = 100000, WRITE_TRIES = 3 };

/* A journal: this head, then the changed blocks, each a number and its bytes. */
typedef struct {
    char magic[8];
    uint64_t base, size, n;        /* bytes that the old part has; that the file has afterwards; blocks */
    char sha256[DTX_SHA256_TEXT];  /* of the blocks */
    char pad[7];
} journal_head;
typedef struct {
    uint64_t number;
    char is[DTX_H5_BLOCK];
} journal_block;
static const char magic[8] = {'D', 'T', 'X', 'E', 'D', 'I', 'T', '1'};

static int64_t edits_made, bytes_journaled;

int64_t dtx_h5_edit_bytes(int64_t *edits)
{
    *edits = edits_made;
    return bytes_journaled;
}

static void journal_name(const char *path, char *out, size_t size)
{
    snprintf(out, size, "%s.journal", path);
}

/* --- journals --- */

dtx_status dtx_h5_journal_write(const char *path, const dtx_h5_overlay *o)
{
    char name[1200], *bytes = NULL;
    const size_t size = sizeof(journal_head) + (size_t)o->n * sizeof(journal_block);
    journal_head head = {.base = o->base, .size = o->size, .n = (uint64_t)o->n};
    dtx_status st;

    memcpy(head.magic, magic, sizeof magic);
    journal_name(path, name, sizeof name);
    DTX_GO(DTX_NEW_RAW(bytes, size));
    for (int64_t i = 0; i < o->n; i++) {
        char *to = bytes + sizeof head + (size_t)i * sizeof(journal_block);
        memcpy(to, &o->block[i]->number, sizeof(uint64_t));
        memcpy(to + offsetof(journal_block, is), o->block[i]->is, DTX_H5_BLOCK);
    }
    DTX_GO(dtx_sha256_bytes(bytes + sizeof head, size - sizeof head, head.sha256));
    memcpy(bytes, &head, sizeof head);
    DTX_GO(dtx_file_write(name, bytes, size));
    bytes_journaled += (int64_t)size;
done:
    dtx_free(bytes);
    return st;
}

static dtx_status damaged(const char *name, const char *why)
{
    return DTX_FAIL(DTX_ERR_INPUT, "%s: damaged: %s. It holds the end of a change of the file beside it; remove it if that file is a copy "
                    "from before, else bring back a copy of both", name, why);
}

/* The journal beside `path` as changes; *out NULL where there is none. */
static dtx_status read_journal(const char *path, dtx_h5_overlay **out)
{
    char name[1200], sum[DTX_SHA256_TEXT];
    dtx_file_map map = {0};
    journal_head head;
    dtx_h5_overlay *o = NULL;
    dtx_status st;

    *out = NULL;
    journal_name(path, name, sizeof name);
    if (!dtx_file_exists(name)) {
        return DTX_OK;
    }
    DTX_TRY(dtx_file_map_open(name, &map));
    if (map.size < sizeof head) {
        DTX_GO(damaged(name, "it is too short"));
    }
    memcpy(&head, map.data, sizeof head);
    if (memcmp(head.magic, magic, sizeof magic) != 0 || (map.size - sizeof head) % sizeof(journal_block) != 0
        || head.n != (map.size - sizeof head) / sizeof(journal_block)) {
        DTX_GO(damaged(name, "it is no journal of this program"));
    }
    DTX_GO(dtx_sha256_bytes(map.data + sizeof head, map.size - sizeof head, sum));
    if (memcmp(sum, head.sha256, sizeof sum) != 0) {
        DTX_GO(damaged(name, "its SHA-256 differs"));
    }
    DTX_GO(DTX_NEW(o, 1));
    o->fd = -1;
    o->base = head.base;
    o->size = head.size;
    for (uint64_t i = 0; i < head.n; i++) {
        const char *from = map.data + sizeof head + i * sizeof(journal_block);
        uint64_t number;
        memcpy(&number, from, sizeof number);
        if (number >= (head.base + DTX_H5_BLOCK - 1) / DTX_H5_BLOCK) {
            DTX_GO(damaged(name, "a block lies outside the file"));
        }
        DTX_GO(dtx_h5_overlay_put(o, number, from + offsetof(journal_block, is)));
    }
    *out = o;
    o = NULL;
done:
    dtx_file_map_close(&map);
    if (o != NULL) {
        dtx_h5_overlay_free(o);
        dtx_free(o);
    }
    return st;
}

/* --- the moment of change --- */

static void lock_readers_out(int fd, const char *path)
{
    for (int i = 0; dtx_file_try_lock(fd) != 0; i++) {
        if (errno != EAGAIN && errno != EACCES && errno != EINTR) {
            return; /* mounted without locks */
        }
        if (i == LOCK_TRIES) {
            dtx_log(DTX_LOG_WARN, "run", "%s: is being read by another process, and changes all the same: that process may say that it is "
                    "damaged; then let it read again", path);
            return;
        }
        usleep(LOCK_PAUSE_US);
    }
}

static int write_block(const dtx_h5_overlay *o, const dtx_h5_block *b, bool back)
{
    const uint64_t at = b->number * DTX_H5_BLOCK;
    int error = 0;

    for (int i = 0; i < WRITE_TRIES; i++) {
        error = dtx_h5_pwrite(o->fd, back ? b->was : b->is, o->base - at < DTX_H5_BLOCK ? (size_t)(o->base - at) : DTX_H5_BLOCK, at);
        if (error == 0) {
            break;
        }
    }
    return error;
}

/* All blocks into the file, and its size. 0 or an errno. */
static int apply(const dtx_h5_overlay *o)
{
    int error = 0;

    for (int64_t i = 0; i < o->n && error == 0; i++) {
        error = write_block(o, o->block[i], false);
    }
    if (error == 0 && o->size < o->base && ftruncate(o->fd, (off_t)o->size) != 0) {
        error = errno;
    }
    return error == 0 && fdatasync(o->fd) != 0 ? errno : error;
}

/* What was there before; true when all of it is. */
static bool take_back(const dtx_h5_overlay *o)
{
    int error = o->size < o->base && ftruncate(o->fd, (off_t)o->base) != 0 ? errno : 0;

    for (int64_t i = 0; i < o->n && error == 0; i++) {
        error = write_block(o, o->block[i], true);
    }
    return error == 0;
}

static int by_number(const void *a, const void *b)
{
    const uint64_t x = (*(const dtx_h5_block *const *)a)->number, y = (*(const dtx_h5_block *const *)b)->number;

    return (x > y) - (x < y);
}

/* *kept: what lies behind the old end belongs to the file now, or to the journal. */
static dtx_status commit(const char *path, dtx_h5_overlay *o, bool *kept)
{
    char name[1200];
    dtx_status st = DTX_OK;

    if (fdatasync(o->fd) != 0) { /* what is new lies behind the old end */
        return DTX_FAIL(DTX_ERR_MISSING, "%s: cannot write to disk: %s", path, strerror(errno));
    }
    if (o->n == 0 && o->size >= o->base) {
        *kept = true;
        return DTX_OK;
    }
    journal_name(path, name, sizeof name);
    qsort(o->block, (size_t)o->n, sizeof *o->block, by_number); /* nothing is looked up any more */
    lock_readers_out(o->fd, path);
    DTX_TRY(dtx_h5_journal_write(path, o));
    const int error = apply(o);
    *kept = true;
    if (error != 0) {
        const bool back = take_back(o);
        *kept = !back;
        st = DTX_FAIL(DTX_ERR_MISSING, "%s: cannot write: %s; %s", path, strerror(error),
                      back ? "it is as it was" : "the same command finishes the change from the journal beside it");
        if (!back) {
            return st;
        }
    }
    if (unlink(name) != 0 && st == DTX_OK) {
        return DTX_FAIL(DTX_ERR_MISSING, "%s: cannot remove: %s", name, strerror(errno));
    }
    return st;
}

/* --- for callers --- */

static dtx_status edit_open(const char *path, dtx_h5_overlay *o, dtx_status (*editor)(hid_t file, void *user), void *user)
{
    hid_t fapl = dtx_h5_access(o), file = -1;
    dtx_status st;

    file = fapl >= 0 ? H5Fopen(path, H5F_ACC_RDWR, fapl) : -1;
    if (file < 0) {
        DTX_GO(DTX_H5_FAIL(DTX_ERR_INPUT, "%s: cannot open", path));
    }
    dtx_h5_behind(file, o);
    DTX_GO(editor(file, user));
    DTX_GO(dtx_h5_device_check(DTX_OK, path)); /* nothing is concluded from what could not be read */
    st = dtx_h5_finish(file, path);
    file = -1;
done:
    if (file >= 0) {
        char why[2048];
        snprintf(why, sizeof why, "%s", dtx_error_text());
        dtx_h5_abandon(file);
        dtx_error_set(why);
    }
    if (fapl >= 0) {
        H5Pclose(fapl);
    }
    return dtx_h5_device_check(st, path);
}

dtx_status dtx_h5_edit(const char *path, dtx_status (*editor)(hid_t file, void *user), void *user)
{
    dtx_h5_overlay o = {.fd = open(path, O_RDWR | O_CLOEXEC)};
    struct stat sb;
    bool kept = false;
    dtx_status st;

    dtx_h5_quiet();
    dtx_h5_device_begin();
    if (o.fd < 0 || fstat(o.fd, &sb) != 0) {
        DTX_GO(DTX_FAIL(DTX_ERR_MISSING, "%s: cannot open: %s", path, strerror(errno)));
    }
    o.base = o.size = (uint64_t)sb.st_size;
    st = edit_open(path, &o, editor, user);
    if (st == DTX_OK) {
        st = commit(path, &o, &kept);
        edits_made += st == DTX_OK;
    }
    if (!kept && o.size > o.base) { /* nobody looks there; only the room is given back */
        const int ignored = ftruncate(o.fd, (off_t)o.base);
        (void)ignored;
    }
done:
    if (o.fd >= 0) {
        close(o.fd);
    }
    dtx_h5_overlay_free(&o);
    return st;
}

dtx_status dtx_h5_recover(const char *path)
{
    char name[1200];
    dtx_h5_overlay *o = NULL;
    struct stat sb;
    dtx_status st;

    journal_name(path, name, sizeof name);
    if (!dtx_file_exists(path)) {
        unlink(name); /* of a file that somebody has removed */
        return DTX_OK;
    }
    DTX_TRY(read_journal(path, &o));
    if (o == NULL) {
        return DTX_OK;
    }
    o->fd = open(path, O_RDWR | O_CLOEXEC);
    if (o->fd < 0 || fstat(o->fd, &sb) != 0) {
        DTX_GO(DTX_FAIL(DTX_ERR_MISSING, "%s: cannot open: %s", path, strerror(errno)));
    }
    if ((uint64_t)sb.st_size < o->base && (uint64_t)sb.st_size < o->size) {
        DTX_GO(damaged(name, "the file beside it is shorter than it was"));
    }
    lock_readers_out(o->fd, path);
    const int error = apply(o);
    if (error != 0) {
        DTX_GO(DTX_FAIL(DTX_ERR_MISSING, "%s: cannot write: %s", path, strerror(error)));
    }
    if (unlink(name) != 0) {
        DTX_GO(DTX_FAIL(DTX_ERR_MISSING, "%s: cannot remove: %s", name, strerror(errno)));
    }
    dtx_log(DTX_LOG_INFO, "run", "%s: a change of %" PRId64 " blocks that a killed launch had begun is finished", path, o->n);
    st = DTX_OK;
done:
    if (o->fd >= 0) {
        close(o->fd);
    }
    dtx_h5_overlay_free(o);
    dtx_free(o);
    return st;
}

dtx_status dtx_h5_unfinished(const char *path, dtx_h5_overlay **over)
{
    DTX_TRY(read_journal(path, over));
    if (*over != NULL) {
        (*over)->fd = open(path, O_RDONLY | O_CLOEXEC);
        if ((*over)->fd < 0) {
            dtx_status st = DTX_FAIL(DTX_ERR_MISSING, "%s: cannot open: %s", path, strerror(errno));
            dtx_h5_overlay_free(*over);
            dtx_free(*over);
            *over = NULL;
            return st;
        }
    }
    return DTX_OK;
}
