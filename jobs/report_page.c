/* The page: one HTML file with its style, script, figures and data inside, so that it can be read offline and sent
 * around. The data stand as JSON in a script element that is never executed. */
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/report.h"
#include "src/file.h"
#include "src/mem.h"
#include "src/utf8.h"
#include "src/version.h"

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

static cJSON *word(const char *s)
{
    return dtx_report_text(s, strlen(s));
}

/* Pairs of name and value as an object. */
static dtx_status put_pairs(cJSON *parent, const char *key, char *const *pairs, size_t n)
{
    cJSON *o = cJSON_CreateObject();

    for (size_t i = 0; i < n; i++) {
        dtx_status st = dtx_report_put(o, pairs[2 * i], word(pairs[2 * i + 1]));
        if (st != DTX_OK) {
            cJSON_Delete(o);
            return st;
        }
    }
    return dtx_report_put(parent, key, o);
}

static dtx_status put_curve(cJSON *parent, const char *variant, const dtx_report_curve *c)
{
    cJSON *o = cJSON_CreateObject(), *column;
    const double *const values[] = {c->mean, c->low, c->high};
    static const char *const names[] = {"mean", "low", "high"};
    dtx_status st;

    DTX_GO(dtx_report_put(o, "variant", word(variant)));
    column = cJSON_AddArrayToObject(o, "n");
    for (int64_t s = 0; s < c->n_steps; s++) {
        DTX_GO(dtx_report_put(column, NULL, cJSON_CreateNumber((double)c->n[s])));
    }
    for (int k = 0; k < 3; k++) {
        column = cJSON_AddArrayToObject(o, names[k]);
        for (int64_t s = 0; s < c->n_steps; s++) {
            DTX_GO(dtx_report_put(column, NULL, dtx_report_number(values[k][s])));
        }
    }
    return dtx_report_put(parent, NULL, o);
done:
    cJSON_Delete(o);
    return st;
}

static dtx_status put_variant(cJSON *list, const dtx_report_variant *v)
{
    cJSON *o = cJSON_CreateObject();
    const struct {
        const char *key;
        double value;
    } numbers[] = {{"rows", (double)v->n_rows}, {"completed", (double)v->n_done},
                   {"attributed", (double)v->n_attributed}, {"eos", (double)v->n_eos},
                   {"length", (double)v->n_length}, {"imported", (double)v->n_imported},
                   {"empty", (double)v->n_empty}, {"tokens", v->n_done > 0 ? v->mean_length : NAN},
                   {"probability", v->has_attribution ? v->mean_probability : NAN},
                   {"entropy", v->has_attribution ? v->mean[DTX_REPORT_ENTROPY] : NAN},
                   {"dependence", v->has_attribution ? v->mean[DTX_REPORT_DEPENDENCE] : NAN},
                   {"gain", v->n_checked > 0 ? v->gain : NAN}, {"gainLow", v->n_checked > 0 ? v->gain_low : NAN},
                   {"gainHigh", v->n_checked > 0 ? v->gain_high : NAN}};
    dtx_status st;

    DTX_GO(dtx_report_put(o, "name", word(v->name)));
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        DTX_GO(dtx_report_put(o, numbers[i].key, dtx_report_number(numbers[i].value)));
    }
    DTX_GO(put_pairs(o, "attrs", v->attrs, v->n_attrs));
    DTX_GO(put_pairs(o, "settings", v->attr_settings, v->n_attr_settings));
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

static dtx_status make_data(const dtx_report *r, const char *model, int64_t n_sample, cJSON **out)
{
    cJSON *root = cJSON_CreateObject(), *list, *sample = NULL;
    char name[256];
    dtx_status st;

    DTX_GO(dtx_report_put(root, "run", word(run_name(r, name))));
    DTX_GO(dtx_report_put(root, "version", word(dtx_version)));
    DTX_GO(dtx_report_put(root, "commit", word(dtx_commit)));
    DTX_GO(dtx_report_put(root, "method", word(r->method)));
    DTX_GO(dtx_report_put(root, "prompts", cJSON_CreateNumber((double)r->n_prompts)));
    list = cJSON_AddArrayToObject(root, "missing");
    for (size_t i = 0; i < r->n_missing; i++) {
        DTX_GO(dtx_report_put(list, NULL, word(r->missing[i])));
    }
    list = cJSON_AddArrayToObject(root, "variants");
    for (int64_t i = 0; i < r->n_variants; i++) {
        DTX_GO(put_variant(list, &r->variant[i]));
    }
    cJSON *curves = cJSON_AddObjectToObject(root, "curves");
    for (int u = 0; u < DTX_REPORT_UNITS; u++) {
        cJSON *unit = cJSON_AddObjectToObject(curves, dtx_report_unit_name[u]);
        for (int q = 0; q < DTX_REPORT_QUANTITIES; q++) {
            list = cJSON_AddArrayToObject(unit, dtx_report_quantity_name[q]);
            for (int64_t i = 0; i < r->n_variants; i++) {
                DTX_GO(put_curve(list, r->variant[i].name, &r->variant[i].curve[u][q]));
            }
        }
    }
    list = cJSON_AddArrayToObject(root, "launches");
    for (int64_t i = 0; i < r->n_launches; i++) {
        DTX_GO(put_launch(list, &r->launch[i]));
    }
    list = cJSON_AddArrayToObject(root, "trainings");
    for (int64_t i = 0; i < r->n_trainings; i++) {
        DTX_GO(dtx_report_put(list, NULL, word(r->training[i].name)));
    }
    DTX_GO(dtx_report_put_toxicity(r, root));
    DTX_GO(dtx_report_sample(r, model, n_sample, &sample));
    DTX_GO(dtx_report_put(root, "sample", sample));
    *out = root;
    root = NULL;
done:
    cJSON_Delete(root);
    return st;
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
    fprintf(f, "<svg role=\"img\" aria-label=\"%s\"", label);
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

static dtx_status write_figures(const dtx_report *r, FILE *f)
{
    static const char *const names[DTX_REPORT_UNITS] = {"figure1", "figure1_words"};

    for (int u = 0; u < DTX_REPORT_UNITS; u++) {
        if (dtx_report_has_curves(r, u)) {
            fprintf(f, "<figure class=\"plot\" data-unit=\"%s\"%s>", dtx_report_unit_name[u], u > 0 ? " hidden" : "");
            DTX_TRY(write_svg(r, f, names[u], "Entropy and prompt dependence over generated tokens, by variant"));
            fprintf(f, "</figure>\n");
        }
    }
    return DTX_OK;
}

static dtx_status write_trainings(const dtx_report *r, FILE *f)
{
    char name[160], path[1400];

    for (int64_t i = 0; i < r->n_trainings; i++) {
        snprintf(name, sizeof name, "training_%s", r->training[i].name);
        snprintf(path, sizeof path, "%s/%s.svg", r->out, name);
        if (r->training[i].n_curves > 0 && dtx_file_exists(path)) {
            fprintf(f, "<figure class=\"plot\"><figcaption>");
            for (const char *s = r->training[i].name; *s != '\0'; s++) {
                fprintf(f, strchr("<>&\"", *s) != NULL ? "&#%d;" : "%c", *s);
            }
            fprintf(f, "</figcaption>");
            DTX_TRY(write_svg(r, f, name, "Training curves"));
            fprintf(f, "</figure>\n");
        }
    }
    return DTX_OK;
}

dtx_status dtx_report_write_page(const dtx_report *r, const char *model, int64_t n_sample)
{
    dtx_report_file out = {0};
    cJSON *data = NULL;
    char *json = NULL;
    dtx_status st;

    DTX_GO(make_data(r, model, n_sample, &data));
    json = cJSON_PrintUnformatted(data);
    DTX_GO(dtx_mem_check(json, 1, 1, "the page's data"));
    DTX_GO(dtx_report_begin(&out));
    for (const char *s = dtx_report_asset("page.html"); *s != '\0';) {
        const char *mark = strstr(s, "{{"), *end = mark != NULL ? strstr(mark, "}}") : NULL;
        if (end == NULL) {
            fputs(s, out.f);
            break;
        }
        fwrite(s, 1, (size_t)(mark - s), out.f);
        s = end + 2;
        if (strncmp(mark, "{{style}}", 9) == 0) {
            fputs(dtx_report_asset("page.css"), out.f);
        } else if (strncmp(mark, "{{script}}", 10) == 0) {
            fputs(dtx_report_asset("page.js"), out.f);
        } else if (strncmp(mark, "{{data}}", 8) == 0) {
            write_json(out.f, json);
        } else if (strncmp(mark, "{{figures}}", 11) == 0) {
            DTX_GO(write_figures(r, out.f));
        } else if (strncmp(mark, "{{trainings}}", 13) == 0) {
            DTX_GO(write_trainings(r, out.f));
        }
    }
    DTX_GO(dtx_report_publish(r, &out, "index.html"));
done:
    if (out.f != NULL) { /* given up half-way */
        fclose(out.f);
        free(out.text);
    }
    cJSON_free(json);
    cJSON_Delete(data);
    return st;
}
