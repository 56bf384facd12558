/* plan_jobs.c - operations, memory, time and files of each job that can be planned. */
#include <math.h>
#include <string.h>

#include "jobs/plan.h"
#include "jobs/stage.h"
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

double dtx_plan_flops(const dtx_plan_work *w)
{
    return w->layers + w->head + w->decode + w->decode_head;
}

void dtx_plan_work_add(dtx_plan_work *w, double times, const dtx_plan_work *more)
{
    w->layers += times * more->layers;
    w->head += times * more->head;
    w->decode += times * more->decode;
    w->decode_head += times * more->decode_head;
    w->read += times * more->read;
    w->sweep += times * more->sweep;
}

dtx_plan_work dtx_plan_of(dtx_flops f)
{
    return (dtx_plan_work){.layers = f.linear - f.head + f.attention, .head = f.head};
}

dtx_plan_work dtx_plan_of_decoding(dtx_flops f)
{
    return (dtx_plan_work){.decode = f.linear - f.head + f.attention, .decode_head = f.head};
}

/* Arithmetic and what each pass costs by itself, but never less than reading the weights takes. */
double dtx_plan_seconds(const dtx_plan *p, const dtx_plan_work *w, int ranks)
{
    const dtx_plan_rate *r = &p->rate;
    /* threads beyond 16 cross memory domains: 15 % are lost at each doubling (assumed) */
    double threads = (double)p->cores / ranks, kept = threads > 16 ? pow(0.85, log2(threads / 16)) : 1;
    double compute = w->layers / r->large + w->head / r->head + w->decode / r->decode + w->decode_head / r->decode_head;
    double fixed = w->read * r->fixed * r->threads, sweep = r->bandwidth > 0 ? w->sweep * ranks / r->bandwidth : 0;
    double memory = r->bandwidth > 0 ? w->read * ranks / r->bandwidth : 0;

    compute = (compute + fixed) / (threads * kept);
    return (compute > memory ? compute : memory) + sweep;
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

static dtx_plan_work finetune_work(const dtx_plan *p, const dtx_cost_work *w, double passes)
{
    const bool recompute = p->c->finetune.checkpoint_layers;
    dtx_plan_work all = dtx_plan_of(dtx_cost_lora(&p->arch, p->adapter, w, recompute));

    all.read = passes * (2 + recompute) * dtx_cost_read_bytes(&p->arch, p->element);
    return all;
}

/* AdamW reads and writes parameters, gradients and two moments. */
static double sweep_bytes(double n_params)
{
    return 28 * n_params;
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

dtx_status dtx_plan_adapter(dtx_plan *p)
{
    const dtx_config *c = p->c;
    const char *targets[DTX_LIST_MAX];

    for (int64_t i = 0; i < c->lora.target_modules.n; i++) {
        targets[i] = c->lora.target_modules.entry[i];
    }
    return dtx_adapter_alloc(&p->arch, c->lora.r, c->lora.alpha, c->lora.dropout, targets, (int)c->lora.target_modules.n,
                             &p->adapter);
}

static dtx_status finetune_count(dtx_plan *p)
{
    const dtx_config *c = p->c;
    dtx_cost_work eval = {0};
    double passes;

    DTX_TRY(DTX_NEW(p->offset, p->n + 1));
    for (int64_t i = 0; i < p->n; i++) {
        p->offset[i + 1] = p->offset[i] + p->len[i];
    }
    DTX_TRY(dtx_plan_adapter(p));
    DTX_TRY(dtx_sample_order_init(&p->order, p->n, c->finetune.holdout, c->finetune.batch, c->finetune.accumulate,
                                  c->finetune.epochs, (uint64_t)c->seed));
    p->steps = p->order.n_steps;
    p->units = (double)finetune_shards(c).leaves;
    for (int64_t k = 0; k < p->steps; k++) {
        dtx_cost_work w;
        DTX_TRY(finetune_step(p, k, 1, &w, &passes));
        const dtx_plan_work step = finetune_work(p, &w, passes);
        dtx_plan_work_add(&p->work, 1, &step);
    }
    for (int64_t i = 0; i < p->order.n_held; i++) {
        const int64_t held = p->order.held[i];
        dtx_cost_add(&p->arch, &eval, p->offset[held + 1] - p->offset[held], p->labels[held]);
    }
    double evals = ceil((double)p->steps / (double)c->finetune.eval_every);
    dtx_plan_work held = dtx_plan_of(dtx_cost_forward(&p->arch, p->adapter, &eval));
    held.read = (double)p->order.n_held * dtx_cost_read_bytes(&p->arch, p->element);
    dtx_plan_work_add(&p->work, evals, &held);
    p->work.sweep = (double)p->steps * sweep_bytes((double)p->adapter->n_params);
    dtx_plan_add(&p->files, "adapter", 4 * (double)p->adapter->n_params, "RUN/adapters/V");
    dtx_plan_add(&p->files, "checkpoint", 12 * (double)p->adapter->n_params, "RUN/checkpoints, removed at the end");
    dtx_plan_add(&p->files, "run.h5", 28 * (double)p->steps + 65536, "curves");
    return DTX_OK;
}

/* Every step waits for its slowest rank, and every rank takes the optimizer's step. */
static dtx_status finetune_time(dtx_plan *p, int ranks)
{
    const int64_t total = (int64_t)ranks * p->nodes;
    dtx_plan_work trained = {0}, rest = {.sweep = p->work.sweep * (double)total};
    dtx_cost_work *w = NULL;
    double *passes = NULL, all = 0, slowest = 0;
    dtx_status st;

    DTX_GO(DTX_NEW(w, total));
    DTX_GO(DTX_NEW(passes, total));
    for (int64_t k = 0; k < p->steps; k++) {
        double longest = 0;
        DTX_GO(finetune_step(p, k, total, w, passes));
        for (int64_t r = 0; r < total; r++) {
            const dtx_plan_work mine = finetune_work(p, &w[r], passes[r]);
            double t = dtx_plan_seconds(p, &mine, ranks);
            all += t;
            dtx_plan_work_add(&trained, 1, &mine);
            longest = t > longest ? t : longest;
        }
        slowest += longest;
    }
    p->balance = slowest > 0 ? all / ((double)total * slowest) : 1;
    rest.layers = p->work.layers - trained.layers;
    rest.head = p->work.head - trained.head;
    rest.read = p->work.read - trained.read;
    p->seconds = slowest + dtx_plan_seconds(p, &rest, ranks) / (double)total;
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
    const dtx_plan_work window = dtx_plan_of(dtx_cost_full(&p->arch, &w)), held = dtx_plan_of(dtx_cost_forward(&p->arch, NULL, &w));
    dtx_plan_work_add(&p->work, steps * (double)c->pretrain.batch, &window);
    dtx_plan_work_add(&p->work, evals * EVAL_WINDOWS, &held);
    p->work.read = steps * p->units * 3 * dtx_cost_read_bytes(&p->arch, 4);
    p->work.sweep = steps * sweep_bytes((double)n);
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

int64_t dtx_plan_answer(const dtx_plan *p, int64_t i)
{
    return p->answer != NULL ? p->answer[i] : p->c->generate.max_new_tokens;
}

int64_t dtx_plan_longest(const dtx_plan *p)
{
    int64_t longest = 1;

    for (int64_t i = 0; i < p->n; i++) {
        longest = p->len[i] > longest ? p->len[i] : longest;
    }
    return longest;
}

/* Streams that a unit of generation decodes side by side. */
static int64_t generate_streams(const dtx_plan *p, int ranks)
{
    int64_t rows = p->n * p->c->generate.samples, unit = dtx_stage_unit_rows(rows, p->c->generate.batch, ranks * p->nodes);

    return unit < p->c->generate.batch ? unit : p->c->generate.batch;
}

static dtx_status generate_count(dtx_plan *p)
{
    const dtx_config *c = p->c;
    const double samples = (double)c->generate.samples, width = (double)c->generate.max_new_tokens;
    const double rows = (double)p->n * samples, batch = (double)c->generate.batch;
    double tokens = 0, answers = 0;

    for (int64_t i = 0; i < p->n; i++) {
        const dtx_flops all = dtx_cost_generation(&p->arch, NULL, p->len[i], dtx_plan_answer(p, i));
        const dtx_flops prompt = dtx_cost_generation(&p->arch, NULL, p->len[i], 1);
        const dtx_plan_work first = dtx_plan_of(prompt);
        const dtx_plan_work rest = dtx_plan_of_decoding((dtx_flops){.linear = all.linear - prompt.linear, .head = all.head - prompt.head,
                                                                    .attention = all.attention - prompt.attention});
        dtx_plan_work_add(&p->work, samples, &first);
        dtx_plan_work_add(&p->work, samples, &rest);
        tokens += samples * (double)p->len[i];
        answers += samples * (double)dtx_plan_answer(p, i);
    }
    p->units = ceil(rows / batch);
    p->work.read = rows / (batch < rows ? batch : rows) * dtx_cost_read_bytes(&p->arch, p->element); /* of the prompts */
    dtx_plan_add(&p->files, "run.h5", rows * (16 * width + 21) + 4 * tokens + 4.3 * (tokens + answers) + 65536, "completions and texts");
    return DTX_OK;
}

static dtx_status attribute_count(dtx_plan *p)
{
    const dtx_config *c = p->c;
    const bool ig = strcmp(c->attribute.method, "integrated_gradients") == 0;
    const double samples = (double)c->generate.samples, width = (double)c->generate.max_new_tokens, rows = (double)p->n * samples;
    double values = 0;

    for (int64_t i = 0; i < p->n; i++) {
        const int64_t G = dtx_plan_answer(p, i);
        dtx_plan_work row = dtx_plan_of(dtx_cost_attribution(&p->arch, NULL, p->len[i], G, ig ? c->attribute.steps : 1));
        row.read = 2 * dtx_cost_read_bytes(&p->arch, p->element) * (ig ? (double)c->attribute.steps : 1);
        dtx_plan_work_add(&p->work, samples, &row);
        values += samples * (double)G * (double)(p->len[i] + G);
    }
    p->units = rows;
    double columns = 9 + 12 * width + (strcmp(c->attribute.merge, "none") != 0 ? 4 + 12 * width : 0);
    dtx_plan_add(&p->files, "run.h5", 4 * values + rows * (columns + 8) + 65536, "matrices and curves, beside the completions");
    return DTX_OK;
}

static dtx_status rows_memory(dtx_plan *p, int ranks)
{
    const dtx_config *c = p->c;
    double largest = 0;

    if (is(p, "generate")) {
        dtx_plan_add(&p->rank, "cache",
                     dtx_cost_generation_bytes(&p->arch, NULL, generate_streams(p, ranks), dtx_plan_longest(p), c->generate.max_new_tokens),
                     "keys and values, activations");
        return DTX_OK;
    }
    bool ig = strcmp(c->attribute.method, "integrated_gradients") == 0;
    for (int64_t i = 0; i < p->n; i++) {
        double row = dtx_cost_attribution_bytes(&p->arch, NULL, p->len[i], dtx_plan_answer(p, i), ig ? c->attribute.steps : 1,
                                                (double)c->attribute.memory_mb * 1048576);
        largest = row > largest ? row : largest;
    }
    dtx_plan_add(&p->rank, "activations", largest, "longest row; attribute.memory_mb bounds the cotangents");
    return DTX_OK;
}

/* --- all --- */

dtx_status dtx_plan_count(dtx_plan *p)
{
    return is(p, "finetune")   ? finetune_count(p)
           : is(p, "pretrain") ? pretrain_count(p)
           : is(p, "generate") ? generate_count(p)
           : is(p, "score")    ? dtx_plan_score_count(p)
           : is(p, "ppo")      ? dtx_plan_ppo_count(p)
                               : attribute_count(p);
}

dtx_status dtx_plan_time(dtx_plan *p, int ranks)
{
    const double total = (double)ranks * p->nodes;
    dtx_plan_work mine = {0};

    if (is(p, "finetune")) {
        return finetune_time(p, ranks);
    }
    /* equal units, the last round not full */
    p->balance = p->units > 0 ? p->units / (ceil(p->units / total) * total) : 1;
    dtx_plan_work_add(&mine, 1 / (total * p->balance), &p->work);
    mine.sweep = p->work.sweep;
    p->seconds = dtx_plan_seconds(p, &mine, ranks);
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

/* The word embedding is read where its tokens stand alone, in runs of pages: little of it by a small job. Distinct tokens by
 * Heaps' law (10 N^0.6, as English has them), at random places. */
static double mapped_bytes(const dtx_plan *p)
{
    const double around = 65536; /* that Linux maps around a page */
    const double all = dtx_cost_weight_bytes(&p->arch, p->element), table = all - dtx_cost_read_bytes(&p->arch, p->element);
    double tokens = 0;

    for (int64_t i = 0; p->len != NULL && i < p->n; i++) {
        tokens += (double)p->len[i] + (is(p, "finetune") ? 0 : (double)dtx_plan_answer(p, i));
    }
    const double distinct = fmin(tokens, 10 * pow(tokens, 0.6)), runs = table / around;
    const double unread = p->len == NULL || runs <= 0 ? 0 : exp(-distinct / runs);
    return all - (unread > 1e-3 ? table * unread : 0);
}

dtx_status dtx_plan_memory(dtx_plan *p, int ranks)
{
    const double program = 60e6; /* program, MPI and HDF5 libraries (an estimate) */
    bool trained = is(p, "pretrain"), widened = strcmp(p->c->model.dtype, "f32") == 0 && !is(p, "score");
    double vectors;

    p->rank.n = p->node.n = 0;
    DTX_TRY(vector_bytes(&p->arch, &vectors));
    dtx_plan_add(&p->rank, "program", program, "with the MPI and HDF5 libraries");
    if (!trained) {
        dtx_plan_add(&p->rank, "vectors", vectors, "norms and biases, f32");
    }
    DTX_TRY(is(p, "finetune")   ? finetune_memory(p, ranks)
            : trained           ? pretrain_memory(p, ranks)
            : is(p, "score")    ? dtx_plan_score_memory(p)
            : is(p, "ppo")      ? dtx_plan_ppo_memory(p, ranks)
                                : rows_memory(p, ranks));
    if (!trained && widened) {
        dtx_plan_add(&p->rank, "weights", dtx_cost_weight_bytes(&p->arch, p->element), "model.dtype = f32: a copy of each rank's own");
    }
    dtx_plan_add(&p->node, "ranks", ranks * dtx_plan_sum(&p->rank), "all ranks of the node");
    if (!trained && !widened) {
        dtx_plan_add(&p->node, "weights", mapped_bytes(p), "mapped once, shared by the ranks");
    }
    return DTX_OK;
}

void dtx_plan_free(dtx_plan *p)
{
    dtx_sample_order_free(&p->order);
    dtx_adapter_del(p->adapter);
    dtx_free(p->offset);
    dtx_free(p->len);
    dtx_free(p->labels);
    dtx_free(p->answer);
}
