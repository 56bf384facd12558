/* cost.h - what a pass costs before it is run: floating-point operations, bytes of memory, bytes of weights read. Pure
 * functions of a description, an adapter's shape and lengths; they follow the passes of model.h step by step, and the
 * tests compare them with dtx_linear_flops() and dtx_mem_peak() of real passes. */
#ifndef DTX_COST_H
#define DTX_COST_H

#include "src/model/adapter.h"
#include "src/model/families/arch.h"

/* Floating-point operations, 2 for a multiply-add. */
typedef struct {
    double linear;    /* products with weights: what dtx_linear_flops() counts */
    double attention; /* q.k and p v, and their backward passes, over the pairs that the mask leaves */
    double head;      /* of linear: the LM head, forward and backward */
    double spare;     /* of linear: formed because a projection is fused, though the result is not used */
} dtx_flops;
double dtx_flops_total(dtx_flops f);
dtx_flops dtx_flops_sum(dtx_flops a, dtx_flops b);

/* Sequences of a pass: rows, query-key pairs, rows that go through the LM head. */
typedef struct {
    double rows, pairs, head;
} dtx_cost_work;
/* One more sequence of `len` rows of which `head` need logits. */
void dtx_cost_add(const dtx_arch *a, dtx_cost_work *w, int64_t len, int64_t head);

/* ad: NULL, or an adapter whose shapes count (its values are not read). */
dtx_flops dtx_cost_forward(const dtx_arch *a, const dtx_adapter *ad, const dtx_cost_work *w);
/* Forward and backward pass of LoRA training: no gradient of a frozen matrix, none below the lowest adapter. */
dtx_flops dtx_cost_lora(const dtx_arch *a, const dtx_adapter *ad, const dtx_cost_work *w, bool recompute);
/* Forward and backward pass with gradients of all parameters. */
dtx_flops dtx_cost_full(const dtx_arch *a, const dtx_cost_work *w);
/* Attribution of G tokens after P; `nodes` of integrated gradients, else 1. */
dtx_flops dtx_cost_attribution(const dtx_arch *a, const dtx_adapter *ad, int64_t P, int64_t G, int64_t nodes);
/* A completion of G tokens after a prompt of P, with a key-value cache. */
dtx_flops dtx_cost_generation(const dtx_arch *a, const dtx_adapter *ad, int64_t P, int64_t G);

/* Bytes of all weights at element_size, and of those that every pass reads (without the word embedding, unless tied). */
double dtx_cost_weight_bytes(const dtx_arch *a, double element_size);
double dtx_cost_read_bytes(const dtx_arch *a, double element_size);

/* Bytes that a pass allocates at its peak. Weights, adapters and gradients are not in them. */
/* LoRA or full training of n sequences: tape, scratch, head and loss. dropout: on the adapter's branches. */
double dtx_cost_train_bytes(const dtx_arch *a, const dtx_adapter *ad, int64_t n, const int64_t *len, bool dropout,
                            bool recompute);
double dtx_cost_attribution_bytes(const dtx_arch *a, const dtx_adapter *ad, int64_t P, int64_t G, int64_t nodes,
                                  double budget);
double dtx_cost_generation_bytes(const dtx_arch *a, const dtx_adapter *ad, int64_t batch, int64_t max_prompt,
                                 int64_t max_new);
/* Vectors of n_params that one of `ranks` ranks holds at most while `leaves` shards are summed (mpi/par/reduce.h). */
int64_t dtx_cost_reduce_vectors(int64_t leaves, int64_t ranks, bool strict);

#endif
