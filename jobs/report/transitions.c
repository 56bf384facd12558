/* Two variants on the same texts: how far apart their prompt scores are at the same step (KL), how many completions moved
 * between toxic and not toxic, and the curves of those that moved and those that stayed. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "jobs/report/divergence.h"
#include "jobs/report/lines.h"
#include "jobs/report/parts.h"
#include "src/base/mem.h"

enum { N_MOVES = 4 };
static const dtx_report_class from_class[N_MOVES] = {DTX_REPORT_TOXIC, DTX_REPORT_TOXIC, DTX_REPORT_NOT_TOXIC, DTX_REPORT_NOT_TOXIC};
static const dtx_report_class to_class[N_MOVES] = {DTX_REPORT_NOT_TOXIC, DTX_REPORT_TOXIC, DTX_REPORT_TOXIC, DTX_REPORT_NOT_TOXIC};

typedef struct {
    dtx_report *r;
    dtx_report_lines curves, kl;
    dtx_report_file table;
    cJSON *list;                /* of the page */
    uint8_t *keep;              /* (n_rows) of the transition at hand */
    int64_t n_differing;        /* rows whose prompts differ in length */
    int64_t n_moved;            /* completions with a score in both variants of some pair */
} work;

static const char *class_words(dtx_report_class c)
{
    return c == DTX_REPORT_TOXIC ? "toxic" : "not toxic";
}

/* A line of transitions.csv: one transition of a pair; means over the completions of their means over the steps that both answers
 * have (matched.c tells why). */
static dtx_status add_move(work *w, const dtx_report_variant *a, const dtx_report_variant *b, int move, const char *name, int64_t n_both,
                           const float *forward)
{
    const dtx_report_variant *const side[2] = {a, b};
    double mean[5]; /* entropy and prompt dependence of the two, KL */
    int64_t n = 0;
    double *x = NULL;
    cJSON *o = NULL;
    dtx_status st;

    DTX_GO(DTX_NEW(x, a->n_rows));
    for (int64_t i = 0; i < a->n_rows; i++) {
        n += w->keep[i];
    }
    for (int k = 0; k < 5; k++) {
        const dtx_report_quantity q = k < 2 ? DTX_REPORT_ENTROPY : DTX_REPORT_DEPENDENCE;
        const dtx_report_attribution *t = &side[k % 2]->a, *other = &side[1 - k % 2]->a;
        const bool both = t->there && other->there && t->width == other->width;
        for (int64_t i = 0; i < a->n_rows; i++) {
            x[i] = !w->keep[i] ? NAN
                 : k == 4 && forward != NULL ? dtx_report_row_mean(forward + i * t->width, t->width)
                 : k < 4 && both ? dtx_report_mean_where(t->value[DTX_REPORT_TOKEN][q] + i * t->width, other->value[DTX_REPORT_TOKEN][q] + i * t->width,
                                                         t->width)
                                 : NAN;
        }
        mean[k] = dtx_report_mean_of_doubles(x, a->n_rows).mean;
    }
    double share = n_both > 0 ? (double)n / (double)n_both : NAN;
    fprintf(w->table.f, "%s,%s,%s,%s,%" PRId64 ",%" PRId64, a->name, b->name, dtx_report_class_name[from_class[move]],
            dtx_report_class_name[to_class[move]], n, n_both);
    dtx_report_put_fixed(w->table.f, share, 4);
    for (int k = 0; k < 5; k++) {
        dtx_report_put_number(w->table.f, mean[k]);
    }
    fputc('\n', w->table.f);
    o = cJSON_CreateObject();
    DTX_GO(dtx_report_put(o, "move", dtx_report_string(name)));
    DTX_GO(dtx_report_put(o, "n", cJSON_CreateNumber((double)n)));
    DTX_GO(dtx_report_put(o, "share", dtx_report_number(share)));
    static const char *const keys[] = {"entropyFirst", "entropySecond", "dependenceFirst", "dependenceSecond", "kl"};
    for (int k = 0; k < 5; k++) {
        DTX_GO(dtx_report_put(o, keys[k], dtx_report_number(mean[k])));
    }
    st = dtx_report_put(w->list, NULL, o);
    o = NULL;
done:
    cJSON_Delete(o);
    dtx_free(x);
    return st;
}

static dtx_status add_move_curves(work *w, const dtx_report_variant *a, const dtx_report_variant *b, const char *name, const float *forward)
{
    static const dtx_report_quantity order[] = {DTX_REPORT_ENTROPY, DTX_REPORT_NORMALISED, DTX_REPORT_DEPENDENCE};
    const dtx_report_variant *const side[2] = {a, b};
    dtx_report_curve curve;
    char pair[140];

    for (int q = 0; q < 3; q++) {
        for (int k = 0; k < 2; k++) {
            const dtx_report_attribution *t = &side[k]->a;
            if (t->there) {
                DTX_TRY(dtx_report_curve_of(t->value[DTX_REPORT_TOKEN][order[q]], t->n_rows, t->width, w->keep, &curve));
                DTX_TRY(dtx_report_lines_add(&w->curves, dtx_report_quantity_name[order[q]], name, side[k]->name, &curve));
            }
        }
    }
    if (forward != NULL) {
        snprintf(pair, sizeof pair, "%s-%s", a->name, b->name);
        DTX_TRY(dtx_report_curve_of(forward, a->n_rows, a->a.width, w->keep, &curve));
        return dtx_report_lines_add(&w->kl, "kl", name, pair, &curve);
    }
    return DTX_OK;
}

static dtx_status add_pair(work *w, const dtx_report_variant *a, const dtx_report_variant *b)
{
    float *forward = NULL, *backward = NULL;
    dtx_report_curve curve;
    int64_t n_both = 0, differing = 0;
    char name[120], pair[140];
    dtx_status st = DTX_OK;

    snprintf(pair, sizeof pair, "%s-%s", a->name, b->name);
    if (a->a.there && b->a.there && a->a.width == b->a.width && dtx_report_is_distribution(&a->a) && dtx_report_is_distribution(&b->a)) {
        DTX_GO(dtx_report_divergence(w->r, &a->a, &b->a, &forward, &backward, &differing));
        w->n_differing += differing;
        DTX_GO(dtx_report_curve_of(forward, a->n_rows, a->a.width, NULL, &curve));
        DTX_GO(dtx_report_lines_add(&w->kl, "kl", "all", pair, &curve));
        DTX_GO(dtx_report_curve_of(backward, a->n_rows, a->a.width, NULL, &curve));
        DTX_GO(dtx_report_lines_add(&w->kl, "kl_reverse", "all", pair, &curve));
    }
    DTX_GO(DTX_NEW(w->keep, a->n_rows));
    for (int64_t i = 0; i < a->n_rows && a->score != NULL && b->score != NULL; i++) {
        n_both += isfinite(a->score[i]) && isfinite(b->score[i]);
    }
    w->n_moved += n_both;
    for (int m = 0; m < N_MOVES && n_both > 0; m++) {
        for (int64_t i = 0; i < a->n_rows; i++) {
            w->keep[i] = a->in_class[from_class[m]][i] && b->in_class[to_class[m]][i];
        }
        snprintf(name, sizeof name, "%.40s %s -> %.40s %s", a->name, class_words(from_class[m]), b->name, class_words(to_class[m]));
        DTX_GO(add_move(w, a, b, m, name, n_both, forward));
        DTX_GO(add_move_curves(w, a, b, name, forward));
    }
done:
    dtx_free(w->keep);
    w->keep = NULL;
    dtx_free(backward);
    dtx_free(forward);
    return st;
}

/* Figures of two measures: a panel for each transition from the first variant, the two variants as its lines. */
static dtx_status draw_curves(dtx_report *r, const dtx_report_lines *l)
{
    static const struct {
        const char *measure, *figure;
    } shown[] = {{"entropy", "transitions"}, {"prompt_dependence", "transitions_dependence"}};
    enum { MAX_PANELS = 12 };
    dtx_report_panel panel[MAX_PANELS];
    int n = 0;

    for (int64_t i = 0; i < l->n && n < MAX_PANELS; i++) {
        bool from_first = strcmp(l->line[i].series, l->line[0].series) == 0; /* the first line of a transition is its first variant's */
        if (from_first && (n == 0 || strcmp(panel[n - 1].group, l->line[i].group) != 0)) { /* lines of a transition follow one another */
            panel[n++] = (dtx_report_panel){.group = l->line[i].group, .title = l->line[i].group};
        }
    }
    for (size_t k = 0; k < 2; k++) {
        for (int p = 0; p < n; p++) {
            panel[p].measure = shown[k].measure;
        }
        DTX_TRY(dtx_report_lines_draw(r, l, shown[k].figure, panel, n, 2, "generated token (step)", false));
    }
    return DTX_OK;
}

static dtx_status draw_kl(dtx_report *r, const dtx_report_lines *l)
{
    static const dtx_report_panel panel[] = {{"kl", "all", "KL(first || second) of prompt scores (bits)"},
                                             {"kl_reverse", "all", "KL(second || first) (bits)"}};

    return dtx_report_lines_draw(r, l, l->name, panel, 2, 2, "generated token (step)", false);
}

dtx_status dtx_report_part_transitions(dtx_report *r, cJSON *page)
{
    work w = {.r = r, .curves = {.name = "transition_curves", .columns = {"measure", "transition", "variant", "step"}},
              .kl = {.name = "kl", .columns = {"measure", "group", "pair", "step"}}};
    dtx_status st;

    DTX_TRY(dtx_report_begin(&w.table));
    fprintf(w.table.f, "first,second,first_class,second_class,completions,of,share,entropy_first,entropy_second,prompt_dependence_first,"
            "prompt_dependence_second,kl\n");
    w.list = cJSON_AddArrayToObject(page, "transitions");
    st = DTX_OK;
    for (int64_t i = 0; i < r->n_variants; i++) {
        for (int64_t k = i + 1; k < r->n_variants; k++) {
            if (r->variant[i].n_rows == r->variant[k].n_rows && r->variant[i].n_rows > 0) {
                DTX_GO(add_pair(&w, &r->variant[i], &r->variant[k]));
            }
        }
    }
    if (w.n_differing > 0) {
        DTX_GO(dtx_report_miss(r, "KL of %" PRId64 " pairs of completions whose templated prompts differ in length", w.n_differing));
    }
    if (w.kl.n > 0) {
        DTX_GO(dtx_report_lines_write(r, &w.kl));
        DTX_GO(draw_kl(r, &w.kl));
        DTX_GO(dtx_report_lines_put(&w.kl, page));
    }
    if (w.n_moved > 0) {
        DTX_GO(dtx_report_publish(r, &w.table, "transitions.csv"));
    }
    if (w.curves.n > 0) {
        DTX_GO(dtx_report_lines_write(r, &w.curves));
        DTX_GO(draw_curves(r, &w.curves));
        DTX_GO(dtx_report_lines_put(&w.curves, page));
    }
done:
    dtx_report_drop(&w.table);
    dtx_report_lines_free(&w.kl);
    dtx_report_lines_free(&w.curves);
    return st;
}
