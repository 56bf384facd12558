/* linear_avx512.c - register tile of 14 x 32 for processors with AVX-512. */
#include "src/algebra/linear_tile.h"

#ifdef __x86_64__

#include <immintrin.h>

#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c,prefer-vector-width=512")

#define VW 16
#define MR 14
#define FMA(acc, x, y) __asm__("vfmadd231ps %2, %1, %0" : "+v"(acc) : "v"(x), "v"(y))
#define SPREAD(x) _mm512_set1_ps(x)
#define WIDEN_F16(p) _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i_u *)(const void *)(p)))
typedef uint16_t carried[32];
#define CARRY(to, from)                                                                                              \
    do {                                                                                                             \
        _mm512_storeu_si512(to, _mm512_slli_epi32(_mm512_cvtepu16_epi32(*(const __m256i_u *)(const void *)(from)), 16)); \
        _mm512_storeu_si512((to) + 16,                                                                               \
                            _mm512_slli_epi32(_mm512_cvtepu16_epi32(*(const __m256i_u *)(const void *)((from) + 32)), 16)); \
    } while (0)
#include "src/algebra/linear_micro.h"

/* 16 x 16 floats (or pairs of halves) in registers: rows become columns. */
DTX_INLINE void turn(__m512i v[16])
{
    __m512i t[16];

#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
        v[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        v[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        v[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        v[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    /* v[4 g + c]: lane l of 128 bits holds column 4 l + c of rows 4 g .. 4 g + 3 */
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
        t[c] = _mm512_shuffle_i32x4(v[c], v[4 + c], 0x88);          /* lanes 0, 2 of groups 0, 1 */
        t[4 + c] = _mm512_shuffle_i32x4(v[c], v[4 + c], 0xDD);      /* lanes 1, 3 */
        t[8 + c] = _mm512_shuffle_i32x4(v[8 + c], v[12 + c], 0x88);
        t[12 + c] = _mm512_shuffle_i32x4(v[8 + c], v[12 + c], 0xDD);
    }
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
        v[c] = _mm512_shuffle_i32x4(t[c], t[8 + c], 0x88);
        v[8 + c] = _mm512_shuffle_i32x4(t[c], t[8 + c], 0xDD);
        v[4 + c] = _mm512_shuffle_i32x4(t[4 + c], t[12 + c], 0x88);
        v[12 + c] = _mm512_shuffle_i32x4(t[4 + c], t[12 + c], 0xDD);
    }
}

/* Both halves of 16 pairs, widened: the first of each pair (low) and the second. */
DTX_INLINE __m512 low(dtx_dtype t, __m512i v)
{
    return t == DTX_BF16 ? _mm512_castsi512_ps(_mm512_slli_epi32(v, 16)) : _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v));
}

DTX_INLINE __m512 high(dtx_dtype t, __m512i v)
{
    return t == DTX_BF16 ? _mm512_castsi512_ps(_mm512_and_si512(v, _mm512_set1_epi32((int)0xFFFF0000u)))
                         : _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(v, 16)));
}

DTX_INLINE void transpose16(dtx_dtype t, const char *src, int64_t ld, int64_t rows, int64_t cols, float *out,
                            int64_t ldo)
{
    __m512i v[16];

    for (int64_t c = 0; c < cols; c += 32) {
        int n = cols - c < 32 ? (int)(cols - c) : 32;
        __mmask32 mask = n == 32 ? 0xFFFFFFFFu : (1u << n) - 1u;
        if (rows == 16 && n == 32) {
#pragma GCC unroll 16
            for (int r = 0; r < 16; r++) {
                v[r] = _mm512_loadu_si512(src + (r * ld + c) * 2);
                _mm_prefetch(src + ((r + 16) * ld + c) * 2, _MM_HINT_T0);
            }
        } else {
            for (int r = 0; r < 16; r++) {
                v[r] = r < rows ? _mm512_maskz_loadu_epi16(mask, src + (r * ld + c) * 2) : _mm512_setzero_si512();
            }
        }
        turn(v);
        if (n == 32) {
#pragma GCC unroll 16
            for (int j = 0; j < 16; j++) {
                _mm512_storeu_ps(out + (c + 2 * j) * ldo, low(t, v[j]));
                _mm512_storeu_ps(out + (c + 2 * j + 1) * ldo, high(t, v[j]));
            }
        } else {
            for (int j = 0; j < n; j++) {
                _mm512_storeu_ps(out + (c + j) * ldo, j % 2 == 0 ? low(t, v[j / 2]) : high(t, v[j / 2]));
            }
        }
    }
}

DTX_INLINE void transpose32(const char *src, int64_t ld, int64_t rows, int64_t cols, float *out, int64_t ldo)
{
    __m512i v[16];

    for (int64_t c = 0; c < cols; c += 16) {
        int n = cols - c < 16 ? (int)(cols - c) : 16;
        __mmask16 mask = (__mmask16)((1u << n) - 1u);
        if (rows == 16 && n == 16) {
#pragma GCC unroll 16
            for (int r = 0; r < 16; r++) {
                v[r] = _mm512_loadu_si512(src + (r * ld + c) * 4);
                _mm_prefetch(src + ((r + 16) * ld + c) * 4, _MM_HINT_T0);
            }
        } else {
            for (int r = 0; r < 16; r++) {
                v[r] = r < rows ? _mm512_maskz_loadu_epi32(mask, src + (r * ld + c) * 4) : _mm512_setzero_si512();
            }
        }
        turn(v);
        if (n == 16) {
#pragma GCC unroll 16
            for (int j = 0; j < 16; j++) {
                _mm512_storeu_ps(out + (c + j) * ldo, _mm512_castsi512_ps(v[j]));
            }
        } else {
            for (int j = 0; j < n; j++) {
                _mm512_storeu_ps(out + (c + j) * ldo, _mm512_castsi512_ps(v[j]));
            }
        }
    }
}

static void transpose(dtx_dtype t, const void *src, int64_t ld, int64_t rows, int64_t cols, float *out, int64_t ldo)
{
    int64_t size = t == DTX_F32 ? 4 : 2;

    for (int64_t r = 0; r < rows; r += 16) {
        const char *from = (const char *)src + r * ld * size;
        int64_t n = rows - r < 16 ? rows - r : 16;
        if (t == DTX_F32) {
            transpose32(from, ld, n, cols, out + r, ldo);
        } else if (t == DTX_BF16) {
            transpose16(DTX_BF16, from, ld, n, cols, out + r, ldo);
        } else {
            transpose16(DTX_F16, from, ld, n, cols, out + r, ldo);
        }
    }
}

/* 16 elements of a row; those outside the mask are not touched. */
DTX_INLINE __m512 load(dtx_dtype t, const char *src, __mmask16 mask)
{
    if (t == DTX_F32) {
        return _mm512_maskz_loadu_ps(mask, src);
    }
    __m256i h = _mm256_maskz_loadu_epi16(mask, src);
    return t == DTX_BF16 ? _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16)) : _mm512_cvtph_ps(h);
}

enum { AHEAD = 24 }; /* rows */

DTX_INLINE void copy_rows(dtx_dtype t, int64_t size, const char *src, int64_t ld, int64_t rows, int64_t cols,
                          float *out, int64_t ldo, int64_t width, int64_t step)
{
    const int64_t ahead = AHEAD * ld * size; /* rows are far apart: the processor does not foresee the next */

    for (int64_t r = 0; r < rows; r++) {
        const char *from = src + r * ld * size;
        float *to = out + r * ldo;
        for (int64_t left = cols; left > 0; left -= width, from += width * size, to += step) {
            int64_t n = left < width ? left : width, c = 0;
#pragma GCC unroll 4
            for (; c + 32 <= n; c += 32) {
                const char *at = from + c * size;
                _mm_prefetch(at + ahead, _MM_HINT_T0);
                if (size == 4) {
                    _mm_prefetch(at + ahead + 64, _MM_HINT_T0);
                }
                _mm512_storeu_ps(to + c, load(t, at, 0xFFFF));
                _mm512_storeu_ps(to + c + 16, load(t, at + 16 * size, 0xFFFF));
            }
            for (; c < n; c += 16) {
                __mmask16 mask = n - c < 16 ? (__mmask16)((1u << (n - c)) - 1u) : (__mmask16)0xFFFF;
                _mm_prefetch(from + c * size + ahead, _MM_HINT_T0);
                _mm512_mask_storeu_ps(to + c, mask, load(t, from + c * size, mask));
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

static const dtx_native more = {"avx512", MR, NR, busy_kernel, transpose, copy, vector, NULL, NULL, true, 2, NULL, NULL};
static const dtx_native thin = {"avx512", MR, NR / 2, thin_kernel, transpose, copy, vector, NULL, NULL, true, 2, NULL, NULL};
static const dtx_native avx512 = {"avx512", MR, NR, kernel, transpose, copy, vector, NULL, NULL, true, 1, &more, &thin};

const dtx_native *dtx_native_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")
                   && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("fma")
               ? &avx512
               : NULL;
}

#else

const dtx_native *dtx_native_avx512(void)
{
    return NULL;
}

#endif
