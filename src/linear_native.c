/* linear_native.c - the default back end: packed panels and a register tile (linear_micro.h).
 *
 * Every product of the seam is C (M, N) = A (M, K) B (K, N) here:
 *   forward          A = x,    B = W^T: stored column by column, turned while it is packed
 *   backward_input   A = dy,   B = W (K is n_out, N is n_in)
 *   backward_weight  A = dy^T, B = x, C = dw
 * An element of C is the sum over blocks of DTX_NATIVE_KC values of k, in order, of one chain of multiply-adds each.
 * That order does not know of tiles, panels or threads, which is the whole argument for equal bits: tiles may be cut
 * as speed wants them. A is packed once into a shared buffer; B is widened and packed tile by tile by the thread that
 * needs it. */
#include "src/linear_native.h"

#include <omp.h>
#include <stdatomic.h>

#include "src/simd.h"

enum { KC = DTX_NATIVE_KC, LDA = DTX_NATIVE_LDA, NC = DTX_NATIVE_NC };
enum {
    SHARED_ROWS = 24576,   /* rows of LDA floats in the shared buffer: 26.7 MB of address space */
    PRIVATE_ROWS = 128,    /* and in a thread's own one, for calls while the shared one is taken */
    CHUNK = 768,           /* most rows of A at a time */
    PART = 16              /* rows that one task packs */
};
static const double SERIAL_FLOPS = 1e6; /* below this, waking threads costs more than they save */

typedef struct {
    const dtx_native *isa;
    int64_t M, N, K;
    const float *a;        /* A[i][k] at a[i * lda + k], or a[k * lda + i] when a_turned */
    int64_t lda;
    bool a_turned;
    const void *b;         /* B[k][j] at b[k * ldb + j], or b[j * ldb + k] when b_turned */
    int64_t ldb;
    dtx_dtype b_type;
    bool b_turned;
    float *c;
    int64_t ldc;
    const float *bias;     /* N, or NULL */
    bool accumulate;
} product;

static float shared_buffer[(size_t)SHARED_ROWS * LDA] __attribute__((aligned(64)));
static atomic_flag shared_taken = ATOMIC_FLAG_INIT;
static _Thread_local float private_buffer[PRIVATE_ROWS * LDA] __attribute__((aligned(64)));
static _Thread_local float b_buffer[KC * NC] __attribute__((aligned(64)));

const dtx_native *dtx_native_pick(const char *isa)
{
    const dtx_native *all[] = {dtx_native_avx512(), dtx_native_avx2(), dtx_native_portable()};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (all[i] != NULL && (isa == NULL || strcmp(isa, all[i]->name) == 0)) {
            return all[i];
        }
    }
    return NULL;
}

static inline int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* Rows i0 .. i0 + rows - 1 and one block of A: packed row i of block kb stands at (kb * chunk + i) * LDA. */
static void pack_a(const product *p, int64_t i0, int64_t rows, int64_t k0, int64_t kc, float *out)
{
    if (p->a_turned) {
        p->isa->transpose(DTX_F32, p->a + k0 * p->lda + i0, p->lda, kc, rows, out, LDA);
    } else {
        p->isa->copy(DTX_F32, p->a + i0 * p->lda + k0, p->lda, rows, kc, out, LDA);
    }
}

/* Block (kc, nc) of B at (k0, j0) as panels of nr columns, each (kc, nr); columns past the end are zero. */
static void pack_b(const product *p, int64_t k0, int64_t kc, int64_t j0, int64_t nc)
{
    int64_t nr = p->isa->nr;
    const char *b = p->b;
    int64_t size = p->b_type == DTX_F32 ? 4 : 2;

    for (int64_t j = 0; j < nc; j += nr) {
        float *out = b_buffer + j * kc;
        int64_t cols = min64(nr, nc - j);
        if (cols < nr) {
            memset(out, 0, (size_t)(kc * nr) * sizeof *out);
        }
        if (!p->b_turned) {
            p->isa->copy(p->b_type, b + (k0 * p->ldb + j0 + j) * size, p->ldb, kc, cols, out, nr);
        } else if (nr % 16 == 0) {
            p->isa->transpose(p->b_type, b + ((j0 + j) * p->ldb + k0) * size, p->ldb, cols, kc, out, nr);
        } else { /* a panel narrower than what transpose rounds up to */
            float wide[16 * KC];
            p->isa->transpose(p->b_type, b + ((j0 + j) * p->ldb + k0) * size, p->ldb, cols, kc, wide, 16);
            for (int64_t k = 0; k < kc; k++) {
                memcpy(out + k * nr, wide + k * 16, (size_t)nr * sizeof *out);
            }
        }
    }
}

/* Columns j0 .. j0 + nc - 1 of rows i0 .. i1 - 1 of the chunk whose packed A begins at row m0. */
static void run_tile(const product *p, const float *packed, int64_t chunk, int64_t m0, int64_t i0, int64_t i1,
                     int64_t j0, int64_t nc, int64_t k0, int64_t k1)
{
    int64_t nr = p->isa->nr, rows = i1 - i0, panels = ceil_div(rows, p->isa->mr);
    float bias[NC];

    if (p->bias != NULL) {
        memset(bias, 0, sizeof bias);
        memcpy(bias, p->bias + j0, (size_t)nc * sizeof *bias);
    }
    for (int64_t k = k0; k < k1; k += KC) {
        int64_t kc = min64(KC, k1 - k);
        const float *a = packed + ((k - k0) / KC * chunk + i0) * LDA;
        pack_b(p, k, kc, j0, nc);
        for (int64_t q = 0; q < panels; q++) { /* panels of nearly equal height */
            int64_t r0 = q * rows / panels, r1 = (q + 1) * rows / panels;
            float *c = p->c + (m0 + i0 + r0) * p->ldc + j0;
            for (int64_t j = 0; j < nc; j += nr) {
                p->isa->kernel((int)(r1 - r0), (int)min64(nr, nc - j), kc, a + r0 * LDA, b_buffer + j * kc, c + j,
                               p->ldc, k == 0 && p->bias != NULL ? bias + j : NULL, k > 0 || p->accumulate);
            }
        }
    }
}

/* One chunk of rows and one range of k: A is packed in `blocks` x `parts` pieces, then C computed in `across` x `down`
 * tiles of nc columns. */
typedef struct {
    const product *p;
    float *packed;
    int64_t m0, rows, k0, k1;
    int64_t parts, across, down, nc;
} chunk_work;

static void pack_task(const chunk_work *c, int64_t t)
{
    int64_t kb = t / c->parts, i = t % c->parts * PART, k = c->k0 + kb * KC;

    pack_a(c->p, c->m0 + i, min64(PART, c->rows - i), k, min64(KC, c->k1 - k), c->packed + (kb * c->rows + i) * LDA);
}

static void tile_task(const chunk_work *c, int64_t t)
{
    int64_t j0 = t / c->down * c->nc, d = t % c->down;

    run_tile(c->p, c->packed, c->rows, c->m0, d * c->rows / c->down, (d + 1) * c->rows / c->down, j0,
             min64(c->nc, c->p->N - j0), c->k0, c->k1);
}

static void run_chunk(const product *p, int threads, float *packed, int64_t m0, int64_t rows, int64_t k0, int64_t k1)
{
    int64_t nr = p->isa->nr, want = threads == 1 ? 1 : 4 * (int64_t)threads;
    chunk_work c = {.p = p, .packed = packed, .m0 = m0, .rows = rows, .k0 = k0, .k1 = k1};

    c.nc = min64(ceil_div(ceil_div(p->N, want), nr) * nr, NC);
    c.nc = threads > 1 && c.nc < 2 * nr ? 2 * nr : c.nc;
    c.across = ceil_div(p->N, c.nc);
    c.down = min64(ceil_div(want, c.across), rows / 64);
    c.down = c.down < 1 ? 1 : c.down;
    c.parts = ceil_div(rows, PART);
    int64_t n_pack = ceil_div(k1 - k0, KC) * c.parts, n_tile = c.across * c.down;
    if (threads == 1) { /* without a parallel region, whose cost small products would feel */
        for (int64_t t = 0; t < n_pack; t++) {
            pack_task(&c, t);
        }
        for (int64_t t = 0; t < n_tile; t++) {
            tile_task(&c, t);
        }
        return;
    }
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(static)
        for (int64_t t = 0; t < n_pack; t++) {
            pack_task(&c, t);
        }
#pragma omp for schedule(dynamic)
        for (int64_t t = 0; t < n_tile; t++) {
            tile_task(&c, t);
        }
    }
}

static void run(const product *p, int threads)
{
    if (p->M <= 0 || p->N <= 0) {
        return;
    }
    double flops = 2.0 * (double)p->M * (double)p->N * (double)p->K;
    bool shared = flops >= SERIAL_FLOPS && !omp_in_parallel() && !atomic_flag_test_and_set(&shared_taken);
    float *packed = shared ? shared_buffer : private_buffer;
    int64_t room = shared ? SHARED_ROWS : PRIVATE_ROWS;
    int64_t chunk = min64(p->M, shared ? CHUNK : PRIVATE_ROWS);
    int64_t depth = room / chunk * KC;

    threads = shared ? threads : 1;
    chunk = ceil_div(p->M, ceil_div(p->M, chunk)); /* chunks of equal height */
    for (int64_t m = 0; m < p->M; m += chunk) {
        for (int64_t k = 0; k < p->K; k += depth) {
            run_chunk(p, threads, packed, m, min64(chunk, p->M - m), k, min64(k + depth, p->K));
        }
    }
    if (shared) {
        atomic_flag_clear(&shared_taken);
    }
}

void dtx_native_product(const dtx_native *isa, int64_t M, int64_t N, int64_t K, const float *a, int64_t lda,
                        bool a_turned, const float *b, int64_t ldb, bool b_turned, float *c, int64_t ldc,
                        bool accumulate)
{
    product p = {.isa = isa, .M = M, .N = N, .K = K, .a = a, .lda = lda, .a_turned = a_turned, .b = b, .ldb = ldb,
                 .b_type = DTX_F32, .b_turned = b_turned, .c = c, .ldc = ldc, .accumulate = accumulate};
    run(&p, 1);
}

void dtx_native_forward(const dtx_native *isa, int threads, const dtx_matrix *w, const float *bias, int64_t M,
                        const float *x, int64_t ldx, float *y, int64_t ldy, bool accumulate)
{
    product p = {.isa = isa, .M = M, .N = w->n_out, .K = w->n_in, .a = x, .lda = ldx, .b = w->w, .ldb = w->n_in,
                 .b_type = w->dtype, .b_turned = true, .c = y, .ldc = ldy, .bias = bias, .accumulate = accumulate};
    run(&p, threads);
}

void dtx_native_backward_input(const dtx_native *isa, int threads, const dtx_matrix *w, int64_t M, const float *dy,
                               int64_t lddy, float *dx, int64_t lddx, bool accumulate)
{
    product p = {.isa = isa, .M = M, .N = w->n_in, .K = w->n_out, .a = dy, .lda = lddy, .b = w->w, .ldb = w->n_in,
                 .b_type = w->dtype, .c = dx, .ldc = lddx, .accumulate = accumulate};
    run(&p, threads);
}

void dtx_native_backward_weight(const dtx_native *isa, int threads, int64_t N, int64_t K, int64_t M, const float *dy,
                                int64_t lddy, const float *x, int64_t ldx, float *dw)
{
    product p = {.isa = isa, .M = N, .N = K, .K = M, .a = dy, .lda = lddy, .a_turned = true, .b = x, .ldb = ldx,
                 .b_type = DTX_F32, .c = dw, .ldc = K, .accumulate = true};
    run(&p, threads);
}
