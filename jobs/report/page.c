/* The page: one HTML file with its style, script, figures and data inside, so that it can be read offline and sent
 * around. The data stand as JSON in a script element that is never executed. */
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/report/parts.h"
#include "src/base/file.h"
#include "src/base/mem.h"
#include "src/base/version.h"

/* Pairs of name and value as an object. */
static dtx_status put_pairs(cJSON *parent, const char *key, char *const *pairs, size_t n)
{
    cJSON *o = cJSON_CreateObject();

    for (size_t i = 0; i < n; i++) {
        dtx_status st = dtx_report_put(o, pairs[2 * i], dtx_report_string(pairs[2 * i + 1]));
        if (st != DTX_OK) {
            cJSON_Delete(o);
            return st;
        }
    }
    return dtx_report_put(parent, key, o);
}

static dtx_status put_variant(cJSON *list, const dtx_report_variant *v)
{
    cJSON *o = cJSON_CreateObject();
    const struct {
        const char *key;
        double value;
    } numbers[] = {{"rows", (double)v->n_rows}, {"completed", (double)v->n_done},
                   {"attributed", (double)v->a.n_done}, {"eos", (double)v->n_eos},
                   {"length", (double)v->n_length}, {"imported", (double)v->n_imported},
                   {"empty", (double)v->n_empty}, {"tokens", v->n_done > 0 ? v->mean_length : NAN},
                   {"probability", v->a.there ? v->mean_probability : NAN},
                   {"entropy", v->a.there ? v->mean[DTX_REPORT_ENTROPY] : NAN},
                   {"dependence", v->a.there ? v->mean[DTX_REPORT_DEPENDENCE] : NAN},
                   {"gain", v->n_checked > 0 ? v->gain : NAN}, {"gainLow", v->n_checked > 0 ? v->gain_low : NAN},
                   {"gainHigh", v->n_checked > 0 ? v->gain_high : NAN}};
    dtx_status st;

    DTX_GO(dtx_report_put(o, "name", dtx_report_string(v->name)));
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        DTX_GO(dtx_report_put(o, numbers[i].key, dtx_report_number(numbers[i].value)));
    }
    DTX_GO(put_pairs(o, "attrs", v->attrs, v->n_attrs));
    DTX_GO(put_pairs(o, "settings", v->a.settings, v->a.n_settings));
    DTX_GO(put_pairs(o, "check", v->check, v->n_check));
    return dtx_report_put(list, NULL, o);
done:
    cJSON_Delete(o);
    return st;
}

static dtx_status put_launch(cJSON *list, const dtx_report_launch *l)
{
    cJSON *o = cJSON_CreateObject();
    dtx_status st;

    DTX_GO(dtx_report_put(o, "index", cJSON_CreateNumber((double)l->index)));
    DTX_GO(dtx_report_put(o, "hours", dtx_report_number(l->hours)));
    DTX_GO(put_pairs(o, "attrs", l->attrs, l->n_attrs));
    return dtx_report_put(list, NULL, o);
done:
    cJSON_Delete(o);
    return st;
}

/* The last part of the run's folder, also where that was given as "." */
static const char *run_name(const dtx_report *r, char out[256])
{
    char full[PATH_MAX];
    const char *dir = realpath(r->dir, full) != NULL ? full : r->dir, *slash = strrchr(dir, '/');

    snprintf(out, 256, "%.250s", slash != NULL && slash[1] != '\0' ? slash + 1 : dir);
    return out;
}

/* What the page tells besides the parts' data. */
static dtx_status put_run(const dtx_report *r, cJSON *root, int64_t n_sample)
{
    cJSON *list, *sample = NULL;
    char name[256];

    DTX_TRY(dtx_report_put(root, "run", dtx_report_string(run_name(r, name))));
    DTX_TRY(dtx_report_put(root, "version", dtx_report_string(dtx_version)));
    DTX_TRY(dtx_report_put(root, "commit", dtx_report_string(dtx_commit)));
    DTX_TRY(dtx_report_put(root, "method", dtx_report_string(r->method)));
    DTX_TRY(dtx_report_put(root, "prompts", cJSON_CreateNumber((double)r->n_prompts)));
    list = cJSON_AddArrayToObject(root, "missing");
    for (size_t i = 0; i < r->n_missing; i++) {
        DTX_TRY(dtx_report_put(list, NULL, dtx_report_string(r->missing[i])));
    }
    list = cJSON_AddArrayToObject(root, "variants");
    for (int64_t i = 0; i < r->n_variants; i++) {
        DTX_TRY(put_variant(list, &r->variant[i]));
    }
    list = cJSON_AddArrayToObject(root, "launches");
    for (int64_t i = 0; i < r->n_launches; i++) {
        DTX_TRY(put_launch(list, &r->launch[i]));
    }
    DTX_TRY(dtx_report_sample(r, n_sample, &sample));
    return dtx_report_put(root, "sample", sample);
}

/* JSON that may stand inside <script>: no character that HTML reads ("</script>", "<!--"), and the NULs back. These
 * characters occur in strings alone, so an escape is always right. */
static void write_json(FILE *f, const char *json)
{
    for (const char *s = json; *s != '\0'; s++) {
        switch (*s) {
        case '<':
        case '>':
        case '&': fprintf(f, "\\u%04x", *s); break;
        case (char)0xFF: fputs("\\u0000", f); break;
        default: fputc(*s, f);
        }
    }
}

static void put_escaped(FILE *f, const char *s)
{
    for (; *s != '\0'; s++) {
        fprintf(f, strchr("<>&\"", *s) != NULL ? "&#%d;" : "%c", *s);
    }
}

/* A figure that gnuplot made, without its XML header, its title (browsers show it as a tooltip) and its description. */
static dtx_status write_svg(const dtx_report *r, FILE *f, const char *name, const char *label)
{
    static const char *const cut[] = {"<title>", "</title>", "<desc>", "</desc>"};
    char path[1400];
    dtx_file_map map;

    snprintf(path, sizeof path, "%s/%s.svg", r->out, name);
    DTX_TRY(dtx_file_map_open(path, &map));
    const char *s = memmem(map.data, map.size, "<svg", 4), *end = map.data + map.size;
    if (s == NULL) {
        dtx_file_map_close(&map);
        return DTX_FAIL(DTX_ERR_CHECK, "%s: gnuplot wrote no SVG", path);
    }
    fprintf(f, "<svg role=\"img\" aria-label=\"");
    put_escaped(f, label);
    fputc('"', f);
    s += 4;
    for (size_t i = 0; i < 4; i += 2) {
        const char *a = memmem(s, (size_t)(end - s), cut[i], strlen(cut[i]));
        const char *b = a != NULL ? memmem(a, (size_t)(end - a), cut[i + 1], strlen(cut[i + 1])) : NULL;
        if (b != NULL) {
            fwrite(s, 1, (size_t)(a - s), f);
            s = b + strlen(cut[i + 1]);
        }
    }
    fwrite(s, 1, (size_t)(end - s), f);
    dtx_file_map_close(&map);
    return DTX_OK;
}

/* The figures whose name begins with `name`, or is it where `exact`, in the order in which they were drawn. Others than the
 * first exact one bear the rest of their name as a caption. */
static dtx_status write_figures(const dtx_report *r, FILE *f, const char *name, size_t len, bool exact)
{
    for (size_t i = 0; i < r->n_figures; i++) {
        const char *figure = r->figure[i];
        if (strncmp(figure, name, len) != 0 || (exact && figure[len] != '\0')) {
            continue;
        }
        fprintf(f, "<figure class=\"plot\" data-figure=\"");
        put_escaped(f, figure);
        fprintf(f, "\">");
        if (!exact) {
            fprintf(f, "<figcaption>");
            put_escaped(f, figure + len);
            fprintf(f, "</figcaption>");
        }
        DTX_TRY(write_svg(r, f, figure, figure));
        fprintf(f, "</figure>\n");
    }
    return DTX_OK;
}

/* What stands between {{ and }} of page.html. */
static dtx_status fill(const dtx_report *r, FILE *f, const char *mark, size_t len, const char *json)
{
    static const char one[] = "figure ", all[] = "figures ";

    if (strncmp(mark, "style", len) == 0) {
        fputs(dtx_report_asset("page.css"), f);
    } else if (strncmp(mark, "script", len) == 0) {
        fputs(dtx_report_asset("page.js"), f);
        fputs(dtx_report_asset("browser.js"), f);
    } else if (strncmp(mark, "data", len) == 0) {
        write_json(f, json);
    } else if (strncmp(mark, one, sizeof one - 1) == 0) {
        return write_figures(r, f, mark + sizeof one - 1, len - (sizeof one - 1), true);
    } else if (strncmp(mark, all, sizeof all - 1) == 0) {
        return write_figures(r, f, mark + sizeof all - 1, len - (sizeof all - 1), false);
    }
    return DTX_OK;
}

dtx_status dtx_report_write_page(const dtx_report *r, cJSON *page, int64_t n_sample)
{
    dtx_report_file out = {0};
    char *json = NULL;
    dtx_status st;

    DTX_GO(put_run(r, page, n_sample));
    json = cJSON_PrintUnformatted(page);
    DTX_GO(dtx_mem_check(json, 1, 1, "the page's data"));
    DTX_GO(dtx_report_begin(&out));
    for (const char *s = dtx_report_asset("page.html"); *s != '\0';) {
        const char *mark = strstr(s, "{{"), *end = mark != NULL ? strstr(mark, "}}") : NULL;
        if (end == NULL) {
            fputs(s, out.f);
            break;
        }
        fwrite(s, 1, (size_t)(mark - s), out.f);
        DTX_GO(fill(r, out.f, mark + 2, (size_t)(end - mark - 2), json));
        s = end + 2;
    }
    DTX_GO(dtx_report_publish(r, &out, "index.html"));
done:
    dtx_report_drop(&out);
    cJSON_free(json);
    return st;
}
