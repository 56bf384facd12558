/* One result of `attribute`, and its matrices row by row. Shapes and lengths are checked before use. */
#include <inttypes.h>
#include <math.h>

#include "jobs/report/report.h"
#include "src/base/mem.h"

/* Values of rows that are not done yet count as absent. */
static void blank_open_rows(dtx_report_attribution *a)
{
    for (int64_t i = 0; i < a->n_rows; i++) {
        for (int64_t k = i * a->width; !a->done[i] && k < (i + 1) * a->width; k++) {
            a->probability[k] = NAN;
            if (a->user != NULL) {
                a->user[k] = NAN;
            }
            for (int q = 0; q < DTX_REPORT_UNITS * DTX_REPORT_QUANTITIES; q++) {
                float *x = a->value[q / DTX_REPORT_QUANTITIES][q % DTX_REPORT_QUANTITIES];
                if (x != NULL) {
                    x[k] = NAN;
                }
            }
        }
    }
}

/* Entropy of the prompt's P tokens as a share of its largest value, log2 P; none for P < 2. */
static dtx_status normalise_entropy(dtx_report_attribution *a)
{
    const float *entropy = a->value[DTX_REPORT_TOKEN][DTX_REPORT_ENTROPY];
    float *x;

    DTX_TRY(DTX_NEW(x, a->n_rows * a->width));
    for (int64_t i = 0; i < a->n_rows; i++) {
        int64_t P = a->done[i] ? a->T[i] - a->G[i] : 0;
        for (int64_t k = i * a->width; k < (i + 1) * a->width; k++) {
            x[k] = P > 1 ? (float)(entropy[k] / log2((double)P)) : NAN;
        }
    }
    a->value[DTX_REPORT_TOKEN][DTX_REPORT_NORMALISED] = x;
    return DTX_OK;
}

static dtx_status take_values(const dtx_report *r, dtx_report_attribution *a)
{
    char words[64];

    a->width = -1;
    DTX_TRY(dtx_report_take(r, a->group, "step_probability", H5T_NATIVE_FLOAT, a->n_rows, &a->width, (void **)&a->probability));
    DTX_TRY(dtx_report_take(r, a->group, "user_dependence", H5T_NATIVE_FLOAT, a->n_rows, &a->width, (void **)&a->user));
    for (int q = 0; q < DTX_REPORT_NORMALISED; q++) {
        const char *name = dtx_report_quantity_name[q];
        snprintf(words, sizeof words, "words/%s", name);
        DTX_TRY(dtx_report_take(r, a->group, name, H5T_NATIVE_FLOAT, a->n_rows, &a->width, (void **)&a->value[DTX_REPORT_TOKEN][q]));
        DTX_TRY(dtx_report_take(r, a->group, words, H5T_NATIVE_FLOAT, a->n_rows, &a->width, (void **)&a->value[DTX_REPORT_WORD][q]));
    }
    return DTX_OK;
}

dtx_status dtx_report_load_attribution(const dtx_report *r, const dtx_report_variant *v, const char *name, int64_t n_rows,
                                       dtx_report_attribution *a)
{
    int64_t one = 1;

    *a = (dtx_report_attribution){.n_rows = n_rows};
    dtx_h5_group(a->group, sizeof a->group, DTX_H5_ATTRIBUTION, v->name, name);
    DTX_TRY(dtx_h5_attr_list(r->file, a->group, &a->settings, &a->n_settings));
    DTX_TRY(dtx_report_take(r, a->group, "done", H5T_NATIVE_UINT8, n_rows, &one, (void **)&a->done));
    DTX_TRY(dtx_report_take(r, a->group, "G", H5T_NATIVE_INT32, n_rows, &one, (void **)&a->G));
    DTX_TRY(dtx_report_take(r, a->group, "T", H5T_NATIVE_INT32, n_rows, &one, (void **)&a->T));
    DTX_TRY(dtx_report_take_offsets(r, a->group, "row_offset", "value", n_rows, &a->row_offset));
    DTX_TRY(take_values(r, a));
    if (a->done == NULL || a->G == NULL || a->T == NULL || a->row_offset == NULL || a->probability == NULL
        || a->value[DTX_REPORT_TOKEN][0] == NULL || a->value[DTX_REPORT_TOKEN][1] == NULL) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s/run.h5: %s lacks one of done, G, T, row_offset, value, step_probability, entropy, "
                        "prompt_dependence", r->dir, a->group);
    }
    for (int64_t i = 0; i < n_rows; i++) {
        int64_t G = a->G[i], T = a->T[i];
        if (a->done[i] && (G < 0 || G > a->width || T < G || (uint64_t)G * (uint64_t)T > a->row_offset[i + 1] - a->row_offset[i])) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s/run.h5: %s: row %" PRId64 " has G %" PRId64 " and T %" PRId64
                            ", which does not fit its room in value", r->dir, a->group, i, G, T);
        }
        a->n_done += a->done[i] != 0;
    }
    a->there = true;
    blank_open_rows(a);
    return normalise_entropy(a);
}

void dtx_report_free_attribution(dtx_report_attribution *a)
{
    void *const blocks[] = {a->settings, a->done, a->G, a->T, a->row_offset, a->probability, a->user};

    for (size_t b = 0; b < sizeof blocks / sizeof blocks[0]; b++) {
        dtx_free(blocks[b]);
    }
    for (int q = 0; q < DTX_REPORT_UNITS * DTX_REPORT_QUANTITIES; q++) {
        dtx_free(a->value[q / DTX_REPORT_QUANTITIES][q % DTX_REPORT_QUANTITIES]);
    }
    *a = (dtx_report_attribution){0};
}

dtx_status dtx_report_read_matrix(const dtx_report *r, const dtx_report_attribution *a, int64_t row, float **value, size_t *cap)
{
    size_t n = (size_t)a->G[row] * (size_t)a->T[row];

    DTX_TRY(DTX_GROW(*value, *cap, n + 1));
    return dtx_h5_read_rows(r->file, a->group, "value", H5T_NATIVE_FLOAT, (int64_t)a->row_offset[row], (int64_t)n, 1, *value);
}
