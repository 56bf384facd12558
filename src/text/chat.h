/* chat.h - conversations as a model reads them: its own chat template (jinja/jinja.h), rendered and cut into ids.
 * Control tokens in a message stay text: each such string is encoded on its own, as plain text. Control tokens are the special ones, and
 * added tokens that stand in the template, if they are more than blanks. Texts of messages are followed, so that it is known where they stand in the rendering. */
#ifndef DTX_CHAT_H
#define DTX_CHAT_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <time.h>

#include "src/text/tokenizer.h"

typedef struct dtx_chat dtx_chat;

/* The template of a folder: chat_template.jinja, else `chat_template` of tokenizer_config.json (a text, or a list of which the one named
 * "default" counts); with `file` that file's text instead. The named special tokens come from the folder's tokenizer_config.json, else
 * special_tokens_map.json; null ones are undefined. dir may be a GGUF file: its keys say both. *out is NULL when there is no template. DTX_ERR_INPUT when it is malformed or uses what
 * is not supported. t (may be NULL: no ids then) is borrowed. */
dtx_status dtx_chat_open(const char *dir, const char *file, const dtx_tokenizer *t, dtx_chat **out);
void dtx_chat_close(dtx_chat *c);

typedef struct {
    const cJSON *messages;      /* a list of objects; null members are dropped */
    bool add_generation_prompt; /* the rendering ends where the assistant begins to speak */
    const cJSON *variables;     /* more names for the template, an object or NULL; they win over the others */
    const struct tm *now;       /* for strftime_now, NULL = undefined */
} dtx_chat_input;

/* Bytes begin .. end of the text are a message's own text (its content, or a text part of it). */
typedef struct {
    size_t begin, end;
    int32_t message;
} dtx_chat_span;

typedef struct {
    char *text;
    size_t n;
    dtx_chat_span *span; /* by message, then in the order of the text; an empty one where nothing but an empty text was shown */
    size_t n_spans;
    bool lost; /* a message's text is shown in a form in which its place is not known; the spans are not complete */
    dtx_ids ids; /* without special tokens but those of the template */
} dtx_chat_text;
void dtx_chat_text_free(dtx_chat_text *x);

/* Renders a conversation. DTX_ERR_INPUT when the template refuses it (*raised, may be NULL: by raise_exception, dtx_error_text is its
 * message) or fails. */
dtx_status dtx_chat_render(const dtx_chat *c, const dtx_chat_input *in, dtx_chat_text *out, bool *raised);

/* "2026-02-03" or "2026-02-03 04:05:06" as a date; DTX_ERR_USAGE says what is wrong. */
dtx_status dtx_chat_date(const char *text, struct tm *out);

#endif
