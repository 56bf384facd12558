/* job_dpo.c - direct preference optimisation: dialogues -> pairs of answers -> LoRA gradients of logical shards, summed over
 * ranks -> AdamW -> a PEFT folder. The reference is the variant that training begins from: for IT the base with the adapter
 * off, so that there is no second model. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "jobs/job.h"
#include "jobs/lora.h"
#include "src/cost.h"
#include "src/dpo.h"
#include "src/file.h"
#include "src/finetune.h"
#include "src/hash.h"
#include "src/log.h"
#include "src/mem.h"

enum { MAX_BATCH = 1024 };

/* TRL's names. */
enum { CHOSEN, REJECTED, ACCURACY, MARGIN, LOGP_CHOSEN, LOGP_REJECTED, EVAL_ACCURACY, EVAL_MARGIN, N_EXTRA };
static const dtx_training_curve curves[N_EXTRA] = {
    [CHOSEN] = {"rewards/chosen", "beta (log p - log p of the reference) of chosen answers, mean of the step", "nat", true, false},
    [REJECTED] = {"rewards/rejected", "the same of rejected answers", "nat", true, false},
    [ACCURACY] = {"rewards/accuracies", "share of pairs whose chosen answer has the higher reward", "1", true, true},
    [MARGIN] = {"rewards/margins", "reward of the chosen answer minus that of the rejected one, mean of the step", "nat", true, true},
    [LOGP_CHOSEN] = {"logps/chosen", "log-probability of chosen answers, mean of the step", "nat", true, false},
    [LOGP_REJECTED] = {"logps/rejected", "log-probability of rejected answers, mean of the step", "nat", true, false},
    [EVAL_ACCURACY] = {"eval_rewards/accuracies", "accuracy on held-out pairs; NaN between evaluations", "1", false, false},
    [EVAL_MARGIN] = {"eval_rewards/margins", "margin on held-out pairs; NaN between evaluations", "nat", false, false}};

typedef struct {
    dtx_job *job;
    const dtx_config *c;
    dtx_run *run;
    char name[80], out_dir[1200];
    dtx_stage_model base;
    dtx_adapter *adapter, *reference; /* reference NULL = the base */
    dtx_tape *tape;
    dtx_pairs pairs;
    dtx_sample_order order;
    dtx_training training;
} trainer;

/* --- data: rank 0 reads and tokenizes, all get the pairs --- */

typedef struct {
    int64_t n, rows;
    char digest[DTX_SHA256_TEXT];
} pair_facts;

static dtx_status load_root(trainer *t, void **message, size_t *size)
{
    const dtx_config *c = t->c;
    dtx_dialogues d = {0};
    dtx_tokenizer *tok = NULL;
    dtx_pairs p = {0};
    pair_facts facts = {0};
    dtx_status st = DTX_OK;

    DTX_GO(dtx_job_need(t->job, "data.dialogues", c->data.dialogues));
    DTX_GO(dtx_dialogues_read(c->data.dialogues, c->model.tmpl.user, c->model.tmpl.bot, &d));
    if (d.n_blank > 0) {
        dtx_log(DTX_LOG_WARN, "dpo", "%s: %" PRId64 " turns without text (the first on line %" PRId64 ") are kept",
                c->data.dialogues, d.n_blank, d.first_blank_line);
    }
    DTX_GO(dtx_tokenizer_open(c->model.path, &tok));
    DTX_GO(dtx_pairs_from_dialogues(tok, &d, c->model.tmpl.user, c->model.tmpl.bot, c->dpo.context, (int32_t)t->base.arch.eos_id,
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

static dtx_status unpack(trainer *t, const char *m, pair_facts *facts)
{
    dtx_pairs *p = &t->pairs;

    memcpy(facts, m, sizeof *facts);
    const size_t offsets = (size_t)(2 * facts->n + 1) * sizeof(int64_t), queries = (size_t)(2 * facts->n) * sizeof(int64_t),
                 ids = (size_t)facts->rows * sizeof(int32_t);
    p->n = facts->n;
    DTX_TRY(DTX_NEW_RAW(p->offset, 2 * p->n + 1));
    DTX_TRY(DTX_NEW_RAW(p->query, 2 * p->n));
    DTX_TRY(DTX_NEW_RAW(p->id, facts->rows));
    memcpy(p->offset, m += sizeof *facts, offsets);
    memcpy(p->query, m += offsets, queries);
    memcpy(p->id, m + queries, ids);
    return dtx_sample_order_init(&t->order, p->n, t->c->dpo.holdout, t->c->dpo.batch, 1, t->c->dpo.epochs, (uint64_t)t->c->seed);
}

static dtx_status load(trainer *t, pair_facts *facts)
{
    void *message = NULL;
    size_t size = 0;
    dtx_status st = t->job->par.rank == 0 ? load_root(t, &message, &size) : DTX_OK;

    st = dtx_par_bcast(&t->job->par, st, &message, &size);
    if (st == DTX_OK) {
        st = dtx_par_agree(&t->job->par, unpack(t, message, facts));
    }
    dtx_free(message);
    return st;
}

/* --- gradient of a shard, held-out loss --- */

static dtx_status shard(void *user, int64_t step, int64_t leaf, float *grads, double *loss, double *tokens)
{
    trainer *t = user;
    int64_t sample[MAX_BATCH], n, first;
    const int64_t count = dtx_sample_order_unit(&t->order, step, t->training.n_leaves, leaf, sample, &n, &first);
    dtx_adapter *view;
    dtx_status st = DTX_OK;

    DTX_TRY(dtx_adapter_view(t->adapter, grads, &view));
    for (int64_t k = first; k < first + count; k++) {
        const double weight = 1 / (double)n;
        dtx_dpo_logps lp;
        dtx_dpo_term term;
        DTX_GO(dtx_dpo_pair(t->base.model, t->adapter, t->reference, t->tape, &t->pairs, sample[k], t->c->dpo.beta, weight, &lp,
                            &term, view));
        const double margin = term.reward_chosen - term.reward_rejected;
        const double value[] = {[CHOSEN] = term.reward_chosen, [REJECTED] = term.reward_rejected, [ACCURACY] = margin > 0,
                                [MARGIN] = margin, [LOGP_CHOSEN] = lp.chosen, [LOGP_REJECTED] = lp.rejected};
        for (int i = 0; i <= LOGP_REJECTED; i++) {
            t->training.extra_part[i][leaf] += weight * value[i];
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
    const dtx_par *par = &t->job->par;
    const int64_t n = t->order.n_held;
    double *loss = NULL, *margin, right = 0, margins = 0;
    dtx_status st = DTX_NEW(loss, 2 * n + 1);

    margin = loss + n;
    for (int64_t i = par->rank; st == DTX_OK && i < n; i += par->size) {
        dtx_dpo_logps lp;
        dtx_dpo_term term;
        st = dtx_dpo_pair(t->base.model, t->adapter, t->reference, NULL, &t->pairs, t->order.held[i], t->c->dpo.beta, 0, &lp, &term,
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
    t->training.extra_value[EVAL_ACCURACY] = n > 0 ? right / (double)n : NAN;
    t->training.extra_value[EVAL_MARGIN] = n > 0 ? margins / (double)n : NAN;
    dtx_free(loss);
    return st;
}

/* --- the adapter and its training --- */

static dtx_status set_up(trainer *t, const pair_facts *facts)
{
    const dtx_config *c = t->c;
    dtx_training *tr = &t->training;
    const bool from_base = t->base.adapter == NULL;

    DTX_TRY(dtx_lora_begin(c, &t->base, &t->adapter));
    if (!from_base) {
        DTX_TRY(dtx_adapter_like(t->adapter, &t->reference));
        memcpy(t->reference->arena, t->adapter->arena, (size_t)t->adapter->n_params * sizeof *t->adapter->arena);
    }
    DTX_TRY(dtx_tape_new(t->base.model, c->dpo.checkpoint_layers, &t->tape));
    *tr = (dtx_training){.job = t->job, .run = t->run, .name = t->name, .n_steps = t->order.n_steps,
                         .n_leaves = c->dpo.batch < DTX_TRAINING_LEAVES ? c->dpo.batch : DTX_TRAINING_LEAVES,
                         .n_params = t->adapter->n_params, .params = t->adapter->arena, .lr = c->dpo.lr, .clip = c->dpo.clip,
                         .warmup_steps = c->dpo.warmup_steps, .eval_every = c->dpo.eval_every, .save_every = c->dpo.save_every,
                         .adamw = {0.9, 0.999, 1e-8, 0}, .shard = shard, .evaluate = evaluate, .user = t, .extra = curves,
                         .n_extra = N_EXTRA};
    DTX_TRY(dtx_schedule_parse(c->dpo.schedule, &tr->schedule));
    int n = snprintf(tr->state.identity, sizeof tr->state.identity,
                     "init=%s beta=%.9g r=%" PRId64 " alpha=%.9g epochs=%" PRId64 " batch=%" PRId64 " lr=%.9g warmup=%" PRId64
                     " schedule=%s rejected=%s context=%" PRId64 " holdout=%.9g clip=%.9g eval_every=%" PRId64 " seed=%" PRId64
                     " reduce=%s pairs=%s weights=%s adapter=%s targets=",
                     c->dpo.init, c->dpo.beta, t->adapter->r, t->adapter->alpha, c->dpo.epochs, c->dpo.batch, c->dpo.lr,
                     c->dpo.warmup_steps, c->dpo.schedule, c->dpo.rejected, c->dpo.context, c->dpo.holdout, c->dpo.clip,
                     c->dpo.eval_every, c->seed, c->reduce, facts->digest, t->base.fingerprint, t->base.adapter_sha256);
    for (int i = 0; i < t->adapter->n_targets && n > 0 && (size_t)n < sizeof tr->state.identity; i++) {
        n += snprintf(tr->state.identity + n, sizeof tr->state.identity - (size_t)n, "%s%s", i > 0 ? "," : "",
                      t->adapter->targets[i]);
    }
    return DTX_OK;
}

/* The mapped weights, once read, and the longest pair. */
static dtx_status expect_memory(trainer *t)
{
    int64_t longest = 0;
    double weights = 0;

    for (int64_t i = 0; i < dtx_model_n_params(t->base.model) && strcmp(t->c->model.dtype, "auto") == 0; i++) {
        const dtx_param *p = dtx_model_param(t->base.model, i);
        weights += (double)p->n_elements * (double)dtx_dtype_size(p->dtype);
    }
    for (int64_t i = 1; i < t->pairs.n; i++) {
        const int64_t *at = t->pairs.offset;
        longest = at[2 * i + 2] - at[2 * i] > at[2 * longest + 2] - at[2 * longest] ? i : longest;
    }
    const int64_t *at = t->pairs.offset + 2 * longest, len[2] = {at[1] - at[0], at[2] - at[1]};
    t->training.expected_bytes = weights + dtx_cost_train_bytes(&t->base.arch, t->adapter, 2, len, false, t->c->dpo.checkpoint_layers);
    return DTX_OK;
}

static dtx_status train(trainer *t)
{
    dtx_training *tr = &t->training;
    dtx_status st = DTX_OK;

    DTX_TRY(dtx_par_agree(&t->job->par, expect_memory(t)));
    DTX_TRY(dtx_training_open(tr));
    DTX_TRY(dtx_training_run(tr));
    if (t->job->par.rank == 0) {
        st = dtx_file_mkdirs(t->out_dir);
        if (st == DTX_OK) {
            st = dtx_adapter_write(t->out_dir, &t->base.arch, t->adapter, t->base.base_model);
        }
    }
    DTX_TRY(dtx_par_agree(&t->job->par, st));
    DTX_TRY(dtx_training_publish(tr));
    const dtx_curve *extra = tr->curves + DTX_CURVES;
    dtx_log(DTX_LOG_INFO, "dpo", "done: loss %.4f -> %.4f; held-out loss %.4f, accuracy %.4f, margin %.4f; adapter of %" PRId64
            " parameters in %s", tr->curves[DTX_CURVE_LOSS].value[0], tr->curves[DTX_CURVE_LOSS].value[tr->n_steps - 1],
            tr->curves[DTX_CURVE_EVAL].value[tr->n_steps - 1], extra[EVAL_ACCURACY].value[tr->n_steps - 1],
            extra[EVAL_MARGIN].value[tr->n_steps - 1], tr->n_params, t->out_dir);
    return DTX_OK;
}

static void tear_down(trainer *t)
{
    dtx_training_close(&t->training);
    dtx_sample_order_free(&t->order);
    dtx_pairs_free(&t->pairs);
    dtx_tape_del(t->tape);
    dtx_adapter_del(t->reference);
    dtx_adapter_del(t->adapter);
    dtx_stage_model_close(&t->base);
    dtx_run_close(t->run);
    dtx_free(t);
}

static dtx_status run_dpo(dtx_job *job)
{
    trainer *t = NULL;
    dtx_training_found found = {0};
    pair_facts facts;
    dtx_status st = DTX_OK;

    DTX_TRY(dtx_par_agree(&job->par, DTX_NEW(t, 1)));
    t->job = job;
    t->c = &job->config;
    snprintf(t->name, sizeof t->name, "dpo-%s", job->variant);
    DTX_GO(dtx_run_open(&job->par, t->c->run, &t->run));
    snprintf(t->out_dir, sizeof t->out_dir, "%s/adapters/%s", t->run->dir, job->variant);
    DTX_GO(dtx_stage_model_open(job, t->c->dpo.init, &t->base));
    DTX_GO(load(t, &facts));
    DTX_GO(dtx_par_agree(&job->par, set_up(t, &facts)));
    DTX_GO(dtx_training_find(t->run, t->name, &found));
    DTX_GO(dtx_par_agree(&job->par, dtx_lora_check_found(job, t->run, &found, t->training.state.identity, t->out_dir)));
    if (job->dry_run) {
        dtx_log(DTX_LOG_INFO, "dpo", "plan: %" PRId64 " steps of %" PRId64 " pairs, %" PRId64 " trainable parameters, checkpoint %.1f MB",
                t->order.n_steps, t->c->dpo.batch, t->adapter->n_params, 12e-6 * (double)t->adapter->n_params);
        goto done;
    }
    if (found.complete && !job->redo) {
        dtx_log(DTX_LOG_INFO, "dpo", "nothing to do: the adapter is in %s", t->out_dir);
        goto done;
    }
    if (job->redo && (found.complete || found.begun)) {
        DTX_GO(dtx_training_discard(t->run, t->name));
    }
    DTX_GO(dtx_run_provenance_begin(t->run, "dpo", job->argc, job->argv, job->config_json));
    st = dtx_stage_end(t->run, train(t));
done:
    dtx_free(found.settings);
    tear_down(t);
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
            "same bytes.\n\n"
            "  mpirun -n 2 detoxlens dpo --variant DPO --run runs/dpo --set model.path=models/small \\\n"
            "      --set data.dialogues=DIALOCONAN.csv --beta 0.1",
    .bit = DTX_JOB_DPO,
    .parallel = true,
    .own_dry_run = true,
    .run = run_dpo,
};
