/* /provenance/<k>: one group of attributes per launch, added in an edit. Stop time, exit code and facts have their room from the start
 * and are overwritten at the end. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mpi/h5/impl.h"
#include "mpi/run/run.h"
#include "src/base/json.h"
#include "src/algebra/linear.h"
#include "src/base/mem.h"
#include "src/base/version.h"

enum { STAMP_SIZE = 24, FACTS_SIZE = 4096, HOSTS_SIZE = 32768, CPU_SIZE = 128 };

/* In the order of dtx_run_outcome. */
static const char *const outcome_name[DTX_RUN_OUTCOMES] = {
    "predicted_seconds", "seconds", "predicted_peak_memory_bytes", "peak_memory_bytes", "handout_share", "rounds_share", "uneven_share"};

typedef struct {
    char host[256], cpu[CPU_SIZE];
    int threads;
} place;

typedef struct {
    const dtx_run *run;
    const char *job, *config;
    char *argv_json, *hosts, *cpus;
    int64_t threads_total;
    char start[STAMP_SIZE];
    int64_t launch;
} record;

static void stamp(char out[STAMP_SIZE])
{
    time_t now = time(NULL);
    struct tm tm;

    gmtime_r(&now, &tm);
    strftime(out, STAMP_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

static void cpu_model(char out[CPU_SIZE])
{
    char line[512];
    FILE *f = fopen("/proc/cpuinfo", "r");

    snprintf(out, CPU_SIZE, "unknown");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, "model name", 10) == 0 && strchr(line, ':') != NULL) {
            line[strcspn(line, "\n")] = '\0';
            snprintf(out, CPU_SIZE, "%.100s", strchr(line, ':') + 2);
            break;
        }
    }
    if (f != NULL) {
        fclose(f);
    }
}

static void append(char *text, size_t size, const char *separator, const char *more)
{
    size_t n = strlen(text);

    snprintf(text + n, size - n, "%s%s", n > 0 ? separator : "", more);
}

/* Rank 0: "node1:2,node2:2" in the order of ranks, and each CPU model once. */
static void summarise(const place *all, int size, record *rec)
{
    char item[300];

    for (int r = 0, ranks = 0; r < size; r++) {
        ranks++;
        rec->threads_total += all[r].threads;
        if (r + 1 == size || strcmp(all[r].host, all[r + 1].host) != 0) {
            snprintf(item, sizeof item, "%.250s:%d", all[r].host, ranks);
            append(rec->hosts, HOSTS_SIZE, ",", item);
            ranks = 0;
        }
        if (strstr(rec->cpus, all[r].cpu) == NULL) {
            append(rec->cpus, HOSTS_SIZE, "; ", all[r].cpu);
        }
    }
}

/* Collective. */
static dtx_status gather_places(const dtx_par *par, record *rec)
{
    place mine = {.threads = dtx_linear_threads()}, *all = NULL;
    dtx_status st = DTX_OK;

    snprintf(mine.host, sizeof mine.host, "%s", par->host);
    cpu_model(mine.cpu);
    if (par->rank == 0) {
        st = DTX_NEW(all, par->size);
        st = st == DTX_OK ? DTX_NEW(rec->hosts, HOSTS_SIZE) : st;
        st = st == DTX_OK ? DTX_NEW(rec->cpus, HOSTS_SIZE) : st;
    }
    st = dtx_par_agree(par, st);
    if (st == DTX_OK) {
        st = dtx_par_agree(par, DTX_MPI(MPI_Gather(&mine, (int)sizeof mine, MPI_BYTE, all, (int)sizeof mine, MPI_BYTE, 0,
                                                   par->comm)));
    }
    if (st == DTX_OK && par->rank == 0) {
        summarise(all, par->size, rec);
    }
    dtx_free(all);
    return st;
}

static dtx_status argv_text(int argc, char **argv, char **out)
{
    cJSON *list = cJSON_CreateStringArray((const char *const *)argv, argc);
    char *text = list != NULL ? cJSON_PrintUnformatted(list) : NULL;

    *out = text != NULL ? dtx_strdup(text) : NULL;
    cJSON_free(text);
    cJSON_Delete(list);
    return dtx_mem_check(*out, (size_t)argc, 1, "the command line");
}

static void launch_path(int64_t k, char *path, size_t size)
{
    char number[24];

    snprintf(number, sizeof number, "%" PRId64, k);
    dtx_h5_group(path, size, DTX_H5_LAUNCH, number, NULL);
}

static dtx_status add_group(hid_t file, void *user)
{
    record *rec = user;
    const dtx_par *par = rec->run->par;
    char path[64], mpi[MPI_MAX_LIBRARY_VERSION_STRING], hdf5[32];
    const char *job_id = getenv("SLURM_JOB_ID");
    unsigned major, minor, release;
    int len = 0;

    do {
        launch_path(++rec->launch, path, sizeof path);
    } while (dtx_h5_exists(file, path));
    MPI_Get_library_version(mpi, &len);
    mpi[strcspn(mpi, ",\n")] = '\0';
    H5get_libversion(&major, &minor, &release);
    snprintf(hdf5, sizeof hdf5, "%u.%u.%u", major, minor, release);
    const struct {
        const char *name, *value;
    } texts[] = {{"job", rec->job}, {"argv", rec->argv_json}, {"config", rec->config}, {"version", dtx_version},
                 {"commit", dtx_commit}, {"hosts", rec->hosts}, {"cpu", rec->cpus}, {"mpi", mpi}, {"hdf5", hdf5},
                 {"linear", dtx_linear_describe()}, {"slurm_job", job_id != NULL ? job_id : ""}, {"start", rec->start}};

    DTX_TRY(dtx_h5_make_groups(file, path, true));
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        DTX_TRY(dtx_h5_attr_str(file, path, texts[i].name, texts[i].value));
    }
    DTX_TRY(dtx_h5_attr_int(file, path, "ranks", par->size));
    DTX_TRY(dtx_h5_attr_int(file, path, "threads", dtx_linear_threads()));
    DTX_TRY(dtx_h5_attr_int(file, path, "threads_total", rec->threads_total));
    DTX_TRY(dtx_h5_attr_int(file, path, "exit_code", -1)); /* -1: it has not ended, or was killed */
    for (int i = 0; i < DTX_RUN_OUTCOMES; i++) {
        DTX_TRY(dtx_h5_attr_double(file, path, outcome_name[i], NAN));
    }
    DTX_TRY(dtx_h5_attr_str_room(file, path, "stop", "", STAMP_SIZE));
    return dtx_h5_attr_str_room(file, path, "facts", "", FACTS_SIZE);
}

dtx_status dtx_run_provenance_begin(dtx_run *run, const char *job, int argc, char **argv, const char *config_json)
{
    record rec = {.run = run, .job = job, .config = config_json, .launch = -1};
    dtx_status st;

    stamp(rec.start);
    DTX_GO(gather_places(run->par, &rec));
    st = run->par->rank == 0 ? argv_text(argc, argv, &rec.argv_json) : DTX_OK;
    DTX_GO(dtx_par_agree(run->par, st));
    DTX_GO(dtx_run_edit(run, add_group, &rec));
    if (run->par->size > 1) {
        DTX_GO(dtx_par_agree(run->par, DTX_MPI(MPI_Bcast(&rec.launch, 1, MPI_INT64_T, 0, run->par->comm))));
    }
    run->launch = rec.launch;
    run->begun = MPI_Wtime();
    run->outcome = (dtx_run_outcome){NAN, NAN, NAN, NAN, NAN, NAN, NAN};
done:
    dtx_free(rec.argv_json);
    dtx_free(rec.hosts);
    dtx_free(rec.cpus);
    return st;
}

/* Overwrites an attribute in place, by text or, where that is NULL, by a number in memory of the type `number_type`. */
static dtx_status overwrite(hid_t file, const char *path, const char *name, const char *text, hid_t number_type, const void *number)
{
    char value[FACTS_SIZE + 1];
    /* H5Aopen_by_name gives an attribute that HDF5 1.10 cannot write ("can't locate open attribute") */
    hid_t group = H5Gopen2(file, path, H5P_DEFAULT), attr = group >= 0 ? H5Aopen(group, name, H5P_DEFAULT) : -1;
    hid_t type = attr >= 0 ? H5Aget_type(attr) : -1;
    dtx_status st = DTX_OK;
    bool failed = type < 0;

    if (!failed && text == NULL) {
        failed = H5Awrite(attr, number_type, number) < 0;
    } else if (!failed) {
        size_t size = H5Tget_size(type);
        memset(value, 0, sizeof value);
        failed = size > FACTS_SIZE || strlen(text) > size;
        if (!failed) {
            memcpy(value, text, strlen(text));
            failed = H5Awrite(attr, type, value) < 0;
        }
    }
    if (failed) {
        st = DTX_H5_FAIL(DTX_ERR_CHECK, "cannot write the attribute %s of %s", name, path);
    }
    if (type >= 0) {
        H5Tclose(type);
    }
    if (attr >= 0) {
        H5Aclose(attr);
    }
    if (group >= 0) {
        H5Gclose(group);
    }
    return st;
}

typedef struct {
    char path[64], stop[STAMP_SIZE], facts[FACTS_SIZE + 1];
    int64_t code;
    double outcome[DTX_RUN_OUTCOMES];
} ending;

static dtx_status write_ending(hid_t file, void *user)
{
    const ending *m = user;

    DTX_TRY(overwrite(file, m->path, "stop", m->stop, -1, NULL));
    DTX_TRY(overwrite(file, m->path, "facts", m->facts, -1, NULL));
    for (int i = 0; i < DTX_RUN_OUTCOMES; i++) {
        DTX_TRY(overwrite(file, m->path, outcome_name[i], NULL, H5T_NATIVE_DOUBLE, &m->outcome[i]));
    }
    return overwrite(file, m->path, "exit_code", NULL, H5T_NATIVE_INT64, &m->code);
}

dtx_status dtx_run_provenance_end(dtx_run *run, int exit_code, const char *facts_json)
{
    ending m = {.code = exit_code};

    if (run->fd < 0 || run->launch < 0) {
        return DTX_OK;
    }
    launch_path(run->launch, m.path, sizeof m.path);
    stamp(m.stop);
    memcpy(m.outcome, &run->outcome, sizeof m.outcome);
    if (facts_json != NULL && strlen(facts_json) <= FACTS_SIZE) {
        snprintf(m.facts, sizeof m.facts, "%s", facts_json);
    } else if (facts_json != NULL) {
        snprintf(m.facts, sizeof m.facts, "{\"left_out_bytes\":%zu}", strlen(facts_json));
    }
    return dtx_run_edit(run, write_ending, &m);
}
