#include "src/data/dialogue.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/csv.h"
#include "src/base/mem.h"

typedef struct {
    char *s;
    size_t n, cap;
} text;

static dtx_status put(text *t, const char *s, size_t len)
{
    DTX_TRY(DTX_GROW(t->s, t->cap, t->n + len + 1));
    memcpy(t->s + t->n, s, len);
    t->n += len;
    return DTX_OK;
}

/* A turn on one line: each newline (LF, CR or CRLF) becomes one space. */
static dtx_status put_turn(text *t, const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        bool newline = s[i] == '\n' || s[i] == '\r';
        if (s[i] == '\r' && i + 1 < len && s[i + 1] == '\n') {
            i++;
        }
        DTX_TRY(put(t, newline ? " " : s + i, 1));
    }
    return DTX_OK;
}

static bool is_blank(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (strchr(" \t\r\n", s[i]) == NULL || s[i] == '\0') {
            return false;
        }
    }
    return true;
}

static int compare_ids(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

typedef struct {
    const char *path, *user, *bot;
    dtx_csv table;
    int64_t text_column, id_column;
    dtx_dialogues *out;
    size_t cap_sample, cap_pairs, cap_offset, cap_span_offset, cap_span, cap_query, n_span;
    text all;
} reader;

static bool same_dialogue(const reader *r, int64_t a, int64_t b)
{
    size_t la, lb;
    const char *x = dtx_csv_cell(&r->table, a, r->id_column, &la), *y = dtx_csv_cell(&r->table, b, r->id_column, &lb);

    return la == lb && memcmp(x, y, la) == 0;
}

/* Closes the sample that ends at the end of `all`. */
static dtx_status add_sample(reader *r, int64_t pairs, uint64_t query)
{
    dtx_dialogues *d = r->out;
    size_t n = (size_t)d->n;

    DTX_TRY(DTX_GROW(d->dialogue, r->cap_sample, n + 1));
    DTX_TRY(DTX_GROW(d->pairs, r->cap_pairs, n + 1));
    DTX_TRY(DTX_GROW(d->query, r->cap_query, n + 1));
    DTX_TRY(DTX_GROW(d->offset, r->cap_offset, n + 2));
    DTX_TRY(DTX_GROW(d->span_offset, r->cap_span_offset, n + 2));
    d->dialogue[n] = d->n_dialogues;
    d->pairs[n] = pairs;
    d->query[n] = query;
    d->offset[n + 1] = r->all.n;
    d->span_offset[n + 1] = r->n_span;
    d->n++;
    return DTX_OK;
}

/* The samples of the dialogue on rows first..first+turns-1. Each is written out whole: the file of the study is 2.4 MB,
 * its samples 6 MB. */
static dtx_status add_dialogue(reader *r, int64_t first, int64_t turns)
{
    for (int64_t k = 1; k <= turns / 2; k++) {
        size_t begin = r->all.n;
        uint64_t query = 0;
        for (int64_t p = 0; p < k; p++) {
            size_t len;
            const char *s = dtx_csv_cell(&r->table, first + 2 * p, r->text_column, &len);
            if (p > 0) {
                DTX_TRY(put(&r->all, "\n", 1));
            }
            DTX_TRY(put(&r->all, r->user, strlen(r->user)));
            DTX_TRY(put(&r->all, " ", 1));
            DTX_TRY(put_turn(&r->all, s, len));
            DTX_TRY(put(&r->all, ".\n", 2));
            DTX_TRY(put(&r->all, r->bot, strlen(r->bot)));
            DTX_TRY(put(&r->all, " ", 1));
            query = r->all.n - begin;
            s = dtx_csv_cell(&r->table, first + 2 * p + 1, r->text_column, &len);
            DTX_TRY(put_turn(&r->all, s, len));
            DTX_TRY(DTX_GROW(r->out->span, r->cap_span, r->n_span + 1));
            r->out->span[r->n_span++] = (dtx_byte_span){query, r->all.n - begin - query};
        }
        DTX_TRY(add_sample(r, k, query));
    }
    r->out->n_odd += turns % 2;
    r->out->n_dialogues++;
    return DTX_OK;
}

static dtx_status check_turns(const reader *r)
{
    for (int64_t i = 0; i < r->table.n_rows; i++) {
        size_t len;
        const char *s = dtx_csv_cell(&r->table, i, r->text_column, &len);
        if (is_blank(s, len) && r->out->n_blank++ == 0) {
            r->out->first_blank_line = r->table.line[i + 1];
        }
        s = dtx_csv_cell(&r->table, i, r->id_column, &len);
        if (is_blank(s, len)) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: line %" PRId64 ": dialogue_id is empty", r->path, r->table.line[i + 1]);
        }
    }
    return DTX_OK;
}

/* A dialogue id that begins twice means interleaved or scattered turns, whose order cannot be known. */
static dtx_status check_contiguous(const reader *r, const int64_t *begin, int64_t n)
{
    char **id = NULL;
    dtx_status st = DTX_OK;

    DTX_GO(DTX_NEW(id, n));
    for (int64_t i = 0; i < n; i++) {
        size_t len;
        const char *s = dtx_csv_cell(&r->table, begin[i], r->id_column, &len);
        id[i] = dtx_strndup(s, len);
        DTX_GO(dtx_mem_check(id[i], len + 1, 1, "dialogue id"));
    }
    qsort(id, (size_t)n, sizeof *id, compare_ids);
    for (int64_t i = 1; i < n; i++) {
        if (strcmp(id[i - 1], id[i]) == 0) {
            DTX_GO(DTX_FAIL(DTX_ERR_INPUT, "%s: the turns of dialogue %s do not stand together; sort the file by dialogue_id",
                            r->path, id[i]));
        }
    }
done:
    for (int64_t i = 0; id != NULL && i < n; i++) {
        dtx_free(id[i]);
    }
    dtx_free(id);
    return st;
}

dtx_status dtx_dialogues_read(const char *path, const char *user, const char *bot, dtx_dialogues *out)
{
    dtx_dialogues d = {0};
    reader r = {.path = path, .user = user, .bot = bot, .out = &d};
    int64_t *begin = NULL, n = 0;
    dtx_status st = DTX_OK;

    DTX_TRY(dtx_csv_read(path, &r.table));
    DTX_GO(dtx_csv_need(&r.table, path, "text", &r.text_column));
    DTX_GO(dtx_csv_need(&r.table, path, "dialogue_id", &r.id_column));
    DTX_GO(check_turns(&r));
    DTX_GO(DTX_NEW(begin, r.table.n_rows + 1));
    for (int64_t i = 0; i < r.table.n_rows; i++) {
        if (i == 0 || !same_dialogue(&r, i - 1, i)) {
            begin[n++] = i;
        }
    }
    begin[n] = r.table.n_rows;
    DTX_GO(check_contiguous(&r, begin, n));
    DTX_GO(DTX_GROW(d.offset, r.cap_offset, 1));
    DTX_GO(DTX_GROW(d.span_offset, r.cap_span_offset, 1));
    d.offset[0] = d.span_offset[0] = 0;
    for (int64_t i = 0; i < n; i++) {
        DTX_GO(add_dialogue(&r, begin[i], begin[i + 1] - begin[i]));
    }
    if (d.n == 0) {
        DTX_GO(DTX_FAIL(DTX_ERR_INPUT, "%s: no dialogue of at least two turns", path));
    }
    d.bytes = r.all.s;
    r.all.s = NULL;
    *out = d;
    memset(&d, 0, sizeof d);
done:
    dtx_free(begin);
    dtx_free(r.all.s);
    dtx_dialogues_free(&d);
    dtx_csv_free(&r.table);
    return st;
}

void dtx_dialogues_free(dtx_dialogues *d)
{
    dtx_free(d->dialogue);
    dtx_free(d->pairs);
    dtx_free(d->offset);
    dtx_free(d->bytes);
    dtx_free(d->span_offset);
    dtx_free(d->span);
    dtx_free(d->query);
    memset(d, 0, sizeof *d);
}
