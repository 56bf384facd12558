#include "src/training/pretrain.h"

#include <string.h>

#include "src/training/loss.h"
#include "src/base/mem.h"
#include "src/base/rng.h"

enum { HOLDOUT_KEY = 0x486F6C64, ORDER_KEY = 0x4F726472 };

dtx_status dtx_stream_build(const dtx_tokenizer *t, const dtx_texts *texts, int32_t eos, double holdout, uint64_t seed,
                            dtx_stream *out)
{
    dtx_ids part[2] = {{0}, {0}};
    int64_t *order = NULL;
    uint8_t *held = NULL;
    dtx_status st = DTX_OK;
    int64_t n_held = (int64_t)(holdout * (double)texts->n + 0.5);

    if (holdout > 0 && n_held == 0) {
        n_held = 1;
    }
    if (n_held >= texts->n) {
        return DTX_FAIL(DTX_ERR_INPUT, "%lld training texts are too few to hold out %g of them; give more text or a smaller "
                        "pretrain.holdout", (long long)texts->n, holdout);
    }
    DTX_GO(DTX_NEW(order, texts->n));
    DTX_GO(DTX_NEW(held, texts->n));
    dtx_rng_permutation(seed, HOLDOUT_KEY, texts->n, order);
    for (int64_t i = 0; i < n_held; i++) {
        held[order[i]] = 1;
    }
    for (int64_t i = 0; i < texts->n; i++) {
        dtx_ids *ids = &part[held[i]];
        st = dtx_tokenizer_encode(t, texts->bytes + texts->offset[i], texts->offset[i + 1] - texts->offset[i], false, ids);
        if (st != DTX_OK) {
            dtx_error_context(st, "training text %lld", (long long)texts->id[i]);
            goto done;
        }
        DTX_GO(DTX_GROW(ids->id, ids->cap, ids->n + 1));
        ids->id[ids->n++] = eos;
    }
    *out = (dtx_stream){part[0].id, part[1].id, (int64_t)part[0].n, (int64_t)part[1].n};
    memset(part, 0, sizeof part);
done:
    dtx_ids_free(&part[0]);
    dtx_ids_free(&part[1]);
    dtx_free(held);
    dtx_free(order);
    return st;
}

void dtx_stream_free(dtx_stream *s)
{
    dtx_free(s->train);
    dtx_free(s->held);
    memset(s, 0, sizeof *s);
}

dtx_status dtx_windows_init(dtx_windows *w, int64_t n_tokens, int64_t context, uint64_t seed)
{
    if (n_tokens < 2) {
        return DTX_FAIL(DTX_ERR_INPUT, "the training text has %lld tokens; at least 2 are needed", (long long)n_tokens);
    }
    *w = (dtx_windows){.n_tokens = n_tokens, .seed = seed, .pass = -1};
    w->length = n_tokens - 1 < context ? n_tokens - 1 : context;
    /* one window less than fit leaves room for the offset */
    w->per_pass = (n_tokens - 1) / w->length;
    if (w->per_pass > 1) {
        w->per_pass--;
    }
    return DTX_NEW(w->order, w->per_pass);
}

void dtx_windows_free(dtx_windows *w)
{
    dtx_free(w->order);
    w->order = NULL;
}

int64_t dtx_windows_start(dtx_windows *w, int64_t k)
{
    int64_t pass = k / w->per_pass;
    int64_t room = w->n_tokens - 1 - w->per_pass * w->length;
    int64_t offset = (int64_t)dtx_rng_below(w->seed, DTX_RNG_BATCH, (uint64_t)pass, 0, 0, (uint64_t)room + 1);

    if (w->pass != pass) {
        dtx_rng_permutation(w->seed, ORDER_KEY + ((uint64_t)pass << 32), w->per_pass, w->order);
        w->pass = pass;
    }
    return offset + w->order[k % w->per_pass] * w->length;
}

dtx_status dtx_pretrain_windows(const dtx_model *m, dtx_tape *tape, const int32_t *tokens, int64_t n,
                                const int64_t *start, int64_t length, float scale, double *loss, float *grads)
{
    const int64_t R = n * length;
    const dtx_wanted want = {.params = grads};
    int32_t *ids = NULL, *labels = NULL;
    int64_t *offset = NULL;
    dtx_status st = DTX_OK;

    DTX_GO(DTX_NEW_RAW(ids, R));
    DTX_GO(DTX_NEW_RAW(labels, R));
    DTX_GO(DTX_NEW(offset, n + 1));
    for (int64_t i = 0; i < n; i++) {
        memcpy(ids + i * length, tokens + start[i], (size_t)length * sizeof *ids);
        memcpy(labels + i * length, tokens + start[i] + 1, (size_t)length * sizeof *labels);
        offset[i + 1] = (i + 1) * length;
    }
    DTX_GO(dtx_lm_loss(m, NULL, tape, n, offset, ids, labels, scale, loss, NULL, grads != NULL ? &want : NULL));
done:
    dtx_free(offset);
    dtx_free(labels);
    dtx_free(ids);
    return st;
}

dtx_status dtx_pretrain_arch(const char *arch, int64_t layers, int64_t hidden, int64_t heads, int64_t vocab,
                             int64_t context, int32_t eos, int32_t pad, dtx_arch *out)
{
    DTX_TRY(dtx_arch_fresh(arch, false, layers, hidden, heads, vocab, context, out));
    out->bos_id = eos;
    out->eos = dtx_eos_of(eos);
    out->pad_id = pad;
    return DTX_OK;
}
