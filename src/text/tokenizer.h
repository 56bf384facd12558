/* tokenizer.h - byte-level BPE as Hugging Face's library runs it: tokenizer.json (GPT-NeoX 20B, Falcon 7B, RoBERTa and
 * what `pretrain` writes) or vocab.json + merges.txt (RoBERTa). Immutable after loading, usable from several threads.
 * Texts are bytes with a length: NUL is a character like others. Text that is not UTF-8 is DTX_ERR_INPUT with the
 * offset of the first ill-formed byte; nothing is appended then. Decoding never fails on ill-formed bytes.
 *
 * A text takes this way:
 *   1. added tokens with normalized = false are found in the text (leftmost, longest); lstrip and rstrip take whitespace
 *   2. each segment between them is normalized (NFC, or not at all)
 *   3. added tokens with normalized = true are found in the segments
 *   4. each segment is cut into pieces by the pre-tokenizers, in their order
 *   5. each piece's bytes are merged, lowest rank first, leftmost among equals; bytes that the vocabulary lacks vanish
 *
 * Components of tokenizer.json that are read; any other is DTX_ERR_INPUT and named, as it would change ids silently:
 *   normalizer      null, NFC
 *   pre_tokenizer   ByteLevel (add_prefix_space false), which must be among them; Sequence; Digits; before ByteLevel
 *                   Punctuation (Contiguous, Isolated); Split (a Regex without \w, \b and the like, Isolated)
 *   model           BPE; merges as "a b" or ["a", "b"]; unk_token, ignore_merges
 *   added_tokens    normalized, lstrip, rstrip, special
 *   post_processor  null, ByteLevel, RobertaProcessing, TemplateProcessing, Sequence
 *   decoder         ByteLevel
 * `truncation` and `padding` are not taken from the file, as transformers sets them for each call.
 * vocab.json + merges.txt tell nothing about special tokens: a vocabulary with <s> and </s> is RoBERTa's (its five
 * special tokens, <mask> with lstrip, <s> A </s></s> B </s>), any other GPT-2's (<|endoftext|>).
 *
 * Unicode data come from utf8proc (Unicode 15 in its version 2.8); the reference library mixes versions. Differences over
 * all code points, counted by tests/src/text/test_tokenizer_golden.c:
 *   splitting regex      reference Unicode 16: 5004 code points, 4924 letters and 80 numbers that came after 15, are
 *                        "other" here; no character that both know is read differently
 *   Falcon punctuation   reference about Unicode 8: 127 younger marks count as punctuation here only; 2 that were
 *                        reclassified since (U+166D, U+111C9) in the reference only
 *   NFC                  reference about Unicode 9: 273 of 10107 cases, all with younger characters; each is as Unicode 17
 *                        has it
 * Text in characters that are older than 2016 is not concerned, but for those two marks. */
#ifndef DTX_TOKENIZER_H
#define DTX_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/status.h"
#include "src/text/ids.h"

typedef struct dtx_tokenizer dtx_tokenizer;

/* Folder with tokenizer.json or vocab.json + merges.txt. */
dtx_status dtx_tokenizer_open(const char *dir, dtx_tokenizer **out);
void dtx_tokenizer_close(dtx_tokenizer *t);

/* Ids of a text, appended to *out. special adds what the tokenizer adds around a text (RoBERTa's <s> </s>). */
dtx_status dtx_tokenizer_encode(const dtx_tokenizer *t, const char *text, size_t len, bool special, dtx_ids *out);
/* The same cut to max_length ids, special ones counted. */
dtx_status dtx_tokenizer_encode_max(const dtx_tokenizer *t, const char *text, size_t len, bool special,
                                    int64_t max_length, dtx_ids *out);
/* A pair with special tokens, longest_first truncation when max_length > 0. */
dtx_status dtx_tokenizer_encode_pair(const dtx_tokenizer *t, const char *a, size_t a_len, const char *b, size_t b_len,
                                     bool special, int64_t max_length, dtx_ids *out);
/* Text of ids as UTF-8 (ill-formed parts become U+FFFD); *out is NUL-terminated and freed with dtx_free, its length in
 * *len. clean_up applies transformers' clean_up_tokenization_spaces. */
dtx_status dtx_tokenizer_decode(const dtx_tokenizer *t, const int32_t *ids, size_t n, bool skip_special, bool clean_up,
                                char **out, size_t *len);
/* The same, and for each byte of the text the index of the id that it comes from: *owner (*len), freed with dtx_free. */
dtx_status dtx_tokenizer_decode_owned(const dtx_tokenizer *t, const int32_t *ids, size_t n, bool skip_special, bool clean_up,
                                      char **out, size_t *len, int32_t **owner);

/* Number of ids (largest id + 1). */
int64_t dtx_tokenizer_size(const dtx_tokenizer *t);
/* The vocabulary's own string of an id in the byte alphabet ("Ġthe", "Ċ"), NULL where there is none. Borrowed. */
const char *dtx_tokenizer_piece(const dtx_tokenizer *t, int32_t id);
/* Bytes that an id decodes to; returns the length, *bytes borrowed. 0 for unknown ids. */
size_t dtx_tokenizer_bytes(const dtx_tokenizer *t, int32_t id, const char **bytes);
bool dtx_tokenizer_is_special(const dtx_tokenizer *t, int32_t id);
/* Id of a token by its content ("<|endoftext|>"), -1 when there is none. */
int32_t dtx_tokenizer_id(const dtx_tokenizer *t, const char *token);

/* SHA-256 of the vocabulary: equal ids are equal tokens. */
dtx_status dtx_tokenizer_fingerprint(const dtx_tokenizer *t, char out[65]);

/* Trains a byte-level BPE of `vocab` ids (special tokens first: "<|endoftext|>", "<|padding|>"; then the 256 bytes; then
 * merges by descending count, ties by the pair's bytes) on n texts with the GPT-2 splitting regex, and writes
 * DIR/tokenizer.json that Hugging Face's library loads, and tokenizer_config.json. RoBERTa style when `roberta`:
 * specials <s> <pad> </s> <unk> <mask> and the RoBERTa post-processor. Deterministic. */
dtx_status dtx_bpe_train(const char *const *texts, const size_t *lens, int64_t n, int64_t vocab, bool roberta,
                         const char *dir);

#endif
