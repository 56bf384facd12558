#include "src/text/unigram.h"

#include <string.h>

#include "src/base/mem.h"
#include "src/base/utf8.h"

static const double UNKNOWN_PENALTY = 10.0;

/* The best way to a place of the text. */
typedef struct {
    double score;
    int32_t from; /* where its last piece begins, -1 = no way yet */
    int32_t id;   /* that piece, -1 = unknown */
} step;

void dtx_unigram_free(dtx_unigram *u)
{
    dtx_trie_free(&u->trie);
    dtx_free(u->score);
    memset(u, 0, sizeof *u);
}

static void reach(step *to, double score, size_t from, int32_t id)
{
    if (to->from < 0 || score > to->score) {
        *to = (step){.score = score, .from = (int32_t)from, .id = id};
    }
}

static void search(const dtx_unigram *u, const char *s, size_t n, step *best)
{
    for (size_t i = 0; i <= n; i++) {
        best[i] = (step){.from = -1, .id = -1};
    }
    for (size_t at = 0, len; at < n; at += len) {
        uint32_t cp;
        bool single = false; /* a piece is exactly this character */
        double here = best[at].score;
        int32_t node = dtx_trie_first(&u->trie, (unsigned char)s[at]);
        len = dtx_utf8_next(s + at, n - at, &cp, NULL);
        for (size_t k = at; node > 0; node = dtx_trie_child(&u->trie, node, (unsigned char)s[k])) {
            k++;
            int32_t id = u->trie.value[node];
            if (id >= 0) {
                reach(&best[k], here + u->score[id], at, id);
                single = single || k == at + len;
            }
            if (k == n) {
                break;
            }
        }
        if (!single) {
            reach(&best[at + len], here + (u->lowest - UNKNOWN_PENALTY), at, -1);
        }
    }
}

/* Id of a whole string, -1 where it is no piece. */
static int32_t whole(const dtx_unigram *u, const char *s, size_t n)
{
    int32_t node = dtx_trie_first(&u->trie, (unsigned char)s[0]);

    for (size_t i = 1; i < n && node > 0; i++) {
        node = dtx_trie_child(&u->trie, node, (unsigned char)s[i]);
    }
    return node > 0 ? u->trie.value[node] : -1;
}

/* Ids of an unknown stretch, last first: bytes when all are in the vocabulary. */
static dtx_status unknown_back(const dtx_unigram *u, const char *s, size_t n, dtx_ids *out)
{
    bool bytes = u->byte_fallback;
    int32_t id = whole(u, s, n);

    if (id >= 0) {
        return dtx_ids_add(out, id);
    }
    for (size_t i = 0; i < n && bytes; i++) {
        bytes = u->byte_token[(unsigned char)s[i]] >= 0;
    }
    if (bytes) {
        for (size_t i = n; i > 0; i--) {
            DTX_TRY(dtx_ids_add(out, u->byte_token[(unsigned char)s[i - 1]]));
        }
        return DTX_OK;
    }
    if (u->unknown < 0) {
        return DTX_FAIL(DTX_ERR_INPUT, "the tokenizer has no unknown token (unk_id), and no pieces for \"%.*s\"", (int)(n < 20 ? n : 20), s);
    }
    return dtx_ids_add(out, u->unknown);
}

dtx_status dtx_unigram_encode(const dtx_unigram *u, const char *s, size_t n, dtx_ids *out)
{
    step *best = NULL;
    size_t had = out->n;
    dtx_status st = DTX_OK;

    if (n == 0) {
        return DTX_OK;
    }
    DTX_TRY(DTX_NEW_RAW(best, n + 1));
    search(u, s, n, best);
    for (size_t at = n; at > 0;) {
        size_t from = (size_t)best[at].from;
        if (best[at].id < 0 || best[at].id == u->unknown) { /* the unknown token's own string counts as unknown too */
            while (from > 0 && (best[from].id < 0 || best[from].id == u->unknown)) {
                from = (size_t)best[from].from;
            }
            DTX_GO(unknown_back(u, s + from, at - from, out));
        } else {
            DTX_GO(dtx_ids_add(out, best[at].id));
        }
        at = from;
    }
    for (size_t i = had, j = out->n; i + 1 < j; i++) {
        j--;
        int32_t swap = out->id[i];
        out->id[i] = out->id[j];
        out->id[j] = swap;
    }
done:
    dtx_free(best);
    if (st != DTX_OK) {
        out->n = had;
    }
    return st;
}
