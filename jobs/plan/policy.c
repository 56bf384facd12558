/* policy.c - operations and memory of the jobs that a classifier takes part in: score and ppo. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "jobs/shared/known_models.h"
#include "jobs/plan/plan.h"
#include "jobs/shared/stage.h"
#include "jobs/shared/units.h"
#include "src/base/file.h"
#include "src/weights/weights.h"

enum { UNIT = 4 * DTX_SCORE_BATCH, SPECIAL = 2 }; /* rows of a unit of scoring; <s> and </s> */

/* --- score: each completion, and its prompt, is one sequence of the classifier --- */

static int64_t cut(const dtx_arch *a, int64_t len)
{
    int64_t most = a->max_positions > 2 ? a->max_positions - 2 : len;

    return len < most ? len : most;
}

static bool with_prompts(const dtx_plan *p)
{
    return p->c->score.prompts != DTX_SET_PROMPTS_NONE;
}

/* A text's completion, and its prompt. */
static dtx_plan_work score_row(const dtx_plan *p, int64_t i)
{
    dtx_cost_work w = {0};

    dtx_cost_add(&p->arch, &w, cut(&p->arch, dtx_plan_answer(p, i) + SPECIAL), 0);
    if (with_prompts(p)) {
        dtx_cost_add(&p->arch, &w, cut(&p->arch, p->len[i] + SPECIAL), 0);
    }
    return dtx_plan_of(dtx_cost_forward(&p->arch, NULL, &w));
}

dtx_status dtx_plan_score_count(dtx_plan *p)
{
    const double rows = (double)p->n * p->samples;

    for (int64_t i = 0; i < p->n; i++) {
        const dtx_plan_work row = score_row(p, i);
        dtx_plan_work_add(&p->work, p->samples, &row);
    }
    p->work.read = ceil(rows / UNIT) * dtx_cost_read_bytes(&p->arch, p->element);
    p->units = ceil(rows / UNIT);
    dtx_plan_add(&p->files, "run.h5", rows * 9 + 65536, "scores and states, beside the completions");
    return DTX_OK;
}

int64_t dtx_plan_score_unit(int64_t rows, int64_t ranks)
{
    return dtx_stage_unit_rows(rows, DTX_SCORE_BATCH, ranks);
}

void dtx_plan_score_units(const dtx_plan *p, const int64_t *order, int64_t rows, int64_t unit, int of_node, double *seconds)
{
    for (int64_t first = 0, u = 0; first < rows; first += unit, u++) {
        dtx_plan_work w = {.read = dtx_cost_read_bytes(&p->arch, p->element)};
        for (int64_t i = first; i < first + unit && i < rows; i++) {
            const dtx_plan_work row = score_row(p, order[i]);
            dtx_plan_work_add(&w, 1, &row);
        }
        seconds[u] = dtx_plan_seconds(p, &w, of_node);
    }
}

dtx_status dtx_plan_score_memory(dtx_plan *p)
{
    const dtx_arch *a = &p->arch;
    const double d = (double)a->hidden, len = (double)cut(a, dtx_plan_longest(p) + SPECIAL);
    const double answer = (double)cut(a, p->c->generate.max_new_tokens + SPECIAL);
    const double rows = UNIT * (answer + (with_prompts(p) ? len : 0));

    dtx_plan_add(&p->rank, "activations", 4 * rows * (9 * d + 2 * (double)a->ffn), "a unit of 16 rows");
    return DTX_OK;
}

/* --- ppo --- */

static int64_t leaves(const dtx_config *c)
{
    const int64_t group = c->ppo.accumulate * c->ppo.mini_batch;

    return group < DTX_TRAINING_LEAVES ? group : DTX_TRAINING_LEAVES;
}

/* The reward model as far as it is there: its folder, else RoBERTa base. */
static dtx_status reward_arch(const dtx_plan *p, dtx_arch *a)
{
    char dir[DTX_PATH_MAX], config[DTX_PATH_MAX];

    snprintf(dir, sizeof dir, "%s", p->c->reward.path);
    dir[strcspn(dir, "#")] = '\0';
    DTX_TRY(dtx_file_join(config, sizeof config, dir, "config.json"));
    if (dir[0] != '\0' && dtx_file_exists(config)) {
        return dtx_arch_read(dir, a);
    }
    return dtx_known_model_arch(dtx_known_model_find("roberta-base"), a);
}

/* One rollout of mean length: generated, evaluated under policy and reference, and scored; trained on in each epoch. */
static dtx_status rollout_work(const dtx_plan *p, dtx_plan_work *out, dtx_plan_work *trained)
{
    const dtx_config *c = p->c;
    const int64_t G = c->generate.max_new_tokens;
    const double read = dtx_cost_read_bytes(&p->arch, p->element), epochs = (double)c->ppo.epochs;
    double tokens = 0;
    dtx_cost_work row = {0}, text = {0};
    dtx_arch judge;

    for (int64_t i = 0; i < p->n; i++) {
        tokens += (double)p->len[i];
    }
    const int64_t P = p->n > 0 ? (int64_t)(tokens / (double)p->n + 0.5) : 1;
    DTX_TRY(reward_arch(p, &judge));
    dtx_cost_add(&p->arch, &row, P + G, G);
    dtx_cost_add(&judge, &text, cut(&judge, G + SPECIAL), 0);
    const dtx_flops all = dtx_cost_generation(&p->arch, p->adapter, P, G), first = dtx_cost_generation(&p->arch, p->adapter, P, 1);
    const dtx_plan_work decode = dtx_plan_of_decoding((dtx_flops){.linear = all.linear - first.linear, .head = all.head - first.head,
                                                                  .attention = all.attention - first.attention});
    const dtx_plan_work prompt = dtx_plan_of(first), policy = dtx_plan_of(dtx_cost_forward(&p->arch, p->adapter, &row));
    const dtx_plan_work reference = dtx_plan_of(dtx_cost_forward(&p->arch, NULL, &row));
    const dtx_plan_work reward = dtx_plan_of(dtx_cost_forward(&judge, NULL, &text));
    const dtx_plan_work update = dtx_plan_of_training(dtx_cost_lora(&p->arch, p->adapter, &row, false));

    *out = (dtx_plan_work){0};
    dtx_plan_work_add(out, 1, &decode);
    dtx_plan_work_add(out, 1, &prompt);
    dtx_plan_work_add(out, 1, &policy);
    dtx_plan_work_add(out, 1, &reference);
    dtx_plan_work_add(out, (double)(c->reward.models.n > 1 ? c->reward.models.n : 1), &reward);
    out->read += read * (1 / (double)c->generate.batch + 2);
    *trained = (dtx_plan_work){.read = 2 * epochs * read};
    dtx_plan_work_add(trained, epochs, &update);
    return DTX_OK;
}

dtx_status dtx_plan_ppo_count(dtx_plan *p)
{
    const dtx_config *c = p->c;
    const double batch = (double)c->ppo.batch, width = (double)c->generate.max_new_tokens;
    dtx_plan_work one, trained;

    DTX_TRY(dtx_plan_adapter(p));
    DTX_TRY(rollout_work(p, &one, &trained));
    p->steps = c->ppo.steps > 0 ? c->ppo.steps : p->n / c->ppo.batch;
    if (p->steps < 1) {
        return DTX_FAIL(DTX_ERR_USAGE, "%lld prompts are fewer than ppo.batch %lld", (long long)p->n, (long long)c->ppo.batch);
    }
    const double steps = (double)(p->steps - p->first_step), rollouts = (double)p->steps * batch, n = (double)p->adapter->n_params + (double)p->arch.hidden + 1;
    const double updates = ceil(ceil(batch / (double)c->ppo.mini_batch) / (double)c->ppo.accumulate) * (double)c->ppo.epochs;
    dtx_plan_work_add(&p->work, (steps + 1) * batch, &one); /* the policy at the end answers once more */
    dtx_plan_work_add(&p->work, steps * batch, &trained);
    p->work.sweep = steps * updates * 28 * n;
    p->units = (double)leaves(c);
    dtx_plan_add(&p->files, "adapter", 4 * n, "RUN/adapters/V, with the value head");
    dtx_plan_add(&p->files, "checkpoint", 24 * n, "RUN/checkpoints, two of them");
    dtx_plan_add(&p->files, "run.h5", rollouts * (24 * width + 40 + 4.3 * width) + 65536, "rollouts and curves");
    return DTX_OK;
}

dtx_status dtx_plan_ppo_memory(dtx_plan *p, int ranks)
{
    const dtx_config *c = p->c;
    const double vector = 4 * ((double)p->adapter->n_params + (double)p->arch.hidden + 1);
    const int64_t G = c->generate.max_new_tokens, len = dtx_plan_longest(p) + G, per_rank = c->ppo.batch / ((int64_t)ranks * p->nodes);
    const int64_t streams = per_rank < 1 ? 1 : per_rank < c->generate.batch ? per_rank : c->generate.batch;
    const double cache = dtx_cost_generation_bytes(&p->arch, p->adapter, streams, dtx_plan_longest(p), G);
    const double train = dtx_cost_train_bytes(&p->arch, p->adapter, 1, &len, false, false);
    int64_t sums = dtx_cost_reduce_vectors(leaves(c), (int64_t)ranks * p->nodes, c->reduce == DTX_SET_REDUCE_STRICT);
    dtx_arch judge;

    DTX_TRY(reward_arch(p, &judge));
    dtx_plan_add(&p->rank, "adapter", 2 * vector, "parameters and the adapter in use, f32");
    dtx_plan_add(&p->rank, "gradients", 2 * vector, "of a row, of the step");
    dtx_plan_add(&p->rank, "optimizer", 2 * vector, "Adam's two moments");
    dtx_plan_add(&p->rank, "sums", (double)sums * vector, "partial sums over shards");
    dtx_plan_add(&p->rank, "activations", cache > train ? cache : train, "the larger of generation and of one row's update");
    dtx_plan_add(&p->rank, "rollouts", (double)c->ppo.batch * (double)G * 120, "of one step");
    dtx_plan_add(&p->node, "reward", dtx_cost_weight_bytes(&judge, 4), "the classifier's weights, shared");
    return DTX_OK;
}
