#include "jobs/merge/merge.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "src/base/file.h"
#include "src/base/log.h"

typedef struct {
    char path[DTX_PATH_MAX + 256];
} file_path;

static dtx_status join(file_path *out, const char *dir, const char *name)
{
    return dtx_file_join(out->path, sizeof out->path, dir, name);
}

/* --- folders --- */

static int not_hidden(const struct dirent *e)
{
    return e->d_name[0] != '.' && strstr(e->d_name, ".tmp.") == NULL;
}

/* Names in a folder, sorted, without hidden and temporary ones; n = 0 where there is none. Free with free_names. */
static dtx_status list(const char *dir, struct dirent ***names, int *n)
{
    *n = scandir(dir, names, not_hidden, alphasort);
    if (*n < 0) {
        *n = 0;
        *names = NULL;
        return errno == ENOENT ? DTX_OK : DTX_FAIL(DTX_ERR_MISSING, "%s: cannot read the folder: %s", dir, strerror(errno));
    }
    return DTX_OK;
}

static void free_names(struct dirent **names, int n)
{
    for (int i = 0; i < n; i++) {
        free(names[i]);
    }
    free(names);
}

static dtx_status copy_file(const char *from, const char *to)
{
    dtx_file_map map;

    DTX_TRY(dtx_file_map_open(from, &map));
    dtx_status st = dtx_file_write(to, map.data, map.size);
    dtx_file_map_close(&map);
    return st;
}

/* The files of a folder; folders in it are left out. */
static dtx_status copy_files(const char *from, const char *to)
{
    struct dirent **names;
    file_path a, b;
    int n;
    dtx_status st = dtx_file_mkdirs(to);

    DTX_TRY(st);
    DTX_TRY(list(from, &names, &n));
    for (int i = 0; i < n && st == DTX_OK; i++) {
        DTX_GO(join(&a, from, names[i]->d_name));
        DTX_GO(join(&b, to, names[i]->d_name));
        if (!dtx_file_is_dir(a.path)) {
            st = copy_file(a.path, b.path);
        }
    }
done:
    free_names(names, n);
    return st;
}

static dtx_status same_file(const char *a, const char *b, bool *same)
{
    dtx_file_map x, y;

    *same = dtx_file_exists(b);
    if (!*same) {
        return DTX_OK;
    }
    DTX_TRY(dtx_file_map_open(a, &x));
    dtx_status st = dtx_file_map_open(b, &y);
    if (st == DTX_OK) {
        *same = x.size == y.size && memcmp(x.data, y.data, x.size) == 0;
        dtx_file_map_close(&y);
    }
    dtx_file_map_close(&x);
    return st;
}

static dtx_status same_files(const char *a, const char *b)
{
    struct dirent **names;
    file_path x, y;
    bool same = true;
    int n;
    dtx_status st = DTX_OK;

    DTX_TRY(list(a, &names, &n));
    for (int i = 0; i < n && same; i++) {
        DTX_GO(join(&x, a, names[i]->d_name));
        DTX_GO(join(&y, b, names[i]->d_name));
        if (!dtx_file_is_dir(x.path)) {
            DTX_GO(same_file(x.path, y.path, &same));
        }
    }
    if (!same) {
        st = DTX_FAIL(DTX_ERR_USAGE, "%s and %s are different adapters of the same name: the runs do not belong together, or train "
                      "one of them under another --variant", a, b);
    }
done:
    free_names(names, n);
    return st;
}

/* --- adapters --- */

/* A checkpoint JOB-V.safetensors says that a training of V is under way. */
static dtx_status under_way(const char *dir, const char *variant, bool *yes)
{
    struct dirent **names;
    char ending[128];
    file_path checkpoints;
    int n;

    *yes = false;
    snprintf(ending, sizeof ending, "-%s.safetensors", variant);
    DTX_TRY(join(&checkpoints, dir, "checkpoints"));
    DTX_TRY(list(checkpoints.path, &names, &n));
    for (int i = 0; i < n; i++) {
        size_t len = strlen(names[i]->d_name), tail = strlen(ending);
        *yes = *yes || (len > tail && strcmp(names[i]->d_name + len - tail, ending) == 0);
    }
    free_names(names, n);
    return DTX_OK;
}

typedef dtx_status (*adapter_work)(const char *run, const dtx_merge_source *source, int k, const char *variant, void *user);

/* Calls `work` for each adapter of source k. */
static dtx_status each_adapter(const char *run, const dtx_merge_source *source, int k, adapter_work work, void *user)
{
    struct dirent **names;
    file_path adapters, folder;
    bool open;
    int n;
    dtx_status st = DTX_OK;

    DTX_TRY(join(&adapters, source[k].dir, "adapters"));
    DTX_TRY(list(adapters.path, &names, &n));
    for (int i = 0; i < n; i++) {
        DTX_GO(join(&folder, adapters.path, names[i]->d_name));
        DTX_GO(under_way(source[k].dir, names[i]->d_name, &open));
        if (dtx_file_is_dir(folder.path) && !open) {
            DTX_GO(work(run, source, k, names[i]->d_name, user));
        }
    }
done:
    free_names(names, n);
    return st;
}

/* DIR/adapters/V */
static dtx_status adapter_folder(file_path *out, const char *dir, const char *variant)
{
    file_path adapters;

    DTX_TRY(join(&adapters, dir, "adapters"));
    return join(out, adapters.path, variant);
}

static dtx_status check_one(const char *run, const dtx_merge_source *source, int k, const char *variant, void *user)
{
    file_path here, other;
    bool open, found = false;
    int64_t *missing = user;

    DTX_TRY(adapter_folder(&here, source[k].dir, variant));
    for (int i = -1; i < k; i++) { /* -1: the run itself */
        const char *dir = i < 0 ? run : source[i].dir;
        DTX_TRY(adapter_folder(&other, dir, variant));
        DTX_TRY(under_way(dir, variant, &open));
        if (!open && dtx_file_is_dir(other.path)) {
            DTX_TRY(same_files(here.path, other.path));
            found = true;
        }
    }
    *missing += !found;
    return DTX_OK;
}

dtx_status dtx_merge_adapters_check(const char *run, const dtx_merge_source *source, int n, int64_t *missing)
{
    struct dirent **names;
    file_path checkpoints;
    int n_names;

    for (int k = 0; k < n; k++) {
        DTX_TRY(join(&checkpoints, source[k].dir, "checkpoints"));
        DTX_TRY(list(checkpoints.path, &names, &n_names));
        for (int i = 0; i < n_names; i++) {
            if (strstr(names[i]->d_name, "-healthy.") == NULL) {
                dtx_log(DTX_LOG_WARN, "merge", "%s: a training is under way (%s/%s) and stays out: let its command end it there, then "
                        "merge again", source[k].dir, checkpoints.path, names[i]->d_name);
            }
        }
        free_names(names, n_names);
        DTX_TRY(each_adapter(run, source, k, check_one, missing));
    }
    return DTX_OK;
}

static dtx_status copy_one(const char *run, const dtx_merge_source *source, int k, const char *variant, void *user)
{
    file_path from, to, tmp, folder;
    char name[160];

    (void)user;
    DTX_TRY(adapter_folder(&from, source[k].dir, variant));
    DTX_TRY(adapter_folder(&to, run, variant));
    if (dtx_file_is_dir(to.path)) {
        return DTX_OK;
    }
    snprintf(name, sizeof name, ".%s.merge", variant); /* hidden: of a launch that was killed, perhaps; the run is locked */
    DTX_TRY(join(&folder, run, "adapters"));
    DTX_TRY(join(&tmp, folder.path, name));
    DTX_TRY(dtx_file_mkdirs(folder.path));
    DTX_TRY(dtx_file_remove(tmp.path));
    if (mkdir(tmp.path, 0777) != 0) { /* a new one: nobody's folder, nobody's link */
        return DTX_FAIL(DTX_ERR_MISSING, "%s: cannot make the folder: %s", tmp.path, strerror(errno));
    }
    DTX_TRY(copy_files(from.path, tmp.path));
    if (rename(tmp.path, to.path) != 0) {
        return DTX_FAIL(DTX_ERR_MISSING, "%s: cannot rename to %s: %s", tmp.path, to.path, strerror(errno));
    }
    dtx_log(DTX_LOG_INFO, "merge", "%s: adapters/%s", source[k].dir, variant);
    return DTX_OK;
}

dtx_status dtx_merge_adapters_copy(const char *run, const dtx_merge_source *source, int n)
{
    for (int k = 0; k < n; k++) {
        DTX_TRY(each_adapter(run, source, k, copy_one, NULL));
    }
    return DTX_OK;
}

/* --- logs --- */

void dtx_merge_logs(const char *run, const dtx_merge_source *source, int n)
{
    file_path from, logs, to;

    for (int k = 0; k < n; k++) {
        dtx_status st = join(&from, source[k].dir, "log");
        if (st == DTX_OK && !dtx_file_is_dir(from.path)) {
            continue;
        }
        st = st == DTX_OK ? join(&logs, run, "log") : st;
        st = st == DTX_OK ? join(&to, logs.path, source[k].name) : st;
        st = st == DTX_OK ? copy_files(from.path, to.path) : st;
        if (st != DTX_OK) {
            dtx_log(DTX_LOG_WARN, "merge", "the logs of %s are not copied: %s", source[k].dir, dtx_error_text());
        }
    }
}
