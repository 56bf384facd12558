#include "src/text/load_parts.h"

#include <string.h>

#include "src/base/mem.h"
#include "src/text/read.h"

/* --- vocabulary and merges --- */

dtx_status dtx_load_vocab(dtx_tokenizer *t, const char *path, const cJSON *vocab)
{
    if (!cJSON_IsObject(vocab) || vocab->child == NULL) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: the vocabulary must be an object of tokens and ids, and not empty", path);
    }
    for (cJSON *c = vocab->child; c != NULL; c = c->next) {
        int64_t id = -1;
        size_t n = strlen(c->string);
        DTX_TRY(dtx_read_id(path, c->string, c, &id));
        for (char *p = c->string; (p = strchr(p, '\xFF')) != NULL; p++) {
            *p = '\0';
        }
        DTX_TRY(dtx_tok_add(t, path, id, c->string, n));
        t->n_model++;
    }
    return DTX_OK;
}

/* "left right", exactly one blank. */
static dtx_status add_merge_line(dtx_tokenizer *t, const char *path, int32_t rank, const char *line, size_t n)
{
    const char *blank = memchr(line, ' ', n);
    size_t left = blank ? (size_t)(blank - line) : 0;

    if (blank == NULL || left == 0 || left + 1 == n || memchr(blank + 1, ' ', n - left - 1) != NULL) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: merge %d \"%.*s\" must be two tokens with one blank between", path, rank,
                        (int)(n < 60 ? n : 60), line);
    }
    return dtx_tok_add_merge(t, path, rank, line, left, blank + 1, n - left - 1);
}

static dtx_status load_merges(dtx_tokenizer *t, const char *path, const cJSON *merges)
{
    int32_t rank = 0;

    for (const cJSON *c = merges->child; c != NULL; c = c->next, rank++) {
        if (cJSON_IsString(c)) {
            DTX_TRY(add_merge_line(t, path, rank, c->valuestring, strlen(c->valuestring)));
            continue;
        }
        const cJSON *left = cJSON_IsArray(c) ? c->child : NULL, *right = left ? left->next : NULL;
        if (!cJSON_IsString(left) || !cJSON_IsString(right) || right->next != NULL) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: merge %d must be \"left right\" or [\"left\", \"right\"]", path, rank);
        }
        DTX_TRY(dtx_tok_add_merge(t, path, rank, left->valuestring, strlen(left->valuestring), right->valuestring,
                                  strlen(right->valuestring)));
    }
    return DTX_OK;
}

/* Only these members are known; another one would change ids silently. */
static dtx_status check_members(const char *path, const cJSON *model, const char *const *known)
{
    for (const cJSON *c = model->child; c != NULL; c = c->next) {
        int i = 0;
        while (known[i] != NULL && strcmp(known[i], c->string) != 0) {
            i++;
        }
        if (known[i] == NULL) {
            return dtx_read_unsupported(path, "model setting", c->string);
        }
    }
    return DTX_OK;
}

/* The unknown token's id; -1 when the file names none. */
static dtx_status unknown_of(const dtx_tokenizer *t, const char *path, const cJSON *model, int32_t *unknown)
{
    const cJSON *unk = dtx_json_get(model, "unk_token");

    *unknown = cJSON_IsString(unk) ? dtx_tokenizer_id(t, unk->valuestring) : -1;
    if (unk != NULL && *unknown < 0) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: model.unk_token is not in the vocabulary", path);
    }
    return DTX_OK;
}

static dtx_status load_bpe(dtx_tokenizer *t, const char *path, const cJSON *model)
{
    static const char *const known[] = {"type",     "dropout",       "unk_token",     "continuing_subword_prefix", "end_of_word_suffix",
                                        "fuse_unk", "byte_fallback", "ignore_merges", "vocab",                     "merges",
                                        NULL};
    static const char *const off[] = {"dropout", "continuing_subword_prefix", "end_of_word_suffix"};
    const cJSON *merges = dtx_json_get(model, "merges");
    bool fuse = dtx_read_is_set(model, "fuse_unk"), fallback = dtx_read_is_set(model, "byte_fallback");
    int32_t unknown = -1;

    DTX_TRY(check_members(path, model, known));
    for (size_t i = 0; i < sizeof off / sizeof off[0]; i++) {
        if (dtx_read_is_set(model, off[i])) {
            return dtx_read_unsupported(path, "model setting", off[i]);
        }
    }
    if (!cJSON_IsArray(merges)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: model.merges must be a list", path);
    }
    DTX_TRY(dtx_load_vocab(t, path, dtx_json_get(model, "vocab")));
    DTX_TRY(unknown_of(t, path, model, &unknown));
    DTX_TRY(dtx_tok_bytes_ready(t, (size_t)cJSON_GetArraySize(merges), unknown));
    if (t->kind == DTX_MODEL_CHARS) {
        t->chars = (dtx_bpe_chars){.ids = &t->ids, .unknown = unknown, .byte_fallback = fallback, .fuse_unknown = fuse};
        dtx_tok_byte_tokens(t, t->chars.byte_token);
    } else if (fuse || fallback) { /* both concern what the vocabulary lacks: nothing where it has all bytes */
        for (int b = 0; b < 256; b++) {
            if (t->bpe.byte_id[b] == unknown) {
                return dtx_read_unsupported(path, "ByteLevel with model setting", fuse ? "fuse_unk" : "byte_fallback");
            }
        }
    }
    DTX_TRY(load_merges(t, path, merges));
    return dtx_tok_merges_ready(t, dtx_read_is_set(model, "ignore_merges"));
}

static dtx_status load_wordpiece(dtx_tokenizer *t, const char *path, const cJSON *model)
{
    static const char *const known[] = {"type", "unk_token", "continuing_subword_prefix", "max_input_chars_per_word", "vocab", NULL};
    dtx_wordpiece *w = &t->wordpiece;
    const cJSON *prefix = dtx_json_get(model, "continuing_subword_prefix");

    DTX_TRY(check_members(path, model, known));
    t->kind = DTX_MODEL_WORDPIECE;
    DTX_TRY(dtx_load_vocab(t, path, dtx_json_get(model, "vocab")));
    *w = (dtx_wordpiece){.ids = &t->ids, .prefix = "##", .max_chars = 100};
    if (prefix != NULL) {
        DTX_TRY(dtx_read_short(path, "model", "continuing_subword_prefix", prefix, 0, w->prefix, sizeof w->prefix));
    }
    DTX_TRY(dtx_json_int(model, path, "max_input_chars_per_word", 1, INT32_MAX, &w->max_chars));
    DTX_TRY(unknown_of(t, path, model, &w->unknown));
    if (w->unknown < 0) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: model.unk_token: WordPiece needs an unknown token", path);
    }
    for (size_t i = 0; i < t->n_tok; i++) {
        w->longest = t->tok[i].piece_len > w->longest ? t->tok[i].piece_len : w->longest;
    }
    return DTX_OK;
}

/* [["piece", score], ...]: ids are places. */
static dtx_status load_scores(dtx_tokenizer *t, const char *path, const cJSON *vocab)
{
    dtx_unigram *u = &t->unigram;
    int64_t id = 0;

    if (!cJSON_IsArray(vocab) || vocab->child == NULL) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: the vocabulary must be a list of [token, score], and not empty", path);
    }
    u->n = (size_t)cJSON_GetArraySize(vocab);
    DTX_TRY(DTX_NEW(u->score, u->n));
    for (const cJSON *c = vocab->child; c != NULL; c = c->next, id++) {
        const cJSON *piece = cJSON_IsArray(c) ? c->child : NULL, *score = piece ? piece->next : NULL;
        char *text;
        size_t len;
        if (!cJSON_IsString(piece) || !cJSON_IsNumber(score) || score->next != NULL) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: entry %lld of the vocabulary must be [token, score]", path, (long long)id);
        }
        DTX_TRY(dtx_read_text(path, piece, &text, &len));
        dtx_status st = dtx_tok_add(t, path, id, text, len);
        if (st == DTX_OK && len > 0) {
            st = dtx_trie_add(&u->trie, text, len, (int32_t)id);
        }
        dtx_free(text);
        DTX_TRY(st);
        u->score[id] = score->valuedouble;
        u->lowest = id == 0 || score->valuedouble < u->lowest ? score->valuedouble : u->lowest;
    }
    t->n_model = id;
    return DTX_OK;
}

static dtx_status load_unigram(dtx_tokenizer *t, const char *path, const cJSON *model)
{
    static const char *const known[] = {"type", "unk_id", "byte_fallback", "vocab", NULL};
    const cJSON *unknown = dtx_json_get(model, "unk_id");
    int64_t id = -1;

    DTX_TRY(check_members(path, model, known));
    t->kind = DTX_MODEL_UNIGRAM;
    DTX_TRY(load_scores(t, path, dtx_json_get(model, "vocab")));
    if (unknown != NULL) {
        DTX_TRY(dtx_read_id(path, "unk_id", unknown, &id));
        if (id >= t->n_model) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: model.unk_id is %lld; the vocabulary has %lld tokens", path, (long long)id,
                            (long long)t->n_model);
        }
    }
    t->unigram.unknown = (int32_t)id;
    t->unigram.byte_fallback = dtx_read_is_set(model, "byte_fallback");
    dtx_tok_byte_tokens(t, t->unigram.byte_token);
    return DTX_OK;
}

/* Files without a type are told apart by what they hold, as in the reference. */
dtx_status dtx_load_model(dtx_tokenizer *t, const char *path, const cJSON *model)
{
    const cJSON *type = dtx_json_get(model, "type");
    const char *kind = cJSON_IsString(type)                            ? type->valuestring
                       : type != NULL                                  ? "type"
                       : dtx_json_get(model, "merges") != NULL         ? "BPE"
                       : cJSON_IsArray(dtx_json_get(model, "vocab"))   ? "Unigram"
                       : dtx_json_get(model, "max_input_chars_per_word") != NULL ? "WordPiece"
                                                                       : "BPE";

    if (!cJSON_IsObject(model)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: there is no object \"model\"", path);
    }
    if (t->kind == DTX_MODEL_BYTES && strcmp(kind, "BPE") != 0) {
        return dtx_read_unsupported(path, "ByteLevel with model", kind);
    }
    return strcmp(kind, "BPE") == 0         ? load_bpe(t, path, model)
           : strcmp(kind, "WordPiece") == 0 ? load_wordpiece(t, path, model)
           : strcmp(kind, "Unigram") == 0   ? load_unigram(t, path, model)
                                            : dtx_read_unsupported(path, "model", kind);
}

dtx_status dtx_load_merges_txt(dtx_tokenizer *t, const char *path, const char *text, size_t size)
{
    size_t n_lines = 0;
    int32_t rank = 0;

    for (size_t i = 0; i < size; i++) {
        n_lines += text[i] == '\n';
    }
    DTX_TRY(dtx_tok_bytes_ready(t, n_lines + 1, -1));
    for (size_t i = 0; i < size;) {
        const char *line = text + i, *end = memchr(line, '\n', size - i);
        size_t n = end ? (size_t)(end - line) : size - i;
        bool comment =
            i == 0 && n >= 8 && memcmp(line, "#version", 8) == 0; /* later lines that begin with # are merges */
        i += n + 1;
        n -= n > 0 && line[n - 1] == '\r';
        if (n > 0 && !comment) {
            DTX_TRY(add_merge_line(t, path, rank++, line, n));
        }
    }
    return DTX_OK;
}
