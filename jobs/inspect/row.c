/* row.c - one row of a run.h5 as text: the evaluation text, the completion, and how much its tokens depended on
 * the prompt. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "jobs/inspect/inspect.h"
#include "mpi/run/run.h"
#include "src/base/mem.h"
#include "src/base/utf8.h"

/* Text `row` of a group with `rows` of them. *out ends with NUL (dtx_free). */
static dtx_status read_text(hid_t file, const char *group, int64_t rows, int64_t row, char **out)
{
    int64_t edge[2];

    DTX_TRY(dtx_h5_edges(file, group, "text_offset", rows, row, edge));
    size_t n = (size_t)(edge[1] - edge[0]);
    char *text = dtx_calloc(n + 1, 1);
    DTX_TRY(dtx_mem_check(text, n + 1, 1, "text of a row"));
    dtx_status st = dtx_h5_read_rows(file, group, "text_bytes", H5T_NATIVE_UINT8, edge[0], (int64_t)n, 1, text);
    if (st != DTX_OK) {
        dtx_free(text);
        return st;
    }
    if (dtx_utf8_valid(text, n) < n || memchr(text, '\0', n) != NULL) { /* shown, not kept: what is unprintable may go */
        for (size_t i = 0; i < n; i++) {
            text[i] = text[i] == '\0' || (unsigned char)text[i] >= 0x80 ? '?' : text[i];
        }
    }
    *out = text;
    return DTX_OK;
}

static dtx_status add_dependence(hid_t file, const char *group, const char *method, int64_t rows, int64_t row, dtx_facts *f)
{
    int64_t shape[2];
    float *value = NULL;
    double sum = 0;
    int64_t n = 0;

    DTX_TRY(dtx_h5_shape(file, group, "prompt_dependence", rows, DTX_H5_ANY, shape));
    DTX_TRY(DTX_NEW_RAW(value, shape[1] + 1));
    dtx_status st = dtx_h5_read_rows(file, group, "prompt_dependence", H5T_NATIVE_FLOAT, row, 1, shape[1], value);
    for (int64_t i = 0; st == DTX_OK && i < shape[1]; i++) {
        if (!isnan(value[i])) {
            sum += (double)value[i];
            n++;
        }
    }
    if (st == DTX_OK && n > 0) {
        char label[96];
        snprintf(label, sizeof label, "dependence, %s", method);
        dtx_facts_number(f, method, label, sum / (double)n, "mean share of the scores on the prompt");
    }
    dtx_free(value);
    return st;
}

dtx_status dtx_inspect_row(const char *path, const char *variant, int64_t row, dtx_facts *f)
{
    static const char *const finish_name[] = {"not done", "end of text", "length", "imported"};
    const char *texts = dtx_h5_places[DTX_H5_PROMPTS].path;
    char completions[160], group[640];
    char *text = NULL, *completion = NULL, **methods = NULL;
    int64_t prompts[2], rows[2];
    uint8_t finish = 0;
    int32_t length = 0;
    int64_t id = 0, complete = 0;
    bool there = false;
    hid_t file = -1;
    size_t n = 0;
    dtx_status st;

    dtx_h5_group(completions, sizeof completions, DTX_H5_COMPLETIONS, variant, NULL);
    DTX_TRY(dtx_h5_open_serial(path, &file));
    DTX_GO(dtx_h5_check_schema(file, path));
    if (!dtx_h5_exists(file, completions)) {
        st = DTX_FAIL(DTX_ERR_MISSING, "%s: no completions of variant %s; run detoxlens generate --variant %s", path, variant, variant);
        goto done;
    }
    DTX_GO(dtx_h5_shape(file, completions, "finish", DTX_H5_ANY, 1, rows));
    DTX_GO(dtx_h5_shape(file, texts, "id", DTX_H5_ANY, 1, prompts));
    if (row >= rows[0] || prompts[0] == 0) {
        st = DTX_FAIL(DTX_ERR_USAGE, "--row %" PRId64 ": variant %s has the rows 0 to %" PRId64, row, variant, rows[0] - 1);
        goto done;
    }
    if (rows[0] % prompts[0] != 0) {
        st = DTX_FAIL(DTX_ERR_INPUT, "%s: %s has %" PRId64 " rows, which is no multiple of the %" PRId64 " texts", path, completions, rows[0],
                      prompts[0]);
        goto done;
    }
    DTX_GO(dtx_h5_read_rows(file, completions, "finish", H5T_NATIVE_UINT8, row, 1, 1, &finish));
    const bool ids = dtx_h5_has(file, completions, "length"); /* an imported variant may have none */
    DTX_GO(ids ? dtx_h5_read_rows(file, completions, "length", H5T_NATIVE_INT32, row, 1, 1, &length) : DTX_OK);
    int64_t prompt = row / (rows[0] / prompts[0]); /* several samples of a text are rows in sequence */
    DTX_GO(dtx_h5_read_rows(file, texts, "id", H5T_NATIVE_INT64, prompt, 1, 1, &id));
    DTX_GO(read_text(file, texts, prompts[0], prompt, &text));
    DTX_GO(dtx_h5_attr_get_int(file, completions, "complete", &complete, &there));

    dtx_facts_section(f, "row", "Row %" PRId64 ", variant %s", row, variant);
    dtx_facts_int(f, "prompt_id", "prompt id", id, "");
    dtx_facts_text(f, "text", "text", "%s", text);
    dtx_facts_text(f, "finish", "finish", "%s", finish < 4 ? finish_name[finish] : "unknown");
    if (finish != 0 && ids) {
        dtx_facts_int(f, "tokens", "tokens", length, "");
    }
    if (there && complete != 0) { /* texts are decoded at the end of the stage */
        DTX_GO(read_text(file, completions, rows[0], row, &completion));
        dtx_facts_text(f, "completion", "completion", "%s", completion);
    }
    dtx_h5_group(group, sizeof group, DTX_H5_ATTRIBUTIONS, variant, NULL);
    DTX_GO(dtx_h5_list(file, group, &methods, &n));
    for (size_t i = 0; i < n; i++) {
        dtx_h5_group(group, sizeof group, DTX_H5_ATTRIBUTION, variant, methods[i]);
        DTX_GO(add_dependence(file, group, methods[i], rows[0], row, f));
    }
done:
    dtx_free(methods);
    dtx_free(completion);
    dtx_free(text);
    dtx_h5_close(file);
    return st;
}
