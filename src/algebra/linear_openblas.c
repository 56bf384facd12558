/* linear_openblas.c - a row's bits change with the number of rows of an sgemm call (other kernels take the edges) and
 * with its threads, so every call here has one thread and the same number of rows, missing ones zero. Some kernels sum
 * rows in other orders even within one call (Haswell's beyond 16 rows), so that number is found at start by a trial.
 * Columns and depth are cut by the matrix's shape alone, so that a widened tile of W stays in cache. */
#include "src/algebra/linear_openblas.h"

#include <cblas.h>
#include <pthread.h>
#include <stdio.h>

#include "src/algebra/quant.h"

enum { ROWS = 64, COLS = 256, DEPTH = 512 };
static int rows_of_a_call = ROWS; /* a fact of this machine: found once, before the first call */

static _Thread_local float w_tile[COLS * DEPTH] __attribute__((aligned(64)));
static _Thread_local float x_tile[ROWS * DEPTH] __attribute__((aligned(64)));
static _Thread_local float y_tile[COLS * ROWS] __attribute__((aligned(64)));

/* y (cols, rows) = W x^T: the rows of x run along OpenBLAS's vectors, where most of its kernels treat all alike. */
static void multiply(bool turned, int64_t cols, int64_t depth, bool add)
{
    cblas_sgemm(CblasRowMajor, turned ? CblasTrans : CblasNoTrans, CblasTrans, (int)cols, rows_of_a_call, (int)depth, 1.0f,
                w_tile, (int)(turned ? cols : depth), x_tile, (int)depth, add ? 1.0f : 0.0f, y_tile, rows_of_a_call);
}

/* Do equal rows give equal bits, whole tiles and odd ones? */
static bool rows_are_alike(void)
{
    static const int64_t trial[][2] = {{COLS, DEPTH}, {COLS, 300}, {200, DEPTH}, {33, 77}, {7, 5}};

    for (int64_t i = 0; i < COLS * DEPTH; i++) {
        w_tile[i] = (float)(i * 7919 % 1009 - 504) / 504.0f;
    }
    for (size_t t = 0; t < 2 * sizeof trial / sizeof *trial; t++) {
        int64_t cols = trial[t / 2][0], depth = trial[t / 2][1];
        for (int64_t i = 0; i < rows_of_a_call * depth; i++) {
            x_tile[i] = (float)(i % depth * 6151 % 997 - 498) / 498.0f;
        }
        multiply(t % 2 != 0, cols, depth, false);
        for (int64_t i = 0; i < cols * rows_of_a_call; i++) {
            if (y_tile[i] != y_tile[i / rows_of_a_call * rows_of_a_call]) {
                return false;
            }
        }
    }
    return true;
}

static void find_rows(void)
{
    openblas_set_num_threads(1);
    for (rows_of_a_call = ROWS; rows_of_a_call > 1 && !rows_are_alike(); rows_of_a_call /= 4) {
    }
}

/* Before anything that uses OpenBLAS: one thread per call, so many rows. */
static void get_ready(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, find_rows);
}

void dtx_openblas_describe(char *out, size_t size)
{
    char version[64] = "";

    get_ready();
    /* "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH ..." */
    sscanf(openblas_get_config(), "%*s %63s", version);
    snprintf(out, size, "openblas %s (%s), tiles %dx%dx%d", version, openblas_get_corename(), rows_of_a_call, COLS, DEPTH);
}

static inline int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Tile (m0, c0) of Y (M, n_cols) = X (M, depth) W^T, or X W when turned. */
static void run_tile(const dtx_matrix *w, bool turned, const float *bias, int64_t M, const float *x, int64_t ldx,
                     float *y, int64_t ldy, bool accumulate, int64_t m0, int64_t c0)
{
    int64_t total = turned ? w->n_out : w->n_in, cols = min64(COLS, (turned ? w->n_in : w->n_out) - c0);
    int64_t rows = min64(rows_of_a_call, M - m0);

    for (int64_t k = 0; k < total; k += DEPTH) {
        int64_t depth = min64(DEPTH, total - k), lines = turned ? depth : cols, line = turned ? cols : depth;
        for (int64_t i = 0; i < lines; i++) { /* COLS and DEPTH are whole blocks of a quantised row */
            dtx_quant_widen(w->dtype, turned ? dtx_matrix_at(w, k + i, c0) : dtx_matrix_at(w, c0 + i, k), line, w_tile + i * line);
        }
        for (int64_t i = 0; i < rows_of_a_call; i++) {
            if (i < rows) {
                memcpy(x_tile + i * depth, x + (m0 + i) * ldx + k, (size_t)depth * sizeof *x);
            } else {
                memset(x_tile + i * depth, 0, (size_t)depth * sizeof *x);
            }
        }
        multiply(turned, cols, depth, k > 0);
    }
    for (int64_t i = 0; i < rows; i++) {
        float *out = y + (m0 + i) * ldy + c0;
        for (int64_t j = 0; j < cols; j++) {
            float v = y_tile[j * rows_of_a_call + i] + (bias != NULL ? bias[c0 + j] : 0.0f);
            out[j] = accumulate ? out[j] + v : v;
        }
    }
}

static void run(int threads, const dtx_matrix *w, bool turned, const float *bias, int64_t M, const float *x,
                int64_t ldx, float *y, int64_t ldy, bool accumulate)
{
    get_ready();
    int64_t across = ((turned ? w->n_in : w->n_out) + COLS - 1) / COLS, down = (M + rows_of_a_call - 1) / rows_of_a_call;

#pragma omp parallel for schedule(dynamic) num_threads(threads) if (threads > 1)
    for (int64_t t = 0; t < across * down; t++) {
        run_tile(w, turned, bias, M, x, ldx, y, ldy, accumulate, t % down * rows_of_a_call, t / down * COLS);
    }
}

void dtx_openblas_forward(int threads, const dtx_matrix *w, const float *bias, int64_t M, const float *x, int64_t ldx,
                          float *y, int64_t ldy, bool accumulate)
{
    run(threads, w, false, bias, M, x, ldx, y, ldy, accumulate);
}

void dtx_openblas_backward_input(int threads, const dtx_matrix *w, int64_t M, const float *dy, int64_t lddy, float *dx,
                                 int64_t lddx, bool accumulate)
{
    run(threads, w, true, NULL, M, dy, lddy, dx, lddx, accumulate);
}

void dtx_openblas_backward_weight(int threads, int64_t N, int64_t K, int64_t M, const float *dy, int64_t lddy,
                                  const float *x, int64_t ldx, float *dw)
{
    int64_t across = (K + COLS - 1) / COLS, down = (N + COLS - 1) / COLS;

    get_ready();
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (threads > 1)
    for (int64_t t = 0; t < across * down; t++) {
        int64_t n = t / across * COLS, k = t % across * COLS;
        for (int64_t m = 0; m < M; m += DEPTH) {
            cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)min64(COLS, N - n), (int)min64(COLS, K - k),
                        (int)min64(DEPTH, M - m), 1.0f, dy + m * lddy + n, (int)lddy, x + m * ldx + k, (int)ldx, 1.0f,
                        dw + n * K + k, (int)K);
        }
    }
}
