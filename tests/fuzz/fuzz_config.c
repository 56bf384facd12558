#include <string.h>

#include "src/model/families/arch.h"
#include "src/base/mem.h"
#include "tests/fuzz/fuzz.h"

dtx_status dtx_fuzz_status;

const char *const dtx_fuzz_words[] = {"\"num_kv_heads\": 2,",
                                      "\"rope_scaling\": {\"type\": \"linear\"},",
                                      "\"multi_query\": true,",
                                      "\"new_decoder_architecture\": true,",
                                      "\"alibi\": true,",
                                      "\"parallel_attn\": false,",
                                      "\"num_labels\": 3,",
                                      "\"eos_token_id\": [1, 2],",
                                      "null",
                                      "true",
                                      "-1",
                                      "[]",
                                      "{}",
                                      NULL};

size_t dtx_fuzz_seed(int i, uint8_t *out, size_t cap)
{
    static const char *const seeds[] = {
        "{\"architectures\": [\"GPTNeoXForCausalLM\"], \"model_type\": \"gpt_neox\", \"hidden_size\": 64, "
        "\"num_hidden_layers\": 2, "
        "\"num_attention_heads\": 4, \"intermediate_size\": 256, \"vocab_size\": 512, \"max_position_embeddings\": "
        "128, "
        "\"rotary_pct\": 0.25, \"hidden_act\": \"gelu\", \"use_parallel_residual\": false, \"bos_token_id\": 0}",
        "{\"model_type\": \"RefinedWebModel\", \"hidden_size\": 80, \"n_layer\": 2, \"n_head\": 5, \"vocab_size\": "
        "512, "
        "\"multi_query\": true, \"parallel_attn\": true, \"bias\": false, \"alibi\": false, \"eos_token_id\": 11}",
        "{\"model_type\": \"falcon\", \"hidden_size\": 64, \"num_hidden_layers\": 2, \"num_attention_heads\": 8, "
        "\"vocab_size\": 512, "
        "\"new_decoder_architecture\": true, \"num_kv_heads\": 2, \"layer_norm_epsilon\": 1e-05}",
        "{\"model_type\": \"roberta\", \"hidden_size\": 64, \"num_hidden_layers\": 2, \"num_attention_heads\": 4, "
        "\"intermediate_size\": 256, \"vocab_size\": 600, \"max_position_embeddings\": 130, \"type_vocab_size\": 1, "
        "\"id2label\": {\"0\": \"nothate\", \"1\": \"hate\"}, \"problem_type\": null, \"pad_token_id\": 1}",
    };

    if (i >= (int)(sizeof seeds / sizeof *seeds) || strlen(seeds[i]) > cap) {
        return 0;
    }
    memcpy(out, seeds[i], strlen(seeds[i]));
    return strlen(seeds[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    dtx_arch a;
    dtx_param_spec *specs = NULL;
    int64_t n = 0, count = 0, sum = 0;

    dtx_fuzz_status = dtx_arch_parse("fuzz", (const char *)data, size, &a);
    if (dtx_fuzz_status == DTX_OK && a.n_layers <= 64) {
        dtx_fuzz_status = dtx_arch_params(&a, &specs, &n);
        for (int64_t i = 0; dtx_fuzz_status == DTX_OK && i < n; i++) {
            sum += specs[i].shape[0] * specs[i].shape[1];
        }
        (void)dtx_arch_count(&a, &count);
        if (dtx_fuzz_status == DTX_OK &&
            (sum != count || a.n_heads % a.n_kv != 0 || a.head_dim * a.n_heads != a.hidden)) {
            __builtin_trap(); /* what was accepted must be consistent */
        }
        dtx_free(specs);
    }
    return 0;
}
