/* http_tool - one request through src/http, for test_http.py.
 *     http_tool [KEY=VALUE...] get|post|file URL [BODY | FILE]
 * Keys: qps timeout tries backoff max_wait max_body ca secret expect times threads header follow. Prints one line of JSON; the
 * exit code is the status. `file` appends to FILE what a sink gets. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/net/http.h"

static dtx_http *http;
static dtx_http_request request = {.follow = false};
static int times = 1;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    dtx_status st;
    int status;
    size_t size;
    char text[4096], body[256];
} last;

static dtx_status restart(void *user)
{
    return ftruncate(fileno(user), 0) == 0 ? DTX_OK : DTX_ERR_MISSING;
}

static dtx_status put(void *user, const void *data, size_t size)
{
    return fwrite(data, 1, size, user) == size && fflush(user) == 0 ? DTX_OK : DTX_ERR_MISSING;
}

static dtx_status looks_good(const dtx_http_reply *r, void *user)
{
    (void)user;
    return strstr(r->body, "good") != NULL ? DTX_OK : DTX_FAIL(DTX_ERR_INPUT, "the reply is not good");
}

static void *work(void *user)
{
    dtx_http_conn *c;
    (void)user;

    if (dtx_http_connect(http, &c) != DTX_OK) {
        abort();
    }
    for (int i = 0; i < times; i++) {
        dtx_http_reply reply;
        dtx_status st = dtx_http_send(c, &request, &reply);
        pthread_mutex_lock(&lock);
        last.st = st;
        snprintf(last.text, sizeof last.text, "%s", st == DTX_OK ? "" : dtx_error_text());
        for (char *p = last.text; (p = strchr(p, '"')) != NULL;) {
            *p = '\'';
        }
        last.status = reply.status;
        last.size = reply.size;
        snprintf(last.body, sizeof last.body, "%s", reply.body != NULL ? reply.body : "");
        pthread_mutex_unlock(&lock);
        dtx_http_reply_free(&reply);
    }
    dtx_http_disconnect(c);
    return NULL;
}

int main(int argc, char **argv)
{
    dtx_http_options o = {.timeout = 20, .tries = 5, .backoff = 0.01, .max_body = 4096};
    const char *headers[9] = {NULL};
    int n_headers = 0, n_threads = 1, i = 1;
    dtx_http_sink sink = {.expect = -1, .restart = restart, .write = put};
    pthread_t thread[16];

    for (char *eq; i < argc && (eq = strchr(argv[i], '=')) != NULL; i++) {
        const char *v = eq + 1;
        size_t n = (size_t)(eq - argv[i]);
        double x = atof(v);
#define IS(name) (n == strlen(name) && strncmp(argv[i], name, n) == 0)
        if (IS("qps")) { o.qps = x; }
        else if (IS("timeout")) { o.timeout = x; }
        else if (IS("tries")) { o.tries = (int)x; }
        else if (IS("backoff")) { o.backoff = x; }
        else if (IS("max_wait")) { o.max_wait = x; }
        else if (IS("max_body")) { o.max_body = (size_t)x; }
        else if (IS("ca")) { o.ca_file = v; }
        else if (IS("secret")) { o.secret = v; }
        else if (IS("expect")) { sink.expect = (int64_t)x; }
        else if (IS("times")) { times = (int)x; }
        else if (IS("threads")) { n_threads = (int)x; }
        else if (IS("follow")) { request.follow = x != 0; }
        else if (IS("check")) { request.check = looks_good; }
        else if (IS("header")) { headers[n_headers++] = v; }
    }
    const char *what = argv[i];
    request.url = argv[i + 1];
    request.headers = headers;
    if (strcmp(what, "post") == 0) {
        request.body = argv[i + 2];
        request.body_size = strlen(request.body);
    } else if (strcmp(what, "file") == 0) {
        sink.user = fopen(argv[i + 2], "ab");
        sink.have = ftell(sink.user);
        request.sink = &sink;
    }
    dtx_status st = dtx_http_open(&o, &http);
    if (st != DTX_OK) {
        printf("{\"text\": \"%s\"}\n", dtx_error_text());
        return (int)st;
    }
    for (int t = 0; t < n_threads; t++) {
        pthread_create(&thread[t], NULL, work, NULL);
    }
    for (int t = 0; t < n_threads; t++) {
        pthread_join(thread[t], NULL);
    }
    dtx_http_counts c = dtx_http_count(http);
    printf("{\"status\": %d, \"size\": %zu, \"text\": \"%s\", \"body\": \"%s\", \"requests\": %lld, \"retries\": %lld, \"connections\": %lld, "
           "\"paused\": %.3f, \"have\": %lld}\n", last.status, last.size, last.text, last.body, (long long)c.requests, (long long)c.retries,
           (long long)c.connections, c.paused, (long long)sink.have);
    dtx_http_close(http);
    return (int)last.st;
}
