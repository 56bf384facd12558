/* finetune_job.c - counter-narrative fine-tuning: dialogues -> samples -> LoRA gradients of logical shards, summed over
 * ranks -> AdamW -> a PEFT folder. The base stays mapped and untouched; every rank holds adapter and optimizer. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "jobs/program/job.h"
#include "jobs/train/lora.h"
#include "src/base/file.h"
#include "src/training/finetune.h"
#include "src/base/hash.h"
#include "src/base/log.h"
#include "src/base/mem.h"

enum { MAX_BATCH = 1024 };

typedef struct {
    dtx_lora_training l;
    const dtx_config *c;
    dtx_reduce_range *ranges;        /* one a layer, from the top down: the order in which gradients become final */
    dtx_samples samples;
    char digest[DTX_SHA256_TEXT];    /* of the dialogues */
    int64_t parts;                   /* units that a micro-batch is cut into */
} trainer;

/* --- data: rank 0 reads and tokenizes, all get the samples --- */

typedef struct {
    int64_t n, rows, n_truncated;
    char digest[DTX_SHA256_TEXT];
} sample_facts;

static dtx_status read_data(void *user, void **message, size_t *size)
{
    trainer *t = user;
    const dtx_config *c = t->c;
    dtx_dialogues d = {0};
    dtx_tokenizer *tok = NULL;
    dtx_samples s = {0};
    sample_facts facts = {0};
    dtx_status st = DTX_OK;

    DTX_GO(dtx_lora_dialogues(t->l.job, &d));
    if (d.n_odd > 0) {
        dtx_log(DTX_LOG_INFO, "finetune", "the last turn of %" PRId64 " dialogues of odd length is left out", d.n_odd);
    }
    DTX_GO(dtx_tokenizer_open(c->model.path, &tok));
    DTX_GO(dtx_samples_from_dialogues(tok, &d, c->finetune.context, dtx_eos_first(&t->l.base.arch.eos),
                                      c->finetune.loss_on == DTX_SET_LOSS_ON_ASSISTANT, &s));
    facts.n = s.n;
    facts.rows = s.offset[s.n];
    facts.n_truncated = s.n_truncated;
    DTX_GO(dtx_sha256_bytes(d.bytes, (size_t)d.offset[d.n], facts.digest));
    dtx_log(DTX_LOG_INFO, "finetune", "%" PRId64 " samples of %" PRId64 " dialogues, %" PRId64 " tokens, %" PRId64
            " samples cut at %" PRId64 " tokens", s.n, d.n_dialogues, facts.rows, s.n_truncated, c->finetune.context);
    const size_t offsets = (size_t)(s.n + 1) * sizeof(int64_t), rows = (size_t)facts.rows * sizeof(int32_t);
    *size = sizeof facts + offsets + 2 * rows;
    char *m = dtx_malloc(*size, 1);
    DTX_GO(dtx_mem_check(m, *size, 1, "samples"));
    memcpy(m, &facts, sizeof facts);
    memcpy(m + sizeof facts, s.offset, offsets);
    memcpy(m + sizeof facts + offsets, s.id, rows);
    memcpy(m + sizeof facts + offsets + rows, s.label, rows);
    *message = m;
done:
    dtx_samples_free(&s);
    dtx_tokenizer_close(tok);
    dtx_dialogues_free(&d);
    return st;
}

static dtx_status unpack(void *user, const char *m)
{
    trainer *t = user;
    sample_facts facts;
    dtx_samples *s = &t->samples;

    memcpy(&facts, m, sizeof facts);
    const size_t offsets = (size_t)(facts.n + 1) * sizeof(int64_t), rows = (size_t)facts.rows * sizeof(int32_t);
    s->n = facts.n;
    s->n_truncated = facts.n_truncated;
    DTX_TRY(DTX_NEW_RAW(s->offset, facts.n + 1));
    DTX_TRY(DTX_NEW_RAW(s->id, facts.rows));
    DTX_TRY(DTX_NEW_RAW(s->label, facts.rows));
    memcpy(s->offset, m + sizeof facts, offsets);
    memcpy(s->id, m + sizeof facts + offsets, rows);
    memcpy(s->label, m + sizeof facts + offsets + rows, rows);
    memcpy(t->digest, facts.digest, sizeof t->digest);
    return dtx_sample_order_init(&t->l.order, s->n, t->c->finetune.holdout, t->c->finetune.batch, t->c->finetune.accumulate,
                                 t->c->finetune.epochs, (uint64_t)t->c->seed);
}

/* --- gradient of a shard, held-out loss --- */

/* The gradients of the layers from the top down to this one are final. */
static void layer_done(void *user, int64_t layer)
{
    trainer *t = user;

    dtx_training_ready(&t->l.training, (int)(t->l.base.arch.n_layers - layer));
}

/* A step's samples are cut into units: `parts` consecutive pieces of each micro-batch. A leaf takes consecutive units. */
static dtx_status shard(void *user, int64_t step, int64_t leaf, float *grads, double *loss, double *tokens)
{
    trainer *t = user;
    const dtx_config *c = t->c;
    const int64_t accumulate = c->finetune.accumulate, units = accumulate * t->parts, leaves = t->l.training.n_leaves;
    const bool by_token = c->finetune.loss_average == DTX_SET_LOSS_AVERAGE_TOKEN;
    int64_t sample[MAX_BATCH];
    const double ear = c->finetune.ear_weight;
    double all = 0, all_entropies = 0;

    for (int64_t a = 0; by_token && a < accumulate; a++) {
        int64_t n = dtx_sample_order_get(&t->l.order, step * accumulate + a, sample);
        for (int64_t i = 0; i < n; i++) {
            all += (double)dtx_samples_tokens(&t->samples, sample[i]);
            all_entropies += (double)dtx_samples_entropies(&t->l.base.arch, &t->samples, sample[i]);
        }
    }
    dtx_adapter *view;
    DTX_TRY(dtx_adapter_view(t->l.adapter, grads, &view));
    dtx_status st = DTX_OK;
    for (int64_t u = units * leaf / leaves; u < units * (leaf + 1) / leaves; u++) {
        int64_t n, first, count = dtx_sample_order_unit(&t->l.order, step, t->parts, u, sample, &n, &first);
        double micro = 0, entropies = 0, sum = 0;
        for (int64_t i = 0; i < n; i++) {
            micro += (double)dtx_samples_tokens(&t->samples, sample[i]);
            entropies += (double)dtx_samples_entropies(&t->l.base.arch, &t->samples, sample[i]);
        }
        double weight = by_token ? 1 / all : 1 / (micro * (double)accumulate);
        double entropy_weight = by_token ? 1 / all_entropies : 1 / (entropies * (double)accumulate);
        if (count == 0 || micro == 0) {
            continue;
        }
        dtx_wanted want = {.lora = view, .entropy = -(float)(ear * entropy_weight)};
        if (t->l.training.last_leaf && u + 1 == units * (leaf + 1) / leaves) { /* the step's last piece here: what is final is sent on */
            want.layer_done = layer_done;
            want.user = t;
        }
        DTX_GO(dtx_samples_loss(t->l.base.model, t->l.adapter, t->l.tape, &t->samples, sample + first, count, (float)weight,
                                c->lora.dropout, (uint64_t)c->seed, step, &sum, &want));
        t->l.training.extra_part[0][leaf] += dtx_tape_entropy(t->l.tape) * entropy_weight; /* 0 without EAR */
        *loss += sum * weight; /* comparable with the held-out loss: the entropy is a curve of its own */
        for (int64_t i = first; i < first + count; i++) {
            *tokens += (double)(t->samples.offset[sample[i] + 1] - t->samples.offset[sample[i]]);
        }
    }
done:
    dtx_adapter_del(view);
    return st;
}

/* Mean over the held-out samples' tokens, adapter on, no dropout. Each rank takes every size-th sample. */
static dtx_status evaluate(void *user, double *mean)
{
    trainer *t = user;
    const dtx_par *par = &t->l.job->par;
    double *sum = NULL, tokens = 0;
    dtx_status st = DTX_NEW(sum, t->l.order.n_held);

    for (int64_t i = par->rank; st == DTX_OK && i < t->l.order.n_held; i += par->size) {
        st = dtx_samples_loss(t->l.base.model, t->l.adapter, NULL, &t->samples, &t->l.order.held[i], 1, 1.0f, 0, 0, 0,
                              &sum[i], NULL);
    }
    st = dtx_par_agree(par, st);
    if (st == DTX_OK) {
        st = dtx_sum_disjoint(par, sum, (int)t->l.order.n_held);
    }
    *mean = 0;
    for (int64_t i = 0; st == DTX_OK && i < t->l.order.n_held; i++) {
        *mean += sum[i];
        tokens += (double)dtx_samples_tokens(&t->samples, t->l.order.held[i]);
    }
    *mean = tokens > 0 ? *mean / tokens : NAN;
    dtx_free(sum);
    return st;
}

/* --- the adapter and its training --- */

static const dtx_training_curve attention_entropy = {"attention_entropy", true, true};

static dtx_status layer_ranges(trainer *t)
{
    const int64_t L = t->l.base.arch.n_layers;
    int64_t at = 0;

    DTX_TRY(DTX_NEW(t->ranges, L));
    for (int64_t layer = 0; layer < L; layer++) {
        dtx_reduce_range *g = &t->ranges[L - 1 - layer];
        g->first = at;
        for (int k = 0; k < DTX_MODULES; k++) {
            const dtx_lora *l = &t->l.adapter->slot[layer * DTX_MODULES + k];
            g->count += l->A != NULL ? l->r * (l->n_in + l->n_out) : 0;
        }
        at += g->count;
    }
    return DTX_OK;
}

static dtx_status set_up(trainer *t)
{
    const dtx_config *c = t->c;
    dtx_training *tr = &t->l.training;

    DTX_TRY(dtx_lora_begin(c, &t->l.base, &t->l.adapter));
    DTX_TRY(layer_ranges(t));
    DTX_TRY(dtx_tape_new(t->l.base.model, c->finetune.checkpoint_layers, &t->l.tape));
    t->parts = DTX_TRAINING_LEAVES / c->finetune.accumulate;
    t->parts = t->parts < 1 ? 1 : t->parts > c->finetune.batch ? c->finetune.batch : t->parts;
    const int64_t units = c->finetune.accumulate * t->parts;
    *tr = (dtx_training){.job = t->l.job, .run = t->l.run, .name = t->l.name, .n_steps = t->l.order.n_steps,
                         .n_leaves = units < DTX_TRAINING_LEAVES ? units : DTX_TRAINING_LEAVES,
                         .n_params = t->l.adapter->n_params, .params = t->l.adapter->arena, .lr = c->finetune.lr,
                         .clip = c->finetune.clip, .warmup_steps = c->finetune.warmup_steps,
                         .eval_every = c->finetune.eval_every, .save_every = c->finetune.save_every,
                         .adamw = {0.9, 0.999, 1e-8, 0}, .ranges = t->ranges, .n_ranges = (int)t->l.base.arch.n_layers,
                         .shard = shard, .evaluate = evaluate, .user = t,
                         .extra = &attention_entropy, .n_extra = c->finetune.ear_weight > 0};
    tr->schedule = dtx_training_schedule(c->finetune.schedule);
    snprintf(tr->state.identity, sizeof tr->state.identity,
                     "init=%s r=%" PRId64 " alpha=%.9g dropout=%.9g epochs=%" PRId64 " batch=%" PRId64 " accumulate=%" PRId64
                     " lr=%.9g warmup=%" PRId64 " schedule=%s context=%" PRId64 " holdout=%.9g loss_on=%s loss_average=%s"
                     " ear_weight=%.9g clip=%.9g eval_every=%" PRId64 " seed=%" PRId64
                     " reduce=%s dialogues=%s weights=%s adapter=%s",
                     c->finetune.init, c->lora.r, c->lora.alpha, c->lora.dropout, c->finetune.epochs, c->finetune.batch,
                     c->finetune.accumulate, c->finetune.lr, c->finetune.warmup_steps, dtx_config_word(c, "finetune.schedule"),
                     c->finetune.context, c->finetune.holdout, dtx_config_word(c, "finetune.loss_on"), dtx_config_word(c, "finetune.loss_average"),
                     c->finetune.ear_weight, c->finetune.clip, c->finetune.eval_every, c->seed, dtx_config_word(c, "reduce"), t->digest,
                     t->l.base.fingerprint, t->l.base.adapter_sha256);
    dtx_lora_identify(&t->l);
    return DTX_OK;
}

static dtx_status left_to_do(dtx_plan *p, void *user)
{
    const trainer *t = user;

    p->first_step = t->l.training.state.step;
    DTX_TRY(dtx_plan_room(p, t->samples.n, 1));
    for (int64_t i = 0; i < t->samples.n; i++) {
        p->len[i] = t->samples.offset[i + 1] - t->samples.offset[i];
        p->labels[i] = dtx_samples_tokens(&t->samples, i);
    }
    return DTX_OK;
}

static dtx_status train(trainer *t)
{
    dtx_training *tr = &t->l.training;

    DTX_TRY(dtx_lora_train(&t->l, left_to_do, t));
    dtx_log(DTX_LOG_INFO, "finetune", "done: loss %.4f -> %.4f, held-out %.4f; adapter of %" PRId64 " parameters in %s",
            tr->curves[DTX_CURVE_LOSS].value[0], tr->curves[DTX_CURVE_LOSS].value[tr->n_steps - 1],
            tr->curves[DTX_CURVE_EVAL].value[tr->n_steps - 1], tr->n_params, t->l.out_dir);
    return DTX_OK;
}

static dtx_status run_finetune(dtx_job *job)
{
    trainer *t = NULL;
    char plan[256];
    bool go = false;
    dtx_status st = DTX_OK;

    DTX_TRY(dtx_par_agree(&job->par, DTX_NEW(t, 1)));
    t->c = &job->config;
    DTX_GO(dtx_lora_open(job, t->c->finetune.init, &t->l));
    DTX_GO(dtx_lora_share(&job->par, read_data, unpack, t));
    DTX_GO(dtx_par_agree(&job->par, set_up(t)));
    snprintf(plan, sizeof plan, "%" PRId64 " steps of %" PRId64 " x %" PRId64 " samples, %" PRId64
            " trainable parameters, checkpoint %.1f MB", t->l.order.n_steps, t->c->finetune.accumulate, t->c->finetune.batch,
            t->l.adapter->n_params, 12e-6 * (double)t->l.adapter->n_params);
    DTX_GO(dtx_lora_ready(job, t->l.run, t->l.name, t->l.training.state.identity, t->l.out_dir, plan, &go));
    if (go) {
        st = dtx_stage_end(t->l.run, train(t));
    }
done:
    dtx_lora_close(&t->l);
    dtx_samples_free(&t->samples);
    dtx_free(t->ranges);
    dtx_free(t);
    return st;
}

const dtx_job_def dtx_job_finetune = {
    .name = "finetune",
    .args = NULL,
    .summary = "turn the model against hate: LoRA fine-tuning on counter-narratives",
    .help = "Trains LoRA adapters on dialogues in DIALOCONAN's columns, over any number of ranks, and writes them in PEFT's layout "
            "to RUN/adapters/V. The base model is not touched. A stopped or killed training continues with the same command and "
            "ends with the same bytes.\n\n"
            "  mpirun -n 2 detoxlens finetune --variant FT --run runs/ft --set model.path=models/small \\\n"
            "      --set data.dialogues=DIALOCONAN.csv --epochs 4",
    .bit = DTX_JOB_FINETUNE,
    .parallel = true,
    .own_dry_run = true,
    .run = run_finetune,
};
