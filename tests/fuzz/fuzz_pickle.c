#include <string.h>

#include "src/base/mem.h"
#include "src/weights/torch_pickle.h"
#include "tests/fuzz/fuzz.h"
#include "tests/src/weights/build_torch.h"

dtx_status dtx_fuzz_status;

const char *const dtx_fuzz_words[] = {"cos\nsystem\n",
                                      "ctorch._utils\n_rebuild_tensor_v2\n",
                                      "ctorch._utils\n_rebuild_parameter\n",
                                      "ccollections\nOrderedDict\n",
                                      "ctorch\nHalfStorage\n",
                                      "X\1\0\0\0a",
                                      "(",
                                      "t",
                                      "\x85",
                                      "\x86",
                                      "R",
                                      "Q",
                                      "b",
                                      "u",
                                      "s",
                                      "a",
                                      "e",
                                      "}",
                                      "]",
                                      ")",
                                      "N",
                                      "h",
                                      "q",
                                      "r\xFF\xFF\xFF\x0F",
                                      "\x8A\x08\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F",
                                      NULL};

size_t dtx_fuzz_seed(int i, uint8_t *out, size_t cap)
{
    static const pickle_item items[] = {
        {.name = "a.weight",
         .storage_type = "HalfStorage",
         .key = "0",
         .storage_size = 6,
         .n_dims = 2,
         .shape = {2, 3},
         .stride = {3, 1}},
        {.name = "b",
         .storage_type = "FloatStorage",
         .key = "0",
         .storage_size = 700,
         .offset = 2,
         .n_dims = 1,
         .shape = {4},
         .stride = {1},
         .parameter = true},
        {.name = "",
         .storage_type = "LongStorage",
         .key = "1",
         .storage_size = 70000,
         .n_dims = 3,
         .shape = {2, 1, 1},
         .stride = {1, 9, 9}},
    };
    buf b = {0};

    if (i > 2) {
        return 0;
    }
    pickle_build(&b, items, i == 2 ? 0 : 3, i == 1);
    size_t n = b.n <= cap ? b.n : 0;
    memcpy(out, b.p, n);
    buf_free(&b);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    dtx_pickled *tensors = NULL;
    size_t n = 0;

    dtx_fuzz_status = dtx_pickle_read("fuzz", (const char *)data, size, &tensors, &n);
    for (size_t i = 0; dtx_fuzz_status == DTX_OK && i < n; i++) {
        const dtx_pickled *t = &tensors[i];
        const char *end = (const char *)data + size;
        /* what was accepted stays within the pickle and within its storage */
        if (t->name + t->name_len > end || t->storage + t->storage_len > end || t->tensor.n_elements < 0 ||
            t->offset < 0 || t->tensor.n_elements > t->storage_size - t->offset) {
            __builtin_trap();
        }
    }
    dtx_free(tensors);
    return 0;
}
