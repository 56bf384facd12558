/* dialogue.h - DIALOCONAN's dialogues (columns text, dialogue_id; Bonaldi et al. 2022) as training samples, with the
 * study's templating. Read by rank 0. */
#ifndef DTX_DIALOGUE_H
#define DTX_DIALOGUE_H

#include <stddef.h>
#include <stdint.h>

#include "src/base/status.h"

typedef struct {
    size_t first, len;      /* bytes within the sample's text */
} dtx_byte_span;

/* Sample k of a dialogue is its first k pairs joined: "{user} {HS}.\n{bot} {CN}", "\n" before the next pair. */
typedef struct {
    int64_t n, n_dialogues;
    int64_t n_odd;          /* dialogues whose odd last turn was dropped */
    int64_t n_blank;        /* turns without text, kept as they are (the real file has two: its 8,312 samples count them) */
    int64_t first_blank_line;
    int64_t *dialogue;      /* (n) index of the dialogue in file order */
    int64_t *pairs;         /* (n) pairs in the sample, k >= 1 */
    uint64_t *offset;       /* (n + 1) into bytes */
    char *bytes;
    uint64_t *span_offset;  /* (n + 1) into span */
    dtx_byte_span *span;    /* the bot's turns of each sample, in order: what loss_on = assistant trains on */
    uint64_t *query;        /* (n) length of the prefix that ends after "{bot} " of the last pair: a PPO prompt */
} dtx_dialogues;

/* Turns of a dialogue stand on consecutive rows; newlines in a turn become a space. A file without the columns, an empty
 * dialogue_id, or a dialogue id that comes back later is DTX_ERR_INPUT with its line. */
dtx_status dtx_dialogues_read(const char *path, const char *user, const char *bot, dtx_dialogues *out);
void dtx_dialogues_free(dtx_dialogues *d);

#endif
