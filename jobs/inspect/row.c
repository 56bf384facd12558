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

/* Bytes offset[row] .. offset[row+1] of a flat dataset. *out ends with NUL (dtx_free). */
static dtx_status read_text(hid_t file, const char *group, const char *name, int64_t row, char **out)
{
    char offsets[512], bytes[512];
    uint64_t edge[2];
    hsize_t shape[2];

    snprintf(offsets, sizeof offsets, "%s/%s_offset", group, name);
    snprintf(bytes, sizeof bytes, "%s/%s_bytes", group, name);
    DTX_TRY(dtx_h5_shape(file, bytes, shape));
    DTX_TRY(dtx_h5_read_rows(file, offsets, H5T_NATIVE_UINT64, (hsize_t)row, 2, edge));
    if (edge[0] > edge[1] || edge[1] > shape[0]) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: row %" PRId64 " reaches from %" PRIu64 " to %" PRIu64 " of %" PRIu64 " bytes", bytes, row,
                        edge[0], edge[1], (uint64_t)shape[0]);
    }
    size_t n = (size_t)(edge[1] - edge[0]);
    char *text = dtx_calloc(n + 1, 1);
    DTX_TRY(dtx_mem_check(text, n + 1, 1, "text of a row"));
    dtx_status st = n > 0 ? dtx_h5_read_rows(file, bytes, H5T_NATIVE_UINT8, (hsize_t)edge[0], (hsize_t)n, text) : DTX_OK;
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

static dtx_status add_dependence(hid_t file, const char *group, const char *method, int64_t row, dtx_facts *f)
{
    char path[512];
    hsize_t shape[2];
    float *value = NULL;
    double sum = 0;
    int64_t n = 0;

    snprintf(path, sizeof path, "%s/attribution/%s/prompt_dependence", group, method);
    DTX_TRY(dtx_h5_shape(file, path, shape));
    DTX_TRY(DTX_NEW_RAW(value, shape[1] + 1));
    dtx_status st = dtx_h5_read_rows(file, path, H5T_NATIVE_FLOAT, (hsize_t)row, 1, value);
    for (hsize_t i = 0; st == DTX_OK && i < shape[1]; i++) {
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
    char group[128], completions[160], name[256];
    char *text = NULL, *completion = NULL, **methods = NULL;
    hsize_t prompts[2], rows[2];
    uint8_t finish = 0;
    int32_t length = 0;
    int64_t id = 0, complete = 0;
    bool there = false;
    hid_t file = -1;
    size_t n = 0;
    dtx_status st;

    snprintf(group, sizeof group, "/variants/%s", variant);
    snprintf(completions, sizeof completions, "%s/completions", group);
    DTX_TRY(dtx_h5_open_serial(path, &file));
    DTX_GO(dtx_h5_check_schema(file, path));
    if (!dtx_h5_exists(file, completions)) {
        st = DTX_FAIL(DTX_ERR_MISSING, "%s: no completions of variant %s; run detoxlens generate --variant %s", path, variant, variant);
        goto done;
    }
    snprintf(name, sizeof name, "%s/finish", completions);
    DTX_GO(dtx_h5_shape(file, name, rows));
    DTX_GO(dtx_h5_shape(file, "/prompts/id", prompts));
    if (row >= (int64_t)rows[0] || prompts[0] == 0) {
        st = DTX_FAIL(DTX_ERR_USAGE, "--row %" PRId64 ": variant %s has the rows 0 to %" PRId64, row, variant, (int64_t)rows[0] - 1);
        goto done;
    }
    DTX_GO(dtx_h5_read_rows(file, name, H5T_NATIVE_UINT8, (hsize_t)row, 1, &finish));
    snprintf(name, sizeof name, "%s/length", completions);
    DTX_GO(dtx_h5_read_rows(file, name, H5T_NATIVE_INT32, (hsize_t)row, 1, &length));
    int64_t prompt = row / (int64_t)(rows[0] / prompts[0]); /* several samples of a text are rows in sequence */
    DTX_GO(dtx_h5_read_rows(file, "/prompts/id", H5T_NATIVE_INT64, (hsize_t)prompt, 1, &id));
    DTX_GO(read_text(file, "/prompts", "text", prompt, &text));
    DTX_GO(dtx_h5_attr_get_int(file, completions, "complete", &complete, &there));

    dtx_facts_section(f, "row", "Row %" PRId64 ", variant %s", row, variant);
    dtx_facts_int(f, "prompt_id", "prompt id", id, "");
    dtx_facts_text(f, "text", "text", "%s", text);
    dtx_facts_text(f, "finish", "finish", "%s", finish < 4 ? finish_name[finish] : "unknown");
    if (finish != 0) {
        dtx_facts_int(f, "tokens", "tokens", length, "");
    }
    if (there && complete != 0) { /* texts are decoded at the end of the stage */
        DTX_GO(read_text(file, completions, "text", row, &completion));
        dtx_facts_text(f, "completion", "completion", "%s", completion);
    }
    snprintf(name, sizeof name, "%s/attribution", group);
    if (dtx_h5_exists(file, name)) {
        DTX_GO(dtx_h5_list(file, name, &methods, &n));
    }
    for (size_t i = 0; i < n; i++) {
        DTX_GO(add_dependence(file, group, methods[i], row, f));
    }
done:
    dtx_free(methods);
    dtx_free(completion);
    dtx_free(text);
    dtx_h5_close(file);
    return st;
}
