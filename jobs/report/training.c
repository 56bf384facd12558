/* Training curves: a table and a figure of each training in the file. */
#include <inttypes.h>
#include <math.h>

#include "jobs/report/parts.h"

enum { MAX_PANELS = 24 };

static dtx_status write_training(const dtx_report *r, const dtx_report_training *t)
{
    dtx_report_file out;
    char name[160];

    DTX_TRY(dtx_report_begin(&out));
    fprintf(out.f, "step");
    for (int64_t c = 0; c < t->n_curves; c++) {
        fputc(',', out.f);
        dtx_report_put_word(out.f, t->label[c]);
    }
    fputc('\n', out.f);
    for (int64_t s = 0; s < t->n_steps; s++) {
        fprintf(out.f, "%" PRId64, s);
        for (int64_t c = 0; c < t->n_curves; c++) {
            dtx_report_put_number(out.f, t->value[c * t->n_steps + s]);
        }
        fputc('\n', out.f);
    }
    snprintf(name, sizeof name, "training_%s.csv", t->name);
    return dtx_report_publish(r, &out, name);
}

static int64_t n_finite(const dtx_report_training *t, int64_t curve)
{
    int64_t n = 0;

    for (int64_t s = 0; s < t->n_steps; s++) {
        n += isfinite(t->value[curve * t->n_steps + s]) != 0;
    }
    return n;
}

static dtx_status draw_training(dtx_report *r, const dtx_report_training *t)
{
    dtx_report_file out;
    int64_t shown[MAX_PANELS], n = 0;
    char name[160];

    for (int64_t c = 0; c < t->n_curves && n < MAX_PANELS; c++) {
        if (n_finite(t, c) > 0) {
            shown[n++] = c;
        }
    }
    if (n == 0) {
        return DTX_OK;
    }
    snprintf(name, sizeof name, "training_%s", t->name);
    DTX_TRY(dtx_report_begin(&out));
    fprintf(out.f, "name = \"%s\"\nfile = \"%s.csv\"\ncurves = \"", name, name);
    for (int64_t i = 0; i < n; i++) {
        fprintf(out.f, "%s%s", i > 0 ? " " : "", t->label[shown[i]]);
    }
    fprintf(out.f, "\"\nat = \"");
    for (int64_t i = 0; i < n; i++) {
        fprintf(out.f, "%s%" PRId64, i > 0 ? " " : "", shown[i] + 2);
    }
    fprintf(out.f, "\" # columns of the file\ndense = \""); /* point size: curves with gaps show their points */
    for (int64_t i = 0; i < n; i++) {
        fprintf(out.f, "%s%s", i > 0 ? " " : "", n_finite(t, shown[i]) < t->n_steps || t->n_steps == 1 ? "0.45" : "0");
    }
    fprintf(out.f, "\"\n");
    return dtx_report_draw(r, &out, name, "training.gp");
}

dtx_status dtx_report_part_training(dtx_report *r, cJSON *page)
{
    cJSON *list = cJSON_AddArrayToObject(page, "trainings");

    for (int64_t i = 0; i < r->n_trainings; i++) {
        const dtx_report_training *t = &r->training[i];
        DTX_TRY(dtx_report_put(list, NULL, dtx_report_string(t->name)));
        if (t->n_curves > 0) {
            DTX_TRY(write_training(r, t));
            DTX_TRY(draw_training(r, t));
        }
    }
    return DTX_OK;
}
