/* The variants of a run.h5 as the report needs them. Shapes and lengths are checked before use. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/report/report.h"
#include "src/base/log.h"
#include "src/base/mem.h"

static double mean_of_rows(const dtx_report_variant *v, const float *x)
{
    double sum = 0;
    int64_t n = 0;

    for (int64_t i = 0; i < v->n_rows && x != NULL; i++) {
        double m = v->a.done[i] ? dtx_report_row_mean(x + i * v->a.width, v->a.width) : NAN;
        if (isfinite(m)) {
            sum += m;
            n++;
        }
    }
    return n > 0 ? sum / (double)n : NAN;
}

static dtx_status load_completions(dtx_report *r, dtx_report_variant *v)
{
    char group[160];
    int64_t one = 1, shape[2] = {0, 0};
    double sum = 0;

    dtx_h5_group(group, sizeof group, DTX_H5_COMPLETIONS, v->name, NULL);
    bool ids = dtx_h5_has(r->file, group, "tokens"); /* an imported variant may have text alone */
    if (!dtx_h5_has(r->file, group, "finish")) {
        return dtx_report_miss(r, "%s: no completions; run detoxlens generate --variant %s", v->name, v->name);
    }
    DTX_TRY(ids ? dtx_h5_shape(r->file, group, "tokens", DTX_H5_ANY, DTX_H5_ANY, shape)
                : dtx_h5_shape(r->file, group, "finish", DTX_H5_ANY, 1, shape));
    v->n_rows = shape[0];
    v->width = ids ? shape[1] : 0;
    if (r->n_prompts == 0 || v->n_rows % r->n_prompts != 0) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s/run.h5: %s has %" PRId64 " rows, which is no multiple of the %" PRId64 " texts", r->dir,
                        group, v->n_rows, r->n_prompts);
    }
    DTX_TRY(dtx_report_take(r, group, "finish", H5T_NATIVE_UINT8, v->n_rows, &one, (void **)&v->finish));
    DTX_TRY(dtx_report_take(r, group, "length", H5T_NATIVE_INT32, v->n_rows, &one, (void **)&v->length));
    DTX_TRY(dtx_report_take_offsets(r, group, "prompt_offset", "prompt_tokens", v->n_rows, &v->prompt_offset));
    DTX_TRY(dtx_report_take_offsets(r, group, "text_offset", "text_bytes", v->n_rows, &v->text_offset));
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

    dtx_h5_group(group, sizeof group, DTX_H5_ATTRIBUTIONS, v->name, NULL);
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
    char group[256];
    int64_t one = 1, shape[2];
    double sum = 0, squares = 0;

    v->gain = v->gain_low = v->gain_high = NAN;
    dtx_h5_group(group, sizeof group, DTX_H5_CHECK, v->name, r->method);
    if (!dtx_h5_exists(r->file, group)) {
        return DTX_OK;
    }
    DTX_TRY(dtx_h5_attr_list(r->file, group, &v->check, &v->n_check));
    if (!dtx_h5_has(r->file, group, "row")) {
        return DTX_OK;
    }
    DTX_TRY(dtx_h5_shape(r->file, group, "row", DTX_H5_ANY, 1, shape));
    DTX_TRY(dtx_report_take(r, group, "row", H5T_NATIVE_INT64, shape[0], &one, (void **)&v->check_row));
    for (int k = 0; k < 2; k++) {
        DTX_TRY(dtx_report_take(r, group, names[k], H5T_NATIVE_FLOAT, shape[0], &one, (void **)&v->drop[k]));
    }
    if (v->drop[0] == NULL || v->drop[1] == NULL) {
        return DTX_OK;
    }
    v->n_checked = shape[0];
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

    DTX_TRY(choose_method(r, v, &method));
    if (v->n_rows == 0) {
        return DTX_OK;
    }
    if (method == NULL) {
        return dtx_report_miss(r, "%s: no attribution %s%s%s%s", v->name, r->method,
                               v->n_other_methods > 0 ? " (there is " : "; run detoxlens attribute --variant ",
                               v->n_other_methods > 0 ? v->other_methods[0] : v->name, v->n_other_methods > 0 ? ")" : "");
    }
    DTX_TRY(dtx_report_load_attribution(r, v, method, v->n_rows, &v->a));
    for (int u = 0; u < DTX_REPORT_UNITS; u++) {
        for (int q = 0; q < DTX_REPORT_QUANTITIES; q++) {
            if (v->a.value[u][q] != NULL) {
                DTX_TRY(dtx_report_curve_of(v->a.value[u][q], v->n_rows, v->a.width, v->a.done, &v->curve[u][q]));
            }
        }
    }
    for (int q = 0; q < DTX_REPORT_QUANTITIES; q++) {
        v->mean[q] = mean_of_rows(v, v->a.value[DTX_REPORT_TOKEN][q]);
    }
    v->mean_probability = mean_of_rows(v, v->a.probability);
    if (v->a.n_done < v->n_rows) {
        DTX_TRY(dtx_report_miss(r, "%s: %" PRId64 " of %" PRId64 " attributions (%s); the same detoxlens attribute continues", v->name,
                                v->n_rows - v->a.n_done, v->n_rows, method));
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
        dtx_h5_group(group, sizeof group, DTX_H5_ATTRIBUTIONS, r->variant[i].name, NULL);
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

dtx_status dtx_report_load_variants(dtx_report *r, const char *method)
{
    char **names = NULL;
    size_t n = 0;
    dtx_status st;

    DTX_TRY(dtx_h5_list(r->file, dtx_h5_places[DTX_H5_VARIANTS].path, &names, &n));
    DTX_GO(DTX_NEW(r->variant, n));
    for (size_t i = 0; i < n; i++) {
        dtx_report_variant *v = &r->variant[r->n_variants];
        if (strlen(names[i]) < sizeof v->name) {
            snprintf(v->name, sizeof v->name, "%s", names[i]);
            dtx_h5_group(v->group, sizeof v->group, DTX_H5_VARIANT, v->name, NULL);
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


bool dtx_report_has_curves(const dtx_report *r, dtx_report_unit unit)
{
    for (int64_t i = 0; i < r->n_variants; i++) {
        if (r->variant[i].curve[unit][DTX_REPORT_ENTROPY].n_steps > 0
            || r->variant[i].curve[unit][DTX_REPORT_DEPENDENCE].n_steps > 0) {
            return true;
        }
    }
    return false;
}

void dtx_report_free_variants(dtx_report *r)
{
    for (int64_t i = 0; i < r->n_variants; i++) {
        dtx_report_variant *v = &r->variant[i];
        void *const blocks[] = {v->attrs, v->finish, v->length, v->prompt_offset, v->text_offset, v->other_methods, v->check, v->check_row,
                                v->drop[0], v->drop[1]};
        for (size_t b = 0; b < sizeof blocks / sizeof blocks[0]; b++) {
            dtx_free(blocks[b]);
        }
        for (int q = 0; q < DTX_REPORT_UNITS * DTX_REPORT_QUANTITIES; q++) {
            dtx_report_curve_free(&v->curve[q / DTX_REPORT_QUANTITIES][q % DTX_REPORT_QUANTITIES]);
        }
        dtx_report_free_attribution(&v->a);
    }
    dtx_free(r->variant);
}
