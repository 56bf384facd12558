/* Writing: CSV cells, files that appear whole, items of the page's data. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/report/output.h"
#include "src/base/file.h"
#include "src/base/mem.h"
#include "src/base/utf8.h"

dtx_status dtx_report_begin(dtx_report_file *out)
{
    *out = (dtx_report_file){0};
    out->f = open_memstream(&out->text, &out->size);
    return out->f != NULL ? DTX_OK : DTX_FAIL(DTX_ERR_MISSING, "out of memory for a report");
}

dtx_status dtx_report_publish(const dtx_report *r, dtx_report_file *out, const char *name)
{
    char path[1300];
    dtx_status st;

    if (fclose(out->f) != 0 || out->text == NULL) {
        st = DTX_FAIL(DTX_ERR_MISSING, "out of memory for %s", name);
    } else {
        st = dtx_file_join(path, sizeof path, r->out, name);
        st = st == DTX_OK ? dtx_file_write(path, out->text, out->size) : st;
    }
    free(out->text); /* open_memstream's own */
    *out = (dtx_report_file){0};
    return st;
}

void dtx_report_drop(dtx_report_file *out)
{
    if (out->f != NULL) {
        fclose(out->f);
        free(out->text);
    }
    *out = (dtx_report_file){0};
}

/* --- CSV --- */

void dtx_report_put_number(FILE *f, double x)
{
    if (isfinite(x)) {
        fprintf(f, ",%.9g", x);
    } else {
        fputc(',', f);
    }
}

void dtx_report_put_fixed(FILE *f, double x, int decimals)
{
    if (isfinite(x)) {
        fprintf(f, ",%.*f", decimals, x);
    } else {
        fputc(',', f);
    }
}

void dtx_report_put_cell(FILE *f, const char *s, size_t len)
{
    bool quoted = false;

    for (size_t i = 0; i < len; i++) {
        quoted = quoted || s[i] == ',' || s[i] == '"' || s[i] == '\r' || s[i] == '\n';
    }
    if (!quoted) {
        fwrite(s, 1, len, f);
        return;
    }
    fputc('"', f);
    for (size_t i = 0; i < len; i++) {
        if (s[i] == '"') {
            fputc('"', f);
        }
        fputc(s[i], f);
    }
    fputc('"', f);
}

void dtx_report_put_word(FILE *f, const char *s)
{
    dtx_report_put_cell(f, s, strlen(s));
}

/* --- the page's data --- */

dtx_status dtx_report_put(cJSON *parent, const char *key, cJSON *item)
{
    bool added = item != NULL && (key != NULL ? cJSON_AddItemToObject(parent, key, item) : cJSON_AddItemToArray(parent, item));

    if (!added) {
        cJSON_Delete(item);
        return DTX_FAIL(DTX_ERR_MISSING, "out of memory for the page's data");
    }
    return DTX_OK;
}

cJSON *dtx_report_number(double x)
{
    return isfinite(x) ? cJSON_CreateNumber(round(x * 1e5) / 1e5) : cJSON_CreateNull();
}

cJSON *dtx_report_text(const char *bytes, size_t len)
{
    char *s = dtx_malloc(3 * len + 1, 1);
    size_t n = 0;

    if (s == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < len;) {
        uint32_t cp;
        size_t m = dtx_utf8_next(bytes + i, len - i, &cp, NULL);
        if (cp == 0) {
            s[n++] = (char)0xFF;
        } else {
            n += dtx_utf8_put(cp, s + n);
        }
        i += m;
    }
    s[n] = '\0';
    cJSON *item = cJSON_CreateString(s);
    dtx_free(s);
    return item;
}

cJSON *dtx_report_string(const char *s)
{
    return dtx_report_text(s, strlen(s));
}

dtx_status dtx_report_put_numbers(cJSON *parent, const char *key, const double *x, int64_t n)
{
    cJSON *list = cJSON_CreateArray();

    for (int64_t i = 0; i < n; i++) {
        dtx_status st = dtx_report_put(list, NULL, dtx_report_number(x[i]));
        if (st != DTX_OK) {
            cJSON_Delete(list);
            return st;
        }
    }
    return dtx_report_put(parent, key, list);
}
