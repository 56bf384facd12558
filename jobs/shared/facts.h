/* facts.h - named facts in sections, printed as aligned text or as one JSON object (inspect). Adding never fails at the
 * call: the first failure is kept and returned by dtx_facts_print. */
#ifndef DTX_FACTS_H
#define DTX_FACTS_H

#include <stdbool.h>
#include <stdint.h>

#include "src/base/json.h"

typedef struct {
    char *label; /* NULL: `text` is a section's title */
    char *text;
} dtx_fact;

typedef struct {
    cJSON *root;    /* the JSON object */
    cJSON *section; /* the object that facts go into */
    dtx_fact *fact;
    size_t n, cap;
    dtx_status st;
} dtx_facts;

void dtx_facts_init(dtx_facts *f);
/* A new section: object `key` of the JSON object ("variants/IT" nests), and a title line. */
void dtx_facts_section(dtx_facts *f, const char *key, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* "2,775,864,320 unit"; unit may be "". */
void dtx_facts_int(dtx_facts *f, const char *key, const char *label, int64_t value, const char *unit);
/* "655,360 bytes", from a megabyte on with its size in MB or GB. */
void dtx_facts_bytes(dtx_facts *f, const char *key, const char *label, int64_t value);
void dtx_facts_number(dtx_facts *f, const char *key, const char *label, double value, const char *unit);
void dtx_facts_bool(dtx_facts *f, const char *key, const char *label, bool value);
void dtx_facts_text(dtx_facts *f, const char *key, const char *label, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* The JSON value that a whole text is, else the text as a string; NULL when memory is not there. */
cJSON *dtx_facts_parse(const char *text);
/* A fact of such a value. */
void dtx_facts_json(dtx_facts *f, const char *key, const char *label, const char *json);
/* Any JSON value, which is taken over. */
void dtx_facts_value(dtx_facts *f, const char *key, const char *label, const char *text, cJSON *value);
/* To standard output. */
dtx_status dtx_facts_print(const dtx_facts *f, bool json);
void dtx_facts_free(dtx_facts *f);

#endif
