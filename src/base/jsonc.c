#include "src/base/jsonc.h"

#include <string.h>

#include "src/base/file.h"
#include "src/base/mem.h"

/* The byte after the string that begins at s[i]. */
static size_t string_end(const char *s, size_t len, size_t i)
{
    for (i++; i < len && s[i] != '"'; i++) {
        i += s[i] == '\\';
    }
    return i < len ? i + 1 : len;
}

void dtx_jsonc_blank(char *text, size_t len)
{
    for (size_t i = 0; i < len;) {
        if (text[i] == '"') {
            i = string_end(text, len, i);
        } else if (text[i] == '/' && i + 1 < len && text[i + 1] == '/') {
            while (i < len && text[i] != '\n') {
                text[i++] = ' ';
            }
        } else if (text[i] == '/' && i + 1 < len && text[i + 1] == '*') {
            const char *end = memmem(text + i + 2, len - i - 2, "*/", 2);
            const size_t to = end != NULL ? (size_t)(end - text) + 2 : i; /* one without an end is left to the parser */
            for (size_t k = i; k < to; k++) {
                text[k] = text[k] == '\n' ? '\n' : ' ';
            }
            i = to > i ? to : len;
        } else {
            i++;
        }
    }
}

dtx_status dtx_jsonc_read(const char *path, cJSON **out, char **text, size_t *len)
{
    dtx_file_map map;
    char *copy;

    *text = NULL;
    DTX_TRY(dtx_file_map_open(path, &map));
    copy = dtx_malloc(map.size + 1, 1);
    dtx_status st = dtx_mem_check(copy, map.size + 1, 1, path);
    if (st == DTX_OK) {
        if (map.size > 0) {
            memcpy(copy, map.data, map.size);
        }
        copy[map.size] = '\0';
        *len = map.size;
        dtx_jsonc_blank(copy, *len);
        st = dtx_json_parse(copy, *len, path, 0, out);
    }
    dtx_file_map_close(&map);
    if (st != DTX_OK) {
        dtx_free(copy);
        return st;
    }
    *text = copy;
    return DTX_OK;
}

static size_t skip_blanks(const char *s, size_t len, size_t i)
{
    while (i < len && strchr(" \t\r\n,:", s[i]) != NULL) {
        i++;
    }
    return i;
}

/* The byte after the value that begins at s[i]; well-formed JSON. */
static size_t value_end(const char *s, size_t len, size_t i)
{
    int depth = 0;

    for (; i < len; i++) {
        if (s[i] == '"') {
            i = string_end(s, len, i) - 1;
        } else if (s[i] == '{' || s[i] == '[') {
            depth++;
        } else if (s[i] == '}' || s[i] == ']') {
            if (depth == 0) {
                return i;
            }
            depth--;
        } else if (s[i] == ',' && depth == 0) {
            return i;
        }
        if (depth == 0 && (s[i] == '"' || s[i] == '}' || s[i] == ']')) {
            return i + 1;
        }
    }
    return len;
}

bool dtx_jsonc_place(const char *text, size_t len, const char *key, int64_t *line, int64_t *column)
{
    size_t i = skip_blanks(text, len, 0), at = len;

    for (;;) { /* one level each time: i at the object's brace */
        const size_t n = strcspn(key, ".");
        bool found = false;
        if (i >= len || text[i] != '{') {
            return false;
        }
        for (i = skip_blanks(text, len, i + 1); i < len && text[i] == '"' && !found;) {
            size_t end = string_end(text, len, i), value = skip_blanks(text, len, end);
            found = end - i == n + 2 && memcmp(text + i + 1, key, n) == 0;
            at = found ? i : at;
            i = found ? value : skip_blanks(text, len, value_end(text, len, value));
        }
        if (!found) {
            return false;
        }
        if (key[n] == '\0') {
            break;
        }
        key += n + 1;
    }
    *line = *column = 1;
    for (size_t k = 0; k < at; k++) {
        *line += text[k] == '\n';
        *column = text[k] == '\n' ? 1 : *column + 1;
    }
    return true;
}
