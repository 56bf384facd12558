/* mem.h - the only door to the heap: overflow-checked, zeroed, 64-byte aligned, counted.
 * Large blocks that were freed are kept for later ones (mem.c), never more than brings use back to its largest value.
 * A test can make the N-th allocation fail (dtx_mem_fail_at), so that every clean-up path is walked. */
#ifndef DTX_MEM_H
#define DTX_MEM_H

#include <stddef.h>
#include <stdint.h>

#include "src/base/status.h"

/* Zeroed memory for n objects of `size` bytes, 64-byte aligned; NULL when it is not there or n * size overflows.
 * n == 0 gives a pointer that may be freed. */
void *dtx_calloc(size_t n, size_t size);
/* The same without zeroing, for large buffers that are written before they are read. */
void *dtx_malloc(size_t n, size_t size);
/* Grows a block made by dtx_calloc; the new part is not zeroed. NULL leaves the old block as it is. */
void *dtx_realloc(void *old, size_t n, size_t size);
void dtx_free(void *p);
/* Copy of a string or of `len` bytes plus a final NUL. NULL when memory is not there. */
char *dtx_strdup(const char *s);
char *dtx_strndup(const char *s, size_t len);

/* ptr = n zeroed objects, or DTX_ERR_MISSING with the size in the text. */
#define DTX_NEW(ptr, n) dtx_mem_check(((ptr) = dtx_calloc((size_t)(n), sizeof *(ptr))), (size_t)(n), sizeof *(ptr), #ptr)
#define DTX_NEW_RAW(ptr, n) \
    dtx_mem_check(((ptr) = dtx_malloc((size_t)(n), sizeof *(ptr))), (size_t)(n), sizeof *(ptr), #ptr)
dtx_status dtx_mem_check(const void *p, size_t n, size_t size, const char *what);

/* Makes room for `need` objects in an array that grows by half, at least 16: *ptr and *cap are updated. */
#define DTX_GROW(ptr, cap, need) dtx_mem_grow((void **)&(ptr), &(cap), (size_t)(need), sizeof *(ptr), #ptr)
dtx_status dtx_mem_grow(void **ptr, size_t *cap, size_t need, size_t size, const char *what);

/* Bytes in use and the largest value seen, over all threads (payload, without the allocator's overhead). */
size_t dtx_mem_used(void);
size_t dtx_mem_peak(void);
/* Test hook: the n-th allocation from now (1 = the next) fails, as do all after it; 0 switches the hook off. */
void dtx_mem_fail_at(int64_t n);

#endif
