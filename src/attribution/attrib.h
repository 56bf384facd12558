/* attrib.h - gradient attribution of every generated token to the tokens before it: one forward pass over prompt +
 * completion, all steps' cotangents propagated together in blocks of steps (the algorithm is
 * told in attrib.c). Semantics of Inseq's aggregate() (2023-08-30). Local: no MPI, no files. */
#ifndef DTX_ATTRIB_H
#define DTX_ATTRIB_H

#include <stdbool.h>
#include <stdint.h>

#include "src/model/model.h"

typedef enum { DTX_IXG, DTX_SALIENCY, DTX_IG } dtx_attrib_method;
typedef enum { DTX_TARGET_PROBABILITY, DTX_TARGET_LOGPROB, DTX_TARGET_LOGIT } dtx_attrib_target;
typedef enum { DTX_NORM_L2, DTX_NORM_L1, DTX_NORM_SUM } dtx_attrib_norm;
typedef enum { DTX_MERGE_NONE, DTX_MERGE_WORDS, DTX_MERGE_INSEQ } dtx_attrib_merge;

typedef struct {
    dtx_attrib_method method;
    dtx_attrib_target target;
    dtx_attrib_norm norm;
    dtx_attrib_merge merge;
    int64_t steps;              /* integrated gradients: Gauss-Legendre nodes */
    int32_t baseline;           /* integrated gradients: token whose embedding is the baseline, -1 = zeros */
    size_t memory_bytes;        /* budget for cotangent rows, 0 = 1 GiB; the result does not depend on it */
    const dtx_adapter *adapter;
    bool (*stop)(void *user);   /* asked between blocks; true ends with DTX_STOPPED */
    /* NULL, or receives each step's scores (len, d) before norm and merging; steps come in ascending order */
    void (*granular)(void *user, int64_t step, int64_t len, int64_t d, const float *score);
    void *user;
} dtx_attrib_settings;

typedef struct {
    int64_t G, T;               /* steps, prompt + generated */
    float *value;               /* (G, T): norm over the embedding axis, each row divided by the sum of its magnitudes
                                 * (or by 1e-12 where that is less), NaN for t >= P + g */
    float *probability;         /* (G) p(token P+g | before), whatever the target */
    float *entropy;             /* (G) bits, over the prompt, renormalised */
    float *prompt_dependence;   /* (G) */
    /* after merging (merge != none): G_words steps over T_words entries, P_words of them prompt */
    int64_t G_words, T_words, P_words;
    float *words_value;         /* (G_words, T_words) */
    float *words_probability, *words_entropy, *words_prompt_dependence; /* (G_words) */
} dtx_attribution;
void dtx_attribution_free(dtx_attribution *a);

/* ids: P prompt and G generated tokens, P >= 1, G >= 0 (G = 0 gives an empty result). counts_as_prompt: NULL, or (P)
 * flags: prompt tokens that count in entropy and prompt dependence (the template's own may not); with merging a word
 * counts when any piece does. pieces: (P + G) vocabulary strings, needed for merging only. *out is overwritten (not freed). */
dtx_status dtx_attribute(const dtx_model *m, const dtx_attrib_settings *s, const int32_t *ids, int64_t P, int64_t G,
                         const uint8_t *counts_as_prompt, const char *const *pieces, dtx_attribution *out);

/* Entropy (bits) of a row's first P scores renormalised to 1, where use[t] != 0 (use may be NULL). NaN when their sum is
 * 0 or one of them is NaN or (signed sums) negative. */
double dtx_prompt_entropy(const float *row, int64_t P, const uint8_t *use);
/* sum p log2(p / q) over the prompt, both renormalised; NaN terms skipped. */
double dtx_prompt_kl(const float *p, const float *q, int64_t P);
/* Nodes (ascending) and weights of the n-point Gauss-Legendre rule on [0, 1]. */
void dtx_gauss_legendre(int64_t n, double *node, double *weight);

#endif
