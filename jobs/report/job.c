/* report - tables, figures and a page from run.h5. Local: no MPI; works on a file that is still being filled. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/program/job.h"
#include "jobs/report/parts.h"
#include "src/base/file.h"
#include "src/base/log.h"

/* attribute.name, or what the job attribute calls its result when that is not set. */
static dtx_status wanted_method(const dtx_config *c, char out[64])
{
    int n = c->attribute.name[0] != '\0' ? snprintf(out, 64, "%s", c->attribute.name)
          : c->attribute.completions_of[0] != '\0' ? snprintf(out, 64, "%.30s@%.30s", dtx_config_word(c, "attribute.method"), c->attribute.completions_of)
                                                   : snprintf(out, 64, "%s", dtx_config_word(c, "attribute.method"));

    return n < 64 ? DTX_OK : DTX_FAIL(DTX_ERR_USAGE, "attribute.name: longer than 63 bytes");
}

static dtx_status wanted_number(const dtx_job *job, const char *name, double fallback, double max, bool whole, double *out)
{
    const char *text = dtx_job_flag(job, name);
    char *end;

    *out = fallback;
    if (text == NULL) {
        return DTX_OK;
    }
    *out = strtod(text, &end);
    if (*text == '\0' || *end != '\0' || !(*out >= 0 && *out <= max) || (whole && *out != floor(*out))) {
        return DTX_FAIL(DTX_ERR_USAGE, "--%s %s: a %snumber from 0 to %g is expected", name, text, whole ? "whole " : "", max);
    }
    return DTX_OK;
}

/* In the page's order. */
static dtx_status (*const parts[])(dtx_report *r, cJSON *page) = {
    dtx_report_part_toxicity, dtx_report_part_samples, dtx_report_part_quality, dtx_report_part_table2, dtx_report_part_curves,
    dtx_report_part_matched, dtx_report_part_differences, dtx_report_part_transitions, dtx_report_part_scores, dtx_report_part_keywords, dtx_report_part_same_text,
    dtx_report_part_training,
};

static dtx_status run(dtx_job *job)
{
    char method[64];
    double n_sample, threshold;
    cJSON *page = cJSON_CreateObject();
    dtx_report r = {.file = -1};
    dtx_status st;

    DTX_GO(wanted_method(&job->config, method));
    DTX_GO(wanted_number(job, "sample", 60, 10000, true, &n_sample));
    DTX_GO(wanted_number(job, "threshold", 0.66, 1, false, &threshold));
    DTX_GO(dtx_report_load(job->config.run, method, &r));
    DTX_GO(dtx_report_load_toxicity(&r, job->config.score.name, (float)threshold));
    DTX_GO(dtx_report_open_tokenizer(&r, job->config.model.path));
    DTX_GO(dtx_file_mkdirs(r.out));
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        DTX_GO(parts[i](&r, page));
    }
    DTX_GO(dtx_report_part_runs(&r, (const char *const *)job->args, job->n_args, method, job->config.score.name, page));
    DTX_GO(dtx_report_part_tables(&r, page)); /* last, as parts add to what is missing */
    DTX_GO(dtx_report_write_page(&r, page, (int64_t)n_sample));
    for (int64_t i = 0; i < r.n_variants; i++) {
        const dtx_report_variant *v = &r.variant[i];
        if (v->a.n_done > 0) {
            dtx_log(DTX_LOG_INFO, "report", "%s: %" PRId64 " of %" PRId64 " rows attributed (%s); mean entropy %.3f bits, mean prompt "
                    "dependence %.3f", v->name, v->a.n_done, v->n_rows, r.method, v->mean[DTX_REPORT_ENTROPY],
                    v->mean[DTX_REPORT_DEPENDENCE]);
        }
    }
    for (int64_t i = 0; i < r.n_shares; i++) {
        const dtx_report_share *s = &r.share[i];
        if (strcmp(s->set, r.score_set) == 0) {
            dtx_log(DTX_LOG_INFO, "report", "toxicity (%s), %s, %s: %.4f of %" PRId64 " completions, %.4f of %" PRId64 " scored ones",
                    s->set, s->subset, s->variant, s->share_all, s->rows, s->share_scored, s->scored);
        }
    }
    dtx_log(DTX_LOG_INFO, "report", "%s/index.html", r.out);
done:
    cJSON_Delete(page);
    dtx_report_free(&r);
    return st;
}

static const dtx_job_option options[] = {
    {"sample", "N", NULL, "completions that can be looked at token by token in the page; 60 unless told"},
    {"threshold", "X", NULL, "a completion is toxic when its score is above X; 0.66 unless told, as in the study's Figure 1"},
    {NULL, NULL, NULL, NULL},
};

const dtx_job_def dtx_job_report = {
    .name = "report",
    .args = "[RUN...]",
    .summary = "tables, figures and a page to read in a browser, from run.h5",
    .help = "Writes RUN/report/: Table 1 with paired differences between variants; Table 2; quality (perplexity, distinct-n, repetition, empty "
            "answers); Figure 1 (entropy by step, by variant and by toxic or not); prompt dependence; differences between variants with "
            "bootstrap bands; KL divergence; transitions; entropy against toxicity; key words; training curves; launches; what is missing. "
            "Tables are CSV, figures SVG and PDF with the gnuplot script that made them. index.html is one self-contained page with all "
            "of it and a token heat map of some completions; toxic text is blurred until asked for. Works on a file that is only partly "
            "filled, without MPI. Needs gnuplot.\n\n"
            "Further run directories (other seeds of the same study) add means over all runs.\n\n"
            "Example: detoxlens report --run quickstart-run\n"
            "         detoxlens report --run seed1 seed2 seed3",
    .bit = DTX_JOB_REPORT,
    .options = options,
    .run = run,
};
