/* The report's tables: plain CSV (RFC 4180), an empty cell where there is no value, steps and rows counted from 0. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/report.h"
#include "src/file.h"
#include "src/mem.h"

dtx_status dtx_report_begin(dtx_report_file *out)
{
    *out = (dtx_report_file){0};
    out->f = open_memstream(&out->text, &out->size);
    return out->f != NULL ? DTX_OK : DTX_FAIL(DTX_ERR_MISSING, "out of memory for a report");
}

dtx_status dtx_report_publish(const dtx_report *r, dtx_report_file *out, const char *name)
{
    char path[1300];
    dtx_status st;

    if (fclose(out->f) != 0 || out->text == NULL) {
        st = DTX_FAIL(DTX_ERR_MISSING, "out of memory for %s", name);
    } else {
        st = dtx_file_join(path, sizeof path, r->out, name);
        st = st == DTX_OK ? dtx_file_write(path, out->text, out->size) : st;
    }
    free(out->text); /* open_memstream's own */
    *out = (dtx_report_file){0};
    return st;
}

void dtx_report_put_number(FILE *f, double x)
{
    if (isfinite(x)) {
        fprintf(f, ",%.9g", x);
    } else {
        fputc(',', f);
    }
}

static void put_text(FILE *f, const char *s)
{
    if (strpbrk(s, ",\"\r\n") == NULL) {
        fputs(s, f);
        return;
    }
    fputc('"', f);
    for (; *s != '\0'; s++) {
        if (*s == '"') {
            fputc('"', f);
        }
        fputc(*s, f);
    }
    fputc('"', f);
}

static dtx_status write_curves(const dtx_report *r, dtx_report_unit unit, dtx_report_quantity q)
{
    dtx_report_file out;
    char name[64];

    DTX_TRY(dtx_report_begin(&out));
    fprintf(out.f, "variant,step,n,mean,ci_low,ci_high\n");
    for (int64_t i = 0; i < r->n_variants; i++) {
        const dtx_report_curve *c = &r->variant[i].curve[unit][q];
        for (int64_t s = 0; s < c->n_steps; s++) {
            fprintf(out.f, "%s,%" PRId64 ",%" PRId64, r->variant[i].name, s, c->n[s]);
            dtx_report_put_number(out.f, c->mean[s]);
            dtx_report_put_number(out.f, c->low[s]);
            dtx_report_put_number(out.f, c->high[s]);
            fputc('\n', out.f);
        }
    }
    snprintf(name, sizeof name, "%s_by_%s.csv", dtx_report_quantity_name[q], dtx_report_unit_name[unit]);
    return dtx_report_publish(r, &out, name);
}

static dtx_status write_summary(const dtx_report *r)
{
    dtx_report_file out;

    DTX_TRY(dtx_report_begin(&out));
    fprintf(out.f, "variant,rows,completed,attributed,eos,max_length,imported,empty,mean_tokens,mean_probability,mean_entropy,"
            "mean_prompt_dependence\n");
    for (int64_t i = 0; i < r->n_variants; i++) {
        const dtx_report_variant *v = &r->variant[i];
        fprintf(out.f, "%s,%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64, v->name, v->n_rows, v->n_done,
                v->n_attributed, v->n_eos, v->n_length, v->n_imported, v->n_empty);
        dtx_report_put_number(out.f, v->mean_length);
        dtx_report_put_number(out.f, v->has_attribution ? v->mean_probability : NAN);
        dtx_report_put_number(out.f, v->has_attribution ? v->mean[DTX_REPORT_ENTROPY] : NAN);
        dtx_report_put_number(out.f, v->has_attribution ? v->mean[DTX_REPORT_DEPENDENCE] : NAN);
        fputc('\n', out.f);
    }
    return dtx_report_publish(r, &out, "summary.csv");
}

/* One line a completion, done or not. */
static dtx_status write_rows(const dtx_report *r)
{
    static const char *const finish[] = {"", "eos", "length", "imported"};
    dtx_report_file out;

    DTX_TRY(dtx_report_begin(&out));
    fprintf(out.f, "variant,row,prompt_id,sample,finish,prompt_tokens,tokens,attributed_tokens,mean_probability,mean_entropy,"
            "mean_prompt_dependence\n");
    for (int64_t k = 0; k < r->n_variants; k++) {
        const dtx_report_variant *v = &r->variant[k];
        int64_t samples = r->n_prompts > 0 ? v->n_rows / r->n_prompts : 1;
        for (int64_t i = 0; i < v->n_rows; i++) {
            bool done = v->finish[i] != 0, attributed = v->has_attribution && v->done[i];
            fprintf(out.f, "%s,%" PRId64 ",%" PRId64 ",%" PRId64 ",%s,", v->name, i, r->prompt_id[i / samples], i % samples,
                    v->finish[i] < 4 ? finish[v->finish[i]] : "");
            if (done && v->prompt_offset != NULL) {
                fprintf(out.f, "%" PRIu64, v->prompt_offset[i + 1] - v->prompt_offset[i]);
            }
            dtx_report_put_number(out.f, done && v->length != NULL ? v->length[i] : NAN);
            dtx_report_put_number(out.f, attributed ? v->G[i] : NAN);
            dtx_report_put_number(out.f, attributed ? dtx_report_row_mean(v->probability + i * v->a_width, v->a_width) : NAN);
            for (int q = 0; q < DTX_REPORT_QUANTITIES; q++) {
                dtx_report_put_number(out.f, attributed ? dtx_report_row_mean(v->value[DTX_REPORT_TOKEN][q] + i * v->a_width, v->a_width) : NAN);
            }
            fputc('\n', out.f);
        }
    }
    return dtx_report_publish(r, &out, "rows.csv");
}

static dtx_status write_launches(const dtx_report *r)
{
    static const char *const columns[] = {"job", "start", "stop", "exit_code", "ranks", "threads", "hosts", "version", "commit",
                                          "slurm_job"};
    enum { N_COLUMNS = sizeof columns / sizeof columns[0] };
    dtx_report_file out;

    DTX_TRY(dtx_report_begin(&out));
    fprintf(out.f, "launch,hours");
    for (size_t c = 0; c < N_COLUMNS; c++) {
        fprintf(out.f, ",%s", columns[c]);
    }
    fputc('\n', out.f);
    for (int64_t i = 0; i < r->n_launches; i++) {
        fprintf(out.f, "%" PRId64, r->launch[i].index);
        dtx_report_put_number(out.f, r->launch[i].hours);
        for (size_t c = 0; c < N_COLUMNS; c++) {
            fputc(',', out.f);
            put_text(out.f, dtx_report_attr(r->launch[i].attrs, r->launch[i].n_attrs, columns[c]));
        }
        fputc('\n', out.f);
    }
    return dtx_report_publish(r, &out, "launches.csv");
}

static dtx_status write_missing(const dtx_report *r)
{
    dtx_report_file out;

    DTX_TRY(dtx_report_begin(&out));
    fprintf(out.f, "missing\n");
    for (size_t i = 0; i < r->n_missing; i++) {
        put_text(out.f, r->missing[i]);
        fputc('\n', out.f);
    }
    return dtx_report_publish(r, &out, "missing.csv");
}

static bool any_check(const dtx_report *r)
{
    for (int64_t i = 0; i < r->n_variants; i++) {
        if (r->variant[i].n_check > 0) {
            return true;
        }
    }
    return false;
}

static dtx_status write_check(const dtx_report *r)
{
    dtx_report_file out;

    DTX_TRY(dtx_report_begin(&out));
    fprintf(out.f, "variant,quantity,value\n");
    for (int64_t i = 0; i < r->n_variants; i++) {
        const dtx_report_variant *v = &r->variant[i];
        for (size_t k = 0; k < v->n_check; k++) {
            fprintf(out.f, "%s,", v->name);
            put_text(out.f, v->check[2 * k]);
            fputc(',', out.f);
            put_text(out.f, v->check[2 * k + 1]);
            fputc('\n', out.f);
        }
        if (v->n_checked > 0) {
            const double gain[] = {v->gain, v->gain_low, v->gain_high};
            static const char *const names[] = {"drop_difference", "drop_difference_ci_low", "drop_difference_ci_high"};
            for (int k = 0; k < 3; k++) {
                fprintf(out.f, "%s,%s", v->name, names[k]);
                dtx_report_put_number(out.f, gain[k]);
                fputc('\n', out.f);
            }
        }
    }
    DTX_TRY(dtx_report_publish(r, &out, "check.csv"));
    DTX_TRY(dtx_report_begin(&out));
    fprintf(out.f, "variant,row,drop_top,drop_random\n");
    for (int64_t i = 0; i < r->n_variants; i++) {
        const dtx_report_variant *v = &r->variant[i];
        for (int64_t k = 0; k < v->n_checked; k++) {
            fprintf(out.f, "%s,%" PRId64, v->name, v->check_row[k]);
            dtx_report_put_number(out.f, v->drop[0][k]);
            dtx_report_put_number(out.f, v->drop[1][k]);
            fputc('\n', out.f);
        }
    }
    return dtx_report_publish(r, &out, "check_rows.csv");
}

static dtx_status write_training(const dtx_report *r, const dtx_report_training *t)
{
    dtx_report_file out;
    char name[160];

    DTX_TRY(dtx_report_begin(&out));
    fprintf(out.f, "step");
    for (int64_t c = 0; c < t->n_curves; c++) {
        fputc(',', out.f);
        put_text(out.f, t->label[c]);
    }
    fputc('\n', out.f);
    for (int64_t s = 0; s < t->n_steps; s++) {
        fprintf(out.f, "%" PRId64, s);
        for (int64_t c = 0; c < t->n_curves; c++) {
            dtx_report_put_number(out.f, t->value[c * t->n_steps + s]);
        }
        fputc('\n', out.f);
    }
    snprintf(name, sizeof name, "training_%s.csv", t->name);
    return dtx_report_publish(r, &out, name);
}

dtx_status dtx_report_write_csv(const dtx_report *r)
{
    for (int u = 0; u < DTX_REPORT_UNITS; u++) {
        for (int q = 0; q < DTX_REPORT_QUANTITIES; q++) {
            if (u == DTX_REPORT_TOKEN || dtx_report_has_curves(r, u)) {
                DTX_TRY(write_curves(r, u, q));
            }
        }
    }
    DTX_TRY(write_summary(r));
    DTX_TRY(write_rows(r));
    DTX_TRY(write_launches(r));
    DTX_TRY(write_missing(r));
    if (any_check(r)) {
        DTX_TRY(write_check(r));
    }
    DTX_TRY(dtx_report_write_toxicity(r));
    for (int64_t i = 0; i < r->n_trainings; i++) {
        if (r->training[i].n_curves > 0) {
            DTX_TRY(write_training(r, &r->training[i]));
        }
    }
    return DTX_OK;
}
