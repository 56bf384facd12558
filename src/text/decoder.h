/* decoder.h - the steps that turn the strings of tokens into text: tokenizer.json's `decoder`. A step sees the strings of all
 * tokens; each byte keeps the number of the id that it comes from. */
#ifndef DTX_DECODER_H
#define DTX_DECODER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/status.h"

enum { DTX_DECODER_MAX = 8, DTX_DECODER_TEXT = 16 };

typedef enum {
    DTX_DECODE_BYTES,         /* ByteLevel: characters of the byte alphabet are bytes; stands alone */
    DTX_DECODE_REPLACE,       /* each `from` by `text`, which is no longer */
    DTX_DECODE_BYTE_FALLBACK, /* <0xNN> is a byte; a run of them that is not UTF-8 as a whole is one U+FFFD for each */
    DTX_DECODE_FUSE,          /* all strings become one */
    DTX_DECODE_STRIP,         /* up to `start` and `stop` times the character `from` at the ends of each string */
    DTX_DECODE_METASPACE,     /* `from` is a blank, and nothing in the first string when drop_first */
    DTX_DECODE_WORDPIECE      /* strings after the first: `from` in front is dropped, else a blank comes in front */
} dtx_decode_kind;

typedef struct {
    dtx_decode_kind kind;
    char from[DTX_DECODER_TEXT], text[DTX_DECODER_TEXT];
    int64_t start, stop;
    bool drop_first, clean_up;
} dtx_decode_step;

typedef struct {
    dtx_decode_step step[DTX_DECODER_MAX];
    int n;
} dtx_decoder;

/* Strings one after the other: string i is bytes end[i-1] .. end[i] of s; owner has one number for each byte. */
typedef struct {
    char *s;
    int32_t *owner;
    size_t n, cap, cap_owner;
    size_t *end;
    size_t n_parts, cap_parts;
} dtx_parts;
void dtx_parts_free(dtx_parts *p);
/* Appends bytes to the last string, and ends it. */
dtx_status dtx_parts_put(dtx_parts *p, const char *s, size_t n, int32_t owner);
dtx_status dtx_parts_end(dtx_parts *p);

/* Runs the steps; not for DTX_DECODE_BYTES. */
dtx_status dtx_decoder_run(const dtx_decoder *d, dtx_parts *p);
/* What one token is in the middle of a text: its bytes go to out, which has room for twice dtx_decoder_room(len). Returns their number.
 * *in_alphabet: all its characters stand for bytes (DTX_DECODE_BYTES only). */
size_t dtx_decoder_room(size_t len);
size_t dtx_decoder_bytes(const dtx_decoder *d, const char *piece, size_t len, char *out, bool *in_alphabet);
/* Is the string a byte token (<0xNN>) to this decoder? */
bool dtx_decoder_is_byte(const dtx_decoder *d, const char *piece, size_t len);

#endif
