/* ppo.h - the parts of `ppo`: rollouts over the ranks (ppo_rollout.c), updates (ppo_update.c), curves and rollouts in run.h5
 * (ppo_store.c), and the driver with its guard rails (ppo_job.c). Every rank holds policy, optimizer and all rollouts of a
 * step; what ranks divide is generation, scoring and gradients. */
#ifndef DTX_PPO_JOB_H
#define DTX_PPO_JOB_H

#include "jobs/shared/answers.h"
#include "jobs/program/job.h"
#include "jobs/shared/stage.h"
#include "mpi/par/reduce.h"
#include "mpi/run/run.h"
#include "src/answer/generate.h"
#include "src/training/guard.h"
#include "src/base/hash.h"
#include "src/training/policy.h"
#include "src/training/ppo.h"
#include "src/judge/reward.h"
#include "src/text/tokenizer.h"
#include "src/training/state.h"

/* TRL's statistics, in the order of the table in ppo_store.c. */
enum {
    PPO_REWARD_MEAN, PPO_REWARD_STD, PPO_KL, PPO_KL_ESTIMATE, PPO_KL_FULL, PPO_KL_COEF, PPO_ENTROPY_SUM, PPO_LOGPROBS,
    PPO_REF_LOGPROBS, PPO_MEAN_SCORES, PPO_STD_SCORES, PPO_NON_SCORE, PPO_LOSS_POLICY, PPO_LOSS_VALUE, PPO_LOSS_TOTAL,
    PPO_ENTROPY, PPO_APPROXKL, PPO_POLICYKL, PPO_CLIPFRAC, PPO_ADVANTAGES, PPO_ADVANTAGES_MEAN, PPO_RATIO, PPO_RETURNS_MEAN,
    PPO_RETURNS_VAR, PPO_VPRED, PPO_VAL_ERROR, PPO_VAL_CLIPFRAC, PPO_VAL_MEAN, PPO_VAL_VAR, PPO_VAR_EXPLAINED, PPO_LR,
    PPO_QUERIES_MEAN, PPO_QUERIES_STD, PPO_RESPONSES_MEAN, PPO_RESPONSES_STD, PPO_REPEAT, PPO_EMPTY,
    PPO_TIME_ROLLOUT, PPO_TIME_FORWARD, PPO_TIME_REWARDS, PPO_TIME_UPDATE, PPO_TIME_STATS, PPO_TIME_TOTAL, PPO_CURVES
};
/* Their names; those that begin with "timing/" depend on the clock. */
extern const char *const dtx_ppo_curves[PPO_CURVES];

/* What a checkpoint remembers besides parameters and curves. */
enum { PPO_S_KL_COEF, PPO_S_LR_SCALE, PPO_S_ROLLBACKS, PPO_S_STRIKES, PPO_S_HEALTHY, PPO_S_UPDATES, PPO_SCALARS };

/* The rollouts of one step: B rows of at most N tokens, the same on every rank after ppo_roll. */
typedef struct {
    int64_t B, N;
    size_t size;            /* of the block that is gathered over the ranks; the arrays up to `score` lie in it */
    char *block;
    double *lp, *ref_lp, *value, *entropy, *kl_full, *score; /* (B, N), score (B) */
    float *behaviour;       /* (B, N) */
    int32_t *tokens, *length, *finish, *blank;               /* (B, N), (B) each */
    int64_t *prompt;        /* (B) which prompt */
    /* of all response tokens, row after row */
    int64_t *entry;         /* (B + 1) */
    double *flat_lp, *flat_ref, *flat_value, *flat_entropy, *flat_full, *kl, *rewards;
} dtx_ppo_rollouts;

typedef struct {
    dtx_job *job;
    const dtx_config *c;
    dtx_run *run;
    char name[80], group[96], store[96], out_dir[1200], path[1300], healthy[1300], log_dir[1200];
    dtx_stage_model base;
    dtx_tokenizer *tokenizer;
    dtx_reward reward;
    dtx_kl_estimator estimator;
    bool trl;               /* ppo.compat = trl-0.4 */
    dtx_ppo_clip clip;
    dtx_guard guard;
    dtx_sampling sampling;
    /* prompts */
    int64_t n_prompts, longest, *prompt_offset, per_pass, pass, *order;
    int32_t *prompt_id;
    char digest[DTX_SHA256_TEXT];
    /* what is trained: the adapter's arena, then the value head's weight and bias */
    dtx_adapter *adapter, *grads;
    dtx_tape *tape;
    int64_t n_params, d;
    float *params, *sum;
    dtx_train_state state;
    dtx_curve curves[PPO_CURVES];
    double scalars[PPO_SCALARS];
    dtx_reduce *reduce;
    int64_t n_steps, n_leaves;
    dtx_ppo_rollouts roll;
    double tokens;          /* generated in this launch, over all ranks */
    double forward_s, rewards_s; /* of this step on this rank: evaluating policy and reference, rewards */
} dtx_ppo;

/* Local. */
dtx_status dtx_ppo_rollouts_init(dtx_ppo_rollouts *r, int64_t B, int64_t N);
void dtx_ppo_rollouts_free(dtx_ppo_rollouts *r);
/* Collective. Generates, evaluates and scores the rollouts of a step with the policy as it is. *stopped: somebody asked to
 * stop before all were done; nothing is lost. DTX_ERR_NUMERIC when the policy gives no numbers. */
dtx_status dtx_ppo_roll(dtx_ppo *p, int64_t step, bool *stopped);
/* Local. The curves of `step` that rollouts alone tell. */
void dtx_ppo_describe(dtx_ppo *p, int64_t step);
/* Local. Prompt number i < batch of a step; distinct within a pass. */
int64_t dtx_ppo_prompt(dtx_ppo *p, int64_t step, int64_t i);

/* Local. ppo.compat's dropout of one row of a pass: 0 = the rollout's log-probabilities and values, 1 + epoch = an update. */
#define PPO_HEAD_DROPOUT 0.1 /* that library's default */
dtx_policy_dropout dtx_ppo_dropout(const dtx_ppo *p, int64_t step, int64_t pass, const int64_t *row);

/* Collective. The epochs of one step, its curves, and the controller's next coefficient. */
dtx_status dtx_ppo_update(dtx_ppo *p, int64_t step);
/* Local. The trained parameters into the adapter. */
void dtx_ppo_apply(dtx_ppo *p);

/* Collective. Makes /rollouts/V for all steps; one that is there with the training's checkpoint is kept. */
dtx_status dtx_ppo_store_make(dtx_ppo *p);
dtx_status dtx_ppo_store_write(dtx_ppo *p, int64_t step);
/* Collective. Curves, rewards and KL of each rollout, decoded texts; marks the training complete. */
dtx_status dtx_ppo_store_publish(dtx_ppo *p);
/* --redo. */
dtx_status dtx_ppo_store_discard(dtx_ppo *p);

#endif
