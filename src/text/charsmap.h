/* charsmap.h - SentencePiece's precompiled replacements (nmt_nfkc and the like): a double-array trie of UTF-8 strings, and a
 * pool of NUL-terminated texts that stand for them. A grapheme of less than 6 bytes is replaced as a whole by what its
 * shortest prefix in the trie stands for; of longer ones, and of those without such a prefix, each character on its own. */
#ifndef DTX_CHARSMAP_H
#define DTX_CHARSMAP_H

#include <stddef.h>
#include <stdint.h>

#include "src/base/status.h"

typedef struct {
    uint32_t *unit;
    size_t n_units;
    char *pool; /* ends with NUL */
    size_t n_pool;
} dtx_charsmap;

/* From the base64 text of `precompiled_charsmap`: 4 bytes length of the trie, trie, pool. `name` is for messages. DTX_ERR_INPUT when the
 * parts do not fit or the pool is not UTF-8. */
dtx_status dtx_charsmap_open(const char *base64, const char *name, dtx_charsmap *out);
void dtx_charsmap_free(dtx_charsmap *map);
/* Valid UTF-8 in and out; *out is freed with dtx_free, NULL when nothing changes (*out_n = n then). */
dtx_status dtx_charsmap_apply(const dtx_charsmap *map, const char *s, size_t n, char **out, size_t *out_n);

#endif
