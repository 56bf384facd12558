/* build_torch.h - writes what torch.save writes, piece by piece, so that tests can make a right file and wrong ones. */
#ifndef DTX_TESTS_BUILD_TORCH_H
#define DTX_TESTS_BUILD_TORCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Growing bytes; free p with free(). Aborts when memory is not there. */
typedef struct {
    uint8_t *p;
    size_t n, cap;
} buf;
void buf_add(buf *b, const void *data, size_t n);
void buf_text(buf *b, const char *s);
void buf_number(buf *b, uint64_t v, int bytes); /* little endian */
void buf_free(buf *b);

/* --- zip --- */

/* Local header of a stored entry; its data follows. */
void zip_local(buf *b, const char *name, uint64_t size, uint32_t crc);
/* Directory header. Sizes and offsets of 4 GiB and more, or all when `wide`, go into the ZIP64 extra field. */
void zip_central(buf *b, const char *name, uint64_t size, uint32_t crc, uint64_t local, bool wide);
/* End record, with the ZIP64 records before it when `wide`; `end64` is where they stand in the file. */
void zip_end(buf *b, uint64_t n, uint64_t begin, uint64_t size, bool wide, uint64_t end64);
uint32_t zip_crc(const void *data, size_t n);

typedef struct {
    const char *name;
    const void *data;
    size_t size;
} zip_item;
/* A whole archive. */
void zip_build(buf *b, const zip_item *items, size_t n, bool wide);

/* --- pickle --- */

typedef struct {
    const char *name;
    const char *storage_type;     /* "FloatStorage" */
    const char *key;              /* "0" */
    int64_t storage_size, offset; /* elements */
    int n_dims;
    int64_t shape[4], stride[4];
    bool parameter; /* wrapped in _rebuild_parameter */
} pickle_item;
/* ordered: an OrderedDict with a _metadata state, as a state dictionary is; else a plain dictionary. */
void pickle_build(buf *b, const pickle_item *items, size_t n, bool ordered);

#endif
