/* HDF5's errors inside ours. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "mpi/h5/impl.h"

void dtx_h5_quiet(void)
{
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

static herr_t innermost(unsigned n, const H5E_error2_t *e, void *user)
{
    (void)n;
    snprintf(user, 1024, "%s", e->desc != NULL ? e->desc : "");
    return 1; /* one is enough */
}

/* "...errno = 28, error message = 'No space left on device', ..." becomes what stands between the quotes. */
static void shorten(char *text)
{
    static const char mark[] = "error message = '";
    char *begin = strstr(text, mark);

    if (begin != NULL) {
        begin += sizeof mark - 1;
        char *end = strchr(begin, '\'');
        size_t len = end != NULL ? (size_t)(end - begin) : strlen(begin);
        memmove(text, begin, len);
        text[len] = '\0';
    }
}

static bool is_environment(const char *text)
{
    static const char *const causes[] = {"o space left", "quota", "File too large", "ermission denied", "Read-only",
                                         "Input/output error", "Stale file", "NO_SPACE", "emory allocation failed", "ut of memory"};

    for (size_t i = 0; i < sizeof causes / sizeof causes[0]; i++) {
        if (strstr(text, causes[i]) != NULL) {
            return true;
        }
    }
    return false;
}

dtx_status dtx_h5_fail(dtx_status code, const char *file, int line, const char *fmt, ...)
{
    char inner[1024] = "", text[2048];
    va_list ap;

    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, innermost, inner);
    shorten(inner);
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (dtx_h5_device_text() != NULL) { /* the device's word is the cause */
        snprintf(inner, sizeof inner, "%s", dtx_h5_device_text());
        code = DTX_ERR_MISSING;
    }
    if (is_environment(inner)) {
        code = DTX_ERR_MISSING;
    }
    return inner[0] != '\0' ? dtx_fail(code, file, line, "%s (HDF5: %s)", text, inner)
                            : dtx_fail(code, file, line, "%s", text);
}
