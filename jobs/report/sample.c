/* The completions that the page lets one look at, token by token: a stated choice of rows, to bound the page's size. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/report/parts.h"
#include "src/base/mem.h"
#include "src/text/tokenizer.h"
#include "src/base/utf8.h"

typedef struct {
    const dtx_report *r;
    bool *used;                 /* (tokenizer size) ids that occur; NULL without a tokenizer: ids are shown */
} sampler;

/* --- which rows --- */

typedef struct {
    int64_t row;
    double key;
} ranked;

static int compare_ranked(const void *a, const void *b)
{
    const ranked *x = a, *y = b;

    return x->key < y->key ? -1 : x->key > y->key ? 1 : (x->row > y->row) - (x->row < y->row);
}

/* Rows at equal distances in the order of mean prompt dependence (of row numbers where nothing is attributed). */
static dtx_status choose_rows(const dtx_report_variant *v, int64_t n, int64_t **rows, int64_t *n_rows, int64_t *n_candidates)
{
    ranked *all = NULL;
    int64_t m = 0;
    dtx_status st;

    DTX_GO(DTX_NEW(all, v->n_rows));
    for (int64_t i = 0; i < v->n_rows; i++) {
        double key = v->a.n_done > 0 && v->a.done[i] && v->a.G[i] > 0
                         ? dtx_report_row_mean(v->a.value[DTX_REPORT_TOKEN][DTX_REPORT_DEPENDENCE] + i * v->a.width, v->a.G[i])
                         : NAN;
        if (v->a.n_done > 0 ? isfinite(key) : v->finish[i] != 0) {
            all[m++] = (ranked){.row = i, .key = v->a.n_done > 0 ? key : (double)i};
        }
    }
    qsort(all, (size_t)m, sizeof *all, compare_ranked);
    n = n < m ? n : m;
    DTX_GO(DTX_NEW(*rows, n));
    for (int64_t i = 0; i < n; i++) {
        (*rows)[i] = all[n > 1 ? i * (m - 1) / (n - 1) : 0].row;
    }
    *n_rows = n;
    *n_candidates = m;
done:
    dtx_free(all);
    return st;
}

/* --- one row --- */

static dtx_status put_ids(sampler *s, cJSON *o, const char *key, const int32_t *id, int64_t n)
{
    cJSON *list = cJSON_AddArrayToObject(o, key);

    for (int64_t i = 0; i < n; i++) {
        DTX_TRY(dtx_report_put(list, NULL, cJSON_CreateNumber(id[i])));
        if (s->used != NULL && id[i] >= 0 && id[i] < dtx_tokenizer_size(s->r->tokenizer)) {
            s->used[id[i]] = true;
        }
    }
    return DTX_OK;
}

static void base64(const uint8_t *x, size_t n, char *out)
{
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)x[i] << 16 | (i + 1 < n ? (uint32_t)x[i + 1] << 8 : 0) | (i + 2 < n ? x[i + 2] : 0);
        *out++ = digit[v >> 18];
        *out++ = digit[v >> 12 & 63];
        *out++ = i + 1 < n ? digit[v >> 6 & 63] : '=';
        *out++ = i + 2 < n ? digit[v & 63] : '=';
    }
    *out = '\0';
}

/* The matrix's defined entries (t < P + g), row by row, as little-endian 16-bit integers: score x 32767. */
static dtx_status put_matrix(const dtx_report *r, const dtx_report_variant *v, int64_t row, cJSON *o)
{
    char *text = NULL;
    int64_t G = v->a.G[row], T = v->a.T[row], P = T - G;
    size_t n = 0, size = 2 * (size_t)(G * P + G * (G - 1) / 2);
    float *value = NULL;
    uint8_t *packed = NULL;
    dtx_status st;

    DTX_GO(DTX_NEW(value, G * T));
    DTX_GO(DTX_NEW(packed, size));
    DTX_GO(DTX_NEW(text, size / 3 * 4 + 5));
    DTX_GO(dtx_h5_read_rows(r->file, v->a.group, "value", H5T_NATIVE_FLOAT, (int64_t)v->a.row_offset[row], G * T, 1, value));
    for (int64_t g = 0; g < G; g++) {
        for (int64_t t = 0; t < P + g; t++) {
            float x = value[g * T + t];
            long q = isfinite(x) ? lrintf(fminf(fmaxf(x, -1.0f), 1.0f) * 32767.0f) : 0;
            packed[n++] = (uint8_t)(q & 0xFF);
            packed[n++] = (uint8_t)(q >> 8 & 0xFF);
        }
    }
    base64(packed, size, text);
    DTX_GO(dtx_report_put(o, "P", cJSON_CreateNumber((double)P)));
    DTX_GO(dtx_report_put(o, "G", cJSON_CreateNumber((double)G)));
    DTX_GO(dtx_report_put(o, "a", cJSON_CreateString(text)));
done:
    dtx_free(text);
    dtx_free(packed);
    dtx_free(value);
    return st;
}

static dtx_status put_steps(cJSON *o, const char *key, const float *x, int64_t n)
{
    cJSON *list = cJSON_AddArrayToObject(o, key);

    for (int64_t i = 0; i < n; i++) {
        DTX_TRY(dtx_report_put(list, NULL, dtx_report_number(x[i])));
    }
    return DTX_OK;
}

/* METHOD@W attributes the completions of W. */
static const dtx_report_variant *completions_of(const dtx_report *r, const dtx_report_variant *v)
{
    const char *of = dtx_report_attr(v->a.settings, v->a.n_settings, "completions_of"), *at = strchr(r->method, '@');

    of = of[0] != '\0' ? of : at != NULL ? at + 1 : v->name;
    for (int64_t i = 0; i < r->n_variants; i++) {
        if (strcmp(r->variant[i].name, of) == 0) {
            return &r->variant[i];
        }
    }
    return v;
}

static dtx_status put_answer(sampler *s, const dtx_report_variant *v, int64_t row, cJSON *list)
{
    const dtx_report_variant *from = completions_of(s->r, v);
    cJSON *o = NULL;
    char group[128], *text = NULL;
    int32_t *token = NULL, *prompt = NULL;
    size_t len = 0;
    dtx_status st = DTX_OK;

    if (row >= from->n_rows || from->finish[row] == 0) {
        return DTX_OK;
    }
    bool ids = from->prompt_offset != NULL && from->length != NULL; /* else there is text alone */
    int64_t n = ids ? from->length[row] : 0, P = ids ? (int64_t)(from->prompt_offset[row + 1] - from->prompt_offset[row]) : 0;
    o = cJSON_CreateObject();
    dtx_h5_group(group, sizeof group, DTX_H5_COMPLETIONS, from->name, NULL);
    DTX_GO(DTX_NEW(token, from->width));
    DTX_GO(DTX_NEW(prompt, P));
    if (ids) {
        DTX_GO(dtx_h5_read_rows(s->r->file, group, "tokens", H5T_NATIVE_INT32, row, 1, from->width, token));
        DTX_GO(dtx_h5_read_rows(s->r->file, group, "prompt_tokens", H5T_NATIVE_INT32, (int64_t)from->prompt_offset[row], P, 1, prompt));
    }
    DTX_GO(dtx_report_put(o, "variant", dtx_report_text(v->name, strlen(v->name))));
    DTX_GO(dtx_report_put(o, "finish", cJSON_CreateNumber(from->finish[row])));
    if (v->score != NULL && from == v) {
        DTX_GO(dtx_report_put(o, "score", dtx_report_number(v->score[row])));
    }
    DTX_GO(put_ids(s, o, "p", prompt, P));
    DTX_GO(put_ids(s, o, "g", token, n));
    if (from->text_offset != NULL) {
        DTX_GO(dtx_report_take_text(s->r, group, from->text_offset, row, &text, &len));
        DTX_GO(dtx_report_put(o, "text", dtx_report_text(text, len)));
    }
    if (v->a.there && row < v->n_rows && v->a.done[row] && v->a.T[row] - v->a.G[row] == P && v->a.G[row] <= n) {
        DTX_GO(put_matrix(s->r, v, row, o));
        DTX_GO(put_steps(o, "prob", v->a.probability + row * v->a.width, v->a.G[row]));
        DTX_GO(put_steps(o, "H", v->a.value[DTX_REPORT_TOKEN][DTX_REPORT_ENTROPY] + row * v->a.width, v->a.G[row]));
        DTX_GO(put_steps(o, "D", v->a.value[DTX_REPORT_TOKEN][DTX_REPORT_DEPENDENCE] + row * v->a.width, v->a.G[row]));
    }
    st = dtx_report_put(list, NULL, o);
    o = NULL;
done:
    cJSON_Delete(o);
    dtx_free(text);
    dtx_free(prompt);
    dtx_free(token);
    return st;
}

static dtx_status put_row(sampler *s, int64_t samples, int64_t row, cJSON *list)
{
    const dtx_report *r = s->r;
    cJSON *o = cJSON_CreateObject(), *answers;
    char *text = NULL;
    size_t len = 0;
    dtx_status st;

    DTX_GO(dtx_report_put(o, "row", cJSON_CreateNumber((double)row)));
    DTX_GO(dtx_report_put(o, "id", cJSON_CreateNumber((double)r->prompt_id[row / samples])));
    DTX_GO(dtx_report_put(o, "sample", cJSON_CreateNumber((double)(row % samples))));
    if (r->prompt_offset != NULL) {
        DTX_GO(dtx_report_take_text(r, dtx_h5_places[DTX_H5_PROMPTS].path, r->prompt_offset, row / samples, &text, &len));
        DTX_GO(dtx_report_put(o, "text", dtx_report_text(text, len)));
    }
    answers = cJSON_AddArrayToObject(o, "answers");
    for (int64_t i = 0; i < r->n_variants; i++) {
        DTX_GO(put_answer(s, &r->variant[i], row, answers));
    }
    st = dtx_report_put(list, NULL, o);
    o = NULL;
done:
    cJSON_Delete(o);
    dtx_free(text);
    return st;
}

static bool among(const int64_t *rows, int64_t n, int64_t row)
{
    for (int64_t i = 0; i < n; i++) {
        if (rows[i] == row) {
            return true;
        }
    }
    return false;
}

/* The report's pinned rows besides the n chosen ones. */
static dtx_status put_pinned(sampler *s, const dtx_report_variant *lead, const int64_t *rows, int64_t n, cJSON *list, char *rule, size_t size)
{
    const dtx_report *r = s->r;
    int64_t more = 0;

    for (size_t i = 0; i < r->n_pinned; i++) {
        int64_t row = r->pinned[i];
        if (row < lead->n_rows && !among(rows, n, row) && !among(r->pinned, (int64_t)i, row)) {
            DTX_TRY(put_row(s, dtx_report_samples(r, lead), row, list));
            more++;
        }
    }
    if (more > 0) {
        snprintf(rule + strlen(rule), size - strlen(rule), "; and %" PRId64 " rows of Table 2", more);
    }
    return DTX_OK;
}

/* --- tokens as text --- */

/* A token's own bytes; parts of a character, which are no text alone, as ‹E2 80›. */
static dtx_status put_vocabulary(const sampler *s, cJSON *o)
{
    cJSON *vocab = cJSON_AddObjectToObject(o, "vocab"), *special = cJSON_AddArrayToObject(o, "special");

    for (int64_t id = 0; s->used != NULL && id < dtx_tokenizer_size(s->r->tokenizer); id++) {
        char key[24], hex[256];
        const char *bytes = NULL;
        if (!s->used[id]) {
            continue;
        }
        size_t n = dtx_tokenizer_bytes(s->r->tokenizer, (int32_t)id, &bytes);
        if (dtx_tokenizer_is_special(s->r->tokenizer, (int32_t)id)) {
            DTX_TRY(dtx_report_put(special, NULL, cJSON_CreateNumber((double)id)));
        }
        if (dtx_utf8_valid(bytes, n) < n) {
            size_t at = (size_t)snprintf(hex, sizeof hex, "\u2039");
            for (size_t i = 0; i < n && at + 8 < sizeof hex; i++) {
                at += (size_t)snprintf(hex + at, sizeof hex - at, i > 0 ? " %02X" : "%02X", (unsigned char)bytes[i]);
            }
            snprintf(hex + at, sizeof hex - at, "\u203A");
            bytes = hex;
            n = strlen(hex);
        }
        snprintf(key, sizeof key, "%" PRId64, id);
        DTX_TRY(dtx_report_put(vocab, key, dtx_report_text(bytes, n)));
    }
    return DTX_OK;
}

dtx_status dtx_report_sample(const dtx_report *r, int64_t n_sample, cJSON **out)
{
    sampler s = {.r = r};
    const dtx_report_variant *lead = dtx_report_leader(r);
    cJSON *o = cJSON_CreateObject(), *list;
    int64_t *rows = NULL, n = 0, n_candidates = 0;
    char rule[400] = "";
    dtx_status st = DTX_OK;

    list = cJSON_AddArrayToObject(o, "rows");
    if (lead != NULL && n_sample > 0) {
        if (r->tokenizer != NULL) {
            DTX_GO(DTX_NEW(s.used, dtx_tokenizer_size(r->tokenizer) + 1));
        }
        DTX_GO(choose_rows(lead, n_sample, &rows, &n, &n_candidates));
        snprintf(rule, sizeof rule, "%" PRId64 " of %" PRId64 " %s completions of %s, at equal distances in the order of %s, first and "
                 "last included%s", n, n_candidates, lead->a.n_done > 0 ? "attributed" : "finished", lead->name,
                 lead->a.n_done > 0 ? "mean prompt dependence" : "row numbers",
                 r->n_variants > 1 ? "; the same rows of the other variants" : "");
        for (int64_t i = 0; i < n; i++) {
            DTX_GO(put_row(&s, dtx_report_samples(r, lead), rows[i], list));
        }
        DTX_GO(put_pinned(&s, lead, rows, n, list, rule, sizeof rule));
    }
    DTX_GO(dtx_report_put(o, "rule", dtx_report_text(rule, strlen(rule))));
    DTX_GO(dtx_report_put(o, "note", dtx_report_string(r->tokenizer_note)));
    DTX_GO(put_vocabulary(&s, o));
    *out = o;
    o = NULL;
done:
    cJSON_Delete(o);
    dtx_free(rows);
    dtx_free(s.used);
    return st;
}
