/* The strict sum has the same bits on any number of ranks: it is compared with a plain recursive sum over the leaves. */
#include "tests/mpi/par/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mpi/par/node_memory.h"
#include "mpi/par/reduce.h"
#include "src/base/mem.h"

/* Values of very different sizes, so that the order of the sum shows in the last bits. */
static float value(int64_t leaf, int64_t i)
{
    uint64_t x = (uint64_t)(leaf * 1000003 + i) * 0x9E3779B97F4A7C15ull;
    x ^= x >> 29;
    x *= 0xBF58476D1CE4E5B9ull;
    return ldexpf((float)(int32_t)(x >> 32) / 2147483648.0f, (int)(x & 15) - 8);
}

/* The definition in src/algebra/treesum.h, read literally. */
static float tree(int64_t first, int64_t count, int64_t i)
{
    int64_t half = 1;

    if (count == 1) {
        return value(first, i);
    }
    while (2 * half < count) {
        half *= 2;
    }
    return tree(first, half, i) + tree(first + half, count - half, i);
}

static void sum_once(const dtx_par *par, dtx_reduce *r, int64_t n, float *sum)
{
    int64_t first, count;
    float *grad;

    dtx_reduce_leaves(r, &first, &count);
    for (int64_t leaf = first; leaf < first + count; leaf++) {
        CHECK(par, dtx_reduce_begin(r, &grad) == DTX_OK);
        for (int64_t i = 0; i < n; i++) {
            grad[i] += value(leaf, i);
        }
        dtx_reduce_commit(r);
    }
    CHECK(par, dtx_reduce_finish(r, sum) == DTX_OK);
}

static void check(const dtx_par *par, int64_t n, int64_t leaves, bool strict)
{
    dtx_reduce *r = NULL;
    float *sum = NULL, *grad;

    CHECK(par, DTX_NEW(sum, n) == DTX_OK);
    CHECK(par, dtx_reduce_new(par, n, leaves, strict, &r) == DTX_OK);
    if (par->rank == 0 && par->size > 1 && leaves >= par->size) { /* a step that is given up leaves no trace */
        CHECK(par, dtx_reduce_begin(r, &grad) == DTX_OK);
        for (int64_t i = 0; i < n; i++) {
            grad[i] += 1e9f;
        }
        dtx_reduce_commit(r);
        dtx_reduce_cancel(r);
    }
    for (int step = 0; step < 2; step++) {
        memset(sum, 0xFF, (size_t)n * sizeof *sum);
        sum_once(par, r, n, sum);
        for (int64_t i = 0; i < n; i++) {
            float want = leaves > 0 ? tree(0, leaves, i) : 0;
            CHECK(par, strict ? memcmp(&sum[i], &want, sizeof want) == 0 : fabsf(sum[i] - want) <= 1e-3f);
        }
    }
    CHECK(par, dtx_reduce_seconds(r) >= 0);
    dtx_reduce_del(r);
    dtx_free(sum);
}

/* Ranges that become final one by one while the last leaf is under way, steps given up, and ranks without leaves. */
static void overlapped(const dtx_par *par, int64_t n, int64_t leaves)
{
    const dtx_reduce_range ranges[] = {{n / 2, n - n / 2}, {n / 3, n / 2 - n / 3}, {0, n / 3}};
    dtx_reduce *r = NULL;
    float *sum = NULL, *grad;
    int64_t first, count;

    CHECK(par, DTX_NEW(sum, n) == DTX_OK);
    CHECK(par, dtx_reduce_new(par, n, leaves, false, &r) == DTX_OK);
    CHECK(par, dtx_reduce_overlap(r, ranges, 3) == DTX_OK);
    dtx_reduce_leaves(r, &first, &count);
    for (int step = 0; step < 4; step++) {
        for (int64_t leaf = first; leaf < first + count; leaf++) {
            CHECK(par, dtx_reduce_begin(r, &grad) == DTX_OK);
            for (int k = 0; k < 3; k++) {
                for (int64_t i = ranges[k].first; i < ranges[k].first + ranges[k].count; i++) {
                    grad[i] += value(leaf, i);
                }
                if (leaf + 1 == first + count && step != 1) {
                    dtx_reduce_ready(r, k + 1);
                }
            }
            dtx_reduce_commit(r);
        }
        if (step == 2) { /* given up by all */
            dtx_reduce_cancel(r);
            continue;
        }
        memset(sum, 0xFF, (size_t)n * sizeof *sum);
        CHECK(par, dtx_reduce_finish(r, sum) == DTX_OK);
        for (int64_t i = 0; i < n; i++) {
            CHECK(par, fabsf(sum[i] - tree(0, leaves, i)) <= 1e-3f);
        }
    }
    dtx_reduce_del(r);
    dtx_free(sum);
}

static void incomplete(const dtx_par *par)
{
    dtx_reduce *r = NULL;
    float sum[3];

    CHECK(par, dtx_reduce_new(par, 3, 2 * par->size, true, &r) == DTX_OK);
    CHECK(par, dtx_reduce_finish(r, sum) == DTX_ERR_CHECK);
    dtx_reduce_del(r);
}

static void shared_memory(const dtx_par *par)
{
    const size_t bytes = 100000 * sizeof(int);
    void *p = NULL;

    CHECK(par, dtx_node_memory_new(par, bytes, &p) == DTX_OK && p != NULL);
    int *x = p;
    for (int i = par->node_rank; i < 100000; i += par->node_size) {
        CHECK(par, x[i] == 0);
        x[i] = i;
    }
    MPI_Barrier(par->comm);
    for (int i = 0; i < 100000; i++) {
        CHECK(par, x[i] == i);
    }
    MPI_Barrier(par->comm);
    dtx_node_memory_del(p, bytes);
    CHECK(par, dtx_node_memory_new(par, (size_t)1 << 50, &p) == DTX_OK && p == NULL); /* no room is no error */
}

int main(int argc, char **argv)
{
    dtx_par par;
    const int64_t leaves[] = {0, 1, 2, 3, 4, 5, 7, 8, 16, 23, 32, 33};

    if (dtx_par_init(&argc, &argv, &par) != DTX_OK) {
        fprintf(stderr, "%s\n", dtx_error_text());
        return 1;
    }
    for (size_t i = 0; i < sizeof leaves / sizeof leaves[0]; i++) {
        check(&par, 1, leaves[i], true);
        check(&par, 1001, leaves[i], true);
        check(&par, 1001, leaves[i], false);
    }
    check(&par, (1 << 20) + 12345, 9, true); /* more than one block, the last one odd */
    check(&par, (1 << 20) + 12345, 9, false);
    overlapped(&par, 1001, 1);
    overlapped(&par, (1 << 19) + 77, 9);
    dtx_par apart = par; /* as if every rank had a node of its own: no shared memory */
    apart.node_size = 1;
    check(&apart, 1001, 7, false);
    check(&apart, (1 << 20) + 12345, 9, false);
    overlapped(&apart, 1001, 1);
    overlapped(&apart, (1 << 19) + 77, 9);
    shared_memory(&par);
    incomplete(&par);
    CHECK(&par, dtx_mem_used() == 0);
    dtx_par_finalize(&par);
    return 0;
}
