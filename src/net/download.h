/* download.h - one file over HTTP to its place: resumed where an earlier run was killed, checked, and under its name only when it
 * is whole. What is unfinished is called NAME.SUM.part, SUM being the beginning of the expected checksum: pieces of two
 * versions of a file cannot come together. Without a checksum the server's own mark of the version is kept beside it. Local. */
#ifndef DTX_DOWNLOAD_H
#define DTX_DOWNLOAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "src/base/hash.h"
#include "src/net/http.h"

typedef struct {
    const char *url;
    const char *const *headers; /* as in dtx_http_request; may be NULL */
    const char *dir, *path;     /* dir/path is written; folders of path are made */
    int64_t size;               /* bytes, -1 = not known */
    const char *sha256, *git_blob; /* expected, "" = not known (src/base/hash.h) */
    atomic_llong *bytes;        /* grows by what arrives, shrinks by what is thrown away */
    bool (*should_stop)(const void *user); /* while what is there is read again */
    const void *user;
} dtx_download;

/* Bytes that an earlier run left, finished or not; nothing is read. */
int64_t dtx_download_there(const dtx_download *d);
/* Is `name` (relative to d->dir) this file, finished or not, or what is kept beside it? */
bool dtx_download_owns(const dtx_download *d, const char *name);

typedef struct {
    int http_status;            /* of a reply that was no file: 401, 403, 404 ...; 0 = none */
    int64_t size;
    char sha256[DTX_SHA256_TEXT];
} dtx_download_result;

/* DTX_OK: dir/path is there, synced, and has size and checksums as expected. DTX_ERR_MISSING: http_status says why, or the
 * server was not to be had, or the disk is full; what came is kept. DTX_ERR_INPUT: another checksum, from the first byte on;
 * nothing is kept. DTX_STOPPED. */
dtx_status dtx_download_run(dtx_http_conn *c, const dtx_download *d, dtx_download_result *out);

/* Size and checksums of a file against d's; DTX_ERR_INPUT with expected and found. */
dtx_status dtx_download_check(const dtx_download *d, const char *file, char sha256[DTX_SHA256_TEXT]);

#endif
