#include <string.h>

#include "src/base/mem.h"
#include "src/text/jinja/jinja.h"
#include "src/text/jinja/lex.h"
#include "src/text/jinja/node.h"

typedef dtx_jinja_node node;

typedef struct {
    dtx_jinja_arena *a;
    const char *name;
    const dtx_jinja_token *t; /* the token to be read next */
    int depth, loops;
} parser;

/* --- tokens --- */

static bool is_word(const parser *p, const char *word)
{
    return p->t->kind == TOKEN_NAME && strcmp(p->t->s, word) == 0;
}

static bool is_operator(const parser *p, const char *s)
{
    return p->t->kind == TOKEN_OPERATOR && strcmp(p->t->s, s) == 0;
}

static bool take_word(parser *p, const char *word)
{
    bool is = is_word(p, word);

    p->t += is;
    return is;
}

static bool take_operator(parser *p, const char *s)
{
    bool is = is_operator(p, s);

    p->t += is;
    return is;
}

/* What stands at a token, for messages. */
static const char *found(const dtx_jinja_token *t)
{
    return t->kind == TOKEN_NAME || t->kind == TOKEN_OPERATOR ? t->s
           : t->kind == TOKEN_STRING                         ? "a string"
           : t->kind == TOKEN_INT || t->kind == TOKEN_FLOAT  ? "a number"
           : t->kind == TOKEN_END                            ? "the end of the template"
                                                             : "the end of the tag";
}

static dtx_status expected(const parser *p, const char *what)
{
    return DTX_FAIL(DTX_ERR_INPUT, "%s:%d: %s is expected, not %.60s", p->name, p->t->line, what, found(p->t));
}

static dtx_status refuse(const parser *p, int line, const char *what, const char *name)
{
    return DTX_FAIL(DTX_ERR_INPUT, "%s:%d: %s \"%.60s\" is not supported in templates", p->name, line, what, name);
}

static dtx_status want_operator(parser *p, const char *s)
{
    return take_operator(p, s) ? DTX_OK : expected(p, s);
}

static dtx_status block_end(parser *p)
{
    if (p->t->kind != TOKEN_BLOCK_END) {
        return expected(p, "the end of the tag");
    }
    p->t++;
    return DTX_OK;
}

static dtx_status new_node(parser *p, dtx_jinja_node_kind kind, node **out)
{
    DTX_TRY(DTX_JINJA_NEW(p->a, *out, 1));
    (*out)->kind = kind;
    (*out)->line = p->t->line;
    return DTX_OK;
}

static dtx_status new_on(parser *p, dtx_jinja_node_kind kind, node *a, node **out)
{
    node *x;

    DTX_TRY(new_node(p, kind, &x));
    x->a = a;
    *out = x;
    return DTX_OK;
}

static dtx_status enter(parser *p)
{
    return ++p->depth <= 4 * DTX_JINJA_DEPTH
               ? DTX_OK
               : DTX_FAIL(DTX_ERR_INPUT, "%s:%d: expressions or statements stand more than %d deep in each other", p->name, p->t->line,
                          4 * DTX_JINJA_DEPTH);
}

/* --- expressions, from the loosest binding to the tightest --- */

static dtx_status parse_expression(parser *p, node **out);
static dtx_status parse_or(parser *p, node **out);
static dtx_status parse_unary(parser *p, bool filters, node **out);

/* Items with commas between, up to a closing operator that is then taken; a comma before it is allowed. */
static dtx_status parse_items(parser *p, const char *close, node **out)
{
    node **tail = out;

    while (!take_operator(p, close)) {
        DTX_TRY(parse_expression(p, tail));
        tail = &(*tail)->next;
        if (!is_operator(p, close)) {
            DTX_TRY(want_operator(p, ","));
        }
    }
    return DTX_OK;
}

/* a, b, c is a tuple; a alone is itself. `inline_if`: may an item be an inline if? */
static dtx_status parse_tuple(parser *p, bool inline_if, node **out)
{
    node *first, **tail, *tuple;

    DTX_TRY(inline_if ? parse_expression(p, &first) : parse_or(p, &first));
    *out = first;
    if (!is_operator(p, ",")) {
        return DTX_OK;
    }
    DTX_TRY(new_on(p, NODE_LIST, first, &tuple));
    tuple->op = 1;
    tail = &first->next;
    while (take_operator(p, ",")) {
        if (p->t->kind == TOKEN_PRINT_END || p->t->kind == TOKEN_BLOCK_END || is_operator(p, ")")) {
            break;
        }
        DTX_TRY(inline_if ? parse_expression(p, tail) : parse_or(p, tail));
        tail = &(*tail)->next;
    }
    *out = tuple;
    return DTX_OK;
}

static dtx_status parse_dict(parser *p, node **out)
{
    node **tail = &(*out)->a;

    while (!take_operator(p, "}")) {
        DTX_TRY(new_node(p, NODE_PAIR, tail));
        DTX_TRY(parse_expression(p, &(*tail)->a));
        DTX_TRY(want_operator(p, ":"));
        DTX_TRY(parse_expression(p, &(*tail)->b));
        tail = &(*tail)->next;
        if (!is_operator(p, "}")) {
            DTX_TRY(want_operator(p, ","));
        }
    }
    return DTX_OK;
}

/* Strings that follow each other are one. */
static dtx_status parse_string(parser *p, node *x)
{
    dtx_jinja_builder b = {.arena = p->a};

    for (; p->t->kind == TOKEN_STRING; p->t++) {
        DTX_TRY(dtx_jinja_put(&b, p->t->s, p->t->n));
    }
    return dtx_jinja_built(&b, &x->constant);
}

static dtx_status parse_name(parser *p, node *x)
{
    static const struct {
        const char *name;
        dtx_jinja_value v;
    } known[] = {{"true", {.kind = BOOL, .b = true}},   {"True", {.kind = BOOL, .b = true}}, {"false", {.kind = BOOL, .b = false}},
                 {"False", {.kind = BOOL, .b = false}}, {"none", {.kind = NONE}},            {"None", {.kind = NONE}}};

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (is_word(p, known[i].name)) {
            x->kind = NODE_CONSTANT;
            x->constant = known[i].v;
            p->t++;
            return DTX_OK;
        }
    }
    x->name = p->t->s;
    p->t++;
    return DTX_OK;
}

static dtx_status parse_primary(parser *p, node **out)
{
    node *x;

    DTX_TRY(new_node(p, NODE_CONSTANT, &x));
    *out = x;
    switch (p->t->kind) {
    case TOKEN_STRING: return parse_string(p, x);
    case TOKEN_INT: x->constant = (dtx_jinja_value){.kind = INT, .i = p->t->i}; p->t++; return DTX_OK;
    case TOKEN_FLOAT: x->constant = (dtx_jinja_value){.kind = FLOAT, .f = p->t->f}; p->t++; return DTX_OK;
    case TOKEN_NAME: x->kind = NODE_NAME; return parse_name(p, x);
    default: break;
    }
    if (take_operator(p, "[")) {
        x->kind = NODE_LIST;
        return parse_items(p, "]", &x->a);
    }
    if (take_operator(p, "{")) {
        x->kind = NODE_DICT;
        return parse_dict(p, out);
    }
    if (take_operator(p, "(")) {
        if (take_operator(p, ")")) {
            x->kind = NODE_LIST;
            x->op = 1;
            return DTX_OK;
        }
        DTX_TRY(parse_tuple(p, true, out));
        return want_operator(p, ")");
    }
    return expected(p, "an expression");
}

/* The arguments of a call, behind its parenthesis. */
static dtx_status parse_arguments(parser *p, node **out)
{
    node **tail = out;

    while (!take_operator(p, ")")) {
        if (is_operator(p, "*") || is_operator(p, "**")) {
            return refuse(p, p->t->line, "the argument", p->t->s);
        }
        if (p->t->kind == TOKEN_NAME && p->t[1].kind == TOKEN_OPERATOR && strcmp(p->t[1].s, "=") == 0) {
            DTX_TRY(new_node(p, NODE_KEYWORD, tail));
            (*tail)->name = p->t->s;
            p->t += 2;
            DTX_TRY(parse_expression(p, &(*tail)->a));
        } else {
            DTX_TRY(parse_expression(p, tail));
        }
        tail = &(*tail)->next;
        if (!is_operator(p, ")")) {
            DTX_TRY(want_operator(p, ","));
        }
    }
    return DTX_OK;
}

static dtx_status check_loop(const parser *p, const node *x)
{
    static const char *const known[] = {"index", "index0", "first", "last", "length", "revindex", "revindex0", NULL};

    for (int i = 0; known[i] != NULL; i++) {
        if (strcmp(known[i], x->name) == 0) {
            return DTX_OK;
        }
    }
    char what[80] = "loop.";
    strncat(what, x->name, sizeof what - 6);
    return refuse(p, x->line, "the attribute", what);
}

/* x.key and x.method(...) */
static dtx_status parse_attribute(parser *p, node **x)
{
    if (p->t->kind != TOKEN_NAME && p->t->kind != TOKEN_INT) {
        return expected(p, "a name");
    }
    if (p->t->kind == TOKEN_INT) { /* x.0 is x[0] */
        DTX_TRY(new_on(p, NODE_ITEM, *x, x));
        return parse_primary(p, &(*x)->b);
    }
    DTX_TRY(new_on(p, NODE_ATTRIBUTE, *x, x));
    (*x)->name = p->t->s;
    p->t++;
    if (take_operator(p, "(")) {
        (*x)->kind = NODE_METHOD;
        (*x)->op = dtx_jinja_method_of((*x)->name);
        return (*x)->op < 0 ? refuse(p, (*x)->line, "the method", (*x)->name) : parse_arguments(p, &(*x)->b);
    }
    return (*x)->a->kind == NODE_NAME && strcmp((*x)->a->name, "loop") == 0 ? check_loop(p, *x) : DTX_OK;
}

/* x[key], x[begin:end:step] */
static dtx_status parse_subscript(parser *p, node **x)
{
    node **part[3];
    int n = 0;

    DTX_TRY(new_on(p, NODE_ITEM, *x, x));
    part[0] = &(*x)->b;
    part[1] = &(*x)->c;
    part[2] = &(*x)->d;
    for (;;) {
        if (!is_operator(p, ":") && !is_operator(p, "]")) {
            DTX_TRY(parse_expression(p, part[n]));
        }
        if (n < 2 && take_operator(p, ":")) {
            (*x)->kind = NODE_SLICE;
            n++;
            continue;
        }
        break;
    }
    if ((*x)->kind == NODE_ITEM && (*x)->b == NULL) {
        return expected(p, "a key");
    }
    return want_operator(p, "]");
}

static dtx_status parse_call(parser *p, node **x)
{
    node *callee = *x;

    if (callee->kind != NODE_NAME) {
        return refuse(p, p->t->line, "calling", "an expression");
    }
    DTX_TRY(new_node(p, NODE_CALL, x));
    (*x)->name = callee->name;
    (*x)->op = dtx_jinja_function_of(callee->name);
    return (*x)->op < 0 ? refuse(p, callee->line, "the function", callee->name) : parse_arguments(p, &(*x)->a);
}

static dtx_status parse_postfix(parser *p, node **x)
{
    for (;;) {
        if (take_operator(p, ".")) {
            DTX_TRY(parse_attribute(p, x));
        } else if (take_operator(p, "[")) {
            DTX_TRY(parse_subscript(p, x));
        } else if (take_operator(p, "(")) {
            DTX_TRY(parse_call(p, x));
        } else {
            return DTX_OK;
        }
    }
}

/* What a filter does depends on its arguments: those that name something else are refused here. */
static dtx_status check_filter(const parser *p, const node *x)
{
    const node *test = x->b;

    if (x->op == FILTER_MAP) {
        bool fits = test != NULL && test->kind == NODE_KEYWORD && strcmp(test->name, "attribute") == 0 && test->next == NULL;
        return fits ? DTX_OK : refuse(p, x->line, "the filter", "map without attribute");
    }
    if (x->op < FILTER_SELECT) {
        return DTX_OK;
    }
    if (test != NULL && (x->op == FILTER_SELECTATTR || x->op == FILTER_REJECTATTR)) {
        test = test->next;
    }
    bool known = test == NULL || test->kind != NODE_CONSTANT || test->constant.kind != STRING || dtx_jinja_test_of(test->constant.text->s) >= 0;
    return known ? DTX_OK : refuse(p, x->line, "the test", test->constant.text->s);
}

static dtx_status parse_filter(parser *p, node **x)
{
    if (p->t->kind != TOKEN_NAME) {
        return expected(p, "a filter's name");
    }
    DTX_TRY(new_on(p, NODE_FILTER, *x, x));
    (*x)->name = p->t->s;
    (*x)->op = dtx_jinja_filter_of(p->t->s);
    if ((*x)->op < 0) {
        return refuse(p, p->t->line, "the filter", p->t->s);
    }
    p->t++;
    DTX_TRY(take_operator(p, "(") ? parse_arguments(p, &(*x)->b) : DTX_OK);
    return check_filter(p, *x);
}

static dtx_status parse_test(parser *p, node **x)
{
    bool negated = take_word(p, "not");

    if (p->t->kind != TOKEN_NAME) {
        return expected(p, "a test's name");
    }
    DTX_TRY(new_on(p, NODE_TEST, *x, x));
    (*x)->name = p->t->s;
    (*x)->op = dtx_jinja_test_of(p->t->s);
    if ((*x)->op < 0) {
        return refuse(p, p->t->line, "the test", p->t->s);
    }
    p->t++;
    if ((*x)->op == TEST_EQUAL) {
        bool list = take_operator(p, "(");
        DTX_TRY(list ? parse_arguments(p, &(*x)->b) : parse_primary(p, &(*x)->b));
        DTX_TRY(list ? DTX_OK : parse_postfix(p, &(*x)->b));
        if ((*x)->b == NULL || (*x)->b->next != NULL || (*x)->b->kind == NODE_KEYWORD) {
            return expected(p, "one argument of equalto");
        }
    }
    return negated ? new_on(p, NODE_NOT, *x, x) : DTX_OK;
}

static dtx_status parse_unary(parser *p, bool filters, node **out)
{
    bool minus = take_operator(p, "-"), plus = !minus && take_operator(p, "+");

    DTX_TRY(enter(p));
    if (minus || plus) {
        DTX_TRY(parse_unary(p, false, out));
        DTX_TRY(new_on(p, minus ? NODE_NEGATIVE : NODE_POSITIVE, *out, out));
    } else {
        DTX_TRY(parse_primary(p, out));
    }
    DTX_TRY(parse_postfix(p, out));
    while (filters) {
        if (take_operator(p, "|")) {
            DTX_TRY(parse_filter(p, out));
        } else if (take_word(p, "is")) {
            DTX_TRY(parse_test(p, out));
        } else {
            break;
        }
    }
    p->depth--;
    return DTX_OK;
}

/* Operators of one level: a op b op c, from the left. */
typedef struct {
    const char *s;
    int op;
} operation;

static int take_of(parser *p, const operation *list)
{
    for (; list->s != NULL; list++) {
        if (take_operator(p, list->s)) {
            return list->op;
        }
    }
    return 0;
}

static dtx_status parse_level(parser *p, int level, node **out)
{
    static const operation sums[] = {{"+", '+'}, {"-", '-'}, {NULL, 0}}, joins[] = {{"~", '~'}, {NULL, 0}},
                           products[] = {{"*", '*'}, {"/", '/'}, {"//", 'f'}, {"%", '%'}, {NULL, 0}}, powers[] = {{"**", 'p'}, {NULL, 0}};
    static const operation *const levels[] = {sums, joins, products, powers};
    int op;

    if (level == 4) {
        return parse_unary(p, true, out);
    }
    DTX_TRY(parse_level(p, level + 1, out));
    while ((op = take_of(p, levels[level])) != 0) {
        DTX_TRY(new_on(p, NODE_BINARY, *out, out));
        (*out)->op = op;
        DTX_TRY(parse_level(p, level + 1, &(*out)->b));
    }
    return DTX_OK;
}

static int take_comparison(parser *p)
{
    static const operation list[] = {{"==", 'e'}, {"!=", 'n'}, {"<=", 'l'}, {">=", 'g'}, {"<", '<'}, {">", '>'}, {NULL, 0}};

    if (is_word(p, "not") && p->t[1].kind == TOKEN_NAME && strcmp(p->t[1].s, "in") == 0) {
        p->t += 2;
        return 'x';
    }
    return take_word(p, "in") ? 'i' : take_of(p, list);
}

static dtx_status parse_compare(parser *p, node **out)
{
    int op;

    DTX_TRY(parse_level(p, 0, out));
    if ((op = take_comparison(p)) == 0) {
        return DTX_OK;
    }
    DTX_TRY(new_on(p, NODE_COMPARE, *out, out));
    for (node **tail = &(*out)->b; op != 0; op = take_comparison(p)) {
        DTX_TRY(new_node(p, NODE_OPERAND, tail));
        (*tail)->op = op;
        DTX_TRY(parse_level(p, 0, &(*tail)->a));
        tail = &(*tail)->next;
    }
    return DTX_OK;
}

static dtx_status parse_not(parser *p, node **out)
{
    if (!take_word(p, "not")) {
        return parse_compare(p, out);
    }
    DTX_TRY(enter(p));
    DTX_TRY(parse_not(p, out));
    p->depth--;
    return new_on(p, NODE_NOT, *out, out);
}

static dtx_status parse_and(parser *p, node **out)
{
    DTX_TRY(parse_not(p, out));
    while (take_word(p, "and")) {
        DTX_TRY(new_on(p, NODE_AND, *out, out));
        DTX_TRY(parse_not(p, &(*out)->b));
    }
    return DTX_OK;
}

static dtx_status parse_or(parser *p, node **out)
{
    DTX_TRY(parse_and(p, out));
    while (take_word(p, "or")) {
        DTX_TRY(new_on(p, NODE_OR, *out, out));
        DTX_TRY(parse_and(p, &(*out)->b));
    }
    return DTX_OK;
}

static dtx_status parse_expression(parser *p, node **out)
{
    node *value, *x;

    DTX_TRY(enter(p));
    DTX_TRY(parse_or(p, &value));
    while (take_word(p, "if")) {
        DTX_TRY(new_node(p, NODE_INLINE_IF, &x));
        x->b = value;
        DTX_TRY(parse_or(p, &x->a));
        if (take_word(p, "else")) {
            DTX_TRY(parse_expression(p, &x->c));
        }
        value = x;
    }
    *out = value;
    p->depth--;
    return DTX_OK;
}

/* --- statements --- */

/* Statements up to a tag whose word is one of `stop` (separated by blanks), which is taken: *word is it. stop "": the template's end. */
static dtx_status parse_body(parser *p, const char *const *stop, node **out, const char **word);

static const char *const stop_if[] = {"elif", "else", "endif", NULL};
static const char *const stop_for[] = {"else", "endfor", NULL};

static dtx_status parse_if(parser *p, node **out)
{
    const char *word;

    DTX_TRY(new_node(p, NODE_IF, out));
    DTX_TRY(parse_tuple(p, true, &(*out)->a));
    DTX_TRY(block_end(p));
    DTX_TRY(parse_body(p, stop_if, &(*out)->b, &word));
    if (strcmp(word, "elif") == 0) {
        DTX_TRY(enter(p));
        DTX_TRY(parse_if(p, &(*out)->c));
        p->depth--;
        return DTX_OK;
    }
    if (strcmp(word, "else") == 0) {
        DTX_TRY(block_end(p));
        DTX_TRY(parse_body(p, stop_if + 2, &(*out)->c, &word));
    }
    return block_end(p);
}

/* One name or several; `namespaces`: ns.name may stand among them. */
static dtx_status parse_targets(parser *p, bool namespaces, node **out)
{
    bool round = take_operator(p, "(");
    node **tail = out;

    do {
        if (p->t->kind != TOKEN_NAME) {
            return expected(p, "a name");
        }
        DTX_TRY(new_node(p, NODE_NAME, tail));
        (*tail)->name = p->t->s;
        p->t++;
        if (namespaces && take_operator(p, ".")) {
            if (p->t->kind != TOKEN_NAME) {
                return expected(p, "a name");
            }
            DTX_TRY(new_on(p, NODE_ATTRIBUTE, *tail, tail));
            (*tail)->name = p->t->s;
            p->t++;
        }
        tail = &(*tail)->next;
    } while (take_operator(p, ",") && p->t->kind == TOKEN_NAME && !is_word(p, "in"));
    return round ? want_operator(p, ")") : DTX_OK;
}

static dtx_status parse_for(parser *p, node **out)
{
    const char *word;
    int loops = p->loops;

    DTX_TRY(new_node(p, NODE_FOR, out));
    DTX_TRY(parse_targets(p, false, &(*out)->a));
    if (!take_word(p, "in")) {
        return expected(p, "in");
    }
    DTX_TRY(parse_tuple(p, false, &(*out)->b));
    if (take_word(p, "if")) {
        DTX_TRY(parse_expression(p, &(*out)->e));
    }
    if (is_word(p, "recursive")) {
        return refuse(p, p->t->line, "the loop", "recursive");
    }
    DTX_TRY(block_end(p));
    p->loops++;
    DTX_TRY(parse_body(p, stop_for, &(*out)->c, &word));
    p->loops = loops;
    if (strcmp(word, "else") == 0) {
        DTX_TRY(block_end(p));
        DTX_TRY(parse_body(p, stop_for + 1, &(*out)->d, &word));
    }
    return block_end(p);
}

static dtx_status parse_set(parser *p, node **out)
{
    static const char *const stop[] = {"endset", NULL};
    const char *word;

    DTX_TRY(new_node(p, NODE_SET, out));
    DTX_TRY(parse_targets(p, true, &(*out)->a));
    if (take_operator(p, "=")) {
        DTX_TRY(parse_tuple(p, true, &(*out)->b));
        return block_end(p);
    }
    if ((*out)->a->next != NULL) {
        return expected(p, "=");
    }
    if (is_operator(p, "|")) {
        return refuse(p, p->t->line, "set with a", "filter");
    }
    (*out)->kind = NODE_SET_TEXT;
    DTX_TRY(block_end(p));
    DTX_TRY(parse_body(p, stop, &(*out)->c, &word));
    return block_end(p);
}

/* {% generation %}: what the assistant says, for training; here it has no effect. */
static dtx_status parse_generation(parser *p, node **out)
{
    static const char *const stop[] = {"endgeneration", NULL};
    const char *word;

    DTX_TRY(block_end(p));
    DTX_TRY(parse_body(p, stop, out, &word));
    return block_end(p);
}

/* A statement, its word already taken; several nodes where it is a generation. */
static dtx_status parse_statement(parser *p, const dtx_jinja_token *word, node **out)
{
    bool leave = strcmp(word->s, "break") == 0, go_on = strcmp(word->s, "continue") == 0;

    if (strcmp(word->s, "if") == 0) {
        return parse_if(p, out);
    }
    if (strcmp(word->s, "for") == 0) {
        return parse_for(p, out);
    }
    if (strcmp(word->s, "set") == 0) {
        return parse_set(p, out);
    }
    if (strcmp(word->s, "generation") == 0) {
        return parse_generation(p, out);
    }
    if (!leave && !go_on) {
        return refuse(p, word->line, "the statement", word->s);
    }
    if (p->loops == 0) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s:%d: %s stands outside a loop", p->name, word->line, word->s);
    }
    DTX_TRY(new_node(p, leave ? NODE_BREAK : NODE_CONTINUE, out));
    return block_end(p);
}

static dtx_status parse_tag(parser *p, node **out)
{
    const dtx_jinja_token *t = p->t;
    dtx_jinja_value text;

    switch (t->kind) {
    case TOKEN_DATA:
        p->t++;
        DTX_TRY(new_node(p, NODE_TEXT, out));
        DTX_TRY(dtx_jinja_text_new(p->a, t->s, t->n, -1, &text));
        (*out)->constant = text;
        return DTX_OK;
    case TOKEN_PRINT_BEGIN:
        p->t++;
        DTX_TRY(new_node(p, NODE_PRINT, out));
        DTX_TRY(parse_tuple(p, true, &(*out)->a));
        if (p->t->kind != TOKEN_PRINT_END) {
            return expected(p, "}}");
        }
        p->t++;
        return DTX_OK;
    default:
        p->t += 2; /* {% and its word */
        return parse_statement(p, t + 1, out);
    }
}

static dtx_status parse_body(parser *p, const char *const *stop, node **out, const char **word)
{
    node **tail = out;
    int line = p->t->line;

    DTX_TRY(enter(p));
    while (p->t->kind != TOKEN_END) {
        if (p->t->kind == TOKEN_BLOCK_BEGIN) {
            if (p->t[1].kind != TOKEN_NAME) {
                p->t++;
                return expected(p, "a statement");
            }
            for (int i = 0; stop[i] != NULL; i++) {
                if (strcmp(p->t[1].s, stop[i]) == 0) {
                    *word = stop[i];
                    p->t += 2;
                    p->depth--;
                    return DTX_OK;
                }
            }
        }
        DTX_TRY(parse_tag(p, tail));
        while (*tail != NULL) {
            tail = &(*tail)->next;
        }
    }
    if (stop[0] != NULL) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s:%d: the statement that begins here has no %s", p->name, line, stop[0]);
    }
    p->depth--;
    return DTX_OK;
}

dtx_status dtx_jinja_parse(const char *name, const char *text, size_t n, dtx_jinja **out)
{
    static const char *const no_stop[] = {NULL};
    dtx_jinja_tokens tokens;
    dtx_jinja_value own;
    const char *word;
    dtx_jinja *t = NULL;
    dtx_status st = DTX_OK;

    DTX_TRY(DTX_NEW(t, 1));
    t->arena.limit = DTX_JINJA_MEMORY;
    DTX_GO(dtx_jinja_text_new(&t->arena, name, strlen(name), -1, &own));
    t->name = own.text->s;
    DTX_GO(dtx_jinja_lex(&t->arena, t->name, text, n, &tokens));
    parser p = {.a = &t->arena, .name = t->name, .t = tokens.v};
    DTX_GO(parse_body(&p, no_stop, &t->body, &word));
    *out = t;
    return DTX_OK;
done:
    dtx_jinja_del(t);
    return st;
}

void dtx_jinja_del(dtx_jinja *t)
{
    if (t != NULL) {
        dtx_jinja_arena_free(&t->arena);
        dtx_free(t);
    }
}
