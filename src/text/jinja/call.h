/* call.h - filters, tests, methods and functions on values. Private to this room. */
#ifndef DTX_JINJA_CALL_H
#define DTX_JINJA_CALL_H

#include "src/text/jinja/node.h"

enum { DTX_JINJA_ARGUMENTS = 32 };

/* The arguments of a call: those by place, and those by name. */
typedef struct {
    dtx_jinja_value v[DTX_JINJA_ARGUMENTS];
    const char *name[DTX_JINJA_ARGUMENTS]; /* NULL for those by place, which come first */
    int n, n_places;
} dtx_jinja_arguments;

dtx_status dtx_jinja_call_filter(dtx_jinja_arena *a, dtx_jinja_filter filter, dtx_jinja_value v, const dtx_jinja_arguments *args,
                                 dtx_jinja_value *out);
dtx_status dtx_jinja_call_method(dtx_jinja_arena *a, dtx_jinja_method method, const char *name, dtx_jinja_value v,
                                 const dtx_jinja_arguments *args, dtx_jinja_value *out);
bool dtx_jinja_call_test(dtx_jinja_test test, dtx_jinja_value v, dtx_jinja_value other);
/* v.name and v[key]: undefined where there is none; DTX_ERR_INPUT when v itself is undefined. */
dtx_status dtx_jinja_attribute(dtx_jinja_value v, const char *name, dtx_jinja_value *out);
dtx_status dtx_jinja_item(dtx_jinja_arena *a, dtx_jinja_value v, dtx_jinja_value key, dtx_jinja_value *out);
/* What a loop goes through: characters, items, keys; an undefined value has none. */
dtx_status dtx_jinja_items_of(dtx_jinja_arena *a, dtx_jinja_value v, dtx_jinja_value *out);
/* Byte offset of character i of a text, 0 <= i <= its length. */
size_t dtx_jinja_offset(const dtx_jinja_text *x, int64_t i);

#endif
