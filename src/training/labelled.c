#include "src/training/labelled.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/training/loss.h"
#include "src/base/mem.h"
#include "src/base/rng.h"

enum { HOLDOUT_KEY = 0x436C6864, ORDER_KEY = 0x436C6F72, BOS = 0, PAD = 1, EOS = 2, MASK = 4 };

/* --- reading --- */

static dtx_status read_field(const char *const *spec, int64_t n_specs, const char *field, dtx_texts *out)
{
    for (int64_t i = 0; i < n_specs; i++) {
        char path[4600];
        const char *colon = strrchr(spec[i], ':');
        int len = colon != NULL ? (int)(colon - spec[i]) : (int)strlen(spec[i]);
        snprintf(path, sizeof path, "%.*s:%s", len, spec[i], field != NULL ? field : colon != NULL ? colon + 1 : "text");
        DTX_TRY(dtx_texts_read_field(path, out));
    }
    return DTX_OK;
}

static int compare_cells(const dtx_texts *t, int64_t a, int64_t b)
{
    size_t n = t->offset[a + 1] - t->offset[a], m = t->offset[b + 1] - t->offset[b];
    int c = memcmp(t->bytes + t->offset[a], t->bytes + t->offset[b], n < m ? n : m);

    return c != 0 ? c : (n > m) - (n < m);
}

static int by_cell(const void *a, const void *b, void *texts)
{
    const int64_t i = *(const int64_t *)a, j = *(const int64_t *)b;
    int c = compare_cells(texts, i, j);

    return c != 0 ? c : (i > j) - (i < j);
}

/* number[i]: which of the distinct cells, in the order of their bytes, row i holds; first[k]: a row with cell k. */
static dtx_status number_cells(dtx_texts *t, int32_t *number, int64_t *first, int64_t *n_distinct)
{
    int64_t *row = NULL, k = -1;

    DTX_TRY(DTX_NEW_RAW(row, t->n));
    for (int64_t i = 0; i < t->n; i++) {
        row[i] = i;
    }
    qsort_r(row, (size_t)t->n, sizeof *row, by_cell, t);
    for (int64_t i = 0; i < t->n; i++) {
        if (i == 0 || compare_cells(t, row[i - 1], row[i]) != 0) {
            first[++k] = row[i];
        }
        number[row[i]] = (int32_t)k;
    }
    *n_distinct = k + 1;
    dtx_free(row);
    return DTX_OK;
}

static dtx_status name_labels(const dtx_texts *cells, const int64_t *first, const char *column, dtx_labelled *l)
{
    if (l->n_labels < 2 || l->n_labels > DTX_MAX_LABELS) {
        return DTX_FAIL(DTX_ERR_INPUT, "pretrain.label: column \"%s\" holds %lld different values; 2 to %d are possible", column,
                        (long long)l->n_labels, DTX_MAX_LABELS);
    }
    for (int64_t k = 0; k < l->n_labels; k++) {
        size_t n = cells->offset[first[k] + 1] - cells->offset[first[k]];
        if (n == 0 || n >= sizeof l->labels[k]) {
            return DTX_FAIL(DTX_ERR_INPUT, "pretrain.label: a label of column \"%s\" has %zu bytes; 1 to %zu are possible", column, n,
                            sizeof l->labels[k] - 1);
        }
        memcpy(l->labels[k], cells->bytes + cells->offset[first[k]], n);
        l->labels[k][n] = '\0';
    }
    return DTX_OK;
}

/* Whole groups are held out, chosen by the seed. */
static dtx_status hold_out(dtx_labelled *l, const int32_t *group, double holdout, uint64_t seed)
{
    int64_t *order = NULL, n = (int64_t)(holdout * (double)l->n_groups + 0.5);
    uint8_t *out = NULL;
    dtx_status st = DTX_OK;

    n = holdout > 0 && n == 0 ? 1 : n;
    if (n >= l->n_groups) {
        return DTX_FAIL(DTX_ERR_INPUT, "%lld groups of texts are too few to hold out %g of them", (long long)l->n_groups, holdout);
    }
    DTX_GO(DTX_NEW_RAW(order, l->n_groups));
    DTX_GO(DTX_NEW(out, l->n_groups));
    dtx_rng_permutation(seed, HOLDOUT_KEY, l->n_groups, order);
    for (int64_t i = 0; i < n; i++) {
        out[order[i]] = 1;
    }
    for (int64_t i = 0; i < l->n; i++) {
        l->held[i] = out[group[i]];
        l->n_held += l->held[i];
    }
done:
    dtx_free(out);
    dtx_free(order);
    return st;
}

dtx_status dtx_labelled_read(const char *const *spec, int64_t n_specs, const char *label, const char *group, double holdout,
                             uint64_t seed, dtx_labelled *out)
{
    dtx_labelled l = {0};
    dtx_texts labels = {0}, groups = {0};
    int32_t *number = NULL;
    int64_t *first = NULL;
    dtx_status st = DTX_OK;

    DTX_GO(read_field(spec, n_specs, NULL, &l.texts));
    DTX_GO(read_field(spec, n_specs, label, &labels));
    l.n = l.texts.n;
    if (labels.n != l.n) {
        DTX_GO(DTX_FAIL(DTX_ERR_INPUT, "%lld texts, but %lld values of \"%s\": every row needs both", (long long)l.n,
                        (long long)labels.n, label));
    }
    DTX_GO(DTX_NEW(l.label, l.n));
    DTX_GO(DTX_NEW(l.held, l.n));
    DTX_GO(DTX_NEW(number, l.n));
    DTX_GO(DTX_NEW(first, l.n));
    DTX_GO(number_cells(&labels, l.label, first, &l.n_labels));
    DTX_GO(name_labels(&labels, first, label, &l));
    if (group[0] != '\0') {
        DTX_GO(read_field(spec, n_specs, group, &groups));
        if (groups.n != l.n) {
            DTX_GO(DTX_FAIL(DTX_ERR_INPUT, "%lld texts, but %lld values of \"%s\": every row needs both", (long long)l.n,
                            (long long)groups.n, group));
        }
        DTX_GO(number_cells(&groups, number, first, &l.n_groups));
    } else {
        l.n_groups = l.n;
        for (int64_t i = 0; i < l.n; i++) {
            number[i] = (int32_t)i;
        }
    }
    DTX_GO(hold_out(&l, number, holdout, seed));
    *out = l;
    memset(&l, 0, sizeof l);
done:
    dtx_free(first);
    dtx_free(number);
    dtx_texts_free(&groups);
    dtx_texts_free(&labels);
    dtx_labelled_free(&l);
    return st;
}

dtx_status dtx_labelled_encode(dtx_labelled *l, const dtx_tokenizer *t, int64_t max_tokens)
{
    dtx_ids ids = {0};
    dtx_status st = DTX_OK;

    DTX_GO(DTX_NEW(l->offset, l->n + 1));
    for (int64_t i = 0; i < l->n; i++) {
        const uint64_t *at = l->texts.offset + i;
        st = dtx_tokenizer_encode_max(t, l->texts.bytes + at[0], at[1] - at[0], true, max_tokens, &ids);
        if (st != DTX_OK) {
            dtx_error_context(st, "labelled text %lld", (long long)l->texts.id[i]);
            goto done;
        }
        l->offset[i + 1] = (int64_t)ids.n;
    }
    l->id = ids.id;
    return DTX_OK;
done:
    dtx_ids_free(&ids);
    return st;
}

void dtx_labelled_free(dtx_labelled *l)
{
    dtx_texts_free(&l->texts);
    dtx_free(l->label);
    dtx_free(l->held);
    dtx_free(l->offset);
    dtx_free(l->id);
    memset(l, 0, sizeof *l);
}

/* --- order of training --- */

dtx_status dtx_labelled_order_init(dtx_labelled_order *o, const dtx_labelled *l, int64_t batch, uint64_t seed)
{
    *o = (dtx_labelled_order){.n = l->n - l->n_held, .batch = batch, .pass = -1, .seed = seed};
    DTX_TRY(DTX_NEW(o->train, o->n));
    DTX_TRY(DTX_NEW(o->order, o->n));
    for (int64_t i = 0, k = 0; i < l->n; i++) {
        if (!l->held[i]) {
            o->train[k++] = i;
        }
    }
    return DTX_OK;
}

void dtx_labelled_order_free(dtx_labelled_order *o)
{
    dtx_free(o->train);
    dtx_free(o->order);
    memset(o, 0, sizeof *o);
}

int64_t dtx_labelled_order_get(dtx_labelled_order *o, int64_t step, int64_t i)
{
    const int64_t k = step * o->batch + i, pass = k / o->n;

    if (o->pass != pass) {
        dtx_rng_permutation(o->seed, ORDER_KEY + ((uint64_t)pass << 32), o->n, o->order);
        o->pass = pass;
    }
    return o->train[o->order[k % o->n]];
}

/* --- loss --- */

dtx_status dtx_labelled_loss(const dtx_model *m, dtx_tape *tape, const dtx_labelled *l, const int64_t *text, int64_t n,
                             const dtx_labelled_noise *noise, float scale, double *loss, int64_t *right, float *grads)
{
    const int64_t C = dtx_model_arch(m)->n_labels;
    int64_t *offset = NULL, R = 0;
    int32_t *ids = NULL, *label = NULL;
    float *logits = NULL;
    double *part = NULL;
    dtx_status st = DTX_OK;

    DTX_GO(DTX_NEW(offset, n + 1));
    for (int64_t i = 0; i < n; i++) {
        R += l->offset[text[i] + 1] - l->offset[text[i]];
        offset[i + 1] = R;
    }
    DTX_GO(DTX_NEW_RAW(ids, R));
    DTX_GO(DTX_NEW_RAW(label, n));
    DTX_GO(DTX_NEW_RAW(logits, n * C));
    DTX_GO(DTX_NEW_RAW(part, n));
    for (int64_t i = 0; i < n; i++) {
        memcpy(ids + offset[i], l->id + l->offset[text[i]], (size_t)(offset[i + 1] - offset[i]) * sizeof *ids);
        label[i] = l->label[text[i]];
        for (int64_t j = offset[i] + 1; grads != NULL && noise->mask > 0 && j < offset[i + 1]; j++) {
            double u = dtx_rng_uniform(noise->seed, DTX_RNG_DROPOUT, (uint64_t)text[i], (uint32_t)noise->step,
                                       (uint32_t)(j - offset[i]));
            ids[j] = u < noise->mask ? MASK : ids[j];
        }
    }
    const dtx_batch b = {.n_seq = n, .offset = offset, .ids = ids, .tape = grads != NULL ? tape : NULL};
    DTX_GO(dtx_model_classify(m, &b, logits));
    *right = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t best = 0;
        for (int64_t k = 1; k < C; k++) {
            best = logits[i * C + k] > logits[i * C + best] ? k : best;
        }
        *right += best == label[i];
    }
    dtx_cross_entropy(n, C, logits, label, scale, part);
    *loss = 0;
    for (int64_t i = 0; i < n; i++) {
        *loss += part[i];
    }
    if (grads != NULL) {
        DTX_GO(dtx_model_classify_backward(m, tape, logits, &(dtx_wanted){.params = grads}));
    }
done:
    dtx_free(part);
    dtx_free(logits);
    dtx_free(label);
    dtx_free(ids);
    dtx_free(offset);
    return st;
}

dtx_status dtx_labelled_arch(const dtx_labelled *l, const char *arch, int64_t layers, int64_t hidden, int64_t heads, int64_t vocab,
                             int64_t tokens, dtx_arch *out)
{
    dtx_arch a;

    DTX_TRY(dtx_arch_fresh(arch, true, layers, hidden, heads, vocab, tokens + PAD + 1, &a));
    a.bos_id = BOS;
    a.eos = dtx_eos_of(EOS);
    a.pad_id = PAD;
    a.n_labels = l->n_labels;
    memcpy(a.labels, l->labels, sizeof a.labels);
    *out = a;
    return DTX_OK;
}
