#include "src/base/streams.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "src/base/printable.h"
#include "src/base/utf8.h"

static struct {
    char rest[4];  /* the beginning of a character whose end comes with the next write */
    size_t n_rest;
    int error;     /* of the first write that failed */
} output;

static bool send_out(const char *data, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t w = write(STDOUT_FILENO, data + done, size - done);
        if (w > 0) {
            done += (size_t)w;
        } else if (w == 0 || errno != EINTR) {
            output.error = output.error != 0 ? output.error : w == 0 ? EIO : errno;
            return false;
        }
    }
    return true;
}

/* Could text[len], len < 4, be the beginning of a character? */
static bool unfinished(const char *text, size_t len)
{
    const unsigned char c = (unsigned char)text[0];
    const size_t need = c >= 0xF0 && c <= 0xF4 ? 4 : c >= 0xE0 && c < 0xF0 ? 3 : c >= 0xC2 && c < 0xE0 ? 2 : 1;
    uint32_t cp;

    return len < need && dtx_utf8_next(text, len, &cp, NULL) == len;
}

static bool send_printable(const char *text, size_t len, bool last)
{
    char piece[4096];
    size_t n = 0;

    for (size_t at = 0, used = 0; at < len; at += used) {
        if (!last && len - at < sizeof output.rest && unfinished(text + at, len - at)) {
            memcpy(output.rest, text + at, len - at);
            output.n_rest = len - at;
            break;
        }
        if (n + 8 > sizeof piece) {
            if (!send_out(piece, n)) {
                return false;
            }
            n = 0;
        }
        n += dtx_printable_next(piece + n, text + at, len - at, true, &used);
    }
    return send_out(piece, n);
}

static ssize_t write_output(void *cookie, const char *text, size_t len)
{
    size_t from = 0;

    (void)cookie;
    if (output.n_rest > 0) { /* completed byte by byte: at most three */
        char begin[8];
        size_t n = output.n_rest;
        memcpy(begin, output.rest, n);
        while (from < len && n < sizeof begin - 1 && unfinished(begin, n)) {
            begin[n++] = text[from++];
        }
        output.n_rest = 0;
        if (!send_printable(begin, n, false)) {
            return 0;
        }
    }
    return send_printable(text + from, len - from, false) ? (ssize_t)len : 0;
}

static int close_output(void *cookie)
{
    const size_t n = output.n_rest;

    (void)cookie;
    output.n_rest = 0;
    return send_printable(output.rest, n, true) ? 0 : -1;
}

void dtx_streams_start(void)
{
    static const int mode[] = {O_RDONLY, O_RDONLY, O_RDWR};

    for (int fd = 0; fd < 3; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF) {
            const int null = open("/dev/null", mode[fd]); /* the lowest that is free: this one */
            if (null >= 0 && null != fd) {
                close(null);
            }
        }
    }
    FILE *out = fopencookie(NULL, "w", (cookie_io_functions_t){.write = write_output, .close = close_output});
    if (out != NULL) {
        setvbuf(out, NULL, isatty(STDOUT_FILENO) == 1 ? _IOLBF : _IOFBF, BUFSIZ);
        stdout = out;
    }
}

dtx_status dtx_streams_flush(int *nobody)
{
    const bool bad = fflush(stdout) != 0 || ferror(stdout) != 0;
    int why = output.error;

    if (nobody != NULL) {
        *nobody = bad && why == EPIPE;
    }
    if (!bad && fcntl(STDOUT_FILENO, F_GETFL) >= 0) { /* some file systems tell only at the end that there was no room */
        const int copy = dup(STDOUT_FILENO);
        why = copy >= 0 && close(copy) != 0 ? errno : 0;
    }
    if (!bad && why == 0) {
        return DTX_OK;
    }
    return DTX_FAIL(DTX_ERR_MISSING, "standard output: cannot write: %s", strerror(why != 0 ? why : EIO));
}
