/* ranks.c - what ranks do together: sums of gradients and writes of results, against copies and plain MPI-IO. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "jobs/bench/bench.h"
#include "jobs/shared/stage.h"
#include "mpi/par/reduce.h"
#include "mpi/par/stats.h"
#include "src/base/file.h"
#include "src/base/mem.h"

/* Seconds of the slowest rank. Collective. */
static dtx_status slowest(const dtx_par *par, double seconds, double *out)
{
    dtx_spread all;

    DTX_TRY(dtx_par_spread(par, 1, &seconds, &all));
    *out = all.max;
    return DTX_OK;
}

/* --- allreduce --- */

enum { FLOATS = 10485760, INNER = 4 }; /* LoRA of rank 32 on RedPajama 3B's query_key_value: 42 MB */

/* Seconds of one sum, and a look at its values. Every rank adds rank + 1 everywhere. */
static dtx_status sum_once(const dtx_par *par, dtx_reduce *r, float *sum, double *seconds)
{
    const float expected = 0.5F * (float)par->size * (float)(par->size + 1);
    float *grad;

    DTX_TRY(dtx_par_agree(par, dtx_reduce_begin(r, &grad)));
    for (int64_t i = 0; i < FLOATS; i++) {
        grad[i] += (float)(par->rank + 1);
    }
    dtx_reduce_commit(r);
    DTX_TRY(DTX_MPI(MPI_Barrier(par->comm)));
    double begun = dtx_now();
    DTX_TRY(dtx_reduce_finish(r, sum));
    DTX_TRY(slowest(par, dtx_now() - begun, seconds));
    for (int64_t i = 0; i < FLOATS; i += 4099) {
        if (sum[i] != expected) {
            return DTX_FAIL(DTX_ERR_CHECK, "element %" PRId64 " of the sum is %g, not %g", i, sum[i], expected);
        }
    }
    return DTX_OK;
}

/* Seconds in which every rank copies the vector to another place and back, all at once. */
static dtx_status copy_once(const dtx_par *par, float *a, float *b, double *seconds)
{
    DTX_TRY(DTX_MPI(MPI_Barrier(par->comm)));
    double begun = dtx_now();
    memcpy(b, a, FLOATS * sizeof *a);
    memcpy(a, b, FLOATS * sizeof *a);
    return slowest(par, dtx_now() - begun, seconds);
}

dtx_status dtx_bench_allreduce(const dtx_job *job, int repeat, dtx_bench_result *out)
{
    static const char *const name[2] = {"fast", "strict"};
    const dtx_par *par = &job->par;
    const double bytes = FLOATS * sizeof(float);
    double share[2][DTX_BENCH_MAX_REPEAT], rate[2][DTX_BENCH_MAX_REPEAT], limit[DTX_BENCH_MAX_REPEAT];
    dtx_reduce *r[2] = {NULL};
    float *sum = NULL, *a = NULL, *b = NULL;
    dtx_status st;

    st = DTX_NEW(sum, FLOATS);
    st = st == DTX_OK ? DTX_NEW(a, FLOATS) : st;
    st = st == DTX_OK ? DTX_NEW(b, FLOATS) : st;
    DTX_GO(dtx_par_agree(par, st));
    for (int k = 0; k < 2; k++) {
        DTX_GO(dtx_par_agree(par, dtx_reduce_new(par, FLOATS, par->size, k == 1, &r[k])));
        double unused;
        DTX_GO(sum_once(par, r[k], sum, &unused)); /* the first one allocates */
        DTX_GO(copy_once(par, a, b, &unused));
    }
    for (int i = 0; i < repeat; i++) {
        double copy = 0, whole[2] = {0}, t;
        for (int j = 0; j < INNER; j++) {
            for (int k = 0; k < 2; k++) {
                DTX_GO(sum_once(par, r[k], sum, &t));
                whole[k] += t / INNER;
                DTX_GO(copy_once(par, a, b, &t));
                copy += t / (2 * INNER);
            }
        }
        limit[i] = bytes / copy;
        for (int k = 0; k < 2; k++) {
            rate[k][i] = bytes / whole[k];
            share[k][i] = copy / whole[k];
        }
    }
    for (int k = 0; k < 2 && par->rank == 0 && !job->json; k++) {
        printf("%-6s %.1f MB over %d ranks in %.2f ms, share %.3f\n", name[k], bytes / 1e6, par->size,
               1e3 * bytes / dtx_timing_median(rate[k], repeat), dtx_timing_median(share[k], repeat));
    }
    *out = (dtx_bench_result){dtx_timing_median(share[0], repeat), dtx_timing_median(rate[0], repeat), dtx_timing_median(limit, repeat),
                              "byte/s", ""};
done:
    dtx_reduce_del(r[0]);
    dtx_reduce_del(r[1]);
    dtx_free(sum);
    dtx_free(a);
    dtx_free(b);
    return st;
}

/* --- hdf5 --- */

/* Rows as attribution of the study leaves them: 70 generated tokens after 45, merged to words. A round holds 64 rows of
 * each rank, scattered as the hand-out scatters them. */
enum { STEPS = 70, TOKENS = 115, MATRIX = STEPS * TOKENS, ROWS_A_ROUND = 64, ROUNDS = 8 };

static const struct {
    const char *name;
    bool curve, flag;
} columns[] = {{"G", false, false}, {"T", false, false}, {"step_probability", true, false}, {"entropy", true, false},
               {"prompt_dependence", true, false}, {"words/length", false, false}, {"words/step_probability", true, false},
               {"words/entropy", true, false}, {"words/prompt_dependence", true, false}, {"done", false, true}};
enum { N_COLUMNS = sizeof columns / sizeof *columns };

typedef struct {
    const dtx_par *par;
    char dir[DTX_PATH_MAX], group[64];
    dtx_run *run;
    dtx_stage_rows ready;
    float *value;                      /* of one round */
    int64_t *start, *count;
    MPI_File plain;
    char *block;                       /* the same bytes in one piece */
    size_t block_bytes;                /* without the flags */
} rounds;

static hid_t type_of(int c)
{
    return columns[c].flag ? H5T_NATIVE_UINT8 : columns[c].curve ? H5T_NATIVE_FLOAT : H5T_NATIVE_INT32;
}

static int64_t n_rows(const rounds *b)
{
    return (int64_t)ROUNDS * ROWS_A_ROUND * b->par->size;
}

static dtx_status make_datasets(hid_t file, void *user)
{
    const rounds *b = user;
    DTX_TRY(dtx_h5_make(file, b->group, "value", n_rows(b) * MATRIX, 1));
    for (int c = 0; c < N_COLUMNS; c++) {
        DTX_TRY(dtx_h5_make(file, b->group, columns[c].name, n_rows(b), STEPS));
    }
    return DTX_OK;
}

/* A folder of its own in `where`, the same name on all ranks. */
static dtx_status make_dir(rounds *b, const char *where)
{
    dtx_status st = DTX_OK;

    if (b->par->rank == 0) {
        st = dtx_file_join(b->dir, sizeof b->dir, where, "detoxlens-bench.XXXXXX");
        if (st == DTX_OK && mkdtemp(b->dir) == NULL) {
            st = DTX_FAIL(DTX_ERR_MISSING, "%s: cannot make a folder for the measurement", b->dir);
        }
    }
    DTX_TRY(dtx_par_agree(b->par, st));
    return DTX_MPI(MPI_Bcast(b->dir, sizeof b->dir, MPI_CHAR, 0, b->par->comm));
}

static void remove_dir(const rounds *b)
{
    static const char *const files[] = {"run.h5", "plain", "lock"}, *const folders[] = {"log", "checkpoints", "report"};
    char path[DTX_PATH_MAX];

    for (size_t i = 0; b->par->rank == 0 && b->dir[0] != '\0' && i < 3; i++) {
        if (dtx_file_join(path, sizeof path, b->dir, files[i]) == DTX_OK) {
            unlink(path);
        }
        if (dtx_file_join(path, sizeof path, b->dir, folders[i]) == DTX_OK) {
            rmdir(path);
        }
    }
    if (b->par->rank == 0 && b->dir[0] != '\0') {
        rmdir(b->dir);
    }
}

static dtx_status rounds_open(rounds *b)
{
    char path[DTX_PATH_MAX];
    dtx_status st;

    dtx_h5_group(b->group, sizeof b->group, DTX_H5_ATTRIBUTION, "IT", "bench");
    b->ready.n_columns = N_COLUMNS;
    b->block_bytes = ROWS_A_ROUND * MATRIX * sizeof(float);
    for (int c = 0; c < N_COLUMNS; c++) {
        const size_t size = columns[c].flag ? 1 : 4;
        const int64_t width = columns[c].curve ? STEPS : 1;
        b->ready.column[c] = (dtx_stage_column){columns[c].name, type_of(c), size, width, NULL, 0};
        b->block_bytes += columns[c].flag ? 0 : ROWS_A_ROUND * (size_t)width * size;
    }
    st = DTX_NEW(b->value, ROWS_A_ROUND * MATRIX);
    st = st == DTX_OK ? DTX_NEW(b->start, ROWS_A_ROUND) : st;
    st = st == DTX_OK ? DTX_NEW(b->count, ROWS_A_ROUND) : st;
    st = st == DTX_OK ? DTX_NEW(b->block, b->block_bytes + ROWS_A_ROUND) : st;
    DTX_TRY(dtx_par_agree(b->par, st));
    DTX_TRY(dtx_run_open(b->par, b->dir, &b->run));
    DTX_TRY(dtx_run_edit(b->run, make_datasets, b));
    DTX_TRY(dtx_par_agree(b->par, dtx_file_join(path, sizeof path, b->dir, "plain")));
    DTX_TRY(dtx_par_agree(b->par, DTX_MPI(MPI_File_open(b->par->comm, path, MPI_MODE_CREATE | MPI_MODE_WRONLY, MPI_INFO_NULL, &b->plain))));
    return DTX_OK;
}

/* Collective. What a round of attribution writes. */
static dtx_status write_round(rounds *b, int64_t k)
{
    const float curve[STEPS] = {0.5F};
    const int32_t number = STEPS;
    const uint8_t flag = 1;
    const void *values[N_COLUMNS];
    dtx_status st = DTX_OK;

    for (int c = 0; c < N_COLUMNS; c++) {
        values[c] = columns[c].flag ? (const void *)&flag : columns[c].curve ? (const void *)curve : (const void *)&number;
    }
    for (int64_t i = 0; st == DTX_OK && i < ROWS_A_ROUND; i++) {
        int64_t row = (k * ROWS_A_ROUND + i) * b->par->size + b->par->rank;
        b->start[i] = row * MATRIX;
        b->count[i] = MATRIX;
        st = dtx_stage_rows_add(&b->ready, row, values);
    }
    DTX_TRY(dtx_par_agree(b->par, st));
    DTX_TRY(dtx_run_write(b->run, &(dtx_write){.group = b->group, .name = "value", .type = H5T_NATIVE_FLOAT, .rows = n_rows(b) * MATRIX, .width = 1,
                                               .n = ROWS_A_ROUND, .start = b->start, .count = b->count, .x = b->value}));
    return dtx_stage_rows_write(b->run, b->group, n_rows(b), &b->ready);
}

/* Collective. One dataset's part of a round: rows of `bytes` at the same places of a file of the same layout. */
static dtx_status write_view(rounds *b, int64_t k, int64_t bytes, MPI_Offset dataset)
{
    const int size = b->par->size;
    const MPI_Offset first = dataset + (k * ROWS_A_ROUND * size + b->par->rank) * bytes;
    MPI_Datatype places;

    DTX_TRY(DTX_MPI(MPI_Type_vector(ROWS_A_ROUND, (int)bytes, (int)bytes * size, MPI_BYTE, &places)));
    DTX_TRY(DTX_MPI(MPI_Type_commit(&places)));
    dtx_status st = DTX_MPI(MPI_File_set_view(b->plain, first, MPI_BYTE, places, "native", MPI_INFO_NULL));
    if (st == DTX_OK) {
        st = DTX_MPI(MPI_File_write_all(b->plain, b->block, (int)(bytes * ROWS_A_ROUND), MPI_BYTE, MPI_STATUS_IGNORE));
    }
    MPI_Type_free(&places);
    return st;
}

/* Collective. The same bytes at the same places without HDF5: rows, sync, flags, sync. */
static dtx_status write_plain(rounds *b, int64_t k)
{
    const int64_t rows = (int64_t)ROUNDS * ROWS_A_ROUND * b->par->size;
    MPI_Offset at = 0;

    DTX_TRY(write_view(b, k, MATRIX * 4, at));
    at += rows * MATRIX * 4;
    for (int c = 0; c < N_COLUMNS; c++) {
        const int64_t bytes = columns[c].flag ? 1 : columns[c].curve ? STEPS * 4 : 4;
        if (columns[c].flag) {
            DTX_TRY(DTX_MPI(MPI_File_sync(b->plain)));
        }
        DTX_TRY(write_view(b, k, bytes, at));
        at += rows * bytes;
    }
    return DTX_MPI(MPI_File_sync(b->plain));
}

static dtx_status timed_rounds(rounds *b, dtx_status (*one)(rounds *b, int64_t k), double *seconds)
{
    DTX_TRY(DTX_MPI(MPI_Barrier(b->par->comm)));
    double begun = dtx_now();
    for (int64_t k = 0; k < ROUNDS; k++) {
        DTX_TRY(dtx_par_agree(b->par, one(b, k)));
    }
    return slowest(b->par, dtx_now() - begun, seconds);
}

dtx_status dtx_bench_hdf5(const dtx_job *job, int repeat, dtx_bench_result *out)
{
    double share[DTX_BENCH_MAX_REPEAT], rate[DTX_BENCH_MAX_REPEAT], limit[DTX_BENCH_MAX_REPEAT];
    const char *where = dtx_job_flag(job, "dir");
    rounds b = {.par = &job->par, .plain = MPI_FILE_NULL};
    double hdf5, plain;
    dtx_status st;

    DTX_GO(make_dir(&b, where != NULL ? where : "."));
    DTX_GO(rounds_open(&b));
    const double bytes = (double)(b.block_bytes + ROWS_A_ROUND) * ROUNDS * job->par.size;
    DTX_GO(timed_rounds(&b, write_round, &hdf5));
    DTX_GO(timed_rounds(&b, write_plain, &plain)); /* the first time allocates the file, as run.h5's datasets are */
    for (int i = 0; i < repeat; i++) {
        DTX_GO(timed_rounds(&b, write_round, &hdf5));
        DTX_GO(timed_rounds(&b, write_plain, &plain));
        rate[i] = bytes / hdf5;
        limit[i] = bytes / plain;
        share[i] = plain / hdf5;
    }
    if (job->par.rank == 0 && !job->json) {
        printf("%d rounds of %d rows of each of %d ranks, %.1f MB: %.1f ms a round through HDF5, %.1f through MPI-IO\n", ROUNDS,
               ROWS_A_ROUND, job->par.size, bytes / 1e6, 1e3 * bytes / ROUNDS / dtx_timing_median(rate, repeat),
               1e3 * bytes / ROUNDS / dtx_timing_median(limit, repeat));
    }
    *out = (dtx_bench_result){dtx_timing_median(share, repeat), dtx_timing_median(rate, repeat), dtx_timing_median(limit, repeat),
                              "byte/s", ""};
done:
    if (b.plain != MPI_FILE_NULL) {
        MPI_File_close(&b.plain);
    }
    dtx_run_close(b.run);
    remove_dir(&b);
    dtx_stage_rows_free(&b.ready);
    dtx_free(b.value);
    dtx_free(b.start);
    dtx_free(b.count);
    dtx_free(b.block);
    return st;
}
