/* policy.h - a decoder as a policy: log-probabilities of response tokens, a value head on the hidden state after the final
 * norm, and gradients of any loss on them through the model. The value head is one vector: weight (d), then its bias. */
#ifndef DTX_POLICY_H
#define DTX_POLICY_H

#include <stdint.h>

#include "src/model/model.h"

/* Dropout on the adapter's branches and on the hidden state that the value head sees, in the policy's passes alone; masks are
 * functions of (seed, pass, sample of the row, token). */
typedef struct {
    double lora, head;
    uint64_t seed;
    int64_t pass;
    const int64_t *sample;  /* (n rows) */
} dtx_policy_dropout;

/* Ragged rows: ids offset[i] .. offset[i+1]-1, the first query[i] >= 1 of them the prompt. What follows is the response;
 * the responses' tokens, row after row, are the entries 0 .. E-1 of all arrays below. */
typedef struct {
    int64_t n;
    const int64_t *offset, *query;
    const int32_t *ids;
    const dtx_policy_dropout *dropout; /* NULL = none */
} dtx_policy_rows;
int64_t dtx_policy_entries(const dtx_policy_rows *r);

/* What a rollout is judged by; (E) each, NULL = not wanted. Values are of the position before the token. */
typedef struct {
    double *lp, *ref_lp;    /* log p of the token under the policy and under the reference */
    double *value;          /* needs the head */
    double *entropy;        /* of the policy's distribution */
    double *kl;             /* KL(policy || reference), summed over the vocabulary */
} dtx_policy_view;
/* The policy is the model with `adapter`, the reference the model with `reference` (NULL = the base); the reference is
 * evaluated only when something of it is wanted. */
dtx_status dtx_policy_compare(const dtx_model *m, const dtx_adapter *adapter, const dtx_adapter *reference, const float *head,
                              const dtx_policy_rows *r, const dtx_policy_view *out);

/* A loss on entries first .. first + n - 1: writes its derivatives with respect to log-probability and value. */
typedef void (*dtx_policy_loss)(void *user, int64_t first, int64_t n, const double *lp, const double *value,
                                const double *entropy, double *d_lp, double *d_value);
/* Forward, loss, backward: gradients of the adapter are added to grads, those of the head (d + 1) to d_head. head and
 * d_head may both be NULL: values are 0 then. */
dtx_status dtx_policy_gradient(const dtx_model *m, const dtx_adapter *adapter, dtx_tape *tape, const float *head,
                               const dtx_policy_rows *r, dtx_policy_loss loss, void *user, dtx_adapter *grads, float *d_head);

#endif
