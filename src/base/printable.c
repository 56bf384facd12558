#include "src/base/printable.h"

#include <stdio.h>
#include <string.h>

#include "src/base/utf8.h"

bool dtx_is_control(uint32_t cp)
{
    return cp < 0x20 || (cp >= 0x7F && cp < 0xA0)
        || cp == 0x061C || cp == 0x200E || cp == 0x200F || (cp >= 0x2028 && cp <= 0x202E) || (cp >= 0x2066 && cp <= 0x206F)
        || cp == 0xFEFF || (cp >= 0xFFF9 && cp <= 0xFFFB);
}

size_t dtx_printable_next(char *out, const char *text, size_t len, bool lines, size_t *used)
{
    uint32_t cp;
    int ok = 1;

    *used = dtx_utf8_next(text, len, &cp, &ok);
    if (!ok) {
        *used = 1; /* byte by byte, so that all of them are seen */
        return (size_t)snprintf(out, 7, "\\x%02x", (unsigned char)text[0]);
    }
    if (!dtx_is_control(cp) || (lines && (cp == '\n' || cp == '\t'))) {
        memcpy(out, text, *used);
        return *used;
    }
    switch (cp) {
    case '\n': return (size_t)snprintf(out, 7, "\\n");
    case '\r': return (size_t)snprintf(out, 7, "\\r");
    case '\t': return (size_t)snprintf(out, 7, "\\t");
    default: return (size_t)snprintf(out, 7, "\\u%04x", (unsigned)(cp & 0xFFFF)); /* all of them are in the first plane */
    }
}

size_t dtx_printable(char *out, size_t size, const char *text, size_t len)
{
    size_t n = 0;

    for (size_t at = 0, used = 0; at < len; at += used) {
        char one[8];
        const size_t m = dtx_printable_next(one, text + at, len - at, false, &used);
        if (n + m >= size) {
            break;
        }
        memcpy(out + n, one, m);
        n += m;
    }
    out[n] = '\0';
    return n;
}
