#include "src/net/http.h"

#include <curl/curl.h>
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "src/base/log.h"
#include "src/base/mem.h"

enum { PLACE_SIZE = 512, WHY_SIZE = 1024, MAX_REDIRECTS = 10 };
static const long SINK_PIECE = 256 << 10;
static const double longest_backoff = 60, longest_wait = 3600, loud_wait = 10;

struct dtx_http {
    dtx_http_options o;
    char *ca_file, *secret, *escaped_secret;
    pthread_mutex_t lock;  /* of all below */
    double next;           /* the bucket has a token again */
    double not_before;     /* a server asked for a pause until then */
    dtx_http_counts counts;
    uint64_t jitter;
};

struct dtx_http_conn {
    dtx_http *http;
    CURL *curl;
};

/* One attempt. */
typedef struct {
    dtx_http_conn *c;
    const dtx_http_request *r;
    dtx_http_reply *reply;
    size_t cap;
    double retry_after;    /* seconds, < 0 = not told */
    int64_t range_first, range_total; /* of Content-Range, -1 = none */
    char etag[DTX_HTTP_VALIDATOR], modified[DTX_HTTP_VALIDATOR];
    bool begun;            /* the sink got its first byte of this attempt */
    dtx_status sink_status;
    char fault[WHY_SIZE];  /* "" = none yet */
    char curl_text[CURL_ERROR_SIZE];
} attempt;

/* ---- time ---- */

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool stopping(const dtx_http *h)
{
    return h->o.should_stop != NULL && h->o.should_stop(h->o.user);
}

static dtx_status sleep_until(const dtx_http *h, double when)
{
    for (double left = when - now(); left > 0; left = when - now()) {
        if (stopping(h)) {
            return DTX_FAIL(DTX_STOPPED, "stopped while waiting for a server");
        }
        double piece = left < 0.05 ? left : 0.05;
        nanosleep(&(struct timespec){.tv_nsec = (long)(piece * 1e9)}, NULL);
    }
    return DTX_OK;
}

/* The token bucket. Whoever waits when a pause is announced takes a later token, so that no crowd follows the pause. */
static dtx_status take_token(dtx_http *h)
{
    for (;;) {
        pthread_mutex_lock(&h->lock);
        double t = now(), at = t > h->next ? t : h->next;
        at = at > h->not_before ? at : h->not_before;
        h->next = h->o.qps > 0 ? at + 1 / h->o.qps : h->next;
        pthread_mutex_unlock(&h->lock);
        DTX_TRY(sleep_until(h, at));
        pthread_mutex_lock(&h->lock);
        bool go = h->not_before <= at;
        pthread_mutex_unlock(&h->lock);
        if (go) {
            return stopping(h) ? DTX_FAIL(DTX_STOPPED, "stopped before a request") : DTX_OK;
        }
    }
}

/* Between half and the whole of the back-off of the n-th failure (1, 2 ...). */
static double backoff(dtx_http *h, int n)
{
    double whole = h->o.backoff * pow(2, n - 1);

    pthread_mutex_lock(&h->lock);
    h->jitter = h->jitter * 6364136223846793005u + 1442695040888963407u;
    double u = (double)(h->jitter >> 11) * 0x1p-53;
    pthread_mutex_unlock(&h->lock);
    whole = whole < longest_backoff ? whole : longest_backoff;
    return whole * (0.5 + 0.5 * u);
}

/* ---- texts ---- */

static void cover(char *text, const char *word)
{
    size_t n = strlen(word);

    for (char *p = text; n > 0 && (p = strstr(p, word)) != NULL; p += n) {
        memset(p, '*', n);
    }
}

void dtx_http_redact(const dtx_http *h, char *text)
{
    cover(text, h->secret);
    cover(text, h->escaped_secret);
}

/* ---- clients and connections ---- */

static CURLcode global_code;
static void global_init(void)
{
    global_code = curl_global_init(CURL_GLOBAL_DEFAULT);
}

static const char *first_set(const char *a, const char *b, const char *c)
{
    const char *all[] = {a, b, c};

    for (int i = 0; i < 3; i++) {
        if (all[i] != NULL && all[i][0] != '\0') {
            return all[i];
        }
    }
    return "";
}

dtx_status dtx_http_open(const dtx_http_options *options, dtx_http **out)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const char *ca_file = first_set(options->ca_file, getenv("CURL_CA_BUNDLE"), getenv("SSL_CERT_FILE"));
    dtx_http *h = NULL;
    struct timespec t;
    dtx_status st;

    pthread_once(&once, global_init);
    if (global_code != CURLE_OK) {
        return DTX_FAIL(DTX_ERR_MISSING, "libcurl: %s", curl_easy_strerror(global_code));
    }
    if (ca_file[0] != '\0' && access(ca_file, R_OK) != 0) {
        return DTX_FAIL(DTX_ERR_MISSING, "%s: the file of trusted certificates cannot be read: %s (http.ca_file, CURL_CA_BUNDLE or "
                        "SSL_CERT_FILE names it)", ca_file, strerror(errno));
    }
    DTX_TRY(DTX_NEW(h, 1));
    h->o = *options;
    h->o.max_wait = options->max_wait > 0 ? options->max_wait : longest_wait;
    h->ca_file = dtx_strdup(ca_file);
    h->secret = dtx_strdup(options->secret != NULL ? options->secret : "");
    DTX_GO(dtx_mem_check(h->ca_file, 1, 1, "a client"));
    DTX_GO(dtx_mem_check(h->secret, 1, 1, "a client"));
    DTX_GO(dtx_http_escape(h->secret, &h->escaped_secret));
    clock_gettime(CLOCK_REALTIME, &t);
    h->jitter = (uint64_t)t.tv_nsec * 2654435761u + (uint64_t)getpid();
    pthread_mutex_init(&h->lock, NULL);
    *out = h;
    return DTX_OK;
done:
    dtx_free(h->ca_file);
    dtx_free(h->secret);
    dtx_free(h);
    return st;
}

void dtx_http_close(dtx_http *h)
{
    if (h != NULL) {
        pthread_mutex_destroy(&h->lock);
        dtx_free(h->ca_file);
        dtx_free(h->secret);
        dtx_free(h->escaped_secret);
        dtx_free(h);
    }
}

dtx_status dtx_http_connect(dtx_http *h, dtx_http_conn **out)
{
    dtx_http_conn *c;

    DTX_TRY(DTX_NEW(c, 1));
    c->http = h;
    c->curl = curl_easy_init();
    if (c->curl == NULL) {
        dtx_free(c);
        return DTX_FAIL(DTX_ERR_MISSING, "libcurl: no memory for a connection");
    }
    *out = c;
    return DTX_OK;
}

void dtx_http_disconnect(dtx_http_conn *c)
{
    if (c != NULL) {
        curl_easy_cleanup(c->curl);
        dtx_free(c);
    }
}

dtx_http_counts dtx_http_count(dtx_http *h)
{
    pthread_mutex_lock(&h->lock);
    dtx_http_counts counts = h->counts;
    pthread_mutex_unlock(&h->lock);
    return counts;
}

void dtx_http_reply_free(dtx_http_reply *r)
{
    dtx_free(r->body);
    *r = (dtx_http_reply){0};
}

/* ---- what libcurl calls ---- */

static long code_of(const attempt *a)
{
    long code = 0;

    curl_easy_getinfo(a->c->curl, CURLINFO_RESPONSE_CODE, &code);
    return code;
}

/* The value of a header line when it has this name. */
static bool header(const char *line, size_t n, const char *name, char *value, size_t size)
{
    size_t len = strlen(name), at = len + 1;

    if (n <= len || strncasecmp(line, name, len) != 0 || line[len] != ':') {
        return false;
    }
    while (at < n && (line[at] == ' ' || line[at] == '\t')) {
        at++;
    }
    while (n > at && (line[n - 1] == '\r' || line[n - 1] == '\n' || line[n - 1] == ' ')) {
        n--;
    }
    snprintf(value, size, "%.*s", (int)(n - at), line + at);
    return true;
}

/* <URL>; rel="next", perhaps among others. */
static void next_page(dtx_http_reply *reply, const char *links)
{
    const char *rel = strstr(links, "rel=\"next\""), *from = rel;

    while (from != NULL && from > links && *from != '<') {
        from--;
    }
    const char *end = from != NULL ? strchr(from, '>') : NULL;
    if (end != NULL && *from == '<' && end < rel && (size_t)(end - from) <= sizeof reply->next_page) {
        snprintf(reply->next_page, sizeof reply->next_page, "%.*s", (int)(end - from - 1), from + 1);
    }
}

static size_t on_header(char *line, size_t one, size_t n, void *user)
{
    attempt *a = user;
    char value[4096], *end;
    (void)one;

    if (n >= 5 && memcmp(line, "HTTP/", 5) == 0) { /* of a redirection's target too */
        a->retry_after = -1;
        a->range_first = a->range_total = -1;
        a->etag[0] = a->modified[0] = '\0';
    } else if (header(line, n, "ETag", a->etag, sizeof a->etag)) {
        if (a->etag[0] != '"' || strlen(a->etag) == sizeof a->etag - 1) { /* a weak one says nothing of the bytes */
            a->etag[0] = '\0';
        }
    } else if (header(line, n, "Last-Modified", a->modified, sizeof a->modified)) {
        ;
    } else if (header(line, n, "Retry-After", value, sizeof value)) {
        double seconds = strtod(value, &end);
        time_t date = end == value ? curl_getdate(value, NULL) : -1;
        a->retry_after = end != value ? seconds : date >= 0 ? difftime(date, time(NULL)) : -1;
        a->retry_after = a->retry_after >= 0 ? a->retry_after : date >= 0 ? 0 : -1; /* a date gone by: at once; NaN: not told */
    } else if (header(line, n, "Content-Range", value, sizeof value)) {
        long long first, last, total;
        if (sscanf(value, "bytes %lld-%lld/%lld", &first, &last, &total) == 3) {
            a->range_first = first;
            a->range_total = total;
        }
    } else if (header(line, n, "Link", value, sizeof value)) {
        next_page(a->reply, value);
    }
    return n;
}

/* Sizes and places that the server tells fit what is wanted; then the sink is ready for the first byte. */
static bool sink_begin(attempt *a)
{
    dtx_http_sink *s = a->r->sink;
    curl_off_t length = -1;

    a->begun = true;
    curl_easy_getinfo(a->c->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    bool part = code_of(a) == 206;
    int64_t total = part ? a->range_total : length;
    if (part && a->range_first != s->have) {
        snprintf(a->fault, sizeof a->fault, "byte %lld was asked for, the reply begins with byte %lld", (long long)s->have,
                 (long long)a->range_first);
        return false;
    }
    if (s->expect >= 0 && total >= 0 && total != s->expect) {
        snprintf(a->fault, sizeof a->fault, "expected %lld bytes, the server has %lld", (long long)s->expect, (long long)total);
        return false;
    }
    const char *validator = a->etag[0] != '\0' ? a->etag : a->modified;
    bool changed = part && s->validator != NULL && strcmp(s->validator, validator) != 0; /* this server knows no If-Range */
    if ((!part || changed) && s->have > 0) {
        s->have = 0;
        a->sink_status = s->restart(s->user);
    }
    if (changed) {
        snprintf(a->fault, sizeof a->fault, "the file has changed on the server");
        return false;
    }
    if (s->validator != NULL) {
        memcpy(s->validator, validator, DTX_HTTP_VALIDATOR);
    }
    return a->sink_status == DTX_OK;
}

static size_t on_data(char *data, size_t one, size_t n, void *user)
{
    attempt *a = user;
    dtx_http_sink *s = a->r->sink;
    long code = code_of(a);
    (void)one;

    if (s != NULL && (code == 200 || code == 206)) {
        if (!a->begun && !sink_begin(a)) {
            return 0; /* another number than n ends the transfer */
        }
        if (s->expect >= 0 && s->have + (int64_t)n > s->expect) {
            snprintf(a->fault, sizeof a->fault, "expected %lld bytes, the server sends more", (long long)s->expect);
            return 0;
        }
        a->sink_status = s->write(s->user, data, n);
        s->have += a->sink_status == DTX_OK ? (int64_t)n : 0;
        return a->sink_status == DTX_OK ? n : 0;
    }
    dtx_http_reply *p = a->reply;
    if (n > a->c->http->o.max_body - p->size) {
        snprintf(a->fault, sizeof a->fault, "the reply has more than %zu bytes", a->c->http->o.max_body);
        return 0;
    }
    if (DTX_GROW(p->body, a->cap, p->size + n + 1) != DTX_OK) {
        a->sink_status = DTX_ERR_MISSING;
        return 0;
    }
    memcpy(p->body + p->size, data, n);
    p->size += n;
    return n;
}

static int on_progress(void *user, curl_off_t dl_total, curl_off_t dl, curl_off_t ul_total, curl_off_t ul)
{
    const attempt *a = user;
    (void)dl_total, (void)dl, (void)ul_total, (void)ul;

    return a->r->sink != NULL && stopping(a->c->http); /* a short reply is waited for: it may have been paid for */
}

/* ---- one attempt ---- */

static void set_up(attempt *a, struct curl_slist *headers, bool secure)
{
    const dtx_http *h = a->c->http;
    const dtx_http_request *r = a->r;
    CURL *c = a->c->curl;
    char range[40];

    curl_easy_reset(c); /* open connections stay */
    curl_easy_setopt(c, CURLOPT_URL, r->url);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, a->curl_text);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "detoxlens");
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, a);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, a);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, a);
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, r->follow ? 1L : 0L);
    curl_easy_setopt(c, CURLOPT_MAXREDIRS, (long)MAX_REDIRECTS);
#if LIBCURL_VERSION_NUM >= 0x075500
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR, secure ? "https" : "http,https");
#else
    curl_easy_setopt(c, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
    curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS, (long)(secure ? CURLPROTO_HTTPS : CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
    if (h->ca_file[0] != '\0') {
        curl_easy_setopt(c, CURLOPT_CAINFO, h->ca_file);
    }
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)(h->o.timeout * 1000));
    if (r->head) {
        curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
    }
    if (r->sink == NULL) {
        curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)(h->o.timeout * 1000));
    } else {
        curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
        curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)ceil(h->o.timeout));
        curl_easy_setopt(c, CURLOPT_BUFFERSIZE, SINK_PIECE);
    }
    if (r->body != NULL) {
        curl_easy_setopt(c, CURLOPT_POST, 1L);
        curl_easy_setopt(c, CURLOPT_POSTFIELDS, r->body);
        curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body_size);
    }
    if (r->sink != NULL && r->sink->have > 0) {
        snprintf(range, sizeof range, "%lld-", (long long)r->sink->have);
        curl_easy_setopt(c, CURLOPT_RANGE, range);
    }
}

typedef enum { DONE, AGAIN, HOPELESS } outcome;

static bool hopeless(CURLcode code)
{
    static const CURLcode codes[] = {CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CACERT_BADFILE, CURLE_SSL_CERTPROBLEM, CURLE_URL_MALFORMAT,
                                     CURLE_UNSUPPORTED_PROTOCOL, CURLE_TOO_MANY_REDIRECTS, CURLE_OUT_OF_MEMORY};

    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        if (code == codes[i]) {
            return true;
        }
    }
    return false;
}

/* The whole of a sink's bytes came, or what is there is of no use. */
static outcome judge_sink(attempt *a)
{
    dtx_http_sink *s = a->r->sink;

    if (a->reply->status == 416) { /* more is there than the server has */
        snprintf(a->fault, sizeof a->fault, "HTTP status 416 from byte %lld on", (long long)s->have);
        s->have = 0;
        a->sink_status = s->restart(s->user);
        return AGAIN;
    }
    if ((a->reply->status == 200 || a->reply->status == 206) && s->expect >= 0 && s->have != s->expect) {
        snprintf(a->fault, sizeof a->fault, "expected %lld bytes, got %lld", (long long)s->expect, (long long)s->have);
        return AGAIN;
    }
    return DONE;
}

static outcome judge(attempt *a, CURLcode code)
{
    long status = code_of(a);

    a->reply->status = (int)status;
    if (a->fault[0] != '\0') {
        return AGAIN;
    }
    if (code != CURLE_OK) {
        snprintf(a->fault, sizeof a->fault, "%s", a->curl_text[0] != '\0' ? a->curl_text : curl_easy_strerror(code));
        return hopeless(code) ? HOPELESS : AGAIN;
    }
    if (status == 408 || status == 429 || (status >= 500 && status != 501) || status < 200) {
        snprintf(a->fault, sizeof a->fault, "HTTP status %ld%s", status, status == 429 ? " (too many requests)" : "");
        return AGAIN;
    }
    if (a->r->sink != NULL) {
        return judge_sink(a);
    }
    if (status < 300 && a->r->check != NULL && a->r->check(a->reply, a->r->user) != DTX_OK) {
        snprintf(a->fault, sizeof a->fault, "%s", dtx_error_text());
        dtx_error_clear();
        return AGAIN;
    }
    return DONE;
}

static dtx_status make_headers(const dtx_http_request *r, struct curl_slist **out)
{
    struct curl_slist *list = curl_slist_append(NULL, "Expect:"); /* no pause before a body */

    for (const char *const *p = r->headers; list != NULL && p != NULL && *p != NULL; p++) {
        struct curl_slist *longer = curl_slist_append(list, *p);
        if (longer == NULL) {
            curl_slist_free_all(list);
        }
        list = longer;
    }
    const dtx_http_sink *s = r->sink;
    if (list != NULL && s != NULL && s->have > 0 && s->validator != NULL) {
        char line[DTX_HTTP_VALIDATOR + 16];
        snprintf(line, sizeof line, "If-Range: %s", s->validator);
        struct curl_slist *longer = curl_slist_append(list, line);
        if (longer == NULL) {
            curl_slist_free_all(list);
        }
        list = longer;
    }
    *out = list;
    return dtx_mem_check(list, 1, 1, "a request's headers");
}

static dtx_status perform(attempt *a, bool secure, outcome *what)
{
    dtx_http *h = a->c->http;
    struct curl_slist *headers;
    long connects = 0;

    DTX_TRY(make_headers(a->r, &headers));
    a->retry_after = a->range_first = a->range_total = -1;
    a->reply->size = 0;
    a->reply->next_page[0] = '\0';
    a->reply->length = -1;
    set_up(a, headers, secure);
    CURLcode code = curl_easy_perform(a->c->curl);
    curl_easy_setopt(a->c->curl, CURLOPT_HTTPHEADER, NULL);
    curl_slist_free_all(headers);
    curl_easy_getinfo(a->c->curl, CURLINFO_NUM_CONNECTS, &connects);
    if (a->r->head) {
        curl_off_t length = -1;
        curl_easy_getinfo(a->c->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
        a->reply->length = length;
    }
    pthread_mutex_lock(&h->lock);
    h->counts.requests++;
    h->counts.connections += connects;
    pthread_mutex_unlock(&h->lock);
    if (code == CURLE_ABORTED_BY_CALLBACK) {
        return DTX_FAIL(DTX_STOPPED, "stopped during a request");
    }
    if (DTX_GROW(a->reply->body, a->cap, a->reply->size + 1) != DTX_OK) {
        return DTX_ERR_MISSING;
    }
    a->reply->body[a->reply->size] = '\0';
    *what = judge(a, code);
    dtx_http_redact(h, a->fault);
    return a->sink_status;
}

/* ---- patience ---- */

/* Waits after the n-th attempt in a row that failed. */
static dtx_status pause_after(attempt *a, int n, const char *place)
{
    dtx_http *h = a->c->http;
    double wait = backoff(h, n), from = now();

    if (a->retry_after > h->o.max_wait) {
        return DTX_FAIL(DTX_ERR_MISSING, "%s: %s, and asks to come back in %.0f s: give the same command again then", place, a->fault,
                        a->retry_after);
    }
    wait = wait > a->retry_after ? wait : a->retry_after;
    pthread_mutex_lock(&h->lock);
    h->counts.retries++;
    if (a->reply->status == 429 || a->retry_after > 0) { /* it concerns all threads */
        h->not_before = from + wait > h->not_before ? from + wait : h->not_before;
    }
    pthread_mutex_unlock(&h->lock);
    dtx_log(wait >= loud_wait ? DTX_LOG_WARN : DTX_LOG_DEBUG, "http", "%s: %s; attempt %d of %d in %.1f s", place, a->fault, n + 1,
            h->o.tries, wait);
    dtx_status st = sleep_until(h, from + wait);
    pthread_mutex_lock(&h->lock);
    h->counts.paused += now() - from;
    pthread_mutex_unlock(&h->lock);
    return st;
}

dtx_status dtx_http_send(dtx_http_conn *c, const dtx_http_request *r, dtx_http_reply *reply)
{
    char place[PLACE_SIZE];
    outcome what = DONE;
    dtx_status st;

    *reply = (dtx_http_reply){0};
    dtx_http_place(r->url, place, sizeof place);
    if (place[0] == '\0') {
        return DTX_FAIL(DTX_ERR_USAGE, "not a URL that begins with http:// or https:// and names a host");
    }
    bool secure = strncmp(place, "https:", 6) == 0;
    size_t cap = 0;
    for (int n = 1;; n++) {
        if (r->sink != NULL && r->sink->have > 0 && r->sink->validator != NULL && r->sink->validator[0] == '\0') {
            r->sink->have = 0; /* nothing says that the rest would belong to it */
            DTX_GO(r->sink->restart(r->sink->user));
        }
        const int64_t had = r->sink != NULL ? r->sink->have : 0;
        attempt a = {.c = c, .r = r, .reply = reply, .cap = cap};
        DTX_GO(take_token(c->http));
        st = perform(&a, secure, &what);
        cap = a.cap;
        DTX_GO(st);
        if (what == DONE) {
            return DTX_OK;
        }
        n = r->sink != NULL && r->sink->have > had ? 1 : n; /* it goes forward */
        if (what == HOPELESS || n >= c->http->o.tries) {
            st = n > 1 ? DTX_FAIL(DTX_ERR_MISSING, "%s: %s (%d attempts)", place, a.fault, n)
                       : DTX_FAIL(DTX_ERR_MISSING, "%s: %s", place, a.fault);
            goto done;
        }
        DTX_GO(pause_after(&a, n, place));
    }
done:
    dtx_http_reply_free(reply);
    return st;
}
