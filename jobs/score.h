/* score.h - what the parts of the job score share: the texts of a variant on every rank, and the rows that are ready. */
#ifndef DTX_SCORE_H
#define DTX_SCORE_H

#include "jobs/stage.h"
#include "jobs/toxicity.h"
#include "src/classifier.h"

typedef struct {
    const char *name;
    char text[1024];
} dtx_score_setting;
enum { DTX_SCORE_SETTINGS = 6 };

typedef struct {
    dtx_job *job;
    dtx_run *run;
    char variant_group[96], source[128], set[64], group[192]; /* "/variants/V", .../completions, S, .../toxicity/S */
    char log_dir[1040];
    dtx_classifier classifier;                 /* scorer local */
    int n_settings;
    dtx_score_setting setting[DTX_SCORE_SETTINGS]; /* attributes of the set; rank 0 */
    bool made;                                 /* rank 0: the set is in the file */
    /* every rank: one block, as it was broadcast; text 2 r is row r's completion, 2 r + 1 its prompt as it is scored */
    void *block;
    int64_t n_rows, samples;
    const int64_t *offset;                     /* (2 n_rows + 1) */
    const uint8_t *finish;                     /* (n_rows) */
    const char *bytes;
    uint8_t *status;                           /* (n_rows) as it was in the file */
    int64_t n_order, *order, unit_rows;        /* rows to do, longest text first */
    dtx_stage_rows ready;
    double done, tokens;                       /* rows of this launch and rank; tokens is 0 */
} dtx_scoring;

/* Collective, after the scores of a local classifier: score.keywords, the tokens' shares in the rows' toxicity. */
dtx_status dtx_score_keywords(dtx_scoring *g);

#endif
