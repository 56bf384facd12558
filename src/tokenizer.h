/* tokenizer.h - byte-level BPE as Hugging Face's library runs it: tokenizer.json (GPT-NeoX 20B, Falcon 7B, RoBERTa and
 * what `pretrain` writes) or vocab.json + merges.txt (RoBERTa). Immutable after loading, usable from several threads.
 * Texts are bytes with a length: NUL is a character like others. Text that is not UTF-8 is DTX_ERR_INPUT with the offset. */
#ifndef DTX_TOKENIZER_H
#define DTX_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/status.h"

typedef struct dtx_tokenizer dtx_tokenizer;

/* A growing list of ids; zero-initialised is empty. */
typedef struct {
    int32_t *id;
    size_t n, cap;
} dtx_ids;
void dtx_ids_free(dtx_ids *ids);

/* Folder with tokenizer.json or vocab.json + merges.txt. */
dtx_status dtx_tokenizer_open(const char *dir, dtx_tokenizer **out);
void dtx_tokenizer_close(dtx_tokenizer *t);

/* Ids of a text, appended to *out. special adds what the tokenizer adds around a text (RoBERTa's <s> </s>). */
dtx_status dtx_tokenizer_encode(const dtx_tokenizer *t, const char *text, size_t len, bool special, dtx_ids *out);
/* The same cut to max_length ids, special ones counted (golden/tokenizers "Truncation"). */
dtx_status dtx_tokenizer_encode_max(const dtx_tokenizer *t, const char *text, size_t len, bool special,
                                    int64_t max_length, dtx_ids *out);
/* A pair with special tokens, longest_first truncation when max_length > 0. */
dtx_status dtx_tokenizer_encode_pair(const dtx_tokenizer *t, const char *a, size_t a_len, const char *b, size_t b_len,
                                     bool special, int64_t max_length, dtx_ids *out);
/* Text of ids as UTF-8 (ill-formed parts become U+FFFD); *out is NUL-terminated and freed with dtx_free, its length in
 * *len. clean_up applies transformers' clean_up_tokenization_spaces. */
dtx_status dtx_tokenizer_decode(const dtx_tokenizer *t, const int32_t *ids, size_t n, bool skip_special, bool clean_up,
                                char **out, size_t *len);

/* Number of ids (largest id + 1). */
int64_t dtx_tokenizer_size(const dtx_tokenizer *t);
/* The vocabulary's own string of an id in the byte alphabet ("Ġthe", "Ċ"), NULL where there is none. Borrowed. */
const char *dtx_tokenizer_piece(const dtx_tokenizer *t, int32_t id);
/* Bytes that an id decodes to; returns the length, *bytes borrowed. 0 for unknown ids. */
size_t dtx_tokenizer_bytes(const dtx_tokenizer *t, int32_t id, const char **bytes);
bool dtx_tokenizer_is_special(const dtx_tokenizer *t, int32_t id);
/* Id of a token by its content ("<|endoftext|>"), -1 when there is none. */
int32_t dtx_tokenizer_id(const dtx_tokenizer *t, const char *token);

/* Trains a byte-level BPE of `vocab` ids (special tokens first: "<|endoftext|>", "<|padding|>"; then the 256 bytes; then
 * merges by descending count, ties by the pair's bytes) on n texts with the GPT-2 splitting regex, and writes
 * DIR/tokenizer.json that Hugging Face's library loads, and tokenizer_config.json. RoBERTa style when `roberta`:
 * specials <s> <pad> </s> <unk> <mask> and the RoBERTa post-processor. Deterministic. */
dtx_status dtx_bpe_train(const char *const *texts, const size_t *lens, int64_t n, int64_t vocab, bool roberta,
                         const char *dir);

#endif
