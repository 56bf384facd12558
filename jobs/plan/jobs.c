/* jobs.c - operations, memory, time and files of each job that can be planned; those of generate and attribute. */
#include <math.h>
#include <string.h>

#include "jobs/plan/plan.h"
#include "jobs/shared/stage.h"
#include "src/base/mem.h"

/* --- generation and attribution: one row is a text's prompt and completion --- */

/* The prompt's pass, and the steps after it. */
static void split_generation(const dtx_plan *p, int64_t i, dtx_plan_work *prompt, dtx_plan_work *steps)
{
    const dtx_flops all = dtx_cost_generation(&p->arch, p->adapter, p->len[i], dtx_plan_answer(p, i));
    const dtx_flops first = dtx_cost_generation(&p->arch, p->adapter, p->len[i], 1);

    *prompt = dtx_plan_of(first);
    *steps = dtx_plan_of_decoding((dtx_flops){.linear = all.linear - first.linear, .head = all.head - first.head,
                                              .attention = all.attention - first.attention});
    if (p->adapter != NULL) { /* base_logprob: the whole text under the base */
        dtx_cost_work w = {0};
        dtx_cost_add(&p->arch, &w, p->len[i] + dtx_plan_answer(p, i), dtx_plan_answer(p, i));
        const dtx_plan_work base = dtx_plan_of(dtx_cost_forward(&p->arch, NULL, &w));
        dtx_plan_work_add(prompt, 1, &base);
    }
}

static dtx_status generate_count(dtx_plan *p)
{
    const dtx_config *c = p->c;
    const double samples = p->samples, width = (double)c->generate.max_new_tokens, read = dtx_cost_read_bytes(&p->arch, p->element);
    const double rows = (double)p->n * samples, batch = (double)c->generate.batch, passes = rows > 0 ? rows / fmin(batch, rows) : 0;
    double tokens = 0, answers = 0;

    for (int64_t i = 0; i < p->n; i++) {
        dtx_plan_work prompt, steps;
        split_generation(p, i, &prompt, &steps);
        dtx_plan_work_add(&p->work, samples, &prompt);
        dtx_plan_work_add(&p->work, samples, &steps);
        tokens += samples * (double)p->len[i];
        answers += samples * (double)dtx_plan_answer(p, i);
    }
    p->units = ceil(rows / batch);
    p->work.read = passes * read;
    p->work.decode_read = passes * (width - 1) * read;
    dtx_plan_add(&p->files, "run.h5", rows * ((p->adapter != NULL ? 20 : 16) * width + 21) + 4 * tokens + 4.3 * (tokens + answers) + 65536,
                 "completions and texts");
    return DTX_OK;
}

/* Units of one or more batches side by side; the last one may be smaller. order: rows, longest prompt first. */
static void generate_units(const dtx_plan *p, const int64_t *order, int64_t rows, int64_t unit, int of_node, double *seconds)
{
    const double read = dtx_cost_read_bytes(&p->arch, p->element), width = (double)p->c->generate.max_new_tokens;
    const int64_t batch = p->c->generate.batch;

    for (int64_t first = 0, u = 0; first < rows; first += unit, u++) {
        const int64_t n = rows - first < unit ? rows - first : unit, streams = n < batch ? n : batch;
        const double times = ceil((double)n / (double)streams);
        dtx_plan_work w = {0};
        for (int64_t i = first; i < first + n; i++) {
            dtx_plan_work prompt, steps;
            split_generation(p, order[i], &prompt, &steps);
            /* with fewer streams than were measured a step takes as long */
            dtx_plan_work_add(&w, p->rate.streams > streams ? (double)p->rate.streams / (double)streams : 1, &steps);
            dtx_plan_work_add(&w, 1, &prompt);
        }
        w.read = times * read;
        w.decode_read = times * (width - 1) * read;
        seconds[u] = dtx_plan_seconds(p, &w, of_node);
    }
}

static dtx_plan_work attribute_row(const dtx_plan *p, int64_t i)
{
    const int64_t nodes = p->c->attribute.method == DTX_SET_METHOD_INTEGRATED_GRADIENTS ? p->c->attribute.steps : 1;
    dtx_plan_work row = dtx_plan_of(dtx_cost_attribution(&p->arch, p->adapter, p->len[i], dtx_plan_answer(p, i), nodes));

    row.read = 2 * dtx_cost_read_bytes(&p->arch, p->element) * (double)nodes;
    return row;
}

static dtx_status attribute_count(dtx_plan *p)
{
    const dtx_config *c = p->c;
    const double width = (double)c->generate.max_new_tokens, rows = (double)p->n * p->samples;
    double values = 0;

    for (int64_t i = 0; i < p->n; i++) {
        const int64_t G = dtx_plan_answer(p, i);
        const dtx_plan_work row = attribute_row(p, i);
        dtx_plan_work_add(&p->work, p->samples, &row);
        values += p->samples * (double)G * (double)(p->len[i] + G);
    }
    p->units = rows;
    double columns = 9 + 12 * width + (c->attribute.merge != DTX_SET_MERGE_NONE ? 4 + 12 * width : 0);
    dtx_plan_add(&p->files, "run.h5", 4 * values + rows * (columns + 8) + 65536, "matrices and curves, beside the completions");
    return DTX_OK;
}

/* --- units of rows --- */

/* The text of each row, those that cost most first. */
static dtx_status order_rows(const dtx_plan *p, int64_t rows, int64_t **out)
{
    const int64_t samples = rows / (p->n > 0 ? p->n : 1);
    int64_t *order = NULL, *count = NULL, most = 0, at = 0;
    dtx_status st;

    for (int64_t i = 0; i < p->n; i++) {
        const int64_t tokens = p->len[i] + (p->answer != NULL ? p->answer[i] : 0);
        most = tokens > most ? tokens : most;
    }
    DTX_GO(DTX_NEW(order, rows));
    DTX_GO(DTX_NEW(count, most + 2));
    for (int64_t i = 0; i < p->n; i++) { /* a counting sort, by falling length */
        count[most - (p->len[i] + (p->answer != NULL ? p->answer[i] : 0)) + 1] += samples;
    }
    for (int64_t k = 0; k <= most; k++) {
        count[k + 1] += count[k];
    }
    for (int64_t i = 0; i < p->n; i++) {
        int64_t *place = &count[most - (p->len[i] + (p->answer != NULL ? p->answer[i] : 0))];
        for (int64_t s = 0; s < samples; s++, at++) {
            order[(*place)++] = i;
        }
    }
    *out = order;
    order = NULL;
done:
    dtx_free(count);
    dtx_free(order);
    return st;
}

static int64_t unit_rows(const dtx_plan *p, int64_t rows, int64_t ranks)
{
    return dtx_plan_is(p, "generate") ? dtx_stage_unit_rows(rows, p->c->generate.batch, ranks)
           : dtx_plan_is(p, "score")  ? dtx_plan_score_unit(rows, ranks)
                                      : 1;
}

dtx_status dtx_plan_units(const dtx_plan *p, int64_t ranks, int of_node, double **seconds, int64_t *n)
{
    const bool of_rows = dtx_plan_is(p, "generate") || dtx_plan_is(p, "attribute") || dtx_plan_is(p, "score");
    const int64_t rows = (int64_t)((double)p->n * p->samples), unit = of_rows ? unit_rows(p, rows, ranks) : 1;
    int64_t *order = NULL;
    double *x = NULL;
    dtx_status st;

    *seconds = NULL;
    *n = of_rows ? (rows + unit - 1) / unit : 0;
    if (*n == 0) {
        return DTX_OK;
    }
    DTX_GO(order_rows(p, rows, &order));
    DTX_GO(DTX_NEW(x, *n));
    if (dtx_plan_is(p, "generate")) {
        generate_units(p, order, rows, unit, of_node, x);
    } else if (dtx_plan_is(p, "score")) {
        dtx_plan_score_units(p, order, rows, unit, of_node, x);
    } else {
        for (int64_t i = 0; i < rows; i++) {
            const dtx_plan_work w = attribute_row(p, order[i]);
            x[i] = dtx_plan_seconds(p, &w, of_node);
        }
    }
    *seconds = x;
    x = NULL;
done:
    dtx_free(x);
    dtx_free(order);
    return st;
}

/* --- memory --- */

static dtx_status rows_memory(dtx_plan *p, int ranks)
{
    const dtx_config *c = p->c;
    double largest = 0;

    if (dtx_plan_is(p, "generate")) {
        dtx_plan_add(&p->rank, "cache",
                     dtx_cost_generation_bytes(&p->arch, p->adapter, dtx_plan_streams(p, (int64_t)ranks * p->nodes), dtx_plan_longest(p),
                                               c->generate.max_new_tokens),
                     "keys and values, activations");
        return DTX_OK;
    }
    bool ig = c->attribute.method == DTX_SET_METHOD_INTEGRATED_GRADIENTS;
    for (int64_t i = 0; i < p->n; i++) {
        double row = dtx_cost_attribution_bytes(&p->arch, p->adapter, p->len[i], dtx_plan_answer(p, i), ig ? c->attribute.steps : 1,
                                                (double)c->attribute.memory_mb * 1048576);
        largest = row > largest ? row : largest;
    }
    dtx_plan_add(&p->rank, "activations", largest, "longest row; attribute.memory_mb bounds the cotangents");
    return DTX_OK;
}

/* --- all --- */

static bool trains(const dtx_plan *p)
{
    return dtx_plan_is(p, "finetune") || dtx_plan_is(p, "dpo") || dtx_plan_is(p, "pretrain");
}

dtx_status dtx_plan_count(dtx_plan *p)
{
    const bool rows = dtx_plan_is(p, "generate") || dtx_plan_is(p, "attribute");

    if (rows && p->adapter == NULL && strcmp(p->job->variant, "IT") != 0) {
        DTX_TRY(dtx_plan_adapter(p));
    }
    return trains(p)                    ? dtx_plan_train_count(p)
           : dtx_plan_is(p, "generate") ? generate_count(p)
           : dtx_plan_is(p, "score")    ? dtx_plan_score_count(p)
           : dtx_plan_is(p, "ppo")      ? dtx_plan_ppo_count(p)
                                        : attribute_count(p);
}

dtx_status dtx_plan_time(dtx_plan *p, int ranks)
{
    const double total = (double)ranks * p->nodes;
    dtx_plan_work mine = {0};
    double *unit = NULL;
    int64_t n;

    if (trains(p)) {
        return dtx_plan_train_time(p, ranks);
    }
    DTX_TRY(dtx_plan_units(p, (int64_t)total, ranks, &unit, &n));
    if (unit != NULL) {
        dtx_status st = dtx_plan_hand_out(p, unit, n, (int64_t)total, &p->seconds, &p->balance);
        dtx_free(unit);
        return st;
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

    for (int64_t i = 0; p->len != NULL && i < p->n * p->rows; i++) {
        tokens += (double)p->len[i] + (trains(p) ? 0 : (double)dtx_plan_answer(p, i));
    }
    const double distinct = fmin(tokens, 10 * pow(tokens, 0.6)), runs = table / around;
    const double unread = p->len == NULL || runs <= 0 ? 0 : exp(-distinct / runs);
    return all - (unread > 1e-3 ? table * unread : 0);
}

dtx_status dtx_plan_memory(dtx_plan *p, int ranks)
{
    /* program, MPI and HDF5 libraries: as measured in a job's own ranks, and what HDF5 and threads add later; else an estimate */
    const double program = p->job->def->parallel ? p->job->resident + 8e6 : 40e6;
    bool trained = dtx_plan_is(p, "pretrain"), widened = p->c->model.dtype == DTX_SET_DTYPE_F32 && !dtx_plan_is(p, "score");
    double vectors;

    p->rank.n = p->node.n = 0;
    DTX_TRY(vector_bytes(&p->arch, &vectors));
    dtx_plan_add(&p->rank, "program", program, "with the MPI and HDF5 libraries");
    if (!trained) {
        dtx_plan_add(&p->rank, "vectors", vectors, "norms and biases, f32");
    }
    if (!trains(p)) {
        dtx_plan_add(&p->rank, "tokenizer", 450 * (double)p->arch.vocab, "some 450 bytes an entry, measured; kept by rank 0, in attribute by all");
    }
    if (!trains(p) && !dtx_plan_is(p, "ppo") && p->adapter != NULL) {
        dtx_plan_add(&p->rank, "adapter", 4 * (double)p->adapter->n_params, "f32");
    }
    DTX_TRY(trains(p)                    ? dtx_plan_train_memory(p, ranks)
            : dtx_plan_is(p, "score") ? dtx_plan_score_memory(p)
            : dtx_plan_is(p, "ppo")   ? dtx_plan_ppo_memory(p, ranks)
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

double dtx_plan_resident(const dtx_plan *p)
{
    double bytes = dtx_plan_sum(&p->rank);

    for (int i = 0; i < p->node.n; i++) {
        bytes += strcmp(p->node.line[i].name, "ranks") != 0 ? p->node.line[i].value : 0;
    }
    return bytes;
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
