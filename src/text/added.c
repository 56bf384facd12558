#include <string.h>

#include "src/base/mem.h"
#include "src/base/utf8.h"
#include "src/text/impl.h"
#include "src/text/unicode.h"

static bool same_flags(const dtx_added_flags *a, const dtx_added_flags *b)
{
    return a->special == b->special && a->normalized == b->normalized && a->lstrip == b->lstrip && a->rstrip == b->rstrip &&
           a->single_word == b->single_word;
}

static dtx_status enlist(dtx_tokenizer *t, int32_t id, bool special, bool normalized)
{
    DTX_TRY(DTX_GROW(t->added, t->cap_added, t->n_added + 1));
    t->added[t->n_added++] = (dtx_added){.id = id, .special = special, .normalized = normalized};
    return DTX_OK;
}

bool dtx_tok_is_added(const dtx_tokenizer *t, const char *content, size_t len)
{
    int32_t id = dtx_map_find(&t->ids, content, len);

    return id >= 0 && t->tok[id].added;
}

dtx_status dtx_tok_add_added(dtx_tokenizer *t, const char *name, const char *content, size_t len, dtx_added_flags flags)
{
    int64_t id;

    if (len == 0) { /* it would match everywhere */
        return DTX_OK;
    }
    id = dtx_map_find(&t->ids, content, len);
    if (id < 0) {
        id = t->last_added >= t->n_model ? t->last_added + 1 : t->n_model;
        DTX_TRY(dtx_tok_add(t, name, id, content, len));
    }
    dtx_tok *k = &t->tok[id];
    bool was_special = k->special, again = k->added && same_flags(&k->flags, &flags);
    k->special = k->special || flags.special;
    if (flags.special && !was_special) {
        DTX_TRY(enlist(t, (int32_t)id, true, flags.normalized));
    }
    if (again) {
        return DTX_OK;
    }
    k->added = true;
    k->flags = flags;
    t->last_added = id > t->last_added ? id : t->last_added;
    return k->special ? DTX_OK : enlist(t, (int32_t)id, false, flags.normalized);
}

static dtx_status add_to_trie(dtx_tokenizer *t, const dtx_added *a)
{
    const dtx_tok *k = &t->tok[a->id];
    char *changed = NULL;
    size_t n = k->piece_len;
    dtx_status st = DTX_OK;

    if (a->normalized) {
        DTX_TRY(dtx_normalize(&t->normalizer, t->text + k->piece, n, false, &changed, &n));
    }
    if (changed != NULL) {
        DTX_GO(dtx_tok_respell(t, a->id, changed, n));
    }
    if (n > 0) {
        st = dtx_trie_add(a->normalized ? &t->normalized : &t->raw, changed != NULL ? changed : t->text + k->piece, n, a->id);
    }
done:
    dtx_free(changed);
    return st;
}

dtx_status dtx_tok_added_ready(dtx_tokenizer *t)
{
    for (int special = 1; special >= 0; special--) { /* of equal strings the special one counts */
        for (size_t i = 0; i < t->n_added; i++) {
            if (t->added[i].special == (special == 1)) {
                DTX_TRY(add_to_trie(t, &t->added[i]));
            }
        }
    }
    return DTX_OK;
}

/* --- the search --- */

/* The character that ends at s[at], at > 0; *begin is where it begins. */
static uint32_t char_before(const char *s, size_t at, size_t *begin)
{
    uint32_t cp;

    *begin = at - 1;
    while (*begin > 0 && ((unsigned char)s[*begin] & 0xC0) == 0x80) {
        (*begin)--;
    }
    dtx_utf8_next(s + *begin, at - *begin, &cp, NULL);
    return cp;
}

/* Whitespace that ends at s[at], back to `limit`; and whitespace that begins at s[at]. */
static size_t strip_left(const char *s, size_t limit, size_t at)
{
    size_t begin;

    while (at > limit && dtx_tok_is_space(char_before(s, at, &begin))) {
        at = begin;
    }
    return at;
}

static size_t strip_right(const char *s, size_t n, size_t at)
{
    while (at < n) {
        uint32_t cp;
        size_t len = dtx_utf8_next(s + at, n - at, &cp, NULL);
        if (!dtx_tok_is_space(cp)) {
            break;
        }
        at += len;
    }
    return at;
}

static bool inside_word(const char *s, size_t n, size_t at, size_t end)
{
    size_t begin;
    uint32_t cp = 0;

    if (end < n) {
        dtx_utf8_next(s + end, n - end, &cp, NULL);
    }
    return (at > 0 && dtx_tok_is_word(char_before(s, at, &begin))) || (end < n && dtx_tok_is_word(cp));
}

/* As in the reference, the search for the next token continues right after a match, before the white space that the match takes. */
bool dtx_tok_next_added(const dtx_tokenizer *t, const dtx_trie *trie, const char *s, size_t n, size_t from, size_t *search, size_t *at,
                        size_t *end, int32_t *id)
{
    while (dtx_trie_find(trie, s, n, *search, at, end, id)) {
        const dtx_added_flags *flags = &t->tok[*id].flags;
        *search = *end;
        if (flags->single_word && inside_word(s, n, *at, *end)) {
            continue;
        }
        if (flags->lstrip) {
            *at = strip_left(s, from, *at);
        }
        if (flags->rstrip) {
            *end = strip_right(s, n, *end);
        }
        return true;
    }
    return false;
}
