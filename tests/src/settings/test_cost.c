/* Predicted operations against dtx_linear_flops() and predicted memory against dtx_mem_peak() of real passes, for every
 * architecture; and the published figures of the study's models. Each pass runs in a process of its own, as the peak of
 * a process never falls. */
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "src/attribution/attrib.h"
#include "src/settings/cost.h"
#include "src/answer/generate.h"
#include "src/training/loss.h"
#include "src/base/mem.h"
#include "tests/src/model/model_variants.h"

enum { N_SEQ = 3, ROWS = 47 };

static const int64_t offset[N_SEQ + 1] = {0, 18, 30, ROWS}, lens[N_SEQ] = {18, 12, 17};

typedef struct {
    double flops, bytes;
} counted;

typedef struct {
    dtx_model *m;
    dtx_adapter *adapter, *grads; /* NULL: full training */
    float *params;                /* arena of gradients for it */
    bool recompute;
    int64_t P, G, batch;
} run;

static void must(dtx_status st)
{
    if (st != DTX_OK) {
        print_error("%s\n", dtx_error_text());
        _exit(2);
    }
}

/* Runs `what` in a child and tells what it issued and allocated. */
static counted count(void (*what)(const run *), const run *r)
{
    counted c = {0};
    int fd[2], status = 0;

    assert_int_equal(pipe(fd), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        /* up to the peak that the parent has seen, so that what follows is a new one */
        void *ballast = dtx_malloc(dtx_mem_peak() - dtx_mem_used(), 1);
        double before = dtx_linear_flops();
        size_t used = dtx_mem_used();
        must(dtx_mem_check(ballast, 1, 1, "ballast"));
        what(r);
        c = (counted){dtx_linear_flops() - before, (double)dtx_mem_peak() - (double)used};
        _exit(write(fd[1], &c, sizeof c) == sizeof c ? 0 : 1);
    }
    close(fd[1]);
    assert_int_equal(read(fd[0], &c, sizeof c), sizeof c);
    close(fd[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    return c;
}

static void train(const run *r)
{
    const dtx_wanted want = {.lora = r->grads, .params = r->params};
    int32_t ids[ROWS], labels[ROWS];
    double loss[ROWS];
    dtx_tape *tape;

    for (int i = 0; i < ROWS; i++) {
        ids[i] = (i * 7 + 3) % VARIANT_VOCAB;
        labels[i] = i % 3 == 0 ? -1 : (i * 5) % VARIANT_VOCAB;
    }
    must(dtx_tape_new(r->m, r->recompute, &tape));
    must(dtx_lm_loss(r->m, r->adapter, tape, N_SEQ, offset, ids, labels, 1, loss, NULL, &want));
    must(dtx_lm_loss(r->m, r->adapter, tape, N_SEQ, offset, ids, labels, 1, loss, NULL, &want));
}

static void attribute(const run *r)
{
    const dtx_attrib_settings s = {.method = DTX_IXG, .norm = DTX_NORM_L2, .baseline = -1, .adapter = r->adapter};
    int32_t ids[64];
    dtx_attribution a;

    for (int i = 0; i < 64; i++) {
        ids[i] = (i * 7 + 3) % VARIANT_VOCAB;
    }
    must(dtx_attribute(r->m, &s, ids, r->P, r->G, NULL, NULL, &a));
}

static void generate(const run *r)
{
    int32_t ids[64] = {3, 5, 7}, tokens[16 * 32];
    dtx_generation items[16] = {{0}};
    const dtx_generate_options o = {.sampling = {.max_new_tokens = r->G, .min_new_tokens = r->G, .temperature = 1, .top_p = 1,
                                                 .eos = dtx_eos_of(0)}, .batch = r->batch, .seed = 3, .adapter = r->adapter};

    for (int i = 0; i < r->batch; i++) {
        items[i] = (dtx_generation){.prompt = ids, .prompt_len = r->P, .row = (uint64_t)i, .tokens = tokens + i * r->G};
    }
    must(dtx_generate(r->m, &o, items, r->batch));
}

static void near(double predicted, double seen, double tolerance, const char *what)
{
    if (!(fabs(predicted - seen) <= tolerance * seen)) {
        print_error("%s: predicted %.0f, seen %.0f (%.3f)\n", what, predicted, seen, predicted / seen);
    }
    assert_true(fabs(predicted - seen) <= tolerance * seen);
}

/* The decoders with wider layers, so that lists and padding to cache lines do not hide the rest. */
static void decoder(int v, unsigned kinds, run *r)
{
    dtx_arch a = variant_arch(v);
    const char *target[DTX_MODULES];

    a.head_dim *= 4;
    a.hidden *= 4;
    a.ffn *= 4;
    *r = (run){0};
    must(dtx_model_new(&a, 5, &r->m));
    if (kinds != 0) {
        must(dtx_adapter_new(&a, 4, 8, 0, target, variant_targets(&a, kinds, target), 1, &r->adapter));
    }
    if (r->adapter != NULL) {
        must(dtx_adapter_like(r->adapter, &r->grads));
    }
}

static void clear(run *r)
{
    dtx_adapter_del(r->adapter);
    dtx_adapter_del(r->grads);
    dtx_free(r->params);
    dtx_model_del(r->m);
}

static dtx_cost_work training_work(const dtx_arch *a)
{
    dtx_cost_work w = {0};
    int64_t labels[N_SEQ] = {0};

    for (int s = 0; s < N_SEQ; s++) {
        for (int64_t i = offset[s]; i < offset[s + 1]; i++) {
            labels[s] += i % 3 != 0;
        }
        dtx_cost_add(a, &w, lens[s], labels[s]);
    }
    return w;
}

static void test_lora(void **state)
{
    static const unsigned targets[] = {1U << DTX_MOD_Q, 1U << DTX_MOD_UP, 1U << DTX_MOD_DOWN, 1U << DTX_MOD_OUT, ~0U};
    (void)state;

    for (int v = 0; v < N_DECODERS; v++) {
        for (size_t t = 0; t < sizeof targets / sizeof *targets; t++) {
            for (int recompute = 0; recompute < 2; recompute++) {
                run r;
                decoder(v, targets[t], &r);
                r.recompute = recompute;
                const dtx_arch *a = dtx_model_arch(r.m);
                dtx_cost_work w = training_work(a);
                counted c = count(train, &r);
                /* two passes, of which the second one takes no more memory */
                near(2 * dtx_cost_lora(a, r.adapter, &w, recompute).linear, c.flops, 1e-12, variant_name(v));
                near(dtx_cost_train_bytes(a, r.adapter, N_SEQ, lens, false, recompute), c.bytes, 0.03, variant_name(v));
                clear(&r);
            }
        }
    }
}

static void test_full(void **state)
{
    (void)state;
    for (int v = 0; v < N_DECODERS; v++) {
        run r;
        decoder(v, 0, &r);
        const dtx_arch *a = dtx_model_arch(r.m);
        must(DTX_NEW(r.params, dtx_model_arena_size(r.m)));
        dtx_cost_work w = training_work(a);
        counted c = count(train, &r);
        near(2 * dtx_cost_full(a, &w).linear, c.flops, 1e-12, variant_name(v));
        near(dtx_cost_train_bytes(a, NULL, N_SEQ, lens, false, false), c.bytes, 0.03, variant_name(v));
        clear(&r);
    }
}

static void test_attribution(void **state)
{
    (void)state;
    for (int v = 0; v < N_DECODERS; v++) {
        for (int lora = 0; lora < 2; lora++) {
            run r;
            decoder(v, lora ? ~0U : 0, &r);
            r.P = 17;
            r.G = 29;
            const dtx_arch *a = dtx_model_arch(r.m);
            counted c = count(attribute, &r);
            near(dtx_cost_attribution(a, r.adapter, r.P, r.G, 1).linear, c.flops, 1e-12, variant_name(v));
            near(dtx_cost_attribution_bytes(a, r.adapter, r.P, r.G, 1, 0), c.bytes, 0.03, variant_name(v));
            clear(&r);
        }
    }
}

static void test_generation(void **state)
{
    (void)state;
    for (int v = 0; v < N_DECODERS; v++) {
        run r;
        decoder(v, 1U << DTX_MOD_Q, &r);
        r.P = 3;
        r.G = 20;
        r.batch = 6;
        const dtx_arch *a = dtx_model_arch(r.m);
        counted c = count(generate, &r);
        near(6 * dtx_cost_generation(a, r.adapter, r.P, r.G).linear, c.flops, 1e-12, variant_name(v));
        near(dtx_cost_generation_bytes(a, r.adapter, r.batch, r.P, r.G), c.bytes, 0.03, variant_name(v));
        clear(&r);
    }
}

/* RedPajama-INCITE 3B: 2,775,864,320 parameters; 28.05 TF to attribute 70 tokens after 45, and one forward pass of 0.59 TF
 * there; 10.6 GF for a token of LoRA training. */
static void test_study(void **state)
{
    dtx_arch a = {.model_type = "gpt_neox", .n_layers = 32, .hidden = 2560, .n_heads = 32, .head_dim = 80,
                  .ffn = 10240, .vocab = 50432, .n_kv = 32, .max_positions = 2048, .causal = true, .fused_qkv = true,
                  .linear_bias = true, .position = DTX_POS_ROTARY, .rotary_dims = 80, .rope = {{.base = 10000}},
                  .activation = DTX_ACT_GELU_ERF, .norm_eps = 1e-5F};
    dtx_flops f = dtx_cost_attribution(&a, NULL, 45, 70, 1);
    dtx_cost_work once = {0}, batch = {0};
    const char *target = "query_key_value";
    dtx_adapter *ad;

    (void)state;
    assert_true(fabs((dtx_flops_total(f) - f.spare) / 1e12 - 28.05) < 0.01);
    assert_true(f.spare > 0 && f.spare < 0.01 * f.linear);
    dtx_cost_add(&a, &once, 114, 70);
    assert_true(fabs(dtx_flops_total(dtx_cost_forward(&a, NULL, &once)) / 1e12 - 0.59) < 0.01);
    assert_true(fabs(dtx_cost_weight_bytes(&a, 2) - 2.0 * 2775864320.0) < 1);
    must(dtx_adapter_alloc(&a, 64, 32, 0.05, &target, 1, &ad));
    for (int i = 0; i < 4; i++) {
        dtx_cost_add(&a, &batch, 128, 128);
    }
    double token = dtx_flops_total(dtx_cost_lora(&a, ad, &batch, false)) / 512;
    assert_true(token > 10.5e9 && token < 11.2e9);
    assert_true(dtx_cost_lora(&a, ad, &batch, true).linear > 1.4 * dtx_cost_lora(&a, ad, &batch, false).linear);
    assert_true(dtx_cost_train_bytes(&a, ad, 1, (int64_t[]){512}, true, true)
                < 0.2 * dtx_cost_train_bytes(&a, ad, 1, (int64_t[]){512}, true, false));
    dtx_adapter_del(ad);
    assert_int_equal(dtx_cost_reduce_vectors(16, 1, true), 5);
    assert_int_equal(dtx_cost_reduce_vectors(16, 5, true), 3);
    assert_int_equal(dtx_cost_reduce_vectors(16, 16, true), 1);
    assert_int_equal(dtx_cost_reduce_vectors(16, 1, false), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lora), cmocka_unit_test(test_full),
                                       cmocka_unit_test(test_attribution), cmocka_unit_test(test_generation),
                                       cmocka_unit_test(test_study)};

    omp_set_num_threads(1); /* a process with other threads must not fork */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
