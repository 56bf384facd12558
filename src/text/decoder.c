#include "src/text/decoder.h"

#include <string.h>

#include "src/base/mem.h"
#include "src/base/utf8.h"
#include "src/text/alphabet.h"

static const char replacement[] = "\xEF\xBF\xBD"; /* U+FFFD */

void dtx_parts_free(dtx_parts *p)
{
    dtx_free(p->s);
    dtx_free(p->owner);
    dtx_free(p->end);
    memset(p, 0, sizeof *p);
}

dtx_status dtx_parts_put(dtx_parts *p, const char *s, size_t n, int32_t owner)
{
    DTX_TRY(DTX_GROW(p->s, p->cap, p->n + n + 1));
    DTX_TRY(DTX_GROW(p->owner, p->cap_owner, p->n + n + 1));
    for (size_t i = 0; i < n; i++) {
        p->s[p->n] = s[i];
        p->owner[p->n++] = owner;
    }
    return DTX_OK;
}

dtx_status dtx_parts_end(dtx_parts *p)
{
    DTX_TRY(DTX_GROW(p->end, p->cap_parts, p->n_parts + 1));
    p->end[p->n_parts++] = p->n;
    return DTX_OK;
}

/* --- the steps; each reads the strings of `p` and writes those of `out` --- */

/* Bytes from..to of p, with their owners. */
static dtx_status copy(const dtx_parts *p, size_t from, size_t to, dtx_parts *out)
{
    size_t n = to - from;

    DTX_TRY(DTX_GROW(out->s, out->cap, out->n + n + 1));
    DTX_TRY(DTX_GROW(out->owner, out->cap_owner, out->n + n + 1));
    if (n > 0) {
        memcpy(out->s + out->n, p->s + from, n);
        memcpy(out->owner + out->n, p->owner + from, n * sizeof *p->owner);
        out->n += n;
    }
    return DTX_OK;
}

static size_t begin_of(const dtx_parts *p, size_t i)
{
    return i == 0 ? 0 : p->end[i - 1];
}

/* Each `from` of one string by `text`. */
static dtx_status replace(const dtx_parts *p, size_t begin, size_t end, const char *from, const char *text, dtx_parts *out)
{
    size_t n_from = strlen(from);

    while (begin < end) {
        const char *hit = memmem(p->s + begin, end - begin, from, n_from);
        size_t at = hit ? (size_t)(hit - p->s) : end;
        DTX_TRY(copy(p, begin, at, out));
        if (hit) {
            DTX_TRY(dtx_parts_put(out, text, strlen(text), p->owner[at]));
        }
        begin = hit ? at + n_from : end;
    }
    return DTX_OK;
}

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte of "<0xNN>", -1 for other strings. */
static int byte_of(const char *s, size_t n)
{
    if (n != 6 || memcmp(s, "<0x", 3) != 0 || s[5] != '>' || hex(s[3]) < 0 || hex(s[4]) < 0) {
        return -1;
    }
    return hex(s[3]) << 4 | hex(s[4]);
}

/* A run of byte tokens, strings from..to of p. */
static dtx_status byte_run(const dtx_parts *p, size_t from, size_t to, dtx_parts *out)
{
    size_t had = out->n;

    for (size_t i = from; i < to; i++) {
        size_t at = begin_of(p, i);
        char byte = (char)byte_of(p->s + at, p->end[i] - at);
        DTX_TRY(dtx_parts_put(out, &byte, 1, p->owner[at]));
    }
    if (to == from || dtx_utf8_valid(out->s + had, out->n - had) == out->n - had) {
        return to == from ? DTX_OK : dtx_parts_end(out);
    }
    out->n = had;
    for (size_t i = from; i < to; i++) {
        DTX_TRY(dtx_parts_put(out, replacement, 3, p->owner[begin_of(p, i)]));
        DTX_TRY(dtx_parts_end(out));
    }
    return DTX_OK;
}

static dtx_status byte_fallback(const dtx_parts *p, dtx_parts *out)
{
    size_t run = 0; /* first string of the run under way */

    for (size_t i = 0; i < p->n_parts; i++) {
        size_t at = begin_of(p, i);
        if (byte_of(p->s + at, p->end[i] - at) < 0) {
            DTX_TRY(byte_run(p, run, i, out));
            DTX_TRY(copy(p, at, p->end[i], out));
            DTX_TRY(dtx_parts_end(out));
            run = i + 1;
        }
    }
    return byte_run(p, run, p->n_parts, out);
}

static dtx_status strip(const dtx_decode_step *d, const dtx_parts *p, size_t begin, size_t end, dtx_parts *out)
{
    size_t n = strlen(d->from);

    for (int64_t k = 0; k < d->start && end - begin >= n && memcmp(p->s + begin, d->from, n) == 0; k++) {
        begin += n;
    }
    for (int64_t k = 0; k < d->stop && end - begin >= n && memcmp(p->s + end - n, d->from, n) == 0; k++) {
        end -= n;
    }
    return copy(p, begin, end, out);
}

/* What the reference's WordPiece decoder cleans up in each string, in this order. */
static dtx_status clean(dtx_parts *p)
{
    static const char *const rule[][2] = {{" .", "."},           {" ?", "?"},     {" !", "!"},     {" ,", ","},
                                          {" ' ", "'"},          {" n't", "n't"}, {" 'm", "'m"},   {" do not", " don't"},
                                          {" 's", "'s"},         {" 've", "'ve"}, {" 're", "'re"}};
    dtx_status st = DTX_OK;

    for (size_t r = 0; r < sizeof rule / sizeof rule[0]; r++) {
        dtx_parts out = {0};
        if (p->n == 0 || memmem(p->s, p->n, rule[r][0], strlen(rule[r][0])) == NULL) {
            continue;
        }
        for (size_t i = 0; i < p->n_parts && st == DTX_OK; i++) {
            st = replace(p, begin_of(p, i), p->end[i], rule[r][0], rule[r][1], &out);
            st = st == DTX_OK ? dtx_parts_end(&out) : st;
        }
        if (st != DTX_OK) {
            dtx_parts_free(&out);
            return st;
        }
        dtx_parts_free(p);
        *p = out;
    }
    return DTX_OK;
}

static dtx_status wordpiece(const dtx_decode_step *d, const dtx_parts *p, dtx_parts *out)
{
    size_t n = strlen(d->from);

    for (size_t i = 0; i < p->n_parts; i++) {
        size_t at = begin_of(p, i);
        if (i > 0 && p->end[i] - at >= n && memcmp(p->s + at, d->from, n) == 0) {
            at += n;
        } else if (i > 0) {
            DTX_TRY(dtx_parts_put(out, " ", 1, p->end[i] > at ? p->owner[at] : out->n > 0 ? out->owner[out->n - 1] : 0));
        }
        DTX_TRY(copy(p, at, p->end[i], out));
        DTX_TRY(dtx_parts_end(out));
    }
    return d->clean_up ? clean(out) : DTX_OK;
}

static dtx_status run_step(const dtx_decode_step *d, const dtx_parts *p, dtx_parts *out)
{
    if (d->kind == DTX_DECODE_BYTE_FALLBACK) {
        return byte_fallback(p, out);
    }
    if (d->kind == DTX_DECODE_WORDPIECE) {
        return wordpiece(d, p, out);
    }
    for (size_t i = 0; i < p->n_parts; i++) {
        size_t at = begin_of(p, i);
        switch (d->kind) {
        case DTX_DECODE_REPLACE: DTX_TRY(replace(p, at, p->end[i], d->from, d->text, out)); break;
        case DTX_DECODE_METASPACE: DTX_TRY(replace(p, at, p->end[i], d->from, i == 0 && d->drop_first ? "" : " ", out)); break;
        case DTX_DECODE_STRIP: DTX_TRY(strip(d, p, at, p->end[i], out)); break;
        default: DTX_TRY(copy(p, at, p->end[i], out)); break;
        }
        if (d->kind != DTX_DECODE_FUSE || i + 1 == p->n_parts) {
            DTX_TRY(dtx_parts_end(out));
        }
    }
    return DTX_OK;
}

dtx_status dtx_decoder_run(const dtx_decoder *d, dtx_parts *p)
{
    for (int i = 0; i < d->n; i++) {
        dtx_parts out = {0};
        dtx_status st = run_step(&d->step[i], p, &out);
        if (st != DTX_OK) {
            dtx_parts_free(&out);
            return st;
        }
        dtx_parts_free(p);
        *p = out;
    }
    return DTX_OK;
}

/* --- one token alone --- */

size_t dtx_decoder_room(size_t len)
{
    return len + 1; /* WordPiece's blank; replacements never make a string longer */
}

/* Mapped back when all characters are in the alphabet, else the string as it is. */
static size_t map_back(const char *piece, size_t len, char *out, bool *in_alphabet)
{
    size_t n = 0;

    *in_alphabet = true;
    for (size_t i = 0; i < len;) {
        uint32_t cp;
        i += dtx_utf8_next(piece + i, len - i, &cp, NULL);
        int byte = dtx_tok_char_byte(cp);
        if (byte < 0) {
            memcpy(out, piece, len);
            *in_alphabet = false;
            return len;
        }
        out[n++] = (char)byte;
    }
    return n;
}

static size_t replace_bytes(char *s, size_t n, const char *from, const char *text, char *spare)
{
    size_t n_from = strlen(from), n_text = strlen(text), w = 0, r = 0;

    while (r < n) {
        bool hit = n - r >= n_from && memcmp(s + r, from, n_from) == 0;
        memcpy(spare + w, hit ? text : s + r, hit ? n_text : 1);
        w += hit ? n_text : 1;
        r += hit ? n_from : 1;
    }
    memcpy(s, spare, w);
    return w;
}

bool dtx_decoder_is_byte(const dtx_decoder *d, const char *piece, size_t len)
{
    for (int i = 0; i < d->n; i++) {
        if (d->step[i].kind == DTX_DECODE_BYTE_FALLBACK) {
            return byte_of(piece, len) >= 0;
        }
    }
    return false;
}

size_t dtx_decoder_bytes(const dtx_decoder *d, const char *piece, size_t len, char *out, bool *in_alphabet)
{
    size_t n = len;

    *in_alphabet = false;
    if (d->n > 0 && d->step[0].kind == DTX_DECODE_BYTES) {
        return map_back(piece, len, out, in_alphabet);
    }
    if (dtx_decoder_is_byte(d, piece, len)) {
        out[0] = (char)byte_of(piece, len);
        return 1;
    }
    memcpy(out, piece, len);
    for (int i = 0; i < d->n; i++) {
        const dtx_decode_step *p = &d->step[i];
        size_t n_from = strlen(p->from);
        char *spare = out + dtx_decoder_room(len);
        if (p->kind == DTX_DECODE_REPLACE) {
            n = replace_bytes(out, n, p->from, p->text, spare);
        } else if (p->kind == DTX_DECODE_METASPACE) {
            n = replace_bytes(out, n, p->from, " ", spare);
        } else if (p->kind == DTX_DECODE_WORDPIECE && n >= n_from && memcmp(out, p->from, n_from) == 0) {
            memmove(out, out + n_from, n - n_from);
            n -= n_from;
        } else if (p->kind == DTX_DECODE_WORDPIECE) {
            memmove(out + 1, out, n);
            out[0] = ' ';
            n++;
        }
    }
    return n;
}
