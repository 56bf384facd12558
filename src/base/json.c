#include "src/base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/file.h"
#include "src/base/mem.h"
#include "src/base/utf8.h"

enum { MAX_DEPTH = 256 };

/* cJSON counts its nesting limit at compile time only; a bound of our own keeps recursion small whatever its build. */
static dtx_status check_depth(const char *s, size_t len, const char *where)
{
    int depth = 0;
    bool in_string = false;

    for (size_t i = 0; i < len; i++) {
        if (in_string) {
            if (s[i] == '\\') {
                i++;
            } else if (s[i] == '"') {
                in_string = false;
            }
        } else if (s[i] == '"') {
            in_string = true;
        } else if (s[i] == '[' || s[i] == '{') {
            if (++depth > MAX_DEPTH) {
                return DTX_FAIL(DTX_ERR_INPUT, "%s: byte %zu: nested deeper than %d levels", where, i, MAX_DEPTH);
            }
        } else if (s[i] == ']' || s[i] == '}') {
            depth--;
        }
    }
    return DTX_OK;
}

/* Replaces each escaped NUL inside a string by the byte 0xFF, in place. Returns the new length. */
static size_t hide_nuls(char *s, size_t len)
{
    size_t to = 0;

    for (size_t i = 0; i < len; i++) {
        if (s[i] == '\\' && i + 5 < len && memcmp(s + i, "\\u0000", 6) == 0) {
            s[to++] = (char)0xFF;
            i += 5;
        } else if (s[i] == '\\' && i + 1 < len) {
            s[to++] = s[i++];
            s[to++] = s[i];
        } else {
            s[to++] = s[i];
        }
    }
    s[to] = '\0';
    return to;
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static dtx_status check_duplicates(const cJSON *item, const char *where)
{
    if (cJSON_IsObject(item) && item->child != NULL && item->child->next != NULL) {
        size_t n = 0;
        const char **keys;
        for (const cJSON *c = item->child; c != NULL; c = c->next) {
            n++;
        }
        DTX_TRY(DTX_NEW(keys, n));
        n = 0;
        for (const cJSON *c = item->child; c != NULL; c = c->next) {
            keys[n++] = c->string;
        }
        qsort(keys, n, sizeof *keys, compare_keys);
        for (size_t i = 1; i < n; i++) {
            if (strcmp(keys[i - 1], keys[i]) == 0) {
                dtx_status st = DTX_FAIL(DTX_ERR_INPUT, "%s: the key \"%s\" stands twice in one object; keep one", where, keys[i]);
                dtx_free(keys);
                return st;
            }
        }
        dtx_free(keys);
    }
    for (const cJSON *c = item->child; c != NULL; c = c->next) {
        if (c->child != NULL) {
            DTX_TRY(check_duplicates(c, where));
        }
    }
    return DTX_OK;
}

dtx_status dtx_json_parse(const char *text, size_t len, const char *name, int64_t line, cJSON **out)
{
    char where[4200], *copy = NULL;
    const char *end = NULL;
    cJSON *root = NULL;
    dtx_status st = DTX_OK;

    if (line > 0) {
        snprintf(where, sizeof where, "%s: line %lld", name, (long long)line);
    } else {
        snprintf(where, sizeof where, "%s", name);
    }
    size_t bad = dtx_utf8_valid(text, len);
    if (bad < len) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: byte %zu: not UTF-8 (0x%02X); convert the file to UTF-8", where, bad,
                        (unsigned char)text[bad]);
    }
    if (memchr(text, '\0', len) != NULL) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: byte %zu: a NUL byte, which JSON writes as \\u0000", where,
                        (size_t)((const char *)memchr(text, '\0', len) - text));
    }
    DTX_TRY(check_depth(text, len, where));
    copy = dtx_strndup(text, len);
    DTX_TRY(dtx_mem_check(copy, len + 1, 1, "json text"));
    size_t n = hide_nuls(copy, len);
    root = cJSON_ParseWithLengthOpts(copy, n + 1, &end, 0);
    if (root == NULL) {
        int64_t at_line = 1, column = 1;
        for (const char *p = copy; end != NULL && p < end && p < copy + n; p++) {
            at_line += *p == '\n';
            column = *p == '\n' ? 1 : column + 1;
        }
        if (end != NULL && line == 0) {
            st = DTX_FAIL(DTX_ERR_INPUT, "%s: line %lld, column %lld: malformed JSON near \"%.20s\"", where, (long long)at_line,
                          (long long)column, end < copy + n ? end : "end of file");
        } else {
            st = DTX_FAIL(DTX_ERR_INPUT, "%s: malformed JSON near byte %zu", where, end != NULL ? (size_t)(end - copy) : 0);
        }
        goto done;
    }
    while (end < copy + n && strchr(" \t\r\n", *end) != NULL) {
        end++;
    }
    if (end < copy + n) {
        st = DTX_FAIL(DTX_ERR_INPUT, "%s: byte %zu: text after the end of the JSON value", where, (size_t)(end - copy));
        goto done;
    }
    DTX_GO(check_duplicates(root, where));
    *out = root;
    root = NULL;
done:
    cJSON_Delete(root);
    dtx_free(copy);
    return st;
}

dtx_status dtx_json_read(const char *path, cJSON **out)
{
    dtx_file_map map;

    DTX_TRY(dtx_file_map_open(path, &map));
    dtx_status st = dtx_json_parse(map.data, map.size, path, 0, out);
    dtx_file_map_close(&map);
    return st;
}

dtx_status dtx_json_text(const cJSON *item, char **out, size_t *len)
{
    if (!cJSON_IsString(item)) {
        return DTX_FAIL(DTX_ERR_INPUT, "a JSON string is expected%s%s", item != NULL && item->string ? " for key " : "",
                        item != NULL && item->string ? item->string : "");
    }
    size_t n = strlen(item->valuestring);
    char *s = dtx_strndup(item->valuestring, n);
    DTX_TRY(dtx_mem_check(s, n + 1, 1, "json string"));
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)s[i] == 0xFF) {
            s[i] = '\0';
        }
    }
    *out = s;
    *len = n;
    return DTX_OK;
}

dtx_status dtx_json_quote(const char *s, size_t len, char **out)
{
    size_t n = 0;
    char *q;

    DTX_TRY(DTX_NEW_RAW(q, 6 * len + 3));
    q[n++] = '"';
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c < 0x20 || c == 0x7F) {
            n += (size_t)snprintf(q + n, 7, "\\u%04x", c);
        } else {
            if (c == '"' || c == '\\') {
                q[n++] = '\\';
            }
            q[n++] = (char)c;
        }
    }
    q[n++] = '"';
    q[n] = '\0';
    *out = q;
    return DTX_OK;
}

const cJSON *dtx_json_get(const cJSON *object, const char *key)
{
    const char *dot;

    while (object != NULL && (dot = strchr(key, '.')) != NULL) {
        char part[256];
        size_t n = (size_t)(dot - key);
        if (n >= sizeof part) {
            return NULL;
        }
        memcpy(part, key, n);
        part[n] = '\0';
        object = cJSON_GetObjectItemCaseSensitive(object, part);
        key = dot + 1;
    }
    const cJSON *item = object != NULL ? cJSON_GetObjectItemCaseSensitive(object, key) : NULL;
    return item == NULL || cJSON_IsNull(item) ? NULL : item;
}

static const char *type_name(const cJSON *item)
{
    return cJSON_IsString(item) ? "a string" : cJSON_IsNumber(item) ? "a number" : cJSON_IsBool(item) ? "a boolean"
         : cJSON_IsArray(item) ? "a list" : "an object";
}

dtx_status dtx_json_double(const cJSON *object, const char *name, const char *key, double min, double max, double *out)
{
    const cJSON *item = dtx_json_get(object, key);

    if (item == NULL) {
        return DTX_OK;
    }
    if (!cJSON_IsNumber(item)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: %s: a number is expected, found %s", name, key, type_name(item));
    }
    if (!(item->valuedouble >= min && item->valuedouble <= max)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: %s: %.10g is outside %.10g..%.10g", name, key, item->valuedouble, min, max);
    }
    *out = item->valuedouble;
    return DTX_OK;
}

dtx_status dtx_json_int(const cJSON *object, const char *name, const char *key, int64_t min, int64_t max, int64_t *out)
{
    double v = 0;

    if (dtx_json_get(object, key) == NULL) {
        return DTX_OK;
    }
    DTX_TRY(dtx_json_double(object, name, key, (double)min, (double)max, &v));
    if (v != floor(v) || fabs(v) > 9007199254740992.0) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: %s: a whole number is expected, found %g", name, key, v);
    }
    *out = (int64_t)v;
    return DTX_OK;
}

dtx_status dtx_json_bool(const cJSON *object, const char *name, const char *key, bool *out)
{
    const cJSON *item = dtx_json_get(object, key);

    if (item == NULL) {
        return DTX_OK;
    }
    if (!cJSON_IsBool(item)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: %s: true or false is expected, found %s", name, key, type_name(item));
    }
    *out = cJSON_IsTrue(item);
    return DTX_OK;
}

dtx_status dtx_json_str(const cJSON *object, const char *name, const char *key, size_t size, char *out)
{
    const cJSON *item = dtx_json_get(object, key);

    if (item == NULL) {
        return DTX_OK;
    }
    if (!cJSON_IsString(item)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: %s: a string is expected, found %s", name, key, type_name(item));
    }
    size_t n = strlen(item->valuestring);
    if (n >= size || memchr(item->valuestring, 0xFF, n) != NULL) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: %s: a string of at most %zu bytes without NUL is expected", name, key, size - 1);
    }
    memcpy(out, item->valuestring, n + 1);
    return DTX_OK;
}
