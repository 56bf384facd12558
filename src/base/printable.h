/* printable.h - texts from outside (names, keys, words of files and servers) as they are shown: no byte of them can move a
 * cursor, end a line or turn the direction of writing. Local, allocates nothing. */
#ifndef DTX_PRINTABLE_H
#define DTX_PRINTABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Is cp shown as an escape: C0, DEL and C1 controls, marks that turn the direction of writing, separators of lines and
 * paragraphs, invisible marks of a text's beginning? */
bool dtx_is_control(uint32_t cp);

/* Writes text[len] to out[size], size > 0, and a NUL. Controls become JSON's escapes (\n, \u001b, \u202e), bytes that are not
 * UTF-8 \xNN; everything else stays, so that the printable form of a printable form is itself. What does not fit is left out,
 * never half a character or escape. Returns the bytes written. `out` and `text` must not overlap. */
size_t dtx_printable(char *out, size_t size, const char *text, size_t len);

/* Room that the printable form of len bytes takes at most, its NUL included. */
#define DTX_PRINTABLE_SIZE(len) (6 * (size_t)(len) + 1)

/* One character of a text: appends the form above of text[0 ... *used) to out (at least 7 bytes), returns its bytes. len > 0.
 * Line ends and tabs stay as they are where `lines`. */
size_t dtx_printable_next(char *out, const char *text, size_t len, bool lines, size_t *used);

#endif
