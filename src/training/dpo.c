#include "src/training/dpo.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "src/base/mem.h"
#include "src/training/policy.h"

/* --- pairs --- */

/* The hater's turn number `pair` of a sample: between "{user} " and ".\n{bot} ". */
static dtx_byte_span user_turn(const dtx_dialogues *d, int64_t sample, int64_t pair, size_t user_len, size_t bot_len)
{
    const dtx_byte_span *bot = d->span + d->span_offset[sample] + pair;
    const size_t begin = (pair == 0 ? 0 : bot[-1].first + bot[-1].len + 1) + user_len + 1;

    return (dtx_byte_span){begin, bot->first - 1 - bot_len - 2 - begin};
}

static void rejected_turn(const dtx_dialogues *d, int64_t i, size_t user_len, size_t bot_len, const char **s, size_t *len)
{
    const bool goes_on = i + 1 < d->n && d->dialogue[i + 1] == d->dialogue[i];
    const int64_t sample = goes_on ? i + 1 : i, pair = goes_on ? d->pairs[i + 1] - 1 : 0;
    const dtx_byte_span turn = user_turn(d, sample, pair, user_len, bot_len);

    *s = d->bytes + d->offset[sample] + turn.first;
    *len = turn.len;
}

/* Appends one row: the prompt's ids, the answer's, the end of text. */
static dtx_status add_row(const dtx_tokenizer *t, const dtx_ids *prompt, const char *s, size_t len, int64_t context, int32_t eos,
                          dtx_ids *all, int64_t *query, bool *cut)
{
    dtx_ids answer = {0};
    dtx_status st = DTX_OK;

    DTX_GO(dtx_tokenizer_encode(t, s, len, false, &answer));
    if (eos >= 0) {
        DTX_GO(DTX_GROW(answer.id, answer.cap, answer.n + 1));
        answer.id[answer.n++] = eos;
    }
    if ((int64_t)(prompt->n + answer.n) > context) {
        *cut = true;
        answer.n = (int64_t)answer.n > context / 2 ? (size_t)(context / 2) : answer.n;
    }
    *query = (int64_t)prompt->n < context - (int64_t)answer.n ? (int64_t)prompt->n : context - (int64_t)answer.n;
    DTX_GO(DTX_GROW(all->id, all->cap, all->n + (size_t)*query + answer.n + 1));
    memcpy(all->id + all->n, prompt->id + prompt->n - (size_t)*query, (size_t)*query * sizeof *all->id);
    memcpy(all->id + all->n + *query, answer.id, answer.n * sizeof *all->id);
    all->n += (size_t)*query + answer.n;
done:
    dtx_ids_free(&answer);
    return st;
}

dtx_status dtx_pairs_from_dialogues(const dtx_tokenizer *t, const dtx_dialogues *d, const char *user, const char *bot,
                                    int64_t context, int32_t eos, dtx_pairs *out)
{
    dtx_pairs p = {.n = d->n};
    dtx_ids all = {0}, prompt = {0};
    dtx_status st = DTX_OK;

    DTX_GO(DTX_NEW(p.offset, 2 * d->n + 1));
    DTX_GO(DTX_NEW(p.query, 2 * d->n));
    for (int64_t i = 0; i < d->n; i++) {
        const char *sample = d->bytes + d->offset[i], *s[2] = {sample + d->query[i], NULL};
        size_t len[2] = {d->offset[i + 1] - d->offset[i] - d->query[i], 0};
        bool cut = false;
        rejected_turn(d, i, strlen(user), strlen(bot), &s[1], &len[1]);
        prompt.n = 0;
        DTX_GO(dtx_tokenizer_encode(t, sample, d->query[i], false, &prompt));
        for (int k = 0; k < 2; k++) {
            DTX_GO(add_row(t, &prompt, s[k], len[k], context, eos, &all, &p.query[2 * i + k], &cut));
            p.offset[2 * i + k + 1] = (int64_t)all.n;
        }
        p.n_cut += cut;
    }
    p.id = all.id;
    *out = p;
    dtx_ids_free(&prompt);
    return DTX_OK;
done:
    dtx_ids_free(&prompt);
    dtx_ids_free(&all);
    dtx_pairs_free(&p);
    return st;
}

dtx_status dtx_pairs_sampled(const dtx_pairs *p, const uint8_t *keep, int64_t width, const int32_t *tokens, const int32_t *length,
                             int64_t context, dtx_pairs *out)
{
    dtx_pairs q = {.n_cut = p->n_cut};
    int64_t rows = 0, at = 0;
    dtx_status st = DTX_OK;

    for (int64_t i = 0; i < p->n; i++) {
        q.n += keep[i];
        rows += keep[i] ? p->offset[2 * i + 1] - p->offset[2 * i] + p->query[2 * i] + length[i] : 0;
    }
    DTX_GO(DTX_NEW(q.offset, 2 * q.n + 1));
    DTX_GO(DTX_NEW(q.query, 2 * q.n));
    DTX_GO(DTX_NEW_RAW(q.id, rows + 1));
    for (int64_t i = 0, k = 0; i < p->n; i++) {
        if (!keep[i]) {
            continue;
        }
        const int32_t *row = p->id + p->offset[2 * i];
        const int64_t n = p->offset[2 * i + 1] - p->offset[2 * i], query = p->query[2 * i], room = context - length[i];
        const int64_t kept = query < room ? query : room;
        memcpy(q.id + at, row, (size_t)n * sizeof *row);
        q.offset[k + 1] = at += n;
        q.query[k++] = query;
        memcpy(q.id + at, row + query - kept, (size_t)kept * sizeof *row);
        memcpy(q.id + at + kept, tokens + i * width, (size_t)length[i] * sizeof *row);
        q.offset[k + 1] = at += kept + length[i];
        q.query[k++] = kept;
    }
    *out = q;
    return DTX_OK;
done:
    dtx_pairs_free(&q);
    return st;
}

void dtx_pairs_free(dtx_pairs *p)
{
    dtx_free(p->offset);
    dtx_free(p->query);
    dtx_free(p->id);
    memset(p, 0, sizeof *p);
}

/* --- loss --- */

dtx_dpo_term dtx_dpo_loss(double beta, const dtx_dpo_logps *lp)
{
    dtx_dpo_term t = {.reward_chosen = beta * (lp->chosen - lp->ref_chosen),
                      .reward_rejected = beta * (lp->rejected - lp->ref_rejected)};
    const double margin = t.reward_chosen - t.reward_rejected;

    t.loss = margin > 0 ? log1p(exp(-margin)) : -margin + log1p(exp(margin));
    t.d_chosen = -beta / (1 + exp(margin));
    return t;
}

typedef struct {
    int64_t n_chosen;   /* entries of the chosen answer, which come first */
    double d_chosen;
} pair_slope;

/* The loss depends on the sums of the log-probabilities alone, so its derivative is the same for all tokens of an answer. */
static void slope(void *user, int64_t first, int64_t n, const double *lp, const double *value, const double *entropy, double *d_lp,
                  double *d_value)
{
    const pair_slope *s = user;

    (void)lp;
    (void)value;
    (void)entropy;
    for (int64_t i = 0; i < n; i++) {
        d_lp[i] = first + i < s->n_chosen ? s->d_chosen : -s->d_chosen;
        d_value[i] = 0;
    }
}

dtx_status dtx_dpo_pair(const dtx_model *m, const dtx_adapter *adapter, const dtx_adapter *reference, dtx_tape *tape,
                        const dtx_pairs *p, int64_t i, double beta, double scale, dtx_dpo_logps *lp, dtx_dpo_term *term,
                        dtx_adapter *grads)
{
    const int64_t *at = p->offset + 2 * i, offset[3] = {0, at[1] - at[0], at[2] - at[0]};
    const dtx_policy_rows rows = {.n = 2, .offset = offset, .query = p->query + 2 * i, .ids = p->id + at[0]};
    const int64_t E = dtx_policy_entries(&rows), n_chosen = offset[1] - rows.query[0];
    double *token = NULL;
    dtx_status st = DTX_OK;

    DTX_GO(DTX_NEW(token, 2 * E + 1));
    DTX_GO(dtx_policy_compare(m, adapter, reference, NULL, &rows, &(dtx_policy_view){.lp = token, .ref_lp = token + E}));
    *lp = (dtx_dpo_logps){0};
    for (int64_t e = 0; e < E; e++) {
        *(e < n_chosen ? &lp->chosen : &lp->rejected) += token[e];
        *(e < n_chosen ? &lp->ref_chosen : &lp->ref_rejected) += token[E + e];
    }
    *term = dtx_dpo_loss(beta, lp);
    if (grads != NULL) {
        pair_slope s = {n_chosen, scale * term->d_chosen};
        DTX_GO(dtx_policy_gradient(m, adapter, tape, NULL, &rows, slope, &s, grads, NULL));
    }
done:
    dtx_free(token);
    return st;
}
