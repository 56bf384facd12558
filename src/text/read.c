#include "src/text/read.h"

#include <string.h>

#include "src/text/impl.h"

dtx_status dtx_read_unsupported(const char *path, const char *part, const char *what)
{
    return DTX_FAIL(DTX_ERR_INPUT, "%s: %s \"%.80s\" is not supported; src/text/tokenizer.h and README.md list what is read", path, part,
                    what);
}

dtx_status dtx_read_type(const char *path, const char *part, const cJSON *c, const char **type)
{
    *type = "";
    if (c == NULL || cJSON_IsNull(c)) {
        return DTX_OK;
    }
    const cJSON *name = cJSON_IsObject(c) ? dtx_json_get(c, "type") : NULL;
    if (!cJSON_IsString(name)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: %s must be null or an object with a \"type\"", path, part);
    }
    *type = name->valuestring;
    return DTX_OK;
}

dtx_status dtx_read_id(const char *path, const char *what, const cJSON *c, int64_t *id)
{
    if (!cJSON_IsNumber(c) || c->valuedouble < 0 || c->valuedouble >= DTX_TOK_MAX_ID ||
        c->valuedouble != (double)(int64_t)c->valuedouble) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: the id of %.60s must be a whole number from 0 to %d", path, what,
                        DTX_TOK_MAX_ID - 1);
    }
    *id = (int64_t)c->valuedouble;
    return DTX_OK;
}

bool dtx_read_is_set(const cJSON *c, const char *key)
{
    const cJSON *v = dtx_json_get(c, key);

    return v != NULL && !cJSON_IsFalse(v) && !(cJSON_IsString(v) && v->valuestring[0] == '\0') &&
           !(cJSON_IsNumber(v) && v->valuedouble == 0);
}

dtx_status dtx_read_text(const char *path, const cJSON *c, char **text, size_t *len)
{
    if (!cJSON_IsString(c)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: a token or merge must be a string", path);
    }
    return dtx_json_text(c, text, len);
}

dtx_status dtx_read_short(const char *path, const char *part, const char *key, const cJSON *c, size_t least, char *out, size_t size)
{
    size_t n = cJSON_IsString(c) ? strlen(c->valuestring) : 0;

    if (!cJSON_IsString(c) || n < least || n >= size || strchr(c->valuestring, '\xFF') != NULL) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: %s: \"%s\" must be a string of %zu to %zu bytes without NUL", path, part, key, least, size - 1);
    }
    memcpy(out, c->valuestring, n + 1);
    return DTX_OK;
}
