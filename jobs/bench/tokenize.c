/* tokenize.c - ids per second on one core over real texts. */
#include <inttypes.h>
#include <stdio.h>

#include "jobs/bench/bench.h"
#include "src/data/dataset.h"
#include "src/text/tokenizer.h"

dtx_status dtx_bench_tokenize(const dtx_job *job, int repeat, dtx_bench_result *out)
{
    double rate[DTX_BENCH_MAX_REPEAT];
    dtx_tokenizer *t = NULL;
    dtx_texts texts = {0};
    dtx_ids ids = {0};
    char selected[32];
    dtx_status st;

    DTX_TRY(dtx_job_need(job, "model.path", job->config.model.path));
    DTX_TRY(dtx_job_need(job, "data.prompts", job->config.data.prompts));
    double begun = dtx_now();
    DTX_GO(dtx_tokenizer_open(job->config.model.path, &t));
    double loaded = dtx_now() - begun;
    DTX_GO(dtx_texts_read_prompts(job->config.data.prompts, job->config.data.select, 0, job->config.data.limit, &texts, selected));
    if (texts.n == 0) {
        st = DTX_FAIL(DTX_ERR_INPUT, "%s: no text is selected", job->config.data.prompts);
        goto done;
    }
    int64_t passes = 1 + 2000000 / (int64_t)(texts.offset[texts.n] + 1); /* some tenths of a second at least */
    for (int i = 0; i < repeat; i++) {
        double total = 0;
        begun = dtx_now();
        for (int64_t p = 0; p < passes; p++) {
            for (int64_t k = 0; k < texts.n; k++) {
                ids.n = 0;
                DTX_GO(dtx_tokenizer_encode(t, texts.bytes + texts.offset[k], texts.offset[k + 1] - texts.offset[k], false, &ids));
                total += (double)ids.n;
            }
        }
        rate[i] = total / (dtx_now() - begun);
    }
    if (!job->json) {
        printf("%" PRId64 " texts (%s), %.0f kB; loading the tokenizer took %.3f s\n", texts.n, selected,
               (double)texts.offset[texts.n] / 1e3, loaded);
    }
    out->achieved = dtx_timing_median(rate, repeat);
    out->limit = 1e6;
    out->share = out->achieved / out->limit;
    out->unit = "ids/s";
done:
    dtx_ids_free(&ids);
    dtx_texts_free(&texts);
    dtx_tokenizer_close(t);
    return st;
}
