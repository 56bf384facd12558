/* The zip directory reader against libzip, up to archives and entries above 4 GiB (a sparse file: it takes some KiB).
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "src/weights/weights.h"
#include "tests/src/weights/build_torch.h"
#include "tests/src/weights/zip_oracle.h"

static char path[1024];

static void write_at(int fd, const buf *b, off_t at)
{
    assert_int_equal(pwrite(fd, b->p, b->n, at), b->n);
}

static void test_small_archives(void **unused)
{
    static const char text[] = "some bytes of a storage";

    (void)unused;
    for (int wide = 0; wide < 2; wide++) {
        const zip_item items[] = {
            {"m/data.pkl", text, 5}, {"m/data/0", text, sizeof text}, {"m/data/1", text, 0}, {"m/data/10", text, 9}};
        buf b = {0};
        zip_build(&b, items, 4, wide != 0);
        int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
        assert_true(fd >= 0);
        write_at(fd, &b, 0);
        close(fd);
        buf_free(&b);
        assert_int_equal(zip_oracle_compare(path), 4);
    }
}

/* data/0 has more than 4 GiB, data/1 begins beyond 4 GiB, and so does the directory. */
static void test_above_4_gib(void **unused)
{
    const uint64_t big = ((uint64_t)1 << 32) + 4096, head = 512;
    const float six[6] = {1, 2, 3, 4, 5, 6};
    const pickle_item items[] = {
        {.name = "big",
         .storage_type = "ByteStorage",
         .key = "0",
         .storage_size = (int64_t)big,
         .n_dims = 2,
         .shape = {(int64_t)(big / 4096), 4096},
         .stride = {4096, 1}},
        {.name = "last",
         .storage_type = "ByteStorage",
         .key = "0",
         .storage_size = (int64_t)big,
         .offset = (int64_t)big - 4,
         .n_dims = 1,
         .shape = {4},
         .stride = {1}},
        {.name = "six",
         .storage_type = "FloatStorage",
         .key = "1",
         .storage_size = 6,
         .n_dims = 1,
         .shape = {6},
         .stride = {1}},
    };
    buf pickle = {0}, front = {0}, back = {0}, central = {0};
    struct stat sb;

    (void)unused;
    pickle_build(&pickle, items, 3, true);
    zip_central(&central, "m/data.pkl", pickle.n, zip_crc(pickle.p, pickle.n), front.n, false);
    zip_local(&front, "m/data.pkl", pickle.n, zip_crc(pickle.p, pickle.n));
    buf_add(&front, pickle.p, pickle.n);
    zip_central(&central, "m/data/0", big, 0, front.n, false);
    zip_local(&front, "m/data/0", big, 0);
    assert_true(front.n > head);
    const uint64_t data = front.n, end = data + big;
    buf_add(&front, "first", 5);
    buf_add(&back, "last", 4); /* ends data/0 */
    zip_central(&central, "m/data/1", 24, zip_crc(six, 24), end, false);
    zip_local(&back, "m/data/1", 24, zip_crc(six, 24));
    buf_add(&back, six, 24);
    const uint64_t directory = end - 4 + back.n;
    buf_add(&back, central.p, central.n);
    zip_end(&back, 3, directory, central.n, true, directory + central.n);

    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    bool fits = ftruncate(fd, (off_t)(end - 4 + back.n)) == 0;
    if (fits) {
        write_at(fd, &front, 0);
        write_at(fd, &back, (off_t)(end - 4));
        fits = fstat(fd, &sb) == 0 && sb.st_blocks < 1 << 12;
    }
    close(fd);
    buf_free(&pickle);
    buf_free(&front);
    buf_free(&back);
    buf_free(&central);
    if (!fits) {
        remove(path);
        print_message("SKIPPED: no sparse files above 4 GiB in %s\n", path);
        skip();
    }

    assert_int_equal(zip_oracle_compare(path), 3);
    dtx_weights *w = NULL;
    char sum[65];
    if (dtx_weights_open(path, NULL, &w) != DTX_OK) {
        fail_msg("%s", dtx_error_text());
    }
    assert_int_equal(dtx_weights_find(w, "big")->size_bytes, big);
    assert_memory_equal(dtx_weights_find(w, "big")->data, "first", 5);
    assert_memory_equal(dtx_weights_find(w, "last")->data, "last", 4);
    assert_memory_equal(dtx_weights_find(w, "six")->data, six, 24);
    assert_int_equal(dtx_weights_fingerprint(w, 0, sum), DTX_OK); /* samples: it does not read 4 GiB */
    dtx_weights_close(w);
    /* and with its last byte gone */
    assert_int_equal(stat(path, &sb), 0);
    assert_int_equal(truncate(path, sb.st_size - 1), 0);
    assert_int_equal(dtx_weights_open(path, NULL, &w), DTX_ERR_INPUT);
}

static int make_path(void **unused)
{
    const char *tmp = getenv("TMPDIR");

    (void)unused;
    snprintf(path, sizeof path, "%s/dtx.XXXXXX.bin", tmp != NULL ? tmp : "/tmp");
    int fd = mkstemps(path, 4);
    return fd < 0 || close(fd) != 0;
}

static int remove_path(void **unused)
{
    (void)unused;
    remove(path);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_archives),
        cmocka_unit_test(test_above_4_gib),
    };

    return cmocka_run_group_tests(tests, make_path, remove_path);
}
