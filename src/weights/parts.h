/* parts.h - between set.c, which owns a set of tensors, the readers of the containers, which fill it, and open.c, which finds
 * the files and gives each to its reader. A reader gets a whole file as bytes and calls dtx_weights_add for each tensor whose
 * place it has checked. */
#ifndef DTX_WEIGHTS_PARTS_H
#define DTX_WEIGHTS_PARTS_H

#include <stdbool.h>
#include <stddef.h>

#include "src/base/file.h"
#include "src/weights/weights.h"

/* An empty set; closed by dtx_weights_close. */
dtx_status dtx_weights_new(dtx_weights **out);
/* Maps a file for as long as the set lives; *file is its path, for dtx_weights_add. */
dtx_status dtx_weights_map(dtx_weights *w, const char *path, const char **file, dtx_file_map *map);
bool dtx_weights_has_file(const dtx_weights *w, const char *path);
/* Copies t's name (`name_len` bytes, not NUL-terminated); `file` must outlive the set. */
dtx_status dtx_weights_add(dtx_weights *w, const dtx_tensor *t, const char *name, size_t name_len, const char *file);
/* Where a key comes again (in another shard) the first value counts. */
dtx_status dtx_weights_add_metadata(dtx_weights *w, const char *key, const char *value);
/* Takes the container over, whose tensors were added; closed with the set. */
void dtx_weights_own_gguf(dtx_weights *w, struct dtx_gguf *g);
/* Sorts by name and refuses a name that is there twice. To be called once, after the last file. */
dtx_status dtx_weights_finish(dtx_weights *w);

/* Sets t->n_elements and t->size_bytes from dtype and shape; false when they overflow. */
bool dtx_tensor_measure(dtx_tensor *t);
/* "[64, 512]" into out. */
void dtx_tensor_shape_text(const dtx_tensor *t, char *out, size_t size);

/* `file` names the bytes in messages. */
dtx_status dtx_safetensors_scan(dtx_weights *w, const char *file, const char *data, size_t size);
dtx_status dtx_torch_scan(dtx_weights *w, const char *file, const char *data, size_t size);

#endif
