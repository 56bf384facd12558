#include "jobs/shared/answers.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "jobs/shared/stage.h"
#include "mpi/run/run.h"
#include "src/base/mem.h"

dtx_status dtx_answers_judge(const dtx_job *job, dtx_reward *out)
{
    const dtx_config *c = &job->config;
    const char *spec[DTX_LIST_MAX];
    static const dtx_reward_kind kinds[] = {[DTX_SET_REWARD_PROB] = DTX_REWARD_PROB, [DTX_SET_REWARD_LOGIT] = DTX_REWARD_LOGIT,
                                            [DTX_SET_REWARD_LOGPROB] = DTX_REWARD_LOGPROB};
    int n = 0;

    for (int64_t i = 0; i < c->reward.models.n; i++) {
        spec[n++] = c->reward.models.entry[i];
    }
    if (n == 0) {
        DTX_TRY(dtx_job_need(job, "reward.path", c->reward.path));
        spec[n++] = c->reward.path;
    }
    if (n > DTX_MAX_REWARDS) {
        return DTX_FAIL(DTX_ERR_USAGE, "%d reward models; 1 to %d are possible", n, DTX_MAX_REWARDS);
    }
    dtx_arch arch[DTX_MAX_REWARDS];
    for (int i = 0; i < n; i++) {
        dtx_reward_spec one;
        DTX_TRY(dtx_reward_read(spec[i], &one));
        DTX_TRY(dtx_stage_arch(job, one.dir, &arch[i]));
    }
    return dtx_reward_open(spec, arch, n, kinds[c->reward.kind], out);
}

dtx_status dtx_answers_describe_judge(const dtx_reward *r, char *text, size_t size)
{
    char fingerprint[65];

    for (int i = 0; i < r->n; i++) {
        const size_t n = strlen(text);
        DTX_TRY(dtx_model_fingerprint(r->model[i].model, fingerprint));
        if ((size_t)snprintf(text + n, size - n, " judge=%.16s,%" PRId64 ",%.9g", fingerprint, r->model[i].label, r->weight[i]) >=
            size - n) {
            return DTX_FAIL(DTX_ERR_USAGE, "the settings do not fit into the training's description");
        }
    }
    return DTX_OK;
}

dtx_status dtx_answers_score(const dtx_reward *r, const dtx_tokenizer *t, int64_t n, int64_t width, const int32_t *tokens,
                             const int32_t *length, double *score, int32_t *blank)
{
    char **text = NULL;
    size_t *len = NULL;
    dtx_status st = DTX_OK;

    DTX_GO(DTX_NEW(text, n));
    DTX_GO(DTX_NEW(len, n));
    for (int64_t i = 0; i < n; i++) {
        DTX_GO(dtx_tokenizer_decode(t, tokens + i * width, (size_t)length[i], true, true, &text[i], &len[i]));
        bool empty = true;
        for (size_t k = 0; k < len[i] && empty; k++) {
            empty = isspace((unsigned char)text[i][k]) != 0;
        }
        if (blank != NULL) {
            blank[i] = empty;
        }
    }
    DTX_GO(dtx_reward_score(r, n, (const char *const *)text, len, score));
done:
    for (int64_t i = 0; text != NULL && i < n; i++) {
        dtx_free(text[i]);
    }
    dtx_free(len);
    dtx_free(text);
    return st;
}

dtx_status dtx_answers_write_texts(hid_t file, const char *group, const dtx_tokenizer *t)
{
    void *tokens = NULL, *lengths = NULL;
    uint64_t *offset = NULL;
    char *bytes = NULL;
    size_t cap = 0;
    int64_t shape[2];
    dtx_status st = DTX_OK;

    DTX_GO(dtx_h5_take(file, group, "tokens", H5T_NATIVE_INT32, DTX_H5_ANY, DTX_H5_ANY, &tokens, shape));
    const int64_t rows = shape[0], width = shape[1];
    DTX_GO(dtx_h5_take(file, group, "length", H5T_NATIVE_INT32, rows, 1, &lengths, NULL));
    const int32_t *length = lengths;
    DTX_GO(DTX_NEW(offset, rows + 1));
    DTX_GO(DTX_GROW(bytes, cap, 1));
    for (int64_t i = 0; i < rows; i++) {
        char *text;
        size_t len;
        const size_t n = length[i] < 0 ? 0 : length[i] > width ? (size_t)width : (size_t)length[i];
        DTX_GO(dtx_tokenizer_decode(t, (const int32_t *)tokens + i * width, n, true, true, &text, &len));
        st = DTX_GROW(bytes, cap, offset[i] + len + 1);
        for (size_t k = 0; st == DTX_OK && k < len; k++) {
            bytes[offset[i] + k] = text[k] == '\n' ? ' ' : text[k];
        }
        offset[i + 1] = offset[i] + len;
        dtx_free(text);
        DTX_GO(st);
    }
    DTX_GO(dtx_h5_put(file, group, "text_offset", H5T_NATIVE_UINT64, rows, 1, offset));
    st = dtx_h5_put(file, group, "text_bytes", H5T_NATIVE_UINT8, (int64_t)offset[rows], 1, bytes);
done:
    dtx_free(bytes);
    dtx_free(offset);
    dtx_free(lengths);
    dtx_free(tokens);
    return st;
}
