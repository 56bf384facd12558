#include "src/weights/torch_zip.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/mem.h"

enum {
    END_SIZE = 22,     /* end of central directory, without its comment */
    LOCATOR_SIZE = 20, /* ZIP64 end of central directory locator */
    END64_SIZE = 56,   /* ZIP64 end of central directory record */
    CENTRAL_SIZE = 46, /* central directory header, without name, extra field, comment */
    LOCAL_SIZE = 30,   /* local file header */
    MAX_COMMENT = 65535,
};

typedef struct {
    const char *file; /* for messages */
    const unsigned char *p;
    size_t size;
} archive;

/* Where the directory is. */
typedef struct {
    uint64_t begin, size, n;
} directory;

static uint64_t get(const unsigned char *p, int bytes)
{
    uint64_t v = 0;

    for (int i = bytes - 1; i >= 0; i--) {
        v = v << 8 | p[i];
    }
    return v;
}

/* The end record is the last thing in the file but for a comment whose length it states. */
static dtx_status find_end(const archive *a, size_t *at)
{
    size_t back = a->size < END_SIZE + MAX_COMMENT ? a->size : END_SIZE + MAX_COMMENT;

    for (size_t k = END_SIZE; k <= back; k++) {
        const unsigned char *p = a->p + a->size - k;
        if (get(p, 4) == 0x06054b50u && get(p + 20, 2) == k - END_SIZE) {
            *at = a->size - k;
            return DTX_OK;
        }
    }
    return DTX_FAIL(DTX_ERR_INPUT,
                    "%s: the zip archive's end record is not there; the file is truncated (%zu bytes), copy it again",
                    a->file, a->size);
}

static dtx_status find_directory(const archive *a, directory *d)
{
    size_t end = 0;

    DTX_TRY(find_end(a, &end));
    const unsigned char *p = a->p + end;
    *d = (directory){get(p + 16, 4), get(p + 12, 4), get(p + 10, 2)};
    bool wide = end >= LOCATOR_SIZE && get(p - LOCATOR_SIZE, 4) == 0x07064b50u;
    if (get(p + 4, 2) != get(p + 6, 2) || (!wide && get(p + 8, 2) != d->n)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: a zip archive in several volumes is not supported", a->file);
    }
    if (wide) {
        uint64_t at = get(p - LOCATOR_SIZE + 8, 8);
        if (end < LOCATOR_SIZE + END64_SIZE || at > end - LOCATOR_SIZE - END64_SIZE ||
            get(a->p + at, 4) != 0x06064b50u) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: the ZIP64 end record is not where its locator says (byte %llu of %zu)",
                            a->file, (unsigned long long)at, a->size);
        }
        *d = (directory){get(a->p + at + 48, 8), get(a->p + at + 40, 8), get(a->p + at + 32, 8)};
        end = (size_t)at;
    }
    if (d->begin > end || d->size > end - d->begin || d->n > d->size / CENTRAL_SIZE) {
        return DTX_FAIL(
            DTX_ERR_INPUT, "%s: the zip directory (%llu entries, %llu bytes at byte %llu) does not fit before byte %zu",
            a->file, (unsigned long long)d->n, (unsigned long long)d->size, (unsigned long long)d->begin, end);
    }
    return DTX_OK;
}

/* Fields of a central header that stand in the ZIP64 extra field when they are all ones in the header, in this order.
 */
typedef struct {
    uint64_t size, packed, local;
} wide_fields;

static bool read_extra(const unsigned char *extra, size_t len, wide_fields *f)
{
    uint64_t *field[3] = {&f->size, &f->packed, &f->local};
    bool wanted = f->size == 0xFFFFFFFFu || f->packed == 0xFFFFFFFFu || f->local == 0xFFFFFFFFu;

    for (size_t at = 0; wanted && at + 4 <= len;) {
        size_t id = (size_t)get(extra + at, 2), n = (size_t)get(extra + at + 2, 2);
        at += 4;
        if (n > len - at) {
            return false;
        }
        if (id == 1) {
            size_t k = at;
            for (int i = 0; i < 3; i++) {
                if (*field[i] == 0xFFFFFFFFu) {
                    if (k + 8 > at + n) {
                        return false;
                    }
                    *field[i] = get(extra + k, 8);
                    k += 8;
                }
            }
            return true;
        }
        at += n;
    }
    return !wanted;
}

/* Where an entry's bytes begin: after its local header, whose name and extra field may differ in length from the
 * directory's. */
static dtx_status locate(const archive *a, const directory *d, uint64_t local, dtx_zip_entry *e)
{
    if (local > d->begin || d->begin - local < LOCAL_SIZE || get(a->p + local, 4) != 0x04034b50u) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: entry %.*s: no local header at byte %llu", a->file, (int)e->name_len,
                        e->name, (unsigned long long)local);
    }
    const unsigned char *p = a->p + local;
    size_t name_len = (size_t)get(p + 26, 2), skip = LOCAL_SIZE + name_len + (size_t)get(p + 28, 2);
    uint64_t room = d->begin - local;
    if (skip > room || name_len != e->name_len || memcmp(p + LOCAL_SIZE, e->name, name_len) != 0) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: entry %.*s: the local header at byte %llu is of another entry", a->file,
                        (int)e->name_len, e->name, (unsigned long long)local);
    }
    if (e->size > room - skip) {
        return DTX_FAIL(DTX_ERR_INPUT,
                        "%s: entry %.*s: %zu bytes from byte %llu do not fit before the directory at byte %llu",
                        a->file, (int)e->name_len, e->name, e->size, (unsigned long long)(local + skip),
                        (unsigned long long)d->begin);
    }
    e->data = (const char *)p + skip;
    return DTX_OK;
}

/* One central header at *at; *at moves behind it. */
static dtx_status read_central(const archive *a, const directory *d, size_t *at, dtx_zip_entry *e)
{
    size_t end = (size_t)(d->begin + d->size), left = end - *at;
    const unsigned char *p = a->p + *at;

    if (left < CENTRAL_SIZE || get(p, 4) != 0x02014b50u) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: byte %zu: a header of the zip directory is expected", a->file, *at);
    }
    size_t name_len = (size_t)get(p + 28, 2), extra_len = (size_t)get(p + 30, 2), comment_len = (size_t)get(p + 32, 2);
    if (name_len + extra_len + comment_len > left - CENTRAL_SIZE) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: byte %zu: a header of the zip directory reaches beyond its end", a->file,
                        *at);
    }
    *e = (dtx_zip_entry){.name = (const char *)p + CENTRAL_SIZE, .name_len = name_len};
    if ((get(p + 8, 2) & 1u) != 0 || get(p + 10, 2) != 0) {
        return DTX_FAIL(DTX_ERR_INPUT,
                        "%s: entry %.*s: compressed or encrypted (method %d); torch.save stores entries plainly, save "
                        "the file with it",
                        a->file, (int)name_len, e->name, (int)get(p + 10, 2));
    }
    wide_fields f = {get(p + 24, 4), get(p + 20, 4), get(p + 42, 4)};
    if (!read_extra(p + CENTRAL_SIZE + name_len, extra_len, &f) || f.size != f.packed) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: entry %.*s: its sizes in the zip directory contradict each other", a->file,
                        (int)name_len, e->name);
    }
    e->size = (size_t)f.size;
    *at += CENTRAL_SIZE + name_len + extra_len + comment_len;
    return locate(a, d, f.local, e);
}

static int compare_names(const char *a, size_t a_len, const char *b, size_t b_len)
{
    int c = memcmp(a, b, a_len < b_len ? a_len : b_len);

    return c != 0 ? c : a_len < b_len ? -1 : a_len > b_len;
}

static int compare_entries(const void *a, const void *b)
{
    const dtx_zip_entry *x = a, *y = b;

    return compare_names(x->name, x->name_len, y->name, y->name_len);
}

dtx_status dtx_zip_directory(const char *file, const char *data, size_t size, dtx_zip_entry **entries, size_t *n)
{
    const archive a = {file, (const unsigned char *)data, size};
    directory d;
    dtx_zip_entry *list = NULL;
    dtx_status st = DTX_OK;

    DTX_TRY(find_directory(&a, &d));
    size_t count = (size_t)d.n, at = (size_t)d.begin;
    DTX_TRY(DTX_NEW(list, count));
    for (size_t i = 0; i < count; i++) {
        DTX_GO(read_central(&a, &d, &at, &list[i]));
    }
    if (count > 1) {
        qsort(list, count, sizeof *list, compare_entries);
    }
    for (size_t i = 1; i < count; i++) {
        if (compare_entries(&list[i - 1], &list[i]) == 0) {
            st = DTX_FAIL(DTX_ERR_INPUT, "%s: entry %.*s is in the zip directory twice", file, (int)list[i].name_len,
                          list[i].name);
            goto done;
        }
    }
    *entries = list;
    *n = count;
    list = NULL;
done:
    dtx_free(list);
    return st;
}

const dtx_zip_entry *dtx_zip_find(const dtx_zip_entry *entries, size_t n, const char *name, size_t name_len)
{
    const dtx_zip_entry key = {.name = name, .name_len = name_len};

    return n > 0 ? bsearch(&key, entries, n, sizeof *entries, compare_entries) : NULL;
}
