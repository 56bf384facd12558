/* Training of a byte-level BPE vocabulary: the pieces of the texts with their counts, the most frequent pair merged
 * again and again. Each pair knows the pieces it occurs in, so a merge costs as much as those pieces are long. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>

#include "src/base/file.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/text/alphabet.h"
#include "src/text/impl.h"
#include "src/base/utf8.h"

enum {
    MAX_PIECE = 256, /* longer pieces are counted in parts: a merge rewrites whole pieces */
    MIN_COUNT = 2    /* a pair that occurs once teaches nothing */
};

static const char *const neox_special[] = {"<|endoftext|>", "<|padding|>"};
static const char *const roberta_special[] = {"<s>", "<pad>", "</s>", "<unk>", "<mask>"};

typedef struct {
    int32_t left, right;
    int64_t count;
    int32_t *piece; /* pieces it has occurred in, some no more; may repeat */
    size_t n, cap;
    bool raised; /* in the list `raised` of the merge under way */
} pair;

typedef struct {
    int64_t count;
    int32_t pair;
} candidate;

typedef struct {
    const char *const *special;
    int32_t n_special;
    /* pieces */
    dtx_map piece_index;
    int64_t *piece_count;
    size_t n_pieces, cap_piece_count;
    int32_t *symbol; /* all pieces' symbols, one after another */
    size_t *start;   /* of each piece in symbol */
    int32_t *length; /* symbols left in each piece */
    /* tokens */
    dtx_map token_index; /* bytes -> id */
    size_t *token_off;   /* by id, into token_index.pool */
    size_t *token_len;
    int32_t n_tokens;
    /* pairs */
    pair *pairs;
    size_t n_pairs, cap_pairs;
    int32_t *slot; /* open addressing: index in pairs + 1, 0 = empty */
    size_t n_slots;
    candidate *heap;
    size_t n_heap, cap_heap;
    int32_t *raised;
    size_t n_raised, cap_raised;
    /* result */
    int32_t (*merge)[2];
    size_t n_merges, cap_merge;
} trainer;

static void trainer_free(trainer *t)
{
    for (size_t i = 0; i < t->n_pairs; i++) {
        dtx_free(t->pairs[i].piece);
    }
    dtx_map_free(&t->piece_index);
    dtx_map_free(&t->token_index);
    dtx_free(t->piece_count);
    dtx_free(t->symbol);
    dtx_free(t->start);
    dtx_free(t->length);
    dtx_free(t->token_off);
    dtx_free(t->token_len);
    dtx_free(t->pairs);
    dtx_free(t->slot);
    dtx_free(t->heap);
    dtx_free(t->raised);
    dtx_free(t->merge);
}

/* --- pieces --- */

static dtx_status count_piece(trainer *t, const char *s, size_t n)
{
    int32_t index = (int32_t)t->n_pieces;
    int added;

    if (t->n_pieces >= INT32_MAX - 1) {
        return DTX_FAIL(DTX_ERR_INPUT, "more than 2^31 different pieces; train the vocabulary on less text");
    }
    DTX_TRY(dtx_map_add(&t->piece_index, s, n, &index, &added));
    if (added) {
        DTX_TRY(DTX_GROW(t->piece_count, t->cap_piece_count, t->n_pieces + 1));
        t->piece_count[t->n_pieces++] = 0;
    }
    t->piece_count[index]++;
    return DTX_OK;
}

static dtx_status count_text(trainer *t, int64_t row, const char *s, size_t n)
{
    size_t bad = dtx_utf8_valid(s, n);

    if (bad < n) {
        return DTX_FAIL(DTX_ERR_INPUT, "text %lld is not UTF-8: byte %zu is 0x%02X", (long long)row, bad,
                        (unsigned char)s[bad]);
    }
    for (size_t i = 0; i < n;) {
        size_t len = dtx_tok_gpt2_next(s + i, n - i);
        for (size_t k = 0; k < len; k += MAX_PIECE) {
            DTX_TRY(count_piece(t, s + i + k, len - k < MAX_PIECE ? len - k : MAX_PIECE));
        }
        i += len;
    }
    return DTX_OK;
}

/* Writes each piece as symbols, at first one per byte. The order of pieces is that of their first occurrence. */
static dtx_status lay_out_pieces(trainer *t)
{
    size_t at = 0;

    DTX_TRY(DTX_NEW_RAW(t->symbol, t->piece_index.pool_n));
    DTX_TRY(DTX_NEW_RAW(t->start, t->n_pieces));
    DTX_TRY(DTX_NEW_RAW(t->length, t->n_pieces));
    for (size_t i = 0; i < t->piece_index.n_slots; i++) {
        const dtx_map_slot *slot = &t->piece_index.slot[i];
        if (slot->value1 != 0) {
            size_t p = slot->value1 - 1;
            t->start[p] = at;
            t->length[p] = (int32_t)slot->len;
            for (size_t k = 0; k < slot->len; k++) {
                t->symbol[at++] = t->n_special + (unsigned char)t->piece_index.pool[slot->off + k];
            }
        }
    }
    return DTX_OK;
}

/* --- tokens --- */

static dtx_status add_token(trainer *t, const char *s, size_t n)
{
    int32_t id = t->n_tokens;
    int added;

    DTX_TRY(dtx_map_add(&t->token_index, s, n, &id, &added));
    if (added) {
        t->token_off[id] = t->token_index.pool_n - n - 1;
        t->token_len[id] = n;
        t->n_tokens++;
    }
    return DTX_OK;
}

static int compare_tokens(const trainer *t, int32_t a, int32_t b)
{
    size_t n_a = t->token_len[a], n_b = t->token_len[b], n = n_a < n_b ? n_a : n_b;
    int c = memcmp(t->token_index.pool + t->token_off[a], t->token_index.pool + t->token_off[b], n);

    return c != 0 ? c : (n_a > n_b) - (n_a < n_b);
}

/* --- pairs --- */

static size_t pair_slot(const trainer *t, int32_t left, int32_t right)
{
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9E3779B97F4A7C15u;
    size_t i = (size_t)(h >> 32) & (t->n_slots - 1);

    while (t->slot[i] != 0 && (t->pairs[t->slot[i] - 1].left != left || t->pairs[t->slot[i] - 1].right != right)) {
        i = (i + 1) & (t->n_slots - 1);
    }
    return i;
}

static dtx_status grow_slots(trainer *t)
{
    size_t n = t->n_slots == 0 ? 4096 : 2 * t->n_slots;
    int32_t *slot;

    DTX_TRY(DTX_NEW(slot, n));
    dtx_free(t->slot);
    t->slot = slot;
    t->n_slots = n;
    for (size_t i = 0; i < t->n_pairs; i++) {
        t->slot[pair_slot(t, t->pairs[i].left, t->pairs[i].right)] = (int32_t)i + 1;
    }
    return DTX_OK;
}

/* Changes the count of a pair by `by`. piece >= 0: the pair is new in this piece, which is noted, and its count may
 * have risen. */
static dtx_status count_pair(trainer *t, int32_t left, int32_t right, int64_t by, int32_t piece)
{
    size_t at;

    if (2 * (t->n_pairs + 1) > t->n_slots) {
        DTX_TRY(grow_slots(t));
    }
    at = pair_slot(t, left, right);
    if (t->slot[at] == 0) {
        DTX_TRY(DTX_GROW(t->pairs, t->cap_pairs, t->n_pairs + 1));
        t->pairs[t->n_pairs] = (pair){.left = left, .right = right};
        t->slot[at] = (int32_t)++t->n_pairs;
    }
    pair *p = &t->pairs[t->slot[at] - 1];
    p->count += by;
    if (piece >= 0) {
        if (p->n == 0 || p->piece[p->n - 1] != piece) {
            DTX_TRY(DTX_GROW(p->piece, p->cap, p->n + 1));
            p->piece[p->n++] = piece;
        }
        if (!p->raised) {
            DTX_TRY(DTX_GROW(t->raised, t->cap_raised, t->n_raised + 1));
            t->raised[t->n_raised++] = t->slot[at] - 1;
            p->raised = true;
        }
    }
    return DTX_OK;
}

/* --- candidates: a heap with the most frequent pair on top, of equals the one whose bytes come first. A pair can stand
 * in it several times; an entry whose count is not the pair's any more is corrected or dropped when it comes out. ---
 */

static bool before(const trainer *t, candidate a, candidate b)
{
    const pair *p = &t->pairs[a.pair], *q = &t->pairs[b.pair];
    int c;

    if (a.count != b.count) {
        return a.count > b.count;
    }
    c = compare_tokens(t, p->left, q->left);
    return c != 0 ? c < 0 : compare_tokens(t, p->right, q->right) < 0;
}

static dtx_status push(trainer *t, int32_t index)
{
    candidate c = {.count = t->pairs[index].count, .pair = index};

    DTX_TRY(DTX_GROW(t->heap, t->cap_heap, t->n_heap + 1));
    size_t i = t->n_heap++;
    for (; i > 0 && before(t, c, t->heap[(i - 1) / 2]); i = (i - 1) / 2) {
        t->heap[i] = t->heap[(i - 1) / 2];
    }
    t->heap[i] = c;
    return DTX_OK;
}

static candidate pop(trainer *t)
{
    candidate top = t->heap[0], last = t->heap[--t->n_heap];
    size_t i = 0;

    for (size_t child = 1; child < t->n_heap; child = 2 * i + 1) {
        child += child + 1 < t->n_heap && before(t, t->heap[child + 1], t->heap[child]);
        if (!before(t, t->heap[child], last)) {
            break;
        }
        t->heap[i] = t->heap[child];
        i = child;
    }
    t->heap[i] = last;
    return top;
}

static dtx_status push_raised(trainer *t)
{
    for (size_t i = 0; i < t->n_raised; i++) {
        t->pairs[t->raised[i]].raised = false;
        if (t->pairs[t->raised[i]].count >= MIN_COUNT) {
            DTX_TRY(push(t, t->raised[i]));
        }
    }
    t->n_raised = 0;
    return DTX_OK;
}

/* --- merging --- */

/* Replaces left, right by joined in one piece and brings the pair counts up to date. */
static dtx_status merge_in_piece(trainer *t, int32_t piece, int32_t left, int32_t right, int32_t joined)
{
    int32_t *s = t->symbol + t->start[piece], n = t->length[piece], to = 0;
    int64_t count = t->piece_count[piece];
    bool found = false;

    for (int32_t i = 0; i + 1 < n && !found; i++) {
        found = s[i] == left && s[i + 1] == right;
    }
    if (!found) {
        return DTX_OK;
    }
    for (int32_t i = 0; i + 1 < n; i++) {
        DTX_TRY(count_pair(t, s[i], s[i + 1], -count, -1));
    }
    for (int32_t i = 0; i < n; to++) {
        bool hit = i + 1 < n && s[i] == left && s[i + 1] == right;
        s[to] = hit ? joined : s[i];
        i += hit ? 2 : 1;
    }
    t->length[piece] = to;
    for (int32_t i = 0; i + 1 < to; i++) {
        bool new = s[i] == joined || s[i + 1] == joined;
        DTX_TRY(count_pair(t, s[i], s[i + 1], count, new ? piece : -1));
    }
    return DTX_OK;
}

/* The id of the joined token: a new one, that of the same string made of other parts, or -1 for a special token's
 * string, which no merge may make. */
static dtx_status join_tokens(trainer *t, int32_t left, int32_t right, int32_t *joined)
{
    size_t n = t->token_len[left] + t->token_len[right];
    char s[2 * MAX_PIECE];

    memcpy(s, t->token_index.pool + t->token_off[left], t->token_len[left]);
    memcpy(s + t->token_len[left], t->token_index.pool + t->token_off[right], t->token_len[right]);
    *joined = dtx_map_find(&t->token_index, s, n);
    if (*joined < 0) {
        *joined = t->n_tokens;
        return add_token(t, s, n);
    }
    if (*joined < t->n_special) {
        *joined = -1;
    }
    return DTX_OK;
}

static dtx_status merge_pairs(trainer *t, int64_t vocab)
{
    DTX_TRY(push_raised(t));
    while (t->n_tokens < vocab && t->n_heap > 0) {
        candidate c = pop(t);
        pair *p = &t->pairs[c.pair];
        if (c.count != p->count) {
            if (c.count > p->count && p->count >= MIN_COUNT) {
                DTX_TRY(push(t, c.pair));
            }
            continue;
        }
        int32_t left = p->left, right = p->right, joined, *piece = p->piece;
        size_t n = p->n;
        DTX_TRY(join_tokens(t, left, right, &joined));
        if (joined < 0) {
            continue;
        }
        DTX_TRY(DTX_GROW(t->merge, t->cap_merge, t->n_merges + 1));
        t->merge[t->n_merges][0] = left;
        t->merge[t->n_merges++][1] = right;
        p->piece = NULL; /* taken: the pair is gone after this, and the array of pairs may move */
        p->n = p->cap = 0;
        dtx_status st = DTX_OK;
        for (size_t i = 0; i < n && st == DTX_OK; i++) {
            st = merge_in_piece(t, piece[i], left, right, joined);
        }
        dtx_free(piece);
        DTX_TRY(st);
        DTX_TRY(push_raised(t));
    }
    return DTX_OK;
}

static dtx_status train(trainer *t, const char *const *texts, const size_t *lens, int64_t n, int64_t vocab)
{
    DTX_TRY(DTX_NEW(t->token_off, vocab));
    DTX_TRY(DTX_NEW(t->token_len, vocab));
    for (int32_t i = 0; i < t->n_special; i++) {
        DTX_TRY(add_token(t, t->special[i], strlen(t->special[i])));
    }
    for (int b = 0; b < 256; b++) {
        char c = (char)b;
        DTX_TRY(add_token(t, &c, 1));
    }
    for (int64_t i = 0; i < n; i++) {
        DTX_TRY(count_text(t, i, texts[i], lens[i]));
    }
    DTX_TRY(lay_out_pieces(t));
    for (size_t p = 0; p < t->n_pieces; p++) {
        const int32_t *s = t->symbol + t->start[p];
        for (int32_t i = 0; i + 1 < t->length[p]; i++) {
            DTX_TRY(count_pair(t, s[i], s[i + 1], t->piece_count[p], (int32_t)p));
        }
    }
    return merge_pairs(t, vocab);
}

/* --- files --- */

/* A token in the byte alphabet; out has room for 2 n + 1 bytes. Special tokens consist of characters that stand for
 * themselves. */
static void write_piece(const trainer *t, int32_t id, char *out)
{
    for (size_t i = 0; i < t->token_len[id]; i++) {
        out += dtx_utf8_put(dtx_tok_byte_char((unsigned char)t->token_index.pool[t->token_off[id] + i]), out);
    }
    *out = '\0';
}

static cJSON *added_tokens(const trainer *t)
{
    cJSON *list = cJSON_CreateArray();

    for (int32_t i = 0; i < t->n_special; i++) {
        cJSON *token = cJSON_CreateObject();
        cJSON_AddNumberToObject(token, "id", i);
        cJSON_AddStringToObject(token, "content", t->special[i]);
        cJSON_AddBoolToObject(token, "single_word", false);
        cJSON_AddBoolToObject(token, "lstrip", strcmp(t->special[i], "<mask>") == 0);
        cJSON_AddBoolToObject(token, "rstrip", false);
        cJSON_AddBoolToObject(token, "normalized", false);
        cJSON_AddBoolToObject(token, "special", true);
        cJSON_AddItemToArray(list, token);
    }
    return list;
}

static cJSON *byte_level(void)
{
    cJSON *c = cJSON_CreateObject();

    cJSON_AddStringToObject(c, "type", "ByteLevel");
    cJSON_AddBoolToObject(c, "add_prefix_space", false);
    cJSON_AddBoolToObject(c, "trim_offsets", true);
    cJSON_AddBoolToObject(c, "use_regex", true);
    return c;
}

static cJSON *token_and_id(const trainer *t, int id)
{
    cJSON *list = cJSON_CreateArray();

    cJSON_AddItemToArray(list, cJSON_CreateString(t->special[id]));
    cJSON_AddItemToArray(list, cJSON_CreateNumber(id));
    return list;
}

static cJSON *post_processor(const trainer *t, bool roberta)
{
    cJSON *c;

    if (!roberta) {
        return byte_level();
    }
    c = cJSON_CreateObject();
    cJSON_AddStringToObject(c, "type", "RobertaProcessing");
    cJSON_AddItemToObject(c, "sep", token_and_id(t, 2));
    cJSON_AddItemToObject(c, "cls", token_and_id(t, 0));
    cJSON_AddBoolToObject(c, "trim_offsets", true);
    cJSON_AddBoolToObject(c, "add_prefix_space", false);
    return c;
}

static cJSON *model_json(const trainer *t)
{
    char left[2 * MAX_PIECE + 1], right[2 * MAX_PIECE + 1], line[4 * MAX_PIECE + 2];
    cJSON *c = cJSON_CreateObject(), *vocab, *merges;

    cJSON_AddStringToObject(c, "type", "BPE");
    cJSON_AddNullToObject(c, "dropout");
    cJSON_AddNullToObject(c, "unk_token");
    cJSON_AddNullToObject(c, "continuing_subword_prefix");
    cJSON_AddNullToObject(c, "end_of_word_suffix");
    cJSON_AddBoolToObject(c, "fuse_unk", false);
    vocab = cJSON_AddObjectToObject(c, "vocab");
    for (int32_t id = 0; id < t->n_tokens; id++) {
        write_piece(t, id, left);
        cJSON_AddNumberToObject(vocab, left, id);
    }
    merges = cJSON_AddArrayToObject(c, "merges");
    for (size_t i = 0; i < t->n_merges; i++) {
        write_piece(t, t->merge[i][0], left);
        write_piece(t, t->merge[i][1], right);
        snprintf(line, sizeof line, "%s %s", left, right);
        cJSON_AddItemToArray(merges, cJSON_CreateString(line));
    }
    return c;
}

static dtx_status write_json(const char *dir, const char *name, cJSON *root)
{
    char path[4096], *text = cJSON_Print(root);
    dtx_status st = DTX_OK;

    cJSON_Delete(root);
    DTX_GO(dtx_mem_check(text, 1, 1, name));
    DTX_GO(dtx_file_join(path, sizeof path, dir, name));
    DTX_GO(dtx_file_write(path, text, strlen(text)));
done:
    cJSON_free(text);
    return st;
}

static dtx_status write_tokenizer(const trainer *t, bool roberta, const char *dir)
{
    cJSON *c = cJSON_CreateObject();

    cJSON_AddStringToObject(c, "version", "1.0");
    cJSON_AddNullToObject(c, "truncation");
    cJSON_AddNullToObject(c, "padding");
    cJSON_AddItemToObject(c, "added_tokens", added_tokens(t));
    cJSON_AddNullToObject(c, "normalizer");
    cJSON_AddItemToObject(c, "pre_tokenizer", byte_level());
    cJSON_AddItemToObject(c, "post_processor", post_processor(t, roberta));
    cJSON_AddItemToObject(c, "decoder", byte_level());
    cJSON_AddItemToObject(c, "model", model_json(t));
    return write_json(dir, "tokenizer.json", c);
}

static dtx_status write_config(bool roberta, const char *dir)
{
    const char *edge[2] = {roberta ? "<s>" : "<|endoftext|>", roberta ? "</s>" : "<|endoftext|>"};
    cJSON *c = cJSON_CreateObject();

    cJSON_AddStringToObject(c, "tokenizer_class", roberta ? "RobertaTokenizerFast" : "GPTNeoXTokenizerFast");
    cJSON_AddBoolToObject(c, "add_prefix_space", false);
    cJSON_AddStringToObject(c, "bos_token", edge[0]);
    cJSON_AddStringToObject(c, "eos_token", edge[1]);
    cJSON_AddStringToObject(c, "unk_token", roberta ? "<unk>" : "<|endoftext|>");
    cJSON_AddStringToObject(c, "pad_token", roberta ? "<pad>" : "<|padding|>");
    if (roberta) {
        cJSON_AddStringToObject(c, "cls_token", "<s>");
        cJSON_AddStringToObject(c, "sep_token", "</s>");
        cJSON_AddStringToObject(c, "mask_token", "<mask>");
    }
    return write_json(dir, "tokenizer_config.json", c);
}

dtx_status dtx_bpe_train(const char *const *texts, const size_t *lens, int64_t n, int64_t vocab, bool roberta,
                         const char *dir)
{
    trainer t = {.special = roberta ? roberta_special : neox_special, .n_special = roberta ? 5 : 2};
    dtx_status st = DTX_OK;

    if (vocab < t.n_special + 256 || vocab > DTX_TOK_MAX_ID) {
        return DTX_FAIL(DTX_ERR_USAGE,
                        "a vocabulary of %lld ids: it must be %d (the bytes and %d special tokens) to %d",
                        (long long)vocab, t.n_special + 256, t.n_special, DTX_TOK_MAX_ID);
    }
    DTX_GO(train(&t, texts, lens, n, vocab));
    if (t.n_tokens < vocab) {
        dtx_log(DTX_LOG_WARN, "tokenizer", "the text gives %d of %lld ids: no other pair occurs twice", t.n_tokens,
                (long long)vocab);
    }
    DTX_GO(dtx_file_mkdirs(dir));
    DTX_GO(write_tokenizer(&t, roberta, dir));
    DTX_GO(write_config(roberta, dir));
done:
    trainer_free(&t);
    return st;
}
