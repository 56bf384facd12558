/* impl.h - what the parts of the tokenizer share; no other part of the program includes it. Each file calls those above it:
 *   ids.c, map.c, alphabet.c, unicode.c, nfc.c, added.c   lists, look-ups, characters, tries of added tokens
 *   bpe.c         a piece into ids
 *   vocab.c       tokens and merges, and what is asked about them
 *   split.c       pre-tokenization: a segment into pieces
 *   decode.c      ids into text
 *   load.c        tokenizer.json, vocab.json + merges.txt -> the structures below
 *   tokenizer.c   the whole path, templates, truncation
 *   bpe_train.c   a new vocabulary from text */
#ifndef DTX_TOKENIZER_IMPL_H
#define DTX_TOKENIZER_IMPL_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "src/text/bpe.h"
#include "src/text/map.h"
#include "src/text/tokenizer.h"

enum {
    DTX_TOK_MAX_ID = 1 << 22, /* no vocabulary is larger; bounds what a file can make us allocate */
    DTX_TOK_MAX_STAGES = 16,
    DTX_TOK_MAX_TEMPLATE = 32,
    DTX_TOK_A = -1, /* in a template: the text, and the second text of a pair */
    DTX_TOK_B = -2
};

typedef struct {
    size_t piece, bytes; /* offsets in dtx_tokenizer.text, each NUL-terminated there */
    uint32_t piece_len, bytes_len;
    bool exists, special, in_alphabet;
} dtx_tok;

/* Added tokens as a trie; the children of a node are a linked list, except at the root, which is indexed by byte. */
typedef struct {
    int32_t child, sibling; /* -1 = none */
    int32_t token;          /* index in dtx_tokenizer.added, -1 = none ends here */
    unsigned char byte;
} dtx_trie_node;

typedef struct {
    int32_t root[256];
    dtx_trie_node *node;
    size_t n, cap;
} dtx_trie;

typedef struct {
    int32_t id;
    bool lstrip, rstrip;
} dtx_added;

typedef enum {
    DTX_STAGE_PUNCTUATION, /* runs of punctuation and of other characters */
    DTX_STAGE_DIGITS,      /* runs of numeric and of other characters */
    DTX_STAGE_GPT2,        /* the splitting regex of ByteLevel */
    DTX_STAGE_REGEX        /* matches of a regular expression, and what lies between */
} dtx_stage_kind;

typedef struct {
    dtx_stage_kind kind;
    bool individual; /* each punctuation mark or digit is a piece of its own */
    bool mapped;     /* stands after ByteLevel: sees characters of the byte alphabet instead of the text */
    pcre2_code *regex;
    unsigned char first[256]; /* bytes a match can begin with */
} dtx_stage;

struct dtx_tokenizer {
    dtx_tok *tok; /* by id */
    size_t n_tok, cap_tok;
    char *text;
    size_t text_n, text_cap;
    dtx_map ids; /* piece -> id */
    dtx_bpe bpe;
    dtx_added *added;
    size_t n_added, cap_added;
    dtx_trie raw, normalized; /* added tokens searched before and after normalization */
    bool nfc;
    dtx_stage stage[DTX_TOK_MAX_STAGES];
    int n_stages;
    int32_t single[DTX_TOK_MAX_TEMPLATE], pair[DTX_TOK_MAX_TEMPLATE]; /* ids, DTX_TOK_A, DTX_TOK_B */
    int n_single, n_pair;
};

/* --- vocab.c --- */
/* Adds a token; `what` and `name` are for messages. DTX_ERR_INPUT when the id or the string is taken by another. */
dtx_status dtx_tok_add(dtx_tokenizer *t, const char *name, int64_t id, const char *piece, size_t len);
/* Adds merge number `rank`; the parts and what they make must be in the vocabulary. */
dtx_status dtx_tok_add_merge(dtx_tokenizer *t, const char *name, int32_t rank, const char *left, size_t n_left,
                             const char *right, size_t n_right);
/* Last step: ids of single bytes before the merges are added, and the table of whole pieces after. */
dtx_status dtx_tok_bytes_ready(dtx_tokenizer *t, size_t n_merges, int32_t unknown);
dtx_status dtx_tok_merges_ready(dtx_tokenizer *t, bool ignore_merges);

/* --- added.c --- */
void dtx_trie_init(dtx_trie *trie);
void dtx_trie_free(dtx_trie *trie);
dtx_status dtx_trie_add(dtx_trie *trie, const char *s, size_t n, int32_t token);
/* Leftmost match at or after `from`, the longest at its place: true with *at, *end and *token. */
bool dtx_trie_find(const dtx_trie *trie, const char *s, size_t n, size_t from, size_t *at, size_t *end, int32_t *token);

/* --- nfc.c --- */
/* Normal form C of valid UTF-8, to be freed with dtx_free; NULL when nothing changes. */
dtx_status dtx_tok_nfc(const char *s, size_t n, char **out, size_t *out_n);

/* --- split.c --- */
/* Length of the piece at s[0], n > 0, by 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
size_t dtx_tok_gpt2_next(const char *s, size_t n);
/* Pre-tokenizes a segment of valid UTF-8 and appends its ids. */
dtx_status dtx_tok_split(const dtx_tokenizer *t, const char *s, size_t n, dtx_ids *out);

/* --- load.c --- */
/* From the bytes of the files; the names are for messages. *t is empty, as dtx_tok_new makes it. */
dtx_status dtx_tok_load_json(dtx_tokenizer *t, const char *path, const char *json, size_t n_json);
dtx_status dtx_tok_load_files(dtx_tokenizer *t, const char *vocab, const char *json, size_t n_json, const char *merges,
                              const char *text, size_t n_text);

/* --- tokenizer.c --- */
dtx_status dtx_tok_new(dtx_tokenizer **t);

#endif
