/* linear_vector.c - one row through a matrix, for single-stream decoding: bound by reading W, so it goes over W once, row
 * after row, with exact f32 activations. Threads take blocks of rows. */
#include "src/algebra/linear_native.h"
#include "src/algebra/quant.h"
#include "src/algebra/vmath.h"
#include "src/base/simd.h"

enum {
    BLOCK_BYTES = 1 << 20,  /* of W that a thread takes at a time */
    SMALL = 1 << 16,        /* bytes of W below which one thread is faster */
    ROWS = 256,             /* most rows of a block */
    WIDEST = 65536          /* of x: beyond any model's layer */
};

/* `lanes` is a constant at each call. */
DTX_INLINE void split_pairs(const int lanes, int64_t whole, const float *x, float *out)
{
    for (int64_t k = 0; k < whole; k += 2 * lanes) {
        for (int l = 0; l < lanes; l++) {
            out[k + l] = x[k + 2 * l];
            out[k + lanes + l] = x[k + 2 * l + 1];
        }
    }
}

DTX_CLONES
static void split_16(int64_t whole, const float *x, float *out)
{
    split_pairs(16, whole, x, out);
}

DTX_CLONES
static void split_8(int64_t whole, const float *x, float *out)
{
    split_pairs(8, whole, x, out);
}

void dtx_native_arrange(const dtx_native *isa, dtx_dtype t, int64_t K, const float *x, float *out)
{
    const int64_t lanes = isa->nr / 2, whole = K / (2 * lanes) * 2 * lanes;
    const int64_t split = t == DTX_BF16 ? whole : 0;

    if (lanes == 16) {
        split_16(split, x, out);
    } else if (lanes == 8) {
        split_8(split, x, out);
    } else {
        split_pairs((int)lanes, split, x, out);
    }
    memcpy(out + split, x + split, (size_t)(K - split) * sizeof *x);
}

/* Quantised rows are widened in pieces, which stay in the first cache; two sums of 16 lanes on every processor. */
enum { PIECE = 512 };

DTX_CLONES
static void add_piece(int64_t n, const float *w, const float *x, dtx_v16 sum[2])
{
    dtx_v16 a = sum[0], b = sum[1];

    for (int64_t k = 0; k < n; k += 32) {
        a += *(const dtx_v16 *)(w + k) * *(const dtx_v16 *)(x + k);
        b += *(const dtx_v16 *)(w + k + 16) * *(const dtx_v16 *)(x + k + 16);
    }
    sum[0] = a;
    sum[1] = b;
}

static float quantised_row(const dtx_matrix *w, int64_t row, const float *x)
{
    const char *from = dtx_matrix_at(w, row, 0);
    float wide[PIECE] __attribute__((aligned(64))), total = 0.0f;
    dtx_v16 sum[2] = {{0}, {0}};

    for (int64_t k = 0; k < w->n_in; k += PIECE) {
        const int64_t n = w->n_in - k < PIECE ? w->n_in - k : PIECE;
        __builtin_prefetch(from + dtx_dtype_bytes(w->dtype, k) + 2048);
        dtx_quant_widen(w->dtype, from + dtx_dtype_bytes(w->dtype, k), n, wide);
        add_piece(n, wide, x + k, sum);
    }
    for (int l = 0; l < 16; l++) {
        total += sum[0][l] + sum[1][l];
    }
    return total;
}

static void run_block(const dtx_native *isa, const dtx_matrix *w, const float *bias, const float *x, float *y, bool accumulate,
                      int64_t first, int64_t rows)
{
    float sum[ROWS];

    if (dtx_dtype_is_quantised(w->dtype)) {
        for (int64_t i = 0; i < rows; i++) {
            sum[i] = quantised_row(w, first + i, x);
        }
    } else if (w->order != NULL) {
        for (int64_t i = 0; i < rows; i++) {
            isa->vector(w->dtype, dtx_matrix_at(w, first + i, 0), w->n_in, 1, x, sum + i);
        }
    } else {
        isa->vector(w->dtype, dtx_matrix_at(w, first, 0), w->n_in, rows, x, sum);
    }
    for (int64_t i = 0; i < rows; i++) {
        float v = sum[i] + (bias != NULL ? bias[first + i] : 0.0f);
        y[first + i] = accumulate ? y[first + i] + v : v;
    }
}

void dtx_native_vector(const dtx_native *isa, int threads, const dtx_matrix *w, const float *bias, const float *x, float *y,
                       bool accumulate)
{
    static _Thread_local float arranged[WIDEST] __attribute__((aligned(64)));
    const int64_t row_bytes = dtx_dtype_bytes(w->dtype, w->n_in), N = w->n_out;
    int64_t block = row_bytes > 0 ? BLOCK_BYTES / row_bytes : ROWS;

    if (w->n_in > WIDEST) {
        dtx_native_forward(isa, threads, w, bias, 1, x, w->n_in, y, N, accumulate);
        return;
    }
    const float *from = arranged; /* the caller's, for all threads */
    dtx_native_arrange(isa, w->dtype, w->n_in, x, arranged);
    block = block > ROWS ? ROWS : block < 1 ? 1 : block;
    threads = N * row_bytes < SMALL ? 1 : threads;
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (threads > 1)
    for (int64_t r = 0; r < N; r += block) {
        run_block(isa, w, bias, from, y, accumulate, r, N - r < block ? N - r : block);
    }
}
