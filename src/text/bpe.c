#include "src/text/bpe.h"

#include <string.h>

#include "src/base/mem.h"
#include "src/base/utf8.h"

enum {
    SHORT = 128, /* bytes of a piece that is merged in stack memory */
    NONE = -1
};

/* One symbol of the piece: a doubly linked list in an array, indexed by the position of its first byte. */
typedef struct {
    int32_t id;         /* NONE once it was merged into its left neighbour */
    int32_t prev, next; /* positions, NONE at the ends */
    int32_t rank, join; /* merge of this symbol and the next: rank (NONE = not in the list) and resulting id */
} symbol;

dtx_status dtx_bpe_init(dtx_bpe *b, size_t n)
{
    memset(b, 0, sizeof *b);
    memset(b->byte_id, 0xFF, sizeof b->byte_id);
    b->n_slots = 64;
    while (b->n_slots < 2 * n) {
        b->n_slots *= 2;
    }
    DTX_TRY(DTX_NEW_RAW(b->merge, b->n_slots));
    memset(b->merge, 0xFF, b->n_slots * sizeof *b->merge);
    return DTX_OK;
}

void dtx_bpe_free(dtx_bpe *b)
{
    dtx_free(b->merge);
    dtx_map_free(&b->whole);
    memset(b, 0, sizeof *b);
}

static dtx_bpe_merge *probe(const dtx_bpe *b, uint64_t pair)
{
    uint64_t h = pair * 0x9E3779B97F4A7C15u;

    for (size_t i = (h >> 32) & (b->n_slots - 1);; i = (i + 1) & (b->n_slots - 1)) {
        if (b->merge[i].id < 0 || b->merge[i].pair == pair) {
            return &b->merge[i];
        }
    }
}

static uint64_t pair_of(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

void dtx_bpe_add(dtx_bpe *b, int32_t left, int32_t right, int32_t rank, int32_t id)
{
    uint64_t pair = pair_of(left, right);

    *probe(b, pair) = (dtx_bpe_merge){.pair = pair, .rank = rank, .id = id};
}

const dtx_bpe_merge *dtx_bpe_find(const dtx_bpe *b, int32_t left, int32_t right)
{
    const dtx_bpe_merge *m = probe(b, pair_of(left, right));

    return m->id < 0 ? NULL : m;
}

/* Binary min-heap of candidates rank << 32 | position: the lowest rank first, the leftmost among equals. Entries whose
 * pair has changed since stay inside and are recognised when they come out. */
static void heap_push(uint64_t *heap, size_t *n, uint64_t key)
{
    size_t i = (*n)++;

    while (i > 0 && heap[(i - 1) / 2] > key) {
        heap[i] = heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    heap[i] = key;
}

static uint64_t heap_pop(uint64_t *heap, size_t *n)
{
    uint64_t top = heap[0], last = heap[--*n];
    size_t i = 0;

    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= *n) {
            break;
        }
        if (child + 1 < *n && heap[child + 1] < heap[child]) {
            child++;
        }
        if (heap[child] >= last) {
            break;
        }
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = last;
    return top;
}

/* Looks up the pair that starts at `at` and queues it. */
static void queue_pair(const dtx_bpe *b, symbol *sym, int32_t at, uint64_t *heap, size_t *n_heap)
{
    const dtx_bpe_merge *m = sym[at].next == NONE ? NULL : dtx_bpe_find(b, sym[at].id, sym[sym[at].next].id);

    sym[at].rank = NONE;
    if (m != NULL) {
        sym[at].rank = m->rank;
        sym[at].join = m->id;
        heap_push(heap, n_heap, (uint64_t)(uint32_t)m->rank << 32 | (uint32_t)at);
    }
}

/* Merges until no pair is in the list; the remaining symbols are linked from position 0. */
static void merge_all(const dtx_bpe *b, symbol *sym, int32_t n, uint64_t *heap)
{
    size_t n_heap = 0;

    for (int32_t i = 0; i + 1 < n; i++) {
        queue_pair(b, sym, i, heap, &n_heap);
    }
    while (n_heap > 0) {
        uint64_t key = heap_pop(heap, &n_heap);
        int32_t at = (int32_t)(uint32_t)key, right = sym[at].next;
        if (sym[at].id == NONE || sym[at].rank != (int32_t)(key >> 32)) {
            continue;
        }
        sym[at].id = sym[at].join;
        sym[at].next = sym[right].next;
        sym[right].id = NONE;
        if (sym[right].next != NONE) {
            sym[sym[right].next].prev = at;
        }
        queue_pair(b, sym, at, heap, &n_heap);
        if (sym[at].prev != NONE) {
            queue_pair(b, sym, sym[at].prev, heap, &n_heap);
        }
    }
}

/* Memory for the symbols of one piece: on the stack for short ones. */
typedef struct {
    symbol sym_short[SHORT], *sym;
    uint64_t heap_short[3 * SHORT], *heap;
    int32_t count; /* symbols put so far */
} workspace;

/* Room for n symbols. */
static dtx_status begin(workspace *w, size_t n)
{
    w->sym = w->sym_short;
    w->heap = w->heap_short;
    w->count = 0;
    if (n > SHORT) {
        w->sym = NULL;
        w->heap = NULL;
        DTX_TRY(DTX_NEW_RAW(w->sym, n));
        dtx_status st = DTX_NEW_RAW(w->heap, 3 * n); /* n - 1 pairs at first, and at most two more per merge */
        if (st != DTX_OK) {
            dtx_free(w->sym);
            return st;
        }
    }
    return DTX_OK;
}

static inline void put(workspace *w, int32_t id)
{
    w->sym[w->count] = (symbol){.id = id, .prev = w->count - 1, .next = w->count + 1, .rank = NONE, .join = NONE};
    w->count++;
}

/* Merges what was put, appends the ids that are left, and frees the workspace. */
static dtx_status end(workspace *w, const dtx_bpe *b, dtx_ids *out)
{
    dtx_status st = DTX_OK;

    if (w->count > 0) {
        w->sym[w->count - 1].next = NONE;
        merge_all(b, w->sym, w->count, w->heap);
        DTX_GO(DTX_GROW(out->id, out->cap, out->n + (size_t)w->count));
        for (int32_t i = 0; i != NONE; i = w->sym[i].next) {
            out->id[out->n++] = w->sym[i].id;
        }
    }
done:
    if (w->sym != w->sym_short) {
        dtx_free(w->sym);
        dtx_free(w->heap);
    }
    return st;
}

dtx_status dtx_bpe_merge_piece(const dtx_bpe *b, const char *s, size_t n, dtx_ids *out)
{
    workspace w;

    DTX_TRY(begin(&w, n));
    for (size_t i = 0; i < n; i++) {
        int32_t id = b->byte_id[(unsigned char)s[i]];
        if (id >= 0) {
            put(&w, id);
        }
    }
    return end(&w, b, out);
}

/* An unknown character: bytes, or one unknown symbol, which waits for the next known character (as in the reference, bytes
 * that come between overtake it). */
static void put_unknown(workspace *w, const dtx_bpe_chars *c, const char *s, size_t n, bool *waiting)
{
    bool bytes = c->byte_fallback;

    for (size_t i = 0; i < n && bytes; i++) {
        bytes = c->byte_token[(unsigned char)s[i]] >= 0;
    }
    if (bytes) {
        for (size_t i = 0; i < n; i++) {
            put(w, c->byte_token[(unsigned char)s[i]]);
        }
    } else if (c->unknown >= 0) {
        if (*waiting && !c->fuse_unknown) {
            put(w, c->unknown);
        }
        *waiting = true;
    }
}

dtx_status dtx_bpe_merge_chars(const dtx_bpe *b, const dtx_bpe_chars *c, const char *s, size_t n, dtx_ids *out)
{
    workspace w;
    bool waiting = false;

    DTX_TRY(begin(&w, n)); /* no character gives more symbols than it has bytes */
    for (size_t i = 0, len; i < n; i += len) {
        uint32_t cp;
        len = dtx_utf8_next(s + i, n - i, &cp, NULL);
        int32_t id = dtx_map_find(c->ids, s + i, len);
        if (id < 0) {
            put_unknown(&w, c, s + i, len, &waiting);
            continue;
        }
        if (waiting) {
            put(&w, c->unknown);
            waiting = false;
        }
        put(&w, id);
    }
    if (waiting) {
        put(&w, c->unknown);
    }
    return end(&w, b, out);
}

dtx_status dtx_bpe_encode(const dtx_bpe *b, const char *s, size_t n, dtx_ids *out)
{
    int32_t id = dtx_map_find(&b->whole, s, n);

    if (id < 0) {
        return dtx_bpe_merge_piece(b, s, n, out);
    }
    return dtx_ids_add(out, id);
}
