/* read.h - small readers over cJSON for tokenizer files; objects there can have 260,000 members: they are walked, never searched by
 * key. `path` is the file's name for messages. */
#ifndef DTX_TEXT_READ_H
#define DTX_TEXT_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/json.h"

/* DTX_ERR_INPUT: `part` (a component, a setting) is `what`, which is not read. */
dtx_status dtx_read_unsupported(const char *path, const char *part, const char *what);
/* The component's "type"; "" for null. */
dtx_status dtx_read_type(const char *path, const char *part, const cJSON *c, const char **type);
/* A token's id, 0 to DTX_TOK_MAX_ID - 1. */
dtx_status dtx_read_id(const char *path, const char *what, const cJSON *c, int64_t *id);
/* Is the setting there, and neither false, 0, "" nor null? */
bool dtx_read_is_set(const cJSON *c, const char *key);
/* A string of json.h as bytes with a length, dtx_free. */
dtx_status dtx_read_text(const char *path, const cJSON *c, char **text, size_t *len);
/* A short string without NUL into out[size], at least `least` bytes; `part` and `key` are for messages. */
dtx_status dtx_read_short(const char *path, const char *part, const char *key, const cJSON *c, size_t least, char *out, size_t size);

#endif
