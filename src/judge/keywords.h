/* keywords.h - which words a classifier's verdict comes from: the log-odds of its label attributed to the text's pieces by
 * input x gradient over the word embeddings (as attrib.h does for a decoder, by the same backward pass), L2 norm over the
 * embedding dimension. Any function of the log-odds, the probability among them, gives the same shares, as they are
 * normalised; the log-odds do it where the probability is 0 or 1 in floating point, too. Local. */
#ifndef DTX_KEYWORDS_H
#define DTX_KEYWORDS_H

#include "src/judge/classifier.h"

/* The pieces of one text that lie in it; what the tokenizer adds around a text (<s>, </s>) is left out. */
typedef struct {
    int64_t n;
    size_t *begin, *end;   /* (n) bytes begin .. end - 1 of the text; one allocation at `begin` */
    float *score;          /* (n) L2 norm of input x gradient */
    double log_odds;       /* dtx_classifier_log_odds */
    bool placed;           /* false: the tokenizer's normaliser changed the text, pieces have no place in it (n = 0) */
} dtx_key_pieces;
void dtx_key_pieces_free(dtx_key_pieces *p);

/* out[i] of n UTF-8 texts, overwritten (not freed). A text's values do not depend on the others'. Texts are cut as for
 * scoring. tape: of c->model. */
dtx_status dtx_keywords_explain(const dtx_classifier *c, dtx_tape *tape, int64_t n, const char *const *text, const size_t *len,
                                dtx_key_pieces *out);
/* Shares of the n_tokens tokens that the text was decoded from: each piece's score is divided among the tokens by the bytes
 * that they own in it (owner: dtx_tokenizer_decode_owned), and the shares sum to 1. Tokens without a byte in what the
 * classifier read have 0. All NaN when no share can be told: no piece, or no score above 0. */
void dtx_keywords_share(const dtx_key_pieces *p, const int32_t *owner, int64_t n_tokens, float *share);

#endif
