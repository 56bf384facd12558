/* scaling.c - bench NAME --scaling strong|weak: the same work on 1, 2, 4 .. all ranks of this run, the others asleep.
 * What is run is a job's own: units through the hand-out (attribute, generate), or a training step's shards and their sum. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/bench/bench.h"
#include "mpi/par/queue.h"
#include "mpi/par/reduce.h"
#include "mpi/par/stats.h"
#include "src/attribution/attrib.h"
#include "src/answer/generate.h"
#include "src/training/loss.h"
#include "src/base/mem.h"
#include "src/model/model.h"

enum { PROMPT = 45, STEPS = 16, TOKENS = PROMPT + STEPS, STREAMS = 64, NEW = 16, SEQUENCE = 128, RANK = 16, VOCAB = 4096, SIZES = 24 };
enum { UNITS = 4, SHARDS = 16 }; /* of a rank: of all ranks (strong), of each (weak); of a step, whatever the ranks */

typedef struct {
    const dtx_job *job;
    dtx_model *m;
    int32_t ids[SEQUENCE], labels[SEQUENCE];
    /* generate */
    int32_t *tokens;
    dtx_generation *items;
    /* train */
    dtx_adapter *adapter, *grads;
    dtx_tape *tape;
    float *sum;
} bench;

/* --- work; collective over `par` where that is an argument --- */

static dtx_status attribute_unit(bench *b)
{
    const dtx_attrib_settings s = {.method = DTX_IXG, .target = DTX_TARGET_PROBABILITY, .norm = DTX_NORM_L2, .baseline = -1};
    dtx_attribution a = {0};
    dtx_status st = dtx_attribute(b->m, &s, b->ids, PROMPT, STEPS, NULL, NULL, &a);

    dtx_attribution_free(&a);
    return st;
}

static dtx_status generate_unit(bench *b)
{
    const dtx_sampling sampling = {.do_sample = true, .temperature = 0.7, .max_new_tokens = NEW, .min_new_tokens = NEW, .top_k = 50,
                                   .top_p = 0.8, .no_repeat_ngram = 2, .eos = dtx_eos_of(0)};
    const dtx_generate_options o = {.sampling = sampling, .batch = STREAMS, .seed = 1, .domain = DTX_RNG_SAMPLE};

    for (int64_t i = 0; i < STREAMS; i++) {
        b->items[i] = (dtx_generation){.prompt = b->ids, .prompt_len = PROMPT, .row = (uint64_t)i, .tokens = b->tokens + i * NEW};
    }
    return dtx_generate(b->m, &o, b->items, STREAMS);
}

static dtx_status units(bench *b, const dtx_par *par, int64_t n, dtx_status (*unit)(bench *b))
{
    dtx_queue *q = NULL;
    dtx_status st, mine = DTX_OK;
    bool more = true, stopped = false;
    int64_t which;

    DTX_TRY(dtx_queue_new(par, n, 0, &q));
    while (more) {
        DTX_GO(dtx_queue_begin_round(q));
        while (mine == DTX_OK && dtx_queue_next(q, &which)) {
            mine = unit(b);
        }
        DTX_GO(dtx_queue_end_round(q, mine, &more, &stopped));
    }
done:
    dtx_queue_del(q);
    return st;
}

static dtx_status train_steps(bench *b, const dtx_par *par, int64_t steps)
{
    const dtx_wanted want = {.lora = b->grads};
    const int64_t offset[2] = {0, SEQUENCE};
    double loss[SEQUENCE];
    dtx_reduce *r = NULL;
    int64_t first, count;
    dtx_status st;

    DTX_TRY(dtx_reduce_new(par, b->adapter->n_params, SHARDS, true, &r));
    dtx_reduce_leaves(r, &first, &count);
    for (int64_t k = 0; k < steps; k++) {
        st = DTX_OK;
        for (int64_t leaf = first; st == DTX_OK && leaf < first + count; leaf++) {
            float *grad;
            st = dtx_reduce_begin(r, &grad);
            if (st == DTX_OK) {
                memset(b->grads->arena, 0, (size_t)b->grads->n_params * sizeof(float));
                st = dtx_lm_loss(b->m, b->adapter, b->tape, 1, offset, b->ids, b->labels, 1.0F / SEQUENCE, loss, NULL, &want);
                for (int64_t i = 0; i < b->grads->n_params; i++) {
                    grad[i] += b->grads->arena[i];
                }
                dtx_reduce_commit(r);
            }
        }
        DTX_GO(dtx_par_agree(par, st));
        DTX_GO(dtx_reduce_finish(r, b->sum));
    }
done:
    dtx_reduce_del(r);
    return st;
}

/* The work of `share` times as many units as one rank has. */
static dtx_status work(bench *b, const dtx_par *par, int64_t share)
{
    const char *name = b->job->args[0];

    return strcmp(name, "train") == 0       ? train_steps(b, par, share)
           : strcmp(name, "generate") == 0 ? units(b, par, share * UNITS, generate_unit)
                                           : units(b, par, share * UNITS, attribute_unit);
}

/* --- set-up --- */

/* model.path's shape, else some layers of RedPajama 3B with a small vocabulary: every rank has weights of its own. */
static dtx_status find_shape(const dtx_job *job, dtx_arch *a)
{
    const char *text = dtx_job_flag(job, "layers"), *path = job->config.model.path;
    const long layers = text != NULL ? strtol(text, NULL, 10) : 2;

    if (layers < 1 || layers > 32) {
        return DTX_FAIL(DTX_ERR_USAGE, "--layers %s: a whole number, 1..32, is expected", text);
    }
    if (path[0] == '\0') {
        *a = dtx_bench_redpajama_3b(layers);
        a->vocab = VOCAB;
        return DTX_OK;
    }
    DTX_TRY(dtx_arch_read(path, a));
    if (!a->causal || a->max_positions < SEQUENCE) {
        return DTX_FAIL(DTX_ERR_USAGE, "%s: a decoder of at least %d positions is expected", path, (int)SEQUENCE);
    }
    return DTX_OK;
}

static dtx_status prepare(bench *b)
{
    const char *const target = "query_key_value";
    dtx_arch a;

    DTX_TRY(find_shape(b->job, &a));
    DTX_TRY(dtx_model_random(&a, DTX_BF16, 1, &b->m));
    for (int32_t t = 0; t < SEQUENCE; t++) {
        b->ids[t] = (t * 7919 + 13) % (int32_t)a.vocab;
        b->labels[t] = (t * 6151 + 7) % (int32_t)a.vocab;
    }
    DTX_TRY(DTX_NEW(b->tokens, STREAMS * NEW));
    DTX_TRY(DTX_NEW(b->items, STREAMS));
    DTX_TRY(dtx_adapter_new(&a, RANK, RANK, 0, &target, 1, 1, &b->adapter));
    DTX_TRY(dtx_adapter_like(b->adapter, &b->grads));
    DTX_TRY(dtx_tape_new(b->m, false, &b->tape));
    return DTX_NEW(b->sum, b->adapter->n_params);
}

static void clear(bench *b)
{
    dtx_tape_del(b->tape);
    dtx_adapter_del(b->grads);
    dtx_adapter_del(b->adapter);
    dtx_model_del(b->m);
    dtx_free(b->tokens);
    dtx_free(b->items);
    dtx_free(b->sum);
}

/* The first n ranks as a run of their own; comm is MPI_COMM_NULL on the others. Collective over par. */
static dtx_status first_ranks(const dtx_par *par, int n, dtx_par *out)
{
    const int mine = par->rank < n ? 0 : MPI_UNDEFINED;
    int head;

    *out = *par;
    DTX_TRY(DTX_MPI(MPI_Comm_split(par->comm, mine, par->rank, &out->comm)));
    DTX_TRY(DTX_MPI(MPI_Comm_split(par->node, mine, par->rank, &out->node)));
    if (mine != 0) {
        return DTX_OK;
    }
    MPI_Comm_set_errhandler(out->comm, MPI_ERRORS_RETURN);
    MPI_Comm_set_errhandler(out->node, MPI_ERRORS_RETURN);
    MPI_Comm_rank(out->comm, &out->rank);
    MPI_Comm_size(out->comm, &out->size);
    MPI_Comm_rank(out->node, &out->node_rank);
    MPI_Comm_size(out->node, &out->node_size);
    head = out->node_rank == 0;
    return DTX_MPI(MPI_Allreduce(&head, &out->n_nodes, 1, MPI_INT, MPI_SUM, out->comm));
}

/* Seconds of `share` times the work on n ranks; the same on all. The others sleep meanwhile. */
static dtx_status timed(bench *b, int n, int64_t share, double *seconds)
{
    const dtx_par *par = &b->job->par;
    dtx_par sub;
    dtx_status st = DTX_OK;

    DTX_TRY(first_ranks(par, n, &sub));
    *seconds = 0;
    if (sub.comm != MPI_COMM_NULL) {
        double begun = dtx_now();
        st = work(b, &sub, share);
        *seconds = dtx_now() - begun;
        MPI_Comm_free(&sub.comm);
        MPI_Comm_free(&sub.node);
    }
    dtx_par_wait(par, seconds, sizeof *seconds); /* rank 0 was among them to the end */
    return dtx_par_agree(par, st);
}

/* --- the table --- */

static void add_list(dtx_bench_result *out, const char *name, const double *x, int n)
{
    char text[400] = "";
    size_t at = 0;

    for (int i = 0; i < n && at < sizeof text; i++) {
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%.6g", i > 0 ? ", " : "", x[i]);
    }
    dtx_bench_add(out, "\"%s\": [%s]", name, text);
}

dtx_status dtx_bench_scaling(const dtx_job *job, int repeat, dtx_bench_result *out)
{
    const char *text = dtx_job_flag(job, "scaling");
    const bool weak = strcmp(text, "weak") == 0;
    double x[SIZES][DTX_BENCH_MAX_REPEAT], ranks[SIZES], seconds[SIZES], efficiency[SIZES];
    const int all = job->par.size;
    bench b = {.job = job};
    double unused;
    int n = 0;
    dtx_status st;

    if (!weak && strcmp(text, "strong") != 0) {
        return DTX_FAIL(DTX_ERR_USAGE, "--scaling %.40s: strong or weak is expected", text);
    }
    for (int p = 1; p < all && n < SIZES - 1; p *= 2) {
        ranks[n++] = p;
    }
    ranks[n++] = all;
    DTX_GO(dtx_par_agree(&job->par, prepare(&b)));
    DTX_GO(timed(&b, all, all, &unused)); /* every rank's first pass allocates */
    for (int i = 0; i < repeat; i++) {
        for (int k = 0; k < n; k++) { /* in turn, as a machine's speed changes from minute to minute */
            DTX_GO(timed(&b, (int)ranks[k], weak ? (int64_t)ranks[k] : all, &x[k][i]));
        }
    }
    for (int k = 0; k < n; k++) {
        seconds[k] = dtx_timing_median(x[k], repeat);
        efficiency[k] = seconds[0] / (seconds[k] * (weak ? 1 : ranks[k]));
        if (!job->json && job->par.rank == 0) {
            printf("%6.0f ranks x %d threads: %8.3f s, efficiency %.3f\n", ranks[k], job->par.threads, seconds[k], efficiency[k]);
        }
    }
    const double one = (weak ? 1 : all) / seconds[0], last = all / seconds[n - 1]; /* work of a rank per second */
    *out = (dtx_bench_result){last / (all * one), last, all * one, "1/s", ""};
    dtx_bench_add(out, "\"scaling\": \"%s\"", text);
    add_list(out, "of_ranks", ranks, n);
    add_list(out, "seconds", seconds, n);
    add_list(out, "efficiency", efficiency, n);
done:
    clear(&b);
    return st;
}
