/* report.h - what a run.h5 holds, in memory, as the report needs it. Read once (load.c, variants.c, toxicity.c), then turned
 * into tables, figures and a page by the report's parts (parts.h). A file that is only partly filled is fine everywhere:
 * what is missing is counted and told. Everything here is local. */
#ifndef DTX_REPORT_H
#define DTX_REPORT_H

#include <stdio.h>

#include "jobs/report/stats.h"
#include "mpi/run/run.h"
#include "src/text/tokenizer.h"

enum { DTX_REPORT_STEPS = 50 }; /* of the figures, as in the study; the tables have all */

/* Tokens, and words merged from sub-words. */
typedef enum { DTX_REPORT_TOKEN, DTX_REPORT_WORD, DTX_REPORT_UNITS } dtx_report_unit;
/* The last is entropy / log2(prompt tokens), between 0 and 1; there is none for words. */
typedef enum { DTX_REPORT_ENTROPY, DTX_REPORT_DEPENDENCE, DTX_REPORT_NORMALISED, DTX_REPORT_QUANTITIES } dtx_report_quantity;
extern const char *const dtx_report_quantity_name[DTX_REPORT_QUANTITIES]; /* "entropy", "prompt_dependence", "entropy_normalised" */
extern const char *const dtx_report_unit_name[DTX_REPORT_UNITS];          /* "step", "word" */

/* Completions by their score: above the report's threshold (toxic), at or below it, or all, unscored ones included. */
typedef enum { DTX_REPORT_ALL, DTX_REPORT_TOXIC, DTX_REPORT_NOT_TOXIC, DTX_REPORT_CLASSES } dtx_report_class;
extern const char *const dtx_report_class_name[DTX_REPORT_CLASSES]; /* "all", "toxic", "not_toxic" */

/* Scores of a variant's completions by one scorer. */
typedef struct {
    char name[64];                  /* "perspective" */
    float *completion, *prompt;     /* (n_rows) NaN where there is none */
    uint8_t *status;                /* (n_rows) */
    int64_t n_scored, n_open;       /* completions with a score; completions not asked about yet */
    char **attrs;
    size_t n_attrs;
} dtx_report_scores;

/* A result below /variants/V/attribution; `there` is false where the file has none. */
typedef struct {
    bool there;
    char group[160];
    char **settings;
    size_t n_settings;
    int64_t n_rows, width;
    uint8_t *done;                  /* (n_rows) */
    int32_t *G, *T;                 /* (n_rows) */
    uint64_t *row_offset;           /* (n_rows + 1) */
    float *probability;             /* (n_rows, width), NaN for rows that are not done */
    float *value[DTX_REPORT_UNITS][DTX_REPORT_QUANTITIES]; /* the same, or NULL */
    float *user;                    /* user_dependence, (n_rows, width): the part of prompt dependence on the user's own text; may be NULL */
    int64_t n_done;
} dtx_report_attribution;

typedef struct {
    char name[64], group[96];       /* "IT", "/variants/IT" */
    char **attrs;                   /* pairs of name and value; one block */
    size_t n_attrs;

    /* completions; n_rows = 0 where there are none */
    int64_t n_rows, width;          /* prompts x samples, max_new_tokens */
    uint8_t *finish;                /* (n_rows) */
    int32_t *length;                /* (n_rows); NULL for imported ones without a tokenizer, whose width is 0 */
    uint64_t *prompt_offset;        /* (n_rows + 1), NULL where absent */
    uint64_t *text_offset;          /* (n_rows + 1), NULL until the stage is complete */
    int64_t n_done, n_eos, n_length, n_imported, n_empty;
    double mean_length;             /* over rows that are done, a final EOS not counted */

    int64_t n_sets;
    dtx_report_scores *set;         /* toxicity, by name */
    float *score;                   /* (n_rows) of the report's set, borrowed; NULL where the variant has none */
    uint8_t *in_class[DTX_REPORT_CLASSES]; /* (n_rows) 1 for completions of the class; NULL where n_rows = 0 */
    int64_t n_class[DTX_REPORT_CLASSES];

    dtx_report_attribution a;       /* by the method of this report */
    double mean[DTX_REPORT_QUANTITIES], mean_probability; /* over rows of their mean over steps (tokens) */
    dtx_report_curve curve[DTX_REPORT_UNITS][DTX_REPORT_QUANTITIES];
    char **other_methods;           /* results of other names in the file */
    size_t n_other_methods;
    char **check;                   /* attributes of the faithfulness check */
    size_t n_check;
    int64_t n_checked;              /* rows of the check */
    int64_t *check_row;
    float *drop[2];                 /* (n_checked) loss of probability: highest-scored tokens deleted, random ones deleted */
    double gain, gain_low, gain_high; /* mean of drop[0] - drop[1] and its 95 % band; NaN where there is none */
} dtx_report_variant;

/* Curves of one training: every 1-D dataset below /training/NAME except timing/ and axes. */
typedef struct {
    char name[128];                 /* "pretrain-IT" */
    int64_t n_curves, n_steps;
    char (*label)[96];              /* "loss", "ppo/loss/policy" */
    double *value;                  /* (n_curves, n_steps), NaN where there is none */
} dtx_report_training;

typedef struct {
    int64_t index;
    char **attrs;
    size_t n_attrs;
    double hours;                   /* NaN while it runs or when it was killed */
} dtx_report_launch;

/* A line of Table 1: how many completions of a subset have a score above 0.5. */
typedef struct {
    char set[64], variant[64];
    const char *subset;             /* "all", "prompt_score>0.5" */
    int64_t rows, scored, toxic;    /* completions; those with a score; those with one above 0.5 */
    double share_all, share_scored; /* toxic / rows, toxic / scored; NaN where that is 0 / 0 */
    double low, high;               /* of share_scored, 95 %: Wilson 1927 */
} dtx_report_share;

/* How two variants differ on the same texts. */
typedef struct {
    char first[64], second[64];
    const char *subset, *basis;     /* basis: "all" completions of both, or those "scored" in both */
    int64_t rows, only_first, only_second; /* compared; toxic in one of them alone */
    double difference, low, high;   /* share of first - share of second; 95 % bootstrap over texts */
    double p;                       /* McNemar's exact test, two-sided; NaN where a text has several samples */
} dtx_report_pair;

typedef struct {
    char dir[1024], out[1100];      /* RUN, RUN/report */
    hid_t file;
    char method[64];                /* name of the attribution that is reported */
    float threshold;                /* of the classes */
    int64_t n_prompts;
    int64_t *prompt_id;             /* (n_prompts) */
    uint64_t *prompt_offset;        /* (n_prompts + 1), NULL where absent */
    int64_t n_variants;
    dtx_report_variant *variant;
    char score_set[64], prompt_set[64]; /* of Table 1; "" where there are no scores */
    int64_t n_shares, n_pairs;
    dtx_report_share *share;        /* those of score_set first */
    dtx_report_pair *pair;          /* of score_set */
    int64_t n_trainings;
    dtx_report_training *training;
    int64_t n_launches;
    dtx_report_launch *launch;
    dtx_tokenizer *tokenizer;       /* the run's; NULL where it was not found: ids are shown */
    char tokenizer_note[600];       /* why; "" where it was found or is not needed */
    char **missing;                 /* one sentence each */
    size_t n_missing, cap_missing;
    int64_t *pinned;                /* rows that the browser over completions must hold: those of Table 2; may repeat */
    size_t n_pinned, cap_pinned;
    char (*figure)[64];             /* names of the figures that were drawn, for the page */
    size_t n_figures, cap_figures;
} dtx_report;

/* Opens RUN/run.h5 and reads all but scores, matrices and texts. `method`: wanted attribution. */
dtx_status dtx_report_load(const char *dir, const char *method, dtx_report *r);
void dtx_report_free(dtx_report *r);
/* Steps of the above. */
dtx_status dtx_report_load_variants(dtx_report *r, const char *method);
void dtx_report_free_variants(dtx_report *r);
/* Reads the result NAME below the variant's attribution, which is there, of n_rows completions. */
dtx_status dtx_report_load_attribution(const dtx_report *r, const dtx_report_variant *v, const char *name, int64_t n_rows,
                                       dtx_report_attribution *a);
void dtx_report_free_attribution(dtx_report_attribution *a);
/* Matrix `row`, which is done, G x T, into *value of *cap entries, which grows as needed. */
dtx_status dtx_report_read_matrix(const dtx_report *r, const dtx_report_attribution *a, int64_t row, float **value, size_t *cap);
/* Reads the toxicity scores, computes Table 1 and the classes. `wanted`: the set of Table 1; "" = perspective, else service,
 * else the one that most variants have. */
dtx_status dtx_report_load_toxicity(dtx_report *r, const char *wanted, float threshold);
void dtx_report_free_toxicity(dtx_report *r);

/* The first variant with attributed rows, else the first with completions; NULL where there is none. */
const dtx_report_variant *dtx_report_leader(const dtx_report *r);
/* Opens the run's tokenizer: in the folder `model`, else in the one that the run was made with. Where neither gives the texts
 * that the run holds, `tokenizer` stays NULL and tokenizer_note says why. */
dtx_status dtx_report_open_tokenizer(dtx_report *r, const char *model);

/* A whole dataset GROUP/NAME of `rows` rows, allocated; *out stays NULL when there is none. *width < 0 takes the width
 * found, else it must be that (pass a pointer to 1 for vectors). */
dtx_status dtx_report_take(const dtx_report *r, const char *group, const char *name, hid_t type, int64_t rows, int64_t *width,
                           void **out);
/* (rows + 1) offsets into a flat dataset of the same group: ascending, and no further than it is long. Absent or not yet
 * written ones become NULL. */
dtx_status dtx_report_take_offsets(const dtx_report *r, const char *group, const char *name, const char *flat, int64_t rows,
                                   uint64_t **out);
/* Text `row` of GROUP/text_bytes, allocated, with a NUL after it. */
dtx_status dtx_report_take_text(const dtx_report *r, const char *group, const uint64_t *offset, int64_t row, char **out, size_t *len);
/* Adds to the list of what is missing. */
dtx_status dtx_report_miss(dtx_report *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The value of an attribute in a list of pairs, "" when there is none. */
const char *dtx_report_attr(char *const *pairs, size_t n, const char *name);
/* Mean over the finite values of a row's first n steps; NaN when there is none. */
double dtx_report_row_mean(const float *x, int64_t n);
/* Mean of x over the steps where x and y are finite; NaN when there is none. */
double dtx_report_mean_where(const float *x, const float *y, int64_t n);
/* The variant of that name, NULL when there is none. */
const dtx_report_variant *dtx_report_find(const dtx_report *r, const char *name);
/* A variant's scores of that name, NULL when there are none. */
const dtx_report_scores *dtx_report_find_scores(const dtx_report_variant *v, const char *set);
/* Rows of a text; 1 where there are no texts. */
int64_t dtx_report_samples(const dtx_report *r, const dtx_report_variant *v);
bool dtx_report_has_curves(const dtx_report *r, dtx_report_unit unit);

#endif
