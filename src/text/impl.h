/* impl.h - what the parts of the tokenizer share; no other part of the program includes it. Each file calls those above it:
 *   ids.c, map.c, trie.c, alphabet.c, unicode.c, normal_form.c, regex.c, charsmap.c   lists, look-ups, characters
 *   normalize.c                    a text before it is cut
 *   bpe.c, wordpiece.c, unigram.c  a piece into ids
 *   decoder.c                      strings of tokens into text
 *   vocab.c                        tokens and merges, and what is asked about them
 *   added.c                        added tokens
 *   split.c                        pre-tokenization: a segment into pieces
 *   decode.c                       ids into text
 *   read.c, load_model.c, load_pipeline.c, load_added.c, load.c, load_gguf.c
 *                                  the files -> the structures below
 *   tokenizer.c                    the whole path, templates, truncation
 *   chat.c                         conversations by the model's own template
 *   bpe_train.c                    a new vocabulary from text */
#ifndef DTX_TOKENIZER_IMPL_H
#define DTX_TOKENIZER_IMPL_H

#include "src/text/bpe.h"
#include "src/text/decoder.h"
#include "src/text/map.h"
#include "src/text/normalize.h"
#include "src/text/regex.h"
#include "src/text/tokenizer.h"
#include "src/text/trie.h"
#include "src/text/unigram.h"
#include "src/text/wordpiece.h"

enum {
    DTX_TOK_MAX_ID = 1 << 22, /* no vocabulary is larger; bounds what a file can make us allocate */
    DTX_TOK_MAX_STAGES = 16,
    DTX_TOK_MAX_TEMPLATE = 32,
    DTX_TOK_A = -1, /* in a template: the text, and the second text of a pair */
    DTX_TOK_B = -2
};

/* How an added token is found; `normalized`: in the normalized text, as its own normal form. */
typedef struct {
    bool special, normalized, lstrip, rstrip, single_word;
} dtx_added_flags;

/* piece: the string in the file. spelling: what the decoder reads, which is the normal form of added tokens that are searched in the
 * normalized text. bytes: what that is in the middle of a text. */
typedef struct {
    size_t piece, bytes, spelling; /* offsets in dtx_tokenizer.text, each NUL-terminated there */
    uint32_t piece_len, bytes_len, spelling_len;
    bool exists, special, in_alphabet;
    bool added;
    dtx_added_flags flags; /* of added tokens, as last given */
} dtx_tok;

/* One entry of the lists that are searched: a token is special for good once it was, and stays in the list that it first came to. */
typedef struct {
    int32_t id;
    bool special, normalized;
} dtx_added;

typedef enum {
    DTX_STAGE_PUNCTUATION,  /* runs of punctuation and of other characters */
    DTX_STAGE_DIGITS,       /* runs of numeric and of other characters */
    DTX_STAGE_GPT2,         /* the splitting regex of ByteLevel */
    DTX_STAGE_REGEX,        /* matches of a regular expression, and what lies between */
    DTX_STAGE_STRING,       /* the same of a fixed string */
    DTX_STAGE_WHITESPACE,   /* words between white space, which is dropped */
    DTX_STAGE_BERT,         /* words between white space, and single punctuation marks */
    DTX_STAGE_METASPACE,    /* blanks become another character, perhaps one is put in front */
    DTX_STAGE_PREFIX_SPACE  /* a blank in front where there is none */
} dtx_stage_kind;

/* What becomes of the matches of a Split. */
typedef enum { DTX_SPLIT_ISOLATED, DTX_SPLIT_REMOVED, DTX_SPLIT_WITH_PREVIOUS, DTX_SPLIT_WITH_NEXT, DTX_SPLIT_CONTIGUOUS } dtx_split_behavior;

typedef enum { DTX_PREPEND_NEVER, DTX_PREPEND_FIRST, DTX_PREPEND_ALWAYS } dtx_prepend;

typedef struct {
    dtx_stage_kind kind;
    bool individual; /* each punctuation mark or digit is a piece of its own */
    bool mapped;     /* stands after ByteLevel: sees characters of the byte alphabet instead of the text */
    bool split;      /* METASPACE: cut before each mark */
    bool invert;     /* what lies between the matches counts as match */
    dtx_split_behavior behavior;
    dtx_prepend prepend;
    char mark[16]; /* STRING: what is looked for; METASPACE: what stands for a blank */
    dtx_regex regex;
} dtx_stage;

typedef enum {
    DTX_MODEL_BYTES, /* BPE whose symbols are bytes (ByteLevel) */
    DTX_MODEL_CHARS, /* BPE whose symbols are characters (SentencePiece) */
    DTX_MODEL_WORDPIECE,
    DTX_MODEL_UNIGRAM
} dtx_model_kind;

/* Where a stretch of text stands, as some tokenizers put a blank in front of it. */
typedef enum {
    DTX_PLACE_START,  /* at the text's beginning */
    DTX_PLACE_BEHIND, /* behind an added token, or another piece */
    DTX_PLACE_JOINED  /* cut off from the text before it: nothing is put in front */
} dtx_place;

struct dtx_tokenizer {
    dtx_tok *tok; /* by id */
    size_t n_tok, cap_tok;
    char *text;
    size_t text_n, text_cap;
    dtx_map ids; /* piece -> id */
    dtx_model_kind kind;
    int64_t n_model; /* entries of the model's vocabulary, without added tokens */
    dtx_bpe bpe;
    dtx_bpe_chars chars;
    bool whole_first; /* ignore_merges: a piece that is a token is not merged */
    dtx_wordpiece wordpiece;
    dtx_unigram unigram;
    dtx_added *added;
    size_t n_added, cap_added;
    int64_t last_added;       /* largest id of an added token, -1 = none */
    dtx_trie raw, normalized; /* added tokens searched before and after normalization -> id */
    dtx_normalizer normalizer;
    dtx_stage stage[DTX_TOK_MAX_STAGES];
    int n_stages;
    dtx_decoder decoder;
    int32_t single[DTX_TOK_MAX_TEMPLATE], pair[DTX_TOK_MAX_TEMPLATE]; /* ids, DTX_TOK_A, DTX_TOK_B */
    int n_single, n_pair;
};

/* --- vocab.c --- */
/* Adds a token; the decoder must be known. `name` is for messages. DTX_ERR_INPUT when the id or the string is taken by another. */
dtx_status dtx_tok_add(dtx_tokenizer *t, const char *name, int64_t id, const char *piece, size_t len);
/* The decoder is to read a token in another spelling. */
dtx_status dtx_tok_respell(dtx_tokenizer *t, int32_t id, const char *s, size_t n);
/* Adds merge number `rank`; the parts and what they make must be in the vocabulary. */
dtx_status dtx_tok_add_merge(dtx_tokenizer *t, const char *name, int32_t rank, const char *left, size_t n_left,
                             const char *right, size_t n_right);
/* Ids of the byte tokens <0x00> .. <0xFF>, -1 where there is none. */
void dtx_tok_byte_tokens(const dtx_tokenizer *t, int32_t id[256]);
/* BPE: ids of single bytes before the merges are added, and the table of whole pieces after. */
dtx_status dtx_tok_bytes_ready(dtx_tokenizer *t, size_t n_merges, int32_t unknown);
dtx_status dtx_tok_merges_ready(dtx_tokenizer *t, bool ignore_merges);

/* --- added.c --- */
/* Adds a token as the reference does: one that the vocabulary has keeps its id, another gets the next free one. */
dtx_status dtx_tok_add_added(dtx_tokenizer *t, const char *name, const char *content, size_t len, dtx_added_flags flags);
/* Is this string an added token already? */
bool dtx_tok_is_added(const dtx_tokenizer *t, const char *content, size_t len);
/* Last step, when all are there and the normalizer is known: the tries. */
dtx_status dtx_tok_added_ready(dtx_tokenizer *t);
/* Next added token of a text at or after *search, with the white space that it takes (not before `from`): true with its place and id.
 * *search becomes where the search goes on. */
bool dtx_tok_next_added(const dtx_tokenizer *t, const dtx_trie *trie, const char *s, size_t n, size_t from, size_t *search, size_t *at,
                        size_t *end, int32_t *id);

/* --- split.c --- */
/* Length of the piece at s[0], n > 0, by 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
size_t dtx_tok_gpt2_next(const char *s, size_t n);
/* Pre-tokenizes a segment of valid UTF-8 and appends its ids. */
dtx_status dtx_tok_split(const dtx_tokenizer *t, const char *s, size_t n, dtx_place place, dtx_ids *out);

/* --- load.c --- */
/* The files of a folder, as bytes; data NULL where a file is not there. The names are for messages. */
typedef struct {
    const char *name, *data;
    size_t n;
} dtx_tok_file;
/* Makes an empty tokenizer; dtx_tokenizer_close frees it. */
dtx_status dtx_tok_new(dtx_tokenizer **t);
/* tokenizer.json, and what lies beside it (config: tokenizer_config.json, added: added_tokens.json, map: special_tokens_map.json). */
dtx_status dtx_tok_load_json(dtx_tokenizer *t, dtx_tok_file json, dtx_tok_file config, dtx_tok_file added, dtx_tok_file map);
/* vocab.json + merges.txt. */
dtx_status dtx_tok_load_files(dtx_tokenizer *t, dtx_tok_file vocab, dtx_tok_file merges);

#endif
