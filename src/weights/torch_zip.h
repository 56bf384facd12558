/* torch_zip.h - directory of a zip archive in memory, as torch.save writes it: entries stored without compression,
 * ZIP64 where sizes or offsets pass 4 GiB. Nothing is unpacked: an entry is a span of the file's own bytes, so that it
 * can be used from the map. Layout after PKWARE's APPNOTE 6.3.10, sections 4.3 and 4.5.3. Every field is checked
 * against the file's size before use. */
#ifndef DTX_TORCH_ZIP_H
#define DTX_TORCH_ZIP_H

#include <stddef.h>

#include "src/base/status.h"

typedef struct {
    const char *name; /* into the archive, not NUL-terminated */
    size_t name_len;
    const char *data;
    size_t size;
} dtx_zip_entry;

/* *entries (dtx_free) sorted by name. `file` is for messages. DTX_ERR_INPUT naming the entry and what is wrong. */
dtx_status dtx_zip_directory(const char *file, const char *data, size_t size, dtx_zip_entry **entries, size_t *n);
/* NULL when there is none of that name. */
const dtx_zip_entry *dtx_zip_find(const dtx_zip_entry *entries, size_t n, const char *name, size_t name_len);

#endif
