/* How two variants' curves differ: mean of the differences on the same texts, step by step, with paired bootstrap bands. */
#include <stdio.h>

#include "jobs/report/lines.h"
#include "jobs/report/parts.h"

dtx_status dtx_report_part_differences(dtx_report *r, cJSON *page)
{
    static const dtx_report_quantity order[] = {DTX_REPORT_ENTROPY, DTX_REPORT_NORMALISED, DTX_REPORT_DEPENDENCE};
    static const dtx_report_panel panel[] = {{"entropy", "all", "Difference of entropy (bits)"},
                                             {"entropy_normalised", "all", "of entropy / log2(prompt length)"},
                                             {"prompt_dependence", "all", "of prompt dependence"}};
    dtx_report_lines l = {.name = "differences", .columns = {"measure", "class", "pair", "step"}};
    dtx_status st = DTX_OK;

    for (size_t q = 0; q < 3; q++) {
        for (int64_t i = 0; i < r->n_variants; i++) {
            for (int64_t k = i + 1; k < r->n_variants; k++) {
                const dtx_report_variant *a = &r->variant[i], *b = &r->variant[k];
                dtx_report_curve curve;
                char pair[140];
                if (!a->a.there || !b->a.there || a->n_rows != b->n_rows || a->a.width != b->a.width) {
                    continue;
                }
                snprintf(pair, sizeof pair, "%s-%s", a->name, b->name);
                DTX_GO(dtx_report_curve_difference(a->a.value[DTX_REPORT_TOKEN][order[q]], b->a.value[DTX_REPORT_TOKEN][order[q]], a->n_rows,
                                                   dtx_report_samples(r, a), a->a.width, &curve));
                DTX_GO(dtx_report_lines_add(&l, dtx_report_quantity_name[order[q]], "all", pair, &curve));
            }
        }
    }
    if (l.n > 0) {
        DTX_GO(dtx_report_lines_write(r, &l));
        DTX_GO(dtx_report_lines_draw(r, &l, l.name, panel, 3, 3, "generated token (step)", true));
        DTX_GO(dtx_report_lines_put(&l, page));
    }
done:
    dtx_report_lines_free(&l);
    return st;
}
