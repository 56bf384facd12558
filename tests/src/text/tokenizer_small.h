/* tokenizer_small.h - helpers of the tokenizer tests: a folder of its own, and small tokenizers written into it. */
#ifndef DTX_TEST_TOKENIZER_SMALL_H
#define DTX_TEST_TOKENIZER_SMALL_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/base/file.h"
#include "src/base/mem.h"
#include "src/text/tokenizer.h"
#include "src/text/alphabet.h"
#include "src/text/impl.h"
#include "src/text/normal_form.h"
#include "src/base/utf8.h"

static void put_file(const char *dir, const char *name, const char *text, size_t n)
{
    char path[4096];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    if (f == NULL || fwrite(text, 1, n, f) != n || fclose(f) != 0) {
        fprintf(stderr, "cannot write %s\n", path);
        abort();
    }
}

static void remove_folder(const char *dir)
{
    static const char *const name[] = {"tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"};
    char path[4096];

    for (size_t i = 0; i < sizeof name / sizeof name[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, name[i]);
        unlink(path);
    }
    rmdir(dir);
}

/* The 256 byte tokens with ids 0..255 as members of a JSON object, without braces. Returns the length. */
static size_t put_byte_vocab(char *out)
{
    char *at = out;

    for (unsigned b = 0; b < 256; b++) {
        char s[5] = {0};
        dtx_utf8_put(dtx_tok_byte_char(b), s);
        at += sprintf(at, "%s\"%s%s\":%u", b ? "," : "", s[0] == '"' || s[0] == '\\' ? "\\" : "", s, b);
    }
    return (size_t)(at - out);
}

/* tokenizer.json of 256 bytes, "a b", "ab c", "Ġ a", "Ġa b" (ids 256 to 259), with the other parts as given. */
static void put_small(const char *dir, const char *added, const char *normalizer, const char *pre_tokenizer,
                      const char *post_processor, const char *extra)
{
    char vocab[8192], json[32768];

    put_byte_vocab(vocab);
    int n =
        snprintf(json, sizeof json,
                 "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[%s],\"normalizer\":%s,"
                 "\"pre_tokenizer\":%s,\"post_processor\":%s,\"decoder\":{\"type\":\"ByteLevel\"},%s"
                 "\"model\":{\"type\":\"BPE\",\"vocab\":{%s,\"ab\":256,\"abc\":257,\"\xC4\xA0"
                 "a\":258,\"\xC4\xA0"
                 "ab\":259},\"merges\":[\"a b\",\"ab c\",[\"\xC4\xA0\",\"a\"],\"\xC4\xA0"
                 "a b\"]}}",
                 added, normalizer, pre_tokenizer, post_processor, extra, vocab);
    put_file(dir, "tokenizer.json", json, (size_t)n);
}

#endif
