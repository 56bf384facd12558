/* dpo.h - direct preference optimisation (Rafailov et al. 2023, equation 7): pairs of answers to one prompt from dialogues,
 * and loss and gradient of one pair. Local. */
#ifndef DTX_DPO_H
#define DTX_DPO_H

#include <stdint.h>

#include "src/data/dialogue.h"
#include "src/model/model.h"
#include "src/text/tokenizer.h"

/* Pair i as two ragged rows with the same prompt: row 2 i ends with the chosen answer, row 2 i + 1 with the rejected one. */
typedef struct {
    int64_t n;
    int64_t *offset;        /* (2 n + 1) */
    int64_t *query;         /* (2 n) tokens of the prompt, at least 1 */
    int32_t *id;
    int64_t n_cut;          /* pairs of which a prompt or an answer was cut */
} dtx_pairs;

/* Sample k of a dialogue (src/data/dialogue.h) without its last answer is the prompt, that counter-narrative the chosen answer.
 * Rejected is the hater's turn that followed it in the dialogue; after the last one, the dialogue's first turn. Answers end
 * with eos (none if < 0). Where a row would be longer than `context`, the answer is cut to at most half of it, then the
 * prompt loses its beginning. */
dtx_status dtx_pairs_from_dialogues(const dtx_tokenizer *t, const dtx_dialogues *d, const char *user, const char *bot,
                                    int64_t context, int32_t eos, dtx_pairs *out);
/* The pairs i of p with keep[i], whose rejected answer is row i of tokens (p->n, width), length[i] >= 0 ids as they were
 * generated. The prompt is the chosen row's, which loses its beginning where `context` does not hold both; width < context. */
dtx_status dtx_pairs_sampled(const dtx_pairs *p, const uint8_t *keep, int64_t width, const int32_t *tokens, const int32_t *length,
                             int64_t context, dtx_pairs *out);
void dtx_pairs_free(dtx_pairs *p);

/* Log-probabilities of whole answers. */
typedef struct {
    double chosen, rejected, ref_chosen, ref_rejected;
} dtx_dpo_logps;
typedef struct {
    double loss;                            /* -log sigmoid(reward_chosen - reward_rejected) */
    double reward_chosen, reward_rejected;  /* beta (log p - log p of the reference) */
    double d_chosen;                        /* derivative by the chosen answer's log-probability; the rejected one's is -d */
} dtx_dpo_term;
dtx_dpo_term dtx_dpo_loss(double beta, const dtx_dpo_logps *lp);

/* Log-probabilities and loss of pair i: policy = model with `adapter`, reference = model with `reference` (NULL = the base).
 * grads: NULL, or what the gradient of scale * loss is added to; the tape is used only then. */
dtx_status dtx_dpo_pair(const dtx_model *m, const dtx_adapter *adapter, const dtx_adapter *reference, dtx_tape *tape,
                        const dtx_pairs *p, int64_t i, double beta, double scale, dtx_dpo_logps *lp, dtx_dpo_term *term,
                        dtx_adapter *grads);

#endif
