/* ppo.c - ppo.safetensors: log-probabilities, values and rewards of a left-padded batch of rollouts, advantages,
 * losses, statistics and gradients of a first and of a later update, the policy after four epochs and after mini-batches,
 * and the KL controller. Padding is stripped: nothing that counts sees it. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "jobs/verify/verify.h"
#include "src/base/mem.h"
#include "src/training/optim.h"
#include "src/training/policy.h"
#include "src/training/ppo.h"

enum { MAX_ROWS = 64 };

/* The rollouts as ragged rows; E response tokens. Arrays of (E) follow src/training/ppo.h. */
typedef struct {
    int64_t n, width, E;                /* width: columns of the file's padded tensors, T - 1 */
    int64_t offset[MAX_ROWS + 1], query[MAX_ROWS], entry[MAX_ROWS + 1], column[MAX_ROWS];
    int32_t *ids;
    double score[MAX_ROWS];
    double *lp, *ref_lp, *value, *kl, *rewards;
    dtx_ppo_clip clip;
    double gamma, lambda, kl_coef, target, horizon;
} rollouts;

/* Adapter and value head, together what is trained. */
typedef struct {
    dtx_adapter *adapter;
    float *head;            /* (d + 1) */
    int64_t d;
} policy;

static void rollouts_free(rollouts *r)
{
    dtx_free(r->ids);
    dtx_free(r->lp);
    dtx_free(r->ref_lp);
    dtx_free(r->value);
    dtx_free(r->kl);
    dtx_free(r->rewards);
}

static void policy_free(policy *p)
{
    dtx_adapter_del(p->adapter);
    dtx_free(p->head);
}

static dtx_status policy_like(const policy *p, policy *out)
{
    out->d = p->d;
    DTX_TRY(dtx_adapter_like(p->adapter, &out->adapter));
    return DTX_NEW(out->head, p->d + 1);
}

static void policy_copy(const policy *from, policy *to)
{
    memcpy(to->adapter->arena, from->adapter->arena, (size_t)from->adapter->n_params * sizeof(float));
    memcpy(to->head, from->head, (size_t)(from->d + 1) * sizeof(float));
}

static void policy_scale(policy *p, float f)
{
    for (int64_t i = 0; i < p->adapter->n_params; i++) {
        p->adapter->arena[i] *= f;
    }
    for (int64_t i = 0; i <= p->d; i++) {
        p->head[i] *= f;
    }
}

static dtx_status malformed(const dtx_verify *v, const char *what)
{
    return DTX_FAIL(DTX_ERR_INPUT, "%s/expected/%s: %s", v->dir, v->file, what);
}

/* --- reading --- */

static dtx_status rollouts_read(dtx_verify *v, const cJSON *json, rollouts *r)
{
    dtx_status st;
    int32_t *ids = NULL, *mask = NULL, *query = NULL, *response = NULL;
    int64_t n, n_mask, n_query, n_response, n_score, shape[DTX_MAX_DIMS], R = 0;
    double *score = NULL;

    DTX_GO(dtx_verify_ids(v, "input_ids", &ids, &n, shape));
    DTX_GO(dtx_verify_ids(v, "attention_mask", &mask, &n_mask, NULL));
    DTX_GO(dtx_verify_ids(v, "query_lengths", &query, &n_query, NULL));
    DTX_GO(dtx_verify_ids(v, "response_lengths", &response, &n_response, NULL));
    DTX_GO(dtx_verify_read(v, "scores", &score, &n_score, NULL));
    r->n = shape[0];
    r->width = shape[1] - 1;
    if (r->n > MAX_ROWS || n_mask != n || n_query != r->n || n_response != r->n || n_score != r->n) {
        DTX_GO(malformed(v, "the shapes of input_ids, lengths and scores do not agree"));
    }
    DTX_GO(DTX_NEW(r->ids, n));
    for (int64_t i = 0; i < r->n; i++) {
        int64_t first = -1;
        for (int64_t t = 0; t < shape[1]; t++) {
            if (mask[i * shape[1] + t] != 0) {
                first = first < 0 ? t : first;
                r->ids[R++] = ids[i * shape[1] + t];
            }
        }
        r->offset[i + 1] = R;
        r->query[i] = query[i];
        r->column[i] = first + query[i] - 1;
        r->entry[i + 1] = r->entry[i] + response[i];
        r->score[i] = score[i];
        if (query[i] < 1 || response[i] < 1 || R - r->offset[i] != query[i] + response[i]) {
            DTX_GO(malformed(v, "attention_mask and lengths do not agree"));
        }
    }
    r->E = r->entry[r->n];
    r->clip = (dtx_ppo_clip){dtx_verify_json_number(json, "config.cliprange"), dtx_verify_json_number(json, "config.cliprange_value"),
                             dtx_verify_json_number(json, "config.vf_coef")};
    r->gamma = dtx_verify_json_number(json, "config.gamma");
    r->lambda = dtx_verify_json_number(json, "config.lam");
    r->kl_coef = dtx_verify_json_number(json, "config.init_kl_coef");
    r->target = dtx_verify_json_number(json, "config.target");
    r->horizon = dtx_verify_json_number(json, "config.horizon");
    DTX_GO(DTX_NEW(r->lp, r->E));
    DTX_GO(DTX_NEW(r->ref_lp, r->E));
    DTX_GO(DTX_NEW(r->value, r->E));
    DTX_GO(DTX_NEW(r->kl, r->E));
    DTX_GO(DTX_NEW(r->rewards, r->E));
done:
    dtx_free(score);
    dtx_free(response);
    dtx_free(query);
    dtx_free(mask);
    dtx_free(ids);
    return st;
}

static dtx_status read_floats(dtx_verify *v, const char *name, int64_t n, float *out)
{
    double *x;
    int64_t count;

    DTX_TRY(dtx_verify_read(v, name, &x, &count, NULL));
    for (int64_t i = 0; i < n && count == n; i++) {
        out[i] = (float)x[i];
    }
    dtx_free(x);
    return count == n ? DTX_OK : DTX_FAIL(DTX_ERR_INPUT, "%s/expected/%s: %s has %lld values, expected %lld", v->dir, v->file,
                                          name, (long long)count, (long long)n);
}

static dtx_status read_head(dtx_verify *v, const char *prefix, policy *p)
{
    char name[128];

    snprintf(name, sizeof name, "%sv_head.summary.weight", prefix);
    DTX_TRY(read_floats(v, name, p->d, p->head));
    snprintf(name, sizeof name, "%sv_head.summary.bias", prefix);
    return read_floats(v, name, 1, p->head + p->d);
}

/* The policy "perturbed.KEY". */
static dtx_status read_perturbed(dtx_verify *v, policy *p)
{
    for (int64_t s = 0; s < p->adapter->n_slots; s++) {
        const dtx_lora *l = &p->adapter->slot[s];
        char module[128], name[320];
        if (l->A == NULL) {
            continue;
        }
        dtx_module_name(dtx_model_arch(v->model), s / DTX_MODULES, (dtx_module_kind)(s % DTX_MODULES), module, sizeof module);
        snprintf(name, sizeof name, "perturbed.base_model.model.%s.lora_A.weight", module);
        DTX_TRY(read_floats(v, name, l->r * l->n_in, l->A));
        snprintf(name, sizeof name, "perturbed.base_model.model.%s.lora_B.weight", module);
        DTX_TRY(read_floats(v, name, l->r * l->n_out, l->B));
    }
    return read_head(v, "perturbed.", p);
}

/* --- comparing --- */

/* Entries against a padded tensor of the file; entry of f32_vs_f64 = its name. */
static dtx_status compare_entries(dtx_verify *v, const rollouts *r, const char *name, const double *got)
{
    double *want;
    int64_t n;
    dtx_quantity q = dtx_verify_begin(v, name, name);

    DTX_TRY(dtx_verify_read(v, name, &want, &n, NULL));
    if (n != r->n * r->width) {
        dtx_free(want);
        return malformed(v, name);
    }
    for (int64_t i = 0; i < r->n; i++) {
        dtx_verify_values(&q, name, r->entry[i + 1] - r->entry[i], got + r->entry[i], want + i * r->width + r->column[i]);
    }
    dtx_free(want);
    dtx_verify_end(v, &q);
    return DTX_OK;
}

static dtx_status compare_scalar(dtx_verify *v, const char *name, double got)
{
    double *want;
    int64_t n;

    DTX_TRY(dtx_verify_read(v, name, &want, &n, NULL));
    if (n != 1) {
        dtx_free(want);
        return malformed(v, name);
    }
    dtx_verify_number(v, name, name, got, want[0]);
    dtx_free(want);
    return DTX_OK;
}

/* Gradient or parameters of adapter and value head; not all: the modules that the file has, and the head without bias. */
static dtx_status compare_policy(dtx_verify *v, const char *prefix, const char *entry, double outlier, const policy *p, bool all)
{
    char name[128];
    double *want;
    int64_t n;
    dtx_quantity q = dtx_verify_begin(v, prefix, entry);

    q.outlier = outlier;
    DTX_TRY(dtx_verify_adapter(v, &q, prefix, p->adapter, all));
    for (int k = 0; k < 1 + all; k++) {
        snprintf(name, sizeof name, "%s.v_head.summary.%s", prefix, k == 0 ? "weight" : "bias");
        DTX_TRY(dtx_verify_read(v, name, &want, &n, NULL));
        if (n != (k == 0 ? p->d : 1)) {
            dtx_free(want);
            return malformed(v, name);
        }
        dtx_verify_floats(&q, name, n, k == 0 ? p->head : p->head + p->d, want);
        dtx_free(want);
    }
    dtx_verify_end(v, &q);
    return DTX_OK;
}

/* --- an update --- */

/* The rows of one mini-batch with what the rollout said about them, and what the update finds. */
typedef struct {
    dtx_policy_rows rows;
    int64_t offset[MAX_ROWS + 1], query[MAX_ROWS], entry[MAX_ROWS + 1], E;
    int32_t *ids;
    double *old_lp, *old_value, *rewards, *raw, *returns, *advantages, *lp, *value;
    const dtx_ppo_clip *clip;
    dtx_ppo_sums sums;
} minibatch;

static void minibatch_free(minibatch *b)
{
    dtx_free(b->ids);
    dtx_free(b->old_lp);
    dtx_free(b->old_value);
    dtx_free(b->rewards);
    dtx_free(b->raw);
    dtx_free(b->returns);
    dtx_free(b->advantages);
    dtx_free(b->lp);
    dtx_free(b->value);
}

/* order NULL: all rows as they stand. */
static dtx_status minibatch_make(const rollouts *r, const int64_t *order, int64_t n, minibatch *b)
{
    *b = (minibatch){.clip = &r->clip};
    DTX_TRY(DTX_NEW(b->ids, r->offset[r->n]));
    DTX_TRY(DTX_NEW(b->old_lp, r->E));
    DTX_TRY(DTX_NEW(b->old_value, r->E));
    DTX_TRY(DTX_NEW(b->rewards, r->E));
    DTX_TRY(DTX_NEW(b->raw, r->E));
    DTX_TRY(DTX_NEW(b->returns, r->E));
    DTX_TRY(DTX_NEW(b->advantages, r->E));
    DTX_TRY(DTX_NEW(b->lp, r->E));
    DTX_TRY(DTX_NEW(b->value, r->E));
    for (int64_t k = 0; k < n; k++) {
        const int64_t i = order != NULL ? order[k] : k, ids = r->offset[i + 1] - r->offset[i], e = r->entry[i + 1] - r->entry[i];
        memcpy(b->ids + b->offset[k], r->ids + r->offset[i], (size_t)ids * sizeof *b->ids);
        memcpy(b->old_lp + b->entry[k], r->lp + r->entry[i], (size_t)e * sizeof(double));
        memcpy(b->old_value + b->entry[k], r->value + r->entry[i], (size_t)e * sizeof(double));
        memcpy(b->rewards + b->entry[k], r->rewards + r->entry[i], (size_t)e * sizeof(double));
        b->offset[k + 1] = b->offset[k] + ids;
        b->entry[k + 1] = b->entry[k] + e;
        b->query[k] = r->query[i];
    }
    b->E = b->entry[n];
    b->rows = (dtx_policy_rows){.n = n, .offset = b->offset, .query = b->query, .ids = b->ids};
    dtx_ppo_advantages(n, b->entry, b->rewards, b->old_value, r->gamma, r->lambda, b->raw, b->returns);
    dtx_ppo_whiten(b->E, b->raw, b->advantages);
    return DTX_OK;
}

static void update_loss(void *user, int64_t first, int64_t n, const double *lp, const double *value, const double *entropy,
                        double *d_lp, double *d_value)
{
    minibatch *b = user;

    memcpy(b->lp + first, lp, (size_t)n * sizeof *lp);
    memcpy(b->value + first, value, (size_t)n * sizeof *value);
    dtx_ppo_loss(b->clip, n, b->old_lp + first, b->old_value + first, b->advantages + first, b->returns + first, lp, value,
                 entropy, 1 / (double)b->E, &b->sums, d_lp, d_value);
}

/* Gradient of the mini-batch's total loss at p, added to g. */
static dtx_status gradient(const dtx_verify *v, minibatch *b, const policy *p, policy *g)
{
    dtx_tape *tape = NULL;
    dtx_status st;

    memset(&b->sums, 0, sizeof b->sums);
    DTX_TRY(dtx_tape_new(v->model, false, &tape));
    st = dtx_policy_gradient(v->model, p->adapter, tape, p->head, &b->rows, update_loss, b, g->adapter, g->head);
    dtx_tape_del(tape);
    return st;
}

enum { N_SCALARS = 14 };
static const char *const scalar_name[N_SCALARS] = {
    "policy_loss", "value_loss", "total", "entropy", "approxkl", "policykl", "pg_clipfrac", "vf_clipfrac", "vpred", "error",
    "return_mean", "return_var", "value_mean", "value_var"};

static void scalars(const minibatch *b, double out[N_SCALARS])
{
    const dtx_ppo_sums *s = &b->sums;
    const double E = (double)b->E;
    const double mean[] = {s->policy / E, s->value / E, (s->policy + b->clip->vf_coef * s->value) / E, s->entropy / E,
                           s->approxkl / E, s->policykl / E, s->clipfrac / E, s->val_clipfrac / E, s->vpred / E, s->error / E};

    memcpy(out, mean, sizeof mean);
    dtx_mean_var(b->E, b->returns, &out[10], &out[11]);
    dtx_mean_var(b->E, b->old_value, &out[12], &out[13]);
}

/* --- the parts of the file --- */

static dtx_status check_rollout(dtx_verify *v, rollouts *r, const policy *p)
{
    const dtx_policy_rows rows = {.n = r->n, .offset = r->offset, .query = r->query, .ids = r->ids};
    double total = 0, *penalty = r->rewards, zero[MAX_ROWS] = {0};

    DTX_TRY(dtx_policy_compare(v->model, p->adapter, NULL, p->head, &rows,
                               &(dtx_policy_view){.lp = r->lp, .ref_lp = r->ref_lp, .value = r->value}));
    DTX_TRY(compare_entries(v, r, "logprobs", r->lp));
    DTX_TRY(compare_entries(v, r, "ref_logprobs", r->ref_lp));
    DTX_TRY(compare_entries(v, r, "values", r->value));
    dtx_kl_estimate(DTX_KL_K1, r->E, r->lp, r->ref_lp, NULL, r->kl);
    dtx_ppo_rewards(r->n, r->entry, r->kl, r->kl_coef, zero, penalty);
    DTX_TRY(compare_entries(v, r, "kl_penalty", penalty));
    dtx_ppo_rewards(r->n, r->entry, r->kl, r->kl_coef, r->score, r->rewards);
    DTX_TRY(compare_entries(v, r, "rewards", r->rewards));
    for (int64_t j = 0; j < r->E; j++) {
        total += r->kl[j];
    }
    const double kl = total / (double)r->n;
    DTX_TRY(compare_scalar(v, "objective_kl", kl));
    return compare_scalar(v, "kl_coef_after", dtx_kl_control(r->kl_coef, kl, r->target, r->horizon, r->n));
}

static dtx_status check_update(dtx_verify *v, const rollouts *r, const char *prefix, const policy *p)
{
    dtx_status st;
    minibatch b = {0};
    policy g = {0};
    double got[N_SCALARS], *ratio = NULL;
    char name[64];

    DTX_GO(minibatch_make(r, NULL, r->n, &b));
    DTX_GO(policy_like(p, &g));
    DTX_GO(gradient(v, &b, p, &g));
    DTX_GO(DTX_NEW(ratio, b.E));
    for (int64_t j = 0; j < b.E; j++) {
        ratio[j] = exp(b.lp[j] - b.old_lp[j]);
    }
    const struct {
        const char *name;
        const double *x;
    } list[] = {{"new_logprobs", b.lp}, {"new_values", b.value}, {"ratio", ratio}, {"raw_advantages", b.raw},
                {"returns", b.returns}, {"advantages", b.advantages}};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        snprintf(name, sizeof name, "%s.%s", prefix, list[i].name);
        DTX_GO(compare_entries(v, r, name, list[i].x));
    }
    scalars(&b, got);
    for (int i = 0; i < N_SCALARS; i++) {
        snprintf(name, sizeof name, "%s.%s", prefix, scalar_name[i]);
        DTX_GO(compare_scalar(v, name, got[i]));
    }
    snprintf(name, sizeof name, "%s.grad", prefix);
    DTX_GO(compare_policy(v, name, "grad", 0, &g, true));
done:
    dtx_free(ratio);
    policy_free(&g);
    minibatch_free(&b);
    return st;
}

typedef struct {
    policy p, g, m, s;
    int64_t t;
    double lr;
} optimizer;

static dtx_status optimizer_init(const policy *p, double lr, optimizer *o)
{
    *o = (optimizer){.lr = lr};
    DTX_TRY(policy_like(p, &o->p));
    DTX_TRY(policy_like(p, &o->g));
    DTX_TRY(policy_like(p, &o->m));
    DTX_TRY(policy_like(p, &o->s));
    policy_copy(p, &o->p);
    return DTX_OK;
}

static void optimizer_free(optimizer *o)
{
    policy_free(&o->p);
    policy_free(&o->g);
    policy_free(&o->m);
    policy_free(&o->s);
}

static void optimizer_step(optimizer *o)
{
    const dtx_adamw adam = {0.9, 0.999, 1e-8, 0};

    o->t++;
    dtx_adamw_step(&adam, o->t, o->lr, o->p.adapter->n_params, o->p.adapter->arena, o->g.adapter->arena, o->m.adapter->arena,
                   o->s.adapter->arena, NULL, 0);
    dtx_adamw_step(&adam, o->t, o->lr, o->p.d + 1, o->p.head, o->g.head, o->m.head, o->s.head, NULL, 0);
    policy_scale(&o->g, 0);
}

/* Four epochs of all rows as one mini-batch, with every epoch's statistics. */
static dtx_status check_epochs(dtx_verify *v, const rollouts *r, const cJSON *json, const policy *p)
{
    dtx_status st;
    minibatch b = {0};
    optimizer o = {0};
    const cJSON *log = dtx_json_get(json, "epochs_log"), *row;
    dtx_quantity q[N_SCALARS];
    char label[N_SCALARS][64], entry[64];
    double got[N_SCALARS];

    for (int i = 0; i < N_SCALARS; i++) {
        snprintf(label[i], sizeof label[i], "epochs_log.%s", scalar_name[i]);
        snprintf(entry, sizeof entry, "perturbed.%s", scalar_name[i]); /* the file has no entry for the log */
        q[i] = dtx_verify_begin(v, label[i], entry);
    }
    DTX_GO(minibatch_make(r, NULL, r->n, &b));
    DTX_GO(optimizer_init(p, dtx_verify_json_number(json, "optimizer.lr"), &o));
    cJSON_ArrayForEach(row, log)
    {
        DTX_GO(gradient(v, &b, &o.p, &o.g));
        scalars(&b, got);
        for (int i = 0; i < N_SCALARS; i++) {
            dtx_verify_values(&q[i], label[i], 1, &got[i], &(double){dtx_verify_json_number(row, scalar_name[i])});
        }
        optimizer_step(&o);
    }
    for (int i = 0; i < N_SCALARS; i++) {
        dtx_verify_end(v, &q[i]);
    }
    /* where a gradient is nearly zero, Adam's first steps take its rounding for its sign */
    DTX_GO(compare_policy(v, "epochs4", "epochs4", o.lr * (double)o.t, &o.p, true));
done:
    optimizer_free(&o);
    minibatch_free(&b);
    return st;
}

/* Epochs of mini-batches in the file's orders. none: each steps; half: of every two the second alone, its loss halved; sum:
 * the two halved gradients added. */
static dtx_status check_minibatches(dtx_verify *v, const rollouts *r, const cJSON *json, const policy *p, const char *mode)
{
    dtx_status st;
    optimizer o = {0};
    minibatch b = {0};
    const cJSON *epoch, *rows;
    const bool none = strcmp(mode, "none") == 0, half = strcmp(mode, "half") == 0;
    char label[64];
    int64_t order[MAX_ROWS];

    snprintf(label, sizeof label, "minibatch.%s", mode);
    DTX_GO(optimizer_init(p, dtx_verify_json_number(json, "optimizer.lr"), &o));
    cJSON_ArrayForEach(epoch, dtx_json_get(json, "minibatch.orders"))
    {
        int64_t k = 0;
        cJSON_ArrayForEach(rows, epoch)
        {
            const int64_t n = cJSON_GetArraySize(rows);
            for (int64_t i = 0; i < n && n <= r->n; i++) {
                order[i] = (int64_t)cJSON_GetNumberValue(cJSON_GetArrayItem(rows, (int)i));
            }
            for (int64_t i = 0; i < n; i++) {
                if (n > r->n || order[i] < 0 || order[i] >= r->n) {
                    DTX_GO(malformed(v, "minibatch.orders"));
                }
            }
            minibatch_free(&b);
            DTX_GO(minibatch_make(r, order, n, &b));
            if (half && k % 2 == 1) {
                policy_scale(&o.g, 0);
            }
            DTX_GO(gradient(v, &b, &o.p, &o.g));
            if (none || k % 2 == 1) {
                policy_scale(&o.g, none ? 1.0f : 0.5f);
                optimizer_step(&o);
            }
            k++;
        }
    }
    DTX_GO(compare_policy(v, label, "minibatch", o.lr * (double)o.t, &o.p, false));
done:
    optimizer_free(&o);
    minibatch_free(&b);
    return st;
}

static void check_controller(dtx_verify *v, const rollouts *r, const cJSON *json)
{
    const cJSON *row;
    dtx_quantity q = dtx_verify_begin(v, "kl_controller_cases", "=");

    q.tolerance = 1e-12;
    cJSON_ArrayForEach(row, dtx_json_get(json, "kl_controller_cases"))
    {
        double got = dtx_kl_control(dtx_verify_json_number(row, "coef_before"), dtx_verify_json_number(row, "kl"), r->target, r->horizon, (int64_t)dtx_verify_json_number(row, "n"));
        dtx_verify_values(&q, "case", 1, &got, &(double){dtx_verify_json_number(row, "coef_after")});
    }
    dtx_verify_end(v, &q);
}

dtx_status dtx_verify_ppo(dtx_verify *v)
{
    static const char *const modes[] = {"none", "half", "sum"};
    dtx_status st;
    rollouts r = {0};
    policy p = {0}, other = {0};
    cJSON *json = NULL;

    if (v->adapter == NULL) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s has expected/%s but no adapter/", v->dir, v->file);
    }
    const policy given = {.adapter = v->adapter, .d = dtx_model_arch(v->model)->hidden};
    DTX_GO(dtx_verify_json(v, "ppo.json", &json));
    DTX_GO(rollouts_read(v, json, &r));
    DTX_GO(policy_like(&given, &p));
    memcpy(p.adapter->arena, v->adapter->arena, (size_t)p.adapter->n_params * sizeof(float));
    DTX_GO(read_head(v, "", &p));
    DTX_GO(check_rollout(v, &r, &p));
    DTX_GO(check_update(v, &r, "same", &p));
    DTX_GO(policy_like(&given, &other));
    DTX_GO(read_perturbed(v, &other));
    DTX_GO(check_update(v, &r, "perturbed", &other));
    DTX_GO(check_epochs(v, &r, json, &p));
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        DTX_GO(check_minibatches(v, &r, json, &p, modes[i]));
    }
    check_controller(v, &r, json);
    int32_t *mask;
    int64_t n;
    DTX_GO(dtx_verify_ids(v, "response_mask", &mask, &n, NULL));
    bool agrees = n == r.n * r.width;
    for (int64_t i = 0; agrees && i < n; i++) {
        const int64_t row = i / r.width, j = i % r.width - r.column[row];
        agrees = (mask[i] != 0) == (j >= 0 && j < r.entry[row + 1] - r.entry[row]);
    }
    dtx_free(mask);
    dtx_verify_number(v, "response_mask", "=", agrees, 1);
done:
    cJSON_Delete(json);
    policy_free(&other);
    policy_free(&p);
    rollouts_free(&r);
    return st;
}
