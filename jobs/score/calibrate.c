/* detoxlens score --calibrate: the map from one set of scores to another's (src/judge/calibrate.h), learnt from the rows of all
 * variants that have both, its held-out error, and the mapped scores as a further set. One edit of run.h5: all or nothing. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "jobs/score/score.h"
#include "src/judge/calibrate.h"
#include "src/base/log.h"
#include "src/base/mem.h"

typedef struct {
    float *completion, *prompt;
    uint8_t *status;
    int64_t n;
} scores;

typedef struct {
    dtx_job *job;
    dtx_run *run;
    char from[64], to[64], group[160]; /* "/calibration/FROM@TO" */
    int64_t n, n_texts;        /* rows with both scores; texts of the run */
    double *x, *y;             /* (n) */
    int64_t *text;             /* (n) */
    size_t cap_x, cap_y, cap_text;
    char variants[512];        /* that taught */
    dtx_calibration_error error[3]; /* by dtx_calibration_kind */
    dtx_calibration map;
} calibration;

static const char *const kind_names[] = {"none", "isotonic", "logistic"};

static void scores_free(scores *s)
{
    dtx_free(s->completion);
    dtx_free(s->prompt);
    dtx_free(s->status);
    *s = (scores){.n = 0};
}

/* A set of a variant; *there = false when it has none. */
static dtx_status read_scores(hid_t file, const char *variant, const char *set, scores *s, bool *there)
{
    char group[640], answers[320];
    void *completion = NULL, *prompt = NULL, *status = NULL;
    int64_t shape[2];
    dtx_status st;

    *s = (scores){.n = 0};
    dtx_h5_group(group, sizeof group, DTX_H5_TOXICITY, variant, set);
    *there = dtx_h5_exists(file, group);
    if (!*there) {
        return DTX_OK;
    }
    dtx_h5_group(answers, sizeof answers, DTX_H5_COMPLETIONS, variant, NULL);
    DTX_GO(dtx_h5_shape(file, answers, "finish", DTX_H5_ANY, 1, shape));
    DTX_GO(dtx_h5_take(file, group, "status", H5T_NATIVE_UINT8, shape[0], 1, &status, NULL));
    DTX_GO(dtx_h5_take(file, group, "completion", H5T_NATIVE_FLOAT, shape[0], 1, &completion, NULL));
    DTX_GO(dtx_h5_take(file, group, "prompt", H5T_NATIVE_FLOAT, shape[0], 1, &prompt, NULL));
    *s = (scores){completion, prompt, status, shape[0]};
done:
    if (st != DTX_OK) {
        dtx_free(completion);
        dtx_free(prompt);
        dtx_free(status);
    }
    return st;
}

static dtx_status gather(hid_t file, calibration *c, const char *variant)
{
    scores a = {.n = 0}, b = {.n = 0};
    bool there, both;
    int64_t before = c->n;
    dtx_status st;

    DTX_GO(read_scores(file, variant, c->from, &a, &there));
    DTX_GO(read_scores(file, variant, c->to, &b, &both));
    if (!there || !both) {
        goto done;
    }
    if (a.n % c->n_texts != 0) {
        st = DTX_FAIL(DTX_ERR_INPUT, "%s: %s has %" PRId64 " rows, which is no multiple of the %" PRId64 " texts", c->run->path, variant, a.n,
                      c->n_texts);
        goto done;
    }
    for (int64_t r = 0; r < a.n; r++) {
        double x = a.completion[r], y = b.completion[r];
        if (a.status[r] != DTX_SCORE_SCORED || b.status[r] != DTX_SCORE_SCORED || !(x >= 0 && x <= 1) || !(y >= 0 && y <= 1)) {
            continue;
        }
        DTX_GO(DTX_GROW(c->x, c->cap_x, c->n + 1));
        DTX_GO(DTX_GROW(c->y, c->cap_y, c->n + 1));
        DTX_GO(DTX_GROW(c->text, c->cap_text, c->n + 1));
        c->x[c->n] = x;
        c->y[c->n] = y;
        c->text[c->n++] = r / (a.n / c->n_texts);
    }
    if (c->n > before) {
        size_t n = strlen(c->variants);
        snprintf(c->variants + n, sizeof c->variants - n, "%s%s", n > 0 ? "," : "", variant);
    }
done:
    scores_free(&a);
    scores_free(&b);
    return st;
}

/* Names that are not given: the first that some variant has. */
static void choose(hid_t file, char **variants, size_t n, const char *given, const char *const names[2], char *out, size_t size)
{
    char path[640];

    snprintf(out, size, "%s", given[0] != '\0' ? given : names[0]);
    for (int k = 1; k >= 0 && given[0] == '\0'; k--) {
        for (size_t v = 0; v < n; v++) {
            dtx_h5_group(path, sizeof path, DTX_H5_TOXICITY, variants[v], names[k]);
            if (dtx_h5_exists(file, path)) {
                snprintf(out, size, "%s", names[k]);
            }
        }
    }
}

static dtx_status learn(calibration *c)
{
    const dtx_config *o = &c->job->config;
    dtx_calibration_kind kind = DTX_CALIBRATE_ISOTONIC;

    for (int k = DTX_CALIBRATE_IDENTITY; k <= DTX_CALIBRATE_LOGISTIC; k++) {
        DTX_TRY(dtx_calibration_cross((dtx_calibration_kind)k, c->n, c->x, c->y, c->text, c->n_texts, (int)o->score.folds, (uint64_t)o->seed,
                                      &c->error[k]));
    }
    if (o->score.map == DTX_SET_MAP_LOGISTIC
        || (o->score.map == DTX_SET_MAP_AUTO
            && c->error[DTX_CALIBRATE_LOGISTIC].root_mean_square <= c->error[DTX_CALIBRATE_ISOTONIC].root_mean_square)) {
        kind = DTX_CALIBRATE_LOGISTIC;
    }
    return dtx_calibration_fit(kind, c->n, c->x, c->y, &c->map);
}

static dtx_status store_map(hid_t file, const calibration *c)
{
    const double *const knots[] = {c->map.x, c->map.y};
    static const char *const names[] = {"knot_x", "knot_y"};
    char name[96];

    if (dtx_h5_exists(file, c->group)) {
        DTX_TRY(dtx_h5_delete(file, c->group));
    }
    for (int i = 0; i < 2; i++) { /* a logistic map has no knots: one NaN, so that the group is there */
        const double none = NAN;
        const bool isotonic = c->map.kind == DTX_CALIBRATE_ISOTONIC;
        DTX_TRY(dtx_h5_put(file, c->group, names[i], H5T_NATIVE_DOUBLE, isotonic ? c->map.n : 1, 1, isotonic ? knots[i] : &none));
    }
    DTX_TRY(dtx_h5_attr_str(file, c->group, "from", c->from));
    DTX_TRY(dtx_h5_attr_str(file, c->group, "to", c->to));
    DTX_TRY(dtx_h5_attr_str(file, c->group, "map", kind_names[c->map.kind]));
    DTX_TRY(dtx_h5_attr_str(file, c->group, "variants", c->variants));
    DTX_TRY(dtx_h5_attr_double(file, c->group, "slope", c->map.kind == DTX_CALIBRATE_LOGISTIC ? c->map.slope : NAN));
    DTX_TRY(dtx_h5_attr_double(file, c->group, "offset", c->map.kind == DTX_CALIBRATE_LOGISTIC ? c->map.offset : NAN));
    DTX_TRY(dtx_h5_attr_int(file, c->group, "rows", c->n));
    DTX_TRY(dtx_h5_attr_int(file, c->group, "folds", c->job->config.score.folds));
    DTX_TRY(dtx_h5_attr_int(file, c->group, "seed", c->job->config.seed));
    DTX_TRY(dtx_h5_attr_double(file, c->group, "share_true", c->error[0].share_true));
    for (int k = 0; k < 3; k++) {
        const dtx_calibration_error *e = &c->error[k];
        const struct {
            const char *name;
            double value;
        } all[] = {{"mean_absolute", e->mean_absolute}, {"root_mean_square", e->root_mean_square}, {"correlation", e->correlation},
                   {"agreement", e->agreement}, {"share_mapped", e->share_mapped}};
        for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
            snprintf(name, sizeof name, "heldout_%s_%s", kind_names[k], all[i].name);
            DTX_TRY(dtx_h5_attr_double(file, c->group, name, all[i].value));
        }
    }
    return DTX_OK;
}

/* What the scores that are mapped to measure, in the words of the set. */
static dtx_status copy_attr(hid_t file, const char *from, const char *name, const char *to)
{
    char *text = NULL;

    if (dtx_h5_exists(file, from)) {
        DTX_TRY(dtx_h5_attr_get_str(file, from, name, &text));
    }
    dtx_status st = dtx_h5_attr_str(file, to, name, text != NULL ? text : "");
    dtx_free(text);
    return st;
}

static dtx_status store_set(hid_t file, const calibration *c, const char *variant)
{
    char group[640], to[640], name[140];
    scores s;
    bool there;
    dtx_status st;

    DTX_TRY(read_scores(file, variant, c->from, &s, &there));
    if (!there) {
        return DTX_OK;
    }
    for (int64_t r = 0; r < s.n; r++) {
        s.completion[r] = isfinite(s.completion[r]) ? (float)dtx_calibration_apply(&c->map, s.completion[r]) : NAN;
        s.prompt[r] = isfinite(s.prompt[r]) ? (float)dtx_calibration_apply(&c->map, s.prompt[r]) : NAN;
    }
    snprintf(name, sizeof name, "%s@%s", c->from, c->to);
    dtx_h5_group(group, sizeof group, DTX_H5_TOXICITY, variant, name);
    dtx_h5_group(to, sizeof to, DTX_H5_TOXICITY, variant, c->to);
    if (dtx_h5_exists(file, group)) {
        DTX_GO(dtx_h5_delete(file, group));
    }
    DTX_GO(dtx_toxicity_make(file, group, s.n));
    DTX_GO(dtx_toxicity_write(file, group, s.n, s.completion, s.prompt, s.status));
    DTX_GO(dtx_h5_attr_str(file, group, "scorer", "calibrated"));
    DTX_GO(copy_attr(file, to, "measure", group));
    DTX_GO(dtx_h5_attr_str(file, group, "calibration", c->group));
    DTX_GO(dtx_h5_attr_str(file, group, "map", kind_names[c->map.kind]));
done:
    scores_free(&s);
    return st;
}

static void print(const calibration *c)
{
    printf("%s to %s: %" PRId64 " rows of %s have both scores; errors on held-out texts, %" PRId64 " folds\n", c->from, c->to, c->n, c->variants,
           c->job->config.score.folds);
    printf("%-10s %14s %17s %12s %18s %19s\n", "map", "mean |error|", "root mean square", "correlation", "same side of 0.5", "share above 0.5");
    for (int k = 0; k < 3; k++) {
        const dtx_calibration_error *e = &c->error[k];
        printf("%-10s %14.4f %17.4f %12.4f %18.4f %19.4f\n", kind_names[k], e->mean_absolute, e->root_mean_square, e->correlation, e->agreement,
               e->share_mapped);
    }
    printf("%-10s %83.4f\n", "true", c->error[0].share_true);
    printf("stored: %s (%s), and toxicity/%s@%s of every variant that has %s\n", c->group, kind_names[c->map.kind], c->from, c->to, c->from);
}

static dtx_status edit(hid_t file, void *user)
{
    static const char *const froms[] = {"hate", "local"}, *const tos[] = {"perspective", "service"};
    calibration *c = user;
    const dtx_config *o = &c->job->config;
    char **variants = NULL;
    size_t n = 0;
    int64_t shape[2];
    char name[140];
    dtx_status st;

    DTX_GO(dtx_h5_list(file, dtx_h5_places[DTX_H5_VARIANTS].path, &variants, &n));
    if (n == 0) {
        st = DTX_FAIL(DTX_ERR_MISSING, "%s: there are no variants yet: run detoxlens generate or import, and score", c->run->path);
        goto done;
    }
    DTX_GO(dtx_h5_shape(file, dtx_h5_places[DTX_H5_PROMPTS].path, "id", DTX_H5_ANY, 1, shape));
    c->n_texts = shape[0];
    if (c->n_texts == 0) {
        st = DTX_FAIL(DTX_ERR_INPUT, "%s: there are variants, and no evaluation texts", c->run->path);
        goto done;
    }
    choose(file, variants, n, o->score.from, froms, c->from, sizeof c->from);
    choose(file, variants, n, o->score.to, tos, c->to, sizeof c->to);
    snprintf(name, sizeof name, "%s@%s", c->from, c->to);
    dtx_h5_group(c->group, sizeof c->group, DTX_H5_CALIBRATION, name, NULL);
    if (strlen(c->group) > 90) {
        st = DTX_FAIL(DTX_ERR_USAGE, "score.from and score.to are too long together");
        goto done;
    }
    for (size_t v = 0; v < n; v++) {
        DTX_GO(gather(file, c, variants[v]));
    }
    if (c->n < 10 * o->score.folds) {
        st = DTX_FAIL(DTX_ERR_MISSING, "%s: %" PRId64 " rows have scores of both toxicity/%s and toxicity/%s, at least %" PRId64
                      " are needed; score.from and score.to name other sets, detoxlens inspect lists them", c->run->path, c->n, c->from, c->to,
                      10 * o->score.folds);
        goto done;
    }
    DTX_GO(learn(c));
    DTX_GO(store_map(file, c));
    for (size_t v = 0; v < n; v++) {
        DTX_GO(store_set(file, c, variants[v]));
    }
done:
    dtx_free(variants);
    return st;
}

dtx_status dtx_score_calibrate(dtx_job *job)
{
    calibration c = {.job = job};
    char log_dir[1100];
    dtx_status st;

    DTX_GO(dtx_run_open_existing(&job->par, job->config.run, &c.run));
    snprintf(log_dir, sizeof log_dir, "%s/log", c.run->dir);
    dtx_job_log_open(job, log_dir);
    DTX_GO(dtx_run_provenance_begin(c.run, "score", job->argc, job->argv, job->config_json));
    st = dtx_stage_end(c.run, dtx_run_edit(c.run, edit, &c));
    if (st == DTX_OK && job->par.rank == 0) {
        print(&c);
    }
done:
    dtx_run_close(c.run);
    dtx_free(c.x);
    dtx_free(c.y);
    dtx_free(c.text);
    dtx_calibration_free(&c.map);
    return st;
}
