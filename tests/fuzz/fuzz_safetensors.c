#include <string.h>

#include "src/weights/parts.h"
#include "tests/fuzz/fuzz.h"

dtx_status dtx_fuzz_status;

const char *const dtx_fuzz_words[] = {"\"F8_E4M3\"",
                                      "\"__metadata__\":{\"a\":\"b\"},",
                                      "[0,18446744073709551615]",
                                      "\"shape\":[2,2,2,2,2,2,2,2,2],",
                                      "-1,",
                                      "0,",
                                      "1.5,",
                                      "null",
                                      "{}",
                                      NULL};

size_t dtx_fuzz_seed(int i, uint8_t *out, size_t cap)
{
    static const struct {
        const char *header;
        size_t data;
    } seeds[] = {
        {"{\"__metadata__\":{\"format\":\"pt\"},\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
         "\"b\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[24,32]}}",
         32},
        {"{\"scalar\":{\"dtype\":\"F64\",\"shape\":[],\"data_offsets\":[0,8]},\"none\":{\"dtype\":\"U8\",\"shape\":[0,"
         "5],"
         "\"data_offsets\":[8,8]},\"ids\":{\"dtype\":\"I64\",\"shape\":[2],\"data_offsets\":[8,24]}}",
         24},
        {"{}", 0},
    };

    if (i >= (int)(sizeof seeds / sizeof *seeds)) {
        return 0;
    }
    size_t len = strlen(seeds[i].header), total = 8 + len + seeds[i].data;
    if (total > cap) {
        return 0;
    }
    memset(out, 0, total);
    out[0] = (uint8_t)len;
    out[1] = (uint8_t)(len >> 8);
    memcpy(out + 8, seeds[i].header, len);
    return total;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    dtx_weights *w = NULL;
    char sum[65];

    dtx_fuzz_status = dtx_weights_new(&w);
    if (dtx_fuzz_status == DTX_OK) {
        dtx_fuzz_status = dtx_safetensors_scan(w, "fuzz", (const char *)data, size);
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
