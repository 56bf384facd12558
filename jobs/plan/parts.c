/* What the plans of all jobs are made of: tables, work and its seconds, adapter and answers. */
#include <math.h>
#include <string.h>

#include "jobs/plan/plan.h"
#include "jobs/shared/stage.h"
#include "src/base/mem.h"

bool dtx_plan_is(const dtx_plan *p, const char *name)
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
    return w->layers + w->train + w->head + w->decode + w->decode_head;
}

void dtx_plan_work_add(dtx_plan_work *w, double times, const dtx_plan_work *more)
{
    w->layers += times * more->layers;
    w->train += times * more->train;
    w->head += times * more->head;
    w->decode += times * more->decode;
    w->decode_head += times * more->decode_head;
    w->read += times * more->read;
    w->decode_read += times * more->decode_read;
    w->sweep += times * more->sweep;
}

dtx_plan_work dtx_plan_of(dtx_flops f)
{
    return (dtx_plan_work){.layers = f.linear - f.head + f.attention, .head = f.head};
}

dtx_plan_work dtx_plan_of_training(dtx_flops f)
{
    return (dtx_plan_work){.train = f.linear - f.head + f.attention, .head = f.head};
}

dtx_plan_work dtx_plan_of_decoding(dtx_flops f)
{
    return (dtx_plan_work){.decode = f.linear - f.head + f.attention, .decode_head = f.head};
}

/* Threads of a rank beyond 16 cross memory domains: 15 % are lost at each doubling (assumed), where that was not measured. */
static double kept(double threads)
{
    return threads > 16 ? pow(0.85, log2(threads / 16)) : 1;
}

/* Arithmetic and what each pass costs by itself, but never less than reading the weights takes. */
double dtx_plan_seconds(const dtx_plan *p, const dtx_plan_work *w, int ranks)
{
    const dtx_plan_rate *r = &p->rate;
    const double threads = (double)p->cores / ranks, bandwidth = r->bandwidth / ranks, reading = w->read + w->decode_read;
    double compute = w->layers / r->large + w->train / r->train + w->head / r->head + w->decode / r->decode + w->decode_head / r->decode_head;
    double sweep = bandwidth > 0 ? w->sweep / bandwidth : 0, memory = bandwidth > 0 && !r->together ? reading / bandwidth : 0;

    compute = (compute + w->read * r->fixed * r->threads) / (threads * kept(threads) / kept(r->threads));
    return (compute > memory ? compute : memory) + sweep;
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

int64_t dtx_plan_streams(const dtx_plan *p, int64_t ranks)
{
    const int64_t batch = p->c->generate.batch, rows = (int64_t)((double)p->n * p->samples);
    const int64_t unit = dtx_stage_unit_rows(rows, batch, ranks);

    return unit < batch ? unit : batch;
}
