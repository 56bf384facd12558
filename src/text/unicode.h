/* unicode.h - classes of characters, as the reference library's parts see them. */
#ifndef DTX_UNICODE_H
#define DTX_UNICODE_H

#include <stdbool.h>
#include <stdint.h>

bool dtx_tok_is_space(uint32_t cp);       /* White_Space */
bool dtx_tok_is_numeric(uint32_t cp);     /* Nd, Nl, No */
bool dtx_tok_is_punctuation(uint32_t cp); /* as the Punctuation stage sees it */

#endif
