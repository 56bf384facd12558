#include "src/settings/config.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/settings/config_table.h"
#include "src/base/json.h"
#include "src/base/distance.h"
#include "src/base/jsonc.h"
#include "src/base/mem.h"
#include "src/model/families/table.h"

/* A key with its place of origin ("file tiny.json", "environment DETOXLENS_SEED", "--set seed=1"). */
typedef struct {
    dtx_config *config;
    const char *source;
    bool text_only; /* the value came as text: a bare word or a number may stand for a string */
    bool seen;      /* by other users of the machine: no place for a secret */
    char *at;       /* (MAX_KEY) the key that is being applied, or NULL: for a message's line and column */
} applier;

enum { MAX_KEY = 160 };

static const char env_prefix[] = "DETOXLENS_";

/* ---- messages ---- */

static void describe_allowed(const dtx_config_row *row, char *out, size_t size)
{
    if (row->allowed != NULL) {
        snprintf(out, size, "%s", row->allowed);
        return;
    }
    switch (row->kind) {
    case DTX_CFG_CHOICE:
        for (int i = 0, n = 0; row->words[i] != NULL && n < (int)size; i++) {
            n += snprintf(out + n, size - (size_t)n, "%s%s", i > 0 ? "|" : "", row->words[i]);
        }
        break;
    case DTX_CFG_BOOL: snprintf(out, size, "true|false"); break;
    case DTX_CFG_INT:
    case DTX_CFG_NUMBER: {
        const char *what = row->kind == DTX_CFG_INT ? "a whole number" : "a number";
        if (isinf(row->max) || row->max >= 9007199254740992.0) {
            snprintf(out, size, "%s, at least %.10g", what, row->min);
        } else {
            snprintf(out, size, "%s, %.10g..%.10g", what, row->min, row->max);
        }
        break;
    }
    default: snprintf(out, size, "text"); break;
    }
}

static dtx_status refuse(const applier *a, const dtx_config_row *row, const cJSON *item)
{
    char allowed[256], found[80];

    describe_allowed(row, allowed, sizeof allowed);
    if (row->privacy != DTX_CFG_OPEN) {
        return DTX_FAIL(DTX_ERR_USAGE, "%s: key %s: the value (not shown) is none that is allowed: %s", a->source, row->key, allowed);
    }
    char *text = cJSON_PrintUnformatted(item);
    snprintf(found, sizeof found, "%.70s%s", text != NULL ? text : "?", text != NULL && strlen(text) > 70 ? "..." : "");
    cJSON_free(text);
    return DTX_FAIL(DTX_ERR_USAGE, "%s: key %s: found %s, allowed is %s", a->source, row->key, found, allowed);
}

static dtx_status unknown_key(const applier *a, const char *key)
{
    const char *nearest = NULL;
    size_t best = SIZE_MAX;

    for (size_t i = 0; i < dtx_config_table_size; i++) {
        const char *known = dtx_config_table[i].key, *last = strrchr(known, '.');
        size_t d = dtx_edit_distance(key, known), d_last = last != NULL ? dtx_edit_distance(key, last + 1) : SIZE_MAX;
        if (d_last != SIZE_MAX && d_last + 1 < d) { /* the group was forgotten */
            d = d_last + 1;
        }
        if (d < best) {
            best = d;
            nearest = known;
        }
    }
    if (nearest != NULL && best <= 2 + strlen(key) / 4) {
        return DTX_FAIL(DTX_ERR_USAGE, "%s: unknown key %.100s; did you mean %s?", a->source, key, nearest);
    }
    return DTX_FAIL(DTX_ERR_USAGE, "%s: unknown key %.100s; `detoxlens JOB --help` lists all keys", a->source, key);
}

/* ---- one value ---- */

/* The index of a word; -1 when it is not among them. */
static int find_word(const char *const *words, const char *value)
{
    for (int i = 0; words[i] != NULL; i++) {
        if (strcmp(words[i], value) == 0) {
            return i;
        }
    }
    return -1;
}

/* A text that fits, without NUL (which src/json holds as 0xFF). */
static bool copy_text(char *out, size_t size, const char *value)
{
    size_t n = strlen(value);

    if (n >= size || memchr(value, 0xFF, n) != NULL) {
        return false;
    }
    memset(out, 0, size);
    memcpy(out, value, n);
    return true;
}

static dtx_status apply_list(const applier *a, const dtx_config_row *row, const cJSON *item)
{
    dtx_config_list list = {0};

    if (cJSON_IsString(item)) { /* one entry needs no brackets */
        if (item->valuestring[0] == '\0' || !copy_text(list.entry[list.n++], DTX_PATH_MAX, item->valuestring)) {
            return refuse(a, row, item);
        }
    } else if (cJSON_IsArray(item)) {
        for (const cJSON *c = item->child; c != NULL; c = c->next) {
            if (list.n == DTX_LIST_MAX || !cJSON_IsString(c) || c->valuestring[0] == '\0'
                || !copy_text(list.entry[list.n++], DTX_PATH_MAX, c->valuestring)) {
                return refuse(a, row, item);
            }
        }
    } else {
        return refuse(a, row, item);
    }
    memcpy((char *)a->config + row->offset, &list, sizeof list);
    return DTX_OK;
}

static dtx_status apply_row(const applier *a, const dtx_config_row *row, const cJSON *item)
{
    char *at = (char *)a->config + row->offset;

    if (row->privacy == DTX_CFG_SECRET && a->seen && !(cJSON_IsString(item) && item->valuestring[0] == '\0')) {
        return DTX_FAIL(DTX_ERR_USAGE, "%s: key %s is a secret, and other users can read command lines: set it in the environment "
                        "(dots become two underscores: DETOXLENS_SCORE__KEY) or in the file of --config", a->source, row->key);
    }
    switch (row->kind) {
    case DTX_CFG_INT:
    case DTX_CFG_NUMBER:
        if (!cJSON_IsNumber(item) || !(item->valuedouble >= row->min && item->valuedouble <= row->max)
            || !isfinite(item->valuedouble) || (row->kind == DTX_CFG_INT && item->valuedouble != floor(item->valuedouble))) {
            return refuse(a, row, item);
        }
        if (row->kind == DTX_CFG_INT) {
            *(int64_t *)(void *)at = (int64_t)item->valuedouble;
        } else {
            *(double *)(void *)at = item->valuedouble;
        }
        return DTX_OK;
    case DTX_CFG_BOOL:
        if (!cJSON_IsBool(item)) {
            return refuse(a, row, item);
        }
        *(bool *)at = cJSON_IsTrue(item);
        return DTX_OK;
    case DTX_CFG_CHOICE: {
        const int value = cJSON_IsString(item) ? find_word(row->words, item->valuestring) : -1;
        if (value < 0) {
            return refuse(a, row, item);
        }
        memcpy(at, &value, sizeof value);
        return DTX_OK;
    }
    case DTX_CFG_TEXT:
        if (!cJSON_IsString(item) || (row->valid != NULL && !row->valid(item->valuestring)) || !copy_text(at, row->size, item->valuestring)) {
            return refuse(a, row, item);
        }
        return DTX_OK;
    case DTX_CFG_LIST: return apply_list(a, row, item);
    }
    return DTX_OK;
}

/* ---- variants.NAME.adapter ---- */

static bool valid_name(const char *name, size_t n)
{
    if (n == 0 || n >= sizeof((dtx_variant *)0)->name) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (!isalnum((unsigned char)name[i]) && name[i] != '_' && name[i] != '-') {
            return false;
        }
    }
    return true;
}

/* `rest` is what follows "variants.": NAME alone (an empty object) or NAME.adapter. */
static dtx_status apply_variant(const applier *a, const char *rest, const cJSON *item)
{
    const char *dot = strchr(rest, '.');
    size_t n = dot != NULL ? (size_t)(dot - rest) : strlen(rest);
    dtx_config *c = a->config;
    dtx_variant *v = NULL;

    if (!valid_name(rest, n)) {
        return DTX_FAIL(DTX_ERR_USAGE, "%s: key variants.%.80s: a variant's name has 1 to 63 letters, digits, _ or -", a->source,
                        rest);
    }
    if (dot == NULL ? !cJSON_IsObject(item) : strcmp(dot, ".adapter") != 0) {
        return DTX_FAIL(DTX_ERR_USAGE, "%s: key variants.%.80s: allowed is variants.NAME.adapter with a folder as value",
                        a->source, rest);
    }
    if (dot != NULL && !cJSON_IsString(item)) {
        return DTX_FAIL(DTX_ERR_USAGE, "%s: key variants.%.80s: allowed is the path of an adapter's folder", a->source, rest);
    }
    if (dot != NULL && n == 2 && strncmp(rest, "IT", 2) == 0 && item->valuestring[0] != '\0') {
        return DTX_FAIL(DTX_ERR_USAGE, "%s: key variants.%.80s: IT is the model itself and has no adapter; name another variant",
                        a->source, rest);
    }
    for (int64_t i = 0; i < c->n_variants; i++) {
        if (strlen(c->variants[i].name) == n && strncmp(c->variants[i].name, rest, n) == 0) {
            v = &c->variants[i];
        }
    }
    if (v == NULL) {
        if (c->n_variants == DTX_MAX_VARIANTS) {
            return DTX_FAIL(DTX_ERR_USAGE, "%s: key variants.%.80s: more than %d variants", a->source, rest, DTX_MAX_VARIANTS);
        }
        v = &c->variants[c->n_variants++];
        memset(v, 0, sizeof *v);
        memcpy(v->name, rest, n);
    }
    if (dot != NULL && !copy_text(v->adapter, sizeof v->adapter, item->valuestring)) {
        return DTX_FAIL(DTX_ERR_USAGE, "%s: key variants.%.80s: a path of at most %zu bytes is allowed", a->source, rest,
                        sizeof v->adapter - 1);
    }
    return DTX_OK;
}

/* ---- one key, or a group of keys ---- */

static bool is_group(const char *key)
{
    size_t n = strlen(key);

    for (size_t i = 0; i < dtx_config_table_size; i++) {
        if (n == 0 || (strncmp(dtx_config_table[i].key, key, n) == 0 && dtx_config_table[i].key[n] == '.')) {
            return true;
        }
    }
    return strcmp(key, "variants") == 0;
}

static const dtx_config_row *find_row(const char *key)
{
    for (size_t i = 0; i < dtx_config_table_size; i++) {
        if (strcmp(dtx_config_table[i].key, key) == 0) {
            return &dtx_config_table[i];
        }
    }
    return NULL;
}

static dtx_status apply_item(const applier *a, const char *key, const cJSON *item)
{
    const dtx_config_row *row = find_row(key);

    if (a->at != NULL) {
        snprintf(a->at, MAX_KEY, "%s", key);
    }
    if (row != NULL) {
        return apply_row(a, row, item);
    }
    bool variant = strncmp(key, "variants.", 9) == 0;
    bool bare_variant = variant && strchr(key + 9, '.') == NULL;
    if (variant && !(bare_variant && cJSON_IsObject(item) && item->child != NULL)) {
        return apply_variant(a, key + 9, item);
    }
    if (!bare_variant && !is_group(key)) {
        const cJSON *c = cJSON_IsObject(item) ? item->child : NULL;
        char inner[MAX_KEY];
        if (c != NULL && snprintf(inner, sizeof inner, "%s.%s", key, c->string) < (int)sizeof inner) {
            if (a->at != NULL) {
                snprintf(a->at, MAX_KEY, "%s", inner);
            }
            return unknown_key(a, inner);
        }
        return unknown_key(a, key);
    }
    if (!cJSON_IsObject(item)) {
        return DTX_FAIL(DTX_ERR_USAGE, "%s: key %s: an object with the keys %s.* is allowed", a->source, key, key);
    }
    for (const cJSON *c = item->child; c != NULL; c = c->next) {
        char inner[MAX_KEY];
        int n = snprintf(inner, sizeof inner, "%s%s%s", key, key[0] != '\0' ? "." : "", c->string);
        if (n < 0 || (size_t)n >= sizeof inner) {
            return DTX_FAIL(DTX_ERR_USAGE, "%s: key %.60s...: longer than any known key", a->source, inner);
        }
        DTX_TRY(apply_item(a, inner, c));
    }
    return DTX_OK;
}

/* A value given as text: JSON, else a bare string. Where a string is wanted the text stands for itself, so that
 * --set run=2024 needs no quotes. */
static dtx_status apply_text(const applier *a, const char *key, const char *value)
{
    const dtx_config_row *row = find_row(key);
    bool wants_string = (row != NULL && (row->kind == DTX_CFG_TEXT || row->kind == DTX_CFG_CHOICE))
                     || (strncmp(key, "variants.", 9) == 0 && strchr(key + 9, '.') != NULL);
    cJSON *item = NULL;
    dtx_status st;

    if (dtx_json_parse(value, strlen(value), "value", 0, &item) != DTX_OK || (wants_string && !cJSON_IsString(item))) {
        cJSON_Delete(item);
        dtx_error_clear();
        item = cJSON_CreateString(value);
        DTX_TRY(dtx_mem_check(item, strlen(value), 1, "configuration value"));
    }
    st = apply_item(a, key, item);
    cJSON_Delete(item);
    return st;
}

/* ---- sources ---- */

void dtx_config_init(dtx_config *c)
{
    memset(c, 0, sizeof *c);
    applier a = {c, "default", true, false, NULL};
    for (size_t i = 0; i < dtx_config_table_size; i++) {
        apply_text(&a, dtx_config_table[i].key, dtx_config_table[i].fallback);
    }
}

dtx_status dtx_config_apply_file(dtx_config *c, const char *path)
{
    char source[DTX_PATH_MAX + 16], key[MAX_KEY] = "", *text = NULL;
    size_t len = 0;
    int64_t line, column;
    cJSON *root = NULL;
    dtx_status st = dtx_jsonc_read(path, &root, &text, &len);

    if (st != DTX_OK) { /* a malformed configuration is a usage error, a missing file stays one that is not there */
        char why[1024], *near;
        snprintf(why, sizeof why, "%s", dtx_error_text());
        if ((near = strstr(why, " near \"")) != NULL) { /* what stands there may be a secret */
            *near = '\0';
            dtx_error_set(why);
        }
        return dtx_error_context(st == DTX_ERR_INPUT ? DTX_ERR_USAGE : st, "configuration");
    }
    snprintf(source, sizeof source, "file %s", path);
    applier a = {c, source, false, false, key};
    st = cJSON_IsObject(root) ? apply_item(&a, "", root)
                              : DTX_FAIL(DTX_ERR_USAGE, "%s: a JSON object with configuration keys is expected", source);
    if (st != DTX_OK && key[0] != '\0' && dtx_jsonc_place(text, len, key, &line, &column)) {
        dtx_error_context(st, "line %lld, column %lld", (long long)line, (long long)column);
    }
    dtx_free(text);
    cJSON_Delete(root);
    return st;
}

/* DETOXLENS_GENERATE__BATCH -> generate.batch; a variant's name keeps its case. */
static bool key_of_env(const char *name, size_t n, char *key, size_t size)
{
    size_t to = 0;
    int part = 0;
    bool variants = false;

    for (size_t i = 0; i < n; i++) {
        char ch;
        if (name[i] == '_' && i + 1 < n && name[i + 1] == '_') {
            i++;
            ch = '.';
            variants = variants || (part == 0 && to == 8 && strncmp(key, "variants", 8) == 0);
            part++;
        } else {
            ch = variants && part == 1 ? name[i] : (char)tolower((unsigned char)name[i]);
        }
        if (to + 1 >= size) {
            return false;
        }
        key[to++] = ch;
        key[to] = '\0';
    }
    return to > 0;
}

dtx_status dtx_config_apply_env(dtx_config *c, const char *const *environ_list)
{
    for (const char *const *e = environ_list; e != NULL && *e != NULL; e++) {
        const char *eq = strchr(*e, '=');
        size_t prefix = sizeof env_prefix - 1;
        char key[MAX_KEY], source[MAX_KEY + 32];
        if (eq == NULL || (size_t)(eq - *e) < prefix || strncmp(*e, env_prefix, prefix) != 0) {
            continue;
        }
        snprintf(source, sizeof source, "environment %.*s", (int)(eq - *e < MAX_KEY ? eq - *e : MAX_KEY), *e);
        applier a = {c, source, true, false, NULL};
        if (!key_of_env(*e + prefix, (size_t)(eq - *e) - prefix, key, sizeof key)) {
            return DTX_FAIL(DTX_ERR_USAGE, "%s: not the name of a key (dots become two underscores)", source);
        }
        DTX_TRY(apply_text(&a, key, eq + 1));
    }
    return DTX_OK;
}

dtx_status dtx_config_apply_set(dtx_config *c, const char *assignment)
{
    const char *eq = strchr(assignment, '=');
    char key[MAX_KEY];

    if (eq == NULL || eq == assignment || (size_t)(eq - assignment) >= sizeof key) {
        return DTX_FAIL(DTX_ERR_USAGE, "command line: --set %.100s: key.path=value is expected", assignment);
    }
    memcpy(key, assignment, (size_t)(eq - assignment));
    key[eq - assignment] = '\0';
    return dtx_config_apply(c, key, eq + 1);
}

dtx_status dtx_config_apply(dtx_config *c, const char *key, const char *value)
{
    applier a = {c, "command line", true, true, NULL};

    return apply_text(&a, key, value);
}

/* Keys that must agree with each other, once everything is read. */
dtx_status dtx_config_check(const dtx_config *c, unsigned jobs)
{
    if ((jobs & DTX_JOB_GENERATE) && c->generate.min_new_tokens > c->generate.max_new_tokens) {
        return DTX_FAIL(DTX_ERR_USAGE, "configuration: generate.min_new_tokens %lld is larger than generate.max_new_tokens %lld",
                        (long long)c->generate.min_new_tokens, (long long)c->generate.max_new_tokens);
    }
    if ((jobs & DTX_JOB_PRETRAIN) && c->pretrain.hidden % c->pretrain.heads != 0) {
        return DTX_FAIL(DTX_ERR_USAGE, "configuration: pretrain.hidden %lld is not a multiple of pretrain.heads %lld",
                        (long long)c->pretrain.hidden, (long long)c->pretrain.heads);
    }
    if ((jobs & DTX_JOB_PPO) && c->ppo.batch % c->ppo.mini_batch != 0) {
        return DTX_FAIL(DTX_ERR_USAGE, "configuration: ppo.batch %lld is not a multiple of ppo.mini_batch %lld", (long long)c->ppo.batch,
                        (long long)c->ppo.mini_batch);
    }
    if ((jobs & DTX_JOB_PPO) && c->ppo.context <= c->generate.max_new_tokens) {
        return DTX_FAIL(DTX_ERR_USAGE, "configuration: ppo.context %lld leaves no room for a prompt beside generate.max_new_tokens %lld",
                        (long long)c->ppo.context, (long long)c->generate.max_new_tokens);
    }
    const bool classifier = c->pretrain.task == DTX_SET_TASK_CLASSIFIER;
    const dtx_family *family = dtx_family_find(c->pretrain.arch);
    if ((jobs & DTX_JOB_PRETRAIN) && family != NULL && classifier != family->encoder) {
        return DTX_FAIL(DTX_ERR_USAGE, "configuration: pretrain.arch %s does not go with pretrain.task %s: it is a %s",
                        c->pretrain.arch, dtx_config_word(c, "pretrain.task"), family->encoder ? "classifier" : "language model");
    }
    if ((jobs & DTX_JOB_PRETRAIN) && !classifier && (c->pretrain.hidden / c->pretrain.heads) % 2 != 0) {
        return DTX_FAIL(DTX_ERR_USAGE,
                        "configuration: pretrain.hidden / pretrain.heads = %lld is odd; rotary positions need an even width",
                        (long long)(c->pretrain.hidden / c->pretrain.heads));
    }
    return DTX_OK;
}

/* ---- output ---- */

/* Numbers are written here: cJSON's own text of a number is an approximation where 15 digits come near. */
static cJSON *number_item(double x)
{
    char text[40];

    snprintf(text, sizeof text, "%.15g", x);
    if (strtod(text, NULL) != x) {
        snprintf(text, sizeof text, "%.17g", x);
    }
    return cJSON_CreateRaw(text);
}

static const char *word_at(const dtx_config *c, const dtx_config_row *row)
{
    int value;

    memcpy(&value, (const char *)c + row->offset, sizeof value);
    return row->words[value];
}

const char *dtx_config_word(const dtx_config *c, const char *key)
{
    const dtx_config_row *row = find_row(key);

    return row != NULL && row->kind == DTX_CFG_CHOICE ? word_at(c, row) : NULL;
}

const char *dtx_config_word_of(const char *key, int value)
{
    const dtx_config_row *row = find_row(key);

    return row != NULL && row->kind == DTX_CFG_CHOICE ? row->words[value] : NULL;
}

int dtx_config_value(const char *key, const char *word)
{
    const dtx_config_row *row = find_row(key);

    return row != NULL && row->kind == DTX_CFG_CHOICE ? find_word(row->words, word) : -1;
}

static cJSON *value_item(const dtx_config *c, const dtx_config_row *row)
{
    const char *at = (const char *)c + row->offset;

    switch (row->kind) {
    case DTX_CFG_INT: return number_item((double)*(const int64_t *)(const void *)at);
    case DTX_CFG_NUMBER: return number_item(*(const double *)(const void *)at);
    case DTX_CFG_BOOL: return cJSON_CreateBool(*(const bool *)at);
    case DTX_CFG_CHOICE: return cJSON_CreateString(word_at(c, row));
    case DTX_CFG_TEXT: return cJSON_CreateString(at);
    case DTX_CFG_LIST: {
        const dtx_config_list *entries = (const dtx_config_list *)(const void *)at;
        cJSON *list = cJSON_CreateArray();
        for (int64_t i = 0; list != NULL && i < entries->n; i++) {
            cJSON *entry = cJSON_CreateString(entries->entry[i]);
            if (entry == NULL || !cJSON_AddItemToArray(list, entry)) {
                cJSON_Delete(entry);
                cJSON_Delete(list);
                return NULL;
            }
        }
        return list;
    }
    }
    return NULL;
}

/* Adds `item` (taken over) at a dotted key, making the objects on the way. */
static bool add_at(cJSON *root, const char *key, cJSON *item)
{
    const char *dot;

    while ((dot = strchr(key, '.')) != NULL) {
        char part[MAX_KEY];
        snprintf(part, sizeof part, "%.*s", (int)(dot - key), key);
        cJSON *next = cJSON_GetObjectItemCaseSensitive(root, part);
        root = next != NULL ? next : cJSON_AddObjectToObject(root, part);
        if (root == NULL) {
            cJSON_Delete(item);
            return false;
        }
        key = dot + 1;
    }
    if (item == NULL || !cJSON_AddItemToObject(root, key, item)) {
        cJSON_Delete(item);
        return false;
    }
    return true;
}

/* Compact JSON with a blank after each comma and colon. */
static void put_spaced(FILE *f, const char *text)
{
    bool in_string = false;

    for (const char *p = text; *p != '\0'; p++) {
        fputc(*p, f);
        if (in_string && *p == '\\') {
            fputc(*++p, f);
        } else if (*p == '"') {
            in_string = !in_string;
        } else if (!in_string && (*p == ',' || *p == ':')) {
            fputc(' ', f);
        }
    }
}

/* JSON with a line for each group and one for the keys outside of groups: short enough for a log. */
static char *lay_out(const cJSON *root)
{
    char *text = NULL, *copy = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    bool ok = f != NULL;

    if (ok) {
        fputs("{\n  ", f);
    }
    for (const cJSON *c = root->child; ok && c != NULL; c = c->next) {
        char *value = cJSON_PrintUnformatted(c);
        ok = value != NULL;
        if (ok) {
            fprintf(f, "\"%s\": ", c->string);
            put_spaced(f, value);
            if (c->next != NULL) {
                fputs(cJSON_IsObject(c) || cJSON_IsObject(c->next) ? ",\n  " : ", ", f);
            }
        }
        cJSON_free(value);
    }
    if (f != NULL) {
        fputs("\n}", f);
        ok = fclose(f) == 0 && ok;
    }
    if (ok) {
        copy = dtx_strdup(text);
    }
    free(text);
    return copy;
}

dtx_status dtx_config_print(const dtx_config *c, unsigned jobs, char **out)
{
    cJSON *root = cJSON_CreateObject();
    bool ok = root != NULL;

    for (size_t i = 0; ok && i < dtx_config_table_size; i++) {
        if ((dtx_config_table[i].jobs & jobs) && dtx_config_table[i].privacy != DTX_CFG_SECRET) {
            ok = add_at(root, dtx_config_table[i].key, value_item(c, &dtx_config_table[i]));
        }
    }
    for (int64_t i = 0; ok && i < c->n_variants && (jobs & (DTX_JOB_GENERATE | DTX_JOB_ATTRIBUTE | DTX_JOB_EXPORT)); i++) {
        char key[MAX_KEY];
        snprintf(key, sizeof key, "variants.%s.adapter", c->variants[i].name);
        ok = add_at(root, key, cJSON_CreateString(c->variants[i].adapter));
    }
    char *text = ok ? lay_out(root) : NULL;
    cJSON_Delete(root);
    DTX_TRY(dtx_mem_check(text, 1, 1, "configuration text"));
    *out = text;
    return DTX_OK;
}

bool dtx_config_key_at(size_t i, dtx_config_key *out)
{
    static const char *const types[] = {"int", "number", "bool", "text", "choice", "list"};

    memset(out, 0, sizeof *out);
    if (i == dtx_config_table_size) { /* the one key with a name inside */
        out->key = "variants.NAME.adapter";
        out->type = "text";
        snprintf(out->allowed, sizeof out->allowed, "a folder");
        out->help = "adapter (PEFT layout) of --variant NAME; IT is the model itself";
        out->jobs = DTX_JOB_GENERATE | DTX_JOB_ATTRIBUTE | DTX_JOB_EXPORT;
        return true;
    }
    if (i > dtx_config_table_size) {
        return false;
    }
    const dtx_config_row *row = &dtx_config_table[i];
    out->key = row->key;
    out->type = types[row->kind];
    describe_allowed(row, out->allowed, sizeof out->allowed);
    out->help = row->help;
    snprintf(out->fallback, sizeof out->fallback, "%s", row->fallback);
    out->jobs = row->jobs;
    out->secret = row->privacy == DTX_CFG_SECRET;
    return true;
}
