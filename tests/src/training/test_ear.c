/* Entropy-based attention regularisation: the entropy's value, and the gradient of the total objective against finite
 * differences, of adapters and of all parameters. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <omp.h>

#include "src/training/finetune.h"
#include "src/training/loss.h"
#include "src/base/mem.h"
#include "tests/src/model/model_variants.h"

#define OK(expr)                                                                                                       \
    do {                                                                                                               \
        if ((expr) != DTX_OK) {                                                                                        \
            fail_msg("%s: %s (%s)", #expr, dtx_error_text(), dtx_error_place());                                       \
        }                                                                                                              \
    } while (0)

/* The first sample is so long that its softmax weights are not kept for the backward pass. */
enum { N = 3, R = 62 };
static int64_t offset[N + 1] = {0, 52, 61, R};
static const int64_t all[N] = {0, 1, 2};
static int32_t id[R], label[R];
static const dtx_samples samples = {.n = N, .offset = offset, .id = id, .label = label};

static int make_samples(void **state)
{
    (void)state;
    for (int s = 0; s < N; s++) {
        for (int64_t i = offset[s]; i < offset[s + 1]; i++) {
            id[i] = (int32_t)((i * i + 3 * i) % VARIANT_VOCAB);
            label[i] = i + 1 == offset[s + 1] ? -1 : (int32_t)((i * 5 + 2) % VARIANT_VOCAB);
        }
    }
    return 0;
}

typedef struct {
    dtx_arch a;
    dtx_model *m;
    dtx_adapter *ad, *g;
    dtx_tape *tape;
} fixture;

static void set_up(fixture *f, int variant, bool recompute)
{
    const char *targets[DTX_MODULES];

    f->a = variant_arch(variant);
    OK(dtx_model_new(&f->a, 3, &f->m));
    variant_shake(f->m, 4);
    OK(dtx_adapter_new(&f->a, 3, 6, 0, targets, variant_targets(&f->a, ~0U, targets), 9, &f->ad));
    fill_normal(f->ad->arena, f->ad->n_params, 5, 0.2);
    OK(dtx_adapter_like(f->ad, &f->g));
    OK(dtx_tape_new(f->m, recompute, &f->tape));
}

static void tear_down(fixture *f)
{
    dtx_tape_del(f->tape);
    dtx_adapter_del(f->g);
    dtx_adapter_del(f->ad);
    dtx_model_del(f->m);
}

/* scale * loss - entropy * (sum of entropies); its gradient is added to f->g. */
static double objective(fixture *f, float scale, float entropy, double dropout)
{
    double loss;

    OK(dtx_samples_loss(f->m, f->ad, f->tape, &samples, all, N, scale, dropout, 42, 7, &loss,
                        &(dtx_wanted){.lora = f->g, .entropy = -entropy}));
    return (double)scale * loss - (double)entropy * dtx_tape_entropy(f->tape);
}

static void check_element(const char *what, int64_t i, double gradient, double difference)
{
    if (fabs(difference - gradient) > 1e-3 + 5e-3 * fabs(difference)) {
        fail_msg("%s, element %lld: gradient %g, finite difference %g", what, (long long)i, gradient, difference);
    }
}

static void adapters_gradient_is_the_finite_difference(void **state)
{
    (void)state;
    for (int v = 0; v < N_DECODERS; v++) {
        for (int mode = 0; mode < 3; mode++) { /* the entropy alone; with the loss; with dropout, recomputed */
            const float scale = mode == 0 ? 0.0F : 0.2F, entropy = 0.05F;
            const double dropout = mode == 2 ? 0.3 : 0;
            double largest = 0;
            fixture f;
            set_up(&f, v, mode == 2);
            objective(&f, scale, entropy, dropout);
            float *g = dtx_calloc((size_t)f.g->n_params, sizeof *g);
            memcpy(g, f.g->arena, (size_t)f.g->n_params * sizeof *g);
            for (int64_t i = 0; i < f.ad->n_params; i += 97) {
                const float had = f.ad->arena[i], up = had + 0x1p-8F, down = had - 0x1p-8F;
                f.ad->arena[i] = up;
                double d = objective(&f, scale, entropy, dropout);
                f.ad->arena[i] = down;
                d -= objective(&f, scale, entropy, dropout);
                f.ad->arena[i] = had;
                check_element(variant_name(v), i, (double)g[i], d / ((double)up - (double)down));
                largest = fmax(largest, fabs((double)g[i]));
            }
            assert_true(largest > 0.02); /* the tolerance says something */
            dtx_free(g);
            tear_down(&f);
        }
    }
}

static double lm_objective(const fixture *f, float scale, float entropy, float *grads)
{
    const dtx_wanted want = {.params = grads, .entropy = -entropy};
    double row[R], sum = 0;

    OK(dtx_lm_loss(f->m, NULL, f->tape, N, offset, id, label, scale, row, NULL, &want));
    for (int i = 0; i < R; i++) {
        sum += row[i];
    }
    return (double)scale * sum - (double)entropy * dtx_tape_entropy(f->tape);
}

static void parameters_gradient_is_the_finite_difference(void **state)
{
    (void)state;
    for (int v = 0; v < N_DECODERS; v++) {
        fixture f;
        set_up(&f, v, false);
        const int64_t n = dtx_model_arena_size(f.m);
        float *w = dtx_model_arena(f.m), *g = dtx_calloc((size_t)n, sizeof *g), *scratch = dtx_calloc((size_t)n, sizeof *g);
        double largest = 0;
        lm_objective(&f, 0.2F, 0.05F, g);
        for (int64_t i = 0; i < n; i += 397) {
            const float had = w[i], up = had + 0x1p-9F, down = had - 0x1p-9F;
            w[i] = up;
            double d = lm_objective(&f, 0.2F, 0.05F, scratch);
            w[i] = down;
            d -= lm_objective(&f, 0.2F, 0.05F, scratch);
            w[i] = had;
            check_element(variant_name(v), i, (double)g[i], d / ((double)up - (double)down));
            largest = fmax(largest, fabs((double)g[i]));
        }
        assert_true(largest > 0.05);
        dtx_free(scratch);
        dtx_free(g);
        tear_down(&f);
    }
}

/* Recomputation changes no bit, and neither does asking for the entropy without a weight. */
static void bits_stay(void **state)
{
    (void)state;
    for (int v = 0; v < N_DECODERS; v++) {
        fixture kept, again;
        set_up(&kept, v, false);
        set_up(&again, v, true);
        const size_t bytes = (size_t)kept.g->n_params * sizeof(float);
        assert_true(objective(&kept, 0.2F, 0.05F, 0.1) == objective(&again, 0.2F, 0.05F, 0.1));
        assert_memory_equal(kept.g->arena, again.g->arena, bytes);

        /* by hand, the entropy measured but without weight */
        float hidden[R * 24], d_hidden[R * 24];
        double row[R];
        const dtx_segment seg[N] = {{0, 0, 52}, {1, 0, 9}, {2, 0, 1}};
        memset(kept.g->arena, 0, bytes);
        memset(again.g->arena, 0, bytes);
        objective(&again, 0.2F, 0, 0);
        assert_true(dtx_tape_entropy(again.tape) == 0);
        OK(dtx_model_forward(kept.m, &(dtx_batch){.n_seq = N, .offset = offset, .ids = id, .adapter = kept.ad,
                                                  .tape = kept.tape, .entropy = true}, hidden));
        assert_true(dtx_tape_entropy(kept.tape) > 1);
        OK(dtx_head_loss(kept.m, R, hidden, label, 0.2F, row, d_hidden, NULL));
        OK(dtx_model_backward(kept.m, kept.tape, N, seg, d_hidden, &(dtx_wanted){.lora = kept.g}));
        assert_memory_equal(kept.g->arena, again.g->arena, bytes);

        /* single rows of a sequence are attribution's, which has no such term */
        float embeds[9 * 24];
        memset(d_hidden, 0, sizeof d_hidden);
        assert_int_equal(dtx_model_backward(kept.m, kept.tape, 1, &(dtx_segment){1, 8, 9}, d_hidden,
                                            &(dtx_wanted){.embeds = embeds, .entropy = 1}), DTX_ERR_CHECK);
        tear_down(&kept);
        tear_down(&again);
    }
}

/* Without queries all keys weigh the same: row i, which sees i + 1 keys, has entropy ln(i + 1). */
static void equal_weights_have_the_logarithm(void **state)
{
    fixture f;
    double want = 0, mean = 0;

    (void)state;
    set_up(&f, 0, false);
    float *w = dtx_model_arena(f.m);
    for (int64_t i = 0; i < dtx_model_n_params(f.m); i++) {
        const dtx_param *p = dtx_model_param(f.m, i);
        if (strstr(p->name, "query_key_value") != NULL) {
            memset(w + p->offset, 0, (size_t)p->n_elements * sizeof *w);
        }
    }
    memset(f.ad->arena, 0, (size_t)f.ad->n_params * sizeof *w);
    objective(&f, 0.2F, 0.05F, 0);
    for (int s = 0; s < N; s++) {
        for (int64_t i = 0; i < offset[s + 1] - offset[s]; i++) {
            want += (double)(f.a.n_layers * f.a.n_heads) * log((double)(i + 1));
        }
        mean += (double)dtx_samples_entropies(&f.a, &samples, s);
    }
    assert_true(fabs(dtx_tape_entropy(f.tape) - want) < 1e-6 * want);
    assert_int_equal((int)mean, (51 + 8 + 0) * 3 * 4);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adapters_gradient_is_the_finite_difference),
        cmocka_unit_test(parameters_gradient_is_the_finite_difference),
        cmocka_unit_test(bits_stay),
        cmocka_unit_test(equal_weights_have_the_logarithm),
    };

    omp_set_num_threads(1); /* thousands of tiny passes: threads would wait for each other longer than they compute */
    return cmocka_run_group_tests(tests, make_samples, NULL);
}
