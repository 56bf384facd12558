/* tokenizer.h - tokenizers as Hugging Face's library runs them: tokenizer.json with what lies beside it, or vocab.json + merges.txt
 * (RoBERTa, GPT-2). Immutable after loading, usable from several threads.
 * Texts are bytes with a length: NUL is a character like others. Text that is not UTF-8 is DTX_ERR_INPUT with the
 * offset of the first ill-formed byte; nothing is appended then. Decoding never fails on ill-formed bytes.
 *
 * A text takes this way:
 *   1. added tokens with normalized = false are found in the text (leftmost, longest); lstrip and rstrip take whitespace,
 *      single_word ones stand between characters that are no part of words
 *   2. each segment between them is normalized
 *   3. added tokens with normalized = true are found in the segments, in their own normal form
 *   4. each segment is cut into pieces by the pre-tokenizers, in their order
 *   5. each piece goes through the model
 *
 * Components of tokenizer.json that are read; any other is DTX_ERR_INPUT and named, as it would change ids silently:
 *   normalizer      null, Sequence, NFC, Prepend, Replace (String, Regex), Strip, Precompiled, BertNormalizer
 *   pre_tokenizer   null, Sequence, ByteLevel, Digits, Punctuation (Contiguous, Isolated), Split (String, Regex; all behaviors),
 *                   Metaspace (first, always, never; the files before 2024), WhitespaceSplit, BertPreTokenizer; after ByteLevel Digits
 *                   and Split (Regex) alone, which see its alphabet. regex.h tells which expressions
 *   model           BPE, over bytes where ByteLevel cuts, else over characters with unk_token, fuse_unk, byte_fallback; merges as "a b"
 *                   or ["a", "b"]; ignore_merges. WordPiece. Unigram with byte_fallback
 *   added_tokens    all flags; a token keeps the id that the vocabulary has for it, else it gets the next free one, whatever the file says
 *   post_processor  null, ByteLevel, RobertaProcessing, BertProcessing, TemplateProcessing, Sequence
 *   decoder         ByteLevel alone; Replace, ByteFallback, Fuse, Strip, Metaspace, WordPiece, Sequence of them
 * `truncation` and `padding` are not taken from the file, as transformers sets them for each call.
 * tokenizer_config.json: `added_tokens_decoder` changes flags and adds tokens; named special tokens that are not there are appended, then
 * the additional ones. Without that decoder added_tokens.json and special_tokens_map.json count. `add_bos_token` and `add_eos_token` are
 * not obeyed where tokenizer.json has its post_processor, as by version 5 of the library.
 * vocab.json + merges.txt tell nothing about special tokens: a vocabulary with <s> and </s> is RoBERTa's (its five
 * special tokens, <mask> with lstrip, <s> A </s></s> B </s>), any other GPT-2's (<|endoftext|>).
 *
 * Unicode data come from utf8proc (Unicode 15 in its version 2.8); the reference library mixes versions. Differences over
 * all code points, counted by the tests in tests/src/text:
 *   splitting regex      reference Unicode 16: 5004 code points, 4924 letters and 80 numbers that came after 15, are
 *                        "other" here; no character that both know is read differently
 *   NFC                  reference about Unicode 9: 273 of 10107 cases, all with younger characters; each is as Unicode 17
 *                        has it
 * Punctuation, BERT's dropped characters, accents, blanks, ideographs and lower case are the reference's (unicode.c). */
#ifndef DTX_TOKENIZER_H
#define DTX_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/status.h"
#include "src/text/ids.h"

typedef struct dtx_tokenizer dtx_tokenizer;

/* Folder with tokenizer.json or vocab.json + merges.txt, or a GGUF file: byte-level BPE (tokenizer.ggml.model = gpt2, split as `pre`
 * says) and SentencePiece BPE (llama), as llama.cpp runs them. */
dtx_status dtx_tokenizer_open(const char *dir, dtx_tokenizer **out);
void dtx_tokenizer_close(dtx_tokenizer *t);

/* Ids of a text, appended to *out. special adds what the tokenizer adds around a text (RoBERTa's <s> </s>). */
dtx_status dtx_tokenizer_encode(const dtx_tokenizer *t, const char *text, size_t len, bool special, dtx_ids *out);
/* The same cut to max_length ids, special ones counted. */
dtx_status dtx_tokenizer_encode_max(const dtx_tokenizer *t, const char *text, size_t len, bool special,
                                    int64_t max_length, dtx_ids *out);
/* A stretch of a longer text, without special tokens. plain: added tokens in it are text like others. joined: it was cut off from the text
 * before it, so that nothing is put in front, as some tokenizers do at beginnings. */
dtx_status dtx_tokenizer_encode_stretch(const dtx_tokenizer *t, const char *text, size_t len, bool plain, bool joined, dtx_ids *out);
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

/* Decoding id by id: what was given is never taken back. Text is held back while it ends in U+FFFD, which more ids may complete, and
 * while a run of byte tokens lasts, as an ill-formed run is U+FFFD throughout. The given parts together are the text of
 * dtx_tokenizer_decode without clean-up. */
typedef struct {
    const dtx_tokenizer *t; /* borrowed */
    bool skip_special;
    dtx_ids ids;  /* those of the last part given, then those held back */
    size_t given; /* how many of them were given */
} dtx_text_stream;
void dtx_text_stream_begin(dtx_text_stream *stream, const dtx_tokenizer *t, bool skip_special);
void dtx_text_stream_free(dtx_text_stream *stream);
/* Adds an id; *out is its text with what was held back, freed with dtx_free, or NULL when there is nothing to give yet. */
dtx_status dtx_text_stream_add(dtx_text_stream *stream, int32_t id, char **out, size_t *len);
/* What is held back when no more ids come. */
dtx_status dtx_text_stream_end(dtx_text_stream *stream, char **out, size_t *len);

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
