#include "jobs/train/training.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "mpi/par/stats.h"
#include "src/base/file.h"
#include "src/algebra/linear.h"
#include "src/base/log.h"
#include "src/base/mem.h"

enum { TIMING_TOKENS, TIMING_GFLOPS, TIMING_SECONDS, TIMINGS };

static void names(const dtx_run *run, const char *name, char *group, size_t group_size, char *path, size_t path_size)
{
    dtx_h5_group(group, group_size, DTX_H5_TRAINING, name, NULL);
    snprintf(path, path_size, "%s/checkpoints/%s.safetensors", run->dir, name);
}

dtx_schedule dtx_training_schedule(dtx_set_schedule set)
{
    static const dtx_schedule schedules[] = {[DTX_SET_SCHEDULE_COSINE] = DTX_SCHEDULE_COSINE, [DTX_SET_SCHEDULE_LINEAR] = DTX_SCHEDULE_LINEAR,
                                             [DTX_SET_SCHEDULE_CONSTANT] = DTX_SCHEDULE_CONSTANT};

    return schedules[set];
}

dtx_status dtx_sum_disjoint(const dtx_par *par, double *x, int n)
{
    return DTX_MPI(MPI_Allreduce(MPI_IN_PLACE, x, n, MPI_DOUBLE, MPI_SUM, par->comm));
}

dtx_status dtx_training_find(dtx_run *run, const char *name, dtx_training_found *out)
{
    char group[160], path[1300];
    int64_t flag = 0;
    bool there = false, begun = false;
    char *settings = NULL;
    dtx_status st = DTX_OK;

    if (run == NULL) {
        return DTX_OK;
    }
    names(run, name, group, sizeof group, path, sizeof path);
    if (run->par->rank == 0) {
        hid_t file = -1;
        st = dtx_h5_open_serial(run->path, &file);
        if (st == DTX_OK && dtx_h5_exists(file, group)) {
            st = dtx_h5_attr_get_int(file, group, "complete", &flag, &there);
            if (st == DTX_OK) {
                st = dtx_h5_attr_get_str(file, group, "settings", &settings);
            }
        }
        dtx_h5_close(file);
        begun = dtx_file_exists(path);
    }
    st = dtx_par_agree(run->par, st);
    if (st != DTX_OK) {
        dtx_free(settings);
        return st;
    }
    out->complete = dtx_par_any(run->par, there && flag == 1);
    out->begun = dtx_par_any(run->par, begun);
    out->settings = settings;
    return DTX_OK;
}

dtx_status dtx_training_open_run(dtx_job *job, dtx_run **out)
{
    char path[1200];

    if (job->dry_run) {
        DTX_TRY(dtx_file_join(path, sizeof path, job->config.run, "run.h5"));
        if (!dtx_par_any(&job->par, job->par.rank == 0 && dtx_file_exists(path))) {
            return DTX_OK;
        }
    }
    return dtx_run_open(&job->par, job->config.run, out);
}

static dtx_status delete_group(hid_t file, void *user)
{
    return dtx_h5_exists(file, user) ? dtx_h5_delete(file, user) : DTX_OK;
}

dtx_status dtx_training_discard(dtx_run *run, const char *name)
{
    char group[160], path[1300];

    names(run, name, group, sizeof group, path, sizeof path);
    dtx_log(DTX_LOG_WARN, "training", "--redo discards %s and %s", group, path);
    DTX_TRY(dtx_run_edit(run, delete_group, group));
    if (run->par->rank == 0) {
        unlink(path);
    }
    return DTX_OK;
}

static int n_curves(const dtx_training *t)
{
    return DTX_CURVES + t->n_extra;
}

static const dtx_training_curve *curve_at(const dtx_training *t, int i)
{
    static const dtx_training_curve common[DTX_CURVES] = {
        {"loss", true, true}, {"eval_loss", false, true}, {"grad_norm", true, true}, {"lr", true, true}};

    return i < DTX_CURVES ? &common[i] : &t->extra[i - DTX_CURVES];
}

static dtx_status allocate(dtx_training *t)
{
    dtx_train_state *s = &t->state;

    names(t->run, t->name, t->group, sizeof t->group, t->path, sizeof t->path);
    s->n_steps = t->n_steps;
    s->n_params = t->n_params;
    s->params = t->params;
    s->curves = t->curves;
    s->n_curves = n_curves(t);
    DTX_TRY(DTX_NEW(s->m, t->n_params));
    DTX_TRY(DTX_NEW(s->v, t->n_params));
    DTX_TRY(DTX_NEW(t->grads, t->n_params));
    if (t->average > 0) {
        DTX_TRY(DTX_NEW_RAW(s->average, t->n_params));
        memcpy(s->average, t->params, (size_t)t->n_params * sizeof *s->average);
    }
    for (int i = 0; i < n_curves(t); i++) {
        t->curves[i].name = curve_at(t, i)->name;
        DTX_TRY(DTX_NEW(t->curves[i].value, t->n_steps));
        for (int64_t k = 0; k < t->n_steps; k++) {
            t->curves[i].value[k] = NAN;
        }
    }
    for (int i = 0; i < TIMINGS; i++) {
        DTX_TRY(DTX_NEW(t->timing[i], t->n_steps));
        for (int64_t k = 0; k < t->n_steps; k++) {
            t->timing[i][k] = NAN;
        }
    }
    return DTX_OK;
}

dtx_status dtx_training_restore(const dtx_par *par, const char *path, bool needed, dtx_train_state *s, bool *found)
{
    struct {
        int64_t there, step;
    } m = {0, 0};
    const size_t floats = (size_t)s->n_params * sizeof(float);

    if (par->rank == 0) {
        m.there = needed || dtx_file_exists(path);
    }
    DTX_TRY(DTX_ROOT(par, m.there ? dtx_train_state_read(path, s) : DTX_OK));
    m.step = s->step;
    dtx_par_tell(par, &m, sizeof m);
    dtx_par_tell(par, s->identity, sizeof s->identity); /* some of its facts are known to rank 0 alone */
    if (found != NULL) {
        *found = m.there != 0;
    }
    if (!m.there) {
        return DTX_OK;
    }
    s->step = m.step;
    dtx_par_tell(par, s->params, floats);
    dtx_par_tell(par, s->m, floats);
    dtx_par_tell(par, s->v, floats);
    if (s->average != NULL) {
        dtx_par_tell(par, s->average, floats);
    }
    for (int64_t i = 0; i < s->n_curves; i++) {
        dtx_par_tell(par, s->curves[i].value, (size_t)s->n_steps * sizeof(double));
    }
    dtx_par_tell(par, s->scalars, (size_t)s->n_scalars * sizeof(double));
    return DTX_OK;
}

dtx_status dtx_training_open(dtx_training *t)
{
    const dtx_par *par = &t->job->par;
    dtx_status st = allocate(t);

    DTX_TRY(dtx_par_agree(par, st));
    DTX_TRY(dtx_training_restore(par, t->path, false, &t->state, NULL));
    if (t->state.step > 0) {
        dtx_log(DTX_LOG_INFO, t->job->def->name, "continuing after step %" PRId64 " of %" PRId64, t->state.step, t->n_steps);
    }
    DTX_TRY(dtx_reduce_new(par, t->n_params, t->n_leaves, t->job->config.reduce == DTX_SET_REDUCE_STRICT, &t->reduce));
    return t->ranges != NULL ? dtx_reduce_overlap(t->reduce, t->ranges, t->n_ranges) : DTX_OK;
}

void dtx_training_ready(dtx_training *t, int k)
{
    dtx_reduce_ready(t->reduce, k);
}

static dtx_status save_checkpoint(dtx_training *t)
{
    return DTX_ROOT(&t->job->par, dtx_train_state_write(t->path, &t->state));
}

static dtx_status shards(dtx_training *t, double *loss, double *tokens, double *flops)
{
    int64_t first, count;

    dtx_reduce_leaves(t->reduce, &first, &count);
    for (int64_t leaf = first; leaf < first + count; leaf++) {
        float *grads;
        t->last_leaf = leaf + 1 == first + count;
        double before = dtx_linear_flops();
        DTX_TRY(dtx_reduce_begin(t->reduce, &grads));
        DTX_TRY(t->shard(t->user, t->state.step, leaf, grads, &loss[leaf], &tokens[leaf]));
        flops[leaf] = dtx_linear_flops() - before;
        dtx_reduce_commit(t->reduce);
    }
    return DTX_OK;
}

/* The moving average follows the weights, faster in the beginning, when there is little to remember. */
static void follow(dtx_training *t)
{
    const double k = (double)t->state.step, keep = fmin(t->average, (1 + k) / (10 + k));
    float *a = t->state.average;

    for (int64_t i = 0; a != NULL && i < t->n_params; i++) {
        a[i] += (float)(1 - keep) * (t->params[i] - a[i]);
    }
}

/* Weights and their average change places: the model is the other one. */
static void exchange(dtx_training *t)
{
    float *a = t->state.average;

    for (int64_t i = 0; a != NULL && i < t->n_params; i++) {
        const float x = t->params[i];
        t->params[i] = a[i];
        a[i] = x;
    }
}

static dtx_status step(dtx_training *t)
{
    const int64_t k = t->state.step;
    double sums[(3 + DTX_TRAINING_EXTRAS) * DTX_TRAINING_LEAVES] = {0}, *leaf_loss = sums, *leaf_tokens = sums + DTX_TRAINING_LEAVES;
    double *leaf_flops = sums + 2 * DTX_TRAINING_LEAVES, *leaf_extra = sums + 3 * DTX_TRAINING_LEAVES;
    double extra[DTX_TRAINING_EXTRAS] = {0}, loss = 0, eval = NAN, tokens = 0, flops = 0, begun = dtx_now();

    memset(t->extra_part, 0, sizeof t->extra_part);
    dtx_status st = dtx_par_agree(&t->job->par, shards(t, leaf_loss, leaf_tokens, leaf_flops));
    if (st != DTX_OK) {
        dtx_reduce_cancel(t->reduce);
        return st;
    }
    DTX_TRY(dtx_reduce_finish(t->reduce, t->grads));
    memcpy(leaf_extra, t->extra_part, sizeof t->extra_part);
    DTX_TRY(dtx_sum_disjoint(&t->job->par, sums, (3 + t->n_extra) * DTX_TRAINING_LEAVES));
    for (int64_t i = 0; i < t->n_leaves; i++) {
        loss += leaf_loss[i];
        tokens += leaf_tokens[i];
        flops += leaf_flops[i];
        for (int x = 0; x < t->n_extra; x++) {
            extra[x] += leaf_extra[x * DTX_TRAINING_LEAVES + i];
        }
    }
    double norm = dtx_global_norm(t->grads, t->n_params);
    if (!isfinite(loss) || !isfinite(norm)) {
        return DTX_FAIL(DTX_ERR_NUMERIC, "step %" PRId64 ": loss %g, gradient norm %g; lower %s.lr (%g) or warm up longer",
                        k + 1, loss, norm, t->job->def->name, t->lr);
    }
    dtx_clip(t->grads, t->n_params, norm, t->clip);
    double lr = t->lr * dtx_schedule_factor(t->schedule, k, t->warmup_steps, t->n_steps);
    dtx_adamw_step(&t->adamw, k + 1, lr, t->n_params, t->params, t->grads, t->state.m, t->state.v, t->decay, t->n_decay);
    follow(t);
    const double seconds = dtx_now() - begun; /* an evaluation is not part of a step */
    t->tokens += tokens;
    t->flops += flops;
    t->busy += seconds;
    t->timing[TIMING_TOKENS][k] = tokens / seconds;
    t->timing[TIMING_GFLOPS][k] = 1e-9 * flops / seconds;
    t->timing[TIMING_SECONDS][k] = seconds;
    t->state.step = k + 1;
    if (t->state.step % t->eval_every == 0 || t->state.step == t->n_steps) {
        exchange(t);
        DTX_TRY(t->evaluate(t->user, &eval));
        exchange(t);
    }
    for (int x = 0; x < t->n_extra; x++) {
        t->curves[DTX_CURVES + x].value[k] = t->extra[x].each_step ? extra[x] : isnan(eval) ? NAN : t->extra_value[x];
    }
    t->curves[DTX_CURVE_LOSS].value[k] = loss;
    t->curves[DTX_CURVE_EVAL].value[k] = eval;
    t->curves[DTX_CURVE_NORM].value[k] = norm;
    t->curves[DTX_CURVE_LR].value[k] = lr;
    return DTX_OK;
}

static void report_step(dtx_training *t, dtx_progress *progress, double *last_eval)
{
    int64_t k = t->state.step - 1;
    double eval = t->curves[DTX_CURVE_EVAL].value[k];
    char text[250], json[400], eval_json[48] = "";

    if (!isnan(eval)) {
        *last_eval = eval;
        snprintf(eval_json, sizeof eval_json, ",\"eval_loss\":%.6g", eval);
    }
    int n = snprintf(text, sizeof text, "loss=%.4f", t->curves[DTX_CURVE_LOSS].value[k]);
    if (!isnan(*last_eval)) {
        n += snprintf(text + n, sizeof text - (size_t)n, " eval=%.4f", *last_eval);
    }
    double gflops = t->busy > 0 ? 1e-9 * t->flops / t->busy : 0;
    n += snprintf(text + n, sizeof text - (size_t)n, " norm=%.3f lr=%.2e GFLOP/s=%.1f", t->curves[DTX_CURVE_NORM].value[k],
                  t->curves[DTX_CURVE_LR].value[k], gflops);
    int m = snprintf(json, sizeof json, "\"step\":%" PRId64 ",\"loss\":%.6g,\"grad_norm\":%.6g,\"lr\":%.6g,\"gflops\":%.6g%s",
                     t->state.step, t->curves[DTX_CURVE_LOSS].value[k], t->curves[DTX_CURVE_NORM].value[k],
                     t->curves[DTX_CURVE_LR].value[k], gflops, eval_json);
    for (int x = 0; x < t->n_extra; x++) {
        const dtx_training_curve *c = &t->extra[x];
        const double value = t->curves[DTX_CURVES + x].value[k];
        if (c->each_step && c->shown && (size_t)n < sizeof text && (size_t)m < sizeof json) {
            n += snprintf(text + n, sizeof text - (size_t)n, " %s=%.4f", c->name, value);
            m += snprintf(json + m, sizeof json - (size_t)m, ",\"%s\":%.6g", c->name, value);
        }
    }
    dtx_progress_tick(progress, (double)t->state.step, t->tokens, text, json, !isnan(eval));
}

static dtx_status look_at_memory(dtx_training *t)
{
    const double mine = dtx_peak_memory();
    dtx_spread all;

    DTX_TRY(dtx_par_spread(&t->job->par, 1, &mine, &all));
    t->memory_seen = all.max;
    return DTX_OK;
}

/* Settings that leave nothing to learn from, before any time is spent on them. */
static void warn_of_settings(const dtx_training *t)
{
    const char *job = t->job->def->name;

    if (t->lr == 0) {
        dtx_log(DTX_LOG_WARN, job, "%s.lr is 0: nothing will be trained", job);
    } else if (t->warmup_steps >= t->n_steps) {
        dtx_log(DTX_LOG_WARN, job, "all %" PRId64 " steps lie in the warm-up (%s.warmup_steps = %" PRId64 "): the learning rate does not "
                "come near %s.lr = %g, so hardly anything will be trained; set %s.warmup_steps to about a tenth of the steps, %" PRId64
                ", or train longer", t->n_steps, job, t->warmup_steps, job, t->lr, job, t->n_steps / 10);
    }
}

/* A training that did not learn must not look like one that did. The first and the last quarter of the steps are compared, as the
 * loss of a single step depends on its samples. */
static void warn_of_result(const dtx_training *t)
{
    const char *job = t->job->def->name;
    const double *loss = t->curves[DTX_CURVE_LOSS].value;
    const int64_t n = t->n_steps, quarter = n < 8 ? 1 : n / 4;
    double first = 0, last = 0;

    for (int64_t i = 0; i < quarter; i++) {
        first += loss[i] / (double)quarter;
        last += loss[n - quarter + i] / (double)quarter;
    }
    if (n > 1 && last >= first) {
        dtx_log(DTX_LOG_WARN, job, "the loss has not fallen: %.4f in the first %" PRId64 " steps, %.4f in the last %" PRId64 ". What was "
                "trained is hardly better than what it began with: train longer, raise %s.lr (%g) if the gradient norm is small, lower "
                "it if that grows, and see that %s.warmup_steps (%" PRId64 ") leaves enough of the %" PRId64 " steps", first, quarter, last,
                quarter, job, t->lr, job, t->warmup_steps, n);
    }
}

dtx_status dtx_training_run(dtx_training *t)
{
    double last_eval = NAN, begun = dtx_now();
    char log_dir[1200];
    dtx_progress progress;
    bool stopped = false;
    dtx_status st = DTX_OK;

    DTX_TRY(dtx_file_join(log_dir, sizeof log_dir, t->run->dir, "log"));
    warn_of_settings(t);
    dtx_progress_begin(&progress, t->job, log_dir, "steps", (double)t->n_steps, (double)t->state.step);
    while (t->state.step < t->n_steps) {
        stopped = dtx_par_any(&t->job->par, dtx_job_should_stop(t->job));
        if (stopped) {
            break;
        }
        DTX_GO(step(t));
        report_step(t, &progress, &last_eval);
        if (t->state.step % t->save_every == 0 && t->state.step < t->n_steps) {
            DTX_GO(save_checkpoint(t));
        }
    }
    DTX_GO(save_checkpoint(t));
    if (!stopped) {
        exchange(t);
        warn_of_result(t);
    }
    t->seconds = dtx_now() - begun;
    dtx_log(DTX_LOG_INFO, t->job->def->name, "%.1f s, %.0f tokens/s, %.1f GFLOP/s, communication %.1f %%",
            t->seconds, t->tokens / (t->seconds + 1e-9), 1e-9 * t->flops / (t->busy + 1e-9), 100 * dtx_reduce_seconds(t->reduce) / (t->seconds + 1e-9));
    DTX_GO(look_at_memory(t));
    if (stopped) {
        st = DTX_FAIL(DTX_STOPPED, "stopped after step %" PRId64 " of %" PRId64 "; the same command continues", t->state.step,
                      t->n_steps);
    }
done:
    dtx_progress_end(&progress);
    return st;
}

/* What depends on clock and machine; `verify --same` leaves it out. */
static dtx_status write_timing(hid_t file, const dtx_training *t)
{
    static const char *const name[TIMINGS] = {"timing/tokens_per_s", "timing/gflops", "timing/seconds"};
    char group[200];

    dtx_h5_group(group, sizeof group, DTX_H5_TIMING, t->name, NULL);
    for (int i = 0; i < TIMINGS; i++) {
        DTX_TRY(dtx_h5_put(file, t->group, name[i], H5T_NATIVE_DOUBLE, t->n_steps, 1, t->timing[i]));
    }
    DTX_TRY(dtx_h5_attr_int(file, group, "peak_memory_predicted_bytes", (int64_t)t->run->outcome.predicted_peak_memory_bytes));
    return dtx_h5_attr_int(file, group, "peak_memory_seen_bytes", (int64_t)t->memory_seen);
}

static dtx_status write_curves(hid_t file, void *user)
{
    dtx_training *t = user;

    if (dtx_h5_exists(file, t->group)) {
        DTX_TRY(dtx_h5_delete(file, t->group));
    }
    for (int i = 0; i < n_curves(t); i++) {
        DTX_TRY(dtx_h5_put(file, t->group, curve_at(t, i)->name, H5T_NATIVE_DOUBLE, t->n_steps, 1, t->curves[i].value));
    }
    DTX_TRY(write_timing(file, t));
    DTX_TRY(dtx_h5_attr_str(file, t->group, "settings", t->state.identity));
    return dtx_h5_attr_int(file, t->group, "complete", 1);
}

dtx_status dtx_training_publish(dtx_training *t)
{
    DTX_TRY(dtx_run_edit(t->run, write_curves, t));
    if (t->job->par.rank == 0) {
        unlink(t->path); /* marked complete: the checkpoint has done its duty */
    }
    return DTX_OK;
}

void dtx_training_close(dtx_training *t)
{
    dtx_reduce_del(t->reduce);
    for (int i = 0; i < n_curves(t); i++) {
        dtx_free(t->curves[i].value);
    }
    for (int i = 0; i < TIMINGS; i++) {
        dtx_free(t->timing[i]);
    }
    dtx_free(t->grads);
    dtx_free(t->state.m);
    dtx_free(t->state.v);
    dtx_free(t->state.average);
}
