#include "src/attribution/check.h"

#include <math.h>
#include <string.h>

#include "src/base/mem.h"
#include "src/base/rng.h"

enum { VERSIONS = 1 + DTX_CHECK_DRAWS }; /* of each step's prefix: highest scores deleted, random draws */

typedef struct {
    const dtx_model *model;
    const dtx_attrib_settings *set;
    const int32_t *ids;
    int64_t P, G, d, V;
    float *e, *b;               /* (P + G, d) embeddings, (d) baseline */
    double sum[DTX_CHECK_STEPS]; /* of each step's integrated gradients */
    bool (*stop)(void *user);
    void *user;
} checker;

static double target_of(dtx_attrib_target what, int64_t V, const float *z, int32_t id)
{
    double others = 0;

    for (int64_t j = 0; j < V; j++) {
        others += exp((double)z[j] - (double)z[id]);
    }
    return what == DTX_TARGET_LOGIT ? (double)z[id] : what == DTX_TARGET_LOGPROB ? -log(others) : 1 / others;
}

/* value[i] = target of token P + step[i], given sequence i of one batch whose rows are x. */
static dtx_status targets(const checker *c, dtx_attrib_target what, int64_t n, const int64_t *offset, const int32_t *ids,
                          const int64_t *step, const float *x, double *value)
{
    float *hidden = NULL, *last = NULL, *logits = NULL;
    dtx_status st;

    DTX_GO(DTX_NEW_RAW(hidden, offset[n] * c->d));
    DTX_GO(DTX_NEW_RAW(last, n * c->d));
    DTX_GO(DTX_NEW_RAW(logits, n * c->V));
    DTX_GO(dtx_model_forward(c->model,
                             &(dtx_batch){.n_seq = n, .offset = offset, .ids = ids, .embeds = x, .adapter = c->set->adapter},
                             hidden));
    for (int64_t i = 0; i < n; i++) {
        memcpy(last + i * c->d, hidden + (offset[i + 1] - 1) * c->d, (size_t)c->d * sizeof *last);
    }
    dtx_model_logits(c->model, n, last, logits);
    for (int64_t i = 0; i < n; i++) {
        value[i] = target_of(what, c->V, logits + i * c->V, c->ids[c->P + step[i]]);
    }
done:
    dtx_free(hidden);
    dtx_free(last);
    dtx_free(logits);
    return st;
}

/* Prompt positions to delete: by descending score (the lower position of equal ones), or drawn without replacement. */
static void choose(const checker *c, const float *row, int64_t k, uint64_t seed, uint64_t key, int64_t step, int draw,
                   int64_t *position)
{
    for (int64_t t = 0; t < c->P; t++) {
        position[t] = t;
    }
    for (int64_t i = 0; i < k; i++) {
        int64_t best = i;
        if (draw > 0) {
            best += (int64_t)dtx_rng_below(seed, DTX_RNG_CHECK, key, (uint32_t)(step * VERSIONS + draw), (uint32_t)i,
                                           (uint64_t)(c->P - i));
        }
        for (int64_t j = i + 1; j < c->P && draw == 0; j++) {
            float a = fabsf(row[position[j]]), top = fabsf(row[position[best]]);
            best = a > top || (a == top && position[j] < position[best]) ? j : best;
        }
        int64_t t = position[i];
        position[i] = position[best];
        position[best] = t;
    }
}

static dtx_status check_deletion(checker *c, uint64_t seed, uint64_t key, dtx_faithfulness *out)
{
    dtx_attrib_settings s = *c->set;
    dtx_attribution a = {0};
    int64_t k = (c->P + 9) / 10, n = c->G * VERSIONS, *offset = NULL, *step = NULL, *position = NULL;
    int32_t *ids = NULL;
    float *x = NULL;
    double *value = NULL;
    dtx_status st;

    s.merge = DTX_MERGE_NONE;
    DTX_GO(dtx_attribute(c->model, &s, c->ids, c->P, c->G, NULL, NULL, &a));
    DTX_GO(DTX_NEW(offset, n + 1));
    DTX_GO(DTX_NEW(step, n));
    DTX_GO(DTX_NEW(position, c->P));
    DTX_GO(DTX_NEW(value, n));
    for (int64_t i = 0; i < n; i++) {
        step[i] = i / VERSIONS;
        offset[i + 1] = offset[i] + c->P + step[i];
    }
    DTX_GO(DTX_NEW_RAW(ids, offset[n]));
    DTX_GO(DTX_NEW_RAW(x, offset[n] * c->d));
    for (int64_t i = 0; i < n; i++) {
        int64_t len = offset[i + 1] - offset[i];
        float *rows = x + offset[i] * c->d;
        memcpy(ids + offset[i], c->ids, (size_t)len * sizeof *ids);
        memcpy(rows, c->e, (size_t)(len * c->d) * sizeof *rows);
        choose(c, a.value + step[i] * a.T, k, seed, key, step[i], (int)(i % VERSIONS), position);
        for (int64_t j = 0; j < k; j++) {
            memcpy(rows + position[j] * c->d, c->b, (size_t)c->d * sizeof *rows);
        }
    }
    DTX_GO(targets(c, DTX_TARGET_PROBABILITY, n, offset, ids, step, x, value));
    out->deleted = k;
    for (int64_t i = 0; i < n; i++) {
        double drop = (double)a.probability[step[i]] - value[i];
        *(i % VERSIONS == 0 ? &out->drop_top : &out->drop_random) += drop / (double)(c->G * (i % VERSIONS == 0 ? 1 : DTX_CHECK_DRAWS));
    }
done:
    dtx_attribution_free(&a);
    dtx_free(offset);
    dtx_free(step);
    dtx_free(position);
    dtx_free(ids);
    dtx_free(x);
    dtx_free(value);
    return st;
}

static void add_scores(void *user, int64_t step, int64_t len, int64_t d, const float *score)
{
    checker *c = user;

    c->sum[step] = 0;
    for (int64_t i = 0; i < len * d; i++) {
        c->sum[step] += (double)score[i];
    }
}

static bool pass_stop(void *user)
{
    checker *c = user;

    return c->stop != NULL && c->stop(c->user);
}

/* Here the whole prefix becomes the baseline, so one sequence without and one with it for each step. */
static dtx_status check_completeness(checker *c, dtx_faithfulness *out)
{
    dtx_attrib_settings s = *c->set;
    dtx_attribution a = {0};
    int64_t n = 2 * c->G, offset[2 * DTX_CHECK_STEPS + 1] = {0}, step[2 * DTX_CHECK_STEPS];
    double value[2 * DTX_CHECK_STEPS];
    int32_t *ids = NULL;
    float *x = NULL;
    dtx_status st;

    s.method = DTX_IG;
    s.merge = DTX_MERGE_NONE;
    s.granular = add_scores;
    s.stop = pass_stop;
    s.user = c;
    DTX_GO(dtx_attribute(c->model, &s, c->ids, c->P, c->G, NULL, NULL, &a));
    for (int64_t i = 0; i < n; i++) {
        step[i] = i / 2;
        offset[i + 1] = offset[i] + c->P + step[i];
    }
    DTX_GO(DTX_NEW_RAW(ids, offset[n]));
    DTX_GO(DTX_NEW_RAW(x, offset[n] * c->d));
    for (int64_t i = 0; i < n; i++) {
        for (int64_t t = 0; t < c->P + step[i]; t++) {
            ids[offset[i] + t] = c->ids[t];
            memcpy(x + (offset[i] + t) * c->d, i % 2 == 0 ? c->e + t * c->d : c->b, (size_t)c->d * sizeof *x);
        }
    }
    DTX_GO(targets(c, s.target, n, offset, ids, step, x, value));
    for (int64_t g = 0; g < c->G; g++) {
        double whole = value[2 * g] - value[2 * g + 1];
        out->completeness_error += fabs(c->sum[g] - whole) / (double)c->G;
        out->completeness_scale += fabs(whole) / (double)c->G;
    }
done:
    dtx_attribution_free(&a);
    dtx_free(ids);
    dtx_free(x);
    return st;
}

dtx_status dtx_attrib_check(const dtx_model *m, const dtx_attrib_settings *s, const int32_t *ids, int64_t P, int64_t G,
                            uint64_t seed, uint64_t row, dtx_faithfulness *out)
{
    const dtx_arch *a = dtx_model_arch(m);
    checker c = {.model = m, .set = s, .ids = ids, .P = P, .G = G < DTX_CHECK_STEPS ? G : DTX_CHECK_STEPS, .d = a->hidden,
                 .V = a->vocab, .stop = s->stop, .user = s->user};
    dtx_status st;

    *out = (dtx_faithfulness){.steps = c.G};
    DTX_GO(DTX_NEW_RAW(c.e, (P + c.G) * c.d));
    DTX_GO(DTX_NEW(c.b, c.d));
    DTX_GO(dtx_model_embed(m, P + c.G, ids, c.e));
    if (s->baseline >= 0) {
        DTX_GO(dtx_model_embed(m, 1, &s->baseline, c.b));
    }
    DTX_GO(check_deletion(&c, seed, row, out));
    DTX_GO(check_completeness(&c, out));
    if (!isfinite(out->drop_top + out->drop_random + out->completeness_error)) {
        st = DTX_FAIL(DTX_ERR_NUMERIC, "the check of an attribution is not finite");
    }
done:
    dtx_free(c.e);
    dtx_free(c.b);
    return st;
}
