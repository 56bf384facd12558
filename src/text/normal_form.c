#include "src/text/normal_form.h"

#include <stdbool.h>
#include <string.h>
#include <utf8proc.h>

#include "src/base/mem.h"
#include "src/base/utf8.h"

/* Could this character change under NFC, or join the one before it? Only marks and Hangul vowels and final consonants
 * (and Kirat Rai vowel signs) join; only canonical decompositions change. Everything below U+0300 stays. */
static bool may_change(uint32_t cp)
{
    const utf8proc_property_t *p;

    if (cp < 0x300) {
        return false;
    }
    if ((cp >= 0x1161 && cp <= 0x11C2) || (cp >= 0x16D63 && cp <= 0x16D6A)) {
        return true;
    }
    p = utf8proc_get_property((utf8proc_int32_t)cp);
    return p->category == UTF8PROC_CATEGORY_MN || p->category == UTF8PROC_CATEGORY_MC ||
           p->category == UTF8PROC_CATEGORY_ME || p->combining_class != 0 ||
           (p->decomp_seqindex != UINT16_MAX && p->decomp_type == 0);
}

static bool is_nfc(const char *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        if ((unsigned char)s[i] < 0xCC) { /* U+0300 is CC 80 */
            i++;
            continue;
        }
        i += dtx_utf8_next(s + i, n - i, &cp, NULL);
        if (may_change(cp)) {
            return false;
        }
    }
    return true;
}

static bool is_ascii(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)s[i] >= 0x80) {
            return false;
        }
    }
    return true;
}

static int combining_class(utf8proc_int32_t cp)
{
    return utf8proc_get_property(cp)->combining_class;
}

/* Canonical ordering: each run of marks sorted by combining class, equal classes in their order. A counting sort, as
 * a hostile text can be one run of 100,000 marks. `spare` has room for n. */
static void order_marks(utf8proc_int32_t *cp, size_t n, utf8proc_int32_t *spare)
{
    for (size_t i = 0; i < n;) {
        size_t end = i, start[257] = {0};
        bool sorted = true;
        while (end < n && combining_class(cp[end]) != 0) {
            sorted = sorted && (end == i || combining_class(cp[end - 1]) <= combining_class(cp[end]));
            end++;
        }
        if (!sorted) {
            for (size_t k = i; k < end; k++) {
                start[combining_class(cp[k]) + 1]++;
            }
            for (int c = 0; c < 256; c++) {
                start[c + 1] += start[c];
            }
            for (size_t k = i; k < end; k++) {
                spare[start[combining_class(cp[k])]++] = cp[k];
            }
            memcpy(cp + i, spare, (end - i) * sizeof *cp);
        }
        i = end == i ? i + 1 : end;
    }
}

/* Canonical composition in place. Returns the new length. U+11A7, one before the first final consonant of Hangul, is
 * taken for one by utf8proc and swallowed; it composes with nothing, so the text is composed in parts around it. */
static size_t compose(utf8proc_int32_t *cp, size_t n)
{
    size_t to = 0;

    for (size_t from = 0, end; from < n; from = end + 1) {
        for (end = from; end < n && cp[end] != 0x11A7; end++) {
        }
        size_t got = (size_t)utf8proc_normalize_utf32(cp + from, (utf8proc_ssize_t)(end - from),
                                                      UTF8PROC_COMPOSE | UTF8PROC_STABLE);
        memmove(cp + to, cp + from, got * sizeof *cp);
        to += got;
        if (end < n) {
            cp[to++] = 0x11A7;
        }
    }
    return to;
}

/* Canonical decomposition of one character. U+11938 has none in the reference's table. */
static dtx_status decompose(uint32_t c, utf8proc_int32_t *out, size_t *n)
{
    int boundclass = 0;

    if (c == 0x11938) {
        out[0] = (utf8proc_int32_t)c;
        *n = 1;
        return DTX_OK;
    }
    utf8proc_ssize_t got = utf8proc_decompose_char((utf8proc_int32_t)c, out, 8, UTF8PROC_DECOMPOSE, &boundclass);
    if (got < 0 || got > 8) {
        return DTX_FAIL(DTX_ERR_INPUT, "cannot decompose U+%04X: %s", c, utf8proc_errmsg(got));
    }
    *n = (size_t)got;
    return DTX_OK;
}

dtx_status dtx_tok_normal_form(const char *s, size_t n, bool composed, char **out, size_t *out_n)
{
    utf8proc_int32_t *cp = NULL, *spare = NULL;
    size_t count = 0, cap = 0, len = 0;
    char *text = NULL;
    dtx_status st = DTX_OK;

    *out = NULL;
    *out_n = n;
    if (composed ? is_nfc(s, n) : is_ascii(s, n)) {
        return DTX_OK;
    }
    for (size_t i = 0; i < n;) {
        uint32_t c;
        size_t got = 0;
        i += dtx_utf8_next(s + i, n - i, &c, NULL);
        DTX_GO(DTX_GROW(cp, cap, count + 8)); /* the longest canonical decomposition has four characters */
        DTX_GO(decompose(c, cp + count, &got));
        count += got;
    }
    DTX_GO(DTX_NEW_RAW(spare, count));
    order_marks(cp, count, spare);
    if (composed) {
        count = compose(cp, count);
    }
    DTX_GO(DTX_NEW_RAW(text, 4 * count + 1));
    for (size_t i = 0; i < count; i++) {
        len += dtx_utf8_put((uint32_t)cp[i], text + len);
    }
    *out = text;
    *out_n = len;
done:
    dtx_free(cp);
    dtx_free(spare);
    return st;
}
