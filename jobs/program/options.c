#include "jobs/program/options.h"

#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/distance.h"
#include "src/base/mem.h"
#include "src/base/version.h"

/* Keys of options for argp. Those of a job's own options and of its configuration keys follow. */
enum {
    OPT_HELP = 'h',
    OPT_VERBOSE = 'v',
    OPT_QUIET = 'q',
    OPT_CONFIG = 256,
    OPT_SET,
    OPT_RUN,
    OPT_VARIANT,
    OPT_ROWS,
    OPT_REDO,
    OPT_MAX_HOURS,
    OPT_DRY_RUN,
    OPT_JSON,
    OPT_OWN = 512,
    OPT_KEY = 1024,
    MAX_OPTIONS = 256
};

static const struct argp_option common[] = {
    {"config", OPT_CONFIG, "FILE", 0, "JSON file with configuration keys", 0},
    {"set", OPT_SET, "KEY=VALUE", 0, "set one key, e.g. --set generate.batch=4; may be given many times", 0},
    {"run", OPT_RUN, "DIR", 0, "run directory (key run)", 0},
    {"variant", OPT_VARIANT, "V", 0, "variant of the model: IT (the model itself, default), FT, RL or any word", 0},
    {"rows", OPT_ROWS, "A:B", 0, "only rows A to B-1", 0},
    {"redo", OPT_REDO, NULL, 0, "discard what this job stored for the variant and repeat it", 0},
    {"max-hours", OPT_MAX_HOURS, "H", 0, "stop cleanly after H hours, with exit code 75", 0},
    {"dry-run", OPT_DRY_RUN, NULL, 0, "print the resolved configuration and what would be done; change nothing", 0},
    {"json", OPT_JSON, NULL, 0, "machine-readable output where the job prints results", 0},
    {"verbose", OPT_VERBOSE, NULL, 0, "log more, from every rank", 0},
    {"quiet", OPT_QUIET, NULL, 0, "log warnings and errors only", 0},
    {"help", OPT_HELP, NULL, 0, "this text", 0},
};
enum { N_COMMON = sizeof common / sizeof common[0] };

/* ---- the table of options of one job ---- */

typedef struct {
    struct argp_option options[MAX_OPTIONS + 1];
    int n;
    char names[MAX_OPTIONS][64]; /* of options made from configuration keys */
    const char *keys[MAX_OPTIONS];
} option_table;

static bool has_option(const option_table *t, const char *name)
{
    for (int i = 0; i < t->n; i++) {
        if (strcmp(t->options[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* "generate.top_k" is --top-k of generate, and --top_k. */
static void add_key_option(option_table *t, const dtx_job_def *def, const dtx_config_key *k)
{
    size_t n = strlen(def->name);

    if (strncmp(k->key, def->name, n) != 0 || k->key[n] != '.' || t->n + 2 > MAX_OPTIONS) {
        return;
    }
    for (int underscore = 0; underscore < 2; underscore++) {
        char *name = t->names[t->n];
        snprintf(name, sizeof t->names[0], "%s", k->key + n + 1);
        for (char *p = name; !underscore && *p != '\0'; p++) {
            *p = *p == '_' ? '-' : *p;
        }
        if (!has_option(t, name)) {
            t->keys[t->n] = k->key;
            t->options[t->n] = (struct argp_option){name, OPT_KEY + t->n, "VALUE", 0, k->help, 0};
            t->n++;
        }
    }
}

static void build_table(option_table *t, const dtx_job_def *def)
{
    dtx_config_key k;

    memset(t, 0, sizeof *t);
    for (int i = 0; i < N_COMMON; i++) {
        t->options[t->n++] = common[i];
    }
    for (int i = 0; def->options != NULL && def->options[i].name != NULL && i < DTX_JOB_MAX_FLAGS; i++) {
        t->options[t->n++] =
            (struct argp_option){def->options[i].name, OPT_OWN + i, def->options[i].arg, 0, def->options[i].help, 0};
    }
    for (size_t i = 0; dtx_config_key_at(i, &k); i++) {
        add_key_option(t, def, &k);
    }
}

/* ---- parsing ---- */

static dtx_status add_set(dtx_command_line *o, const char *key, const char *value)
{
    if (o->n_sets == DTX_MAX_SETS) {
        return DTX_FAIL(DTX_ERR_USAGE, "more than %d settings on the command line; put them into a file for --config",
                        DTX_MAX_SETS);
    }
    o->sets[o->n_sets].key = key;
    o->sets[o->n_sets++].value = value;
    return DTX_OK;
}

static dtx_status parse_rows(const char *s, dtx_job *job)
{
    char *end = NULL;

    errno = 0;
    long long a = strtoll(s, &end, 10), b = -1;
    bool ok = end != s && *end == ':' && s[0] >= '0' && s[0] <= '9';
    if (ok) {
        const char *second = end + 1;
        b = strtoll(second, &end, 10);
        ok = end != second && *end == '\0' && second[0] >= '0' && second[0] <= '9' && errno == 0 && a <= b;
    }
    if (!ok) {
        return DTX_FAIL(DTX_ERR_USAGE, "--rows %.60s: A:B with whole numbers 0 <= A <= B is expected (rows A to B-1)", s);
    }
    job->row_first = a;
    job->row_last = b;
    return DTX_OK;
}

static dtx_status parse_variant(const char *s, dtx_job *job)
{
    size_t n = strlen(s);

    if (n == 0 || n >= sizeof job->variant
        || strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != n) {
        return DTX_FAIL(DTX_ERR_USAGE, "--variant %.60s: a name of 1 to 63 letters, digits, _ or - is expected", s);
    }
    memcpy(job->variant, s, n + 1);
    return DTX_OK;
}

static dtx_status parse_hours(const char *s, dtx_job *job)
{
    char *end = NULL;
    double h = strtod(s, &end);

    if (end == s || *end != '\0' || !(h > 0 && h < 1e6)) {
        return DTX_FAIL(DTX_ERR_USAGE, "--max-hours %.60s: a number above 0 is expected, e.g. 11.5", s);
    }
    job->max_hours = h;
    return DTX_OK;
}

typedef struct {
    dtx_command_line *o;
    const option_table *table;
    const char *stopped; /* the word that argp did not understand */
} parse_state;

static dtx_status parse_own(dtx_command_line *o, int i, const char *arg)
{
    const dtx_job_option *own = &o->job->def->options[i];

    if (own->key != NULL) {
        return add_set(o, own->key, own->arg != NULL ? arg : "true");
    }
    o->job->flags[i] = own->arg != NULL ? arg : "";
    return DTX_OK;
}

static error_t parse_one(int key, char *arg, struct argp_state *state)
{
    parse_state *p = state->input;
    dtx_command_line *o = p->o;
    dtx_job *job = o->job;
    dtx_status st = DTX_OK;

    switch (key) {
    case OPT_HELP: o->help = true; break;
    case OPT_VERBOSE: o->verbose = true; break;
    case OPT_QUIET: o->quiet = true; break;
    case OPT_CONFIG:
        st = o->config_file == NULL ? DTX_OK : DTX_FAIL(DTX_ERR_USAGE, "--config is given twice; one file is read");
        o->config_file = arg;
        break;
    case OPT_SET: st = add_set(o, NULL, arg); break;
    case OPT_RUN: st = add_set(o, "run", arg); break;
    case OPT_VARIANT: st = parse_variant(arg, job); break;
    case OPT_ROWS: st = parse_rows(arg, job); break;
    case OPT_REDO: job->redo = true; break;
    case OPT_MAX_HOURS: st = parse_hours(arg, job); break;
    case OPT_DRY_RUN: job->dry_run = true; break;
    case OPT_JSON: job->json = true; break;
    case ARGP_KEY_ARG:
        if (job->def->args == NULL) {
            st = DTX_FAIL(DTX_ERR_USAGE, "unexpected argument %.100s; `detoxlens %s --help` shows what is taken", arg,
                          job->def->name);
        } else {
            job->args[job->n_args++] = arg;
        }
        break;
    case ARGP_KEY_ERROR: p->stopped = state->argv[state->next - 1]; return 0;
    default:
        if (key >= OPT_KEY && key < OPT_KEY + p->table->n) {
            st = add_set(o, p->table->keys[key - OPT_KEY], arg);
        } else if (key >= OPT_OWN && key < OPT_OWN + DTX_JOB_MAX_FLAGS) {
            st = parse_own(o, key - OPT_OWN, arg);
        } else {
            return ARGP_ERR_UNKNOWN;
        }
    }
    o->st = st;
    return st == DTX_OK ? 0 : ECANCELED;
}

/* argp stopped at `word` without saying why. */
static dtx_status explain(const option_table *t, const dtx_job_def *def, const char *word)
{
    const char *name = word + strspn(word, "-");
    size_t n = strcspn(name, "=");
    int prefixes = 0;

    for (int i = 0; i < t->n; i++) {
        const struct argp_option *opt = &t->options[i];
        if (strlen(opt->name) == n && strncmp(opt->name, name, n) == 0) {
            return opt->arg == NULL ? DTX_FAIL(DTX_ERR_USAGE, "option --%s takes no value", opt->name)
                                    : DTX_FAIL(DTX_ERR_USAGE, "option --%s needs a value: --%s %s", opt->name, opt->name, opt->arg);
        }
        prefixes += n > 0 && strncmp(opt->name, name, n) == 0;
    }
    if (prefixes > 1) {
        return DTX_FAIL(DTX_ERR_USAGE, "option %.80s is the start of several options; write it in full", word);
    }
    return DTX_FAIL(DTX_ERR_USAGE, "unknown option %.80s; `detoxlens %s --help` lists the options, --set KEY=VALUE sets any key",
                    word, def->name);
}

dtx_status dtx_job_options_parse(dtx_job *job, dtx_command_line *o)
{
    static option_table table;
    static char *copy[4096]; /* argp moves words around; provenance keeps the order given */
    static char *args[4096];
    int n = job->argc - 1;

    memset(o, 0, sizeof *o);
    o->job = job;
    job->args = args;
    job->row_first = job->row_last = -1;
    snprintf(job->variant, sizeof job->variant, "IT");
    if (n >= (int)(sizeof copy / sizeof copy[0])) {
        return DTX_FAIL(DTX_ERR_USAGE, "%d words on the command line; at most %zu are taken", n, sizeof copy / sizeof copy[0]);
    }
    memcpy(copy, job->argv + 1, (size_t)n * sizeof copy[0]);
    build_table(&table, job->def);
    const struct argp argp = {.options = table.options, .parser = parse_one};
    parse_state p = {o, &table, "?"};
    error_t rc = argp_parse(&argp, n, copy, ARGP_NO_EXIT | ARGP_NO_ERRS | ARGP_NO_HELP, NULL, &p);
    if (o->st != DTX_OK) {
        return o->st;
    }
    return rc == 0 ? DTX_OK : explain(&table, job->def, p.stopped);
}

dtx_status dtx_job_configure(dtx_job *job, const dtx_command_line *o, const char *const *environment)
{
    dtx_config_init(&job->config);
    if (o->config_file != NULL) {
        DTX_TRY(dtx_config_apply_file(&job->config, o->config_file));
    }
    DTX_TRY(dtx_config_apply_env(&job->config, environment));
    for (int i = 0; i < o->n_sets; i++) {
        DTX_TRY(o->sets[i].key != NULL ? dtx_config_apply(&job->config, o->sets[i].key, o->sets[i].value)
                                       : dtx_config_apply_set(&job->config, o->sets[i].value));
    }
    return dtx_config_check(&job->config, job->def->bit);
}

/* ---- help ---- */

/* Words of `text` up to `end` from column `indent`, broken before column 100. */
static void wrapped(FILE *out, int indent, const char *text, const char *end)
{
    int column = indent;

    fprintf(out, "%*s", indent, "");
    while (text < end) {
        int n = (int)strcspn(text, " \n");
        if (column > indent && column + 1 + n > 100) {
            fprintf(out, "\n%*s", indent, "");
            column = indent;
        } else if (column > indent) {
            fputc(' ', out);
            column++;
        }
        fprintf(out, "%.*s", n, text);
        column += n;
        text += n;
        text += strspn(text, " \n");
    }
    fputc('\n', out);
}

/* A line break in a default is shown as \\n. */
static void append_escaped(char *out, size_t size, const char *text)
{
    for (size_t n = strlen(out); *text != '\0' && n + 2 < size; text++) {
        if (*text == '\n') {
            out[n++] = '\\';
        }
        out[n++] = *text == '\n' ? 'n' : *text;
        out[n] = '\0';
    }
}

/* A job's own paragraphs are filled anew; indented lines (examples) stay as they are. */
static void paragraphs(FILE *out, const char *text)
{
    while (*text != '\0') {
        const char *end = text + strcspn(text, "\n");
        if (*text == ' ' || end == text) {
            fprintf(out, "%.*s\n", (int)(end - text), text);
        } else {
            while (*end == '\n' && end[1] != '\n' && end[1] != ' ' && end[1] != '\0') {
                end += 1 + strcspn(end + 1, "\n");
            }
            wrapped(out, 0, text, end);
        }
        text = *end == '\n' ? end + 1 : end;
    }
    fputc('\n', out);
}

static void option_line(FILE *out, const struct argp_option *opt)
{
    char left[80];
    const char *dash = opt->key < 256 ? "-" : "";

    snprintf(left, sizeof left, "%s%s%s--%s%s%s", dash, opt->key < 256 ? (char[]){(char)opt->key, '\0'} : "",
             opt->key < 256 ? ", " : "", opt->name, opt->arg != NULL ? " " : "", opt->arg != NULL ? opt->arg : "");
    fprintf(out, "  %-22s %s\n", left, opt->doc);
}

/* The keys that concern the job; nothing where there are none. */
static void configuration(FILE *out, const dtx_job_def *def)
{
    dtx_config_key k;
    size_t n = strlen(def->name);
    bool any = false;

    for (size_t i = 0; dtx_config_key_at(i, &k); i++) {
        char head[640], option[80] = "";
        if ((k.jobs & def->bit) == 0) {
            continue;
        }
        if (!any) {
            fprintf(out, "\nConfiguration (precedence: command line, environment, --config FILE, default)\n");
        }
        any = true;
        if (strncmp(k.key, def->name, n) == 0 && k.key[n] == '.' && !k.secret) {
            snprintf(option, sizeof option, ", --%s", k.key + n + 1);
            for (char *p = option; *p != '\0'; p++) {
                *p = *p == '_' ? '-' : *p;
            }
        }
        snprintf(head, sizeof head, "%s%s (%s), default ", k.key, option, k.allowed);
        append_escaped(head, sizeof head, k.fallback[0] != '\0' ? k.fallback : "empty");
        wrapped(out, 2, head, head + strlen(head));
        wrapped(out, 6, k.help, k.help + strlen(k.help));
    }
    if (any) {
        fprintf(out, "\nSet a key with --set KEY=VALUE, with its nesting in a JSON file, or in the environment: dots become two\n"
                     "underscores, generate.batch is DETOXLENS_GENERATE__BATCH. Exit codes: see detoxlens --help.\n");
    }
}

void dtx_job_help_one(const dtx_job_def *def, FILE *out)
{
    fprintf(out, "detoxlens %s: %s\n\nUsage: %sdetoxlens %s%s%s [OPTION...]\n\n", def->name, def->summary,
            def->parallel ? "[mpirun -n RANKS] " : "", def->name, def->args != NULL ? " " : "",
            def->args != NULL ? def->args : "");
    if (def->help != NULL && def->help[0] != '\0') {
        paragraphs(out, def->help);
    }
    if (def->options != NULL && def->options[0].name != NULL) {
        fprintf(out, "Options of %s\n", def->name);
        for (int i = 0; def->options[i].name != NULL; i++) {
            struct argp_option opt = {def->options[i].name, OPT_OWN, def->options[i].arg, 0, def->options[i].help, 0};
            option_line(out, &opt);
        }
        fputc('\n', out);
    }
    fprintf(out, "Options of all jobs\n");
    for (int i = 0; i < N_COMMON; i++) {
        bool long_jobs = common[i].key == OPT_ROWS || common[i].key == OPT_REDO || common[i].key == OPT_MAX_HOURS;
        bool shown = def->parallel || !long_jobs || (def->stops && common[i].key != OPT_ROWS);
        if (shown) {
            option_line(out, &common[i]);
        }
    }
    configuration(out, def);
}

void dtx_job_help_all(const dtx_job_def *const *jobs, FILE *out)
{
    fprintf(out, "detoxlens %s (%s): language models answer toxic prompts, and every generated token is\n"
                 "attributed to the tokens before it, over MPI ranks, into one HDF5 file.\n\n"
                 "Usage: detoxlens JOB [ARG...] [OPTION...]\n"
                 "       mpirun -n RANKS detoxlens JOB [OPTION...]     for the jobs marked *\n\n"
                 "Jobs\n", dtx_version, dtx_commit);
    for (int i = 0; jobs[i] != NULL; i++) {
        fprintf(out, "  %-11s %c %s\n", jobs[i]->name, jobs[i]->parallel ? '*' : ' ', jobs[i]->summary);
    }
    fprintf(out, "\nA first example: a model folder, texts, and a run directory that collects the results\n"
                 "  mpirun -n 2 detoxlens generate  --run out --set model.path=MODEL --set data.prompts=prompts.jsonl\n"
                 "  mpirun -n 2 detoxlens attribute --run out --set model.path=MODEL\n"
                 "  detoxlens report --run out\n\n"
                 "The settings may stand in a file: --config study.json. An interrupted job continues when the same\n"
                 "command is given again. `detoxlens JOB --help` explains a job, its options and its settings.\n\n"
                 "Exit codes\n"
                 "  0  done\n"
                 "  1  a comparison differs, or an error without a class of its own\n"
                 "  2  command line or configuration; a run directory of another model, seed or setting, or locked\n"
                 "  3  a data, model, adapter or tokenizer file is malformed or not supported\n"
                 "  4  something is not there: file, earlier stage, permission, memory, disk space\n"
                 "  5  numerical failure\n"
                 "  75 stopped cleanly before the end (signal, --max-hours): give the same command again\n");
}

dtx_status dtx_job_unknown(const dtx_job_def *const *jobs, const char *name)
{
    char list[512] = "";
    const char *nearest = NULL;
    size_t best = SIZE_MAX;

    for (int i = 0; jobs[i] != NULL; i++) {
        size_t n = strlen(list), d = dtx_edit_distance(name, jobs[i]->name);
        snprintf(list + n, sizeof list - n, "%s%s", i > 0 ? ", " : "", jobs[i]->name);
        if (d < best) {
            best = d;
            nearest = jobs[i]->name;
        }
    }
    if (nearest != NULL && best <= 1 + strlen(name) / 4) {
        return DTX_FAIL(DTX_ERR_USAGE, "unknown job %.60s; did you mean %s?", name, nearest);
    }
    return DTX_FAIL(DTX_ERR_USAGE, "unknown job %.60s; the jobs are %s (see detoxlens --help)", name, list);
}
