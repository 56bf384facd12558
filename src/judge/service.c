#include "src/judge/service.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "src/base/json.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/base/utf8.h"

enum { MAX_REPLY = 1 << 20 };

dtx_status dtx_service_open(const dtx_service_options *options, dtx_service *out)
{
    const char *endpoint = options->endpoint, *secret = options->http.secret;
    dtx_http_options http = options->http;
    dtx_service s = {.language = options->language, .n_attributes = options->n_attributes};
    char *key = NULL;
    dtx_status st;

    http.max_body = MAX_REPLY;
    memcpy(s.attribute, options->attribute, sizeof s.attribute);
    dtx_http_place(endpoint, s.place, sizeof s.place);
    if (s.place[0] == '\0') {
        return DTX_FAIL(DTX_ERR_USAGE, "score.endpoint is not a URL that begins with http:// or https:// and names a host");
    }
    if (strncmp(s.place, "http:", 5) == 0 && secret[0] != '\0' && strncmp(s.place + 7, "127.", 4) != 0
        && strncmp(s.place + 7, "localhost", 9) != 0) {
        dtx_log(DTX_LOG_WARN, "score", "%s is not encrypted: key and texts can be read on the way", s.place);
    }
    DTX_GO(dtx_http_escape(secret, &key));
    size_t size = strlen(endpoint) + strlen(key) + 6;
    DTX_GO(DTX_NEW(s.url, size));
    snprintf(s.url, size, "%s%s%s", endpoint, key[0] != '\0' ? "?key=" : "", key);
    DTX_GO(dtx_http_open(&http, &s.http));
    *out = s;
    s = (dtx_service){.url = NULL};
done:
    dtx_free(key);
    dtx_free(s.url);
    return st;
}

void dtx_service_close(dtx_service *s)
{
    dtx_http_close(s->http);
    dtx_free(s->url);
    *s = (dtx_service){.url = NULL};
}

dtx_score_status dtx_service_precheck(const char *text, size_t len)
{
    size_t n = 0;

    while (n < len && strchr(" \t\r\n", text[n]) != NULL && text[n] != '\0') {
        n++;
    }
    return n == len ? DTX_SCORE_EMPTY : len > DTX_SERVICE_MAX_BYTES ? DTX_SCORE_TOO_LONG
         : dtx_utf8_valid(text, len) < len ? DTX_SCORE_REFUSED : DTX_SCORE_NOT_DONE;
}

/* ---- request ---- */

static dtx_status make_body(const dtx_service *s, const char *text, size_t len, char **out, size_t *size)
{
    char *quoted = NULL, *language = NULL, *name, *body = NULL;
    FILE *f = NULL;
    dtx_status st;

    DTX_GO(dtx_json_quote(text, len, &quoted));
    DTX_GO(dtx_json_quote(s->language, strlen(s->language), &language));
    f = open_memstream(&body, size);
    DTX_GO(dtx_mem_check(f, len, 1, "a request"));
    fprintf(f, "{\"comment\":{\"text\":%s},", quoted);
    if (s->language[0] != '\0') {
        fprintf(f, "\"languages\":[%s],", language);
    }
    fprintf(f, "\"requestedAttributes\":{");
    for (int64_t i = 0; i < s->n_attributes; i++) {
        DTX_GO(dtx_json_quote(s->attribute[i], strlen(s->attribute[i]), &name));
        fprintf(f, "%s%s:{}", i > 0 ? "," : "", name);
        dtx_free(name);
    }
    fprintf(f, "},\"doNotStore\":true}");
    int bad = fclose(f);
    f = NULL;
    st = dtx_mem_check(bad == 0 ? body : NULL, len, 1, "a request");
    *out = body;
done:
    if (f != NULL) {
        fclose(f);
    }
    dtx_free(quoted);
    dtx_free(language);
    return st;
}

/* ---- answer ---- */

typedef struct {
    const dtx_service *service;
    dtx_service_answer *answer;
} reading;

/* Looks at a 2xx reply: every attribute has a probability, or the reply is faulty. */
static dtx_status read_scores(const dtx_http_reply *reply, void *user)
{
    reading *r = user;
    cJSON *root = NULL;
    dtx_status st;

    DTX_GO(dtx_json_parse(reply->body, reply->size, "the reply", 1, &root));
    const cJSON *scores = cJSON_GetObjectItemCaseSensitive(root, "attributeScores");
    for (int64_t i = 0; i < r->service->n_attributes; i++) {
        const char *name = r->service->attribute[i];
        const cJSON *value = dtx_json_get(cJSON_GetObjectItemCaseSensitive(scores, name), "summaryScore.value");
        if (!cJSON_IsNumber(value) || !(value->valuedouble >= 0 && value->valuedouble <= 1)) {
            st = DTX_FAIL(DTX_ERR_INPUT, "the reply has no attributeScores.%.60s.summaryScore.value between 0 and 1", name);
            goto done;
        }
        r->answer->score[i] = (float)value->valuedouble;
    }
done:
    cJSON_Delete(root);
    return st;
}

static bool contains(const char *text, const char *word)
{
    size_t n = strlen(word);

    for (; *text != '\0'; text++) {
        if (strncasecmp(text, word, n) == 0) {
            return true;
        }
    }
    return false;
}

/* The error's message, one line of printable ASCII without the key, and its types for the decision below. */
static void read_error(const dtx_service *s, const dtx_http_reply *reply, char *message, size_t size, char *types, size_t types_size)
{
    cJSON *root = NULL, *text = NULL;

    message[0] = types[0] = '\0';
    if (dtx_json_parse(reply->body, reply->size, "the reply", 1, &root) == DTX_OK) {
        const cJSON *error = cJSON_GetObjectItemCaseSensitive(root, "error"), *detail;
        text = cJSON_GetObjectItemCaseSensitive(error, "message");
        snprintf(message, size, "%s", cJSON_IsString(text) ? text->valuestring : "");
        cJSON_ArrayForEach(detail, cJSON_GetObjectItemCaseSensitive(error, "details"))
        {
            const cJSON *names[] = {cJSON_GetObjectItemCaseSensitive(detail, "errorType"), cJSON_GetObjectItemCaseSensitive(detail, "reason")};
            for (int i = 0; i < 2; i++) {
                size_t n = strlen(types);
                snprintf(types + n, types_size - n, " %.60s", cJSON_IsString(names[i]) ? names[i]->valuestring : "");
            }
        }
    }
    cJSON_Delete(root);
    dtx_error_clear();
    for (char *p = message; *p != '\0'; p++) {
        *p = isprint((unsigned char)*p) ? *p : '?';
    }
    dtx_http_redact(s->http, message);
}

/* A reply that is neither a score nor worth another try. */
static dtx_status judge(const dtx_service *s, const dtx_http_reply *reply, dtx_service_answer *out)
{
    char message[200], types[256];
    int status = reply->status;

    read_error(s, reply, message, sizeof message, types, sizeof types);
    bool bad_key = contains(types, "API_KEY") || contains(message, "API key");
    bool bad_attribute = contains(types, "ATTRIBUTE_UNKNOWN") || contains(types, "UNKNOWN_ATTRIBUTE") || contains(message, "unknown requested attribute");
    if (status == 413 || contains(types, "TOO_LONG") || contains(message, "too long") || contains(message, "too many bytes")) {
        out->status = DTX_SCORE_TOO_LONG;
    } else if (contains(types, "LANGUAGE") || contains(message, "language")) {
        out->status = DTX_SCORE_LANGUAGE;
    } else if (contains(types, "COMMENT_EMPTY") || contains(message, "non-empty")) {
        out->status = DTX_SCORE_EMPTY;
    } else if ((status == 400 || status == 422) && !bad_key && !bad_attribute) {
        out->status = DTX_SCORE_REFUSED;
        snprintf(out->why, sizeof out->why, "HTTP status %d: %s", status, message);
    } else {
        out->general = true;
        const char *what = status == 401 || status == 403 || bad_key ? "; is the key right? (DETOXLENS_SCORE__KEY)"
                         : status == 404 || status == 405 || status < 400 ? "; is score.endpoint right?" : "";
        return DTX_FAIL(DTX_ERR_MISSING, "%s: HTTP status %d: %s%s", s->place, status, message, what);
    }
    return DTX_OK;
}

dtx_status dtx_service_ask(const dtx_service *s, dtx_http_conn *c, const char *text, size_t len, dtx_service_answer *out)
{
    static const char *const headers[] = {"Content-Type: application/json", NULL};
    reading r = {s, out};
    dtx_http_request request = {.url = s->url, .headers = headers, .check = read_scores, .user = &r};
    dtx_http_reply reply = {0};
    char *body = NULL;
    dtx_status st;

    *out = (dtx_service_answer){.status = DTX_SCORE_NOT_DONE};
    DTX_GO(make_body(s, text, len, &body, &request.body_size));
    request.body = body;
    DTX_GO(dtx_http_send(c, &request, &reply));
    if (reply.status >= 200 && reply.status < 300) {
        out->status = DTX_SCORE_SCORED;
    } else {
        st = judge(s, &reply, out);
    }
done:
    for (int i = 0; i < DTX_SERVICE_ATTRIBUTES && out->status != DTX_SCORE_SCORED; i++) {
        out->score[i] = NAN;
    }
    dtx_http_reply_free(&reply);
    free(body);
    return st;
}
