#include "src/data/dataset.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/csv.h"
#include "src/base/file.h"
#include "src/base/json.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/base/utf8.h"

/* --- a list of texts under construction --- */

typedef struct {
    dtx_texts t;
    size_t cap_id, cap_offset, cap_bytes, n_bytes;
} builder;

static dtx_status add(builder *b, int64_t id, const char *text, size_t len)
{
    DTX_TRY(DTX_GROW(b->t.id, b->cap_id, b->t.n + 1));
    DTX_TRY(DTX_GROW(b->t.offset, b->cap_offset, b->t.n + 2));
    DTX_TRY(DTX_GROW(b->t.bytes, b->cap_bytes, b->n_bytes + len + 1));
    if (len > 0) {
        memcpy(b->t.bytes + b->n_bytes, text, len);
    }
    b->t.id[b->t.n] = id;
    b->t.offset[b->t.n] = b->n_bytes;
    b->n_bytes += len;
    b->t.offset[++b->t.n] = b->n_bytes;
    return DTX_OK;
}

void dtx_texts_free(dtx_texts *t)
{
    if (t != NULL) {
        dtx_free(t->id);
        dtx_free(t->offset);
        dtx_free(t->bytes);
        *t = (dtx_texts){0};
    }
}

/* --- kinds of files --- */

typedef enum { PLAIN, JSONL, CSV } file_kind;

static file_kind kind_of(const char *path)
{
    const char *dot = strrchr(path, '.');

    if (dot != NULL && (strcmp(dot, ".jsonl") == 0 || strcmp(dot, ".json") == 0)) {
        return JSONL;
    }
    return dot != NULL && strcmp(dot, ".csv") == 0 ? CSV : PLAIN;
}

/* The next line of a text, without LF or CRLF; false at the end. A last line without a newline counts. */
static bool next_line(const dtx_file_map *map, size_t *at, const char **line, size_t *len)
{
    if (*at >= map->size) {
        return false;
    }
    const char *s = map->data + *at, *nl = memchr(s, '\n', map->size - *at);
    size_t n = nl != NULL ? (size_t)(nl - s) : map->size - *at;

    *at += n + (nl != NULL);
    *line = s;
    *len = n > 0 && s[n - 1] == '\r' ? n - 1 : n;
    return true;
}

static bool is_blank(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (s[i] != ' ' && s[i] != '\t' && s[i] != '\r') {
            return false;
        }
    }
    return true;
}

/* Calls `row` with each object of a JSONL file; blank lines are skipped. line counts from 1. */
typedef dtx_status (*jsonl_row)(const cJSON *object, const char *path, int64_t line, void *user);

static dtx_status each_jsonl(const char *path, jsonl_row row, void *user)
{
    dtx_file_map map;
    dtx_status st = DTX_OK;
    const char *text;
    size_t len;

    DTX_TRY(dtx_file_map_open(path, &map));
    size_t at = dtx_utf8_bom(map.data, map.size);
    for (int64_t line = 1; st == DTX_OK && next_line(&map, &at, &text, &len); line++) {
        cJSON *object = NULL;
        if (is_blank(text, len)) {
            continue;
        }
        st = dtx_json_parse(text, len, path, line, &object);
        if (st == DTX_OK && !cJSON_IsObject(object)) {
            st = DTX_FAIL(DTX_ERR_INPUT, "%s: line %" PRId64 ": one JSON object a line is expected, found %s", path, line,
                          cJSON_IsArray(object) ? "a list" : "a bare value");
        }
        if (st == DTX_OK) {
            st = row(object, path, line, user);
        }
        cJSON_Delete(object);
    }
    dtx_file_map_close(&map);
    return st;
}

/* --- selection of evaluation texts --- */

typedef enum { SELECT_ALL, SELECT_BOTH, SELECT_CHALLENGING, SELECT_PROMPT, SELECT_AUTO } selection_kind;

typedef struct {
    selection_kind kind;
    double above; /* SELECT_BOTH, SELECT_PROMPT: scores above this */
} selection;

static dtx_status parse_selection(const char *text, selection *out)
{
    *out = (selection){.kind = SELECT_AUTO, .above = 0.5};
    if (strcmp(text, "auto") == 0) {
        return DTX_OK;
    }
    if (strcmp(text, "all") == 0) {
        out->kind = SELECT_ALL;
        return DTX_OK;
    }
    if (strcmp(text, "challenging") == 0) {
        out->kind = SELECT_CHALLENGING;
        return DTX_OK;
    }
    if (strcmp(text, "both>0.5") == 0) {
        out->kind = SELECT_BOTH;
        return DTX_OK;
    }
    if (strncmp(text, "prompt>", 7) == 0) {
        char *end;
        out->kind = SELECT_PROMPT;
        out->above = strtod(text + 7, &end);
        if (end != text + 7 && *end == '\0' && out->above >= 0.0 && out->above <= 1.0) {
            return DTX_OK;
        }
    }
    return DTX_FAIL(DTX_ERR_USAGE, "data.select=%s: expected auto, both>0.5, challenging, prompt>X with X in 0..1, or all", text);
}

/* What a row of RealToxicityPrompts says of itself. */
typedef struct {
    double prompt, continuation; /* toxicity, -1 = none */
    bool challenging;
} row_scores;

static bool chosen(const selection *s, const row_scores *r)
{
    switch (s->kind) {
    case SELECT_BOTH: return r->prompt > s->above && r->continuation > s->above;
    case SELECT_CHALLENGING: return r->challenging;
    case SELECT_PROMPT: return r->prompt > s->above;
    case SELECT_ALL:
    case SELECT_AUTO: break;
    }
    return true;
}

typedef struct {
    builder b;
    row_scores *scores;
    size_t cap_scores;
} prompt_rows;

/* One side of a row, {"text": ..., "toxicity": ...}: *text is NULL where it is absent. */
static dtx_status read_side(const cJSON *object, const char *side, const char *where, char **text, size_t *len, double *toxicity)
{
    const cJSON *item = dtx_json_get(object, side);

    *text = NULL;
    *len = 0;
    *toxicity = -1.0;
    if (item == NULL) {
        return DTX_OK;
    }
    if (!cJSON_IsObject(item)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: \"%s\": an object with the member \"text\" is expected", where, side);
    }
    DTX_TRY(dtx_json_double(item, where, "toxicity", 0.0, 1.0, toxicity));
    item = dtx_json_get(item, "text");
    if (item == NULL) {
        return DTX_OK;
    }
    if (!cJSON_IsString(item)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: \"%s.text\": a string is expected", where, side);
    }
    return dtx_json_text(item, text, len);
}

static dtx_status add_prompt_row(const cJSON *object, const char *path, int64_t line, void *user)
{
    prompt_rows *rows = user;
    char where[4200], *prompt = NULL, *rest = NULL, *joined = NULL;
    size_t n = 0, m = 0;
    row_scores scores = {0};
    int64_t id = line - 1;
    dtx_status st;

    snprintf(where, sizeof where, "%s: line %" PRId64, path, line);
    DTX_GO(dtx_json_int(object, where, "id", 0, INT64_C(1) << 53, &id));
    DTX_GO(dtx_json_bool(object, where, "challenging", &scores.challenging));
    DTX_GO(read_side(object, "prompt", where, &prompt, &n, &scores.prompt));
    DTX_GO(read_side(object, "continuation", where, &rest, &m, &scores.continuation));
    if (prompt == NULL) {
        DTX_GO(DTX_FAIL(DTX_ERR_INPUT, "%s: no \"prompt\": {\"text\": ...}, as RealToxicityPrompts has it", where));
    }
    DTX_GO(DTX_GROW(rows->scores, rows->cap_scores, rows->b.t.n + 1));
    rows->scores[rows->b.t.n] = scores;
    if (m == 0) {
        DTX_GO(add(&rows->b, id, prompt, n));
    } else {
        /* One blank between the two; a published continuation begins with another. */
        DTX_GO(DTX_NEW_RAW(joined, n + m + 1));
        memcpy(joined, prompt, n);
        joined[n] = ' ';
        memcpy(joined + n + 1, rest, m);
        DTX_GO(add(&rows->b, id, joined, n + m + 1));
    }
done:
    dtx_free(joined);
    dtx_free(rest);
    dtx_free(prompt);
    return st;
}

static dtx_status read_plain_prompts(const char *path, builder *b)
{
    dtx_file_map map;
    const char *text;
    size_t len;

    DTX_TRY(dtx_file_map_open(path, &map));
    dtx_status st = dtx_utf8_check(path, map.data, map.size);
    size_t at = dtx_utf8_bom(map.data, map.size);
    for (int64_t line = 0; st == DTX_OK && next_line(&map, &at, &text, &len); line++) {
        if (!is_blank(text, len)) {
            st = add(b, line, text, len);
        }
    }
    dtx_file_map_close(&map);
    return st;
}

/* A cell as an id: digits alone. */
static dtx_status parse_id(const char *path, int64_t line, const char *cell, size_t len, int64_t *id)
{
    *id = 0;
    for (size_t i = 0; i < len && i < 16 && cell[i] >= '0' && cell[i] <= '9'; i++) {
        *id = *id * 10 + (cell[i] - '0');
        if (i + 1 == len) {
            return DTX_OK;
        }
    }
    return DTX_FAIL(DTX_ERR_INPUT, "%s: line %" PRId64 ": id \"%.*s\": a whole number of at most 16 digits is expected", path, line,
                    (int)(len < 40 ? len : 40), cell);
}

/* In CSV a record may span lines, so a row without an id is known by its index after the header, as in a data frame. */
static dtx_status read_csv_prompts(const char *path, builder *b)
{
    dtx_csv t = {0};
    dtx_status st;

    DTX_TRY(dtx_csv_read(path, &t));
    int64_t text = dtx_csv_column(&t, "prompt"), id = dtx_csv_column(&t, "id");
    if (text < 0 && (text = dtx_csv_column(&t, "text")) < 0) {
        DTX_GO(dtx_csv_need(&t, path, "prompt", &text));
    }
    st = DTX_OK;
    for (int64_t i = 0; i < t.n_rows; i++) {
        size_t len;
        const char *cell;
        int64_t row_id = i;
        if (id >= 0) {
            cell = dtx_csv_cell(&t, i, id, &len);
            DTX_GO(parse_id(path, t.line[i + 1], cell, len, &row_id));
        }
        cell = dtx_csv_cell(&t, i, text, &len);
        DTX_GO(add(b, row_id, cell, len));
    }
done:
    dtx_csv_free(&t);
    return st;
}

static int compare_ids(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

/* Two rows may share an id (rows are addressed by their index), but it is more often an accident than meant. */
static dtx_status warn_duplicate_ids(const char *path, const dtx_texts *t)
{
    int64_t *sorted, n_twice = 0, first = 0;

    DTX_TRY(DTX_NEW_RAW(sorted, t->n));
    memcpy(sorted, t->id, (size_t)t->n * sizeof *sorted);
    qsort(sorted, (size_t)t->n, sizeof *sorted, compare_ids);
    for (int64_t i = 1; i < t->n; i++) {
        if (sorted[i] == sorted[i - 1]) {
            first = n_twice++ == 0 ? sorted[i] : first;
        }
    }
    dtx_free(sorted);
    if (n_twice > 0) {
        dtx_log(DTX_LOG_WARN, "data", "%s: %" PRId64 " rows have an id that stands before (the first is id %" PRId64 ")", path,
                n_twice, first);
    }
    return DTX_OK;
}

/* Keeps the rows that `s` chooses, in place. */
static void keep_chosen(prompt_rows *rows, const selection *s)
{
    dtx_texts *t = &rows->b.t;
    int64_t to = 0;
    size_t end = 0;

    for (int64_t i = 0; i < t->n; i++) {
        size_t from = t->offset[i], len = t->offset[i + 1] - from;
        if (chosen(s, &rows->scores[i])) {
            memmove(t->bytes + end, t->bytes + from, len);
            t->id[to] = t->id[i];
            t->offset[to++] = end;
            end += len;
        }
    }
    t->offset[to] = end;
    t->n = to;
}

dtx_status dtx_texts_read_prompts(const char *path, const char *select, int64_t expect_count, int64_t limit,
                                  dtx_texts *out, char selected[32])
{
    static const char *const names[] = {"all", "both>0.5", "challenging", "prompt>", "auto"};
    prompt_rows rows = {0};
    selection s;
    bool any_both = false;
    dtx_status st;

    DTX_TRY(parse_selection(select, &s));
    file_kind kind = kind_of(path);
    if (kind != JSONL && s.kind != SELECT_ALL && s.kind != SELECT_AUTO) {
        return DTX_FAIL(DTX_ERR_USAGE, "data.select=%s needs RealToxicityPrompts' JSONL, but %s is %s; use data.select=all", select,
                        path, kind == CSV ? "CSV" : "plain text (a file of JSON lines is named .jsonl)");
    }
    DTX_GO(kind == JSONL ? each_jsonl(path, add_prompt_row, &rows) : kind == CSV ? read_csv_prompts(path, &rows.b)
                                                                                 : read_plain_prompts(path, &rows.b));
    int64_t n_rows = rows.b.t.n;
    if (n_rows == 0) {
        DTX_GO(DTX_FAIL(DTX_ERR_INPUT, "%s: holds no text", path));
    }
    for (int64_t i = 0; kind == JSONL && i < n_rows; i++) {
        any_both = any_both || (rows.scores[i].prompt >= 0 && rows.scores[i].continuation >= 0);
    }
    if (s.kind == SELECT_AUTO) {
        s.kind = any_both ? SELECT_BOTH : SELECT_ALL;
        dtx_log(DTX_LOG_INFO, "data", "%s: data.select=auto is %s here (%s)", path, names[s.kind],
                any_both ? "the rows have scores" : "no row has scores of both prompt and continuation");
    }
    if (kind == JSONL) {
        keep_chosen(&rows, &s);
    }
    if (rows.b.t.n == 0) {
        DTX_GO(DTX_FAIL(DTX_ERR_INPUT, "%s: none of %" PRId64 " rows meets data.select=%s%s", path, n_rows, select,
                        any_both ? "" : "; no row has both scores, data.select=all takes every row"));
    }
    if (expect_count > 0 && rows.b.t.n != expect_count) {
        DTX_GO(DTX_FAIL(DTX_ERR_INPUT, "%s: data.expect_count=%" PRId64 ", but %" PRId64 " of %" PRId64
                        " rows meet data.select=%s; another file, or another selection", path, expect_count, rows.b.t.n, n_rows,
                        select));
    }
    if (limit > 0 && rows.b.t.n > limit) {
        rows.b.t.n = limit;
    }
    DTX_GO(warn_duplicate_ids(path, &rows.b.t));
    if (s.kind == SELECT_PROMPT) {
        snprintf(selected, 32, "%s%g", names[s.kind], s.above);
    } else {
        snprintf(selected, 32, "%s", names[s.kind]);
    }
    *out = rows.b.t;
    rows.b.t = (dtx_texts){0};
done:
    dtx_texts_free(&rows.b.t);
    dtx_free(rows.scores);
    return st;
}

/* --- training texts --- */

typedef struct {
    builder b;
    const char *field;
    int64_t n_without;
} field_rows;

static dtx_status add_field_row(const cJSON *object, const char *path, int64_t line, void *user)
{
    field_rows *rows = user;
    const cJSON *item = dtx_json_get(object, rows->field);
    char *text = NULL;
    size_t len = 0;

    if (item == NULL) {
        rows->n_without++;
        return DTX_OK;
    }
    if (!cJSON_IsString(item)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: line %" PRId64 ": \"%s\": a string is expected", path, line, rows->field);
    }
    DTX_TRY(dtx_json_text(item, &text, &len));
    dtx_status st = add(&rows->b, line - 1, text, len);
    dtx_free(text);
    return st;
}

static dtx_status read_jsonl_field(const char *path, field_rows *rows)
{
    DTX_TRY(each_jsonl(path, add_field_row, rows));
    if (rows->b.t.n == 0 && rows->n_without > 0) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: no row has the field \"%s\"", path, rows->field);
    }
    if (rows->n_without > 0) {
        dtx_log(DTX_LOG_WARN, "data", "%s: %" PRId64 " rows have no \"%s\" and are left out", path, rows->n_without, rows->field);
    }
    return DTX_OK;
}

static dtx_status read_csv_field(const char *path, const char *field, builder *b)
{
    dtx_csv t = {0};
    int64_t column;
    dtx_status st;

    DTX_TRY(dtx_csv_read(path, &t));
    DTX_GO(dtx_csv_need(&t, path, field, &column));
    for (int64_t i = 0; i < t.n_rows; i++) {
        size_t len;
        const char *cell = dtx_csv_cell(&t, i, column, &len);
        DTX_GO(add(b, i, cell, len));
    }
done:
    dtx_csv_free(&t);
    return st;
}

/* Paragraphs: runs of lines that are not blank, joined by LF whatever the file's line ends are. */
static dtx_status read_paragraphs(const char *path, builder *b)
{
    dtx_file_map map;
    const char *text;
    char *part = NULL;
    size_t len, n = 0, cap = 0;
    int64_t first = 0;
    dtx_status st;

    DTX_TRY(dtx_file_map_open(path, &map));
    DTX_GO(dtx_utf8_check(path, map.data, map.size));
    size_t at = dtx_utf8_bom(map.data, map.size);
    for (int64_t line = 0;; line++) {
        bool more = next_line(&map, &at, &text, &len), blank = !more || is_blank(text, len);
        if (blank && n > 0) {
            DTX_GO(add(b, first, part, n));
            n = 0;
        }
        if (!more) {
            break;
        }
        if (!blank) {
            DTX_GO(DTX_GROW(part, cap, n + len + 1));
            first = n == 0 ? line : first;
            if (n > 0) {
                part[n++] = '\n';
            }
            memcpy(part + n, text, len);
            n += len;
        }
    }
done:
    dtx_free(part);
    dtx_file_map_close(&map);
    return st;
}

/* Appends `more` to *out; on failure *out is as before. */
static dtx_status append(dtx_texts *out, const dtx_texts *more)
{
    dtx_texts all = {.n = out->n + more->n};
    uint64_t had = out->n > 0 ? out->offset[out->n] : 0, add_bytes = more->offset[more->n];
    dtx_status st;

    DTX_GO(DTX_NEW_RAW(all.id, all.n));
    DTX_GO(DTX_NEW_RAW(all.offset, all.n + 1));
    DTX_GO(DTX_NEW_RAW(all.bytes, had + add_bytes + 1));
    for (int64_t i = 0; i < all.n; i++) {
        all.id[i] = i < out->n ? out->id[i] : more->id[i - out->n];
        all.offset[i] = i < out->n ? out->offset[i] : had + more->offset[i - out->n];
    }
    all.offset[all.n] = had + add_bytes;
    if (had > 0) {
        memcpy(all.bytes, out->bytes, had);
    }
    if (add_bytes > 0) {
        memcpy(all.bytes + had, more->bytes, add_bytes);
    }
    dtx_texts_free(out);
    *out = all;
    return DTX_OK;
done:
    dtx_texts_free(&all);
    return st;
}

dtx_status dtx_texts_read_field(const char *spec, dtx_texts *out)
{
    char path[4096];
    const char *colon = dtx_file_exists(spec) ? NULL : strrchr(spec, ':');
    size_t n = colon != NULL ? (size_t)(colon - spec) : strlen(spec);
    field_rows rows = {.field = colon != NULL ? colon + 1 : "text"};
    dtx_status st;

    if (n == 0 || n >= sizeof path || (colon != NULL && colon[1] == '\0')) {
        return DTX_FAIL(DTX_ERR_USAGE, "data.text: \"%s\": FILE or FILE:FIELD is expected", spec);
    }
    memcpy(path, spec, n);
    path[n] = '\0';
    file_kind kind = kind_of(path);
    if (kind == PLAIN && colon != NULL && dtx_file_exists(path)) {
        return DTX_FAIL(DTX_ERR_USAGE, "data.text: \"%s\": plain text has no fields; only .jsonl and .csv files have", spec);
    }
    DTX_GO(kind == JSONL ? read_jsonl_field(path, &rows) : kind == CSV ? read_csv_field(path, rows.field, &rows.b)
                                                                       : read_paragraphs(colon != NULL ? spec : path, &rows.b));
    if (rows.b.t.n == 0) {
        DTX_GO(DTX_FAIL(DTX_ERR_INPUT, "%s: holds no text", path));
    }
    DTX_GO(append(out, &rows.b.t));
done:
    dtx_texts_free(&rows.b.t);
    return st;
}
