#include <string.h>

#include "src/base/mem.h"
#include "src/model/impl.h"

enum { AHEAD = 64 }; /* keys at least that a layer with a window holds beside its window */

dtx_status dtx_kv_new(const dtx_model *m, int64_t n_slots, int64_t max_len, dtx_kv **out)
{
    dtx_status st;
    dtx_kv *kv = NULL;
    const int64_t width = m->heads.n_kv * m->heads.head_dim, n_layers = m->arch.n_layers;
    size_t n = 0, one;

    if (!m->arch.causal) {
        return DTX_FAIL(DTX_ERR_USAGE, "an encoder (%s) has no key-value cache", m->arch.model_type);
    }
    if (n_slots < 1 || max_len < 1 || __builtin_mul_overflow((size_t)n_slots * 2 * (size_t)width, (size_t)max_len, &one) ||
        __builtin_mul_overflow(one, (size_t)n_layers, &n)) {
        return DTX_FAIL(DTX_ERR_USAGE, "a key-value cache of %lld streams of %lld positions is not possible",
                        (long long)n_slots, (long long)max_len);
    }
    DTX_GO(DTX_NEW(kv, 1));
    kv->m = m;
    kv->n_slots = n_slots;
    kv->max_len = max_len;
    kv->width = width;
    DTX_GO(DTX_NEW(kv->len, n_slots));
    DTX_GO(DTX_NEW(kv->kept, n_layers * n_slots));
    DTX_GO(DTX_NEW(kv->room, n_layers));
    DTX_GO(DTX_NEW(kv->at, n_layers));
    n = 0;
    for (int64_t i = 0; i < n_layers; i++) {
        kv->room[i] = dtx_kv_room(&m->arch, i, max_len);
        kv->at[i] = n;
        n += (size_t)n_slots * 2 * (size_t)width * (size_t)kv->room[i];
    }
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
    for (int64_t i = 0; i < kv->m->arch.n_layers; i++) {
        kv->kept[i * kv->n_slots + slot] = 0;
    }
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
        dtx_free(kv->at);
        dtx_free(kv->room);
        dtx_free(kv->kept);
        dtx_free(kv->len);
        dtx_free(kv);
    }
}

int64_t dtx_kv_room(const dtx_arch *a, int64_t layer, int64_t max_len)
{
    const int64_t room = a->window - 1 + (a->window > AHEAD ? a->window : AHEAD);

    return (a->layer[layer] & DTX_LAYER_WINDOW) && room < max_len ? room : max_len;
}

float *dtx_kv_keys(const dtx_kv *kv, int64_t layer, int64_t slot)
{
    return kv->data + kv->at[layer] + (size_t)(slot * 2 * kv->room[layer] * kv->width);
}

float *dtx_kv_values(const dtx_kv *kv, int64_t layer, int64_t slot)
{
    return dtx_kv_keys(kv, layer, slot) + kv->room[layer] * kv->width;
}

int64_t dtx_kv_make_room(dtx_kv *kv, int64_t layer, int64_t slot, int64_t n)
{
    const int64_t room = kv->room[layer], hd = kv->m->heads.head_dim, keep = kv->m->arch.window - 1;
    int64_t *kept = &kv->kept[layer * kv->n_slots + slot];

    if (*kept + n > room && *kept > keep) { /* a layer with a window */
        for (int64_t g = 0; g < 2 * kv->m->heads.n_kv; g++) { /* keys' heads, then values' */
            float *head = dtx_kv_keys(kv, layer, slot) + g * room * hd;
            memmove(head, head + (*kept - keep) * hd, (size_t)(keep * hd) * sizeof *head);
        }
        *kept = keep;
    }
    return n < room - *kept ? n : room - *kept;
}
