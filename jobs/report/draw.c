/* Figures through gnuplot: a script of settings and the embedded drawing part, kept beside the tables it reads so that a
 * figure can be restyled by hand. */
#include <string.h>

#include "jobs/report/output.h"
#include "src/base/file.h"
#include "src/base/helper.h"
#include "src/base/log.h"
#include "src/base/mem.h"

/* Runs gnuplot in the report's folder; its words on standard error become part of the message. This process may be one of MPI's,
 * which must not start another itself. */
static dtx_status run_gnuplot(const dtx_report *r, const char *targets, const char *script)
{
    const char *const argv[] = {"gnuplot", "-e", targets, script, NULL};
    dtx_helper_result result;

    DTX_TRY(dtx_helper_run(r->out, argv, &result));
    if (result.code == 127) {
        return DTX_FAIL(DTX_ERR_MISSING, "gnuplot is not installed, so there are no figures and no page (Debian: apt-get install "
                        "gnuplot-nox); the tables stand in %s", r->out);
    }
    if (result.code != 0) {
        return DTX_FAIL(DTX_ERR_MISSING, "gnuplot %s/%s failed: %s", r->out, script, result.said);
    }
    if (result.said[0] != '\0') {
        dtx_log(DTX_LOG_DEBUG, "report", "gnuplot %s: %s", script, result.said);
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
