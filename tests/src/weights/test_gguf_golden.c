/* The GGUF reader on DTX_SHARED/golden/gguf: every broken file judged as the list says, every quantised tensor in every bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/algebra/quant.h"
#include "src/base/file.h"
#include "src/base/mem.h"
#include "src/weights/gguf.h"

#define GOLDEN DTX_SHARED "/golden/gguf"

static void broken_files_are_refused(void **state)
{
    FILE *list = fopen(GOLDEN "/broken/list.tsv", "r");
    char name[128], verdict[16], path[4096];
    int n = 0;

    (void)state;
    assert_non_null(list);
    while (fscanf(list, "%127s %15s", name, verdict) == 2) {
        dtx_gguf *g = NULL;
        snprintf(path, sizeof path, GOLDEN "/broken/%s", name);
        const dtx_status st = dtx_gguf_open(path, &g);
        const bool good = strcmp(verdict, "read") == 0 || strncmp(name, "model-", 6) == 0; /* good containers, no models */
        if (strcmp(verdict, "either") != 0 && st != (good ? DTX_OK : DTX_ERR_INPUT)) {
            fail_msg("%s: %d, %s is expected: %s", name, (int)st, good ? "read" : "refuse", dtx_error_text());
        }
        if (st != DTX_OK) {
            assert_non_null(strstr(dtx_error_text(), name));
        }
        dtx_gguf_close(g);
        n++;
    }
    fclose(list);
    assert_true(n > 60);
}

static void prefixes_are_refused(void **state)
{
    dtx_file_map map;

    (void)state;
    assert_int_equal(dtx_file_map_open(GOLDEN "/broken/ok-plain.gguf", &map), DTX_OK);
    dtx_gguf *g = NULL;
    assert_int_equal(dtx_gguf_read("whole", map.data, map.size, &g), DTX_OK);
    const dtx_tensor *last = dtx_gguf_tensor(g, dtx_gguf_n_tensors(g) - 1);
    const size_t end = (size_t)((const char *)last->data - map.data) + last->size_bytes;
    dtx_gguf_close(g);
    for (size_t cut = 0; cut < end; cut++) {
        assert_int_equal(dtx_gguf_read("cut", map.data, cut, &g), DTX_ERR_INPUT);
    }
    dtx_file_map_close(&map);
}

static void quantised_values_are_exact(void **state)
{
    dtx_gguf *g = NULL;
    dtx_weights *w = NULL;

    (void)state;
    if (dtx_gguf_open(GOLDEN "/quants/quants.gguf", &g) != DTX_OK || dtx_weights_open(GOLDEN "/quants/quants.safetensors", NULL, &w) != DTX_OK) {
        fail_msg("%s", dtx_error_text());
    }
    assert_int_equal(dtx_gguf_n_tensors(g), dtx_weights_count(w));
    for (int64_t i = 0; i < dtx_gguf_n_tensors(g); i++) {
        const dtx_tensor *t = dtx_gguf_tensor(g, i), *e = dtx_weights_find(w, t->name);
        assert_non_null(e);
        assert_true(e->dtype == DTX_F32 && e->n_elements == t->n_elements && e->shape[0] == t->shape[0]);
        float *x = dtx_malloc((size_t)t->n_elements, sizeof *x);
        assert_non_null(x);
        dtx_quant_widen(t->dtype, t->data, t->n_elements, x);
        for (int64_t k = 0; k < t->n_elements; k++) {
            if (memcmp(&x[k], (const char *)e->data + 4 * k, 4) != 0) {
                float want;
                memcpy(&want, (const char *)e->data + 4 * k, 4);
                fail_msg("%s: element %lld is %.9g, expected %.9g", t->name, (long long)k, x[k], want);
            }
        }
        dtx_free(x);
    }
    dtx_gguf_close(g);
    dtx_weights_close(w);
    g = NULL;
    assert_int_equal(dtx_gguf_open(GOLDEN "/quants/quants-more.gguf", &g), DTX_ERR_INPUT); /* rarer types: refused by name */
    assert_non_null(strstr(dtx_error_text(), "IQ"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(broken_files_are_refused),
        cmocka_unit_test(prefixes_are_refused),
        cmocka_unit_test(quantised_values_are_exact),
    };

    if (!dtx_file_is_dir(GOLDEN)) {
        fprintf(stderr, "skipped: %s is not there\n", GOLDEN);
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
