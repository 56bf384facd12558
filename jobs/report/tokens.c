/* The run's tokenizer, and tokens as text. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "jobs/report/output.h"
#include "src/base/json.h"
#include "src/base/log.h"
#include "src/base/mem.h"

/* The first variant with attributed rows leads, else the first with completions. */
const dtx_report_variant *dtx_report_leader(const dtx_report *r)
{
    for (int64_t i = 0; i < r->n_variants; i++) {
        if (r->variant[i].a.n_done > 0) {
            return &r->variant[i];
        }
    }
    for (int64_t i = 0; i < r->n_variants; i++) {
        if (r->variant[i].n_done > 0) {
            return &r->variant[i];
        }
    }
    return NULL;
}

/* The model folder that the latest launch with one used, from its stored configuration. */
static void recorded_model(const dtx_report *r, char out[1024])
{
    out[0] = '\0';
    for (int64_t i = r->n_launches; i-- > 0 && out[0] == '\0';) {
        const char *config = dtx_report_attr(r->launch[i].attrs, r->launch[i].n_attrs, "config");
        cJSON *o = NULL;
        if (config[0] != '\0' && dtx_json_parse(config, strlen(config), "config", 0, &o) == DTX_OK
            && dtx_json_str(o, "config", "model.path", 1024, out) != DTX_OK) {
            out[0] = '\0';
        }
        cJSON_Delete(o);
    }
}

static bool same_but_blanks(const char *a, size_t n, const char *b, size_t m)
{
    size_t i = 0, j = 0;

    for (;;) {
        while (i < n && (a[i] == ' ' || a[i] == '\n')) {
            i++;
        }
        while (j < m && (b[j] == ' ' || b[j] == '\n')) {
            j++;
        }
        if (i == n || j == m) {
            return i == n && j == m;
        }
        if (a[i++] != b[j++]) {
            return false;
        }
    }
}

/* Does a tokenizer give the texts that the run holds? Looked at on some completions of the leader; most must agree
 * (a text may differ in parts of characters). True where there is no text yet. */
static dtx_status fits(const dtx_report *r, const dtx_report_variant *v, const dtx_tokenizer *tokenizer, bool *yes)
{
    enum { TRIED = 16 };
    int64_t n_tried = 0, n_equal = 0;
    char group[128];
    int32_t *token = NULL;
    dtx_status st;

    dtx_h5_group(group, sizeof group, DTX_H5_COMPLETIONS, v->name, NULL);
    DTX_GO(DTX_NEW(token, v->width));
    for (int64_t i = 0; i < v->n_rows && n_tried < TRIED && v->text_offset != NULL; i++) {
        char *text = NULL, *decoded = NULL;
        size_t len = 0, m = 0;
        if (v->finish[i] == 0 || v->length[i] == 0) {
            continue;
        }
        DTX_GO(dtx_h5_read_rows(r->file, group, "tokens", H5T_NATIVE_INT32, i, 1, v->width, token));
        DTX_GO(dtx_report_take_text(r, group, v->text_offset, i, &text, &len));
        st = dtx_tokenizer_decode(tokenizer, token, (size_t)v->length[i], true, false, &decoded, &m);
        n_tried++;
        n_equal += st == DTX_OK && same_but_blanks(decoded, m, text, len);
        dtx_free(decoded);
        dtx_free(text);
    }
    st = DTX_OK;
    *yes = 2 * n_equal >= n_tried;
done:
    dtx_free(token);
    return st;
}

/* Opens the run's tokenizer: in the folder of the configuration, else in the one the run was made with. Where there is
 * none the page says so and shows ids. */
dtx_status dtx_report_open_tokenizer(dtx_report *r, const char *model)
{
    const dtx_report_variant *lead = dtx_report_leader(r);
    char *note = r->tokenizer_note;
    char recorded[1024];
    const char *const folders[] = {model, recorded};

    if (lead == NULL || lead->width == 0) { /* nothing, or text alone */
        return DTX_OK;
    }
    snprintf(note, 600, "The run does not say where its model is");
    recorded_model(r, recorded);
    for (size_t i = 0; i < 2 && r->tokenizer == NULL; i++) {
        bool ok = false;
        if (folders[i][0] == '\0') {
            continue;
        }
        if (dtx_tokenizer_open(folders[i], &r->tokenizer) != DTX_OK) {
            r->tokenizer = NULL;
            snprintf(note, 600, "No tokenizer could be read (%.300s)", dtx_error_text());
            dtx_error_clear();
            continue;
        }
        DTX_TRY(fits(r, lead, r->tokenizer, &ok));
        if (!ok) {
            snprintf(note, 600, "The tokenizer in %.300s is not the run's own: it gives other texts than the run holds", folders[i]);
            dtx_tokenizer_close(r->tokenizer);
            r->tokenizer = NULL;
        }
    }
    if (r->tokenizer != NULL) {
        note[0] = '\0';
        return DTX_OK;
    }
    size_t n = strlen(note);
    snprintf(note + n, 600 - n, "; ids are shown. detoxlens report --set model.path=FOLDER gives the tokens' text.");
    dtx_log(DTX_LOG_WARN, "report", "%s", note);
    return DTX_OK;
}
