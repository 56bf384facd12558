/* Reading texts: JSONL, CSV, plain text, selections, hostile files; chat templates. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "src/base/csv.h"
#include "src/data/dataset.h"
#include "src/base/file.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/text/template.h"

static char folder[] = "/tmp/dtx-dataset.XXXXXX";
static char path_of_file[128];

/* Writes a file of the given ending and returns its path. */
static const char *file_of(const char *ending, const char *data, size_t size)
{
    snprintf(path_of_file, sizeof path_of_file, "%s/data%s", folder, ending);
    assert_int_equal(dtx_file_write(path_of_file, data, size), DTX_OK);
    return path_of_file;
}

#define FILE_OF(ending, text) file_of(ending, text, sizeof(text) - 1)

static void check_text(const dtx_texts *t, int64_t i, int64_t id, const char *text, size_t len)
{
    assert_true(i < t->n);
    assert_int_equal(t->id[i], id);
    assert_int_equal(t->offset[i + 1] - t->offset[i], len);
    assert_memory_equal(t->bytes + t->offset[i], text, len);
}

#define CHECK_TEXT(t, i, id, text) check_text(t, i, id, text, sizeof(text) - 1)

/* The call fails with this status, and the message holds every word of `words` (separated by |). */
static void check_fault(dtx_status st, dtx_status expected, const char *words)
{
    char copy[512], *save = NULL;

    snprintf(copy, sizeof copy, "%s", words);
    if (st != expected) {
        fail_msg("status %d, expected %d: %s", st, expected, dtx_error_text());
    }
    for (char *w = strtok_r(copy, "|", &save); w != NULL; w = strtok_r(NULL, "|", &save)) {
        if (strstr(dtx_error_text(), w) == NULL) {
            fail_msg("\"%s\" is not in: %s", w, dtx_error_text());
        }
    }
}

static dtx_status prompts(const char *path, const char *select, dtx_texts *t)
{
    char selected[32];

    return dtx_texts_read_prompts(path, select, 0, 0, t, selected);
}

static const char RTP[] =
    "{\"filename\":\"a\",\"begin\":0,\"end\":9,\"challenging\":false,\"prompt\":{\"text\":\"A one\",\"toxicity\":0.9},"
    "\"continuation\":{\"text\":\" a two\",\"toxicity\":0.6}}\n"
    "{\"challenging\":true,\"prompt\":{\"text\":\"B\",\"toxicity\":0.5},\"continuation\":{\"text\":\" b\",\"toxicity\":0.9}}\r\n"
    "\n"
    "{\"id\":77,\"prompt\":{\"text\":\"C\",\"toxicity\":null},\"continuation\":{\"text\":\" c\",\"toxicity\":0.9}}\n"
    "{\"challenging\":true,\"prompt\":{\"text\":\"D\",\"toxicity\":0.8},\"continuation\":null}\n"
    "{\"prompt\":{\"text\":\"E\\u0000\\u00e9\",\"toxicity\":0.51},\"continuation\":{\"text\":\" e\",\"toxicity\":0.75},\"more\":[1]}";

static void selections_choose_rows(void **state)
{
    dtx_texts t = {0};
    char selected[32];
    const char *path = FILE_OF(".jsonl", RTP);

    (void)state;
    assert_int_equal(dtx_texts_read_prompts(path, "auto", 2, 0, &t, selected), DTX_OK);
    assert_string_equal(selected, "both>0.5");
    assert_int_equal(t.n, 2);
    CHECK_TEXT(&t, 0, 0, "A one  a two");
    CHECK_TEXT(&t, 1, 5, "E\0\xC3\xA9  e"); /* the blank line counts as a line, NUL survives */
    dtx_texts_free(&t);

    assert_int_equal(dtx_texts_read_prompts(path, "challenging", 0, 0, &t, selected), DTX_OK);
    assert_int_equal(t.n, 2);
    CHECK_TEXT(&t, 0, 1, "B  b");
    CHECK_TEXT(&t, 1, 4, "D"); /* no continuation: the prompt alone */
    dtx_texts_free(&t);

    assert_int_equal(dtx_texts_read_prompts(path, "prompt>0.75", 0, 0, &t, selected), DTX_OK);
    assert_string_equal(selected, "prompt>0.75");
    assert_int_equal(t.n, 2);
    CHECK_TEXT(&t, 1, 4, "D");
    dtx_texts_free(&t);

    assert_int_equal(dtx_texts_read_prompts(path, "all", 5, 3, &t, selected), DTX_OK);
    assert_int_equal(t.n, 3);
    CHECK_TEXT(&t, 2, 77, "C  c");
    dtx_texts_free(&t);
}

static void auto_takes_all_without_scores(void **state)
{
    dtx_texts t = {0};
    char selected[32];

    (void)state;
    const char *path = FILE_OF(".jsonl", "\xEF\xBB\xBF{\"id\":5,\"prompt\":{\"text\":\"x\"}}\n{\"id\":5,\"prompt\":{\"text\":\"\"}}\n \t\n");
    assert_int_equal(dtx_texts_read_prompts(path, "auto", 0, 0, &t, selected), DTX_OK);
    assert_string_equal(selected, "all");
    assert_int_equal(t.n, 2);
    CHECK_TEXT(&t, 0, 5, "x");
    CHECK_TEXT(&t, 1, 5, ""); /* an id may stand twice: it is told in the log */
    dtx_texts_free(&t);
}

static void bad_prompts_are_answered(void **state)
{
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"{\"prompt\":{\"text\":\"x\"}}\n{\"prompt\":{\"text\":\"\xFF\"}}\n", "data.jsonl|line 2|byte 19|UTF-8"},
        {"{\"prompt\":{\"text\":\"\\ud800\"}}\n", "data.jsonl|line 1"},
        {"{\"prompt\":{\"text\":\"x\"}\n", "line 1|malformed"},
        {"{\"prompt\":{\"text\":\"x\"}} {}\n", "line 1|after the end"},
        {"\n[1,2]\n", "line 2|object|list"},
        {"{\"prompt\":\"x\"}\n", "line 1|prompt|object"},
        {"{\"prompt\":{\"text\":7}}\n", "line 1|prompt.text|string"},
        {"{\"text\":\"x\"}\n", "line 1|prompt|RealToxicityPrompts"},
        {"{\"prompt\":{\"text\":\"x\",\"toxicity\":\"high\"}}\n", "line 1|toxicity|a number"},
        {"{\"prompt\":{\"text\":\"x\",\"toxicity\":1.5}}\n", "line 1|toxicity|1.5"},
        {"{\"prompt\":{\"text\":\"x\",\"text\":\"y\"}}\n", "line 1|twice"},
        {"{\"id\":-1,\"prompt\":{\"text\":\"x\"}}\n", "line 1|id"},
        {"{\"id\":0.5,\"prompt\":{\"text\":\"x\"}}\n", "line 1|id"},
        {"{\"challenging\":1,\"prompt\":{\"text\":\"x\"}}\n", "line 1|challenging"},
        {"", "data.jsonl|no text"},
        {"\n \n", "data.jsonl|no text"},
    };
    dtx_texts t = {0};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        check_fault(prompts(file_of(".jsonl", cases[i].text, strlen(cases[i].text)), "auto", &t), DTX_ERR_INPUT, cases[i].words);
        assert_null(t.bytes);
    }
    char selected[32];
    const char *path = FILE_OF(".jsonl", RTP);
    check_fault(dtx_texts_read_prompts(path, "auto", 5549, 0, &t, selected), DTX_ERR_INPUT, "expect_count=5549|2 of 5 rows");
    check_fault(prompts(path, "prompt>0.99", &t), DTX_ERR_INPUT, "none of 5 rows|prompt>0.99");
    check_fault(prompts(path, "prompt>2", &t), DTX_ERR_USAGE, "data.select=prompt>2|challenging");
    check_fault(prompts(path, "prompt>0.5x", &t), DTX_ERR_USAGE, "data.select");
    check_fault(prompts(path, "prompt>nan", &t), DTX_ERR_USAGE, "data.select");
    check_fault(prompts(path, "some", &t), DTX_ERR_USAGE, "data.select=some");
    check_fault(prompts(FILE_OF(".jsonl", "{\"prompt\":{\"text\":\"x\"}}"), "both>0.5", &t), DTX_ERR_INPUT, "data.select=all");
    check_fault(prompts(FILE_OF(".txt", "x\n"), "both>0.5", &t), DTX_ERR_USAGE, "plain text|.jsonl");
    check_fault(prompts("/nonexistent/x.jsonl", "auto", &t), DTX_ERR_MISSING, "/nonexistent/x.jsonl");
    check_fault(prompts("/tmp", "auto", &t), DTX_ERR_MISSING, "/tmp");
}

static void plain_prompts_are_lines(void **state)
{
    dtx_texts t = {0};

    (void)state;
    assert_int_equal(prompts(file_of(".txt", "\xEF\xBB\xBF one\r\n\n tw\0o\nlast", 20), "auto", &t), DTX_OK);
    assert_int_equal(t.n, 3);
    CHECK_TEXT(&t, 0, 0, " one");
    CHECK_TEXT(&t, 1, 2, " tw\0o");
    CHECK_TEXT(&t, 2, 3, "last");
    dtx_texts_free(&t);
    check_fault(prompts(FILE_OF(".txt", "a\nb\xC3\n"), "auto", &t), DTX_ERR_INPUT, "data.txt|line 2|byte 1|0xC3");
}

static void csv_prompts(void **state)
{
    dtx_texts t = {0};

    (void)state;
    assert_int_equal(prompts(FILE_OF(".csv", ",prompt,id\n0,\"a, \"\"b\"\"\nc\",10\n1, d ,12\n"), "auto", &t), DTX_OK);
    assert_int_equal(t.n, 2);
    CHECK_TEXT(&t, 0, 10, "a, \"b\"\nc");
    CHECK_TEXT(&t, 1, 12, " d ");
    dtx_texts_free(&t);
    assert_int_equal(prompts(FILE_OF(".csv", "n,text\r\n1,x\r\n2,y"), "all", &t), DTX_OK);
    assert_int_equal(t.n, 2);
    CHECK_TEXT(&t, 1, 1, "y");
    dtx_texts_free(&t);
    check_fault(prompts(FILE_OF(".csv", "a,b\n1,2\n"), "auto", &t), DTX_ERR_INPUT, "\"prompt\"|a, b");
    check_fault(prompts(FILE_OF(".csv", "id,text\n1,x\n1a,y\n"), "auto", &t), DTX_ERR_INPUT, "line 3|1a");
    check_fault(prompts(FILE_OF(".csv", "id,text\n,x\n"), "auto", &t), DTX_ERR_INPUT, "line 2|whole number");
}

static void csv_records_and_lines(void **state)
{
    dtx_csv t = {0};
    size_t len;

    (void)state;
    assert_int_equal(dtx_csv_read(FILE_OF(".csv", "\xEF\xBB\xBF" "a,\"b \"\"q\"\"\",c\r\n\r\n1,\"x\r\n\r\ny\",\n\n,,\"\"\n3,\xC3\xA9,z"), &t), DTX_OK);
    assert_int_equal(t.n_rows, 3);
    assert_int_equal(t.n_columns, 3);
    assert_int_equal(dtx_csv_column(&t, "b \"q\""), 1);
    assert_int_equal(dtx_csv_column(&t, "b"), -1);
    const char *cell = dtx_csv_cell(&t, 0, 1, &len);
    assert_int_equal(len, 6);
    assert_memory_equal(cell, "x\r\n\r\ny", 6);
    dtx_csv_cell(&t, 1, 2, &len);
    assert_int_equal(len, 0);
    cell = dtx_csv_cell(&t, 2, 1, &len);
    assert_memory_equal(cell, "\xC3\xA9", 2);
    const int64_t lines[] = {1, 3, 7, 8};
    assert_memory_equal(t.line, lines, sizeof lines);
    dtx_csv_free(&t);
}

static void bad_csv_is_answered(void **state)
{
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"", "empty"},
        {"\n\n", "empty"},
        {"a,b\n1,2\n1,2,3\n", "line 3|3 cells|header has 2"},
        {"a,b\n\"x\ny\",2\n\n1\n", "line 5|1 cells"},
        {"a,b\n1,\"2\n3\n4\n", "line 4|quoted cell|record from line 2"},
        {"a,b\n1,2\"3\"\n", "line 2|double quote out of place"},
        {"a,b\n1,\"2\"3\n", "line 2|double quote out of place"},
        {"a,a\n1,2\n", "line 1|columns 1 and 2|\"a\""},
        {"a,b\n1,\"\n\xF0\x9F\n\"\n", "line 3|byte 0|UTF-8"},
    };
    dtx_csv t = {0};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        check_fault(dtx_csv_read(file_of(".csv", cases[i].text, strlen(cases[i].text)), &t), DTX_ERR_INPUT, cases[i].words);
        assert_null(t.bytes);
    }
    char wide[8300];
    memset(wide, ',', sizeof wide);
    check_fault(dtx_csv_read(file_of(".csv", wide, sizeof wide), &t), DTX_ERR_INPUT, "line 1|8301 columns");
}

static void fields_for_training(void **state)
{
    dtx_texts t = {0};
    char spec[256];

    (void)state;
    assert_int_equal(dtx_texts_read_field(FILE_OF(".txt", "a\r\nb\r\n\r\n \nc\n\n"), &t), DTX_OK);
    snprintf(spec, sizeof spec, "%s:x.y", FILE_OF(".jsonl", "{\"x\":{\"y\":\"j\\u0000\"}}\n{\"x\":{}}\n\n{\"x\":{\"y\":\"k\"}}\n"));
    assert_int_equal(dtx_texts_read_field(spec, &t), DTX_OK);
    snprintf(spec, sizeof spec, "%s:q", FILE_OF(".csv", "p,q\n1,\"l\nm\"\n"));
    assert_int_equal(dtx_texts_read_field(spec, &t), DTX_OK);
    assert_int_equal(t.n, 5);
    CHECK_TEXT(&t, 0, 0, "a\nb");
    CHECK_TEXT(&t, 1, 4, "c");
    CHECK_TEXT(&t, 2, 0, "j\0");
    CHECK_TEXT(&t, 3, 3, "k");
    CHECK_TEXT(&t, 4, 0, "l\nm");

    check_fault(dtx_texts_read_field(FILE_OF(".csv", "p,q\n1,2\n"), &t), DTX_ERR_INPUT, "\"text\"|p, q");
    snprintf(spec, sizeof spec, "%s:x.z", FILE_OF(".jsonl", "{\"x\":{\"y\":\"j\"}}\n"));
    check_fault(dtx_texts_read_field(spec, &t), DTX_ERR_INPUT, "x.z");
    snprintf(spec, sizeof spec, "%s:x", path_of_file);
    check_fault(dtx_texts_read_field(spec, &t), DTX_ERR_INPUT, "line 1|\"x\"|string");
    snprintf(spec, sizeof spec, "%s:x", FILE_OF(".txt", "words\n"));
    check_fault(dtx_texts_read_field(spec, &t), DTX_ERR_USAGE, "plain text has no fields");
    snprintf(spec, sizeof spec, "%s:", path_of_file);
    check_fault(dtx_texts_read_field(spec, &t), DTX_ERR_USAGE, "FILE:FIELD");
    check_fault(dtx_texts_read_field("", &t), DTX_ERR_USAGE, "FILE:FIELD");
    check_fault(dtx_texts_read_field("/nonexistent/y.csv:q", &t), DTX_ERR_MISSING, "/nonexistent/y.csv");
    check_fault(dtx_texts_read_field("/nonexistent/y.txt", &t), DTX_ERR_MISSING, "/nonexistent/y.txt");
    check_fault(dtx_texts_read_field(FILE_OF(".txt", "\n\n"), &t), DTX_ERR_INPUT, "no text");
    assert_int_equal(t.n, 5); /* a failure leaves what was there */
    CHECK_TEXT(&t, 4, 0, "l\nm");
    dtx_texts_free(&t);
}

/* Every allocation fails once: a clean error each time, nothing leaks. */
static void survives_failing_memory(void **state)
{
    size_t before = dtx_mem_used();
    dtx_texts t = {0};
    char spec[256];
    int n_failed = 0;

    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        const char *path = kind == 0 ? FILE_OF(".jsonl", RTP) : kind == 1 ? FILE_OF(".csv", "id,text\n1,\"a\"\"b\"\n2,c\n")
                                                                          : FILE_OF(".txt", "a\nb\n\nc\n");
        snprintf(spec, sizeof spec, "%s%s", path, kind == 0 ? ":prompt.text" : "");
        for (int at = 1;; at++) {
            dtx_mem_fail_at(at);
            dtx_status st = prompts(path, "auto", &t);
            if (st == DTX_OK) {
                dtx_texts_free(&t);
                st = dtx_texts_read_field(spec, &t);
            }
            dtx_mem_fail_at(0);
            if (st == DTX_OK) {
                dtx_texts_free(&t);
                break;
            }
            check_fault(st, DTX_ERR_MISSING, "memory");
            n_failed++;
            assert_int_equal(dtx_mem_used(), before);
        }
    }
    assert_true(n_failed > 20);
    assert_int_equal(dtx_mem_used(), before);
}

static void templates(void **state)
{
    dtx_template redpajama = {"<human>:", "<bot>:", "{user} \"{text}\".\n{bot} "};
    dtx_template falcon = {"### Question:", "### Answer:", "{user} \"{text}\".\n{bot} "};
    dtx_template odd = {"{text}", "\xC3\xA9", "{user}{x}{text}{bot}"};
    char *s = NULL;
    size_t len, prefix, suffix;

    (void)state;
    assert_int_equal(dtx_template_apply(&redpajama, "a\0{bot}", 7, &s, &len, &prefix, &suffix), DTX_OK);
    assert_int_equal(len, 10 + 7 + 10);
    assert_memory_equal(s, "<human>: \"a\0{bot}\".\n<bot>: ", len + 1); /* the text's own braces stay */
    assert_int_equal(prefix, 10);
    assert_int_equal(suffix, 10);
    dtx_free(s);
    assert_int_equal(dtx_template_max_tokens(&redpajama), 128 + 20);
    assert_int_equal(dtx_template_max_tokens(&falcon), 128 + strlen("### Question: \"\".\n### Answer: "));
    /* {user} and {bot} are put in as they are, characters are counted rather than bytes */
    assert_int_equal(dtx_template_apply(&odd, "y", 1, &s, &len, &prefix, &suffix), DTX_OK);
    assert_string_equal(s, "{text}{x}y\xC3\xA9");
    dtx_free(s);
    assert_int_equal(dtx_template_max_tokens(&odd), 128 + 10);
    snprintf(odd.text, sizeof odd.text, "{user}");
    check_fault(dtx_template_apply(&odd, "y", 1, &s, &len, &prefix, &suffix), DTX_ERR_USAGE, "{text}");
    snprintf(odd.text, sizeof odd.text, "{text}{text}");
    check_fault(dtx_template_apply(&odd, "y", 1, &s, &len, &prefix, &suffix), DTX_ERR_USAGE, "twice");
}

/* What data/README.md says of the quickstart's files. */
static void quickstart_files(void **state)
{
    const char *const folder_of = DTX_SOURCE "/data/quickstart";
    dtx_texts t = {0};
    dtx_csv c = {0};
    char selected[32], path[1024];
    size_t len;

    (void)state;
    snprintf(path, sizeof path, "%s/texts.jsonl", folder_of);
    assert_int_equal(dtx_texts_read_prompts(path, "auto", 125, 0, &t, selected), DTX_OK);
    assert_string_equal(selected, "both>0.5");
    dtx_texts_free(&t);
    assert_int_equal(dtx_texts_read_prompts(path, "all", 300, 0, &t, selected), DTX_OK);
    dtx_texts_free(&t);
    snprintf(path, sizeof path, "%s/corpus.txt", folder_of);
    assert_int_equal(dtx_texts_read_field(path, &t), DTX_OK);
    assert_int_equal(t.n, 2200);
    dtx_texts_free(&t);

    snprintf(path, sizeof path, "%s/dialogues.csv", folder_of);
    assert_int_equal(dtx_csv_read(path, &c), DTX_OK);
    assert_int_equal(c.n_rows, 550);
    assert_int_equal(c.n_columns, 6);
    for (int64_t i = 0; i < c.n_rows; i++) { /* remark and answer by turns */
        const char *cell = dtx_csv_cell(&c, i, dtx_csv_column(&c, "type"), &len);
        assert_int_equal(len, 2);
        assert_memory_equal(cell, i % 2 == 0 ? "HS" : "CN", 2);
    }
    dtx_csv_free(&c);
}

/* The real files, read in place. */
static void real_files(void **state)
{
    dtx_texts t = {0};
    dtx_csv c = {0};
    char selected[32], published[256];

    (void)state;
    assert_int_equal(dtx_texts_read_prompts(DTX_SHARED "/data/rtp/rtp-5549.jsonl", "auto", 5549, 0, &t, selected), DTX_OK);
    assert_string_equal(selected, "all");
    assert_int_equal(t.n, 5549);
    assert_int_equal(t.id[5548], 5548);
    assert_memory_equal(t.bytes, "\"They say Trump is a crazy man, but he is better than  Hillary", 60);
    dtx_texts_free(&t);

    assert_int_equal(dtx_texts_read_field(DTX_SHARED "/data/dialoconan/DIALOCONAN.csv:text", &t), DTX_OK);
    assert_int_equal(t.n, 16625);
    dtx_texts_free(&t);

    /* 8,314 HS and 8,311 CN turns of 3,059 dialogues */
    assert_int_equal(dtx_csv_read(DTX_SHARED "/data/dialoconan/DIALOCONAN.csv", &c), DTX_OK);
    int64_t type = dtx_csv_column(&c, "type"), dialogue = dtx_csv_column(&c, "dialogue_id"), n_hs = 0, n_cn = 0, n_dialogues = 0;
    for (int64_t i = 0; i < c.n_rows; i++) {
        size_t len, before = 0;
        const char *cell = dtx_csv_cell(&c, i, type, &len);
        n_hs += len == 2 && memcmp(cell, "HS", 2) == 0;
        n_cn += len == 2 && memcmp(cell, "CN", 2) == 0;
        cell = dtx_csv_cell(&c, i, dialogue, &len);
        const char *old = i > 0 ? dtx_csv_cell(&c, i - 1, dialogue, &before) : "";
        n_dialogues += len != before || memcmp(cell, old, len) != 0;
    }
    assert_int_equal(n_hs, 8314);
    assert_int_equal(n_cn, 8311);
    assert_int_equal(n_dialogues, 3059);
    dtx_csv_free(&c);

    static const char *const names[] = {"redpajama-3b.IT", "redpajama-3b.FT", "redpajama-3b.RL", "falcon-7b.IT", "falcon-7b.FT", "falcon-7b.RL"};
    for (size_t i = 0; i < 6; i++) {
        snprintf(published, sizeof published, DTX_SHARED "/data/published-completions/%s.csv", names[i]);
        assert_int_equal(dtx_csv_read(published, &c), DTX_OK);
        assert_int_equal(c.n_rows, 5549);
        assert_int_equal(dtx_csv_column(&c, ""), 0);
        assert_int_equal(dtx_csv_column(&c, "pro_API_response_score"), 5);
        dtx_csv_free(&c);
    }
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state)
{
    static const char *const endings[] = {".jsonl", ".csv", ".txt"};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        snprintf(path_of_file, sizeof path_of_file, "%s/data%s", folder, endings[i]);
        unlink(path_of_file);
    }
    return rmdir(folder);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(selections_choose_rows), cmocka_unit_test(auto_takes_all_without_scores),
        cmocka_unit_test(bad_prompts_are_answered), cmocka_unit_test(plain_prompts_are_lines),
        cmocka_unit_test(csv_prompts), cmocka_unit_test(csv_records_and_lines),
        cmocka_unit_test(bad_csv_is_answered), cmocka_unit_test(fields_for_training),
        cmocka_unit_test(survives_failing_memory), cmocka_unit_test(templates),
        cmocka_unit_test(quickstart_files),
    };
    const struct CMUnitTest real[] = {cmocka_unit_test(real_files)};

    dtx_log_set_level(DTX_LOG_ERROR);
    if (argc > 1 && strcmp(argv[1], "real") == 0) {
        if (!dtx_file_is_dir(DTX_SHARED "/data")) {
            printf("skipped: " DTX_SHARED "/data is not there\n");
            return 77;
        }
        return cmocka_run_group_tests_name("dataset, real files", real, NULL, NULL);
    }
    return cmocka_run_group_tests_name("dataset", tests, make_folder, remove_folder);
}
