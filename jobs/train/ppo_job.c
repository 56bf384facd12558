/* ppo_job.c - reinforcement learning against a classifier: prompts -> rollouts -> rewards -> updates of a LoRA policy and a
 * value head, step by step, with guard rails: a policy that collapses is taken back to its last healthy checkpoint with a
 * smaller learning rate, and never published. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "jobs/plan/forecast.h"
#include "jobs/train/lora.h"
#include "jobs/train/ppo.h"
#include "jobs/train/training.h"
#include "jobs/shared/eos.h"
#include "src/data/dialogue.h"
#include "src/base/file.h"
#include "src/base/json.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/training/optim.h"

/* --- prompts: rank 0 reads and tokenizes, all get them --- */

/* Bytes of a prompt. The study's ends with the blank after {bot}; with a chat template that ends without one, so does this:
 * rollouts begin as the answers do that will be judged. */
static size_t prompt_bytes(const dtx_config *c, const dtx_dialogues *d, int64_t i)
{
    const char *text = c->model.tmpl.text;
    const size_t n = d->query[i], t = strlen(text);
    const bool blank = t > 0 && text[t - 1] == ' ';

    return n > 0 && !blank && d->bytes[d->offset[i] + n - 1] == ' ' ? n - 1 : n;
}

typedef struct {
    int64_t n, ids, n_cut;
    char digest[DTX_SHA256_TEXT];
} prompt_facts;

static dtx_status tokenize_prompts(const dtx_ppo *p, const dtx_dialogues *d, dtx_ids *ids, int64_t *offset, prompt_facts *facts)
{
    const int64_t room = p->c->ppo.context - p->c->generate.max_new_tokens;

    for (int64_t i = 0; i < d->n; i++) {
        const size_t before = ids->n;
        dtx_status st = dtx_tokenizer_encode(p->tokenizer, d->bytes + d->offset[i], prompt_bytes(p->c, d, i), false, ids);
        if (st != DTX_OK) {
            return dtx_error_context(st, "dialogue %" PRId64, d->dialogue[i]);
        }
        if ((int64_t)(ids->n - before) > room) { /* its beginning is lost: the turn to answer stands at the end */
            memmove(ids->id + before, ids->id + ids->n - room, (size_t)room * sizeof *ids->id);
            ids->n = before + (size_t)room;
            facts->n_cut++;
        }
        for (size_t k = before; k < ids->n; k++) {
            if (ids->id[k] >= p->base.arch.vocab) {
                return DTX_FAIL(DTX_ERR_INPUT, "%s: the tokenizer's id %d is outside the model's vocabulary of %" PRId64,
                                p->c->model.path, ids->id[k], p->base.arch.vocab);
            }
        }
        if (ids->n == before) {
            return DTX_FAIL(DTX_ERR_INPUT, "dialogue %" PRId64 ": its prompt has no tokens", d->dialogue[i]);
        }
        offset[i + 1] = (int64_t)ids->n;
    }
    return DTX_OK;
}

static dtx_status load_root(dtx_ppo *p, void **message, size_t *size)
{
    const dtx_config *c = p->c;
    dtx_dialogues d = {0};
    dtx_ids ids = {0};
    prompt_facts facts = {0};
    int64_t *offset = NULL;
    dtx_status st = DTX_OK;

    DTX_GO(dtx_job_need(p->job, "data.dialogues", c->data.dialogues));
    DTX_GO(dtx_dialogues_read(c->data.dialogues, c->model.tmpl.user, c->model.tmpl.bot, &d));
    DTX_GO(DTX_NEW(offset, d.n + 1));
    DTX_GO(tokenize_prompts(p, &d, &ids, offset, &facts));
    facts.n = d.n;
    facts.ids = offset[d.n];
    DTX_GO(dtx_sha256_bytes(ids.id, ids.n * sizeof *ids.id, facts.digest));
    if (d.n < c->ppo.batch) {
        DTX_GO(DTX_FAIL(DTX_ERR_USAGE, "%s gives %" PRId64 " prompts, fewer than ppo.batch %" PRId64, c->data.dialogues, d.n,
                        c->ppo.batch));
    }
    dtx_log(DTX_LOG_INFO, "ppo", "%" PRId64 " prompts of %" PRId64 " dialogues, %.1f tokens each, %" PRId64 " lost their beginning",
            d.n, d.n_dialogues, (double)facts.ids / (double)d.n, facts.n_cut);
    const size_t offsets = (size_t)(d.n + 1) * sizeof *offset, bytes = ids.n * sizeof *ids.id;
    *size = sizeof facts + offsets + bytes;
    char *m = dtx_malloc(*size, 1);
    DTX_GO(dtx_mem_check(m, *size, 1, "prompts"));
    memcpy(m, &facts, sizeof facts);
    memcpy(m + sizeof facts, offset, offsets);
    memcpy(m + sizeof facts + offsets, ids.id, bytes);
    *message = m;
done:
    dtx_free(offset);
    dtx_ids_free(&ids);
    dtx_dialogues_free(&d);
    return st;
}

static dtx_status unpack(dtx_ppo *p, const char *m)
{
    prompt_facts facts;

    memcpy(&facts, m, sizeof facts);
    const size_t offsets = (size_t)(facts.n + 1) * sizeof(int64_t);
    p->n_prompts = facts.n;
    memcpy(p->digest, facts.digest, sizeof p->digest);
    DTX_TRY(DTX_NEW_RAW(p->prompt_offset, facts.n + 1));
    DTX_TRY(DTX_NEW_RAW(p->prompt_id, facts.ids));
    DTX_TRY(DTX_NEW_RAW(p->order, facts.n));
    memcpy(p->prompt_offset, m + sizeof facts, offsets);
    memcpy(p->prompt_id, m + sizeof facts + offsets, (size_t)facts.ids * sizeof *p->prompt_id);
    for (int64_t i = 0; i < facts.n; i++) {
        const int64_t len = p->prompt_offset[i + 1] - p->prompt_offset[i];
        p->longest = len > p->longest ? len : p->longest;
    }
    p->pass = -1;
    p->per_pass = facts.n / p->c->ppo.batch;
    p->n_steps = p->c->ppo.steps > 0 ? p->c->ppo.steps : p->per_pass;
    return DTX_OK;
}

static dtx_status load(dtx_ppo *p)
{
    void *message = NULL;
    size_t size = 0;
    dtx_status st = p->job->par.rank == 0 ? load_root(p, &message, &size) : DTX_OK;

    st = dtx_par_bcast(&p->job->par, st, &message, &size);
    if (st == DTX_OK) {
        st = dtx_par_agree(&p->job->par, unpack(p, message));
    }
    dtx_free(message);
    return st;
}

/* --- setting up; local --- */

/* Adapter and value head in one vector; the head begins as torch's Linear(d, 1): U(-1/sqrt(d), 1/sqrt(d)). */
static dtx_status make_params(dtx_ppo *p)
{
    p->d = p->base.arch.hidden;
    p->n_params = p->adapter->n_params + p->d + 1;
    DTX_TRY(DTX_NEW(p->params, p->n_params));
    DTX_TRY(DTX_NEW(p->sum, p->n_params));
    memcpy(p->params, p->adapter->arena, (size_t)p->adapter->n_params * sizeof *p->params);
    for (int64_t i = 0; i <= p->d; i++) {
        double u = dtx_rng_uniform((uint64_t)p->c->seed, DTX_RNG_INIT, UINT64_MAX, 0, (uint32_t)i);
        p->params[p->adapter->n_params + i] = (float)((2 * u - 1) / sqrt((double)p->d));
    }
    return DTX_OK;
}

/* What the training is. Fingerprints are known to rank 0. */
static dtx_status identify(dtx_ppo *p)
{
    const dtx_config *c = p->c;
    char *s = p->state.identity;
    const size_t size = sizeof p->state.identity;
    char eos[200];

    size_t n = (size_t)snprintf(
        s, size,
        "init=%s r=%" PRId64 " alpha=%.9g dropout=%.9g steps=%" PRId64 " batch=%" PRId64 " mini_batch=%" PRId64 " accumulate=%" PRId64
        " epochs=%" PRId64 " lr=%.9g kl_coef=%.9g kl_target=%.9g kl_horizon=%.9g kl_estimator=%s gamma=%.9g lambda=%.9g clip=%.9g"
        " value_clip=%.9g vf_coef=%.9g max_grad_norm=%.9g compat=%s context=%" PRId64 " save_every=%" PRId64 " guard=%.9g,%.9g,%.9g,"
        "%.9g,%.9g,%.9g,%.9g patience=%" PRId64 " max_new=%" PRId64 " min_new=%" PRId64 " do_sample=%d temperature=%.9g top_k=%" PRId64
        " top_p=%.9g no_repeat_ngram=%" PRId64 " eos=%s reward=%s seed=%" PRId64 " reduce=%s prompts=%s weights=%s adapter=%s precision=%s",
        c->ppo.init, c->lora.r, c->lora.alpha, p->trl ? p->adapter->dropout : 0, p->n_steps, c->ppo.batch, c->ppo.mini_batch, c->ppo.accumulate, c->ppo.epochs,
        c->ppo.lr, c->ppo.kl_coef, c->ppo.kl_target, c->ppo.kl_horizon, dtx_config_word(c, "ppo.kl_estimator"), c->ppo.gamma, c->ppo.lambda,
        c->ppo.clip, c->ppo.value_clip, c->ppo.vf_coef, c->ppo.max_grad_norm, dtx_config_word(c, "ppo.compat"), c->ppo.context, c->ppo.save_every,
        p->guard.kl_min, p->guard.kl_max, p->guard.entropy, p->guard.value_error, p->guard.repeat, p->guard.empty, p->guard.reward, c->ppo.patience,
        p->sampling.max_new_tokens, p->sampling.min_new_tokens, p->sampling.do_sample, p->sampling.temperature, p->sampling.top_k,
        p->sampling.top_p, p->sampling.no_repeat_ngram, dtx_eos_text(&p->sampling.eos, eos, sizeof eos), dtx_config_word(c, "reward.kind"), c->seed, dtx_config_word(c, "reduce"), p->digest,
        p->base.fingerprint, p->base.adapter_sha256, dtx_config_word(c, "compute.precision"));
    if (p->job->par.rank == 0) {
        DTX_TRY(dtx_answers_describe_judge(&p->reward, s, size));
        n = strlen(s);
    }
    char targets[512];
    n += (size_t)snprintf(s + n, size - n, " targets=%s%s", dtx_adapter_targets(p->adapter, targets, sizeof targets),
                          p->adapter->rslora ? " rslora" : "");
    return n < size ? DTX_OK : DTX_FAIL(DTX_ERR_USAGE, "the settings do not fit into the checkpoint's description");
}

static dtx_status set_up(dtx_ppo *p)
{
    static const dtx_kl_estimator estimators[] = {[DTX_SET_KL_K1] = DTX_KL_K1, [DTX_SET_KL_ABS] = DTX_KL_ABS, [DTX_SET_KL_MSE] = DTX_KL_MSE,
                                                  [DTX_SET_KL_K3] = DTX_KL_K3, [DTX_SET_KL_FULL] = DTX_KL_FULL};
    const dtx_config *c = p->c;
    const int64_t group = c->ppo.accumulate * c->ppo.mini_batch;
    dtx_train_state *s = &p->state;

    p->estimator = estimators[c->ppo.kl_estimator];
    p->trl = c->ppo.compat == DTX_SET_COMPAT_TRL_04;
    p->clip = (dtx_ppo_clip){c->ppo.clip, c->ppo.value_clip, c->ppo.vf_coef};
    p->guard = (dtx_guard){c->ppo.guard_kl_min, c->ppo.guard_kl_max, c->ppo.guard_entropy, c->ppo.guard_value_error,
                           c->ppo.guard_repeat, c->ppo.guard_empty, c->ppo.guard_reward};
    p->sampling = (dtx_sampling){c->generate.max_new_tokens, c->generate.min_new_tokens, c->generate.do_sample,
                                 c->generate.temperature, c->generate.top_k, c->generate.top_p, c->generate.no_repeat_ngram_size,
                                 p->base.arch.eos};
    DTX_TRY(dtx_lora_begin(c, &p->base, &p->adapter)); /* the reference is the base in any case */
    DTX_TRY(dtx_adapter_like(p->adapter, &p->grads));
    DTX_TRY(dtx_tape_new(p->base.model, false, &p->tape));
    DTX_TRY(make_params(p));
    DTX_TRY(dtx_ppo_rollouts_init(&p->roll, c->ppo.batch, c->generate.max_new_tokens));
    p->n_leaves = group < DTX_TRAINING_LEAVES ? group : DTX_TRAINING_LEAVES;
    for (int i = 0; i < PPO_CURVES; i++) {
        p->curves[i].name = dtx_ppo_curves[i];
        DTX_TRY(DTX_NEW(p->curves[i].value, p->n_steps + 1)); /* the last one is for the policy at the end */
        for (int64_t k = 0; k <= p->n_steps; k++) {
            p->curves[i].value[k] = NAN;
        }
    }
    p->scalars[PPO_S_KL_COEF] = c->ppo.kl_coef;
    p->scalars[PPO_S_LR_SCALE] = 1;
    s->n_steps = p->n_steps;
    s->n_params = p->n_params;
    s->params = p->params;
    s->curves = p->curves;
    s->n_curves = PPO_CURVES;
    s->scalars = p->scalars;
    s->n_scalars = PPO_SCALARS;
    DTX_TRY(DTX_NEW(s->m, p->n_params));
    DTX_TRY(DTX_NEW(s->v, p->n_params));
    return identify(p);
}

/* --- checkpoints --- */

/* After the first n steps. */
static double reward_fall(const dtx_ppo *p, int64_t n)
{
    return dtx_reward_fall(n, p->curves[PPO_REWARD_MEAN].value, p->curves[PPO_REWARD_STD].value, p->roll.B);
}

/* Rollouts of all steps before the checkpoint's are on disk before it is. */
static dtx_status save(dtx_ppo *p)
{
    dtx_status st = DTX_OK;

    DTX_TRY(dtx_run_flush(p->run));
    if (p->job->par.rank == 0) {
        /* first the one to return to, so that it is never older; the end itself is none: from there nothing could be changed. A
         * reward falls step by step: what has lost more than chance explains is no place to return to */
        if (p->scalars[PPO_S_STRIKES] == 0 && p->state.step < p->n_steps && reward_fall(p, p->state.step) <= 0) {
            p->scalars[PPO_S_HEALTHY] = (double)p->state.step;
            st = dtx_train_state_write(p->healthy, &p->state);
        }
        if (st == DTX_OK) {
            st = dtx_train_state_write(p->path, &p->state);
        }
    }
    return dtx_par_agree(&p->job->par, st);
}

static dtx_status resume(dtx_ppo *p, bool *found)
{
    const dtx_par *par = &p->job->par;

    DTX_TRY(dtx_training_restore(par, p->path, false, &p->state, found));
    dtx_ppo_apply(p);
    if (p->state.step > 0) {
        dtx_log(DTX_LOG_INFO, "ppo", "continuing after step %" PRId64 " of %" PRId64, p->state.step, p->n_steps);
    }
    return dtx_reduce_new(par, p->n_params, p->n_leaves, p->c->reduce == DTX_SET_REDUCE_STRICT, &p->reduce);
}

/* --- guard rails --- */

static dtx_status measure_health(dtx_ppo *p, int64_t step)
{
    int32_t *scratch = NULL;

    DTX_TRY(DTX_NEW_RAW(scratch, 4 * p->roll.B * p->roll.N));
    p->curves[PPO_REPEAT].value[step] = dtx_repeated_ngrams(p->roll.B, p->roll.N, p->roll.tokens, p->roll.length, scratch);
    dtx_free(scratch);
    return DTX_OK;
}

static bool healthy(const dtx_ppo *p, int64_t step, char *why, size_t size)
{
    const double error = p->curves[PPO_VAL_ERROR].value[step];
    const dtx_vitals v = {.kl = p->curves[PPO_KL].value[step], .entropy = p->curves[PPO_ENTROPY].value[step],
                          .first_entropy = p->curves[PPO_ENTROPY].value[0],
                          .value_error = step == p->n_steps ? 0 : error, .repeat = p->curves[PPO_REPEAT].value[step],
                          .empty = p->curves[PPO_EMPTY].value[step], .reward_fall = reward_fall(p, step + 1)};

    return dtx_guard_healthy(&p->guard, &v, why, size);
}

/* What happened, for a person: the last steps' vital curves and some responses. */
static dtx_status write_diagnosis(const dtx_ppo *p, int64_t step, const char *why)
{
    static const int shown[] = {PPO_REWARD_MEAN, PPO_KL, PPO_KL_FULL, PPO_KL_COEF, PPO_ENTROPY, PPO_VAL_ERROR, PPO_CLIPFRAC,
                                PPO_RATIO, PPO_REPEAT, PPO_EMPTY, PPO_RESPONSES_MEAN, PPO_LR};
    cJSON *o = cJSON_CreateObject(), *curves = cJSON_AddObjectToObject(o, "curves"), *text = cJSON_AddArrayToObject(o, "responses");
    const int64_t first = step > 9 ? step - 9 : 0, count = step < p->n_steps ? step - first + 1 : p->n_steps - first;
    char path[1400];

    cJSON_AddNumberToObject(o, "step", (double)step + 1);
    cJSON_AddStringToObject(o, "why", why);
    cJSON_AddNumberToObject(o, "rollbacks_before", p->scalars[PPO_S_ROLLBACKS]);
    cJSON_AddNumberToObject(o, "learning_rate", p->c->ppo.lr * p->scalars[PPO_S_LR_SCALE]);
    cJSON_AddNumberToObject(o, "last_healthy_step", p->scalars[PPO_S_HEALTHY]);
    cJSON_AddNumberToObject(o, "first_step_shown", (double)first + 1);
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
        cJSON_AddItemToObject(curves, dtx_ppo_curves[shown[i]],
                              cJSON_CreateDoubleArray(p->curves[shown[i]].value + first, (int)count));
    }
    for (int64_t i = 0; i < p->roll.B && i < 5; i++) {
        char *bytes;
        size_t len;
        if (p->roll.length[i] >= 0 && p->roll.length[i] <= p->roll.N
            && dtx_tokenizer_decode(p->tokenizer, p->roll.tokens + i * p->roll.N, (size_t)p->roll.length[i], true, true, &bytes, &len)
                   == DTX_OK) {
            cJSON_AddItemToArray(text, cJSON_CreateString(bytes));
            dtx_free(bytes);
        }
    }
    char *json = cJSON_Print(o);
    cJSON_Delete(o);
    DTX_TRY(dtx_mem_check(json, 1, 1, "diagnosis"));
    snprintf(path, sizeof path, "%s/%s-collapse-%.0f.json", p->log_dir, p->name, p->scalars[PPO_S_ROLLBACKS] + 1);
    dtx_status st = dtx_file_write(path, json, strlen(json));
    cJSON_free(json);
    return st;
}

/* Back to the last healthy checkpoint with half the learning rate, or the end. */
static dtx_status roll_back(dtx_ppo *p, int64_t step, const char *why)
{
    const dtx_par *par = &p->job->par;
    const double rollbacks = p->scalars[PPO_S_ROLLBACKS] + 1, scale = p->scalars[PPO_S_LR_SCALE] / 2;

    DTX_TRY(DTX_ROOT(par, write_diagnosis(p, step, why)));
    if (rollbacks > (double)p->c->ppo.max_rollbacks) {
        return DTX_FAIL(DTX_ERR_NUMERIC, "the policy collapsed at step %" PRId64 " (%s) and was taken back %" PRId64 " times already; "
                        "nothing is published. %s/%s-collapse-*.json tell what happened. Lower ppo.lr, raise ppo.kl_coef, choose "
                        "ppo.kl_estimator k3 or full, or sample with less warping", step + 1, why, p->c->ppo.max_rollbacks, p->log_dir,
                        p->name);
    }
    DTX_TRY(dtx_training_restore(par, p->healthy, true, &p->state, NULL));
    p->scalars[PPO_S_ROLLBACKS] = rollbacks;
    p->scalars[PPO_S_LR_SCALE] = scale;
    p->scalars[PPO_S_STRIKES] = 0;
    dtx_ppo_apply(p);
    dtx_log(DTX_LOG_WARN, "ppo", "collapse at step %" PRId64 ": %s; back to step %" PRId64 ", learning rate %.3g", step + 1, why,
            p->state.step, p->c->ppo.lr * scale);
    return DTX_ROOT(par, dtx_train_state_write(p->path, &p->state));
}

/* --- the training --- */

static void report_step(const dtx_ppo *p, dtx_progress *progress, int64_t k)
{
    char text[240], json[500];
#define AT(i) p->curves[i].value[k]

    snprintf(text, sizeof text, "reward=%.4f kl=%.3f coef=%.4f entropy=%.3f clipfrac=%.3f loss=%.4f explained=%.2f", AT(PPO_REWARD_MEAN),
             AT(PPO_KL), AT(PPO_KL_COEF), AT(PPO_ENTROPY), AT(PPO_CLIPFRAC), AT(PPO_LOSS_TOTAL), AT(PPO_VAR_EXPLAINED));
    snprintf(json, sizeof json,
             "\"step\":%" PRId64 ",\"env/reward_mean\":%.6g,\"objective/kl\":%.6g,\"objective/kl_full\":%.6g,\"objective/kl_coef\":%.6g,"
             "\"ppo/policy/entropy\":%.6g,\"ppo/policy/clipfrac\":%.6g,\"ppo/loss/total\":%.6g,\"ppo/val/error\":%.6g,"
             "\"tokens/responses_len_mean\":%.6g", k + 1, AT(PPO_REWARD_MEAN), AT(PPO_KL), AT(PPO_KL_FULL), AT(PPO_KL_COEF),
             AT(PPO_ENTROPY), AT(PPO_CLIPFRAC), AT(PPO_LOSS_TOTAL), AT(PPO_VAL_ERROR), AT(PPO_RESPONSES_MEAN));
#undef AT
    dtx_progress_tick(progress, (double)k + 1, p->tokens, text, json, false);
}

/* Rollouts, update, curves, and whether the policy is still well: `why` names what is not ("" = healthy). */
static dtx_status one_step(dtx_ppo *p, bool *stopped, char *why, size_t size)
{
    const int64_t k = p->state.step;
    const double begun = dtx_now();

    why[0] = '\0';
    dtx_status st = dtx_ppo_roll(p, k, stopped);
    if (st == DTX_OK && *stopped) {
        return DTX_OK;
    }
    const double rolled = dtx_now();
    double described = rolled;
    if (st == DTX_OK) {
        dtx_ppo_describe(p, k);
        DTX_TRY(dtx_par_agree(&p->job->par, measure_health(p, k)));
        described = dtx_now();
        DTX_TRY(dtx_ppo_store_write(p, k));
        if (k < p->n_steps) {
            st = dtx_ppo_update(p, k);
        }
    }
    if (st == DTX_ERR_NUMERIC) { /* not a number somewhere: the plainest collapse */
        snprintf(why, size, "%s", dtx_error_text());
        dtx_error_clear();
        p->scalars[PPO_S_STRIKES] = (double)p->c->ppo.patience;
        return DTX_OK;
    }
    DTX_TRY(st);
    p->curves[PPO_TIME_ROLLOUT].value[k] = rolled - begun;
    p->curves[PPO_TIME_FORWARD].value[k] = p->forward_s;
    p->curves[PPO_TIME_REWARDS].value[k] = p->rewards_s;
    p->curves[PPO_TIME_STATS].value[k] = described - rolled;
    p->curves[PPO_TIME_UPDATE].value[k] = dtx_now() - described;
    p->curves[PPO_TIME_TOTAL].value[k] = dtx_now() - begun;
    if (healthy(p, k, why, size)) {
        p->scalars[PPO_S_STRIKES] = 0;
    } else {
        p->scalars[PPO_S_STRIKES]++;
        dtx_log(DTX_LOG_WARN, "ppo", "step %" PRId64 ": %s", k + 1, why);
    }
    return DTX_OK;
}

/* The policy after the last update is looked at too, with the rollouts that a next step would have: a collapse there is one. */
static dtx_status last_look(dtx_ppo *p, bool *stopped, char *why, size_t size)
{
    const int64_t k = p->n_steps;
    dtx_status st = dtx_ppo_roll(p, k, stopped);

    why[0] = '\0';
    if (st == DTX_ERR_NUMERIC) {
        snprintf(why, size, "%s", dtx_error_text());
        dtx_error_clear();
        return DTX_OK;
    }
    if (st != DTX_OK || *stopped) {
        return st;
    }
    dtx_ppo_describe(p, k);
    DTX_TRY(dtx_par_agree(&p->job->par, measure_health(p, k)));
    healthy(p, k, why, size);
    return DTX_OK;
}

static dtx_status iterate(dtx_ppo *p, dtx_progress *progress)
{
    bool stopped = false;
    char why[1024];

    for (;;) {
        stopped = stopped || dtx_par_any(&p->job->par, dtx_job_should_stop(p->job));
        if (!stopped && p->state.step == p->n_steps) {
            DTX_TRY(last_look(p, &stopped, why, sizeof why));
            if (!stopped && why[0] == '\0') {
                return DTX_OK;
            }
            if (!stopped) {
                DTX_TRY(roll_back(p, p->n_steps, why));
                continue;
            }
        }
        if (!stopped) {
            DTX_TRY(one_step(p, &stopped, why, sizeof why));
        }
        if (stopped) {
            DTX_TRY(save(p));
            return DTX_FAIL(DTX_STOPPED, "stopped after step %" PRId64 " of %" PRId64 "; the same command continues", p->state.step,
                            p->n_steps);
        }
        if (p->scalars[PPO_S_STRIKES] >= (double)p->c->ppo.patience) {
            DTX_TRY(roll_back(p, p->state.step, why));
            continue;
        }
        report_step(p, progress, p->state.step++);
        if (p->state.step % p->c->ppo.save_every == 0 || p->state.step == p->n_steps) {
            DTX_TRY(save(p));
        }
    }
}

static dtx_status write_head(const dtx_ppo *p)
{
    char path[1300];
    const float *head = p->params + p->adapter->n_params;
    const dtx_tensor t[2] = {
        {.name = "v_head.summary.weight", .dtype = DTX_F32, .n_dims = 2, .shape = {1, p->d}, .n_elements = p->d, .data = head,
         .size_bytes = (size_t)p->d * sizeof(float)},
        {.name = "v_head.summary.bias", .dtype = DTX_F32, .n_dims = 1, .shape = {1}, .n_elements = 1, .data = head + p->d,
         .size_bytes = sizeof(float)}};

    DTX_TRY(dtx_file_join(path, sizeof path, p->out_dir, "value_head.safetensors"));
    return dtx_safetensors_write(path, t, 2, NULL, 0);
}

static dtx_status left_to_do(dtx_plan *plan, void *user)
{
    const dtx_ppo *p = user;

    plan->first_step = p->state.step;
    DTX_TRY(dtx_plan_room(plan, p->n_prompts, 1));
    for (int64_t i = 0; i < p->n_prompts; i++) {
        plan->len[i] = p->prompt_offset[i + 1] - p->prompt_offset[i];
    }
    return DTX_OK;
}

static dtx_status train(dtx_ppo *p)
{
    const double begun = dtx_now();
    dtx_progress progress;
    bool found = false;
    dtx_status st = DTX_OK;

    DTX_TRY(dtx_ppo_store_make(p));
    DTX_TRY(resume(p, &found));
    if (!found) {
        DTX_TRY(save(p)); /* there is always something healthy to return to */
    }
    DTX_TRY(dtx_forecast(p->job, p->run, "ppo", p->base.model, left_to_do, p));
    dtx_progress_begin(&progress, p->job, p->log_dir, "steps", (double)p->n_steps, (double)p->state.step);
    st = iterate(p, &progress);
    dtx_progress_end(&progress);
    DTX_TRY(st);
    if (p->job->par.rank == 0) {
        st = dtx_file_mkdirs(p->out_dir);
        st = st == DTX_OK ? write_head(p) : st;
        st = st == DTX_OK ? dtx_adapter_write(p->out_dir, &p->base.arch, p->adapter, p->base.base_model) : st;
    }
    DTX_TRY(dtx_par_agree(&p->job->par, st));
    DTX_TRY(dtx_ppo_store_publish(p));
    const double *reward = p->curves[PPO_REWARD_MEAN].value;
    dtx_log(DTX_LOG_INFO, "ppo", "done in %.1f s, %.0f rollout tokens/s: reward %.4f -> %.4f, KL %.3f, %.0f rollbacks; adapter and value "
            "head of %" PRId64 " parameters in %s", dtx_now() - begun, p->tokens / (dtx_now() - begun + 1e-9), reward[0],
            reward[p->n_steps], p->curves[PPO_KL].value[p->n_steps], p->scalars[PPO_S_ROLLBACKS], p->n_params, p->out_dir);
    return DTX_OK;
}

/* --- the job --- */

static void tear_down(dtx_ppo *p)
{
    dtx_reduce_del(p->reduce);
    dtx_ppo_rollouts_free(&p->roll);
    for (int i = 0; i < PPO_CURVES; i++) {
        dtx_free(p->curves[i].value);
    }
    dtx_free(p->state.m);
    dtx_free(p->state.v);
    dtx_free(p->params);
    dtx_free(p->sum);
    dtx_free(p->prompt_offset);
    dtx_free(p->prompt_id);
    dtx_free(p->order);
    dtx_tape_del(p->tape);
    dtx_adapter_del(p->grads);
    dtx_adapter_del(p->adapter);
    dtx_reward_close(&p->reward);
    dtx_tokenizer_close(p->tokenizer);
    dtx_stage_model_close(&p->base);
    dtx_run_close(p->run);
    dtx_free(p);
}

static dtx_status open_all(dtx_ppo *p)
{
    const char *run = p->c->run, *variant = p->job->variant;

    dtx_h5_group(p->group, sizeof p->group, DTX_H5_TRAINING, p->name, NULL);
    dtx_h5_group(p->store, sizeof p->store, DTX_H5_ROLLOUTS, variant, NULL);
    snprintf(p->out_dir, sizeof p->out_dir, "%s/adapters/%s", run, variant);
    snprintf(p->path, sizeof p->path, "%s/checkpoints/%s.safetensors", run, p->name);
    snprintf(p->healthy, sizeof p->healthy, "%s/checkpoints/%s-healthy.safetensors", run, p->name);
    snprintf(p->log_dir, sizeof p->log_dir, "%s/log", run);
    DTX_TRY(dtx_stage_model_open(p->job, p->c->ppo.init, &p->base));
    dtx_status st = dtx_answers_judge(p->job, &p->reward);
    if (st == DTX_OK) {
        st = dtx_tokenizer_open(p->c->model.path, &p->tokenizer);
    }
    DTX_TRY(dtx_par_agree(&p->job->par, st));
    DTX_TRY(dtx_training_open_run(p->job, &p->run)); /* not before the models are there: it makes a run directory */
    DTX_TRY(load(p));
    return dtx_par_agree(&p->job->par, set_up(p));
}

static dtx_status run_ppo(dtx_job *job)
{
    dtx_ppo *p = NULL;
    char plan[256];
    bool go = false;
    dtx_status st = DTX_OK;

    DTX_TRY(dtx_par_agree(&job->par, DTX_NEW(p, 1)));
    p->job = job;
    p->c = &job->config;
    snprintf(p->name, sizeof p->name, "ppo-%s", job->variant);
    DTX_GO(open_all(p));
    snprintf(plan, sizeof plan, "%" PRId64 " steps of %" PRId64 " rollouts of at most %" PRId64 " tokens, %" PRId64
             " updates each; %" PRId64 " trainable parameters, two checkpoints of %.1f MB", p->n_steps, p->c->ppo.batch, p->roll.N,
             p->c->ppo.epochs * ((p->c->ppo.batch / p->c->ppo.mini_batch + p->c->ppo.accumulate - 1) / p->c->ppo.accumulate),
             p->n_params, 12e-6 * (double)p->n_params);
    DTX_GO(dtx_lora_ready(job, p->run, p->name, p->state.identity, p->out_dir, plan, &go));
    if (go) {
        st = job->redo ? dtx_ppo_store_discard(p) : DTX_OK;
        st = dtx_stage_end(p->run, st == DTX_OK ? train(p) : st);
    }
done:
    tear_down(p);
    return st;
}

const dtx_job_def dtx_job_ppo = {
    .name = "ppo",
    .args = NULL,
    .summary = "turn the model against hate: reinforcement learning against a classifier",
    .help = "Proximal policy optimisation of LoRA adapters and a value head with TRL 0.4's semantics, over any number of ranks: each "
            "step answers prompts made of dialogues in DIALOCONAN's columns, scores the answers with RoBERTa classifiers, and "
            "updates the policy; the reference is the base model. Adapter and value head go to RUN/adapters/V, all rollouts to "
            "/rollouts/V, curves under TRL's names to /training/ppo-V. A policy that collapses is taken back to its last healthy "
            "checkpoint with half the learning rate; after ppo.max_rollbacks returns the job ends with exit code 5 and publishes "
            "nothing. A stopped or killed training continues with the same command and ends with the same bytes.\n\n"
            "  mpirun -n 2 detoxlens ppo --variant RL --run runs/rl --set model.path=models/small \\\n"
            "      --set data.dialogues=DIALOCONAN.csv --set reward.path=models/judge",
    .bit = DTX_JOB_PPO,
    .parallel = true,
    .own_dry_run = true,
    .run = run_ppo,
};
