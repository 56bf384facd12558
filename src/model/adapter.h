/* adapter.h - LoRA adapters (Hu et al. 2021) in PEFT's folder layout: y = W x + b + scale B (A x), scale = alpha / r.
 * An adapter is an argument of a forward pass, so IT, FT and RL share one base in memory; NULL is the base, bit for
 * bit. Base weights are never touched. */
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
} dtx_lora;

typedef struct {
    int64_t r;
    double alpha;
    float scale;           /* alpha / r */
    double dropout;        /* as stated in adapter_config.json; not applied in evaluation */
    int64_t n_slots;       /* n_layers * DTX_MODULES; a slot is layer * DTX_MODULES + module */
    dtx_lora *slot;
    bool borrowed;         /* the arena belongs to somebody else (dtx_adapter_view) */
    float *arena;          /* all A and B one after the other, slot by slot, A before B */
    int64_t n_params;
    char targets[8][64];   /* target_modules as given */
    int n_targets;
} dtx_adapter;

/* Number of a module's stream of random numbers: those of the modules that were there first never change. */
static inline int64_t dtx_module_stream(int64_t layer, dtx_module_kind kind)
{
    return kind < DTX_MOD_GATE ? layer * DTX_MOD_GATE + kind : ((int64_t)kind << 24) + layer;
}

/* A ~ U(-1/sqrt(in), 1/sqrt(in)) from the seed, B = 0, for every module whose dotted name ends with a target (PEFT's
 * rule). No match is DTX_ERR_USAGE naming the modules there are. */
dtx_status dtx_adapter_new(const dtx_arch *a, int64_t r, double alpha, double dropout, const char *const *targets,
                           int n_targets, uint64_t seed, dtx_adapter **out);
/* The same with A = B = 0. */
dtx_status dtx_adapter_alloc(const dtx_arch *a, int64_t r, double alpha, double dropout, const char *const *targets,
                             int n_targets, dtx_adapter **out);
/* Same shapes, all zeros: a gradient or an optimizer moment. */
dtx_status dtx_adapter_like(const dtx_adapter *a, dtx_adapter **out);
/* The same shapes over n_params floats of the caller's, which must outlive it. */
dtx_status dtx_adapter_view(const dtx_adapter *a, float *arena, dtx_adapter **out);
/* Reads a PEFT folder (adapter_config.json + adapter_model.safetensors or .bin). Every tensor must be there once and
 * fit the model; an unsupported setting (bias != none, rslora, modules_to_save ...) is DTX_ERR_INPUT naming it. */
dtx_status dtx_adapter_read(const char *dir, const dtx_arch *a, dtx_adapter **out);
/* Writes PEFT's folder with its exact key names, f32 safetensors. `base` is recorded as base_model_name_or_path. */
dtx_status dtx_adapter_write(const char *dir, const dtx_arch *a, const dtx_adapter *ad, const char *base);
void dtx_adapter_del(dtx_adapter *a);

#endif
