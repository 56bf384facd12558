/* tiny.h - small models with random weights for tests: one description of each decoder family. */
#ifndef DTX_TEST_TINY_H
#define DTX_TEST_TINY_H

#include <stdio.h>
#include <string.h>

#include "src/model.h"

/* kind: 0 GPT-NeoX parallel, 1 GPT-NeoX sequential, 2 Falcon multi-query, 3 Falcon grouped, 4 Falcon with ALiBi */
enum { TINY_KINDS = 5 };

static inline dtx_arch tiny_arch(int kind)
{
    dtx_arch a = {.n_layers = 2, .hidden = 32, .n_heads = 4, .head_dim = 8, .n_kv = 4, .ffn = 128, .vocab = 97,
                  .max_positions = 64, .causal = true, .fused_qkv = true, .activation = DTX_ACT_GELU_ERF,
                  .norm_eps = 1e-5F, .rotary_base = 10000, .bos_id = 0, .eos_id = 0, .pad_id = -1, .n_labels = 0};

    snprintf(a.model_type, sizeof a.model_type, kind < 2 ? "gpt_neox" : "falcon");
    a.family = kind < 2 ? DTX_NEOX : DTX_FALCON;
    a.position = kind == 4 ? DTX_POS_ALIBI : DTX_POS_ROTARY;
    a.rotary_dims = kind == 0 ? 2 : kind == 4 ? 0 : 8;
    a.parallel = kind == 0 || kind == 2 || kind == 3;
    a.shared_norm = kind == 2;
    a.linear_bias = kind < 2 || kind == 4;
    a.tied_head = kind >= 2;
    a.n_kv = kind == 2 ? 1 : kind == 3 ? 2 : 4;
    return a;
}

/* Weights large enough that the distributions are far from uniform. */
static inline dtx_status tiny_model(int kind, dtx_model **out)
{
    dtx_arch a = tiny_arch(kind);

    DTX_TRY(dtx_model_new(&a, 7 + (uint64_t)kind, out));
    float *w = dtx_model_arena(*out);
    for (int64_t i = 0; i < dtx_model_n_params(*out); i++) {
        const dtx_param *p = dtx_model_param(*out, i);
        for (int64_t j = 0; j < p->n_elements && strstr(p->name, "norm") == NULL && strstr(p->name, "ln_") == NULL; j++) {
            w[p->offset + j] *= 8;
        }
    }
    return DTX_OK;
}

#endif
