/* Figures through gnuplot: a script of settings and the embedded drawing part, kept beside the tables it reads so that a
 * figure can be restyled by hand. */
#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "jobs/report/output.h"
#include "src/base/log.h"
#include "src/base/mem.h"

/* Runs gnuplot in the report's folder; its words on standard error become part of the message. */
static dtx_status run_gnuplot(const dtx_report *r, const char *script)
{
    int fd[2], state = 0;
    char said[1024];
    size_t n = 0;
    ssize_t got;

    if (pipe(fd) != 0) {
        return DTX_FAIL(DTX_ERR_MISSING, "cannot start gnuplot: %s", strerror(errno));
    }
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        if (chdir(r->out) == 0 && dup2(fd[1], STDERR_FILENO) >= 0) {
            close(fd[0]);
            close(fd[1]);
            execlp("gnuplot", "gnuplot", script, (char *)NULL);
        }
        _exit(errno == ENOENT ? 127 : 126);
    }
    close(fd[1]);
    while (child > 0 && (got = read(fd[0], said + n, sizeof said - 1 - n)) != 0) {
        if (got < 0 && errno != EINTR) {
            break;
        }
        n += got > 0 ? (size_t)got : 0;
        n = n < sizeof said - 1 ? n : 0; /* the end of a long complaint counts */
    }
    said[n] = '\0';
    close(fd[0]);
    if (child < 0 || waitpid(child, &state, 0) < 0) {
        return DTX_FAIL(DTX_ERR_MISSING, "cannot start gnuplot: %s", strerror(errno));
    }
    if (WIFEXITED(state) && WEXITSTATUS(state) == 127) {
        return DTX_FAIL(DTX_ERR_MISSING, "gnuplot is not installed, so there are no figures and no page (Debian: apt-get install "
                        "gnuplot-nox); the tables stand in %s", r->out);
    }
    if (!WIFEXITED(state) || WEXITSTATUS(state) != 0) {
        return DTX_FAIL(DTX_ERR_MISSING, "gnuplot %s/%s failed: %s", r->out, script, said);
    }
    if (n > 0) {
        dtx_log(DTX_LOG_DEBUG, "report", "gnuplot %s: %s", script, said);
    }
    return DTX_OK;
}

dtx_status dtx_report_draw(dtx_report *r, dtx_report_file *out, const char *name, const char *body)
{
    char script[160];

    snprintf(script, sizeof script, "%s.gp", name);
    fprintf(out->f, "\n%s", dtx_report_asset(body));
    DTX_TRY(dtx_report_publish(r, out, script));
    DTX_TRY(run_gnuplot(r, script));
    DTX_TRY(DTX_GROW(r->figure, r->cap_figures, r->n_figures + 1));
    snprintf(r->figure[r->n_figures++], sizeof r->figure[0], "%.63s", name);
    return DTX_OK;
}

void dtx_report_put_gnuplot(FILE *f, const char *s)
{
    fputc('"', f);
    for (; *s != '\0'; s++) {
        if (*s == '"' || *s == '\\' || *s == '`' || *s == '$') {
            fputc('\\', f);
        }
        fputc((unsigned char)*s < ' ' ? ' ' : *s, f);
    }
    fputc('"', f);
}
