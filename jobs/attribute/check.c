/* attribute.check: faithfulness on a sample of rows, into GROUP/check. The rows are drawn by the seed, each is measured by
 * one rank, and the figures are put together by index, so that they do not depend on the number of ranks. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "jobs/attribute/attribute.h"
#include "src/attribution/check.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/base/rng.h"

enum { FIGURES = 6 }; /* doubles of one row */

typedef struct {
    const attribution *g;
    const char *group;          /* GROUP/check */
    int64_t n, *row;
    double *figure;             /* (n, FIGURES) */
    bool done;                  /* rank 0: the file has this check already */
    bool stale;                 /* rank 0: it has another one */
} check;

/* The rows: the first of a permutation that have something to attribute, ascending. */
static dtx_status draw_rows(check *c)
{
    const attribution *g = c->g;
    int64_t *order = NULL, wanted = g->job->config.attribute.check;
    uint8_t *taken = NULL;
    dtx_status st;

    DTX_GO(DTX_NEW(order, g->rows));
    DTX_GO(DTX_NEW(taken, g->rows));
    dtx_rng_permutation((uint64_t)g->job->config.seed, DTX_RNG_CHECK, g->rows, order);
    for (int64_t i = 0; i < g->rows && c->n < wanted; i++) {
        if (g->steps[order[i]] > 0) {
            taken[order[i]] = 1;
            c->n++;
        }
    }
    DTX_GO(DTX_NEW(c->row, c->n));
    c->n = 0;
    for (int64_t r = 0; r < g->rows; r++) {
        if (taken[r] != 0) {
            c->row[c->n++] = r;
        }
    }
    DTX_GO(DTX_NEW(c->figure, c->n * FIGURES));
done:
    dtx_free(order);
    dtx_free(taken);
    return st;
}

static bool asked_to_stop(void *user)
{
    return dtx_job_should_stop(user);
}

static dtx_status measure(check *c, int64_t i)
{
    const attribution *g = c->g;
    int64_t row = c->row[i];
    dtx_attrib_settings set = g->set;
    dtx_faithfulness f;
    int64_t P, G;
    int32_t *ids = NULL;

    set.steps = g->job->config.attribute.steps;
    set.stop = asked_to_stop;
    set.user = g->job;
    DTX_TRY(dtx_attribute_ids(g, row, &ids, &P, &G));
    dtx_status st = dtx_attrib_check(g->m.model, &set, ids, P, G, (uint64_t)g->job->config.seed, (uint64_t)row, &f);
    dtx_free(ids);
    if (st != DTX_OK) {
        return st == DTX_STOPPED ? st : dtx_error_context(st, "row %" PRId64 " of %s", row, g->source);
    }
    const double figures[FIGURES] = {(double)f.steps, (double)f.deleted, f.drop_top, f.drop_random, f.completeness_error,
                                     f.completeness_scale};
    memcpy(c->figure + i * FIGURES, figures, sizeof figures);
    return DTX_OK;
}

static double mean(const check *c, int k)
{
    double sum = 0;

    for (int64_t i = 0; i < c->n; i++) {
        sum += c->figure[i * FIGURES + k];
    }
    return c->n > 0 ? sum / (double)c->n : NAN;
}

static dtx_status write_column(hid_t file, const check *c, const char *name, int k)
{
    float *x = NULL;

    DTX_TRY(DTX_NEW(x, c->n));
    for (int64_t i = 0; i < c->n; i++) {
        x[i] = (float)c->figure[i * FIGURES + k];
    }
    dtx_status st = dtx_h5_put(file, c->group, name, H5T_NATIVE_FLOAT, c->n, 1, x);
    dtx_free(x);
    return st;
}

static dtx_status write_check(hid_t file, void *user)
{
    const check *c = user;

    if (c->stale) {
        DTX_TRY(dtx_h5_delete(file, c->group));
    }
    DTX_TRY(dtx_h5_put(file, c->group, "row", H5T_NATIVE_INT64, c->n, 1, c->row));
    DTX_TRY(write_column(file, c, "drop_top", 2));
    DTX_TRY(write_column(file, c, "drop_random", 3));
    DTX_TRY(write_column(file, c, "completeness_error", 4));
    DTX_TRY(write_column(file, c, "completeness_scale", 5));
    DTX_TRY(dtx_h5_attr_int(file, c->group, "rows", c->g->job->config.attribute.check));
    DTX_TRY(dtx_h5_attr_int(file, c->group, "integration_steps", c->g->job->config.attribute.steps));
    DTX_TRY(dtx_h5_attr_double(file, c->group, "mean_drop_top", mean(c, 2)));
    DTX_TRY(dtx_h5_attr_double(file, c->group, "mean_drop_random", mean(c, 3)));
    DTX_TRY(dtx_h5_attr_double(file, c->group, "mean_completeness_error", mean(c, 4)));
    return dtx_h5_attr_double(file, c->group, "mean_completeness_scale", mean(c, 5));
}

static dtx_status look(hid_t file, void *user)
{
    check *c = user;
    int64_t rows = 0, steps = 0;
    bool there;

    c->stale = dtx_h5_exists(file, c->group);
    if (c->stale) {
        DTX_TRY(dtx_h5_attr_get_int(file, c->group, "rows", &rows, &there));
        DTX_TRY(dtx_h5_attr_get_int(file, c->group, "integration_steps", &steps, &there));
        c->done = rows == c->g->job->config.attribute.check && steps == c->g->job->config.attribute.steps;
    }
    return DTX_OK;
}

/* Collective. */
static dtx_status measure_all(check *c)
{
    const dtx_par *par = &c->g->job->par;
    dtx_status mine = draw_rows(c);

    for (int64_t i = par->rank; mine == DTX_OK && i < c->n; i += par->size) {
        mine = measure(c, i);
    }
    if (mine == DTX_STOPPED) {
        mine = DTX_FAIL(DTX_STOPPED, "stopped during the check, all rows are done; the same command continues");
    }
    DTX_TRY(dtx_par_agree(par, mine));
    /* each figure is one rank's, zero elsewhere */
    return DTX_MPI(MPI_Allreduce(MPI_IN_PLACE, c->figure, (int)(c->n * FIGURES), MPI_DOUBLE, MPI_SUM, par->comm));
}

dtx_status dtx_attribute_check(attribution *g)
{
    check c = {.g = g, .group = g->check};
    dtx_status st;

    DTX_TRY(dtx_run_inspect(g->run, look, &c));
    if (dtx_par_any(&g->job->par, c.done)) {
        return DTX_OK;
    }
    DTX_GO(measure_all(&c));
    DTX_GO(dtx_run_edit(g->run, write_check, &c));
    if (c.n == 0) {
        dtx_log(DTX_LOG_INFO, "attribute", "check: no completion has a token that could be checked");
        goto done;
    }
    dtx_log(DTX_LOG_INFO, "attribute",
            "check on %" PRId64 " rows: deleting the highest-scored tenth of the prompt costs %.4g of probability, a random tenth "
            "%.4g; integrated gradients miss %.2e of %.2e", c.n, mean(&c, 2), mean(&c, 3), mean(&c, 4), mean(&c, 5));
    if (mean(&c, 4) > 0.05 * mean(&c, 5)) {
        dtx_log(DTX_LOG_WARN, "attribute", "integrated gradients are not complete within 5 %%: attribute.steps = %" PRId64 " is too few",
                g->job->config.attribute.steps);
    }
done:
    dtx_free(c.row);
    dtx_free(c.figure);
    return st;
}
