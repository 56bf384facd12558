/* gguf.h - a GGUF file as the folder that it was made from: its keys as the config.json that the families read, its tensors
 * under the folder's names and with the folder's rows. What converters change is undone here: rows of queries and keys that
 * stand in pairs (llama), heads that stand apart (gpt_neox, falcon), norms with 1 added (gemma). */
#ifndef DTX_FAMILIES_GGUF_H
#define DTX_FAMILIES_GGUF_H

#include "src/base/json.h"
#include "src/model/families/arch.h"
#include "src/weights/gguf.h"

/* config.json as an object that the caller deletes. DTX_ERR_INPUT naming the key that is missing or not supported. */
dtx_status dtx_gguf_config(const dtx_gguf *g, cJSON **out);
/* Renames the tensors of a set that was opened from a GGUF file, and gives them their rows' order. Matrices stay where they are;
 * vectors that change are copied. Tensors without a place keep their names. */
dtx_status dtx_gguf_rename(dtx_weights *w, const dtx_arch *a);

#endif
