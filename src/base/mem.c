#include "src/base/mem.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* In front of each block, one cache line, which keeps the alignment. */
enum { HEADER = 64 };
typedef struct {
    size_t bytes;    /* asked for */
    size_t capacity; /* asked for when the block was made */
} header;

/* From this size on a block asks for huge pages: activations and cotangents are walked in strides of whole rows, where
 * small pages cost a table walk each, and fresh small pages cost a fault each. */
enum { HUGE_PAGE = 2 << 20, HUGE_FROM = 4 * HUGE_PAGE };

/* Large blocks that were freed are kept for the next one of about their size: the pages of a new one would have to be
 * cleared by the system first, which measured a fifth of an attribution. What is kept and what is in use stay together
 * below the largest use so far. Not under the address sanitizer, which watches freed memory itself. */
#ifdef __SANITIZE_ADDRESS__
enum { MAX_KEPT = 0 };
#else
enum { MAX_KEPT = 64 };
#endif
enum { KEEP_FROM = 1 << 20 };
static struct {
    pthread_mutex_t lock;
    int n;
    size_t bytes;                /* sum of capacities */
    char *base[MAX_KEPT + 1];    /* oldest first */
} kept = {.lock = PTHREAD_MUTEX_INITIALIZER};

static atomic_size_t used, peak;
static atomic_llong fail_countdown; /* 0 = off, 1 = failing */

static int must_fail(void)
{
    long long left = atomic_load(&fail_countdown);

    if (left == 0) {
        return 0;
    }
    if (left > 1) {
        return atomic_fetch_sub(&fail_countdown, 1) <= 1;
    }
    return 1;
}

static void count_add(size_t bytes)
{
    size_t now = atomic_fetch_add(&used, bytes) + bytes, top = atomic_load(&peak);

    while (now > top && !atomic_compare_exchange_weak(&peak, &top, now)) {
    }
}

static header *header_of(char *base)
{
    return (header *)(void *)base;
}

/* Removes entry i. The caller holds the lock. */
static char *take(int i)
{
    char *base = kept.base[i];

    kept.bytes -= header_of(base)->capacity;
    kept.n--;
    memmove(kept.base + i, kept.base + i + 1, (size_t)(kept.n - i) * sizeof *kept.base);
    return base;
}

/* A kept block of at least `bytes` and at most a quarter more, NULL = none; room is then made for a new one. */
static char *reuse(size_t bytes)
{
    char *base = NULL;
    int best = -1;

    pthread_mutex_lock(&kept.lock);
    for (int i = 0; i < kept.n; i++) {
        size_t has = header_of(kept.base[i])->capacity;
        if (has >= bytes && has - bytes <= bytes / 4 && (best < 0 || has < header_of(kept.base[best])->capacity)) {
            best = i;
        }
    }
    if (best >= 0) {
        base = take(best);
    }
    while (base == NULL && kept.n > 0 && atomic_load(&used) + kept.bytes + bytes > atomic_load(&peak)) {
        free(take(0));
    }
    pthread_mutex_unlock(&kept.lock);
    return base;
}

/* Takes a freed block, and parts with the oldest ones where too much is kept. */
static void keep(char *base)
{
    pthread_mutex_lock(&kept.lock);
    kept.base[kept.n++] = base;
    kept.bytes += header_of(base)->capacity;
    while (kept.n > MAX_KEPT || (kept.n > 0 && atomic_load(&used) + kept.bytes > atomic_load(&peak))) {
        free(take(0));
    }
    pthread_mutex_unlock(&kept.lock);
}

void *dtx_malloc(size_t n, size_t size)
{
    size_t bytes;
    char *base;

    if (__builtin_mul_overflow(n, size, &bytes) || bytes > SIZE_MAX - HEADER - HUGE_PAGE || must_fail()) {
        return NULL;
    }
    base = bytes >= KEEP_FROM ? reuse(bytes) : NULL;
    if (base == NULL) {
        /* aligned_alloc wants a multiple of the alignment */
        size_t align = bytes >= HUGE_FROM ? HUGE_PAGE : HEADER, whole = (bytes + HEADER + align - 1) / align * align;
        base = aligned_alloc(align, whole);
        if (base == NULL) {
            return NULL;
        }
#ifdef MADV_HUGEPAGE
        if (bytes >= HUGE_FROM) {
            madvise(base, bytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE); /* advice: may be refused */
        }
#endif
        header_of(base)->capacity = bytes;
    }
    header_of(base)->bytes = bytes;
    count_add(bytes);
    return base + HEADER;
}

void *dtx_calloc(size_t n, size_t size)
{
    void *p = dtx_malloc(n, size);

    if (p != NULL) {
        memset(p, 0, n * size);
    }
    return p;
}

void *dtx_realloc(void *old, size_t n, size_t size)
{
    void *p = dtx_malloc(n, size);

    if (p != NULL && old != NULL) {
        size_t had = header_of((char *)old - HEADER)->bytes;
        memcpy(p, old, had < n * size ? had : n * size);
        dtx_free(old);
    }
    return p;
}

void dtx_free(void *p)
{
    if (p != NULL) {
        char *base = (char *)p - HEADER;
        atomic_fetch_sub(&used, header_of(base)->bytes);
        if (header_of(base)->capacity >= KEEP_FROM) {
            keep(base);
        } else {
            free(base);
        }
    }
}

char *dtx_strndup(const char *s, size_t len)
{
    char *p = dtx_malloc(len + 1, 1);

    if (p != NULL) {
        memcpy(p, s, len);
        p[len] = '\0';
    }
    return p;
}

char *dtx_strdup(const char *s)
{
    return dtx_strndup(s, strlen(s));
}

dtx_status dtx_mem_check(const void *p, size_t n, size_t size, const char *what)
{
    if (p == NULL) {
        return DTX_FAIL(DTX_ERR_MISSING,
                        "out of memory: %zu x %zu bytes for '%s' are not there (%.1f MB in use); ask for more memory per "
                        "rank, start fewer ranks per node, or lower the batch and memory settings",
                        n, size, what, (double)dtx_mem_used() / 1e6);
    }
    return DTX_OK;
}

dtx_status dtx_mem_grow(void **ptr, size_t *cap, size_t need, size_t size, const char *what)
{
    if (need <= *cap) {
        return DTX_OK;
    }
    size_t next = *cap + *cap / 2;
    next = next < 16 ? 16 : next;
    next = next < need ? need : next;
    void *p = dtx_realloc(*ptr, next, size);
    DTX_TRY(dtx_mem_check(p, next, size, what));
    *ptr = p;
    *cap = next;
    return DTX_OK;
}

size_t dtx_mem_used(void)
{
    return atomic_load(&used);
}

size_t dtx_mem_peak(void)
{
    return atomic_load(&peak);
}

void dtx_mem_fail_at(int64_t n)
{
    atomic_store(&fail_countdown, n);
}
