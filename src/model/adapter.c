/* adapter.c - adapters in memory: names and shapes of the modules, one arena for all pairs. adapter_peft.c has the
 * files. */
#include "src/model/adapter.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "src/base/mem.h"
#include "src/base/rng.h"

/* PEFT's rule: the dotted name ends with the target. */
static bool ends_with(const char *name, const char *target)
{
    size_t n = strlen(name), t = strlen(target);

    return t > 0 && t <= n && strcmp(name + n - t, target) == 0;
}

/* Name of a module outside the layers that PEFT's rule would reach and this program does not adapt; false = none. */
static bool outside(const dtx_arch *a, const char *target, char *name, size_t size)
{
    for (int part = DTX_MODULES; part < DTX_PARTS; part++) {
        if (part == DTX_PART_HEAD) {
            dtx_head_path(a, name, size);
        } else {
            dtx_part_path(a, part, -1, name, size);
        }
        if (!dtx_part_is_norm(part) && ends_with(name, target)) {
            return true;
        }
    }
    return false;
}

/* Space for pairs where has[slot]; all zero. */
static dtx_status allocate(const dtx_arch *a, int64_t r, const bool *has, dtx_adapter *ad)
{
    ad->r = r;
    ad->n_slots = a->n_layers * DTX_MODULES;
    DTX_TRY(DTX_NEW(ad->slot, ad->n_slots));
    ad->n_params = 0;
    for (int64_t s = 0; s < ad->n_slots; s++) {
        dtx_lora *l = &ad->slot[s];
        dtx_module_shape(a, (dtx_module_kind)(s % DTX_MODULES), &l->n_out, &l->n_in);
        ad->n_params += has[s] ? r * (l->n_in + l->n_out) : 0;
    }
    DTX_TRY(DTX_NEW(ad->arena, ad->n_params));
    float *at = ad->arena;
    for (int64_t s = 0; s < ad->n_slots; s++) {
        dtx_lora *l = &ad->slot[s];
        if (has[s]) {
            l->A = at;
            l->B = at + r * l->n_in;
            at = l->B + l->n_out * r;
        }
    }
    return DTX_OK;
}

static dtx_status match(const dtx_arch *a, const char *const *targets, int n_targets, bool *has)
{
    char name[128];
    bool any = false;

    for (int t = 0; t < n_targets; t++) {
        if (outside(a, targets[t], name, sizeof name)) {
            return DTX_FAIL(DTX_ERR_USAGE,
                            "target module \"%s\" reaches %s; adapters stand on the linear modules of the layers only",
                            targets[t], name);
        }
    }
    for (int64_t s = 0; s < a->n_layers * DTX_MODULES; s++) {
        dtx_module_name(a, s / DTX_MODULES, (dtx_module_kind)(s % DTX_MODULES), name, sizeof name);
        for (int t = 0; t < n_targets && !has[s]; t++) {
            has[s] = ends_with(name, targets[t]);
        }
        any = any || has[s];
    }
    if (!any) {
        char all[512] = "";
        size_t at = 0;
        for (int k = 0; k < DTX_MODULES; k++) {
            dtx_module_name(a, 0, (dtx_module_kind)k, name, sizeof name);
            if (name[0] != '\0') {
                at += (size_t)snprintf(all + at, sizeof all - at, "%s%s", at > 0 ? ", " : "", name);
            }
        }
        return DTX_FAIL(DTX_ERR_USAGE, "no module ends with a target of the adapter; the modules of layer 0 are %s",
                        all);
    }
    return DTX_OK;
}

dtx_status dtx_adapter_alloc(const dtx_arch *a, int64_t r, double alpha, double dropout, const char *const *targets,
                             int n_targets, dtx_adapter **out)
{
    dtx_status st;
    dtx_adapter *ad = NULL;
    bool *has = NULL;

    if (r < 1 || r > 65536 || !(alpha > 0) || !(dropout >= 0 && dropout < 1)) {
        return DTX_FAIL(DTX_ERR_USAGE, "an adapter of rank %lld, alpha %g, dropout %g is not possible", (long long)r,
                        alpha, dropout);
    }
    DTX_GO(DTX_NEW(ad, 1));
    if (n_targets < 1 || n_targets > (int)(sizeof ad->targets / sizeof *ad->targets)) {
        st = DTX_FAIL(DTX_ERR_USAGE, "%d target modules given, 1 to %zu are possible", n_targets,
                      sizeof ad->targets / sizeof *ad->targets);
        goto done;
    }
    for (int t = 0; t < n_targets; t++) {
        if (strlen(targets[t]) >= sizeof ad->targets[t]) {
            st = DTX_FAIL(DTX_ERR_USAGE, "target module \"%s\" is too long", targets[t]);
            goto done;
        }
        snprintf(ad->targets[t], sizeof ad->targets[t], "%s", targets[t]);
    }
    ad->n_targets = n_targets;
    ad->alpha = alpha;
    ad->scale = (float)(alpha / (double)r);
    ad->dropout = dropout;
    DTX_GO(DTX_NEW(has, a->n_layers * DTX_MODULES));
    DTX_GO(match(a, targets, n_targets, has));
    DTX_GO(allocate(a, r, has, ad));
    *out = ad;
    ad = NULL;
done:
    dtx_free(has);
    dtx_adapter_del(ad);
    return st;
}

dtx_status dtx_adapter_new(const dtx_arch *a, int64_t r, double alpha, double dropout, const char *const *targets,
                           int n_targets, uint64_t seed, dtx_adapter **out)
{
    dtx_adapter *ad;

    DTX_TRY(dtx_adapter_alloc(a, r, alpha, dropout, targets, n_targets, &ad));
    for (int64_t s = 0; s < ad->n_slots; s++) {
        dtx_lora *l = &ad->slot[s];
        if (l->A != NULL) { /* kaiming_uniform_(a = sqrt 5), as PEFT initialises */
            double bound = 1 / sqrt((double)l->n_in);
            for (int64_t i = 0; i < r * l->n_in; i++) {
                /* the high half of `a` keeps these streams apart from those of the base's parameters */
                const int64_t stream = dtx_module_stream(s / DTX_MODULES, (dtx_module_kind)(s % DTX_MODULES));
                double u = dtx_rng_uniform(seed, DTX_RNG_INIT, (uint64_t)1 << 32 | (uint64_t)stream, 0, (uint32_t)i);
                l->A[i] = (float)((2 * u - 1) * bound);
            }
        }
    }
    *out = ad;
    return DTX_OK;
}

dtx_status dtx_adapter_view(const dtx_adapter *a, float *arena, dtx_adapter **out)
{
    dtx_adapter *ad = NULL;

    DTX_TRY(DTX_NEW(ad, 1));
    *ad = *a;
    ad->arena = arena;
    ad->borrowed = true;
    dtx_status st = DTX_NEW(ad->slot, a->n_slots);
    if (st != DTX_OK) {
        dtx_free(ad);
        return st;
    }
    for (int64_t s = 0; s < a->n_slots; s++) {
        ad->slot[s] = a->slot[s];
        if (a->slot[s].A != NULL) {
            ad->slot[s].A = arena + (a->slot[s].A - a->arena);
            ad->slot[s].B = arena + (a->slot[s].B - a->arena);
        }
    }
    *out = ad;
    return DTX_OK;
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

void dtx_adapter_del(dtx_adapter *a)
{
    if (a != NULL) {
        dtx_free(a->slot);
        if (!a->borrowed) {
            dtx_free(a->arena);
        }
        dtx_free(a);
    }
}
