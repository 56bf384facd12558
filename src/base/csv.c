#include "src/base/csv.h"

#include <csv.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "src/base/file.h"
#include "src/base/mem.h"
#include "src/base/utf8.h"

enum { MAX_COLUMNS = 4096 };

/* libcsv reports cells and ends of records through callbacks that cannot fail: the first failure is kept here. */
typedef struct {
    const char *path;
    dtx_csv t;
    size_t n_cells, cap_cells, cap_lines, n_bytes, cap_bytes;
    int64_t n_records, in_record; /* cells of the record under way */
    int64_t line;                 /* line being fed, from 1 */
    int64_t record_line;          /* where the record under way begins */
    bool ended;                   /* a record ended in the line being fed */
    dtx_status st;
} reader;

static dtx_status add_cell(reader *r, const char *text, size_t len)
{
    DTX_TRY(DTX_GROW(r->t.offset, r->cap_cells, r->n_cells + 2));
    if (r->n_cells == 0) {
        r->t.offset[0] = 0;
    }
    DTX_TRY(DTX_GROW(r->t.bytes, r->cap_bytes, r->n_bytes + len + 1));
    if (len > 0) {
        memcpy(r->t.bytes + r->n_bytes, text, len);
    }
    r->n_bytes += len;
    r->t.offset[++r->n_cells] = r->n_bytes;
    r->in_record++;
    return DTX_OK;
}

static dtx_status end_record(reader *r)
{
    if (r->n_records == 0 && r->in_record > MAX_COLUMNS) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: line %" PRId64 ": %" PRId64 " columns, at most %d are read", r->path,
                        r->record_line, r->in_record, MAX_COLUMNS);
    }
    if (r->n_records == 0) {
        r->t.n_columns = r->in_record;
    } else if (r->in_record != r->t.n_columns) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: line %" PRId64 ": %" PRId64 " cells, but the header has %" PRId64
                        "; put a cell that holds a comma, a quote or a newline in double quotes", r->path, r->record_line,
                        r->in_record, r->t.n_columns);
    }
    DTX_TRY(DTX_GROW(r->t.line, r->cap_lines, r->n_records + 1));
    r->t.line[r->n_records++] = r->record_line;
    r->in_record = 0;
    return DTX_OK;
}

static void on_cell(void *text, size_t len, void *user)
{
    reader *r = user;

    if (r->st == DTX_OK) {
        r->st = add_cell(r, text, len);
    }
}

static void on_record(int terminator, void *user)
{
    reader *r = user;

    (void)terminator;
    r->ended = true;
    if (r->st == DTX_OK) {
        r->st = end_record(r);
    }
}

/* libcsv strips blanks around a cell unless it is told that nothing is blank. */
static int no_blank(unsigned char c)
{
    (void)c;
    return 0;
}

static void *grow(size_t size)
{
    return dtx_malloc(size, 1);
}

static void *regrow(void *old, size_t size)
{
    return dtx_realloc(old, size, 1);
}

static dtx_status parse_fault(const reader *r, int code)
{
    if (code == CSV_ENOMEM || code == CSV_ETOOBIG) {
        return DTX_FAIL(DTX_ERR_MISSING, "%s: line %" PRId64 ": out of memory for a cell", r->path, r->line);
    }
    return DTX_FAIL(DTX_ERR_INPUT, "%s: line %" PRId64 ": a double quote out of place (record from line %" PRId64
                    "); a cell with quotes is quoted as a whole, quotes inside are doubled", r->path, r->line,
                    r->record_line);
}

static dtx_status parse(reader *r, const char *data, size_t size)
{
    struct csv_parser p;
    bool fresh = true; /* no record is under way */

    if (csv_init(&p, CSV_STRICT | CSV_STRICT_FINI) != 0) {
        return DTX_FAIL(DTX_ERR_CHECK, "libcsv does not start");
    }
    csv_set_space_func(&p, no_blank);
    csv_set_realloc_func(&p, regrow);
    csv_set_free_func(&p, dtx_free);
    p.malloc_func = grow;
    csv_set_blk_size(&p, 1 << 14);
    /* Fed line by line, so that each record's first line is known. */
    for (size_t at = 0; at < size && r->st == DTX_OK;) {
        const char *nl = memchr(data + at, '\n', size - at);
        size_t n = nl != NULL ? (size_t)(nl - (data + at)) + 1 : size - at;
        bool blank = n == 1 ? data[at] == '\n' : n == 2 && data[at] == '\r' && data[at + 1] == '\n';
        r->line++;
        r->record_line = fresh ? r->line : r->record_line;
        r->ended = false;
        if (csv_parse(&p, data + at, n, on_cell, on_record, r) != n && r->st == DTX_OK) {
            r->st = parse_fault(r, csv_error(&p));
        }
        fresh = r->ended || (fresh && blank);
        at += n;
    }
    if (r->st == DTX_OK && csv_fini(&p, on_cell, on_record, r) != 0 && r->st == DTX_OK) {
        r->st = DTX_FAIL(DTX_ERR_INPUT, "%s: line %" PRId64 ": the file ends inside a quoted cell (record from line %" PRId64
                         "); a closing double quote is missing, or the file is cut off", r->path, r->line, r->record_line);
    }
    csv_free(&p);
    return r->st;
}

static dtx_status check_header(const dtx_csv *t, const char *path)
{
    for (int64_t i = 0; i < t->n_columns; i++) {
        for (int64_t j = 0; j < i; j++) {
            size_t a, b;
            const char *x = dtx_csv_cell(t, -1, i, &a), *y = dtx_csv_cell(t, -1, j, &b);
            if (a == b && memcmp(x, y, a) == 0) {
                return DTX_FAIL(DTX_ERR_INPUT, "%s: line %" PRId64 ": columns %" PRId64 " and %" PRId64
                                " are both named \"%.*s\"; rename one", path, t->line[0], j + 1, i + 1, (int)(a < 100 ? a : 100), x);
            }
        }
    }
    return DTX_OK;
}

dtx_status dtx_csv_read(const char *path, dtx_csv *out)
{
    reader r = {.path = path};
    dtx_file_map map;

    DTX_TRY(dtx_file_map_open(path, &map));
    dtx_status st = dtx_utf8_check(path, map.data, map.size);
    if (st == DTX_OK) {
        size_t bom = dtx_utf8_bom(map.data, map.size);
        st = parse(&r, map.data + bom, map.size - bom);
    }
    dtx_file_map_close(&map);
    if (st == DTX_OK && r.n_records == 0) {
        st = DTX_FAIL(DTX_ERR_INPUT, "%s: empty; a first line that names the columns is expected", path);
    }
    r.t.n_rows = r.n_records - 1;
    if (st == DTX_OK) {
        st = check_header(&r.t, path);
    }
    if (st == DTX_OK) {
        *out = r.t;
    } else {
        dtx_csv_free(&r.t);
    }
    return st;
}

void dtx_csv_free(dtx_csv *t)
{
    if (t != NULL) {
        dtx_free(t->bytes);
        dtx_free(t->offset);
        dtx_free(t->line);
        *t = (dtx_csv){0};
    }
}

const char *dtx_csv_cell(const dtx_csv *t, int64_t row, int64_t column, size_t *len)
{
    const size_t *at = t->offset + (row + 1) * t->n_columns + column;

    *len = at[1] - at[0];
    return t->bytes + at[0];
}

int64_t dtx_csv_column(const dtx_csv *t, const char *name)
{
    for (int64_t i = 0; i < t->n_columns; i++) {
        size_t len;
        const char *cell = dtx_csv_cell(t, -1, i, &len);
        if (len == strlen(name) && memcmp(cell, name, len) == 0) {
            return i;
        }
    }
    return -1;
}

dtx_status dtx_csv_need(const dtx_csv *t, const char *path, const char *name, int64_t *column)
{
    char names[512];
    size_t at = 0;

    *column = dtx_csv_column(t, name);
    if (*column >= 0) {
        return DTX_OK;
    }
    names[0] = '\0';
    for (int64_t i = 0; i < t->n_columns && at < sizeof names; i++) {
        size_t len;
        const char *cell = dtx_csv_cell(t, -1, i, &len);
        int n = snprintf(names + at, sizeof names - at, "%s%.*s", i > 0 ? ", " : "", (int)(len < 100 ? len : 100), cell);
        at += n > 0 ? (size_t)n : 0;
    }
    return DTX_FAIL(DTX_ERR_INPUT, "%s: no column \"%s\"; the columns are: %s", path, name, names);
}
