/* SentencePiece BPE, WordPiece and Unigram, added tokens and what other files say of them, decoding by steps and id by id: on
 * vocabularies that stand here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "src/base/mem.h"
#include "src/text/impl.h"
#include "src/text/unicode.h"

#define MARK "\xE2\x96\x81" /* U+2581 */
#define REPLACEMENT "\xEF\xBF\xBD"

static void must(dtx_status st)
{
    if (st != DTX_OK) {
        fail_msg("%s", dtx_error_text());
    }
}

static dtx_tok_file file(const char *name, const char *text)
{
    return (dtx_tok_file){.name = name, .data = text, .n = text ? strlen(text) : 0};
}

static dtx_status load(const char *json, const char *config, const char *added, dtx_tokenizer **t)
{
    *t = NULL;
    DTX_TRY(dtx_tok_new(t));
    return dtx_tok_load_json(*t, file("tokenizer.json", json), file("tokenizer_config.json", config), file("added_tokens.json", added),
                             file("special_tokens_map.json", NULL));
}

static dtx_tokenizer *loaded(const char *json, const char *config, const char *added)
{
    dtx_tokenizer *t;

    must(load(json, config, added, &t));
    return t;
}

static void refused(const char *json, const char *config, const char *named)
{
    dtx_tokenizer *t;

    assert_int_equal(load(json, config, NULL, &t), DTX_ERR_INPUT);
    if (strstr(dtx_error_text(), named) == NULL) {
        fail_msg("\"%s\" is not in: %s", named, dtx_error_text());
    }
    dtx_tokenizer_close(t);
}

static void encodes_to(const dtx_tokenizer *t, const char *text, const char *expected)
{
    dtx_ids ids = {0};
    char got[4096] = "", *at = got;

    must(dtx_tokenizer_encode(t, text, strlen(text), true, &ids));
    for (size_t i = 0; i < ids.n; i++) {
        at += sprintf(at, "%s%d", i ? " " : "", ids.id[i]);
    }
    assert_string_equal(got, expected);
    dtx_ids_free(&ids);
}

/* Decodes at once and id by id; `parts` is what the stream gives, "-" for nothing yet, "|" between. */
static void decodes_to(const dtx_tokenizer *t, const int32_t *ids, size_t n, const char *expected, const char *parts)
{
    char *text, got[4096] = "", *at = got;
    size_t len;
    dtx_text_stream stream;

    must(dtx_tokenizer_decode(t, ids, n, false, false, &text, &len));
    assert_string_equal(text, expected);
    assert_int_equal(len, strlen(expected));
    dtx_free(text);
    dtx_text_stream_begin(&stream, t, false);
    for (size_t i = 0; i <= n; i++) {
        must(i < n ? dtx_text_stream_add(&stream, ids[i], &text, &len) : dtx_text_stream_end(&stream, &text, &len));
        at += sprintf(at, "%s%s", i ? "|" : "", text ? text : "-");
        dtx_free(text);
    }
    dtx_text_stream_free(&stream);
    assert_string_equal(got, parts);
}
#define DECODES(t, expected, parts, ...) \
    decodes_to(t, (const int32_t[]){__VA_ARGS__}, sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t), expected, parts)

/* --- SentencePiece BPE --- */

/* <unk> <s> </s>, the 256 byte tokens from id 3 (those below `bytes` of them), MARK 259, a b MARKa ab MARKab. */
static const char *sentencepiece(const char *normalizer, const char *pre_tokenizer, const char *decoder, int bytes, const char *model)
{
    static char json[16384];
    char vocab[8192], *at = vocab;

    at += sprintf(at, "\"<unk>\":0,\"<s>\":1,\"</s>\":2");
    for (int b = 0; b < bytes; b++) {
        at += sprintf(at, ",\"<0x%02X>\":%d", (unsigned)b, b + 3);
    }
    sprintf(at, ",\"%s\":%d,\"a\":%d,\"b\":%d,\"%sa\":%d,\"ab\":%d,\"%sab\":%d", MARK, bytes + 3, bytes + 4, bytes + 5, MARK, bytes + 6,
            bytes + 7, MARK, bytes + 8);
    snprintf(json, sizeof json,
             "{\"added_tokens\":[{\"id\":0,\"content\":\"<unk>\",\"special\":true},{\"id\":1,\"content\":\"<s>\",\"special\":true},"
             "{\"id\":2,\"content\":\"</s>\",\"special\":true}],\"normalizer\":%s,\"pre_tokenizer\":%s,\"post_processor\":null,"
             "\"decoder\":%s,\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\",%s,\"vocab\":{%s},\"merges\":[[\"%s\",\"a\"],\"a b\","
             "[\"%sa\",\"b\"]]}}",
             normalizer, pre_tokenizer, decoder, model, vocab, MARK, MARK);
    return json;
}
#define LEGACY                                                                                                                       \
    "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"" MARK "\"},{\"type\":\"Replace\",\"pattern\":{"     \
    "\"String\":\" \"},\"content\":\"" MARK "\"}]}"
#define METASPACE(scheme, split) \
    "{\"type\":\"Metaspace\",\"replacement\":\"" MARK "\",\"prepend_scheme\":\"" scheme "\",\"split\":" split "}"
#define DECODER                                                                                                                     \
    "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"" MARK "\"},\"content\":\" \"},{\"type\":" \
    "\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]}"
#define FALLBACK "\"fuse_unk\":true,\"byte_fallback\":true"

static void prepend_dialect(void **state)
{
    dtx_tokenizer *t = loaded(sentencepiece(LEGACY, "null", DECODER, 256, FALLBACK), NULL, NULL);

    (void)state;
    encodes_to(t, "", "");
    encodes_to(t, "ab", "264");
    encodes_to(t, " ab", "259 264"); /* always one more */
    encodes_to(t, MARK "ab", "259 264");
    encodes_to(t, "b ab  a", "259 261 264 259 262");
    encodes_to(t, "ab<s>ab", "264 1 264"); /* on every stretch between added tokens */
    encodes_to(t, "a\xC3\xA9", "262 198 172"); /* bytes of an unknown character */
    encodes_to(t, "\n", "259 13");
    dtx_tokenizer_close(t);
}

static void metaspace_dialects(void **state)
{
    dtx_tokenizer *t = loaded(sentencepiece("null", METASPACE("first", "false"), DECODER, 256, FALLBACK), NULL, NULL);

    (void)state;
    encodes_to(t, "ab<s>ab", "264 1 263"); /* only at the text's beginning */
    encodes_to(t, " ab", "264");           /* none where one stands */
    encodes_to(t, "<s>ab", "1 263");
    dtx_tokenizer_close(t);
    t = loaded(sentencepiece("null", METASPACE("always", "true"), DECODER, 256, FALLBACK), NULL, NULL);
    encodes_to(t, "ab<s>ab  a", "264 1 264 259 262");
    dtx_tokenizer_close(t);
    t = loaded(sentencepiece("null", METASPACE("never", "true"), DECODER, 256, FALLBACK), NULL, NULL);
    encodes_to(t, "ab ab", "263 264");
    dtx_tokenizer_close(t);
    t = loaded(sentencepiece("null", "{\"type\":\"Metaspace\",\"replacement\":\"" MARK "\",\"add_prefix_space\":false}", DECODER, 256, FALLBACK),
               NULL, NULL);
    encodes_to(t, "ab ab", "263 264");
    dtx_tokenizer_close(t);
    refused(sentencepiece("null", METASPACE("last", "true"), DECODER, 256, FALLBACK), NULL, "prepend_scheme \"last\"");
}

static void unknown_characters(void **state)
{
    dtx_tokenizer *t = loaded(sentencepiece("null", "null", DECODER, 0x80, FALLBACK), NULL, NULL); /* bytes above 7F are missing */

    (void)state;
    encodes_to(t, "\xC3\xA9\xC3\xA9" "a", "0 132"); /* neighbours are one */
    encodes_to(t, "\xC3\xA9!a", "36 0 132");        /* as in the reference, bytes overtake a waiting unknown one */
    encodes_to(t, "a\xC3\xA9", "132 0");
    dtx_tokenizer_close(t);
    t = loaded(sentencepiece("null", "null", DECODER, 256, "\"fuse_unk\":false,\"byte_fallback\":false"), NULL, NULL);
    encodes_to(t, "!\xC3\xA9" "ab", "0 0 263");
    dtx_tokenizer_close(t);
    t = loaded(sentencepiece("null", "null", DECODER, 256, FALLBACK ",\"ignore_merges\":true"), NULL, NULL);
    encodes_to(t, "</s>ab", "2 263");
    dtx_tokenizer_close(t);
}

static void a_text_is_one_word(void **state)
{
    enum { N = 1000000 };
    dtx_tokenizer *t = loaded(sentencepiece(LEGACY, "null", DECODER, 256, FALLBACK), NULL, NULL);
    char *s = malloc(2 * N + 1);
    dtx_ids ids = {0};

    (void)state;
    for (int i = 0; i < N; i++) { /* quadratic merging would take hours */
        memcpy(s + 2 * i, "ab", 2);
    }
    must(dtx_tokenizer_encode(t, s, 2 * N, false, &ids));
    assert_int_equal(ids.n, N);
    assert_int_equal(ids.id[0], 264);
    assert_int_equal(ids.id[N - 1], 263);
    dtx_ids_free(&ids);
    free(s);
    dtx_tokenizer_close(t);
}

static void byte_tokens_are_decoded_in_runs(void **state)
{
    dtx_tokenizer *t = loaded(sentencepiece(LEGACY, "null", DECODER, 256, FALLBACK), NULL, NULL);
    const char *bytes;

    (void)state;
    DECODES(t, "ab ab", "ab| ab|-", 264, 264); /* one blank is stripped at the beginning */
    DECODES(t, " ab", "-| ab|-", 259, 264);
    DECODES(t, "a\xE2\x82\xAC" "b", "a|-|-|-|\xE2\x82\xAC" "b|-", 260, 229, 133, 175, 261);
    DECODES(t, "\xE2\x82\xAC", "-|-|-|\xE2\x82\xAC", 229, 133, 175); /* more bytes might have come */
    DECODES(t, "a" REPLACEMENT REPLACEMENT "b", "a|-|-|" REPLACEMENT REPLACEMENT "b|-", 260, 229, 133, 261);
    DECODES(t, REPLACEMENT REPLACEMENT REPLACEMENT REPLACEMENT "a", "-|-|-|-|" REPLACEMENT REPLACEMENT REPLACEMENT REPLACEMENT "a|-", 229, 133, 175,
            258, 260); /* ill-formed at its end: the well-formed beginning is lost too */
    DECODES(t, "<unk>a", "<unk>|a|-|-", 0, 260, 9999);
    assert_int_equal(dtx_tokenizer_bytes(t, 264, &bytes), 3);
    assert_string_equal(bytes, " ab");
    assert_int_equal(dtx_tokenizer_bytes(t, 229, &bytes), 1);
    assert_string_equal(bytes, "\xE2");
    assert_string_equal(dtx_tokenizer_piece(t, 229), "<0xE2>");
    dtx_tokenizer_close(t);
}

static void owners_of_decoded_bytes(void **state)
{
    dtx_tokenizer *t = loaded(sentencepiece(LEGACY, "null", DECODER, 256, FALLBACK), NULL, NULL);
    const int32_t ids[] = {264, 229, 133, 175, 262, 258};
    const int32_t want[] = {0, 0, 1, 2, 3, 4, 4, 5, 5, 5}; /* "ab€ a" and U+FFFD */
    char *text;
    int32_t *owner;
    size_t n;

    (void)state;
    must(dtx_tokenizer_decode_owned(t, ids, 6, false, false, &text, &n, &owner));
    assert_string_equal(text, "ab\xE2\x82\xAC a" REPLACEMENT);
    assert_int_equal(n, 10);
    assert_memory_equal(owner, want, sizeof want);
    dtx_free(text);
    dtx_free(owner);
    dtx_tokenizer_close(t);
}

/* --- added tokens, and other files --- */

static void added_tokens_of_other_files(void **state)
{
    const char *json = sentencepiece("null", "null", DECODER, 256, FALLBACK);
    dtx_tokenizer *t = loaded(json,
                              "{\"added_tokens_decoder\":{\"266\":{\"content\":\"<late>\",\"rstrip\":true,\"normalized\":false,\"special\":"
                              "true},\"265\":{\"content\":\"<early>\",\"normalized\":false},\"1\":{\"content\":\"<s>\",\"lstrip\":true,"
                              "\"special\":true}},\"pad_token\":\"<pad>\",\"additional_special_tokens\":[{\"content\":\"<more>\"},\"</s>\"]}",
                              "{\"<other>\":300}");

    (void)state;
    assert_int_equal(dtx_tokenizer_id(t, "<early>"), 265);
    assert_int_equal(dtx_tokenizer_id(t, "<late>"), 266);
    assert_int_equal(dtx_tokenizer_id(t, "<pad>"), 267);
    assert_int_equal(dtx_tokenizer_id(t, "<more>"), 268);
    assert_int_equal(dtx_tokenizer_id(t, "<other>"), -1); /* the decoder has the say */
    assert_int_equal(dtx_tokenizer_size(t), 269);
    assert_true(dtx_tokenizer_is_special(t, 268));
    assert_false(dtx_tokenizer_is_special(t, 265));
    encodes_to(t, "a <s>a<late> \na<early> ", "260 1 260 266 260 265 35");
    dtx_tokenizer_close(t);

    t = loaded(sentencepiece(LEGACY, "null", DECODER, 256, FALLBACK), "{\"eos_token\":\"<end>\"}", "{\"<end>\":300,\"<new>\":200}");
    assert_int_equal(dtx_tokenizer_id(t, "<new>"), 265); /* in the order of the numbers, which are not kept */
    assert_int_equal(dtx_tokenizer_id(t, "<end>"), 266);
    assert_true(dtx_tokenizer_is_special(t, 266));
    encodes_to(t, "a <new><end><new>", "262 265 266 265"); /* normalized: it takes the mark before it, and needs one */
    DECODES(t, "a <new>", "a| <new>|-", 262, 265);
    dtx_tokenizer_close(t);

    refused(json, "{\"added_tokens_decoder\":{\"x\":{}}}", "\"x\" must be an id");
    refused(json, "{\"added_tokens_decoder\":{\"7\":{}}}", "tokenizer_config.json: added_tokens_decoder");
    refused(json, "{\"pad_token\":5}", "pad_token");
    refused(json, "{\"split_special_tokens\":true}", "split_special_tokens");
    refused(json, "[", "tokenizer_config.json");
}

static void single_words_and_gaps(void **state)
{
    dtx_tokenizer *t = loaded("{\"added_tokens\":[{\"id\":90,\"content\":\"ab\",\"single_word\":true},{\"id\":70,\"content\":\"<x>\"}],"
                              "\"decoder\":{\"type\":\"Fuse\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\" \":2,\"_\":3,\"-\":4},"
                              "\"merges\":[]}}",
                              NULL, NULL);

    (void)state;
    encodes_to(t, "ab ab-ab <x>", "5 2 5 4 5 2 6"); /* the file's numbers leave a gap: the next free ones count */
    encodes_to(t, "aab ab_ _ab", "0 0 1 2 0 1 3 2 3 0 1");
    dtx_tokenizer_close(t);
}

/* --- WordPiece --- */

#define WORDPIECE(normalizer, more)                                                                                                     \
    "{\"added_tokens\":[{\"id\":0,\"content\":\"[UNK]\",\"special\":true}],\"normalizer\":" normalizer ",\"pre_tokenizer\":{\"type\":"    \
    "\"BertPreTokenizer\"},\"post_processor\":{\"type\":\"BertProcessing\",\"cls\":[\"[CLS]\",1],\"sep\":[\"[SEP]\",2]},\"decoder\":{"    \
    "\"type\":\"WordPiece\",\"prefix\":\"##\",\"cleanup\":true},\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\"" more           \
    ",\"vocab\":{\"[UNK]\":0,\"[CLS]\":1,\"[SEP]\":2,\"ab\":3,\"##c\":4,\"abc\":5,\"##ab\":6,\"!\":7,\"e\":8,\"\xE4\xB8\xAD\":9,\"A\":10,"  \
    "\".\":11}}}"
#define BERT(lower) "{\"type\":\"BertNormalizer\",\"clean_text\":true,\"handle_chinese_chars\":true,\"strip_accents\":null,\"lowercase\":" lower "}"

static void wordpiece(void **state)
{
    dtx_tokenizer *t = loaded(WORDPIECE(BERT("true"), ""), NULL, NULL);
    char *long_word = malloc(103);
    dtx_ids ids = {0};

    (void)state;
    encodes_to(t, "abcab abc!ab", "1 5 6 5 7 3 2"); /* longest first */
    encodes_to(t, "ABx \xC3\x89\xE4\xB8\xAD" "ab", "1 0 8 9 3 2"); /* any failure is one unknown; accents and case go, ideographs stand alone */
    encodes_to(t, "a\x01" "b\t\xEF\xBF\xBD" "ab", "1 3 3 2");
    memset(long_word, 'c', 102);
    memcpy(long_word, "ab", 2);
    must(dtx_tokenizer_encode(t, long_word, 100, false, &ids));
    assert_int_equal(ids.n, 98); /* abc, and ##c for each of the others */
    ids.n = 0;
    must(dtx_tokenizer_encode(t, long_word, 101, false, &ids));
    assert_int_equal(ids.n, 1);
    assert_int_equal(ids.id[0], 0);
    dtx_ids_free(&ids);
    free(long_word);
    DECODES(t, "[CLS] abcab ab! e.", "[CLS]| abc|ab| ab|!| e|.|-", 1, 5, 6, 3, 7, 8, 11);
    must(dtx_tokenizer_encode_pair(t, "ab", 2, "e", 1, true, 0, &ids));
    assert_int_equal(ids.n, 5);
    assert_memory_equal(ids.id, ((const int32_t[]){1, 3, 2, 8, 2}), 5 * sizeof(int32_t));
    dtx_ids_free(&ids);
    dtx_tokenizer_close(t);
    t = loaded(WORDPIECE(BERT("false"), ",\"max_input_chars_per_word\":3"), NULL, NULL);
    encodes_to(t, "abc abcc A", "1 5 0 10 2");
    dtx_tokenizer_close(t);
    refused(WORDPIECE(BERT("1"), ""), NULL, "lowercase");
}

/* --- Unigram --- */

/* A charsmap of one entry: the trie's root leads by 'A' to a leaf whose value is the pool's offset 0, "a". */
static void charsmap_text(char out[512])
{
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned char raw[4 + 4 * 128 + 3] = {0};
    uint32_t unit[128] = {0};
    size_t n = 4 + 4 * 80 + 2, at = 0;

    unit[0] = 1u << 10;                   /* the root's offset is 1 */
    unit[1 ^ 'A'] = 'A' | 0x100 | 2u << 10; /* label A, a value at its own offset 2 */
    unit[1 ^ 'A' ^ 2] = 0x80000000u;      /* value 0 */
    raw[0] = (unsigned char)(4 * 80 & 0xFF);
    raw[1] = (unsigned char)(4 * 80 >> 8);
    for (size_t i = 0; i < 80; i++) {
        for (int k = 0; k < 4; k++) {
            raw[4 + 4 * i + (size_t)k] = (unsigned char)(unit[i] >> 8 * k);
        }
    }
    raw[4 + 4 * 80] = 'a';
    for (size_t i = 0; i < n; i += 3) {
        uint32_t bits = (uint32_t)raw[i] << 16 | (uint32_t)raw[i + 1] << 8 | raw[i + 2];
        for (int k = 0; k < 4; k++) {
            out[at++] = i + (size_t)k > n ? '=' : digit[bits >> (18 - 6 * k) & 63];
        }
    }
    out[at] = '\0';
}

static const char *unigram(const char *map, const char *model)
{
    static char json[8192];

    snprintf(json, sizeof json,
             "{\"added_tokens\":[{\"id\":0,\"content\":\"<unk>\",\"special\":true}],\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{"
             "\"type\":\"Precompiled\",\"precompiled_charsmap\":\"%s\"},{\"type\":\"Strip\",\"strip_left\":false,\"strip_right\":true},{"
             "\"type\":\"Replace\",\"pattern\":{\"Regex\":\" {2,}\"},\"content\":\"%s\"}]},\"pre_tokenizer\":%s,\"decoder\":{\"type\":"
             "\"Metaspace\",\"replacement\":\"%s\",\"prepend_scheme\":\"always\"},\"model\":{\"type\":\"Unigram\",%s,\"vocab\":[[\"<unk>\",0],"
             "[\"a\",-1],[\"b\",-2.5],[\"ab\",-3],[\"%s\",-2],[\"%sa\",-2.75],[\"bb\",-5],[\"<0xC3>\",-9],[\"<0xA9>\",-9]]}}",
             map, MARK, METASPACE("always", "true"), MARK, model, MARK, MARK);
    return json;
}

static void unigram_takes_the_best_way(void **state)
{
    char map[512];
    dtx_tokenizer *t;

    (void)state;
    charsmap_text(map);
    t = loaded(unigram(map, "\"unk_id\":0"), NULL, NULL);
    encodes_to(t, "ab", "4 3");      /* -2 - 3 beats -2.75 - 2.5 */
    encodes_to(t, "a", "5");
    encodes_to(t, "A  ab \n", "5 4 3"); /* the map, blanks run together, the end stripped */
    encodes_to(t, "abb", "4 3 2");   /* -2 - 3 - 2.5 beats -2.75 - 5 */
    encodes_to(t, "b\xC3\xA9\xC3\xA9", "4 2 0");
    DECODES(t, "a ab", "a| |ab|-", 5, 4, 3);
    dtx_tokenizer_close(t);
    t = loaded(unigram(map, "\"unk_id\":0,\"byte_fallback\":true"), NULL, NULL);
    encodes_to(t, "b\xC3\xA9\xC3\xA8", "4 2 0"); /* one byte of the stretch is missing */
    encodes_to(t, "b\xC3\xA9", "4 2 7 8");
    dtx_tokenizer_close(t);
    t = loaded(unigram(map, "\"unk_id\":null"), NULL, NULL);
    dtx_ids ids = {0};
    assert_int_equal(dtx_tokenizer_encode(t, "z", 1, false, &ids), DTX_ERR_INPUT);
    assert_non_null(strstr(dtx_error_text(), "unk_id"));
    assert_int_equal(ids.n, 0);
    dtx_ids_free(&ids);
    dtx_tokenizer_close(t);
    refused(unigram("AAA", "\"unk_id\":0"), NULL, "precompiled_charsmap");
    refused(unigram("/////w==", "\"unk_id\":0"), NULL, "precompiled_charsmap");
    refused(unigram("*", "\"unk_id\":0"), NULL, "not base64");
    refused(unigram(map, "\"unk_id\":9"), NULL, "unk_id is 9");
}

/* --- characters, memory --- */

static void pattern_spaces_are_unicodes(void **state)
{
    dtx_tokenizer *t = loaded("{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\s+|[\\\\s!]\"},\"behavior\":\"Removed\"},"
                              "\"decoder\":{\"type\":\"Fuse\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"aa\":1,\"\xE1\xA0\x8E\":2},"
                              "\"merges\":[\"a a\"]}}",
                              NULL, NULL);

    (void)state;
    encodes_to(t, "aa\xC2\x85" "aa a!a", "1 1 0 0");
    encodes_to(t, "a\xE1\xA0\x8E" "a", "0 2 0"); /* U+180E is none */
    dtx_tokenizer_close(t);
}

static void out_of_memory_is_an_error_everywhere(void **state)
{
    char map[512];
    size_t before = dtx_mem_used();

    (void)state;
    charsmap_text(map);
    for (int kind = 0; kind < 3; kind++) {
        char *json = strdup(kind == 0   ? sentencepiece(LEGACY, METASPACE("first", "true"), DECODER, 256, FALLBACK)
                            : kind == 1 ? WORDPIECE(BERT("true"), "")
                                        : unigram(map, "\"unk_id\":0"));
        static const char text[] = "A b\xC3\xA9 ab  <x>abc aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!";
        int failed = 0;
        for (int64_t k = 1;; k++) {
            dtx_tokenizer *t = NULL;
            dtx_ids ids = {0};
            char *back = NULL;
            size_t n;
            dtx_mem_fail_at(k);
            dtx_status st = load(json, "{\"added_tokens_decoder\":{\"400\":{\"content\":\"<x>\",\"normalized\":true}},\"pad_token\":\"<y>\"}",
                                 NULL, &t);
            st = st == DTX_OK ? dtx_tokenizer_encode(t, text, sizeof text - 1, true, &ids) : st;
            st = st == DTX_OK ? dtx_tokenizer_decode(t, ids.id, ids.n, false, false, &back, &n) : st;
            dtx_mem_fail_at(0);
            dtx_free(back);
            dtx_ids_free(&ids);
            dtx_tokenizer_close(t);
            assert_int_equal(dtx_mem_used(), before);
            if (st == DTX_OK) {
                break;
            }
            assert_int_equal(st, DTX_ERR_MISSING);
            failed++;
        }
        assert_true(failed > 10);
        free(json);
    }
}

/* The reference's tables, where they are there: what BERT drops, sets apart and makes lower case. */
static void bert_classes_equal_the_reference(void **state)
{
    static char flags[0x110000][8];
    static uint32_t lower[0x110000][2];
    char line[256], f[8];
    unsigned a, b;
    FILE *classes = fopen(DTX_SHARED "/golden/tokenizers-today/unicode/bert_classes.tsv", "r");
    FILE *cases = fopen(DTX_SHARED "/golden/tokenizers-today/unicode/lowercase.tsv", "r");

    (void)state;
    if (classes == NULL || cases == NULL) {
        skip();
    }
    while (fgets(line, sizeof line, classes) != NULL) {
        if (line[0] != '#' && sscanf(line, "%x %x %7s", &a, &b, f) == 3) {
            for (unsigned c = a; c <= b; c++) {
                memcpy(flags[c], f, sizeof f);
            }
        }
    }
    while (fgets(line, sizeof line, cases) != NULL) {
        unsigned second = 0;
        if (line[0] != '#' && sscanf(line, "%x %x %x", &a, &b, &second) >= 2) {
            lower[a][0] = b;
            lower[a][1] = second;
        }
    }
    fclose(classes);
    fclose(cases);
    for (uint32_t c = 0; c < 0x110000; c++) {
        uint32_t low[2] = {0, 0};
        if (c >= 0xD800 && c < 0xE000) {
            continue;
        }
        assert_int_equal(dtx_tok_is_control(c), strchr(flags[c], 'D') != NULL);
        assert_int_equal(dtx_tok_is_punctuation(c), strchr(flags[c], 'p') != NULL);
        assert_int_equal(dtx_tok_is_space(c), strchr(flags[c], 'w') != NULL);
        assert_int_equal(dtx_tok_is_ideograph(c), strchr(flags[c], 'C') != NULL);
        assert_true(!dtx_tok_is_mark(c) || strchr(flags[c], 'm') != NULL); /* m holds Mc and Me too */
        assert_int_equal(dtx_tok_lower(c, low), lower[c][1] != 0 ? 2 : 1);
        assert_int_equal(low[0], lower[c][0] != 0 ? lower[c][0] : c);
        assert_int_equal(low[1], lower[c][1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prepend_dialect),
        cmocka_unit_test(metaspace_dialects),
        cmocka_unit_test(unknown_characters),
        cmocka_unit_test(a_text_is_one_word),
        cmocka_unit_test(byte_tokens_are_decoded_in_runs),
        cmocka_unit_test(owners_of_decoded_bytes),
        cmocka_unit_test(added_tokens_of_other_files),
        cmocka_unit_test(single_words_and_gaps),
        cmocka_unit_test(wordpiece),
        cmocka_unit_test(unigram_takes_the_best_way),
        cmocka_unit_test(pattern_spaces_are_unicodes),
        cmocka_unit_test(out_of_memory_is_an_error_everywhere),
        cmocka_unit_test(bert_classes_equal_the_reference),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
