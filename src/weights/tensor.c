/* tensor.c - the size of a tensor, and its shape in words. */
#include <stdio.h>
#include <string.h>

#include "src/weights/parts.h"

bool dtx_tensor_measure(dtx_tensor *t)
{
    t->n_elements = 1;
    for (int i = 0; i < t->n_dims; i++) {
        if (__builtin_mul_overflow(t->n_elements, t->shape[i], &t->n_elements)) {
            return false;
        }
    }
    return !__builtin_mul_overflow((size_t)(t->n_elements / dtx_dtype_block(t->dtype)), dtx_dtype_block_bytes(t->dtype), &t->size_bytes);
}

void dtx_tensor_shape_text(const dtx_tensor *t, char *out, size_t size)
{
    int at = snprintf(out, size, "[");

    for (int i = 0; i < t->n_dims && at >= 0 && (size_t)at < size; i++) {
        at += snprintf(out + at, size - (size_t)at, "%s%lld", i > 0 ? ", " : "", (long long)t->shape[i]);
    }
    if (at >= 0 && (size_t)at < size) {
        snprintf(out + at, size - (size_t)at, "]");
    }
}
