/* The GGUF reader on files made here: values of every type, tensors, split models, and what must be refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/file.h"
#include "src/base/mem.h"
#include "src/weights/gguf.h"
#include "tests/src/weights/build_gguf.h"

#define OK(call)                                       \
    do {                                               \
        if ((call) != DTX_OK) {                        \
            fail_msg("%s: %s", #call, dtx_error_text()); \
        }                                              \
    } while (0)

static void keys_have_their_types(void **state)
{
    uint8_t bytes[4096];
    const size_t n = gguf_sample(0, bytes, sizeof bytes);
    dtx_gguf *g = NULL;
    int64_t v = 5;
    double d = 0;
    bool b = false;
    const char *s = NULL;
    const dtx_gguf_key *k;
    size_t len;

    (void)state;
    OK(dtx_gguf_read("sample", (const char *)bytes, n, &g));
    static const struct { const char *key; int64_t value; } whole[] = {
        {"a.u8", 255}, {"a.i8", -1}, {"a.u16", 65534}, {"a.i16", -2}, {"a.u32", 4000000000}, {"a.i32", -1}, {"a.i64", INT64_MIN}};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        OK(dtx_gguf_int(g, whole[i].key, true, &v));
        assert_true(v == whole[i].value);
    }
    assert_int_equal(dtx_gguf_int(g, "a.u64", true, &v), DTX_ERR_INPUT); /* 2^64 - 1 */
    assert_int_equal(dtx_gguf_int(g, "a.f32", true, &v), DTX_ERR_INPUT);
    assert_int_equal(dtx_gguf_int(g, "b.i32", true, &v), DTX_ERR_INPUT);
    assert_int_equal(dtx_gguf_int(g, "c", true, &v), DTX_ERR_INPUT);
    assert_non_null(strstr(dtx_error_text(), "key c is missing"));
    v = 5;
    OK(dtx_gguf_int(g, "c", false, &v));
    assert_true(v == 5);
    OK(dtx_gguf_float(g, "a.f32", true, &d));
    assert_true(d == (double)0.1f);
    OK(dtx_gguf_float(g, "a.f64", true, &d));
    assert_true(d == 1e-300);
    assert_int_equal(dtx_gguf_float(g, "a.u8", false, &d), DTX_ERR_INPUT);
    OK(dtx_gguf_bool(g, "a.true", true, &b));
    assert_true(b);
    OK(dtx_gguf_string(g, "general.architecture", true, &s));
    assert_string_equal(s, "llama");
    assert_int_equal(dtx_gguf_string(g, "b.str", true, &s), DTX_ERR_INPUT);
    OK(dtx_gguf_array(g, "b.i32", true, DTX_GGUF_I64, &k));
    assert_true(k->count == 3);
    OK(dtx_gguf_int_at(g, k, 2, &v));
    assert_true(v == 7);
    OK(dtx_gguf_array(g, "b.f32", true, DTX_GGUF_F32, &k));
    assert_true(dtx_gguf_float_at(k, 1) == -2.0);
    OK(dtx_gguf_array(g, "b.none", true, DTX_GGUF_I64, &k));
    assert_true(k->count == 0);
    assert_int_equal(dtx_gguf_array(g, "b.i32", true, DTX_GGUF_STRING, &k), DTX_ERR_INPUT);
    OK(dtx_gguf_array(g, "b.str", true, DTX_GGUF_STRING, &k));
    dtx_gguf_cursor c = {k->data};
    s = dtx_gguf_next(&c, &len);
    assert_true(k->count == 3 && len == 2 && s[0] == 'a' && s[1] == '\0');
    dtx_gguf_next(&c, &len);
    assert_true(len == 0);
    s = dtx_gguf_next(&c, &len);
    assert_true(len == 3 && memcmp(s, "\xff\xfe\xfd", 3) == 0);
    dtx_gguf_close(g);
}

static void tensors_are_views(void **state)
{
    uint8_t bytes[4096];
    const size_t n = gguf_sample(0, bytes, sizeof bytes);
    dtx_gguf *g = NULL;

    (void)state;
    OK(dtx_gguf_read("sample", (const char *)bytes, n, &g));
    assert_int_equal(dtx_gguf_n_tensors(g), 4);
    const dtx_tensor *t = dtx_gguf_tensor(g, 2);
    assert_string_equal(t->name, "blk.0.q4k");
    assert_true(t->dtype == DTX_Q4_K && t->n_dims == 2 && t->shape[0] == 1 && t->shape[1] == 256 && t->size_bytes == 144);
    assert_true(((const uint8_t *)t->data)[0] == 2 && (const uint8_t *)t->data >= bytes && (const uint8_t *)t->data < bytes + n);
    t = dtx_gguf_tensor(g, 1);
    assert_true(t->dtype == DTX_Q8_0 && t->size_bytes == 68 && t->n_elements == 64);
    dtx_gguf_close(g);
}

static void prefixes_are_refused(void **state)
{
    uint8_t bytes[4096];

    (void)state;
    for (int i = 0; i < GGUF_SAMPLES; i++) {
        const size_t n = gguf_sample(i, bytes, sizeof bytes) - (i == 2 ? 14 : 0); /* padding at the end may lack */
        for (size_t cut = 0; cut < n; cut++) {
            dtx_gguf *g = NULL;
            if (dtx_gguf_read("cut", (const char *)bytes, cut, &g) != DTX_ERR_INPUT) {
                fail_msg("sample %d, %zu of %zu bytes: not refused", i, cut, n);
            }
            assert_non_null(strstr(dtx_error_text(), "cut: "));
        }
    }
}

static void memory_that_lacks_is_an_error(void **state)
{
    uint8_t bytes[4096];
    const size_t n = gguf_sample(0, bytes, sizeof bytes), used = dtx_mem_used();
    dtx_status st = DTX_ERR_MISSING;

    (void)state;
    for (int at = 1; st != DTX_OK && at < 100; at++) {
        dtx_gguf *g = NULL;
        dtx_mem_fail_at(at);
        st = dtx_gguf_read("sample", (const char *)bytes, n, &g);
        dtx_mem_fail_at(0);
        assert_true(st == DTX_OK || st == DTX_ERR_MISSING);
        dtx_gguf_close(g);
        assert_true(dtx_mem_used() == used);
    }
    assert_int_equal(st, DTX_OK);
}

static void split_models_are_one(void **state)
{
    uint8_t bytes[4096];
    char dir[] = "/tmp/dtx-gguf-XXXXXX", path[2][128], other[128];
    dtx_gguf *g = NULL;
    const char *s = NULL;

    (void)state;
    assert_non_null(mkdtemp(dir));
    for (int i = 0; i < 2; i++) {
        snprintf(path[i], sizeof path[i], "%s/m-%05d-of-00002.gguf", dir, i + 1);
        OK(dtx_file_write(path[i], bytes, gguf_split_sample(i, bytes, sizeof bytes)));
    }
    for (int i = 0; i < 2; i++) { /* any part may be named */
        OK(dtx_gguf_open(path[i], &g));
        assert_int_equal(dtx_gguf_n_tensors(g), 2);
        assert_string_equal(dtx_gguf_tensor(g, 0)->name, "one");
        assert_string_equal(dtx_gguf_tensor(g, 1)->file, path[1]);
        OK(dtx_gguf_string(g, "general.architecture", true, &s));
        dtx_gguf_close(g);
        g = NULL;
    }
    OK(dtx_file_write(path[1], bytes, gguf_split_sample(0, bytes, sizeof bytes))); /* the first part under the second's name */
    assert_int_equal(dtx_gguf_open(path[0], &g), DTX_ERR_INPUT);
    remove(path[1]);
    assert_int_equal(dtx_gguf_open(path[0], &g), DTX_ERR_MISSING);
    assert_non_null(strstr(dtx_error_text(), "00002-of-00002"));
    snprintf(other, sizeof other, "%s/other.gguf", dir);
    assert_int_equal(rename(path[0], other), 0);
    assert_int_equal(dtx_gguf_open(other, &g), DTX_ERR_INPUT); /* a name by which the second is not found */
    assert_int_equal(dtx_gguf_open(path[0], &g), DTX_ERR_MISSING);
    remove(other);
    remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_have_their_types),
        cmocka_unit_test(tensors_are_views),
        cmocka_unit_test(prefixes_are_refused),
        cmocka_unit_test(memory_that_lacks_is_an_error),
        cmocka_unit_test(split_models_are_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
