/* Figures through gnuplot: a script of settings and the embedded drawing part, kept beside the tables it reads so that a
 * figure can be restyled by hand. */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "jobs/report/output.h"
#include "src/base/file.h"
#include "src/base/log.h"
#include "src/base/mem.h"

/* Starts gnuplot in the report's folder, its standard error going to `to`. The process may be one of MPI's: posix_spawn runs the
 * program on a stack of its own in this address space, while fork would copy the map of memory that the network may be using. */
static int spawn_gnuplot(const dtx_report *r, const char *targets, const char *script, int to, pid_t *child)
{
    char program[] = "gnuplot", option[] = "-e", set[600], file[160], *argv[] = {program, option, set, file, NULL};
    posix_spawn_file_actions_t actions;
    int error = posix_spawn_file_actions_init(&actions);

    if (error != 0) {
        return error;
    }
    snprintf(set, sizeof set, "%s", targets);
    snprintf(file, sizeof file, "%s", script);
    error = posix_spawn_file_actions_addchdir_np(&actions, r->out);
    error = error != 0 ? error : posix_spawn_file_actions_adddup2(&actions, to, STDERR_FILENO);
    error = error != 0 ? error : posix_spawnp(child, program, &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

/* Runs gnuplot; its words on standard error become part of the message. */
static dtx_status run_gnuplot(const dtx_report *r, const char *targets, const char *script)
{
    int fd[2], state = 0;
    char said[1024];
    size_t n = 0;
    ssize_t got;
    pid_t child = -1;

    if (pipe2(fd, O_CLOEXEC) != 0) {
        return DTX_FAIL(DTX_ERR_MISSING, "cannot start gnuplot: %s", strerror(errno));
    }
    const int error = spawn_gnuplot(r, targets, script, fd[1], &child);
    close(fd[1]);
    while (error == 0 && (got = read(fd[0], said + n, sizeof said - 1 - n)) != 0) {
        if (got < 0 && errno != EINTR) {
            break;
        }
        n += got > 0 ? (size_t)got : 0;
        n = n < sizeof said - 1 ? n : 0; /* the end of a long complaint counts */
    }
    said[n] = '\0';
    close(fd[0]);
    if (error == ENOENT) {
        return DTX_FAIL(DTX_ERR_MISSING, "gnuplot is not installed, so there are no figures and no page (Debian: apt-get install "
                        "gnuplot-nox); the tables stand in %s", r->out);
    }
    while (error == 0 && waitpid(child, &state, 0) < 0) {
        if (errno != EINTR) {
            return DTX_FAIL(DTX_ERR_MISSING, "gnuplot %s/%s: its end is not seen: %s", r->out, script, strerror(errno));
        }
    }
    if (error != 0) {
        return DTX_FAIL(DTX_ERR_MISSING, "cannot start gnuplot: %s", strerror(error));
    }
    if (!WIFEXITED(state) || WEXITSTATUS(state) != 0) {
        return DTX_FAIL(DTX_ERR_MISSING, "gnuplot %s/%s failed: %s", r->out, script, said);
    }
    if (n > 0) {
        dtx_log(DTX_LOG_DEBUG, "report", "gnuplot %s: %s", script, said);
    }
    return DTX_OK;
}

/* The last part of a path. */
static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

/* NAME.svg and NAME.pdf from NAME.gp, each under a temporary name until it is complete. */
static dtx_status make_figure(const dtx_report *r, const char *name, const char *script)
{
    static const char *const format[] = {"svg", "pdf"};
    dtx_file_new file[2] = {{.fd = -1}, {.fd = -1}};
    char targets[600] = "", path[1300], leaf[160];
    dtx_status st = DTX_OK;

    for (int i = 0; i < 2; i++) {
        snprintf(leaf, sizeof leaf, "%s.%s", name, format[i]);
        DTX_GO(dtx_file_join(path, sizeof path, r->out, leaf));
        DTX_GO(dtx_file_begin(&file[i], path));
        const size_t n = strlen(targets);
        snprintf(targets + n, sizeof targets - n, "%s = '%s'; ", format[i], last_part(file[i].tmp));
    }
    DTX_GO(run_gnuplot(r, targets, script));
    for (int i = 0; i < 2; i++) {
        DTX_GO(dtx_file_commit(&file[i]));
    }
done:
    for (int i = 0; i < 2; i++) {
        dtx_file_abandon(&file[i]);
    }
    return st;
}

dtx_status dtx_report_draw(dtx_report *r, dtx_report_file *out, const char *name, const char *body)
{
    char script[160];

    snprintf(script, sizeof script, "%s.gp", name);
    fprintf(out->f, "\n%s", dtx_report_asset(body));
    DTX_TRY(dtx_report_publish(r, out, script));
    DTX_TRY(make_figure(r, name, script));
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
