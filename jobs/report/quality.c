/* Quality beside toxicity: a variant that is not toxic because it says nothing, repeats itself or talks nonsense must show.
 * Perplexity is that of the base model (the variant's adapter off) on the completion given its prompt, over the tokens that
 * the text holds (a final end of text left out). Distinct-n (Li et al. 2016): different n-grams of words of all completions,
 * divided by their number. Repetition (seq-rep-n, Welleck et al. 2020): 1 - different / all n-grams within a completion, mean
 * over completions that have one. Words stand between blanks (space, \t, \n, \v, \f, \r) and are compared as written. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/report/parts.h"
#include "src/base/mem.h"

typedef struct {
    const char *s;
    size_t len;
} word;

typedef struct {
    int64_t completions, n_words, n_tokens;
    double empty_share, mean_tokens, mean_words, distinct[2], repetition[2];
    double perplexity, median_perplexity; /* exp(-mean log p) over all tokens; median over completions of the same */
    int64_t n_perplexity;       /* completions with a log-probability */
} quality;

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static int compare_words(const void *a, const void *b)
{
    const word *x = *(const word *const *)a, *y = *(const word *const *)b;
    int d = memcmp(x->s, y->s, x->len < y->len ? x->len : y->len);

    return d != 0 ? d : (x->len > y->len) - (x->len < y->len);
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static int64_t count_different(uint64_t *x, int64_t n)
{
    int64_t different = 0;

    qsort(x, (size_t)n, sizeof *x, compare_u64);
    for (int64_t i = 0; i < n; i++) {
        different += i == 0 || x[i] != x[i - 1];
    }
    return different;
}

/* Words of all completions as numbers, equal words the same; edge[i] is the first of row i. */
static dtx_status number_words(const dtx_report_variant *v, const char *text, uint64_t **id, int64_t *edge)
{
    word *all = NULL;
    word **order = NULL;
    size_t cap = 0;
    int64_t n = 0;
    dtx_status st = DTX_OK;

    for (int64_t i = 0; i < v->n_rows; i++) {
        const char *s = text + v->text_offset[i], *end = text + v->text_offset[i + 1];
        edge[i] = n;
        while (s < end) {
            const char *from = s;
            while (s < end && !is_blank(*s)) {
                s++;
            }
            if (s > from) {
                DTX_GO(DTX_GROW(all, cap, n + 1));
                all[n++] = (word){.s = from, .len = (size_t)(s - from)};
            }
            s += s < end;
        }
    }
    edge[v->n_rows] = n;
    DTX_GO(DTX_NEW(order, n));
    DTX_GO(DTX_NEW(*id, n));
    for (int64_t i = 0; i < n; i++) {
        order[i] = &all[i];
    }
    qsort(order, (size_t)n, sizeof *order, compare_words);
    for (int64_t i = 0, k = 0; i < n; i++) {
        k += i > 0 && compare_words(&order[i], &order[i - 1]) != 0;
        (*id)[order[i] - all] = (uint64_t)k;
    }
done:
    dtx_free(order);
    dtx_free(all);
    return st;
}

/* n-grams of words first .. last - 1 as numbers in x; returns how many. */
static int64_t ngrams(const uint64_t *id, int64_t first, int64_t last, int n, uint64_t *x)
{
    int64_t m = 0;

    for (int64_t i = first; i + n <= last; i++) {
        x[m++] = n == 1 ? id[i] : id[i] << 32 | id[i + 1];
    }
    return m;
}

static dtx_status measure_words(const dtx_report *r, const dtx_report_variant *v, quality *q)
{
    char group[160];
    void *text = NULL;
    uint64_t *id = NULL, *gram = NULL;
    int64_t *edge = NULL;
    dtx_status st;

    dtx_h5_group(group, sizeof group, DTX_H5_COMPLETIONS, v->name, NULL);
    DTX_GO(dtx_h5_take(r->file, group, "text_bytes", H5T_NATIVE_UINT8, DTX_H5_ANY, 1, &text, NULL));
    DTX_GO(DTX_NEW(edge, v->n_rows + 1));
    DTX_GO(number_words(v, text, &id, edge));
    q->n_words = edge[v->n_rows];
    q->mean_words = q->completions > 0 ? (double)q->n_words / (double)q->completions : NAN;
    DTX_GO(DTX_NEW(gram, q->n_words));
    for (int n = 1; n <= 2; n++) {
        int64_t total = 0, rows = 0;
        double sum = 0;
        for (int64_t i = 0; i < v->n_rows; i++) {
            total += ngrams(id, edge[i], edge[i + 1], n, gram + total);
        }
        q->distinct[n - 1] = total > 0 ? (double)count_different(gram, total) / (double)total : NAN;
        for (int64_t i = 0; i < v->n_rows; i++) {
            int64_t m = ngrams(id, edge[i], edge[i + 1], n, gram);
            if (m > 0) {
                sum += 1 - (double)count_different(gram, m) / (double)m;
                rows++;
            }
        }
        q->repetition[n - 1] = rows > 0 ? sum / (double)rows : NAN;
    }
done:
    dtx_free(gram);
    dtx_free(edge);
    dtx_free(id);
    dtx_free(text);
    return st;
}

/* The dataset with the base model's log-probabilities: the variant's own where it has no adapter. NULL when there is none. */
static const char *base_dataset(const dtx_report *r, const dtx_report_variant *v)
{
    const char *adapter = dtx_report_attr(v->attrs, v->n_attrs, "adapter_sha256");
    char group[160];

    dtx_h5_group(group, sizeof group, DTX_H5_COMPLETIONS, v->name, NULL);
    if (dtx_h5_has(r->file, group, "base_logprob")) {
        return "base_logprob";
    }
    return adapter[0] == '\0' || strcmp(adapter, "none") == 0 ? "logprob" : NULL;
}

static dtx_status measure_perplexity(const dtx_report *r, const dtx_report_variant *v, quality *q)
{
    const char *name = v->length != NULL ? base_dataset(r, v) : NULL;
    char group[160];
    int64_t width = v->width;
    float *logp = NULL;
    double *each = NULL, sum = 0;
    dtx_status st = DTX_OK;

    q->perplexity = q->median_perplexity = NAN;
    dtx_h5_group(group, sizeof group, DTX_H5_COMPLETIONS, v->name, NULL);
    DTX_GO(name != NULL ? dtx_report_take(r, group, name, H5T_NATIVE_FLOAT, v->n_rows, &width, (void **)&logp) : DTX_OK);
    if (logp == NULL) {
        return DTX_OK;
    }
    DTX_GO(DTX_NEW(each, v->n_rows));
    for (int64_t i = 0; i < v->n_rows; i++) {
        int64_t length = v->finish[i] == 0 ? 0 : v->length[i] - (v->finish[i] == 1 && v->length[i] > 0), n = 0;
        double row = 0;
        for (int64_t k = i * width; k < i * width + length; k++) {
            if (isfinite(logp[k])) {
                row += logp[k];
                n++;
            }
        }
        if (n > 0) {
            each[q->n_perplexity++] = exp(-row / (double)n);
            sum += row;
            q->n_tokens += n;
        }
    }
    if (q->n_perplexity > 0) {
        qsort(each, (size_t)q->n_perplexity, sizeof *each, dtx_report_compare_doubles);
        q->perplexity = exp(-sum / (double)q->n_tokens);
        int64_t m = q->n_perplexity;
        q->median_perplexity = (each[(m - 1) / 2] + each[m / 2]) / 2;
    }
done:
    dtx_free(each);
    dtx_free(logp);
    return st;
}

dtx_status dtx_report_perplexity(const dtx_report *r, const dtx_report_variant *v, double *perplexity)
{
    quality q = {0};

    DTX_TRY(measure_perplexity(r, v, &q));
    *perplexity = q.perplexity;
    return DTX_OK;
}

static dtx_status put_quality(cJSON *list, const dtx_report_variant *v, const quality *q)
{
    const struct {
        const char *key;
        double value;
    } numbers[] = {{"completions", (double)q->completions}, {"empty", q->empty_share}, {"tokens", q->mean_tokens}, {"words", q->mean_words},
                   {"distinct1", q->distinct[0]}, {"distinct2", q->distinct[1]}, {"repetition1", q->repetition[0]},
                   {"repetition2", q->repetition[1]}, {"perplexity", q->perplexity}, {"median", q->median_perplexity}};
    cJSON *o = cJSON_CreateObject();
    dtx_status st;

    DTX_GO(dtx_report_put(o, "variant", dtx_report_string(v->name)));
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        DTX_GO(dtx_report_put(o, numbers[i].key, dtx_report_number(numbers[i].value)));
    }
    return dtx_report_put(list, NULL, o);
done:
    cJSON_Delete(o);
    return st;
}

dtx_status dtx_report_part_quality(dtx_report *r, cJSON *page)
{
    cJSON *list = cJSON_AddArrayToObject(page, "quality");
    dtx_report_file out;
    dtx_status st = DTX_OK;

    DTX_TRY(dtx_report_begin(&out));
    fprintf(out.f, "variant,completions,empty_share,mean_tokens,mean_words,distinct_1,distinct_2,repetition_1,repetition_2,perplexity_completions,"
            "perplexity,perplexity_median\n");
    for (int64_t i = 0; i < r->n_variants; i++) {
        const dtx_report_variant *v = &r->variant[i];
        quality q = {.completions = v->n_done, .mean_words = NAN, .distinct = {NAN, NAN}, .repetition = {NAN, NAN}};
        if (v->n_done == 0) {
            continue;
        }
        q.empty_share = (double)v->n_empty / (double)v->n_done;
        q.mean_tokens = v->mean_length;
        DTX_GO(v->text_offset != NULL && v->n_done == v->n_rows ? measure_words(r, v, &q) : DTX_OK);
        DTX_GO(measure_perplexity(r, v, &q));
        fprintf(out.f, "%s,%" PRId64, v->name, q.completions);
        const double before[] = {q.empty_share, q.mean_tokens, q.mean_words, q.distinct[0], q.distinct[1], q.repetition[0], q.repetition[1]};
        for (size_t k = 0; k < sizeof before / sizeof before[0]; k++) {
            dtx_report_put_number(out.f, before[k]);
        }
        fprintf(out.f, ",%" PRId64, q.n_perplexity);
        dtx_report_put_number(out.f, q.perplexity);
        dtx_report_put_number(out.f, q.median_perplexity);
        fputc('\n', out.f);
        DTX_GO(put_quality(list, v, &q));
    }
    st = dtx_report_publish(r, &out, "quality.csv");
done:
    dtx_report_drop(&out);
    return st;
}
