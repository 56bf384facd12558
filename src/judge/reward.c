#include "src/judge/reward.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/mem.h"

double dtx_reward_of(dtx_reward_kind kind, double log_odds)
{
    const double l = -log_odds;

    switch (kind) {
    case DTX_REWARD_PROB: return 1 / (1 + exp(-l));
    case DTX_REWARD_LOGPROB: return l > 0 ? -log1p(exp(-l)) : l - log1p(exp(l));
    default: return l;
    }
}

dtx_status dtx_reward_read(const char *spec, dtx_reward_spec *out)
{
    char *end;
    const char *star = strchr(spec, '*'), *rest = spec;

    *out = (dtx_reward_spec){.weight = 1, .label = ""};
    if (star != NULL) {
        double w = strtod(spec, &end);
        if (end == star && end > spec) {
            if (!(w > 0) || !isfinite(w)) {
                return DTX_FAIL(DTX_ERR_USAGE, "reward model \"%s\": the weight must be a positive number", spec);
            }
            out->weight = w;
            rest = star + 1;
        }
    }
    if (rest[0] == '\0' || strlen(rest) >= sizeof out->dir) {
        return DTX_FAIL(DTX_ERR_USAGE, "reward model \"%s\": a folder is expected: [WEIGHT*]DIR[#LABEL]", spec);
    }
    snprintf(out->dir, sizeof out->dir, "%s", rest);
    char *label = strrchr(out->dir, '#');
    if (label != NULL) {
        *label = '\0';
        out->label = rest + (label - out->dir) + 1;
    }
    return DTX_OK;
}

dtx_status dtx_reward_open(const char *const *spec, const dtx_arch *a, int n, dtx_reward_kind kind, dtx_reward *out)
{
    dtx_reward r = {.kind = kind};
    double sum = 0;
    dtx_status st = DTX_OK;

    if (n < 1 || n > DTX_MAX_REWARDS) {
        return DTX_FAIL(DTX_ERR_USAGE, "%d reward models; 1 to %d are possible", n, DTX_MAX_REWARDS);
    }
    for (; r.n < n; r.n++) {
        dtx_reward_spec one;
        DTX_GO(dtx_reward_read(spec[r.n], &one));
        DTX_GO(dtx_classifier_open(one.dir, a != NULL ? &a[r.n] : NULL, one.label, &r.model[r.n]));
        r.weight[r.n] = one.weight;
        sum += one.weight;
    }
    for (int i = 0; i < n; i++) {
        r.weight[i] /= sum;
    }
    *out = r;
    return DTX_OK;
done:
    dtx_reward_close(&r);
    return st;
}

void dtx_reward_close(dtx_reward *r)
{
    for (int i = 0; i < r->n; i++) {
        dtx_classifier_close(&r->model[i]);
    }
    r->n = 0;
}

dtx_status dtx_reward_score(const dtx_reward *r, int64_t n, const char *const *text, const size_t *len, double *score)
{
    float *logits = NULL;
    dtx_status st = DTX_OK;

    memset(score, 0, (size_t)n * sizeof *score);
    for (int k = 0; k < r->n; k++) {
        const int64_t labels = r->model[k].arch->n_labels;
        dtx_free(logits);
        DTX_GO(DTX_NEW_RAW(logits, n * labels));
        DTX_GO(dtx_classifier_logits(&r->model[k], n, text, len, logits));
        for (int64_t i = 0; i < n; i++) {
            score[i] += r->weight[k] * dtx_reward_of(r->kind, dtx_classifier_log_odds(&r->model[k], logits + i * labels));
        }
    }
done:
    dtx_free(logits);
    return st;
}
