/* detoxlens score: toxicity of completions and prompts into /variants/V/toxicity/S (layout: mpi/README.md).
 *
 * Rank 0 reads the texts, all ranks get them. With the local classifier rows, longest first, are cut into units that ranks
 * fetch; what is finished is written in collective rounds. A text's score depends on the text alone. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/shared/prompts.h"
#include "jobs/plan/forecast.h"
#include "jobs/score/score.h"
#include "src/base/log.h"
#include "src/base/mem.h"

/* --- texts --- */

/* Completions of the source (rank 0). */
static dtx_status read_completions(hid_t file, const dtx_scoring *g, dtx_texts *out, uint8_t **finish)
{
    dtx_texts t = {.n = 0};
    void *flags = NULL;
    int64_t shape[2];
    dtx_status st;

    if (!dtx_h5_has(file, g->source, "text_bytes")) {
        return DTX_FAIL(DTX_ERR_MISSING, "%s: there are no texts in %s yet: run detoxlens generate --variant %s, to its end, or import",
                        g->run->path, g->source, g->job->variant);
    }
    DTX_GO(dtx_h5_take(file, g->source, "finish", H5T_NATIVE_UINT8, DTX_H5_ANY, 1, &flags, shape));
    t.n = shape[0];
    DTX_GO(dtx_prompts_read_texts(file, g->source, &t));
    *out = t;
    *finish = flags;
    t = (dtx_texts){.n = 0};
    flags = NULL;
done:
    dtx_texts_free(&t);
    dtx_free(flags);
    return st;
}

typedef struct {
    char *bytes;
    size_t n, cap;
} growing;

static dtx_status append(growing *b, const char *s, size_t len)
{
    DTX_TRY(DTX_GROW(b->bytes, b->cap, b->n + len + 1));
    if (len > 0) {
        memcpy(b->bytes + b->n, s, len);
    }
    b->n += len;
    return DTX_OK;
}

static dtx_status append_prompt(growing *b, dtx_set_prompts mode, const dtx_template *t, const char *text, size_t len)
{
    size_t prefix, suffix, n;
    char *prompt;

    if (mode == DTX_SET_PROMPTS_NONE) {
        return DTX_OK;
    }
    if (mode == DTX_SET_PROMPTS_TEXT) {
        return append(b, text, len);
    }
    DTX_TRY(dtx_template_apply(t, text, len, &prompt, &n, &prefix, &suffix));
    dtx_status st = append(b, prompt, n);
    dtx_free(prompt);
    return st;
}

/* The block: [rows, samples, offsets (2 rows + 1), finish (rows), bytes]. */
static dtx_status pack(hid_t file, dtx_scoring *g, void **block, size_t *size)
{
    const dtx_set_prompts mode = g->prompts;
    dtx_texts answers = {.n = 0}, prompts = {.n = 0};
    dtx_template t = {.user = ""};
    uint8_t *finish = NULL;
    int64_t *head = NULL;
    growing b = {.n = 0};
    dtx_status st;

    DTX_GO(read_completions(file, g, &answers, &finish));
    DTX_GO(dtx_prompts_read(file, &prompts));
    if (prompts.n == 0 || answers.n % prompts.n != 0) {
        st = DTX_FAIL(DTX_ERR_INPUT, "%s: %s has %" PRId64 " rows, which is no multiple of the %" PRId64 " texts", g->run->path, g->source,
                      answers.n, prompts.n);
        goto done;
    }
    if (mode == DTX_SET_PROMPTS_TEMPLATED) {
        DTX_GO(dtx_prompts_read_template(file, g->run->path, g->job->variant, &t));
    }
    int64_t n = answers.n, samples = n / prompts.n;
    size_t head_size = (size_t)(2 * n + 3) * sizeof *head;
    DTX_GO(DTX_NEW(head, 2 * n + 3));
    head[0] = n;
    head[1] = samples;
    for (int64_t r = 0; r < n; r++) {
        int64_t i = r / samples;
        DTX_GO(append(&b, answers.bytes + answers.offset[r], answers.offset[r + 1] - answers.offset[r]));
        head[2 * r + 3] = (int64_t)b.n;
        DTX_GO(append_prompt(&b, mode, &t, prompts.bytes + prompts.offset[i], prompts.offset[i + 1] - prompts.offset[i]));
        head[2 * r + 4] = (int64_t)b.n;
    }
    char *all;
    *size = head_size + (size_t)n + b.n;
    DTX_GO(DTX_NEW_RAW(all, *size));
    memcpy(all, head, head_size);
    memcpy(all + head_size, finish, (size_t)n);
    memcpy(all + head_size + n, b.bytes, b.n);
    *block = all;
done:
    dtx_free(b.bytes);
    dtx_free(head);
    dtx_free(finish);
    dtx_texts_free(&answers);
    dtx_texts_free(&prompts);
    return st;
}

/* --- the set in the file (rank 0) --- */

static void add_setting(dtx_scoring *g, const char *name, const char *text)
{
    dtx_score_setting *s = &g->setting[g->n_settings++];

    s->name = name;
    snprintf(s->text, sizeof s->text, "%s", text);
}

/* What the scores depend on, besides the measure of each set. */
static dtx_status list_settings(dtx_scoring *g)
{
    const dtx_config *c = &g->job->config;
    char text[2048];

    add_setting(g, "scorer", dtx_config_word(c, "score.scorer"));
    add_setting(g, "prompts", dtx_config_word_of("score.prompts", (int)g->prompts));
    if (!g->service) {
        DTX_TRY(dtx_model_fingerprint(g->classifier.model, text));
        add_setting(g, "weights_fingerprint", text);
        add_setting(g, "precision", dtx_config_word(c, "compute.precision"));
        return DTX_OK;
    }
    add_setting(g, "endpoint", c->score.endpoint);
    add_setting(g, "language", c->score.language);
    text[0] = '\0';
    for (int64_t k = 0; k < g->n_sets; k++) {
        size_t n = strlen(text);
        snprintf(text + n, sizeof text - n, "%s%s", k > 0 ? "," : "", g->sets[k].measure);
    }
    add_setting(g, "attributes", text);
    return DTX_OK;
}

typedef struct {
    dtx_scoring *g;
    void *block;
    size_t size;
} reading;

static dtx_status look(hid_t file, void *user)
{
    reading *r = user;
    dtx_scoring *g = r->g;
    dtx_stage_diff diff = {{0}};

    DTX_TRY(pack(file, g, &r->block, &r->size));
    g->made = dtx_h5_exists(file, g->sets[0].group);
    for (int64_t k = 0; k < g->n_sets; k++) {
        const char *group = g->sets[k].group;
        if (!dtx_h5_exists(file, group)) { /* another number of attributes shows in the settings of set 0 */
            continue;
        }
        if (g->job->redo) {
            dtx_log(DTX_LOG_WARN, "redo", "discarding %s", group);
            continue;
        }
        for (int i = 0; i < g->n_settings; i++) {
            DTX_TRY(dtx_stage_compare(file, group, g->setting[i].name, g->setting[i].text, &diff));
        }
        DTX_TRY(dtx_stage_compare(file, group, "measure", g->sets[k].measure, &diff));
        DTX_TRY(dtx_stage_refuse(g->run, group, &diff));
        DTX_TRY(dtx_h5_fits(file, group, *(const int64_t *)r->block, DTX_H5_ANY));
    }
    return DTX_OK;
}

static dtx_status make_set(hid_t file, void *user)
{
    const dtx_scoring *g = user;

    for (int64_t k = 0; k < g->n_sets; k++) {
        const char *group = g->sets[k].group;
        if (dtx_h5_exists(file, group)) {
            DTX_TRY(dtx_h5_delete(file, group));
        }
        DTX_TRY(dtx_toxicity_make(file, group, g->n_rows));
        for (int i = 0; i < g->n_settings; i++) {
            DTX_TRY(dtx_h5_attr_str(file, group, g->setting[i].name, g->setting[i].text));
        }
        DTX_TRY(dtx_h5_attr_str(file, group, "measure", g->sets[k].measure));
    }
    return DTX_OK;
}

/* Collective. Everybody has the texts, the set is there and fits, `status` says what is left. */
static dtx_status open_set(dtx_scoring *g)
{
    reading r = {.g = g};
    void *status = NULL;

    DTX_TRY(dtx_run_inspect(g->run, look, &r));
    DTX_TRY(dtx_par_bcast(&g->job->par, DTX_OK, &r.block, &r.size));
    g->block = r.block;
    const int64_t *head = r.block;
    g->n_rows = head[0];
    g->samples = head[1];
    g->offset = head + 2;
    g->finish = (const uint8_t *)(head + 2 * g->n_rows + 3);
    g->bytes = (const char *)g->finish + g->n_rows;
    if (g->job->dry_run) {
        return DTX_OK;
    }
    bool made = dtx_par_any(&g->job->par, g->made);
    if (!made || g->job->redo) {
        DTX_TRY(dtx_run_edit(g->run, make_set, g));
    }
    DTX_TRY(dtx_run_read(g->run, g->sets[0].group, "status", H5T_NATIVE_UINT8, g->n_rows, 1, &status, NULL));
    g->status = status;
    return DTX_OK;
}

/* --- work --- */

static size_t cost(const dtx_scoring *g, int64_t row)
{
    return dtx_scoring_len(g, row, 0) + dtx_scoring_len(g, row, 1);
}

static int by_cost(const void *a, const void *b, void *user)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    size_t p = cost(user, x), q = cost(user, y);

    return p != q ? (p > q ? -1 : 1) : (x < y ? -1 : x > y);
}

static dtx_status order_rows(dtx_scoring *g)
{
    const dtx_job *job = g->job;
    int64_t first = 0, last = g->n_rows;

    if (job->row_first >= 0) { /* texts; each has `samples` rows */
        first = job->row_first * g->samples;
        last = job->row_last * g->samples < g->n_rows ? job->row_last * g->samples : g->n_rows;
        if (first > g->n_rows) {
            return DTX_FAIL(DTX_ERR_USAGE, "--rows %" PRId64 ":%" PRId64 ": there are %" PRId64 " texts", job->row_first, job->row_last,
                            g->n_rows / g->samples);
        }
    }
    DTX_TRY(DTX_NEW(g->order, g->n_rows));
    for (int64_t r = first; r < last; r++) {
        if (g->finish[r] != 0 && (g->status == NULL || g->status[r] == DTX_SCORE_NOT_DONE)) {
            g->order[g->n_order++] = r;
        }
    }
    if (!g->service) {
        qsort_r(g->order, (size_t)g->n_order, sizeof *g->order, by_cost, g);
    }
    g->unit_rows = dtx_stage_unit_rows(g->n_order, DTX_SCORE_BATCH, job->par.size);
    return DTX_OK;
}

static dtx_status score_unit(void *user, int64_t unit)
{
    dtx_scoring *g = user;
    int64_t first = unit * g->unit_rows, n = g->n_order - first < g->unit_rows ? g->n_order - first : g->unit_rows, m = 0;
    const char *text[64];
    size_t len[64];
    double p[64];
    int place[64];

    for (int64_t i = 0; i < 2 * n; i++) {
        int64_t row = g->order[first + i / 2];
        place[i] = -1;
        if (dtx_service_precheck(dtx_scoring_text(g, row, (int)(i % 2)), dtx_scoring_len(g, row, (int)(i % 2))) != DTX_SCORE_EMPTY) {
            text[m] = dtx_scoring_text(g, row, (int)(i % 2));
            len[m] = dtx_scoring_len(g, row, (int)(i % 2));
            place[i] = (int)m++;
        }
    }
    if (m > 0) {
        DTX_TRY(dtx_classifier_score(&g->classifier, m, text, len, p));
    }
    for (int64_t i = 0; i < n; i++) {
        const float completion = place[2 * i] >= 0 ? (float)p[place[2 * i]] : NAN;
        const float prompt = place[2 * i + 1] >= 0 ? (float)p[place[2 * i + 1]] : NAN;
        const uint8_t status = place[2 * i] >= 0 ? DTX_SCORE_SCORED : DTX_SCORE_EMPTY;
        DTX_TRY(dtx_scoring_add(g, g->order[first + i], &completion, &prompt, status));
    }
    return DTX_OK;
}

static dtx_status write_ready(void *user)
{
    return dtx_scoring_write(user);
}

/* Collective. */
static dtx_status conclude(dtx_scoring *g, bool stopped)
{
    void *status = NULL;
    int64_t n_of[7] = {0}, expected = 0;

    DTX_TRY(dtx_run_read(g->run, g->sets[0].group, "status", H5T_NATIVE_UINT8, g->n_rows, 1, &status, NULL));
    for (int64_t r = 0; r < g->n_rows; r++) {
        uint8_t s = ((const uint8_t *)status)[r];
        n_of[s < 7 ? s : 6] += g->finish[r] != 0;
        expected += g->finish[r] != 0;
    }
    dtx_free(status);
    int64_t open = n_of[DTX_SCORE_NOT_DONE];
    if (open > 0 && stopped) {
        return DTX_FAIL(DTX_STOPPED, "stopped with %" PRId64 " of %" PRId64 " rows done; the same command continues", expected - open, expected);
    }
    dtx_log(DTX_LOG_INFO, "score", "%s: %" PRId64 " of %" PRId64 " rows are done: %" PRId64 " scored, %" PRId64 " empty, %" PRId64
            " of a language the scorer does not know, %" PRId64 " too long, %" PRId64 " refused, %" PRId64 " failed", g->sets[0].group, expected - open,
            expected, n_of[DTX_SCORE_SCORED], n_of[DTX_SCORE_EMPTY], n_of[DTX_SCORE_LANGUAGE], n_of[DTX_SCORE_TOO_LONG],
            n_of[DTX_SCORE_REFUSED], n_of[DTX_SCORE_FAILED]);
    return DTX_OK;
}

/* Tokens of a byte of the rows' texts of one side, from a few that are spread over them. */
static dtx_status token_rate(const dtx_scoring *g, int side, double *out)
{
    enum { LOOKED_AT = 64 };
    const int64_t step = g->n_order < LOOKED_AT ? 1 : g->n_order / LOOKED_AT;
    double bytes = 0;
    dtx_ids ids = {0};
    dtx_status st = DTX_OK;

    for (int64_t i = 0; st == DTX_OK && i < g->n_order; i += step) {
        const size_t len = dtx_scoring_len(g, g->order[i], side);
        st = dtx_tokenizer_encode(g->classifier.tokenizer, dtx_scoring_text(g, g->order[i], side), len, false, &ids);
        bytes += (double)len;
    }
    *out = bytes > 0 ? (double)ids.n / bytes : 0.25;
    dtx_ids_free(&ids);
    return st;
}

static dtx_status left_to_do(dtx_plan *p, void *user)
{
    const dtx_scoring *g = user;
    double answers, prompts;

    DTX_TRY(token_rate(g, 0, &answers));
    DTX_TRY(token_rate(g, 1, &prompts));
    DTX_TRY(dtx_plan_room(p, g->n_order, 1));
    DTX_TRY(DTX_NEW(p->answer, g->n_order));
    for (int64_t i = 0; i < g->n_order; i++) {
        p->answer[i] = (int64_t)(answers * (double)dtx_scoring_len(g, g->order[i], 0) + 0.5);
        p->len[i] = (int64_t)(prompts * (double)dtx_scoring_len(g, g->order[i], 1) + 0.5);
    }
    return DTX_OK;
}

/* Collective. */
static dtx_status work(dtx_scoring *g)
{
    const dtx_stage_work w = {.user = g, .run = g->run, .n_units = (g->n_order + g->unit_rows - 1) / g->unit_rows, .n_rows = g->n_rows,
                              .n_done = dtx_stage_count(g->status, g->n_rows), .log_dir = g->log_dir, .unit = score_unit,
                              .write = write_ready, .rows = &g->done, .tokens = &g->tokens};
    bool stopped;

    for (int64_t k = 0; k < g->n_sets; k++) {
        g->sets[k].ready = (dtx_stage_rows){.n_columns = 3,
                                            .column = {{"completion", H5T_NATIVE_FLOAT, 4, 1, NULL, 0},
                                                       {"prompt", H5T_NATIVE_FLOAT, 4, 1, NULL, 0},
                                                       {"status", H5T_NATIVE_UINT8, 1, 1, NULL, 0}}};
    }
    if (!g->service) {
        DTX_TRY(dtx_forecast(g->job, g->run, "score", g->classifier.model, left_to_do, g));
    }
    DTX_TRY(g->service ? dtx_score_service(g, &stopped) : dtx_stage_run(g->job, &w, &stopped));
    return conclude(g, stopped);
}

/* --- the job --- */

static void print_plan(const dtx_scoring *g)
{
    double bytes = 0;

    for (int64_t i = 0; i < g->n_order; i++) {
        bytes += (double)cost(g, g->order[i]);
    }
    for (int64_t k = 0; k < g->n_sets; k++) {
        printf("result             %s (%s)\n", g->sets[k].group, g->sets[k].measure);
    }
    printf("rows               %" PRId64 ", without regard to what is done: %" PRId64 "\n", g->n_rows, g->n_order);
    printf("text               %.3f MB, prompts: %s\n", bytes / 1e6, dtx_config_word_of("score.prompts", (int)g->prompts));
    if (g->service) { /* texts that occur twice are asked for once */
        double texts = (double)g->n_order * (g->prompts == DTX_SET_PROMPTS_NONE ? 1 : 2);
        printf("requests           at most %.0f, %.2f h at score.qps = %g\n", texts, texts / g->job->config.score.qps / 3600,
               g->job->config.score.qps);
    }
}

/* Collective, between the opening and closing of the run directory. */
static dtx_status run_stage(dtx_scoring *g)
{
    DTX_TRY(open_set(g));
    DTX_TRY(dtx_par_agree(&g->job->par, order_rows(g)));
    if (g->job->dry_run) {
        if (g->job->par.rank == 0) {
            print_plan(g);
        }
        return DTX_OK;
    }
    if (g->n_order == 0 && !g->job->config.score.keywords) {
        return conclude(g, false); /* nothing to do: no launch is recorded */
    }
    DTX_TRY(dtx_run_provenance_begin(g->run, "score", g->job->argc, g->job->argv, g->job->config_json));
    dtx_status st = work(g);
    if (st == DTX_OK && g->job->config.score.keywords) {
        st = dtx_score_keywords(g);
    }
    return dtx_stage_end(g->run, st);
}

static dtx_status name_set(dtx_scoring *g, int64_t k, const char *measure)
{
    snprintf(g->sets[k].measure, sizeof g->sets[k].measure, "%s", measure);
    char name[128];

    snprintf(name, sizeof name, k == 0 ? "%s" : "%s.%s", g->set, measure);
    dtx_h5_group(g->sets[k].group, sizeof g->sets[k].group, DTX_H5_TOXICITY, g->job->variant, name);
    return strpbrk(measure, "/. ") == NULL && strlen(measure) < 64
               ? DTX_OK : DTX_FAIL(DTX_ERR_USAGE, "score.attributes: %.64s cannot be a part of a set's name", measure);
}

static dtx_status open_scorer(dtx_scoring *g)
{
    const dtx_config *c = &g->job->config;
    const dtx_config_list *attributes = &c->score.attributes;

    g->service = c->score.scorer == DTX_SET_SCORER_SERVICE;
    g->prompts = c->score.prompts != DTX_SET_PROMPTS_AUTO ? c->score.prompts : g->service ? DTX_SET_PROMPTS_NONE : DTX_SET_PROMPTS_TEMPLATED;
    if (g->service && c->score.keywords) {
        return DTX_FAIL(DTX_ERR_USAGE, "score.keywords explains a local classifier; a service tells no more than its score");
    }
    if (g->service) {
        DTX_TRY(dtx_job_need(g->job, "score.endpoint", c->score.endpoint));
        g->n_sets = attributes->n > 0 ? attributes->n : 1;
        for (int64_t k = 0; k < g->n_sets; k++) {
            DTX_TRY(name_set(g, k, attributes->n > 0 ? attributes->entry[k] : "TOXICITY"));
        }
        return g->job->par.rank == 0 ? list_settings(g) : DTX_OK;
    }
    DTX_TRY(dtx_job_need(g->job, "score.path", c->score.path));
    if (c->score.keywords) { /* ids and bytes of the completions' tokens */
        DTX_TRY(dtx_job_need(g->job, "model.path", c->model.path));
    }
    if (attributes->n > 1) {
        return DTX_FAIL(DTX_ERR_USAGE, "score.attributes has %" PRId64 " names; a local classifier scores one label a launch", attributes->n);
    }
    dtx_arch arch;
    DTX_TRY(dtx_stage_arch(g->job, c->score.path, &arch));
    DTX_TRY(dtx_classifier_open(c->score.path, &arch, attributes->n > 0 ? attributes->entry[0] : "", &g->classifier));
    g->n_sets = 1;
    snprintf(g->sets[0].measure, sizeof g->sets[0].measure, "%s", g->classifier.arch->labels[g->classifier.label]);
    dtx_h5_group(g->sets[0].group, sizeof g->sets[0].group, DTX_H5_TOXICITY, g->job->variant, g->set);
    return g->job->par.rank == 0 ? list_settings(g) : DTX_OK;
}

static dtx_status run(dtx_job *job)
{
    const dtx_config *c = &job->config;
    dtx_scoring *g; /* large: texts of every set */
    dtx_status st;

    if (dtx_job_flag(job, "calibrate") != NULL) {
        return dtx_score_calibrate(job);
    }

    DTX_TRY(dtx_par_agree(&job->par, DTX_NEW(g, 1)));
    g->job = job;
    snprintf(g->set, sizeof g->set, "%s", c->score.name[0] != '\0' ? c->score.name : dtx_config_word(c, "score.scorer"));
    dtx_h5_group(g->variant_group, sizeof g->variant_group, DTX_H5_VARIANT, job->variant, NULL);
    dtx_h5_group(g->source, sizeof g->source, DTX_H5_COMPLETIONS, job->variant, NULL);
    DTX_GO(dtx_par_agree(&job->par, open_scorer(g)));
    DTX_GO(dtx_run_open_existing(&job->par, c->run, &g->run));
    snprintf(g->log_dir, sizeof g->log_dir, "%s/log", g->run->dir);
    dtx_job_log_open(job, g->log_dir);
    st = run_stage(g);
done:
    dtx_run_close(g->run);
    for (int64_t k = 0; k < g->n_sets; k++) {
        dtx_stage_rows_free(&g->sets[k].ready);
    }
    dtx_classifier_close(&g->classifier);
    dtx_free(g->block);
    dtx_free(g->status);
    dtx_free(g->order);
    dtx_free(g);
    return st;
}

static const dtx_job_option own_options[] = {
    {"calibrate", NULL, NULL, "map the scores of score.from to those of score.to"},
    {0},
};

const dtx_job_def dtx_job_score = {
    .name = "score",
    .summary = "toxicity of the completions",
    .help = "Scores a variant's completions, and their prompts, with a classifier in Hugging Face layout (RoBERTa) on all "
            "ranks, and writes /variants/V/toxicity/S of RUN/run.h5, where S is score.name. A launch that was stopped or "
            "killed is continued by the same command.\n\n"
            "  mpirun -n 4 detoxlens score --run runs/redpajama --variant FT \\\n"
            "      --set score.path=models/roberta-hate-speech-dynabench-r4-target --set score.name=hate\n\n"
            "With --scorer service rank 0 asks a Perspective-compatible service instead, at most score.qps times a second, and no "
            "text twice: answers are kept by text in RUN/score-cache.jsonl. Several attributes make several sets, S, S.SECOND, "
            "...\n\n"
            "  export DETOXLENS_SCORE__KEY=...\n"
            "  detoxlens score --run runs/redpajama --variant FT --scorer service --name perspective \\\n"
            "      --set score.endpoint=https://commentanalyzer.googleapis.com/v1alpha1/comments:analyze --qps 1\n\n"
            "The service named Perspective ends with the year 2026. A text that fails again and again while others get answers is "
            "marked failed; --redo then asks for such texts alone.\n\n"
            "--calibrate learns how one set's scores (score.from) map to another's (score.to), from the rows of all variants that "
            "have both, prints the error on held-out texts, and adds the mapped scores as the set FROM@TO. They shrink towards the middle: compare "
            "their means, not the shares above 0.5.\n\n"
            "  detoxlens score --calibrate --run runs/redpajama --from hate --to perspective\n\n"
            "score.attributes names the classifier's label that is scored; without it the label called toxicity, toxic, hate, "
            "hateful or HS is. Empty completions get no score. --rows A:B scores the texts A..B-1 only, --redo discards the "
            "set and begins anew, --dry-run prints what would be done.\n\n"
            "With score.keywords each generated token gets its share in its completion's toxicity (token_share): the "
            "classifier's log-odds attributed to the words by input x gradient. It may be asked for later, too; the scores stay:\n\n"
            "  mpirun -n 4 detoxlens score --run runs/redpajama --variant FT --set score.name=hate --keywords true \\\n"
            "      --set score.path=models/roberta-hate-speech-dynabench-r4-target \\\n"
            "      --set model.path=models/RedPajama-INCITE-Chat-3B-v1\n",
    .bit = DTX_JOB_SCORE,
    .options = own_options,
    .parallel = true,
    .own_dry_run = true,
    .run = run,
};
