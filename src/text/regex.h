/* regex.h - regular expressions of tokenizer files, as the reference's engine (Oniguruma) reads them, over PCRE2.
 * What the two read differently is refused (\w, \b, \h, \R, \X, sets inside sets, possessive intervals) or rewritten: \s
 * is Unicode's White_Space, and ^ and $ stand at lines' ends. */
#ifndef DTX_REGEX_H
#define DTX_REGEX_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <stdbool.h>
#include <stddef.h>

#include "src/base/status.h"

typedef struct {
    pcre2_code *code;
    unsigned char first[256]; /* can a match begin with this byte? */
} dtx_regex;

/* `name` and `part` ("pre_tokenizer Split") are for messages. DTX_ERR_INPUT says what is wrong, and where in the pattern. */
dtx_status dtx_regex_compile(const char *pattern, const char *name, const char *part, dtx_regex *out);
void dtx_regex_free(dtx_regex *re);
/* Next non-empty match at or after `from` in valid UTF-8; *found says whether there is one. *match is made at the first call and
 * freed by the caller with pcre2_match_data_free. DTX_ERR_INPUT when the pattern cannot be run on this text. */
dtx_status dtx_regex_next(const dtx_regex *re, pcre2_match_data **match, const char *s, size_t n, size_t from, bool *found, size_t *begin,
                          size_t *end);

#endif
