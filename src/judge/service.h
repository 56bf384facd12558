/* service.h - toxicity of one text by a Perspective-compatible service: request and answer as its documentation tells
 * (comment.text, languages, requestedAttributes, doNotStore; attributeScores.A.summaryScore.value). */
#ifndef DTX_SERVICE_H
#define DTX_SERVICE_H

#include "src/net/http.h"

/* What became of a text. Other values than DTX_SCORE_NOT_DONE are final: it is not asked for again. */
typedef enum {
    DTX_SCORE_NOT_DONE = 0,
    DTX_SCORE_SCORED = 1,
    DTX_SCORE_EMPTY = 2,    /* there is no text */
    DTX_SCORE_LANGUAGE = 3, /* the service does not know the language */
    DTX_SCORE_TOO_LONG = 4, /* more than 20,480 bytes */
    DTX_SCORE_REFUSED = 5,  /* another answer that asking again would not change */
    DTX_SCORE_FAILED = 6    /* no score, for another or an unknown reason */
} dtx_score_status;

enum { DTX_SERVICE_MAX_BYTES = 20480, DTX_SERVICE_ATTRIBUTES = 16 };

/* Texts are borrowed and must outlive the service. */
typedef struct {
    dtx_http_options http;      /* `secret` is the key, "" = none; max_body is the service's own */
    const char *endpoint;       /* URL */
    const char *language;       /* "" = the service finds out */
    int64_t n_attributes;       /* 1 .. DTX_SERVICE_ATTRIBUTES */
    const char *attribute[DTX_SERVICE_ATTRIBUTES];
} dtx_service_options;

/* Shared by the threads that ask. */
typedef struct {
    dtx_http *http;
    char *url;               /* with the key: for libcurl alone */
    char place[512];         /* without */
    const char *language;    /* borrowed; "" = the service finds out */
    int64_t n_attributes;    /* at least one */
    const char *attribute[DTX_SERVICE_ATTRIBUTES]; /* borrowed */
} dtx_service;

/* DTX_ERR_USAGE where the endpoint is no URL. */
dtx_status dtx_service_open(const dtx_service_options *options, dtx_service *out);
void dtx_service_close(dtx_service *s);

/* Without asking: DTX_SCORE_EMPTY for blanks alone, DTX_SCORE_TOO_LONG, DTX_SCORE_REFUSED for what is not UTF-8;
 * DTX_SCORE_NOT_DONE: the service has to be asked. */
dtx_score_status dtx_service_precheck(const char *text, size_t len);

typedef struct {
    dtx_score_status status;
    float score[DTX_SERVICE_ATTRIBUTES]; /* of each attribute; NaN unless status is DTX_SCORE_SCORED */
    bool general;              /* no answer, for a reason that concerns any text: key, attribute, endpoint */
    char why[256];             /* refused: the service's words */
} dtx_service_answer;

/* Asks, with the patience of http.*. DTX_OK: out->status is final. DTX_ERR_MISSING: no usable answer; out->general tells
 * whether another text may have more luck. DTX_STOPPED. */
dtx_status dtx_service_ask(const dtx_service *s, dtx_http_conn *c, const char *text, size_t len, dtx_service_answer *out);

#endif
