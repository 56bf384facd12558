/* Batched decoding: a completion depends on its keys and prompt alone, and equals a loop without cache or batch. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "src/answer/generate.h"
#include "src/base/mem.h"
#include "tests/src/model/model_variants.h"

enum { N = 23, NEW = 12, LONGEST = 20 };

typedef struct {
    int32_t prompt[N][LONGEST], tokens[N][NEW];
    float logprob[N][NEW], behaviour[N][NEW];
    dtx_generation item[N];
} set;

static dtx_status tiny(int variant, dtx_model **m)
{
    dtx_arch a = variant_arch(variant);

    DTX_TRY(dtx_model_new(&a, 7, m));
    variant_shake(*m, 8);
    return DTX_OK;
}

static dtx_generate_options options(int64_t batch)
{
    return (dtx_generate_options){
        .sampling = {.max_new_tokens = NEW, .min_new_tokens = 2, .do_sample = true, .temperature = 0.9, .top_k = 12,
                     .top_p = 0.9, .no_repeat_ngram = 2, .eos = {.n = 1, .id = {5}}},
        .batch = batch, .seed = 11, .domain = DTX_RNG_SAMPLE};
}

/* Item i is row 100 + i / 2, sample i % 2; the prompts have 1 to 20 tokens. */
static void fill(set *s)
{
    for (int i = 0; i < N; i++) {
        int64_t P = 1 + (i / 2 * 7) % LONGEST;
        for (int t = 0; t < P; t++) {
            s->prompt[i][t] = (int32_t)dtx_rng_below(3, DTX_RNG_CHECK, (uint64_t)i / 2, 0, (uint32_t)t, VARIANT_VOCAB);
        }
        s->item[i] = (dtx_generation){.prompt = s->prompt[i], .prompt_len = P, .row = 100 + (uint64_t)i / 2,
                                      .sample = (uint32_t)i % 2, .tokens = s->tokens[i], .logprob = s->logprob[i],
                                      .behaviour_logprob = s->behaviour[i]};
    }
}

static void assert_same(const dtx_generation *a, const dtx_generation *b)
{
    assert_int_equal(a->length, b->length);
    assert_int_equal(a->finish, b->finish);
    assert_memory_equal(a->tokens, b->tokens, NEW * sizeof *a->tokens);
    assert_memory_equal(a->logprob, b->logprob, (size_t)a->length * sizeof *a->logprob);
    assert_memory_equal(a->behaviour_logprob, b->behaviour_logprob, (size_t)a->length * sizeof *a->behaviour_logprob);
}

static void test_batch_and_order_do_not_matter(void **state)
{
    static set a, b;
    static const int64_t batches[] = {2, 4, 16, 64};
    (void)state;

    for (int kind = 0; kind < N_DECODERS; kind++) {
        dtx_model *m = NULL;
        int ended = 0, cut = 0;
        assert_int_equal(tiny(kind, &m), DTX_OK);
        fill(&a);
        dtx_generate_options o = options(3);
        assert_int_equal(dtx_generate(m, &o, a.item, N), DTX_OK);
        for (int i = 0; i < N; i++) {
            ended += a.item[i].finish == DTX_FINISH_EOS;
            cut += a.item[i].finish == DTX_FINISH_LENGTH;
            for (int k = 0; k < NEW; k++) {
                assert_true((k < a.item[i].length) == (a.tokens[i][k] >= 0));
                assert_true((k < a.item[i].length) == !isnan(a.logprob[i][k]));
            }
        }
        assert_int_equal(ended + cut, N);
        for (size_t k = 0; k < sizeof batches / sizeof *batches; k++) {
            dtx_generation turned[N];
            fill(&b);
            for (int i = 0; i < N; i++) {
                turned[i] = b.item[(i * 5) % N];
            }
            o = options(batches[k]);
            assert_int_equal(dtx_generate(m, &o, turned, N), DTX_OK);
            for (int i = 0; i < N; i++) {
                assert_same(&turned[i], &a.item[(i * 5) % N]);
            }
        }
        dtx_model_del(m);
    }
}

/* batch = 1 may use the matrix-vector kernel: other last bits than batches, but the same whatever the order of the items,
 * and on 1 and 2 threads. */
static void test_single_stream(void **state)
{
    static set a, b;
    (void)state;

    for (int kind = 0; kind < N_DECODERS; kind++) {
        dtx_model *m = NULL;
        dtx_generate_options o = options(4);
        assert_int_equal(tiny(kind, &m), DTX_OK);
        fill(&b);
        assert_int_equal(dtx_generate(m, &o, b.item, N), DTX_OK);
        o.batch = 1;
        fill(&a);
        assert_int_equal(dtx_generate(m, &o, a.item, N), DTX_OK);
        for (int i = 0; i < N; i++) {
            assert_int_equal(a.item[i].length, b.item[i].length);
            assert_memory_equal(a.tokens[i], b.tokens[i], NEW * sizeof *a.tokens[i]);
            for (int k = 0; k < a.item[i].length; k++) {
                assert_float_equal(a.logprob[i][k], b.logprob[i][k], 1e-5);
                assert_float_equal(a.behaviour[i][k], b.behaviour[i][k], 1e-5);
            }
        }
        assert_int_equal(dtx_linear_setup(DTX_GEMM_AUTO, 2), DTX_OK);
        dtx_generation turned[N];
        fill(&b);
        for (int i = 0; i < N; i++) {
            turned[i] = b.item[(i * 5) % N];
        }
        assert_int_equal(dtx_generate(m, &o, turned, N), DTX_OK);
        for (int i = 0; i < N; i++) {
            assert_same(&turned[i], &a.item[(i * 5) % N]);
        }
        assert_int_equal(dtx_linear_setup(DTX_GEMM_AUTO, 1), DTX_OK);
        dtx_model_del(m);
    }
}

/* The same without cache, batch or refilling: a whole forward pass for each token. */
static void test_against_plain_loop(void **state)
{
    static set a;
    (void)state;

    for (int kind = 0; kind < N_DECODERS; kind++) {
        dtx_model *m = NULL;
        dtx_generate_options o = options(4);
        assert_int_equal(tiny(kind, &m), DTX_OK);
        fill(&a);
        assert_int_equal(dtx_generate(m, &o, a.item, N), DTX_OK);
        for (int i = 0; i < N; i += 3) {
            int32_t ids[LONGEST + NEW];
            float hidden[(LONGEST + NEW) * 24], logits[VARIANT_VOCAB], scores[VARIANT_VOCAB], scratch[VARIANT_VOCAB];
            int64_t P = a.item[i].prompt_len;
            memcpy(ids, a.prompt[i], (size_t)P * sizeof *ids);
            for (int32_t k = 0; k < a.item[i].length; k++) {
                const int64_t offset[] = {0, P + k};
                int32_t token;
                float behaviour;
                double sum = 0;
                assert_int_equal(dtx_model_forward(m, &(dtx_batch){.n_seq = 1, .offset = offset, .ids = ids}, hidden), DTX_OK);
                dtx_model_logits(m, 1, hidden + (P + k - 1) * 24, logits);
                memcpy(scores, logits, sizeof scores);
                dtx_sampler_process(&o.sampling, ids, P + k, P, VARIANT_VOCAB, scores, scratch);
                assert_int_equal(dtx_sampler_choose(&o.sampling, VARIANT_VOCAB, scores,
                                                    dtx_rng_uniform(11, DTX_RNG_SAMPLE, a.item[i].row, a.item[i].sample, (uint32_t)k),
                                                    &token, &behaviour),
                                 DTX_OK);
                for (int j = 0; j < VARIANT_VOCAB; j++) {
                    sum += exp(logits[j]);
                }
                assert_int_equal(token, a.tokens[i][k]);
                assert_float_equal(a.logprob[i][k], logits[token] - log(sum), 1e-5);
                assert_float_equal(a.behaviour[i][k], behaviour, 1e-5);
                ids[P + k] = token;
            }
        }
        dtx_model_del(m);
    }
}

static void test_edges(void **state)
{
    static set a;
    dtx_model *m = NULL;
    dtx_generate_options o = options(4);
    int32_t prompt[64] = {1, 2, 3}, tokens[64];
    dtx_generation one = {.prompt = prompt, .prompt_len = 63, .tokens = tokens};
    (void)state;

    assert_int_equal(tiny(0, &m), DTX_OK);
    assert_int_equal(dtx_generate(m, &o, NULL, 0), DTX_OK);
    o.sampling.max_new_tokens = 1; /* fills the model's 64 positions */
    assert_int_equal(dtx_generate(m, &o, &one, 1), DTX_OK);
    assert_int_equal(one.length, 1);
    o.sampling.max_new_tokens = 2;
    assert_int_equal(dtx_generate(m, &o, &one, 1), DTX_ERR_INPUT);
    one.prompt_len = 0;
    assert_int_equal(dtx_generate(m, &o, &one, 1), DTX_ERR_INPUT);
    one.prompt_len = 1;
    o.sampling.max_new_tokens = 63;
    o.batch = 0;
    assert_int_equal(dtx_generate(m, &o, &one, 1), DTX_OK);
    prompt[0] = VARIANT_VOCAB; /* outside the vocabulary */
    assert_int_equal(dtx_generate(m, &o, &one, 1), DTX_ERR_INPUT);

    fill(&a);
    o = options(4);
    o.sampling.do_sample = false; /* greedy: the two samples of a row are equal */
    assert_int_equal(dtx_generate(m, &o, a.item, N), DTX_OK);
    for (int i = 0; i + 1 < N; i += 2) {
        assert_same(&a.item[i], &a.item[i + 1]);
    }
    dtx_model_del(m);
}

static bool stop_after(void *user)
{
    int *left = user;

    return (*left)-- == 0;
}

static void test_stop(void **state)
{
    static set a, b;
    dtx_model *m = NULL;
    int left = 20, whole = 0;
    (void)state;

    assert_int_equal(tiny(2, &m), DTX_OK);
    fill(&a);
    fill(&b);
    dtx_generate_options o = options(4);
    assert_int_equal(dtx_generate(m, &o, a.item, N), DTX_OK);
    o.stop = stop_after;
    o.user = &left;
    assert_int_equal(dtx_generate(m, &o, b.item, N), DTX_STOPPED);
    for (int i = 0; i < N; i++) { /* what is marked as done is complete */
        if (b.item[i].finish != DTX_FINISH_NONE) {
            assert_same(&a.item[i], &b.item[i]);
            whole++;
        }
    }
    assert_true(whole > 0 && whole < N);
    dtx_model_del(m);
}

static void test_memory_runs_out(void **state)
{
    static set a;
    dtx_model *m = NULL;
    dtx_generate_options o = options(4);
    (void)state;

    assert_int_equal(tiny(1, &m), DTX_OK);
    fill(&a);
    assert_int_equal(dtx_generate(m, &o, a.item, 4), DTX_OK); /* what the model keeps is there now */
    size_t before = dtx_mem_used();
    dtx_status st = DTX_ERR_MISSING;
    for (int n = 1; st != DTX_OK; n++) {
        dtx_mem_fail_at(n);
        st = dtx_generate(m, &o, a.item, 4);
        dtx_mem_fail_at(0);
        assert_true(st == DTX_OK || st == DTX_ERR_MISSING);
        assert_int_equal(dtx_mem_used(), before);
        assert_true(n < 1000);
    }
    dtx_model_del(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batch_and_order_do_not_matter), cmocka_unit_test(test_single_stream),
        cmocka_unit_test(test_against_plain_loop),
        cmocka_unit_test(test_edges), cmocka_unit_test(test_stop), cmocka_unit_test(test_memory_runs_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
