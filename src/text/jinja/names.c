#include <string.h>

#include "src/text/jinja/node.h"

static int find(const char *const *list, const char *name)
{
    for (int i = 0; list[i] != NULL; i++) {
        if (strcmp(list[i], name) == 0) {
            return i;
        }
    }
    return -1;
}

int dtx_jinja_function_of(const char *name)
{
    static const char *const list[] = {"namespace", "dict", "raise_exception", "strftime_now", NULL};

    return find(list, name);
}

int dtx_jinja_method_of(const char *name)
{
    static const char *const list[] = {"strip", "lstrip", "rstrip", "split", "startswith", "endswith", "replace", "items", "get", NULL};

    return find(list, name);
}

int dtx_jinja_filter_of(const char *name)
{
    static const char *const list[] = {"trim",  "length", "tojson", "join",   "items",  "string",     "list",       "replace", "upper",
                                       "lower", "title",  "map",    "select", "reject", "selectattr", "rejectattr", NULL};

    return strcmp(name, "count") == 0 ? FILTER_LENGTH : find(list, name);
}

int dtx_jinja_test_of(const char *name)
{
    static const char *const list[] = {"defined", "none", "string", "mapping", "iterable", "false", "equalto", NULL};

    return strcmp(name, "eq") == 0 || strcmp(name, "==") == 0 ? TEST_EQUAL : find(list, name);
}
