#include "src/text/alphabet.h"

#include <stdbool.h>

/* GPT-2's byte alphabet: printable Latin-1 stands for itself, the other 68 bytes for U+0100 and up, in order. */
static bool stands_for_itself(unsigned byte)
{
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

uint32_t dtx_tok_byte_char(unsigned byte)
{
    if (stands_for_itself(byte)) {
        return byte;
    }
    /* bytes 00..20 are the first 33, 7F..A0 the next 34, AD the last */
    return 0x100 + (byte <= 0x20 ? byte : byte <= 0xA0 ? byte - 0x7F + 33 : 67);
}

int dtx_tok_char_byte(uint32_t cp)
{
    if (cp < 0x100) {
        return stands_for_itself(cp) ? (int)cp : -1;
    }
    cp -= 0x100;
    return cp < 33 ? (int)cp : cp < 67 ? (int)cp - 33 + 0x7F : cp == 67 ? 0xAD : -1;
}
