/* report.h - what a run.h5 holds, in memory, as the report needs it; and the report's parts. Read once by
 * report_load.c, then turned into tables (report_csv.c), figures (report_figure.c) and a page (report_page.c).
 * A file that is only partly filled is fine everywhere: what is missing is counted and told. */
#ifndef DTX_REPORT_H
#define DTX_REPORT_H

#include <cjson/cJSON.h>
#include <stdio.h>

#include "mpi/run.h"

enum { DTX_REPORT_STEPS = 50 }; /* of the figure, as in the study; the tables have all */

/* One quantity over the steps of a variant: rows that have a value there, their mean, and mean -+ 1.96 sd / sqrt(n). The
 * band is NaN where n < 2. */
typedef struct {
    int64_t n_steps;
    int64_t *n;
    double *mean, *low, *high;
} dtx_report_curve;

/* Tokens, and words merged from sub-words. */
typedef enum { DTX_REPORT_TOKEN, DTX_REPORT_WORD, DTX_REPORT_UNITS } dtx_report_unit;
typedef enum { DTX_REPORT_ENTROPY, DTX_REPORT_DEPENDENCE, DTX_REPORT_QUANTITIES } dtx_report_quantity;
extern const char *const dtx_report_quantity_name[DTX_REPORT_QUANTITIES]; /* "entropy", "prompt_dependence" */
extern const char *const dtx_report_unit_name[DTX_REPORT_UNITS];          /* "step", "word" */

/* Scores of a variant's completions by one scorer. */
typedef struct {
    char name[64];                  /* "perspective" */
    float *completion, *prompt;     /* (n_rows) NaN where there is none */
    uint8_t *status;                /* (n_rows) */
    int64_t n_scored, n_open;       /* completions with a score; completions not asked about yet */
    char **attrs;
    size_t n_attrs;
} dtx_report_scores;

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

    /* attribution by the method of this report; has_attribution is false where there is none */
    bool has_attribution;
    char attribution[160];          /* its group */
    char **attr_settings;
    size_t n_attr_settings;
    int64_t a_width;
    uint8_t *done;                  /* (n_rows) */
    int32_t *G, *T;                 /* (n_rows) */
    uint64_t *row_offset;           /* (n_rows + 1) */
    float *probability;             /* (n_rows, a_width) */
    float *value[DTX_REPORT_UNITS][DTX_REPORT_QUANTITIES]; /* (n_rows, a_width) or NULL */
    int64_t n_attributed;
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
    char **missing;                 /* one sentence each */
    size_t n_missing, cap_missing;
} dtx_report;

/* Opens RUN/run.h5 and reads all but the matrices and texts, which are read by the row. `method`: wanted attribution. */
dtx_status dtx_report_load(const char *dir, const char *method, dtx_report *r);
/* A whole dataset GROUP/NAME of `rows` rows, allocated; *out stays NULL when there is none. *width < 0 takes the width
 * found, else it must be that (pass a pointer to 1 for vectors). */
dtx_status dtx_report_take(const dtx_report *r, const char *group, const char *name, hid_t type, int64_t rows, int64_t *width,
                           void **out);
/* Reads the toxicity scores and computes the tables on them. `wanted`: the set of Table 1; "" = perspective, else the one
 * that most variants have. */
dtx_status dtx_report_load_toxicity(dtx_report *r, const char *wanted);
void dtx_report_free_toxicity(dtx_report *r);
/* report/table1.csv (set score_set), table1_paired.csv, toxicity.csv (all sets). */
dtx_status dtx_report_write_toxicity(const dtx_report *r);
/* The same as a member `toxicity` of the page's data. */
dtx_status dtx_report_put_toxicity(const dtx_report *r, cJSON *parent);
void dtx_report_free(dtx_report *r);
/* Adds to the list of what is missing. */
dtx_status dtx_report_miss(dtx_report *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The value of an attribute in a list of pairs, "" when there is none. */
const char *dtx_report_attr(char *const *pairs, size_t n, const char *name);
/* Mean over the finite values of a row's first n steps; NaN when there is none. */
double dtx_report_row_mean(const float *x, int64_t n);

/* report/entropy_by_step.csv, prompt_dependence_by_step.csv (and _by_word), summary.csv, rows.csv, launches.csv,
 * missing.csv, check.csv, check_rows.csv, training_NAME.csv. */
dtx_status dtx_report_write_csv(const dtx_report *r);
/* ",1.25" or "," where x is not finite. */
void dtx_report_put_number(FILE *f, double x);
/* Opens a text in memory that dtx_report_publish writes as RUN/report/NAME; `f` is closed in any case. */
typedef struct {
    FILE *f;
    char *text;
    size_t size;
} dtx_report_file;
dtx_status dtx_report_begin(dtx_report_file *out);
dtx_status dtx_report_publish(const dtx_report *r, dtx_report_file *out, const char *name);

/* Writes NAME.gp and runs gnuplot on it, which makes NAME.svg and NAME.pdf, for figure1, figure1_words and
 * training_NAME. Absent gnuplot is DTX_ERR_MISSING naming the package. */
dtx_status dtx_report_draw(const dtx_report *r);
bool dtx_report_has_curves(const dtx_report *r, dtx_report_unit unit);

/* report/index.html. `model` is a folder with the tokenizer, "" when it is not known; n_sample completions can be looked
 * at. */
dtx_status dtx_report_write_page(const dtx_report *r, const char *model, int64_t n_sample);
/* The completions that can be looked at, with their matrices: an object of the page's data. */
dtx_status dtx_report_sample(const dtx_report *r, const char *model, int64_t n_sample, cJSON **out);

/* Building the page's data. Adds an item (made just before; NULL = no memory) to an object, or to a list when key is
 * NULL; the item is gone on failure. */
dtx_status dtx_report_put(cJSON *parent, const char *key, cJSON *item);
/* A number rounded to 5 decimals, null where it is not finite. */
cJSON *dtx_report_number(double x);
/* Bytes as a string: ill-formed UTF-8 becomes U+FFFD; a NUL is kept (as the byte 0xFF until the page is printed). */
cJSON *dtx_report_text(const char *bytes, size_t len);

/* jobs/report/NAME, embedded (cmake/WriteAssets.cmake); NULL when there is none. */
const char *dtx_report_asset(const char *name);

#endif
