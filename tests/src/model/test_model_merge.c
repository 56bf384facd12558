/* Weights merged with an adapter, as a file: logits of base + adapter, bits of the stored dtype, refusals. With the
 * argument "golden": the same on the reference models and their adapters. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
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

enum { R = 6 };
static const int32_t ids[R] = {3, 7, 0, 22, 4, 9};
static const dtx_meta meta = {"format", "pt"};
static char root[512];

static int make_root(void **state)
{
    const char *tmp = getenv("TMPDIR");

    (void)state;
    snprintf(root, sizeof root, "%s/dtx-merge.XXXXXX", tmp != NULL ? tmp : "/tmp");
    return mkdtemp(root) != NULL ? 0 : 1;
}

static int remove_root(void **state)
{
    char command[600];

    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    return system(command);
}

static float *logits_of(const dtx_model *m, const dtx_adapter *ad, int64_t n, const int32_t *id)
{
    const dtx_arch *a = dtx_model_arch(m);
    float *h = dtx_calloc((size_t)(n * a->hidden), sizeof *h), *z = dtx_calloc((size_t)(n * a->vocab), sizeof *z);

    OK(dtx_model_forward(m, &(dtx_batch){.n_seq = 1, .offset = (const int64_t[]){0, n}, .ids = id, .adapter = ad}, h));
    dtx_model_logits(m, n, h, z);
    dtx_free(h);
    return z;
}

/* Largest difference of the logits of base + adapter and of the merged folder, relative to the largest logit. */
static double merged_difference(const dtx_model *m, const dtx_adapter *ad, const char *dir, int64_t n, const int32_t *id)
{
    const int64_t all = n * dtx_model_arch(m)->vocab;
    double worst = 0, top = 1;
    dtx_model *merged;
    char path[900];

    OK(dtx_file_mkdirs(dir));
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    OK(dtx_model_write_merged(m, ad, true, &meta, 1, path));
    OK(dtx_model_open_as(dir, dtx_model_arch(m), false, &merged));
    float *want = logits_of(m, ad, n, id), *base = logits_of(m, NULL, n, id), *got = logits_of(merged, NULL, n, id);
    assert_memory_not_equal(want, base, (size_t)all * sizeof *want);
    for (int64_t i = 0; i < all; i++) {
        worst = fmax(worst, fabs((double)want[i] - (double)got[i]));
        top = fmax(top, fabs((double)want[i]));
    }
    dtx_free(want);
    dtx_free(base);
    dtx_free(got);
    dtx_model_del(merged);
    return worst / top;
}

static dtx_adapter *some_adapter(const dtx_arch *a)
{
    const char *targets[DTX_MODULES];
    dtx_adapter *ad;

    OK(dtx_adapter_new(a, 3, 6, 0, targets, variant_targets(a, ~0U, targets), 9, &ad));
    fill_normal(ad->arena, ad->n_params, 5, 0.2);
    return ad;
}

/* The folder of a small model in a dtype. */
static void save_as(const dtx_model *m, dtx_dtype dtype, const char *dir)
{
    const int64_t n = dtx_model_n_params(m);
    dtx_tensor t[128];
    dtx_param_spec *spec;
    int64_t n_spec;
    char path[900];

    assert_true(n <= 128);
    OK(dtx_arch_params(dtx_model_arch(m), &spec, &n_spec));
    OK(dtx_file_mkdirs(dir));
    for (int64_t i = 0; i < n; i++) {
        const dtx_param *p = dtx_model_param(m, i);
        const float *w = p->data;
        const size_t size = dtx_dtype_size(dtype), bytes = (size_t)p->n_elements * size;
        char *data = dtx_calloc((size_t)p->n_elements, size);
        for (int64_t j = 0; j < p->n_elements; j++) {
            const double wide = (double)w[j];
            const uint16_t half = dtype == DTX_F16 ? dtx_f32_to_f16(w[j]) : dtx_f32_to_bf16(w[j]);
            memcpy(data + (size_t)j * size, dtype == DTX_F32 ? (const void *)&w[j] : dtype == DTX_F64 ? (const void *)&wide : &half,
                   size);
        }
        t[i] = (dtx_tensor){.name = p->name, .dtype = dtype, .n_dims = spec[i].n_dims, .n_elements = p->n_elements, .data = data,
                            .size_bytes = bytes};
        memcpy(t[i].shape, spec[i].shape, sizeof spec[i].shape);
    }
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    OK(dtx_safetensors_write(path, t, n, &meta, 1));
    for (int64_t i = 0; i < n; i++) {
        dtx_free((void *)(uintptr_t)t[i].data);
    }
    dtx_free(spec);
}

static void merged_files_give_the_logits_of_base_and_adapter(void **state)
{
    (void)state;
    for (int v = 0; v < N_DECODERS; v++) {
        const dtx_arch a = variant_arch(v);
        dtx_adapter *ad = some_adapter(&a);
        dtx_model *m, *stored;
        char dir[600], out[700];
        OK(dtx_model_new(&a, 3, &m));
        variant_shake(m, 4);
        for (dtx_dtype t = DTX_F32; t <= DTX_F64; t++) {
            snprintf(dir, sizeof dir, "%s/base%d-%d", root, v, (int)t);
            snprintf(out, sizeof out, "%s-merged", dir);
            save_as(m, t, dir);
            OK(dtx_model_open_as(dir, &a, false, &stored));
            double d = merged_difference(stored, ad, out, R, ids);
            if (d > 5e-6) {
                fail_msg("%s in %s: logits differ by %g", variant_name(v), dtx_dtype_name(t), d);
            }
            dtx_model_del(stored);
        }
        dtx_model_del(m);
        dtx_adapter_del(ad);
    }
}

/* In the stored dtype: the bits of W + s B A, summed in double, rounded to f32 and then to nearest even; others as stored. */
static void stored_dtypes_are_kept(void **state)
{
    const dtx_arch a = variant_arch(2);
    dtx_adapter *ad = some_adapter(&a);
    dtx_model *m, *base;
    char dir[600], path[900];

    (void)state;
    OK(dtx_model_new(&a, 3, &m));
    variant_shake(m, 4);
    for (int k = 0; k < 2; k++) {
        const dtx_dtype t = k == 0 ? DTX_F16 : DTX_BF16;
        dtx_weights *in, *out;
        int64_t n_merged = 0;
        snprintf(dir, sizeof dir, "%s/kept%d", root, k);
        snprintf(path, sizeof path, "%s/merged.safetensors", dir);
        save_as(m, t, dir);
        OK(dtx_model_open_as(dir, &a, false, &base));
        OK(dtx_model_write_merged(base, ad, false, &meta, 1, path));
        OK(dtx_weights_open(dir, NULL, &in));
        OK(dtx_weights_open(path, NULL, &out));
        assert_int_equal(dtx_weights_count(in), dtx_weights_count(out));
        for (int64_t i = 0; i < dtx_weights_count(in); i++) {
            const dtx_tensor *x = dtx_weights_at(in, i), *y = dtx_weights_find(out, x->name);
            const dtx_lora *pair = NULL;
            assert_non_null(y);
            assert_int_equal(y->dtype, t);
            assert_int_equal(y->n_elements, x->n_elements);
            for (int64_t s = 0; s < ad->n_slots; s++) {
                char module[128], name[160];
                dtx_module_name(&a, s / DTX_MODULES, (dtx_module_kind)(s % DTX_MODULES), module, sizeof module);
                snprintf(name, sizeof name, "%s.weight", module);
                pair = ad->slot[s].A != NULL && strcmp(name, x->name) == 0 ? &ad->slot[s] : pair;
            }
            if (pair == NULL) {
                assert_memory_equal(x->data, y->data, x->size_bytes);
                continue;
            }
            n_merged++;
            for (int64_t e = 0; e < x->n_elements; e++) {
                float w;
                double sum = 0;
                uint16_t got;
                dtx_widen(t, (const char *)x->data + 2 * e, 1, &w);
                for (int64_t r = 0; r < pair->r; r++) {
                    sum += (double)pair->B[e / pair->n_in * pair->r + r] * (double)pair->A[r * pair->n_in + e % pair->n_in];
                }
                float want = (float)((double)w + (double)ad->scale * sum);
                memcpy(&got, (const char *)y->data + 2 * e, 2);
                assert_int_equal(got, t == DTX_F16 ? dtx_f32_to_f16(want) : dtx_f32_to_bf16(want));
            }
        }
        assert_int_equal(n_merged, 4 * a.n_layers);
        dtx_weights_close(in);
        dtx_weights_close(out);
        dtx_model_del(base);
    }
    dtx_model_del(m);
    dtx_adapter_del(ad);
}

/* What a dtype cannot hold is refused, no file appears, and an older one stays. */
static void overflow_is_refused(void **state)
{
    const dtx_arch a = variant_arch(0);
    dtx_adapter *ad = some_adapter(&a);
    dtx_model *m, *base;
    char dir[600], path[900], command[900];

    (void)state;
    OK(dtx_model_new(&a, 3, &m));
    snprintf(dir, sizeof dir, "%s/overflow", root);
    snprintf(path, sizeof path, "%s/merged.safetensors", dir);
    save_as(m, DTX_F16, dir);
    OK(dtx_model_open_as(dir, &a, false, &base));
    ad->slot[DTX_MODULES + DTX_MOD_UP].B[0] = 1e8F;
    assert_int_equal(dtx_model_write_merged(base, ad, false, &meta, 1, path), DTX_ERR_NUMERIC);
    assert_non_null(strstr(dtx_error_text(), "gpt_neox.layers.1.mlp.dense_h_to_4h.weight"));
    assert_non_null(strstr(dtx_error_text(), "F16"));
    assert_false(dtx_file_exists(path));
    snprintf(command, sizeof command, "test -z \"$(ls '%s' | grep tmp)\"", dir);
    assert_int_equal(system(command), 0);
    OK(dtx_model_write_merged(base, ad, true, &meta, 1, path));
    ad->slot[DTX_MODULES + DTX_MOD_UP].B[0] = NAN;
    assert_int_equal(dtx_model_write_merged(base, ad, true, &meta, 1, path), DTX_ERR_NUMERIC);
    assert_true(dtx_file_exists(path));
    assert_int_equal(dtx_model_write_merged(m, ad, true, &meta, 1, path), DTX_ERR_CHECK); /* not from a folder */
    dtx_model_del(base);
    dtx_model_del(m);
    dtx_adapter_del(ad);
}

/* The adapters of `n_models` folders below `golden`. */
static void check_golden(const char *golden, const char *const *name, size_t n_models)
{
    for (size_t k = 0; k < n_models; k++) {
        char dir[600], file[700], out[600];
        dtx_model *m;
        dtx_adapter *ad;
        dtx_weights *w;
        double worst = 0, top = 1;
        snprintf(dir, sizeof dir, "%s/%s", golden, name[k]);
        OK(dtx_model_open(dir, false, &m));
        snprintf(file, sizeof file, "%s/adapter", dir);
        OK(dtx_adapter_read(file, dtx_model_arch(m), &ad));
        snprintf(file, sizeof file, "%s/expected/lora.safetensors", dir);
        OK(dtx_weights_open(file, NULL, &w));
        const dtx_tensor *id = dtx_weights_find(w, "logits.input_ids"), *z = dtx_weights_find(w, "logits.active");
        const int64_t n = id->n_elements;
        int32_t *tokens = dtx_calloc((size_t)n, sizeof *tokens);
        for (int64_t i = 0; i < n; i++) {
            int64_t wide;
            memcpy(&wide, (const char *)id->data + 8 * i, 8);
            tokens[i] = (int32_t)wide;
        }
        snprintf(out, sizeof out, "%s/%s", root, name[k]);
        double d = merged_difference(m, ad, out, n, tokens);
        dtx_model *merged;
        OK(dtx_model_open_as(out, dtx_model_arch(m), false, &merged));
        float *got = logits_of(merged, NULL, n, tokens), *want = dtx_calloc((size_t)z->n_elements, sizeof *want);
        dtx_widen(z->dtype, z->data, z->n_elements, want);
        for (int64_t i = 0; i < z->n_elements; i++) {
            worst = fmax(worst, fabs((double)want[i] - (double)got[i]));
            top = fmax(top, fabs((double)want[i]));
        }
        print_message("%s: %g from base + adapter, %g from the reference, relative to the largest logit\n", name[k], d, worst / top);
        assert_true(d <= 1e-5);
        assert_true(worst <= 2e-5); /* the reference's own merged model differs by 4.9e-6; angles in f32 by up to 2e-5 */
        dtx_free(want);
        dtx_free(got);
        dtx_free(tokens);
        dtx_model_del(merged);
        dtx_weights_close(w);
        dtx_adapter_del(ad);
        dtx_model_del(m);
    }
}

static void golden_adapters_merge(void **state)
{
    static const char *const own[] = {"neox-tiny-seq"},
                             *const shared[] = {"neox-tiny", "falcon7b-tiny", "falcon40b-tiny", "falcon-rw-tiny"};

    (void)state;
    check_golden(DTX_SOURCE "/tests/golden", own, 1);
    if (dtx_file_is_dir(DTX_SHARED "/golden")) {
        check_golden(DTX_SHARED "/golden", shared, 4);
    } else {
        print_message("no further reference values in " DTX_SHARED "/golden\n");
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merged_files_give_the_logits_of_base_and_adapter),
        cmocka_unit_test(stored_dtypes_are_kept),
        cmocka_unit_test(overflow_is_refused),
    };
    const struct CMUnitTest golden[] = {cmocka_unit_test(golden_adapters_merge)};

    if (argc > 1 && strcmp(argv[1], "golden") == 0) {
        return cmocka_run_group_tests(golden, make_root, remove_root);
    }
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
