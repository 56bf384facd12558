/* output.h - how the report's parts write: CSV (RFC 4180, an empty cell where there is no value), figures through gnuplot,
 * and the page's data as JSON. Files appear whole or not at all. */
#ifndef DTX_REPORT_OUTPUT_H
#define DTX_REPORT_OUTPUT_H

#include <cjson/cJSON.h>

#include "jobs/report/report.h"

/* Opens a text in memory that dtx_report_publish writes as RUN/report/NAME; `f` is closed in any case. */
typedef struct {
    FILE *f;
    char *text;
    size_t size;
} dtx_report_file;
dtx_status dtx_report_begin(dtx_report_file *out);
dtx_status dtx_report_publish(const dtx_report *r, dtx_report_file *out, const char *name);
/* Gives up a text that was not published; one that was is fine. */
void dtx_report_drop(dtx_report_file *out);

/* Cells: ",1.25", or "," where x is not finite; ",0.1299" with so many decimals; a text, quoted where needed. */
void dtx_report_put_number(FILE *f, double x);
void dtx_report_put_fixed(FILE *f, double x, int decimals);
void dtx_report_put_cell(FILE *f, const char *s, size_t len);
void dtx_report_put_word(FILE *f, const char *s);

/* The settings of a figure stand in `out`; adds the drawing part `body` (an asset), writes NAME.gp and runs gnuplot on it,
 * which makes NAME.svg and NAME.pdf. The figure is then one of the report's. Absent gnuplot is DTX_ERR_MISSING naming the
 * package. */
dtx_status dtx_report_draw(dtx_report *r, dtx_report_file *out, const char *name, const char *body);
/* A text as gnuplot's double-quoted string. */
void dtx_report_put_gnuplot(FILE *f, const char *s);

/* Building the page's data. Adds an item (made just before; NULL = no memory) to an object, or to a list when key is
 * NULL; the item is gone on failure. */
dtx_status dtx_report_put(cJSON *parent, const char *key, cJSON *item);
/* A number rounded to 5 decimals, null where it is not finite. */
cJSON *dtx_report_number(double x);
/* Bytes as a string: ill-formed UTF-8 becomes U+FFFD; a NUL is kept (as the byte 0xFF until the page is printed). */
cJSON *dtx_report_text(const char *bytes, size_t len);
cJSON *dtx_report_string(const char *s);
/* A list of numbers. */
dtx_status dtx_report_put_numbers(cJSON *parent, const char *key, const double *x, int64_t n);

/* jobs/report/NAME, embedded (cmake/WriteAssets.cmake); NULL when there is none. */
const char *dtx_report_asset(const char *name);

#endif
