/* lex.h - a template as tokens: text between tags, tags' ends, and the words inside them. Private to this room. */
#ifndef DTX_JINJA_LEX_H
#define DTX_JINJA_LEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/text/jinja/value.h"

typedef enum {
    TOKEN_END, /* of the template */
    TOKEN_DATA,
    TOKEN_BLOCK_BEGIN,
    TOKEN_BLOCK_END,
    TOKEN_PRINT_BEGIN,
    TOKEN_PRINT_END,
    TOKEN_NAME,
    TOKEN_STRING,
    TOKEN_INT,
    TOKEN_FLOAT,
    TOKEN_OPERATOR
} dtx_jinja_token_kind;

typedef struct {
    dtx_jinja_token_kind kind;
    int line;
    const char *s; /* DATA, STRING: the text itself; NAME, OPERATOR: as it stands, NUL-terminated */
    size_t n;
    int64_t i;
    double f;
} dtx_jinja_token;

typedef struct {
    dtx_jinja_token *v; /* the last is TOKEN_END */
    size_t n;
} dtx_jinja_tokens;

/* All tokens of a template of valid UTF-8; they live in the arena. Comments, raw blocks and white-space control are done here. `name` is for
 * messages. */
dtx_status dtx_jinja_lex(dtx_jinja_arena *a, const char *name, const char *text, size_t n, dtx_jinja_tokens *out);

#endif
