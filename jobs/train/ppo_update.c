/* ppo_update.c - the epochs of a step: mini-batches of the rollouts, shuffled anew in each epoch; their gradients, row by row
 * over the ranks, summed in a fixed order; Adam. */
#include <math.h>
#include <string.h>

#include "jobs/train/ppo.h"
#include "src/base/mem.h"
#include "src/training/optim.h"

enum { ORDER_KEY = 0x50507570 };

/* One mini-batch: rows in the epoch's order, and what the update needs of each entry. */
typedef struct {
    const int64_t *row;     /* (mini_batch) */
    int64_t *entry;         /* (mini_batch + 1) */
    double *old_lp, *old_value, *rewards, *raw, *returns, *advantage;
    double scale;           /* of its loss in the gradient */
} minibatch;

typedef struct {            /* of one step */
    int64_t step, pass;     /* pass: 1 + epoch, for dropout's masks */
    int64_t n_mini, *order;
    minibatch *mini;        /* (accumulate) the group that is worked on */
    dtx_ppo_sums *sums;     /* (rows of a group), each filled on one rank */
    double total[PPO_CURVES], n_updates;
} update;

static dtx_status minibatch_init(minibatch *m, int64_t rows, int64_t entries)
{
    DTX_TRY(DTX_NEW(m->entry, rows + 1));
    DTX_TRY(DTX_NEW_RAW(m->old_lp, entries));
    DTX_TRY(DTX_NEW_RAW(m->old_value, entries));
    DTX_TRY(DTX_NEW_RAW(m->rewards, entries));
    DTX_TRY(DTX_NEW_RAW(m->raw, entries));
    DTX_TRY(DTX_NEW_RAW(m->returns, entries));
    return DTX_NEW_RAW(m->advantage, entries);
}

static void minibatch_free(minibatch *m)
{
    dtx_free(m->entry);
    dtx_free(m->old_lp);
    dtx_free(m->old_value);
    dtx_free(m->rewards);
    dtx_free(m->raw);
    dtx_free(m->returns);
    dtx_free(m->advantage);
}

/* Collects the rows; advantages are whitened over this mini-batch. */
static void minibatch_fill(const dtx_ppo *p, minibatch *m, const int64_t *row, double scale)
{
    const dtx_ppo_rollouts *r = &p->roll;
    const int64_t n = p->c->ppo.mini_batch;

    m->row = row;
    m->scale = scale;
    for (int64_t k = 0; k < n; k++) {
        const int64_t from = r->entry[row[k]], count = r->entry[row[k] + 1] - from, to = m->entry[k];
        memcpy(m->old_lp + to, r->flat_lp + from, (size_t)count * sizeof(double));
        memcpy(m->old_value + to, r->flat_value + from, (size_t)count * sizeof(double));
        memcpy(m->rewards + to, r->rewards + from, (size_t)count * sizeof(double));
        m->entry[k + 1] = to + count;
    }
    dtx_ppo_advantages(n, m->entry, m->rewards, m->old_value, p->c->ppo.gamma, p->c->ppo.lambda, m->raw, m->returns);
    dtx_ppo_whiten(m->entry[n], m->raw, m->advantage);
}

typedef struct {            /* one row in the loss */
    const dtx_ppo *p;
    const minibatch *m;
    int64_t first;          /* its first entry in the mini-batch */
    dtx_ppo_sums *sums;
} row_loss;

static void loss(void *user, int64_t first, int64_t n, const double *lp, const double *value, const double *entropy,
                 double *d_lp, double *d_value)
{
    const row_loss *l = user;
    const minibatch *m = l->m;
    const int64_t at = l->first + first;

    dtx_ppo_loss(&l->p->clip, n, m->old_lp + at, m->old_value + at, m->advantage + at, m->returns + at, lp, value, entropy,
                 m->scale / (double)m->entry[l->p->c->ppo.mini_batch], l->sums, d_lp, d_value);
}

/* Adds the gradient of row k of a mini-batch to grads (adapter, head). */
static dtx_status row_gradient(dtx_ppo *p, const update *u, const minibatch *m, int64_t k, dtx_ppo_sums *sums, float *grads)
{
    const dtx_ppo_rollouts *r = &p->roll;
    const int64_t row = m->row[k], prompt = r->prompt[row], length = r->length[row];
    const int64_t query = p->prompt_offset[prompt + 1] - p->prompt_offset[prompt], offset[2] = {0, query + length};
    row_loss l = {p, m, m->entry[k], sums};
    int32_t *ids = NULL;
    dtx_status st = DTX_OK;

    DTX_GO(DTX_NEW_RAW(ids, query + length));
    memcpy(ids, p->prompt_id + p->prompt_offset[prompt], (size_t)query * sizeof *ids);
    memcpy(ids + query, r->tokens + row * r->N, (size_t)length * sizeof *ids);
    memset(p->grads->arena, 0, (size_t)p->grads->n_params * sizeof(float));
    const dtx_policy_dropout dropout = dtx_ppo_dropout(p, u->step, u->pass, &row);
    const dtx_policy_rows rows = {.n = 1, .offset = offset, .query = &query, .ids = ids, .dropout = p->trl ? &dropout : NULL};
    DTX_GO(dtx_policy_gradient(p->base.model, p->adapter, p->tape, p->params + p->adapter->n_params, &rows, loss, &l, p->grads,
                               grads + p->adapter->n_params));
    for (int64_t i = 0; i < p->grads->n_params; i++) {
        grads[i] += p->grads->arena[i];
    }
done:
    dtx_free(ids);
    return st;
}

/* This rank's leaves of a group of n mini-batches. */
static dtx_status group_gradients(dtx_ppo *p, update *u, int64_t n)
{
    const int64_t size = p->c->ppo.mini_batch, rows = n * size;
    int64_t first, count;

    dtx_reduce_leaves(p->reduce, &first, &count);
    for (int64_t leaf = first; leaf < first + count; leaf++) {
        float *grads;
        DTX_TRY(dtx_reduce_begin(p->reduce, &grads));
        for (int64_t k = rows * leaf / p->n_leaves; k < rows * (leaf + 1) / p->n_leaves; k++) {
            DTX_TRY(row_gradient(p, u, &u->mini[k / size], k % size, &u->sums[k], grads));
        }
        dtx_reduce_commit(p->reduce);
    }
    return DTX_OK;
}

/* The statistics of one mini-batch's loss: TRL's means over its tokens. */
static void add_statistics(const dtx_ppo *p, update *u, const minibatch *m, const dtx_ppo_sums *rows)
{
    const int64_t n = p->c->ppo.mini_batch, E = m->entry[n];
    double sum[DTX_PPO_SUMS] = {0}, mean, var;
    dtx_ppo_sums s;

    for (int64_t k = 0; k < n; k++) {
        const double *x = (const double *)(const void *)&rows[k];
        for (size_t i = 0; i < DTX_PPO_SUMS; i++) {
            sum[i] += x[i] / (double)E;
        }
    }
    memcpy(&s, sum, sizeof s);
    u->n_updates++;
    u->total[PPO_LOSS_POLICY] += s.policy;
    u->total[PPO_LOSS_VALUE] += s.value;
    u->total[PPO_LOSS_TOTAL] += s.policy + p->clip.vf_coef * s.value;
    u->total[PPO_ENTROPY] += s.entropy;
    u->total[PPO_APPROXKL] += s.approxkl;
    u->total[PPO_POLICYKL] += s.policykl;
    u->total[PPO_CLIPFRAC] += s.clipfrac;
    u->total[PPO_RATIO] += s.ratio;
    u->total[PPO_VPRED] += s.vpred;
    u->total[PPO_VAL_ERROR] += s.error;
    u->total[PPO_VAL_CLIPFRAC] += s.val_clipfrac;
    dtx_mean_var(E, m->advantage, &mean, &var);
    u->total[PPO_ADVANTAGES_MEAN] += mean;
    dtx_mean_var(E, m->raw, &mean, &var);
    u->total[PPO_ADVANTAGES] += mean;
    dtx_mean_var(E, m->returns, &mean, &var);
    u->total[PPO_RETURNS_MEAN] += mean;
    u->total[PPO_RETURNS_VAR] += var;
    dtx_mean_var(E, m->old_value, &mean, &var);
    u->total[PPO_VAL_MEAN] += mean;
    u->total[PPO_VAL_VAR] += var;
}

void dtx_ppo_apply(dtx_ppo *p)
{
    memcpy(p->adapter->arena, p->params, (size_t)p->adapter->n_params * sizeof(float));
}

/* One optimizer step on mini-batches first .. first + n - 1 of an epoch. */
static dtx_status group_step(dtx_ppo *p, update *u, int64_t first, int64_t n, bool single)
{
    const int64_t size = p->c->ppo.mini_batch;
    const dtx_adamw adam = {0.9, 0.999, 1e-8, 0};

    for (int64_t k = 0; k < n; k++) {
        double scale = 1 / (double)(p->trl && single ? p->c->ppo.accumulate : n);
        if (p->trl && k < n - 1) {
            scale = 0; /* its gradient was cleared before it was used */
        }
        minibatch_fill(p, &u->mini[k], u->order + (first + k) * size, scale);
    }
    memset(u->sums, 0, (size_t)(n * size) * sizeof *u->sums);
    dtx_status st = dtx_par_agree(&p->job->par, group_gradients(p, u, n));
    if (st != DTX_OK) {
        dtx_reduce_cancel(p->reduce);
        return st;
    }
    DTX_TRY(dtx_reduce_finish(p->reduce, p->sum));
    DTX_TRY(dtx_par_or(&p->job->par, u->sums, (size_t)(n * size) * sizeof *u->sums));
    for (int64_t k = 0; k < n; k++) {
        add_statistics(p, u, &u->mini[k], u->sums + k * size);
    }
    const double norm = dtx_global_norm(p->sum, p->n_params);
    if (!isfinite(norm) || !isfinite(u->total[PPO_LOSS_TOTAL])) {
        return DTX_FAIL(DTX_ERR_NUMERIC, "an update has gradient norm %g and loss %g", norm, u->total[PPO_LOSS_TOTAL]);
    }
    dtx_clip(p->sum, p->n_params, norm, p->c->ppo.max_grad_norm);
    p->scalars[PPO_S_UPDATES]++;
    dtx_adamw_step(&adam, (int64_t)p->scalars[PPO_S_UPDATES], p->c->ppo.lr * p->scalars[PPO_S_LR_SCALE], p->n_params, p->params,
                   p->sum, p->state.m, p->state.v, NULL, 0);
    dtx_ppo_apply(p);
    return DTX_OK;
}

static void update_free(const dtx_ppo *p, update *u)
{
    for (int64_t k = 0; u->mini != NULL && k < p->c->ppo.accumulate; k++) {
        minibatch_free(&u->mini[k]);
    }
    dtx_free(u->mini);
    dtx_free(u->sums);
    dtx_free(u->order);
}

/* Local. What was made is given back by update_free, whatever comes of it. */
static dtx_status update_init(const dtx_ppo *p, update *u)
{
    const int64_t group = p->c->ppo.accumulate, size = p->c->ppo.mini_batch;

    DTX_TRY(DTX_NEW(u->order, p->c->ppo.batch));
    DTX_TRY(DTX_NEW(u->mini, group));
    DTX_TRY(DTX_NEW(u->sums, group * size));
    for (int64_t k = 0; k < group; k++) {
        DTX_TRY(minibatch_init(&u->mini[k], size, size * p->roll.N));
    }
    return DTX_OK;
}

dtx_status dtx_ppo_update(dtx_ppo *p, int64_t step)
{
    const dtx_config *c = p->c;
    const int64_t B = c->ppo.batch, size = c->ppo.mini_batch;
    /* the last batch of a pass: that library's accumulation ended there at each mini-batch */
    const bool single = p->trl && (step + 1) % p->per_pass == 0;
    const int64_t group = single ? 1 : c->ppo.accumulate;
    update u = {.step = step, .n_mini = B / size};
    dtx_status st = DTX_OK;

    DTX_GO(dtx_par_agree(&p->job->par, update_init(p, &u)));
    for (int64_t e = 0; e < c->ppo.epochs; e++) {
        u.pass = 1 + e;
        dtx_rng_permutation((uint64_t)c->seed, ORDER_KEY + ((uint64_t)(step * c->ppo.epochs + e) << 32), B, u.order);
        for (int64_t k = 0; k < u.n_mini; k += group) {
            DTX_GO(group_step(p, &u, k, u.n_mini - k < group ? u.n_mini - k : group, single));
        }
    }
    for (int i = PPO_LOSS_POLICY; i <= PPO_VAL_VAR; i++) {
        p->curves[i].value[step] = u.total[i] / u.n_updates;
    }
    p->curves[PPO_VAR_EXPLAINED].value[step] = 1 - p->curves[PPO_VAL_ERROR].value[step] / p->curves[PPO_RETURNS_VAR].value[step];
    p->curves[PPO_LR].value[step] = c->ppo.lr * p->scalars[PPO_S_LR_SCALE];
    p->scalars[PPO_S_KL_COEF] = dtx_kl_control(p->scalars[PPO_S_KL_COEF], p->curves[PPO_KL_ESTIMATE].value[step], c->ppo.kl_target,
                                               c->ppo.kl_horizon, B);
done:
    update_free(p, &u);
    return st;
}
