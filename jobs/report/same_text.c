/* The same text under different models: where /variants/V/attribution/METHOD@W is (attribute --completions-of W), V's
 * attribution of W's completions against W's own, token by token. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "jobs/report/divergence.h"
#include "jobs/report/lines.h"
#include "jobs/report/parts.h"
#include "src/base/mem.h"

enum { ENTROPY, DEPENDENCE, LOGPROB, KL, N_MEASURES };
static const char *const measure_name[N_MEASURES] = {"entropy", "prompt_dependence", "log2_probability", "kl"};

typedef struct {
    dtx_report *r;
    dtx_report_lines lines;
    dtx_report_file table;
    cJSON *list;
} work;

/* V - W for each generated token; KL(W || V). */
static dtx_status compare(const dtx_report_attribution *mine, const dtx_report_attribution *own, float *x[N_MEASURES])
{
    const int64_t n = own->n_rows * own->width;

    for (int m = 0; m < KL; m++) {
        DTX_TRY(DTX_NEW(x[m], n));
        for (int64_t i = 0; i < n; i++) {
            x[m][i] = m == LOGPROB ? (float)(log2(mine->probability[i]) - log2(own->probability[i]))
                    : mine->value[DTX_REPORT_TOKEN][m == ENTROPY ? DTX_REPORT_ENTROPY : DTX_REPORT_DEPENDENCE][i]
                          - own->value[DTX_REPORT_TOKEN][m == ENTROPY ? DTX_REPORT_ENTROPY : DTX_REPORT_DEPENDENCE][i];
        }
    }
    return DTX_OK;
}

static dtx_status write_tokens(const work *w, const dtx_report_variant *of, const char *label, const dtx_report_attribution *mine,
                               const dtx_report_attribution *own, const float *kl)
{
    const float *const a[3] = {own->probability, own->value[DTX_REPORT_TOKEN][DTX_REPORT_ENTROPY], own->value[DTX_REPORT_TOKEN][DTX_REPORT_DEPENDENCE]};
    const float *const b[3] = {mine->probability, mine->value[DTX_REPORT_TOKEN][DTX_REPORT_ENTROPY], mine->value[DTX_REPORT_TOKEN][DTX_REPORT_DEPENDENCE]};
    char group[160], name[200];
    int32_t *token = NULL;
    int64_t width = of->width;
    dtx_report_file out = {0};
    dtx_status st;

    dtx_h5_group(group, sizeof group, DTX_H5_COMPLETIONS, of->name, NULL);
    DTX_GO(dtx_report_take(w->r, group, "tokens", H5T_NATIVE_INT32, of->n_rows, &width, (void **)&token));
    DTX_GO(dtx_report_begin(&out));
    fprintf(out.f, "row,step,token,probability_own,probability,entropy_own,entropy,prompt_dependence_own,prompt_dependence,kl\n");
    for (int64_t i = 0; i < own->n_rows; i++) {
        for (int64_t s = 0; own->done[i] && mine->done[i] && s < own->G[i] && s < mine->G[i]; s++) {
            const int64_t at = i * own->width + s;
            fprintf(out.f, "%" PRId64 ",%" PRId64 ",%" PRId32, i, s, token != NULL && s < width ? token[i * width + s] : -1);
            for (int k = 0; k < 3; k++) {
                dtx_report_put_number(out.f, a[k][at]);
                dtx_report_put_number(out.f, b[k][at]);
            }
            dtx_report_put_number(out.f, kl != NULL ? kl[at] : NAN);
            fputc('\n', out.f);
        }
    }
    snprintf(name, sizeof name, "same_text_%s.csv", label);
    DTX_GO(dtx_report_publish(w->r, &out, name));
done:
    dtx_report_drop(&out);
    dtx_free(token);
    return st;
}

/* Means over completions of their means over tokens. */
static dtx_status summarise(work *w, const char *label, const dtx_report_attribution *own, float *const x[N_MEASURES])
{
    double *row = NULL;
    cJSON *o = NULL;
    dtx_status st;

    DTX_GO(DTX_NEW(row, own->n_rows));
    for (int m = 0; m < N_MEASURES; m++) {
        dtx_report_curve curve;
        for (int64_t i = 0; i < own->n_rows && x[m] != NULL; i++) {
            row[i] = dtx_report_row_mean(x[m] + i * own->width, own->width);
        }
        if (x[m] == NULL) {
            continue;
        }
        dtx_report_mean mean = dtx_report_mean_of_doubles(row, own->n_rows);
        fprintf(w->table.f, "%s,%s,%" PRId64, label, measure_name[m], mean.n);
        dtx_report_put_number(w->table.f, mean.mean);
        dtx_report_put_number(w->table.f, mean.low);
        dtx_report_put_number(w->table.f, mean.high);
        fputc('\n', w->table.f);
        o = cJSON_CreateObject();
        DTX_GO(dtx_report_put(o, "pair", dtx_report_string(label)));
        DTX_GO(dtx_report_put(o, "measure", dtx_report_string(measure_name[m])));
        DTX_GO(dtx_report_put(o, "n", cJSON_CreateNumber((double)mean.n)));
        DTX_GO(dtx_report_put(o, "mean", dtx_report_number(mean.mean)));
        DTX_GO(dtx_report_put(o, "low", dtx_report_number(mean.low)));
        DTX_GO(dtx_report_put(o, "high", dtx_report_number(mean.high)));
        st = dtx_report_put(w->list, NULL, o);
        o = NULL;
        DTX_GO(st);
        DTX_GO(dtx_report_curve_of(x[m], own->n_rows, own->width, NULL, &curve));
        DTX_GO(dtx_report_lines_add(&w->lines, measure_name[m], "all", label, &curve));
    }
done:
    cJSON_Delete(o);
    dtx_free(row);
    return st;
}

static dtx_status add_pair(work *w, const dtx_report_variant *v, const char *name, const dtx_report_variant *of, const char *method)
{
    dtx_report_attribution mine = {0}, own = {0};
    float *x[N_MEASURES] = {NULL}, *backward = NULL;
    int64_t differing = 0;
    char label[140];
    dtx_status st;

    snprintf(label, sizeof label, "%s@%s", v->name, of->name);
    DTX_GO(dtx_report_load_attribution(w->r, v, name, of->n_rows, &mine));
    DTX_GO(dtx_report_load_attribution(w->r, of, method, of->n_rows, &own));
    if (mine.width != own.width) {
        st = dtx_report_miss(w->r, "%s: %s and %s's own have another number of steps", v->name, name, of->name);
        goto done;
    }
    DTX_GO(compare(&mine, &own, x));
    if (dtx_report_is_distribution(&mine) && dtx_report_is_distribution(&own)) {
        DTX_GO(dtx_report_divergence(w->r, &own, &mine, &x[KL], &backward, &differing));
    }
    DTX_GO(write_tokens(w, of, label, &mine, &own, x[KL]));
    DTX_GO(summarise(w, label, &own, x));
    if (mine.n_done < mine.n_rows) {
        DTX_GO(dtx_report_miss(w->r, "%s: %" PRId64 " of %" PRId64 " attributions (%s); the same detoxlens attribute continues", v->name,
                               mine.n_rows - mine.n_done, mine.n_rows, name));
    }
done:
    dtx_free(backward);
    for (int m = 0; m < N_MEASURES; m++) {
        dtx_free(x[m]);
    }
    dtx_report_free_attribution(&own);
    dtx_report_free_attribution(&mine);
    return st;
}

static dtx_status add_pairs(work *w)
{
    dtx_report *r = w->r;
    const char *at = strchr(r->method, '@');
    const int len = at != NULL ? (int)(at - r->method) : (int)strlen(r->method);
    char method[64], path[300];

    snprintf(method, sizeof method, "%.*s", len, r->method);
    for (int64_t i = 0; i < r->n_variants; i++) {
        const dtx_report_variant *v = &r->variant[i];
        for (size_t k = 0; k < v->n_other_methods; k++) {
            const char *name = v->other_methods[k];
            if (strncmp(name, method, (size_t)len) != 0 || name[len] != '@') {
                continue;
            }
            const dtx_report_variant *of = dtx_report_find(r, name + len + 1);
            dtx_h5_group(path, sizeof path, DTX_H5_ATTRIBUTION, of != NULL ? of->name : "", method);
            if (of != NULL && of != v && of->n_rows > 0 && dtx_h5_exists(r->file, path)) {
                DTX_TRY(add_pair(w, v, name, of, method));
            }
        }
    }
    return DTX_OK;
}

dtx_status dtx_report_part_same_text(dtx_report *r, cJSON *page)
{
    static const dtx_report_panel panel[] = {{"entropy", "all", "Difference of entropy (bits)"}, {"prompt_dependence", "all", "of prompt dependence"},
                                             {"log2_probability", "all", "of log2 probability"}, {"kl", "all", "KL(writer || other), bits"}};
    work w = {.r = r, .lines = {.name = "same_text_curves", .columns = {"measure", "completions", "pair", "step"}},
              .list = cJSON_AddArrayToObject(page, "sameText")};
    dtx_status st;

    DTX_TRY(dtx_report_begin(&w.table));
    fprintf(w.table.f, "pair,measure,n,mean,ci_low,ci_high\n");
    DTX_GO(add_pairs(&w));
    if (w.lines.n > 0) {
        DTX_GO(dtx_report_publish(r, &w.table, "same_text.csv"));
        DTX_GO(dtx_report_lines_write(r, &w.lines));
        DTX_GO(dtx_report_lines_draw(r, &w.lines, "same_text", panel, 4, 2, "generated token (step)", true));
        DTX_GO(dtx_report_lines_put(&w.lines, page));
    }
done:
    dtx_report_drop(&w.table);
    dtx_report_lines_free(&w.lines);
    return st;
}
