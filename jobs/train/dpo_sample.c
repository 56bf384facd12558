#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/train/dpo.h"
#include "jobs/shared/eos.h"
#include "src/answer/generate.h"
#include "src/base/log.h"
#include "src/base/mem.h"

dtx_status dtx_dpo_sampler_open(const dtx_job *job, const dtx_stage_model *base, const char *pairs_digest, dtx_dpo_sampler *out)
{
    const dtx_config *c = &job->config;
    const bool judged = c->reward.models.n > 0 || c->reward.path[0] != '\0';
    dtx_dpo_sampler s = {.job = job, .sampling = {c->generate.max_new_tokens, c->generate.min_new_tokens, c->generate.do_sample,
                                                  c->generate.temperature, c->generate.top_k, c->generate.top_p,
                                                  c->generate.no_repeat_ngram_size, base->arch.eos}};
    char eos[200];
    const int64_t positions = base->arch.max_positions;
    const int64_t context = positions > 0 && positions < c->dpo.context ? positions : c->dpo.context;
    dtx_status st = DTX_OK;

    s.room = context - s.sampling.max_new_tokens;
    if (s.room < 1) {
        return DTX_FAIL(DTX_ERR_USAGE, "generate.max_new_tokens %" PRId64 " leaves no room for a prompt in dpo.context or the model's "
                        "positions, %" PRId64, s.sampling.max_new_tokens, context);
    }
    if (!judged && c->dpo.min_toxicity > 0) {
        return DTX_FAIL(DTX_ERR_USAGE, "dpo.min_toxicity %g needs a classifier: set reward.path or reward.models", c->dpo.min_toxicity);
    }
    if (judged) {
        DTX_GO(dtx_answers_judge(job, &s.judge));
        s.judge.kind = DTX_REWARD_PROB; /* 1 - P(label) */
    }
    DTX_GO(dtx_tokenizer_open(c->model.path, &s.tokenizer));
    snprintf(s.settings, sizeof s.settings, "prompts=%s context=%" PRId64 " weights=%s adapter=%s seed=%" PRId64 " max_new=%" PRId64
             " min_new=%" PRId64 " do_sample=%d temperature=%.9g top_k=%" PRId64 " top_p=%.9g no_repeat_ngram=%" PRId64
             " eos=%s single=%d precision=%s", pairs_digest, c->dpo.context, base->fingerprint, base->adapter_sha256, c->seed,
             s.sampling.max_new_tokens, s.sampling.min_new_tokens, s.sampling.do_sample, s.sampling.temperature, s.sampling.top_k,
             s.sampling.top_p, s.sampling.no_repeat_ngram, dtx_eos_text(&s.sampling.eos, eos, sizeof eos), c->generate.batch == 1, dtx_config_word(c, "compute.precision"));
    DTX_GO(job->par.rank == 0 ? dtx_answers_describe_judge(&s.judge, s.settings, sizeof s.settings) : DTX_OK);
    *out = s;
    return DTX_OK;
done:
    dtx_dpo_sampler_close(&s);
    return st;
}

void dtx_dpo_sampler_close(dtx_dpo_sampler *s)
{
    dtx_tokenizer_close(s->tokenizer);
    dtx_reward_close(&s->judge);
    s->tokenizer = NULL;
}

/* --- the answers in run.h5 --- */

typedef struct {
    const dtx_dpo_sampler *s;
    dtx_run *run;
    const dtx_model *model;
    const dtx_adapter *reference;
    const dtx_pairs *pairs;
    char group[96], log_dir[1100];
    bool there, fits, decoded; /* a group of this name; of these settings; with texts */
    uint8_t *finish;        /* (n) */
    int64_t *order, n_order, unit_rows;
    dtx_stage_rows ready;
    double done, tokens;
} sampling;

static dtx_status look(hid_t file, void *user)
{
    sampling *g = user;
    char *settings = NULL;

    g->there = dtx_h5_exists(file, g->group);
    if (!g->there) {
        return DTX_OK;
    }
    DTX_TRY(dtx_h5_attr_get_str(file, g->group, "settings", &settings));
    g->fits = settings != NULL && strcmp(settings, g->s->settings) == 0;
    dtx_status st = g->fits || g->s->job->redo
                        ? DTX_OK
                        : DTX_FAIL(DTX_ERR_USAGE, "%s: %s holds answers made with other settings or data; there: %s; here: %s; "
                                   "choose another --variant or --run, or say --redo to replace them", g->run->path, g->group,
                                   settings != NULL ? settings : "", g->s->settings);
    dtx_free(settings);
    g->decoded = g->fits && dtx_h5_has(file, g->group, "text_offset");
    DTX_TRY(st);
    return g->fits ? dtx_h5_fits(file, g->group, g->pairs->n, g->s->sampling.max_new_tokens) : DTX_OK;
}

static dtx_status make(hid_t file, void *user)
{
    const sampling *g = user;
    static const char *const columns[] = {"tokens", "length", "toxicity", "finish"};

    if (g->there) {
        DTX_TRY(dtx_h5_delete(file, g->group));
    }
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
        DTX_TRY(dtx_h5_make(file, g->group, columns[i], g->pairs->n, g->s->sampling.max_new_tokens));
    }
    return dtx_h5_attr_str(file, g->group, "settings", g->s->settings);
}

static dtx_status decode(hid_t file, void *user)
{
    const sampling *g = user;

    return dtx_answers_write_texts(file, g->group, g->s->tokenizer);
}

/* Collective. */
static dtx_status read_column(const sampling *g, const char *name, hid_t type, int64_t width, void **x)
{
    return dtx_run_read(g->run, g->group, name, type, g->pairs->n, width, x, NULL);
}

/* --- generating --- */

/* The prompt of pair i as it is answered: what fits before the longest answer. */
static int64_t prompt_of(const sampling *g, int64_t i, const int32_t **ids)
{
    const dtx_pairs *p = g->pairs;
    const int64_t query = p->query[2 * i], n = query < g->s->room ? query : g->s->room;

    *ids = p->id + p->offset[2 * i] + query - n;
    return n;
}

static int by_length(const void *a, const void *b, void *user)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    const int32_t *ids;
    const int64_t p = prompt_of(user, x, &ids), q = prompt_of(user, y, &ids);

    return p != q ? (p > q ? -1 : 1) : (x < y ? -1 : x > y);
}

static dtx_status order_rows(sampling *g)
{
    DTX_TRY(DTX_NEW(g->order, g->pairs->n));
    for (int64_t i = 0; i < g->pairs->n; i++) {
        if (g->finish[i] == DTX_FINISH_NONE) {
            g->order[g->n_order++] = i;
        }
    }
    qsort_r(g->order, (size_t)g->n_order, sizeof *g->order, by_length, g);
    g->unit_rows = dtx_stage_unit_rows(g->n_order, g->s->job->config.generate.batch, g->s->job->par.size);
    return DTX_OK;
}

static bool asked_to_stop(void *user)
{
    return dtx_job_should_stop(user);
}

static dtx_status run_unit(void *user, int64_t unit)
{
    sampling *g = user;
    const dtx_dpo_sampler *s = g->s;
    const int64_t first = unit * g->unit_rows, n = g->n_order - first < g->unit_rows ? g->n_order - first : g->unit_rows;
    const int64_t width = s->sampling.max_new_tokens;
    dtx_generation *item = NULL;
    int32_t *tokens = NULL;
    dtx_status st = DTX_OK;

    DTX_GO(DTX_NEW(item, n));
    DTX_GO(DTX_NEW_RAW(tokens, n * width));
    for (int64_t i = 0; i < n; i++) {
        const int64_t pair = g->order[first + i];
        item[i] = (dtx_generation){.row = (uint64_t)pair, .tokens = tokens + i * width};
        item[i].prompt_len = prompt_of(g, pair, &item[i].prompt);
    }
    const dtx_generate_options o = {.sampling = s->sampling, .batch = s->job->config.generate.batch,
                                    .seed = (uint64_t)s->job->config.seed, .domain = DTX_RNG_REJECTED, .adapter = g->reference,
                                    .stop = asked_to_stop, .user = (void *)(uintptr_t)s->job};
    const dtx_status ended = dtx_generate(g->model, &o, item, n);
    if (ended != DTX_OK && ended != DTX_STOPPED) {
        st = ended;
        goto done;
    }
    for (int64_t i = 0; i < n; i++) {
        double reward = NAN;
        if (item[i].finish == DTX_FINISH_NONE) {
            continue;
        }
        DTX_GO(s->judge.n > 0 ? dtx_answers_score(&s->judge, s->tokenizer, 1, width, item[i].tokens, &item[i].length, &reward, NULL)
                              : DTX_OK);
        const float toxicity = (float)(1 - reward);
        DTX_GO(dtx_stage_rows_add(&g->ready, g->order[first + i],
                                  (const void *const[]){item[i].tokens, &item[i].length, &toxicity, &item[i].finish}));
        g->done++;
        g->tokens += item[i].length;
    }
    st = ended;
done:
    dtx_free(tokens);
    dtx_free(item);
    return st;
}

static dtx_status write_ready(void *user)
{
    sampling *g = user;

    return dtx_stage_rows_write(g->run, g->group, g->pairs->n, &g->ready);
}

/* Collective. All answers are in the file afterwards. */
static dtx_status generate_rows(sampling *g)
{
    const dtx_par *par = &g->s->job->par;
    const int64_t width = g->s->sampling.max_new_tokens;
    bool stopped = false;
    void *finish = NULL;

    DTX_TRY(dtx_run_inspect(g->run, look, g));
    if (!dtx_par_any(par, g->fits)) {
        DTX_TRY(dtx_run_edit(g->run, make, g));
    }
    DTX_TRY(read_column(g, "finish", H5T_NATIVE_UINT8, 1, &finish));
    g->finish = finish;
    DTX_TRY(dtx_par_agree(par, order_rows(g)));
    if (g->n_order > 0) {
        const dtx_stage_work work = {.user = g, .n_units = (g->n_order + g->unit_rows - 1) / g->unit_rows, .n_rows = g->pairs->n,
                                     .n_done = dtx_stage_count(g->finish, g->pairs->n), .log_dir = g->log_dir, .unit = run_unit,
                                     .write = write_ready, .rows = &g->done, .tokens = &g->tokens};
        g->ready = (dtx_stage_rows){.n_columns = 4,
                                    .column = {{"tokens", H5T_NATIVE_INT32, 4, width, NULL, 0},
                                               {"length", H5T_NATIVE_INT32, 4, 1, NULL, 0},
                                               {"toxicity", H5T_NATIVE_FLOAT, 4, 1, NULL, 0},
                                               {"finish", H5T_NATIVE_UINT8, 1, 1, NULL, 0}}};
        dtx_log(DTX_LOG_INFO, "dpo", "%" PRId64 " of %" PRId64 " rejected answers are to be sampled", g->n_order, g->pairs->n);
        DTX_TRY(dtx_stage_run(g->s->job, &work, &stopped));
        if (stopped) {
            return DTX_FAIL(DTX_STOPPED, "stopped while rejected answers were sampled; the same command continues");
        }
    }
    return dtx_par_any(par, g->decoded) ? DTX_OK : dtx_run_edit(g->run, decode, g);
}

/* Collective up to the reading. */
static dtx_status replace_pairs(const sampling *g, dtx_pairs *pairs)
{
    const dtx_config *c = &g->s->job->config;
    void *tokens = NULL, *length = NULL, *toxicity = NULL;
    uint8_t *keep = NULL;
    dtx_pairs sampled = {0};
    dtx_status st = DTX_OK;

    DTX_GO(read_column(g, "tokens", H5T_NATIVE_INT32, g->s->sampling.max_new_tokens, &tokens));
    DTX_GO(read_column(g, "length", H5T_NATIVE_INT32, 1, &length));
    DTX_GO(read_column(g, "toxicity", H5T_NATIVE_FLOAT, 1, &toxicity));
    DTX_GO(DTX_NEW(keep, pairs->n));
    int64_t n = 0;
    for (int64_t i = 0; i < pairs->n; i++) {
        const int32_t len = ((const int32_t *)length)[i];
        if (len < 0 || len > g->s->sampling.max_new_tokens) {
            st = DTX_FAIL(DTX_ERR_INPUT, "%s: %s/length of pair %" PRId64 " is %" PRId32 ", at most %" PRId64 " is possible", g->run->path, g->group,
                          i, len, g->s->sampling.max_new_tokens);
            goto done;
        }
        keep[i] = !((double)((const float *)toxicity)[i] < c->dpo.min_toxicity); /* NaN: nothing is asked for */
        n += keep[i];
    }
    dtx_log(DTX_LOG_INFO, "dpo", "%" PRId64 " of %" PRId64 " sampled answers are taken as rejected ones", n, pairs->n);
    if (n < 2) {
        DTX_GO(DTX_FAIL(DTX_ERR_USAGE, "%" PRId64 " of %" PRId64 " sampled answers have a toxicity of at least dpo.min_toxicity %g: too "
                        "few to train on; lower it", n, pairs->n, c->dpo.min_toxicity));
    }
    DTX_GO(dtx_pairs_sampled(pairs, keep, g->s->sampling.max_new_tokens, tokens, length, c->dpo.context, &sampled));
    dtx_pairs_free(pairs);
    *pairs = sampled;
done:
    dtx_free(keep);
    dtx_free(toxicity);
    dtx_free(length);
    dtx_free(tokens);
    return st;
}

dtx_status dtx_dpo_sample(const dtx_dpo_sampler *s, dtx_run *run, const dtx_model *m, const dtx_adapter *reference, dtx_pairs *pairs)
{
    sampling g = {.s = s, .run = run, .model = m, .reference = reference, .pairs = pairs};
    dtx_status st = DTX_OK;

    dtx_h5_group(g.group, sizeof g.group, DTX_H5_REJECTED, s->job->variant, NULL);
    snprintf(g.log_dir, sizeof g.log_dir, "%s/log", run->dir);
    DTX_GO(generate_rows(&g));
    DTX_GO(dtx_par_agree(&s->job->par, replace_pairs(&g, pairs)));
done:
    dtx_stage_rows_free(&g.ready);
    dtx_free(g.order);
    dtx_free(g.finish);
    return st;
}
