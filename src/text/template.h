/* template.h - how a text becomes a prompt. */
#ifndef DTX_TEMPLATE_H
#define DTX_TEMPLATE_H

#include <stddef.h>
#include <stdint.h>

#include "src/base/status.h"

/* A chat template: `text` holds {user}, {text}, {bot}, e.g. "{user} \"{text}\".\n{bot} ". */
typedef struct {
    char user[64], bot[64], text[256];
} dtx_template;
/* The prompt of a text; prefix and suffix are the lengths in bytes of the template's parts before and after {text}.
 * *out is freed with dtx_free. */
dtx_status dtx_template_apply(const dtx_template *t, const char *text, size_t len, char **out, size_t *out_len,
                              size_t *prefix, size_t *suffix);
/* Where prompts are cut: 128 tokens + the template's length in characters (its text with {user} and {bot} filled in and
 * {text} left out). */
int64_t dtx_template_max_tokens(const dtx_template *t);

#endif
