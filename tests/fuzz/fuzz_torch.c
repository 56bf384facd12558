#include <string.h>

#include "src/weights/parts.h"
#include "tests/fuzz/fuzz.h"
#include "tests/src/weights/build_torch.h"

dtx_status dtx_fuzz_status;

const char *const dtx_fuzz_words[] = {"PK\1\2",
                                      "PK\3\4",
                                      "PK\5\6",
                                      "PK\6\6",
                                      "PK\6\7",
                                      "cos\nsystem\n",
                                      "ctorch._utils\n_rebuild_tensor_v2\n",
                                      "ccollections\nOrderedDict\n",
                                      "(",
                                      "t",
                                      "\x85",
                                      "R",
                                      "b",
                                      "u",
                                      "s",
                                      "e",
                                      "}",
                                      "]",
                                      "h",
                                      "q",
                                      "r\xFF\xFF\xFF\x0F",
                                      "\x8A\x08\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F",
                                      NULL};

size_t dtx_fuzz_seed(int i, uint8_t *out, size_t cap)
{
    static const float values[6] = {1, 2, 3, 4, 5, 6};
    static const pickle_item items[] = {
        {.name = "a.weight",
         .storage_type = "FloatStorage",
         .key = "0",
         .storage_size = 6,
         .n_dims = 2,
         .shape = {2, 3},
         .stride = {3, 1}},
        {.name = "b",
         .storage_type = "FloatStorage",
         .key = "0",
         .storage_size = 6,
         .offset = 2,
         .n_dims = 1,
         .shape = {4},
         .stride = {1},
         .parameter = true},
        {.name = "c",
         .storage_type = "LongStorage",
         .key = "1",
         .storage_size = 2,
         .n_dims = 1,
         .shape = {2},
         .stride = {1}},
    };
    buf pickle = {0}, zip = {0};

    if (i > 2) {
        return 0;
    }
    pickle_build(&pickle, items, i == 2 ? 0 : 3, i == 1);
    const zip_item files[] = {{"m/data.pkl", pickle.p, pickle.n},
                              {"m/byteorder", "little", 6},
                              {"m/data/0", values, 24},
                              {"m/data/1", values, 16}};
    zip_build(&zip, files, 4, i == 1);
    size_t n = zip.n <= cap ? zip.n : 0;
    memcpy(out, zip.p, n);
    buf_free(&pickle);
    buf_free(&zip);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    dtx_weights *w = NULL;
    char sum[65];

    dtx_fuzz_status = dtx_weights_new(&w);
    if (dtx_fuzz_status == DTX_OK) {
        dtx_fuzz_status = dtx_torch_scan(w, "fuzz", (const char *)data, size);
    }
    if (dtx_fuzz_status == DTX_OK) {
        dtx_fuzz_status = dtx_weights_finish(w);
    }
    if (dtx_fuzz_status == DTX_OK) {
        dtx_fuzz_status = dtx_weights_fingerprint(w, 1, sum); /* touches every byte of every tensor */
    }
    dtx_weights_close(w);
    return 0;
}
