#include "src/judge/keywords.h"

#include <math.h>
#include <string.h>

#include "src/attribution/curves.h"
#include "src/base/mem.h"

enum { MAX_ROWS = 512 }; /* tokens of a pass that keeps a tape: bounds its memory; a longer text has a pass of its own */

void dtx_key_pieces_free(dtx_key_pieces *p)
{
    dtx_free(p->begin);
    dtx_free(p->score);
    *p = (dtx_key_pieces){0};
}

/* Lays the pieces over the text. What stands between two of them the tokenizer left out (blanks that a special token
 * takes along, bytes that the vocabulary lacks). index[k]: which id piece k is. */
static dtx_status place_pieces(const dtx_classifier *c, const int32_t *ids, int64_t n_ids, const char *text, size_t len,
                               dtx_key_pieces *p, int64_t *index)
{
    size_t at = 0;

    DTX_TRY(DTX_NEW(p->begin, 2 * n_ids));
    DTX_TRY(DTX_NEW(p->score, n_ids));
    p->end = p->begin + n_ids;
    p->placed = true;
    for (int64_t i = 0; i < n_ids; i++) {
        const char *bytes;
        const size_t k = dtx_tokenizer_bytes(c->tokenizer, ids[i], &bytes);
        if (k == 0 || ((i == 0 || i == n_ids - 1) && dtx_tokenizer_is_special(c->tokenizer, ids[i]))) {
            continue;
        }
        const char *hit = memmem(text + at, len - at, bytes, k);
        if (hit == NULL) {
            p->placed = false;
            p->n = 0;
            return DTX_OK;
        }
        p->begin[p->n] = (size_t)(hit - text);
        p->end[p->n] = p->begin[p->n] + k;
        at = p->end[p->n];
        index[p->n++] = i;
    }
    return DTX_OK;
}

/* d log-odds / d logits (n_labels): 1 for the label; with a softmax the other labels lose in proportion to their shares. */
static void log_odds_cotangent(const dtx_classifier *c, const float *logits, float *d)
{
    const int64_t n = c->arch->n_labels;
    double top = -INFINITY, sum = 0;

    for (int64_t i = 0; i < n; i++) {
        top = i != c->label ? fmax(top, (double)logits[i]) : top;
    }
    for (int64_t i = 0; i < n; i++) {
        sum += i != c->label ? exp((double)logits[i] - top) : 0;
    }
    for (int64_t i = 0; i < n; i++) {
        d[i] = i == c->label ? 1 : c->arch->multi_label ? 0 : (float)(-exp((double)logits[i] - top) / sum);
    }
}

/* One pass over the texts `first` .. `end` - 1, whose ids are known. */
static dtx_status explain_pass(const dtx_classifier *c, dtx_tape *tape, int64_t n, const int64_t *offset, const int32_t *ids,
                               const char *const *text, const size_t *len, dtx_key_pieces *out)
{
    const int64_t d = c->arch->hidden, R = offset[n], labels = c->arch->n_labels;
    float *logits = NULL, *e = NULL, *grad = NULL;
    int64_t *index = NULL;
    dtx_status st;

    DTX_GO(DTX_NEW_RAW(logits, 2 * n * labels));
    DTX_GO(DTX_NEW_RAW(e, R * d));
    DTX_GO(DTX_NEW_RAW(grad, R * d));
    DTX_GO(DTX_NEW_RAW(index, R));
    float *d_logits = logits + n * labels;
    const dtx_batch b = {.n_seq = n, .offset = offset, .ids = ids, .tape = tape};
    DTX_GO(dtx_model_classify(c->model, &b, logits));
    for (int64_t i = 0; i < n; i++) {
        log_odds_cotangent(c, logits + i * labels, d_logits + i * labels);
    }
    DTX_GO(dtx_model_embed(c->model, R, ids, e));
    DTX_GO(dtx_model_classify_backward(c->model, tape, d_logits, &(dtx_wanted){.embeds = grad}));
    for (int64_t i = 0; i < n; i++) {
        dtx_key_pieces *p = &out[i];
        p->log_odds = dtx_classifier_log_odds(c, logits + i * labels);
        DTX_GO(place_pieces(c, ids + offset[i], offset[i + 1] - offset[i], text[i], len[i], p, index));
        for (int64_t k = 0; k < p->n; k++) {
            float *x = grad + (offset[i] + index[k]) * d;
            const float *ek = e + (offset[i] + index[k]) * d;
            for (int64_t j = 0; j < d; j++) {
                x[j] *= ek[j];
            }
            p->score[k] = (float)dtx_attrib_norm_of(DTX_NORM_L2, d, x);
            if (!isfinite(p->score[k])) {
                st = DTX_FAIL(DTX_ERR_NUMERIC, "the attribution of a text's toxicity to its piece %lld is %g", (long long)k,
                              (double)p->score[k]);
                goto done;
            }
        }
    }
done:
    dtx_free(index);
    dtx_free(grad);
    dtx_free(e);
    dtx_free(logits);
    return st;
}

dtx_status dtx_keywords_explain(const dtx_classifier *c, dtx_tape *tape, int64_t n, const char *const *text, const size_t *len,
                                dtx_key_pieces *out)
{
    dtx_ids ids = {0};
    int64_t *offset = NULL;
    dtx_status st;

    memset(out, 0, (size_t)n * sizeof *out);
    DTX_GO(DTX_NEW(offset, n + 1));
    for (int64_t i = 0, first = 0; i < n; i++) {
        st = dtx_tokenizer_encode_max(c->tokenizer, text[i], len[i], true, c->max_tokens, &ids);
        if (st != DTX_OK) {
            dtx_error_context(st, "text %lld of %lld to explain", (long long)i, (long long)n);
            goto done;
        }
        offset[i - first + 1] = (int64_t)ids.n;
        if (i + 1 == n || ids.n >= MAX_ROWS) {
            DTX_GO(explain_pass(c, tape, i + 1 - first, offset, ids.id, text + first, len + first, out + first));
            first = i + 1;
            ids.n = 0;
        }
    }
done:
    dtx_free(offset);
    dtx_ids_free(&ids);
    for (int64_t i = 0; st != DTX_OK && i < n; i++) {
        dtx_key_pieces_free(&out[i]);
    }
    return st;
}

void dtx_keywords_share(const dtx_key_pieces *p, const int32_t *owner, int64_t n_tokens, float *share)
{
    double sum = 0;

    for (int64_t k = 0; k < p->n; k++) {
        sum += (double)p->score[k];
    }
    for (int64_t t = 0; t < n_tokens; t++) {
        double own = 0;
        for (int64_t k = 0; k < p->n; k++) {
            int64_t bytes = 0;
            for (size_t i = p->begin[k]; i < p->end[k]; i++) {
                bytes += owner[i] == t;
            }
            own += (double)p->score[k] * (double)bytes / (double)(p->end[k] - p->begin[k]);
        }
        share[t] = sum > 0 ? (float)(own / sum) : (float)NAN;
    }
}
