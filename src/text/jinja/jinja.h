/* jinja.h - renders chat templates: the subset of Jinja 2.11 and later that they use, with trim_blocks and lstrip_blocks, one trailing newline of
 * the template dropped.
 *   statements   if / elif / else, for (over several names, with `if` and `else`), break, continue, set (names, ns.name, a block), raw,
 *                generation (a mark of no effect), comments, white-space control
 *   expressions  literals, lists, tuples, mappings; x.key, x[key], slices; + - * / // % ** ~, comparisons, in, not in, and, or, not,
 *                inline if; is TEST, FILTER chains, calls
 *   filters      trim, length, count, tojson (indent), join, items, string, list, replace, upper, lower, title, map (attribute), select,
 *                reject, selectattr, rejectattr
 *   tests        defined, none, string, mapping, iterable, false; equalto, eq in select and its kin
 *   methods      strip, lstrip, rstrip, split, startswith, endswith, replace of strings; items, get of mappings
 *   functions    namespace, dict, raise_exception, strftime_now (defined where a date is given)
 *   loop         index, index0, first, last, length, revindex, revindex0
 * Everything else (macros, includes, other filters ..) is DTX_ERR_INPUT at parsing, with the construct and its line.
 * White space is Python's: White_Space and U+001C to U+001F. */
#ifndef DTX_JINJA_H
#define DTX_JINJA_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "src/base/status.h"

typedef struct dtx_jinja dtx_jinja;

/* Parses a template of valid UTF-8; `name` is for messages. The caller frees *out with dtx_jinja_del. */
dtx_status dtx_jinja_parse(const char *name, const char *text, size_t n, dtx_jinja **out);
void dtx_jinja_del(dtx_jinja *t);

/* Bytes begin .. end of the text come from a given string; begin == end where it was empty or trimmed to nothing. */
typedef struct {
    size_t begin, end;
    int32_t source;
} dtx_jinja_span;

typedef struct {
    char *text; /* NUL-terminated */
    size_t n;
    dtx_jinja_span *span; /* in the order of the text */
    size_t n_spans;
    bool lost; /* some text comes from a given string, but through a form (a printed list, JSON) in which its place is not known */
} dtx_jinja_result;
void dtx_jinja_result_free(dtx_jinja_result *r);

typedef struct {
    const cJSON *variables; /* an object: names and their values; null is none */
    /* Number of a string item whose text is to be followed, -1 for others; NULL = none is. */
    int32_t (*source)(const void *arg, const cJSON *item);
    const void *arg;
    const struct tm *now; /* what strftime_now says; NULL = it is not defined */
} dtx_jinja_input;

/* Renders. DTX_ERR_INPUT with template, line and cause when the template cannot be applied to this input, or a bound is reached;
 * *raised (may be NULL) then says whether the template itself refused (raise_exception): dtx_error_text is its message alone. */
dtx_status dtx_jinja_render(const dtx_jinja *t, const dtx_jinja_input *in, dtx_jinja_result *out, bool *raised);

#endif
