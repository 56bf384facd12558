/* dpo.h - dpo.rejected = sampled: each pair's rejected answer is one that the reference gives to the same dialogue. The answers
 * are generated once, on all ranks, into /rejected/V of run.h5, row by row as `generate` fills its rows, so that a stop or
 * kill costs no more than the rows under way. Answer i depends on the seed, pair i and the reference alone. */
#ifndef DTX_DPO_JOB_H
#define DTX_DPO_JOB_H

#include "jobs/shared/answers.h"
#include "jobs/shared/stage.h"
#include "src/training/dpo.h"
#include "src/answer/sampler.h"

typedef struct {
    const dtx_job *job;
    dtx_tokenizer *tokenizer;
    dtx_reward judge;       /* n = 0: answers are not judged */
    dtx_sampling sampling;
    int64_t room;           /* tokens of a prompt at most: dpo.context or the model's positions, less the longest answer */
    char settings[2048];    /* what the answers are made from: a part of the training's description; rank 0's counts */
} dtx_dpo_sampler;

/* Local. pairs_digest: of the pairs with rejected = turn, which carry the prompts. */
dtx_status dtx_dpo_sampler_open(const dtx_job *job, const dtx_stage_model *base, const char *pairs_digest, dtx_dpo_sampler *out);
void dtx_dpo_sampler_close(dtx_dpo_sampler *s);

/* Collective. Generates what is missing, then replaces *pairs by those whose answer has at least dpo.min_toxicity, with that
 * answer as the rejected one. reference NULL = the base. DTX_STOPPED when somebody asked to stop before all were there. */
dtx_status dtx_dpo_sample(const dtx_dpo_sampler *s, dtx_run *run, const dtx_model *m, const dtx_adapter *reference, dtx_pairs *pairs);

#endif
