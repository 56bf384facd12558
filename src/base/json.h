/* json.h - the one place that calls cJSON's parser, and closes its gaps: the text must be valid UTF-8, no object may
 * hold a key twice, nothing may follow the value, an escaped NUL (\u0000) inside a string survives, nesting is bounded.
 * While a document lives, the byte 0xFF (never part of UTF-8) stands for NUL inside cJSON's strings: read them with
 * dtx_json_text. Keys may be compared with cJSON's own functions. */
#ifndef DTX_JSON_H
#define DTX_JSON_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/status.h"

/* Parses `len` bytes; `name` (a path) and `line` (0 = none) are for messages. DTX_ERR_INPUT with the place of the
 * fault. The caller frees *out with cJSON_Delete. */
dtx_status dtx_json_parse(const char *text, size_t len, const char *name, int64_t line, cJSON **out);
/* Reads and parses a whole file. DTX_ERR_MISSING when it cannot be opened. */
dtx_status dtx_json_read(const char *path, cJSON **out);
/* Copy of a string item with its NUL bytes restored and a final NUL added; the caller frees it with dtx_free. */
dtx_status dtx_json_text(const cJSON *item, char **out, size_t *len);

/* The JSON string, quotes included, of `len` bytes of UTF-8, which may hold NUL; dtx_free. */
dtx_status dtx_json_quote(const char *s, size_t len, char **out);

/* Member `key` of an object, NULL when it is absent or null. `key` may be dotted ("prompt.text"). */
const cJSON *dtx_json_get(const cJSON *object, const char *dotted_key);

/* Typed members of a configuration-like object. When the key is absent or null, *out keeps its value and the status is
 * DTX_OK. A wrong type or a value outside [min, max] is DTX_ERR_INPUT naming `name` and the key. */
dtx_status dtx_json_int(const cJSON *object, const char *name, const char *key, int64_t min, int64_t max, int64_t *out);
dtx_status dtx_json_double(const cJSON *object, const char *name, const char *key, double min, double max, double *out);
dtx_status dtx_json_bool(const cJSON *object, const char *name, const char *key, bool *out);
/* Copies at most size-1 bytes; a longer string or one with a NUL is an error. */
dtx_status dtx_json_str(const cJSON *object, const char *name, const char *key, size_t size, char *out);

#endif
