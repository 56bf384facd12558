#include <string.h>

#include "src/algebra/quant.h"
#include "src/weights/gguf.h"
#include "tests/fuzz/fuzz.h"
#include "tests/src/weights/build_gguf.h"

dtx_status dtx_fuzz_status;

const char *const dtx_fuzz_words[] = {"GGUF", "general.alignment", "general.architecture", "split.count", "\x08", "\x09", "\xff\xff\xff\xff",
                                      "token_embd.weight", "blk.0.", NULL};

size_t dtx_fuzz_seed(int i, uint8_t *out, size_t cap)
{
    return i < GGUF_SAMPLES ? gguf_sample(i, out, cap) : i < GGUF_SAMPLES + 2 ? gguf_split_sample(i - GGUF_SAMPLES, out, cap) : 0;
}

/* Everything that a key offers. */
static void look(const dtx_gguf *g, const dtx_gguf_key *k)
{
    char text[64];
    int64_t v;
    size_t len, sum = 0;
    dtx_gguf_cursor c = {k->data};

    dtx_gguf_value_text(k, text, sizeof text);
    for (uint64_t i = 0; k->is_array && i < k->count; i++) {
        if (k->type == DTX_GGUF_STRING) {
            const char *s = dtx_gguf_next(&c, &len);
            sum += len > 0 ? (unsigned char)s[len - 1] : 0;
        } else if (k->type == DTX_GGUF_F32 || k->type == DTX_GGUF_F64) {
            sum += dtx_gguf_float_at(k, i) > 0;
        } else {
            sum += dtx_gguf_int_at(g, k, i, &v) == DTX_OK;
        }
    }
    __asm__ volatile("" : : "r"(sum));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    dtx_gguf *g = NULL;
    float out[DTX_MAX_BLOCK];
    int64_t v = 0;
    double d = 0;
    bool b = false;
    const char *s = "";
    const dtx_gguf_key *k;

    dtx_fuzz_status = dtx_gguf_read("fuzz", (const char *)data, size, &g);
    if (dtx_fuzz_status != DTX_OK) {
        return 0;
    }
    for (int64_t i = 0; i < dtx_gguf_n_keys(g); i++) {
        const char *key = dtx_gguf_key_at(g, i)->key;
        look(g, dtx_gguf_find(g, key));
        (void)(dtx_gguf_int(g, key, true, &v) + dtx_gguf_float(g, key, true, &d) + dtx_gguf_bool(g, key, true, &b)
               + dtx_gguf_string(g, key, true, &s) + dtx_gguf_array(g, key, true, DTX_GGUF_STRING, &k));
    }
    for (int64_t i = 0; i < dtx_gguf_n_tensors(g); i++) {
        const dtx_tensor *t = dtx_gguf_tensor(g, i);
        const int64_t block = dtx_dtype_block(t->dtype);
        for (int64_t e = 0; (dtx_dtype_is_quantised(t->dtype) || t->dtype <= DTX_BF16) && e < t->n_elements; e += block) {
            dtx_quant_widen(t->dtype, (const char *)t->data + dtx_dtype_bytes(t->dtype, e), block, out);
        }
    }
    dtx_gguf_close(g);
    return 0;
}
