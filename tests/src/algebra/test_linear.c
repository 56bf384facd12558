/* The dense seam: every back end and instruction set against the plain reference, and the promise that a row's bits
 * depend on nothing but the row and the matrix. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "src/algebra/kernel.h"
#include "src/algebra/linear.h"
#include "src/algebra/linear_native.h"
#include "src/algebra/linear_pick.h"
#include "src/algebra/quant.h"
#include "src/base/mem.h"

/* Values in (-1, 1), the same for each seed. */
static void fill(float *x, int64_t n, uint32_t seed)
{
    uint32_t s = seed * 2654435761u + 12345u;

    for (int64_t i = 0; i < n; i++) {
        s = s * 1664525u + 1013904223u;
        x[i] = (float)((int32_t)(s >> 8) - 0x800000) / 8388608.0f;
    }
}

static float *new_floats(int64_t n, uint32_t seed)
{
    float *x = dtx_malloc((size_t)n + 1, sizeof *x);
    assert_non_null(x);
    fill(x, n, seed);
    return x;
}

/* A matrix of random weights; `shift` bytes in front of them, to try places that are not aligned. */
typedef struct {
    dtx_matrix m;
    unsigned char *memory;
} weights;

static weights new_weights(dtx_dtype t, int64_t N, int64_t K, uint32_t seed, size_t shift)
{
    weights w = {{NULL, t, N, K, NULL}, NULL};
    size_t size = dtx_dtype_size(t);
    float *x = new_floats(N * K, seed);

    w.memory = dtx_malloc((size_t)(N * K) * size + shift + 1, 1);
    assert_non_null(w.memory);
    w.m.w = w.memory + shift;
    for (int64_t i = 0; i < N * K; i++) {
        uint16_t h = t == DTX_BF16 ? dtx_f32_to_bf16(x[i]) : dtx_f32_to_f16(x[i]);
        memcpy(w.memory + shift + (size_t)i * size, t == DTX_F32 ? (const void *)&x[i] : &h, size);
    }
    dtx_free(x);
    return w;
}

/* Sums of `depth` products of values in (-1, 1): the rounding errors of f32 grow with the root of the depth, 5 standard
 * deviations of them and an ulp of the result are allowed. */
static void check_close(const float *a, const float *b, int64_t n, int64_t depth, const char *what)
{
    double tol = 5.0 * 6e-8 * sqrt((double)depth) * (1.0 + sqrt((double)depth) / 3.0) + 1e-6;

    for (int64_t i = 0; i < n; i++) {
        if (!(fabs((double)a[i] - b[i]) <= tol)) {
            fail_msg("%s: element %lld is %.9g, expected %.9g within %.2g", what, (long long)i, a[i], b[i], tol);
        }
    }
}

typedef struct {
    int64_t M, N, K;
} shape;

static const shape SHAPES[] = {{0, 5, 7},     {1, 1, 1},    {1, 33, 17},   {2, 16, 256},  {3, 31, 257},
                               {5, 64, 64},   {7, 48, 300}, {13, 100, 33}, {14, 32, 512}, {15, 257, 513},
                               {29, 130, 70}, {64, 96, 96}, {65, 40, 777}, {130, 70, 50}};
enum { N_SHAPES = sizeof SHAPES / sizeof *SHAPES };
static const dtx_dtype TYPES[] = {DTX_F32, DTX_F16, DTX_BF16};

/* All three products of one shape through the seam against the reference; leading dimensions beyond the widths. */
static void compare(const shape *s, dtx_dtype t, size_t shift)
{
    int64_t ldx = s->K + 3, ldy = s->N + 5, nx = s->M * ldx, ny = s->M * ldy;
    weights w = new_weights(t, s->N, s->K, 1, shift);
    float *x = new_floats(nx, 2), *dy = new_floats(ny, 3), *bias = new_floats(s->N, 4);
    float *y = new_floats(ny, 5), *y_ref = new_floats(ny, 5), *dx = new_floats(nx, 6), *dx_ref = new_floats(nx, 6);
    float *dw = new_floats(s->N * s->K, 7), *dw_ref = new_floats(s->N * s->K, 7);
    float *db = new_floats(s->N, 8), *db_ref = new_floats(s->N, 8);

    for (int with = 0; with < 4; with++) {
        const float *b = with & 1 ? bias : NULL;
        dtx_linear_forward(&w.m, b, s->M, x, ldx, y, ldy, with & 2);
        dtx_linear_forward_ref(&w.m, b, s->M, x, ldx, y_ref, ldy, with & 2);
        check_close(y, y_ref, ny, 3 * s->K, "forward");
        dtx_linear_backward_input(&w.m, s->M, dy, ldy, dx, ldx, with & 2);
        dtx_linear_backward_input_ref(&w.m, s->M, dy, ldy, dx_ref, ldx, with & 2);
        check_close(dx, dx_ref, nx, 3 * s->N, "backward_input");
    }
    dtx_linear_backward_weight(s->N, s->K, s->M, dy, ldy, x, ldx, dw, db);
    dtx_linear_backward_weight_ref(s->N, s->K, s->M, dy, ldy, x, ldx, dw_ref, db_ref);
    check_close(dw, dw_ref, s->N * s->K, s->M, "backward_weight");
    check_close(db, db_ref, s->N, s->M, "bias gradient");
    dtx_linear_backward_weight(s->N, s->K, s->M, dy, ldy, x, ldx, dw, NULL);

    void *all[] = {w.memory, x, dy, bias, y, y_ref, dx, dx_ref, dw, dw_ref, db, db_ref};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        dtx_free(all[i]);
    }
}

/* Blocks of random bits with small scales, rows in another order, and the same matrix in f32. */
typedef struct {
    dtx_matrix q, f32;
    int32_t *order;
    unsigned char *memory;
    float *wide;
} quantised;

static quantised new_quantised(dtx_dtype t, int64_t N, int64_t K, bool reordered, uint32_t seed)
{
    static const struct {
        dtx_dtype t;
        int at[2]; /* of the scales, -1 = none */
    } scales[] = {{DTX_Q8_0, {0, -1}},  {DTX_Q4_0, {0, -1}},   {DTX_Q4_1, {0, 2}}, {DTX_Q5_0, {0, -1}}, {DTX_Q5_1, {0, 2}}, {DTX_IQ4_NL, {0, -1}},
                  {DTX_Q2_K, {80, 82}}, {DTX_Q3_K, {108, -1}}, {DTX_Q4_K, {0, 2}}, {DTX_Q5_K, {0, 2}},  {DTX_Q6_K, {208, -1}}, {DTX_IQ4_XS, {0, -1}}};
    const int64_t bytes = dtx_dtype_bytes(t, K), block = (int64_t)dtx_dtype_block_bytes(t);
    quantised w = {{NULL, t, N, K, NULL}, {NULL, DTX_F32, N, K, NULL}, dtx_malloc((size_t)N, sizeof(int32_t)),
                   dtx_malloc((size_t)(N * bytes) + 1, 1), new_floats(N * K, 1)};
    uint32_t s = seed * 2654435761u + 12345u;

    assert_non_null(w.order);
    assert_non_null(w.memory);
    for (int64_t i = 0; i < N * bytes; i++) {
        s = s * 1664525u + 1013904223u;
        w.memory[1 + i] = (unsigned char)(s >> 24);
    }
    for (int64_t i = 0; t == DTX_BF16 && i < N * K; i++) {
        const uint16_t h = dtx_f32_to_bf16(w.wide[i]);
        memcpy(w.memory + 1 + 2 * i, &h, sizeof h);
    }
    for (size_t k = 0; k < sizeof scales / sizeof *scales; k++) {
        for (int64_t b = 0; scales[k].t == t && b < N * bytes / block; b++) {
            for (int j = 0; j < 2; j++) {
                const uint16_t h = dtx_f32_to_f16((j == 0 ? 1.0f : 0.5f) / (K > 32 && dtx_dtype_block(t) == 256 ? 2000.0f : 100.0f));
                if (scales[k].at[j] >= 0) {
                    memcpy(w.memory + 1 + b * block + scales[k].at[j], &h, sizeof h);
                }
            }
        }
    }
    for (int64_t r = 0; r < N; r++) {
        w.order[r] = (int32_t)(N - 1 - r);
    }
    w.q.w = w.memory + 1;
    w.q.order = reordered ? w.order : NULL;
    for (int64_t r = 0; r < N; r++) {
        dtx_quant_widen(t, dtx_matrix_at(&w.q, r, 0), K, w.wide + r * K);
    }
    w.f32.w = w.wide;
    return w;
}

static void free_quantised(quantised *w)
{
    dtx_free(w->order);
    dtx_free(w->memory);
    dtx_free(w->wide);
}

/* Quantised weights give the bits that the same values in f32 give: forward and turned, many rows and few, with both back ends,
 * on every instruction set, with any number of threads; a single row has sums of its own. */
static void quantised_products_are_those_of_their_values(void **state)
{
    const struct {
        int64_t M, N, K;
    } shapes[] = {{1, 40, 256}, {3, 33, 512}, {20, 300, 768}, {70, 512, 256}, {130, 96, 1280}};
    const char *isas[] = {"avx512", "avx2", "portable"};
    bool order = false;

    (void)state;
    for (int type = DTX_BF16; type <= (int)DTX_IQ4_XS; type = type == DTX_BF16 ? (int)DTX_Q8_0 : type + 1) {
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++, order = !order) {
            const int64_t M = shapes[i].M, N = shapes[i].N, K = shapes[i].K + (dtx_dtype_block((dtx_dtype)type) == 32 ? 32 : 0);
            quantised w = new_quantised((dtx_dtype)type, N, K, order, (uint32_t)type);
            float *x = new_floats(M * K, 2), *dy = new_floats(M * N, 3), *bias = new_floats(N, 4);
            float *y[2] = {new_floats(M * N, 5), new_floats(M * N, 5)}, *dx[2] = {new_floats(M * K, 6), new_floats(M * K, 6)};
            for (int way = 0; way < 8; way++) { /* native and OpenBLAS with 1 and 2 threads, reference; then the instruction sets */
                const dtx_gemm gemm = way < 2 ? DTX_GEMM_NATIVE : way < 4 ? DTX_GEMM_OPENBLAS : DTX_GEMM_REFERENCE;
                const dtx_native *isa = way >= 5 ? dtx_native_pick(isas[way - 5]) : NULL;
                assert_int_equal(dtx_linear_setup(gemm, 1 + way % 2), DTX_OK);
                if ((way == 4 && i > 1) || (way >= 5 && isa == NULL)) {
                    continue;
                }
                for (int k = 0; k < 2; k++) {
                    const dtx_matrix *m = k == 0 ? &w.q : &w.f32;
                    fill(y[k], M * N, 5);
                    fill(dx[k], M * K, 6);
                    if (isa != NULL) {
                        dtx_native_forward(isa, 1, m, bias, M, x, K, y[k], N, true);
                        dtx_native_backward_input(isa, 1, m, M, dy, N, dx[k], K, true);
                    } else {
                        dtx_linear_forward(m, bias, M, x, K, y[k], N, true);
                        dtx_linear_backward_input(m, M, dy, N, dx[k], K, true);
                    }
                }
                if (memcmp(y[0], y[1], (size_t)(M * N) * sizeof(float)) != 0 || memcmp(dx[0], dx[1], (size_t)(M * K) * sizeof(float)) != 0) {
                    fail_msg("%s, shape %d, way %d: %s differs", dtx_dtype_name((dtx_dtype)type), (int)i, way,
                             memcmp(y[0], y[1], (size_t)(M * N) * sizeof(float)) != 0 ? "forward" : "backward");
                }
            }
            for (int threads = 1; threads < 3; threads++) {
                assert_int_equal(dtx_linear_setup(DTX_GEMM_NATIVE, threads), DTX_OK);
                dtx_linear_vector(&w.q, bias, x, y[threads - 1], false);
            }
            assert_memory_equal(y[0], y[1], (size_t)N * sizeof(float));
            dtx_linear_forward_ref(&w.f32, bias, 1, x, K, y[1], N, false);
            check_close(y[0], y[1], N, 3 * K, "one row");
            dtx_embed(w.q.w, w.q.dtype, K, 1, &(int32_t){7}, dx[0]); /* rows as they are stored */
            assert_memory_equal(dx[0], w.wide + (order ? N - 8 : 7) * K, (size_t)K * sizeof(float));
            void *all[] = {x, dy, bias, y[0], y[1], dx[0], dx[1]};
            for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
                dtx_free(all[k]);
            }
            free_quantised(&w);
        }
    }
}

static void every_backend_agrees_with_the_reference(void **state)
{
    const dtx_gemm backends[] = {DTX_GEMM_REFERENCE, DTX_GEMM_OPENBLAS, DTX_GEMM_NATIVE};

    (void)state;
    for (size_t b = 0; b < 3; b++) {
        for (int threads = 1; threads <= 2; threads++) {
            assert_int_equal(dtx_linear_setup(backends[b], threads), DTX_OK);
            assert_int_equal(dtx_linear_backend(), backends[b]);
            assert_true(strlen(dtx_linear_describe()) > 0);
            for (size_t s = 0; s < N_SHAPES; s++) {
                for (size_t t = 0; t < 3; t++) {
                    compare(&SHAPES[s], TYPES[t], 0);
                }
            }
        }
    }
    assert_int_equal(dtx_linear_setup(DTX_GEMM_AUTO, 0), DTX_ERR_USAGE);
}

/* Operands that are bf16 already: only sums round. f16 weights are rounded to bf16 on the way. */
static void bf16_products_agree_with_the_reference(void **state)
{
    (void)state;
    assert_int_equal(dtx_linear_choose(DTX_GEMM_OPENBLAS, true, 1), DTX_ERR_USAGE);
    assert_int_equal(dtx_linear_setup(DTX_GEMM_NATIVE, 1), DTX_OK);
    assert_false(dtx_linear_is_bf16());
    if (!dtx_linear_has_bf16()) {
        assert_int_equal(dtx_linear_choose(DTX_GEMM_NATIVE, true, 1), DTX_ERR_USAGE);
        assert_int_equal(dtx_linear_threads(), 1);
        skip();
    }
    for (size_t s = 1; s < 2 * N_SHAPES; s++) {
        const shape *at = &SHAPES[s % N_SHAPES];
        const int64_t M = at->M, N = at->N, K = at->K + (s >= N_SHAPES ? 1030 : 0);
        for (size_t t = 1; t < 3; t++) {
            weights w = new_weights(TYPES[t], N, K, 31, s % 3), rounded = new_weights(DTX_BF16, N, K, 31, 0);
            float *x = new_floats(M * K, 32), *dy = new_floats(M * N, 33), *bias = new_floats(N, 34);
            float *y = new_floats(M * N, 35), *y_ref = new_floats(M * N, 35), *dx = new_floats(M * K, 36);
            float *dx_ref = new_floats(M * K, 36);
            for (int64_t i = 0; i < M * K; i++) {
                x[i] = dtx_bf16_to_f32(dtx_f32_to_bf16(x[i]));
            }
            for (int64_t i = 0; i < M * N; i++) {
                dy[i] = dtx_bf16_to_f32(dtx_f32_to_bf16(dy[i]));
            }
            for (int64_t i = 0; i < N * K && TYPES[t] == DTX_F16; i++) {
                uint16_t h;
                memcpy(&h, w.memory + s % 3 + 2 * i, sizeof h);
                h = dtx_f32_to_bf16(dtx_f16_to_f32(h));
                memcpy(rounded.memory + 2 * i, &h, sizeof h);
            }
            dtx_linear_forward_ref(&rounded.m, bias, M, x, K, y_ref, N, true);
            dtx_linear_backward_input_ref(&rounded.m, M, dy, N, dx_ref, K, false);
            for (int threads = 1; threads <= 2; threads++) {
                assert_int_equal(dtx_linear_choose(DTX_GEMM_NATIVE, true, threads), DTX_OK);
                fill(y, M * N, 35);
                dtx_linear_forward(&w.m, bias, M, x, K, y, N, true);
                dtx_linear_backward_input(&w.m, M, dy, N, dx, K, false);
                check_close(y, y_ref, M * N, 3 * K, "forward in bf16");
                check_close(dx, dx_ref, M * K, 3 * N, "backward_input in bf16");
            }
            void *all[] = {w.memory, rounded.memory, x, dy, bias, y, y_ref, dx, dx_ref};
            for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
                dtx_free(all[i]);
            }
        }
    }
}

/* One row through each instruction set's matrix-vector kernel: odd widths, weights at any byte, 1 and 2 threads. */
static void one_row_agrees_with_the_reference(void **state)
{
    const char *names[] = {"avx512", "avx2", "portable"};
    static const shape rows[] = {{1, 1, 1},    {1, 3, 5},     {1, 7, 16},   {1, 31, 33},   {1, 64, 63},   {1, 5, 64},
                                 {1, 9, 95},   {1, 300, 129}, {1, 257, 80}, {1, 33, 2561}, {1, 700, 1000}};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const dtx_native *isa = dtx_native_pick(names[i]);
        for (size_t s = 0; isa != NULL && s < sizeof rows / sizeof *rows; s++) {
            for (size_t t = 0; t < 3; t++) {
                const int64_t N = rows[s].N, K = rows[s].K;
                weights w = new_weights(TYPES[t], N, K, 21, s % 4);
                float *x = new_floats(K, 22), *bias = new_floats(N, 23);
                float *y = new_floats(N, 24), *y2 = new_floats(N, 24), *ref = new_floats(N, 24);
                for (int with = 0; with < 4; with++) {
                    const float *b = with & 1 ? bias : NULL;
                    dtx_linear_forward_ref(&w.m, b, 1, x, K, ref, N, with & 2);
                    dtx_native_vector(isa, 1, &w.m, b, x, y, with & 2);
                    dtx_native_vector(isa, 2, &w.m, b, x, y2, with & 2);
                    check_close(y, ref, N, 3 * K, names[i]);
                    assert_memory_equal(y, y2, (size_t)N * sizeof *y);
                }
                void *all[] = {w.memory, x, bias, y, y2, ref};
                for (size_t a = 0; a < sizeof all / sizeof *all; a++) {
                    dtx_free(all[a]);
                }
            }
        }
    }
}

/* Tensors of a mapped file may begin at any byte. */
static void weights_may_stand_at_any_byte(void **state)
{
    (void)state;
    assert_int_equal(dtx_linear_setup(DTX_GEMM_NATIVE, 1), DTX_OK);
    compare(&SHAPES[9], DTX_BF16, 1);
    compare(&SHAPES[9], DTX_F16, 3);
    compare(&SHAPES[9], DTX_F32, 1);
    assert_int_equal(dtx_linear_setup(DTX_GEMM_OPENBLAS, 1), DTX_OK);
    compare(&SHAPES[9], DTX_BF16, 1);
}

static void every_instruction_set_agrees_with_the_reference(void **state)
{
    const char *names[] = {"avx512", "avx2", "portable"};
    int tried = 0;

    (void)state;
    assert_null(dtx_native_pick("none"));
    for (size_t i = 0; i < 3; i++) {
        const dtx_native *isa = dtx_native_pick(names[i]);
        for (size_t s = 1; isa != NULL && s < N_SHAPES; s++) {
            for (size_t t = 0; t < 3; t++) {
                int64_t M = SHAPES[s].M, N = SHAPES[s].N, K = SHAPES[s].K;
                weights w = new_weights(TYPES[t], N, K, 1, 0);
                float *x = new_floats(M * K, 2), *dy = new_floats(M * N, 3), *bias = new_floats(N, 4);
                float *y = new_floats(M * N, 5), *dx = new_floats(M * K, 6), *dw = new_floats(N * K, 7);
                float *y_ref = new_floats(M * N, 5), *dx_ref = new_floats(M * K, 6), *dw_ref = new_floats(N * K, 7);

                dtx_native_forward(isa, 1, &w.m, bias, M, x, K, y, N, false);
                dtx_linear_forward_ref(&w.m, bias, M, x, K, y_ref, N, false);
                check_close(y, y_ref, M * N, K, names[i]);
                dtx_native_backward_input(isa, 1, &w.m, M, dy, N, dx, K, true);
                dtx_linear_backward_input_ref(&w.m, M, dy, N, dx_ref, K, true);
                check_close(dx, dx_ref, M * K, N, names[i]);
                dtx_native_backward_weight(isa, 1, N, K, M, dy, N, x, K, dw);
                dtx_linear_backward_weight_ref(N, K, M, dy, N, x, K, dw_ref, NULL);
                check_close(dw, dw_ref, N * K, M, names[i]);

                void *all[] = {w.memory, x, dy, bias, y, dx, dw, y_ref, dx_ref, dw_ref};
                for (size_t a = 0; a < sizeof all / sizeof *all; a++) {
                    dtx_free(all[a]);
                }
                tried++;
            }
        }
    }
    assert_true(tried >= (int)(3 * (N_SHAPES - 1)));
}

static void set_up(dtx_gemm gemm, int threads, bool bf16)
{
    assert_int_equal(dtx_linear_choose(gemm, bf16, threads), DTX_OK);
}

/* Rows 0..129 in one call give the bits; then every M, the rows beginning at other places, on 1 and 2 threads, added to
 * what stands there for every third M. */
static void rows_do_not_depend_on_their_neighbours(dtx_gemm gemm, bool bf16, dtx_dtype t, int64_t N, int64_t K, int64_t step)
{
    enum { ROWS = 130 };
    weights w = new_weights(t, N, K, 11, 0);
    float *x = new_floats(ROWS * K, 12), *dy = new_floats(ROWS * N, 13), *bias = new_floats(N, 14);
    float *y = new_floats(ROWS * N, 0), *twice = new_floats(ROWS * N, 0), *dx = new_floats(ROWS * K, 0);
    float *y1 = new_floats(ROWS * N, 0), *dx1 = new_floats(ROWS * K, 0);

    set_up(gemm, 1, bf16);
    dtx_linear_forward(&w.m, bias, ROWS, x, K, y, N, false);
    memcpy(twice, y, sizeof *y * (size_t)(ROWS * N));
    dtx_linear_forward(&w.m, bias, ROWS, x, K, twice, N, true);
    dtx_linear_backward_input(&w.m, ROWS, dy, N, dx, K, false);
    for (int threads = 1; threads <= 2; threads++) {
        set_up(gemm, threads, bf16);
        for (int64_t M = 1; M <= ROWS; M += step) {
            int64_t r = (M * 37) % (ROWS - M + 1);
            dtx_linear_forward(&w.m, bias, M, x + r * K, K, y1, N, false);
            assert_memory_equal(y1, y + r * N, (size_t)(M * N) * sizeof *y);
            if (M % 3 == 1) {
                dtx_linear_forward(&w.m, bias, M, x + r * K, K, y1, N, true);
                assert_memory_equal(y1, twice + r * N, (size_t)(M * N) * sizeof *y);
            }
            dtx_linear_backward_input(&w.m, M, dy + r * N, N, dx1, K, false);
            assert_memory_equal(dx1, dx + r * K, (size_t)(M * K) * sizeof *dx);
        }
    }

    void *all[] = {w.memory, x, dy, bias, y, twice, dx, y1, dx1};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        dtx_free(all[i]);
    }
}

static void native_rows_do_not_depend_on_their_neighbours(void **state)
{
    (void)state;
    rows_do_not_depend_on_their_neighbours(DTX_GEMM_NATIVE, false, DTX_BF16, 200, 600, 1);
    rows_do_not_depend_on_their_neighbours(DTX_GEMM_NATIVE, false, DTX_F16, 113, 600, 7);
    rows_do_not_depend_on_their_neighbours(DTX_GEMM_NATIVE, false, DTX_F32, 230, 520, 7);
    rows_do_not_depend_on_their_neighbours(DTX_GEMM_NATIVE, false, DTX_BF16, 2560, 700, 43);
    if (dtx_linear_has_bf16()) {
        rows_do_not_depend_on_their_neighbours(DTX_GEMM_NATIVE, true, DTX_BF16, 200, 1030, 3);
        rows_do_not_depend_on_their_neighbours(DTX_GEMM_NATIVE, true, DTX_F16, 113, 1030, 7);
        rows_do_not_depend_on_their_neighbours(DTX_GEMM_NATIVE, true, DTX_BF16, 1100, 700, 43);
    }
}

static void openblas_rows_do_not_depend_on_their_neighbours(void **state)
{
    (void)state;
    rows_do_not_depend_on_their_neighbours(DTX_GEMM_OPENBLAS, false, DTX_BF16, 200, 600, 1);
    rows_do_not_depend_on_their_neighbours(DTX_GEMM_OPENBLAS, false, DTX_BF16, 1100, 700, 43);
}

/* More rows than a chunk, deeper than the packing buffer holds, from inside a parallel region: other cuts, equal bits. */
static void other_cuts_give_equal_bits(void **state)
{
    enum { M = 900, N = 96, K = 9000 };
    weights w = new_weights(DTX_F16, N, K, 21, 0);
    float *x = new_floats((int64_t)M * K, 22), *y = new_floats(M * N, 0), *y1 = new_floats(M * N, 0);
    float *dw = new_floats(N * K, 23), *dw1 = new_floats(N * K, 23);

    (void)state;
    assert_int_equal(dtx_linear_setup(DTX_GEMM_NATIVE, 2), DTX_OK);
    dtx_linear_forward(&w.m, NULL, M, x, K, y, N, false);
    dtx_linear_backward_weight(N, K, M, y, N, x, K, dw, NULL);
#pragma omp parallel for num_threads(2)
    for (int64_t r = 0; r < M; r += 150) {
        dtx_linear_forward(&w.m, NULL, 150, x + r * K, K, y1 + r * N, N, false);
    }
    assert_memory_equal(y1, y, sizeof(float) * M * N);
    assert_int_equal(dtx_linear_setup(DTX_GEMM_NATIVE, 1), DTX_OK);
    dtx_linear_backward_weight(N, K, M, y, N, x, K, dw1, NULL);
    assert_memory_equal(dw1, dw, sizeof(float) * N * K);

    void *all[] = {w.memory, x, y, y1, dw, dw1};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        dtx_free(all[i]);
    }
}

/* The study's matrices, against the reference on some columns (a whole row of the reference takes minutes there). */
static void check_real_shape(dtx_gemm gemm, int64_t N, int64_t K)
{
    enum { M = 3, LINES = 5 };
    weights w = {{NULL, DTX_BF16, N, K, NULL}, NULL};
    float *x = new_floats(M * K, 32), *dy = new_floats(M * N, 33);
    float *y = new_floats(M * N, 0), *dx = new_floats(M * K, 0);
    uint16_t *h;

    w.memory = dtx_malloc((size_t)(N * K), 2);
    assert_non_null(w.memory);
    w.m.w = h = (uint16_t *)(void *)w.memory;
    for (int64_t i = 0; i < N * K; i++) { /* cheap: both signs, |w| in [1/128, 1/64) */
        uint32_t s = (uint32_t)i * 2654435761u;
        h[i] = (uint16_t)(0x3C00u | (s >> 25) | (s >> 9 & 1u) << 15);
    }
    assert_int_equal(dtx_linear_setup(gemm, 2), DTX_OK);
    dtx_linear_forward(&w.m, NULL, M, x, K, y, N, false);
    dtx_linear_backward_input(&w.m, M, dy, N, dx, K, false);
    for (int64_t l = 0; l < LINES; l++) {
        int64_t n = l * (N - 1) / (LINES - 1), k = l * (K - 1) / (LINES - 1);
        dtx_matrix one = {h + n * K, DTX_BF16, 1, K, NULL};
        for (int64_t m = 0; m < M; m++) {
            float expected;
            dtx_linear_forward_ref(&one, NULL, 1, x + m * K, K, &expected, 1, false);
            check_close(&y[m * N + n], &expected, 1, K / 16, "real shape, forward");
            double sum = 0.0;
            for (int64_t i = 0; i < N; i++) {
                sum += (double)dy[m * N + i] * dtx_bf16_to_f32(h[i * K + k]);
            }
            expected = (float)sum;
            check_close(&dx[m * K + k], &expected, 1, N / 16, "real shape, backward_input");
        }
    }
    dtx_free(w.memory);
    dtx_free(x);
    dtx_free(dy);
    dtx_free(y);
    dtx_free(dx);
}

static void real_shapes_agree_with_the_reference(void **state)
{
    /* RedPajama 3B: fused projection, dense, both MLP matrices, head; Falcon 7B the same with one key/value head */
    const shape real[] = {{0, 7680, 2560},  {0, 2560, 2560},  {0, 10240, 2560}, {0, 2560, 10240},  {0, 50432, 2560},
                          {0, 4672, 4544},  {0, 4544, 4544},  {0, 18176, 4544}, {0, 4544, 18176},  {0, 65024, 4544}};

    (void)state;
    for (size_t i = 0; i < sizeof real / sizeof *real; i++) {
        check_real_shape(DTX_GEMM_NATIVE, real[i].N, real[i].K);
        if (i != 4 && i != 9) { /* padding 3 rows to 64 costs seconds at the heads */
            check_real_shape(DTX_GEMM_OPENBLAS, real[i].N, real[i].K);
        }
    }
}

static void sixteen_bit_values_convert_exactly(void **state)
{
    float wide[4];
    double d[2] = {0.1, -3.5};
    unsigned char bytes[9];

    (void)state;
    for (uint32_t h = 0; h < 0x10000; h++) { /* every f16: widened by value, narrowed back to itself */
        float f = dtx_f16_to_f32((uint16_t)h);
        int e = (int)(h >> 10 & 31u), m = (int)(h & 1023u);
        double v = e == 31 ? (m != 0 ? NAN : INFINITY) : e == 0 ? ldexp(m, -24) : ldexp(1024 + m, e - 25);
        if (isnan(v)) {
            assert_true(isnan(f));
            continue;
        }
        assert_true(f == (float)(h & 0x8000u ? -v : v));
        assert_int_equal(dtx_f32_to_f16(f), h);
        uint16_t in = (uint16_t)h;
        dtx_widen(DTX_F16, &in, 1, wide);
        assert_memory_equal(wide, &f, sizeof f);
    }
    /* halfway goes to even, above 65520 to infinity, NaN stays */
    assert_int_equal(dtx_f32_to_f16(1.0f + 0x1p-11f), 0x3C00);
    assert_int_equal(dtx_f32_to_f16(1.0f + 3 * 0x1p-11f), 0x3C02);
    assert_int_equal(dtx_f32_to_f16(0x1p-25f), 0);
    assert_int_equal(dtx_f32_to_f16(0x1.8p-24f), 2);
    assert_int_equal(dtx_f32_to_f16(65519.0f), 0x7BFF);
    assert_int_equal(dtx_f32_to_f16(-65520.0f), 0xFC00);
    assert_true((dtx_f32_to_f16(NAN) & 0x7FFF) > 0x7C00);
    assert_int_equal(dtx_f32_to_bf16(1.0f + 0x1p-8f), 0x3F80);
    assert_int_equal(dtx_f32_to_bf16(1.0f + 3 * 0x1p-8f), 0x3F82);
    assert_true((dtx_f32_to_bf16(NAN) & 0x7FFF) > 0x7F80);

    dtx_widen(DTX_F64, d, 2, wide);
    assert_true(wide[0] == 0.1f && wide[1] == -3.5f);
    memcpy(bytes + 1, (uint16_t[]){0x3F80, 0xC000}, 4);
    dtx_widen(DTX_BF16, bytes + 1, 2, wide);
    assert_true(wide[0] == 1.0f && wide[1] == -2.0f);
    memcpy(bytes + 1, d, 8);
    dtx_widen(DTX_F64, bytes + 1, 1, wide);
    assert_true(wide[0] == 0.1f);
    assert_int_equal(dtx_dtype_size(DTX_BF16), 2);
    assert_string_equal(dtx_dtype_name(DTX_BF16), "BF16");
}

static void flops_are_counted(void **state)
{
    float w[6] = {1, 2, 3, 4, 5, 6}, x[3] = {1, 1, 1}, y[2];
    dtx_matrix m = {w, DTX_F32, 2, 3, NULL};
    double had = dtx_linear_flops();

    (void)state;
    assert_int_equal(dtx_linear_setup(DTX_GEMM_AUTO, 1), DTX_OK);
    dtx_linear_forward(&m, NULL, 1, x, 3, y, 2, false);
    assert_true(y[0] == 6.0f && y[1] == 15.0f);
    assert_true(dtx_linear_flops() - had == 12.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sixteen_bit_values_convert_exactly),
        cmocka_unit_test(flops_are_counted),
        cmocka_unit_test(every_backend_agrees_with_the_reference),
        cmocka_unit_test(quantised_products_are_those_of_their_values),
        cmocka_unit_test(every_instruction_set_agrees_with_the_reference),
        cmocka_unit_test(weights_may_stand_at_any_byte),
        cmocka_unit_test(native_rows_do_not_depend_on_their_neighbours),
        cmocka_unit_test(openblas_rows_do_not_depend_on_their_neighbours),
        cmocka_unit_test(bf16_products_agree_with_the_reference),
        cmocka_unit_test(one_row_agrees_with_the_reference),
        cmocka_unit_test(other_cuts_give_equal_bits),
        cmocka_unit_test(real_shapes_agree_with_the_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
