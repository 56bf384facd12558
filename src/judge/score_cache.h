/* score_cache.h - answers of a service by text, in a file that survives kills: a text is sent once, whatever row, variant or
 * launch it belongs to. One JSON object a line: {"text": SHA-256 of service, language and text, "status": 1, "scores":
 * {"TOXICITY": 0.25}}. It holds neither texts nor keys. An answer is on disk when dtx_score_cache_add returns; a line that a
 * crash cut short is dropped at the next opening. One process at a time (fcntl lock). Not thread-safe. */
#ifndef DTX_SCORE_CACHE_H
#define DTX_SCORE_CACHE_H

#include "src/judge/service.h"

typedef struct dtx_score_cache dtx_score_cache;

/* Makes the file when there is none. DTX_ERR_USAGE: another process has it; DTX_ERR_INPUT: a line that is none of ours. */
dtx_status dtx_score_cache_open(const char *path, const dtx_service *service, dtx_score_cache **out);
void dtx_score_cache_close(dtx_score_cache *c);

/* Name of a text for this service and language. */
dtx_status dtx_score_cache_name(const dtx_score_cache *c, const char *text, size_t len, char name[65]);
/* True when the text has a final answer with all of the service's attributes. */
bool dtx_score_cache_find(const dtx_score_cache *c, const char *name, dtx_service_answer *out);
dtx_status dtx_score_cache_add(dtx_score_cache *c, const char *name, const dtx_service_answer *answer);
/* Whether any text was ever scored. */
bool dtx_score_cache_has_scores(const dtx_score_cache *c);

#endif
