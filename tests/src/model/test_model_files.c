/* Models and adapters as folders: round trips, and each way in which a folder can be wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "src/base/file.h"
#include "src/base/mem.h"
#include "tests/src/model/model_variants.h"

#define OK(expr)                                                                                                       \
    do {                                                                                                               \
        if ((expr) != DTX_OK) {                                                                                        \
            fail_msg("%s: %s (%s)", #expr, dtx_error_text(), dtx_error_place());                                       \
        }                                                                                                              \
    } while (0)
/* The status, and a word that the message must hold. */
#define FAILS(code, word, expr)                                                                                        \
    do {                                                                                                               \
        dtx_error_clear();                                                                                             \
        dtx_status st_ = (expr);                                                                                       \
        if (st_ != (code) || strstr(dtx_error_text(), (word)) == NULL) {                                               \
            fail_msg("%s: status %d, \"%s\", expected %d and \"%s\"", #expr, (int)st_, dtx_error_text(), (int)(code),  \
                     (word));                                                                                          \
        }                                                                                                              \
    } while (0)

enum { R = 6 };
static const int32_t ids[R] = {3, 7, 0, 22, 4, 9};
static char root[512];

static int make_root(void **state)
{
    const char *tmp = getenv("TMPDIR");

    (void)state;
    snprintf(root, sizeof root, "%s/dtx-model.XXXXXX", tmp != NULL ? tmp : "/tmp");
    return mkdtemp(root) != NULL ? 0 : 1;
}

static int remove_root(void **state)
{
    char command[600];

    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    return system(command);
}

static void in_root(char out[600], const char *name)
{
    snprintf(out, 600, "%s/%s", root, name);
}

static float *hidden_of(const dtx_model *m, const dtx_adapter *ad)
{
    float *h = dtx_calloc((size_t)(R * dtx_model_arch(m)->hidden), sizeof *h);

    OK(dtx_model_forward(m, &(dtx_batch){.n_seq = 1, .offset = (const int64_t[]){0, R}, .ids = ids, .adapter = ad}, h));
    return h;
}

static void test_save_and_open(void **state)
{
    (void)state;
    for (int v = 0; v < N_VARIANTS; v++) {
        const dtx_arch a = variant_arch(v);
        dtx_model *m, *again;
        char dir[600], name[32], f1[65], f2[65];
        snprintf(name, sizeof name, "saved%d", v);
        in_root(dir, name);
        OK(dtx_model_new(&a, 3, &m));
        variant_shake(m, 4);
        OK(dtx_model_save(m, dir));
        for (int f32 = 0; f32 < 2; f32++) {
            OK(dtx_model_open(dir, f32, &again));
            assert_int_equal(dtx_model_n_params(again), dtx_model_n_params(m));
            for (int64_t i = 0; i < dtx_model_n_params(m); i++) {
                assert_string_equal(dtx_model_param(again, i)->name, dtx_model_param(m, i)->name);
                assert_memory_equal(dtx_model_param(again, i)->data, dtx_model_param(m, i)->data,
                                    (size_t)dtx_model_param(m, i)->n_elements * sizeof(float));
            }
            float *h1 = hidden_of(m, NULL), *h2 = hidden_of(again, NULL);
            assert_memory_equal(h1, h2, (size_t)(R * a.hidden) * sizeof(float));
            dtx_free(h1);
            dtx_free(h2);
            OK(dtx_model_fingerprint(again, f32 ? f2 : f1));
            dtx_model_del(again);
        }
        assert_string_equal(f1, f2);
        OK(dtx_model_fingerprint(m, f1));
        dtx_model_arena(m)[0] += 1;
        OK(dtx_model_fingerprint(m, f2));
        assert_string_not_equal(f1, f2);
        dtx_model_del(m);
    }
}

/* The same seed gives the same fresh weights, norms are 1 and biases 0. */
static void test_fresh_weights(void **state)
{
    const dtx_arch a = variant_arch(0);
    dtx_model *m[2];
    double sum = 0, squares = 0;
    int64_t n = 0;

    (void)state;
    OK(dtx_model_new(&a, 7, &m[0]));
    OK(dtx_model_new(&a, 7, &m[1]));
    assert_memory_equal(dtx_model_arena(m[0]), dtx_model_arena(m[1]),
                        (size_t)dtx_model_arena_size(m[0]) * sizeof(float));
    for (int64_t i = 0; i < dtx_model_n_params(m[0]); i++) {
        const dtx_param *p = dtx_model_param(m[0], i);
        const float *w = p->data;
        if (strstr(p->name, "norm.weight") != NULL) {
            assert_true(w[0] == 1 && w[p->n_elements - 1] == 1);
        } else if (strstr(p->name, ".bias") != NULL) {
            assert_true(w[0] == 0 && w[p->n_elements - 1] == 0);
        } else if (strstr(p->name, "query_key_value") != NULL) {
            for (int64_t j = 0; j < p->n_elements; j++, n++) {
                sum += (double)w[j];
                squares += (double)w[j] * (double)w[j];
            }
        }
    }
    assert_true(fabs(sum / (double)n) < 1e-3 && fabs(sqrt(squares / (double)n) - 0.02) < 1e-3);
    dtx_model_del(m[0]);
    dtx_model_del(m[1]);
}

/* A folder of variant `v` whose tensors `change` has altered; *n may grow by one. */
typedef void changer(dtx_tensor *t, int64_t *n);
static uint16_t small[VARIANT_VOCAB * 24 * 4];
static int64_t whole_numbers[4096];

static void write_folder(const char *dir, int v, changer *change)
{
    const dtx_arch a = variant_arch(v);
    dtx_model *m;
    dtx_param_spec *s;
    int64_t n;
    char path[700];

    OK(dtx_model_new(&a, 3, &m));
    OK(dtx_arch_params(&a, &s, &n));
    dtx_tensor *t = dtx_calloc((size_t)n + 4, sizeof *t);
    for (int64_t i = 0; i < n; i++) {
        const dtx_param *p = dtx_model_param(m, i);
        t[i] = (dtx_tensor){.name = s[i].name,
                            .dtype = DTX_F32,
                            .n_dims = s[i].n_dims,
                            .n_elements = p->n_elements,
                            .data = p->data,
                            .size_bytes = (size_t)p->n_elements * 4};
        t[i].shape[0] = s[i].shape[0];
        t[i].shape[1] = s[i].shape[1];
    }
    if (change != NULL) {
        change(t, &n);
    }
    OK(dtx_file_mkdirs(dir));
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    OK(dtx_safetensors_write(path, t, n, NULL, 0));
    OK(dtx_arch_write(dir, &a, "float32"));
    dtx_free(t);
    dtx_free(s);
    dtx_model_del(m);
}

static dtx_status open_changed(int v, changer *change)
{
    char dir[600];
    dtx_model *m = NULL;

    in_root(dir, "changed");
    write_folder(dir, v, change);
    dtx_status st = dtx_model_open(dir, false, &m);
    dtx_model_del(m);
    return st;
}

static void drop_last(dtx_tensor *t, int64_t *n)
{
    (void)t;
    (*n)--;
}

static void add(dtx_tensor *t, int64_t *n, const char *name, dtx_dtype type, int64_t rows, int64_t cols)
{
    t[*n] = (dtx_tensor){.name = name,
                         .dtype = type,
                         .n_dims = 2,
                         .n_elements = rows * cols,
                         .data = whole_numbers,
                         .size_bytes = (size_t)(rows * cols) * dtx_dtype_size(type)};
    t[*n].shape[0] = rows;
    t[*n].shape[1] = cols;
    (*n)++;
}

static void add_stranger(dtx_tensor *t, int64_t *n)
{
    add(t, n, "gpt_neox.layers.3.attention.dense.weight", DTX_F32, 24, 24);
}

static void add_buffers(dtx_tensor *t, int64_t *n)
{
    add(t, n, "gpt_neox.layers.0.attention.bias", DTX_U8, 8, 8);
    add(t, n, "gpt_neox.layers.0.attention.masked_bias", DTX_F32, 1, 1);
    add(t, n, "gpt_neox.layers.0.attention.rotary_emb.inv_freq", DTX_F32, 1, 3);
}

static void add_head(dtx_tensor *t, int64_t *n)
{
    add(t, n, "lm_head.weight", DTX_F32, VARIANT_VOCAB, 24);
}

static void add_other_head(dtx_tensor *t, int64_t *n)
{
    add(t, n, "lm_head.weight", DTX_F32, VARIANT_VOCAB + 1, 24);
}

static void turn_shape(dtx_tensor *t, int64_t *n)
{
    (void)n;
    t[0].shape[0] = 24;
    t[0].shape[1] = VARIANT_VOCAB;
}

static void make_vector(dtx_tensor *t, int64_t *n)
{
    (void)n;
    t[0].n_dims = 1;
    t[0].shape[0] = t[0].n_elements;
}

static void make_integers(dtx_tensor *t, int64_t *n)
{
    (void)n;
    t[0].dtype = DTX_I64;
    t[0].data = whole_numbers;
    t[0].size_bytes = (size_t)t[0].n_elements * 8;
}

static void make_half(dtx_tensor *t, int64_t *n)
{
    (void)n;
    for (int64_t i = 0; i < t[0].n_elements; i++) {
        small[i] = dtx_f32_to_bf16(((const float *)t[0].data)[i]);
    }
    t[0].dtype = DTX_BF16;
    t[0].data = small;
    t[0].size_bytes = (size_t)t[0].n_elements * 2;
}

static void test_wrong_folders(void **state)
{
    char dir[600];
    dtx_model *m = NULL;

    (void)state;
    OK(open_changed(0, NULL));
    OK(open_changed(0, add_buffers));
    OK(open_changed(2, add_head));
    OK(open_changed(0, make_half));
    FAILS(DTX_ERR_INPUT, "embed_out.weight is missing", open_changed(0, drop_last));
    FAILS(DTX_ERR_INPUT, "gpt_neox.layers.3.attention.dense.weight", open_changed(0, add_stranger));
    FAILS(DTX_ERR_INPUT, "lm_head.weight", open_changed(0, add_head)); /* untied GPT-NeoX has no such tensor */
    FAILS(DTX_ERR_INPUT, "lm_head.weight", open_changed(2, add_other_head));
    FAILS(DTX_ERR_INPUT, "(24, 23), config.json implies (23, 24)", open_changed(0, turn_shape));
    FAILS(DTX_ERR_INPUT, "has shape (552)", open_changed(0, make_vector));
    FAILS(DTX_ERR_INPUT, "is I64", open_changed(0, make_integers));
    in_root(dir, "nowhere");
    FAILS(DTX_ERR_MISSING, "nowhere", dtx_model_open(dir, false, &m));
    assert_null(m);
}

/* Weights in 16 bits stay as stored; force_f32 widens them, with the same values. */
static void test_half_precision(void **state)
{
    char dir[600];
    dtx_model *m;

    (void)state;
    in_root(dir, "half");
    write_folder(dir, 0, make_half);
    float *h[2];
    for (int f32 = 0; f32 < 2; f32++) {
        OK(dtx_model_open(dir, f32, &m));
        assert_int_equal(dtx_model_param(m, 0)->dtype, f32 ? DTX_F32 : DTX_BF16);
        h[f32] = hidden_of(m, NULL);
        dtx_model_del(m);
    }
    assert_memory_equal(h[0], h[1], (size_t)(R * 24) * sizeof(float));
    dtx_free(h[0]);
    dtx_free(h[1]);
}

static void test_every_allocation_of_open_may_fail(void **state)
{
    char dir[600];
    dtx_model *m = NULL;
    int64_t failures = 0;

    (void)state;
    in_root(dir, "failing");
    write_folder(dir, 0, make_half);
    const size_t before = dtx_mem_used();
    for (int64_t k = 1;; k++, failures++) {
        dtx_mem_fail_at(k);
        dtx_status st = dtx_model_open(dir, true, &m);
        dtx_mem_fail_at(0);
        if (st == DTX_OK) {
            break;
        }
        assert_int_equal(st, DTX_ERR_MISSING);
        assert_int_equal(dtx_mem_used(), before);
    }
    dtx_model_del(m);
    assert_int_equal(dtx_mem_used(), before);
    assert_true(failures > 20);
}

static void test_adapter_round_trip(void **state)
{
    static const char *const targets[] = {"query_key_value", "dense_4h_to_h"};
    const dtx_arch a = variant_arch(3);
    dtx_adapter *ad, *again, *same;
    char dir[600];
    int pairs = 0;

    (void)state;
    in_root(dir, "adapter");
    OK(dtx_adapter_new(&a, 5, 7.5, 0.05, targets, 2, 11, &ad));
    OK(dtx_adapter_new(&a, 5, 7.5, 0.05, targets, 2, 11, &same));
    assert_memory_equal(ad->arena, same->arena, (size_t)ad->n_params * sizeof(float));
    for (int64_t s = 0; s < ad->n_slots; s++) {
        const dtx_lora *l = &ad->slot[s];
        if (l->A != NULL) {
            double top = 0;
            pairs++;
            for (int64_t i = 0; i < 5 * l->n_in; i++) {
                top = fmax(top, fabs((double)l->A[i]));
            }
            assert_true(top <= 1 / sqrt((double)l->n_in) && top > 0.8 / sqrt((double)l->n_in));
            assert_true(l->B[0] == 0 && l->B[5 * l->n_out - 1] == 0);
        }
    }
    assert_int_equal(pairs, 2 * 3);
    fill_normal(ad->arena, ad->n_params, 5, 0.3);
    OK(dtx_adapter_write(dir, &a, ad, "a \"base\""));
    OK(dtx_adapter_read(dir, &a, &again));
    assert_int_equal(again->n_params, ad->n_params);
    assert_memory_equal(again->arena, ad->arena, (size_t)ad->n_params * sizeof(float));
    assert_true(again->r == 5 && again->alpha == 7.5 && again->scale == 1.5F && again->dropout == 0.05);
    assert_string_equal(again->targets, "query_key_value\ndense_4h_to_h");
    dtx_adapter_del(ad);
    dtx_adapter_del(again);
    dtx_adapter_del(same);
}

/* The adapter of test_adapter_round_trip with another configuration. */
static dtx_status read_with(const char *config)
{
    const dtx_arch a = variant_arch(3);
    dtx_adapter *ad = NULL;
    char dir[600], path[700];

    in_root(dir, "adapter");
    snprintf(path, sizeof path, "%s/adapter_config.json", dir);
    OK(dtx_file_write(path, config, strlen(config)));
    dtx_status st = dtx_adapter_read(dir, &a, &ad);
    dtx_adapter_del(ad);
    return st;
}

static void test_wrong_adapters(void **state)
{
#define HEAD "{\"peft_type\":\"LORA\",\"lora_alpha\":16,"
#define TWO "\"target_modules\":[\"query_key_value\",\"dense_4h_to_h\"]"
    const dtx_arch a = variant_arch(3);
    dtx_adapter *ad = NULL;

    (void)state;
    OK(read_with(HEAD "\"r\":5," TWO "}"));
    OK(read_with(HEAD "\"r\":5,\"use_rslora\":false,\"rank_pattern\":{},\"modules_to_save\":null,\"bias\":\"none\"," TWO
                      "}"));
    OK(read_with(HEAD "\"r\":5,\"use_rslora\":true," TWO "}"));
    OK(read_with(HEAD "\"r\":5,\"target_modules\":\".*\\\\.(query_key_value|dense_4h_to_h)\"}"));
    FAILS(DTX_ERR_INPUT, "lora_magnitude_vector is missing", read_with(HEAD "\"r\":5,\"use_dora\":true," TWO "}"));
    FAILS(DTX_ERR_INPUT, "lora_B.bias is missing", read_with(HEAD "\"r\":5,\"lora_bias\":true," TWO "}"));
    FAILS(DTX_ERR_INPUT, "use_qalora", read_with(HEAD "\"r\":5,\"use_qalora\":true," TWO "}"));
    FAILS(DTX_ERR_INPUT, "some_new_setting", read_with(HEAD "\"r\":5,\"some_new_setting\":1," TWO "}"));
    FAILS(DTX_ERR_INPUT, "pissa", read_with(HEAD "\"r\":5,\"init_lora_weights\":\"pissa_niter_4\"," TWO "}"));
    FAILS(DTX_ERR_INPUT, "cannot be used", read_with(HEAD "\"r\":5,\"target_modules\":\"(query\"}"));
    FAILS(DTX_ERR_INPUT, "takes too long", read_with(HEAD "\"r\":5,\"target_modules\":\"([a-z._0-9]+)*[^a-z._0-9]\"}"));
    FAILS(DTX_ERR_INPUT, "modules_to_save", read_with(HEAD "\"r\":5,\"modules_to_save\":[\"lm_head\"]," TWO "}"));
    OK(read_with(HEAD "\"r\":7,\"rank_pattern\":{\"dense_4h_to_h\":5,\"h.[0-9].self_attention.query_key_value\":5}," TWO "}"));
    FAILS(DTX_ERR_INPUT, "shape", read_with(HEAD "\"r\":5,\"rank_pattern\":{\"dense_4h_to_h\":2}," TWO "}"));
    FAILS(DTX_ERR_INPUT, "rank_pattern", read_with(HEAD "\"r\":5,\"rank_pattern\":{\"a\":2.5}," TWO "}"));
    FAILS(DTX_ERR_INPUT, "belongs to no module", read_with(HEAD "\"r\":5,\"layers_to_transform\":1," TWO "}"));
    FAILS(DTX_ERR_INPUT, "layers_to_transform", read_with(HEAD "\"r\":5,\"layers_to_transform\":3," TWO "}"));
    FAILS(DTX_ERR_INPUT, "bias", read_with(HEAD "\"r\":5,\"bias\":\"all\"," TWO "}"));
    FAILS(DTX_ERR_INPUT, "peft_type", read_with("{\"peft_type\":\"IA3\",\"lora_alpha\":16,\"r\":5," TWO "}"));
    FAILS(DTX_ERR_INPUT, "lora_alpha", read_with("{\"peft_type\":\"LORA\",\"r\":5," TWO "}"));
    FAILS(DTX_ERR_INPUT, "no module is called", read_with(HEAD "\"r\":5,\"target_modules\":\"query.*\"}"));
    FAILS(DTX_ERR_INPUT, "target_modules", read_with(HEAD "\"r\":5,\"target_modules\":[3]}"));
    FAILS(DTX_ERR_INPUT, "r", read_with(HEAD "\"r\":0," TWO "}"));
    FAILS(DTX_ERR_INPUT, "shape", read_with(HEAD "\"r\":4," TWO "}"));
    FAILS(DTX_ERR_INPUT, "is missing",
          read_with(HEAD "\"r\":5,\"target_modules\":[\"query_key_value\",\"dense_4h_to_h\",\"dense\"]}"));
    FAILS(DTX_ERR_INPUT, "belongs to no module", read_with(HEAD "\"r\":5,\"target_modules\":[\"query_key_value\"]}"));
    FAILS(DTX_ERR_INPUT, "no module is called", read_with(HEAD "\"r\":5,\"target_modules\":[\"q_proj\"]}"));
    FAILS(DTX_ERR_INPUT, "", read_with("[1, 2]"));
    FAILS(DTX_ERR_INPUT, "", read_with("{"));
    FAILS(DTX_ERR_USAGE, "transformer.h.0.mlp.dense_h_to_4h",
          dtx_adapter_new(&a, 4, 8, 0, (const char *const[]){"w1"}, 1, 1, &ad));
    FAILS(DTX_ERR_USAGE, "lm_head", dtx_adapter_new(&a, 4, 8, 0, (const char *const[]){"lm_head"}, 1, 1, &ad));
    FAILS(DTX_ERR_USAGE, "rank 0", dtx_adapter_new(&a, 0, 8, 0, (const char *const[]){"dense"}, 1, 1, &ad));
    /* an adapter of a wider model */
    dtx_arch wide = a;
    char dir[600];
    wide.hidden = 48;
    wide.head_dim = 12;
    wide.rotary_dims = 12;
    in_root(dir, "wide");
    OK(dtx_adapter_new(&wide, 5, 16, 0, (const char *const[]){"query_key_value"}, 1, 1, &ad));
    OK(dtx_adapter_write(dir, &wide, ad, "wide"));
    dtx_adapter_del(ad);
    ad = NULL;
    FAILS(DTX_ERR_INPUT, "belong to this model", dtx_adapter_read(dir, &a, &ad));
    in_root(dir, "none");
    FAILS(DTX_ERR_MISSING, "adapter_config.json", dtx_adapter_read(dir, &a, &ad));
    assert_null(ad);
}

/* PEFT's rule: the dotted name itself, or its end behind a dot. "dense" is the attention's output alone, not dense_h_to_4h. */
static void test_suffix_rule(void **state)
{
    const struct {
        int variant;
        const char *target;
        unsigned modules; /* bits of dtx_module_kind */
    } cases[] = {
        {0, "query_key_value", 1U << DTX_MOD_QKV},
        {0, "dense", 1U << DTX_MOD_OUT},
        {3, "dense_h_to_4h", 1U << DTX_MOD_UP},
        {3, "mlp.dense_4h_to_h", 1U << DTX_MOD_DOWN},
        {6, "all-linear", ~0U},
        {N_DECODERS, "value", 1U << DTX_MOD_V},
        {N_DECODERS, "output.dense", 1U << DTX_MOD_OUT | 1U << DTX_MOD_DOWN},
    };

    (void)state;
    dtx_adapter *none = NULL;
    const dtx_arch first = variant_arch(0);
    FAILS(DTX_ERR_USAGE, "no module is called \"4h\"", dtx_adapter_new(&first, 2, 4, 0, (const char *const[]){"4h"}, 1, 1, &none));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const dtx_arch a = variant_arch(cases[i].variant);
        dtx_adapter *ad;
        OK(dtx_adapter_new(&a, 2, 4, 0, &cases[i].target, 1, 1, &ad));
        for (int64_t s = 0; s < ad->n_slots; s++) {
            bool expected = (cases[i].modules >> (s % DTX_MODULES) & 1U) != 0;
            char name[128];
            dtx_module_name(&a, s / DTX_MODULES, (dtx_module_kind)(s % DTX_MODULES), name, sizeof name);
            expected = expected && name[0] != '\0';
            if ((ad->slot[s].A != NULL) != expected) {
                fail_msg("target %s, slot %lld", cases[i].target, (long long)s);
            }
        }
        dtx_adapter_del(ad);
    }
}

/* Shards of any size hold the same weights, one of them more than its bytes where a tensor is larger. */
static void test_random_folders(void **state)
{
    static const int64_t shard[] = {1 << 20, 3000, 1};
    static const dtx_dtype dtype[] = {DTX_BF16, DTX_F16, DTX_F32};
    char dir[600], name[40], first[65], again[65];

    (void)state;
    for (int v = 0; v < N_VARIANTS; v++) {
        const dtx_arch a = variant_arch(v);
        for (int i = 0; i < 3; i++) {
            dtx_model *m;
            snprintf(name, sizeof name, "random%d-%d", v, i);
            in_root(dir, name);
            OK(dtx_model_write_random(&a, dtype[v % 3], 5, shard[i], dir));
            OK(dtx_model_open(dir, false, &m));
            assert_int_equal(dtx_model_param(m, 0)->dtype, dtype[v % 3]);
            OK(dtx_model_fingerprint(m, i == 0 ? first : again));
            if (i > 0) {
                assert_string_equal(first, again);
            }
            dtx_model_del(m);
        }
    }
    const dtx_arch a = variant_arch(0);
    FAILS(DTX_ERR_USAGE, "F32, F16 or BF16", dtx_model_write_random(&a, DTX_F64, 1, 1 << 20, dir));
}

static void what_a_killed_writer_left_is_removed(void **state)
{
    static const char *const mine[] = {"a.json", "a.json.tmp.x", "a.json.tmp.12.bak", "b.json.tmp.12"}, *const left[] = {"a.json.tmp.12", "a.json.tmp.999999"};
    char dir[] = "/tmp/dtx_left_XXXXXX", path[128];
    struct stat sb;

    (void)state;
    assert_non_null(mkdtemp(dir));
    for (int i = 0; i < 6; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, i < 4 ? mine[i] : left[i - 4]);
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        fclose(f);
    }
    snprintf(path, sizeof path, "%s/a.json", dir);
    OK(dtx_file_write(path, "{}", 2));
    for (int i = 0; i < 6; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, i < 4 ? mine[i] : left[i - 4]);
        assert_int_equal(stat(path, &sb) == 0, i < 4);
        unlink(path);
    }
    assert_int_equal(rmdir(dir), 0); /* no other file has come */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_save_and_open),
        cmocka_unit_test(test_fresh_weights),
        cmocka_unit_test(test_wrong_folders),
        cmocka_unit_test(test_half_precision),
        cmocka_unit_test(test_every_allocation_of_open_may_fail),
        cmocka_unit_test(test_adapter_round_trip),
        cmocka_unit_test(test_wrong_adapters),
        cmocka_unit_test(test_suffix_rule),
        cmocka_unit_test(test_random_folders),
        cmocka_unit_test(what_a_killed_writer_left_is_removed),
    };

    return cmocka_run_group_tests(tests, make_root, remove_root);
}
