/* Figure 1: entropy over generated tokens by variant and by class of completion, raw and as a share of its largest value, and
 * the same for prompt dependence. Protocol: mean over completions, 1.96 sd / sqrt(n), a completion counts at the steps it
 * reaches. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "jobs/report/lines.h"
#include "jobs/report/parts.h"

static dtx_status write_by_step(const dtx_report *r, dtx_report_unit unit, dtx_report_quantity q)
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

dtx_status dtx_report_class_lines(const dtx_report *r, dtx_report_unit unit, dtx_report_lines *l)
{
    static const dtx_report_quantity order[] = {DTX_REPORT_ENTROPY, DTX_REPORT_NORMALISED, DTX_REPORT_DEPENDENCE};

    for (size_t q = 0; q < 3; q++) {
        for (int c = 0; c < DTX_REPORT_CLASSES; c++) {
            for (int64_t i = 0; i < r->n_variants; i++) {
                const dtx_report_variant *v = &r->variant[i];
                dtx_report_curve curve;
                if (v->a.value[unit][order[q]] != NULL) {
                    DTX_TRY(dtx_report_curve_of(v->a.value[unit][order[q]], v->n_rows, v->a.width, v->in_class[c], &curve));
                    DTX_TRY(dtx_report_lines_add(l, dtx_report_quantity_name[order[q]], dtx_report_class_name[c], v->name, &curve));
                }
            }
        }
    }
    return DTX_OK;
}

/* The panels: not toxic beside toxic where there are scores, else all completions. */
dtx_status dtx_report_class_figures(dtx_report *r, const dtx_report_lines *l, const char *entropy, const char *dependence, const char *xlabel)
{
    const bool scored = r->score_set[0] != '\0';
    const char *const groups[2] = {scored ? "toxic" : "all", scored ? "not_toxic" : ""};
    const char *const words[2] = {scored ? ", toxic completions" : "", ", not toxic"};
    static const struct {
        const char *measure, *title;
    } shown[] = {{"entropy", "Entropy over the prompt (bits)"}, {"entropy_normalised", "Entropy / log2(prompt length)"},
                 {"prompt_dependence", "Prompt dependence"}};
    char title[6][120];
    dtx_report_panel panel[6];

    for (int i = 0; i < 6; i++) {
        snprintf(title[i], sizeof title[i], "%s%s", shown[i / 2].title, words[i % 2]);
        panel[i] = (dtx_report_panel){.measure = shown[i / 2].measure, .group = groups[i % 2], .title = title[i]};
    }
    DTX_TRY(dtx_report_lines_draw(r, l, entropy, panel, 4, 2, xlabel, false));
    return dtx_report_lines_draw(r, l, dependence, panel + 4, 2, 2, xlabel, false);
}

dtx_status dtx_report_part_curves(dtx_report *r, cJSON *page)
{
    static const struct {
        const char *name, *dependence, *xlabel;
    } units[DTX_REPORT_UNITS] = {{"figure1", "dependence", "generated token (step)"},
                                 {"figure1_words", "dependence_words", "generated word (step)"}};
    dtx_status st = DTX_OK;

    for (int u = 0; u < DTX_REPORT_UNITS && st == DTX_OK; u++) {
        dtx_report_lines l = {.name = units[u].name, .columns = {"measure", "class", "variant", dtx_report_unit_name[u]}};
        if (u != DTX_REPORT_TOKEN && !dtx_report_has_curves(r, u)) {
            continue;
        }
        for (int q = 0; q < (u == DTX_REPORT_TOKEN ? DTX_REPORT_QUANTITIES : DTX_REPORT_NORMALISED); q++) {
            DTX_GO(write_by_step(r, u, q));
        }
        DTX_GO(dtx_report_class_lines(r, u, &l));
        DTX_GO(dtx_report_lines_write(r, &l));
        DTX_GO(dtx_report_class_figures(r, &l, units[u].name, units[u].dependence, units[u].xlabel));
        DTX_GO(dtx_report_lines_put(&l, page));
done:
        dtx_report_lines_free(&l);
    }
    return st;
}
