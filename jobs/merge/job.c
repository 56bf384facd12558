/* detoxlens merge RUN...: joins run directories that were filled at the same time into RUN/run.h5 of --run. Rank 0 works; all
 * enters the file in one edit, so that a merge is there completely or not at all, and a second one finds nothing to do. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "jobs/merge/merge.h"
#include "jobs/shared/prompts.h"
#include "jobs/shared/stage.h"
#include "jobs/shared/eos.h"
#include "mpi/h5/merge.h"
#include "src/base/file.h"
#include "src/base/json.h"
#include "src/base/log.h"
#include "src/base/mem.h"

typedef struct {
    dtx_job *job;
    dtx_run *run;
    char h5[DTX_PATH_MAX + 16];     /* RUN/run.h5 */
    int n;
    dtx_merge_source *source;       /* (n), rank 0 */
    int64_t parts, rows, launches, adapters, undecoded; /* rank 0: what is to be done */
    char model[DTX_PATH_MAX];       /* rank 0: whose tokenizer decodes; "" = unknown */
} merge;

/* --- the runs that are joined (rank 0) --- */

static dtx_status name_source(merge *g, int k)
{
    dtx_merge_source *s = &g->source[k];
    char *real = realpath(s->dir, NULL), *own = realpath(g->job->config.run, NULL);
    int same = 0;
    dtx_status st = DTX_OK;

    if (real == NULL || !dtx_file_exists(s->h5)) {
        st = DTX_FAIL(DTX_ERR_MISSING, "%s is not there: %s is no run directory, or nothing has been written there yet", s->h5, s->dir);
        goto done;
    }
    if (own != NULL && strcmp(own, real) == 0) {
        st = DTX_FAIL(DTX_ERR_USAGE, "%s is the run directory that the others are merged into: name the others only", s->dir);
        goto done;
    }
    const char *last = strrchr(real, '/') + 1;
    for (int i = 0; i < k; i++) {
        char *other = realpath(g->source[i].dir, NULL);
        bool twice = other != NULL && strcmp(other, real) == 0;
        same += other != NULL && strcmp(strrchr(other, '/') + 1, last) == 0;
        free(other);
        if (twice) {
            st = DTX_FAIL(DTX_ERR_USAGE, "%s and %s are the same run directory", g->source[i].dir, s->dir);
            goto done;
        }
    }
    if (same > 0) {
        snprintf(s->name, sizeof s->name, "%.100s-%d", last, same + 1);
    } else {
        snprintf(s->name, sizeof s->name, "%.100s", last);
    }
done:
    free(real);
    free(own);
    return st;
}

/* All are there, and no job fills them meanwhile. */
static dtx_status open_sources(merge *g)
{
    DTX_TRY(DTX_NEW(g->source, g->n));
    for (int k = 0; k < g->n; k++) {
        g->source[k].lock_fd = -1;
        g->source[k].dir = g->job->args[k];
        DTX_TRY(dtx_file_join(g->source[k].h5, sizeof g->source[k].h5, g->source[k].dir, "run.h5"));
    }
    for (int k = 0; k < g->n; k++) {
        DTX_TRY(name_source(g, k));
        DTX_TRY(dtx_run_lock(&g->job->par, g->source[k].dir, true, &g->source[k].lock_fd));
    }
    return DTX_OK;
}

static void close_sources(merge *g)
{
    for (int k = 0; k < g->n && g->source != NULL; k++) {
        if (g->source[k].lock_fd >= 0) {
            close(g->source[k].lock_fd);
        }
    }
    dtx_free(g->source);
}

/* --- run.h5 (rank 0) --- */

static dtx_status merge_files(merge *g, hid_t to, bool apply)
{
    const bool tell = apply || g->job->dry_run;

    g->parts = g->rows = g->launches = 0;
    for (int k = 0; k < g->n; k++) {
        dtx_h5_merge m = {.to_name = g->h5, .from_name = g->source[k].h5, .apply = apply, .tell = tell};
        hid_t from = -1;
        DTX_TRY(dtx_h5_open_serial(g->source[k].h5, &from));
        dtx_status st = dtx_h5_merge_file(to, from, &m);
        dtx_h5_close(from);
        DTX_TRY(st);
        g->parts += m.parts;
        g->rows += m.rows;
        g->launches += m.launches;
    }
    return DTX_OK;
}

/* Completions whose rows are all done, but not yet decoded: their slices came from different runs. */
static dtx_status is_undecoded(hid_t file, const char *group, bool *yes)
{
    void *finish = NULL;
    int64_t shape[2];

    *yes = false;
    if (dtx_h5_has(file, group, "text_offset") || !dtx_h5_has(file, group, "finish")) {
        return DTX_OK;
    }
    DTX_TRY(dtx_h5_take(file, group, "finish", H5T_NATIVE_UINT8, DTX_H5_ANY, 1, &finish, shape));
    *yes = dtx_stage_count(finish, shape[0]) == shape[0];
    dtx_free(finish);
    return DTX_OK;
}

/* The model whose tokenizer is needed: model.path, else what a launch of generate says. */
static dtx_status find_model(hid_t file, merge *g)
{
    char path[64], k_text[24], *job = NULL, *config = NULL;
    cJSON *root = NULL;
    dtx_status st = DTX_OK;

    snprintf(g->model, sizeof g->model, "%s", g->job->config.model.path);
    for (int64_t k = 0; st == DTX_OK && g->model[0] == '\0'; k++) {
        snprintf(k_text, sizeof k_text, "%" PRId64, k);
        dtx_h5_group(path, sizeof path, DTX_H5_LAUNCH, k_text, NULL);
        if (!dtx_h5_exists(file, path)) {
            break;
        }
        DTX_GO(dtx_h5_attr_get_str(file, path, "job", &job));
        DTX_GO(dtx_h5_attr_get_str(file, path, "config", &config));
        if (job != NULL && config != NULL && strcmp(job, "generate") == 0
            && dtx_json_parse(config, strlen(config), path, 0, &root) == DTX_OK) {
            const cJSON *item = dtx_json_get(root, "model.path");
            if (cJSON_IsString(item) && dtx_file_is_dir(item->valuestring)) {
                snprintf(g->model, sizeof g->model, "%s", item->valuestring);
            }
        }
        cJSON_Delete(root);
        root = NULL;
        dtx_free(job);
        dtx_free(config);
        job = config = NULL;
    }
done:
    cJSON_Delete(root);
    dtx_free(job);
    dtx_free(config);
    return st;
}

static dtx_status decode(hid_t file, merge *g, const char *variant_group, const char *group)
{
    char *json = NULL;
    cJSON *root = NULL;
    dtx_tokenizer *tokenizer = NULL;
    dtx_eos eos = {0};
    dtx_status st;

    DTX_TRY(find_model(file, g));
    if (g->model[0] == '\0') {
        dtx_log(DTX_LOG_WARN, "merge", "%s: all rows are done, and the same detoxlens generate writes their text, as model.path is not "
                "set here and the folder that the runs name is gone", group);
        return DTX_OK;
    }
    DTX_GO(dtx_h5_attr_get_str(file, variant_group, "generation", &json));
    if (json != NULL) {
        DTX_GO(dtx_json_parse(json, strlen(json), variant_group, 0, &root));
        DTX_GO(dtx_eos_get(root, variant_group, &eos));
    }
    DTX_GO(dtx_tokenizer_open(g->model, &tokenizer));
    DTX_GO(dtx_prompts_decode(file, g->h5, group, tokenizer, &eos));
    dtx_log(DTX_LOG_INFO, "merge", "%s is complete", group);
done:
    dtx_tokenizer_close(tokenizer);
    cJSON_Delete(root);
    dtx_free(json);
    return st;
}

/* Counts the undecoded completions, and decodes them. */
static dtx_status decode_all(hid_t file, merge *g, bool apply)
{
    char variant[320], group[320], **names = NULL;
    size_t n = 0;
    bool yes;
    dtx_status st;

    g->undecoded = 0;
    DTX_GO(dtx_h5_list(file, dtx_h5_places[DTX_H5_VARIANTS].path, &names, &n));
    for (size_t i = 0; i < n; i++) {
        dtx_h5_group(variant, sizeof variant, DTX_H5_VARIANT, names[i], NULL);
        dtx_h5_group(group, sizeof group, DTX_H5_COMPLETIONS, names[i], NULL);
        DTX_GO(is_undecoded(file, group, &yes));
        g->undecoded += yes;
        if (yes && apply) {
            DTX_GO(decode(file, g, variant, group));
        }
    }
done:
    dtx_free(names);
    return st;
}

static dtx_status look(hid_t file, void *user)
{
    merge *g = user;

    DTX_TRY(dtx_merge_adapters_check(g->job->config.run, g->source, g->n, &g->adapters));
    DTX_TRY(merge_files(g, file, false));
    return decode_all(file, g, false);
}

static dtx_status apply(hid_t file, void *user)
{
    merge *g = user;

    DTX_TRY(merge_files(g, file, true));
    DTX_TRY(decode_all(file, g, true));
    DTX_TRY(dtx_merge_adapters_copy(g->job->config.run, g->source, g->n)); /* an adapter is there before a run.h5 speaks of it */
    dtx_merge_logs(g->job->config.run, g->source, g->n);
    return DTX_OK;
}

/* --- the job --- */

static bool something_new(const merge *g)
{
    return g->parts > 0 || g->rows > 0 || g->launches > 0 || g->adapters > 0;
}

static dtx_status dry_run(merge *g)
{
    hid_t file = -1;
    dtx_status st = DTX_OK;

    if (dtx_file_exists(g->h5)) {
        DTX_TRY(dtx_h5_open_serial(g->h5, &file));
        st = look(file, g);
        dtx_h5_close(file);
    } else {
        DTX_TRY(dtx_merge_adapters_check(g->job->config.run, g->source, g->n, &g->adapters));
        st = merge_files(g, -1, false);
    }
    DTX_TRY(st);
    printf("into      %s%s\n", g->h5, file < 0 ? " (new)" : "");
    printf("new       %" PRId64 " parts, %" PRId64 " rows of parts that are there, %" PRId64 " launches, %" PRId64 " adapters\n", g->parts,
           g->rows, g->launches, g->adapters);
    return DTX_OK;
}

/* Collective, with the run directory open. */
static dtx_status run_stage(merge *g)
{
    char log_dir[DTX_PATH_MAX + 8];

    snprintf(log_dir, sizeof log_dir, "%s/log", g->run->dir);
    dtx_job_log_open(g->job, log_dir);
    DTX_TRY(dtx_run_inspect(g->run, look, g));
    if (!dtx_par_any(&g->job->par, something_new(g) || g->undecoded > 0)) {
        dtx_log(DTX_LOG_INFO, "merge", "%s holds all of it already", g->h5);
        return DTX_OK;
    }
    DTX_TRY(dtx_run_provenance_begin(g->run, "merge", g->job->argc, g->job->argv, g->job->config_json));
    dtx_status st = dtx_run_edit(g->run, apply, g);
    if (st == DTX_OK) {
        dtx_log(DTX_LOG_INFO, "merge", "%d run(s) joined: %" PRId64 " parts and %" PRId64 " rows are new in %s", g->n, g->parts, g->rows, g->h5);
    }
    return dtx_stage_end(g->run, st);
}

static dtx_status run(dtx_job *job)
{
    merge g = {.job = job, .n = job->n_args};
    const dtx_par *par = &job->par;
    dtx_status st;

    if (job->n_args < 1) {
        return DTX_FAIL(DTX_ERR_USAGE, "which runs? detoxlens merge RUN/IT RUN/FT RUN/RL --run RUN");
    }
    DTX_GO(dtx_file_join(g.h5, sizeof g.h5, job->config.run, "run.h5"));
    DTX_GO(DTX_ROOT(par, open_sources(&g)));
    if (job->dry_run) {
        st = par->rank == 0 ? dry_run(&g) : DTX_OK;
        goto done;
    }
    DTX_GO(dtx_run_open(par, job->config.run, &g.run));
    st = run_stage(&g);
done:
    dtx_run_close(g.run);
    close_sources(&g);
    return st;
}

const dtx_job_def dtx_job_merge = {
    .name = "merge",
    .args = "RUN...",
    .summary = "joins run directories that were filled at the same time",
    .help = "Jobs that run at the same time need run directories of their own; merge joins what they wrote into one: variants, toxicity "
            "sets, attributions, trainings, rollouts and launches into DIR/run.h5, adapters into DIR/adapters, logs into "
            "DIR/log/NAME. The result holds the bytes of a run in which the jobs came one after the other. The runs that are merged "
            "are only read.\n\n"
            "  detoxlens merge runs/IT runs/FT runs/RL --run runs\n\n"
            "All must have the same texts, model and seed. What two of them hold must be the same, but rows: when slices of one variant "
            "were made by several jobs (--rows), each row is taken from where it is done. Merging again adds what is new since; a "
            "training under way stays where it is until its command has ended it. A merge that is killed leaves DIR/run.h5 as it "
            "was. It needs no MPI launcher and room for a second copy of DIR/run.h5. --dry-run lists what is new.\n",
    .bit = DTX_JOB_MERGE,
    .parallel = true,
    .own_dry_run = true,
    .run = run,
};
