/* lora.h - what the jobs that train an adapter (finetune, dpo, ppo) share. Local. */
#ifndef DTX_LORA_JOB_H
#define DTX_LORA_JOB_H

#include "jobs/stage.h"
#include "jobs/training.h"

/* The adapter that training begins with: that of the variant in `base`, which loses it, or a fresh one after lora.*. */
dtx_status dtx_lora_begin(const dtx_config *c, dtx_stage_model *base, dtx_adapter **out);
/* --variant must name a new variant. A complete training that was found: DTX_ERR_USAGE when its settings are not `identity`, DTX_ERR_MISSING when its adapter
 * is gone. Fine when there is none, or with --redo. */
dtx_status dtx_lora_check_found(const dtx_job *job, const dtx_run *run, const dtx_training_found *found, const char *identity,
                                const char *adapter_dir);

#endif
