/* What the servers say of a source before anything is downloaded: the commit behind a revision, licence, files with sizes and
 * checksums. All that follows asks for that commit, so that the files belong together whatever happens meanwhile. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/fetch/fetch.h"
#include "src/base/log.h"
#include "src/base/mem.h"

enum { MAX_REPLY = 64 << 20, MAX_PAGES = 1000, URL = 4096 };

/* ---- network ---- */

static bool loopback(const char *place)
{
    return strncmp(place, "http://127.", 11) == 0 || strncmp(place, "http://localhost", 16) == 0;
}

static dtx_status choose_hub(const dtx_config *c, char *out, size_t size)
{
    const char *env = getenv("HF_ENDPOINT");
    const char *hub = c->fetch.hub[0] != '\0' ? c->fetch.hub : env != NULL && env[0] != '\0' ? env : "https://huggingface.co";
    char place[DTX_PATH_MAX];

    dtx_http_place(hub, place, sizeof place);
    size_t n = strlen(hub);
    if (place[0] == '\0' || strpbrk(hub, "?#@") != NULL || n >= size) {
        return DTX_FAIL(DTX_ERR_USAGE, "%s is not a URL without query and user that begins with http:// or https://",
                        c->fetch.hub[0] != '\0' ? "fetch.hub" : "HF_ENDPOINT");
    }
    snprintf(out, size, "%s", hub);
    while (n > 0 && out[n - 1] == '/') {
        out[--n] = '\0';
    }
    return DTX_OK;
}

static dtx_status choose_token(dtx_fetch_net *net, const dtx_config *c)
{
    const char *env = getenv("HF_TOKEN"), *token = c->fetch.token[0] != '\0' ? c->fetch.token : env != NULL ? env : "";
    size_t n = strlen(token);

    for (const char *p = token; *p != '\0'; p++) {
        if (*p <= ' ' || *p >= 127 || n > 1000) {
            return DTX_FAIL(DTX_ERR_USAGE, "HF_TOKEN holds what no token holds (a blank, a line break, ...): set it to the token alone");
        }
    }
    if (n > 0 && strncmp(net->hub, "http:", 5) == 0 && !loopback(net->hub)) {
        dtx_log(DTX_LOG_WARN, "fetch", "%s is not encrypted: the token is not sent", net->hub);
        n = 0;
    }
    net->token = dtx_strdup(n > 0 ? token : "");
    DTX_TRY(dtx_mem_check(net->token, n, 1, "the token"));
    if (n > 0) {
        DTX_TRY(DTX_NEW(net->authorization, n + 32));
        snprintf(net->authorization, n + 32, "Authorization: Bearer %s", token);
    }
    return DTX_OK;
}

dtx_status dtx_fetch_net_open(const dtx_job *job, bool (*should_stop)(const void *user), const void *user, dtx_fetch_net *out)
{
    const dtx_config *c = &job->config;
    dtx_fetch_net net = {.job = job};
    dtx_status st;

    DTX_GO(choose_hub(c, net.hub, sizeof net.hub));
    DTX_GO(choose_token(&net, c));
    const dtx_http_options o = {.timeout = c->http.timeout, .tries = (int)c->http.tries, .backoff = c->http.backoff, .max_body = MAX_REPLY,
                                .ca_file = c->http.ca_file, .secret = net.token, .should_stop = should_stop, .user = user};
    DTX_GO(dtx_http_open(&o, &net.http));
    *out = net;
    return DTX_OK;
done:
    dtx_fetch_net_close(&net);
    return st;
}

void dtx_fetch_net_close(dtx_fetch_net *net)
{
    dtx_http_close(net->http);
    dtx_free(net->authorization);
    dtx_free(net->token);
    *net = (dtx_fetch_net){.http = NULL};
}

dtx_status dtx_fetch_refused(const dtx_fetch_net *net, const dtx_fetch_source *s, int http_status, const char *place)
{
    const bool hub = s->repo[0] != '\0', token = net->authorization != NULL;
    char page[1400];

    snprintf(page, sizeof page, "%s/%s%s", net->hub, s->kind == DTX_HUB_DATA ? "datasets/" : "", s->repo);
    if (hub && http_status == 401) {
        return token ? DTX_FAIL(DTX_ERR_MISSING, "%s: HTTP status 401: the hub does not accept the token: make a new one at %s/settings/tokens "
                                "and set HF_TOKEN", place, net->hub)
                     : DTX_FAIL(DTX_ERR_MISSING, "%s: HTTP status 401: there is no such repository, or it is private or gated: check the name "
                                "at %s, and set HF_TOKEN to a token of an account that may read it", place, page);
    }
    if (hub && http_status == 403) {
        return DTX_FAIL(DTX_ERR_MISSING, "%s: HTTP status 403: the account behind the token may not read it: accept its terms at %s%s", place,
                        page, token ? "" : ", and set HF_TOKEN to that account's token");
    }
    if (hub && http_status == 404) {
        return DTX_FAIL(DTX_ERR_MISSING, "%s: HTTP status 404: there is no such repository, revision (%s) or file: check it at %s", place,
                        s->revision, page);
    }
    return DTX_FAIL(DTX_ERR_MISSING, "%s: HTTP status %d%s", place, http_status,
                    http_status == 404 || http_status == 410 ? ": it is not there; check the URL"
                    : http_status == 401 || http_status == 403 ? ": it may not be read without further rights"
                    : http_status >= 300 && http_status < 400 ? ": a redirection that leads nowhere" : "");
}

/* ---- requests ---- */

static dtx_status get(const dtx_fetch_net *net, dtx_http_conn *c, const dtx_fetch_source *s, const char *url, dtx_http_reply *reply)
{
    const char *const headers[] = {net->authorization, NULL};
    const dtx_http_request request = {.url = url, .headers = headers, .follow = true};

    DTX_TRY(dtx_http_send(c, &request, reply));
    if (reply->status != 200) {
        char place[URL];
        dtx_http_place(url, place, sizeof place);
        int status = reply->status;
        dtx_http_reply_free(reply);
        return dtx_fetch_refused(net, s, status, place);
    }
    return DTX_OK;
}

static dtx_status fits(int n, size_t size)
{
    return n >= 0 && (size_t)n < size ? DTX_OK : DTX_FAIL(DTX_ERR_USAGE, "a URL would be longer than %zu bytes", size);
}

static const char *api_kind(const dtx_fetch_source *s)
{
    return s->kind == DTX_HUB_DATA ? "datasets" : "models";
}

static dtx_status ask_info(const dtx_fetch_net *net, dtx_http_conn *c, dtx_fetch_plan *p)
{
    const dtx_fetch_source *s = p->source;
    char url[URL], *revision = NULL;
    dtx_http_reply reply = {.body = NULL};
    dtx_hub_info info;
    dtx_status st;

    DTX_GO(dtx_http_escape(s->revision, &revision));
    DTX_GO(fits(snprintf(url, sizeof url, "%s/api/%s/%s/revision/%s", net->hub, api_kind(s), s->repo, revision), sizeof url));
    DTX_GO(get(net, c, s, url, &reply));
    DTX_GO(dtx_hub_read_info(reply.body, reply.size, url, &info));
    memcpy(p->commit, info.commit, sizeof p->commit);
    snprintf(p->licence, sizeof p->licence, "%s", info.licence);
    snprintf(p->licence_link, sizeof p->licence_link, "%s", info.licence_link);
    p->gated = info.gated;
done:
    dtx_http_reply_free(&reply);
    dtx_free(revision);
    return st;
}

static dtx_status ask_files(const dtx_fetch_net *net, dtx_http_conn *c, dtx_fetch_plan *p)
{
    const dtx_fetch_source *s = p->source;
    char url[URL], cursor[2100] = "";
    dtx_http_reply reply;

    for (int page = 0; page < MAX_PAGES; page++) {
        DTX_TRY(fits(snprintf(url, sizeof url, "%s/api/%s/%s/tree/%s?recursive=true%s", net->hub, api_kind(s), s->repo, p->commit, cursor),
                     sizeof url));
        DTX_TRY(get(net, c, s, url, &reply));
        char place[URL];
        dtx_http_place(url, place, sizeof place);
        dtx_status st = dtx_hub_add_page(&p->files, reply.body, reply.size, place);
        bool more = reply.next_page[0] != '\0';
        dtx_hub_cursor(reply.next_page, cursor, sizeof cursor);
        dtx_http_reply_free(&reply);
        DTX_TRY(st);
        if (!more) {
            return DTX_OK;
        }
        if (cursor[0] == '\0') {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: the listing goes on, but where to ask for the rest is not said (a Link header with cursor=... is "
                            "expected)", place);
        }
    }
    return DTX_FAIL(DTX_ERR_INPUT, "%s: the listing has more than %d pages", s->repo, MAX_PAGES);
}

/* ---- files ---- */

static dtx_status file_url(const dtx_fetch_net *net, const dtx_fetch_plan *p, const char *path, char **out)
{
    const dtx_fetch_source *s = p->source;
    size_t size = strlen(net->hub) + strlen(s->repo) + 3 * strlen(path) + 200, at;
    char *url = NULL;

    if (s->repo[0] == '\0') {
        *out = dtx_strdup(s->url);
        return dtx_mem_check(*out, 1, 1, "a URL");
    }
    DTX_TRY(DTX_NEW(url, size));
    at = (size_t)snprintf(url, size, "%s/%s%s/resolve/%s", net->hub, s->kind == DTX_HUB_DATA ? "datasets/" : "", s->repo, p->commit);
    for (const char *part = path; *part != '\0';) {
        char piece[256], *escaped;
        size_t n = strcspn(part, "/");
        snprintf(piece, sizeof piece, "%.*s", (int)n, part); /* dtx_hub_safe_path: parts are short */
        dtx_status st = dtx_http_escape(piece, &escaped);
        if (st != DTX_OK) {
            dtx_free(url);
            return st;
        }
        at += (size_t)snprintf(url + at, size - at, "/%s", escaped);
        dtx_free(escaped);
        part += n + (part[n] == '/');
    }
    *out = url;
    return DTX_OK;
}

dtx_status dtx_fetch_plan_file(const dtx_fetch_net *net, const dtx_fetch_plan *p, size_t i, char **url, dtx_download *out)
{
    const dtx_hub_file *f = &p->files.file[i];

    DTX_TRY(file_url(net, p, f->path, url));
    *out = (dtx_download){.url = *url, .dir = p->part, .path = f->path, .size = f->size, .sha256 = f->sha256, .git_blob = f->git_blob};
    return DTX_OK;
}

static dtx_status compare(const dtx_hub_file *f, const dtx_http_reply *reply)
{
    char sha256[DTX_SHA256_TEXT], git[DTX_GIT_TEXT];

    DTX_TRY(dtx_sha256_bytes(reply->body, reply->size, sha256));
    DTX_TRY(dtx_git_blob_bytes(reply->body, reply->size, git));
    if ((f->sha256[0] != '\0' && strcmp(f->sha256, sha256) != 0) || (f->git_blob[0] != '\0' && strcmp(f->git_blob, git) != 0)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: what the server sends is not what it announced: %lld bytes were announced, %zu came", f->path,
                        (long long)f->size, reply->size);
    }
    return DTX_OK;
}

/* A small file into memory, as the listing announced it; asked for twice at most. */
static dtx_status get_file(const dtx_fetch_net *net, dtx_http_conn *c, const dtx_fetch_plan *p, const dtx_hub_file *f, dtx_http_reply *reply)
{
    char *url = NULL;
    dtx_status st;

    DTX_TRY(file_url(net, p, f->path, &url));
    for (int n = 0; n < 2; n++) {
        DTX_GO(get(net, c, p->source, url, reply));
        st = compare(f, reply);
        if (st != DTX_ERR_INPUT) {
            break;
        }
        dtx_http_reply_free(reply);
    }
done:
    dtx_free(url);
    return st;
}

/* The shards that the weights' index names, and the files wanted so far. */
static dtx_status select_files(const dtx_fetch_net *net, dtx_http_conn *c, dtx_fetch_plan *p)
{
    const dtx_fetch_source *s = p->source;
    const dtx_config_list *asked = &net->job->config.fetch.include;
    const char *include[DTX_LIST_MAX] = {s->include};
    int64_t n_include = s->include != NULL;
    const dtx_hub_file *index;
    dtx_http_reply reply = {.body = NULL};
    dtx_status st;

    for (int64_t i = 0; i < asked->n; i++) {
        include[i] = asked->entry[i];
    }
    n_include = asked->n > 0 ? asked->n : n_include;
    DTX_GO(dtx_hub_select(&p->files, s->repo, &p->kind, include, n_include, &index));
    if (index != NULL) {
        DTX_GO(get_file(net, c, p, index, &reply));
        DTX_GO(dtx_hub_add_shards(&p->files, reply.body, reply.size, index->path));
    }
    dtx_hub_keep_wanted(&p->files);
done:
    dtx_http_reply_free(&reply);
    return st;
}

/* A single file: its size, where the server tells. */
static dtx_status plan_url(const dtx_fetch_net *net, dtx_http_conn *c, dtx_fetch_plan *p)
{
    const dtx_fetch_source *s = p->source;
    const dtx_http_request request = {.url = s->url, .follow = true, .head = true};
    dtx_http_reply reply;
    dtx_hub_file *f = dtx_hub_add(&p->files, s->file);

    if (f == NULL) {
        return DTX_ERR_MISSING;
    }
    memcpy(f->sha256, s->sha256, sizeof f->sha256);
    snprintf(p->licence, sizeof p->licence, "%s", s->licence);
    DTX_TRY(dtx_http_send(c, &request, &reply));
    int status = reply.status;
    f->size = status == 200 ? reply.length : -1; /* else this server knows GET alone */
    dtx_http_reply_free(&reply);
    return status == 404 || status == 410 || status == 401 ? dtx_fetch_refused(net, s, status, s->name) : DTX_OK;
}

dtx_status dtx_fetch_plan_make(const dtx_fetch_net *net, dtx_http_conn *c, dtx_fetch_plan *p)
{
    atomic_llong ignored = 0;

    p->kind = p->source->kind;
    if (p->source->repo[0] == '\0') {
        DTX_TRY(plan_url(net, c, p));
    } else {
        DTX_TRY(ask_info(net, c, p));
        DTX_TRY(ask_files(net, c, p));
        DTX_TRY(select_files(net, c, p));
    }
    for (size_t i = 0; i < p->files.n; i++) {
        const dtx_hub_file *f = &p->files.file[i];
        if (strcmp(f->path, DTX_FETCH_RECORD) == 0 || strcmp(f->path, "lock") == 0) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: a file called %s cannot be fetched: the name is taken by fetch itself", p->source->name, f->path);
        }
        dtx_download d = {.dir = p->part, .path = f->path, .size = f->size, .sha256 = f->sha256, .git_blob = f->git_blob, .bytes = &ignored};
        p->total += f->size > 0 ? f->size : 0;
        p->there += dtx_download_there(&d);
    }
    /* A plain URL is its user's own business; a preset's or a repository's terms are shown and, unless open, agreed to. */
    p->needs_acceptance = (p->source->repo[0] != '\0' || p->source->home[0] != '\0') && (p->gated || !dtx_hub_open_licence(p->licence));
    return DTX_OK;
}

void dtx_fetch_plan_free(dtx_fetch_plan *p)
{
    dtx_hub_files_free(&p->files);
}
