#include "src/text/jinja/call.h"

#include <string.h>
#include <utf8proc.h>

#include "src/base/utf8.h"

typedef dtx_jinja_value value;
typedef dtx_jinja_text text;
typedef dtx_jinja_arguments arguments;

static dtx_status undefined(value v)
{
    return DTX_FAIL(DTX_ERR_INPUT, "'%.60s' is undefined", v.name != NULL ? v.name : "a value");
}

/* Argument number i, or the one of that name; NULL when it is not given. */
static const value *argument(const arguments *args, int i, const char *name)
{
    if (i < args->n_places) {
        return &args->v[i];
    }
    for (int k = args->n_places; k < args->n; k++) {
        if (strcmp(args->name[k], name) == 0) {
            return &args->v[k];
        }
    }
    return NULL;
}

/* Every argument must be known: the first ones by place or name. */
static dtx_status check(const arguments *args, const char *what, const char *const *names)
{
    int known = 0;

    while (names[known] != NULL) {
        known++;
    }
    if (args->n_places > known) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s takes %d arguments, not %d", what, known, args->n_places);
    }
    for (int k = args->n_places; k < args->n; k++) {
        int i = args->n_places;
        while (i < known && strcmp(names[i], args->name[k]) != 0) {
            i++;
        }
        if (i == known) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s has no argument \"%.40s\" here", what, args->name[k]);
        }
    }
    return DTX_OK;
}

static dtx_status want_text(const value *v, const char *what, const text **out)
{
    if (v == NULL || v->kind != STRING) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s must be a string, not %s", what, v == NULL ? "nothing" : dtx_jinja_kind_name(*v));
    }
    *out = v->text;
    return DTX_OK;
}

/* --- places in texts and lists --- */

size_t dtx_jinja_offset(const text *x, int64_t i)
{
    size_t at = 0;

    while (i > 0 && at < x->n) {
        at++;
        while (at < x->n && ((unsigned char)x->s[at] & 0xC0) == 0x80) {
            at++;
        }
        i--;
    }
    return at;
}

dtx_status dtx_jinja_attribute(value v, const char *name, value *out)
{
    *out = (value){.kind = UNDEFINED, .name = name};
    if (v.kind == UNDEFINED) {
        return undefined(v);
    }
    if (v.kind == DICT || v.kind == SPACE) {
        const value *found = dtx_jinja_dict_get(v.dict, name, strlen(name));
        *out = found != NULL ? *found : *out;
    } else if (v.kind == LOOP) {
        const dtx_jinja_loop *l = v.loop;
        int64_t number = strcmp(name, "index") == 0       ? l->index0 + 1
                         : strcmp(name, "index0") == 0    ? l->index0
                         : strcmp(name, "length") == 0    ? l->length
                         : strcmp(name, "revindex") == 0  ? l->length - l->index0
                         : strcmp(name, "revindex0") == 0 ? l->length - l->index0 - 1
                                                          : -1;
        if (strcmp(name, "first") == 0 || strcmp(name, "last") == 0) {
            *out = (value){.kind = BOOL, .b = name[0] == 'f' ? l->index0 == 0 : l->index0 + 1 == l->length};
        } else if (number >= 0) {
            *out = (value){.kind = INT, .i = number};
        }
    }
    return DTX_OK;
}

dtx_status dtx_jinja_item(dtx_jinja_arena *a, value v, value key, value *out)
{
    *out = (value){.kind = UNDEFINED, .name = key.kind == STRING ? key.text->s : "an item"};
    if (v.kind == UNDEFINED) {
        return undefined(v);
    }
    if (v.kind == LIST && v.list->lazy) {
        return DTX_FAIL(DTX_ERR_INPUT, "a generator has no places; make it a list first");
    }
    if ((v.kind == DICT || v.kind == SPACE) && key.kind == STRING) {
        const value *found = dtx_jinja_dict_get(v.dict, key.text->s, key.text->n);
        *out = found != NULL ? *found : *out;
    } else if (v.kind == LOOP && key.kind == STRING) {
        return dtx_jinja_attribute(v, key.text->s, out);
    } else if ((v.kind == LIST || v.kind == STRING) && (key.kind == INT || key.kind == BOOL)) {
        int64_t n = v.kind == LIST ? (int64_t)v.list->n : dtx_jinja_text_length(v.text), i = key.kind == INT ? key.i : key.b;
        i += i < 0 ? n : 0;
        if (i >= 0 && i < n && v.kind == LIST) {
            *out = v.list->v[i];
        } else if (i >= 0 && i < n) {
            size_t begin = dtx_jinja_offset(v.text, i);
            uint32_t cp;
            return dtx_jinja_text_sub(a, v.text, begin, begin + dtx_utf8_next(v.text->s + begin, v.text->n - begin, &cp, NULL), out);
        }
    }
    return DTX_OK;
}

dtx_status dtx_jinja_items_of(dtx_jinja_arena *a, value v, value *out)
{
    value item;

    if (v.kind == LIST) {
        *out = v;
        return DTX_OK;
    }
    DTX_TRY(dtx_jinja_list_new(a, out));
    if (v.kind == STRING) {
        for (size_t i = 0, len; i < v.text->n; i += len) {
            uint32_t cp;
            len = dtx_utf8_next(v.text->s + i, v.text->n - i, &cp, NULL);
            DTX_TRY(dtx_jinja_text_sub(a, v.text, i, i + len, &item));
            DTX_TRY(dtx_jinja_list_add(a, out->list, item));
        }
        return DTX_OK;
    }
    if (v.kind == DICT) {
        for (size_t i = 0; i < v.dict->n; i++) {
            DTX_TRY(dtx_jinja_list_add(a, out->list, (value){.kind = STRING, .text = v.dict->key[i]}));
        }
        return DTX_OK;
    }
    return v.kind == UNDEFINED ? DTX_OK : DTX_FAIL(DTX_ERR_INPUT, "a value of kind %s has no items to go through", dtx_jinja_kind_name(v));
}

/* --- strings --- */

static bool is_one_of(const text *set, const char *s, size_t len)
{
    for (size_t i = 0; i < set->n;) {
        uint32_t cp;
        size_t k = dtx_utf8_next(set->s + i, set->n - i, &cp, NULL);
        if (k == len && memcmp(set->s + i, s, len) == 0) {
            return true;
        }
        i += k;
    }
    return false;
}

/* Python's strip: characters of `set` (NULL: white space) at the ends. */
static dtx_status strip(dtx_jinja_arena *a, const text *x, const text *set, bool left, bool right, value *out)
{
    size_t begin = x->n, end = 0;

    for (size_t i = 0, len; i < x->n; i += len) {
        uint32_t cp;
        len = dtx_utf8_next(x->s + i, x->n - i, &cp, NULL);
        if (set != NULL ? !is_one_of(set, x->s + i, len) : !dtx_jinja_is_space(cp)) {
            begin = i < begin ? i : begin;
            end = i + len;
        }
    }
    begin = left ? begin : 0;
    end = right ? end : x->n;
    return dtx_jinja_text_sub(a, x, begin < end ? begin : left ? x->n : 0, begin < end ? end : left ? x->n : 0, out);
}

static dtx_status add_part(dtx_jinja_arena *a, const text *x, size_t begin, size_t end, value list)
{
    value part;

    DTX_TRY(dtx_jinja_text_sub(a, x, begin, end, &part));
    return dtx_jinja_list_add(a, list.list, part);
}

/* Python's split at white space: no empty parts. */
static dtx_status split_words(dtx_jinja_arena *a, const text *x, int64_t most, value *out)
{
    size_t begin = 0;
    bool inside = false;

    DTX_TRY(dtx_jinja_list_new(a, out));
    for (size_t i = 0, len; i < x->n; i += len) {
        uint32_t cp;
        len = dtx_utf8_next(x->s + i, x->n - i, &cp, NULL);
        bool space = dtx_jinja_is_space(cp);
        if (!space && !inside) {
            if (most >= 0 && (int64_t)out->list->n == most) { /* the rest is one part, without the blanks at its end */
                value rest;
                DTX_TRY(dtx_jinja_text_sub(a, x, i, x->n, &rest));
                DTX_TRY(strip(a, rest.text, NULL, false, true, &rest));
                return dtx_jinja_list_add(a, out->list, rest);
            }
            begin = i;
        }
        if (space && inside) {
            DTX_TRY(add_part(a, x, begin, i, *out));
        }
        inside = !space;
    }
    return inside ? add_part(a, x, begin, x->n, *out) : DTX_OK;
}

static dtx_status split(dtx_jinja_arena *a, const text *x, const arguments *args, value *out)
{
    static const char *const names[] = {"sep", "maxsplit", NULL};
    const value *sep = argument(args, 0, "sep"), *max = argument(args, 1, "maxsplit");
    const text *by = NULL;
    int64_t most = -1;
    size_t from = 0;
    const char *hit;

    DTX_TRY(check(args, "split", names));
    if (max != NULL) {
        if (max->kind != INT) {
            return DTX_FAIL(DTX_ERR_INPUT, "split: maxsplit must be a number");
        }
        most = max->i;
    }
    if (sep == NULL || sep->kind == NONE) {
        return split_words(a, x, most, out);
    }
    DTX_TRY(want_text(sep, "the separator of split", &by));
    if (by->n == 0) {
        return DTX_FAIL(DTX_ERR_INPUT, "the separator of split is empty");
    }
    DTX_TRY(dtx_jinja_list_new(a, out));
    while ((most < 0 || (int64_t)out->list->n < most) && (hit = memmem(x->s + from, x->n - from, by->s, by->n)) != NULL) {
        DTX_TRY(add_part(a, x, from, (size_t)(hit - x->s), *out));
        from = (size_t)(hit - x->s) + by->n;
    }
    return add_part(a, x, from, x->n, *out);
}

static dtx_status replace(dtx_jinja_arena *a, const text *x, const arguments *args, value *out)
{
    static const char *const names[] = {"old", "new", "count", NULL};
    const text *from = NULL, *to = NULL;
    const value *count = argument(args, 2, "count");
    int64_t most = -1;
    dtx_jinja_builder b = {.arena = a};
    size_t at = 0;
    const char *hit;

    DTX_TRY(check(args, "replace", names));
    DTX_TRY(want_text(argument(args, 0, "old"), "what replace looks for", &from));
    DTX_TRY(want_text(argument(args, 1, "new"), "what replace puts in", &to));
    if (count != NULL && count->kind != NONE) {
        if (count->kind != INT) {
            return DTX_FAIL(DTX_ERR_INPUT, "replace: count must be a number");
        }
        most = count->i;
    }
    if (from->n == 0) {
        return DTX_FAIL(DTX_ERR_INPUT, "replace of an empty string is not supported");
    }
    for (; most != 0 && (hit = memmem(x->s + at, x->n - at, from->s, from->n)) != NULL; most -= most > 0) {
        value part;
        DTX_TRY(dtx_jinja_text_sub(a, x, at, (size_t)(hit - x->s), &part));
        DTX_TRY(dtx_jinja_put_text(&b, part.text));
        DTX_TRY(dtx_jinja_put_text(&b, to));
        at = (size_t)(hit - x->s) + from->n;
    }
    value rest;
    DTX_TRY(dtx_jinja_text_sub(a, x, at, x->n, &rest));
    DTX_TRY(dtx_jinja_put_text(&b, rest.text));
    return dtx_jinja_built(&b, out);
}

/* upper, lower, title: each run keeps its source, as the characters keep their order. */
static dtx_status change_case(dtx_jinja_arena *a, const text *x, dtx_jinja_filter how, value *out)
{
    dtx_jinja_builder b = {.arena = a};
    bool begins = true; /* of a word, for title */
    value part;

    for (size_t i = 0, len; i < x->n; i += len) {
        uint32_t cp;
        char s[8];
        len = dtx_utf8_next(x->s + i, x->n - i, &cp, NULL);
        bool upper = how == FILTER_UPPER || (how == FILTER_TITLE && begins);
        begins = dtx_jinja_is_space(cp) || strchr("-({[<", cp < 0x80 && cp > 0 ? (int)cp : 'a') != NULL;
        size_t n = upper && cp == 0xDF ? 2
                                       : dtx_utf8_put((uint32_t)(upper ? utf8proc_toupper((utf8proc_int32_t)cp)
                                                                       : utf8proc_tolower((utf8proc_int32_t)cp)),
                                                      s);
        if (upper && cp == 0xDF) {
            memcpy(s, "SS", 2);
        }
        DTX_TRY(dtx_jinja_text_sub(a, x, i, i + len, &part)); /* for its run */
        DTX_TRY(dtx_jinja_text_new(a, s, n, part.text->n_runs > 0 ? part.text->run[0].source : -1, &part));
        DTX_TRY(dtx_jinja_put_text(&b, part.text));
    }
    return x->n == 0 ? dtx_jinja_text_sub(a, x, 0, 0, out) : dtx_jinja_built(&b, out);
}

static dtx_status ends_with(const text *x, const arguments *args, bool at_end, value *out)
{
    static const char *const names[] = {"prefix", NULL};
    const text *with = NULL;

    DTX_TRY(check(args, at_end ? "endswith" : "startswith", names));
    DTX_TRY(want_text(argument(args, 0, "prefix"), at_end ? "the argument of endswith" : "the argument of startswith", &with));
    *out = (value){.kind = BOOL, .b = x->n >= with->n && memcmp(x->s + (at_end ? x->n - with->n : 0), with->s, with->n) == 0};
    return DTX_OK;
}

/* --- mappings --- */

static dtx_status items(dtx_jinja_arena *a, value v, value *out)
{
    DTX_TRY(dtx_jinja_list_new(a, out));
    if (v.kind != DICT) {
        return v.kind == UNDEFINED ? DTX_OK : DTX_FAIL(DTX_ERR_INPUT, "items of a value of kind %s", dtx_jinja_kind_name(v));
    }
    for (size_t i = 0; i < v.dict->n; i++) {
        value pair;
        DTX_TRY(dtx_jinja_list_new(a, &pair));
        pair.list->tuple = true;
        DTX_TRY(dtx_jinja_list_add(a, pair.list, (value){.kind = STRING, .text = v.dict->key[i]}));
        DTX_TRY(dtx_jinja_list_add(a, pair.list, v.dict->v[i]));
        DTX_TRY(dtx_jinja_list_add(a, out->list, pair));
    }
    return DTX_OK;
}

dtx_status dtx_jinja_call_method(dtx_jinja_arena *a, dtx_jinja_method method, const char *name, value v, const arguments *args, value *out)
{
    static const char *const chars[] = {"chars", NULL}, *const none[] = {NULL}, *const get[] = {"key", "default", NULL};
    bool of_dict = method == METHOD_ITEMS || method == METHOD_GET;
    const value *set = argument(args, 0, "chars");
    const text *x = v.text, *given = NULL;

    if (v.kind == UNDEFINED) {
        return undefined(v);
    }
    if (v.kind != (of_dict ? DICT : STRING)) {
        return DTX_FAIL(DTX_ERR_INPUT, "a value of kind %s has no method %s", dtx_jinja_kind_name(v), name);
    }
    switch (method) {
    case METHOD_STRIP:
    case METHOD_LSTRIP:
    case METHOD_RSTRIP:
        DTX_TRY(check(args, name, chars));
        DTX_TRY(set != NULL && set->kind != NONE ? want_text(set, "the argument of strip", &given) : DTX_OK);
        return strip(a, x, given, method != METHOD_RSTRIP, method != METHOD_LSTRIP, out);
    case METHOD_SPLIT: return split(a, x, args, out);
    case METHOD_STARTSWITH:
    case METHOD_ENDSWITH: return ends_with(x, args, method == METHOD_ENDSWITH, out);
    case METHOD_REPLACE: return replace(a, x, args, out);
    case METHOD_ITEMS: DTX_TRY(check(args, name, none)); return items(a, v, out);
    case METHOD_GET: break;
    }
    const value *key = argument(args, 0, "key"), *fallback = argument(args, 1, "default");
    DTX_TRY(check(args, name, get));
    DTX_TRY(want_text(key, "the key of get", &given));
    const value *found = dtx_jinja_dict_get(v.dict, given->s, given->n);
    *out = found != NULL ? *found : fallback != NULL ? *fallback : (value){.kind = NONE};
    return DTX_OK;
}

/* --- tests --- */

bool dtx_jinja_call_test(dtx_jinja_test test, value v, value other)
{
    switch (test) {
    case TEST_DEFINED: return v.kind != UNDEFINED;
    case TEST_NONE: return v.kind == NONE;
    case TEST_STRING: return v.kind == STRING;
    case TEST_MAPPING: return v.kind == DICT;
    case TEST_ITERABLE: return v.kind == STRING || v.kind == LIST || v.kind == DICT || v.kind == UNDEFINED;
    case TEST_FALSE: return v.kind == BOOL && !v.b;
    case TEST_EQUAL: break;
    }
    return dtx_jinja_equal(v, other);
}

/* --- filters --- */

/* "a.b" of a value. */
static dtx_status attribute_path(dtx_jinja_arena *a, value v, const text *path, value *out)
{
    *out = v;
    for (size_t from = 0; from <= path->n;) {
        const char *dot = memchr(path->s + from, '.', path->n - from);
        size_t end = dot ? (size_t)(dot - path->s) : path->n;
        value key;
        DTX_TRY(dtx_jinja_text_new(a, path->s + from, end - from, -1, &key));
        DTX_TRY(dtx_jinja_item(a, *out, key, out));
        from = end + 1;
    }
    return DTX_OK;
}

/* map(attribute=..), select(test, ..), reject, selectattr(name, test, ..), rejectattr */
static dtx_status choose(dtx_jinja_arena *a, dtx_jinja_filter filter, value list, const arguments *args, value *out)
{
    bool by_attribute = filter == FILTER_SELECTATTR || filter == FILTER_REJECTATTR || filter == FILTER_MAP;
    bool reject = filter == FILTER_REJECT || filter == FILTER_REJECTATTR;
    const value *name = argument(args, by_attribute ? 1 : 0, "test"), *other = argument(args, by_attribute ? 2 : 1, "other");
    const text *path = NULL, *test_name = NULL;
    int test = -1;

    if (by_attribute) {
        DTX_TRY(want_text(argument(args, 0, "attribute"), "the attribute", &path));
    }
    if (name != NULL) {
        DTX_TRY(want_text(name, "the test", &test_name));
        test = dtx_jinja_test_of(test_name->s);
        if (test < 0) {
            return DTX_FAIL(DTX_ERR_INPUT, "the test \"%.60s\" is not supported in templates", test_name->s);
        }
    }
    DTX_TRY(dtx_jinja_list_new(a, out));
    out->list->lazy = true;
    for (size_t i = 0; i < list.list->n; i++) {
        value v = list.list->v[i];
        if (by_attribute) {
            DTX_TRY(attribute_path(a, v, path, &v));
        }
        bool is = test < 0 ? dtx_jinja_true(v) : dtx_jinja_call_test((dtx_jinja_test)test, v, other != NULL ? *other : (value){.kind = UNDEFINED});
        if (filter == FILTER_MAP || is != reject) {
            DTX_TRY(dtx_jinja_list_add(a, out->list, filter == FILTER_MAP ? v : list.list->v[i]));
        }
    }
    return DTX_OK;
}

static dtx_status join(dtx_jinja_arena *a, value list, const arguments *args, value *out)
{
    static const char *const names[] = {"d", NULL};
    const value *d = argument(args, 0, "d");
    const text *between = NULL;
    dtx_jinja_builder b = {.arena = a};

    DTX_TRY(check(args, "join", names));
    DTX_TRY(d != NULL ? want_text(d, "what join puts between", &between) : DTX_OK);
    for (size_t i = 0; i < list.list->n; i++) {
        value v;
        DTX_TRY(i > 0 && between != NULL ? dtx_jinja_put_text(&b, between) : DTX_OK);
        DTX_TRY(dtx_jinja_print(a, list.list->v[i], &v));
        DTX_TRY(dtx_jinja_put_text(&b, v.text));
    }
    return dtx_jinja_built(&b, out);
}

static dtx_status length(value v, value *out)
{
    if ((v.kind == LIST && v.list->lazy) || v.kind == NONE || v.kind == BOOL || v.kind == INT || v.kind == FLOAT || v.kind > DICT) {
        return DTX_FAIL(DTX_ERR_INPUT, "a value of kind %s has no length", dtx_jinja_kind_name(v));
    }
    *out = (value){.kind = INT,
                   .i = v.kind == STRING ? dtx_jinja_text_length(v.text)
                        : v.kind == LIST ? (int64_t)v.list->n
                        : v.kind == DICT ? (int64_t)v.dict->n
                                         : 0};
    return DTX_OK;
}

static dtx_status to_json(dtx_jinja_arena *a, value v, const arguments *args, value *out)
{
    static const char *const names[] = {"indent", NULL};
    const value *indent = argument(args, 0, "indent");

    DTX_TRY(check(args, "tojson", names));
    if (indent != NULL && indent->kind != NONE && (indent->kind != INT || indent->i < 0 || indent->i > 16)) {
        return DTX_FAIL(DTX_ERR_INPUT, "tojson: indent must be a number from 0 to 16");
    }
    return dtx_jinja_json(a, v, indent != NULL && indent->kind == INT ? indent->i : -1, out);
}

dtx_status dtx_jinja_call_filter(dtx_jinja_arena *a, dtx_jinja_filter filter, value v, const arguments *args, value *out)
{
    static const char *const none[] = {NULL}, *const chars[] = {"chars", NULL};
    const value *set = argument(args, 0, "chars");
    const text *given = NULL;
    value list;

    switch (filter) {
    case FILTER_LENGTH: DTX_TRY(check(args, "length", none)); return length(v, out);
    case FILTER_TOJSON: return to_json(a, v, args, out);
    case FILTER_ITEMS: DTX_TRY(check(args, "items", none)); return items(a, v, out);
    case FILTER_STRING: DTX_TRY(check(args, "string", none)); return dtx_jinja_print(a, v, out);
    case FILTER_TRIM:
        DTX_TRY(check(args, "trim", chars));
        DTX_TRY(set != NULL && set->kind != NONE ? want_text(set, "the argument of trim", &given) : DTX_OK);
        DTX_TRY(dtx_jinja_print(a, v, &v));
        return strip(a, v.text, given, true, true, out);
    case FILTER_REPLACE: DTX_TRY(dtx_jinja_print(a, v, &v)); return replace(a, v.text, args, out);
    case FILTER_UPPER:
    case FILTER_LOWER:
    case FILTER_TITLE:
        DTX_TRY(check(args, "a filter of case", none));
        DTX_TRY(dtx_jinja_print(a, v, &v));
        return change_case(a, v.text, filter, out);
    default: break;
    }
    DTX_TRY(dtx_jinja_items_of(a, v, &list)); /* the others go through it */
    if (filter == FILTER_JOIN) {
        return join(a, list, args, out);
    }
    if (filter != FILTER_LIST) {
        return choose(a, filter, list, args, out);
    }
    DTX_TRY(check(args, "list", none));
    DTX_TRY(dtx_jinja_list_new(a, out));
    for (size_t i = 0; i < list.list->n; i++) {
        DTX_TRY(dtx_jinja_list_add(a, out->list, list.list->v[i]));
    }
    return DTX_OK;
}
