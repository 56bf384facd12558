/* alphabet.h - GPT-2's byte alphabet: each byte is written as one printable character in tokenizer files. */
#ifndef DTX_ALPHABET_H
#define DTX_ALPHABET_H

#include <stdint.h>

/* Character of the byte alphabet that stands for a byte, and back (-1 where cp stands for none). */
uint32_t dtx_tok_byte_char(unsigned byte);
int dtx_tok_char_byte(uint32_t cp);

#endif
