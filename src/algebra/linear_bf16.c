/* linear_bf16.c - products in bf16 for processors with AVX-512 BF16 (compute.precision = bf16): both operands rounded to
 * bf16 (nearest even), products exact, sums in f32. One word of 32 bits holds two neighbours in k; a product of depth K is
 * one of K / 2 words in everything that cuts and packs (linear_native.c), and VDPBF16PS takes the place of the
 * multiply-add. */
#include "src/algebra/linear_tile.h"

#ifdef __x86_64__

#include <immintrin.h>

#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma,f16c,prefer-vector-width=512")

#define VW 16
#define MR 14
#define FMA(acc, x, y) __asm__("vdpbf16ps %2, %1, %0" : "+v"(acc) : "v"(x), "v"(y))
#define SPREAD(x) _mm512_set1_ps(x)
#define TILE_ONLY
typedef uint32_t carried[32];
#define CARRY(to, from)                                                                    \
    do {                                                                                   \
        _mm512_storeu_si512(to, _mm512_loadu_si512(from));                                 \
        _mm512_storeu_si512((to) + 16, _mm512_loadu_si512((from) + 64));                   \
    } while (0)
#include "src/algebra/linear_micro.h"

/* 32 neighbours as 16 words; what lies outside the mask is zero. */
DTX_INLINE __m512i words(dtx_dtype t, const char *src, int64_t n)
{
    const __mmask32 mask = n >= 32 ? 0xFFFFFFFFu : (1u << n) - 1u;
    __m512 low, high;

    if (t == DTX_BF16) {
        return _mm512_maskz_loadu_epi16(mask, src);
    }
    if (t == DTX_F32) {
        low = _mm512_maskz_loadu_ps((__mmask16)mask, src);
        high = _mm512_maskz_loadu_ps((__mmask16)(mask >> 16), src + 64);
    } else {
        __m512i h = _mm512_maskz_loadu_epi16(mask, src);
        low = _mm512_cvtph_ps(_mm512_castsi512_si256(h));
        high = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(h, 1));
    }
    return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

static void pairs(dtx_dtype t, const void *src, int64_t ld, int64_t rows, int64_t n, float *out, int64_t ldo)
{
    const int64_t size = t == DTX_F32 ? 4 : 2;

    for (int64_t r = 0; r < rows; r++) {
        const char *from = (const char *)src + r * ld * size;
        for (int64_t k = 0; k < n; k += 32) {
            const int64_t w = (n - k + 1) / 2;
            _mm512_mask_storeu_ps(out + r * ldo + k / 2, w >= 16 ? (__mmask16)0xFFFF : (__mmask16)((1u << w) - 1u),
                                  _mm512_castsi512_ps(words(t, from + k * size, n - k)));
        }
    }
}

/* 16 columns of a row as bf16 in the low halves of words. */
DTX_INLINE __m512i halves(dtx_dtype t, const char *src, __mmask16 mask)
{
    if (t == DTX_BF16) {
        return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, src));
    }
    __m512 f = t == DTX_F32 ? _mm512_maskz_loadu_ps(mask, src) : _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, src));
    return _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(f));
}

enum { AHEAD = 24 }; /* rows */

static void pair_rows(dtx_dtype t, const void *src, int64_t ld, int64_t rows, int64_t cols, float *out, int64_t step)
{
    const int64_t size = t == DTX_F32 ? 4 : 2;

    for (int64_t r = 0; r < rows; r += 2) {
        const char *from = (const char *)src + r * ld * size;
        for (int64_t c = 0; c < cols; c += 16) {
            const __mmask16 mask = cols - c < 16 ? (__mmask16)((1u << (cols - c)) - 1u) : (__mmask16)0xFFFF;
            __m512i w = halves(t, from + c * size, mask);
            if (r + 1 < rows) {
                w = _mm512_or_si512(w, _mm512_slli_epi32(halves(t, from + (ld + c) * size, mask), 16));
            }
            _mm512_mask_storeu_epi32(out + c / NR * step + r / 2 * NR + c % NR, mask, w);
        }
        for (int64_t c = 0; c < cols * size; c += 64) {
            _mm_prefetch(from + AHEAD * ld * size + c, _MM_HINT_T0);
            _mm_prefetch(from + (AHEAD + 1) * ld * size + c, _MM_HINT_T0);
        }
    }
}

/* What does not make words is that of AVX-512 in f32. */
static void transpose(dtx_dtype t, const void *src, int64_t ld, int64_t rows, int64_t cols, float *out, int64_t ldo)
{
    dtx_native_avx512()->transpose(t, src, ld, rows, cols, out, ldo);
}

static void copy(dtx_dtype t, const void *src, int64_t ld, int64_t rows, int64_t cols, float *out, int64_t ldo, int64_t width,
                 int64_t step)
{
    dtx_native_avx512()->copy(t, src, ld, rows, cols, out, ldo, width, step);
}

static void vector(dtx_dtype t, const void *w, int64_t K, int64_t rows, const float *x, float *y)
{
    dtx_native_avx512()->vector(t, w, K, rows, x, y);
}

static const dtx_native more = {"avx512-bf16", MR, NR, busy_kernel, transpose, copy, vector, pairs, pair_rows, true, 2, NULL, NULL};
static const dtx_native thin = {"avx512-bf16", MR, NR / 2, thin_kernel, transpose, copy, vector, pairs, pair_rows, true, 2, NULL, NULL};
static const dtx_native bf16 = {"avx512-bf16", MR, NR, kernel, transpose, copy, vector, pairs, pair_rows, true, 1, &more, &thin};

const dtx_native *dtx_native_bf16(void)
{
    return dtx_native_avx512() != NULL && __builtin_cpu_supports("avx512bf16") ? &bf16 : NULL;
}

#else

const dtx_native *dtx_native_bf16(void)
{
    return NULL;
}

#endif
