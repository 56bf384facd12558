/* verify.h - recomputing reference values of model folders laid out as
 *   MODEL/config.json, weights, adapter/, expected/<kind>.safetensors (and <kind>.json)
 * or, of GGUF files, MODEL/NAME.gguf, expected/NAME.safetensors, expected/meta.json (differences: NAME.hf_f32_vs_f64); or NAME.gguf beside
 * NAME.safetensors, the values of its quantised tensors.
 * A checker reads one file of expected/, recomputes what it holds and reports each quantity's largest difference
 * against its tolerance: 20 times the file's own entry in __metadata__ "f32_vs_f64" (the difference that single precision alone
 * makes), at least 1e-6; 1e-5 where it has no entry. Tensors that no checker read are printed as not checked.
 * To add a checker: a function, and one line in the table of verify.c. */
#ifndef DTX_VERIFY_H
#define DTX_VERIFY_H

#include "jobs/program/job.h"
#include "src/base/json.h"
#include "src/model/model.h"
#include "src/weights/weights.h"

typedef struct {
    char dir[4096];             /* the model's folder */
    const char *name;           /* its last component */
    dtx_model *model;
    dtx_adapter *adapter;       /* NULL when there is no adapter/ */
    const char *file;           /* the file of expected/ being checked: "logits.safetensors" */
    dtx_weights *expected;
    bool *used;                 /* a flag for each of its tensors */
    cJSON *f32_vs_f64;          /* NULL when the file has none */
    bool json;                  /* one JSON object a line instead of the table */
    int64_t n_equal, n_differ, n_unchecked; /* quantities */
} dtx_verify;

/* Tensors of the file, converted; *x is freed by the caller. *shape may be NULL, else (DTX_MAX_DIMS). DTX_ERR_INPUT
 * when the tensor is not there. Reading counts as checking. */
dtx_status dtx_verify_read(dtx_verify *v, const char *tensor, double **x, int64_t *n, int64_t *shape);
dtx_status dtx_verify_ids(dtx_verify *v, const char *tensor, int32_t **ids, int64_t *n, int64_t *shape);
bool dtx_verify_has(const dtx_verify *v, const char *tensor);
/* expected/NAME parsed; the caller frees it with cJSON_Delete. */
dtx_status dtx_verify_json(const dtx_verify *v, const char *name, cJSON **out);

/* One quantity: begin, any number of values, end. */
typedef struct {
    const char *name;
    double tolerance;           /* 0 = must be equal */
    double worst;               /* largest |got - want|; infinite when a NaN or infinite value is not matched */
    int64_t n;
    char where[128];            /* of the worst */
    double outlier;             /* > 0: one value in a thousand (and always three) may differ by up to this instead */
    int64_t n_outliers;
} dtx_quantity;
/* entry: key of f32_vs_f64; NULL = has none; "=" = values must be equal (ids). */
dtx_quantity dtx_verify_begin(const dtx_verify *v, const char *name, const char *entry);
void dtx_verify_values(dtx_quantity *q, const char *where, int64_t n, const double *got, const double *want);
void dtx_verify_floats(dtx_quantity *q, const char *where, int64_t n, const float *got, const double *want);
void dtx_verify_end(dtx_verify *v, const dtx_quantity *q);
/* A quantity that is one number. */
void dtx_verify_number(dtx_verify *v, const char *name, const char *entry, double got, double want);
/* A number of expected/NAME, dotted key; NaN where there is none. */
double dtx_verify_json_number(const cJSON *root, const char *key);
/* Compares an adapter (or its gradient) with the tensors PREFIX.KEY: of all modules, else of those that the file has. */
dtx_status dtx_verify_adapter(dtx_verify *v, dtx_quantity *q, const char *prefix, const dtx_adapter *ad, bool all);
/* Says that something of this file is not compared, and why. */
void dtx_verify_skip(dtx_verify *v, const char *what, const char *why);

/* All of DIR: a model's folder, or a folder of them. *equal is false when something differs. */
dtx_status dtx_verify_dir(const char *dir, bool json, bool *equal);

/* Recomputes rows of a run.h5: those of job->row_first .. row_last, else `wanted` of each set. *equal is false when something
 * differs by more than its tolerance. */
dtx_status dtx_verify_rows(dtx_job *job, const char *path, int64_t wanted, bool *equal);

/* checkers */
/* Logits of the sequences seq0, seq1 .. by m, and greedy continuations. */
dtx_status dtx_verify_sequences(dtx_verify *v, const dtx_model *m, const char *label, bool with_greedy);
/* Of a model that was opened from a GGUF file; of the tensors of such a file. */
dtx_status dtx_verify_gguf_logits(dtx_verify *v);
dtx_status dtx_verify_gguf_values(dtx_verify *v, const char *path);
dtx_status dtx_verify_logits(dtx_verify *v);
dtx_status dtx_verify_roberta(dtx_verify *v);
dtx_status dtx_verify_lora(dtx_verify *v);
dtx_status dtx_verify_ppo(dtx_verify *v);
dtx_status dtx_verify_processors(dtx_verify *v);
dtx_status dtx_verify_attribution(dtx_verify *v);
dtx_status dtx_verify_adapters(dtx_verify *v);

#endif
