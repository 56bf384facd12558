#include "src/training/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/weights/weights.h"

enum { FIXED = 3, MAX_CURVES = 64 };

dtx_status dtx_train_state_write(const char *path, const dtx_train_state *s)
{
    dtx_tensor t[FIXED + MAX_CURVES + 2];
    char names[MAX_CURVES][80], step[32], sum[65] = "";
    const float *fixed[FIXED] = {s->params, s->m, s->v};
    static const char *const fixed_names[FIXED] = {"params", "adam.m", "adam.v"};

    if (s->n_curves > MAX_CURVES) {
        return DTX_FAIL(DTX_ERR_CHECK, "%lld curves; a checkpoint holds %d", (long long)s->n_curves, MAX_CURVES);
    }
    memset(t, 0, sizeof t);
    for (int i = 0; i < FIXED; i++) {
        t[i] = (dtx_tensor){.name = fixed_names[i], .dtype = DTX_F32, .n_dims = 1, .shape = {s->n_params},
                            .n_elements = s->n_params, .data = fixed[i], .size_bytes = (size_t)s->n_params * sizeof(float)};
    }
    for (int64_t i = 0; i < s->n_curves; i++) {
        snprintf(names[i], sizeof names[i], "curve.%s", s->curves[i].name);
        t[FIXED + i] = (dtx_tensor){.name = names[i], .dtype = DTX_F64, .n_dims = 1, .shape = {s->n_steps},
                                    .n_elements = s->n_steps, .data = s->curves[i].value,
                                    .size_bytes = (size_t)s->n_steps * sizeof(double)};
    }
    int64_t n = FIXED + s->n_curves;
    if (s->n_scalars > 0) {
        t[n++] = (dtx_tensor){.name = "scalars", .dtype = DTX_F64, .n_dims = 1, .shape = {s->n_scalars},
                              .n_elements = s->n_scalars, .data = s->scalars,
                              .size_bytes = (size_t)s->n_scalars * sizeof(double)};
    }
    if (s->average != NULL) {
        t[n] = t[0];
        t[n].name = "average";
        t[n++].data = s->average;
    }
    snprintf(step, sizeof step, "%lld", (long long)s->step);
    const dtx_meta meta[] = {{"step", step}, {"identity", s->identity}, {DTX_SUM_KEY, sum}};
    DTX_TRY(dtx_weights_sum(t, n, meta, 2, sum));
    return dtx_safetensors_write(path, t, n, meta, 3);
}

static dtx_status copy_tensor(const dtx_weights *w, const char *path, const char *name, dtx_dtype dtype, int64_t n, void *out)
{
    const dtx_tensor *t = dtx_weights_find(w, name);

    if (t == NULL || t->dtype != dtype || t->n_elements != n) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: checkpoint without a tensor \"%s\" of %lld %s; remove the file to begin anew", path,
                        name, (long long)n, dtx_dtype_name(dtype));
    }
    memcpy(out, t->data, t->size_bytes);
    return DTX_OK;
}

dtx_status dtx_train_state_read(const char *path, dtx_train_state *s)
{
    dtx_weights *w = NULL;
    dtx_status st = DTX_OK;

    DTX_TRY(dtx_weights_open(path, NULL, &w));
    DTX_GO(dtx_weights_check_sum(w, "remove the file to begin the training anew, or bring back a copy of it"));
    const char *identity = dtx_weights_metadata(w, "identity"), *step = dtx_weights_metadata(w, "step");
    if (identity == NULL || step == NULL) {
        DTX_GO(DTX_FAIL(DTX_ERR_INPUT, "%s: not a checkpoint (no identity); remove the file to begin anew", path));
    }
    if (strcmp(identity, s->identity) != 0) {
        DTX_GO(DTX_FAIL(DTX_ERR_USAGE, "%s belongs to a training with other settings or data; there: %s; here: %s; "
                        "use the same settings to continue it, another --run, or --redo to discard it", path, identity,
                        s->identity));
    }
    char *end;
    long long k = strtoll(step, &end, 10);
    if (*end != '\0' || k < 0 || k > s->n_steps) {
        DTX_GO(DTX_FAIL(DTX_ERR_INPUT, "%s: step \"%s\" is not within 0..%lld", path, step, (long long)s->n_steps));
    }
    DTX_GO(copy_tensor(w, path, "params", DTX_F32, s->n_params, s->params));
    DTX_GO(copy_tensor(w, path, "adam.m", DTX_F32, s->n_params, s->m));
    DTX_GO(copy_tensor(w, path, "adam.v", DTX_F32, s->n_params, s->v));
    if (s->average != NULL) {
        DTX_GO(copy_tensor(w, path, "average", DTX_F32, s->n_params, s->average));
    }
    for (int64_t i = 0; i < s->n_curves; i++) {
        char name[80];
        snprintf(name, sizeof name, "curve.%s", s->curves[i].name);
        DTX_GO(copy_tensor(w, path, name, DTX_F64, s->n_steps, s->curves[i].value));
    }
    if (s->n_scalars > 0) {
        DTX_GO(copy_tensor(w, path, "scalars", DTX_F64, s->n_scalars, s->scalars));
    }
    s->step = k;
done:
    dtx_weights_close(w);
    return st;
}
