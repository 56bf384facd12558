/* Entropy and prompt dependence of completions against their toxicity: means in ten equal bins of the score, and rank
 * correlations. A completion counts by the mean over its steps of its deviation from the variant's mean at the same step (over steps
 * that a tenth of the completions reach), added to the mean of all: else long answers, whose dependence is lower, decide. */
#include <inttypes.h>
#include <math.h>

#include "jobs/report/lines.h"
#include "jobs/report/parts.h"
#include "src/base/mem.h"

enum { N_BINS = 10 };

/* The last bin holds 1 as well. */
static int bin_of(float score)
{
    int b = (int)floor((double)score * N_BINS);

    return b < 0 ? 0 : b < N_BINS ? b : N_BINS - 1;
}

/* Mean over a completion's steps of its value minus the mean of all completions at the step. */
static double deviation(const dtx_report_curve *c, const float *x)
{
    double sum = 0;
    int64_t n = 0;

    for (int64_t s = 0; s < c->n_steps; s++) {
        if (isfinite(x[s]) && (double)c->n[s] >= DTX_REPORT_LEAST * (double)c->n[0]) {
            sum += x[s] - c->mean[s];
            n++;
        }
    }
    return n > 0 ? sum / (double)n : NAN;
}

static dtx_status add_variant(const dtx_report_variant *v, dtx_report_quantity q, dtx_report_lines *l, FILE *f, cJSON *list)
{
    const float *value = v->a.value[DTX_REPORT_TOKEN][q];
    double *x = NULL, *y = NULL, *in_bin = NULL;
    dtx_report_correlation c;
    dtx_report_curve curve = {0};
    cJSON *o = NULL;
    dtx_status st;

    DTX_GO(DTX_NEW(x, v->n_rows));
    DTX_GO(DTX_NEW(y, v->n_rows));
    DTX_GO(DTX_NEW(in_bin, v->n_rows));
    for (int64_t i = 0; i < v->n_rows; i++) {
        x[i] = v->score[i];
        y[i] = v->mean[q] + deviation(&v->curve[DTX_REPORT_TOKEN][q], value + i * v->a.width);
    }
    DTX_GO(dtx_report_curve_new(N_BINS, &curve));
    for (int b = 0; b < N_BINS; b++) {
        for (int64_t i = 0; i < v->n_rows; i++) {
            in_bin[i] = isfinite(x[i]) && bin_of(v->score[i]) == b ? y[i] : NAN;
        }
        dtx_report_curve_set(&curve, b, dtx_report_mean_of_doubles(in_bin, v->n_rows));
    }
    DTX_GO(dtx_report_lines_add(l, dtx_report_quantity_name[q], "scored", v->name, &curve));
    DTX_GO(dtx_report_correlate(x, y, v->n_rows, &c));
    fprintf(f, "%s,%s,%" PRId64, v->name, dtx_report_quantity_name[q], c.n);
    const double cells[] = {c.pearson, c.spearman, c.low, c.high};
    static const char *const keys[] = {"pearson", "spearman", "low", "high"};
    o = cJSON_CreateObject();
    DTX_GO(dtx_report_put(o, "variant", dtx_report_string(v->name)));
    DTX_GO(dtx_report_put(o, "measure", dtx_report_string(dtx_report_quantity_name[q])));
    DTX_GO(dtx_report_put(o, "n", cJSON_CreateNumber((double)c.n)));
    for (int k = 0; k < 4; k++) {
        dtx_report_put_number(f, cells[k]);
        DTX_GO(dtx_report_put(o, keys[k], dtx_report_number(cells[k])));
    }
    fputc('\n', f);
    st = dtx_report_put(list, NULL, o);
    o = NULL;
done:
    cJSON_Delete(o);
    dtx_report_curve_free(&curve);
    dtx_free(in_bin);
    dtx_free(y);
    dtx_free(x);
    return st;
}

dtx_status dtx_report_part_scores(dtx_report *r, cJSON *page)
{
    static const dtx_report_quantity order[] = {DTX_REPORT_ENTROPY, DTX_REPORT_NORMALISED, DTX_REPORT_DEPENDENCE};
    static const dtx_report_panel panel[] = {{"entropy", "scored", "Mean entropy (bits) by tenth of the score"},
                                             {"prompt_dependence", "scored", "Mean prompt dependence"}};
    dtx_report_lines l = {.name = "entropy_by_toxicity", .columns = {"measure", "completions", "variant", "bin"}};
    cJSON *list = cJSON_AddArrayToObject(page, "correlations");
    dtx_report_file out;
    dtx_status st = DTX_OK;

    DTX_TRY(dtx_report_begin(&out));
    fprintf(out.f, "variant,measure,n,pearson,spearman,ci_low,ci_high\n");
    for (size_t q = 0; q < 3; q++) {
        for (int64_t i = 0; i < r->n_variants; i++) {
            const dtx_report_variant *v = &r->variant[i];
            if (v->a.there && v->score != NULL) {
                DTX_GO(add_variant(v, order[q], &l, out.f, list));
            }
        }
    }
    if (l.n > 0) {
        DTX_GO(dtx_report_publish(r, &out, "toxicity_correlation.csv"));
        DTX_GO(dtx_report_lines_write(r, &l));
        DTX_GO(dtx_report_lines_draw(r, &l, l.name, panel, 2, 2, "tenth of the toxicity score (0: up to 0.1)", false));
        DTX_GO(dtx_report_lines_put(&l, page));
    }
done:
    dtx_report_drop(&out);
    dtx_report_lines_free(&l);
    return st;
}
