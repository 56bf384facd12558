/* lora.h - the frame of the jobs that train an adapter: what finetune and dpo share from the run directory to the PEFT folder,
 * and the parts of it that ppo uses. */
#ifndef DTX_LORA_JOB_H
#define DTX_LORA_JOB_H

#include "jobs/plan/forecast.h"
#include "jobs/shared/stage.h"
#include "jobs/train/training.h"
#include "src/data/dialogue.h"
#include "src/training/finetune.h"

typedef struct {
    dtx_job *job;
    const dtx_config *c;
    dtx_run *run;                    /* NULL in a dry run without a run directory */
    char name[80], out_dir[1200];    /* "finetune-FT"; RUN/adapters/FT */
    dtx_stage_model base;
    dtx_adapter *adapter;
    dtx_tape *tape;
    dtx_sample_order order;
    dtx_training training;
} dtx_lora_training;

/* Collective. Opens run directory and model; `init`: the variant that training begins from. The adapter is made later, with
 * dtx_lora_begin. */
dtx_status dtx_lora_open(dtx_job *job, const char *init, dtx_lora_training *out);
void dtx_lora_close(dtx_lora_training *t);

/* The adapter that training begins with: that of the variant in `base`, which loses it, or a fresh one after lora.*. Local. */
dtx_status dtx_lora_begin(const dtx_config *c, dtx_stage_model *base, dtx_adapter **out);

/* Local, rank 0. Reads data.dialogues with the model's template and logs what is odd. */
dtx_status dtx_lora_dialogues(const dtx_job *job, dtx_dialogues *out);

/* Collective. `read` on rank 0 makes a message (dtx_malloc), `unpack` takes it on every rank. */
dtx_status dtx_lora_share(const dtx_par *par, dtx_status (*read)(void *user, void **message, size_t *size),
                          dtx_status (*unpack)(void *user, const char *message), void *user);

/* Local. Adds targets and precision to the training's identity. */
void dtx_lora_identify(dtx_lora_training *t);

/* Collective. What is to be done about the training `name`, whose adapter is `adapter_dir`: *go is false after --dry-run, which
 * logs `plan`, and when it is complete; --redo discards what was there. When *go, this launch is in the provenance.
 * DTX_ERR_USAGE: --variant IT, or a complete training with another `identity`; DTX_ERR_MISSING: its adapter is gone. */
dtx_status dtx_lora_ready(dtx_job *job, dtx_run *run, const char *name, const char *identity, const char *adapter_dir, const char *plan,
                          bool *go);

/* Collective. The forecast (`left` says what is left to do), all steps, then the adapter's folder, then the curves in run.h5. */
dtx_status dtx_lora_train(dtx_lora_training *t, dtx_forecast_work left, void *user);

#endif
