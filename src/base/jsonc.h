/* jsonc.h - JSON with comments, for files that people write, and where a key stands in such a text. Local. */
#ifndef DTX_JSONC_H
#define DTX_JSONC_H

#include "src/base/json.h"

/* Comments (// to the end of the line, and those of C) outside strings become blanks; lines and columns stay. */
void dtx_jsonc_blank(char *text, size_t len);
/* As dtx_json_read of a file that may hold comments. *text (len bytes, blanked) is allocated for dtx_jsonc_place; dtx_free. */
dtx_status dtx_jsonc_read(const char *path, cJSON **out, char **text, size_t *len);
/* Where the dotted key stands in the text of a JSON object that was parsed: line and column, both from 1, of its last part. False when
 * it is not there. */
bool dtx_jsonc_place(const char *text, size_t len, const char *key, int64_t *line, int64_t *column);

#endif
