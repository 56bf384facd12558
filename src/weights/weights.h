/* weights.h - the tensors of a folder, read-only and mapped: model.safetensors or pytorch_model.bin (torch zip,
 * ZIP64), each single or sharded with an index; or of a GGUF file (gguf.h). Pages are shared by all ranks of a node through the page cache.
 * The pickle of a torch file is never executed: a white list of opcodes describes tensors, anything else is refused.
 * Every offset and length is checked against the file before use. Names must be unique over all shards. */
#ifndef DTX_WEIGHTS_H
#define DTX_WEIGHTS_H

#include <stdint.h>

#include "src/base/dtype.h"
#include "src/base/status.h"

enum { DTX_MAX_DIMS = 8 };

typedef struct {
    const char *name; /* owned by the set */
    dtx_dtype dtype;
    int n_dims;
    int64_t shape[DTX_MAX_DIMS];
    int64_t n_elements;
    const void *data;   /* into the map, C-contiguous; torch files may not align it to the element size */
    size_t size_bytes;
    const char *file;   /* which shard, for messages */
    const int32_t *order; /* NULL, or (shape[0]), owned by the set: row r of a matrix is stored as row order[r] */
} dtx_tensor;

/* out (n_elements) = the values in f32, rows in their order; of any floating or quantised type (F64 rounds). */
void dtx_tensor_widen(const dtx_tensor *t, float *out);

typedef struct dtx_weights dtx_weights;

/* Opens the weights of a Hugging Face folder (safetensors preferred when both forms are there), or of one file when
 * `path` is a file. `stem` is "model"/"pytorch_model" for models; adapters pass "adapter_model" (then .bin and
 * .safetensors of that stem are looked for). NULL = model. DTX_ERR_MISSING when nothing is there. Local. */
dtx_status dtx_weights_open(const char *path, const char *stem, dtx_weights **out);
void dtx_weights_close(dtx_weights *w);

int64_t dtx_weights_count(const dtx_weights *w);
const dtx_tensor *dtx_weights_at(const dtx_weights *w, int64_t i); /* sorted by name */
/* NULL when absent. */
const dtx_tensor *dtx_weights_find(const dtx_weights *w, const char *name);
/* The container of a set that was opened from a GGUF file, for its keys; NULL otherwise. Owned by the set. */
struct dtx_gguf;
const struct dtx_gguf *dtx_weights_gguf(const dtx_weights *w);
/* Memory that lives as long as the set. */
dtx_status dtx_weights_alloc(dtx_weights *w, size_t bytes, void **out);
/* `make` is called once with each tensor and may change what it says: its name (which is copied), place, type, shape, order. All
 * pointers to tensors of the set become invalid. DTX_ERR_INPUT when two then have one name. */
dtx_status dtx_weights_convert(dtx_weights *w, dtx_status (*make)(void *user, dtx_weights *w, dtx_tensor *t), void *user);
/* The safetensors "__metadata__" value of a key, NULL when absent. */
const char *dtx_weights_metadata(const dtx_weights *w, const char *key);
/* 64 hex digits + NUL: SHA-256 over names, dtypes, shapes and sampled bytes (the first and last 4 KiB and 16 evenly
 * spaced 4 KiB blocks of each tensor); independent of sharding and container. `all` hashes every byte. */
dtx_status dtx_weights_fingerprint(const dtx_weights *w, int all, char out[65]);

typedef struct {
    const char *key, *value;
} dtx_meta;

/* Files that are read again to go on from (checkpoints, adapters) carry a sum over all their bytes in the metadata, as a flipped
 * bit would change what comes after without a sign. _sum: 64 hex digits + NUL of n tensors, in whatever order, and the pairs.
 * _check_sum: DTX_ERR_INPUT naming the file and `what` to do when the sum that it carries is not its own; fine when it has none,
 * as those of other programs. Local. */
#define DTX_SUM_KEY "sha256"
dtx_status dtx_weights_sum(const dtx_tensor *tensors, int64_t n, const dtx_meta *meta, int n_meta, char out[65]);
dtx_status dtx_weights_check_sum(const dtx_weights *w, const char *what);

/* Writing: a whole safetensors file (write, fsync, rename). Tensors are views; metadata is n_meta (key, value) pairs.
 * Names are written in the order given; data 8-byte aligned. */
dtx_status dtx_safetensors_write(const char *path, const dtx_tensor *tensors, int64_t n, const dtx_meta *meta, int n_meta);
/* The same for data that is made while writing: `make` is asked for each tensor's bytes in turn, which need to last only
 * until the next call; tensors[i].data is not read. */
typedef dtx_status (*dtx_tensor_maker)(void *user, int64_t i, const void **data);
dtx_status dtx_safetensors_write_made(const char *path, const dtx_tensor *tensors, int64_t n, const dtx_meta *meta, int n_meta,
                                      dtx_tensor_maker make, void *user);

#endif
