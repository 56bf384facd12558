#include "src/text/trie.h"

#include <string.h>

#include "src/base/mem.h"

void dtx_trie_free(dtx_trie *trie)
{
    dtx_free(trie->edge);
    dtx_free(trie->value);
    memset(trie, 0, sizeof *trie);
}

/* The slot of an edge, or the empty one where it belongs. */
static dtx_trie_edge *probe(dtx_trie_edge *edge, size_t n_slots, int32_t parent, unsigned char byte)
{
    uint64_t h = ((uint64_t)(uint32_t)parent << 8 | byte) * 0x9E3779B97F4A7C15u;

    for (size_t i = (h >> 32) & (n_slots - 1);; i = (i + 1) & (n_slots - 1)) {
        if (edge[i].node == 0 || (edge[i].parent == parent && edge[i].byte == byte)) {
            return &edge[i];
        }
    }
}

static dtx_status grow(dtx_trie *trie)
{
    size_t n_slots = trie->n_slots == 0 ? 64 : 2 * trie->n_slots;
    dtx_trie_edge *edge;

    DTX_TRY(DTX_NEW(edge, n_slots));
    for (size_t i = 0; i < trie->n_slots; i++) {
        if (trie->edge[i].node != 0) {
            *probe(edge, n_slots, trie->edge[i].parent, trie->edge[i].byte) = trie->edge[i];
        }
    }
    dtx_free(trie->edge);
    trie->edge = edge;
    trie->n_slots = n_slots;
    return DTX_OK;
}

static dtx_status new_node(dtx_trie *trie, int32_t *node)
{
    if (trie->n_nodes >= INT32_MAX / 2) {
        return DTX_FAIL(DTX_ERR_INPUT, "the strings of the tokenizer are longer than 1 GiB together");
    }
    DTX_TRY(DTX_GROW(trie->value, trie->cap_nodes, trie->n_nodes + 2));
    if (trie->n_nodes == 0) {
        trie->value[trie->n_nodes++] = -1; /* number 0 says "none" */
    }
    *node = (int32_t)trie->n_nodes;
    trie->value[trie->n_nodes++] = -1;
    return DTX_OK;
}

int32_t dtx_trie_child(const dtx_trie *trie, int32_t node, unsigned char byte)
{
    return trie->n_slots == 0 ? 0 : probe(trie->edge, trie->n_slots, node, byte)->node;
}

dtx_status dtx_trie_add(dtx_trie *trie, const char *s, size_t n, int32_t value)
{
    int32_t at = 0;

    for (size_t i = 0; i < n; i++) {
        unsigned char byte = (unsigned char)s[i];
        int32_t next = i == 0 ? trie->root[byte] : dtx_trie_child(trie, at, byte);
        if (next == 0) {
            DTX_TRY(new_node(trie, &next));
            if (i == 0) {
                trie->root[byte] = next;
            } else {
                if (2 * (trie->n_edges + 1) > trie->n_slots) {
                    DTX_TRY(grow(trie));
                }
                *probe(trie->edge, trie->n_slots, at, byte) = (dtx_trie_edge){.parent = at, .node = next, .byte = byte};
                trie->n_edges++;
            }
        }
        at = next;
    }
    if (at > 0 && trie->value[at] < 0) {
        trie->value[at] = value;
    }
    return DTX_OK;
}

bool dtx_trie_find(const dtx_trie *trie, const char *s, size_t n, size_t from, size_t *at, size_t *end, int32_t *value)
{
    if (trie->n_nodes == 0) {
        return false;
    }
    for (size_t i = from; i < n; i++) {
        int32_t node = trie->root[(unsigned char)s[i]];
        *value = -1;
        for (size_t k = i; node > 0; node = dtx_trie_child(trie, node, (unsigned char)s[k])) {
            k++;
            if (trie->value[node] >= 0) {
                *value = trie->value[node];
                *end = k;
            }
            if (k == n) {
                break;
            }
        }
        if (*value >= 0) {
            *at = i;
            return true;
        }
    }
    return false;
}
