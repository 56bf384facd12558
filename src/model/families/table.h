/* table.h - the model families: one row each, made in a file of its own. Nothing outside this folder asks which family a
 * model is: what differs is a field of dtx_arch or of the row. Adding a family is adding a file and its row in table.c. */
#ifndef DTX_FAMILIES_TABLE_H
#define DTX_FAMILIES_TABLE_H

#include "src/model/families/config.h"

/* Where a part stands in the family's folders. '#' in the name is the layer's number. */
typedef struct {
    int part;              /* dtx_module_kind or dtx_part; -1 ends a list */
    const char *name;
} dtx_part_name;

/* Another way that folders spell the beginning of names. NULL ends a list. */
typedef struct {
    const char *name, *stored;
} dtx_spelling;

typedef struct {
    const char *model_type;      /* of config.json, as it is written */
    const char *dialects[3];     /* older spellings that are read too; NULL ends */
    const char *title;           /* "GPT-NeoX" */
    const char *known;           /* models that people know it by */
    const char *classes[4];      /* of "architectures"; the first is written; NULL ends */
    int code;                    /* part of the fingerprint: never changes, never used again */
    bool encoder;                /* a classifier; else a decoder */
    bool study;                  /* its chat models were tuned on "<human>: ... <bot>:", the study's template */
    /* Reads what is particular to the family: *a has its model_type, ids -1, all else 0. */
    dtx_status (*read)(const dtx_cfg *s, dtx_arch *a);
    /* Adds what is particular to it; a description that the family cannot state is DTX_ERR_USAGE. */
    dtx_status (*write)(cJSON *o, const dtx_arch *a);
    /* Parts in the order of the arena, those of a layer one after the other; parts that the description lacks are passed over. */
    const dtx_part_name *(*names)(const dtx_arch *a);
    const dtx_spelling *spellings; /* NULL = names are stored as they are */
    /* Tensors that folders carry beside the weights: NULL-ended list; "*x" is any name that ends with x, "x*" begins with x. */
    const char *const *ignored;
    const char *const *targets;    /* modules that LoRA adapts where the user names none, as PEFT has it; NULL-ended */
    /* Completes a description that has sizes, ids and activation to one that is trained from scratch; NULL = none. */
    void (*fresh)(dtx_arch *a);
} dtx_family;

extern const dtx_family dtx_family_neox, dtx_family_falcon, dtx_family_roberta, dtx_family_llama,
    dtx_family_mistral, dtx_family_qwen2, dtx_family_qwen3, dtx_family_smollm3, dtx_family_olmo2, dtx_family_gemma, dtx_family_gemma2,
    dtx_family_gemma3, dtx_family_phi3, dtx_family_gpt2, dtx_family_gpt_neo;

/* Row i of the table; NULL past the end. */
const dtx_family *dtx_family_at(int i);
/* By model_type or a dialect of it; NULL = unknown. */
const dtx_family *dtx_family_find(const char *model_type);
/* Of a description; its model_type must be one that dtx_family_find knows. */
const dtx_family *dtx_family_of(const dtx_arch *a);

/* Whether a tensor is one that folders carry beside the weights. */
bool dtx_family_ignores(const dtx_arch *a, const char *tensor);

#endif
