#include "src/answer/generate.h"

#include <inttypes.h>
#include <math.h>
#include <omp.h>
#include <string.h>

#include "src/algebra/kernel.h"
#include "src/base/mem.h"

/* New streams join a forward pass until it has this many rows (the first one always does), which bounds its memory. */
enum { JOIN_ROWS = 2048 };

typedef struct {
    dtx_generation *item;  /* NULL = free */
    int32_t *ids;          /* prompt and generated tokens so far, the window that the n-gram processor sees */
    int64_t n_ids, n_fed;  /* of them in the cache */
} stream;

/* B streams, V vocabulary, d hidden */
typedef struct {
    const dtx_model *model;
    const dtx_generate_options *opt;
    int64_t B, V, d;
    stream *streams;
    dtx_kv *kv;
    int32_t *windows, *ids;    /* B windows; the rows of one pass */
    int64_t *offset, *slot;
    float *hidden, *last;      /* (rows, d); (B, d): the last row of each stream */
    float *logits, *scores;    /* (B, V); (threads, 2, V): a thread's copy of a row, and its scratch */
    dtx_status *chosen;        /* (B) */
    size_t rows_cap;           /* rows of ids and hidden */
} decoder;

static void decoder_free(decoder *c)
{
    dtx_kv_del(c->kv);
    dtx_free(c->streams);
    dtx_free(c->windows);
    dtx_free(c->ids);
    dtx_free(c->offset);
    dtx_free(c->slot);
    dtx_free(c->hidden);
    dtx_free(c->last);
    dtx_free(c->logits);
    dtx_free(c->scores);
    dtx_free(c->chosen);
}

static dtx_status decoder_init(decoder *c, const dtx_model *m, const dtx_generate_options *o, int64_t B, int64_t max_prompt)
{
    const dtx_arch *a = dtx_model_arch(m);
    int64_t window = max_prompt + o->sampling.max_new_tokens;

    *c = (decoder){.model = m, .opt = o, .B = B, .V = a->vocab, .d = a->hidden};
    c->rows_cap = (size_t)((max_prompt > JOIN_ROWS ? max_prompt : JOIN_ROWS) + B);
    DTX_TRY(DTX_NEW(c->streams, B));
    DTX_TRY(DTX_NEW_RAW(c->windows, B * window));
    DTX_TRY(DTX_NEW_RAW(c->ids, c->rows_cap));
    DTX_TRY(DTX_NEW(c->offset, B + 1));
    DTX_TRY(DTX_NEW(c->slot, B));
    DTX_TRY(DTX_NEW_RAW(c->hidden, c->rows_cap * (size_t)c->d));
    DTX_TRY(DTX_NEW_RAW(c->last, B * c->d));
    DTX_TRY(DTX_NEW_RAW(c->logits, B * c->V));
    DTX_TRY(DTX_NEW_RAW(c->scores, dtx_linear_threads() * 2 * c->V));
    DTX_TRY(DTX_NEW(c->chosen, B));
    for (int64_t b = 0; b < B; b++) {
        c->streams[b].ids = c->windows + b * window;
    }
    return dtx_kv_new(m, B, window, &c->kv);
}

static void join(decoder *c, int64_t b, dtx_generation *item)
{
    stream *s = &c->streams[b];

    s->item = item;
    memcpy(s->ids, item->prompt, (size_t)item->prompt_len * sizeof *s->ids);
    s->n_ids = item->prompt_len;
    s->n_fed = 0;
    dtx_kv_reset(c->kv, b);
}

/* One pass over the rows that are not in the cache yet: whole prompts of streams that joined, one token of the others.
 * Leaves (n, V) logits of the streams slot[0..n-1]. */
static dtx_status pass(decoder *c, int64_t *n_out)
{
    int64_t n = 0, R = 0;

    for (int64_t b = 0; b < c->B; b++) {
        stream *s = &c->streams[b];
        if (s->item != NULL) {
            memcpy(c->ids + R, s->ids + s->n_fed, (size_t)(s->n_ids - s->n_fed) * sizeof *c->ids);
            R += s->n_ids - s->n_fed;
            s->n_fed = s->n_ids;
            c->slot[n++] = b;
            c->offset[n] = R;
        }
    }
    DTX_TRY(dtx_model_forward(c->model,
                              &(dtx_batch){.n_seq = n, .offset = c->offset, .ids = c->ids, .adapter = c->opt->adapter,
                                           .kv = c->kv, .slot = c->slot, .single = c->opt->batch <= 1},
                              c->hidden));
    for (int64_t i = 0; i < n; i++) {
        memcpy(c->last + i * c->d, c->hidden + (c->offset[i + 1] - 1) * c->d, (size_t)c->d * sizeof *c->last);
    }
    if (c->opt->batch <= 1) {
        dtx_model_logits_single(c->model, c->last, c->logits);
    } else {
        dtx_model_logits(c->model, n, c->last, c->logits);
    }
    *n_out = n;
    return DTX_OK;
}

/* The next token of one stream. scores: 2 V floats. */
static dtx_status choose(const decoder *c, stream *s, const float *logits, float *scores)
{
    const dtx_sampling *sampling = &c->opt->sampling;
    dtx_generation *it = s->item;
    double u = dtx_rng_uniform(c->opt->seed, c->opt->domain, it->row, it->sample, (uint32_t)it->length);
    int32_t token;
    float behaviour;

    memcpy(scores, logits, (size_t)c->V * sizeof *scores);
    dtx_sampler_process(sampling, s->ids, s->n_ids, it->prompt_len, c->V, scores, scores + c->V);
    dtx_status st = dtx_sampler_choose(sampling, c->V, scores, u, &token, &behaviour);
    if (st != DTX_OK) {
        return dtx_error_context(st, "row %" PRIu64 ", sample %u, generated token %d", it->row, it->sample, it->length);
    }
    s->ids[s->n_ids++] = token;
    it->tokens[it->length] = token;
    if (it->behaviour_logprob != NULL) {
        it->behaviour_logprob[it->length] = behaviour;
    }
    it->length++;
    if (dtx_eos_has(&sampling->eos, token)) {
        it->finish = DTX_FINISH_EOS;
    } else if (it->length == sampling->max_new_tokens) {
        it->finish = DTX_FINISH_LENGTH;
    }
    return DTX_OK;
}

/* The next token of the n streams of a pass; finished streams become free. */
static dtx_status advance(decoder *c, int64_t n, int64_t *running)
{
    const int threads = n > 1 ? dtx_linear_threads() : 1;

#pragma omp parallel for schedule(dynamic) num_threads(threads) if (threads > 1)
    for (int64_t i = 0; i < n; i++) {
        c->chosen[i] = choose(c, &c->streams[c->slot[i]], c->logits + i * c->V, c->scores + omp_get_thread_num() * 2 * c->V);
    }
    for (int64_t i = 0; i < n; i++) {
        stream *s = &c->streams[c->slot[i]];
        if (c->chosen[i] != DTX_OK) { /* the message is its thread's: the same again on this one */
            return choose(c, s, c->logits + i * c->V, c->scores);
        }
        c->ids[i] = s->ids[s->n_ids - 1];
    }
    dtx_log_prob(n, c->V, c->logits, c->ids, c->last); /* the pass is over: its buffers are free */
    for (int64_t i = 0; i < n; i++) {
        stream *s = &c->streams[c->slot[i]];
        if (s->item->logprob != NULL) {
            s->item->logprob[s->item->length - 1] = c->last[i];
        }
        if (s->item->finish != DTX_FINISH_NONE) {
            s->item = NULL;
            (*running)--;
        }
    }
    return DTX_OK;
}

static void clear(dtx_generation *it, int64_t max_new)
{
    it->length = 0;
    it->finish = max_new > 0 ? DTX_FINISH_NONE : DTX_FINISH_LENGTH;
    for (int64_t k = 0; k < max_new; k++) {
        it->tokens[k] = -1;
        if (it->logprob != NULL) {
            it->logprob[k] = NAN;
        }
        if (it->behaviour_logprob != NULL) {
            it->behaviour_logprob[k] = NAN;
        }
    }
}

dtx_status dtx_generate(const dtx_model *m, const dtx_generate_options *o, dtx_generation *items, int64_t n)
{
    int64_t max_new = o->sampling.max_new_tokens, bound = dtx_model_arch(m)->max_positions, max_prompt = 0;
    int64_t next = 0, running = 0, B = o->batch < 1 ? 1 : o->batch < n ? o->batch : n;
    decoder c;
    dtx_status st;

    for (int64_t i = 0; i < n; i++) {
        int64_t P = items[i].prompt_len;
        if (P < 1) {
            return DTX_FAIL(DTX_ERR_INPUT, "row %" PRIu64 ": the prompt has no token", items[i].row);
        }
        if (bound > 0 && P + max_new > bound) {
            return DTX_FAIL(DTX_ERR_INPUT,
                            "row %" PRIu64 ": %" PRId64 " prompt tokens and %" PRId64
                            " new ones do not fit the model's %" PRId64 " positions",
                            items[i].row, P, max_new, bound);
        }
        max_prompt = P > max_prompt ? P : max_prompt;
        clear(&items[i], max_new);
    }
    if (n == 0 || max_new == 0) {
        return DTX_OK;
    }
    DTX_GO(decoder_init(&c, m, o, B, max_prompt));
    while (running > 0 || next < n) {
        int64_t rows = running, streams;

        if (o->stop != NULL && o->stop(o->user)) {
            st = DTX_STOPPED;
            goto done;
        }
        for (int64_t b = 0; b < B && next < n; b++) {
            if (c.streams[b].item == NULL && (rows == 0 || rows + items[next].prompt_len <= JOIN_ROWS)) {
                rows += items[next].prompt_len;
                join(&c, b, &items[next++]);
                running++;
            }
        }
        DTX_GO(pass(&c, &streams));
        DTX_GO(advance(&c, streams, &running));
    }
done:
    decoder_free(&c);
    return st;
}
