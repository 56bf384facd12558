/* model_variants.h - small models of every architecture for tests, with weights so large that every part matters. */
#ifndef DTX_TEST_MODEL_VARIANTS_H
#define DTX_TEST_MODEL_VARIANTS_H

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "src/model/model.h"
#include "src/base/rng.h"

enum { N_VARIANTS = 16, N_DECODERS = N_VARIANTS - 1, VARIANT_VOCAB = 23 };

static inline const char *variant_name(int v)
{
    static const char *const name[N_VARIANTS] = {"neox parallel", "neox sequential tied", "falcon 7b", "falcon 40b",
                                                 "falcon rw (alibi)", "falcon parallel untied head", "llama", "qwen3 (windows)",
                                                 "smollm3", "olmo2", "gemma2", "gemma3", "phi3", "gpt2", "gpt-neo", "roberta"};
    return name[v];
}

/* The families of today, all with three layers. */
static inline void variant_of_today(int v, dtx_arch *a)
{
    static const char *const type[] = {"llama", "qwen3", "smollm3", "olmo2", "gemma2", "gemma3_text", "phi3", "gpt2", "gpt_neo"};
    const char *t = type[v - 6];
    const bool gpt = strncmp(t, "gpt", 3) == 0, gemma = strncmp(t, "gemma", 5) == 0;

    snprintf(a->model_type, sizeof a->model_type, "%s", t);
    a->parallel = a->fused_qkv = a->linear_bias = false;
    a->rms_norm = a->gated = !gpt;
    a->activation = gpt || gemma ? DTX_ACT_GELU_TANH : DTX_ACT_SILU;
    a->rotary_dims = gpt ? 0 : 6;
    a->n_kv = gpt || strcmp(t, "olmo2") == 0 ? 4 : 2;
    if (gpt) {
        a->position = DTX_POS_LEARNED;
        a->rope[0].base = 0;
        a->tied_head = true;
    }
    if (strcmp(t, "llama") == 0) {
        a->qkv_bias = a->out_bias = a->mlp_bias = true;
        a->head_dim = a->rotary_dims = 8; /* heads wider than the stream */
        a->rope[0] = (dtx_rope){.type = DTX_ROPE_LLAMA3, .base = 100, .factor = 4, .old_length = 16, .low = 1, .high = 4};
    } else if (strcmp(t, "qwen3") == 0) {
        a->qk_norm = true;
        a->window = 3;
        a->layer[1] = a->layer[2] = DTX_LAYER_WINDOW;
    } else if (strcmp(t, "smollm3") == 0) {
        a->tied_head = true;
        a->layer[1] = DTX_LAYER_NO_ROPE;
        a->rope[0] = (dtx_rope){.type = DTX_ROPE_YARN, .base = 100, .factor = 4, .old_length = 16, .low = 1, .high = 32, .attention = 1.14};
    } else if (strcmp(t, "olmo2") == 0) {
        a->bare_input = a->branch_norm = a->qk_norm = a->qk_norm_wide = true;
    } else if (gemma) {
        a->branch_norm = a->norm_plus_one = a->tied_head = true;
        a->score_scale = 0.5;
        a->embed_scale = sqrt(24);
        a->window = 2;
        a->layer[0] = DTX_LAYER_WINDOW;
        if (strcmp(t, "gemma2") == 0) {
            a->score_cap = 2;
            a->logit_cap = 3;
        } else {
            a->qk_norm = true;
            a->layer[0] = a->layer[2] = DTX_LAYER_WINDOW | DTX_LAYER_ROPE2;
            a->rope[1].base = 50;
        }
    } else if (strcmp(t, "phi3") == 0) {
        a->fused_qkv = a->qkv_blocks = a->fused_gate = true;
        a->window = 4;
        a->layer[0] = a->layer[1] = a->layer[2] = DTX_LAYER_WINDOW;
    } else if (strcmp(t, "gpt2") == 0) {
        a->fused_qkv = a->qkv_blocks = a->transposed = a->linear_bias = true;
    } else if (strcmp(t, "gpt_neo") == 0) {
        a->out_bias = a->mlp_bias = true;
        a->score_scale = 1;
        a->window = 2;
        a->layer[1] = DTX_LAYER_WINDOW;
    }
}

/* Targets that reach the modules of `kinds` (bits) in every layer and no other; returns how many. Valid until the next call. */
static inline int variant_targets(const dtx_arch *a, unsigned kinds, const char **target)
{
    static char text[DTX_MODULES][128];
    int n = 0;

    for (int k = 0; k < DTX_MODULES; k++) {
        char name[128];
        dtx_module_name(a, 0, (dtx_module_kind)k, name, sizeof name);
        const char *tail = strstr(name, ".0.");
        if ((kinds >> k & 1) && tail != NULL) {
            snprintf(text[n], sizeof text[n], "%s", tail + 3);
            target[n] = text[n];
            n++;
        }
    }
    return n;
}

static inline dtx_arch variant_arch(int v)
{
    dtx_arch a = {.model_type = "gpt_neox", .n_layers = 3, .hidden = 24, .n_heads = 4,
                  .head_dim = 6, .ffn = 40, .vocab = VARIANT_VOCAB, .n_kv = 4, .max_positions = 64, .causal = true, .parallel = true,
                  .fused_qkv = true, .linear_bias = true, .position = DTX_POS_ROTARY, .rotary_dims = 2,
                  .rope = {{.base = 10000}}, .activation = DTX_ACT_GELU_ERF, .norm_eps = 1e-5F, .bos_id = 0, .eos = {.n = 1, .id = {0}},
                  .pad_id = -1};

    if (v == 1) {
        a.parallel = false;
        a.rotary_dims = 6;
        a.tied_head = true;
    } else if (v >= 2 && v <= 5) {
        strcpy(a.model_type, "falcon");
        a.ffn = 96;
        a.linear_bias = false;
        a.rotary_dims = 6;
        a.tied_head = v != 5;
        a.n_kv = v == 2 ? 1 : v == 3 ? 2 : 4;
        a.shared_norm = v == 2 || v == 5;
        if (v == 4) {
            a.parallel = false;
            a.linear_bias = true;
            a.position = DTX_POS_ALIBI;
            a.rotary_dims = 0;
        }
    } else if (v >= 6 && v < N_DECODERS) {
        variant_of_today(v, &a);
    } else if (v == N_DECODERS) {
        strcpy(a.model_type, "roberta");
        a.causal = false;
        a.parallel = false;
        a.post_norm = true;
        a.fused_qkv = false;
        a.position = DTX_POS_LEARNED;
        a.rotary_dims = 0;
        a.max_positions = 20;
        a.pad_id = 1;
        a.eos = dtx_eos_of(2);
        a.type_vocab = 1;
        a.n_labels = 2;
        strcpy(a.labels[0], "nothate");
        strcpy(a.labels[1], "hate");
    }
    return a;
}

/* Fresh weights are tiny and biases zero: here all are random, so that no gradient is hidden by symmetry. */
static inline void variant_shake(dtx_model *m, uint64_t seed)
{
    float *w = dtx_model_arena(m);

    for (int64_t i = 0; i < dtx_model_arena_size(m); i++) {
        w[i] += 0.2F * (float)dtx_rng_normal(seed, DTX_RNG_CHECK, 1, 0, (uint32_t)i);
    }
}

static inline void fill_normal(float *x, int64_t n, uint64_t key, double scale)
{
    for (int64_t i = 0; i < n; i++) {
        x[i] = (float)(scale * dtx_rng_normal(99, DTX_RNG_CHECK, key, 0, (uint32_t)i));
    }
}

#endif
