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
    double sum = 0;
    int64_t there = 0;

    for (int64_t i = 0; i < n; i++) {
        if (isfinite(x[i])) {
            sum += x[i];
            there++;
        }
    }
    return there > 0 ? sum / (double)there : NAN;
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
    char path[512];
    hsize_t shape[2] = {0, 0};
    void *x = NULL;
    dtx_status st;

    snprintf(path, sizeof path, "%s/%s", group, name);
    if (!dtx_h5_exists(r->file, path)) {
        return DTX_OK;
    }
    DTX_TRY(dtx_h5_shape(r->file, path, shape));
    if (shape[0] != (hsize_t)rows || (*width >= 0 && shape[1] != (hsize_t)*width)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s/run.h5: %s has the shape %llu x %llu, expected %" PRId64 " rows", r->dir, path,
                        (unsigned long long)shape[0], (unsigned long long)shape[1], rows);
    }
    x = dtx_malloc((size_t)shape[0] * (size_t)shape[1] + 1, H5Tget_size(type));
    DTX_GO(dtx_mem_check(x, (size_t)shape[0], H5Tget_size(type), path));
    DTX_GO(dtx_h5_read(r->file, path, type, x));
    *width = (int64_t)shape[1];
    *out = x;
    x = NULL;
done:
    dtx_free(x);
    return st;
}

dtx_status dtx_report_take_offsets(const dtx_report *r, const char *group, const char *name, const char *flat, int64_t rows,
                                   uint64_t **out)
{
    char path[512];
    hsize_t shape[2] = {0, 0};
    int64_t one = 1;
    uint64_t *x = NULL;

    snprintf(path, sizeof path, "%s/%s", group, flat);
    DTX_TRY(dtx_report_take(r, group, name, H5T_NATIVE_UINT64, rows + 1, &one, (void **)&x));
    if (x == NULL || !dtx_h5_exists(r->file, path)) {
        dtx_free(x);
        return DTX_OK;
    }
    dtx_status st = dtx_h5_shape(r->file, path, shape);
    for (int64_t i = 0; i <= rows && st == DTX_OK; i++) {
        if (x[i] > shape[0] || (i > 0 && x[i] < x[i - 1])) {
            st = DTX_FAIL(DTX_ERR_INPUT, "%s/run.h5: %s/%s: entry %" PRId64 " is %" PRIu64 ", outside %s with %llu entries or "
                          "below the one before it", r->dir, group, name, i, x[i], flat, (unsigned long long)shape[0]);
        }
    }
    if (st != DTX_OK) {
        dtx_free(x);
        return st;
    }
    *out = x;
    return DTX_OK;
}

dtx_status dtx_report_take_text(const dtx_report *r, const char *group, const uint64_t *offset, int64_t row, char **out, size_t *len)
{
    char path[256];
    char *x;

    snprintf(path, sizeof path, "%s/text_bytes", group);
    *len = offset[row + 1] - offset[row];
    DTX_TRY(DTX_NEW(x, *len + 1));
    dtx_status st = dtx_h5_read_rows(r->file, path, H5T_NATIVE_UINT8, offset[row], *len, x);
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
