/* run.c - what a run.h5 holds, and how far the job that is filling it has come. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "jobs/inspect/inspect.h"
#include "mpi/run/run.h"
#include "src/base/file.h"
#include "src/base/mem.h"

/* Number of entries of a flag dataset that are not 0, and of all; both 0 where it is absent. */
static dtx_status count_flags(hid_t file, const char *group, const char *name, int64_t *done, int64_t *all)
{
    void *flag = NULL;
    int64_t shape[2];

    *done = *all = 0;
    if (!dtx_h5_has(file, group, name)) {
        return DTX_OK;
    }
    DTX_TRY(dtx_h5_take(file, group, name, H5T_NATIVE_UINT8, DTX_H5_ANY, 1, &flag, shape));
    for (int64_t i = 0; i < shape[0]; i++) {
        *done += ((const uint8_t *)flag)[i] != 0;
    }
    *all = shape[0];
    dtx_free(flag);
    return DTX_OK;
}

static dtx_status add_rows(hid_t file, const char *group, const char *flag, dtx_facts *f)
{
    int64_t done, all;

    DTX_TRY(count_flags(file, group, flag, &done, &all));
    char text[96];
    snprintf(text, sizeof text, "%lld of %lld (%.1f %%)", (long long)done, (long long)all,
             all > 0 ? 100.0 * (double)done / (double)all : 100.0);
    dtx_facts_int(f, "rows", "rows", all, "");
    dtx_facts_value(f, "done", "rows done", text, cJSON_CreateNumber((double)done));
    return DTX_OK;
}

/* All attributes of a group that are a text or a number. */
static dtx_status add_attributes(hid_t file, const char *group, dtx_facts *f)
{
    char **pairs;
    size_t n;

    DTX_TRY(dtx_h5_attr_list(file, group, &pairs, &n));
    for (size_t i = 0; i < n; i++) {
        dtx_facts_json(f, pairs[2 * i], pairs[2 * i], pairs[2 * i + 1]);
    }
    dtx_free(pairs);
    return DTX_OK;
}

/* The stages of one kind below a variant: toxicity/S, attribution/M. */
static dtx_status add_stages(hid_t file, const char *variant, const char *kind, dtx_h5_place all, dtx_h5_place one, const char *flag, dtx_facts *f)
{
    char group[640], key[640], **names;
    size_t n;

    dtx_h5_group(group, sizeof group, all, variant, NULL);
    DTX_TRY(dtx_h5_list(file, group, &names, &n));
    dtx_status st = DTX_OK;
    for (size_t i = 0; i < n && st == DTX_OK; i++) {
        dtx_h5_group(group, sizeof group, one, variant, names[i]);
        if (!dtx_h5_has(file, group, flag)) {
            continue; /* a dimension scale, not a stage */
        }
        snprintf(key, sizeof key, "variants/%s/%s/%s", variant, kind, names[i]);
        dtx_facts_section(f, key, "Variant %s: %s %s", variant, kind, names[i]);
        st = add_rows(file, group, flag, f);
        if (st == DTX_OK) {
            st = add_attributes(file, group, f);
        }
    }
    dtx_free(names);
    return st;
}

static dtx_status add_variant(hid_t file, const char *variant, dtx_facts *f)
{
    char group[320], key[320];

    dtx_h5_group(group, sizeof group, DTX_H5_VARIANT, variant, NULL);
    snprintf(key, sizeof key, "variants/%s", variant);
    dtx_facts_section(f, key, "Variant %s", variant);
    DTX_TRY(add_attributes(file, group, f));
    dtx_h5_group(group, sizeof group, DTX_H5_COMPLETIONS, variant, NULL);
    if (dtx_h5_exists(file, group)) {
        int64_t complete = 0;
        bool there = false;
        snprintf(key, sizeof key, "variants/%s/completions", variant);
        dtx_facts_section(f, key, "Variant %s: completions", variant);
        DTX_TRY(add_rows(file, group, "finish", f));
        DTX_TRY(dtx_h5_attr_get_int(file, group, "complete", &complete, &there));
        dtx_facts_bool(f, "complete", "complete, texts decoded", there && complete == 1);
    }
    DTX_TRY(add_stages(file, variant, "toxicity", DTX_H5_TOXICITIES, DTX_H5_TOXICITY, "status", f));
    return add_stages(file, variant, "attribution", DTX_H5_ATTRIBUTIONS, DTX_H5_ATTRIBUTION, "done", f);
}

static dtx_status add_prompts(hid_t file, dtx_facts *f)
{
    const char *group = dtx_h5_places[DTX_H5_PROMPTS].path;
    int64_t shape[2] = {0, 1};

    if (dtx_h5_has(file, group, "id")) {
        DTX_TRY(dtx_h5_shape(file, group, "id", DTX_H5_ANY, 1, shape));
    }
    dtx_facts_int(f, "prompts", "prompts", shape[0], "");
    return DTX_OK;
}

static dtx_status add_training(hid_t file, dtx_facts *f)
{
    char path[320], **names;
    size_t n;

    DTX_TRY(dtx_h5_list(file, dtx_h5_places[DTX_H5_TRAININGS].path, &names, &n));
    dtx_status st = DTX_OK;
    if (n > 0) {
        dtx_facts_section(f, "training", "Training");
    }
    for (size_t i = 0; i < n && st == DTX_OK; i++) {
        char **curves;
        size_t n_curves;
        dtx_h5_group(path, sizeof path, DTX_H5_TRAINING, names[i], NULL);
        st = dtx_h5_list(file, path, &curves, &n_curves);
        if (st == DTX_OK) {
            dtx_facts_int(f, names[i], names[i], (int64_t)n_curves, "members");
            dtx_free(curves);
        }
    }
    dtx_free(names);
    return st;
}

/* --- launches --- */

static const char *attribute(char *const *pairs, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(pairs[2 * i], name) == 0) {
            return pairs[2 * i + 1];
        }
    }
    return "";
}

static dtx_status add_launch(hid_t file, const char *path, const char *key, dtx_facts *f)
{
    char **pairs, label[64], text[512];
    size_t n;

    DTX_TRY(dtx_h5_attr_list(file, path, &pairs, &n));
    const char *stop = attribute(pairs, n, "stop"), *code = attribute(pairs, n, "exit_code");
    bool ended = stop[0] != '\0';
    snprintf(label, sizeof label, "launch %s", key);
    snprintf(text, sizeof text, "%s, %s to %s, %s%s, %s ranks on %s, version %s (%s)", attribute(pairs, n, "job"),
             attribute(pairs, n, "start"), ended ? stop : "?", ended ? "exit code " : "not ended, or killed",
             ended ? code : "", attribute(pairs, n, "ranks"), attribute(pairs, n, "hosts"),
             attribute(pairs, n, "version"), attribute(pairs, n, "commit"));
    cJSON *o = cJSON_CreateObject();
    for (size_t i = 0; i < n; i++) {
        cJSON_AddItemToObject(o, pairs[2 * i], dtx_facts_parse(pairs[2 * i + 1]));
    }
    dtx_facts_value(f, key, label, text, o);
    dtx_free(pairs);
    return DTX_OK;
}

static dtx_status add_provenance(hid_t file, dtx_facts *f)
{
    char path[64], key[24], **names;
    size_t n;

    DTX_TRY(dtx_h5_list(file, dtx_h5_places[DTX_H5_LAUNCHES].path, &names, &n));
    dtx_free(names);
    if (n == 0) {
        return DTX_OK;
    }
    dtx_facts_section(f, "provenance", "Launches");
    for (size_t k = 0; k < n; k++) { /* numbered from 0 in their order */
        snprintf(key, sizeof key, "%zu", k);
        dtx_h5_group(path, sizeof path, DTX_H5_LAUNCH, key, NULL);
        if (dtx_h5_exists(file, path)) {
            DTX_TRY(add_launch(file, path, key, f));
        }
    }
    return DTX_OK;
}

/* --- progress --- */

/* Whether somebody holds the run directory's lock (mpi/run/run.c); `text` gets what the holder wrote into it. */
static bool lock_holder(const char *dir, char *text, size_t size)
{
    char path[4096];
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    text[0] = '\0';
    if (dtx_file_join(path, sizeof path, dir, "lock") != DTX_OK) {
        return false;
    }
    int fd;
    if (dtx_file_open(path, &fd, NULL) != DTX_OK) {
        return false;
    }
    const bool held = fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
    ssize_t n = held ? read(fd, text, size - 1) : 0;
    text[n > 0 ? n : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    close(fd);
    return held;
}

/* The last complete line of a .jsonl file, parsed; NULL when there is none. */
static cJSON *last_line(const char *path)
{
    dtx_file_map map;
    cJSON *line = NULL;

    if (dtx_file_map_open(path, &map) != DTX_OK) {
        return NULL;
    }
    size_t end = map.size;
    while (end > 0 && map.data[end - 1] != '\n') { /* half a line, of a job that is writing it or was killed */
        end--;
    }
    size_t begin = end > 0 ? end - 1 : 0;
    while (begin > 0 && map.data[begin - 1] != '\n') {
        begin--;
    }
    if (end > begin && dtx_json_parse(map.data + begin, end - 1 - begin, path, 0, &line) != DTX_OK) {
        line = NULL;
    }
    dtx_file_map_close(&map);
    return line;
}

static double number(const cJSON *o, const char *key)
{
    const cJSON *item = dtx_json_get(o, key);

    return cJSON_IsNumber(item) ? item->valuedouble : -1.0;
}

static void add_job_progress(const char *job, cJSON *line, dtx_facts *f)
{
    char text[256];
    const cJSON *unit = dtx_json_get(line, "unit"), *time = dtx_json_get(line, "time");
    const char *u = cJSON_IsString(unit) ? unit->valuestring : "rows";
    double done = number(line, "done"), total = number(line, "total"), rate = number(line, "rate"),
           eta = number(line, "eta_s");
    int n = snprintf(text, sizeof text, "%.0f of %.0f %.16s", done, total, u);

    if (rate >= 0.0) {
        n += snprintf(text + n, sizeof text - (size_t)n, ", %.3g %.16s/s", rate, u);
    }
    if (eta > 0.0) {
        n += snprintf(text + n, sizeof text - (size_t)n, ", %02d:%02d:%02d left", (int)(eta / 3600),
                      (int)(eta / 60) % 60, (int)eta % 60);
    }
    snprintf(text + n, sizeof text - (size_t)n, ", at %.40s", cJSON_IsString(time) ? time->valuestring : "?");
    dtx_facts_value(f, job, job, text, line);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* The last progress line of every job that logged one. */
static void add_progress(const char *dir, dtx_facts *f)
{
    enum { MAX_JOBS = 32 };
    char log_dir[4096], path[4400], names[MAX_JOBS][40], holder[512];
    size_t n = 0;
    const bool held = lock_holder(dir, holder, sizeof holder);

    dtx_facts_section(f, "progress", "Progress");
    dtx_facts_bool(f, "under_way", "job under way", held);
    if (held) {
        dtx_facts_text(f, "holder", "held by", "%s", holder);
    }
    if (dtx_file_join(log_dir, sizeof log_dir, dir, "log") != DTX_OK) {
        return;
    }
    DIR *d = opendir(log_dir);
    for (const struct dirent *e = d != NULL ? readdir(d) : NULL; e != NULL && n < MAX_JOBS; e = readdir(d)) {
        size_t len = strlen(e->d_name);
        if (len > 6 && len - 6 < sizeof names[0] && strcmp(e->d_name + len - 6, ".jsonl") == 0) {
            snprintf(names[n++], sizeof names[0], "%.*s", (int)(len - 6), e->d_name);
        }
    }
    if (d != NULL) {
        closedir(d);
    }
    qsort(names, n, sizeof names[0], compare_names);
    for (size_t i = 0; i < n; i++) {
        cJSON *line = NULL;
        if ((size_t)snprintf(path, sizeof path, "%s/%s.jsonl", log_dir, names[i]) < sizeof path) {
            line = last_line(path);
        }
        if (line != NULL) {
            add_job_progress(names[i], line, f);
        }
    }
    dtx_error_clear(); /* an unreadable log is no error of inspect */
}

dtx_status dtx_inspect_run(const char *dir, const char *path, dtx_facts *f)
{
    hid_t file = -1;
    char **names = NULL;
    size_t n = 0;
    dtx_status st = DTX_OK;

    DTX_TRY(dtx_h5_open_serial(path, &file));
    DTX_GO(dtx_h5_check_schema(file, path));
    dtx_facts_section(f, "run", "Run");
    dtx_facts_text(f, "path", "path", "%s", path);
    dtx_facts_int(f, "schema_version", "schema version", DTX_SCHEMA_VERSION, "");
    DTX_GO(add_prompts(file, f));
    add_progress(dir, f);
    DTX_GO(dtx_h5_list(file, dtx_h5_places[DTX_H5_VARIANTS].path, &names, &n));
    for (size_t i = 0; i < n; i++) {
        DTX_GO(add_variant(file, names[i], f));
    }
    DTX_GO(add_training(file, f));
    DTX_GO(add_provenance(file, f));
done:
    dtx_free(names);
    dtx_h5_close(file);
    return st;
}
