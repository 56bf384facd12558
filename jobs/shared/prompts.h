/* prompts.h - the evaluation texts and their templated prompts, which generate and import share: ids on every rank, and
 * /prompts and prompt_tokens in run.h5. */
#ifndef DTX_PROMPTS_H
#define DTX_PROMPTS_H

#include "jobs/shared/stage.h"
#include "src/data/dataset.h"
#include "src/text/template.h"
#include "src/text/tokenizer.h"

/* model.template.* */
dtx_template dtx_prompts_template(const dtx_config *c);
/* {"user": ..., "bot": ..., "text": ...}, as a variant's attribute `template`; freed with dtx_free. */
dtx_status dtx_prompts_template_json(const dtx_template *t, char **out);

typedef struct {
    const dtx_tokenizer *tokenizer;
    dtx_template tmpl;
    const char *source;             /* the texts' file, for messages */
    int64_t vocab;                  /* ids must be below it */
    int64_t max_positions;          /* bound of prompt and completion; 0 = none */
    int64_t max_new_tokens;
} dtx_prompt_rule;

/* Ids of all prompts: views into one block that can be broadcast. */
typedef struct {
    void *block;                    /* freed with dtx_free */
    int64_t n;                      /* texts */
    const int64_t *offset;          /* (n + 1) */
    const int32_t *ids;
} dtx_prompts;
/* Local. *block is allocated with dtx_malloc. DTX_ERR_INPUT naming the row whose prompt does not fit. */
dtx_status dtx_prompts_tokenize(const dtx_prompt_rule *rule, const dtx_texts *texts, void **block, size_t *size);
dtx_prompts dtx_prompts_of(void *block);

/* --- serial, for editors --- */

/* Makes /prompts. `selected`: what data.select became. */
dtx_status dtx_prompts_make(hid_t file, const dtx_texts *t, const char *selected);
/* Makes prompt_offset and prompt_tokens of each row (a text's samples repeat them) below `group`. */
dtx_status dtx_prompts_write_ids(hid_t file, const char *group, const dtx_prompts *p, int64_t samples);
/* Makes text_offset and text_bytes of the completions below `group`, whose stage is then complete. */
dtx_status dtx_prompts_write_answers(hid_t file, const char *group, int64_t rows, const uint64_t *offset, const char *bytes);
/* The same from tokens and length of all rows, which are done. `path` is the file's name, for messages. */
dtx_status dtx_prompts_decode(hid_t file, const char *path, const char *group, const dtx_tokenizer *tokenizer, const dtx_eos *eos);
/* Makes tokens, length, prompt_offset and prompt_tokens of an imported variant, one answer to each text, from the answers'
 * texts by the rule's tokenizer and template; the attribute tokenizer_sha256 tells the tokenizer. */
dtx_status dtx_prompts_write_imported(hid_t file, const char *group, const dtx_prompt_rule *rule, const dtx_texts *texts,
                                      const char *const *answer, const size_t *len);
/* The same for a variant of a file where they are absent, from the texts and the template that it holds. `path` is the file's
 * name, for messages. */
dtx_status dtx_prompts_add_ids(hid_t file, const char *path, const char *variant, const dtx_tokenizer *tokenizer, int64_t vocab);
/* A variant's recorded template; DTX_ERR_MISSING when there is none. */
dtx_status dtx_prompts_read_template(hid_t file, const char *path, const char *variant, dtx_template *out);
/* Whether /prompts holds these texts. */
dtx_status dtx_prompts_compare(hid_t file, const dtx_texts *t, const char *source, dtx_stage_diff *diff);
/* The texts of /prompts; *out is empty where there are none. */
dtx_status dtx_prompts_read(hid_t file, dtx_texts *out);
/* offset and bytes of t->n texts from text_offset and text_bytes of `group`: those of /prompts, or completions. */
dtx_status dtx_prompts_read_texts(hid_t file, const char *group, dtx_texts *t);

#endif
