/* gguf.c - GGUF files: NAME.gguf of a folder against expected/NAME.safetensors, and quantised tensors against their values. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "jobs/verify/verify.h"
#include "src/base/mem.h"
#include "src/weights/gguf.h"

dtx_status dtx_verify_gguf_logits(dtx_verify *v)
{
    for (int i = 0;; i++) { /* the converter's own program, which rounds activations: for information */
        double *x = NULL;
        int64_t n;
        char name[64];
        snprintf(name, sizeof name, "seq%d.llama_cpp", i);
        if (!dtx_verify_has(v, name)) {
            return dtx_verify_sequences(v, v->model, "logits", false);
        }
        DTX_TRY(dtx_verify_read(v, name, &x, &n, NULL));
        dtx_free(x);
    }
}

/* Every tensor of the file has the values of its namesake in every bit. */
dtx_status dtx_verify_gguf_values(dtx_verify *v, const char *path)
{
    dtx_gguf *g = NULL;
    dtx_status st = DTX_OK;

    DTX_TRY(dtx_gguf_open(path, &g));
    for (int64_t i = 0; st == DTX_OK && i < dtx_gguf_n_tensors(g); i++) {
        const dtx_tensor *t = dtx_gguf_tensor(g, i);
        dtx_quantity q = dtx_verify_begin(v, t->name, "=");
        double *want = NULL;
        float *got = NULL;
        int64_t n = 0;
        st = dtx_verify_read(v, t->name, &want, &n, NULL);
        if (st == DTX_OK && n != t->n_elements) {
            st = DTX_FAIL(DTX_ERR_INPUT, "%s: tensor %s has %" PRId64 " values, %" PRId64 " are expected", path, t->name, t->n_elements, n);
        }
        st = st == DTX_OK ? DTX_NEW_RAW(got, n) : st;
        if (st == DTX_OK) {
            dtx_tensor_widen(t, got);
            dtx_verify_floats(&q, t->name, n, got, want);
            dtx_verify_end(v, &q);
        }
        dtx_free(got);
        dtx_free(want);
    }
    dtx_gguf_close(g);
    return st;
}
