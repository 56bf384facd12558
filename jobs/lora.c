#include "jobs/lora.h"

#include <string.h>

#include "src/file.h"

dtx_status dtx_lora_begin(const dtx_config *c, dtx_stage_model *base, dtx_adapter **out)
{
    const char *targets[DTX_LIST_MAX];

    if (base->adapter != NULL) {
        *out = base->adapter;
        base->adapter = NULL;
        return DTX_OK;
    }
    for (int64_t i = 0; i < c->lora.target_modules.n; i++) {
        targets[i] = c->lora.target_modules.entry[i];
    }
    return dtx_adapter_new(&base->arch, c->lora.r, c->lora.alpha, c->lora.dropout, targets, (int)c->lora.target_modules.n,
                           (uint64_t)c->seed, out);
}

dtx_status dtx_lora_check_found(const dtx_job *job, const dtx_run *run, const dtx_training_found *found, const char *identity,
                                const char *adapter_dir)
{
    if (strcmp(job->variant, "IT") == 0) {
        return DTX_FAIL(DTX_ERR_USAGE, "%s makes a new variant: give it a name, such as --variant %s", job->def->name,
                        strcmp(job->def->name, "finetune") == 0 ? "FT" : strcmp(job->def->name, "ppo") == 0 ? "RL" : "DPO");
    }
    if (job->redo || !found->complete) {
        return DTX_OK;
    }
    if (found->settings != NULL && strcmp(found->settings, identity) != 0) {
        return DTX_FAIL(DTX_ERR_USAGE, "%s holds a training of %s with other settings or data.\n  there: %s\n  here:  %s\n"
                        "choose another --variant or --run, or say --redo to replace it", run->path, job->variant,
                        found->settings, identity);
    }
    if (!dtx_file_is_dir(adapter_dir)) {
        return DTX_FAIL(DTX_ERR_MISSING, "%s: the training of %s is complete, but its adapter is gone; say --redo to train it again",
                        adapter_dir, job->variant);
    }
    return DTX_OK;
}
