/* train.c - operations, time and memory of the trainings with real samples or pairs (finetune, dpo) and of training from
 * scratch. */
#include <math.h>
#include <string.h>

#include "jobs/plan/plan.h"
#include "jobs/shared/units.h"
#include "src/base/mem.h"

enum { EVAL_WINDOWS = 64 }; /* of an evaluation of pretrain */

/* How a step is cut, and what both trainings have settings for. */
typedef struct {
    bool pairs;              /* dpo: a sample is a pair of sequences */
    int64_t batch, accumulate, epochs, eval_every, parts, leaves;
    double holdout, dropout;
    bool recompute;
} cut;

static cut cut_of(const dtx_plan *p)
{
    const dtx_config *c = p->c;
    cut s = {.pairs = dtx_plan_is(p, "dpo")};

    if (s.pairs) {
        s.batch = c->dpo.batch;
        s.accumulate = 1;
        s.epochs = c->dpo.epochs;
        s.eval_every = c->dpo.eval_every;
        s.holdout = c->dpo.holdout;
        s.recompute = c->dpo.checkpoint_layers;
        s.leaves = s.batch < DTX_TRAINING_LEAVES ? s.batch : DTX_TRAINING_LEAVES;
        s.parts = s.leaves;
        return s;
    }
    s.batch = c->finetune.batch;
    s.accumulate = c->finetune.accumulate;
    s.epochs = c->finetune.epochs;
    s.eval_every = c->finetune.eval_every;
    s.holdout = c->finetune.holdout;
    s.dropout = c->lora.dropout;
    s.recompute = c->finetune.checkpoint_layers;
    s.parts = DTX_TRAINING_LEAVES / s.accumulate;
    s.parts = s.parts < 1 ? 1 : s.parts > s.batch ? s.batch : s.parts;
    const int64_t units = s.accumulate * s.parts;
    s.leaves = units < DTX_TRAINING_LEAVES ? units : DTX_TRAINING_LEAVES;
    return s;
}

static void add_sample(const dtx_plan *p, int64_t sample, dtx_cost_work *w)
{
    for (int64_t k = sample * p->rows; k < (sample + 1) * p->rows; k++) {
        dtx_cost_add(&p->arch, w, p->len[k], p->labels[k]);
    }
}

/* Training passes over w; a pair is looked at first by the policy and by the reference. */
static dtx_plan_work train_work(const dtx_plan *p, const cut *s, const dtx_cost_work *w, double passes)
{
    dtx_plan_work all = dtx_plan_of_training(dtx_cost_lora(&p->arch, p->adapter, w, s->recompute));

    if (s->pairs) {
        const dtx_plan_work policy = dtx_plan_of(dtx_cost_forward(&p->arch, p->adapter, w));
        const dtx_plan_work reference = dtx_plan_of(dtx_cost_forward(&p->arch, NULL, w));
        dtx_plan_work_add(&all, 1, &policy);
        dtx_plan_work_add(&all, 1, &reference);
    }
    all.read = passes * (2 + s->recompute + 2 * s->pairs) * dtx_cost_read_bytes(&p->arch, p->element);
    return all;
}

/* What a step moves besides: AdamW reads and writes parameters, gradients and two moments; the gradient of a shard is
 * cleared, added to and summed. */
static double step_bytes(double n_params)
{
    return 28 * n_params;
}

static double shard_bytes(double n_params)
{
    return 24 * n_params;
}

/* Work of one step by rank, of `total` ranks; passes: units that are not empty. */
static dtx_status step_work(dtx_plan *p, const cut *s, int64_t step, int64_t total, dtx_cost_work *of_rank, double *passes)
{
    const int64_t units = s->accumulate * s->parts;
    int64_t *sample = NULL, leaf = 0, rank = 0, n, first;

    DTX_TRY(DTX_NEW(sample, s->batch));
    memset(of_rank, 0, (size_t)total * sizeof *of_rank);
    memset(passes, 0, (size_t)total * sizeof *passes);
    for (int64_t u = 0; u < units; u++) {
        int64_t count = dtx_sample_order_unit(&p->order, step, s->parts, u, sample, &n, &first);
        while (units * (leaf + 1) / s->leaves <= u) {
            leaf++;
        }
        while (s->leaves * (rank + 1) / total <= leaf) {
            rank++;
        }
        for (int64_t i = first; i < first + count; i++) {
            add_sample(p, sample[i], &of_rank[rank]);
        }
        passes[rank] += (double)(s->pairs ? count : count > 0); /* pairs run one by one */
    }
    dtx_free(sample);
    return DTX_OK;
}

/* --- finetune, dpo --- */

static dtx_status sample_count(dtx_plan *p)
{
    const cut s = cut_of(p);
    dtx_cost_work eval = {0};
    double passes;

    DTX_TRY(DTX_NEW(p->offset, p->n + 1));
    for (int64_t i = 0; i < p->n; i++) {
        p->offset[i + 1] = p->offset[i];
        for (int64_t k = i * p->rows; k < (i + 1) * p->rows; k++) {
            p->offset[i + 1] += p->len[k];
        }
    }
    DTX_TRY(dtx_plan_adapter(p));
    DTX_TRY(dtx_sample_order_init(&p->order, p->n, s.holdout, s.batch, s.accumulate, s.epochs, (uint64_t)p->c->seed));
    const double n_params = (double)p->adapter->n_params;
    p->steps = p->order.n_steps;
    p->units = (double)s.leaves;
    for (int64_t k = p->first_step; k < p->steps; k++) {
        dtx_cost_work w;
        DTX_TRY(step_work(p, &s, k, 1, &w, &passes));
        const dtx_plan_work step = train_work(p, &s, &w, passes);
        dtx_plan_work_add(&p->work, 1, &step);
    }
    for (int64_t i = 0; i < p->order.n_held; i++) {
        add_sample(p, p->order.held[i], &eval);
    }
    const double evals = ceil((double)p->steps / (double)s.eval_every) - floor((double)p->first_step / (double)s.eval_every);
    dtx_plan_work held = dtx_plan_of(dtx_cost_forward(&p->arch, p->adapter, &eval));
    if (s.pairs) {
        const dtx_plan_work reference = dtx_plan_of(dtx_cost_forward(&p->arch, NULL, &eval));
        dtx_plan_work_add(&held, 1, &reference);
    }
    held.read = (double)p->order.n_held * (double)(1 + s.pairs) * dtx_cost_read_bytes(&p->arch, p->element);
    dtx_plan_work_add(&p->work, evals, &held);
    p->work.sweep = (double)(p->steps - p->first_step) * step_bytes(n_params);
    dtx_plan_add(&p->files, "adapter", 4 * n_params, "RUN/adapters/V");
    dtx_plan_add(&p->files, "checkpoint", 12 * n_params, "RUN/checkpoints, removed at the end");
    dtx_plan_add(&p->files, "run.h5", (s.pairs ? 60 : 28) * (double)p->steps + 65536, "curves");
    return DTX_OK;
}

/* Every step waits for its slowest rank, and every rank takes the optimizer's step. */
static dtx_status sample_time(dtx_plan *p, int ranks)
{
    const int64_t total = (int64_t)ranks * p->nodes;
    const cut s = cut_of(p);
    const double n_params = (double)p->adapter->n_params, shards = (double)((s.leaves + total - 1) / total);
    dtx_plan_work trained = {0}, rest = {0};
    dtx_cost_work *w = NULL;
    double *passes = NULL, all = 0, slowest = 0;
    dtx_status st;

    DTX_GO(DTX_NEW(w, total));
    DTX_GO(DTX_NEW(passes, total));
    for (int64_t k = p->first_step; k < p->steps; k++) {
        double longest = 0;
        DTX_GO(step_work(p, &s, k, total, w, passes));
        for (int64_t r = 0; r < total; r++) {
            const dtx_plan_work mine = train_work(p, &s, &w[r], passes[r]);
            double t = dtx_plan_seconds(p, &mine, ranks);
            all += t;
            dtx_plan_work_add(&trained, 1, &mine);
            longest = t > longest ? t : longest;
        }
        slowest += longest;
    }
    p->balance = slowest > 0 ? all / ((double)total * slowest) : 1;
    rest = p->work;
    rest.sweep = 0;
    dtx_plan_work_add(&rest, -1, &trained);
    const dtx_plan_work sweep = {.sweep = p->work.sweep + (double)(p->steps - p->first_step) * shards * shard_bytes(n_params)};
    p->seconds = slowest + dtx_plan_seconds(p, &rest, ranks) / (double)total + dtx_plan_seconds(p, &sweep, ranks);
done:
    dtx_free(passes);
    dtx_free(w);
    return st;
}

static dtx_status sample_memory(dtx_plan *p, int ranks)
{
    const cut s = cut_of(p);
    const double vector = 4 * (double)p->adapter->n_params;
    int64_t *len = NULL, n = 2, longest = 0, pair[2];

    int64_t sums = dtx_cost_reduce_vectors(s.leaves, (int64_t)ranks * p->nodes, p->c->reduce == DTX_SET_REDUCE_STRICT);
    dtx_plan_add(&p->rank, "adapter", vector, "parameters, f32");
    dtx_plan_add(&p->rank, "gradients", 2 * vector, "of a shard, of the step");
    dtx_plan_add(&p->rank, "optimizer", 2 * vector, "AdamW's two moments");
    dtx_plan_add(&p->rank, "sums", (double)sums * vector, "partial sums over shards");
    if (s.pairs) {
        for (int64_t i = 1; i < p->n; i++) {
            longest = p->offset[i + 1] - p->offset[i] > p->offset[longest + 1] - p->offset[longest] ? i : longest;
        }
        pair[0] = p->len[2 * longest];
        pair[1] = p->len[2 * longest + 1];
    } else {
        DTX_TRY(DTX_NEW(len, s.batch));
        DTX_TRY(dtx_sample_order_longest(&p->order, s.parts, 0, s.accumulate * s.parts, p->offset, len, &n));
    }
    dtx_plan_add(&p->rank, "activations", dtx_cost_train_bytes(&p->arch, p->adapter, n, s.pairs ? pair : len, s.dropout > 0, s.recompute),
                 s.recompute ? "longest unit, layers recomputed" : "longest unit; checkpoint_layers = true needs less");
    dtx_plan_add(&p->rank, "samples", (s.pairs ? 4 : 8) * (double)p->offset[p->n], "ids and labels");
    dtx_free(len);
    return DTX_OK;
}

/* --- training from scratch --- */

static int64_t pretrain_leaves(const dtx_config *c)
{
    return c->pretrain.batch < DTX_TRAINING_LEAVES ? c->pretrain.batch : DTX_TRAINING_LEAVES;
}

static dtx_status pretrain_count(dtx_plan *p)
{
    const dtx_config *c = p->c;
    const double steps = (double)(c->pretrain.steps - p->first_step), evals = ceil(steps / (double)c->pretrain.eval_every);
    dtx_cost_work w = {0};
    int64_t n = 0;

    DTX_TRY(dtx_arch_count(&p->arch, &n));
    dtx_cost_add(&p->arch, &w, c->pretrain.context, p->arch.causal ? c->pretrain.context : 0);
    p->steps = c->pretrain.steps;
    p->units = (double)pretrain_leaves(c);
    const dtx_plan_work window = dtx_plan_of(dtx_cost_full(&p->arch, &w)), held = dtx_plan_of(dtx_cost_forward(&p->arch, NULL, &w));
    dtx_plan_work_add(&p->work, steps * (double)c->pretrain.batch, &window);
    dtx_plan_work_add(&p->work, evals * EVAL_WINDOWS, &held);
    p->work.read = steps * p->units * 3 * dtx_cost_read_bytes(&p->arch, 4);
    p->work.sweep = steps * step_bytes((double)n);
    dtx_plan_add(&p->files, "model", 4 * (double)n, "model.path");
    dtx_plan_add(&p->files, "checkpoint", 12 * (double)n, "RUN/checkpoints, removed at the end");
    dtx_plan_add(&p->files, "run.h5", 28 * (double)p->steps + 65536, "curves");
    return DTX_OK;
}

static dtx_status pretrain_memory(dtx_plan *p, int ranks)
{
    const dtx_config *c = p->c;
    const int64_t leaves = pretrain_leaves(c), windows = (c->pretrain.batch + leaves - 1) / leaves;
    const double vector = dtx_cost_weight_bytes(&p->arch, 4);
    int64_t *len = NULL;
    int64_t sums = dtx_cost_reduce_vectors(leaves, (int64_t)ranks * p->nodes, c->reduce == DTX_SET_REDUCE_STRICT);

    DTX_TRY(DTX_NEW(len, windows));
    for (int64_t i = 0; i < windows; i++) {
        len[i] = c->pretrain.context;
    }
    dtx_plan_add(&p->rank, "weights", vector, "f32, of each rank");
    dtx_plan_add(&p->rank, "average", c->pretrain.average > 0 ? vector : 0, "of the weights");
    dtx_plan_add(&p->rank, "gradients", vector, "of the step");
    dtx_plan_add(&p->rank, "optimizer", 2 * vector, "AdamW's two moments");
    dtx_plan_add(&p->rank, "sums", (double)sums * vector, "partial sums over shards");
    dtx_plan_add(&p->rank, "activations", dtx_cost_train_bytes(&p->arch, NULL, windows, len, false, false), "one shard");
    dtx_free(len);
    return DTX_OK;
}

/* --- all three --- */

dtx_status dtx_plan_train_count(dtx_plan *p)
{
    return dtx_plan_is(p, "pretrain") ? pretrain_count(p) : sample_count(p);
}

dtx_status dtx_plan_train_time(dtx_plan *p, int ranks)
{
    if (!dtx_plan_is(p, "pretrain")) {
        return sample_time(p, ranks);
    }
    const double total = (double)ranks * p->nodes;
    dtx_plan_work mine = {0};
    p->balance = p->units / (ceil(p->units / total) * total);
    dtx_plan_work_add(&mine, 1 / (total * p->balance), &p->work);
    mine.sweep = p->work.sweep;
    p->seconds = dtx_plan_seconds(p, &mine, ranks);
    return DTX_OK;
}

dtx_status dtx_plan_train_memory(dtx_plan *p, int ranks)
{
    return dtx_plan_is(p, "pretrain") ? pretrain_memory(p, ranks) : sample_memory(p, ranks);
}
