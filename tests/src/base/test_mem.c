/* Memory: counters, blocks that are used again, and what is kept staying below the largest use. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <malloc.h>
#include <string.h>

#include "src/base/mem.h"

enum { MB = 1 << 20 };

static void counters_follow(void **state)
{
    const size_t before = dtx_mem_used();
    char *a = dtx_malloc(3, MB), *b = dtx_calloc(100, 1);

    (void)state;
    assert_int_equal(dtx_mem_used(), before + 3 * MB + 100);
    assert_true(dtx_mem_peak() >= before + 3 * MB + 100);
    a = dtx_realloc(a, 5, MB);
    assert_int_equal(dtx_mem_used(), before + 5 * MB + 100);
    dtx_free(a);
    dtx_free(b);
    assert_int_equal(dtx_mem_used(), before);
}

/* Zeroed though used before, aligned, and with the contents kept as they grow. */
static void used_again(void **state)
{
    (void)state;
    for (int round = 0; round < 3; round++) {
        for (size_t mb = 1; mb < 40; mb += 3) {
            unsigned char *p = dtx_calloc(mb, MB);
            assert_non_null(p);
            assert_int_equal((uintptr_t)p % 64, 0);
            for (size_t i = 0; i < mb * MB; i += 4093) {
                assert_int_equal(p[i], 0);
            }
            memset(p, 0xA5, mb * MB);
            p = dtx_realloc(p, mb + 2, MB);
            assert_int_equal(p[mb * MB - 1], 0xA5);
            dtx_free(p);
        }
    }
}

/* A freed block serves the next one of its size, one that is much smaller gets another. */
static void same_block(void **state)
{
#ifndef __SANITIZE_ADDRESS__
    void *big = dtx_malloc(200, MB), *p = dtx_malloc(64, MB), *q;

    dtx_free(p);
    q = dtx_malloc(60, MB);
    assert_ptr_equal(q, p);
    dtx_free(q);
    q = dtx_malloc(32, MB);
    assert_ptr_not_equal(q, p);
    dtx_free(q);
    dtx_free(big);
#endif
    (void)state;
}

/* What the allocator holds never exceeds the largest use by more than its own overhead. */
static void bounded(void **state)
{
#ifndef __SANITIZE_ADDRESS__
    void *p = dtx_malloc(300, MB);
    uint32_t x = 1;

    dtx_free(p);
    for (int i = 0; i < 300; i++) {
        x = x * 1664525u + 1013904223u;
        p = dtx_malloc(1 + x % 250, MB);
        assert_non_null(p);
        dtx_free(p);
        const struct mallinfo2 m = mallinfo2();
        assert_true(m.uordblks + m.hblkhd <= dtx_mem_peak() + 16 * MB);
    }
#endif
    (void)state;
}

static void fails_on_demand(void **state)
{
    void *p = dtx_malloc(8, MB);

    (void)state;
    dtx_free(p);
    dtx_mem_fail_at(2);
    p = dtx_malloc(8, MB);
    assert_non_null(p);
    dtx_free(p);
    assert_null(dtx_malloc(8, MB)); /* though a block is there */
    assert_null(dtx_malloc(SIZE_MAX / 2, 4));
    dtx_mem_fail_at(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(counters_follow), cmocka_unit_test(used_again), cmocka_unit_test(same_block),
                                       cmocka_unit_test(bounded), cmocka_unit_test(fails_on_demand)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
