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

/* --- prompts, trainings, launches --- */

static dtx_status load_prompts(dtx_report *r)
{
    const char *group = dtx_h5_places[DTX_H5_PROMPTS].path;
    int64_t shape[2], one = 1;

    if (!dtx_h5_has(r->file, group, "id")) {
        return dtx_report_miss(r, "the evaluation texts, which detoxlens generate writes");
    }
    DTX_TRY(dtx_h5_shape(r->file, group, "id", DTX_H5_ANY, 1, shape));
    r->n_prompts = shape[0];
    DTX_TRY(dtx_report_take(r, group, "id", H5T_NATIVE_INT64, r->n_prompts, &one, (void **)&r->prompt_id));
    return dtx_report_take_offsets(r, group, "text_offset", "text_bytes", r->n_prompts, &r->prompt_offset);
}

/* The curve after `last` in the order of names: one value for each step, and not what depends on the clock. NULL after the last. */
static const dtx_h5_dataset *next_curve(const char *last)
{
    const dtx_h5_dataset *next = NULL;

    for (int i = 0; i < dtx_h5_n_datasets; i++) {
        const dtx_h5_dataset *d = &dtx_h5_datasets[i];
        if (d->place == DTX_H5_TRAINING && d->axis[1] == NULL && strncmp(d->name, "timing/", 7) != 0 && strcmp(d->name, last) > 0
            && (next == NULL || strcmp(d->name, next->name) < 0)) {
            next = d;
        }
    }
    return next;
}

static dtx_status add_curves(const dtx_report *r, dtx_report_training *t)
{
    char group[640];
    int64_t steps = DTX_H5_ANY, shape[2];
    size_t cap_label = 0, cap_value = 0;

    dtx_h5_group(group, sizeof group, DTX_H5_TRAINING, t->name, NULL);
    for (const dtx_h5_dataset *d = next_curve(""); d != NULL; d = next_curve(d->name)) {
        if (!dtx_h5_has(r->file, group, d->name)) {
            continue;
        }
        DTX_TRY(dtx_h5_shape(r->file, group, d->name, steps, 1, shape));
        steps = t->n_steps = shape[0];
        if (steps == 0) {
            return DTX_OK;
        }
        DTX_TRY(DTX_GROW(t->label, cap_label, t->n_curves + 1));
        DTX_TRY(DTX_GROW(t->value, cap_value, (t->n_curves + 1) * steps));
        DTX_TRY(dtx_h5_read(r->file, group, d->name, H5T_NATIVE_DOUBLE, steps, 1, t->value + t->n_curves * steps));
        snprintf(t->label[t->n_curves++], sizeof t->label[0], "%s", d->name);
    }
    return DTX_OK;
}

static dtx_status load_trainings(dtx_report *r)
{
    char **names = NULL;
    size_t n = 0;
    dtx_status st;

    DTX_TRY(dtx_h5_list(r->file, dtx_h5_places[DTX_H5_TRAININGS].path, &names, &n));
    DTX_GO(DTX_NEW(r->training, n));
    for (size_t i = 0; i < n; i++) {
        dtx_report_training *t = &r->training[r->n_trainings];
        if (strlen(names[i]) >= sizeof t->name) {
            continue;
        }
        r->n_trainings++;
        snprintf(t->name, sizeof t->name, "%s", names[i]);
        DTX_GO(add_curves(r, t));
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

    DTX_TRY(dtx_h5_list(r->file, dtx_h5_places[DTX_H5_LAUNCHES].path, &names, &n));
    DTX_GO(DTX_NEW(r->launch, n));
    for (size_t i = 0; i < n; i++) {
        dtx_report_launch *l = &r->launch[r->n_launches];
        char *end;
        l->index = strtoll(names[i], &end, 10);
        if (*end != '\0') {
            continue;
        }
        dtx_h5_group(group, sizeof group, DTX_H5_LAUNCH, names[i], NULL);
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
