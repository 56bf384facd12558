#include "jobs/shared/eos.h"

#include <stdio.h>

#include "src/model/families/config.h"

void dtx_eos_add(cJSON *o, const dtx_eos *e)
{
    if (e->n > 1) {
        cJSON_AddItemToObject(o, "eos_token_id", cJSON_CreateIntArray(e->id, e->n));
    } else {
        cJSON_AddNumberToObject(o, "eos_token_id", e->n > 0 ? e->id[0] : -1);
    }
}

dtx_status dtx_eos_get(const cJSON *o, const char *name, dtx_eos *out)
{
    const cJSON *item = dtx_json_get(o, "eos_token_id");

    if (cJSON_IsNumber(item) && item->valuedouble == -1) {
        *out = dtx_eos_of(-1);
        return DTX_OK;
    }
    return dtx_cfg_eos(&(dtx_cfg){o, name}, INT32_MAX, out);
}

const char *dtx_eos_text(const dtx_eos *e, char *text, size_t size)
{
    size_t n = (size_t)snprintf(text, size, "%d", e->n > 0 ? (int)e->id[0] : -1);

    for (int i = 1; i < e->n && n < size; i++) {
        n += (size_t)snprintf(text + n, size - n, ",%d", (int)e->id[i]);
    }
    return text;
}
