#include "src/base/utf8.h"

#include <string.h>

size_t dtx_utf8_next(const char *text, size_t len, uint32_t *cp, int *ok)
{
    const unsigned char *s = (const unsigned char *)text;
    unsigned lo = 0x80, hi = 0xBF; /* bounds of the second byte, which exclude overlong forms and surrogates */
    size_t need;
    uint32_t v;

    if (s[0] < 0x80) {
        *cp = s[0];
        if (ok) {
            *ok = 1;
        }
        return 1;
    }
    if (s[0] >= 0xC2 && s[0] <= 0xDF) {
        need = 1;
        v = s[0] & 0x1Fu;
    } else if (s[0] >= 0xE0 && s[0] <= 0xEF) {
        need = 2;
        v = s[0] & 0x0Fu;
        lo = s[0] == 0xE0 ? 0xA0 : 0x80;
        hi = s[0] == 0xED ? 0x9F : 0xBF;
    } else if (s[0] >= 0xF0 && s[0] <= 0xF4) {
        need = 3;
        v = s[0] & 0x07u;
        lo = s[0] == 0xF0 ? 0x90 : 0x80;
        hi = s[0] == 0xF4 ? 0x8F : 0xBF;
    } else {
        need = 0;
        v = 0;
    }
    size_t i = 1;
    for (; need > 0 && i <= need && i < len && s[i] >= lo && s[i] <= hi; i++) {
        v = v << 6 | (s[i] & 0x3Fu);
        lo = 0x80;
        hi = 0xBF;
    }
    if (need == 0 || i <= need) {
        *cp = 0xFFFD;
        if (ok) {
            *ok = 0;
        }
        return i;
    }
    *cp = v;
    if (ok) {
        *ok = 1;
    }
    return i;
}

size_t dtx_utf8_valid(const char *s, size_t len)
{
    size_t i = 0;

    while (i < len) {
        uint32_t cp;
        int ok = 1;
        size_t n = dtx_utf8_next(s + i, len - i, &cp, &ok);
        if (!ok) {
            return i;
        }
        i += n;
    }
    return len;
}

size_t dtx_utf8_put(uint32_t cp, char out[4])
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xC0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3F));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (char)(0xE0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3F));
        out[2] = (char)(0x80 | (cp & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3F));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3F));
    out[3] = (char)(0x80 | (cp & 0x3F));
    return 4;
}

size_t dtx_utf8_bom(const char *s, size_t len)
{
    return len >= 3 && memcmp(s, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
}
