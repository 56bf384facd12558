/* hash.h - SHA-256 of bytes and files, as 64 hexadecimal digits, git's name of a file, and base64. Local. */
#ifndef DTX_HASH_H
#define DTX_HASH_H

#include <stddef.h>

#include "src/base/status.h"

enum { DTX_SHA256_TEXT = 65 }; /* digits and the final NUL */

typedef struct dtx_sha256 dtx_sha256;
dtx_status dtx_sha256_new(dtx_sha256 **out);
dtx_status dtx_sha256_add(dtx_sha256 *h, const void *data, size_t size);
/* Ends the sum; only _del may follow. */
dtx_status dtx_sha256_end(dtx_sha256 *h, char out[DTX_SHA256_TEXT]);
void dtx_sha256_del(dtx_sha256 *h);

dtx_status dtx_sha256_bytes(const void *data, size_t size, char out[DTX_SHA256_TEXT]);
dtx_status dtx_sha256_file(const char *path, char out[DTX_SHA256_TEXT]);

enum { DTX_GIT_TEXT = 41 };
/* What git calls a file of these bytes: SHA-1 over "blob SIZE", a NUL and the bytes. */
dtx_status dtx_git_blob_bytes(const void *data, size_t size, char out[DTX_GIT_TEXT]);
dtx_status dtx_git_blob_file(const char *path, char out[DTX_GIT_TEXT]);

/* RFC 4648's base64, with padding and without line breaks; *out is allocated (dtx_free). size < 1.5 GB. */
dtx_status dtx_base64(const void *data, size_t size, char **out);

#endif
