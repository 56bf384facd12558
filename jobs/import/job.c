/* detoxlens import FILE: published completions with their scores as a variant of run.h5. Rank 0 reads, aligns and writes;
 * everything enters the file in one edit, so a variant is there completely or not at all. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "jobs/shared/prompts.h"
#include "jobs/shared/toxicity.h"
#include "src/answer/generate.h"
#include "src/base/hash.h"
#include "src/base/json.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/data/published.h"

/* Where the columns of the file go. `prompt` < 0: there is none. */
static const struct {
    const char *set;
    int completion, prompt;
    const char *measure;
} sets[] = {
    {"perspective", DTX_PUBLISHED_SERVICE, -1, "TOXICITY"},
    {"hate", DTX_PUBLISHED_RESPONSE, DTX_PUBLISHED_PROMPT, "P(hate)"},
};

typedef struct {
    dtx_job *job;
    dtx_run *run;
    char variant_group[96], group[128]; /* "/variants/V", "/variants/V/completions" */
    bool there, same, own_texts;        /* the variant is in the file, from this very file; no data.prompts is given */
    /* rank 0 */
    const char *path;
    char sha256[DTX_SHA256_TEXT], selected[32];
    dtx_texts texts;
    dtx_published p;
    dtx_tokenizer *tokenizer;           /* NULL without model.path */
    char *template_json, *generation_json;
} import;

/* --- input (rank 0) --- */

static dtx_status settings_json(import *m)
{
    cJSON *o = cJSON_CreateObject();
    const char *name = strrchr(m->path, '/');

    cJSON_AddStringToObject(o, "imported", name != NULL ? name + 1 : m->path);
    cJSON_AddStringToObject(o, "sha256", m->sha256);
    char *text = cJSON_PrintUnformatted(o);
    m->generation_json = text != NULL ? dtx_strdup(text) : NULL;
    cJSON_free(text);
    cJSON_Delete(o);
    DTX_TRY(dtx_mem_check(m->generation_json, 1, 1, "the settings"));
    return dtx_prompts_template_json(&m->p.tmpl, &m->template_json);
}

static dtx_status read_input(import *m)
{
    const dtx_config *c = &m->job->config;
    const dtx_template configured = dtx_prompts_template(c);

    DTX_TRY(dtx_published_read(m->path, &configured, &m->p));
    DTX_TRY(dtx_sha256_file(m->path, m->sha256));
    DTX_TRY(settings_json(m));
    if (c->model.path[0] != '\0') {
        DTX_TRY(dtx_tokenizer_open(c->model.path, &m->tokenizer));
    }
    if (!m->own_texts) {
        DTX_TRY(dtx_texts_read_prompts(c->data.prompts, c->data.select, c->data.expect_count, c->data.limit, &m->texts, m->selected));
    }
    return DTX_OK;
}

/* Texts: data.prompts, else those that the run holds, else the file's own. */
static dtx_status align(hid_t file, import *m)
{
    const dtx_config *c = &m->job->config;

    if (m->own_texts) {
        DTX_TRY(dtx_prompts_read(file, &m->texts));
        snprintf(m->selected, sizeof m->selected, "all");
        if (m->texts.n == 0) {
            DTX_TRY(dtx_published_texts(&m->p, &m->texts));
            dtx_log(DTX_LOG_INFO, "import", "data.prompts is not set: the evaluation texts are those of %s, in its order", m->path);
        }
    }
    DTX_TRY(dtx_published_align(m->path, &m->texts, !m->own_texts && c->data.limit > 0, &m->p));
    dtx_log(DTX_LOG_INFO, "import", "%s: %" PRId64 " rows, template \"%s\" ... \"%s\"; %" PRId64 " of %" PRId64 " texts have an answer, %"
            PRId64 " of them found by a common beginning", m->path, m->p.n_rows, m->p.tmpl.user, m->p.tmpl.bot, m->p.n_found,
            m->texts.n, m->p.n_cut);
    if (m->p.n_found < m->texts.n) {
        dtx_log(DTX_LOG_WARN, "import", "%" PRId64 " texts have no answer in %s", m->texts.n - m->p.n_found, m->path);
    }
    return DTX_OK;
}

static dtx_status look(hid_t file, void *user)
{
    import *m = user;
    dtx_stage_diff diff = {{0}};
    char *was = NULL;

    m->there = dtx_h5_exists(file, m->variant_group);
    if (m->job->redo && m->there) {
        return dtx_stage_announce_discard(file, m->job->variant);
    }
    DTX_TRY(align(file, m));
    if (dtx_h5_exists(file, dtx_h5_places[DTX_H5_PROMPTS].path) && !m->own_texts) {
        DTX_TRY(dtx_prompts_compare(file, &m->texts, m->job->config.data.prompts, &diff));
    }
    if (m->there) {
        DTX_TRY(dtx_h5_attr_get_str(file, m->variant_group, "generation", &was));
        m->same = was != NULL && strcmp(was, m->generation_json) == 0;
        if (!m->same) {
            dtx_stage_differ(&diff, "its completions are not those of %s", m->path);
        }
        dtx_free(was);
    }
    return dtx_stage_refuse(m->run, m->variant_group, &diff);
}

/* --- the file's structure and values (rank 0, inside an edit) --- */

/* Ids of all answers and prompts. */
static dtx_status write_tokens(hid_t file, const import *m)
{
    const int64_t n = m->texts.n;
    const dtx_prompt_rule rule = {.tokenizer = m->tokenizer, .tmpl = m->p.tmpl, .source = m->path,
                                  .vocab = dtx_tokenizer_size(m->tokenizer)};
    const char **answer = NULL;
    size_t *len = NULL;
    dtx_status st;

    DTX_GO(DTX_NEW(answer, n));
    DTX_GO(DTX_NEW(len, n));
    for (int64_t i = 0; i < n; i++) {
        answer[i] = dtx_published_answer(&m->p, i, &len[i]);
    }
    st = dtx_prompts_write_imported(file, m->group, &rule, &m->texts, answer, len);
done:
    dtx_free(answer);
    dtx_free(len);
    return st;
}

static dtx_status write_answers(hid_t file, const import *m)
{
    int64_t n = m->texts.n;
    uint64_t *offset = NULL;
    uint8_t *finish = NULL;
    char *bytes = NULL;
    size_t cap = 0;
    dtx_status st;

    DTX_GO(DTX_NEW(offset, n + 1));
    DTX_GO(DTX_NEW(finish, n));
    DTX_GO(DTX_GROW(bytes, cap, 1));
    for (int64_t i = 0; i < n; i++) {
        size_t len;
        const char *answer = dtx_published_answer(&m->p, i, &len);
        DTX_GO(DTX_GROW(bytes, cap, offset[i] + len + 1));
        for (size_t k = 0; k < len; k++) { /* newlines of a stored response are spaces */
            bytes[offset[i] + k] = answer[k];
            if (answer[k] == '\n') {
                bytes[offset[i] + k] = ' ';
            }
        }
        offset[i + 1] = offset[i] + len;
        finish[i] = m->p.row[i] >= 0 ? DTX_FINISH_IMPORTED : DTX_FINISH_NONE;
    }
    DTX_GO(dtx_h5_put(file, m->group, "finish", H5T_NATIVE_UINT8, n, 1, finish));
    st = dtx_prompts_write_answers(file, m->group, n, offset, bytes);
done:
    dtx_free(offset);
    dtx_free(finish);
    dtx_free(bytes);
    return st;
}

static bool blank(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (strchr(" \t\r\n", s[i]) == NULL || s[i] == '\0') {
            return false;
        }
    }
    return true;
}

/* A score that is not there: the answer is empty, else the reason was not published. */
static dtx_status write_scores(hid_t file, const import *m)
{
    int64_t n = m->texts.n;
    float *score[2] = {NULL, NULL};
    uint8_t *status = NULL;
    char group[160];
    dtx_status st;

    DTX_GO(DTX_NEW_RAW(score[0], n));
    DTX_GO(DTX_NEW_RAW(score[1], n));
    DTX_GO(DTX_NEW_RAW(status, n));
    for (size_t s = 0; s < sizeof sets / sizeof *sets; s++) {
        if (!m->p.has[sets[s].completion]) {
            continue;
        }
        for (int64_t i = 0; i < n; i++) {
            int64_t row = m->p.row[i];
            size_t len;
            const char *answer = dtx_published_answer(&m->p, i, &len);
            score[0][i] = row >= 0 ? m->p.score[sets[s].completion][row] : NAN;
            score[1][i] = row >= 0 && sets[s].prompt >= 0 ? m->p.score[sets[s].prompt][row] : NAN;
            status[i] = row < 0 ? DTX_SCORE_NOT_DONE : !isnan(score[0][i]) ? DTX_SCORE_SCORED
                      : blank(answer, len) ? DTX_SCORE_EMPTY : DTX_SCORE_FAILED;
        }
        dtx_h5_group(group, sizeof group, DTX_H5_TOXICITY, m->job->variant, sets[s].set);
        DTX_GO(dtx_toxicity_make(file, group, n));
        DTX_GO(dtx_toxicity_write(file, group, n, score[0], score[1], status));
        DTX_GO(dtx_h5_attr_str(file, group, "scorer", "imported"));
        DTX_GO(dtx_h5_attr_str(file, group, "measure", sets[s].measure));
        DTX_GO(dtx_h5_attr_str(file, group, "source", m->generation_json));
    }
done:
    dtx_free(score[0]);
    dtx_free(score[1]);
    dtx_free(status);
    return st;
}

static dtx_status discard(hid_t file, void *user)
{
    const import *m = user;

    return dtx_stage_discard_variant(file, m->job->variant);
}

static dtx_status fill(hid_t file, void *user)
{
    const import *m = user;

    if (!dtx_h5_exists(file, dtx_h5_places[DTX_H5_PROMPTS].path)) {
        DTX_TRY(dtx_prompts_make(file, &m->texts, m->selected));
    }
    DTX_TRY(write_answers(file, m));
    if (m->tokenizer != NULL) {
        DTX_TRY(write_tokens(file, m));
    }
    DTX_TRY(write_scores(file, m));
    DTX_TRY(dtx_h5_attr_str(file, m->variant_group, "template", m->template_json));
    return dtx_h5_attr_str(file, m->variant_group, "generation", m->generation_json);
}

/* --- the job --- */

/* Collective. */
static dtx_status run_stage(import *m)
{
    const dtx_par *par = &m->job->par;
    char log_dir[1040];

    DTX_TRY(dtx_run_open(par, m->job->config.run, &m->run));
    snprintf(log_dir, sizeof log_dir, "%s/log", m->run->dir);
    dtx_job_log_open(m->job, log_dir);
    DTX_TRY(dtx_run_inspect(m->run, look, m));
    if (m->job->redo && dtx_par_any(par, m->there)) {
        DTX_TRY(dtx_run_edit(m->run, discard, m));
        DTX_TRY(dtx_run_inspect(m->run, look, m));
    }
    if (dtx_par_any(par, m->same)) {
        dtx_log(DTX_LOG_INFO, "import", "%s holds %s already", m->run->path, m->path);
        return DTX_OK;
    }
    DTX_TRY(dtx_run_provenance_begin(m->run, "import", m->job->argc, m->job->argv, m->job->config_json));
    dtx_status st = dtx_run_edit(m->run, fill, m);
    if (st == DTX_OK) {
        dtx_log(DTX_LOG_INFO, "import", "%s is complete: %" PRId64 " rows", m->group, m->texts.n);
    }
    return dtx_stage_end(m->run, st);
}

static dtx_status run(dtx_job *job)
{
    import m = {.job = job, .own_texts = job->config.data.prompts[0] == '\0'};
    dtx_status st = DTX_OK;

    if (job->n_args != 1) {
        return DTX_FAIL(DTX_ERR_USAGE, "one file of published completions is expected, %d are given", job->n_args);
    }
    if (job->row_first >= 0) {
        return DTX_FAIL(DTX_ERR_USAGE, "--rows: a file is imported as a whole; data.limit takes the first texts");
    }
    m.path = job->args[0];
    dtx_h5_group(m.variant_group, sizeof m.variant_group, DTX_H5_VARIANT, job->variant, NULL);
    dtx_h5_group(m.group, sizeof m.group, DTX_H5_COMPLETIONS, job->variant, NULL);
    st = DTX_ROOT(&job->par, read_input(&m));
    if (st == DTX_OK) {
        st = run_stage(&m);
    }
    dtx_run_close(m.run);
    dtx_published_free(&m.p);
    dtx_texts_free(&m.texts);
    dtx_tokenizer_close(m.tokenizer);
    dtx_free(m.template_json);
    dtx_free(m.generation_json);
    return st;
}

const dtx_job_def dtx_job_import = {
    .name = "import",
    .args = "FILE",
    .summary = "published completions (CSV) as a variant",
    .help = "Reads a CSV with the columns prompts and responses and, where they are there, prompt_score, response_score and "
            "pro_API_response_score, brings its rows into line with the evaluation texts by their text, and writes them as "
            "/variants/V/completions and the toxicity sets `perspective` (pro_API_response_score) and `hate` (prompt_score, "
            "response_score). With model.path the completions are tokenized too, which attribution needs.\n\n"
            "  detoxlens import completions.IT.csv --variant IT --set data.prompts=prompts.jsonl --run runs/published\n\n"
            "Without data.prompts the texts are those that the run holds already, else the file's own. The chat template "
            "that surrounds the prompts is model.template.*, or one of the study's two. Of equal texts the first gets the "
            "file's first row; a prompt that was cut gets the text with the longest common beginning. Importing a file again "
            "changes nothing; another one in its place needs --redo, which discards the variant.\n",
    .bit = DTX_JOB_IMPORT,
    .parallel = true,
    .run = run,
};
