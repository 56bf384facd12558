#include "jobs/verify.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "src/file.h"
#include "src/json.h"
#include "src/mem.h"

void dtx_verify_note(dtx_verify *v, const char *quantity, double difference, double tolerance)
{
    bool good = difference <= tolerance;

    v->n++;
    v->n_bad += !good;
    fprintf(v->out, "%-5s %-16s %-44s %9.2e of %9.2e  %.4f\n", good ? "ok" : "BAD", v->model, quantity, difference, tolerance,
            tolerance > 0 ? difference / tolerance : difference);
}

dtx_status dtx_verify_open(const char *dir, const char *name, dtx_weights **out)
{
    char path[1024], file[128];

    snprintf(file, sizeof file, "expected/%s.safetensors", name);
    DTX_TRY(dtx_file_join(path, sizeof path, dir, file));
    return dtx_weights_open(path, NULL, out);
}

double dtx_verify_tolerance(const dtx_weights *w, const char *quantity)
{
    const char *text = dtx_weights_metadata(w, "f32_vs_f64");
    cJSON *all = NULL;
    double tolerance = 1e-5;

    if (text != NULL && dtx_json_parse(text, strlen(text), "f32_vs_f64", 0, &all) == DTX_OK) {
        const cJSON *entry = cJSON_GetObjectItemCaseSensitive(all, quantity);
        if (cJSON_IsNumber(entry)) {
            tolerance = fmax(20 * entry->valuedouble, 1e-6);
        }
    }
    cJSON_Delete(all);
    return tolerance;
}

static dtx_status need(const dtx_weights *w, const char *name, const dtx_tensor **t)
{
    *t = dtx_weights_find(w, name);
    return *t != NULL ? DTX_OK : DTX_FAIL(DTX_ERR_INPUT, "tensor %s is missing among the expected values", name);
}

dtx_status dtx_verify_doubles(const dtx_weights *w, const char *name, int64_t n, double **x, const dtx_tensor **tensor)
{
    const dtx_tensor *t;

    DTX_TRY(need(w, name, &t));
    if ((t->dtype != DTX_F64 && t->dtype != DTX_F32) || (n >= 0 && t->n_elements != n)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: tensor %s has %" PRId64 " elements of %s, expected %" PRId64 " of F64 or F32", t->file,
                        name, t->n_elements, dtx_dtype_name(t->dtype), n);
    }
    DTX_TRY(DTX_NEW_RAW(*x, t->n_elements));
    if (t->dtype == DTX_F64) {
        memcpy(*x, t->data, (size_t)t->n_elements * sizeof **x);
    } else {
        for (int64_t i = 0; i < t->n_elements; i++) {
            float f;
            memcpy(&f, (const char *)t->data + (size_t)i * sizeof f, sizeof f);
            (*x)[i] = f;
        }
    }
    if (tensor != NULL) {
        *tensor = t;
    }
    return DTX_OK;
}

dtx_status dtx_verify_ids(const dtx_weights *w, const char *name, int64_t vocab, int32_t **ids, int64_t *n)
{
    const dtx_tensor *t;

    DTX_TRY(need(w, name, &t));
    if (t->dtype != DTX_I64) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: tensor %s is %s, expected I64", t->file, name, dtx_dtype_name(t->dtype));
    }
    DTX_TRY(DTX_NEW_RAW(*ids, t->n_elements));
    for (int64_t i = 0; i < t->n_elements; i++) {
        int64_t id;
        memcpy(&id, (const char *)t->data + (size_t)i * sizeof id, sizeof id);
        if (id < 0 || id >= vocab) {
            dtx_free(*ids);
            *ids = NULL;
            return DTX_FAIL(DTX_ERR_INPUT, "%s: %s[%" PRId64 "] is %" PRId64 ", the vocabulary has %" PRId64 " ids", t->file, name, i,
                            id, vocab);
        }
        (*ids)[i] = (int32_t)id;
    }
    *n = t->n_elements;
    return DTX_OK;
}

static double apart(double a, double b)
{
    if (isnan(a) || isnan(b)) {
        return isnan(a) && isnan(b) ? 0 : INFINITY;
    }
    return a == b ? 0 : fabs(a - b); /* equal infinities do not differ */
}

double dtx_verify_difference(int64_t n, const double *a, const double *b)
{
    double worst = 0;

    for (int64_t i = 0; i < n; i++) {
        worst = fmax(worst, apart(a[i], b[i]));
    }
    return worst;
}

double dtx_verify_difference_f(int64_t n, const float *a, const double *b)
{
    double worst = 0;

    for (int64_t i = 0; i < n; i++) {
        worst = fmax(worst, apart(a[i], b[i]));
    }
    return worst;
}
