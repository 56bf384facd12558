/* pipeline.h - the stages of a whole study: which there are, by the configuration, and what a run directory holds of them. */
#ifndef DTX_PIPELINE_H
#define DTX_PIPELINE_H

#include "jobs/program/job.h"

enum { DTX_PIPELINE_MAX = 4 * DTX_LIST_MAX + 2 };

typedef enum {
    DTX_STAGE_WAITING,   /* not reached */
    DTX_STAGE_LEFT_OUT,  /* settings that it needs are not there: see `why` */
    DTX_STAGE_DONE,
    DTX_STAGE_COMPLETE,  /* had been done before */
    DTX_STAGE_STOPPED,
    DTX_STAGE_FAILED
} dtx_stage_state;
const char *dtx_stage_state_name(dtx_stage_state s);

typedef struct {
    const dtx_job_def *def;
    char variant[64];           /* "" for report */
    bool trains;                /* what follows of the variant needs it */
    dtx_stage_state state;
    char why[256];
    double seconds;
    dtx_job_reached reached;
} dtx_pipeline_stage;

typedef struct {
    int n;
    dtx_pipeline_stage stage[DTX_PIPELINE_MAX];
} dtx_pipeline;

/* Which of pipeline.variants have a folder RUN/adapters/V. Rank 0, as other nodes may see a change later. */
void dtx_pipeline_find_adapters(const dtx_config *c, bool there[DTX_LIST_MAX]);
/* The stages in their order; looks at no file. DTX_ERR_USAGE for settings that contradict each other. */
dtx_status dtx_pipeline_plan(const dtx_config *c, const bool adapter_there[DTX_LIST_MAX], dtx_pipeline *p);
/* DTX_ERR_MISSING for the first file or folder that a stage will read and that is not there, before hours are spent. */
dtx_status dtx_pipeline_check_files(const dtx_config *c, const dtx_pipeline *p);
/* Serial. What RUN/run.h5 holds of a stage, as text ("complete", "12 of 21 rows", "nothing"). */
dtx_status dtx_pipeline_look(const dtx_config *c, const dtx_pipeline_stage *s, char *text, size_t size);

#endif
