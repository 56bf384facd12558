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

dtx_status dtx_tokenizer_decode_owned(const dtx_tokenizer *t, const int32_t *ids, size_t n, bool skip_special, bool clean_up,
                                      char **out, size_t *len, int32_t **owner)
{
    owned_text text = {0}, mended = {0};
    size_t total = 0;
    dtx_status st;

    for (size_t i = 0; i < n; i++) {
        const char *bytes;
        total += skip_special && dtx_tokenizer_is_special(t, ids[i]) ? 0 : dtx_tokenizer_bytes(t, ids[i], &bytes);
    }
    DTX_GO(owned_new(&text, total, owner != NULL));
    for (size_t i = 0; i < n; i++) {
        const char *bytes;
        size_t k = dtx_tokenizer_bytes(t, ids[i], &bytes);
        if (skip_special && dtx_tokenizer_is_special(t, ids[i])) {
            continue;
        }
        memcpy(text.s + text.n, bytes, k);
        for (size_t j = 0; j < k && owner != NULL; j++) {
            text.owner[text.n + j] = (int32_t)i;
        }
        text.n += k;
    }
    if (dtx_utf8_valid(text.s, total) < total) {
        DTX_GO(owned_new(&mended, 3 * total, owner != NULL));
        repair(&text, &mended);
        owned_free(&text);
        text = mended;
        mended = (owned_text){0};
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
done:
    owned_free(&text);
    owned_free(&mended);
    return st;
}

dtx_status dtx_tokenizer_decode(const dtx_tokenizer *t, const int32_t *ids, size_t n, bool skip_special, bool clean_up,
                                char **out, size_t *len)
{
    return dtx_tokenizer_decode_owned(t, ids, n, skip_special, clean_up, out, len, NULL);
}
