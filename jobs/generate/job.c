/* detoxlens generate: completions of the evaluation texts into /variants/V/completions (layout: README, mpi/run/run.h).
 *
 * Rank 0 reads, templates and tokenizes; the prompts' ids go to all ranks. Rows, longest prompt first, are cut into units
 * that ranks fetch; a unit is decoded as a batch. What is finished is written in collective rounds. A row depends on its
 * prompt and on (seed, index in the evaluation set, sample) alone, so neither ranks nor batch nor data.limit, which
 * shortens the evaluation set at its end, changes it. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/plan/forecast.h"
#include "jobs/shared/prompts.h"
#include "jobs/shared/stage.h"
#include "jobs/shared/eos.h"
#include "src/data/dataset.h"
#include "src/answer/generate.h"
#include "src/base/json.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/training/policy.h"
#include "src/text/tokenizer.h"

typedef struct {
    dtx_job *job;
    dtx_run *run;
    dtx_stage_model m;
    char group[128];           /* "/variants/V/completions" */
    char log_dir[1040];
    dtx_sampling sampling;
    int64_t samples, rows;     /* a text's; n * samples */
    dtx_prompts p;
    uint8_t *finish;           /* (rows) */
    int64_t n_order, *order;   /* rows to do, longest prompt first */
    int64_t unit_rows;
    bool base;                 /* `base_logprob` is wanted: the variant has an adapter */
    dtx_stage_rows ready;
    /* rank 0 */
    bool there, made, decoded, base_there; /* the variant, the stage, its texts, base_logprob are in the file */
    dtx_texts texts;
    dtx_tokenizer *tokenizer;
    char selected[32];
    char *template_json, *generation_json;
    double done, tokens;       /* rows and tokens of this rank in this launch */
} generation;

/* --- input (rank 0) --- */

static dtx_status settings_json(generation *g)
{
    const dtx_config *c = &g->job->config;
    const dtx_template t = dtx_prompts_template(c);
    cJSON *s = cJSON_CreateObject();

    cJSON_AddNumberToObject(s, "seed", (double)c->seed);
    cJSON_AddNumberToObject(s, "max_new_tokens", (double)g->sampling.max_new_tokens);
    cJSON_AddNumberToObject(s, "min_new_tokens", (double)g->sampling.min_new_tokens);
    cJSON_AddBoolToObject(s, "do_sample", g->sampling.do_sample);
    cJSON_AddNumberToObject(s, "temperature", g->sampling.temperature);
    cJSON_AddNumberToObject(s, "top_k", (double)g->sampling.top_k);
    cJSON_AddNumberToObject(s, "top_p", g->sampling.top_p);
    cJSON_AddNumberToObject(s, "no_repeat_ngram_size", (double)g->sampling.no_repeat_ngram);
    cJSON_AddNumberToObject(s, "samples", (double)g->samples);
    dtx_eos_add(s, &g->sampling.eos);
    cJSON_AddStringToObject(s, "precision", dtx_config_word(c, "compute.precision"));
    char *text = cJSON_PrintUnformatted(s);
    g->generation_json = text != NULL ? dtx_strdup(text) : NULL;
    cJSON_free(text);
    cJSON_Delete(s);
    DTX_TRY(dtx_mem_check(g->generation_json, 1, 1, "the settings"));
    return dtx_prompts_template_json(&t, &g->template_json);
}

static dtx_status read_input(generation *g, void **block, size_t *size)
{
    const dtx_config *c = &g->job->config;

    DTX_TRY(dtx_job_need(g->job, "data.prompts", c->data.prompts));
    DTX_TRY(dtx_texts_read_prompts(c->data.prompts, c->data.select, c->data.expect_count, c->data.limit, &g->texts, g->selected));
    dtx_log(DTX_LOG_INFO, "generate", "%s: %" PRId64 " texts (select %s)", c->data.prompts, g->texts.n, g->selected);
    DTX_TRY(dtx_tokenizer_open(c->model.path, &g->tokenizer));
    DTX_TRY(settings_json(g));
    const dtx_prompt_rule rule = {.tokenizer = g->tokenizer, .tmpl = dtx_prompts_template(c), .source = c->data.prompts,
                                  .vocab = g->m.arch.vocab, .max_positions = g->m.arch.max_positions,
                                  .max_new_tokens = g->sampling.max_new_tokens};
    return dtx_prompts_tokenize(&rule, &g->texts, block, size);
}

/* Collective. */
static dtx_status share_input(generation *g)
{
    void *block = NULL;
    size_t size = 0;
    dtx_status st = g->job->par.rank == 0 ? read_input(g, &block, &size) : DTX_OK;

    DTX_TRY(dtx_par_bcast(&g->job->par, st, &block, &size));
    g->p = dtx_prompts_of(block);
    g->rows = g->p.n * g->samples;
    return DTX_OK;
}

static int64_t prompt_len(const generation *g, int64_t row)
{
    int64_t i = row / g->samples;

    return g->p.offset[i + 1] - g->p.offset[i];
}

/* --- the file's structure (rank 0, inside an edit) --- */

static dtx_status make_stage(hid_t file, void *user)
{
    const generation *g = user;
    static const char *const columns[] = {"tokens", "length", "logprob", "behaviour_logprob", "finish", "base_logprob"};
    const size_t n_columns = sizeof columns / sizeof *columns - (g->base ? 0 : 1);

    if (!dtx_h5_exists(file, dtx_h5_places[DTX_H5_PROMPTS].path)) {
        DTX_TRY(dtx_prompts_make(file, &g->texts, g->selected));
    }
    for (size_t i = 0; i < n_columns; i++) {
        DTX_TRY(dtx_h5_make(file, g->group, columns[i], g->rows, g->sampling.max_new_tokens));
    }
    DTX_TRY(dtx_prompts_write_ids(file, g->group, &g->p, g->samples));
    DTX_TRY(dtx_h5_attr_str(file, g->m.group, "base_model", g->m.base_model));
    DTX_TRY(dtx_h5_attr_str(file, g->m.group, "weights_fingerprint", g->m.fingerprint));
    DTX_TRY(dtx_h5_attr_str(file, g->m.group, "adapter_sha256", g->m.adapter_sha256));
    DTX_TRY(dtx_h5_attr_str(file, g->m.group, "template", g->template_json));
    return dtx_h5_attr_str(file, g->m.group, "generation", g->generation_json);
}

static dtx_status discard_stage(hid_t file, void *user)
{
    const generation *g = user;

    return dtx_stage_discard_variant(file, g->m.variant);
}

static dtx_status finish_stage(hid_t file, void *user)
{
    const generation *g = user;

    return dtx_prompts_decode(file, g->run->path, g->group, g->tokenizer, &g->sampling.eos);
}

/* --- does the file fit? (rank 0) --- */

static dtx_status look(hid_t file, void *user)
{
    generation *g = user;
    dtx_stage_diff diff = {{0}};

    g->there = dtx_h5_exists(file, g->m.group);
    g->made = dtx_h5_exists(file, g->group);
    g->decoded = dtx_h5_has(file, g->group, "text_offset");
    g->base_there = dtx_h5_has(file, g->group, "base_logprob");
    if (g->job->redo && g->there) {
        return dtx_stage_announce_discard(file, g->m.variant);
    }
    if (dtx_h5_exists(file, dtx_h5_places[DTX_H5_PROMPTS].path)) {
        DTX_TRY(dtx_prompts_compare(file, &g->texts, g->job->config.data.prompts, &diff));
    }
    if (g->made) {
        DTX_TRY(dtx_stage_compare(file, g->m.group, "weights_fingerprint", g->m.fingerprint, &diff));
        DTX_TRY(dtx_stage_compare(file, g->m.group, "adapter_sha256", g->m.adapter_sha256, &diff));
        DTX_TRY(dtx_stage_compare(file, g->m.group, "template", g->template_json, &diff));
        DTX_TRY(dtx_stage_compare(file, g->m.group, "generation", g->generation_json, &diff));
    }
    DTX_TRY(dtx_stage_refuse(g->run, g->group, &diff));
    return g->made ? dtx_h5_fits(file, g->group, g->rows, g->sampling.max_new_tokens) : DTX_OK;
}

/* Collective. The stage is there, fits, and `finish` says what is done. */
static dtx_status open_stage(generation *g)
{
    const dtx_par *par = &g->job->par;
    void *finish = NULL;

    DTX_TRY(dtx_run_open(par, g->job->config.run, &g->run));
    snprintf(g->log_dir, sizeof g->log_dir, "%s/log", g->run->dir);
    dtx_job_log_open(g->job, g->log_dir);
    DTX_TRY(dtx_run_inspect(g->run, look, g));
    if (g->job->redo && dtx_par_any(par, g->there)) {
        DTX_TRY(dtx_run_edit(g->run, discard_stage, g));
        DTX_TRY(dtx_run_inspect(g->run, look, g));
    }
    if (!dtx_par_any(par, g->made)) {
        DTX_TRY(dtx_run_edit(g->run, make_stage, g));
    } else { /* a file from before there was base_logprob goes on without it */
        g->base = dtx_par_any(par, g->base_there);
    }
    DTX_TRY(dtx_run_read(g->run, g->group, "finish", H5T_NATIVE_UINT8, g->rows, 1, &finish, NULL));
    g->finish = finish;
    return DTX_OK;
}

/* --- work --- */

static int by_length(const void *a, const void *b, void *user)
{
    const generation *g = user;
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b, p = prompt_len(g, x), q = prompt_len(g, y);

    return p != q ? (p > q ? -1 : 1) : (x < y ? -1 : x > y);
}

static dtx_status order_rows(generation *g)
{
    const dtx_job *job = g->job;
    int64_t first = 0, last = g->p.n;

    if (job->row_first >= 0) {
        first = job->row_first;
        last = job->row_last < g->p.n ? job->row_last : g->p.n;
        if (first > g->p.n) {
            return DTX_FAIL(DTX_ERR_USAGE, "--rows %" PRId64 ":%" PRId64 ": there are %" PRId64 " texts", job->row_first,
                            job->row_last, g->p.n);
        }
    }
    DTX_TRY(DTX_NEW(g->order, g->rows));
    for (int64_t r = first * g->samples; r < last * g->samples; r++) {
        if (g->finish == NULL || g->finish[r] == DTX_FINISH_NONE) {
            g->order[g->n_order++] = r;
        }
    }
    qsort_r(g->order, (size_t)g->n_order, sizeof *g->order, by_length, g);
    g->unit_rows = dtx_stage_unit_rows(g->n_order, job->config.generate.batch, job->par.size);
    return DTX_OK;
}

static bool asked_to_stop(void *user)
{
    return dtx_job_should_stop(user);
}

enum { BASE_ROWS = 512 }; /* tokens of one pass for base_logprob: no more memory than a batch's prompts need */

/* out (n, max_new_tokens): log-probabilities of n completions under the model without its adapter, by forward passes over
 * whole texts. A text's values do not depend on the others of its pass. */
static dtx_status base_logprobs(const generation *g, const dtx_generation *items, int64_t n, float *out)
{
    const int64_t width = g->sampling.max_new_tokens;
    int64_t *offset = NULL, *query = NULL, capacity = 1;
    int32_t *ids = NULL;
    double *lp = NULL;
    dtx_status st;

    for (int64_t i = 0; i < n; i++) {
        capacity += items[i].prompt_len + width;
    }
    DTX_GO(DTX_NEW(offset, n + 1));
    DTX_GO(DTX_NEW(query, n));
    DTX_GO(DTX_NEW_RAW(ids, capacity));
    DTX_GO(DTX_NEW_RAW(lp, n * width));
    for (int64_t first = 0, end, m; first < n; first = end) {
        for (end = first, m = 0; end < n && offset[m] < BASE_ROWS; end++) {
            const dtx_generation *it = &items[end];
            if (it->finish != DTX_FINISH_NONE) {
                query[m] = it->prompt_len;
                memcpy(ids + offset[m], it->prompt, (size_t)it->prompt_len * sizeof *ids);
                memcpy(ids + offset[m] + it->prompt_len, it->tokens, (size_t)it->length * sizeof *ids);
                offset[m + 1] = offset[m] + it->prompt_len + it->length;
                m++;
            }
        }
        const dtx_policy_rows rows = {.n = m, .offset = offset, .query = query, .ids = ids};
        DTX_GO(m > 0 ? dtx_policy_compare(g->m.model, NULL, NULL, NULL, &rows, &(dtx_policy_view){.lp = lp}) : DTX_OK);
        const double *next = lp;
        for (int64_t i = first; i < end; i++) {
            for (int64_t k = 0; k < width; k++) {
                out[i * width + k] = items[i].finish != DTX_FINISH_NONE && k < items[i].length ? (float)*next++ : (float)NAN;
            }
        }
    }
done:
    dtx_free(lp);
    dtx_free(ids);
    dtx_free(query);
    dtx_free(offset);
    return st;
}

static dtx_status run_unit(void *user, int64_t unit)
{
    generation *g = user;
    int64_t first = unit * g->unit_rows, n = g->n_order - first < g->unit_rows ? g->n_order - first : g->unit_rows;
    int64_t width = g->sampling.max_new_tokens;
    dtx_generation *items = NULL;
    int32_t *tokens = NULL;
    float *logprob = NULL;
    dtx_status st;

    DTX_GO(DTX_NEW(items, n));
    DTX_GO(DTX_NEW(tokens, n * width));
    DTX_GO(DTX_NEW(logprob, 3 * n * width));
    float *base = logprob + 2 * n * width;
    for (int64_t i = 0; i < n; i++) {
        int64_t row = g->order[first + i], text = row / g->samples;
        items[i] = (dtx_generation){.prompt = g->p.ids + g->p.offset[text], .prompt_len = prompt_len(g, row),
                                    .row = (uint64_t)text, .sample = (uint32_t)(row % g->samples),
                                    .tokens = tokens + i * width, .logprob = logprob + i * width,
                                    .behaviour_logprob = logprob + (n + i) * width};
    }
    const dtx_generate_options o = {.sampling = g->sampling, .batch = g->job->config.generate.batch,
                                    .seed = (uint64_t)g->job->config.seed, .domain = DTX_RNG_SAMPLE, .adapter = g->m.adapter,
                                    .stop = asked_to_stop, .user = g->job};
    dtx_status ended = dtx_generate(g->m.model, &o, items, n);
    if (ended != DTX_OK && ended != DTX_STOPPED) {
        st = ended;
        goto done;
    }
    DTX_GO(g->base ? base_logprobs(g, items, n, base) : DTX_OK);
    for (int64_t i = 0; i < n; i++) {
        if (items[i].finish != DTX_FINISH_NONE) {
            const void *const plain[] = {items[i].tokens, &items[i].length, items[i].logprob, items[i].behaviour_logprob,
                                         &items[i].finish};
            const void *const adapted[] = {plain[0], plain[1], plain[2], plain[3], base + i * width, plain[4]};
            const void *const *values = g->base ? adapted : plain;
            DTX_GO(dtx_stage_rows_add(&g->ready, g->order[first + i], values));
            g->done++;
            g->tokens += items[i].length;
        }
    }
    st = ended;
done:
    dtx_free(items);
    dtx_free(tokens);
    dtx_free(logprob);
    return st;
}

static dtx_status write_ready(void *user)
{
    generation *g = user;

    return dtx_stage_rows_write(g->run, g->group, g->rows, &g->ready);
}

/* Collective. */
static dtx_status run_units(generation *g, bool *stopped)
{
    int64_t width = g->sampling.max_new_tokens;
    const dtx_stage_work work = {.user = g, .run = g->run, .n_units = (g->n_order + g->unit_rows - 1) / g->unit_rows, .n_rows = g->rows,
                                 .n_done = dtx_stage_count(g->finish, g->rows), .log_dir = g->log_dir, .unit = run_unit,
                                 .write = write_ready, .rows = &g->done, .tokens = &g->tokens};

    g->ready = (dtx_stage_rows){.n_columns = g->base ? 6 : 5,
                                .column = {{"tokens", H5T_NATIVE_INT32, 4, width, NULL, 0},
                                           {"length", H5T_NATIVE_INT32, 4, 1, NULL, 0},
                                           {"logprob", H5T_NATIVE_FLOAT, 4, width, NULL, 0},
                                           {"behaviour_logprob", H5T_NATIVE_FLOAT, 4, width, NULL, 0}}};
    if (g->base) {
        g->ready.column[4] = (dtx_stage_column){"base_logprob", H5T_NATIVE_FLOAT, 4, width, NULL, 0};
    }
    g->ready.column[g->ready.n_columns - 1] = (dtx_stage_column){"finish", H5T_NATIVE_UINT8, 1, 1, NULL, 0};
    return dtx_stage_run(g->job, &work, stopped);
}

/* Collective. What this launch reached: the texts when all rows are there, or the reason for an early end. */
static dtx_status conclude(generation *g, bool stopped)
{
    const dtx_par *par = &g->job->par;
    void *finish = NULL;

    DTX_TRY(dtx_run_read(g->run, g->group, "finish", H5T_NATIVE_UINT8, g->rows, 1, &finish, NULL));
    int64_t done = dtx_stage_count(finish, g->rows);
    dtx_free(finish);
    if (done < g->rows) {
        if (stopped) {
            return DTX_FAIL(DTX_STOPPED, "stopped with %" PRId64 " of %" PRId64 " rows done; the same command continues", done, g->rows);
        }
        dtx_log(DTX_LOG_INFO, "generate", "%" PRId64 " of %" PRId64 " rows are done; the stage is complete when the others are", done,
                g->rows);
        return DTX_OK;
    }
    if (!dtx_par_any(par, g->decoded)) {
        DTX_TRY(dtx_run_edit(g->run, finish_stage, g));
    }
    dtx_log(DTX_LOG_INFO, "generate", "%s is complete: %" PRId64 " rows", g->group, g->rows);
    return DTX_OK;
}

/* --- plan --- */

static void print_plan(const generation *g)
{
    const dtx_arch *a = &g->m.arch;
    double weights = 0, prompt_tokens = 0, longest = 0;
    double n = (double)g->rows, width = (double)g->sampling.max_new_tokens, batch = (double)g->job->config.generate.batch;

    for (int64_t i = 0; i < dtx_model_n_params(g->m.model); i++) {
        const dtx_param *p = dtx_model_param(g->m.model, i);
        weights += (double)dtx_dtype_bytes(p->dtype, p->n_elements);
    }
    for (int64_t r = 0; r < g->rows; r++) {
        double len = (double)prompt_len(g, r);
        prompt_tokens += len;
        longest = len > longest ? len : longest;
    }
    double cache = batch * (longest + width) * 2 * (double)(a->n_layers * a->n_kv * a->head_dim) * 4;
    printf("variant            %s: %s, adapter %s\n", g->m.variant, g->m.base_model, g->m.adapter_sha256);
    printf("rows               %.0f (%" PRId64 " texts, %" PRId64 " samples), to do without regard to %s: %" PRId64 "\n", n, g->p.n,
           g->samples, g->job->config.run, g->n_order);
    printf("prompt tokens      %.0f, longest %.0f\n", prompt_tokens, longest);
    printf("generated tokens   at most %.0f\n", n * width);
    printf("work units         %" PRId64 " of %" PRId64 " rows for %d ranks\n", (g->n_order + g->unit_rows - 1) / g->unit_rows,
           g->unit_rows, g->job->par.size);
    printf("weights            %.1f MB, shared by the ranks of a node\n", weights / 1e6);
    printf("cache              %.1f MB for each rank\n", cache / 1e6);
    printf("run.h5             %.1f MB\n",
           (n * ((g->base ? 16 : 12) * width + 21) + 4 * prompt_tokens + (double)g->texts.offset[g->texts.n] + n * width * 4) / 1e6);
}

/* --- the job --- */

static dtx_status left_to_do(dtx_plan *p, void *user)
{
    const generation *g = user;

    DTX_TRY(dtx_plan_room(p, g->n_order, 1));
    for (int64_t i = 0; i < g->n_order; i++) {
        p->len[i] = prompt_len(g, g->order[i]);
    }
    return DTX_OK;
}

static dtx_status run_stage(generation *g)
{
    bool stopped;

    DTX_TRY(open_stage(g));
    DTX_TRY(dtx_par_agree(&g->job->par, order_rows(g)));
    if (g->n_order == 0 && (dtx_par_any(&g->job->par, g->decoded) || dtx_stage_count(g->finish, g->rows) < g->rows)) {
        return conclude(g, false); /* nothing to do: no launch is recorded */
    }
    DTX_TRY(dtx_run_provenance_begin(g->run, "generate", g->job->argc, g->job->argv, g->job->config_json));
    dtx_status st = dtx_forecast(g->job, g->run, "generate", g->m.model, left_to_do, g);
    if (st == DTX_OK) {
        st = run_units(g, &stopped);
    }
    if (st == DTX_OK) {
        st = conclude(g, stopped);
    }
    return dtx_stage_end(g->run, st);
}

static dtx_status run(dtx_job *job)
{
    const dtx_config *c = &job->config;
    generation g = {.job = job, .samples = c->generate.samples};
    dtx_status st;

    DTX_GO(dtx_stage_model_open(job, job->variant, &g.m));
    g.base = g.m.adapter != NULL;
    dtx_h5_group(g.group, sizeof g.group, DTX_H5_COMPLETIONS, g.m.variant, NULL);
    g.sampling = (dtx_sampling){.max_new_tokens = c->generate.max_new_tokens, .min_new_tokens = c->generate.min_new_tokens,
                                .do_sample = c->generate.do_sample, .temperature = c->generate.temperature,
                                .top_k = c->generate.top_k, .top_p = c->generate.top_p,
                                .no_repeat_ngram = c->generate.no_repeat_ngram_size, .eos = g.m.arch.eos};
    DTX_GO(share_input(&g));
    if (job->dry_run) {
        DTX_GO(order_rows(&g));
        if (job->par.rank == 0) {
            print_plan(&g);
        }
    } else {
        DTX_GO(run_stage(&g));
    }
done:
    dtx_run_close(g.run);
    dtx_stage_rows_free(&g.ready);
    dtx_stage_model_close(&g.m);
    dtx_texts_free(&g.texts);
    dtx_tokenizer_close(g.tokenizer);
    dtx_free(g.template_json);
    dtx_free(g.generation_json);
    dtx_free(g.finish);
    dtx_free(g.order);
    dtx_free(g.p.block);
    return st;
}

const dtx_job_def dtx_job_generate = {
    .name = "generate",
    .summary = "completions of the evaluation texts",
    .help = "Lets a variant of the model answer every evaluation text and writes ids, log-probabilities and decoded text to\n"
            "/variants/V/completions of RUN/run.h5. A launch that was stopped or killed is continued by the same command.\n"
            "\n"
            "  mpirun -n 4 detoxlens generate --set model.path=models/RedPajama-INCITE-Chat-3B-v1 \\\n"
            "      --set data.prompts=data/prompts.jsonl --run runs/redpajama\n"
            "\n"
            "For a variant with an adapter base_logprob holds the log-probabilities of its answers under the base, of which report\n"
            "makes the perplexity under IT. --rows A:B answers the texts A..B-1 only. --redo discards the variant's completions and everything that was made\n"
            "from them, names it, and begins anew. --dry-run prints rows, tokens, memory and file size and writes nothing.\n"
            "A completion depends on the seed, the text's index in the evaluation set and the sample's number: data.limit,\n"
            "which takes the first texts only, gives the same rows as the whole set does.\n",
    .bit = DTX_JOB_GENERATE,
    .parallel = true,
    .own_dry_run = true,
    .run = run,
};
