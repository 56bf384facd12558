/* job.c - detoxlens plan: memory, operations, hours, files and layout of a job, before anything is spent. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/plan/plan.h"
#include "src/base/json.h"
#include "src/base/mem.h"

/* --- layout --- */

/* Tries every way to cut a node's cores into equal ranks and keeps the fastest that fits; jobs without steps take 16
 * threads a rank, about a memory domain, as ranks beyond that gain nothing. */
static dtx_status choose_layout(dtx_plan *p)
{
    double best = INFINITY;
    bool training = p->steps > 0;

    if (p->launched) { /* this run's */
        p->threads = p->cores / p->ranks;
        DTX_TRY(dtx_plan_time(p, p->ranks));
        return dtx_plan_memory(p, p->ranks);
    }
    p->ranks = 1;
    for (int ranks = 1; ranks <= p->cores; ranks++) {
        if (p->cores % ranks != 0 || (ranks > 1 && (double)ranks * p->nodes > p->units)
            || (!training && ranks > 1 && p->cores / ranks < 16)) {
            continue;
        }
        DTX_TRY(dtx_plan_time(p, ranks));
        double seconds = p->seconds;
        DTX_TRY(dtx_plan_memory(p, ranks));
        if (seconds < 0.98 * best && (ranks == 1 || p->node_memory <= 0 || dtx_plan_sum(&p->node) <= p->node_memory)) {
            best = seconds;
            p->ranks = ranks;
        }
    }
    p->threads = p->cores / p->ranks;
    DTX_TRY(dtx_plan_time(p, p->ranks));
    return dtx_plan_memory(p, p->ranks);
}

/* --- the command that would run it --- */

static const char *const own_flags[] = {"--nodes", "--cores", "--memory", "--gflops", "--bandwidth", "--bench", "--simulate"};

static bool is_own(const char *word, bool *has_value)
{
    for (size_t i = 0; i < sizeof own_flags / sizeof *own_flags; i++) {
        size_t n = strlen(own_flags[i]);
        if (strncmp(word, own_flags[i], n) == 0 && (word[n] == '\0' || word[n] == '=')) {
            *has_value = word[n] == '\0';
            return true;
        }
    }
    *has_value = false;
    return strcmp(word, "--json") == 0 || strcmp(word, "-q") == 0 || strcmp(word, "--quiet") == 0;
}

/* The options of this command line without plan's own. */
static void rest_of_command(const dtx_plan *p, char *out, size_t size)
{
    size_t n = 0;
    bool named = false;

    out[0] = '\0';
    for (int i = 2; i < p->job->argc; i++) {
        const char *word = p->job->argv[i];
        bool has_value;
        if (is_own(word, &has_value)) {
            i += has_value;
        } else if (!named && (strcmp(word, p->name) == 0 || strcmp(word, "pipeline") == 0)) {
            named = true;
        } else if (n < size) {
            bool plain = strpbrk(word, " \t\"'$*?<>|&;()[]{}") == NULL;
            n += (size_t)snprintf(out + n, size - n, plain ? " %s" : " '%s'", word);
        }
    }
}

/* Half an hour's rounding and a quarter more than planned: a job that reaches its limit continues anyway. */
static void slurm_time(double seconds, char out[32])
{
    long minutes = (long)ceil(seconds * 1.25 / 1800) * 30;

    minutes = minutes < 30 ? 30 : minutes;
    snprintf(out, 32, "%02ld:%02ld:00", minutes / 60, minutes % 60);
}

static void sbatch_line(const dtx_plan *p, char *out, size_t size)
{
    char time[32], rest[1600];

    slurm_time(p->seconds, time);
    rest_of_command(p, rest, sizeof rest);
    snprintf(out, size, "sbatch --nodes %d --ntasks-per-node %d --cpus-per-task %d --time %s slurm/detoxlens.sbatch %s%s", p->nodes,
             p->ranks, p->threads, time, p->name, rest);
}

/* --- output --- */

static void print_bytes(const char *name, double bytes, const char *note)
{
    printf("  %-14s %10.1f MB   %s\n", name, bytes / 1e6, note);
}

static void print_table(const char *title, const dtx_plan_table *t, const char *note)
{
    printf("%s\n", title);
    for (int i = 0; i < t->n; i++) {
        print_bytes(t->line[i].name, t->line[i].value, t->line[i].note);
    }
    if (t->n > 1) {
        print_bytes("sum", dtx_plan_sum(t), note);
    }
}

static double spent(const dtx_plan *p)
{
    return dtx_plan_flops(&p->work);
}

static double in_decoding(const dtx_plan *p)
{
    return p->work.decode + p->work.decode_head;
}

/* "3.4 hours", "12.0 minutes". */
static void duration(double seconds, char out[40])
{
    snprintf(out, 40, "%.1f %s", seconds < 100 ? seconds : seconds < 6000 ? seconds / 60 : seconds / 3600,
             seconds < 100 ? "seconds" : seconds < 6000 ? "minutes" : "hours");
}

static void print_text(const dtx_plan *p)
{
    char time[40], line[2000];

    duration(p->seconds, time);
    printf("plan of %s\n", p->name);
    printf("  %-14s %s\n", "model", p->model);
    printf("  %-14s %s\n", "data", p->data);
    printf("  %-14s %d node(s) of %d cores\n", "target", p->nodes, p->cores);
    printf("  %-14s %s\n", "speed", p->rate.text);
    if (p->rate.bandwidth > 0) {
        printf("  %-14s %.0f GB/s of memory bandwidth a node\n", "", p->rate.bandwidth / 1e9);
    }
    printf("work\n");
    if (p->steps > 0) {
        printf("  %-14s %10" PRId64 "\n", "steps", p->steps);
    }
    printf("  %-14s %10.4g TFLOP", "operations", spent(p) / 1e12);
    if (in_decoding(p) > 0) {
        printf(", %.4g of them in decoding", in_decoding(p) / 1e12);
    }
    printf("\n");
    print_table("memory of a rank", &p->rank, "");
    print_table("memory of a node", &p->node, "");
    if (p->node_memory > 0 && dtx_plan_sum(&p->node) > p->node_memory) {
        printf("  DOES NOT FIT into %.0f MB\n", p->node_memory / 1e6);
    }
    print_table("files", &p->files, "");
    printf("layout\n");
    printf("  %-14s %d a node x %d threads, %.0f %% of the ranks' time busy\n", "ranks", p->ranks, p->threads, 100 * p->balance);
    if ((double)p->ranks * p->nodes > p->units) {
        printf("  %-14s only %.0f ranks find work: fewer nodes do the same\n", "", p->units);
    }
    printf("  %-14s %s (%.3g node hours)\n", "time", time, p->seconds * p->nodes / 3600);
    sbatch_line(p, line, sizeof line);
    printf("  %s\n", line);
}

static void add_table(cJSON *root, const char *name, const dtx_plan_table *t)
{
    cJSON *o = cJSON_AddObjectToObject(root, name);

    for (int i = 0; i < t->n; i++) {
        cJSON_AddNumberToObject(o, t->line[i].name, round(t->line[i].value));
    }
    cJSON_AddNumberToObject(o, "sum", round(dtx_plan_sum(t)));
}

static cJSON *json_of(const dtx_plan *p)
{
    cJSON *root = cJSON_CreateObject();
    char line[2000];

    sbatch_line(p, line, sizeof line);
    cJSON_AddStringToObject(root, "job", p->name);
    cJSON_AddStringToObject(root, "model", p->model);
    cJSON_AddStringToObject(root, "data", p->data);
    cJSON_AddStringToObject(root, "speed", p->rate.text);
    cJSON_AddNumberToObject(root, "nodes", p->nodes);
    cJSON_AddNumberToObject(root, "cores", p->cores);
    cJSON_AddNumberToObject(root, "ranks_per_node", p->ranks);
    cJSON_AddNumberToObject(root, "threads", p->threads);
    cJSON_AddNumberToObject(root, "steps", (double)p->steps);
    cJSON_AddNumberToObject(root, "flop", spent(p));
    cJSON_AddNumberToObject(root, "flops_per_core", p->rate.large);
    cJSON_AddNumberToObject(root, "decode_flops_per_core", p->rate.decode);
    cJSON_AddNumberToObject(root, "bandwidth", p->rate.bandwidth);
    cJSON_AddNumberToObject(root, "balance", p->balance);
    cJSON_AddNumberToObject(root, "hours", p->seconds / 3600);
    cJSON_AddNumberToObject(root, "node_hours", p->seconds * p->nodes / 3600);
    add_table(root, "rank_bytes", &p->rank);
    add_table(root, "node_bytes", &p->node);
    add_table(root, "file_bytes", &p->files);
    cJSON_AddStringToObject(root, "sbatch", line);
    return root;
}

/* Prints and frees it. */
static dtx_status print_json(cJSON *root)
{
    char *text = cJSON_PrintUnformatted(root);

    cJSON_Delete(root);
    if (text == NULL) {
        return DTX_FAIL(DTX_ERR_MISSING, "no memory for the plan");
    }
    printf("%s\n", text);
    cJSON_free(text);
    return DTX_OK;
}

/* --- the job --- */

static const char *const names[] = {"pretrain", "finetune", "dpo", "ppo", "generate", "score", "attribute"};

/* Everything about one job; *p is zeroed but for name and job, and freed by the caller. */
static dtx_status plan_job(dtx_plan *p)
{
    p->c = &p->job->config;
    DTX_TRY(dtx_plan_read_model(p));
    DTX_TRY(dtx_plan_read_data(p));
    DTX_TRY(dtx_plan_find_rate(p));
    DTX_TRY(dtx_plan_count(p));
    return choose_layout(p);
}

/* The study: two trainings, and answers, scores and attributions of the three variants. */
static dtx_status plan_pipeline(const dtx_job *job)
{
    static const struct {
        const char *name;
        int times;
    } stage[] = {{"finetune", 1}, {"ppo", 1}, {"generate", 3}, {"score", 3}, {"attribute", 3}};
    enum { N = sizeof stage / sizeof *stage };
    cJSON *root = cJSON_CreateObject(), *stages = cJSON_AddArrayToObject(root, "stages");
    double seconds = 0, flop = 0, files = 0, memory = 0, nodes = 1;
    char time[40], line[2000];
    dtx_plan *p = NULL;
    dtx_status st;

    DTX_GO(DTX_NEW(p, N));
    if (!job->json && job->par.rank == 0) {
        printf("plan of pipeline\n  %-10s %5s %14s %12s %14s %14s %14s\n", "stage", "times", "TFLOP", "time", "rank memory", "node memory",
               "files");
    }
    for (int i = 0; i < N; i++) {
        p[i].job = job;
        p[i].name = stage[i].name;
        DTX_GO(plan_job(&p[i]));
        const double times = stage[i].times;
        duration(times * p[i].seconds, time);
        if (!job->json && job->par.rank == 0) {
            printf("  %-10s %5d %14.4g %12s %11.1f MB %11.1f MB %11.1f MB\n", stage[i].name, stage[i].times, times * spent(&p[i]) / 1e12, time,
                   dtx_plan_sum(&p[i].rank) / 1e6, dtx_plan_sum(&p[i].node) / 1e6, times * dtx_plan_sum(&p[i].files) / 1e6);
        }
        cJSON *one = json_of(&p[i]);
        cJSON_AddNumberToObject(one, "times", times);
        cJSON_AddItemToArray(stages, one);
        seconds += times * p[i].seconds;
        flop += times * spent(&p[i]);
        files += times * dtx_plan_sum(&p[i].files);
        memory = fmax(memory, dtx_plan_sum(&p[i].node));
        nodes = p[i].nodes;
    }
    if (job->par.rank > 0) {
        goto done;
    }
    cJSON_AddStringToObject(root, "job", "pipeline");
    cJSON_AddNumberToObject(root, "flop", flop);
    cJSON_AddNumberToObject(root, "hours", seconds / 3600);
    cJSON_AddNumberToObject(root, "node_hours", seconds * nodes / 3600);
    cJSON_AddNumberToObject(root, "node_bytes", round(memory));
    cJSON_AddNumberToObject(root, "file_bytes", round(files));
    if (job->json) {
        st = print_json(root);
        root = NULL;
        goto done;
    }
    duration(seconds, time);
    printf("  %-10s %5s %14.4g %12s %14s %11.1f MB %11.1f MB\n  %.3g node hours on %.0f node(s), one stage after the other\n", "all", "",
           flop / 1e12, time, "", memory / 1e6, files / 1e6, seconds * nodes / 3600, nodes);
    printf("  variants can run side by side, each in a run directory of its own:\n");
    for (int i = 0; i < N; i++) {
        sbatch_line(&p[i], line, sizeof line);
        printf("  %s\n", line);
    }
done:
    for (int i = 0; i < N && p != NULL; i++) {
        dtx_plan_free(&p[i]);
    }
    dtx_free(p);
    cJSON_Delete(root);
    return st;
}

/* --simulate: the units of a job that fills rows, over other numbers of ranks. */
static dtx_status simulate(const dtx_plan *p, const char *text)
{
    char *end = NULL;
    const long ranks = strtol(text, &end, 10);
    double *unit = NULL, span, efficiency, sum = 0, longest = 0;
    int64_t n;
    dtx_status st;

    if (*end != '\0' || ranks < 1 || ranks > 100000) {
        return DTX_FAIL(DTX_ERR_USAGE, "--simulate %.40s: a number of ranks, 1..100000, is expected", text);
    }
    DTX_GO(dtx_plan_units(p, ranks, p->ranks, &unit, &n));
    if (n == 0) {
        st = DTX_FAIL(DTX_ERR_USAGE, "--simulate: generate, score and attribute are handed out in units, %s is not", p->name);
        goto done;
    }
    DTX_GO(dtx_plan_hand_out(p, unit, n, ranks, &span, &efficiency));
    for (int64_t i = 0; i < n; i++) {
        sum += unit[i];
        longest = unit[i] > longest ? unit[i] : longest;
    }
    if (p->job->par.rank > 0) {
        goto done;
    }
    if (p->job->json) {
        cJSON *root = cJSON_CreateObject();
        cJSON_AddStringToObject(root, "job", p->name);
        cJSON_AddNumberToObject(root, "ranks", (double)ranks);
        cJSON_AddNumberToObject(root, "threads", p->threads);
        cJSON_AddNumberToObject(root, "units", (double)n);
        cJSON_AddNumberToObject(root, "unit_seconds", sum / (double)n);
        cJSON_AddNumberToObject(root, "longest_unit_seconds", longest);
        cJSON_AddNumberToObject(root, "handout_seconds", p->latency);
        cJSON_AddStringToObject(root, "handout", p->latency_text);
        cJSON_AddNumberToObject(root, "round_seconds", p->c->round_seconds);
        cJSON_AddNumberToObject(root, "seconds", span);
        cJSON_AddNumberToObject(root, "efficiency", efficiency);
        st = print_json(root);
    } else {
        printf("simulated: %" PRId64 " units of %.3g s (longest %.3g s) over %ld ranks of %d threads, rounds of %.3g s\n"
               "%s\n%.1f s until the last row ends, efficiency %.3f\n", n, sum / (double)n, longest, ranks, p->threads,
               p->c->round_seconds, p->latency_text, span, efficiency);
    }
done:
    dtx_free(unit);
    return st;
}

static dtx_status run(dtx_job *job)
{
    dtx_plan *p = NULL;
    bool known = false;
    dtx_status st;

    if (job->n_args == 1 && strcmp(job->args[0], "pipeline") == 0) {
        return plan_pipeline(job);
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        known = known || (job->n_args == 1 && strcmp(job->args[0], names[i]) == 0);
    }
    if (!known) {
        return DTX_FAIL(DTX_ERR_USAGE, "plan needs the name of one job: pretrain, finetune, dpo, ppo, generate, score, attribute or pipeline");
    }
    DTX_TRY(DTX_NEW(p, 1));
    p->job = job;
    p->name = job->args[0];
    DTX_GO(plan_job(p));
    if (dtx_job_flag(job, "simulate") != NULL) {
        st = simulate(p, dtx_job_flag(job, "simulate"));
        goto done;
    }
    if (job->par.rank > 0) {
        goto done;
    }
    if (job->json) {
        st = print_json(json_of(p));
    } else {
        print_text(p);
    }
done:
    dtx_plan_free(p);
    dtx_free(p);
    return st;
}

static const dtx_job_option own_options[] = {
    {"nodes", "N", NULL, "nodes of the target (default 1)"},
    {"cores", "C", NULL, "cores of a node (default: of this machine)"},
    {"memory", "GB", NULL, "memory of a node; the layout is chosen to fit"},
    {"gflops", "G", NULL, "f32 peak of a node in GFLOP/s, instead of a benchmark here"},
    {"simulate", "N", NULL, "generate, score, attribute: hand the units out to N ranks in rounds, and print the efficiency"},
    {"bench", "FILE", "plan.bench", "speeds of the target: what `bench layer --json` printed there (or `bench peak --json`)"},
    {"bandwidth", "B", NULL, "memory bandwidth of a node in GB/s"},
    {0},
};

/* Under a launcher it runs on all ranks, as they share a node's memory and cores; alone it never starts MPI. */
static const dtx_job_def *form(const dtx_job *job)
{
    static dtx_job_def parallel;

    (void)job;
    if (dtx_job_launched_ranks() < 2) {
        return &dtx_job_plan;
    }
    parallel = dtx_job_plan;
    parallel.parallel = true;
    return &parallel;
}

const dtx_job_def dtx_job_plan = {
    .name = "plan",
    .args = "JOB",
    .summary = "memory, hours, files and layout of a job before it is run",
    .help = "JOB is pretrain, finetune, dpo, ppo, generate, score, attribute, or pipeline: the sum over the study. With the configuration of the job it tells the memory of a rank and of\n"
            "a node, the operations, the hours, the sizes of checkpoints and files, a layout of ranks and threads, and the line\n"
            "for sbatch. The model needs its config.json alone (for the study's models not even that); the tokens of the data are\n"
            "counted where data and tokenizer are there. What is assumed instead is printed.\n"
            "\n"
            "  detoxlens plan --config data/configs/redpajama-3b.json finetune --cores 128\n"
            "  detoxlens plan --config data/configs/falcon-7b.json attribute --nodes 4 --cores 64 --gflops 5000 --bandwidth 300\n"
            "\n"
            "  detoxlens bench layer --config study.json --json > node.json      (on a node of the target, with the same settings)\n"
            "  detoxlens plan --config study.json pipeline --bench node.json --nodes 4 --cores 64\n"
            "  mpirun -n 2 detoxlens plan --config study.json generate    (as these ranks would run it, measured on all at once)\n"
            "\n"
            "Without --bench and --gflops one layer of the model's shape is run here for about a second, and its rate for a core is\n"
            "taken for the target's cores; --bandwidth then defaults to what is read here, times the square root of the cores' ratio.\n"
            "A rank's threads beyond 16 are taken to lose 15 % at each doubling. Completions are counted at their full length, so\n"
            "generate, score and attribute end sooner than planned. A job notes what was predicted when it began, and what came of it, in\n"
            "/provenance of run.h5 and in its last line.\n",
    .bit = DTX_JOB_PRETRAIN | DTX_JOB_FINETUNE | DTX_JOB_DPO | DTX_JOB_PPO | DTX_JOB_GENERATE | DTX_JOB_SCORE | DTX_JOB_ATTRIBUTE,
    .options = own_options,
    .form = form,
    .run = run,
};
