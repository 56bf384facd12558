#include "jobs/program/log.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "src/base/file.h"
#include "src/base/log.h"
#include "src/base/version.h"

/* Seconds between progress lines: often at first, when one wants to see that all is well, then seldom. */
static double progress_interval(double since_begin)
{
    double s = since_begin / 20;

    return s < 5 ? 5 : s > 60 ? 60 : s;
}

static struct {
    const dtx_job *job;
    bool all_ranks;     /* --verbose */
    FILE *file;         /* RUN/log/JOB.log on rank 0, once it is open */
    FILE *early;        /* until then: lines kept in memory */
    char *early_text;
    size_t early_size;
} log_state;

static void format_time(char *out, size_t size)
{
    time_t now = time(NULL);
    struct tm tm;

    localtime_r(&now, &tm);
    strftime(out, size, "%Y-%m-%dT%H:%M:%S%z", &tm);
}

static void write_line(dtx_log_level level, const char *scope, const char *text)
{
    char stamp[40];
    const char *mark = level == DTX_LOG_ERROR ? "error: " : level == DTX_LOG_WARN ? "warning: " : "";
    FILE *copy = log_state.file != NULL ? log_state.file : log_state.early;

    format_time(stamp, sizeof stamp);
    if (log_state.job->par.rank > 0) {
        fprintf(stderr, "%.8s %srank %d (%s): %s: %s\n", stamp + 11, mark, log_state.job->par.rank, log_state.job->par.host,
                scope, text);
        return;
    }
    fprintf(stderr, "%.8s %s%s: %s\n", stamp + 11, mark, scope, text);
    if (copy != NULL) {
        fprintf(copy, "%s %s%s: %s\n", stamp, mark, scope, text);
        fflush(copy);
    }
}

static void sink(dtx_log_level level, const char *scope, const char *text, void *user)
{
    (void)user;
    if (log_state.job->par.rank == 0 || level == DTX_LOG_ERROR || log_state.all_ranks) {
        write_line(level, scope, text);
    }
}

/* Lines are kept until the job opens its file. */
static void begin_early(const dtx_job *job)
{
    log_state.job = job;
    if (job->par.rank == 0 && log_state.early == NULL) {
        log_state.early = open_memstream(&log_state.early_text, &log_state.early_size);
    }
}

void dtx_job_log_start(const dtx_job *job, bool verbose, bool quiet)
{
    log_state.all_ranks = verbose;
    begin_early(job);
    dtx_log_set_level(verbose ? DTX_LOG_DEBUG : quiet ? DTX_LOG_WARN : DTX_LOG_INFO);
    dtx_log_set_sink(sink, NULL);
}

static FILE *append_to(const char *dir, const char *job, const char *ending)
{
    char name[128], path[DTX_PATH_MAX + 160];
    FILE *f = NULL;

    snprintf(name, sizeof name, "%s.%s", job, ending);
    if (dtx_file_join(path, sizeof path, dir, name) == DTX_OK && dtx_file_mkdirs(dir) == DTX_OK) {
        int fd;
        if (dtx_file_open_kept(path, O_WRONLY | O_APPEND | O_NOFOLLOW, &fd) == DTX_OK) {
            f = fdopen(fd, "a");
        }
    }
    if (f == NULL) {
        dtx_log(DTX_LOG_WARN, job, "%s cannot be written (%s); the job goes on without it", path, strerror(errno));
    }
    return f;
}

void dtx_job_log_open(const dtx_job *job, const char *dir)
{
    if (job->par.rank != 0 || log_state.file != NULL || dir == NULL || log_state.job == NULL) {
        return;
    }
    FILE *f = append_to(dir, job->def->name, "log");
    if (f == NULL) {
        return;
    }
    if (log_state.early != NULL) {
        fclose(log_state.early);
        log_state.early = NULL;
        fwrite(log_state.early_text, 1, log_state.early_size, f);
        fflush(f);
        free(log_state.early_text);
        log_state.early_text = NULL;
    }
    log_state.file = f;
}

/* In the log file alone. */
static void note_failure(dtx_status st)
{
    char stamp[40];

    if (log_state.file != NULL) {
        format_time(stamp, sizeof stamp);
        fprintf(log_state.file, "%s %s: %s (exit code %d, %s)\n", stamp, st == DTX_STOPPED ? "stopped" : "error", dtx_error_text(),
                (int)st, dtx_error_place());
    }
}

void dtx_job_log_failure(const dtx_job *job, dtx_status st)
{
    const char *text = dtx_error_text()[0] != '\0' ? dtx_error_text() : "no message was recorded";

    if (job->par.rank != 0) {
        return;
    }
    if (st == DTX_STOPPED) {
        dtx_log(DTX_LOG_INFO, job->def->name, "stopped before the end: %s (exit code 75)",
                dtx_error_text()[0] != '\0' ? dtx_error_text() : "the same command continues");
        return;
    }
    fprintf(stderr, "detoxlens %s: error: %s\n", job->def->name, text);
    dtx_log(DTX_LOG_DEBUG, job->def->name, "the error arose at %s", dtx_error_place());
    note_failure(st);
}

static void close_files(void)
{
    if (log_state.file != NULL) {
        fclose(log_state.file);
    }
    if (log_state.early != NULL) {
        fclose(log_state.early);
        free(log_state.early_text);
    }
    log_state.file = log_state.early = NULL;
    log_state.early_text = NULL;
}

void dtx_job_log_switch(const dtx_job *next, dtx_status ended)
{
    if (ended != DTX_OK) {
        note_failure(ended);
    }
    close_files();
    begin_early(next);
}

void dtx_job_log_end(void)
{
    dtx_log_set_sink(NULL, NULL);
    close_files();
    memset(&log_state, 0, sizeof log_state);
}

/* ---- progress ---- */

static void format_duration(char *out, size_t size, double s)
{
    if (!isfinite(s) || s < 0 || s > 3.15e9) {
        snprintf(out, size, "--:--:--");
        return;
    }
    int64_t t = (int64_t)(s + 0.5);
    if (t >= 86400) {
        snprintf(out, size, "%lldd %02lld:%02lld:%02lld", (long long)(t / 86400), (long long)(t / 3600 % 24),
                 (long long)(t / 60 % 60), (long long)(t % 60));
    } else {
        snprintf(out, size, "%02lld:%02lld:%02lld", (long long)(t / 3600), (long long)(t / 60 % 60), (long long)(t % 60));
    }
}

static void note_reached(const dtx_progress *p)
{
    if (p->job->reached != NULL) {
        *p->job->reached = (dtx_job_reached){true, p->total, p->done, p->skipped, p->unit};
    }
}

void dtx_progress_begin(dtx_progress *p, const dtx_job *job, const char *log_dir, const char *unit, double total, double skipped)
{
    memset(p, 0, sizeof *p);
    p->job = job;
    p->unit = unit;
    p->total = total;
    p->done = p->skipped = skipped;
    p->begun = p->last = dtx_now();
    note_reached(p);
    if (job->par.rank == 0 && log_dir != NULL) {
        dtx_job_log_open(job, log_dir);
        p->jsonl = append_to(log_dir, job->def->name, "jsonl");
    }
    if (job->par.rank == 0 && skipped > 0) {
        dtx_log(DTX_LOG_INFO, job->def->name, "%.0f of %.0f %s are done already", skipped, total, unit);
    }
}

static void report(dtx_progress *p)
{
    double seconds = p->last - p->begun, rate = seconds > 0 ? (p->done - p->skipped) / seconds : NAN;
    double tokens = seconds > 0 ? p->tokens / seconds : NAN, eta = rate > 0 ? (p->total - p->done) / rate : NAN;
    char clock[32], line[256], stamp[40];
    int n;

    format_duration(clock, sizeof clock, eta);
    n = snprintf(line, sizeof line, "%.0f/%.0f %s  %.1f %%", p->done, p->total, p->unit,
                 p->total > 0 ? 100 * p->done / p->total : 100.0);
    if (isfinite(rate)) {
        n += snprintf(line + n, sizeof line - (size_t)n, "  %.3g %s/s", rate, p->unit);
    }
    if (isfinite(tokens) && tokens > 0) {
        n += snprintf(line + n, sizeof line - (size_t)n, "  %.0f tokens/s", tokens);
    }
    snprintf(line + n, sizeof line - (size_t)n, "  ETA %s", clock);
    dtx_log(DTX_LOG_INFO, p->job->def->name, "%s%s%s", line, p->extra[0] != '\0' ? "  " : "", p->extra);
    if (p->jsonl != NULL) {
        format_time(stamp, sizeof stamp);
        fprintf(p->jsonl, "{\"time\":\"%s\",\"job\":\"%s\",\"variant\":\"%s\",\"unit\":\"%s\",\"done\":%.0f,\"total\":%.0f,\"seconds\":%.3f",
                stamp, p->job->def->name, p->job->variant, p->unit, p->done, p->total, seconds);
        if (isfinite(rate)) {
            fprintf(p->jsonl, ",\"rate\":%.6g", rate);
        }
        if (isfinite(tokens)) {
            fprintf(p->jsonl, ",\"tokens_per_s\":%.6g", tokens);
        }
        if (isfinite(eta)) {
            fprintf(p->jsonl, ",\"eta_s\":%.1f", eta);
        }
        fprintf(p->jsonl, "%s%s}\n", p->extra_json[0] != '\0' ? "," : "", p->extra_json);
        fflush(p->jsonl);
    }
}

void dtx_progress_tick(dtx_progress *p, double done, double tokens, const char *extra, const char *extra_json, bool force)
{
    double now = dtx_now();

    if (p->job == NULL || p->job->par.rank != 0) {
        return;
    }
    p->done = done;
    p->tokens = tokens;
    note_reached(p);
    if (force || now - p->last >= progress_interval(now - p->begun)) {
        /* A text that does not fit is left out: half of one would be no JSON. */
        snprintf(p->extra, sizeof p->extra, "%s", extra != NULL ? extra : "");
        snprintf(p->extra_json, sizeof p->extra_json, "%s",
                 extra_json != NULL && strlen(extra_json) < sizeof p->extra_json ? extra_json : "");
        p->last = now;
        report(p);
    }
}

void dtx_progress_end(dtx_progress *p)
{
    char clock[32];

    if (p->job != NULL && p->job->par.rank == 0) {
        p->last = dtx_now();
        format_duration(clock, sizeof clock, p->last - p->begun);
        dtx_log(DTX_LOG_INFO, p->job->def->name, "%.0f of %.0f %s, %.0f of them now in %s", p->done, p->total, p->unit,
                p->done - p->skipped, clock);
        if (p->jsonl != NULL) {
            fclose(p->jsonl);
        }
    }
    memset(p, 0, sizeof *p);
}
