/* Classifier folders with softmax and multi-label heads: labels, ragged batches, truncation, rewards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "src/judge/classifier.h"
#include "src/base/file.h"
#include "src/base/mem.h"
#include "src/judge/reward.h"
#include "tests/src/model/model_variants.h"

enum { N_TEXTS = 9 };
static char folder[64];

static const char *const TEXT[N_TEXTS] = {
    "", "a", "The kettle sings and the kettle stops.", "two words", "Nobody asked for the rain, but the rain came anyway.",
    "\xc3\xa9t\xc3\xa9", "the the the the the the the the the the the the the the the the the the the the the the the",
    "The kettle sings and the kettle stops.", "?"};

static void lengths(size_t *len)
{
    for (int i = 0; i < N_TEXTS; i++) {
        len[i] = strlen(TEXT[i]);
    }
}

/* A folder with a random classifier of the given labels, and its tokenizer. */
static const char *make(const char *name, int n_labels, const char *const *labels, bool multi_label)
{
    static char dir[128];
    size_t len[N_TEXTS];
    dtx_arch a = variant_arch(N_DECODERS);
    dtx_model *m = NULL;

    snprintf(dir, sizeof dir, "%s/%s", folder, name);
    assert_int_equal(dtx_file_mkdirs(dir), DTX_OK);
    lengths(len);
    assert_int_equal(dtx_bpe_train(TEXT, len, N_TEXTS, 300, true, dir), DTX_OK);
    a.vocab = 300;
    a.max_positions = 18; /* 16 tokens */
    a.n_labels = n_labels;
    a.multi_label = multi_label;
    for (int i = 0; i < n_labels; i++) {
        snprintf(a.labels[i], sizeof a.labels[i], "%s", labels[i]);
    }
    assert_int_equal(dtx_model_new(&a, 7, &m), DTX_OK);
    variant_shake(m, 9);
    assert_int_equal(dtx_model_save(m, dir), DTX_OK);
    dtx_model_del(m);
    return dir;
}

static void scores_do_not_depend_on_the_batch(void **state)
{
    static const char *const labels[] = {"nothate", "hate"};
    const char *dir = make("two", 2, labels, false);
    dtx_classifier c;
    size_t len[N_TEXTS];
    float all[2 * N_TEXTS], one[2];
    double p[N_TEXTS];

    (void)state;
    lengths(len);
    assert_int_equal(dtx_classifier_open(dir, NULL, "", &c), DTX_OK);
    assert_int_equal(c.label, 1);
    assert_int_equal(c.max_tokens, 16);
    assert_int_equal(dtx_classifier_logits(&c, N_TEXTS, TEXT, len, all), DTX_OK);
    assert_int_equal(dtx_classifier_score(&c, N_TEXTS, TEXT, len, p), DTX_OK);
    for (int i = 0; i < N_TEXTS; i++) {
        assert_int_equal(dtx_classifier_logits(&c, 1, &TEXT[i], &len[i], one), DTX_OK);
        assert_memory_equal(one, all + 2 * i, sizeof one);
        double want = exp((double)one[1]) / (exp((double)one[0]) + exp((double)one[1]));
        assert_true(fabs(p[i] - want) < 1e-12);
    }
    assert_memory_equal(all + 4, all + 14, 2 * sizeof(float)); /* equal texts */
    assert_true(fabs(p[2] - p[3]) > 1e-4);
    assert_int_equal(dtx_classifier_logits(&c, 1, &(const char *){"\xff"}, &(size_t){1}, one), DTX_ERR_INPUT);
    dtx_classifier_close(&c);

    /* many texts: more than one forward pass */
    assert_int_equal(dtx_classifier_open(dir, NULL, "nothate", &c), DTX_OK);
    enum { MANY = 1000 };
    static const char *text[MANY];
    static size_t text_len[MANY];
    static double q[MANY];
    for (int i = 0; i < MANY; i++) {
        text[i] = TEXT[i % N_TEXTS];
        text_len[i] = len[i % N_TEXTS];
    }
    assert_int_equal(dtx_classifier_score(&c, MANY, text, text_len, q), DTX_OK);
    for (int i = 0; i < MANY; i++) {
        assert_true(fabs(q[i] - (1 - p[i % N_TEXTS])) < 1e-12);
    }
    dtx_classifier_close(&c);
}

static void labels_are_chosen_by_name(void **state)
{
    static const char *const odd[] = {"red", "green"}, *const three[] = {"a", "b", "c"},
                             *const unitary[] = {"insult", "Toxicity", "threat"};
    dtx_classifier c;
    float logits[3];
    double p;

    (void)state;
    const char *dir = make("odd", 2, odd, false);
    assert_int_equal(dtx_classifier_open(dir, NULL, "", &c), DTX_OK);
    assert_int_equal(c.label, 1);
    dtx_classifier_close(&c);
    assert_int_equal(dtx_classifier_open(dir, NULL, "0", &c), DTX_OK);
    assert_int_equal(c.label, 0);
    dtx_classifier_close(&c);
    assert_int_equal(dtx_classifier_open(dir, NULL, "blue", &c), DTX_ERR_USAGE);
    assert_non_null(strstr(dtx_error_text(), "red, green"));
    assert_int_equal(dtx_classifier_open(dir, NULL, "2", &c), DTX_ERR_USAGE);
    assert_int_equal(dtx_classifier_open(dir, NULL, "-1", &c), DTX_ERR_USAGE);
    dir = make("three", 3, three, false);
    assert_int_equal(dtx_classifier_open(dir, NULL, "", &c), DTX_ERR_USAGE);
    dir = make("unitary", 3, unitary, true);
    assert_int_equal(dtx_classifier_open(dir, NULL, "", &c), DTX_OK);
    assert_int_equal(c.label, 1);
    assert_int_equal(dtx_classifier_logits(&c, 1, &TEXT[2], &(size_t){strlen(TEXT[2])}, logits), DTX_OK);
    assert_int_equal(dtx_classifier_score(&c, 1, &TEXT[2], &(size_t){strlen(TEXT[2])}, &p), DTX_OK);
    assert_true(fabs(p - 1 / (1 + exp(-(double)logits[1]))) < 1e-12);
    dtx_classifier_close(&c);
}

static void rewards_are_what_their_names_say(void **state)
{
    (void)state;
    for (double l = -3; l <= 3; l += 0.5) {
        double p = 1 / (1 + exp(-l)); /* of the label */
        assert_true(fabs(dtx_reward_of(DTX_REWARD_PROB, l) - (1 - p)) < 1e-12);
        assert_true(fabs(dtx_reward_of(DTX_REWARD_LOGPROB, l) - log(1 - p)) < 1e-12);
        assert_true(fabs(dtx_reward_of(DTX_REWARD_LOGIT, l) - log((1 - p) / p)) < 1e-12);
    }
    assert_true(dtx_reward_of(DTX_REWARD_LOGPROB, 2000) == -2000);
    assert_true(dtx_reward_of(DTX_REWARD_PROB, 2000) == 0 && dtx_reward_of(DTX_REWARD_PROB, -2000) == 1);
}

static void several_classifiers_are_weighted(void **state)
{
    static const char *const labels[] = {"nothate", "hate"};
    char a[128], b[128], spec_a[160], spec_b[160];
    size_t len[N_TEXTS];
    double one[N_TEXTS], two[N_TEXTS], both[N_TEXTS];
    dtx_reward r;

    (void)state;
    lengths(len);
    snprintf(a, sizeof a, "%s", make("first", 2, labels, false));
    snprintf(b, sizeof b, "%s", make("second", 2, labels, true));
    snprintf(spec_a, sizeof spec_a, "3*%s#nothate", a);
    snprintf(spec_b, sizeof spec_b, "1*%s", b);
    const char *const specs[] = {spec_a, spec_b}, *const zero[] = {"0*x"}, *const empty[] = {""};
    assert_int_equal(dtx_reward_open(&specs[0], NULL, 1, DTX_REWARD_PROB, &r), DTX_OK);
    assert_int_equal(dtx_reward_score(&r, N_TEXTS, TEXT, len, one), DTX_OK);
    dtx_reward_close(&r);
    assert_int_equal(dtx_reward_open(&specs[1], NULL, 1, DTX_REWARD_PROB, &r), DTX_OK);
    assert_int_equal(dtx_reward_score(&r, N_TEXTS, TEXT, len, two), DTX_OK);
    dtx_reward_close(&r);
    assert_int_equal(dtx_reward_open(specs, NULL, 2, DTX_REWARD_PROB, &r), DTX_OK);
    assert_int_equal(dtx_reward_score(&r, N_TEXTS, TEXT, len, both), DTX_OK);
    dtx_reward_close(&r);
    for (int i = 0; i < N_TEXTS; i++) {
        assert_true(fabs(both[i] - (0.75 * one[i] + 0.25 * two[i])) < 1e-12);
    }
    assert_int_equal(dtx_reward_open(zero, NULL, 1, DTX_REWARD_PROB, &r), DTX_ERR_USAGE);
    assert_int_equal(dtx_reward_open(empty, NULL, 1, DTX_REWARD_PROB, &r), DTX_ERR_USAGE);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/test_classifier.%d", (int)getpid());
    return 0;
}

static int tear_down(void **state)
{
    static const char *const dirs[] = {"two", "odd", "three", "unitary", "first", "second"};
    static const char *const files[] = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"};
    char path[256];

    (void)state;
    for (size_t d = 0; d < sizeof dirs / sizeof *dirs; d++) {
        for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
            snprintf(path, sizeof path, "%s/%s/%s", folder, dirs[d], files[f]);
            unlink(path);
        }
        snprintf(path, sizeof path, "%s/%s", folder, dirs[d]);
        rmdir(path);
    }
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_do_not_depend_on_the_batch),
        cmocka_unit_test(labels_are_chosen_by_name),
        cmocka_unit_test(rewards_are_what_their_names_say),
        cmocka_unit_test(several_classifiers_are_weighted),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
