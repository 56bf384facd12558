#include "src/base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "src/base/printable.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static dtx_log_level threshold = DTX_LOG_INFO;
static dtx_log_sink current_sink;
static void *sink_user;

static void to_stderr(dtx_log_level level, const char *scope, const char *text)
{
    char clock[16];
    time_t now = time(NULL);
    struct tm tm;

    localtime_r(&now, &tm);
    strftime(clock, sizeof clock, "%H:%M:%S", &tm);
    fprintf(stderr, "%s %s%s: %s\n", clock,
            level == DTX_LOG_ERROR ? "error: " : level == DTX_LOG_WARN ? "warning: " : "", scope, text);
}

void dtx_log(dtx_log_level level, const char *scope, const char *fmt, ...)
{
    char raw[4096], text[sizeof raw];
    va_list ap;

    if (level > threshold) {
        return;
    }
    va_start(ap, fmt);
    vsnprintf(raw, sizeof raw, fmt, ap);
    va_end(ap);
    dtx_printable(text, sizeof text, raw, strlen(raw));
    pthread_mutex_lock(&lock);
    if (current_sink != NULL) {
        current_sink(level, scope, text, sink_user);
    } else {
        to_stderr(level, scope, text);
    }
    pthread_mutex_unlock(&lock);
}

void dtx_log_set_sink(dtx_log_sink sink, void *user)
{
    pthread_mutex_lock(&lock);
    current_sink = sink;
    sink_user = user;
    pthread_mutex_unlock(&lock);
}

void dtx_log_set_level(dtx_log_level level)
{
    threshold = level;
}

dtx_log_level dtx_log_get_level(void)
{
    return threshold;
}
