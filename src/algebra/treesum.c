#include "src/algebra/treesum.h"

#include <string.h>

#include "src/algebra/linear.h"
#include "src/base/mem.h"

enum { PARALLEL_FROM = 1 << 17 };

struct dtx_treesum {
    int64_t n_floats;
    dtx_tree_node stack[DTX_TREE_MAX_NODES];
    int n;
    float *spare[DTX_TREE_MAX_NODES]; /* vectors not in use */
    int n_spare;
    float *open;                      /* given out by begin, not yet committed */
};

static void add(float *restrict to, const float *restrict from, int64_t n)
{
#pragma omp parallel for simd num_threads(dtx_linear_threads()) if (n >= PARALLEL_FROM) schedule(static)
    for (int64_t i = 0; i < n; i++) {
        to[i] += from[i];
    }
}

static void merge_last_two(dtx_tree_node *stack, int *n, int64_t n_floats, float **freed, int *n_freed)
{
    dtx_tree_node *left = &stack[*n - 2], *right = &stack[*n - 1];

    if (left->x != NULL) {
        add(left->x, right->x, n_floats);
    }
    if (freed != NULL) {
        freed[(*n_freed)++] = right->x;
    }
    left->level = left->level > right->level ? left->level + 1 : right->level + 1;
    (*n)--;
}

void dtx_tree_push(dtx_tree_node *stack, int *n, dtx_tree_node node, int64_t n_floats, float **freed, int *n_freed)
{
    stack[(*n)++] = node;
    while (*n >= 2 && stack[*n - 2].level == stack[*n - 1].level
           && stack[*n - 2].first % (INT64_C(2) << stack[*n - 2].level) == 0) {
        merge_last_two(stack, n, n_floats, freed, n_freed);
    }
}

void dtx_tree_fold(dtx_tree_node *stack, int *n, int64_t n_floats, float **freed, int *n_freed)
{
    while (*n >= 2) {
        merge_last_two(stack, n, n_floats, freed, n_freed);
    }
}

int dtx_tree_nodes(int64_t first, int64_t count, dtx_tree_node *out)
{
    int n = 0;

    while (count > 0) { /* the largest node that begins here and fits */
        int level = 0;
        while (first % (INT64_C(2) << level) == 0 && (INT64_C(2) << level) <= count) {
            level++;
        }
        out[n++] = (dtx_tree_node){first, level, NULL};
        first += INT64_C(1) << level;
        count -= INT64_C(1) << level;
    }
    return n;
}

dtx_status dtx_treesum_new(int64_t n_floats, dtx_treesum **out)
{
    dtx_treesum *t;

    DTX_TRY(DTX_NEW(t, 1));
    t->n_floats = n_floats;
    *out = t;
    return DTX_OK;
}

void dtx_treesum_del(dtx_treesum *t)
{
    if (t == NULL) {
        return;
    }
    dtx_treesum_clear(t);
    for (int i = 0; i < t->n_spare; i++) {
        dtx_free(t->spare[i]);
    }
    dtx_free(t);
}

dtx_status dtx_treesum_begin(dtx_treesum *t, float **x)
{
    if (t->open == NULL && t->n_spare > 0) {
        t->open = t->spare[--t->n_spare];
    } else if (t->open == NULL) {
        DTX_TRY(DTX_NEW_RAW(t->open, t->n_floats));
    }
    memset(t->open, 0, (size_t)t->n_floats * sizeof *t->open);
    *x = t->open;
    return DTX_OK;
}

void dtx_treesum_commit(dtx_treesum *t, int64_t leaf)
{
    dtx_tree_push(t->stack, &t->n, (dtx_tree_node){leaf, 0, t->open}, t->n_floats, t->spare, &t->n_spare);
    t->open = NULL;
}

const dtx_tree_node *dtx_treesum_stack(const dtx_treesum *t, int *n)
{
    *n = t->n;
    return t->stack;
}

float *dtx_treesum_fold(dtx_treesum *t)
{
    dtx_tree_fold(t->stack, &t->n, t->n_floats, t->spare, &t->n_spare);
    return t->n > 0 ? t->stack[0].x : NULL;
}

void dtx_treesum_clear(dtx_treesum *t)
{
    while (t->n > 0) {
        t->spare[t->n_spare++] = t->stack[--t->n].x;
    }
    if (t->open != NULL) {
        t->spare[t->n_spare++] = t->open;
        t->open = NULL;
    }
}
