/* normalize.h - what a tokenizer does to a text before it is cut: the steps of tokenizer.json's `normalizer`, in their order. */
#ifndef DTX_NORMALIZE_H
#define DTX_NORMALIZE_H

#include <stdbool.h>

#include "src/text/charsmap.h"
#include "src/text/regex.h"

enum { DTX_NORMALIZE_MAX = 16 };

typedef enum {
    DTX_NORMALIZE_NFC,
    DTX_NORMALIZE_PREPEND,  /* `text` in front, unless there is nothing */
    DTX_NORMALIZE_REPLACE,  /* each `from` by `text` */
    DTX_NORMALIZE_PATTERN,  /* each match of `regex` by `text` */
    DTX_NORMALIZE_STRIP,    /* white space at the ends */
    DTX_NORMALIZE_CHARSMAP, /* SentencePiece's precompiled map */
    DTX_NORMALIZE_BERT
} dtx_normalize_kind;

typedef struct {
    dtx_normalize_kind kind;
    char from[32], text[32];
    dtx_regex regex;
    dtx_charsmap map;
    bool left, right;                                       /* STRIP */
    bool clean_text, ideographs, strip_accents, lower_case; /* BERT */
} dtx_normalize_step;

typedef struct {
    dtx_normalize_step step[DTX_NORMALIZE_MAX];
    int n;
} dtx_normalizer;

void dtx_normalizer_free(dtx_normalizer *z);
/* Valid UTF-8 in and out; *out is freed with dtx_free, NULL when nothing changes (*out_n = n then). joined: the text was cut off from another,
 * so nothing is put in front. */
dtx_status dtx_normalize(const dtx_normalizer *z, const char *s, size_t n, bool joined, char **out, size_t *out_n);

#endif
