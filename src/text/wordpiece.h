/* wordpiece.h - WordPiece: a word is cut from the left into the longest pieces of the vocabulary; those after the first carry a prefix. */
#ifndef DTX_WORDPIECE_H
#define DTX_WORDPIECE_H

#include "src/text/ids.h"
#include "src/text/map.h"

typedef struct {
    const dtx_map *ids; /* borrowed: the vocabulary */
    char prefix[32];    /* of pieces that continue a word */
    int64_t max_chars;  /* longer words are unknown */
    size_t longest;     /* bytes of the longest piece, prefix included: nothing longer is looked up */
    int32_t unknown;
} dtx_wordpiece;

/* Appends the ids of a word of valid UTF-8: those of its pieces, or the unknown one alone. */
dtx_status dtx_wordpiece_encode(const dtx_wordpiece *w, const char *s, size_t n, dtx_ids *out);

#endif
