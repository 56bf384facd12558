#include "src/attribution/words.h"

#include <math.h>
#include <string.h>

#include "src/base/mem.h"

static const char *const symbols[] = {"\xC4\xA0" /* Ġ */, "\xC4\x8A" /* Ċ */};

static bool opens(const char *piece)
{
    return piece != NULL && (strncmp(piece, symbols[0], 2) == 0 || strncmp(piece, symbols[1], 2) == 0);
}

static bool has_symbol(const char *piece)
{
    return piece != NULL && (strstr(piece, symbols[0]) != NULL || strstr(piece, symbols[1]) != NULL);
}

/* Inseq's spans over n pieces as edges of a partition: pieces outside a span stand alone. Returns the number of entries. */
static int64_t inseq_edges(const char *const *pieces, int64_t n, int64_t *edge)
{
    bool any = false;
    int64_t entries = 0, start = 0;

    for (int64_t i = 0; i < n; i++) {
        any = any || has_symbol(pieces[i]);
    }
    for (int64_t i = 0; any && i < n; i++) {
        int64_t end = -1; /* of a word of at least two pieces that begins at start */
        if (opens(pieces[i]) || i == n - 1) {
            end = i - start > 1 ? i : -1; /* in both cases piece i is not part of it */
        }
        if (end >= 0) {
            edge[entries++] = start;
            start = end;
        } else if (opens(pieces[i])) {
            while (start < i) {
                edge[entries++] = start++;
            }
        }
    }
    while (start < n) {
        edge[entries++] = start++;
    }
    edge[entries] = n;
    return entries;
}

static dtx_status make_inseq(const char *const *pieces, int64_t P, int64_t G, dtx_words *w)
{
    w->n_prompt = inseq_edges(pieces, P, w->edge); /* the prompt on its own; overwritten by the whole */
    w->n = inseq_edges(pieces, P + G, w->edge);
    w->start = 0;
    while (w->edge[w->start + 1] <= P) {
        w->start++;
    }
    w->n_steps = w->n - w->start;
    w->n_prompt = w->n_prompt < w->n ? w->n_prompt : w->n;
    for (int64_t k = 0; k <= w->n_steps; k++) {
        int64_t g = w->edge[w->start + k] - P;
        w->step_edge[k] = g > 0 ? g : 0; /* a word across the boundary begins with step 0 */
    }
    return DTX_OK;
}

dtx_status dtx_words_make(bool inseq, const char *const *pieces, int64_t P, int64_t G, dtx_words *out)
{
    dtx_words w = {0};
    dtx_status st;

    DTX_GO(DTX_NEW(w.edge, P + G + 1));
    DTX_GO(DTX_NEW(w.step_edge, G + 1));
    if (inseq) {
        DTX_GO(make_inseq(pieces, P, G, &w));
    } else {
        for (int64_t t = 0; t < P + G; t++) {
            if (t == 0 || t == P || opens(pieces[t])) {
                w.n_prompt += t < P;
                if (t >= P) {
                    w.step_edge[w.n_steps++] = t - P;
                }
                w.edge[w.n++] = t;
            }
        }
        w.edge[w.n] = P + G;
        w.step_edge[w.n_steps] = G;
        w.start = w.n_prompt;
    }
done:
    if (st != DTX_OK) {
        dtx_words_free(&w);
    } else {
        *out = w;
    }
    return st;
}

void dtx_words_free(dtx_words *w)
{
    dtx_free(w->edge);
    dtx_free(w->step_edge);
    *w = (dtx_words){0};
}

void dtx_words_fold(bool inseq, int64_t n, const float *x, float *acc)
{
    for (int64_t i = 0; i < n; i++) {
        float a = isnan(acc[i]) ? 0 : fabsf(acc[i]), b = isnan(x[i]) ? 0 : fabsf(x[i]);
        if (b > a || (!inseq && isnan(acc[i]))) {
            acc[i] = x[i];
        }
    }
}
