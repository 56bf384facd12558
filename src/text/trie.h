/* trie.h - byte strings with a number each, found as prefixes of a text: added tokens, and the pieces of a Unigram model.
 * A node's children are found by one look-up in a hash of (node, byte); the root's stand in a table. */
#ifndef DTX_TRIE_H
#define DTX_TRIE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/status.h"

typedef struct {
    int32_t parent, node; /* node 0 = empty slot: no edge leads to the root's own number */
    unsigned char byte;
} dtx_trie_edge;

typedef struct {
    int32_t root[256];    /* node, 0 = none */
    dtx_trie_edge *edge;  /* open addressing, at most half full */
    size_t n_slots, n_edges;
    int32_t *value; /* by node, -1 = no string ends here */
    size_t n_nodes, cap_nodes;
} dtx_trie;

/* Zero-initialised is empty. */
void dtx_trie_free(dtx_trie *trie);
/* Adds a string of n > 0 bytes with value >= 0; a string that is there keeps its value. */
dtx_status dtx_trie_add(dtx_trie *trie, const char *s, size_t n, int32_t value);
/* Child of a node by a byte, 0 = none; dtx_trie_first gives the root's. */
static inline int32_t dtx_trie_first(const dtx_trie *trie, unsigned char byte)
{
    return trie->root[byte];
}
int32_t dtx_trie_child(const dtx_trie *trie, int32_t node, unsigned char byte);
/* Leftmost match at or after `from`, the longest at its place: true with *at, *end and *value. */
bool dtx_trie_find(const dtx_trie *trie, const char *s, size_t n, size_t from, size_t *at, size_t *end, int32_t *value);

#endif
