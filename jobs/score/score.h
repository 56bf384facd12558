/* score.h - what the parts of the job score share: the texts of a variant on every rank, and the rows that are ready.
 * job.c has the local classifier, service.c the service. */
#ifndef DTX_SCORE_H
#define DTX_SCORE_H

#include "jobs/shared/stage.h"
#include "jobs/shared/toxicity.h"
#include "jobs/shared/units.h"
#include "src/judge/classifier.h"

typedef struct {
    const char *name;
    char text[2048];
} dtx_score_setting;
enum { DTX_SCORE_SETTINGS = 6 };

typedef struct {
    dtx_job *job;
    dtx_run *run;
    char variant_group[96], source[128], set[64]; /* "/variants/V", .../completions, S */
    dtx_set_prompts prompts;                   /* score.prompts, without auto */
    bool service;
    /* one set for each attribute; a row is done when set 0 says so, which is written last */
    int64_t n_sets;
    struct {
        char group[320], measure[DTX_PATH_MAX];
        dtx_stage_rows ready;
    } sets[DTX_LIST_MAX];
    char log_dir[1040];
    dtx_classifier classifier;                 /* scorer local */
    int n_settings;
    dtx_score_setting setting[DTX_SCORE_SETTINGS]; /* attributes of all sets; rank 0 */
    bool made;                                 /* rank 0: the set is in the file */
    /* every rank: one block, as it was broadcast; text 2 r is row r's completion, 2 r + 1 its prompt as it is scored */
    void *block;
    int64_t n_rows, samples;
    const int64_t *offset;                     /* (2 n_rows + 1) */
    const uint8_t *finish;                     /* (n_rows) */
    const char *bytes;
    uint8_t *status;                           /* (n_rows) as it was in the file */
    int64_t n_order, *order, unit_rows;        /* rows to do, longest text first; ascending for a service */
    double done, tokens;                       /* rows of this launch and rank; tokens is 0 */
} dtx_scoring;

/* Collective, after the scores of a local classifier: score.keywords, the tokens' shares in the rows' toxicity. */
dtx_status dtx_score_keywords(dtx_scoring *g);
/* A text of row `row`: side 0 its completion, 1 its prompt. */
static inline size_t dtx_scoring_len(const dtx_scoring *g, int64_t row, int side)
{
    return (size_t)(g->offset[2 * row + side + 1] - g->offset[2 * row + side]);
}

static inline const char *dtx_scoring_text(const dtx_scoring *g, int64_t row, int side)
{
    return g->bytes + g->offset[2 * row + side];
}

/* Adds a finished row to what the next write takes; completion and prompt have n_sets scores. */
dtx_status dtx_scoring_add(dtx_scoring *g, int64_t row, const float *completion, const float *prompt, uint8_t status);
/* Collective. */
dtx_status dtx_scoring_write(dtx_scoring *g);

/* service.c. Collective: rank 0 asks the service for the rows of g->order, the others sleep and take part in writes. */
dtx_status dtx_score_service(dtx_scoring *g, bool *stopped);

/* calibrate.c. Collective: the job's --calibrate. */
dtx_status dtx_score_calibrate(dtx_job *job);

#endif
