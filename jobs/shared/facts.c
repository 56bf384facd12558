#include "jobs/shared/facts.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/mem.h"
#include "src/base/printable.h"

void dtx_facts_init(dtx_facts *f)
{
    memset(f, 0, sizeof *f);
    f->root = f->section = cJSON_CreateObject();
    f->st = dtx_mem_check(f->root, 1, 1, "facts");
}

void dtx_facts_free(dtx_facts *f)
{
    for (size_t i = 0; i < f->n; i++) {
        dtx_free(f->fact[i].label);
        dtx_free(f->fact[i].text);
    }
    dtx_free(f->fact);
    cJSON_Delete(f->root);
    memset(f, 0, sizeof *f);
}

/* `value` is taken over; NULL for titles. */
static void add(dtx_facts *f, const char *key, const char *label, const char *text, cJSON *value)
{
    if (f->st == DTX_OK) {
        f->st = DTX_GROW(f->fact, f->cap, f->n + 1);
    }
    if (f->st != DTX_OK) {
        cJSON_Delete(value);
        return;
    }
    dtx_fact *fact = &f->fact[f->n++];
    fact->label = label != NULL ? dtx_strdup(label) : NULL;
    fact->text = dtx_strdup(text);
    if ((label != NULL && (fact->label == NULL || value == NULL)) || fact->text == NULL) {
        cJSON_Delete(value);
        f->st = dtx_mem_check(NULL, 1, strlen(text), "facts");
    } else if (value != NULL) {
        cJSON_AddItemToObject(f->section, key, value);
    }
}

void dtx_facts_section(dtx_facts *f, const char *key, const char *fmt, ...)
{
    char title[1200], path[512], *save = NULL;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(title, sizeof title, fmt, ap);
    va_end(ap);
    add(f, NULL, NULL, title, NULL);
    snprintf(path, sizeof path, "%s", key);
    f->section = f->root;
    for (char *part = strtok_r(path, "/", &save); part != NULL && f->st == DTX_OK; part = strtok_r(NULL, "/", &save)) {
        cJSON *next = cJSON_GetObjectItemCaseSensitive(f->section, part);
        if (next == NULL) {
            next = cJSON_AddObjectToObject(f->section, part);
            f->st = dtx_mem_check(next, 1, 1, "facts");
        }
        f->section = next;
    }
}

/* 2775864320 -> 2,775,864,320 */
static const char *with_commas(int64_t v, char out[32])
{
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%" PRId64, v), to = 0, sign = v < 0;

    for (int i = 0; i < n; i++) {
        if (i > sign && (n - i) % 3 == 0) {
            out[to++] = ',';
        }
        out[to++] = digits[i];
    }
    out[to] = '\0';
    return out;
}

void dtx_facts_int(dtx_facts *f, const char *key, const char *label, int64_t value, const char *unit)
{
    char number[32], text[96];

    snprintf(text, sizeof text, "%s%s%s", with_commas(value, number), unit[0] != '\0' ? " " : "", unit);
    add(f, key, label, text, cJSON_CreateNumber((double)value));
}

void dtx_facts_bytes(dtx_facts *f, const char *key, const char *label, int64_t value)
{
    char number[32], text[96];
    double mb = (double)value / 1e6;

    with_commas(value, number);
    if (mb < 1.0) {
        snprintf(text, sizeof text, "%s bytes", number);
    } else {
        snprintf(text, sizeof text, "%s bytes (%.4g %s)", number, mb < 1000.0 ? mb : mb / 1000.0,
                 mb < 1000.0 ? "MB" : "GB");
    }
    add(f, key, label, text, cJSON_CreateNumber((double)value));
}

void dtx_facts_number(dtx_facts *f, const char *key, const char *label, double value, const char *unit)
{
    char text[96];

    snprintf(text, sizeof text, "%.6g%s%s", value, unit[0] != '\0' ? " " : "", unit);
    add(f, key, label, text, cJSON_CreateNumber(value));
}

void dtx_facts_bool(dtx_facts *f, const char *key, const char *label, bool value)
{
    add(f, key, label, value ? "yes" : "no", cJSON_CreateBool(value));
}

void dtx_facts_text(dtx_facts *f, const char *key, const char *label, const char *fmt, ...)
{
    char text[4400];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    add(f, key, label, text, cJSON_CreateString(text));
}

cJSON *dtx_facts_parse(const char *text)
{
    cJSON *value = cJSON_ParseWithOpts(text, NULL, 1);

    return value != NULL ? value : cJSON_CreateString(text);
}

void dtx_facts_json(dtx_facts *f, const char *key, const char *label, const char *json)
{
    add(f, key, label, json, dtx_facts_parse(json));
}

void dtx_facts_value(dtx_facts *f, const char *key, const char *label, const char *text, cJSON *value)
{
    add(f, key, label, text, value);
}

static dtx_status print_json(const dtx_facts *f)
{
    char *text = cJSON_Print(f->root);

    DTX_TRY(dtx_mem_check(text, 1, 1, "facts"));
    printf("%s\n", text);
    cJSON_free(text);
    return DTX_OK;
}

/* A fact is one line, whatever stands in the files. */
static void print_text(const char *text)
{
    const size_t len = strlen(text);

    for (size_t at = 0, used = 0; at < len; at += used) {
        char one[8];
        fwrite(one, 1, dtx_printable_next(one, text + at, len - at, false, &used), stdout);
    }
}

dtx_status dtx_facts_print(const dtx_facts *f, bool json)
{
    size_t width = 0;

    DTX_TRY(f->st);
    if (json) {
        return print_json(f);
    }
    for (size_t i = 0; i < f->n; i++) {
        size_t len = f->fact[i].label != NULL ? strlen(f->fact[i].label) : 0;
        width = len > width ? len : width;
    }
    for (size_t i = 0; i < f->n; i++) {
        if (f->fact[i].label == NULL) {
            fputs(i > 0 ? "\n" : "", stdout);
        } else {
            fputs("  ", stdout);
            print_text(f->fact[i].label);
            printf("%*s  ", (int)(width - strlen(f->fact[i].label)), "");
        }
        print_text(f->fact[i].text);
        putchar('\n');
    }
    return DTX_OK;
}
