/* The tokenizer on vocabularies that the test writes itself: components, merging against a plain loop, the splitter
 * against PCRE2, training against recounting, errors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/src/text/tokenizer_small.h"

#define BYTE_LEVEL "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}"

static char folder[] = "/tmp/dtx_tok_XXXXXX";

static void must(dtx_status st)
{
    if (st != DTX_OK) {
        fail_msg("%s", dtx_error_text());
    }
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) == NULL;
}

static int drop_folder(void **state)
{
    (void)state;
    remove_folder(folder);
    return 0;
}

static dtx_tokenizer *small(const char *added, const char *normalizer, const char *pre_tokenizer,
                            const char *post_processor)
{
    dtx_tokenizer *t;

    put_small(folder, added, normalizer, pre_tokenizer, post_processor, "");
    must(dtx_tokenizer_open(folder, &t));
    return t;
}

/* Encodes and compares with ids given as text. */
static void encodes_to(const dtx_tokenizer *t, const char *text, size_t n, const char *expected)
{
    dtx_ids ids = {0};
    char got[4096] = "", *at = got;

    must(dtx_tokenizer_encode(t, text, n, true, &ids));
    for (size_t i = 0; i < ids.n; i++) {
        at += sprintf(at, "%s%d", i ? " " : "", ids.id[i]);
    }
    assert_string_equal(got, expected);
    dtx_ids_free(&ids);
}

static char *random_text(uint64_t *seed, size_t n)
{
    static const char *const unit[] = {"a",
                                       "b",
                                       "ab",
                                       "ba",
                                       "aa",
                                       " ",
                                       "  ",
                                       "\n",
                                       "'s",
                                       "'",
                                       "c",
                                       "1",
                                       "23",
                                       ".",
                                       ",",
                                       "\xC3\xA9",
                                       "\xE2\x80\x99",
                                       "\xE3\x80\x80",
                                       "\xC2\x85",
                                       "\xD0\xBC",
                                       "\xE0\xA5\xA7",
                                       "\xF0\x9F\x98\x82",
                                       "'re",
                                       "'ll",
                                       "'ve",
                                       "\t",
                                       "\xC2\xA0",
                                       "\xC2\xB2"};
    char *s = calloc(1, n + 5);

    for (size_t at = 0; at < n;) {
        *seed = *seed * 6364136223846793005u + 1442695040888963407u;
        const char *u = unit[(*seed >> 33) % (sizeof unit / sizeof unit[0])];
        strcpy(s + at, u);
        at += strlen(u);
    }
    return s;
}

static void byte_alphabet_is_a_bijection(void **state)
{
    bool seen[0x144] = {false};

    (void)state;
    for (unsigned b = 0; b < 256; b++) {
        uint32_t cp = dtx_tok_byte_char(b);
        assert_true(cp > 0x20 && cp < 0x144 && !seen[cp]);
        seen[cp] = true;
        assert_int_equal(dtx_tok_char_byte(cp), b);
    }
    assert_int_equal(dtx_tok_byte_char(' '), 0x120);
    assert_int_equal(dtx_tok_byte_char('\n'), 0x10A);
    assert_int_equal(dtx_tok_byte_char(0xAD), 0x143);
    assert_int_equal(dtx_tok_char_byte(' '), -1);
    assert_int_equal(dtx_tok_char_byte(0x144), -1);
    assert_int_equal(dtx_tok_char_byte(0x10FFFF), -1);
}

static void merges_by_rank_then_from_the_left(void **state)
{
    dtx_tokenizer *t = small("", "null", BYTE_LEVEL, "null");
    const char *bytes;

    (void)state;
    encodes_to(t, "abc", 3, "257");
    encodes_to(t, "ababc", 5, "256 257");
    encodes_to(t, " abc", 4, "32 257"); /* "a b" has a lower rank than "Ġ a" */
    encodes_to(t, " ac", 3, "258 99");
    encodes_to(t, "", 0, "");
    encodes_to(t, "a\0b", 3, "97 0 98"); /* NUL is a character */
    encodes_to(t, "a'sab", 5, "97 39 115 256");
    assert_int_equal(dtx_tokenizer_size(t), 260);
    assert_int_equal(dtx_tokenizer_bytes(t, 258, &bytes), 2);
    assert_memory_equal(bytes, " a", 2);
    assert_int_equal(dtx_tokenizer_bytes(t, 260, &bytes), 0);
    assert_int_equal(dtx_tokenizer_bytes(t, -1, &bytes), 0);
    assert_null(dtx_tokenizer_piece(t, 260));
    assert_string_equal(dtx_tokenizer_piece(t, 32), "\xC4\xA0");
    assert_int_equal(dtx_tokenizer_id(t, "abc"), 257);
    assert_int_equal(dtx_tokenizer_id(t, "abcd"), -1);
    dtx_tokenizer_close(t);
}

static void added_tokens_longest_first_and_strip(void **state)
{
    dtx_tokenizer *t = small(
        "{\"id\":260,\"content\":\"<x>\",\"lstrip\":true,\"rstrip\":false,\"normalized\":false,\"special\":true},"
        "{\"id\":261,\"content\":\"<x>>\",\"lstrip\":false,\"rstrip\":true,\"normalized\":false,\"special\":true},"
        "{\"id\":262,\"content\":\"  \",\"lstrip\":false,\"rstrip\":false,\"normalized\":true,\"special\":false}",
        "null", BYTE_LEVEL, "null");
    char *text;
    size_t n;
    const int32_t ids[] = {260, 97, 262, 98, 300, 261};

    (void)state;
    encodes_to(t, "<x>a", 4, "260 97");
    encodes_to(t, "<x>>a", 5, "261 97");
    encodes_to(t, "c \t<x>\xE3\x80\x80 a", 11, "99 260 227 128 128 258"); /* takes blanks before it, none after */
    encodes_to(t, "c <x>> \xE3\x80\x80\na", 12, "99 32 261 97");
    encodes_to(t, "a   b", 5, "97 262 32 98");
    encodes_to(t, "<x> <x>", 7, "260 260");
    encodes_to(t, "<x", 2, "60 120");
    assert_true(dtx_tokenizer_is_special(t, 260));
    assert_false(dtx_tokenizer_is_special(t, 262));
    must(dtx_tokenizer_decode(t, ids, 6, true, false, &text, &n));
    assert_string_equal(text, "a  b");
    dtx_free(text);
    must(dtx_tokenizer_decode(t, ids, 6, false, false, &text, &n));
    assert_string_equal(text, "<x>a  b<x>>");
    dtx_free(text);
    dtx_tokenizer_close(t);
}

static void nfc_before_merging(void **state)
{
    dtx_tokenizer *t = small("{\"id\":260,\"content\":\"<x>\",\"normalized\":false,\"special\":true},"
                             "{\"id\":261,\"content\":\"e\xCC\x81!\",\"normalized\":true,\"special\":false}",
                             "{\"type\":\"NFC\"}", BYTE_LEVEL, "null");

    (void)state;
    encodes_to(t, "e\xCC\x81", 3, "195 169");
    encodes_to(t, "e<x>\xCC\x81", 6, "101 260 204 129"); /* not across an added token */
    encodes_to(t, "\xC3\xA9!", 3, "261");                /* the token's own text is normalized too */
    encodes_to(t, "e\xCC\x81!", 4, "261");
    encodes_to(t, "\xEA\xB0\x80\xE1\x86\xA7", 6, "234 176 128 225 134 167"); /* U+11A7 joins nothing */
    encodes_to(t, "\xEA\xB0\x80\xE1\x86\xA8", 6, "234 176 129");
    encodes_to(t, "a\xCC\x81\xCC\xA3", 5, "225 186 161 204 129"); /* marks are ordered: dot below first */
    dtx_tokenizer_close(t);
}

static void long_runs_of_marks_are_ordered_fast(void **state)
{
    enum { N = 100000 };
    char *s = malloc(2 * N), *out;
    size_t n;

    (void)state;
    for (int i = 0; i < N; i++) { /* class 230, then as many of class 220: quadratic for an insertion sort */
        memcpy(s + 2 * i, i < N / 2 ? "\xCC\x82" : "\xCC\xA3", 2);
    }
    must(dtx_tok_normal_form(s, 2 * N, true, &out, &n));
    assert_non_null(out);
    assert_int_equal(n, 2 * N);
    assert_memory_equal(out, "\xCC\xA3", 2);
    assert_memory_equal(out + n - 2, "\xCC\x82", 2);
    dtx_free(out);
    free(s);
}

static void pre_tokenizer_stages(void **state)
{
    dtx_tokenizer *t;

    (void)state;
    t = small(
        "", "null",
        "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Punctuation\",\"behavior\":\"Contiguous\"}," BYTE_LEVEL
        ",{\"type\":\"Digits\",\"individual_digits\":false},{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[b0-9][0-9][0-"
        "9]\"},"
        "\"behavior\":\"Isolated\",\"invert\":false}]}",
        "null");
    encodes_to(t, "abc", 3, "257");
    encodes_to(t, "a'b", 3, "97 39 98");
    encodes_to(t, "ab12", 4, "256 49 50");
    dtx_tokenizer_close(t);
    /* on mapped text the pattern sees the alphabet: byte 0xB2 is the character U+00B2, a digit, as is 0xBC */
    t = small("", "null",
              "{\"type\":\"Sequence\",\"pretokenizers\":[" BYTE_LEVEL
              ",{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a|\\u00b2b\"},\"behavior\":\"Isolated\"}]}",
              "null");
    encodes_to(t, "abc", 3, "97 98 99"); /* "a" is cut off, so nothing merges */
    encodes_to(t, " ab", 3, "32 97 98");
    encodes_to(t,
               "\xC2\xB2"
               "bab",
               5, "194 178 98 97 98");
    dtx_tokenizer_close(t);
    /* before the mapping the pattern sees the text; single digits */
    t = small(
        "", "null",
        "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\p{L}b\"},"
        "\"behavior\":"
        "\"Isolated\"},{\"type\":\"Digits\",\"individual_digits\":true},{\"type\":\"ByteLevel\",\"use_regex\":false}]}",
        "null");
    encodes_to(t, "ab abc", 6, "256 32 256 99");
    encodes_to(t, "a1", 2, "97 49");
    dtx_tokenizer_close(t);
}

static void a_pattern_that_needs_much_stack(void **state)
{
    enum { N = 50000 };
    dtx_tokenizer *t = small("", "null",
                             "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":"
                             "\"(?:(a)|(b))+c\"},\"behavior\":\"Isolated\"}," BYTE_LEVEL "]}",
                             "null");
    char *s = malloc(2 * N + 1);
    dtx_ids ids = {0};

    (void)state;
    for (int i = 0; i < N; i++) {
        memcpy(s + 2 * i, "ab", 2);
    }
    s[2 * N] = 'c';
    must(dtx_tokenizer_encode(t, s, 2 * N + 1, false, &ids));
    assert_int_equal(ids.n, N);
    dtx_ids_free(&ids);
    free(s);
    dtx_tokenizer_close(t);
}

/* One tokenizer, several threads: the ids of each text are the same. */
static void threads_share_a_tokenizer(void **state)
{
    enum { TEXTS = 400 };
    dtx_tokenizer *t =
        small("{\"id\":300,\"content\":\"  \",\"normalized\":true,\"special\":false}", "{\"type\":\"NFC\"}",
              "{\"type\":\"Sequence\",\"pretokenizers\":[" BYTE_LEVEL
              ",{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[0-9]a|[b-c]\"}}]}",
              "null");
    dtx_ids alone[TEXTS] = {{0}};
    char *text[TEXTS];
    uint64_t seed = 5;
    int differ = 0;

    (void)state;
    for (int i = 0; i < TEXTS; i++) {
        text[i] = random_text(&seed, 200);
        must(dtx_tokenizer_encode(t, text[i], strlen(text[i]), false, &alone[i]));
    }
#pragma omp parallel for num_threads(4) schedule(dynamic) reduction(+ : differ)
    for (int i = 0; i < TEXTS; i++) {
        dtx_ids ids = {0};
        dtx_status st = dtx_tokenizer_encode(t, text[i], strlen(text[i]), false, &ids);
        differ += st != DTX_OK || ids.n != alone[i].n || memcmp(ids.id, alone[i].id, ids.n * sizeof *ids.id) != 0;
        dtx_ids_free(&ids);
    }
    assert_int_equal(differ, 0);
    for (int i = 0; i < TEXTS; i++) {
        dtx_ids_free(&alone[i]);
        free(text[i]);
    }
    dtx_tokenizer_close(t);
}

static void templates_and_truncation(void **state)
{
    static const char *const roberta = "{\"type\":\"RobertaProcessing\",\"sep\":[\"b\",98],\"cls\":[\"a\",97]}";
    static const char *const other = "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"B\","
                                     "\"type_id\":0}},{\"Sequence\":{\"id\":\"A\","
                                     "\"type_id\":0}}],\"pair\":[{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},{"
                                     "\"SpecialToken\":{\"id\":\"B\",\"type_id\":0}},"
                                     "{\"Sequence\":{\"id\":\"B\",\"type_id\":1}}],\"special_tokens\":{\"B\":{\"id\":"
                                     "\"B\",\"ids\":[256,257],\"tokens\":[]}}}";
    dtx_tokenizer *t = small("", "null", BYTE_LEVEL, roberta);
    dtx_ids ids = {0};

    (void)state;
    encodes_to(t, "xyz", 3, "97 120 121 122 98");
    encodes_to(t, "", 0, "97 98");
    must(dtx_tokenizer_encode_max(t, "xyz", 3, true, 4, &ids));
    assert_int_equal(ids.n, 4);
    assert_int_equal(ids.id[2], 'y');
    ids.n = 0;
    must(dtx_tokenizer_encode_max(t, "xyz", 3, false, 2, &ids));
    assert_int_equal(ids.n, 2);
    assert_int_equal(dtx_tokenizer_encode_max(t, "xyz", 3, true, 1, &ids), DTX_ERR_USAGE);
    assert_int_equal(ids.n, 2);
    ids.n = 0;
    must(dtx_tokenizer_encode_pair(t, "uvwxyz", 6, "rs", 2, true, 9, &ids)); /* room 5: 3 + 2 */
    static const int32_t pair[] = {97, 'u', 'v', 'w', 98, 98, 'r', 's', 98};
    assert_int_equal(ids.n, 9);
    assert_memory_equal(ids.id, pair, sizeof pair);
    dtx_tokenizer_close(t);

    t = small("", "null", BYTE_LEVEL, other);
    encodes_to(t, "xy", 2, "256 257 120 121");
    ids.n = 0;
    must(dtx_tokenizer_encode_pair(t, "x", 1, "y", 1, true, 0, &ids));
    static const int32_t joined[] = {'x', 256, 257, 'y'};
    assert_int_equal(ids.n, 4);
    assert_memory_equal(ids.id, joined, sizeof joined);
    dtx_ids_free(&ids);
    dtx_tokenizer_close(t);
}

static void decoding_repairs_and_cleans_up(void **state)
{
    dtx_tokenizer *t = small("", "null", BYTE_LEVEL, "null");
    const int32_t cut[] = {0xE2, 0x82, 97, 0xF0, 0x9F, 0x98, 0xFF, 0x00, 98};
    static const char messy[] = "a , b ? it 's they 're don n't x ' y . .";
    dtx_ids ids = {0};
    int32_t *owner;
    char *text;
    size_t n;

    (void)state;
    must(dtx_tokenizer_decode(t, cut, 9, false, false, &text, &n));
    assert_int_equal(n, 12);
    assert_memory_equal(text,
                        "\xEF\xBF\xBD"
                        "a\xEF\xBF\xBD\xEF\xBF\xBD\0b",
                        12);
    dtx_free(text);
    must(dtx_tokenizer_decode(t, NULL, 0, false, true, &text, &n));
    assert_int_equal(n, 0);
    dtx_free(text);
    must(dtx_tokenizer_encode(t, messy, strlen(messy), false, &ids));
    must(dtx_tokenizer_decode(t, ids.id, ids.n, false, true, &text, &n));
    assert_string_equal(text, "a, b? it's they're donn't x'y..");
    dtx_free(text);
    /* whose bytes they are: here an id is a byte, and what clean-up takes away are blanks */
    must(dtx_tokenizer_decode_owned(t, ids.id, ids.n, false, true, &text, &n, &owner));
    assert_int_equal(n, strlen("a, b? it's they're donn't x'y.."));
    for (size_t i = 0; i < n; i++) {
        assert_true(owner[i] >= (i > 0 ? owner[i - 1] + 1 : 0));
        assert_int_equal(ids.id[owner[i]], (unsigned char)text[i]);
    }
    dtx_free(text);
    dtx_free(owner);
    must(dtx_tokenizer_decode_owned(t, cut, 9, false, false, &text, &n, &owner));
    assert_memory_equal(owner, ((const int32_t[]){0, 0, 0, 2, 3, 3, 3, 6, 6, 6, 7, 8}), 12 * sizeof *owner);
    dtx_free(text);
    dtx_free(owner);
    dtx_ids_free(&ids);
    dtx_tokenizer_close(t);
}

/* The rule as it is stated: again and again the pair of lowest rank, the leftmost. */
static size_t plain_merge(const dtx_tokenizer *t, const char *s, size_t n, int32_t *id)
{
    for (size_t i = 0; i < n; i++) {
        id[i] = t->bpe.byte_id[(unsigned char)s[i]];
    }
    for (;;) {
        const dtx_bpe_merge *best = NULL;
        size_t at = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            const dtx_bpe_merge *m = dtx_bpe_find(&t->bpe, id[i], id[i + 1]);
            if (m && (best == NULL || m->rank < best->rank)) {
                best = m;
                at = i;
            }
        }
        if (best == NULL) {
            return n;
        }
        id[at] = best->id;
        memmove(id + at + 1, id + at + 2, (n - at - 2) * sizeof *id);
        n--;
    }
}

static dtx_tokenizer *trained(const char *text, int64_t vocab, bool roberta)
{
    size_t n = strlen(text);
    dtx_tokenizer *t;

    must(dtx_bpe_train(&text, &n, 1, vocab, roberta, folder));
    must(dtx_tokenizer_open(folder, &t));
    return t;
}

static void merging_equals_the_plain_loop(void **state)
{
    uint64_t seed = 20261123;
    char *corpus = random_text(&seed, 20000);
    dtx_tokenizer *t = trained(corpus, 500, false);
    int32_t want[700];
    dtx_ids ids = {0};

    (void)state;
    assert_int_equal(dtx_tokenizer_size(t), 500);
    for (int round = 0; round < 3000; round++) {
        char *s = random_text(&seed, 1 + (size_t)round % 200);
        size_t n = strlen(s), n_want = plain_merge(t, s, n, want);
        ids.n = 0;
        must(dtx_bpe_encode(&t->bpe, s, n, &ids));
        assert_int_equal(ids.n, n_want);
        assert_memory_equal(ids.id, want, n_want * sizeof *want);
        free(s);
    }
    dtx_ids_free(&ids);
    dtx_tokenizer_close(t);
    free(corpus);
}

static void a_piece_of_a_million_letters_is_quick(void **state)
{
    enum { N = 1000000 };
    dtx_tokenizer *t = small("", "null", BYTE_LEVEL, "null");
    char *s = malloc(N);
    dtx_ids ids = {0};

    (void)state;
    for (int i = 0; i < N; i++) {
        s[i] = "abc"[i % 3];
    }
    must(dtx_tokenizer_encode(t, s, N, false, &ids)); /* the test's time limit is the check */
    assert_int_equal(ids.n, N / 3 + 1);
    assert_int_equal(ids.id[N / 3 - 1], 257);
    dtx_ids_free(&ids);
    dtx_tokenizer_close(t);
    free(s);
}

static void splitter_equals_pcre2(void **state)
{
    static const char pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
    int error;
    PCRE2_SIZE where;
    pcre2_code *code =
        pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &error, &where, NULL);
    pcre2_match_data *match = pcre2_match_data_create(1, NULL);
    uint64_t seed = 7;
    int pieces = 0;

    (void)state;
    assert_non_null(code);
    for (int round = 0; round < 3000; round++) {
        char *s = random_text(&seed, 1 + (size_t)round % 100);
        size_t n = strlen(s);
        for (size_t i = 0; i < n; pieces++) {
            assert_int_equal(pcre2_match(code, (PCRE2_SPTR)s + i, n - i, 0, PCRE2_ANCHORED, match, NULL), 1);
            size_t want = pcre2_get_ovector_pointer(match)[1], got = dtx_tok_gpt2_next(s + i, n - i);
            if (got != want) {
                fail_msg("round %d: at byte %zu of \"%s\": %zu bytes, PCRE2 %zu", round, i, s, got, want);
            }
            i += got;
        }
        free(s);
    }
    assert_true(pieces > 50000);
    pcre2_match_data_free(match);
    pcre2_code_free(code);
}

/* --- training --- */

/* Recounts all pairs of all pieces before each merge, without any bookkeeping between merges. Returns the merges as
 * "left right\n" in bytes; the pieces come from the same splitter. */
static char *plain_training(const char *text, int n_merges)
{
    enum { MAX = 60000 };
    static int32_t sym[MAX], end[MAX];
    static char token[700][64];
    size_t n = strlen(text), n_token = 256;
    char *out = calloc(1, 100000), *at = out;

    for (int b = 0; b < 256; b++) {
        token[b][0] = (char)b;
        token[b][1] = '\0';
    }
    assert_true(n < MAX);
    for (size_t i = 0, stop = 0; i < n; i++) {
        stop = i == stop ? i + dtx_tok_gpt2_next(text + i, n - i) : stop;
        sym[i] = (unsigned char)text[i];
        end[i] = i + 1 == stop; /* last of its piece */
    }
    for (int m = 0; m < n_merges; m++) {
        static int32_t count[700][700];
        int32_t a = -1, b = -1;
        memset(count, 0, sizeof count);
        for (size_t i = 0; i + 1 < n; i++) {
            if (!end[i]) {
                count[sym[i]][sym[i + 1]]++;
            }
        }
        for (int32_t i = 0; i < (int32_t)n_token; i++) {
            for (int32_t j = 0; j < (int32_t)n_token; j++) {
                if (count[i][j] < 2 || (a >= 0 && count[i][j] < count[a][b])) {
                    continue;
                }
                int c = a < 0 || count[i][j] > count[a][b] ? -1 : strcmp(token[i], token[a]);
                if (c < 0 || (c == 0 && strcmp(token[j], token[b]) < 0)) {
                    a = i;
                    b = j;
                }
            }
        }
        if (a < 0) {
            break;
        }
        at += sprintf(at, "%s\x01%s\n", token[a], token[b]);
        char joined[128];
        snprintf(joined, sizeof joined, "%s%s", token[a], token[b]);
        size_t id = 256;
        while (id < n_token && strcmp(token[id], joined) != 0) {
            id++;
        }
        if (id == n_token) {
            assert_true(strlen(joined) < 64);
            strcpy(token[n_token++], joined);
        } else {
            m--; /* the same string from other parts: no new token */
        }
        size_t to = 0;
        for (size_t i = 0; i < n; to++) {
            bool hit = i + 1 < n && !end[i] && sym[i] == a && sym[i + 1] == b;
            end[to] = end[hit ? i + 1 : i];
            sym[to] = hit ? (int32_t)id : sym[i];
            i += hit ? 2 : 1;
        }
        n = to;
    }
    return out;
}

static void training_equals_recounting(void **state)
{
    uint64_t seed = 99;
    char *corpus = random_text(&seed, 20000), *want = plain_training(corpus, 150), *got = calloc(1, 100000), *at = got;
    dtx_tokenizer *t = trained(corpus, 2 + 256 + 150, false);
    int n = 0;

    (void)state;
    /* the merge list in rank order, from the loaded tokenizer */
    for (int32_t rank = 0;; rank++, n++) {
        size_t i = 0;
        while (i < t->bpe.n_slots && (t->bpe.merge[i].id < 0 || t->bpe.merge[i].rank != rank)) {
            i++;
        }
        if (i == t->bpe.n_slots) {
            break;
        }
        const dtx_tok *left = &t->tok[t->bpe.merge[i].pair >> 32], *right = &t->tok[(uint32_t)t->bpe.merge[i].pair];
        at += sprintf(at, "%s\x01%s\n", t->text + left->bytes, t->text + right->bytes);
    }
    assert_true(n >= 150);
    assert_string_equal(got, want);
    dtx_tokenizer_close(t);
    free(corpus);
    free(want);
    free(got);
}

static void training_writes_what_opening_reads(void **state)
{
    static const char text[] =
        "the cat sat on the mat, the hat and the bat; it's what the cat's at: <s> <s> <s> <s> caf\xC3\xA9 caf\xC3\xA9";
    dtx_file_map first, second;
    char path[4096];
    const char *const texts[] = {text, "", "the\0the\0the"};
    const size_t lens[] = {sizeof text - 1, 0, 11};

    (void)state;
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    for (int roberta = 0; roberta < 2; roberta++) {
        int first_id = roberta ? 5 : 2;
        dtx_tokenizer *t;
        dtx_ids ids = {0};
        char *back;
        size_t n;
        must(dtx_bpe_train(texts, lens, 3, 268, roberta, folder));
        must(dtx_file_map_open(path, &first));
        must(dtx_bpe_train(texts, lens, 3, 268, roberta, folder));
        must(dtx_file_map_open(path, &second));
        assert_int_equal(first.size, second.size);
        assert_memory_equal(first.data, second.data, first.size);
        dtx_file_map_close(&first);
        dtx_file_map_close(&second);
        must(dtx_tokenizer_open(folder, &t));
        assert_int_equal(dtx_tokenizer_size(t), 268);
        assert_int_equal(dtx_tokenizer_id(t, "\xC4\xA0"), first_id + ' ');
        assert_int_equal(dtx_tokenizer_id(t, roberta ? "<mask>" : "<|padding|>"), first_id - 1);
        for (int32_t id = 0; id < 268; id++) {
            assert_int_equal(dtx_tokenizer_is_special(t, id), id < first_id);
        }
        must(dtx_tokenizer_encode(t, text, sizeof text - 1, false, &ids));
        assert_true(ids.n < sizeof text - 10);
        must(dtx_tokenizer_decode(t, ids.id, ids.n, false, false, &back, &n));
        assert_string_equal(back, text);
        dtx_free(back);
        ids.n = 0;
        must(dtx_tokenizer_encode(t, "the", 3, true, &ids));
        assert_int_equal(ids.id[0] == 0 && ids.id[ids.n - 1] == 2, roberta);
        dtx_ids_free(&ids);
        dtx_tokenizer_close(t);
    }
}

static void training_refuses_what_it_cannot_do(void **state)
{
    const char *const bad[] = {"ok", "a\xFF"};
    const size_t lens[] = {2, 2};
    dtx_tokenizer *t;

    (void)state;
    assert_int_equal(dtx_bpe_train(bad, lens, 1, 257, false, folder), DTX_ERR_USAGE);
    assert_int_equal(dtx_bpe_train(bad, lens, 2, 300, false, folder), DTX_ERR_INPUT);
    assert_non_null(strstr(dtx_error_text(), "text 1 is not UTF-8: byte 1"));
    must(dtx_bpe_train(bad, lens, 1, 300, false, folder)); /* nothing to merge: the bytes alone */
    must(dtx_tokenizer_open(folder, &t));
    assert_int_equal(dtx_tokenizer_size(t), 258);
    dtx_tokenizer_close(t);
}

/* --- errors --- */

static void refuses(const char *added, const char *normalizer, const char *pre_tokenizer, const char *post_processor,
                    const char *extra, const char *named)
{
    dtx_tokenizer *t = NULL;

    put_small(folder, added, normalizer, pre_tokenizer, post_processor, extra);
    assert_int_equal(dtx_tokenizer_open(folder, &t), DTX_ERR_INPUT);
    assert_null(t);
    if (strstr(dtx_error_text(), named) == NULL) {
        fail_msg("\"%s\" is not in: %s", named, dtx_error_text());
    }
}

static void unsupported_components_are_named(void **state)
{
    (void)state;
    refuses("", "{\"type\":\"Lowercase\"}", BYTE_LEVEL, "null", "", "Lowercase");
    refuses("", "null", "{\"type\":\"Whitespace\"}", "null", "", "Whitespace");
    refuses("", "null", "null", "null", "", "pre_tokenizer");
    refuses("", "null", "{\"type\":\"Digits\"}", "null", "", "ByteLevel");
    refuses("", "null", "{\"type\":\"Sequence\",\"pretokenizers\":[" BYTE_LEVEL ",{\"type\":\"Metaspace\",\"replacement\":\"_\"}]}", "null", "",
            "Metaspace");
    refuses("", "null", "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"}}", "null", "", "Split");
    refuses("", "null", "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"},\"behavior\":\"Halved\"}", "null", "",
            "Halved");
    refuses("", "null", "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a|\\\\w\"}}", "null", "", "a|\\w");
    refuses("", "null", "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[a[b]]\"}}", "null", "", "a set inside a set at 2");
    refuses("", "null", "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a{1,2}+\"}}", "null", "", "+ after an interval");
    refuses("", "null", BYTE_LEVEL, "{\"type\":\"Other\"}", "", "Other");
    refuses("", "null", BYTE_LEVEL, "{\"type\":\"RobertaProcessing\",\"sep\":[\"x\",9999],\"cls\":[\"a\",97]}", "",
            "9999");
    refuses("", "null", BYTE_LEVEL, "{\"type\":\"TemplateProcessing\",\"single\":[],\"pair\":[]}", "",
            "template \"single\"");
    refuses("{\"id\":3e9,\"content\":\"<x>\"}", "null", BYTE_LEVEL, "null", "", "whole number");
    refuses("", "null", BYTE_LEVEL, "null", "\"extra\":1,", "extra");
}

static void refuses_files(const char *vocab, const char *merges, dtx_status status, const char *named)
{
    dtx_tokenizer *t = NULL;

    remove_folder(folder);
    must(dtx_file_mkdirs(folder));
    if (vocab) {
        put_file(folder, "vocab.json", vocab, strlen(vocab));
    }
    if (merges) {
        put_file(folder, "merges.txt", merges, strlen(merges));
    }
    assert_int_equal(dtx_tokenizer_open(folder, &t), status);
    if (strstr(dtx_error_text(), named) == NULL) {
        fail_msg("\"%s\" is not in: %s", named, dtx_error_text());
    }
}

static void malformed_vocabulary_and_merges(void **state)
{
    (void)state;
    refuses_files(NULL, NULL, DTX_ERR_MISSING, "tokenizer.json");
    refuses_files("{\"a\":0}", NULL, DTX_ERR_MISSING, "merges.txt");
    refuses_files("{}", "", DTX_ERR_INPUT, "not empty");
    refuses_files("[1]", "", DTX_ERR_INPUT, "vocabulary");
    refuses_files("{\"a\":0,\"b\":0}", "", DTX_ERR_INPUT, "id 0 belongs to \"a\" and to \"b\"");
    refuses_files("{\"a\":0.5}", "", DTX_ERR_INPUT, "whole number");
    refuses_files("{\"a\":-1}", "", DTX_ERR_INPUT, "whole number");
    refuses_files("{\"a\":0,\"a\":1}", "", DTX_ERR_INPUT, "twice");
    refuses_files("{\"a\":0,\"b\":1}", "a b\n", DTX_ERR_INPUT,
                  "merge 0 (\"a\" + \"b\"): the result is not in the vocabulary");
    refuses_files("{\"a\":0,\"b\":1,\"ab\":2}", "#version: 0.2\na b\na\n", DTX_ERR_INPUT, "merge 1");
    refuses_files("{\"a\":0,\"b\":1,\"ab\":2}", "a  b\n", DTX_ERR_INPUT, "merge 0");
    refuses_files("{\"a\":0,\"b\":1,\"ab\":2}", "a b\n#x b\n", DTX_ERR_INPUT, "the left part");
}

static void vocab_and_merges_of_gpt2_kind(void **state)
{
    static const char vocab[] = "{\"a\":0,\"b\":1,\"#\":2,\"##\":3,\"<|endoftext|>\":4,\"ab\":5}";
    static const char merges[] = "#version: 0.2\r\n# #\r\na b"; /* a later line that begins with # is a merge */
    dtx_tokenizer *t;

    (void)state;
    remove_folder(folder);
    must(dtx_file_mkdirs(folder));
    put_file(folder, "vocab.json", vocab, strlen(vocab));
    put_file(folder, "merges.txt", merges, strlen(merges));
    must(dtx_tokenizer_open(folder, &t));
    encodes_to(t, "##ab<|endoftext|>zb", 20 - 1, "3 5 4 1"); /* z is not in the vocabulary and vanishes */
    dtx_tokenizer_close(t);
}

/* Every allocation fails once: each is an error, none a crash or a leak. */
static void out_of_memory_is_an_error_everywhere(void **state)
{
    static const char text[] = "e\xCC\x81 <x>a1234 ababab";
    size_t before = dtx_mem_used();
    int failed = 0;

    (void)state;
    put_small(folder, "{\"id\":300,\"content\":\"<x>\",\"normalized\":true,\"special\":true}", "{\"type\":\"NFC\"}",
              "{\"type\":\"Sequence\",\"pretokenizers\":[" BYTE_LEVEL
              ",{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[0-9][0-9]\"}}]}",
              "{\"type\":\"RobertaProcessing\",\"sep\":[\"b\",98],\"cls\":[\"a\",97]}", "");
    for (int64_t k = 1;; k++) {
        dtx_tokenizer *t = NULL;
        dtx_ids ids = {0};
        char *back = NULL;
        size_t n;
        dtx_mem_fail_at(k);
        dtx_status st = dtx_tokenizer_open(folder, &t);
        if (st == DTX_OK) {
            st = dtx_tokenizer_encode(t, text, sizeof text - 1, true, &ids);
        }
        if (st == DTX_OK) {
            st = dtx_tokenizer_decode(t, ids.id, ids.n, false, false, &back, &n);
        }
        dtx_mem_fail_at(0);
        dtx_free(back);
        dtx_ids_free(&ids);
        if (t) {
            dtx_tokenizer_close(t);
        }
        assert_int_equal(dtx_mem_used(), before);
        if (st == DTX_OK) {
            break;
        }
        assert_int_equal(st, DTX_ERR_MISSING);
        failed++;
    }
    assert_true(failed > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(byte_alphabet_is_a_bijection),
        cmocka_unit_test(merges_by_rank_then_from_the_left),
        cmocka_unit_test(added_tokens_longest_first_and_strip),
        cmocka_unit_test(nfc_before_merging),
        cmocka_unit_test(long_runs_of_marks_are_ordered_fast),
        cmocka_unit_test(pre_tokenizer_stages),
        cmocka_unit_test(a_pattern_that_needs_much_stack),
        cmocka_unit_test(threads_share_a_tokenizer),
        cmocka_unit_test(templates_and_truncation),
        cmocka_unit_test(decoding_repairs_and_cleans_up),
        cmocka_unit_test(merging_equals_the_plain_loop),
        cmocka_unit_test(a_piece_of_a_million_letters_is_quick),
        cmocka_unit_test(splitter_equals_pcre2),
        cmocka_unit_test(training_equals_recounting),
        cmocka_unit_test(training_writes_what_opening_reads),
        cmocka_unit_test(training_refuses_what_it_cannot_do),
        cmocka_unit_test(unsupported_components_are_named),
        cmocka_unit_test(out_of_memory_is_an_error_everywhere),
        cmocka_unit_test(malformed_vocabulary_and_merges),
        cmocka_unit_test(vocab_and_merges_of_gpt2_kind),
    };

    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
