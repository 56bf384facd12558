/* Samples, their order over epochs, LoRA's gradient with dropout, and dropout's mask. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/base/file.h"
#include "src/training/finetune.h"
#include "src/base/mem.h"
#include "src/training/pretrain.h"
#include "src/base/rng.h"

static void steps_are_those_of_the_trainer(void **state)
{
    dtx_sample_order o;
    int64_t sample[8];
    static int seen[4][8312];

    (void)state;
    /* the study's RedPajama: 8,312 samples, 832 held out, 4 epochs, 8 x 2: 1,868 steps */
    assert_int_equal(dtx_sample_order_init(&o, 8312, 0.1, 8, 2, 4, 42), DTX_OK);
    assert_int_equal(o.n_held, 832);
    assert_int_equal(o.n_steps, 1868);
    memset(seen, 0, sizeof seen);
    for (int64_t m = 0; m < 4 * o.per_epoch; m++) {
        int64_t n = dtx_sample_order_get(&o, m, sample);
        assert_int_equal(n, 8);
        for (int64_t i = 0; i < n; i++) {
            seen[m / o.per_epoch][sample[i]]++;
        }
    }
    for (int e = 0; e < 4; e++) {
        for (int64_t i = 0; i < o.n_train; i++) {
            assert_int_equal(seen[e][o.train[i]], 1);
        }
        for (int64_t i = 0; i < o.n_held; i++) {
            assert_int_equal(seen[e][o.held[i]], 0);
        }
    }
    dtx_sample_order_free(&o);
    /* Falcon: 3 epochs, 16 x 2: 702 steps */
    assert_int_equal(dtx_sample_order_init(&o, 8312, 0.1, 16, 2, 3, 42), DTX_OK);
    assert_int_equal(o.n_steps, 702);
    dtx_sample_order_free(&o);
    /* a short last micro-batch */
    assert_int_equal(dtx_sample_order_init(&o, 10, 0.0, 4, 1, 1, 1), DTX_OK);
    assert_int_equal(o.n_steps, 3);
    assert_int_equal(dtx_sample_order_get(&o, 2, sample), 2);
    dtx_sample_order_free(&o);
    assert_int_equal(dtx_sample_order_init(&o, 1, 0.5, 4, 1, 1, 1), DTX_ERR_INPUT);
}

static void labels_follow_loss_on(void **state)
{
    char dir[] = "/tmp/dtx_finetune_XXXXXX", path[64];
    static const char text[] = "<human>: tea is dull.\n<bot>: it is warm <human>: no.\n<bot>: yes";
    static const char csv[] = "text,dialogue_id\ntea is dull,1\nit is warm,1\nno,1\nyes,1\n";
    const char *texts[1] = {text};
    const size_t len = strlen(text);
    dtx_dialogues d;
    dtx_tokenizer *t = NULL;
    dtx_samples all, bot, cut;

    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(dtx_bpe_train(texts, &len, 1, 270, false, dir), DTX_OK);
    assert_int_equal(dtx_tokenizer_open(dir, &t), DTX_OK);
    snprintf(path, sizeof path, "%s/d.csv", dir);
    assert_int_equal(dtx_file_write(path, csv, strlen(csv)), DTX_OK);
    assert_int_equal(dtx_dialogues_read(path, "<human>:", "<bot>:", &d), DTX_OK);
    assert_int_equal(d.n, 2);
    assert_int_equal(dtx_samples_from_dialogues(t, &d, 512, 0, false, &all), DTX_OK);
    assert_int_equal(dtx_samples_from_dialogues(t, &d, 512, 0, true, &bot), DTX_OK);
    assert_int_equal(dtx_samples_from_dialogues(t, &d, 10, 0, true, &cut), DTX_OK);
    for (int64_t i = 0; i < 2; i++) {
        int64_t n = all.offset[i + 1] - all.offset[i];
        assert_int_equal(dtx_samples_tokens(&all, i), n - 1); /* all but the first, the end of text included */
        assert_int_equal(all.id[all.offset[i + 1] - 1], 0);
        assert_int_equal(all.label[all.offset[i + 1] - 2], 0);
        /* the labels that count spell the bot's turns */
        char *spelt = NULL;
        size_t spelt_len = 0;
        int32_t ids[256];
        size_t n_ids = 0;
        for (int64_t r = bot.offset[i]; r < bot.offset[i + 1]; r++) {
            if (bot.label[r] > 0) {
                ids[n_ids++] = bot.label[r];
            }
        }
        assert_int_equal(dtx_tokenizer_decode(t, ids, n_ids, true, false, &spelt, &spelt_len), DTX_OK);
        assert_non_null(strstr(spelt, i == 0 ? "it is warm" : "yes"));
        assert_null(strstr(spelt, "dull"));
        dtx_free(spelt);
    }
    assert_int_equal(cut.n_truncated, 2);
    assert_int_equal(cut.offset[1], 10);
    assert_int_not_equal(cut.id[9], 0); /* no room, no end of text */
    dtx_samples_free(&all);
    dtx_samples_free(&bot);
    dtx_samples_free(&cut);
    dtx_dialogues_free(&d);
    dtx_tokenizer_close(t);
    unlink(path);
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    unlink(path);
    snprintf(path, sizeof path, "%s/tokenizer_config.json", dir);
    unlink(path);
    rmdir(dir);
}

static void masks_depend_on_counters_alone(void **state)
{
    enum { R = 50, W = 203 };
    static float x[R * W], y[R * W], z[R * W];
    uint64_t key[R];
    int zeros = 0;

    (void)state;
    for (int i = 0; i < R * W; i++) {
        x[i] = 1;
    }
    for (int r = 0; r < R; r++) {
        key[r] = dtx_dropout_key(3, 17, r);
    }
    const dtx_dropout o = {0.25, 42, key};
    dtx_dropout_apply(&o, 5, R, W, x, y, 0);
    for (int i = 0; i < R * W; i++) {
        assert_true(y[i] == 0 || fabsf(y[i] - 1 / 0.75f) < 1e-6f);
        zeros += y[i] == 0;
    }
    assert_true(fabs(zeros / (double)(R * W) - 0.25) < 0.02);
    /* the last row alone, added to something */
    const dtx_dropout last = {0.25, 42, key + R - 1};
    for (int i = 0; i < W; i++) {
        z[i] = 2;
    }
    dtx_dropout_apply(&last, 5, 1, W, x, z, 1);
    int other = 0;
    for (int i = 0; i < W; i++) {
        assert_true(z[i] == 2 + y[(R - 1) * W + i]);
        other += y[i] != y[W + i];
    }
    assert_true(other > 20); /* rows have masks of their own */
    dtx_dropout_apply(&o, 6, R, W, x, z, 0);
    assert_memory_not_equal(y, z, sizeof y); /* and so have slots */
}

static void lora_gradient_with_dropout_is_the_finite_difference(void **state)
{
    static const char *const targets[] = {"query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"};
    int32_t id[20], label[20];
    int64_t offset[3] = {0, 9, 20}, sample[2] = {0, 1};
    const dtx_samples s = {.n = 2, .offset = offset, .id = id, .label = label};

    (void)state;
    for (int i = 0; i < 20; i++) {
        id[i] = (i * 11 + 3) % 50;
        label[i] = i == 8 || i == 19 ? -1 : (i * 11 + 14) % 50;
    }
    for (int recompute = 0; recompute < 2; recompute++) {
        dtx_arch a;
        dtx_model *m = NULL;
        dtx_adapter *ad = NULL, *g = NULL;
        dtx_tape *tape = NULL;
        double loss;
        assert_int_equal(dtx_pretrain_arch("gpt_neox", 2, 16, 2, 50, 64, 0, 1, &a), DTX_OK);
        assert_int_equal(dtx_model_new(&a, 3, &m), DTX_OK);
        assert_int_equal(dtx_adapter_new(&a, 3, 6, 0.3, targets, 4, 9, &ad), DTX_OK);
        for (int64_t i = 0; i < ad->n_params; i++) {
            ad->arena[i] += 0.2f * (float)dtx_rng_normal(1, DTX_RNG_CHECK, (uint64_t)i, 0, 0);
        }
        assert_int_equal(dtx_adapter_like(ad, &g), DTX_OK);
        assert_int_equal(dtx_tape_new(m, recompute == 1, &tape), DTX_OK);
        assert_int_equal(dtx_samples_loss(m, ad, tape, &s, sample, 2, 1.0f, 0.3, 42, 7, &loss, &(dtx_wanted){.lora = g}), DTX_OK);
        dtx_adapter *scratch = NULL;
        assert_int_equal(dtx_adapter_like(ad, &scratch), DTX_OK);
        for (int64_t i = 0; i < ad->n_params; i += 61) {
            double side[2];
            float old = ad->arena[i];
            for (int k = 0; k < 2; k++) {
                ad->arena[i] = old + (k ? 4e-3f : -4e-3f);
                assert_int_equal(dtx_samples_loss(m, ad, tape, &s, sample, 2, 1.0f, 0.3, 42, 7, &side[k],
                                                  &(dtx_wanted){.lora = scratch}), DTX_OK);
            }
            ad->arena[i] = old;
            double fd = (side[1] - side[0]) / 8e-3;
            if (fabs(fd - (double)g->arena[i]) > 2e-3 + 1e-2 * fabs(fd)) {
                fail_msg("element %lld: gradient %g, finite difference %g", (long long)i, (double)g->arena[i], fd);
            }
        }
        dtx_adapter_del(scratch);
        dtx_tape_del(tape);
        dtx_adapter_del(g);
        dtx_adapter_del(ad);
        dtx_model_del(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_are_those_of_the_trainer),
        cmocka_unit_test(labels_follow_loss_on),
        cmocka_unit_test(masks_depend_on_counters_alone),
        cmocka_unit_test(lora_gradient_with_dropout_is_the_finite_difference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
