/* utf8.h - strict UTF-8 (Unicode table 3-7): no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef DTX_UTF8_H
#define DTX_UTF8_H

#include <stddef.h>
#include <stdint.h>

#include "src/base/status.h"

/* Offset of the first byte that is not part of well-formed UTF-8; len where the whole text is well-formed. */
size_t dtx_utf8_valid(const char *s, size_t len);
/* Decodes the character at s[0], len > 0. Returns its length (1..4) and the code point; for an ill-formed start the
 * length of the maximal ill-formed part and U+FFFD with *ok = 0. `ok` may be NULL. */
size_t dtx_utf8_next(const char *s, size_t len, uint32_t *cp, int *ok);
/* Writes cp as UTF-8 to out[4] and returns the length. cp must be a scalar value. */
size_t dtx_utf8_put(uint32_t cp, char out[4]);
/* Bytes of a byte order mark at the start of a text: 3 or 0. */
size_t dtx_utf8_bom(const char *s, size_t len);
/* DTX_ERR_INPUT with file, line and byte of the first fault when a file's text is not UTF-8. */
dtx_status dtx_utf8_check(const char *path, const char *s, size_t len);

#endif
