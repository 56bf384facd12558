/* The reference folders: configuration and weights fit each other, both spellings of Falcon agree, every file of
 * expected values is readable, and libzip reads the same archives. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "src/model/families/arch.h"
#include "src/base/file.h"
#include "src/base/mem.h"
#include "src/weights/weights.h"
#include "tests/src/weights/zip_oracle.h"

/* The folders of tests/golden, then all of the larger set where it is there. */
static const char *const roots[] = {DTX_SOURCE "/tests/golden", DTX_SHARED "/golden"};
static const char *golden; /* one of them */

static const struct {
    const char *name;
    bool own; /* in tests/golden too */
    dtx_dtype dtype;
    /* tensors that are no parameter: per layer masks and rotary tables, once position ids or the copy of a tied head */
    int per_layer, once;
} models[] = {
    {"neox-tiny", false, DTX_F32, 0, 0},      {"neox-tiny-seq", true, DTX_F16, 3, 0},   {"falcon7b-tiny", false, DTX_BF16, 0, 1},
    {"falcon40b-tiny", true, DTX_BF16, 0, 1}, {"falcon-rw-tiny", false, DTX_BF16, 0, 1}, {"roberta-tiny", true, DTX_F32, 0, 1},
};
enum { N_MODELS = sizeof models / sizeof *models };

static bool here(int i)
{
    return models[i].own || golden != roots[0];
}

static void open_weights(const char *path, const char *stem, dtx_weights **w)
{
    if (dtx_weights_open(path, stem, w) != DTX_OK) {
        fail_msg("%s", dtx_error_text());
    }
}

static void test_models(void **unused)
{
    (void)unused;
    for (int i = 0; i < N_MODELS; i++) {
        if (!here(i)) {
            continue;
        }
        char dir[1024];
        dtx_arch a;
        dtx_weights *w = NULL;
        dtx_param_spec *specs = NULL;
        int64_t n = 0, count = 0, sum = 0;
        snprintf(dir, sizeof dir, "%s/%s", golden, models[i].name);
        if (dtx_arch_read(dir, &a) != DTX_OK) {
            fail_msg("%s", dtx_error_text());
        }
        open_weights(dir, NULL, &w);
        assert_int_equal(dtx_arch_count(&a, &count), DTX_OK);
        assert_int_equal(dtx_arch_params(&a, &specs, &n), DTX_OK);
        for (int64_t k = 0; k < n; k++) {
            const dtx_tensor *t = dtx_weights_find(w, specs[k].name);
            if (t == NULL) {
                fail_msg("%s: no tensor %s", models[i].name, specs[k].name);
            }
            sum += t->n_elements;
            assert_int_equal(t->dtype, models[i].dtype);
            assert_int_equal(t->n_dims, specs[k].n_dims);
            for (int d = 0; d < t->n_dims; d++) {
                assert_int_equal(t->shape[d], specs[k].shape[d]);
            }
        }
        assert_int_equal(sum, count);
        assert_int_equal(dtx_weights_count(w) - n, models[i].per_layer * a.n_layers + models[i].once);
        dtx_free(specs);
        dtx_weights_close(w);
    }
}

static void test_dialects(void **unused)
{
    static const char *const names[] = {"falcon40b-tiny", "falcon7b-tiny"};

    (void)unused;
    for (int i = 0; i < (golden == roots[0] ? 1 : 2); i++) {
        char path[1024];
        dtx_arch a, b;
        snprintf(path, sizeof path, "%s/%s", golden, names[i]);
        assert_int_equal(dtx_arch_read(path, &a), DTX_OK);
        snprintf(path, sizeof path, "%s/%s/config.rw.json", golden, names[i]);
        assert_int_equal(dtx_arch_read(path, &b), DTX_OK);
        assert_string_not_equal(a.model_type, b.model_type);
        memcpy(b.model_type, a.model_type, sizeof a.model_type);
        assert_memory_equal(&a, &b, sizeof a);
    }
}

static void test_adapters(void **unused)
{
    (void)unused;
    for (int i = 0; i < N_MODELS; i++) {
        if (!here(i)) {
            continue;
        }
        char dir[1024];
        dtx_weights *w = NULL;
        snprintf(dir, sizeof dir, "%s/%s/adapter", golden, models[i].name);
        if (dtx_file_is_dir(dir)) {
            open_weights(dir, "adapter_model", &w);
            assert_true(dtx_weights_count(w) == 6 || dtx_weights_count(w) == 24);
            assert_memory_equal(dtx_weights_at(w, 0)->name, "base_model.model.", 17);
            dtx_weights_close(w);
        }
    }
}

/* Every file of one kind below the folder of each model; returns how many there were. */
static int for_each(const char *sub, const char *tail, void (*visit)(const char *path))
{
    int n = 0;

    for (int i = 0; i < N_MODELS; i++) {
        if (!here(i)) {
            continue;
        }
        char dir[1024], path[2048];
        snprintf(dir, sizeof dir, "%s/%s/%s", golden, models[i].name, sub);
        DIR *d = opendir(dir);
        for (struct dirent *e = d != NULL ? readdir(d) : NULL; e != NULL; e = readdir(d)) {
            size_t len = strlen(e->d_name), k = strlen(tail);
            if (len > k && strcmp(e->d_name + len - k, tail) == 0) {
                snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
                visit(path);
                n++;
            }
        }
        if (d != NULL) {
            closedir(d);
        }
    }
    return n;
}

static void visit_expected(const char *path)
{
    dtx_weights *w = NULL;

    open_weights(path, NULL, &w);
    assert_true(dtx_weights_count(w) > 0);
    assert_non_null(dtx_weights_metadata(w, "f32_vs_f64"));
    dtx_weights_close(w);
}

static void test_expected_files(void **unused)
{
    (void)unused;
    /* five of a decoder and one of the classifier at least; own: falcon40b-tiny has its logits alone */
    assert_true(for_each("expected", ".safetensors", visit_expected) >= (golden == roots[0] ? 7 : 26));
}

static void visit_archive(const char *path)
{
    assert_true(zip_oracle_compare(path) > 2);
}

static void test_archives_as_libzip_reads_them(void **unused)
{
    (void)unused;
    assert_int_equal(for_each(".", ".bin", visit_archive) + for_each("adapter", ".bin", visit_archive), golden == roots[0] ? 3 : 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_models),
        cmocka_unit_test(test_dialects),
        cmocka_unit_test(test_adapters),
        cmocka_unit_test(test_expected_files),
        cmocka_unit_test(test_archives_as_libzip_reads_them),
    };

    int failed = 0;
    for (int i = 0; i < 2; i++) {
        golden = roots[i];
        if (i > 0 && !dtx_file_is_dir(golden)) {
            printf("no further reference values in %s\n", golden);
        } else {
            failed += cmocka_run_group_tests_name(golden, tests, NULL, NULL);
        }
    }
    return failed;
}
