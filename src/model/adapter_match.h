/* adapter_match.h - PEFT's rules of which modules an adapter reaches. */
#ifndef DTX_ADAPTER_MATCH_H
#define DTX_ADAPTER_MATCH_H

#include "src/model/adapter.h"

/* A compiled regular expression that a whole name must match. */
typedef struct dtx_name_pattern dtx_name_pattern;
/* tail: the name, or an end of it behind a dot. DTX_ERR_INPUT with the place of the fault in the expression. */
dtx_status dtx_name_pattern_new(const char *expression, bool tail, dtx_name_pattern **out);
/* *matches; an expression that takes too long is DTX_ERR_INPUT. */
dtx_status dtx_name_pattern_match(const dtx_name_pattern *p, const char *name, bool *matches);
void dtx_name_pattern_del(dtx_name_pattern *p);

/* Equal, or ending with "." and the target. */
bool dtx_name_is(const char *name, const char *target);

#endif
