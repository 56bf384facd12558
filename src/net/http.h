/* http.h - requests over HTTP and HTTPS, with manners: the only user of libcurl.
 *
 * A client (dtx_http) holds what requests share: the rate, the pause that a server asked for, the patience. A connection
 * (dtx_http_conn) belongs to one thread and stays open between requests; threads may share a client.
 * Certificates are always verified. Proxies come from http_proxy, https_proxy, all_proxy and no_proxy. Messages name a
 * URL without its query, and the secret of the options appears in none of them. */
#ifndef DTX_HTTP_H
#define DTX_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/status.h"

typedef struct {
    double qps;           /* requests a second, repeated ones included (a bucket that holds one token); 0 = no limit */
    double timeout;       /* seconds to connect; for a reply in memory from first to last byte, for a sink without a byte */
    int tries;            /* attempts at one request; with a sink only attempts that brought nothing count */
    double backoff;       /* seconds before the second attempt, doubled for each further one up to 60, times 0.5 .. 1 */
    double max_wait;      /* a Retry-After beyond this ends the request; 0 = 3600 seconds */
    size_t max_body;      /* largest reply in memory, in bytes */
    const char *ca_file;  /* certificates to trust, PEM; "" or NULL = CURL_CA_BUNDLE, else SSL_CERT_FILE, else the system's */
    const char *secret;   /* "" or NULL: none */
    bool (*should_stop)(const void *user); /* asked several times a second by any thread, while it waits and while a sink gets
                                              bytes; a reply in memory is waited for. May be NULL */
    const void *user;
} dtx_http_options;

typedef struct dtx_http dtx_http;
typedef struct dtx_http_conn dtx_http_conn;

/* Texts of the options are copied. DTX_ERR_MISSING: a CA file that cannot be read. */
dtx_status dtx_http_open(const dtx_http_options *options, dtx_http **out);
/* After all its connections. NULL is fine. */
void dtx_http_close(dtx_http *h);
dtx_status dtx_http_connect(dtx_http *h, dtx_http_conn **out);
void dtx_http_disconnect(dtx_http_conn *c);

typedef struct {
    int64_t requests, retries; /* sent; of them sent again */
    int64_t connections;       /* opened */
    double paused;             /* seconds of back-off, over all threads */
} dtx_http_counts;
dtx_http_counts dtx_http_count(dtx_http *h);

typedef struct {
    int status;       /* 200; 3xx where redirects are not followed, 4xx */
    char *body;       /* whole reply, NUL-terminated; "" after a sink took it */
    size_t size;
    char next_page[2048]; /* URL of a Link header with rel="next", "" = none */
    int64_t length;   /* Content-Length of what `head` asked for; -1 = not told */
} dtx_http_reply;
void dtx_http_reply_free(dtx_http_reply *r);

/* Takes the bytes of a 200 or 206 reply instead of memory, and goes on where it was after an interruption. */
typedef struct {
    int64_t have;     /* bytes that are there; the rest is asked for. Kept up to date */
    int64_t expect;   /* size of the whole, -1 = not known. Another one told or sent by the server is a fault */
    dtx_status (*restart)(void *user); /* the server sends it all: forget what is there */
    dtx_status (*write)(void *user, const void *data, size_t size);
    void *user;
    /* NULL where a checksum tells in the end whether the pieces belong together. Else what the server calls this state of the
     * file (a strong ETag, else Last-Modified; "" = nothing): a file that has another state by now begins anew, and so does
     * one without. Set before the first `write`. */
    char *validator;
} dtx_http_sink;
enum { DTX_HTTP_VALIDATOR = 256 }; /* bytes of it */

typedef struct {
    const char *url;
    const char *const *headers; /* "Name: value", ends with NULL; may be NULL. Authorization goes to the URL's own host alone */
    const char *body;           /* NULL: GET; else POST of this many bytes */
    size_t body_size;
    bool follow;                /* redirects, at most 10, never from https to http */
    bool head;                  /* HEAD: no body, reply->length; not with a body or sink */
    dtx_http_sink *sink;        /* may be NULL */
    /* Looks at a 2xx reply in memory; a failure is a fault of this attempt, as a lost connection is. May be NULL. */
    dtx_status (*check)(const dtx_http_reply *reply, void *user);
    void *user;
} dtx_http_request;

/* Faults (no connection, time-out, 408, 429, 5xx but 501, a reply that is too large, cut short or fails the check) are tried again.
 * DTX_OK: *reply is what the server finally says, which may be a 4xx or 501; free it. DTX_ERR_MISSING: the tries are used up, or
 * there is no sense in another one (certificate, malformed URL); DTX_STOPPED: should_stop said so. What a sink's functions
 * return ends the request too. */
dtx_status dtx_http_send(dtx_http_conn *c, const dtx_http_request *r, dtx_http_reply *reply);

/* Overwrites the secret, plain or percent-encoded, with stars wherever it stands in a text. */
void dtx_http_redact(const dtx_http *h, char *text);
/* Percent-encodes a text for a query or path; dtx_free. */
dtx_status dtx_http_escape(const char *text, char **out);
/* scheme://host/path of a URL, without user, query and fragment; "" when it is none of http or https. */
void dtx_http_place(const char *url, char *out, size_t size);

#endif
