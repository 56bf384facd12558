#include "src/text/unicode.h"

#include <utf8proc.h>

/* Unicode's White_Space. */
bool dtx_tok_is_space(uint32_t cp)
{
    return (cp >= 0x09 && cp <= 0x0D) || cp == 0x20 || cp == 0x85 || cp == 0xA0 || cp == 0x1680 ||
           (cp >= 0x2000 && cp <= 0x200A) || cp == 0x2028 || cp == 0x2029 || cp == 0x202F || cp == 0x205F ||
           cp == 0x3000;
}

bool dtx_tok_is_numeric(uint32_t cp)
{
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);

    return c == UTF8PROC_CATEGORY_ND || c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_NO;
}

/* The Punctuation stage counts all ASCII symbols in, so $ + < = > ^ ` | ~ too. */
bool dtx_tok_is_punctuation(uint32_t cp)
{
    if (cp < 0x80) {
        return cp > 0x20 && cp < 0x7F && !(cp - '0' < 10) && !((cp | 0x20) - 'a' < 26);
    }
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return c >= UTF8PROC_CATEGORY_PC && c <= UTF8PROC_CATEGORY_PO;
}
