#include "src/text/charsmap.h"

#include <stdbool.h>
#include <string.h>
#include <utf8proc.h>

#include "src/base/mem.h"
#include "src/base/utf8.h"

enum { WHOLE_GRAPHEME = 6 }; /* bytes; shorter graphemes are looked up as a whole */

static int digit(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

/* Decodes padded base64; out has room for 3/4 of the text. */
static dtx_status decode_base64(const char *text, const char *name, char *out, size_t *n)
{
    uint32_t bits = 0;
    int have = 0;

    *n = 0;
    for (const char *p = text; *p != '\0' && *p != '='; p++) {
        int d = digit(*p);
        if (d < 0) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: precompiled_charsmap: character %zu is not base64", name, (size_t)(p - text));
        }
        bits = (bits << 6 | (uint32_t)d) & 0xFFFFFF;
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[(*n)++] = (char)(bits >> have & 0xFF);
        }
    }
    return DTX_OK;
}

static uint32_t u32_at(const char *p)
{
    const unsigned char *b = (const unsigned char *)p;

    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

dtx_status dtx_charsmap_open(const char *base64, const char *name, dtx_charsmap *out)
{
    size_t n = 0, trie;
    char *raw = NULL;
    dtx_status st = DTX_OK;

    memset(out, 0, sizeof *out);
    DTX_TRY(DTX_NEW_RAW(raw, strlen(base64) / 4 * 3 + 4));
    DTX_GO(decode_base64(base64, name, raw, &n));
    trie = n >= 4 ? u32_at(raw) : 0;
    if (n < 4 || trie % 4 != 0 || trie == 0 || trie > n - 4) {
        st = DTX_FAIL(DTX_ERR_INPUT, "%s: precompiled_charsmap: %zu bytes, of which the trie is said to take %zu", name, n, trie);
        goto done;
    }
    out->n_units = trie / 4;
    DTX_GO(DTX_NEW_RAW(out->unit, out->n_units));
    for (size_t i = 0; i < out->n_units; i++) {
        out->unit[i] = u32_at(raw + 4 + 4 * i);
    }
    out->n_pool = n - 4 - trie;
    DTX_GO(DTX_NEW_RAW(out->pool, out->n_pool + 1));
    memcpy(out->pool, raw + 4 + trie, out->n_pool);
    out->pool[out->n_pool] = '\0';
    size_t good = dtx_utf8_valid(out->pool, out->n_pool);
    if (good < out->n_pool) {
        st = DTX_FAIL(DTX_ERR_INPUT, "%s: precompiled_charsmap: byte %zu of the replacements is not UTF-8", name, good);
    }
done:
    dtx_free(raw);
    if (st != DTX_OK) {
        dtx_charsmap_free(out);
    }
    return st;
}

void dtx_charsmap_free(dtx_charsmap *map)
{
    dtx_free(map->unit);
    dtx_free(map->pool);
    memset(map, 0, sizeof *map);
}

/* Darts' units: bit 8 says that a value follows, bits 10 up (shifted by 8 when bit 9 is set) lead on, the low byte is the label. */
static size_t offset_of(uint32_t unit)
{
    return (size_t)(unit >> 10) << ((unit & 0x200) >> 6);
}

/* What the shortest prefix of s in the trie stands for; NULL when none is there. Places outside the file's arrays are "none". */
static const char *look_up(const dtx_charsmap *map, const char *s, size_t n)
{
    size_t at = offset_of(map->unit[0]);

    for (size_t i = 0; i < n && s[i] != '\0'; i++) {
        unsigned char c = (unsigned char)s[i];
        at ^= c;
        if (at >= map->n_units || (map->unit[at] & 0x800000FF) != c) {
            return NULL;
        }
        uint32_t unit = map->unit[at];
        at ^= offset_of(unit);
        if (unit & 0x100) {
            size_t value = at < map->n_units ? map->unit[at] & 0x7FFFFFFF : SIZE_MAX;
            /* inside a character of the pool there is no text */
            return value < map->n_pool && ((unsigned char)map->pool[value] & 0xC0) != 0x80 ? map->pool + value : NULL;
        }
    }
    return NULL;
}

typedef struct {
    char *s;
    size_t n, cap;
} text_buffer;

static dtx_status put(text_buffer *b, const char *s, size_t n)
{
    if (n > 0) {
        DTX_TRY(DTX_GROW(b->s, b->cap, b->n + n));
        memcpy(b->s + b->n, s, n);
        b->n += n;
    }
    return DTX_OK;
}

static dtx_status put_grapheme(const dtx_charsmap *map, const char *s, size_t n, text_buffer *b)
{
    const char *to = n < WHOLE_GRAPHEME ? look_up(map, s, n) : NULL;

    if (to != NULL) {
        return put(b, to, strlen(to));
    }
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        size_t len = dtx_utf8_next(s + i, n - i, &cp, NULL);
        to = look_up(map, s + i, len);
        DTX_TRY(to != NULL ? put(b, to, strlen(to)) : put(b, s + i, len));
        i += len;
    }
    return DTX_OK;
}

dtx_status dtx_charsmap_apply(const dtx_charsmap *map, const char *s, size_t n, char **out, size_t *out_n)
{
    text_buffer b = {0};
    size_t from = 0, len;
    utf8proc_int32_t state = 0, before = 0;
    dtx_status st = DTX_OK;

    *out = NULL;
    *out_n = n;
    for (size_t i = 0; i < n; i += len) {
        uint32_t cp;
        len = dtx_utf8_next(s + i, n - i, &cp, NULL);
        if (i > 0 && utf8proc_grapheme_break_stateful(before, (utf8proc_int32_t)cp, &state)) {
            DTX_GO(put_grapheme(map, s + from, i - from, &b));
            from = i;
        }
        before = (utf8proc_int32_t)cp;
    }
    if (from < n) {
        DTX_GO(put_grapheme(map, s + from, n - from, &b));
    }
    if (b.n != n || (n > 0 && memcmp(b.s, s, n) != 0)) {
        if (b.s == NULL) { /* everything vanished */
            DTX_GO(DTX_NEW_RAW(b.s, 1));
        }
        *out = b.s;
        *out_n = b.n;
        b.s = NULL;
    }
done:
    dtx_free(b.s);
    return st;
}
