/* value.h - the values of a template: kinds, memory, and what can be asked of them without knowing the template. Private to this room. */
#ifndef DTX_JINJA_VALUE_H
#define DTX_JINJA_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/status.h"

enum {
    DTX_JINJA_DEPTH = 64,       /* lists in lists, and expressions in expressions */
    DTX_JINJA_WEIGHT = 1 << 24, /* parts of a list, those of its lists included */
    DTX_JINJA_SOURCE_LOST = -2, /* text of a given string whose place in it is not known */
};
#define DTX_JINJA_MEMORY ((size_t)256 << 20) /* bytes that one rendering may take */

/* Memory that is freed as a whole. */
typedef struct dtx_jinja_block dtx_jinja_block;
typedef struct {
    dtx_jinja_block *block;
    size_t used, limit;
} dtx_jinja_arena;
void dtx_jinja_arena_free(dtx_jinja_arena *a);
/* Zeroed memory, 16-byte aligned. DTX_ERR_INPUT at the limit, DTX_ERR_MISSING when memory is not there. */
dtx_status dtx_jinja_take(dtx_jinja_arena *a, size_t n, void **out);
#define DTX_JINJA_NEW(a, ptr, n) dtx_jinja_take((a), (size_t)(n) * sizeof *(ptr), (void **)&(ptr))

typedef enum { UNDEFINED, NONE, BOOL, INT, FLOAT, STRING, LIST, DICT, SPACE, LOOP, FUNCTION } dtx_jinja_kind;

/* Bytes begin .. end come from given string `source`; begin may be end. */
typedef struct {
    size_t begin, end;
    int32_t source;
} dtx_jinja_run;

typedef struct {
    const char *s;
    size_t n;
    const dtx_jinja_run *run; /* in order, not overlapping */
    size_t n_runs;
} dtx_jinja_text;

typedef struct dtx_jinja_list dtx_jinja_list;
typedef struct dtx_jinja_dict dtx_jinja_dict;
typedef struct dtx_jinja_loop dtx_jinja_loop;

typedef struct {
    dtx_jinja_kind kind;
    union {
        bool b;
        int64_t i;
        double f;
        const dtx_jinja_text *text;
        dtx_jinja_list *list;
        dtx_jinja_dict *dict; /* DICT and SPACE */
        const dtx_jinja_loop *loop;
        int function;
        const char *name; /* UNDEFINED: what was asked for, may be NULL */
    };
} dtx_jinja_value;

struct dtx_jinja_list {
    dtx_jinja_value *v;
    size_t n, cap;
    bool tuple; /* prints with ( ) */
    bool lazy;  /* a generator: it can be gone through, and is true, but has no length and no places */
    int depth;
    int64_t weight; /* see dtx_jinja_weight */
};

struct dtx_jinja_dict {
    const dtx_jinja_text **key;
    dtx_jinja_value *v;
    size_t n, cap;
    bool space; /* of a namespace or scope: never printed nor compared, so its depth and weight do not count */
    int depth;
    int64_t weight;
};

struct dtx_jinja_loop {
    int64_t index0, length;
};

/* --- texts --- */
dtx_status dtx_jinja_text_new(dtx_jinja_arena *a, const char *s, size_t n, int32_t source, dtx_jinja_value *out);
dtx_status dtx_jinja_text_cat(dtx_jinja_arena *a, const dtx_jinja_text *x, const dtx_jinja_text *y, dtx_jinja_value *out);
dtx_status dtx_jinja_text_sub(dtx_jinja_arena *a, const dtx_jinja_text *x, size_t begin, size_t end, dtx_jinja_value *out);
/* Python's white space. */
bool dtx_jinja_is_space(uint32_t cp);
int64_t dtx_jinja_text_length(const dtx_jinja_text *x); /* characters */

/* A text under way: pieces are appended in time proportional to their length. */
typedef struct {
    dtx_jinja_arena *arena;
    char *s;
    size_t n, cap;
    dtx_jinja_run *run;
    size_t n_runs, cap_runs;
} dtx_jinja_builder;
dtx_status dtx_jinja_put(dtx_jinja_builder *b, const char *s, size_t n);
dtx_status dtx_jinja_put_text(dtx_jinja_builder *b, const dtx_jinja_text *x);
dtx_status dtx_jinja_built(dtx_jinja_builder *b, dtx_jinja_value *out);

/* --- lists and mappings; those under way belong to their maker --- */
dtx_status dtx_jinja_list_new(dtx_jinja_arena *a, dtx_jinja_value *out);
dtx_status dtx_jinja_list_add(dtx_jinja_arena *a, dtx_jinja_list *l, dtx_jinja_value v);
dtx_status dtx_jinja_dict_new(dtx_jinja_arena *a, dtx_jinja_kind kind, dtx_jinja_value *out);
dtx_status dtx_jinja_dict_set(dtx_jinja_arena *a, dtx_jinja_dict *d, const dtx_jinja_text *key, dtx_jinja_value v);
/* NULL when the key is absent. */
const dtx_jinja_value *dtx_jinja_dict_get(const dtx_jinja_dict *d, const char *key, size_t n);

/* --- any value --- */
const char *dtx_jinja_kind_name(dtx_jinja_value v); /* Python's: "str", "NoneType" */
/* About the steps that comparing or printing it takes. */
int64_t dtx_jinja_weight(dtx_jinja_value v);
bool dtx_jinja_true(dtx_jinja_value v);
bool dtx_jinja_equal(dtx_jinja_value x, dtx_jinja_value y);
/* What {{ v }} prints; a string is itself. DTX_ERR_INPUT for what has no printed form (a namespace, a function). */
dtx_status dtx_jinja_print(dtx_jinja_arena *a, dtx_jinja_value v, dtx_jinja_value *out);
/* JSON as Python's json.dumps(ensure_ascii=False) writes it; indent < 0: on one line. */
dtx_status dtx_jinja_json(dtx_jinja_arena *a, dtx_jinja_value v, int64_t indent, dtx_jinja_value *out);

#endif
