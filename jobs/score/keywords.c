/* score.keywords: which of a completion's tokens its toxicity comes from, into GROUP/token_share (src/judge/keywords.h). A stage
 * of its own after the scores, with a flag for each row, so that it can be added to scores that are there already. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/shared/prompts.h"
#include "jobs/score/score.h"
#include "src/answer/generate.h"
#include "src/judge/keywords.h"
#include "src/base/log.h"
#include "src/base/mem.h"

enum { UNIT_ROWS = 8 };

typedef struct {
    dtx_scoring *g;
    dtx_tokenizer *tokenizer;   /* of the model that wrote the completions */
    dtx_tape *tape;
    bool made, has_ids;         /* rank 0 */
    int64_t width;
    int32_t *tokens, *length;   /* (n_rows, width), (n_rows) */
    uint8_t *status, *done_flag;
    int64_t n_order, *order;
    dtx_stage_rows ready;
    double done, n_tokens;
} keywords;

static dtx_status look(hid_t file, void *user)
{
    keywords *k = user;

    k->has_ids = dtx_h5_has(file, k->g->source, "tokens");
    k->made = dtx_h5_has(file, k->g->sets[0].group, "token_share");
    return DTX_OK;
}

static dtx_status add_ids(hid_t file, void *user)
{
    const keywords *k = user;

    dtx_log(DTX_LOG_INFO, "score", "%s has no ids: %s is tokenized by the tokenizer of %s", k->g->source, k->g->variant_group,
            k->g->job->config.model.path);
    return dtx_prompts_add_ids(file, k->g->run->path, k->g->job->variant, k->tokenizer, dtx_tokenizer_size(k->tokenizer));
}

static dtx_status make_columns(hid_t file, void *user)
{
    const keywords *k = user;
    const char *group = k->g->sets[0].group;
    char path[400];

    DTX_TRY(dtx_h5_make(file, group, "token_share", k->g->n_rows, k->width));
    snprintf(path, sizeof path, "%s/token_share", group);
    DTX_TRY(dtx_h5_attr_str(file, path, "method", "input_x_gradient"));
    DTX_TRY(dtx_h5_attr_str(file, path, "norm", "l2"));
    return dtx_h5_make(file, group, "token_share_done", k->g->n_rows, 1);
}

/* Collective. *out on every rank, (n_rows, width). */
static dtx_status read_rows(const keywords *k, const char *group, const char *name, hid_t type, int64_t width, void **out)
{
    return dtx_run_read(k->g->run, group, name, type, k->g->n_rows, width, out, NULL);
}

/* Collective. The columns are there, everybody has the ids and knows what is left. */
static dtx_status open_columns(keywords *k)
{
    const dtx_par *par = &k->g->job->par;
    void *p = NULL;
    int64_t shape[2];

    DTX_TRY(dtx_run_inspect(k->g->run, look, k));
    if (!dtx_par_any(par, k->has_ids)) {
        DTX_TRY(dtx_run_edit(k->g->run, add_ids, k));
    }
    DTX_TRY(dtx_run_read(k->g->run, k->g->source, "tokens", H5T_NATIVE_INT32, k->g->n_rows, DTX_H5_ANY, &p, shape));
    k->tokens = p;
    k->width = shape[1];
    DTX_TRY(read_rows(k, k->g->source, "length", H5T_NATIVE_INT32, 1, &p));
    k->length = p;
    if (!dtx_par_any(par, k->made)) {
        DTX_TRY(dtx_run_edit(k->g->run, make_columns, k));
    }
    DTX_TRY(read_rows(k, k->g->sets[0].group, "status", H5T_NATIVE_UINT8, 1, &p));
    k->status = p;
    DTX_TRY(read_rows(k, k->g->sets[0].group, "token_share_done", H5T_NATIVE_UINT8, 1, &p));
    k->done_flag = p;
    return DTX_OK;
}

static int longest_first(const void *a, const void *b, void *user)
{
    const keywords *k = user;
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    int32_t p = k->length[x], q = k->length[y];

    return p != q ? (p > q ? -1 : 1) : (x < y ? -1 : x > y);
}

static dtx_status order_rows(keywords *k)
{
    const dtx_scoring *g = k->g;
    int64_t first = 0, last = g->n_rows;

    if (g->job->row_first >= 0) {
        first = g->job->row_first * g->samples < g->n_rows ? g->job->row_first * g->samples : g->n_rows;
        last = g->job->row_last * g->samples < g->n_rows ? g->job->row_last * g->samples : g->n_rows;
    }
    DTX_TRY(DTX_NEW(k->order, g->n_rows));
    for (int64_t r = first; r < last; r++) {
        if (k->length[r] < 0 || k->length[r] > k->width) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: %s/length of row %" PRId64 " is %" PRId32 ", at most %" PRId64 " is possible",
                            g->run->path, g->source, r, k->length[r], k->width);
        }
        if (k->status[r] == DTX_SCORE_SCORED && k->done_flag[r] == 0) {
            k->order[k->n_order++] = r;
        }
    }
    qsort_r(k->order, (size_t)k->n_order, sizeof *k->order, longest_first, k);
    return DTX_OK;
}

/* Shares of one row (width). The ids must give the stored text, else they are another tokenizer's. */
static dtx_status share_row(const keywords *k, int64_t row, const dtx_key_pieces *p, float *share)
{
    const dtx_scoring *g = k->g;
    const bool imported = g->finish[row] == DTX_FINISH_IMPORTED;
    const char *stored = g->bytes + g->offset[2 * row];
    const size_t n_stored = (size_t)(g->offset[2 * row + 1] - g->offset[2 * row]);
    const int32_t n = k->length[row] - (g->finish[row] == DTX_FINISH_EOS && k->length[row] > 0);
    int32_t *owner = NULL;
    char *text = NULL;
    size_t len;

    for (int64_t t = 0; t < k->width; t++) {
        share[t] = NAN;
    }
    DTX_TRY(dtx_tokenizer_decode_owned(k->tokenizer, k->tokens + row * k->width, (size_t)n, !imported, !imported, &text, &len, &owner));
    for (size_t i = 0; i < len; i++) {
        text[i] = text[i] == '\n' ? ' ' : text[i];
    }
    dtx_status st = DTX_OK;
    if (len == n_stored && memcmp(text, stored, len) == 0) {
        dtx_keywords_share(p, owner, k->length[row], share);
    } else if (!imported) { /* an imported text may be one that the tokenizer normalises: it has no shares */
        st = DTX_FAIL(DTX_ERR_USAGE, "%s: the ids of row %" PRId64 " of %s give another text with its tokenizer than the stored one: "
                      "model.path must be the model that wrote the completions", g->job->config.model.path, row, g->source);
    }
    dtx_free(text);
    dtx_free(owner);
    return st;
}

static dtx_status run_unit(void *user, int64_t unit)
{
    keywords *k = user;
    const dtx_scoring *g = k->g;
    const int64_t first = unit * UNIT_ROWS, n = k->n_order - first < UNIT_ROWS ? k->n_order - first : UNIT_ROWS;
    dtx_key_pieces pieces[UNIT_ROWS] = {{0}};
    const char *text[UNIT_ROWS];
    size_t len[UNIT_ROWS];
    float *share = NULL;
    dtx_status st;

    for (int64_t i = 0; i < n; i++) {
        const int64_t row = k->order[first + i];
        text[i] = g->bytes + g->offset[2 * row];
        len[i] = (size_t)(g->offset[2 * row + 1] - g->offset[2 * row]);
    }
    DTX_GO(DTX_NEW_RAW(share, k->width));
    DTX_GO(dtx_keywords_explain(&g->classifier, k->tape, n, text, len, pieces));
    for (int64_t i = 0; i < n; i++) {
        const int64_t row = k->order[first + i];
        const uint8_t done = 1;
        const void *const values[] = {share, &done};
        DTX_GO(share_row(k, row, &pieces[i], share));
        DTX_GO(dtx_stage_rows_add(&k->ready, row, values));
        k->done++;
        k->n_tokens += k->length[row];
    }
done:
    for (int64_t i = 0; i < n; i++) {
        dtx_key_pieces_free(&pieces[i]);
    }
    dtx_free(share);
    return st;
}

static dtx_status write_ready(void *user)
{
    keywords *k = user;

    return dtx_stage_rows_write(k->g->run, k->g->sets[0].group, k->g->n_rows, &k->ready);
}

/* Collective. */
static dtx_status conclude(keywords *k, bool stopped)
{
    void *flags = NULL, *share = NULL;
    int64_t done = 0, wanted = 0, without = 0;
    dtx_status st;

    DTX_GO(read_rows(k, k->g->sets[0].group, "token_share_done", H5T_NATIVE_UINT8, 1, &flags));
    DTX_GO(read_rows(k, k->g->sets[0].group, "token_share", H5T_NATIVE_FLOAT, k->width, &share));
    for (int64_t r = 0; r < k->g->n_rows; r++) {
        const bool has = ((const uint8_t *)flags)[r] != 0;
        wanted += k->status[r] == DTX_SCORE_SCORED;
        done += has;
        without += has && isnan(((const float *)share)[r * k->width]);
    }
    if (done < wanted && stopped) {
        st = DTX_FAIL(DTX_STOPPED, "stopped with the key words of %" PRId64 " of %" PRId64 " scored rows done; the same command continues",
                      done, wanted);
        goto done;
    }
    dtx_log(DTX_LOG_INFO, "score", "%s/token_share: the key words of %" PRId64 " of %" PRId64 " scored rows are done", k->g->sets[0].group, done, wanted);
    if (without > 0) {
        dtx_log(DTX_LOG_WARN, "score", "%" PRId64 " of them have no shares, as a tokenizer changes their text", without);
    }
done:
    dtx_free(flags);
    dtx_free(share);
    return st;
}

dtx_status dtx_score_keywords(dtx_scoring *g)
{
    keywords k = {.g = g};
    bool stopped;
    dtx_status st;

    st = dtx_tokenizer_open(g->job->config.model.path, &k.tokenizer);
    if (st == DTX_OK) {
        st = dtx_tape_new(g->classifier.model, false, &k.tape);
    }
    DTX_GO(dtx_par_agree(&g->job->par, st));
    DTX_GO(open_columns(&k));
    DTX_GO(dtx_par_agree(&g->job->par, order_rows(&k)));
    k.ready = (dtx_stage_rows){.n_columns = 2,
                               .column = {{"token_share", H5T_NATIVE_FLOAT, 4, k.width, NULL, 0},
                                          {"token_share_done", H5T_NATIVE_UINT8, 1, 1, NULL, 0}}};
    const dtx_stage_work w = {.user = &k, .n_units = (k.n_order + UNIT_ROWS - 1) / UNIT_ROWS, .n_rows = g->n_rows,
                              .n_done = dtx_stage_count(k.done_flag, g->n_rows), .log_dir = g->log_dir, .unit = run_unit,
                              .write = write_ready, .rows = &k.done, .tokens = &k.n_tokens};
    DTX_GO(dtx_stage_run(g->job, &w, &stopped));
    st = conclude(&k, stopped);
done:
    dtx_stage_rows_free(&k.ready);
    dtx_tape_del(k.tape);
    dtx_tokenizer_close(k.tokenizer);
    dtx_free(k.tokens);
    dtx_free(k.length);
    dtx_free(k.status);
    dtx_free(k.done_flag);
    dtx_free(k.order);
    return st;
}
