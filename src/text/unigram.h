/* unigram.h - Unigram (Kudo 2018): the segmentation of a text whose pieces' scores add up to most, found by Viterbi's search in f64. */
#ifndef DTX_UNIGRAM_H
#define DTX_UNIGRAM_H

#include <stdbool.h>

#include "src/text/ids.h"
#include "src/text/trie.h"

typedef struct {
    dtx_trie trie; /* pieces -> ids */
    double *score; /* by id; owned */
    size_t n;
    double lowest;           /* of all scores: an unknown character costs 10 more */
    int32_t unknown;         /* -1 = none: a text that needs it is an error */
    bool byte_fallback;      /* unknown characters become byte tokens, when the vocabulary has them all */
    int32_t byte_token[256]; /* ids of <0xNN>, -1 where there is none */
} dtx_unigram;

void dtx_unigram_free(dtx_unigram *u);
/* Appends the ids of valid UTF-8. Equal scores: the piece that begins first; neighbouring unknown characters are one. */
dtx_status dtx_unigram_encode(const dtx_unigram *u, const char *s, size_t n, dtx_ids *out);

#endif
