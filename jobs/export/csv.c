/* export --csv: a run's completions, scores and curves as tables in long form. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "jobs/export/export.h"
#include "jobs/report/output.h"
#include "mpi/run/run.h"
#include "src/data/dataset.h"
#include "src/base/file.h"
#include "src/base/log.h"
#include "src/base/mem.h"

enum { MAX_COLUMNS = 4 };

typedef struct {
    const dtx_job *job;
    const char *dir;
    hid_t file;
    int64_t n_texts;
    FILE *f;                        /* the table under way, its stream and */
    dtx_file_new out;
    int64_t lines;                  /* of all tables */
} tables;

/* --- files --- */

static dtx_status begin(tables *t, const char *name, const char *header)
{
    char path[DTX_PATH_MAX];

    DTX_TRY(dtx_file_join(path, sizeof path, t->dir, name));
    DTX_TRY(dtx_file_begin(&t->out, path));
    DTX_TRY(dtx_file_stream(&t->out, &t->f));
    fprintf(t->f, "%s\n", header);
    return DTX_OK;
}

/* --- reading --- */

static bool has(const tables *t, const char *group, const char *name)
{
    return dtx_h5_has(t->file, group, name);
}

/* A whole dataset of so many rows, DTX_H5_ANY as many as it has; freed with dtx_free. */
static dtx_status read_all(const tables *t, const char *group, const char *name, hid_t type, int64_t rows, int64_t width, void **x,
                           int64_t shape[2])
{
    return dtx_h5_take(t->file, group, name, type, rows, width, x, shape);
}

/* text_offset and text_bytes of a group. */
static dtx_status read_texts(const tables *t, const char *group, int64_t rows, uint64_t **edge, void **bytes)
{
    int64_t n;

    DTX_TRY(dtx_h5_take_offsets(t->file, group, "text_offset", rows, edge, &n));
    return dtx_h5_take(t->file, group, "text_bytes", H5T_NATIVE_UINT8, n, 1, bytes, NULL);
}

/* Is the row one of the texts of --rows? */
static bool wanted(const tables *t, int64_t row, int64_t n_rows)
{
    const int64_t samples = t->n_texts > 0 && n_rows >= t->n_texts ? n_rows / t->n_texts : 1, text = row / samples;

    return t->job->row_first < 0 || (text >= t->job->row_first && text < t->job->row_last);
}

/* Text i of GROUP/text_bytes as a cell. */
static void put_text(FILE *f, const uint64_t *edge, const char *bytes, int64_t i)
{
    dtx_report_put_cell(f, bytes + edge[i], edge[i + 1] - edge[i]);
}

/* --- tables --- */

static dtx_status prompts(tables *t)
{
    const char *group = dtx_h5_places[DTX_H5_PROMPTS].path;
    void *id = NULL, *bytes = NULL;
    uint64_t *edge = NULL;
    int64_t n[2];
    dtx_status st;

    DTX_GO(read_all(t, group, "id", H5T_NATIVE_INT64, DTX_H5_ANY, 1, &id, n));
    t->n_texts = n[0];
    DTX_GO(read_texts(t, group, t->n_texts, &edge, &bytes));
    DTX_GO(begin(t, "prompts.csv", "text,id,prompt"));
    for (int64_t i = 0; i < t->n_texts; i++) {
        if (wanted(t, i, t->n_texts)) {
            fprintf(t->f, "%" PRId64 ",%" PRId64 ",", i, ((const int64_t *)id)[i]);
            put_text(t->f, edge, bytes, i);
            fputc('\n', t->f);
            t->lines++;
        }
    }
    st = dtx_file_commit(&t->out);
done:
    dtx_free(id);
    dtx_free(edge);
    dtx_free(bytes);
    return st;
}

static dtx_status completions(tables *t, const char *variant, const char *group)
{
    int64_t n[2];
    void *finish = NULL, *length = NULL, *bytes = NULL;
    uint64_t *edge = NULL;
    dtx_status st;

    DTX_GO(read_all(t, group, "finish", H5T_NATIVE_UINT8, DTX_H5_ANY, 1, &finish, n));
    if (has(t, group, "length")) {
        DTX_GO(read_all(t, group, "length", H5T_NATIVE_INT32, n[0], 1, &length, NULL));
    }
    if (has(t, group, "text_bytes")) {
        DTX_GO(read_texts(t, group, n[0], &edge, &bytes));
    }
    const int64_t rows = n[0], samples = t->n_texts > 0 && rows >= t->n_texts ? rows / t->n_texts : 1;
    for (int64_t r = 0; r < rows; r++) {
        if (!wanted(t, r, rows) || ((const uint8_t *)finish)[r] == 0) {
            continue;
        }
        fprintf(t->f, "%s,%" PRId64 ",%" PRId64 ",%" PRId64 ",%d,", variant, r, r / samples, r % samples, ((const uint8_t *)finish)[r]);
        if (length != NULL) {
            fprintf(t->f, "%" PRId32, ((const int32_t *)length)[r]);
        }
        fputc(',', t->f);
        if (bytes != NULL) {
            put_text(t->f, edge, bytes, r);
        }
        fputc('\n', t->f);
        t->lines++;
    }
done:
    dtx_free(finish);
    dtx_free(length);
    dtx_free(edge);
    dtx_free(bytes);
    return st;
}

static dtx_status scores(tables *t, const char *variant, const char *set, const char *group)
{
    int64_t n[2];
    void *completion = NULL, *prompt = NULL, *status = NULL;
    dtx_status st;

    DTX_GO(read_all(t, group, "completion", H5T_NATIVE_FLOAT, DTX_H5_ANY, 1, &completion, n));
    DTX_GO(read_all(t, group, "prompt", H5T_NATIVE_FLOAT, n[0], 1, &prompt, NULL));
    DTX_GO(read_all(t, group, "status", H5T_NATIVE_UINT8, n[0], 1, &status, NULL));
    for (int64_t r = 0; r < n[0]; r++) {
        if (wanted(t, r, n[0])) {
            fprintf(t->f, "%s,%s,%" PRId64, variant, set, r);
            dtx_report_put_number(t->f, (double)((const float *)completion)[r]);
            dtx_report_put_number(t->f, (double)((const float *)prompt)[r]);
            fprintf(t->f, ",%d\n", ((const uint8_t *)status)[r]);
            t->lines++;
        }
    }
done:
    dtx_free(completion);
    dtx_free(prompt);
    dtx_free(status);
    return st;
}

/* A line for each row and step that has a value: "label,row,step", the id where GROUP has `ids` (NULL = without), then the
 * columns; one that the group lacks stays empty. */
static dtx_status steps(tables *t, const char *label, const char *group, const char *ids, const char *const *name, int n_names)
{
    int64_t shape[2] = {DTX_H5_ANY, DTX_H5_ANY};
    void *x[MAX_COLUMNS] = {NULL}, *id = NULL;
    dtx_status st = DTX_OK;

    if (ids != NULL) {
        DTX_GO(read_all(t, group, ids, H5T_NATIVE_INT32, DTX_H5_ANY, DTX_H5_ANY, &id, shape));
    }
    for (int c = 0; c < n_names; c++) {
        if (has(t, group, name[c])) {
            DTX_GO(read_all(t, group, name[c], H5T_NATIVE_FLOAT, shape[0], shape[1], &x[c], shape));
        }
    }
    for (int64_t r = 0; r < shape[0]; r++) {
        for (int64_t s = 0; s < shape[1] && wanted(t, r, shape[0]); s++) {
            const int64_t at = r * shape[1] + s;
            bool any = id != NULL && ((const int32_t *)id)[at] >= 0;
            for (int c = 0; c < n_names; c++) {
                any = any || (x[c] != NULL && !isnan(((const float *)x[c])[at]));
            }
            if (!any) {
                continue;
            }
            fprintf(t->f, "%s,%" PRId64 ",%" PRId64, label, r, s);
            if (id != NULL) {
                fprintf(t->f, ",%" PRId32, ((const int32_t *)id)[at]);
            }
            for (int c = 0; c < n_names; c++) {
                dtx_report_put_number(t->f, x[c] != NULL ? (double)((const float *)x[c])[at] : NAN);
            }
            fputc('\n', t->f);
            t->lines++;
        }
    }
done:
    for (int c = 0; c < n_names; c++) {
        dtx_free(x[c]);
    }
    dtx_free(id);
    return st;
}

typedef enum { COMPLETIONS, SCORES, TOKENS, SHARES, CURVES, KINDS } kind;

/* What a variant adds to a table. */
static dtx_status add_variant(tables *t, kind k, const char *variant)
{
    static const char *const logprobs[] = {"logprob", "behaviour_logprob", "base_logprob"}, *const share[] = {"token_share"};
    static const char *const curve[] = {"step_probability", "entropy", "prompt_dependence"};
    char group[320], parent[320], child[640], label[256], **names = NULL;
    size_t n = 0;
    dtx_status st = DTX_OK;

    dtx_h5_group(group, sizeof group, DTX_H5_COMPLETIONS, variant, NULL);
    if (k == COMPLETIONS) {
        return has(t, group, "finish") ? completions(t, variant, group) : DTX_OK;
    }
    if (k == TOKENS) {
        return has(t, group, "tokens") ? steps(t, variant, group, "tokens", logprobs, 3) : DTX_OK;
    }
    dtx_h5_group(parent, sizeof parent, k == CURVES ? DTX_H5_ATTRIBUTIONS : DTX_H5_TOXICITIES, variant, NULL);
    DTX_GO(dtx_h5_list(t->file, parent, &names, &n));
    for (size_t i = 0; i < n; i++) {
        dtx_h5_group(child, sizeof child, k == CURVES ? DTX_H5_ATTRIBUTION : DTX_H5_TOXICITY, variant, names[i]);
        snprintf(label, sizeof label, "%s,%.150s", variant, names[i]);
        if (k == SCORES && has(t, child, "completion")) {
            DTX_GO(scores(t, variant, names[i], child));
        } else if (k == SHARES && has(t, child, "token_share")) {
            DTX_GO(steps(t, label, child, NULL, share, 1));
        } else if (k == CURVES && has(t, child, "entropy")) {
            DTX_GO(steps(t, label, child, NULL, curve, 3));
        }
    }
done:
    dtx_free(names);
    return st;
}

dtx_status dtx_export_csv(const dtx_job *job, const char *dir)
{
    static const struct {
        const char *name, *header;
    } table[KINDS] = {{"completions.csv", "variant,row,text,sample,finish,length,completion"},
                      {"scores.csv", "variant,set,row,completion,prompt,status"},
                      {"tokens.csv", "variant,row,step,id,logprob,behaviour_logprob,base_logprob"},
                      {"token_shares.csv", "variant,set,row,step,token_share"},
                      {"curves.csv", "variant,attribution,row,step,step_probability,entropy,prompt_dependence"}};
    tables t = {.job = job, .dir = dir, .file = -1, .out.fd = -1};
    char path[DTX_PATH_MAX], **variants = NULL;
    size_t n = 0;
    dtx_status st;

    DTX_GO(dtx_file_join(path, sizeof path, job->config.run, "run.h5"));
    DTX_GO(dtx_h5_open_serial(path, &t.file));
    DTX_GO(dtx_h5_check_schema(t.file, path));
    DTX_GO(dtx_h5_list(t.file, dtx_h5_places[DTX_H5_VARIANTS].path, &variants, &n));
    if (n == 0) {
        st = DTX_FAIL(DTX_ERR_MISSING, "%s holds no variant: run detoxlens generate or import first", path);
        goto done;
    }
    DTX_GO(dtx_file_mkdirs(dir));
    DTX_GO(prompts(&t));
    for (int k = 0; k < KINDS; k++) {
        DTX_GO(begin(&t, table[k].name, table[k].header));
        for (size_t i = 0; i < n; i++) {
            DTX_GO(add_variant(&t, (kind)k, variants[i]));
        }
        DTX_GO(dtx_file_commit(&t.out));
    }
    dtx_log(DTX_LOG_INFO, "export", "done: %" PRId64 " lines in 6 tables of %s", t.lines, dir);
done:
    dtx_file_abandon(&t.out);
    dtx_free(variants);
    dtx_h5_close(t.file);
    return st;
}
