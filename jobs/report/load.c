/* Reads run.h5 into a dtx_report. Shapes and lengths are checked before use: the file may come from elsewhere. */
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "jobs/report/report.h"
#include "src/base/file.h"
#include "src/base/log.h"
#include "src/base/mem.h"

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

/* --- prompts, trainings, launches --- */

static dtx_status load_prompts(dtx_report *r)
{
    hsize_t shape[2] = {0, 0};
    int64_t one = 1;

    if (!dtx_h5_exists(r->file, "/prompts/id")) {
        return dtx_report_miss(r, "the evaluation texts, which detoxlens generate writes");
    }
    DTX_TRY(dtx_h5_shape(r->file, "/prompts/id", shape));
    r->n_prompts = (int64_t)shape[0];
    DTX_TRY(dtx_report_take(r, "/prompts", "id", H5T_NATIVE_INT64, r->n_prompts, &one, (void **)&r->prompt_id));
    return dtx_report_take_offsets(r, "/prompts", "text_offset", "text_bytes", r->n_prompts, &r->prompt_offset);
}

/* Adds the curves below `group`; groups within it become part of the label ("ppo/loss/policy"). */
static dtx_status add_curves(const dtx_report *r, dtx_report_training *t, const char *group, const char *label, int depth,
                             size_t *cap_label, size_t *cap_value)
{
    char **names = NULL, path[512], full[96], *scale;
    size_t n = 0;
    dtx_status st;

    DTX_TRY(dtx_h5_list(r->file, group, &names, &n));
    st = DTX_OK;
    for (size_t i = 0; i < n && st == DTX_OK; i++) {
        hsize_t shape[2] = {0, 0};
        if (snprintf(path, sizeof path, "%s/%s", group, names[i]) >= (int)sizeof path
            || snprintf(full, sizeof full, "%s%s", label, names[i]) >= (int)sizeof full || strcmp(full, "timing") == 0) {
            continue;
        }
        if (dtx_h5_shape(r->file, path, shape) != DTX_OK) { /* a group */
            snprintf(full, sizeof full, "%s%s/", label, names[i]);
            st = depth < 3 ? add_curves(r, t, path, full, depth + 1, cap_label, cap_value) : DTX_OK;
            continue;
        }
        st = dtx_h5_attr_get_str(r->file, path, "CLASS", &scale);
        bool is_scale = st == DTX_OK && scale != NULL && strcmp(scale, "DIMENSION_SCALE") == 0;
        dtx_free(st == DTX_OK ? scale : NULL);
        if (st != DTX_OK || is_scale || shape[1] != 1 || shape[0] == 0 || shape[0] > (1u << 24)
            || (t->n_curves > 0 && (int64_t)shape[0] != t->n_steps)) {
            continue;
        }
        t->n_steps = (int64_t)shape[0];
        DTX_GO(DTX_GROW(t->label, *cap_label, t->n_curves + 1));
        DTX_GO(DTX_GROW(t->value, *cap_value, (t->n_curves + 1) * t->n_steps));
        DTX_GO(dtx_h5_read(r->file, path, H5T_NATIVE_DOUBLE, t->value + t->n_curves * t->n_steps));
        memcpy(t->label[t->n_curves++], full, sizeof full);
    }
done:
    dtx_free(names);
    return st;
}

static dtx_status load_trainings(dtx_report *r)
{
    char **names = NULL, group[256];
    size_t n = 0;
    dtx_status st;

    DTX_TRY(dtx_h5_list(r->file, "/training", &names, &n));
    DTX_GO(DTX_NEW(r->training, n));
    for (size_t i = 0; i < n; i++) {
        dtx_report_training *t = &r->training[r->n_trainings];
        size_t cap_label = 0, cap_value = 0;
        if (strlen(names[i]) >= sizeof t->name) {
            continue;
        }
        r->n_trainings++;
        snprintf(t->name, sizeof t->name, "%s", names[i]);
        snprintf(group, sizeof group, "/training/%s", t->name);
        DTX_GO(add_curves(r, t, group, "", 0, &cap_label, &cap_value));
    }
done:
    dtx_free(names);
    return st;
}

/* "2026-01-31T12:00:00Z" as seconds, NaN when it is something else. */
static double seconds_of(const char *stamp)
{
    struct tm tm = {0};
    char *end = strptime(stamp, "%Y-%m-%dT%H:%M:%SZ", &tm);

    return end != NULL && *end == '\0' ? (double)timegm(&tm) : NAN;
}

static int compare_launches(const void *a, const void *b)
{
    const dtx_report_launch *x = a, *y = b;

    return (x->index > y->index) - (x->index < y->index);
}

static dtx_status load_launches(dtx_report *r)
{
    char **names = NULL, group[320];
    size_t n = 0;
    dtx_status st;

    DTX_TRY(dtx_h5_list(r->file, "/provenance", &names, &n));
    DTX_GO(DTX_NEW(r->launch, n));
    for (size_t i = 0; i < n; i++) {
        dtx_report_launch *l = &r->launch[r->n_launches];
        char *end;
        l->index = strtoll(names[i], &end, 10);
        if (*end != '\0') {
            continue;
        }
        snprintf(group, sizeof group, "/provenance/%s", names[i]);
        DTX_GO(dtx_h5_attr_list(r->file, group, &l->attrs, &l->n_attrs));
        l->hours = (seconds_of(dtx_report_attr(l->attrs, l->n_attrs, "stop"))
                    - seconds_of(dtx_report_attr(l->attrs, l->n_attrs, "start"))) / 3600;
        r->n_launches++;
    }
    qsort(r->launch, (size_t)r->n_launches, sizeof *r->launch, compare_launches);
done:
    dtx_free(names);
    return st;
}

dtx_status dtx_report_load(const char *dir, const char *method, dtx_report *r)
{
    char path[1100];

    *r = (dtx_report){.file = -1};
    if (snprintf(r->dir, sizeof r->dir, "%s", dir) >= (int)sizeof r->dir) {
        return DTX_FAIL(DTX_ERR_USAGE, "run: the folder's name is longer than %zu bytes", sizeof r->dir - 1);
    }
    DTX_TRY(dtx_file_join(path, sizeof path, dir, "run.h5"));
    DTX_TRY(dtx_file_join(r->out, sizeof r->out, dir, "report"));
    DTX_TRY(dtx_h5_open_serial(path, &r->file));
    DTX_TRY(dtx_h5_check_schema(r->file, path));
    DTX_TRY(load_prompts(r));
    DTX_TRY(dtx_report_load_variants(r, method));
    DTX_TRY(load_trainings(r));
    return load_launches(r);
}

void dtx_report_free(dtx_report *r)
{
    dtx_report_free_toxicity(r);
    dtx_report_free_variants(r);
    for (int64_t i = 0; i < r->n_trainings; i++) {
        dtx_free(r->training[i].label);
        dtx_free(r->training[i].value);
    }
    for (int64_t i = 0; i < r->n_launches; i++) {
        dtx_free(r->launch[i].attrs);
    }
    for (size_t i = 0; i < r->n_missing; i++) {
        dtx_free(r->missing[i]);
    }
    dtx_free(r->missing);
    dtx_tokenizer_close(r->tokenizer);
    dtx_free(r->pinned);
    dtx_free(r->figure);
    dtx_free(r->launch);
    dtx_free(r->training);
    dtx_free(r->prompt_offset);
    dtx_free(r->prompt_id);
    dtx_h5_close(r->file);
}
