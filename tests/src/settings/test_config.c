/* The configuration: every default is allowed, precedence, and messages that name key, source and what is allowed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/settings/config.h"
#include "src/settings/config_table.h"
#include "src/base/json.h"
#include "src/base/jsonc.h"
#include "src/base/mem.h"

static dtx_config c;

/* Writes a configuration file and applies it. */
static dtx_status apply_json(const char *text)
{
    char path[] = "/tmp/dtx_config_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    dtx_status st = dtx_config_apply_file(&c, path);
    unlink(path);
    return st;
}

/* The statement failed with a usage error whose text holds all of the words (separated by '~'). */
static void refused(dtx_status st, const char *words)
{
    char copy[512], *save = NULL;

    assert_int_equal(st, DTX_ERR_USAGE);
    snprintf(copy, sizeof copy, "%s", words);
    for (char *w = strtok_r(copy, "~", &save); w != NULL; w = strtok_r(NULL, "~", &save)) {
        if (strstr(dtx_error_text(), w) == NULL) {
            fail_msg("\"%s\" lacks \"%s\"", dtx_error_text(), w);
        }
    }
}

static int init(void **state)
{
    (void)state;
    dtx_config_init(&c);
    return 0;
}

static void defaults_are_the_studys(void **state)
{
    (void)state;
    assert_string_equal(dtx_error_text(), "");
    assert_int_equal(c.seed, 42);
    assert_int_equal(c.generate.max_new_tokens, 70);
    assert_int_equal(c.generate.min_new_tokens, 4);
    assert_true(c.generate.do_sample);
    assert_float_equal(c.generate.temperature, 0.7, 0);
    assert_int_equal(c.generate.top_k, 50);
    assert_float_equal(c.generate.top_p, 0.8, 0);
    assert_int_equal(c.generate.no_repeat_ngram_size, 2);
    assert_string_equal(c.model.tmpl.user, "<human>:");
    assert_string_equal(c.model.tmpl.bot, "<bot>:");
    assert_string_equal(c.model.tmpl.text, "{user} \"{text}\".\n{bot} ");
    assert_int_equal(c.attribute.method, DTX_SET_METHOD_INPUT_X_GRADIENT);
    assert_int_equal(c.attribute.merge, DTX_SET_MERGE_WORDS);
    assert_string_equal(c.data.select, "auto");
    assert_int_equal(c.data.text.n, 0);
    assert_int_equal(c.n_variants, 0);
}

static void every_default_is_accepted_again(void **state)
{
    dtx_config_key k;

    (void)state;
    for (size_t i = 0; dtx_config_key_at(i, &k); i++) {
        if (strchr(k.key, 'N') != NULL && strstr(k.key, "NAME") != NULL) {
            continue;
        }
        assert_int_equal(dtx_config_apply(&c, k.key, k.fallback), DTX_OK);
        assert_true(k.help[0] != '\0' && k.allowed[0] != '\0' && k.jobs != 0);
    }
    dtx_config fresh;
    dtx_config_init(&fresh);
    assert_memory_equal(&c, &fresh, sizeof c);
}

/* Every word that a key allows sets the value that stands for it, and is printed again. */
static void words_and_values_are_one_list(void **state)
{
    int n = 0;

    (void)state;
    for (size_t i = 0; i < dtx_config_table_size; i++) {
        const dtx_config_row *row = &dtx_config_table[i];
        assert_true((row->kind == DTX_CFG_CHOICE) == (row->words != NULL));
        for (int w = 0; row->words != NULL && row->words[w] != NULL; w++, n++) {
            assert_int_equal(row->size, sizeof(int));
            assert_int_equal(dtx_config_apply(&c, row->key, row->words[w]), DTX_OK);
            assert_string_equal(dtx_config_word(&c, row->key), row->words[w]);
            assert_int_equal(dtx_config_value(row->key, row->words[w]), w);
            assert_string_equal(dtx_config_word_of(row->key, w), row->words[w]);
        }
    }
    assert_true(n > 50);
    assert_int_equal(dtx_config_value("attribute.norm", "l3"), -1);
    assert_int_equal(dtx_config_value("seed", "1"), -1);
    assert_null(dtx_config_word(&c, "seed"));
    assert_int_equal(dtx_config_apply(&c, "ppo.compat", "trl-0.4"), DTX_OK);
    assert_int_equal(c.ppo.compat, DTX_SET_COMPAT_TRL_04);
    assert_int_equal(dtx_config_apply(&c, "score.prompts", "text"), DTX_OK);
    assert_int_equal(c.score.prompts, DTX_SET_PROMPTS_TEXT);
}

static void later_sources_win(void **state)
{
    const char *env[] = {"PATH=/bin", "DETOXLENS_GENERATE__BATCH=5", "DETOXLENS_GENERATE__TOP_K=9", "DETOXLENS_VARIANTS__Ft2__ADAPTER=a/b",
                   "DETOXLENS_RUN=2024", NULL};

    (void)state;
    assert_int_equal(apply_json("{\"seed\": 7, \"generate\": {\"batch\": 2, \"top_k\": 3, \"top_p\": 1}}"), DTX_OK);
    assert_int_equal(dtx_config_apply_env(&c, env), DTX_OK);
    assert_int_equal(dtx_config_apply_set(&c, "generate.top_k=11"), DTX_OK);
    assert_int_equal(c.seed, 7);
    assert_int_equal(c.generate.batch, 5);
    assert_int_equal(c.generate.top_k, 11);
    assert_float_equal(c.generate.top_p, 1, 0);
    assert_int_equal(c.n_variants, 1);
    assert_string_equal(c.variants[0].name, "Ft2");
    assert_string_equal(c.variants[0].adapter, "a/b");
    assert_string_equal(c.run, "2024");
}

static void set_takes_json_or_a_bare_string(void **state)
{
    (void)state;
    assert_int_equal(dtx_config_apply_set(&c, "data.text=[\"a.txt\", \"b.csv:text\"]"), DTX_OK);
    assert_int_equal(c.data.text.n, 2);
    assert_string_equal(c.data.text.entry[1], "b.csv:text");
    assert_int_equal(dtx_config_apply_set(&c, "data.text=c.txt"), DTX_OK);
    assert_int_equal(c.data.text.n, 1);
    assert_string_equal(c.data.text.entry[0], "c.txt");
    assert_int_equal(dtx_config_apply_set(&c, "model.template.bot=\"### Answer:\""), DTX_OK);
    assert_string_equal(c.model.tmpl.bot, "### Answer:");
    assert_int_equal(dtx_config_apply_set(&c, "model.template.text={text}=\\n"), DTX_OK);
    assert_string_equal(c.model.tmpl.text, "{text}=\\n");
    assert_int_equal(dtx_config_apply_set(&c, "generate={\"batch\": 4, \"samples\": 2}"), DTX_OK);
    assert_int_equal(c.generate.samples, 2);
    assert_int_equal(dtx_config_apply_set(&c, "variants={\"RL\": {\"adapter\": \"x\"}, \"FT\": {}}"), DTX_OK);
    assert_int_equal(c.n_variants, 2);
}

static void unknown_keys_are_named_with_the_nearest(void **state)
{
    const char *env[] = {"DETOXLENS_SEDE=1", NULL};

    (void)state;
    refused(apply_json("{\"generate\": {\"bacth\": 2}}"), "file~unknown key generate.bacth~generate.batch");
    refused(dtx_config_apply_set(&c, "temperature=1"), "command line~temperature~generate.temperature");
    refused(dtx_config_apply_env(&c, env), "environment DETOXLENS_SEDE~sede~did you mean seed");
    refused(dtx_config_apply_set(&c, "qqqqqqqqqqqqqqqq.zzzzzzzzz=1"), "unknown key~--help");
    refused(dtx_config_apply_set(&c, "dpo.beta=0"), "dpo.beta~1e-06");
    refused(dtx_config_apply_set(&c, "seed"), "key.path=value");
    refused(dtx_config_apply_set(&c, "=1"), "key.path=value");
    refused(dtx_config_apply_set(&c, "variants.FT.adaptor=x"), "variants.NAME.adapter");
    refused(dtx_config_apply_set(&c, "variants.F T.adapter=x"), "letters");
    refused(dtx_config_apply_set(&c, "variants.IT.adapter=x"), "IT is the model itself");
}

static void wrong_values_name_what_is_allowed(void **state)
{
    char long_path[1200] = "run=";

    (void)state;
    memset(long_path + 4, 'x', sizeof long_path - 5);
    refused(dtx_config_apply_set(&c, "generate.batch=0"), "generate.batch~found 0~1..4096");
    refused(dtx_config_apply_set(&c, "generate.batch=1.5"), "generate.batch~found 1.5~a whole number");
    refused(dtx_config_apply_set(&c, "generate.batch=many"), "found \"many\"~whole number");
    refused(dtx_config_apply_set(&c, "generate.top_p=1.01"), "0..1");
    refused(dtx_config_apply_set(&c, "generate.temperature=nan"), "generate.temperature");
    refused(dtx_config_apply_set(&c, "generate.temperature=1e999"), "generate.temperature");
    refused(dtx_config_apply_set(&c, "generate.do_sample=1"), "true|false");
    refused(dtx_config_apply_set(&c, "seed=null"), "seed~null");
    refused(dtx_config_apply_set(&c, "seed=-1"), "at least 0");
    refused(dtx_config_apply_set(&c, "seed=18446744073709551616"), "seed");
    refused(dtx_config_apply_set(&c, "attribute.norm=l"), "l2|l1|sum");
    refused(dtx_config_apply_set(&c, "attribute.norm="), "l2|l1|sum");
    refused(dtx_config_apply_set(&c, "data.select=prompt>2"), "prompt>X");
    refused(dtx_config_apply_set(&c, "data.select=prompt>"), "prompt>X");
    refused(dtx_config_apply_set(&c, "model.template.text=no"), "{text}");
    refused(dtx_config_apply_set(&c, "attribute.name=a/b"), "a word");
    refused(dtx_config_apply_set(&c, "generate=4"), "generate.*");
    refused(dtx_config_apply_set(&c, "data.text=[1]"), "a list");
    refused(dtx_config_apply_set(&c, "data.text={}"), "a list");
    refused(dtx_config_apply_set(&c, long_path), "run");
    refused(apply_json("{\"run\": 5}"), "key run~found 5");
    refused(apply_json("{\"run\": \"a\\u0000b\"}"), "key run");
    refused(apply_json("[]"), "JSON object");
    refused(apply_json("{\"seed\": 1, \"seed\": 2}"), "twice");
    refused(apply_json("{\"seed\": 1"), "malformed JSON");
    assert_int_equal(dtx_config_apply_file(&c, "/nonexistent/x.json"), DTX_ERR_MISSING);
    assert_int_equal(dtx_config_apply_set(&c, "data.select=prompt>0.75"), DTX_OK);
}

static void secrets_are_not_shown(void **state)
{
    const char *env[] = {"DETOXLENS_SCORE__KEY=S3CRET", NULL}, *bad_env[] = {"DETOXLENS_SCORE__KEY=S3CRET with blanks", NULL};
    char *text = NULL;

    (void)state;
    refused(dtx_config_apply_set(&c, "score.key=S3CRET"), "score.key~environment");
    assert_null(strstr(dtx_error_text(), "S3CRET"));
    refused(dtx_config_apply_set(&c, "score={\"key\": \"S3CRET\"}"), "score.key");
    assert_null(strstr(dtx_error_text(), "S3CRET"));
    refused(dtx_config_apply_env(&c, bad_env), "DETOXLENS_SCORE__KEY~not shown");
    assert_null(strstr(dtx_error_text(), "S3CRET"));
    refused(apply_json("{\"score\": {\"key\": [\"S3CRET\"]}}"), "score.key~not shown");
    assert_null(strstr(dtx_error_text(), "S3CRET"));
    refused(apply_json("{\"score\": {\"key\": S3CRET}}"), "malformed JSON");
    assert_null(strstr(dtx_error_text(), "S3CRET"));
    refused(dtx_config_apply_set(&c, "score.endpoint=https://host/x?key=S3CRET"), "score.endpoint~without query");
    assert_null(strstr(dtx_error_text(), "S3CRET"));
    assert_string_equal(c.score.key, "");
    assert_int_equal(dtx_config_apply_env(&c, env), DTX_OK);
    assert_string_equal(c.score.key, "S3CRET");
    assert_int_equal(dtx_config_print(&c, DTX_JOB_ALL, &text), DTX_OK);
    assert_null(strstr(text, "S3CRET"));
    dtx_free(text);
}

static void a_refused_value_changes_nothing(void **state)
{
    dtx_config fresh;

    (void)state;
    dtx_config_init(&fresh);
    dtx_config_apply_set(&c, "generate.batch=0");
    dtx_config_apply_set(&c, "data.text=[\"a\", 1]");
    dtx_config_apply_set(&c, "attribute.method=lime");
    assert_memory_equal(&c, &fresh, sizeof c);
}

static void keys_that_disagree_are_refused(void **state)
{
    (void)state;
    assert_int_equal(dtx_config_check(&c, DTX_JOB_ALL), DTX_OK);
    assert_int_equal(dtx_config_apply_set(&c, "generate.max_new_tokens=3"), DTX_OK);
    refused(dtx_config_check(&c, DTX_JOB_GENERATE), "generate.min_new_tokens 4");
    assert_int_equal(dtx_config_check(&c, DTX_JOB_REPORT), DTX_OK);
    assert_int_equal(dtx_config_apply_set(&c, "pretrain.heads=3"), DTX_OK);
    refused(dtx_config_check(&c, DTX_JOB_PRETRAIN), "pretrain.hidden 128");
}

static void printed_configuration_reads_back(void **state)
{
    char *text = NULL, *again = NULL;

    (void)state;
    dtx_config_apply_set(&c, "generate.temperature=0.1");
    dtx_config_apply_set(&c, "pretrain.lr=3e-4");
    dtx_config_apply_set(&c, "seed=9007199254740991");
    dtx_config_apply_set(&c, "model.template.bot=a\"\tb");
    dtx_config_apply_set(&c, "data.text=[\"x\",\"y\"]");
    dtx_config_apply_set(&c, "variants.FT.adapter=adapters/FT");
    assert_int_equal(dtx_config_print(&c, DTX_JOB_ALL, &text), DTX_OK);
    dtx_config saved = c;
    dtx_config_init(&c);
    assert_int_equal(apply_json(text), DTX_OK);
    assert_memory_equal(&c, &saved, sizeof c);
    assert_int_equal(dtx_config_print(&c, DTX_JOB_ALL, &again), DTX_OK);
    assert_string_equal(text, again);
    assert_null(strchr(text, '\t'));
    dtx_free(text);
    dtx_free(again);
    assert_int_equal(dtx_config_print(&c, DTX_JOB_REPORT, &text), DTX_OK);
    assert_null(strstr(text, "temperature"));
    assert_non_null(strstr(text, "\"run\""));
    dtx_free(text);
}

static void comments_are_blanks_and_errors_have_a_place(void **state)
{
    int64_t line = 0, column = 0;
    static const char nested[] = "{\"a\": {\"x\": [1, {\"b\": 2}]},\n  \"variants\": {\"FT\": {\"adapter\": \"p\"}}}";

    (void)state;
    assert_int_equal(apply_json("// a study\n{ /* where\n it goes */ \"run\": \"a//b/*c*/\", // here\n \"seed\": 7 }\n// the end"), DTX_OK);
    assert_string_equal(c.run, "a//b/*c*/");
    assert_int_equal(c.seed, 7);
    refused(apply_json("{\"generate\":\n {\"batch\": 4,\n  \"temprature\": 1}}"), "line 3, column 3~generate.temprature~generate.temperature");
    refused(apply_json("{ // twice \"seed\": 1\n\n \"seed\": \"x\"}"), "line 3, column 2~seed");
    refused(apply_json("{\"seed\": 1,\n\n   2}"), "line 3, column~malformed JSON");
    refused(apply_json("{ /* no end \n \"seed\": 1}"), "line 1, column~malformed JSON");
    refused(apply_json("{\"seed\": 1} / 2"), "text after the end");
    assert_true(dtx_jsonc_place(nested, sizeof nested - 1, "variants.FT", &line, &column));
    assert_true(line == 2 && column == 16);
    assert_false(dtx_jsonc_place(nested, sizeof nested - 1, "a.b", &line, &column));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(comments_are_blanks_and_errors_have_a_place, init),
        cmocka_unit_test_setup(defaults_are_the_studys, init),
        cmocka_unit_test_setup(every_default_is_accepted_again, init),
        cmocka_unit_test_setup(words_and_values_are_one_list, init),
        cmocka_unit_test_setup(later_sources_win, init),
        cmocka_unit_test_setup(secrets_are_not_shown, init),
        cmocka_unit_test_setup(set_takes_json_or_a_bare_string, init),
        cmocka_unit_test_setup(unknown_keys_are_named_with_the_nearest, init),
        cmocka_unit_test_setup(wrong_values_name_what_is_allowed, init),
        cmocka_unit_test_setup(a_refused_value_changes_nothing, init),
        cmocka_unit_test_setup(keys_that_disagree_are_refused, init),
        cmocka_unit_test_setup(printed_configuration_reads_back, init),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
