#include "src/text/jinja/value.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "src/base/mem.h"
#include "src/base/utf8.h"

/* --- memory --- */

struct dtx_jinja_block {
    dtx_jinja_block *next;
    size_t used, size;
    _Alignas(16) char data[];
};

enum { BLOCK = 1 << 14 };

void dtx_jinja_arena_free(dtx_jinja_arena *a)
{
    while (a->block != NULL) {
        dtx_jinja_block *next = a->block->next;
        dtx_free(a->block);
        a->block = next;
    }
    a->used = 0;
}

dtx_status dtx_jinja_take(dtx_jinja_arena *a, size_t n, void **out)
{
    size_t room = n > a->limit ? a->limit + 1 : (n + 15) / 16 * 16 + (n == 0 ? 16 : 0);

    if (room > a->limit - a->used) {
        return DTX_FAIL(DTX_ERR_INPUT, "the template takes more than %zu MB", a->limit >> 20);
    }
    if (a->block == NULL || room > a->block->size - a->block->used) {
        size_t size = room > BLOCK ? room : BLOCK;
        dtx_jinja_block *b = dtx_calloc(sizeof *b + size, 1);
        DTX_TRY(dtx_mem_check(b, sizeof *b + size, 1, "template"));
        b->next = a->block;
        b->size = size;
        a->block = b;
    }
    *out = a->block->data + a->block->used;
    a->block->used += room;
    a->used += room;
    return DTX_OK;
}

/* Room for `need` things in an array of the arena. */
static dtx_status grow(dtx_jinja_arena *a, void **ptr, size_t *cap, size_t need, size_t size)
{
    size_t more = *cap * 2 < 16 ? 16 : *cap * 2;
    void *bigger = NULL;

    if (need <= *cap) {
        return DTX_OK;
    }
    more = more < need ? need : more;
    if (more > a->limit / size) {
        return DTX_FAIL(DTX_ERR_INPUT, "the template takes more than %zu MB", a->limit >> 20);
    }
    DTX_TRY(dtx_jinja_take(a, more * size, &bigger));
    if (*cap > 0) {
        memcpy(bigger, *ptr, *cap * size);
    }
    *ptr = bigger;
    *cap = more;
    return DTX_OK;
}
#define GROW(a, ptr, cap, need) grow((a), (void **)&(ptr), &(cap), (need), sizeof *(ptr))

/* --- texts --- */

static dtx_status new_text(dtx_jinja_arena *a, dtx_jinja_text t, dtx_jinja_value *out)
{
    dtx_jinja_text *x = NULL;

    DTX_TRY(DTX_JINJA_NEW(a, x, 1));
    *x = t;
    *out = (dtx_jinja_value){.kind = STRING, .text = x};
    return DTX_OK;
}

dtx_status dtx_jinja_text_new(dtx_jinja_arena *a, const char *s, size_t n, int32_t source, dtx_jinja_value *out)
{
    dtx_jinja_text t = {.n = n};
    char *own = NULL;

    DTX_TRY(DTX_JINJA_NEW(a, own, n + 1));
    if (n > 0) {
        memcpy(own, s, n);
    }
    t.s = own;
    if (source != -1) {
        dtx_jinja_run *run = NULL;
        DTX_TRY(DTX_JINJA_NEW(a, run, 1));
        *run = (dtx_jinja_run){.begin = 0, .end = n, .source = source};
        t.run = run;
        t.n_runs = 1;
    }
    return new_text(a, t, out);
}

dtx_status dtx_jinja_put(dtx_jinja_builder *b, const char *s, size_t n)
{
    DTX_TRY(GROW(b->arena, b->s, b->cap, b->n + n + 1));
    if (n > 0) {
        memcpy(b->s + b->n, s, n);
        b->n += n;
    }
    return DTX_OK;
}

static dtx_status put_run(dtx_jinja_builder *b, size_t begin, size_t end, int32_t source)
{
    dtx_jinja_run *last = b->n_runs > 0 ? &b->run[b->n_runs - 1] : NULL;

    if (last != NULL && last->source == source && last->end == begin) {
        last->end = end;
        return DTX_OK;
    }
    DTX_TRY(GROW(b->arena, b->run, b->cap_runs, b->n_runs + 1));
    b->run[b->n_runs++] = (dtx_jinja_run){.begin = begin, .end = end, .source = source};
    return DTX_OK;
}

/* Bytes begin .. end of x. A run that they only touch is left out, unless they are nothing themselves. */
static dtx_status put_part(dtx_jinja_builder *b, const dtx_jinja_text *x, size_t begin, size_t end)
{
    size_t at = b->n;

    DTX_TRY(dtx_jinja_put(b, x->s + begin, end - begin));
    for (size_t i = 0; i < x->n_runs; i++) {
        size_t from = x->run[i].begin > begin ? x->run[i].begin : begin, to = x->run[i].end < end ? x->run[i].end : end;
        if (from < to || (from == to && (begin == end || x->run[i].begin == x->run[i].end))) {
            DTX_TRY(put_run(b, at + from - begin, at + to - begin, x->run[i].source));
        }
    }
    return DTX_OK;
}

dtx_status dtx_jinja_put_text(dtx_jinja_builder *b, const dtx_jinja_text *x)
{
    return put_part(b, x, 0, x->n);
}

dtx_status dtx_jinja_built(dtx_jinja_builder *b, dtx_jinja_value *out)
{
    DTX_TRY(dtx_jinja_put(b, "", 0));
    b->s[b->n] = '\0';
    return new_text(b->arena, (dtx_jinja_text){.s = b->s, .n = b->n, .run = b->run, .n_runs = b->n_runs}, out);
}

dtx_status dtx_jinja_text_cat(dtx_jinja_arena *a, const dtx_jinja_text *x, const dtx_jinja_text *y, dtx_jinja_value *out)
{
    dtx_jinja_builder b = {.arena = a};

    DTX_TRY(dtx_jinja_put_text(&b, x));
    DTX_TRY(dtx_jinja_put_text(&b, y));
    return dtx_jinja_built(&b, out);
}

dtx_status dtx_jinja_text_sub(dtx_jinja_arena *a, const dtx_jinja_text *x, size_t begin, size_t end, dtx_jinja_value *out)
{
    dtx_jinja_builder b = {.arena = a};

    DTX_TRY(put_part(&b, x, begin, end));
    return dtx_jinja_built(&b, out);
}

bool dtx_jinja_is_space(uint32_t cp)
{
    return (cp >= 0x09 && cp <= 0x0D) || (cp >= 0x1C && cp <= 0x20) || cp == 0x85 || cp == 0xA0 || cp == 0x1680 ||
           (cp >= 0x2000 && cp <= 0x200A) || cp == 0x2028 || cp == 0x2029 || cp == 0x202F || cp == 0x205F || cp == 0x3000;
}

int64_t dtx_jinja_text_length(const dtx_jinja_text *x)
{
    int64_t n = 0;

    for (size_t i = 0; i < x->n; i++) {
        n += ((unsigned char)x->s[i] & 0xC0) != 0x80;
    }
    return n;
}

/* --- lists and mappings --- */

static int depth_of(dtx_jinja_value v)
{
    return v.kind == LIST ? v.list->depth : v.kind == DICT ? v.dict->depth : 0;
}

int64_t dtx_jinja_weight(dtx_jinja_value v)
{
    return v.kind == LIST ? 1 + v.list->weight : v.kind == DICT ? 1 + v.dict->weight : v.kind == STRING ? 1 + (int64_t)(v.text->n / 64) : 1;
}

/* A container takes up a value. */
static dtx_status deepen(int *depth, int64_t *weight, dtx_jinja_value v)
{
    int d = depth_of(v) + 1;

    *depth = d > *depth ? d : *depth;
    *weight += dtx_jinja_weight(v);
    if (*weight > DTX_JINJA_WEIGHT) {
        return DTX_FAIL(DTX_ERR_INPUT, "a list or mapping has more than %d parts", DTX_JINJA_WEIGHT);
    }
    return *depth <= DTX_JINJA_DEPTH ? DTX_OK
                                     : DTX_FAIL(DTX_ERR_INPUT, "lists and mappings stand more than %d deep in each other", DTX_JINJA_DEPTH);
}

dtx_status dtx_jinja_list_new(dtx_jinja_arena *a, dtx_jinja_value *out)
{
    dtx_jinja_list *l = NULL;

    DTX_TRY(DTX_JINJA_NEW(a, l, 1));
    *out = (dtx_jinja_value){.kind = LIST, .list = l};
    return DTX_OK;
}

dtx_status dtx_jinja_list_add(dtx_jinja_arena *a, dtx_jinja_list *l, dtx_jinja_value v)
{
    DTX_TRY(deepen(&l->depth, &l->weight, v));
    DTX_TRY(GROW(a, l->v, l->cap, l->n + 1));
    l->v[l->n++] = v;
    return DTX_OK;
}

dtx_status dtx_jinja_dict_new(dtx_jinja_arena *a, dtx_jinja_kind kind, dtx_jinja_value *out)
{
    dtx_jinja_dict *d = NULL;

    DTX_TRY(DTX_JINJA_NEW(a, d, 1));
    d->space = kind == SPACE;
    *out = (dtx_jinja_value){.kind = kind, .dict = d};
    return DTX_OK;
}

static dtx_jinja_value *find(const dtx_jinja_dict *d, const char *key, size_t n)
{
    for (size_t i = 0; i < d->n; i++) {
        if (d->key[i]->n == n && memcmp(d->key[i]->s, key, n) == 0) {
            return &d->v[i];
        }
    }
    return NULL;
}

const dtx_jinja_value *dtx_jinja_dict_get(const dtx_jinja_dict *d, const char *key, size_t n)
{
    return find(d, key, n);
}

dtx_status dtx_jinja_dict_set(dtx_jinja_arena *a, dtx_jinja_dict *d, const dtx_jinja_text *key, dtx_jinja_value v)
{
    dtx_jinja_value *old = find(d, key->s, key->n);
    size_t cap = d->cap;

    DTX_TRY(d->space ? DTX_OK : deepen(&d->depth, &d->weight, v));
    if (old != NULL) {
        *old = v;
        return DTX_OK;
    }
    DTX_TRY(GROW(a, d->key, d->cap, d->n + 1));
    DTX_TRY(GROW(a, d->v, cap, d->n + 1));
    d->key[d->n] = key;
    d->v[d->n++] = v;
    return DTX_OK;
}

/* --- any value --- */

const char *dtx_jinja_kind_name(dtx_jinja_value v)
{
    static const char *const name[] = {"Undefined", "NoneType", "bool",      "int",  "float",   "str",
                                       "list",      "dict",     "Namespace", "loop", "function"};

    return v.kind == LIST && v.list->tuple ? "tuple" : v.kind == LIST && v.list->lazy ? "generator" : name[v.kind];
}

bool dtx_jinja_true(dtx_jinja_value v)
{
    switch (v.kind) {
    case UNDEFINED:
    case NONE: return false;
    case BOOL: return v.b;
    case INT: return v.i != 0;
    case FLOAT: return v.f != 0;
    case STRING: return v.text->n > 0;
    case LIST: return v.list->n > 0 || v.list->lazy;
    case DICT: return v.dict->n > 0;
    case SPACE:
    case LOOP:
    case FUNCTION: break;
    }
    return true;
}

static bool is_number(dtx_jinja_value v)
{
    return v.kind == INT || v.kind == FLOAT || v.kind == BOOL;
}

static double as_double(dtx_jinja_value v)
{
    return v.kind == FLOAT ? v.f : v.kind == INT ? (double)v.i : v.b;
}

static bool equal_dicts(const dtx_jinja_dict *x, const dtx_jinja_dict *y)
{
    if (x->n != y->n) {
        return false;
    }
    for (size_t i = 0; i < x->n; i++) {
        const dtx_jinja_value *other = find(y, x->key[i]->s, x->key[i]->n);
        if (other == NULL || !dtx_jinja_equal(x->v[i], *other)) {
            return false;
        }
    }
    return true;
}

bool dtx_jinja_equal(dtx_jinja_value x, dtx_jinja_value y)
{
    if (is_number(x) && is_number(y)) {
        return x.kind == FLOAT || y.kind == FLOAT ? as_double(x) == as_double(y)
                                                  : (x.kind == INT ? x.i : x.b) == (y.kind == INT ? y.i : y.b);
    }
    if (x.kind != y.kind) {
        return false;
    }
    switch (x.kind) {
    case UNDEFINED:
    case NONE: return true;
    case STRING: return x.text->n == y.text->n && memcmp(x.text->s, y.text->s, x.text->n) == 0;
    case LIST:
        if (x.list == y.list) {
            return true;
        }
        if (x.list->n != y.list->n || x.list->tuple != y.list->tuple || x.list->lazy || y.list->lazy) {
            return false;
        }
        for (size_t i = 0; i < x.list->n; i++) {
            if (!dtx_jinja_equal(x.list->v[i], y.list->v[i])) {
                return false;
            }
        }
        return true;
    case DICT: return equal_dicts(x.dict, y.dict);
    case SPACE: return x.dict == y.dict;
    case LOOP: return x.loop == y.loop;
    case FUNCTION: return x.function == y.function;
    default: return false;
    }
}

/* --- printing: Python's str and repr, and JSON --- */

typedef struct {
    dtx_jinja_builder b;
    bool lost; /* a given string was printed inside */
    bool json;
    int64_t indent;
} printer;

static dtx_status put_str(printer *p, const char *s)
{
    return dtx_jinja_put(&p->b, s, strlen(s));
}

/* The shortest form that reads back as the same number, with Python's ".0" and exponents from 1e16 and below 1e-4. */
static dtx_status put_float(printer *p, double f)
{
    char s[40], digits[64];
    int exponent, precision = 0;

    if (!isfinite(f)) {
        return put_str(p, isnan(f) ? (p->json ? "NaN" : "nan") : f > 0 ? (p->json ? "Infinity" : "inf") : p->json ? "-Infinity" : "-inf");
    }
    do {
        snprintf(s, sizeof s, "%.*e", precision, f);
    } while (strtod(s, NULL) != f && precision++ < 17);
    exponent = atoi(strchr(s, 'e') + 1);
    if (exponent >= 16 || exponent < -4) {
        char *e = strchr(s, 'e');
        *e = '\0';
        snprintf(digits, sizeof digits, "%se%c%02d", s, exponent < 0 ? '-' : '+', abs(exponent));
        return put_str(p, digits);
    }
    snprintf(digits, sizeof digits, "%.*f", precision > exponent ? precision - exponent : 0, f);
    return put_str(p, strchr(digits, '.') != NULL ? digits : strcat(digits, ".0"));
}

/* Has Python no printed form for it, so that repr writes an escape? */
static bool is_unprintable(uint32_t cp)
{
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);

    return cp != ' ' && (c == UTF8PROC_CATEGORY_CC || c == UTF8PROC_CATEGORY_CF || c == UTF8PROC_CATEGORY_CS || c == UTF8PROC_CATEGORY_CO ||
                         c == UTF8PROC_CATEGORY_CN || c == UTF8PROC_CATEGORY_ZL || c == UTF8PROC_CATEGORY_ZP || c == UTF8PROC_CATEGORY_ZS);
}

static dtx_status put_quoted(printer *p, const dtx_jinja_text *x)
{
    bool single = !p->json && (memchr(x->s, '\'', x->n) == NULL || memchr(x->s, '"', x->n) != NULL);
    char quote = single ? '\'' : '"', s[16];

    p->lost = p->lost || x->n_runs > 0;
    DTX_TRY(dtx_jinja_put(&p->b, &quote, 1));
    for (size_t i = 0, len; i < x->n; i += len) {
        uint32_t cp;
        len = dtx_utf8_next(x->s + i, x->n - i, &cp, NULL);
        if (cp == (unsigned char)quote || cp == '\\') {
            snprintf(s, sizeof s, "\\%c", (int)cp);
        } else if (cp == '\n' || cp == '\r' || cp == '\t') {
            snprintf(s, sizeof s, "\\%c", cp == '\n' ? 'n' : cp == '\r' ? 'r' : 't');
        } else if (p->json && (cp == '\b' || cp == '\f')) {
            snprintf(s, sizeof s, "\\%c", cp == '\b' ? 'b' : 'f');
        } else if (p->json ? cp < 0x20 : is_unprintable(cp)) {
            snprintf(s, sizeof s, p->json ? "\\u%04x" : cp < 0x100 ? "\\x%02x" : cp < 0x10000 ? "\\u%04x" : "\\U%08x", cp);
        } else {
            DTX_TRY(dtx_jinja_put(&p->b, x->s + i, len));
            continue;
        }
        DTX_TRY(put_str(p, s));
    }
    return dtx_jinja_put(&p->b, &quote, 1);
}

static dtx_status put_value(printer *p, dtx_jinja_value v, int level);

/* A new line before an item, where there is an indent. */
static dtx_status put_break(printer *p, int level)
{
    if (p->json && p->indent >= 0) {
        DTX_TRY(put_str(p, "\n"));
        for (int64_t i = 0; i < p->indent * level; i++) {
            DTX_TRY(put_str(p, " "));
        }
    }
    return DTX_OK;
}

static dtx_status put_items(printer *p, dtx_jinja_value v, int level)
{
    bool is_list = v.kind == LIST, round = is_list && v.list->tuple && !p->json;
    size_t n = is_list ? v.list->n : v.dict->n;
    const char *between = p->json && p->indent >= 0 ? "," : ", ";

    DTX_TRY(put_str(p, round ? "(" : is_list ? "[" : "{"));
    for (size_t i = 0; i < n; i++) {
        DTX_TRY(put_str(p, i > 0 ? between : ""));
        DTX_TRY(put_break(p, level + 1));
        if (!is_list) {
            DTX_TRY(put_quoted(p, v.dict->key[i]));
            DTX_TRY(put_str(p, ": "));
        }
        DTX_TRY(put_value(p, is_list ? v.list->v[i] : v.dict->v[i], level + 1));
    }
    if (n > 0) {
        DTX_TRY(put_break(p, level));
    }
    return put_str(p, round ? (n == 1 ? ",)" : ")") : is_list ? "]" : "}");
}

static dtx_status put_value(printer *p, dtx_jinja_value v, int level)
{
    char s[32];

    switch (v.kind) {
    case NONE: return put_str(p, p->json ? "null" : "None");
    case BOOL: return put_str(p, v.b ? (p->json ? "true" : "True") : p->json ? "false" : "False");
    case INT: snprintf(s, sizeof s, "%lld", (long long)v.i); return put_str(p, s);
    case FLOAT: return put_float(p, v.f);
    case STRING: return put_quoted(p, v.text);
    case LIST:
        if (!v.list->lazy) {
            return put_items(p, v, level);
        }
        break;
    case DICT: return put_items(p, v, level);
    case UNDEFINED:
        if (!p->json) {
            return put_str(p, level > 0 ? "Undefined" : "");
        }
        break;
    default: break;
    }
    return DTX_FAIL(DTX_ERR_INPUT, "a value of kind %s cannot be %s", dtx_jinja_kind_name(v), p->json ? "written as JSON" : "printed");
}

static dtx_status printed(printer *p, dtx_jinja_value v, dtx_jinja_value *out)
{
    DTX_TRY(put_value(p, v, 0));
    if (p->lost) {
        p->b.n_runs = 0;
        DTX_TRY(put_run(&p->b, 0, p->b.n, DTX_JINJA_SOURCE_LOST));
    }
    return dtx_jinja_built(&p->b, out);
}

dtx_status dtx_jinja_print(dtx_jinja_arena *a, dtx_jinja_value v, dtx_jinja_value *out)
{
    printer p = {.b.arena = a};

    if (v.kind == STRING) {
        *out = v;
        return DTX_OK;
    }
    return printed(&p, v, out);
}

dtx_status dtx_jinja_json(dtx_jinja_arena *a, dtx_jinja_value v, int64_t indent, dtx_jinja_value *out)
{
    printer p = {.b.arena = a, .json = true, .indent = indent};

    return printed(&p, v, out);
}
