#include "jobs/shared/prompts.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "src/base/json.h"
#include "src/base/mem.h"

/* --- templates --- */

dtx_template dtx_prompts_template(const dtx_config *c)
{
    dtx_template t = {.user = ""};

    memcpy(t.user, c->model.tmpl.user, sizeof t.user);
    memcpy(t.bot, c->model.tmpl.bot, sizeof t.bot);
    memcpy(t.text, c->model.tmpl.text, sizeof t.text);
    return t;
}

dtx_status dtx_prompts_template_json(const dtx_template *t, char **out)
{
    cJSON *o = cJSON_CreateObject();

    cJSON_AddStringToObject(o, "user", t->user);
    cJSON_AddStringToObject(o, "bot", t->bot);
    cJSON_AddStringToObject(o, "text", t->text);
    char *text = cJSON_PrintUnformatted(o);
    *out = text != NULL ? dtx_strdup(text) : NULL;
    cJSON_free(text);
    cJSON_Delete(o);
    return *out != NULL ? DTX_OK : DTX_FAIL(DTX_ERR_MISSING, "no memory for the template");
}

/* --- ids --- */

static int64_t prompt_len(const dtx_prompts *p, int64_t i)
{
    return p->offset[i + 1] - p->offset[i];
}

dtx_prompts dtx_prompts_of(void *block)
{
    const int64_t *head = block;

    return (dtx_prompts){.block = block, .n = head[0], .offset = head + 1, .ids = (const int32_t *)(head + head[0] + 2)};
}

/* The block is [n, offsets (n + 1), ids]. */
dtx_status dtx_prompts_tokenize(const dtx_prompt_rule *rule, const dtx_texts *texts, void **block, size_t *size)
{
    dtx_ids ids = {0};
    dtx_status st = DTX_OK;
    const dtx_template *t = &rule->tmpl;
    int64_t n = texts->n, *head = NULL;

    DTX_GO(DTX_NEW(head, n + 2));
    head[0] = n;
    for (int64_t i = 0; i < n; i++) {
        size_t begin = texts->offset[i], first = ids.n, len, prefix, suffix;
        char *prompt;
        DTX_GO(dtx_template_apply(t, texts->bytes + begin, texts->offset[i + 1] - begin, &prompt, &len, &prefix, &suffix));
        st = dtx_tokenizer_encode_max(rule->tokenizer, prompt, len, true, dtx_template_max_tokens(t), &ids);
        dtx_free(prompt);
        if (st != DTX_OK) {
            st = dtx_error_context(st, "%s, row %" PRId64, rule->source, i);
            goto done;
        }
        for (size_t k = first; k < ids.n; k++) {
            if (ids.id[k] >= rule->vocab) {
                st = DTX_FAIL(DTX_ERR_INPUT,
                              "%s, row %" PRId64 ": the tokenizer gives id %" PRId32 ", the model's vocabulary has %" PRId64
                              " ids: they do not belong together",
                              rule->source, i, ids.id[k], rule->vocab);
                goto done;
            }
        }
        int64_t bound = rule->max_positions, have = (int64_t)(ids.n - first);
        if (have == 0 || (bound > 0 && have + rule->max_new_tokens > bound)) {
            st = DTX_FAIL(DTX_ERR_INPUT,
                          "%s, row %" PRId64 " (id %" PRId64 "): the prompt has %" PRId64 " tokens; at least 1 is needed, and with %"
                          PRId64 " new ones at most the model's %" PRId64 " positions",
                          rule->source, i, texts->id[i], have, rule->max_new_tokens, bound);
            goto done;
        }
        head[i + 2] = (int64_t)ids.n;
    }
    *size = (size_t)(n + 2) * sizeof *head + ids.n * sizeof *ids.id;
    char *all;
    DTX_GO(DTX_NEW_RAW(all, *size));
    memcpy(all, head, (size_t)(n + 2) * sizeof *head);
    memcpy(all + (size_t)(n + 2) * sizeof *head, ids.id, ids.n * sizeof *ids.id);
    *block = all;
done:
    dtx_free(head);
    dtx_ids_free(&ids);
    return st;
}

/* --- in run.h5 --- */

dtx_status dtx_prompts_make(hid_t file, const dtx_texts *t, const char *selected)
{
    const char *group = dtx_h5_places[DTX_H5_PROMPTS].path;

    DTX_TRY(dtx_h5_put(file, group, "id", H5T_NATIVE_INT64, t->n, 1, t->id));
    DTX_TRY(dtx_h5_put(file, group, "text_offset", H5T_NATIVE_UINT64, t->n, 1, t->offset));
    DTX_TRY(dtx_h5_put(file, group, "text_bytes", H5T_NATIVE_UINT8, (int64_t)t->offset[t->n], 1, t->bytes));
    return dtx_h5_attr_str(file, group, "select", selected);
}

dtx_status dtx_prompts_write_ids(hid_t file, const char *group, const dtx_prompts *p, int64_t samples)
{
    int64_t rows = p->n * samples;
    uint64_t *offset = NULL;
    int32_t *ids = NULL;
    dtx_status st;

    DTX_GO(DTX_NEW(offset, rows + 1));
    for (int64_t r = 0; r < rows; r++) {
        offset[r + 1] = offset[r] + (uint64_t)prompt_len(p, r / samples);
    }
    DTX_GO(DTX_NEW_RAW(ids, offset[rows]));
    for (int64_t r = 0; r < rows; r++) {
        memcpy(ids + offset[r], p->ids + p->offset[r / samples], (size_t)prompt_len(p, r / samples) * sizeof *ids);
    }
    DTX_GO(dtx_h5_put(file, group, "prompt_offset", H5T_NATIVE_UINT64, rows, 1, offset));
    st = dtx_h5_put(file, group, "prompt_tokens", H5T_NATIVE_INT32, (int64_t)offset[rows], 1, ids);
done:
    dtx_free(offset);
    dtx_free(ids);
    return st;
}

dtx_status dtx_prompts_read(hid_t file, dtx_texts *out)
{
    const char *group = dtx_h5_places[DTX_H5_PROMPTS].path;
    dtx_texts t = {.n = 0};
    void *id = NULL;
    int64_t shape[2];
    dtx_status st;

    if (!dtx_h5_has(file, group, "id")) {
        *out = t;
        return DTX_OK;
    }
    DTX_GO(dtx_h5_take(file, group, "id", H5T_NATIVE_INT64, DTX_H5_ANY, 1, &id, shape));
    t.n = shape[0];
    t.id = id;
    DTX_GO(dtx_prompts_read_texts(file, group, &t));
    *out = t;
    t = (dtx_texts){.n = 0};
done:
    dtx_texts_free(&t);
    return st;
}

dtx_status dtx_prompts_read_texts(hid_t file, const char *group, dtx_texts *t)
{
    void *bytes = NULL;
    int64_t n_bytes;

    DTX_TRY(dtx_h5_take_offsets(file, group, "text_offset", t->n, &t->offset, &n_bytes));
    DTX_TRY(dtx_h5_take(file, group, "text_bytes", H5T_NATIVE_UINT8, n_bytes, 1, &bytes, NULL));
    t->bytes = bytes;
    return DTX_OK;
}

dtx_status dtx_prompts_compare(hid_t file, const dtx_texts *t, const char *source, dtx_stage_diff *diff)
{
    dtx_texts was;

    DTX_TRY(dtx_prompts_read(file, &was));
    if (was.n != t->n) {
        dtx_stage_differ(diff, "it holds %" PRId64 " texts, %s gives %" PRId64, was.n, source, t->n);
    } else if (t->n > 0 && (memcmp(was.offset, t->offset, (size_t)(t->n + 1) * sizeof *t->offset) != 0
                            || memcmp(was.bytes, t->bytes, t->offset[t->n]) != 0 || memcmp(was.id, t->id, (size_t)t->n * sizeof *t->id) != 0)) {
        dtx_stage_differ(diff, "its texts are not those of %s", source);
    }
    dtx_texts_free(&was);
    return DTX_OK;
}

dtx_status dtx_prompts_write_answers(hid_t file, const char *group, int64_t rows, const uint64_t *offset, const char *bytes)
{
    DTX_TRY(dtx_h5_put(file, group, "text_offset", H5T_NATIVE_UINT64, rows, 1, offset));
    DTX_TRY(dtx_h5_put(file, group, "text_bytes", H5T_NATIVE_UINT8, (int64_t)offset[rows], 1, bytes));
    return dtx_h5_attr_int(file, group, "complete", 1);
}

/* Without the final end of text, whether or not the tokenizer calls it special; ids beyond the tokenizer's decode to
 * nothing. Newlines become spaces, as in the study's tables. */
static dtx_status decode_row(const dtx_tokenizer *tokenizer, const int32_t *ids, int32_t length, const dtx_eos *eos, char **text, size_t *len)
{
    length -= length > 0 && dtx_eos_has(eos, ids[length - 1]);
    DTX_TRY(dtx_tokenizer_decode(tokenizer, ids, (size_t)length, true, true, text, len));
    for (size_t i = 0; i < *len; i++) {
        if ((*text)[i] == '\n') {
            (*text)[i] = ' ';
        }
    }
    return DTX_OK;
}

dtx_status dtx_prompts_decode(hid_t file, const char *path, const char *group, const dtx_tokenizer *tokenizer, const dtx_eos *eos)
{
    void *tokens = NULL, *lengths = NULL;
    uint64_t *offset = NULL;
    int64_t shape[2];
    char *bytes = NULL;
    size_t cap = 0;
    dtx_status st;

    DTX_GO(dtx_h5_take(file, group, "tokens", H5T_NATIVE_INT32, DTX_H5_ANY, DTX_H5_ANY, &tokens, shape));
    const int64_t rows = shape[0], width = shape[1];
    DTX_GO(dtx_h5_take(file, group, "length", H5T_NATIVE_INT32, rows, 1, &lengths, NULL));
    const int32_t *length = lengths;
    DTX_GO(DTX_NEW(offset, rows + 1));
    DTX_GO(DTX_GROW(bytes, cap, 1));
    for (int64_t r = 0; r < rows; r++) {
        char *text;
        size_t len;
        if (length[r] < 0 || length[r] > width) {
            st = DTX_FAIL(DTX_ERR_INPUT, "%s: %s/length of row %" PRId64 " is %" PRId32 ", at most %" PRId64 " is possible", path,
                          group, r, length[r], width);
            goto done;
        }
        DTX_GO(decode_row(tokenizer, (const int32_t *)tokens + r * width, length[r], eos, &text, &len));
        st = DTX_GROW(bytes, cap, offset[r] + len + 1);
        if (st == DTX_OK) {
            memcpy(bytes + offset[r], text, len);
            offset[r + 1] = offset[r] + len;
        }
        dtx_free(text);
        DTX_GO(st);
    }
    st = dtx_prompts_write_answers(file, group, rows, offset, bytes);
done:
    dtx_free(tokens);
    dtx_free(lengths);
    dtx_free(offset);
    dtx_free(bytes);
    return st;
}

dtx_status dtx_prompts_write_imported(hid_t file, const char *group, const dtx_prompt_rule *rule, const dtx_texts *texts,
                                      const char *const *answer, const size_t *len)
{
    const int64_t n = texts->n;
    int64_t width = 1;
    int32_t *length = NULL, *tokens = NULL;
    dtx_ids ids = {0};
    void *block = NULL;
    size_t size, at = 0;
    char fingerprint[65];
    dtx_status st;

    DTX_GO(DTX_NEW(length, n));
    for (int64_t i = 0; i < n; i++) {
        size_t before = ids.n;
        DTX_GO(dtx_tokenizer_encode(rule->tokenizer, answer[i], len[i], false, &ids));
        length[i] = (int32_t)(ids.n - before);
        width = length[i] > width ? length[i] : width;
    }
    DTX_GO(DTX_NEW_RAW(tokens, n * width));
    for (int64_t i = 0; i < n; i++) {
        for (int64_t k = 0; k < width; k++) {
            tokens[i * width + k] = k < length[i] ? ids.id[at++] : -1;
        }
    }
    DTX_GO(dtx_h5_make_imported(file, group, "tokens", n, width));
    DTX_GO(dtx_h5_write(file, group, "tokens", H5T_NATIVE_INT32, n, width, tokens));
    DTX_GO(dtx_h5_make_imported(file, group, "length", n, 1));
    DTX_GO(dtx_h5_write(file, group, "length", H5T_NATIVE_INT32, n, 1, length));
    DTX_GO(dtx_prompts_tokenize(rule, texts, &block, &size));
    const dtx_prompts prompts = dtx_prompts_of(block);
    DTX_GO(dtx_prompts_write_ids(file, group, &prompts, 1));
    DTX_GO(dtx_tokenizer_fingerprint(rule->tokenizer, fingerprint));
    st = dtx_h5_attr_str(file, group, "tokenizer_sha256", fingerprint);
done:
    dtx_free(block);
    dtx_free(length);
    dtx_free(tokens);
    dtx_ids_free(&ids);
    return st;
}

dtx_status dtx_prompts_read_template(hid_t file, const char *path, const char *variant, dtx_template *out)
{
    char group[96], *json = NULL;
    cJSON *o = NULL;
    dtx_status st;

    dtx_h5_group(group, sizeof group, DTX_H5_VARIANT, variant, NULL);
    DTX_GO(dtx_h5_attr_get_str(file, group, "template", &json));
    if (json == NULL) {
        st = DTX_FAIL(DTX_ERR_MISSING, "%s: %s has no template recorded (score needs none with score.prompts = text)", path, group);
        goto done;
    }
    DTX_GO(dtx_json_parse(json, strlen(json), group, 0, &o));
    DTX_GO(dtx_json_str(o, group, "user", sizeof out->user, out->user));
    DTX_GO(dtx_json_str(o, group, "bot", sizeof out->bot, out->bot));
    st = dtx_json_str(o, group, "text", sizeof out->text, out->text);
done:
    cJSON_Delete(o);
    dtx_free(json);
    return st;
}

dtx_status dtx_prompts_add_ids(hid_t file, const char *path, const char *variant, const dtx_tokenizer *tokenizer, int64_t vocab)
{
    char group[128];
    dtx_prompt_rule rule = {.tokenizer = tokenizer, .source = path, .vocab = vocab};
    dtx_texts texts = {.n = 0}, answers = {.n = 0};
    const char **answer = NULL;
    size_t *len = NULL;
    dtx_status st;

    dtx_h5_group(group, sizeof group, DTX_H5_COMPLETIONS, variant, NULL);
    DTX_GO(dtx_prompts_read_template(file, path, variant, &rule.tmpl));
    DTX_GO(dtx_prompts_read(file, &texts));
    answers.n = texts.n; /* one answer to each text */
    DTX_GO(dtx_prompts_read_texts(file, group, &answers));
    DTX_GO(DTX_NEW(answer, texts.n));
    DTX_GO(DTX_NEW(len, texts.n));
    for (int64_t i = 0; i < texts.n; i++) {
        answer[i] = answers.bytes + answers.offset[i];
        len[i] = answers.offset[i + 1] - answers.offset[i];
    }
    st = dtx_prompts_write_imported(file, group, &rule, &texts, answer, len);
done:
    dtx_free(len);
    dtx_free(answer);
    dtx_texts_free(&answers);
    dtx_texts_free(&texts);
    return st;
}
