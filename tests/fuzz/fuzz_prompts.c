/* Evaluation texts: JSONL. The file's name decides the kind, so the bytes go through a link that ends in .jsonl. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/data/dataset.h"
#include "src/base/utf8.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/memory_file.h"

dtx_status dtx_fuzz_status;

const char *const dtx_fuzz_words[] = {"\"toxicity\":", "\"prompt\":", "\"text\":", "null", "\n", "\r\n", "\\u0000", "\\ud800", "{", "}",
                                      "\"id\":", "1e400", "\xEF\xBB\xBF", "\xC3", "true", NULL};

size_t dtx_fuzz_seed(int i, uint8_t *out, size_t cap)
{
    static const char *const seeds[] = {
        "{\"id\": 3, \"prompt\": {\"text\": \"a\\u0000b\"}}\n\n{\"prompt\": {\"text\": \"c\", \"toxicity\": null}}\n",
        "{\"challenging\": true, \"prompt\": {\"text\": \"x\", \"toxicity\": 0.7}, \"continuation\": {\"text\": \" y\", \"toxicity\": 0.8}}\r\n"
        "{\"prompt\": {\"text\": \"z\", \"toxicity\": 0.1}, \"continuation\": null}",
    };

    if (i >= (int)(sizeof seeds / sizeof *seeds) || strlen(seeds[i]) > cap) {
        return 0;
    }
    memcpy(out, seeds[i], strlen(seeds[i]));
    return strlen(seeds[i]);
}

static char link_path[64];

static void remove_link(void)
{
    unlink(link_path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *path = dtx_memory_file(data, size);
    dtx_texts t = {0};
    char selected[32];

    if (link_path[0] == '\0') {
        snprintf(link_path, sizeof link_path, "/tmp/dtx-fuzz-%ld.jsonl", (long)getpid());
        unlink(link_path);
        if (symlink(path, link_path) != 0) {
            perror(link_path);
            abort();
        }
        atexit(remove_link);
    }
    dtx_fuzz_status = dtx_texts_read_prompts(link_path, "auto", 0, 0, &t, selected);
    for (int64_t i = 0; i < t.n; i++) {
        size_t len = t.offset[i + 1] - t.offset[i];
        if (dtx_utf8_valid(t.bytes + t.offset[i], len) != len) { /* what is accepted is UTF-8 */
            abort();
        }
    }
    dtx_texts_free(&t);
    return 0;
}
