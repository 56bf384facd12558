/* export --inseq: attributions as Inseq stores them: objects are {"__instance_type__": [module, class], "attributes": {}};
 * arrays are base64 of a safetensors file with one tensor `attribution` since version 0.7, and were {"__ndarray__": lists, "dtype",
 * "shape", "Corder"} before. A decoder's row has the prompt as `source`, prompt and completion as
 * `target`, and target_attributions (T, G), one column a step: the transpose of what run.h5 holds. An empty list of
 * aggregators tells Inseq that the scores are aggregated already. Rows without a generated token are left out: Inseq's show() fails
 * on them, and with them on the whole file. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "jobs/export/export.h"
#include "mpi/run/run.h"
#include "src/base/file.h"
#include "src/base/hash.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/text/tokenizer.h"

typedef struct {
    const dtx_job *job;
    char path[DTX_PATH_MAX], group[320], source[160]; /* run.h5; the attribution; its completions */
    hid_t file;
    dtx_tokenizer *tokenizer;
    int64_t n_rows, samples, n_done, n_without; /* n_without: rows that have no step */
    uint8_t *done;  /* (n_rows) 1 for rows that are attributed and have a step */
    bool lists;     /* arrays as in Inseq 0.6 and before */
    FILE *f;
} inseq;

/* One row: ids of prompt and attributed tokens, scores (G, T), probabilities. */
typedef struct {
    int32_t *ids, G, T;
    int64_t P;
    float *value, *probability;
} matrix;

static void matrix_free(matrix *m)
{
    dtx_free(m->ids);
    dtx_free(m->value);
    dtx_free(m->probability);
}

static dtx_status rows_of(const inseq *x, const char *group, const char *name, hid_t type, int64_t first, int64_t n, int64_t width, void *to)
{
    return dtx_h5_read_rows(x->file, group, name, type, first, n, width, to);
}

static dtx_status read_matrix(const inseq *x, int64_t row, matrix *m)
{
    int64_t answers[2], prompt[2], at[2], n_answers, width;

    DTX_TRY(dtx_h5_shape(x->file, x->source, "tokens", DTX_H5_ANY, DTX_H5_ANY, answers));
    n_answers = answers[0];
    width = answers[1];
    DTX_TRY(dtx_h5_edges(x->file, x->source, "prompt_offset", n_answers, row, prompt));
    DTX_TRY(rows_of(x, x->group, "G", H5T_NATIVE_INT32, row, 1, 1, &m->G));
    DTX_TRY(rows_of(x, x->group, "T", H5T_NATIVE_INT32, row, 1, 1, &m->T));
    DTX_TRY(dtx_h5_edges(x->file, x->group, "row_offset", x->n_rows, row, at));
    m->P = prompt[1] - prompt[0];
    if (m->P < 1 || m->G < 0 || m->G > width || m->T != m->P + m->G || at[1] - at[0] != (int64_t)m->G * m->T) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: %s and %s do not fit together in row %" PRId64, x->path, x->group, x->source, row);
    }
    DTX_TRY(DTX_NEW_RAW(m->ids, m->P + width));
    DTX_TRY(DTX_NEW_RAW(m->value, at[1] - at[0]));
    DTX_TRY(DTX_NEW_RAW(m->probability, width));
    DTX_TRY(rows_of(x, x->source, "prompt_tokens", H5T_NATIVE_INT32, prompt[0], m->P, 1, m->ids));
    DTX_TRY(rows_of(x, x->source, "tokens", H5T_NATIVE_INT32, row, 1, width, m->ids + m->P));
    DTX_TRY(rows_of(x, x->group, "step_probability", H5T_NATIVE_FLOAT, row, 1, width, m->probability));
    return rows_of(x, x->group, "value", H5T_NATIVE_FLOAT, at[0], at[1] - at[0], 1, m->value);
}

static void put_text(FILE *f, const char *s, size_t n)
{
    fputc('"', f);
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '"' || s[i] == '\\') {
            fprintf(f, "\\%c", s[i]);
        } else if ((unsigned char)s[i] < 0x20) {
            fprintf(f, "\\u%04x", (unsigned)s[i]);
        } else {
            fputc(s[i], f);
        }
    }
    fputc('"', f);
}

static void put_tokens(const inseq *x, const int32_t *ids, int64_t n)
{
    fputc('[', x->f);
    for (int64_t i = 0; i < n; i++) {
        const char *piece = dtx_tokenizer_piece(x->tokenizer, ids[i]);
        fprintf(x->f, "%s{\"__instance_type__\":[\"inseq.utils.typing\",\"TokenWithId\"],\"attributes\":{\"id\":%" PRId32 ",\"token\":",
                i > 0 ? "," : "", ids[i]);
        put_text(x->f, piece != NULL ? piece : "", piece != NULL ? strlen(piece) : 0);
        fputs("}}", x->f);
    }
    fputc(']', x->f);
}

/* A little-endian f32 tensor (rows, columns), or (rows) where columns < 0, as a safetensors file in base64. */
static dtx_status put_blob(FILE *f, const float *x, int64_t rows, int64_t columns)
{
    const size_t bytes = (size_t)(rows * (columns < 0 ? 1 : columns)) * sizeof *x;
    char header[160], shape[64];
    unsigned char *blob = NULL;
    char *text = NULL;
    dtx_status st;

    snprintf(shape, sizeof shape, columns < 0 ? "%" PRId64 : "%" PRId64 ",%" PRId64, rows, columns);
    int n = snprintf(header, sizeof header, "{\"attribution\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[0,%zu]}}", shape, bytes);
    while (n % 8 != 0) {
        header[n++] = ' ';
    }
    DTX_GO(DTX_NEW(blob, 8 + (size_t)n + bytes));
    for (int i = 0; i < 8; i++) {
        blob[i] = (unsigned char)((uint64_t)n >> (8 * i));
    }
    memcpy(blob + 8, header, (size_t)n);
    memcpy(blob + 8 + n, x, bytes);
    DTX_GO(dtx_base64(blob, 8 + (size_t)n + bytes, &text));
    fprintf(f, "\"%s\"", text);
done:
    dtx_free(text);
    dtx_free(blob);
    return st;
}

/* As lists. Python's JSON has NaN; nine digits give the f32 back. */
static void put_lists(FILE *f, const float *x, int64_t rows, int64_t columns)
{
    fputs("{\"__ndarray__\":[", f);
    for (int64_t i = 0; i < rows; i++) {
        fputs(i > 0 ? "," : "", f);
        fputs(columns < 0 ? "" : "[", f);
        for (int64_t k = 0; k < (columns < 0 ? 1 : columns); k++) {
            const double v = (double)x[i * (columns < 0 ? 1 : columns) + k];
            fprintf(f, isnan(v) ? "%sNaN" : "%s%.9g", k > 0 ? "," : "", v);
        }
        fputs(columns < 0 ? "" : "]", f);
    }
    if (columns < 0) {
        fprintf(f, "],\"dtype\":\"float32\",\"shape\":[%" PRId64 "]}", rows);
    } else {
        fprintf(f, "],\"dtype\":\"float32\",\"shape\":[%" PRId64 ",%" PRId64 "],\"Corder\":true}", rows, columns);
    }
}

static dtx_status put_array(const inseq *x, const float *v, int64_t rows, int64_t columns)
{
    if (x->lists) {
        put_lists(x->f, v, rows, columns);
        return DTX_OK;
    }
    return put_blob(x->f, v, rows, columns);
}

static dtx_status put_sequence(const inseq *x, const matrix *m)
{
    FILE *f = x->f;
    float *turned = NULL;
    dtx_status st;

    DTX_GO(DTX_NEW_RAW(turned, (int64_t)m->T * m->G));
    for (int32_t g = 0; g < m->G; g++) {
        for (int32_t t = 0; t < m->T; t++) {
            turned[(int64_t)t * m->G + g] = m->value[(int64_t)g * m->T + t];
        }
    }
    fputs("{\"__instance_type__\":[\"inseq.data.attribution\",\"FeatureAttributionSequenceOutput\"],\"attributes\":{\"source\":", f);
    put_tokens(x, m->ids, m->P);
    fputs(",\"target\":", f);
    put_tokens(x, m->ids, m->T);
    fputs(",\"source_attributions\":null,\"target_attributions\":", f);
    DTX_GO(put_array(x, turned, m->T, m->G));
    fputs(",\"step_scores\":{\"probability\":", f);
    DTX_GO(put_array(x, m->probability, m->G, -1));
    fprintf(f, "},\"sequence_scores\":{},\"attr_pos_start\":%" PRId64 ",\"attr_pos_end\":%" PRId32 ",\"_aggregator\":[]}}", m->P, m->T);
done:
    dtx_free(turned);
    return st;
}

static dtx_status put_decoded(const inseq *x, const int32_t *ids, int64_t n, bool first)
{
    char *text;
    size_t len;

    DTX_TRY(dtx_tokenizer_decode(x->tokenizer, ids, (size_t)n, false, false, &text, &len));
    fputs(first ? "" : ",", x->f);
    put_text(x->f, text, len);
    dtx_free(text);
    return DTX_OK;
}

static bool wanted(const inseq *x, int64_t row)
{
    const int64_t text = row / x->samples;

    return x->done[row] != 0 && (x->job->row_first < 0 || (text >= x->job->row_first && text < x->job->row_last));
}

/* A list over the rows: what = 0 the sequences, 1 the prompts' texts, 2 the whole texts, 3 the rows' numbers. */
static dtx_status put_list(inseq *x, int what)
{
    bool first = true;

    fputc('[', x->f);
    for (int64_t r = 0; r < x->n_rows; r++) {
        matrix m = {0};
        dtx_status st = DTX_OK;
        if (!wanted(x, r)) {
            continue;
        }
        if (what == 3) {
            fprintf(x->f, "%s%" PRId64, first ? "" : ",", r);
        } else {
            st = read_matrix(x, r, &m);
        }
        if (st == DTX_OK && what == 0) {
            fputs(first ? "\n" : ",\n", x->f);
            st = put_sequence(x, &m);
            x->n_done++;
        } else if (st == DTX_OK && what < 3) {
            st = put_decoded(x, m.ids, what == 1 ? m.P : m.T, first);
        }
        matrix_free(&m);
        DTX_TRY(st);
        first = false;
    }
    fputc(']', x->f);
    return DTX_OK;
}

static dtx_status put_setting(const inseq *x, const char *group, const char *attribute, const char *key)
{
    char *text = NULL;

    DTX_TRY(dtx_h5_attr_get_str(x->file, group, attribute, &text));
    fprintf(x->f, "\"%s\":", key);
    put_text(x->f, text != NULL ? text : "", text != NULL ? strlen(text) : 0);
    fputc(',', x->f);
    dtx_free(text);
    return DTX_OK;
}

static dtx_status put_all(inseq *x)
{
    fputs("{\"__instance_type__\":[\"inseq.data.attribution\",\"FeatureAttributionOutput\"],\"attributes\":{\"sequence_attributions\":", x->f);
    DTX_TRY(put_list(x, 0));
    fputs(",\n\"step_attributions\":null,\"info\":{", x->f);
    DTX_TRY(put_setting(x, x->group, "method", "attribution_method"));
    DTX_TRY(put_setting(x, x->group, "target", "attributed_fn"));
    DTX_TRY(put_setting(x, x->group, "base_model", "model_name"));
    DTX_TRY(put_setting(x, x->group, "base_model", "tokenizer_name"));
    DTX_TRY(put_setting(x, x->group, "norm", "norm"));
    DTX_TRY(put_setting(x, x->group, "completions_of", "completions_of"));
    fprintf(x->f, "\"variant\":\"%s\",\"attribute_target\":true,\"constrained_decoding\":true,\"step_scores\":[\"probability\"],\"rows\":",
            x->job->variant);
    DTX_TRY(put_list(x, 3));
    fputs(",\"input_texts\":", x->f);
    DTX_TRY(put_list(x, 1));
    fputs(",\"generated_texts\":", x->f);
    DTX_TRY(put_list(x, 2));
    fputs("}}}\n", x->f);
    return DTX_OK;
}

static dtx_status open_rows(inseq *x)
{
    char fingerprint[65], *of = NULL, *was = NULL;
    void *done = NULL;
    int64_t shape[2], texts[2];
    dtx_status st;

    if (!dtx_h5_has(x->file, x->group, "done")) {
        return DTX_FAIL(DTX_ERR_MISSING, "%s: there is no %s: run detoxlens attribute --variant %s, or name another by --attribution", x->path,
                        x->group, x->job->variant);
    }
    DTX_GO(dtx_h5_take(x->file, x->group, "done", H5T_NATIVE_UINT8, DTX_H5_ANY, 1, &done, shape));
    x->done = done;
    DTX_GO(dtx_h5_shape(x->file, dtx_h5_places[DTX_H5_PROMPTS].path, "id", DTX_H5_ANY, 1, texts));
    x->n_rows = shape[0];
    x->samples = texts[0] > 0 && x->n_rows >= texts[0] ? x->n_rows / texts[0] : 1;
    DTX_GO(dtx_h5_attr_get_str(x->file, x->group, "completions_of", &of));
    dtx_h5_group(x->source, sizeof x->source, DTX_H5_COMPLETIONS, of != NULL ? of : x->job->variant, NULL);
    DTX_GO(dtx_h5_attr_get_str(x->file, x->source, "tokenizer_sha256", &was));
    DTX_GO(dtx_tokenizer_fingerprint(x->tokenizer, fingerprint));
    if (was != NULL && strcmp(was, fingerprint) != 0) {
        st = DTX_FAIL(DTX_ERR_USAGE, "%s: the ids of %s were made by another tokenizer than that of %s", x->path, x->source,
                      x->job->config.model.path);
    }
done:
    dtx_free(of);
    dtx_free(was);
    return st;
}

/* Rows without a step count as not attributed here. */
static dtx_status leave_out_empty(inseq *x)
{
    int32_t *G = NULL;
    dtx_status st;

    DTX_GO(DTX_NEW_RAW(G, x->n_rows));
    DTX_GO(rows_of(x, x->group, "G", H5T_NATIVE_INT32, 0, x->n_rows, 1, G));
    for (int64_t r = 0; r < x->n_rows; r++) {
        if (x->done[r] != 0 && G[r] == 0) {
            x->done[r] = 0;
            x->n_without++;
        }
    }
done:
    dtx_free(G);
    return st;
}

dtx_status dtx_export_inseq(const dtx_job *job, const char *name, const char *format, const char *path)
{
    inseq x = {.job = job, .file = -1, .lists = strcmp(format, "0.6") == 0};
    dtx_file_new out = {.fd = -1};
    dtx_status st;

    dtx_h5_group(x.group, sizeof x.group, DTX_H5_ATTRIBUTION, job->variant, name);
    DTX_GO(dtx_job_need(job, "model.path", job->config.model.path));
    DTX_GO(dtx_tokenizer_open(job->config.model.path, &x.tokenizer));
    DTX_GO(dtx_file_join(x.path, sizeof x.path, job->config.run, "run.h5"));
    DTX_GO(dtx_h5_open_serial(x.path, &x.file));
    DTX_GO(dtx_h5_check_schema(x.file, x.path));
    DTX_GO(open_rows(&x));
    DTX_GO(leave_out_empty(&x));
    DTX_GO(dtx_file_begin(&out, path));
    DTX_GO(dtx_file_stream(&out, &x.f));
    DTX_GO(put_all(&x));
    DTX_GO(dtx_file_commit(&out));
    dtx_log(DTX_LOG_INFO, "export", "done: %" PRId64 " rows of %s, in %s, for Inseq %s", x.n_done, x.group, path, x.lists ? "0.4 to 0.6" : "0.7");
    if (x.n_without > 0) {
        dtx_log(DTX_LOG_INFO, "export", "%" PRId64 " rows of the run have no generated token and are left out", x.n_without);
    }
done:
    dtx_file_abandon(&out);
    dtx_tokenizer_close(x.tokenizer);
    dtx_h5_close(x.file);
    dtx_free(x.done);
    return st;
}
