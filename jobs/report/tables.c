/* Tables of facts: variants, rows, launches, what is missing, the faithfulness check. Steps and rows count from 0. */
#include <inttypes.h>
#include <math.h>

#include "jobs/report/parts.h"

static dtx_status write_summary(const dtx_report *r)
{
    dtx_report_file out;

    DTX_TRY(dtx_report_begin(&out));
    fprintf(out.f, "variant,rows,completed,attributed,eos,max_length,imported,empty,mean_tokens,mean_probability,mean_entropy,"
            "mean_prompt_dependence\n");
    for (int64_t i = 0; i < r->n_variants; i++) {
        const dtx_report_variant *v = &r->variant[i];
        fprintf(out.f, "%s,%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64, v->name, v->n_rows, v->n_done,
                v->a.n_done, v->n_eos, v->n_length, v->n_imported, v->n_empty);
        dtx_report_put_number(out.f, v->mean_length);
        dtx_report_put_number(out.f, v->a.there ? v->mean_probability : NAN);
        dtx_report_put_number(out.f, v->a.there ? v->mean[DTX_REPORT_ENTROPY] : NAN);
        dtx_report_put_number(out.f, v->a.there ? v->mean[DTX_REPORT_DEPENDENCE] : NAN);
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
            "mean_prompt_dependence,mean_entropy_normalised,toxicity,prompt_toxicity\n");
    for (int64_t k = 0; k < r->n_variants; k++) {
        const dtx_report_variant *v = &r->variant[k];
        int64_t samples = dtx_report_samples(r, v);
        for (int64_t i = 0; i < v->n_rows; i++) {
            bool done = v->finish[i] != 0, attributed = v->a.there && v->a.done[i];
            fprintf(out.f, "%s,%" PRId64 ",%" PRId64 ",%" PRId64 ",%s,", v->name, i, r->prompt_id[i / samples], i % samples,
                    v->finish[i] < 4 ? finish[v->finish[i]] : "");
            if (done && v->prompt_offset != NULL) {
                fprintf(out.f, "%" PRIu64, v->prompt_offset[i + 1] - v->prompt_offset[i]);
            }
            dtx_report_put_number(out.f, done && v->length != NULL ? v->length[i] : NAN);
            dtx_report_put_number(out.f, attributed ? v->a.G[i] : NAN);
            dtx_report_put_number(out.f, attributed ? dtx_report_row_mean(v->a.probability + i * v->a.width, v->a.width) : NAN);
            for (int q = 0; q < DTX_REPORT_QUANTITIES; q++) {
                dtx_report_put_number(out.f, attributed ? dtx_report_row_mean(v->a.value[DTX_REPORT_TOKEN][q] + i * v->a.width, v->a.width) : NAN);
            }
            const dtx_report_scores *hate = dtx_report_find_scores(v, r->prompt_set);
            dtx_report_put_number(out.f, v->score != NULL ? v->score[i] : NAN);
            dtx_report_put_number(out.f, hate != NULL ? hate->prompt[i] : NAN);
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
            dtx_report_put_word(out.f, dtx_report_attr(r->launch[i].attrs, r->launch[i].n_attrs, columns[c]));
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
        dtx_report_put_word(out.f, r->missing[i]);
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
            dtx_report_put_word(out.f, v->check[2 * k]);
            fputc(',', out.f);
            dtx_report_put_word(out.f, v->check[2 * k + 1]);
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

dtx_status dtx_report_part_tables(dtx_report *r, cJSON *page)
{
    (void)page;
    DTX_TRY(write_summary(r));
    DTX_TRY(write_rows(r));
    DTX_TRY(write_launches(r));
    DTX_TRY(write_missing(r));
    return any_check(r) ? write_check(r) : DTX_OK;
}
