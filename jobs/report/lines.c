#include "jobs/report/lines.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "src/base/mem.h"

dtx_status dtx_report_lines_add(dtx_report_lines *l, const char *measure, const char *group, const char *series, dtx_report_curve *curve)
{
    if (curve->n_steps == 0) {
        dtx_report_curve_free(curve);
        return DTX_OK;
    }
    dtx_status st = DTX_GROW(l->line, l->cap, l->n + 1);
    if (st != DTX_OK) {
        dtx_report_curve_free(curve);
        return st;
    }
    dtx_report_line *x = &l->line[l->n++];
    *x = (dtx_report_line){.curve = *curve};
    snprintf(x->measure, sizeof x->measure, "%s", measure);
    snprintf(x->group, sizeof x->group, "%s", group);
    snprintf(x->series, sizeof x->series, "%s", series);
    *curve = (dtx_report_curve){0};
    return DTX_OK;
}

void dtx_report_lines_free(dtx_report_lines *l)
{
    for (int64_t i = 0; i < l->n; i++) {
        dtx_report_curve_free(&l->line[i].curve);
    }
    dtx_free(l->line);
    l->line = NULL;
    l->n = 0;
    l->cap = 0;
}

dtx_status dtx_report_lines_write(const dtx_report *r, const dtx_report_lines *l)
{
    dtx_report_file out;
    char name[100];

    DTX_TRY(dtx_report_begin(&out));
    fprintf(out.f, "%s,%s,%s,%s,n,mean,ci_low,ci_high\n", l->columns[0], l->columns[1], l->columns[2], l->columns[3]);
    for (int64_t i = 0; i < l->n; i++) {
        const dtx_report_line *x = &l->line[i];
        for (int64_t s = 0; s < x->curve.n_steps; s++) {
            dtx_report_put_word(out.f, x->measure);
            fputc(',', out.f);
            dtx_report_put_word(out.f, x->group);
            fputc(',', out.f);
            dtx_report_put_word(out.f, x->series);
            fprintf(out.f, ",%" PRId64 ",%" PRId64, x->curve.first + s, x->curve.n[s]);
            dtx_report_put_number(out.f, x->curve.mean[s]);
            dtx_report_put_number(out.f, x->curve.low[s]);
            dtx_report_put_number(out.f, x->curve.high[s]);
            fputc('\n', out.f);
        }
    }
    snprintf(name, sizeof name, "%s.csv", l->name);
    return dtx_report_publish(r, &out, name);
}

static bool in_panel(const dtx_report_line *x, const dtx_report_panel *p)
{
    return strcmp(x->measure, p->measure) == 0 && strcmp(x->group, p->group) == 0;
}

/* Is this the first line of its series among those that some panel shows? */
static bool first_of_series(const dtx_report_lines *l, int64_t at, const dtx_report_panel *panel, int n_panels)
{
    for (int64_t i = 0; i <= at; i++) {
        for (int p = 0; p < n_panels; p++) {
            if (in_panel(&l->line[i], &panel[p]) && strcmp(l->line[i].series, l->line[at].series) == 0) {
                return i == at;
            }
        }
    }
    return false;
}

static void put_list(FILE *f, const char *name, const char *const *text, int n)
{
    fprintf(f, "array %s[%d] = [", name, n);
    for (int i = 0; i < n; i++) {
        fputs(i > 0 ? ", " : "", f);
        dtx_report_put_gnuplot(f, text[i]);
    }
    fputs("]\n", f);
}

/* What a step needs to be drawn in a panel: two completions where there is a band, and a tenth of those that begin. */
static int64_t least_of(const dtx_report_lines *l, const dtx_report_panel *p, bool banded)
{
    const bool over_steps = strcmp(l->columns[3], "step") == 0 || strcmp(l->columns[3], "word") == 0;
    int64_t most = 0;

    for (int64_t i = 0; i < l->n; i++) {
        for (int64_t s = 0; over_steps && in_panel(&l->line[i], p) && s < l->line[i].curve.n_steps; s++) {
            most = l->line[i].curve.n[s] > most ? l->line[i].curve.n[s] : most;
        }
    }
    const int64_t tenth = (int64_t)ceil(DTX_REPORT_LEAST * (double)most);
    return tenth > 1 + banded ? tenth : 1 + banded;
}

/* The range of a measure's values and bands over all its panels, with a little room: panels of a measure compare. */
static void range_of(const dtx_report_lines *l, const char *measure, const dtx_report_panel *panel, int n_panels, int64_t last, bool banded,
                     double *low, double *high)
{
    *low = HUGE_VAL;
    *high = -HUGE_VAL;
    for (int64_t i = 0; i < l->n; i++) {
        const dtx_report_curve *c = &l->line[i].curve;
        int64_t least = 0; /* 0: in no panel */
        for (int p = 0; p < n_panels && least == 0; p++) {
            least = in_panel(&l->line[i], &panel[p]) && strcmp(panel[p].measure, measure) == 0 ? least_of(l, &panel[p], banded) : 0;
        }
        for (int64_t s = 0; least > 0 && s < c->n_steps && c->first + s <= last; s++) {
            const double x[3] = {c->mean[s], c->low[s], c->high[s]};
            for (int k = 0; k < 3 && c->n[s] >= least; k++) {
                *low = isfinite(x[k]) ? fmin(*low, x[k]) : *low;
                *high = isfinite(x[k]) ? fmax(*high, x[k]) : *high;
            }
        }
    }
    double room = *high > *low ? 0.04 * (*high - *low) : 0.5;
    *low -= room;
    *high += room;
}

dtx_status dtx_report_lines_draw(dtx_report *r, const dtx_report_lines *l, const char *figure, const dtx_report_panel *panel, int n_panels,
                                 int columns, const char *xlabel, bool zero)
{
    enum { MAX = 32 };
    const char *measure[MAX], *group[MAX], *title[MAX], *series[MAX];
    int64_t first = INT64_MAX, last = INT64_MIN;
    int n = 0, n_series = 0;
    bool banded = false; /* is there a step that two completions reach? */
    dtx_report_file out;

    for (int p = 0; p < n_panels && n < MAX; p++) {
        bool any = false;
        for (int64_t i = 0; i < l->n; i++) {
            const dtx_report_curve *c = &l->line[i].curve;
            if (!in_panel(&l->line[i], &panel[p])) {
                continue;
            }
            any = true;
            first = c->first < first ? c->first : first;
            last = c->first + c->n_steps - 1 > last ? c->first + c->n_steps - 1 : last;
            for (int64_t s = 0; s < c->n_steps; s++) {
                banded = banded || c->n[s] > 1;
            }
        }
        if (any) {
            measure[n] = panel[p].measure;
            group[n] = panel[p].group;
            title[n++] = panel[p].title;
        }
    }
    for (int64_t i = 0; i < l->n && n_series < MAX; i++) {
        if (first_of_series(l, i, panel, n_panels)) {
            series[n_series++] = l->line[i].series;
        }
    }
    if (n == 0 || n_series == 0) {
        return DTX_OK;
    }
    last = last > first + DTX_REPORT_STEPS - 1 ? first + DTX_REPORT_STEPS - 1 : last > first ? last : first + 1;
    DTX_TRY(dtx_report_begin(&out));
    fprintf(out.f, "name = \"%s\"\nfile = \"%s.csv\"\n", figure, l->name);
    put_list(out.f, "measure", measure, n);
    put_list(out.f, "group", group, n);
    put_list(out.f, "title", title, n);
    put_list(out.f, "series", series, n_series);
    for (int k = 0; k < 2; k++) {
        fprintf(out.f, "array y%s[%d] = [", k == 0 ? "low" : "high", n);
        for (int p = 0; p < n; p++) {
            double range[2];
            range_of(l, measure[p], panel, n_panels, last, banded, &range[0], &range[1]);
            fprintf(out.f, "%s%.6g", p > 0 ? ", " : "", zero && k == 0 ? fmin(range[0], 0) : zero ? fmax(range[1], 0) : range[k]);
        }
        fputs("]\n", out.f);
    }
    fprintf(out.f, "columns = %d\nxname = ", columns < n ? columns : n);
    dtx_report_put_gnuplot(out.f, xlabel);
    fprintf(out.f, "\nstart = %" PRId64 "\nlast = %" PRId64 " # steps are counted from 0\nzero = %d\n", first, last, zero);
    fprintf(out.f, "array least[%d] = [", n); /* steps that fewer completions reach are left out */
    for (int p = 0; p < n; p++) {
        fprintf(out.f, "%s%" PRId64, p > 0 ? ", " : "", least_of(l, &(dtx_report_panel){measure[p], group[p], title[p]}, banded));
    }
    fputs("]\n", out.f);
    return dtx_report_draw(r, &out, figure, "curves.gp");
}

dtx_status dtx_report_lines_put(const dtx_report_lines *l, cJSON *page)
{
    cJSON *all = cJSON_GetObjectItemCaseSensitive(page, "lines"), *list = cJSON_CreateArray();
    dtx_status st = DTX_OK;

    all = all != NULL ? all : cJSON_AddObjectToObject(page, "lines");
    for (int64_t i = 0; i < l->n && st == DTX_OK; i++) {
        const dtx_report_line *x = &l->line[i];
        cJSON *o = cJSON_CreateObject(), *n = NULL;
        DTX_GO(dtx_report_put(list, NULL, o)); /* the list's now */
        DTX_GO(dtx_report_put(o, "measure", dtx_report_string(x->measure)));
        DTX_GO(dtx_report_put(o, "group", dtx_report_string(x->group)));
        DTX_GO(dtx_report_put(o, "series", dtx_report_string(x->series)));
        DTX_GO(dtx_report_put(o, "first", cJSON_CreateNumber((double)x->curve.first)));
        n = cJSON_AddArrayToObject(o, "n");
        for (int64_t s = 0; s < x->curve.n_steps; s++) {
            DTX_GO(dtx_report_put(n, NULL, cJSON_CreateNumber((double)x->curve.n[s])));
        }
        DTX_GO(dtx_report_put_numbers(o, "mean", x->curve.mean, x->curve.n_steps));
        DTX_GO(dtx_report_put_numbers(o, "low", x->curve.low, x->curve.n_steps));
        DTX_GO(dtx_report_put_numbers(o, "high", x->curve.high, x->curve.n_steps));
    }
    st = dtx_report_put(all, l->name, list);
    list = NULL;
done:
    cJSON_Delete(list);
    return st;
}
