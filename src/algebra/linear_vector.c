/* linear_vector.c - one row through a matrix, for single-stream decoding: bound by reading W, so it goes over W once, row
 * after row, with exact f32 activations. Threads take blocks of rows. */
#include "src/algebra/linear_native.h"
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

static void run_block(const dtx_native *isa, const dtx_matrix *w, const float *bias, const float *x, float *y, bool accumulate,
                      int64_t first, int64_t rows)
{
    float sum[ROWS];

    isa->vector(w->dtype, (const char *)w->w + first * w->n_in * (int64_t)dtx_dtype_size(w->dtype), w->n_in, rows, x, sum);
    for (int64_t i = 0; i < rows; i++) {
        float v = sum[i] + (bias != NULL ? bias[first + i] : 0.0f);
        y[first + i] = accumulate ? y[first + i] + v : v;
    }
}

void dtx_native_vector(const dtx_native *isa, int threads, const dtx_matrix *w, const float *bias, const float *x, float *y,
                       bool accumulate)
{
    static _Thread_local float arranged[WIDEST] __attribute__((aligned(64)));
    const int64_t row_bytes = w->n_in * (int64_t)dtx_dtype_size(w->dtype), N = w->n_out;
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
