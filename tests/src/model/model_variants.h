/* model_variants.h - small models of every architecture for tests, with weights so large that every part matters. */
#ifndef DTX_TEST_MODEL_VARIANTS_H
#define DTX_TEST_MODEL_VARIANTS_H

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "src/model/model.h"
#include "src/base/rng.h"

enum { N_VARIANTS = 7, N_DECODERS = 6, VARIANT_VOCAB = 23 };

static inline const char *variant_name(int v)
{
    static const char *const name[N_VARIANTS] = {"neox parallel", "neox sequential tied", "falcon 7b", "falcon 40b",
                                                 "falcon rw (alibi)", "falcon parallel untied head", "roberta"};
    return name[v];
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
    } else if (v == 6) {
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
