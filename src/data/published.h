/* published.h - published completions: a CSV of prompts, answers and scores, brought into line with evaluation texts.
 * Columns: prompts and responses, which must be there; prompt_score, response_score, pro_API_response_score, which may be
 * absent; others, such as an unnamed index, are not read. A prompt is the text in its chat
 * template. A score is a number in [0, 1]; an empty cell or -1 means that there is none.
 *
 * A row belongs to the text that its prompt holds. Of equal texts the first gets the first row, and so on. A row whose
 * prompt was cut (it then lacks the template's end, or ends within the text) belongs to the text that is left with the
 * longest common beginning. */
#ifndef DTX_PUBLISHED_H
#define DTX_PUBLISHED_H

#include "src/base/csv.h"
#include "src/data/dataset.h"
#include "src/text/template.h"

typedef enum { DTX_PUBLISHED_PROMPT, DTX_PUBLISHED_RESPONSE, DTX_PUBLISHED_SERVICE, DTX_PUBLISHED_SCORES } dtx_published_score;
extern const char *const dtx_published_column[DTX_PUBLISHED_SCORES]; /* "prompt_score", ... */

typedef struct {
    dtx_csv table;
    int64_t n_rows;                     /* of the file */
    dtx_template tmpl;                  /* that its prompts are in */
    bool has[DTX_PUBLISHED_SCORES];     /* the file has this column */
    float *score[DTX_PUBLISHED_SCORES]; /* (n_rows) each, NaN where there is none */
    int64_t response;                   /* column */
    size_t *begin, *end;                /* (n_rows) each: the text within table.bytes, without the template */
    /* set by dtx_published_align */
    int64_t n, *row;                    /* (n) row of each text, -1 where it has none */
    int64_t n_found, n_cut;             /* texts that have a row; of them those found by a common beginning */
} dtx_published;

/* Reads a file. Its template is `configured` where that fits its prompts, else one of the study's two, else none. */
dtx_status dtx_published_read(const char *path, const dtx_template *configured, dtx_published *out);
/* Which row belongs to which text. A row without a text is DTX_ERR_INPUT naming its line, unless `partial`. */
dtx_status dtx_published_align(const char *path, const dtx_texts *texts, bool partial, dtx_published *p);
/* The file's own texts, in its order, as a set of evaluation texts. */
dtx_status dtx_published_texts(const dtx_published *p, dtx_texts *out);
/* The answer to text i, borrowed; "" where it has no row. */
const char *dtx_published_answer(const dtx_published *p, int64_t i, size_t *len);
void dtx_published_free(dtx_published *p);

#endif
