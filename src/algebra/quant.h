/* quant.h - quantised weights as GGUF files hold them, and what they stand for. A value is d q, or d q - m s, with scales d, m
 * in f16 and small whole numbers q, s: the products are exact in f32 and one addition rounds, so that every processor gives
 * the same bits. Layouts: a block is packed without padding, its parts in this order (b[i]: byte i; nibbles of a 32-block are
 * split: byte j holds element j below and element j + 16 above):
 *   Q8_0    d, i8 q[32]                     d q
 *   Q4_0    d, 16 bytes                     d (q - 8)
 *   Q4_1    d, m, 16 bytes                  d q + m
 *   Q5_0    d, u32 high, 16 bytes           d (q + 16 high_e - 16)
 *   Q5_1    d, m, u32 high, 16 bytes        d (q + 16 high_e) + m
 *   IQ4_NL  d, 16 bytes                     d N[q], N = sixteen fixed numbers
 *   Q2_K    scales[16], q[64], d, m         d (low scale) q - m (high scale), 16 groups of 16
 *   Q3_K    high[32], q[64], scales[12], d  d (scale - 32) (q + 4 high - 4), 16 groups of 16
 *   Q4_K    d, m, scales[12], q[128]        d scale q - m min, 8 groups of 32
 *   Q5_K    d, m, scales[12], high[32], q[128]   the same with 16 high added to q
 *   Q6_K    low[128], high[64], i8 scales[16], d  d scale (q - 32), 16 groups of 16
 *   IQ4_XS  d, u16 high, low[4], q[128]     d (scale - 32) N[q], 8 groups of 32 */
#ifndef DTX_QUANT_H
#define DTX_QUANT_H

#include <stdbool.h>
#include <stdint.h>

#include "src/base/dtype.h"

/* out (n) = the values at x of any floating or quantised type; n is a whole number of blocks. x at any byte. */
void dtx_quant_widen(dtx_dtype t, const void *x, int64_t n, float *out);

#endif
