#include "src/text/normalize.h"

#include <string.h>

#include "src/base/mem.h"
#include "src/base/utf8.h"
#include "src/text/normal_form.h"
#include "src/text/unicode.h"

typedef struct {
    char *s;
    size_t n, cap;
} buffer;

static dtx_status put(buffer *b, const char *s, size_t n)
{
    DTX_TRY(DTX_GROW(b->s, b->cap, b->n + n + 1));
    if (n > 0) {
        memcpy(b->s + b->n, s, n);
        b->n += n;
    }
    return DTX_OK;
}

static dtx_status put_char(buffer *b, uint32_t cp)
{
    char s[4];

    return put(b, s, dtx_utf8_put(cp, s));
}

void dtx_normalizer_free(dtx_normalizer *z)
{
    for (int i = 0; i < z->n; i++) {
        dtx_regex_free(&z->step[i].regex);
        dtx_charsmap_free(&z->step[i].map);
    }
    z->n = 0;
}

static dtx_status replace(const dtx_normalize_step *p, const char *s, size_t n, buffer *out)
{
    size_t n_from = strlen(p->from);
    const char *hit;

    while ((hit = memmem(s, n, p->from, n_from)) != NULL) {
        DTX_TRY(put(out, s, (size_t)(hit - s)));
        DTX_TRY(put(out, p->text, strlen(p->text)));
        n -= (size_t)(hit - s) + n_from;
        s = hit + n_from;
    }
    return put(out, s, n);
}

static dtx_status replace_pattern(const dtx_normalize_step *p, const char *s, size_t n, buffer *out)
{
    pcre2_match_data *match = NULL;
    size_t from = 0, begin = 0, end = 0;
    bool found = true;
    dtx_status st = DTX_OK;

    while (from < n) {
        DTX_GO(dtx_regex_next(&p->regex, &match, s, n, from, &found, &begin, &end));
        if (!found) {
            break;
        }
        DTX_GO(put(out, s + from, begin - from));
        DTX_GO(put(out, p->text, strlen(p->text)));
        from = end;
    }
    st = put(out, s + from, n - from);
done:
    pcre2_match_data_free(match);
    return st;
}

static dtx_status strip(const dtx_normalize_step *p, const char *s, size_t n, buffer *out)
{
    size_t from = 0, to = 0;
    bool text = false;

    for (size_t i = 0, len; i < n; i += len) {
        uint32_t cp;
        len = dtx_utf8_next(s + i, n - i, &cp, NULL);
        if (!dtx_tok_is_space(cp)) {
            from = text ? from : i;
            to = i + len;
            text = true;
        }
    }
    if (!text) { /* nothing but white space */
        return put(out, s, p->left || p->right ? 0 : n);
    }
    from = p->left ? from : 0;
    return put(out, s + from, (p->right ? to : n) - from);
}

/* Controls are dropped, white space becomes a blank, and ideographs stand between blanks. */
static dtx_status clean(const dtx_normalize_step *p, const char *s, size_t n, buffer *out)
{
    for (size_t i = 0, len; i < n; i += len) {
        uint32_t cp;
        len = dtx_utf8_next(s + i, n - i, &cp, NULL);
        if (p->clean_text && dtx_tok_is_control(cp)) {
            continue;
        }
        if (p->clean_text && dtx_tok_is_space(cp)) {
            cp = ' ';
        }
        if (p->ideographs && dtx_tok_is_ideograph(cp)) {
            DTX_TRY(put_char(out, ' '));
            DTX_TRY(put_char(out, cp));
            cp = ' ';
        }
        DTX_TRY(put_char(out, cp));
    }
    return DTX_OK;
}

/* Accents are marks of the decomposed text; lower case comes after them. */
static dtx_status strip_accents(const char *s, size_t n, buffer *out)
{
    char *parts = NULL;
    dtx_status st = DTX_OK;

    DTX_TRY(dtx_tok_normal_form(s, n, false, &parts, &n));
    s = parts != NULL ? parts : s;
    for (size_t i = 0, len; i < n; i += len) {
        uint32_t cp;
        len = dtx_utf8_next(s + i, n - i, &cp, NULL);
        if (!dtx_tok_is_mark(cp)) {
            DTX_GO(put(out, s + i, len));
        }
    }
done:
    dtx_free(parts);
    return st;
}

static dtx_status lower(const char *s, size_t n, buffer *out)
{
    for (size_t i = 0, len; i < n; i += len) {
        uint32_t cp, low[2];
        len = dtx_utf8_next(s + i, n - i, &cp, NULL);
        int count = dtx_tok_lower(cp, low);
        for (int k = 0; k < count; k++) {
            DTX_TRY(put_char(out, low[k]));
        }
    }
    return DTX_OK;
}

static dtx_status bert(const dtx_normalize_step *p, const char *s, size_t n, buffer *out)
{
    buffer part = {0};
    dtx_status st = DTX_OK;

    DTX_GO(clean(p, s, n, out));
    if (p->strip_accents && out->n > 0) {
        DTX_GO(strip_accents(out->s, out->n, &part));
        buffer swap = part;
        part = *out;
        *out = swap;
    }
    if (p->lower_case) {
        part.n = 0;
        DTX_GO(lower(out->s, out->n, &part));
        buffer swap = part;
        part = *out;
        *out = swap;
    }
done:
    dtx_free(part.s);
    return st;
}

/* One step; *changed tells whether *out holds its result. */
static dtx_status run_step(const dtx_normalize_step *p, const char *s, size_t n, buffer *out, bool *changed)
{
    char *own = NULL;
    size_t own_n = n;

    *changed = true;
    switch (p->kind) {
    case DTX_NORMALIZE_PREPEND: DTX_TRY(put(out, p->text, n > 0 ? strlen(p->text) : 0)); return put(out, s, n);
    case DTX_NORMALIZE_REPLACE: return replace(p, s, n, out);
    case DTX_NORMALIZE_PATTERN: return replace_pattern(p, s, n, out);
    case DTX_NORMALIZE_STRIP: return strip(p, s, n, out);
    case DTX_NORMALIZE_BERT: return bert(p, s, n, out);
    case DTX_NORMALIZE_NFC: DTX_TRY(dtx_tok_normal_form(s, n, true, &own, &own_n)); break;
    case DTX_NORMALIZE_CHARSMAP: DTX_TRY(dtx_charsmap_apply(&p->map, s, n, &own, &own_n)); break;
    }
    *changed = own != NULL;
    *out = (buffer){.s = own, .n = own_n};
    return DTX_OK;
}

dtx_status dtx_normalize(const dtx_normalizer *z, const char *s, size_t n, bool joined, char **out, size_t *out_n)
{
    char *now = NULL;
    dtx_status st = DTX_OK;

    for (int i = 0; i < z->n; i++) {
        buffer next = {0};
        bool changed;
        if (joined && z->step[i].kind == DTX_NORMALIZE_PREPEND) {
            continue;
        }
        st = run_step(&z->step[i], now != NULL ? now : s, n, &next, &changed);
        if (st != DTX_OK) {
            dtx_free(next.s);
            dtx_free(now);
            return st;
        }
        if (changed) {
            if (next.s == NULL) { /* nothing is left */
                st = DTX_NEW_RAW(next.s, 1);
                if (st != DTX_OK) {
                    dtx_free(now);
                    return st;
                }
            }
            dtx_free(now);
            now = next.s;
            n = next.n;
        }
    }
    *out = now;
    *out_n = n;
    return DTX_OK;
}
