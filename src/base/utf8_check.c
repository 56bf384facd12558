#include "src/base/utf8.h"

dtx_status dtx_utf8_check(const char *path, const char *s, size_t len)
{
    size_t bad = dtx_utf8_valid(s, len), line = 1, start = 0;

    if (bad == len) {
        return DTX_OK;
    }
    for (size_t i = 0; i < bad; i++) {
        if (s[i] == '\n') {
            line++;
            start = i + 1;
        }
    }
    return DTX_FAIL(DTX_ERR_INPUT, "%s: line %zu: byte %zu: not UTF-8 (0x%02X); convert the file to UTF-8", path, line,
                    bad - start, (unsigned char)s[bad]);
}
