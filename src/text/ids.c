#include "src/text/ids.h"

#include <string.h>

#include "src/base/mem.h"

void dtx_ids_free(dtx_ids *ids)
{
    dtx_free(ids->id);
    memset(ids, 0, sizeof *ids);
}

dtx_status dtx_ids_add(dtx_ids *ids, int32_t id)
{
    if (ids->n == ids->cap) {
        DTX_TRY(DTX_GROW(ids->id, ids->cap, ids->n + 1));
    }
    ids->id[ids->n++] = id;
    return DTX_OK;
}

dtx_status dtx_ids_append(dtx_ids *ids, const int32_t *id, size_t n)
{
    if (n > 0) {
        DTX_TRY(DTX_GROW(ids->id, ids->cap, ids->n + n));
        memcpy(ids->id + ids->n, id, n * sizeof *id);
        ids->n += n;
    }
    return DTX_OK;
}
