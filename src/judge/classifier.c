#include "src/judge/classifier.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "src/base/mem.h"

enum { MAX_ROWS = 2048 }; /* tokens of a forward pass: bounds its memory; a longer text has a pass of its own */

static int64_t find_label(const dtx_arch *a, const char *label)
{
    static const char *const toxic[] = {"toxicity", "toxic", "hate", "hateful", "HS"};

    if (label[0] != '\0') {
        for (int64_t i = 0; i < a->n_labels; i++) {
            if (strcmp(a->labels[i], label) == 0) {
                return i;
            }
        }
        char *end;
        long k = strtol(label, &end, 10);
        return isdigit((unsigned char)label[0]) && *end == '\0' && k < a->n_labels ? k : -1;
    }
    for (int64_t i = 0; i < a->n_labels; i++) {
        for (size_t k = 0; k < sizeof toxic / sizeof *toxic; k++) {
            if (strcasecmp(a->labels[i], toxic[k]) == 0) {
                return i;
            }
        }
    }
    return a->n_labels == 2 ? 1 : -1;
}

dtx_status dtx_classifier_open(const char *dir, const dtx_arch *a, const char *label, dtx_classifier *out)
{
    dtx_classifier c = {0};
    char names[512] = "";
    dtx_status st = DTX_OK;

    DTX_GO(a != NULL ? dtx_model_open_as(dir, a, false, &c.model) : dtx_model_open(dir, false, &c.model));
    c.arch = dtx_model_arch(c.model);
    if (c.arch->n_labels < 1) {
        DTX_GO(DTX_FAIL(DTX_ERR_INPUT, "%s: a %s model is no classifier; one with labels is expected", dir,
                        c.arch->model_type));
    }
    DTX_GO(dtx_tokenizer_open(dir, &c.tokenizer));
    if (dtx_tokenizer_size(c.tokenizer) > c.arch->vocab) {
        DTX_GO(DTX_FAIL(DTX_ERR_INPUT, "%s: the tokenizer has %lld ids, the model %lld", dir,
                        (long long)dtx_tokenizer_size(c.tokenizer), (long long)c.arch->vocab));
    }
    c.max_tokens = dtx_arch_max_tokens(c.arch);
    c.label = find_label(c.arch, label);
    for (int64_t i = 0; i < c.arch->n_labels && strlen(names) + 60 < sizeof names; i++) {
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", i > 0 ? ", " : "", c.arch->labels[i]);
    }
    if (c.label < 0) {
        DTX_GO(DTX_FAIL(DTX_ERR_USAGE, "%s: which label counts? \"%s\" does not say; there are %s", dir, label, names));
    }
    *out = c;
    return DTX_OK;
done:
    dtx_classifier_close(&c);
    return st;
}

void dtx_classifier_close(dtx_classifier *c)
{
    dtx_tokenizer_close(c->tokenizer);
    dtx_model_del(c->model);
    c->tokenizer = NULL;
    c->model = NULL;
}

dtx_status dtx_classifier_logits(const dtx_classifier *c, int64_t n, const char *const *text, const size_t *len,
                                 float *logits)
{
    dtx_ids ids = {0};
    int64_t *offset = NULL;
    dtx_status st = DTX_OK;

    DTX_GO(DTX_NEW(offset, n + 1));
    for (int64_t i = 0, first = 0; i < n; i++) {
        const size_t before = ids.n;
        st = dtx_tokenizer_encode_max(c->tokenizer, text[i], len[i], true, c->max_tokens, &ids);
        if (st != DTX_OK) {
            dtx_error_context(st, "text %lld of %lld to classify", (long long)i, (long long)n);
            goto done;
        }
        if (ids.n == before) {
            DTX_GO(DTX_FAIL(DTX_ERR_INPUT, "the classifier's tokenizer adds no special tokens: an empty text has no first token"));
        }
        offset[i - first + 1] = (int64_t)ids.n;
        if (i + 1 == n || ids.n >= MAX_ROWS) {
            const dtx_batch b = {.n_seq = i + 1 - first, .offset = offset, .ids = ids.id};
            DTX_GO(dtx_model_classify(c->model, &b, logits + first * c->arch->n_labels));
            first = i + 1;
            ids.n = 0;
        }
    }
done:
    dtx_free(offset);
    dtx_ids_free(&ids);
    return st;
}

double dtx_classifier_log_odds(const dtx_classifier *c, const float *logits)
{
    const int64_t n = c->arch->n_labels;
    const double z = (double)logits[c->label];
    double top = -INFINITY, sum = 0;

    if (c->arch->multi_label) {
        return z;
    }
    /* softmax: z against log sum exp of the other labels */
    for (int64_t i = 0; i < n; i++) {
        top = i != c->label ? fmax(top, (double)logits[i]) : top;
    }
    for (int64_t i = 0; i < n; i++) {
        sum += i != c->label ? exp((double)logits[i] - top) : 0;
    }
    return z - top - log(sum);
}

dtx_status dtx_classifier_score(const dtx_classifier *c, int64_t n, const char *const *text, const size_t *len, double *p)
{
    float *logits = NULL;
    dtx_status st = DTX_OK;

    DTX_GO(DTX_NEW_RAW(logits, n * c->arch->n_labels));
    DTX_GO(dtx_classifier_logits(c, n, text, len, logits));
    for (int64_t i = 0; i < n; i++) {
        p[i] = 1 / (1 + exp(-dtx_classifier_log_odds(c, logits + i * c->arch->n_labels)));
    }
done:
    dtx_free(logits);
    return st;
}
