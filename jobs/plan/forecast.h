/* forecast.h - predicted against actual: what plan says of a job that is about to run, by the same code (plan.h), noted in
 * dtx_run.outcome and so in /provenance. dtx_stage_end compares. */
#ifndef DTX_FORECAST_H
#define DTX_FORECAST_H

#include "jobs/plan/plan.h"
#include "mpi/run/run.h"

/* What is left to do, for one job's plan: lengths (dtx_plan_room), p->answer, p->first_step. Local, the same on all ranks. */
typedef dtx_status (*dtx_forecast_work)(dtx_plan *p, void *user);

/* Collective, after dtx_run_provenance_begin. Memory of the largest rank, and the seconds until the end where plan.bench is set
 * or a measurement on `model` costs less than 1 % of the job; else these stay unknown. */
dtx_status dtx_forecast(const dtx_job *job, dtx_run *run, const char *name, const dtx_model *model, dtx_forecast_work work, void *user);

#endif
