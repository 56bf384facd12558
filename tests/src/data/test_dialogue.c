/* DIALOCONAN's templating: samples, spans, queries; malformed files; the real file's counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/data/dialogue.h"
#include "src/base/file.h"

static char path[] = "/tmp/dtx_dialogue_XXXXXX";

static int make_path(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_path(void **state)
{
    (void)state;
    return unlink(path);
}

static dtx_status read_text(const char *csv, dtx_dialogues *d)
{
    assert_int_equal(dtx_file_write(path, csv, strlen(csv)), DTX_OK);
    return dtx_dialogues_read(path, "<human>:", "<bot>:", d);
}

static void check_sample(const dtx_dialogues *d, int64_t i, const char *text, const char *query_end)
{
    size_t len = strlen(text);

    assert_int_equal(d->offset[i + 1] - d->offset[i], len);
    assert_memory_equal(d->bytes + d->offset[i], text, len);
    assert_int_equal(d->query[i], (size_t)(strstr(text, query_end) - text) + strlen(query_end));
}

static void prefixes_of_pairs_are_samples(void **state)
{
    dtx_dialogues d;

    (void)state;
    assert_int_equal(read_text("text,TARGET,dialogue_id,turn_id,type,source\n"
                               "Tea is dull,T,7,0,HS,s\n\"It warms, \"\"really\"\"\",T,7,1,CN,s\n"
                               "\"No\nit\r\nis dull\",T,7,2,HS,s\nTry mint,T,7,3,CN,s\nodd end,T,7,4,HS,s\n"
                               "A,T,8,0,HS,s\nB,T,8,1,CN,s\nlonely,T,9,0,HS,s\n", &d), DTX_OK);
    assert_int_equal(d.n, 3);
    assert_int_equal(d.n_dialogues, 3);
    assert_int_equal(d.n_odd, 2);
    check_sample(&d, 0, "<human>: Tea is dull.\n<bot>: It warms, \"really\"", "<bot>: ");
    check_sample(&d, 1, "<human>: Tea is dull.\n<bot>: It warms, \"really\"\n<human>: No it is dull.\n<bot>: Try mint",
                 "No it is dull.\n<bot>: ");
    check_sample(&d, 2, "<human>: A.\n<bot>: B", "<bot>: ");
    assert_int_equal(d.dialogue[0], 0);
    assert_int_equal(d.dialogue[2], 1);
    assert_int_equal(d.pairs[1], 2);
    assert_int_equal(d.span_offset[1], 1);
    assert_int_equal(d.span_offset[2], 3);
    assert_memory_equal(d.bytes + d.offset[1] + d.span[2].first, "Try mint", 8);
    assert_int_equal(d.span[2].len, 8);
    dtx_dialogues_free(&d);
}

static void malformed_files_name_the_line(void **state)
{
    static const struct {
        const char *csv, *says;
    } cases[] = {
        {"TARGET,dialogue_id\nx,1\n", "text"},
        {"text,TARGET\nx,1\n", "dialogue_id"},
        {"text,dialogue_id\na,1\nb,\n", "line 3"},
        {"text,dialogue_id\na,1\nb,2\nc,1\n", "dialogue 1"},
        {"text,dialogue_id\na,1\n", "two turns"},
        {"text,dialogue_id\n", "two turns"},
    };
    dtx_dialogues d;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(read_text(cases[i].csv, &d), DTX_ERR_INPUT);
        if (strstr(dtx_error_text(), cases[i].says) == NULL) {
            fail_msg("\"%s\" is not named in: %s", cases[i].says, dtx_error_text());
        }
    }
    assert_int_equal(dtx_dialogues_read("/nonexistent.csv", "a", "b", &d), DTX_ERR_MISSING);
}

static void blank_turns_are_kept_and_counted(void **state)
{
    dtx_dialogues d;

    (void)state;
    assert_int_equal(read_text("text,dialogue_id\na,1\n ,1\n", &d), DTX_OK);
    assert_int_equal(d.n_blank, 1);
    assert_int_equal(d.first_blank_line, 3);
    check_sample(&d, 0, "<human>: a.\n<bot>:  ", "<bot>: ");
    dtx_dialogues_free(&d);
}

static void real_file_gives_8312_samples(void **state)
{
    static const char real[] = DTX_SHARED "/data/dialoconan/DIALOCONAN.csv";
    dtx_dialogues d;

    (void)state;
    if (!dtx_file_exists(real)) {
        print_message("SKIPPED: %s is absent\n", real);
        skip();
    }
    if (dtx_dialogues_read(real, "<human>:", "<bot>:", &d) != DTX_OK) {
        fail_msg("%s", dtx_error_text());
    }
    assert_int_equal(d.n, 8312);
    assert_int_equal(d.n_dialogues, 3059);
    assert_int_equal(d.n_odd, 1);
    assert_int_equal(d.n_blank, 2);
    for (int64_t i = 0; i < d.n; i++) {
        assert_null(memchr(d.bytes + d.offset[i], '\r', d.offset[i + 1] - d.offset[i]));
        assert_int_equal(d.span_offset[i + 1] - d.span_offset[i], d.pairs[i]);
    }
    dtx_dialogues_free(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prefixes_of_pairs_are_samples),
        cmocka_unit_test(malformed_files_name_the_line),
        cmocka_unit_test(blank_turns_are_kept_and_counted),
        cmocka_unit_test(real_file_gives_8312_samples),
    };
    return cmocka_run_group_tests(tests, make_path, remove_path);
}
