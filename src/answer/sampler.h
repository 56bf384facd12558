/* sampler.h - from logits to a token: the processors of Hugging Face's generate (4.30) in its order (no_repeat_ngram,
 * min_new_tokens, temperature, top_k, top_p), and a draw that depends on counters alone. */
#ifndef DTX_SAMPLER_H
#define DTX_SAMPLER_H

#include <stdbool.h>
#include <stdint.h>

#include "src/base/rng.h"
#include "src/base/status.h"
#include "src/model/families/arch.h"

typedef struct {
    int64_t max_new_tokens, min_new_tokens;
    bool do_sample;          /* else greedy: argmax after the processors that apply to greedy search */
    double temperature;      /* 1 = off */
    int64_t top_k;           /* 0 = off */
    double top_p;            /* 1 = off */
    int64_t no_repeat_ngram; /* 0 = off */
    dtx_eos eos;             /* ids that end an answer */
} dtx_sampling;

/* In place: logits (V) -> scores; removed entries become -inf. ids are the row's prompt + generated tokens so far.
 * scratch: V floats. */
void dtx_sampler_process(const dtx_sampling *s, const int32_t *ids, int64_t n_ids, int64_t prompt_len, int64_t V,
                         float *logits, float *scratch);
/* Draws from softmax(scores) by inversion in ascending id order with u in [0, 1); greedy takes the lowest id of the
 * largest score. *logprob is the log-probability of the choice under softmax(scores). DTX_ERR_NUMERIC when a score is NaN
 * or all are -inf. */
dtx_status dtx_sampler_choose(const dtx_sampling *s, int64_t V, const float *scores, double u, int32_t *token, float *logprob);

#endif
