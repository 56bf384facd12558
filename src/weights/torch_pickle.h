/* torch_pickle.h - reads the pickle of a torch.save file as a description of tensors. Nothing is executed: of the
 * pickle machine only the opcodes that PyTorch writes for a state dictionary are known, and of Python's names only
 * those that make tensors, storages, parameters and ordered dictionaries. Anything else is refused by name. */
#ifndef DTX_TORCH_PICKLE_H
#define DTX_TORCH_PICKLE_H

#include <stddef.h>
#include <stdint.h>

#include "src/weights/weights.h"

typedef struct {
    dtx_tensor tensor; /* dtype, n_dims, shape; data, name, file are not set */
    const char *name;  /* key in the dictionary, into the pickle, not NUL-terminated */
    size_t name_len;
    const char *storage; /* key of the storage: the entry "PREFIX/data/KEY" of the archive; into the pickle */
    size_t storage_len;
    int64_t storage_size; /* elements */
    int64_t offset;       /* first element within the storage; offset + n_elements <= storage_size holds */
} dtx_pickled;

/* *out (dtx_free) in the dictionary's order. `file` is for messages. DTX_ERR_INPUT naming opcode, name or tensor. */
dtx_status dtx_pickle_read(const char *file, const char *data, size_t size, dtx_pickled **out, size_t *n);

#endif
