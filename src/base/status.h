/* status.h - how every fallible function reports: a status, and one error text recorded where it happened.
 * The numeric value of a status is the exit code of the program (see `detoxlens --help`).
 * The text is per thread; parallel regions must not fail inside, they report a flag to the thread that opened them. */
#ifndef DTX_STATUS_H
#define DTX_STATUS_H

typedef enum {
    DTX_OK = 0,
    DTX_ERR_CHECK = 1,   /* a comparison differs, or an internal error without a class of its own */
    DTX_ERR_USAGE = 2,   /* command line, configuration, a run.h5 made with other settings, a locked run directory */
    DTX_ERR_INPUT = 3,   /* a data, model, adapter or tokenizer file is malformed or not supported */
    DTX_ERR_MISSING = 4, /* file, stage, service, permission, memory or disk space is not there */
    DTX_ERR_NUMERIC = 5, /* NaN, divergence */
    DTX_STOPPED = 75     /* stopped cleanly before the end; the same command continues (EX_TEMPFAIL) */
} dtx_status;

/* Records file, line and text, and yields `code`. Use at the origin of an error, once. The text says what,
 * where (path, row, tensor), what was expected and found, and what to do. It is one line: controls in it are shown as escapes
 * (printable.h), as names and texts out of files stand in it. */
#define DTX_FAIL(code, ...) dtx_fail((code), __FILE__, __LINE__, __VA_ARGS__)

/* Returns from the calling function when `expr` is not DTX_OK. Only where nothing has to be freed. */
#define DTX_TRY(expr)                        \
    do {                                     \
        dtx_status dtx_try_ = (expr);        \
        if (dtx_try_ != DTX_OK) {            \
            return dtx_try_;                 \
        }                                    \
    } while (0)

/* Same, with clean-up: sets `st` and jumps to `done:`. */
#define DTX_GO(expr)          \
    do {                      \
        st = (expr);          \
        if (st != DTX_OK) {   \
            goto done;        \
        }                     \
    } while (0)

dtx_status dtx_fail(dtx_status code, const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Puts "text: " in front of the recorded error, for context the origin does not have. Returns `code` unchanged. */
dtx_status dtx_error_context(dtx_status code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The recorded text of this thread; never NULL, "" when nothing failed. Valid until the next DTX_FAIL. */
const char *dtx_error_text(void);
/* "src/base/file.c:123" of the origin, for debug logs. */
const char *dtx_error_place(void);
/* Replaces the recorded text, e.g. by the one another rank sent. */
void dtx_error_set(const char *text);
void dtx_error_clear(void);

/* One word for a status: "ok", "usage", "input", ... */
const char *dtx_status_name(dtx_status st);

#endif
