/* Published completions: texts lie within the table, scores within [0, 1]; their own texts find their rows again. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "src/data/published.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/memory_file.h"

dtx_status dtx_fuzz_status;

const char *const dtx_fuzz_words[] = {"\"", "\"\"", ",", "\n", "\r\n", "<human>: ", "\n<bot>: ", "<bot>:", "prompts", "responses", "prompt_score", "-1",
                                      "1.0", "nan", "1e-9", "\xEF\xBB\xBF", "\xC3", NULL};

size_t dtx_fuzz_seed(int i, uint8_t *out, size_t cap)
{
    static const char *const seeds[] = {
        ",prompts,responses,prompt_score,response_score,pro_API_response_score\n0,\"<human>: \"\"one\"\".\n<bot>: \", yes,0.5,0.25,-1\n"
        "1,\"<human>: \"\"two\"\".\n<bot>: \", no,,0.1,0.9\n",
        "prompts,responses\r\na text,an answer\r\na text,another\r\n",
    };

    if (i >= (int)(sizeof seeds / sizeof *seeds) || strlen(seeds[i]) > cap) {
        return 0;
    }
    memcpy(out, seeds[i], strlen(seeds[i]));
    return strlen(seeds[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const dtx_template configured = {.user = "<human>:", .bot = "<bot>:", .text = "{user} {text}.\n{bot}"};
    const char *path = dtx_memory_file(data, size);
    dtx_published p = {0};
    dtx_texts texts = {0};

    dtx_fuzz_status = dtx_published_read(path, &configured, &p);
    for (int64_t i = 0; dtx_fuzz_status == DTX_OK && i < p.n_rows; i++) {
        if (p.begin[i] > p.end[i]) {
            abort();
        }
        for (int k = 0; k < DTX_PUBLISHED_SCORES; k++) {
            if (p.has[k] && !isnan(p.score[k][i]) && !(p.score[k][i] >= 0 && p.score[k][i] <= 1)) {
                abort();
            }
        }
    }
    if (dtx_fuzz_status == DTX_OK && dtx_published_texts(&p, &texts) == DTX_OK && dtx_published_align(path, &texts, false, &p) == DTX_OK) {
        for (int64_t i = 0; i < p.n; i++) {
            size_t len;
            if (dtx_published_answer(&p, i, &len) == NULL || p.row[i] >= p.n_rows) {
                abort();
            }
        }
    }
    dtx_texts_free(&texts);
    dtx_published_free(&p);
    return 0;
}
