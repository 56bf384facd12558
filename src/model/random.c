/* random.c - folders of random weights in a model's full shape. Statistics do not matter much: uniform with the
 * standard deviation that fresh models have, so that no pass overflows and no probability vanishes. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "src/base/file.h"
#include "src/base/json.h"
#include "src/base/mem.h"
#include "src/model/impl.h"

typedef struct {
    const dtx_arch *arch;
    const dtx_param_spec *spec; /* of the shard's first tensor */
    int64_t first;
    dtx_dtype dtype;
    uint64_t seed;
    void *buffer;
    size_t cap;
} maker;

/* Steele et al. 2014, SplitMix64, as a function of a counter: the bits do not depend on threads. */
static float counted_random(uint64_t at)
{
    uint64_t z = at * 0x9E3779B97F4A7C15ULL;

    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ z >> 27) * 0x94D049BB133111EBULL;
    return ((float)((z ^ z >> 31) >> 40) / 16777216.0F - 0.5F) * 0.07F;
}

static int64_t elements(const dtx_param_spec *s)
{
    return s->shape[0] * (s->n_dims > 1 ? s->shape[1] : 1);
}

static dtx_status make(void *user, int64_t i, const void **data)
{
    maker *m = user;
    const dtx_param_spec *s = &m->spec[i];
    const int64_t n = elements(s);
    const uint64_t base = (m->seed << 48) + ((uint64_t)(m->first + i) << 34) + 1;
    const bool drawn = s->n_dims > 1;

    DTX_TRY(dtx_mem_grow(&m->buffer, &m->cap, (size_t)n * dtx_dtype_size(m->dtype), 1, s->name));
#pragma omp parallel for schedule(static)
    for (int64_t j = 0; j < n; j++) {
        float x = drawn ? counted_random(base + (uint64_t)j) : dtx_fresh_vector(m->arch, s);
        if (m->dtype == DTX_F32) {
            ((float *)m->buffer)[j] = x;
        } else {
            ((uint16_t *)m->buffer)[j] = m->dtype == DTX_BF16 ? dtx_f32_to_bf16(x) : dtx_f32_to_f16(x);
        }
    }
    *data = m->buffer;
    return DTX_OK;
}

/* Number of tensors from `first` on that stand in one shard, and their bytes. */
static int64_t shard_tensors(const dtx_tensor *t, int64_t first, int64_t n, int64_t shard_bytes)
{
    int64_t count = 0, bytes = 0;

    while (first + count < n && (count == 0 || bytes + (int64_t)t[first + count].size_bytes <= shard_bytes)) {
        bytes += (int64_t)t[first + count].size_bytes;
        count++;
    }
    return count;
}

static dtx_status write_index(const char *dir, cJSON *map, double bytes)
{
    cJSON *root = cJSON_CreateObject(), *meta = cJSON_AddObjectToObject(root, "metadata");
    char path[4096], *text = NULL;
    dtx_status st = DTX_OK;

    cJSON_AddNumberToObject(meta, "total_size", bytes);
    cJSON_AddItemToObject(root, "weight_map", map);
    text = cJSON_Print(root);
    DTX_GO(dtx_mem_check(text, 1, 1, "model.safetensors.index.json"));
    DTX_GO(dtx_file_join(path, sizeof path, dir, "model.safetensors.index.json"));
    DTX_GO(dtx_file_write(path, text, strlen(text)));
done:
    cJSON_free(text);
    cJSON_Delete(root);
    return st;
}

static dtx_status write_shards(const dtx_tensor *t, const dtx_param_spec *specs, int64_t n, int64_t shard_bytes, maker *m,
                               const char *dir)
{
    const dtx_meta meta = {"format", "pt"};
    int64_t shards = 0, count;
    char name[64], path[4096];
    double bytes = 0;
    cJSON *map;

    for (int64_t first = 0; first < n; first += shard_tensors(t, first, n, shard_bytes)) {
        shards++;
    }
    DTX_TRY(dtx_mem_check(map = cJSON_CreateObject(), 1, 1, "weight map"));
    dtx_status st = DTX_OK;
    for (int64_t first = 0, k = 1; first < n; first += count, k++) {
        count = shard_tensors(t, first, n, shard_bytes);
        snprintf(name, sizeof name, "model-%05" PRId64 "-of-%05" PRId64 ".safetensors", k, shards);
        DTX_GO(dtx_file_join(path, sizeof path, dir, shards > 1 ? name : "model.safetensors"));
        m->spec = specs + first;
        m->first = first;
        DTX_GO(dtx_safetensors_write_made(path, t + first, count, &meta, 1, make, m));
        for (int64_t i = first; i < first + count; i++) {
            cJSON_AddStringToObject(map, t[i].name, name);
            bytes += (double)t[i].size_bytes;
        }
    }
    if (shards > 1) {
        st = write_index(dir, map, bytes);
        map = NULL;
    }
done:
    cJSON_Delete(map);
    return st;
}

dtx_status dtx_model_write_random(const dtx_arch *a, dtx_dtype dtype, uint64_t seed, int64_t shard_bytes, const char *dir)
{
    maker m = {.arch = a, .dtype = dtype, .seed = seed};
    dtx_param_spec *specs = NULL;
    dtx_tensor *t = NULL;
    int64_t n = 0;
    dtx_status st;

    if (dtype != DTX_F32 && dtype != DTX_F16 && dtype != DTX_BF16) {
        return DTX_FAIL(DTX_ERR_USAGE, "random weights are F32, F16 or BF16, not %s", dtx_dtype_name(dtype));
    }
    DTX_GO(dtx_file_mkdirs(dir));
    DTX_GO(dtx_arch_params(a, &specs, &n));
    DTX_GO(DTX_NEW(t, n));
    for (int64_t i = 0; i < n; i++) {
        t[i] = (dtx_tensor){.name = specs[i].name, .dtype = dtype, .n_dims = specs[i].n_dims,
                            .shape = {specs[i].shape[0], specs[i].shape[1]}, .n_elements = elements(&specs[i])};
        t[i].size_bytes = (size_t)t[i].n_elements * dtx_dtype_size(dtype);
    }
    DTX_GO(write_shards(t, specs, n, shard_bytes, &m, dir));
    /* last: a folder with a config.json is complete */
    DTX_GO(dtx_arch_write(dir, a, dtype == DTX_F32 ? "float32" : dtype == DTX_F16 ? "float16" : "bfloat16"));
done:
    dtx_free(m.buffer);
    dtx_free(specs);
    dtx_free(t);
    return st;
}
