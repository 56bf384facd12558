#include "src/base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "src/base/printable.h"

static _Thread_local char error_text[4096];
static _Thread_local char error_place[256];

dtx_status dtx_fail(dtx_status code, const char *file, int line, const char *fmt, ...)
{
    char raw[sizeof error_text]; /* the arguments may lie in error_text */
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(raw, sizeof raw, fmt, ap);
    va_end(ap);
    dtx_error_set(raw);
    const char *base = strstr(file, "/src/");
    snprintf(error_place, sizeof error_place, "%s:%d", base != NULL ? base + 1 : file, line);
    return code;
}

dtx_status dtx_error_context(dtx_status code, const char *fmt, ...)
{
    char raw[1024], front[2048], old[sizeof error_text];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(raw, sizeof raw, fmt, ap);
    va_end(ap);
    dtx_printable(front, sizeof front, raw, strlen(raw));
    memcpy(old, error_text, sizeof old);
    /* A text that does not fit is cut at its end: the place named first matters most. */
    int n = snprintf(error_text, sizeof error_text, "%s: ", front);
    if (n >= 0 && (size_t)n < sizeof error_text) {
        size_t room = sizeof error_text - (size_t)n - 1, len = strnlen(old, sizeof old - 1);
        len = len < room ? len : room;
        memcpy(error_text + n, old, len);
        error_text[(size_t)n + len] = '\0';
    }
    return code;
}

const char *dtx_error_text(void)
{
    return error_text;
}

const char *dtx_error_place(void)
{
    return error_place;
}

void dtx_error_set(const char *text)
{
    char copy[sizeof error_text];

    dtx_printable(copy, sizeof copy, text, strnlen(text, sizeof copy - 1));
    memcpy(error_text, copy, sizeof copy);
}

void dtx_error_clear(void)
{
    error_text[0] = '\0';
    error_place[0] = '\0';
}

const char *dtx_status_name(dtx_status st)
{
    switch (st) {
    case DTX_OK: return "ok";
    case DTX_ERR_CHECK: return "check";
    case DTX_ERR_USAGE: return "usage";
    case DTX_ERR_INPUT: return "input";
    case DTX_ERR_MISSING: return "missing";
    case DTX_ERR_NUMERIC: return "numeric";
    case DTX_STOPPED: return "stopped";
    }
    return "unknown";
}
