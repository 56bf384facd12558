/* A checkpoint is read back to the bit, and not at all when any bit of it has changed since. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "src/training/state.h"

enum { PARAMS = 50, STEPS = 6 };

static char path[1100];

typedef struct {
    float params[PARAMS], m[PARAMS], v[PARAMS];
    double loss[STEPS], scalars[2];
    dtx_curve curve;
    dtx_train_state s;
} training;

static void set_up(training *t, float from)
{
    memset(t, 0, sizeof *t);
    for (int i = 0; i < PARAMS; i++) {
        t->params[i] = from + (float)i;
        t->m[i] = from / 2 - (float)i;
        t->v[i] = from * from;
    }
    for (int i = 0; i < STEPS; i++) {
        t->loss[i] = from + 0.25 * i;
    }
    t->scalars[0] = from;
    t->curve = (dtx_curve){"loss", t->loss};
    t->s = (dtx_train_state){.n_steps = STEPS, .n_params = PARAMS, .params = t->params, .m = t->m, .v = t->v, .n_curves = 1,
                             .curves = &t->curve, .n_scalars = 2, .scalars = t->scalars, .identity = "lr=0.1 seed=1"};
}

static void reads_what_was_written(void **state)
{
    training a, b;

    (void)state;
    set_up(&a, 3);
    set_up(&b, 0);
    a.s.step = 4;
    assert_int_equal(dtx_train_state_write(path, &a.s), DTX_OK);
    assert_int_equal(dtx_train_state_read(path, &b.s), DTX_OK);
    assert_int_equal(b.s.step, 4);
    assert_memory_equal(a.params, b.params, sizeof a.params);
    assert_memory_equal(a.m, b.m, sizeof a.m);
    assert_memory_equal(a.v, b.v, sizeof a.v);
    assert_memory_equal(a.loss, b.loss, sizeof a.loss);
    assert_memory_equal(a.scalars, b.scalars, sizeof a.scalars);
}

/* One bit of each byte in turn: numbers, names, the step, the sum itself. A bit of the key under which the sum stands makes a
 * checkpoint without a sum, which is read as those of older versions; nothing that counts has changed in it. */
static void refuses_every_changed_bit(void **state)
{
    training a, b;
    char bytes[8192];
    size_t unseen = 0;

    (void)state;
    set_up(&a, 3);
    a.s.step = 4;
    assert_int_equal(dtx_train_state_write(path, &a.s), DTX_OK);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    const size_t n = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    assert_in_range(n, 3 * sizeof a.params, sizeof bytes - 1);
    for (size_t i = 0; i < n; i++) {
        bytes[i] ^= (char)(1 << i % 8);
        f = fopen(path, "wb");
        assert_non_null(f);
        assert_int_equal(fwrite(bytes, 1, n, f), n);
        fclose(f);
        bytes[i] ^= (char)(1 << i % 8);
        set_up(&b, 0);
        const dtx_status st = dtx_train_state_read(path, &b.s);
        if (st == DTX_OK) {
            assert_int_equal(b.s.step, 4);
            assert_memory_equal(a.params, b.params, sizeof a.params);
            assert_memory_equal(a.loss, b.loss, sizeof a.loss);
            unseen++;
        } else {
            assert_non_null(strstr(dtx_error_text(), path));
            assert_true(st == DTX_ERR_INPUT || st == DTX_ERR_USAGE); /* usage: the identity is compared first */
        }
    }
    assert_true(unseen < 16);
}

static void says_what_to_do(void **state)
{
    training a, b;
    FILE *f;

    (void)state;
    set_up(&a, 3);
    set_up(&b, 0);
    assert_int_equal(dtx_train_state_write(path, &a.s), DTX_OK);
    f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, -3, SEEK_END), 0);
    const int c = fgetc(f);
    assert_int_equal(fseek(f, -3, SEEK_END), 0);
    fputc(c ^ 1, f);
    fclose(f);
    assert_int_equal(dtx_train_state_read(path, &b.s), DTX_ERR_INPUT);
    assert_non_null(strstr(dtx_error_text(), "damaged"));
    assert_non_null(strstr(dtx_error_text(), "remove the file"));
}

int main(void)
{
    char folder[] = "/tmp/dtx-state-XXXXXX";
    const struct CMUnitTest tests[] = {cmocka_unit_test(reads_what_was_written), cmocka_unit_test(refuses_every_changed_bit),
                                       cmocka_unit_test(says_what_to_do)};

    if (mkdtemp(folder) == NULL) {
        return 1;
    }
    snprintf(path, sizeof path, "%s/x.safetensors", folder);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    rmdir(folder);
    return failed;
}
