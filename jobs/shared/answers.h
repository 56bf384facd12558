/* answers.h - answers that training generates (ppo's rollouts, dpo's rejected answers): the classifiers of reward.*, scores by
 * the answers' text, and that text in run.h5. Local where nothing else is said. */
#ifndef DTX_ANSWERS_JOB_H
#define DTX_ANSWERS_JOB_H

#include <hdf5.h>

#include "jobs/program/job.h"
#include "src/judge/reward.h"
#include "src/text/tokenizer.h"

/* Collective; what fails on one rank alone is not agreed on. The classifiers of reward.models, else that of reward.path; DTX_ERR_USAGE when neither is set. */
dtx_status dtx_answers_judge(const dtx_job *job, dtx_reward *out);
/* Appends what the classifiers are (fingerprint, label, weight) to a training's description of `size` bytes. */
dtx_status dtx_answers_describe_judge(const dtx_reward *r, char *text, size_t size);

/* score[i] of n answers, row i of tokens (n, width) with length[i] ids, by their text alone. blank (may be NULL): 1 where that
 * text has nothing but blanks. */
dtx_status dtx_answers_score(const dtx_reward *r, const dtx_tokenizer *t, int64_t n, int64_t width, const int32_t *tokens,
                             const int32_t *length, double *score, int32_t *blank);

/* Makes GROUP/text_offset and text_bytes from tokens (rows, width) and length, line breaks as blanks. `edge`: the name of the
 * axis of text_offset. In an edit of the file. */
dtx_status dtx_answers_write_texts(hid_t file, const char *group, const dtx_tokenizer *t);

#endif
