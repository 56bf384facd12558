#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

#include "src/net/http.h"
#include "src/base/mem.h"

void dtx_http_place(const char *url, char *out, size_t size)
{
    char *scheme = NULL, *host = NULL, *port = NULL, *path = NULL;
    CURLU *u = curl_url();

    out[0] = '\0';
    if (u != NULL && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK
        && curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK && curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK
        && (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0)) {
        bool has_port = curl_url_get(u, CURLUPART_PORT, &port, 0) == CURLUE_OK;
        bool has_path = curl_url_get(u, CURLUPART_PATH, &path, 0) == CURLUE_OK;
        snprintf(out, size, "%s://%s%s%s%s", scheme, host, has_port ? ":" : "", has_port ? port : "", has_path ? path : "");
    }
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_free(path);
    curl_url_cleanup(u);
}

dtx_status dtx_http_escape(const char *text, char **out)
{
    char *escaped = curl_easy_escape(NULL, text, (int)strlen(text));

    *out = escaped != NULL ? dtx_strdup(escaped) : NULL;
    curl_free(escaped);
    return dtx_mem_check(*out, strlen(text), 3, "an escaped text");
}
