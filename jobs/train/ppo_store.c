/* ppo_store.c - what ppo leaves in run.h5:
 *   /rollouts/V/...            every rollout: row step * batch + i
 *   /training/ppo-V/<name>     curves under TRL's names; `timing/` what depends on the clock */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "jobs/train/ppo.h"
#include "src/base/file.h"
#include "src/base/log.h"
#include "src/base/mem.h"

const char *const dtx_ppo_curves[PPO_CURVES] = {
    [PPO_REWARD_MEAN] = "env/reward_mean",
    [PPO_REWARD_STD] = "env/reward_std",
    [PPO_KL] = "objective/kl",
    [PPO_KL_ESTIMATE] = "objective/kl_estimate",
    [PPO_KL_FULL] = "objective/kl_full",
    [PPO_KL_COEF] = "objective/kl_coef",
    [PPO_ENTROPY_SUM] = "objective/entropy",
    [PPO_LOGPROBS] = "objective/logprobs",
    [PPO_REF_LOGPROBS] = "objective/ref_logprobs",
    [PPO_MEAN_SCORES] = "ppo/mean_scores",
    [PPO_STD_SCORES] = "ppo/std_scores",
    [PPO_NON_SCORE] = "ppo/mean_non_score_reward",
    [PPO_LOSS_POLICY] = "ppo/loss/policy",
    [PPO_LOSS_VALUE] = "ppo/loss/value",
    [PPO_LOSS_TOTAL] = "ppo/loss/total",
    [PPO_ENTROPY] = "ppo/policy/entropy",
    [PPO_APPROXKL] = "ppo/policy/approxkl",
    [PPO_POLICYKL] = "ppo/policy/policykl",
    [PPO_CLIPFRAC] = "ppo/policy/clipfrac",
    [PPO_ADVANTAGES] = "ppo/policy/advantages",
    [PPO_ADVANTAGES_MEAN] = "ppo/policy/advantages_mean",
    [PPO_RATIO] = "ppo/policy/ratio",
    [PPO_RETURNS_MEAN] = "ppo/returns/mean",
    [PPO_RETURNS_VAR] = "ppo/returns/var",
    [PPO_VPRED] = "ppo/val/vpred",
    [PPO_VAL_ERROR] = "ppo/val/error",
    [PPO_VAL_CLIPFRAC] = "ppo/val/clipfrac",
    [PPO_VAL_MEAN] = "ppo/val/mean",
    [PPO_VAL_VAR] = "ppo/val/var",
    [PPO_VAR_EXPLAINED] = "ppo/val/var_explained",
    [PPO_LR] = "ppo/learning_rate",
    [PPO_QUERIES_MEAN] = "tokens/queries_len_mean",
    [PPO_QUERIES_STD] = "tokens/queries_len_std",
    [PPO_RESPONSES_MEAN] = "tokens/responses_len_mean",
    [PPO_RESPONSES_STD] = "tokens/responses_len_std",
    [PPO_REPEAT] = "health/repeated_ngrams",
    [PPO_EMPTY] = "health/empty",
    [PPO_TIME_ROLLOUT] = "timing/time/ppo/rollouts",
    [PPO_TIME_FORWARD] = "timing/time/ppo/forward_pass",
    [PPO_TIME_REWARDS] = "timing/time/ppo/compute_rewards",
    [PPO_TIME_UPDATE] = "timing/time/ppo/optimize_step",
    [PPO_TIME_STATS] = "timing/time/ppo/calc_stats",
    [PPO_TIME_TOTAL] = "timing/time/ppo/total",
};

static dtx_status make_stores(hid_t file, void *user)
{
    const dtx_ppo *p = user;
    static const char *const set[] = {"tokens", "length", "finish", "prompt", "score", "kl", "logprob", "ref_logprob", "behaviour_logprob",
                                      "value"};

    if (dtx_h5_exists(file, p->store)) {
        DTX_TRY(dtx_h5_delete(file, p->store));
    }
    for (size_t i = 0; i < sizeof set / sizeof *set; i++) {
        DTX_TRY(dtx_h5_make(file, p->store, set[i], p->n_steps * p->roll.B, p->roll.N));
    }
    return dtx_h5_attr_int(file, p->store, "batch", p->roll.B);
}

static dtx_status look(hid_t file, void *user)
{
    const dtx_ppo *p = ((void **)user)[0];
    bool *there = ((void **)user)[1];

    *there = dtx_h5_exists(file, p->store);
    return DTX_OK;
}

static dtx_status fits(hid_t file, void *user)
{
    const dtx_ppo *p = user;

    return dtx_h5_fits(file, p->store, p->n_steps * p->roll.B, p->roll.N);
}

dtx_status dtx_ppo_store_make(dtx_ppo *p)
{
    bool there = false;
    void *both[] = {p, &there};

    DTX_TRY(dtx_run_inspect(p->run, look, both));
    there = dtx_par_any(&p->job->par, there);
    if (there && dtx_par_any(&p->job->par, p->job->par.rank == 0 && dtx_file_exists(p->path))) {
        return dtx_run_inspect(p->run, fits, p);
    }
    if (there) { /* perhaps of other settings: nothing tells */
        dtx_log(DTX_LOG_WARN, "ppo", "%s belongs to a training whose checkpoint is gone, and is replaced", p->store);
    }
    return dtx_run_edit(p->run, make_stores, p);
}

/* Every rank holds all rows; rank 0 writes them. */
static dtx_status write_one(dtx_ppo *p, int64_t step, const char *name, hid_t type, int64_t width, const void *x)
{
    const int64_t start = step * p->roll.B, count = p->roll.B;

    return dtx_run_write(p->run, &(dtx_write){.group = p->store, .name = name, .type = type, .rows = p->n_steps * p->roll.B, .width = width,
                                              .n = p->job->par.rank == 0 ? 1 : 0, .start = &start, .count = &count, .x = x});
}

dtx_status dtx_ppo_store_write(dtx_ppo *p, int64_t step)
{
    dtx_ppo_rollouts *r = &p->roll;
    const int64_t n = r->B * r->N;
    double *padded[3] = {NULL}, *kl = NULL;
    const double *from[3] = {r->lp, r->ref_lp, r->value};
    static const char *const name[3] = {"logprob", "ref_logprob", "value"};
    int32_t *prompt = NULL;
    dtx_status st = DTX_OK;

    DTX_GO(DTX_NEW(kl, r->B));
    DTX_GO(DTX_NEW(prompt, r->B));
    for (int k = 0; k < 3; k++) {
        DTX_GO(DTX_NEW_RAW(padded[k], n));
        for (int64_t i = 0; i < n; i++) {
            padded[k][i] = i % r->N < r->length[i / r->N] ? from[k][i] : NAN;
        }
    }
    for (int64_t i = 0; i < r->B; i++) {
        prompt[i] = (int32_t)r->prompt[i];
        for (int64_t j = 0; j < r->length[i]; j++) {
            kl[i] += r->lp[i * r->N + j] - r->ref_lp[i * r->N + j];
        }
    }
done:
    st = dtx_par_agree(&p->job->par, st);
    if (st == DTX_OK) {
        st = write_one(p, step, "tokens", H5T_NATIVE_INT32, r->N, r->tokens);
    }
    if (st == DTX_OK) {
        st = write_one(p, step, "length", H5T_NATIVE_INT32, 1, r->length);
    }
    if (st == DTX_OK) {
        st = write_one(p, step, "finish", H5T_NATIVE_INT32, 1, r->finish);
    }
    if (st == DTX_OK) {
        st = write_one(p, step, "prompt", H5T_NATIVE_INT32, 1, prompt);
    }
    if (st == DTX_OK) {
        st = write_one(p, step, "score", H5T_NATIVE_DOUBLE, 1, r->score);
    }
    if (st == DTX_OK) {
        st = write_one(p, step, "kl", H5T_NATIVE_DOUBLE, 1, kl);
    }
    if (st == DTX_OK) {
        st = write_one(p, step, "behaviour_logprob", H5T_NATIVE_FLOAT, r->N, r->behaviour);
    }
    for (int k = 0; k < 3; k++) {
        if (st == DTX_OK) {
            st = write_one(p, step, name[k], H5T_NATIVE_DOUBLE, r->N, padded[k]);
        }
        dtx_free(padded[k]);
    }
    dtx_free(prompt);
    dtx_free(kl);
    return st;
}

/* --- the end --- */

/* (steps, batch) of one quantity of the rollouts, under TRL's name. */
static dtx_status write_dist(hid_t file, const dtx_ppo *p, const char *from, const char *name)
{
    void *x = NULL;
    dtx_status st;

    DTX_GO(dtx_h5_take(file, p->store, from, H5T_NATIVE_FLOAT, p->n_steps * p->roll.B, 1, &x, NULL));
    st = dtx_h5_put(file, p->group, name, H5T_NATIVE_FLOAT, p->n_steps, p->roll.B, x);
done:
    dtx_free(x);
    return st;
}

static dtx_status publish(hid_t file, void *user)
{
    dtx_ppo *p = user;

    if (dtx_h5_exists(file, p->group)) {
        DTX_TRY(dtx_h5_delete(file, p->group));
    }
    for (int i = 0; i < PPO_CURVES; i++) {
        DTX_TRY(dtx_h5_put(file, p->group, dtx_ppo_curves[i], H5T_NATIVE_DOUBLE, p->n_steps, 1, p->curves[i].value));
    }
    DTX_TRY(write_dist(file, p, "score", "env/reward_dist"));
    DTX_TRY(write_dist(file, p, "kl", "objective/kl_dist"));
    if (!dtx_h5_has(file, p->store, "text_offset")) {
        DTX_TRY(dtx_answers_write_texts(file, p->store, p->tokenizer));
    }
    DTX_TRY(dtx_h5_attr_double(file, p->group, "final_reward_mean", p->curves[PPO_REWARD_MEAN].value[p->n_steps]));
    DTX_TRY(dtx_h5_attr_double(file, p->group, "final_kl", p->curves[PPO_KL].value[p->n_steps]));
    DTX_TRY(dtx_h5_attr_int(file, p->group, "rollbacks", (int64_t)p->scalars[PPO_S_ROLLBACKS]));
    DTX_TRY(dtx_h5_attr_str(file, p->group, "settings", p->state.identity));
    return dtx_h5_attr_int(file, p->group, "complete", 1);
}

dtx_status dtx_ppo_store_publish(dtx_ppo *p)
{
    DTX_TRY(dtx_run_edit(p->run, publish, p));
    if (p->job->par.rank == 0) { /* marked complete: the checkpoints have done their duty */
        unlink(p->path);
        unlink(p->healthy);
    }
    return DTX_OK;
}

static dtx_status discard(hid_t file, void *user)
{
    const dtx_ppo *p = user;

    return dtx_h5_exists(file, p->store) ? dtx_h5_delete(file, p->store) : DTX_OK;
}

dtx_status dtx_ppo_store_discard(dtx_ppo *p)
{
    if (p->job->par.rank == 0) {
        unlink(p->healthy);
    }
    return dtx_run_edit(p->run, discard, p);
}
