/* DIALOCONAN's CSV: spans and prompts of the samples lie within their texts. */
#include <stdlib.h>
#include <string.h>

#include "src/data/dialogue.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/memory_file.h"

dtx_status dtx_fuzz_status;

const char *const dtx_fuzz_words[] = {"\"", "\"\"", ",", "\n", "\r\n", "\n\n", "HS", "CN", "dialogue_id", "text", "\xEF\xBB\xBF", "\xC3", " ", NULL};

size_t dtx_fuzz_seed(int i, uint8_t *out, size_t cap)
{
    static const char *const seeds[] = {
        "text,TARGET,dialogue_id,turn_id,type,source\n\"They said \"\"no\"\", and\nleft\",X,0,0,HS,s\nA kind answer.,X,0,1,CN,s\nThe third,X,0,2,HS,s\n",
        "\xEF\xBB\xBF" "dialogue_id,text\r\na,one\r\na,two\r\na,\r\na,four\r\nb,five\r\nb, six \r\n",
    };

    if (i >= (int)(sizeof seeds / sizeof *seeds) || strlen(seeds[i]) > cap) {
        return 0;
    }
    memcpy(out, seeds[i], strlen(seeds[i]));
    return strlen(seeds[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    dtx_dialogues d = {0};

    dtx_fuzz_status = dtx_dialogues_read(dtx_memory_file(data, size), "<human>:", "<bot>:", &d);
    for (int64_t k = 0; dtx_fuzz_status == DTX_OK && k < d.n; k++) {
        const uint64_t len = d.offset[k + 1] - d.offset[k];
        if (d.offset[k] > d.offset[k + 1] || d.query[k] > len || d.pairs[k] < 1 || d.dialogue[k] >= d.n_dialogues) {
            abort();
        }
        for (uint64_t s = d.span_offset[k]; s < d.span_offset[k + 1]; s++) {
            if (d.span[s].first > len || d.span[s].len > len - d.span[s].first) {
                abort();
            }
        }
    }
    dtx_dialogues_free(&d);
    return 0;
}
