/* adapter.c - adapters in memory: which modules have a pair, one arena for all pairs. adapter_peft.c has the files. */
#include "src/model/adapter.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/model/adapter_match.h"
#include "src/model/families/table.h"

/* Name of a module outside the layers that a target would reach and this program does not adapt; false = none. */
static dtx_status outside(const dtx_arch *a, const char *target, const dtx_name_pattern *pattern)
{
    for (int part = DTX_MODULES; part < DTX_PARTS; part++) {
        char name[128];
        bool reached = false;
        if (part == DTX_PART_HEAD) {
            dtx_head_path(a, name, sizeof name);
        } else {
            dtx_part_path(a, part, -1, name, sizeof name);
        }
        if (name[0] == '\0' || dtx_part_is_norm(part)) {
            continue;
        }
        if (pattern != NULL) {
            DTX_TRY(dtx_name_pattern_match(pattern, name, &reached));
        } else {
            reached = dtx_name_is(name, target);
        }
        if (reached) {
            return DTX_FAIL(DTX_ERR_USAGE, "target module \"%s\" reaches %s; adapters stand on the linear modules of the layers only", target,
                            name);
        }
    }
    return DTX_OK;
}

static dtx_status no_match(const dtx_arch *a, const char *target)
{
    char all[1024] = "", name[128];
    size_t at = 0;

    for (int k = 0; k < DTX_MODULES; k++) {
        dtx_module_name(a, 0, (dtx_module_kind)k, name, sizeof name);
        if (name[0] != '\0' && at < sizeof all) {
            at += (size_t)snprintf(all + at, sizeof all - at, "%s%s", at > 0 ? ", " : "", name);
        }
    }
    return DTX_FAIL(DTX_ERR_USAGE, "no module is called \"%s\" or ends with \".%s\"; the modules of layer 0 are %s", target, target, all);
}

/* has[slot] of the modules that one target reaches: a name, or a pattern. */
static dtx_status match_target(const dtx_arch *a, const dtx_adapter_rule *rule, const char *target, bool is_pattern, bool *has)
{
    const bool all = !is_pattern && strcmp(target, "all-linear") == 0;
    dtx_name_pattern *pattern = NULL;
    bool any = false;
    dtx_status st = DTX_OK;

    if (is_pattern) {
        DTX_GO(dtx_name_pattern_new(target, false, &pattern));
    }
    if (!all) {
        DTX_GO(outside(a, target, pattern));
    }
    for (int64_t s = 0; s < a->n_layers * DTX_MODULES; s++) {
        char name[128];
        bool reached = all;
        dtx_module_name(a, s / DTX_MODULES, (dtx_module_kind)(s % DTX_MODULES), name, sizeof name);
        if (name[0] == '\0') {
            continue;
        }
        if (pattern != NULL) {
            DTX_GO(dtx_name_pattern_match(pattern, name, &reached));
        } else if (!all) {
            reached = dtx_name_is(name, target);
        }
        any = any || reached;
        has[s] = has[s] || (reached && (rule->layer == NULL || rule->layer[s / DTX_MODULES]));
    }
    st = any ? DTX_OK : no_match(a, target);
done:
    dtx_name_pattern_del(pattern);
    return st;
}

/* value[slot] of the modules that a pattern's key reaches, the first key in order. */
static dtx_status match_keys(const dtx_arch *a, int n, const char *const *key, const double *value, double *of)
{
    dtx_name_pattern *p = NULL;
    dtx_status st = DTX_OK;

    for (int k = n - 1; k >= 0; k--) { /* the first one is written last */
        DTX_GO(dtx_name_pattern_new(key[k], true, &p));
        for (int64_t s = 0; s < a->n_layers * DTX_MODULES; s++) {
            char name[128];
            bool reached = false;
            dtx_module_name(a, s / DTX_MODULES, (dtx_module_kind)(s % DTX_MODULES), name, sizeof name);
            if (name[0] != '\0') {
                DTX_GO(dtx_name_pattern_match(p, name, &reached));
            }
            of[s] = reached ? value[k] : of[s];
        }
        dtx_name_pattern_del(p);
        p = NULL;
    }
done:
    dtx_name_pattern_del(p);
    return st;
}

/* Ranks and scales of the modules that have a pair, and space for the pairs, all zero. */
static dtx_status allocate(const dtx_arch *a, const dtx_adapter_rule *rule, const bool *has, dtx_adapter *ad)
{
    double *rank = NULL, *alpha = NULL;
    dtx_status st = DTX_OK;

    ad->n_slots = a->n_layers * DTX_MODULES;
    DTX_GO(DTX_NEW(ad->slot, ad->n_slots));
    DTX_GO(DTX_NEW(rank, ad->n_slots));
    DTX_GO(DTX_NEW(alpha, ad->n_slots));
    for (int64_t s = 0; s < ad->n_slots; s++) {
        rank[s] = (double)rule->r;
        alpha[s] = rule->alpha;
    }
    DTX_GO(match_keys(a, rule->n_ranks, rule->rank_key, rule->rank, rank));
    DTX_GO(match_keys(a, rule->n_alphas, rule->alpha_key, rule->alpha_of, alpha));
    for (int64_t s = 0; s < ad->n_slots; s++) {
        dtx_lora *l = &ad->slot[s];
        dtx_module_shape(a, (dtx_module_kind)(s % DTX_MODULES), &l->n_out, &l->n_in);
        l->r = has[s] ? (int64_t)rank[s] : 0;
        l->scale = has[s] ? (float)(alpha[s] / (rule->rslora ? sqrt(rank[s]) : rank[s])) : 0;
        ad->r = l->r > ad->r ? l->r : ad->r;
        ad->uniform = ad->uniform && (!has[s] || (l->r == rule->r && l->scale == ad->scale));
        ad->n_params += l->r * (l->n_in + l->n_out);
    }
    DTX_GO(DTX_NEW(ad->arena, ad->n_params));
    float *at = ad->arena;
    for (int64_t s = 0; s < ad->n_slots; s++) {
        dtx_lora *l = &ad->slot[s];
        if (has[s]) {
            l->A = at;
            l->B = at + l->r * l->n_in;
            at = l->B + l->n_out * l->r;
        }
    }
done:
    dtx_free(alpha);
    dtx_free(rank);
    return st;
}

static dtx_status keep_targets(const dtx_adapter_rule *rule, dtx_adapter *ad)
{
    size_t n = 1;

    ad->pattern = rule->pattern != NULL;
    if (ad->pattern) {
        return dtx_mem_check(ad->targets = dtx_strdup(rule->pattern), 1, 1, "target modules");
    }
    for (int t = 0; t < rule->n_targets; t++) {
        n += strlen(rule->target[t]) + 1;
    }
    DTX_TRY(DTX_NEW(ad->targets, n));
    for (int t = 0; t < rule->n_targets; t++) {
        strcat(strcat(ad->targets, t > 0 ? "\n" : ""), rule->target[t]);
    }
    return DTX_OK;
}

dtx_status dtx_adapter_make(const dtx_arch *a, const dtx_adapter_rule *given, dtx_adapter **out)
{
    dtx_status st = DTX_OK;
    dtx_adapter_rule named = *given, *rule = &named;
    dtx_adapter *ad = NULL;
    bool *has = NULL, any = false;

    if (rule->r < 1 || rule->r > 65536 || !(rule->alpha > 0) || !(rule->dropout >= 0 && rule->dropout < 1)) {
        return DTX_FAIL(DTX_ERR_USAGE, "an adapter of rank %lld, alpha %g, dropout %g is not possible", (long long)rule->r, rule->alpha,
                        rule->dropout);
    }
    if (rule->pattern == NULL && rule->n_targets == 0) {
        for (rule->target = dtx_family_of(a)->targets; rule->target[rule->n_targets] != NULL;) {
            rule->n_targets++;
        }
    }
    DTX_GO(DTX_NEW(ad, 1));
    DTX_GO(keep_targets(rule, ad));
    ad->uniform = ad->attached = true;
    ad->rslora = rule->rslora;
    ad->alpha = rule->alpha;
    ad->scale = (float)(rule->alpha / (rule->rslora ? sqrt((double)rule->r) : (double)rule->r));
    ad->dropout = rule->dropout;
    DTX_GO(DTX_NEW(has, a->n_layers * DTX_MODULES));
    if (rule->pattern != NULL) {
        DTX_GO(match_target(a, rule, rule->pattern, true, has));
    }
    for (int t = 0; rule->pattern == NULL && t < rule->n_targets; t++) {
        DTX_GO(match_target(a, rule, rule->target[t], false, has));
    }
    for (int64_t s = 0; s < a->n_layers * DTX_MODULES; s++) {
        any = any || has[s];
    }
    if (!any) {
        DTX_GO(DTX_FAIL(DTX_ERR_USAGE, "layers_to_transform leaves no module of the adapter"));
    }
    DTX_GO(allocate(a, rule, has, ad));
    *out = ad;
    ad = NULL;
done:
    dtx_free(has);
    dtx_adapter_del(ad);
    return st;
}

dtx_status dtx_adapter_alloc(const dtx_arch *a, int64_t r, double alpha, double dropout, const char *const *targets,
                             int n_targets, dtx_adapter **out)
{
    const dtx_adapter_rule rule = {.target = targets, .n_targets = n_targets, .r = r, .alpha = alpha, .dropout = dropout};

    return dtx_adapter_make(a, &rule, out);
}

void dtx_adapter_draw(dtx_adapter *ad, uint64_t seed)
{
    for (int64_t s = 0; s < ad->n_slots; s++) {
        dtx_lora *l = &ad->slot[s];
        if (l->A != NULL) { /* kaiming_uniform_(a = sqrt 5), as PEFT initialises */
            const int64_t stream = dtx_module_stream(s / DTX_MODULES, (dtx_module_kind)(s % DTX_MODULES));
            double bound = 1 / sqrt((double)l->n_in);
            for (int64_t i = 0; i < l->r * l->n_in; i++) {
                /* the high half of `a` keeps these streams apart from those of the base's parameters */
                double u = dtx_rng_uniform(seed, DTX_RNG_INIT, (uint64_t)1 << 32 | (uint64_t)stream, 0, (uint32_t)i);
                l->A[i] = (float)((2 * u - 1) * bound);
            }
        }
    }
}

dtx_status dtx_adapter_new(const dtx_arch *a, int64_t r, double alpha, double dropout, const char *const *targets,
                           int n_targets, uint64_t seed, dtx_adapter **out)
{
    DTX_TRY(dtx_adapter_alloc(a, r, alpha, dropout, targets, n_targets, out));
    dtx_adapter_draw(*out, seed);
    return DTX_OK;
}

dtx_status dtx_adapter_view(const dtx_adapter *a, float *arena, dtx_adapter **out)
{
    dtx_adapter *ad = NULL;
    dtx_status st = DTX_OK;

    if (a->extra != NULL) {
        return DTX_FAIL(DTX_ERR_USAGE, "an adapter with DoRA or biases of its own is not trained further here");
    }
    DTX_TRY(DTX_NEW(ad, 1));
    *ad = *a;
    ad->arena = arena;
    ad->borrowed = true;
    ad->slot = NULL;
    ad->targets = dtx_strdup(a->targets);
    DTX_GO(dtx_mem_check(ad->targets, 1, 1, "target modules"));
    DTX_GO(DTX_NEW(ad->slot, a->n_slots));
    for (int64_t s = 0; s < a->n_slots; s++) {
        ad->slot[s] = a->slot[s];
        if (a->slot[s].A != NULL) {
            ad->slot[s].A = arena + (a->slot[s].A - a->arena);
            ad->slot[s].B = arena + (a->slot[s].B - a->arena);
        }
    }
    *out = ad;
    return DTX_OK;
done:
    dtx_adapter_del(ad);
    return st;
}

dtx_status dtx_adapter_like(const dtx_adapter *a, dtx_adapter **out)
{
    float *arena = NULL;

    DTX_TRY(DTX_NEW(arena, a->n_params));
    dtx_status st = dtx_adapter_view(a, arena, out);
    if (st != DTX_OK) {
        dtx_free(arena);
        return st;
    }
    (*out)->borrowed = false;
    return DTX_OK;
}

const char *dtx_adapter_targets(const dtx_adapter *ad, char *text, size_t size)
{
    snprintf(text, size, "%s", ad->targets);
    for (char *c = text; !ad->pattern && *c != '\0'; c++) {
        *c = *c == '\n' ? ',' : *c;
    }
    return text;
}

void dtx_adapter_del(dtx_adapter *a)
{
    if (a != NULL) {
        dtx_free(a->slot);
        dtx_free(a->targets);
        dtx_free(a->extra);
        if (!a->borrowed) {
            dtx_free(a->arena);
        }
        dtx_free(a);
    }
}
