#include <string.h>

#include "src/mem.h"
#include "src/tokenizer_impl.h"
#include "src/utf8.h"

/* Reads s as UTF-8, each maximal ill-formed part as U+FFFD; *out has room for 3 n + 1 bytes. Returns the length. */
static size_t repair(const char *s, size_t n, char *out)
{
    size_t to = 0;

    for (size_t i = 0; i < n;) {
        uint32_t cp;
        int ok;
        size_t len = dtx_utf8_next(s + i, n - i, &cp, &ok);
        if (ok) {
            memcpy(out + to, s + i, len);
            to += len;
        } else {
            memcpy(out + to, "\xEF\xBF\xBD", 3);
            to += 3;
        }
        i += len;
    }
    return to;
}

/* Replaces each `from`, left to right, by the not longer `to`, in place. Returns the new length. */
static size_t replace(char *s, size_t n, const char *from, const char *to)
{
    size_t n_from = strlen(from), n_to = strlen(to), w = 0, r = 0;

    while (r < n) {
        const char *hit = memmem(s + r, n - r, from, n_from);
        size_t keep = hit ? (size_t)(hit - (s + r)) : n - r;
        memmove(s + w, s + r, keep);
        w += keep;
        r += keep;
        if (hit) {
            memcpy(s + w, to, n_to);
            w += n_to;
            r += n_from;
        }
    }
    return w;
}

/* transformers' PreTrainedTokenizerBase.clean_up_tokenization: these replacements, in this order. */
static size_t clean(char *s, size_t n)
{
    static const char *const rule[][2] = {{" .", "."},     {" ?", "?"},     {" !", "!"},   {" ,", ","},
                                          {" ' ", "'"},    {" n't", "n't"}, {" 'm", "'m"}, {" 's", "'s"},
                                          {" 've", "'ve"}, {" 're", "'re"}};

    for (size_t i = 0; i < sizeof rule / sizeof rule[0]; i++) {
        n = replace(s, n, rule[i][0], rule[i][1]);
    }
    return n;
}

dtx_status dtx_tokenizer_decode(const dtx_tokenizer *t, const int32_t *ids, size_t n, bool skip_special, bool clean_up,
                                char **out, size_t *len)
{
    size_t total = 0, at = 0;
    char *joined, *text;

    for (size_t i = 0; i < n; i++) {
        const char *bytes;
        total += skip_special && dtx_tokenizer_is_special(t, ids[i]) ? 0 : dtx_tokenizer_bytes(t, ids[i], &bytes);
    }
    DTX_TRY(DTX_NEW_RAW(joined, total + 1));
    for (size_t i = 0; i < n; i++) {
        const char *bytes;
        size_t k = dtx_tokenizer_bytes(t, ids[i], &bytes);
        if (!(skip_special && dtx_tokenizer_is_special(t, ids[i]))) {
            memcpy(joined + at, bytes, k);
            at += k;
        }
    }
    if (dtx_utf8_valid(joined, total) < total) {
        text = dtx_malloc(total, 3);
        if (text == NULL) {
            dtx_free(joined);
            return dtx_mem_check(NULL, total, 3, "text");
        }
        total = repair(joined, total, text);
        dtx_free(joined);
        joined = text;
    }
    if (clean_up) {
        total = clean(joined, total);
    }
    joined[total] = '\0';
    *out = joined;
    *len = total;
    return DTX_OK;
}
