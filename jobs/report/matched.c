/* Per-token measures of two variants, compared so that the length of the answers does not decide.
 *
 * Prompt dependence falls with every generated token, since there is more to depend on; the variant with the shorter answers has the
 * larger mean even where nothing else differs. So next to the answers as they are (`own_answers`) stand the same texts over the steps
 * that both answers have (`common_length`), what length alone makes of the raw difference (`length`, the first minus the second), and,
 * where attributions of another variant's answers are there, the same text under both models (`same_text_of_V`).
 *
 * Unit of all of it is the text: a text's value is the mean over its samples of their means over steps; intervals are a bootstrap over
 * texts, p a sign-flip test over texts, and Holm's correction runs over the lines of one comparison. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/report/parts.h"
#include "src/base/mem.h"

enum { N_MEASURES = 4, MAX_LINES = 600 };

typedef struct {
    char measure[40], pair[140], comparison[100];
    double tokens[2];      /* mean generated tokens of the two answers, over the rows that count */
    dtx_report_paired x;
    double holm;           /* p over the lines of this comparison */
} line;

typedef struct {
    dtx_report *r;
    line *all;
    int64_t n;
} work;

/* The values of one measure, (n_rows, width); NULL where the result has none. */
static const float *values_of(const dtx_report_attribution *a, int measure)
{
    static const dtx_report_quantity q[N_MEASURES - 1] = {DTX_REPORT_DEPENDENCE, DTX_REPORT_ENTROPY, DTX_REPORT_NORMALISED};

    return !a->there ? NULL : measure < N_MEASURES - 1 ? a->value[DTX_REPORT_TOKEN][q[measure]] : a->user;
}

static const char *measure_name(int measure)
{
    static const char *const name[N_MEASURES] = {"prompt_dependence", "entropy", "entropy_normalised", "user_dependence"};

    return name[measure];
}

static void add_line(work *w, const char *measure, const char *pair, const char *comparison, double first, double second,
                     const dtx_report_paired *x)
{
    if (w->n == MAX_LINES || x->texts == 0) {
        return;
    }
    line *l = &w->all[w->n++];
    *l = (line){.tokens = {first, second}, .x = *x, .holm = NAN};
    snprintf(l->measure, sizeof l->measure, "%s", measure);
    snprintf(l->pair, sizeof l->pair, "%s", pair);
    snprintf(l->comparison, sizeof l->comparison, "%s", comparison);
}

/* Texts' means of rows that have a step in both; *length their mean number of generated tokens. */
typedef struct {
    double *own[2], *common[2], *raw, *level; /* (n_texts) NaN where no row counts */
    double tokens[2];
} by_text;

static void free_by_text(by_text *t)
{
    void *const blocks[] = {t->own[0], t->own[1], t->common[0], t->common[1], t->raw, t->level};

    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
        dtx_free(blocks[i]);
    }
}

static dtx_status fold(const dtx_report_attribution *const a[2], const float *const x[2], int64_t samples, by_text *t)
{
    const int64_t n_texts = a[0]->n_rows / samples, width = a[0]->width;
    int64_t rows = 0;

    *t = (by_text){{0}, {0}, 0, 0, {0}};
    double **const block[] = {&t->own[0], &t->own[1], &t->common[0], &t->common[1], &t->raw, &t->level};
    for (size_t b = 0; b < sizeof block / sizeof block[0]; b++) {
        DTX_TRY(DTX_NEW(*block[b], n_texts > 0 ? n_texts : 1));
    }
    for (int64_t i = 0; i < n_texts; i++) {
        double sum[4] = {0};
        int64_t n = 0;
        for (int64_t row = i * samples; row < (i + 1) * samples; row++) {
            const float *const at[2] = {x[0] + row * width, x[1] + row * width};
            const double common = dtx_report_mean_where(at[0], at[1], width);
            if (!isfinite(common)) { /* no step that both have */
                continue;
            }
            for (int k = 0; k < 2; k++) {
                sum[k] += dtx_report_row_mean(at[k], width);
                sum[2 + k] += k == 0 ? common : dtx_report_mean_where(at[1], at[0], width);
                t->tokens[k] += a[k]->G[row];
            }
            n++;
        }
        rows += n;
        for (int k = 0; k < 2; k++) {
            t->own[k][i] = n > 0 ? sum[k] / (double)n : NAN;
            t->common[k][i] = n > 0 ? sum[2 + k] / (double)n : NAN;
        }
        t->raw[i] = t->own[0][i] - t->own[1][i];
        t->level[i] = t->common[0][i] - t->common[1][i];
    }
    t->tokens[0] /= (double)(rows > 0 ? rows : 1);
    t->tokens[1] /= (double)(rows > 0 ? rows : 1);
    return DTX_OK;
}

/* Two results over the same rows: own answers, common length and their difference; for `same` (a comparison's name) that alone. */
static dtx_status compare(work *w, const dtx_report_attribution *a, const dtx_report_attribution *b, int64_t samples, const char *pair,
                          const char *same)
{
    const dtx_report_attribution *const side[2] = {a, b};
    dtx_status st = DTX_OK;

    if (a->n_rows != b->n_rows || a->width != b->width || samples < 1 || a->n_rows % samples != 0) {
        return DTX_OK;
    }
    for (int m = 0; m < N_MEASURES && st == DTX_OK; m++) {
        const float *const x[2] = {values_of(a, m), values_of(b, m)};
        by_text t = {{0}, {0}, 0, 0, {0}};
        dtx_report_paired p;
        if (x[0] == NULL || x[1] == NULL) {
            continue;
        }
        DTX_GO(fold(side, x, samples, &t));
        if (same == NULL) {
            DTX_GO(dtx_report_compare_texts(t.own[0], t.own[1], a->n_rows / samples, &p));
            add_line(w, measure_name(m), pair, "own_answers", t.tokens[0], t.tokens[1], &p);
            DTX_GO(dtx_report_compare_texts(t.raw, t.level, a->n_rows / samples, &p));
            p.first = p.second = NAN; /* differences, not levels */
            add_line(w, measure_name(m), pair, "length", t.tokens[0], t.tokens[1], &p);
        }
        DTX_GO(dtx_report_compare_texts(t.common[0], t.common[1], a->n_rows / samples, &p));
        add_line(w, measure_name(m), pair, same != NULL ? same : "common_length", t.tokens[0], t.tokens[1], &p);
done:
        free_by_text(&t);
    }
    return st;
}

/* The name of `of`'s answers under another variant: METHOD@OF, METHOD without what follows an @. */
static void crossed_name(const dtx_report *r, const char *of, char out[128])
{
    snprintf(out, 128, "%.*s@%s", (int)strcspn(r->method, "@"), r->method, of);
}

static bool has_result(const dtx_report_variant *v, const char *name)
{
    for (size_t i = 0; i < v->n_other_methods; i++) {
        if (strcmp(v->other_methods[i], name) == 0) {
            return true;
        }
    }
    return false;
}

/* The answers of side[of] under both models, first minus second. */
static dtx_status compare_same_text(work *w, const dtx_report_variant *const side[2], int of, const char *pair)
{
    char crossed[128], comparison[100];
    dtx_report_attribution other = {0};
    dtx_status st;

    crossed_name(w->r, side[of]->name, crossed);
    if (!has_result(side[1 - of], crossed)) {
        return DTX_OK;
    }
    snprintf(comparison, sizeof comparison, "same_text_of_%s", side[of]->name);
    DTX_GO(dtx_report_load_attribution(w->r, side[1 - of], crossed, side[of]->n_rows, &other));
    st = compare(w, of == 0 ? &side[0]->a : &other, of == 0 ? &other : &side[1]->a, dtx_report_samples(w->r, side[of]), pair, comparison);
done:
    dtx_report_free_attribution(&other);
    return st;
}

/* Two comparisons of one family: the texts of different variants are one kind of comparison. */
static bool same_family(const line *a, const line *b)
{
    static const char same[] = "same_text_of_";

    return strcmp(a->comparison, b->comparison) == 0
           || (strncmp(a->comparison, same, sizeof same - 1) == 0 && strncmp(b->comparison, same, sizeof same - 1) == 0);
}

static dtx_status correct(work *w)
{
    double *p = NULL;
    int64_t *at = NULL;
    dtx_status st;

    DTX_GO(DTX_NEW(p, w->n + 1));
    DTX_GO(DTX_NEW(at, w->n + 1));
    for (int64_t i = 0; i < w->n; i++) {
        int64_t n = 0;
        if (isfinite(w->all[i].holm) || !isfinite(w->all[i].x.p)) {
            continue;
        }
        for (int64_t k = i; k < w->n; k++) {
            if (same_family(&w->all[i], &w->all[k]) && isfinite(w->all[k].x.p)) {
                p[n] = w->all[k].x.p;
                at[n++] = k;
            }
        }
        DTX_GO(dtx_report_holm(p, n));
        for (int64_t k = 0; k < n; k++) {
            w->all[at[k]].holm = p[k];
        }
    }
done:
    dtx_free(at);
    dtx_free(p);
    return st;
}

static dtx_status write_lines(const work *w, cJSON *page)
{
    static const char *const keys[] = {"tokensFirst", "tokensSecond", "first", "second", "difference", "low", "high", "p", "holm"};
    cJSON *list = cJSON_AddArrayToObject(page, "compared"), *o = NULL;
    dtx_report_file out = {0};
    dtx_status st;

    DTX_GO(dtx_report_begin(&out));
    fprintf(out.f, "measure,pair,comparison,texts,tokens_first,tokens_second,first,second,difference,ci_low,ci_high,p,p_holm\n");
    for (int64_t i = 0; i < w->n; i++) {
        const line *l = &w->all[i];
        const double number[] = {l->tokens[0], l->tokens[1], l->x.first, l->x.second, l->x.difference, l->x.low, l->x.high, l->x.p, l->holm};
        dtx_report_put_word(out.f, l->measure);
        fputc(',', out.f);
        dtx_report_put_word(out.f, l->pair);
        fputc(',', out.f);
        dtx_report_put_word(out.f, l->comparison);
        fprintf(out.f, ",%" PRId64, l->x.texts);
        o = cJSON_CreateObject();
        DTX_GO(dtx_report_put(o, "measure", dtx_report_string(l->measure)));
        DTX_GO(dtx_report_put(o, "pair", dtx_report_string(l->pair)));
        DTX_GO(dtx_report_put(o, "comparison", dtx_report_string(l->comparison)));
        DTX_GO(dtx_report_put(o, "texts", cJSON_CreateNumber((double)l->x.texts)));
        for (size_t k = 0; k < sizeof number / sizeof number[0]; k++) {
            dtx_report_put_number(out.f, number[k]);
            DTX_GO(dtx_report_put(o, keys[k], dtx_report_number(number[k])));
        }
        fputc('\n', out.f);
        st = dtx_report_put(list, NULL, o);
        o = NULL;
        DTX_GO(st);
    }
    if (w->n > 0) {
        DTX_GO(dtx_report_publish(w->r, &out, "comparison.csv"));
    }
done:
    cJSON_Delete(o);
    dtx_report_drop(&out);
    return st;
}

dtx_status dtx_report_part_matched(dtx_report *r, cJSON *page)
{
    work w = {.r = r};
    dtx_status st;

    DTX_GO(DTX_NEW(w.all, MAX_LINES));
    for (int64_t i = 0; i < r->n_variants; i++) {
        for (int64_t k = i + 1; k < r->n_variants; k++) {
            const dtx_report_variant *const side[2] = {&r->variant[i], &r->variant[k]};
            char pair[140];
            if (!side[0]->a.there || !side[1]->a.there) {
                continue;
            }
            snprintf(pair, sizeof pair, "%s-%s", side[0]->name, side[1]->name);
            DTX_GO(compare(&w, &side[0]->a, &side[1]->a, dtx_report_samples(r, side[0]), pair, NULL));
            DTX_GO(compare_same_text(&w, side, 0, pair));
            DTX_GO(compare_same_text(&w, side, 1, pair));
        }
    }
    DTX_GO(correct(&w));
    st = write_lines(&w, page);
done:
    dtx_free(w.all);
    return st;
}
