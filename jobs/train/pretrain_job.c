/* pretrain_job.c - trains a small model from scratch: data of a task (pretrain_lm.c, pretrain_classifier.c) -> gradient of
 * logical shards, summed over ranks -> AdamW -> a Hugging Face folder. Every rank holds the whole model and optimizer; rank
 * 0 reads and writes. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "jobs/plan/forecast.h"
#include "jobs/train/pretrain.h"
#include "jobs/shared/stage.h"
#include "src/base/file.h"
#include "src/base/log.h"
#include "src/base/mem.h"

/* --- the model and its training --- */

static dtx_status set_up(dtx_pretrainer *t)
{
    const dtx_config *c = t->c;
    const bool taught = c->pretrain.teacher != DTX_SET_TEACHER_NONE;
    dtx_training *tr = &t->training;

    DTX_TRY(dtx_model_new(&t->arch, (uint64_t)c->seed, &t->model));
    DTX_TRY(dtx_tape_new(t->model, false, &t->tape));
    DTX_TRY(DTX_NEW(t->decay, dtx_model_n_params(t->model)));
    *tr = (dtx_training){.job = t->job, .run = t->run, .name = t->name, .n_steps = c->pretrain.steps,
                         .n_leaves = c->pretrain.batch < DTX_TRAINING_LEAVES ? c->pretrain.batch : DTX_TRAINING_LEAVES,
                         .n_params = dtx_model_arena_size(t->model), .params = dtx_model_arena(t->model),
                         .lr = c->pretrain.lr, .average = c->pretrain.average, .clip = c->pretrain.clip,
                         .warmup_steps = c->pretrain.warmup_steps,
                         .eval_every = c->pretrain.eval_every, .save_every = c->pretrain.save_every,
                         .adamw = {0.9, 0.95, 1e-8, c->pretrain.weight_decay}, .decay = t->decay,
                         .shard = t->task->shard, .evaluate = t->task->evaluate, .extra = t->task->extra, .n_extra = t->task->extra != NULL, .user = t};
    tr->schedule = dtx_training_schedule(c->pretrain.schedule);
    for (int64_t i = 0; i < dtx_model_n_params(t->model); i++) {
        const dtx_param *p = dtx_model_param(t->model, i);
        if (dtx_role_decays(p->role)) {
            t->decay[tr->n_decay++] = (dtx_span){p->offset, p->n_elements};
        }
    }
    snprintf(tr->state.identity, sizeof tr->state.identity,
             "task=%s arch=%s layers=%" PRId64 " hidden=%" PRId64 " heads=%" PRId64 " vocab=%" PRId64 " context=%" PRId64
             " steps=%" PRId64 " batch=%" PRId64 " lr=%.9g warmup=%" PRId64 " schedule=%s clip=%.9g weight_decay=%.9g"
             " holdout=%.9g mask=%.9g average=%.9g eval_every=%" PRId64 " seed=%" PRId64 " reduce=%s text=%s%s%s",
             dtx_config_word(c, "pretrain.task"), t->arch.model_type, c->pretrain.layers, c->pretrain.hidden, c->pretrain.heads, t->vocab, c->pretrain.context,
             c->pretrain.steps, c->pretrain.batch, c->pretrain.lr, c->pretrain.warmup_steps, dtx_config_word(c, "pretrain.schedule"),
             c->pretrain.clip, c->pretrain.weight_decay, c->pretrain.holdout, c->pretrain.mask, c->pretrain.average,
             c->pretrain.eval_every, c->seed, dtx_config_word(c, "reduce"), t->digest,
             taught ? " teacher=" : "", taught ? dtx_config_word(c, "pretrain.teacher") : "");
    return DTX_OK;
}

/* The settings say what is to do, but the shortest texts of a classifier. */
static dtx_status left_to_do(dtx_plan *p, void *user)
{
    const dtx_pretrainer *t = user;

    p->first_step = t->training.state.step;
    p->n = t->c->pretrain.batch;
    return DTX_OK;
}

static void tear_down(dtx_pretrainer *t)
{
    dtx_training_close(&t->training);
    dtx_free(t->losses);
    dtx_free(t->decay);
    dtx_tape_del(t->tape);
    dtx_model_del(t->model);
    dtx_windows_free(&t->windows);
    dtx_windows_free(&t->held);
    dtx_stream_free(&t->stream);
    dtx_ngrams_del(t->teacher);
    dtx_labelled_order_free(&t->order);
    dtx_labelled_free(&t->labelled);
    dtx_run_close(t->run);
    dtx_free(t);
}

/* --- results --- */

static dtx_status write_model(dtx_pretrainer *t)
{
    const char *dir = t->c->model.path;

    DTX_TRY(dtx_file_mkdirs(dir));
    DTX_TRY(dtx_file_copy(t->tokenizer_dir, dir, "tokenizer.json"));
    DTX_TRY(dtx_file_copy(t->tokenizer_dir, dir, "tokenizer_config.json"));
    return dtx_model_save(t->model, dir);
}

/* --- what is there already --- */

/* A model that another run made is not written over without being told to. */
static dtx_status check_target(const dtx_pretrainer *t, const dtx_training_found *found)
{
    const char *dir = t->c->model.path;
    char weights[1200], torch[1200];

    if (t->task == &dtx_pretrain_lm && t->c->pretrain.teacher != DTX_SET_TEACHER_NONE) {
        return DTX_FAIL(DTX_ERR_USAGE, "pretrain.teacher is for --task classifier");
    }
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

static dtx_status check_settings(const dtx_pretrainer *t, const dtx_training_found *found)
{
    const char *mine = t->training.state.identity;

    if (found->settings != NULL && strcmp(found->settings, mine) != 0) {
        return DTX_FAIL(DTX_ERR_USAGE, "%s holds a training with other settings or data; there: %s; here: %s; "
                        "choose another --run, or say --redo to replace it", t->run->path, found->settings, mine);
    }
    return DTX_OK;
}

static dtx_status print_plan(const dtx_pretrainer *t)
{
    int64_t n = 0;

    DTX_TRY(dtx_arch_count(&t->arch, &n));
    double mb = (double)n * 4 / 1e6;
    dtx_log(DTX_LOG_INFO, "pretrain", "plan: %" PRId64 " parameters, %" PRId64 " steps of %" PRId64 " x %" PRId64
            " tokens at most; a rank holds %.1f MB of weights, gradients and optimizer; checkpoint %.1f MB", n, t->c->pretrain.steps,
            t->c->pretrain.batch, t->task->tokens_of_sequence(t), 5 * mb, 3 * mb);
    return DTX_OK;
}

/* --- the job --- */

static dtx_status train(dtx_pretrainer *t)
{
    const dtx_training *tr = &t->training;
    dtx_status st = DTX_OK;

    DTX_TRY(dtx_par_agree(&t->job->par, t->task->begin != NULL ? t->task->begin(t) : DTX_OK));
    DTX_TRY(dtx_training_open(&t->training));
    DTX_TRY(dtx_forecast(t->job, t->run, "pretrain", t->model, left_to_do, t));
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
    dtx_pretrainer *t = NULL;
    dtx_training_found found = {0};
    dtx_status st = DTX_OK;

    DTX_TRY(dtx_par_agree(&job->par, DTX_NEW(t, 1)));
    t->job = job;
    t->c = &job->config;
    t->task = t->c->pretrain.task == DTX_SET_TASK_CLASSIFIER ? &dtx_pretrain_classifier : &dtx_pretrain_lm;
    snprintf(t->name, sizeof t->name, "pretrain-%s", job->variant);
    DTX_GO(dtx_training_open_run(job, &t->run));
    snprintf(t->tokenizer_dir, sizeof t->tokenizer_dir, "%s/checkpoints/%s-tokenizer", t->c->run, t->name);
    DTX_GO(dtx_training_find(t->run, t->name, &found));
    DTX_GO(DTX_ROOT(&job->par, check_target(t, &found)));
    DTX_GO(t->task->load(t));
    DTX_GO(dtx_par_agree(&job->par, set_up(t)));
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
    st = dtx_stage_end(t->run, train(t));
done:
    dtx_free(found.settings);
    tear_down(t);
    return st;
}

const dtx_job_def dtx_job_pretrain = {
    .name = "pretrain",
    .args = NULL,
    .summary = "train a small language model or classifier from scratch on your text",
    .help = "Trains a byte-level BPE vocabulary and a decoder (GPT-NeoX or Falcon block) on plain text, JSONL or CSV, over any "
            "number of ranks, and writes a Hugging Face folder to model.path. A stopped or killed training continues with the "
            "same command and ends with the same bytes.\n\n"
            "  mpirun -n 2 detoxlens pretrain --run runs/small --set model.path=models/small \\\n"
            "      --set 'data.text=[\"corpus.txt\", \"talk.csv:text\"]' --set pretrain.steps=2000\n\n"
            "With --task classifier it trains a RoBERTa classifier of labelled text: data.text names CSV or JSONL files with the "
            "field of the text, --label the column of the label, and --group a column whose equal values are held out together. "
            "Its held-out accuracy is logged and stored. On some ten thousand texts a linear classifier of n-grams knows more than a "
            "transformer finds in the labels: pretrain.teacher=ngrams fits one first and lets the transformer learn from it, on the "
            "texts and on pieces of them that no label would fit.\n\n"
            "  mpirun -n 2 detoxlens pretrain --task classifier --label type --group dialogue_id --run runs/judge \\\n"
            "      --set model.path=models/judge --set 'data.text=[\"DIALOCONAN.csv:text\"]'",
    .bit = DTX_JOB_PRETRAIN,
    .parallel = true,
    .own_dry_run = true,
    .run = run_pretrain,
};
