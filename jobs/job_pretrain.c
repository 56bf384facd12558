/* job_pretrain.c - trains a small decoder from scratch: text -> tokens -> windows -> gradient of logical shards, summed
 * over ranks -> AdamW -> a Hugging Face folder. Every rank holds the whole model and optimizer; rank 0 reads and writes. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "jobs/job.h"
#include "jobs/training.h"
#include "src/file.h"
#include "src/hash.h"
#include "src/log.h"
#include "src/mem.h"
#include "src/pretrain.h"

enum {
    MAX_SHARD = 256,   /* windows of a shard; pretrain.batch is at most DTX_TRAINING_LEAVES times that */
    EVAL_WINDOWS = 64, /* held-out windows that an evaluation looks at */
    MAX_MATRICES = 4096
};
static const char END_OF_TEXT[] = "<|endoftext|>";
static const char PADDING[] = "<|padding|>";

typedef struct {
    dtx_job *job;
    const dtx_config *c;
    dtx_run *run;
    char name[80], tokenizer_dir[1200];
    dtx_stream stream;
    dtx_windows windows, held;
    dtx_arch arch;
    dtx_model *model;
    dtx_tape *tape;
    double *losses;                  /* of one shard's windows */
    dtx_span decay[MAX_MATRICES];    /* weight decay leaves norms and biases alone */
    dtx_training training;
} trainer;

/* --- data: rank 0 reads, trains the vocabulary and encodes; the streams are broadcast --- */

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

static dtx_status make_tokenizer(trainer *t, const dtx_texts *texts)
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
    DTX_GO(dtx_file_mkdirs(t->tokenizer_dir));
    DTX_GO(dtx_bpe_train(text, len, texts->n, t->c->pretrain.vocab, false, t->tokenizer_dir));
done:
    dtx_free(len);
    dtx_free(text);
    return st;
}

typedef struct { /* what rank 0 tells the others about the data */
    int64_t n_train, n_held, vocab;
    int32_t eos, pad;
    char digest[65];
} data_facts;

static dtx_status load_data_root(trainer *t, void **message, size_t *size)
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

static dtx_status load_data(trainer *t, data_facts *facts)
{
    void *message = NULL;
    size_t size = 0;
    dtx_status st = DTX_OK;

    if (t->job->par.rank == 0) {
        st = load_data_root(t, &message, &size);
    }
    DTX_GO(dtx_par_bcast(&t->job->par, st, &message, &size));
    memcpy(facts, message, sizeof *facts);
    t->stream.n_train = facts->n_train;
    t->stream.n_held = facts->n_held;
    st = DTX_NEW_RAW(t->stream.train, facts->n_train);
    if (st == DTX_OK) {
        st = DTX_NEW_RAW(t->stream.held, facts->n_held);
    }
    DTX_GO(dtx_par_agree(&t->job->par, st));
    const char *tokens = (const char *)message + sizeof *facts;
    memcpy(t->stream.train, tokens, (size_t)facts->n_train * sizeof(int32_t));
    memcpy(t->stream.held, tokens + (size_t)facts->n_train * sizeof(int32_t), (size_t)facts->n_held * sizeof(int32_t));
    st = dtx_windows_init(&t->windows, facts->n_train, t->c->pretrain.context, (uint64_t)t->c->seed);
    if (st == DTX_OK && facts->n_held > 1) {
        st = dtx_windows_init(&t->held, facts->n_held, t->c->pretrain.context, (uint64_t)t->c->seed);
    }
    st = dtx_par_agree(&t->job->par, st);
done:
    dtx_free(message);
    return st;
}

/* --- gradient of a shard, held-out loss --- */

static dtx_status shard(void *user, int64_t step, int64_t leaf, float *grads, double *loss, double *tokens)
{
    trainer *t = user;
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
    trainer *t = user;
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

/* --- the model and its training --- */

static dtx_status set_up(trainer *t, const data_facts *facts)
{
    const dtx_config *c = t->c;
    dtx_training *tr = &t->training;

    DTX_TRY(dtx_pretrain_arch(c->pretrain.arch, c->pretrain.layers, c->pretrain.hidden, c->pretrain.heads, facts->vocab,
                              c->pretrain.context, facts->eos, facts->pad, &t->arch));
    DTX_TRY(dtx_model_new(&t->arch, (uint64_t)c->seed, &t->model));
    DTX_TRY(dtx_tape_new(t->model, false, &t->tape));
    *tr = (dtx_training){.job = t->job, .run = t->run, .name = t->name, .n_steps = c->pretrain.steps,
                         .n_leaves = c->pretrain.batch < DTX_TRAINING_LEAVES ? c->pretrain.batch : DTX_TRAINING_LEAVES,
                         .n_params = dtx_model_arena_size(t->model), .params = dtx_model_arena(t->model),
                         .lr = c->pretrain.lr, .clip = c->pretrain.clip, .warmup_steps = c->pretrain.warmup_steps,
                         .eval_every = c->pretrain.eval_every, .save_every = c->pretrain.save_every,
                         .adamw = {0.9, 0.95, 1e-8, c->pretrain.weight_decay}, .decay = t->decay,
                         .shard = shard, .evaluate = evaluate, .user = t};
    DTX_TRY(dtx_schedule_parse(c->pretrain.schedule, &tr->schedule));
    for (int64_t i = 0; i < dtx_model_n_params(t->model); i++) {
        const dtx_param *p = dtx_model_param(t->model, i);
        if (strstr(p->name, "norm") == NULL && strstr(p->name, "ln_") == NULL && strstr(p->name, "bias") == NULL
            && tr->n_decay < MAX_MATRICES) {
            t->decay[tr->n_decay++] = (dtx_span){p->offset, p->n_elements};
        }
    }
    int64_t longest = t->windows.length > t->held.length ? t->windows.length : t->held.length;
    DTX_TRY(DTX_NEW(t->losses, MAX_SHARD * longest));
    snprintf(tr->state.identity, sizeof tr->state.identity,
             "arch=%s layers=%" PRId64 " hidden=%" PRId64 " heads=%" PRId64 " vocab=%" PRId64 " context=%" PRId64
             " steps=%" PRId64 " batch=%" PRId64 " lr=%.9g warmup=%" PRId64 " schedule=%s clip=%.9g weight_decay=%.9g"
             " holdout=%.9g eval_every=%" PRId64 " seed=%" PRId64 " reduce=%s text=%s",
             c->pretrain.arch, c->pretrain.layers, c->pretrain.hidden, c->pretrain.heads, facts->vocab, c->pretrain.context,
             c->pretrain.steps, c->pretrain.batch, c->pretrain.lr, c->pretrain.warmup_steps, c->pretrain.schedule,
             c->pretrain.clip, c->pretrain.weight_decay, c->pretrain.holdout, c->pretrain.eval_every, c->seed, c->reduce,
             facts->digest);
    return DTX_OK;
}

static void tear_down(trainer *t)
{
    dtx_training_close(&t->training);
    dtx_free(t->losses);
    dtx_tape_del(t->tape);
    dtx_model_del(t->model);
    dtx_windows_free(&t->windows);
    dtx_windows_free(&t->held);
    dtx_stream_free(&t->stream);
    dtx_run_close(t->run);
    dtx_free(t);
}

/* --- results --- */

static dtx_status copy_file(const char *from_dir, const char *to_dir, const char *name)
{
    char from[2300], to[2300];
    dtx_file_map map;

    DTX_TRY(dtx_file_join(from, sizeof from, from_dir, name));
    DTX_TRY(dtx_file_join(to, sizeof to, to_dir, name));
    DTX_TRY(dtx_file_map_open(from, &map));
    dtx_status st = dtx_file_write(to, map.data, map.size);
    dtx_file_map_close(&map);
    return st;
}

static dtx_status write_model(trainer *t)
{
    const char *dir = t->c->model.path;

    DTX_TRY(dtx_file_mkdirs(dir));
    DTX_TRY(copy_file(t->tokenizer_dir, dir, "tokenizer.json"));
    DTX_TRY(copy_file(t->tokenizer_dir, dir, "tokenizer_config.json"));
    return dtx_model_save(t->model, dir);
}

/* --- what is there already --- */

/* A model that another run made is not written over without being told to. */
static dtx_status check_target(const trainer *t, const dtx_training_found *found)
{
    const char *dir = t->c->model.path;
    char weights[1200], torch[1200];

    if (dir[0] == '\0') {
        return DTX_FAIL(DTX_ERR_USAGE, "pretrain needs a folder for the model: --set model.path=DIR");
    }
    DTX_TRY(dtx_file_join(weights, sizeof weights, dir, "model.safetensors"));
    DTX_TRY(dtx_file_join(torch, sizeof torch, dir, "pytorch_model.bin"));
    bool there = dtx_file_exists(weights) || dtx_file_exists(torch);
    if (t->job->redo) {
        return DTX_OK;
    }
    if (there && !found->complete && !found->begun) {
        return DTX_FAIL(DTX_ERR_USAGE, "%s already holds a model that this run did not train; choose another model.path, or "
                        "say --redo to replace it", dir);
    }
    if (found->complete && !there) {
        return DTX_FAIL(DTX_ERR_MISSING, "%s: the training of this run is complete, but its model is gone; say --redo to train "
                        "it again", weights);
    }
    return DTX_OK;
}

static dtx_status check_settings(const trainer *t, const dtx_training_found *found)
{
    const char *mine = t->training.state.identity;

    if (found->settings != NULL && strcmp(found->settings, mine) != 0) {
        return DTX_FAIL(DTX_ERR_USAGE, "%s holds a training with other settings or data.\n  there: %s\n  here:  %s\n"
                        "choose another --run, or say --redo to replace it", t->run->path, found->settings, mine);
    }
    return DTX_OK;
}

static dtx_status print_plan(const trainer *t)
{
    int64_t n = 0;

    DTX_TRY(dtx_arch_count(&t->arch, &n));
    double mb = (double)n * 4 / 1e6;
    dtx_log(DTX_LOG_INFO, "pretrain", "plan: %" PRId64 " parameters, %" PRId64 " steps of %" PRId64 " x %" PRId64
            " tokens; a rank holds %.1f MB of weights, gradients and optimizer; checkpoint %.1f MB", n, t->c->pretrain.steps,
            t->c->pretrain.batch, t->windows.length, 5 * mb, 3 * mb);
    return DTX_OK;
}

/* --- the job --- */

static dtx_status train(trainer *t)
{
    const dtx_training *tr = &t->training;
    dtx_status st = DTX_OK;

    DTX_TRY(dtx_training_open(&t->training));
    DTX_TRY(dtx_training_run(&t->training));
    if (t->job->par.rank == 0) {
        st = write_model(t);
    }
    DTX_TRY(dtx_par_agree(&t->job->par, st));
    DTX_TRY(dtx_training_publish(&t->training));
    const double *loss = tr->curves[DTX_CURVE_LOSS].value, *eval = tr->curves[DTX_CURVE_EVAL].value;
    dtx_log(DTX_LOG_INFO, "pretrain", "done: loss %.4f -> %.4f, held-out %.4f; %" PRId64 " parameters in %s", loss[0],
            loss[tr->n_steps - 1], eval[tr->n_steps - 1], tr->n_params, t->c->model.path);
    return DTX_OK;
}

static dtx_status run_pretrain(dtx_job *job)
{
    trainer *t = NULL;
    dtx_training_found found = {0};
    data_facts facts;
    dtx_status st = DTX_OK;

    DTX_TRY(dtx_par_agree(&job->par, DTX_NEW(t, 1)));
    t->job = job;
    t->c = &job->config;
    snprintf(t->name, sizeof t->name, "pretrain-%s", job->variant);
    DTX_GO(dtx_run_open(&job->par, t->c->run, &t->run));
    snprintf(t->tokenizer_dir, sizeof t->tokenizer_dir, "%s/checkpoints/%s-tokenizer", t->run->dir, t->name);
    DTX_GO(dtx_training_find(t->run, t->name, &found));
    DTX_GO(dtx_par_agree(&job->par, job->par.rank == 0 ? check_target(t, &found) : DTX_OK));
    DTX_GO(load_data(t, &facts));
    DTX_GO(dtx_par_agree(&job->par, set_up(t, &facts)));
    if (job->dry_run) {
        st = print_plan(t);
        goto done;
    }
    if (found.complete && !job->redo) {
        DTX_GO(dtx_par_agree(&job->par, check_settings(t, &found)));
        dtx_log(DTX_LOG_INFO, "pretrain", "nothing to do: the training is complete, the model is in %s", t->c->model.path);
        goto done;
    }
    if (job->redo && (found.complete || found.begun)) {
        DTX_GO(dtx_training_discard(t->run, t->name));
    }
    DTX_GO(dtx_run_provenance_begin(t->run, "pretrain", job->argc, job->argv, job->config_json));
    st = train(t);
    dtx_run_provenance_end(t->run, st, NULL);
done:
    dtx_free(found.settings);
    tear_down(t);
    return st;
}

const dtx_job_def dtx_job_pretrain = {
    .name = "pretrain",
    .args = NULL,
    .summary = "train a small language model from scratch on your text",
    .help = "Trains a byte-level BPE vocabulary and a decoder (GPT-NeoX or Falcon block) on plain text, JSONL or CSV, over any "
            "number of ranks, and writes a Hugging Face folder to model.path. A stopped or killed training continues with the "
            "same command and ends with the same bytes.\n\n"
            "  mpirun -n 2 detoxlens pretrain --run runs/small --set model.path=models/small \\\n"
            "      --set 'data.text=[\"corpus.txt\", \"talk.csv:text\"]' --set pretrain.steps=2000",
    .bit = DTX_JOB_PRETRAIN,
    .parallel = true,
    .own_dry_run = true,
    .run = run_pretrain,
};
