#include "src/algebra/quant.h"

#include "src/base/simd.h"

/* d and the like, which may stand at any byte. */
DTX_INLINE float half_at(const uint8_t *p)
{
    uint16_t h;

    memcpy(&h, p, sizeof h);
    return dtx_f16_to_f32(h);
}

static const int8_t NONLINEAR[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

/* --- blocks of 32 --- */

DTX_CLONES
static void q8_0(const uint8_t *b, int64_t n, float *out)
{
    for (int64_t k = 0; k < n; k += 32, b += 34) {
        const float d = half_at(b);
        for (int j = 0; j < 32; j++) {
            out[k + j] = d * (float)(int8_t)b[2 + j];
        }
    }
}

DTX_CLONES
static void q4_0(const uint8_t *b, int64_t n, float *out)
{
    for (int64_t k = 0; k < n; k += 32, b += 18) {
        const float d = half_at(b);
        for (int j = 0; j < 16; j++) {
            out[k + j] = d * (float)((b[2 + j] & 15) - 8);
            out[k + j + 16] = d * (float)((b[2 + j] >> 4) - 8);
        }
    }
}

DTX_CLONES
static void q4_1(const uint8_t *b, int64_t n, float *out)
{
    for (int64_t k = 0; k < n; k += 32, b += 20) {
        const float d = half_at(b), m = half_at(b + 2);
        for (int j = 0; j < 16; j++) {
            out[k + j] = d * (float)(b[4 + j] & 15) + m;
            out[k + j + 16] = d * (float)(b[4 + j] >> 4) + m;
        }
    }
}

DTX_CLONES
static void q5_0(const uint8_t *b, int64_t n, float *out)
{
    for (int64_t k = 0; k < n; k += 32, b += 22) {
        const float d = half_at(b);
        uint32_t high;
        memcpy(&high, b + 2, sizeof high);
        for (int j = 0; j < 16; j++) {
            out[k + j] = d * (float)((int)(b[6 + j] & 15) + (int)(high >> j & 1) * 16 - 16);
            out[k + j + 16] = d * (float)((int)(b[6 + j] >> 4) + (int)(high >> (j + 16) & 1) * 16 - 16);
        }
    }
}

DTX_CLONES
static void q5_1(const uint8_t *b, int64_t n, float *out)
{
    for (int64_t k = 0; k < n; k += 32, b += 24) {
        const float d = half_at(b), m = half_at(b + 2);
        uint32_t high;
        memcpy(&high, b + 4, sizeof high);
        for (int j = 0; j < 16; j++) {
            out[k + j] = d * (float)((int)(b[8 + j] & 15) + (int)(high >> j & 1) * 16) + m;
            out[k + j + 16] = d * (float)((int)(b[8 + j] >> 4) + (int)(high >> (j + 16) & 1) * 16) + m;
        }
    }
}

DTX_CLONES
static void iq4_nl(const uint8_t *b, int64_t n, float *out)
{
    for (int64_t k = 0; k < n; k += 32, b += 18) {
        const float d = half_at(b);
        for (int j = 0; j < 16; j++) {
            out[k + j] = d * (float)NONLINEAR[b[2 + j] & 15];
            out[k + j + 16] = d * (float)NONLINEAR[b[2 + j] >> 4];
        }
    }
}

/* --- blocks of 256 --- */

DTX_CLONES
static void q2_k(const uint8_t *b, int64_t n, float *out)
{
    for (int64_t k = 0; k < n; k += 256, b += 84) {
        const float d = half_at(b + 80), m = half_at(b + 82);
        for (int s = 0; s < 16; s++) { /* group s: half s / 8, bits 2 (s % 8 / 2), the first or second 16 bytes */
            const uint8_t *q = b + 16 + s / 8 * 32 + s % 2 * 16;
            const float scale = d * (float)(b[s] & 15), low = m * (float)(b[s] >> 4);
            for (int j = 0; j < 16; j++) {
                out[k + 16 * s + j] = scale * (float)(q[j] >> (s % 8 / 2 * 2) & 3) - low;
            }
        }
    }
}

DTX_CLONES
static void q3_k(const uint8_t *b, int64_t n, float *out)
{
    for (int64_t k = 0; k < n; k += 256, b += 110) {
        const uint8_t *sc = b + 96;
        const float d = half_at(b + 108);
        for (int s = 0; s < 16; s++) {
            const uint8_t *q = b + 32 + s / 8 * 32 + s % 2 * 16, *high = b + s % 2 * 16;
            const int low = s < 8 ? sc[s] & 15 : sc[s - 8] >> 4, up = sc[8 + s % 4] >> (s / 4 * 2) & 3;
            const float scale = d * (float)((low | up << 4) - 32);
            for (int j = 0; j < 16; j++) {
                out[k + 16 * s + j] = scale * (float)((q[j] >> (s % 8 / 2 * 2) & 3) + (high[j] >> (s / 2) & 1) * 4 - 4);
            }
        }
    }
}

/* Scale and min number s of Q4_K and Q5_K, six bits each in 12 bytes. */
DTX_INLINE void scale_min(const uint8_t *sc, int s, int *scale, int *min)
{
    if (s < 4) {
        *scale = sc[s] & 63;
        *min = sc[s + 4] & 63;
    } else {
        *scale = (sc[s + 4] & 15) | (sc[s - 4] >> 6) << 4;
        *min = sc[s + 4] >> 4 | (sc[s] >> 6) << 4;
    }
}

DTX_CLONES
static void q4_k(const uint8_t *b, int64_t n, float *out)
{
    for (int64_t k = 0; k < n; k += 256, b += 144) {
        const float d = half_at(b), m = half_at(b + 2);
        for (int s = 0; s < 8; s += 2) {
            const uint8_t *q = b + 16 + 16 * s;
            int a[2], low[2];
            scale_min(b + 4, s, &a[0], &low[0]);
            scale_min(b + 4, s + 1, &a[1], &low[1]);
            const float s0 = d * (float)a[0], s1 = d * (float)a[1], m0 = m * (float)low[0], m1 = m * (float)low[1];
            for (int j = 0; j < 32; j++) {
                out[k + 32 * s + j] = s0 * (float)(q[j] & 15) - m0;
                out[k + 32 * s + 32 + j] = s1 * (float)(q[j] >> 4) - m1;
            }
        }
    }
}

DTX_CLONES
static void q5_k(const uint8_t *b, int64_t n, float *out)
{
    for (int64_t k = 0; k < n; k += 256, b += 176) {
        const float d = half_at(b), m = half_at(b + 2);
        const uint8_t *high = b + 16;
        for (int s = 0; s < 8; s += 2) {
            const uint8_t *q = b + 48 + 16 * s;
            int a[2], low[2];
            scale_min(b + 4, s, &a[0], &low[0]);
            scale_min(b + 4, s + 1, &a[1], &low[1]);
            const float s0 = d * (float)a[0], s1 = d * (float)a[1], m0 = m * (float)low[0], m1 = m * (float)low[1];
            for (int j = 0; j < 32; j++) {
                out[k + 32 * s + j] = s0 * (float)((q[j] & 15) + (high[j] >> s & 1) * 16) - m0;
                out[k + 32 * s + 32 + j] = s1 * (float)((q[j] >> 4) + (high[j] >> (s + 1) & 1) * 16) - m1;
            }
        }
    }
}

DTX_CLONES
static void q6_k(const uint8_t *b, int64_t n, float *out)
{
    for (int64_t k = 0; k < n; k += 256, b += 210) {
        const float d = half_at(b + 208);
        for (int s = 0; s < 16; s++) { /* half s / 8, quarter s % 8 / 2, the first or second 16 of its 32 */
            const int t = s % 8 / 2;
            const uint8_t *low = b + s / 8 * 64 + t % 2 * 32 + s % 2 * 16, *high = b + 128 + s / 8 * 32 + s % 2 * 16;
            const float scale = d * (float)(int8_t)b[192 + s];
            for (int j = 0; j < 16; j++) {
                const int q = (low[j] >> (t / 2 * 4) & 15) | (high[j] >> (2 * t) & 3) << 4;
                out[k + 16 * s + j] = scale * (float)(q - 32);
            }
        }
    }
}

DTX_CLONES
static void iq4_xs(const uint8_t *b, int64_t n, float *out)
{
    for (int64_t k = 0; k < n; k += 256, b += 136) {
        const float d = half_at(b);
        uint16_t high;
        memcpy(&high, b + 2, sizeof high);
        for (int s = 0; s < 8; s++) {
            const uint8_t *q = b + 8 + 16 * s;
            const int low = b[4 + s / 2] >> (s % 2 * 4) & 15;
            const float scale = d * (float)((low | (high >> (2 * s) & 3) << 4) - 32);
            for (int j = 0; j < 16; j++) {
                out[k + 32 * s + j] = scale * (float)NONLINEAR[q[j] & 15];
                out[k + 32 * s + j + 16] = scale * (float)NONLINEAR[q[j] >> 4];
            }
        }
    }
}

void dtx_quant_widen(dtx_dtype t, const void *x, int64_t n, float *out)
{
    switch (t) {
    case DTX_Q8_0:
        q8_0(x, n, out);
        break;
    case DTX_Q4_0:
        q4_0(x, n, out);
        break;
    case DTX_Q4_1:
        q4_1(x, n, out);
        break;
    case DTX_Q5_0:
        q5_0(x, n, out);
        break;
    case DTX_Q5_1:
        q5_1(x, n, out);
        break;
    case DTX_IQ4_NL:
        iq4_nl(x, n, out);
        break;
    case DTX_Q2_K:
        q2_k(x, n, out);
        break;
    case DTX_Q3_K:
        q3_k(x, n, out);
        break;
    case DTX_Q4_K:
        q4_k(x, n, out);
        break;
    case DTX_Q5_K:
        q5_k(x, n, out);
        break;
    case DTX_Q6_K:
        q6_k(x, n, out);
        break;
    case DTX_IQ4_XS:
        iq4_xs(x, n, out);
        break;
    default:
        dtx_widen(t, x, n, out);
    }
}
