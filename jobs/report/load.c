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
