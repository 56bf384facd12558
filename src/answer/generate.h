/* generate.h - batched decoding with a KV cache: streams of a work unit run together, a finished stream's place is
 * refilled at once, prompts are prefilled as ragged rows. A completion depends on (seed, domain, row, sample) and its
 * prompt alone. Local: no MPI, no files. */
#ifndef DTX_GENERATE_H
#define DTX_GENERATE_H

#include <stdbool.h>
#include <stdint.h>

#include "src/model/model.h"
#include "src/answer/sampler.h"

enum { DTX_FINISH_NONE = 0, DTX_FINISH_EOS = 1, DTX_FINISH_LENGTH = 2, DTX_FINISH_IMPORTED = 3 };

typedef struct {
    const int32_t *prompt;    /* borrowed, prompt_len >= 1 */
    int64_t prompt_len;
    uint64_t row;             /* keys of the random numbers */
    uint32_t sample;
    int32_t *tokens;          /* out, max_new_tokens; -1 after the end; a final EOS included */
    float *logprob;           /* out, max_new_tokens; log p of the model; NaN after the end; may be NULL */
    float *behaviour_logprob; /* out, log p after the processors; may be NULL */
    int32_t length;           /* out */
    uint8_t finish;           /* out */
} dtx_generation;

typedef struct {
    dtx_sampling sampling;
    int64_t batch;            /* streams in flight */
    uint64_t seed;
    dtx_rng_domain domain;
    const dtx_adapter *adapter;
    bool (*stop)(void *user); /* asked at each step; true ends early with DTX_STOPPED; items with finish == 0 are not done */
    void *user;
} dtx_generate_options;

/* Fills items[0..n-1]. DTX_ERR_INPUT when prompt + max_new_tokens exceeds the model's positions. */
dtx_status dtx_generate(const dtx_model *m, const dtx_generate_options *o, dtx_generation *items, int64_t n);

#endif
