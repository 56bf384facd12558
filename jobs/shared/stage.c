#include "jobs/shared/stage.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "mpi/par/queue.h"
#include "mpi/par/stats.h"
#include "src/base/file.h"
#include "src/base/hash.h"
#include "src/base/json.h"
#include "src/base/log.h"
#include "src/base/mem.h"

/* --- the variant's model --- */

static dtx_status find_adapter(const dtx_job *job, const char *variant, char *dir, size_t size)
{
    const dtx_config *c = &job->config;
    char name[96];

    dir[0] = '\0';
    for (int64_t i = 0; i < c->n_variants; i++) {
        if (strcmp(c->variants[i].name, variant) == 0) {
            snprintf(dir, size, "%s", c->variants[i].adapter);
        }
    }
    if (strcmp(variant, "IT") == 0) {
        return dir[0] == '\0' ? DTX_OK : DTX_FAIL(DTX_ERR_USAGE, "variants.IT.adapter: IT is the base model and has no adapter");
    }
    if (dir[0] != '\0') {
        return DTX_OK;
    }
    snprintf(name, sizeof name, "adapters/%s", variant);
    DTX_TRY(dtx_file_join(dir, size, c->run, name));
    if (!dtx_file_is_dir(dir)) {
        return DTX_FAIL(DTX_ERR_MISSING, "variant %s has no adapter: %s is not there, and variants.%s.adapter is not set", variant,
                        dir, variant);
    }
    return DTX_OK;
}

/* SHA-256 over the adapter's tensors and its scale. */
static dtx_status hash_adapter(const char *dir, const dtx_adapter *a, char out[65])
{
    char weights[65], text[160];
    dtx_weights *w = NULL;

    DTX_TRY(dtx_weights_open(dir, "adapter_model", &w));
    dtx_status st = dtx_weights_fingerprint(w, 1, weights);
    dtx_weights_close(w);
    DTX_TRY(st);
    snprintf(text, sizeof text, "%s r %" PRId64 " alpha %.17g", weights, a->r, a->alpha);
    return dtx_sha256_bytes(text, strlen(text), out);
}

static dtx_status open_here(const dtx_job *job, dtx_stage_model *m)
{
    const char *path = job->config.model.path;
    char dir[DTX_PATH_MAX];
    size_t end = strlen(path);

    DTX_TRY(find_adapter(job, m->variant, dir, sizeof dir));
    DTX_TRY(dtx_model_open_as(path, &m->arch, job->config.model.dtype == DTX_SET_DTYPE_F32, &m->model));
    m->arch = *dtx_model_arch(m->model);
    if (dir[0] != '\0') {
        DTX_TRY(dtx_adapter_read(dir, &m->arch, &m->adapter));
        DTX_TRY(dtx_adapter_attach(m->model, m->adapter));
    }
    while (end > 1 && path[end - 1] == '/') {
        end--;
    }
    size_t begin = end;
    while (begin > 0 && path[begin - 1] != '/') {
        begin--;
    }
    snprintf(m->base_model, sizeof m->base_model, "%.*s", (int)(end - begin), path + begin);
    if (job->par.rank == 0) {
        DTX_TRY(dtx_model_fingerprint(m->model, m->fingerprint));
        snprintf(m->adapter_sha256, sizeof m->adapter_sha256, "none");
        if (m->adapter != NULL) {
            DTX_TRY(hash_adapter(dir, m->adapter, m->adapter_sha256));
        }
    }
    return DTX_OK;
}

dtx_status dtx_stage_arch(const dtx_job *job, const char *dir, dtx_arch *out)
{
    dtx_status st = DTX_OK;
    void *data = NULL;
    size_t size = sizeof *out;

    if (job->par.rank == 0) {
        st = dtx_arch_read(dir, out);
        data = out;
    }
    DTX_TRY(dtx_par_bcast(&job->par, st, &data, &size));
    if (job->par.rank != 0) {
        memcpy(out, data, sizeof *out);
        dtx_free(data);
    }
    return DTX_OK;
}

dtx_status dtx_stage_model_open(const dtx_job *job, const char *variant, dtx_stage_model *out)
{
    *out = (dtx_stage_model){0};
    snprintf(out->variant, sizeof out->variant, "%s", variant);
    dtx_h5_group(out->group, sizeof out->group, DTX_H5_VARIANT, variant, NULL);
    DTX_TRY(dtx_job_need(job, "model.path", job->config.model.path));
    DTX_TRY(dtx_stage_arch(job, job->config.model.path, &out->arch));
    if (!out->arch.causal) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: %s is an encoder, it cannot generate", job->config.model.path, out->arch.model_type);
    }
    return dtx_par_agree(&job->par, open_here(job, out));
}

void dtx_stage_model_close(dtx_stage_model *m)
{
    dtx_adapter_del(m->adapter);
    dtx_model_del(m->model);
    m->adapter = NULL;
    m->model = NULL;
}

/* --- settings --- */

void dtx_stage_differ(dtx_stage_diff *diff, const char *fmt, ...)
{
    size_t n = strlen(diff->text);
    va_list ap;

    va_start(ap, fmt);
    n += (size_t)snprintf(diff->text + n, sizeof diff->text - n, "%s", n > 0 ? "; " : "");
    if (n < sizeof diff->text) {
        vsnprintf(diff->text + n, sizeof diff->text - n, fmt, ap);
    }
    va_end(ap);
}

static void compare_members(const char *name, const cJSON *was, const cJSON *now, dtx_stage_diff *diff)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, now)
    {
        const cJSON *other = cJSON_GetObjectItemCaseSensitive(was, item->string);
        if (!cJSON_Compare(item, other, 1)) {
            char *a = other != NULL ? cJSON_PrintUnformatted(other) : NULL, *b = cJSON_PrintUnformatted(item);
            dtx_stage_differ(diff, "%s.%s is %.100s there and %.100s now", name, item->string, a != NULL ? a : "absent",
                             b != NULL ? b : "?");
            cJSON_free(a);
            cJSON_free(b);
        }
    }
    cJSON_ArrayForEach(item, was)
    {
        if (cJSON_GetObjectItemCaseSensitive(now, item->string) == NULL) {
            dtx_stage_differ(diff, "%s.%s is set there and unknown now", name, item->string);
        }
    }
}

dtx_status dtx_stage_compare(hid_t file, const char *group, const char *name, const char *now, dtx_stage_diff *diff)
{
    char *was = NULL;
    cJSON *a = NULL, *b = NULL;

    DTX_TRY(dtx_h5_attr_get_str(file, group, name, &was));
    if (was == NULL || strcmp(was, now) != 0) {
        size_t before = strlen(diff->text);
        if (was != NULL && was[0] == '{' && now[0] == '{' && dtx_json_parse(was, strlen(was), name, 0, &a) == DTX_OK
            && dtx_json_parse(now, strlen(now), name, 0, &b) == DTX_OK) {
            compare_members(name, a, b, diff);
        }
        if (strlen(diff->text) == before) {
            dtx_stage_differ(diff, "%s is %.100s there and %.100s now", name, was != NULL ? was : "absent", now);
        }
    }
    cJSON_Delete(a);
    cJSON_Delete(b);
    dtx_free(was);
    return DTX_OK;
}

dtx_status dtx_stage_compare_int(hid_t file, const char *group, const char *name, int64_t now, dtx_stage_diff *diff)
{
    int64_t was = 0;
    bool there = false;

    DTX_TRY(dtx_h5_attr_get_int(file, group, name, &was, &there));
    if (!there) {
        dtx_stage_differ(diff, "%s is absent there and %" PRId64 " now", name, now);
    } else if (was != now) {
        dtx_stage_differ(diff, "%s is %" PRId64 " there and %" PRId64 " now", name, was, now);
    }
    return DTX_OK;
}

dtx_status dtx_stage_refuse(const dtx_run *run, const char *stage, const dtx_stage_diff *diff)
{
    if (diff->text[0] == '\0') {
        return DTX_OK;
    }
    return DTX_FAIL(DTX_ERR_USAGE, "%s: %s was made with other settings: %s. Use another run directory, or --redo to discard it",
                    run->path, stage, diff->text);
}

/* --- discarding --- */

/* Calls `visit` with the path of every attribution that other variants made of this one's completions. */
static dtx_status visit_foreign(hid_t file, const char *variant, dtx_status (*visit)(hid_t file, const char *path))
{
    char suffix[80], group[256], path[512], **others = NULL, **names = NULL;
    size_t n_others, n_names;
    dtx_status st;

    snprintf(suffix, sizeof suffix, "@%s", variant);
    DTX_GO(dtx_h5_list(file, dtx_h5_places[DTX_H5_VARIANTS].path, &others, &n_others));
    for (size_t i = 0; i < n_others; i++) {
        if (strcmp(others[i], variant) == 0) {
            continue;
        }
        dtx_h5_group(group, sizeof group, DTX_H5_ATTRIBUTIONS, others[i], NULL);
        dtx_free(names);
        names = NULL;
        DTX_GO(dtx_h5_list(file, group, &names, &n_names));
        for (size_t k = 0; k < n_names; k++) {
            size_t len = strlen(names[k]), tail = strlen(suffix);
            if (len > tail && strcmp(names[k] + len - tail, suffix) == 0) {
                snprintf(path, sizeof path, "%s/%s", group, names[k]);
                DTX_GO(visit(file, path));
            }
        }
    }
done:
    dtx_free(others);
    dtx_free(names);
    return st;
}

static dtx_status announce(hid_t file, const char *path)
{
    (void)file;
    dtx_log(DTX_LOG_WARN, "redo", "discarding %s", path);
    return DTX_OK;
}

dtx_status dtx_stage_discard_variant(hid_t file, const char *variant)
{
    char path[96], **others;
    size_t n;

    DTX_TRY(visit_foreign(file, variant, dtx_h5_delete));
    dtx_h5_group(path, sizeof path, DTX_H5_VARIANT, variant, NULL);
    if (dtx_h5_exists(file, path)) {
        DTX_TRY(dtx_h5_delete(file, path));
    }
    DTX_TRY(dtx_h5_list(file, dtx_h5_places[DTX_H5_VARIANTS].path, &others, &n));
    dtx_free(others);
    const char *texts = dtx_h5_places[DTX_H5_PROMPTS].path;
    return n == 0 && dtx_h5_exists(file, texts) ? dtx_h5_delete(file, texts) : DTX_OK;
}

dtx_status dtx_stage_announce_discard(hid_t file, const char *variant)
{
    static const dtx_h5_place parts[] = {DTX_H5_TOXICITIES, DTX_H5_ATTRIBUTIONS};
    char path[512], group[256], **names;
    size_t n;

    dtx_h5_group(path, sizeof path, DTX_H5_COMPLETIONS, variant, NULL);
    announce(file, path);
    for (size_t p = 0; p < sizeof parts / sizeof *parts; p++) {
        dtx_h5_group(group, sizeof group, parts[p], variant, NULL);
        DTX_TRY(dtx_h5_list(file, group, &names, &n));
        for (size_t k = 0; k < n; k++) {
            snprintf(path, sizeof path, "%s/%s", group, names[k]);
            announce(file, path);
        }
        dtx_free(names);
    }
    return visit_foreign(file, variant, announce);
}

/* --- small services --- */

/* "predicted 41 s, took 44 s; ...", and the outcome of this launch. Collective. */
static dtx_status compare_forecast(dtx_run *run, dtx_status st)
{
    dtx_run_outcome *o = &run->outcome;
    const double mine = dtx_peak_memory();
    char time[80] = "";
    dtx_spread peak;

    DTX_TRY(dtx_par_spread(run->par, 1, &mine, &peak));
    o->seconds = MPI_Wtime() - run->begun;
    o->peak_memory_bytes = peak.max;
    if (st != DTX_OK || !isfinite(o->predicted_peak_memory_bytes)) {
        return DTX_OK;
    }
    if (isfinite(o->predicted_seconds)) {
        snprintf(time, sizeof time, "predicted %.3g s, ", o->predicted_seconds);
    }
    dtx_log(DTX_LOG_INFO, "forecast", "%stook %.3g s; peak memory of a rank: predicted %.0f MB, seen %.0f MB", time, o->seconds,
            o->predicted_peak_memory_bytes / 1e6, peak.max / 1e6);
    return DTX_OK;
}

dtx_status dtx_stage_end(dtx_run *run, dtx_status st)
{
    char why[2048];

    snprintf(why, sizeof why, "%s", dtx_error_text());
    if (run->launch >= 0) {
        dtx_status compared = compare_forecast(run, st);
        st = st != DTX_OK ? st : compared;
    }
    dtx_status ended = dtx_run_provenance_end(run, (int)st, NULL);
    if (st != DTX_OK) {
        dtx_error_set(why);
        return st;
    }
    return ended;
}

int64_t dtx_stage_unit_rows(int64_t rows, int64_t batch, int64_t ranks)
{
    const int64_t quarter = rows / (4 * ranks), whole = (rows + ranks - 1) / ranks;
    const int64_t n = quarter >= batch ? quarter : whole < batch ? whole : batch;

    return n < 1 ? 1 : n < 4 * batch ? n : 4 * batch;
}

int64_t dtx_stage_count(const uint8_t *flag, int64_t n)
{
    int64_t count = 0;

    for (int64_t i = 0; i < n; i++) {
        count += flag[i] != 0;
    }
    return count;
}

/* --- rounds --- */

/* Seconds of this rank. */
typedef struct {
    double units, writes, all;
} ledger;

static dtx_status one_round(const dtx_job *job, const dtx_stage_work *w, dtx_queue *q, ledger *spent, bool *more, bool *stopped)
{
    dtx_status mine = DTX_OK;
    int64_t unit;

    DTX_TRY(dtx_queue_begin_round(q));
    while (mine == DTX_OK && dtx_queue_next(q, &unit)) {
        const double begun = dtx_now();
        mine = w->unit(w->user, unit);
        spent->units += dtx_now() - begun;
        if (mine == DTX_STOPPED || dtx_job_should_stop(job)) {
            dtx_queue_request_stop(q);
        }
        if (mine == DTX_STOPPED) {
            dtx_queue_give_back(q, unit);
        }
    }
    return dtx_queue_end_round(q, mine == DTX_STOPPED ? DTX_OK : mine, more, stopped);
}

/* Collective. Where the ranks' time went that was not spent on units. */
static dtx_status account(const dtx_job *job, const dtx_stage_work *w, const ledger *spent, double tickets)
{
    if (w->run == NULL) {
        return DTX_OK;
    }
    const double mine[] = {spent->all, tickets, spent->writes, spent->all - spent->units - tickets - spent->writes};
    dtx_spread all[4];

    DTX_TRY(dtx_par_spread(&job->par, 4, mine, all));
    if (all[0].mean <= 0) {
        return DTX_OK;
    }
    dtx_run_outcome *o = &w->run->outcome;
    o->handout_share = all[1].mean / all[0].mean;
    o->rounds_share = all[2].mean / all[0].mean;
    o->uneven_share = all[3].mean / all[0].mean;
    dtx_log(DTX_LOG_INFO, job->def->name, "of the ranks' time: hand-out %.3f %%, collective rounds %.3f %%, waiting for the slowest rank %.2f %%",
            100 * o->handout_share, 100 * o->rounds_share, 100 * o->uneven_share);
    return DTX_OK;
}

dtx_status dtx_stage_run(const dtx_job *job, const dtx_stage_work *w, bool *stopped)
{
    ledger spent = {0};
    dtx_queue *q = NULL;
    dtx_progress progress;
    bool more = true;
    dtx_status st;

    *stopped = false;
    DTX_TRY(dtx_queue_new(&job->par, w->n_units, job->config.round_seconds, &q));
    dtx_progress_begin(&progress, job, w->log_dir, "rows", (double)w->n_rows, (double)w->n_done);
    while (more) {
        double t0 = dtx_now();
        DTX_GO(one_round(job, w, q, &spent, &more, stopped));
        double t1 = dtx_now(), mine[2] = {*w->rows, *w->tokens}, all[2];
        DTX_GO(w->write(w->user));
        DTX_GO(DTX_MPI(MPI_Allreduce(mine, all, 2, MPI_DOUBLE, MPI_SUM, job->par.comm)));
        double t2 = dtx_now();
        spent.writes += t2 - t1;
        spent.all += t2 - t0;
        dtx_progress_tick(&progress, (double)w->n_done + all[0], all[1], NULL, NULL, !more);
    }
done:
    dtx_progress_end(&progress);
    double tickets = dtx_queue_waited(q);
    dtx_queue_del(q);
    if (st == DTX_OK) {
        st = account(job, w, &spent, tickets);
    }
    return st == DTX_OK ? dtx_job_summary(job, spent.units, spent.all - spent.units - spent.writes, spent.writes) : st;
}

/* --- finished rows --- */

dtx_status dtx_stage_rows_add(dtx_stage_rows *r, int64_t row, const void *const *values)
{
    DTX_TRY(DTX_GROW(r->row, r->cap_row, r->n + 1));
    DTX_TRY(DTX_GROW(r->count, r->cap_count, r->n + 1));
    for (int c = 0; c < r->n_columns; c++) {
        dtx_stage_column *col = &r->column[c];
        size_t bytes = (size_t)col->width * col->size_bytes, at = (size_t)r->n * bytes;
        DTX_TRY(DTX_GROW(col->data, col->cap, at + bytes));
        memcpy(col->data + at, values[c], bytes);
    }
    r->row[r->n] = row;
    r->count[r->n++] = 1;
    return DTX_OK;
}

dtx_status dtx_stage_rows_write(dtx_run *run, const char *group, int64_t n_rows, dtx_stage_rows *r)
{
    enum { MOST = sizeof r->column / sizeof *r->column };
    _Static_assert((int)MOST <= (int)DTX_RUN_WRITES, "columns of a stage go in one write");
    dtx_write w[MOST];
    const int flag = r->n_columns - 1;

    for (int c = 0; c < r->n_columns; c++) {
        const dtx_stage_column *col = &r->column[c];
        w[c] = (dtx_write){.group = group, .name = col->name, .type = col->type, .rows = n_rows, .width = col->width,
                           .n = r->n, .start = r->row, .count = r->count, .x = col->data};
    }
    DTX_TRY(dtx_run_write_all(run, flag, w));
    DTX_TRY(dtx_run_flush(run)); /* the flags follow when the values are on disk */
    DTX_TRY(dtx_run_write_all(run, 1, w + flag));
    r->n = 0;
    return dtx_run_flush(run);
}

void dtx_stage_rows_free(dtx_stage_rows *r)
{
    for (int c = 0; c < r->n_columns; c++) {
        dtx_free(r->column[c].data);
    }
    dtx_free(r->row);
    dtx_free(r->count);
}
