#include <string.h>
#include <utf8proc.h>

#include "src/base/mem.h"
#include "src/base/utf8.h"
#include "src/text/alphabet.h"
#include "src/text/impl.h"
#include "src/text/unicode.h"

/* Classes of the splitting regex: \p{L}, \p{N}, \s, and all others. */
typedef enum { L, N, S, O } char_class;

/* clang-format off */
static const unsigned char ascii_class[128] = {
    O, O, O, O, O, O, O, O, O, S, S, S, S, S, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O,
    S, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, N, N, N, N, N, N, N, N, N, N, O, O, O, O, O, O,
    O, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, O, O, O, O, O,
    O, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, O, O, O, O, O,
};
/* clang-format on */

static char_class class_of(uint32_t cp)
{
    if (cp < 0x80) {
        return ascii_class[cp];
    }
    if (dtx_tok_is_space(cp)) {
        return S;
    }
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO   ? L
           : c >= UTF8PROC_CATEGORY_ND && c <= UTF8PROC_CATEGORY_NO ? N
                                                                    : O;
}

/* Class of the character at s[i], whose length goes to *len. */
static inline char_class class_at(const char *s, size_t n, size_t i, size_t *len)
{
    unsigned char c = (unsigned char)s[i];
    uint32_t cp;

    if (c < 0x80) {
        *len = 1;
        return ascii_class[c];
    }
    *len = dtx_utf8_next(s + i, n - i, &cp, NULL);
    return class_of(cp);
}

static size_t contraction(const char *s, size_t n)
{
    if (n >= 3 && ((s[1] == 'r' && s[2] == 'e') || (s[1] == 'v' && s[2] == 'e') || (s[1] == 'l' && s[2] == 'l'))) {
        return 3;
    }
    return n >= 2 && (s[1] == 's' || s[1] == 't' || s[1] == 'm' || s[1] == 'd') ? 2 : 0;
}

size_t dtx_tok_gpt2_next(const char *s, size_t n)
{
    size_t i = 0, len = 0, last = 0;
    char_class c;

    if (s[0] == '\'' && (len = contraction(s, n)) > 0) {
        return len;
    }
    /* an optional blank and a run of one class other than S */
    if (s[0] == ' ' && n > 1 && class_at(s, n, 1, &len) != S) {
        i = 1;
    }
    c = class_at(s, n, i, &len);
    if (c != S) {
        do {
            i += len;
        } while (i < n && class_at(s, n, i, &len) == c);
        return i;
    }
    /* \s+(?!\S): the whole run at the end, else without its last character; \s+ when nothing is left then */
    do {
        last = i;
        i += len;
    } while (i < n && class_at(s, n, i, &len) == S);
    return i == n || last == 0 ? i : last;
}

/* What one call of dtx_tok_split carries along the stages. */
typedef struct {
    const dtx_tokenizer *t;
    dtx_ids *out;
    pcre2_match_data *match; /* made when a regex stage first needs it */
    char *mapped;
    size_t mapped_cap;
} splitter;

static dtx_status run_stage(splitter *sp, int k, const char *s, size_t n);

/* The character at s[i] for a stage: of the text, or the byte's stand-in. */
static uint32_t char_at(const dtx_stage *stage, const char *s, size_t n, size_t i, size_t *len)
{
    uint32_t cp;

    if (stage->mapped) {
        *len = 1;
        return dtx_tok_byte_char((unsigned char)s[i]);
    }
    *len = dtx_utf8_next(s + i, n - i, &cp, NULL);
    return cp;
}

static dtx_status split_runs(splitter *sp, int k, const char *s, size_t n)
{
    const dtx_stage *stage = &sp->t->stage[k];
    size_t from = 0, len;
    bool inside = false;

    for (size_t i = 0; i < n; i += len) {
        uint32_t cp = char_at(stage, s, n, i, &len);
        bool match = stage->kind == DTX_STAGE_PUNCTUATION ? dtx_tok_is_punctuation(cp)
                     : cp < 0x80                          ? cp - '0' < 10
                                                          : dtx_tok_is_numeric(cp);
        if (i > from && (match != inside || (match && stage->individual))) {
            DTX_TRY(run_stage(sp, k + 1, s + from, i - from));
            from = i;
        }
        inside = match;
    }
    return run_stage(sp, k + 1, s + from, n - from);
}

/* The piece as characters of the byte alphabet. */
static dtx_status map_piece(splitter *sp, const char *s, size_t n, size_t *mapped_n)
{
    DTX_TRY(DTX_GROW(sp->mapped, sp->mapped_cap, 2 * n));
    *mapped_n = 0;
    for (size_t i = 0; i < n; i++) {
        *mapped_n += dtx_utf8_put(dtx_tok_byte_char((unsigned char)s[i]), sp->mapped + *mapped_n);
    }
    return DTX_OK;
}

/* Bytes of the piece that characters from..to of the mapped text stand for. */
static size_t mapped_bytes(const char *mapped, size_t from, size_t to)
{
    size_t n = 0;

    for (size_t i = from; i < to; i++) {
        n += ((unsigned char)mapped[i] & 0xC0) != 0x80;
    }
    return n;
}

/* Next match at or after `from`: 1 with its place, 0 for none, negative for PCRE2's error. Compiled patterns have a
 * small stack; where it does not suffice the interpreter, which uses the heap, takes over. */
static int next_match(splitter *sp, const dtx_stage *stage, const char *s, size_t n, size_t from, size_t *begin,
                      size_t *end)
{
    const uint32_t how = PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY;
    int rc = pcre2_match(stage->regex, (PCRE2_SPTR)s, n, from, how, sp->match, NULL);

    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {
        rc = pcre2_match(stage->regex, (PCRE2_SPTR)s, n, from, how | PCRE2_NO_JIT, sp->match, NULL);
    }
    if (rc < 0) {
        return rc == PCRE2_ERROR_NOMATCH ? 0 : rc;
    }
    *begin = pcre2_get_ovector_pointer(sp->match)[0];
    *end = pcre2_get_ovector_pointer(sp->match)[1];
    return 1;
}

static dtx_status split_regex(splitter *sp, int k, const char *s, size_t n)
{
    const dtx_stage *stage = &sp->t->stage[k];
    size_t from = 0, at = 0; /* in s: where the piece under way begins, and where the subject is read */
    size_t next = 0;         /* the same place in the subject */

    bool possible = false;
    for (size_t i = 0; i < n && !possible; i++) {
        possible = stage->first[(unsigned char)s[i]];
    }
    if (!possible) {
        return run_stage(sp, k + 1, s, n);
    }
    if (sp->match == NULL && (sp->match = pcre2_match_data_create(1, NULL)) == NULL) {
        return DTX_FAIL(DTX_ERR_MISSING, "out of memory for a regular expression");
    }
    const char *subject = s;
    char *own = NULL;
    size_t subject_n = n;
    if (stage->mapped) {
        DTX_TRY(map_piece(sp, s, n, &subject_n));
        subject = own = sp->mapped; /* taken from the splitter while later stages run */
        sp->mapped = NULL;
        sp->mapped_cap = 0;
    }
    dtx_status st = DTX_OK;
    while (next < subject_n) {
        size_t begin, end;
        int found = next_match(sp, stage, subject, subject_n, next, &begin, &end);
        if (found == 0) {
            break;
        }
        if (found < 0) {
            st = DTX_FAIL(DTX_ERR_INPUT, "the tokenizer's Split pattern fails on this text (PCRE2 error %d)", found);
            goto done;
        }
        size_t s_begin = at + (stage->mapped ? mapped_bytes(subject, next, begin) : begin - next);
        size_t s_end = s_begin + (stage->mapped ? mapped_bytes(subject, begin, end) : end - begin);
        if (s_begin > from) {
            DTX_GO(run_stage(sp, k + 1, s + from, s_begin - from));
        }
        DTX_GO(run_stage(sp, k + 1, s + s_begin, s_end - s_begin));
        from = at = s_end;
        next = end;
    }
    if (from < n) {
        DTX_GO(run_stage(sp, k + 1, s + from, n - from));
    }
done:
    dtx_free(own);
    return st;
}

static dtx_status run_stage(splitter *sp, int k, const char *s, size_t n)
{
    if (k == sp->t->n_stages) {
        return dtx_bpe_encode(&sp->t->bpe, s, n, sp->out);
    }
    switch (sp->t->stage[k].kind) {
    case DTX_STAGE_PUNCTUATION:
    case DTX_STAGE_DIGITS: return split_runs(sp, k, s, n);
    case DTX_STAGE_REGEX: return split_regex(sp, k, s, n);
    case DTX_STAGE_GPT2: break;
    }
    for (size_t i = 0; i < n;) {
        size_t len = dtx_tok_gpt2_next(s + i, n - i);
        DTX_TRY(run_stage(sp, k + 1, s + i, len));
        i += len;
    }
    return DTX_OK;
}

dtx_status dtx_tok_split(const dtx_tokenizer *t, const char *s, size_t n, dtx_ids *out)
{
    splitter sp = {.t = t, .out = out};
    dtx_status st = run_stage(&sp, 0, s, n);

    pcre2_match_data_free(sp.match);
    dtx_free(sp.mapped);
    return st;
}
