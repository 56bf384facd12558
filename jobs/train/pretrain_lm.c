/* pretrain_lm.c - task lm: text -> tokens -> windows -> next-token loss. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "jobs/train/pretrain.h"
#include "src/base/log.h"
#include "src/base/mem.h"

enum {
    MAX_SHARD = 256,   /* windows of a shard; pretrain.batch is at most DTX_TRAINING_LEAVES times that */
    EVAL_WINDOWS = 64  /* held-out windows that an evaluation looks at */
};
static const char END_OF_TEXT[] = "<|endoftext|>";
static const char PADDING[] = "<|padding|>";

/* --- data: rank 0 reads and encodes; the streams are broadcast --- */

static dtx_status read_texts(const dtx_config *c, dtx_texts *texts)
{
    if (c->data.text.n == 0) {
        return DTX_FAIL(DTX_ERR_USAGE, "pretrain needs text: --set 'data.text=[\"FILE[:FIELD]\", ...]'");
    }
    for (int64_t i = 0; i < c->data.text.n; i++) {
        DTX_TRY(dtx_texts_read_field(c->data.text.entry[i], texts));
    }
    return DTX_OK;
}

static dtx_status make_tokenizer(dtx_pretrainer *t, const dtx_texts *texts)
{
    const char **text = NULL;
    size_t *len = NULL;
    dtx_status st = DTX_OK;

    DTX_GO(DTX_NEW(text, texts->n));
    DTX_GO(DTX_NEW(len, texts->n));
    for (int64_t i = 0; i < texts->n; i++) {
        text[i] = texts->bytes + texts->offset[i];
        len[i] = texts->offset[i + 1] - texts->offset[i];
    }
    DTX_GO(dtx_pretrain_tokenizer(t, text, len, texts->n, false));
done:
    dtx_free(len);
    dtx_free(text);
    return st;
}

typedef struct { /* what rank 0 tells the others about the data */
    int64_t n_train, n_held, vocab;
    int32_t eos, pad;
    char digest[DTX_SHA256_TEXT];
} data_facts;

static dtx_status load_data_root(dtx_pretrainer *t, void **message, size_t *size)
{
    dtx_texts texts = {0};
    dtx_tokenizer *tok = NULL;
    data_facts facts = {0};
    dtx_status st = DTX_OK;

    DTX_GO(read_texts(t->c, &texts));
    DTX_GO(make_tokenizer(t, &texts));
    DTX_GO(dtx_tokenizer_open(t->tokenizer_dir, &tok));
    facts.eos = dtx_tokenizer_id(tok, END_OF_TEXT);
    facts.pad = dtx_tokenizer_id(tok, PADDING);
    facts.vocab = (dtx_tokenizer_size(tok) + 15) / 16 * 16; /* whole vector lengths, as the hub's models pad theirs */
    DTX_GO(dtx_stream_build(tok, &texts, facts.eos, t->c->pretrain.holdout, (uint64_t)t->c->seed, &t->stream));
    facts.n_train = t->stream.n_train;
    facts.n_held = t->stream.n_held;
    DTX_GO(dtx_sha256_bytes(texts.bytes, (size_t)texts.offset[texts.n], facts.digest));
    dtx_log(DTX_LOG_INFO, "pretrain", "%" PRId64 " texts, %" PRId64 " training and %" PRId64 " held-out tokens, %" PRId64 " ids",
            texts.n, facts.n_train, facts.n_held, dtx_tokenizer_size(tok));
    *size = sizeof facts + (size_t)(facts.n_train + facts.n_held) * sizeof(int32_t);
    char *m = dtx_malloc(*size, 1);
    DTX_GO(dtx_mem_check(m, *size, 1, "token streams"));
    memcpy(m, &facts, sizeof facts);
    memcpy(m + sizeof facts, t->stream.train, (size_t)facts.n_train * sizeof(int32_t));
    memcpy(m + sizeof facts + (size_t)facts.n_train * sizeof(int32_t), t->stream.held, (size_t)facts.n_held * sizeof(int32_t));
    *message = m;
done:
    dtx_stream_free(&t->stream);
    dtx_tokenizer_close(tok);
    dtx_texts_free(&texts);
    return st;
}

static dtx_status load(dtx_pretrainer *t)
{
    data_facts facts;
    void *message = NULL;
    size_t size = 0;
    dtx_status st = DTX_OK;

    if (t->job->par.rank == 0) {
        st = load_data_root(t, &message, &size);
    }
    DTX_GO(dtx_par_bcast(&t->job->par, st, &message, &size));
    memcpy(&facts, message, sizeof facts);
    t->stream.n_train = facts.n_train;
    t->stream.n_held = facts.n_held;
    st = DTX_NEW_RAW(t->stream.train, facts.n_train);
    if (st == DTX_OK) {
        st = DTX_NEW_RAW(t->stream.held, facts.n_held);
    }
    DTX_GO(dtx_par_agree(&t->job->par, st));
    const char *tokens = (const char *)message + sizeof facts;
    memcpy(t->stream.train, tokens, (size_t)facts.n_train * sizeof(int32_t));
    memcpy(t->stream.held, tokens + (size_t)facts.n_train * sizeof(int32_t), (size_t)facts.n_held * sizeof(int32_t));
    st = dtx_windows_init(&t->windows, facts.n_train, t->c->pretrain.context, (uint64_t)t->c->seed);
    if (st == DTX_OK && facts.n_held > 1) {
        st = dtx_windows_init(&t->held, facts.n_held, t->c->pretrain.context, (uint64_t)t->c->seed);
    }
    if (st == DTX_OK) {
        st = dtx_pretrain_arch(t->c->pretrain.arch, t->c->pretrain.layers,
                               t->c->pretrain.hidden, t->c->pretrain.heads, facts.vocab, t->c->pretrain.context, facts.eos,
                               facts.pad, &t->arch);
    }
    t->vocab = facts.vocab;
    memcpy(t->digest, facts.digest, sizeof t->digest);
    int64_t longest = t->windows.length > t->held.length ? t->windows.length : t->held.length;
    if (st == DTX_OK) {
        st = DTX_NEW(t->losses, MAX_SHARD * longest);
    }
    st = dtx_par_agree(&t->job->par, st);
done:
    dtx_free(message);
    return st;
}

/* --- gradient of a shard, held-out loss --- */

static dtx_status shard(void *user, int64_t step, int64_t leaf, float *grads, double *loss, double *tokens)
{
    dtx_pretrainer *t = user;
    const int64_t B = t->c->pretrain.batch, L = t->windows.length, leaves = t->training.n_leaves;
    const int64_t a = B * leaf / leaves, n = B * (leaf + 1) / leaves - a;
    int64_t start[MAX_SHARD];

    for (int64_t i = 0; i < n; i++) {
        start[i] = dtx_windows_start(&t->windows, step * B + a + i);
    }
    DTX_TRY(dtx_pretrain_windows(t->model, t->tape, t->stream.train, n, start, L, (float)(1.0 / (double)(B * L)), t->losses,
                                 grads));
    for (int64_t i = 0; i < n * L; i++) {
        *loss += t->losses[i] / (double)(B * L);
    }
    *tokens = (double)(n * L);
    return DTX_OK;
}

/* Each rank takes every size-th held-out window. */
static dtx_status evaluate(void *user, double *mean)
{
    dtx_pretrainer *t = user;
    const dtx_par *par = &t->job->par;
    const int64_t L = t->held.length, n = t->held.per_pass < EVAL_WINDOWS ? t->held.per_pass : EVAL_WINDOWS;
    double sum[EVAL_WINDOWS] = {0};
    dtx_status st = DTX_OK;

    for (int64_t i = par->rank; st == DTX_OK && i < n; i += par->size) {
        int64_t start = i * L;
        st = dtx_pretrain_windows(t->model, NULL, t->stream.held, 1, &start, L, 1.0f, t->losses, NULL);
        for (int64_t j = 0; st == DTX_OK && j < L; j++) {
            sum[i] += t->losses[j];
        }
    }
    DTX_TRY(dtx_par_agree(par, st));
    DTX_TRY(dtx_sum_disjoint(par, sum, EVAL_WINDOWS));
    *mean = n > 0 ? 0 : NAN;
    for (int64_t i = 0; i < n; i++) {
        *mean += sum[i] / (double)(n * L);
    }
    return DTX_OK;
}

static int64_t tokens_of_sequence(const dtx_pretrainer *t)
{
    return t->windows.length;
}

const dtx_pretrain_task dtx_pretrain_lm = {load, NULL, tokens_of_sequence, shard, evaluate, NULL};
