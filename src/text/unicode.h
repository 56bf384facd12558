/* unicode.h - classes of characters, as the reference library's parts see them. */
#ifndef DTX_UNICODE_H
#define DTX_UNICODE_H

#include <stdbool.h>
#include <stdint.h>

bool dtx_tok_is_space(uint32_t cp);       /* White_Space */
bool dtx_tok_is_numeric(uint32_t cp);     /* Nd, Nl, No */
bool dtx_tok_is_word(uint32_t cp);        /* \w of the search for added tokens: letters, marks, digits, connectors, joiners */
bool dtx_tok_is_punctuation(uint32_t cp); /* P of Unicode 8, and all ASCII symbols */
bool dtx_tok_is_mark(uint32_t cp);        /* Mn of Unicode 8 */
bool dtx_tok_is_control(uint32_t cp);     /* what clean_text drops: NUL, U+FFFD, Cc but tab, LF, CR, Cf of Unicode 8, Co */
bool dtx_tok_is_ideograph(uint32_t cp);   /* what handle_chinese_chars sets apart */
/* Lower case of one character: 1 or 2 code points. */
int dtx_tok_lower(uint32_t cp, uint32_t out[2]);

#endif
