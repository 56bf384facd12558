/* plan_jobs.c - operations, memory, time and files of each job that can be planned. */
#include <math.h>
#include <string.h>

#include "jobs/plan.h"
#include "jobs/training.h"
#include "src/mem.h"

enum { EVAL_WINDOWS = 64 }; /* of an evaluation of pretrain */

static bool is(const dtx_plan *p, const char *name)
{
    return strcmp(p->name, name) == 0;
}

void dtx_plan_add(dtx_plan_table *t, const char *name, double value, const char *note)
{
    if (t->n < DTX_PLAN_LINES && value > 0) {
        t->line[t->n++] = (dtx_plan_line){name, value, note};
    }
}

double dtx_plan_sum(const dtx_plan_table *t)
{
    double sum = 0;

    for (int i = 0; i < t->n; i++) {
        sum += t->line[i].value;
    }
    return sum;
}

/* Seconds of a rank for a piece of work: the slower of arithmetic and of reading the weights. */
static double seconds_of(const dtx_plan *p, double work, double decode, double read, int ranks)
{
    /* threads beyond 16 cross memory domains: 15 % are lost at each doubling (assumed) */
    double threads = (double)p->cores / ranks, kept = threads > 16 ? pow(0.85, log2(threads / 16)) : 1;
    double compute = (work / p->rate.large + decode / p->rate.decode) / (threads * kept);
    double memory = p->rate.bandwidth > 0 ? read * ranks / p->rate.bandwidth : 0;

    return compute > memory ? compute : memory;
}

/* --- fine-tuning: the real samples of each shard of each step --- */

typedef struct {
    int64_t parts, leaves;
} shards;

static shards finetune_shards(const dtx_config *c)
{
    shards s;

    s.parts = DTX_TRAINING_LEAVES / c->finetune.accumulate;
    s.parts = s.parts < 1 ? 1 : s.parts > c->finetune.batch ? c->finetune.batch : s.parts;
    int64_t units = c->finetune.accumulate * s.parts;
    s.leaves = units < DTX_TRAINING_LEAVES ? units : DTX_TRAINING_LEAVES;
    return s;
}

static double finetune_flops(const dtx_plan *p, const dtx_cost_work *w)
{
    return dtx_flops_total(dtx_cost_lora(&p->arch, p->adapter, w, p->c->finetune.checkpoint_layers));
}

/* Work of one step by rank, of `total` ranks; passes: units that are not empty. */
static dtx_status finetune_step(dtx_plan *p, int64_t step, int64_t total, dtx_cost_work *of_rank, double *passes)
{
    const dtx_config *c = p->c;
    const shards s = finetune_shards(c);
    const int64_t units = c->finetune.accumulate * s.parts;
    int64_t *sample = NULL, leaf = 0, rank = 0, n, first;

    DTX_TRY(DTX_NEW(sample, c->finetune.batch));
    memset(of_rank, 0, (size_t)total * sizeof *of_rank);
    memset(passes, 0, (size_t)total * sizeof *passes);
    for (int64_t u = 0; u < units; u++) {
        int64_t count = dtx_sample_order_unit(&p->order, step, s.parts, u, sample, &n, &first);
        while (units * (leaf + 1) / s.leaves <= u) {
            leaf++;
        }
        while (s.leaves * (rank + 1) / total <= leaf) {
            rank++;
        }
        for (int64_t i = first; i < first + count; i++) {
            dtx_cost_add(&p->arch, &of_rank[rank], p->offset[sample[i] + 1] - p->offset[sample[i]], p->labels[sample[i]]);
        }
        passes[rank] += count > 0;
    }
    dtx_free(sample);
    return DTX_OK;
}

static dtx_status finetune_count(dtx_plan *p)
{
    const dtx_config *c = p->c;
    const char *targets[DTX_LIST_MAX];
    dtx_cost_work eval = {0};
    double passes;

    DTX_TRY(DTX_NEW(p->offset, p->n + 1));
    for (int64_t i = 0; i < p->n; i++) {
        p->offset[i + 1] = p->offset[i] + p->len[i];
    }
    for (int64_t i = 0; i < c->lora.target_modules.n; i++) {
        targets[i] = c->lora.target_modules.entry[i];
    }
    DTX_TRY(dtx_adapter_alloc(&p->arch, c->lora.r, c->lora.alpha, c->lora.dropout, targets, (int)c->lora.target_modules.n,
                              &p->adapter));
    DTX_TRY(dtx_sample_order_init(&p->order, p->n, c->finetune.holdout, c->finetune.batch, c->finetune.accumulate,
                                  c->finetune.epochs, (uint64_t)c->seed));
    p->steps = p->order.n_steps;
    p->units = (double)finetune_shards(c).leaves;
    for (int64_t k = 0; k < p->steps; k++) {
        dtx_cost_work w;
        DTX_TRY(finetune_step(p, k, 1, &w, &passes));
        p->work += finetune_flops(p, &w);
        p->read += passes * (2 + c->finetune.checkpoint_layers) * dtx_cost_read_bytes(&p->arch, p->element);
    }
    for (int64_t i = 0; i < p->order.n_held; i++) {
        const int64_t held = p->order.held[i];
        dtx_cost_add(&p->arch, &eval, p->offset[held + 1] - p->offset[held], p->labels[held]);
    }
    double evals = ceil((double)p->steps / (double)c->finetune.eval_every);
    p->work += evals * dtx_flops_total(dtx_cost_forward(&p->arch, p->adapter, &eval));
    dtx_plan_add(&p->files, "adapter", 4 * (double)p->adapter->n_params, "RUN/adapters/V");
    dtx_plan_add(&p->files, "checkpoint", 12 * (double)p->adapter->n_params, "RUN/checkpoints, removed at the end");
    dtx_plan_add(&p->files, "run.h5", 28 * (double)p->steps + 65536, "curves");
    return DTX_OK;
}

/* Every step waits for its slowest rank. */
static dtx_status finetune_time(dtx_plan *p, int ranks)
{
    const int64_t total = (int64_t)ranks * p->nodes;
    const double read = (2 + p->c->finetune.checkpoint_layers) * dtx_cost_read_bytes(&p->arch, p->element);
    dtx_cost_work *w = NULL;
    double *passes = NULL, all = 0, slowest = 0, trained = 0;
    dtx_status st;

    DTX_GO(DTX_NEW(w, total));
    DTX_GO(DTX_NEW(passes, total));
    for (int64_t k = 0; k < p->steps; k++) {
        double longest = 0;
        DTX_GO(finetune_step(p, k, total, w, passes));
        for (int64_t r = 0; r < total; r++) {
            double flops = finetune_flops(p, &w[r]), t = seconds_of(p, flops, 0, passes[r] * read, ranks);
            all += t;
            trained += flops;
            longest = t > longest ? t : longest;
        }
        slowest += longest;
    }
    p->balance = slowest > 0 ? all / ((double)total * slowest) : 1;
    p->seconds = slowest + seconds_of(p, p->work - trained, 0, 0, ranks) / (double)total;
done:
    dtx_free(passes);
    dtx_free(w);
    return st;
}

static dtx_status finetune_memory(dtx_plan *p, int ranks)
{
    const dtx_config *c = p->c;
    const double vector = 4 * (double)p->adapter->n_params;
    const shards cut = finetune_shards(c);
    int64_t *len = NULL, n;

    DTX_TRY(DTX_NEW(len, c->finetune.batch));
    DTX_TRY(dtx_sample_order_longest(&p->order, cut.parts, 0, c->finetune.accumulate * cut.parts, p->offset, len, &n));
    int64_t sums = dtx_cost_reduce_vectors(cut.leaves, (int64_t)ranks * p->nodes, strcmp(c->reduce, "strict") == 0);
    dtx_plan_add(&p->rank, "adapter", vector, "parameters, f32");
    dtx_plan_add(&p->rank, "gradients", 2 * vector, "of a shard, of the step");
    dtx_plan_add(&p->rank, "optimizer", 2 * vector, "AdamW's two moments");
    dtx_plan_add(&p->rank, "sums", (double)sums * vector, "partial sums over shards");
    dtx_plan_add(&p->rank, "activations",
                 dtx_cost_train_bytes(&p->arch, p->adapter, n, len, c->lora.dropout > 0,
                                      c->finetune.checkpoint_layers),
                 c->finetune.checkpoint_layers ? "longest unit, layers recomputed"
                                               : "longest unit; finetune.checkpoint_layers = true needs less");
    dtx_plan_add(&p->rank, "samples", 8 * (double)p->offset[p->n], "ids and labels");
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
    const double steps = (double)c->pretrain.steps, evals = ceil(steps / (double)c->pretrain.eval_every);
    dtx_cost_work w = {0};
    int64_t n = 0;

    DTX_TRY(dtx_arch_count(&p->arch, &n));
    dtx_cost_add(&p->arch, &w, c->pretrain.context, c->pretrain.context);
    p->steps = c->pretrain.steps;
    p->units = (double)pretrain_leaves(c);
    p->work = steps * (double)c->pretrain.batch * dtx_flops_total(dtx_cost_full(&p->arch, &w))
              + evals * EVAL_WINDOWS * dtx_flops_total(dtx_cost_forward(&p->arch, NULL, &w));
    p->read = steps * p->units * 3 * dtx_cost_read_bytes(&p->arch, 4);
    dtx_plan_add(&p->files, "model", 4 * (double)n, "model.path");
    dtx_plan_add(&p->files, "checkpoint", 12 * (double)n, "RUN/checkpoints, removed at the end");
    dtx_plan_add(&p->files, "run.h5", 28 * steps + 65536, "curves");
    return DTX_OK;
}

static dtx_status pretrain_memory(dtx_plan *p, int ranks)
{
    const dtx_config *c = p->c;
    const int64_t leaves = pretrain_leaves(c), windows = (c->pretrain.batch + leaves - 1) / leaves;
    const double vector = dtx_cost_weight_bytes(&p->arch, 4);
    int64_t *len = NULL;
    int64_t sums = dtx_cost_reduce_vectors(leaves, (int64_t)ranks * p->nodes, strcmp(c->reduce, "strict") == 0);

    DTX_TRY(DTX_NEW(len, windows));
    for (int64_t i = 0; i < windows; i++) {
        len[i] = c->pretrain.context;
    }
    dtx_plan_add(&p->rank, "weights", vector, "f32, of each rank");
    dtx_plan_add(&p->rank, "gradients", vector, "of the step");
    dtx_plan_add(&p->rank, "optimizer", 2 * vector, "AdamW's two moments");
    dtx_plan_add(&p->rank, "sums", (double)sums * vector, "partial sums over shards");
    dtx_plan_add(&p->rank, "activations", dtx_cost_train_bytes(&p->arch, NULL, windows, len, false, false), "one shard");
    dtx_free(len);
    return DTX_OK;
}

/* --- generation and attribution: one row is a text's prompt and completion --- */

static int64_t longest_prompt(const dtx_plan *p)
{
    int64_t longest = 1;

    for (int64_t i = 0; i < p->n; i++) {
        longest = p->len[i] > longest ? p->len[i] : longest;
    }
    return longest;
}

static dtx_status generate_count(dtx_plan *p)
{
    const dtx_config *c = p->c;
    const double samples = (double)c->generate.samples, width = (double)c->generate.max_new_tokens;
    const double rows = (double)p->n * samples, batch = (double)c->generate.batch;
    const bool adapted = strcmp(p->job->variant, "IT") != 0;
    double tokens = 0;

    for (int64_t i = 0; i < p->n; i++) {
        double all = dtx_flops_total(dtx_cost_generation(&p->arch, NULL, p->len[i], c->generate.max_new_tokens));
        double prompt = dtx_flops_total(dtx_cost_generation(&p->arch, NULL, p->len[i], 1));
        p->work += samples * prompt;
        p->decode += samples * (all - prompt);
        tokens += samples * (double)p->len[i];
        if (adapted) { /* and a pass over the whole text for base_logprob */
            dtx_cost_work w = {0};
            dtx_cost_add(&p->arch, &w, p->len[i] + c->generate.max_new_tokens, c->generate.max_new_tokens);
            p->work += samples * dtx_flops_total(dtx_cost_forward(&p->arch, NULL, &w));
        }
    }
    p->units = ceil(rows / batch);
    p->read = rows * (width + adapted) / (batch < rows ? batch : rows) * dtx_cost_read_bytes(&p->arch, p->element);
    dtx_plan_add(&p->files, "run.h5", rows * ((adapted ? 20 : 16) * width + 21) + 4 * tokens + 4.3 * tokens + 65536, "completions and texts");
    return DTX_OK;
}

static dtx_status attribute_count(dtx_plan *p)
{
    const dtx_config *c = p->c;
    const int64_t G = c->generate.max_new_tokens;
    const bool ig = strcmp(c->attribute.method, "integrated_gradients") == 0;
    const double samples = (double)c->generate.samples, width = (double)G, rows = (double)p->n * samples;
    double values = 0;

    for (int64_t i = 0; i < p->n; i++) {
        p->work += samples * dtx_flops_total(dtx_cost_attribution(&p->arch, NULL, p->len[i], G, ig ? c->attribute.steps : 1));
        values += samples * width * (double)(p->len[i] + G);
    }
    p->units = rows;
    double columns = 9 + 12 * width + (strcmp(c->attribute.merge, "none") != 0 ? 4 + 12 * width : 0);
    dtx_plan_add(&p->files, "run.h5", 4 * values + rows * (columns + 8) + 65536, "matrices and curves, beside the completions");
    return DTX_OK;
}

static dtx_status rows_memory(dtx_plan *p)
{
    const dtx_config *c = p->c;
    const int64_t P = longest_prompt(p), G = c->generate.max_new_tokens;

    if (is(p, "generate")) {
        dtx_plan_add(&p->rank, "cache", dtx_cost_generation_bytes(&p->arch, NULL, c->generate.batch, P, G),
                     "keys and values, activations");
    } else {
        bool ig = strcmp(c->attribute.method, "integrated_gradients") == 0;
        dtx_plan_add(&p->rank, "activations",
                     dtx_cost_attribution_bytes(&p->arch, NULL, P, G, ig ? c->attribute.steps : 1,
                                                (double)c->attribute.memory_mb * 1048576),
                     "longest row; attribute.memory_mb bounds the cotangents");
    }
    return DTX_OK;
}

/* --- all --- */

dtx_status dtx_plan_count(dtx_plan *p)
{
    return is(p, "finetune") ? finetune_count(p) : is(p, "pretrain") ? pretrain_count(p)
                                               : is(p, "generate")   ? generate_count(p)
                                                                     : attribute_count(p);
}

dtx_status dtx_plan_time(dtx_plan *p, int ranks)
{
    const double total = (double)ranks * p->nodes;

    if (is(p, "finetune")) {
        return finetune_time(p, ranks);
    }
    /* equal units, the last round not full */
    p->balance = p->units > 0 ? p->units / (ceil(p->units / total) * total) : 1;
    p->seconds = seconds_of(p, p->work / total, p->decode / total, p->read / total, ranks) / p->balance;
    return DTX_OK;
}

/* Norms and biases: every rank widens a copy of its own. */
static dtx_status vector_bytes(const dtx_arch *a, double *out)
{
    dtx_param_spec *spec = NULL;
    int64_t n = 0;

    DTX_TRY(dtx_arch_params(a, &spec, &n));
    *out = 0;
    for (int64_t i = 0; i < n; i++) {
        *out += spec[i].n_dims == 1 ? 4 * (double)spec[i].shape[0] : 0;
    }
    dtx_free(spec);
    return DTX_OK;
}

dtx_status dtx_plan_memory(dtx_plan *p, int ranks)
{
    const double program = 60e6; /* program, MPI and HDF5 libraries (an estimate) */
    bool trained = is(p, "pretrain"), widened = strcmp(p->c->model.dtype, "f32") == 0;
    double vectors;

    p->rank.n = p->node.n = 0;
    DTX_TRY(vector_bytes(&p->arch, &vectors));
    dtx_plan_add(&p->rank, "program", program, "with the MPI and HDF5 libraries");
    if (!trained) {
        dtx_plan_add(&p->rank, "vectors", vectors, "norms and biases, f32");
    }
    DTX_TRY(is(p, "finetune") ? finetune_memory(p, ranks) : trained ? pretrain_memory(p, ranks) : rows_memory(p));
    double weights = dtx_cost_weight_bytes(&p->arch, p->element);
    if (!trained && widened) {
        dtx_plan_add(&p->rank, "weights", weights, "model.dtype = f32: a copy of each rank's own");
    }
    dtx_plan_add(&p->node, "ranks", ranks * dtx_plan_sum(&p->rank), "all ranks of the node");
    if (!trained && !widened) {
        dtx_plan_add(&p->node, "weights", weights, "mapped once, shared by the ranks");
    }
    return DTX_OK;
}
