/* Several runs of one study that differ in their seed (or another setting): mean over runs of each quantity of each variant,
 * with the 95 % interval of Student's t, and of the curves of Figure 1. A run counts where it has the quantity. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "jobs/report/lines.h"
#include "jobs/report/parts.h"
#include "src/base/log.h"
#include "src/base/mem.h"

typedef struct {
    char quantity[48], variant[140];
    double x[DTX_REPORT_MAX_RUNS]; /* NaN where the run has it not */
} value;

typedef struct {
    char measure[40], group[120], series[140];
    double *x;                  /* (runs, steps) */
} curve_values;

typedef struct {
    int64_t n_runs, n_steps;    /* of all curves */
    const char *dir[DTX_REPORT_MAX_RUNS];
    value *v;
    size_t n, cap;
    curve_values *c;
    size_t n_curves, cap_curves;
} work;

static dtx_status set_value(work *w, int64_t run, const char *quantity, const char *variant, double x)
{
    size_t i = 0;

    while (i < w->n && (strcmp(w->v[i].quantity, quantity) != 0 || strcmp(w->v[i].variant, variant) != 0)) {
        i++;
    }
    if (i == w->n) {
        DTX_TRY(DTX_GROW(w->v, w->cap, w->n + 1));
        w->n++;
        snprintf(w->v[i].quantity, sizeof w->v[i].quantity, "%s", quantity);
        snprintf(w->v[i].variant, sizeof w->v[i].variant, "%s", variant);
        for (int k = 0; k < DTX_REPORT_MAX_RUNS; k++) {
            w->v[i].x[k] = NAN;
        }
    }
    w->v[i].x[run] = x;
    return DTX_OK;
}

static dtx_status add_values(work *w, int64_t run, const dtx_report *r)
{
    static const char *const mean_name[DTX_REPORT_QUANTITIES] = {"mean_entropy", "mean_prompt_dependence", "mean_entropy_normalised"};
    char name[140];

    for (int64_t i = 0; i < r->n_shares; i++) {
        const dtx_report_share *s = &r->share[i];
        if (strcmp(s->set, r->score_set) == 0) {
            bool all = strcmp(s->subset, "all") == 0;
            DTX_TRY(set_value(w, run, all ? "share_all" : "share_all, prompt_score>0.5", s->variant, s->share_all));
            DTX_TRY(set_value(w, run, all ? "share_scored" : "share_scored, prompt_score>0.5", s->variant, s->share_scored));
        }
    }
    for (int64_t i = 0; i < r->n_pairs; i++) {
        const dtx_report_pair *p = &r->pair[i];
        if (strcmp(p->basis, "all") == 0) {
            snprintf(name, sizeof name, "%s-%s", p->first, p->second);
            DTX_TRY(set_value(w, run, strcmp(p->subset, "all") == 0 ? "share_all" : "share_all, prompt_score>0.5", name, p->difference));
        }
    }
    for (int64_t i = 0; i < r->n_variants; i++) {
        const dtx_report_variant *v = &r->variant[i];
        double perplexity;
        for (int q = 0; q < DTX_REPORT_QUANTITIES; q++) {
            DTX_TRY(set_value(w, run, mean_name[q], v->name, v->a.there ? v->mean[q] : NAN));
        }
        DTX_TRY(dtx_report_perplexity(r, v, &perplexity));
        DTX_TRY(set_value(w, run, "perplexity", v->name, perplexity));
        DTX_TRY(set_value(w, run, "mean_tokens", v->name, v->n_done > 0 ? v->mean_length : NAN));
        DTX_TRY(set_value(w, run, "empty_share", v->name, v->n_done > 0 ? (double)v->n_empty / (double)v->n_done : NAN));
    }
    return DTX_OK;
}

static dtx_status add_curve(work *w, int64_t run, const dtx_report_line *l)
{
    size_t i = 0;

    while (i < w->n_curves && (strcmp(w->c[i].measure, l->measure) != 0 || strcmp(w->c[i].group, l->group) != 0
                               || strcmp(w->c[i].series, l->series) != 0)) {
        i++;
    }
    if (i == w->n_curves) {
        curve_values *c;
        DTX_TRY(DTX_GROW(w->c, w->cap_curves, w->n_curves + 1));
        c = &w->c[i];
        *c = (curve_values){0};
        DTX_TRY(DTX_NEW(c->x, w->n_runs * w->n_steps));
        w->n_curves++;
        memcpy(c->measure, l->measure, sizeof c->measure);
        memcpy(c->group, l->group, sizeof c->group);
        memcpy(c->series, l->series, sizeof c->series);
        for (int64_t k = 0; k < w->n_runs * w->n_steps; k++) {
            c->x[k] = NAN;
        }
    }
    for (int64_t s = 0; s < l->curve.n_steps && s < w->n_steps; s++) {
        w->c[i].x[run * w->n_steps + s] = l->curve.mean[s];
    }
    return DTX_OK;
}

static dtx_status add_run(work *w, int64_t run, const dtx_report *r)
{
    dtx_report_lines l = {0};
    dtx_status st;

    w->dir[run] = r->dir;
    DTX_GO(add_values(w, run, r));
    DTX_GO(dtx_report_class_lines(r, DTX_REPORT_TOKEN, &l));
    for (int64_t i = 0; i < l.n; i++) {
        DTX_GO(add_curve(w, run, &l.line[i]));
    }
done:
    dtx_report_lines_free(&l);
    return st;
}

/* Runs of one study answer the same texts and have scores of one kind. */
static dtx_status compare_studies(const dtx_report *a, const dtx_report *b)
{
    if (a->n_prompts != b->n_prompts || (a->n_prompts > 0 && memcmp(a->prompt_id, b->prompt_id, (size_t)a->n_prompts * sizeof *a->prompt_id) != 0)) {
        return DTX_FAIL(DTX_ERR_USAGE, "%s and %s hold other evaluation texts (%" PRId64 " and %" PRId64 "): means over runs are of one study",
                        a->dir, b->dir, a->n_prompts, b->n_prompts);
    }
    if (strcmp(a->score_set, b->score_set) != 0) {
        return DTX_FAIL(DTX_ERR_USAGE, "%s has scores by %s, %s by %s: name one with --set score.name=NAME", a->dir,
                        a->score_set[0] != '\0' ? a->score_set : "nobody", b->dir, b->score_set[0] != '\0' ? b->score_set : "nobody");
    }
    if (strcmp(a->method, b->method) != 0) {
        return DTX_FAIL(DTX_ERR_USAGE, "%s has the attribution %s, %s has %s: name one with --set attribute.name=NAME", a->dir, a->method, b->dir,
                        b->method);
    }
    return DTX_OK;
}

/* Mean and interval over runs: n small, so Student's t. */
static dtx_report_mean over_runs(const double *x, int64_t stride, int64_t n)
{
    double y[DTX_REPORT_MAX_RUNS];

    for (int64_t k = 0; k < n; k++) {
        y[k] = x[k * stride];
    }
    dtx_report_mean m = dtx_report_mean_of_doubles(y, n);
    if (m.n > 1) {
        double half = dtx_report_student(m.n) * m.sd / sqrt((double)m.n);
        m.low = m.mean - half;
        m.high = m.mean + half;
    }
    return m;
}

static dtx_status write_values(const dtx_report *r, const work *w, cJSON *page)
{
    cJSON *list = cJSON_AddArrayToObject(page, "runs"), *o = NULL;
    dtx_report_file means = {0}, each = {0};
    dtx_status st;

    DTX_GO(dtx_report_begin(&means));
    DTX_GO(dtx_report_begin(&each));
    fprintf(means.f, "quantity,variant,runs,mean,sd,ci_low,ci_high\n");
    fprintf(each.f, "run,quantity,variant,value\n");
    for (size_t i = 0; i < w->n; i++) {
        const value *v = &w->v[i];
        dtx_report_mean m = over_runs(v->x, 1, w->n_runs);
        for (int64_t k = 0; k < w->n_runs; k++) {
            dtx_report_put_word(each.f, w->dir[k]);
            fputc(',', each.f);
            dtx_report_put_word(each.f, v->quantity);
            fprintf(each.f, ",%s", v->variant);
            dtx_report_put_number(each.f, v->x[k]);
            fputc('\n', each.f);
        }
        const double cells[] = {m.mean, m.sd, m.low, m.high};
        static const char *const keys[] = {"mean", "sd", "low", "high"};
        dtx_report_put_word(means.f, v->quantity);
        fprintf(means.f, ",%s,%" PRId64, v->variant, m.n);
        o = cJSON_CreateObject();
        DTX_GO(dtx_report_put(o, "quantity", dtx_report_string(v->quantity)));
        DTX_GO(dtx_report_put(o, "variant", dtx_report_string(v->variant)));
        DTX_GO(dtx_report_put(o, "n", cJSON_CreateNumber((double)m.n)));
        for (int k = 0; k < 4; k++) {
            dtx_report_put_number(means.f, cells[k]);
            DTX_GO(dtx_report_put(o, keys[k], dtx_report_number(cells[k])));
        }
        fputc('\n', means.f);
        st = m.n > 0 ? dtx_report_put(list, NULL, o) : (cJSON_Delete(o), DTX_OK);
        o = NULL;
        DTX_GO(st);
    }
    DTX_GO(dtx_report_publish(r, &means, "runs.csv"));
    DTX_GO(dtx_report_publish(r, &each, "runs_each.csv"));
done:
    cJSON_Delete(o);
    dtx_report_drop(&means);
    dtx_report_drop(&each);
    return st;
}

static dtx_status write_curves(dtx_report *r, const work *w, cJSON *page)
{
    dtx_report_lines l = {.name = "runs_curves", .columns = {"measure", "class", "variant", "step"}};
    dtx_status st = DTX_OK;

    for (size_t i = 0; i < w->n_curves; i++) {
        dtx_report_curve c;
        DTX_GO(dtx_report_curve_new(w->n_steps, &c));
        for (int64_t s = 0; s < w->n_steps; s++) {
            dtx_report_curve_set(&c, s, over_runs(w->c[i].x + s, w->n_steps, w->n_runs));
        }
        DTX_GO(dtx_report_lines_add(&l, w->c[i].measure, w->c[i].group, w->c[i].series, &c));
    }
    if (l.n > 0) {
        DTX_GO(dtx_report_lines_write(r, &l));
        DTX_GO(dtx_report_class_figures(r, &l, "runs", "runs_dependence", "generated token (step)"));
        DTX_GO(dtx_report_lines_put(&l, page));
    }
done:
    dtx_report_lines_free(&l);
    return st;
}

dtx_status dtx_report_part_runs(dtx_report *r, const char *const *dir, int64_t n_dirs, const char *method, const char *scores, cJSON *page)
{
    work w = {.n_runs = n_dirs + 1};
    dtx_report *other = NULL;
    dtx_status st = DTX_OK;

    if (n_dirs == 0) {
        return dtx_report_put(page, "runs", cJSON_CreateArray());
    }
    if (w.n_runs > DTX_REPORT_MAX_RUNS) {
        return DTX_FAIL(DTX_ERR_USAGE, "%" PRId64 " runs; at most %d can be compared", w.n_runs, DTX_REPORT_MAX_RUNS);
    }
    DTX_GO(DTX_NEW(other, n_dirs));
    for (int64_t i = 0; i < n_dirs; i++) {
        other[i].file = -1;
    }
    for (int64_t i = 0; i < r->n_variants; i++) {
        w.n_steps = r->variant[i].a.width > w.n_steps ? r->variant[i].a.width : w.n_steps;
    }
    DTX_GO(add_run(&w, 0, r));
    for (int64_t i = 0; i < n_dirs; i++) {
        DTX_GO(dtx_report_load(dir[i], method, &other[i]));
        DTX_GO(dtx_report_load_toxicity(&other[i], scores, r->threshold));
        DTX_GO(compare_studies(r, &other[i]));
        DTX_GO(add_run(&w, i + 1, &other[i]));
        for (size_t k = 0; k < other[i].n_missing; k++) {
            DTX_GO(dtx_report_miss(r, "%s: %s", dir[i], other[i].missing[k]));
        }
    }
    DTX_GO(write_values(r, &w, page));
    DTX_GO(write_curves(r, &w, page));
    dtx_log(DTX_LOG_INFO, "report", "means over %" PRId64 " runs: %s/runs.csv", w.n_runs, r->out);
done:
    for (int64_t i = 0; other != NULL && i < n_dirs; i++) {
        dtx_report_free(&other[i]);
    }
    dtx_free(other);
    for (size_t i = 0; i < w.n_curves; i++) {
        dtx_free(w.c[i].x);
    }
    dtx_free(w.c);
    dtx_free(w.v);
    return st;
}
