/* Ids, decodings, special cases, truncation and padding of the three published tokenizers against the reference
 * library's, and the number of code points where our Unicode data and the reference's differ. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utf8proc.h>

#include <cmocka.h>

#include "src/base/file.h"
#include "src/base/json.h"
#include "src/base/mem.h"
#include "src/text/tokenizer.h"
#include "src/text/alphabet.h"
#include "src/text/impl.h"
#include "src/text/normal_form.h"
#include "src/text/unicode.h"
#include "src/base/utf8.h"

#define GOLDEN DTX_SHARED "/golden/tokenizers/"

static void must(dtx_status st)
{
    if (st != DTX_OK) {
        fail_msg("%s", dtx_error_text());
    }
}

/* Calls `check` for each line of a JSONL file and returns the number of lines. */
static int each_line(const char *path, void (*check)(void *, const cJSON *), void *arg)
{
    dtx_file_map file;
    int n = 0;

    must(dtx_file_map_open(path, &file));
    for (size_t i = 0; i < file.size;) {
        const char *end = memchr(file.data + i, '\n', file.size - i);
        size_t len = end ? (size_t)(end - file.data) - i : file.size - i;
        cJSON *root;
        must(dtx_json_parse(file.data + i, len, path, ++n, &root));
        check(arg, root);
        cJSON_Delete(root);
        i += len + 1;
    }
    dtx_file_map_close(&file);
    return n;
}

static dtx_ids ids_of(const cJSON *list)
{
    dtx_ids ids = {0};

    assert_true(cJSON_IsArray(list));
    for (const cJSON *c = list->child; c != NULL; c = c->next) {
        must(DTX_GROW(ids.id, ids.cap, ids.n + 1));
        ids.id[ids.n++] = (int32_t)c->valuedouble;
    }
    return ids;
}

static void same_ids(const dtx_ids *got, const cJSON *want, const char *what)
{
    dtx_ids w = ids_of(want);

    for (size_t i = 0; i < got->n && i < w.n; i++) {
        if (got->id[i] != w.id[i]) {
            fail_msg("%s: id %zu is %d, not %d", what, i, got->id[i], w.id[i]);
        }
    }
    if (got->n != w.n) {
        fail_msg("%s: %zu ids, not %zu", what, got->n, w.n);
    }
    dtx_ids_free(&w);
}

static void same_text(const dtx_tokenizer *t, const dtx_ids *ids, bool skip_special, bool clean, const cJSON *want,
                      const char *what)
{
    char *got, *w;
    size_t n, wn;

    must(dtx_tokenizer_decode(t, ids->id, ids->n, skip_special, clean, &got, &n));
    must(dtx_json_text(want, &w, &wn));
    if (n != wn || memcmp(got, w, n) != 0) {
        fail_msg("%s: decoded \"%.100s\" (%zu bytes), not \"%.100s\" (%zu)", what, got, n, w, wn);
    }
    dtx_free(got);
    dtx_free(w);
}

static dtx_ids encode(const dtx_tokenizer *t, const cJSON *text, bool special, int64_t max_length)
{
    dtx_ids ids = {0};
    char *s;
    size_t n;

    must(dtx_json_text(text, &s, &n));
    must(dtx_tokenizer_encode_max(t, s, n, special, max_length, &ids));
    dtx_free(s);
    return ids;
}

static void check_encoding(void *arg, const cJSON *c)
{
    const dtx_tokenizer *t = arg;
    const cJSON *decoded = dtx_json_get(c, "decoded"), *skip = dtx_json_get(c, "decoded_skip_special");
    const cJSON *clean = dtx_json_get(c, "decoded_clean");
    dtx_ids ids = encode(t, dtx_json_get(c, "text"), false, 0);

    same_ids(&ids, dtx_json_get(c, "ids"), "expected.jsonl");
    same_text(t, &ids, false, false, decoded, "decoded");
    same_text(t, &ids, true, false, skip ? skip : decoded, "decoded_skip_special");
    same_text(t, &ids, false, true, clean ? clean : decoded, "decoded_clean");
    dtx_ids_free(&ids);
}

static void check_decode(void *arg, const cJSON *c)
{
    const dtx_tokenizer *t = arg;
    dtx_ids ids = ids_of(dtx_json_get(c, "ids"));

    same_text(t, &ids, false, false, dtx_json_get(c, "decoded"), "decode.jsonl decoded");
    same_text(t, &ids, true, false, dtx_json_get(c, "decoded_skip_special"), "decode.jsonl decoded_skip_special");
    dtx_ids_free(&ids);
}

/* Pads as the program's callers do, with the attention mask beside. */
static void check_batch(const dtx_tokenizer *t, const cJSON *c, bool special, int64_t max_length)
{
    const cJSON *want = dtx_json_get(c, "ids")->child, *mask = dtx_json_get(c, "attention_mask")->child;
    bool left = strcmp(dtx_json_get(c, "padding_side")->valuestring, "left") == 0;
    int32_t pad = (int32_t)dtx_json_get(c, "pad_id")->valuedouble;

    for (const cJSON *text = dtx_json_get(c, "texts")->child; text != NULL; text = text->next) {
        dtx_ids ids = encode(t, text, special, max_length), padded = {0}, active = {0};
        must(DTX_GROW(padded.id, padded.cap, max_length));
        must(DTX_GROW(active.id, active.cap, max_length));
        size_t gap = (size_t)max_length - ids.n;
        padded.n = active.n = (size_t)max_length;
        for (size_t i = 0; i < padded.n; i++) {
            bool inside = left ? i >= gap : i < ids.n;
            padded.id[i] = inside ? ids.id[left ? i - gap : i] : pad;
            active.id[i] = inside;
        }
        same_ids(&padded, want, "batch");
        same_ids(&active, mask, "attention mask");
        want = want->next;
        mask = mask->next;
        dtx_ids_free(&ids);
        dtx_ids_free(&padded);
        dtx_ids_free(&active);
    }
}

static void check_special(void *arg, const cJSON *c)
{
    const dtx_tokenizer *t = arg;
    const char *kind = dtx_json_get(c, "kind")->valuestring;
    const cJSON *limit = dtx_json_get(c, "max_length"), *mask = dtx_json_get(c, "special_tokens_mask");
    bool special = cJSON_IsTrue(dtx_json_get(c, "add_special_tokens"));
    int64_t max_length = limit ? (int64_t)limit->valuedouble : 0;

    if (strcmp(kind, "batch_max_length") == 0) {
        check_batch(t, c, special, max_length);
    } else if (strcmp(kind, "pair") == 0 || strcmp(kind, "truncate_pair") == 0) {
        char *a, *b;
        size_t n_a, n_b;
        dtx_ids ids = {0};
        must(dtx_json_text(dtx_json_get(c, "text"), &a, &n_a));
        must(dtx_json_text(dtx_json_get(c, "pair"), &b, &n_b));
        must(dtx_tokenizer_encode_pair(t, a, n_a, b, n_b, special, max_length, &ids));
        same_ids(&ids, dtx_json_get(c, "ids"), kind);
        dtx_free(a);
        dtx_free(b);
        dtx_ids_free(&ids);
    } else {
        dtx_ids ids = encode(t, dtx_json_get(c, "text"), special, max_length);
        assert_true(strcmp(kind, "single") == 0 || strcmp(kind, "truncate") == 0);
        same_ids(&ids, dtx_json_get(c, "ids"), kind);
        if (mask) { /* tells which ids the template added: those before and after the text's own */
            dtx_ids own = encode(t, dtx_json_get(c, "text"), false, 0);
            int added = 0;
            for (const cJSON *m = mask->child; m != NULL; m = m->next) {
                added += m->valuedouble == 1;
            }
            assert_int_equal(ids.n - own.n, added);
            dtx_ids_free(&own);
        }
        dtx_ids_free(&ids);
    }
}

static void check_folder(const char *name, const char *model_dir, int n_special, int n_decode)
{
    dtx_tokenizer *t;
    char path[4096];
    int n[3];

    must(dtx_tokenizer_open(model_dir, &t));
    snprintf(path, sizeof path, GOLDEN "%s/expected.jsonl", name);
    n[0] = each_line(path, check_encoding, t);
    snprintf(path, sizeof path, GOLDEN "%s/special.jsonl", name);
    n[1] = each_line(path, check_special, t);
    snprintf(path, sizeof path, GOLDEN "%s/decode.jsonl", name);
    n[2] = each_line(path, check_decode, t);
    printf("%s: %d texts, %d special cases, %d decodings equal\n", model_dir, n[0], n[1], n[2]);
    assert_int_equal(n[0], 609);
    assert_int_equal(n[1], n_special);
    assert_int_equal(n[2], n_decode);
    dtx_tokenizer_close(t);
}

static void gpt_neox_equals_reference(void **state)
{
    (void)state;
    check_folder("gpt-neox-20b", GOLDEN "gpt-neox-20b", 79, 168);
}

static void falcon_equals_reference(void **state)
{
    (void)state;
    check_folder("falcon-7b", GOLDEN "falcon-7b", 79, 164);
}

static void roberta_equals_reference(void **state)
{
    (void)state;
    check_folder("roberta-base", GOLDEN "roberta-base", 143, 162);
}

static void roberta_from_vocab_and_merges_equals_reference(void **state)
{
    char dir[] = "/tmp/dtx_tok_XXXXXX", path[4096];
    static const char *const file[] = {"vocab.json", "merges.txt"};

    (void)state;
    assert_non_null(mkdtemp(dir));
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, file[i]);
        char target[4096];
        snprintf(target, sizeof target, GOLDEN "roberta-base/%s", file[i]);
        assert_int_equal(symlink(target, path), 0);
    }
    check_folder("roberta-base", dir, 143, 162);
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, file[i]);
        unlink(path);
    }
    rmdir(dir);
}

static void every_id_decodes_to_its_bytes(void **state)
{
    static const struct {
        const char *dir;
        int64_t size;
    } model[] = {{GOLDEN "gpt-neox-20b", 50277}, {GOLDEN "falcon-7b", 65024}, {GOLDEN "roberta-base", 50265}};

    (void)state;
    for (int m = 0; m < 3; m++) {
        dtx_tokenizer *t;
        must(dtx_tokenizer_open(model[m].dir, &t));
        assert_int_equal(dtx_tokenizer_size(t), model[m].size);
        for (int32_t id = 0; id < model[m].size; id++) {
            const char *bytes;
            size_t n = dtx_tokenizer_bytes(t, id, &bytes), len;
            char *text;
            assert_true(n > 0);
            assert_int_equal(dtx_tokenizer_id(t, dtx_tokenizer_piece(t, id)), id);
            must(dtx_tokenizer_decode(t, &id, 1, false, false, &text, &len));
            if (dtx_utf8_valid(bytes, n) == n) {
                assert_int_equal(len, n);
                assert_memory_equal(text, bytes, n);
            }
            dtx_free(text);
        }
        dtx_tokenizer_close(t);
    }
}

static void check_invalid(void *arg, const cJSON *c)
{
    dtx_tokenizer *const *t = arg;
    const char *hex = dtx_json_get(c, "hex")->valuestring;
    char bytes[64], expected[64];
    size_t n = strlen(hex) / 2;

    for (size_t i = 0; i < n; i++) {
        unsigned v;
        assert_int_equal(sscanf(hex + 2 * i, "%2x", &v), 1);
        bytes[i] = (char)v;
    }
    for (int m = 0; m < 3; m++) {
        dtx_ids ids = {0};
        assert_int_equal(dtx_tokenizer_encode(t[m], bytes, n, true, &ids), DTX_ERR_INPUT);
        snprintf(expected, sizeof expected, "byte %zu of %zu", dtx_utf8_valid(bytes, n), n);
        assert_non_null(strstr(dtx_error_text(), expected));
        assert_int_equal(ids.n, 0);
        dtx_ids_free(&ids);
    }
}

static void invalid_utf8_is_an_error_with_its_place(void **state)
{
    dtx_tokenizer *t[3];

    (void)state;
    must(dtx_tokenizer_open(GOLDEN "gpt-neox-20b", &t[0]));
    must(dtx_tokenizer_open(GOLDEN "falcon-7b", &t[1]));
    must(dtx_tokenizer_open(GOLDEN "roberta-base", &t[2]));
    assert_int_equal(each_line(GOLDEN "invalid_utf8.jsonl", check_invalid, t), 10);
    for (int m = 0; m < 3; m++) {
        dtx_tokenizer_close(t[m]);
    }
}

/* --- Unicode data: counted differences, bounded by the numbers that src/text/tokenizer.h documents --- */

static FILE *open_table(const char *name)
{
    char path[4096];

    snprintf(path, sizeof path, GOLDEN "unicode/%s", name);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    return f;
}

/* Class of cp as the splitter sees it: found by what joins with what. */
static char class_seen(uint32_t cp)
{
    static const struct {
        char class;
        const char *with;
    } probe[] = {{'L', "a"}, {'N', "1"}, {'O', "#"}};
    char s[5];
    size_t n = dtx_utf8_put(cp, s + 1);

    if (dtx_tok_is_space(cp)) {
        return 'S';
    }
    for (int i = 0; i < 3; i++) {
        s[0] = probe[i].with[0];
        if (dtx_tok_gpt2_next(s, n + 1) == n + 1) {
            return probe[i].class;
        }
    }
    return '?';
}

static void regex_classes_differ_by_unicode_version_only(void **state)
{
    static char want[0x110000];
    char line[256], class;
    unsigned first, last;
    int differ[128] = {0}, total = 0;
    FILE *f = open_table("regex_classes.tsv");

    (void)state;
    memset(want, 'O', sizeof want);
    while (fgets(line, sizeof line, f)) {
        if (line[0] != '#' && sscanf(line, "%x %x %c", &first, &last, &class) == 3) {
            for (unsigned cp = first; cp <= last; cp++) {
                want[cp] = class;
            }
        }
    }
    fclose(f);
    for (uint32_t cp = 0; cp < 0x110000; cp++) {
        if ((cp >= 0xD800 && cp <= 0xDFFF) || class_seen(cp) == want[cp]) {
            continue;
        }
        differ[(int)want[cp]]++;
        total++;
        /* a difference is a character newer than our data (unassigned: class O), not a different reading of an old one
         */
        if (utf8proc_category((utf8proc_int32_t)cp) != UTF8PROC_CATEGORY_CN) {
            printf("U+%04X: class %c, reference %c\n", cp, class_seen(cp), want[cp]);
            differ[0]++;
        }
    }
    printf("regex classes: %d code points differ (reference L %d, N %d, S %d, O %d), %d of them assigned in our data\n",
           total, differ['L'], differ['N'], differ['S'], differ['O'], differ[0]);
    assert_int_equal(differ['S'], 0);
    assert_true(total <= 5500);
    if (atoi(utf8proc_unicode_version()) <= 16) {
        assert_int_equal(differ[0], 0);
    }
}

static void falcon_punctuation_differs_by_unicode_version_only(void **state)
{
    static char want[0x110000];
    char line[256];
    unsigned first, last;
    int extra = 0, missing = 0;
    FILE *f = open_table("falcon_punctuation.tsv");

    (void)state;
    memset(want, 0, sizeof want);
    while (fgets(line, sizeof line, f)) {
        if (line[0] != '#' && sscanf(line, "%x %x", &first, &last) == 2) {
            memset(want + first, 1, last - first + 1);
        }
    }
    fclose(f);
    for (uint32_t cp = 0; cp < 0x110000; cp++) {
        if (cp < 0xD800 || cp > 0xDFFF) {
            bool ours = dtx_tok_is_punctuation(cp);
            extra += ours && !want[cp];
            missing += !ours && want[cp];
        }
    }
    printf("falcon punctuation: %d code points are punctuation here only, %d in the reference only\n", extra, missing);
    assert_int_equal(missing, 0);
    assert_int_equal(extra, 0);
}

/* "0041 0301" -> UTF-8 */
static size_t parse_points(const char *s, char *out)
{
    size_t n = 0;

    for (char *end; *s != '\0'; s = end) {
        unsigned long cp = strtoul(s, &end, 16);
        if (end == s) {
            break;
        }
        n += dtx_utf8_put((uint32_t)cp, out + n);
    }
    return n;
}

static void nfc_differs_by_unicode_version_only(void **state)
{
    char line[4096];
    int n = 0, differ = 0, neither = 0;
    FILE *f = open_table("nfc_cases.tsv");

    (void)state;
    while (fgets(line, sizeof line, f)) {
        char in[1024], want[1024], newer[1024], *save, *changed;
        if (line[0] == '#') {
            continue;
        }
        size_t n_in = parse_points(strtok_r(line, "\t\n", &save), in), got_n;
        size_t n_want = parse_points(strtok_r(NULL, "\t\n", &save), want);
        const char *column = strtok_r(NULL, "\t\n", &save);
        size_t n_newer = column[0] == '=' ? n_want : parse_points(column, newer);
        if (column[0] == '=') {
            memcpy(newer, want, n_want);
        }
        must(dtx_tok_normal_form(in, n_in, true, &changed, &got_n));
        const char *got = changed ? changed : in;
        bool same = got_n == n_want && memcmp(got, want, got_n) == 0;
        n++;
        differ += !same;
        neither += !same && !(got_n == n_newer && memcmp(got, newer, got_n) == 0);
        dtx_free(changed);
    }
    fclose(f);
    printf("NFC: %d of %d cases differ from the reference, %d of them from Unicode 17 too\n", differ, n, neither);
    assert_int_equal(n, 10107);
    assert_int_equal(neither, 0);
    assert_true(differ <= 394);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gpt_neox_equals_reference),
        cmocka_unit_test(falcon_equals_reference),
        cmocka_unit_test(roberta_equals_reference),
        cmocka_unit_test(roberta_from_vocab_and_merges_equals_reference),
        cmocka_unit_test(every_id_decodes_to_its_bytes),
        cmocka_unit_test(invalid_utf8_is_an_error_with_its_place),
        cmocka_unit_test(regex_classes_differ_by_unicode_version_only),
        cmocka_unit_test(falcon_punctuation_differs_by_unicode_version_only),
        cmocka_unit_test(nfc_differs_by_unicode_version_only),
    };

    if (!dtx_file_is_dir(GOLDEN)) {
        printf("skipped: no reference values at %s\n", GOLDEN);
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
