#include "src/base/dtype.h"

#include "src/base/simd.h"

static const struct {
    const char *name;
    short block, bytes;
} types[] = {
    [DTX_F32] = {"F32", 1, 4},        [DTX_F16] = {"F16", 1, 2},        [DTX_BF16] = {"BF16", 1, 2},     [DTX_F64] = {"F64", 1, 8},
    [DTX_I64] = {"I64", 1, 8},        [DTX_I32] = {"I32", 1, 4},        [DTX_I16] = {"I16", 1, 2},       [DTX_I8] = {"I8", 1, 1},
    [DTX_U8] = {"U8", 1, 1},          [DTX_BOOL] = {"BOOL", 1, 1},      [DTX_Q8_0] = {"Q8_0", 32, 34},   [DTX_Q4_0] = {"Q4_0", 32, 18},
    [DTX_Q4_1] = {"Q4_1", 32, 20},    [DTX_Q5_0] = {"Q5_0", 32, 22},    [DTX_Q5_1] = {"Q5_1", 32, 24},   [DTX_IQ4_NL] = {"IQ4_NL", 32, 18},
    [DTX_Q2_K] = {"Q2_K", 256, 84},   [DTX_Q3_K] = {"Q3_K", 256, 110},  [DTX_Q4_K] = {"Q4_K", 256, 144}, [DTX_Q5_K] = {"Q5_K", 256, 176},
    [DTX_Q6_K] = {"Q6_K", 256, 210},  [DTX_IQ4_XS] = {"IQ4_XS", 256, 136},
};

size_t dtx_dtype_size(dtx_dtype t)
{
    return types[t].block == 1 ? (size_t)types[t].bytes : 0;
}

int64_t dtx_dtype_block(dtx_dtype t)
{
    return types[t].block;
}

size_t dtx_dtype_block_bytes(dtx_dtype t)
{
    return (size_t)types[t].bytes;
}

const char *dtx_dtype_name(dtx_dtype t)
{
    return types[t].name;
}

/* IEEE binary16 without branches, so that loops over it vectorise. Normal numbers: move exponent and mantissa into
 * place and scale by 2^112; this is exact for subnormals too. Exponent 31 becomes 255. */
static inline float f16_widen(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, rest = (uint32_t)(h & 0x7FFFu) << 13, u;
    float f;

    memcpy(&f, &rest, sizeof f);
    f *= 0x1p112f;
    memcpy(&u, &f, sizeof u);
    u |= rest >= 0x7C00u << 13 ? 0xFFu << 23 : 0u;
    u |= sign;
    memcpy(&f, &u, sizeof f);
    return f;
}

float dtx_f16_to_f32(uint16_t h)
{
    return f16_widen(h);
}

uint16_t dtx_f32_to_f16(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    uint16_t sign = (uint16_t)(u >> 16 & 0x8000u);
    uint32_t a = u & 0x7FFFFFFFu;

    if (a > 0x7F800000u) {
        return (uint16_t)(sign | 0x7E00u | (a >> 13 & 0x3FFu));
    }
    if (a >= 0x477FF000u) { /* 65520 and above round to infinity */
        return (uint16_t)(sign | 0x7C00u);
    }
    if (a < 0x38800000u) { /* below 2^-14: subnormal, in units of 2^-24; the addition rounds to nearest even */
        float m;
        memcpy(&m, &a, sizeof m);
        m += 0.5f; /* the unit of 0.5 is 2^-24 */
        memcpy(&u, &m, sizeof u);
        return (uint16_t)(sign | (uint16_t)(u - 0x3F000000u));
    }
    a += 0xFFFu + (a >> 13 & 1u);
    return (uint16_t)(sign | (uint16_t)((a - 0x38000000u) >> 13));
}

DTX_CLONES
static void widen_bf16(const uint16_t *x, int64_t n, float *out)
{
    for (int64_t i = 0; i < n; i++) {
        out[i] = dtx_bf16_to_f32(x[i]);
    }
}

DTX_CLONES
static void widen_f16(const uint16_t *x, int64_t n, float *out)
{
    for (int64_t i = 0; i < n; i++) {
        out[i] = f16_widen(x[i]);
    }
}

/* Tensors of a mapped file may start at any byte: they pass through a small aligned buffer then. */
static void widen_unaligned(dtx_dtype t, const unsigned char *x, int64_t n, float *out)
{
    union {
        uint16_t h[256];
        double d[64];
    } block;
    int64_t per = t == DTX_F64 ? 64 : 256, size = t == DTX_F64 ? 8 : 2;

    for (int64_t i = 0; i < n; i += per) {
        int64_t m = n - i < per ? n - i : per;
        memcpy(&block, x + i * size, (size_t)(m * size));
        dtx_widen(t, &block, m, out + i);
    }
}

void dtx_widen(dtx_dtype t, const void *x, int64_t n, float *out)
{
    if (n <= 0) {
        return;
    }
    if (t == DTX_F32) {
        memcpy(out, x, (size_t)n * sizeof *out);
        return;
    }
    if ((uintptr_t)x % dtx_dtype_size(t) != 0) {
        widen_unaligned(t, x, n, out);
    } else if (t == DTX_BF16) {
        widen_bf16(x, n, out);
    } else if (t == DTX_F16) {
        widen_f16(x, n, out);
    } else if (t == DTX_F64) {
        const double *d = x;
        for (int64_t i = 0; i < n; i++) {
            out[i] = (float)d[i];
        }
    }
}
