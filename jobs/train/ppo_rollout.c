/* ppo_rollout.c - the rollouts of a step: units of prompts are handed out to the ranks, which generate, evaluate policy and
 * reference, and score; the rows are then gathered bit by bit. A rollout depends on (seed, step, prompt) and the policy. */
#include <math.h>
#include <string.h>

#include "jobs/train/ppo.h"
#include "mpi/par/queue.h"
#include "src/base/mem.h"

enum { ORDER_KEY = 0x50506F72 };

dtx_status dtx_ppo_rollouts_init(dtx_ppo_rollouts *r, int64_t B, int64_t N)
{
    const size_t n = (size_t)(B * N);

    *r = (dtx_ppo_rollouts){.B = B, .N = N};
    r->size = n * (5 * sizeof(double) + sizeof(float) + sizeof(int32_t)) + (size_t)B * (sizeof(double) + 3 * sizeof(int32_t));
    DTX_TRY(DTX_NEW(r->block, r->size));
    r->lp = (double *)(void *)r->block;
    r->ref_lp = r->lp + n;
    r->value = r->ref_lp + n;
    r->entropy = r->value + n;
    r->kl_full = r->entropy + n;
    r->score = r->kl_full + n;
    r->behaviour = (float *)(r->score + B);
    r->tokens = (int32_t *)(r->behaviour + n);
    r->length = r->tokens + n;
    r->finish = r->length + B;
    r->blank = r->finish + B;
    DTX_TRY(DTX_NEW(r->prompt, B));
    DTX_TRY(DTX_NEW(r->entry, B + 1));
    DTX_TRY(DTX_NEW(r->flat_lp, n));
    DTX_TRY(DTX_NEW(r->flat_ref, n));
    DTX_TRY(DTX_NEW(r->flat_value, n));
    DTX_TRY(DTX_NEW(r->flat_entropy, n));
    DTX_TRY(DTX_NEW(r->flat_full, n));
    DTX_TRY(DTX_NEW(r->kl, n));
    return DTX_NEW(r->rewards, n);
}

void dtx_ppo_rollouts_free(dtx_ppo_rollouts *r)
{
    dtx_free(r->block);
    dtx_free(r->prompt);
    dtx_free(r->entry);
    dtx_free(r->flat_lp);
    dtx_free(r->flat_ref);
    dtx_free(r->flat_value);
    dtx_free(r->flat_entropy);
    dtx_free(r->flat_full);
    dtx_free(r->kl);
    dtx_free(r->rewards);
}

int64_t dtx_ppo_prompt(dtx_ppo *p, int64_t step, int64_t i)
{
    const int64_t pass = step / p->per_pass;

    if (p->pass != pass) {
        dtx_rng_permutation((uint64_t)p->c->seed, ORDER_KEY + ((uint64_t)pass << 32), p->n_prompts, p->order);
        p->pass = pass;
    }
    return p->order[step % p->per_pass * p->c->ppo.batch + i];
}

dtx_policy_dropout dtx_ppo_dropout(const dtx_ppo *p, int64_t step, int64_t pass, const int64_t *row)
{
    return (dtx_policy_dropout){p->adapter->dropout, PPO_HEAD_DROPOUT, (uint64_t)p->c->seed, step * (p->c->ppo.epochs + 1) + pass, row};
}

static bool stop_asked(void *user)
{
    return dtx_job_should_stop(user);
}

/* Log-probabilities, values and entropy of row i, whose tokens are generated. */
static dtx_status evaluate_row(dtx_ppo *p, int64_t step, int64_t i, int32_t *ids)
{
    dtx_ppo_rollouts *r = &p->roll;
    const int64_t query = p->prompt_offset[r->prompt[i] + 1] - p->prompt_offset[r->prompt[i]], at = i * r->N;
    const int64_t offset[2] = {0, query + r->length[i]};
    const dtx_policy_dropout dropout = dtx_ppo_dropout(p, step, 0, &i);
    const dtx_policy_rows row = {.n = 1, .offset = offset, .query = &query, .ids = ids, .dropout = p->trl ? &dropout : NULL};

    memcpy(ids, p->prompt_id + p->prompt_offset[r->prompt[i]], (size_t)query * sizeof *ids);
    memcpy(ids + query, r->tokens + at, (size_t)r->length[i] * sizeof *ids);
    return dtx_policy_compare(p->base.model, p->adapter, NULL, p->params + p->adapter->n_params, &row,
                              &(dtx_policy_view){.lp = r->lp + at, .ref_lp = r->ref_lp + at, .value = r->value + at,
                                                 .entropy = r->entropy + at, .kl = r->kl_full + at});
}

/* One unit of rows, all of it local. */
static dtx_status roll_unit(dtx_ppo *p, int64_t step, int64_t first, int64_t n)
{
    dtx_ppo_rollouts *r = &p->roll;
    const dtx_generate_options opt = {.sampling = p->sampling, .batch = p->c->generate.batch, .seed = (uint64_t)p->c->seed,
                                      .domain = DTX_RNG_ROLLOUT, .adapter = p->adapter, .stop = stop_asked, .user = p->job};
    dtx_generation *item = NULL;
    int32_t *ids = NULL;
    dtx_status st = DTX_OK;

    DTX_GO(DTX_NEW(item, n));
    DTX_GO(DTX_NEW_RAW(ids, p->longest + r->N));
    for (int64_t i = 0; i < n; i++) {
        const int64_t k = r->prompt[first + i], at = (first + i) * r->N;
        item[i] = (dtx_generation){.prompt = p->prompt_id + p->prompt_offset[k],
                                   .prompt_len = p->prompt_offset[k + 1] - p->prompt_offset[k], .row = (uint64_t)k,
                                   .sample = (uint32_t)step, .tokens = r->tokens + at, .behaviour_logprob = r->behaviour + at};
    }
    DTX_GO(dtx_generate(p->base.model, &opt, item, n));
    const double begun = dtx_now();
    for (int64_t i = 0; i < n; i++) {
        r->length[first + i] = item[i].length;
        r->finish[first + i] = item[i].finish;
        DTX_GO(evaluate_row(p, step, first + i, ids));
    }
    p->forward_s += dtx_now() - begun;
    DTX_GO(dtx_answers_score(&p->reward, p->tokenizer, n, r->N, r->tokens + first * r->N, r->length + first, r->score + first,
                             r->blank + first));
done:
    dtx_free(ids);
    dtx_free(item);
    return st;
}

static dtx_status roll_all(dtx_ppo *p, int64_t step, bool *stopped)
{
    const int64_t B = p->roll.B, size = p->c->generate.batch, units = (B + size - 1) / size;
    dtx_queue *q = NULL;
    dtx_status mine = DTX_OK, st;
    bool more = false;
    int64_t u;

    DTX_TRY(dtx_queue_new(&p->job->par, units, 0, &q));
    DTX_GO(dtx_queue_begin_round(q));
    while (mine == DTX_OK && dtx_queue_next(q, &u)) {
        mine = roll_unit(p, step, u * size, B - u * size < size ? B - u * size : size);
        if (mine == DTX_STOPPED) {
            dtx_queue_request_stop(q);
            dtx_queue_give_back(q, u);
        }
    }
    st = dtx_queue_end_round(q, mine == DTX_STOPPED ? DTX_OK : mine, &more, stopped);
done:
    dtx_queue_del(q);
    return st;
}

/* Rows without padding, and what else follows from them; local. */
static void flatten(dtx_ppo *p)
{
    dtx_ppo_rollouts *r = &p->roll;

    for (int64_t i = 0; i < r->B; i++) {
        const size_t n = (size_t)r->length[i] * sizeof(double);
        r->entry[i + 1] = r->entry[i] + r->length[i];
        memcpy(r->flat_lp + r->entry[i], r->lp + i * r->N, n);
        memcpy(r->flat_ref + r->entry[i], r->ref_lp + i * r->N, n);
        memcpy(r->flat_value + r->entry[i], r->value + i * r->N, n);
        memcpy(r->flat_entropy + r->entry[i], r->entropy + i * r->N, n);
        memcpy(r->flat_full + r->entry[i], r->kl_full + i * r->N, n);
    }
    dtx_kl_estimate(p->estimator, r->entry[r->B], r->flat_lp, r->flat_ref, r->flat_full, r->kl);
    dtx_ppo_rewards(r->B, r->entry, r->kl, p->scalars[PPO_S_KL_COEF], r->score, r->rewards);
}

dtx_status dtx_ppo_roll(dtx_ppo *p, int64_t step, bool *stopped)
{
    dtx_ppo_rollouts *r = &p->roll;

    memset(r->block, 0, r->size);
    p->forward_s = 0;
    for (int64_t i = 0; i < r->B; i++) {
        r->prompt[i] = dtx_ppo_prompt(p, step, i);
    }
    DTX_TRY(roll_all(p, step, stopped));
    if (*stopped) {
        return DTX_OK;
    }
    DTX_TRY(dtx_par_or(&p->job->par, r->block, r->size));
    const double begun = dtx_now();
    flatten(p);
    p->rewards_s = dtx_now() - begun;
    p->tokens += (double)r->entry[r->B];
    for (int64_t j = 0; j < r->entry[r->B]; j++) {
        if (!isfinite(r->flat_lp[j]) || !isfinite(r->flat_value[j]) || !isfinite(r->rewards[j])) {
            return DTX_FAIL(DTX_ERR_NUMERIC, "step %lld: a rollout has log-probability %g, value %g, reward %g", (long long)step,
                            r->flat_lp[j], r->flat_value[j], r->rewards[j]);
        }
    }
    return DTX_OK;
}

static double mean_of(int64_t n, const double *x)
{
    double mean, var;

    dtx_mean_var(n, x, &mean, &var);
    return mean;
}

static double sum_of(int64_t n, const double *x)
{
    double sum = 0;

    for (int64_t i = 0; i < n; i++) {
        sum += x[i];
    }
    return sum;
}

void dtx_ppo_describe(dtx_ppo *p, int64_t step)
{
    const dtx_ppo_rollouts *r = &p->roll;
    const int64_t E = r->entry[r->B];
    const double B = (double)r->B, coef = p->scalars[PPO_S_KL_COEF];
    double mean, var, *x = r->rewards; /* borrowed as scratch for lengths, then filled again */
    double value[PPO_CURVES];

    for (int i = 0; i < PPO_CURVES; i++) {
        value[i] = p->curves[i].value[step];
    }
    dtx_mean_var(r->B, r->score, &mean, &var);
    value[PPO_REWARD_MEAN] = value[PPO_MEAN_SCORES] = mean;
    value[PPO_REWARD_STD] = value[PPO_STD_SCORES] = sqrt(var);
    const double lp = sum_of(E, r->flat_lp), ref = sum_of(E, r->flat_ref);
    value[PPO_KL] = 0;
    for (int64_t j = 0; j < E; j++) {
        value[PPO_KL] += (r->flat_lp[j] - r->flat_ref[j]) / B;
    }
    value[PPO_KL_ESTIMATE] = sum_of(E, r->kl) / B;
    value[PPO_KL_FULL] = sum_of(E, r->flat_full) / B;
    value[PPO_KL_COEF] = coef;
    value[PPO_ENTROPY_SUM] = -lp / B;
    value[PPO_LOGPROBS] = lp / (double)E;
    value[PPO_REF_LOGPROBS] = ref / (double)E;
    value[PPO_NON_SCORE] = -coef * mean_of(E, r->kl);
    value[PPO_ENTROPY] = mean_of(E, r->flat_entropy);
    for (int64_t i = 0; i < r->B; i++) {
        x[i] = (double)(p->prompt_offset[r->prompt[i] + 1] - p->prompt_offset[r->prompt[i]]);
    }
    dtx_mean_var(r->B, x, &value[PPO_QUERIES_MEAN], &var);
    value[PPO_QUERIES_STD] = sqrt(var);
    value[PPO_EMPTY] = 0;
    for (int64_t i = 0; i < r->B; i++) {
        x[i] = (double)r->length[i];
        value[PPO_EMPTY] += r->blank[i] / B;
    }
    dtx_mean_var(r->B, x, &value[PPO_RESPONSES_MEAN], &var);
    value[PPO_RESPONSES_STD] = sqrt(var);
    dtx_ppo_rewards(r->B, r->entry, r->kl, coef, r->score, r->rewards);
    for (int i = 0; i < PPO_CURVES; i++) {
        p->curves[i].value[step] = value[i];
    }
}
