/* Figures through gnuplot: a script of settings and the embedded drawing part, kept beside the tables it reads so that a
 * figure can be restyled by hand. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "jobs/report.h"
#include "src/log.h"

enum { MAX_PANELS = 24 };

bool dtx_report_has_curves(const dtx_report *r, dtx_report_unit unit)
{
    for (int64_t i = 0; i < r->n_variants; i++) {
        if (r->variant[i].curve[unit][DTX_REPORT_ENTROPY].n_steps > 0
            || r->variant[i].curve[unit][DTX_REPORT_DEPENDENCE].n_steps > 0) {
            return true;
        }
    }
    return false;
}

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

/* The settings above stand in `out`; adds the drawing part, writes NAME.gp and runs it. */
static dtx_status draw(const dtx_report *r, dtx_report_file *out, const char *name, const char *body)
{
    char script[160];

    snprintf(script, sizeof script, "%s.gp", name);
    fprintf(out->f, "\n%s", dtx_report_asset(body));
    DTX_TRY(dtx_report_publish(r, out, script));
    return run_gnuplot(r, script);
}

static dtx_status draw_curves(const dtx_report *r, dtx_report_unit unit, const char *name)
{
    dtx_report_file out;
    int64_t n_steps = 2;

    DTX_TRY(dtx_report_begin(&out));
    fprintf(out.f, "name = \"%s\"\nfiles = \"entropy_by_%s.csv prompt_dependence_by_%s.csv\"\nvariants = \"", name,
            dtx_report_unit_name[unit], dtx_report_unit_name[unit]);
    const char *blank = "";
    bool banded = false; /* is there a step that two completions reach? */
    for (int64_t i = 0; i < r->n_variants; i++) {
        const dtx_report_curve *c = &r->variant[i].curve[unit][DTX_REPORT_ENTROPY];
        int64_t n = c->n_steps;
        banded = banded || (n > 0 && c->n[0] > 1);
        if (n > 0) {
            fprintf(out.f, "%s%s", blank, r->variant[i].name);
            blank = " ";
        }
        n_steps = n > n_steps ? n : n_steps;
    }
    fprintf(out.f, "\"\nxname = \"%s\"\nlast = %" PRId64 " # steps are counted from 0\nleast = %d # "
            "steps that fewer completions reach are left out\n",
            unit == DTX_REPORT_TOKEN ? "generated token (step)" : "generated word (step)",
            (n_steps < DTX_REPORT_STEPS ? n_steps : DTX_REPORT_STEPS) - 1, banded ? 2 : 1);
    return draw(r, &out, name, "figure1.gp");
}

static int64_t n_finite(const dtx_report_training *t, int64_t curve)
{
    int64_t n = 0;

    for (int64_t s = 0; s < t->n_steps; s++) {
        n += isfinite(t->value[curve * t->n_steps + s]) != 0;
    }
    return n;
}

static dtx_status draw_training(const dtx_report *r, const dtx_report_training *t)
{
    dtx_report_file out;
    int64_t shown[MAX_PANELS], n = 0;
    char name[160];

    for (int64_t c = 0; c < t->n_curves && n < MAX_PANELS; c++) {
        if (n_finite(t, c) > 0) {
            shown[n++] = c;
        }
    }
    if (n == 0) {
        return DTX_OK;
    }
    snprintf(name, sizeof name, "training_%s", t->name);
    DTX_TRY(dtx_report_begin(&out));
    fprintf(out.f, "name = \"%s\"\nfile = \"%s.csv\"\ncurves = \"", name, name);
    for (int64_t i = 0; i < n; i++) {
        fprintf(out.f, "%s%s", i > 0 ? " " : "", t->label[shown[i]]);
    }
    fprintf(out.f, "\"\nat = \"");
    for (int64_t i = 0; i < n; i++) {
        fprintf(out.f, "%s%" PRId64, i > 0 ? " " : "", shown[i] + 2);
    }
    fprintf(out.f, "\" # columns of the file\ndense = \""); /* point size: curves with gaps show their points */
    for (int64_t i = 0; i < n; i++) {
        fprintf(out.f, "%s%s", i > 0 ? " " : "", n_finite(t, shown[i]) < t->n_steps || t->n_steps == 1 ? "0.45" : "0");
    }
    fprintf(out.f, "\"\n");
    return draw(r, &out, name, "training.gp");
}

dtx_status dtx_report_draw(const dtx_report *r)
{
    static const char *const names[DTX_REPORT_UNITS] = {"figure1", "figure1_words"};

    for (int u = 0; u < DTX_REPORT_UNITS; u++) {
        if (dtx_report_has_curves(r, u)) {
            DTX_TRY(draw_curves(r, u, names[u]));
        }
    }
    for (int64_t i = 0; i < r->n_trainings; i++) {
        DTX_TRY(draw_training(r, &r->training[i]));
    }
    return DTX_OK;
}
