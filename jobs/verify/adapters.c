/* adapters.c - adapters.safetensors: logits under the adapters of adapters/KIND. A kind that is refused is told with its reason. */
#include <stdio.h>
#include <string.h>

#include "jobs/verify/verify.h"
#include "src/base/mem.h"

static dtx_status check_kind(dtx_verify *v, const char *kind, const dtx_adapter *ad, int64_t T, const int32_t *ids)
{
    const int64_t d = dtx_model_arch(v->model)->hidden, V = dtx_model_arch(v->model)->vocab, offset[2] = {0, T};
    const dtx_batch b = {.n_seq = 1, .offset = offset, .ids = ids, .adapter = ad};
    float *hidden = NULL, *logits = NULL;
    double *want = NULL;
    char name[160];
    int64_t n;
    dtx_status st;

    snprintf(name, sizeof name, "%s.logits", kind);
    DTX_GO(dtx_verify_read(v, name, &want, &n, NULL));
    if (n != T * V) {
        DTX_GO(DTX_FAIL(DTX_ERR_INPUT, "%s/%s: %s has %lld values, %lld are expected", v->dir, v->file, name, (long long)n,
                        (long long)(T * V)));
    }
    DTX_GO(DTX_NEW_RAW(hidden, T * d));
    DTX_GO(DTX_NEW_RAW(logits, T * V));
    DTX_GO(dtx_model_forward(v->model, &b, hidden));
    dtx_model_logits(v->model, T, hidden, logits);
    dtx_quantity q = dtx_verify_begin(v, name, "logits");
    dtx_verify_floats(&q, name, n, logits, want);
    dtx_verify_end(v, &q);
done:
    dtx_free(want);
    dtx_free(logits);
    dtx_free(hidden);
    return st;
}

dtx_status dtx_verify_adapters(dtx_verify *v)
{
    int32_t *ids = NULL;
    int64_t T;
    dtx_status st;

    DTX_GO(dtx_verify_ids(v, "input_ids", &ids, &T, NULL));
    for (int64_t i = 0; i < dtx_weights_count(v->expected); i++) {
        const char *name = dtx_weights_at(v->expected, i)->name, *dot = strstr(name, ".logits");
        char kind[128], path[4500];
        dtx_adapter *ad = NULL;
        if (dot == NULL || dot[strlen(".logits")] != '\0') {
            continue;
        }
        snprintf(kind, sizeof kind, "%.*s", (int)(dot - name), name);
        if (strcmp(kind, "base") != 0) {
            snprintf(path, sizeof path, "%s/adapters/%s", v->dir, kind);
            st = dtx_adapter_read(path, dtx_model_arch(v->model), &ad);
            if (st == DTX_ERR_INPUT) {
                v->used[i] = true;
                dtx_verify_skip(v, name, dtx_error_text());
                dtx_error_clear();
                continue;
            }
            DTX_GO(st);
            st = dtx_adapter_attach(v->model, ad);
        } else {
            st = DTX_OK;
        }
        if (st == DTX_OK) {
            st = check_kind(v, kind, ad, T, ids);
        }
        dtx_adapter_del(ad);
        DTX_GO(st);
    }
    st = DTX_OK;
done:
    dtx_free(ids);
    return st;
}
