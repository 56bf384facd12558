/* lora.c - lora.safetensors: logits with the adapter active, loss and gradients of one left-padded batch, and
 * the adapter after optimizer steps on it. Padding is stripped: a row's loss does not see it. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "jobs/verify/verify.h"
#include "src/training/loss.h"
#include "src/base/mem.h"
#include "src/training/optim.h"

/* The training batch as ragged rows. label[r] belongs to the token after row r; negative = does not count. */
typedef struct {
    int64_t n_seq, R;
    int64_t *offset;
    int32_t *ids, *label;
    float *hidden, *d_hidden;
    double *loss; /* (R) */
} training;

static void training_free(training *t)
{
    dtx_free(t->loss);
    dtx_free(t->d_hidden);
    dtx_free(t->hidden);
    dtx_free(t->label);
    dtx_free(t->ids);
    dtx_free(t->offset);
}

static dtx_status training_read(dtx_verify *v, training *t)
{
    dtx_status st;
    int32_t *ids = NULL, *mask = NULL, *labels = NULL;
    int64_t n, n_mask, n_labels, shape[DTX_MAX_DIMS];
    const int64_t d = dtx_model_arch(v->model)->hidden;

    DTX_GO(dtx_verify_ids(v, "train.input_ids", &ids, &n, shape));
    DTX_GO(dtx_verify_ids(v, "train.attention_mask", &mask, &n_mask, NULL));
    DTX_GO(dtx_verify_ids(v, "train.labels", &labels, &n_labels, NULL));
    if (n_mask != n || n_labels != n) {
        st = DTX_FAIL(DTX_ERR_INPUT, "%s/expected/%s: the shapes of train.* do not agree", v->dir, v->file);
        goto done;
    }
    t->n_seq = shape[0];
    DTX_GO(DTX_NEW(t->offset, t->n_seq + 1));
    DTX_GO(DTX_NEW(t->ids, n));
    DTX_GO(DTX_NEW(t->label, n));
    for (int64_t b = 0; b < t->n_seq; b++) {
        for (int64_t i = 0; i < shape[1]; i++) {
            const int64_t at = b * shape[1] + i;
            if (mask[at] != 0) {
                t->ids[t->R] = ids[at];
                t->label[t->R] = i + 1 < shape[1] ? labels[at + 1] : -100;
                t->R++;
            }
        }
        t->offset[b + 1] = t->R;
    }
    DTX_GO(DTX_NEW(t->hidden, t->R * d));
    DTX_GO(DTX_NEW(t->d_hidden, t->R * d));
    DTX_GO(DTX_NEW(t->loss, t->R));
done:
    dtx_free(ids);
    dtx_free(mask);
    dtx_free(labels);
    return st;
}

/* Loss of sequences first..last-1 as one micro-batch: mean over its labels, divided by `divide`. What is wanted of its
 * gradient is added. */
static dtx_status loss_and_gradient(const dtx_model *m, const training *t, const dtx_adapter *ad, int64_t first,
                                    int64_t last, double divide, const dtx_wanted *want, double *loss)
{
    dtx_status st;
    dtx_tape *tape = NULL;
    const int64_t from = t->offset[first], R = t->offset[last] - from;
    int64_t count = 0, offset[65];
    dtx_segment seg[64];

    if (last - first > 64) {
        return DTX_FAIL(DTX_ERR_INPUT, "more than 64 rows in the training batch");
    }
    for (int64_t i = 0; i < R; i++) {
        count += t->label[from + i] >= 0;
    }
    for (int64_t s = first; s <= last; s++) {
        offset[s - first] = t->offset[s] - from;
        if (s < last) {
            seg[s - first] = (dtx_segment){.seq = s - first, .first = 0, .len = t->offset[s + 1] - t->offset[s]};
        }
    }
    DTX_GO(dtx_tape_new(m, true, &tape));
    dtx_batch b = {.n_seq = last - first, .offset = offset, .ids = t->ids + from, .adapter = ad, .tape = tape};
    DTX_GO(dtx_model_forward(m, &b, t->hidden));
    DTX_GO(dtx_head_loss(m, R, t->hidden, t->label + from, (float)(1 / ((double)count * divide)), t->loss, t->d_hidden,
                         want->params));
    *loss = 0;
    for (int64_t i = 0; i < R; i++) {
        *loss += t->loss[i] / ((double)count * divide);
    }
    DTX_GO(dtx_model_backward(m, tape, b.n_seq, seg, t->d_hidden, want));
done:
    dtx_tape_del(tape);
    return st;
}

dtx_status dtx_verify_adapter(dtx_verify *v, dtx_quantity *q, const char *prefix, const dtx_adapter *ad, bool all)
{
    const dtx_arch *a = dtx_model_arch(v->model);

    for (int64_t s = 0; s < ad->n_slots; s++) {
        const dtx_lora *l = &ad->slot[s];
        char module[128], name[320];
        dtx_module_name(a, s / DTX_MODULES, (dtx_module_kind)(s % DTX_MODULES), module, sizeof module);
        for (int half = 0; l->A != NULL && half < 2; half++) {
            double *want;
            int64_t n, size = half == 0 ? l->r * l->n_in : l->r * l->n_out;
            snprintf(name, sizeof name, "%s.base_model.model.%s.lora_%c.weight", prefix, module, "AB"[half]);
            if (!all && !dtx_verify_has(v, name)) {
                continue;
            }
            DTX_TRY(dtx_verify_read(v, name, &want, &n, NULL));
            if (n != size) {
                dtx_free(want);
                return DTX_FAIL(DTX_ERR_INPUT, "%s/expected/%s: %s has %lld values, expected %lld", v->dir, v->file,
                                name, (long long)n, (long long)size);
            }
            dtx_verify_floats(q, name, n, half == 0 ? l->A : l->B, want);
            dtx_free(want);
        }
    }
    return DTX_OK;
}

/* The same for all of an adapter as one quantity. outlier: see dtx_quantity. */
static dtx_status compare_adapter(dtx_verify *v, const char *label, const char *prefix, const char *entry,
                                  double outlier, const dtx_adapter *ad)
{
    dtx_quantity q = dtx_verify_begin(v, label, entry);

    q.outlier = outlier;
    DTX_TRY(dtx_verify_adapter(v, &q, prefix, ad, true));
    dtx_verify_end(v, &q);
    return DTX_OK;
}

/* Logits of a model under an adapter against logits.active. */
static dtx_status check_logits(dtx_verify *v, const char *label, const char *entry, const dtx_model *m,
                               const dtx_adapter *ad)
{
    dtx_status st;
    const int64_t d = dtx_model_arch(m)->hidden, V = dtx_model_arch(m)->vocab;
    int32_t *ids = NULL;
    int64_t T, n;
    double *want = NULL;
    float *hidden = NULL, *logits = NULL;
    dtx_quantity q = dtx_verify_begin(v, label, entry);

    DTX_GO(dtx_verify_ids(v, "logits.input_ids", &ids, &T, NULL));
    DTX_GO(dtx_verify_read(v, "logits.active", &want, &n, NULL));
    if (n != T * V) {
        st = DTX_FAIL(DTX_ERR_INPUT, "%s/expected/%s: logits.active should have %lld x %lld values", v->dir, v->file,
                      (long long)T, (long long)V);
        goto done;
    }
    DTX_GO(DTX_NEW_RAW(hidden, T * d));
    DTX_GO(DTX_NEW_RAW(logits, T * V));
    dtx_batch b = {.n_seq = 1, .offset = (const int64_t[]){0, T}, .ids = ids, .adapter = ad};
    DTX_GO(dtx_model_forward(m, &b, hidden));
    dtx_model_logits(m, T, hidden, logits);
    dtx_verify_floats(&q, "logits.active", n, logits, want);
    dtx_verify_end(v, &q);
done:
    dtx_free(ids);
    dtx_free(want);
    dtx_free(hidden);
    dtx_free(logits);
    return st;
}

/* The adapter's gradient from the one of the merged matrix, which may be stored transposed: dA = s B^T dW, dB = s dW A^T. */
static void project(const dtx_adapter *ad, const dtx_lora *l, bool transposed, const float *dW, const dtx_lora *g)
{
    const int64_t down = transposed ? 1 : l->n_in, along = transposed ? l->n_out : 1;

    for (int64_t k = 0; k < ad->r; k++) {
        for (int64_t j = 0; j < l->n_in; j++) {
            double sum = 0;
            for (int64_t i = 0; i < l->n_out; i++) {
                sum += (double)l->B[i * ad->r + k] * (double)dW[i * down + j * along];
            }
            g->A[k * l->n_in + j] = (float)((double)ad->scale * sum);
        }
        for (int64_t i = 0; i < l->n_out; i++) {
            double sum = 0;
            for (int64_t j = 0; j < l->n_in; j++) {
                sum += (double)l->A[k * l->n_in + j] * (double)dW[i * down + j * along];
            }
            g->B[i * ad->r + k] = (float)((double)ad->scale * sum);
        }
    }
}

/* The merged model: its logits, and the full training's gradient of its matrices, which implies the adapter's. */
static dtx_status check_merged(dtx_verify *v, const training *t)
{
    dtx_status st;
    dtx_model *m = NULL;
    dtx_adapter *g = NULL;
    float *grads = NULL;
    double loss;

    DTX_GO(dtx_model_copy(v->model, v->adapter, &m));
    DTX_GO(check_logits(v, "logits.active, merged weights", "logits_merged", m, NULL));
    DTX_GO(dtx_adapter_like(v->adapter, &g));
    DTX_GO(DTX_NEW(grads, dtx_model_arena_size(m)));
    DTX_GO(loss_and_gradient(m, t, NULL, 0, t->n_seq, 1, &(dtx_wanted){.params = grads}, &loss));
    for (int64_t s = 0; s < g->n_slots; s++) {
        if (g->slot[s].A != NULL) {
            const dtx_matrix *w = dtx_model_module(m, s / DTX_MODULES, (dtx_module_kind)(s % DTX_MODULES));
            project(v->adapter, &v->adapter->slot[s], dtx_model_arch(m)->transposed, grads + ((const float *)w->w - dtx_model_arena(m)), &g->slot[s]);
        }
    }
    DTX_GO(compare_adapter(v, "grad, from merged weights", "grad", "grad", 0, g));
done:
    dtx_free(grads);
    dtx_adapter_del(g);
    dtx_model_del(m);
    return st;
}

static dtx_status check_gradient(dtx_verify *v, training *t, const cJSON *json)
{
    dtx_status st;
    dtx_adapter *g = NULL;
    double loss, half, *want = NULL;
    int64_t n;

    DTX_GO(dtx_adapter_like(v->adapter, &g));
    DTX_GO(loss_and_gradient(v->model, t, v->adapter, 0, t->n_seq, 1, &(dtx_wanted){.lora = g}, &loss));
    DTX_GO(dtx_verify_read(v, "train.loss", &want, &n, NULL));
    dtx_verify_number(v, "train.loss", "loss", loss, want[0]);
    DTX_GO(compare_adapter(v, "grad", "grad", "grad", 0, g));
    dtx_verify_number(v, "grad_norm", NULL, dtx_global_norm(g->arena, g->n_params), dtx_verify_json_number(json, "grad_norm"));

    /* two micro-batches of two rows, each loss halved, gradients added */
    const cJSON *acc = dtx_json_get(json, "accumulated");
    const cJSON *losses = dtx_json_get(acc, "losses_after_division");
    if (t->n_seq == 4 && cJSON_GetArraySize(losses) == 2) {
        memset(g->arena, 0, (size_t)g->n_params * sizeof(float));
        for (int k = 0; k < 2; k++) {
            DTX_GO(loss_and_gradient(v->model, t, v->adapter, 2 * k, 2 * k + 2, 2, &(dtx_wanted){.lora = g}, &half));
            dtx_verify_number(v, k == 0 ? "accumulated loss 1" : "accumulated loss 2", "loss", half,
                           cJSON_GetArrayItem(losses, k)->valuedouble);
        }
        dtx_verify_number(v, "accumulated grad_norm", NULL, dtx_global_norm(g->arena, g->n_params),
                       dtx_verify_json_number(acc, "grad_norm"));
    }
done:
    dtx_free(want);
    dtx_adapter_del(g);
    return st;
}

/* Optimizer steps on the one batch under the schedule "w0" or "w2", with loss, norm and rate of each step. */
static dtx_status check_schedule(dtx_verify *v, training *t, const cJSON *json, const char *name)
{
    dtx_status st;
    char key[64], label[64];
    dtx_adapter *ad = NULL, *g = NULL, *m = NULL, *s = NULL;
    const cJSON *schedule, *log, *row;
    dtx_quantity q_loss, q_norm, q_rate;
    char names[3][64];
    int64_t k = 0;

    snprintf(key, sizeof key, "schedules.%s", name);
    schedule = dtx_json_get(json, key);
    log = dtx_json_get(schedule, "log");
    if (log == NULL) {
        return DTX_OK;
    }
    const cJSON *betas = dtx_json_get(json, "betas");
    const dtx_adamw opt = {.beta1 = cJSON_GetNumberValue(cJSON_GetArrayItem(betas, 0)),
                           .beta2 = cJSON_GetNumberValue(cJSON_GetArrayItem(betas, 1)),
                           .eps = dtx_verify_json_number(json, "eps"),
                           .weight_decay = dtx_verify_json_number(json, "weight_decay")};
    const double rate = dtx_verify_json_number(json, "lr"), max_norm = dtx_verify_json_number(json, "max_grad_norm");
    const int64_t warmup = (int64_t)dtx_verify_json_number(schedule, "warmup"), total = (int64_t)dtx_verify_json_number(schedule, "total");
    snprintf(names[0], sizeof names[0], "%s.loss of each step", name);
    snprintf(names[1], sizeof names[1], "%s.grad_norm of each step", name);
    snprintf(names[2], sizeof names[2], "%s.lr of each step", name);
    q_loss = dtx_verify_begin(v, names[0], "loss");
    q_norm = dtx_verify_begin(v, names[1], NULL);
    q_rate = dtx_verify_begin(v, names[2], "=");
    q_rate.tolerance = 1e-15;
    DTX_GO(dtx_adapter_like(v->adapter, &ad));
    DTX_GO(dtx_adapter_like(v->adapter, &g));
    DTX_GO(dtx_adapter_like(v->adapter, &m));
    DTX_GO(dtx_adapter_like(v->adapter, &s));
    memcpy(ad->arena, v->adapter->arena, (size_t)ad->n_params * sizeof(float));
    cJSON_ArrayForEach(row, log)
    {
        double loss, norm, lr = rate * dtx_schedule_factor(DTX_SCHEDULE_LINEAR, k, warmup, total);
        memset(g->arena, 0, (size_t)g->n_params * sizeof(float));
        DTX_GO(loss_and_gradient(v->model, t, ad, 0, t->n_seq, 1, &(dtx_wanted){.lora = g}, &loss));
        norm = dtx_global_norm(g->arena, g->n_params);
        dtx_verify_values(&q_loss, "step", 1, &loss, &(double){dtx_verify_json_number(row, "loss")});
        dtx_verify_values(&q_norm, "step", 1, &norm, &(double){dtx_verify_json_number(row, "grad_norm")});
        dtx_verify_values(&q_rate, "step", 1, &lr, &(double){dtx_verify_json_number(row, "lr")});
        dtx_clip(g->arena, g->n_params, norm, max_norm);
        dtx_adamw_step(&opt, ++k, lr, ad->n_params, ad->arena, g->arena, m->arena, s->arena, NULL, 0);
        if (k == 1 || k == 5) {
            snprintf(label, sizeof label, "%s.step%lld", name, (long long)k);
            snprintf(key, sizeof key, "params_%s_step%lld", name, (long long)k);
            if (strcmp(label, "w2.step1") != 0) { /* its rate is 0 */
                /* where a gradient is nearly zero, Adam's first steps take its rounding for its sign */
                DTX_GO(compare_adapter(v, label, label, key, rate * (double)k, ad));
            }
        }
    }
    dtx_verify_end(v, &q_loss);
    dtx_verify_end(v, &q_norm);
    dtx_verify_end(v, &q_rate);
done:
    dtx_adapter_del(ad);
    dtx_adapter_del(g);
    dtx_adapter_del(m);
    dtx_adapter_del(s);
    return st;
}

dtx_status dtx_verify_lora(dtx_verify *v)
{
    dtx_status st;
    training t = {0};
    cJSON *json = NULL;

    if (v->adapter == NULL) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s has expected/%s but no adapter/", v->dir, v->file);
    }
    DTX_GO(check_logits(v, "logits.active", "logits_active", v->model, v->adapter));
    DTX_GO(dtx_verify_json(v, "lora.json", &json));
    DTX_GO(training_read(v, &t));
    dtx_verify_number(v, "scale", "=", v->adapter->alpha / (double)v->adapter->r, dtx_verify_json_number(json, "scale"));
    DTX_GO(check_gradient(v, &t, json));
    DTX_GO(check_merged(v, &t));
    DTX_GO(check_schedule(v, &t, json, "w0"));
    DTX_GO(check_schedule(v, &t, json, "w2"));
done:
    training_free(&t);
    cJSON_Delete(json);
    return st;
}
