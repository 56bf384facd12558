/* model.c - bench --make-model: a folder of random weights in the shape of a known model. */
#include <stdio.h>
#include <string.h>

#include "jobs/bench/bench.h"
#include "jobs/shared/known_models.h"
#include "src/base/file.h"
#include "src/model/model.h"
#include "src/text/tokenizer.h"

/* The tokenizer's files of a folder, or one of the bytes alone, whose end of text has the id 0. */
static dtx_status add_tokenizer(const char *from, const char *dir, dtx_arch *a)
{
    static const char *const files[] = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json",
                                        "merges.txt"};
    char path[DTX_PATH_MAX];
    int copied = 0;

    if (from == NULL) {
        const char *const text = "";
        const size_t len = 0;
        a->bos_id = 0;
        a->eos = dtx_eos_of(a->causal ? 0 : 2);
        return dtx_bpe_train(&text, &len, 1, !a->causal ? 261 : 258, !a->causal, dir);
    }
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        DTX_TRY(dtx_file_join(path, sizeof path, from, files[i]));
        if (dtx_file_exists(path)) {
            DTX_TRY(dtx_file_copy(from, dir, files[i]));
            copied++;
        }
    }
    dtx_tokenizer *t;
    if (copied == 0) {
        return DTX_FAIL(DTX_ERR_MISSING, "--tokenizer %s: holds neither tokenizer.json nor vocab.json", from);
    }
    DTX_TRY(dtx_tokenizer_open(dir, &t)); /* it can be read */
    dtx_tokenizer_close(t);
    return DTX_OK;
}

dtx_status dtx_bench_make_model(const dtx_job *job, const char *name)
{
    const dtx_known_model *known = dtx_known_model_find(name);
    const int64_t shard = (int64_t)2 << 30;
    char path[DTX_PATH_MAX];
    dtx_arch a;
    int64_t n = 0;

    if (known == NULL) {
        return DTX_FAIL(DTX_ERR_USAGE, "--make-model %s: one of %s is expected", name, dtx_known_model_names());
    }
    if (job->n_args != 1) {
        return DTX_FAIL(DTX_ERR_USAGE, "--make-model %s needs one folder: detoxlens bench --make-model %s DIR", name, name);
    }
    const char *dir = job->args[0];
    DTX_TRY(dtx_known_model_arch(known, &a));
    DTX_TRY(dtx_file_join(path, sizeof path, dir, "config.json"));
    if (dtx_file_exists(path) && !job->redo) {
        return DTX_FAIL(DTX_ERR_USAGE, "%s is there already: choose another folder, or say --redo to replace the model", path);
    }
    remove(path); /* a folder without it is not complete */
    DTX_TRY(dtx_file_mkdirs(dir));
    DTX_TRY(add_tokenizer(dtx_job_flag(job, "tokenizer"), dir, &a));
    DTX_TRY(dtx_arch_count(&a, &n));
    double begun = dtx_now();
    DTX_TRY(dtx_model_write_random(&a, DTX_BF16, (uint64_t)job->config.seed, shard, dir));
    if (!job->json) {
        printf("%s: random weights in the shape of %s, %.0f parameters in bf16, %.2f GB, %.1f s\n", dir, known->folder, (double)n,
               2e-9 * (double)n, dtx_now() - begun);
    }
    return DTX_OK;
}
