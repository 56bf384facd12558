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

const dtx_ppo_curve dtx_ppo_curves[PPO_CURVES] = {
    [PPO_REWARD_MEAN] = {"env/reward_mean", "mean score of the responses", "1"},
    [PPO_REWARD_STD] = {"env/reward_std", "standard deviation of the scores", "1"},
    [PPO_KL] = {"objective/kl", "sum of log p - log p_ref over a response, mean", "nat"},
    [PPO_KL_ESTIMATE] = {"objective/kl_estimate", "sum of ppo.kl_estimator over a response, mean; what the controller sees", "nat"},
    [PPO_KL_FULL] = {"objective/kl_full", "sum over a response of the KL divergence over the vocabulary, mean", "nat"},
    [PPO_KL_COEF] = {"objective/kl_coef", "coefficient of the KL penalty", "1"},
    [PPO_ENTROPY_SUM] = {"objective/entropy", "minus the sum of log p over a response, mean", "nat"},
    [PPO_LOGPROBS] = {"objective/logprobs", "log p of a response token at rollout, mean", "nat"},
    [PPO_REF_LOGPROBS] = {"objective/ref_logprobs", "log p of a response token under the reference, mean", "nat"},
    [PPO_MEAN_SCORES] = {"ppo/mean_scores", "mean score of the responses", "1"},
    [PPO_STD_SCORES] = {"ppo/std_scores", "standard deviation of the scores", "1"},
    [PPO_NON_SCORE] = {"ppo/mean_non_score_reward", "KL penalty of a token, mean", "1"},
    [PPO_LOSS_POLICY] = {"ppo/loss/policy", "clipped policy loss, mean over the updates", "1"},
    [PPO_LOSS_VALUE] = {"ppo/loss/value", "clipped value loss, mean over the updates", "1"},
    [PPO_LOSS_TOTAL] = {"ppo/loss/total", "policy loss + vf_coef value loss", "1"},
    [PPO_ENTROPY] = {"ppo/policy/entropy", "entropy of the policy's next-token distribution, mean", "nat"},
    [PPO_APPROXKL] = {"ppo/policy/approxkl", "half the squared change of log p since the rollout, mean", "nat"},
    [PPO_POLICYKL] = {"ppo/policy/policykl", "fall of log p since the rollout, mean", "nat"},
    [PPO_CLIPFRAC] = {"ppo/policy/clipfrac", "share of tokens whose policy loss was clipped", "1"},
    [PPO_ADVANTAGES] = {"ppo/policy/advantages", "advantage before whitening, mean", "1"},
    [PPO_ADVANTAGES_MEAN] = {"ppo/policy/advantages_mean", "whitened advantage, mean", "1"},
    [PPO_RATIO] = {"ppo/policy/ratio", "probability ratio to the rollout's policy, mean", "1"},
    [PPO_RETURNS_MEAN] = {"ppo/returns/mean", "return of a token, mean", "1"},
    [PPO_RETURNS_VAR] = {"ppo/returns/var", "return of a token, variance", "1"},
    [PPO_VPRED] = {"ppo/val/vpred", "value during the updates, mean", "1"},
    [PPO_VAL_ERROR] = {"ppo/val/error", "squared difference of value and return, mean", "1"},
    [PPO_VAL_CLIPFRAC] = {"ppo/val/clipfrac", "share of tokens whose value loss was clipped", "1"},
    [PPO_VAL_MEAN] = {"ppo/val/mean", "value at rollout, mean", "1"},
    [PPO_VAL_VAR] = {"ppo/val/var", "value at rollout, variance", "1"},
    [PPO_VAR_EXPLAINED] = {"ppo/val/var_explained", "1 - val/error / returns/var", "1"},
    [PPO_LR] = {"ppo/learning_rate", "learning rate", "1"},
    [PPO_QUERIES_MEAN] = {"tokens/queries_len_mean", "tokens of a prompt, mean", "1"},
    [PPO_QUERIES_STD] = {"tokens/queries_len_std", "tokens of a prompt, standard deviation", "1"},
    [PPO_RESPONSES_MEAN] = {"tokens/responses_len_mean", "tokens of a response, mean", "1"},
    [PPO_RESPONSES_STD] = {"tokens/responses_len_std", "tokens of a response, standard deviation", "1"},
    [PPO_REPEAT] = {"health/repeated_ngrams", "share of the responses' 4-grams that occurred before", "1"},
    [PPO_EMPTY] = {"health/empty", "share of responses without text", "1"},
    [PPO_TIME_ROLLOUT] = {"timing/time/ppo/rollouts", "generating, evaluating and scoring the rollouts", "s"},
    [PPO_TIME_FORWARD] = {"timing/time/ppo/forward_pass", "of that: policy and reference on rank 0's rollouts", "s"},
    [PPO_TIME_REWARDS] = {"timing/time/ppo/compute_rewards", "KL penalties and rewards of the tokens", "s"},
    [PPO_TIME_UPDATE] = {"timing/time/ppo/optimize_step", "all updates of the step, and writing its rollouts", "s"},
    [PPO_TIME_STATS] = {"timing/time/ppo/calc_stats", "the curves that rollouts alone tell", "s"},
    [PPO_TIME_TOTAL] = {"timing/time/ppo/total", "the whole step", "s"},
};

static dtx_status make_stores(hid_t file, void *user)
{
    const dtx_ppo *p = user;
    const hsize_t rows = (hsize_t)(p->n_steps * p->roll.B), width = (hsize_t)p->roll.N;
    const struct {
        const char *name;
        hid_t type;
        int rank;
        int64_t fill;
        const char *long_name, *units;
    } set[] = {
        {"tokens", H5T_NATIVE_INT32, 2, -1, "ids of the response, -1 after its end", "1"},
        {"length", H5T_NATIVE_INT32, 1, 0, "tokens of the response", "1"},
        {"finish", H5T_NATIVE_UINT8, 1, 0, "0 not done, 1 end of text, 2 length", "1"},
        {"prompt", H5T_NATIVE_INT32, 1, -1, "index of the training prompt", "1"},
        {"score", H5T_NATIVE_FLOAT, 1, 0, "score of the response", "1"},
        {"kl", H5T_NATIVE_FLOAT, 1, 0, "sum of logprob - ref_logprob over the response", "nat"},
        {"logprob", H5T_NATIVE_FLOAT, 2, 0, "log p of the token under the policy", "nat"},
        {"ref_logprob", H5T_NATIVE_FLOAT, 2, 0, "log p of the token under the reference", "nat"},
        {"behaviour_logprob", H5T_NATIVE_FLOAT, 2, 0, "log p of the token after the processors", "nat"},
        {"value", H5T_NATIVE_FLOAT, 2, 0, "value of the position before the token", "1"},
    };

    if (dtx_h5_exists(file, p->store)) {
        DTX_TRY(dtx_h5_delete(file, p->store));
    }
    for (size_t i = 0; i < sizeof set / sizeof *set; i++) {
        char path[200];
        snprintf(path, sizeof path, "%s/%s", p->store, set[i].name);
        const dtx_h5_spec spec = {.path = path, .type = set[i].type, .rank = set[i].rank, .shape = {rows, width},
                                  .dims = {"rollout", set[i].rank == 2 ? "token" : NULL}, .fill = set[i].fill,
                                  .long_name = set[i].long_name, .units = set[i].units};
        DTX_TRY(dtx_h5_make(file, &spec));
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

dtx_status dtx_ppo_store_make(dtx_ppo *p)
{
    bool there = false;
    void *both[] = {p, &there};

    DTX_TRY(dtx_run_inspect(p->run, look, both));
    there = dtx_par_any(&p->job->par, there);
    if (there && dtx_par_any(&p->job->par, p->job->par.rank == 0 && dtx_file_exists(p->path))) {
        return DTX_OK;
    }
    if (there) { /* perhaps of other settings: nothing tells */
        dtx_log(DTX_LOG_WARN, "ppo", "%s belongs to a training whose checkpoint is gone, and is replaced", p->store);
    }
    return dtx_run_edit(p->run, make_stores, p);
}

/* Every rank holds all rows; rank 0 writes them. */
static dtx_status write_one(dtx_ppo *p, int64_t step, const char *name, hid_t type, const void *x)
{
    const int64_t start = step * p->roll.B, count = p->roll.B;
    char path[200];

    snprintf(path, sizeof path, "%s/%s", p->store, name);
    return dtx_run_write(p->run, path, type, p->job->par.rank == 0 ? 1 : 0, &start, &count, x);
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
        st = write_one(p, step, "tokens", H5T_NATIVE_INT32, r->tokens);
    }
    if (st == DTX_OK) {
        st = write_one(p, step, "length", H5T_NATIVE_INT32, r->length);
    }
    if (st == DTX_OK) {
        st = write_one(p, step, "finish", H5T_NATIVE_INT32, r->finish);
    }
    if (st == DTX_OK) {
        st = write_one(p, step, "prompt", H5T_NATIVE_INT32, prompt);
    }
    if (st == DTX_OK) {
        st = write_one(p, step, "score", H5T_NATIVE_DOUBLE, r->score);
    }
    if (st == DTX_OK) {
        st = write_one(p, step, "kl", H5T_NATIVE_DOUBLE, kl);
    }
    if (st == DTX_OK) {
        st = write_one(p, step, "behaviour_logprob", H5T_NATIVE_FLOAT, r->behaviour);
    }
    for (int k = 0; k < 3; k++) {
        if (st == DTX_OK) {
            st = write_one(p, step, name[k], H5T_NATIVE_DOUBLE, padded[k]);
        }
        dtx_free(padded[k]);
    }
    dtx_free(prompt);
    dtx_free(kl);
    return st;
}

/* --- the end --- */

/* (steps, batch) of one quantity of the rollouts, under TRL's name. */
static dtx_status write_dist(hid_t file, const dtx_ppo *p, const char *from, const char *name, const char *long_name,
                             const char *units)
{
    char path[200];
    float *x = NULL;
    dtx_status st = DTX_OK;

    DTX_GO(DTX_NEW_RAW(x, p->n_steps * p->roll.B));
    snprintf(path, sizeof path, "%s/%s", p->store, from);
    DTX_GO(dtx_h5_read(file, path, H5T_NATIVE_FLOAT, x));
    snprintf(path, sizeof path, "%s/%s", p->group, name);
    DTX_GO(dtx_h5_make(file, &(dtx_h5_spec){.path = path, .type = H5T_NATIVE_FLOAT, .rank = 2,
                                            .shape = {(hsize_t)p->n_steps, (hsize_t)p->roll.B}, .dims = {"train_step", "response"},
                                            .long_name = long_name, .units = units}));
    DTX_GO(dtx_h5_write(file, path, H5T_NATIVE_FLOAT, x));
done:
    dtx_free(x);
    return st;
}

static dtx_status publish(hid_t file, void *user)
{
    dtx_ppo *p = user;
    char path[200];

    if (dtx_h5_exists(file, p->group)) {
        DTX_TRY(dtx_h5_delete(file, p->group));
    }
    for (int i = 0; i < PPO_CURVES; i++) {
        snprintf(path, sizeof path, "%s/%s", p->group, dtx_ppo_curves[i].name);
        const dtx_h5_spec spec = {.path = path, .type = H5T_NATIVE_FLOAT, .rank = 1, .shape = {(hsize_t)p->n_steps},
                                  .dims = {"train_step"}, .long_name = dtx_ppo_curves[i].long_name, .units = dtx_ppo_curves[i].units};
        DTX_TRY(dtx_h5_make(file, &spec));
        DTX_TRY(dtx_h5_write(file, path, H5T_NATIVE_DOUBLE, p->curves[i].value));
    }
    DTX_TRY(write_dist(file, p, "score", "env/reward_dist", "score of each response", "1"));
    DTX_TRY(write_dist(file, p, "kl", "objective/kl_dist", "sum of log p - log p_ref over each response", "nat"));
    snprintf(path, sizeof path, "%s/text_offset", p->store);
    if (!dtx_h5_exists(file, path)) {
        DTX_TRY(dtx_answers_write_texts(file, p->store, p->tokenizer, "rollout_edge"));
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
