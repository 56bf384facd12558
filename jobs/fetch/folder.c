/* How a source comes into its folder: FOLDER.part is filled by threads, one file and one connection each, gets a record of what
 * it holds (fetch.json), and then its name. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "jobs/fetch/fetch.h"
#include "src/base/file.h"
#include "src/base/json.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/base/version.h"

enum { PATH = 4096 };

/* ---- the record ---- */

typedef struct {
    char (*sha256)[DTX_SHA256_TEXT];
    int64_t *size;
} checked; /* of each file of a plan */

static cJSON *add_text(cJSON *o, const char *key, const char *text)
{
    return text[0] != '\0' ? cJSON_AddStringToObject(o, key, text) : o;
}

static cJSON *make_record(const dtx_fetch_net *net, const dtx_fetch_plan *p, const checked *got)
{
    static const char *const kinds[] = {[DTX_HUB_MODEL] = "model", [DTX_HUB_ADAPTER] = "adapter", [DTX_HUB_DATA] = "data"};
    const dtx_fetch_source *s = p->source;
    cJSON *root = cJSON_CreateObject(), *files;
    char text[1400], now[40];
    time_t t = time(NULL);
    struct tm tm;

    gmtime_r(&t, &tm);
    strftime(now, sizeof now, "%Y-%m-%dT%H:%M:%SZ", &tm);
    bool good = add_text(root, "kind", kinds[p->kind]) != NULL;
    if (s->repo[0] != '\0') {
        snprintf(text, sizeof text, "%s/%s%s", net->hub, s->kind == DTX_HUB_DATA ? "datasets/" : "", s->repo);
    } else {
        dtx_http_place(s->url, text, sizeof text);
    }
    good = good && add_text(root, "source", text) != NULL && add_text(root, "repository", s->repo) != NULL
        && add_text(root, "revision", s->revision) != NULL && add_text(root, "commit", p->commit) != NULL
        && cJSON_AddStringToObject(root, "licence", p->licence[0] != '\0' ? p->licence : "not stated") != NULL
        && add_text(root, "licence_link", p->licence_link) != NULL && add_text(root, "home", s->home) != NULL
        && (p->needs_acceptance ? cJSON_AddTrueToObject(root, "accepted") : cJSON_AddNullToObject(root, "accepted")) != NULL
        && add_text(root, "date", now) != NULL && add_text(root, "program", "detoxlens") != NULL && add_text(root, "version", dtx_version) != NULL
        && (files = cJSON_AddArrayToObject(root, "files")) != NULL;
    for (size_t i = 0; good && i < p->files.n; i++) {
        cJSON *f = cJSON_CreateObject();
        good = f != NULL && cJSON_AddItemToArray(files, f) && add_text(f, "path", p->files.file[i].path) != NULL
            && cJSON_AddNumberToObject(f, "size", (double)got->size[i]) != NULL && add_text(f, "sha256", got->sha256[i]) != NULL
            && add_text(f, "git_blob", p->files.file[i].git_blob) != NULL;
    }
    if (!good) {
        cJSON_Delete(root);
        root = NULL;
    }
    return root;
}

static dtx_status write_record(const dtx_fetch_net *net, const dtx_fetch_plan *p, const checked *got)
{
    char path[PATH], *text = NULL;
    cJSON *root = make_record(net, p, got);
    dtx_status st;

    DTX_GO(dtx_mem_check(root, 1, 1, DTX_FETCH_RECORD));
    text = cJSON_Print(root);
    DTX_GO(dtx_mem_check(text, 1, 1, DTX_FETCH_RECORD));
    DTX_GO(dtx_file_join(path, sizeof path, p->part, DTX_FETCH_RECORD));
    DTX_GO(dtx_file_write(path, text, strlen(text)));
done:
    cJSON_free(text);
    cJSON_Delete(root);
    return st;
}

/* ---- a folder that is there ---- */

/* Is what the record tells of what is asked for now? */
static dtx_status same_source(const dtx_fetch_plan *p, bool redo, const cJSON *root, const char *record)
{
    const dtx_fetch_source *s = p->source;
    char repo[256] = "", revision[256] = "", source[1400] = "", wanted[1400], commit[80] = "";

    DTX_TRY(dtx_json_str(root, record, "repository", sizeof repo, repo));
    DTX_TRY(dtx_json_str(root, record, "revision", sizeof revision, revision));
    DTX_TRY(dtx_json_str(root, record, "source", sizeof source, source));
    DTX_TRY(dtx_json_str(root, record, "commit", sizeof commit, commit));
    dtx_http_place(s->url, wanted, sizeof wanted);
    if (strcmp(repo, s->repo) != 0 || (s->repo[0] == '\0' && strcmp(source, wanted) != 0 && s->sha256[0] == '\0')) {
        return DTX_FAIL(DTX_ERR_USAGE, "%s holds %s, not %s: choose another folder with --to", p->dir, repo[0] != '\0' ? repo : source, s->name);
    }
    if (!redo && strcmp(revision, s->revision) != 0 && strcmp(commit, s->revision) != 0) {
        return DTX_FAIL(DTX_ERR_USAGE, "%s holds revision %s (commit %.12s), not %s: choose another folder with --to, or replace it with --redo",
                        p->dir, revision, commit, s->revision);
    }
    return DTX_OK;
}

static dtx_status check_files(const dtx_fetch_plan *p, const cJSON *root, const char *record)
{
    const cJSON *f;
    int64_t n = 0, bytes = 0;

    cJSON_ArrayForEach(f, cJSON_GetObjectItemCaseSensitive(root, "files"))
    {
        const cJSON *name = cJSON_GetObjectItemCaseSensitive(f, "path");
        char path[PATH], expected[DTX_SHA256_TEXT] = "", found[DTX_SHA256_TEXT];
        dtx_download d = {.size = -1, .git_blob = ""};
        DTX_TRY(dtx_json_int(f, record, "size", 0, INT64_MAX / 4, &d.size));
        DTX_TRY(dtx_json_str(f, record, "sha256", sizeof expected, expected));
        if (!cJSON_IsString(name) || !dtx_hub_safe_path(name->valuestring) || expected[0] == '\0') {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: files: a name and a sha256 are expected; --redo fetches the folder anew", record);
        }
        d.sha256 = expected;
        DTX_TRY(dtx_file_join(path, sizeof path, p->dir, name->valuestring));
        dtx_status st = dtx_file_exists(path) ? dtx_download_check(&d, path, found)
                                              : DTX_FAIL(DTX_ERR_INPUT, "%s is not there any more", path);
        if (st == DTX_ERR_INPUT) {
            return dtx_error_context(st, "%s is not what was fetched (--redo mends it)", p->dir);
        }
        DTX_TRY(st);
        n++;
        bytes += d.size;
    }
    dtx_log(DTX_LOG_INFO, "fetch", "%s is complete: %lld files, %.1f MB, all with the SHA-256 of %s", p->dir, (long long)n, (double)bytes / 1e6,
            record);
    return DTX_OK;
}

static bool is_empty(const char *dir)
{
    DIR *d = opendir(dir);
    int n = 0;

    while (d != NULL && readdir(d) != NULL) {
        n++;
    }
    if (d != NULL) {
        closedir(d);
    }
    return d != NULL && n <= 2;
}

dtx_status dtx_fetch_check(dtx_fetch_plan *p, bool redo)
{
    char record[PATH];
    cJSON *root = NULL;
    dtx_status st;

    if (!dtx_file_exists(p->dir) || is_empty(p->dir)) {
        return DTX_OK;
    }
    DTX_TRY(dtx_file_join(record, sizeof record, p->dir, DTX_FETCH_RECORD));
    if (!dtx_file_exists(record)) {
        return DTX_FAIL(DTX_ERR_USAGE, "%s is there, and was not made by fetch (it holds no %s): move it away, or choose another folder with "
                        "--to", p->dir, DTX_FETCH_RECORD);
    }
    DTX_GO(dtx_json_read(record, &root));
    DTX_GO(same_source(p, redo, root, record));
    if (redo) {
        if (rename(p->dir, p->part) != 0) {
            st = DTX_FAIL(DTX_ERR_MISSING, "%s cannot be renamed to %s: %s", p->dir, p->part, strerror(errno));
        }
        goto done;
    }
    DTX_GO(check_files(p, root, record));
    p->complete = true;
done:
    cJSON_Delete(root);
    return st;
}

/* ---- FOLDER.part ---- */

/* One run fills a folder; the lock is gone with its process. */
static dtx_status lock_part(const dtx_fetch_plan *p, int *out)
{
    char path[PATH];

    DTX_TRY(dtx_file_mkdirs(p->part));
    DTX_TRY(dtx_file_join(path, sizeof path, p->part, "lock"));
    int fd;
    DTX_TRY(dtx_file_open_kept(path, O_RDWR | O_NOFOLLOW, &fd));
    struct stat mine, there;
    bool locked = dtx_file_try_lock(fd) == 0;
    int why = errno;
    if (!locked && why != EAGAIN && why != EACCES) { /* some file systems are mounted without locks */
        dtx_log(DTX_LOG_WARN, "fetch", "%s: cannot lock (%s): nothing keeps a second run off this folder", path, strerror(why));
        locked = true;
    }
    if (!locked || fstat(fd, &mine) != 0 || stat(path, &there) != 0 || mine.st_ino != there.st_ino) { /* or the other one has just ended */
        close(fd);
        return DTX_FAIL(DTX_ERR_USAGE, "%s is in use by another run of fetch: wait for it, then give the same command again", p->part);
    }
    *out = fd;
    return DTX_OK;
}

static bool is_ours(const dtx_fetch_plan *p, const char *name)
{
    for (size_t i = 0; i < p->files.n; i++) {
        const dtx_hub_file *f = &p->files.file[i];
        const dtx_download d = {.path = f->path, .sha256 = f->sha256, .git_blob = f->git_blob};
        if (dtx_download_owns(&d, name)) {
            return true;
        }
    }
    return strcmp(name, "lock") == 0;
}

/* Removes what an earlier run for another revision left. `below` is a path in p->part, "" = itself. */
static void remove_foreign(const dtx_fetch_plan *p, const char *below)
{
    char dir[PATH], name[PATH], path[PATH];
    const struct dirent *e;

    if (dtx_file_join(dir, sizeof dir, p->part, below) != DTX_OK) {
        return;
    }
    DIR *d = opendir(dir);
    while (d != NULL && (e = readdir(d)) != NULL) {
        struct stat sb;
        int n = snprintf(name, sizeof name, "%s%s%s", below, below[0] != '\0' ? "/" : "", e->d_name);
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || n >= (int)sizeof name
            || dtx_file_join(path, sizeof path, p->part, name) != DTX_OK || lstat(path, &sb) != 0) {
            continue;
        }
        if (S_ISDIR(sb.st_mode)) {
            remove_foreign(p, name);
            rmdir(path); /* when it is empty */
        } else if (!is_ours(p, name)) {
            unlink(path);
        }
    }
    if (d != NULL) {
        closedir(d);
    }
}

/* ---- threads ---- */

typedef struct {
    const dtx_fetch_net *net;
    dtx_fetch_plan *p;
    checked got;
    size_t *order;              /* files, the largest first */
    atomic_bool *stop;
    atomic_llong bytes;
    pthread_mutex_t lock;       /* of all below */
    pthread_cond_t changed;
    size_t next;
    int running;
    dtx_status fatal;
    char why[2048];
} pool;

static bool stopping(const void *user)
{
    const pool *q = user;

    return *q->stop || dtx_job_should_stop(q->net->job);
}

static dtx_status fetch_one(pool *q, dtx_http_conn *c, size_t i)
{
    const char *const headers[] = {q->net->authorization, NULL};
    dtx_download d;
    dtx_download_result r = {.http_status = 0};
    char *url = NULL;
    dtx_status st;

    DTX_GO(dtx_fetch_plan_file(q->net, q->p, i, &url, &d));
    d.headers = q->p->source->repo[0] != '\0' ? headers : NULL;
    d.bytes = &q->bytes;
    d.should_stop = stopping;
    d.user = q;
    st = dtx_download_run(c, &d, &r);
    if (st == DTX_ERR_MISSING && r.http_status != 0) {
        char place[2048];
        dtx_http_place(url, place, sizeof place);
        st = dtx_fetch_refused(q->net, q->p->source, r.http_status, place);
    }
    memcpy(q->got.sha256[i], r.sha256, sizeof r.sha256);
    q->got.size[i] = r.size;
done:
    dtx_free(url);
    return st;
}

static void *work(void *user)
{
    pool *q = user;
    dtx_http_conn *c = NULL;
    dtx_status st = dtx_http_connect(q->net->http, &c);

    pthread_mutex_lock(&q->lock);
    while (st == DTX_OK && q->fatal == DTX_OK && q->next < q->p->files.n) {
        size_t i = q->order[q->next++];
        pthread_mutex_unlock(&q->lock);
        st = fetch_one(q, c, i);
        pthread_mutex_lock(&q->lock);
    }
    if (st != DTX_OK && q->fatal == DTX_OK) { /* the others are told to stop, so what they say is not the reason */
        q->fatal = st;
        snprintf(q->why, sizeof q->why, "%s", dtx_error_text());
        *q->stop = true;
    }
    q->running--;
    pthread_cond_signal(&q->changed);
    pthread_mutex_unlock(&q->lock);
    dtx_http_disconnect(c);
    return NULL;
}

static const dtx_hub_file *files_to_sort; /* for qsort, which knows no context; one thread plans */

static int larger_first(const void *a, const void *b)
{
    const dtx_hub_file *x = &files_to_sort[*(const size_t *)a], *y = &files_to_sort[*(const size_t *)b];

    return x->size != y->size ? (x->size < y->size ? 1 : -1) : strcmp(x->path, y->path);
}

static void wait_for_threads(pool *q)
{
    const double unit = q->p->total < 10000000 ? 1e3 : 1e6;
    dtx_progress progress;

    dtx_progress_begin(&progress, q->net->job, NULL, unit < 1e6 ? "kB" : "MB", (double)q->p->total / unit, (double)q->p->there / unit);
    pthread_mutex_lock(&q->lock);
    while (q->running > 0) {
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        t.tv_sec++;
        pthread_cond_timedwait(&q->changed, &q->lock, &t);
        pthread_mutex_unlock(&q->lock);
        dtx_progress_tick(&progress, (double)q->bytes / unit, 0, NULL, NULL, false);
        pthread_mutex_lock(&q->lock);
    }
    pthread_mutex_unlock(&q->lock);
    dtx_progress_tick(&progress, (double)q->bytes / unit, 0, NULL, NULL, q->fatal == DTX_OK);
    dtx_progress_end(&progress);
}

static dtx_status run_threads(pool *q)
{
    const size_t n = q->p->files.n;
    pthread_t thread[64];
    int started = 0, wanted = (int)q->net->job->config.fetch.parallel;

    for (size_t i = 0; i < n; i++) {
        q->order[i] = i;
    }
    files_to_sort = q->p->files.file;
    qsort(q->order, n, sizeof *q->order, larger_first);
    wanted = (size_t)wanted < n ? wanted : (int)n;
    q->running = wanted;
    for (; started < wanted && pthread_create(&thread[started], NULL, work, q) == 0; started++) {
    }
    pthread_mutex_lock(&q->lock);
    q->running -= wanted - started;
    pthread_mutex_unlock(&q->lock);
    if (started == 0) {
        return DTX_FAIL(DTX_ERR_MISSING, "no thread can be started");
    }
    wait_for_threads(q);
    for (int i = 0; i < started; i++) {
        pthread_join(thread[i], NULL);
    }
    if (q->fatal == DTX_STOPPED) {
        return DTX_FAIL(DTX_STOPPED, "%.1f of %.1f MB of %s are there; the same command continues", (double)q->bytes / 1e6,
                        (double)q->p->total / 1e6, q->p->source->name);
    }
    return q->fatal == DTX_OK ? DTX_OK : DTX_FAIL(q->fatal, "%s", q->why);
}

/* ---- the folder as a whole ---- */

static dtx_status give_name(const dtx_fetch_plan *p)
{
    char lock[PATH];

    DTX_TRY(dtx_file_join(lock, sizeof lock, p->part, "lock"));
    unlink(lock);
    if (rename(p->part, p->dir) != 0) {
        return DTX_FAIL(DTX_ERR_MISSING, "%s is complete, but cannot be renamed to %s: %s", p->part, p->dir, strerror(errno));
    }
    return DTX_OK;
}

dtx_status dtx_fetch_folder(const dtx_fetch_net *net, dtx_fetch_plan *p, atomic_bool *stop)
{
    pool q = {.net = net, .p = p, .stop = stop, .bytes = p->there};
    int lock = -1;
    dtx_status st;

    pthread_mutex_init(&q.lock, NULL);
    pthread_cond_init(&q.changed, NULL);
    DTX_GO(DTX_NEW(q.got.sha256, p->files.n));
    DTX_GO(DTX_NEW(q.got.size, p->files.n));
    DTX_GO(DTX_NEW(q.order, p->files.n));
    DTX_GO(lock_part(p, &lock));
    remove_foreign(p, "");
    DTX_GO(run_threads(&q));
    DTX_GO(write_record(net, p, &q.got));
    DTX_GO(give_name(p));
done:
    if (lock >= 0) {
        close(lock);
    }
    dtx_free(q.got.sha256);
    dtx_free(q.got.size);
    dtx_free(q.order);
    pthread_mutex_destroy(&q.lock);
    pthread_cond_destroy(&q.changed);
    return st;
}
