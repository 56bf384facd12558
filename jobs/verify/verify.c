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
