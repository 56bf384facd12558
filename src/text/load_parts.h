/* load_parts.h - the readers of the parts of tokenizer files, for load.c alone. `path` is the file's name for messages; what is not
 * supported is DTX_ERR_INPUT and named. */
#ifndef DTX_TEXT_LOAD_PARTS_H
#define DTX_TEXT_LOAD_PARTS_H

#include <cjson/cJSON.h>

#include "src/text/impl.h"
#include "src/weights/gguf.h"

/* --- load_model.c: t->kind says whether symbols are bytes; it becomes the model's kind --- */
dtx_status dtx_load_model(dtx_tokenizer *t, const char *path, const cJSON *model);
dtx_status dtx_load_vocab(dtx_tokenizer *t, const char *path, const cJSON *vocab);
dtx_status dtx_load_merges_txt(dtx_tokenizer *t, const char *path, const char *text, size_t size);

/* --- load_pipeline.c --- */
dtx_status dtx_load_normalizer(dtx_tokenizer *t, const char *path, const cJSON *c);
/* *mapped: ByteLevel is among the stages. */
dtx_status dtx_load_pre_tokenizer(dtx_tokenizer *t, const char *path, const cJSON *c, bool *mapped);
dtx_status dtx_load_stage(dtx_tokenizer *t, const char *path, dtx_stage stage);
dtx_status dtx_load_decoder(dtx_tokenizer *t, const char *path, const cJSON *c);
dtx_status dtx_load_post_processor(dtx_tokenizer *t, const char *path, const cJSON *c);
/* <s> A </s>, <s> A </s></s> B </s> */
void dtx_load_roberta(dtx_tokenizer *t, int32_t cls, int32_t sep);

/* --- load_added.c --- */
dtx_status dtx_load_added(dtx_tokenizer *t, const char *path, const cJSON *list);
/* What tokenizer_config.json, added_tokens.json and special_tokens_map.json add; each may be NULL. */
dtx_status dtx_load_config(dtx_tokenizer *t, dtx_tok_file config, dtx_tok_file added, dtx_tok_file map);

/* --- load_gguf.c --- */
/* Everything out of the keys tokenizer.ggml.*: byte-level BPE whose split llama.cpp names in `pre`, and SentencePiece BPE by scores. */
dtx_status dtx_load_gguf(dtx_tokenizer *t, const dtx_gguf *g);

#endif
