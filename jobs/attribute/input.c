/* The input of `attribute`: a variant's completions on every rank, and which tokens of the prompts count. Imported
 * completions tell no model; their ids are the tokenizer's, made by `import` or here. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "jobs/attribute/attribute.h"
#include "jobs/shared/prompts.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/text/template.h"

void dtx_attribute_meaning(dtx_set_method method, dtx_set_target target, dtx_set_norm norm, dtx_set_merge merge, dtx_attrib_settings *set)
{
    static const dtx_attrib_method methods[] = {[DTX_SET_METHOD_INPUT_X_GRADIENT] = DTX_IXG, [DTX_SET_METHOD_SALIENCY] = DTX_SALIENCY,
                                                [DTX_SET_METHOD_INTEGRATED_GRADIENTS] = DTX_IG};
    static const dtx_attrib_target targets[] = {[DTX_SET_TARGET_PROBABILITY] = DTX_TARGET_PROBABILITY, [DTX_SET_TARGET_LOGPROB] = DTX_TARGET_LOGPROB,
                                                [DTX_SET_TARGET_LOGIT] = DTX_TARGET_LOGIT};
    static const dtx_attrib_norm norms[] = {[DTX_SET_NORM_L2] = DTX_NORM_L2, [DTX_SET_NORM_L1] = DTX_NORM_L1, [DTX_SET_NORM_SUM] = DTX_NORM_SUM};
    static const dtx_attrib_merge merges[] = {[DTX_SET_MERGE_NONE] = DTX_MERGE_NONE, [DTX_SET_MERGE_WORDS] = DTX_MERGE_WORDS,
                                              [DTX_SET_MERGE_INSEQ] = DTX_MERGE_INSEQ};

    set->method = methods[method];
    set->target = targets[target];
    set->norm = norms[norm];
    set->merge = merges[merge];
}

dtx_status dtx_attribute_look(hid_t file, attribution *g)
{
    char fingerprint[65], *was = NULL, *model = NULL;
    dtx_stage_diff diff = {{0}};
    dtx_status st;

    g->has_ids = dtx_h5_has(file, g->source, "tokens");
    DTX_GO(dtx_h5_exists(file, g->m.group) ? dtx_h5_attr_get_str(file, g->m.group, "weights_fingerprint", &model) : DTX_OK);
    if (model != NULL) { /* the variant was generated here */
        DTX_GO(dtx_stage_compare(file, g->m.group, "weights_fingerprint", g->m.fingerprint, &diff));
        DTX_GO(dtx_stage_compare(file, g->m.group, "adapter_sha256", g->m.adapter_sha256, &diff));
        DTX_GO(dtx_stage_refuse(g->run, g->m.group, &diff));
    }
    if (!g->has_ids && g->job->dry_run) {
        st = DTX_FAIL(DTX_ERR_MISSING, "%s: %s was imported without ids, so the work is not known yet; attribute without --dry-run makes them",
                      g->run->path, g->source);
        goto done;
    }
    DTX_GO(dtx_h5_attr_get_str(file, g->source, "tokenizer_sha256", &was));
    if (was != NULL) {
        DTX_GO(dtx_tokenizer_fingerprint(g->tokenizer, fingerprint));
        if (strcmp(was, fingerprint) != 0) {
            st = DTX_FAIL(DTX_ERR_USAGE, "%s: the ids of %s were made by another tokenizer than that of %s: import the file again with "
                          "--redo --variant %s --set model.path=%s", g->run->path, g->source, g->job->config.model.path, g->of,
                          g->job->config.model.path);
        }
    }
done:
    dtx_free(was);
    dtx_free(model);
    return st;
}

static dtx_status add_ids(hid_t file, void *user)
{
    const attribution *g = user;

    dtx_log(DTX_LOG_INFO, "attribute", "%s was imported without ids: it is tokenized by the tokenizer of %s", g->source,
            g->job->config.model.path);
    return dtx_prompts_add_ids(file, g->run->path, g->of, g->tokenizer, g->m.arch.vocab);
}

/* Collective. */
static dtx_status read_completions(attribution *g)
{
    void *id = NULL, *offset = NULL, *prompt = NULL, *tokens = NULL, *length = NULL;
    int64_t texts[2], ids[2], answers[2];
    dtx_status st;

    DTX_GO(dtx_run_read(g->run, dtx_h5_places[DTX_H5_PROMPTS].path, "id", H5T_NATIVE_INT64, DTX_H5_ANY, 1, &id, texts));
    DTX_GO(dtx_run_read(g->run, g->source, "tokens", H5T_NATIVE_INT32, DTX_H5_ANY, DTX_H5_ANY, &tokens, answers));
    DTX_GO(dtx_run_read(g->run, g->source, "length", H5T_NATIVE_INT32, answers[0], 1, &length, NULL));
    DTX_GO(dtx_run_read(g->run, g->source, "prompt_tokens", H5T_NATIVE_INT32, DTX_H5_ANY, 1, &prompt, ids));
    DTX_GO(dtx_run_read(g->run, g->source, "prompt_offset", H5T_NATIVE_UINT64, answers[0], 1, &offset, NULL));
    DTX_GO(dtx_h5_check_offsets(g->source, "prompt_offset", offset, answers[0], ids[0]));
    g->rows = answers[0];
    g->width = answers[1];
    g->samples = texts[0] > 0 ? g->rows / texts[0] : 1;
    if (texts[0] > 0 && g->rows % texts[0] != 0) {
        st = DTX_FAIL(DTX_ERR_INPUT, "%s: %s has %" PRId64 " rows, which is no multiple of the %" PRId64 " texts", g->run->path, g->source,
                      g->rows, texts[0]);
    }
done:
    g->tokens = tokens;
    g->length = length;
    g->prompt_ids = prompt;
    g->prompt_offset = offset;
    dtx_free(id);
    return st;
}

/* Steps of each row: its length without the final end-of-text unless that is kept; and where its matrix lies. */
static dtx_status lay_out(attribution *g)
{
    bool drop = g->job->config.attribute.eos == DTX_SET_EOS_DROP;

    DTX_TRY(DTX_NEW(g->steps, g->rows));
    DTX_TRY(DTX_NEW(g->row_offset, g->rows + 1));
    for (int64_t r = 0; r < g->rows; r++) {
        int64_t P = g->prompt_offset[r + 1] - g->prompt_offset[r], G = g->length[r];
        if (P < 1 || G < 0 || G > g->width) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: %s, row %" PRId64 ": %" PRId64 " prompt and %" PRId64 " generated tokens are not possible",
                            g->run->path, g->source, r, P, G);
        }
        while (drop && G > 0 && dtx_eos_has(&g->m.arch.eos, g->tokens[r * g->width + G - 1])) {
            G--;
        }
        g->steps[r] = (int32_t)G;
        g->row_offset[r + 1] = g->row_offset[r] + G * (P + G);
    }
    return DTX_OK;
}


/* A flag for each prompt token: 1 where it holds a byte of the evaluation text, 0 where it is the template's alone. The
 * tokens' own bytes are walked, as a normaliser may have changed the text; a prompt that was cut has no suffix. */
static dtx_status flag_prompt(const attribution *g, int64_t row, const char *before, size_t n_before, const char *after,
                              size_t n_after, uint8_t *use)
{
    const int32_t *ids = g->prompt_ids + g->prompt_offset[row];
    int64_t P = g->prompt_offset[row + 1] - g->prompt_offset[row];
    size_t total = 0, at = 0, cap = 0;
    char *text = NULL;

    for (int64_t t = 0; t < P; t++) {
        const char *bytes;
        size_t n = dtx_tokenizer_bytes(g->tokenizer, ids[t], &bytes);
        DTX_TRY(DTX_GROW(text, cap, total + n + 1));
        memcpy(text + total, bytes, n);
        total += n;
    }
    size_t begin = total >= n_before && memcmp(text, before, n_before) == 0 ? n_before : 0, end = total;
    if (total >= begin + n_after && memcmp(text + total - n_after, after, n_after) == 0) {
        end = total - n_after;
    }
    for (int64_t t = 0; t < P; t++) {
        const char *bytes;
        size_t n = dtx_tokenizer_bytes(g->tokenizer, ids[t], &bytes);
        use[t] = at < end && at + n > begin;
        at += n;
    }
    dtx_free(text);
    return DTX_OK;
}

/* Rank 0: flags of all prompts, by the template that the completions were made with. */
static dtx_status flag_prompts(hid_t file, void *user)
{
    attribution *g = user;
    char *frame = NULL;
    dtx_template t = {0};
    size_t len, n_before, n_after;
    dtx_status st;

    DTX_GO(dtx_prompts_read_template(file, g->run->path, g->of, &t)); /* needed for attribute.template_tokens = false */
    DTX_GO(dtx_template_apply(&t, "", 0, &frame, &len, &n_before, &n_after));
    DTX_GO(DTX_NEW(g->use, g->prompt_offset[g->rows] + 1));
    for (int64_t r = 0; r < g->rows; r++) {
        DTX_GO(flag_prompt(g, r, frame, n_before, frame + n_before, n_after, g->use + g->prompt_offset[r]));
    }
done:
    dtx_free(frame);
    return st;
}

/* Collective. */
static dtx_status share_flags(attribution *g)
{
    void *data = NULL;
    size_t size = (size_t)g->prompt_offset[g->rows] + 1;

    if (g->job->config.attribute.template_tokens) {
        return DTX_OK; /* all tokens count */
    }
    DTX_TRY(dtx_run_inspect(g->run, flag_prompts, g));
    data = g->use;
    DTX_TRY(dtx_par_bcast(&g->job->par, DTX_OK, &data, &size));
    g->use = data;
    return DTX_OK;
}

dtx_status dtx_attribute_read(attribution *g)
{
    const dtx_par *par = &g->job->par;

    if (!dtx_par_any(par, g->has_ids)) {
        DTX_TRY(dtx_run_edit(g->run, add_ids, g));
    }
    DTX_TRY(read_completions(g));
    DTX_TRY(dtx_par_agree(par, lay_out(g)));
    return share_flags(g);
}

dtx_status dtx_attribute_ids(const attribution *g, int64_t row, int32_t **ids, int64_t *P, int64_t *G)
{
    *P = g->prompt_offset[row + 1] - g->prompt_offset[row];
    *G = g->steps[row];
    DTX_TRY(DTX_NEW(*ids, *P + *G));
    memcpy(*ids, g->prompt_ids + g->prompt_offset[row], (size_t)*P * sizeof **ids);
    memcpy(*ids + *P, g->tokens + row * g->width, (size_t)*G * sizeof **ids);
    return DTX_OK;
}
