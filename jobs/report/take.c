/* Pieces of a run.h5 for the readers of the report: a dataset, offsets, a text; what is missing. Shapes and lengths are checked
 * before use: the file may come from elsewhere. */
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "jobs/report/report.h"
#include "src/base/log.h"
#include "src/base/mem.h"

const char *const dtx_report_quantity_name[DTX_REPORT_QUANTITIES] = {"entropy", "prompt_dependence", "entropy_normalised"};

const char *const dtx_report_unit_name[DTX_REPORT_UNITS] = {"step", "word"};

dtx_status dtx_report_miss(dtx_report *r, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    dtx_log(DTX_LOG_WARN, "report", "missing: %s", text);
    DTX_TRY(DTX_GROW(r->missing, r->cap_missing, r->n_missing + 1));
    r->missing[r->n_missing] = dtx_strdup(text);
    DTX_TRY(dtx_mem_check(r->missing[r->n_missing], strlen(text), 1, "a message"));
    r->n_missing++;
    return DTX_OK;
}

const char *dtx_report_attr(char *const *pairs, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(pairs[2 * i], name) == 0) {
            return pairs[2 * i + 1];
        }
    }
    return "";
}

double dtx_report_row_mean(const float *x, int64_t n)
{
    return dtx_report_mean_where(x, x, n);
}

const dtx_report_variant *dtx_report_find(const dtx_report *r, const char *name)
{
    for (int64_t i = 0; i < r->n_variants; i++) {
        if (strcmp(r->variant[i].name, name) == 0) {
            return &r->variant[i];
        }
    }
    return NULL;
}

int64_t dtx_report_samples(const dtx_report *r, const dtx_report_variant *v)
{
    return r->n_prompts > 0 ? v->n_rows / r->n_prompts : 1;
}

dtx_status dtx_report_take(const dtx_report *r, const char *group, const char *name, hid_t type, int64_t rows, int64_t *width,
                           void **out)
{
    int64_t shape[2];

    if (!dtx_h5_has(r->file, group, name)) {
        return DTX_OK;
    }
    DTX_TRY(dtx_h5_take(r->file, group, name, type, rows, *width, out, shape));
    *width = shape[1];
    return DTX_OK;
}

dtx_status dtx_report_take_offsets(const dtx_report *r, const char *group, const char *name, const char *flat, int64_t rows,
                                   uint64_t **out)
{
    if (!dtx_h5_has(r->file, group, name) || !dtx_h5_has(r->file, group, flat)) {
        return DTX_OK;
    }
    return dtx_h5_take_offsets(r->file, group, name, rows, out, NULL);
}

dtx_status dtx_report_take_text(const dtx_report *r, const char *group, const uint64_t *offset, int64_t row, char **out, size_t *len)
{
    char *x;

    *len = offset[row + 1] - offset[row];
    DTX_TRY(DTX_NEW(x, *len + 1));
    dtx_status st = dtx_h5_read_rows(r->file, group, "text_bytes", H5T_NATIVE_UINT8, (int64_t)offset[row], (int64_t)*len, 1, x);
    if (st != DTX_OK) {
        dtx_free(x);
        return st;
    }
    *out = x;
    return DTX_OK;
}

double dtx_report_mean_where(const float *x, const float *y, int64_t n)
{
    double sum = 0;
    int64_t there = 0;

    for (int64_t i = 0; i < n; i++) {
        if (isfinite(x[i]) && isfinite(y[i])) {
            sum += x[i];
            there++;
        }
    }
    return there > 0 ? sum / (double)there : NAN;
}
