/* node.h - a parsed template. One kind of node: what a, b, c, d and name are depends on `kind`; `next` links lists (statements, arguments,
 * items). Private to this room. */
#ifndef DTX_JINJA_NODE_H
#define DTX_JINJA_NODE_H

#include "src/text/jinja/value.h"

typedef enum {
    /* statements */
    NODE_TEXT,     /* constant */
    NODE_PRINT,    /* a: expression */
    NODE_IF,       /* a: condition, b: statements, c: statements of else (an elif is an if there) */
    NODE_FOR,      /* a: names, b: expression, c: statements, d: statements of else, e: condition or NULL */
    NODE_SET,      /* a: targets (NODE_NAME, NODE_ATTRIBUTE), b: expression */
    NODE_SET_TEXT, /* a: target, c: statements whose output is the value */
    NODE_BREAK,
    NODE_CONTINUE,
    /* expressions */
    NODE_CONSTANT,  /* constant */
    NODE_NAME,      /* name */
    NODE_LIST,      /* a: items; op: 1 for a tuple */
    NODE_DICT,      /* a: NODE_PAIR */
    NODE_PAIR,      /* a: key, b: value */
    NODE_ATTRIBUTE, /* a . name */
    NODE_ITEM,      /* a [ b ] */
    NODE_SLICE,     /* a [ b : c : d ], each of the three may be NULL */
    NODE_CALL,      /* op: dtx_jinja_function, a: arguments */
    NODE_METHOD,    /* a . name ( b: arguments ), op: dtx_jinja_method */
    NODE_FILTER,    /* a | name ( b: arguments ), op: dtx_jinja_filter */
    NODE_TEST,      /* a is name, op: dtx_jinja_test */
    NODE_KEYWORD,   /* an argument: name = a */
    NODE_NOT,       /* a */
    NODE_NEGATIVE,  /* - a */
    NODE_POSITIVE,  /* + a */
    NODE_AND,       /* a, b */
    NODE_OR,        /* a, b */
    NODE_BINARY,    /* a, b; op: '+' '-' '*' '/' '%' '~', 'f' for //, 'p' for ** */
    NODE_COMPARE,   /* a: first, b: NODE_OPERAND */
    NODE_OPERAND,   /* op: 'e' 'n' '<' '>' 'l' (<=) 'g' (>=) 'i' (in) 'x' (not in), a */
    NODE_INLINE_IF  /* a: condition, b: value, c: other value or NULL */
} dtx_jinja_node_kind;

typedef enum { FUNCTION_NAMESPACE, FUNCTION_DICT, FUNCTION_RAISE, FUNCTION_NOW } dtx_jinja_function;
typedef enum {
    METHOD_STRIP, METHOD_LSTRIP, METHOD_RSTRIP, METHOD_SPLIT, METHOD_STARTSWITH, METHOD_ENDSWITH, METHOD_REPLACE, METHOD_ITEMS, METHOD_GET
} dtx_jinja_method;
typedef enum {
    FILTER_TRIM, FILTER_LENGTH, FILTER_TOJSON, FILTER_JOIN, FILTER_ITEMS, FILTER_STRING, FILTER_LIST, FILTER_REPLACE, FILTER_UPPER,
    FILTER_LOWER, FILTER_TITLE, FILTER_MAP, FILTER_SELECT, FILTER_REJECT, FILTER_SELECTATTR, FILTER_REJECTATTR
} dtx_jinja_filter;
typedef enum { TEST_DEFINED, TEST_NONE, TEST_STRING, TEST_MAPPING, TEST_ITERABLE, TEST_FALSE, TEST_EQUAL } dtx_jinja_test;

/* Number of a name in these lists (names.c), -1 where it is in none. */
int dtx_jinja_function_of(const char *name);
int dtx_jinja_method_of(const char *name);
int dtx_jinja_filter_of(const char *name);
int dtx_jinja_test_of(const char *name);

typedef struct dtx_jinja_node dtx_jinja_node;
struct dtx_jinja_node {
    dtx_jinja_node_kind kind;
    int line, op;
    const char *name;
    dtx_jinja_value constant;
    dtx_jinja_node *a, *b, *c, *d, *e, *next;
};

struct dtx_jinja {
    dtx_jinja_arena arena;
    const char *name;
    dtx_jinja_node *body;
};

#endif
