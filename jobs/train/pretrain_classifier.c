/* pretrain_classifier.c - task classifier: labelled text -> token ids -> cross entropy of a RoBERTa classifier, with the
 * accuracy on held-out groups. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "jobs/train/pretrain.h"
#include "src/base/log.h"
#include "src/base/mem.h"

enum {
    MAX_SHARD = 256,  /* texts of a shard; pretrain.batch is at most DTX_TRAINING_LEAVES times that */
    TEACHER_COST = 1, /* C of the n-gram classifier */
    EVAL_PARTS = 64   /* the held-out texts are cut into so many parts, whatever the ranks */
};

typedef struct { /* what rank 0 tells the others about the data */
    int64_t n, n_labels, n_held, n_groups, rows, vocab;
    char labels[DTX_MAX_LABELS][48], digest[DTX_SHA256_TEXT];
} facts_of;

/* --- data --- */

/* The vocabulary is learnt from the training texts alone. */
static dtx_status make_tokenizer(dtx_pretrainer *t)
{
    const dtx_labelled *l = &t->labelled;
    const char **text = NULL;
    size_t *len = NULL;
    int64_t n = 0;
    dtx_status st = DTX_OK;

    DTX_GO(DTX_NEW(text, l->n));
    DTX_GO(DTX_NEW(len, l->n));
    for (int64_t i = 0; i < l->n; i++) {
        if (!l->held[i]) {
            text[n] = l->texts.bytes + l->texts.offset[i];
            len[n++] = l->texts.offset[i + 1] - l->texts.offset[i];
        }
    }
    DTX_GO(dtx_pretrain_tokenizer(t, text, len, n, true));
done:
    dtx_free(len);
    dtx_free(text);
    return st;
}

static dtx_status digest_of(const dtx_labelled *l, char out[DTX_SHA256_TEXT])
{
    dtx_sha256 *h = NULL;
    dtx_status st = dtx_sha256_new(&h);

    if (st == DTX_OK) {
        st = dtx_sha256_add(h, l->texts.bytes, (size_t)l->texts.offset[l->n]);
    }
    if (st == DTX_OK) {
        st = dtx_sha256_add(h, l->label, (size_t)l->n * sizeof *l->label);
    }
    if (st == DTX_OK) {
        st = dtx_sha256_add(h, l->held, (size_t)l->n);
    }
    if (st == DTX_OK) {
        st = dtx_sha256_end(h, out);
    }
    dtx_sha256_del(h);
    return st;
}

static dtx_status load_root(dtx_pretrainer *t, void **message, size_t *size)
{
    const dtx_config *c = t->c;
    dtx_labelled *l = &t->labelled;
    dtx_tokenizer *tok = NULL;
    const char *spec[DTX_LIST_MAX];
    facts_of facts;
    dtx_status st = DTX_OK;

    if (c->data.text.n == 0 || c->pretrain.label[0] == '\0') {
        return DTX_FAIL(DTX_ERR_USAGE, "a classifier needs labelled text: --set 'data.text=[\"FILE.csv:FIELD\", ...]' and --label COLUMN");
    }
    for (int64_t i = 0; i < c->data.text.n; i++) {
        spec[i] = c->data.text.entry[i];
    }
    DTX_GO(dtx_labelled_read(spec, c->data.text.n, c->pretrain.label, c->pretrain.group, c->pretrain.holdout, (uint64_t)c->seed, l));
    DTX_GO(make_tokenizer(t));
    DTX_GO(dtx_tokenizer_open(t->tokenizer_dir, &tok));
    DTX_GO(dtx_labelled_encode(l, tok, c->pretrain.context));
    memset(&facts, 0, sizeof facts);
    facts = (facts_of){.n = l->n, .n_labels = l->n_labels, .n_held = l->n_held, .n_groups = l->n_groups, .rows = l->offset[l->n],
                       .vocab = (dtx_tokenizer_size(tok) + 15) / 16 * 16};
    memcpy(facts.labels, l->labels, sizeof facts.labels);
    DTX_GO(digest_of(l, facts.digest));
    dtx_log(DTX_LOG_INFO, "pretrain", "%" PRId64 " texts of %" PRId64 " groups with %" PRId64 " labels, %" PRId64
            " held out; %" PRId64 " tokens, %" PRId64 " ids", l->n, l->n_groups, l->n_labels, l->n_held, facts.rows,
            dtx_tokenizer_size(tok));
    const size_t offsets = (size_t)(l->n + 1) * sizeof(int64_t), ids = (size_t)facts.rows * sizeof(int32_t),
                 labels = (size_t)l->n * sizeof(int32_t);
    *size = sizeof facts + offsets + ids + labels + (size_t)l->n;
    char *m = dtx_malloc(*size, 1);
    DTX_GO(dtx_mem_check(m, *size, 1, "labelled texts"));
    *message = m;
    memcpy(m, &facts, sizeof facts);
    memcpy(m += sizeof facts, l->offset, offsets);
    memcpy(m += offsets, l->id, ids);
    memcpy(m += ids, l->label, labels);
    memcpy(m + labels, l->held, (size_t)l->n);
done:
    dtx_tokenizer_close(tok);
    dtx_labelled_free(l);
    return st;
}

static dtx_status unpack(dtx_pretrainer *t, const char *m)
{
    dtx_labelled *l = &t->labelled;
    facts_of facts;

    memcpy(&facts, m, sizeof facts);
    *l = (dtx_labelled){.n = facts.n, .n_labels = facts.n_labels, .n_held = facts.n_held, .n_groups = facts.n_groups};
    memcpy(l->labels, facts.labels, sizeof l->labels);
    t->vocab = facts.vocab;
    memcpy(t->digest, facts.digest, sizeof t->digest);
    const size_t offsets = (size_t)(l->n + 1) * sizeof(int64_t), ids = (size_t)facts.rows * sizeof(int32_t),
                 labels = (size_t)l->n * sizeof(int32_t);
    DTX_TRY(DTX_NEW_RAW(l->offset, l->n + 1));
    DTX_TRY(DTX_NEW_RAW(l->id, facts.rows));
    DTX_TRY(DTX_NEW_RAW(l->label, l->n));
    DTX_TRY(DTX_NEW_RAW(l->held, l->n));
    memcpy(l->offset, m += sizeof facts, offsets);
    memcpy(l->id, m += offsets, ids);
    memcpy(l->label, m += ids, labels);
    memcpy(l->held, m + labels, (size_t)l->n);
    DTX_TRY(dtx_labelled_order_init(&t->order, l, t->c->pretrain.batch, (uint64_t)t->c->seed));
    return dtx_labelled_arch(l, t->c->pretrain.arch, t->c->pretrain.layers, t->c->pretrain.hidden, t->c->pretrain.heads, t->vocab,
                             t->c->pretrain.context, &t->arch);
}

static dtx_status load(dtx_pretrainer *t)
{
    void *message = NULL;
    size_t size = 0;
    dtx_status st = t->job->par.rank == 0 ? load_root(t, &message, &size) : DTX_OK;

    st = dtx_par_bcast(&t->job->par, st, &message, &size);
    if (st == DTX_OK) {
        st = dtx_par_agree(&t->job->par, unpack(t, message));
    }
    dtx_free(message);
    return st;
}

/* Every rank fits the same teacher. */
static dtx_status begin(dtx_pretrainer *t)
{
    const dtx_labelled *l = &t->labelled;
    float score[DTX_MAX_LABELS], *share = NULL;
    int64_t right = 0;
    dtx_status st = DTX_OK;

    if (t->c->pretrain.teacher == DTX_SET_TEACHER_NONE) {
        return DTX_OK;
    }
    DTX_GO(dtx_distil_start(t->model, (uint64_t)t->c->seed));
    DTX_GO(dtx_ngrams_fit(l, TEACHER_COST, &t->teacher));
    DTX_GO(DTX_NEW_RAW(share, t->c->pretrain.context * l->n_labels));
    for (int64_t i = 0; i < l->n; i++) {
        int64_t best = 0;
        if (!l->held[i]) {
            continue;
        }
        dtx_ngrams_scores(t->teacher, l->id + l->offset[i] + 1, l->offset[i + 1] - l->offset[i] - 2, score, share);
        for (int64_t k = 1; k < l->n_labels; k++) {
            best = score[k] > score[best] ? k : best;
        }
        right += best == l->label[i];
    }
    dtx_log(DTX_LOG_INFO, "pretrain", "teacher: %" PRId64 " n-grams of tokens; held-out accuracy %.4f", dtx_ngrams_size(t->teacher),
            l->n_held > 0 ? (double)right / (double)l->n_held : NAN);
done:
    dtx_free(share);
    return st;
}

static int64_t tokens_of_sequence(const dtx_pretrainer *t)
{
    return t->c->pretrain.context;
}

/* --- gradient of a shard, held-out loss --- */

static dtx_status shard(void *user, int64_t step, int64_t leaf, float *grads, double *loss, double *tokens)
{
    dtx_pretrainer *t = user;
    const int64_t B = t->c->pretrain.batch, leaves = t->training.n_leaves, a = B * leaf / leaves, n = B * (leaf + 1) / leaves - a;
    const dtx_labelled_noise noise = {t->c->pretrain.mask, (uint64_t)t->c->seed, step};
    int64_t text[MAX_SHARD], right;
    double sum;

    for (int64_t i = 0; i < n; i++) {
        text[i] = dtx_labelled_order_get(&t->order, step, a + i);
        *tokens += (double)(t->labelled.offset[text[i] + 1] - t->labelled.offset[text[i]]);
    }
    if (t->teacher != NULL) {
        DTX_TRY(dtx_distil_loss(t->model, t->tape, &t->labelled, &t->order, t->teacher, text, n, &noise, (float)(1 / (double)B), &sum,
                                grads));
    } else {
        DTX_TRY(dtx_labelled_loss(t->model, t->tape, &t->labelled, text, n, &noise, (float)(1 / (double)B), &sum, &right, grads));
    }
    *loss += sum / (double)B;
    return DTX_OK;
}

/* Each rank takes every size-th part of the held-out texts. */
static dtx_status evaluate(void *user, double *mean)
{
    dtx_pretrainer *t = user;
    const dtx_par *par = &t->job->par;
    const dtx_labelled *l = &t->labelled;
    int64_t *held = NULL, n = 0;
    double sums[2 * EVAL_PARTS] = {0}, *loss = sums, *right = sums + EVAL_PARTS;
    dtx_status st = DTX_NEW(held, l->n_held + 1);

    for (int64_t i = 0; st == DTX_OK && i < l->n; i++) {
        if (l->held[i]) {
            held[n++] = i;
        }
    }
    for (int64_t p = par->rank; st == DTX_OK && p < EVAL_PARTS; p += par->size) {
        const int64_t last = n * (p + 1) / EVAL_PARTS;
        for (int64_t i = n * p / EVAL_PARTS; st == DTX_OK && i < last; i += MAX_SHARD) {
            double sum;
            int64_t hits;
            st = dtx_labelled_loss(t->model, NULL, l, held + i, last - i < MAX_SHARD ? last - i : MAX_SHARD, NULL, 1, &sum, &hits, NULL);
            if (st == DTX_OK) {
                loss[p] += sum;
                right[p] += (double)hits;
            }
        }
    }
    dtx_free(held);
    DTX_TRY(dtx_par_agree(par, st));
    DTX_TRY(dtx_sum_disjoint(par, sums, 2 * EVAL_PARTS));
    for (int p = 1; p < EVAL_PARTS; p++) {
        loss[0] += loss[p];
        right[0] += right[p];
    }
    *mean = n > 0 ? loss[0] / (double)n : NAN;
    t->training.extra_value[0] = n > 0 ? right[0] / (double)n : NAN;
    dtx_log(DTX_LOG_INFO, "pretrain", "step %" PRId64 ": held-out accuracy %.4f (%.0f of %" PRId64 " texts)", t->training.state.step,
            t->training.extra_value[0], right[0], n);
    return DTX_OK;
}

static const dtx_training_curve accuracy = {"eval_accuracy", false, false};

const dtx_pretrain_task dtx_pretrain_classifier = {load, begin, tokens_of_sequence, shard, evaluate, &accuracy};
