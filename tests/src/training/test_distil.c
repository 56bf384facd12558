/* The linear n-gram classifier against the optimality conditions of its dual, what a student reads, where its heads look at first,
 * and the loss's gradient by finite differences. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/training/distil.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "tests/src/model/model_variants.h"

enum { N = 60, LEN = 9, BOS = 0, EOS = 2, MASK = 4, FIRST_ID = 5, IDS = 12 };

static double draw(uint32_t key, uint32_t i)
{
    return dtx_rng_uniform(7, DTX_RNG_CHECK, key, 0, i);
}

/* Texts of 1 to LEN - 2 tokens; those of label k like the ids around 3 k; every seventh text is held out. */
static dtx_labelled texts(int64_t n_labels)
{
    dtx_labelled l = {.n = N, .n_labels = n_labels};

    l.label = dtx_calloc(N, sizeof *l.label);
    l.held = dtx_calloc(N, 1);
    l.offset = dtx_calloc(N + 1, sizeof *l.offset);
    l.id = dtx_calloc(N * LEN, sizeof *l.id);
    for (int i = 0; i < N; i++) {
        int32_t *id = l.id + l.offset[i];
        const int len = 1 + (int)(draw(1, (uint32_t)i) * (LEN - 2));
        l.label[i] = (int32_t)(i % n_labels);
        l.held[i] = i % 7 == 3;
        l.n_held += l.held[i];
        *id++ = BOS;
        for (int j = 0; j < len; j++) {
            const double u = draw(2, (uint32_t)(i * LEN + j)), v = draw(3, (uint32_t)(i * LEN + j));
            *id++ = FIRST_ID + (u < 0.5 ? (int)(v * IDS) : 3 * l.label[i] + (int)(v * 4));
        }
        *id++ = EOS;
        l.offset[i + 1] = id - l.id;
    }
    return l;
}

/* --- the teacher --- */

enum { MOST = 3 * LEN }; /* n-grams of a text */
typedef struct { int n; int32_t gram[MOST][3]; } grams; /* each once; unused places -1 */

static grams grams_of(const dtx_labelled *l, int text)
{
    grams g = {0};
    const int32_t *id = l->id + l->offset[text] + 1;
    const int n = (int)(l->offset[text + 1] - l->offset[text] - 2);

    for (int j = 0; j < n; j++) {
        for (int len = 1; len <= 3 && j + len <= n; len++) {
            int32_t gram[3] = {-1, -1, -1};
            int k = 0;
            memcpy(gram, id + j, (size_t)len * sizeof *gram);
            while (k < g.n && memcmp(g.gram[k], gram, sizeof gram) != 0) {
                k++;
            }
            if (k == g.n) {
                memcpy(g.gram[g.n++], gram, sizeof gram);
            }
        }
    }
    return g;
}

static bool holds(const grams *g, const int32_t *gram)
{
    for (int k = 0; k < g->n; k++) {
        if (memcmp(g->gram[k], gram, sizeof g->gram[k]) == 0) {
            return true;
        }
    }
    return false;
}

static double log_count_ratio(const dtx_labelled *l, const grams *all, const int32_t *gram, int label, double n_features)
{
    double p = 1, q = 1, P = n_features, Q = n_features;

    for (int i = 0; i < N; i++) {
        if (!l->held[i]) {
            *(l->label[i] == label ? &P : &Q) += all[i].n;
            *(l->label[i] == label ? &p : &q) += holds(&all[i], gram);
        }
    }
    return log(p / P / (q / Q));
}

/* At the optimum w = C sum_j y_j x_j / (1 + exp(y_j z_j)), so that the decision values z satisfy
 * z_i = C sum_j y_j <x_i, x_j> / (1 + exp(y_j z_j)): checked with inner products by plain loops. */
static void the_teacher_is_the_optimum(void **state)
{
    const double C = 0.7;

    (void)state;
    for (int64_t K = 2; K <= 3; K++) {
        dtx_labelled l = texts(K);
        grams *all = dtx_calloc(N, sizeof *all);
        dtx_ngrams *g;
        float score[3], share[3 * LEN];
        double z[N];
        int n_features = 0;
        for (int i = 0; i < N; i++) {
            all[i] = grams_of(&l, i);
            for (int k = 0; k < all[i].n && !l.held[i]; k++) {
                bool new = true;
                for (int j = 0; j < i && new; j++) {
                    new = l.held[j] || !holds(&all[j], all[i].gram[k]);
                }
                n_features += new;
            }
        }
        assert_int_equal(dtx_ngrams_fit(&l, C, &g), DTX_OK);
        assert_int_equal(dtx_ngrams_size(g), n_features);
        for (int label = K == 2; label < K; label++) {
            double largest = 0;
            for (int i = 0; i < N; i++) {
                dtx_ngrams_scores(g, l.id + l.offset[i] + 1, l.offset[i + 1] - l.offset[i] - 2, score, share);
                z[i] = K == 2 ? (double)score[1] - (double)score[0] : (double)score[label];
            }
            for (int i = 0; i < N; i++) {
                double want = 0;
                for (int j = 0; j < N; j++) {
                    const double y = l.label[j] == label ? 1 : -1;
                    double inner = 1;
                    for (int k = 0; k < all[j].n && !l.held[j]; k++) {
                        if (holds(&all[i], all[j].gram[k])) {
                            const double r = log_count_ratio(&l, all, all[j].gram[k], label, n_features);
                            inner += r * r;
                        }
                    }
                    want += l.held[j] ? 0 : C * y * inner / (1 + exp(y * z[j]));
                }
                largest = fmax(largest, fabs(z[i]));
                if (!(fabs(z[i] - want) < 0.02)) {
                    fail_msg("%d labels, label %d, text %d: decision value %g, the optimum has %g", (int)K, label, i, z[i], want);
                }
            }
            assert_true(largest > 1);
        }
        dtx_ngrams_del(g);
        dtx_free(all);
        dtx_labelled_free(&l);
    }
}

static void shares_and_the_constant_make_the_whole(void **state)
{
    static const int32_t id[5] = {6, 7, 4000, 8, 9}, twice[4] = {6, 7, 6, 7};
    dtx_labelled l = texts(2);
    dtx_ngrams *g;
    float none[2], whole[2], share[2 * 5], sum[2];

    (void)state;
    assert_int_equal(dtx_ngrams_fit(&l, 1, &g), DTX_OK);
    dtx_ngrams_scores(g, id, 0, none, share);
    dtx_ngrams_scores(g, id, 5, whole, share);
    assert_true(share[4] == 0 && share[5] == 0); /* an unknown id adds nothing */
    for (int k = 0; k < 2; k++) {
        sum[k] = none[k];
        for (int j = 0; j < 5; j++) {
            sum[k] += share[2 * j + k];
        }
        assert_true(fabsf(sum[k] - whole[k]) < 1e-5F);
    }
    /* a repeated n-gram has a share each time, but counts once; (7, 6) and what holds it are unknown or new */
    float once[2], again[2], parts[2 * 4];
    dtx_ngrams_scores(g, twice, 2, once, parts);
    dtx_ngrams_scores(g, twice, 4, again, parts);
    assert_true(parts[0] != 0);
    const float first = parts[1] + parts[3], later = parts[5] + parts[7];
    assert_true(fabsf(once[1] - none[1] - first) < 1e-5F);
    assert_true(fabsf(again[1] - once[1] - (later - first)) < 1e-5F || later == first);
    dtx_ngrams_del(g);
    dtx_labelled_free(&l);
}

/* --- the student --- */

static void what_a_student_reads(void **state)
{
    dtx_labelled l = texts(2);
    dtx_labelled_order order;
    int32_t a[LEN], b[LEN];
    int same = 0, masked = 0, total = 0;

    (void)state;
    assert_int_equal(dtx_labelled_order_init(&order, &l, 4, 1), DTX_OK);
    for (int64_t step = 0; step < 200; step++) {
        const dtx_labelled_noise noise = {0.2, 5, step};
        const int64_t text = order.train[step % order.n], len = l.offset[text + 1] - l.offset[text];
        const int64_t n = dtx_distil_text(&l, &order, text, &noise, LEN, a);
        assert_int_equal(dtx_distil_text(&l, &order, text, &noise, LEN, b), n);
        assert_memory_equal(a, b, (size_t)n * sizeof *a);
        assert_true(n >= 3 && n <= LEN && a[0] == BOS && a[n - 1] == EOS);
        for (int64_t j = 1; j < n - 1; j++) {
            assert_true(a[j] == MASK || (a[j] >= FIRST_ID && a[j] < FIRST_ID + IDS));
            masked += a[j] == MASK;
            total++;
        }
        same += n == len && memcmp(a, l.id + l.offset[text], (size_t)n * sizeof *a) == 0;
    }
    /* half are texts; of those 0.4, and what the masks miss, stand as they are */
    assert_true(same > 40 && same < 120);
    assert_true(masked > total / 20 && masked < total / 5); /* 0.6 x 0.2 */
    dtx_labelled_order_free(&order);
    dtx_labelled_free(&l);
}

static const float *weights(dtx_model *m, const char *name)
{
    for (int64_t i = 0; i < dtx_model_n_params(m); i++) {
        if (strcmp(dtx_model_param(m, i)->name, name) == 0) {
            return dtx_model_arena(m) + dtx_model_param(m, i)->offset;
        }
    }
    fail_msg("no %s", name);
    return NULL;
}

static void heads_look_at_neighbours_at_first(void **state)
{
    static const int distance[3] = {-1, 1, -2};
    enum { T = 20 };
    dtx_labelled l = texts(2);
    dtx_arch a;
    dtx_model *m;

    (void)state;
    assert_int_equal(dtx_labelled_arch(&l, "auto", 1, 128, 4, 64, T, &a), DTX_OK);
    assert_int_equal(dtx_model_new(&a, 3, &m), DTX_OK);
    assert_int_equal(dtx_distil_start(m, 3), DTX_OK);
    const float *position = weights(m, "roberta.embeddings.position_embeddings.weight"),
                *word = weights(m, "roberta.embeddings.word_embeddings.weight"),
                *q = weights(m, "roberta.encoder.layer.0.attention.self.query.weight"),
                *k = weights(m, "roberta.encoder.layer.0.attention.self.key.weight");
    for (int h = 0; h < 3; h++) {
        for (int i = 2; i < T - 2; i++) {
            double score[T], sum = 0;
            for (int j = 0; j < T; j++) {
                double norm[2] = {0, 0}, x[2][128];
                const int at[2] = {i, j};
                for (int s = 0; s < 2; s++) { /* a position with a word of its own, through the norm */
                    for (int c = 0; c < 128; c++) {
                        x[s][c] = (double)position[(2 + at[s]) * 128 + c] + (double)word[(10 + at[s]) * 128 + c];
                        norm[s] += x[s][c] * x[s][c] / 128;
                    }
                }
                score[j] = 0;
                for (int r = h * 32; r < (h + 1) * 32; r++) {
                    double y[2] = {0, 0};
                    for (int c = 0; c < 128; c++) {
                        y[0] += (double)q[r * 128 + c] * x[0][c] / sqrt(norm[0]);
                        y[1] += (double)k[r * 128 + c] * x[1][c] / sqrt(norm[1]);
                    }
                    score[j] += y[0] * y[1] / sqrt(32);
                }
                sum += exp(score[j]);
            }
            const double at = exp(score[i + distance[h]]) / sum;
            if (!(at > 0.6)) {
                fail_msg("head %d, token %d gives its neighbour a weight of %g", h, i, at);
            }
        }
    }
    dtx_model_del(m);
    dtx_labelled_free(&l);
}

static void the_gradient_is_the_loss_s(void **state)
{
    static const int64_t text[4] = {0, 2, 7, 11};
    const dtx_labelled_noise noise = {0.2, 5, 3};

    (void)state;
    for (int64_t K = 2; K <= 3; K++) {
        dtx_labelled l = texts(K);
        dtx_labelled_order order;
        dtx_ngrams *g;
        dtx_arch a;
        dtx_model *m;
        dtx_tape *t;
        double loss, sum = 0, one;
        assert_int_equal(dtx_labelled_order_init(&order, &l, 4, 1), DTX_OK);
        assert_int_equal(dtx_ngrams_fit(&l, 1, &g), DTX_OK);
        assert_int_equal(dtx_labelled_arch(&l, "auto", 2, 24, 4, 32, LEN, &a), DTX_OK);
        assert_int_equal(dtx_model_new(&a, 3, &m), DTX_OK);
        assert_int_equal(dtx_distil_start(m, 3), DTX_OK);
        variant_shake(m, 9);
        assert_int_equal(dtx_tape_new(m, false, &t), DTX_OK);
        const int64_t n = dtx_model_arena_size(m);
        float *grad = dtx_calloc((size_t)n, sizeof *grad), *w = dtx_model_arena(m);
        assert_int_equal(dtx_distil_loss(m, t, &l, &order, g, text, 4, &noise, 0.25F, &loss, grad), DTX_OK);
        for (int i = 0; i < 4; i++) { /* ragged: the texts one by one are the same */
            assert_int_equal(dtx_distil_loss(m, NULL, &l, &order, g, text + i, 1, &noise, 1, &one, NULL), DTX_OK);
            sum += one;
        }
        assert_true(fabs(sum - loss) < 1e-4 * fabs(loss));
        for (int64_t i = 0; i < dtx_model_n_params(m); i++) {
            const dtx_param *p = dtx_model_param(m, i);
            const double step = 2e-3, place[4] = {-2, -1, 1, 2}, weight[4] = {1, -8, 8, -1};
            double got = 0, want = 0, size = 0, norm = 0;
            float *u = dtx_calloc((size_t)p->n_elements, sizeof *u);
            for (int64_t j = 0; j < p->n_elements; j++) {
                u[j] = (float)dtx_rng_normal(7, DTX_RNG_CHECK, (uint64_t)i, 1, (uint32_t)j);
                norm += (double)u[j] * (double)u[j];
            }
            for (int64_t j = 0; j < p->n_elements; j++) {
                u[j] = (float)((double)u[j] / sqrt(norm));
                want += (double)u[j] * (double)grad[p->offset + j];
                size += (double)grad[p->offset + j] * (double)grad[p->offset + j];
            }
            for (int k = 0; k < 4; k++) {
                for (int64_t j = 0; j < p->n_elements; j++) {
                    w[p->offset + j] += (float)(place[k] * step) * u[j];
                }
                assert_int_equal(dtx_distil_loss(m, NULL, &l, &order, g, text, 4, &noise, 1, &loss, NULL), DTX_OK);
                got += weight[k] * 0.25 * loss;
                for (int64_t j = 0; j < p->n_elements; j++) {
                    w[p->offset + j] -= (float)(place[k] * step) * u[j];
                }
            }
            got /= 12 * step;
            if (!(fabs(got - want) <= 5e-3 * sqrt(size) + 2e-4)) {
                fail_msg("%d labels, %s: derivative %g, gradient %g (norm %g)", (int)K, p->name, got, want, sqrt(size));
            }
            dtx_free(u);
        }
        dtx_free(grad);
        dtx_tape_del(t);
        dtx_model_del(m);
        dtx_ngrams_del(g);
        dtx_labelled_order_free(&order);
        dtx_labelled_free(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_teacher_is_the_optimum),
        cmocka_unit_test(shares_and_the_constant_make_the_whole),
        cmocka_unit_test(what_a_student_reads),
        cmocka_unit_test(heads_look_at_neighbours_at_first),
        cmocka_unit_test(the_gradient_is_the_loss_s),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
