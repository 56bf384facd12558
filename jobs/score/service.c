/* Scores of a service. Threads of rank 0 ask for texts, each text once; rows whose texts have answers are written in rounds
 * that all ranks share. The other ranks sleep meanwhile. */
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "jobs/score/score.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/judge/score_cache.h"
#include "src/text/map.h"

enum {
    MAX_GIVE_UPS = 3, /* texts in a row without an answer: the service is not there */
    MAX_HELD = 5      /* texts refused before the first score: it is not about the texts */
};

typedef enum { WAITING, IN_FLIGHT, GAVE_UP, HELD, ANSWERED } ask_state;

/* One text to ask for. */
typedef struct {
    const char *text;
    size_t len;
    char name[65];
    ask_state state;
    dtx_service_answer answer;
} ask;

typedef struct {
    dtx_scoring *g;
    dtx_service service;
    dtx_score_cache *cache;
    ask *asks;
    int64_t n_asks;
    int64_t *ask_of;          /* (2 n_order): of a row's completion and prompt; -1 = nothing to ask */
    bool *taken;              /* (n_order): the row is in a write */
    int64_t n_cached;
    atomic_bool stop;
    pthread_mutex_t lock;     /* of all below, the states and the cache */
    pthread_cond_t changed;
    int64_t next, in_flight, held, in_a_row, scored, refused;
    bool second;              /* texts without an answer are asked for once more at the end */
    int running;
    dtx_status fatal;
    char why[2048];
    pthread_t thread[64];
    int n_threads;
} pool;

/* ---- what has to be asked ---- */

static dtx_status plan_text(pool *p, dtx_map *seen, size_t *cap, int64_t row, int side, int64_t *place)
{
    const char *text = dtx_scoring_text(p->g, row, side);
    size_t len = dtx_scoring_len(p->g, row, side);
    int32_t value = (int32_t)p->n_asks;
    int added;
    char name[65];

    *place = -1;
    if (dtx_service_precheck(text, len) != DTX_SCORE_NOT_DONE) {
        return DTX_OK;
    }
    DTX_TRY(dtx_score_cache_name(p->cache, text, len, name));
    DTX_TRY(dtx_map_add(seen, name, strlen(name), &value, &added));
    if (added) {
        DTX_TRY(DTX_GROW(p->asks, *cap, p->n_asks + 1));
        ask *a = &p->asks[p->n_asks++];
        *a = (ask){.text = text, .len = len, .state = WAITING};
        memcpy(a->name, name, sizeof name);
        if (dtx_score_cache_find(p->cache, name, &a->answer)) {
            a->state = ANSWERED;
            p->n_cached++;
        }
    }
    *place = value;
    return DTX_OK;
}

static dtx_status plan(pool *p)
{
    const dtx_scoring *g = p->g;
    dtx_map seen = {.n = 0};
    size_t cap = 0;
    dtx_status st;

    DTX_GO(DTX_NEW(p->ask_of, 2 * g->n_order));
    DTX_GO(DTX_NEW(p->taken, g->n_order));
    for (int64_t i = 0; i < 2 * g->n_order; i++) {
        DTX_GO(plan_text(p, &seen, &cap, g->order[i / 2], (int)(i % 2), &p->ask_of[i]));
    }
    dtx_log(DTX_LOG_INFO, "score", "%" PRId64 " rows, %" PRId64 " different texts, %" PRId64 " of them answered before; %s at %g a second",
            g->n_order, p->n_asks, p->n_cached, p->service.place, g->job->config.score.qps);
done:
    dtx_map_free(&seen);
    return st;
}

/* ---- threads; the lock is held where a name ends in _locked ---- */

static void fail_locked(pool *p, dtx_status st, const char *why)
{
    if (p->fatal == DTX_OK) {
        p->fatal = st;
        snprintf(p->why, sizeof p->why, "%s", why);
    }
    p->stop = true;
}

static void settle_locked(pool *p, ask *a)
{
    a->state = ANSWERED;
    if (a->answer.status != DTX_SCORE_FAILED && p->fatal == DTX_OK) { /* a cache that failed once takes no more */
        dtx_status st = dtx_score_cache_add(p->cache, a->name, &a->answer);
        if (st != DTX_OK) {
            fail_locked(p, st, dtx_error_text());
        }
    }
}

static void release_held_locked(pool *p)
{
    for (int64_t i = 0; p->held > 0 && i < p->n_asks; i++) {
        if (p->asks[i].state == HELD) {
            settle_locked(p, &p->asks[i]);
            p->held--;
        }
    }
}

static ask *pick_locked(pool *p)
{
    for (;;) {
        for (; p->next < p->n_asks; p->next++) {
            if (p->asks[p->next].state == WAITING) {
                p->asks[p->next].state = IN_FLIGHT;
                p->in_flight++;
                return &p->asks[p->next++];
            }
        }
        if (p->second || p->in_flight > 0) {
            return NULL;
        }
        p->second = true;
        p->next = 0;
        for (int64_t i = 0; i < p->n_asks; i++) {
            p->asks[i].state = p->asks[i].state == GAVE_UP ? WAITING : p->asks[i].state;
        }
    }
}

static void answered_locked(pool *p, ask *a)
{
    p->in_a_row = 0;
    if (a->answer.status == DTX_SCORE_REFUSED) {
        if (p->refused++ == 0) {
            dtx_log(DTX_LOG_WARN, "score", "the service refuses a text: %s (others are only counted)", a->answer.why);
        }
        if (p->scored == 0) { /* perhaps it refuses all: nothing is recorded until that is clear */
            a->state = HELD;
            if (++p->held >= MAX_HELD) {
                char why[1024];
                snprintf(why, sizeof why, "%s refuses every text: %s; nothing of this is recorded", p->service.place, a->answer.why);
                fail_locked(p, DTX_ERR_MISSING, why);
            }
            return;
        }
    }
    settle_locked(p, a);
    if (a->answer.status == DTX_SCORE_SCORED && p->scored++ == 0) {
        release_held_locked(p);
    }
}

static void gave_up_locked(pool *p, ask *a, const char *why)
{
    a->state = GAVE_UP;
    if (a->answer.general || ++p->in_a_row >= MAX_GIVE_UPS) {
        fail_locked(p, DTX_ERR_MISSING, why);
    } else if (p->second && p->scored > 0) {
        dtx_log(DTX_LOG_WARN, "score", "a text gets no answer, others do; it is marked failed: %s", why);
        a->answer.status = DTX_SCORE_FAILED;
        settle_locked(p, a);
    } else if (p->second) {
        fail_locked(p, DTX_ERR_MISSING, why);
    }
}

static void *work(void *user)
{
    pool *p = user;
    dtx_http_conn *c = NULL;
    dtx_status st = dtx_http_connect(p->service.http, &c);

    pthread_mutex_lock(&p->lock);
    if (st != DTX_OK) {
        fail_locked(p, st, dtx_error_text());
    }
    for (ask *a; !p->stop && (a = pick_locked(p)) != NULL;) {
        pthread_mutex_unlock(&p->lock);
        st = dtx_service_ask(&p->service, c, a->text, a->len, &a->answer);
        pthread_mutex_lock(&p->lock);
        p->in_flight--;
        if (st == DTX_OK) {
            answered_locked(p, a);
        } else if (st == DTX_STOPPED) {
            a->state = WAITING;
        } else if (st == DTX_ERR_MISSING) {
            gave_up_locked(p, a, dtx_error_text());
        } else {
            fail_locked(p, st, dtx_error_text());
        }
        pthread_cond_signal(&p->changed);
    }
    p->running--;
    pthread_cond_signal(&p->changed);
    pthread_mutex_unlock(&p->lock);
    dtx_http_disconnect(c);
    return NULL;
}

static bool stopping(const void *user)
{
    const pool *p = user;

    return p->stop || dtx_job_should_stop(p->g->job);
}

static dtx_status open_service(pool *p)
{
    _Static_assert((int)DTX_LIST_MAX <= (int)DTX_SERVICE_ATTRIBUTES, "every name of score.attributes");
    const dtx_config *c = &p->g->job->config;
    dtx_service_options o = {.http = {.qps = c->score.qps, .timeout = c->http.timeout, .tries = (int)c->http.tries, .backoff = c->http.backoff,
                                      .ca_file = c->http.ca_file, .secret = c->score.key, .should_stop = stopping, .user = p},
                             .endpoint = c->score.endpoint, .language = c->score.language, .n_attributes = p->g->n_sets};

    for (int64_t k = 0; k < o.n_attributes; k++) {
        o.attribute[k] = p->g->sets[k].measure;
    }
    return dtx_service_open(&o, &p->service);
}

/* Rank 0. */
static dtx_status start(pool *p)
{
    const dtx_config *c = &p->g->job->config;
    char path[1100];

    DTX_TRY(open_service(p));
    snprintf(path, sizeof path, "%s/score-cache.jsonl", p->g->run->dir);
    DTX_TRY(dtx_score_cache_open(c->score.cache[0] != '\0' ? c->score.cache : path, &p->service, &p->cache));
    DTX_TRY(plan(p));
    p->scored = dtx_score_cache_has_scores(p->cache);
    int wanted = c->score.connections > 0 ? (int)c->score.connections : (int)fmin(16, ceil(c->score.qps));
    wanted = wanted < p->n_asks - p->n_cached ? wanted : (int)(p->n_asks - p->n_cached);
    for (p->n_threads = 0; p->n_threads < wanted; p->n_threads++) {
        pthread_mutex_lock(&p->lock);
        p->running++;
        pthread_mutex_unlock(&p->lock);
        if (pthread_create(&p->thread[p->n_threads], NULL, work, p) != 0) {
            pthread_mutex_lock(&p->lock);
            p->running--;
            pthread_mutex_unlock(&p->lock);
            break;
        }
    }
    return wanted > 0 && p->n_threads == 0 ? DTX_FAIL(DTX_ERR_MISSING, "no thread can be started") : DTX_OK;
}

static void join(pool *p)
{
    p->stop = true;
    for (int i = 0; i < p->n_threads; i++) {
        pthread_join(p->thread[i], NULL);
    }
    p->n_threads = 0;
}

/* ---- rows ---- */

static bool ready_locked(const pool *p, int64_t i)
{
    for (int side = 0; side < 2; side++) {
        int64_t k = p->ask_of[2 * i + side];
        if (k >= 0 && p->asks[k].state != ANSWERED) {
            return false;
        }
    }
    return true;
}

static int64_t count_ready_locked(const pool *p)
{
    int64_t n = 0;

    for (int64_t i = 0; i < p->g->n_order; i++) {
        n += ready_locked(p, i);
    }
    return n;
}

/* Puts rows that are ready and not yet written into the next write. */
static dtx_status collect_locked(pool *p)
{
    dtx_scoring *g = p->g;
    dtx_service_answer none = {.general = false};

    for (int k = 0; k < DTX_SERVICE_ATTRIBUTES; k++) {
        none.score[k] = NAN;
    }
    for (int64_t i = 0; i < g->n_order; i++) {
        if (p->taken[i] || !ready_locked(p, i)) {
            continue;
        }
        int64_t row = g->order[i], c = p->ask_of[2 * i], q = p->ask_of[2 * i + 1];
        dtx_score_status status = c >= 0 ? p->asks[c].answer.status : dtx_service_precheck(dtx_scoring_text(g, row, 0), dtx_scoring_len(g, row, 0));
        DTX_TRY(dtx_scoring_add(g, row, c >= 0 ? p->asks[c].answer.score : none.score, q >= 0 ? p->asks[q].answer.score : none.score,
                                (uint8_t)status));
        p->taken[i] = true;
    }
    return DTX_OK;
}

/* ---- rounds ---- */

/* Rank 0: until a round is over. True when all is done or nothing more will be. */
static bool wait_round(pool *p, dtx_progress *progress, double done_before)
{
    const double end = dtx_now() + p->g->job->config.round_seconds;
    bool over = false;

    while (!over && dtx_now() < end && !dtx_job_should_stop(p->g->job)) {
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        t.tv_nsec += 200000000;
        t.tv_sec += t.tv_nsec / 1000000000;
        t.tv_nsec %= 1000000000;
        pthread_mutex_lock(&p->lock);
        if (p->running > 0) {
            pthread_cond_timedwait(&p->changed, &p->lock, &t);
        }
        over = p->running == 0;
        double ready = (double)count_ready_locked(p);
        pthread_mutex_unlock(&p->lock);
        dtx_progress_tick(progress, done_before + ready, 0, NULL, NULL, false);
    }
    return over;
}

/* Collective. */
static dtx_status rounds(pool *p, dtx_status st, dtx_progress *progress, bool *stopped)
{
    dtx_scoring *g = p->g;
    const dtx_par *par = &g->job->par;
    const double before = (double)dtx_stage_count(g->status, g->n_rows), begun = dtx_now();
    double files = 0;

    for (bool last = false; !last;) {
        last = st != DTX_OK || (par->rank == 0 && wait_round(p, progress, before));
        dtx_par_wait(par, &last, sizeof last);
        *stopped = dtx_par_any(par, dtx_job_should_stop(g->job));
        last = last || *stopped;
        if (par->rank == 0) {
            if (last) {
                join(p);
                pthread_mutex_lock(&p->lock);
                if (!*stopped && p->fatal == DTX_OK) {
                    release_held_locked(p);
                }
                pthread_mutex_unlock(&p->lock);
            }
            pthread_mutex_lock(&p->lock);
            dtx_status collected = st == DTX_OK ? collect_locked(p) : st;
            pthread_mutex_unlock(&p->lock);
            st = collected;
        }
        DTX_TRY(dtx_par_agree(par, st));
        double t = dtx_now();
        DTX_TRY(dtx_scoring_write(g));
        files += dtx_now() - t;
        if (par->rank == 0) {
            dtx_progress_tick(progress, before + g->done, 0, NULL, NULL, last);
        }
    }
    return dtx_job_summary(g->job, 0, dtx_now() - begun - files, files);
}

dtx_status dtx_score_service(dtx_scoring *g, bool *stopped)
{
    const dtx_par *par = &g->job->par;
    dtx_progress progress;
    pool *p;
    dtx_status st;

    DTX_TRY(dtx_par_agree(par, DTX_NEW(p, 1)));
    p->g = g;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    dtx_progress_begin(&progress, g->job, g->log_dir, "rows", (double)g->n_rows, (double)dtx_stage_count(g->status, g->n_rows));
    st = rounds(p, par->rank == 0 ? start(p) : DTX_OK, &progress, stopped);
    dtx_progress_end(&progress);
    if (par->rank == 0) {
        char text[2048]; /* of the failure, which joining and closing must not lose */
        snprintf(text, sizeof text, "%s", dtx_error_text());
        join(p);
        if (p->service.http != NULL) {
            dtx_http_counts n = dtx_http_count(p->service.http);
            dtx_log(DTX_LOG_INFO, "score", "%" PRId64 " requests, %" PRId64 " of them repeated, over %" PRId64 " connections; %.1f s of back-off",
                    n.requests, n.retries, n.connections, n.paused);
        }
        dtx_error_set(text);
        if (st == DTX_OK && p->fatal != DTX_OK && !*stopped) {
            st = DTX_FAIL(p->fatal, "%s; what was answered is kept, the same command continues", p->why);
        }
        dtx_score_cache_close(p->cache);
        dtx_service_close(&p->service);
    }
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->changed);
    dtx_free(p->asks);
    dtx_free(p->ask_of);
    dtx_free(p->taken);
    dtx_free(p);
    return dtx_par_agree(par, st);
}
