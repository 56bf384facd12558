/* Pairs of answers from dialogues, and direct preference optimisation's loss and gradient. */
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

#include "src/training/dpo.h"
#include "src/base/file.h"
#include "src/base/mem.h"
#include "src/training/policy.h"
#include "tests/src/model/model_variants.h"

static double draw(uint32_t key, uint32_t i)
{
    return dtx_rng_normal(7, DTX_RNG_CHECK, key, 0, i);
}

/* --- pairs --- */

static void assert_row(const dtx_tokenizer *t, const dtx_pairs *p, int64_t row, const char *prompt, const char *answer)
{
    const int32_t *id = p->id + p->offset[row];
    const int64_t n = p->offset[row + 1] - p->offset[row], query = p->query[row];
    char *text = NULL;
    size_t len;

    assert_int_equal(id[n - 1], 0); /* the end of text */
    assert_int_equal(dtx_tokenizer_decode(t, id, (size_t)query, true, false, &text, &len), DTX_OK);
    assert_string_equal(text, prompt);
    dtx_free(text);
    assert_int_equal(dtx_tokenizer_decode(t, id + query, (size_t)(n - query - 1), true, false, &text, &len), DTX_OK);
    assert_string_equal(text, answer);
    dtx_free(text);
}

static void pairs_take_the_next_hateful_turn(void **state)
{
    char dir[] = "/tmp/dtx_dpo_XXXXXX", path[64];
    static const char text[] = "h: tea is dull.\nb: it is warm. no. yes, it is. coffee too";
    static const char csv[] = "text,dialogue_id\ntea is dull,1\nit is warm,1\n\"no,\nno\",1\nyes,1\nstill no,1\nplease,1\ncoffee too,2\nno,2\n";
    const char *texts[1] = {text};
    const size_t len = strlen(text);
    dtx_dialogues d;
    dtx_tokenizer *t = NULL;
    dtx_pairs p, cut;

    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(dtx_bpe_train(texts, &len, 1, 270, false, dir), DTX_OK);
    assert_int_equal(dtx_tokenizer_open(dir, &t), DTX_OK);
    snprintf(path, sizeof path, "%s/d.csv", dir);
    assert_int_equal(dtx_file_write(path, csv, strlen(csv)), DTX_OK);
    assert_int_equal(dtx_dialogues_read(path, "h:", "b:", &d), DTX_OK);
    assert_int_equal(dtx_pairs_from_dialogues(t, &d, "h:", "b:", 512, 0, &p), DTX_OK);
    assert_int_equal(p.n, 4);
    assert_int_equal(p.n_cut, 0);
    assert_row(t, &p, 0, "h: tea is dull.\nb: ", "it is warm");
    assert_row(t, &p, 1, "h: tea is dull.\nb: ", "no, no");
    assert_row(t, &p, 2, "h: tea is dull.\nb: it is warm\nh: no, no.\nb: ", "yes");
    assert_row(t, &p, 3, "h: tea is dull.\nb: it is warm\nh: no, no.\nb: ", "still no");
    assert_row(t, &p, 4, "h: tea is dull.\nb: it is warm\nh: no, no.\nb: yes\nh: still no.\nb: ", "please");
    assert_row(t, &p, 5, "h: tea is dull.\nb: it is warm\nh: no, no.\nb: yes\nh: still no.\nb: ", "tea is dull");
    assert_row(t, &p, 6, "h: coffee too.\nb: ", "no");
    assert_row(t, &p, 7, "h: coffee too.\nb: ", "coffee too");
    /* 12 tokens: the prompt's end stays, and at least half of an answer */
    assert_int_equal(dtx_pairs_from_dialogues(t, &d, "h:", "b:", 12, 0, &cut), DTX_OK);
    assert_true(cut.n_cut >= 3);
    for (int64_t r = 0; r < 8; r++) {
        const int64_t n = cut.offset[r + 1] - cut.offset[r], full = p.offset[r + 1] - p.offset[r];
        const int64_t answer = full - p.query[r], kept = n - cut.query[r];
        assert_true(n <= 12 && cut.query[r] >= 1 && kept == (full > 12 && answer > 6 ? 6 : answer));
        assert_memory_equal(cut.id + cut.offset[r], p.id + p.offset[r] + p.query[r] - cut.query[r],
                            (size_t)(cut.query[r] + kept) * sizeof *p.id);
    }
    dtx_pairs_free(&p);
    dtx_pairs_free(&cut);
    dtx_dialogues_free(&d);
    dtx_tokenizer_close(t);
    unlink(path);
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    unlink(path);
    snprintf(path, sizeof path, "%s/tokenizer_config.json", dir);
    unlink(path);
    rmdir(dir);
}

static void sampled_answers_take_the_rejected_ones_place(void **state)
{
    /* prompts of 3 and 2 tokens, then one of 4 */
    int64_t offset[] = {0, 5, 9, 12, 16, 21, 22}, query[] = {3, 3, 2, 2, 4, 1};
    int32_t id[] = {1, 2, 3, 10, 0, 1, 2, 3, 0, 4, 5, 0, 4, 5, 11, 0, 6, 7, 8, 9, 0, 9};
    const dtx_pairs p = {3, offset, query, id, 1};
    const int32_t tokens[] = {20, 21, 0, 22, -1, -1, 30, 31, 32}, length[] = {3, 1, 3};
    dtx_pairs q;

    (void)state;
    assert_int_equal(dtx_pairs_sampled(&p, (const uint8_t[]){1, 0, 1}, 3, tokens, length, 5, &q), DTX_OK);
    const int64_t want_offset[] = {0, 5, 10, 15, 20}, want_query[] = {3, 2, 4, 2};
    const int32_t want[] = {1, 2, 3, 10, 0, /* its answer: */ 2, 3, 20, 21, 0, /* */ 6, 7, 8, 9, 0, /* its answer: */ 8, 9, 30, 31, 32};
    assert_int_equal(q.n, 2);
    assert_memory_equal(q.offset, want_offset, sizeof want_offset);
    assert_memory_equal(q.query, want_query, sizeof want_query);
    assert_memory_equal(q.id, want, sizeof want);
    dtx_pairs_free(&q);
    assert_int_equal(dtx_pairs_sampled(&p, (const uint8_t[]){0, 1, 0}, 3, tokens, length, 512, &q), DTX_OK);
    assert_int_equal(q.n, 1);
    assert_memory_equal(q.id, ((const int32_t[]){4, 5, 0, 4, 5, 22}), 6 * sizeof *want);
    dtx_pairs_free(&q);
}

/* --- loss --- */

static void loss_follows_its_definition(void **state)
{
    static const double margins[] = {0, 3, -3, 800, -800};

    (void)state;
    for (size_t i = 0; i < sizeof margins / sizeof *margins; i++) {
        const double beta = 0.1, h = 1e-4;
        dtx_dpo_logps lp = {-20 + margins[i] / beta, -30, -22, -32};
        const dtx_dpo_term t = dtx_dpo_loss(beta, &lp);
        const double m = beta * ((lp.chosen - lp.ref_chosen) - (lp.rejected - lp.ref_rejected));
        const double want = m < -700 ? -m : -log(1 / (1 + exp(-m)));
        assert_true(isfinite(t.loss) && fabs(t.loss - want) < 1e-9 * (1 + fabs(want)));
        assert_true(fabs(t.reward_chosen - t.reward_rejected - m) < 1e-12 * (1 + fabs(m)));
        lp.chosen += h;
        const double up = dtx_dpo_loss(beta, &lp).loss;
        lp.chosen -= 2 * h;
        assert_true(fabs((up - dtx_dpo_loss(beta, &lp).loss) / (2 * h) - t.d_chosen) < 1e-8);
    }
    const dtx_dpo_logps same = {-5, -6, -5, -6};
    assert_true(fabs(dtx_dpo_loss(0.1, &same).loss - log(2)) < 1e-15);
}

/* Log-probability of an answer, written out: a softmax over the logits of every row. */
static double plain_logp(const dtx_model *m, const dtx_adapter *ad, const int32_t *id, int64_t n, int64_t query)
{
    const int64_t offset[2] = {0, n};
    float hidden[32 * 24], logits[32 * VARIANT_VOCAB];
    double sum = 0;

    assert_int_equal(dtx_model_forward(m, &(dtx_batch){.n_seq = 1, .offset = offset, .ids = id, .adapter = ad}, hidden), DTX_OK);
    dtx_model_logits(m, n, hidden, logits);
    for (int64_t r = query; r < n; r++) {
        const float *z = logits + (r - 1) * VARIANT_VOCAB;
        double all = 0;
        for (int k = 0; k < VARIANT_VOCAB; k++) {
            all += exp((double)z[k]);
        }
        sum += (double)z[id[r]] - log(all);
    }
    return sum;
}

static double plain_loss(const dtx_model *m, const dtx_adapter *ad, const dtx_adapter *ref, const dtx_pairs *p, double beta)
{
    double margin = 0;

    for (int k = 0; k < 2; k++) {
        const int32_t *id = p->id + p->offset[k];
        const int64_t n = p->offset[k + 1] - p->offset[k];
        margin += (k == 0 ? beta : -beta) * (plain_logp(m, ad, id, n, p->query[k]) - plain_logp(m, ref, id, n, p->query[k]));
    }
    return log1p(exp(-margin));
}

/* On every decoder, with the base and with another adapter as reference. */
static void gradient_is_that_of_a_plain_implementation(void **state)
{
    const char *targets[DTX_MODULES];
    const double beta = 0.7, scale = 1.5;

    (void)state;
    for (int v = 0; v < N_DECODERS; v++) {
        const dtx_arch a = variant_arch(v);
        dtx_model *m = NULL;
        dtx_adapter *ad = NULL, *ref = NULL, *g = NULL;
        dtx_tape *tape = NULL;
        int64_t offset[3] = {0, 9, 20}, query[2] = {4, 4};
        int32_t ids[20];
        const dtx_pairs p = {.n = 1, .offset = offset, .query = query, .id = ids};
        dtx_dpo_logps lp;
        dtx_dpo_term term;

        assert_int_equal(dtx_model_new(&a, 3, &m), DTX_OK);
        variant_shake(m, 4);
        assert_int_equal(dtx_adapter_new(&a, 2, 4, 0, targets, variant_targets(&a, ~(1U << DTX_MOD_DOWN), targets), 5, &ad), DTX_OK);
        assert_int_equal(dtx_adapter_like(ad, &ref), DTX_OK);
        assert_int_equal(dtx_adapter_like(ad, &g), DTX_OK);
        for (int64_t i = 0; i < ad->n_params; i++) {
            ad->arena[i] = 0.2f * (float)draw(1, (uint32_t)i);
            ref->arena[i] = 0.2f * (float)draw(2, (uint32_t)i);
        }
        assert_int_equal(dtx_tape_new(m, v % 2 == 0, &tape), DTX_OK);
        for (int i = 0; i < 20; i++) {
            ids[i] = (i < 9 ? i : i - 9) < 4 ? 3 + (i < 9 ? i : i - 9) : (i * 7) % VARIANT_VOCAB;
        }
        const dtx_adapter *reference = v % 2 == 0 ? NULL : ref;
        assert_int_equal(dtx_dpo_pair(m, ad, reference, tape, &p, 0, beta, scale, &lp, &term, g), DTX_OK);
        assert_true(fabs(term.loss - plain_loss(m, ad, reference, &p, beta)) < 1e-5);
        assert_true(fabs(lp.chosen - plain_logp(m, ad, ids, 9, 4)) < 1e-4 && fabs(lp.rejected - plain_logp(m, ad, ids + 9, 11, 4)) < 1e-4);
        double largest = 0;
        for (int64_t i = 0; i < ad->n_params; i += 11) {
            const float keep = ad->arena[i], h = 2e-3f;
            ad->arena[i] = keep + h;
            double up = plain_loss(m, ad, reference, &p, beta);
            ad->arena[i] = keep - h;
            double down = plain_loss(m, ad, reference, &p, beta);
            ad->arena[i] = keep;
            double want = scale * (up - down) / (2 * (double)h);
            assert_true(fabs(want - (double)g->arena[i]) < 3e-3 * (1 + fabs(want)));
            largest = fabs(want) > largest ? fabs(want) : largest;
        }
        assert_true(largest > 0.05);
        dtx_tape_del(tape);
        dtx_adapter_del(g);
        dtx_adapter_del(ref);
        dtx_adapter_del(ad);
        dtx_model_del(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_take_the_next_hateful_turn),
        cmocka_unit_test(sampled_answers_take_the_rejected_ones_place),
        cmocka_unit_test(loss_follows_its_definition),
        cmocka_unit_test(gradient_is_that_of_a_plain_implementation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
