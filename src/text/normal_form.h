/* normal_form.h - Unicode's canonical normal forms of a text. */
#ifndef DTX_NORMAL_FORM_H
#define DTX_NORMAL_FORM_H

#include <stdbool.h>
#include <stddef.h>

#include "src/base/status.h"

/* Normal form C (composed) or D of valid UTF-8: *out is freed with dtx_free, NULL when nothing changes (*out_n = n then). */
dtx_status dtx_tok_normal_form(const char *s, size_t n, bool composed, char **out, size_t *out_n);

#endif
