/* input.c - the model's description and the lengths of its data; what is not there is assumed, and said. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "jobs/shared/known_models.h"
#include "jobs/plan/plan.h"
#include "jobs/shared/prompts.h"
#include "src/data/dataset.h"
#include "src/training/dpo.h"
#include "src/base/file.h"
#include "src/base/json.h"
#include "src/base/mem.h"
#include "src/training/pretrain.h"
#include "src/weights/gguf.h"
#include "src/weights/weights.h"

/* --- model --- */

/* Bytes of a weight as config.json's torch_dtype says; transformers' default is float32. */
static dtx_status element_of(const char *name, const char *text, size_t len, double *out)
{
    char dtype[32] = "float32";
    cJSON *root = NULL;

    DTX_TRY(dtx_json_parse(text, len, name, 0, &root));
    dtx_status st = dtx_json_str(root, name, "torch_dtype", sizeof dtype, dtype);
    *out = strstr(dtype, "16") != NULL ? 2 : 4;
    cJSON_Delete(root);
    return st;
}

static dtx_status mean_element(const char *path, double *out)
{
    double bytes = 0, n = 0;
    dtx_weights *w = NULL;

    DTX_TRY(dtx_weights_open(path, NULL, &w));
    for (int64_t i = 0; i < dtx_weights_count(w); i++) {
        bytes += (double)dtx_weights_at(w, i)->size_bytes;
        n += (double)dtx_weights_at(w, i)->n_elements;
    }
    *out = n > 0 ? bytes / n : 4;
    dtx_weights_close(w);
    return DTX_OK;
}

/* Bytes of a weight as the files have it; false where there are none. */
static dtx_status element_of_weights(const char *dir, bool *there, double *out)
{
    static const char *const names[] = {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
                                        "pytorch_model.bin.index.json"};
    char path[DTX_PATH_MAX];

    *there = false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        DTX_TRY(dtx_file_join(path, sizeof path, dir, names[i]));
        *there = *there || dtx_file_exists(path);
    }
    return *there ? mean_element(dir, out) : DTX_OK;
}

static dtx_status read_folder(dtx_plan *p, const char *dir)
{
    char config[DTX_PATH_MAX];
    dtx_file_map map;
    bool weights;

    if (dtx_gguf_is_path(dir)) {
        DTX_TRY(dtx_arch_read(dir, &p->arch));
        DTX_TRY(mean_element(dir, &p->element));
        snprintf(p->model, sizeof p->model, "%.200s", dir);
        return DTX_OK;
    }
    DTX_TRY(dtx_file_join(config, sizeof config, dir, "config.json"));
    if (dtx_file_exists(config)) {
        DTX_TRY(dtx_arch_read(dir, &p->arch));
        DTX_TRY(dtx_file_map_open(config, &map));
        dtx_status st = element_of(config, (const char *)map.data, map.size, &p->element);
        dtx_file_map_close(&map);
        DTX_TRY(st);
        DTX_TRY(element_of_weights(dir, &weights, &p->element));
        snprintf(p->model, sizeof p->model, "%.200s%s", dir, weights ? "" : " (config.json alone)");
        return DTX_OK;
    }
    const dtx_known_model *known = dtx_known_model_find(dir);
    if (known != NULL) {
        DTX_TRY(dtx_known_model_arch(known, &p->arch));
        DTX_TRY(element_of(known->folder, known->json, strlen(known->json), &p->element));
        snprintf(p->model, sizeof p->model, "%s as published (%.200s is not there)", known->folder, dir);
        return DTX_OK;
    }
    return DTX_FAIL(DTX_ERR_MISSING, "%s is not there: a plan needs the model's config.json, its weights may come later", config);
}

dtx_status dtx_plan_read_model(dtx_plan *p)
{
    const dtx_config *c = p->c;

    if (strcmp(p->name, "pretrain") == 0) {
        if (c->pretrain.task != DTX_SET_TASK_LM) {
            return DTX_FAIL(DTX_ERR_USAGE, "pretrain.task = %s: plan knows the training of language models (lm)", dtx_config_word(c, "pretrain.task"));
        }
        int64_t vocab = (c->pretrain.vocab + 15) / 16 * 16, n = 0;
        DTX_TRY(dtx_pretrain_arch(c->pretrain.arch, c->pretrain.layers, c->pretrain.hidden, c->pretrain.heads, vocab,
                                  c->pretrain.context, 0, 1, &p->arch));
        DTX_TRY(dtx_arch_count(&p->arch, &n));
        p->element = 4;
        snprintf(p->model, sizeof p->model, "%s of %" PRId64 " parameters, made by the job", p->arch.model_type, n);
        return DTX_OK;
    }
    if (strcmp(p->name, "score") == 0) {
        DTX_TRY(dtx_job_need(p->job, "score.path", c->score.path));
        DTX_TRY(read_folder(p, c->score.path));
        return !p->arch.causal ? DTX_OK
                               : DTX_FAIL(DTX_ERR_INPUT, "%s: %s is a decoder, not a classifier", c->score.path, p->arch.model_type);
    }
    DTX_TRY(dtx_job_need(p->job, "model.path", c->model.path));
    DTX_TRY(read_folder(p, c->model.path));
    if (!p->arch.causal) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: %s is an encoder, not a decoder", c->model.path, p->arch.model_type);
    }
    if (c->model.dtype == DTX_SET_DTYPE_F32) {
        p->element = 4;
    }
    return DTX_OK;
}

/* --- data --- */

/* The study's: pairs of DIALOCONAN (samples grow by a pair each), templated texts of RealToxicityPrompts. */
enum { STUDY_SAMPLES = 8312, STUDY_SAMPLE_TOKENS = 110, STUDY_QUERY_TOKENS = 85, STUDY_TEXTS = 5549, STUDY_PROMPT_TOKENS = 45 };
static const double ANSWER_SHARE = 0.4; /* of a pair's row, at the study's dialogues */
static const double BYTES_A_TOKEN = 4.3; /* English text, vocabularies of about 50,000 */

dtx_status dtx_plan_room(dtx_plan *p, int64_t n, int64_t rows)
{
    p->n = n;
    p->rows = rows;
    DTX_TRY(DTX_NEW(p->len, n * rows));
    return DTX_NEW(p->labels, n * rows);
}

/* n lengths with the given mean, from a quarter to seven quarters of it, at most `most`. */
static dtx_status assume(dtx_plan *p, int64_t n, double mean, int64_t most)
{
    const int64_t rows = dtx_plan_is(p, "dpo") ? 2 : 1;

    DTX_TRY(dtx_plan_room(p, n, rows));
    for (int64_t i = 0; i < n * rows; i++) {
        int64_t len = (int64_t)(mean * (0.25 + 1.5 * (double)(i / rows) / (double)(n > 1 ? n - 1 : 1)));
        p->len[i] = len < 2 ? 2 : len < most ? len : most;
        p->labels[i] = rows == 2 ? (int64_t)(ANSWER_SHARE * (double)p->len[i]) + 1 : p->len[i] - 1;
    }
    return DTX_OK;
}

static bool tokenizer_there(const char *dir)
{
    char path[DTX_PATH_MAX], old[DTX_PATH_MAX];

    return dtx_file_join(path, sizeof path, dir, "tokenizer.json") == DTX_OK
           && dtx_file_join(old, sizeof old, dir, "vocab.json") == DTX_OK && (dtx_file_exists(path) || dtx_file_exists(old));
}

static dtx_status read_dialogues(dtx_plan *p)
{
    const dtx_config *c = p->c;
    const char *file = c->data.dialogues;
    dtx_dialogues d = {0};
    dtx_samples s = {0};
    dtx_tokenizer *tok = NULL;
    dtx_status st;

    if (file[0] == '\0' || !dtx_file_exists(file)) {
        snprintf(p->data, sizeof p->data, "assumed: %d samples of %d tokens on average, as the study's (data.dialogues %s)",
                 STUDY_SAMPLES, STUDY_SAMPLE_TOKENS, file[0] == '\0' ? "is not set" : "is not there");
        return assume(p, STUDY_SAMPLES, STUDY_SAMPLE_TOKENS, c->finetune.context);
    }
    DTX_GO(dtx_dialogues_read(file, c->model.tmpl.user, c->model.tmpl.bot, &d));
    if (!tokenizer_there(c->model.path)) {
        DTX_GO(dtx_plan_room(p, d.n, 1));
        for (int64_t i = 0; i < d.n; i++) {
            int64_t len = (int64_t)((double)(d.offset[i + 1] - d.offset[i]) / BYTES_A_TOKEN) + 2;
            p->len[i] = len < c->finetune.context ? len : c->finetune.context;
            p->labels[i] = p->len[i] - 1;
        }
        snprintf(p->data, sizeof p->data, "%.150s: %" PRId64 " samples, %.1f bytes a token assumed (no tokenizer in model.path)",
                 file, d.n, BYTES_A_TOKEN);
        goto done;
    }
    DTX_GO(dtx_tokenizer_open(c->model.path, &tok));
    DTX_GO(dtx_samples_from_dialogues(tok, &d, c->finetune.context, dtx_eos_first(&p->arch.eos),
                                      c->finetune.loss_on == DTX_SET_LOSS_ON_ASSISTANT, &s));
    DTX_GO(dtx_plan_room(p, s.n, 1));
    for (int64_t i = 0; i < s.n; i++) {
        p->len[i] = s.offset[i + 1] - s.offset[i];
        p->labels[i] = dtx_samples_tokens(&s, i);
    }
    snprintf(p->data, sizeof p->data, "%.200s: %" PRId64 " samples, %" PRId64 " tokens", file, s.n, s.offset[s.n]);
done:
    dtx_samples_free(&s);
    dtx_tokenizer_close(tok);
    dtx_dialogues_free(&d);
    return st;
}

/* Pairs of direct preference optimisation: two rows each. */
static dtx_status read_pairs(dtx_plan *p)
{
    const dtx_config *c = p->c;
    const char *file = c->data.dialogues;
    dtx_dialogues d = {0};
    dtx_pairs s = {0};
    dtx_tokenizer *tok = NULL;
    dtx_status st;

    if (file[0] == '\0' || !dtx_file_exists(file)) {
        snprintf(p->data, sizeof p->data, "assumed: %d pairs of 2 x %d tokens on average, as the study's (data.dialogues %s)", STUDY_SAMPLES,
                 STUDY_SAMPLE_TOKENS, file[0] == '\0' ? "is not set" : "is not there");
        return assume(p, STUDY_SAMPLES, STUDY_SAMPLE_TOKENS, c->dpo.context);
    }
    DTX_GO(dtx_dialogues_read(file, c->model.tmpl.user, c->model.tmpl.bot, &d));
    if (!tokenizer_there(c->model.path)) {
        double bytes = (double)d.offset[d.n] / (double)(d.n > 0 ? d.n : 1);
        snprintf(p->data, sizeof p->data, "%.150s: %" PRId64 " pairs, %.1f bytes a token assumed (no tokenizer in model.path)", file, d.n,
                 BYTES_A_TOKEN);
        st = assume(p, d.n, bytes / BYTES_A_TOKEN, c->dpo.context);
        goto done;
    }
    DTX_GO(dtx_tokenizer_open(c->model.path, &tok));
    DTX_GO(dtx_pairs_from_dialogues(tok, &d, c->model.tmpl.user, c->model.tmpl.bot, c->dpo.context, dtx_eos_first(&p->arch.eos), &s));
    DTX_GO(dtx_plan_room(p, s.n, 2));
    for (int64_t i = 0; i < 2 * s.n; i++) {
        p->len[i] = s.offset[i + 1] - s.offset[i];
        p->labels[i] = p->len[i] - s.query[i];
    }
    snprintf(p->data, sizeof p->data, "%.200s: %" PRId64 " pairs, %" PRId64 " tokens", file, s.n, s.offset[2 * s.n]);
done:
    dtx_pairs_free(&s);
    dtx_tokenizer_close(tok);
    dtx_dialogues_free(&d);
    return st;
}

/* Prompts of reinforcement learning: the dialogues up to the turn that is answered. */
static dtx_status read_queries(dtx_plan *p)
{
    const dtx_config *c = p->c;
    const char *file = c->data.dialogues;
    const int64_t most = c->ppo.context - c->generate.max_new_tokens;
    dtx_dialogues d = {0};
    dtx_tokenizer *tok = NULL;
    dtx_ids ids = {0};
    double tokens = 0;
    dtx_status st;

    if (file[0] == '\0' || !dtx_file_exists(file)) {
        snprintf(p->data, sizeof p->data, "assumed: %d prompts of %d tokens on average, as the study's (data.dialogues %s)", STUDY_SAMPLES,
                 STUDY_QUERY_TOKENS, file[0] == '\0' ? "is not set" : "is not there");
        return assume(p, STUDY_SAMPLES, STUDY_QUERY_TOKENS, most);
    }
    DTX_GO(dtx_dialogues_read(file, c->model.tmpl.user, c->model.tmpl.bot, &d));
    DTX_GO(dtx_plan_room(p, d.n, 1));
    if (tokenizer_there(c->model.path)) {
        DTX_GO(dtx_tokenizer_open(c->model.path, &tok));
    }
    for (int64_t i = 0; i < d.n; i++) {
        int64_t len = (int64_t)((double)d.query[i] / BYTES_A_TOKEN) + 1;
        if (tok != NULL) {
            ids.n = 0;
            DTX_GO(dtx_tokenizer_encode(tok, d.bytes + d.offset[i], d.query[i], false, &ids));
            len = (int64_t)ids.n;
        }
        p->len[i] = len < most ? len : most;
        tokens += (double)p->len[i];
    }
    snprintf(p->data, sizeof p->data, "%.200s: %" PRId64 " prompts, %.1f tokens each%s", file, d.n, tokens / (double)(d.n > 0 ? d.n : 1),
             tok != NULL ? "" : " (guessed from bytes: no tokenizer in model.path)");
done:
    dtx_ids_free(&ids);
    dtx_tokenizer_close(tok);
    dtx_dialogues_free(&d);
    return st;
}

static dtx_status read_prompts(dtx_plan *p)
{
    const dtx_config *c = p->c;
    const char *file = c->data.prompts;
    dtx_texts t = {0};
    dtx_tokenizer *tok = NULL;
    void *block = NULL;
    size_t size;
    char selected[32];
    dtx_status st;

    if (file[0] == '\0' || !dtx_file_exists(file)) {
        int64_t n = c->data.expect_count > 0 ? c->data.expect_count : STUDY_TEXTS;
        n = c->data.limit > 0 && c->data.limit < n ? c->data.limit : n;
        snprintf(p->data, sizeof p->data, "assumed: %" PRId64 " texts of %d prompt tokens on average, as the study's (data.prompts %s)",
                 n, STUDY_PROMPT_TOKENS, file[0] == '\0' ? "is not set" : "is not there");
        return assume(p, n, STUDY_PROMPT_TOKENS, 1 << 20);
    }
    DTX_GO(dtx_texts_read_prompts(file, c->data.select, c->data.expect_count, c->data.limit, &t, selected));
    const dtx_template frame = dtx_prompts_template(c);
    DTX_GO(dtx_plan_room(p, t.n, 1));
    if (tokenizer_there(c->model.path)) {
        DTX_GO(dtx_tokenizer_open(c->model.path, &tok));
        const dtx_prompt_rule rule = {.tokenizer = tok, .tmpl = frame, .source = file,
                                      .vocab = p->arch.causal ? p->arch.vocab : INT64_MAX,
                                      .max_positions = p->arch.causal ? p->arch.max_positions : 0, .max_new_tokens = c->generate.max_new_tokens};
        DTX_GO(dtx_prompts_tokenize(&rule, &t, &block, &size));
        const dtx_prompts ids = dtx_prompts_of(block);
        for (int64_t i = 0; i < t.n; i++) {
            p->len[i] = ids.offset[i + 1] - ids.offset[i];
        }
    } else {
        double around = (double)(strlen(frame.text) + strlen(frame.user) + strlen(frame.bot)) / BYTES_A_TOKEN;
        for (int64_t i = 0; i < t.n; i++) {
            p->len[i] = (int64_t)((double)(t.offset[i + 1] - t.offset[i]) / BYTES_A_TOKEN + around) + 1;
        }
    }
    double tokens = 0;
    for (int64_t i = 0; i < t.n; i++) {
        tokens += (double)p->len[i];
    }
    snprintf(p->data, sizeof p->data, "%.150s: %" PRId64 " texts, %.0f prompt tokens%s; completions of %" PRId64 " tokens (the most)",
             file, t.n, tokens, tok != NULL ? "" : " (guessed from bytes: no tokenizer in model.path)", c->generate.max_new_tokens);
done:
    dtx_free(block);
    dtx_tokenizer_close(tok);
    dtx_texts_free(&t);
    return st;
}

dtx_status dtx_plan_read_data(dtx_plan *p)
{
    const dtx_config *c = p->c;

    p->samples = 1;
    p->rows = 1;
    if (dtx_plan_is(p, "finetune")) {
        return read_dialogues(p);
    }
    if (dtx_plan_is(p, "dpo")) {
        return read_pairs(p);
    }
    if (strcmp(p->name, "ppo") == 0) {
        return read_queries(p);
    }
    if (strcmp(p->name, "pretrain") == 0) { /* the settings say it all */
        snprintf(p->data, sizeof p->data, "%" PRId64 " steps of %" PRId64 " windows of %" PRId64 " tokens", c->pretrain.steps,
                 c->pretrain.batch, c->pretrain.context);
        p->n = c->pretrain.batch;
        return DTX_OK;
    }
    p->samples = (double)c->generate.samples;
    return read_prompts(p);
}
