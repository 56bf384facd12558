/* map.h - byte strings to non-negative numbers: the vocabulary's look-ups, and the piece counts of training.
 * Open addressing with linear probing, at most half full; the strings are copied into one pool. For the
 * tokenizer, and the index of the score cache. */
#ifndef DTX_MAP_H
#define DTX_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "src/base/status.h"

typedef struct {
    uint32_t hash, len, off; /* off: start in the pool */
    uint32_t value1;         /* value + 1; 0 = empty slot */
} dtx_map_slot;

/* Zero-initialised is empty. */
typedef struct {
    dtx_map_slot *slot;
    size_t n_slots, n; /* n_slots is a power of two, or 0 */
    char *pool;
    size_t pool_n, pool_cap;
} dtx_map;

void dtx_map_free(dtx_map *m);
/* Value of a string, -1 when it is absent. */
int32_t dtx_map_find(const dtx_map *m, const char *s, size_t n);
/* Adds a string that is absent; *value (>= 0) is then its value. When it is present, *value becomes the old one and
 * *added 0. `added` may be NULL. */
dtx_status dtx_map_add(dtx_map *m, const char *s, size_t n, int32_t *value, int *added);

#endif
