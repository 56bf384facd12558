#include <string.h>

#include "src/base/mem.h"
#include "src/text/impl.h"

void dtx_trie_init(dtx_trie *trie)
{
    memset(trie, 0, sizeof *trie);
    memset(trie->root, 0xFF, sizeof trie->root);
}

void dtx_trie_free(dtx_trie *trie)
{
    dtx_free(trie->node);
    dtx_trie_init(trie);
}

static int32_t child_of(const dtx_trie *trie, int32_t parent, unsigned char byte)
{
    int32_t at = parent < 0 ? trie->root[byte] : trie->node[parent].child;

    while (at >= 0 && trie->node[at].byte != byte) {
        at = trie->node[at].sibling;
    }
    return at;
}

dtx_status dtx_trie_add(dtx_trie *trie, const char *s, size_t n, int32_t token)
{
    int32_t at = -1;

    for (size_t i = 0; i < n; i++) {
        int32_t next = child_of(trie, at, (unsigned char)s[i]);
        if (next < 0) {
            if (trie->n >= INT32_MAX) {
                return DTX_FAIL(DTX_ERR_INPUT, "more than 2 GiB of added tokens");
            }
            DTX_TRY(DTX_GROW(trie->node, trie->cap, trie->n + 1));
            int32_t *from = at < 0 ? &trie->root[(unsigned char)s[i]] : &trie->node[at].child;
            next = (int32_t)trie->n++;
            trie->node[next] = (dtx_trie_node){.child = -1, .sibling = *from, .token = -1, .byte = (unsigned char)s[i]};
            *from = next;
        }
        at = next;
    }
    if (at >= 0) {
        trie->node[at].token = token;
    }
    return DTX_OK;
}

bool dtx_trie_find(const dtx_trie *trie, const char *s, size_t n, size_t from, size_t *at, size_t *end, int32_t *token)
{
    if (trie->n == 0) {
        return false;
    }
    for (size_t i = from; i < n; i++) {
        int32_t node = trie->root[(unsigned char)s[i]];
        *token = -1;
        for (size_t k = i; node >= 0; node = child_of(trie, node, (unsigned char)s[k])) {
            k++;
            if (trie->node[node].token >= 0) {
                *token = trie->node[node].token;
                *end = k;
            }
            if (k == n) {
                break;
            }
        }
        if (*token >= 0) {
            *at = i;
            return true;
        }
    }
    return false;
}
