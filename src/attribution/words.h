/* words.h - which vocabulary pieces form a word, for merging attributions. A piece that starts with the byte alphabet's
 * space or newline ("Ġ", "Ċ") opens a word, others continue it.
 *
 * merge = words: position 0 and the first generated piece open a word as well, so that the boundary between prompt and
 * completion is always one between words; every word of several pieces is merged, the last one included; the prompt is
 * as many entries as its pieces form words.
 *
 * merge = inseq, as Inseq's aggregate("subwords") of 2023-08 and the study's analysis behave: without any symbol in the
 * sequence nothing is merged; a word that reaches the end of the sequence is merged without its last piece, and only when
 * two pieces remain; a word may run across the boundary and then counts as generated; the prompt length of the analysis
 * is that of the prompt merged on its own, where the rule on the last word applies to it, so that up to two generated
 * entries can count as prompt. When values are merged, a missing one counts as 0 but wins against a 0 that comes later. */
#ifndef DTX_WORDS_H
#define DTX_WORDS_H

#include <stdbool.h>
#include <stdint.h>

#include "src/base/status.h"

typedef struct {
    int64_t n, n_steps;
    int64_t *edge;      /* (n + 1): entry w covers positions edge[w] .. edge[w+1] - 1 of the P + G pieces */
    int64_t *step_edge; /* (n_steps + 1): the same over the G generated pieces */
    int64_t n_prompt;   /* leading entries that count as prompt (words_source_count) */
    int64_t start;      /* the entry of the first merged step (words_prompt_len) */
} dtx_words;

/* pieces: (P + G) strings of the byte alphabet; NULL continues a word. P, G >= 1. */
dtx_status dtx_words_make(bool inseq, const char *const *pieces, int64_t P, int64_t G, dtx_words *out);
void dtx_words_free(dtx_words *w);

/* acc[i] = whichever of acc[i] and x[i] has the larger magnitude, acc[i] where they are equal; NaN is missing. */
void dtx_words_fold(bool inseq, int64_t n, const float *x, float *acc);

#endif
