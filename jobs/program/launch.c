#include "jobs/program/job.h"

#include <errno.h>
#include <omp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "jobs/program/limits.h"
#include "jobs/program/log.h"
#include "jobs/program/options.h"
#include "mpi/par/stats.h"
#include "src/algebra/linear.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/base/streams.h"
#include "src/base/version.h"

/* ---- time and signals ---- */

static volatile sig_atomic_t stop_signal;

static void on_signal(int sig)
{
    if (sig == SIGINT && stop_signal == SIGINT) { /* asked twice: end at once */
        signal(SIGINT, SIG_DFL);
        raise(SIGINT);
    }
    stop_signal = sig;
}

static void catch_signals(bool stops)
{
    struct sigaction act = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

    signal(SIGXFSZ, SIG_IGN); /* a limit on the size of files is then an error of the write */
    if (!stops) { /* a local job ends like any other program: nothing it writes needs a clean stop */
        return;
    }
    sigemptyset(&act.sa_mask);
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGUSR1, &act, NULL);
    sigaction(SIGINT, &act, NULL);
    signal(SIGPIPE, SIG_IGN); /* a launcher that went away must not end the job in the middle of a write */
}

bool dtx_job_should_stop(const dtx_job *job)
{
    return stop_signal != 0 || (job->max_hours > 0 && dtx_now() - job->started >= job->max_hours * 3600);
}

/* ---- small services ---- */

const char *dtx_job_flag(const dtx_job *job, const char *name)
{
    for (int i = 0; job->def->options != NULL && job->def->options[i].name != NULL && i < DTX_JOB_MAX_FLAGS; i++) {
        if (strcmp(job->def->options[i].name, name) == 0) {
            return job->flags[i];
        }
    }
    return NULL;
}

dtx_status dtx_job_need(const dtx_job *job, const char *key, const char *value)
{
    if (value[0] != '\0') {
        return DTX_OK;
    }
    return DTX_FAIL(DTX_ERR_USAGE, "%s is not set: add --set %s=... or put it into the file of --config (see detoxlens %s --help)",
                    key, key, job->def->name);
}

dtx_status dtx_job_summary(const dtx_job *job, double compute_s, double wait_s, double io_s)
{
    static const char *const names[] = {"compute", "wait", "files"};
    const double mine[] = {compute_s, wait_s, io_s, dtx_peak_memory() / 1e6};
    dtx_spread all[4];

    if (job->def->parallel) {
        DTX_TRY(dtx_par_spread(&job->par, 4, mine, all));
    } else {
        for (int i = 0; i < 4; i++) {
            all[i] = (dtx_spread){mine[i], mine[i], mine[i]};
        }
    }
    for (int i = 0; i < 3; i++) {
        dtx_log(DTX_LOG_INFO, job->def->name, "%-8s %9.2f / %9.2f / %9.2f s   (min / mean / max over %d ranks)", names[i],
                all[i].min, all[i].mean, all[i].max, job->par.size);
    }
    dtx_log(DTX_LOG_INFO, job->def->name, "%-8s %9.1f / %9.1f / %9.1f MB", "memory", all[3].min, all[3].mean, all[3].max);
    return DTX_OK;
}

/* ---- before MPI: who are we? ---- */

static int launcher_number(const char *const *names)
{
    for (; *names != NULL; names++) {
        const char *value = getenv(*names);
        if (value != NULL && value[0] != '\0') {
            return atoi(value);
        }
    }
    return 0;
}

/* Rank and size as the launcher tells them, for what is said before MPI starts, and by jobs that never start it. */
static int launcher_rank(void)
{
    static const char *const names[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID", NULL};

    return launcher_number(names);
}

int dtx_job_launched_ranks(void)
{
    static const char *const names[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS", NULL};

    return launcher_number(names);
}

/* Processes that a launcher started together, but that MPI does not bring together (srun --mpi=none, mpirun of another MPI),
 * would all do the whole work on the same files. size is MPI's, 0 before it has started: Open MPI would only abort there. */
static dtx_status check_launcher(int size)
{
    static const char *const servers[] = {"PMIX_RANK", "PMIX_NAMESPACE", "PMI_RANK", "PMI_FD", "OMPI_COMM_WORLD_SIZE"};
    const int launched = dtx_job_launched_ranks();

    for (size_t i = 0; size == 0 && i < sizeof servers / sizeof servers[0]; i++) {
        if (getenv(servers[i]) != NULL) {
            return DTX_OK;
        }
    }
    if (launched <= 1 || size > 1) {
        return DTX_OK;
    }
    if (launcher_rank() > 0) { /* the first one has the word; its end must not turn the code of the others into a signal's */
        signal(SIGTERM, SIG_IGN);
        sleep(2);
    }
    return DTX_FAIL(DTX_ERR_USAGE, "the launcher started %d processes, but MPI takes each of them for a run of its own: start them "
                    "with srun --mpi=pmix (srun --mpi=list shows what there is; slurm/site.conf: SRUN_MPI) or with the mpirun of the "
                    "MPI that this program was built with", launched);
}

/* An error on the first words of the command line. Under a launcher MPI is started for it, as a launcher ends all ranks
 * as soon as one returns an error, which might be before rank 0 has said why. */
static int fail_early(dtx_status st, int argc, char **argv)
{
    dtx_par par;
    bool together = dtx_job_launched_ranks() > 1;
    char text[2048];

    snprintf(text, sizeof text, "%s", dtx_error_text());
    if (launcher_rank() == 0) {
        fprintf(stderr, "detoxlens: error: %s\n", text);
    }
    if (together && dtx_par_init(&argc, &argv, &par) == DTX_OK) {
        dtx_par_finalize(&par);
    }
    return (int)st;
}

/* A job that needs several ranks and was started alone runs itself under mpirun. Returns only when that fails. */
static dtx_status launch_ranks(int ranks, int argc, char **argv)
{
    char self[4096] = "", n[16], mpirun[] = "mpirun", option[] = "-n", **args = NULL;
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);

    if (len <= 0) {
        return DTX_FAIL(DTX_ERR_MISSING, "/proc/self/exe: %s", strerror(errno));
    }
    DTX_TRY(DTX_NEW(args, argc + 4));
    snprintf(n, sizeof n, "%d", ranks);
    args[0] = mpirun;
    args[1] = option;
    args[2] = n;
    args[3] = self;
    memcpy(args + 4, argv + 1, (size_t)(argc - 1) * sizeof *args);
    setenv("DTX_LAUNCHED", "1", 1); /* once */
    setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 0);
    setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 0);
    setenv("OMPI_MCA_rmaps_base_oversubscribe", "1", 0);
    setenv("OMPI_MCA_mpi_yield_when_idle", "1", 0);
    setenv("OMPI_MCA_hwloc_base_binding_policy", "none", 0);
    execvp(args[0], args);
    dtx_free(args);
    return DTX_FAIL(DTX_ERR_MISSING, "this needs %d ranks, and mpirun cannot be started: %s; start it as your cluster starts MPI programs",
                    ranks, strerror(errno));
}

/* ---- start ---- */

/* What rank 0 resolved and every rank gets. */
typedef struct {
    dtx_config config;
    char variant[64];
    int64_t row_first, row_last;
    bool redo, dry_run, json, verbose, quiet;
    double max_hours;
} settings;

static dtx_status share_settings(dtx_job *job, dtx_command_line *o, dtx_status st)
{
    settings *s = NULL;
    void *data = NULL;
    size_t size = sizeof *s;

    if (job->par.rank == 0) {
        dtx_status memory = DTX_NEW(s, 1);
        st = st != DTX_OK ? st : memory;
    }
    if (s != NULL) {
        s->config = job->config;
        memcpy(s->variant, job->variant, sizeof s->variant);
        s->row_first = job->row_first;
        s->row_last = job->row_last;
        s->redo = job->redo;
        s->dry_run = job->dry_run;
        s->json = job->json;
        s->verbose = o->verbose;
        s->quiet = o->quiet;
        s->max_hours = job->max_hours;
        data = s;
    }
    st = dtx_par_bcast(&job->par, st, &data, &size);
    if (st == DTX_OK && job->par.rank != 0) {
        s = data;
        job->config = s->config;
        memcpy(job->variant, s->variant, sizeof s->variant);
        job->row_first = s->row_first;
        job->row_last = s->row_last;
        job->redo = s->redo;
        job->dry_run = s->dry_run;
        job->json = s->json;
        o->verbose = s->verbose;
        o->quiet = s->quiet;
        job->max_hours = s->max_hours;
    }
    dtx_free(data);
    return st;
}

static dtx_status setup_threads(dtx_job *job)
{
    static const dtx_gemm gemm[] = {[DTX_SET_GEMM_AUTO] = DTX_GEMM_AUTO, [DTX_SET_GEMM_NATIVE] = DTX_GEMM_NATIVE,
                                    [DTX_SET_GEMM_OPENBLAS] = DTX_GEMM_OPENBLAS, [DTX_SET_GEMM_REFERENCE] = DTX_GEMM_REFERENCE};
    int fair = job->par.threads, wanted = (int)job->config.threads;

    if (wanted > 0) {
        job->par.threads = wanted;
    }
    if (job->par.oversubscribed || wanted > fair) {
        dtx_log(DTX_LOG_WARN, job->def->name,
                "OVERSUBSCRIBED: %d rank(s) with %d thread(s) each on this node, and %d CPU(s) that they may use: expect a "
                "much lower speed", job->def->parallel ? job->par.node_size : 1, job->par.threads, job->par.cpus);
    }
    omp_set_num_threads(job->par.threads);
    DTX_TRY(dtx_limits_check(job->par.threads, gemm[job->config.compute.gemm] == DTX_GEMM_OPENBLAS));
    return dtx_linear_choose(gemm[job->config.compute.gemm], job->config.compute.precision == DTX_SET_PRECISION_BF16, job->par.threads);
}

/* The banner: enough to repeat the run from its log alone. */
static void announce(const dtx_job *job)
{
    char command[2048] = "";

    for (int i = 0; i < job->argc; i++) {
        size_t n = strlen(command);
        bool plain = job->argv[i][0] != '\0' && strpbrk(job->argv[i], " \t\n\"'$*?<>|&;()[]{}") == NULL;
        snprintf(command + n, sizeof command - n, plain ? "%s%s" : "%s'%s'", i > 0 ? " " : "", job->argv[i]);
    }
    dtx_log(DTX_LOG_INFO, "detoxlens", "version %s, commit %s", dtx_version, dtx_commit);
    dtx_log(DTX_LOG_INFO, "detoxlens", "command: %s", command);
    if (job->def->parallel) {
        dtx_log(DTX_LOG_INFO, "detoxlens", "%d rank(s) x %d thread(s) on %d node(s), rank 0 on %s", job->par.size,
                job->par.threads, job->par.n_nodes, job->par.host);
    }
    dtx_log(DTX_LOG_INFO, "detoxlens", "dense algebra: %s", dtx_linear_describe());
    const char *line = job->config_json;
    for (const char *what = "configuration: "; *line != '\0'; what = "") {
        const size_t n = strcspn(line, "\n");
        dtx_log(DTX_LOG_INFO, "detoxlens", "%s%.*s", what, (int)n, line);
        line += n + (line[n] == '\n');
    }
}

static void alone(dtx_par *par)
{
    cpu_set_t mask;

    memset(par, 0, sizeof *par);
    par->comm = par->node = MPI_COMM_NULL;
    par->size = par->node_size = par->n_nodes = 1;
    par->cpus = sched_getaffinity(0, sizeof mask, &mask) == 0 ? CPU_COUNT(&mask) : (int)sysconf(_SC_NPROCESSORS_ONLN);
    par->threads = par->cpus > 0 ? par->cpus : 1;
    gethostname(par->host, sizeof par->host - 1);
}

static dtx_status prepare(dtx_job *job, dtx_command_line *o, dtx_status parsed)
{
    dtx_status st = parsed;

    if (job->par.rank == 0 && st == DTX_OK) {
        st = dtx_job_configure(job, o, (const char *const *)environ);
    }
    if (job->def->parallel) {
        st = share_settings(job, o, st);
    }
    dtx_job_log_start(job, o->verbose, o->quiet);
    DTX_TRY(st);
    st = dtx_config_print(&job->config, job->def->bit, &job->config_json);
    if (st == DTX_OK) {
        st = setup_threads(job);
    }
    return job->def->parallel ? dtx_par_agree(&job->par, st) : st;
}

/* ---- the end ---- */

/* Results on standard output must have arrived: a full disk behind a redirection is an error. Nobody who reads on (| head) is
 * none: `unread` is set, and the program ends without a word. */
static dtx_status check_stdout(bool *unread)
{
    int nobody = 0;
    dtx_status st = dtx_streams_flush(&nobody);

    *unread = nobody != 0;
    return *unread ? DTX_OK : st;
}

/* As other programs end that write into a closed pipe. */
static int end_unread(void)
{
    signal(SIGPIPE, SIG_DFL);
    raise(SIGPIPE);
    return 128 + SIGPIPE; /* it is blocked */
}

/* After a text on standard output that needs no job. */
static int end_text(void)
{
    bool unread;
    dtx_status st = check_stdout(&unread);

    if (unread) {
        return end_unread();
    }
    if (st != DTX_OK) {
        fprintf(stderr, "detoxlens: error: %s\n", dtx_error_text());
    }
    return (int)st;
}

static int run_job(const dtx_job_def *def, int argc, char **argv)
{
    static dtx_job job; /* large: the configuration holds paths */
    dtx_command_line o;
    dtx_status st;

    job.def = def;
    job.argc = argc;
    job.argv = argv;
    job.started = dtx_now();
    alone(&job.par);
    dtx_status parsed = dtx_job_options_parse(&job, &o);
    if (parsed == DTX_OK && o.help) {
        if (launcher_rank() == 0) {
            dtx_job_help_one(def, stdout);
        }
        return end_text();
    }
    if (parsed == DTX_OK && def->form != NULL) {
        job.def = def = def->form(&job);
    }
    if (parsed == DTX_OK && def->min_ranks > 1 && dtx_job_launched_ranks() < 1 && getenv("DTX_LAUNCHED") == NULL) {
        parsed = launch_ranks(def->min_ranks, argc, argv);
    }
    if (!def->parallel && launcher_rank() > 0) { /* a local job under a launcher: its first process does the work */
        return 0;
    }
    if (def->parallel) {
        char text[2048]; /* the parser's message, which starting MPI must not lose */
        bool started = false;
        snprintf(text, sizeof text, "%s", dtx_error_text());
        st = check_launcher(0);
        if (st == DTX_OK) {
            st = dtx_par_init(&argc, &argv, &job.par);
            started = st == DTX_OK;
        }
        if (started) {
            st = check_launcher(job.par.size);
        }
        if (st != DTX_OK) {
            if (launcher_rank() == 0) {
                fprintf(stderr, "detoxlens %s: error: %s\n", def->name, dtx_error_text());
            }
            if (started) {
                dtx_par_finalize(&job.par);
            }
            return (int)st;
        }
        dtx_error_set(text);
    }
    job.resident = dtx_resident_memory();
    catch_signals(def->parallel || def->stops);
    st = prepare(&job, &o, parsed);
    if (st == DTX_OK && job.dry_run && !def->own_dry_run) {
        if (job.par.rank == 0) {
            printf("%s\n", job.config_json);
        }
    } else if (st == DTX_OK) {
        if (def->parallel) {
            announce(&job);
        }
        dtx_error_clear();
        st = def->run(&job);
    }
    bool unread = false;
    if (st == DTX_OK) {
        st = check_stdout(&unread);
    }
    if (def->parallel) {
        st = dtx_par_agree(&job.par, st);
    }
    if (st != DTX_OK) {
        dtx_job_log_failure(&job, st);
    }
    dtx_job_log_end();
    dtx_free(job.config_json);
    if (def->parallel) {
        dtx_par_finalize(&job.par);
    }
    return unread && st == DTX_OK ? end_unread() : (int)st;
}

dtx_status dtx_job_run_inside(const dtx_job *outer, const dtx_job_def *def, const char *variant, dtx_job_reached *reached)
{
    dtx_job *job = NULL;
    dtx_status st;

    DTX_TRY(dtx_par_agree(&outer->par, DTX_NEW(job, 1)));
    *job = *outer;
    job->def = def;
    job->reached = reached;
    memset(job->flags, 0, sizeof job->flags);
    snprintf(job->variant, sizeof job->variant, "%s", variant);
    if (!def->parallel) {
        alone(&job->par);
        job->par.threads = outer->par.threads;
    }
    job->par.rank = outer->par.rank; /* for the log */
    job->config_json = NULL;
    DTX_GO(dtx_par_agree(&outer->par, dtx_config_print(&job->config, def->bit, &job->config_json)));
    dtx_job_log_switch(job, DTX_OK);
    dtx_error_clear();
    st = def->parallel || outer->par.rank == 0 ? def->run(job) : DTX_OK;
    st = dtx_par_agree(&outer->par, st);
    dtx_job_log_switch(outer, st);
done:
    dtx_free(job->config_json);
    dtx_free(job);
    return st;
}

static const dtx_job_def *find(const dtx_job_def *const *jobs, const char *name)
{
    for (int i = 0; jobs[i] != NULL; i++) {
        if (strcmp(jobs[i]->name, name) == 0) {
            return jobs[i];
        }
    }
    return NULL;
}

int dtx_job_main(const dtx_job_def *const *jobs, int argc, char **argv)
{
    dtx_streams_start();
    const char *first = argc > 1 ? argv[1] : "";
    bool help = strcmp(first, "--help") == 0 || strcmp(first, "-h") == 0 || strcmp(first, "help") == 0;
    const dtx_job_def *def = find(jobs, help && argc > 2 ? argv[2] : first);

    if (strcmp(first, "--version") == 0) {
        if (launcher_rank() == 0) {
            printf("detoxlens %s (%s)\n", dtx_version, dtx_commit);
        }
        return end_text();
    }
    if (help && (argc == 2 || def != NULL)) {
        if (launcher_rank() == 0 && def != NULL) {
            dtx_job_help_one(def, stdout);
        } else if (launcher_rank() == 0) {
            dtx_job_help_all(jobs, stdout);
        }
        return end_text();
    }
    if (argc < 2) {
        return fail_early(DTX_FAIL(DTX_ERR_USAGE, "a job is missing: detoxlens JOB [OPTION...]; detoxlens --help lists the jobs"),
                          argc, argv);
    }
    if (def == NULL) {
        return fail_early(dtx_job_unknown(jobs, help ? argv[2] : first), argc, argv);
    }
    return run_job(def, argc, argv);
}
