/* csv.h - a whole CSV file as a table of cells, through libcsv. RFC 4180: comma, double quotes doubled inside quotes,
 * newlines inside quotes, LF or CRLF; the first record names the columns; every record has as many cells as the header.
 * The file must be UTF-8 (a byte order mark is skipped). Blanks around a cell belong to it; blank lines are skipped. */
#ifndef DTX_CSV_H
#define DTX_CSV_H

#include <stddef.h>
#include <stdint.h>

#include "src/base/status.h"

typedef struct {
    int64_t n_rows, n_columns;  /* the header is not counted */
    char *bytes;                /* all cells one after the other, header first */
    size_t *offset;             /* (n_rows + 1) * n_columns + 1 */
    int64_t *line;              /* n_rows + 1: line of the file, from 1, on which the record begins; [0] is the header's */
} dtx_csv;

/* DTX_ERR_MISSING when the file cannot be opened; DTX_ERR_INPUT with file and line for anything malformed. */
dtx_status dtx_csv_read(const char *path, dtx_csv *out);
void dtx_csv_free(dtx_csv *t);
/* Index of a column, -1 when there is none. */
int64_t dtx_csv_column(const dtx_csv *t, const char *name);
/* The same; no such column is DTX_ERR_INPUT naming those that are there. */
dtx_status dtx_csv_need(const dtx_csv *t, const char *path, const char *name, int64_t *column);
/* A cell, borrowed: bytes with a length, not NUL-terminated. row = -1 is the header. */
const char *dtx_csv_cell(const dtx_csv *t, int64_t row, int64_t column, size_t *len);

#endif
