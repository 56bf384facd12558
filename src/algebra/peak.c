#include "src/algebra/peak.h"

#include <omp.h>
#include <stdint.h>

#include "src/algebra/linear.h"
#include "src/base/mem.h"
#include "src/base/simd.h"
#include "src/algebra/vmath.h"

/* The compiler must believe that the value at p is read and written here. */
#define OPAQUE(p) __asm__ volatile("" : : "r"(p) : "memory")

/* 24 chains of multiply-adds hide the latency of two units. */
enum { CHAINS = 24, STEPS = 4096 };

/* Body of one loop on vectors of a type: x -> some value that depends on every step. */
#define CHAIN_LOOP(vec, x)                                       \
    vec acc[CHAINS], a = (vec){0} + 0.999f, b = (vec){0} + *(x); \
    for (int i = 0; i < CHAINS; i++) {                           \
        acc[i] = (vec){0} + (float)i;                            \
    }                                                            \
    for (int s = 0; s < STEPS; s++) {                            \
        _Pragma("GCC unroll 24") for (int i = 0; i < CHAINS; i++) \
        {                                                        \
            acc[i] = acc[i] * a + b;                             \
        }                                                        \
    }                                                            \
    for (int i = 1; i < CHAINS; i++) {                           \
        acc[0] += acc[i];                                        \
    }                                                            \
    *(x) = acc[0][0] * 1e-9f

typedef float vec4 __attribute__((vector_size(16)));
static void chains_portable(float *x)
{
    CHAIN_LOOP(vec4, x);
}

#ifdef __x86_64__
typedef float vec8 __attribute__((vector_size(32)));
__attribute__((target("avx2,fma"))) static void chains_avx2(float *x)
{
    CHAIN_LOOP(vec8, x);
}

typedef float vec16 __attribute__((vector_size(64)));
__attribute__((target("avx512f,fma"))) static void chains_avx512(float *x)
{
    CHAIN_LOOP(vec16, x);
}
#endif

#ifdef __x86_64__
/* 32 products of bf16 a chain and step. */
__attribute__((target("avx512f"))) static int chains_bf16(float *x)
{
    vec16 acc[CHAINS], a = (vec16){0} + *x;

#pragma GCC unroll 24 /* a loop with an index would keep the chains in memory */
    for (int i = 0; i < CHAINS; i++) {
        acc[i] = (vec16){0} + (float)i;
    }
    for (int s = 0; s < STEPS; s++) {
#pragma GCC unroll 24
        for (int i = 0; i < CHAINS; i++) {
            __asm__("vdpbf16ps %1, %1, %0" : "+v"(acc[i]) : "v"(a));
        }
    }
#pragma GCC unroll 24
    for (int i = 1; i < CHAINS; i++) {
        acc[0] += acc[i];
    }
    *x = acc[0][0] * 1e-9f;
    return 32;
}
#else
static int chains_bf16(float *x)
{
    *x = 0.0f;
    return 0;
}
#endif

/* One run of the loop with the widest vectors here; returns their width. */
static int run_chains(float *x)
{
#ifdef __x86_64__
    if (dtx_linear_lanes() == 16) {
        chains_avx512(x);
        return 16;
    }
    if (dtx_linear_lanes() == 8) {
        chains_avx2(x);
        return 8;
    }
#endif
    chains_portable(x);
    return 4;
}

/* run: one run of a loop, returns the multiply-adds of a chain and step. */
static double peak(int (*run)(float *x), int threads, double seconds)
{
    double total = 0.0;

#pragma omp parallel num_threads(threads) reduction(+ : total)
    {
        float x = 1.0f;
        double flops = 0.0, begun, now;
#pragma omp barrier
        begun = omp_get_wtime();
        do {
            for (int i = 0; i < 16; i++) {
                OPAQUE(&x);
                flops += 2.0 * CHAINS * STEPS * run(&x);
            }
            OPAQUE(&x);
            now = omp_get_wtime();
        } while (now - begun < seconds);
        total += flops / (now - begun);
    }
    return total;
}

double dtx_peak_fma(int threads, double seconds)
{
    return peak(run_chains, threads, seconds);
}

double dtx_peak_bf16(int threads, double seconds)
{
    return dtx_linear_has_bf16() ? peak(chains_bf16, threads, seconds) : 0.0;
}

enum { READ_FLOATS = 64 << 20, READ_PIECE = 1 << 18 };

/* Sums a piece in eight vectors, so that loads alone limit the speed. */
DTX_CLONES
static float sum_piece(const float *x)
{
    dtx_v16 acc[8] = {{0}};

    for (int64_t i = 0; i < READ_PIECE; i += 128) {
#pragma GCC unroll 8
        for (int l = 0; l < 8; l++) {
            acc[l] += *(const dtx_v16 *)(x + i + 16 * l);
        }
    }
    for (int l = 1; l < 8; l++) {
        acc[0] += acc[l];
    }
    return acc[0][0];
}

double dtx_peak_read(int threads, double seconds)
{
    float *memory = dtx_calloc(READ_FLOATS, sizeof *memory);
    double total = 0.0;

    if (memory == NULL) {
        return 0.0;
    }
#pragma omp parallel num_threads(threads) reduction(+ : total)
    {
        float x = 0.0f;
        int64_t pieces = READ_FLOATS / READ_PIECE, t = omp_get_thread_num(), at = t * pieces / threads, n = 0;
        double begun, now;
#pragma omp barrier
        begun = omp_get_wtime();
        do {
            for (int i = 0; i < 8; i++, n++) {
                OPAQUE(&x);
                x += sum_piece(memory + at * READ_PIECE);
                at = (at + 1) % pieces;
            }
            now = omp_get_wtime();
        } while (now - begun < seconds);
        total += (double)n * READ_PIECE * sizeof(float) / (now - begun);
    }
    dtx_free(memory);
    return total;
}
