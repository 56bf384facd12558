#include "src/text/tokenizer.h"

#include <string.h>

#include "src/base/file.h"
#include "src/base/mem.h"
#include "src/base/utf8.h"
#include "src/text/load_parts.h"

/* --- open and close --- */

/* The files of a folder that say something about its tokenizer. */
enum { TOKENIZER, CONFIG, ADDED, SPECIAL_MAP, VOCAB, MERGES, FILES };

typedef struct {
    char path[4096];
    dtx_file_map map;
} tokenizer_file;

static dtx_tok_file as_file(const tokenizer_file *f)
{
    return (dtx_tok_file){.name = f->path, .data = f->map.data, .n = f->map.size};
}

static dtx_status load_folder(dtx_tokenizer *t, const char *dir, tokenizer_file file[FILES])
{
    static const char *const name[] = {"tokenizer.json",          "tokenizer_config.json", "added_tokens.json",
                                       "special_tokens_map.json", "vocab.json",            "merges.txt"};
    bool is_there[FILES];

    for (int i = 0; i < FILES; i++) {
        DTX_TRY(dtx_file_join(file[i].path, sizeof file[i].path, dir, name[i]));
        is_there[i] = dtx_file_exists(file[i].path);
    }
    if (!is_there[TOKENIZER] && !(is_there[VOCAB] && is_there[MERGES])) {
        return DTX_FAIL(DTX_ERR_MISSING, "%s: no tokenizer: neither tokenizer.json nor vocab.json with merges.txt is there", dir);
    }
    for (int i = is_there[TOKENIZER] ? TOKENIZER : VOCAB; i < (is_there[TOKENIZER] ? VOCAB : FILES); i++) {
        if (is_there[i]) {
            DTX_TRY(dtx_file_map_open(file[i].path, &file[i].map));
        }
    }
    return is_there[TOKENIZER] ? dtx_tok_load_json(t, as_file(&file[TOKENIZER]), as_file(&file[CONFIG]), as_file(&file[ADDED]),
                                                   as_file(&file[SPECIAL_MAP]))
                               : dtx_tok_load_files(t, as_file(&file[VOCAB]), as_file(&file[MERGES]));
}

static dtx_status open_folder(const char *dir, dtx_tokenizer **out)
{
    tokenizer_file *file = NULL;
    dtx_tokenizer *t = NULL;
    dtx_status st = DTX_OK;

    DTX_GO(DTX_NEW(file, FILES));
    DTX_GO(dtx_tok_new(&t));
    st = load_folder(t, dir, file);
done:
    for (int i = 0; i < FILES && file != NULL; i++) {
        if (file[i].map.data != NULL) {
            dtx_file_map_close(&file[i].map);
        }
    }
    dtx_free(file);
    if (st != DTX_OK) {
        dtx_tokenizer_close(t);
        return st;
    }
    *out = t;
    return DTX_OK;
}

static dtx_status open_gguf(const char *path, dtx_tokenizer **out)
{
    dtx_gguf *g = NULL;
    dtx_tokenizer *t = NULL;
    dtx_status st = DTX_OK;

    DTX_TRY(dtx_gguf_open(path, &g));
    DTX_GO(dtx_tok_new(&t));
    st = dtx_load_gguf(t, g);
done:
    dtx_gguf_close(g);
    if (st != DTX_OK) {
        dtx_tokenizer_close(t);
        return st;
    }
    *out = t;
    return DTX_OK;
}

dtx_status dtx_tokenizer_open(const char *dir, dtx_tokenizer **out)
{
    return dtx_gguf_is_path(dir) ? open_gguf(dir, out) : open_folder(dir, out);
}

void dtx_tokenizer_close(dtx_tokenizer *t)
{
    if (t == NULL) {
        return;
    }
    for (int i = 0; i < t->n_stages; i++) {
        dtx_regex_free(&t->stage[i].regex);
    }
    dtx_normalizer_free(&t->normalizer);
    dtx_trie_free(&t->raw);
    dtx_trie_free(&t->normalized);
    dtx_unigram_free(&t->unigram);
    dtx_bpe_free(&t->bpe);
    dtx_map_free(&t->ids);
    dtx_free(t->added);
    dtx_free(t->text);
    dtx_free(t->tok);
    dtx_free(t);
}

/* --- encoding --- */

typedef dtx_status segment_fn(const dtx_tokenizer *t, const char *s, size_t n, dtx_place place, dtx_ids *out);

/* Finds added tokens and hands the text between them to `segment`. */
static dtx_status between_added(const dtx_tokenizer *t, const dtx_trie *trie, const char *s, size_t n, dtx_place place,
                                segment_fn *segment, dtx_ids *out)
{
    size_t from = 0, search = 0, at, end;
    int32_t id;

    while (dtx_tok_next_added(t, trie, s, n, from, &search, &at, &end, &id)) {
        if (at > from) {
            DTX_TRY(segment(t, s + from, at - from, from == 0 ? place : DTX_PLACE_BEHIND, out));
        }
        DTX_TRY(dtx_ids_add(out, id));
        from = end;
    }
    return from < n ? segment(t, s + from, n - from, from == 0 ? place : DTX_PLACE_BEHIND, out) : DTX_OK;
}

static dtx_status normalized_segment(const dtx_tokenizer *t, const char *s, size_t n, dtx_place place, dtx_ids *out)
{
    char *changed = NULL;
    dtx_status st;

    DTX_TRY(dtx_normalize(&t->normalizer, s, n, place == DTX_PLACE_JOINED, &changed, &n));
    st = between_added(t, &t->normalized, changed ? changed : s, n, place, dtx_tok_split, out);
    dtx_free(changed);
    return st;
}

/* A stretch in which added tokens are text like others. */
static dtx_status plain_segment(const dtx_tokenizer *t, const char *s, size_t n, dtx_place place, dtx_ids *out)
{
    char *changed = NULL;
    dtx_status st;

    DTX_TRY(dtx_normalize(&t->normalizer, s, n, place == DTX_PLACE_JOINED, &changed, &n));
    st = dtx_tok_split(t, changed ? changed : s, n, place, out);
    dtx_free(changed);
    return st;
}

/* Ids of the text alone. */
static dtx_status encode_text(const dtx_tokenizer *t, const char *text, size_t len, bool plain, bool joined, dtx_ids *out)
{
    size_t bad = dtx_utf8_valid(text, len), had = out->n;
    dtx_place place = joined ? DTX_PLACE_JOINED : DTX_PLACE_START;
    dtx_status st;

    if (bad < len) {
        return DTX_FAIL(DTX_ERR_INPUT, "the text is not UTF-8: byte %zu of %zu is 0x%02X; convert or remove it", bad,
                        len, (unsigned char)text[bad]);
    }
    if (len >= INT32_MAX / 4) {
        return DTX_FAIL(DTX_ERR_INPUT, "the text has %zu bytes; the tokenizer takes less than %d", len, INT32_MAX / 4);
    }
    st = plain ? plain_segment(t, text, len, place, out) : between_added(t, &t->raw, text, len, place, normalized_segment, out);
    if (st != DTX_OK) {
        out->n = had;
    }
    return st;
}

dtx_status dtx_tokenizer_encode_stretch(const dtx_tokenizer *t, const char *text, size_t len, bool plain, bool joined, dtx_ids *out)
{
    return encode_text(t, text, len, plain, joined, out);
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
        DTX_TRY(encode_text(t, text, len, false, false, out));
        if (max_length > 0 && (int64_t)(out->n - had) > room) {
            out->n = had + (size_t)room;
        }
        return DTX_OK;
    }
    DTX_GO(encode_text(t, text, len, false, false, &a));
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
    DTX_GO(encode_text(t, a, a_len, false, false, &ids_a));
    DTX_GO(encode_text(t, b, b_len, false, false, &ids_b));
    if (max_length > 0) {
        truncate_pair(room, &ids_a.n, &ids_b.n);
    }
    DTX_GO(fill_template(t->pair, t->n_pair, special, &ids_a, &ids_b, out));
done:
    dtx_ids_free(&ids_a);
    dtx_ids_free(&ids_b);
    return st;
}
