/* ppo.h - the arithmetic of proximal policy optimisation on responses (Schulman et al. 2017; Ziegler et al. 2019), with
 * the semantics of TRL 0.4. Pure functions of ragged arrays: row i has the response tokens
 * offset[i] .. offset[i+1]-1, entries stand one after the other without padding. Sums run in entry order. src/training/policy.h
 * makes log-probabilities and values of a model, and takes the gradients back through it. */
#ifndef DTX_PPO_H
#define DTX_PPO_H

#include <stdint.h>

#include "src/base/status.h"

/* Per-token estimate of KL(policy || reference) from log-probabilities of the sampled token. k1 = lp - ref is unbiased only
 * for samples of the policy itself: with warped sampling it can go far below zero. abs, mse (half the square) and k3
 * (exp(ref - lp) - 1 + lp - ref, Schulman 2020) are never negative. full is the sum over the vocabulary, which no sampling
 * biases; dtx_policy_compare computes it. */
typedef enum { DTX_KL_K1, DTX_KL_ABS, DTX_KL_MSE, DTX_KL_K3, DTX_KL_FULL } dtx_kl_estimator;
/* kl[j] for n entries; full: the exact values, used by DTX_KL_FULL alone, else may be NULL. */
void dtx_kl_estimate(dtx_kl_estimator e, int64_t n, const double *lp, const double *ref, const double *full, double *kl);

/* rewards[j] = -coef kl[j], and the row's score on top at its last entry. Rows without entries are passed over. */
void dtx_ppo_rewards(int64_t n_rows, const int64_t *offset, const double *kl, double coef, const double *score,
                     double *rewards);
/* Generalised advantage estimation (Schulman et al. 2016), the value after a row's last entry being 0:
 * delta_j = r_j + gamma v_{j+1} - v_j, A_j = delta_j + gamma lambda A_{j+1}; returns = A + v. */
void dtx_ppo_advantages(int64_t n_rows, const int64_t *offset, const double *rewards, const double *values, double gamma,
                        double lambda, double *raw, double *returns);
/* (x - mean) / sqrt(var + 1e-8), var with n - 1, over all n entries of a mini-batch. out may be x. */
void dtx_ppo_whiten(int64_t n, const double *x, double *out);
/* Mean, and variance with n - 1 (0 where n < 2). */
void dtx_mean_var(int64_t n, const double *x, double *mean, double *var);

typedef struct {
    double clip, value_clip, vf_coef;
} dtx_ppo_clip;

/* Sums over entries. Divided by the number of entries of the mini-batch they are TRL's statistics of an update. */
typedef struct {
    double policy, value, entropy, approxkl, policykl, clipfrac, val_clipfrac, vpred, error, ratio;
} dtx_ppo_sums;
enum { DTX_PPO_SUMS = sizeof(dtx_ppo_sums) / sizeof(double) };

/* Clipped losses of n entries. With rho = exp(lp - old_lp), A the whitened advantage, R the return, v the new value and v'
 * = v kept within old_value +- value_clip:
 *   policy = max(-A rho, -A clip(rho, 1 - clip, 1 + clip)),  value = max((v - R)^2, (v' - R)^2) / 2
 * Adds to *sums, and writes the derivatives of scale * (sum of policy + vf_coef value) with respect to lp and v. */
void dtx_ppo_loss(const dtx_ppo_clip *c, int64_t n, const double *old_lp, const double *old_value, const double *advantage,
                  const double *ret, const double *lp, const double *value, const double *entropy, double scale,
                  dtx_ppo_sums *sums, double *d_lp, double *d_value);

/* Adaptive KL controller (Ziegler et al. 2019, section 2.2): coef (1 + clip(kl / target - 1, -0.2, 0.2) n / horizon). */
double dtx_kl_control(double coef, double kl, double target, double horizon, int64_t n);

#endif
