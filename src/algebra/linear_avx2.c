/* linear_avx2.c - register tile of 6 x 16 for processors with AVX2, FMA and F16C. */
#include "src/algebra/linear_tile.h"

#ifdef __x86_64__

#include <immintrin.h>

#pragma GCC target("avx2,fma,f16c")

#define VW 8
#define MR 6
#define FMA(acc, x, y) __asm__("vfmadd231ps %2, %1, %0" : "+x"(acc) : "x"(x), "x"(y))
#define SPREAD(x) _mm256_set1_ps(x)
#define WIDEN_F16(p) _mm256_cvtph_ps(_mm_loadu_si128((const __m128i_u *)(const void *)(p)))
#include "src/algebra/linear_micro.h"

/* 8 x 8 floats (or pairs of halves) in registers: rows become columns. */
DTX_INLINE void turn(__m256i v[8])
{
    __m256i t[8];

#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_epi32(v[i], v[i + 1]);
        t[i + 1] = _mm256_unpackhi_epi32(v[i], v[i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) {
        v[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
        v[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
        v[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
        v[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
        t[c] = _mm256_permute2x128_si256(v[c], v[4 + c], 0x20);
        t[4 + c] = _mm256_permute2x128_si256(v[c], v[4 + c], 0x31);
    }
#pragma GCC unroll 8
    for (int c = 0; c < 8; c++) {
        v[c] = t[c];
    }
}

DTX_INLINE __m256 widen8(dtx_dtype t, __m128i h)
{
    return t == DTX_BF16 ? _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16)) : _mm256_cvtph_ps(h);
}

/* The first or second halves of 8 pairs as 8 halves. */
DTX_INLINE __m128i narrow(__m256i v)
{
    __m256i m = _mm256_and_si256(v, _mm256_set1_epi32(0xFFFF));
    return _mm_packus_epi32(_mm256_castsi256_si128(m), _mm256_extracti128_si256(m, 1));
}

DTX_INLINE __m256 low(dtx_dtype t, __m256i v)
{
    return t == DTX_BF16 ? _mm256_castsi256_ps(_mm256_slli_epi32(v, 16)) : _mm256_cvtph_ps(narrow(v));
}

DTX_INLINE __m256 high(dtx_dtype t, __m256i v)
{
    return t == DTX_BF16 ? _mm256_castsi256_ps(_mm256_and_si256(v, _mm256_set1_epi32((int)0xFFFF0000u)))
                         : _mm256_cvtph_ps(narrow(_mm256_srli_epi32(v, 16)));
}

/* 8 rows at a time, in whole vectors; what is left goes the plain way. */
DTX_INLINE void transpose_rows(dtx_dtype t, int64_t size, const char *src, int64_t ld, int64_t rows, int64_t cols,
                               float *out, int64_t ldo)
{
    int64_t step = 32 / size, whole = cols / step * step, r = 0;
    __m256i v[8];

    for (; r + 8 <= rows; r += 8) {
        for (int64_t c = 0; c < whole; c += step) {
#pragma GCC unroll 8
            for (int i = 0; i < 8; i++) {
                v[i] = _mm256_loadu_si256((const __m256i *)(const void *)(src + ((r + i) * ld + c) * size));
                _mm_prefetch(src + ((r + 8 + i) * ld + c) * size, _MM_HINT_T0);
            }
            turn(v);
#pragma GCC unroll 8
            for (int j = 0; j < 8; j++) {
                if (t == DTX_F32) {
                    _mm256_storeu_ps(out + (c + j) * ldo + r, _mm256_castsi256_ps(v[j]));
                } else {
                    _mm256_storeu_ps(out + (c + 2 * j) * ldo + r, low(t, v[j]));
                    _mm256_storeu_ps(out + (c + 2 * j + 1) * ldo + r, high(t, v[j]));
                }
            }
        }
    }
    for (int64_t c = 0; c < cols; c++) {
        for (int64_t i = c < whole ? r : 0; i < rows; i++) {
            out[c * ldo + i] = dtx_native_element(t, src, i * ld + c);
        }
        for (int64_t i = rows; i % 16 != 0; i++) {
            out[c * ldo + i] = 0.0f;
        }
    }
}

static void transpose(dtx_dtype t, const void *src, int64_t ld, int64_t rows, int64_t cols, float *out, int64_t ldo)
{
    if (t == DTX_F32) {
        transpose_rows(DTX_F32, 4, src, ld, rows, cols, out, ldo);
    } else if (t == DTX_BF16) {
        transpose_rows(DTX_BF16, 2, src, ld, rows, cols, out, ldo);
    } else {
        transpose_rows(DTX_F16, 2, src, ld, rows, cols, out, ldo);
    }
}

enum { AHEAD = 24 }; /* rows */

DTX_INLINE void copy_rows(dtx_dtype t, int64_t size, const char *src, int64_t ld, int64_t rows, int64_t cols,
                          float *out, int64_t ldo, int64_t width, int64_t step)
{
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c0 = 0; c0 < cols; c0 += width) {
            const char *from = src + (r * ld + c0) * size;
            float *to = out + c0 / width * step + r * ldo;
            int64_t n = cols - c0 < width ? cols - c0 : width;
            int64_t c = 0;
            for (; c + 8 <= n; c += 8) {
                const void *at = from + c * size;
                _mm256_storeu_ps(to + c, t == DTX_F32 ? _mm256_loadu_ps(at) : widen8(t, _mm_loadu_si128(at)));
            }
            for (; c < n; c++) {
                to[c] = dtx_native_element(t, from, c);
            }
            for (c = 0; c < n * size; c += 64) { /* rows are far apart: the processor does not foresee the next */
                _mm_prefetch(from + AHEAD * ld * size + c, _MM_HINT_T0);
            }
        }
    }
}

static void copy(dtx_dtype t, const void *src, int64_t ld, int64_t rows, int64_t cols, float *out, int64_t ldo,
                 int64_t width, int64_t step)
{
    if (t == DTX_F32) {
        copy_rows(DTX_F32, 4, src, ld, rows, cols, out, ldo, width, step);
    } else if (t == DTX_BF16) {
        copy_rows(DTX_BF16, 2, src, ld, rows, cols, out, ldo, width, step);
    } else {
        copy_rows(DTX_F16, 2, src, ld, rows, cols, out, ldo, width, step);
    }
}

static const dtx_native avx2 = {"avx2", MR, NR, kernel, transpose, copy, vector, NULL, NULL, false, 1, NULL, NULL};

const dtx_native *dtx_native_avx2(void)
{
    /* Whatever has AVX2 has F16C; clang 14 cannot be asked for it. */
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &avx2 : NULL;
}

#else

const dtx_native *dtx_native_avx2(void)
{
    return NULL;
}

#endif
