#include <string.h>

#include "src/base/json.h"
#include "src/base/mem.h"
#include "tests/fuzz/fuzz.h"

dtx_status dtx_fuzz_status;

const char *const dtx_fuzz_words[] = {"\\u0000", "\\ud83d\\ude00", "\\ud83d",  "\"",   "[[[[[[[[", "{\"a\":", "null",
                                      "true",    "\xEF\xBB\xBF",   "\xC0\x80", "\xFF", "//",       ",",       NULL};

size_t dtx_fuzz_seed(int i, uint8_t *out, size_t cap)
{
    static const char *const seeds[] = {
        "{\"a\": 1, \"b\": [true, false, null, -2.5e3], \"c\": {\"d\": \"text\", \"e\": []}}",
        "[\"\\u0000 inside\", \"a\\\"b\\\\c\\n\", \"\\u00e9\\ud83d\\ude00\", \"\xC3\xA9\"]",
        " {\"prompt\": {\"text\": \"So \\u0000, they\", \"toxicity\": 0.25}, \"id\": 7} \n",
    };

    if (i >= (int)(sizeof seeds / sizeof *seeds) || strlen(seeds[i]) > cap) {
        return 0;
    }
    memcpy(out, seeds[i], strlen(seeds[i]));
    return strlen(seeds[i]);
}

static dtx_status walk(const cJSON *item)
{
    int64_t whole = 0;
    double real = 0.0;
    bool flag = false;
    char text[16];

    for (; item != NULL; item = item->next) {
        if (cJSON_IsString(item)) {
            char *copy;
            size_t len;
            DTX_TRY(dtx_json_text(item, &copy, &len));
            dtx_free(copy);
        }
        if (cJSON_IsObject(item)) {
            (void)dtx_json_get(item, "prompt.text");
            (void)dtx_json_int(item, "fuzz", "a", 0, 100, &whole);
            (void)dtx_json_double(item, "fuzz", "a", 0.0, 100.0, &real);
            (void)dtx_json_bool(item, "fuzz", "b", &flag);
            (void)dtx_json_str(item, "fuzz", "c", sizeof text, text);
        }
        if (item->child != NULL) {
            DTX_TRY(walk(item->child));
        }
    }
    return DTX_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cJSON *root = NULL;

    dtx_fuzz_status = dtx_json_parse((const char *)data, size, "fuzz", 0, &root);
    if (dtx_fuzz_status == DTX_OK) {
        dtx_fuzz_status = walk(root);
        cJSON_Delete(root);
    }
    return 0;
}
