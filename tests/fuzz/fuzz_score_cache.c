/* The cache of a service's answers: whatever the file holds, an answer that is found has a score for each attribute. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "src/judge/score_cache.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/memory_file.h"

#define NAME "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

dtx_status dtx_fuzz_status;

const char *const dtx_fuzz_words[] = {"\"status\":", "\"scores\":", "\"text\":", "\"" NAME "\"", "1e400", "null", "-1", "[]", "{}", "\n", "\xC3", NULL};

size_t dtx_fuzz_seed(int i, uint8_t *out, size_t cap)
{
    static const char *const seeds[] = {
        "{\"text\": \"" NAME "\", \"status\": 1, \"scores\": {\"TOXICITY\": 0.25, \"INSULT\": 1}}\n"
        "{\"text\": \"f123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\", \"status\": 3, \"scores\": {\"TOXICITY\": null, \"INSULT\": null}}\n",
        "{\"text\": \"" NAME "\", \"status\": 1, \"scores\": {\"TOXICITY\": 0.25}}\n{\"text\": \"012",
    };

    if (i >= (int)(sizeof seeds / sizeof *seeds) || strlen(seeds[i]) > cap) {
        return 0;
    }
    memcpy(out, seeds[i], strlen(seeds[i]));
    return strlen(seeds[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const dtx_service service = {.language = "en", .n_attributes = 2, .attribute = {"TOXICITY", "INSULT"}, .place = "https://fuzz"};
    dtx_score_cache *c = NULL;
    dtx_service_answer a;

    dtx_fuzz_status = dtx_score_cache_open(dtx_memory_file(data, size), &service, &c);
    if (dtx_fuzz_status == DTX_OK && dtx_score_cache_find(c, NAME, &a) && a.status == DTX_SCORE_SCORED && (isnan(a.score[0]) || isnan(a.score[1]))) {
        abort();
    }
    dtx_score_cache_close(c);
    return 0;
}
