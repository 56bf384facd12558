/* detoxlens attribute: attribution of completions into /variants/V/attribution/M (layout: README, mpi/run/run.h).
 *
 * The completions must be complete: the lengths of all rows fix where each matrix lies in the flat `value`. A unit is one
 * row, the costliest first; finished rows are written in collective rounds. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/attribute/attribute.h"
#include "jobs/plan/forecast.h"
#include "src/base/log.h"
#include "src/base/mem.h"

/* --- settings --- */

/* Rank 0's and everybody's: what the keys attribute.* mean. */
static dtx_status read_settings(attribution *g)
{
    const dtx_config *c = &g->job->config;
    const char *of = c->attribute.completions_of;
    char name[160];
    bool foreign = of[0] != '\0' && strcmp(of, g->job->variant) != 0;

    snprintf(g->of, sizeof g->of, "%s", foreign ? of : g->job->variant);
    dtx_h5_group(g->source, sizeof g->source, DTX_H5_COMPLETIONS, g->of, NULL);
    if (c->attribute.name[0] != '\0') {
        snprintf(name, sizeof name, "%s", c->attribute.name);
    } else {
        snprintf(name, sizeof name, "%s%s%s", dtx_config_word(c, "attribute.method"), foreign ? "@" : "", foreign ? of : "");
    }
    dtx_h5_group(g->group, sizeof g->group, DTX_H5_ATTRIBUTION, g->m.variant, name);
    dtx_h5_group(g->check, sizeof g->check, DTX_H5_CHECK, g->m.variant, name);
    g->set = (dtx_attrib_settings){.steps = c->attribute.steps,
                                   .baseline = -1,
                                   .memory_bytes = (size_t)c->attribute.memory_mb << 20,
                                   .adapter = g->m.adapter};
    dtx_attribute_meaning(c->attribute.method, c->attribute.target, c->attribute.norm, c->attribute.merge, &g->set);
    DTX_TRY(dtx_tokenizer_open(c->model.path, &g->tokenizer));
    if (strcmp(c->attribute.baseline, "zero") != 0) {
        g->set.baseline = dtx_tokenizer_id(g->tokenizer, c->attribute.baseline);
        if (g->set.baseline < 0 || g->set.baseline >= g->m.arch.vocab) {
            return DTX_FAIL(DTX_ERR_USAGE, "attribute.baseline: the vocabulary of %s has no token \"%s\"; zero is the other choice",
                            c->model.path, c->attribute.baseline);
        }
    }
    return DTX_OK;
}

typedef struct {
    const char *name, *text; /* NULL: a number */
    int64_t number;
} setting;
enum { N_SETTINGS = 13 };

/* The attributes of the stage, in one place for writing and comparing. */
static void list_settings(const attribution *g, setting s[N_SETTINGS])
{
    const dtx_config *c = &g->job->config;
    bool ig = g->set.method == DTX_IG;
    const setting all[N_SETTINGS] = {
        {"base_model", g->m.base_model, 0},
        {"weights_fingerprint", g->m.fingerprint, 0},
        {"adapter_sha256", g->m.adapter_sha256, 0},
        {"completions_of", g->of, 0},
        {"method", dtx_config_word(c, "attribute.method"), 0},
        {"target", dtx_config_word(c, "attribute.target"), 0},
        {"norm", dtx_config_word(c, "attribute.norm"), 0},
        {"merge", dtx_config_word(c, "attribute.merge"), 0},
        {"eos", dtx_config_word(c, "attribute.eos"), 0},
        {"template_tokens", NULL, c->attribute.template_tokens},
        {"baseline", ig ? c->attribute.baseline : "none", 0},
        {"steps", NULL, ig ? c->attribute.steps : 0},
        {"precision", dtx_config_word(c, "compute.precision"), 0},
    };

    memcpy(s, all, sizeof all);
}

/* --- looking into the file (rank 0) --- */

static dtx_status compare_settings(hid_t file, const attribution *g, dtx_stage_diff *diff)
{
    setting s[N_SETTINGS];

    list_settings(g, s);
    for (int i = 1; i < N_SETTINGS; i++) { /* the fingerprint tells models apart, not the folder's name */
        DTX_TRY(s[i].text != NULL ? dtx_stage_compare(file, g->group, s[i].name, s[i].text, diff)
                                  : dtx_stage_compare_int(file, g->group, s[i].name, s[i].number, diff));
    }
    return DTX_OK;
}

static dtx_status look(hid_t file, void *user)
{
    attribution *g = user;
    dtx_stage_diff diff = {{0}};
    int64_t complete = 0;
    bool there = false;

    if (!dtx_h5_exists(file, g->source)) {
        return DTX_FAIL(DTX_ERR_MISSING, "%s: there is no %s: run detoxlens generate --variant %s first", g->run->path, g->source, g->of);
    }
    DTX_TRY(dtx_h5_attr_get_int(file, g->source, "complete", &complete, &there));
    if (complete != 1) {
        return DTX_FAIL(DTX_ERR_MISSING,
                        "%s: %s is not complete, and the lengths of all rows fix the layout of attributions: "
                        "the same detoxlens generate continues it",
                        g->run->path, g->source);
    }
    DTX_TRY(dtx_attribute_look(file, g));
    g->checked = dtx_h5_exists(file, g->check);
    g->made = dtx_h5_exists(file, g->group);
    if (g->made && g->job->redo) {
        dtx_log(DTX_LOG_WARN, "redo", "discarding %s", g->group);
        return DTX_OK;
    }
    if (g->made) {
        DTX_TRY(compare_settings(file, g, &diff));
    }
    return dtx_stage_refuse(g->run, g->group, &diff);
}

static dtx_status discard(hid_t file, void *user)
{
    const attribution *g = user;

    return dtx_h5_delete(file, g->group);
}

/* --- the file's structure (rank 0, inside an edit) --- */

static dtx_status make_columns(hid_t file, const attribution *g)
{
    static const char *const columns[] = {"G", "T", "step_probability", "entropy", "prompt_dependence", "done", "words/length",
                                          "words/step_probability", "words/entropy", "words/prompt_dependence"};
    const size_t n_columns = g->set.merge != DTX_MERGE_NONE ? 10 : 6;

    for (size_t i = 0; i < n_columns; i++) {
        DTX_TRY(dtx_h5_make(file, g->group, columns[i], g->rows, g->width));
    }
    return DTX_OK;
}

static dtx_status make_stage(hid_t file, void *user)
{
    const attribution *g = user;
    setting s[N_SETTINGS];

    DTX_TRY(dtx_h5_put(file, g->group, "row_offset", H5T_NATIVE_INT64, g->rows, 1, g->row_offset));
    DTX_TRY(dtx_h5_make(file, g->group, "value", g->row_offset[g->rows], 1));
    DTX_TRY(make_columns(file, g));
    list_settings(g, s);
    for (int i = 0; i < N_SETTINGS; i++) {
        DTX_TRY(s[i].text != NULL ? dtx_h5_attr_str(file, g->group, s[i].name, s[i].text)
                                  : dtx_h5_attr_int(file, g->group, s[i].name, s[i].number));
    }
    return DTX_OK;
}

/* A stage that an earlier launch made: its datasets have these rows, and matrices lie where these completions put them. */
static dtx_status fits(hid_t file, void *user)
{
    const attribution *g = user;
    uint64_t *offset = NULL;
    int64_t n_value;

    DTX_TRY(dtx_h5_fits(file, g->group, g->rows, g->width));
    DTX_TRY(dtx_h5_take_offsets(file, g->group, "row_offset", g->rows, &offset, &n_value));
    const bool same = memcmp(offset, g->row_offset, (size_t)(g->rows + 1) * sizeof *offset) == 0 && n_value == g->row_offset[g->rows];
    dtx_free(offset);
    return same ? DTX_OK : DTX_FAIL(DTX_ERR_INPUT, "%s: %s/row_offset does not fit the lengths of %s: the file is damaged, or another program "
                                    "changed it", g->run->path, g->group, g->source);
}

/* Collective. The stage is there and fits, everybody has the completions, `done` says what is left. */
static dtx_status open_stage(attribution *g)
{
    const dtx_par *par = &g->job->par;
    void *done = NULL;

    DTX_TRY(dtx_run_inspect(g->run, look, g));
    DTX_TRY(dtx_attribute_read(g));
    if (g->job->dry_run) {
        return DTX_OK;
    }
    if (g->job->redo && dtx_par_any(par, g->made)) {
        DTX_TRY(dtx_run_edit(g->run, discard, g));
        g->made = false;
    }
    if (!dtx_par_any(par, g->made)) {
        DTX_TRY(dtx_run_edit(g->run, make_stage, g));
    } else {
        DTX_TRY(dtx_run_inspect(g->run, fits, g));
    }
    DTX_TRY(dtx_run_read(g->run, g->group, "done", H5T_NATIVE_UINT8, g->rows, 1, &done, NULL));
    g->done_flag = done;
    return DTX_OK;
}

/* --- work --- */

/* Rows of cotangents: the sum of the prefixes. */
static int64_t cost(const attribution *g, int64_t r)
{
    int64_t P = g->prompt_offset[r + 1] - g->prompt_offset[r], G = g->steps[r];

    return G * P + G * (G - 1) / 2;
}

static int by_cost(const void *a, const void *b, void *user)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b, p = cost(user, x), q = cost(user, y);

    return p != q ? (p > q ? -1 : 1) : (x < y ? -1 : x > y);
}

static dtx_status order_rows(attribution *g)
{
    const dtx_job *job = g->job;
    int64_t samples = g->samples, first = 0, last = g->rows;

    if (job->row_first >= 0) { /* texts; each has `samples` rows */
        first = job->row_first * samples;
        last = job->row_last * samples < g->rows ? job->row_last * samples : g->rows;
        if (first > g->rows) {
            return DTX_FAIL(DTX_ERR_USAGE, "--rows %" PRId64 ":%" PRId64 ": there are %" PRId64 " texts", job->row_first, job->row_last,
                            g->rows / samples);
        }
    }
    DTX_TRY(DTX_NEW(g->order, g->rows));
    for (int64_t r = first; r < last; r++) {
        if (g->done_flag == NULL || g->done_flag[r] == 0) {
            g->order[g->n_order++] = r;
        }
    }
    qsort_r(g->order, (size_t)g->n_order, sizeof *g->order, by_cost, g);
    return DTX_OK;
}

static bool asked_to_stop(void *user)
{
    return dtx_job_should_stop(user);
}

static dtx_status attribute_row(const attribution *g, int64_t row, dtx_attribution *out)
{
    dtx_attrib_settings set = g->set;
    const char **pieces = NULL;
    int32_t *ids = NULL;
    int64_t P, G;
    dtx_status st;

    set.stop = asked_to_stop;
    set.user = g->job;
    DTX_GO(dtx_attribute_ids(g, row, &ids, &P, &G));
    if (set.merge != DTX_MERGE_NONE) {
        DTX_GO(DTX_NEW(pieces, P + G));
        for (int64_t t = 0; t < P + G; t++) {
            pieces[t] = dtx_tokenizer_piece(g->tokenizer, ids[t]);
        }
    }
    st = dtx_attribute(g->m.model, &set, ids, P, G, g->use != NULL ? g->use + g->prompt_offset[row] : NULL, pieces, out);
    if (st != DTX_OK && st != DTX_STOPPED) {
        st = dtx_error_context(st, "row %" PRId64 " of %s", row, g->source);
    }
done:
    dtx_free(ids);
    dtx_free(pieces);
    return st;
}

/* n values of a curve, then NaN. */
static const float *pad(float *to, int64_t width, const float *curve, int64_t n)
{
    for (int64_t k = 0; k < width; k++) {
        to[k] = k < n ? curve[k] : (float)NAN;
    }
    return to;
}

static dtx_status run_unit(void *user, int64_t unit)
{
    attribution *g = user;
    int64_t row = g->order[unit], width = g->width;
    dtx_attribution a = {0};
    float *curves = NULL;
    dtx_status st;

    DTX_GO(DTX_NEW(curves, 6 * width));
    DTX_GO(attribute_row(g, row, &a));
    int64_t n = a.G * a.T;
    DTX_GO(DTX_GROW(g->value, g->value_cap, g->n_value + n));
    DTX_GO(DTX_GROW(g->start, g->start_cap, g->ready.n + 1));
    DTX_GO(DTX_GROW(g->count, g->count_cap, g->ready.n + 1));
    memcpy(g->value + g->n_value, a.value, (size_t)n * sizeof *a.value);
    g->start[g->ready.n] = g->row_offset[row];
    g->count[g->ready.n] = n;
    g->n_value += n;

    const int32_t G = (int32_t)a.G, T = (int32_t)a.T, words = (int32_t)a.G_words;
    const uint8_t done = 1;
    const void *const plain[] = {&G, &T, pad(curves, width, a.probability, a.G), pad(curves + width, width, a.entropy, a.G),
                                 pad(curves + 2 * width, width, a.prompt_dependence, a.G), &done};
    const void *const merged[] = {plain[0], plain[1], plain[2], plain[3], plain[4], &words,
                                  pad(curves + 3 * width, width, a.words_probability, a.G_words),
                                  pad(curves + 4 * width, width, a.words_entropy, a.G_words),
                                  pad(curves + 5 * width, width, a.words_prompt_dependence, a.G_words), &done};
    DTX_GO(dtx_stage_rows_add(&g->ready, row, g->set.merge == DTX_MERGE_NONE ? plain : merged));
    g->done++;
    g->done_tokens += (double)a.G;
done:
    dtx_free(curves);
    dtx_attribution_free(&a);
    return st;
}

static dtx_status write_ready(void *user)
{
    attribution *g = user;

    DTX_TRY(dtx_run_write(g->run, &(dtx_write){.group = g->group, .name = "value", .type = H5T_NATIVE_FLOAT, .rows = g->row_offset[g->rows],
                                               .width = 1, .n = g->ready.n, .start = g->start, .count = g->count, .x = g->value}));
    g->n_value = 0;
    return dtx_stage_rows_write(g->run, g->group, g->rows, &g->ready);
}

static void set_columns(attribution *g)
{
    const dtx_stage_column columns[] = {
        {"G", H5T_NATIVE_INT32, 4, 1, NULL, 0},
        {"T", H5T_NATIVE_INT32, 4, 1, NULL, 0},
        {"step_probability", H5T_NATIVE_FLOAT, 4, g->width, NULL, 0},
        {"entropy", H5T_NATIVE_FLOAT, 4, g->width, NULL, 0},
        {"prompt_dependence", H5T_NATIVE_FLOAT, 4, g->width, NULL, 0},
        {"words/length", H5T_NATIVE_INT32, 4, 1, NULL, 0},
        {"words/step_probability", H5T_NATIVE_FLOAT, 4, g->width, NULL, 0},
        {"words/entropy", H5T_NATIVE_FLOAT, 4, g->width, NULL, 0},
        {"words/prompt_dependence", H5T_NATIVE_FLOAT, 4, g->width, NULL, 0},
        {"done", H5T_NATIVE_UINT8, 1, 1, NULL, 0},
    };
    bool words = g->set.merge != DTX_MERGE_NONE;

    g->ready = (dtx_stage_rows){.n_columns = words ? 10 : 6};
    memcpy(g->ready.column, columns, sizeof columns);
    if (!words) {
        g->ready.column[5] = columns[9];
    }
}

/* Collective. */
static dtx_status conclude(attribution *g, bool stopped)
{
    void *flags = NULL;

    DTX_TRY(dtx_run_read(g->run, g->group, "done", H5T_NATIVE_UINT8, g->rows, 1, &flags, NULL));
    int64_t done = dtx_stage_count(flags, g->rows);
    dtx_free(flags);
    if (done < g->rows && stopped) {
        return DTX_FAIL(DTX_STOPPED, "stopped with %" PRId64 " of %" PRId64 " rows done; the same command continues", done, g->rows);
    }
    dtx_log(DTX_LOG_INFO, "attribute", "%s: %" PRId64 " of %" PRId64 " rows are done%s", g->group, done, g->rows,
            done < g->rows ? "" : ", the stage is complete");
    return done == g->rows && g->job->config.attribute.check > 0 ? dtx_attribute_check(g) : DTX_OK;
}

static dtx_status left_to_do(dtx_plan *p, void *user)
{
    const attribution *g = user;

    DTX_TRY(dtx_plan_room(p, g->n_order, 1));
    DTX_TRY(DTX_NEW(p->answer, g->n_order));
    for (int64_t i = 0; i < g->n_order; i++) {
        const int64_t row = g->order[i];
        p->len[i] = g->prompt_offset[row + 1] - g->prompt_offset[row];
        p->answer[i] = g->steps[row];
    }
    return DTX_OK;
}

/* Collective. */
static dtx_status work(attribution *g)
{
    const dtx_stage_work w = {.user = g, .run = g->run, .n_units = g->n_order, .n_rows = g->rows, .n_done = dtx_stage_count(g->done_flag, g->rows),
                              .log_dir = g->log_dir, .unit = run_unit, .write = write_ready, .rows = &g->done,
                              .tokens = &g->done_tokens};
    bool stopped;

    set_columns(g);
    DTX_TRY(dtx_forecast(g->job, g->run, "attribute", g->m.model, left_to_do, g));
    DTX_TRY(dtx_stage_run(g->job, &w, &stopped));
    return conclude(g, stopped);
}

/* --- plan --- */

static void print_plan(const attribution *g)
{
    double steps = 0, rows = 0, layer = 0, head = (double)g->m.arch.vocab * (double)g->m.arch.hidden;
    double row_bytes = (double)dtx_model_backward_bytes_per_row(g->m.model);

    for (int64_t i = 0; i < g->n_order; i++) {
        steps += g->steps[g->order[i]];
        rows += (double)cost(g, g->order[i]);
    }
    for (int64_t l = 0; l < g->m.arch.n_layers; l++) {
        for (int k = 0; k < DTX_MODULES; k++) {
            const dtx_matrix *w = dtx_model_module(g->m.model, l, (dtx_module_kind)k);
            layer += w != NULL ? (double)w->n_out * (double)w->n_in : 0;
        }
    }
    double points = g->set.method == DTX_IG ? (double)g->set.steps : 1;
    printf("variant            %s: %s, completions of %s\n", g->m.variant, g->m.base_model, g->of);
    printf("result             %s\n", g->group);
    printf("rows               %" PRId64 ", to do: %" PRId64 "\n", g->rows, g->n_order);
    printf("steps              %.0f generated tokens, %.0f rows of cotangents, %.0f point(s) each\n", steps, rows, points);
    printf("work               %.3g TFLOP\n", points * 2 * (rows * layer + 2 * steps * head) / 1e12);
    printf("memory             %.1f MB of cotangents for each rank (attribute.memory_mb), %.1f kB a row\n",
           (double)g->set.memory_bytes / 1e6, row_bytes / 1e3);
    printf("run.h5             %.1f MB more\n",
           (4 * (double)g->row_offset[g->rows] + (double)g->rows * (17 + 12 * (double)g->width * (g->set.merge != DTX_MERGE_NONE ? 2 : 1))) / 1e6);
}

/* --- the job --- */

/* Collective, between the opening and closing of the run directory. */
static dtx_status run_stage(attribution *g)
{
    DTX_TRY(open_stage(g));
    DTX_TRY(dtx_par_agree(&g->job->par, order_rows(g)));
    if (g->job->dry_run) {
        if (g->job->par.rank == 0) {
            print_plan(g);
        }
        return DTX_OK;
    }
    if (g->n_order == 0 && (g->job->config.attribute.check == 0 || dtx_par_any(&g->job->par, g->checked))) {
        return conclude(g, false); /* nothing to do: no launch is recorded */
    }
    DTX_TRY(dtx_run_provenance_begin(g->run, "attribute", g->job->argc, g->job->argv, g->job->config_json));
    return dtx_stage_end(g->run, work(g));
}

static dtx_status run(dtx_job *job)
{
    attribution g = {.job = job};
    dtx_status st;

    DTX_GO(dtx_stage_model_open(job, job->variant, &g.m));
    DTX_GO(dtx_par_agree(&job->par, read_settings(&g)));
    DTX_GO(dtx_run_open_existing(&job->par, job->config.run, &g.run));
    if (!job->dry_run) {
        snprintf(g.log_dir, sizeof g.log_dir, "%s/log", g.run->dir);
        dtx_job_log_open(job, g.log_dir);
    }
    DTX_GO(run_stage(&g));
done:
    dtx_run_close(g.run);
    dtx_stage_rows_free(&g.ready);
    dtx_stage_model_close(&g.m);
    dtx_tokenizer_close(g.tokenizer);
    dtx_free(g.prompt_offset);
    dtx_free(g.prompt_ids);
    dtx_free(g.tokens);
    dtx_free(g.length);
    dtx_free(g.use);
    dtx_free(g.steps);
    dtx_free(g.row_offset);
    dtx_free(g.done_flag);
    dtx_free(g.order);
    dtx_free(g.value);
    dtx_free(g.start);
    dtx_free(g.count);
    return st;
}

const dtx_job_def dtx_job_attribute = {
    .name = "attribute",
    .summary = "attribution matrices, entropy and prompt dependence of completions",
    .help = "Attributes every generated token to the tokens before it and writes matrices and curves to\n"
            "/variants/V/attribution/M of RUN/run.h5, where M is attribute.name, else the method. The variant's completions must\n"
            "be complete. A launch that was stopped or killed is continued by the same command.\n"
            "\n"
            "  mpirun -n 4 detoxlens attribute --set model.path=models/RedPajama-INCITE-Chat-3B-v1 --run runs/redpajama\n"
            "  mpirun -n 4 detoxlens attribute --method integrated_gradients --steps 20 ...\n"
            "\n"
            "--rows A:B attributes the answers to texts A..B-1 only. --redo discards the result M and begins anew. --check N\n"
            "measures faithfulness on N rows. --completions-of W attributes the completions of another variant (result METHOD@W).\n"
            "Imported completions are attributed under model.path and the variant's adapter, which must be those that wrote them;\n"
            "where the import made no ids the model's tokenizer makes them:\n"
            "\n"
            "  detoxlens import completions.FT.csv --variant FT --run runs/published\n"
            "  mpirun -n 4 detoxlens attribute --variant FT --set variants.FT.adapter=adapters/FT --set model.path=MODEL \\\n"
            "      --run runs/published\n"
            "\n"
            "--dry-run prints rows, work, memory and file size and writes nothing.\n",
    .bit = DTX_JOB_ATTRIBUTE,
    .parallel = true,
    .own_dry_run = true,
    .run = run,
};
