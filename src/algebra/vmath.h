/* vmath.h - exp and the normal distribution as branch-free expressions: loops over them become vector code inside
 * functions marked DTX_CLONES. The polynomials are minimax fits made for this file; errors are tested against libm. */
#ifndef DTX_VMATH_H
#define DTX_VMATH_H

#include <stdint.h>
#include <string.h>

#include "src/base/simd.h"

/* 16 floats, 8 doubles: sums over a row run in this many lanes on every processor. */
typedef float dtx_v16 __attribute__((vector_size(64), aligned(4), may_alias));
typedef double dtx_v8d __attribute__((vector_size(64), aligned(8), may_alias));

/* e^x within 1.5 ulp for -87 <= x <= 88; 0 below, e^88 above; NaN stays NaN. */
DTX_INLINE float dtx_expf(float x)
{
    float c = x > 88.0f ? 88.0f : x < -87.0f ? -87.0f : x;
    float shifted = c * 1.44269504f + 12582912.0f; /* round to the nearest integer in the low bits */
    float n = shifted - 12582912.0f;
    float r = (c - n * 0.693145752f) - n * 1.42860677e-6f;
    float p = 1.39504799e-3f;
    int32_t bits;
    float scale;

    p = p * r + 8.36888328e-3f;
    p = p * r + 4.16662060e-2f;
    p = p * r + 0.166665182f;
    p = p * r + 0.5f;
    p = p * (r * r) + r + 1.0f;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (int32_t)((uint32_t)bits << 23) + 0x3F800000; /* 2^n */
    memcpy(&scale, &bits, sizeof scale);
    return x < -87.0f ? 0.0f : p * scale;
}

/* tanh x within 3 ulp: a polynomial of Moshier's (Cephes) below 0.625, 1 - 2 / (e^2x + 1) beyond. */
DTX_INLINE float dtx_tanhf(float x)
{
    float u = x < 0.0f ? -x : x, s = x * x, p = -5.70498872745e-3f;

    p = p * s + 2.06390887954e-2f;
    p = p * s - 5.37397155531e-2f;
    p = p * s + 1.33314422036e-1f;
    p = p * s - 3.33332819422e-1f;
    float near = x + x * s * p, far = 1.0f - 2.0f / (dtx_expf(2.0f * u) + 1.0f);
    return u < 0.625f ? near : x < 0.0f ? -far : far;
}

/* e^x in double for -700 <= x <= 700, within a few ulp; 0 below. */
DTX_INLINE double dtx_exp(double x)
{
    double c = x < -700.0 ? -700.0 : x > 700.0 ? 700.0 : x;
    double shifted = c * 1.4426950408889634 + 0x1.8p52;
    double n = shifted - 0x1.8p52;
    double r = (c - n * 0x1.62e42fee00000p-1) - n * 0x1.a39ef35793c76p-33;
    double p = 1.0 / 479001600.0; /* Taylor's series to r^12: the rest is below 2e-16 */
    int64_t bits;
    double scale;

    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * (r * r) + r + 1.0;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (int64_t)((uint64_t)bits << 52) + 0x3FF0000000000000;
    memcpy(&scale, &bits, sizeof scale);
    return x < -700.0 ? 0.0 : p * scale;
}

/* P(X <= x) of the normal distribution, which is (1 + erf(x / sqrt 2)) / 2, within 1e-7 and without cancellation in the
 * tail. gauss = exp(-x^2 / 2). */
DTX_INLINE float dtx_normal_cdf(float x, float gauss)
{
    float u = x < 0.0f ? -x : x, s = x * x;
    /* |x| <= 1.25: 1/2 + x P(x^2) */
    float p = -6.46059016e-6f;
    p = p * s + 1.09580324e-4f;
    p = p * s - 1.18161913e-3f;
    p = p * s + 9.97081306e-3f;
    p = p * s - 6.64898083e-2f;
    p = p * s + 0.398942232f;
    /* beyond: P(X > u) = gauss * Q(1 / (1 + 0.32 u)) */
    float t = 1.0f / (1.0f + 0.319999993f * u), q = -7.83399343e-2f;
    q = q * t + 0.168507561f;
    q = q * t + 2.21510902e-2f;
    q = q * t + 0.135344386f;
    q = q * t + 0.124246523f;
    q = q * t + 0.127893314f;
    q = q * t * gauss;
    return u <= 1.25f ? 0.5f + x * p : x < 0.0f ? q : 1.0f - q;
}

#endif
