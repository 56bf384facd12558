/* export.h - what `export` makes of a run.h5 for others: CSV for offline analysis, Inseq's JSON. Local. */
#ifndef DTX_EXPORT_H
#define DTX_EXPORT_H

#include "jobs/program/job.h"

/* DIR/prompts.csv, completions.csv, scores.csv, tokens.csv, token_shares.csv and curves.csv: all variants of the run, of
 * the texts of --rows, in long form; numbers have nine digits, which give the stored f32 back; empty = no value. */
dtx_status dtx_export_csv(const dtx_job *job, const char *dir);
/* One JSON that inseq.FeatureAttributionOutput.load reads, of Inseq 0.7 and later, or with `format` "0.6" of 0.4 to 0.6: the attributions
 * NAME (below /variants/V/attribution) of the variant's rows that are done and have a step, each as its aggregated target_attributions (T, G) with the
 * step score `probability`. model.path gives the tokens' names. */
dtx_status dtx_export_inseq(const dtx_job *job, const char *name, const char *format, const char *path);

#endif
