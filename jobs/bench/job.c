/* job.c - detoxlens bench: speeds of this machine and of this program, as shares of what the machine can do. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/bench/bench.h"
#include "src/algebra/linear.h"
#include "src/algebra/peak.h"

static dtx_status bench_peak(const dtx_job *job, int repeat, dtx_bench_result *out)
{
    double one[DTX_BENCH_MAX_REPEAT], all[DTX_BENCH_MAX_REPEAT], read[DTX_BENCH_MAX_REPEAT];
    int threads = job->par.threads;

    for (int i = 0; i < repeat; i++) {
        one[i] = dtx_peak_fma(1, 0.1);
        all[i] = dtx_peak_fma(threads, 0.1);
        read[i] = dtx_peak_read(threads, 0.2);
    }
    out->achieved = dtx_timing_median(all, repeat);
    out->limit = threads * dtx_timing_median(one, repeat);
    out->share = out->achieved / out->limit;
    out->unit = "flop/s";
    if (!job->json) {
        if (dtx_peak_bf16(1, 0.01) > 0) {
            printf("bf16 peak:    %.1f GF/s with %d\n", dtx_peak_bf16(threads, 0.2) / 1e9, threads);
        }
        printf("f32 FMA peak: %.1f GF/s with 1 thread, %.1f GF/s with %d\nmemory read:  %.1f GB/s with %d\n",
               out->limit / threads / 1e9, out->achieved / 1e9, threads, dtx_timing_median(read, repeat) / 1e9, threads);
    }
    return DTX_OK;
}

/* Reading memory: all threads against one times their number. */
static dtx_status bench_read(const dtx_job *job, int repeat, dtx_bench_result *out)
{
    double one[DTX_BENCH_MAX_REPEAT], all[DTX_BENCH_MAX_REPEAT];
    const int threads = job->par.threads;

    for (int i = 0; i < repeat; i++) {
        one[i] = threads * dtx_peak_read(1, 0.2);
        all[i] = dtx_peak_read(threads, 0.2);
    }
    out->achieved = dtx_timing_median(all, repeat);
    out->limit = dtx_timing_median(one, repeat);
    out->share = out->achieved / out->limit;
    out->unit = "byte/s";
    return DTX_OK;
}

static const struct {
    const char *name;
    dtx_status (*run)(const dtx_job *job, int repeat, dtx_bench_result *out);
} benches[] = {
    {"peak", bench_peak},
    {"read", bench_read},
    {"layer", dtx_bench_layer},
    {"allreduce", dtx_bench_allreduce},
    {"hdf5", dtx_bench_hdf5},
    {"linear", dtx_bench_linear},
    {"generate", dtx_bench_generate},
    {"prefill", dtx_bench_prefill},
    {"attribute", dtx_bench_attribute},
    {"train", dtx_bench_train},
    {"score", dtx_bench_score},
    {"tokenize", dtx_bench_tokenize},
};

static bool scales(const dtx_job *job)
{
    return dtx_job_flag(job, "scaling") != NULL;
}

/* Collective benches, on two ranks at least. */
static bool of_ranks(const dtx_job *job)
{
    return strcmp(job->args[0], "allreduce") == 0 || strcmp(job->args[0], "hdf5") == 0 || scales(job);
}

/* "peak, linear, ... or tokenize" */
static const char *names(void)
{
    enum { N = sizeof benches / sizeof *benches };
    static char text[300];
    size_t n = 0;

    for (size_t i = 0; i < N && n < sizeof text; i++) {
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", i == 0 ? "" : i + 1 < N ? ", " : " or ", benches[i].name);
    }
    return text;
}

static dtx_status run(dtx_job *job)
{
    const char *text = dtx_job_flag(job, "repeat"), *model = dtx_job_flag(job, "make-model");
    long repeat = text != NULL ? strtol(text, NULL, 10) : 5;
    dtx_bench_result r = {0};

    if (model != NULL) {
        return dtx_bench_make_model(job, model);
    }
    if (job->n_args != 1) {
        return DTX_FAIL(DTX_ERR_USAGE, "bench needs one name: %s", names());
    }
    if (repeat < 1 || repeat > DTX_BENCH_MAX_REPEAT) {
        return DTX_FAIL(DTX_ERR_USAGE, "--repeat %s: a whole number, 1..%d, is expected", text, DTX_BENCH_MAX_REPEAT);
    }
    for (size_t i = 0; i < sizeof benches / sizeof *benches; i++) {
        if (strcmp(job->args[0], benches[i].name) == 0) {
            const bool together = of_ranks(job);
            if (!job->json && !together && job->par.rank == 0) {
                printf("dense algebra: %s\n", dtx_linear_describe());
            }
            if (together && job->par.size < 2) {
                return DTX_FAIL(DTX_ERR_USAGE, "bench %s needs two ranks or more: mpirun -n 2 detoxlens bench %s", benches[i].name,
                                benches[i].name);
            }
            if (scales(job) && benches[i].run != dtx_bench_attribute && benches[i].run != dtx_bench_generate && benches[i].run != dtx_bench_train) {
                return DTX_FAIL(DTX_ERR_USAGE, "--scaling: attribute, generate or train is expected, not %s", benches[i].name);
            }
            DTX_TRY((scales(job) ? dtx_bench_scaling : benches[i].run)(job, (int)repeat, &r));
            if (job->par.rank != 0) {
                return DTX_OK;
            }
            if (job->json) {
                printf("{\"bench\": \"%s\", \"share\": %.4f, \"achieved\": %.6g, \"limit\": %.6g, \"unit\": \"%s\", "
                       "\"ranks\": %d, \"threads\": %d, \"repeat\": %ld%s}\n",
                       benches[i].name, r.share, r.achieved, r.limit, r.unit, job->par.size, job->par.threads, repeat, r.more);
            } else {
                printf("%s: %.4g of %.4g %s, share %.3f (median of %ld)\n", benches[i].name, r.achieved, r.limit, r.unit,
                       r.share, repeat);
            }
            return DTX_OK;
        }
    }
    return DTX_FAIL(DTX_ERR_USAGE, "bench \"%s\" is not known: %s", job->args[0], names());
}

static const dtx_job_option own_options[] = {
    {"repeat", "N", NULL, "repetitions, of which medians are taken (default 5)"},
    {"make-model", "NAME", NULL, "write random weights: redpajama-3b, falcon-7b, pythia-160m or roberta-base"},
    {"dir", "DIR", NULL, "hdf5: folder that is written to (default: the current one)"},
    {"tokenizer", "DIR", NULL, "with --make-model: folder whose tokenizer is copied (default: one of the 256 bytes)"},
    {"precision", "P", "compute.precision", "f32 or bf16; with bf16 its own peak is the limit"},
    {"batch", "B", NULL, "streams of `generate` (default 1)"},
    {"layers", "L", NULL, "layers of `generate` and `prefill` (default 8; 32 is the whole model, 5.3 GB), with --scaling 2"},
    {"scaling", "HOW", NULL, "attribute, generate, train on 1, 2, 4 .. all ranks: strong = the same work, weak = so much each"},
    {0},
};

/* The benches of several ranks start MPI, the others are spared that. */
static const dtx_job_def *form(const dtx_job *job)
{
    static dtx_job_def parallel;

    const bool together = job->n_args == 1 && of_ranks(job);
    /* under a launcher `layer` measures on all ranks at once, as plan does */
    if (together || (job->n_args == 1 && strcmp(job->args[0], "layer") == 0 && dtx_job_launched_ranks() > 1)) {
        parallel = dtx_job_bench;
        parallel.parallel = true;
        parallel.min_ranks = together ? 2 : 1;
        return &parallel;
    }
    return &dtx_job_bench;
}

const dtx_job_def dtx_job_bench = {
    .name = "bench",
    .args = "NAME",
    .summary = "speeds as shares of the machine's limits",
    .help = "Measures one thing and the limit that it is compared with, side by side:\n"
            "  peak       f32 multiply-adds on registers, reading memory; share: all threads against one times their number\n"
            "  read       reading memory with all threads, against one thread's rate times their number\n"
            "  layer      one layer and the head of model.path's shape (default RedPajama 3B), as plan counts with them, against the\n"
            "             FMA peak; the JSON is what `plan --bench FILE` takes\n"
            "  allreduce  the sum of a gradient of 42 MB over 2 ranks of a node (reduce = fast), against copying 42 MB each way on\n"
            "             both at once; the sum in strict order is printed beside it\n"
            "  hdf5       collective rounds of 64 attributed rows for each rank, against the same bytes through plain MPI-IO\n"
            "  linear     the dense products of RedPajama 3B's layers, bf16 weights, 1 to 512 rows, against the FMA peak\n"
            "  generate   decoding steps after a prompt of 45 tokens, --batch streams, --layers of RedPajama 3B's layers and its\n"
            "             head; limit: reading the weights with few streams, else the FMA peak\n"
            "  prefill    processing a prompt of 128 tokens, the same layers\n"
            "  attribute  attribution of 70 tokens after 45 at RedPajama 3B's shape, random weights; two and three layers\n"
            "             are run, and the time of 32 follows; the work is what the algorithm needs, against the FMA peak\n"
            "  train      one step of LoRA training (r 64 on query_key_value, 4 x 128 tokens) at that shape, from one and two layers\n"
            "  score      RoBERTa base over texts of the study's lengths, against the FMA peak\n"
            "  tokenize   ids per second on one core over data.prompts with the tokenizer of model.path; limit: 1,000,000\n"
            "\n"
            "--scaling strong|weak runs attribute, generate (64 streams) or train on 1, 2, 4 .. all ranks of one mpirun, the others\n"
            "asleep: units of model.path's shape (default: two layers of RedPajama 3B) through the jobs' own hand-out, or a training step of 16 shards with its\n"
            "sum in strict order; the share is the efficiency on all ranks.\n"
            "\n"
            "With --json one object with share, achieved, limit and unit is printed.\n"
            "\n"
            "--make-model NAME DIR measures nothing: it writes bf16 weights of a known model's full shape, with random values, for\n"
            "trials of memory and speed before the real ones are there (5.6 GB for redpajama-3b, 14.4 GB for falcon-7b).\n"
            "\n"
            "  detoxlens bench attribute --json\n"
            "  detoxlens bench --make-model redpajama-3b /scratch/random-3b\n"
            "  detoxlens bench generate --batch 64\n"
            "  mpirun -n 64 --map-by core detoxlens bench attribute --scaling strong --set threads=1\n"
            "  detoxlens bench tokenize --set model.path=DIR --set data.prompts=FILE\n",
    .bit = DTX_JOB_BENCH,
    .options = own_options,
    .form = form,
    .run = run,
};
