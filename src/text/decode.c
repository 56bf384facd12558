#include <string.h>

#include "src/base/mem.h"
#include "src/text/impl.h"
#include "src/base/utf8.h"

/* A text under way, and which of the ids each of its bytes comes from (NULL = not asked for). */
typedef struct {
    char *s;
    int32_t *owner;
    size_t n;
} owned_text;

static dtx_status owned_new(owned_text *t, size_t room, bool owners)
{
    t->s = dtx_malloc(room + 1, 1);
    t->owner = owners && t->s != NULL ? dtx_malloc(room + 1, sizeof *t->owner) : NULL;
    return dtx_mem_check(owners ? (void *)t->owner : (void *)t->s, room + 1, owners ? sizeof *t->owner : 1, "text");
}

static void owned_free(owned_text *t)
{
    dtx_free(t->s);
    dtx_free(t->owner);
}

/* Moves k bytes within the text or from another one. */
static void copy(owned_text *to, size_t at, const owned_text *from, size_t i, size_t k)
{
    memmove(to->s + at, from->s + i, k);
    if (to->owner != NULL) {
        memmove(to->owner + at, from->owner + i, k * sizeof *to->owner);
    }
}

/* Reads the text as UTF-8, each maximal ill-formed part as U+FFFD, which belongs to the part's first byte; `out` has room
 * for 3 n bytes. */
static void repair(const owned_text *t, owned_text *out)
{
    out->n = 0;
    for (size_t i = 0; i < t->n;) {
        uint32_t cp;
        int ok;
        size_t len = dtx_utf8_next(t->s + i, t->n - i, &cp, &ok);
        if (ok) {
            copy(out, out->n, t, i, len);
            out->n += len;
        } else {
            memcpy(out->s + out->n, "\xEF\xBF\xBD", 3);
            for (size_t k = 0; k < 3 && out->owner != NULL; k++) {
                out->owner[out->n + k] = t->owner[i];
            }
            out->n += 3;
        }
        i += len;
    }
}

/* Replaces each `from`, left to right, in place by `to`: `from` without its first byte, a blank, and perhaps its last. */
static void replace(owned_text *t, const char *from, const char *to)
{
    size_t n_from = strlen(from), n_to = strlen(to), w = 0, r = 0;

    while (r < t->n) {
        const char *hit = memmem(t->s + r, t->n - r, from, n_from);
        size_t keep = hit ? (size_t)(hit - (t->s + r)) : t->n - r;
        copy(t, w, t, r, keep);
        w += keep;
        r += keep;
        if (hit) {
            copy(t, w, t, r + 1, n_to);
            w += n_to;
            r += n_from;
        }
    }
    t->n = w;
}

/* transformers' PreTrainedTokenizerBase.clean_up_tokenization: these replacements, in this order. */
static void clean(owned_text *t)
{
    static const char *const rule[][2] = {{" .", "."},     {" ?", "?"},     {" !", "!"},   {" ,", ","},
                                          {" ' ", "'"},    {" n't", "n't"}, {" 'm", "'m"}, {" 's", "'s"},
                                          {" 've", "'ve"}, {" 're", "'re"}};

    for (size_t i = 0; i < sizeof rule / sizeof rule[0]; i++) {
        replace(t, rule[i][0], rule[i][1]);
    }
}

/* Bytes of the ids, ill-formed parts repaired. */
static dtx_status decode_bytes(const dtx_tokenizer *t, const int32_t *ids, size_t n, bool skip_special, bool owners, owned_text *text)
{
    owned_text mended = {0};
    size_t total = 0;
    dtx_status st = DTX_OK;

    for (size_t i = 0; i < n; i++) {
        const char *bytes;
        total += skip_special && dtx_tokenizer_is_special(t, ids[i]) ? 0 : dtx_tokenizer_bytes(t, ids[i], &bytes);
    }
    DTX_TRY(owned_new(text, total, owners));
    for (size_t i = 0; i < n; i++) {
        const char *bytes;
        size_t k = dtx_tokenizer_bytes(t, ids[i], &bytes);
        if (skip_special && dtx_tokenizer_is_special(t, ids[i])) {
            continue;
        }
        memcpy(text->s + text->n, bytes, k);
        for (size_t j = 0; j < k && owners; j++) {
            text->owner[text->n + j] = (int32_t)i;
        }
        text->n += k;
    }
    if (dtx_utf8_valid(text->s, total) < total) {
        DTX_GO(owned_new(&mended, 3 * total, owners));
        repair(text, &mended);
        owned_free(text);
        *text = mended;
        mended = (owned_text){0};
    }
done:
    owned_free(&mended);
    return st;
}

/* The strings of the ids through the decoder's steps. */
static dtx_status decode_strings(const dtx_tokenizer *t, const int32_t *ids, size_t n, bool skip_special, bool owners, owned_text *text)
{
    dtx_parts parts = {0};
    dtx_status st = DTX_OK;

    for (size_t i = 0; i < n; i++) {
        if (dtx_tokenizer_piece(t, ids[i]) != NULL && !(skip_special && dtx_tokenizer_is_special(t, ids[i]))) {
            const dtx_tok *k = &t->tok[ids[i]];
            DTX_GO(dtx_parts_put(&parts, t->text + k->spelling, k->spelling_len, (int32_t)i));
            DTX_GO(dtx_parts_end(&parts));
        }
    }
    DTX_GO(dtx_decoder_run(&t->decoder, &parts));
    DTX_GO(owned_new(text, parts.n, owners));
    if (parts.n > 0) {
        memcpy(text->s, parts.s, parts.n);
    }
    if (owners && parts.n > 0) {
        memcpy(text->owner, parts.owner, parts.n * sizeof *parts.owner);
    }
    text->n = parts.n;
done:
    dtx_parts_free(&parts);
    return st;
}

static bool is_byte_level(const dtx_tokenizer *t)
{
    return t->decoder.n > 0 && t->decoder.step[0].kind == DTX_DECODE_BYTES;
}

dtx_status dtx_tokenizer_decode_owned(const dtx_tokenizer *t, const int32_t *ids, size_t n, bool skip_special, bool clean_up,
                                      char **out, size_t *len, int32_t **owner)
{
    owned_text text = {0};
    dtx_status st = (is_byte_level(t) ? decode_bytes : decode_strings)(t, ids, n, skip_special, owner != NULL, &text);

    if (st != DTX_OK) {
        owned_free(&text);
        return st;
    }
    if (clean_up) {
        clean(&text);
    }
    text.s[text.n] = '\0';
    *out = text.s;
    *len = text.n;
    if (owner != NULL) {
        *owner = text.owner;
    }
    return DTX_OK;
}

dtx_status dtx_tokenizer_decode(const dtx_tokenizer *t, const int32_t *ids, size_t n, bool skip_special, bool clean_up,
                                char **out, size_t *len)
{
    return dtx_tokenizer_decode_owned(t, ids, n, skip_special, clean_up, out, len, NULL);
}

/* --- id by id --- */

void dtx_text_stream_begin(dtx_text_stream *stream, const dtx_tokenizer *t, bool skip_special)
{
    *stream = (dtx_text_stream){.t = t, .skip_special = skip_special};
}

void dtx_text_stream_free(dtx_text_stream *stream)
{
    dtx_ids_free(&stream->ids);
    memset(stream, 0, sizeof *stream);
}

/* Decoders of which any text can still change: what they do at the text's end, or over several tokens, is not known before it ends. */
static bool needs_the_end(const dtx_decoder *d)
{
    bool fused = false;

    for (int i = 0; i < d->n; i++) {
        const dtx_decode_step *p = &d->step[i];
        if (p->kind == DTX_DECODE_STRIP ? p->stop > 0 || p->start > 1 : fused && p->kind != DTX_DECODE_FUSE) {
            return true;
        }
        fused = fused || p->kind == DTX_DECODE_FUSE;
    }
    return false;
}

/* Can the text so far still change with the next id? */
static bool is_open(const dtx_text_stream *stream, const char *text, size_t n)
{
    const dtx_tokenizer *t = stream->t;

    if (needs_the_end(&t->decoder)) {
        return true;
    }
    for (size_t i = stream->ids.n; i > 0; i--) { /* the last id that gives text */
        int32_t id = stream->ids.id[i - 1];
        const char *piece = dtx_tokenizer_piece(t, id);
        if (piece != NULL && !(stream->skip_special && dtx_tokenizer_is_special(t, id))) {
            if (dtx_decoder_is_byte(&t->decoder, piece, t->tok[id].piece_len)) {
                return true;
            }
            break;
        }
    }
    return n >= 3 && memcmp(text + n - 3, "\xEF\xBF\xBD", 3) == 0;
}

/* Text of the window, of which the ids before `given` were handed out. Only the ids since the last hand-out stay in the window, so
 * that a long text costs no more than its length; they are there because what an id gives can depend on the one before. */
static dtx_status hand_out(dtx_text_stream *stream, bool last, char **out, size_t *len)
{
    const dtx_tokenizer *t = stream->t;
    char *before = NULL, *text = NULL;
    size_t n_before = 0, n = 0;
    dtx_status st = DTX_OK;

    *out = NULL;
    *len = 0;
    DTX_GO(dtx_tokenizer_decode(t, stream->ids.id, stream->given, stream->skip_special, false, &before, &n_before));
    DTX_GO(dtx_tokenizer_decode(t, stream->ids.id, stream->ids.n, stream->skip_special, false, &text, &n));
    if (n <= n_before || (!last && is_open(stream, text, n))) {
        goto done;
    }
    DTX_GO(DTX_NEW_RAW(*out, n - n_before + 1));
    memcpy(*out, text + n_before, n - n_before);
    (*out)[n - n_before] = '\0';
    *len = n - n_before;
    stream->ids.n -= stream->given;
    memmove(stream->ids.id, stream->ids.id + stream->given, stream->ids.n * sizeof *stream->ids.id);
    stream->given = stream->ids.n;
done:
    dtx_free(before);
    dtx_free(text);
    return st;
}

dtx_status dtx_text_stream_add(dtx_text_stream *stream, int32_t id, char **out, size_t *len)
{
    DTX_TRY(dtx_ids_add(&stream->ids, id));
    return hand_out(stream, false, out, len);
}

dtx_status dtx_text_stream_end(dtx_text_stream *stream, char **out, size_t *len)
{
    return hand_out(stream, true, out, len);
}
