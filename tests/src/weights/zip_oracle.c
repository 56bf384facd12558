#include "tests/src/weights/zip_oracle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zip.h>

#include "src/base/file.h"
#include "src/base/mem.h"
#include "src/weights/torch_zip.h"

static void compare_bytes(zip_t *z, zip_uint64_t index, const dtx_zip_entry *e, size_t at, size_t n)
{
    char *read = malloc(n + 1);
    zip_file_t *f = zip_fopen_index(z, index, 0);

    assert_non_null(read);
    assert_non_null(f);
    if (at > 0) {
        assert_int_equal(zip_fseek(f, (zip_int64_t)at, SEEK_SET), 0);
    }
    assert_int_equal(zip_fread(f, read, n), n);
    assert_memory_equal(read, e->data + at, n);
    zip_fclose(f);
    free(read);
}

int zip_oracle_compare(const char *path)
{
    dtx_file_map map;
    dtx_zip_entry *entries = NULL;
    size_t n = 0;
    int error = 0;
    zip_t *z = zip_open(path, ZIP_RDONLY, &error);

    assert_non_null(z);
    assert_int_equal(dtx_file_map_open(path, &map), DTX_OK);
    if (dtx_zip_directory(path, map.data, map.size, &entries, &n) != DTX_OK) {
        fail_msg("%s", dtx_error_text());
    }
    assert_int_equal(zip_get_num_entries(z, 0), n);
    for (zip_uint64_t i = 0; i < n; i++) {
        zip_stat_t s;
        assert_int_equal(zip_stat_index(z, i, 0, &s), 0);
        const dtx_zip_entry *e = dtx_zip_find(entries, n, s.name, strlen(s.name));
        assert_non_null(e);
        assert_int_equal(e->size, s.size);
        if (e->size <= 1 << 20) {
            compare_bytes(z, i, e, 0, e->size);
        } else {
            compare_bytes(z, i, e, 0, 4096);
            compare_bytes(z, i, e, e->size - 4096, 4096);
        }
    }
    dtx_free(entries);
    dtx_file_map_close(&map);
    zip_close(z);
    return (int)n;
}
