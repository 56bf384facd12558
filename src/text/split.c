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
} splitter;

/* Stage k and those after it, on a piece. */
static dtx_status run_stage(splitter *sp, int k, const char *s, size_t n, dtx_place place);

/* The place of a part that begins `at` bytes behind the piece's beginning. */
static dtx_place part_of(dtx_place place, size_t at)
{
    return at == 0 ? place : DTX_PLACE_BEHIND;
}

/* --- what becomes of matches and of what lies between --- */

/* Gets the parts of a piece in their order, each a match or not, and hands on what the behavior makes of them. */
typedef struct {
    splitter *sp;
    int k; /* the stage after the split */
    dtx_split_behavior behavior;
    const char *s;
    dtx_place place;
    size_t begin, end; /* a piece that may still grow; end = 0: none */
    bool match;        /* was the part before a match? */
} cutter;

static dtx_status hand_on(cutter *c, size_t begin, size_t end)
{
    return end > begin ? run_stage(c->sp, c->k, c->s + begin, end - begin, part_of(c->place, begin)) : DTX_OK;
}

static dtx_status cut_end(cutter *c)
{
    size_t begin = c->begin, end = c->end;

    c->end = 0;
    return hand_on(c, begin, end);
}

static dtx_status cut(cutter *c, size_t begin, size_t end, bool match)
{
    bool grow = false;

    switch (c->behavior) {
    case DTX_SPLIT_ISOLATED: return hand_on(c, begin, end);
    case DTX_SPLIT_REMOVED: return match ? DTX_OK : hand_on(c, begin, end);
    case DTX_SPLIT_WITH_PREVIOUS: grow = match && !c->match; break;
    case DTX_SPLIT_WITH_NEXT: grow = !match && c->match; break;
    case DTX_SPLIT_CONTIGUOUS: grow = match == c->match; break;
    }
    c->match = match;
    if (grow && c->end > 0) {
        c->end = end;
        return DTX_OK;
    }
    DTX_TRY(cut_end(c));
    c->begin = begin;
    c->end = end;
    return DTX_OK;
}

/* --- runs of characters of a class --- */

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

static dtx_status split_runs(splitter *sp, int k, const char *s, size_t n, dtx_place place)
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
            DTX_TRY(run_stage(sp, k + 1, s + from, i - from, part_of(place, from)));
            from = i;
        }
        inside = match;
    }
    return run_stage(sp, k + 1, s + from, n - from, part_of(place, from));
}

/* White space is dropped; with BERT each punctuation mark is a piece. */
static dtx_status split_words(splitter *sp, int k, const char *s, size_t n, dtx_place place)
{
    bool bert = sp->t->stage[k].kind == DTX_STAGE_BERT;
    size_t from = 0, len;

    for (size_t i = 0; i < n; i += len) {
        uint32_t cp;
        len = dtx_utf8_next(s + i, n - i, &cp, NULL);
        bool space = dtx_tok_is_space(cp), alone = bert && dtx_tok_is_punctuation(cp);
        if (!space && !alone) {
            continue;
        }
        if (i > from) {
            DTX_TRY(run_stage(sp, k + 1, s + from, i - from, part_of(place, from)));
        }
        if (alone) {
            DTX_TRY(run_stage(sp, k + 1, s + i, len, part_of(place, i)));
        }
        from = i + len;
    }
    return from < n ? run_stage(sp, k + 1, s + from, n - from, part_of(place, from)) : DTX_OK;
}

/* --- regular expressions and fixed strings --- */

/* The piece as characters of the byte alphabet; the caller frees it. */
static dtx_status map_piece(const char *s, size_t n, char **mapped, size_t *mapped_n)
{
    DTX_TRY(DTX_NEW_RAW(*mapped, 2 * n));
    *mapped_n = 0;
    for (size_t i = 0; i < n; i++) {
        *mapped_n += dtx_utf8_put(dtx_tok_byte_char((unsigned char)s[i]), *mapped + *mapped_n);
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

static bool can_match(const dtx_stage *stage, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (stage->regex.first[(unsigned char)s[i]]) {
            return true;
        }
    }
    return false;
}

static dtx_status split_regex(splitter *sp, int k, const char *s, size_t n, dtx_place place)
{
    const dtx_stage *stage = &sp->t->stage[k];
    cutter c = {.sp = sp, .k = k + 1, .behavior = stage->behavior, .s = s, .place = place};
    size_t at = 0, next = 0; /* the same place in s and in the subject */
    const char *subject = s;
    char *own = NULL;
    size_t subject_n = n;
    bool found = true;
    dtx_status st = DTX_OK;

    if (!can_match(stage, s, n)) {
        DTX_TRY(cut(&c, 0, n, stage->invert));
        return cut_end(&c);
    }
    if (stage->mapped) {
        DTX_TRY(map_piece(s, n, &own, &subject_n));
        subject = own;
    }
    while (next < subject_n) {
        size_t begin = 0, end = 0;
        DTX_GO(dtx_regex_next(&stage->regex, &sp->match, subject, subject_n, next, &found, &begin, &end));
        if (!found) {
            break;
        }
        size_t s_begin = at + (stage->mapped ? mapped_bytes(subject, next, begin) : begin - next);
        size_t s_end = s_begin + (stage->mapped ? mapped_bytes(subject, begin, end) : end - begin);
        if (s_begin > at) {
            DTX_GO(cut(&c, at, s_begin, stage->invert));
        }
        DTX_GO(cut(&c, s_begin, s_end, !stage->invert));
        at = s_end;
        next = end;
    }
    if (at < n) {
        DTX_GO(cut(&c, at, n, stage->invert));
    }
    st = cut_end(&c);
done:
    dtx_free(own);
    return st;
}

static dtx_status split_string(splitter *sp, int k, const char *mark, dtx_split_behavior behavior, bool invert, const char *s, size_t n,
                               dtx_place place)
{
    cutter c = {.sp = sp, .k = k, .behavior = behavior, .s = s, .place = place};
    size_t n_mark = strlen(mark), at = 0;

    while (at < n) {
        const char *hit = memmem(s + at, n - at, mark, n_mark);
        size_t begin = hit ? (size_t)(hit - s) : n;
        if (begin > at) {
            DTX_TRY(cut(&c, at, begin, invert));
        }
        if (hit) {
            DTX_TRY(cut(&c, begin, begin + n_mark, !invert));
        }
        at = hit ? begin + n_mark : n;
    }
    return cut_end(&c);
}

/* --- stages that change the text --- */

static dtx_status put_metaspace(splitter *sp, int k, const char *s, size_t n, dtx_place place)
{
    const dtx_stage *stage = &sp->t->stage[k];
    size_t n_mark = strlen(stage->mark), len = 0;
    bool marked = s[0] == ' ' || (n >= n_mark && memcmp(s, stage->mark, n_mark) == 0);
    char *text;
    dtx_status st;

    DTX_TRY(DTX_NEW_RAW(text, (n + 1) * n_mark));
    if (!marked && place != DTX_PLACE_JOINED &&
        (stage->prepend == DTX_PREPEND_ALWAYS || (stage->prepend == DTX_PREPEND_FIRST && place == DTX_PLACE_START))) {
        memcpy(text, stage->mark, n_mark);
        len = n_mark;
    }
    for (size_t i = 0; i < n; i++) {
        if (s[i] == ' ') {
            memcpy(text + len, stage->mark, n_mark);
            len += n_mark;
        } else {
            text[len++] = s[i];
        }
    }
    st = stage->split ? split_string(sp, k + 1, stage->mark, DTX_SPLIT_WITH_NEXT, false, text, len, place)
                      : run_stage(sp, k + 1, text, len, place);
    dtx_free(text);
    return st;
}

static dtx_status put_blank(splitter *sp, int k, const char *s, size_t n, dtx_place place)
{
    char *text;
    dtx_status st;

    if (s[0] == ' ' || place == DTX_PLACE_JOINED) {
        return run_stage(sp, k + 1, s, n, place);
    }
    DTX_TRY(DTX_NEW_RAW(text, n + 1));
    text[0] = ' ';
    memcpy(text + 1, s, n);
    st = run_stage(sp, k + 1, text, n + 1, place);
    dtx_free(text);
    return st;
}

/* --- the way through the stages --- */

static dtx_status encode_piece(const dtx_tokenizer *t, const char *s, size_t n, dtx_ids *out)
{
    switch (t->kind) {
    case DTX_MODEL_CHARS: {
        int32_t id = t->whole_first ? dtx_map_find(&t->ids, s, n) : -1;
        return id >= 0 ? dtx_ids_add(out, id) : dtx_bpe_merge_chars(&t->bpe, &t->chars, s, n, out);
    }
    case DTX_MODEL_WORDPIECE: return dtx_wordpiece_encode(&t->wordpiece, s, n, out);
    case DTX_MODEL_UNIGRAM: return dtx_unigram_encode(&t->unigram, s, n, out);
    case DTX_MODEL_BYTES: break;
    }
    return dtx_bpe_encode(&t->bpe, s, n, out);
}

static dtx_status run_stage(splitter *sp, int k, const char *s, size_t n, dtx_place place)
{
    if (k == sp->t->n_stages) {
        return encode_piece(sp->t, s, n, sp->out);
    }
    const dtx_stage *stage = &sp->t->stage[k];
    switch (stage->kind) {
    case DTX_STAGE_PUNCTUATION:
    case DTX_STAGE_DIGITS: return split_runs(sp, k, s, n, place);
    case DTX_STAGE_WHITESPACE:
    case DTX_STAGE_BERT: return split_words(sp, k, s, n, place);
    case DTX_STAGE_REGEX: return split_regex(sp, k, s, n, place);
    case DTX_STAGE_STRING: return split_string(sp, k + 1, stage->mark, stage->behavior, stage->invert, s, n, place);
    case DTX_STAGE_METASPACE: return put_metaspace(sp, k, s, n, place);
    case DTX_STAGE_PREFIX_SPACE: return put_blank(sp, k, s, n, place);
    case DTX_STAGE_GPT2: break;
    }
    for (size_t i = 0; i < n;) {
        size_t len = dtx_tok_gpt2_next(s + i, n - i);
        DTX_TRY(run_stage(sp, k + 1, s + i, len, part_of(place, i)));
        i += len;
    }
    return DTX_OK;
}

dtx_status dtx_tok_split(const dtx_tokenizer *t, const char *s, size_t n, dtx_place place, dtx_ids *out)
{
    splitter sp = {.t = t, .out = out};
    dtx_status st = n > 0 ? run_stage(&sp, 0, s, n, place) : DTX_OK;

    pcre2_match_data_free(sp.match);
    return st;
}
