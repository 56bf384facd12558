/* Small commands on a run directory for the test scripts; the exit code is the status, the message goes to stderr.
 *   run_tool resume DIR     fills a run.h5 in short rounds, continuing where an earlier launch was killed
 *   run_tool open DIR       opens and closes; waits HOLD seconds between
 *   run_tool grow DIR MB    an edit that adds a dataset of MB megabytes (its group is replaced)
 *   run_tool rewrite DIR    writes all values of the dataset that grow made
 *   run_tool same A B       dtx_h5_same; prints the differences; exit code 1 when there are any */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mpi/h5/same.h"
#include "mpi/h5/impl.h"
#include "mpi/run/run.h"
#include "src/base/mem.h"

enum { ROWS = 2000, WIDTH = 24, PER_ROUND = 20, LONGEST = 200 };

/* Any numbers; equal in all runs. */
static uint32_t mix(uint64_t x)
{
    x = (x ^ (x >> 31)) * 0x9E3779B97F4A7C15ull;
    x = (x ^ (x >> 29)) * 0xBF58476D1CE4E5B9ull;
    return (uint32_t)(x >> 32);
}

static int64_t length_of(int64_t row)
{
    return mix((uint64_t)row) % LONGEST;
}

static dtx_status make_tables(hid_t file, void *user)
{
    uint64_t *offset = user;
    const dtx_h5_spec specs[] = {
        {"/variants/IT/completions/tokens", H5T_NATIVE_INT32, 2, {ROWS, WIDTH}, {"/row", "/step"}, -1, "generated ids", "1"},
        {"/variants/IT/attribution/c/entropy", H5T_NATIVE_FLOAT, 2, {ROWS, WIDTH}, {"/row", "/step"}, 0, "entropy", "nat"},
        {"/variants/IT/attribution/c/row_offset", H5T_NATIVE_UINT64, 1, {ROWS + 1, 0}, {"/row_edge", NULL}, 0, "start of a row", "1"},
        {"/variants/IT/attribution/c/value", H5T_NATIVE_FLOAT, 1, {offset[ROWS], 0}, {"flat:score", NULL}, 0, "values", "1"},
        {"/variants/IT/completions/text_bytes", H5T_NATIVE_UINT8, 1, {0, 0}, {"flat:text_byte", NULL}, 0, "no bytes", "1"},
        {"/variants/IT/attribution/c/done", H5T_NATIVE_UINT8, 1, {ROWS, 0}, {"/row", NULL}, 0, "row is on disk", "1"},
    };

    for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++) {
        DTX_TRY(dtx_h5_make_spec(file, &specs[i]));
    }
    DTX_TRY(dtx_h5_attr_str(file, "/variants/IT", "base_model", "a small model, for tests"));
    return dtx_h5_write(file, "/variants/IT/attribution/c", "row_offset", H5T_NATIVE_UINT64, ROWS, 1, offset);
}

static dtx_status finish(hid_t file, void *user)
{
    (void)user;
    return dtx_h5_attr_int(file, "/variants/IT/attribution/c", "complete", 1);
}

/* Collective. Rows `rows` of this rank: data, flush, done, flush. */
static dtx_status write_round(dtx_run *run, int64_t n, const int64_t *rows, const uint64_t *offset)
{
    int64_t one[PER_ROUND], at[PER_ROUND], len[PER_ROUND], items = 0;
    int32_t tokens[PER_ROUND * WIDTH];
    float entropy[PER_ROUND * WIDTH];
    uint8_t done[PER_ROUND];
    static float value[PER_ROUND * LONGEST];

    for (int64_t k = 0; k < n; k++) {
        one[k] = done[k] = 1;
        at[k] = (int64_t)offset[rows[k]];
        len[k] = length_of(rows[k]);
        for (int64_t c = 0; c < WIDTH; c++) {
            tokens[k * WIDTH + c] = (int32_t)(rows[k] * WIDTH + c);
            entropy[k * WIDTH + c] = c < 3 ? (float)mix((uint64_t)(rows[k] * WIDTH + c)) : NAN;
        }
        for (int64_t i = 0; i < len[k]; i++) {
            value[items++] = (float)mix((uint64_t)(at[k] + i));
        }
    }
    DTX_TRY(dtx_run_write(run, &(dtx_write){"/variants/IT/completions", "tokens", H5T_NATIVE_INT32, DTX_H5_ANY, WIDTH, n, rows, one, tokens}));
    DTX_TRY(dtx_run_write(run, &(dtx_write){"/variants/IT/attribution/c", "entropy", H5T_NATIVE_FLOAT, DTX_H5_ANY, WIDTH, n, rows, one, entropy}));
    DTX_TRY(dtx_run_write(run, &(dtx_write){"/variants/IT/attribution/c", "value", H5T_NATIVE_FLOAT, DTX_H5_ANY, 1, n, at, len, value}));
    DTX_TRY(dtx_run_flush(run));
    DTX_TRY(dtx_run_write(run, &(dtx_write){"/variants/IT/attribution/c", "done", H5T_NATIVE_UINT8, DTX_H5_ANY, 1, n, rows, one, done}));
    return dtx_run_flush(run);
}

static dtx_status resume(const dtx_par *par, const char *dir, int argc, char **argv)
{
    static uint64_t offset[ROWS + 1];
    dtx_run *run = NULL;
    void *done = NULL;
    int64_t rows[PER_ROUND], cursor = 0;
    dtx_status st;

    for (int64_t r = 0; r < ROWS; r++) {
        offset[r + 1] = offset[r] + (uint64_t)length_of(r);
    }
    DTX_GO(dtx_run_open(par, dir, &run));
    DTX_GO(dtx_run_provenance_begin(run, "resume", argc, argv, "{}"));
    hid_t file = -1;
    DTX_GO(dtx_h5_open_known(run->path, &file));
    const bool there = dtx_h5_exists(file, "/variants/IT/attribution/c/done");
    dtx_h5_close(file);
    if (!there) { /* the same on all ranks: nobody changes it meanwhile */
        DTX_GO(dtx_run_edit(run, make_tables, offset));
    }
    DTX_GO(dtx_run_read(run, "/variants/IT/attribution/c", "done", H5T_NATIVE_UINT8, ROWS, 1, &done, NULL));
    while (cursor < ROWS) { /* the rows left go round the ranks, 700 rows apart */
        int64_t n = 0;
        for (int64_t taken = 0; cursor < ROWS && taken < PER_ROUND * par->size; cursor++) {
            int64_t r = cursor * 701 % ROWS;
            if (!((uint8_t *)done)[r]) {
                if (taken % par->size == par->rank) {
                    rows[n++] = r;
                }
                taken++;
            }
        }
        DTX_GO(write_round(run, n, rows, offset));
        usleep(10000);
    }
    DTX_GO(dtx_run_edit(run, finish, NULL));
    DTX_GO(dtx_run_provenance_end(run, 0, NULL));
done:
    dtx_free(done);
    dtx_run_close(run);
    return st;
}

static dtx_status open_only(const dtx_par *par, const char *dir)
{
    dtx_run *run = NULL;
    const char *hold = getenv("HOLD");

    DTX_TRY(dtx_run_open(par, dir, &run));
    if (hold != NULL) {
        usleep((useconds_t)(atof(hold) * 1e6));
    }
    dtx_run_close(run);
    return DTX_OK;
}

static dtx_status add_big(hid_t file, void *user)
{
    hsize_t n = *(hsize_t *)user;
    const dtx_h5_spec spec = {"/variants/IT/attribution/big/value", H5T_NATIVE_FLOAT, 1, {n, 0}, {"flat:score", NULL}, 0, "big", "1"};

    if (dtx_h5_exists(file, "/variants/IT/attribution/big")) {
        DTX_TRY(dtx_h5_delete(file, "/variants/IT/attribution/big"));
    }
    return dtx_h5_make_spec(file, &spec);
}

static dtx_status grow(const dtx_par *par, const char *dir, double megabytes)
{
    dtx_run *run = NULL;
    hsize_t n = (hsize_t)(megabytes * 1e6 / 4);

    DTX_TRY(dtx_run_open(par, dir, &run));
    dtx_status st = dtx_run_edit(run, add_big, &n);
    dtx_run_close(run);
    return st;
}

static dtx_status rewrite(const dtx_par *par, const char *dir)
{
    dtx_run *run = NULL;
    int64_t shape[2];
    float *x = NULL;
    dtx_status st;

    DTX_GO(dtx_run_open(par, dir, &run));
    hid_t file = -1;
    DTX_GO(dtx_h5_open_known(run->path, &file));
    st = dtx_h5_shape(file, "/variants/IT/attribution/big", "value", DTX_H5_ANY, 1, shape);
    dtx_h5_close(file);
    DTX_GO(st);
    int64_t first = shape[0] * par->rank / par->size, count = shape[0] * (par->rank + 1) / par->size - first;
    DTX_GO(DTX_NEW(x, count));
    DTX_GO(dtx_run_write(run, &(dtx_write){"/variants/IT/attribution/big", "value", H5T_NATIVE_FLOAT, DTX_H5_ANY, 1, 1, &first, &count, x}));
    DTX_GO(dtx_run_flush(run));
done:
    dtx_free(x);
    dtx_run_close(run);
    return st;
}

static dtx_status same(const char *a, const char *b)
{
    dtx_h5_same_report report;

    DTX_TRY(dtx_h5_same(a, b, &report));
    printf("%s%lld datasets, %lld attributes, %lld bytes compared\n", report.text, (long long)report.datasets,
           (long long)report.attributes, (long long)report.bytes);
    return report.differences == 0 ? DTX_OK : DTX_FAIL(DTX_ERR_CHECK, "%lld differences", (long long)report.differences);
}

int main(int argc, char **argv)
{
    dtx_par par = {.size = 1};
    dtx_status st = DTX_OK;
    const char *command = argc > 2 ? argv[1] : "";

    if (strcmp(command, "same") == 0) { /* without MPI */
        st = same(argv[2], argv[3]);
        if (st != DTX_OK) {
            fprintf(stderr, "%s\n", dtx_error_text());
        }
        return (int)st;
    }
    if (dtx_par_init(&argc, &argv, &par) != DTX_OK) {
        fprintf(stderr, "%s\n", dtx_error_text());
        return 1;
    }
    if (strcmp(command, "resume") == 0) {
        st = resume(&par, argv[2], argc, argv);
    } else if (strcmp(command, "open") == 0) {
        st = open_only(&par, argv[2]);
    } else if (strcmp(command, "grow") == 0) {
        st = grow(&par, argv[2], atof(argv[3]));
    } else if (strcmp(command, "rewrite") == 0) {
        st = rewrite(&par, argv[2]);
    } else {
        st = DTX_FAIL(DTX_ERR_USAGE, "see the head of run_tool.c");
    }
    if (st != DTX_OK && par.rank == 0) {
        fprintf(stderr, "status %d: %s\n", (int)st, dtx_error_text());
    }
    dtx_par_finalize(&par);
    return (int)st;
}
