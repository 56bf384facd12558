/* merge.c - weights with an adapter merged into them: in memory, and as a file that is made tensor by tensor. */
#include <math.h>
#include <string.h>

#include "src/base/mem.h"
#include "src/model/impl.h"

enum { COLUMNS = 512 }; /* of W that are summed together */

/* W (+)= scale B A; then, where asked and there is one, times the gain. */
void dtx_merge_module(const dtx_lora *l, bool transposed, bool gain, float *W)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < l->n_out; i++) {
        for (int64_t first = 0; first < l->n_in; first += COLUMNS) {
            const int64_t n = l->n_in - first < COLUMNS ? l->n_in - first : COLUMNS;
            float *w = transposed ? W + first * l->n_out + i : W + i * l->n_in + first;
            const int64_t step = transposed ? l->n_out : 1;
            double sum[COLUMNS] = {0};
            for (int64_t k = 0; k < l->r; k++) {
                const double b = (double)l->B[i * l->r + k];
                const float *a = l->A + k * l->n_in + first;
                for (int64_t j = 0; j < n; j++) {
                    sum[j] += b * (double)a[j];
                }
            }
            for (int64_t j = 0; j < n; j++) {
                const double v = (double)w[j * step] + (double)l->scale * sum[j];
                w[j * step] = (float)(gain && l->gain != NULL ? l->gain[i] * v : v);
            }
        }
    }
}

/* The pair that adapts a parameter, NULL = none. */
static const dtx_lora *pair_of(const dtx_model *m, const dtx_adapter *ad, int64_t param)
{
    for (int64_t s = 0; ad != NULL && s < ad->n_slots; s++) {
        if (ad->slot[s].A != NULL && m->layers[s / DTX_MODULES].module[s % DTX_MODULES].w_param == param) {
            return &ad->slot[s];
        }
    }
    return NULL;
}

typedef struct {
    const dtx_model *m;
    const dtx_adapter *ad;
    const dtx_tensor *out;  /* what is to be written */
    float *wide;            /* room for the largest tensor that is not written as it stands */
    uint16_t *narrow;       /* the same for 16-bit results */
} merge_work;

static dtx_status make_tensor(void *user, int64_t i, const void **data)
{
    merge_work *w = user;
    const dtx_tensor *in = w->m->stored[i];
    const dtx_lora *pair = pair_of(w->m, w->ad, i);
    const dtx_dtype dtype = w->out[i].dtype;
    const int64_t n = in->n_elements;

    if (pair == NULL && dtype == in->dtype && in->order == NULL) {
        *data = in->data;
        return DTX_OK;
    }
    dtx_tensor_widen(in, w->wide);
    if (pair != NULL) {
        dtx_merge_module(pair, w->m->specs[i].transposed, true, w->wide);
    }
    *data = dtype == DTX_F32 ? (const void *)w->wide : w->narrow;
    for (int64_t j = 0; j < n; j++) {
        float kept = w->wide[j];
        if (dtype == DTX_BF16) {
            kept = dtx_bf16_to_f32(w->narrow[j] = dtx_f32_to_bf16(w->wide[j]));
        } else if (dtype == DTX_F16) {
            kept = dtx_f16_to_f32(w->narrow[j] = dtx_f32_to_f16(w->wide[j]));
        }
        if (!isfinite(kept) && (pair != NULL || dtx_dtype_is_quantised(in->dtype))) {
            return DTX_FAIL(DTX_ERR_NUMERIC, "%s: element %lld is %g after merging, which is no finite number in %s",
                            in->name, (long long)j, (double)w->wide[j], dtx_dtype_name(dtype));
        }
    }
    return DTX_OK;
}

dtx_status dtx_model_write_merged(const dtx_model *m, const dtx_adapter *ad, bool as_f32, const dtx_meta *meta, int n_meta,
                                  const char *path)
{
    merge_work w = {.m = m, .ad = ad};
    dtx_tensor *t = NULL;
    int64_t wide = 0, narrow = 0;
    dtx_status st = DTX_OK;

    if (m->weights == NULL) {
        return DTX_FAIL(DTX_ERR_CHECK, "%s: only a model that was opened from a folder is merged into a file", path);
    }
    for (int64_t i = 0; ad != NULL && i < ad->n_slots; i++) {
        if (ad->slot[i].bias != NULL) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: the adapter has biases of its own (lora_bias), which no weight can take up", path);
        }
    }
    DTX_GO(DTX_NEW(t, m->n_params));
    for (int64_t i = 0; i < m->n_params; i++) {
        const dtx_tensor *in = m->stored[i];
        t[i] = *in;
        t[i].order = NULL;
        t[i].dtype = as_f32 || in->dtype == DTX_F64 ? DTX_F32 : dtx_dtype_is_quantised(in->dtype) ? DTX_F16 : in->dtype;
        t[i].size_bytes = (size_t)t[i].n_elements * dtx_dtype_size(t[i].dtype);
        const bool made = pair_of(m, ad, i) != NULL || t[i].dtype != in->dtype || in->order != NULL;
        wide = made && in->n_elements > wide ? in->n_elements : wide;
        narrow = made && t[i].dtype != DTX_F32 && in->n_elements > narrow ? in->n_elements : narrow;
    }
    DTX_GO(DTX_NEW_RAW(w.wide, wide));
    DTX_GO(DTX_NEW_RAW(w.narrow, narrow));
    w.out = t;
    DTX_GO(dtx_safetensors_write_made(path, t, m->n_params, meta, n_meta, make_tensor, &w));
done:
    dtx_free(w.narrow);
    dtx_free(w.wide);
    dtx_free(t);
    return st;
}

dtx_status dtx_adapter_attach(const dtx_model *m, dtx_adapter *ad)
{
    for (int64_t s = 0; s < ad->n_slots; s++) {
        dtx_lora *l = &ad->slot[s];
        if (l->gain == NULL) {
            continue;
        }
        const model_linear *base = &m->layers[s / DTX_MODULES].module[s % DTX_MODULES];
        float *V = NULL;
        DTX_TRY(DTX_NEW_RAW(V, l->n_out * l->n_in));
        if (m->stored != NULL) {
            dtx_tensor_widen(m->stored[base->w_param], V);
        } else {
            dtx_widen(base->w.dtype, base->w.w, l->n_out * l->n_in, V);
        }
        dtx_merge_module(l, base->transposed, false, V);
        for (int64_t i = 0; i < l->n_out; i++) {
            double sum = 0;
            for (int64_t j = 0; j < l->n_in; j++) {
                const double v = V[base->transposed ? j * l->n_out + i : i * l->n_in + j];
                sum += v * v;
            }
            l->gain[i] = (float)((double)l->magnitude[i] / sqrt(sum));
        }
        dtx_free(V);
    }
    ad->attached = true;
    return DTX_OK;
}
