#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "jobs/pipeline/pipeline.h"
#include "jobs/shared/stage.h"
#include "src/base/file.h"
#include "src/base/mem.h"

const char *dtx_stage_state_name(dtx_stage_state s)
{
    static const char *const names[] = {"not reached", "left out", "done", "complete", "stopped", "failed"};

    return names[s];
}

/* --- which stages there are --- */

static dtx_pipeline_stage *add(dtx_pipeline *p, const dtx_job_def *def, const char *variant)
{
    dtx_pipeline_stage *s = &p->stage[p->n++];

    *s = (dtx_pipeline_stage){.def = def};
    snprintf(s->variant, sizeof s->variant, "%s", variant);
    return s;
}

static const dtx_job_def *trainer(const char *name)
{
    static const dtx_job_def *const all[] = {&dtx_job_finetune, &dtx_job_dpo, &dtx_job_ppo};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (strcmp(all[i]->name, name) == 0) {
            return all[i];
        }
    }
    return NULL;
}

/* The job that trains a variant, by pipeline.train; NULL when it names none. */
static dtx_status find_trainer(const dtx_config *c, const char *variant, const dtx_job_def **def)
{
    size_t n = strlen(variant);

    *def = NULL;
    for (int64_t i = 0; i < c->pipeline.train.n; i++) {
        const char *entry = c->pipeline.train.entry[i], *job = strchr(entry, '=');
        if (job == NULL || trainer(job + 1) == NULL) {
            return DTX_FAIL(DTX_ERR_USAGE, "pipeline.train: \"%.100s\" is not NAME=JOB with a JOB that trains a variant (finetune, dpo, ppo)",
                            entry);
        }
        if ((size_t)(job - entry) == n && strncmp(entry, variant, n) == 0) {
            *def = trainer(job + 1);
        }
    }
    return DTX_OK;
}

static const char *adapter_of(const dtx_config *c, const char *variant)
{
    for (int64_t i = 0; i < c->n_variants; i++) {
        if (strcmp(c->variants[i].name, variant) == 0) {
            return c->variants[i].adapter;
        }
    }
    return "";
}

/* The setting that a training misses; NULL when all are there. */
static const char *missing_for(const dtx_config *c, const dtx_job_def *def)
{
    if (c->data.dialogues[0] == '\0') {
        return "data.dialogues";
    }
    return def == &dtx_job_ppo && c->reward.path[0] == '\0' && c->reward.models.n == 0 ? "reward.path" : NULL;
}

/* The training of a variant, when it has one; *usable tells whether the variant's other stages can run. */
static dtx_status add_training(dtx_pipeline *p, const dtx_config *c, const char *variant, bool adapter_there, bool *usable,
                               char why[256])
{
    const dtx_job_def *def;

    *usable = true;
    if (strcmp(variant, "IT") == 0 || adapter_of(c, variant)[0] != '\0') {
        return DTX_OK;
    }
    DTX_TRY(find_trainer(c, variant, &def));
    if (def == NULL) {
        if (adapter_there) {
            return DTX_OK;
        }
        return DTX_FAIL(DTX_ERR_USAGE, "pipeline.variants: nothing says where %s comes from: set variants.%s.adapter, or name the job "
                        "that trains it in pipeline.train (\"%s=finetune\")", variant, variant, variant);
    }
    dtx_pipeline_stage *s = add(p, def, variant);
    s->trains = true;
    const char *key = missing_for(c, def);
    if (key != NULL) {
        *usable = adapter_there;
        s->state = DTX_STAGE_LEFT_OUT;
        snprintf(s->why, sizeof s->why, "%s is not set%s", key, *usable ? "; the adapter that is there is used" : "");
        snprintf(why, 256, "%s has no adapter, as %s is not set", variant, key);
    }
    return DTX_OK;
}

static dtx_status add_variant(dtx_pipeline *p, const dtx_config *c, const char *variant, bool adapter_there)
{
    static const dtx_job_def *const stages[] = {&dtx_job_generate, &dtx_job_score, &dtx_job_attribute};
    char why[256];
    bool usable;

    if (variant[0] == '\0' || strlen(variant) > 63
        || strspn(variant, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != strlen(variant)) {
        return DTX_FAIL(DTX_ERR_USAGE, "pipeline.variants: \"%.80s\": a name of 1 to 63 letters, digits, _ or - is expected", variant);
    }
    for (int i = 0; i < p->n; i++) {
        if (p->stage[i].def == &dtx_job_generate && strcmp(p->stage[i].variant, variant) == 0) {
            return DTX_FAIL(DTX_ERR_USAGE, "pipeline.variants: %s is named twice", variant);
        }
    }
    DTX_TRY(add_training(p, c, variant, adapter_there, &usable, why));
    for (size_t i = 0; i < sizeof stages / sizeof *stages; i++) {
        dtx_pipeline_stage *s = add(p, stages[i], variant);
        if (!usable) {
            s->state = DTX_STAGE_LEFT_OUT;
            snprintf(s->why, sizeof s->why, "%s", why);
        } else if (stages[i] == &dtx_job_score && c->score.scorer == DTX_SET_SCORER_LOCAL && c->score.path[0] == '\0') {
            s->state = DTX_STAGE_LEFT_OUT;
            snprintf(s->why, sizeof s->why, "score.path is not set");
        }
    }
    return DTX_OK;
}

void dtx_pipeline_find_adapters(const dtx_config *c, bool there[DTX_LIST_MAX])
{
    char path[2 * DTX_PATH_MAX + 16];

    for (int64_t i = 0; i < c->pipeline.variants.n; i++) {
        snprintf(path, sizeof path, "%s/adapters/%s", c->run, c->pipeline.variants.entry[i]);
        there[i] = dtx_file_is_dir(path);
    }
}

dtx_status dtx_pipeline_plan(const dtx_config *c, const bool adapter_there[DTX_LIST_MAX], dtx_pipeline *p)
{
    *p = (dtx_pipeline){.n = 0};
    if (c->pipeline.pretrain) {
        if (c->pretrain.task != DTX_SET_TASK_LM) {
            return DTX_FAIL(DTX_ERR_USAGE, "pipeline.pretrain trains the language model of model.path; pretrain.task is %s", dtx_config_word(c, "pretrain.task"));
        }
        if (c->data.text.n == 0) {
            return DTX_FAIL(DTX_ERR_USAGE, "pipeline.pretrain is set and data.text, what the model is trained on, is not");
        }
        add(p, &dtx_job_pretrain, "IT");
    }
    if (c->pipeline.variants.n == 0) {
        return DTX_FAIL(DTX_ERR_USAGE, "pipeline.variants names no variant");
    }
    for (int64_t i = 0; i < c->pipeline.variants.n; i++) {
        DTX_TRY(add_variant(p, c, c->pipeline.variants.entry[i], adapter_there[i]));
    }
    add(p, &dtx_job_report, "");
    return DTX_OK;
}

/* --- what the stages read --- */

static dtx_status must_exist(const char *key, const char *path, bool wanted)
{
    if (!wanted || dtx_file_exists(path)) {
        return DTX_OK;
    }
    return DTX_FAIL(DTX_ERR_MISSING, "%s: %s is not there", key, path);
}

dtx_status dtx_pipeline_check_files(const dtx_config *c, const dtx_pipeline *p)
{
    bool trains = false, rewards = false, scores = false;
    char key[96];

    for (int i = 0; i < p->n; i++) {
        const dtx_pipeline_stage *s = &p->stage[i];
        const bool wanted = s->state != DTX_STAGE_LEFT_OUT;
        trains = trains || (wanted && s->trains);
        rewards = rewards || (wanted && s->def == &dtx_job_ppo);
        scores = scores || (wanted && s->def == &dtx_job_score && c->score.scorer == DTX_SET_SCORER_LOCAL);
        if (wanted && s->def == &dtx_job_generate && adapter_of(c, s->variant)[0] != '\0') {
            snprintf(key, sizeof key, "variants.%.64s.adapter", s->variant);
            DTX_TRY(must_exist(key, adapter_of(c, s->variant), true));
        }
    }
    DTX_TRY(must_exist("model.path", c->model.path, !c->pipeline.pretrain));
    DTX_TRY(must_exist("data.prompts", c->data.prompts, true));
    DTX_TRY(must_exist("data.dialogues", c->data.dialogues, trains));
    DTX_TRY(must_exist("score.path", c->score.path, scores));
    if (rewards && c->reward.models.n == 0) { /* DIR or DIR#LABEL */
        char dir[DTX_PATH_MAX];
        snprintf(dir, sizeof dir, "%s", c->reward.path);
        char *label = strrchr(dir, '#');
        if (label != NULL && !dtx_file_exists(dir)) {
            *label = '\0';
        }
        DTX_TRY(must_exist("reward.path", dir, true));
    }
    return DTX_OK;
}

/* --- what the run holds --- */

/* Rows of GROUP/FLAG that are not 0. */
static dtx_status count_rows(hid_t file, const char *group, const char *flag, char *text, size_t size)
{
    void *x = NULL;
    int64_t shape[2];

    if (!dtx_h5_has(file, group, flag)) {
        snprintf(text, size, "nothing");
        return DTX_OK;
    }
    DTX_TRY(dtx_h5_take(file, group, flag, H5T_NATIVE_UINT8, DTX_H5_ANY, 1, &x, shape));
    int64_t n = shape[0], done = dtx_stage_count(x, n);
    if (done == n) {
        snprintf(text, size, "complete, %" PRId64 " rows", n);
    } else {
        snprintf(text, size, "%" PRId64 " of %" PRId64 " rows", done, n);
    }
    dtx_free(x);
    return DTX_OK;
}

static dtx_status look_at_training(hid_t file, const dtx_config *c, const dtx_pipeline_stage *s, char *text, size_t size)
{
    char path[DTX_PATH_MAX + 160], name[160];
    int64_t complete = 0;
    bool there;

    snprintf(name, sizeof name, "%s-%s", s->def->name, s->variant);
    dtx_h5_group(path, sizeof path, DTX_H5_TRAINING, name, NULL);
    if (file >= 0 && dtx_h5_exists(file, path)) {
        DTX_TRY(dtx_h5_attr_get_int(file, path, "complete", &complete, &there));
    }
    snprintf(path, sizeof path, "%s/checkpoints/%s-%s.safetensors", c->run, s->def->name, s->variant);
    snprintf(text, size, "%s", complete == 1 ? "complete" : dtx_file_exists(path) ? "begun, with a checkpoint" : "nothing");
    return DTX_OK;
}

static dtx_status look_in(hid_t file, const dtx_config *c, const dtx_pipeline_stage *s, char *text, size_t size)
{
    char group[256], method[160];
    const char *name = c->attribute.name, *of = c->attribute.completions_of;
    bool foreign = of[0] != '\0' && strcmp(of, s->variant) != 0;

    if (s->trains || s->def == &dtx_job_pretrain) {
        return look_at_training(file, c, s, text, size);
    }
    if (s->def == &dtx_job_generate) {
        dtx_h5_group(group, sizeof group, DTX_H5_COMPLETIONS, s->variant, NULL);
        return count_rows(file, group, "finish", text, size);
    }
    if (s->def == &dtx_job_score) {
        dtx_h5_group(group, sizeof group, DTX_H5_TOXICITY, s->variant, c->score.name[0] != '\0' ? c->score.name : dtx_config_word(c, "score.scorer"));
        return count_rows(file, group, "status", text, size);
    }
    snprintf(method, sizeof method, "%s%s%s", name[0] != '\0' ? name : dtx_config_word(c, "attribute.method"), name[0] == '\0' && foreign ? "@" : "",
             name[0] == '\0' && foreign ? of : "");
    dtx_h5_group(group, sizeof group, DTX_H5_ATTRIBUTION, s->variant, method);
    return count_rows(file, group, "done", text, size);
}

dtx_status dtx_pipeline_look(const dtx_config *c, const dtx_pipeline_stage *s, char *text, size_t size)
{
    char path[DTX_PATH_MAX + 16];
    hid_t file = -1;

    snprintf(text, size, "nothing");
    if (s->def == &dtx_job_report) {
        snprintf(text, size, "made each time");
        return DTX_OK;
    }
    DTX_TRY(dtx_file_join(path, sizeof path, c->run, "run.h5"));
    if (!dtx_file_exists(path)) {
        return DTX_OK;
    }
    DTX_TRY(dtx_h5_open_serial(path, &file));
    dtx_status st = look_in(file, c, s, text, size);
    dtx_h5_close(file);
    return st;
}
