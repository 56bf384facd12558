/* make_model KIND DIR CORPUS: a folder with a small random model (decoder neox, neox-seq, falcon, falcon-rw, with an adapter
 * in DIR/adapter; classifier roberta) and a tokenizer trained on the paragraphs of CORPUS, for tests of the program. */
#include <stdio.h>
#include <string.h>

#include "src/data/dataset.h"
#include "src/base/file.h"
#include "src/base/mem.h"
#include "src/model/model.h"
#include "src/base/rng.h"
#include "src/text/tokenizer.h"

enum { VOCAB = 512 };

static dtx_arch arch_of(const char *kind)
{
    dtx_arch a = {.model_type = "gpt_neox", .n_layers = 2, .hidden = 48, .n_heads = 4, .head_dim = 12,
                  .ffn = 96, .vocab = VOCAB, .n_kv = 4, .max_positions = 512, .causal = true, .fused_qkv = true,
                  .linear_bias = true, .position = DTX_POS_ROTARY, .rotary_dims = 12, .rope = {{.base = 10000}},
                  .activation = DTX_ACT_GELU_ERF, .norm_eps = 1e-5F, .bos_id = 0, .eos = {.n = 1, .id = {0}}, .pad_id = -1};

    if (strncmp(kind, "falcon", 6) == 0) {
        snprintf(a.model_type, sizeof a.model_type, "falcon");
        a.ffn = 4 * a.hidden;
        a.tied_head = true;
        a.linear_bias = strcmp(kind, "falcon-rw") == 0;
        a.position = a.linear_bias ? DTX_POS_ALIBI : DTX_POS_ROTARY;
        a.rotary_dims = a.linear_bias ? 0 : a.head_dim;
        a.parallel = a.shared_norm = !a.linear_bias;
        a.n_kv = a.linear_bias ? 4 : 1;
    } else if (strcmp(kind, "roberta") == 0) {
        snprintf(a.model_type, sizeof a.model_type, "roberta");
        a.causal = a.fused_qkv = false;
        a.post_norm = true;
        a.position = DTX_POS_LEARNED;
        a.rotary_dims = 0;
        a.max_positions = 130;
        a.pad_id = 1;
        a.eos = dtx_eos_of(2);
        a.type_vocab = 1;
        a.n_labels = 2;
        snprintf(a.labels[0], sizeof a.labels[0], "nothate");
        snprintf(a.labels[1], sizeof a.labels[1], "hate");
    } else if (strcmp(kind, "neox") == 0) {
        a.parallel = true;
        a.rotary_dims = 2;
    }
    return a;
}

static dtx_status make(const char *kind, const char *dir, const char *corpus)
{
    const char *list[4096];
    size_t len[4096];
    const char *const targets[] = {"query_key_value"};
    char path[1024];
    dtx_texts texts = {0};
    dtx_model *m = NULL;
    dtx_adapter *ad = NULL;
    dtx_arch a = arch_of(kind);
    dtx_status st;

    DTX_GO(dtx_file_mkdirs(dir));
    DTX_GO(dtx_texts_read_field(corpus, &texts));
    int64_t n = texts.n < 4096 ? texts.n : 4096;
    for (int64_t i = 0; i < n; i++) {
        list[i] = texts.bytes + texts.offset[i];
        len[i] = texts.offset[i + 1] - texts.offset[i];
    }
    DTX_GO(dtx_bpe_train(list, len, n, VOCAB, !a.causal, dir));
    DTX_GO(dtx_model_new(&a, 1, &m));
    float *w = dtx_model_arena(m);
    for (int64_t i = 0; i < dtx_model_arena_size(m); i++) {
        w[i] += 0.15F * (float)dtx_rng_normal(2, DTX_RNG_CHECK, 0, 0, (uint32_t)i);
    }
    DTX_GO(dtx_model_save(m, dir));
    if (!a.causal) {
        goto done;
    }
    DTX_GO(dtx_adapter_new(&a, 4, (double)strlen(kind), 0, targets, 1, 3, &ad));
    for (int64_t i = 0; i < ad->n_params; i++) {
        ad->arena[i] += 0.1F * (float)dtx_rng_normal(4, DTX_RNG_CHECK, 0, 0, (uint32_t)i);
    }
    DTX_GO(dtx_file_join(path, sizeof path, dir, "adapter"));
    DTX_GO(dtx_adapter_write(path, &a, ad, dir));
done:
    dtx_adapter_del(ad);
    dtx_model_del(m);
    dtx_texts_free(&texts);
    return st;
}

int main(int argc, char **argv)
{
    if (argc != 4 || make(argv[1], argv[2], argv[3]) != DTX_OK) {
        fprintf(stderr, "make_model KIND DIR CORPUS: %s\n", dtx_error_text());
        return 1;
    }
    return 0;
}
