/* stage.h - what the jobs that fill rows of run.h5 share: the variant's model, and the record of the settings that a stage
 * was made with, so that a run.h5 of another model or seed is refused instead of mixed. */
#ifndef DTX_STAGE_H
#define DTX_STAGE_H

#include "jobs/program/job.h"
#include "mpi/run/run.h"
#include "src/model/model.h"

/* Base model and adapter of one variant. */
typedef struct {
    char variant[64], group[96]; /* "FT", "/variants/FT" */
    dtx_model *model;
    dtx_adapter *adapter;        /* NULL for IT */
    dtx_arch arch;               /* with generation_config.json's ids */
    char base_model[256];        /* the folder's name */
    char fingerprint[65];        /* rank 0: of the base weights */
    char adapter_sha256[65];     /* rank 0: of the adapter's weights and scale; "none" for IT */
} dtx_stage_model;

/* Collective. The description of a model folder: rank 0 reads config.json and generation_config.json, all hear. */
dtx_status dtx_stage_arch(const dtx_job *job, const char *dir, dtx_arch *out);
/* Collective. model.path, and variants.V.adapter (else RUN/adapters/V) for variants V other than IT. */
dtx_status dtx_stage_model_open(const dtx_job *job, const char *variant, dtx_stage_model *out);
void dtx_stage_model_close(dtx_stage_model *m);

/* Collects differences between what a file says and what is wanted now; empty text = none. */
typedef struct {
    char text[1500];
} dtx_stage_diff;
/* One attribute of `group` as text; an absent one differs. JSON objects are compared member by member. */
dtx_status dtx_stage_compare(hid_t file, const char *group, const char *name, const char *now, dtx_stage_diff *diff);
/* The same for a whole number. */
dtx_status dtx_stage_compare_int(hid_t file, const char *group, const char *name, int64_t now, dtx_stage_diff *diff);
void dtx_stage_differ(dtx_stage_diff *diff, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* DTX_ERR_USAGE listing the differences, DTX_OK when there are none. */
dtx_status dtx_stage_refuse(const dtx_run *run, const char *stage, const dtx_stage_diff *diff);

/* Serial, for editors and rank 0. Deletes a variant's group and other variants' attributions of its completions
 * (METHOD@V), and the texts when no variant is left. */
dtx_status dtx_stage_discard_variant(hid_t file, const char *variant);
/* Logs what dtx_stage_discard_variant would delete. */
dtx_status dtx_stage_announce_discard(hid_t file, const char *variant);

/* The work of a stage, cut into units. */
typedef struct {
    void *user;
    dtx_run *run;            /* its outcome is told where the time went; NULL = not */
    int64_t n_units;
    int64_t n_rows, n_done;  /* rows of the stage, of them done before this launch */
    const char *log_dir;
    dtx_status (*unit)(void *user, int64_t unit); /* local; DTX_STOPPED: begun but not finished */
    dtx_status (*write)(void *user);              /* collective: what is ready goes to the file */
    const double *rows, *tokens;                  /* local: finished and generated or attributed in this launch */
} dtx_stage_work;
/* Collective. Rounds of units and writes until all is done or somebody asked for a stop; progress and times are logged. */
dtx_status dtx_stage_run(const dtx_job *job, const dtx_stage_work *w, bool *stopped);

/* Rows of a unit of generation: four batches, so that places are refilled; fewer where ranks would have less than four units,
 * but a batch as long as all ranks have work, as a step of few streams takes as long as one of many. */
int64_t dtx_stage_unit_rows(int64_t rows, int64_t batch, int64_t ranks);

/* Collective. Compares the launch with its forecast (jobs/plan/forecast.h), writes exit code, stop time and outcome; keeps the
 * message and status `st`. */
dtx_status dtx_stage_end(dtx_run *run, dtx_status st);
/* Entries that are not 0. */
int64_t dtx_stage_count(const uint8_t *flag, int64_t n);

/* Rows of a (N, width) dataset that this rank has ready, waiting for the next collective write. */
typedef struct {
    const char *name;   /* below the stage's group */
    hid_t type;
    size_t size_bytes;  /* of an element */
    int64_t width;      /* elements of a row */
    char *data;
    size_t cap;
} dtx_stage_column;
enum { DTX_STAGE_COLUMNS = 12 };
typedef struct {
    int n_columns;
    dtx_stage_column column[DTX_STAGE_COLUMNS]; /* the last one is the flag that makes a row valid */
    int64_t n, *row, *count;
    size_t cap_row, cap_count;
} dtx_stage_rows;
/* Adds a row; values[c] points to column c's row. */
dtx_status dtx_stage_rows_add(dtx_stage_rows *r, int64_t row, const void *const *values);
/* Collective. Writes and flushes all columns but the last, then the last, of datasets with n_rows rows; empties the set. */
dtx_status dtx_stage_rows_write(dtx_run *run, const char *group, int64_t n_rows, dtx_stage_rows *r);
void dtx_stage_rows_free(dtx_stage_rows *r);

#endif
