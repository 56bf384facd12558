/* Reads run.h5 into a dtx_report. Shapes and lengths are checked before use: the file may come from elsewhere. */
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "jobs/report.h"
#include "src/file.h"
#include "src/log.h"
#include "src/mem.h"

const char *const dtx_report_quantity_name[DTX_REPORT_QUANTITIES] = {"entropy", "prompt_dependence"};
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

/* Offsets into a flat dataset: ascending, and no further than it is long. Absent or not yet written ones become NULL. */
static dtx_status take_offsets(const dtx_report *r, const char *group, const char *name, const char *flat, int64_t rows,
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

/* --- statistics --- */

static dtx_status make_curve(const dtx_report_variant *v, const float *x, dtx_report_curve *c)
{
    int64_t width = v->a_width;
    dtx_status st;

    DTX_GO(DTX_NEW(c->n, width));
    DTX_GO(DTX_NEW(c->mean, width));
    DTX_GO(DTX_NEW(c->low, width));
    DTX_GO(DTX_NEW(c->high, width));
    for (int64_t s = 0; s < width; s++) {
        double sum = 0, squares = 0;
        int64_t n = 0;
        for (int64_t i = 0; i < v->n_rows; i++) {
            float y = x[i * width + s];
            if (v->done[i] && isfinite(y)) {
                sum += y;
                n++;
            }
        }
        double mean = n > 0 ? sum / (double)n : NAN;
        for (int64_t i = 0; i < v->n_rows && n > 1; i++) {
            float y = x[i * width + s];
            if (v->done[i] && isfinite(y)) {
                squares += (y - mean) * (y - mean);
            }
        }
        double half = n > 1 ? 1.96 * sqrt(squares / (double)(n - 1)) / sqrt((double)n) : NAN;
        c->n[s] = n;
        c->mean[s] = mean;
        c->low[s] = mean - half;
        c->high[s] = mean + half;
        c->n_steps = n > 0 ? s + 1 : c->n_steps;
    }
done:
    return st;
}

static double mean_of_rows(const dtx_report_variant *v, const float *x)
{
    double sum = 0;
    int64_t n = 0;

    for (int64_t i = 0; i < v->n_rows && x != NULL; i++) {
        double m = v->done[i] ? dtx_report_row_mean(x + i * v->a_width, v->a_width) : NAN;
        if (isfinite(m)) {
            sum += m;
            n++;
        }
    }
    return n > 0 ? sum / (double)n : NAN;
}

/* --- variants --- */

static dtx_status load_completions(dtx_report *r, dtx_report_variant *v)
{
    char group[160];
    int64_t one = 1;
    hsize_t shape[2] = {0, 0};
    double sum = 0;

    snprintf(group, sizeof group, "%s/completions/tokens", v->group);
    bool ids = dtx_h5_exists(r->file, group);
    if (!ids) { /* imported without a tokenizer: text alone */
        snprintf(group, sizeof group, "%s/completions/finish", v->group);
    }
    if (!dtx_h5_exists(r->file, group)) {
        return dtx_report_miss(r, "%s: no completions; run detoxlens generate --variant %s", v->name, v->name);
    }
    DTX_TRY(dtx_h5_shape(r->file, group, shape));
    v->n_rows = (int64_t)shape[0];
    v->width = ids ? (int64_t)shape[1] : 0;
    snprintf(group, sizeof group, "%s/completions", v->group);
    if (r->n_prompts == 0 || v->n_rows % r->n_prompts != 0) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s/run.h5: %s has %" PRId64 " rows, which is no multiple of the %" PRId64 " texts", r->dir,
                        group, v->n_rows, r->n_prompts);
    }
    DTX_TRY(dtx_report_take(r, group, "finish", H5T_NATIVE_UINT8, v->n_rows, &one, (void **)&v->finish));
    DTX_TRY(dtx_report_take(r, group, "length", H5T_NATIVE_INT32, v->n_rows, &one, (void **)&v->length));
    DTX_TRY(take_offsets(r, group, "prompt_offset", "prompt_tokens", v->n_rows, &v->prompt_offset));
    DTX_TRY(take_offsets(r, group, "text_offset", "text_bytes", v->n_rows, &v->text_offset));
    for (int64_t i = 0; i < v->n_rows; i++) {
        if (v->length == NULL && v->finish[i] != 0 && (v->finish[i] != 3 || v->text_offset == NULL || v->width > 0)) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s/run.h5: %s has no length", r->dir, group);
        }
        if (v->length != NULL && v->finish[i] != 0 && (v->length[i] < 0 || v->length[i] > v->width)) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s/run.h5: %s/length: row %" PRId64 " has %" PRId32 ", outside 0..%" PRId64, r->dir, group,
                            i, v->length[i], v->width);
        }
        int64_t words = v->finish[i] == 0 ? 0 : v->length == NULL ? (int64_t)(v->text_offset[i + 1] - v->text_offset[i])
                      : v->length[i] - (v->finish[i] == 1 && v->length[i] > 0);
        v->n_done += v->finish[i] != 0;
        v->n_eos += v->finish[i] == 1;
        v->n_length += v->finish[i] == 2;
        v->n_imported += v->finish[i] == 3;
        v->n_empty += v->finish[i] != 0 && words == 0;
        sum += (double)words;
    }
    v->mean_length = v->n_done > 0 && v->length != NULL ? sum / (double)v->n_done : NAN;
    if (v->n_done < v->n_rows) {
        DTX_TRY(dtx_report_miss(r, "%s: %" PRId64 " of %" PRId64 " completions; the same detoxlens generate continues", v->name,
                                v->n_rows - v->n_done, v->n_rows));
    } else if (v->text_offset == NULL) {
        DTX_TRY(dtx_report_miss(r, "%s: the completions' text, which generate writes at its end", v->name));
    }
    return DTX_OK;
}

/* Which result below `group` is reported: the wanted one, else the first; the others are named in the page. */
static dtx_status choose_method(dtx_report *r, dtx_report_variant *v, const char **method)
{
    char group[160];

    snprintf(group, sizeof group, "%s/attribution", v->group);
    DTX_TRY(dtx_h5_list(r->file, group, &v->other_methods, &v->n_other_methods));
    *method = NULL;
    for (size_t i = 0; i < v->n_other_methods; i++) {
        if (strcmp(v->other_methods[i], r->method) == 0) {
            *method = v->other_methods[i];
        }
    }
    return DTX_OK;
}

/* The faithfulness check, if there is one: its means, and by row what deleting tokens of the prompt cost. */
static dtx_status load_check(dtx_report *r, dtx_report_variant *v)
{
    static const char *const names[2] = {"drop_top", "drop_random"};
    char group[256], path[300];
    hsize_t shape[2] = {0, 0};
    int64_t one = 1;
    double sum = 0, squares = 0;

    v->gain = v->gain_low = v->gain_high = NAN;
    snprintf(group, sizeof group, "%s/check", v->attribution);
    if (!dtx_h5_exists(r->file, group)) {
        return DTX_OK;
    }
    DTX_TRY(dtx_h5_attr_list(r->file, group, &v->check, &v->n_check));
    snprintf(path, sizeof path, "%s/row", group);
    if (!dtx_h5_exists(r->file, path)) {
        return DTX_OK;
    }
    DTX_TRY(dtx_h5_shape(r->file, path, shape));
    DTX_TRY(dtx_report_take(r, group, "row", H5T_NATIVE_INT64, (int64_t)shape[0], &one, (void **)&v->check_row));
    for (int k = 0; k < 2; k++) {
        DTX_TRY(dtx_report_take(r, group, names[k], H5T_NATIVE_FLOAT, (int64_t)shape[0], &one, (void **)&v->drop[k]));
    }
    if (v->drop[0] == NULL || v->drop[1] == NULL) {
        return DTX_OK;
    }
    v->n_checked = (int64_t)shape[0];
    for (int64_t i = 0; i < v->n_checked; i++) {
        sum += v->drop[0][i] - v->drop[1][i];
    }
    v->gain = v->n_checked > 0 ? sum / (double)v->n_checked : NAN;
    for (int64_t i = 0; i < v->n_checked; i++) {
        double d = v->drop[0][i] - v->drop[1][i] - v->gain;
        squares += d * d;
    }
    double half = v->n_checked > 1 ? 1.96 * sqrt(squares / (double)(v->n_checked - 1) / (double)v->n_checked) : NAN;
    v->gain_low = v->gain - half;
    v->gain_high = v->gain + half;
    return DTX_OK;
}

static dtx_status load_attribution(dtx_report *r, dtx_report_variant *v)
{
    const char *method;
    char words[256];
    int64_t one = 1, width = -1;

    if (v->n_rows == 0) {
        return DTX_OK;
    }
    DTX_TRY(choose_method(r, v, &method));
    if (method == NULL) {
        return dtx_report_miss(r, "%s: no attribution %s%s%s%s", v->name, r->method,
                               v->n_other_methods > 0 ? " (there is " : "; run detoxlens attribute --variant ",
                               v->n_other_methods > 0 ? v->other_methods[0] : v->name, v->n_other_methods > 0 ? ")" : "");
    }
    snprintf(v->attribution, sizeof v->attribution, "%s/attribution/%.50s", v->group, method);
    DTX_TRY(dtx_h5_attr_list(r->file, v->attribution, &v->attr_settings, &v->n_attr_settings));
    DTX_TRY(dtx_report_take(r, v->attribution, "done", H5T_NATIVE_UINT8, v->n_rows, &one, (void **)&v->done));
    DTX_TRY(dtx_report_take(r, v->attribution, "G", H5T_NATIVE_INT32, v->n_rows, &one, (void **)&v->G));
    DTX_TRY(dtx_report_take(r, v->attribution, "T", H5T_NATIVE_INT32, v->n_rows, &one, (void **)&v->T));
    DTX_TRY(take_offsets(r, v->attribution, "row_offset", "value", v->n_rows, &v->row_offset));
    DTX_TRY(dtx_report_take(r, v->attribution, "step_probability", H5T_NATIVE_FLOAT, v->n_rows, &width, (void **)&v->probability));
    for (int q = 0; q < DTX_REPORT_QUANTITIES; q++) {
        DTX_TRY(dtx_report_take(r, v->attribution, dtx_report_quantity_name[q], H5T_NATIVE_FLOAT, v->n_rows, &width,
                     (void **)&v->value[DTX_REPORT_TOKEN][q]));
    }
    if (v->done == NULL || v->G == NULL || v->T == NULL || v->row_offset == NULL || v->probability == NULL
        || v->value[DTX_REPORT_TOKEN][0] == NULL || v->value[DTX_REPORT_TOKEN][1] == NULL) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s/run.h5: %s lacks one of done, G, T, row_offset, value, step_probability, entropy, "
                        "prompt_dependence", r->dir, v->attribution);
    }
    v->a_width = width;
    snprintf(words, sizeof words, "%s/words", v->attribution);
    for (int q = 0; q < DTX_REPORT_QUANTITIES; q++) {
        DTX_TRY(dtx_report_take(r, words, dtx_report_quantity_name[q], H5T_NATIVE_FLOAT, v->n_rows, &width,
                     (void **)&v->value[DTX_REPORT_WORD][q]));
    }
    for (int64_t i = 0; i < v->n_rows; i++) {
        int64_t G = v->G[i], T = v->T[i];
        if (v->done[i] && (G < 0 || G > width || T < G || (uint64_t)G * (uint64_t)T > v->row_offset[i + 1] - v->row_offset[i])) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s/run.h5: %s: row %" PRId64 " has G %" PRId64 " and T %" PRId64
                            ", which does not fit its room in value", r->dir, v->attribution, i, G, T);
        }
        v->n_attributed += v->done[i] != 0;
    }
    v->has_attribution = true;
    for (int u = 0; u < DTX_REPORT_UNITS; u++) {
        for (int q = 0; q < DTX_REPORT_QUANTITIES; q++) {
            if (v->value[u][q] != NULL) {
                DTX_TRY(make_curve(v, v->value[u][q], &v->curve[u][q]));
            }
        }
    }
    for (int q = 0; q < DTX_REPORT_QUANTITIES; q++) {
        v->mean[q] = mean_of_rows(v, v->value[DTX_REPORT_TOKEN][q]);
    }
    v->mean_probability = mean_of_rows(v, v->probability);
    if (v->n_attributed < v->n_rows) {
        DTX_TRY(dtx_report_miss(r, "%s: %" PRId64 " of %" PRId64 " attributions (%s); the same detoxlens attribute continues", v->name,
                                v->n_rows - v->n_attributed, v->n_rows, method));
    }
    return load_check(r, v);
}

/* The study's order first, then by name. */
static int variant_rank(const char *name)
{
    return strcmp(name, "IT") == 0 ? 0 : strcmp(name, "FT") == 0 ? 1 : strcmp(name, "RL") == 0 ? 2 : 3;
}

static int compare_variants(const void *a, const void *b)
{
    const dtx_report_variant *x = a, *y = b;
    int d = variant_rank(x->name) - variant_rank(y->name);

    return d != 0 ? d : strcmp(x->name, y->name);
}

/* When the wanted attribution is nowhere, the first one that is somewhere is reported instead. */
static dtx_status settle_method(dtx_report *r, const char *wanted)
{
    char first[64] = "";

    snprintf(r->method, sizeof r->method, "%s", wanted);
    for (int64_t i = 0; i < r->n_variants; i++) {
        char group[160], **names = NULL;
        size_t n = 0;
        bool found = false;
        snprintf(group, sizeof group, "%s/attribution", r->variant[i].group);
        DTX_TRY(dtx_h5_list(r->file, group, &names, &n));
        for (size_t m = 0; m < n; m++) {
            found = found || strcmp(names[m], wanted) == 0;
            if (first[0] == '\0') {
                snprintf(first, sizeof first, "%s", names[m]);
            }
        }
        dtx_free(names);
        if (found) {
            return DTX_OK;
        }
    }
    if (first[0] != '\0') {
        dtx_log(DTX_LOG_INFO, "report", "there is no attribution %s in the file; %s is reported", wanted, first);
        memcpy(r->method, first, sizeof first);
    }
    return DTX_OK;
}

static dtx_status load_variants(dtx_report *r, const char *method)
{
    char **names = NULL;
    size_t n = 0;
    dtx_status st;

    DTX_TRY(dtx_h5_list(r->file, "/variants", &names, &n));
    DTX_GO(DTX_NEW(r->variant, n));
    for (size_t i = 0; i < n; i++) {
        dtx_report_variant *v = &r->variant[r->n_variants];
        if (strlen(names[i]) < sizeof v->name) {
            snprintf(v->name, sizeof v->name, "%s", names[i]);
            snprintf(v->group, sizeof v->group, "/variants/%s", v->name);
            r->n_variants++;
        }
    }
    qsort(r->variant, (size_t)r->n_variants, sizeof *r->variant, compare_variants);
    DTX_GO(settle_method(r, method));
    for (int64_t i = 0; i < r->n_variants; i++) {
        dtx_report_variant *v = &r->variant[i];
        DTX_GO(dtx_h5_attr_list(r->file, v->group, &v->attrs, &v->n_attrs));
        DTX_GO(load_completions(r, v));
        DTX_GO(load_attribution(r, v));
    }
    if (r->n_variants == 0) {
        DTX_GO(dtx_report_miss(r, "all completions; detoxlens generate has not run in this directory"));
    }
done:
    dtx_free(names);
    return st;
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
    return take_offsets(r, "/prompts", "text_offset", "text_bytes", r->n_prompts, &r->prompt_offset);
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
    DTX_TRY(load_variants(r, method));
    DTX_TRY(load_trainings(r));
    return load_launches(r);
}

void dtx_report_free(dtx_report *r)
{
    dtx_report_free_toxicity(r);
    for (int64_t i = 0; i < r->n_variants; i++) {
        dtx_report_variant *v = &r->variant[i];
        void *const blocks[] = {v->attrs, v->finish, v->length, v->prompt_offset, v->text_offset, v->attr_settings, v->done, v->G,
                                v->T, v->row_offset, v->probability, v->other_methods, v->check, v->check_row, v->drop[0], v->drop[1]};
        for (size_t b = 0; b < sizeof blocks / sizeof blocks[0]; b++) {
            dtx_free(blocks[b]);
        }
        for (int u = 0; u < DTX_REPORT_UNITS; u++) {
            for (int q = 0; q < DTX_REPORT_QUANTITIES; q++) {
                dtx_report_curve *c = &v->curve[u][q];
                dtx_free(v->value[u][q]);
                dtx_free(c->n);
                dtx_free(c->mean);
                dtx_free(c->low);
                dtx_free(c->high);
            }
        }
    }
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
    dtx_free(r->launch);
    dtx_free(r->training);
    dtx_free(r->variant);
    dtx_free(r->prompt_offset);
    dtx_free(r->prompt_id);
    dtx_h5_close(r->file);
}
