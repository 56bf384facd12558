#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "jobs/bench/bench.h"

void dtx_bench_add(dtx_bench_result *r, const char *fmt, ...)
{
    size_t n = strlen(r->more);
    va_list ap;

    n += (size_t)snprintf(r->more + n, sizeof r->more - n, ", ");
    va_start(ap, fmt);
    vsnprintf(r->more + n, sizeof r->more - n, fmt, ap);
    va_end(ap);
}
