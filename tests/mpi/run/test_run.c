/* The run directory and run.h5 on any number of ranks, in a folder below TMPDIR. */
#include "tests/mpi/par/check.h"

#include <stdlib.h>
#include <string.h>

#include "mpi/h5/impl.h"
#include "mpi/run/run.h"
#include "src/base/mem.h"

enum { ROWS = 1237, WIDTH = 7 };

/* Any numbers; equal on all ranks and in all runs. */
static uint32_t mix(uint64_t x)
{
    x = (x ^ (x >> 31)) * 0x9E3779B97F4A7C15ull;
    x = (x ^ (x >> 29)) * 0xBF58476D1CE4E5B9ull;
    return (uint32_t)(x >> 32);
}

static int64_t length_of(int64_t row)
{
    return mix((uint64_t)row) % 5; /* 0 too */
}

static dtx_status make_tables(hid_t file, void *user)
{
    int64_t flat = *(int64_t *)user;
    const dtx_h5_spec specs[] = {
        {"/variants/IT/completions/tokens", H5T_NATIVE_INT32, 2, {ROWS, WIDTH}, {"/row", "/step"}, -1, "generated ids", "1"},
        {"/variants/IT/completions/logprob", H5T_NATIVE_FLOAT, 2, {ROWS, WIDTH}, {"/row", "/step"}, 0, "log probability", "nat"},
        {"/variants/IT/attribution/c/row_offset", H5T_NATIVE_UINT64, 1, {ROWS + 1, 0}, {"/row_edge", NULL}, 0, "start of a row", "1"},
        {"/variants/IT/attribution/c/value", H5T_NATIVE_FLOAT, 1, {(hsize_t)flat, 0}, {"flat:score", NULL}, 0, "values", "1"},
        {"/variants/IT/attribution/c/done", H5T_NATIVE_UINT8, 1, {ROWS, 0}, {"/row", NULL}, 0, "row is on disk", "1"},
        {"/variants/FT/completions/length", H5T_NATIVE_INT32, 1, {2 * ROWS, 0}, {"/row", NULL}, 9, "two samples a row", "1"},
        {"/variants/FT/completions/logprob", H5T_NATIVE_FLOAT, 2, {0, WIDTH}, {"none", "/step"}, 0, "no rows", "1"},
        {"/variants/FT/completions/text_bytes", H5T_NATIVE_UINT8, 1, {0, 0}, {"flat:no_byte", NULL}, 0, "no bytes", "1"},
    };

    for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++) {
        DTX_TRY(dtx_h5_make_spec(file, &specs[i]));
    }
    return dtx_h5_attr_str(file, "/variants/IT", "base_model", "ein kleines Modell, für Prüfungen");
}

/* Each rank takes the rows r with mix(r) % size == rank, in an order of its own, and writes all tables. */
static void fill(const dtx_par *par, dtx_run *run, int writers)
{
    int64_t *rows, *one, *at, *len, n = 0, items = 0, first = 0;
    int32_t *tokens;
    float *logprob, *value;
    uint8_t *done;
    uint64_t *offset;

    CHECK(par, DTX_NEW(rows, ROWS) == DTX_OK && DTX_NEW(one, ROWS) == DTX_OK && DTX_NEW(at, ROWS) == DTX_OK);
    CHECK(par, DTX_NEW(len, ROWS) == DTX_OK && DTX_NEW(tokens, ROWS * WIDTH) == DTX_OK && DTX_NEW(done, ROWS) == DTX_OK);
    CHECK(par, DTX_NEW(logprob, ROWS * WIDTH) == DTX_OK && DTX_NEW(value, ROWS * 5) == DTX_OK);
    CHECK(par, DTX_NEW(offset, ROWS + 1) == DTX_OK);
    for (int64_t r = 0; r < ROWS; r++) {
        offset[r + 1] = offset[r] + (uint64_t)length_of(r);
    }
    for (int64_t k = 0; k < ROWS; k++) {
        int64_t r = k * 1000 % ROWS; /* 1000 and 1237 have no common divisor: every row once */
        if ((int)(mix((uint64_t)r + 77) % (uint32_t)writers) == par->rank) {
            rows[n] = r;
            one[n] = 1;
            at[n] = (int64_t)offset[r];
            len[n] = length_of(r);
            done[n] = 1;
            for (int c = 0; c < WIDTH; c++) {
                tokens[n * WIDTH + c] = (int32_t)(r * WIDTH + c);
                logprob[n * WIDTH + c] = (float)mix((uint64_t)(r * WIDTH + c));
            }
            for (int64_t i = 0; i < len[n]; i++) {
                value[items++] = (float)mix(offset[r] + (uint64_t)i);
            }
            n++;
        }
    }
    CHECK(par, dtx_run_write(run, &(dtx_write){"/variants/IT/completions", "tokens", H5T_NATIVE_INT32, ROWS, WIDTH, n, rows, one, tokens}) == DTX_OK);
    CHECK(par, dtx_run_write(run, &(dtx_write){"/variants/IT/completions", "logprob", H5T_NATIVE_FLOAT, DTX_H5_ANY, WIDTH, n, rows, one, logprob}) == DTX_OK);
    CHECK(par, dtx_run_write(run, &(dtx_write){"/variants/IT/attribution/c", "value", H5T_NATIVE_FLOAT, DTX_H5_ANY, 1, n, at, len, value}) == DTX_OK);
    int64_t all = par->rank == 0 ? ROWS + 1 : 0; /* one rank writes, the others take part */
    CHECK(par, dtx_run_write(run, &(dtx_write){"/variants/IT/attribution/c", "row_offset", H5T_NATIVE_UINT64, DTX_H5_ANY, 1, par->rank == 0, &first, &all, offset}) == DTX_OK);
    CHECK(par, dtx_run_write(run, &(dtx_write){"/variants/FT/completions", "logprob", H5T_NATIVE_FLOAT, DTX_H5_ANY, WIDTH, 0, NULL, NULL, NULL}) == DTX_OK);
    CHECK(par, dtx_run_write(run, &(dtx_write){"/variants/FT/completions", "text_bytes", H5T_NATIVE_UINT8, DTX_H5_ANY, 1, 0, NULL, NULL, NULL}) == DTX_OK);
    CHECK(par, dtx_run_flush(run) == DTX_OK);
    CHECK(par, dtx_run_write(run, &(dtx_write){"/variants/IT/attribution/c", "done", H5T_NATIVE_UINT8, DTX_H5_ANY, 1, n, rows, one, done}) == DTX_OK);
    CHECK(par, dtx_run_flush(run) == DTX_OK);
    dtx_free(rows);
    dtx_free(one);
    dtx_free(at);
    dtx_free(len);
    dtx_free(tokens);
    dtx_free(logprob);
    dtx_free(value);
    dtx_free(done);
    dtx_free(offset);
}

static int64_t flat_size(void)
{
    int64_t n = 0;

    for (int64_t r = 0; r < ROWS; r++) {
        n += length_of(r);
    }
    return n;
}

static void compare(const dtx_par *par, dtx_run *run)
{
    int64_t shape[2];
    int32_t *tokens;
    float *x;
    uint8_t *done;
    void *p;

    CHECK(par, dtx_run_read(run, "/variants/IT/completions", "tokens", H5T_NATIVE_INT32, DTX_H5_ANY, WIDTH, &p, shape) == DTX_OK);
    tokens = p;
    CHECK(par, shape[0] == ROWS && shape[1] == WIDTH);
    for (int64_t i = 0; i < ROWS * WIDTH; i++) {
        CHECK(par, tokens[i] == i);
    }
    dtx_free(p);
    CHECK(par, dtx_run_read(run, "/variants/IT/attribution/c", "value", H5T_NATIVE_FLOAT, DTX_H5_ANY, 1, &p, shape) == DTX_OK);
    x = p;
    CHECK(par, shape[0] == flat_size() && shape[1] == 1);
    for (int64_t i = 0; i < shape[0]; i++) {
        CHECK(par, x[i] == (float)mix((uint64_t)i));
    }
    dtx_free(p);
    CHECK(par, dtx_run_read(run, "/variants/IT/attribution/c", "done", H5T_NATIVE_UINT8, DTX_H5_ANY, 1, &p, shape) == DTX_OK);
    done = p;
    for (int64_t i = 0; i < ROWS; i++) {
        CHECK(par, done[i] == 1);
    }
    dtx_free(p);
    CHECK(par, dtx_run_read(run, "/variants/FT/completions", "length", H5T_NATIVE_INT32, DTX_H5_ANY, 1, &p, shape) == DTX_OK);
    CHECK(par, shape[0] == 2 * ROWS && ((int32_t *)p)[0] == 9 && ((int32_t *)p)[2 * ROWS - 1] == 9);
    dtx_free(p);
    CHECK(par, dtx_run_read(run, "/variants/FT/completions", "logprob", H5T_NATIVE_FLOAT, DTX_H5_ANY, WIDTH, &p, shape) == DTX_OK);
    CHECK(par, shape[0] == 0 && shape[1] == WIDTH);
    dtx_free(p);
    CHECK(par, dtx_run_read(run, "/variants/FT/completions", "finish", H5T_NATIVE_FLOAT, DTX_H5_ANY, 1, &p, shape) == DTX_ERR_MISSING);
    CHECK(par, strstr(dtx_error_text(), "/variants/FT/completions/finish") != NULL);
}

/* What must be refused, on all ranks alike, before anything is written. */
static void refusals(const dtx_par *par, dtx_run *run)
{
    int64_t start[2] = {ROWS - 1, 3}, count[2] = {2, 1}, twice[2] = {5, 5}, one[2] = {1, 1};
    uint8_t zero[4] = {0};
    int last = par->rank == par->size - 1;

    CHECK(par, dtx_run_write(run, &(dtx_write){"/variants/IT/attribution/c", "done", H5T_NATIVE_UINT8, DTX_H5_ANY, 1, last ? 2 : 0, start, count, zero}) == DTX_ERR_CHECK);
    CHECK(par, strstr(dtx_error_text(), "do not lie in /variants/IT/attribution/c/done") != NULL);
    CHECK(par, dtx_run_write(run, &(dtx_write){"/variants/IT/attribution/c", "done", H5T_NATIVE_UINT8, DTX_H5_ANY, 1, last ? 2 : 0, twice, one, zero}) == DTX_ERR_CHECK);
    CHECK(par, strstr(dtx_error_text(), "written twice") != NULL);
    CHECK(par, dtx_run_write(run, &(dtx_write){"/variants/FT/completions", "finish", H5T_NATIVE_UINT8, DTX_H5_ANY, 1, 0, NULL, NULL, NULL}) == DTX_ERR_MISSING);
    compare(par, run);
}

static dtx_status fails_late(hid_t file, void *user)
{
    (void)user;
    DTX_TRY(dtx_h5_delete(file, "/variants/IT"));
    return DTX_FAIL(DTX_ERR_INPUT, "changed my mind");
}

static dtx_status remakes(hid_t file, void *user)
{
    (void)user;
    DTX_TRY(dtx_h5_delete(file, "/variants/FT"));
    const dtx_h5_spec again = {"/variants/FT/completions/length", H5T_NATIVE_INT32, 1, {ROWS, 0}, {"/row", NULL}, 4, "length", "1"};
    DTX_TRY(dtx_h5_make_spec(file, &again));
    if (!(dtx_h5_make_spec(file, &again) == DTX_ERR_CHECK)) {
        return DTX_FAIL(DTX_ERR_NUMERIC, "the second dataset was not refused");
    }
    const dtx_h5_spec clash = {"/variants/FT/completions/x", H5T_NATIVE_INT32, 1, {3, 0}, {"length", NULL}, 4, "x", "1"};
    if (!(dtx_h5_make_spec(file, &clash) == DTX_ERR_INPUT)) {
        return DTX_FAIL(DTX_ERR_NUMERIC, "the second dataset was not refused");
    }
    return dtx_h5_delete(file, "/variants/FT/completions/x");
}

/* Every rank for itself; closed with dtx_h5_close. */
static hid_t look_into(const dtx_run *run)
{
    hid_t file = -1;

    return dtx_h5_open_known(run->path, &file) == DTX_OK ? file : -1;
}

static void edits(const dtx_par *par, dtx_run *run)
{
    int64_t shape[2];
    void *p;

    CHECK(par, dtx_run_edit(run, fails_late, NULL) == DTX_ERR_INPUT);
    CHECK(par, strcmp(dtx_error_text(), "changed my mind") == 0);
    compare(par, run);
    CHECK(par, dtx_run_edit(run, remakes, NULL) == DTX_OK);
    CHECK(par, dtx_run_read(run, "/variants/FT/completions", "length", H5T_NATIVE_INT32, DTX_H5_ANY, 1, &p, shape) == DTX_OK);
    CHECK(par, shape[0] == ROWS && ((int32_t *)p)[ROWS - 1] == 4);
    dtx_free(p);
    hid_t file = look_into(run);
    CHECK(par, !dtx_h5_exists(file, "/variants/FT/completions/logprob") && !dtx_h5_exists(file, "/nowhere/at/all"));
    dtx_h5_close(file);
}

static void provenance(const dtx_par *par, const char *dir)
{
    char words[4][16] = {"detoxlens", "generate", "--set", "a.b=\"c d\""};
    char *argv[] = {words[0], words[1], words[2], words[3]}, *text = NULL;
    dtx_run *run = NULL;
    int64_t code = 0;
    bool there = false;
    hid_t file;

    for (int k = 0; k < 2; k++) {
        char path[64];
        snprintf(path, sizeof path, "/provenance/%d", k);
        CHECK(par, dtx_run_open(par, dir, &run) == DTX_OK);
        CHECK(par, dtx_run_provenance_begin(run, "generate", 4, argv, "{\"seed\":1}") == DTX_OK && run->launch == k);
        file = look_into(run);
        CHECK(par, dtx_h5_attr_get_int(file, path, "exit_code", &code, &there) == DTX_OK && there && code == -1);
        dtx_h5_close(file);
        run->outcome.seconds = 1.5;
        CHECK(par, dtx_run_provenance_end(run, 75, "{\"rows\":12}") == DTX_OK);
        dtx_run_close(run);
        CHECK(par, dtx_run_open(par, dir, &run) == DTX_OK);
        file = look_into(run);
        CHECK(par, dtx_h5_attr_get_int(file, path, "exit_code", &code, &there) == DTX_OK && there && code == 75);
        CHECK(par, dtx_h5_attr_get_int(file, path, "ranks", &code, &there) == DTX_OK && code == par->size);
        CHECK(par, dtx_h5_attr_get_str(file, path, "argv", &text) == DTX_OK);
        CHECK(par, strcmp(text, "[\"detoxlens\",\"generate\",\"--set\",\"a.b=\\\"c d\\\"\"]") == 0);
        dtx_free(text);
        CHECK(par, dtx_h5_attr_get_str(file, path, "facts", &text) == DTX_OK && strcmp(text, "{\"rows\":12}") == 0);
        dtx_free(text);
        CHECK(par, dtx_h5_attr_get_str(file, path, "no_such", &text) == DTX_OK && text == NULL);
        CHECK(par, dtx_h5_attr_get_int(file, path, "no_such", &code, &there) == DTX_OK && !there);
        CHECK(par, dtx_h5_attr_get_int(file, path, "argv", &code, &there) == DTX_ERR_INPUT);
        CHECK(par, dtx_h5_attr_get_str(file, path, "ranks", &text) == DTX_ERR_INPUT);
        dtx_h5_close(file);
        dtx_run_close(run);
    }
}

static void everything(const dtx_par *par)
{
    char dir[512];
    dtx_run *run = NULL;
    int64_t flat = flat_size();

    snprintf(dir, sizeof dir, "%s/run/IT", getenv("TMPDIR"));
    CHECK(par, dtx_run_open(par, dir, &run) == DTX_OK);
    CHECK(par, dtx_run_edit(run, make_tables, &flat) == DTX_OK);
    fill(par, run, par->size > 2 ? par->size - 1 : par->size); /* with 3 and more, the last rank has nothing to write */
    compare(par, run);
    dtx_run_close(run);
    CHECK(par, dtx_run_open(par, dir, &run) == DTX_OK);
    compare(par, run);
    refusals(par, run);
    edits(par, run);
    dtx_run_close(run);
    provenance(par, dir);
}

int main(int argc, char **argv)
{
    dtx_par par;

    if (dtx_par_init(&argc, &argv, &par) != DTX_OK) {
        fprintf(stderr, "%s\n", dtx_error_text());
        return 1;
    }
    everything(&par);
    CHECK(&par, dtx_mem_used() == 0);
    dtx_par_finalize(&par);
    return 0;
}
