#include "src/text/map.h"

#include <string.h>

#include "src/base/mem.h"

/* Multiply and fold, eight bytes a step. The last bytes are read as two overlapping words, so that no loop over single
 * bytes remains: most pieces have two to eight. */
static uint32_t hash_bytes(const char *s, size_t n)
{
    const uint64_t k = 0x9E3779B97F4A7C15u;
    uint64_t h = n * k, v = 0;

    for (; n > 8; s += 8, n -= 8) {
        memcpy(&v, s, 8);
        h = (h ^ v) * k;
        h ^= h >> 29;
    }
    if (n >= 4) {
        uint32_t a, b;
        memcpy(&a, s, 4);
        memcpy(&b, s + n - 4, 4);
        v = (uint64_t)a << 32 | b;
    } else if (n > 0) {
        v = (uint64_t)(unsigned char)s[0] << 16 | (uint64_t)(unsigned char)s[n / 2] << 8 | (unsigned char)s[n - 1];
    }
    h = (h ^ v) * k;
    h ^= h >> 29;
    h *= k;
    return (uint32_t)(h >> 32);
}

void dtx_map_free(dtx_map *m)
{
    dtx_free(m->slot);
    dtx_free(m->pool);
    memset(m, 0, sizeof *m);
}

/* The slot of the string, or the empty one where it belongs. */
static dtx_map_slot *probe(const dtx_map *m, const char *s, size_t n, uint32_t hash)
{
    for (size_t i = hash & (m->n_slots - 1);; i = (i + 1) & (m->n_slots - 1)) {
        dtx_map_slot *p = &m->slot[i];
        if (p->value1 == 0 || (p->hash == hash && p->len == n && memcmp(m->pool + p->off, s, n) == 0)) {
            return p;
        }
    }
}

int32_t dtx_map_find(const dtx_map *m, const char *s, size_t n)
{
    if (m->n == 0) {
        return -1;
    }
    return (int32_t)probe(m, s, n, hash_bytes(s, n))->value1 - 1;
}

static dtx_status grow(dtx_map *m)
{
    size_t n_slots = m->n_slots == 0 ? 64 : 2 * m->n_slots;
    dtx_map_slot *slot;

    DTX_TRY(DTX_NEW(slot, n_slots));
    for (size_t i = 0; i < m->n_slots; i++) {
        if (m->slot[i].value1 != 0) {
            size_t at = m->slot[i].hash & (n_slots - 1);
            while (slot[at].value1 != 0) {
                at = (at + 1) & (n_slots - 1);
            }
            slot[at] = m->slot[i];
        }
    }
    dtx_free(m->slot);
    m->slot = slot;
    m->n_slots = n_slots;
    return DTX_OK;
}

dtx_status dtx_map_add(dtx_map *m, const char *s, size_t n, int32_t *value, int *added)
{
    uint32_t hash = hash_bytes(s, n);
    dtx_map_slot *p;

    if (2 * (m->n + 1) > m->n_slots) {
        DTX_TRY(grow(m));
    }
    p = probe(m, s, n, hash);
    if (p->value1 != 0) {
        *value = (int32_t)p->value1 - 1;
        if (added) {
            *added = 0;
        }
        return DTX_OK;
    }
    if (n > UINT32_MAX - m->pool_n) {
        return DTX_FAIL(DTX_ERR_INPUT, "more than 4 GiB of token strings");
    }
    DTX_TRY(DTX_GROW(m->pool, m->pool_cap, m->pool_n + n + 1));
    memcpy(m->pool + m->pool_n, s, n);
    m->pool[m->pool_n + n] = '\0';
    *p = (dtx_map_slot){.hash = hash, .len = (uint32_t)n, .off = (uint32_t)m->pool_n, .value1 = (uint32_t)*value + 1};
    m->pool_n += n + 1;
    m->n++;
    if (added) {
        *added = 1;
    }
    return DTX_OK;
}
