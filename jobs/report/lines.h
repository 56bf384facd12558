/* lines.h - a set of curves with their bands: one CSV, figures of several panels, and the same numbers in the page.
 * A line has three labels: what is measured, the group (a panel of the figure: a class of completions, a transition), and
 * the series (a colour: a variant, a pair of variants). */
#ifndef DTX_REPORT_LINES_H
#define DTX_REPORT_LINES_H

#include "jobs/report/output.h"

typedef struct {
    char measure[40], group[120], series[140];
    dtx_report_curve curve;
} dtx_report_line;

typedef struct {
    const char *name;           /* NAME.csv */
    const char *columns[4];     /* names of the labels and of the step: "measure", "class", "variant", "step" */
    int64_t n;
    size_t cap;
    dtx_report_line *line;
} dtx_report_lines;

/* Takes the curve over; one without a step is dropped. */
dtx_status dtx_report_lines_add(dtx_report_lines *l, const char *measure, const char *group, const char *series, dtx_report_curve *curve);
void dtx_report_lines_free(dtx_report_lines *l);
/* NAME.csv: the labels, step, n, mean, ci_low, ci_high. */
dtx_status dtx_report_lines_write(const dtx_report *r, const dtx_report_lines *l);

typedef struct {
    const char *measure, *group, *title;
} dtx_report_panel;
/* Draws FIGURE from the CSV, `columns` panels side by side, steps up to DTX_REPORT_STEPS; panels without a line are left
 * out, and a figure without a panel is none. `zero` draws a line at 0. */
dtx_status dtx_report_lines_draw(dtx_report *r, const dtx_report_lines *l, const char *figure, const dtx_report_panel *panel, int n_panels,
                                 int columns, const char *xlabel, bool zero);
/* Adds a line for each quantity of that unit, class and variant: those of figure 1 (curves.c). */
dtx_status dtx_report_class_lines(const dtx_report *r, dtx_report_unit unit, dtx_report_lines *l);
/* The figures of such lines: entropy, raw and normalised, and prompt dependence, not toxic beside toxic. */
dtx_status dtx_report_class_figures(dtx_report *r, const dtx_report_lines *l, const char *entropy, const char *dependence, const char *xlabel);
/* The numbers as a member NAME of the page's `lines`. */
dtx_status dtx_report_lines_put(const dtx_report_lines *l, cJSON *page);

#endif
