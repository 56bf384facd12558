/* dropout.h - inverted dropout whose mask is a function of counters, so that the same sample in the same step loses the
 * same elements on any rank and in any batch, and a layer that is run again in backward sees the mask of its forward pass. */
#ifndef DTX_DROPOUT_H
#define DTX_DROPOUT_H

#include <stdint.h>

typedef struct {
    double p;               /* probability of a zero, 0 <= p < 1 */
    uint64_t seed;
    const uint64_t *row;    /* (R) key of each row; borrowed until the last backward pass */
} dtx_dropout;

/* The key of a row: which step, which sample, which token of it. */
uint64_t dtx_dropout_key(int64_t step, int64_t sample, int64_t token);
/* y (R, width) = x * mask / (1 - p); add: y += instead. slot keeps the places apart where a mask is used. x may be y. */
void dtx_dropout_apply(const dtx_dropout *o, int64_t slot, int64_t R, int64_t width, const float *x, float *y, int add);

#endif
