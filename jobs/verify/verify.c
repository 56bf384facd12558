#include "jobs/verify/verify.h"

#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/file.h"
#include "src/base/mem.h"

/* Which function checks which file; one file may have several. */
static const struct {
    const char *file;
    dtx_status (*check)(dtx_verify *v);
} checkers[] = {
    {"logits.safetensors", dtx_verify_logits},
    {"roberta.safetensors", dtx_verify_roberta},
    {"lora.safetensors", dtx_verify_lora},
    {"ppo.safetensors", dtx_verify_ppo},
    {"processors.safetensors", dtx_verify_processors},
    {"attribution.safetensors", dtx_verify_attribution},
};

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

/* Groups the tensors that no checker read by their first two components, "w0.step1": one line each. */
static void report_unread(dtx_verify *v)
{
    const int64_t n = dtx_weights_count(v->expected);
    char group[128], last[128] = "", why[160];
    int64_t in_group = 0;

    for (int64_t i = 0; i <= n; i++) {
        group[0] = '\0';
        if (i < n) {
            if (v->used[i]) {
                continue;
            }
            const char *name = dtx_weights_at(v->expected, i)->name, *dot = strchr(name, '.');
            dot = dot != NULL ? strchr(dot + 1, '.') : NULL;
            snprintf(group, sizeof group, "%.*s", dot != NULL ? (int)(dot - name) : (int)strlen(name), name);
        }
        if (in_group > 0 && strcmp(group, last) != 0) {
            snprintf(why, sizeof why, "%" PRId64 " tensors of %s", in_group, v->file);
            dtx_verify_skip(v, last, why);
            in_group = 0;
        }
        snprintf(last, sizeof last, "%s", group);
        in_group++;
    }
}

static dtx_status check_file(dtx_verify *v, const char *file)
{
    dtx_status st;
    char path[4500];
    bool any = false;

    snprintf(path, sizeof path, "%s/expected/%s", v->dir, file);
    v->file = file;
    DTX_GO(dtx_weights_open(path, NULL, &v->expected));
    DTX_GO(DTX_NEW(v->used, dtx_weights_count(v->expected) + 1));
    const char *differences = dtx_weights_metadata(v->expected, "f32_vs_f64");
    if (differences != NULL) {
        DTX_GO(dtx_json_parse(differences, strlen(differences), path, 0, &v->f32_vs_f64));
    }
    for (size_t i = 0; i < sizeof checkers / sizeof *checkers; i++) {
        if (strcmp(checkers[i].file, file) == 0) {
            any = true;
            DTX_GO(checkers[i].check(v));
        }
    }
    if (any) {
        report_unread(v);
    } else {
        dtx_verify_skip(v, file, "nothing here recomputes this file");
    }
done:
    cJSON_Delete(v->f32_vs_f64);
    v->f32_vs_f64 = NULL;
    dtx_free(v->used);
    v->used = NULL;
    dtx_weights_close(v->expected);
    v->expected = NULL;
    return st;
}

static int is_safetensors(const struct dirent *e)
{
    size_t len = strlen(e->d_name), n = strlen(".safetensors");

    return len > n && strcmp(e->d_name + len - n, ".safetensors") == 0;
}

static int is_visible(const struct dirent *e)
{
    return e->d_name[0] != '.';
}

static dtx_status verify_model(dtx_verify *v)
{
    dtx_status st;
    struct dirent **list = NULL;
    char path[4500];
    int n = 0;

    if (!v->json) {
        printf("%s\n", v->name);
    }
    DTX_GO(dtx_model_open(v->dir, false, &v->model));
    snprintf(path, sizeof path, "%s/adapter", v->dir);
    if (dtx_file_is_dir(path)) {
        DTX_GO(dtx_adapter_read(path, dtx_model_arch(v->model), &v->adapter));
    }
    snprintf(path, sizeof path, "%s/expected", v->dir);
    n = scandir(path, &list, is_safetensors, alphasort);
    if (n < 0) {
        n = 0;
        st = DTX_FAIL(DTX_ERR_MISSING, "%s cannot be read", path);
        goto done;
    }
    for (int i = 0; i < n; i++) {
        DTX_GO(check_file(v, list[i]->d_name));
    }
done:
    for (int i = 0; i < n; i++) {
        free(list[i]);
    }
    free(list);
    dtx_adapter_del(v->adapter);
    dtx_model_del(v->model);
    v->adapter = NULL;
    v->model = NULL;
    return st;
}

static bool is_model(const char *dir)
{
    char path[4200];

    snprintf(path, sizeof path, "%s/config.json", dir);
    if (!dtx_file_exists(path)) {
        return false;
    }
    snprintf(path, sizeof path, "%s/expected", dir);
    return dtx_file_is_dir(path);
}

/* Sets the model's folder; false when it is none. */
static bool set_model(dtx_verify *v, const char *dir, const char *child)
{
    int len = child != NULL ? snprintf(v->dir, sizeof v->dir, "%s/%s", dir, child)
                            : snprintf(v->dir, sizeof v->dir, "%s", dir);

    if (len < 0 || (size_t)len >= sizeof v->dir) {
        return false;
    }
    while (len > 1 && v->dir[len - 1] == '/') {
        v->dir[--len] = '\0';
    }
    const char *slash = strrchr(v->dir, '/');
    v->name = slash != NULL ? slash + 1 : v->dir;
    return is_model(v->dir);
}

dtx_status dtx_verify_dir(const char *dir, bool json, bool *equal)
{
    dtx_status st = DTX_OK;
    dtx_verify v = {.json = json};
    struct dirent **list = NULL;
    int n = 0, n_models = 0;

    if (!dtx_file_is_dir(dir)) {
        return DTX_FAIL(DTX_ERR_MISSING, "%s is not a folder", dir);
    }
    if (set_model(&v, dir, NULL)) {
        n_models = 1;
        DTX_GO(verify_model(&v));
    } else {
        n = scandir(dir, &list, is_visible, alphasort);
        for (int i = 0; i < n; i++) {
            if (set_model(&v, dir, list[i]->d_name)) {
                n_models++;
                DTX_GO(verify_model(&v));
            }
        }
    }
    if (n_models == 0) {
        st = DTX_FAIL(DTX_ERR_MISSING, "%s holds no model folder with config.json and expected/", dir);
        goto done;
    }
    if (!json) {
        printf("%d models: %" PRId64 " quantities ok, %" PRId64 " differ, %" PRId64 " not checked\n", n_models,
               v.n_equal, v.n_differ, v.n_unchecked);
    }
    *equal = v.n_differ == 0 && v.n_equal > 0;
done:
    for (int i = 0; i < n; i++) {
        free(list[i]);
    }
    free(list);
    return st;
}
