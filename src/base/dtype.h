/* dtype.h - element types of stored tensors, and widening of 16-bit values to f32 (exact). The types after DTX_BOOL are
 * quantised: a row is whole blocks of so many values in so many bytes (src/algebra/quant.h makes f32 of them). */
#ifndef DTX_DTYPE_H
#define DTX_DTYPE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef enum {
    DTX_F32, DTX_F16, DTX_BF16, DTX_F64, DTX_I64, DTX_I32, DTX_I16, DTX_I8, DTX_U8, DTX_BOOL,
    DTX_Q8_0, DTX_Q4_0, DTX_Q4_1, DTX_Q5_0, DTX_Q5_1, DTX_IQ4_NL,                     /* blocks of 32 */
    DTX_Q2_K, DTX_Q3_K, DTX_Q4_K, DTX_Q5_K, DTX_Q6_K, DTX_IQ4_XS                      /* blocks of 256 */
} dtx_dtype;
enum { DTX_DTYPES = DTX_IQ4_XS + 1, DTX_MAX_BLOCK = 256 };

/* Bytes of an element; 0 for quantised types, whose elements have none of their own. */
size_t dtx_dtype_size(dtx_dtype t);
/* Values of a block (1 where elements stand alone) and its bytes. */
int64_t dtx_dtype_block(dtx_dtype t);
size_t dtx_dtype_block_bytes(dtx_dtype t);
/* Bytes of n elements in a row; n is a whole number of blocks. */
static inline int64_t dtx_dtype_bytes(dtx_dtype t, int64_t n)
{
    return n / dtx_dtype_block(t) * (int64_t)dtx_dtype_block_bytes(t);
}
static inline int dtx_dtype_is_quantised(dtx_dtype t)
{
    return t > DTX_BOOL;
}
/* safetensors' name: "F32", "BF16", ...; for quantised types GGUF's: "Q4_K". */
const char *dtx_dtype_name(dtx_dtype t);

/* out[i] = x[i] for n elements of a floating type (F32, F16, BF16, F64 rounds). x need not be aligned. */
void dtx_widen(dtx_dtype t, const void *x, int64_t n, float *out);

static inline float dtx_bf16_to_f32(uint16_t h)
{
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* Round to nearest even; NaN stays NaN. */
static inline uint16_t dtx_f32_to_bf16(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    if ((u & 0x7FFFFFFFu) > 0x7F800000u) {
        return (uint16_t)(u >> 16 | 0x40u);
    }
    return (uint16_t)((u + 0x7FFFu + (u >> 16 & 1u)) >> 16);
}

float dtx_f16_to_f32(uint16_t h);
uint16_t dtx_f32_to_f16(float f);

#endif
