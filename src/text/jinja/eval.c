#include <math.h>
#include <string.h>

#include "src/base/json.h"
#include "src/base/mem.h"
#include "src/text/jinja/call.h"
#include "src/text/jinja/jinja.h"

typedef dtx_jinja_node node;
typedef dtx_jinja_value value;

enum {
    STEPS = 20000000, /* a template for 10,000 messages takes about a million */
    DEPTH = 1000      /* of the tree */
};

/* Names of one scope; those of the scopes around it are seen too, and never changed. */
typedef struct scope scope;
struct scope {
    scope *around;
    dtx_jinja_dict *names;
};

typedef struct {
    const dtx_jinja *t;
    dtx_jinja_arena arena;
    dtx_jinja_builder *out;
    scope *scope;
    const struct tm *now;
    int64_t steps;
    int depth;
    bool placed; /* the error says where */
    bool raised;
} runner;

typedef enum { GO_ON, BREAK, CONTINUE } signal;

static dtx_status eval(runner *r, const node *x, value *out);
static dtx_status run_body(runner *r, const node *x, signal *sig);

static dtx_status charge(runner *r, int64_t steps)
{
    r->steps += steps;
    return r->steps <= STEPS ? DTX_OK : DTX_FAIL(DTX_ERR_INPUT, "the template takes more than %d steps", STEPS);
}

/* --- names --- */

static value look_up(const runner *r, const char *name)
{
    size_t n = strlen(name);
    int function = dtx_jinja_function_of(name);

    for (const scope *s = r->scope; s != NULL; s = s->around) {
        const value *v = dtx_jinja_dict_get(s->names, name, n);
        if (v != NULL) {
            return *v;
        }
    }
    if (function >= 0 && (function != FUNCTION_NOW || r->now != NULL)) {
        return (value){.kind = FUNCTION, .function = function};
    }
    return (value){.kind = UNDEFINED, .name = name};
}

static dtx_status enter_scope(runner *r, scope *s)
{
    value names;

    DTX_TRY(dtx_jinja_dict_new(&r->arena, SPACE, &names));
    *s = (scope){.around = r->scope, .names = names.dict};
    r->scope = s;
    return DTX_OK;
}

static dtx_status set_name(runner *r, const char *name, value v)
{
    value key;

    DTX_TRY(dtx_jinja_text_new(&r->arena, name, strlen(name), -1, &key));
    return dtx_jinja_dict_set(&r->arena, r->scope->names, key.text, v);
}

static dtx_status assign(runner *r, const node *target, value v)
{
    value space, key;

    if (target->kind == NODE_NAME) {
        return set_name(r, target->name, v);
    }
    space = look_up(r, target->a->name);
    if (space.kind != SPACE) {
        return DTX_FAIL(DTX_ERR_INPUT, "set %s.%s: %s is no namespace", target->a->name, target->name, target->a->name);
    }
    DTX_TRY(dtx_jinja_text_new(&r->arena, target->name, strlen(target->name), -1, &key));
    return dtx_jinja_dict_set(&r->arena, space.dict, key.text, v);
}

/* One target takes the value, several take its items. */
static dtx_status assign_all(runner *r, const node *target, value v)
{
    value list;
    size_t i = 0;

    if (target->next == NULL) {
        return assign(r, target, v);
    }
    DTX_TRY(dtx_jinja_items_of(&r->arena, v, &list));
    for (; target != NULL; target = target->next, i++) {
        if (i == list.list->n) {
            break;
        }
        DTX_TRY(assign(r, target, list.list->v[i]));
    }
    return target == NULL && i == list.list->n ? DTX_OK : DTX_FAIL(DTX_ERR_INPUT, "%zu values for another number of names", list.list->n);
}

/* --- operators --- */

static bool is_whole(value v)
{
    return v.kind == INT || v.kind == BOOL;
}

static int64_t whole(value v)
{
    return v.kind == INT ? v.i : v.b;
}

static double number(value v)
{
    return v.kind == FLOAT ? v.f : (double)whole(v);
}

static dtx_status wrong_kinds(value x, const char *op, value y)
{
    if (x.kind == UNDEFINED || y.kind == UNDEFINED) {
        const char *name = x.kind == UNDEFINED ? x.name : y.name;
        return DTX_FAIL(DTX_ERR_INPUT, "'%.60s' is undefined", name != NULL ? name : "a value");
    }
    return DTX_FAIL(DTX_ERR_INPUT, "%s between %s and %s is not possible", op, dtx_jinja_kind_name(x), dtx_jinja_kind_name(y));
}

static dtx_status power(int64_t base, int64_t exponent, int64_t *out)
{
    *out = 1;
    if (exponent < 0 || exponent > 64) {
        return DTX_FAIL(DTX_ERR_INPUT, "** takes exponents from 0 to 64");
    }
    for (; exponent > 0; exponent--) {
        if (__builtin_mul_overflow(*out, base, out)) {
            return DTX_FAIL(DTX_ERR_INPUT, "a number is too large");
        }
    }
    return DTX_OK;
}

static dtx_status whole_binary(int op, int64_t x, int64_t y, value *out)
{
    bool over = false;
    int64_t z = 0;

    if ((op == '/' || op == 'f' || op == '%') && y == 0) {
        return DTX_FAIL(DTX_ERR_INPUT, "division by zero");
    }
    switch (op) {
    case '+': over = __builtin_add_overflow(x, y, &z); break;
    case '-': over = __builtin_sub_overflow(x, y, &z); break;
    case '*': over = __builtin_mul_overflow(x, y, &z); break;
    case 'p': DTX_TRY(power(x, y, &z)); break;
    case '/': *out = (value){.kind = FLOAT, .f = (double)x / (double)y}; return DTX_OK;
    default: /* rounds down, and the rest has the divisor's sign */
        over = y == -1 && x == INT64_MIN;
        z = over ? 0 : op == 'f' ? x / y - ((x % y != 0) & ((x < 0) != (y < 0))) : ((x % y) + y) % y;
        break;
    }
    *out = (value){.kind = INT, .i = z};
    return over ? DTX_FAIL(DTX_ERR_INPUT, "a number is too large") : DTX_OK;
}

static dtx_status float_binary(int op, double x, double y, value *out)
{
    double z = op == '+' ? x + y : op == '-' ? x - y : op == '*' ? x * y : 0;

    if (op == '/' || op == 'f' || op == '%') {
        if (y == 0) {
            return DTX_FAIL(DTX_ERR_INPUT, "division by zero");
        }
        z = op == '/' ? x / y : op == 'f' ? floor(x / y) : x - y * floor(x / y);
    } else if (op == 'p') {
        z = pow(x, y);
    }
    *out = (value){.kind = FLOAT, .f = z};
    return DTX_OK;
}

static dtx_status repeat(runner *r, value s, int64_t times, value *out)
{
    dtx_jinja_builder b = {.arena = &r->arena};

    for (int64_t i = 0; i < times; i++) {
        DTX_TRY(charge(r, dtx_jinja_weight(s)));
        DTX_TRY(dtx_jinja_put_text(&b, s.text));
    }
    return dtx_jinja_built(&b, out);
}

static dtx_status append(runner *r, value x, value y, value *out)
{
    DTX_TRY(dtx_jinja_list_new(&r->arena, out));
    out->list->tuple = x.list->tuple;
    for (int side = 0; side < 2; side++) {
        const dtx_jinja_list *l = side == 0 ? x.list : y.list;
        for (size_t i = 0; i < l->n; i++) {
            DTX_TRY(dtx_jinja_list_add(&r->arena, out->list, l->v[i]));
        }
    }
    return DTX_OK;
}

static dtx_status binary(runner *r, int op, value x, value y, value *out)
{
    bool x_number = is_whole(x) || x.kind == FLOAT, y_number = is_whole(y) || y.kind == FLOAT;
    char name[3] = {op == 'f' ? '/' : op == 'p' ? '*' : (char)op, op == 'f' ? '/' : op == 'p' ? '*' : '\0', '\0'};

    if (op == '~') {
        DTX_TRY(dtx_jinja_print(&r->arena, x, &x));
        DTX_TRY(dtx_jinja_print(&r->arena, y, &y));
        return dtx_jinja_text_cat(&r->arena, x.text, y.text, out);
    }
    if (is_whole(x) && is_whole(y)) {
        return whole_binary(op, whole(x), whole(y), out);
    }
    if (x_number && y_number) {
        return float_binary(op, number(x), number(y), out);
    }
    if (op == '+' && x.kind == STRING && y.kind == STRING) {
        return dtx_jinja_text_cat(&r->arena, x.text, y.text, out);
    }
    if (op == '+' && x.kind == LIST && y.kind == LIST && x.list->tuple == y.list->tuple && !x.list->lazy && !y.list->lazy) {
        return append(r, x, y, out);
    }
    if (op == '*' && ((x.kind == STRING && is_whole(y)) || (is_whole(x) && y.kind == STRING))) {
        return repeat(r, x.kind == STRING ? x : y, whole(x.kind == STRING ? y : x), out);
    }
    return wrong_kinds(x, name, y);
}

static dtx_status contains(value x, value in, bool *is)
{
    *is = false;
    switch (in.kind) {
    case STRING:
        if (x.kind != STRING) {
            return wrong_kinds(x, "in", in);
        }
        *is = memmem(in.text->s, in.text->n, x.text->s, x.text->n) != NULL;
        return DTX_OK;
    case DICT: *is = x.kind == STRING && dtx_jinja_dict_get(in.dict, x.text->s, x.text->n) != NULL; return DTX_OK;
    case LIST:
        for (size_t i = 0; i < in.list->n && !*is; i++) {
            *is = dtx_jinja_equal(x, in.list->v[i]);
        }
        return DTX_OK;
    case UNDEFINED: return DTX_OK;
    default: return wrong_kinds(x, "in", in);
    }
}

static dtx_status compare(int op, value x, value y, bool *is)
{
    bool numbers = (is_whole(x) || x.kind == FLOAT) && (is_whole(y) || y.kind == FLOAT);
    int order = 0;

    if (op == 'e' || op == 'n') {
        *is = dtx_jinja_equal(x, y) == (op == 'e');
        return DTX_OK;
    }
    if (op == 'i' || op == 'x') {
        DTX_TRY(contains(x, y, is));
        *is = *is == (op == 'i');
        return DTX_OK;
    }
    if (numbers && is_whole(x) && is_whole(y)) {
        order = whole(x) < whole(y) ? -1 : whole(x) > whole(y);
    } else if (numbers) {
        order = number(x) < number(y) ? -1 : number(x) > number(y);
    } else if (x.kind == STRING && y.kind == STRING) {
        size_t n = x.text->n < y.text->n ? x.text->n : y.text->n;
        order = memcmp(x.text->s, y.text->s, n);
        order = order != 0 ? order : x.text->n < y.text->n ? -1 : x.text->n > y.text->n;
    } else {
        return wrong_kinds(x, "a comparison", y);
    }
    *is = op == '<' ? order < 0 : op == '>' ? order > 0 : op == 'l' ? order <= 0 : order >= 0;
    return DTX_OK;
}

static dtx_status eval_compare(runner *r, const node *x, value *out)
{
    value left, right;
    bool is = true;

    DTX_TRY(eval(r, x->a, &left));
    for (const node *o = x->b; o != NULL && is; o = o->next) {
        DTX_TRY(eval(r, o->a, &right));
        DTX_TRY(charge(r, dtx_jinja_weight(left) + dtx_jinja_weight(right)));
        DTX_TRY(compare(o->op, left, right, &is));
        left = right;
    }
    *out = (value){.kind = BOOL, .b = is};
    return DTX_OK;
}

/* --- slices --- */

/* One of the three numbers of a slice; *given says whether it stands there. */
static dtx_status slice_number(runner *r, const node *x, bool *given, int64_t *i)
{
    value v = {.kind = NONE};

    if (x != NULL) {
        DTX_TRY(eval(r, x, &v));
    }
    *given = v.kind != NONE;
    if (*given && !is_whole(v)) {
        return DTX_FAIL(DTX_ERR_INPUT, "a slice takes numbers, not %s", dtx_jinja_kind_name(v));
    }
    *i = *given ? whole(v) : 0;
    return DTX_OK;
}

/* Python's rule: negative ends count from the end, and all are cut to what there is. */
static int64_t slice_end(bool given, int64_t i, int64_t fallback, int64_t low, int64_t high)
{
    if (!given) {
        return fallback;
    }
    i += i < 0 && i > INT64_MIN / 2 ? high + (low < 0) : 0;
    return i < low ? low : i > high ? high : i;
}

static dtx_status eval_slice(runner *r, const node *x, value *out)
{
    bool given[3];
    int64_t at[3], n, step;
    value v;
    dtx_jinja_builder b = {.arena = &r->arena};

    DTX_TRY(eval(r, x->a, &v));
    DTX_TRY(slice_number(r, x->b, &given[0], &at[0]));
    DTX_TRY(slice_number(r, x->c, &given[1], &at[1]));
    DTX_TRY(slice_number(r, x->d, &given[2], &at[2]));
    if (v.kind == UNDEFINED || (v.kind != STRING && v.kind != LIST) || (v.kind == LIST && v.list->lazy)) {
        return v.kind == UNDEFINED ? wrong_kinds(v, "a slice", v) : DTX_FAIL(DTX_ERR_INPUT, "a slice of a value of kind %s", dtx_jinja_kind_name(v));
    }
    n = v.kind == STRING ? dtx_jinja_text_length(v.text) : (int64_t)v.list->n;
    step = given[2] ? at[2] : 1;
    if (step == 0) {
        return DTX_FAIL(DTX_ERR_INPUT, "a slice's step is 0");
    }
    step = step > n + 1 ? n + 1 : step < -n - 1 ? -n - 1 : step;
    DTX_TRY(charge(r, n / 16));
    int64_t low = step < 0 ? -1 : 0, high = step < 0 ? n - 1 : n;
    int64_t begin = slice_end(given[0], at[0], step < 0 ? high : low, low, high), end = slice_end(given[1], at[1], step < 0 ? low : high, low, high);
    if (v.kind == STRING && step == 1) {
        size_t from = dtx_jinja_offset(v.text, begin), to = begin < end ? dtx_jinja_offset(v.text, end) : from;
        return dtx_jinja_text_sub(&r->arena, v.text, from, to, out);
    }
    bool is_text = v.kind == STRING;
    DTX_TRY(dtx_jinja_items_of(&r->arena, v, &v)); /* of a text: its characters */
    DTX_TRY(dtx_jinja_list_new(&r->arena, out));
    out->list->tuple = v.list->tuple;
    for (int64_t i = begin; step > 0 ? i < end : i > end; i += step) {
        DTX_TRY(is_text ? dtx_jinja_put_text(&b, v.list->v[i].text) : dtx_jinja_list_add(&r->arena, out->list, v.list->v[i]));
    }
    return is_text ? dtx_jinja_built(&b, out) : DTX_OK;
}

/* --- calls --- */

static dtx_status eval_arguments(runner *r, const node *x, dtx_jinja_arguments *args)
{
    args->n = args->n_places = 0;
    for (; x != NULL; x = x->next) {
        bool by_name = x->kind == NODE_KEYWORD;
        if (args->n == DTX_JINJA_ARGUMENTS) {
            return DTX_FAIL(DTX_ERR_INPUT, "a call has more than %d arguments", DTX_JINJA_ARGUMENTS);
        }
        if (!by_name && args->n > args->n_places) {
            return DTX_FAIL(DTX_ERR_INPUT, "an argument by place stands behind one by name");
        }
        DTX_TRY(eval(r, by_name ? x->a : x, &args->v[args->n]));
        args->name[args->n++] = by_name ? x->name : NULL;
        args->n_places += !by_name;
    }
    return DTX_OK;
}

static dtx_status call_now(runner *r, const dtx_jinja_arguments *args, value *out)
{
    char s[512];

    if (r->now == NULL) {
        return DTX_FAIL(DTX_ERR_INPUT, "'strftime_now' is undefined: no date is given");
    }
    if (args->n != 1 || args->v[0].kind != STRING || args->v[0].text->n > 200 || strlen(args->v[0].text->s) != args->v[0].text->n) {
        return DTX_FAIL(DTX_ERR_INPUT, "strftime_now takes a format of at most 200 bytes");
    }
    if (args->v[0].text->n == 0) {
        return dtx_jinja_text_new(&r->arena, "", 0, -1, out);
    }
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    size_t n = strftime(s, sizeof s, args->v[0].text->s, r->now);
#pragma GCC diagnostic pop
    return dtx_jinja_text_new(&r->arena, s, n, -1, out);
}

static dtx_status eval_call(runner *r, const node *x, value *out)
{
    dtx_jinja_arguments args;
    value message;

    DTX_TRY(eval_arguments(r, x->a, &args));
    switch ((dtx_jinja_function)x->op) {
    case FUNCTION_NOW: return call_now(r, &args, out);
    case FUNCTION_RAISE:
        if (args.n != 1) {
            return DTX_FAIL(DTX_ERR_INPUT, "raise_exception takes a message");
        }
        DTX_TRY(dtx_jinja_print(&r->arena, args.v[0], &message));
        r->raised = r->placed = true;
        return DTX_FAIL(DTX_ERR_INPUT, "%s", message.text->s);
    case FUNCTION_NAMESPACE:
    case FUNCTION_DICT: break;
    }
    if (args.n_places > 0) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s takes name = value alone", x->name);
    }
    DTX_TRY(dtx_jinja_dict_new(&r->arena, x->op == FUNCTION_DICT ? DICT : SPACE, out));
    for (int i = 0; i < args.n; i++) {
        value key;
        DTX_TRY(dtx_jinja_text_new(&r->arena, args.name[i], strlen(args.name[i]), -1, &key));
        DTX_TRY(dtx_jinja_dict_set(&r->arena, out->dict, key.text, args.v[i]));
    }
    return DTX_OK;
}

static dtx_status eval_apply(runner *r, const node *x, value *out)
{
    dtx_jinja_arguments args;
    value v;

    DTX_TRY(eval(r, x->a, &v));
    DTX_TRY(eval_arguments(r, x->b, &args));
    DTX_TRY(charge(r, dtx_jinja_weight(v)));
    return x->kind == NODE_METHOD ? dtx_jinja_call_method(&r->arena, (dtx_jinja_method)x->op, x->name, v, &args, out)
                                  : dtx_jinja_call_filter(&r->arena, (dtx_jinja_filter)x->op, v, &args, out);
}

/* --- expressions --- */

static dtx_status eval_list(runner *r, const node *x, value *out)
{
    value v, list;

    DTX_TRY(dtx_jinja_list_new(&r->arena, &list));
    list.list->tuple = x->op == 1;
    for (const node *item = x->a; item != NULL; item = item->next) {
        DTX_TRY(eval(r, item, &v));
        DTX_TRY(dtx_jinja_list_add(&r->arena, list.list, v));
    }
    *out = list;
    return DTX_OK;
}

static dtx_status eval_dict(runner *r, const node *x, value *out)
{
    value key, v, dict;

    DTX_TRY(dtx_jinja_dict_new(&r->arena, DICT, &dict));
    for (const node *pair = x->a; pair != NULL; pair = pair->next) {
        DTX_TRY(eval(r, pair->a, &key));
        DTX_TRY(eval(r, pair->b, &v));
        if (key.kind != STRING) {
            return DTX_FAIL(DTX_ERR_INPUT, "a mapping's key must be a string, not %s", dtx_jinja_kind_name(key));
        }
        DTX_TRY(charge(r, (int64_t)dict.dict->n / 8));
        DTX_TRY(dtx_jinja_dict_set(&r->arena, dict.dict, key.text, v));
    }
    *out = dict;
    return DTX_OK;
}

static dtx_status eval_sign(runner *r, const node *x, value *out)
{
    DTX_TRY(eval(r, x->a, out));
    if (!is_whole(*out) && out->kind != FLOAT) {
        return out->kind == UNDEFINED ? wrong_kinds(*out, "-", *out) : DTX_FAIL(DTX_ERR_INPUT, "- of a value of kind %s", dtx_jinja_kind_name(*out));
    }
    if (out->kind == FLOAT) {
        out->f = x->kind == NODE_NEGATIVE ? -out->f : out->f;
        return DTX_OK;
    }
    return whole_binary(x->kind == NODE_NEGATIVE ? '-' : '+', 0, whole(*out), out);
}

static dtx_status eval_kind(runner *r, const node *x, value *out)
{
    value v, w;

    switch (x->kind) {
    case NODE_CONSTANT: *out = x->constant; return DTX_OK;
    case NODE_NAME: *out = look_up(r, x->name); return DTX_OK;
    case NODE_LIST: return eval_list(r, x, out);
    case NODE_DICT: return eval_dict(r, x, out);
    case NODE_ATTRIBUTE: DTX_TRY(eval(r, x->a, &v)); return dtx_jinja_attribute(v, x->name, out);
    case NODE_ITEM:
        DTX_TRY(eval(r, x->a, &v));
        DTX_TRY(eval(r, x->b, &w));
        DTX_TRY(charge(r, v.kind == STRING ? dtx_jinja_weight(v) : 1));
        return dtx_jinja_item(&r->arena, v, w, out);
    case NODE_SLICE: return eval_slice(r, x, out);
    case NODE_CALL: return eval_call(r, x, out);
    case NODE_METHOD:
    case NODE_FILTER: return eval_apply(r, x, out);
    case NODE_TEST:
        w = (value){.kind = UNDEFINED};
        DTX_TRY(eval(r, x->a, &v));
        DTX_TRY(x->b != NULL ? eval(r, x->b, &w) : DTX_OK);
        DTX_TRY(charge(r, dtx_jinja_weight(v)));
        *out = (value){.kind = BOOL, .b = dtx_jinja_call_test((dtx_jinja_test)x->op, v, w)};
        return DTX_OK;
    case NODE_NOT: DTX_TRY(eval(r, x->a, &v)); *out = (value){.kind = BOOL, .b = !dtx_jinja_true(v)}; return DTX_OK;
    case NODE_NEGATIVE:
    case NODE_POSITIVE: return eval_sign(r, x, out);
    case NODE_AND:
    case NODE_OR:
        DTX_TRY(eval(r, x->a, out));
        return dtx_jinja_true(*out) == (x->kind == NODE_OR) ? DTX_OK : eval(r, x->b, out);
    case NODE_BINARY:
        DTX_TRY(eval(r, x->a, &v));
        DTX_TRY(eval(r, x->b, &w));
        return binary(r, x->op, v, w, out);
    case NODE_COMPARE: return eval_compare(r, x, out);
    case NODE_INLINE_IF:
        DTX_TRY(eval(r, x->a, &v));
        if (dtx_jinja_true(v)) {
            return eval(r, x->b, out);
        }
        *out = (value){.kind = UNDEFINED, .name = "the value of an if without else"};
        return x->c != NULL ? eval(r, x->c, out) : DTX_OK;
    default: return DTX_FAIL(DTX_ERR_CHECK, "a statement stands as an expression");
    }
}

/* Says once in which line an error arose. */
static dtx_status place(runner *r, const node *x, dtx_status st)
{
    if (st != DTX_OK && !r->placed) {
        r->placed = true;
        dtx_error_context(st, "%s:%d", r->t->name, x->line);
    }
    return st;
}

static dtx_status eval(runner *r, const node *x, value *out)
{
    dtx_status st = charge(r, 1);

    if (st == DTX_OK && ++r->depth > DEPTH) {
        st = DTX_FAIL(DTX_ERR_INPUT, "an expression is more than %d deep", DEPTH);
    }
    st = st == DTX_OK ? eval_kind(r, x, out) : st;
    r->depth--;
    return place(r, x, st);
}

/* --- statements --- */

/* The items of a loop for which its condition holds. */
static dtx_status loop_items(runner *r, const node *x, value *items)
{
    value v, all;
    scope inner;
    dtx_status st = DTX_OK;

    DTX_TRY(eval(r, x->b, &v));
    DTX_TRY(dtx_jinja_items_of(&r->arena, v, &all));
    *items = all;
    if (x->e == NULL) {
        return DTX_OK;
    }
    DTX_TRY(dtx_jinja_list_new(&r->arena, items));
    for (size_t i = 0; i < all.list->n && st == DTX_OK; i++) {
        DTX_TRY(enter_scope(r, &inner));
        st = assign_all(r, x->a, all.list->v[i]);
        st = st == DTX_OK ? eval(r, x->e, &v) : st;
        if (st == DTX_OK && dtx_jinja_true(v)) {
            st = dtx_jinja_list_add(&r->arena, items->list, all.list->v[i]);
        }
        r->scope = inner.around;
    }
    return st;
}

static dtx_status run_for(runner *r, const node *x, signal *sig)
{
    value items;
    scope inner;
    dtx_status st = DTX_OK;

    DTX_TRY(loop_items(r, x, &items));
    if (items.list->n == 0) {
        return run_body(r, x->d, sig);
    }
    const size_t n = items.list->n; /* what is added to the list meanwhile does not count */
    for (size_t i = 0; i < n && st == DTX_OK; i++) {
        dtx_jinja_loop *loop = NULL;
        signal inside = GO_ON;
        DTX_TRY(DTX_JINJA_NEW(&r->arena, loop, 1));
        *loop = (dtx_jinja_loop){.index0 = (int64_t)i, .length = (int64_t)n};
        DTX_TRY(enter_scope(r, &inner));
        st = set_name(r, "loop", (value){.kind = LOOP, .loop = loop});
        st = st == DTX_OK ? assign_all(r, x->a, items.list->v[i]) : st;
        st = st == DTX_OK ? run_body(r, x->c, &inside) : st;
        r->scope = inner.around;
        if (inside == BREAK) {
            break;
        }
    }
    return st;
}

static dtx_status run_set_text(runner *r, const node *x, signal *sig)
{
    dtx_jinja_builder own = {.arena = &r->arena}, *out = r->out;
    value v;

    r->out = &own;
    dtx_status st = run_body(r, x->c, sig);
    r->out = out;
    DTX_TRY(st);
    DTX_TRY(dtx_jinja_built(&own, &v));
    return assign(r, x->a, v);
}

static dtx_status run_statement(runner *r, const node *x, signal *sig)
{
    value v;

    switch (x->kind) {
    case NODE_TEXT: return dtx_jinja_put_text(r->out, x->constant.text);
    case NODE_PRINT:
        DTX_TRY(eval(r, x->a, &v));
        DTX_TRY(charge(r, dtx_jinja_weight(v)));
        DTX_TRY(dtx_jinja_print(&r->arena, v, &v));
        return dtx_jinja_put_text(r->out, v.text);
    case NODE_IF: DTX_TRY(eval(r, x->a, &v)); return run_body(r, dtx_jinja_true(v) ? x->b : x->c, sig);
    case NODE_FOR: return run_for(r, x, sig);
    case NODE_SET: DTX_TRY(eval(r, x->b, &v)); return assign_all(r, x->a, v);
    case NODE_SET_TEXT: return run_set_text(r, x, sig);
    case NODE_BREAK: *sig = BREAK; return DTX_OK;
    case NODE_CONTINUE: *sig = CONTINUE; return DTX_OK;
    default: return DTX_FAIL(DTX_ERR_CHECK, "an expression stands as a statement");
    }
}

static dtx_status run_body(runner *r, const node *x, signal *sig)
{
    dtx_status st = ++r->depth > DEPTH ? DTX_FAIL(DTX_ERR_INPUT, "statements stand more than %d deep in each other", DEPTH) : DTX_OK;

    for (; x != NULL && st == DTX_OK && *sig == GO_ON; x = x->next) {
        st = charge(r, 1);
        st = place(r, x, st == DTX_OK ? run_statement(r, x, sig) : st);
    }
    r->depth--;
    return st;
}

/* --- the input --- */

static dtx_status from_json(runner *r, const dtx_jinja_input *in, const cJSON *c, value *out)
{
    value v, key;
    char *s;
    size_t n;

    if (cJSON_IsString(c)) {
        DTX_TRY(dtx_json_text(c, &s, &n));
        dtx_status st = dtx_jinja_text_new(&r->arena, s, n, in->source != NULL ? in->source(in->arg, c) : -1, out);
        dtx_free(s);
        return st;
    }
    if (cJSON_IsArray(c) || cJSON_IsObject(c)) {
        DTX_TRY(cJSON_IsArray(c) ? dtx_jinja_list_new(&r->arena, out) : dtx_jinja_dict_new(&r->arena, DICT, out));
        for (const cJSON *item = c->child; item != NULL; item = item->next) {
            DTX_TRY(charge(r, 1 + (cJSON_IsObject(c) ? (int64_t)out->dict->n / 8 : 0)));
            DTX_TRY(from_json(r, in, item, &v));
            if (cJSON_IsArray(c)) {
                DTX_TRY(dtx_jinja_list_add(&r->arena, out->list, v));
                continue;
            }
            const cJSON name = {.type = cJSON_String, .valuestring = item->string};
            DTX_TRY(dtx_json_text(&name, &s, &n));
            dtx_status st = dtx_jinja_text_new(&r->arena, s, n, -1, &key);
            dtx_free(s);
            DTX_TRY(st);
            DTX_TRY(dtx_jinja_dict_set(&r->arena, out->dict, key.text, v));
        }
        return DTX_OK;
    }
    if (cJSON_IsNumber(c)) {
        bool is_whole_number = fabs(c->valuedouble) < 9e15 && c->valuedouble == floor(c->valuedouble);
        *out = is_whole_number ? (value){.kind = INT, .i = (int64_t)c->valuedouble} : (value){.kind = FLOAT, .f = c->valuedouble};
        return DTX_OK;
    }
    *out = cJSON_IsBool(c) ? (value){.kind = BOOL, .b = cJSON_IsTrue(c)} : (value){.kind = NONE};
    return DTX_OK;
}

static dtx_status hand_over(const dtx_jinja_builder *b, dtx_jinja_result *out)
{
    DTX_TRY(DTX_NEW_RAW(out->text, b->n + 1));
    DTX_TRY(DTX_NEW_RAW(out->span, b->n_runs));
    if (b->n > 0) {
        memcpy(out->text, b->s, b->n);
    }
    out->text[b->n] = '\0';
    out->n = b->n;
    for (size_t i = 0; i < b->n_runs; i++) {
        if (b->run[i].source == DTX_JINJA_SOURCE_LOST) {
            out->lost = true;
        } else {
            out->span[out->n_spans++] = (dtx_jinja_span){.begin = b->run[i].begin, .end = b->run[i].end, .source = b->run[i].source};
        }
    }
    return DTX_OK;
}

void dtx_jinja_result_free(dtx_jinja_result *r)
{
    dtx_free(r->text);
    dtx_free(r->span);
    memset(r, 0, sizeof *r);
}

dtx_status dtx_jinja_render(const dtx_jinja *t, const dtx_jinja_input *in, dtx_jinja_result *out, bool *raised)
{
    runner r = {.t = t, .arena.limit = DTX_JINJA_MEMORY, .now = in->now};
    dtx_jinja_builder b = {.arena = &r.arena};
    scope given = {0}, own;
    signal sig = GO_ON;
    value variables;
    dtx_status st = DTX_OK;

    memset(out, 0, sizeof *out);
    r.out = &b;
    DTX_GO(from_json(&r, in, in->variables, &variables));
    if (variables.kind != DICT) {
        st = DTX_FAIL(DTX_ERR_INPUT, "the variables of a template must be an object");
        goto done;
    }
    given.names = variables.dict;
    r.scope = &given;
    DTX_GO(enter_scope(&r, &own));
    DTX_GO(run_body(&r, t->body, &sig));
    st = hand_over(&b, out);
done:
    dtx_jinja_arena_free(&r.arena);
    if (st != DTX_OK) {
        dtx_jinja_result_free(out);
    }
    if (raised != NULL) {
        *raised = r.raised;
    }
    return st;
}
