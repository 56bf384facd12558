#include "jobs/train/lora.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "src/base/file.h"
#include "src/base/log.h"
#include "src/base/mem.h"

dtx_status dtx_lora_open(dtx_job *job, const char *init, dtx_lora_training *t)
{
    t->job = job;
    t->c = &job->config;
    snprintf(t->name, sizeof t->name, "%s-%s", job->def->name, job->variant);
    snprintf(t->out_dir, sizeof t->out_dir, "%s/adapters/%s", t->c->run, job->variant);
    DTX_TRY(dtx_stage_model_open(job, init, &t->base)); /* before a run directory is made: it may not be there */
    return dtx_training_open_run(job, &t->run);
}

void dtx_lora_close(dtx_lora_training *t)
{
    dtx_training_close(&t->training);
    dtx_sample_order_free(&t->order);
    dtx_tape_del(t->tape);
    dtx_adapter_del(t->adapter);
    dtx_stage_model_close(&t->base);
    dtx_run_close(t->run);
}

dtx_status dtx_lora_begin(const dtx_config *c, dtx_stage_model *base, dtx_adapter **out)
{
    const char *targets[DTX_LIST_MAX];

    if (base->adapter != NULL && !base->adapter->uniform) {
        return DTX_FAIL(DTX_ERR_INPUT, "variant %s: an adapter whose modules differ in rank or scale, or with DoRA or biases of its own, is "
                        "not trained further here", base->variant);
    }
    if (base->adapter != NULL) {
        *out = base->adapter;
        base->adapter = NULL;
        return DTX_OK;
    }
    for (int64_t i = 0; i < c->lora.target_modules.n; i++) {
        targets[i] = c->lora.target_modules.entry[i];
    }
    const dtx_adapter_rule rule = {.target = targets, .n_targets = (int)c->lora.target_modules.n, .r = c->lora.r, .alpha = c->lora.alpha,
                                   .dropout = c->lora.dropout, .rslora = c->lora.use_rslora};
    DTX_TRY(dtx_adapter_make(&base->arch, &rule, out));
    dtx_adapter_draw(*out, (uint64_t)c->seed);
    return DTX_OK;
}

dtx_status dtx_lora_dialogues(const dtx_job *job, dtx_dialogues *d)
{
    const dtx_config *c = &job->config;

    DTX_TRY(dtx_job_need(job, "data.dialogues", c->data.dialogues));
    DTX_TRY(dtx_dialogues_read(c->data.dialogues, c->model.tmpl.user, c->model.tmpl.bot, d));
    if (d->n_blank > 0) {
        dtx_log(DTX_LOG_WARN, job->def->name, "%s: %" PRId64 " turns without text (the first on line %" PRId64 ") are kept",
                c->data.dialogues, d->n_blank, d->first_blank_line);
    }
    return DTX_OK;
}

dtx_status dtx_lora_share(const dtx_par *par, dtx_status (*read)(void *user, void **message, size_t *size),
                          dtx_status (*unpack)(void *user, const char *message), void *user)
{
    void *message = NULL;
    size_t size = 0;
    dtx_status st = par->rank == 0 ? read(user, &message, &size) : DTX_OK;

    st = dtx_par_bcast(par, st, &message, &size);
    if (st == DTX_OK) {
        st = dtx_par_agree(par, unpack(user, message));
    }
    dtx_free(message);
    return st;
}

void dtx_lora_identify(dtx_lora_training *t)
{
    char *text = t->training.state.identity;
    const size_t size = sizeof t->training.state.identity;

    char targets[512];
    size_t n = strlen(text);
    snprintf(text + n, size - n, " targets=%s%s", dtx_adapter_targets(t->adapter, targets, sizeof targets), t->adapter->rslora ? " rslora" : "");
    n = strlen(text);
    snprintf(text + n, size - n, " precision=%s", dtx_config_word(t->c, "compute.precision"));
}

static dtx_status check_found(const dtx_job *job, const dtx_training_found *found, const char *identity, const char *adapter_dir)
{
    if (strcmp(job->variant, "IT") == 0) {
        return DTX_FAIL(DTX_ERR_USAGE, "%s makes a new variant: give it a name, such as --variant %s", job->def->name,
                        strcmp(job->def->name, "finetune") == 0 ? "FT" : strcmp(job->def->name, "ppo") == 0 ? "RL" : "DPO");
    }
    if (job->redo || !found->complete) {
        return DTX_OK;
    }
    if (found->settings != NULL && strcmp(found->settings, identity) != 0) {
        return DTX_FAIL(DTX_ERR_USAGE, "%s/run.h5 holds a training of %s with other settings or data; there: %s; here: %s; "
                        "choose another --variant or --run, or say --redo to replace it", job->config.run, job->variant,
                        found->settings, identity);
    }
    if (!dtx_file_is_dir(adapter_dir)) {
        return DTX_FAIL(DTX_ERR_MISSING, "%s: the training of %s is complete, but its adapter is gone; say --redo to train it again",
                        adapter_dir, job->variant);
    }
    return DTX_OK;
}

dtx_status dtx_lora_ready(dtx_job *job, dtx_run *run, const char *name, const char *identity, const char *adapter_dir, const char *plan,
                          bool *go)
{
    dtx_training_found found = {0};
    dtx_status st = DTX_OK;

    *go = false;
    DTX_GO(dtx_training_find(run, name, &found));
    DTX_GO(DTX_ROOT(&job->par, check_found(job, &found, identity, adapter_dir)));
    if (job->dry_run) {
        dtx_log(DTX_LOG_INFO, job->def->name, "plan: %s", plan);
        goto done;
    }
    if (found.complete && !job->redo) {
        dtx_log(DTX_LOG_INFO, job->def->name, "nothing to do: the adapter is in %s", adapter_dir);
        goto done;
    }
    if (job->redo && (found.complete || found.begun)) {
        DTX_GO(dtx_training_discard(run, name));
    }
    DTX_GO(dtx_run_provenance_begin(run, job->def->name, job->argc, job->argv, job->config_json));
    *go = true;
done:
    dtx_free(found.settings);
    return st;
}

dtx_status dtx_lora_train(dtx_lora_training *t, dtx_forecast_work left, void *user)
{
    dtx_status st = DTX_OK;

    DTX_TRY(dtx_training_open(&t->training));
    DTX_TRY(dtx_forecast(t->job, t->run, t->job->def->name, t->base.model, left, user));
    DTX_TRY(dtx_training_run(&t->training));
    if (t->job->par.rank == 0) {
        st = dtx_file_mkdirs(t->out_dir);
        if (st == DTX_OK) {
            st = dtx_adapter_write(t->out_dir, &t->base.arch, t->adapter, t->base.base_model);
        }
    }
    DTX_TRY(dtx_par_agree(&t->job->par, st));
    return dtx_training_publish(&t->training);
}
