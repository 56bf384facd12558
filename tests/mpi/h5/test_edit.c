/* Edits of an HDF5 file: what they cost, that a failed one leaves the file as it was to the byte, that a killed one is finished, and
 * that a file is read through the journal of an unfinished one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "mpi/h5/edit.h"
#include "mpi/h5/impl.h"
#include "src/base/file.h"
#include "src/base/hash.h"
#include "src/base/helper.h"
#include "src/base/mem.h"

enum { ROWS = 5000000 };

static char path[1100], journal[1200], aside[1200];

static const char *sum(char out[DTX_SHA256_TEXT])
{
    assert_int_equal(dtx_sha256_file(path, out), DTX_OK);
    return out;
}

static dtx_status add_rows(hid_t file, void *user)
{
    return dtx_h5_make_spec(file, &(dtx_h5_spec){user, H5T_NATIVE_FLOAT, 1, {ROWS, 0}, {"row", NULL}, 0, "rows", "1"});
}

static dtx_status add_attribute(hid_t file, void *user)
{
    return dtx_h5_attr_str(file, "/a", user, "a value of some length");
}

static dtx_status add_and_fail(hid_t file, void *user)
{
    DTX_TRY(add_rows(file, user));
    DTX_TRY(dtx_h5_attr_int(file, "/a", "n", 1));
    return DTX_FAIL(DTX_ERR_NUMERIC, "changed my mind");
}

static void make(void)
{
    hid_t fapl = dtx_h5_access(NULL);

    unlink(journal);
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, fapl);
    assert_true(file >= 0);
    dtx_h5_device_begin();
    assert_int_equal(add_rows(file, (void *)(uintptr_t)"/a/x"), DTX_OK);
    assert_int_equal(dtx_h5_finish(file, path), DTX_OK);
    H5Pclose(fapl);
}

static bool has(const char *name)
{
    hid_t file = -1;
    char *value = NULL;

    assert_int_equal(dtx_h5_open_serial(path, &file), DTX_OK);
    assert_int_equal(dtx_h5_attr_get_str(file, "/a", name, &value), DTX_OK);
    dtx_h5_close(file);
    return value != NULL;
}

static void costs_what_it_changes(void **state)
{
    int64_t edits, before, after;

    (void)state;
    make();
    before = dtx_h5_edit_bytes(&edits);
    assert_int_equal(dtx_h5_edit(path, add_attribute, (void *)(uintptr_t)"one"), DTX_OK);
    after = dtx_h5_edit_bytes(&edits);
    assert_int_equal(edits, 1);
    assert_in_range(after - before, 1, 1 << 16); /* of 20 MB */
    assert_true(has("one"));
    assert_false(dtx_file_exists(journal));
}

static void leaves_the_file_when_it_fails(void **state)
{
    char a[DTX_SHA256_TEXT], b[DTX_SHA256_TEXT];

    (void)state;
    make();
    sum(a);
    assert_int_equal(dtx_h5_edit(path, add_and_fail, (void *)(uintptr_t)"/b/y"), DTX_ERR_NUMERIC);
    assert_string_equal(dtx_error_text(), "changed my mind");
    assert_string_equal(sum(b), a);
}

/* What an edit has written when it is killed: the journal, and nothing, half or all of its blocks. */
static void finishes_what_was_killed(void **state)
{
    char old[DTX_SHA256_TEXT], done[DTX_SHA256_TEXT], now[DTX_SHA256_TEXT];
    dtx_h5_overlay *over = NULL;
    struct stat sb;

    (void)state;
    make();
    assert_int_equal(stat(path, &sb), 0);
    dtx_file_map map;
    assert_int_equal(dtx_file_map_open(path, &map), DTX_OK);
    assert_int_equal(dtx_file_write(aside, map.data, map.size), DTX_OK);
    dtx_file_map_close(&map);
    sum(old);
    assert_int_equal(dtx_h5_edit(path, add_attribute, (void *)(uintptr_t)"two"), DTX_OK);
    sum(done);
    assert_string_not_equal(old, done);

    for (int written = 0; written < 3; written++) {
        /* the changed blocks of the finished file over the old one make the journal again */
        dtx_h5_overlay o = {.fd = -1, .base = (uint64_t)sb.st_size, .size = (uint64_t)sb.st_size};
        dtx_file_map was, is;
        assert_int_equal(dtx_file_map_open(aside, &was), DTX_OK);
        struct stat end;
        if (written > 0) { /* the finished file anew */
            assert_int_equal(dtx_file_write(path, was.data, was.size), DTX_OK);
            assert_int_equal(dtx_h5_edit(path, add_attribute, (void *)(uintptr_t)"two"), DTX_OK);
        }
        assert_int_equal(dtx_file_map_open(path, &is), DTX_OK);
        assert_int_equal(stat(path, &end), 0);
        o.size = (uint64_t)end.st_size;
        for (uint64_t b = 0; b * DTX_H5_BLOCK < o.base; b++) {
            const size_t n = o.base - b * DTX_H5_BLOCK < DTX_H5_BLOCK ? (size_t)(o.base - b * DTX_H5_BLOCK) : DTX_H5_BLOCK;
            char block[DTX_H5_BLOCK] = {0};
            if (memcmp(was.data + b * DTX_H5_BLOCK, is.data + b * DTX_H5_BLOCK, n) != 0) {
                memcpy(block, is.data + b * DTX_H5_BLOCK, n);
                assert_int_equal(dtx_h5_overlay_put(&o, b, block), DTX_OK);
            }
        }
        assert_true(o.n > 0);
        assert_int_equal(dtx_h5_journal_write(path, &o), DTX_OK);
        const int64_t kept = written == 0 ? 0 : written == 1 ? (o.n + 1) / 2 : o.n; /* blocks that came into the file */
        FILE *f = fopen(path, "r+b");
        assert_non_null(f);
        for (int64_t i = kept; i < o.n; i++) {
            const uint64_t at = o.block[i]->number * DTX_H5_BLOCK;
            assert_int_equal(fseek(f, (long)at, SEEK_SET), 0);
            fwrite(was.data + at, 1, o.base - at < DTX_H5_BLOCK ? (size_t)(o.base - at) : DTX_H5_BLOCK, f);
        }
        fclose(f);
        dtx_file_map_close(&was);
        dtx_file_map_close(&is);
        dtx_h5_overlay_free(&o);

        assert_true(has("two")); /* through the journal, which stays */
        assert_true(dtx_file_exists(journal));
        assert_int_equal(dtx_h5_unfinished(path, &over), DTX_OK);
        assert_non_null(over);
        close(over->fd);
        dtx_h5_overlay_free(over);
        dtx_free(over);
        assert_int_equal(dtx_h5_recover(path), DTX_OK);
        assert_false(dtx_file_exists(journal));
        assert_string_equal(sum(now), done);
        assert_true(has("two"));
    }
}

static void refuses_a_damaged_journal(void **state)
{
    char a[DTX_SHA256_TEXT], b[DTX_SHA256_TEXT];
    const char nonsense[200] = "DTXEDIT1";

    (void)state;
    make();
    sum(a);
    assert_int_equal(dtx_file_write(journal, nonsense, sizeof nonsense), DTX_OK);
    assert_int_equal(dtx_h5_recover(path), DTX_ERR_INPUT);
    assert_non_null(strstr(dtx_error_text(), journal));
    assert_string_equal(sum(b), a);
    unlink(journal);
}

int main(void)
{
    char folder[] = "/tmp/dtx-edit-XXXXXX";
    const struct CMUnitTest tests[] = {cmocka_unit_test(costs_what_it_changes), cmocka_unit_test(leaves_the_file_when_it_fails),
                                       cmocka_unit_test(finishes_what_was_killed), cmocka_unit_test(refuses_a_damaged_journal)};

    if (mkdtemp(folder) == NULL || dtx_helper_start() != DTX_OK) {
        return 1;
    }
    snprintf(path, sizeof path, "%s/run.h5", folder);
    snprintf(journal, sizeof journal, "%s.journal", path);
    snprintf(aside, sizeof aside, "%s/aside", folder);
    dtx_h5_quiet();
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    unlink(journal);
    unlink(aside);
    rmdir(folder);
    return failed;
}
