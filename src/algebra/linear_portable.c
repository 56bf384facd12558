/* linear_portable.c - register tile for any processor: 16-byte vectors. */
#define VW 4
#define MR 4
#define FMA(acc, x, y) ((acc) += (x) * (y))
#define SPREAD(x) ((vec){x, x, x, x})
#define WIDEN_F16(p)                                                                          \
    ((vec){dtx_native_element(DTX_F16, p, 0), dtx_native_element(DTX_F16, p, 1),              \
           dtx_native_element(DTX_F16, p, 2), dtx_native_element(DTX_F16, p, 3)})
#include "src/algebra/linear_micro.h"

static void transpose(dtx_dtype t, const void *src, int64_t ld, int64_t rows, int64_t cols, float *out,
                            int64_t ldo)
{
    for (int64_t c = 0; c < cols; c++) {
        for (int64_t r = 0; r < rows; r++) {
            out[c * ldo + r] = dtx_native_element(t, src, r * ld + c);
        }
        for (int64_t r = rows; r % 16 != 0; r++) {
            out[c * ldo + r] = 0.0f;
        }
    }
}

static void copy(dtx_dtype t, const void *src, int64_t ld, int64_t rows, int64_t cols, float *out, int64_t ldo,
                 int64_t width, int64_t step)
{
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < cols; c += width) {
            dtx_widen(t, (const char *)src + (size_t)(r * ld + c) * dtx_dtype_size(t), cols - c < width ? cols - c : width,
                      out + c / width * step + r * ldo);
        }
    }
}

static const dtx_native portable = {"portable", MR, NR, kernel, transpose, copy, vector, NULL, NULL, false, 1, NULL, NULL};

const dtx_native *dtx_native_portable(void)
{
    return &portable;
}
