/* dataset.h - texts and dialogues from files, as rows with stable ids. Read by rank 0 alone and broadcast as bytes. */
#ifndef DTX_DATASET_H
#define DTX_DATASET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/status.h"

/* N texts: bytes text[offset[i] .. offset[i+1]). Valid UTF-8; may contain NUL. */
typedef struct {
    int64_t n;
    int64_t *id;        /* index in the source file: the field `id`, else the line number from 0 */
    uint64_t *offset;   /* n + 1 */
    char *bytes;
} dtx_texts;
void dtx_texts_free(dtx_texts *t);

/* The evaluation texts (protocol.md "Data"): RealToxicityPrompts JSONL, plain text (a line each) or CSV (column
 * "prompt" or "text"), decided by the file's ending (.jsonl .json / .csv / else). `select` is auto, both>0.5, challenging,
 * prompt>X or all; *selected tells what auto became. text = prompt.text + " " + continuation.text, or prompt.text alone
 * where a row has no continuation. Rows ascend by file order. expect_count > 0: another count is DTX_ERR_INPUT.
 * limit > 0 keeps the first rows. */
dtx_status dtx_texts_read_prompts(const char *path, const char *select, int64_t expect_count, int64_t limit,
                                  dtx_texts *out, char selected[32]);
/* Training texts: FILE[:FIELD], see design.md section 3 `data.text`. A plain text file gives one text for each
 * paragraph (blank line between). Appends to *out (zero-initialised at first). */
dtx_status dtx_texts_read_field(const char *spec, dtx_texts *out);

/* A chat template (protocol.md "Chat template"): `text` holds {user}, {text}, {bot}, e.g. "{user} \"{text}\".\n{bot} ". */
typedef struct {
    char user[64], bot[64], text[256];
} dtx_template;
/* The prompt of a text; prefix and suffix are the lengths in bytes of the template's parts before and after {text}.
 * *out is freed with dtx_free. */
dtx_status dtx_template_apply(const dtx_template *t, const char *text, size_t len, char **out, size_t *out_len,
                              size_t *prefix, size_t *suffix);
/* Where prompts are cut: 128 tokens + the template's length in characters (its text with {user} and {bot} filled in and
 * {text} left out). */
int64_t dtx_template_max_tokens(const dtx_template *t);


#endif
