#include "mpi/par/reduce.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "mpi/par/node_memory.h"
#include "src/base/mem.h"
#include "src/algebra/treesum.h"

/* The parameters go through the exchange in blocks of this many floats, each rank combining its slice of a block. */
enum { BLOCK = 1 << 20, FAST_PIECE = 1 << 18 };
/* Vectors in a node's shared memory begin at pages; their slices at cache lines. */
enum { PAGE_FLOATS = 1024, LINE_FLOATS = 16 };

/* fast sums that run while the backward pass goes on */
typedef struct {
    int n, ready, done;        /* ranges: all, final here, summed over the ranks */
    bool quit;
    dtx_reduce_range *range;
    MPI_Comm comm;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    dtx_status st;             /* first failure of the helper, with its text */
    char text[512];
} overlap;

struct dtx_reduce {
    const dtx_par *par;
    int64_t n_floats, n_leaves, first, count, next;
    bool strict;
    dtx_treesum *tree; /* strict */
    float *total;      /* fast */
    float *node;       /* fast, all ranks on one node: (size) vectors of `stride` floats, shared; total is this rank's */
    int64_t stride;
    overlap *over;     /* fast, NULL = none */
    double seconds;
};

static int64_t first_of(const dtx_reduce *r, int rank)
{
    return r->n_leaves * rank / r->par->size;
}

/* Collective. Where all ranks share a node their vectors stand in memory that all see, if there is room for it. */
static dtx_status share_totals(dtx_reduce *r)
{
    const dtx_par *par = r->par;
    void *memory = NULL;

    if (par->size == 1 || par->node_size != par->size || r->n_floats == 0) {
        return DTX_OK;
    }
    r->stride = (r->n_floats + PAGE_FLOATS - 1) / PAGE_FLOATS * PAGE_FLOATS;
    DTX_TRY(dtx_node_memory_new(par, (size_t)(r->stride * par->size) * sizeof(float), &memory));
    r->node = memory;
    r->total = memory != NULL ? r->node + r->stride * par->node_rank : NULL;
    return DTX_OK;
}

dtx_status dtx_reduce_new(const dtx_par *par, int64_t n_floats, int64_t n_leaves, bool strict, dtx_reduce **out)
{
    dtx_reduce *r = NULL;
    dtx_status st = dtx_par_agree(par, DTX_NEW(r, 1));

    if (st != DTX_OK) {
        dtx_free(r);
        return st;
    }
    r->par = par;
    r->n_floats = n_floats;
    r->n_leaves = n_leaves;
    r->strict = strict;
    r->first = r->next = first_of(r, par->rank);
    r->count = first_of(r, par->rank + 1) - r->first;
    st = dtx_par_agree(par, strict ? dtx_treesum_new(n_floats, &r->tree) : share_totals(r));
    if (st != DTX_OK) {
        dtx_reduce_del(r);
        return st;
    }
    *out = r;
    return DTX_OK;
}

/* --- fast sums that run while the backward pass goes on --- */

static dtx_status sum_over_ranks(MPI_Comm comm, float *x, int64_t n)
{
    for (int64_t at = 0; at < n; at += FAST_PIECE) {
        int piece = (int)(n - at < FAST_PIECE ? n - at : FAST_PIECE);
        DTX_TRY(DTX_MPI(MPI_Allreduce(MPI_IN_PLACE, x + at, piece, MPI_FLOAT, MPI_SUM, comm)));
    }
    return DTX_OK;
}

/* Slice k of n numbers. */
static void slice_of(const dtx_reduce *r, int64_t n, int k, int64_t *first, int64_t *last)
{
    int64_t each = ((n + r->par->size - 1) / r->par->size + LINE_FLOATS - 1) / LINE_FLOATS * LINE_FLOATS;

    *first = each * k < n ? each * k : n;
    *last = *first + each < n ? *first + each : n;
}

/* Collective. Numbers first .. first + n - 1 are final on all ranks: this rank's slice of its own vector becomes the sum of
 * all, in the order of the ranks. */
static dtx_status sum_slice(const dtx_reduce *r, MPI_Comm comm, int64_t at, int64_t n)
{
    float *restrict mine = r->total + at;
    int64_t first, last;

    DTX_TRY(DTX_MPI(MPI_Barrier(comm)));
    slice_of(r, n, r->par->node_rank, &first, &last);
    for (int64_t block = first; block < last; block += PAGE_FLOATS) {
        int64_t end = block + PAGE_FLOATS < last ? block + PAGE_FLOATS : last;
        float sum[PAGE_FLOATS];
        memcpy(sum, r->node + at + block, (size_t)(end - block) * sizeof *sum);
        for (int k = 1; k < r->par->size; k++) {
            const float *restrict x = r->node + r->stride * k + at + block;
            for (int64_t i = 0; i < end - block; i++) {
                sum[i] += x[i];
            }
        }
        memcpy(mine + block, sum, (size_t)(end - block) * sizeof *sum);
    }
    return DTX_OK;
}

/* Local, after a barrier: the slices of all ranks, from where they were summed. */
static void gather_slices(const dtx_reduce *r, int64_t at, int64_t n, float *sum)
{
    for (int k = 0; k < r->par->size; k++) {
        int64_t first, last;
        slice_of(r, n, k, &first, &last);
        memcpy(sum + at + first, r->node + r->stride * k + at + first, (size_t)(last - first) * sizeof *sum);
    }
}

static void *overlap_main(void *user)
{
    dtx_reduce *r = user;
    overlap *o = r->over;

    pthread_mutex_lock(&o->lock);
    for (;;) {
        while (!o->quit && o->done >= o->ready) {
            pthread_cond_wait(&o->changed, &o->lock);
        }
        if (o->done >= o->ready) {
            break;
        }
        const dtx_reduce_range g = o->range[o->done];
        pthread_mutex_unlock(&o->lock);
        dtx_status st = r->node != NULL ? sum_slice(r, o->comm, g.first, g.count)
                                        : sum_over_ranks(o->comm, r->total + g.first, g.count);
        pthread_mutex_lock(&o->lock);
        if (st != DTX_OK && o->st == DTX_OK) {
            o->st = st;
            snprintf(o->text, sizeof o->text, "%s", dtx_error_text());
        }
        o->done++;
        pthread_cond_broadcast(&o->changed);
    }
    pthread_mutex_unlock(&o->lock);
    return NULL;
}

/* Says that all ranges are final and waits for their sums; the next step begins at the first range again. */
static dtx_status overlap_wait(dtx_reduce *r)
{
    overlap *o = r->over;

    dtx_reduce_ready(r, o->n);
    pthread_mutex_lock(&o->lock);
    while (o->done < o->n) {
        pthread_cond_wait(&o->changed, &o->lock);
    }
    o->ready = o->done = 0;
    dtx_status st = o->st == DTX_OK ? DTX_OK : DTX_FAIL(o->st, "%s", o->text);
    pthread_mutex_unlock(&o->lock);
    return st;
}

static void overlap_del(dtx_reduce *r)
{
    overlap *o = r->over;

    if (o == NULL) {
        return;
    }
    pthread_mutex_lock(&o->lock);
    o->quit = true;
    pthread_cond_broadcast(&o->changed);
    pthread_mutex_unlock(&o->lock);
    pthread_join(o->thread, NULL);
    MPI_Comm_free(&o->comm);
    pthread_cond_destroy(&o->changed);
    pthread_mutex_destroy(&o->lock);
    dtx_free(o->range);
    dtx_free(o);
    r->over = NULL;
}

dtx_status dtx_reduce_overlap(dtx_reduce *r, const dtx_reduce_range *ranges, int n)
{
    overlap *o = NULL;
    dtx_status st = DTX_OK;

    if (r->strict || r->par->size == 1) {
        return DTX_OK;
    }
    if (r->total == NULL) {
        st = DTX_NEW(r->total, r->n_floats);
    }
    if (st == DTX_OK) {
        st = DTX_NEW(o, 1);
    }
    if (st == DTX_OK) {
        st = DTX_NEW(o->range, n);
    }
    st = dtx_par_agree(r->par, st);
    if (st == DTX_OK) {
        st = dtx_par_agree(r->par, DTX_MPI(MPI_Comm_dup(r->par->comm, &o->comm)));
    }
    if (st != DTX_OK) {
        if (o != NULL) {
            dtx_free(o->range);
        }
        dtx_free(o);
        return st;
    }
    memcpy(o->range, ranges, (size_t)n * sizeof *ranges);
    o->n = n;
    pthread_mutex_init(&o->lock, NULL);
    pthread_cond_init(&o->changed, NULL);
    r->over = o;
    if (pthread_create(&o->thread, NULL, overlap_main, r) != 0) {
        dtx_par_abort(r->par, DTX_ERR_MISSING, "cannot start the thread that sums gradients");
    }
    return DTX_OK;
}

void dtx_reduce_ready(dtx_reduce *r, int k)
{
    overlap *o = r->over;

    if (o != NULL) {
        pthread_mutex_lock(&o->lock);
        o->ready = k > o->ready ? k : o->ready;
        pthread_cond_broadcast(&o->changed);
        pthread_mutex_unlock(&o->lock);
    }
}

void dtx_reduce_del(dtx_reduce *r)
{
    if (r != NULL) {
        overlap_del(r);
        dtx_treesum_del(r->tree);
        if (r->node != NULL) {
            dtx_node_memory_del(r->node, (size_t)(r->stride * r->par->size) * sizeof(float));
        } else {
            dtx_free(r->total);
        }
        dtx_free(r);
    }
}

void dtx_reduce_leaves(const dtx_reduce *r, int64_t *first, int64_t *count)
{
    *first = r->first;
    *count = r->count;
}

dtx_status dtx_reduce_begin(dtx_reduce *r, float **grad)
{
    if (r->strict) {
        return dtx_treesum_begin(r->tree, grad);
    }
    if (r->total == NULL) {
        DTX_TRY(DTX_NEW(r->total, r->n_floats));
    } else if (r->next == r->first) {
        memset(r->total, 0, (size_t)r->n_floats * sizeof *r->total);
    }
    *grad = r->total;
    return DTX_OK;
}

void dtx_reduce_commit(dtx_reduce *r)
{
    if (r->strict) {
        dtx_treesum_commit(r->tree, r->next);
    }
    r->next++;
}

static void reset(dtx_reduce *r)
{
    if (r->strict) {
        dtx_treesum_clear(r->tree);
    }
    r->next = r->first;
}

void dtx_reduce_cancel(dtx_reduce *r)
{
    if (r->over != NULL) { /* the other ranks' helpers wait for this one's */
        (void)overlap_wait(r);
    }
    reset(r);
}

/* --- strict: every rank's nodes go, slice by slice, to the rank that combines the slice --- */

typedef struct {
    int n_nodes;               /* of all ranks */
    dtx_tree_node *nodes;      /* ascending leaves: rank after rank */
    int *of_rank;              /* number of each rank's nodes */
    int *counts, *displs, *counts_in, *displs_in;
    float *out, *in;           /* my nodes for all slices; all nodes for my slice */
} exchange;

static dtx_status exchange_new(const dtx_reduce *r, exchange *e, int64_t slice)
{
    int size = r->par->size;
    size_t cap = 0;
    dtx_tree_node some[DTX_TREE_MAX_NODES];

    DTX_TRY(DTX_NEW(e->of_rank, size));
    DTX_TRY(DTX_NEW(e->counts, 4 * size));
    e->displs = e->counts + size;
    e->counts_in = e->displs + size;
    e->displs_in = e->counts_in + size;
    for (int k = 0; k < size; k++) {
        int n = dtx_tree_nodes(first_of(r, k), first_of(r, k + 1) - first_of(r, k), some);
        DTX_TRY(DTX_GROW(e->nodes, cap, e->n_nodes + n));
        for (int i = 0; i < n; i++) {
            e->nodes[e->n_nodes + i] = some[i];
        }
        e->of_rank[k] = n;
        e->n_nodes += n;
    }
    DTX_TRY(DTX_NEW_RAW(e->out, e->of_rank[r->par->rank] * size * slice));
    return DTX_NEW_RAW(e->in, e->n_nodes * slice);
}

static void exchange_del(exchange *e)
{
    dtx_free(e->nodes);
    dtx_free(e->of_rank);
    dtx_free(e->counts);
    dtx_free(e->out);
    dtx_free(e->in);
}

static int64_t slice_length(int64_t block, int64_t slice, int rank)
{
    int64_t left = block - slice * rank;

    return left < 0 ? 0 : left < slice ? left : slice;
}

/* Collective. One block of the parameters, from `at` on; sum is its place on this rank. */
static dtx_status reduce_block(const dtx_reduce *r, exchange *e, int64_t at, int64_t block, int64_t slice, float *sum)
{
    const dtx_par *par = r->par;
    dtx_tree_node stack[DTX_TREE_MAX_NODES];
    int mine = 0, n = 0, fill = 0, fill_in = 0;
    const dtx_tree_node *local = dtx_treesum_stack(r->tree, &mine);
    int64_t own = slice_length(block, slice, par->rank);

    for (int k = 0; k < par->size; k++) {
        int64_t len = slice_length(block, slice, k);
        e->displs[k] = fill;
        e->displs_in[k] = fill_in;
        for (int i = 0; i < mine; i++) {
            memcpy(e->out + fill, local[i].x + at + slice * k, (size_t)len * sizeof *sum);
            fill += (int)len;
        }
        e->counts[k] = fill - e->displs[k];
        e->counts_in[k] = (int)(e->of_rank[k] * own);
        fill_in += e->counts_in[k];
    }
    DTX_TRY(DTX_MPI(MPI_Alltoallv(e->out, e->counts, e->displs, MPI_FLOAT, e->in, e->counts_in, e->displs_in, MPI_FLOAT,
                                  par->comm)));
    for (int i = 0; i < e->n_nodes; i++) {
        dtx_tree_node node = e->nodes[i];
        node.x = e->in + i * own;
        dtx_tree_push(stack, &n, node, own, NULL, NULL);
    }
    dtx_tree_fold(stack, &n, own, NULL, NULL);
    for (int k = 0; k < par->size; k++) {
        int64_t len = slice_length(block, slice, k);
        e->counts[k] = (int)len;
        e->displs[k] = len > 0 ? (int)(slice * k) : 0;
    }
    return DTX_MPI(MPI_Allgatherv(n > 0 ? stack[0].x : e->in, (int)own, MPI_FLOAT, sum, e->counts, e->displs, MPI_FLOAT,
                                  par->comm));
}

static dtx_status strict_sum(dtx_reduce *r, float *sum)
{
    const dtx_par *par = r->par;
    exchange e = {0};
    int64_t block = r->n_floats < BLOCK ? r->n_floats : BLOCK, slice = (block + par->size - 1) / par->size;
    dtx_status st;

    if (r->n_leaves == 0 || par->size == 1) {
        const float *all = dtx_treesum_fold(r->tree);
        if (all != NULL) {
            memcpy(sum, all, (size_t)r->n_floats * sizeof *sum);
        } else {
            memset(sum, 0, (size_t)r->n_floats * sizeof *sum);
        }
        return DTX_OK;
    }
    DTX_GO(dtx_par_agree(par, exchange_new(r, &e, slice)));
    for (int64_t at = 0; at < r->n_floats; at += block) {
        int64_t n = r->n_floats - at < block ? r->n_floats - at : block;
        DTX_GO(reduce_block(r, &e, at, n, slice, sum + at));
    }
done:
    exchange_del(&e);
    return st;
}

/* --- fast --- */

/* All ranks on one node. */
static dtx_status node_sum(dtx_reduce *r, float *sum)
{
    const dtx_reduce_range whole = {0, r->n_floats};
    const int n = r->over != NULL ? r->over->n : 1;
    const dtx_reduce_range *range = r->over != NULL ? r->over->range : &whole;

    dtx_status st = r->over != NULL ? overlap_wait(r) : sum_slice(r, r->par->node, 0, r->n_floats);
    st = dtx_par_agree(r->par, st);
    for (int i = 0; st == DTX_OK && i < n; i++) {
        gather_slices(r, range[i].first, range[i].count, sum);
    }
    return st; /* the caller agrees on it: nobody begins the next step before all have gathered */
}

static dtx_status fast_sum(dtx_reduce *r, float *sum)
{
    const size_t bytes = (size_t)r->n_floats * sizeof *sum;

    if (r->count == 0 && r->total != NULL) { /* holds the last step's sum */
        memset(r->total, 0, bytes);
    }
    if (r->node != NULL) {
        return node_sum(r, sum);
    }
    if (r->over != NULL) {
        dtx_status st = overlap_wait(r);
        memcpy(sum, r->total, bytes);
        return st;
    }
    if (r->count == 0) {
        memset(sum, 0, bytes);
    } else {
        memcpy(sum, r->total, bytes);
    }
    return r->par->size > 1 ? sum_over_ranks(r->par->comm, sum, r->n_floats) : DTX_OK;
}

dtx_status dtx_reduce_finish(dtx_reduce *r, float *sum)
{
    double begun = MPI_Wtime();
    dtx_status st = DTX_OK;

    if (r->next != r->first + r->count) {
        st = DTX_FAIL(DTX_ERR_CHECK, "%lld of %lld leaves of a gradient sum are there", (long long)(r->next - r->first),
                      (long long)r->count);
    }
    st = dtx_par_agree(r->par, st);
    if (st == DTX_OK) {
        st = dtx_par_agree(r->par, r->strict ? strict_sum(r, sum) : fast_sum(r, sum));
        reset(r);
    } else {
        dtx_reduce_cancel(r);
    }
    r->seconds += MPI_Wtime() - begun;
    return st;
}

double dtx_reduce_seconds(const dtx_reduce *r)
{
    return r->seconds;
}
