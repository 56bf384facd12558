#include "src/text/tokenizer.h"

#include <string.h>

#include "src/base/file.h"
#include "src/base/mem.h"
#include "src/base/utf8.h"
#include "src/text/impl.h"
#include "src/text/unicode.h"

/* --- open and close --- */

dtx_status dtx_tok_new(dtx_tokenizer **t)
{
    DTX_TRY(DTX_NEW(*t, 1));
    dtx_trie_init(&(*t)->raw);
    dtx_trie_init(&(*t)->normalized);
    (*t)->single[0] = (*t)->pair[0] = DTX_TOK_A;
    (*t)->pair[1] = DTX_TOK_B;
    (*t)->n_single = 1;
    (*t)->n_pair = 2;
    return DTX_OK;
}

dtx_status dtx_tokenizer_open(const char *dir, dtx_tokenizer **out)
{
    char json[4096], vocab[4096], merges[4096];
    dtx_file_map file[2] = {0};
    dtx_tokenizer *t = NULL;
    dtx_status st = DTX_OK;

    DTX_TRY(dtx_file_join(json, sizeof json, dir, "tokenizer.json"));
    DTX_TRY(dtx_file_join(vocab, sizeof vocab, dir, "vocab.json"));
    DTX_TRY(dtx_file_join(merges, sizeof merges, dir, "merges.txt"));
    DTX_TRY(dtx_tok_new(&t));
    if (dtx_file_exists(json)) {
        DTX_GO(dtx_file_map_open(json, &file[0]));
        DTX_GO(dtx_tok_load_json(t, json, file[0].data, file[0].size));
    } else if (dtx_file_exists(vocab) && dtx_file_exists(merges)) {
        DTX_GO(dtx_file_map_open(vocab, &file[0]));
        DTX_GO(dtx_file_map_open(merges, &file[1]));
        DTX_GO(dtx_tok_load_files(t, vocab, file[0].data, file[0].size, merges, file[1].data, file[1].size));
    } else {
        st = DTX_FAIL(DTX_ERR_MISSING,
                      "%s: no tokenizer: neither tokenizer.json nor vocab.json with merges.txt is there", dir);
    }
done:
    for (int i = 0; i < 2; i++) {
        if (file[i].data != NULL) {
            dtx_file_map_close(&file[i]);
        }
    }
    if (st != DTX_OK) {
        dtx_tokenizer_close(t);
        return st;
    }
    *out = t;
    return DTX_OK;
}

void dtx_tokenizer_close(dtx_tokenizer *t)
{
    if (t == NULL) {
        return;
    }
    for (int i = 0; i < t->n_stages; i++) {
        pcre2_code_free(t->stage[i].regex);
    }
    dtx_trie_free(&t->raw);
    dtx_trie_free(&t->normalized);
    dtx_bpe_free(&t->bpe);
    dtx_map_free(&t->ids);
    dtx_free(t->added);
    dtx_free(t->text);
    dtx_free(t->tok);
    dtx_free(t);
}

/* --- encoding --- */

/* Whitespace that ends at s[at], back to `limit`; and whitespace that begins at s[at]. */
static size_t strip_left(const char *s, size_t limit, size_t at)
{
    while (at > limit) {
        size_t i = at - 1;
        uint32_t cp;
        while (i > limit && ((unsigned char)s[i] & 0xC0) == 0x80) {
            i--;
        }
        dtx_utf8_next(s + i, at - i, &cp, NULL);
        if (!dtx_tok_is_space(cp)) {
            break;
        }
        at = i;
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

typedef dtx_status segment_fn(const dtx_tokenizer *t, const char *s, size_t n, dtx_ids *out);

/* Finds added tokens and hands the text between them to `segment`. As in the reference, the search for the next token
 * continues right after a match, before the whitespace that the match takes with it. */
static dtx_status between_added(const dtx_tokenizer *t, const dtx_trie *trie, const char *s, size_t n,
                                segment_fn *segment, dtx_ids *out)
{
    size_t from = 0, search = 0, at, end;
    int32_t token;

    while (dtx_trie_find(trie, s, n, search, &at, &end, &token)) {
        const dtx_added *a = &t->added[token];
        search = end;
        if (a->lstrip) {
            at = strip_left(s, from, at);
        }
        if (a->rstrip) {
            end = strip_right(s, n, end);
        }
        if (at > from) {
            DTX_TRY(segment(t, s + from, at - from, out));
        }
        DTX_TRY(dtx_ids_add(out, a->id));
        from = end;
    }
    return from < n ? segment(t, s + from, n - from, out) : DTX_OK;
}

static dtx_status normalized_segment(const dtx_tokenizer *t, const char *s, size_t n, dtx_ids *out)
{
    char *changed = NULL;
    dtx_status st;

    if (t->nfc) {
        DTX_TRY(dtx_tok_nfc(s, n, &changed, &n));
    }
    st = between_added(t, &t->normalized, changed ? changed : s, n, dtx_tok_split, out);
    dtx_free(changed);
    return st;
}

/* Ids of the text alone. */
static dtx_status encode_text(const dtx_tokenizer *t, const char *text, size_t len, dtx_ids *out)
{
    size_t bad = dtx_utf8_valid(text, len), had = out->n;
    dtx_status st;

    if (bad < len) {
        return DTX_FAIL(DTX_ERR_INPUT, "the text is not UTF-8: byte %zu of %zu is 0x%02X; convert or remove it", bad,
                        len, (unsigned char)text[bad]);
    }
    if (len >= INT32_MAX / 4) {
        return DTX_FAIL(DTX_ERR_INPUT, "the text has %zu bytes; the tokenizer takes less than %d", len, INT32_MAX / 4);
    }
    st = between_added(t, &t->raw, text, len, normalized_segment, out);
    if (st != DTX_OK) {
        out->n = had;
    }
    return st;
}

/* --- templates and truncation --- */

static int64_t count_special(const int32_t *item, int n)
{
    int64_t special = 0;

    for (int i = 0; i < n; i++) {
        special += item[i] >= 0;
    }
    return special;
}

/* Ids left for the text, or an error when the special ones alone do not fit. */
static dtx_status room_for_text(int64_t max_length, int64_t special, int64_t *room)
{
    *room = max_length - special;
    if (*room < 0) {
        return DTX_FAIL(DTX_ERR_USAGE, "max_length %lld is less than the %lld special tokens around a text",
                        (long long)max_length, (long long)special);
    }
    return DTX_OK;
}

/* transformers' longest_first, as the library's core computes it: the shorter text keeps its length where it can. */
static void truncate_pair(int64_t room, size_t *n_a, size_t *n_b)
{
    int64_t short_n = (int64_t)(*n_a <= *n_b ? *n_a : *n_b), long_n = (int64_t)(*n_a <= *n_b ? *n_b : *n_a);
    bool swap = *n_a > *n_b;

    if (short_n + long_n <= room) {
        return;
    }
    if (short_n > room) {
        long_n = short_n;
    } else {
        long_n = room - short_n > short_n ? room - short_n : short_n;
    }
    if (short_n + long_n > room) {
        short_n = room / 2;
        long_n = short_n + room % 2;
    }
    *n_a = (size_t)(swap ? long_n : short_n);
    *n_b = (size_t)(swap ? short_n : long_n);
}

static dtx_status fill_template(const int32_t *item, int n, bool special, const dtx_ids *a, const dtx_ids *b,
                                dtx_ids *out)
{
    for (int i = 0; i < n; i++) {
        const dtx_ids *text = item[i] == DTX_TOK_A ? a : b;
        if (item[i] >= 0 && special) {
            DTX_TRY(dtx_ids_add(out, item[i]));
        } else if (item[i] < 0) {
            DTX_TRY(dtx_ids_append(out, text->id, text->n));
        }
    }
    return DTX_OK;
}

dtx_status dtx_tokenizer_encode(const dtx_tokenizer *t, const char *text, size_t len, bool special, dtx_ids *out)
{
    return dtx_tokenizer_encode_max(t, text, len, special, 0, out);
}

dtx_status dtx_tokenizer_encode_max(const dtx_tokenizer *t, const char *text, size_t len, bool special,
                                    int64_t max_length, dtx_ids *out)
{
    int64_t room = 0;
    dtx_ids a = {0};
    dtx_status st = DTX_OK;

    if (max_length > 0) {
        DTX_TRY(room_for_text(max_length, special ? count_special(t->single, t->n_single) : 0, &room));
    }
    if (!special || t->n_single == 1) { /* nothing around the text: no copy */
        size_t had = out->n;
        DTX_TRY(encode_text(t, text, len, out));
        if (max_length > 0 && (int64_t)(out->n - had) > room) {
            out->n = had + (size_t)room;
        }
        return DTX_OK;
    }
    DTX_GO(encode_text(t, text, len, &a));
    if (max_length > 0 && (int64_t)a.n > room) {
        a.n = (size_t)room;
    }
    DTX_GO(fill_template(t->single, t->n_single, special, &a, &a, out));
done:
    dtx_ids_free(&a);
    return st;
}

dtx_status dtx_tokenizer_encode_pair(const dtx_tokenizer *t, const char *a, size_t a_len, const char *b, size_t b_len,
                                     bool special, int64_t max_length, dtx_ids *out)
{
    int64_t room = 0;
    dtx_ids ids_a = {0}, ids_b = {0};
    dtx_status st = DTX_OK;

    if (max_length > 0) {
        DTX_TRY(room_for_text(max_length, special ? count_special(t->pair, t->n_pair) : 0, &room));
    }
    DTX_GO(encode_text(t, a, a_len, &ids_a));
    DTX_GO(encode_text(t, b, b_len, &ids_b));
    if (max_length > 0) {
        truncate_pair(room, &ids_a.n, &ids_b.n);
    }
    DTX_GO(fill_template(t->pair, t->n_pair, special, &ids_a, &ids_b, out));
done:
    dtx_ids_free(&ids_a);
    dtx_ids_free(&ids_b);
    return st;
}
