/* dpo_job.c - direct preference optimisation: dialogues -> pairs of answers -> LoRA gradients of logical shards, summed over
 * ranks -> AdamW -> a PEFT folder. The reference is the variant that training begins from: for IT the base with the adapter
 * off, so that there is no second model. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "jobs/train/dpo.h"
#include "jobs/program/job.h"
#include "jobs/train/lora.h"
#include "src/training/dpo.h"
#include "src/base/file.h"
#include "src/training/finetune.h"
#include "src/base/hash.h"
#include "src/base/log.h"
#include "src/base/mem.h"

enum { MAX_BATCH = 1024 };

/* TRL's names. */
enum { CHOSEN, REJECTED, ACCURACY, MARGIN, LOGP_CHOSEN, LOGP_REJECTED, EVAL_ACCURACY, EVAL_MARGIN, N_EXTRA };
static const dtx_training_curve curves[N_EXTRA] = {
    [CHOSEN] = {"rewards/chosen", true, false},
    [REJECTED] = {"rewards/rejected", true, false},
    [ACCURACY] = {"rewards/accuracies", true, true},
    [MARGIN] = {"rewards/margins", true, true},
    [LOGP_CHOSEN] = {"logps/chosen", true, false},
    [LOGP_REJECTED] = {"logps/rejected", true, false},
    [EVAL_ACCURACY] = {"eval_rewards/accuracies", false, false},
    [EVAL_MARGIN] = {"eval_rewards/margins", false, false}};

typedef struct {
    dtx_lora_training l;
    const dtx_config *c;
    dtx_adapter *reference;          /* NULL = the base */
    dtx_pairs pairs;
    char digest[DTX_SHA256_TEXT];    /* of their ids, with rejected = turn */
    bool sampled;                    /* dpo.rejected */
    dtx_dpo_sampler sampler;
} trainer;

/* --- data: rank 0 reads and tokenizes, all get the pairs --- */

typedef struct {
    int64_t n, rows;
    char digest[DTX_SHA256_TEXT];
} pair_facts;

static dtx_status read_data(void *user, void **message, size_t *size)
{
    trainer *t = user;
    const dtx_config *c = t->c;
    dtx_dialogues d = {0};
    dtx_tokenizer *tok = NULL;
    dtx_pairs p = {0};
    pair_facts facts = {0};
    dtx_status st = DTX_OK;

    DTX_GO(dtx_lora_dialogues(t->l.job, &d));
    DTX_GO(dtx_tokenizer_open(c->model.path, &tok));
    DTX_GO(dtx_pairs_from_dialogues(tok, &d, c->model.tmpl.user, c->model.tmpl.bot, c->dpo.context, dtx_eos_first(&t->l.base.arch.eos),
                                    &p));
    facts.n = p.n;
    facts.rows = p.offset[2 * p.n];
    DTX_GO(dtx_sha256_bytes(p.id, (size_t)facts.rows * sizeof *p.id, facts.digest));
    dtx_log(DTX_LOG_INFO, "dpo", "%" PRId64 " pairs of %" PRId64 " dialogues, %" PRId64 " tokens, %" PRId64 " pairs cut to %" PRId64
            " tokens", p.n, d.n_dialogues, facts.rows, p.n_cut, c->dpo.context);
    const size_t offsets = (size_t)(2 * p.n + 1) * sizeof(int64_t), queries = (size_t)(2 * p.n) * sizeof(int64_t),
                 ids = (size_t)facts.rows * sizeof(int32_t);
    *size = sizeof facts + offsets + queries + ids;
    char *m = dtx_malloc(*size, 1);
    DTX_GO(dtx_mem_check(m, *size, 1, "pairs"));
    *message = m;
    memcpy(m, &facts, sizeof facts);
    memcpy(m += sizeof facts, p.offset, offsets);
    memcpy(m += offsets, p.query, queries);
    memcpy(m + queries, p.id, ids);
done:
    dtx_pairs_free(&p);
    dtx_tokenizer_close(tok);
    dtx_dialogues_free(&d);
    return st;
}

static dtx_status unpack(void *user, const char *m)
{
    trainer *t = user;
    pair_facts facts;
    dtx_pairs *p = &t->pairs;

    memcpy(&facts, m, sizeof facts);
    const size_t offsets = (size_t)(2 * facts.n + 1) * sizeof(int64_t), queries = (size_t)(2 * facts.n) * sizeof(int64_t),
                 ids = (size_t)facts.rows * sizeof(int32_t);
    p->n = facts.n;
    DTX_TRY(DTX_NEW_RAW(p->offset, 2 * p->n + 1));
    DTX_TRY(DTX_NEW_RAW(p->query, 2 * p->n));
    DTX_TRY(DTX_NEW_RAW(p->id, facts.rows));
    memcpy(p->offset, m += sizeof facts, offsets);
    memcpy(p->query, m += offsets, queries);
    memcpy(p->id, m + queries, ids);
    memcpy(t->digest, facts.digest, sizeof t->digest);
    return dtx_sample_order_init(&t->l.order, p->n, t->c->dpo.holdout, t->c->dpo.batch, 1, t->c->dpo.epochs, (uint64_t)t->c->seed);
}

/* --- gradient of a shard, held-out loss --- */

static dtx_status shard(void *user, int64_t step, int64_t leaf, float *grads, double *loss, double *tokens)
{
    trainer *t = user;
    int64_t sample[MAX_BATCH], n, first;
    const int64_t count = dtx_sample_order_unit(&t->l.order, step, t->l.training.n_leaves, leaf, sample, &n, &first);
    dtx_adapter *view;
    dtx_status st = DTX_OK;

    DTX_TRY(dtx_adapter_view(t->l.adapter, grads, &view));
    for (int64_t k = first; k < first + count; k++) {
        const double weight = 1 / (double)n;
        dtx_dpo_logps lp;
        dtx_dpo_term term;
        DTX_GO(dtx_dpo_pair(t->l.base.model, t->l.adapter, t->reference, t->l.tape, &t->pairs, sample[k], t->c->dpo.beta, weight, &lp,
                            &term, view));
        const double margin = term.reward_chosen - term.reward_rejected;
        const double value[] = {[CHOSEN] = term.reward_chosen, [REJECTED] = term.reward_rejected, [ACCURACY] = margin > 0,
                                [MARGIN] = margin, [LOGP_CHOSEN] = lp.chosen, [LOGP_REJECTED] = lp.rejected};
        for (int i = 0; i <= LOGP_REJECTED; i++) {
            t->l.training.extra_part[i][leaf] += weight * value[i];
        }
        *loss += weight * term.loss;
        *tokens += (double)(t->pairs.offset[2 * sample[k] + 2] - t->pairs.offset[2 * sample[k]]);
    }
done:
    dtx_adapter_del(view);
    return st;
}

/* Each rank takes every size-th held-out pair. */
static dtx_status evaluate(void *user, double *mean)
{
    trainer *t = user;
    const dtx_par *par = &t->l.job->par;
    const int64_t n = t->l.order.n_held;
    double *loss = NULL, *margin, right = 0, margins = 0;
    dtx_status st = DTX_NEW(loss, 2 * n + 1);

    margin = loss + n;
    for (int64_t i = par->rank; st == DTX_OK && i < n; i += par->size) {
        dtx_dpo_logps lp;
        dtx_dpo_term term;
        st = dtx_dpo_pair(t->l.base.model, t->l.adapter, t->reference, NULL, &t->pairs, t->l.order.held[i], t->c->dpo.beta, 0, &lp, &term,
                          NULL);
        loss[i] = term.loss;
        margin[i] = term.reward_chosen - term.reward_rejected;
    }
    st = dtx_par_agree(par, st);
    for (int64_t i = 0; st == DTX_OK && i < 2 * n; i += 4096) {
        st = dtx_sum_disjoint(par, loss + i, (int)(2 * n - i < 4096 ? 2 * n - i : 4096));
    }
    *mean = 0;
    for (int64_t i = 0; st == DTX_OK && i < n; i++) {
        *mean += loss[i];
        margins += margin[i];
        right += margin[i] > 0;
    }
    *mean = n > 0 ? *mean / (double)n : NAN;
    t->l.training.extra_value[EVAL_ACCURACY] = n > 0 ? right / (double)n : NAN;
    t->l.training.extra_value[EVAL_MARGIN] = n > 0 ? margins / (double)n : NAN;
    dtx_free(loss);
    return st;
}

/* --- the adapter and its training --- */

static dtx_status set_up(trainer *t)
{
    const dtx_config *c = t->c;
    dtx_training *tr = &t->l.training;
    const bool from_base = t->l.base.adapter == NULL;

    t->sampled = c->dpo.rejected == DTX_SET_REJECTED_SAMPLED;
    if (t->sampled) {
        DTX_TRY(dtx_dpo_sampler_open(t->l.job, &t->l.base, t->digest, &t->sampler));
    }
    DTX_TRY(dtx_lora_begin(c, &t->l.base, &t->l.adapter));
    if (!from_base) {
        DTX_TRY(dtx_adapter_like(t->l.adapter, &t->reference));
        memcpy(t->reference->arena, t->l.adapter->arena, (size_t)t->l.adapter->n_params * sizeof *t->l.adapter->arena);
    }
    DTX_TRY(dtx_tape_new(t->l.base.model, c->dpo.checkpoint_layers, &t->l.tape));
    *tr = (dtx_training){.job = t->l.job, .run = t->l.run, .name = t->l.name, .n_steps = t->l.order.n_steps,
                         .n_leaves = c->dpo.batch < DTX_TRAINING_LEAVES ? c->dpo.batch : DTX_TRAINING_LEAVES,
                         .n_params = t->l.adapter->n_params, .params = t->l.adapter->arena, .lr = c->dpo.lr, .clip = c->dpo.clip,
                         .warmup_steps = c->dpo.warmup_steps, .eval_every = c->dpo.eval_every, .save_every = c->dpo.save_every,
                         .adamw = {0.9, 0.999, 1e-8, 0}, .shard = shard, .evaluate = evaluate, .user = t, .extra = curves,
                         .n_extra = N_EXTRA};
    tr->schedule = dtx_training_schedule(c->dpo.schedule);
    snprintf(tr->state.identity, sizeof tr->state.identity,
                     "init=%s beta=%.9g r=%" PRId64 " alpha=%.9g epochs=%" PRId64 " batch=%" PRId64 " lr=%.9g warmup=%" PRId64
                     " schedule=%s rejected=%s context=%" PRId64 " holdout=%.9g clip=%.9g eval_every=%" PRId64 " seed=%" PRId64
                     " reduce=%s pairs=%s weights=%s adapter=%s",
                     c->dpo.init, c->dpo.beta, t->l.adapter->r, t->l.adapter->alpha, c->dpo.epochs, c->dpo.batch, c->dpo.lr,
                     c->dpo.warmup_steps, dtx_config_word(c, "dpo.schedule"), dtx_config_word(c, "dpo.rejected"), c->dpo.context, c->dpo.holdout, c->dpo.clip,
                     c->dpo.eval_every, c->seed, dtx_config_word(c, "reduce"), t->digest, t->l.base.fingerprint, t->l.base.adapter_sha256);
    dtx_lora_identify(&t->l);
    const size_t n = strlen(tr->state.identity);
    if (t->sampled) {
        snprintf(tr->state.identity + n, sizeof tr->state.identity - n, " min_toxicity=%.9g sampled: %s", c->dpo.min_toxicity,
                 t->sampler.settings);
    }
    return DTX_OK;
}

/* The pairs with the reference's own answers; how many there are is known only now. */
static dtx_status sample_rejected(trainer *t)
{
    const dtx_config *c = t->c;
    dtx_lora_training *l = &t->l;

    DTX_TRY(dtx_dpo_sample(&t->sampler, l->run, l->base.model, t->reference, &t->pairs));
    dtx_sample_order_free(&l->order);
    DTX_TRY(dtx_par_agree(&l->job->par, dtx_sample_order_init(&l->order, t->pairs.n, c->dpo.holdout, c->dpo.batch, 1, c->dpo.epochs,
                                                              (uint64_t)c->seed)));
    l->training.n_steps = l->order.n_steps;
    return DTX_OK;
}

static dtx_status left_to_do(dtx_plan *p, void *user)
{
    const trainer *t = user;
    const dtx_pairs *pairs = &t->pairs;

    p->first_step = t->l.training.state.step;
    DTX_TRY(dtx_plan_room(p, pairs->n, 2));
    for (int64_t i = 0; i < 2 * pairs->n; i++) {
        p->len[i] = pairs->offset[i + 1] - pairs->offset[i];
        p->labels[i] = p->len[i] - pairs->query[i];
    }
    return DTX_OK;
}

static dtx_status train(trainer *t)
{
    dtx_training *tr = &t->l.training;

    DTX_TRY(t->sampled ? sample_rejected(t) : DTX_OK);
    DTX_TRY(dtx_lora_train(&t->l, left_to_do, t));
    const dtx_curve *extra = tr->curves + DTX_CURVES;
    dtx_log(DTX_LOG_INFO, "dpo", "done: loss %.4f -> %.4f; held-out loss %.4f, accuracy %.4f, margin %.4f; adapter of %" PRId64
            " parameters in %s", tr->curves[DTX_CURVE_LOSS].value[0], tr->curves[DTX_CURVE_LOSS].value[tr->n_steps - 1],
            tr->curves[DTX_CURVE_EVAL].value[tr->n_steps - 1], extra[EVAL_ACCURACY].value[tr->n_steps - 1],
            extra[EVAL_MARGIN].value[tr->n_steps - 1], tr->n_params, t->l.out_dir);
    return DTX_OK;
}

static dtx_status run_dpo(dtx_job *job)
{
    trainer *t = NULL;
    char plan[256];
    bool go = false;
    dtx_status st = DTX_OK;

    DTX_TRY(dtx_par_agree(&job->par, DTX_NEW(t, 1)));
    t->c = &job->config;
    DTX_GO(dtx_lora_open(job, t->c->dpo.init, &t->l));
    DTX_GO(dtx_lora_share(&job->par, read_data, unpack, t));
    DTX_GO(dtx_par_agree(&job->par, set_up(t)));
    snprintf(plan, sizeof plan, "%" PRId64 " steps of %" PRId64 " pairs, %" PRId64 " trainable parameters, checkpoint %.1f MB",
            t->l.order.n_steps, t->c->dpo.batch, t->l.adapter->n_params, 12e-6 * (double)t->l.adapter->n_params);
    DTX_GO(dtx_lora_ready(job, t->l.run, t->l.name, t->l.training.state.identity, t->l.out_dir, plan, &go));
    if (go) {
        st = dtx_stage_end(t->l.run, train(t));
    }
done:
    dtx_lora_close(&t->l);
    dtx_dpo_sampler_close(&t->sampler);
    dtx_pairs_free(&t->pairs);
    dtx_adapter_del(t->reference);
    dtx_free(t);
    return st;
}

const dtx_job_def dtx_job_dpo = {
    .name = "dpo",
    .args = NULL,
    .summary = "turn the model against hate: direct preference optimisation of a LoRA adapter",
    .help = "Trains LoRA adapters to prefer the counter-narrative to the hater's next turn of the same dialogue (Rafailov et al. "
            "2023), over any number of ranks, and writes them in PEFT's layout to RUN/adapters/V. The reference is the variant that "
            "training begins from, so no second model is held. Adapters are trained without dropout. Curves stand under "
            "/training/dpo-V with TRL's names. A stopped or killed training continues with the same command and ends with the "
            "same bytes. With --rejected sampled the rejected answers are the reference's own to the same dialogues, sampled as "
            "generate.* says, on all ranks, and kept in /rejected/V; --min_toxicity 0.5 trains on those alone that the classifiers of "
            "reward.* find toxic.\n\n"
            "  mpirun -n 2 detoxlens dpo --variant DPO --run runs/dpo --set model.path=models/small \\\n"
            "      --set data.dialogues=DIALOCONAN.csv --beta 0.1\n"
            "  mpirun -n 2 detoxlens dpo --variant DPO --run runs/dpo2 --set model.path=models/small \\\n"
            "      --set data.dialogues=DIALOCONAN.csv --rejected sampled --min_toxicity 0.5 --set reward.path=models/judge",
    .bit = DTX_JOB_DPO,
    .parallel = true,
    .own_dry_run = true,
    .run = run_dpo,
};
