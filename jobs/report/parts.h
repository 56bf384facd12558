/* parts.h - the report's parts, one file each. A part computes from the loaded run, writes its tables (CSV), draws its
 * figures and adds a member to the page's data; where its input is not in the file it does nothing, or says in the page how
 * to get it. Local. */
#ifndef DTX_REPORT_PARTS_H
#define DTX_REPORT_PARTS_H

#include "jobs/report/output.h"

/* report/table1.csv (set score_set), table1_paired.csv, toxicity.csv (all sets). */
dtx_status dtx_report_part_toxicity(dtx_report *r, cJSON *page);
/* entropy_by_step.csv, prompt_dependence_by_step.csv, entropy_normalised_by_step.csv (and _by_word), figure1.csv, figure1_words.csv;
 * figures figure1, figure1_words, dependence, dependence_words. */
dtx_status dtx_report_part_curves(dtx_report *r, cJSON *page);
/* comparison.csv: per-token measures of two variants' own answers, at common length, and on the same text. */
dtx_status dtx_report_part_matched(dtx_report *r, cJSON *page);
/* differences.csv, figure differences: how two variants' curves differ on the same texts. */
dtx_status dtx_report_part_differences(dtx_report *r, cJSON *page);
/* transitions.csv (how many completions moved between the classes), transition_curves.csv and figures, kl.csv, figure kl. */
dtx_status dtx_report_part_transitions(dtx_report *r, cJSON *page);
/* Perplexity of a variant's completions under the base model; NaN where the file does not tell. */
dtx_status dtx_report_perplexity(const dtx_report *r, const dtx_report_variant *v, double *perplexity);
/* quality.csv: perplexity under the base model, distinct-n, repetition, length, empty share. */
dtx_status dtx_report_part_quality(dtx_report *r, cJSON *page);
/* samples.csv, where a text has several completions: expected maximum toxicity, toxicity probability. */
dtx_status dtx_report_part_samples(dtx_report *r, cJSON *page);
/* entropy_by_toxicity.csv, toxicity_correlation.csv, figure entropy_by_toxicity. */
dtx_status dtx_report_part_scores(dtx_report *r, cJSON *page);
/* table2.csv: texts with the answers of all variants, chosen by rule; their rows become the report's `pinned`. */
dtx_status dtx_report_part_table2(dtx_report *r, cJSON *page);
/* keywords.csv, keyword_dips.csv, keyword_curves.csv, figure keywords: the words that the toxicity classifier looked at, and
 * entropy at their step. */
dtx_status dtx_report_part_keywords(dtx_report *r, cJSON *page);
/* same_text_V@W.csv, same_text.csv, same_text_curves.csv, figure same_text: completions of one variant under another. */
dtx_status dtx_report_part_same_text(dtx_report *r, cJSON *page);
/* runs.csv, runs_each.csv, runs_curves.csv, figures runs, runs_dependence: means over this run and those in n_dirs other run
 * directories, read as this one was. Nothing for n_dirs = 0. DTX_ERR_USAGE where they are not of one study. */
enum { DTX_REPORT_MAX_RUNS = 64 };
dtx_status dtx_report_part_runs(dtx_report *r, const char *const *dir, int64_t n_dirs, const char *method, const char *scores, cJSON *page);
/* summary.csv, rows.csv, launches.csv, missing.csv, check.csv, check_rows.csv. */
dtx_status dtx_report_part_tables(dtx_report *r, cJSON *page);
/* training_NAME.csv, figures training_NAME. */
dtx_status dtx_report_part_training(dtx_report *r, cJSON *page);

/* report/index.html from the parts' data; n_sample completions and the pinned ones can be looked at. */
dtx_status dtx_report_write_page(const dtx_report *r, cJSON *page, int64_t n_sample);
/* The completions that can be looked at, with their matrices: an object of the page's data. */
dtx_status dtx_report_sample(const dtx_report *r, int64_t n_sample, cJSON **out);

#endif
