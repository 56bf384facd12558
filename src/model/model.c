/* model.c - where a model's parameters come from: a mapped folder, fresh weights in an arena, random ones for
 * benchmarks. */
#include "src/model/model.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "src/base/file.h"
#include "src/base/hash.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/model/families/gguf.h"
#include "src/model/families/table.h"
#include "src/model/impl.h"

/* The tensor of a canonical name, in any of the family's spellings; NULL = none. */
static const dtx_tensor *find_tensor(const dtx_arch *a, const dtx_weights *w, const char *name)
{
    const dtx_tensor *t = dtx_weights_find(w, name);

    for (const dtx_spelling *s = dtx_family_of(a)->spellings; t == NULL && s != NULL && s->name != NULL; s++) {
        char stored[192];
        const size_t n = strlen(s->name);
        if (strncmp(name, s->name, n) == 0) {
            snprintf(stored, sizeof stored, "%s%s", s->stored, name + n);
            t = dtx_weights_find(w, stored);
        }
    }
    return t;
}

/* A tied head may be stored a second time. One that differs from the word embedding is the head, whatever config.json says (as
 * version 5 of the library has it); one of another shape is another model. */
static dtx_status check_tied_head(const dtx_weights *w, dtx_arch *a, const dtx_tensor **head)
{
    char name[128];

    *head = NULL;
    if (!a->tied_head || !a->causal) {
        return DTX_OK;
    }
    dtx_head_path(a, name, sizeof name - 8);
    strcat(name, ".weight");
    const dtx_tensor *t = find_tensor(a, w, name);
    if (t == NULL) {
        return DTX_OK;
    }
    if (t->n_dims != 2 || t->shape[0] != a->vocab || t->shape[1] != a->hidden) {
        return DTX_FAIL(DTX_ERR_INPUT,
                        "%s: %s should equal the word embedding (%" PRId64 ", %" PRId64
                        "), to which config.json ties it",
                        t->file, t->name, a->vocab, a->hidden);
    }
    dtx_part_path(a, DTX_PART_WORDS, -1, name, sizeof name - 8);
    strcat(name, ".weight");
    const dtx_tensor *words = find_tensor(a, w, name);
    *head = t;
    if (words != NULL && (words->dtype != t->dtype || words->size_bytes != t->size_bytes || memcmp(words->data, t->data, t->size_bytes) != 0)) {
        a->tied_head = false;
    }
    return DTX_OK;
}

/* Every tensor is a parameter's, the tied head's or one that is ignored. */
static dtx_status check_unknown(const dtx_model *m, const dtx_tensor *head)
{
    for (int64_t i = 0; i < dtx_weights_count(m->weights); i++) {
        const dtx_tensor *t = dtx_weights_at(m->weights, i);
        bool known = t == head;
        for (int64_t j = 0; j < m->n_params && !known; j++) {
            known = m->stored[j] == t;
        }
        if (!known && !dtx_family_ignores(&m->arch, t->name)) {
            return DTX_FAIL(DTX_ERR_INPUT,
                            "%s: tensor %s has no place in the model that config.json describes (%s, %" PRId64
                            " layers)",
                            t->file, t->name, m->arch.model_type, m->arch.n_layers);
        }
    }
    return DTX_OK;
}

static dtx_status check_tensor(const dtx_param_spec *s, const dtx_tensor *t)
{
    bool fits = t->n_dims == s->n_dims;

    for (int i = 0; fits && i < s->n_dims; i++) {
        fits = t->shape[i] == s->shape[i];
    }
    if (!fits) {
        char found[128] = "", want[64] = "";
        size_t at = 0;
        for (int i = 0; i < t->n_dims && at < sizeof found - 24; i++) {
            at += (size_t)snprintf(found + at, sizeof found - at, "%s%" PRId64, i > 0 ? ", " : "", t->shape[i]);
        }
        at = (size_t)snprintf(want, sizeof want, "%" PRId64, s->shape[0]);
        if (s->n_dims > 1) {
            snprintf(want + at, sizeof want - at, ", %" PRId64, s->shape[1]);
        }
        return DTX_FAIL(DTX_ERR_INPUT, "%s: tensor %s has shape (%s), config.json implies (%s)", t->file, s->name,
                        found, want);
    }
    if (t->dtype > DTX_F64 && !dtx_dtype_is_quantised(t->dtype)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: tensor %s is %s, weights are F32, F16, BF16, F64 or quantised", t->file, s->name,
                        dtx_dtype_name(t->dtype));
    }
    return DTX_OK;
}

/* Memory that lives as long as the model. */
static dtx_status own(dtx_model *m, size_t bytes, void **out)
{
    void *p;

    DTX_TRY(dtx_mem_check(p = dtx_malloc(bytes, 1), bytes, 1, "model weights"));
    m->owned[m->n_owned++] = p;
    *out = p;
    return DTX_OK;
}

/* The parameter's data: the map itself where the kernels can read it, else a copy. */
static dtx_status take_tensor(dtx_model *m, const dtx_tensor *t, bool widen, dtx_param *p)
{
    const size_t size = dtx_dtype_size(t->dtype);
    void *copy;

    p->dtype = t->dtype;
    p->data = t->data;
    p->order = t->order;
    if ((widen && t->dtype != DTX_F32) || t->dtype == DTX_F64) {
        DTX_TRY(own(m, (size_t)t->n_elements * sizeof(float), &copy));
        dtx_tensor_widen(t, copy);
        p->dtype = DTX_F32;
        p->data = copy;
        p->order = NULL;
    } else if (size > 0 && (uintptr_t)t->data % size != 0) { /* blocks may stand anywhere */
        DTX_TRY(own(m, t->size_bytes, &copy));
        memcpy(copy, t->data, t->size_bytes);
        p->data = copy;
    }
    return DTX_OK;
}

/* Description, parameter table and its offsets; no data yet. */
static dtx_status new_table(const dtx_arch *a, dtx_model **out)
{
    dtx_status st;
    dtx_model *m = NULL;

    DTX_GO(DTX_NEW(m, 1));
    m->arch = *a;
    DTX_GO(dtx_arch_params(a, &m->specs, &m->n_params));
    DTX_GO(DTX_NEW(m->params, m->n_params));
    DTX_GO(DTX_NEW(m->owned, m->n_params + 1));
    for (int64_t i = 0; i < m->n_params; i++) {
        dtx_param *p = &m->params[i];
        snprintf(p->name, sizeof p->name, "%s", m->specs[i].name);
        p->role = m->specs[i].role;
        p->rows = m->specs[i].shape[0];
        p->n_elements = m->specs[i].shape[0] * (m->specs[i].n_dims > 1 ? m->specs[i].shape[1] : 1);
        p->offset = m->arena_size;
        m->arena_size += p->n_elements;
    }
    *out = m;
    return DTX_OK;
done:
    dtx_model_del(m);
    return st;
}

dtx_status dtx_model_open(const char *dir, bool force_f32, dtx_model **out)
{
    dtx_arch arch;

    DTX_TRY(dtx_arch_read(dir, &arch));
    return dtx_model_open_as(dir, &arch, force_f32, out);
}

dtx_status dtx_model_open_as(const char *dir, const dtx_arch *a, bool force_f32, dtx_model **out)
{
    dtx_status st;
    dtx_model *m = NULL;
    dtx_weights *w = NULL;
    dtx_arch arch = *a;
    const dtx_tensor *head = NULL;
    int64_t n_missing = 0, first_missing = 0;

    DTX_GO(dtx_weights_open(dir, NULL, &w));
    if (dtx_weights_gguf(w) != NULL) {
        DTX_GO(dtx_gguf_rename(w, a));
    }
    DTX_GO(check_tied_head(w, &arch, &head));
    DTX_GO(new_table(&arch, &m));
    m->weights = w;
    w = NULL;
    DTX_GO(DTX_NEW(m->stored, m->n_params));
    for (int64_t i = 0; i < m->n_params; i++) {
        m->stored[i] = find_tensor(&arch, m->weights, m->specs[i].name);
        if (m->stored[i] == NULL && n_missing++ == 0) {
            first_missing = i;
        }
    }
    if (n_missing > 0) {
        st = DTX_FAIL(DTX_ERR_INPUT,
                      "%s: tensor %s is missing, and %" PRId64 " more of the %" PRId64 " that config.json implies", dir,
                      m->specs[first_missing].name, n_missing - 1, m->n_params);
        goto done;
    }
    DTX_GO(check_unknown(m, head));
    for (int64_t i = 0; i < m->n_params; i++) {
        DTX_GO(check_tensor(&m->specs[i], m->stored[i]));
        DTX_GO(take_tensor(m, m->stored[i], force_f32 || m->specs[i].n_dims == 1, &m->params[i]));
    }
    DTX_GO(dtx_model_bind(m));
    *out = m;
    return DTX_OK;
done:
    dtx_weights_close(w);
    dtx_model_del(m);
    return st;
}

/* Standard deviation of a fresh parameter: 0 for vectors, less for the projections that add to the residual stream. */
static double fresh_std(const dtx_model *m, const dtx_param_spec *s)
{
    if (s->role != DTX_ROLE_MATRIX && s->role != DTX_ROLE_TABLE) {
        return 0;
    }
    return s->part == DTX_MOD_OUT || s->part == DTX_MOD_DOWN ? 0.02 / sqrt(2.0 * (double)m->arch.n_layers) : 0.02;
}

float dtx_fresh_vector(const dtx_arch *a, const dtx_param_spec *s)
{
    return s->role == DTX_ROLE_SCALE && !a->norm_plus_one ? 1 : 0;
}

/* A bound model whose parameters stand in an arena that nothing has been written to yet. */
static dtx_status new_arena(const dtx_arch *a, dtx_model **out)
{
    dtx_status st;
    dtx_model *m = NULL;

    DTX_GO(new_table(a, &m));
    DTX_GO(own(m, (size_t)m->arena_size * sizeof(float), (void **)&m->arena));
    for (int64_t i = 0; i < m->n_params; i++) {
        m->params[i].dtype = DTX_F32;
        m->params[i].data = m->arena + m->params[i].offset;
    }
    DTX_GO(dtx_model_bind(m));
    *out = m;
    return DTX_OK;
done:
    dtx_model_del(m);
    return st;
}

dtx_status dtx_model_new(const dtx_arch *a, uint64_t seed, dtx_model **out)
{
    dtx_model *m;

    DTX_TRY(new_arena(a, &m));
    for (int64_t i = 0; i < m->n_params; i++) {
        float *w = m->arena + m->params[i].offset;
        double std = fresh_std(m, &m->specs[i]);
        for (int64_t j = 0; j < m->params[i].n_elements; j++) {
            w[j] =
                std == 0
                    ? dtx_fresh_vector(&m->arch, &m->specs[i])
                    : (float)(std * dtx_rng_normal(seed, DTX_RNG_INIT, (uint64_t)i, (uint32_t)(j >> 32), (uint32_t)j));
        }
    }
    *out = m;
    return DTX_OK;
}

dtx_status dtx_model_copy(const dtx_model *m, const dtx_adapter *ad, dtx_model **out)
{
    dtx_model *copy;

    DTX_TRY(new_arena(&m->arch, &copy));
    for (int64_t i = 0; i < m->n_params; i++) {
        const dtx_param *p = &m->params[i];
        dtx_param_widen(p, copy->arena + copy->params[i].offset);
    }
    for (int64_t s = 0; ad != NULL && s < ad->n_slots; s++) {
        if (ad->slot[s].A != NULL) {
            const model_linear *l = &copy->layers[s / DTX_MODULES].module[s % DTX_MODULES];
            dtx_merge_module(&ad->slot[s], l->transposed, true, copy->arena + copy->params[l->w_param].offset);
        }
    }
    *out = copy;
    return DTX_OK;
}

/* xorshift64*: statistics do not matter here, only that no product is a denormal or an overflow. */
static float cheap_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return ((float)(*state * 0x2545F4914F6CDD1DULL >> 40) / 16777216.0F - 0.5F) * 0.07F;
}

dtx_status dtx_model_random(const dtx_arch *a, dtx_dtype dtype, uint64_t seed, dtx_model **out)
{
    dtx_status st;
    dtx_model *m = NULL;
    uint64_t state = seed * 2 + 1;

    if (dtype != DTX_F32 && dtype != DTX_F16 && dtype != DTX_BF16) {
        return DTX_FAIL(DTX_ERR_USAGE, "random weights are F32, F16 or BF16, not %s", dtx_dtype_name(dtype));
    }
    DTX_GO(new_table(a, &m));
    for (int64_t i = 0; i < m->n_params; i++) {
        dtx_param *p = &m->params[i];
        void *data;
        p->dtype = m->specs[i].n_dims > 1 ? dtype : DTX_F32;
        DTX_GO(own(m, (size_t)p->n_elements * dtx_dtype_size(p->dtype), &data));
        for (int64_t j = 0; j < p->n_elements; j++) {
            float x = m->specs[i].n_dims > 1 ? cheap_random(&state) : dtx_fresh_vector(&m->arch, &m->specs[i]);
            if (p->dtype == DTX_F32) {
                ((float *)data)[j] = x;
            } else {
                ((uint16_t *)data)[j] = p->dtype == DTX_BF16 ? dtx_f32_to_bf16(x) : dtx_f32_to_f16(x);
            }
        }
        p->data = data;
    }
    DTX_GO(dtx_model_bind(m));
    *out = m;
    return DTX_OK;
done:
    dtx_model_del(m);
    return st;
}

dtx_status dtx_model_save(const dtx_model *m, const char *dir)
{
    dtx_status st;
    dtx_tensor *t = NULL;
    const dtx_meta meta = {"format", "pt"};
    char path[4096];

    if (m->arena == NULL) {
        return DTX_FAIL(DTX_ERR_USAGE, "only a model with weights in memory can be saved to %s", dir);
    }
    DTX_GO(dtx_file_mkdirs(dir));
    DTX_GO(dtx_file_join(path, sizeof path, dir, "model.safetensors"));
    DTX_GO(DTX_NEW(t, m->n_params));
    for (int64_t i = 0; i < m->n_params; i++) {
        t[i].name = m->specs[i].name;
        t[i].dtype = DTX_F32;
        t[i].n_dims = m->specs[i].n_dims;
        t[i].shape[0] = m->specs[i].shape[0];
        t[i].shape[1] = m->specs[i].shape[1];
        t[i].n_elements = m->params[i].n_elements;
        t[i].data = m->params[i].data;
        t[i].size_bytes = (size_t)t[i].n_elements * sizeof(float);
    }
    DTX_GO(dtx_safetensors_write(path, t, m->n_params, &meta, 1));
    DTX_GO(dtx_arch_write(dir, &m->arch, "float32")); /* last: a folder with a config.json is complete */
done:
    dtx_free(t);
    return st;
}

dtx_status dtx_model_first_layers(const dtx_model *m, int64_t n, dtx_model **out)
{
    dtx_model *part = NULL;

    DTX_TRY(DTX_NEW(part, 1));
    *part = *m;
    part->arch.n_layers = n;
    part->borrowed = true;
    *out = part;
    return DTX_OK;
}

void dtx_model_del(dtx_model *m)
{
    if (m == NULL) {
        return;
    }
    if (m->borrowed) {
        dtx_free(m);
        return;
    }
    for (int64_t i = 0; i < m->n_owned; i++) {
        dtx_free(m->owned[i]);
    }
    if (m->rotary != NULL) {
        for (int k = 0; k < 2; k++) {
            dtx_free(m->rotary->cos_t[k]);
            dtx_free(m->rotary->sin_t[k]);
        }
        dtx_free(m->rotary);
    }
    dtx_weights_close(m->weights);
    dtx_free(m->owned);
    dtx_free(m->layers);
    dtx_free(m->slopes);
    dtx_free(m->params);
    dtx_free(m->specs);
    dtx_free(m->stored);
    dtx_free(m);
}

const dtx_arch *dtx_model_arch(const dtx_model *m)
{
    return &m->arch;
}

int64_t dtx_model_n_params(const dtx_model *m)
{
    return m->n_params;
}

const dtx_param *dtx_model_param(const dtx_model *m, int64_t i)
{
    return &m->params[i];
}

float *dtx_model_arena(dtx_model *m)
{
    return m->arena;
}

int64_t dtx_model_arena_size(const dtx_model *m)
{
    return m->arena_size;
}

void dtx_param_widen(const dtx_param *p, float *out)
{
    const dtx_tensor t = {.dtype = p->dtype, .n_dims = 1, .shape = {p->rows}, .n_elements = p->n_elements, .data = p->data, .order = p->order};

    dtx_tensor_widen(&t, out);
}

const dtx_matrix *dtx_model_module(const dtx_model *m, int64_t layer, dtx_module_kind kind)
{
    return &m->layers[layer].module[kind].w;
}

dtx_status dtx_model_fingerprint(const dtx_model *m, char out[65])
{
    char weights[65];
    dtx_sha256 *h = NULL;
    dtx_status st;

    if (m->weights != NULL) {
        DTX_TRY(dtx_weights_fingerprint(m->weights, 0, weights));
        return dtx_arch_fingerprint(&m->arch, weights, out);
    }
    DTX_GO(dtx_sha256_new(&h));
    for (int64_t i = 0; i < m->n_params; i++) {
        const dtx_param *p = &m->params[i];
        DTX_GO(dtx_sha256_add(h, p->name, strlen(p->name) + 1));
        DTX_GO(dtx_sha256_add(h, m->specs[i].shape, sizeof m->specs[i].shape));
        DTX_GO(dtx_sha256_add(h, p->data, (size_t)dtx_dtype_bytes(p->dtype, p->n_elements)));
    }
    DTX_GO(dtx_sha256_end(h, weights));
    st = dtx_arch_fingerprint(&m->arch, weights, out);
done:
    dtx_sha256_del(h);
    return st;
}
