/* adapter.h - LoRA adapters (Hu et al. 2021) in PEFT's folder layout: y = W x + b + scale B (A x), scale = alpha / r, or
 * alpha / sqrt(r) (rsLoRA). An adapter is an argument of a forward pass, so IT, FT and RL share one base in memory; NULL is the
 * base, bit for bit. Base weights are never touched. */
#ifndef DTX_ADAPTER_H
#define DTX_ADAPTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/model/families/arch.h"
#include "src/base/status.h"

typedef struct {
    float *A, *B;          /* (r, n_in), (n_out, r); NULL = this module has none. Into `arena`. */
    int64_t n_in, n_out;
    int64_t r;             /* patterns may give modules ranks and scales of their own */
    float scale;
    const float *bias;     /* (n_out) lora_bias, times the scale; NULL = none. Into `extra`, as what follows */
    const float *magnitude; /* (n_out) DoRA (Liu et al. 2024), as stored; NULL = none */
    float *gain;           /* (n_out) magnitude over the norm of the row of W + scale B A: dtx_adapter_attach */
} dtx_lora;

typedef struct {
    int64_t r;             /* the largest */
    double alpha;
    float scale;           /* of r and alpha */
    double dropout;        /* as stated in adapter_config.json; not applied in evaluation */
    bool rslora;           /* scale = alpha / sqrt(r) */
    bool uniform;          /* every module has r and scale, and no more than its pair: what training needs */
    bool attached;         /* every DoRA module has its gain, or there is none */
    int64_t n_slots;       /* n_layers * DTX_MODULES; a slot is layer * DTX_MODULES + module */
    dtx_lora *slot;
    bool borrowed;         /* the arena belongs to somebody else (dtx_adapter_view) */
    float *arena;          /* all A and B one after the other, slot by slot, A before B */
    float *extra;          /* biases, magnitudes, gains; NULL = none */
    int64_t n_params;
    char *targets;         /* target_modules as given: names, one a line */
    bool pattern;          /* targets is one regular expression instead */
} dtx_adapter;

/* Which modules an adapter stands on and how: PEFT's rules. */
typedef struct {
    const char *const *target; /* names; none at all: the family's usual ones. A module's dotted name equals one or ends with "." and one; "all-linear" is all modules */
    int n_targets;
    const char *pattern;       /* instead of names: a regular expression that the whole dotted name must match; NULL = none */
    int64_t r;
    double alpha, dropout;
    bool rslora;
    /* rank_pattern and alpha_pattern: the first key that matches the dotted name or an end of it behind a dot sets the module's value */
    const char *const *rank_key, *const *alpha_key;
    const double *rank, *alpha_of;
    int n_ranks, n_alphas;
    const bool *layer;         /* NULL, or (n_layers): layers_to_transform */
} dtx_adapter_rule;

/* Number of a module's stream of random numbers: those of the modules that were there first never change. */
static inline int64_t dtx_module_stream(int64_t layer, dtx_module_kind kind)
{
    return kind < DTX_MOD_GATE ? layer * DTX_MOD_GATE + kind : ((int64_t)kind << 24) + layer;
}

/* A = B = 0 on the modules that the rule names. A target that matches nothing is DTX_ERR_USAGE naming the modules there are. */
dtx_status dtx_adapter_make(const dtx_arch *a, const dtx_adapter_rule *rule, dtx_adapter **out);
/* The same with one rank, by names. */
dtx_status dtx_adapter_alloc(const dtx_arch *a, int64_t r, double alpha, double dropout, const char *const *targets,
                             int n_targets, dtx_adapter **out);
/* The same with A ~ U(-1/sqrt(in), 1/sqrt(in)) from the seed, B = 0. */
dtx_status dtx_adapter_new(const dtx_arch *a, int64_t r, double alpha, double dropout, const char *const *targets,
                           int n_targets, uint64_t seed, dtx_adapter **out);
/* Fills A from the seed as dtx_adapter_new does. */
void dtx_adapter_draw(dtx_adapter *ad, uint64_t seed);
/* Same shapes, all zeros: a gradient or an optimizer moment. */
dtx_status dtx_adapter_like(const dtx_adapter *a, dtx_adapter **out);
/* The same shapes over n_params floats of the caller's, which must outlive it. */
dtx_status dtx_adapter_view(const dtx_adapter *a, float *arena, dtx_adapter **out);
/* Reads a PEFT folder (adapter_config.json + adapter_model.safetensors or .bin). Every tensor must be there once and fit the
 * model; a setting that is not computed here (DTX_ERR_INPUT) is refused by its name. */
dtx_status dtx_adapter_read(const char *dir, const dtx_arch *a, dtx_adapter **out);
/* Writes PEFT's folder with its exact key names, f32 safetensors; the adapter must be uniform. `base` is recorded as
 * base_model_name_or_path. */
dtx_status dtx_adapter_write(const char *dir, const dtx_arch *a, const dtx_adapter *ad, const char *base);
/* "q_proj,v_proj": the targets for descriptions. Cut at `size`. */
const char *dtx_adapter_targets(const dtx_adapter *ad, char *text, size_t size);
void dtx_adapter_del(dtx_adapter *a);

#endif
