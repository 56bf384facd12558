/* ids.h - a growing list of token ids. */
#ifndef DTX_IDS_H
#define DTX_IDS_H

#include <stddef.h>
#include <stdint.h>

#include "src/base/status.h"

/* Zero-initialised is empty. */
typedef struct {
    int32_t *id;
    size_t n, cap;
} dtx_ids;
void dtx_ids_free(dtx_ids *ids);
/* Appends one id, or n of them (id may be NULL when n is 0). */
dtx_status dtx_ids_add(dtx_ids *ids, int32_t id);
dtx_status dtx_ids_append(dtx_ids *ids, const int32_t *id, size_t n);

#endif
