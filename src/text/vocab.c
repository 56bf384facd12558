#include <stdio.h>
#include <string.h>

#include "src/base/hash.h"
#include "src/base/mem.h"
#include "src/base/utf8.h"
#include "src/text/alphabet.h"
#include "src/text/impl.h"

dtx_status dtx_tok_respell(dtx_tokenizer *t, int32_t id, const char *s, size_t n)
{
    dtx_tok *k = &t->tok[id];

    DTX_TRY(DTX_GROW(t->text, t->text_cap, t->text_n + n + 1 + 2 * dtx_decoder_room(n) + 1));
    k->spelling = t->text_n;
    k->spelling_len = (uint32_t)n;
    memcpy(t->text + k->spelling, s, n);
    t->text[k->spelling + n] = '\0';
    k->bytes = k->spelling + n + 1;
    k->bytes_len = (uint32_t)dtx_decoder_bytes(&t->decoder, t->text + k->spelling, n, t->text + k->bytes, &k->in_alphabet);
    t->text[k->bytes + k->bytes_len] = '\0';
    t->text_n = k->bytes + k->bytes_len + 1;
    return DTX_OK;
}

dtx_status dtx_tok_add(dtx_tokenizer *t, const char *name, int64_t id, const char *piece, size_t len)
{
    int32_t taken = (int32_t)id;
    int added;

    if (id < 0 || id >= DTX_TOK_MAX_ID) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: token \"%.60s\" has id %lld; ids are 0 to %d", name, piece, (long long)id,
                        DTX_TOK_MAX_ID - 1);
    }
    DTX_TRY(dtx_map_add(&t->ids, piece, len, &taken, &added));
    if (!added) {
        return taken == id ? DTX_OK
                           : DTX_FAIL(DTX_ERR_INPUT, "%s: token \"%.60s\" has the ids %d and %lld", name, piece, taken,
                                      (long long)id);
    }
    if ((size_t)id >= t->n_tok) {
        DTX_TRY(DTX_GROW(t->tok, t->cap_tok, id + 1));
        memset(t->tok + t->n_tok, 0, ((size_t)id + 1 - t->n_tok) * sizeof *t->tok);
        t->n_tok = (size_t)id + 1;
    }
    dtx_tok *k = &t->tok[id];
    if (k->exists) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: id %lld belongs to \"%.60s\" and to \"%.60s\"", name, (long long)id,
                        t->text + k->piece, piece);
    }
    DTX_TRY(dtx_tok_respell(t, (int32_t)id, piece, len));
    k->exists = true;
    k->piece = k->spelling;
    k->piece_len = k->spelling_len;
    return DTX_OK;
}

void dtx_tok_byte_tokens(const dtx_tokenizer *t, int32_t id[256])
{
    for (unsigned b = 0; b < 256; b++) {
        char s[8];
        snprintf(s, sizeof s, "<0x%02X>", b);
        id[b] = dtx_map_find(&t->ids, s, 6);
    }
}

dtx_status dtx_tok_bytes_ready(dtx_tokenizer *t, size_t n_merges, int32_t unknown)
{
    DTX_TRY(dtx_bpe_init(&t->bpe, n_merges));
    for (unsigned b = 0; b < 256; b++) {
        char s[4];
        size_t n = dtx_utf8_put(dtx_tok_byte_char(b), s);
        int32_t id = dtx_map_find(&t->ids, s, n);
        t->bpe.byte_id[b] = id >= 0 ? id : unknown;
    }
    return DTX_OK;
}

dtx_status dtx_tok_add_merge(dtx_tokenizer *t, const char *name, int32_t rank, const char *left, size_t n_left,
                             const char *right, size_t n_right)
{
    char joined[256], *s = joined;
    int32_t a = dtx_map_find(&t->ids, left, n_left), b = dtx_map_find(&t->ids, right, n_right), ab = -1;

    if (a >= 0 && b >= 0) {
        if (n_left + n_right > sizeof joined) {
            DTX_TRY(DTX_NEW_RAW(s, n_left + n_right));
        }
        memcpy(s, left, n_left);
        memcpy(s + n_left, right, n_right);
        ab = dtx_map_find(&t->ids, s, n_left + n_right);
        if (s != joined) {
            dtx_free(s);
        }
    }
    if (ab < 0) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: merge %d (\"%.*s\" + \"%.*s\"): %s is not in the vocabulary", name, rank,
                        (int)(n_left < 60 ? n_left : 60), left, (int)(n_right < 60 ? n_right : 60), right,
                        a < 0   ? "the left part"
                        : b < 0 ? "the right part"
                                : "the result");
    }
    dtx_bpe_add(&t->bpe, a, b, rank, ab);
    return DTX_OK;
}

/* Most pieces of a text are whole tokens. Which strings merge to exactly one token is a property of the merge list, so
 * it is found out once; the table then never changes and needs no lock. */
dtx_status dtx_tok_merges_ready(dtx_tokenizer *t, bool ignore_merges)
{
    dtx_ids ids = {0};
    dtx_status st = DTX_OK;

    t->whole_first = ignore_merges && t->kind == DTX_MODEL_CHARS;
    if (t->kind == DTX_MODEL_CHARS) { /* its pieces are long: hardly any is a token */
        return DTX_OK;
    }
    for (size_t i = 0; i < t->n_tok; i++) {
        const dtx_tok *k = &t->tok[i];
        if (!k->exists || !k->in_alphabet || k->bytes_len == 0) {
            continue;
        }
        ids.n = 0;
        if (!ignore_merges) {
            DTX_GO(dtx_bpe_merge_piece(&t->bpe, t->text + k->bytes, k->bytes_len, &ids));
        }
        if (ignore_merges || (ids.n == 1 && ids.id[0] == (int32_t)i)) {
            int32_t id = (int32_t)i;
            DTX_GO(dtx_map_add(&t->bpe.whole, t->text + k->bytes, k->bytes_len, &id, NULL));
        }
    }
done:
    dtx_ids_free(&ids);
    return st;
}

/* --- what a tokenizer tells about its tokens --- */

int64_t dtx_tokenizer_size(const dtx_tokenizer *t)
{
    return (int64_t)t->n_tok;
}

static const dtx_tok *token(const dtx_tokenizer *t, int32_t id)
{
    return id >= 0 && (size_t)id < t->n_tok && t->tok[id].exists ? &t->tok[id] : NULL;
}

const char *dtx_tokenizer_piece(const dtx_tokenizer *t, int32_t id)
{
    const dtx_tok *k = token(t, id);

    return k ? t->text + k->piece : NULL;
}

size_t dtx_tokenizer_bytes(const dtx_tokenizer *t, int32_t id, const char **bytes)
{
    const dtx_tok *k = token(t, id);

    *bytes = k ? t->text + k->bytes : "";
    return k ? k->bytes_len : 0;
}

bool dtx_tokenizer_is_special(const dtx_tokenizer *t, int32_t id)
{
    const dtx_tok *k = token(t, id);

    return k && k->special;
}

int32_t dtx_tokenizer_id(const dtx_tokenizer *t, const char *piece)
{
    return dtx_map_find(&t->ids, piece, strlen(piece));
}

dtx_status dtx_tokenizer_fingerprint(const dtx_tokenizer *t, char out[65])
{
    dtx_sha256 *h = NULL;
    dtx_status st;

    DTX_GO(dtx_sha256_new(&h));
    for (int64_t i = 0; i < dtx_tokenizer_size(t); i++) {
        const char *piece = dtx_tokenizer_piece(t, (int32_t)i);
        DTX_GO(dtx_sha256_add(h, piece != NULL ? piece : "", piece != NULL ? strlen(piece) + 1 : 1));
    }
    st = dtx_sha256_end(h, out);
done:
    dtx_sha256_del(h);
    return st;
}
