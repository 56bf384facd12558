#include "src/training/ppo.h"

#include <math.h>
#include <string.h>

void dtx_kl_estimate(dtx_kl_estimator e, int64_t n, const double *lp, const double *ref, const double *full, double *kl)
{
    for (int64_t i = 0; i < n; i++) {
        const double d = lp[i] - ref[i];
        switch (e) {
        case DTX_KL_K1: kl[i] = d; break;
        case DTX_KL_ABS: kl[i] = fabs(d); break;
        case DTX_KL_MSE: kl[i] = 0.5 * d * d; break;
        case DTX_KL_K3: kl[i] = expm1(-d) + d; break;
        case DTX_KL_FULL: kl[i] = full[i]; break;
        }
    }
}

void dtx_ppo_rewards(int64_t n_rows, const int64_t *offset, const double *kl, double coef, const double *score,
                     double *rewards)
{
    for (int64_t i = 0; i < n_rows; i++) {
        for (int64_t j = offset[i]; j < offset[i + 1]; j++) {
            rewards[j] = -coef * kl[j];
        }
        if (offset[i + 1] > offset[i]) {
            rewards[offset[i + 1] - 1] += score[i];
        }
    }
}

void dtx_ppo_advantages(int64_t n_rows, const int64_t *offset, const double *rewards, const double *values, double gamma,
                        double lambda, double *raw, double *returns)
{
    for (int64_t i = 0; i < n_rows; i++) {
        double next_value = 0, next = 0;
        for (int64_t j = offset[i + 1] - 1; j >= offset[i]; j--) {
            next = rewards[j] + gamma * next_value - values[j] + gamma * lambda * next;
            next_value = values[j];
            raw[j] = next;
            returns[j] = next + values[j];
        }
    }
}

void dtx_mean_var(int64_t n, const double *x, double *mean, double *var)
{
    double sum = 0, square = 0;

    for (int64_t i = 0; i < n; i++) {
        sum += x[i];
    }
    const double m = n > 0 ? sum / (double)n : 0;
    for (int64_t i = 0; i < n; i++) {
        square += (x[i] - m) * (x[i] - m);
    }
    *mean = m;
    *var = n > 1 ? square / (double)(n - 1) : 0;
}

void dtx_ppo_whiten(int64_t n, const double *x, double *out)
{
    double mean, var;

    dtx_mean_var(n, x, &mean, &var);
    const double scale = 1 / sqrt(var + 1e-8);
    for (int64_t i = 0; i < n; i++) {
        out[i] = (x[i] - mean) * scale;
    }
}

void dtx_ppo_loss(const dtx_ppo_clip *c, int64_t n, const double *old_lp, const double *old_value, const double *advantage,
                  const double *ret, const double *lp, const double *value, const double *entropy, double scale,
                  dtx_ppo_sums *sums, double *d_lp, double *d_value)
{
    for (int64_t i = 0; i < n; i++) {
        const double delta = lp[i] - old_lp[i], rho = exp(delta);
        const double kept = fmin(fmax(rho, 1 - c->clip), 1 + c->clip);
        const double p1 = -advantage[i] * rho, p2 = -advantage[i] * kept;
        const double near = fmax(fmin(value[i], old_value[i] + c->value_clip), old_value[i] - c->value_clip);
        const double e1 = value[i] - ret[i], e2 = near - ret[i];

        sums->policy += fmax(p1, p2);
        sums->value += 0.5 * fmax(e1 * e1, e2 * e2);
        sums->entropy += entropy[i];
        sums->approxkl += 0.5 * delta * delta;
        sums->policykl -= delta;
        sums->clipfrac += p2 > p1;
        sums->val_clipfrac += e2 * e2 > e1 * e1;
        sums->vpred += value[i];
        sums->error += e1 * e1;
        sums->ratio += rho;
        /* a clipped branch that was chosen is constant */
        d_lp[i] = p2 > p1 ? 0 : scale * p1;
        d_value[i] = e2 * e2 > e1 * e1 ? 0 : scale * c->vf_coef * e1;
    }
}

double dtx_kl_control(double coef, double kl, double target, double horizon, int64_t n)
{
    const double error = fmin(fmax(kl / target - 1, -0.2), 0.2);

    return coef * (1 + error * (double)n / horizon);
}
