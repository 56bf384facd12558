/* dataset.h - texts from files, as rows with stable ids. Read by rank 0 alone and broadcast as bytes. A file's ending tells
 * what it is: .jsonl .json are JSON lines, .csv is CSV (see csv.h), anything else plain text. All must be UTF-8; a byte order
 * mark, CRLF, blank lines and a last line without a newline are fine. Faults are DTX_ERR_INPUT with file and line. */
#ifndef DTX_DATASET_H
#define DTX_DATASET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/status.h"

/* N texts: bytes text[offset[i] .. offset[i+1]). Valid UTF-8; may contain NUL. */
typedef struct {
    int64_t n;
    int64_t *id;        /* index in the source file: the field `id`, else the line number from 0 */
    uint64_t *offset;   /* n + 1 */
    char *bytes;
} dtx_texts;
void dtx_texts_free(dtx_texts *t);

/* The evaluation texts: RealToxicityPrompts JSONL, plain text (a line each) or CSV (column "prompt" or "text"). `select` is
 * auto, both>0.5, challenging, prompt>X or all; *selected tells what auto became (both>0.5 where a row has both scores, else
 * all). text = prompt.text + " " + continuation.text, or prompt.text alone where a row has no continuation. Rows ascend by
 * file order; in CSV the id is the column `id`, else the record's index after the header. expect_count > 0: another count
 * of selected rows is DTX_ERR_INPUT. limit > 0 keeps the first rows. */
dtx_status dtx_texts_read_prompts(const char *path, const char *select, int64_t expect_count, int64_t limit,
                                  dtx_texts *out, char selected[32]);
/* Training texts: FILE[:FIELD] with a dotted field of JSON lines ("prompt.text") or a column of CSV; "text" where none is
 * named. Rows without the field are left out and counted in the log. A plain text file gives one text for each paragraph
 * (blank line between). Appends to *out (zero-initialised at first), which a failure leaves as it was. */
dtx_status dtx_texts_read_field(const char *spec, dtx_texts *out);

#endif
