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
    {"adapters.safetensors", dtx_verify_adapters},
};

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

static dtx_status open_expected(dtx_verify *v, const char *path)
{
    DTX_TRY(dtx_weights_open(path, NULL, &v->expected));
    return DTX_NEW(v->used, dtx_weights_count(v->expected) + 1);
}

static void close_expected(dtx_verify *v)
{
    cJSON_Delete(v->f32_vs_f64);
    v->f32_vs_f64 = NULL;
    dtx_free(v->used);
    v->used = NULL;
    dtx_weights_close(v->expected);
    v->expected = NULL;
}

static dtx_status check_file(dtx_verify *v, const char *file)
{
    dtx_status st;
    char path[4500];
    bool any = false;

    snprintf(path, sizeof path, "%s/expected/%s", v->dir, file);
    v->file = file;
    DTX_GO(open_expected(v, path));
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
    close_expected(v);
    return st;
}

static bool ends_with(const char *name, const char *tail)
{
    const size_t len = strlen(name), n = strlen(tail);

    return len > n && strcmp(name + len - n, tail) == 0;
}

static int is_safetensors(const struct dirent *e)
{
    return ends_with(e->d_name, ".safetensors");
}

static int is_gguf(const struct dirent *e)
{
    return ends_with(e->d_name, ".gguf");
}

/* What single precision alone makes of NAME's logits, out of expected/meta.json. */
static dtx_status read_difference(dtx_verify *v, const char *name)
{
    cJSON *meta = NULL;

    DTX_TRY(dtx_verify_json(v, "meta.json", &meta));
    const cJSON *x = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(meta, name), "hf_f32_vs_f64");
    if (cJSON_IsNumber(x)) {
        v->f32_vs_f64 = cJSON_CreateObject();
        cJSON_AddNumberToObject(v->f32_vs_f64, "logits", x->valuedouble);
    }
    cJSON_Delete(meta);
    return DTX_OK;
}

/* Whether file NAME.gguf has its values in DIR/SUBNAME.safetensors. */
static bool has_values(const dtx_verify *v, const char *sub, const char *file, char *path, size_t size)
{
    snprintf(path, size, "%s/%s%.*s.safetensors", v->dir, sub, (int)(strlen(file) - strlen(".gguf")), file);
    return dtx_file_exists(path);
}

/* One GGUF file: the logits of the model, or the values of its tensors. */
static dtx_status verify_gguf(dtx_verify *v, const char *file)
{
    char path[4500], expected[4500], name[256];
    dtx_status st;
    const bool model = has_values(v, "expected/", file, expected, sizeof expected);

    if (!model && !has_values(v, "", file, expected, sizeof expected)) {
        dtx_verify_skip(v, file, "no values are there to compare with");
        return DTX_OK;
    }
    snprintf(path, sizeof path, "%s/%s", v->dir, file);
    snprintf(name, sizeof name, "%.*s", (int)(strlen(file) - strlen(".gguf")), file);
    v->file = file;
    if (!v->json) {
        printf("%s/%s\n", v->name, file);
    }
    DTX_GO(open_expected(v, expected));
    if (!model) {
        st = dtx_verify_gguf_values(v, path);
        if (st == DTX_ERR_INPUT && strstr(dtx_error_text(), "which is not supported") != NULL) { /* refused by name */
            dtx_verify_skip(v, file, dtx_error_text());
            dtx_error_clear();
            st = DTX_OK;
        } else if (st == DTX_OK) {
            report_unread(v);
        }
        goto done;
    }
    DTX_GO(read_difference(v, name));
    DTX_GO(dtx_model_open(path, false, &v->model));
    DTX_GO(dtx_verify_gguf_logits(v));
    report_unread(v);
done:
    dtx_model_del(v->model);
    v->model = NULL;
    close_expected(v);
    return st;
}

/* The GGUF files of a folder; *n counts them. */
static dtx_status verify_ggufs(dtx_verify *v, int *n)
{
    struct dirent **list = NULL;
    dtx_status st = DTX_OK;
    const int found = scandir(v->dir, &list, is_gguf, alphasort);

    for (int i = 0; i < found; i++) {
        if (st == DTX_OK) {
            st = verify_gguf(v, list[i]->d_name);
            *n += 1;
        }
        free(list[i]);
    }
    free(list);
    return st;
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
        DTX_GO(dtx_adapter_attach(v->model, v->adapter));
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

/* Sets the folder; false when it does not fit. */
static bool set_dir(dtx_verify *v, const char *dir, const char *child)
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
    return true;
}

/* A model's folder, or one of GGUF files; another one is passed over. */
static dtx_status verify_one(dtx_verify *v, const char *dir, const char *child, int *n_models)
{
    if (!set_dir(v, dir, child)) {
        return DTX_OK;
    }
    if (!is_model(v->dir)) {
        return verify_ggufs(v, n_models);
    }
    *n_models += 1;
    return verify_model(v);
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
    DTX_GO(verify_one(&v, dir, NULL, &n_models));
    if (n_models == 0) {
        n = scandir(dir, &list, is_visible, alphasort);
        for (int i = 0; i < n; i++) {
            DTX_GO(verify_one(&v, dir, list[i]->d_name, &n_models));
        }
    }
    if (n_models == 0) {
        st = DTX_FAIL(DTX_ERR_MISSING, "%s holds no model folder with config.json and expected/, and no GGUF file", dir);
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
