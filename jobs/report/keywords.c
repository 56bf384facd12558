/* Key words: the words of a toxic completion that the toxicity classifier looked at, and whether the attribution's entropy
 * dips where they are generated (what the paper announces as its next step).
 *
 * token_share holds, for each generated token, its share of the classifier's attribution. Tokens form words (a token that
 * begins with a blank opens one); the word with the largest share of a completion is its key word, and its step is that of
 * the word's token with the largest share. Entropy changes with the step whatever the word, so what is compared are
 * deviations: entropy at a step minus the variant's mean entropy at that step over all completions. Beside the key word
 * stands a step drawn at random from the same completion, as its exact expectation: the mean over all steps. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/report/lines.h"
#include "jobs/report/parts.h"
#include "src/base/mem.h"

enum { AROUND = 5, WINDOW = 2 * AROUND + 1, MAX_WORDS = 200 };

typedef struct {
    char word[64];
    double share, entropy, dependence, score; /* deviations; the completion's score */
} hit;

typedef struct {
    char word[64];
    int64_t n;
    double share, entropy, dependence, score; /* means */
} entry;

typedef struct {
    dtx_report *r;
    dtx_report_lines lines;
    dtx_report_file words, dips;
    cJSON *word_list, *dip_list;
    int64_t n;
} work;

/* The scores whose classifier was explained: the report's set, else the first that was. */
static dtx_status take_share(const dtx_report *r, const dtx_report_variant *v, float **share, char set[64])
{
    char group[300];
    int64_t width = v->width;

    *share = NULL;
    set[0] = '\0';
    for (int pass = 0; pass < 2 && *share == NULL; pass++) {
        for (int64_t i = 0; i < v->n_sets && *share == NULL; i++) {
            if (pass == 1 || strcmp(v->set[i].name, r->score_set) == 0) {
                dtx_h5_group(group, sizeof group, DTX_H5_TOXICITY, v->name, v->set[i].name);
                DTX_TRY(dtx_report_take(r, group, "token_share", H5T_NATIVE_FLOAT, v->n_rows, &width, (void **)share));
                snprintf(set, 64, "%s", v->set[i].name);
            }
        }
    }
    return DTX_OK;
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Does the token open a word? Without a tokenizer every token is one. */
static bool opens(const dtx_report *r, int32_t id)
{
    const char *bytes = NULL;

    if (r->tokenizer == NULL) {
        return true;
    }
    return dtx_tokenizer_bytes(r->tokenizer, id, &bytes) == 0 || is_blank(bytes[0]);
}

/* Tokens first .. last - 1 as a word: blanks and punctuation at its ends left out, ASCII letters lowered. */
static void spell(const dtx_report *r, const int32_t *token, int64_t first, int64_t last, char out[64])
{
    static const char edge[] = " \t\n\v\f\r.,;:!?\"'()[]{}<>*_-~`";
    char text[256];
    size_t n = 0, from = 0;

    if (r->tokenizer == NULL) {
        snprintf(out, 64, "#%" PRId32, token[first]);
        return;
    }
    for (int64_t i = first; i < last; i++) {
        const char *bytes = NULL;
        size_t m = dtx_tokenizer_bytes(r->tokenizer, token[i], &bytes);
        for (size_t k = 0; k < m && n < sizeof text - 1; k++) {
            text[n++] = bytes[k] >= 'A' && bytes[k] <= 'Z' ? (char)(bytes[k] - 'A' + 'a') : bytes[k];
        }
    }
    while (from < n && text[from] != '\0' && strchr(edge, text[from]) != NULL) {
        from++;
    }
    while (n > from && text[n - 1] != '\0' && strchr(edge, text[n - 1]) != NULL) {
        n--;
    }
    if (n == from) { /* punctuation alone stays as it is */
        from = 0;
        n = strnlen(text, n);
    }
    n = n - from < 63 ? n - from : 63;
    memcpy(out, text + from, n);
    out[n] = '\0';
}

/* The key word of a row of G steps: its step, *first .. *last its tokens. -1 where no step has a share. */
static int64_t find_key(const dtx_report *r, const float *share, const int32_t *token, int64_t G, int64_t *first, int64_t *last, double *best)
{
    int64_t step = -1;

    *best = -HUGE_VAL;
    for (int64_t i = 0, j; i < G; i = j) {
        double sum = 0;
        int64_t top = i;
        bool any = false;
        for (j = i; j < G && (j == i || !opens(r, token[j])); j++) {
            any = any || isfinite(share[j]);
            sum += isfinite(share[j]) ? share[j] : 0;
            top = share[j] > share[top] || !isfinite(share[top]) ? j : top;
        }
        if (any && sum > *best) {
            *best = sum;
            step = top;
            *first = i;
            *last = j;
        }
    }
    return step;
}

static int compare_hits(const void *a, const void *b)
{
    return strcmp(((const hit *)a)->word, ((const hit *)b)->word);
}

static int compare_entries(const void *a, const void *b)
{
    const entry *x = a, *y = b;

    return x->n != y->n ? (x->n < y->n) - (x->n > y->n) : x->share != y->share ? (x->share < y->share) - (x->share > y->share) : strcmp(x->word, y->word);
}

static dtx_status add_words(work *w, const dtx_report_variant *v, hit *all, int64_t n)
{
    entry *e = NULL;
    int64_t n_entries = 0;
    cJSON *o = NULL;
    dtx_status st;

    qsort(all, (size_t)n, sizeof *all, compare_hits);
    DTX_GO(DTX_NEW(e, n));
    for (int64_t i = 0, j; i < n; i = j) {
        entry *x = &e[n_entries++];
        memcpy(x->word, all[i].word, sizeof x->word);
        for (j = i; j < n && strcmp(all[j].word, all[i].word) == 0; j++) {
            x->n++;
            x->share += all[j].share;
            x->entropy += all[j].entropy;
            x->dependence += all[j].dependence;
            x->score += all[j].score;
        }
        x->share /= (double)x->n;
        x->entropy /= (double)x->n;
        x->dependence /= (double)x->n;
        x->score /= (double)x->n;
    }
    qsort(e, (size_t)n_entries, sizeof *e, compare_entries);
    for (int64_t i = 0; i < n_entries && i < MAX_WORDS; i++) {
        const double cells[] = {e[i].share, e[i].entropy, e[i].dependence, e[i].score};
        static const char *const keys[] = {"share", "entropy", "dependence", "score"};
        fprintf(w->words.f, "%s,", v->name);
        dtx_report_put_word(w->words.f, e[i].word);
        fprintf(w->words.f, ",%" PRId64, e[i].n);
        o = cJSON_CreateObject();
        DTX_GO(dtx_report_put(o, "variant", dtx_report_string(v->name)));
        DTX_GO(dtx_report_put(o, "word", dtx_report_string(e[i].word)));
        DTX_GO(dtx_report_put(o, "n", cJSON_CreateNumber((double)e[i].n)));
        for (int k = 0; k < 4; k++) {
            dtx_report_put_number(w->words.f, cells[k]);
            DTX_GO(dtx_report_put(o, keys[k], dtx_report_number(cells[k])));
        }
        fputc('\n', w->words.f);
        st = dtx_report_put(w->word_list, NULL, o);
        o = NULL;
        DTX_GO(st);
    }
done:
    cJSON_Delete(o);
    dtx_free(e);
    return st;
}

/* Mean over rows of one column of the windows, as a curve around the key word. */
static dtx_status add_window(work *w, const float *window, int64_t n, const char *measure, const char *variant, const char *series)
{
    dtx_report_curve c;

    DTX_TRY(dtx_report_curve_of(window, n, WINDOW, NULL, &c));
    c.first = -AROUND;
    return dtx_report_lines_add(&w->lines, measure, variant, series, &c);
}

/* Is it lower at the key word than at a random step? Differences within completions. */
static dtx_status add_dip(work *w, const dtx_report_variant *v, const char *set, const char *measure, const float *key, const float *random, int64_t n)
{
    float *d = NULL;
    cJSON *o = NULL;
    dtx_status st;

    DTX_GO(DTX_NEW(d, n));
    for (int64_t i = 0; i < n; i++) {
        d[i] = key[i * WINDOW + AROUND] - random[i * WINDOW + AROUND];
    }
    dtx_report_mean a = dtx_report_mean_of(key + AROUND, WINDOW, n, NULL), b = dtx_report_mean_of(random + AROUND, WINDOW, n, NULL),
                    m = dtx_report_mean_of(d, 1, n, NULL);
    const double cells[] = {a.mean, b.mean, m.mean, m.low, m.high};
    static const char *const keys[] = {"key", "random", "difference", "low", "high"};
    fprintf(w->dips.f, "%s,%s,%s,%" PRId64, v->name, set, measure, m.n);
    o = cJSON_CreateObject();
    DTX_GO(dtx_report_put(o, "variant", dtx_report_string(v->name)));
    DTX_GO(dtx_report_put(o, "set", dtx_report_string(set)));
    DTX_GO(dtx_report_put(o, "measure", dtx_report_string(measure)));
    DTX_GO(dtx_report_put(o, "n", cJSON_CreateNumber((double)m.n)));
    for (int k = 0; k < 5; k++) {
        dtx_report_put_number(w->dips.f, cells[k]);
        DTX_GO(dtx_report_put(o, keys[k], dtx_report_number(cells[k])));
    }
    fputc('\n', w->dips.f);
    st = dtx_report_put(w->dip_list, NULL, o);
    o = NULL;
done:
    cJSON_Delete(o);
    dtx_free(d);
    return st;
}

/* Deviations of row i from the variant's mean curve: around `step` into key, and their mean over all steps into random. */
static void fill_windows(const dtx_report_variant *v, dtx_report_quantity q, int64_t i, int64_t step, float *key, float *random)
{
    const float *x = v->a.value[DTX_REPORT_TOKEN][q] + i * v->a.width;
    const double *mean = v->curve[DTX_REPORT_TOKEN][q].mean;
    const int64_t G = v->a.G[i];

    for (int k = 0; k < WINDOW; k++) {
        int64_t at = step + k - AROUND, n = 0;
        double sum = 0;
        key[k] = at >= 0 && at < G ? (float)(x[at] - mean[at]) : NAN;
        for (int64_t s = 0; s < G; s++) {
            int64_t t = s + k - AROUND;
            if (t >= 0 && t < G && isfinite(x[t])) {
                sum += x[t] - mean[t];
                n++;
            }
        }
        random[k] = n > 0 ? (float)(sum / (double)n) : NAN;
    }
}

static dtx_status add_variant(work *w, const dtx_report_variant *v)
{
    static const dtx_report_quantity order[2] = {DTX_REPORT_ENTROPY, DTX_REPORT_DEPENDENCE};
    float *share = NULL, *window[2][2] = {{NULL}}; /* by quantity; key word, random step */
    int32_t *token = NULL;
    hit *all = NULL;
    char group[160], set[64];
    int64_t width = v->width, n = 0, open = 0;
    dtx_status st;

    DTX_GO(take_share(w->r, v, &share, set));
    dtx_h5_group(group, sizeof group, DTX_H5_COMPLETIONS, v->name, NULL);
    DTX_GO(share != NULL ? dtx_report_take(w->r, group, "tokens", H5T_NATIVE_INT32, v->n_rows, &width, (void **)&token) : DTX_OK);
    if (share == NULL || token == NULL || v->a.width != width) {
        goto done;
    }
    DTX_GO(DTX_NEW(all, v->n_class[DTX_REPORT_TOXIC]));
    for (int q = 0; q < 4; q++) {
        DTX_GO(DTX_NEW(window[q / 2][q % 2], v->n_class[DTX_REPORT_TOXIC] * WINDOW));
    }
    for (int64_t i = 0; i < v->n_rows; i++) {
        int64_t first = 0, last = 0;
        if (!v->in_class[DTX_REPORT_TOXIC][i] || !v->a.done[i]) {
            continue;
        }
        hit *h = &all[n];
        int64_t step = find_key(w->r, share + i * width, token + i * width, v->a.G[i], &first, &last, &h->share);
        if (step < 0) {
            open += v->a.G[i] > 0;
            continue;
        }
        spell(w->r, token + i * width, first, last, h->word);
        for (int q = 0; q < 2; q++) {
            fill_windows(v, order[q], i, step, window[q][0] + n * WINDOW, window[q][1] + n * WINDOW);
        }
        h->entropy = window[0][0][n * WINDOW + AROUND];
        h->dependence = window[1][0][n * WINDOW + AROUND];
        h->score = v->score[i];
        n++;
    }
    w->n += n;
    if (open > 0) {
        DTX_GO(dtx_report_miss(w->r, "%s: key words of %" PRId64 " toxic completions (%s); the same detoxlens score continues", v->name, open, set));
    }
    for (int q = 0; q < 2 && n > 0; q++) {
        const char *measure = dtx_report_quantity_name[order[q]];
        DTX_GO(add_dip(w, v, set, measure, window[q][0], window[q][1], n));
        DTX_GO(add_window(w, window[q][0], n, measure, v->name, "key word"));
        DTX_GO(add_window(w, window[q][1], n, measure, v->name, "random step"));
    }
    DTX_GO(add_words(w, v, all, n));
done:
    for (int q = 0; q < 4; q++) {
        dtx_free(window[q / 2][q % 2]);
    }
    dtx_free(all);
    dtx_free(token);
    dtx_free(share);
    return st;
}

static dtx_status draw(dtx_report *r, const dtx_report_lines *l)
{
    enum { MAX_PANELS = 8 };
    dtx_report_panel panel[MAX_PANELS];
    char title[MAX_PANELS][120];
    int n = 0;

    for (int64_t i = 0; i < l->n && n < MAX_PANELS; i++) {
        if (strcmp(l->line[i].measure, "entropy") == 0 && (n == 0 || strcmp(panel[n - 1].group, l->line[i].group) != 0)) {
            snprintf(title[n], sizeof title[n], "%.60s: deviation of entropy (bits)", l->line[i].group);
            panel[n] = (dtx_report_panel){.measure = "entropy", .group = l->line[i].group, .title = title[n]};
            n++;
        }
    }
    return dtx_report_lines_draw(r, l, "keywords", panel, n, 3, "steps from the key word", true);
}

dtx_status dtx_report_part_keywords(dtx_report *r, cJSON *page)
{
    work w = {.r = r, .lines = {.name = "keyword_curves", .columns = {"measure", "variant", "around", "offset"}},
              .word_list = cJSON_AddArrayToObject(page, "keywords"), .dip_list = cJSON_AddArrayToObject(page, "dips")};
    dtx_status st;

    DTX_GO(dtx_report_begin(&w.words));
    DTX_GO(dtx_report_begin(&w.dips));
    fprintf(w.words.f, "variant,word,completions,share,entropy_deviation,prompt_dependence_deviation,score\n");
    fprintf(w.dips.f, "variant,set,measure,completions,at_key_word,at_random_step,difference,ci_low,ci_high\n");
    for (int64_t i = 0; i < r->n_variants; i++) {
        const dtx_report_variant *v = &r->variant[i];
        if (v->a.there && v->score != NULL && v->width > 0) {
            DTX_GO(add_variant(&w, v));
        }
    }
    if (w.n > 0) {
        DTX_GO(dtx_report_publish(r, &w.words, "keywords.csv"));
        DTX_GO(dtx_report_publish(r, &w.dips, "keyword_dips.csv"));
        DTX_GO(dtx_report_lines_write(r, &w.lines));
        DTX_GO(draw(r, &w.lines));
        DTX_GO(dtx_report_lines_put(&w.lines, page));
    }
done:
    dtx_report_drop(&w.words);
    dtx_report_drop(&w.dips);
    dtx_report_lines_free(&w.lines);
    return st;
}
