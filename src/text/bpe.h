/* bpe.h - byte pair encoding over ids: the merge list as a hash of pairs, and the merging of one piece (Sennrich et al.
 * 2016, algorithm 1, as Hugging Face's library runs it). Private to the tokenizer. */
#ifndef DTX_BPE_H
#define DTX_BPE_H

#include <stdbool.h>

#include "src/text/ids.h"
#include "src/text/map.h"

typedef struct {
    uint64_t pair;    /* left id << 32 | right id */
    int32_t rank, id; /* place in the merge list, id of the joined token; id < 0 = empty slot */
} dtx_bpe_merge;

typedef struct {
    int32_t byte_id[256]; /* id of each byte's own token, -1 where the vocabulary has none: such bytes are dropped */
    dtx_bpe_merge *merge; /* open addressing, at most half full */
    size_t n_slots;
    dtx_map whole; /* pieces known to be one token: merging them is one look-up */
} dtx_bpe;

/* What a merging of characters (not bytes) begins with. */
typedef struct {
    const dtx_map *ids;      /* borrowed: the vocabulary */
    int32_t byte_token[256]; /* ids of <0xNN>, -1 where there is none */
    int32_t unknown;         /* -1 = none: characters that are not in the vocabulary are dropped */
    bool byte_fallback;      /* such characters become byte tokens, when the vocabulary has all of theirs */
    bool fuse_unknown;       /* neighbouring unknown ones are one */
} dtx_bpe_chars;

/* Room for n merges. byte_id becomes -1 throughout. */
dtx_status dtx_bpe_init(dtx_bpe *b, size_t n);
void dtx_bpe_free(dtx_bpe *b);
/* Adds merge number `rank`; a pair given twice keeps the later rank. */
void dtx_bpe_add(dtx_bpe *b, int32_t left, int32_t right, int32_t rank, int32_t id);
const dtx_bpe_merge *dtx_bpe_find(const dtx_bpe *b, int32_t left, int32_t right);

/* Appends the ids of one piece. n log n in the piece's length, n < 2^31. */
dtx_status dtx_bpe_encode(const dtx_bpe *b, const char *s, size_t n, dtx_ids *out);
/* The same without the table of whole pieces, for building it. */
dtx_status dtx_bpe_merge_piece(const dtx_bpe *b, const char *s, size_t n, dtx_ids *out);
/* The same, of a piece of valid UTF-8 whose symbols are characters. */
dtx_status dtx_bpe_merge_chars(const dtx_bpe *b, const dtx_bpe_chars *c, const char *s, size_t n, dtx_ids *out);

#endif
