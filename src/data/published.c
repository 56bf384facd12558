#include "src/data/published.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/mem.h"

/* A prompt that was cut keeps at least this share of its text in common with it, and no more of them are looked for. */
#define MIN_COMMON 0.9
enum { MAX_CUT = 1000 };

const char *const dtx_published_column[DTX_PUBLISHED_SCORES] = {"prompt_score", "response_score", "pro_API_response_score"};

/* --- reading --- */

static dtx_status parse_score(const dtx_published *p, const char *path, int64_t row, int64_t column, const char *name, float *out)
{
    size_t len;
    const char *cell = dtx_csv_cell(&p->table, row, column, &len);
    char text[64], *end;

    *out = NAN;
    if (len == 0) {
        return DTX_OK;
    }
    snprintf(text, sizeof text, "%.*s", (int)(len < sizeof text ? len : sizeof text - 1), cell);
    errno = 0;
    double x = strtod(text, &end);
    if (len >= sizeof text || *end != '\0' || end == text || !((x >= 0 && x <= 1) || x == -1)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: line %" PRId64 ": %s is \"%.40s\"; a number from 0 to 1 is expected, or -1 or nothing where "
                        "there is no score", path, p->table.line[row + 1], name, text);
    }
    *out = x >= 0 ? (float)x : NAN;
    return DTX_OK;
}

static dtx_status parse_scores(const char *path, dtx_published *p)
{
    for (int s = 0; s < DTX_PUBLISHED_SCORES; s++) {
        int64_t column = dtx_csv_column(&p->table, dtx_published_column[s]);
        p->has[s] = column >= 0;
        DTX_TRY(DTX_NEW_RAW(p->score[s], p->n_rows));
        for (int64_t i = 0; i < p->n_rows; i++) {
            p->score[s][i] = NAN;
            if (column >= 0) {
                DTX_TRY(parse_score(p, path, i, column, dtx_published_column[s], &p->score[s][i]));
            }
        }
    }
    return DTX_OK;
}

/* Whether the prompts are in this template: all begin with it, and all but a few (which were cut) end with it. Sets their
 * texts when they are. */
static dtx_status try_template(dtx_published *p, const dtx_template *t, int64_t prompts, bool *fits)
{
    char *frame;
    size_t len, before, after, n;
    int64_t n_cut = 0, bound = p->n_rows / 100 > 1 ? p->n_rows / 100 : 1;

    *fits = false;
    DTX_TRY(dtx_template_apply(t, "", 0, &frame, &len, &before, &after));
    for (int64_t i = 0; i < p->n_rows && n_cut <= bound; i++) {
        const char *s = dtx_csv_cell(&p->table, i, prompts, &n);
        bool begins = n >= before && memcmp(s, frame, before) == 0;
        bool ends = begins && n >= len && memcmp(s + n - after, frame + before, after) == 0;
        p->begin[i] = (size_t)(s - p->table.bytes) + (begins ? before : 0);
        p->end[i] = (size_t)(s - p->table.bytes) + n - (ends ? after : 0);
        n_cut += begins ? !ends : bound + 1;
    }
    *fits = n_cut <= bound && (n_cut < p->n_rows || p->n_rows <= 1);
    dtx_free(frame);
    return DTX_OK;
}

static dtx_status find_template(dtx_published *p, const dtx_template *configured, int64_t prompts)
{
    const dtx_template candidates[] = {*configured,
                                       {"<human>:", "<bot>:", "{user} \"{text}\".\n{bot} "},
                                       {"### Question:", "### Answer:", "{user} \"{text}\".\n{bot} "},
                                       {"", "", "{text}"}};
    bool fits = false;

    for (size_t i = 0; i < sizeof candidates / sizeof *candidates && !fits; i++) {
        DTX_TRY(try_template(p, &candidates[i], prompts, &fits));
        p->tmpl = candidates[i];
    }
    return DTX_OK;
}

static dtx_status read_rows(const char *path, const dtx_template *configured, dtx_published *p)
{
    int64_t prompts;

    DTX_TRY(dtx_csv_read(path, &p->table));
    DTX_TRY(dtx_csv_need(&p->table, path, "prompts", &prompts));
    DTX_TRY(dtx_csv_need(&p->table, path, "responses", &p->response));
    p->n_rows = p->table.n_rows;
    if (p->n_rows == 0) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: there is a header but no row", path);
    }
    DTX_TRY(DTX_NEW(p->begin, p->n_rows));
    DTX_TRY(DTX_NEW(p->end, p->n_rows));
    DTX_TRY(find_template(p, configured, prompts));
    return parse_scores(path, p);
}

dtx_status dtx_published_read(const char *path, const dtx_template *configured, dtx_published *out)
{
    dtx_published p = {.n = 0};
    dtx_status st = read_rows(path, configured, &p);

    if (st != DTX_OK) {
        dtx_published_free(&p);
        return st;
    }
    *out = p;
    return DTX_OK;
}

/* --- alignment --- */

/* A text of either side, for sorting. */
typedef struct {
    const char *s;
    size_t len;
    int64_t index;
} piece;

static int compare_bytes(const piece *a, const piece *b)
{
    int d = memcmp(a->s, b->s, a->len < b->len ? a->len : b->len);

    return d != 0 ? d : (a->len > b->len) - (a->len < b->len);
}

static int compare_pieces(const void *a, const void *b)
{
    const piece *x = a, *y = b;
    int d = compare_bytes(x, y);

    return d != 0 ? d : (x->index > y->index) - (x->index < y->index);
}

static size_t common(const piece *a, const piece *b)
{
    size_t n = 0, m = a->len < b->len ? a->len : b->len;

    while (n < m && a->s[n] == b->s[n]) {
        n++;
    }
    return n;
}

/* Rows that hold no text to the byte: the text that is left with the longest common beginning. The pieces are sorted by
 * index again, so that ties go to the earlier text. */
static dtx_status align_cut(const char *path, const piece *texts, int64_t n_texts, const piece *rows, int64_t n_rows, bool partial,
                            dtx_published *p)
{
    for (int64_t r = 0; r < n_rows; r++) {
        int64_t best = -1;
        size_t longest = 0;
        for (int64_t t = 0; t < n_texts && r < MAX_CUT; t++) {
            size_t shorter = texts[t].len < rows[r].len ? texts[t].len : rows[r].len, n = common(&texts[t], &rows[r]);
            if (p->row[texts[t].index] < 0 && n > longest && (double)n >= MIN_COMMON * (double)shorter) {
                longest = n;
                best = t;
            }
        }
        if (best >= 0) {
            p->row[texts[best].index] = rows[r].index;
            p->n_found++;
            p->n_cut++;
        } else if (!partial) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: line %" PRId64 ": the prompt is none of the evaluation texts, or all equal ones have a "
                            "row already; data.prompts must be the file that these completions answer",
                            path, p->table.line[rows[r].index + 1]);
        }
    }
    return DTX_OK;
}

static int compare_index(const void *a, const void *b)
{
    const piece *x = a, *y = b;

    return (x->index > y->index) - (x->index < y->index);
}

dtx_status dtx_published_align(const char *path, const dtx_texts *texts, bool partial, dtx_published *p)
{
    piece *a = NULL, *b = NULL;
    int64_t n_a = 0, n_b = 0, i = 0, k = 0;
    dtx_status st;

    p->n = texts->n;
    p->n_found = p->n_cut = 0;
    DTX_GO(DTX_NEW(p->row, p->n));
    DTX_GO(DTX_NEW(a, p->n));
    DTX_GO(DTX_NEW(b, p->n_rows));
    for (int64_t t = 0; t < p->n; t++) {
        a[t] = (piece){texts->bytes + texts->offset[t], texts->offset[t + 1] - texts->offset[t], t};
        p->row[t] = -1;
    }
    for (int64_t r = 0; r < p->n_rows; r++) {
        b[r] = (piece){p->table.bytes + p->begin[r], p->end[r] - p->begin[r], r};
    }
    qsort(a, (size_t)p->n, sizeof *a, compare_pieces);
    qsort(b, (size_t)p->n_rows, sizeof *b, compare_pieces);
    while (i < p->n || k < p->n_rows) { /* what finds no equal moves to the front of its list */
        int d = i == p->n ? 1 : k == p->n_rows ? -1 : compare_bytes(&a[i], &b[k]);
        if (d == 0) {
            p->row[a[i++].index] = b[k++].index;
            p->n_found++;
        } else if (d < 0) {
            a[n_a++] = a[i++];
        } else {
            b[n_b++] = b[k++];
        }
    }
    qsort(a, (size_t)n_a, sizeof *a, compare_index);
    qsort(b, (size_t)n_b, sizeof *b, compare_index);
    st = align_cut(path, a, n_a, b, n_b, partial, p);
done:
    dtx_free(a);
    dtx_free(b);
    return st;
}

dtx_status dtx_published_texts(const dtx_published *p, dtx_texts *out)
{
    dtx_texts t = {.n = p->n_rows};
    dtx_status st;

    DTX_GO(DTX_NEW(t.id, p->n_rows));
    DTX_GO(DTX_NEW(t.offset, p->n_rows + 1));
    DTX_GO(DTX_NEW(t.bytes, p->table.offset[(p->table.n_rows + 1) * p->table.n_columns] + 1));
    for (int64_t r = 0; r < p->n_rows; r++) {
        size_t len = p->end[r] - p->begin[r];
        memcpy(t.bytes + t.offset[r], p->table.bytes + p->begin[r], len);
        t.offset[r + 1] = t.offset[r] + len;
        t.id[r] = r;
    }
    *out = t;
    t = (dtx_texts){0};
done:
    dtx_texts_free(&t);
    return st;
}

const char *dtx_published_answer(const dtx_published *p, int64_t i, size_t *len)
{
    *len = 0;
    return p->row[i] < 0 ? "" : dtx_csv_cell(&p->table, p->row[i], p->response, len);
}

void dtx_published_free(dtx_published *p)
{
    for (int s = 0; s < DTX_PUBLISHED_SCORES; s++) {
        dtx_free(p->score[s]);
    }
    dtx_free(p->begin);
    dtx_free(p->end);
    dtx_free(p->row);
    dtx_csv_free(&p->table);
    *p = (dtx_published){.n = 0};
}
