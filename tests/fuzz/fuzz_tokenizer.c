/* Tokenizer files and texts. "J" tokenizer.json NUL text, "M" vocab.json NUL merges.txt NUL text, or "C" tokenizer.json NUL
 * tokenizer_config.json NUL added_tokens.json NUL text; the text may be any bytes. "G" a GGUF file, for a text that stands here. What a tokenizer that was accepted gives must be consistent. */
#include <string.h>

#include "src/base/mem.h"
#include "src/base/utf8.h"
#include "src/text/load_parts.h"
#include "tests/fuzz/fuzz.h"

dtx_status dtx_fuzz_status;

#define BYTE_LEVEL "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": true}"
#define PART(normalizer, pre_tokenizer, post_processor)                                                                \
    "J{\"version\": \"1.0\", \"truncation\": null, \"padding\": null, \"added_tokens\": [{\"id\": 9, \"content\": "    \
    "\"<x>\", "                                                                                                        \
    "\"lstrip\": true, \"rstrip\": true, \"normalized\": false, \"special\": true}, {\"id\": 10, \"content\": \"  "    \
    "\", "                                                                                                             \
    "\"normalized\": true, \"special\": false}], \"normalizer\": " normalizer ", \"pre_tokenizer\": " pre_tokenizer    \
    ", \"post_processor\": " post_processor                                                                            \
    ", \"decoder\": {\"type\": \"ByteLevel\"}, \"model\": {\"type\": \"BPE\", "                                        \
    "\"unk_token\": null, \"ignore_merges\": false, \"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 2, \"\xC4\xA0\": 3, "      \
    "\"\xC4\xA0"                                                                                                       \
    "ab\": 4, \"1\": 5, \"\xC3\x83\": 6, \"\xC2\xA9\": 7, \"'\": 8}, \"merges\": [\"a b\", [\"\xC4\xA0\", \"ab\"]]}}"

typedef struct {
    const char *bytes;
    size_t size;
} seed;

#define SEED(s)                                                                                                        \
    {                                                                                                                  \
        s, sizeof s - 1                                                                                                \
    }
static const seed seeds[] = {
    SEED(PART("{\"type\": \"NFC\"}", BYTE_LEVEL, "null") "\0ab  ab <x> \xC3\xA9 e\xCC\x81 aababab'a"),
    SEED(PART(
        "null",
        "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Punctuation\", \"behavior\": "
        "\"Contiguous\"}, " BYTE_LEVEL ", {\"type\": \"Digits\", \"individual_digits\": false}, {\"type\": \"Split\", "
                                       "\"pattern\": {\"Regex\": \"[0-9][0-9][0-9]\"}, "
        "\"behavior\": \"Isolated\", \"invert\": false}]}",
        "{\"type\": \"RobertaProcessing\", \"sep\": [\"b\", 1], \"cls\": [\"a\", 0]}") "\0ab 11111 ab'sab\0\xC2\xB2"),
    SEED(
        PART("null",
             "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\": "
             "\"a+|\\\\p{N}{1,3}\"}, \"behavior\": "
             "\"Isolated\"}, {\"type\": \"ByteLevel\", \"use_regex\": false}]}",
             "{\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"S\", \"type_id\": 0}}, "
             "{\"Sequence\": {\"id\": "
             "\"A\", \"type_id\": 0}}], \"pair\": [{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}, {\"Sequence\": "
             "{\"id\": \"B\", \"type_id\": "
             "1}}], \"special_tokens\": {\"S\": {\"id\": \"S\", \"ids\": [8], \"tokens\": [\"'\"]}}}") "\0aab 1111 ab"),
    SEED("M{\"<s>\": 0, \"<pad>\": 1, \"</s>\": 2, \"<mask>\": 3, \"a\": 4, \"b\": 5, \"ab\": 6, \"#\": 7, \"##\": 8, "
         "\"\xC4\xA0\": 9}"
         "\0#version: 0.2\na b\r\n# #\n\0<s>ab ## <mask>  a"),
    SEED("C{\"added_tokens\": [{\"id\": 9, \"content\": \"<x>\", \"single_word\": true, \"normalized\": true}], \"normalizer\": {\"type\": "
         "\"Sequence\", \"normalizers\": [{\"type\": \"Prepend\", \"prepend\": \"_\"}, {\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, "
         "\"content\": \"_\"}]}, \"pre_tokenizer\": null, \"decoder\": {\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Replace\", "
         "\"pattern\": {\"String\": \"_\"}, \"content\": \" \"}, {\"type\": \"ByteFallback\"}, {\"type\": \"Fuse\"}, {\"type\": \"Strip\", "
         "\"content\": \" \", \"start\": 1, \"stop\": 0}]}, \"model\": {\"type\": \"BPE\", \"unk_token\": \"u\", \"fuse_unk\": true, "
         "\"byte_fallback\": true, \"vocab\": {\"u\": 0, \"_\": 1, \"a\": 2, \"b\": 3, \"_a\": 4, \"ab\": 5, \"<0xC3>\": 6, \"<0xA9>\": 7, "
         "\"<0x0A>\": 8}, \"merges\": [\"_ a\", \"a b\"]}}"
         "\0{\"added_tokens_decoder\": {\"12\": {\"content\": \"<y>\", \"lstrip\": true, \"special\": true}}, \"pad_token\": \"<z>\", "
         "\"additional_special_tokens\": [{\"content\": \"<w>\"}]}"
         "\0{}\0ab a\xC3\xA9 <x> <y>\n<z>\xC3\xA8x"),
    SEED("C{\"pre_tokenizer\": {\"type\": \"Metaspace\", \"replacement\": \"_\", \"prepend_scheme\": \"first\", \"split\": true}, \"decoder\": "
         "{\"type\": \"Metaspace\", \"replacement\": \"_\"}, \"model\": {\"type\": \"Unigram\", \"unk_id\": 0, \"byte_fallback\": true, \"vocab\": "
         "[[\"u\", 0], [\"_\", -1.5], [\"a\", -2], [\"_a\", -3.25], [\"ab\", -4], [\"<0x62>\", -9]]}, \"normalizer\": {\"type\": \"Sequence\", "
         "\"normalizers\": [{\"type\": \"Precompiled\", \"precompiled_charsmap\": \"DAAAAAAEAABhBQAAAAAAgGEA\"}, {\"type\": \"Strip\", \"strip_left\": true, "
         "\"strip_right\": true}, {\"type\": \"Replace\", \"pattern\": {\"Regex\": \" {2,}\"}, \"content\": \" \"}]}}"
         "\0{}\0{\"<y>\": 7}\0ab  a <y> b\xC3\xA9\r\n "),
    SEED("C{\"normalizer\": {\"type\": \"BertNormalizer\", \"clean_text\": true, \"handle_chinese_chars\": true, \"strip_accents\": null, "
         "\"lowercase\": true}, \"pre_tokenizer\": {\"type\": \"BertPreTokenizer\"}, \"post_processor\": {\"type\": \"BertProcessing\", \"cls\": "
         "[\"a\", 1], \"sep\": [\"b\", 2]}, \"decoder\": {\"type\": \"WordPiece\", \"prefix\": \"##\", \"cleanup\": true}, \"model\": {\"unk_token\": "
         "\"u\", \"continuing_subword_prefix\": \"##\", \"max_input_chars_per_word\": 5, \"vocab\": {\"u\": 0, \"a\": 1, \"b\": 2, \"##b\": 3, "
         "\".\": 4, \"\xE4\xB8\xAD\": 5}}}"
         "\0{}\0{}\0" "AB \xC3\xA1" "b.\xE4\xB8\xAD" "a abbbbbb"),
};

const char *const dtx_fuzz_words[] = {"\"a b\",",
                                      "[\"a\", \"b\"],",
                                      "{\"type\": \"NFC\"}",
                                      "\"lstrip\": true,",
                                      "\"use_regex\": false,",
                                      "\"behavior\": \"Isolated\",",
                                      "\\u0000",
                                      "\\\\s+(?!\\\\S)|",
                                      "(a*)*b",
                                      "null",
                                      "[]",
                                      "{}",
                                      "ab",
                                      "  ",
                                      "\xCC\x81\xCC\xA3",
                                      "\xE1\x86\xA7",
                                      "\xEA\xB0\x80",
                                      "<x>",
                                      "\n",
                                      "<0xC3>",
                                      "\"type\": \"Metaspace\",",
                                      "\"invert\": true,",
                                      "MergedWithNext",
                                      "MergedWithPrevious",
                                      "Contiguous",
                                      "Removed",
                                      NULL};

/* --- GGUF files: a header, and keys --- */

typedef struct {
    uint8_t *at;
    uint64_t keys;
} gguf_writer;

static void put(gguf_writer *w, uint64_t value, size_t bytes)
{
    memcpy(w->at, &value, bytes); /* little endian, as this machine */
    w->at += bytes;
}

static void put_string(gguf_writer *w, const char *s)
{
    put(w, strlen(s), 8);
    memcpy(w->at, s, strlen(s));
    w->at += strlen(s);
}

static void put_key(gguf_writer *w, const char *key, unsigned type)
{
    put_string(w, key);
    put(w, type, 4);
    w->keys++;
}

/* Strings with blanks between; numbers of `type` (4 bytes each) when type is not 8. */
static void put_array(gguf_writer *w, const char *key, unsigned type, const char *const *strings, const float *numbers, uint64_t n)
{
    put_key(w, key, 9);
    put(w, type, 4);
    put(w, n, 8);
    for (uint64_t i = 0; i < n; i++) {
        uint32_t bits;
        if (type == 8) {
            put_string(w, strings[i]);
            continue;
        }
        if (type == 6) {
            memcpy(&bits, &numbers[i], 4);
        } else {
            bits = (uint32_t)(int32_t)numbers[i];
        }
        put(w, bits, 4);
    }
}

/* Kind 0: SentencePiece by scores, 1: byte-level BPE. Returns the size. */
static size_t gguf_seed(int kind, uint8_t *out)
{
    static const char *const pieces[] = {"<unk>", "<s>", "\xE2\x96\x81", "a", "b", "ab", "\xE2\x96\x81" "ab", "<0x0A>"};
    static const char *const tokens[] = {"<|e|>", "a", "b", "ab", "\xC4\xA0", "\xC4\xA0" "ab", "1", "<x>"};
    static const char *const merges[] = {"a b", "\xC4\xA0 ab"};
    static const float scores[] = {0, 0, -1, -2, -3, -0.5f, -0.25f, 0}, types[] = {2, 3, 1, 1, 1, 1, 1, 6}, other[] = {3, 1, 1, 1, 1, 1, 1, 4};
    gguf_writer w = {.at = out};

    memcpy(out, "GGGUF", 5);
    w.at += 5;
    put(&w, 3, 4);
    put(&w, 0, 8);
    uint8_t *count = w.at;
    put(&w, 0, 8);
    put_key(&w, "tokenizer.ggml.model", 8);
    put_string(&w, kind == 0 ? "llama" : "gpt2");
    put_array(&w, "tokenizer.ggml.tokens", 8, kind == 0 ? pieces : tokens, NULL, 8);
    put_array(&w, "tokenizer.ggml.token_type", 5, NULL, kind == 0 ? types : other, 8);
    if (kind == 0) {
        put_array(&w, "tokenizer.ggml.scores", 6, NULL, scores, 8);
        put_key(&w, "tokenizer.ggml.unknown_token_id", 4);
        put(&w, 0, 4);
    } else {
        put_key(&w, "tokenizer.ggml.pre", 8);
        put_string(&w, "qwen2");
        put_array(&w, "tokenizer.ggml.merges", 8, merges, NULL, 2);
    }
    put_key(&w, "tokenizer.ggml.bos_token_id", 4);
    put(&w, 1, 4);
    memcpy(count, &w.keys, 8);
    return (size_t)(w.at - out);
}

size_t dtx_fuzz_seed(int i, uint8_t *out, size_t cap)
{
    int n = (int)(sizeof seeds / sizeof *seeds);

    if (i >= n && i < n + 2 && cap >= 4096) {
        return gguf_seed(i - n, out);
    }
    if (i >= n || seeds[i].size > cap) {
        return 0;
    }
    memcpy(out, seeds[i].bytes, seeds[i].size);
    return seeds[i].size;
}

static void require(bool ok)
{
    if (!ok) {
        __builtin_trap();
    }
}

/* What the stream gives adds up to the text. */
static dtx_status use_stream(const dtx_tokenizer *t, const dtx_ids *ids)
{
    dtx_text_stream stream;
    char *text = NULL, *part = NULL;
    size_t len = 0, n = 0, at = 0;
    dtx_status st = DTX_OK;

    dtx_text_stream_begin(&stream, t, false);
    DTX_GO(dtx_tokenizer_decode(t, ids->id, ids->n, false, false, &text, &len));
    for (size_t i = 0; i <= ids->n; i++) {
        DTX_GO(i < ids->n ? dtx_text_stream_add(&stream, ids->id[i], &part, &n) : dtx_text_stream_end(&stream, &part, &n));
        require(n <= len - at && (n == 0 || memcmp(part, text + at, n) == 0));
        at += n;
        dtx_free(part);
        part = NULL;
    }
    require(at == len);
done:
    dtx_free(text);
    dtx_text_stream_free(&stream);
    return st;
}

/* Encodes, cuts, pairs and decodes; any status but an accepted one with wrong content is fine. */
static dtx_status use(const dtx_tokenizer *t, const char *s, size_t n)
{
    dtx_ids ids = {0}, cut = {0}, pair = {0};
    char *text = NULL;
    size_t len = 0;
    dtx_status st = DTX_OK;

    DTX_GO(dtx_tokenizer_encode(t, s, n, false, &ids));
    require(dtx_utf8_valid(s, n) == n);
    DTX_GO(dtx_tokenizer_encode_max(t, s, n, false, 3, &cut));
    require(cut.n == (ids.n < 3 ? ids.n : 3) && (cut.n == 0 || memcmp(cut.id, ids.id, cut.n * sizeof *cut.id) == 0));
    DTX_GO(dtx_tokenizer_encode_pair(t, s, n, s, n, false, 0, &pair));
    require(pair.n == 2 * ids.n);
    for (size_t i = 0; i < ids.n; i++) {
        require(ids.id[i] >= 0 && ids.id[i] < dtx_tokenizer_size(t) && dtx_tokenizer_piece(t, ids.id[i]) != NULL);
    }
    DTX_GO(dtx_tokenizer_decode(t, ids.id, ids.n, false, true, &text, &len));
    require(text[len] == '\0' && dtx_utf8_valid(text, len) == len);
    DTX_GO(use_stream(t, &ids));
    cut.n = 0;
    st = dtx_tokenizer_encode_max(t, s, n, true, 64, &cut);
    require(cut.n <= 64 && (st == DTX_OK || cut.n == 0));
done:
    dtx_free(text);
    dtx_ids_free(&ids);
    dtx_ids_free(&cut);
    dtx_ids_free(&pair);
    return st;
}

static dtx_status use_gguf(const char *data, size_t size)
{
    static const char text[] = "ab a<s>b\n 1 <x>ab \xC3\xA9<|e|>";
    dtx_gguf *g = NULL;
    dtx_tokenizer *t = NULL;
    dtx_status st = DTX_OK;

    DTX_GO(dtx_gguf_read("fuzz.gguf", data, size, &g));
    DTX_GO(dtx_tok_new(&t));
    DTX_GO(dtx_load_gguf(t, g));
    st = use(t, text, sizeof text - 1);
done:
    dtx_tokenizer_close(t);
    dtx_gguf_close(g);
    return st;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *s = (const char *)data, *end = s + size, *part[4];
    size_t n[4];
    int n_parts = size > 0 && s[0] == 'M' ? 3 : size > 0 && s[0] == 'C' ? 4 : 2;
    dtx_tokenizer *t;

    if (size > 0 && s[0] == 'G') {
        dtx_fuzz_status = use_gguf(s + 1, size - 1);
        return 0;
    }
    s += size > 0;
    for (int i = 0; i < n_parts; i++) { /* the last part takes all that is left, NUL bytes too */
        const char *stop = i + 1 < n_parts ? memchr(s, '\0', (size_t)(end - s)) : NULL;
        part[i] = s;
        n[i] = (size_t)((stop ? stop : end) - s);
        s = stop ? stop + 1 : end;
    }
    dtx_fuzz_status = dtx_tok_new(&t);
    if (dtx_fuzz_status != DTX_OK) {
        return 0;
    }
    const char *const *name = n_parts == 3 ? (const char *const[]){"vocab.json", "merges.txt"}
                                           : (const char *const[]){"tokenizer.json", "tokenizer_config.json", "added_tokens.json"};
    dtx_tok_file file[3] = {{0}}, none = {0};
    for (int i = 0; i + 1 < n_parts; i++) {
        file[i] = (dtx_tok_file){.name = name[i], .data = part[i], .n = n[i]};
    }
    dtx_fuzz_status = n_parts == 3 ? dtx_tok_load_files(t, file[0], file[1]) : dtx_tok_load_json(t, file[0], file[1], file[2], none);
    if (dtx_fuzz_status == DTX_OK) {
        dtx_fuzz_status = use(t, part[n_parts - 1], n[n_parts - 1]);
    }
    dtx_tokenizer_close(t);
    return 0;
}
