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
    hsize_t n = (hsize_t)t->n;
    const dtx_h5_spec specs[] = {
        {"/prompts/id", H5T_NATIVE_INT64, 1, {n}, {"/row"}, -1, "index of the text in its source file", "1"},
        {"/prompts/text_offset", H5T_NATIVE_UINT64, 1, {n + 1}, {"/row_edge"}, 0, "start of each text in text_bytes", "byte"},
        {"/prompts/text_bytes", H5T_NATIVE_UINT8, 1, {t->offset[n]}, {"flat:text_byte"}, 0,
         "evaluation texts without template, UTF-8", "1"},
    };
    const void *const values[] = {t->id, t->offset, t->bytes};

    for (size_t i = 0; i < 3; i++) {
        DTX_TRY(dtx_h5_make(file, &specs[i]));
        DTX_TRY(dtx_h5_write(file, specs[i].path, specs[i].type, values[i]));
    }
    DTX_TRY(dtx_h5_attr_str(file, "/prompts", "select", selected));
    return DTX_OK;
}

dtx_status dtx_prompts_write_ids(hid_t file, const char *group, const dtx_prompts *p, int64_t samples)
{
    int64_t rows = p->n * samples;
    uint64_t *offset = NULL;
    int32_t *ids = NULL;
    char path[160];
    dtx_status st;

    DTX_GO(DTX_NEW(offset, rows + 1));
    for (int64_t r = 0; r < rows; r++) {
        offset[r + 1] = offset[r] + (uint64_t)prompt_len(p, r / samples);
    }
    DTX_GO(DTX_NEW_RAW(ids, offset[rows]));
    for (int64_t r = 0; r < rows; r++) {
        memcpy(ids + offset[r], p->ids + p->offset[r / samples], (size_t)prompt_len(p, r / samples) * sizeof *ids);
    }
    snprintf(path, sizeof path, "%s/prompt_offset", group);
    DTX_GO(dtx_h5_make(file, &(dtx_h5_spec){path, H5T_NATIVE_UINT64, 1, {(hsize_t)rows + 1}, {"/row_edge"}, 0,
                                            "start of each row's prompt in prompt_tokens", "1"}));
    DTX_GO(dtx_h5_write(file, path, H5T_NATIVE_UINT64, offset));
    snprintf(path, sizeof path, "%s/prompt_tokens", group);
    DTX_GO(dtx_h5_make(file, &(dtx_h5_spec){path, H5T_NATIVE_INT32, 1, {offset[rows]}, {"flat:prompt_token"}, -1,
                                            "ids of the templated prompts", "1"}));
    DTX_GO(dtx_h5_write(file, path, H5T_NATIVE_INT32, ids));
done:
    dtx_free(offset);
    dtx_free(ids);
    return st;
}

dtx_status dtx_prompts_read(hid_t file, dtx_texts *out)
{
    hsize_t shape[2], bytes[2];
    dtx_texts t = {.n = 0};
    dtx_status st;

    if (!dtx_h5_exists(file, "/prompts/id")) {
        *out = t;
        return DTX_OK;
    }
    DTX_GO(dtx_h5_shape(file, "/prompts/id", shape));
    DTX_GO(dtx_h5_shape(file, "/prompts/text_bytes", bytes));
    t.n = (int64_t)shape[0];
    DTX_GO(DTX_NEW_RAW(t.id, t.n));
    DTX_GO(DTX_NEW_RAW(t.offset, t.n + 1));
    DTX_GO(DTX_NEW_RAW(t.bytes, bytes[0] + 1));
    DTX_GO(dtx_h5_read(file, "/prompts/id", H5T_NATIVE_INT64, t.id));
    DTX_GO(dtx_h5_shape(file, "/prompts/text_offset", shape));
    if ((int64_t)shape[0] != t.n + 1) {
        st = DTX_FAIL(DTX_ERR_INPUT, "/prompts/text_offset has %" PRId64 " entries, expected %" PRId64, (int64_t)shape[0], t.n + 1);
        goto done;
    }
    DTX_GO(dtx_h5_read(file, "/prompts/text_offset", H5T_NATIVE_UINT64, t.offset));
    DTX_GO(dtx_h5_read(file, "/prompts/text_bytes", H5T_NATIVE_UINT8, t.bytes));
    for (int64_t i = 0; i < t.n; i++) {
        if (t.offset[i] > t.offset[i + 1] || t.offset[i + 1] > bytes[0]) {
            st = DTX_FAIL(DTX_ERR_INPUT, "/prompts/text_offset: entry %" PRId64 " does not fit text_bytes", i);
            goto done;
        }
    }
    *out = t;
    t = (dtx_texts){.n = 0};
done:
    dtx_texts_free(&t);
    return st;
}

dtx_status dtx_prompts_compare(hid_t file, const dtx_texts *t, const char *source, dtx_stage_diff *diff)
{
    dtx_texts was;

    DTX_TRY(dtx_prompts_read(file, &was));
    if (was.n != t->n) {
        dtx_stage_differ(diff, "it holds %" PRId64 " texts, %s gives %" PRId64, was.n, source, t->n);
    } else if (memcmp(was.offset, t->offset, (size_t)(t->n + 1) * sizeof *t->offset) != 0
               || memcmp(was.bytes, t->bytes, t->offset[t->n]) != 0 || memcmp(was.id, t->id, (size_t)t->n * sizeof *t->id) != 0) {
        dtx_stage_differ(diff, "its texts are not those of %s", source);
    }
    dtx_texts_free(&was);
    return DTX_OK;
}

dtx_status dtx_prompts_write_answers(hid_t file, const char *group, int64_t rows, const uint64_t *offset, const char *bytes)
{
    char path[160];

    snprintf(path, sizeof path, "%s/text_offset", group);
    DTX_TRY(dtx_h5_make(file, &(dtx_h5_spec){path, H5T_NATIVE_UINT64, 1, {(hsize_t)rows + 1}, {"/row_edge"}, 0,
                                             "start of each completion in text_bytes", "byte"}));
    DTX_TRY(dtx_h5_write(file, path, H5T_NATIVE_UINT64, offset));
    snprintf(path, sizeof path, "%s/text_bytes", group);
    DTX_TRY(dtx_h5_make(file, &(dtx_h5_spec){path, H5T_NATIVE_UINT8, 1, {offset[rows]}, {"flat:text_byte"}, 0,
                                             "decoded completions without special tokens, newlines as spaces, UTF-8", "1"}));
    DTX_TRY(dtx_h5_write(file, path, H5T_NATIVE_UINT8, bytes));
    return dtx_h5_attr_int(file, group, "complete", 1);
}

/* Without the final end of text, whether or not the tokenizer calls it special; ids beyond the tokenizer's decode to
 * nothing. Newlines become spaces, as in the study's tables. */
static dtx_status decode_row(const dtx_tokenizer *tokenizer, const int32_t *ids, int32_t length, int32_t eos, char **text, size_t *len)
{
    length -= length > 0 && ids[length - 1] == eos;
    DTX_TRY(dtx_tokenizer_decode(tokenizer, ids, (size_t)length, true, true, text, len));
    for (size_t i = 0; i < *len; i++) {
        if ((*text)[i] == '\n') {
            (*text)[i] = ' ';
        }
    }
    return DTX_OK;
}

dtx_status dtx_prompts_decode(hid_t file, const char *path, const char *group, const dtx_tokenizer *tokenizer, int32_t eos)
{
    int32_t *tokens = NULL, *length = NULL;
    uint64_t *offset = NULL;
    hsize_t shape[2], n_length[2];
    char *bytes = NULL, tokens_path[160], length_path[160];
    size_t cap = 0;
    dtx_status st;

    snprintf(tokens_path, sizeof tokens_path, "%s/tokens", group);
    snprintf(length_path, sizeof length_path, "%s/length", group);
    DTX_GO(dtx_h5_shape(file, tokens_path, shape));
    DTX_GO(dtx_h5_shape(file, length_path, n_length));
    if (n_length[0] != shape[0] || n_length[1] != 1) {
        st = DTX_FAIL(DTX_ERR_INPUT, "%s: %s and %s do not fit together", path, tokens_path, length_path);
        goto done;
    }
    const int64_t rows = (int64_t)shape[0], width = (int64_t)shape[1];
    DTX_GO(DTX_NEW_RAW(tokens, rows * width));
    DTX_GO(DTX_NEW_RAW(length, rows));
    DTX_GO(DTX_NEW(offset, rows + 1));
    DTX_GO(DTX_GROW(bytes, cap, 1));
    DTX_GO(dtx_h5_read(file, tokens_path, H5T_NATIVE_INT32, tokens));
    DTX_GO(dtx_h5_read(file, length_path, H5T_NATIVE_INT32, length));
    for (int64_t r = 0; r < rows; r++) {
        char *text;
        size_t len;
        if (length[r] < 0 || length[r] > width) {
            st = DTX_FAIL(DTX_ERR_INPUT, "%s: %s of row %" PRId64 " is %" PRId32 ", at most %" PRId64 " is possible", path,
                          length_path, r, length[r], width);
            goto done;
        }
        DTX_GO(decode_row(tokenizer, tokens + r * width, length[r], eos, &text, &len));
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
    dtx_free(length);
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
    char path[160], fingerprint[65];
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
    snprintf(path, sizeof path, "%s/tokens", group);
    DTX_GO(dtx_h5_make(file, &(dtx_h5_spec){path, H5T_NATIVE_INT32, 2, {(hsize_t)n, (hsize_t)width}, {"/row", "/step"}, -1,
                                            "ids of the imported completions", "1"}));
    DTX_GO(dtx_h5_write(file, path, H5T_NATIVE_INT32, tokens));
    snprintf(path, sizeof path, "%s/length", group);
    DTX_GO(dtx_h5_make(file, &(dtx_h5_spec){path, H5T_NATIVE_INT32, 1, {(hsize_t)n}, {"/row"}, 0, "number of ids", "1"}));
    DTX_GO(dtx_h5_write(file, path, H5T_NATIVE_INT32, length));
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

dtx_status dtx_prompts_read_template(hid_t file, const char *path, const char *variant_group, dtx_template *out)
{
    char *json = NULL;
    cJSON *o = NULL;
    dtx_status st;

    DTX_GO(dtx_h5_attr_get_str(file, variant_group, "template", &json));
    if (json == NULL) {
        st = DTX_FAIL(DTX_ERR_MISSING, "%s: %s has no template recorded (score needs none with score.prompts = text)", path, variant_group);
        goto done;
    }
    DTX_GO(dtx_json_parse(json, strlen(json), variant_group, 0, &o));
    DTX_GO(dtx_json_str(o, variant_group, "user", sizeof out->user, out->user));
    DTX_GO(dtx_json_str(o, variant_group, "bot", sizeof out->bot, out->bot));
    st = dtx_json_str(o, variant_group, "text", sizeof out->text, out->text);
done:
    cJSON_Delete(o);
    dtx_free(json);
    return st;
}

dtx_status dtx_prompts_add_ids(hid_t file, const char *path, const char *variant_group, const dtx_tokenizer *tokenizer,
                               int64_t vocab)
{
    char group[128], at[160];
    dtx_prompt_rule rule = {.tokenizer = tokenizer, .source = path, .vocab = vocab};
    dtx_texts texts = {.n = 0};
    uint64_t *offset = NULL;
    char *bytes = NULL;
    const char **answer = NULL;
    size_t *len = NULL;
    hsize_t edges[2], n_bytes[2];
    dtx_status st;

    snprintf(group, sizeof group, "%s/completions", variant_group);
    DTX_GO(dtx_prompts_read_template(file, path, variant_group, &rule.tmpl));
    DTX_GO(dtx_prompts_read(file, &texts));
    snprintf(at, sizeof at, "%s/text_bytes", group);
    DTX_GO(dtx_h5_shape(file, at, n_bytes));
    DTX_GO(DTX_NEW_RAW(bytes, n_bytes[0] + 1));
    DTX_GO(dtx_h5_read(file, at, H5T_NATIVE_UINT8, bytes));
    snprintf(at, sizeof at, "%s/text_offset", group);
    DTX_GO(dtx_h5_shape(file, at, edges));
    if ((int64_t)edges[0] != texts.n + 1) {
        st = DTX_FAIL(DTX_ERR_INPUT, "%s: %s has %" PRIu64 " entries, expected %" PRId64 ": one answer to each text", path, at,
                      (uint64_t)edges[0], texts.n + 1);
        goto done;
    }
    DTX_GO(DTX_NEW_RAW(offset, texts.n + 1));
    DTX_GO(dtx_h5_read(file, at, H5T_NATIVE_UINT64, offset));
    DTX_GO(DTX_NEW(answer, texts.n));
    DTX_GO(DTX_NEW(len, texts.n));
    for (int64_t i = 0; i < texts.n; i++) {
        if (offset[i] > offset[i + 1] || offset[i + 1] > n_bytes[0]) {
            st = DTX_FAIL(DTX_ERR_INPUT, "%s: %s: entry %" PRId64 " does not fit text_bytes", path, at, i);
            goto done;
        }
        answer[i] = bytes + offset[i];
        len[i] = offset[i + 1] - offset[i];
    }
    st = dtx_prompts_write_imported(file, group, &rule, &texts, answer, len);
done:
    dtx_free(len);
    dtx_free(answer);
    dtx_free(offset);
    dtx_free(bytes);
    dtx_texts_free(&texts);
    return st;
}
