/* verify.h - the parts of `detoxlens verify DIR`. DIR is a folder of model folders that have expected values in
 * MODEL/expected; each part recomputes one of its files and notes the largest difference of every quantity. */
#ifndef DTX_VERIFY_H
#define DTX_VERIFY_H

#include <stdint.h>
#include <stdio.h>

#include "src/weights.h"

typedef struct {
    FILE *out;          /* a line for each quantity */
    char model[256];    /* shown in front of it */
    int64_t n, n_bad;   /* quantities compared so far, and those outside their tolerance */
} dtx_verify;

/* Notes the largest absolute difference of a quantity. NaN or a difference above `tolerance` is bad. */
void dtx_verify_note(dtx_verify *v, const char *quantity, double difference, double tolerance);

/* DIR/expected/NAME.safetensors. */
dtx_status dtx_verify_open(const char *dir, const char *name, dtx_weights **out);
/* 20 times the file's entry for `quantity` in "f32_vs_f64", at least 1e-6; 1e-5 where it has none. */
double dtx_verify_tolerance(const dtx_weights *w, const char *quantity);
/* A tensor that must be there, with n elements (n < 0: any number), as doubles; *x is freed with dtx_free. */
dtx_status dtx_verify_doubles(const dtx_weights *w, const char *name, int64_t n, double **x, const dtx_tensor **tensor);
/* Token ids (I64); DTX_ERR_INPUT for ids outside [0, vocab). */
dtx_status dtx_verify_ids(const dtx_weights *w, const char *name, int64_t vocab, int32_t **ids, int64_t *n);
/* Largest |a[i] - b[i]|; where both are NaN they are equal, where one is, the result is infinite. */
double dtx_verify_difference(int64_t n, const double *a, const double *b);
double dtx_verify_difference_f(int64_t n, const float *a, const double *b);

/* Parts. `dir` is one model's folder; nothing is compared where it has no such file. DTX_OK whatever the differences. */
dtx_status dtx_verify_processors(dtx_verify *v, const char *dir);
dtx_status dtx_verify_attribution(dtx_verify *v, const char *dir);

#endif
