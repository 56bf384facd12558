#include <stdlib.h>
#include <string.h>

#include "src/base/mem.h"
#include "src/base/utf8.h"
#include "src/text/load_parts.h"
#include "src/text/read.h"
#include "src/weights/gguf.h"

enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER_DEFINED = 4 }; /* tokenizer.ggml.token_type */

#define MARK "\xE2\x96\x81" /* U+2581 */
#define WORDS "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define REST "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED(end) "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" end "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*" end
#define CASED_REST "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/* What tokenizer.ggml.pre stands for. */
typedef struct {
    const char *pre;
    enum { PUNCTUATION = 1, DIGITS = 2, GPT2 = 4, THREES = 8 } stages;
    const char *pattern; /* NULL = none */
    bool whole_first, bos;
} split_kind;

static const split_kind kinds[] = {
    {"gpt-2", GPT2, NULL, false, false},
    {"smollm", DIGITS | GPT2, NULL, false, false},
    {"starcoder", DIGITS | GPT2, NULL, false, false},
    {"command-r", DIGITS | GPT2, NULL, false, false},
    {"falcon", PUNCTUATION | GPT2 | THREES, NULL, false, false},
    {"llama-bpe", 0, CONTRACTIONS "|" WORDS "|\\p{N}{1,3}" REST, true, true},
    {"llama3", 0, CONTRACTIONS "|" WORDS "|\\p{N}{1,3}" REST, true, true},
    {"llama-v3", 0, CONTRACTIONS "|" WORDS "|\\p{N}{1,3}" REST, true, true},
    {"qwen2", 0, CONTRACTIONS "|" WORDS "|\\p{N}" REST, false, false},
    {"deepseek-r1-qwen", 0, CONTRACTIONS "|" WORDS "|\\p{N}" REST, false, false},
    {"tekken", 0, CASED("") "|\\p{N}" CASED_REST, true, true},
    {"gpt-4o", 0, CASED(CONTRACTIONS "?") "|\\p{N}{1,3}" CASED_REST, false, false},
};

static dtx_status add_pattern(dtx_tokenizer *t, const char *path, const char *pattern)
{
    dtx_stage stage = {.kind = DTX_STAGE_REGEX, .behavior = DTX_SPLIT_ISOLATED};

    DTX_TRY(dtx_regex_compile(pattern, path, "tokenizer.ggml.pre", &stage.regex));
    return dtx_load_stage(t, path, stage);
}

static dtx_status add_stages(dtx_tokenizer *t, const char *path, const split_kind *k)
{
    if (k->stages & PUNCTUATION) {
        DTX_TRY(dtx_load_stage(t, path, (dtx_stage){.kind = DTX_STAGE_PUNCTUATION}));
    }
    if (k->stages & DIGITS) {
        DTX_TRY(dtx_load_stage(t, path, (dtx_stage){.kind = DTX_STAGE_DIGITS, .individual = true}));
    }
    if (k->stages & GPT2) {
        DTX_TRY(dtx_load_stage(t, path, (dtx_stage){.kind = DTX_STAGE_GPT2}));
    }
    if (k->stages & THREES) {
        DTX_TRY(dtx_load_stage(t, path, (dtx_stage){.kind = DTX_STAGE_DIGITS, .mapped = true}));
        DTX_TRY(add_pattern(t, path, "[0-9][0-9][0-9]"));
    }
    return k->pattern != NULL ? add_pattern(t, path, k->pattern) : DTX_OK;
}

/* --- tokens --- */

static dtx_status load_tokens(dtx_tokenizer *t, const dtx_gguf *g, const dtx_gguf_key **types)
{
    const char *path = dtx_gguf_path(g);
    const dtx_gguf_key *tokens;
    dtx_gguf_cursor c;

    DTX_TRY(dtx_gguf_array(g, "tokenizer.ggml.tokens", true, DTX_GGUF_STRING, &tokens));
    DTX_TRY(dtx_gguf_array(g, "tokenizer.ggml.token_type", false, DTX_GGUF_I64, types));
    if (tokens->count == 0 || (*types != NULL && (*types)->count != tokens->count)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: tokenizer.ggml.tokens holds %llu tokens, tokenizer.ggml.token_type %llu types", path,
                        (unsigned long long)tokens->count, *types != NULL ? (unsigned long long)(*types)->count : 0);
    }
    c.at = tokens->data;
    for (uint64_t id = 0; id < tokens->count; id++) {
        size_t n;
        const char *s = dtx_gguf_next(&c, &n);
        if (dtx_utf8_valid(s, n) < n) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: tokenizer.ggml.tokens: token %llu is not UTF-8", path, (unsigned long long)id);
        }
        if (n > 4096) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: tokenizer.ggml.tokens: token %llu has %zu bytes, more than 4096", path,
                            (unsigned long long)id, n);
        }
        DTX_TRY(dtx_tok_add(t, path, (int64_t)id, s, n));
    }
    t->n_model = (int64_t)tokens->count;
    return DTX_OK;
}

/* Control, unknown and user-defined tokens are found in the text before anything else. */
static dtx_status load_control(dtx_tokenizer *t, const dtx_gguf *g, const dtx_gguf_key *types)
{
    for (uint64_t id = 0; types != NULL && id < types->count; id++) {
        int64_t type = NORMAL;
        const dtx_tok *k = &t->tok[id];
        DTX_TRY(dtx_gguf_int_at(g, types, id, &type));
        if ((type != UNKNOWN && type != CONTROL && type != USER_DEFINED) || k->piece_len == 0) {
            continue;
        }
        char *piece = dtx_strndup(t->text + k->piece, k->piece_len);
        DTX_TRY(dtx_mem_check(piece, k->piece_len + 1, 1, "token"));
        dtx_status st = dtx_tok_add_added(t, dtx_gguf_path(g), piece, k->piece_len, (dtx_added_flags){.special = type != USER_DEFINED});
        dtx_free(piece);
        DTX_TRY(st);
    }
    return dtx_tok_added_ready(t);
}

/* --- byte-level BPE --- */

static dtx_status load_byte_level(dtx_tokenizer *t, const dtx_gguf *g, bool *bos)
{
    const char *path = dtx_gguf_path(g), *pre = "default";
    const dtx_gguf_key *types, *merges;
    const split_kind *k = NULL;
    dtx_gguf_cursor c;

    DTX_TRY(dtx_gguf_string(g, "tokenizer.ggml.pre", false, &pre));
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0] && k == NULL; i++) {
        k = strcmp(kinds[i].pre, pre) == 0 ? &kinds[i] : NULL;
    }
    if (k == NULL) {
        return dtx_read_unsupported(path, "tokenizer.ggml.pre", pre);
    }
    t->kind = DTX_MODEL_BYTES;
    t->decoder = (dtx_decoder){.step[0].kind = DTX_DECODE_BYTES, .n = 1};
    DTX_TRY(add_stages(t, path, k));
    DTX_TRY(load_tokens(t, g, &types));
    DTX_TRY(dtx_gguf_array(g, "tokenizer.ggml.merges", true, DTX_GGUF_STRING, &merges));
    DTX_TRY(dtx_tok_bytes_ready(t, (size_t)merges->count, -1));
    c.at = merges->data;
    for (uint64_t rank = 0; rank < merges->count && rank < INT32_MAX; rank++) {
        size_t n;
        const char *s = dtx_gguf_next(&c, &n), *blank = n > 1 ? memchr(s + 1, ' ', n - 1) : NULL;
        if (blank == NULL) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: tokenizer.ggml.merges: merge %llu must be two tokens with one blank between", path,
                            (unsigned long long)rank);
        }
        size_t left = (size_t)(blank - s);
        DTX_TRY(dtx_tok_add_merge(t, path, (int32_t)rank, s, left, blank + 1, n - left - 1));
    }
    DTX_TRY(dtx_tok_merges_ready(t, k->whole_first));
    *bos = k->bos;
    return load_control(t, g, types);
}

/* --- SentencePiece BPE: the pair whose union has the highest score is joined first --- */

typedef struct {
    double score;
    int32_t id;
} scored;

static int by_score(const void *a, const void *b)
{
    const scored *x = a, *y = b;

    return x->score > y->score ? -1 : x->score < y->score ? 1 : x->id < y->id ? -1 : x->id > y->id;
}

/* All ways to make a token out of two others; called once to count, and once to add. */
static size_t add_pairs(dtx_tokenizer *t, int32_t id, int32_t rank, bool add)
{
    const char *s = t->text + t->tok[id].piece;
    size_t n = t->tok[id].piece_len, pairs = 0;

    for (size_t i = 1; i < n; i++) {
        if (((unsigned char)s[i] & 0xC0) == 0x80) {
            continue;
        }
        int32_t left = dtx_map_find(&t->ids, s, i), right = left < 0 ? -1 : dtx_map_find(&t->ids, s + i, n - i);
        if (right >= 0) {
            pairs++;
            if (add) {
                dtx_bpe_add(&t->bpe, left, right, rank, id);
            }
        }
    }
    return pairs;
}

static dtx_status add_by_score(dtx_tokenizer *t, const dtx_gguf_key *scores)
{
    scored *order;
    size_t pairs = 0;
    int32_t rank = 0;
    dtx_status st = DTX_OK;

    DTX_TRY(DTX_NEW_RAW(order, scores->count));
    for (uint64_t i = 0; i < scores->count; i++) {
        double score = dtx_gguf_float_at(scores, i);
        order[i] = (scored){.score = score == score ? score : -1e30, .id = (int32_t)i};
        pairs += add_pairs(t, (int32_t)i, 0, false);
    }
    qsort(order, scores->count, sizeof *order, by_score);
    DTX_GO(dtx_bpe_init(&t->bpe, pairs));
    for (uint64_t i = 0; i < scores->count; i++) { /* equal scores have one rank: the leftmost pair of them counts */
        rank += i > 0 && order[i].score < order[i - 1].score;
        add_pairs(t, order[i].id, rank, true);
    }
done:
    dtx_free(order);
    return st;
}

static dtx_status load_sentencepiece(dtx_tokenizer *t, const dtx_gguf *g, bool *bos)
{
    const char *path = dtx_gguf_path(g);
    const dtx_gguf_key *types, *scores;
    bool space = true;
    int64_t unknown = -1;
    dtx_normalizer *z = &t->normalizer;
    dtx_decoder *d = &t->decoder;

    DTX_TRY(dtx_gguf_bool(g, "tokenizer.ggml.add_space_prefix", false, &space));
    t->kind = DTX_MODEL_CHARS;
    if (space) {
        z->step[z->n++] = (dtx_normalize_step){.kind = DTX_NORMALIZE_PREPEND, .text = MARK};
    }
    z->step[z->n++] = (dtx_normalize_step){.kind = DTX_NORMALIZE_REPLACE, .from = " ", .text = MARK};
    d->step[d->n++] = (dtx_decode_step){.kind = DTX_DECODE_REPLACE, .from = MARK, .text = " "};
    d->step[d->n++] = (dtx_decode_step){.kind = DTX_DECODE_BYTE_FALLBACK};
    d->step[d->n++] = (dtx_decode_step){.kind = DTX_DECODE_FUSE};
    if (space) {
        d->step[d->n++] = (dtx_decode_step){.kind = DTX_DECODE_STRIP, .from = " ", .start = 1};
    }
    DTX_TRY(load_tokens(t, g, &types));
    DTX_TRY(dtx_gguf_array(g, "tokenizer.ggml.scores", true, DTX_GGUF_F32, &scores));
    DTX_TRY(dtx_gguf_int(g, "tokenizer.ggml.unknown_token_id", false, &unknown));
    if (scores->count != (uint64_t)t->n_model || unknown >= t->n_model || unknown < -1) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: tokenizer.ggml.scores holds %llu scores for %lld tokens, or unknown_token_id is none of them",
                        path, (unsigned long long)scores->count, (long long)t->n_model);
    }
    DTX_TRY(add_by_score(t, scores));
    t->chars = (dtx_bpe_chars){.ids = &t->ids, .unknown = (int32_t)unknown, .byte_fallback = true, .fuse_unknown = true};
    dtx_tok_byte_tokens(t, t->chars.byte_token);
    *bos = true;
    return load_control(t, g, types);
}

/* --- what is put around a text --- */

static dtx_status add_around(dtx_tokenizer *t, const dtx_gguf *g, const char *add_key, const char *id_key, bool add, int32_t *id)
{
    int64_t found = -1;

    *id = -1;
    DTX_TRY(dtx_gguf_bool(g, add_key, false, &add));
    DTX_TRY(dtx_gguf_int(g, id_key, false, &found));
    if (add && (found < 0 || found >= t->n_model)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: %s: id %lld is to be added to texts, but is none of the %lld tokens", dtx_gguf_path(g), id_key,
                        (long long)found, (long long)t->n_model);
    }
    *id = add ? (int32_t)found : -1;
    return DTX_OK;
}

dtx_status dtx_load_gguf(dtx_tokenizer *t, const dtx_gguf *g)
{
    const char *model = NULL;
    bool bos = false;
    int32_t first, last;

    DTX_TRY(dtx_gguf_string(g, "tokenizer.ggml.model", true, &model));
    if (strcmp(model, "gpt2") == 0) {
        DTX_TRY(load_byte_level(t, g, &bos));
    } else if (strcmp(model, "llama") == 0) {
        DTX_TRY(load_sentencepiece(t, g, &bos));
    } else {
        return dtx_read_unsupported(dtx_gguf_path(g), "tokenizer.ggml.model", model);
    }
    DTX_TRY(add_around(t, g, "tokenizer.ggml.add_bos_token", "tokenizer.ggml.bos_token_id", bos, &first));
    DTX_TRY(add_around(t, g, "tokenizer.ggml.add_eos_token", "tokenizer.ggml.eos_token_id", false, &last));
    t->n_single = t->n_pair = 0;
    for (int text = DTX_TOK_A; text >= DTX_TOK_B; text--) {
        for (int pair = text == DTX_TOK_A ? 0 : 1; pair < 2; pair++) {
            int32_t *item = pair ? t->pair : t->single;
            int *n = pair ? &t->n_pair : &t->n_single;
            if (first >= 0) {
                item[(*n)++] = first;
            }
            item[(*n)++] = text;
            if (last >= 0) {
                item[(*n)++] = last;
            }
        }
    }
    return DTX_OK;
}
