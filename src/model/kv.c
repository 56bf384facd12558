#include "src/base/mem.h"
#include "src/model/impl.h"

dtx_status dtx_kv_new(const dtx_model *m, int64_t n_slots, int64_t max_len, dtx_kv **out)
{
    dtx_status st;
    dtx_kv *kv = NULL;
    size_t width = (size_t)(m->heads.n_kv * m->heads.head_dim), n;

    if (!m->arch.causal) {
        return DTX_FAIL(DTX_ERR_USAGE, "an encoder (%s) has no key-value cache", m->arch.model_type);
    }
    if (n_slots < 1 || max_len < 1 || __builtin_mul_overflow((size_t)n_slots * 2, (size_t)max_len, &n) ||
        __builtin_mul_overflow(n, width * (size_t)m->arch.n_layers, &n)) {
        return DTX_FAIL(DTX_ERR_USAGE, "a key-value cache of %lld streams of %lld positions is not possible",
                        (long long)n_slots, (long long)max_len);
    }
    DTX_GO(DTX_NEW(kv, 1));
    kv->m = m;
    kv->n_slots = n_slots;
    kv->max_len = max_len;
    kv->width = (int64_t)width;
    DTX_GO(DTX_NEW(kv->len, n_slots));
    DTX_GO(DTX_NEW_RAW(kv->data, n)); /* pages that no stream reaches are never touched */
    *out = kv;
    return DTX_OK;
done:
    dtx_kv_del(kv);
    return st;
}

void dtx_kv_reset(dtx_kv *kv, int64_t slot)
{
    kv->len[slot] = 0;
}

int64_t dtx_kv_len(const dtx_kv *kv, int64_t slot)
{
    return kv->len[slot];
}

void dtx_kv_del(dtx_kv *kv)
{
    if (kv != NULL) {
        dtx_work_free(&kv->work);
        dtx_free(kv->data);
        dtx_free(kv->len);
        dtx_free(kv);
    }
}

float *dtx_kv_keys(const dtx_kv *kv, int64_t layer, int64_t slot)
{
    return kv->data + (layer * kv->n_slots + slot) * 2 * kv->max_len * kv->width;
}

float *dtx_kv_values(const dtx_kv *kv, int64_t layer, int64_t slot)
{
    return dtx_kv_keys(kv, layer, slot) + kv->max_len * kv->width;
}
