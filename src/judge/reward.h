/* reward.h - the score of a response in reinforcement learning: how little one or several classifiers find in it. Local. */
#ifndef DTX_REWARD_H
#define DTX_REWARD_H

#include "src/judge/classifier.h"

/* With l = log((1 - P(label)) / P(label)): prob = 1 - P(label) (the study's), logprob = log(1 - P(label)), logit = l. */
typedef enum { DTX_REWARD_PROB, DTX_REWARD_LOGIT, DTX_REWARD_LOGPROB } dtx_reward_kind;
double dtx_reward_of(dtx_reward_kind kind, double log_odds);

enum { DTX_MAX_REWARDS = 8 };
typedef struct {
    dtx_reward_kind kind;
    int n;
    dtx_classifier model[DTX_MAX_REWARDS];
    double weight[DTX_MAX_REWARDS]; /* sum 1 */
} dtx_reward;

/* DIR, DIR#LABEL, WEIGHT*DIR or WEIGHT*DIR#LABEL, WEIGHT a positive number (1 where absent). */
typedef struct {
    char dir[4096];
    double weight;
    const char *label; /* "" = none; of the text that was read */
} dtx_reward_spec;
dtx_status dtx_reward_read(const char *spec, dtx_reward_spec *out);
/* The reward is the weighted mean of the classifiers' rewards. a: NULL, or the folders' descriptions, as dtx_classifier_open
 * takes them. */
dtx_status dtx_reward_open(const char *const *spec, const dtx_arch *a, int n, dtx_reward_kind kind, dtx_reward *out);
void dtx_reward_close(dtx_reward *r);
dtx_status dtx_reward_score(const dtx_reward *r, int64_t n, const char *const *text, const size_t *len, double *score);

#endif
