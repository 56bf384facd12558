/* Values of a file of reference values, and their comparison with what was recomputed. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "jobs/verify/verify.h"
#include "src/base/mem.h"

static const dtx_tensor *find(const dtx_verify *v, const char *name, int64_t *index)
{
    for (int64_t i = 0; i < dtx_weights_count(v->expected); i++) {
        const dtx_tensor *t = dtx_weights_at(v->expected, i);
        if (strcmp(t->name, name) == 0) {
            *index = i;
            return t;
        }
    }
    return NULL;
}

static dtx_status use(dtx_verify *v, const char *name, const dtx_tensor **out, int64_t *shape)
{
    int64_t i;
    const dtx_tensor *t = find(v, name, &i);

    if (t == NULL) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s/expected/%s: tensor %s is missing", v->dir, v->file, name);
    }
    v->used[i] = true;
    for (int k = 0; shape != NULL && k < DTX_MAX_DIMS; k++) {
        shape[k] = k < t->n_dims ? t->shape[k] : 1;
    }
    *out = t;
    return DTX_OK;
}

bool dtx_verify_has(const dtx_verify *v, const char *tensor)
{
    int64_t i;

    return find(v, tensor, &i) != NULL;
}

dtx_status dtx_verify_read(dtx_verify *v, const char *tensor, double **x, int64_t *n, int64_t *shape)
{
    const dtx_tensor *t;
    double *out;

    DTX_TRY(use(v, tensor, &t, shape));
    if (t->dtype != DTX_F32 && t->dtype != DTX_F64) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s/expected/%s: %s is %s, expected F32 or F64", v->dir, v->file, tensor,
                        dtx_dtype_name(t->dtype));
    }
    DTX_TRY(DTX_NEW_RAW(out, t->n_elements));
    for (int64_t i = 0; i < t->n_elements; i++) {
        if (t->dtype == DTX_F64) {
            memcpy(&out[i], (const char *)t->data + 8 * i, 8);
        } else {
            float f;
            memcpy(&f, (const char *)t->data + 4 * i, 4);
            out[i] = (double)f;
        }
    }
    *x = out;
    *n = t->n_elements;
    return DTX_OK;
}

dtx_status dtx_verify_ids(dtx_verify *v, const char *tensor, int32_t **ids, int64_t *n, int64_t *shape)
{
    const dtx_tensor *t;
    int32_t *out;

    DTX_TRY(use(v, tensor, &t, shape));
    if (t->dtype != DTX_I64) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s/expected/%s: %s is %s, expected I64", v->dir, v->file, tensor,
                        dtx_dtype_name(t->dtype));
    }
    DTX_TRY(DTX_NEW_RAW(out, t->n_elements));
    for (int64_t i = 0; i < t->n_elements; i++) {
        int64_t id;
        memcpy(&id, (const char *)t->data + 8 * i, 8);
        if (id < INT32_MIN || id > INT32_MAX) {
            dtx_free(out);
            return DTX_FAIL(DTX_ERR_INPUT, "%s/expected/%s: %s holds %" PRId64, v->dir, v->file, tensor, id);
        }
        out[i] = (int32_t)id;
    }
    *ids = out;
    *n = t->n_elements;
    return DTX_OK;
}

dtx_status dtx_verify_json(const dtx_verify *v, const char *name, cJSON **out)
{
    char path[4500];

    snprintf(path, sizeof path, "%s/expected/%s", v->dir, name);
    return dtx_json_read(path, out);
}

dtx_quantity dtx_verify_begin(const dtx_verify *v, const char *name, const char *entry)
{
    dtx_quantity q = {.name = name, .tolerance = 1e-5};
    const cJSON *e = entry != NULL ? cJSON_GetObjectItemCaseSensitive(v->f32_vs_f64, entry) : NULL;

    if (entry != NULL && strcmp(entry, "=") == 0) {
        q.tolerance = 0;
    } else if (cJSON_IsNumber(e)) {
        q.tolerance = fmax(20 * e->valuedouble, 1e-6);
    }
    return q;
}

void dtx_verify_values(dtx_quantity *q, const char *where, int64_t n, const double *got, const double *want)
{
    for (int64_t i = 0; i < n; i++) {
        bool same = got[i] == want[i] || (isnan(got[i]) && isnan(want[i]));
        double diff = same ? 0 : fabs(got[i] - want[i]);
        diff = isfinite(diff) ? diff : INFINITY;
        if (diff > q->tolerance && diff <= q->outlier) {
            q->n_outliers++;
        } else if (q->n == 0 || diff > q->worst) {
            q->worst = diff;
            snprintf(q->where, sizeof q->where, "%s[%" PRId64 "]", where, i);
        }
        q->n++;
    }
}

void dtx_verify_floats(dtx_quantity *q, const char *where, int64_t n, const float *got, const double *want)
{
    for (int64_t i = 0; i < n; i++) {
        double g = (double)got[i], before = q->worst;
        bool first = q->n == 0;
        dtx_verify_values(q, where, 1, &g, &want[i]);
        if (first || q->worst > before) {
            snprintf(q->where, sizeof q->where, "%s[%" PRId64 "]", where, i);
        }
    }
}

void dtx_verify_end(dtx_verify *v, const dtx_quantity *q)
{
    const bool equal = q->n > 0 && q->worst <= q->tolerance && (q->n_outliers <= 3 || q->n_outliers <= q->n / 1000);
    const double ratio = q->tolerance > 0 ? q->worst / q->tolerance : 0;

    v->n_equal += equal;
    v->n_differ += !equal;
    if (v->json) {
        printf("{\"model\":\"%s\",\"file\":\"%s\",\"quantity\":\"%s\",\"values\":%" PRId64 ",\"difference\":", v->name,
               v->file, q->name, q->n);
        if (isfinite(q->worst)) {
            printf("%.6g", q->worst);
        } else {
            printf("null");
        }
        printf(",\"tolerance\":%.6g,\"outliers\":%" PRId64 ",\"equal\":%s}\n", q->tolerance, q->n_outliers,
               equal ? "true" : "false");
    } else if (q->tolerance > 0) {
        printf("  %-34s %9" PRId64 " values  difference %.2e  tolerance %.2e  ratio %6.3f  %s", q->name, q->n, q->worst,
               q->tolerance, ratio, equal ? "ok" : "DIFFERS");
    } else {
        printf("  %-34s %9" PRId64 " values  %-57s  %s", q->name, q->n, "must be equal", equal ? "ok" : "DIFFERS");
    }
    if (!v->json) {
        if (q->n_outliers > 0) {
            printf(", %" PRId64 " outliers below %.1e", q->n_outliers, q->outlier);
        }
        if (!equal) {
            printf(" at %s", q->n > 0 ? q->where : "nothing: no value was compared");
        }
        printf("\n");
    }
}

void dtx_verify_skip(dtx_verify *v, const char *what, const char *why)
{
    v->n_unchecked++;
    if (v->json) {
        printf("{\"model\":\"%s\",\"file\":\"%s\",\"quantity\":\"%s\",\"equal\":null}\n", v->name, v->file, what);
    } else {
        printf("  %-34s not checked: %s\n", what, why);
    }
}

double dtx_verify_json_number(const cJSON *root, const char *key)
{
    const cJSON *x = dtx_json_get(root, key);

    return cJSON_IsNumber(x) ? x->valuedouble : NAN;
}

void dtx_verify_number(dtx_verify *v, const char *name, const char *entry, double got, double want)
{
    dtx_quantity q = dtx_verify_begin(v, name, entry);

    dtx_verify_values(&q, name, 1, &got, &want);
    dtx_verify_end(v, &q);
}
