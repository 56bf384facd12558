/* Words out of vocabulary pieces: the plain rule, Inseq's with its quirks, and the choice among merged values. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "src/base/mem.h"
#include "src/attribution/words.h"

#define G_ "\xC4\xA0"
#define N_ "\xC4\x8A"

static void check(bool inseq, const char *const *pieces, int64_t P, int64_t G, const int64_t *edge, const int64_t *step_edge,
                  int64_t n_prompt, int64_t start)
{
    dtx_words w;
    int64_t n = 0, steps = 0;

    assert_int_equal(dtx_words_make(inseq, pieces, P, G, &w), DTX_OK);
    while (edge[n] != P + G) {
        n++;
    }
    while (step_edge[steps] != G) {
        steps++;
    }
    assert_int_equal(w.n, n);
    assert_int_equal(w.n_steps, steps);
    assert_memory_equal(w.edge, edge, (size_t)(n + 1) * sizeof *edge);
    assert_memory_equal(w.step_edge, step_edge, (size_t)(steps + 1) * sizeof *edge);
    assert_int_equal(w.n_prompt, n_prompt);
    assert_int_equal(w.start, start);
    dtx_words_free(&w);
}

static void test_boundary_at_a_word(void **state)
{
    const char *p[] = {"I", G_ "hat", "e", "!", G_ "so", "rry", N_, "no", "w"};
    (void)state;

    /* prompt "I hate!", completion " sorry\nnow" */
    check(false, p, 4, 5, (int64_t[]){0, 1, 4, 6, 9}, (int64_t[]){0, 2, 5}, 2, 2);
    /* the last word loses its last piece; so does the prompt's on its own, hence three entries */
    check(true, p, 4, 5, (int64_t[]){0, 1, 4, 6, 8, 9}, (int64_t[]){0, 2, 4, 5}, 3, 2);
}

static void test_word_across_the_boundary(void **state)
{
    const char *p[] = {G_ "a", G_ "un", "believ", "ab", "le", "s", G_ "b"};
    (void)state;

    check(false, p, 4, 3, (int64_t[]){0, 1, 4, 6, 7}, (int64_t[]){0, 2, 3}, 2, 2);
    check(true, p, 4, 3, (int64_t[]){0, 1, 6, 7}, (int64_t[]){0, 2, 3}, 3, 1);
}

static void test_no_symbol(void **state)
{
    const char *p[] = {"ab", "c", "d", "e"};
    (void)state;

    check(false, p, 2, 2, (int64_t[]){0, 2, 4}, (int64_t[]){0, 2}, 1, 1);
    check(true, p, 2, 2, (int64_t[]){0, 1, 2, 3, 4}, (int64_t[]){0, 1, 2}, 2, 2);
}

static void test_edges(void **state)
{
    const char *two[] = {NULL, NULL}, *single[] = {G_ "a", G_ "b", "c"};
    (void)state;

    check(false, two, 1, 1, (int64_t[]){0, 1, 2}, (int64_t[]){0, 1}, 1, 1);
    check(true, two, 1, 1, (int64_t[]){0, 1, 2}, (int64_t[]){0, 1}, 1, 1);
    check(false, single, 2, 1, (int64_t[]){0, 1, 2, 3}, (int64_t[]){0, 1}, 2, 2);
    check(true, single, 2, 1, (int64_t[]){0, 1, 2, 3}, (int64_t[]){0, 1}, 2, 2);
}

static void test_fold(void **state)
{
    float a[] = {1, -3, NAN, NAN, 2, NAN, -2}, b[] = {1, -3, NAN, NAN, 2, NAN, -2};
    const float x[] = {-2, 3, 0, -4, NAN, NAN, 2};
    (void)state;

    dtx_words_fold(false, 7, x, a);
    dtx_words_fold(true, 7, x, b);
    assert_true(a[0] == -2 && a[1] == -3 && a[2] == 0 && a[3] == -4 && a[4] == 2 && isnan(a[5]) && a[6] == -2);
    assert_true(b[0] == -2 && b[1] == -3 && isnan(b[2]) && b[3] == -4 && b[4] == 2 && isnan(b[5]) && b[6] == -2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_boundary_at_a_word), cmocka_unit_test(test_word_across_the_boundary),
        cmocka_unit_test(test_no_symbol), cmocka_unit_test(test_edges), cmocka_unit_test(test_fold),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
