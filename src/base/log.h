/* log.h - messages to standard error (and to a sink that the mpi layer installs, which knows rank and log file).
 * Data never goes through here. Secrets never go through here. */
#ifndef DTX_LOG_H
#define DTX_LOG_H

typedef enum { DTX_LOG_ERROR, DTX_LOG_WARN, DTX_LOG_INFO, DTX_LOG_DEBUG } dtx_log_level;

/* Receives one finished line without its newline. `scope` is the part that speaks: "weights", "generate". */
typedef void (*dtx_log_sink)(dtx_log_level level, const char *scope, const char *text, void *user);

/* Writes one line: controls in it, line breaks too, are shown as escapes (printable.h). Thread-safe. */
void dtx_log(dtx_log_level level, const char *scope, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* NULL restores the default sink: "12:34:56 scope: text" on standard error. */
void dtx_log_set_sink(dtx_log_sink sink, void *user);
/* Lines above this level are dropped before they are formatted; the default is DTX_LOG_INFO. */
void dtx_log_set_level(dtx_log_level level);
dtx_log_level dtx_log_get_level(void);

#endif
