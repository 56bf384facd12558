#include "src/net/download.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/file.h"
#include "src/base/log.h"
#include "src/base/mem.h"

enum { PATH = 4096, PIECE = 1 << 20 };

typedef struct {
    const dtx_download *d;
    char file[PATH], part[PATH], mark[PATH]; /* mark: the validator of an unfinished file without checksum */
    int fd;
    dtx_sha256 *sum;
    dtx_http_sink sink;
    char validator[DTX_HTTP_VALIDATOR];
    bool unmarked;                           /* the validator is not on disk yet */
} transfer;

/* ---- names ---- */

static const char *sum_of(const dtx_download *d)
{
    return d->sha256[0] != '\0' ? d->sha256 : d->git_blob;
}

/* NAME.SUM.part, relative to d->dir. */
static void part_name(const dtx_download *d, char *out, size_t size)
{
    snprintf(out, size, "%s.%.16s.part", d->path, sum_of(d)[0] != '\0' ? sum_of(d) : "url");
}

static dtx_status make_names(transfer *t)
{
    char part[PATH];

    part_name(t->d, part, sizeof part - 16);
    DTX_TRY(dtx_file_join(t->file, sizeof t->file, t->d->dir, t->d->path));
    DTX_TRY(dtx_file_join(t->part, sizeof t->part, t->d->dir, part));
    strcat(part, ".version");
    return dtx_file_join(t->mark, sizeof t->mark, t->d->dir, part);
}

bool dtx_download_owns(const dtx_download *d, const char *name)
{
    char part[PATH];
    size_t n;

    part_name(d, part, sizeof part);
    n = strlen(part);
    return strcmp(name, d->path) == 0 || (strncmp(name, part, n) == 0 && (name[n] == '\0' || strcmp(name + n, ".version") == 0));
}

static int64_t size_of(const char *path)
{
    struct stat sb;

    return stat(path, &sb) == 0 && S_ISREG(sb.st_mode) ? (int64_t)sb.st_size : -1;
}

int64_t dtx_download_there(const dtx_download *d)
{
    transfer t = {.d = d, .fd = -1};

    if (make_names(&t) != DTX_OK) {
        return 0;
    }
    int64_t whole = size_of(t.file), part = size_of(t.part);
    return whole >= 0 ? whole : part >= 0 ? part : 0;
}

/* ---- what is there ---- */

/* Adds the first bytes of a file to a sum, all that there are, and counts them. */
static dtx_status add_file(const dtx_download *d, int fd, const char *name, dtx_sha256 *sum, int64_t *size)
{
    char *buffer = NULL;
    dtx_status st = DTX_NEW_RAW(buffer, PIECE);

    *size = 0;
    while (st == DTX_OK) {
        ssize_t n = pread(fd, buffer, PIECE, *size);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            st = DTX_FAIL(DTX_ERR_MISSING, "%s: cannot read: %s", name, strerror(errno));
        } else if (n == 0) {
            break;
        } else if (d->should_stop != NULL && d->should_stop(d->user)) {
            st = DTX_FAIL(DTX_STOPPED, "stopped while files were checked");
        } else {
            st = dtx_sha256_add(sum, buffer, (size_t)n);
            *size += n;
        }
    }
    dtx_free(buffer);
    return st;
}

static dtx_status compare(const dtx_download *d, const char *file, int64_t size, const char *sha256)
{
    char git[DTX_GIT_TEXT];

    if (d->size >= 0 && size != d->size) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: expected %lld bytes, found %lld", file, (long long)d->size, (long long)size);
    }
    if (d->sha256[0] != '\0' && strcmp(sha256, d->sha256) != 0) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: expected SHA-256 %s, found %s", file, d->sha256, sha256);
    }
    if (d->git_blob[0] != '\0') {
        DTX_TRY(dtx_git_blob_file(file, git));
        if (strcmp(git, d->git_blob) != 0) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: expected git object %s, found %s", file, d->git_blob, git);
        }
    }
    return DTX_OK;
}

dtx_status dtx_download_check(const dtx_download *d, const char *file, char sha256[DTX_SHA256_TEXT])
{
    dtx_sha256 *sum = NULL;
    int64_t size;
    dtx_status st;
    int fd;

    DTX_TRY(dtx_file_open(file, &fd, NULL));
    if (d->size >= 0 && size_of(file) != d->size) { /* no need to read it */
        st = compare(d, file, size_of(file), "");
        goto done;
    }
    DTX_GO(dtx_sha256_new(&sum));
    DTX_GO(add_file(d, fd, file, sum, &size));
    DTX_GO(dtx_sha256_end(sum, sha256));
    DTX_GO(compare(d, file, size, sha256));
done:
    dtx_sha256_del(sum);
    close(fd);
    return st;
}

/* ---- the sink ---- */

static dtx_status begin_sum(transfer *t)
{
    dtx_sha256_del(t->sum);
    t->sum = NULL;
    return dtx_sha256_new(&t->sum);
}

static dtx_status restart(void *user)
{
    transfer *t = user;
    int64_t had = size_of(t->part);

    *t->d->bytes -= had > 0 ? had : 0;
    if (ftruncate(t->fd, 0) != 0) {
        return DTX_FAIL(DTX_ERR_MISSING, "%s: cannot write: %s", t->part, strerror(errno));
    }
    t->sink.have = 0;
    t->validator[0] = '\0';
    t->unmarked = true;
    return begin_sum(t);
}

static dtx_status put(void *user, const void *data, size_t size)
{
    transfer *t = user;
    const char *p = data;

    if (t->sink.validator != NULL && t->unmarked) { /* before the first byte, so that no byte is without it */
        DTX_TRY(dtx_file_write(t->mark, t->validator, strlen(t->validator)));
        t->unmarked = false;
    }
    for (size_t done = 0; done < size;) {
        ssize_t n = pwrite(t->fd, p + done, size - done, t->sink.have + (int64_t)done);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return DTX_FAIL(DTX_ERR_MISSING, "%s: cannot write: %s; make room and give the same command again: what came is kept", t->part,
                            strerror(errno));
        }
        done += (size_t)n;
    }
    *t->d->bytes += (long long)size;
    return dtx_sha256_add(t->sum, data, size);
}

/* The validator of what an earlier run left. */
static void read_mark(transfer *t)
{
    int fd = -1;
    ssize_t n = dtx_file_open(t->mark, &fd, NULL) == DTX_OK ? read(fd, t->validator, sizeof t->validator - 1) : 0;

    t->validator[n > 0 ? n : 0] = '\0';
    for (const char *p = t->validator; *p != '\0'; p++) {
        if ((unsigned char)*p < ' ') { /* never written so */
            t->validator[0] = '\0';
        }
    }
    if (fd >= 0) {
        close(fd);
    }
}

/* ---- one file ---- */

static dtx_status make_folder(const char *file)
{
    char dir[PATH];

    snprintf(dir, sizeof dir, "%s", file);
    *strrchr(dir, '/') = '\0';
    return dtx_file_mkdirs(dir);
}

/* Opens the unfinished file and reads again what is there. */
static dtx_status open_part(transfer *t)
{
    const dtx_download *d = t->d;

    DTX_TRY(make_folder(t->part));
    DTX_TRY(dtx_file_open_kept(t->part, O_RDWR | O_NOFOLLOW, &t->fd));
    t->sink = (dtx_http_sink){.expect = d->size, .restart = restart, .write = put, .user = t,
                              .validator = sum_of(d)[0] == '\0' ? t->validator : NULL};
    if (t->sink.validator != NULL) {
        read_mark(t);
    }
    int64_t there = size_of(t->part);
    if ((d->size >= 0 && there > d->size) || (t->sink.validator != NULL && there > 0 && t->validator[0] == '\0')) {
        return restart(t);
    }
    t->unmarked = there == 0;
    DTX_TRY(begin_sum(t));
    return add_file(d, t->fd, t->part, t->sum, &t->sink.have);
}

static dtx_status transfer_rest(transfer *t, dtx_http_conn *c, dtx_download_result *out)
{
    const dtx_download *d = t->d;
    const dtx_http_request request = {.url = d->url, .headers = d->headers, .follow = true, .sink = &t->sink};
    dtx_http_reply reply;

    if (t->sink.have == d->size) {
        return DTX_OK;
    }
    DTX_TRY(dtx_http_send(c, &request, &reply));
    int status = reply.status;
    dtx_http_reply_free(&reply);
    if (status != 200 && status != 206) {
        char place[512];
        out->http_status = status;
        dtx_http_place(d->url, place, sizeof place);
        return DTX_FAIL(DTX_ERR_MISSING, "%s: HTTP status %d", place, status);
    }
    return DTX_OK;
}

/* Nothing is kept of a file that came out wrong. */
static void drop(transfer *t)
{
    *t->d->bytes -= t->sink.have;
    unlink(t->part);
    unlink(t->mark);
}

/* *resumed: a part of it was there before. */
static dtx_status attempt(transfer *t, dtx_http_conn *c, dtx_download_result *out, bool *resumed)
{
    dtx_status st;

    DTX_GO(open_part(t));
    *resumed = t->sink.have > 0;
    DTX_GO(transfer_rest(t, c, out));
    DTX_GO(dtx_sha256_end(t->sum, out->sha256));
    out->size = t->sink.have;
    st = compare(t->d, t->part, out->size, out->sha256);
    if (st == DTX_ERR_INPUT) {
        drop(t);
    }
done:
    dtx_sha256_del(t->sum);
    t->sum = NULL;
    if (t->fd >= 0) {
        if (close(t->fd) != 0 && st == DTX_OK) { /* where a quota or a network file system has the last word */
            st = DTX_FAIL(DTX_ERR_MISSING, "%s: cannot write: %s", t->part, strerror(errno));
        }
        t->fd = -1;
    }
    return st;
}

dtx_status dtx_download_run(dtx_http_conn *c, const dtx_download *d, dtx_download_result *out)
{
    transfer *t = NULL;
    bool resumed = false;
    dtx_status st;

    *out = (dtx_download_result){.size = -1};
    DTX_TRY(DTX_NEW(t, 1));
    t->d = d;
    t->fd = -1;
    DTX_GO(make_names(t));
    if (dtx_file_exists(t->file)) {
        out->size = size_of(t->file);
        st = dtx_download_check(d, t->file, out->sha256);
        if (st != DTX_ERR_INPUT) {
            unlink(t->mark); /* a run may have been killed before it did so */
            goto done;
        }
        dtx_log(DTX_LOG_WARN, "fetch", "%s; it is fetched again", dtx_error_text());
        *d->bytes -= out->size;
        unlink(t->file);
    }
    st = attempt(t, c, out, &resumed);
    if (st == DTX_ERR_INPUT && resumed) { /* a crash of the machine may have left holes in what was there */
        dtx_log(DTX_LOG_WARN, "fetch", "%s; it is fetched again from its beginning", dtx_error_text());
        dtx_error_clear();
        st = attempt(t, c, out, &resumed);
    }
    if (st == DTX_ERR_INPUT) {
        st = dtx_error_context(st, "what the server sends is not what it announced");
    }
    DTX_GO(st);
    DTX_GO(dtx_file_publish(t->part, t->file));
    unlink(t->mark);
done:
    dtx_free(t);
    return st;
}
