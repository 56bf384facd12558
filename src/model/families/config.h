/* config.h - what the families share in reading and writing config.json. An error names the file, the key, the value
 * found and what is supported. */
#ifndef DTX_FAMILIES_CONFIG_H
#define DTX_FAMILIES_CONFIG_H

#include "src/base/json.h"
#include "src/model/families/arch.h"

/* Largest sizes that are taken from a file. They keep every product of two of them far from 2^63. */
enum { DTX_CFG_MAX_LAYERS = DTX_MAX_LAYERS, DTX_CFG_MAX_WIDTH = 1 << 20, DTX_CFG_MAX_VOCAB = 1 << 24, DTX_CFG_MAX_FFN = 1 << 22 };

/* A config.json while it is read. */
typedef struct {
    const cJSON *root;
    const char *path;
} dtx_cfg;

/* "path: key: X is not supported; supported: allowed". X is the value as the file spells it, shortened. */
dtx_status dtx_cfg_unsupported(const dtx_cfg *s, const char *key, const char *allowed);
/* A whole number that must be there, under `key` or its older spelling `old` (may be NULL). Both given must agree. */
dtx_status dtx_cfg_need_int(const dtx_cfg *s, const char *key, const char *old, int64_t max, int64_t *out);
/* A switch that the core knows in one position only. */
dtx_status dtx_cfg_need_bool(const dtx_cfg *s, const char *key, bool wanted);
/* An id, or a list that holds one id (as some generation_config.json spell it). Absent or null leaves *out. */
dtx_status dtx_cfg_token(const dtx_cfg *s, const char *key, int64_t vocab, int64_t *out);
/* eos_token_id: an id or a list of at most DTX_MAX_EOS; absent or null leaves *out. */
dtx_status dtx_cfg_eos(const dtx_cfg *s, int64_t vocab, dtx_eos *out);
/* bos, eos and pad. */
dtx_status dtx_cfg_tokens(const dtx_cfg *s, dtx_arch *a);
/* An absent key leaves *out. */
dtx_status dtx_cfg_activation(const dtx_cfg *s, const char *key, dtx_activation *out);
/* Keys of any family that would change what is computed. */
dtx_status dtx_cfg_check_common(const dtx_cfg *s);
/* "architectures" may be absent; when given it must name a class (NULL ends the list) whose head the core has. */
dtx_status dtx_cfg_check_class(const dtx_cfg *s, const char *const *classes);
/* Rotary base and share; `share` is the family's default. */
dtx_status dtx_cfg_rotary(const dtx_cfg *s, double share, dtx_arch *a);
/* rope_scaling or an object of rope_parameters: `item` (NULL = absent), called `key` in messages. r->base holds the default. positions: the
 * model's, which is the trained length where the object does not say. Types that are not implemented are refused. */
dtx_status dtx_cfg_rope(const dtx_cfg *s, const cJSON *item, const char *key, int64_t positions, dtx_rope *r);
/* layer_types: layers with a window get their bit. *given: the key is there. */
dtx_status dtx_cfg_layer_types(const dtx_cfg *s, dtx_arch *a, bool *given);
/* sliding_window, once the layers have their bits. */
dtx_status dtx_cfg_window(const dtx_cfg *s, dtx_arch *a);
/* Sizes that all families state, the older spelling in second place (NULL = none). */
dtx_status dtx_cfg_sizes(const dtx_cfg *s, const char *old_layers, const char *old_heads, dtx_arch *a);
dtx_status dtx_cfg_eps(const dtx_cfg *s, const char *key, double fallback, dtx_arch *a);

/* --- writing --- */

void dtx_cfg_add_text(cJSON *o, const char *key, const char *value);
void dtx_cfg_add_number(cJSON *o, const char *key, double value);
void dtx_cfg_add_bool(cJSON *o, const char *key, bool value);
/* An f32 value with the digits a person would have typed: 1e-05, not 9.999999747e-06. */
void dtx_cfg_add_f32(cJSON *o, const char *key, float value);
/* The library's spelling. */
const char *dtx_cfg_activation_name(dtx_activation act);
/* rope_theta and, where there is a scaling, rope_scaling. */
void dtx_cfg_add_rope(cJSON *o, const dtx_rope *r);
void dtx_cfg_add_layer_types(cJSON *o, const dtx_arch *a);
/* hidden_size, num_hidden_layers, num_attention_heads, vocab_size, max_position_embeddings */
void dtx_cfg_add_sizes(cJSON *o, const dtx_arch *a);

#endif
