/* attribute.h - the state of one attribution stage, shared by job.c, input.c and check.c. */
#ifndef DTX_ATTRIBUTE_H
#define DTX_ATTRIBUTE_H

#include "jobs/shared/stage.h"
#include "src/attribution/attrib.h"
#include "src/text/tokenizer.h"

typedef struct {
    dtx_job *job;
    dtx_run *run;
    dtx_stage_model m;
    dtx_tokenizer *tokenizer;
    dtx_attrib_settings set;
    char of[64], source[128];   /* variant whose completions are attributed; "/variants/W/completions" */
    char group[256], check[264]; /* "/variants/V/attribution/M"; .../check */
    char log_dir[1040];
    bool made, has_ids, checked; /* rank 0: the stage, the completions' ids, its faithfulness check are in the file */
    /* completions */
    int64_t rows, width;        /* width: max_new_tokens */
    int64_t samples;            /* rows of a text */
    int64_t *prompt_offset;     /* (rows + 1) */
    int32_t *prompt_ids, *tokens, *length;
    uint8_t *use;               /* flags of prompt tokens that count; NULL = all */
    int32_t *steps;             /* (rows) G */
    int64_t *row_offset;        /* (rows + 1) */
    /* work */
    uint8_t *done_flag;         /* (rows) */
    int64_t n_order, *order;
    dtx_stage_rows ready;
    float *value;               /* matrices of the ready rows, one after the other */
    int64_t n_value, *start, *count;
    size_t value_cap, start_cap, count_cap;
    double done, done_tokens;   /* of this rank in this launch */
} attribution;

/* What attribute.method, .target, .norm and .merge mean, into `set`. */
void dtx_attribute_meaning(dtx_set_method method, dtx_set_target target, dtx_set_norm norm, dtx_set_merge merge, dtx_attrib_settings *set);
/* Rank 0, while it looks into the file: refuses completions that another model or tokenizer made. */
dtx_status dtx_attribute_look(hid_t file, attribution *g);
/* Collective, after that. Everybody has the completions, the steps and offsets of all rows, and the flags of prompt tokens;
 * ids that an import did not make are put into the file first. */
dtx_status dtx_attribute_read(attribution *g);
/* Local. Ids of a row: its prompt and the G generated tokens that are attributed; freed with dtx_free. */
dtx_status dtx_attribute_ids(const attribution *g, int64_t row, int32_t **ids, int64_t *P, int64_t *G);
/* Collective. The faithfulness check on attribute.check rows, into GROUP/check. */
dtx_status dtx_attribute_check(attribution *g);

#endif
