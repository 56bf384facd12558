#include "src/text/wordpiece.h"

#include <string.h>

#include "src/base/mem.h"

static int64_t count_chars(const char *s, size_t n)
{
    int64_t chars = 0;

    for (size_t i = 0; i < n; i++) {
        chars += ((unsigned char)s[i] & 0xC0) != 0x80;
    }
    return chars;
}

/* Length of the longest piece that s begins with, 0 for none; buf holds the prefix in its first n_prefix bytes. */
static size_t longest_piece(const dtx_wordpiece *w, const char *s, size_t n, char *buf, size_t n_prefix, int32_t *id)
{
    size_t len = n + n_prefix > w->longest ? w->longest - n_prefix : n;

    memcpy(buf + n_prefix, s, len);
    for (; len > 0; len--) {
        if (len < n && ((unsigned char)s[len] & 0xC0) == 0x80) { /* inside a character */
            continue;
        }
        *id = dtx_map_find(w->ids, buf, n_prefix + len);
        if (*id >= 0) {
            return len;
        }
    }
    return 0;
}

dtx_status dtx_wordpiece_encode(const dtx_wordpiece *w, const char *s, size_t n, dtx_ids *out)
{
    size_t had = out->n, n_prefix = strlen(w->prefix);
    char *buf = NULL;
    dtx_status st = DTX_OK;

    if (count_chars(s, n) > w->max_chars) {
        return dtx_ids_add(out, w->unknown);
    }
    DTX_TRY(DTX_NEW_RAW(buf, w->longest + n_prefix + 1));
    memcpy(buf, w->prefix, n_prefix);
    for (size_t from = 0; from < n;) {
        int32_t id = -1;
        size_t skip = from == 0 ? n_prefix : 0; /* the first piece has no prefix */
        size_t len = w->longest + skip <= n_prefix ? 0 : longest_piece(w, s + from, n - from, buf + skip, n_prefix - skip, &id);
        if (len == 0) {
            out->n = had;
            st = dtx_ids_add(out, w->unknown);
            goto done;
        }
        DTX_GO(dtx_ids_add(out, id));
        from += len;
    }
done:
    dtx_free(buf);
    return st;
}
