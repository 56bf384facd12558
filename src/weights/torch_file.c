/* The .bin of PyTorch >= 1.6: a zip archive PREFIX/data.pkl, PREFIX/data/KEY (the storages' raw bytes),
 * PREFIX/byteorder. */
#include <stdio.h>
#include <string.h>

#include "src/base/mem.h"
#include "src/weights/torch_pickle.h"
#include "src/weights/torch_zip.h"
#include "src/weights/parts.h"

enum { MAX_NAME = 1024 };

typedef struct {
    const char *file;
    dtx_zip_entry *entries;
    size_t n;
    const char *prefix; /* "pytorch_model/", not NUL-terminated */
    size_t prefix_len;
} torch_archive;

/* PREFIX + tail; NULL when there is none. */
static const dtx_zip_entry *entry(const torch_archive *a, const char *tail, size_t tail_len)
{
    char name[MAX_NAME];

    if (a->prefix_len + tail_len > sizeof name) {
        return NULL;
    }
    memcpy(name, a->prefix, a->prefix_len);
    memcpy(name + a->prefix_len, tail, tail_len);
    return dtx_zip_find(a->entries, a->n, name, a->prefix_len + tail_len);
}

static dtx_status find_pickle(torch_archive *a, const dtx_zip_entry **pickle)
{
    static const char tail[] = "/data.pkl";
    size_t k = sizeof tail - 1;

    for (size_t i = 0; i < a->n; i++) {
        const dtx_zip_entry *e = &a->entries[i];
        /* exactly one folder deep */
        if (e->name_len > k && memcmp(e->name + e->name_len - k, tail, k) == 0 &&
            memchr(e->name, '/', e->name_len) == e->name + e->name_len - k) {
            a->prefix = e->name;
            a->prefix_len = e->name_len - k + 1;
            *pickle = e;
            return DTX_OK;
        }
    }
    return DTX_FAIL(DTX_ERR_INPUT, "%s: holds no data.pkl; a file made by torch.save is expected", a->file);
}

static dtx_status add_tensor(dtx_weights *w, const torch_archive *a, const dtx_pickled *p)
{
    char tail[MAX_NAME];
    size_t unit = dtx_dtype_size(p->tensor.dtype), expected;
    int name_len = p->name_len > 256 ? 256 : (int)p->name_len;
    dtx_tensor t = p->tensor;

    const dtx_zip_entry *e = NULL;
    if (p->storage_len < sizeof tail - 5) {
        memcpy(tail, "data/", 5);
        memcpy(tail + 5, p->storage, p->storage_len);
        e = entry(a, tail, p->storage_len + 5);
    }
    if (e == NULL) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: tensor %.*s: its storage data/%.*s is not in the archive", a->file,
                        name_len, p->name, p->storage_len > 64 ? 64 : (int)p->storage_len, p->storage);
    }
    if (__builtin_mul_overflow((size_t)p->storage_size, unit, &expected) || expected != e->size) {
        return DTX_FAIL(DTX_ERR_INPUT,
                        "%s: tensor %.*s: its storage data/%.*s has %zu bytes, but %lld elements of %s are stated",
                        a->file, name_len, p->name, (int)p->storage_len, p->storage, e->size,
                        (long long)p->storage_size, dtx_dtype_name(p->tensor.dtype));
    }
    t.data = e->data + (size_t)p->offset * unit;
    return dtx_weights_add(w, &t, p->name, p->name_len, a->file);
}

dtx_status dtx_torch_scan(dtx_weights *w, const char *file, const char *data, size_t size)
{
    torch_archive a = {.file = file};
    const dtx_zip_entry *pickle = NULL, *order;
    dtx_pickled *tensors = NULL;
    size_t n = 0;
    dtx_status st = DTX_OK;

    DTX_TRY(dtx_zip_directory(file, data, size, &a.entries, &a.n));
    DTX_GO(find_pickle(&a, &pickle));
    order = entry(&a, "byteorder", 9);
    if (order != NULL && (order->size < 6 || memcmp(order->data, "little", 6) != 0)) {
        st = DTX_FAIL(DTX_ERR_INPUT, "%s: byteorder is \"%.*s\"; little is supported", file,
                      order->size > 16 ? 16 : (int)order->size, order->data);
        goto done;
    }
    DTX_GO(dtx_pickle_read(file, pickle->data, pickle->size, &tensors, &n));
    for (size_t i = 0; i < n; i++) {
        DTX_GO(add_tensor(w, &a, &tensors[i]));
    }
done:
    dtx_free(tensors);
    dtx_free(a.entries);
    return st;
}
